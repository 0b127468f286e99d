"""DARTS whose supernet learns from its own past (Zhu et al., "Improving differentiable architecture search
via self-distillation", 2023; without public code, so that details are this module's).

    L_w = CE(z) + weight KL(q || softmax z)       z: logits of the mixture on a training batch
    q   = mean over teachers of softmax z_k       teachers: copies of the supernet, weights and mixture, from
                                                  the ends of the last three epochs

The past smooths the loss around the weights, so that the discrete design loses less. Teachers run without
gradients, a third of a pass each. With weight 0 there are none, and the search is `darts`.

Good for: trainings of many epochs; in short ones on the digits the teachers' passes do not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archgym.agents._darts import GradientAgent, gradient_hyperparameters
from archgym.shared import Batch, SharedTask
from archgym.shared.task import PASSES
from archgym.space import DesignSpace, Real

if TYPE_CHECKING:
    from torch import Tensor

TEACHERS = 3


class SelfDistillationDarts(GradientAgent):
    """SD-DARTS; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of the weights.
        alpha_rate: learning rate of alpha.
        weight: weight of the divergence from the teachers.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "sd_darts", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).

    Attributes:
        teachers: past supernets with their mixtures, newest last.
    """

    version = 1
    hyperparameters = DesignSpace([*gradient_hyperparameters(), Real("weight", 0.0, 2.0, default=0.5)])
    teachers: list[tuple[SharedTask, Tensor]]

    def passes(self, task: SharedTask) -> float:
        return 2.0 + (TEACHERS / PASSES if self.weight else 0.0)

    def begin(self, task: SharedTask, steps: int, rng: np.random.Generator) -> None:
        super().begin(task, steps, rng)
        self.teachers = []

    def update_weights(self, task: SharedTask) -> None:
        super().update_weights(task)
        if self.weight and self.weights.taken % task.batches == 0:
            self.teachers = [*self.teachers, (task.clone(), self.mixed(task).detach())][-TEACHERS:]

    def weights_loss(self, batch: Batch, logits: Tensor) -> Tensor:
        from torch.nn.functional import kl_div

        loss = super().weights_loss(batch, logits)
        if not self.teachers:
            return loss
        taught = vote(self.teachers, batch.images)
        return loss + self.weight * kl_div(logits.log_softmax(dim=1), taught, reduction="batchmean")


def vote(teachers: list[tuple[SharedTask, Tensor]], images: Tensor) -> Tensor:
    """The teachers' mean probability of each class, [B, classes], without gradients."""
    import torch

    with torch.no_grad():
        votes = [task.mixture(images, mixed).softmax(dim=1) for task, mixed in teachers]
        return torch.stack(votes).mean(dim=0)
