"""Ant colony optimisation: the choice rule of Dorigo & Gambardella (1997) in the hyper-cube framework of Blum
& Dorigo (2004).

An ant chooses a value v for every parameter p by its trails, which sum to 1 over the n_p values:

    v = argmax_v tau_p(v)                                   with probability `greediness`
    v ~ (1 - floor) tau_p(v) + floor / n_p                  otherwise

and when all ants are back, the `elite` best of them and the best since the colony's start lay pheromone:

    tau_p(v) <- (1 - evaporation) tau_p(v) + evaporation * (share of those ants with p that chose v)

When every parameter's trails have converged, sum_v tau_p(v)^2 > 0.9, they are levelled to 1 / n_p and a new
colony starts.

Good for: categorical parameters whose best values do not depend much on each other, and a few thousand
samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import Generation, check_listable, draw
from archgym.space import Array, DesignSpace, Indices, Integer, Real


class AntColony(AskTellAgent):
    """Ants that lay pheromone on the values of good designs.

    Args:
        ants: designs per round.
        evaporation: share of a trail that is replaced per round.
        greediness: probability that an ant takes a parameter's strongest trail.
        elite: best ants of a round that lay pheromone, beside the best of the colony.
        floor: share of the other choices that ignores the trails, so that every value stays in reach.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "ant_colony", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "ants"
    hyperparameters = DesignSpace(
        [
            Integer("ants", 2, 256, default=16),
            Real("evaporation", 0.01, 1.0, default=0.25),
            Real("greediness", 0.0, 1.0, default=0.1),
            Integer("elite", 1, 16, default=4),
            Real("floor", 0.001, 0.5, log=True, default=0.05),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        check_listable(self, space)
        self.space, self.nvec, self.rng = space, space.nvec, rng
        self.first = np.cumsum(space.nvec) - space.nvec  # where each parameter's trails begin
        self.parameter = np.repeat(np.arange(len(space)), space.nvec)
        self._level()

    def _level(self) -> None:
        self.trails = 1.0 / self.nvec[self.parameter]
        self.fresh = True
        self.best, self.best_reward = np.empty((0, len(self.nvec)), np.int64), np.empty(0)
        self.round = Generation(self.ants)

    def ask(self, n: int) -> Indices:
        chosen = draw(
            (1 - self.floor) * self.trails + self.floor / self.nvec[self.parameter], self.nvec, n, self.rng
        )
        if self.fresh:  # greed has no meaning on level trails
            return chosen
        # ties at random
        by_trail = np.lexsort((self.rng.random(len(self.trails)), self.trails, self.parameter))
        strongest = by_trail[self.first + self.nvec - 1] - self.first
        return np.where(self.rng.random(chosen.shape) < self.greediness, strongest, chosen)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if (complete := self.round.collect(indices, rewards)) is None:
            return
        designs, rewards = complete
        top = np.argsort(-rewards, kind="stable")[: self.elite]
        layers, layer_rewards = (
            np.concatenate([self.best, designs[top]]),
            np.concatenate([self.best_reward, rewards[top]]),
        )
        active = self.space.active(layers)
        ants = active.sum(axis=0)  # that have each parameter
        walked = ants[self.parameter] > 0
        chosen = np.bincount((layers + self.first).ravel(), active.ravel(), len(self.trails))
        share = (chosen / np.maximum(ants, 1)[self.parameter])[walked]
        self.trails[walked] = (1 - self.evaporation) * self.trails[walked] + self.evaporation * share
        self.fresh = False
        best = layer_rewards.argmax()
        self.best, self.best_reward = layers[best : best + 1], layer_rewards[best : best + 1]
        if (np.bincount(self.parameter, self.trails**2) > 0.9)[ants > 0].all():
            self._level()
