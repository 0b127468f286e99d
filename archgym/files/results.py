"""Results by key, in an SQLite file that processes share: of simulators by design (`Cached`), of backends
by job.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from archgym.errors import SimulatorUnavailable
from archgym.files.paths import data_folder

if TYPE_CHECKING:
    import sqlite3

WAIT_S = 60.0  # time limit for the lock of another process


class Records:
    """Bytes or texts by key; the first record of a key counts. Several processes, and forks of one, may use a
    file at once.

    Args:
        path: the file, in an existing folder on a file system with locks.

    Raises:
        SimulatorUnavailable: the file cannot be opened and written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        # by process: a fork may not use or close its parent's
        self._connections: dict[int, sqlite3.Connection] = {}
        with self._errors():
            self._open()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Any]:
        """The records of those keys that have one.

        Raises:
            SimulatorUnavailable: the file cannot be read.
        """
        found = {}
        with self._errors():
            connection = self._open()
            for key in keys:
                row = connection.execute("SELECT * FROM results WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = row[1]
        return found

    def put(self, records: Mapping[bytes, bytes | str]) -> None:
        """Store records, all or none.

        Raises:
            SimulatorUnavailable: the file cannot be written.
        """
        with self._errors():
            connection = self._open()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR IGNORE INTO results VALUES (?, ?)", records.items())

    def close(self) -> None:
        """Close the file for this process."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connections": {}}

    def _open(self) -> sqlite3.Connection:
        """This process's connection."""
        if os.getpid() in self._connections:
            return self._connections[os.getpid()]
        import sqlite3

        connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        _write_ahead(connection)
        # safe if a process is killed; a power cut may lose the last batches
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # refuses a read-only file before anything is simulated
            connection.execute(
                "CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT "
                "ROWID"
            )
        self._connections[os.getpid()] = connection
        return connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            ours = Path(self.path).is_relative_to(data_folder())
            remedy = (
                "set ARCHGYM_HOME to a folder that can be written"
                if ours
                else "name a file in a folder that can be written"
            )
            raise SimulatorUnavailable(
                f"cannot use {self.path} as a cache of results: {error}; {remedy}"
            ) from error


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait by itself where several processes do so at once."""
    import sqlite3

    deadline = monotonic() + WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(0.01)
