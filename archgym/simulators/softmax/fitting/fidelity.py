"""How far the softmax cost model can be trusted on this machine: its predictions against measured kernels.

For each shape a random sample of designs is measured, and the designs that the model likes best:

    MAPE       mean of |predicted / measured - 1| over the random sample
    Spearman   rank correlation of predicted with measured time over the random sample
    regret     time of the model's first choice / time of the best design measured
    of top 10  time of the best of the model's ten first choices / time of the best of the random sample

The two last compare extremes of noisy measurements, so the candidates for each extreme are measured again, side by side, and that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.fitting.sample import (
    Agreement,
    Sample,
    Share,
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

CHOICES = 10  # the model's, that are measured
CANDIDATES = 5  # of each kind that are measured again

TERMS = ("algorithm", "isa", "unroll", "accumulators", "prefetch", "nontemporal", "tile", "threads")


@dataclass(frozen=True)
class ShapeFidelity:
    """What was found for one shape.

    Attributes:
        shape: (rows, cols).
        points, unreliable: designs of the random sample, and how many of them were not measured reliably (these do not count).
        mape, spearman: as in the module's text.
        best, choice: the best design measured, and the model's first choice.
        best_ns, choice_ns: their measured ns per element.
        regret: of the model's first choice, a factor of 1 or more.
        top: best of the model's ten first choices over best of the random sample; below 1 the model's choice is better.
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
        shapes: what was found for each.
        sample: the random sample on every shape.
        predicted: seconds [points] of the sample.
    """

    shapes: list[ShapeFidelity]
    sample: Sample
    predicted: Array

    @property
    def agreement(self) -> Agreement:
        """Over all reliable points."""
        return agreement(self.predicted, self.sample)

    @property
    def ratio(self) -> Array:
        """Predicted over measured, of the reliable points."""
        reliable = ~self.sample.unreliable
        return np.asarray(self.predicted[reliable] / self.sample.seconds[reliable])

    def terms(self) -> dict[str, dict[Any, tuple[int, float, float]]]:
        """Which terms are off: by parameter and value, (points, median of predicted / measured, MAPE)."""
        reliable = self.sample.where(~self.sample.unreliable)
        found: dict[str, dict[Any, tuple[int, float, float]]] = {}
        for name in TERMS:
            for value in SoftmaxCostModel.space[name].grid.tolist():
                ratio = self.ratio[reliable[name] == value]
                if len(ratio):
                    found.setdefault(name, {})[value] = len(ratio), float(np.median(ratio)), float(np.abs(ratio - 1).mean())
        return found


def fidelity(
    kernels: Kernels,
    calibration: Calibration,
    shapes: Sequence[tuple[int, int]],
    *,
    designs: int = 300,
    seed: int = 0,
    compiling: Share = lambda _: None,
    measuring: Share = lambda _: None,
) -> Fidelity:
    """Measure random designs and the model's choices on every shape (rows, cols), and compare.

    Args:
        designs: of the random sample, the same for every shape.
        seed: of the sample, the inputs and the order of measurements.
        compiling, measuring: told how much of each is done.

    Raises:
        CompilerError: a kernel does not compile, or gives wrong results.
    """
    rng = np.random.default_rng(seed)
    sampled = random_designs(designs, rng)
    choices = {shape: first_choices(SoftmaxCostModel(*shape, calibration), CHOICES) for shape in shapes}
    build_and_check(kernels, [*sampled, *(design for chosen in choices.values() for design in chosen)], compiling)
    sample = measure_sample(kernels, sampled, shapes, rng, measuring)
    predicted = sample.predicted(calibration)
    found = []
    for shape in shapes:
        here = (sample.rows == shape[0]) & (sample.cols == shape[1])
        found.append(_compare(kernels, choices[shape], sampled, sample.where(here), predicted[here], rng))
    return Fidelity(found, sample, predicted)


def _compare(
    kernels: Kernels, choices: list[dict[str, Any]], sampled: list[dict[str, Any]], here: Sample, predicted: Array, rng: np.random.Generator
) -> ShapeFidelity:
    ((rows, cols),) = here.shapes
    found = agreement(predicted, here)
    workload = Workload(rows, cols, rng)
    timer = Timer(kernels, workload.x, workload.y, rng)
    first = timer.measure(choices).seconds
    of_sample = [sampled[i] for i in np.argsort(here.seconds)[:CANDIDATES]]
    of_model = [choices[i] for i in dict.fromkeys([0, *np.argsort(first)[:CANDIDATES].tolist()])]
    finalists = [*of_model, *of_sample]
    final = timer.measure(finalists).seconds
    best = finalists[int(final.argmin())]
    ns = 1e9 / (rows * cols)
    return ShapeFidelity(
        shape=(rows, cols),
        points=len(here),
        unreliable=int(here.unreliable.sum()),
        mape=found.mape,
        spearman=found.spearman,
        best=best,
        choice=choices[0],
        best_ns=float(final.min()) * ns,
        choice_ns=float(final[0]) * ns,
        regret=float(final[0] / final.min()),
        top=float(final[: len(of_model)].min() / final[len(of_model) :].min()),
    )
