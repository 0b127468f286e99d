"""NK landscapes (Kauffman & Weinberger, 1989): N loci, each contributing a random amount that depends on
itself and K others.

    f(x) = 1/N * sum_i  c_i(x_i, x_{j1(i)}, ..., x_{jK(i)})        c_i uniform on (0, 1)

The others are the K loci that follow on the ring (adjacent), or K drawn at random. K = 0 is separable, K = N
- 1 is uncorrelated: one dial from easy to hopeless. With adjacent neighbourhoods the optimum is known:
dynamic programming over windows of K loci,

    V_{i+1}(s; x_{i+1}, ..., x_{i+K}) = max over x_i of  V_i(s; x_i, ..., x_{i+K-1}) + c_i(x_i, ..., x_{i+K})
    V_0(s; w) = 0 where w = s, -inf elsewhere;        max f = 1/N * max_s V_N(s; s)

since the window after N steps is the first one, s, again (Wright, Thompson & Zhang, 2000). It takes N *
alleles^(2K + 1) steps.
"""

from __future__ import annotations

import numpy as np

from archgym.errors import ArchGymError, unknown, whole
from archgym.objective import Maximize, Minimize, Objective
from archgym.simulator import Metric, Simulator
from archgym.space import Array, DesignSpace, Indices, Integer

NEIGHBOURHOODS = ("adjacent", "random")
MAX_TABLE = 2**27  # contributions; 1 GiB
MAX_STEPS = 10**8  # steps of the dynamic program; about a second


class NKLandscape(Simulator):
    """NK landscape over `n` loci with `alleles` values each.

    Args:
        n: number of loci (parameters x0, x1, ...).
        k: number of other loci that each contribution depends on, 0 <= k < n.
        alleles: number of values per locus.
        seed: seed for the contributions (and for random neighbourhoods).
        neighbourhood: "adjacent" (the k loci that follow on the ring) or "random" (k others, drawn for each
            locus).

    Raises:
        ArchGymError: an argument out of its range, or contributions that would not fit into memory.
    """

    identity = "archgym.simulators.nk:NKLandscape"

    metrics = (Metric("fitness", unit="1", better="higher"),)

    def __init__(
        self, n: int = 20, k: int = 2, alleles: int = 4, seed: int = 0, neighbourhood: str = "adjacent"
    ):
        n, k, seed = whole("n", n, least=1), whole("k", k, least=0), whole("seed", seed, least=0)
        alleles = whole("alleles", alleles, least=2)
        if k >= n:
            raise ArchGymError(f"expected k below n, got k={k}; each of n={n} loci has only {n - 1} others")
        if neighbourhood not in NEIGHBOURHOODS:
            raise unknown("neighbourhood", neighbourhood, NEIGHBOURHOODS)
        if n * alleles ** (k + 1) > MAX_TABLE:
            raise ArchGymError(
                f"n * alleles^(k + 1) contributions do not fit into memory (above {MAX_TABLE:,}); lower k or "
                "alleles"
            )
        self.n, self.k, self.alleles, self.neighbourhood = n, k, alleles, neighbourhood
        self.space = DesignSpace([Integer(f"x{i}", 0, alleles - 1) for i in range(n)])
        rng = np.random.default_rng([seed, n, k, alleles])
        # c[i, row], row = (x_i, x_j1, ..., x_jK) in base `alleles`
        self._contribution = rng.random((n, alleles ** (k + 1)))
        after = (
            np.arange(1, n)
            if neighbourhood == "adjacent"
            else rng.permuted(np.tile(np.arange(1, n), (n, 1)), axis=1)
        )
        offsets = np.broadcast_to(after, (n, n - 1))[:, :k]
        self._loci = (np.arange(n)[:, None] + np.pad(offsets, ((0, 0), (1, 0)))) % n  # [n, k+1]
        self._place = alleles ** np.arange(k, -1, -1)  # [k+1]

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """indices: int64 [B, n] -> fitness: float64 [B] in (0, 1)."""
        row = indices[:, self._loci] @ self._place  # [B, n]
        fitness = self._contribution[np.arange(self.n), row].mean(axis=1)
        return {"fitness": fitness, "feasible": np.ones(len(fitness), bool)}

    def optimum(self, objective: Objective) -> Indices | None:
        """The fittest (or least fit) design, exactly: int64 [n].

        None for random neighbourhoods, for more than about 10^8 steps, and for any objective but the plain
        maximum or minimum of fitness.
        """
        sign = _direction(objective)
        steps = self.n * self.alleles ** (2 * self.k + 1)
        if sign is None or self.neighbourhood != "adjacent" or steps > MAX_STEPS:
            return None
        if self.k == 0:
            return np.asarray((sign * self._contribution).argmax(axis=1), np.int64)
        windows = self.alleles**self.k
        # [i, x_i, between, x_{i+K}]
        c = sign * self._contribution.reshape(self.n, self.alleles, windows // self.alleles, self.alleles)

        start = np.where(np.eye(windows, dtype=bool), 0.0, -np.inf)  # V_0[s, window]
        values = start
        for c_i in c:
            values = _candidates(values, c_i).max(axis=1).reshape(values.shape)
        first = int(values.diagonal().argmax())

        # again from the best s only, keeping the x_i that attain the maxima
        values, choices = start[first : first + 1], []
        for c_i in c:
            candidates = _candidates(values, c_i)
            choices.append(candidates.argmax(axis=1).ravel())
            values = candidates.max(axis=1).reshape(values.shape)
        design, window = np.empty(self.n, np.int64), first
        for i in reversed(range(self.n)):
            design[i] = choices[i][window]
            window = int(design[i]) * (windows // self.alleles) + window // self.alleles
        return design


def _candidates(values: Array, c_i: Array) -> Array:
    """V_i [S, windows] and c_i [x_i, between, x_{i+K}] -> the terms whose maximum is V_{i+1}: [S, x_i,
    between, x_{i+K}].
    """
    return values.reshape(len(values), *c_i.shape[:2], 1) + c_i


def _direction(objective: Objective) -> float | None:
    """+1 where the objective is to maximise fitness, -1 to minimise it, None where it is anything else."""
    term = objective.terms[0]
    plain = len(objective.terms) == 1 and not objective.constraints and term.weight > 0
    return -term.sign if plain and isinstance(term, Maximize | Minimize) else None
