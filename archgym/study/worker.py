"""A process that executes runs, one after the other; its loss costs one run.

    the run raises, or calls sys.exit          -> RunFailed (or RunImpossible), the process goes on
    the run takes longer than timeout_s        -> the process and all it started are killed: RunHung
    the run holds more than memory_bytes       -> the same: RunTooLarge
    the process ends (a crash, kill -9)        -> RunDied, also as it starts

The process may start processes (`Isolated`, `Parallel`), a Dask worker may start it, and a script that starts
it needs no `if __name__ == "__main__":`. It ends with the process that started it, and so does all that its
runs have started (`archgym.processes.children`). The output of runs is dropped, except the end of it where
the process fails.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.processes.children import KEPT, NEW_JOB, Line, Server, answer
from archgym.processes.memory import resident_memory
from archgym.words import REASON

_POLL_S = 0.05  # interval of checks on a process
_POLL_DESCENDANTS_S = 2.0  # interval of checks on its descendants, which take milliseconds
_START_S = 120.0  # time limit for importing archgym
_GRACE_S = 1.0  # time for a process that closed its connection to exit
_LAST_WORDS = 200  # characters of output in an error
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class RunFailed(ArchGymError):
    """The run raised, and would raise again."""


class RunImpossible(ArchGymError):
    """Such runs are impossible here: a package is missing, its version differs from the one the study was
    written for, or a logger cannot start.
    """


class RunDied(ArchGymError):
    """The process ended during the run."""


class RunHung(RunDied):
    """The run exceeded its time limit."""


class RunTooLarge(RunDied):
    """The run exceeded its memory limit."""


class Stopped(ArchGymError):
    """The study was stopped during the run."""


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `archgym.study.run.execute`, and the run's limits."""

    specification: Mapping[str, Any]
    history: str = "improvements"
    cache: str | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    log: Sequence[str] = ()


class RunProcess:
    """A process for runs, started at the first run."""

    def __init__(self) -> None:
        self._process: Server | None = None
        self._pid = 0  # the Python process, below its supervisor

    def run(self, request: RunRequest, stop: threading.Event | None = None) -> tuple[bytes, dict[str, Any]]:
        """Execute a run in the process.

        Args:
            request: the run.
            stop: event that abandons the run, set by another thread.

        Returns:
            The values of `archgym.study.run.execute`.

        Raises:
            RunFailed, RunImpossible, RunDied, RunHung, RunTooLarge, Stopped: see each class.
            ArchGymError: the process cannot be started.
        """
        if self._process is None or self._process.ended:
            self._process = self._start(stop)
        try:
            self._process.send(request)
            self._wait(self._process, request, stop)
            kind, result = self._process.receive()
        except EOFError:
            raise RunDied(f"the process {self._end()}") from None
        except BaseException:
            self.close()
            raise
        return unwrap(kind, result)

    def close(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _end(self) -> str:
        """End a process that closed its connection: how it ended, and the end of its output."""
        process, self._process = self._process, None
        if process is None:  # closed by another thread
            raise Stopped("the study was stopped")
        return process.end(_GRACE_S).with_last_words(1, _LAST_WORDS)

    def _wait(self, process: Server, request: RunRequest, stop: threading.Event | None) -> None:
        """Wait for an answer or the end of the process."""
        start = looked = time.monotonic()
        while not process.ready(_POLL_S):
            now = time.monotonic()
            if stop is not None and stop.is_set():
                raise Stopped("the study was stopped")
            if request.timeout_s is not None and now - start > request.timeout_s:
                raise RunHung(f"timed out after {request.timeout_s:g} s")
            if request.memory_bytes is not None:
                everything = now - looked > _POLL_DESCENDANTS_S
                looked = now if everything else looked
                held = resident_memory(process.pid if everything else self._pid, below=everything)
                if held > request.memory_bytes:
                    raise RunTooLarge(
                        f"took {held / 1e9:.2f} GB of memory; the limit is {request.memory_bytes / 1e9:.2f} "
                        "GB"
                    )

    def _start(self, stop: threading.Event | None) -> Server:
        """A started process.

        Raises:
            RunDied: it was killed as it started.
            Stopped: the study was stopped meanwhile.
            ArchGymError: it cannot be started.
        """
        self.close()
        try:
            process = Server(
                f"{__name__}:serve",
                keep=KEPT,
                kept=[2],
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD},
            )
        except OSError as error:
            raise ArchGymError(f"cannot start a process for runs: {error}") from error
        self._process = process  # from now on `close` ends it from any thread
        try:
            end = time.monotonic() + _START_S
            while not process.ready(_POLL_S):
                if stop is not None and stop.is_set():
                    raise Stopped("the study was stopped")
                if time.monotonic() > end:
                    raise ArchGymError(f"a process for runs did not start within {_START_S:g} s")
            self._pid = process.receive()
        except EOFError:
            ending = process.end(_GRACE_S)
            how = ending.with_last_words(1, _LAST_WORDS)
            if ending.killed:
                raise RunDied(f"the process {how}, as it started") from None
            raise ArchGymError(f"a process for runs did not start: the process {how}") from None
        except BaseException:
            process.end()
            raise
        return process


def try_run(request: RunRequest) -> tuple[str, Any]:
    """Execute a run: ("done", result), ("failed", reason) or ("impossible", reason).

    Raises:
        MemoryError: left to the owner of the process.
    """
    from archgym.callbacks.hook import CannotStart
    from archgym.study.run import VersionMismatch, execute

    try:
        return "done", execute(request.specification, request.history, request.cache, request.log)
    except (MemoryError, KeyboardInterrupt):
        raise
    except (MissingDependency, VersionMismatch, CannotStart) as error:
        return "impossible", str(error)
    except BaseException as error:  # includes SystemExit
        return "failed", reason_of(error, REASON)


def unwrap(kind: str, result: Any) -> tuple[bytes, dict[str, Any]]:
    """The result of `try_run`.

    Raises:
        RunFailed, RunImpossible: the run has none.
    """
    if kind != "done":
        raise (RunImpossible if kind == "impossible" else RunFailed)(result)
    return result


def serve(line: Line) -> NoReturn:
    """The process's main loop: answer requests until the parent ends."""
    import archgym.study.run  # noqa: F401 - not part of the first run's time

    line.send(os.getpid())

    def reply(request: RunRequest) -> tuple[str, Any]:
        with suppress(OSError):  # an earlier run closed it
            os.write(2, NEW_JOB)
        try:
            return try_run(request)
        except KeyboardInterrupt as error:  # Ctrl-C goes to the parent, so the run raised this
            return "failed", reason_of(error)

    answer(line, reply)
    os._exit(0)
