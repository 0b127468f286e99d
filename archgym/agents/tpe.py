"""Tree-structured Parzen estimator (Bergstra et al., 2011; Watanabe, 2023): propose where good designs are
dense and others are not.

The designs seen split into the best, L, and the rest, G (with those still being simulated), with |L| =
min(ceil(gamma t), 25) after t samples; an infeasible design is never among the best. Each set has a density:
a mixture of a uniform prior and one kernel per design,

    l(x) = (prod_p 1 / n_p + sum_{y in L} prod_p K_p(x_p | y_p)) / (|L| + 1)                  multivariate
    l(x) = prod_p (1 / n_p + sum_{y in L} K_p(x_p | y_p)) / (|L| + 1)                         univariate
    g(x) = the same with G, of which a multivariate estimate takes those among the latest 1024 designs

    K_p(u | v) = (1 - epsilon) N_p(u | v) + epsilon / n_p,       epsilon = mutation / P
    N_p(u | v) = 1{u = v} for a categorical parameter,
                 exp(-(u - v)^2 / 2 h_p^2) / (its sum over u) for an ordered one
    h_p = 0.3 max(1, n_p / (|L| + 2))

and of `candidates` draws from l, the one with the largest l(x) / g(x) that has not been seen yet is proposed.

Where this differs from the papers: their kernels narrow as |L| grows until, in a finite space, every draw is
a design seen before. The uniform share epsilon keeps a kernel as wide as a mutation (it is Aitchison &
Aitken's kernel where the parameter is categorical), and G has L's kernels, so that one table serves both
densities. On NK landscapes of 3^8 designs that halves the mean number of samples. A proposal costs the same
after any number of samples: candidates lie near L, and so do the latest designs, which make up g(x) there.

In a conditional space the products are over the active parameters of x. Of a parameter that y lacks, K_p is
uniform; a univariate estimate counts the designs alone that have it.

Good for: tens to thousands of samples of simulators that take a millisecond or more; parameters of any kind.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._blas import one_thread
from archgym.agents._designs import redraw_until_new
from archgym.space import Array, Categorical, DesignSpace, Indices, Ordinal, Real

MAX_GOOD = 25  # designs in L (Bergstra et al., 2013)
MIN_BANDWIDTH = 0.3  # standard deviation of a kernel: smallest, in cells, and as a share of n_p / (|L| + 2)
MAX_CELLS = 256  # a longer grid is divided into this number of (nearly) equal cells, finer than any kernel
MAX_LATEST = 1024  # designs from which a multivariate g is estimated
MAX_ONE_HOT = 8  # cells per parameter up to which a product of matrices is faster than a gather for each one


class TPE(AskTellAgent):
    """Tree-structured Parzen estimator that repeats no design.

    Args:
        startup: random designs before the first estimate.
        candidates: draws from l(x) among which the proposal is chosen.
        multivariate: kernels of whole designs; otherwise the parameters are independent of each other.
        gamma: share of the designs seen that counts as good.
        mutation: expected number of parameters whose value a draw takes from the whole range, instead of near
            a good design.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "tpe", budget=200)  # doctest: +SKIP
    """

    version = 3
    hyperparameters = DesignSpace(
        [
            Ordinal("startup", [5, 10, 20, 40, 80], default=10),
            Ordinal("candidates", [8, 16, 24, 32, 64, 128], default=24),
            Categorical("multivariate", [True, False], default=True),
            Real("gamma", 0.02, 0.5, log=True, default=0.1),
            Real("mutation", 0.1, 4.0, log=True, default=0.5),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.nvec, self.ordered = space.nvec, np.array([p.ordered for p in space], bool)
        # of a conditional space the last place of a table stands for an inactive parameter
        lacking = int(space.conditional)
        self.cells = np.minimum(space.nvec, MAX_CELLS - lacking)
        # of products of values and cells
        self.exact = np.int64 if int(space.nvec.max(initial=1)) * MAX_CELLS < 2**63 else object
        # tables are [P, width, width], padded where a parameter has fewer cells
        self.width = int(self.cells.max(initial=1)) + lacking
        self.parameter = np.arange(len(space))
        self.epsilon = min(self.mutation / max(int((space.nvec > 1).sum()), 1), 0.5)
        self.log_uniform = -float(np.log(self.cells).sum())  # of all parameters
        self.one_hot = self.width <= MAX_ONE_HOT
        self.tabulated = -1
        self.n_told = self.n_seen = 0
        # (-reward, position in order of proposal) of the MAX_GOOD best feasible designs, best first
        self.ranked: list[tuple[float, int]] = []
        # design -> positions at which it was proposed and not told yet
        self.seen: dict[bytes, tuple[int, ...]] = {}
        self.places = np.zeros((64, len(space)), np.uint8)  # cells, [capacity, P]
        # for a multivariate g the latest designs, encoded, at position modulo MAX_LATEST; else all, by cell
        self.latest = self._encoded(np.zeros((MAX_LATEST if self.multivariate else 0, len(space)), np.int64))
        self.counts = np.zeros((len(space), self.width), np.int64)

    @one_thread
    def ask(self, n: int) -> Indices:
        designs = self.space.sample(n, self.rng, per="parameter")
        for row in range(n):
            proposals = designs[row : row + 1] if self.n_told < self.startup else self._propose()
            designs[row] = self._unseen(proposals)
            self._add(designs[row])
        return designs

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        """Learn from designs, as `AskTellAgent.tell` has it; those that were not asked for are added."""
        designs = np.ascontiguousarray(indices, np.int64)
        for design, reward, is_feasible in zip(designs, rewards.tolist(), feasible.tolist(), strict=True):
            key = design.tobytes()
            if not self.seen.get(key):
                self._add(design)
            position, *later = self.seen[key]
            self.seen[key] = tuple(later)
            if is_feasible:
                insort(self.ranked, (-reward, position))
                del self.ranked[MAX_GOOD:]
            self.n_told += 1

    def _add(self, design: Indices) -> None:
        position, key = self.n_seen, design.tobytes()
        self.seen[key] = (*self.seen.get(key, ()), position)
        if position == len(self.places):
            self.places = np.pad(self.places, ((0, position), (0, 0)))
        place = self._in_places(design[None])[0]
        self.places[position] = place
        if self.multivariate:
            self.latest[position % MAX_LATEST] = self._encoded(place[None])[0]
        self.counts[self.parameter, place] += 1
        self.n_seen += 1

    def _in_places(self, designs: Indices) -> Indices:
        """The cells of designs [B, P]; the last place for inactive parameters."""
        places = (designs.astype(self.exact) * self.cells // self.nvec).astype(np.int64)
        return (
            np.where(self.space.active(designs), places, self.width - 1) if self.space.conditional else places
        )

    def _encoded(self, places: Array) -> Array:
        """Designs as `_log_products` takes them: one-hot, float32 [N, P * width], or as they are."""
        if not self.one_hot:
            return places
        columns = np.zeros((len(places), len(self.cells) * self.width), np.float32)
        columns[np.arange(len(places))[:, None], places + self.parameter * self.width] = 1
        return columns

    def _unseen(self, proposals: Indices) -> Indices:
        """The first proposal [C, P] not seen yet; else the first, with random parameters redrawn one by
        one until it is new.
        """
        for proposal in proposals:
            if proposal.tobytes() not in self.seen:
                return np.asarray(proposal)
        design: Indices = proposals[0].copy()
        redraw_until_new(self.space, design, self.seen, self.rng)
        return design

    def _propose(self) -> Indices:
        """Candidates by falling l(x) / g(x): int64 [C, P]."""
        good = self.good()
        drawn = self._draw(good)
        if self.space.conditional:
            designs = self.space.canonical(self._in_cells(drawn))
            log_l, log_g = self.log_densities(self._in_places(designs), good)
            return designs[np.argsort(log_g - log_l, kind="stable")]
        log_l, log_g = self.log_densities(drawn, good)
        return self._in_cells(drawn[np.argsort(log_g - log_l, kind="stable")])

    def _in_cells(self, places: Indices) -> Indices:
        """A random value of each cell: int64 [C, P]."""
        if self.width < MAX_CELLS:
            return places  # a cell is a value
        ends = np.stack([places, places + 1]).astype(self.exact)
        first, end = (-(-ends * self.nvec // self.cells)).astype(np.int64)
        return np.asarray(first + (self.rng.random(places.shape) * (end - first)).astype(np.int64))

    def good(self) -> Indices:
        """Positions, in order of proposal, of the designs in L: int64 [|L|]."""
        size = min(int(np.ceil(self.gamma * self.n_told)), MAX_GOOD)
        return np.array([position for _, position in self.ranked[:size]], np.int64)

    def _tabulate(self, size: int) -> None:
        """K_p(u | v) as `kernel` [p, v, u] when L has `size` designs; 0 outside of a parameter's cells."""
        if size == self.tabulated:
            return
        self.tabulated = size
        u, n = np.arange(self.width), self.cells[:, None, None]
        inside = (u < n) & (u[:, None] < n)
        h = MIN_BANDWIDTH * np.maximum(1, n / (size + 2))
        near = (
            np.where(self.ordered[:, None, None], np.exp(-0.5 * ((u - u[:, None]) / h) ** 2), u == u[:, None])
            * inside
        )
        near /= np.maximum(near.sum(axis=2, keepdims=True), np.finfo(float).tiny)
        self.kernel: Array = (1 - self.epsilon) * near + self.epsilon * inside / n
        if self.space.conditional:
            inside[:, -1, :-1] = (u < n)[:, 0, :-1]
            inside[:, :, -1] = True
            self.kernel[:, -1] = inside[:, -1] / n[:, 0]
            self.kernel[:, :, -1] = 1.0
        self.cumulative: Array = np.ascontiguousarray(self.kernel.cumsum(axis=2).transpose(2, 0, 1))
        self.log_kernel: Array = np.log(self.kernel, where=inside, out=np.zeros(inside.shape)).astype(
            np.float32
        )

    def _draw(self, good: Indices) -> Indices:
        """Draws from l(x), as cells: int64 [C, P]."""
        self._tabulate(len(good))
        u = self.rng.random((self.candidates, len(self.cells)))
        if self.multivariate:
            component = self.rng.integers(len(good) + 1, size=self.candidates)
            centre = self.places[np.append(good, 0)[component]]
            cumulative = self.cumulative[:, self.parameter, centre]  # [width, C, P]
            uniform = np.arange(1, self.width + 1)[:, None] / self.cells
            cumulative[:, component == len(good)] = uniform[:, None]
        else:
            cumulative = self._marginals(self._counts(good), len(good)).cumsum(axis=1).T[:, None]
        # the minimum absorbs rounding
        return np.asarray(np.minimum((cumulative < u).sum(axis=0), self.cells - 1))

    def log_densities(self, x: Indices, good: Indices) -> tuple[Array, Array]:
        """log l(x) and log g(x), [C] each, of designs as cells, int64 [C, P]."""
        self._tabulate(len(good))
        if self.multivariate:
            tables = self.log_kernel[self.parameter, :, x]  # [C, P, width]
            first = max(self.n_seen - MAX_LATEST, 0)
            rest = self._log_products(tables, self.latest[: self.n_seen - first])
            slots = good[good >= first] % MAX_LATEST
            of_good = rest[:, slots]
            rest[:, slots] = -np.inf
            if len(slots) < len(good):
                earlier = self._encoded(self.places[good[good < first]])
                of_good = np.hstack([of_good, self._log_products(tables, earlier)])
            others, prior = rest.shape[1] - len(slots), self.log_uniform
            if self.space.conditional:
                of_good, rest = (np.column_stack([terms, self._log_prior(x)]) for terms in (of_good, rest))
                prior = -np.inf
            log_l, log_g = _log_sum(of_good, prior), _log_sum(rest, prior)
            return log_l - np.log(len(good) + 1), log_g - np.log(others + 1)
        counts = self._counts(good)
        sets = (counts, len(good)), (self.counts - counts, self.n_seen - len(good))
        log_l, log_g = (np.log(self._marginals(*members)[self.parameter, x]).sum(axis=1) for members in sets)
        return log_l, log_g

    def _log_prior(self, x: Indices) -> Array:
        """Log of the uniform density of designs as places [C, P]: float64 [C]."""
        return -np.where(x < self.width - 1, np.log(self.cells), 0.0).sum(axis=1)

    def _log_products(self, tables: Array, designs: Array) -> Array:
        """sum_p log K_p(x_p | y_p): tables of x [C, P, width] and encoded designs y -> float32 [C, N]."""
        if self.one_hot:
            return np.asarray(tables.reshape(len(tables), designs.shape[1]) @ designs.T)
        by_cell = np.ascontiguousarray(tables.transpose(1, 2, 0))
        total = np.zeros((len(designs), len(tables)), np.float32)
        for p in self.parameter:
            total += by_cell[p].take(designs[:, p], axis=0)
        return total.T

    def _counts(self, good: Indices) -> Indices:
        """Designs in L by parameter and cell: int64 [P, width]."""
        flat = (self.places[good] + self.parameter * self.width).ravel()
        return np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def _marginals(self, counts: Indices, size: int) -> Array:
        """The univariate density of each parameter, from `size` designs: [P, width], 0 outside its cells."""
        uniform = (np.arange(self.width) < self.cells[:, None]) / self.cells[:, None]
        if self.space.conditional:
            having = counts[:, :-1]
            near = (having[:, None] @ self.kernel[:, :-1])[:, 0]
            density = (near + uniform) / (having.sum(axis=1, keepdims=True) + 1)
            density[:, -1] = 1.0
            return density
        return np.asarray(((counts[:, None] @ self.kernel)[:, 0] + uniform) / (size + 1))


def _log_sum(terms: Array, prior: float) -> Array:
    """log(exp(prior) + sum_n exp(terms[c, n])): [C, N] -> [C]."""
    largest = terms.max(axis=1, initial=prior)
    return np.asarray(
        np.log(np.exp(terms - largest[:, None]).sum(axis=1) + np.exp(prior - largest)) + largest
    )
