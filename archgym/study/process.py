"""A process that executes runs, one after the other, and whose loss costs one run.

    the run raises, or calls sys.exit          -> RunFailed (or RunImpossible), the process goes on
    the run takes longer than timeout_s        -> the process and all it started are killed: RunHung
    the run holds more than memory_bytes       -> the same: RunTooLarge
    the process dies (a crash, kill -9)        -> RunDied

The process is an ordinary one, not a daemon of `multiprocessing`: it may start processes of its own (`Isolated`, `Parallel`), it can be
started from within a Dask worker, and a script that starts it needs no `if __name__ == "__main__":`. It ends with whoever started it.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from archgym.errors import ArchGymError, MissingDependency

_POLL_S = 0.05  # how often a running process is looked at
_POLL_DESCENDANTS_S = 2.0  # finding them takes milliseconds
_START_S = 120.0  # within which a process must have imported archgym
_BOOT = "import sys; sys.path[:] = {path!r}; from archgym.study.process import serve; serve({connection}, {life})"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


class RunFailed(ArchGymError):
    """The run raised: it would again."""


class RunImpossible(ArchGymError):
    """No run of this kind can be made here: a package is missing, or has another version than where the study was read."""


class RunDied(ArchGymError):
    """The process died during the run."""


class RunHung(RunDied):
    """The run took longer than its time-out."""


class RunTooLarge(RunDied):
    """The run took more memory than its limit."""


class Stopped(ArchGymError):
    """The study was stopped while the run was under way."""


@dataclass(frozen=True)
class Job:
    """What a process is asked to do: the arguments of `archgym.study.execute.execute`, and the run's limits."""

    specification: Mapping[str, Any]
    history: str = "improvements"
    cache: str | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None


class RunProcess:
    """A process for runs, started at the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job, stop: threading.Event | None = None) -> tuple[bytes, dict[str, Any]]:
        """Execute a run in the process.

        Args:
            job: the run.
            stop: set by another thread to abandon it.

        Returns:
            What `archgym.study.execute.execute` returns.

        Raises:
            RunFailed, RunImpossible, RunDied, RunHung, RunTooLarge, Stopped: as above.
            ArchGymError: no process can be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            self._connection.send((job.specification, job.history, job.cache))
            self._wait(job, stop)
            kind, answer = self._connection.recv()
        except (EOFError, OSError):  # the other end is gone
            raise RunDied(self.close(grace_s=1.0)) from None
        except BaseException:
            self.close()
            raise
        return answered(kind, answer)

    def close(self, grace_s: float = 0.0) -> str:
        """End the process and what it started; how it ended, in words."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._connection.close()
        os.close(self._life)
        said = self._last_words()
        return _how_it_died(process.returncode) + (f": {said}" if said else "")

    def _wait(self, job: Job, stop: threading.Event | None) -> None:
        """Until there is an answer; an end of the process is one."""
        assert self._process is not None
        start = looked = time.monotonic()
        while not self._connection.poll(_POLL_S):
            now = time.monotonic()
            if stop is not None and stop.is_set():
                raise Stopped("the study was stopped")
            if job.timeout_s is not None and now - start > job.timeout_s:
                raise RunHung(f"timed out after {job.timeout_s:g} s")
            if job.memory_bytes is not None:
                everything = now - looked > _POLL_DESCENDANTS_S
                looked = now if everything else looked
                if (held := _memory(self._process.pid, everything)) > job.memory_bytes:
                    raise RunTooLarge(f"took {held / 1e9:.2f} GB of memory; the limit is {job.memory_bytes / 1e9:.2f} GB")

    def _start(self) -> None:
        if os.name != "posix":
            raise ArchGymError("processes for runs need a POSIX system; use --executor inline here")
        from multiprocessing import Pipe

        self.close()
        self._connection, theirs = Pipe()
        their_life, self._life = os.pipe()  # ends with this process, however it ends
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        code = _BOOT.format(path=sys.path, connection=theirs.fileno(), life=their_life)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=(theirs.fileno(), their_life),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # Ctrl-C is for whoever started us; and one signal ends all that a run started
                env={**os.environ, **_ONE_THREAD},
            )
        except OSError as error:
            raise ArchGymError(f"cannot start a process for runs: {error}") from error
        finally:
            theirs.close()
            os.close(their_life)
        try:
            ready = self._connection.poll(_START_S) and self._connection.recv() == "ready"
        except (EOFError, OSError):
            ready = False
        if not ready:
            raise ArchGymError(f"a process for runs did not start: {self.close(grace_s=1.0)}")

    def _last_words(self) -> str:
        """The last line that the process wrote to its standard error."""
        with self._stderr as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode(errors="replace").split("\n")
        return next((" ".join(line.split())[:200] for line in reversed(lines) if line.strip()), "")


def _memory(pid: int, descendants: bool) -> int:
    """Bytes of memory that a process, and on demand its descendants, hold."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        total = process.memory_info().rss
        for child in process.children(recursive=True) if descendants else ():
            with suppress(psutil.Error):
                total += child.memory_info().rss
    return total


def _how_it_died(code: int) -> str:
    if code == errno.ENOMEM:
        return "the process ran out of memory"
    name = f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"exit code {code}"
    return f"the process died ({name})"


def attempt(specification: Mapping[str, Any], history: str, cache: str | None) -> tuple[str, Any]:
    """Execute a run and say how it went: ("done", what `execute` returns), ("failed", why) or ("impossible", why).

    Raises:
        MemoryError: for whoever owns the process to decide.
    """
    from archgym.study.execute import VersionMismatch, execute

    try:
        return "done", execute(specification, history, cache)
    except (MemoryError, KeyboardInterrupt):
        raise
    except (MissingDependency, VersionMismatch) as error:
        return "impossible", str(error)
    except BaseException as error:  # sys.exit, too
        text = " ".join(str(error).split())[:1000]
        return "failed", f"{type(error).__name__}: {text}" if text else type(error).__name__


def answered(kind: str, answer: Any) -> tuple[bytes, dict[str, Any]]:
    """What an attempt gave.

    Raises:
        RunFailed, RunImpossible: it gave nothing.
    """
    if kind != "done":
        raise (RunImpossible if kind == "impossible" else RunFailed)(answer)
    return answer  # type: ignore[no-any-return]


def serve(connection: int, life: int) -> NoReturn:
    """A process's own life: answer runs until whoever started it is gone.

    Args:
        connection, life: file descriptors of a socket for messages, and of a pipe that ends with the other process.
    """
    from multiprocessing.connection import Connection

    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    messages: Connection[Any, Any] = Connection(connection)
    import archgym.study.execute  # noqa: F401 - before the first run's time begins

    messages.send("ready")
    while True:
        try:
            specification, history, cache = messages.recv()
        except EOFError:
            os._exit(0)
        try:
            answer = attempt(specification, history, cache)
        except MemoryError:
            os._exit(errno.ENOMEM)  # what was half allocated goes with the process
        messages.send(answer)


def _end_with(life: int) -> None:
    """Kill this process and what it started once the other end of a pipe is gone, even in the middle of a run."""
    os.read(life, 1)
    os.killpg(0, signal.SIGKILL)
