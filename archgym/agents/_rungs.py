"""Brackets of successive halving, shared by `successive_halving` and `hyperband`.

A bracket evaluates many designs at a low fidelity and few at the full one: of n designs on the lowest of its
rungs, rung i evaluates

    n_i = floor(n / eta^i) designs, the best of rung i - 1,    at fidelity    r_i <= R / eta^(rungs - 1 - i)

with R the full fidelity and r_i the highest value that the environment has. Evaluations share no state: a
design that is promoted is trained from scratch and paid in full.

Any ask-tell agent proposes the designs. It sees the space without the fidelity and learns from whole
evaluations alone; designs that fell on a lower rung it merely asked for. Rewards of several fidelities have
no common scale. Where TPE learned from the highest rung of every design instead, the regret of four-to-one
halving over all rungs of archgym/NasCell-v0 rose by a quarter to two thirds.
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


RUNG_HYPERPARAMETERS = DesignSpace(
    [
        Categorical("proposer", PROPOSERS, default="tpe"),
        Integer("eta", 2, 8, default=4),
        Integer("rungs", 1, 8, default=2),
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
        rung: position of the current rung.
        waiting: rows of the current rung that are not asked yet.
    """

    def __init__(self, designs: Indices, levels: Sequence[int], eta: int):
        self.designs, self.levels, self.eta = designs, levels, eta
        self.rung, self.waiting = 0, list(range(len(designs)))
        self.missing = len(designs)  # results of the current rung
        self.rewards: dict[int, float] = {}  # of the current rung, by row

    def receive(self, row: int, reward: float) -> None:
        """Keep a result, and promote the best when the rung is complete."""
        self.rewards[row] = reward
        self.missing -= 1
        if self.missing == 0 and self.rung + 1 < len(self.levels):
            self.rung += 1
            best_first = sorted(self.rewards, key=lambda each: -self.rewards[each])  # stable
            self.waiting = best_first[: len(self.designs) // self.eta**self.rung]
            self.missing, self.rewards = len(self.waiting), {}


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
        values = [1] if self.place is None else space.parameters[self.place].plain
        self.levels = rung_levels(values, self.eta, self.rungs)
        self.source = cast(AskTellAgent, get_agent(self.proposer)())
        self.source.objective, self.source.metrics = self.objective, self.metrics
        canonical = self.canonical
        self.source.canonical = lambda designs: self._without(canonical(self._at(designs, self.levels[-1])))
        self.source.adapt(budget)
        cut = DesignSpace([parameter for parameter in space if parameter.name != self.fidelity])
        self.source.start(cut, budget=budget, rng=rng)
        self.brackets: list[Bracket] = []  # that may go on, oldest first
        self.opened = 0
        self.owners: list[tuple[Bracket, int]] = []  # of the designs asked and not told yet

    def _at(self, designs: Indices, level: int) -> Indices:
        """Designs [B, P] at a fidelity: [B, P + 1]; as they are where there is none."""
        return designs if self.place is None else np.insert(designs, self.place, level, axis=1)

    def _without(self, designs: Indices) -> Indices:
        return designs if self.place is None else np.delete(designs, self.place, axis=1)

    def _is_whole(self, indices: Indices) -> Array:
        """Which designs [B, P] are at the full fidelity: bool [B]."""
        if self.place is None:
            return np.ones(len(indices), bool)
        return np.asarray(indices[:, self.place] == self.levels[-1])

    def ask(self, n: int) -> Indices:
        if len(self.levels) == 1:
            return self._at(np.asarray(self.source.ask(n)), self.levels[0])
        self.brackets = [bracket for bracket in self.brackets if bracket.missing]
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
        whole = self._is_whole(indices)
        if whole.any():
            columns = {name: column[whole] for name, column in metrics.items()}
            designs = self._without(indices[whole])
            self.source.warm(designs, rewards[whole], columns, feasible[whole], valid[whole])

    def tell(
        self,
        indices: Indices,
        rewards: Array,
        metrics: Mapping[str, Array],
        feasible: Array,
        valid: Array | None = None,
    ) -> None:
        valid = self.objective(metrics, feasible).valid if valid is None else valid
        for (bracket, row), reward in zip(self.owners, rewards.tolist(), strict=False):
            bracket.receive(row, reward)
        self.owners = self.owners[len(indices) :]
        whole = self._is_whole(indices)
        if whole.any():
            columns = {name: column[whole] for name, column in metrics.items()}
            designs = self._without(indices[whole])
            self.source.receive(designs, rewards[whole], columns, feasible[whole], valid[whole])
