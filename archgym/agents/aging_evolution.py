"""Aging (regularised) evolution (Real, Aggarwal, Huang & Le, 2019, "Regularized evolution for image
classifier architecture search").

    repeat: parent = the best of `sample_size` random members; child = parent with one parameter mutated;
            the child joins the population, the OLDEST member leaves, whatever its reward

No design survives on one lucky evaluation: it stays only as long as its descendants keep being good.

Good for: noisy measurements and cells of networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import moved
from archgym.space import Array, DesignSpace, Indices, Integer


class AgingEvolution(AskTellAgent):
    """Aging evolution with one mutation per child.

    Args:
        population: designs alive at a time; the first ones are random. Where neither this nor `sample_size`
            is given, a search takes n = 2 sqrt(budget), from 20 to 100, and n^0.6 for `sample_size`.
        sample_size: members among which a parent is the best.
        batch: children born at once (the environment's width, where a user sets it); 1 in the paper's serial
            form.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "aging_evolution", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "batch"
    hyperparameters = DesignSpace(
        [
            Integer("population", 2, 1024, default=100),
            Integer("sample_size", 1, 256, default=16),
            Integer("batch", 1, 256, default=8),
        ]
    )

    @classmethod
    def defaults_for(cls, budget: int) -> Mapping[str, Any]:
        population = min(max(2 * math.isqrt(budget), 20), 100)
        return {"population": population, "sample_size": round(population**0.6)}

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.members, self.fitness = np.empty((0, len(space)), np.int64), np.empty(0)  # oldest first

    def ask(self, n: int) -> Indices:
        if len(self.members) < self.population:
            return self.space.sample(min(n, self.population), self.rng, per="parameter")
        contestants = self.rng.integers(len(self.members), size=(n, self.sample_size))
        parents = contestants[np.arange(n), self.fitness[contestants].argmax(axis=1)]
        return moved(self.space, self.members[parents], self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        self.members = np.concatenate([self.members, indices])[-self.population :]
        self.fitness = np.concatenate([self.fitness, rewards])[-self.population :]
