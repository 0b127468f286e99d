"""Aging (regularised) evolution (Real, Aggarwal, Huang & Le, 2019, "Regularized evolution for image classifier architecture search").

    repeat: parent = the best of `sample_size` random members; child = parent with one parameter mutated;
            the child joins the population, the OLDEST member leaves, however good it is

Good for: noisy measurements and the cells of networks: no design survives on one lucky evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import moved
from archgym.space import Array, DesignSpace, Indices, Integer


class AgingEvolution(AskTellAgent):
    """Aging evolution with one mutation per child.

    Args:
        population: number of members; the first ones are random.
        sample_size: members compared for each parent; larger samples exploit more.
        batch: children proposed at once, replaced by the environment's width; 1 in the paper, more by default for speed.

    Example: `archgym.search("archgym/NKLandscape-v0", "aging_evolution", budget=500)`
    """

    version = 1
    batch_hyperparameter = "batch"
    hyperparameters = DesignSpace(
        [
            Integer("population", 2, 1024, default=100),
            Integer("sample_size", 1, 256, default=16),
            Integer("batch", 1, 256, default=8),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.members, self.fitness = np.empty((0, len(space)), np.int64), np.empty(0)  # oldest first

    def ask(self, n: int) -> Indices:
        if len(self.members) < self.population:
            return self.space.sample(min(n, self.population), self.rng)
        contestants = self.rng.integers(len(self.members), size=(n, self.sample_size))
        parents = contestants[np.arange(n), self.fitness[contestants].argmax(axis=1)]
        return moved(self.space, self.members[parents], self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        self.members = np.concatenate([self.members, indices])[-self.population :]
        self.fitness = np.concatenate([self.fitness, rewards])[-self.population :]
