"""Where a study's runs lie: one folder, one Parquet file per finished run, complete under its name or not there at all.

    DIR/study.toml                          the study file as it was last run
    DIR/runs/<task>/<agent>/<run id>.parquet
    DIR/runs/<task>/<agent>/compact-<hash>.parquet      many runs in one file (`archgym study compact`)
    DIR/damaged/                            damaged files, kept aside; their runs are run again
    DIR/cache/                              remembered designs, where the study asks for them
    DIR/.lock                               held by the runner at work

A file is written under a temporary name, synchronised and renamed, so that kill -9 and power cuts lose at most the runs under way. Run
files are sealed (`archgym.study.seal`): one that has changed since, or that is not a regular file, is damaged. Nothing that is reached
through a link within DIR is written, moved or removed (`archgym.files.paths`).
A run that failed is a result too: a file with the rows that it came to, and the reason in its metadata (`archgym.study.run` describes
both). Reports and data sets leave it out, an export says which it is.
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
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

RUNS = b"archgym.runs"  # metadata of a compacted file: {id: [specification, result]}
_RUN_FILE = re.compile(r"[0-9a-f]{16}\.parquet")
_COMPACT_FILE = re.compile(r"compact-[0-9a-f]{16}\.parquet")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_NOT_THE_FILE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_OF_DONE, _OF_FAILED = {"samples", "seconds", "valid", "mean_valid_reward", "best_reward"}, {"samples", "seconds", "reason"}
_COLUMNS = {"sample", "feasible", "valid", "reward"}
_NAMED = 3  # damaged files


@dataclass(frozen=True)
class Stored:
    """A stored run.

    Attributes:
        id: the run's identifier.
        path: the file that holds it, alone or with others.
        specification, result: its metadata (see `archgym.study.run`).
    """

    id: str
    path: Path
    specification: Mapping[str, Any]
    result: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether it was finished, rather than failed."""
        return bool(self.result.get("status") == "done")


@dataclass(frozen=True)
class StoredFile:
    """A file of a study.

    Attributes:
        path: where it is.
        parquet: the file, open; of many runs, the first column says whose the row is.
        runs: the runs in the file.
        sealed: whether it says itself that it is what was written.
    """

    path: Path
    parquet: pyarrow.parquet.ParquetFile
    runs: Sequence[Stored]
    sealed: bool

    @property
    def many(self) -> bool:
        """Whether it is one of `compact`."""
        return bool(_COMPACT_FILE.fullmatch(self.path.name))


class Store:
    """The folder of a study.

    Args:
        folder: made when something is written.

    Raises:
        ArchGymError: it is a file, or this process may not enter it.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser()
        try:
            if kind_of(self.folder, follow=True) not in (None, "a folder"):
                raise ArchGymError(f"{self.folder} is a file; a study needs a folder")
            kind_of(self.folder / "runs")
        except OSError as error:
            raise _cannot_read(self.folder, error) from error

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
        with self._errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            check_own_file(path)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ArchGymError(f"another runner is at work in {self.folder}: wait for it, stop it, or give another --out") from None
            except (OSError, NotImplementedError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise
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
            set_aside: move damaged files, and those that are not what their name says, to DIR/damaged; otherwise they are passed over
                with a warning.
        """
        found: dict[str, Stored] = {}
        with self._noticed(set_aside) as damaged:
            for file in self.files(damaged):
                _add(found, file.runs)
        return found

    def files(self, damaged: dict[Path, str]) -> Iterator[StoredFile]:
        """Every intact file, open as long as it is the last one.

        Args:
            damaged: gets the other files, with the reason.

        Raises:
            ArchGymError: the folder cannot be read, or holds a link where runs lie.
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
        """Move files to DIR/damaged, each under a name of its own; only for who holds the lock.

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

    def table(self, runs: Iterable[Stored], columns: Sequence[str] | None = None) -> Iterator[tuple[Stored, pyarrow.Table]]:
        """The rows of stored runs, file by file.

        Args:
            runs: as from `read`.
            columns: the columns to read; None for all. Columns that a file lacks are left out.

        Raises:
            ArchGymError: a file that has been damaged since.
        """
        import pyarrow.compute

        by_file: dict[Path, list[Stored]] = {}
        for run in runs:
            by_file.setdefault(run.path, []).append(run)
        for path, members in by_file.items():
            try:
                with _opened(path) as file:
                    names = file.parquet.schema_arrow.names
                    wanted = None if columns is None else [*names[: int(file.many)], *(name for name in columns if name in names)]
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

        Interrupted at any moment it loses nothing: single files are removed after the merged one is complete, and a run that is in both
        counts once.

        Raises:
            ArchGymError: as `write`.
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
        """Where designs of a task are remembered.

        Raises:
            ArchGymError: the folder cannot be written, or the file is a link, which SQLite would follow.
        """
        path = make_folder(self.folder / "cache", within=self.folder) / f"{_folder_name(task)}.sqlite"
        for part in ("", "-wal", "-shm", "-journal"):
            check_own_file(path.with_name(path.name + part))
        return str(path.resolve())

    def _paths(self) -> Iterator[Path]:
        """Whatever has the name of a file of ours."""
        for folder, folders, names in os.walk(self.folder / "runs", onerror=_refuse):
            folders.sort()
            yield from (Path(folder, name) for name in sorted([*names, *folders]) if _ours(name))
            folders[:] = [name for name in folders if not _ours(name)]
            for name in (*folders, *names):  # a link would not be entered, and its runs would be missing
                if not _ours(name) and kind_of(path := Path(folder, name)):
                    check_own_folder(path)

    def _place(self, task: str, agent: str) -> Path:
        return self.folder / "runs" / _folder_name(task) / _folder_name(agent)

    def _merge(self, folder: Path, runs: Sequence[Stored], old: Sequence[Path]) -> int:
        """Write runs as one file, and remove those that they were in; how many files there are then."""
        import pyarrow

        contents = list(self.table(runs))
        taken = {name for _, content in contents for name in content.column_names}
        column = unused("run", taken)
        tables = []
        for run, content in contents:
            ids = pyarrow.array([run.id] * content.num_rows, pyarrow.string())
            tables.append(content.replace_schema_metadata(None).add_column(0, column, ids))
        try:
            merged = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException:  # a column with texts in one run and numbers in another, of an older version
            return len(old)
        metadata = {RUNS: json.dumps({run.id: [run.specification, run.result] for run in runs})}
        content = sealed(merged.replace_schema_metadata(metadata), compression="zstd", write_page_checksum=True)
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
        """Temporary files of runners that were killed."""
        remove_abandoned(self.folder)
        for folder, _, _ in os.walk(self.folder / "runs"):
            remove_abandoned(Path(folder))

    @contextmanager
    def _noticed(self, set_aside: bool = False) -> Iterator[dict[Path, str]]:
        """Damaged files, which are set aside afterwards, or said to be passed over."""
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
                f"cannot write {path}: {in_words(error)}; what was stored before is safe: {hint} and run the same command"
            ) from error


def warn_of(damaged: Mapping[Path, str], folder: Path) -> None:
    """Say which files are passed over, and what to do about it."""
    names = "; ".join(f"{path} ({reason})" for path, reason in list(damaged.items())[:_NAMED]) + ("; ..." if len(damaged) > _NAMED else "")
    count = "1 damaged file is" if len(damaged) == 1 else f"{len(damaged):,} damaged files are"
    remedy = f"archgym study run FILE --out {folder} sets what is damaged aside, and runs its runs again"
    warnings.warn(f"{count} passed over: {names}; {remedy}", stacklevel=2)


class _Damaged(Exception):
    """Why a file is not what was stored, or foreign."""


@contextmanager
def _opened(path: Path) -> Iterator[StoredFile]:
    """A file of a study, and the runs in it.

    Raises:
        FileNotFoundError: it is gone.
        ArchGymError: this process may not read it.
        _Damaged: it is not what was stored, is foreign, or of another run than its name says.
    """
    import pyarrow.parquet

    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            is_sealed = check_seal(file)
            parquet = stack.enter_context(pyarrow.parquet.ParquetFile(file, page_checksum_verification=not is_sealed))
            runs = list(_runs(path, parquet.metadata.metadata or {}))
            if not is_sealed and not set(parquet.read(use_threads=False).column_names) >= _COLUMNS:  # its pages have checksums of their own
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
        ValueError: a file that is not one of ours, or not of the run that its name says; nearly anything for damaged metadata.
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
    """Take runs of one more file; of two with one identifier the finished one counts, and the first of two."""
    for run in runs:
        if run.id not in found or not found[run.id].done:
            found[run.id] = run


def _cannot_read(path: str | os.PathLike[str], error: OSError) -> ArchGymError:
    return ArchGymError(f"cannot read {os.fspath(path)}: {in_words(error)}; change that, and run the same command again")


def _refuse(error: OSError) -> None:
    """A folder of runs that cannot be read, unless it has gone since it was listed."""
    if not isinstance(error, FileNotFoundError):
        raise _cannot_read(error.filename, error) from error


def unused(name: str, taken: Container[str]) -> str:
    """A name that no other column has."""
    while name in taken:
        name += "_"
    return name


def _ours(name: str) -> bool:
    return bool(_RUN_FILE.fullmatch(name) or _COMPACT_FILE.fullmatch(name))


def _folder_name(label: str) -> str:
    """A label as the name of a folder: readable, and distinct for distinct labels."""
    plain = re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:60]
    return plain if plain == label else f"{plain or 'x'}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
