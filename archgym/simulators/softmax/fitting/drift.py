"""Drift: how a machine's speed differs between a calibration and a later measurement, by the probes beside
both (`machine.probing`), and measured times without it.

The cost model's time of a design (`model`) consists of arithmetic A, memory M and the second thread's start
S. Each drifts by itself: clocks and neighbours on a core slow arithmetic, by a factor that differs between
scalar and vector code, neighbours elsewhere slow memory, and the placement of two virtual processors decides
what it takes to start a thread. With a probe's time now over its time at the calibration,

    g      = core                                                    (arithmetic, code of the design's ISA)
    w      = widest                                                  (the same, widest vectors)
    d      = second now - w * second then                            (s, two threads; 0 for one)
    h      = (r * (A' + M' + S') - w * (A' + S') - d) / M'           (memory)
    f      = (g * A + h * M + w * S) / (A + M + S)
    steady = (measured - d) / f                                      (a measured time without drift)
    drift  = measured / steady

    r             drift of the workload probe, by one or two threads
    A', M', S'    parts of that probe's time: the reference design on one row of rows * cols elements

Where memory is less than a fifth of the workload probe (data in L1 or L2, whose clock is the core's), the
probe shows nothing of it: then h = w. h is kept within 1/4 to 4, measured - d at 1/4 of measured or more.

A calibration without probe times (version 1) shows no drift since it was made, and none is taken out: drift
is 1. g and h are then the core and workload probes' times over their least in the run, which shows how steady
it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.simulators.softmax.calibration import Calibration, ProbeTimes
from archgym.simulators.softmax.fitting.sample import Sample
from archgym.simulators.softmax.machine.probing import Probes
from archgym.simulators.softmax.machine.timing import reference_design
from archgym.simulators.softmax.model import SoftmaxCostModel
from archgym.space import Array

MEMORY_SHARE = 0.2  # of the workload probe, from which on it shows the drift of memory
LARGEST = 4.0  # drift of memory, and of a time by the second thread's start


class Range(NamedTuple):
    """A quantity of several points: its median, least and largest value; NaN without points."""

    median: float
    least: float
    largest: float


@dataclass(frozen=True)
class Drift:
    """Drift of D measured points, each array [D].

    Attributes:
        factor: drift of the design's time, measured over steady.
        core, memory: g and h.
        second_s: d, seconds; NaN for one thread.
        since_calibration: whether the calibration has probe times, so that the drift is known.
    """

    factor: Array
    core: Array
    memory: Array
    second_s: Array
    since_calibration: bool

    def where(self, chosen: npt.NDArray[np.bool_]) -> Drift:
        """The points where `chosen`, bool [D], is true."""
        columns = {name: getattr(self, name)[chosen] for name in ("factor", "core", "memory", "second_s")}
        return replace(self, **columns)

    def ranges(self) -> dict[str, Range]:
        """Medians and ranges of the four quantities."""
        return {name: _range(getattr(self, name)) for name in ("factor", "core", "memory", "second_s")}


def _range(values: Array) -> Range:
    known = values[np.isfinite(values)]
    if not len(known):
        return Range(np.nan, np.nan, np.nan)
    return Range(float(np.median(known)), float(known.min()), float(known.max()))


def drift(sample: Sample, calibration: Calibration) -> Drift:
    """The drift of each point of a sample; 1 without probes."""
    n = len(sample)
    probes = sample.probes
    if probes is None:
        return Drift(np.ones(n), np.ones(n), np.ones(n), np.full(n, np.nan), False)
    if calibration.probe is None:
        floats = 2 * sample.rows * sample.cols + sample["threads"]
        core, memory = _over_least(probes.core, sample["isa"]), _over_least(probes.workload, floats)
        return Drift(np.ones(n), core, memory, np.full(n, np.nan), False)
    then = _recorded(sample, calibration.probe)
    core, widest, workload = (
        getattr(probes, name) / getattr(then, name) for name in ("core", "widest", "workload")
    )
    second_s = probes.second - widest * then.second  # NaN for one thread
    added = np.nan_to_num(second_s)
    factor, memory = np.ones(n), np.ones(n)
    for rows, cols in sample.shapes:
        here = (sample.rows == rows) & (sample.cols == cols)
        parts = _parts(SoftmaxCostModel(rows, cols, calibration), sample, here)
        arithmetic, traffic, start = _parts_of_probe(rows * cols, calibration, sample["threads"][here])
        w, whole = widest[here], arithmetic + traffic + start
        with np.errstate(divide="ignore", invalid="ignore"):
            slower = (workload[here] * whole - w * (arithmetic + start) - added[here]) / traffic
        shown = traffic >= MEMORY_SHARE * whole
        memory[here] = np.where(shown, np.clip(slower, 1 / LARGEST, LARGEST), w)
        now = core[here] * parts[0] + memory[here] * parts[1] + w * parts[2]
        factor[here] = now / sum(parts)
    factor *= sample.seconds / np.maximum(sample.seconds - added, sample.seconds / LARGEST)
    return Drift(factor, core, memory, second_s, True)


def without_drift(sample: Sample, calibration: Calibration) -> Sample:
    """A sample as it would have been measured when the calibration was."""
    return replace(sample, seconds=sample.seconds / drift(sample, calibration).factor)


def _parts(
    model: SoftmaxCostModel, sample: Sample, here: npt.NDArray[np.bool_]
) -> tuple[Array, Array, Array]:
    """A, M and S of the points of a shape."""
    columns = {name: column[here] for name, column in sample.designs.items()}
    return model.parts(model.space.encode(columns))


def _parts_of_probe(
    floats: int, calibration: Calibration, threads: npt.NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """A', M' and S' of the workload probe beside points of these threads."""
    model = SoftmaxCostModel(1, floats, calibration)
    designs = [{**reference_design(), "threads": n} for n in (1, 2)]
    columns = {name: np.array([design[name] for design in designs]) for name in model.space.names}
    arithmetic, memory, start = (part[threads - 1] for part in model.parts(model.space.encode(columns)))
    return arithmetic, memory, start


def _recorded(sample: Sample, recorded: ProbeTimes) -> Probes:
    """Times of the probes at the calibration, for each point."""
    second_s = np.nan if recorded.second_s is None else recorded.second_s
    points = list(zip((sample.rows * sample.cols).tolist(), sample["threads"].tolist(), strict=True))
    on_workload = {point: recorded.workload_s(*point) for point in set(points)}
    return Probes(
        core=np.array([recorded.core_s[isa] for isa in sample["isa"].tolist()]),
        widest=np.full(len(sample), recorded.core_s[reference_design()["isa"]]),
        second=np.where(sample["threads"] == 2, second_s, np.nan),
        workload=np.array([on_workload[point] for point in points]),
    )


def _over_least(seconds: Array, keys: npt.NDArray[Any]) -> Array:
    """Times over the least of those with the same key."""
    ratios = np.empty(len(seconds))
    for key in np.unique(keys):
        ratios[keys == key] = seconds[keys == key] / seconds[keys == key].min()
    return ratios
