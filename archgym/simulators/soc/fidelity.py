"""Designs that were run through FARSI, against the model.

A table is a CSV file, a design per row, with its blocks by name, separated by spaces (`pe_names`, `mem_names`,
`bus_names`), positions (`pe_bus`, `bus_parent`, `mem_bus`, `task_pe`, `task_mem`; tasks in the workload's
order), `workload`, FARSI's `kernel_order` of tasks, and its figures `latency_s`, `energy_j`, `power_w` and
`area_m2`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.archive import reading
from archgym.simulators.soc.blocks import SystemOnChip, blocks_of, our_name
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import load_workload
from archgym.space import Array

NAMES = ("pe_names", "mem_names", "bus_names")
POSITIONS = ("pe_bus", "mem_bus", "bus_parent", "task_pe", "task_mem")
METRICS = {
    "latency_s": ("latency_s", 1.0),
    "energy_j": ("energy_j", 1.0),
    "power_w": ("power_w", 1.0),
    "area_m2": ("area_mm2", 1e-6),
}
COLUMNS = ("workload", *NAMES, *POSITIONS, "kernel_order", *METRICS)
MOST_BYTES = 64 << 20  # of a file


@dataclass(frozen=True)
class Comparison:
    """Figures of all designs, FARSI's and the model's.

    Attributes:
        workloads: workload of each row.
        differences: relative difference of each metric, [rows].
    """

    workloads: Array
    differences: Mapping[str, Array]

    @property
    def largest(self) -> dict[str, float]:
        """The largest relative difference of each metric, without its sign."""
        return {metric: float(np.abs(values).max()) for metric, values in self.differences.items()}


def compare(path: Path, order: str = "recorded", *, literal: bool = True) -> Comparison:
    """The model against a table of FARSI's designs.

    Args:
        path: the table.
        order: "recorded" for FARSI's own order of tasks launched at once, "task" for the workload's.
        literal: FARSI's own bounds of power windows.

    Raises:
        ArchGymError: no such file, a missing column, an unknown workload or block.
    """
    with reading(path, "a table of designs"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    workloads = np.array([row["workload"] for row in rows])
    differences = {metric: np.zeros(len(rows)) for metric in METRICS}
    for name in np.unique(workloads):
        workload = load_workload(name)
        where = np.flatnonzero(workloads == name)
        systems = [_system(rows[i], order) for i in where]
        found = simulate(workload, blocks_of(workload, systems), literal=literal)
        for metric, (ours, factor) in METRICS.items():
            given = np.array([float(rows[i][metric]) for i in where])
            differences[metric][where] = found[ours] * factor / given - 1
    return Comparison(workloads, differences)


def _system(row, order):
    names = [row[c].split() for c in NAMES]
    positions = [[int(x) for x in row[c].split()] for c in POSITIONS]
    ranks = [our_name(t) for t in row["kernel_order"].split()] if order == "recorded" else []
    return SystemOnChip(*names, *positions, ranks)
