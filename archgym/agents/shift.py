"""ShiftNAS' sampling (Zhang et al., ICCV 2023): train most where shared weights lag, by complexity.

    bins b:  valid designs by multiply-adds, equally many in each
    gap_b    = l_b - min l           l_b: moving mean of the training losses of paths from b
    b        ~ exp(gap_b / T)        design uniform in b
    w       <- w - eta grad_w CE(path, training batch)

Uniform paths have medium complexity, so the supernet serves small and large designs badly. This is the
paper's sampling; its generator of designs of a wanted complexity is replaced by exact bins, and the finalists
are random designs ranked by their estimates. No code of the paper is public.

Good for: spaces whose designs differ widely in size, searched under several limits.
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
from archgym.space import Array, DesignSpace, Indices, Integer, Real

LISTED = 1 << 14  # designs that are sorted: all of a space up to this size, random ones of a larger space
MEMORY = 0.9  # share of the old mean loss kept per step


def complexity_bins(task: SharedTask, bins: int, rng: np.random.Generator) -> list[Indices]:
    """Designs in bins of rising multiply-adds, equally many in each up to one: arrays int64 [m, P]."""
    if task.space.size <= LISTED:
        designs = task.space.from_ordinal(np.arange(task.space.size))
        designs = designs[task.allowed[range(len(task.space)), designs].all(axis=1) & task.valid(designs)]
    else:
        log_p = uniform(task.allowed)
        designs = draw_valid(task, LISTED, lambda n: draw(log_p, n, rng))
    order = np.argsort([task.macs(design) for design in designs], kind="stable")
    return [part for part in np.array_split(designs[order], bins) if len(part)]


class Shift(OneShotAgent):
    """Single paths, most from the complexities that lag; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        estimates: random designs that are estimated.
        bins: number of complexities.
        temperature: T, nats of cross-entropy; the larger, the more uniform.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "shift", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    ranks_fewer = True
    hyperparameters = DesignSpace(
        [
            *one_shot_hyperparameters(epochs=50),
            estimates_hyperparameter(300),
            Integer("bins", 2, 32, default=5),
            Real("temperature", 0.01, 10.0, log=True, default=0.3),
        ]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        return training_cost(task, steps) + ranking_cost(task, self.estimates)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        weights, bins = Weights(task.parameters(), steps), complexity_bins(task, self.bins, rng)
        losses = np.full(len(bins), np.nan)
        for _ in range(steps if bins else 0):
            b = int(rng.choice(len(bins), p=self.shares(losses)))
            loss = learn(task, weights, bins[b][rng.integers(len(bins[b]))])
            losses[b] = loss if np.isnan(losses[b]) else MEMORY * losses[b] + (1 - MEMORY) * loss

    def shares(self, losses: Array) -> Array:
        """Probability of each bin, [b], from mean losses [b]; a bin without one lags as much as the worst."""
        if np.isnan(losses).all():
            return np.full(len(losses), 1 / len(losses))
        gap = np.where(np.isnan(losses), np.nanmax(losses), losses) - np.nanmin(losses)
        share = np.exp((gap - gap.max()) / self.temperature)
        return np.asarray(share / share.sum())

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        log_p = uniform(task.allowed)
        designs = draw_valid(task, self.estimates, lambda n: draw(log_p, n, rng))
        return ranked(designs, lambda design: task)[0][:k]
