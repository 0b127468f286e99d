"""Exact costs of a cell's network: parameters, multiply-adds and layers.

A network is a skeleton around copies of its cell: a stem, one stage of cells per width, a reduction between
stages, a classifier. A cell adds one convolution (with batch norm) for each of its convolution edges; dead
ones count, as in the published tables. No other operation has parameters or multiply-adds. So with n1 and n3
the numbers of 1x1 and 3x3 convolutions of a cell,

    cost(cell) = cost(skeleton) + n1 cost(1x1 edges) + n3 cost(3x3 edges)

    cifar10          params  73,306 + 28,000 n1 + 243,040 n3    MACs  7,783,040 + 3,932,160 n1 + 35,389,440 n3
    cifar100         params  79,156 + ...                       MACs  7,788,800 + ...
    imagenet16-120   params  80,456 + ...                       MACs  1,953,280 +   983,040 n1 +  8,847,360 n3
    digits           params     666 +    576 n1 +   4,672 n3    MACs     13,472 +    20,480 n1 +    184,320 n3

Sources: Dong & Yang, "NAS-Bench-201", ICLR 2020 (the first three); `training.train` (digits).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from archgym.errors import unknown
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.nas.cells import convolutions
from archgym.space import Indices

BATCH_NORM, BIAS = 2, 1  # parameter vectors of a layer


@dataclass(frozen=True)
class Network:
    """The skeleton of a network.

    Attributes:
        name: name of the data set.
        channels: channels of an image.
        side: height and width of an image, pixels.
        classes: number of classes.
        widths: channels of each stage.
        cells: cells per stage.
        residual: True if a residual block of stride 2 joins stages, instead of pooling and a 1x1 convolution.
    """

    name: str
    channels: int
    side: int
    classes: int
    widths: tuple[int, ...]
    cells: int
    residual: bool

    @cached_property
    def skeleton(self) -> tuple[Layer, ...]:
        """The layers outside the cells, in order."""
        width, side = self.widths[0], self.side
        layers = [_convolution("stem", self.channels, width, 3, side)]
        for stage, wider in enumerate(self.widths[1:], start=1):
            name = f"reduction{stage}"
            if self.residual:
                layers.append(_convolution(f"{name}.conv_a", width, wider, 3, side, stride=2))
                layers.append(_convolution(f"{name}.conv_b", wider, wider, 3, side // 2))
                layers.append(_convolution(f"{name}.shortcut", width, wider, 1, side // 2, vectors=0))
            else:
                layers.append(_convolution(name, width, wider, 1, side // 2))
            width, side = wider, side // 2
        return (*layers, Layer.gemm("classifier", 1, self.classes, width, vectors=BIAS))

    def edge_layers(self, kernel: int) -> tuple[Layer, ...]:
        """The layers of one convolution edge of kernel size 1 or 3: one for each stage, repeated for each
        of its cells.
        """
        return tuple(
            _convolution(
                f"stage{stage + 1}.conv{kernel}x{kernel}",
                width,
                width,
                kernel,
                self.side >> stage,
                repeats=self.cells,
            )
            for stage, width in enumerate(self.widths)
        )

    def layers(self, cell: Indices) -> tuple[Layer, ...]:
        """The layers of one cell's network: the skeleton's, then those of every convolution edge of each
        stage.
        """
        n1, n3 = convolutions(np.asarray(cell)[None])[0].tolist()
        return (*self.skeleton, *_times(self.edge_layers(1), n1), *_times(self.edge_layers(3), n3))

    def costs(self, cells: Indices) -> dict[str, Indices]:
        """Operation indices [n, 6] -> `params` and `macs`, int64 [n] each."""
        counts = convolutions(cells)
        parts = (self.skeleton, self.edge_layers(1), self.edge_layers(3))
        params = [sum(layer.parameters for layer in layers) for layers in parts]
        params[0] += BATCH_NORM * self.widths[-1]  # the last batch norm, before the classifier
        macs = [sum(layer.macs for layer in layers) for layers in parts]
        return {
            name: base + counts @ np.array(edges)
            for name, (base, *edges) in (("params", params), ("macs", macs))
        }


def _convolution(name: str, channels: int, filters: int, kernel: int, side: int, **options: int) -> Layer:
    padding, settings = kernel - 1, {"vectors": BATCH_NORM, **options}
    return Layer(
        name,
        "conv",
        channels,
        filters,
        side,
        side,
        kernel,
        kernel,
        padding_h=padding,
        padding_w=padding,
        **settings,
    )


def _times(layers: tuple[Layer, ...], count: int) -> tuple[Layer, ...]:
    return tuple(replace(layer, repeats=layer.repeats * count) for layer in layers) if count else ()


NETWORKS = {
    network.name: network
    for network in (
        Network("digits", 1, 8, 10, (16, 16), 1, residual=False),
        Network("cifar10", 3, 32, 10, (16, 32, 64), 5, residual=True),
        Network("cifar100", 3, 32, 100, (16, 32, 64), 5, residual=True),
        Network("imagenet16-120", 3, 16, 120, (16, 32, 64), 5, residual=True),
    )
}


def get_network(name: str) -> Network:
    """A network by the name of its data set.

    Raises:
        ArchGymError: the network is unknown.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
