"""DARTS on a quarter of the channels with normalised edges (Xu et al., "PC-DARTS", 2020;
github.com/yuhuixu1993/PC-DARTS).

    f_e(x) = sum_o softmax(alpha_e)_o o(S x) + (1 - S) x          S: the first 1/4 of the channels
    x_j    = sum_i softmax_i(beta_ij) f_ij(x_i)                   over the edges that end in node j

The operations see few channels, so a pass costs a fraction, and those without weights gain less over the
others. alpha and beta stand still for the first 30 % of the steps. Edges that compete for a place in a design
are ranked by alpha times beta; where every edge keeps one operation, as in the cells here, beta is the same
factor of all operations of an edge and the order of designs is alpha's.

Good for: the cheapest search by multiply-adds; by the clock the gain is smaller, and the estimates of designs
are poor, since the weights live on few channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from archgym.agents._darts import INITIAL, GradientAgent, gradient_hyperparameters
from archgym.shared import SharedTask
from archgym.space import DesignSpace

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class PCDarts(GradientAgent):
    """PC-DARTS; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of a cost budget is kept for.
        epochs: longest training, epochs.
        fresh: new noise on the training images each epoch.
        rate: first learning rate of the weights.
        alpha_rate: learning rate of alpha and beta.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "pc_darts", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).

    Attributes:
        beta: logit of each edge, [P].
    """

    version = 1
    partial = 4
    frozen = 0.3
    hyperparameters = DesignSpace(gradient_hyperparameters(epochs=30))
    beta: Tensor

    def learned(self, generator: torch.Generator) -> list[Tensor]:
        import torch

        drawn = torch.randn(len(self.alpha), generator=generator, dtype=self.alpha.dtype)
        self.beta = (INITIAL * drawn).requires_grad_()
        return [self.alpha, self.beta]

    def edges(self, task: SharedTask) -> Tensor:
        return edge_weights(self.beta, task.nodes)


def edge_weights(beta: Tensor, nodes: Sequence[Sequence[int]]) -> Tensor:
    """Softmax of beta over the edges of each node, [P]; 1 for an edge that is in none."""
    import torch

    together = torch.eye(len(beta), dtype=torch.bool)
    for node in nodes:
        together[np.ix_(node, node)] = True
    total = torch.where(together, beta, -torch.inf).logsumexp(dim=1)
    return (beta - total).exp()
