"""The analysis of a study of kind "generalise": its tables, verdicts, and conclusions.

Per split j, the mean over seeds s and held-out contexts c,

    x_j = mean_sc share_jsc,      d_j = x_j - mean_c baseline_jc,

and over splits the interval of `archgym.lottery.generalise.statistics`. A policy

    generalises                its first design is better than a random design, than one design for all, and
                               than the nearest training context's optimum, each with an interval above 0
    no better than copying     better than a random design, not than both others
    no generalisation          not better than a random design
    not resolved               fewer than two splits
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import polars as pl

from archgym.lottery.generalise.data import Baseline, TaskShares, Training
from archgym.lottery.generalise.statistics import mean_over_splits, samples_to_equal, spread_of_seeds
from archgym.lottery.statistics import Estimate, known_mean
from archgym.lottery.tables import frame_of
from archgym.space import Array

POINTS = 60
"""Points of a search's curve."""


class Transfer(StrEnum):
    """Verdict on a policy."""

    GENERALISES = "generalises"
    COPIES = "no better than copying"
    NOTHING = "no generalisation"
    UNRESOLVED = "not resolved"


class TaskRow(NamedTuple):
    """One task."""

    task: str
    env: str
    contexts: int
    splits: int
    held_out: float
    unit: str
    runs: int
    failed: int
    note: str


class PolicyRow(NamedTuple):
    """A contextual agent after a number of training samples; intervals are of 95 % over splits.

    `share` is that of the first proposal, `verified` of the best of `verify` proposals, `worst` the mean over
    splits of the worst held-out context, `lowest` the lowest share of any context, split and seed.
    """

    task: str
    agent: str
    samples: int
    verdict: str
    share: float
    share_low: float
    share_high: float
    verify: int
    verified: float
    verified_low: float
    verified_high: float
    worst: float
    worst_low: float
    worst_high: float
    lowest: float
    lowest_context: str
    lowest_verified: float
    seed_spread: float
    seconds: float
    runs: int


class BaselineRow(NamedTuple):
    """A policy's first proposal against a design that needs no policy."""

    task: str
    agent: str
    samples: int
    baseline: str
    share: float
    share_low: float
    share_high: float
    difference: float
    low: float
    high: float
    excludes_0: bool


class ContextRow(NamedTuple):
    """One held-out context: means over the splits that hold it out, and over seeds."""

    task: str
    agent: str
    samples: int
    context: str
    splits: int
    share: float
    verified: float
    lowest: float
    nearest: float
    one_for_all: float
    random: float


class SavedRow(NamedTuple):
    """Samples of a held-out context with which a search equals a policy; inf where `limit` samples do not
    suffice.
    """

    task: str
    agent: str
    samples: int
    quality: str
    spent: int
    search: str
    equal: float
    low: float
    high: float
    limit: int


class SearchRow(NamedTuple):
    """The share that a search reaches with a number of samples of a held-out context."""

    task: str
    agent: str
    samples: int
    share: float
    low: float
    high: float


class RunRow(NamedTuple):
    """One training run: means over its held-out contexts."""

    task: str
    agent: str
    samples: int
    split: int
    seed: int
    share: float
    verified: float
    worst: float
    seconds: float


TABLES = {
    "tasks": TaskRow,
    "policies": PolicyRow,
    "baselines": BaselineRow,
    "contexts": ContextRow,
    "samples_saved": SavedRow,
    "searches": SearchRow,
    "training_runs": RunRow,
}
"""The class of each table's rows, by the table's name."""


@dataclass(frozen=True)
class Analysis:
    """The tables, each documented by the class of its rows in `TABLES`."""

    tasks: pl.DataFrame
    policies: pl.DataFrame
    baselines: pl.DataFrame
    contexts: pl.DataFrame
    samples_saved: pl.DataFrame
    searches: pl.DataFrame
    training_runs: pl.DataFrame


def analyse(tasks: Sequence[TaskShares]) -> Analysis:
    """Everything the report shows; partial studies give partial tables."""
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in TABLES}
    for task in tasks:
        rows["tasks"].append(_task(task))
        for agent, trained in task.policies.items():
            for samples, runs in sorted(trained.items()):
                if np.isnan(runs.shares).all():
                    continue
                compared = list(_baselines(task, agent, samples, runs))
                rows["policies"].append(_policy(task, agent, samples, runs, compared))
                rows["baselines"] += compared
                rows["contexts"] += _contexts(task, agent, samples, runs)
                rows["samples_saved"] += _saved(task, agent, samples, runs)
                rows["training_runs"] += _runs(task, agent, samples, runs)
        for agent, shares in task.searches.items():
            rows["searches"] += _search(task, agent, shares)
    return Analysis(**{name: frame_of(TABLES[name], content) for name, content in rows.items()})


def verdict(differences: dict[Baseline, Estimate]) -> Transfer:
    """The verdict on a policy, from its differences to the baselines."""
    above = {baseline: float(estimate.interval()[0]) for baseline, estimate in differences.items()}
    if not above or any(np.isnan(low) for low in above.values()):
        return Transfer.UNRESOLVED
    if not above[Baseline.RANDOM] > 0:
        return Transfer.NOTHING
    return Transfer.GENERALISES if all(low > 0 for low in above.values()) else Transfer.COPIES


def _split_means(shares: Array) -> Array:
    """Mean over seeds and held-out contexts: float64 [J, S, C] -> [J]."""
    return known_mean(known_mean(shares, 2), 1)


def _differences(task: TaskShares, runs: Training) -> dict[Baseline, Estimate]:
    first = _split_means(runs.shares[..., 0])
    return {
        baseline: mean_over_splits(first - known_mean(shares, 1), task.ratio)
        for baseline, shares in task.baselines.items()
    }


def _limits(estimate: Estimate) -> tuple[float, float, float]:
    """A share and its interval, within 0 to 1."""
    low, high = np.clip(estimate.interval(), 0, 1)
    return float(estimate.value), float(low), float(high)


def _task(task: TaskShares) -> TaskRow:
    reasons = sorted({reason for _, reason in task.failures})
    notes = [f"{len(task.failures)} runs failed: {'; '.join(reasons[:3])}"] if task.failures else []
    if not task.exact:
        notes.append("one design for all is the best of the training contexts' optima")
    held_out = float(task.held_out.sum(axis=1).mean()) if task.held_out.size else 0.0
    return TaskRow(
        task.task, task.env, len(task.contexts), len(task.splits), held_out, task.unit, task.runs,
        len(task.failures), "; ".join(notes),
    )  # fmt: skip


def _policy(
    task: TaskShares, agent: str, samples: int, runs: Training, compared: Sequence[BaselineRow]
) -> PolicyRow:
    first, verified = runs.shares[..., 0], runs.shares[..., -1]
    worst = np.nanmin(np.where(np.isnan(first), np.inf, first), axis=2)
    worst = np.where(np.isinf(worst), np.nan, worst)
    j, s, c = np.unravel_index(np.nanargmin(first), first.shape)
    return PolicyRow(
        task.task, agent, samples, verdict(_differences(task, runs)).value,
        *_limits(mean_over_splits(_split_means(first), task.ratio)),
        task.verify,
        *_limits(mean_over_splits(_split_means(verified), task.ratio)),
        *_limits(mean_over_splits(known_mean(worst, 1), task.ratio)),
        float(first[j, s, c]), task.contexts[int(c)], float(np.nanmin(verified)),
        spread_of_seeds(known_mean(first, 2)), float(known_mean(runs.seconds)),
        int((~np.isnan(runs.seconds)).sum()),
    )  # fmt: skip


def _baselines(task: TaskShares, agent: str, samples: int, runs: Training) -> Iterator[BaselineRow]:
    for baseline, difference in _differences(task, runs).items():
        own = mean_over_splits(known_mean(task.baselines[baseline], 1), task.ratio)
        low, high = difference.interval()
        yield BaselineRow(
            task.task, agent, samples, baseline.value, *_limits(own), float(difference.value),
            float(low), float(high), bool(low > 0 or high < 0),
        )  # fmt: skip


def _contexts(task: TaskShares, agent: str, samples: int, runs: Training) -> Iterator[ContextRow]:
    first, verified = (known_mean(runs.shares[..., v], 1) for v in (0, -1))
    base = {baseline: known_mean(shares, 0) for baseline, shares in task.baselines.items()}
    for c, name in enumerate(task.contexts):
        splits = int((~np.isnan(first[:, c])).sum())
        if splits:
            yield ContextRow(
                task.task, agent, samples, name, splits, float(known_mean(first[:, c])),
                float(known_mean(verified[:, c])), float(np.nanmin(runs.shares[:, :, c, 0])),
                *(float(base[b][c]) for b in (Baseline.NEAREST, Baseline.ONE_FOR_ALL, Baseline.RANDOM)),
            )  # fmt: skip


def _searched(task: TaskShares, shares: Array) -> Array:
    """A search's mean share over the contexts that each split holds out: float64 [S, C, N] -> [J, N]; NaN
    where a context has no run yet.
    """
    by_context = known_mean(shares, 0)
    return np.stack([by_context[held].mean(axis=0) for held in task.held_out])


def _saved(task: TaskShares, agent: str, samples: int, runs: Training) -> Iterator[SavedRow]:
    for quality, spent, place in (("first proposal", 0, 0), (f"best of {task.verify}", task.verify, -1)):
        policy = _split_means(runs.shares[..., place])
        for search, shares in task.searches.items():
            equal = samples_to_equal(_searched(task, shares), policy, task.ratio)
            yield SavedRow(
                task.task, agent, samples, quality, spent, search, *equal, shares.shape[-1]
            )  # fmt: skip


def _search(task: TaskShares, agent: str, shares: Array) -> Iterator[SearchRow]:
    limit = shares.shape[-1]
    estimate = mean_over_splits(_searched(task, shares), task.ratio)
    low, high = np.clip(estimate.interval(), 0, 1)
    for n in np.unique(np.geomspace(1, limit, POINTS).round().astype(int)):
        yield SearchRow(
            task.task, agent, int(n), float(estimate.value[n - 1]), float(low[n - 1]), float(high[n - 1])
        )


def _runs(task: TaskShares, agent: str, samples: int, runs: Training) -> Iterator[RunRow]:
    for j, s in np.argwhere(~np.isnan(runs.seconds)):
        first, verified = runs.shares[j, s, :, 0], runs.shares[j, s, :, -1]
        yield RunRow(
            task.task, agent, samples, int(task.splits[j]), int(s), float(known_mean(first)),
            float(known_mean(verified)), float(np.nanmin(first)), float(runs.seconds[j, s]),
        )  # fmt: skip
