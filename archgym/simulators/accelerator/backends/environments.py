"""Virtual environments of backends, under `$ARCHGYM_HOME/backends`: one each, complete or not there.

What is installed is in `locks/NAME.txt`: the tool and all that it needs, each in one version and with the hashes of its files. pip takes
nothing else, and wheels alone, so that no package runs code while it is installed.

An environment cannot be built elsewhere and moved, since it names its own place. So what makes it complete is a file that is written
last, with the packages that it holds; one without that file, or made of another lock, is made again from nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archgym.errors import ArchGymError, SimulatorUnavailable, unknown
from archgym.files.paths import data_folder, make_folder, write_atomically
from archgym.processes.children import Child, last_words
from archgym.progress import Progress
from archgym.simulators.accelerator.backends.session import Session

MARKER = "archgym.json"
LOCKS = Path(__file__).with_name("locks")
LAST_LINES = 8  # of pip's output, in an error


@dataclass(frozen=True)
class Backend:
    """A simulator that pip installs.

    Attributes:
        tool: package and version, one of those in its lock.
        gives: reported metrics, in words.
        seconds_per_layer: time of a typical new matrix multiplication, seconds.
        dataflows: those of the design space that it simulates.
    """

    tool: str
    gives: str
    seconds_per_layer: str
    dataflows: str

    @property
    def version(self) -> str:
        """Version of the tool."""
        return self.tool.partition("==")[2]


BACKENDS = {
    "scalesim": Backend(
        "scalesim==3.0.0",
        gives="cycles without stalls, utilization",
        seconds_per_layer="0.05 to 10 s",
        dataflows="systolic_ws, systolic_os, systolic_is",
    ),
    "zigzag": Backend(
        "zigzag-dse==3.9.1",
        gives="cycles, energy, off-chip traffic, utilization",
        seconds_per_layer="0.2 s",
        dataflows="nvdla, systolic_ws",
    ),
}


def install(name: str, *, tell: Progress | None = None) -> Path:
    """Make the environment of a backend, unless it is there; its folder.

    Args:
        name: a key of `BACKENDS`.
        tell: progress.

    Raises:
        ArchGymError: an unknown backend; the environment cannot be made; pip fails; the tool does not start. Nothing is left then.
    """
    from filelock import FileLock

    _backend(name)
    place = _place(name)
    make_folder(place.parent)
    with FileLock(f"{place}.lock"):
        if not _complete(name):
            try:
                _build(name, place, tell or (lambda what, share: None))
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
    return place


def _build(name: str, place: Path, tell: Progress) -> None:
    """An environment from nothing, its marker last."""
    tool, python = BACKENDS[name].tool, _python(place)
    tell("making an environment", 0.0)
    _run([sys.executable, "-m", "venv", "--clear", str(place)], f"cannot make an environment for {name} in {place}")
    collected = 0

    def progress(line: str) -> None:
        nonlocal collected
        word, _, what = line.partition(" ")
        if word == "Collecting" and what:
            collected += 1
            tell(f"downloading {what.split()[0]}", 0.1 + 0.6 * (1 - 0.95**collected))
        elif word == "Installing":
            tell("installing", 0.7)

    pip = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    locked = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(_lock(name))]  # the lock names all that is needed
    _run([*pip, "install", "--progress-bar", "off", *locked], f"pip cannot install {tool}", progress)
    tell("starting it", 0.9)
    Session(python, name).close()  # a tool that cannot be imported is noticed here
    packages = _run([*pip, "freeze"], "pip cannot list what it installed")
    marker = json.dumps({"lock": lock_digest(name), "packages": packages}, indent=1).encode()
    write_atomically(place / MARKER, marker)
    tell("installed", 1.0)


def python_of(name: str) -> Path:
    """The Python that has a backend.

    Raises:
        ArchGymError: an unknown backend.
        SimulatorUnavailable: one that is not installed; says how to install it.
    """
    backend = _backend(name)
    if not _complete(name):
        raise SimulatorUnavailable(f"{name} {backend.version} is not installed: run `archgym backends install {name}`")
    return _python(_place(name))


def installed(name: str) -> bool:
    """Whether a backend can be used.

    Raises:
        ArchGymError: an unknown backend.
    """
    _backend(name)
    return _complete(name)


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return BACKENDS[name]


def _lock(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def lock_digest(name: str) -> str:
    """A hash of the packages to install."""
    return hashlib.sha256(_lock(name).read_bytes()).hexdigest()


def _place(name: str) -> Path:
    return data_folder("backends", name).absolute()


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _complete(name: str) -> bool:
    place = _place(name)
    with suppress(OSError, ValueError, TypeError, KeyError):
        return bool(json.loads((place / MARKER).read_text())["lock"] == lock_digest(name)) and _python(place).exists()
    return False


def _run(command: Sequence[str], otherwise: str, hear: Callable[[str], None] = lambda line: None) -> list[str]:
    """Run a program, its output line by line to `hear`; all lines.

    Raises:
        ArchGymError: it fails; the message is `otherwise`, and the last lines.
    """
    process = Child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    try:
        with process.popen.stdout as output:  # type: ignore[union-attr]  # a pipe
            for line in output:
                lines.append(line.rstrip())
                hear(line.strip())
        process.wait()
    finally:
        ending = process.end()
    if ending.errno or ending.code:
        text = "\n".join(lines)
        raise ArchGymError(f"{otherwise}: it {ending}: {last_words(text, LAST_LINES)}")
    return lines
