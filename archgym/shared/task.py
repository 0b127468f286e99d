"""Shared weights: one network that holds every design of a space (a supernet), and the data it learns from.

    path      logits of one design                  y = o_design(x) on every edge
    mixture   logits of all operations at once      y = sum_o weights[e, o] o(x)
    estimate  accuracy of designs on validation images, batch statistics, no gradient

A parameter of the space is an edge of the network, its values are the operations there. Every pass is charged
before it runs, in multiply-adds: images x multiply-adds per image, three times that while gradients are
recorded (forward, and backward to inputs and to weights). No method gives test images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.shared.meter import Meter
from archgym.space import Array, DesignSpace, Indices

if TYPE_CHECKING:
    from torch import Tensor

PASSES = 3  # of one with gradients: forward, backward to inputs and to weights
IMAGES = 450  # validation images of an estimate


class Batch(NamedTuple):
    """Images [B, ...] and labels int64 [B], as tensors."""

    images: Tensor
    labels: Tensor


class SharedTask(ABC):
    """The weights that all designs of a space share, with training and validation batches.

    Subclasses define the abstract methods; passes are charged here.

    Attributes:
        space: the design space.
        operations: number of operations of each parameter, [P].
        batch: images per batch.
        batches: batches per epoch.
        partial: K, where operations see 1/K of the channels (PC-DARTS), else 1.
        nodes: parameters whose outputs are summed, by node; those in no node, and by default all, are alone.
        family: names of the data sets that `on` takes; the task's own is first.
        cost_metrics: metrics of `cost_of_operations`.
        meter: what charges passes.
    """

    space: DesignSpace
    operations: tuple[int, ...]
    batch: int
    batches: int
    partial: int = 1
    nodes: tuple[tuple[int, ...], ...] = ()
    family: tuple[str, ...] = ()
    cost_metrics: ClassVar[tuple[str, ...]] = ("macs",)
    meter: Meter
    valid: Callable[[Indices], Array]
    """Designs [B, P] -> those within the limits on metrics that need no training, bool [B]."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.valid = lambda designs: np.ones(len(designs), bool)

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """The weights, never the choice between operations; each operation of each edge has its own."""

    @abstractmethod
    def train_batch(self) -> Batch:
        """The next training batch: with new noise each epoch, or of a few fixed images (`fresh=False`)."""

    @abstractmethod
    def valid_batch(self) -> Batch:
        """The next batch of shuffled validation images; with `fresh=False`, of the other half of the fixed
        training images.
        """

    def path(self, images: Tensor, design: Indices, gates: Tensor | None = None) -> Tensor:
        """Logits of one design [P]; only its live edges are computed.

        Args:
            gates: factors of the chosen operations' outputs, [P].

        Raises:
            BudgetExhausted: the cost budget cannot pay the pass, which is not run.
        """
        self._pay(len(images) * self.macs(design))
        return self._path(images, design, gates)

    def mixture(
        self, images: Tensor, weights: Tensor, edges: Tensor | None = None, kept: Array | None = None
    ) -> Tensor:
        """Logits of a mixture of operations.

        Args:
            weights: weight of each operation on each edge, [P, max(operations)].
            edges: weight of each edge, [P].
            kept: operations that are computed, bool [P, max(operations)]; the others are left out and cost
                nothing; None for all.

        Raises:
            BudgetExhausted: the cost budget cannot pay the pass, which is not run.
        """
        self._pay(len(images) * self.macs(kept=kept))
        return self._mixture(images, weights, edges, kept)

    def estimate(self, designs: Indices, images: int = IMAGES) -> Array:
        """Accuracy of designs [B, P] with the shared weights on the first validation images, float64 [B]."""
        import torch

        found = np.empty(len(designs))
        with torch.no_grad():
            for row, design in enumerate(designs):
                self._pay(images * self.macs(design))
                found[row] = self._accuracy(design, images)
        return found

    @abstractmethod
    def macs(self, design: Indices | None = None, *, kept: Array | None = None) -> float:
        """Multiply-adds for one image: of a design [P], or of the mixture of all operations or of those
        kept.
        """

    @abstractmethod
    def cost_of_operations(self, metric: str = "macs") -> Array:
        """Cost that each operation adds to a design, float64 [P, max(operations)].

        Args:
            metric: "macs", or another of `cost_metrics`.
        """

    def known_metrics(self, designs: Indices) -> dict[str, Array]:
        """Metrics of designs [B, P] that need no training, by name: columns [B]."""
        return {}

    @abstractmethod
    def clone(self, allowed: Array | None = None) -> Self:
        """A task with a copy of the weights and a data stream of its own, paid from the same meter.

        Args:
            allowed: operations of the copy, bool [P, max(operations)], which its `allowed` holds.
        """

    @property
    def allowed(self) -> Array:
        """Operations that may be chosen, bool [P, max(operations)]."""
        return np.arange(max(self.operations)) < np.array(self.operations)[:, None]

    def on(self, data: str) -> Self:
        """The same weights on another data set of the family.

        Raises:
            ArchGymError: an unknown data set.
        """
        raise unknown("data set of the family", data, self.family)

    def _pay(self, amount: float) -> None:
        import torch

        gradients = torch.is_grad_enabled()
        self.meter.pay(amount * (PASSES if gradients else 1), "training" if gradients else "estimates")

    @abstractmethod
    def _path(self, images: Tensor, design: Indices, gates: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _mixture(
        self, images: Tensor, weights: Tensor, edges: Tensor | None, kept: Array | None
    ) -> Tensor: ...

    @abstractmethod
    def _accuracy(self, design: Indices, images: int) -> float: ...


def nothing_to_share(env_id: str) -> ArchGymError:
    """The error for an environment without shared weights."""
    return ArchGymError(
        f"expected an environment with weights to share, got {env_id}; one-shot agents search "
        "archgym/NasCell-v0 with a data set of digits, such as dataset='digits-0.5'"
    )
