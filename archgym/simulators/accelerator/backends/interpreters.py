"""A Python that a backend's environment can be made from.

In this order: the one that `ARCHGYM_PYTHON` names (a path or a command), the running one, python3.12,
python3.13 and so on along PATH, those of pyenv, and the one that `uv python find` reports. Each is started
once, since pyenv's stand-ins on PATH fail without a chosen version, and some systems package Python without
`ensurepip`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from archgym.errors import ArchGymError

VARIABLE = "ARCHGYM_PYTHON"
NEWEST = 14  # minor version up to which commands are looked for
STARTING_S = 20.0  # limit on starting a candidate
REPORT = "import ensurepip, sys, venv; print(*sys.version_info[:2])"

Version = tuple[int, int]


def find_python(oldest: Version, tool: str) -> str:
    """The executable of a Python that can make virtual environments.

    Args:
        oldest: oldest version, e.g. (3, 12).
        tool: the backend's name, for the error.

    Raises:
        ArchGymError: there is none, or `ARCHGYM_PYTHON` names one that is too old or does not start.
    """
    wanted, chosen = ".".join(map(str, oldest)), os.environ.get(VARIABLE)
    if chosen:
        version = _version(chosen)
        if version is None or version < oldest:
            found = "does not start" if version is None else f"is Python {version[0]}.{version[1]}"
            raise ArchGymError(
                f"{tool} needs Python {wanted} or later, and {VARIABLE}={chosen} {found}: name another"
            )
        return chosen
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for candidate in _candidates(oldest):
        version = _version(candidate)
        if version is not None and version >= oldest:
            return candidate
    this = ".".join(map(str, sys.version_info[:2]))
    raise ArchGymError(
        f"{tool} needs Python {wanted} or later; this is {this}, and PATH, pyenv and uv have none: install "
        f"one (uv python install {wanted}, or pyenv install {wanted}), or set {VARIABLE} to its path"
    )


def _candidates(oldest: Version) -> Iterator[str]:
    """Executables that may be suitable, older versions first since wheels for them exist longer."""
    minors = range(oldest[1], max(NEWEST, oldest[1]) + 1)
    for minor in minors:
        if command := shutil.which(f"python3.{minor}"):
            yield command
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in minors:
        for place in sorted(versions.glob(f"3.{minor}*"), reverse=True):
            yield str(place / "bin" / f"python3.{minor}")
    if uv := shutil.which("uv"):
        words = [uv, "python", "find", "--no-python-downloads", f">={oldest[0]}.{oldest[1]}"]
        yield _output(words).strip()


def _version(python: str) -> Version | None:
    """The version of an executable, None if it does not start or cannot make environments."""
    words = _output([python, "-I", "-c", REPORT]).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdigit, words)) else None


def _output(command: list[str]) -> str:
    """What a command prints, "" if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=STARTING_S)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
