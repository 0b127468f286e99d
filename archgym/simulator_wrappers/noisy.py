"""Reproducible measurement noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Simulator
from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.space import Array, Indices


class Noisy(SimulatorWrapper):
    """Multiplies metrics with exp(sigma z), z standard normal: measurement noise, reproducible under a seed.

    The optimum is that of the wrapped simulator, without noise, so that regret refers to true values.

    Args:
        simulator: simulator without noise of its own.
        sigma: standard deviation of the logarithm; 0.05 is about 5 %.
        metrics: names of the noisy metrics; by default all but the report-only ones.

    Raises:
        ArchGymError: an unknown metric, a negative sigma, a simulator that is stochastic itself.
    """

    identity = "archgym.simulator_wrappers:Noisy"

    def __init__(self, simulator: Simulator, sigma: float = 0.05, metrics: Sequence[str] | None = None):
        super().__init__(simulator)
        if simulator.stochastic:  # two sources of noise on one stream would not be drawn row by row
            raise ArchGymError(
                "Noisy wraps simulators without noise of their own; this one is stochastic already"
            )
        if not sigma >= 0:
            raise ArchGymError(f"sigma must be 0 or more, not {sigma}")
        known = [metric.name for metric in simulator.metrics]
        for name in metrics or ():
            if name not in known:
                raise unknown("metric", name, known)
        self.sigma = sigma
        self.noisy = (
            tuple(metrics)
            if metrics is not None
            else tuple(m.name for m in simulator.metrics if not m.report_only)
        )
        self.stochastic = True

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """The wrapped simulator's columns [B], the noisy ones times exp(sigma z); z is drawn row-major, for
        every row.

        Raises:
            ArchGymError: no `rng`.
        """
        if rng is None:
            raise ArchGymError(
                "Noisy draws noise: pass a generator, evaluate(designs, rng=np.random.default_rng(seed))"
            )
        factors = np.exp(self.sigma * rng.standard_normal((len(indices), len(self.noisy))))  # [B, k]
        columns = dict(self.simulator.evaluate_indices(indices))
        for j, name in enumerate(self.noisy):
            columns[name] = columns[name] * factors[:, j]
        return columns
