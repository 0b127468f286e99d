"""SCALE-Sim as a simulator of accelerators: cycles of systolic arrays.

    cycles      = sum over layers of groups * repeats * cycles(M, N, Kd)   every group is a matrix
                                                                           multiplication
    latency     = cycles / clock
    utilization = MACs / (cycles * rows * columns)

The tool simulates the array cycle by cycle without stalls, so that buffers, bandwidths, precision and L1 have
no effect. Its simulation of the memories takes 10 to 100 times longer, minutes for a layer on a small array,
and is left out, with off-chip traffic. `archgym.simulators.accelerator.systolic.cycles` has the same cycles
in closed form.

Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators using
SCALE-Sim", ISPASS 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.simulators.accelerator.backends.jobs import Gemm, macs, require_dataflow
from archgym.simulators.accelerator.backends.workload import WorkloadByTool
from archgym.simulators.accelerator.design import select_metrics
from archgym.space import Indices

DATAFLOWS = ("systolic_ws", "systolic_os", "systolic_is")
USED = ("dataflow", "rows", "cols", "clock_mhz")  # parameters with an effect


class ScaleSim(WorkloadByTool):
    """A workload on systolic arrays. Designs with other dataflows, and layers that exceed this machine's
    memory, fail.

    Args:
        workload, dimensions: arguments of `load_workload`.

    Raises:
        ArchGymError: an unknown workload; SCALE-Sim is not installed.
    """

    identity = "archgym.simulators.accelerator.backends.scalesim:ScaleSim"
    tool_name = "scalesim"

    # cycles without stalls are all compute_cycles
    metrics = select_metrics("latency_s", "cycles", "compute_cycles", "utilization")

    def simulate(self, design: Mapping[str, Any]) -> dict[str, float]:
        dataflow = require_dataflow(design, DATAFLOWS, "SCALE-Sim simulates systolic arrays")
        rows, cols = design["rows"], design["cols"]
        cycles = sum(
            count * self.gemm(dataflow, rows, cols, *gemm)["cycles"] for gemm, count in self.gemms.items()
        )
        return {
            "latency_s": cycles / (1e6 * design["clock_mhz"]),
            "cycles": cycles,
            "compute_cycles": cycles,
            "utilization": macs(self.gemms) / (cycles * rows * cols),
        }

    def gemm(self, dataflow: str, rows: int, cols: int, m: int, n: int, k: int) -> dict[str, Any]:
        """One matrix multiplication: `cycles`, and words `ifmap_reads`, `filter_reads` and `ofmap_writes`.

        Raises:
            ArchGymError: the tool failed.
        """
        return self.tool.ask(_job(dataflow, rows, cols, Gemm(m, n, k)))

    def canonical(self, indices: Indices) -> Indices:
        """Set parameters without effect to their first value: [B, 10] -> [B, 10]."""
        return indices * np.isin(self.space.names, USED)

    def job(self, design: Mapping[str, Any], gemm: Gemm) -> dict[str, Any]:
        return _job(design["dataflow"], design["rows"], design["cols"], gemm)

    def example(self) -> dict[str, Any]:
        return {**super().example(), "dataflow": DATAFLOWS[0]}


def _job(dataflow: str, rows: int, cols: int, gemm: Gemm) -> dict[str, Any]:
    return {"dataflow": dataflow.removeprefix("systolic_"), "rows": rows, "cols": cols, **gemm._asdict()}
