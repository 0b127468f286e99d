"""What several agents do with designs: step to neighbours, move parameters, draw from a product of categorical distributions."""

from __future__ import annotations

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array, DesignSpace, Indices

MOST_VALUES = 1_000_000


def check_listable(agent: object, space: DesignSpace) -> None:
    """Refuse a space for an agent that keeps a number for every value of every parameter.

    Raises:
        ArchGymError: the parameters have more than a million values together.
    """
    values = sum(map(len, space))
    if values > MOST_VALUES:
        longest = max(space, key=len)
        raise ArchGymError(
            f"{type(agent).__name__} keeps a number for every value of every parameter: expected at most {MOST_VALUES:,} values, got "
            f"{values:,}, most of them of {longest.name!r}; give it fewer, or use genetic, tpe, cmaes or sac"
        )


def check_choices(space: DesignSpace, agent: str) -> None:
    """Refuse a space without parameters to an agent that learns which values to choose.

    Raises:
        ArchGymError: the space has one design and nothing to choose.
    """
    if not len(space):
        raise ArchGymError(
            f"the agent {agent} learns which values to choose, and a space without parameters has one design; use exhaustive"
        )


def neighbours(space: DesignSpace, design: Indices) -> Indices:
    """Every neighbour of one design: indices [P] -> int64 [K, P]."""
    parameters, values = [], []
    for p, parameter in enumerate(space):
        steps = 2 ** np.arange(len(parameter).bit_length()) if parameter.ordered else np.arange(1, len(parameter))
        others = design[p] + np.concatenate([-steps, steps])
        others = others[(others >= 0) & (others < len(parameter))]
        parameters.append(np.full(len(others), p))
        values.append(others)
    rows = np.tile(design, (sum(map(len, values)), 1))
    if len(rows):
        rows[np.arange(len(rows)), np.concatenate(parameters)] = np.concatenate(values)
    return rows


def other_values(space: DesignSpace, values: Indices, parameters: Indices, rng: np.random.Generator) -> Indices:
    """Another value for each of K genes: a categorical parameter takes any other, an ordered one half of the time the next or previous.

    Args:
        values: the present indices, int64 [K].
        parameters: the parameter each one belongs to, int64 [K].

    Returns:
        int64 [K], different from `values` wherever the parameter has more than one value.
    """
    n = space.nvec[parameters]
    u, step, up = rng.random((3, len(values)))
    step_on = 1 + (u * (n - 1)).astype(np.int64)
    anywhere = values + np.where(values < n - step_on, step_on, step_on - n)  # a sum beyond n may need more than 64 bits
    ordered = np.array([p.ordered and len(p) > 2 for p in space], bool)[parameters]
    beside = values + np.where(((up < 0.5) | (values == 0)) & (values < n - 1), 1, -1)
    return np.where(ordered & (step < 0.5), beside, anywhere)


def moved(space: DesignSpace, designs: Indices, rng: np.random.Generator) -> Indices:
    """Each design with one random parameter at another value: int64 [B, P] -> [B, P]."""
    designs = designs.copy()
    free = np.flatnonzero(space.nvec > 1)
    if len(free):
        rows, parameters = np.arange(len(designs)), free[(rng.random(len(designs)) * len(free)).astype(np.int64)]
        designs[rows, parameters] = other_values(space, designs[rows, parameters], parameters, rng)
    return designs


def draw(probability: Array, nvec: Indices, n: int, rng: np.random.Generator) -> Indices:
    """Designs from a product of categorical distributions.

    Args:
        probability: of every value of every parameter, laid end to end: [sum(nvec)], with sum 1 for each parameter.
        nvec: values per parameter, [P].

    Returns:
        int64 [n, P].
    """
    # the cumulative sum rises from p to p + 1 over the values of parameter p, so one search serves all parameters
    place = np.searchsorted(np.cumsum(probability), np.arange(len(nvec)) + rng.random((n, len(nvec))), side="right")
    indices: Indices = np.clip(place - (np.cumsum(nvec) - nvec), 0, nvec - 1)  # the clip absorbs rounding
    return indices
