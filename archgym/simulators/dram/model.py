"""A DRAM controller on a trace of memory requests, looked up in a table of all designs.

The table holds the output of the cycle-level simulator DRAMSys 4.0 (DDR3-1600, 10,000 requests), read with
its units:

    latency_s          total time of the trace
    energy_j           total energy of the DRAM
    power_w            average power; within 0.13 % of energy_j / latency_s, as the simulator averages
                       differently
    bandwidth_bytes_s  average bandwidth

The published environment (Krishnan et al., "ArchGym", ISCA 2023) read the time without its unit, the largest
one that divides the time exactly, so that latencies in ns and ps differ by a factor of 1000.
`time_unit="dropped"` reproduces this:

    latency without its unit   t / 1000 where t is a multiple of 1 ns, else t
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import unknown
from archgym.objective import Objective
from archgym.simulator import Simulator
from archgym.simulators.dram.space import METRICS, SPACE, canonical
from archgym.simulators.dram.table import load_table
from archgym.space import Array, Indices

PER_UNIT = np.array([1e12, 1e14, 1e5])  # figures per unit of the metrics: ps, 0.01 pJ, 0.01 mW
BYTES_S = 1e7 / 8  # B/s per 0.01 Gbit/s
PS_PER_NS = 1000
TIME_UNITS = ("printed", "dropped")


class DramController(Simulator):
    """Looks designs up, so that the optimum of any objective is known.

    Args:
        trace: name from `list_traces()`.
        time_unit: "printed", or "dropped" for the wrong latencies of the published environment.

    Raises:
        ArchGymError: an unknown trace or `time_unit`, or a damaged table.
    """

    identity = "archgym.simulators.dram.model:DramController"
    tabulated = True

    space = SPACE
    metrics = METRICS

    def __init__(self, trace: str = "cloud-1", time_unit: str = "printed"):
        if time_unit not in TIME_UNITS:
            raise unknown("time_unit of DramController", time_unit, TIME_UNITS)
        self.trace = trace
        self.time_unit = time_unit
        self.table = load_table(trace)
        self._outcome = self.table.outcome
        figures = self.table.figures.T
        # float64 [4, K]
        self._values = np.concatenate([figures[:3] / PER_UNIT[:, None], figures[3:] * BYTES_S])
        if time_unit == "dropped":
            self._values[0] /= np.where(self.table.figures[:, 0] % PS_PER_NS == 0, PS_PER_NS, 1)
        self._names = tuple(metric.name for metric in self.metrics)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look designs up: int64 [B, 10] in, columns [B] out; all feasible."""
        outcome = self._outcome.take(self.space.to_ordinal(indices))
        columns: dict[str, Array] = dict(zip(self._names, self._values.take(outcome, axis=1), strict=True))
        columns["feasible"] = np.ones(len(indices), bool)
        return columns

    def canonical(self, indices: Indices) -> Indices:
        """Set the refresh bounds of designs without refreshes to their first value: [B, 10] -> [B, 10]."""
        return canonical(indices)

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Reward float64 [442368] and validity bool [442368] of every design, by ordinal."""
        rewards = objective(
            dict(zip(self._names, self._values, strict=True)), np.ones(self._values.shape[1], bool)
        )
        return rewards.reward.take(self._outcome), rewards.valid.take(self._outcome)

    def optimum(self, objective: Objective) -> Indices | None:
        """The valid design with the highest reward, [10], of equals that with the lowest ordinal; None if
        no design is valid.
        """
        reward, valid = self.table_rewards(objective)
        best = int(np.where(valid, reward, -np.inf).argmax())
        return self.space.from_ordinal(np.array([best]))[0] if valid[best] else None

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table."""
        return {**super().specification, "table": self.table.digest}
