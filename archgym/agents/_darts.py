"""The loop that all gradient agents share: descend on the choice between operations, then on the weights.

    y_e          = sum_o m[e, o] o(x)             m = softmax(alpha): mixture of operations on edge e
    each step:     alpha  <- Adam on L_valid(w, alpha)           one validation batch, w fixed
                   w      <- SGD  on L_train(w, alpha)           one training batch, alpha fixed
    proposals:     designs by prod_e softmax(alpha_e), most probable first

Agents override what differs: the mixture, the weight of edges, a gradient, a loss, or the choice at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archgym.agents._one_shot import (
    OneShotAgent,
    log_softmax,
    most_probable,
    one_shot_hyperparameters,
)
from archgym.shared import Batch, SharedTask
from archgym.shared.task import PASSES
from archgym.shared.weights import Weights
from archgym.space import Array, Indices, Parameter, Real

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BETAS, DECAY = (0.5, 0.999), 1e-3  # of Adam on alpha
INITIAL = 1e-3  # standard deviation of alpha at the start


def gradient_hyperparameters(epochs: int = 20) -> list[Parameter]:
    """The hyperparameters that all gradient agents have.

    Args:
        epochs: default length of training, epochs.
    """
    return [
        *one_shot_hyperparameters(epochs),
        Real("rate", 0.01, 0.5, log=True, default=0.1),
        Real("alpha_rate", 0.0001, 0.1, log=True, default=0.01),
    ]


class GradientAgent(OneShotAgent):
    """An agent that descends on alpha and on the shared weights in turn.

    Class attributes:
        frozen: share of the training steps, from the first, in which alpha stands still.

    Attributes:
        alpha: logit of each operation on each edge, [P, max(operations)].
        weights: optimiser of the shared weights.
    """

    num_envs_from = "finalists"
    frozen: ClassVar[float] = 0.0
    alpha: Tensor
    weights: Weights

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        return steps * self.passes(task) * PASSES * task.batch * task.macs()

    def passes(self, task: SharedTask) -> float:
        """Mixture passes with gradients of a training step, on average."""
        return 2.0 - self.frozen

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        self.begin(task, steps, rng)
        for step in range(steps):
            self.update(task, step >= self.frozen * steps)

    def begin(self, task: SharedTask, steps: int, rng: np.random.Generator) -> None:
        """Set alpha and the optimisers for a training of `steps` steps."""
        import torch

        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        like, shape = task.parameters()[0], (len(task.operations), max(task.operations))
        self.alpha = (INITIAL * torch.randn(shape, generator=generator, dtype=like.dtype)).requires_grad_()
        self.choice = adam(self.learned(generator), self.alpha_rate)
        self.weights = Weights(task.parameters(), steps, rate=self.rate)

    def learned(self, generator: torch.Generator) -> list[Tensor]:
        """The tensors that the validation loss trains: alpha first."""
        return [self.alpha]

    def update(self, task: SharedTask, choosing: bool) -> None:
        """Take a training step.

        Args:
            choosing: whether alpha takes its step too.
        """
        if choosing:
            descend(self.choice, self.choice_gradient(task))
        self.update_weights(task)

    def choice_gradient(self, task: SharedTask) -> Sequence[Tensor]:
        """Gradient of the validation loss for each tensor of `learned`, the weights fixed."""
        import torch

        loss = self.loss(task, task.valid_batch())
        return torch.autograd.grad(loss, self.choice.param_groups[0]["params"])

    def update_weights(self, task: SharedTask) -> None:
        """Take a step on the shared weights, alpha fixed."""
        import torch

        batch = task.train_batch()
        with torch.no_grad():
            mixed, edges = self.mixed(task), self.edges(task)
        self.weights.step(self.weights_loss(batch, task.mixture(batch.images, mixed, edges)))

    def weights_loss(self, batch: Batch, logits: Tensor) -> Tensor:
        """The loss that trains the shared weights."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, batch.labels)

    def loss(self, task: SharedTask, batch: Batch) -> Tensor:
        """Cross-entropy of the mixture on a batch."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(task.mixture(batch.images, self.mixed(task), self.edges(task)), batch.labels)

    def mixed(self, task: SharedTask) -> Tensor:
        """Weight of each operation in the mixture, [P, max(operations)]."""
        return softmax(self.alpha, task.allowed)

    def edges(self, task: SharedTask) -> Tensor | None:
        """Weight of each edge, [P]; None for 1 each."""
        return None

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        return most_probable(log_softmax(self.alpha, task.allowed), k, task)


def softmax(alpha: Tensor, allowed: Array) -> Tensor:
    """Softmax over the allowed operations of each edge, [P, n]; 0 for others."""
    import torch

    return alpha.masked_fill(~torch.as_tensor(allowed), -torch.inf).softmax(dim=1)


def adam(tensors: Sequence[Tensor], rate: float) -> torch.optim.Adam:
    """The optimiser of what chooses between operations."""
    import torch

    return torch.optim.Adam(tensors, lr=rate, betas=BETAS, weight_decay=DECAY)


def descend(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> None:
    """Take a step with given gradients of the optimiser's tensors."""
    for tensor, gradient in zip(optimizer.param_groups[0]["params"], gradients, strict=True):
        tensor.grad = gradient
    optimizer.step()
