"""ABC, the logic synthesis program, as a process that answers commands.

A command goes to standard input, followed by one that prints a mark; what is printed up to the mark is the
answer. Output goes to a terminal of its own, since some builds hold back what they print to a pipe. Circuits
travel in files of a private folder under names of ours, so nothing of a user's reaches a command. A command
that takes too long, or that ends the process, is an error, and the next one starts a new process. The process
ends with this one, however that ends (`archgym.processes.children`).

Source: Berkeley Logic Synthesis and Verification Group, "ABC: A System for Sequential Synthesis and
Verification".
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.processes.children import Child, last_words, run, wait

VARIABLE = "ARCHGYM_ABC"
NAMES = ("yosys-abc", "berkeley-abc", "abc")
INSTALL = 'pip install "archgym[synthesis]"'
MEMORY_BYTES = 8 << 30  # address space of the process
START_S = 30.0
OUTPUT = 1 << 22  # bytes of one answer
COMMANDS = 20_000  # commands after which a new process starts, since the program keeps a history of them
FOLDER, LOCK = "archgym-abc-", "lock"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def find_abc() -> Path:
    """The program: `$ARCHGYM_ABC`, that of the package pyosys, or the first of `NAMES` on the path.

    Raises:
        SimulatorUnavailable: there is none.
    """
    if named := os.environ.get(VARIABLE):
        path = Path(named).expanduser().absolute()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise SimulatorUnavailable(f"expected the program ABC at ${VARIABLE}, got {named!r}")
        return path
    spec = importlib.util.find_spec("pyosys")  # importing it would load 50 MB
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "yosys-abc"
        if path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found).absolute()
    raise SimulatorUnavailable(
        f"the program ABC is not installed: {INSTALL}, install yosys or berkeley-abc, or name the program in "
        f"${VARIABLE}"
    )


def version_of(program: Path) -> str:
    """Version of the program as it prints it, and a digest of its file.

    Raises:
        SimulatorUnavailable: it cannot be started, or is another program.
    """
    try:
        return _version(program, program.stat().st_mtime_ns)
    except OSError as error:
        raise SimulatorUnavailable(f"{program} cannot be started: {error.strerror}") from error


@lru_cache(maxsize=8)
def _version(program: Path, modified: int) -> str:
    try:
        ending = run([str(program), "-s", "-q", "version"], START_S)
    except subprocess.TimeoutExpired:
        raise SimulatorUnavailable(f"{program} did not print its version within {START_S:g} s") from None
    found = re.search(r"\bABC\b[^\n]*", _COLOUR.sub("", ending.text))
    if ending.code or not found:
        raise SimulatorUnavailable(
            f"{program} is not ABC, or does not run: {last_words(ending.text) or str(ending)}"
        )
    return f"{found[0].strip()} {hashlib.sha256(program.read_bytes()).hexdigest()[:16]}"


class Killed(ArchGymError):
    """The process was killed from outside, which is not the command's fault."""


class Abc:
    """One process of ABC, started by the first command.

    Raises:
        ArchGymError: by `run`, a command of the setup failed.

    Args:
        program: path of the program.
        timeout_s: time limit of a command, seconds.
        memory_bytes: limit on its address space, bytes.
        files: content by name of files that stay in its folder.
        setup: commands that every new process starts with.
    """

    def __init__(
        self,
        program: Path,
        timeout_s: float = 60.0,
        memory_bytes: int = MEMORY_BYTES,
        files: Mapping[str, bytes] | None = None,
        setup: tuple[str, ...] = (),
    ):
        self.program, self.timeout_s, self.memory_bytes, self.setup = program, timeout_s, memory_bytes, setup
        self.starts = 0  # processes so far: what one had read, the next has not
        self._mark, self._commands = "", 0
        self._processes: list[_Process] = []  # one at most
        self.folder = _make_folder()
        self._lock = _locked(self.folder / LOCK)  # until this process ends
        self._finalizer = weakref.finalize(self, _release, self._processes, str(self.folder), os.getpid())
        for name, content in (files or {}).items():
            self.write(name, content)

    def write(self, name: str, content: bytes) -> None:
        """Write a file in the folder of the process."""
        (self.folder / name).write_bytes(content)

    def read(self, name: str) -> bytes:
        """The content of a file in the folder of the process.

        Raises:
            ArchGymError: there is none.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise ArchGymError(f"ABC wrote no {name}: {error.strerror}") from error

    def renew(self) -> None:
        """Start a new process where the present one has had many commands; what it holds is gone."""
        if self._processes and self._commands >= COMMANDS:
            self._start()

    def run(self, command: str, timeout_s: float | None = None) -> str:
        """What a command prints, with the prompts and without colours.

        Args:
            command: one line of ABC's commands.
            timeout_s: time limit, seconds; by default that of the constructor.

        Raises:
            ArchGymError: it took longer, or ended the process; `Killed` where something else ended it.
            SimulatorUnavailable: the program cannot be started.
        """
        if not self._processes:
            self._start()
        return self._ask(command, self.timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """End the process and remove its folder."""
        self._finalizer()

    def _start(self) -> None:
        if os.name != "posix":
            raise SimulatorUnavailable("ABC's process needs a POSIX system: Linux, macOS or WSL")
        import tty

        _end(self._processes)
        ours, theirs = os.openpty()
        try:
            tty.setraw(theirs)
            child = Child(
                [str(self.program), "-s"],  # no start file of the user's
                memory_bytes=self.memory_bytes,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                bufsize=0,
            )
        except BaseException as error:
            os.close(ours)
            if isinstance(error, OSError):
                what = f"{self.program} cannot be started: {error.strerror}"
                raise SimulatorUnavailable(what) from error
            raise
        finally:
            os.close(theirs)
        self._processes.append(_Process(child, ours))
        self.starts += 1
        self._mark, self._commands = f"archgym-{secrets.token_hex(8)}", 0
        seconds = max(START_S, self.timeout_s)
        try:
            self._ask("version", seconds)
        except ArchGymError as error:
            raise SimulatorUnavailable(f"{self.program} does not start: {error}") from error
        for command in self.setup:
            if problem := printed_error(self._ask(command, seconds)):
                _end(self._processes)
                raise ArchGymError(f"ABC's {command!r} failed: {problem}")

    def _ask(self, command: str, seconds: float) -> str:
        process = self._processes[0]
        self._commands += 1
        words = self._mark, str(self._commands)
        mark = " ".join(words).encode()
        until, answer = time.monotonic() + seconds, bytearray()
        try:
            # a prompt may repeat the command, in which the mark has two blanks
            process.write(f"{command}\necho {'  '.join(words)}\n".encode())
            while (end := answer.find(mark)) < 0:
                answer += process.read(until)
                if len(answer) > OUTPUT:
                    raise ArchGymError(f"ABC's {command!r} printed more than {OUTPUT >> 20} MiB")
        except TimeoutError:
            _end(self._processes)
            raise ArchGymError(
                f"ABC's {command!r} took longer than {seconds:g} s: raise timeout_s if the circuit needs it"
            ) from None
        except EOFError:
            ending = process.child.end()
            _end(self._processes)
            kind = Killed if ending.killed else ArchGymError
            raise kind(f"ABC {ending} in {command!r}") from None
        except BaseException:
            _end(self._processes)
            raise
        return _COLOUR.sub("", answer[:end].decode(errors="replace"))


class _Process(NamedTuple):
    """A process, and the descriptor of the terminal that it prints to."""

    child: Child
    terminal: int

    def write(self, text: bytes) -> None:
        assert self.child.popen.stdin is not None
        try:
            self.child.popen.stdin.write(text)
        except BrokenPipeError:
            raise EOFError from None

    def read(self, until: float) -> bytes:
        """What it prints next; TimeoutError after a time, EOFError where it has ended."""
        ends: list[Any] = [self.terminal, self.child]
        ready = wait(ends, max(until - time.monotonic(), 0))
        if not ready:
            raise TimeoutError
        try:
            part = os.read(self.terminal, 1 << 16) if self.terminal in ready else b""
        except OSError:  # Linux's end of a terminal
            part = b""
        if not part:
            raise EOFError
        return part


def _end(processes: list[_Process]) -> None:
    while processes:
        child, terminal = processes.pop()
        child.end()
        os.close(terminal)
        if child.popen.stdin is not None:
            child.popen.stdin.close()


def _release(processes: list[_Process], folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a fork leaves its parent's process and folder alone
        _end(processes)
        shutil.rmtree(folder, ignore_errors=True)


def printed_error(answer: str) -> str:
    """The lines of an answer that report an error, in one; "" where there is none."""
    return last_words("\n".join(line for line in answer.splitlines() if _ERROR.search(line)), lines=2)


_ERROR = re.compile(
    r"error|empty network|cannot|not found|unknown command|failed|wrong|not available", re.IGNORECASE
)


def _make_folder() -> Path:
    """A new folder for circuits on their way, in memory where the system has such a place; folders of killed
    processes are removed.
    """
    place = "/dev/shm"
    if not (os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)):
        place = tempfile.gettempdir()
    for abandoned in Path(place).glob(f"{FOLDER}*"):
        with suppress(OSError):  # gone, or another user's
            old = time.time() - (abandoned / LOCK).lstat().st_mtime > 60  # not one that is just being made
            if old and (lock := _locked(abandoned / LOCK)) is not None:
                shutil.rmtree(abandoned, ignore_errors=True)
                lock.close()
    return Path(tempfile.mkdtemp(prefix=FOLDER, dir=place))


def _locked(path: Path) -> BinaryIO | None:
    """A file that this process has locked; None where another has."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    file = os.fdopen(descriptor, "r+b")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        file.close()
        return None
    return file
