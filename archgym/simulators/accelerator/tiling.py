"""Tiling: traffic between off-chip memory and the global buffer, for the best tile and loop order that fit.

A group of a layer is tiled in output pixels (et x ft of E x F, or whole images), filters (nt of N) and
channels (ct of C), so that there are nm, nn and nk tiles. A buffer holds one tile of inputs, weights and
outputs each; double-buffered, it holds two of an operand with several tiles (b bytes per operand, a per
partial sum):

    need    = w_I ct in(et, ft) b + w_W ct R S nt b + w_O mt nt a
    in(e, f) = min((e - 1) stride + R, e R) * min((f - 1) stride + S, f S)   input pixels of a tile, padding
                                                                             included
    traffic = b C I_pass x_I + b W x_W + b O + 2 a O (x_O - 1)                I_pass those of all tiles,
                                                                              padding excluded

An operand is fetched x times: the trips of the loop that it does not depend on, unless all its own loops
inside that one have a single trip. All 6 orders of the three loops are tried. Partial sums of an unfinished
output are written and read again.

The traffic-capacity curve of a layer (Huang et al., "Mind the gap: attainable data movement", ISCA 2024)
keeps, of all tiles sorted by need, those that lower

    J = traffic + rho * (traffic + on_chip)                       rho an on-chip over an off-chip access
    on_chip = b (M Kd nn (nt / D) + Kd N nm + O)                  weight-stationary on D x D PEs,
              + 2 a O (nk (ct R S / D) - 1)                       divisions round up

and do not raise the traffic over that of the last tile kept, so that traffic never rises with the size of the
buffer and slightly less traffic does not cost much work on chip. Candidates are powers of two and divisors,
independent of the buffer, and D = 128 is nominal, so that one curve serves all designs of a precision. Of
tiles with equal need and J, the one with less traffic is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import permutations
from math import isqrt
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from archgym.simulators.accelerator.design import Precision
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.systolic import ceil_div

NOMINAL_ARRAY = 128  # D; the best agreement with accelforge's mapper is from 64 to 192
WORD = Precision(operand_bytes=1, accumulator_bytes=1)
OFF_CHIP_OVER_ON_CHIP = 25  # 1 / rho: 7.03 pJ/bit over 0.27, accelforge's NVDLA template

Integers = npt.NDArray[np.int64]


class Indexed:
    """Base of dataclasses of arrays: `columns[index]` indexes every array."""

    def __getitem__(self, index: Any) -> Self:
        return type(self)(*[column[index] for column in vars(self).values()])


@dataclass(frozen=True)
class Tiles(Indexed):
    """Tiles of one layer's group: the traffic-capacity curve [T], by ascending need, or tiles looked up in
    several, [B, L].

    Attributes:
        need: buffer size, bytes.
        mt, nt, ct: output pixels, filters and channels of a tile.
        et, ft: output rows and columns of a tile, in each of its images.
        nm, nn, nk: number of tiles along output pixels, filters and channels.
        reads, writes: off-chip traffic, bytes.
        first: inputs and weights of the first tile, bytes.
    """

    need: Integers
    mt: Integers
    et: Integers
    ft: Integers
    nt: Integers
    ct: Integers
    nm: Integers
    nn: Integers
    nk: Integers
    reads: Integers
    writes: Integers
    first: Integers


def candidates(size: int) -> Integers:
    """Tile sizes along a dimension: powers of two and divisors, ascending."""
    small = np.arange(1, isqrt(size) + 1)
    divisors = small[size % small == 0]
    return np.unique(np.concatenate([2 ** np.arange(size.bit_length()), divisors, size // divisors]))


def pixels_read(outputs: Any, kernel: Any, stride: Any) -> Any:
    """Input pixels along one axis that neighbouring outputs read: overlapping kernels share pixels,
    strides beyond the kernel skip some.
    """
    return np.minimum((outputs - 1) * stride + kernel, outputs * kernel)


def _pixels_per_pass(
    size: int, outputs: int, tile: Integers, kernel: int, stride: int, front: int
) -> Integers:
    """Input pixels along one axis that all tiles of `tile` outputs read, padding excluded: [T] -> [T]."""
    # no list of intervals needed
    if stride >= kernel and front == 0 and (outputs - 1) * stride + kernel <= size:
        return np.full(len(tile), outputs * kernel)
    if stride >= kernel:  # kernels do not overlap, nor do tiles
        begin = np.arange(outputs) * stride - front
        return np.full(len(tile), _inside(begin, begin + kernel, size))
    totals = []
    for length in tile.tolist():
        start = np.arange(0, outputs, length)
        last = np.minimum(start + length, outputs) - 1
        totals.append(_inside(start * stride - front, last * stride - front + kernel, size))
    return np.array(totals, np.int64)


def _inside(begin: Integers, end: Integers, size: int) -> int:
    """Number of pixels of the intervals [begin, end) within [0, size)."""
    return int(np.maximum(np.minimum(end, size) - np.maximum(begin, 0), 0).sum())


@lru_cache(maxsize=4096)
def curve(layer: Layer, precision: Precision, double_buffering: bool) -> Tiles:
    """The traffic-capacity curve of one group of a layer: a few tiles [T], ascending in `need`, descending
    in traffic.
    """
    tile = _all_tiles(layer, precision, double_buffering)
    traffic = tile["reads"] + tile["writes"]
    order = np.lexsort((traffic, tile["cost"], tile["need"]))
    kept, least_traffic, least_cost = [], np.inf, np.inf
    for index, cost, moved in zip(
        order.tolist(), tile["cost"][order].tolist(), traffic[order].tolist(), strict=True
    ):
        if cost < least_cost and moved <= least_traffic:
            kept.append(index)
            least_cost, least_traffic = cost, moved
    return Tiles(*(tile[f.name][kept] for f in fields(Tiles)))


def compulsory_bytes(layer: Layer, precision: Precision) -> int:
    """Minimum off-chip traffic of any tiling: each operand of one group once, bytes."""
    rows, columns = (
        int(axis[-1]) for axis in _pixels(layer, np.array([layer.output_h]), np.array([layer.output_w]))
    )
    m, n, k = layer.shape
    channels = layer.channels // layer.groups
    return precision.operand_bytes * (layer.batch * rows * columns * channels + k * n + m * n)


def compulsory_words(layers: Iterable[Layer]) -> int:
    """Words of all operands of all layers, each moved once: the basis of references for any workload."""
    return sum(compulsory_bytes(layer, WORD) * layer.groups * layer.repeats for layer in layers)


def _pixels(layer: Layer, et: Integers, ft: Integers) -> tuple[Integers, Integers]:
    rows = _pixels_per_pass(
        layer.height, layer.output_h, et, layer.kernel_h, layer.stride, layer.padding_h // 2
    )
    columns = _pixels_per_pass(
        layer.width, layer.output_w, ft, layer.kernel_w, layer.stride, layer.padding_w // 2
    )
    return rows, columns


def _pixel_tiles(layer: Layer) -> dict[str, Integers]:
    """Tiles in output pixels [T], of one image or of several whole ones, without dominated tiles."""
    rows, columns = candidates(layer.output_h), candidates(layer.output_w)
    rows_pass, columns_pass = _pixels(layer, rows, columns)
    i, j = (
        axis.ravel() for axis in np.meshgrid(np.arange(len(rows)), np.arange(len(columns)), indexing="ij")
    )
    images = np.ones(len(i), np.int64)
    whole = candidates(layer.batch)[1:]
    i = np.concatenate([i, np.full(len(whole), len(rows) - 1)])
    j = np.concatenate([j, np.full(len(whole), len(columns) - 1)])
    images = np.concatenate([images, whole])
    et, ft = rows[i], columns[j]
    tiles = {
        "et": et,
        "ft": ft,
        "pixels": images * et * ft,
        "inputs": images
        * pixels_read(et, layer.kernel_h, layer.stride)
        * pixels_read(ft, layer.kernel_w, layer.stride),
        "nm": ceil_div(layer.batch, images) * ceil_div(layer.output_h, et) * ceil_div(layer.output_w, ft),
        "per_pass": layer.batch * rows_pass[i] * columns_pass[j],
    }
    merit = np.stack([tiles[name] for name in ("pixels", "inputs", "nm", "per_pass")])
    beaten = np.zeros(len(i), bool)
    for t in range(len(i)):
        others = merit[:, ~beaten]
        beaten[t] = (
            (others <= merit[:, t, None]).all(axis=0) & (others < merit[:, t, None]).any(axis=0)
        ).any()
    return {name: values[~beaten] for name, values in tiles.items()}


def _all_tiles(layer: Layer, precision: Precision, double_buffering: bool) -> dict[str, npt.NDArray[Any]]:
    """Every candidate tile with its best loop order: columns [T]."""
    m, n, k = layer.shape
    channels, kernel = layer.channels // layer.groups, layer.kernel_h * layer.kernel_w
    pixel_tiles = _pixel_tiles(layer)
    nts, cts = candidates(n), candidates(channels)
    p, i, j = (
        axis.ravel()
        for axis in np.meshgrid(*(np.arange(len(a)) for a in (pixel_tiles["et"], nts, cts)), indexing="ij")
    )
    nt, ct = nts[i], cts[j]
    pixels, inputs, per_pass, nm = (pixel_tiles[name][p] for name in ("pixels", "inputs", "per_pass", "nm"))
    nn, nk = ceil_div(n, nt), ceil_div(channels, ct)

    b, a = precision.operand_bytes, precision.accumulator_bytes
    copies = 1 + int(double_buffering)
    first = b * (ct * inputs + ct * kernel * nt)
    need = (
        np.where(nm * nk > 1, copies, 1) * (b * ct * inputs)
        + np.where(nn * nk > 1, copies, 1) * (b * ct * kernel * nt)
        + np.where(nm * nn > 1, copies, 1) * (a * pixels * nt)
    )
    input_pass, weight_pass, outputs = b * channels * per_pass, b * k * n, m * n
    passes = nk * ceil_div(ct * kernel, NOMINAL_ARRAY)
    on_chip = b * (m * k * nn * ceil_div(nt, NOMINAL_ARRAY) + k * n * nm + outputs) + 2 * a * outputs * (
        passes - 1
    )

    unknown = np.zeros(len(p), np.int64)
    best: dict[str, npt.NDArray[Any]] = {"cost": np.full(len(p), np.inf), "reads": unknown, "writes": unknown}
    trips = {"m": nm, "n": nn, "k": nk}
    for loops in permutations("mnk"):
        # keyed by the loop that the operand does not depend on
        x = {loop: _fetches(loops, loop, trips) for loop in loops}
        spilled = a * outputs * (x["k"] - 1)
        reads = input_pass * x["n"] + weight_pass * x["m"] + spilled
        writes = b * outputs + spilled
        # J / rho: whole numbers, so that ties are exact below 2^53
        cost = (OFF_CHIP_OVER_ON_CHIP + 1.0) * (reads + writes) + on_chip
        better = (cost < best["cost"]) | (
            (cost == best["cost"]) & (reads + writes < best["reads"] + best["writes"])
        )
        columns = {"cost": cost, "reads": reads, "writes": writes}
        best = {name: np.where(better, column, best[name]) for name, column in columns.items()}
    shape = {
        "mt": pixels,
        "et": pixel_tiles["et"][p],
        "ft": pixel_tiles["ft"][p],
        "nt": nt,
        "ct": ct,
        "nm": nm,
        "nn": nn,
        "nk": nk,
    }
    return {**best, **shape, "need": need, "first": first}


def _fetches(loops: tuple[str, ...], absent: str, trips: dict[str, Integers]) -> Integers:
    """Fetches of an operand that does not depend on the loop `absent`, with loops from the outermost, [T]."""
    inside = np.ones_like(trips[absent])
    for loop in loops[loops.index(absent) + 1 :]:
        inside = inside * trips[loop]
    return np.where(inside == 1, 1, trips[absent])
