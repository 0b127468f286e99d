"""Iterated local search: hill climbing from one local optimum to the next (Lourenço, Martin & Stützle, 2003).

    climb:   x <- best of the next `sample` neighbours of x, as soon as it is better than x, until no
             neighbour is
    restart:  from a random design with probability `restart`, else from the best local optimum with `kick`
              parameters moved

Neighbours differ in one parameter: a categorical one takes any other value, an ordered one moves 1, 2, 4, 8,
... steps up or down. `sample` = 1 is first-improvement climbing; at the number of neighbours it is steepest
ascent.

Good for: a first attempt at anything; few samples, parameters of few values each. Poor where neighbours have
unrelated rewards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import moved, neighbours
from archgym.space import Array, DesignSpace, Indices, Integer, Ordinal, Real


class LocalSearch(AskTellAgent):
    """Hill climbing that restarts from kicked local optima or random designs.

    Args:
        sample: neighbours tried at once; the best of them is taken if it improves.
        restart: probability that a restart is random rather than a kick of the best local optimum so far.
        kick: parameters moved by a kick.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "local_search", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "sample"
    hyperparameters = DesignSpace(
        [
            Ordinal("sample", [1, 2, 4, 8, 16, 32, 64, 128], default=4),
            Real("restart", 0.0, 1.0, default=0.3),
            Integer("kick", 1, 16, default=4),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.reward = self.best_reward = -np.inf  # of the present design, and of the best local optimum
        self.untried = np.empty((0, len(space)), np.int64)

    def ask(self, n: int) -> Indices:
        if len(self.untried):
            batch, self.untried = self.untried[:n], self.untried[n:]
            return batch
        if self.best_reward == -np.inf or self.rng.random() < self.restart:
            return self.space.sample(n, self.rng, per="parameter")
        starts = np.tile(self.best, (n, 1))
        for _ in range(self.kick):
            starts = moved(self.space, starts, self.rng)
        return starts

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        rewards = np.where(feasible, rewards, -np.inf)  # the climb never starts from an infeasible design
        top = rewards.argmax()
        if rewards[top] > self.reward:
            self.design, self.reward = indices[top].copy(), rewards[top]
            self.untried = self.rng.permutation(neighbours(self.space, self.design, self.rng))
        if len(self.untried) == 0:  # a local optimum
            if self.reward > self.best_reward:
                self.best, self.best_reward = self.design, self.reward
            self.reward = -np.inf
