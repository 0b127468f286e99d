"""The journal of a service: every session and every batch of samples in one SQLite file.

    meta      what the file belongs to
    sessions  who they are; of a token only its SHA-256
    batches   indices [n, P], metric values and rewards [n, M + 1], flags [n] (1 feasible, 2 valid), failures,
              the noise stream after the batch, the request's key and a hash of its designs

A batch is one row, written in one transaction before its answer is sent: after kill -9 the file has all of
it or nothing. The file is in WAL mode with synchronous = NORMAL: an answer survives the process, and a power
cut may take the last ones, but never a part of one.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from archgym.errors import ArchGymError
from archgym.files.paths import check_own_file
from archgym.serve.refusals import Refused

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, token BLOB NOT NULL, agent TEXT NOT NULL,
    hyperparameters TEXT NOT NULL, seed INTEGER NOT NULL, context TEXT NOT NULL, created REAL NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0, UNIQUE (agent, hyperparameters, seed, context));
CREATE TABLE IF NOT EXISTS batches (
    session INTEGER NOT NULL REFERENCES sessions (number), start INTEGER NOT NULL, size INTEGER NOT NULL,
    indices BLOB NOT NULL, numbers BLOB NOT NULL, flags BLOB NOT NULL, failures TEXT, noise TEXT,
    elapsed REAL NOT NULL, key TEXT, digest BLOB, UNIQUE (session, start));
CREATE UNIQUE INDEX IF NOT EXISTS keys ON batches (session, key) WHERE key IS NOT NULL;
"""


class SessionRow(NamedTuple):
    """A session as it is stored; `hyperparameters` and `context` are JSON texts."""

    number: int
    id: str
    token: bytes
    agent: str
    hyperparameters: str
    seed: int
    context: str
    created: float
    stored: bool


class Batch(NamedTuple):
    """Samples of one request, as stored."""

    start: int
    size: int
    indices: bytes
    numbers: bytes
    flags: bytes
    failures: str | None
    noise: str | None
    elapsed: float
    key: str | None = None
    digest: bytes | None = None


class Journal:
    """The file, open for one process.

    Args:
        path: the file.
        task: task of the sessions (`ServedTask.identity`), as JSON.

    Raises:
        ArchGymError: a file of another task or format, or one that cannot be read.
    """

    def __init__(self, path: Path, task: Mapping[str, Any]):
        for part in ("", "-wal", "-shm", "-journal"):
            check_own_file(path.with_name(path.name + part))
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint = 4000")
            self._db.executescript(_TABLES)
            self._open(task)
        except sqlite3.Error as error:
            raise ArchGymError(
                f"cannot use {path}: {error}; free some space, or give another --out"
            ) from error

    def _open(self, task: Mapping[str, Any]) -> None:
        mine = {"format": json.dumps(_FORMAT), "task": json.dumps(task, sort_keys=True)}
        found = dict(self._db.execute("SELECT name, value FROM meta"))
        if not found:
            with self._db:
                self._db.execute("BEGIN")
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", mine.items())
            return
        if found["format"] != mine["format"]:
            raise ArchGymError(
                f"{self.path} has format {found['format']}, expected {_FORMAT}; use the archgym that made it"
            )
        stored = json.loads(found["task"])
        if found["task"] != mine["task"]:
            raise ArchGymError(
                f"{self.path.parent} holds sessions of another task: {difference(stored, task)}; serve that "
                "task again, or give another --out"
            )

    def sessions(self) -> list[SessionRow]:
        """All sessions, oldest first."""
        with self._reading() as db:
            rows = db.execute(f"SELECT {', '.join(SessionRow._fields)} FROM sessions ORDER BY number")
            return [SessionRow._make((*row[:-1], bool(row[-1]))) for row in rows]

    def add(self, session: SessionRow) -> int:
        """Store a new session: its number."""
        with self._writing() as db:
            fields = SessionRow._fields[1:]
            marks = ", ".join("?" * len(fields))
            done = db.execute(f"INSERT INTO sessions ({', '.join(fields)}) VALUES ({marks})", session[1:])
            return int(done.lastrowid or 0)

    def append(self, session: int, batch: Batch) -> None:
        """Store a batch: all of it or nothing."""
        with self._writing() as db:
            db.execute(_APPEND, (session, *batch))

    def batches(self, session: int) -> Iterator[Batch]:
        """A session's batches in order."""
        with self._reading() as db:
            rows = db.execute(f"{_SELECT} WHERE session = ? ORDER BY start", (session,)).fetchall()
        return map(Batch._make, rows)

    def find(self, session: int, key: str) -> tuple[int, int, bytes] | None:
        """Start, size and hash of the batch of a request's key."""
        with self._reading() as db:
            return db.execute(_FIND, (session, key)).fetchone()

    def samples(self) -> dict[int, int]:
        """Number of samples of every session that has some."""
        with self._reading() as db:
            return dict(db.execute("SELECT session, max(start + size) FROM batches GROUP BY session"))

    def mark_stored(self, session: int) -> None:
        """Note that a session's run is in the store."""
        with self._writing() as db:
            db.execute("UPDATE sessions SET stored = 1 WHERE number = ?", (session,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise Refused(
                    503, f"the server cannot read its journal ({_in_words(error)}); try again later"
                ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.rollback()
                full = "full" in str(error) or "disk I/O" in str(error)
                words = "its disk is full" if full else _in_words(error)
                raise Refused(
                    507 if full else 503,
                    f"the server cannot record samples: {words}; nothing was counted: send the request again "
                    "once that is mended",
                ) from error


_APPEND = (
    f"INSERT INTO batches (session, {', '.join(Batch._fields)}) "
    f"VALUES ({', '.join('?' * (1 + len(Batch._fields)))})"
)
_SELECT = f"SELECT {', '.join(Batch._fields)} FROM batches"
_FIND = "SELECT start, size, digest FROM batches WHERE session = ? AND key = ?"


def _in_words(error: sqlite3.Error) -> str:
    return str(error) if isinstance(error, sqlite3.OperationalError) else type(error).__name__


def difference(stored: Any, given: Any, place: str = "") -> str:
    """The first part in which two JSON values differ, in words."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for name in [*given, *(name for name in stored if name not in given)]:
            if stored.get(name) != given.get(name):
                return difference(stored.get(name), given.get(name), f"{place}.{name}" if place else name)
    return f"its {place} is {json.dumps(stored)[:200]}, got {json.dumps(given)[:200]}"
