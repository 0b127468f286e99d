"""A process that executes runs, one after the other, and whose loss costs one run.

    the run raises, or calls sys.exit          -> RunFailed (or RunImpossible), the process goes on
    the run takes longer than timeout_s        -> the process and all it started are killed: RunHung
    the run holds more than memory_bytes       -> the same: RunTooLarge
    the process ends (a crash, kill -9)        -> RunDied, also as it starts

The process may start processes of its own (`Isolated`, `Parallel`), it can be started from within a Dask worker, and a script that starts
it needs no `if __name__ == "__main__":`. It ends with the process that started it, and all that its runs have started ends with it
(`archgym.processes.children`). What runs print is dropped, except the last words of a process that ended.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.processes.children import KEPT, NEW_JOB, Line, Server, answer
from archgym.processes.memory import resident_memory
from archgym.text import REASON

_POLL_S = 0.05  # how often a running process is looked at
_POLL_DESCENDANTS_S = 2.0  # finding them takes milliseconds
_START_S = 120.0  # within which a process must have imported archgym
_GRACE_S = 1.0  # until a process that answers no more has ended
_LAST_WORDS = 200  # characters
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class RunFailed(ArchGymError):
    """The run raised: it would again."""


class RunImpossible(ArchGymError):
    """No run of this kind can be made here: a package is missing, or has another version than where the study was read."""


class RunDied(ArchGymError):
    """The process ended during the run."""


class RunHung(RunDied):
    """The run took longer than its time-out."""


class RunTooLarge(RunDied):
    """The run took more memory than its limit."""


class Stopped(ArchGymError):
    """The study was stopped while the run was under way."""


@dataclass(frozen=True)
class RunRequest:
    """A run for a process: the arguments of `archgym.study.run.execute`, and the run's limits."""

    specification: Mapping[str, Any]
    history: str = "improvements"
    cache: str | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None


class RunProcess:
    """A process for runs, started at the first one."""

    def __init__(self) -> None:
        self._process: Server | None = None
        self._pid = 0  # of the Python process, which the supervisor above it is not

    def run(self, request: RunRequest, stop: threading.Event | None = None) -> tuple[bytes, dict[str, Any]]:
        """Execute a run in the process.

        Args:
            request: the run.
            stop: set by another thread to abandon it.

        Returns:
            What `archgym.study.run.execute` returns.

        Raises:
            RunFailed, RunImpossible, RunDied, RunHung, RunTooLarge, Stopped: as above.
            ArchGymError: no process can be started.
        """
        if self._process is None or self._process.ended:
            self._process = self._start(stop)
        try:
            self._process.send((request.specification, request.history, request.cache))
            self._wait(self._process, request, stop)
            kind, result = self._process.receive()
        except EOFError:
            raise RunDied(f"the process {self._end()}") from None
        except BaseException:
            self.close()
            raise
        return unwrap(kind, result)

    def close(self) -> None:
        """End the process and what it started."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _end(self) -> str:
        """How a process ended that answers no more, and its last words."""
        process, self._process = self._process, None
        if process is None:  # closed by another thread
            raise Stopped("the study was stopped")
        return process.end(_GRACE_S).with_last_words(1, _LAST_WORDS)

    def _wait(self, process: Server, request: RunRequest, stop: threading.Event | None) -> None:
        """Until there is an answer; an end of the process is one."""
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
                    raise RunTooLarge(f"took {held / 1e9:.2f} GB of memory; the limit is {request.memory_bytes / 1e9:.2f} GB")

    def _start(self, stop: threading.Event | None) -> Server:
        """A process that is ready.

        Raises:
            RunDied: it was killed as it started.
            Stopped: as above.
            ArchGymError: it cannot be started.
        """
        self.close()
        try:
            process = Server(f"{__name__}:serve", keep=KEPT, kept=[2], stdout=subprocess.DEVNULL, env={**os.environ, **_ONE_THREAD})
        except OSError as error:
            raise ArchGymError(f"cannot start a process for runs: {error}") from error
        self._process = process  # from now on `close` ends it, whichever thread calls it
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


def try_run(specification: Mapping[str, Any], history: str, cache: str | None) -> tuple[str, Any]:
    """Execute a run and say how it went: ("done", what `execute` returns), ("failed", why) or ("impossible", why).

    Raises:
        MemoryError: the owner of the process decides what to do.
    """
    from archgym.study.run import VersionMismatch, execute

    try:
        return "done", execute(specification, history, cache)
    except (MemoryError, KeyboardInterrupt):
        raise
    except (MissingDependency, VersionMismatch) as error:
        return "impossible", str(error)
    except BaseException as error:  # sys.exit, too
        return "failed", reason_of(error, REASON)


def unwrap(kind: str, answer: Any) -> tuple[bytes, dict[str, Any]]:
    """What an attempt gave.

    Raises:
        RunFailed, RunImpossible: it gave nothing.
    """
    if kind != "done":
        raise (RunImpossible if kind == "impossible" else RunFailed)(answer)
    return answer


def serve(line: Line) -> NoReturn:
    """The process's main loop: answer runs until the parent is gone."""
    import archgym.study.run  # noqa: F401 - before the first run's time begins

    line.send(os.getpid())

    def reply(run: tuple[Mapping[str, Any], str, str | None]) -> tuple[str, Any]:
        with suppress(OSError):  # an earlier run has closed it
            os.write(2, NEW_JOB)
        try:
            return try_run(*run)
        except KeyboardInterrupt as error:  # Ctrl-C goes to the parent alone, so the run raised this
            return "failed", reason_of(error)

    answer(line, reply)
    os._exit(0)
