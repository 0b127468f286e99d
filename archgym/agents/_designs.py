"""Shared by several agents: moves to neighbours, draws from a product of categorical distributions, collected generations."""

from __future__ import annotations

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array, DesignSpace, Indices

MAX_VALUES = 1_000_000


def check_listable(agent: object, space: DesignSpace) -> None:
    """Refuse a space for an agent that keeps a number for every value of every parameter.

    Raises:
        ArchGymError: the parameters have more than MAX_VALUES values in total.
    """
    values = sum(map(len, space))
    if values > MAX_VALUES:
        longest = max(space, key=len)
        raise ArchGymError(
            f"{type(agent).__name__} keeps a number for every value of every parameter: expected at most {MAX_VALUES:,} values, got "
            f"{values:,}, most of them of {longest.name!r}; give it fewer, or use genetic, tpe, cmaes or sac"
        )


def check_choices(agent: object, space: DesignSpace) -> None:
    """Refuse a space without parameters for an agent that learns which values to choose.

    Raises:
        ArchGymError: the space has no parameters.
    """
    if not len(space):
        name = type(agent).__name__
        raise ArchGymError(f"the agent {name} learns which values to choose, and a space without parameters has one design; use exhaustive")


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
    """A different value for each of K genes: any other, or, half of the time in an ordered parameter, the next or previous one.

    Args:
        values: present indices, int64 [K].
        parameters: position of each index's parameter, int64 [K].
        rng: generator of the draws.

    Returns:
        int64 [K], different from `values` wherever the parameter has more than one value.
    """
    n = space.nvec[parameters]
    u, step, up = rng.random((3, len(values)))
    step_on = 1 + (u * (n - 1)).astype(np.int64)
    anywhere = values + np.where(values < n - step_on, step_on, step_on - n)  # the sum of both could exceed 64 bits
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
        probability: probability of every value, parameter after parameter, [sum(nvec)]; sum 1 for each parameter.
        nvec: values per parameter, [P].
        n: number of designs.
        rng: generator of the draws.

    Returns:
        int64 [n, P].
    """
    # the cumulative sum rises from p to p + 1 over the values of parameter p, so one search serves all parameters
    place = np.searchsorted(np.cumsum(probability), np.arange(len(nvec)) + rng.random((n, len(nvec))), side="right")
    return np.clip(place - (np.cumsum(nvec) - nvec), 0, nvec - 1)  # the clip absorbs rounding


class Generation:
    """Designs and their rewards, collected until an agent learns from them.

    Args:
        n_parameters: parameters of a design, P.

    Attributes:
        designs, rewards, feasible: int64 [B, P], float64 [B], bool [B].
    """

    def __init__(self, n_parameters: int):
        self.designs: Indices = np.empty((0, n_parameters), np.int64)
        self.rewards: Array = np.empty(0)
        self.feasible: Array = np.empty(0, bool)

    def add(self, designs: Indices, rewards: Array, feasible: Array) -> int:
        """Add designs; the number of designs afterwards."""
        self.designs = np.concatenate([self.designs, designs])
        self.rewards = np.concatenate([self.rewards, rewards])
        self.feasible = np.concatenate([self.feasible, feasible])
        return len(self.rewards)

    def take(self) -> tuple[Indices, Array, Array]:
        """All designs, rewards and feasible designs; the generation is empty afterwards."""
        taken = self.designs, self.rewards, self.feasible
        self.designs, self.rewards, self.feasible = self.designs[:0], self.rewards[:0], self.feasible[:0]
        return taken
