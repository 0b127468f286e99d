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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Ordinal, Parameter

SIDE = 16  # pixels of an image's frame
CLASSES = 10
EPOCHS = 4  # of a training
SEEDS = (0, 1, 2)  # training seeds of the table
IMAGES = 1350  # for validation, and for test
DEPTH = 4  # layers at most
DOWNSAMPLE = ("none", "stride", "pool")

Downsample = Literal["none", "stride", "pool"]


def _parameters_of(layer: int) -> list[Parameter]:
    """Parameters of a layer after the first."""
    exists = {"depth": list(range(layer, DEPTH + 1))}
    parameters: list[Parameter] = [Integer(f"kernel{layer}", 1, 3, step=2, default=3, when=exists)]
    if layer == DEPTH:  # it keeps the resolution, so that the space is small enough to train all of it
        return [*parameters, Categorical(f"skip{layer}", (False, True), when=exists)]
    halves = {f"downsample{layer}": DOWNSAMPLE[1:]}
    return [
        *parameters,
        Categorical(f"downsample{layer}", DOWNSAMPLE, when=exists),
        Ordinal(f"width{layer}", (16, 32), when=halves),
        Categorical(f"skip{layer}", (False, True), when={f"downsample{layer}": "none"}),
    ]


SPACE = DesignSpace(
    [
        Integer("depth", 1, DEPTH),
        Integer("kernel1", 3, 5, step=2),
        Ordinal("width1", (8, 12, 16)),
        *(parameter for layer in range(2, DEPTH + 1) for parameter in _parameters_of(layer)),
    ]
)


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
        return (
            f"{self.kernel}x{self.width}" + self.downsample[0] * (self.downsample != "none") + "+" * self.skip
        )


def name_of(layers: Sequence[Layer]) -> str:
    """A network in one word, such as 5x16-3x32p-3x32+."""
    return "-".join(map(str, layers))


def layers_of(design: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers of a design, given by its active parameters."""
    layers = [Layer(int(design["kernel1"]), int(design["width1"]))]
    for n in range(2, int(design["depth"]) + 1):
        width = int(design.get(f"width{n}", layers[-1].width))
        downsample = design.get(f"downsample{n}", "none")
        layers.append(
            Layer(int(design[f"kernel{n}"]), width, downsample, bool(design.get(f"skip{n}", False)))
        )
    return tuple(layers)


@cache
def all_networks() -> tuple[tuple[Layer, ...], ...]:
    """Every network, in the order of the space."""
    return tuple(layers_of(SPACE.design(row)) for row in SPACE.from_ordinal(np.arange(SPACE.size)))


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
    def of(cls, networks: Iterable[Sequence[Layer]]) -> Networks:
        """Networks given by their layers."""
        given = [list(layers) for layers in networks]
        longest = max(map(len, given))
        rows = [[*layers, *[Layer(0, 0)] * (longest - len(layers))] for layers in given]

        def column(read: Callable[[Layer], Any]) -> Array:
            return np.array([[read(layer) for layer in row] for row in rows])

        return cls(
            column(lambda layer: layer.kernel),
            column(lambda layer: layer.width),
            column(lambda layer: layer.downsample == "stride"),
            column(lambda layer: layer.downsample == "pool"),
            column(lambda layer: layer.skip),
        )

    @property
    def exists(self) -> npt.NDArray[np.bool_]:
        """Whether a network has a layer, bool [B, L]."""
        return self.kernel > 0
