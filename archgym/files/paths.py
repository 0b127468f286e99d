"""The user's data folder (`$ARCHGYM_HOME`, or `~/.archgym`), and safe reading and writing of files.

Other users may have prepared the folder of a file: any name in it may be a link to a file elsewhere, a FIFO
or a device. Content therefore goes to a new file, created exclusively under a random name, which then
replaces the target: a link is replaced, and its target does not change. Folders that archgym makes within a
user's folder are never entered through a link.
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

# archgym's temporary files; older versions have a process id for the random number
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]+\.tmp")
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, ""),
)
_FOREIGN = {  # first bytes of files that are not data themselves, in lower case
    b"version https://git-lfs": (
        "a git-lfs pointer, not the data: run git lfs pull where it was cloned, or download it"
    ),
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
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows lacks these
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_BINARY", 0)


def data_folder(*parts: str) -> Path:
    """A folder of the user's data, which may not exist yet."""
    return Path(os.environ.get("ARCHGYM_HOME") or Path.home() / ".archgym").joinpath(*parts)


def make_folder(path: str | os.PathLike[str], *, within: Path | None = None) -> Path:
    """Make a folder and those above it, unless they exist.

    Args:
        path: the folder.
        within: folder of the user, below which links are refused.

    Raises:
        ArchGymError: it cannot be made, or its name is taken.
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
        raise ArchGymError(
            f"cannot make the folder {target}: {in_words(error)}{_remedy(target, error)}"
        ) from error
    return target


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written to, before hours of work.

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
    """Refuse a link, or anything else but a folder, in place of a folder of archgym's.

    Raises:
        ArchGymError: the path exists and is not a folder.
    """
    kind = kind_of(path)
    if kind not in (None, "a folder"):
        raise ArchGymError(
            f"{path} is {kind or 'a file'}, where archgym keeps a folder of its own: remove it, or give "
            "another folder"
        )


def check_own_file(path: Path) -> None:
    """Refuse a link, a FIFO or a device in place of a file of archgym's that is opened rather than replaced.

    Raises:
        ArchGymError: the path exists and is not a regular file with one name.
    """
    kind = kind_of(path)
    if kind == "" and os.lstat(path).st_nlink > 1:
        kind = "a file with a second name (a hard link)"
    if kind:
        raise ArchGymError(
            f"{path} is {kind}, where archgym keeps a file of its own: remove it, or give another folder"
        )


def kind_of(path: str | os.PathLike[str], *, follow: bool = False) -> str | None:
    """The kind of a path: "" for a regular file, "a link", "a folder", "a FIFO", ...; None if it does not
    exist.

    Args:
        path: the path.
        follow: whether to follow links.
    """
    try:
        mode = os.stat(path, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a device")


def open_regular(path: str | os.PathLike[str], *, follow: bool = False) -> BinaryIO:
    """Open a file for reading, without blocking on a FIFO.

    Args:
        path: the file.
        follow: whether to follow links, as for a path from the user.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if kind := kind_of(path, follow=follow):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")
    descriptor = os.open(path, _READ | (0 if follow else _NO_LINK))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced meanwhile
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return os.fdopen(descriptor, "rb")


def foreign(head: bytes) -> str:
    """Kind and remedy of a pointer, a web page or a packed file by its first bytes ("a gzip file: unpack
    it first"); "" for others.
    """
    return next((kind for start, kind in _FOREIGN.items() if head.lower().startswith(start)), "")


def refuse_foreign(path: str | os.PathLike[str], *ours: bytes) -> None:
    """Refuse a file that is `foreign`; only regular files are opened.

    Args:
        path: the file.
        ours: first bytes of the expected kinds of files.

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
    """Refuse a path that is not a file, and a `foreign` file.

    Args:
        path: the file.
        what: role of the file in the message, such as "the workload".

    Raises:
        ArchGymError: it is refused.
        OSError: it cannot be read.
    """
    place = path.expanduser()
    if place.exists() and not place.is_file():
        raise ArchGymError(f"cannot read {what} {str(place)!r}: it is not a file")
    refuse_foreign(place)


def in_words(error: BaseException) -> str:
    """The reason of a failed write: "the disk is full", or the system's message."""
    found = system_error(error)
    if found is None:
        return str(error)
    return "the disk is full" if is_full(found) else found.strerror or str(found)


def is_full(error: BaseException) -> bool:
    """Whether the disk or the user's quota is full."""
    found = system_error(error)
    return found is not None and found.errno in (errno.ENOSPC, errno.EDQUOT)


def system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind an error: libraries wrap it, or keep its number in a text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if number := re.search(r"\b(?:os error|errno:?) (\d+)", str(error), re.IGNORECASE):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or error.__context__
    return None


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path as a Path, if a file can be written there.

    Raises:
        ArchGymError: it is a folder, its folder does not exist, or permission is missing.
    """
    target = _target(path)
    with _writing(target), _temporary(target):
        return target


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object] | bytes) -> Path:
    """Write a file so that readers see all of it or nothing, and remove temporary files of killed processes.

    Args:
        path: the file.
        write: content, or a function that writes it.

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
        if os.name == "nt":  # Windows cannot rename an open file
            file.close()
        os.replace(temporary, target)


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove temporary files without a writing process, as far as permissions allow.

    Args:
        folder: folder of the files.
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
    """Turn errors of the system, wrapped ones included, into one ArchGymError."""
    try:
        yield
    except ArchGymError:
        raise
    except Exception as error:
        if system_error(error) is None:
            raise
        raise ArchGymError(f"cannot write {target}: {in_words(error)}{_remedy(target, error)}") from error


def _remedy(target: Path, error: BaseException) -> str:
    """The remedy, where the path does not show it."""
    if is_full(error):
        return "; free some space and run the same command again"
    return (
        "; set ARCHGYM_HOME to a folder that can be written" if target.is_relative_to(data_folder()) else ""
    )


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside a target, locked while it is written; removed afterwards unless it was renamed."""
    while True:
        path = target.with_name(f"{_start(target.name)}{secrets.token_hex(8)}.tmp")
        try:
            with open(os.open(path, _MAKE, 0o666), "w+b") as file:
                _lock(file.fileno(), wait=True)
                if not path.exists():  # another process removed it before it was locked
                    continue
                yield file, path
                return
        finally:
            path.unlink(missing_ok=True)


def _start(name: str) -> str:
    """Prefix of the names of a file's temporary files; names have at most 255 bytes."""
    return f".{os.fsdecode(os.fsencode(name)[:200])}."


def _abandoned(path: Path) -> bool:
    """Whether no process writes a temporary file: a process's lock ends with it."""
    with suppress(OSError), open_regular(path) as file:
        return _lock(file.fileno(), wait=False)
    return False


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock a file for this process; False if another process holds it or the file system has no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True
