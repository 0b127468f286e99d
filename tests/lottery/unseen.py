"""Synthetic studies of kind "generalise" with known truths, without running a search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.lottery.generalise.data import Baseline, TaskShares, Training
from archgym.space import Array


def held_out(contexts: int, count: int, splits: int, rng: np.random.Generator) -> Array:
    """Random splits that hold out `count` of the contexts each: bool [J, C]."""
    rows = np.zeros((splits, contexts), bool)
    for row in rows:
        row[rng.permutation(contexts)[:count]] = True
    return rows


def within(rows: Array, values: Array) -> Array:
    """Values where held out, NaN elsewhere."""
    return np.where(rows, values, np.nan)


def task(
    policies: Mapping[str, float],
    *,
    name: str = "synthetic",
    contexts: int = 30,
    splits: int = 10,
    seeds: int = 3,
    verify: int = 5,
    limit: int = 100,
    nearest: float = 0.8,
    one_for_all: float = 0.7,
    random: float = 0.3,
    spread: float = 0.08,
    budgets: tuple[int, ...] = (1000, 10_000),
    seed: int = 0,
) -> TaskShares:
    """A task whose policies have these mean shares at the largest budget, less 0.1 at each smaller one.

    A context has an ease of its own, which all designs share in part; each run adds noise.
    """
    rng = np.random.default_rng(seed)
    rows = held_out(contexts, round(0.3 * contexts), splits, rng)
    ease = spread * rng.normal(size=contexts)

    def shares(mean: float, *shape: int) -> Array:
        noise = spread * rng.normal(size=(*shape, contexts))
        return np.clip(mean + ease + 0.5 * noise, 0, 1)

    trained = {}
    for agent, mean in policies.items():
        trained[agent] = {
            budget: Training(
                np.maximum.accumulate(
                    np.stack(
                        [
                            within(rows[:, None], shares(mean - 0.1 * (len(budgets) - 1 - b), splits, seeds))
                            for _ in range(verify)
                        ],
                        axis=-1,
                    ),
                    axis=-1,
                ),
                1 + rng.random((splits, seeds)),
            )
            for b, budget in enumerate(budgets)
        }
    n = np.arange(1, limit + 1)
    searches = {
        agent: np.stack([[np.clip(1 - 0.8 * n**-rate + ease[c], 0, 1) for c in range(contexts)]] * seeds)
        for agent, rate in {"random": 0.2, "bo": 0.6}.items()
    }
    levels = {Baseline.NEAREST: nearest, Baseline.ONE_FOR_ALL: one_for_all, Baseline.RANDOM: random}
    return TaskShares(
        task=name,
        env="archgym/Synthetic-v0",
        contexts=[f"context {c}" for c in range(contexts)],
        held_out=rows,
        ratio=0.3 / 0.7,
        unit="context",
        baselines={b: within(rows, np.tile(shares(level), (splits, 1))) for b, level in levels.items()},
        exact=True,
        policies=trained,
        searches=searches,
        runs=100,
        verify=verify,
        splits=list(range(splits)),
    )
