"""Systolic arrays: cycles and SRAM accesses of SCALE-Sim in closed form, equal to the tool's to the last
digit.

A matrix multiplication [M, K] x [K, N] on an array of R rows and C columns, in folds of the two dimensions
that are laid out in space. Divisions round up:

    dataflow           folds            cycles                        ifmap reads   filter reads   ofmap
                                                                      writes
    ws  weights stay   (K / R)(N / C)   folds (2 R + C + M - 2) - 1   M K (N / C)   K N            M N (K / R)
    os  outputs stay   (M / R)(N / C)   folds (R + C + K - 2) - 1     M K (N / C)   K N (M / R)    M N + folds
                                                                      (R + C)
    is  inputs stay    (K / R)(M / C)   folds (2 R + C + N - 2) - 1   M K           K N (M / C)    M N (K / R)

Source: Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators using
    SCALE-Sim", ISPASS 2020; the
forms were fitted to SCALE-Sim 3.0.0 without stalls and hold on every layer and array tried, square or not
(266 and more).

Range of validity. Cycles are without stalls by memory. A convolution is the multiplication of M = E F output
pixels, N filters and K = kernel_h kernel_w channels; SCALE-Sim rounds E and F up, (H - kernel + stride) /
stride, where layers round down, so that layers are given to it cropped (H - kernel divisible by the stride)
or as matrix multiplications. Grouped and depthwise convolutions are `groups` multiplications in sequence. On
a 1 x 1 array with stationary outputs, SCALE-Sim counts one cycle fewer than MACs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError, unknown

DATAFLOWS = ("ws", "os", "is")

Integers = npt.NDArray[np.int64]


def cycles(dataflow: str, rows: Any, cols: Any, m: Any, n: Any, k: Any) -> Integers:
    """Cycles without stalls, int64, in the broadcast shape of the arguments.

    Args:
        dataflow: "ws", "os" or "is".
        rows, cols: rows and columns of the array, positive integers.
        m, n, k: sizes of the multiplication [m, k] x [k, n], positive integers.

    Raises:
        ArchGymError: an unknown dataflow, or a size that is not a positive integer.
    """
    return cycles_of_layers(dataflow, *_sizes(rows=rows, cols=cols, m=m, n=n, k=k))


def cycles_of_layers(
    dataflow: str, rows: Integers, cols: Integers, m: Integers, n: Integers, k: Integers
) -> Integers:
    """`cycles` of sizes that are known to be positive integers."""
    down, across, streamed = _layout(dataflow, m, n, k)
    fill = rows + cols if dataflow == "os" else 2 * rows + cols
    return ceil_div(down, rows) * ceil_div(across, cols) * (fill + streamed - 2) - 1


def sram_accesses(
    dataflow: str, rows: Any, cols: Any, m: Any, n: Any, k: Any
) -> tuple[Integers, Integers, Integers]:
    """Words of inputs read, filters read and outputs written: (ifmap, filter, ofmap), int64, in the
    broadcast shape; see `cycles`.
    """
    rows, cols, m, n, k = _sizes(rows=rows, cols=cols, m=m, n=n, k=k)
    down, across, _ = _layout(dataflow, m, n, k)
    folds_down, folds_across = ceil_div(down, rows), ceil_div(across, cols)
    inputs, weights, outputs = m * k, k * n, m * n
    if dataflow == "ws":
        counts = inputs * folds_across, weights, outputs * folds_down
    elif dataflow == "os":
        counts = (
            inputs * folds_across,
            weights * folds_down,
            outputs + folds_down * folds_across * (rows + cols),
        )
    else:
        counts = inputs, weights * folds_across, outputs * folds_down
    shape = np.broadcast_shapes(rows.shape, cols.shape, m.shape, n.shape, k.shape)
    ifmap, filters, ofmap = (np.broadcast_to(count, shape) for count in counts)
    return ifmap, filters, ofmap


def _layout(dataflow: str, m: Integers, n: Integers, k: Integers) -> tuple[Integers, Integers, Integers]:
    """The dimensions along the rows, along the columns, and in time."""
    if dataflow == "ws":
        return k, n, m
    if dataflow == "os":
        return m, n, k
    if dataflow == "is":
        return k, m, n
    raise unknown("dataflow of a systolic array", dataflow, DATAFLOWS)


def _sizes(**sizes: Any) -> list[Integers]:
    return [positive_integers(name, value) for name, value in sizes.items()]


def ceil_div(a: Any, b: Any) -> Any:
    """a / b rounded up, for integers or arrays of integers."""
    return -(-a // b)


def positive_integers(name: str, value: Any) -> Integers:
    """The value as an int64 array.

    Raises:
        ArchGymError: a value that is not a positive integer.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or not (array > 0).all():
        raise ArchGymError(f"{name} must be a positive integer or an array of them, not {value!r}")
    return array.astype(np.int64)


__getattr__ = old_names(__name__, up="ceil_div")
