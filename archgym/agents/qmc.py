"""Quasi-Monte Carlo search: a scrambled Sobol sequence (Sobol, 1967; Owen, 1998), which fills the space more
evenly than chance does.

    i_p = floor(u_p n_p),        u the next point of the sequence in [0, 1)^P

Among the first 2^m points, every interval [j / 2^m, (j + 1) / 2^m) of every axis holds exactly one: each
value of a parameter whose n_p is a power of two is drawn equally often.

Good for: even samples of a space, for data sets and proxies; as a search it equals random.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import qmc

from archgym.agent import AskTellAgent
from archgym.errors import ArchGymError
from archgym.space import Array, DesignSpace, Indices


class QuasiMonteCarlo(AskTellAgent):
    """The points of a scrambled Sobol sequence; the seed scrambles. It has no hyperparameters and learns
    nothing.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "qmc", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = 64
    hyperparameters = DesignSpace([])

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        """Scramble the sequence.

        Raises:
            ArchGymError: the space has more parameters than the Sobol sequence has dimensions.
        """
        if len(space) > qmc.Sobol.MAXDIM:
            limits = (
                f"the Sobol sequence has {qmc.Sobol.MAXDIM} dimensions, the space {len(space)} parameters"
            )
            raise ArchGymError(f"{limits}; use the agent 'random' instead")
        self.nvec = space.nvec
        self.sequence = qmc.Sobol(len(space), scramble=True, seed=rng)
        self.points = np.empty((0, len(space)))

    def ask(self, n: int) -> Indices:
        # drawn in powers of two, for which the sequence is balanced; SciPy warns about other sizes
        if len(self.points) == 0:
            self.points = self.sequence.random(max(64, 1 << (n - 1).bit_length()))
        points, self.points = self.points[:n], self.points[n:]
        indices: Indices = (points * self.nvec).astype(np.int64)
        return indices

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass
