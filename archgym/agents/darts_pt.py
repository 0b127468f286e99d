"""DARTS whose operations are chosen by what the supernet loses without them (Wang et al., "Rethinking
architecture selection in differentiable NAS", 2021; github.com/ruocwang/darts-pt).

    train a supernet as `darts` does;   then for each edge e, in random order:
        o*  = argmax_o L_valid(supernet without o on e)        on 450 validation images, no gradients
        e keeps o* alone;  tune the weights                    `tuning` x length of training, rate .02

The weight of an operation in a mixture does not tell its worth; the loss without it does. Operations left
over share the softmax anew, alpha stands still after training, equal losses are decided by alpha. The first
proposal is the design found; others change few edges of it, those first where alpha leaves room.

Good for: few, reliable finalists, for about 40 % more than `darts` costs. A cost budget that hardly pays the
trials leaves no training: take another agent below some five reference samples.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from archgym.agents._darts import GradientAgent, gradient_hyperparameters, softmax
from archgym.agents._one_shot import log_softmax, most_probable
from archgym.errors import BudgetExhausted
from archgym.shared import Batch, SharedTask
from archgym.shared.task import IMAGES
from archgym.shared.weights import Weights
from archgym.space import Array, DesignSpace, Indices, Real

if TYPE_CHECKING:
    from torch import Tensor

TUNING_RATE = 0.02
TIE = 1e-6  # losses that differ by less are equal


class DartsPT(GradientAgent):
    """DARTS with perturbation-based selection; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of the weights.
        alpha_rate: learning rate of alpha.
        tuning: training after each decision, as a share of the training before: .1 for 2 epochs after 20.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "darts_pt", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).

    Attributes:
        kept: operations left on each edge, bool [P, max(operations)].
        decided: edges in the order of their decisions.
    """

    version = 1
    hyperparameters = DesignSpace([*gradient_hyperparameters(), Real("tuning", 0.01, 0.5, default=0.1)])
    kept: Array
    decided: list[int]

    def passes(self, task: SharedTask) -> float:
        return 2.0 + self.tuning * len(_open(task.allowed))

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        trials = sum(int(task.allowed[edge].sum()) for edge in _open(task.allowed))
        return super().expected_cost(task, steps) + trials * IMAGES * task.macs()

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        with suppress(BudgetExhausted):  # edges that it leaves open are decided by alpha
            self.select(task, rng)
        return most_probable(near(log_softmax(self.alpha, task.allowed), self.kept), k, task)

    def begin(self, task: SharedTask, steps: int, rng: np.random.Generator) -> None:
        super().begin(task, steps, rng)
        self.kept, self.decided = task.allowed.copy(), []

    def select(self, task: SharedTask, rng: np.random.Generator) -> None:
        """Decide every edge, tuning the weights after each."""
        edges = rng.permutation(_open(self.kept))
        steps = round(self.tuning * self.weights.taken)
        tuned = Weights(task.parameters(), max(1, steps * len(edges)), rate=TUNING_RATE)
        batch = validation(task)
        for edge in edges.tolist():
            self.decide(task, edge, batch)
            for _ in range(steps):
                drawn = task.train_batch()
                tuned.step(self.weights_loss(drawn, self.masked(task, drawn.images, self.kept)))

    def decide(self, task: SharedTask, edge: int, batch: Batch) -> None:
        """Keep the operation of an edge whose loss is worst to lack."""
        import torch

        operations = np.flatnonzero(self.kept[edge])
        losses = np.empty(len(operations))
        with torch.no_grad():
            for i, operation in enumerate(operations):
                without = self.kept.copy()
                without[edge, operation] = False
                losses[i] = self.weights_loss(batch, self.masked(task, batch.images, without))
        alike = operations[losses >= losses.max() - TIE]
        best = alike[int(self.alpha.detach()[edge, alike].argmax())]
        self.kept[edge] = np.arange(self.kept.shape[1]) == best
        self.decided.append(edge)

    def masked(self, task: SharedTask, images: Tensor, kept: Array) -> Tensor:
        """Logits of the mixture of the operations kept."""
        return task.mixture(images, softmax(self.alpha.detach(), kept), kept=kept)


def _open(kept: Array) -> Indices:
    """Edges with more than one operation."""
    return np.flatnonzero(kept.sum(axis=1) > 1)


def validation(task: SharedTask) -> Batch:
    """450 validation images as one batch."""
    import torch

    drawn = [task.valid_batch() for _ in range(math.ceil(IMAGES / task.batch))]
    return Batch(*(torch.cat(column)[:IMAGES] for column in zip(*drawn, strict=True)))


def near(log_p: Array, kept: Array) -> Array:
    """Log-probabilities under which designs with more decided operations come first, others by log_p.

    Args:
        log_p: log-probability of each operation, [P, n]; -inf for those left out.
        kept: operations left on each edge, bool [P, n]; one alone is decided.
    """
    finite = np.where(np.isfinite(log_p), log_p, np.nan)
    spread = 1 + (np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)).sum()
    decided = kept & (kept.sum(axis=1, keepdims=True) == 1)
    return log_p + spread * decided
