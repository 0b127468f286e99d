"""Softmax kernels over `rows` rows of `cols` float32: algorithms, vector code and memory traffic (Dukhan &
Ablavatski, 2020).

An algorithm is two or three passes over a row. A pass takes the time of the slower of memory and arithmetic,
and a part of the other. A `Calibration` gives the costs of one machine:

    t1(rows, cols) = b * (rows * cols * sum_pass [ max(m, c) + phi * min(m, c) ]
                          + rows * (t0 + tiles * t3))                                         (ns, one thread)
    t              = t1(rows, cols)                                                            (threads = 1)
                   = a * t1(ceil(rows / 2), cols) + t2       or, for a single row,
                     a * t1(1, ceil(cols / 2)) + t2                                            (threads = 2)
    traffic        = 4 * rows * cols * k                                                       (bytes)
    sum_error      = 3e-8 + 1.3e-9 * n / (lanes * accumulators) + 1.5e-10 * tiles

    m      ns per element of the pass's access pattern at its footprint: read for a reduction, copy for an
           output, in place for a rescaling; the last two non-temporal where y is stored so; with two
           threads, the curves of two where they were measured
    c      ns per element of the pass's arithmetic (pass, ISA, unroll, accumulators)
    phi    the part of the shorter of the two that is not hidden at footprint F * rows; 0 is perfect overlap,
           prefetching lowers it
    F      bytes of one row in the caches: 8 * cols, or 4 * cols where y is stored non-temporally
    b      measured over predicted time, by algorithm, ISA, non-temporal stores and level; 1 unless it was
           fitted
    t0     start-up cost of a row; t3, of a tile; a and t2, slow-down and start of a second thread
    tiles  tiles of a row, 0 where the algorithm has none
    k      passes over x and y, write-allocation not counted (`TRAFFIC`)

A tile is still cached when a tiled algorithm needs it again: the sum of tiled_online then takes no memory
time, the store of tiled_reload the time of a copy minus that of a read. With several rows the first pass
reads at F * rows, and an output pass takes at least the time of writing at F * rows.

|sum(y) - 1| (`sum_error`) is the rounding of a float32 sum of n terms, n = cols or the tile, in lanes *
accumulators partial sums; its constants are fitted to N(0, 4^2) inputs of 2^12 to 2^24 columns, within about
2.5 times (order of magnitude where tiled).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import whole
from archgym.simulator import Metric, Simulator
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.terms import ISAS, PREFETCH_BYTES
from archgym.space import Array, Categorical, DesignSpace, Indices, Ordinal

ALGORITHMS = {
    "three_pass_recompute": ("maximum", "exponential_sum", "normalised_exponential"),
    "three_pass_reload": ("maximum", "stored_exponential_sum", "scale"),
    "two_pass": ("extended_sum", "extended_output"),
    "online": ("online_sum", "normalised_exponential"),  # Milakov & Gimelshein, 2018
    "tiled_online": ("maximum", "exponential_sum", "normalised_exponential"),
    "tiled_reload": ("maximum", "stored_exponential_sum", "scale"),
}
TRAFFIC = {  # k
    "three_pass_recompute": 4,
    "three_pass_reload": 5,
    "two_pass": 3,
    "online": 3,
    "tiled_online": 3,
    "tiled_reload": 4,
}
PASSES_OVER_MEMORY = {
    "three_pass_recompute": 3,
    "three_pass_reload": 3,
    "two_pass": 2,
    "online": 2,
    "tiled_online": 2,
    "tiled_reload": 2,
}
TILED = ("tiled_online", "tiled_reload")

REDUCTIONS = ("maximum", "exponential_sum", "extended_sum", "online_sum")
MAX_PASSES = 3

TILES = (256, 1024, 4096, 16384, 65536)


class SoftmaxCostModel(Simulator):
    """Time, traffic and accuracy of a softmax kernel, predicted from a calibration of one machine.

    Designs with more accumulators than unrolled vectors do not exist (infeasible), nor do those of an ISA the
    machine lacks.

    Args:
        rows: independent softmaxes; two threads share the rows, or the columns of a single row.
        cols: elements per row.
        calibration: name of a recorded calibration, path of a calibration file (format: README.md beside this
            module), a `Calibration`, or None for the default recorded one.

    Raises:
        ArchGymError: rows or cols is not a positive integer, or the calibration is unknown or invalid.
    """

    identity = "archgym.simulators.softmax.model:SoftmaxCostModel"

    space = DesignSpace(
        [
            Categorical("algorithm", list(ALGORITHMS)),
            Categorical("isa", list(ISAS)),
            Ordinal("unroll", [1, 2, 4, 8]),
            Ordinal("accumulators", [1, 2, 4, 8]),
            Ordinal("prefetch", list(PREFETCH_BYTES)),
            Categorical("nontemporal", [False, True]),
            Ordinal("tile", list(TILES)),
            Ordinal("threads", [1, 2]),
        ]
    )
    metrics = (
        Metric("time_s", unit="s", better="lower"),
        Metric("time_per_element_ns", unit="ns", better="lower"),
        Metric("bandwidth_gb_s", unit="GB/s", better="higher"),
        Metric("memory_traffic_bytes", unit="B", better="lower"),
        Metric("passes", unit="1", better="lower"),
        Metric("sum_error", unit="1", better="lower"),
    )

    def __init__(self, rows: int = 1, cols: int = 65536, calibration: str | Path | Calibration | None = None):
        self.rows, self.cols = whole("rows", rows, least=1), whole("cols", cols, least=1)
        self.calibration = (
            calibration if isinstance(calibration, Calibration) else Calibration.load(calibration)
        )
        shares = [
            (self.rows, self.cols),
            (ceil(self.rows / 2), self.cols) if self.rows > 1 else (1, ceil(self.cols / 2)),
        ]

        # Tables over parameter indices, in the order of their subscripts; [.., pass] is padded with passes of
        # no cost.
        cost, both = self.calibration, (False, True)
        algorithms = [[*passes, *[None] * (MAX_PASSES - len(passes))] for passes in ALGORITHMS.values()]
        unrolls, accumulators, tiles = (
            self.space[name].grid.tolist() for name in ("unroll", "accumulators", "tile")
        )
        self._memory = _table(  # m[algorithm, nontemporal, threads, pass]
            lambda name, nt, i, j: self._memory_ns(name, j, nt, i + 1, *shares[i]),
            *(ALGORITHMS, both, (0, 1), range(MAX_PASSES)),
        )
        self._compute = _table(  # c[algorithm, isa, unroll, accumulators, pass], NaN where infeasible
            lambda k, isa, u, a, j: self._compute_ns(algorithms[k][j], isa, u, a),
            *(range(len(algorithms)), ISAS, unrolls, accumulators, range(MAX_PASSES)),
        )
        self._overlap = _table(  # phi[nontemporal, prefetch, threads]
            lambda nt, d, share: cost.overlap(_footprint(nt, share[1]) * share[0], d),
            *(both, PREFETCH_BYTES, shares),
        )
        self._bias = _table(  # b[algorithm, isa, nontemporal, threads]
            lambda name, isa, nt, share: cost.bias(name, isa, nt, _footprint(nt, share[1]) * share[0]),
            *(ALGORITHMS, ISAS, both, shares),
        )
        self._sum_error = _table(  # [algorithm, isa, accumulators, tile]
            lambda name, isa, a, tile: self._rounding(name in TILED, isa, a, tile),
            *(ALGORITHMS, ISAS, accumulators, tiles),
        )
        slowdown, start_ns = self.calibration.thread_slowdown, self.calibration.thread_start_ns
        self._share = np.array([r * c for r, c in shares], float)  # elements of a thread [threads]
        self._overhead_ns = _table(  # of a thread [algorithm, tile, threads]
            lambda name, tile, share: share[0] * self._start_up_ns(name, share[1], tile),
            *(ALGORITHMS, tiles, shares),
        )
        self._slowdown, self._start_ns = np.array([1.0, slowdown]), np.array([0.0, start_ns])  # [threads]
        self._traffic = 4.0 * self.rows * self.cols * np.array(list(TRAFFIC.values()))  # [algorithm]
        self._passes = np.array(list(PASSES_OVER_MEMORY.values()), float)  # [algorithm]

    def _memory_ns(
        self, algorithm: str, j: int, nontemporal: bool, threads: int, rows: int, cols: int
    ) -> float:
        """m of the j-th pass of an algorithm, in ns per element."""
        if j >= len(ALGORITHMS[algorithm]):
            return 0.0
        what, footprint = ALGORITHMS[algorithm][j], _footprint(nontemporal, cols)
        curve = partial(self.calibration.bandwidth_ns, threads=threads)
        stored = "_nontemporal" if nontemporal else ""
        if what in REDUCTIONS:
            cached = algorithm == "tiled_online" and what == "exponential_sum"
            return 0.0 if cached else curve("read", footprint * rows if j == 0 else footprint)
        if what == "scale":
            return curve("in_place" + stored, footprint)
        if algorithm == "tiled_reload":  # y is read again, so it is always stored through the caches
            stored = ""
            output = max(curve("copy", 8 * cols) - curve("read", 8 * cols), 0.0)
        else:
            output = curve("copy" + stored, footprint)
        return output if rows == 1 else max(output, curve("write" + stored, footprint * rows))

    def _compute_ns(self, what: str | None, isa: str, unroll: int, accumulators: int) -> float:
        """c of a pass, in ns per element."""
        if accumulators > unroll:
            return np.nan
        return 0.0 if what is None else self.calibration.compute_ns(what, isa, unroll, accumulators)

    def _start_up_ns(self, algorithm: str, cols: int, tile: int) -> float:
        """t0 and, for its tiles, t3, in ns per row."""
        tiles = ceil(cols / tile) if algorithm in TILED else 0
        return self.calibration.row_overhead_ns + tiles * self.calibration.tile_overhead_ns

    def _rounding(self, tiled: bool, isa: str, accumulators: int, tile: int) -> float:
        """sum_error of a design."""
        terms, tiles = (min(self.cols, tile), ceil(self.cols / tile)) if tiled else (self.cols, 0)
        return (
            3e-8 + 1.3e-9 * terms / (self.calibration.lanes.get(isa, np.nan) * accumulators) + 1.5e-10 * tiles
        )

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 8] -> every metric, float64 [B], and `feasible`, bool [B]."""
        algorithm, isa, unroll, accumulators, prefetch, nontemporal, tile, threads = indices.T
        m = self._memory[algorithm, nontemporal, threads]  # [B, pass]
        c = self._compute[algorithm, isa, unroll, accumulators]  # [B, pass]
        phi = self._overlap[nontemporal, prefetch, threads]  # [B]
        per_element = np.maximum(m, c).sum(axis=1) + phi * np.minimum(m, c).sum(axis=1)
        one_ns = self._bias[algorithm, isa, nontemporal, threads] * (
            per_element * self._share[threads] + self._overhead_ns[algorithm, tile, threads]
        )
        time_ns = self._slowdown[threads] * one_ns + self._start_ns[threads]
        feasible = np.isfinite(time_ns)
        traffic = np.where(feasible, self._traffic[algorithm], np.nan)
        return {
            "time_s": time_ns * 1e-9,
            "time_per_element_ns": time_ns / (self.rows * self.cols),
            "bandwidth_gb_s": traffic / time_ns,
            "memory_traffic_bytes": traffic,
            "passes": np.where(feasible, self._passes[algorithm], np.nan),
            "sum_error": np.where(feasible, self._sum_error[algorithm, isa, accumulators, tile], np.nan),
            "feasible": feasible,
        }

    def parts(self, indices: Indices) -> tuple[Array, Array, Array]:
        """Seconds of arithmetic, of memory, and of the second thread's start that a design's time consists
        of: int64 [B, 8] -> three of float64 [B].

        In each pass the longer of m and c counts in full, and phi of the shorter; rows and tiles start by
        arithmetic.
        """
        algorithm, isa, unroll, accumulators, prefetch, nontemporal, tile, threads = indices.T
        m, c = (
            self._memory[algorithm, nontemporal, threads],
            self._compute[algorithm, isa, unroll, accumulators],
        )
        phi = self._overlap[nontemporal, prefetch, threads][:, None]
        factor = 1e-9 * self._slowdown[threads] * self._bias[algorithm, isa, nontemporal, threads]
        arithmetic = np.where(m > c, phi * c, c).sum(axis=1) * self._share[threads]
        memory = np.where(m > c, m, phi * m).sum(axis=1) * self._share[threads]
        starting = self._overhead_ns[algorithm, tile, threads]
        return factor * (arithmetic + starting), factor * memory, 1e-9 * self._start_ns[threads]

    def canonical(self, indices: Indices) -> Indices:
        """[B, 8] -> [B, 8]: algorithms without tiles ignore `tile` (-> the first); tiles that hold a whole
        row are one (-> the smallest).

        Nothing else is merged: kernels of equal predicted time, such as scalar code unrolled 4 and 8 times,
        are different programs.
        """
        return canonical_tiles(indices, self.cols)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments and the digest of the calibration, whose file may change under its
        name.
        """
        return {**super().specification, "calibration": self.calibration.digest}


def canonical_tiles(indices: Indices, cols: int) -> Indices:
    """Designs [B, 8] whose `tile` is the first where the algorithm has none, else at most the smallest
    that holds a row.
    """
    first_whole = int(np.searchsorted(TILES, cols))
    tiled = np.isin(indices[:, 0], [list(ALGORITHMS).index(name) for name in TILED])
    canonical = indices.copy()
    canonical[:, 6] = np.where(tiled, np.minimum(indices[:, 6], first_whole), 0)
    return canonical


def _table(value: Callable[..., float], *axes: Collection[Any]) -> Array:
    """The value at every combination of the axes' elements, float64 [len(axis), ...]."""
    return np.array([value(*elements) for elements in product(*axes)], float).reshape(
        [len(axis) for axis in axes]
    )


def _footprint(nontemporal: bool, cols: int) -> int:
    """F: bytes of one row of x and y that go through the caches."""
    return (4 if nontemporal else 8) * cols
