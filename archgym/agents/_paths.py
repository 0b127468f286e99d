"""Single paths through shared weights: drawing, training and ranking them.

o_e ~ softmax(log_p[e]) for every edge e      argmax over o of log_p[e, o] + Gumbel noise
w   <- w - eta grad_w CE(path(o), batch)      weights off the path have no gradient and stand still
rank: accuracy with the shared weights, one design after another until the budget for estimates is spent
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from archgym.agents._one_shot import Weights
from archgym.errors import BudgetExhausted
from archgym.shared import SharedTask
from archgym.shared.task import IMAGES, PASSES
from archgym.space import Array, Indices, Integer

ROUNDS = 100  # draws before fewer designs than asked are accepted
AVERAGED = 256  # random designs of a mean cost


def estimates_hyperparameter(estimates: int) -> Integer:
    """The number of designs estimated with the shared weights.

    Args:
        estimates: its default.
    """
    return Integer("estimates", 1, 4096, default=estimates)


def uniform(allowed: Array) -> Array:
    """log p of the uniform distribution over allowed operations, bool [P, n] -> [P, n]; -inf for others."""
    return np.where(allowed, 0.0, -np.inf) - np.log(allowed.sum(axis=1, keepdims=True))


def draw(log_p: Array, n: int, rng: np.random.Generator) -> Indices:
    """Designs from a product of categoricals, log p [P, n_o] -> int64 [n, P]."""
    return (log_p + rng.gumbel(size=(n, *log_p.shape))).argmax(axis=2)


def draw_valid(task: SharedTask, n: int, sample: Callable[[int], Indices]) -> Indices:
    """At most n distinct designs within the limits, in the order drawn.

    Args:
        task: the shared weights.
        n: number of designs.
        sample: function that draws n designs, int64 [n, P].
    """
    found: dict[bytes, Indices] = {}
    for _ in range(ROUNDS):
        designs = sample(n)
        for design in designs[task.valid(designs)]:
            found.setdefault(design.tobytes(), design)
        if len(found) >= n:
            break
    return np.array(list(found.values())[:n], np.int64).reshape(-1, len(task.space))


def mean_path_cost(task: SharedTask, drift: float = 0.0) -> float:
    """Mean multiply-adds of a path for one image.

    Args:
        task: the shared weights.
        drift: share of the way from random paths, 0, to the one of the largest operations, 1; learned
            distributions prefer large operations.
    """
    designs = draw(uniform(task.allowed), AVERAGED, np.random.default_rng(0))
    mean = float(np.mean([task.macs(design) for design in designs]))
    largest = np.where(task.allowed, task.cost_of_operations(), -np.inf).argmax(axis=1)
    return mean + drift * (task.macs(largest) - mean)


def training_cost(task: SharedTask, steps: float, drift: float = 0.0) -> float:
    """Mean multiply-adds of training steps on paths; see `mean_path_cost`."""
    return steps * PASSES * task.batch * mean_path_cost(task, drift)


def ranking_cost(task: SharedTask, designs: int, drift: float = 0.0) -> float:
    """Mean multiply-adds of estimates of distinct designs, at most all of the space; see `mean_path_cost`."""
    return min(designs, task.space.size) * IMAGES * mean_path_cost(task, drift)


def learn(task: SharedTask, weights: Weights, design: Indices) -> float:
    """Take a step of the weights on one path and a training batch; its loss."""
    from torch.nn.functional import cross_entropy

    images, labels = task.train_batch()
    loss = cross_entropy(task.path(images, design), labels)
    weights.step(loss)
    return float(loss.detach())


def ranked(designs: Indices, holder: Callable[[Indices], SharedTask]) -> tuple[Indices, Array]:
    """Designs [B, P] in order of their estimates, best first, and these; only those that the budget paid.

    Args:
        designs: the designs.
        holder: function of a design, the weights that estimate it.
    """
    found = []
    try:
        for design in designs:
            found.append(holder(design).estimate(design[None])[0])
    except BudgetExhausted:
        pass
    order = np.argsort(-np.array(found), kind="stable")
    return designs[: len(found)][order], np.array(found)[order]
