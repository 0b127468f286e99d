"""A shared task that trains in milliseconds, for any design space: logits linear in the images.

    logits(design) = sum_p images @ W[p, o_p]       labels: argmax of images @ T + noise, T a hidden teacher

`scale[p, o]` is the reach of an operation: 0 for one that is none, 1 for one that learns all classes. An
operation that keeps few features cannot learn the task, so that the best design is given by construction.
"""

from __future__ import annotations

from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from archgym.errors import unknown
from archgym.shared import Batch, SharedTask
from archgym.space import Array, DesignSpace, Indices

FEATURES, CLASSES, EXAMPLES = 12, 4, 256


class LinearShared(SharedTask):
    """Shared weights of a linear classifier.

    Args:
        space: the design space.
        seed: seed for weights and batches.
        reach: share of the features that each operation sees, [P, max(operations)]; default: all.
    """

    batch, batches = 32, 4
    family = ("linear-0", "linear-1")

    def __init__(self, space: DesignSpace, seed: int, *, fresh: bool = True, reach: Array | None = None):
        super().__init__()
        self.space, self.operations, self.fresh = space, tuple(space.nvec.tolist()), fresh
        shape = (len(space), max(self.operations))
        self.reach = np.ones(shape) if reach is None else np.asarray(reach, float)
        self._allowed = super().allowed
        self._rng = np.random.default_rng(seed)
        self._weights = [
            [
                torch.tensor(0.1 * self._rng.normal(size=(FEATURES, CLASSES)), requires_grad=True)
                for _ in range(n)
            ]
            for n in self.operations
        ]
        self._kept = np.arange(FEATURES) < np.rint(self.reach * FEATURES)[..., None]  # [P, n, F]
        self._learn_from(self.family[0])

    def _learn_from(self, data: str) -> None:
        """Set the teacher and the fixed images of a data set."""
        number = self.family.index(data)
        self.data, teacher = data, np.random.default_rng([number, 0])
        self._teacher = teacher.normal(size=(FEATURES, CLASSES))
        self._validation, *self._fixed = (
            self._draw(EXAMPLES, np.random.default_rng([number, part])) for part in (1, 2, 3)
        )

    @property
    def allowed(self) -> Array:
        return self._allowed

    def _draw(self, n: int, rng: np.random.Generator) -> Batch:
        images = rng.normal(size=(n, FEATURES))
        labels = (images @ self._teacher + 0.3 * rng.normal(size=(n, CLASSES))).argmax(axis=1)
        return Batch(torch.tensor(images), torch.tensor(labels))

    def _some(self, batch: Batch) -> Batch:
        rows = torch.tensor(self._rng.integers(len(batch.labels), size=self.batch))
        return Batch(batch.images[rows], batch.labels[rows])

    def parameters(self) -> list[Tensor]:
        return [weight for weights in self._weights for weight in weights]

    def train_batch(self) -> Batch:
        return self._draw(self.batch, self._rng) if self.fresh else self._some(self._fixed[0])

    def valid_batch(self) -> Batch:
        return self._some(self._validation if self.fresh else self._fixed[1])

    def _output(self, images: Tensor, p: int, o: int) -> Tensor:
        return (images * torch.as_tensor(self._kept[p, o])) @ self._weights[p][o]

    def _path(self, images: Tensor, design: Indices, gates: Tensor | None) -> Tensor:
        terms = [self._output(images, p, int(o)) for p, o in enumerate(design)]
        return torch.stack(
            terms if gates is None else [g * t for g, t in zip(gates, terms, strict=True)]
        ).sum(0)

    def _mixture(self, images: Tensor, weights: Tensor, edges: Tensor | None, kept: Array | None) -> Tensor:
        total = torch.zeros(len(images), CLASSES, dtype=torch.float64)
        for p, n in enumerate(self.operations):
            for o in range(n):
                if kept is None or kept[p, o]:
                    term = weights[p, o] * self._output(images, p, o)
                    total = total + (term if edges is None else edges[p] * term)
        return total

    def _accuracy(self, design: Indices, images: int) -> float:
        batch = Batch(*(column[:images] for column in self._validation))
        return float((self._path(batch.images, design, None).argmax(1) == batch.labels).double().mean())

    def macs(self, design: Indices | None = None, *, kept: Array | None = None) -> float:
        costs = self.cost_of_operations()
        if design is not None:
            return float(costs[np.arange(len(costs)), np.asarray(design)].sum())
        return float(costs[super().allowed if kept is None else kept].sum())

    def cost_of_operations(self, metric: str = "macs") -> Array:
        if metric not in self.cost_metrics:
            raise unknown("metric of operations", metric, self.cost_metrics)
        return np.asarray(self._kept.sum(axis=2) * float(CLASSES))

    def clone(self, allowed: Array | None = None) -> Self:
        twin = type(self)(self.space, int(self._rng.integers(2**31)), fresh=self.fresh, reach=self.reach)
        twin.meter, twin.valid = self.meter, self.valid
        twin._allowed = self._allowed if allowed is None else np.asarray(allowed, bool)
        for own, copied in zip(twin.parameters(), self.parameters(), strict=True):
            own.data.copy_(copied.data)
        twin._learn_from(self.data)
        return twin

    def on(self, data: str) -> Self:
        if data not in self.family:
            raise unknown("data set of the family", data, self.family)
        twin = copy(self)
        twin._rng = np.random.default_rng(int(self._rng.integers(2**31)))
        twin._learn_from(data)
        return twin
