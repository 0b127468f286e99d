"""Energy and area of memories by kind and size.

    size class  k = ceil(max(peak bytes, 2048) / 256,000)
    energy      bytes read x read_pj_per_byte(kind, k) + bytes written x write_pj_per_byte(kind, k)
    area        area_mm2(kind, k)

Source: memories.csv, computed with CACTI as FARSI (facebookresearch/Project_FARSI) runs it, up to 50.9 MB:
SRAM as `ram` of itrs-lop cells, DRAM as `main memory` of comm-dram cells, 16 B per access. Energy includes
FARSI's technology factor of 0.064, area that of 0.07. Leakage and bandwidth cost nothing: the width and clock
of a memory enter neither energy nor area.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array

CLASS_BYTES = 256_000
LEAST_BYTES = 2_048
LARGEST_BYTES = 199 * CLASS_BYTES
ROUNDING = 1e-6  # bytes
KINDS = ("sram", "dram")


@dataclass(frozen=True)
class Memories:
    """Figures of memories, [2 kinds (SRAM, DRAM), classes]; NaN in class 0, which does not occur, and in the
    last class, of memories that are larger than the table.

    Attributes:
        read, write: energy in J per byte.
        area_mm2: area in mm2.
    """

    read: Array
    write: Array
    area_mm2: Array


@cache
def memories() -> Memories:
    """The table of memories."""
    found = np.full((3, 2, LARGEST_BYTES // CLASS_BYTES + 2), np.nan)
    with Path(__file__).with_name("memories.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[:, KINDS.index(row["kind"]), int(row["size_bytes"]) // CLASS_BYTES] = (
                float(row["read_pj_per_byte"]) * 1e-12,
                float(row["write_pj_per_byte"]) * 1e-12,
                float(row["area_mm2"]),
            )
    return Memories(*found)


def size_class(peak_bytes: Array) -> Array:
    """The size class of memories, the last one for those that are larger than the table."""
    size = np.maximum(np.ceil(peak_bytes - ROUNDING), LEAST_BYTES)
    return np.minimum(np.ceil(size / CLASS_BYTES), LARGEST_BYTES // CLASS_BYTES + 1).astype(np.int64)


def check_size(peak_bytes: float) -> None:
    """Refuse a memory that is larger than the table.

    Raises:
        ArchGymError: it is.
    """
    if np.ceil(peak_bytes - ROUNDING) > LARGEST_BYTES:
        raise ArchGymError(
            f"expected memories of at most {LARGEST_BYTES:,} B, got one of {peak_bytes:,.0f} B; "
            "spread tasks over more"
        )
