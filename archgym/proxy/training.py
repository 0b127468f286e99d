"""Training: from a data set to a proxy and its errors.

    distinct designs -> test | training           by design, at random
    training -> folds -> errors, and intervals    cross-validated
    training -> the model -> errors on test       the model that is saved is the one whose errors are reported

Everything random derives from one seed: equal data give an equal model, digit for digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archgym.dataset import Dataset
from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError, unknown
from archgym.evaluator import Evaluator
from archgym.files.archive import expect, load_archive, reading, save_archive
from archgym.files.paths import write_atomically
from archgym.objective import Objective
from archgym.progress import Progress, part, silent
from archgym.proxy.card import card
from archgym.proxy.env import restrict_to
from archgym.proxy.evaluate import (
    LEVELS,
    MIN_DESIGNS,
    N_POINTS,
    all_scores,
    by_agent,
    coverage,
    cross_validated,
    learning_curve,
    widths,
)
from archgym.proxy.features import Encoding
from archgym.proxy.fitting import fit, fit_classes
from archgym.proxy.models import MODELS, Model, Trees
from archgym.proxy.simulator import ProxySimulator
from archgym.proxy.targets import Targets
from archgym.seeding import integer_seed, stream
from archgym.simulator import Metric
from archgym.space import Array, Indices
from archgym.version import __version__

FORMAT = 1
REPORT = "report.json"
TEST = "test.npz"


@dataclass(frozen=True, eq=False)
class Trained:
    """A proxy and its errors on unseen designs.

    Attributes:
        simulator: the proxy.
        report: errors, as JSON (`archgym.proxy.card` makes Markdown of it).
        indices: feasible test designs, int64 [N, P].
        true, predicted: measured and predicted metrics of the N designs, float64 [N, K].
    """

    simulator: ProxySimulator
    report: dict[str, Any]
    indices: Indices
    true: Array
    predicted: Array


@renamed(test="test_size", designs="train_size")
def train(
    data: Dataset,
    targets: Sequence[str] | None = None,
    model: str = "hist_gradient_boosting",
    *,
    train_size: int | None = None,
    test_size: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> Trained:
    """Train a proxy.

    Args:
        data: a data set; equal designs count once, their metrics averaged.
        targets: metrics to learn; default: all that are visible to agents.
        model: random_forest, hist_gradient_boosting, gaussian_process or linear.
        train_size: maximum number of training designs; default: all but the test designs.
        test_size: share of the designs in the test set.
        folds: number of cross-validation folds.
        seed: seed for the split, the folds and the models.
        progress: receives the share of models fitted.

    Raises:
        ArchGymError: an unknown metric or model, a constant metric, too few designs, or only infeasible ones.
        MissingDependency: scikit-learn is not installed.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    if folds < 2 or not 0 < test_size < 1:
        raise ArchGymError(
            f"expected at least 2 folds and a test_size between 0 and 1, got {folds} and {test_size}"
        )
    metrics = _metrics(data, targets)
    distinct = data.distinct()
    rng, fit_seed = stream(seed, "proxy"), integer_seed(seed, "proxy")
    split = _split(distinct, test_size, train_size, rng)
    problem = _problem(distinct, metrics, split)
    owners = _owners(data, distinct)
    x, z = problem.x[split.train], problem.z[split.train]
    phases = [1, folds, N_POINTS - 1, len(owners) + 1 if len(owners) > 1 else 0]  # models fitted in each
    ends = np.cumsum(phases) / sum(phases)

    fitted = fit(model, x, z, fit_seed)
    progress("the model", ends[0])
    out_of_fold, out_spread = cross_validated(
        model, x, z, folds, rng, fit_seed, part(progress, ends[0], ends[1])
    )
    half = widths(z, out_of_fold, out_spread)
    curve = learning_curve(model, x, z, fit_seed, problem.errors_of, fitted, part(progress, ends[1], ends[2]))
    agents = _generalisation(model, problem, owners, rng, fit_seed, part(progress, ends[2], ends[3]))
    feasibility, confusion = _fit_feasibility(problem, fit_seed)

    objective = _objective(data, [metric.name for metric in metrics])
    simulator = ProxySimulator(
        data.environment, data.space, problem.targets, model, fitted, feasibility, half, objective
    )
    predicted, spread = fitted.predict(problem.x[split.test])
    report = {
        **_header(data, problem, model, seed),
        "test": problem.errors(predicted, split.test),
        "cross_validated": problem.errors(out_of_fold, split.train),
        "folds": folds,
        "learning_curve": curve,
        "agents": agents,
        "coverage": _coverage(problem.targets, coverage(problem.z[split.test], predicted, spread, half)),
        "feasibility": confusion,
    }
    report = json.loads(json.dumps(report, default=str))
    restored = problem.targets.restored(predicted)
    return Trained(simulator, report, distinct.indices[split.test], problem.values[split.test], restored)


class _Split(NamedTuple):
    """Rows of the distinct designs: int64 arrays.

    Attributes:
        train, test: feasible designs to train on and to test on.
        train_all, test_all: the same with infeasible ones, for feasibility.
    """

    train: Indices
    test: Indices
    train_all: Indices
    test_all: Indices


def _split(distinct: Dataset, test_size: float, train_size: int | None, rng: np.random.Generator) -> _Split:
    """A random split of N distinct designs.

    Raises:
        ArchGymError: too few feasible designs on a side.
    """
    if not distinct.feasible.any():
        raise ArchGymError(
            f"expected feasible designs, got {len(distinct):,} infeasible ones, which have no metrics to "
            "learn"
        )
    order = rng.permutation(len(distinct))
    n_test = max(1, round(test_size * len(distinct)))
    test_all, train_all = order[:n_test], order[n_test:][:train_size]
    train, test = (rows[distinct.feasible[rows]] for rows in (train_all, test_all))
    if len(train) < MIN_DESIGNS or len(test) < 2:
        raise ArchGymError(
            f"expected at least {MIN_DESIGNS} feasible designs for training and 2 for the test, got "
            f"{len(train):,} and {len(test):,}; sample more with archgym dataset sample"
        )
    return _Split(train, test, train_all, test_all)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What a model learns: N designs with F features and K targets.

    Attributes:
        split: rows to train and to test on.
        x: features, float64 [N, F].
        values: metrics, float64 [N, K].
        z: standardised targets, float64 [N, K]; NaN where infeasible.
        targets: the transformation between the two.
        feasible: bool [N].
        span: highest minus lowest value of each metric in the split, [K].
        mean: mean of each metric in the training designs, [K].
    """

    split: _Split
    x: Array
    values: Array
    z: Array
    targets: Targets
    feasible: Array
    span: Array
    mean: Array

    def errors(self, predicted: Array, rows: Indices) -> dict[str, dict[str, float]]:
        """Errors of standardised predictions for these rows, by metric."""
        return all_scores(
            self.targets, self.values[rows], self.targets.restored(predicted), self.span, self.mean
        )

    def errors_of(self, model: Model, rows: Indices | None = None) -> dict[str, dict[str, float]]:
        """Errors of a model on these rows; by default on the test designs."""
        rows = self.split.test if rows is None else rows
        return self.errors(model.predict(self.x[rows])[0], rows)


def _problem(distinct: Dataset, metrics: Sequence[Metric], split: _Split) -> _Problem:
    values = np.stack([distinct.column(metric.name) for metric in metrics], axis=1)
    targets = Targets.from_values(metrics, values[split.train])
    z = np.full(values.shape, np.nan)
    z[distinct.feasible] = targets.standardised(values[distinct.feasible])
    span = np.ptp(values[np.concatenate([split.train, split.test])], axis=0)
    mean = values[split.train].mean(axis=0)
    return _Problem(
        split, Encoding(distinct.space)(distinct.indices), values, z, targets, distinct.feasible, span, mean
    )


def _generalisation(
    model: str,
    problem: _Problem,
    owners: Mapping[str, Indices],
    rng: np.random.Generator,
    seed: int,
    progress: Progress,
) -> dict[str, Any] | None:
    """Errors by agent of the training designs and agent of the test designs (see `by_agent`)."""
    split = problem.split
    sets = {"all": split.test} | {agent: np.intersect1d(split.test, rows) for agent, rows in owners.items()}
    sets = {name: rows for name, rows in sets.items() if len(rows) >= 2}

    def judge(candidate: Model) -> dict[str, float]:
        found = {name: problem.errors_of(candidate, rows) for name, rows in sets.items()}
        return {
            name: float(np.mean([e["rmse_percent_of_range"] for e in each.values()]))
            for name, each in found.items()
        }

    pools = {agent: np.intersect1d(split.train, rows) for agent, rows in owners.items()}
    return by_agent(model, problem.x, problem.z, pools, judge, rng, seed, progress)


def _fit_feasibility(problem: _Problem, seed: int) -> tuple[Trees | None, dict[str, float] | None]:
    """A model of feasibility and its errors on the test designs; None where all training designs are
    feasible.
    """
    train, test, feasible = problem.split.train_all, problem.split.test_all, problem.feasible
    if feasible[train].all():
        return None, None
    trees = fit_classes(problem.x[train], feasible[train], seed)
    return trees, _confusion(feasible[test], trees.predict(problem.x[test])[0][:, 0] > 0)


def _header(data: Dataset, problem: _Problem, model: str, seed: int) -> dict[str, Any]:
    """The part of a report on the origin of a proxy."""
    split, targets = problem.split, problem.targets
    feasible = float(problem.feasible.mean())
    return {
        "format": FORMAT,
        "archgym": __version__,
        "environment": dict(data.environment),
        "sources": list(data.sources),
        "model": model,
        "seed": seed,
        "designs": {
            "space": data.space.size,
            "train": len(split.train_all),
            "test": len(split.test_all),
            "feasible": feasible,
        },
        "targets": {
            m.name: {"unit": m.unit, "log": bool(log)}
            for m, log in zip(targets.metrics, targets.log, strict=True)
        },
    }


def _metrics(data: Dataset, targets: Sequence[str] | None) -> tuple[Metric, ...]:
    known = {metric.name: metric for metric in data.metrics}
    names = (
        [metric.name for metric in data.metrics if not metric.report_only]
        if targets is None
        else list(targets)
    )
    for name in names:
        if name not in known:
            raise unknown("metric of the data set", name, known)
        if names.count(name) > 1:
            raise ArchGymError(f"expected distinct targets, got {name!r} twice")
    return tuple(known[name] for name in names)


def _owners(data: Dataset, distinct: Dataset) -> dict[str, Indices]:
    """Agent -> rows of its designs among the distinct designs."""
    place = {row.tobytes(): i for i, row in enumerate(distinct.indices)}
    rows = np.array([place[row.tobytes()] for row in data.indices])
    return {str(agent): np.unique(rows[data.agent == agent]) for agent in np.unique(data.agent)}


def _objective(data: Dataset, names: Sequence[str]) -> Objective | None:
    """The environment's objective, if it can be made here and needs no other metric."""
    try:
        evaluator = Evaluator.from_specification(data.env)
        evaluator.simulator.close()
        return restrict_to(evaluator.objective, names)
    except ArchGymError:
        return None


def _coverage(targets: Targets, found: Array) -> dict[str, dict[str, float]]:
    return {
        m.name: {str(level): float(share) for level, share in zip(LEVELS, found[:, k], strict=True)}
        for k, m in enumerate(targets.metrics)
    }


def _confusion(true: Array, predicted: Array) -> dict[str, float]:
    """Shares of test designs whose feasibility is predicted correctly, wrongly feasible and wrongly
    infeasible.
    """
    return {
        "accuracy": float((true == predicted).mean()),
        "wrongly_feasible": float((predicted & ~true).mean()),
        "wrongly_infeasible": float((~predicted & true).mean()),
    }


def save_trained(trained: Trained, folder: str | os.PathLike[str]) -> Path:
    """Write a proxy's folder.

    Raises:
        ArchGymError: the folder cannot be written.
    """
    target = trained.simulator.save(folder)
    arrays = {"indices": trained.indices, "true": trained.true, "predicted": trained.predicted}
    save_archive(target / TEST, {"format": FORMAT}, arrays)
    write_atomically(target / REPORT, (json.dumps(trained.report, indent=1) + "\n").encode())
    write_atomically(target / "README.md", card(trained.report).encode())
    return target


def load_trained(folder: str | os.PathLike[str]) -> Trained:
    """Read a proxy's folder.

    Raises:
        ArchGymError: the folder has no proxy, or a damaged one.
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
