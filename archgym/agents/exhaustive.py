"""Exhaustive search: every design once, in the order of ordinals.

    sample t is the design with ordinal t mod size

With a budget of at least the size of the space the best design found is the optimum.

Good for: spaces small enough to finish: the result is the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices


class Exhaustive(AskTellAgent):
    """Every design in order, the last parameter varying fastest; after the last design it starts over, so
    that any budget is spent.

    The seed changes nothing.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "exhaustive", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = 256
    hyperparameters = DesignSpace([])

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.position = space, 0

    def ask(self, n: int) -> Indices:
        ordinals = [(self.position + i) % self.space.size for i in range(n)]
        self.position = (self.position + n) % self.space.size
        # Python integers keep the ordinals of spaces beyond 2^63 designs exact
        return self.space.from_ordinal(np.array(ordinals, np.int64 if self.space.size < 2**63 else object))

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass
