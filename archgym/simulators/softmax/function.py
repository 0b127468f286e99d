"""Softmax of an array by a kernel of choice: the result of a search, put to use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.fitting.sample import first_choices
from archgym.simulators.softmax.machine.checking import why_wrong
from archgym.simulators.softmax.machine.kernels import (
    Floats,
    Kernels,
    aligned,
    kernel_compiler,
    why_unsupported,
)
from archgym.simulators.softmax.model import SoftmaxCostModel

TOLERANCE = 1e-5  # largest |sum(y) - 1|


def softmax(x: Floats, design: Mapping[str, Any] | None = None, out: Floats | None = None) -> Floats:
    """Softmax over the last axis, e^(x - max(x)) / sum e^(x - max(x)), by a kernel that is compiled when it
    is first used.

    As `scipy.special.softmax(x, axis=-1)`: -inf gives 0; NaN, +inf or nothing but -inf gives NaN for the
    whole row.

    Args:
        x: float32, with at least one element along its last axis.
        design: a design of `SoftmaxCostModel.space`, such as a search's `best_design`; default: `best_design`
            for the shape of x.
        out: array for the result: C-contiguous, float32, of the shape of x, or x itself; default: a new
            array.

    Returns:
        The result, float32, of the shape of x.

    Raises:
        ArchGymError: x is not float32, or its rows are empty; `out` does not fit; the design does not exist
            or this machine cannot run it; no compiler works here.

    Examples:
        >>> softmax(np.zeros((2, 4), np.float32))   # doctest: +SKIP
    """
    x = np.asarray(x)
    if x.dtype != np.float32:
        raise ArchGymError(f"softmax works on float32, not {x.dtype}; convert with x.astype(np.float32)")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ArchGymError(
            "softmax needs rows of at least one element along the last axis; this array has the shape "
            f"{x.shape}"
        )
    if out is None:
        out = aligned((1, x.size)).reshape(x.shape)
    elif out.dtype != np.float32 or out.shape != x.shape or not out.flags.c_contiguous:
        raise ArchGymError(f"out must be a C-contiguous float32 array of the shape {x.shape}")
    if x.size:
        rows, cols = x.size // x.shape[-1], x.shape[-1]
        chosen = _best_design(_rounded(rows), _rounded(cols)) if design is None else design
        if not (x.flags.c_contiguous and x.flags.aligned):
            x = np.require(x, requirements=["C", "A"])
        _kernels().run(_usable(tuple(chosen.items())), x.reshape(rows, cols), out.reshape(rows, cols))
    return out


def best_design(rows: int, cols: int) -> dict[str, Any]:
    """The design of least predicted time on this machine among those with a predicted sum_error of at most
    1e-5.

    The calibration is this machine's where `archgym calibrate softmax` has made one, else the recorded
    default.
    """
    return dict(_best_design(rows, cols))


@lru_cache(maxsize=256)
def _best_design(rows: int, cols: int) -> dict[str, Any]:
    calibration = Calibration.load("host" if Calibration.host().exists() else None)
    return first_choices(SoftmaxCostModel(rows, cols, calibration), 1, TOLERANCE)[0]


def _rounded(n: int) -> int:
    """The next power of two, so that few shapes need a choice."""
    return 1 << (n - 1).bit_length()


@cache
def _kernels() -> Kernels:
    return Kernels(kernel_compiler())


@lru_cache(maxsize=1024)
def _usable(items: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """A design that exists, that this machine can run, and whose results agree with float64.

    Raises:
        ArchGymError: the design fails one of these.
    """
    space = SoftmaxCostModel.space
    design = space.design(space.encode({name: np.array([value]) for name, value in items})[0])
    if reason := why_unsupported(design):
        raise ArchGymError(f"this machine cannot run the design: {reason}")
    if wrong := why_wrong(_kernels(), design):
        raise CompilerError(
            f"the compiled kernel gives wrong results: {wrong}; try another compiler (CC=...)"
        )
    return design
