"""Designs among which the best is, of networks whose costs are sums and maxima over their parts.

A partial design, with values for the parameters of the first k parts, is beaten by another with the same
values of all parameters that later parts depend on, and no higher costs: whatever completes the one
completes the other, at no higher costs, since sums and maxima grow with their terms. Part by part, partial
designs are joined with those settings of the next part that no other setting beats, and beaten ones are
dropped (Bellman's principle with a Pareto front for each state).

Limits make fronts smaller. With l and h the least and the most that the remaining parts add,

    cost + l > limit     no completion is within the limit: dropped
    cost + h <= limit    every completion is: a cost that only has to be within its limit counts as limit - h

What remains contains an optimum of every objective that wants these costs low within these limits, if any
design is; of equal designs one remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archgym.pareto import non_dominated
from archgym.space import DesignSpace, Indices

SLACK = 1e-9  # of a limit, for sums in another order

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """All settings of one part.

    Attributes:
        places: places of its parameters in the space, [Q].
        rows: their indices, int64 [R, Q].
        costs: lower is better, [R, C].
    """

    places: Indices
    rows: Indices
    costs: Floats


@dataclass(frozen=True)
class Limits:
    """Limits and directions of C costs, [C] each.

    Attributes:
        largest: whether a cost is the largest of its parts' instead of their sum.
        most: limit, infinite where there is none.
        lower: whether less is better within the limit.
    """

    largest: npt.NDArray[np.bool_]
    most: Floats
    lower: npt.NDArray[np.bool_]


def frontier(space: DesignSpace, parts: Sequence[Settings], limits: Limits) -> Indices:
    """Designs [N, P] that no other beats.

    Args:
        space: the design space; every parameter has its conditions' parameters in each part that it is in.
        parts: settings of all parts, in order.
        limits: limit and direction of each cost.
    """
    settings = [_possible(space, part) for part in parts]
    designs = np.zeros((1, len(space)), np.int64)
    costs = np.zeros((1, len(limits.most)))
    known: set[int] = set()
    for number, (part, (rows, added)) in enumerate(zip(parts, settings, strict=True)):
        rest = [costs for _, costs in settings[number + 1 :]]
        later = {place for other in parts[number + 1 :] for place in other.places.tolist()}
        own = set(part.places.tolist())
        kept = _unbeaten(rows[:, sorted(own & (known | later))], added)
        rows, added = rows[kept], added[kept]
        left, right = _matches(designs[:, sorted(own & known)], rows[:, sorted(own & known)])
        costs = np.where(limits.largest, np.maximum(costs[left], added[right]), costs[left] + added[right])
        within, needed = _limited(costs, rest, limits)
        left, right, costs = left[within], right[within], costs[within]
        designs = designs[left]
        designs[:, part.places] = rows[right][:, part.places]
        known |= own
        kept = _unbeaten(designs[:, sorted(known & later)], needed)
        designs, costs = designs[kept], costs[kept]
    return space.canonical(designs)


def _possible(space: DesignSpace, part: Settings) -> tuple[Indices, Floats]:
    """Settings that a design can have, as rows [S, P] of the space, and their costs: inactive parameters
    stand at their inactive indices.
    """
    rows = np.zeros((len(part.rows), len(space)), np.int64)
    rows[:, part.places] = part.rows
    possible = (space.canonical(rows)[:, part.places] == part.rows).all(axis=1)
    return rows[possible], part.costs[possible]


def _limited(costs: Floats, rest: Sequence[Floats], limits: Limits) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which partial designs may end within the limits, and what their costs count as."""
    least = np.where(limits.largest, 0, sum(part.min(axis=0) for part in rest))
    most = np.where(limits.largest, 0, sum(part.max(axis=0) for part in rest))
    slack = np.where(np.isfinite(limits.most), SLACK * np.abs(limits.most), 0)
    within: npt.NDArray[np.bool_] = np.all(costs + least <= limits.most + slack, axis=1)
    needed = np.where(limits.lower, costs, np.maximum(costs, limits.most - slack - most))
    return within, needed[within]


def _matches(left: Indices, right: Indices) -> tuple[Indices, Indices]:
    """All pairs of equal rows: places on the left and on the right."""
    keys = np.unique(np.concatenate([left, right]), axis=0, return_inverse=True)[1].reshape(-1)
    ours, theirs = keys[: len(left)], keys[len(left) :]
    order = np.argsort(theirs, kind="stable")
    first = np.searchsorted(theirs[order], ours)
    counts = np.searchsorted(theirs[order], ours, side="right") - first
    begin = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.repeat(np.arange(len(left)), counts), order[begin + np.arange(counts.sum())]


def _unbeaten(state: Indices, costs: Floats) -> Indices:
    """Rows that no other row of the same state beats, of equal ones the first."""
    keys = np.unique(state, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(keys, kind="stable")
    kept = [np.empty(0, np.int64)]
    for group in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        distinct, first = np.unique(costs[group], axis=0, return_index=True)
        constant = (distinct == distinct[:1]).all(axis=0)
        constant[:1] &= not constant.all()
        kept.append(group[first[non_dominated(distinct[:, ~constant])]])
    return np.concatenate(kept)
