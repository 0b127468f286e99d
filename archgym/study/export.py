"""All rows of a study as one table, in constant memory: files are read one after the other, as the rows
are consumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow
import pyarrow.parquet

from archgym.files.csv import as_text, write_csv
from archgym.space import Indices
from archgym.study.store import Store, Stored, StoredFile, unused, warn_of
from archgym.task import Specification

_MAX_ROWS = 1 << 16  # rows in memory
_MAX_TABLES = 256  # small tables before they are joined


class StudyRows:
    """Every stored row of every run of a study.

    A row has the run's identifier, status, environment, agent, hyperparameters, seed and budget ("study_run",
    ...), then the columns of all runs: null where a run lacks it. A column of integers in one task and floats
    in another has floats; other mixtures are text. Where a parameter has the name of one of the first
    columns, such as "study_seed", that column is called "study_seed_".

    Args:
        store: folder of the study, read once for the columns and again for every pass over the rows. Damaged
            files are passed over, with a warning.

    Attributes:
        schema: the columns.
        rows: number of rows read in the last pass.
    """

    def __init__(self, store: Store):
        self._store = store
        # each run's file, if several have it, and whether it is finished
        self._places: dict[str, tuple[Path, bool]] = {}
        types: dict[str, pyarrow.DataType] = {}
        damaged: dict[Path, str] = {}
        for file in store.files(damaged):
            for run in file.runs:
                if run.id not in self._places or not self._places[run.id][1]:
                    self._places[run.id] = run.path, run.done
            for field in list(file.parquet.schema_arrow)[int(file.many) :]:
                types[field.name] = wider(types.get(field.name, field.type), field.type)
        if damaged:
            warn_of(damaged, store.folder)
        facts = [(unused(name, types), array.type) for name, array in _facts([]).items()]
        self.schema = pyarrow.schema([*facts, *types.items()])
        self.rows = 0
        self._seen: set[str] = set()

    @property
    def runs(self) -> int:
        """Number of runs with rows in the last pass."""
        return len(self._seen)

    def tables(self) -> Iterator[pyarrow.Table]:
        """The rows, in tables of some ten thousand."""
        self.rows, self._seen = 0, set()
        part = _Part()
        for file in self._store.files({}):
            runs = [run for run in file.runs if self._places.get(run.id, (None, False))[0] == file.path]
            for table, places in _pieces(file, runs):
                if part.tables and (
                    len(part.tables) == _MAX_TABLES
                    or part.rows >= _MAX_ROWS
                    or table.schema != part.tables[0].schema
                ):
                    yield self._whole(part)
                    part = _Part()
                part.add(table, runs, places)
        if part.tables:
            yield self._whole(part)

    def write_parquet(self, file: BinaryIO) -> None:
        """Write them as Parquet."""
        with pyarrow.parquet.ParquetWriter(file, self.schema, compression="zstd") as writer:
            for table in self.tables():
                writer.write_table(table)

    def write_csv(self, file: BinaryIO) -> None:
        """Write them as CSV that a spreadsheet does not run (`archgym.files.csv`)."""
        write_csv(self.tables(), self.schema, file)

    def _whole(self, part: _Part) -> pyarrow.Table:
        """The rows of a part, with all columns."""
        rows = pyarrow.concat_tables(part.tables)
        facts, places = _facts(part.runs), pyarrow.array(np.concatenate(part.places))
        self.rows += rows.num_rows
        self._seen.update(facts["study_run"].take(pyarrow.array(np.unique(places))).to_pylist())
        columns = [facts[name].take(places) for name in facts]
        for field in list(self.schema)[len(facts) :]:
            column = (
                rows[field.name]
                if field.name in rows.column_names
                else pyarrow.nulls(rows.num_rows, field.type)
            )
            if column.type != field.type:
                column = (
                    as_text(column) if field.type == pyarrow.string() else column.cast(field.type, safe=False)
                )
            columns.append(column)
        return pyarrow.table(columns, schema=self.schema)


class _Part:
    """Rows with equal columns, and their runs."""

    def __init__(self) -> None:
        self.tables: list[pyarrow.Table] = []
        self.runs: list[Stored] = []
        self.places: list[Indices] = []  # of each row's run in `runs`
        self.rows = 0

    def add(self, table: pyarrow.Table, runs: Sequence[Stored], places: Indices) -> None:
        """Add rows; `places` are the positions of their runs in `runs`."""
        self.places.append(places + len(self.runs))
        self.tables.append(table)
        self.runs.extend(runs)
        self.rows += table.num_rows


def _pieces(file: StoredFile, runs: Sequence[Stored]) -> Iterator[tuple[pyarrow.Table, Indices]]:
    """The rows of these runs, and the position of each row's run."""
    place_of = {run.id: place for place, run in enumerate(runs)}
    for batch in file.parquet.iter_batches(batch_size=_MAX_ROWS, use_threads=False) if runs else ():
        table = pyarrow.table(batch).replace_schema_metadata(None)
        places = np.zeros(table.num_rows, np.int64)
        if file.many:
            places = np.array([place_of.get(id_, -1) for id_ in table.column(0).to_pylist()], np.int64)
            table = table.remove_column(0).filter(pyarrow.array(places >= 0))
        if table.num_rows:
            yield table, places[places >= 0]


def wider(a: pyarrow.DataType, b: pyarrow.DataType) -> pyarrow.DataType:
    """A type that has the values of both."""
    if a == b or pyarrow.types.is_null(b):
        return a
    if pyarrow.types.is_null(a):
        return b
    signed = [pyarrow.types.is_signed_integer(t) for t in (a, b)]
    if all(signed):
        return pyarrow.int64()
    if all(pyarrow.types.is_floating(t) or t_signed for t, t_signed in zip((a, b), signed, strict=True)):
        return pyarrow.float64()
    return pyarrow.string()


def _facts(runs: Sequence[Stored]) -> dict[str, Any]:
    """The columns that describe a row's run: arrays with an entry per run."""
    specifications = [Specification.from_dict(run.specification) for run in runs]
    return {
        "study_run": pyarrow.array([run.id for run in runs], pyarrow.string()),
        "study_status": pyarrow.array([run.result["status"] for run in runs], pyarrow.string()),
        "study_env": pyarrow.array([s.env.id for s in specifications], pyarrow.string()),
        "study_env_kwargs": pyarrow.array(
            [json.dumps(s.env.kwargs) for s in specifications], pyarrow.string()
        ),
        "study_agent": pyarrow.array([s.agent.name for s in specifications], pyarrow.string()),
        "study_hyperparameters": pyarrow.array(
            [json.dumps(s.agent.hyperparameters) for s in specifications], pyarrow.string()
        ),
        "study_seed": pyarrow.array([s.seed for s in specifications], pyarrow.int64()),
        "study_budget": pyarrow.array([s.budget for s in specifications], pyarrow.int64()),
    }
