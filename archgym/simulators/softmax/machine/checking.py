"""Checks of kernels against float64, before they are timed.

Elements are compared after division by their sum: the error of the sum is a metric, `sum_error`, not a fault.

    y_i = e^(x_i - max(x)) / sum_j e^(x_j - max(x))
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulators.softmax.machine.kernels import LANES, Floats, Kernels, aligned, aligned_pair
from archgym.simulators.softmax.model import TILED

# relative error of an element; three-pass kernels have shown 79 units in the last place, 1e-5
TOLERANCE = 2e-5
SAMPLED = 65536  # elements of a workload's output that are compared
TINY = 1e-30  # smaller elements are compared with this: values below the smallest float32, 1e-38, become 0


def softmax64(x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Softmax of every row of x [rows, cols] in float64; a row with NaN, with +inf or with -inf alone is
    NaN.
    """
    with np.errstate(invalid="ignore"):
        e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


def why_wrong(kernels: Kernels, design: Mapping[str, Any]) -> str | None:
    """Why a kernel's results are wrong, in words; None where they are right.

    The inputs have masked elements, spreads of 1e4, equal elements and NaN, in rows that end anywhere within
    a step or a tile.
    """
    step = design["unroll"] * LANES[design["isa"]]
    whole = design["tile"] if design["algorithm"] in TILED else step
    for cols in (1, step - 1, step + 1, whole + 2 * step + 3):
        if cols > 0:
            x, expected = _difficult_rows(cols)
            y = aligned(x.shape)
            y[:] = -1
            kernels.run(design, x, y)
            if wrong := difference(y, expected):
                return f"{wrong} (rows of {cols} elements)"
    return None


@lru_cache(maxsize=16)
def _difficult_rows(cols: int) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Rows [5, cols] and their softmax."""
    rng = np.random.default_rng(cols)
    x = aligned((5, cols))
    x[0] = 4 * rng.standard_normal(cols)
    x[1] = np.where(rng.random(cols) < 0.5, -np.inf, x[0])  # an attention mask
    x[2] = rng.uniform(-1e4, 1e4, cols)
    x[3] = 1e4
    x[4] = x[0]
    x[1, 0], x[4, -1] = 1.0, np.nan
    return x, softmax64(x)


def difference(y: Floats, expected: npt.NDArray[np.float64]) -> str | None:
    """How outputs [rows, cols] differ from the expected ones, a factor per row aside; None where they do
    not.
    """
    if not np.array_equal(np.isnan(y), np.isnan(expected)):
        return "NaN where a number is expected, or a number where NaN is"
    if (y[expected == 0] != 0).any():
        return "an element that should be 0 is not"
    with np.errstate(invalid="ignore"):
        error = relative_error(y / y.sum(axis=1, keepdims=True, dtype=np.float64), expected)
    return None if error <= TOLERANCE else f"an element is off by {error:.1e} of its value"


def relative_error(y: npt.NDArray[Any], expected: npt.NDArray[np.float64]) -> float:
    """The largest relative error of an element that is not NaN."""
    return float(np.nanmax(np.abs(y - expected) / np.maximum(expected, TINY), initial=0.0))


class Workload:
    """Rows to be timed: x ~ N(0, 4^2), float32 [rows, cols], memory for the output, and some of its expected
    elements.

    Args:
        rows, cols: shape of x.
        rng: source of x.
    """

    identity = "archgym.simulators.softmax.checking:Workload"

    def __init__(self, rows: int, cols: int, rng: np.random.Generator):
        self.x, self.y = aligned_pair((rows, cols))
        rng.standard_normal(dtype=np.float32, out=self.x)
        self.x *= 4
        self.y[:] = 0  # touched, so that no measurement pays for new pages
        maxima = self.x.max(axis=1)
        sums = np.array([_sum_of_exponentials(row, m) for row, m in zip(self.x, maxima, strict=True)])
        self._row, self._col = rng.integers(rows, size=SAMPLED), rng.integers(cols, size=SAMPLED)
        self._expected = (
            np.exp(self.x[self._row, self._col] - maxima[self._row].astype(np.float64)) / sums[self._row]
        )

    def sum_error(self, kernels: Kernels, design: Mapping[str, Any]) -> float:
        """Mean over rows of |sum(y) - 1| of a kernel, summed in float64; NaN where elements are wrong."""
        kernels.run(design, self.x, self.y)
        sums = self.y.sum(axis=1, dtype=np.float64)
        right = relative_error(self.y[self._row, self._col] / sums[self._row], self._expected) <= TOLERANCE
        return float(np.abs(sums - 1).mean()) if right else np.nan


def _sum_of_exponentials(row: Floats, maximum: np.float32) -> float:
    parts = np.array_split(row, max(1, row.size >> 20))  # bounds the memory that float64 takes
    return float(sum(np.exp(part - np.float64(maximum)).sum() for part in parts))
