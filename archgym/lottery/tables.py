"""The tables of an analysis: one NamedTuple per table, whose fields are the columns in their order, with
their types.

Schemas, CSV files and the report's list of tables derive from these classes: a column is added here and where
its rows are made. Ratios are exp(score) on the task's scale. Rewards that are not logarithms are compared by
difference; the "ratio" columns then hold differences. Unknown values are null. In a study of effort "cost"
the columns of samples hold reference samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import polars as pl

from archgym.lottery.comparisons import MapCell


class TaskRow(NamedTuple):
    """One task; `configurations` and `seeds` are the maxima over agents, `note` has what to know about its
    data.
    """

    task: str
    env: str
    scale: str
    budget: int
    optimum: float | None
    configurations: int
    seeds: int
    runs: int
    failed: int
    saturated: bool
    note: str
    effort: str


class RunRow(NamedTuple):
    """One finished run, at its end."""

    task: str
    agent: str
    configuration: int
    seed: int
    samples: int
    score: float
    ratio: float
    seconds: float


class ConfigurationRow(NamedTuple):
    """One configuration: mean over its seeds, and the probability that it beats random search at equal
    samples.
    """

    task: str
    agent: str
    configuration: int
    hyperparameters: str
    is_default: bool
    mean_score: float
    mean_ratio: float
    beats_random: float


class DistributionRow(NamedTuple):
    """The runs of one agent over random configurations, at one checkpoint; intervals are of 95 %."""

    task: str
    agent: str
    samples: int
    mean: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    iqr: float
    tickets_1: float
    tickets_1_low: float
    tickets_1_high: float
    tickets_5: float
    tickets_5_low: float
    tickets_5_high: float
    default_ratio: float
    default_percentile: float
    variance_configurations: float
    variance_seeds: float
    share_configurations: float
    beats_random: float
    iqm: float
    iqm_low: float
    iqm_high: float


class CurveRow(NamedTuple):
    """One point of a curve: quartiles of the best score so far, at `x` samples, reference samples ("cost") or
    seconds of wall time (`axis`).
    """

    task: str
    agent: str
    series: str
    axis: str
    x: float
    q25: float
    q50: float
    q75: float


class TargetRow(NamedTuple):
    """Share of runs within a relative distance of the optimum (or of the best design seen) after a number
    of samples.
    """

    task: str
    agent: str
    target: float
    samples: int
    reached: float


class RunningTimeRow(NamedTuple):
    """Expected samples to a target, with restarts; inf where no run reached it."""

    task: str
    agent: str
    target: float
    reached: float
    expected_samples: float
    low: float
    high: float


class ImportanceRow(NamedTuple):
    """Importance of one hyperparameter at the budget; `low` is 0 and `direction` null where it cannot be
    distinguished from chance.
    """

    task: str
    agent: str
    hyperparameter: str
    importance: float
    low: float
    direction: float | None


class TuningRow(NamedTuple):
    """k configurations of B samples against the defaults and random search with k B samples.

    `tuned` is a new run of the best of k, chosen on all seeds but one and scored on that one.
    """

    task: str
    agent: str
    configurations: int
    samples: int
    tuned: float
    low: float
    high: float
    naive: float
    untuned: float
    random_search: float


class ComparisonRow(NamedTuple):
    """One pair of agents at the budget, in a family of equal effort."""

    family: str
    task: str
    agent_a: str
    agent_b: str
    ratio: float
    low: float
    high: float
    p: float
    p_holm: float
    p_equivalence: float
    verdict: str


class HypothesisRow(NamedTuple):
    """The verdict of one task on one of ArchGym's claims."""

    hypothesis: str
    statement: str
    task: str
    verdict: str
    evidence: str


class EffortRow(NamedTuple):
    """Runs, wall time and cost in reference samples of one agent, over all tasks; `charges` is the cost of
    what was charged beside samples, by what it was for, as JSON.
    """

    agent: str
    runs: int
    seconds: float
    share: float | None
    cost: float | None
    charges: str


class ControlRow(NamedTuple):
    """The best of k designs (`samples`) that a rule names without a search: its mean over random orders of
    equal priorities, for a cost in reference samples.
    """

    task: str
    control: str
    samples: int
    cost: float
    score: float
    ratio: float
    percentile: float | None


TABLES: Mapping[str, type[Any]] = {
    "tasks": TaskRow,
    "runs": RunRow,
    "configurations": ConfigurationRow,
    "distribution": DistributionRow,
    "curves": CurveRow,
    "targets": TargetRow,
    "running_time": RunningTimeRow,
    "importance": ImportanceRow,
    "tuning": TuningRow,
    "comparisons": ComparisonRow,
    "lottery_map": MapCell,
    "hypotheses": HypothesisRow,
    "effort": EffortRow,
    "controls": ControlRow,
}
"""The class of each table's rows, by the table's name."""

_TYPES: Mapping[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}


def schema(name: str) -> dict[str, Any]:
    """Names and Polars types of a table's columns, in their order."""
    return _schema(TABLES[name])


def frame(name: str, rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows of a table as a frame, with null for NaN."""
    return frame_of(TABLES[name], rows)


def frame_of(row: type[Any], rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows of a class of NamedTuples as a frame, with null for NaN."""
    plain = [tuple(map(_plain, each)) for each in rows]
    return pl.DataFrame(plain, schema=_schema(row), orient="row").with_columns(
        pl.col(pl.Float64).fill_nan(None)
    )


def _schema(row: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(row)
    return {column: _TYPES[next(iter(get_args(hint)), hint)] for column, hint in hints.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    return value.value if isinstance(value, Enum) else value
