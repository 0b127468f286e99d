"""A backend as a function of jobs, with results stored in memory and on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from archgym.files.paths import data_folder, make_folder
from archgym.files.results import Records
from archgym.simulators.accelerator.backends.environments import BACKENDS, python_of
from archgym.simulators.accelerator.backends.session import Session, worker_of

Job = Mapping[str, Any]


class Tool:
    """One backend. Its process starts with the first new job, and again after a job that ended it.

    Args:
        name: name in `environments.BACKENDS`.

    Raises:
        ArchGymError: an unknown backend, or one that is not installed.
    """

    def __init__(self, name: str):
        python_of(name)
        self.name = name
        how = hashlib.sha256(worker_of(name).read_bytes()).hexdigest()[:16]
        self.version = f"{BACKENDS[name].tool} {how}"  # results depend on the worker's code too
        self._reset()

    def _reset(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._session: Session | None = None
        self._records: Records | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def ask(self, job: Job) -> dict[str, Any]:
        """The result of a job.

        Raises:
            ArchGymError: the tool failed on it, or its process ended.
            SimulatorUnavailable: the tool does not start, or results cannot be stored.
        """
        text = json.dumps(job, sort_keys=True)
        if text not in self._known:
            if self._records is None:
                self._records = Records(make_folder(data_folder("cache")) / "accelerator_layers.sqlite")
            key = key_of({"tool": self.version, **job})
            stored = self._records.get([key])
            result = json.loads(stored[key]) if stored else self._open().ask(job)
            if not stored:
                self._records.put({key: json.dumps(result)})
            self._known[text] = result
        return self._known[text]

    def digest(self, jobs: Sequence[Job]) -> str:
        """A hash of jobs and the version of the tool."""
        return hashlib.sha256(json.dumps([self.version, list(jobs)], sort_keys=True).encode()).hexdigest()

    def close(self) -> None:
        """End the process and close the file."""
        if self._session is not None:
            self._session.close()
        if self._records is not None:
            self._records.close()
        self._reset()

    def _open(self) -> Session:
        if self._session is None or not self._session.alive:
            self._session = Session(python_of(self.name), self.name)
        return self._session


def key_of(job: Job) -> bytes:
    """The key of a job in the file of results."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).digest()
