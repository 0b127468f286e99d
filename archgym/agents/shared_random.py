"""Random search with weight sharing: RSPS (Li & Talwalkar, "Random search and reproducibility for neural
architecture search", UAI 2019), the uniform supernet of SPOS (Guo et al., ECCV 2020).

    train:   o_e ~ uniform for every edge e,   w <- w - eta grad_w CE(path(o), training batch)
    choose:  the valid random designs of the highest validation accuracy with the shared weights

Accuracies of estimates use batch statistics: running ones mix all paths and ruin the ranking.

Good for: the control of every one-shot agent, since nothing but the shared weights is learned.
"""

from __future__ import annotations

import numpy as np

from archgym.agents._one_shot import OneShotAgent, Weights, one_shot_hyperparameters
from archgym.agents._paths import (
    draw,
    draw_valid,
    estimates_hyperparameter,
    learn,
    ranked,
    ranking_cost,
    training_cost,
    uniform,
)
from archgym.shared import SharedTask
from archgym.space import DesignSpace, Indices


class SharedRandom(OneShotAgent):
    """Uniform single paths, then random designs ranked by shared weights; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        estimates: random designs that are estimated.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "shared_random", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    ranks_fewer = True
    hyperparameters = DesignSpace([*one_shot_hyperparameters(epochs=50), estimates_hyperparameter(300)])

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        return training_cost(task, steps) + ranking_cost(task, self.estimates)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        weights, log_p = Weights(task.parameters(), steps), uniform(task.allowed)
        for _ in range(steps):
            learn(task, weights, draw(log_p, 1, rng)[0])

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        log_p = uniform(task.allowed)
        designs = draw_valid(task, self.estimates, lambda n: draw(log_p, n, rng))
        return ranked(designs, lambda design: task)[0][:k]
