"""Sealed Parquet files: the SHA-256 of the whole file in its own metadata shows a later change.

The file is written with 64 zeros in the digest's place, hashed, and the digest takes their place: it covers
rows, names, specification and result, and a reader needs no second file. Files of older versions of archgym
have no seal.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

SEAL = b"archgym.sha256"  # metadata of the file, beside those of its schema
_ZEROS = b"0" * 64
# in Parquet's footer (Thrift's compact protocol): the name, then a text of 64 bytes
_PLACE = SEAL + b"\x18\x40"
_BLOCK = 1 << 20


def sealed(table: pyarrow.Table, **options: Any) -> bytes:
    """A table as a sealed Parquet file.

    Args:
        table: the rows; metadata of its schema become those of the file.
        options: options of `pyarrow.parquet.ParquetWriter`.
    """
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL: _ZEROS})
    content = buffer.getvalue()
    start = content.rindex(_PLACE) + len(_PLACE)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + len(_ZEROS) :]


def check_seal(file: BinaryIO) -> bool:
    """Whether a Parquet file has a seal; read from the start to the end.

    Raises:
        ValueError: the file has changed since it was sealed, or is not a whole Parquet file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    if len(end) < 8 or end[4:] != b"PAR1":
        raise ValueError("it is empty, cut off, or not a Parquet file")
    footer = max(0, size - 8 - int.from_bytes(end[:4], "little"))
    file.seek(footer)
    found = file.read().rfind(_PLACE)
    if found < 0:
        return False
    start = footer + found + len(_PLACE)
    file.seek(start)
    seal = file.read(len(_ZEROS))
    hashed = hashlib.sha256()
    file.seek(0)
    _feed(hashed, file, start)
    hashed.update(_ZEROS)
    file.seek(len(_ZEROS), os.SEEK_CUR)
    _feed(hashed, file, size)
    if hashed.hexdigest().encode() != seal:
        raise ValueError("its content has changed since it was written")
    return True


def _feed(hashed: Any, file: BinaryIO, count: int) -> None:
    """Hash `count` bytes, or all that are left."""
    while count > 0 and (block := file.read(min(count, _BLOCK))):
        hashed.update(block)
        count -= len(block)
