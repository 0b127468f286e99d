"""Tables of all sequences of at most K passes on one circuit.

    outcome   uint16 [D]      number of a sequence's outcome, by its ordinal in `sequence_space(K)`
    figures   int32 [M, 4]    the M distinct outcomes: and_gates, levels, luts, lut_levels
    circuit   uint8 [N]       the circuit before any pass, in binary AIGER
    about     JSON            format, K, provenance, and a hash of the above

Shipped tables are in `tables/`; a user's are in the data folder, in `synthesis`, made by
`python -m archgym.simulators.synthesis.tabulate CIRCUIT OUT`.
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
from archgym.simulators.synthesis.space import METRICS, PASSES, sequence_space
from archgym.space import Array

FORMAT = 1
NAMES = [metric.name for metric in METRICS]


@dataclass(frozen=True)
class Table:
    """The outcomes of all sequences of at most `slots` passes; the module has the shapes.

    Raises:
        ArchGymError: invalid or inconsistent arrays.
    """

    identity: ClassVar[str] = "archgym.simulators.synthesis.table:Table"

    slots: int
    outcome: npt.NDArray[np.uint16]
    figures: npt.NDArray[np.int32]
    circuit: npt.NDArray[np.uint8]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shape, kind in (
            ("outcome", (sequence_space(self.slots).size,), np.uint16),
            ("figures", (len(self.figures), len(NAMES)), np.int32),
            ("circuit", (len(self.circuit),), np.uint8),
        ):
            array = getattr(self, name)
            expect(name, array, shape, kind)
            array.flags.writeable = False  # simulators share the array
        if not self.outcome.max() < len(self.figures) or (self.figures < 0).any():
            raise ArchGymError("an outcome is missing, or has a negative figure")

    @property
    def digest(self) -> str:
        """A hash of the passes, outcomes, figures and circuit."""
        return digest(" ".join([str(self.slots), *PASSES]), (self.outcome, self.figures, self.circuit))


def save_table(table: Table, path: str | os.PathLike[str]) -> Path:
    """Write a table, complete or not at all.

    Raises:
        ArchGymError: the file cannot be written.
    """
    about = {
        "format": FORMAT,
        "columns": NAMES,
        "slots": table.slots,
        "provenance": dict(table.provenance),
        "sha256": table.digest,
    }
    arrays: dict[str, Array] = {"outcome": table.outcome, "figures": table.figures, "circuit": table.circuit}
    return save_archive(path, about, arrays)


def read_table(path: str | os.PathLike[str]) -> Table:
    """The table that `save_table` wrote.

    Raises:
        ArchGymError: a missing, damaged or modified file.
    """
    remedy = (
        "install archgym again, or make it again with `python -m archgym.simulators.synthesis.tabulate "
        "CIRCUIT OUT`"
    )
    with reading(path, "a table of synthesis sequences", remedy):
        about, arrays = load_archive(path, FORMAT)
        if about["columns"] != NAMES:
            raise ArchGymError("another version of archgym wrote it, with other columns")
        table = Table(about["slots"], **arrays, provenance=about["provenance"])
        if table.digest != about["sha256"]:
            raise ArchGymError("its figures are not those that were written")
    return table


def list_tables() -> list[str]:
    """Names of the circuits with a table: shipped ones and the user's own."""
    return sorted(_paths())


def _paths() -> dict[str, Path]:
    # shipped names take precedence
    folders = (data_folder("synthesis"), Path(__file__).parent / "tables")
    return {path.stem: path for folder in folders for path in folder.glob("*.npz")}


def load_table(circuit: str) -> Table:
    """The table of a circuit, the same object until its file is replaced.

    Raises:
        ArchGymError: a circuit without a table, or a damaged table.
    """
    paths = _paths()
    if not isinstance(circuit, str) or circuit not in paths:
        raise unknown("table of a circuit", circuit, sorted(paths))
    return _read_once(paths[circuit], paths[circuit].stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_once(path: Path, modified: int) -> Table:
    return read_table(path)
