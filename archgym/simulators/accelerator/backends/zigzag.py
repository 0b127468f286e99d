"""ZigZag as a simulator of accelerators: energy and latency of weight-stationary arrays.

    cycles, energy  = sums over layers of groups * repeats * those of a matrix multiplication [M, Kd] x [Kd,
                    N]
    latency         = cycles / clock,   edp = energy * latency,   utilization = MACs / (cycles * rows *
                                                                  columns)

The design is described to the tool as

    PE              a multiplier, l1_bytes of memory for weights, a register for one partial sum
    array           rows take Kd, columns take N; operands are broadcast (nvdla) or move one PE per cycle
                    (systolic_ws)
    global buffer   inputs and outputs; ports of noc_bytes_per_cycle for reading and for writing
    off-chip        one port of dram_gb_s / clock, rounded to whole bits per cycle

like its own `tpu_like`. Unlike in the analytical model, weights move directly from off-chip memory to the
PEs: in the tool a memory holds all data of the memories below it, and the weights of many PEs would exceed
the buffer. The tool searches for the loop order and its division among the memories with the least energy.
Energies per access are those of the analytical model's table, without leakage. By the tool's own rule, data
that fill less than half of a memory are double-buffered, so that the parameter double_buffering has no
effect. Dataflows that keep outputs, inputs or kernel rows in the PEs need other hierarchies and are not
described.

Mei et al., "ZigZag: Enlarging joint architecture-mapping design space exploration for DNN accelerators", IEEE
TC 2021.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.simulators.accelerator.backends.jobs import Gemm, macs, require_dataflow
from archgym.simulators.accelerator.backends.workload import WorkloadByTool
from archgym.simulators.accelerator.design import KIB, PRECISIONS, select_metrics
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.workloads import Dimensions, Workload
from archgym.space import Indices

DATAFLOWS = ("nvdla", "systolic_ws")
UNUSED = ("double_buffering",)  # parameters without effect
BUFFER_WORD_BITS = 64  # minimum of an access to the global buffer or off-chip memory
OFF_CHIP_BYTES = 2**40  # more than any workload


class ZigZag(WorkloadByTool):
    """A workload on weight-stationary arrays. Designs with other dataflows, and those that fit no loop order,
    fail with the reason.

    Args:
        workload, dimensions: arguments of `load_workload`.
        technology: energy table by name or path.

    Raises:
        ArchGymError: an unknown workload or table; ZigZag is not installed.
    """

    identity = "archgym.simulators.accelerator.backends.zigzag:ZigZag"
    tool_name = "zigzag"

    metrics = select_metrics("latency_s", "cycles", "energy_j", "edp", "utilization", "dram_bytes")

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
        require_dataflow(design, DATAFLOWS, "ZigZag is given weight-stationary arrays")
        results = {gemm: self.tool.ask(self.job(design, gemm)) for gemm in self.gemms}
        totals = {
            name: sum(count * results[gemm][name] for gemm, count in self.gemms.items())
            for name in ("cycles", "energy_pj", "off_chip_accesses")
        }
        latency_s, energy_j = totals["cycles"] / (1e6 * design["clock_mhz"]), 1e-12 * totals["energy_pj"]
        return {
            "latency_s": latency_s,
            "cycles": totals["cycles"],
            "energy_j": energy_j,
            "edp": energy_j * latency_s,
            "utilization": macs(self.gemms) / (totals["cycles"] * design["rows"] * design["cols"]),
            "dram_bytes": totals["off_chip_accesses"] * _off_chip_bits(design) / 8,
        }

    def job(self, design: Mapping[str, Any], gemm: Gemm) -> dict[str, Any]:
        precision = PRECISIONS[design["precision"]]
        return {
            **gemm._asdict(),
            "operand": 8 * precision.operand_bytes,
            "accumulator": 8 * precision.accumulator_bytes,
            "hardware": hardware(design, self.technology),
            "mapping": mapping(design),
        }

    def canonical(self, indices: Indices) -> Indices:
        """Set parameters without effect to their first value: [B, 10] -> [B, 10]."""
        return indices * ~np.isin(self.space.names, UNUSED)


def hardware(design: Mapping[str, Any], technology: str = "45nm") -> dict[str, Any]:
    """An accelerator in ZigZag's terms: sizes in bits, bandwidths in bits per cycle, costs in pJ per
    access of a port's full width.
    """
    table, precision = load_energy_table(technology), PRECISIONS[design["precision"]]
    operand, accumulator = precision.operand_bytes, precision.accumulator_bytes
    buffer_bytes, off_chip_bits = KIB * design["buffer_kb"], _off_chip_bits(design)
    off_chip_pj = table.dram_pj_per_byte * off_chip_bits / 8

    def on_chip(capacity: int, port_bytes: int) -> tuple[float, float]:
        read, write = table.sram_pj_per_byte(capacity)
        return float(read) * port_bytes, float(write) * port_bytes

    weights = [
        _port("r_port_1", "read", 8 * operand, ["I2, tl"]),
        _port("w_port_1", "write", 8 * operand, ["I2, fh"]),
    ]
    sums = [
        _port("r_port_1", "read", 8 * accumulator, ["O, tl"]),
        _port("r_port_2", "read", 8 * accumulator, ["O, th"]),
        _port("w_port_1", "write", 8 * accumulator, ["O, fh"]),
        _port("w_port_2", "write", 8 * accumulator, ["O, fl"]),
    ]
    # Directions, from a memory's view: to the level below (tl), from the level above (fh); for outputs also
    # to above (th), from below (fl).
    reads, writes = ["I1, tl", "O, tl", "O, th"], ["I1, fh", "O, fh", "O, fl"]
    buffer_bits = 8 * design["noc_bytes_per_cycle"]
    buffer = [_port("r_port_1", "read", buffer_bits, reads), _port("w_port_1", "write", buffer_bits, writes)]
    off_chip = [_port("rw_port_1", "read_write", off_chip_bits, [*reads, *writes, "I2, tl", "I2, fh"])]
    return {
        "name": "archgym",
        "memories": {
            "l1": _memory(
                design["l1_bytes"], on_chip(design["l1_bytes"], operand), ["I2"], weights, shared=False
            ),
            "accumulator": _memory(accumulator, on_chip(accumulator, accumulator), ["O"], sums, shared=False),
            "buffer": _memory(
                buffer_bytes, on_chip(buffer_bytes, design["noc_bytes_per_cycle"]), ["I1", "O"], buffer
            ),
            "off_chip": _memory(OFF_CHIP_BYTES, (off_chip_pj, off_chip_pj), ["I1", "I2", "O"], off_chip),
        },
        "operational_array": {
            "unit_energy": float(table.mac_pj(design["precision"])),
            "unit_area": 1.0,
            "dimensions": ["D1", "D2"],
            "sizes": [design["rows"], design["cols"]],
            "systolic_dimensions": ["D1", "D2"] if design["dataflow"] == "systolic_ws" else [],
        },
    }


def mapping(design: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The dimensions that the array takes in space, in ZigZag's terms."""
    return [
        {
            "name": "default",
            "spatial_mapping": {"D1": [f"K, {design['rows']}"], "D2": [f"N, {design['cols']}"]},
            "memory_operand_links": {"I": "I1", "W": "I2", "O": "O"},
        }
    ]


def _memory(
    capacity: int,
    costs: tuple[float, float],
    operands: list[str],
    ports: list[dict[str, Any]],
    shared: bool = True,
) -> dict[str, Any]:
    read, write = costs
    return {
        "size": 8 * capacity,
        "r_cost": read,
        "w_cost": write,
        "area": 0.0,
        "latency": 1,
        "operands": operands,
        "ports": ports,
        "served_dimensions": ["D1", "D2"] if shared else [],  # [] for one memory per PE
    }


def _port(name: str, kind: str, bits: int, allocation: list[str]) -> dict[str, Any]:
    least = min(bits, BUFFER_WORD_BITS)
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": least,
        "bandwidth_max": bits,
        "allocation": allocation,
    }


def _off_chip_bits(design: Mapping[str, Any]) -> int:
    return round(8e3 * float(design["dram_gb_s"]) / float(design["clock_mhz"]))
