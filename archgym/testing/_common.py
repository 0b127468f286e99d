"""What the checks have in common: how they fail, and which designs they ask for."""

from __future__ import annotations

import numpy as np

from archgym.space import DesignSpace, Indices


def must(holds: object, message: str) -> None:
    """Fail unless it holds: an assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(message)


def corners_and_samples(space: DesignSpace, samples: int, rng: np.random.Generator) -> Indices:
    """The first and last design, one parameter at its extreme and the rest at the other (64 each at most),
    and random designs, as canonical rows.
    """
    last = space.nvec - 1
    rows = [np.zeros_like(last), last]
    for j in range(min(len(space), 64)):
        low, high = np.zeros_like(last), last.copy()
        low[j], high[j] = last[j], 0
        rows += [low, high]
    corners = space.canonical(np.array(rows, np.int64).reshape(len(rows), len(space)))
    return np.concatenate([corners, space.sample(samples, rng)])
