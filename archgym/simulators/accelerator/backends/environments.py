"""Virtual environments of backends, one each, in `$ARCHGYM_HOME/backends`.

`locks/NAME.txt` lists the tool and its requirements with versions and hashes of files. pip installs these
alone, and only wheels, so that no package runs code during the installation.

An environment is made from the Python that `interpreters.find_python` finds: most often the running one.
It contains its own path and cannot be built elsewhere and moved. The marker, written last, makes
it complete: an environment without it, or of a different lock, is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError, SimulatorUnavailable, unknown
from archgym.files.paths import data_folder, make_folder, write_atomically
from archgym.processes.children import Child, last_words
from archgym.progress import Progress, silent
from archgym.simulators.accelerator.backends.interpreters import Version, find_python
from archgym.simulators.accelerator.backends.session import Session

MARKER = "archgym.json"
LOCKS = Path(__file__).with_name("locks")
LAST_LINES = 8  # lines of pip's output in an error


@dataclass(frozen=True)
class Backend:
    """A simulator that pip installs.

    Attributes:
        tool: package and version, as in its lock.
        gives: reported metrics, in words.
        seconds_per_layer: typical time of a new matrix multiplication, in words.
        dataflows: simulated dataflows of the design space, in words.
        python: oldest Python that it runs under.
    """

    tool: str
    gives: str
    seconds_per_layer: str
    dataflows: str
    python: Version = (3, 11)

    @property
    def version(self) -> str:
        """Version of the tool."""
        return self.tool.partition("==")[2]


BACKENDS = {
    "accelforge": Backend(
        "accelforge==1.0.467",
        gives="cycles, energy, off-chip traffic, utilization",
        seconds_per_layer="0.5 to 2 s",
        dataflows="nvdla, systolic_ws, systolic_os, systolic_is",
        python=(3, 12),
    ),
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


@renamed(tell="progress")
def install(name: str, *, progress: Progress = silent) -> Path:
    """Make the environment of a backend unless it exists; its folder.

    Args:
        name: name in `BACKENDS`.
        progress: function of (current step, share done).

    Raises:
        ArchGymError: an unknown backend, or an environment that cannot be made; a part of one is removed.
    """
    from filelock import FileLock

    _backend(name)
    place = _place(name)
    make_folder(place.parent)
    with FileLock(f"{place}.lock"):
        if not installed(name):
            try:
                _build(name, place, progress)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
    return place


def _build(name: str, place: Path, progress: Progress) -> None:
    """Make an environment."""
    backend, python = BACKENDS[name], _python(place)
    progress("making an environment", 0.0)
    _run(
        [find_python(backend.python, name), "-m", "venv", "--clear", str(place)],
        f"cannot make an environment for {name} in {place}",
    )
    collected = 0

    def read(line: str) -> None:
        nonlocal collected
        word, _, what = line.partition(" ")
        if word == "Collecting" and what:
            collected += 1
            progress(f"downloading {what.split()[0]}", 0.1 + 0.6 * (1 - 0.95**collected))
        elif word == "Installing":
            progress("installing", 0.7)

    pip = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    locked = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(_lock(name))]
    _run([*pip, "install", "--progress-bar", "off", *locked], f"pip cannot install {backend.tool}", read)
    progress("starting it", 0.9)
    Session(python, name).close()  # checks that the tool can be imported
    packages = _run([*pip, "freeze"], "pip cannot list what it installed")
    marker = json.dumps({"lock": lock_digest(name), "packages": packages}, indent=1).encode()
    write_atomically(place / MARKER, marker)
    progress("installed", 1.0)


def python_of(name: str) -> Path:
    """The Python executable of a backend.

    Raises:
        ArchGymError: an unknown backend.
        SimulatorUnavailable: a backend that is not installed.
    """
    backend = _backend(name)
    if not installed(name):
        raise SimulatorUnavailable(
            f"{name} {backend.version} is not installed: run `archgym backends install {name}`"
        )
    return _python(_place(name))


def installed(name: str) -> bool:
    """Whether a backend is installed.

    Raises:
        ArchGymError: an unknown backend.
    """
    _backend(name)
    place = _place(name)
    with suppress(OSError, ValueError, TypeError, KeyError):
        return (
            bool(json.loads((place / MARKER).read_text())["lock"] == lock_digest(name))
            and _python(place).exists()
        )
    return False


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return BACKENDS[name]


def _lock(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def lock_digest(name: str) -> str:
    """A hash of the lock."""
    return hashlib.sha256(_lock(name).read_bytes()).hexdigest()


def _place(name: str) -> Path:
    return data_folder("backends", name).absolute()


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: Sequence[str], failure: str, read: Callable[[str], None] = lambda line: None) -> list[str]:
    """Run a program and pass each line of its output to `read`; all lines.

    Raises:
        ArchGymError: it fails; the message is `failure`, and the last lines.
    """
    process = Child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    try:
        with process.popen.stdout as output:  # type: ignore[union-attr]  # a pipe
            for line in output:
                lines.append(line.rstrip())
                read(line.strip())
        process.wait()
    finally:
        ending = process.end()
    if ending.errno or ending.code:
        text = "\n".join(lines)
        raise ArchGymError(f"{failure}: it {ending}: {last_words(text, LAST_LINES)}")
    return lines
