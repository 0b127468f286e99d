"""Times of kernels beside probes, on a machine whose speed changes for minutes: other guests of the same
computer, clocks.

Probes are kernels that never change, run once in each round among the designs of a batch:

    core       the reference design in code of the design's ISA, one thread, on 2,048 floats in L1
    widest     the same in code of the widest vectors
    second     the same by two threads, beside designs that have two
    workload   the reference design on the workload's memory as one row, by the design's number of threads

A design's time and those of its probes are the least in the rounds of one attempt, which they share. A
kernel has moved if its least time is not confirmed: if the lower quartile of its rounds is over 5 % above it.
A design that moved, or whose probes did, is measured again after a pause, a third time only while its batch
has taken less than 3 s. Its steadiest attempt counts; it is `unreliable` if that moved too. A machine that is
slow, or shared with other programs, is no disturbance here: `fitting.drift` takes out the drift of the
probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from time import monotonic, sleep
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulators.softmax.machine.kernels import Floats, Kernels, Pass, Timing
from archgym.simulators.softmax.machine.timing import (
    MIN_COLD_CALL_S,
    MIN_ROUND_S,
    Timed,
    Timer,
    reference_design,
    rounds_of,
)

ATTEMPTS, PAUSE_S = 3, 0.2
BATCH_S = 3.0  # time of a batch, after which nothing is measured for a third time
MOVED_LIMIT = 0.05

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Probes:
    """Seconds of the probes beside D designs, each array [D]; NaN where there was none."""

    core: Times
    widest: Times
    second: Times
    workload: Times

    def where(self, chosen: npt.NDArray[Any]) -> Probes:
        """Those beside the chosen designs, a mask or indices."""
        return Probes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Probes]) -> Probes:
        """Those of several measurements, one after the other."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class ProbedMeasurement:
    """Times of D designs, each array [D], as defined in the module's docstring.

    Attributes:
        seconds, unreliable, probes: the module's terms.
        attempts: number of attempts, int64.
    """

    seconds: Times
    unreliable: npt.NDArray[np.bool_]
    probes: Probes
    attempts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Probe:
    """The reference design in code of an ISA, on the workload or in L1."""

    isa: str
    threads: int
    on_workload: bool

    @property
    def design(self) -> dict[str, Any]:
        return {**reference_design(), "isa": self.isa, "threads": self.threads}


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a design."""

    seconds: float
    movement: float  # of the design and its probes, the largest
    probes: tuple[float, float, float, float]  # in the order of `Probes`


class ProbedTimer(Timer):
    """Times designs beside probes.

    Args:
        kernels, x, y, rng: as for `Timer`.
    """

    def __init__(self, kernels: Kernels, x: Floats, y: Floats, rng: np.random.Generator):
        super().__init__(kernels, x, y, rng)
        self._row = self.x.reshape(1, -1), self.y.reshape(1, -1)

    def measure_probed(self, designs: Sequence[Timed]) -> ProbedMeasurement:
        """Time designs and their probes in turns, with the calling thread kept on one processor."""
        best: list[_Attempt] = []
        start = monotonic()
        counts = np.zeros(len(designs), np.int64)
        with self.kernels.pinned():
            chosen = list(range(len(designs)))
            for attempt in range(ATTEMPTS):
                if attempt > 1 and monotonic() - start > BATCH_S:
                    break
                if attempt:
                    sleep(PAUSE_S)
                found = self._attempt([designs[j] for j in chosen])
                counts[chosen] += 1
                if not attempt:
                    best = found
                for j, new in zip(chosen, found, strict=True):
                    best[j] = min(best[j], new, key=lambda each: each.movement)
                chosen = [j for j, each in enumerate(best) if each.movement > MOVED_LIMIT]
                if not chosen:
                    break
        return ProbedMeasurement(
            seconds=np.array([each.seconds for each in best]),
            unreliable=np.array([each.movement > MOVED_LIMIT for each in best], bool),
            probes=Probes(*np.array([each.probes for each in best], float).reshape(-1, 4).T),
            attempts=counts,
        )

    def _attempt(self, designs: Sequence[Timed]) -> list[_Attempt]:
        beside = [_probes_of(design) for design in designs]
        probes = list(dict.fromkeys(probe for some in beside for probe in some))
        what: list[Timed | _Probe] = [*designs, *probes]
        estimates = [self._estimated_seconds(each) for each in what]
        calls = [max(1, ceil(MIN_ROUND_S / seconds)) for seconds in estimates]
        warmups = [int(seconds < MIN_COLD_CALL_S) for seconds in estimates]
        rounds = [rounds_of(seconds) for seconds in estimates[: len(designs)]]
        timings: list[list[Timing]] = [[] for _ in what]
        for r in range(max(rounds)):
            here = [j for j in range(len(what)) if j >= len(designs) or r < rounds[j]]
            for j in self.rng.permutation(here).tolist():
                timings[j].append(self._time(what[j], calls=calls[j], warmups=warmups[j]))
        seconds = {
            probe: [timing.seconds for timing in each]
            for probe, each in zip(probes, timings[len(designs) :], strict=True)
        }
        return [
            _judged(each, [seconds[probe][: len(each)] for probe in some])
            for each, some in zip(timings[: len(designs)], beside, strict=True)
        ]

    def _time(self, what: Timed | _Probe, *, calls: int, warmups: int = 0) -> Timing:
        if not isinstance(what, _Probe):
            return super()._time(what, calls=calls, warmups=warmups)
        floats = self._row if what.on_workload else self._small
        return self.kernels.measure(what.design, *floats, calls=calls, warmups=warmups)


def _probes_of(what: Timed) -> tuple[_Probe, ...]:
    """The probes beside a design: core, widest, workload, and second where it has two threads."""
    isa, threads = (what.isa, what.threads) if isinstance(what, Pass) else (what["isa"], int(what["threads"]))
    widest = reference_design()["isa"]
    second = [_Probe(widest, 2, False)] if threads == 2 else []
    return (
        _Probe(isa, 1, False),
        _Probe(widest, 1, False),
        _Probe(widest, threads, True),
        *second,
    )


def _judged(timings: Sequence[Timing], probes: Sequence[Sequence[float]]) -> _Attempt:
    """An attempt of these rounds, and of its probes in the order of `_probes_of`."""
    rounds = [timing.seconds for timing in timings]
    core, widest, workload, second = (*(min(each) for each in probes), np.nan)[:4]
    return _Attempt(
        seconds=min(rounds),
        movement=max(movement(each) for each in (rounds, *probes)),
        probes=(core, widest, second, workload),
    )


def movement(seconds: Sequence[float]) -> float:
    """Lower quartile over the least of the times of some rounds, minus 1."""
    return float(np.quantile(seconds, 0.25)) / min(seconds) - 1
