"""Speed of a proxy relative to the learnt simulator, measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.proxy.simulator import ProxySimulator
from archgym.simulator import Simulator
from archgym.space import Indices

BATCHES = (1, 1000, 10_000)
MAX_BATCH_S = 5.0  # time of the simulator for a batch


@dataclass(frozen=True)
class Speed:
    """Seconds per design in batches of one size.

    Attributes:
        batch: designs per call; the simulator's is smaller where it would take too long.
        proxy_s, simulator_s: seconds per design.
    """

    batch: int
    proxy_s: float
    simulator_s: float

    @property
    def ratio(self) -> float:
        """Designs that the proxy evaluates in the time of one design of the simulator."""
        return self.simulator_s / self.proxy_s


def measure(
    proxy: ProxySimulator, simulator: Simulator, batches: Sequence[int] = BATCHES, seed: int = 0
) -> list[Speed]:
    """Seconds per design of both on the same random designs, in turns; the fastest round counts."""
    rng = np.random.default_rng(seed)
    found, per_design_s = [], np.inf
    for batch in batches:
        designs = proxy.space.sample(batch, rng)
        affordable = (
            designs
            if per_design_s * batch < MAX_BATCH_S
            else designs[: max(1, int(MAX_BATCH_S / per_design_s))]
        )
        times = []
        for _ in range(3 if batch > 1 else 9):
            times.append(
                (_seconds(proxy, designs) / len(designs), _seconds(simulator, affordable) / len(affordable))
            )
            if sum(simulator_s * len(affordable) for _, simulator_s in times) > MAX_BATCH_S:
                break
        fastest = np.min(times, axis=0)
        per_design_s = min(per_design_s, float(fastest[1]))
        found.append(Speed(batch, float(fastest[0]), float(fastest[1])))
    return found


def simulator_of(proxy: ProxySimulator) -> Simulator:
    """The learnt simulator of a proxy.

    Raises:
        ArchGymError: the simulator cannot be made here.
    """
    try:
        return Evaluator.from_specification(proxy.env).simulator
    except ArchGymError as error:
        raise ArchGymError(f"{proxy.env.id} cannot be made here: {error}") from error


def _seconds(simulator: Simulator, designs: Indices) -> float:
    rng = np.random.default_rng(0)
    start = perf_counter()
    simulator.remeasure(designs, rng)  # bypasses caches
    return perf_counter() - start
