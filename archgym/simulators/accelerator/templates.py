"""Dataflow templates: one group of a layer on an array of PEs, in closed form.

An array of Ra rows and Ca columns; a layer of N filters, C channels, kernel R x S and output E x F, as a
matrix multiplication of M = batch E F by N by Kd = R S C; divisions round up. b and a are the bytes of an
operand and of a partial sum.

    dataflow     compute cycles
    nvdla        (N / Ca)(C / Ra) batch E F (R S + g)                           g = R S / w kernel positions
                 that L1 holds: w b + a <= L1
    shidiannao   N C (E / Ra)(F / Ca) batch (R S + 1)                           a matrix multiplication: (M /
                 Ra)(N / Ca)(Kd + 1)
    eyeriss      (N / p)(C / (q [Ra / R]))(R / Ra)(E / Ca) batch F (p q S + 1)  p filters, q channels per PE:
                 (p q S + q S) b + p a <= L1
    systolic_*   SCALE-Sim's forms (`systolic.cycles`)

nvdla, shidiannao and eyeriss are MAESTRO's forms (`maestro.runtime`) for any array: each passes a result on
in an extra cycle, so that nvdla reaches half of its peak with 1 x 1 kernels. p counts as at most N, q as at
most C, [Ra / R] as at least 1; eyeriss takes the p and q in L1 with the fewest cycles, of equals the smaller
q, then the smaller p. Cycles are those of the whole layer.

Words between the array and the global buffer are counted per tile (`tiling.Tiles`): nm, nn, nk tiles of mt
pixels (et x ft), nt filters and ct channels; h(x) is the input pixels that x neighbouring outputs read along
an axis. Folds and input pixels of an output axis are

    fold(n, t, lanes) = (n / t)(t / lanes),   read(n, t, lanes) = fold(n, t, lanes) h(min(t, lanes))

                    inputs                                          weights                          passes
    nvdla        M Kd nn (nt / Ca)                           Kd N nm                      nk (ct / Ra) g
    shidiannao   N C batch read(E, et, Ra) read(F, ft, Ca)   Kd N batch fold(E) fold(F)   nk
    eyeriss      nn (nt / p) C batch (R / Ra)                Kd N batch fold(E, et, Ca)   nk (ct / (q [Ra /
                                                             R])) (R / Ra)
                        read(E, et, Ca) read(F, ft, ft)                 fold(F, ft, ft)
    systolic_ws   M Kd nn (nt / Ca)                          Kd N nm                          nk (ct R S / Ra)
    systolic_os   M Kd nn (nt / Ca)                          Kd N nm (mt / Ra)                nk
    systolic_is   M Kd nn                                    Kd N nm (mt / Ca)                nk (ct R S / Ra)

A matrix multiplication on shidiannao has the words of systolic_os. A partial sum leaves the array `passes`
times, and returns after all but the last. Validated: cycles of the first three against MAESTRO, those of
systolic_* against SCALE-Sim, words of nvdla and systolic_* against accelforge. Not validated: words of
shidiannao and eyeriss, accesses to L1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.simulators.accelerator import systolic
from archgym.simulators.accelerator.layers import Columns
from archgym.simulators.accelerator.systolic import ceil_div
from archgym.simulators.accelerator.tiling import Indexed, Tiles, pixels_read

Integers = npt.NDArray[np.int64]

PER_PE = (1, 2, 4, 8, 16, 32)  # possible numbers of filters and of channels in an eyeriss PE
# filters and channels [K, 2], of which the first of equals counts
PER_PE_PAIRS: Integers = np.array([(p, q) for q, p in product(PER_PE, PER_PE)])
NEVER = np.iinfo(np.int64).max  # cycles of what does not fit
PAIRS_AT_ONCE = 1 << 16  # numbers in an array [K, B, L], which a cache of the processor holds


@dataclass(frozen=True)
class Arrays(Indexed):
    """PE arrays of B designs, each column [B, 1].

    Attributes:
        rows, cols: rows and columns of PEs.
        l1_bytes: memory of a PE, bytes.
        operand_bytes, accumulator_bytes: bytes of an operand and of a partial sum, b and a.
    """

    rows: Integers
    cols: Integers
    l1_bytes: Integers
    operand_bytes: Integers
    accumulator_bytes: Integers


class Mapped(NamedTuple):
    """One group of L layers on B arrays, each [B, L].

    Attributes:
        cycles: cycles of computation alone; 0 where the array cannot run the layer.
        inputs, weights: words read from the global buffer.
        passes: number of times that each output leaves the array.
        fits: whether the layer fits L1.
    """

    cycles: Integers
    inputs: Integers
    weights: Integers
    passes: Integers
    fits: npt.NDArray[np.bool_]


def nvdla(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Weights stay in the PEs; rows take channels and columns filters."""
    kernel = layer["r"] * layer["s"]
    held = (array.l1_bytes - array.accumulator_bytes) // array.operand_bytes
    groups = ceil_div(kernel, np.maximum(held, 1))
    return Mapped(
        cycles=ceil_div(layer["n"], array.cols)
        * ceil_div(layer["c"], array.rows)
        * layer["m"]
        * (kernel + groups),
        inputs=layer["m"] * layer["kd"] * tile.nn * ceil_div(tile.nt, array.cols),
        weights=layer["kd"] * layer["n"] * tile.nm,
        passes=tile.nk * ceil_div(tile.ct, array.rows) * groups,
        fits=np.broadcast_to(held >= 1, tile.nn.shape),
    )


def shidiannao(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Outputs stay in the PEs; rows and columns take output pixels, or rows and columns of a matrix
    product.
    """
    m, n, kd, gemm = layer["m"], layer["n"], layer["kd"], layer["is_gemm"] == 1
    kernel = layer["r"] * layer["s"]
    rows, read_rows = _folds(layer["e"], tile.et, array.rows, layer["r"], layer["stride"])
    cols, read_cols = _folds(layer["f"], tile.ft, array.cols, layer["s"], layer["stride"])
    conv_cycles = (
        n
        * layer["c"]
        * layer["batch"]
        * ceil_div(layer["e"], array.rows)
        * ceil_div(layer["f"], array.cols)
        * (kernel + 1)
    )
    gemm_cycles = ceil_div(m, array.rows) * ceil_div(n, array.cols) * (kd + 1)
    return Mapped(
        cycles=np.where(gemm, gemm_cycles, conv_cycles),
        inputs=np.where(
            gemm,
            m * kd * tile.nn * ceil_div(tile.nt, array.cols),
            n * layer["c"] * layer["batch"] * read_rows * read_cols,
        ),
        weights=kd
        * n
        * np.where(gemm, tile.nm * ceil_div(tile.mt, array.rows), layer["batch"] * rows * cols),
        passes=tile.nk + np.zeros_like(array.rows),
        fits=np.broadcast_to(array.l1_bytes >= array.operand_bytes + array.accumulator_bytes, tile.nn.shape),
    )


def eyeriss(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Rows of the kernel stay in the PEs; rows take kernel rows, then channels; columns take output rows."""
    n, c, r, s = layer["n"], layer["c"], layer["r"], layer["s"]
    replicas, row_groups = np.maximum(array.rows // r, 1), ceil_div(r, array.rows)
    spatial = row_groups * ceil_div(layer["e"], array.cols) * layer["batch"] * layer["f"]
    cycles, filters, channels = _filters_and_channels(array, layer, replicas, spatial)
    fits = cycles < NEVER
    rows, read_rows = _folds(layer["e"], tile.et, array.cols, r, layer["stride"])
    cols, read_cols = _folds(layer["f"], tile.ft, tile.ft, s, layer["stride"])
    return Mapped(
        cycles=np.where(fits, cycles, 0),
        inputs=tile.nn * ceil_div(tile.nt, filters) * c * layer["batch"] * row_groups * read_rows * read_cols,
        weights=layer["kd"] * n * layer["batch"] * rows * cols,
        passes=tile.nk * ceil_div(tile.ct, channels * replicas) * row_groups,
        fits=fits,
    )


def _filters_and_channels(
    array: Arrays, layer: Columns, replicas: Integers, spatial: Integers
) -> tuple[Integers, Integers, Integers]:
    """The fewest cycles of eyeriss PEs, NEVER where none fits L1, and their filters p and channels q, [B, L].

    Args:
        replicas: kernels that the rows of the array hold, [B, L].
        spatial: steps of the array per group of filters and channels, [B, L].
    """
    n, c, s = layer["n"], layer["c"], layer["s"]
    p, q = (column[:, None, None] for column in PER_PE_PAIRS.T)  # [K, 1, 1]
    held_p, held_q, groups = np.minimum(p, n), np.minimum(q, c), ceil_div(n, p)  # [K, 1, L]
    words, macs = (held_p + 1) * held_q * s, held_p * held_q * s + 1
    best = np.empty(spatial.shape, np.int64), np.empty(spatial.shape, np.int64)
    step = max(1, PAIRS_AT_ONCE // (len(p) * spatial.shape[1]))
    for start in range(0, len(spatial), step):
        own = slice(start, start + step)
        some = array[own]
        fits = words * some.operand_bytes + held_p * some.accumulator_bytes <= some.l1_bytes
        taken = groups * ceil_div(c, q * replicas[own]) * spatial[own] * macs
        taken = np.where(fits, taken, NEVER)
        best[0][own], best[1][own] = taken.min(axis=0), taken.argmin(axis=0)
    pairs = PER_PE_PAIRS[best[1]]
    return best[0], pairs[..., 0], pairs[..., 1]


def systolic_ws(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Weights stay; inputs and partial sums are pumped."""
    passes = tile.nk * ceil_div(tile.ct * layer["r"] * layer["s"], array.rows)
    return _systolic("ws", array, layer, tile.nn * ceil_div(tile.nt, array.cols), tile.nm, passes)


def systolic_os(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Outputs stay; inputs and weights are pumped."""
    inputs, weights = tile.nn * ceil_div(tile.nt, array.cols), tile.nm * ceil_div(tile.mt, array.rows)
    return _systolic("os", array, layer, inputs, weights, tile.nk)


def systolic_is(array: Arrays, layer: Columns, tile: Tiles) -> Mapped:
    """Inputs stay; weights and partial sums are pumped."""
    passes = tile.nk * ceil_div(tile.ct * layer["r"] * layer["s"], array.rows)
    return _systolic("is", array, layer, tile.nn, tile.nm * ceil_div(tile.mt, array.cols), passes)


def _systolic(
    dataflow: str, array: Arrays, layer: Columns, inputs: Integers, weights: Integers, passes: Integers
) -> Mapped:
    """The mapping with `inputs` and `weights` as reads per operand."""
    shape = np.broadcast_shapes(array.rows.shape, layer["m"].shape)
    return Mapped(
        cycles=systolic.cycles_of_layers(
            dataflow, array.rows, array.cols, layer["m"], layer["n"], layer["kd"]
        ),
        inputs=layer["m"] * layer["kd"] * inputs,
        weights=layer["kd"] * layer["n"] * weights,
        passes=np.broadcast_to(passes, shape),
        fits=np.broadcast_to(array.l1_bytes >= array.operand_bytes + array.accumulator_bytes, shape),
    )


def _folds(
    outputs: Integers, tile: Integers, lanes: Integers, kernel: Integers, stride: Integers
) -> tuple[Integers, Integers]:
    """Folds of an output axis over its tiles, `lanes` outputs at a time, and the input pixels that they
    read.
    """
    folds = ceil_div(outputs, tile) * ceil_div(tile, lanes)
    return folds, folds * pixels_read(np.minimum(tile, lanes), kernel, stride)


TEMPLATES: Mapping[str, Callable[[Arrays, Columns, Tiles], Mapped]] = {
    "nvdla": nvdla,
    "shidiannao": shidiannao,
    "eyeriss": eyeriss,
    "systolic_ws": systolic_ws,
    "systolic_os": systolic_os,
    "systolic_is": systolic_is,
}

# Accesses to L1 (or to the registers of a systolic array) per multiply-add: operands, and partial sums.
L1_ACCESSES: Mapping[str, tuple[int, int]] = {
    "nvdla": (1, 0),  # the weight; an adder tree sums the channels
    # an input arrives from the neighbour and moves on; a partial sum is read and written
    "shidiannao": (2, 2),
    "eyeriss": (2, 2),
    "systolic_ws": (3, 2),  # the weight; an input and a partial sum are written and read on their way through
    "systolic_os": (4, 2),
    "systolic_is": (3, 2),
}
