"""Where a study's runs lie: one folder, one Parquet file per finished run, complete under its name or not there at all.

    DIR/study.toml                          the study file as it was last run
    DIR/runs/<task>/<agent>/<run id>.parquet
    DIR/runs/<task>/<agent>/compact-<hash>.parquet      many runs in one file (`archgym study compact`)
    DIR/damaged/                            files that could not be read, kept aside; their runs are run again
    DIR/cache/                              remembered designs, where the study asks for them
    DIR/.lock                               held by the runner at work

A file is written under a temporary name, synchronised and renamed, so that kill -9 and power cuts lose at most the runs under way.
A run that failed is a result too: a file with the rows that it came to, and the reason in its metadata (`archgym.study.execute` describes
both). Reports and data sets leave it out, an export says which it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archgym.errors import ArchGymError, MissingDependency
from archgym.study.execute import RESULT, SPECIFICATION
from archgym.study.spec import Run, identifier

if TYPE_CHECKING:
    import polars
    import pyarrow

RUNS = b"archgym.runs"  # metadata of a compacted file: {id: [specification, result]}
_RUN_FILE = re.compile(r"[0-9a-f]{16}\.parquet")
_COMPACT_FILE = re.compile(r"compact-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class Stored:
    """A stored run.

    Attributes:
        id: the run's identifier.
        path: the file that holds it, alone or with others.
        specification, result: its metadata (see `archgym.study.execute`).
    """

    id: str
    path: Path
    specification: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether it was finished, rather than failed."""
        return bool(self.result.get("status") == "done")


class Store:
    """The folder of a study.

    Args:
        folder: made when something is written.

    Raises:
        ArchGymError: it is a file.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser()
        if self.folder.exists() and not self.folder.is_dir():
            raise ArchGymError(f"{self.folder} is a file; a study needs a folder")

    @property
    def study_file(self) -> Path:
        """The study file as it was last run."""
        return self.folder / "study.toml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """For one runner at a time; the lock ends with the process, however it ends.

        Raises:
            ArchGymError: another runner is at work in the folder, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        path = self.folder / ".lock"
        with self._errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".write-test").write_bytes(b"x")
            (self.folder / ".write-test").unlink()
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ArchGymError(f"another runner is at work in {self.folder}: wait for it, stop it, or give another --out") from None
        except (OSError, NotImplementedError) as error:
            raise ArchGymError(f"cannot lock {path}: {error}; a study needs a file system with locks") from error
        try:
            self._remove_orphans()
            yield
        finally:
            lock.release()

    def remember(self, text: str) -> None:
        """Keep the study file beside its runs."""
        self._put(self.study_file, text.encode())

    def write(self, run: Run, content: bytes) -> None:
        """Store a run: all of it or nothing.

        Raises:
            ArchGymError: the disk is full, or the folder cannot be written; what was stored before is safe.
        """
        self._put(self._place(run.task, run.agent) / f"{run.id}.parquet", content)

    def read(self, *, set_aside: bool = False) -> dict[str, Stored]:
        """All stored runs by identifier.

        Args:
            set_aside: move files that cannot be read, or are not what their name says, to DIR/damaged; otherwise they are passed over.
        """
        found: dict[str, Stored] = {}
        for path in self._files():
            try:
                runs = list(_metadata(path))
            except Exception as error:  # a damaged or foreign file raises nearly anything
                if isinstance(error, PermissionError):
                    raise ArchGymError(f"cannot read {path}: {error.strerror}") from error
                if set_aside:
                    self._set_aside(path)
                continue
            for run in runs:
                if run.id not in found or not found[run.id].done:
                    found[run.id] = run
        return found

    def damaged(self) -> list[Path]:
        """Files that were set aside."""
        return sorted((self.folder / "damaged").glob("*")) if self.folder.exists() else []

    def table(self, runs: Iterable[Stored], columns: Sequence[str] | None = None) -> Iterator[tuple[Stored, pyarrow.Table]]:
        """The rows of stored runs, file by file.

        Args:
            runs: as from `read`.
            columns: the columns to read; None for all. Columns that a file lacks are left out.

        Raises:
            ArchGymError: a file that is damaged.
        """
        import pyarrow.compute
        import pyarrow.parquet

        by_file: dict[Path, list[Stored]] = {}
        for run in runs:
            by_file.setdefault(run.path, []).append(run)
        for path, members in by_file.items():
            try:
                with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
                    names = file.schema_arrow.names
                    wanted = None if columns is None else [name for name in ("run", *columns) if name in names]
                    content = file.read(columns=wanted, use_threads=False)
            except (OSError, pyarrow.ArrowException) as error:
                raise ArchGymError(f"{path} is damaged ({error}); remove it and run the study again") from error
            if "run" not in content.schema.names:
                yield members[0], content
                continue
            ids = content["run"].combine_chunks()
            for run in members:
                rows = pyarrow.compute.equal(ids, run.id)
                yield run, content.filter(rows).drop_columns(["run"])

    def compact(self) -> tuple[int, int]:
        """Merge the runs of each task and agent into one file: (files before, files after).

        Interrupted at any moment it loses nothing: single files are removed after the merged one is complete, and a run that is in both
        counts once.

        Raises:
            ArchGymError: as `write`.
        """
        before = after = 0
        stored = self.read()
        folders: dict[Path, list[Stored]] = {}
        for run in stored.values():
            folders.setdefault(run.path.parent, []).append(run)
        for folder, runs in folders.items():
            old = {run.path for run in runs} | {p for p in folder.glob("*.parquet") if _ours(p.name) and _all_known(p, stored)}
            before += len(old)
            after += 1
            if len(old) > 1 or _RUN_FILE.fullmatch(next(iter(old)).name):
                self._merge(folder, sorted(runs, key=lambda run: run.id), old)
        return before, after

    def export(self) -> polars.DataFrame:
        """Every stored row of every run, with the run's identifier, status, environment, agent, hyperparameters, seed and budget.

        Parameters and metrics that a task does not have are null.
        """
        try:
            import polars
        except ImportError as error:
            raise MissingDependency('an export needs Polars: pip install "archgym[report]"') from error
        frames = []
        for run, content in self.table(self.read().values()):
            agent = run.specification["agent"]
            frame = polars.from_arrow(content)
            assert isinstance(frame, polars.DataFrame)
            facts = {
                "run": run.id,
                "status": run.result["status"],
                "env": run.specification["env"]["id"],
                "env_kwargs": json.dumps(run.specification["env"]["kwargs"]),
                "agent": agent["name"],
                "hyperparameters": json.dumps(agent["hyperparameters"]),
                "seed": run.specification["seed"],
                "budget": run.specification["budget"],
            }
            if frame.height:
                frames.append(frame.select(*(polars.lit(value).alias(f"study_{name}") for name, value in facts.items()), polars.all()))
        return polars.concat(frames, how="diagonal_relaxed") if frames else polars.DataFrame()

    def cache_file(self, task: str) -> str:
        """Where designs of a task are remembered."""
        with self._errors(self.folder / "cache"):
            (self.folder / "cache").mkdir(parents=True, exist_ok=True)
        return str((self.folder / "cache" / f"{_folder_name(task)}.sqlite").resolve())

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self.folder / "runs"):
            for name in sorted(names):
                if _ours(name):
                    yield Path(folder, name)

    def _place(self, task: str, agent: str) -> Path:
        return self.folder / "runs" / _folder_name(task) / _folder_name(agent)

    def _merge(self, folder: Path, runs: Sequence[Stored], old: Iterable[Path]) -> None:
        import io

        import pyarrow
        import pyarrow.parquet

        tables = []
        for run, content in self.table(runs):
            ids = pyarrow.array([run.id] * content.num_rows, pyarrow.string())
            tables.append(content.replace_schema_metadata(None).add_column(0, "run", ids))
        merged = pyarrow.concat_tables(tables, promote_options="permissive")
        metadata = {RUNS: json.dumps({run.id: [run.specification, run.result] for run in runs})}
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(merged.replace_schema_metadata(metadata), buffer, compression="zstd", write_page_checksum=True)
        digest = hashlib.sha256(",".join(run.id for run in runs).encode()).hexdigest()[:16]
        target = folder / f"compact-{digest}.parquet"
        self._put(target, buffer.getvalue())
        for path in old:
            if path != target:
                path.unlink(missing_ok=True)

    def _put(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with self._errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise

    def _remove_orphans(self) -> None:
        """Temporary files of runners that were killed; the lock says that no other is at work."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                if name.startswith(".") and name.endswith(".tmp"):
                    Path(folder, name).unlink(missing_ok=True)

    def _set_aside(self, path: Path) -> None:
        target = self.folder / "damaged" / path.name
        with self._errors(target):
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)

    @contextmanager
    def _errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "free some space" if full else "give another --out, or change its permissions"
            reason = "the disk is full" if full else (error.strerror or str(error))
            raise ArchGymError(f"cannot write {path}: {reason}; what was stored before is safe: {hint} and run the same command") from error


def _metadata(path: Path) -> Iterator[Stored]:
    """The runs in a file.

    Raises:
        ValueError: a file that is not one of ours, or not of the run that its name says.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        metadata = file.metadata.metadata or {}
    if RUNS in metadata:
        for id_, (specification, result) in json.loads(metadata[RUNS]).items():
            yield Stored(id_, path, specification, result)
        return
    if SPECIFICATION not in metadata or RESULT not in metadata:
        raise ValueError("not a file of a study")
    specification, result = json.loads(metadata[SPECIFICATION]), json.loads(metadata[RESULT])
    if path.stem not in {identifier(specification, history) for history in ("improvements", "full")}:
        raise ValueError("it holds another run than its name says")
    yield Stored(path.stem, path, specification, result)


def _ours(name: str) -> bool:
    return bool(_RUN_FILE.fullmatch(name) or _COMPACT_FILE.fullmatch(name))


def _all_known(path: Path, stored: Mapping[str, Stored]) -> bool:
    """Whether every run of a file has been read, from there or from another file, so that the file may go."""
    with suppress(Exception):
        return all(run.id in stored for run in _metadata(path))
    return False


def _folder_name(label: str) -> str:
    """A label as the name of a folder: readable, and distinct for distinct labels."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:60]
    return plain if plain == label else f"{plain or 'x'}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
