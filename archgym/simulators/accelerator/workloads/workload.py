"""A workload: a network as an accelerator sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer

Dimensions = Mapping[str, int | Sequence[int]]  # sizes of an ONNX model's dynamic dimensions
MAX_MACS = 2**57  # up to 16 bytes per multiply-add are added up in 64-bit integers
MAX_OUTPUTS = 2**24  # along a layer's height or width; tiles are searched over a list of them
MAX_LAYERS = 4096  # rows; tiles are searched for each


@dataclass(frozen=True)
class Workload:
    """A network as an accelerator sees it.

    Args:
        name: short, of letters, digits and underscores.
        title: for people.
        source: where the layers and the accuracy are from.
        accuracy: published ImageNet top-1, from 0 to 1; None where there is none.
        layers: at least one.
        input: what the network is given, in words.
        note: what else to know.

    Raises:
        ArchGymError: no layers, or more than 4,096 of them, 2^24 output rows or columns, or 2^57 multiply-adds.
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
                f"the workload {self.name!r} has {len(self.layers):,} layers; simulators take up to {MAX_LAYERS:,}: split it"
            )
        if self.macs > MAX_MACS:
            raise ArchGymError(f"the workload {self.name!r} has {self.macs:.3g} multiply-adds; simulators take up to 2^57")
        for layer in self.layers:
            if (most := max(layer.output_h, layer.output_w)) > MAX_OUTPUTS:
                raise ArchGymError(
                    f"the workload {self.name!r} has a layer {layer.name!r} of {most:,} output rows or columns; simulators take up to 2^24:"
                    " give a smaller input"
                )

    @property
    def macs(self) -> int:
        """Multiply-adds of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def digest(self) -> str:
        """Stands for what a simulator sees: layers and accuracy."""
        return hashlib.sha256(repr((self.layers, self.accuracy)).encode()).hexdigest()[:16]

    @property
    def parameters(self) -> int:
        """Learned numbers, those of tables included."""
        return sum(layer.parameters for layer in self.layers) + self._table_parameters
