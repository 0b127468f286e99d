"""One supernet for several data sets, after FBNetV5 (Wu et al., 2021): one search, a network for each task.

    design  ~ m = mean_t p_t             p_t = prod_e softmax(alpha_t[e]), one for each data set t
    w      <- w - eta grad_w mean_t (p_t(design) / m(design)) CE_t(path(design), training batch of t)
    alpha_t: REINFORCE, + rate (p_t(design) / m(design)) (r_t - b_t) grad log p_t(design)
             r_t: accuracy on a validation batch of t, b_t: its moving mean; rests for the first fifth
    choose:  designs ~ p_t, the highest estimates on t first

The factors p_t / m keep each data set's mean gradient that of its own distribution, though all share the path
drawn. The environment's own data set gives the proposals; `designs` has the best design for each. No code of
the paper is public: the form of the updates is chosen here.

Good for: several data sets, a design for each, at the cost of one supernet.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agents._one_shot import OneShotAgent, Weights, log_softmax, one_shot_hyperparameters
from archgym.agents._paths import (
    draw,
    draw_valid,
    estimates_hyperparameter,
    ranked,
    ranking_cost,
    training_cost,
)
from archgym.shared import SharedTask
from archgym.shared.task import PASSES
from archgym.space import Array, DesignSpace, Indices, Real

REST = 0.2  # share of training before alpha moves
MEMORY = 0.9  # share of the old baseline kept per step
DRIFT = 0.3  # of paths towards the largest operations, measured on cells: `mean_path_cost`
OWN = "own"  # data set of a task without a family


def importance(log_p: Mapping[str, Array], design: Indices) -> dict[str, float]:
    """p_t(design) / m(design) by data set, from log p of operations [P, n]; their mean is 1."""
    edges = range(len(design))
    logs = np.array([each[edges, design].sum() for each in log_p.values()])
    shares = np.exp(logs - logs.max())
    return dict(zip(log_p, (shares / shares.mean()).tolist(), strict=True))


class MultiTask(OneShotAgent):
    """Several data sets on one supernet, a distribution of paths for each; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        estimates: designs that are estimated for each data set.
        rate: learning rate of alpha.

    Attributes:
        designs: name of each data set -> best design, int64 [P], after a search; without data sets whose
            estimates the cost budget did not pay.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "multi_task", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    ranks_fewer = True
    hyperparameters = DesignSpace(
        [
            *one_shot_hyperparameters(epochs=50),
            estimates_hyperparameter(100),
            Real("rate", 0.001, 0.3, log=True, default=0.03),
        ]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        training = training_cost(task, steps * (1 + (1 - REST) / PASSES), DRIFT)
        one = training + ranking_cost(task, self.estimates, DRIFT)
        return max(len(task.family), 1) * one

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        names = task.family or (OWN,)
        self.tasks = {names[0]: task, **{name: task.on(name) for name in names[1:]}}
        self.alphas = {
            name: torch.zeros(task.allowed.shape, dtype=torch.float64, requires_grad=True) for name in names
        }
        self.baselines: dict[str, float] = {}
        self.optimizer = torch.optim.Adam(list(self.alphas.values()), self.rate)
        weights = Weights(task.parameters(), steps)
        for step in range(steps):
            log_p = {name: log_softmax(alpha, task.allowed) for name, alpha in self.alphas.items()}
            design = draw(log_p[names[rng.integers(len(names))]], 1, rng)[0]
            shares, losses = importance(log_p, design), []
            for name, each in self.tasks.items():
                images, labels = each.train_batch()
                losses.append(shares[name] * cross_entropy(each.path(images, design), labels))
            weights.step(torch.stack(losses).mean())
            if step >= REST * steps:
                self.move_alphas(design, shares)

    def move_alphas(self, design: Indices, shares: Mapping[str, float]) -> None:
        """Take a REINFORCE step of every distribution with one design [P]."""
        import torch

        losses, edges = [], range(len(design))
        for name, each in self.tasks.items():
            images, labels = each.valid_batch()
            with torch.no_grad():
                reward = float((each.path(images, design).argmax(dim=1) == labels).double().mean())
            baseline = self.baselines.setdefault(name, reward)
            self.baselines[name] = MEMORY * baseline + (1 - MEMORY) * reward
            masked = self.alphas[name].masked_fill(~torch.as_tensor(each.allowed), -torch.inf)
            log_pi = masked.log_softmax(dim=1)[edges, design].sum()
            losses.append(-shares[name] * (reward - baseline) * log_pi)
        self.optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimizer.step()

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        best = {name: self.best_of(name, rng) for name in self.tasks}
        self.designs = {name: designs[0] for name, designs in best.items() if len(designs)}
        return next(iter(best.values()))[:k]

    def best_of(self, name: str, rng: np.random.Generator) -> Indices:
        """Designs drawn for a data set, the highest estimates on it first: int64 [m, P]."""
        task = self.tasks[name]
        log_p = log_softmax(self.alphas[name], task.allowed)
        designs = draw_valid(task, self.estimates, lambda n: draw(log_p, n, rng))
        return ranked(designs, lambda design: task)[0]
