"""Metrics as targets of models: logarithms where a metric spans a decade, then standardised.

    z = (g(y) - mean) / scale,   g = log where all y > 0 and the largest is LOG_RATIO times the smallest, else
                                 the identity

Without standardisation, the absolute tolerances of libraries would end the fit of a metric in SI units at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulator import Metric
from archgym.space import Array

LOG_RATIO = 10.0
MAX_STANDARDISED = 30.0  # largest predicted distance from the mean, standard deviations


@dataclass(frozen=True, eq=False)
class Targets:
    """K metrics and the transformation to standardised targets.

    Attributes:
        metrics: K metrics.
        log: whether each is learnt as a logarithm, bool [K].
        mean, scale: mean and standard deviation of g(y), float64 [K].
    """

    metrics: tuple[Metric, ...]
    log: Array
    mean: Array
    scale: Array

    @classmethod
    def from_values(cls, metrics: Sequence[Metric], values: Array) -> Targets:
        """The transformation for values [N, K].

        Raises:
            ArchGymError: a metric has the same value everywhere.
        """
        for metric, column in zip(metrics, values.T, strict=True):
            if np.ptp(column) == 0:
                raise ArchGymError(
                    f"{metric.name} is {column[0]:.6g} for all {len(column):,} designs: nothing can be learnt"
                )
        low, high = values.min(axis=0), values.max(axis=0)
        log = (low > 0) & (high >= LOG_RATIO * np.maximum(low, np.finfo(float).tiny))
        g = np.where(log, np.log(np.where(log, values, 1.0)), values)
        return cls(tuple(metrics), log, g.mean(axis=0), g.std(axis=0))

    def standardised(self, values: Array) -> Array:
        """Metrics to targets, [B, K] each."""
        return (np.where(self.log, np.log(np.where(self.log, values, 1.0)), values) - self.mean) / self.scale

    def restored(self, z: Array) -> Array:
        """Targets to metrics, [B, K] each; finite where `ends` are."""
        g = self.mean + self.scale * np.clip(z, -MAX_STANDARDISED, MAX_STANDARDISED)
        return np.where(self.log, np.exp(np.where(self.log, g, 0.0)), g)

    @property
    def ends(self) -> Array:
        """Smallest and largest predictable metrics, [2, K]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.restored(np.array([[-np.inf], [np.inf]]))
