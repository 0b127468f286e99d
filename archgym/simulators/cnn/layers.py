"""Plain convolutional networks of one to four layers, and the conditional space of their designs.

    image [1, 16, 16] -> layer 1 -> .. -> layer depth -> global average -> linear (10 classes)

    layer      y = ReLU(BN(conv(x)) [+ x, where it has a skip])     kernel k x k, zero padding k // 2
    stride     the convolution has stride 2
    pool       maximum over 2 x 2 pixels, after the ReLU

A skip exists only where input and output agree in shape: a layer that keeps the resolution keeps the width,
and one that halves it chooses its width. The space has 4,398 networks, no two of them equal:

    layer 1      6 = 2 kernels x 3 widths
    layers 2, 3  12 = 2 kernels x (no | skip, stride x 2 widths, pool x 2 widths)
    layer 4      4 = 2 kernels x (no | skip); the resolution has been halved twice at most
    in all       6 (1 + 12 (1 + 12 (1 + 4)))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from archgym.space import Indices

SIDE = 16  # pixels of an image's frame
CLASSES = 10
DEPTHS = (1, 2, 3, 4)
FIRST_KERNELS, KERNELS = (3, 5), (1, 3)
FIRST_WIDTHS, WIDTHS = (8, 12, 16), (16, 32)
DOWNSAMPLE = ("none", "stride", "pool")

Downsample = Literal["none", "stride", "pool"]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        kernel: side of the kernel in pixels, odd.
        width: output channels.
        downsample: how the layer halves the resolution: not ("none"), "stride" or "pool".
        skip: whether the layer adds its input to its output.
    """

    kernel: int
    width: int
    downsample: Downsample = "none"
    skip: bool = False

    def __str__(self) -> str:
        """Such as 3x16, 3x32p (pool), 3x32s (stride) or 3x32+ (skip)."""
        return f"{self.kernel}x{self.width}" + self.downsample[0] * (self.downsample != "none") + "+" * self.skip


def name_of(layers: Sequence[Layer]) -> str:
    """A network in one word, such as 5x16-3x32p-3x32+."""
    return "-".join(map(str, layers))


def all_networks() -> Iterator[tuple[Layer, ...]]:
    """Every network, in the order of the space."""
    for depth in DEPTHS:
        yield from _continued((), depth)


def _continued(layers: tuple[Layer, ...], depth: int) -> Iterator[tuple[Layer, ...]]:
    if len(layers) == depth:
        yield layers
        return
    if not layers:
        for kernel, width in product(FIRST_KERNELS, FIRST_WIDTHS):
            yield from _continued((Layer(kernel, width),), depth)
        return
    for kernel in KERNELS:
        for downsample in DOWNSAMPLE if len(layers) < max(DEPTHS) - 1 else ("none",):
            choices = (
                [Layer(kernel, layers[-1].width, "none", skip) for skip in (False, True)]
                if downsample == "none"
                else [Layer(kernel, width, downsample) for width in WIDTHS]
            )
            for layer in choices:
                yield from _continued((*layers, layer), depth)


@dataclass(frozen=True)
class Networks:
    """A batch of networks; layers that a network lacks have zeros.

    Attributes:
        kernel, width: int64 [B, L].
        stride, pool, skip: bool [B, L].
    """

    kernel: Indices
    width: Indices
    stride: npt.NDArray[np.bool_]
    pool: npt.NDArray[np.bool_]
    skip: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, networks: Sequence[Sequence[Layer]]) -> Networks:
        """Networks given by their layers."""
        longest = max(map(len, networks))
        rows = [[*layers, *[Layer(0, 0)] * (longest - len(layers))] for layers in networks]
        kernel, width = (np.array([[getattr(layer, name) for layer in row] for row in rows]) for name in ("kernel", "width"))
        stride, pool = (np.array([[layer.downsample == name for layer in row] for row in rows]) for name in DOWNSAMPLE[1:])
        return cls(kernel, width, stride, pool, np.array([[layer.skip for layer in row] for row in rows]))

    @property
    def exists(self) -> npt.NDArray[np.bool_]:
        """Whether a network has a layer, bool [B, L]."""
        return self.kernel > 0
