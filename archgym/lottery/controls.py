"""Controls: what the designs that a rule names without a search are worth.

`Simulator.controls` gives designs and their priorities. Of those that are valid, a control takes k, the
highest priorities first and equal ones in random order, and pays for k samples. With the levels of priority
before the last all taken, r of the last level's m designs are a random subset, so that the best of them, with
rewards v_1 <= ... <= v_m, is

    P(best = v_i) = C(i - 1, r - 1) / C(m, r)

and the mean over random orders needs no draws. An agent that a control beats at no more cost shows no worth
of its search (Yang et al., "NAS evaluation is frustratingly hard", 2020).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from archgym.evaluator import Evaluator
from archgym.lottery.data import Control
from archgym.optimum import Optimum
from archgym.simulator import evaluate_safely
from archgym.space import Array, Indices

SAMPLES = (1, 10)
"""Numbers of designs that a control takes."""
_MOST = 4096  # designs of one priority that are evaluated; of more, a random part


class _Level(NamedTuple):
    """The valid designs of one priority: their rewards and costs, in the simulator's unit, float64 [m]."""

    rewards: Array
    costs: Array


def find_controls(evaluator: Evaluator, optimum: Optimum | None = None) -> list[Control]:
    """The controls of a task, at 1 and 10 samples, as far as a rule names so many valid designs; none of a
    measured or noisy simulator.

    Args:
        evaluator: the task's simulator and objective.
        optimum: the exact optimum, for percentiles.
    """
    simulator = evaluator.simulator
    if not simulator.deterministic or simulator.stochastic or simulator.counted_elsewhere:
        return []
    found = []
    for name, (designs, priorities) in simulator.controls().items():
        levels: list[_Level] = []
        for level in _levels(evaluator, np.asarray(designs), np.asarray(priorities)):
            levels.append(level)
            if sum(len(each.rewards) for each in levels) >= max(SAMPLES):
                break
        found += [
            _best_of(name, k, levels, evaluator.reference_cost, optimum)
            for k in SAMPLES
            if sum(len(each.rewards) for each in levels) >= k
        ]
    return found


def _levels(evaluator: Evaluator, designs: Indices, priorities: Array) -> Iterator[_Level]:
    """Levels of priority with valid designs, the highest first."""
    rng = np.random.default_rng(0)
    for priority in np.unique(priorities)[::-1]:
        alike = designs[priorities == priority]
        if len(alike) > _MOST:
            alike = alike[np.sort(rng.choice(len(alike), _MOST, replace=False))]
        outcome = evaluate_safely(evaluator.simulator, alike)
        judged = evaluator.objective.judge(outcome, evaluator.metric_names)
        if judged.valid.any():
            costs = np.asarray(evaluator.simulator.cost_of(alike), float)
            yield _Level(judged.reward[judged.valid], costs[judged.valid])


def _best_of(
    name: str, k: int, levels: list[_Level], reference_cost: float, optimum: Optimum | None
) -> Control:
    """A control with k designs, of levels that have so many."""
    left, cost, best = k, 0.0, -np.inf  # best: of the levels that are taken whole
    for level in levels:
        if len(level.rewards) >= left:
            break
        left -= len(level.rewards)
        cost += float(level.costs.sum())
        best = max(best, float(level.rewards.max()))
    rewards = np.maximum(np.sort(level.rewards), best)
    shares = _shares(len(rewards), left)
    percentiles = [None if optimum is None else optimum.percentile(float(r)) for r in rewards]
    known = [p for p in percentiles if p is not None]
    return Control(
        name=name,
        samples=k,
        cost=(cost + left * float(level.costs.mean())) / reference_cost,
        rewards=rewards,
        shares=shares,
        percentile=float(np.dot(known, shares)) if len(known) == len(rewards) else None,
    )


def _shares(m: int, r: int) -> Array:
    """The probability that the best of r out of m is the i-th from below, float64 [m]."""
    shares = np.zeros(m)
    shares[-1] = r / m
    for i in range(m - 2, r - 2, -1):  # C(i, r - 1) = C(i + 1, r - 1) (i + 2 - r) / (i + 1)
        shares[i] = shares[i + 1] * (i + 2 - r) / (i + 1)
    return shares
