"""The optimiser of shared weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM, WEIGHT_DECAY, LARGEST_GRADIENT = 0.9, 5e-4, 5.0


class Weights:
    """The optimiser of shared weights: SGD with Nesterov momentum .9, weight decay 5e-4, gradients cut to
    norm 5,

        eta_t = least + (rate - least) v_t,   u_t = (1 + cos(pi t / T)) / 2
                                              v_t = u_t, or (q^(1 + u_t) - q) / (q^2 - q) with `power` q

    Args:
        parameters: the weights; those without a gradient in a step stand still.
        steps: T.
        rate, least: first and last learning rate.
        power: q of cosine power annealing (sharpDARTS); None for the cosine, its limit at q = 1.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        steps: int,
        *,
        rate: float = 0.1,
        least: float = 0.0,
        power: float | None = None,
    ):
        import torch

        self.parameters, self.steps, self.taken = list(parameters), steps, 0
        self.rate, self.least, self.power = rate, least, power
        self.optimizer = torch.optim.SGD(
            self.parameters, lr=rate, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        u, q = (1 + math.cos(math.pi * step / self.steps)) / 2, self.power
        if q is not None:
            u = (q ** (1 + u) - q) / (q**2 - q)
        return self.least + (self.rate - self.least) * u

    def step(self, loss: Tensor) -> None:
        """Take a step down the gradient of a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._step()

    def descend(self, gradients: Sequence[Tensor]) -> None:
        """Take a step down given gradients of the weights."""
        for weight, gradient in zip(self.parameters, gradients, strict=True):
            weight.grad = gradient
        self._step()

    def _step(self) -> None:
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_at(self.taken)
        torch.nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        self.optimizer.step()
        self.taken += 1
