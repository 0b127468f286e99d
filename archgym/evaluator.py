"""Evaluation: where an action becomes a recorded sample, for single and vector environments alike.

    actions [B, P] -> admit -> simulate -> reward -> record -> Evaluation [B]

A single step of a tabulated simulator takes the last four from arrays that hold the same bits (`_Answers`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from operator import getitem
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from archgym.errors import ArchGymError, whole
from archgym.ledger import Ledger
from archgym.objective import AtMost, Constraint, Objective, R, Rewards
from archgym.registry import ObjectiveSource, Task, get_task
from archgym.seeding import stream
from archgym.shared import Meter, SharedTask
from archgym.shared.task import nothing_to_share
from archgym.simulator import Outcome, Simulator, evaluate_safely, is_table, reference_cost
from archgym.simulator_wrappers import Cached
from archgym.space import Array, Indices, all_true
from archgym.task import EnvSpecification
from archgym.values import read_arguments, restored, settle

if TYPE_CHECKING:
    from archgym.contexts.sets import Contexts

INCUMBENTS = 5  # designs of a measured search that are measured again
_SMALLEST, _LARGEST = float(np.exp(-R)), float(np.exp(R))
_ONE_TASK = "expected an environment with contexts to choose one from; make it with contexts=..."
_BLOCK = 256  # neighbouring designs of a table whose answers are made together
_ROOM = 64 * 2**20  # limit on the answers that an environment keeps, bytes


class Evaluation(NamedTuple):
    """Evaluated designs: indices [B, P], metric values [B, M] (NaN where infeasible), feasible, valid,
    reward [B], and with contexts the position of each one's, int64 [B].
    """

    indices: Indices
    values: Array
    feasible: Array
    valid: Array
    reward: Array
    context: Indices | None = None


class Evaluator:
    """What the environments share: the simulator, the objective, the ledger and the stream of simulator
    noise.

    Attributes:
        contexts: the tasks that episodes are drawn from, with the constants of their features; None for one
            task.
    """

    contexts: Contexts | None = None
    _first = 0  # numbers of an observation that describe its context

    def __init__(
        self,
        task: str | Task,
        objective: ObjectiveSource | None,
        horizon: int | None,
        kwargs: Mapping[str, Any],
    ):
        self.task = task if isinstance(task, Task) else get_task(task)
        self.kwargs = {name: restored(value) for name, value in kwargs.items()}
        self._set_up(*self.task.build(restored(objective), **self.kwargs), horizon)

    def _set_up(self, simulator: Simulator, objective: Objective, horizon: int | None) -> None:
        """Names, scales, spaces and an empty ledger."""
        self.simulator, self.objective = simulator, objective
        self.horizon = whole("horizon", simulator.default_horizon if horizon is None else horizon, least=1)
        self.ledger = Ledger(self.simulator, simulator.left)
        self.rng = np.random.default_rng()
        self._nvec = self.simulator.space.nvec.astype(np.uint64)
        metrics = self.simulator.metrics
        visible = [j for j, m in enumerate(metrics) if not m.report_only]
        self._visible = slice(None) if len(visible) == len(metrics) else np.array(visible, int)
        self._scale = np.array([self.objective.reference.get(metrics[j].name, 1.0) for j in visible])
        self.metric_names = [m.name for m in metrics]
        self._width = len(visible) + 1 + (self.horizon > 1)
        self.observation_space = Box(-R, R, (self._width,), np.float32)
        self.action_space = MultiDiscrete(self.simulator.space.nvec)
        self._answers: _Answers | None = None  # made at the first single step

    @classmethod
    def from_specification(cls, env: EnvSpecification) -> Evaluator:
        """The environment of a run, a data set or a proxy, built again.

        Raises:
            ArchGymError: an unknown environment or argument, an argument of which only a hash is stored, or
                an environment with contexts.
        """
        if "contexts" in env.kwargs:
            raise ArchGymError(
                f"expected runs of one task, got a run of {env.id} that draws from contexts; use a run "
                "without contexts="
            )
        return cls(env.id, env.objective, env.horizon, read_arguments(env.kwargs))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_answers": None}  # copies make their own

    def seed(self, seed: int | None) -> None:
        """Restart the noise stream, where a seed is given."""
        if seed is not None:
            self.rng = stream(seed, "noise")

    def begin(
        self, n: int, rows: Array | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Start episodes: what their `info` says.

        Args:
            n: number of sub-environments.
            rows: those that begin an episode, bool [n]; None for all.
            options: options of `reset`.

        Raises:
            ArchGymError: a context of an environment without contexts, or an unknown one.
        """
        if options and "context" in options:
            raise ArchGymError(_ONE_TASK)
        return {}

    def simulator_of(self, row: int) -> Simulator:
        """The simulator of a sub-environment's present episode."""
        return self.simulator

    def remember(self, cache: str | os.PathLike[str]) -> None:
        """Keep every simulated design in a file (`Cached`)."""
        self.simulator = Cached(self.simulator, cache)

    @cached_property
    def reference_cost(self) -> float:
        """The cost of a reference sample, in the simulator's unit (`archgym.simulator.reference_cost`)."""
        return reference_cost(self.simulator)

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask:
        """The simulator's shared weights (`Simulator.shared`), charged to the ledger.

        Raises:
            ArchGymError: nothing to share.
        """
        task = self.simulator.shared(seed, fresh=fresh, partial=partial)
        if task is None or self.contexts is not None:
            raise nothing_to_share(self.task.id)
        task.meter, limits = Meter(self.ledger), self.objective.constraints
        task.valid = lambda designs: _within(task.known_metrics(designs), limits, len(designs))
        return task

    def close(self) -> None:
        """Close the simulator."""
        self.simulator.close()

    def evaluate(self, actions: Any, n: int, rows: Array | None = None) -> Evaluation:
        """Evaluate n designs given as indices [n, P], of all sub-environments or of some, bool [num_envs].

        Raises:
            ArchGymError: illegal actions; nothing is simulated.
            BudgetExhausted: the batch crossed the budget (what was left has been evaluated and recorded).
        """
        indices, contexts = self._legal(actions, n), self._contexts_of(rows)
        ledger = self.ledger
        admitted = ledger.admit(n, indices, contexts) if ledger.asks_costs else ledger.admit(n)
        if admitted < n:
            indices = indices[:admitted]
            contexts = None if contexts is None else contexts[:admitted]
        indices.flags.writeable = False
        outcome, rewards, seconds = self._judge(indices, contexts, self.rng)
        self.ledger.record(indices, outcome, rewards, seconds, contexts)
        if admitted < n:
            raise self.ledger.exhausted()
        return Evaluation(indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward, contexts)

    def legal(self, actions: Any) -> Indices:
        """Legal actions [B, P] as the canonical rows of designs, a private int64 copy; nothing is counted.

        Raises:
            ArchGymError: illegal actions.
        """
        return self._legal(actions, len(actions))

    def simulate(self, indices: Indices) -> tuple[Outcome, Rewards, float]:
        """Results of legal designs [B, P] of one task, their rewards, and the time in the simulator,
        seconds; nothing is counted. For those who keep the ledger themselves: `admit` comes before, `record`
        after.
        """
        return self._judge(indices, None, self.rng)

    def restarted(self, budget: int | None, seed: int) -> Evaluator:
        """The environment of one task with the same simulator and objective, an empty ledger and noise of
        its own.
        """
        again = copy(self)
        again.ledger = Ledger(self.simulator)
        again.ledger.budget = budget
        again.seed(seed)
        return again

    def _contexts_of(self, rows: Array | None) -> Indices | None:
        """The contexts of sub-environments, [B]; None without contexts."""
        return None

    def _judge(
        self,
        indices: Indices,
        contexts: Indices | None,
        rng: np.random.Generator | None,
        again: bool = False,
    ) -> tuple[Outcome, Rewards, float]:
        """Simulated designs [B, P], their rewards, and the time in the simulator, seconds."""
        before = perf_counter()
        outcome = evaluate_safely(self.simulator, indices, rng, again=again)
        seconds = perf_counter() - before
        return outcome, self.objective.judge(outcome, self.metric_names), seconds

    def evaluate_one(self, action: Any, remaining: float) -> tuple[Array, dict[str, Any]]:
        """Evaluate one design given as indices [P]: its observation [D] and its `info`.

        Raises:
            ArchGymError, BudgetExhausted: see `evaluate`.
        """
        answers = self._answers
        if (
            answers is None
            or answers.simulator is not self.simulator
            or answers.objective is not self.objective
        ):
            answers = self._answers = _Answers(self)
        found = answers.find(action)
        if found is None:
            evaluation = self.evaluate(np.asarray(action)[None], 1)
            return self.observe(evaluation, remaining)[0], self.info(evaluation, 0)
        row, design, ordinal = found
        if self.ledger.asks_costs:
            self.ledger.admit(1, row[None])
        else:
            self.ledger.admit(1)
        before = perf_counter()
        numbers, feasible, valid, failure = answers.look_up(ordinal, self)
        now = perf_counter()
        self.ledger.record_one(row, numbers, feasible, valid, (now - before, now), failure)
        *values, reward = numbers.tolist()
        observation = answers.observations[ordinal].copy()
        if self.horizon > 1:
            observation[-1] = remaining
        return observation, self._info(design, values, feasible, valid, reward)

    def info(self, evaluation: Evaluation, row: int) -> dict[str, Any]:
        """The `info` of one of the evaluated designs."""
        values, feasible, valid, reward = (column[row].tolist() for column in evaluation[1:5])
        design = self.simulator.space.design(evaluation.indices[row])
        context = {} if evaluation.context is None else {"context": int(evaluation.context[row])}
        return self._info(design, values, feasible, valid, reward) | context

    def _info(
        self, design: dict[str, Any], values: list[float], feasible: bool, valid: bool, reward: float
    ) -> dict[str, Any]:
        reported = values if feasible else [None] * len(values)
        return {
            "design": design,
            "metrics": dict(zip(self.metric_names, reported, strict=True)),
            "feasible": feasible,
            "valid": valid,
            "reward": reward,
        }

    def remeasure(self, indices: Indices) -> Evaluation:
        """Evaluate designs [n, P] once more, past all caches, without counting or recording it."""
        outcome, rewards, _ = self._judge(indices, None, self.rng, again=True)
        return Evaluation(indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward)

    def score(
        self, designs: Any, rng: np.random.Generator | None = None, context: Any = None
    ) -> dict[str, Any]:
        """Results of designs without a step: nothing is counted or recorded, and no episode moves.

        Args:
            designs: indices, integers [B, P].
            rng: source of a stochastic simulator's noise; the environment's own is left alone.
            context: position or name of their context, or one for each; only with contexts.

        Returns:
            Columns [B] as `finished` gives them: `design` and `metrics` (a column for each name; metrics are
            NaN where infeasible), `feasible`, `valid`, `reward`, and with contexts `context`.

        Raises:
            ArchGymError: no designs, illegal ones, a stochastic simulator without `rng`, or a context where
                there are none.
        """
        if context is not None:
            raise ArchGymError(_ONE_TASK)
        return self.columns(self._scored(designs, rng, None))

    def _scored(self, designs: Any, rng: np.random.Generator | None, contexts: Indices | None) -> Evaluation:
        rows = np.shape(designs)[0] if np.ndim(designs) else 0
        if not rows:
            raise ArchGymError("expected designs as indices [B, P] with B >= 1, got none")
        if self.simulator.counted_elsewhere:
            raise ArchGymError(
                "expected a simulator that may evaluate designs uncounted, got one whose service counts "
                "each; use step"
            )
        if self.simulator.stochastic and rng is None:
            raise ArchGymError(
                "a stochastic simulator needs a generator: score(designs, rng=np.random.default_rng(seed))"
            )
        indices = self._legal(designs, rows)
        outcome, rewards, _ = self._judge(indices, contexts, rng)
        return Evaluation(indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward, contexts)

    def _legal(self, actions: Any, n: int) -> Indices:
        """Legal actions as the canonical rows of designs, a private int64 copy."""
        given = np.asarray(actions)
        if given.shape != (n, len(self._nvec)):
            raise ArchGymError(
                f"expected actions of shape {(n, len(self._nvec))}, one index per parameter, got "
                f"{given.shape}"
            )
        if given.dtype.kind in "iu":
            indices = given.astype(np.int64)
        else:
            indices = np.zeros(given.shape, np.int64)
            if given.dtype.kind == "f" and np.isfinite(given).all():
                indices = given.astype(np.int64)
            if given.dtype.kind != "f" or not (indices == given).all():
                raise ArchGymError(
                    f"expected whole indices as an action, got {given.dtype} {given.flat[:4].tolist()}"
                )
        if np.count_nonzero(indices.view(np.uint64) >= self._nvec):
            row, column = np.argwhere(indices.view(np.uint64) >= self._nvec)[0]
            parameter = self.simulator.space.parameters[column]
            raise ArchGymError(
                f"expected an index in 0..{len(parameter) - 1} for parameter {parameter.name!r}, got "
                f"{indices[row, column]}"
            )
        return self.simulator.space.canonical(indices)

    def observe(self, evaluation: Evaluation | Outcome, remaining: Array | float) -> Array:
        """Observations float32 [B, D]: log(metric / reference) clipped to +-R, the feasibility flag, and
        for H > 1 what remains.
        """
        first, end = self._first, self._first + len(self._scale)
        observation = np.empty((len(evaluation.values), *self.observation_space.shape), np.float32)
        ratio = evaluation.values[:, self._visible] / self._references(evaluation)
        observation[:, first:end] = np.log(np.minimum(np.maximum(ratio, _SMALLEST), _LARGEST))
        if not all_true(evaluation.feasible):
            observation[~evaluation.feasible, first:end] = 0
        observation[:, end] = evaluation.feasible
        if self.horizon > 1:
            observation[:, end + 1] = remaining
        return observation

    def _references(self, evaluation: Evaluation | Outcome) -> Array:
        """References of the visible metrics, [V] or [B, V]."""
        return self._scale

    def fresh(self, n: int) -> Array:
        """Observations at reset: the context, then zeros, with everything remaining."""
        observation = np.zeros((n, *self.observation_space.shape), np.float32)
        observation[:, : self._first] = self.context_rows(n)
        if self.horizon > 1:
            observation[:, -1] = 1
        return observation

    def context_rows(self, n: int) -> Array:
        """Features of the contexts of n sub-environments, float32 [n, F]; F = 0 without contexts."""
        return np.zeros((n, 0), np.float32)

    def columns(self, evaluation: Evaluation) -> dict[str, Any]:
        """The `info` of finished designs as columns [B]."""
        return {
            "design": self.simulator.space.decode(evaluation.indices),
            "metrics": dict(zip(self.metric_names, evaluation.values.T, strict=True)),
            "feasible": evaluation.feasible,
            "valid": evaluation.valid,
            "reward": evaluation.reward,
            **({} if evaluation.context is None else {"context": evaluation.context}),
        }

    def describe(self, info: Mapping[str, Any]) -> str:
        """A design, its metrics and its reward as text, from its `info`."""
        state = "valid" if info["valid"] else "violates a constraint" if info["feasible"] else "infeasible"
        lines = [f"{name} = {value}" for name, value in info["design"].items()]
        if info["feasible"]:
            lines += [f"{m.name}: {info['metrics'][m.name]:.6g} {m.unit}" for m in self.simulator.metrics]
        return "\n".join([*lines, f"reward: {info['reward']:.6g} ({state})"])

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments, beside the task, that make an equal environment."""
        kwargs = self.task.without_options(self.kwargs)
        return {"objective": self.objective, "horizon": self.horizon, **kwargs}

    def specification(self) -> dict[str, Any]:
        """What the environment is, as JSON: enough to build it again (options of the objective are in the
        objective).
        """
        kwargs, _ = settle(self.task.without_options(self.kwargs))
        objective, simulator = self.objective.to_dict(), self.simulator.specification
        return EnvSpecification(self.task.id, kwargs, objective, self.horizon, simulator).as_dict


def _within(metrics: Mapping[str, Array], limits: Sequence[Constraint], n: int) -> Array:
    """Designs that keep the limits on these metrics, bool [n]."""
    kept = np.ones(n, bool)
    for limit in limits:
        if limit.metric in metrics:
            value = metrics[limit.metric]
            kept &= value <= limit.limit if isinstance(limit, AtMost) else value >= limit.limit
    return kept


@dataclass(frozen=True)
class Incumbent:
    """A design that a search found good, measured twice.

    Attributes:
        sample: number among the search's samples, from 0.
        design: parameter values.
        reward, metrics: the first measurement, on which the search chose it.
        remeasured_reward, remeasured_metrics: the second measurement; None where it failed.
        valid: True if the second measurement satisfies the constraints.
    """

    sample: int
    design: dict[str, Any]
    reward: float
    metrics: dict[str, float]
    remeasured_reward: float | None
    remeasured_metrics: dict[str, float] | None
    valid: bool


def measure_again(evaluator: Evaluator, count: int = INCUMBENTS) -> tuple[Incumbent, ...]:
    """Measure the best distinct valid designs in the ledger again, all together and uncounted; best second
    measurement first.

    The best of many noisy measurements is better than it can hold (the winner's curse). A second measurement,
    made of all rivals side by side, was not chosen for being good: it is the one to report. Where a service
    counts every evaluation there is none.
    """
    if evaluator.simulator.counted_elsewhere:
        return ()
    ledger, space, metrics = evaluator.ledger, evaluator.simulator.space, evaluator.metric_names
    valid = np.flatnonzero(ledger.column("valid"))
    best_first = valid[np.argsort(-ledger.column("reward")[valid], kind="stable")]
    indices = ledger.column("indices").astype(np.int64)[best_first]
    _, first = np.unique(evaluator.simulator.canonical(indices), axis=0, return_index=True)
    chosen = np.sort(first)[:count]
    if not len(chosen):
        return ()
    again = evaluator.remeasure(indices[chosen])
    found = []
    for j, row in enumerate(best_first[chosen].tolist()):
        there = bool(again.feasible[j])
        incumbent = Incumbent(
            sample=row,
            design=space.design(again.indices[j]),
            reward=float(ledger.column("reward")[row]),
            metrics=dict(zip(metrics, ledger.column("values")[row].tolist(), strict=True)),
            remeasured_reward=float(again.reward[j]) if there else None,
            remeasured_metrics=dict(zip(metrics, again.values[j].tolist(), strict=True)) if there else None,
            valid=bool(again.valid[j]),
        )
        found.append((not incumbent.valid, -float(again.reward[j]), j, incumbent))
    return tuple(incumbent for *_, incumbent in sorted(found))


class _Answers:
    """Results, rewards and observations of a table's designs, by ordinal, with the bits that batches give.

    A block of neighbouring designs is evaluated when one of them is met. Simulators that are not tables, and
    tables of more than `_ROOM` bytes, have none.
    """

    def __init__(self, evaluator: Evaluator):
        self.simulator, self.objective = evaluator.simulator, evaluator.objective
        space, metrics, observed = (
            self.simulator.space,
            len(evaluator.metric_names),
            evaluator.observation_space,
        )
        self.names, self.plain = space.names, [parameter.plain for parameter in space]
        self.shape, self._lengths = space.nvec.shape, space.nvec.tolist()
        bytes_each = 8 * (metrics + 1) + 4 * observed.shape[0] + 2
        size = space.size if is_table(self.simulator) and space.size * bytes_each <= _ROOM else 0
        self.numbers = np.empty((size, metrics + 1))  # metric values, and the reward
        self.observations = np.empty((size, *observed.shape), np.float32)
        self.feasible, self.valid = np.empty((2, size), bool)
        self.failures: dict[int, str] = {}
        self._met = [False] * -(-size // _BLOCK)
        self._order = space.order if space.conditional else None

    def find(self, action: Any) -> tuple[Indices, dict[str, Any], int] | None:
        """Canonical row, design and ordinal of a legal action [P]; None for all that `Evaluator.evaluate`
        must look at.
        """
        if not self._met or type(action) is not np.ndarray:
            return None
        if action.dtype.kind not in "iu" or action.shape != self.shape:
            return None
        indices, ordinal = action.tolist(), 0
        for index, length in zip(indices, self._lengths, strict=True):
            if not 0 <= index < length:
                return None
            ordinal = ordinal * length + index
        if self._order is None:
            return action, dict(zip(self.names, map(getitem, self.plain, indices), strict=True)), ordinal
        row, active, ordinal = self._order.rank_one(indices)
        values = zip(active, self.names, self.plain, row, strict=True)
        return np.array(row), {name: plain[i] for on, name, plain, i in values if on}, ordinal

    def look_up(self, ordinal: int, evaluator: Evaluator) -> tuple[Array, bool, bool, str | None]:
        """Metric values and reward [M + 1] of a design, whether it is feasible, valid, and why it failed."""
        if not self._met[ordinal // _BLOCK]:
            self._meet(ordinal // _BLOCK, evaluator)
        feasible, valid = self.feasible.item(ordinal), self.valid.item(ordinal)
        return self.numbers[ordinal], feasible, valid, self.failures.get(ordinal)

    def _meet(self, block: int, evaluator: Evaluator) -> None:
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, len(self.numbers))
        rows = slice(start, stop)
        outcome = evaluate_safely(self.simulator, self.simulator.space.from_ordinal(np.arange(start, stop)))
        rewards = self.objective.judge(outcome, evaluator.metric_names)
        self.numbers[rows, :-1], self.numbers[rows, -1] = outcome.values, rewards.reward
        self.feasible[rows], self.valid[rows] = outcome.feasible, rewards.valid
        self.failures |= {start + row: reason for row, reason in outcome.failures.items()}
        self.observations[rows] = evaluator.observe(outcome, np.nan)
        self._met[block] = True
