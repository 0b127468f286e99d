"""Random kernels measured on this machine: the data to which calibrations are fitted, and on which models
are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.progress import Progress, silent
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.machine.checking import Workload, why_wrong
from archgym.simulators.softmax.machine.cpu import instruction_sets
from archgym.simulators.softmax.machine.kernels import Kernel, Kernels, why_unsupported
from archgym.simulators.softmax.machine.probing import ProbedTimer, Probes
from archgym.simulators.softmax.machine.timing import reference_design
from archgym.simulators.softmax.model import SoftmaxCostModel

BATCH = 8  # designs measured in turns
FIXED_FLOATS = 2**17  # fixed cost of a measurement, whose rounds have a minimum length, in elements


@dataclass(frozen=True)
class Sample:
    """Measured points: a design on a shape.

    Attributes:
        designs: values of the parameters, each a column [points].
        rows, cols: shapes, int64 [points].
        seconds: measured times, float64 [points].
        unreliable: whether the measurement was disturbed, bool [points].
        probes: times of the probes beside each point, if any were measured.
        attempts: number of times that a point was measured, int64 [points], if known.
    """

    designs: Mapping[str, npt.NDArray[Any]]
    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    unreliable: npt.NDArray[np.bool_]
    probes: Probes | None = None
    attempts: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.designs[name]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The distinct shapes, in their order."""
        return list(dict.fromkeys(zip(self.rows.tolist(), self.cols.tolist(), strict=True)))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        """The points where `chosen`, bool [points], is true."""
        return replace(
            self,
            designs={name: column[chosen] for name, column in self.designs.items()},
            **{name: getattr(self, name)[chosen] for name in ("rows", "cols", "seconds", "unreliable")},
            probes=None if self.probes is None else self.probes.where(chosen),
            attempts=None if self.attempts is None else self.attempts[chosen],
        )

    def predicted(self, calibration: Calibration) -> npt.NDArray[np.float64]:
        """Times by the cost model, seconds [points]."""
        seconds = np.empty(len(self))
        for rows, cols in self.shapes:
            here = (self.rows == rows) & (self.cols == cols)
            model = SoftmaxCostModel(rows, cols, calibration)
            seconds[here] = model.evaluate({name: column[here] for name, column in self.designs.items()})[
                "time_s"
            ]
        return seconds


class Agreement(NamedTuple):
    """Agreement of predictions with measurements.

    Attributes:
        mape: mean of |predicted / measured - 1|.
        spearman: rank correlation of the time per element (that of the whole time is near 1 for any model,
            since sizes differ greatly).
    """

    mape: float
    spearman: float


def agreement(predicted: npt.NDArray[np.float64], sample: Sample) -> Agreement:
    """Predicted seconds [points] against the reliable points of a sample; NaN with fewer than two."""
    from scipy.stats import spearmanr

    reliable = ~sample.unreliable
    if reliable.sum() < 2:
        return Agreement(np.nan, np.nan)
    predicted, measured = predicted[reliable], sample.seconds[reliable]
    elements = (sample.rows * sample.cols)[reliable]
    rank = spearmanr(predicted / elements, measured / elements).statistic
    return Agreement(mape=float(np.abs(predicted / measured - 1).mean()), spearman=float(rank))


def random_designs(count: int, rng: np.random.Generator, **fixed: Any) -> list[dict[str, Any]]:
    """Distinct designs that this machine can run, some of their parameters fixed: `count`, or all where
    fewer exist.
    """
    space = SoftmaxCostModel.space
    designs: dict[str, dict[str, Any]] = {}
    for row in space.sample(200 * count, rng):
        design = {**space.design(row), **fixed}
        if len(designs) < count and not why_unsupported(design):
            designs.setdefault(repr(design), design)
    return list(designs.values())


def first_choices(model: SoftmaxCostModel, count: int, tolerance: float = np.inf) -> list[dict[str, Any]]:
    """Distinct designs of least predicted time that this machine can run: first those of a tolerable
    predicted sum_error, then others.
    """
    indices = np.concatenate(list(model.space.enumerate()))
    indices = np.unique(model.canonical(indices), axis=0)
    columns = model.evaluate_indices(indices)
    order = np.lexsort((columns["time_s"], columns["sum_error"] > tolerance))
    designs = (model.space.design(indices[i]) for i in order[columns["feasible"][order]])
    return list(islice((design for design in designs if not why_unsupported(design)), count))


def build_and_check(
    kernels: Kernels, designs: Sequence[Mapping[str, Any]], progress: Progress = silent
) -> None:
    """Compile designs and compare their results with float64.

    Raises:
        CompilerError: a design does not compile, or gives wrong results.
    """
    for start in range(0, len(designs), BATCH):
        batch = designs[start : start + BATCH]
        for reason in kernels.build(Kernel.from_design(design) for design in batch).values():
            raise CompilerError(reason)
        for design in batch:
            if wrong := why_wrong(kernels, design):
                raise CompilerError(f"a kernel gives wrong results: {wrong}; {dict(design)}")
        progress("compiling kernels", min(1.0, (start + BATCH) / len(designs)))


def build_probes(kernels: Kernels) -> None:
    """Compile the probes.

    Raises:
        CompilerError: one does not compile.
    """
    designs = [{**reference_design(), "isa": isa} for isa in instruction_sets()]
    for reason in kernels.build(map(Kernel.from_design, designs)).values():
        raise CompilerError(reason)


def measure_sample(
    kernels: Kernels,
    designs: Sequence[Mapping[str, Any]],
    shapes: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    progress: Progress = silent,
) -> Sample:
    """Time designs that have been built beside probes, on every shape (rows, cols)."""
    build_probes(kernels)
    weights = np.cumsum([0] + [FIXED_FLOATS + rows * cols for rows, cols in shapes])
    measurements = []
    for i, (rows, cols) in enumerate(shapes):
        workload = Workload(rows, cols, rng)
        timer = ProbedTimer(kernels, workload.x, workload.y, rng)
        for start in range(0, len(designs), BATCH):
            done = weights[i] + (weights[i + 1] - weights[i]) * start / len(designs)
            progress("measuring kernels", float(done / weights[-1]))
            measurements.append(timer.measure_probed(designs[start : start + BATCH]))
    progress("measuring kernels", 1.0)
    names = SoftmaxCostModel.space.names
    return Sample(
        designs={
            name: np.tile(np.array([design[name] for design in designs]), len(shapes)) for name in names
        },
        rows=np.repeat([rows for rows, _ in shapes], len(designs)),
        cols=np.repeat([cols for _, cols in shapes], len(designs)),
        seconds=np.concatenate([each.seconds for each in measurements]),
        unreliable=np.concatenate([each.unreliable for each in measurements]),
        probes=Probes.joined([each.probes for each in measurements]),
        attempts=np.concatenate([each.attempts for each in measurements]),
    )
