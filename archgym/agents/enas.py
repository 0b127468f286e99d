"""ENAS (Pham et al., "Efficient neural architecture search via parameter sharing", ICML 2018): the recurrent
controller on estimates of shared weights.

    repeat:  an epoch of w <- w - eta grad_w CE(path(design), training batch),      design ~ controller
             `updates` times: designs ~ controller, reward: their accuracy on validation images with w,
             the controller learns from them (REINFORCE with a baseline, `archgym/agents/controller.py`)
    choose:  designs ~ controller, the highest estimates first

The controller rests for the first fifth of training: untrained weights prefer operations without weights, and
a controller that follows them draws nothing else any more.

Good for: spaces whose parameters depend on each other, where one distribution per edge is too little.
"""

from __future__ import annotations

import numpy as np

from archgym.agents._one_shot import OneShotAgent, Weights, one_shot_hyperparameters
from archgym.agents._paths import (
    draw_valid,
    estimates_hyperparameter,
    learn,
    mean_path_cost,
    ranked,
    ranking_cost,
    training_cost,
)
from archgym.agents.controller import Controller
from archgym.shared import SharedTask
from archgym.space import DesignSpace, Indices, Integer, Real

REST = 0.2  # share of training before the controller learns
DRIFT = 0.5  # of paths towards the largest operations, measured on cells: `mean_path_cost`
IMAGES = 128  # validation images of a reward


class ENAS(OneShotAgent):
    """A recurrent controller rewarded by shared weights; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        estimates: designs of the trained controller that are estimated.
        updates: updates of the controller after each epoch.
        batch: designs per update.
        rate: learning rate of the controller.

    Attributes:
        controller: the controller of the last search.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "enas", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    ranks_fewer = True
    hyperparameters = DesignSpace(
        [
            *one_shot_hyperparameters(epochs=50),
            estimates_hyperparameter(100),
            Integer("updates", 1, 100, default=3),
            Integer("batch", 2, 256, default=10),
            Real("rate", 0.001, 0.03, log=True, default=0.003),
        ]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        rewards = (1 - REST) * steps / task.batches * self.updates * self.batch
        training = training_cost(task, steps, DRIFT)
        rewarding = rewards * IMAGES * mean_path_cost(task, DRIFT)
        return training + rewarding + ranking_cost(task, self.estimates, DRIFT)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        self.controller = Controller(batch=self.batch, rate=self.rate)
        self.controller.start(task.space, budget=steps, rng=rng)
        weights = Weights(task.parameters(), steps)
        for step in range(steps):
            learn(task, weights, self.written(1)[0])
            if step >= REST * steps and (step + 1) % task.batches == 0:
                for _ in range(self.updates):
                    designs = self.controller.ask(self.batch)
                    rewards = task.estimate(designs, IMAGES)
                    self.controller.tell(designs, rewards, {}, task.valid(designs))

    def written(self, n: int) -> Indices:
        """Designs of the controller that it does not learn from, int64 [n, P]."""
        import torch

        with torch.no_grad():
            nothing = np.empty((n, 0), np.int64)
            return self.controller.write(self.controller.read(nothing))[0]

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        designs = draw_valid(task, self.estimates, self.written)
        return ranked(designs, lambda design: task)[0][:k]
