"""Simulators made of other simulators: tabulated, cached, noisy.

Each is a `Simulator` with the space and the metrics of the one it wraps, so they compose:

    Noisy(Tabulated(simulator))            a noisy benchmark at the speed of a table
    Cached(Parallel(simulator), path)      a slow search over worker processes that can be interrupted and replayed
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from archgym.archive import check_format, expect, reading, save_arrays
from archgym.console import progress_bar
from archgym.errors import ArchGymError, SimulatorUnavailable, unknown
from archgym.paths import data_folder, make_folder
from archgym.simulator import Candidates, Metric, Simulator, evaluate_safely, unidentified
from archgym.space import Array, DesignSpace, Indices
from archgym.values import write

if TYPE_CHECKING:
    import sqlite3

    from archgym.objective import Objective

TABLE_FORMAT = 1  # of the files of `Tabulated.save`
_TABLE_CHUNK = 16384  # designs
_PROBES = 64


class SimulatorWrapper(Simulator):
    """A simulator around another one, which it keeps as `simulator`; subclasses define `evaluate_indices`.

    Attributes:
        simulator: the wrapped simulator.
        transparent: whether results are exactly those of the wrapped simulator, so that a cache may share them.
    """

    transparent: ClassVar[bool] = False

    def __init__(self, simulator: Simulator):
        self.simulator = simulator
        self.space = simulator.space
        self.metrics = simulator.metrics
        self.deterministic = simulator.deterministic
        self.stochastic = simulator.stochastic
        self.default_objective = simulator.default_objective

    @property
    def unwrapped(self) -> Simulator:
        """The simulator inside all wrappers."""
        return self.simulator.unwrapped

    def canonical(self, indices: Indices) -> Indices:
        """The wrapped simulator's representatives: [B, P] -> [B, P]."""
        return self.simulator.canonical(indices)

    def optimum(self, objective: Objective) -> Indices | None:
        """The wrapped simulator's optimum, [P], where it knows it."""
        return self.simulator.optimum(objective)

    def candidates(self, objective: Objective) -> Candidates | None:
        """The wrapped simulator's candidates for an optimum."""
        return self.simulator.candidates(objective)

    def close(self) -> None:
        """Close the wrapped simulator."""
        self.simulator.close()


class Tabulated(Simulator):
    """Every design evaluated once, then looked up: for spaces that fit in memory (8 bytes per metric and design).

    Args:
        simulator: what fills the table; kept as `simulator` (None for a table that was loaded).
        limit: refuse spaces with more designs than this.
        progress: called with (designs done, designs in all) now and then.

    Raises:
        ArchGymError: a stochastic or measured simulator, or a space over the limit.
    """

    def __init__(self, simulator: Simulator, limit: int = 50_000_000, progress: Callable[[int, int], None] | None = None):
        if simulator.stochastic:
            raise ArchGymError("a stochastic simulator cannot be tabulated; put the noise outside: Noisy(Tabulated(simulator))")
        if not simulator.deterministic:
            raise ArchGymError("a measured simulator cannot be tabulated; use Cached(simulator), which replays what was measured")
        if simulator.space.size > limit:
            raise ArchGymError(
                f"the space has {simulator.space.size:,} designs and the table's limit is {limit:,}; "
                "raise limit=, or use Cached(simulator), which stores only the designs that are asked for"
            )
        self.simulator: Simulator | None = simulator
        self.space = simulator.space
        self.metrics = simulator.metrics
        self.default_objective = simulator.default_objective
        values = np.empty((len(self.metrics), self.space.size))
        feasible = np.empty(self.space.size, bool)
        failures: dict[int, str] = {}
        start = 0
        for indices in self.space.enumerate(_TABLE_CHUNK):
            outcome = evaluate_safely(simulator, indices)
            values[:, start : start + len(indices)] = outcome.values.T
            feasible[start : start + len(indices)] = outcome.feasible
            failures.update({start + row: reason for row, reason in outcome.failures.items()})
            start += len(indices)
            if progress is not None:
                progress(start, self.space.size)
        self._fill(values, feasible, failures, None)

    def _fill(self, values: Array, feasible: Array, failures: dict[int, str], canonical: Array | None) -> None:
        self._values = values  # float64 [M, size]; NaN where infeasible
        self._feasible = feasible  # bool [size]
        self._failures = failures  # reason by ordinal
        self._canonical = canonical  # int64 [size], ordinals; only of a loaded table whose designs do not all stand for themselves
        self._names = tuple(metric.name for metric in self.metrics)
        self._optima: dict[Objective, Indices | None] = {}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look designs up: int64 [B, P] in, columns [B] out; `failure` among them where one of the designs failed in the simulator."""
        ordinals = self.space.to_ordinal(indices)
        columns = dict(zip(self._names, self._values.take(ordinals, axis=1), strict=True))
        columns["feasible"] = self._feasible.take(ordinals)
        if self._failures:
            columns["failure"] = np.array([self._failures.get(ordinal, "") for ordinal in ordinals.tolist()])
        return columns

    @property
    def unwrapped(self) -> Simulator:
        """The simulator that filled the table; the table itself where it was loaded."""
        return self if self.simulator is None else self.simulator.unwrapped

    def canonical(self, indices: Indices) -> Indices:
        """The representatives under the simulator that filled the table, also after `load`: [B, P] -> [B, P]."""
        if self.simulator is not None:
            return self.simulator.canonical(indices)
        if self._canonical is None:
            return indices
        return self.space.from_ordinal(self._canonical[self.space.to_ordinal(indices)])

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Reward float64 [size] and validity bool [size] of every design, by ordinal."""
        rewards = objective(dict(zip(self._names, self._values, strict=True)), self._feasible)
        return rewards.reward, rewards.valid

    def optimum(self, objective: Objective) -> Indices | None:
        """The valid design with the highest reward, [P] (of equals the one with the lowest ordinal); None if no design is valid."""
        if objective not in self._optima:
            reward, valid = self.table_rewards(objective)
            best = int(np.where(valid, reward, -np.inf).argmax())
            self._optima[objective] = self.space.from_ordinal(np.array([best]))[0] if valid[best] else None
        return self._optima[objective]

    @property
    def specification(self) -> dict[str, Any]:
        """The class and the simulator that filled the table; a loaded table has that of the table that was saved."""
        if self.simulator is None:
            return self._saved_specification
        return {"simulator": f"{type(self).__module__}:{type(self).__qualname__}", "arguments": {"simulator": self.simulator.specification}}

    def close(self) -> None:
        """Close the simulator that filled the table."""
        if self.simulator is not None:
            self.simulator.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as an npz file: complete under its name, or not at all.

        Raises:
            ArchGymError: the file cannot be written.
        """
        arrays: dict[str, Array] = {
            "format": np.array(TABLE_FORMAT),
            "space": np.array(self.space.to_json()),
            "metrics": np.array(json.dumps([asdict(metric) for metric in self.metrics])),
            "specification": np.array(json.dumps(self.specification)),
            "values": self._values,
            "feasible": self._feasible,
            "failed": np.array(list(self._failures), np.int64),
            "reasons": np.array(list(self._failures.values()), np.str_),
        }
        canonical = np.concatenate([self.space.to_ordinal(self.canonical(indices)) for indices in self.space.enumerate()])
        if not np.array_equal(canonical, np.arange(self.space.size)):
            arrays["canonical"] = canonical
        save_arrays(path, arrays, compress=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tabulated:
        """The table that `save` wrote, without the simulator that filled it.

        Raises:
            ArchGymError: no such file, or not a table.
        """
        table = cls.__new__(cls)
        table.simulator = None
        with reading(path, "a table that Tabulated.save wrote"), np.load(path, allow_pickle=False) as archive:
            table._read({name: archive[name] for name in archive.files})
        return table

    def _read(self, arrays: dict[str, Array]) -> None:
        check_format(arrays["format"], TABLE_FORMAT)
        self.space = DesignSpace.from_json(str(arrays["space"]))
        self.metrics = tuple(Metric(**metric) for metric in json.loads(str(arrays["metrics"])))
        self._saved_specification = dict(json.loads(str(arrays["specification"])))
        size, canonical = self.space.size, arrays.get("canonical")
        values, feasible, failed, reasons = (arrays[name] for name in ("values", "feasible", "failed", "reasons"))
        expect("values", values, (len(self.metrics), size), np.float64)
        expect("feasible", feasible, (size,), np.bool_)
        expect("failed", failed, (len(reasons),), np.int64)
        expect("reasons", reasons, (len(failed),), np.str_)
        if canonical is not None:
            expect("canonical", canonical, (size,), np.int64)
            if not ((canonical >= 0) & (canonical < size)).all():
                raise ArchGymError("canonical designs outside the space")
        if not np.isfinite(values[:, feasible]).all():
            raise ArchGymError("a feasible design has a metric that is not finite")
        self._fill(values, feasible, dict(zip(failed.tolist(), reasons.tolist(), strict=True)), canonical)


class StoredTable(SimulatorWrapper):
    """`Tabulated(simulator)` from the user's data folder, for simulators that are too slow to tabulate every time.

    When a design is first asked for, the table is read, or filled and written: by one process, while others wait for it. How far that is
    goes to stderr. A table that does not agree with the simulator as it is now, on designs spread over the space, is filled again.

    Args:
        simulator: deterministic; identified by its specification, parameters and metrics.
    """

    transparent = True

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look designs up: int64 [B, P] in, columns [B] out.

        Raises:
            ArchGymError: the simulator cannot be tabulated, or the folder cannot be written.
        """
        return self._table.evaluate_indices(indices)

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """As of `Tabulated`."""
        return self._table.table_rewards(objective)

    def optimum(self, objective: Objective) -> Indices | None:
        """As of `Tabulated`."""
        return self._table.optimum(objective)

    @cached_property
    def _table(self) -> Tabulated:
        from filelock import FileLock

        if unidentified(self.simulator.specification):  # it could be taken for another one
            return self._filled()
        identity = [self.simulator.specification, self.space.to_json(), [metric.name for metric in self.metrics]]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        path = data_folder("tables", f"{key}.npz")
        make_folder(path.parent)
        with FileLock(path.with_suffix(".lock")):
            table = Tabulated.load(path) if path.is_file() else None
            if table is None or not self._agrees(table):
                table = self._filled()
                table.save(path)
        return table

    def _filled(self) -> Tabulated:
        with progress_bar() as tell:
            return Tabulated(self.simulator, progress=lambda done, size: tell(f"table of {size:,} designs", done / size))

    def _agrees(self, table: Tabulated) -> bool:
        size = self.space.size
        probes = self.space.from_ordinal(np.array([size * i // _PROBES for i in range(_PROBES)]))
        now, then = evaluate_safely(self.simulator, probes), evaluate_safely(table, probes)
        return bool((now.feasible == then.feasible).all()) and np.allclose(now.values, then.values, rtol=1e-9, equal_nan=True)


class Cached(SimulatorWrapper):
    """Remembers results, exactly: a design is simulated once, then answered with `cached` True.

    Failures are not remembered, so that they are tried again the next time; infeasible designs are. With a path, results are
    committed to an SQLite file at the end of every batch, and found again by any process that asks the same simulator (class,
    arguments, metric names) for the same parameter values; of two processes that simulate one design at once, the first result
    counts. Changes to a simulator's code are not noticed: give it a version argument, or a new file.

    Args:
        simulator: what answers the designs not met before, all those of a batch together.
        path: the file; None remembers for the life of this object. Network file systems without locks will not do.

    Raises:
        ArchGymError: a stochastic simulator; a file that cannot be opened and written; with a path, a simulator whose arguments
            do not tell it from others (a lambda, an open file).
    """

    transparent = True

    def __init__(self, simulator: Simulator, path: str | os.PathLike[str] | None = None):
        if simulator.stochastic:
            raise ArchGymError("a stochastic simulator cannot be cached; put the noise outside: Noisy(Cached(simulator))")
        super().__init__(simulator)
        self._records: dict[bytes, bytes] = {}  # by key: feasible and the metrics, as float64 [1 + M]
        if not isinstance(path, (str, os.PathLike, NoneType)):
            raise ArchGymError(f"expected the path of a file as a cache of results, got {path!r}")
        self._path = None if path is None else os.fspath(path)
        if self._path is not None:
            self._prefix = self._identity()
            self._texts: list[dict[int, str]] = [{} for _ in self.space]  # JSON of values by index, of those that were asked for
        self._connections: dict[int, sqlite3.Connection] = {}  # by process: after a fork, one may neither use nor close the parent's
        self._open()

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Remembered or simulated: int64 [B, P] in, columns [B] out, with `cached` (a repetition within the batch is), `failure` if any.

        Raises:
            ArchGymError: the file cannot be read or written any more.
        """
        return self._answer(indices, again=False)

    def remeasure(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """As `evaluate_indices`, from results that are remembered apart: the first time designs are simulated whatever is known of them,
        so that a search that is replayed finds its second measurements too."""
        return self._answer(indices, again=True)

    def _answer(self, indices: Indices, again: bool) -> dict[str, Array]:
        keys = [self._key(row, again) for row in indices]
        self._recall({key for key in keys if key not in self._records})
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._records}  # where a new design comes first
        cached = np.ones(len(keys), bool)
        forgotten: dict[bytes, bytes] = {}  # records of failures, for this batch only
        reasons: dict[bytes, str] = {}
        if first:
            rows = np.array(list(first.values()))
            outcome = evaluate_safely(self.simulator, indices[rows], again=again)
            cached[rows] = False if outcome.cached is None else outcome.cached
            records = [record.tobytes() for record in np.column_stack([outcome.feasible, outcome.values]).astype("<f8")]
            fresh = dict(zip(first, records, strict=True))
            reasons = {key: outcome.failures[row] for row, key in enumerate(first) if row in outcome.failures}
            forgotten = {key: fresh.pop(key) for key in reasons}
            self._remember(fresh)
        results = np.frombuffer(b"".join([self._records.get(key) or forgotten[key] for key in keys]), "<f8").reshape(len(keys), -1)
        columns: dict[str, Array] = {metric.name: results[:, 1 + j] for j, metric in enumerate(self.metrics)}
        columns["feasible"] = results[:, 0] == 1
        columns["cached"] = cached
        if reasons:
            columns["failure"] = np.array([reasons.get(key, "") for key in keys])
        return columns

    def close(self) -> None:
        """Close the file and the wrapped simulator."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            connection.close()
        super().close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connections": {}}

    def _identity(self) -> bytes:
        """A hash of what results depend on besides the design."""
        simulator = self.simulator
        while isinstance(simulator, SimulatorWrapper) and simulator.transparent:
            simulator = simulator.simulator
        identity = {"simulator": simulator.specification, "metrics": [metric.name for metric in self.metrics]}
        if reason := unidentified(simulator.specification):
            raise ArchGymError(
                f"a cache on disk cannot tell this simulator from others by its arguments: {reason}; pass strings, numbers, arrays or "
                "objects of module-level classes instead"
            )
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()

    def _key(self, row: Indices, again: bool) -> bytes:
        if self._path is None:
            return row.tobytes() + b"again" * again
        parts = []
        for parameter, texts, index in zip(self.space, self._texts, row.tolist(), strict=True):
            if index not in texts:
                texts[index] = f"{json.dumps(parameter.name)}: {json.dumps(write(parameter.value(index)))}"
            parts.append(texts[index])
        design = ", ".join(sorted(parts))
        return hashlib.sha256(self._prefix + design.encode() + b"again" * again).digest()

    def _recall(self, keys: Iterable[bytes]) -> None:
        """Take what the file knows of these keys into memory."""
        with self._errors():
            connection = self._open()
            if connection is not None:
                for key in keys:
                    found = connection.execute("SELECT record FROM results WHERE key = ?", (key,)).fetchone()
                    if found:
                        self._records[key] = found[0]

    def _remember(self, records: dict[bytes, bytes]) -> None:
        if self._path is None:
            self._records.update(records)
            return
        with self._errors():
            connection = self._open()
            assert connection is not None
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR IGNORE INTO results VALUES (?, ?)", records.items())
        self._recall(records)

    def _open(self) -> sqlite3.Connection | None:
        """This process's connection; None without a path."""
        if self._path is None or os.getpid() in self._connections:
            return self._connections.get(os.getpid())
        import sqlite3

        with self._errors():
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut may lose the last batches
            with connection:
                connection.execute("BEGIN IMMEDIATE")  # refuses a file that can only be read, before anything is simulated
                connection.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID")
        self._connections[os.getpid()] = connection
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise SimulatorUnavailable(
                f"cannot use {self._path} as a cache of results: {error}; name a file in a folder that can be written"
            ) from error


class Noisy(SimulatorWrapper):
    """Multiplies metrics with exp(sigma z), z standard normal: measurement noise, reproducible under a seed.

    The optimum is that of the wrapped simulator, without noise, so that regret stays true regret.

    Args:
        simulator: what the noise is added to; its own results must not be stochastic.
        sigma: standard deviation of the logarithm; 0.05 is about 5 %.
        metrics: names of those that the noise falls on; by default all but the report-only ones.

    Raises:
        ArchGymError: an unknown metric, a negative sigma, a simulator that is stochastic itself.
    """

    def __init__(self, simulator: Simulator, sigma: float = 0.05, metrics: Sequence[str] | None = None):
        super().__init__(simulator)
        if simulator.stochastic:  # two sources of noise on one stream would not be drawn row by row
            raise ArchGymError("Noisy wraps simulators without noise of their own; this one draws some already")
        if not sigma >= 0:
            raise ArchGymError(f"sigma must be 0 or more, not {sigma}")
        known = [metric.name for metric in simulator.metrics]
        for name in metrics or ():
            if name not in known:
                raise unknown("metric", name, known)
        self.sigma = sigma
        self.noisy = tuple(metrics) if metrics is not None else tuple(m.name for m in simulator.metrics if not m.report_only)
        self.stochastic = True

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """The wrapped simulator's columns [B], the noisy ones times exp(sigma z); z is drawn row-major, for every row.

        Raises:
            ArchGymError: no `rng`.
        """
        if rng is None:
            raise ArchGymError("Noisy draws noise: pass a generator, evaluate(designs, rng=np.random.default_rng(seed))")
        factors = np.exp(self.sigma * rng.standard_normal((len(indices), len(self.noisy))))  # [B, k]
        columns = dict(self.simulator.evaluate_indices(indices))
        for j, name in enumerate(self.noisy):
            columns[name] = columns[name] * factors[:, j]
        return columns
