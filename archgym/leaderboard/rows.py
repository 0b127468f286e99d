"""The rows of a run: their digests, and their form in an entry.

    exact      SHA-256 of designs, metrics, feasible, valid and reward of all samples, in order
    designs    SHA-256 of designs, feasible and valid alone: equal on machines whose arithmetic differs in
               the last bits of a metric

Both are over little-endian arrays (int64, float64, uint8) after a line of JSON with the names of parameters
and metrics, so they depend neither on Parquet nor on wall times. Metrics are those that agents see; those of
an infeasible design are NaN, and -0 is 0.

An entry's file of a task is JSON lines, one per run: {"budget", "seed", "samples", "rows": [[sample,
[indices], [metrics] or null where infeasible, valid, reward], ...]}.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow

from archgym.errors import ArchGymError
from archgym.files.columns import read_designs
from archgym.leaderboard.suite import SuiteTask, canonical_json
from archgym.space import Array, Indices

MAX_LINE = 64 * 2**20  # bytes of a run
MAX_FILE = 512 * 2**20  # bytes of a task


@dataclass(frozen=True)
class Rows:
    """Rows of a run, all or some.

    Attributes:
        samples: samples of the whole run.
        sample: 0-based position of each row, int64 [N], increasing.
        indices: designs, int64 [N, P].
        values: metrics that agents see, float64 [N, M]; NaN where infeasible.
        feasible, valid: bool [N].
        reward: float64 [N].
    """

    samples: int
    sample: Indices
    indices: Indices
    values: Array
    feasible: Array
    valid: Array
    reward: Array

    @property
    def complete(self) -> bool:
        """Whether these are all rows of the run."""
        return len(self.sample) == self.samples

    @property
    def best(self) -> int | None:
        """Position here of the first valid row with the highest reward; None without valid rows."""
        if not self.valid.any():
            return None
        return int(np.argmax(np.where(self.valid, self.reward, -np.inf)))

    @property
    def improvements(self) -> Indices:
        """Positions of rows whose valid reward is above all before, and of the last row: int64 [I]."""
        reward = np.where(self.valid, self.reward, -np.inf)
        before = np.concatenate([[-np.inf], np.maximum.accumulate(reward)])[: len(reward)]
        return np.union1d(np.flatnonzero(reward > before), np.arange(len(reward))[-1:])

    def take(self, positions: Indices) -> Rows:
        """Some of the rows."""
        parts = (self.sample, self.indices, self.values, self.feasible, self.valid, self.reward)
        return Rows(self.samples, *(part[positions] for part in parts))

    def digests(self, task: SuiteTask) -> tuple[str, str]:
        """The digests "exact" and "designs" of a complete run."""
        names = {"parameters": list(task.space.names), "metrics": task.metrics}
        found = []
        for exact in (True, False):
            digest = hashlib.sha256(f"{canonical_json(names)}\n".encode())
            digest.update(self.indices.astype("<i8").tobytes())
            if exact:
                digest.update(_plain(self.values).tobytes())
                digest.update(_plain(self.reward).tobytes())
            digest.update(self.feasible.astype(np.uint8).tobytes())
            digest.update(self.valid.astype(np.uint8).tobytes())
            found.append(digest.hexdigest())
        return found[0], found[1]


def _plain(values: Array) -> Array:
    """Little-endian numbers with one NaN and one zero."""
    return np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8")


def from_table(task: SuiteTask, table: pyarrow.Table, samples: int | None = None) -> Rows:
    """The rows of a history's table.

    Args:
        task: the task.
        table: rows of a run, or of its improvements.
        samples: samples of the whole run; None for those of the table.

    Raises:
        ArchGymError: a column is missing or has other values than the task's.
    """
    missing = {"sample", "feasible", "valid", "reward", *task.metrics} - set(table.column_names)
    if missing:
        raise ArchGymError(
            f"expected the columns of {task.label!r}, got none for {', '.join(sorted(missing))}"
        )
    try:
        indices = read_designs(task.space, table)
        feasible, valid = (
            np.asarray(table[name].to_numpy(zero_copy_only=False), bool) for name in ("feasible", "valid")
        )
        values = np.stack([_numbers(table[name]) for name in task.metrics], axis=1)
        sample = np.asarray(table["sample"].to_numpy(), np.int64)
    except (KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise ArchGymError(f"expected the columns of {task.label!r}, got others ({error})") from error
    values[~feasible] = np.nan
    rows = len(sample) if samples is None else samples
    return Rows(rows, sample, indices, values, feasible, valid, _numbers(table["reward"]))


def _numbers(column: pyarrow.ChunkedArray) -> Array:
    return np.asarray(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), float)


def write_line(budget: int, seed: int, rows: Rows) -> str:
    """One line of an entry's file.

    Raises:
        ArchGymError: a feasible metric or a reward that is not finite, which no entry may have.
    """
    if not (np.isfinite(rows.values[rows.feasible]).all() and np.isfinite(rows.reward).all()):
        raise ArchGymError("expected finite metrics and rewards, got NaN or infinity in a feasible row")
    lists = (rows.sample, rows.indices, rows.values, rows.feasible, rows.valid, rows.reward)
    written = [
        [sample, indices, values if feasible else None, valid, reward]
        for sample, indices, values, feasible, valid, reward in zip(*(x.tolist() for x in lists), strict=True)
    ]
    line = {"budget": budget, "seed": seed, "samples": rows.samples, "rows": written}
    return json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n"


def read_lines(task: SuiteTask, file: BinaryIO) -> Iterator[tuple[int, int, Rows]]:
    """Budget, seed and rows of every run of an entry's file.

    Raises:
        ArchGymError: a line that is not of this form, or too long.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        where = f"rows/{task.file}, line {number}"
        if len(line) > MAX_LINE:
            raise ArchGymError(f"{where}: expected at most {MAX_LINE:,} bytes, got more")
        try:
            yield _read_line(task, parse_json(line))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ArchGymError(f"{where}: expected a run's rows, got others ({error})") from error


def _read_line(task: SuiteTask, line: Mapping[str, Any]) -> tuple[int, int, Rows]:
    budget, seed, samples = (_whole(line[name]) for name in ("budget", "seed", "samples"))
    written: Sequence[Any] = line["rows"]
    if line.keys() != {"budget", "seed", "samples", "rows"} or not written:
        raise ValueError("other keys, or no rows")
    parameters, metrics = len(task.space), len(task.metrics)
    nothing = [math.nan] * metrics
    sample, indices, values, valid, reward = zip(*written, strict=True)
    if not all(type(each) is bool for each in valid) or not all(map(_is_number, reward)):
        raise ValueError("a reward or a validity of another type")
    widths = {len(row) for row in indices}, {len(row or nothing) for row in values}
    if widths != ({parameters}, {metrics}):
        raise ValueError(f"not {parameters} indices and {metrics} metrics per row")
    if not all(map(_is_number, (value for row in values for value in row or ()))):
        raise ValueError("a metric that is not a number")
    feasible = np.array([row is not None for row in values])
    rows = Rows(
        samples,
        np.array([_whole(each) for each in sample], np.int64),
        np.array([[_whole(index) for index in row] for row in indices], np.int64).reshape(-1, parameters),
        np.array([row if row is not None else nothing for row in values], float).reshape(-1, metrics),
        feasible,
        np.array(valid, bool),
        np.array(reward, float),
    )
    if (np.diff(rows.sample) <= 0).any() or rows.sample[0] < 0 or rows.sample[-1] != samples - 1:
        raise ValueError("rows out of order, or without the last one")
    if (rows.indices < 0).any() or (rows.indices >= task.space.nvec).any():
        raise ValueError("a design outside the space")
    if (rows.valid & ~feasible).any():
        raise ValueError("a valid design that is infeasible")
    return budget, seed, rows


def parse_json(text: bytes) -> Any:
    """JSON without NaN, infinity and repeated keys.

    Raises:
        ValueError: other text.
    """
    return json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"the number {constant}")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:40]}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not -(2**53) < value < 2**53:
        raise ValueError(f"expected a whole number, got {str(value)[:40]}")
    return value


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(cast(float, value)) < 1e300
