"""Make a table from a complete grid of runs: python -m archgym.simulators.dram.pack CSV OUT.

The CSV file (or .csv.gz) has a column per parameter of the design space, in any order, and time_ps,
energy_pj, power_mw and bandwidth_gbit_s as the simulator printed them, with one row per distinct design.
Designs without refreshes have their refresh bounds at the first value. OUT is an .npz file named after the
trace.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import sys
import zlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, reason_of
from archgym.processes.exits import BAD_INPUT
from archgym.simulators.dram.space import SPACE, canonical
from archgym.simulators.dram.table import COLUMNS, Table, save_table
from archgym.space import Indices

RUNS = {  # provenance that is not in the CSV file
    "simulator": "DRAMSys 4.0",
    "memory": "MICRON_1Gb_DDR3-1600_8bit_G, 8 x 1Gb x8 DIMM, 800 MHz",
    "requests": 10_000,
    "fixed": {"CmdMux": "Oldest", "PowerDownPolicy": "NoPowerDown"},
}


@dataclass(frozen=True)
class Runs:
    """Designs and what the simulator printed for them.

    Attributes:
        designs: int64 [rows, 10].
        figures: printed figures times 10^decimals by `COLUMNS`, int64 [rows, 4].
        sha256: hash of the file.
    """

    designs: Indices
    figures: npt.NDArray[np.int64]
    sha256: str


def read_runs(path: Path) -> Runs:
    """The runs in a CSV file.

    Raises:
        ArchGymError: an unreadable file; missing, duplicate or invalid columns, designs or figures.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ArchGymError(f"cannot read {path}: {error}") from error
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or set(rows[0]) != {*SPACE.names, *COLUMNS}:
        raise ArchGymError(f"{path} must have the columns {', '.join([*SPACE.names, *COLUMNS])}, and rows")
    figures = np.array([_figures(row) for row in rows], np.int64)
    return Runs(_designs(rows), figures, hashlib.sha256(content).hexdigest())


def pack(path: Path, trace: str) -> Table:
    """The table of the runs in a CSV file.

    Raises:
        ArchGymError: an unreadable file; missing, duplicate or invalid columns, designs or figures.
    """
    runs = read_runs(path)
    figures, outcome = np.unique(runs.figures, axis=0, return_inverse=True)
    if len(figures) > np.iinfo(np.uint16).max:
        raise ArchGymError(f"{path} has {len(figures):,} distinct outcomes; a table holds 65,535")
    by_ordinal = np.full(SPACE.size, -1, np.int64)
    by_ordinal[SPACE.to_ordinal(runs.designs)] = outcome.reshape(-1)
    everything = SPACE.from_ordinal(np.arange(SPACE.size))
    of_design = by_ordinal[SPACE.to_ordinal(canonical(everything))]
    if (of_design < 0).any():
        raise ArchGymError(
            f"{path} has no row for {SPACE.design(everything[of_design.argmin()])}: run it and the other "
            "missing designs"
        )
    provenance = {
        **RUNS,
        "trace": trace,
        "source": path.name,
        "sha256": runs.sha256,
        "rows": len(runs.designs),
    }
    return Table(of_design.astype(np.uint16), figures, provenance)


def _figures(row: dict[str, str]) -> list[int]:
    """The figures of a row as integers, in units of their last digit."""
    numbers = []
    for name, decimals in COLUMNS.items():
        try:
            number = Decimal(row[name]).scaleb(decimals)
            whole = int(number)
        except (InvalidOperation, TypeError, ValueError, OverflowError):
            raise ArchGymError(f"{name} is {row[name]!r}, which is not a number") from None
        if whole != number:
            raise ArchGymError(f"{name} is {row[name]}, but a table stores {decimals} decimals")
        numbers.append(whole)
    return numbers


def _designs(rows: list[dict[str, str]]) -> Indices:
    """The designs of the rows, int64 [rows, 10]."""
    columns: dict[str, Any] = {}
    for parameter in SPACE:
        index = {str(value): i for i, value in enumerate(parameter.grid.tolist())}
        try:
            columns[parameter.name] = [index[row[parameter.name]] for row in rows]
        except KeyError as error:
            raise ArchGymError(f"{parameter.name} is {error}; it takes {parameter.describe()}") from None
    indices = np.array([columns[name] for name in SPACE.names], np.int64).T
    if not np.array_equal(canonical(indices), indices):
        raise ArchGymError(
            "designs without refreshes have one row, with refresh_max_postponed and refresh_max_pulledin at 1"
        )
    if len(np.unique(SPACE.to_ordinal(indices))) != len(indices):
        raise ArchGymError("duplicate design; remove one of its rows")
    return indices


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m archgym.simulators.dram.pack", description="Make a table from a complete grid of runs."
    )
    parser.add_argument("csv", type=Path, help="file with the runs, .csv or .csv.gz")
    parser.add_argument("out", type=Path, help="file for the table, TRACE.npz")
    options = parser.parse_args(arguments)
    try:
        if options.out.suffix != ".npz":
            raise ArchGymError(f"the table is an .npz file named after its trace, not {options.out.name}")
        save_table(pack(options.csv, options.out.stem), options.out)
    except ArchGymError as error:
        print(f"error: {reason_of(error)}", file=sys.stderr)
        return BAD_INPUT
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
