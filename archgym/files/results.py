"""Results of jobs on disk: what a backend once said of a job, for every process and every workload that has it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archgym.errors import SimulatorUnavailable
from archgym.simulators.accelerator.backends.environments import folder


class Results:
    """A table of results by job, in an SQLite file that several processes may use at once.

    Args:
        path: of the file; its folder is made if it is not there.

    Raises:
        ArchGymError: the file cannot be opened and written.
    """

    def __init__(self, path: Path):
        import sqlite3

        self.path = folder(path.parent) / path.name
        with self._errors():
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID")

    def get(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of a job; None where there is none yet."""
        with self._errors():
            found = self._connection.execute("SELECT result FROM results WHERE key = ?", (_key(job),)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def put(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result; of two, the first counts."""
        with self._errors():
            self._connection.execute("INSERT OR IGNORE INTO results VALUES (?, ?)", (_key(job), json.dumps(result)))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            raise SimulatorUnavailable(
                f"cannot use {self.path} for results: {error}; set ARCHGYM_HOME to a folder that can be written"
            ) from error


def _key(job: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).digest()
