"""Few-shot NAS split by gradient matching (Zhao et al., ICML 2021; Hu et al., "Generalizing few-shot NAS with
gradient matching", ICLR 2022; similarity and bipartition as in skhu101/GM-NAS).

    parent:  uniform single paths
    GM_e(i, j) = cos(g_i, g_j),   g_o = mean grad_w CE(random path with o on e), over weights that more than
                                  one operation of e reaches: its own weights are left out
    split:   the edge e and bipartition A | B of its operations (2 | 3 of five) with the least mean GM_e(a, b)
    halves:  two copies of the parent, with A or with B on e, each trained half as long as the parent
    choose:  random designs by the estimate of the half that holds them

With `split` False the parent alone is trained that much longer: the control. On cells it ranks designs as
well as the halves do, so that the gain over the parent is training, not splitting.

Good for: asking whether weights are shared by operations that should not share them.
"""

from __future__ import annotations

from itertools import combinations

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
from archgym.space import Array, Categorical, DesignSpace, Indices

MATCHING = 1 / 3  # paths for similarities, per training step of the parent
CONTINUED = 0.05  # first learning rate of training after the parent's


def gradient_similarity(task: SharedTask, edge: int, draws: int, rng: np.random.Generator) -> Array:
    """Cosine between the mean gradients with each operation of an edge, float64 [m, m] of its m allowed ones.

    Args:
        task: the shared weights.
        edge: position of the edge.
        draws: number of training batches, each with a random choice on the other edges.
        rng: random generator.
    """
    import torch
    from torch.nn.functional import cross_entropy

    values, parameters = np.flatnonzero(task.allowed[edge]), task.parameters()
    sums = [[torch.zeros_like(weight) for weight in parameters] for _ in values]
    reached = np.zeros((len(values), len(parameters)), bool)
    for design in draw(uniform(task.allowed), draws, rng):
        images, labels = task.train_batch()
        for row, value in enumerate(values):
            design[edge] = value
            loss = cross_entropy(task.path(images, design), labels)
            for column, found in enumerate(torch.autograd.grad(loss, parameters, allow_unused=True)):
                if found is not None:
                    sums[row][column] += found
                    reached[row, column] = True
    common = reached.sum(axis=0) > 1
    vectors = torch.stack(
        [
            torch.cat([(g * keep).flatten().double() for g, keep in zip(row, common, strict=True)])
            for row in sums
        ]
    )
    unit = torch.nn.functional.normalize(vectors, dim=1)
    return np.asarray((unit @ unit.T).numpy())


def least_similar(similarity: Array) -> tuple[float, tuple[int, ...]]:
    """The least mean similarity between two groups of equal size (one more in the second where odd), and the
    first group, from similarities [m, m].
    """
    everything = range(len(similarity))

    def between(group: tuple[int, ...]) -> float:
        others = [each for each in everything if each not in group]
        return float(similarity[np.ix_(group, others)].mean())

    groups = list(combinations(everything, len(similarity) // 2))
    best = min(groups, key=between)
    return between(best), best


class FewShotGM(OneShotAgent):
    """Two supernets, split where the gradients of operations disagree; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of the parent's training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        estimates: random designs that are estimated.
        split: two halves; False trains the parent as much longer.

    Attributes:
        halves: the trained weights; each has operations of its own on the edge split.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "few_shot_gm", budget=10)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    ranks_fewer = True
    hyperparameters = DesignSpace(
        [
            *one_shot_hyperparameters(epochs=50),
            estimates_hyperparameter(300),
            Categorical("split", [True, False], default=True),
        ]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        paths = 2 + (MATCHING if self.split else 0)
        return training_cost(task, paths * steps) + ranking_cost(task, self.estimates)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        self.halves = [task]
        weights, log_p = Weights(task.parameters(), steps), uniform(task.allowed)
        for _ in range(steps):
            learn(task, weights, draw(log_p, 1, rng)[0])
        if self.split:
            self.halves = self.halves_of(task, steps, rng)
        longer = 2 * max(steps // 2, 1) // len(self.halves)
        optimisers = [Weights(half.parameters(), longer, rate=CONTINUED) for half in self.halves]
        for _ in range(longer):
            for half, optimiser in zip(self.halves, optimisers, strict=True):
                learn(half, optimiser, draw(uniform(half.allowed), 1, rng)[0])

    def halves_of(self, task: SharedTask, steps: int, rng: np.random.Generator) -> list[SharedTask]:
        """Copies of the weights with the operations of either group on the edge split; the weights themselves
        where no edge has two operations.
        """
        allowed = task.allowed
        edges = np.flatnonzero(allowed.sum(axis=1) > 1)
        draws = max(1, round(MATCHING * steps / max(allowed[edges].sum(), 1)))
        cuts = {edge: least_similar(gradient_similarity(task, edge, draws, rng)) for edge in edges.tolist()}
        if not cuts:
            return [task]
        edge = min(cuts, key=lambda edge: cuts[edge][0])
        group = np.flatnonzero(allowed[edge])[list(cuts[edge][1])]
        first, second = allowed.copy(), allowed.copy()
        first[edge] = np.isin(np.arange(allowed.shape[1]), group)
        second[edge] = allowed[edge] & ~first[edge]
        return [task.clone(first), task.clone(second)]

    def holder(self, design: Indices) -> SharedTask:
        """The half that holds a design [P]."""
        edges = range(len(design))
        return next(half for half in self.halves if half.allowed[edges, design].all())

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        log_p = uniform(task.allowed)
        designs = draw_valid(task, self.estimates, lambda n: draw(log_p, n, rng))
        return ranked(designs, self.holder)[0][:k]
