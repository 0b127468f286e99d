"""The folder of a study: one Parquet file per finished run, complete under its name or absent.

    DIR/study.toml                          the study file as it was last run
    DIR/runs/<task>/<agent>/<run id>.parquet
    DIR/runs/<task>/<agent>/compact-<hash>.parquet      many runs in one file (`archgym study compact`)
    DIR/damaged/                            damaged files, set aside; their runs are run again
    DIR/cache/                              simulated designs, where the study has cache = true
    DIR/.lock                               held by the runner at work

A file is written under a temporary name, synchronised and renamed, so that kill -9 and power cuts lose at
most the runs under way. Run files are sealed (`archgym.study.seal`): one that has changed since, or that is
not a regular file, is damaged. Nothing behind a link within DIR is written, moved or removed
(`archgym.files.paths`).

A failed run is a result too: a file with the rows before the failure, and the reason in its metadata
(`archgym.study.run`). Reports and data sets leave it out; an export marks it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet
from filelock import FileLock, Timeout

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import (
    check_own_file,
    check_own_folder,
    in_words,
    is_full,
    kind_of,
    make_folder,
    open_regular,
    remove_abandoned,
    replace,
)
from archgym.study.design import Run, identifier
from archgym.study.run import RESULT, SPECIFICATION
from archgym.study.seal import check_seal, sealed

RUNS = b"archgym.runs"  # metadata of a compacted file: {id: [specification, result]}
_RUN_FILE = re.compile(r"[0-9a-f]{16}\.parquet")
_COMPACT_FILE = re.compile(r"compact-[0-9a-f]{16}\.parquet")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_OF_DONE, _OF_FAILED = (
    {"samples", "seconds", "valid", "mean_valid_reward", "best_reward"},
    {"samples", "seconds", "reason"},
)
_COLUMNS = {"sample", "feasible", "valid", "reward"}
_MAX_NAMED = 3  # damaged files that a warning names


@dataclass(frozen=True)
class Stored:
    """A stored run.

    Attributes:
        id: the run's identifier.
        path: the file with the run, alone or with others.
        specification, result: metadata of the run (see `archgym.study.run`).
    """

    id: str
    path: Path
    specification: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether the run was finished; otherwise it failed."""
        return bool(self.result.get("status") == "done")


@dataclass(frozen=True)
class StoredFile:
    """A file of a study.

    Attributes:
        path: path of the file.
        parquet: the file, open; in a file of many runs, the first column is the run's identifier.
        runs: the runs in the file.
        sealed: whether the file has a seal.
    """

    path: Path
    parquet: pyarrow.parquet.ParquetFile
    runs: Sequence[Stored]
    sealed: bool

    @property
    def many(self) -> bool:
        """Whether `compact` wrote the file."""
        return bool(_COMPACT_FILE.fullmatch(self.path.name))


class Store:
    """The folder of a study.

    Args:
        folder: path of the folder, which is made at the first write.

    Raises:
        ArchGymError: the path is a file, or a folder that this process may not enter.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser()
        try:
            if kind_of(self.folder, follow=True) not in (None, "a folder"):
                raise ArchGymError(
                    f"expected a folder for the study, got the file {self.folder}; give another --out"
                )
            kind_of(self.folder / "runs")
        except OSError as error:
            raise _cannot_read(self.folder, error) from error

    @property
    def study_file(self) -> Path:
        """The study file as it was last run."""
        return self.folder / "study.toml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one runner; the lock ends with the process, also if that is killed.

        Raises:
            ArchGymError: another runner is at work in the folder, or the folder cannot be written.
        """
        path = self.folder / ".lock"
        with self._errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            check_own_file(path)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ArchGymError(
                    f"another runner is at work in {self.folder}: wait for it, stop it, or give another --out"
                ) from None
            except (OSError, NotImplementedError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise
                raise ArchGymError(
                    f"cannot lock {path}: {error}; a study needs a file system with locks"
                ) from error
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
            set_aside: whether to move damaged files, and those with another run than their name says, to
                DIR/damaged; otherwise they are passed over with a warning.
        """
        found: dict[str, Stored] = {}
        with self._noticed(set_aside) as damaged:
            for file in self.files(damaged):
                _add(found, file.runs)
        return found

    def files(self, damaged: dict[Path, str]) -> Iterator[StoredFile]:
        """Every intact file, open until the next one is.

        Args:
            damaged: receives the other files, with the reason.

        Raises:
            ArchGymError: the folder cannot be read, or has a link in the place of a folder of runs.
        """
        check_own_folder(self.folder / "runs")
        for path in self._paths():
            try:
                with _opened(path) as file:
                    yield file
            except FileNotFoundError:  # merged by `compact` since it was listed
                continue
            except _Damaged as error:
                damaged[path] = str(error)

    def set_aside(self, files: Iterable[Path]) -> None:
        """Move files to DIR/damaged, each under a distinct name; the caller holds the lock.

        Raises:
            ArchGymError: the folder cannot be written.
        """
        for path in files:
            folder = make_folder(self.folder / "damaged", within=self.folder)
            target, n = folder / path.name, 1
            while kind_of(target) is not None:
                n += 1
                target = folder / f"{path.stem}-{n}{path.suffix}"
            with self._errors(target):
                os.rename(path, target)

    def damaged(self) -> list[Path]:
        """Files that were set aside."""
        return sorted((self.folder / "damaged").glob("*")) if self.folder.exists() else []

    def table(
        self, runs: Iterable[Stored], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Stored, pyarrow.Table]]:
        """The rows of stored runs, file by file.

        Args:
            runs: stored runs, from `read`.
            columns: names of the columns to read; None for all. Columns that a file lacks are left out.

        Raises:
            ArchGymError: a file that was damaged after `read`.
        """
        by_file: dict[Path, list[Stored]] = {}
        for run in runs:
            by_file.setdefault(run.path, []).append(run)
        for path, members in by_file.items():
            try:
                with _opened(path) as file:
                    names = file.parquet.schema_arrow.names
                    wanted = (
                        None
                        if columns is None
                        else [*names[: int(file.many)], *(name for name in columns if name in names)]
                    )
                    content = file.parquet.read(columns=wanted, use_threads=False)
            except (_Damaged, FileNotFoundError, pyarrow.ArrowException) as error:
                raise ArchGymError(f"{path} is damaged ({error}): run the study again") from error
            if not file.many:
                yield members[0], content
                continue
            ids, content = content.column(0).combine_chunks(), content.remove_column(0)
            for run in members:
                yield run, content.filter(pyarrow.compute.equal(ids, run.id))

    def compact(self) -> tuple[int, int]:
        """Merge the runs of each task and agent into one file: (files before, files after).

        An interruption loses nothing: single files are removed after the merged one is complete, and a run
        that is in both counts once.

        Raises:
            ArchGymError: the file cannot be written.
        """
        before = after = 0
        stored: dict[str, Stored] = {}
        held: dict[Path, list[Path]] = {}  # folder -> intact files
        with self._noticed() as damaged:
            for file in self.files(damaged):
                held.setdefault(file.path.parent, []).append(file.path)
                _add(stored, file.runs)
        by_folder: dict[Path, list[Stored]] = {folder: [] for folder in held}
        for run in stored.values():
            by_folder[run.path.parent].append(run)
        for folder, runs in by_folder.items():
            files = held[folder]
            before += len(files)
            if runs and (len(files) > 1 or _RUN_FILE.fullmatch(files[0].name)):
                after += self._merge(folder, sorted(runs, key=lambda run: run.id), files)
            else:
                after += len(files)
        return before, after

    def cache_file(self, task: str) -> str:
        """The file of a task's simulated designs.

        Raises:
            ArchGymError: the folder cannot be written, or the file is a link, which SQLite would follow.
        """
        path = make_folder(self.folder / "cache", within=self.folder) / f"{_folder_name(task)}.sqlite"
        for part in ("", "-wal", "-shm", "-journal"):
            check_own_file(path.with_name(path.name + part))
        return str(path.resolve())

    def _paths(self) -> Iterator[Path]:
        """Every path with the name of a run file."""
        for folder, folders, names in os.walk(self.folder / "runs", onerror=_refuse):
            folders.sort()
            yield from (Path(folder, name) for name in sorted([*names, *folders]) if is_run_file(name))
            folders[:] = [name for name in folders if not is_run_file(name)]
            for name in (*folders, *names):  # a link would not be entered, and its runs would be missing
                if not is_run_file(name) and kind_of(path := Path(folder, name)):
                    check_own_folder(path)

    def _place(self, task: str, agent: str) -> Path:
        return self.folder / "runs" / _folder_name(task) / _folder_name(agent)

    def _merge(self, folder: Path, runs: Sequence[Stored], old: Sequence[Path]) -> int:
        """Write runs as one file and remove their former files: the number of files afterwards."""
        contents = list(self.table(runs))
        taken = {name for _, content in contents for name in content.column_names}
        column = unused("run", taken)
        tables = []
        for run, content in contents:
            ids = pyarrow.array([run.id] * content.num_rows, pyarrow.string())
            tables.append(content.replace_schema_metadata(None).add_column(0, column, ids))
        try:
            merged = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException:
            # a column with texts in one run and numbers in another, of an older version
            return len(old)
        metadata = {RUNS: json.dumps({run.id: [run.specification, run.result] for run in runs})}
        content = sealed(
            merged.replace_schema_metadata(metadata), compression="zstd", write_page_checksum=True
        )
        digest = hashlib.sha256(",".join(run.id for run in runs).encode()).hexdigest()[:16]
        target = folder / f"compact-{digest}.parquet"
        self._put(target, content)
        for path in old:
            if path != target:
                with self._errors(path):
                    path.unlink(missing_ok=True)
        return 1

    def _put(self, path: Path, content: bytes) -> None:
        make_folder(path.parent, within=self.folder)
        with self._errors(path):
            replace(path, lambda file: file.write(content))

    def _remove_orphans(self) -> None:
        """Remove temporary files of runners that were killed."""
        remove_abandoned(self.folder)
        for folder, _, _ in os.walk(self.folder / "runs"):
            remove_abandoned(Path(folder))

    @contextmanager
    def _noticed(self, set_aside: bool = False) -> Iterator[dict[Path, str]]:
        """Damaged files, which are afterwards set aside, or passed over with a warning."""
        damaged: dict[Path, str] = {}
        yield damaged
        if set_aside:
            self.set_aside(damaged)
        elif damaged:
            warn_of(damaged, self.folder)

    @contextmanager
    def _errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "free some space" if is_full(error) else "give another --out, or change its permissions"
            raise ArchGymError(
                f"cannot write {path}: {in_words(error)}; what was stored before is safe: {hint} and run the "
                "same command"
            ) from error


def runs_in(path: Path) -> list[Stored]:
    """The runs in one file of a study, which is opened and closed.

    Raises:
        FileNotFoundError: the file was removed.
        ArchGymError: this process may not read the file.
        ValueError: the file has changed, is foreign, or has another run than its name says.
    """
    try:
        with _opened(path) as file:
            return list(file.runs)
    except _Damaged as error:
        raise ValueError(str(error)) from error


def is_run_file(name: str) -> bool:
    """Whether a file of this name holds runs."""
    return bool(_RUN_FILE.fullmatch(name) or _COMPACT_FILE.fullmatch(name))


def warn_of(damaged: Mapping[Path, str], folder: Path) -> None:
    """Warn of files that are passed over, with the remedy."""
    names = "; ".join(f"{path} ({reason})" for path, reason in list(damaged.items())[:_MAX_NAMED]) + (
        "; ..." if len(damaged) > _MAX_NAMED else ""
    )
    count = "1 damaged file is" if len(damaged) == 1 else f"{len(damaged):,} damaged files are"
    remedy = f"archgym study run FILE --out {folder} sets damaged files aside and runs their runs again"
    warnings.warn(f"{count} passed over: {names}; {remedy}", stacklevel=2)


class _Damaged(Exception):
    """The reason why a file is damaged or foreign."""


@contextmanager
def _opened(path: Path) -> Iterator[StoredFile]:
    """A file of a study, and the runs in it.

    Raises:
        FileNotFoundError: the file was removed.
        ArchGymError: this process may not read the file.
        _Damaged: the file has changed, is foreign, or has another run than its name says.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            is_sealed = check_seal(file)
            parquet = stack.enter_context(
                pyarrow.parquet.ParquetFile(file, page_checksum_verification=not is_sealed)
            )
            runs = list(_runs(path, parquet.metadata.metadata or {}))
            # its pages have checksums of their own
            if not is_sealed and not set(parquet.read(use_threads=False).column_names) >= _COLUMNS:
                raise ValueError("it lacks columns of a run")
        except (FileNotFoundError, MemoryError):
            raise
        except Exception as error:  # a damaged or foreign file raises nearly anything
            if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
                raise _cannot_read(path, error) from error
            known = isinstance(error, OSError) or type(error) is ValueError
            raise _Damaged(in_words(error) if known else reason_of(error, 200)) from error
        yield StoredFile(path, parquet, runs, is_sealed)


def _runs(path: Path, metadata: Mapping[bytes, bytes]) -> Iterator[Stored]:
    """The runs in a file.

    Raises:
        ValueError: a file that is not of a study, or has another run than its name says; nearly anything for
            damaged metadata.
    """
    if RUNS in metadata:
        members = json.loads(metadata[RUNS])
    elif SPECIFICATION in metadata and RESULT in metadata:
        members = {path.stem: [json.loads(metadata[SPECIFICATION]), json.loads(metadata[RESULT])]}
    else:
        raise ValueError("it is not a file of a study")
    for id_, (specification, result) in members.items():
        if id_ not in {identifier(specification, history) for history in ("improvements", "full")}:
            raise ValueError("it holds another run than its name says")
        needed = _OF_DONE if result["status"] == "done" else _OF_FAILED
        if not result.keys() >= needed:
            raise ValueError(f"a result lacks {', '.join(sorted(needed - result.keys()))}")
        yield Stored(id_, path, specification, result)


def _add(found: dict[str, Stored], runs: Iterable[Stored]) -> None:
    """Add the runs of a file; of two with one identifier the finished one counts, else the first."""
    for run in runs:
        if run.id not in found or not found[run.id].done:
            found[run.id] = run


def _cannot_read(path: str | os.PathLike[str], error: OSError) -> ArchGymError:
    return ArchGymError(
        f"cannot read {os.fspath(path)}: {in_words(error)}; change that, and run the same command again"
    )


def _refuse(error: OSError) -> None:
    """Refuse a folder of runs that cannot be read, unless it was removed after it was listed."""
    if not isinstance(error, FileNotFoundError):
        raise _cannot_read(error.filename, error) from error


def unused(name: str, taken: Container[str]) -> str:
    """A name that no other column has."""
    while name in taken:
        name += "_"
    return name


def _folder_name(label: str) -> str:
    """The folder name of a label: readable, and distinct for distinct labels."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:60]
    return plain if plain == label else f"{plain or 'x'}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
