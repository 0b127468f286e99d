"""Random search: every design independently and uniformly (Bergstra & Bengio, 2012, "Random search for
hyper-parameter optimization").

    i_p ~ uniform{0, ..., n_p - 1}        for every parameter p

If a share q of the designs is good enough, t samples find one of them with probability 1 - (1 - q)^t.

Good for: the yardstick, and spaces where one design in a few hundred will do; any number of designs at once,
nothing to tune.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices


class Random(AskTellAgent):
    """Uniform random designs, with replacement. It has no hyperparameters and learns nothing.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "random", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = 256
    hyperparameters = DesignSpace([])

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def ask(self, n: int) -> Indices:
        return self.space.sample(n, self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass
