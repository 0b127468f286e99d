"""A relaxed architecture search with two networks and one choice (Xue et al., "RARTS", 2022).

    min over alpha, y, w:   L_valid(y, alpha) + share L_train(w, alpha) + coupling / 2 |y - w|^2

    y     <- y     - eta [grad_y L_valid(y, alpha) + coupling (y - w)]
    w     <- w     - eta [share grad_w L_train(w, alpha) + coupling (w - y)]
    alpha <- alpha - eta_alpha [grad_alpha L_valid(y, alpha) + share grad_alpha L_train(w, alpha)]

Single level, first order: no mixed second derivative, two passes per step, twice the weights. The coupling
lies inside the learning rate, so that fixed points do not depend on the rate. With L_valid = alpha w -
2 alpha + 1, L_train = w^2 - 2 alpha w + alpha^2, where the bilevel solution is alpha = w = 1, the fixed point
is alpha = 2 / (2 - 1 / (2 share) - 1 / coupling); DARTS of first order ends at 2.

Good for: an alternative to DARTS' choice that sees both losses, where steps are cheap; on cells it is behind
random search at 25 reference samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from archgym.agents._darts import GradientAgent, descend, gradient_hyperparameters
from archgym.shared import SharedTask
from archgym.shared.weights import Weights
from archgym.space import DesignSpace, Real

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", float, "Tensor")


class Rarts(GradientAgent):
    """RARTS; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of both networks.
        alpha_rate: learning rate of alpha.
        share: weight of the training loss.
        coupling: weight of the squared distance between the networks.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "rarts", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).

    Attributes:
        twin: the network y of the validation loss; w is the task itself.
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            *gradient_hyperparameters(),
            Real("share", 0.1, 10.0, log=True, default=1.0),
            Real("coupling", 0.1, 10.0, log=True, default=1.0),
        ]
    )
    twin: SharedTask

    def begin(self, task: SharedTask, steps: int, rng: np.random.Generator) -> None:
        super().begin(task, steps, rng)
        self.twin = task.clone()
        self.twin_weights = Weights(self.twin.parameters(), steps, rate=self.rate)

    def update(self, task: SharedTask, choosing: bool) -> None:
        import torch

        y, w = self.twin_weights.parameters, self.weights.parameters
        valid, *valid_y = torch.autograd.grad(self.loss(self.twin, task.valid_batch()), [self.alpha, *y])
        train, *train_w = torch.autograd.grad(self.loss(task, task.train_batch()), [self.alpha, *w])
        with torch.no_grad():
            pairs = [
                pulled(*of, self.share, self.coupling) for of in zip(valid_y, train_w, y, w, strict=True)
            ]
        self.twin_weights.descend([of_y for of_y, _ in pairs])
        self.weights.descend([of_w for _, of_w in pairs])
        descend(self.choice, [both(valid, train, self.share)])


def pulled(valid: T, train: T, y: T, w: T, share: float, coupling: float) -> tuple[T, T]:
    """Gradients of the relaxed loss for y and for w.

    Args:
        valid: gradient of the validation loss for y.
        train: gradient of the training loss for w.
    """
    return valid + coupling * (y - w), share * train + coupling * (w - y)


def both(valid: T, train: T, share: float) -> T:
    """Gradient of the relaxed loss for alpha from those of the validation and the training loss."""
    return valid + share * train
