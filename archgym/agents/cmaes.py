"""CMA-ES with margin (Hansen, 2016; Hamano et al., 2022), as implemented by the `cmaes` package, with
restarts.

    x ~ N(m, sigma^2 C),  x in [0, 1]^P,   i_p = floor(x_p n_p)   every value is a cell of the axis, 1 / n_p
                                                                  wide

Each generation moves m, sigma and C towards its better half. The margin keeps a minimum probability on the
neighbouring values of every parameter, without which a discrete search freezes.

A distribution that has narrowed on the wrong optimum repeats designs: after a generation of which at most a
quarter is new, or by the package's own criteria, the search starts again from a random mean (Auger & Hansen,
2005, who also double the population; within a few thousand samples that was no better).

Good for: long ordered axes; categorical parameters are ordered numbers to it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from cmaes import CMA, CMAwM

from archgym.agent import AskTellAgent
from archgym.space import Array, Categorical, DesignSpace, Indices, Ordinal, Real

MIN_NEW = 0.25  # share of new designs in a generation: at or below it, the search starts again
# without margin, repetitions of a draw outside of [0, 1]^P before it is clipped; more cost time in many
# dimensions
MAX_RESAMPLING = 4
# cells of a parameter with margin: centres of finer ones are not distinct numbers between 0 and 1
MAX_CELLS = 2**40
LAST = float(np.nextafter(1.0, 0.0))  # largest point within the last cell


class CMAES(AskTellAgent):
    """CMA-ES with margin and restarts; categorical parameters are searched in the order of their values.

    Args:
        population: designs per generation, rounded up to a multiple of the environment's width.
        sigma0: initial standard deviation, as a fraction of each parameter's range.
        margin: keep neighbouring values reachable (CMA-ES with margin).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "cmaes", budget=200)  # doctest: +SKIP
    """

    version = 2
    num_envs_from = "population"
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [4, 8, 16, 32, 64, 128], default=16),
            Real("sigma0", 0.05, 0.5, log=True, default=0.2),
            Categorical("margin", [True, False], default=True),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.rng, self.parameters = rng, len(space)
        self.free = np.flatnonzero(space.nvec > 1)
        self.nvec = space.nvec[self.free]
        self.seen: set[bytes] = set()
        self.starts = 0
        self.mean: Array | None = np.full(len(self.free), 0.5)  # where the next start begins; None: anywhere
        self.optimizer: CMA | CMAwM | None = None
        self.pending: list[Array] = []  # points whose rewards are not known yet
        self.solutions: list[tuple[Array, float]] = []  # points of this generation, with negated rewards
        self.new = 0  # designs of this generation that were not seen before

    def _restarted(self, population: int) -> CMA | CMAwM:
        mean = (self.rng.integers(self.nvec) + 0.5) / self.nvec if self.mean is None else self.mean
        self.mean = None
        self.starts += 1
        seed = int(self.rng.integers(2**31))
        if not self.margin:
            return CMA(
                mean, self.sigma0, np.tile([0.0, 1.0], (len(mean), 1)), MAX_RESAMPLING, seed, population
            )
        cell = 1 / np.minimum(self.nvec, MAX_CELLS)
        bounds = np.stack([cell / 2, 1 - cell / 2], axis=1)  # centres of the first and of the last cell
        return CMAwM(mean, self.sigma0, bounds, cell, seed=seed, population_size=population)

    def ask(self, n: int) -> Indices:
        designs = np.zeros((n, self.parameters), np.int64)
        if len(self.free) == 0:
            return designs
        if self.optimizer is None:
            self.optimizer = self._restarted(-(-int(self.population) // n) * n)
        for row in range(n):
            if isinstance(self.optimizer, CMAwM):
                cell, point = self.optimizer.ask()
            else:
                cell = point = self.optimizer.ask()
            self.pending.append(point)
            designs[row, self.free] = np.minimum(np.minimum(cell, LAST) * self.nvec, self.nvec - 1)
        return designs

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        """Begin at the best of the designs."""
        best = indices[rewards.argmax(), self.free]
        self.mean = (best + 0.5) / self.nvec
        self.optimizer, self.pending = None, []
        self.seen.update(row.tobytes() for row in indices)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if self.optimizer is None:
            return
        self.solutions += zip(self.pending, (-rewards).tolist(), strict=True)
        self.pending = []
        before = len(self.seen)
        self.seen.update(row.tobytes() for row in indices)
        self.new += len(self.seen) - before
        population = self.optimizer.population_size
        if len(self.solutions) >= population:
            self.optimizer.tell(self.solutions[:population])
            stuck = self.new <= MIN_NEW * population
            self.solutions, self.new = [], 0
            if stuck or self.optimizer.should_stop():
                self.optimizer = self._restarted(population)
