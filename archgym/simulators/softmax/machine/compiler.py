"""C to shared libraries on the user's machine: finds a compiler that works, and keeps what it made under a hash of its content.

Only enumerated options reach a compiler, as a list of arguments and never through a shell. A library appears in the folder whole or
not at all, under a hash of its sources, options and compiler, so that any number of processes may share the folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

from archgym.errors import ArchGymError
from archgym.files.paths import data_folder
from archgym.processes.children import run
from archgym.text import one_line

SOURCES = Path(__file__).parent / "c"
HARNESS = ("run", "measure", "pin")  # functions of harness.c
TIMEOUT_S = 60.0  # for one library, which takes about 0.4 s
X86 = platform.machine().lower() in ("x86_64", "amd64")

OPTIONS = [  # GCC's names, which Clang takes too; vector code is written out, and sums are added in the order written
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all"),
]
BASELINES = [["-march=x86-64"], ["-mcpu=x86_64"]] if X86 else [[]]  # not the machine at hand, so that a kept library stays valid; Zig's


class CompilerError(ArchGymError):
    """No compiler works here, or one did not compile a source."""


class CompilerTimeout(CompilerError):
    """A compiler took too long."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that has been seen to work. Made by `find_compiler`.

    Attributes:
        command: the words it is started with.
        version: the first line of what it says of itself.
        folder: where libraries are kept.
        baseline: how it is told to assume no more than the processors of a kind have in common.
        timeout_s: for one library.
    """

    identity: ClassVar[str] = "archgym.simulators.softmax.compiler:Compiler"

    command: tuple[str, ...]
    version: str
    folder: Path
    baseline: tuple[str, ...] = ()
    timeout_s: float = field(default_factory=lambda: TIMEOUT_S)

    def build(self, source: str, options: Sequence[str] = ()) -> Path:
        """The shared library of one of our C files, compiled unless it is there and whole.

        Args:
            source: its name in `kernels/`.
            options: further words for the compiler.

        Raises:
            CompilerError: it failed, took longer than `timeout_s`, or the folder cannot be written.
        """
        words = [*OPTIONS, *self.baseline, *options]
        stem = f"{Path(source).stem}-{_digest(self.version, *words)}"
        for kept in self.folder.glob(f"{stem}-*.so"):
            if kept.stem == f"{stem}-{_content(kept)}":  # to load half a library can end the process
                return kept
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{stem}-", suffix=".so", dir=self.folder)
            os.close(handle)
        except OSError as error:
            raise CompilerError(
                f"cannot keep compiled kernels in {self.folder} ({error.strerror}); set ARCHGYM_HOME to a folder that can be written"
            ) from error
        try:
            _run([*self.command, *words, str(SOURCES / source), "-o", temporary, "-lm", "-lpthread"], self.timeout_s)
            target = self.folder / f"{stem}-{_content(Path(temporary))}.so"
            os.replace(temporary, target)
        except OSError as error:
            raise CompilerError(f"cannot keep a compiled kernel in {self.folder}: {error.strerror}") from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return target

    def load(self, source: str, options: Sequence[str] = (), functions: Sequence[str] = HARNESS) -> ctypes.CDLL:
        """The library of `build`, loaded.

        Args:
            source, options: as of `build`.
            functions: names of its functions.

        Raises:
            CompilerError: as of `build`; or the compiler's output is not a library with the functions.
        """
        path = self.build(source, options)
        try:
            library = ctypes.CDLL(str(path))
            for name in functions:
                getattr(library, name)
        except (OSError, AttributeError) as error:
            path.unlink(missing_ok=True)
            raise CompilerError(f"what {_name(self.command)} made of {source} cannot be used: {one_line(str(error))}") from error
        return library


def find_compiler(folder: Path | None = None) -> Compiler:
    """The first compiler that makes our code into a library: $CC (and nothing else, where it is set), cc, gcc, clang, ziglang.

    Args:
        folder: where libraries are kept; default: `kernels` in archgym's data folder, or a temporary folder, with a warning, where
            that cannot be written.

    Raises:
        CompilerError: none works; the message says what each said.
    """
    folder = _writable(data_folder("kernels")) if folder is None else folder
    refusals = []
    for command in _candidates():
        try:
            return _working(tuple(command), folder)
        except CompilerError as error:
            refusals.append(str(error))
    if os.environ.get("CC", "").strip():
        advice = "correct or unset CC"
    else:
        advice = "install gcc or clang, or `pip install 'archgym[compiler]'`, which brings one"
    raise CompilerError(
        f"measuring needs a C compiler and none works here ({'; '.join(refusals) or 'found none of cc, gcc, clang, ziglang'}): "
        f"{advice}; the cost model, backend='model', needs none"
    )


def _working(command: tuple[str, ...], folder: Path) -> Compiler:
    """A compiler that made a library for us.

    Raises:
        CompilerError: it does not.
    """
    lines = _run([*command, "--version"], TIMEOUT_S).splitlines()
    version = f"{' '.join(command[1:])} {lines[0] if lines else ''}".strip()
    *others, last = [Compiler(command, version, folder, tuple(baseline)) for baseline in BASELINES]
    for compiler in others:
        try:
            compiler.load("harness.c")
            return compiler
        except CompilerTimeout:
            raise
        except CompilerError:
            pass  # it may want to be told in another way
    last.load("harness.c")
    return last


def _candidates() -> Iterator[list[str]]:
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        try:
            yield shlex.split(chosen)
        except ValueError as error:
            raise CompilerError(f"CC={chosen} cannot be parsed as a command ({error}): correct or unset CC") from error
        return
    yield from ([name] for name in ("cc", "gcc", "clang") if shutil.which(name))
    try:
        import ziglang  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return
    yield [sys.executable, "-m", "ziglang", "cc"]


def _run(command: Sequence[str], timeout_s: float) -> str:
    """What a command printed.

    Raises:
        CompilerError: it cannot be started, fails, or takes too long (then it is killed with all that it started).
    """
    name = _name(command)
    try:
        ending = run(command, timeout_s)
    except OSError as error:
        raise CompilerError(f"{name} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CompilerTimeout(f"{name} was killed after {timeout_s:g} s") from None
    if ending.code:
        lines = [line for line in ending.text.splitlines() if "error" in line.lower()] or ending.text.splitlines() or ["no message"]
        raise CompilerError(f"{name} {ending}: {one_line(lines[0])}")
    return ending.text


def _name(command: Sequence[str]) -> str:
    return " ".join(command[: 4 if "-m" in command[:2] else 1])


@cache
def sources_digest() -> str:
    """A hash of all our C code."""
    content = b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]")))
    return hashlib.sha256(content).hexdigest()[:16]


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join([sources_digest(), *words]).encode()).hexdigest()[:16]


def _content(path: Path) -> str:
    """A hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _writable(folder: Path) -> Path:
    """The folder; or, with a warning, a temporary one where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        other = Path(tempfile.mkdtemp(prefix="archgym-kernels-"))
        warnings.warn(
            f"cannot write to {folder} ({error.strerror}), so compiled kernels lie in {other} and are not found again; "
            "set ARCHGYM_HOME to a folder that can be written",
            stacklevel=3,
        )
        return other
