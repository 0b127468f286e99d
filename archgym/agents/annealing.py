"""Simulated annealing (Kirkpatrick, Gelatt & Vecchi, 1983), with temperatures in units of the rewards' spread
(White, 1984).

    accept x' over x with probability  min(1, exp((r(x') - r(x)) / T))
    T(t) = sigma * hot * (cold / hot)^(t / budget)

x' differs from x in one parameter, t counts samples, and sigma is the standard deviation of the rewards of
the random designs that a search begins with. Every row of a batch is a chain of its own.

Good for: rugged spaces with a budget that is known beforehand: the temperatures are spread over it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import Generation, moved
from archgym.space import Array, DesignSpace, Indices, Integer, Real


class Annealing(AskTellAgent):
    """Simulated annealing with a geometric schedule over the whole budget.

    Args:
        chains: designs that walk side by side (the environment's width, where a user sets it).
        warmup: random designs that measure sigma; the chains start from the best of them.
        hot: temperature at the start, in units of sigma.
        cold: temperature when the budget is spent, in units of sigma.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "annealing", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "chains"
    hyperparameters = DesignSpace(
        [
            Integer("chains", 1, 64, default=4),
            Integer("warmup", 2, 256, default=16),
            Real("hot", 0.01, 10.0, log=True, default=0.15),
            Real("cold", 0.0001, 1.0, log=True, default=0.05),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.budget, self.rng = space, budget, rng
        self.n_told = 0
        self.sigma = 1.0
        self.random = Generation(self.warmup)
        self.designs, self.rewards = np.empty((0, len(space)), np.int64), np.empty(0)  # of the chains

    @property
    def temperature(self) -> float:
        """T after the samples so far, in the rewards' unit."""
        return float(self.sigma * self.hot * (self.cold / self.hot) ** min(1.0, self.n_told / self.budget))

    def ask(self, n: int) -> Indices:
        if self.n_told < self.warmup:
            return self.space.sample(n, self.rng, per="parameter")
        return moved(self.space, np.resize(self.designs, (n, len(self.space))), self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        measuring = self.n_told < self.warmup
        self.n_told += len(indices)
        if measuring:
            if (complete := self.random.collect(indices, rewards, feasible)) is not None:
                designs, rewards, known = complete
                spread = rewards[known].std() if known.any() else 0.0
                self.sigma = spread or 1.0
                best = np.argsort(-rewards, kind="stable")
                self.designs, self.rewards = designs[best], rewards[best]
            return
        chains = np.arange(len(indices)) % len(self.designs)  # one for each row of a batch
        self.designs, self.rewards = self.designs[chains], self.rewards[chains]
        accept = self.rng.random(len(rewards)) < np.exp(
            np.minimum(0.0, (rewards - self.rewards) / self.temperature)
        )
        self.designs[accept], self.rewards[accept] = indices[accept], rewards[accept]
