"""Metrics as models see them: logarithms where a metric spans a decade, standardised in any case.

    z = (g(y) - mean) / scale,     g = log where all y > 0 and the largest is DECADE times the smallest, else the identity

Without the second step a tolerance that a library states in absolute figures ends the fit of a metric in SI units at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulator import Metric
from archgym.space import Array

DECADE = 10.0
_FAR = 30.0  # standard deviations from the mean beyond which nothing is predicted


@dataclass(frozen=True, eq=False)
class Targets:
    """K metrics and what makes standardised targets of them.

    Attributes:
        metrics: K.
        log: which are learnt as logarithms, bool [K].
        mean, scale: of g(y), float64 [K].
    """

    metrics: tuple[Metric, ...]
    log: Array
    mean: Array
    scale: Array

    @classmethod
    def of(cls, metrics: Sequence[Metric], values: Array) -> Targets:
        """What fits values [N, K].

        Raises:
            ArchGymError: a metric has the same value everywhere.
        """
        for metric, column in zip(metrics, values.T, strict=True):
            if np.ptp(column) == 0:
                raise ArchGymError(f"{metric.name} is {column[0]:.6g} for all {len(column):,} designs: there is nothing to learn")
        low, high = values.min(axis=0), values.max(axis=0)
        log = (low > 0) & (high >= DECADE * np.maximum(low, np.finfo(float).tiny))
        g = np.where(log, np.log(np.where(log, values, 1.0)), values)
        return cls(tuple(metrics), log, g.mean(axis=0), g.std(axis=0))

    def standardised(self, values: Array) -> Array:
        """Metrics to targets, [B, K] each."""
        z: Array = (np.where(self.log, np.log(np.where(self.log, values, 1.0)), values) - self.mean) / self.scale
        return z

    def restored(self, z: Array) -> Array:
        """Targets to metrics, [B, K] each; finite where `ends` are."""
        g = self.mean + self.scale * np.clip(z, -_FAR, _FAR)
        values: Array = np.where(self.log, np.exp(np.where(self.log, g, 0.0)), g)
        return values

    @property
    def ends(self) -> Array:
        """The smallest and the largest metrics that are predicted, [2, K]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.restored(np.array([[-np.inf], [np.inf]]))
