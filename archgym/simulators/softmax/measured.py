"""Softmax kernels measured on this machine: each design is compiled, checked against float64, and timed.

The other metrics follow from these two and the algorithm, as in `model`:

    time_s    processor time of one call, of the slower thread where there are two (see `timing`)
    sum_error mean over rows of |sum(y) - 1|, summed in float64, for x ~ N(0, 4^2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archgym.errors import whole
from archgym.simulator import Metric, Simulator
from archgym.simulators.compiler import Compiler, sources_digest
from archgym.simulators.softmax.machine.checking import Workload, why_wrong
from archgym.simulators.softmax.machine.cpu import processor
from archgym.simulators.softmax.machine.kernels import (
    SOURCES,
    Kernel,
    Kernels,
    kernel_compiler,
    why_unsupported,
)
from archgym.simulators.softmax.machine.timing import Timer
from archgym.simulators.softmax.model import PASSES_OVER_MEMORY, TRAFFIC, SoftmaxCostModel, canonical_tiles
from archgym.space import Array, Indices


class MeasuredSoftmax(Simulator):
    """Time and accuracy of softmax kernels on this machine. Run it in a worker process (`Isolated`): machine
    code can crash.

    Designs whose instructions this processor lacks, that need more processors than this process may use, or
    with more accumulators than unrolled vectors are infeasible; one that does not compile or gives wrong
    results fails, with the reason.

    Args:
        rows, cols: shape of the workload, as for `SoftmaxCostModel`.
        seed: seed for the input and the order of measurements.

    Raises:
        ArchGymError: rows or cols is not a positive integer; no C compiler works here.
    """

    identity = "archgym.simulators.softmax.measured:MeasuredSoftmax"

    deterministic = False
    space = SoftmaxCostModel.space
    metrics = (
        *SoftmaxCostModel.metrics,
        # of the reference design, measured beside it
        Metric("relative_time", unit="1", better="lower", report_only=True),
        Metric("noise", unit="1", better="lower", report_only=True),
        Metric("unreliable", unit="1", better="lower", report_only=True),
    )

    def __init__(self, rows: int = 1, cols: int = 65536, seed: int = 0):
        self.rows, self.cols = whole("rows", rows, least=1), whole("cols", cols, least=1)
        self.seed = seed
        self.compiler = kernel_compiler()
        self._workshop: _Workshop | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workshop": None}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Measure designs in turns: int64 [B, 8] -> every metric [B], `feasible`, and `failure` if any
        design was wrong or not compiled.
        """
        designs = [self.space.design(row) for row in indices]
        supported = [i for i, design in enumerate(designs) if not why_unsupported(design)]
        if self._workshop is None:
            self._workshop = _Workshop(self.compiler, self.rows, self.cols, self.seed)
        failures = dict(zip(supported, self._workshop.prepare([designs[i] for i in supported]), strict=True))
        rows = [i for i in supported if not failures[i]]
        columns: dict[str, Array] = {metric.name: np.full(len(designs), np.nan) for metric in self.metrics}
        for name, values in self._workshop.measure([designs[i] for i in rows]).items():
            columns[name][rows] = values
        columns["feasible"] = np.isin(np.arange(len(designs)), rows)
        if any(failures.values()):
            columns["failure"] = np.array([failures.get(i) or "" for i in range(len(designs))])
        return columns

    def canonical(self, indices: Indices) -> Indices:
        """The representatives of `SoftmaxCostModel`: [B, 8] -> [B, 8]."""
        return canonical_tiles(indices, self.cols)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and the processor, the compiler, the kernels' code and the place of the
        data, on which times depend too.
        """
        machine = {
            "processor": processor(),
            "compiler": self.compiler.version,
            "kernels": sources_digest(SOURCES),
            "memory": "one aligned block",  # times of data put anywhere are not taken for these
        }
        return {**super().specification, **machine}


class _Workshop:
    """State of a measuring process: kernels, data, and the errors of the kernels that it has checked."""

    def __init__(self, compiler: Compiler, rows: int, cols: int, seed: int):
        self.kernels = Kernels(compiler)
        rng = np.random.default_rng(seed)
        self.workload = Workload(rows, cols, rng)
        self.timer = Timer(self.kernels, self.workload.x, self.workload.y, rng)
        self.sum_errors: dict[tuple[Any, ...], float] = {}  # by design

    def prepare(self, designs: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Compile and check designs; for each the reason why it cannot be used, or None."""
        refused = self.kernels.build(Kernel.from_design(design) for design in designs)
        return [refused.get(Kernel.from_design(design)) or self._check(design) for design in designs]

    def _check(self, design: Mapping[str, Any]) -> str | None:
        key = tuple(design.values())
        if key not in self.sum_errors:
            if wrong := why_wrong(self.kernels, design):
                return f"wrong results: {wrong}"
            error = self.workload.sum_error(self.kernels, design)
            if np.isnan(error):
                return "wrong results: elements of the workload are off"
            self.sum_errors[key] = error
        return None

    def measure(self, designs: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Every metric of prepared designs, as columns."""
        if not designs:
            return {}
        measured, size = self.timer.measure(designs), self.workload.x.size
        traffic = np.array([4.0 * size * TRAFFIC[design["algorithm"]] for design in designs])
        return {
            "time_s": measured.seconds,
            "time_per_element_ns": 1e9 * measured.seconds / size,
            "bandwidth_gb_s": 1e-9 * traffic / measured.seconds,
            "memory_traffic_bytes": traffic,
            "passes": np.array([PASSES_OVER_MEMORY[design["algorithm"]] for design in designs], float),
            "sum_error": np.array([self.sum_errors[tuple(design.values())] for design in designs]),
            "relative_time": measured.ratio,
            "noise": measured.noise,
            "unreliable": measured.unreliable.astype(float),
        }
