"""Random kernels measured on this machine: what calibrations are fitted to and models are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.machine.checking import Workload, mistake
from archgym.simulators.softmax.machine.compiler import CompilerError
from archgym.simulators.softmax.machine.kernels import Kernel, Kernels, impossible
from archgym.simulators.softmax.machine.timing import Timer
from archgym.simulators.softmax.model import SoftmaxCostModel

BATCH = 8  # designs measured in turns
FIXED_FLOATS = 2**17  # what a measurement costs at least, as elements: its rounds have a least length

Share = Callable[[float], None]  # told how much is done, from 0 to 1


@dataclass(frozen=True)
class Sample:
    """Measured points: a design on a shape.

    Attributes:
        designs: the parameters' values, each a column [points].
        rows, cols: the shapes, int64 [points].
        seconds: what was measured, float64 [points].
        unreliable: bool [points].
    """

    designs: Mapping[str, npt.NDArray[Any]]
    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    unreliable: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.seconds)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.designs[name]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The different shapes, in their order."""
        return list(dict.fromkeys(zip(self.rows.tolist(), self.cols.tolist(), strict=True)))

    def where(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        """The points where `chosen`, bool [points], is true."""
        designs = {name: column[chosen] for name, column in self.designs.items()}
        return Sample(designs, self.rows[chosen], self.cols[chosen], self.seconds[chosen], self.unreliable[chosen])

    def predicted(self, calibration: Calibration) -> npt.NDArray[np.float64]:
        """What the cost model says, seconds [points]."""
        seconds = np.empty(len(self))
        for rows, cols in self.shapes:
            here = (self.rows == rows) & (self.cols == cols)
            model = SoftmaxCostModel(rows, cols, calibration)
            seconds[here] = model.evaluate({name: column[here] for name, column in self.designs.items()})["time_s"]
        return seconds


class Agreement(NamedTuple):
    """How well predictions agree with what was measured.

    Attributes:
        mape: mean of |predicted / measured - 1|.
        spearman: rank correlation of the time per element (that of the whole time would be near 1 for any model, the sizes differ so).
    """

    mape: float
    spearman: float


def agreement(predicted: npt.NDArray[np.float64], sample: Sample) -> Agreement:
    """Predicted seconds [points] against a sample, where that is reliable; NaN where it is nowhere."""
    from scipy.stats import spearmanr

    reliable = ~sample.unreliable
    if reliable.sum() < 2:
        return Agreement(np.nan, np.nan)
    predicted, measured = predicted[reliable], sample.seconds[reliable]
    elements = (sample.rows * sample.cols)[reliable]
    rank = spearmanr(predicted / elements, measured / elements).statistic
    return Agreement(mape=float(np.abs(predicted / measured - 1).mean()), spearman=float(rank))


def random_designs(count: int, rng: np.random.Generator, **fixed: Any) -> list[dict[str, Any]]:
    """Different designs that this machine can run, some of their parameters fixed; as many as there are if fewer than `count`."""
    space = SoftmaxCostModel.space
    found: dict[bytes, dict[str, Any]] = {}
    for row in space.sample(200 * count, rng):
        design = {**space.design(row), **fixed}
        if len(found) < count and not impossible(design):
            found.setdefault(repr(design).encode(), design)
    return list(found.values())


def first_choices(model: SoftmaxCostModel, count: int, tolerance: float = np.inf) -> list[dict[str, Any]]:
    """The different designs that a model finds fastest, of those that this machine can run: first those whose sum_error it finds
    tolerable, then the others."""
    indices = np.concatenate(list(model.space.enumerate()))
    indices = np.unique(model.canonical(indices), axis=0)
    columns = model.evaluate_indices(indices)
    order = np.lexsort((columns["time_s"], columns["sum_error"] > tolerance))
    designs = (model.space.design(indices[i]) for i in order[columns["feasible"][order]])
    return list(islice((design for design in designs if not impossible(design)), count))


def build_and_check(kernels: Kernels, designs: Sequence[Mapping[str, Any]], share: Share = lambda _: None) -> None:
    """Compile designs and hold them against float64.

    Raises:
        CompilerError: one does not compile, or gives wrong results.
    """
    for start in range(0, len(designs), BATCH):
        batch = designs[start : start + BATCH]
        for reason in kernels.build(Kernel.of(design) for design in batch).values():
            raise CompilerError(reason)
        for design in batch:
            if wrong := mistake(kernels, design):
                raise CompilerError(f"a kernel gives wrong results: {wrong}; {dict(design)}")
        share(min(1.0, (start + BATCH) / len(designs)))


def measure_sample(
    kernels: Kernels,
    designs: Sequence[Mapping[str, Any]],
    shapes: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    share: Share = lambda _: None,
) -> Sample:
    """Time designs that have been built, on every shape (rows, cols)."""
    weights = np.cumsum([0] + [FIXED_FLOATS + rows * cols for rows, cols in shapes])
    measurements = []
    for i, (rows, cols) in enumerate(shapes):
        workload = Workload(rows, cols, rng)
        timer = Timer(kernels, workload.x, workload.y, rng)
        for start in range(0, len(designs), BATCH):
            share(float((weights[i] + (weights[i + 1] - weights[i]) * start / len(designs)) / weights[-1]))
            measurements.append(timer.measure(designs[start : start + BATCH]))
    share(1.0)
    names = SoftmaxCostModel.space.names
    return Sample(
        designs={name: np.tile(np.array([design[name] for design in designs]), len(shapes)) for name in names},
        rows=np.repeat([rows for rows, _ in shapes], len(designs)),
        cols=np.repeat([cols for _, cols in shapes], len(designs)),
        seconds=np.concatenate([each.seconds for each in measurements]),
        unreliable=np.concatenate([each.unreliable for each in measurements]),
    )
