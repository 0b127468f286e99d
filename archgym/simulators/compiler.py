"""C compiled to shared libraries on the user's machine: finds a compiler that works, and keeps its libraries.

Only enumerated options reach a compiler, as a list of arguments and never through a shell. A library appears
in the folder whole or not at all, under a hash of its sources, options and compiler, so that any number of
processes may share the folder.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

from archgym.errors import ArchGymError, unknown
from archgym.files.paths import data_folder
from archgym.processes.children import run
from archgym.words import one_line

ENGINES = ("auto", "c", "python")
TIMEOUT_S = 60.0  # time limit of one library, which takes about 0.2 s
X86 = platform.machine().lower() in ("x86_64", "amd64")

# GCC's names, which Clang takes too; vector code is written out, and sums are added in the order written
OPTIONS = [
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"),
    *(
        "-fno-tree-vectorize",
        "-fno-tree-slp-vectorize",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-sanitize=all",
    ),
]
# not this machine's own, so that kept libraries stay valid
BASELINES = [["-march=x86-64"], ["-mcpu=x86_64"]] if X86 else [[]]


class CompilerError(ArchGymError):
    """No compiler works here, or one did not compile a source."""


class CompilerTimeout(CompilerError):
    """A compiler took too long."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that has made a library. Made by `find_compiler`.

    Attributes:
        command: words of the command line.
        version: first line of its `--version`.
        folder: folder of the libraries.
        baseline: options for code that all processors of the architecture run.
        timeout_s: time limit of one library, seconds.
    """

    identity: ClassVar[str] = "archgym.simulators.softmax.compiler:Compiler"

    command: tuple[str, ...]
    version: str
    folder: Path
    baseline: tuple[str, ...] = ()
    timeout_s: float = field(default_factory=lambda: TIMEOUT_S)

    def build(self, source: Path, options: Sequence[str] = ()) -> Path:
        """The shared library of one of our C files, compiled unless the folder has it whole.

        Args:
            source: the file; others in its folder count as parts of it.
            options: further words for the compiler.

        Raises:
            CompilerError: the compiler failed or took longer than `timeout_s`, or the folder cannot be
                written.
        """
        words = [*OPTIONS, *self.baseline, *options]
        stem = f"{source.stem}-{_digest(sources_digest(source.parent), self.version, *words)}"
        for library in self.folder.glob(f"{stem}-*.so"):
            if library.stem == f"{stem}-{_content(library)}":  # loading half a library can end the process
                return library
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{stem}-", suffix=".so", dir=self.folder)
            os.close(handle)
        except OSError as error:
            raise CompilerError(
                f"cannot keep compiled kernels in {self.folder} ({error.strerror}); set ARCHGYM_HOME to a "
                "folder that can be written"
            ) from error
        try:
            _run(
                [*self.command, *words, str(source), "-o", temporary, "-lm", "-lpthread"],
                self.timeout_s,
            )
            target = self.folder / f"{stem}-{_content(Path(temporary))}.so"
            os.replace(temporary, target)
        except OSError as error:
            raise CompilerError(
                f"cannot keep a compiled kernel in {self.folder}: {error.strerror}"
            ) from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return target

    def load(self, source: Path, functions: Sequence[str], options: Sequence[str] = ()) -> ctypes.CDLL:
        """The library of `build`, loaded.

        Args:
            source, options: arguments of `build`.
            functions: names of functions that the library must have.

        Raises:
            CompilerError: `build` fails, or the compiler's output is not a library with these functions.
        """
        path = self.build(source, options)
        try:
            library = ctypes.CDLL(str(path))
            for name in functions:
                getattr(library, name)
        except (OSError, AttributeError) as error:
            path.unlink(missing_ok=True)
            raise CompilerError(
                f"the library that {_name(self.command)} made of {source.name} cannot be used: "
                f"{one_line(str(error))}"
            ) from error
        return library


def find_compiler(source: Path, functions: Sequence[str], folder: Path | None = None) -> Compiler:
    """The first compiler that makes a library of a C file: $CC where it is set, else the first of cc, gcc,
    clang and ziglang.

    Args:
        source: the file.
        functions: names of functions that the library must have.
        folder: folder of the libraries; default: `kernels` in archgym's data folder, or a temporary folder,
            with a warning, where that cannot be written.

    Raises:
        CompilerError: no compiler works; the message has the reason of each.
    """
    folder = _writable(data_folder("kernels")) if folder is None else folder
    refusals = []
    for command in _candidates():
        try:
            return _working(tuple(command), folder, source, functions)
        except CompilerError as error:
            refusals.append(str(error))
    if os.environ.get("CC", "").strip():
        advice = "correct or unset CC"
    else:
        advice = "install gcc or clang, or `pip install 'archgym[compiler]'`, which brings one"
    reasons = "; ".join(refusals) or "found none of cc, gcc, clang, ziglang"
    raise CompilerError(f"no C compiler works here ({reasons}): {advice}")


def _working(command: tuple[str, ...], folder: Path, source: Path, functions: Sequence[str]) -> Compiler:
    """The compiler of a command, after it has made a library.

    Raises:
        CompilerError: it has not.
    """
    lines = _run([*command, "--version"], TIMEOUT_S).splitlines()
    version = f"{' '.join(command[1:])} {lines[0] if lines else ''}".strip()
    *others, last = [Compiler(command, version, folder, tuple(baseline)) for baseline in BASELINES]
    for compiler in others:
        try:
            compiler.load(source, functions)
            return compiler
        except CompilerTimeout:
            raise
        except CompilerError:
            pass  # the next baseline may have the option's name right
    last.load(source, functions)
    return last


def _candidates() -> Iterator[list[str]]:
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        try:
            yield shlex.split(chosen)
        except ValueError as error:
            raise CompilerError(
                f"CC={chosen} cannot be parsed as a command ({error}): correct or unset CC"
            ) from error
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
        CompilerError: it cannot be started, fails, or takes too long (then it is killed with all that it
            started).
    """
    name = _name(command)
    try:
        ending = run(command, timeout_s)
    except OSError as error:
        raise CompilerError(f"{name} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise CompilerTimeout(f"{name} was killed after {timeout_s:g} s") from None
    if ending.code:
        lines = (
            [line for line in ending.text.splitlines() if "error" in line.lower()]
            or ending.text.splitlines()
            or ["no message"]
        )
        raise CompilerError(f"{name} {ending}: {one_line(lines[0])}")
    return ending.text


def choose_engine(what: str, engine: str, load: Callable[[], object]) -> str:
    """The form of a simulator that runs here, "c" or "python".

    Args:
        what: name of the simulator's class.
        engine: "c", "python", or "auto" for the first that works.
        load: function that loads the compiled form.

    Raises:
        ArchGymError: another engine.
        CompilerError: engine "c" where no C compiler works.
    """
    if engine not in ENGINES:
        raise unknown(f"engine of {what}", engine, ENGINES)
    if engine == "python":
        return engine
    try:
        load()
    except CompilerError:
        if engine == "c":
            raise
        return "python"
    return "c"


def _name(command: Sequence[str]) -> str:
    return " ".join(command[: 4 if "-m" in command[:2] else 1])


@cache
def sources_digest(folder: Path) -> str:
    """A hash of the C code in a folder."""
    content = b"".join(
        path.name.encode() + b"\0" + path.read_bytes() for path in sorted(folder.glob("*.[ch]"))
    )
    return hashlib.sha256(content).hexdigest()[:16]


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


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
            f"cannot write to {folder} ({error.strerror}), so compiled kernels go to {other} and are not "
            "found again; set ARCHGYM_HOME to a folder that can be written",
            stacklevel=3,
        )
        return other
