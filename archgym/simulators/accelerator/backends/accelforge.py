"""accelforge, the successor of Timeloop and Accelergy, as a simulator of accelerators: energy, traffic and
latency of the mappings that its mapper finds.

    energy      = sum over layers of groups * repeats * that of a matrix multiplication [M, Kd] x [Kd, N]
    cycles      = sum over them of max(compute, network, off-chip) with double buffering, else of their sum
    latency     = cycles / clock,   edp = energy * latency,   utilization = MACs / (cycles * rows * columns)

The design is described to the tool as its NVDLA template is, from the outermost memory:

    off_chip    Memory of no limit; dram_gb_s
    buffer      Memory of buffer_kb, half of it with double_buffering; all operands pass it
    network     Toll on all that passes between buffer and array; noc_bytes_per_cycle
    array       Container of columns and rows, each on a dimension that it does not move again for each PE:

                dataflow              stays     rows   columns
                nvdla, systolic_ws    weights   Kd     N
                systolic_os           outputs   M      N
                systolic_is           inputs    Kd     M

    l1          Memory of l1_bytes for what stays
    mac         Compute, one multiply-add per cycle

Energies per access are those of the analytical model's table, without leakage; areas are left out. A mapping
is the one of least energy, among loops with and without a shorter last turn, that uses the array as far as
it can (`min_usage` 1, as in the template), so that bandwidths and clock do not change it: the tool is given
a rate of 1 per second, and its seconds are then bits and cycles, for any bandwidth. It assumes that all
components work at once; without double buffering they work in turn.

In the tool an output has one width. It is given that of a partial sum, and the final results, which leave
the array, the buffer and the chip once in any mapping, are then charged at the width of an operand.
Differences from the analytical model: nvdla computes 1 x 1 kernels at full rate, pipelines fill in no time,
an average last turn counts with its part of the array, data sent to L1 are charged, data that pass through a
PE are not, and weights or inputs that fit all L1s together are fetched from the buffer once.

Andrulis, Gilbert et al., accelforge; Parashar et al., "Timeloop: A systematic approach to DNN accelerator
evaluation", ISPASS 2019.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.simulators.accelerator.backends.jobs import Gemm, macs, require_dataflow
from archgym.simulators.accelerator.backends.workload import WorkloadByTool
from archgym.simulators.accelerator.design import (
    KIB,
    PRECISIONS,
    Precision,
    select_metrics,
)
from archgym.simulators.accelerator.energy import EnergyTable, load_energy_table
from archgym.simulators.accelerator.workloads import Dimensions, Workload
from archgym.space import Indices

STAYS = {"nvdla": "weight", "systolic_ws": "weight", "systolic_os": "output", "systolic_is": "input"}
REUSED = {  # by what stays: operands that PEs along a column and along a row share
    "weight": ("output", "input"),
    "output": ("weight", "input"),
    "input": ("output", "weight"),
}


class AccelForge(WorkloadByTool):
    """A workload on arrays with one operand that stays. Designs with other dataflows fail with the reason.

    Args:
        workload, dimensions: arguments of `load_workload`.
        technology: energy table by name or path.

    Raises:
        ArchGymError: an unknown workload or table; accelforge is not installed.
    """

    identity = "archgym.simulators.accelerator.backends.accelforge:AccelForge"
    tool_name = "accelforge"

    metrics = select_metrics(
        "latency_s", "cycles", "energy_j", "edp", "utilization", "dram_bytes", "compute_cycles"
    )

    def __init__(
        self,
        workload: str | os.PathLike[str] | Workload = "resnet18",
        technology: str = "45nm",
        dimensions: Dimensions | None = None,
    ):
        super().__init__(workload, dimensions)
        self.technology = technology
        load_energy_table(technology)

    def simulate(self, design: Mapping[str, Any]) -> dict[str, float]:
        require_dataflow(design, tuple(STAYS), "accelforge is given arrays where one operand stays")
        totals = dict.fromkeys(("cycles", "compute", "dram_bytes", "energy_pj"), 0.0)
        for gemm, count in self.gemms.items():
            for name, value in self._costs(design, gemm).items():
                totals[name] += count * value
        latency_s, energy_j = totals["cycles"] / (1e6 * design["clock_mhz"]), 1e-12 * totals["energy_pj"]
        return {
            "latency_s": latency_s,
            "cycles": totals["cycles"],
            "energy_j": energy_j,
            "edp": energy_j * latency_s,
            "utilization": macs(self.gemms) / (totals["cycles"] * design["rows"] * design["cols"]),
            "dram_bytes": totals["dram_bytes"],
            "compute_cycles": totals["compute"],
        }

    def _costs(self, design: Mapping[str, Any], gemm: Gemm) -> dict[str, float]:
        """One matrix multiplication: cycles in all and of computation, off-chip bytes, energy in pJ."""
        table, precision = load_energy_table(self.technology), PRECISIONS[design["precision"]]
        found = self.tool.ask(self.job(design, gemm))
        seconds = found["seconds"]  # bits and cycles, at a rate of 1 per second
        wider = gemm.m * gemm.n * (precision.accumulator_bytes - precision.operand_bytes)  # bytes
        buffer_pj = sum(float(cost) for cost in table.sram_pj_per_byte(KIB * design["buffer_kb"]))
        dram_bytes = seconds["off_chip"] / 8 - wider
        terms = (
            seconds["mac"],
            (seconds["network"] / 8 - wider) / design["noc_bytes_per_cycle"],
            dram_bytes * design["clock_mhz"] / (1e3 * design["dram_gb_s"]),
        )
        return {
            "cycles": max(terms) if design["double_buffering"] else sum(terms),
            "compute": seconds["mac"],
            "dram_bytes": dram_bytes,
            "energy_pj": found["energy_pj"]
            - wider * (table.noc_pj_per_byte + buffer_pj + table.dram_pj_per_byte),
        }

    def job(self, design: Mapping[str, Any], gemm: Gemm) -> dict[str, Any]:
        table = load_energy_table(self.technology)
        return job(gemm, PRECISIONS[design["precision"]], architecture(design, table), imperfect=True)

    def canonical(self, indices: Indices) -> Indices:
        """Give systolic_ws the name nvdla, of equal results: [B, 10] -> [B, 10]."""
        flow = self.space.names.index("dataflow")
        names = self.space["dataflow"].grid.tolist()
        result = np.array(indices)
        result[:, flow] = np.where(
            result[:, flow] == names.index("systolic_ws"), names.index("nvdla"), result[:, flow]
        )
        return result


def job(gemm: Gemm, precision: Precision, nodes: list[dict[str, Any]], *, imperfect: bool) -> dict[str, Any]:
    """What the tool's process is sent: a matrix multiplication, and an architecture from `architecture`.

    Args:
        imperfect: whether loops may have a last turn that is shorter, or only sizes that divide.
    """
    return {
        **gemm._asdict(),
        "operand": 8 * precision.operand_bytes,
        "accumulator": 8 * precision.accumulator_bytes,
        "architecture": nodes,
        "imperfect": imperfect,
    }


def architecture(design: Mapping[str, Any], table: EnergyTable) -> list[dict[str, Any]]:
    """An accelerator in accelforge's terms, from the outermost memory: sizes in bits, energies in J per bit
    or multiply-add, rates of 1 per second.
    """
    stays = STAYS[design["dataflow"]]
    share = 0.5 if design["double_buffering"] else 1.0  # the rest takes the next tiles
    buffer_bytes = KIB * design["buffer_kb"]
    off_chip = table.dram_pj_per_byte
    return [
        memory("off_chip", "inf", (off_chip, off_chip), "All"),
        memory("buffer", int(8 * share * buffer_bytes), _sram(table, buffer_bytes), "All"),
        {
            "type": "Toll",
            "name": "network",
            "direction": "up_and_down",
            "actions": [_action("read", table.noc_pj_per_byte / 8)],
            "tensors": {"keep": "All"},
            **COSTLESS,
        },
        pe_array(design["rows"], design["cols"], stays),
        memory("l1", 8 * design["l1_bytes"], _sram(table, design["l1_bytes"]), stays),
        mac(float(table.mac_pj(design["precision"]))),
    ]


COSTLESS = {"leak_power": 0, "area": 0}  # leakage and area are left out


def memory(name: str, bits: int | str, pj_per_byte: tuple[float, float], keeps: str) -> dict[str, Any]:
    """A memory that reads and writes at one bit per second."""
    read, write = pj_per_byte
    actions = [_action("read", read / 8), _action("write", write / 8)]
    return {
        "type": "Memory",
        "name": name,
        "size": bits,
        "actions": actions,
        "tensors": {"keep": keeps},
        **COSTLESS,
    }


def pe_array(rows: int, cols: int, stays: str, least_use: float = 1.0) -> dict[str, Any]:
    """PEs where one operand stays, used to at least a share of each side where that is possible."""
    down, across = REUSED[stays]
    sides = (("columns", cols, across), ("rows", rows, down))
    spatial = [
        {"name": name, "fanout": size, "reuse": reused, "min_usage": least_use}
        for name, size, reused in sides
    ]
    return {"type": "Container", "name": "array", "spatial": spatial}


def mac(pj: float) -> dict[str, Any]:
    """A multiply-adder that takes one second."""
    return {"type": "Compute", "name": "mac", "actions": [_action("compute", pj)], **COSTLESS}


def _action(name: str, pj: float) -> dict[str, Any]:
    return {"name": name, "energy": 1e-12 * pj, "throughput": 1}


def _sram(table: EnergyTable, capacity_bytes: int) -> tuple[float, float]:
    read, write = table.sram_pj_per_byte(capacity_bytes)
    return float(read), float(write)
