"""Operations on designs that several agents share: neighbours, moves, draws from categorical
distributions, whole generations.

Agents start from `space.sample(n, rng, per="parameter")`, and all designs here are canonical rows. In a
conditional space active parameters alone move, and those that a move opens are drawn: at their defaults they
would rarely differ.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.space import Array, DesignSpace, Indices
from archgym.space.orders import draw_each

MAX_VALUES = 1_000_000
MAX_REDRAWS = 64  # redrawn parameters of a repeated design, before it is accepted


def check_listable(agent: object, space: DesignSpace, limit: int = MAX_VALUES) -> None:
    """Refuse a space for an agent that keeps a number for every value of every parameter.

    Raises:
        ArchGymError: the parameters have more than `limit` values together.
    """
    values = sum(map(len, space))
    if values > limit:
        longest = max(space, key=len)
        raise ArchGymError(
            f"{type(agent).__name__} keeps a number for every value of every parameter: expected at most "
            f"{limit:,} values, got {values:,}, most of them of {longest.name!r}; give it fewer, or use "
            "genetic, tpe, cmaes or sac"
        )


def space_to_learn(agent: object, env: VectorEnv, *, listed: bool = True) -> DesignSpace:
    """The space of an environment for an agent that learns which values to choose.

    Args:
        agent: the agent.
        env: the environment.
        listed: whether the agent keeps a number for every value of every parameter.

    Raises:
        ArchGymError: the space has no parameters, or too many values.
    """
    space = core(env).simulator.space
    if not len(space):
        raise ArchGymError(
            f"the agent {type(agent).__name__} learns which values to choose, and a space without parameters "
            "has one design; use exhaustive"
        )
    if listed:
        check_listable(agent, space)
    return space


class Generation:
    """Collects evaluated designs until there are `size` of them.

    Args:
        size: designs of a generation; a batch that crosses it belongs to it.
    """

    def __init__(self, size: int):
        self.size = size
        self._batches: list[tuple[Array, ...]] = []

    def collect(self, *columns: Array) -> tuple[Array, ...] | None:
        """Take a batch: designs [B, P], rewards [B], ...; the columns of the whole generation once it is
        complete, else None.
        """
        self._batches.append(columns)
        if sum(len(batch[0]) for batch in self._batches) < self.size:
            return None
        batches, self._batches = self._batches, []
        return tuple(np.concatenate(column) for column in zip(*batches, strict=True))


def population_for(budget: int) -> int:
    """The largest power of two up to the square root of a budget, from 16 to 64: generations and their size
    grow together.
    """
    return 2 ** min(max((int(budget).bit_length() - 1) // 2, 4), 6)


def opened(space: DesignSpace, parents: Indices, children: Indices, rng: np.random.Generator) -> Indices:
    """Children [B, P] with random values of the parameters that their parents [B, P] lack, as canonical
    rows; as they are in a space without conditions.
    """
    if not space.conditional:
        return children
    drawn = draw_each(len(children), space.nvec, rng)
    return space.canonical(np.where(space.active(parents), children, drawn))


def crossed(
    space: DesignSpace, mothers: Indices, fathers: Indices, mix: Array, rng: np.random.Generator
) -> Indices:
    """Children of mothers and fathers, int64 [B, P] each: a gene is the father's where `mix`, bool [B, P],
    is set, and the other parent's where that one lacks it.
    """
    if not space.conditional:
        return np.where(mix, fathers, mothers)
    in_mother, in_father = space.active(mothers), space.active(fathers)
    genes = np.where(np.where(mix, in_father, ~in_mother), fathers, mothers)
    drawn = draw_each(
        len(mothers), space.nvec, rng
    )  # conditions on several parents may open a gene of neither
    return space.canonical(np.where(in_mother | in_father, genes, drawn))


def neighbours(space: DesignSpace, design: Indices, rng: np.random.Generator) -> Indices:
    """Every neighbour of one design: indices [P] -> int64 [K, P]; one for each other value of each active
    parameter, of an ordered one 1, 2, 4, ... steps away.

    Args:
        space: the design space.
        design: indices [P].
        rng: generator of the parameters that a move opens.
    """
    parameters, values = [], []
    for p in np.flatnonzero(space.active(design[None])[0]).tolist():
        parameter = space.parameters[p]
        steps = (
            2 ** np.arange(len(parameter).bit_length()) if parameter.ordered else np.arange(1, len(parameter))
        )
        others = design[p] + np.concatenate([-steps, steps])
        others = others[(others >= 0) & (others < len(parameter))]
        parameters.append(np.full(len(others), p))
        values.append(others)
    rows = np.tile(design, (sum(map(len, values)), 1))
    if len(rows):
        rows[np.arange(len(rows)), np.concatenate(parameters)] = np.concatenate(values)
    return opened(space, np.broadcast_to(design, rows.shape), rows, rng)


def other_values(
    space: DesignSpace, values: Indices, parameters: Indices, rng: np.random.Generator
) -> Indices:
    """Another value for each of K genes: any other; of an ordered parameter in half of the cases the next or
    the previous one.

    Args:
        space: the design space.
        values: present indices, int64 [K].
        parameters: position of each one's parameter, int64 [K].
        rng: generator of the draws.

    Returns:
        int64 [K], different from `values` wherever the parameter has more than one value.
    """
    n = space.nvec[parameters]
    u, step, up = rng.random((3, len(values)))
    step_on = 1 + (u * (n - 1)).astype(np.int64)
    # a sum beyond n may need more than 64 bits
    anywhere = values + np.where(values < n - step_on, step_on, step_on - n)
    ordered = np.array([p.ordered and len(p) > 2 for p in space], bool)[parameters]
    beside = values + np.where(((up < 0.5) | (values == 0)) & (values < n - 1), 1, -1)
    return np.where(ordered & (step < 0.5), beside, anywhere)


def free_genes(space: DesignSpace, designs: Indices) -> Array:
    """Active parameters with more than one value, of designs [B, P]: bool [B, P]."""
    free: Array = space.active(designs) & (space.nvec > 1)
    return free


def random_genes(space: DesignSpace, designs: Indices, rng: np.random.Generator) -> Indices:
    """A random free gene of each design, int64 [B, P] -> [B]; the space has several designs."""
    free = free_genes(space, designs)
    place = (rng.random(len(designs)) * free.sum(axis=1)).astype(np.int64)
    return np.asarray((free.cumsum(axis=1) > place[:, None]).argmax(axis=1))


def mutated(space: DesignSpace, designs: Indices, mutate: Array, rng: np.random.Generator) -> Indices:
    """Designs [B, P] with the active genes among those chosen, bool [B, P], at other values: int64 [B, P].

    A design with such a gene becomes another one: the first of them stays active.
    """
    rows, genes = np.nonzero(mutate & space.active(designs))
    children = designs.copy()
    children[rows, genes] = other_values(space, designs[rows, genes], genes, rng)
    return opened(space, designs, children, rng)


def moved(space: DesignSpace, designs: Indices, rng: np.random.Generator) -> Indices:
    """Each design with one random parameter at another value: int64 [B, P] -> [B, P]."""
    if space.size == 1:
        return designs.copy()
    rows, genes = np.arange(len(designs)), random_genes(space, designs, rng)
    children = designs.copy()
    children[rows, genes] = other_values(space, designs[rows, genes], genes, rng)
    return opened(space, designs, children, rng)


def redraw_until_new(
    space: DesignSpace, design: Indices, seen: Collection[bytes], rng: np.random.Generator
) -> None:
    """Redraw random parameters of a repeated design [P] one by one, in place, until it is new.

    Args:
        space: the design space.
        design: int64 [P].
        seen: distinct designs so far, as bytes; where they are all of the space, nothing is redrawn.
        rng: generator of the draws.
    """
    for _ in range(MAX_REDRAWS if len(seen) < space.size else 0):
        before, active = design.copy(), np.flatnonzero(space.active(design[None])[0])
        parameter = active[rng.integers(len(active))]
        design[parameter] = rng.integers(space.nvec[parameter])
        design[:] = opened(space, before[None], design[None], rng)[0]
        if design.tobytes() not in seen:
            break


def draw(probability: Array, nvec: Indices, n: int, rng: np.random.Generator) -> Indices:
    """Designs from a product of categorical distributions.

    Args:
        probability: probabilities of every value of every parameter, end to end: [sum(nvec)], with sum 1 for
            each parameter.
        nvec: values per parameter, [P].
        n: number of designs.
        rng: generator of the draws.

    Returns:
        int64 [n, P].
    """
    # the cumulative sum rises from p to p + 1 over the values of parameter p, so one search finds the values
    # of all parameters
    place = np.searchsorted(
        np.cumsum(probability), np.arange(len(nvec)) + rng.random((n, len(nvec))), side="right"
    )
    return np.clip(place - (np.cumsum(nvec) - nvec), 0, nvec - 1)  # the clip absorbs rounding
