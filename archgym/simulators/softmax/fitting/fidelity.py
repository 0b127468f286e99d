"""Fidelity of the softmax cost model on this machine: its predictions against measured kernels.

For each shape a random sample of designs is measured, and the designs of least predicted time:

    MAPE       mean of |predicted / measured - 1| over the random sample, measured times without the drift
               since the calibration (`drift`)
    as measured
               the same with the times as they were measured
    Spearman   rank correlation of predicted with measured time over the random sample, without drift
    regret     time of the model's first choice / time of the best design measured
    of top 10  time of the best of the model's ten first choices / time of the best of the random sample

The last two compare extremes of noisy measurements, so the candidates for each extreme are measured again,
side by side, and only those measurements count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archgym.progress import Progress, silent
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.fitting.drift import Drift, drift
from archgym.simulators.softmax.fitting.sample import (
    Agreement,
    Sample,
    agreement,
    build_and_check,
    first_choices,
    measure_sample,
    random_designs,
)
from archgym.simulators.softmax.machine.checking import Workload
from archgym.simulators.softmax.machine.kernels import Kernels
from archgym.simulators.softmax.machine.timing import Timer
from archgym.simulators.softmax.model import SoftmaxCostModel
from archgym.space import Array

CHOICES = 10  # first choices of the model that are measured
CANDIDATES = 5  # designs of each kind that are measured again


@dataclass(frozen=True)
class ShapeFidelity:
    """The fidelity on one shape.

    Attributes:
        shape: (rows, cols).
        points, unreliable: number of designs of the random sample, and of those whose measurement was
            disturbed (these do not count).
        mape, as_measured, spearman: figures of the module's docstring.
        drift: drift of the reliable points.
        repeated: number of designs that were measured more than once, since they or their probes were
            disturbed.
        best, choice: best design measured, and first choice of the model.
        best_ns, choice_ns: measured time of both, ns per element.
        regret: regret of the model's first choice, a factor of 1 or more.
        top: best time of the model's ten first choices over that of the random sample; below 1 the model's
            choice is better.
    """

    shape: tuple[int, int]
    points: int
    unreliable: int
    repeated: int
    mape: float
    as_measured: float
    spearman: float
    drift: Drift
    best: dict[str, Any]
    choice: dict[str, Any]
    best_ns: float
    choice_ns: float
    regret: float
    top: float


@dataclass(frozen=True)
class Fidelity:
    """A cost model against a machine.

    Attributes:
        shapes: fidelity on each shape.
        sample: random sample on every shape, as it was measured.
        predicted: predicted times of the sample, seconds [points].
        drift: drift of each point.
    """

    shapes: list[ShapeFidelity]
    sample: Sample
    predicted: Array
    drift: Drift

    @property
    def agreement(self) -> Agreement:
        """Agreement over all reliable points, without drift."""
        return agreement(self.predicted, self.steady)

    @property
    def as_measured(self) -> Agreement:
        """Agreement over all reliable points, with drift."""
        return agreement(self.predicted, self.sample)

    @property
    def steady(self) -> Sample:
        """The sample without drift."""
        return replace(self.sample, seconds=self.sample.seconds / self.drift.factor)

    @property
    def reliable_drift(self) -> Drift:
        """Drift of the reliable points."""
        return self.drift.where(~self.sample.unreliable)

    @property
    def ratio(self) -> Array:
        """Predicted over measured times of the reliable points, without drift."""
        reliable = ~self.sample.unreliable
        return np.asarray(self.predicted[reliable] / self.steady.seconds[reliable])

    def of(self, shape: tuple[int, int]) -> Fidelity:
        """The points on one shape (rows, cols)."""
        here = (self.sample.rows == shape[0]) & (self.sample.cols == shape[1])
        return Fidelity([], self.sample.where(here), self.predicted[here], self.drift.where(here))

    def terms(self) -> dict[str, dict[Any, tuple[int, float, float]]]:
        """Errors by parameter and value: (points, median of predicted / measured, MAPE)."""
        reliable = self.sample.where(~self.sample.unreliable)
        errors: dict[str, dict[Any, tuple[int, float, float]]] = {}
        for name in SoftmaxCostModel.space.names:
            for value in SoftmaxCostModel.space[name].grid.tolist():
                ratio = self.ratio[reliable[name] == value]
                if len(ratio):
                    errors.setdefault(name, {})[value] = (
                        len(ratio),
                        float(np.median(ratio)),
                        float(np.abs(ratio - 1).mean()),
                    )
        return errors


def fidelity(
    kernels: Kernels,
    calibration: Calibration,
    shapes: Sequence[tuple[int, int]],
    *,
    designs: int = 300,
    seed: int = 0,
    compiling: Progress = silent,
    measuring: Progress = silent,
) -> Fidelity:
    """Measure random designs and the model's choices on every shape (rows, cols), and compare.

    Args:
        kernels: compiler and runner of kernels.
        calibration: calibration of the model.
        shapes: (rows, cols) of each workload.
        designs: size of the random sample, which is the same for every shape.
        seed: seed for the sample, the inputs and the order of measurements.
        compiling, measuring: progress of each.

    Raises:
        CompilerError: a kernel does not compile, or gives wrong results.
    """
    rng = np.random.default_rng(seed)
    sampled = random_designs(designs, rng)
    choices = {shape: first_choices(SoftmaxCostModel(*shape, calibration), CHOICES) for shape in shapes}
    build_and_check(
        kernels, [*sampled, *(design for chosen in choices.values() for design in chosen)], compiling
    )
    sample = measure_sample(kernels, sampled, shapes, rng, measuring)
    found = Fidelity([], sample, sample.predicted(calibration), drift(sample, calibration))
    for shape in shapes:
        found.shapes.append(_compare(kernels, choices[shape], sampled, found.of(shape), rng))
    return found


def _compare(
    kernels: Kernels,
    choices: list[dict[str, Any]],
    sampled: list[dict[str, Any]],
    found: Fidelity,
    rng: np.random.Generator,
) -> ShapeFidelity:
    """The fidelity on the one shape of a comparison."""
    sample = found.sample
    ((rows, cols),) = sample.shapes
    mape, spearman = found.agreement
    workload = Workload(rows, cols, rng)
    timer = Timer(kernels, workload.x, workload.y, rng)
    first = timer.measure(choices).seconds
    of_sample = [sampled[i] for i in np.argsort(found.steady.seconds)[:CANDIDATES]]
    of_model = [choices[i] for i in dict.fromkeys([0, *np.argsort(first)[:CANDIDATES].tolist()])]
    finalists = [*of_model, *of_sample]
    final = timer.measure(finalists).seconds
    best = finalists[int(final.argmin())]
    ns = 1e9 / (rows * cols)
    return ShapeFidelity(
        shape=(rows, cols),
        points=len(sample),
        unreliable=int(sample.unreliable.sum()),
        repeated=0 if sample.attempts is None else int((sample.attempts > 1).sum()),
        mape=mape,
        as_measured=found.as_measured.mape,
        spearman=spearman,
        drift=found.reliable_drift,
        best=best,
        choice=choices[0],
        best_ns=float(final.min()) * ns,
        choice_ns=float(final[0]) * ns,
        regret=float(final[0] / final.min()),
        top=float(final[: len(of_model)].min() / final[len(of_model) :].min()),
    )
