"""Child processes that end with the process that started them, together with everything they started.

A program runs under its own supervisor (`archgym.processes.supervisor`), which keeps track of everything
below it: daemons, children in their own sessions, orphans of killed programs. Everything ends when the
program ends, when `Child.end` is called, and when this process ends, even if it is killed. If the supervisor
itself is killed, the system kills its program, and a mark in the environment identifies what the program had
started.

A `Server` is a Python process that answers messages. `wait` takes children as well as connections, so that a
caller that waits for an answer also sees the end of the process, even if another process still holds the
connection open.
"""

from __future__ import annotations

import errno
import multiprocessing.connection
import os
import pickle
import secrets
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from archgym.errors import ArchGymError
from archgym.words import REASON, one_line

PYTHON = sys.executable
SUPERVISE = f"import sys; sys.path.append({str(Path(__file__).parent)!a}); import supervisor; supervisor.main"
MARK = "ARCHGYM_PROCESSES"  # environment variable with the marks of all children above a process
END_S = 10.0  # time limit for a supervisor to end everything
# record separator, written to standard error before a job to set its output apart from earlier output
NEW_JOB = b"\x1e"
KEPT = 2000  # bytes of a process's output that are kept for error messages
OUTPUT = 1 << 24  # bytes of output that `run` keeps
_HEAD = struct.Struct("<8sQ")  # header of an answer: its mark, and the length of the rest
_KILLS = (
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
    if os.name == "posix"
    else set()
)


def wait(
    ends: Iterable[multiprocessing.connection.Connection[Any, Any] | Child], seconds: float | None = None
) -> list[Any]:
    """Connections with data and children that ended, as soon as there are any; empty after `seconds`."""
    # anything with a descriptor works
    return multiprocessing.connection.wait(list(ends), seconds)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        code: exit code, or the negative number of the signal that ended it.
        output: the kept end of its output.
        errno: system error that prevented its start; 0 if it started.
        garbled: whether a `Server`'s process was ended because it sent anything but answers.
    """

    code: int
    output: bytes = b""
    errno: int = 0
    garbled: bool = False

    @property
    def killed(self) -> bool:
        """Whether an external signal killed it, which is not the program's fault."""
        return -self.code in _KILLS

    @property
    def text(self) -> str:
        """Its output since the last `NEW_JOB`, as text."""
        return self.output.rpartition(NEW_JOB)[2].decode(errors="replace")

    def with_last_words(self, lines: int = 4, limit: int = REASON) -> str:
        """How it ended, and the last lines of its output (see `last_words`)."""
        words = last_words(self.text, lines, limit)
        return f"{self}: {words}" if words else str(self)

    def __str__(self) -> str:
        if self.errno:
            return f"could not be started ({os.strerror(self.errno)})"
        if self.garbled:
            return (
                "was ended because it sent data that is not an answer; check that it writes only to "
                "descriptors that it opened"
            )
        if self.code == errno.ENOMEM:
            return f"ran out of memory (exit code {self.code})"
        if -self.code in set(signal.Signals):
            return f"was killed by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"


def last_words(text: str, lines: int = 4, limit: int = REASON) -> str:
    """The last non-empty lines of a program's output, joined to one line of at most `limit` characters."""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(" / ".join(kept[-lines:]), limit)


def exit_out_of_memory() -> NoReturn:
    """End this process with the code that `Ending` reports as out of memory, which also frees partial
    allocations.
    """
    os._exit(errno.ENOMEM)


class Child:
    """A program under a supervisor.

    Args:
        command: the program and its arguments.
        fds: file descriptors that it inherits.
        keep: output to keep, bytes.
        kept: descriptors whose output is kept: 1 for standard output, 2 for standard error.
        grace_s: time to exit by itself after this process ended, seconds.
        memory_bytes: limit on the address space of the program and of each process that it starts; None for
            no limit.
        options: options of `subprocess.Popen`: `stdin` (default: none), `stdout`, `cwd`, `env`, `encoding`.

    Raises:
        ArchGymError: not a POSIX system.
        OSError: the supervisor cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        fds: Sequence[int] = (),
        keep: int = 0,
        kept: Sequence[int] = (),
        grace_s: float = 0.0,
        memory_bytes: int | None = None,
        **options: Any,
    ):
        if os.name != "posix":
            raise ArchGymError("child processes need a POSIX system: Linux, macOS or WSL")
        self.owner = os.getpid()
        self._mark = secrets.token_hex(8)
        self._ending: Ending | None = None
        self._lock = threading.Lock()
        environment = dict(options.pop("env", os.environ))
        _take_standard_descriptors()
        environment[MARK] = " ".join(filter(None, (environment.get(MARK), self._mark)))
        self._control, theirs = multiprocessing.connection.Pipe()  # a pair of sockets
        arguments = (
            self.owner,
            theirs.fileno(),
            list(fds),
            list(kept),
            keep,
            grace_s,
            memory_bytes,
            list(map(os.fspath, command)),
        )
        try:
            self.popen = subprocess.Popen(
                [PYTHON, "-I", "-S", "-c", f"{SUPERVISE}{arguments!a}"],
                pass_fds=(theirs.fileno(), *fds),
                start_new_session=True,  # Ctrl-C goes to this process only
                env=environment,
                **{"stdin": subprocess.DEVNULL, **options},
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self.popen.pid

    def fileno(self) -> int:
        """A descriptor that is readable once the program has ended."""
        return self._control.fileno()

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self.wait(0.0)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the program ended within some time."""
        return bool(wait([self], seconds))

    def end(self, grace_s: float = 0.0) -> Ending:
        """End the program and all that it started, after `grace_s` to exit by itself; how it ended. A fork
        of this process ends nothing.
        """
        if os.getpid() != self.owner:
            return Ending(0)
        with self._lock:
            if self._ending is None:
                self._ending = self._end(grace_s)
            return self._ending

    def _end(self, grace_s: float) -> Ending:
        if not self.wait(grace_s):
            with suppress(OSError):
                os.write(self.fileno(), b"\0")
        report = self._report()
        self.popen.kill()
        code = self.popen.wait()
        head, separator, output = report.partition(b"\n")
        if not separator:  # the supervisor was killed or did not start
            self._end_marked()
            return Ending(code)
        return Ending(127, errno=int(head[1:])) if head.startswith(b"!") else Ending(int(head), output)

    def _report(self) -> bytes:
        """The supervisor's report at its end."""
        parts = []
        with suppress(OSError):
            while self.wait(END_S) and (part := os.read(self.fileno(), 1 << 20)):
                parts.append(part)
        return b"".join(parts)

    def _end_marked(self) -> None:
        """Kill the processes with this child's mark until none is left."""
        end, clean = time.monotonic() + END_S, 0
        # two rounds: a process that starts a program briefly shows no environment
        while clean < 2 and time.monotonic() < end:
            clean = clean + 1 if not _kill_marked(self._mark) else 0
            time.sleep(0.01)


def _take_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if this process has closed them: a child would use a pipe there as
    standard input or output.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _kill_marked(mark: str) -> int:
    import psutil

    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if mark in process.environ().get(MARK, ""):
                found += 1
                process.kill()
    return found


class Server(Child):
    """A Python process that answers messages.

    Args:
        function: "module:function" that it runs with its `Line`, and that ends by calling `answer`.
        options: options of `Child`.

    Raises:
        ArchGymError, OSError: see `Child`.
    """

    def __init__(self, function: str, **options: Any):
        module, _, name = function.partition(":")
        self.connection, theirs = multiprocessing.connection.Pipe()
        self._answers = secrets.token_bytes(8)  # mark of the answers
        self._arrived = bytearray()
        self._unreadable = False
        path = [folder for folder in sys.path if isinstance(folder, str)]  # Python ignores other entries
        line = f"{Line.__module__}.Line({theirs.fileno()}, {self._answers!r})"
        code = (
            f"import sys; sys.path[:] = {path!a}; import {Line.__module__}; from {module} import {name}; "
            f"{name}({line})"
        )
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        try:
            super().__init__([sys.executable, *flags, "-c", code], fds=[theirs.fileno()], **options)
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def send(self, message: Any) -> None:
        """Send a message. An error is left to `receive`, which notices the end of the process."""
        with suppress(OSError):
            self.connection.send(message)

    def ready(self, seconds: float | None = None) -> bool:
        """Whether a whole message or the end of the process arrives within `seconds`."""
        while not (self._whole or self._garbled):
            ends = wait([self.connection, self], seconds)
            if not ends:
                return False
            if self.connection not in ends:
                self.end()  # ends every process that holds the connection
            elif not self._read():
                return True
        return True

    def receive(self) -> Any:
        """The next message, even if the process has ended since.

        Raises:
            EOFError: the process ended without a message, or sent anything else.
        """
        self.ready()
        if not self._whole:
            raise EOFError
        end = _HEAD.size + _HEAD.unpack_from(self._arrived)[1]
        content = bytes(self._arrived[_HEAD.size : end])
        del self._arrived[:end]
        try:
            return pickle.loads(content)
        except MemoryError:
            raise
        except Exception as error:  # another process wrote into it
            self._unreadable = True
            raise EOFError from error

    @property
    def _whole(self) -> bool:
        """Whether a whole message has arrived."""
        size = len(self._arrived)
        return (
            not self._garbled
            and size >= _HEAD.size
            and size >= _HEAD.size + _HEAD.unpack_from(self._arrived)[1]
        )

    @property
    def _garbled(self) -> bool:
        """Whether anything but messages has arrived."""
        return self._unreadable or not self._answers.startswith(bytes(self._arrived[: len(self._answers)]))

    def _read(self) -> bool:
        """Read what has arrived; False at the end."""
        try:
            part = os.read(self.connection.fileno(), 1 << 20)
        except OSError:
            return False
        self._arrived += part
        return bool(part)

    def _end(self, grace_s: float) -> Ending:
        if grace_s and not self._garbled:
            self.connection.close()  # so that the process exits by itself
        ending = super()._end(0.0 if self._garbled else grace_s)
        return replace(ending, garbled=self._garbled)


class Line:
    """The process's end of a `Server`'s connection. Answers carry a mark that no other output has.

    Args:
        descriptor: file descriptor of a socket.
        mark: bytes in front of every answer.
    """

    def __init__(self, descriptor: int, mark: bytes):
        self._connection: multiprocessing.connection.Connection[Any, Any] = (
            multiprocessing.connection.Connection(descriptor)
        )
        self._mark = mark

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: the other end is closed.
        """
        return self._connection.recv()

    def send(self, message: Any) -> None:
        """Send an answer."""
        content = pickle.dumps(message)
        view = memoryview(_HEAD.pack(self._mark, len(content)) + content)
        while view:
            view = view[os.write(self._connection.fileno(), view) :]


def answer(line: Line, reply: Callable[[Any], Any]) -> None:
    """Answer messages, in a `Server`'s process, until the other end is closed; a MemoryError in `reply`
    ends the process.
    """
    here = os.getpid()
    while True:
        try:
            message = line.receive()
        except EOFError:
            return
        try:
            result = reply(message)
        except MemoryError:
            exit_out_of_memory()
        if os.getpid() != here:  # a fork that returned: its answer would be read as that of the next message
            os._exit(1)
        line.send(result)


def run(command: Sequence[str], timeout_s: float, **options: Any) -> Ending:
    """Run a program, keep the last 16 MiB of its output, and end all that it leaves running.

    Args:
        command: the program and its arguments.
        timeout_s: time limit, seconds.
        options: options of `Child`.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it exceeded the limit and was killed.
    """
    child = Child(command, keep=OUTPUT, kept=(1, 2), **options)
    try:
        in_time = child.wait(timeout_s)
    finally:
        ending = child.end()
    if not in_time:
        raise subprocess.TimeoutExpired(list(command), timeout_s)
    if ending.errno:
        raise OSError(ending.errno, os.strerror(ending.errno))
    return ending
