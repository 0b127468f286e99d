"""Random search: every design independently and uniformly (Bergstra & Bengio, 2012, "Random search for hyper-parameter optimization").

    i_p ~ uniform{0, ..., n_p - 1}        for every parameter p

After t samples from a space in which a share q of the designs is good enough, one of them is found with probability 1 - (1 - q)^t.

Good for: the baseline of every comparison, and spaces where one design in a few hundred is good enough; it has nothing to tune.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices


class Random(AskTellAgent):
    """Uniform random designs, with replacement. It has no hyperparameters and learns nothing.

    Example: `archgym.search("archgym/NKLandscape-v0", "random", budget=200)`
    """

    version = 1
    preferred_num_envs = 256
    hyperparameters = DesignSpace([])

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng

    def ask(self, n: int) -> Indices:
        return self.space.sample(n, self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass
