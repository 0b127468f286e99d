"""Costs of a system on chip for one workload, vectorised over designs.

    latency_s, energy_j, power_w, area_mm2    FARSI's simulation of the design's blocks (`phases`)
    edp          = energy_j x latency_s
    distance     = sum over latency, power and area of max(0, x / budget - 1); 0 where all budgets are met
    overshoot    = 1 + distance
    bound_compute, bound_memory, bound_bus    share of the latency in which each bounds the task that ends the
                                              phase

Bandwidth is free in FARSI: a wide, fast bus or memory costs neither energy nor area. `wire_pj_per_bit_mm` is
an extension of ours, which no run of a reference validates: a chain of n buses spans one side of the chip,
and bytes pay for the buses that they pass,

    wire energy = e x 8 bit x sqrt(area) / n x sum over edges p -> c of D_pc (buses from p's PE to p's memory
                                                                      + buses from there to c's PE)

with e in pJ/bit/mm (0.12 at 40 nm, 0.08 at 10 nm, where half of the bits change: Keckler et al., "GPUs and
the Future of Parallel Computing", IEEE Micro 31(5), 2011, table 1). energy_j and edp include it, power_w its
mean over the latency. It favours short paths and small chips; bandwidth stays free.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import Minimize, Objective
from archgym.simulator import Candidates, Metric, Simulator, argument_features
from archgym.simulators.soc.blocks import Blocks
from archgym.simulators.soc.encoding import BUSES, Encoding
from archgym.simulators.soc.memories import LARGEST_BYTES
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import Workload, load_workload
from archgym.space import Array, Indices

BUDGETED = ("latency_s", "power_w", "area_mm2")
BOUNDS = {"bound_compute": "compute_s", "bound_memory": "memory_s", "bound_bus": "bus_s"}
CHUNK = 1000  # designs at a time


class SoC(Simulator):
    """Chips for the tasks of one workload: latency, energy, peak power, area, and distance to budgets.

    Args:
        workload: name of a shipped workload, or path of a JSON file or a folder of CSV files
            (`archgym.simulators.soc.workload`).
        max_buses: largest number of buses in the chain, 1 to 3.
        budgets: latency_s, power_w and area_mm2 in place of the workload's; absent ones keep the workload's.
        literal: FARSI's own bounds of power windows, rather than correct ones.
        wire_pj_per_bit_mm: energy of wires in pJ per bit and mm, an extension of ours; FARSI's are free.

    Raises:
        ArchGymError: an unknown workload, a file that is not one, or an argument that is out of range.
    """

    identity = "archgym.simulators.soc.model:SoC"

    metrics = (
        Metric("latency_s", "s", "lower"),
        Metric("energy_j", "J", "lower"),
        Metric("power_w", "W", "lower"),
        Metric("area_mm2", "mm2", "lower"),
        Metric("edp", "J s", "lower"),
        Metric("distance", "1", "lower"),
        Metric("overshoot", "1", "lower"),
        Metric("bound_compute", "1"),
        Metric("bound_memory", "1"),
        Metric("bound_bus", "1"),
    )

    def __init__(
        self,
        workload: str | Path = "hpvm_cava",
        max_buses: int = 1,
        budgets: Mapping[str, float] | None = None,
        literal: bool = False,
        wire_pj_per_bit_mm: float = 0.0,
    ):
        self.workload = load_workload(workload)
        if isinstance(max_buses, bool) or max_buses not in range(1, BUSES + 1):
            raise ArchGymError(f"expected max_buses of 1 to {BUSES}, got {max_buses!r}")
        if not isinstance(literal, bool):
            raise ArchGymError(f"expected literal as True or False, got {literal!r}")
        self.literal = literal
        self.budgets = {**self.workload.budgets, **_checked(budgets)}
        self.wire_pj_per_bit_mm = _number("wire_pj_per_bit_mm", wire_pj_per_bit_mm, zero=True)
        self.encoding = Encoding(self.workload, int(max_buses))
        self.space = self.encoding.space

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the workload, which a path does not identify."""
        return {**super().specification, "workload": _digest(self.workload)}

    def context_features(self) -> dict[str, float]:
        """The arguments, with budgets in log2 whether given or the workload's; and of the workload log2 of
        tasks, instructions, bytes and levels.
        """
        of = self.workload
        sizes = {
            "tasks": np.count_nonzero(of.work),
            "instructions": of.work.sum(),
            "bytes": of.data.sum(),
            "levels": of.levels.max(),
        }
        return {
            **argument_features(self, but=("workload", "budgets")),
            **{f"budgets.{name}": math.log2(limit) for name, limit in self.budgets.items()},
            **{f"workload.{name}": math.log2(size) for name, size in sizes.items()},
        }

    def canonical(self, indices: Indices) -> Indices:
        """The representative of designs that are one chip (`encoding`)."""
        return self.encoding.canonical(indices)

    def optimum(self, objective: Objective) -> Indices | None:
        """A chip that meets all budgets, [P], where nothing but the distance to these is minimised; None
        where `candidates` names none.
        """
        found = self.candidates(objective)
        return None if found is None else next(found.enumerate(1))[0]

    def candidates(self, objective: Objective) -> Candidates | None:
        """Chips of accelerators alone that meet all budgets, where nothing but the distance to these is
        minimised: none is nearer. None without such a chip, or under other objectives.
        """
        goals = [(type(term), term.metric) for term in objective.terms if term.weight > 0]
        if objective.constraints or goals not in ([(Minimize, "overshoot")], [(Minimize, "distance")]):
            return None
        rows = self.encoding.accelerated()
        met = rows[self.evaluate_indices(rows)["distance"] == 0] if len(rows) else rows
        if not len(met):
            return None
        return Candidates(
            len(met), lambda chunk: (met[start : start + chunk] for start in range(0, len(met), chunk))
        )

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, P] -> every metric, float64 [B], and `feasible`, bool [B]; `failure`, str [B], if a
        memory is larger than the table.
        """
        starts = range(0, max(len(indices), 1), CHUNK)
        parts = [self._evaluate(indices[start : start + CHUNK]) for start in starts]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        feasible = np.isfinite(columns["area_mm2"])
        largest = columns.pop("memory_bytes")
        if not feasible.all():
            reasons = [
                f"a memory of {size:,.0f} B is larger than the table, {LARGEST_BYTES:,} B" for size in largest
            ]
            columns["failure"] = np.where(feasible, "", reasons)
        return {**columns, "feasible": feasible}

    def _evaluate(self, indices: Indices) -> dict[str, Array]:
        blocks = self.encoding.blocks(indices)
        found = simulate(self.workload, blocks, literal=self.literal)
        latency, energy, power = found["latency_s"], found["energy_j"], found["power_w"]
        if self.wire_pj_per_bit_mm:
            wires = self._wire_energy(blocks, found["area_mm2"])
            energy, power = energy + wires, power + wires / latency
        columns = {"latency_s": latency, "energy_j": energy, "power_w": power, "area_mm2": found["area_mm2"]}
        excesses = [np.maximum(0.0, columns[name] / limit - 1) for name, limit in self.budgets.items()]
        distance = np.sum(excesses, axis=0)
        return {
            **columns,
            "edp": energy * latency,
            "distance": distance,
            "overshoot": 1 + distance,
            **{name: found[seconds] / latency for name, seconds in BOUNDS.items()},
            "memory_bytes": found["memory_bytes"],
        }

    def _wire_energy(self, blocks: Blocks, area_mm2: Array) -> Array:
        """Energy of the buses' wires in J, [B]."""
        of, rows = self.workload, np.arange(len(area_mm2))[:, None]
        memory_bus = blocks.memory_bus[rows, blocks.memory]  # of the memory that a task writes to
        passed = np.zeros(len(area_mm2))
        for ends, pays in ((of.parents, of.work[of.parents] > 0), (of.children, of.work[of.children] > 0)):
            buses = 1 + np.abs(blocks.pe_bus[:, ends] - memory_bus[:, of.parents])
            passed += buses @ (of.data * pays)
        buses_made = 1 + (blocks.bus_parent >= 0).sum(1)
        return self.wire_pj_per_bit_mm * 1e-12 * 8 * np.sqrt(area_mm2) / buses_made * passed


def _digest(workload: Workload) -> str:
    """A hash of all figures and names of tasks."""
    of = workload
    arrays = (of.work, of.parents, of.children, of.data, *vars(of.accelerators).values())
    tables = (of.names, of.groups, vars(of.cpu), dict(of.budgets), [array.tolist() for array in arrays])
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:16]


def _checked(budgets: Mapping[str, float] | None) -> dict[str, float]:
    """Budgets that are given, as positive numbers."""
    if budgets is None:
        return {}
    if not isinstance(budgets, Mapping):
        raise ArchGymError(f'expected budgets such as {{"latency_s": 0.034}}, or None, got {budgets!r}')
    for name in budgets:
        if name not in BUDGETED:
            raise unknown("budget", name, BUDGETED)
    return {name: _number(f"budget of {name}", value) for name, value in budgets.items()}


def _number(what: str, value: Any, *, zero: bool = False) -> float:
    """A finite number above 0, or also 0.

    Raises:
        ArchGymError: another value.
    """
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (0 < number < math.inf or (zero and number == 0)):
        raise ArchGymError(
            f"expected a {'number >= 0' if zero else 'positive number'} as {what}, got {value!r}"
        )
    return number
