"""The ledger: the only counter of samples, at the simulator call inside the environment.

One sample is one design sent to the simulator; repeated designs and answers from a cache count too (and are
also counted apart). Columns are append-only; a batch that would cross the budget is cut by the environment
before it reaches the simulator.

    cost = sum of Simulator.cost_after over the samples + charges     (the training of shared weights, ...)

A cost budget is kept to the last unit: a design or a charge that it cannot pay is refused before it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from time import perf_counter
from typing import NamedTuple

import numpy as np

from archgym.errors import ArchGymError, BudgetExhausted
from archgym.objective import Rewards
from archgym.simulator import Outcome, Simulator
from archgym.space import Array, Indices

_CHUNK = 1 << 14  # designs that are made canonical at once


class Failure(NamedTuple):
    """A sample that the simulator could not evaluate, and why."""

    sample: int
    reason: str


class Charge(NamedTuple):
    """Cost of something other than samples.

    Attributes:
        sample: number of samples before it.
        amount: cost, in the simulator's `cost_unit`.
        what: purpose, such as "training".
    """

    sample: int
    amount: float
    what: str


class Ledger:
    """Every design that was sent to a simulator, in order.

    Args:
        simulator: gives the schema of the columns; or the simulators of all contexts, alike in it.
        budget: samples allowed; None is unlimited. May be set at any time.
        cost_budget: cost allowed, in the simulator's `cost_unit`; None is unlimited. May be set at any time.

    Attributes:
        charges: cost of what was done beside samples, in order.
        refused: whether a budget has refused a design or a charge.
        listener: function that is called after every record; None for none.
    """

    listener: Callable[[], None] | None = None

    def __init__(
        self,
        simulator: Simulator | Sequence[Simulator],
        budget: int | None = None,
        cost_budget: float | None = None,
    ):
        self._contextual = not isinstance(simulator, Simulator)
        self._simulators = [simulator] if isinstance(simulator, Simulator) else list(simulator)
        self._simulator = self._simulators[0]
        self._budget: int | None = None
        self.budget = budget
        self._cost_budget: float | None = None
        self.cost_budget = cost_budget
        self.samples = 0
        self.charges: list[Charge] = []
        self.refused = False
        # cost before the first sample, of the simulators that had none yet
        costs = ((place, simulator.cost_before()) for place, simulator in enumerate(self._simulators))
        self._before = {place: cost for place, cost in costs if cost}
        self._paid = 0.0  # by the samples that `_costed` counts, and by all charges
        self._costed = 0
        self.failures: list[Failure] = []
        self._best: tuple[int, float] | None = None
        self._scanned = 0  # samples that `_best` covers: it is searched on demand, not at every record
        self._capacity = 0
        self._columns: dict[str, Array] = {}
        self._numbers: Array  # the block of metric values and reward, [M + 1, capacity]
        # (samples after the batch, seconds per sample in it, when it was recorded)
        self._batches: list[tuple[int, float, float]] = []
        self._reserve(64 if budget is None else max(1, min(budget, 1 << 20)))

    @property
    def simulator(self) -> Simulator:
        """The simulator that the columns follow; with contexts that of the first."""
        return self._simulator

    @property
    def contextual(self) -> bool:
        """Whether there is a column `context`."""
        return self._contextual

    @property
    def budget(self) -> int | None:
        """Samples allowed in all; None is unlimited."""
        return self._budget

    @budget.setter
    def budget(self, budget: int | None) -> None:
        if budget is not None and (
            isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 0
        ):
            raise ArchGymError(
                f"expected a budget as a whole number >= 0, or None for no limit, got {budget!r}"
            )
        self._budget = None if budget is None else int(budget)

    @property
    def cost_budget(self) -> float | None:
        """Cost allowed in all, in the simulator's `cost_unit`; None is unlimited."""
        return self._cost_budget

    @cost_budget.setter
    def cost_budget(self, budget: float | None) -> None:
        if budget is not None and (
            isinstance(budget, bool) or not isinstance(budget, Real) or not 0 <= budget < math.inf
        ):
            raise ArchGymError(
                f"expected a cost budget as a finite number >= 0, or None for no limit, got {budget!r}"
            )
        self._cost_budget = None if budget is None else float(budget)

    @property
    def cost_unit(self) -> str:
        """Unit of costs."""
        return self._simulator.cost_unit

    @property
    def cost(self) -> float:
        """Cost so far: of all samples, failed and cached ones too, and of all charges."""
        if self._costed < self.samples:
            start, self._costed = self._costed, self.samples
            self._paid += float(self._sample_costs(start, self.samples).sum())
        return self._paid

    def charge(self, amount: float, what: str) -> None:
        """Pay for something other than a sample, before it is done.

        Args:
            amount: cost, in the simulator's `cost_unit`.
            what: purpose; consecutive charges for one purpose are added up.

        Raises:
            BudgetExhausted: the cost budget cannot pay it; nothing is charged.
        """
        if not 0 <= amount < math.inf:
            raise ArchGymError(f"expected a charge as a finite number >= 0, got {amount!r}")
        if self._cost_budget is not None and self.cost + amount > self._cost_budget:
            raise self.exhausted()
        last = self.charges[-1] if self.charges else None
        if last is not None and (last.sample, last.what) == (self.samples, what):
            self.charges[-1] = last._replace(amount=last.amount + amount)
        else:
            self.charges.append(Charge(self.samples, float(amount), what))
        self._paid += amount

    @property
    def asks_costs(self) -> bool:
        """Whether `admit` needs the designs: for a cost budget, or a cost before the first sample."""
        return self._cost_budget is not None or bool(self._before)

    def admit(self, n: int, indices: Indices | None = None, contexts: Indices | None = None) -> int:
        """How many of n designs the budgets still allow.

        Args:
            indices: the designs [n, P], which a cost budget needs.
            contexts: the context of each, [n].

        Raises:
            BudgetExhausted: none of them.
        """
        allowed = n
        if self._budget is not None:
            allowed = min(n, max(self._budget - self.samples, 0))
        if self._before and allowed:
            self._charge_before(None if contexts is None else contexts[:allowed])
        if self._cost_budget is not None and indices is not None:
            contexts = None if contexts is None else contexts[:allowed]
            costs = self._costs_of(indices[:allowed], contexts, self.samples)
            allowed = int((self.cost + np.cumsum(costs) <= self._cost_budget).sum())
        if allowed == 0 < n:
            raise self.exhausted()
        return allowed

    def _charge_before(self, contexts: Indices | None) -> None:
        """Pay what the simulators of the next samples need before their first one."""
        for place in [0] if contexts is None else np.unique(contexts).tolist():
            if place in self._before:
                self.charge(self._before[place], "training")
                del self._before[place]

    def exhausted(self) -> BudgetExhausted:
        """The error that ends a search."""
        self.refused = True
        if self._cost_budget is None or (self._budget is not None and self.samples >= self._budget):
            return BudgetExhausted(f"the budget of {self._budget} samples is spent")
        return BudgetExhausted(
            f"the cost budget of {self._cost_budget:,.0f} {self.cost_unit} is spent: {self.cost:,.0f} are "
            "paid, and the rest cannot pay the next design or training step"
        )

    def _costs_of(self, indices: Indices, contexts: Indices | None, after: int) -> Array:
        """The cost of each design [B, P] after so many samples, with the context of each: float64 [B]."""
        before = self.column("indices")[:after]
        if contexts is None:
            return np.asarray(self._simulator.cost_after(indices, before), float)
        costs, earlier = np.empty(len(indices)), self.column("context")[:after]
        for context in np.unique(contexts):
            rows = contexts == context
            costs[rows] = self._simulators[context].cost_after(indices[rows], before[earlier == context])
        return costs

    def _sample_costs(self, start: int, stop: int) -> Array:
        """The cost of recorded samples, float64 [stop - start]."""
        indices = self.column("indices")[start:stop].astype(np.int64)
        contexts = self.column("context")[start:stop] if self._contextual else None
        return self._costs_of(indices, contexts, start)

    def _cumulative_costs(self) -> Array:
        """Cost after each sample, with the charges before it: float64 [N]."""
        costs = self._sample_costs(0, self.samples)
        for charge in self.charges:
            if charge.sample < self.samples:
                costs[charge.sample] += charge.amount
        return np.cumsum(costs)

    def record(
        self,
        indices: Indices,
        outcome: Outcome,
        rewards: Rewards,
        seconds: float,
        contexts: Indices | None = None,
    ) -> None:
        """Append a batch of B designs, with the context of each; `seconds` is the time the batch took in the
        simulator.
        """
        start, stop = self.samples, self.samples + len(indices)
        if stop > self._capacity:
            self._reserve(max(stop, 2 * self._capacity))
        columns = self._columns
        columns["indices"][:, start:stop] = indices.T
        columns["values"][:, start:stop] = outcome.values.T
        columns["feasible"][start:stop] = outcome.feasible
        columns["valid"][start:stop] = rewards.valid
        columns["reward"][start:stop] = rewards.reward
        if contexts is not None:
            columns["context"][start:stop] = contexts
        if outcome.cached is not None:
            columns["cached"][start:stop] = outcome.cached
        self._batches.append((stop, seconds / len(indices), perf_counter()))
        self.samples = stop
        if outcome.failures:
            self.failures.extend(
                Failure(start + row, reason) for row, reason in sorted(outcome.failures.items())
            )
        if self.listener is not None:
            self.listener()

    def record_one(
        self,
        indices: Indices,
        numbers: Array,
        feasible: bool,
        valid: bool,
        times: tuple[float, float],
        failure: str | None,
    ) -> None:
        """Append one design that a table answered: its indices [P], and its metric values and reward [M + 1].

        `times` are its seconds in the simulator and when it was recorded.
        """
        sample = self.samples
        if sample == self._capacity:
            self._reserve(2 * sample)
        self._columns["indices"][:, sample] = indices
        self._numbers[:, sample] = numbers
        self._columns["feasible"][sample] = feasible
        self._columns["valid"][sample] = valid
        self.samples = sample + 1
        self._batches.append((self.samples, *times))
        if failure is not None:
            self.failures.append(Failure(sample, failure))
        if self.listener is not None:
            self.listener()

    def _reserve(self, capacity: int) -> None:
        """Room for `capacity` samples: three blocks, since fresh memory costs per page and large blocks
        come in large pages.
        """
        parameters, metrics = len(self._simulator.space), len(self._simulator.metrics)
        largest = int(self._simulator.space.nvec.max(initial=1)) - 1
        indices = np.empty((parameters, capacity), np.min_scalar_type(largest))
        numbers = np.empty((metrics + 1, capacity))
        flags = np.empty((2, capacity), bool)
        columns = {
            "indices": indices,
            "values": numbers[:metrics],
            "reward": numbers[metrics],
            "feasible": flags[0],
            "valid": flags[1],
            "cached": np.zeros(capacity, bool),  # takes no memory until a simulator reports cached rows
        }
        if self._contextual:
            columns["context"] = np.empty(capacity, np.int64)
        for name, column in self._columns.items():
            columns[name][..., : self.samples] = column[..., : self.samples]
        self._columns, self._numbers = columns, numbers
        self._capacity = capacity

    def column(self, name: str) -> Array:
        """Read-only `indices` [N, P], `values` [N, M], `feasible`, `cached`, `valid`, `reward`, `cost`,
        `seconds`, `recorded`, or with contexts `context` [N].

        `cost` is the cost after each sample, charges included; `seconds` the time each sample took in the
        simulator, `recorded` when it was recorded (`time.perf_counter`).
        """
        if name == "cost":
            return self._cumulative_costs()
        if name in ("seconds", "recorded"):
            stops, *times = np.array(self._batches, float).reshape(-1, 3).T
            return np.repeat(times[name == "recorded"], np.diff(stops, prepend=0).astype(np.int64))
        view = self._columns[name][..., : self.samples].T
        view.flags.writeable = False
        return view

    def history(self) -> dict[str, Array]:
        """All columns [N] by name: `sample`, with contexts `context`, parameter VALUES, metrics, `feasible`,
        `valid`, `reward`, `cached`, `seconds`, and `cost` (after each sample) unless a parameter or metric
        has that name.
        """
        values = self.column("values")
        columns = {
            "sample": np.arange(self.samples),
            **({"context": self.column("context").copy()} if self._contextual else {}),
            **self._simulator.space.decode(self.column("indices")),
            **{m.name: values[:, j].copy() for j, m in enumerate(self._simulator.metrics)},
            **{
                name: self.column(name).copy()
                for name in ("feasible", "valid", "reward", "cached", "seconds")
            },
        }
        return columns if "cost" in columns else {**columns, "cost": self.column("cost")}

    @property
    def best(self) -> int | None:
        """The first sample with the highest reward among valid designs; None without valid designs."""
        best = self._find_best()
        return None if best is None else best[0]

    @property
    def best_reward(self) -> float | None:
        """The reward of the best valid design so far."""
        best = self._find_best()
        return None if best is None else best[1]

    def _find_best(self) -> tuple[int, float] | None:
        start, stop = self._scanned, self.samples
        if start < stop:
            columns = self._columns
            rewards = np.where(columns["valid"][start:stop], columns["reward"][start:stop], -np.inf)
            top = int(rewards.argmax())
            if rewards[top] > (-np.inf if self._best is None else self._best[1]):
                self._best = (start + top, float(rewards[top]))
            self._scanned = stop
        return self._best

    def best_so_far(self) -> Array:
        """The best valid reward after each sample: float64 [N], -inf before the first valid design."""
        rewards = np.where(self.column("valid"), self.column("reward"), -np.inf)
        return np.asarray(np.maximum.accumulate(rewards))

    @property
    def unique(self) -> int:
        """Number of distinct designs, in each context; designs of one meaning (`Simulator.canonical`) count
        once.
        """
        if self._contextual:
            contexts = self.column("context")
            return sum(self._unique(self.column("indices")[contexts == c], c) for c in np.unique(contexts))
        return self._unique(self.column("indices"), 0)

    def _unique(self, column: Array, context: int) -> int:
        starts = range(0, max(len(column), 1), _CHUNK)
        keys = [self._keys(column[start : start + _CHUNK], context) for start in starts]
        return len(np.unique(np.concatenate(keys)))

    def _keys(self, indices: Array, context: int) -> Array:
        """A number for every design [B], or the bytes of its indices where numbers would be too large."""
        space = self._simulator.space
        rows = self._simulators[context].canonical(indices.astype(np.int64))
        if space.size < 2**63:
            return space.to_ordinal(rows)
        rows = np.ascontiguousarray(rows, indices.dtype)
        return rows.view(f"V{rows.itemsize * len(space)}")[:, 0]

    @property
    def duplicates(self) -> int:
        """Number of samples spent on repeated designs."""
        return self.samples - self.unique

    @property
    def cache_hits(self) -> int:
        """Samples that the simulator answered from a cache."""
        return int(self.column("cached").sum())
