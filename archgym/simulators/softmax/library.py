"""A library of softmax kernels: one kernel for each of several workloads, scored by the geometric mean, as
benchmark suites are.

A kernel is a design of `SoftmaxCostModel`, so the space holds 17,280^W libraries. Metrics over the W
workloads:

    time_per_element = (prod_w  time_w(kernel_w) / (rows_w cols_w))^(1/W)
    time             = sum_w time_w(kernel_w)                                   (each workload once)
    traffic          = sum_w traffic_w(kernel_w)
    sum_error        = max_w sum_error_w(kernel_w)

Neither mean nor sum couples the kernels, nor does a limit on the largest error: the best library consists of
the best kernels, which W enumerations of 17,280 designs find. So the optimum of a space far too large to
enumerate is known; agents do not see that the kernels may be searched one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from archgym.errors import ArchGymError
from archgym.objective import AtMost, Minimize, Objective
from archgym.simulator import Metric, Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.model import SoftmaxCostModel
from archgym.space import Array, DesignSpace, Indices

SEPARABLE = ("time_per_element_ns", "time_s")  # metrics that are least where each kernel's is


class SoftmaxLibrary(Simulator):
    """One softmax kernel per workload; infeasible if any of its kernels is.

    Args:
        workloads: [rows, cols] of each workload.
        calibration: name, path or `Calibration`, as for `SoftmaxCostModel`.

    Raises:
        ArchGymError: no workload, a workload that is not two positive integers, or a calibration that is
            unknown or invalid.
    """

    identity = "archgym.simulators.softmax.library:SoftmaxLibrary"

    metrics = (
        Metric("time_per_element_ns", unit="ns", better="lower"),
        Metric("time_s", unit="s", better="lower"),
        Metric("memory_traffic_bytes", unit="B", better="lower"),
        Metric("sum_error", unit="1", better="lower"),
    )

    def __init__(
        self, workloads: Sequence[Sequence[int]], calibration: str | Path | Calibration | None = None
    ):
        if (
            isinstance(workloads, str)
            or not len(workloads)
            or not all(isinstance(w, Sequence) and len(w) == 2 for w in workloads)
        ):
            raise ArchGymError(
                "workloads must be a list of [rows, cols], such as [[1, 4096], [1024, 1024]], not "
                f"{workloads!r}"
            )
        self.kernels = [Tabulated(SoftmaxCostModel(rows, cols, calibration)) for rows, cols in workloads]
        self.elements = np.array([rows * cols for rows, cols in workloads], float)  # [W]
        self.space = DesignSpace.join(**{f"kernel{w}": kernel.space for w, kernel in enumerate(self.kernels)})

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 8 W] -> every metric, float64 [B], and `feasible`, bool [B]."""
        parts = [
            kernel.evaluate_indices(part)
            for kernel, part in zip(self.kernels, self._split(indices), strict=True)
        ]
        time_s, traffic, sum_error = (
            np.stack([part[m] for part in parts]) for m in ("time_s", "memory_traffic_bytes", "sum_error")
        )  # [W, B]
        return {
            "time_per_element_ns": np.exp(np.log(1e9 * time_s / self.elements[:, None]).mean(axis=0)),
            "time_s": time_s.sum(axis=0),
            "memory_traffic_bytes": traffic.sum(axis=0),
            "sum_error": sum_error.max(axis=0),
            "feasible": np.stack([part["feasible"] for part in parts]).all(axis=0),
        }

    def canonical(self, indices: Indices) -> Indices:
        """Each kernel's representative: [B, 8 W] -> [B, 8 W]."""
        return np.concatenate(
            [kernel.canonical(part) for kernel, part in zip(self.kernels, self._split(indices), strict=True)],
            axis=1,
        )

    def optimum(self, objective: Objective) -> Indices | None:
        """The best kernels side by side, int64 [8 W], for objectives that minimise time under limits on
        `sum_error`; else None.
        """
        term, *others = objective.terms
        limits = [c for c in objective.constraints if isinstance(c, AtMost) and c.metric == "sum_error"]
        separable = (
            isinstance(term, Minimize)
            and term.metric in SEPARABLE
            and term.weight > 0
            and objective.form in ("log", "linear")
        )
        if others or not separable or len(limits) < len(objective.constraints):
            return None
        best = [
            kernel.optimum(Objective(Minimize("time_s"), *limits, form="linear")) for kernel in self.kernels
        ]
        feasible = [kernel for kernel in best if kernel is not None]
        return np.concatenate(feasible) if len(feasible) == len(best) else None

    def _split(self, indices: Indices) -> list[Indices]:
        return np.split(indices, len(self.kernels), axis=1)
