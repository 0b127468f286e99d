"""GDAS (Dong & Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019): a path
drawn with Gumbel noise, its gradient straight through the draw.

    p~ = softmax((log p + G) / tau)     p = softmax(alpha[e]), G ~ Gumbel(0, 1)
    o  = argmax p~                      h = p~[o] - stop(p~[o]) + 1      1 forward, d h = d p~[o] backward
    w     <- SGD on  CE(path(o), training batch)
    alpha <- Adam on CE(path(o, gates h), validation batch)              tau falls linearly from 10 to 0.1

Only the operation drawn is computed, so each step costs one path. An operation without output (`none`) gets
no gradient when it is drawn: it gains whenever others are pushed down, and often wins edges wrongly.

Good for: cheap differentiable search where every operation computes something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archgym.agents._one_shot import (
    OneShotAgent,
    Weights,
    log_softmax,
    most_probable,
    one_shot_hyperparameters,
)
from archgym.agents._paths import learn, training_cost
from archgym.shared import SharedTask
from archgym.space import Array, DesignSpace, Indices, Real

if TYPE_CHECKING:
    from torch import Tensor

DRIFT = 0.1  # of paths towards the largest operations, measured on cells: `mean_path_cost`
HOT, COLD = 10.0, 0.1  # first and last temperature
BETAS, WEIGHT_DECAY, INITIAL = (0.5, 0.999), 1e-3, 1e-3  # of alpha


def gumbel_gates(alpha: Tensor, allowed: Array, noise: Array, tau: float) -> tuple[Indices, Tensor]:
    """The path that Gumbel noise chooses, int64 [P], and its gates [P]: 1 forward, d p~ backward.

    Args:
        alpha: logits of operations, [P, n].
        allowed: operations that may be chosen, bool [P, n].
        noise: Gumbel noise, [P, n].
        tau: temperature.
    """
    import torch

    log_p = alpha.masked_fill(~torch.as_tensor(allowed), -torch.inf).log_softmax(dim=1)
    softened = ((log_p + torch.as_tensor(noise)) / tau).softmax(dim=1)
    chosen = softened.argmax(dim=1)
    share = softened.gather(1, chosen[:, None])[:, 0]
    return chosen.numpy(), share - share.detach() + 1


class GDAS(OneShotAgent):
    """Gumbel paths with straight-through gradients; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        rate: learning rate of alpha.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "gdas", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    hyperparameters = DesignSpace(
        [*one_shot_hyperparameters(epochs=50), Real("rate", 0.0003, 0.1, log=True, default=0.01)]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        return training_cost(task, 2 * steps, DRIFT)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        allowed, weights = task.allowed, Weights(task.parameters(), steps)
        self.alpha = torch.tensor(INITIAL * rng.normal(size=allowed.shape), requires_grad=True)
        optimizer = torch.optim.Adam([self.alpha], self.rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
        for step in range(steps):
            tau = HOT + (COLD - HOT) * step / max(steps - 1, 1)
            design, gates = gumbel_gates(self.alpha, allowed, rng.gumbel(size=allowed.shape), tau)
            images, labels = task.valid_batch()
            loss = cross_entropy(task.path(images, design, gates.to(images.dtype)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            design, _ = gumbel_gates(self.alpha, allowed, rng.gumbel(size=allowed.shape), tau)
            learn(task, weights, design)

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        return most_probable(log_softmax(self.alpha, task.allowed), k, task)
