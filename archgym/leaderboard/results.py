"""Runs of results: Parquet files of `archgym search --out`, folders of studies and of served tasks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import open_regular
from archgym.leaderboard.rows import Rows, from_table
from archgym.leaderboard.suite import Suite, SuiteTask
from archgym.study.run import RESULT, SPECIFICATION
from archgym.study.store import Store
from archgym.task import Specification


@dataclass(frozen=True)
class Found:
    """A run that belongs to a suite.

    Attributes:
        task: its task.
        run: its specification.
        rows: its rows, all of them or its improvements.
    """

    task: SuiteTask
    run: Specification
    rows: Rows


@dataclass(frozen=True)
class Left:
    """Runs that do not belong to a suite.

    Attributes:
        runs: number of them.
        reason: why.
    """

    runs: int
    reason: str


def find_runs(suite: Suite, results: Iterable[str | os.PathLike[str]]) -> tuple[list[Found], list[Left]]:
    """The runs of a suite in results, and why others do not belong to it.

    Args:
        suite: the suite.
        results: Parquet files of searches, and folders of studies.

    Raises:
        ArchGymError: a result that cannot be read.
    """
    found: list[Found] = []
    left: dict[str, int] = {}
    for result in results:
        path = Path(result).expanduser()
        for written, table, samples in _folder(path, suite) if path.is_dir() else _file(path):
            try:
                run = Specification.from_dict(written)
                task = match(suite, run)
                if table is None:
                    raise ArchGymError(f"a failed run on {task.label!r}")
                found.append(Found(task, run, from_table(task, table, samples)))
            except ArchGymError as error:
                left[str(error)] = left.get(str(error), 0) + 1
    return found, [Left(runs, reason) for reason, runs in sorted(left.items(), key=lambda pair: -pair[1])]


def match(suite: Suite, run: Specification) -> SuiteTask:
    """The task of a run.

    Raises:
        ArchGymError: a run that is not of the suite, with the reason.
    """
    task = suite.find(run.env.as_dict)
    if task is None:
        near = [each.label for each in suite.tasks.values() if each.env.id == run.env.id]
        hint = f", whose arguments or objective differ from those of {near[0]!r}" if near else ""
        raise ArchGymError(f"no task of {suite.name}: {run.env.id}{hint}")
    if run.cost_budget is not None or run.held_out is not None or run.start:
        raise ArchGymError("a run with a cost budget, given first designs or held-out contexts")
    if run.budget not in suite.budgets:
        budgets = " or ".join(map(str, suite.budgets))
        raise ArchGymError(f"a budget of {run.budget} samples on {task.label!r}, expected {budgets}")
    if run.seed not in suite.seeds:
        raise ArchGymError(f"seed {run.seed} on {task.label!r}, which is not in {suite.name}")
    return task


def _file(path: Path) -> Iterator[tuple[Mapping[str, Any], pyarrow.Table | None, int | None]]:
    """The specification and the rows of a search's file."""
    try:
        with open_regular(path, follow=True) as file:
            table = pyarrow.parquet.read_table(file)
        metadata = table.schema.metadata or {}
        written = json.loads(metadata[SPECIFICATION])
        result = json.loads(metadata.get(RESULT, b"{}"))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise ArchGymError(
            f"expected a file of archgym search --out or a study's folder, got {path} "
            f"({reason_of(error, 200)})"
        ) from error
    yield written, None if result.get("status") == "failed" else table, result.get("samples")


def _folder(path: Path, suite: Suite) -> Iterator[tuple[Mapping[str, Any], pyarrow.Table | None, int | None]]:
    """Specification, rows and number of samples of every run of a study's folder."""
    store = Store(path)
    stored = store.read()
    if not stored:
        raise ArchGymError(f"expected a study's folder, got {path}, which has no runs; give another")
    done = []
    for run in stored.values():
        if run.done and suite.find(run.specification["env"]):
            done.append(run)
        else:
            yield run.specification, None, None
    for run, table in store.table(done):
        yield run.specification, table, run.result["samples"]
