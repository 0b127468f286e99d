"""A workload: the layers of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer

Dimensions = Mapping[str, int | Sequence[int]]  # sizes of an ONNX model's dynamic dimensions
MAX_MACS = 2**57  # 64-bit sums of up to 16 bytes per multiply-add
MAX_OUTPUTS = 2**24  # along a layer's height or width: the search for tiles lists them
MAX_LAYERS = 4096  # rows: each has a search for tiles


@dataclass(frozen=True)
class Workload:
    """The layers of a network.

    Args:
        name: short name of letters, digits and underscores; of one layer, "network:layer".
        title: full name.
        source: source of the layers and the accuracy.
        accuracy: published ImageNet top-1 accuracy, 0 to 1; None if there is none.
        layers: one or more layers.
        input: input of the network, in words.
        note: further remarks.

    Raises:
        ArchGymError: no layers, or more than 4,096 layers, 2^24 output rows or columns, or 2^57
            multiply-adds.
    """

    identity: ClassVar[str] = "archgym.simulators.accelerator.workloads:Workload"

    name: str
    title: str
    source: str
    accuracy: float | None
    layers: tuple[Layer, ...]
    input: str = ""
    note: str = ""
    _table_parameters: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ArchGymError(f"the workload {self.name!r} has no layers")
        if len(self.layers) > MAX_LAYERS:
            raise ArchGymError(
                f"the workload {self.name!r} has {len(self.layers):,} layers; simulators take up to "
                f"{MAX_LAYERS:,}: split it"
            )
        if self.macs > MAX_MACS:
            raise ArchGymError(
                f"the workload {self.name!r} has {self.macs:.3g} multiply-adds; simulators take up to 2^57"
            )
        for layer in self.layers:
            if (most := max(layer.output_h, layer.output_w)) > MAX_OUTPUTS:
                raise ArchGymError(
                    f"the workload {self.name!r} has a layer {layer.name!r} of {most:,} output rows or "
                    "columns; simulators take up to 2^24: give a smaller input"
                )

    @property
    def macs(self) -> int:
        """Multiply-adds of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def digest(self) -> str:
        """A hash of everything that results depend on: layers and accuracy."""
        return hashlib.sha256(repr((self.layers, self.accuracy)).encode()).hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """Learned numbers, including those of tables."""
        return sum(layer.parameters for layer in self.layers) + self._table_parameters
