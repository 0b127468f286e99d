"""Random search: every design independently and uniformly (Bergstra & Bengio, 2012, "Random search for hyper-parameter optimization").

    i_p ~ uniform{0, ..., n_p - 1}        for every parameter p

After t samples from a space in which a share q of the designs is good enough, one of them is found with probability 1 - (1 - q)^t:
the yardstick for every other agent.

Good for: the yardstick, and spaces where one design in a few hundred will do; any number of designs at once, nothing to tune.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices


class Random(AskTellAgent):
    """Uniform random designs, with replacement. It has no hyperparameters and learns nothing."""

    version = 1
    hyperparameters = DesignSpace([])

    @property
    def preferred_num_envs(self) -> int:
        return 256

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def ask(self, n: int) -> Indices:
        return self.space.sample(n, self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass
