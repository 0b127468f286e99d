"""Where archgym keeps what it computes for a user (`$ARCHGYM_HOME`, or `~/.archgym`), and how it reads and writes files.

Others may have prepared the folder that a file goes to: any name in it may be a link to a file elsewhere, a FIFO or a device. So content
is written to a new file, made exclusively under a random name, which then takes the place of whatever has the target's name: a link is
replaced, and what it points to stays as it is. Folders that archgym makes within a folder of the user's are never entered through a link.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from archgym.errors import ArchGymError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]+\.tmp")  # of ours; a process id stands where newer versions have a random number
_KINDS = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISREG, ""))
_FOREIGN = {  # how files begin that are no data themselves, in small letters
    b"version https://git-lfs": "a git-lfs pointer, not the data: run git lfs pull where it was cloned, or download it",
    **dict.fromkeys((b"<!doctype html", b"<html"), "a web page, not the data: download the file itself"),
    b"pk\x03\x04": "a zip archive: unpack it first",
    b"\x1f\x8b": "a gzip file: unpack it first",
    b"bzh": "a bzip2 file: unpack it first",
    b"\xfd7zxz": "an xz file: unpack it first",
    b"(\xb5/\xfd": "a zstandard file: unpack it first",
    b"\x89hdf": "an HDF5 file",
    b"par1": "a Parquet file",
    b"\x93numpy": "an array of NumPy",
}
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_BINARY", 0)


def data_folder(*parts: str) -> Path:
    """A folder of the user's data, not created until something is written there."""
    return Path(os.environ.get("ARCHGYM_HOME") or Path.home() / ".archgym").joinpath(*parts)


def make_folder(path: str | os.PathLike[str], *, within: Path | None = None) -> Path:
    """Make a folder and those above it, where they are not there.

    Args:
        path: the folder.
        within: a folder of the user's; no name below it may be a link.

    Raises:
        ArchGymError: it cannot be made, or something else has its name.
    """
    target = Path(path).expanduser()
    place = within or target
    try:
        place.mkdir(parents=True, exist_ok=True)
        for part in target.relative_to(place).parts:
            place /= part
            with suppress(FileExistsError):
                place.mkdir()
            check_own_folder(place)
    except OSError as error:
        raise ArchGymError(f"cannot make the folder {target}: {in_words(error)}{_remedy(target, error)}") from error
    return target


def check_folder(path: Path) -> None:
    """Refuse, before hours of work, a folder of the user's data that cannot be made, or written to.

    Raises:
        ArchGymError: the folder cannot be made or written to.
    """
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    try:
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is not a folder")
        with _temporary(nearest / path.name):
            pass
    except OSError as error:
        raise ArchGymError(f"cannot write to {path}: {in_words(error)}{_remedy(path, error)}") from error


def check_own_folder(path: Path) -> None:
    """Refuse a link, or anything else, in the place of a folder of ours.

    Raises:
        ArchGymError: it is none; nothing is said where nothing has the name.
    """
    kind = kind_of(path)
    if kind not in (None, "a folder"):
        raise ArchGymError(f"{path} is {kind or 'a file'}, where archgym keeps a folder of its own: remove it, or give another folder")


def check_own_file(path: Path) -> None:
    """Refuse a link, a FIFO or the like in the place of a file of ours that is opened where it is, rather than replaced.

    Raises:
        ArchGymError: it is one; nothing is said where nothing has the name.
    """
    kind = kind_of(path)
    if kind == "" and os.lstat(path).st_nlink > 1:
        kind = "a file with a second name (a hard link)"
    if kind:
        raise ArchGymError(f"{path} is {kind}, where archgym keeps a file of its own: remove it, or give another folder")


def kind_of(path: str | os.PathLike[str], *, follow: bool = False) -> str | None:
    """What has this name: "" for a regular file, "a link", "a folder", "a FIFO", ...; None where nothing has it.

    Args:
        path: the name.
        follow: tell of what a link points to instead.
    """
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a device")


def open_regular(path: str | os.PathLike[str], *, follow: bool = False) -> BinaryIO:
    """Open a file for reading, without waiting for the other end of a FIFO.

    Args:
        path: the file.
        follow: take a link to a file, as for a path that the user gave.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if kind := kind_of(path, follow=follow):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")
    descriptor = os.open(path, _READ | (0 if follow else _NO_LINK))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was put there in between
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return os.fdopen(descriptor, "rb")


def foreign(head: bytes) -> str:
    """What a file that begins so is and what to do, if it is a pointer, a web page or packed: "a gzip file: unpack it first"; else ""."""
    return next((kind for start, kind in _FOREIGN.items() if head.lower().startswith(start)), "")


def refuse_foreign(path: str | os.PathLike[str], *ours: bytes) -> None:
    """Refuse a file that is `foreign`, before it is read as what it is not. A FIFO is not looked into.

    Args:
        path: the file.
        ours: how files of the kind that is expected begin.

    Raises:
        ArchGymError: it is foreign.
        OSError: it cannot be read.
    """
    if kind_of(path, follow=True) == "":
        with open_regular(path, follow=True) as file:
            head = file.read(32)
        if not head.startswith(ours) and (kind := foreign(head)):
            raise ArchGymError(f"{os.fspath(path)} is {kind}")


def check_readable(path: Path, what: str) -> None:
    """Refuse anything but a file, and one that is `foreign`, before it is opened.

    Args:
        path: the file.
        what: its role in the message, such as "the workload".

    Raises:
        ArchGymError: it is refused.
        OSError: it cannot be read.
    """
    place = path.expanduser()
    if place.exists() and not place.is_file():
        raise ArchGymError(f"cannot read {what} {str(place)!r}: it is not a file")
    refuse_foreign(place)


def in_words(error: BaseException) -> str:
    """Why a file could not be written: "the disk is full", or what the system says."""
    found = system_error(error)
    if found is None:
        return str(error)
    return "the disk is full" if is_full(found) else found.strerror or str(found)


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    found = system_error(error)
    return found is not None and found.errno in (errno.ENOSPC, errno.EDQUOT)


def system_error(error: BaseException | None) -> OSError | None:
    """The error of the system that is behind an error; libraries wrap it, or keep its number in a text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if number := re.search(r"\b(?:os error|errno:?) (\d+)", str(error), re.IGNORECASE):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or error.__context__
    return None


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path as a Path, if a file can be written there; nothing is left behind.

    Raises:
        ArchGymError: it is a folder, its folder does not exist, or permission is missing.
    """
    target = _target(path)
    with _writing(target), _temporary(target):
        return target


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object] | bytes) -> Path:
    """Write a file so that a reader sees all of it or none, and remove what killed processes left of earlier attempts.

    Args:
        path: the file.
        write: its content, or a function that writes the content.

    Raises:
        ArchGymError: the path cannot be written; nothing is left behind.
    """
    target = _target(path)
    with _writing(target):
        remove_abandoned(target.parent, target.name)
        replace(target, (lambda file: file.write(write)) if isinstance(write, bytes) else write)
    return target


def replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name in the same folder, synchronise it, and give it the target's name.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with _temporary(target) as (file, temporary):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # which renames no open file
            file.close()
        os.replace(temporary, target)


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove temporary files that no process writes any more, as far as the folder's rights allow it.

    Args:
        folder: where they are.
        name: name of the target file; by default any.
    """
    start = "." if name is None else _start(name)
    with suppress(OSError):
        for found in os.listdir(folder):
            if found.startswith(start) and _TEMPORARY.fullmatch(found) and _abandoned(folder / found):
                (folder / found).unlink(missing_ok=True)


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(path).expanduser()
    if target.is_dir():
        raise ArchGymError(f"cannot write {target}: it is a folder")
    if not target.parent.is_dir():
        raise ArchGymError(f"cannot write {target}: the folder {target.parent} does not exist")
    return target


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Errors of the system, also those that a library wraps, as one line."""
    try:
        yield
    except ArchGymError:
        raise
    except Exception as error:
        if system_error(error) is None:
            raise
        raise ArchGymError(f"cannot write {target}: {in_words(error)}{_remedy(target, error)}") from error


def _remedy(target: Path, error: BaseException) -> str:
    """What to do, where the path itself does not say it."""
    if is_full(error):
        return "; free some space and run the same command again"
    return "; set ARCHGYM_HOME to a folder that can be written" if target.is_relative_to(data_folder()) else ""


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside a target, locked as long as it is written; gone afterwards, unless it was renamed."""
    while True:
        path = target.with_name(f"{_start(target.name)}{secrets.token_hex(8)}.tmp")
        try:
            with open(os.open(path, _MAKE, 0o666), "w+b") as file:
                _lock(file.fileno(), wait=True)
                if not path.exists():  # before it was locked it looked abandoned
                    continue
                yield file, path
                return
        finally:
            path.unlink(missing_ok=True)


def _start(name: str) -> str:
    """How the names of a file's temporary files begin; a name may have 255 bytes."""
    return f".{os.fsdecode(os.fsencode(name)[:200])}."


def _abandoned(path: Path) -> bool:
    """Whether no process writes a temporary file: the lock of one that does ends with it, however it ends."""
    with suppress(OSError), open_regular(path) as file:
        return _lock(file.fileno(), wait=False)
    return False


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock a file for this process, where the file system has locks; whether it is locked now."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True
