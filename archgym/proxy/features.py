"""Designs as features of models.

    numeric parameter (Integer, Real, Ordinal of numbers)   one feature: its place in [0, 1], logarithmic from
                                                            MIN_LOG_RATIO on
    other Ordinal                                           one feature: its position in the order, in [0, 1]
    Categorical                                             one feature per value: 1 or 0; a single one for
                                                            two values
    parameter with conditions (`when=`)                     one more feature, 1 where it is active and else 0;
                                                            its others are then of its inactive value

Features are float32 numbers, so that libraries with float32 arithmetic see the same values.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import LONGEST_GRID, Array, Categorical, DesignSpace, Indices, Parameter

MIN_LOG_RATIO = 16.0
"""Ratio of a parameter's largest to its smallest value from which its axis is logarithmic."""


class Encoding:
    """The features of a space's designs.

    Args:
        space: P parameters.

    Attributes:
        names: names of the F features, "parameter", "parameter=value" or "parameter active".
        parameter: position of each feature's parameter, int64 [F].
    """

    def __init__(self, space: DesignSpace):
        self.space = space
        columns = [_columns(parameter) for parameter in space]
        self._tables = [np.stack([column for _, column in named], axis=1) for named in columns]
        self._with_conditions = np.array([p for p, each in enumerate(space) if each.when], np.int64)
        self._valued = np.repeat(np.arange(len(columns)), [len(named) for named in columns])
        self.names = (
            *(name for named in columns for name, _ in named),
            *(f"{space.names[p]} active" for p in self._with_conditions),
        )
        self.parameter = np.concatenate([self._valued, self._with_conditions])

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, indices: Indices) -> Array:
        """Features of designs: int64 [B, P] -> float64 [B, F]."""
        stacked, starts, column = self._stacked
        if not self.space.conditional:
            return stacked[indices[:, self._valued] + starts, column]
        active, rows = self.space.active(indices), self.space.canonical(indices)
        values = stacked[rows[:, self._valued] + starts, column]
        return np.hstack([values, active[:, self._with_conditions]])

    @cached_property
    def _stacked(self) -> tuple[Array, Indices, Indices]:
        """The parameters' tables in one, padded to one width, and each feature's first row and column:
        [rows, width], [F], [F].
        """
        if not self._tables:
            return np.empty((0, 0)), np.empty(0, np.int64), np.empty(0, np.int64)
        widths = [table.shape[1] for table in self._tables]
        padded = [
            np.pad(table, ((0, 0), (0, max(widths) - width)))
            for table, width in zip(self._tables, widths, strict=True)
        ]
        starts = np.cumsum([0, *map(len, self._tables)])
        return (
            np.concatenate(padded),
            starts[self._valued],
            np.concatenate([np.arange(width) for width in widths]),
        )


def _columns(parameter: Parameter) -> list[tuple[str, Array]]:
    """Names and values by index, float64 [n], of a parameter's features."""
    n = len(parameter)
    if n > LONGEST_GRID:
        got = f"{n:,} of {parameter.name!r}"
        raise ArchGymError(
            f"a proxy lists the values of every parameter: expected at most {LONGEST_GRID:,}, got {got}; "
            "give it a step"
        )
    if isinstance(parameter, Categorical):
        shown = [1] if n == 2 else range(n)
        return [(f"{parameter.name}={parameter.value(k)}", (np.arange(n) == k).astype(float)) for k in shown]
    grid = parameter.grid
    numbers = grid.dtype.kind in "iuf" and bool(np.isfinite(grid).all())
    place = grid.astype(float) if numbers else np.arange(n, dtype=float)
    if numbers and place.min() > 0 and place.max() >= MIN_LOG_RATIO * place.min():
        place = np.log2(place)
    span = float(np.ptp(place))
    place = (place - place.min()) / span if span else np.zeros(n)
    return [(parameter.name, place.astype(np.float32).astype(float))]
