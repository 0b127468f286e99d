"""Training: from a data set to a proxy, and to what is known of its errors.

    distinct designs -> test | training           by design, at random
    training -> folds -> errors, and intervals    cross-validated
    training -> the model -> errors on test       what is saved is the model whose errors are told

Everything random derives from one seed: the same data give the same model, digit for digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from archgym.dataset import Dataset
from archgym.errors import ArchGymError, unknown
from archgym.files.archive import expect, load_archive, reading, save_archive
from archgym.files.paths import write_atomically
from archgym.objective import Objective
from archgym.proxy.env import narrowed
from archgym.proxy.evaluate import FEWEST, LEVELS, all_scores, by_agent, coverage, cross_validated, learning_curve, widths
from archgym.proxy.features import Encoding
from archgym.proxy.fitting import fit, fit_classes
from archgym.proxy.models import MODELS, Model
from archgym.proxy.simulator import ProxySimulator
from archgym.proxy.targets import Targets
from archgym.seeding import integer_seed, stream
from archgym.simulator import Metric
from archgym.space import Array, Indices
from archgym.values import read_arguments
from archgym.version import __version__

FORMAT = 1
REPORT = "report.json"
TEST = "test.npz"


@dataclass(frozen=True, eq=False)
class Trained:
    """A proxy and how it did on the designs that it has not seen.

    Attributes:
        simulator: the proxy.
        report: errors, as JSON (`archgym.proxy.card` puts it into words).
        indices: feasible test designs, int64 [N, P].
        true, predicted: their metrics, float64 [N, K].
    """

    simulator: ProxySimulator
    report: dict[str, Any]
    indices: Indices
    true: Array
    predicted: Array


def train(
    data: Dataset,
    targets: Sequence[str] | None = None,
    model: str = "hist_gradient_boosting",
    *,
    designs: int | None = None,
    test: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train a proxy.

    Args:
        data: equal designs count once, their metrics averaged.
        targets: metrics to learn; default: all that agents may see.
        model: random_forest, hist_gradient_boosting, gaussian_process or linear.
        designs: to train on at most.
        test: share of the designs that are kept for the test.
        folds: of the cross-validation.
        seed: of everything random.
        progress: called with (models fitted, models in all).

    Raises:
        ArchGymError: an unknown metric or model, a metric that is constant, too few designs, or infeasible ones only.
        MissingDependency: scikit-learn is not installed.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    if folds < 2 or not 0 < test < 1:
        raise ArchGymError(f"folds are at least 2 and the test is a share between 0 and 1, not {folds} and {test}")
    metrics = _metrics(data, targets)
    distinct = data.distinct()
    if not distinct.feasible.any():
        raise ArchGymError(f"none of the {len(distinct):,} designs is feasible: there is no metric to learn")
    rng, fit_seed = stream(seed, "proxy"), integer_seed(seed, "proxy")
    order = rng.permutation(len(distinct))
    kept = max(1, round(test * len(distinct)))
    test_rows, train_rows = order[:kept], order[kept:][:designs]
    learnt, judged = (rows[distinct.feasible[rows]] for rows in (train_rows, test_rows))
    if len(learnt) < FEWEST or len(judged) < 2:
        raise ArchGymError(
            f"{len(learnt):,} feasible designs to train on and {len(judged):,} to test on are too few: at least {FEWEST} and 2; sample "
            "more with archgym dataset sample"
        )
    encoding = Encoding(data.space)
    x = encoding(distinct.indices)
    values = np.stack([distinct.column(metric.name) for metric in metrics], axis=1)
    chosen = Targets.of(metrics, values[learnt])
    z = np.full(values.shape, np.nan)
    z[distinct.feasible] = chosen.standardised(values[distinct.feasible])
    known = np.concatenate([learnt, judged])
    span, mean = np.ptp(values[known], axis=0), values[learnt].mean(axis=0)

    def errors(predicted: Array, rows: Indices) -> dict[str, dict[str, float]]:
        return all_scores(chosen, values[rows], chosen.restored(predicted), span, mean)

    owners = _owners(data, distinct)
    step = _Steps(progress, 1 + folds + 5 + (len(owners) + 1 if len(owners) > 1 else 0))
    fitted = fit(model, x[learnt], z[learnt], fit_seed)
    step()
    out_of_fold, out_spread = cross_validated(model, x[learnt], z[learnt], folds, rng, fit_seed, step)
    half = widths(z[learnt], out_of_fold, out_spread)
    predicted, spread = fitted.predict(x[judged])
    curve = learning_curve(model, x[learnt], z[learnt], fit_seed, lambda m: errors(m.predict(x[judged])[0], judged), fitted, step)

    sets = {"all": judged} | {agent: np.intersect1d(judged, rows) for agent, rows in owners.items()}
    sets = {name: rows for name, rows in sets.items() if len(rows) >= 2}

    def judge(candidate: Model) -> dict[str, float]:
        found = {name: errors(candidate.predict(x[rows])[0], rows) for name, rows in sets.items()}
        return {name: float(np.mean([e["rmse_percent_of_range"] for e in each.values()])) for name, each in found.items()}

    pools = {agent: np.intersect1d(learnt, rows) for agent, rows in owners.items()}
    agents = by_agent(model, x, z, pools, judge, rng, fit_seed, step)

    feasible, feasibility = distinct.feasible, None
    if not feasible[train_rows].all():
        feasibility = fit_classes(x[train_rows], feasible[train_rows], fit_seed)
    simulator = ProxySimulator(
        data.environment, data.space, chosen, model, fitted, feasibility, half, _objective(data, [metric.name for metric in metrics])
    )
    report = {
        "format": FORMAT,
        "archgym": __version__,
        "environment": dict(data.environment),
        "sources": list(data.sources),
        "model": model,
        "seed": seed,
        "designs": {"space": data.space.size, "train": len(train_rows), "test": len(test_rows), "feasible": float(feasible.mean())},
        "targets": {m.name: {"unit": m.unit, "log": bool(log)} for m, log in zip(metrics, chosen.log, strict=True)},
        "test": errors(predicted, judged),
        "cross_validated": errors(out_of_fold, learnt),
        "folds": folds,
        "learning_curve": curve,
        "agents": agents,
        "coverage": _coverage(chosen, coverage(z[judged], predicted, spread, half)),
        "feasibility": None if feasibility is None else _confusion(feasible[test_rows], feasibility.predict(x[test_rows])[0][:, 0] > 0),
    }
    report = json.loads(json.dumps(report, default=str))
    return Trained(simulator, report, distinct.indices[judged], values[judged], chosen.restored(predicted))


class _Steps:
    """Counts the fits of a training."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


def _metrics(data: Dataset, targets: Sequence[str] | None) -> tuple[Metric, ...]:
    known = {metric.name: metric for metric in data.metrics}
    names = [metric.name for metric in data.metrics if not metric.report_only] if targets is None else list(targets)
    for name in names:
        if name not in known:
            raise unknown("metric of the data set", name, known)
        if names.count(name) > 1:
            raise ArchGymError(f"the target {name!r} is named twice")
    return tuple(known[name] for name in names)


def _owners(data: Dataset, distinct: Dataset) -> dict[str, Indices]:
    """Agent -> rows, among the distinct designs, of those that it has asked for."""
    place = {row.tobytes(): i for i, row in enumerate(distinct.indices)}
    rows = np.array([place[row.tobytes()] for row in data.indices])
    return {str(agent): np.unique(rows[data.agent == agent]) for agent in np.unique(data.agent)}


def _objective(data: Dataset, names: Sequence[str]) -> Objective | None:
    """The environment's objective, if it can be made here and needs no other metric."""
    try:
        env = gymnasium.make(data.environment["id"], **read_arguments(data.environment["kwargs"]))
        env.close()
        return narrowed(env.unwrapped.objective, names)  # type: ignore[attr-defined]
    except (ArchGymError, gymnasium.error.Error):
        return None


def _coverage(targets: Targets, found: Array) -> dict[str, dict[str, float]]:
    return {
        m.name: {str(level): float(share) for level, share in zip(LEVELS, found[:, k], strict=True)} for k, m in enumerate(targets.metrics)
    }


def _confusion(true: Array, predicted: Array) -> dict[str, float]:
    """Shares of test designs: right, and wrongly called feasible or infeasible."""
    return {
        "accuracy": float((true == predicted).mean()),
        "wrongly_feasible": float((predicted & ~true).mean()),
        "wrongly_infeasible": float((~predicted & true).mean()),
    }


def save_trained(trained: Trained, folder: str | os.PathLike[str]) -> Path:
    """Write a proxy's folder.

    Raises:
        ArchGymError: it cannot be written.
    """
    from archgym.proxy.card import card

    target = trained.simulator.save(folder)
    arrays = {"indices": trained.indices, "true": trained.true, "predicted": trained.predicted}
    save_archive(target / TEST, {"format": FORMAT}, arrays)
    for name, text in ((REPORT, json.dumps(trained.report, indent=1) + "\n"), ("README.md", card(trained.report))):
        write_atomically(target / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    return target


def load_trained(folder: str | os.PathLike[str]) -> Trained:
    """Read a proxy's folder.

    Raises:
        ArchGymError: there is none, or it is damaged.
    """
    simulator, place = ProxySimulator.load(folder), Path(folder).expanduser()
    with reading(place / REPORT, "the report of a proxy", "train it again"):
        report = json.loads((place / REPORT).read_text(encoding="utf-8-sig"))
    with reading(place / TEST, "the test designs of a proxy", "train it again"):
        _, arrays = load_archive(place / TEST, FORMAT)
        n, k = len(arrays["indices"]), len(simulator.metrics)
        expect("indices", arrays["indices"], (n, len(simulator.space)), np.integer)
        for name in ("true", "predicted"):
            expect(name, arrays[name], (n, k), np.floating)
    return Trained(simulator, report, arrays["indices"], arrays["true"], arrays["predicted"])
