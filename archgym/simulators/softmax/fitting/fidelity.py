"""Fidelity of the softmax cost model on this machine: its predictions against measured kernels.

For each shape a random sample of designs is measured, and the designs of least predicted time:

    MAPE       mean of |predicted / measured - 1| over the random sample
    Spearman   rank correlation of predicted with measured time over the random sample
    regret     time of the model's first choice / time of the best design measured
    of top 10  time of the best of the model's ten first choices / time of the best of the random sample

The last two compare extremes of noisy measurements, so the candidates for each extreme are measured again,
side by side, and only those measurements count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.progress import Progress, silent
from archgym.simulators.softmax.calibration import Calibration
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
        mape, spearman: figures of the module's docstring.
        best, choice: best design measured, and first choice of the model.
        best_ns, choice_ns: measured time of both, ns per element.
        regret: regret of the model's first choice, a factor of 1 or more.
        top: best time of the model's ten first choices over that of the random sample; below 1 the model's
            choice is better.
    """

    shape: tuple[int, int]
    points: int
    unreliable: int
    mape: float
    spearman: float
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
        sample: random sample on every shape.
        predicted: predicted times of the sample, seconds [points].
    """

    shapes: list[ShapeFidelity]
    sample: Sample
    predicted: Array

    @property
    def agreement(self) -> Agreement:
        """Agreement over all reliable points."""
        return agreement(self.predicted, self.sample)

    @property
    def ratio(self) -> Array:
        """Predicted over measured times of the reliable points."""
        reliable = ~self.sample.unreliable
        return np.asarray(self.predicted[reliable] / self.sample.seconds[reliable])

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
    predicted = sample.predicted(calibration)
    by_shape = []
    for shape in shapes:
        points = (sample.rows == shape[0]) & (sample.cols == shape[1])
        by_shape.append(
            _compare(kernels, choices[shape], sampled, sample.where(points), predicted[points], rng)
        )
    return Fidelity(by_shape, sample, predicted)


def _compare(
    kernels: Kernels,
    choices: list[dict[str, Any]],
    sampled: list[dict[str, Any]],
    sample: Sample,
    predicted: Array,
    rng: np.random.Generator,
) -> ShapeFidelity:
    ((rows, cols),) = sample.shapes
    mape, spearman = agreement(predicted, sample)
    workload = Workload(rows, cols, rng)
    timer = Timer(kernels, workload.x, workload.y, rng)
    first = timer.measure(choices).seconds
    of_sample = [sampled[i] for i in np.argsort(sample.seconds)[:CANDIDATES]]
    of_model = [choices[i] for i in dict.fromkeys([0, *np.argsort(first)[:CANDIDATES].tolist()])]
    finalists = [*of_model, *of_sample]
    final = timer.measure(finalists).seconds
    best = finalists[int(final.argmin())]
    ns = 1e9 / (rows * cols)
    return ShapeFidelity(
        shape=(rows, cols),
        points=len(sample),
        unreliable=int(sample.unreliable.sum()),
        mape=mape,
        spearman=spearman,
        best=best,
        choice=choices[0],
        best_ns=float(final.min()) * ns,
        choice_ns=float(final[0]) * ns,
        regret=float(final[0] / final.min()),
        top=float(final[: len(of_model)].min() / final[len(of_model) :].min()),
    )
