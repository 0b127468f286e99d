"""Differentiable architecture search (Liu et al., "DARTS", 2019; github.com/quark0/darts).

    y_e = sum_o softmax(alpha_e)_o o(x)           min_alpha L_valid(w*(alpha), alpha)
                                                  w*(alpha) = argmin_w L_train(w, alpha)

    order 1:  g = grad_alpha L_valid(w, alpha)
    order 2:  w' = w - xi grad_w L_train(w, alpha)                   xi: learning rate of the weights
              v  = grad_w' L_valid(w', alpha),   w+- = w +- eps v,   eps = .01 / |v|
              g  = grad_alpha L_valid(w', alpha)
                   - xi [grad_alpha L_train(w+, alpha) - grad_alpha L_train(w-, alpha)] / (2 eps)

The finite difference stands for the product of the mixed second derivative with v. Order 2 takes five passes
per step where order 1 takes two. The rates suit some 300 steps; the paper's 3e-4 for alpha suits 20,000.

Good for: a first look at a space with shared weights; on fixed training images (`fresh=False`) alpha drifts
to operations without weights, where darts_pt, pc_darts and sharp_darts hold better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from archgym.agents._darts import GradientAgent, gradient_hyperparameters
from archgym.shared import SharedTask
from archgym.space import DesignSpace, Ordinal

if TYPE_CHECKING:
    from torch import Tensor

REACH = 0.01  # length of the step of the finite difference


class Darts(GradientAgent):
    """DARTS; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of the weights.
        alpha_rate: learning rate of alpha.
        order: order of alpha's gradient: 1 takes the weights as given, 2 looks one weight step ahead.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "darts", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    hyperparameters = DesignSpace([*gradient_hyperparameters(), Ordinal("order", [1, 2], default=1)])

    def passes(self, task: SharedTask) -> float:
        return 2.0 if self.order == 1 else 5.0

    def choice_gradient(self, task: SharedTask) -> Sequence[Tensor]:
        if self.order == 1:
            return super().choice_gradient(task)
        train, valid = task.train_batch(), task.valid_batch()
        gradient = unrolled_gradient(
            lambda: self.loss(task, train),
            lambda: self.loss(task, valid),
            task.parameters(),
            self.alpha,
            self.weights.rate_at(self.weights.taken),
        )
        return [gradient]


def unrolled_gradient(
    train_loss: Callable[[], Tensor],
    valid_loss: Callable[[], Tensor],
    weights: Sequence[Tensor],
    alpha: Tensor,
    xi: float,
) -> Tensor:
    """Gradient of the validation loss for alpha after one step of the weights, of second order.

    Args:
        train_loss, valid_loss: losses at the present values of weights and alpha.
        weights: leaves of the losses; moved and put back.
        xi: length of the weight step in gradients.
    """
    import torch

    saved = [weight.detach().clone() for weight in weights]

    def place(directions: Sequence[Tensor], length: float) -> None:
        with torch.no_grad():
            for weight, start, direction in zip(weights, saved, directions, strict=True):
                weight.copy_(start + length * direction)

    try:
        place(torch.autograd.grad(train_loss(), list(weights)), -xi)
        gradient, *v = torch.autograd.grad(valid_loss(), [alpha, *weights])
        eps = REACH / max(float(sum(part.square().sum() for part in v)) ** 0.5, 1e-12)
        place(v, eps)
        (above,) = torch.autograd.grad(train_loss(), [alpha])
        place(v, -eps)
        (below,) = torch.autograd.grad(train_loss(), [alpha])
    finally:
        place(saved, 0.0)
    return gradient - xi * (above - below) / (2 * eps)
