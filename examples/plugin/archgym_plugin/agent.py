"""Tabu search (Glover, 1986): move to the best neighbour that has not been visited lately, even if it is
worse.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from archgym import AskTellAgent, DesignSpace, Integer


class Tabu(AskTellAgent):
    """Tabu search.

    Args:
        tenure: designs that are not visited again.
        neighbours: designs that are looked at before each move.
    """

    version = 1  # raise it whenever the same seed gives other designs
    num_envs_from = "neighbours"  # the hyperparameter that sets how many designs are proposed at once
    hyperparameters = DesignSpace(
        [Integer("tenure", 1, 200, default=50), Integer("neighbours", 2, 64, default=16)]
    )

    def start(self, space, *, budget, rng):
        self.space, self.rng = space, rng
        self.here, self.visited = space.sample(1, rng)[0], deque(maxlen=int(self.tenure))

    def ask(self, n):
        fresh = [row for row in self.space.neighbors(self.here) if row.tobytes() not in self.visited]
        return self.rng.permutation(np.array(fresh))[:n] if fresh else self.space.sample(n, self.rng)

    def tell(self, indices, rewards, metrics, feasible):
        self.here = indices[rewards.argmax()]
        self.visited.append(self.here.tobytes())
