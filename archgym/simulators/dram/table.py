"""Tables of complete grids: the exact output of the simulator for every design on one trace.

    outcome   uint16 [442368]   number of a design's outcome, by its ordinal in `SPACE`
    figures   int64 [K, 4]      the K distinct outcomes, by `COLUMNS`: printed figures times 10^decimals
    about     JSON              format, columns, provenance, and a hash of the above

Shipped tables are in `tables/`; tables that `python -m archgym.simulators.dram.pack` makes of a user's runs
are in the data folder, in `dram`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import digest, expect, load_archive, reading, save_archive
from archgym.files.paths import data_folder
from archgym.simulators.dram.space import SPACE

FORMAT = 1
COLUMNS = {"time_ps": 0, "energy_pj": 2, "power_mw": 2, "bandwidth_gbit_s": 2}  # and their decimals

_SHIPPED = Path(__file__).parent / "tables"
SHIPPED_TABLES = frozenset(path.stem for path in _SHIPPED.glob("*.npz"))


@dataclass(frozen=True)
class Table:
    """The outcomes of all designs on one trace; the module has the shapes.

    Raises:
        ArchGymError: invalid or inconsistent arrays.
    """

    identity: ClassVar[str] = "archgym.simulators.dram.table:Table"

    outcome: npt.NDArray[np.uint16]
    figures: npt.NDArray[np.int64]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shape, kind in (
            ("outcome", (SPACE.size,), np.uint16),
            ("figures", (len(self.figures), len(COLUMNS)), np.int64),
        ):
            array = getattr(self, name)
            expect(name, array, shape, kind)
            array.flags.writeable = False  # simulators share the array
        if not self.outcome.max() < len(self.figures) or not (self.figures > 0).all():
            raise ArchGymError("an outcome is missing, or has a figure that is not positive")

    @property
    def digest(self) -> str:
        """A hash of the space, outcomes and figures."""
        return digest(SPACE.to_json(), (self.outcome, self.figures))


def save_table(table: Table, path: str | os.PathLike[str]) -> Path:
    """Write a table, complete or not at all.

    Raises:
        ArchGymError: the file cannot be written.
    """
    about = {
        "format": FORMAT,
        "columns": COLUMNS,
        "provenance": dict(table.provenance),
        "sha256": table.digest,
    }
    return save_archive(path, about, {"outcome": table.outcome, "figures": table.figures})


def read_table(path: str | os.PathLike[str]) -> Table:
    """The table that `save_table` wrote.

    Raises:
        ArchGymError: a missing, damaged or modified file.
    """
    remedy = "install archgym again, or make it again with `python -m archgym.simulators.dram.pack CSV OUT`"
    with reading(path, "a table of the DRAM controller", remedy):
        about, arrays = load_archive(path, FORMAT)
        if about["columns"] != COLUMNS:
            raise ArchGymError("another version of archgym wrote it, with other columns")
        table = Table(**arrays, provenance=about["provenance"])
        if table.digest != about["sha256"]:
            raise ArchGymError("its figures are not those that were written")
    return table


def list_traces() -> list[str]:
    """Names of the traces with a table: shipped ones and the user's own."""
    return sorted(_paths())


def _paths() -> dict[str, Path]:
    folders = (data_folder("dram"), _SHIPPED)  # shipped names take precedence
    return {path.stem: path for folder in folders for path in folder.glob("*.npz")}


def load_table(trace: str) -> Table:
    """The table of a trace, the same object until its file is replaced.

    Raises:
        ArchGymError: an unknown trace, or a damaged table.
    """
    paths = _paths()
    if not isinstance(trace, str) or trace not in paths:
        raise unknown("trace", trace, sorted(paths))
    return _read_once(paths[trace], paths[trace].stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_once(path: Path, modified: int) -> Table:
    return read_table(path)
