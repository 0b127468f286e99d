"""Arrays and a header in one npz file: written whole, read without pickle, hashed."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import kind_of, refuse_foreign, write_atomically
from archgym.space import Array

_HEADER = "about"
_SMALL, _RATIO = 64 * 2**20, 32  # limits on unpacked bytes: of any archive, and per byte of a larger one


def save_archive(path: str | os.PathLike[str], about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Path:
    """Write a header (JSON) and arrays, complete or not at all.

    Raises:
        ArchGymError: the file cannot be written.
    """
    return save_arrays(path, {_HEADER: np.array(json.dumps(about, sort_keys=True)), **arrays})


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Array], *, compress: bool = True) -> Path:
    """Write arrays as npz, complete or not at all, and never with pickle (`np.savez` takes `allow_pickle`
    only from NumPy 2.2 on).

    Raises:
        ArchGymError: an array of Python objects, or the file cannot be written.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ArchGymError(f"the array {name!r} holds Python objects, which only pickle could write")
    save: Any = np.savez_compressed if compress else np.savez
    return write_atomically(path, lambda file: save(file, **arrays))


def load_archive(path: str | os.PathLike[str], format: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays that `save_archive` wrote. A damaged file can raise almost any exception: call it
    within `reading`.

    Raises:
        ArchGymError: an unknown `format` in the header, or a file that would unpack to far more than arrays
            compress.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _SMALL + _RATIO * os.path.getsize(path):
        raise ArchGymError(f"it would unpack to {size / 2**20:,.0f} MiB, far more than its kind")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = json.loads(str(arrays.pop(_HEADER)))
    check_format(about["format"], format)
    return about, arrays


def check_format(found: Any, expected: int) -> None:
    """Refuse a file of an unknown format."""
    if found != expected:
        raise ArchGymError(f"it has format {found}; this version of archgym reads format {expected}")


@contextmanager
def reading(path: str | os.PathLike[str], what: str, remedy: str = "") -> Iterator[None]:
    """Turn any exception into one ArchGymError: the file is not `what`, the reason, and the remedy."""
    try:
        if kind := kind_of(path, follow=True):  # opening a FIFO would block
            raise ArchGymError(f"it is {kind}, not a file")
        refuse_foreign(path, b"PK", b"PAR1")
        yield
    except FileNotFoundError:
        raise ArchGymError(f"no file at {os.fspath(path)}; expected {what}") from None
    except Exception as error:  # a damaged archive can raise almost any exception
        raise ArchGymError(
            f"{os.fspath(path)} is not {what}: {reason_of(error)}" + (remedy and f"; {remedy}")
        ) from error


def expect(name: str, array: Array, shape: tuple[int, ...], kind: Any) -> None:
    """Refuse an array of a different shape or kind of numbers (np.float64, np.integer, ...)."""
    if array.shape != shape or not np.issubdtype(array.dtype, kind):
        raise ArchGymError(
            f"{name} is {array.dtype}{list(array.shape)}; expected {kind.__name__}{list(shape)}"
        )


def digest(text: str, arrays: Iterable[Array]) -> str:
    """A hash of a text and of arrays with their types and shapes: 16 hexadecimal digits."""
    sha = hashlib.sha256(text.encode())
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return sha.hexdigest()[:16]
