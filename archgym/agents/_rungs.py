"""Brackets of successive halving, shared by `successive_halving` and `hyperband`.

A bracket evaluates many designs at a low fidelity and few at the full one: of n designs on the lowest of its
rungs, rung i evaluates

    n_i = floor(n / eta^i)    the best of rung i - 1 by reward,    at fidelity    r_i <= R / eta^(rungs - 1 - i)

with R the full fidelity and r_i the highest value that the environment has. Evaluations share no state: a
design that is promoted is trained from scratch and paid in full.

Any ask-tell agent proposes the designs. It sees the space without the fidelity and learns from each design
once, in the order that it asked, with the result of the highest rung that the design reached: a design that
fell early has few epochs and a low reward, so the order of rewards is nearly that of (rung, reward), and no
agent has to forget an earlier result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import AskTellAgent
from archgym.infos import core
from archgym.registry import get_agent
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer

PROPOSERS = ("random", "tpe", "bo", "genetic", "aging_evolution", "predictor")


def rung_hyperparameters(proposer: str, eta: int) -> DesignSpace:
    """Hyperparameters of agents with rungs, with these defaults."""
    return DesignSpace(
        [
            Categorical("proposer", PROPOSERS, default=proposer),
            Integer("eta", 2, 8, default=eta),
            Integer("rungs", 1, 8, default=8),
        ]
    )


def rung_levels(values: Sequence[float], eta: int, rungs: int) -> list[int]:
    """Indices of the fidelities of at most `rungs` rungs, lowest first: the highest, and below each the
    highest that is at most 1/eta of the top one, at most 1/eta^2, ...

    Examples:
        >>> rung_levels([1, 2, 4, 8, 16], eta=4, rungs=8)
        [0, 2, 4]
    """
    levels = [len(values) - 1]
    while len(levels) < rungs:
        lower = [i for i in range(levels[0]) if values[i] * eta ** len(levels) <= values[-1]]
        if not lower:
            break
        levels.insert(0, lower[-1])
    return levels


class Bracket:
    """One run of successive halving.

    Args:
        designs: proposals [n, P], without the fidelity.
        levels: the fidelity of each rung, as an index, lowest first.
        eta: designs per promotion.

    Attributes:
        waiting: rows of the current rung that are not asked yet.
        done: whether the last rung is evaluated.
        results: reward, feasibility, validity and metrics of every row, of the highest rung that it reached.
    """

    def __init__(self, designs: Indices, levels: Sequence[int], eta: int):
        self.designs, self.levels, self.eta = designs, levels, eta
        self.rung, self.done = 0, False
        self.members = list(range(len(designs)))
        self.waiting, self.missing = self.members.copy(), len(designs)
        self.results: list[tuple[float, bool, bool, dict[str, float]]] = [(0.0, False, False, {})] * len(
            designs
        )

    def receive(self, row: int, result: tuple[float, bool, bool, dict[str, float]]) -> None:
        """Keep a result, and promote the best when the rung is complete."""
        self.results[row] = result
        self.missing -= 1
        if self.missing:
            return
        self.rung += 1
        if self.rung == len(self.levels):
            self.done = True
            return
        best_first = sorted(self.members, key=lambda member: -self.results[member][0])  # stable
        self.members = best_first[: len(self.designs) // self.eta**self.rung]
        self.waiting, self.missing = self.members.copy(), len(self.members)


class RungAgent(AskTellAgent):
    """An agent that evaluates the designs of another one in brackets; subclasses define `bracket`.

    Where more designs are asked at once than a rung has left, the next bracket starts. Without fidelities, or
    with one rung, every design is evaluated whole: the search is that of the proposer alone.
    """

    fidelity: str | None = None

    @abstractmethod
    def bracket(self, k: int, rungs: int) -> tuple[int, int]:
        """Designs on the lowest rung of bracket k, from 0, and its rungs, at most `rungs`."""

    def search(self, env: VectorEnv, *, budget: int, seed: int, start: Indices | None = None) -> None:
        self.fidelity = core(env).simulator.fidelity
        super().search(env, budget=budget, seed=seed, start=start)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.place = None if self.fidelity is None else space.names.index(self.fidelity)
        self.levels = [0] if self.place is None else self._levels(space.parameters[self.place].plain)
        self.source = cast(AskTellAgent, get_agent(self.proposer)())
        self.source.objective, self.source.metrics = self.objective, self.metrics
        canonical = self.canonical
        self.source.canonical = lambda designs: self._without(canonical(self._at(designs, self.levels[-1])))
        self.source.adapt(budget)
        cut = DesignSpace([parameter for parameter in space if parameter.name != self.fidelity])
        self.source.start(cut, budget=budget, rng=rng)
        self.brackets: list[Bracket] = []  # not told to the proposer yet, oldest first
        self.opened = 0
        self.owners: list[tuple[Bracket, int]] = []  # of the designs asked and not told yet

    def _levels(self, values: Sequence[float]) -> list[int]:
        return rung_levels(values, self.eta, self.rungs)

    def _at(self, designs: Indices, level: int) -> Indices:
        """Designs [B, P] at a fidelity: [B, P + 1]; as they are where there is none."""
        return designs if self.place is None else np.insert(designs, self.place, level, axis=1)

    def _without(self, designs: Indices) -> Indices:
        return designs if self.place is None else np.delete(designs, self.place, axis=1)

    def ask(self, n: int) -> Indices:
        if len(self.levels) == 1:
            return self._at(np.asarray(self.source.ask(n)), self.levels[0])
        bracket = next((each for each in self.brackets if each.waiting), None) or self._open()
        rows, bracket.waiting = bracket.waiting[:n], bracket.waiting[n:]
        self.owners += [(bracket, row) for row in rows]
        return self._at(bracket.designs[rows], bracket.levels[bracket.rung])

    def _open(self) -> Bracket:
        n, rungs = self.bracket(self.opened, len(self.levels))
        self.opened += 1
        self.brackets.append(Bracket(self.source._ask_all(n), self.levels[-rungs:], self.eta))
        return self.brackets[-1]

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        self.brackets, self.owners = [], []  # what was asked for fills up the designs given
        self.source.warm(self._without(indices), rewards, metrics, feasible, valid)

    def tell(
        self,
        indices: Indices,
        rewards: Array,
        metrics: Mapping[str, Array],
        feasible: Array,
        valid: Array | None = None,
    ) -> None:
        valid = self.objective(metrics, feasible).valid if valid is None else valid
        if len(self.levels) == 1:
            self.source.receive(self._without(indices), rewards, metrics, feasible, valid)
            return
        owners, self.owners = self.owners[: len(indices)], self.owners[len(indices) :]
        for i, (bracket, row) in enumerate(owners):
            columns = {name: float(column[i]) for name, column in metrics.items()}
            bracket.receive(row, (float(rewards[i]), bool(feasible[i]), bool(valid[i]), columns))
        while self.brackets and self.brackets[0].done:
            self._pass_on(self.brackets.pop(0))

    def _pass_on(self, bracket: Bracket) -> None:
        """Let the proposer learn from a complete bracket."""
        rewards, feasible, valid, metrics = zip(*bracket.results, strict=True)
        columns = {name: np.array([each[name] for each in metrics]) for name in metrics[0]}
        self.source.receive(
            bracket.designs, np.array(rewards), columns, np.array(feasible), np.array(valid)
        )
