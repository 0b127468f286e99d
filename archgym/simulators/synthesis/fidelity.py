"""Logic synthesis against figures that ABC printed when it was called by hand.

A table is a CSV file with a row per run:

    circuit                           name from `list_circuits()`, or path, also relative to the table
    sequence                          passes with semicolons between them, "" for none; ABC's short names
                                      (b, rw, rwz, rf, rfz, rs, rsz) are understood
    and_gates, levels                 printed by print_stats
    luts, lut_levels (or neither)     printed by print_stats after if -K 6

`recorded/by_hand.csv` is such a table of ours, and its README has the commands.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.files.csv import delimiter_of
from archgym.simulator import Simulator
from archgym.simulators.synthesis.simulator import LogicSynthesis
from archgym.simulators.synthesis.space import METRICS, PASSES
from archgym.simulators.synthesis.table import list_tables, load_table
from archgym.simulators.synthesis.tabular import TabularSynthesis
from archgym.space import Array, Indices
from archgym.words import shown

RECORDED = Path(__file__).parent / "recorded" / "by_hand.csv"
MOST_BYTES = 16 << 20
NAMES = tuple(metric.name for metric in METRICS)
NEEDED = ("circuit", "sequence", *NAMES[:2])
SHORT = {
    "b": "balance",
    "rw": "rewrite",
    "rwz": "rewrite -z",
    "rf": "refactor",
    "rfz": "refactor -z",
    "rs": "resub",
    "rsz": "resub -z",
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows of a table beside what archgym has for them.

    Attributes:
        circuits: circuit of each row, [R].
        by_hand: figures of the table, float64 [R, 4] as in `NAMES`; NaN where it has none.
        ours: figures of archgym, float64 [R, 4].
        skipped: rows that the tables lack, which were not compared.
        source: program and version, or the tables.
    """

    circuits: npt.NDArray[np.str_]
    by_hand: Array
    ours: Array
    skipped: int
    source: str

    @property
    def equal(self) -> npt.NDArray[np.bool_]:
        """Whether all figures of a row are the same, [R]."""
        return np.asarray(((self.by_hand == self.ours) | np.isnan(self.by_hand)).all(1))

    @property
    def largest(self) -> dict[str, float]:
        """The largest relative difference of each metric that the table has."""
        difference = np.abs(self.ours - self.by_hand) / np.maximum(np.abs(self.by_hand), 1.0)
        return {
            name: float(np.nanmax(column))
            for name, column in zip(NAMES, difference.T, strict=True)
            if not np.isnan(column).all()
        }

    def of(self, circuit: str) -> Comparison:
        """The rows of one circuit."""
        keep = self.circuits == circuit
        return Comparison(self.circuits[keep], self.by_hand[keep], self.ours[keep], 0, self.source)


def compare(path: Path = RECORDED, backend: str = "abc", timeout_s: float = 60.0) -> Comparison:
    """Replay a table's sequences.

    Args:
        path: the table.
        backend: "abc" runs ABC; "table" looks up what the tables have, and skips other rows.
        timeout_s: time limit of a pass, seconds.

    Raises:
        ArchGymError: a malformed table, a circuit that is refused, a sequence that fails, or no row that the
            tables have.
        SimulatorUnavailable: ABC is not installed.
    """
    if backend not in ("abc", "table"):
        raise unknown("backend of archgym fidelity synthesis", backend, ("abc", "table"))
    rows, source = list(read(path)), "tables"
    ours: dict[int, Array] = {}
    by_circuit: dict[str, list[int]] = {}
    for number, (circuit, _, _) in enumerate(rows):
        by_circuit.setdefault(circuit, []).append(number)
    for circuit, numbers in by_circuit.items():
        simulator: Simulator
        if backend == "table":
            slots = load_table(circuit).slots if circuit in list_tables() else -1
            numbers = [number for number in numbers if len(rows[number][1]) <= slots]
            if not numbers:
                continue
            simulator = TabularSynthesis(circuit, slots)
        else:
            slots = max(1, *(len(rows[number][1]) for number in numbers))
            simulator = LogicSynthesis(_beside(circuit, path), slots, timeout_s=timeout_s, cache=False)
            source = simulator.version
        try:
            figures = _replay(simulator, circuit, [rows[number][1] for number in numbers], slots)
        finally:
            simulator.close()
        ours.update(zip(numbers, figures, strict=True))
    if not ours:
        raise ArchGymError(f"the tables have no row of {path}; use --backend abc")
    compared = sorted(ours)
    return Comparison(
        np.array([rows[number][0] for number in compared]),
        np.array([rows[number][2] for number in compared]),
        np.array([ours[number] for number in compared]),
        len(rows) - len(compared),
        source,
    )


def _replay(simulator: Simulator, circuit: str, sequences: list[list[int]], slots: int) -> Array:
    """The figures of sequences, float64 [R, 4]."""
    designs: Indices = np.zeros((len(sequences), slots), np.int64)
    for row, sequence in zip(designs, sequences, strict=True):
        row[: len(sequence)] = sequence
    columns = simulator.evaluate_indices(designs)
    if not columns["feasible"].all():
        row = int(np.argmin(columns["feasible"]))
        passes = "; ".join(PASSES[number] for number in sequences[row])
        raise ArchGymError(f"{shown(passes)} failed on {circuit}: {columns['failure'][row]}")
    return np.stack([columns[name] for name in NAMES], 1)


def _beside(circuit: str, path: Path) -> str | Path:
    """A circuit's path, where it is a file beside the table."""
    return path.parent / circuit if (path.parent / circuit).is_file() else circuit


# --- reading ---


def read(path: Path) -> Iterator[tuple[str, list[int], list[float]]]:
    """Circuit, passes by their places in `PASSES`, and figures of each row.

    Raises:
        ArchGymError: the file is not such a table.
    """
    with reading(path, "a table of figures by hand"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            lines.seek(0)
            table = csv.DictReader(lines, delimiter="," if "," in header else delimiter_of(header))
            columns = [column for column in table.fieldnames or () if column]
            for column in columns:
                if column not in (*NEEDED, *NAMES):
                    raise unknown("column", column, (*NEEDED, *NAMES[2:]))
            if missing := [column for column in NEEDED if column not in columns]:
                raise ArchGymError(f"expected a column {missing[0]!r}; the columns are {', '.join(NEEDED)}")
            rows = [_row(number, row, columns) for number, row in enumerate(table, start=2)]
        if not rows:
            raise ArchGymError("expected rows, got none")
    yield from rows


def _row(number: int, row: dict[str, Any], columns: list[str]) -> tuple[str, list[int], list[float]]:
    cells = {column: (row[column] or "").strip() for column in columns}
    if not cells["circuit"]:
        raise ArchGymError(f"line {number} has no circuit")
    figures = [_figure(number, name, cells[name]) if name in cells else np.nan for name in NAMES]
    return cells["circuit"], passes_of(cells["sequence"]), figures


def passes_of(text: str) -> list[int]:
    """Passes by their places in `PASSES`, from names with semicolons between them.

    Raises:
        ArchGymError: an unknown pass.
    """
    numbers = []
    for name in filter(None, (" ".join(part.split()) for part in text.split(";"))):
        whole = SHORT.get(name, name)
        if whole not in PASSES[1:]:
            raise unknown("pass", name, PASSES[1:])
        numbers.append(PASSES.index(whole))
    return numbers


def _figure(number: int, name: str, cell: str) -> float:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 16):
        raise ArchGymError(f"expected {name} in line {number} as a whole number, got {shown(cell)}")
    return float(cell)
