"""Simulated annealing (Kirkpatrick, Gelatt & Vecchi, 1983), with temperatures in units of the rewards' spread (White, 1984).

    accept x' over x with probability  min(1, exp((r(x') - r(x)) / T))
    T(t) = sigma * hot * (cold / hot)^(t / budget)

x' differs from x in one parameter, t counts samples, and sigma is the standard deviation of the rewards of the random designs that a search
begins with. Every row of a batch is a chain of its own.

Good for: rugged spaces with a budget that is known beforehand, which its temperatures are spread over.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import moved
from archgym.space import Array, DesignSpace, Indices, Integer, Real


class Annealing(AskTellAgent):
    """Simulated annealing with a geometric schedule over the whole budget.

    Args:
        chains: designs that walk side by side (the environment's width, where a user sets it).
        warmup: random designs that measure sigma; the chains start from the best of them.
        hot: temperature at the start, in units of sigma.
        cold: temperature when the budget is spent, in units of sigma.
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Integer("chains", 1, 64, default=4),
            Integer("warmup", 2, 256, default=16),
            Real("hot", 0.01, 10.0, log=True, default=0.15),
            Real("cold", 0.0001, 1.0, log=True, default=0.05),
        ]
    )

    @property
    def preferred_num_envs(self) -> int:
        return int(self.chains)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.budget, self.rng = space, budget, rng
        self.told = 0
        self.sigma = 1.0
        self.designs, self.rewards = np.empty((0, len(space)), np.int64), np.empty(0)
        self.known = np.empty(0, bool)

    @property
    def temperature(self) -> float:
        """T at the samples told so far, in the rewards' unit."""
        return float(self.sigma * self.hot * (self.cold / self.hot) ** min(1.0, self.told / self.budget))

    def ask(self, n: int) -> Indices:
        if self.told < self.warmup:
            return self.space.sample(n, self.rng)
        return moved(self.space, np.resize(self.designs, (n, len(self.space))), self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        measuring = self.told < self.warmup
        self.told += len(indices)
        if measuring:
            self.designs, self.rewards = np.concatenate([self.designs, indices]), np.concatenate([self.rewards, rewards])
            self.known = np.concatenate([self.known, feasible])
            if self.told >= self.warmup:
                spread = self.rewards[self.known].std() if self.known.any() else 0.0
                self.sigma = spread or 1.0
                best = np.argsort(-self.rewards, kind="stable")[: len(indices)]
                self.designs, self.rewards = self.designs[best], self.rewards[best]
            return
        accept = self.rng.random(len(rewards)) < np.exp(np.minimum(0.0, (rewards - self.rewards) / self.temperature))
        self.designs[accept], self.rewards[accept] = indices[accept], rewards[accept]
