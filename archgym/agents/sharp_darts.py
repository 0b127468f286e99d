"""DARTS with Max-W weights and cosine power annealing (Hundt et al., "sharpDARTS", 2019;
github.com/ahundt/sharpDARTS).

    y_e   = sum_o (1 - max_o' p_eo' + p_eo) o(x)                   p_e = softmax(alpha_e)
    eta_t = eta_0 (q^(1 + u_t) - q) / (q^2 - q)                    u_t = (1 + cos(pi t / T)) / 2

The gradient runs through the maximum too: the strongest operation has weight 1 and no gradient of its own, so
its lead does not feed itself. The schedule falls faster than the cosine, its limit at q = 1.

Good for: spaces where DARTS rushes to one kind of operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archgym.agents._darts import GradientAgent, gradient_hyperparameters, softmax
from archgym.shared import SharedTask
from archgym.shared.weights import Weights
from archgym.space import Array, DesignSpace, Real

if TYPE_CHECKING:
    from torch import Tensor


class SharpDarts(GradientAgent):
    """sharpDARTS; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of the weights.
        alpha_rate: learning rate of alpha.
        power: q of the schedule.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "sharp_darts", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    hyperparameters = DesignSpace(
        [*gradient_hyperparameters(), Real("power", 1.1, 20.0, log=True, default=2.0)]
    )

    def begin(self, task: SharedTask, steps: int, rng: np.random.Generator) -> None:
        super().begin(task, steps, rng)
        self.weights = Weights(task.parameters(), steps, rate=self.rate, power=self.power)

    def mixed(self, task: SharedTask) -> Tensor:
        return max_w(self.alpha, task.allowed)


def max_w(alpha: Tensor, allowed: Array) -> Tensor:
    """Max-W weights of the allowed operations, [P, n]; 0 for others."""
    import torch

    p = softmax(alpha, allowed)
    return (1 - p.max(dim=1, keepdim=True).values + p) * torch.as_tensor(allowed)
