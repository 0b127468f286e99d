"""A plain convolutional network in PyTorch, built from its layers (`layers`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from archgym.errors import MissingDependency
from archgym.simulators.cnn.layers import CLASSES, Layer

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError:
    raise MissingDependency(
        "training networks needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None


class Block(nn.Module):
    """One layer: convolution, batch norm, skip, ReLU, pooling.

    Args:
        layer: the layer.
        channels: input channels.
    """

    def __init__(self, layer: Layer, channels: int):
        super().__init__()
        self.layer = layer
        self.convolution = nn.Conv2d(
            channels,
            layer.width,
            layer.kernel,
            stride=2 if layer.downsample == "stride" else 1,
            padding=layer.kernel // 2,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(layer.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, H] -> [B, width, H or H / 2, ..]."""
        y = self.norm(self.convolution(x))
        y = F.relu(y + x if self.layer.skip else y)
        return F.max_pool2d(y, 2) if self.layer.downsample == "pool" else y


class PlainCnn(nn.Module):
    """The network of a list of layers.

    Args:
        layers: its layers, at least one.
        seed: seed for the initial weights, PyTorch's default distributions.
    """

    def __init__(self, layers: Sequence[Layer], seed: int):
        super().__init__()
        channels = [1, *(layer.width for layer in layers)]
        self.blocks = nn.ModuleList(map(Block, layers, channels))
        self.head = nn.Linear(channels[-1], CLASSES)
        stream = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    for parameter in module.parameters():
                        parameter.uniform_(-bound, bound, generator=stream)
        # documented, but not in PyTorch's annotations
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def layers(self) -> list[Layer]:
        """Its layers."""
        return [cast(Block, block).layer for block in self.blocks]

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 1, H, H] -> logits [B, 10]."""
        for block in self.blocks:
            images = block(images)
        return self.head(images.mean((2, 3)))
