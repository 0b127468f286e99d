"""Exact costs of plain convolutional networks: parameters, multiply-adds and peak activation memory.

With c_l the channels and H_l the side of the output of layer l (c_0 = 1, H_0 = 16), k_l its kernel, h_l the
side of its convolution's output (H_l, or 2 H_l before pooling), and D the depth:

    params   sum_l (k_l^2 c_{l-1} c_l + 2 c_l) + 10 (c_D + 1)      batch norms have 2 parameters per channel
    MACs     sum_l k_l^2 c_{l-1} c_l h_l^2 + 10 c_D

Inference runs operators one after another. Batch norm and ReLU are folded into the operator before them. A
tensor lives from the operator that writes it to the last one that reads it, so with x = H_{l-1}^2 c_{l-1},
y = h_l^2 c_l and z = H_l^2 c_l the numbers of values of a layer's input, convolution and output,

    convolution     x + y
    skip            x + y + z      the input is read again; in place, z is y: x + y
    pooling         y + z          in place: y
    global average  z + c_D        in place: z
    linear          c_D + 10

    peak memory = (4 | 1 byte) max over operators

In place, an element-wise operator overwrites an operand that nobody reads later, and pooling its input, whose
first pixels have been read when they are overwritten. A dense convolution has no such form.

Patch by patch, the first stage (the layers up to the first that halves the resolution, or all) computes its
output in n x n tiles, each from the image. A tile of rows [a, b) needs rows

    convolution, stride s    [s a - r, s (b - 1) + r + 1) of its input, r = k // 2, cut at the edges
    pooling                  [2 a, 2 b)

so tiles overlap by halos, which are computed again: a layer's h_l^2 in MACs becomes (sum of the n tiles'
rows)^2. Image and stage's output live as long as the stage, beside the tensors of one tile; a tile's last
operator writes into the stage's output:

    convolution                     image + output + x + y, or + x where y is the output
    skip, last operator             image + output + x + y; in place, y is in the output: + x
    pooling, last operator          image + output + y

Sources: Lin et al., "MCUNet", NeurIPS 2020 (TinyEngine: peak memory by live tensors, in-place operators,
there depthwise convolutions); Lin et al., "MCUNetV2", NeurIPS 2021 (patch by patch, halos computed again).
Both use int8.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from archgym.simulators.cnn.layers import CLASSES, SIDE, Networks
from archgym.space import Array

BYTES = {"float32": 4, "int8": 1}  # of a value

Precision = Literal["float32", "int8"]


class Sides(NamedTuple):
    """Sides of feature maps in pixels, int64 [B, L] each: a layer's input, convolution and output."""

    input: Array
    convolution: Array
    output: Array


def costs(
    networks: Networks, *, precision: Precision = "float32", in_place: bool = False, patches: int = 1
) -> dict[str, Array]:
    """`params`, `macs` and `peak_memory_bytes` of networks, int64 [B] each.

    Args:
        networks: the networks.
        precision: type of activations.
        in_place: whether operators that can overwrite an operand do so.
        patches: n, tiles of the first stage in each direction: 1 (layer by layer), 2, 4 or 8.
    """
    sides = feature_sides(networks)
    channels = np.concatenate([np.ones_like(networks.width[:, :1]), networks.width[:, :-1]], axis=1)
    last = _at_depth(networks.width, networks)
    weights = networks.kernel**2 * channels * networks.width
    params = ((weights + 2 * networks.width) * networks.exists).sum(axis=1) + CLASSES * (last + 1)
    pixels, peak = sides.convolution**2, _peak_by_layer(networks, sides, channels, in_place)
    if patches > 1:
        tiles = _tiles(networks, sides, patches)
        stage = first_stage(networks)
        pixels = np.where(stage, tiles.convolution.sum(axis=2) ** 2, pixels)
        peak = np.where(stage, _peak_by_patch(networks, tiles, channels, sides, in_place), peak)
    head = np.maximum(_at_depth(sides.output, networks) ** 2 * last + last * (not in_place), last + CLASSES)
    return {
        "params": params,
        "macs": (weights * pixels * networks.exists).sum(axis=1) + CLASSES * last,
        "peak_memory_bytes": BYTES[precision]
        * np.maximum(head, np.where(networks.exists, peak, 0).max(axis=1)),
    }


def feature_sides(networks: Networks) -> Sides:
    """Sides of every layer's feature maps."""
    halved = networks.stride | networks.pool
    output = SIDE >> np.cumsum(halved, axis=1)
    return Sides(output << halved, output << networks.pool, output)


def first_stage(networks: Networks) -> Array:
    """Layers up to the first that halves the resolution, bool [B, L]; all where none does."""
    halved = networks.stride | networks.pool
    return networks.exists & (np.cumsum(halved, axis=1) - halved == 0)


def _at_depth(values: Array, networks: Networks) -> Array:
    """The last layer's value, [B, L] -> [B]."""
    return np.take_along_axis(values, networks.exists.sum(axis=1)[:, None] - 1, axis=1)[:, 0]


def _peak_by_layer(networks: Networks, sides: Sides, channels: Array, in_place: bool) -> Array:
    """Values that live at most while each layer runs, [B, L]."""
    x = sides.input**2 * channels
    y = sides.convolution**2 * networks.width
    z = sides.output**2 * networks.width
    peak = x + y
    if not in_place:
        peak = peak + networks.skip * z
    return np.asarray(np.maximum(peak, networks.pool * (y if in_place else y + z)))


def _tiles(networks: Networks, sides: Sides, patches: int) -> Sides:
    """Rows of every tile in the layers of the first stage, int64 [B, L, n] each."""
    stage = first_stage(networks)
    rows = Sides(*(np.zeros((*stage.shape, patches), np.int64) for _ in Sides._fields))
    end = _at_stage_end(sides.output, stage)[:, None]
    begin, stop = (end * np.arange(start, patches + start) // patches for start in (0, 1))
    for layer in reversed(range(stage.shape[1])):
        inside = stage[:, layer, None]
        pool, stride = (1 << halved[:, layer, None] for halved in (networks.pool, networks.stride))
        reach, side = networks.kernel[:, layer, None] // 2, sides.input[:, layer, None]
        rows.output[:, layer] = stop - begin
        begin, stop = np.where(inside, pool * begin, begin), np.where(inside, pool * stop, stop)
        rows.convolution[:, layer] = stop - begin
        begin, stop = (
            np.where(inside, np.maximum(stride * begin - reach, 0), begin),
            np.where(inside, np.minimum(stride * (stop - 1) + reach + 1, side), stop),
        )
        rows.input[:, layer] = stop - begin
    return rows


def _peak_by_patch(networks: Networks, tiles: Sides, channels: Array, sides: Sides, in_place: bool) -> Array:
    """Values that live at most while each layer of the first stage runs on any tile, [B, L]."""
    stage = first_stage(networks)
    ends = stage & ~np.concatenate([stage[:, 1:], np.zeros_like(stage[:, :1])], axis=1)
    # the first layer's input is the image itself, which is counted once
    channels = np.where(np.arange(channels.shape[1]) == 0, 0, channels)
    x, y, z = (
        rows[..., :, None] * rows[..., None, :] * width[..., None, None]  # [B, L, n, n]
        for rows, width in zip(tiles, (channels, networks.width, networks.width), strict=True)
    )
    skip, pool, last = (flag[..., None, None] for flag in (networks.skip, networks.pool, ends))
    written = last & ~pool & (in_place | ~skip)  # the convolution's output is in the stage's
    peak = x + np.where(written, 0, y)
    if not in_place:
        peak = peak + (skip & ~last) * z
    output = (_at_stage_end(sides.output, stage) ** 2 * _at_stage_end(networks.width, stage))[:, None]
    return np.asarray(SIDE**2 + output + peak.max(axis=(2, 3)))


def _at_stage_end(values: Array, stage: Array) -> Array:
    """The value of the first stage's last layer, [B, L] -> [B]."""
    return np.take_along_axis(values, stage.sum(axis=1)[:, None] - 1, axis=1)[:, 0]
