"""Where archgym keeps what it computes for a user: `$ARCHGYM_HOME`, or `~/.archgym`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from archgym.errors import ArchGymError


def data_folder(*parts: str) -> Path:
    """A folder of the user's data, not created until something is written there."""
    return Path(os.environ.get("ARCHGYM_HOME") or Path.home() / ".archgym").joinpath(*parts)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path as a Path, if a file can be written there; nothing is left behind.

    Raises:
        ArchGymError: it is a folder, its folder does not exist, or permission is missing.
    """
    target = Path(path).expanduser()
    if target.is_dir():
        raise ArchGymError(f"cannot write {target}: it is a folder")
    if not target.parent.is_dir():
        raise ArchGymError(f"cannot write {target}: the folder {target.parent} does not exist")
    probe = target.with_name(f".{target.name}.{os.getpid()}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ArchGymError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Write a file so that a reader sees all of it or none: temporary name in the same folder, fsync, rename.

    Raises:
        ArchGymError: the path cannot be written; nothing is left behind.
    """
    target = check_writable(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise ArchGymError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target
