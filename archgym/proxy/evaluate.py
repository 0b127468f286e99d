"""How good a proxy is: errors on designs that it has not seen, and from how many and whose designs it has learnt.

Splits are by design: a design is a row of indices, and all that is known of it lies on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from archgym.proxy.fitting import fit
from archgym.proxy.models import Model
from archgym.proxy.targets import Targets
from archgym.space import Array, Indices

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the intervals that are calibrated."""

FEWEST = 20
"""Designs that a model is trained on at least."""

_REPEATS = 3  # draws of equally many designs per agent
_POINTS = 6  # of a learning curve
_SMALLEST_POINT = 50


def scores(true: Array, predicted: Array, span: float, mean: float) -> dict[str, float]:
    """Errors of predictions of one metric, [N] each.

    Args:
        span: highest less lowest value of the metric in the data set.
        mean: of the metric in the training designs, the prediction of somebody who knows no parameter.

    Returns:
        rmse_percent_of_range, rmse_percent_of_mean, mape_percent (NaN where a value is 0), r2, spearman, worst_percent_of_range and
        mean_predictor_rmse_percent_of_range.
    """
    error = predicted - true
    rmse = float(np.sqrt((error**2).mean()))
    variance = float(((true - true.mean()) ** 2).mean())
    relative = float(np.abs(error / true).mean()) if (true != 0).all() else np.nan
    ordered = np.ptp(true) > 0 and np.ptp(predicted) > 0
    return {
        "rmse_percent_of_range": 100 * rmse / span,
        "rmse_percent_of_mean": 100 * rmse / abs(float(true.mean())) if true.mean() else np.nan,
        "mape_percent": 100 * relative,
        "r2": 1 - rmse**2 / variance if variance else np.nan,
        "spearman": float(spearmanr(true, predicted).statistic) if ordered else np.nan,
        "worst_percent_of_range": 100 * float(np.abs(error).max()) / span,
        "mean_predictor_rmse_percent_of_range": 100 * float(np.sqrt(((true - mean) ** 2).mean())) / span,
    }


def all_scores(targets: Targets, true: Array, predicted: Array, span: Array, mean: Array) -> dict[str, dict[str, float]]:
    """`scores` of every metric: values [N, K], spans and means [K]."""
    columns = zip(targets.metrics, true.T, predicted.T, span, mean, strict=True)
    return {metric.name: scores(t, p, float(s), float(m)) for metric, t, p, s, m in columns}


def cross_validated(
    model: str, x: Array, z: Array, folds: int, rng: np.random.Generator, seed: int, step: Callable[[], None]
) -> tuple[Array, Array]:
    """Predictions and spreads of every design by a model that has not seen it: [N, K] each."""
    fold = rng.permutation(len(x)) % folds
    predicted, spread = np.empty_like(z), np.empty_like(z)
    for k in range(folds):
        out = fold == k
        predicted[out], spread[out] = fit(model, x[~out], z[~out], seed).predict(x[out])
        step()
    return predicted, spread


def widths(z: Array, predicted: Array, spread: Array) -> Array:
    """Half-widths, as multiples of the spread, of intervals that hold LEVELS of the truth: float64 [levels, K].

    Quantiles of |z - prediction| / spread over designs that were not trained on: conformal prediction (Vovk et al., 2005), by
    cross-validation.
    """
    half: Array = np.quantile(np.abs(z - predicted) / spread, LEVELS, axis=0)
    return half


def coverage(z: Array, predicted: Array, spread: Array, half: Array) -> Array:
    """Share of truths within the intervals of each level: [levels, K]."""
    return np.stack([(np.abs(z - predicted) <= h * spread).mean(axis=0) for h in half])


def learning_curve(
    model: str, x: Array, z: Array, seed: int, judge: Callable[[Model], Mapping[str, Any]], whole: Model, step: Callable[[], None]
) -> list[dict[str, Any]]:
    """Errors after halves, quarters, ... of the designs, which are in random order; `whole` is the model of all of them."""
    sizes = [len(x) >> k for k in range(_POINTS)]
    points = [{"designs": len(x), "errors": judge(whole)}]
    for n in sizes[1:]:
        if n >= _SMALLEST_POINT:
            points.append({"designs": n, "errors": judge(fit(model, x[:n], z[:n], seed))})
        step()
    return points[::-1]


def by_agent(
    model: str,
    x: Array,
    z: Array,
    owners: Mapping[str, Indices],
    judge: Callable[[Model], Mapping[str, float]],
    rng: np.random.Generator,
    seed: int,
    step: Callable[[], None],
) -> dict[str, Any] | None:
    """Errors of models that learn from equally many designs of one agent, and of all agents together.

    Args:
        owners: agent -> rows of the designs that it has asked for.
        judge: errors of a model by test set.

    Returns:
        {"designs": of each model, "errors": agent -> test set -> mean over draws}; None with fewer than two agents.
    """
    enough = {agent: rows for agent, rows in owners.items() if len(rows) >= FEWEST}
    if len(enough) < 2:
        return None
    n = min(map(len, enough.values()))
    pools = {**enough, "all agents": np.unique(np.concatenate(list(enough.values())))}
    errors: dict[str, dict[str, float]] = {}
    for agent, rows in pools.items():
        draws = []
        for _ in range(_REPEATS if len(rows) > n else 1):
            chosen = rng.permutation(rows)[:n]
            draws.append(judge(fit(model, x[chosen], z[chosen], seed)))
        errors[agent] = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
        step()
    return {"designs": n, "errors": errors}
