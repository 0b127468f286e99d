"""Designs that were run through FARSI, against the model.

A table is a CSV file, a design per row:

    workload                      name of the workload
    pe_names, mem_names,
    bus_names                     blocks by FARSI's names, separated by spaces
    pe_bus, mem_bus, bus_parent   bus of each block by position; -1 for no parent
    task_pe, task_mem             processing element and memory of each task, in the workload's order
    kernel_order                  FARSI's order of tasks, for those launched at once; blank for the workload's
    latency_s, energy_j,
    power_w, area_m2              FARSI's figures

Further columns are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.archive import reading
from archgym.simulators.soc.blocks import SystemOnChip, blocks_of, our_name
from archgym.simulators.soc.memories import check_size
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import Workload, load_workload
from archgym.space import Array

NAMES = ("pe_names", "mem_names", "bus_names")
POSITIONS = ("pe_bus", "mem_bus", "bus_parent", "task_pe", "task_mem")
# column -> the model's, and its unit in FARSI's
METRICS = {
    "latency_s": ("latency_s", 1.0),
    "energy_j": ("energy_j", 1.0),
    "power_w": ("power_w", 1.0),
    "area_m2": ("area_mm2", 1e-6),
}
ORDERS = ("recorded", "task")
EQUAL = 1e-9  # relative difference of rows that count as equal
MOST_BYTES = 64 << 20  # of a file


@dataclass(frozen=True)
class Comparison:
    """Relative differences of the model's figures from FARSI's.

    Attributes:
        workloads: workload of each row, [rows].
        differences: metric -> differences without sign, [rows].
        corrected: power with correct windows over that with FARSI's, [rows].
    """

    workloads: Array
    differences: Mapping[str, Array]
    corrected: Array

    @property
    def largest(self) -> dict[str, float]:
        """The largest difference of each metric."""
        return {metric: float(each.max()) for metric, each in self.differences.items()}

    @property
    def equal(self) -> float:
        """Share of rows whose metrics all differ by at most EQUAL."""
        return float(np.mean(np.max(list(self.differences.values()), axis=0) <= EQUAL))

    def of(self, workload: str) -> Comparison:
        """The rows of one workload."""
        rows = self.workloads == workload
        differences = {metric: each[rows] for metric, each in self.differences.items()}
        return Comparison(self.workloads[rows], differences, self.corrected[rows])


def compare(path: Path, order: str = "recorded") -> Comparison:
    """The model, with FARSI's power windows, against a table of FARSI's designs.

    Args:
        path: the table.
        order: order of tasks launched at once, "recorded" or "task", that of the workload.

    Raises:
        ArchGymError: no such file, a missing column, an unknown workload or block, blocks that are not
            connected, or a figure that is not a positive number.
    """
    if order not in ORDERS:
        raise ArchGymError(f"expected the order as one of {', '.join(ORDERS)}, got {order!r}")
    rows = _rows(path)
    workloads = np.array([row["workload"] for row in rows])
    differences = {metric: np.zeros(len(rows)) for metric in METRICS}
    corrected = np.zeros(len(rows))
    for name in dict.fromkeys(workloads.tolist()):
        chosen = np.flatnonzero(workloads == name)
        numbered = [(n + 2, rows[n]) for n in chosen.tolist()]
        with _naming(path, numbered[0][0]):
            workload = load_workload(name)
        found, corrected[chosen] = _differences(path, workload, numbered, order)
        for metric, each in found.items():
            differences[metric][chosen] = each
    return Comparison(workloads, differences, corrected)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, its columns checked."""
    with reading(path, "a table of designs"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            for column in ("workload", *NAMES, *POSITIONS, "kernel_order", *METRICS):
                if column not in (table.fieldnames or ()):
                    raise ArchGymError(f"it has no column {column}")
            rows = list(table)
        if not rows:
            raise ArchGymError("it has no rows")
    return rows


def _differences(
    path: Path, workload: Workload, rows: list[tuple[int, dict[str, str]]], order: str
) -> tuple[dict[str, Array], Array]:
    """Differences of each metric, and corrected power, for numbered rows of one workload."""
    systems, given = [], []
    for line, row in rows:
        with _naming(path, line):
            systems.append(_system(row, order))
            given.append([_figure(metric, row[metric]) for metric in METRICS])
            blocks_of(workload, systems[-1:])
    blocks = blocks_of(workload, systems)
    found = simulate(workload, blocks, literal=True)
    for (line, _), largest in zip(rows, found["memory_bytes"], strict=True):
        with _naming(path, line):
            check_size(largest)
    differences = {
        metric: np.abs(found[ours] * unit / figures - 1)
        for (metric, (ours, unit)), figures in zip(METRICS.items(), np.array(given).T, strict=True)
    }
    return differences, simulate(workload, blocks)["power_w"] / found["power_w"]


@contextmanager
def _naming(path: Path, line: int) -> Iterator[None]:
    """Put the file and the line before an error."""
    try:
        yield
    except ArchGymError as error:
        raise ArchGymError(f"{path}, line {line}: {error}") from None


def _system(row: Mapping[str, str], order: str) -> SystemOnChip:
    """The design of a row."""
    cells = {column: (row[column] or "").split() for column in (*NAMES, *POSITIONS, "kernel_order")}
    positions = {column: [_position(column, text) for text in cells[column]] for column in POSITIONS}
    return SystemOnChip(
        pes=cells["pe_names"],
        memories=cells["mem_names"],
        buses=cells["bus_names"],
        pe_bus=positions["pe_bus"],
        memory_bus=positions["mem_bus"],
        bus_parent=positions["bus_parent"],
        task_pe=positions["task_pe"],
        task_memory=positions["task_mem"],
        order=[our_name(task) for task in cells["kernel_order"]] if order == "recorded" else (),
    )


def _position(column: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArchGymError(f"expected whole numbers in {column}, got {text!r}") from None


def _figure(metric: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ArchGymError(f"expected a positive number as {metric}, got {text!r}")
    return value
