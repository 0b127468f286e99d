"""Errors of a proxy: on unseen designs, by number of training designs, and by the agent that proposed them.

Splits are by design: all rows with equal indices are on the same side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from archgym.progress import Progress, silent
from archgym.proxy.fitting import fit
from archgym.proxy.models import Model
from archgym.proxy.targets import Targets
from archgym.space import Array, Indices

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Levels of the calibrated intervals."""

MIN_DESIGNS = 20
"""Smallest number of training designs."""

_REPEATS = 3  # draws per agent, all of one size
N_POINTS = 6  # points of a learning curve
_MIN_POINT = 50  # designs


def scores(true: Array, predicted: Array, span: float, mean: float) -> dict[str, float]:
    """Errors of predictions of one metric, [N] each.

    Args:
        true: measured values.
        predicted: predicted values.
        span: highest minus lowest value of the metric in the data set.
        mean: mean of the training targets, used as the baseline prediction.

    Returns:
        rmse_percent_of_range, rmse_percent_of_mean, mape_percent (NaN where a value is 0), r2, spearman,
        worst_percent_of_range and mean_predictor_rmse_percent_of_range.
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


def all_scores(
    targets: Targets, true: Array, predicted: Array, span: Array, mean: Array
) -> dict[str, dict[str, float]]:
    """`scores` of every metric: values [N, K], spans and means [K]."""
    columns = zip(targets.metrics, true.T, predicted.T, span, mean, strict=True)
    return {metric.name: scores(t, p, float(s), float(m)) for metric, t, p, s, m in columns}


def cross_validated(
    model: str,
    x: Array,
    z: Array,
    folds: int,
    rng: np.random.Generator,
    seed: int,
    progress: Progress = silent,
) -> tuple[Array, Array]:
    """Predictions and spreads of every design by a model trained on the other folds: [N, K] each."""
    fold = rng.permutation(len(x)) % folds
    predicted, spread = np.empty_like(z), np.empty_like(z)
    for k in range(folds):
        out = fold == k
        predicted[out], spread[out] = fit(model, x[~out], z[~out], seed).predict(x[out])
        progress("cross-validation", (k + 1) / folds)
    return predicted, spread


def widths(z: Array, predicted: Array, spread: Array) -> Array:
    """Half-widths, in multiples of the spread, of intervals with the coverages LEVELS: float64 [levels, K].

    Quantiles of |z - prediction| / spread over designs outside the training folds: conformal prediction (Vovk
    et al., 2005), by cross-validation.
    """
    return np.quantile(np.abs(z - predicted) / spread, LEVELS, axis=0)


def coverage(z: Array, predicted: Array, spread: Array, half: Array) -> Array:
    """Share of true values within the intervals of each level: [levels, K]."""
    return np.stack([(np.abs(z - predicted) <= h * spread).mean(axis=0) for h in half])


def learning_curve(
    model: str,
    x: Array,
    z: Array,
    seed: int,
    judge: Callable[[Model], Mapping[str, Any]],
    whole: Model,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Errors of models of 1/2, 1/4, ... of the designs, which are in random order; `whole` is the model of
    all of them.
    """
    sizes = [len(x) >> k for k in range(N_POINTS)]
    points = [{"designs": len(x), "errors": judge(whole)}]
    for j, n in enumerate(sizes[1:], 1):
        if n >= _MIN_POINT:
            points.append({"designs": n, "errors": judge(fit(model, x[:n], z[:n], seed))})
        progress("learning curve", j / (N_POINTS - 1))
    return points[::-1]


def by_agent(
    model: str,
    x: Array,
    z: Array,
    owners: Mapping[str, Indices],
    judge: Callable[[Model], Mapping[str, float]],
    rng: np.random.Generator,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """Errors of models trained on the designs of one agent, and of all agents together; all on the same
    number of designs.

    Args:
        model: name of a model in MODELS.
        x: features, [N, F].
        z: standardised targets, [N, K].
        owners: agent -> rows of its designs.
        judge: errors of a model by test set.
        rng: generator of the draws.
        seed: seed of the fits.
        progress: receives the share of models fitted.

    Returns:
        {"designs": number per model, "errors": agent -> test set -> mean over draws}; None with fewer than
        two agents.
    """
    enough = {agent: rows for agent, rows in owners.items() if len(rows) >= MIN_DESIGNS}
    if len(enough) < 2:
        return None
    n = min(map(len, enough.values()))
    pools = {**enough, "all agents": np.unique(np.concatenate(list(enough.values())))}
    errors: dict[str, dict[str, float]] = {}
    for j, (agent, rows) in enumerate(pools.items(), 1):
        draws = []
        for _ in range(_REPEATS if len(rows) > n else 1):
            chosen = rng.permutation(rows)[:n]
            draws.append(judge(fit(model, x[chosen], z[chosen], seed)))
        errors[agent] = {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
        progress("designs of each agent", j / len(pools))
    return {"designs": n, "errors": errors}
