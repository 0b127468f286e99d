"""A study's rows as event files of TensorBoard: a folder per run.

    FOLDER/<task>/<agent>/<run>     reward/best, reward/sample and metric/<name> over samples, with the times
                                    of the run; its settings, for the HPARAMS tab
    FOLDER                          the names of all settings

Infeasible rows have a reward alone. Runs without rows are left out.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from archgym.callbacks.events import EventFile, tensorboard_modules
from archgym.callbacks.figures import BEST, METRIC, REWARD, finite, settings
from archgym.errors import ArchGymError
from archgym.progress import Progress, silent
from archgym.study.store import Store, Stored
from archgym.task import Specification

_NOT_METRICS = {"sample", "feasible", "valid", "reward", "elapsed_seconds", "context"}


def write_events(store: Store, folder: str | os.PathLike[str], progress: Progress = silent) -> int:
    """Write the runs of a study as event files: the number of runs.

    Args:
        store: folder of the study. Damaged files are passed over, with a warning.
        folder: folder for the events, which has none of this study's runs.
        progress: a function of (what is being done, the share that is done).

    Raises:
        MissingDependency: TensorBoard is not installed.
        ArchGymError: the folder cannot be written, or has these runs already.
    """
    tensorboard_modules()
    target, names = Path(folder).expanduser(), dict[str, None]()
    # training runs of policies have contexts for rows
    stored = [
        run
        for run in store.read().values()
        if Specification.from_dict(run.specification).held_out is None and run.result["samples"]
    ]
    written = 0
    for run, table in store.table(stored):
        progress("events", written / len(stored))
        place = target.joinpath(*run.path.parts[-3:-1], run.id)
        if place.exists():
            raise ArchGymError(f"{place} exists; give another folder for the events")
        given = settings(run.specification)
        names |= dict.fromkeys(given)
        _write_run(run, table, place, given)
        written += 1
    if written:
        with EventFile(target, 0.0) as file:
            file.add_experiment(names, [BEST])
    return written


def _write_run(run: Stored, table: pyarrow.Table, place: Path, given: dict[str, Any]) -> None:
    """Write the rows of a run."""
    stored, seconds = 0.0, run.result["seconds"]
    with suppress(OSError):
        stored = os.stat(run.path).st_mtime
    columns = {
        name: column
        for name, column in zip(table.column_names, table.columns, strict=True)
        if pyarrow.types.is_floating(column.type) and name not in _NOT_METRICS
    }
    names = [METRIC + name for name in columns]
    metrics = np.array([column.to_numpy() for column in columns.values()]).reshape(len(names), -1).T.tolist()
    feasible = table["feasible"].to_pylist()
    valid = table["valid"].to_numpy(zero_copy_only=False)
    reward = table["reward"].to_numpy()
    best = np.maximum.accumulate(np.where(valid, reward, -np.inf)).tolist()
    elapsed = table["elapsed_seconds"].to_pylist() if "elapsed_seconds" in table.column_names else None
    with EventFile(place, max(stored - seconds, 0.0)) as file:
        file.add_settings(given, run.id)
        for row, sample in enumerate(table["sample"].to_pylist()):
            figures = {REWARD: float(reward[row]), BEST: best[row]}
            if feasible[row]:
                figures |= dict(zip(names, metrics[row], strict=True))
            file.add(sample + 1, finite(figures), elapsed[row] if elapsed else 0.0)
        file.end_settings(seconds, run.done)
