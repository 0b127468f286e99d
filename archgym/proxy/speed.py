"""How much faster a proxy answers than the simulator that it has learnt, measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

from archgym.errors import ArchGymError
from archgym.proxy.simulator import ProxySimulator
from archgym.simulator import Simulator
from archgym.space import Indices
from archgym.values import read_arguments

BATCHES = (1, 1000, 10_000)
PATIENCE_S = 5.0  # that a simulator may take for a batch


@dataclass(frozen=True)
class Speed:
    """Seconds per design in batches of one size.

    Attributes:
        batch: designs asked for at once; the simulator's batch is smaller where its would take too long.
        proxy_s, simulator_s: per design.
    """

    batch: int
    proxy_s: float
    simulator_s: float

    @property
    def ratio(self) -> float:
        """How many designs the proxy answers while the simulator answers one."""
        return self.simulator_s / self.proxy_s


def measure(proxy: ProxySimulator, simulator: Simulator, batches: Sequence[int] = BATCHES, seed: int = 0) -> list[Speed]:
    """Time both on the same random designs, in turns; the fastest of some rounds counts."""
    rng = np.random.default_rng(seed)
    found, one = [], np.inf
    for batch in batches:
        designs = proxy.space.sample(batch, rng)
        affordable = designs if one * batch < PATIENCE_S else designs[: max(1, int(PATIENCE_S / one))]
        times = []
        for _ in range(3 if batch > 1 else 9):
            times.append((_seconds(proxy, designs) / len(designs), _seconds(simulator, affordable) / len(affordable)))
            if sum(simulator_s * len(affordable) for _, simulator_s in times) > PATIENCE_S:
                break
        fastest = np.min(times, axis=0)
        one = min(one, float(fastest[1]))
        found.append(Speed(batch, float(fastest[0]), float(fastest[1])))
    return found


def simulator_of(proxy: ProxySimulator) -> Simulator:
    """The simulator that a proxy has learnt.

    Raises:
        ArchGymError: it cannot be made here.
    """
    try:
        env: Any = gymnasium.make(proxy.environment["id"], **read_arguments(proxy.environment["kwargs"])).unwrapped
    except gymnasium.error.Error as error:
        raise ArchGymError(f"{proxy.environment['id']} cannot be made here: {error}") from error
    simulator: Simulator = env.simulator
    return simulator


def _seconds(simulator: Simulator, designs: Indices) -> float:
    rng = np.random.default_rng(0)
    start = perf_counter()
    simulator.remeasure(designs, rng)  # what a cache knows does not count
    return perf_counter() - start
