"""Times of kernels on a machine that is not quiet.

Designs are measured in rounds, each in a random order with a reference design among them; a round measures at
least 100 us of calls in a loop in C, as processor time of the (slower) thread. Disturbances only lengthen a
measurement, so

    seconds    = min over rounds
    noise      = median over rounds / seconds - 1
    ratio      = seconds / (seconds of the reference in the same rounds)
    unreliable = noise > 10 %, or the thread lost its processor in most rounds, or wall-clock time was
                 over 1.5 times the processor time, or the machine is slow: the reference, on this workload or
                 on data in L1, took 25 % longer than its least time so far

Unreliable designs are measured for the same number of rounds again, and all rounds count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulators.softmax.machine.cpu import instruction_sets
from archgym.simulators.softmax.machine.kernels import Floats, Kernels, Pass, Timing, aligned_pair

MIN_ROUND_S = 100e-6  # time of the calls of one round
MIN_ROUNDS, MAX_ROUNDS = 3, 9  # longer calls get fewer rounds
DESIGN_S = 0.5  # time of the calls of all rounds, which sets their number
MIN_COLD_CALL_S = 10e-3  # first calls at least this long need no warm-up
PROBE_FLOATS, PROBE_CALLS, PROBES = 2048, 100, 3
NOISE_LIMIT = 0.10
SLOW_LIMIT = 0.25  # more than the change of a processor's clock as it warms up
WAITING_LIMIT = 1.5  # wall-clock time over processor time

Timed = Mapping[str, Any] | Pass


def reference_design() -> dict[str, Any]:
    """The design in every batch that others are compared with: a plain kernel of the widest vectors here."""
    isa = instruction_sets()[-1]
    return {
        "algorithm": "three_pass_recompute",
        "isa": isa,
        "unroll": 4,
        "accumulators": 4,
        "prefetch": 0,
        "nontemporal": False,
        "tile": 65536,
        "threads": 1,
    }


@dataclass(frozen=True)
class Measurement:
    """Times of D designs, each array [D], as defined in the module's docstring."""

    seconds: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    ratio: npt.NDArray[np.float64]
    unreliable: npt.NDArray[np.bool_]


class Timer:
    """Times designs on one workload, and keeps the least time of the reference.

    Args:
        kernels: kernels of designs that have been built.
        x, y: input and output, float32 [rows, cols]; y is overwritten.
        rng: source of the order of measurements.
    """

    def __init__(self, kernels: Kernels, x: Floats, y: Floats, rng: np.random.Generator):
        self.kernels, self.x, self.y, self.rng = kernels, x, y, rng
        self.fastest_reference_s = np.inf
        self._small = aligned_pair((1, PROBE_FLOATS))
        for floats in self._small:
            floats[:] = 0

    def measure(self, designs: Sequence[Timed]) -> Measurement:
        """Time designs in turns, with the calling thread kept on one processor."""
        with self.kernels.pinned():
            return self._measure([*designs, reference_design()])

    def _measure(self, what: list[Timed]) -> Measurement:
        reference = len(what) - 1
        estimates = [self._estimated_seconds(each) for each in what]
        calls = [max(1, ceil(MIN_ROUND_S / seconds)) for seconds in estimates]
        rounds = [rounds_of(seconds) for seconds in estimates]
        timings: list[list[Timing]] = [[] for _ in what]
        chosen = list(range(len(what)))
        for _ in range(2):
            for r in range(max(rounds[j] for j in chosen)):
                for j in self.rng.permutation([j for j in chosen if r < rounds[j]]).tolist():
                    timings[j].append(self._time(what[j], calls=calls[j], warmups=int(calls[j] > 1)))
            slow = self._machine_is_slow(_seconds(timings[reference]))
            unreliable = [slow or _unreliable(each) for each in timings[:reference]]
            if not any(unreliable):
                break
            chosen = [*np.flatnonzero(unreliable).tolist(), reference]
        seconds = np.array([_seconds(each) for each in timings])
        return Measurement(
            seconds=seconds[:reference],
            noise=np.array([_noise(each) for each in timings[:reference]]),
            ratio=seconds[:reference] / seconds[reference],
            unreliable=np.array(unreliable, bool),
        )

    def _machine_is_slow(self, reference_s: float) -> bool:
        """Whether other programs, or other guests of the same computer, slow its memory or its arithmetic
        more than before.
        """
        self.fastest_reference_s = min(self.fastest_reference_s, reference_s)
        probe_s = min(
            self.kernels.measure(reference_design(), *self._small, calls=PROBE_CALLS, warmups=1).seconds
            for _ in range(PROBES)
        )
        self.kernels.fastest_probe_s = min(self.kernels.fastest_probe_s, probe_s)
        limit = 1 + SLOW_LIMIT
        return (
            reference_s > limit * self.fastest_reference_s or probe_s > limit * self.kernels.fastest_probe_s
        )

    def _time(self, what: Timed, *, calls: int, warmups: int = 0) -> Timing:
        return self.kernels.measure(what, self.x, self.y, calls=calls, warmups=warmups)

    def _estimated_seconds(self, what: Any) -> float:
        """Seconds of one call; the second one where the first is short."""
        seconds = self._time(what, calls=1).seconds
        return max(seconds if seconds > MIN_COLD_CALL_S else self._time(what, calls=1).seconds, 1e-9)


def rounds_of(seconds: float) -> int:
    """Number of rounds of a design whose call takes this long."""
    return int(np.clip(DESIGN_S / seconds, MIN_ROUNDS, MAX_ROUNDS))


def _seconds(timings: Sequence[Timing]) -> float:
    return min(t.seconds for t in timings)


def _noise(timings: Sequence[Timing]) -> float:
    return float(np.median([t.seconds for t in timings])) / _seconds(timings) - 1


def _unreliable(timings: Sequence[Timing]) -> bool:
    disturbed = [t.switches > 0 or t.wall_seconds > WAITING_LIMIT * t.seconds for t in timings]
    return _noise(timings) > NOISE_LIMIT or sum(disturbed) > len(timings) / 2
