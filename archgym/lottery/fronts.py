"""Runs judged by the hypervolume of the fronts they find, instead of by a reward.

Values are turned so that lower is better, and their axes are logarithmic where all of a metric's values are
positive. The first n samples of a run are then worth

    w(n) = log H({valid samples < n})          H: the hypervolume up to a reference point (`archgym.pareto`)

so that the exponential of a difference is a ratio of hypervolumes. Where the whole space can be enumerated, w
of the exact front is the optimum. The reference point is the study's; by default it is the worst value of
each metric, among all valid designs where the space was enumerated, else among those that runs have stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.lottery.data import Trace
from archgym.pareto import check_front, directions, exact_front, growing_hypervolume, hypervolume
from archgym.progress import Progress, silent
from archgym.simulator import Metric
from archgym.space import Array
from archgym.words import number

ENUMERATED = 1_000_000
"""Largest space that is enumerated by default; this takes seconds."""


class Samples(NamedTuple):
    """The valid designs of one finished run, V of them.

    Attributes:
        sample: 0-based indices of their samples, int64 [V], increasing.
        seconds: wall time from the start of the run to each result, float64 [V].
        values: metrics in their units, float64 [V, M].
        samples, total_seconds, total_cost, charges: of the whole run, as in `Trace`.
        cost: reference samples until each result, float64 [V]; None where the study has no costs.
    """

    sample: Array
    seconds: Array
    values: Array
    samples: int
    total_seconds: float
    cost: Array | None = None
    total_cost: float | None = None
    charges: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Judge:
    """The worth of fronts on one task.

    Attributes:
        metrics: M metrics that are traded off.
        logarithmic: whether each has a logarithmic axis, bool [M].
        reference: reference point of the hypervolume, in the metrics' units, float64 [M].
        optimum: w of the exact front; None where it is not known.
    """

    metrics: tuple[Metric, ...]
    logarithmic: Array
    reference: Array
    optimum: float | None = None

    @classmethod
    def from_runs(
        cls,
        evaluator: Evaluator,
        names: Sequence[str],
        reference: Mapping[str, float],
        seen: Iterable[Samples],
        enumerate_it: bool,
        progress: Progress = silent,
    ) -> Judge:
        """The judge of a task, with the exact front where the space is enumerated.

        Args:
            evaluator: the task's simulator and objective.
            names: metrics that are traded off.
            reference: coordinates of the reference point, by metric, as far as the study gives them.
            seen: all stored runs.
            enumerate_it: enumerate the space whatever its size; else only up to `ENUMERATED` designs.
            progress: progress of the enumeration.

        Raises:
            ArchGymError: a measured or noisy simulator that is to be enumerated, or a reference <= 0 on a
                logarithmic axis.
        """
        simulator = evaluator.simulator
        metrics = check_front(names, simulator)
        exact = simulator.deterministic and not (simulator.stochastic or simulator.counted_elsewhere)
        if enumerate_it or (exact and simulator.space.size <= ENUMERATED):
            front, ends = exact_front(simulator, evaluator.objective, metrics, progress=progress)
        else:
            values = np.concatenate([np.empty((0, len(metrics))), *(run.values for run in seen)])
            front, ends = (
                None,
                np.stack([values.min(axis=0), values.max(axis=0)])
                if len(values)
                else np.ones((2, len(metrics))),
            )
        worst = np.where(directions(metrics) > 0, ends[1], ends[0])
        corner = np.array(
            [reference.get(metric.name, value) for metric, value in zip(metrics, worst, strict=True)], float
        )
        judge = cls(metrics, ends[0] > 0, corner)
        for metric, value in zip(metrics, np.where(judge.logarithmic, corner, 1.0), strict=True):
            if value <= 0:
                raise ArchGymError(
                    f"all values of {metric.name} are positive: expected a positive front_reference, got "
                    f"{value:g}"
                )
        return judge if front is None else cls(metrics, judge.logarithmic, corner, judge.worth(front))

    def worth(self, values: Array) -> float:
        """w of a set of points, [N, M] in the metrics' units; -inf if no point is better than the
        reference in every metric.
        """
        with np.errstate(divide="ignore"):
            return float(np.log(hypervolume(self._turned(values), self._turned(self.reference[None])[0])))

    def trace(self, run: Samples) -> Trace:
        """A run's improvements of w."""
        volumes = growing_hypervolume(self._turned(run.values), self._turned(self.reference[None])[0])
        rows = np.flatnonzero(np.diff(volumes, prepend=0.0) > 0)
        return Trace(
            run.sample[rows],
            np.log(volumes[rows]),
            run.seconds[rows],
            run.samples,
            run.total_seconds,
            None if run.cost is None else run.cost[rows],
            run.total_cost,
            run.charges,
        )

    def __str__(self) -> str:
        """The rule by which runs are judged, as a sentence."""
        where = ", ".join(
            f"{m.name} {number(float(value))} {m.unit}"
            for m, value in zip(self.metrics, self.reference, strict=True)
        )
        plain = [metric.name for metric, log in zip(self.metrics, self.logarithmic, strict=True) if not log]
        axes = "logarithmic axes" if not plain else f"logarithmic axes except for {' and '.join(plain)}"
        return f"runs are judged by the hypervolume of their fronts on {axes}, up to {where}"

    def _turned(self, values: Array) -> Array:
        """Points on their axes, turned so that lower is better: float64 [N, M]."""
        return directions(self.metrics) * np.where(
            self.logarithmic, np.log(np.where(self.logarithmic, values, 1.0)), values
        )
