"""Orders: how the designs of a space are counted, numbered and drawn.

Without conditions every combination is a design, and ordinals are in mixed radix (`MixedRadix`).

With conditions (`when=`) a parameter p is active if each parent that it names is active and stands at a value
that it names; otherwise it stands at its inactive index (`Frontier`). A design is then a walk through P
positions. The state s at position p is the set of parameters from p on that earlier choices have closed, and
v leads from it to next(s, v). With N_p(s) designs of the positions from p on,

    N_P(s) = 1;   N_p(s) = sum_v N_{p+1}(next(s, v))  if p is active in s,  N_{p+1}(next(s))  if not
    size       = N_0({})
    ordinal(i) = sum_p sum_{v < i_p} N_{p+1}(next(s_p, v))    over active p: lexicographic order
    P(v | s)   = N_{p+1}(next(s, v)) / N_p(s)                     draws all designs equally often

This is the frontier method of counting paths (Knuth, "The Art of Computer Programming" 4A, 7.1.4). Rank,
unrank and draw take one vectorised step per parameter. Where all values lead to one state a step is one of
mixed radix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.space.parameters import Array, Indices, Parameter, all_true

MOST_STATES = 100_000  # of all positions together
MOST_ENTRIES = 20_000_000  # numbers in a table of one position: states times values


class Order(Protocol):
    """What a design space asks about its designs; arrays have one row per design."""

    size: int

    def active(self, indices: Indices) -> Array: ...
    def canonical(self, indices: Indices) -> Indices: ...
    def sample(self, n: int, rng: np.random.Generator) -> Indices: ...
    def rank(self, indices: Indices) -> Array: ...
    def rank_one(self, indices: Sequence[int]) -> tuple[list[int], list[bool], int]: ...
    def unrank(self, ordinals: Array) -> Indices: ...


def order_of(parameters: Sequence[Parameter]) -> Order:
    """The order of these parameters' designs.

    Raises:
        ArchGymError: conditions that name no earlier parameter, or values that it does not take.
    """
    if any(parameter.when for parameter in parameters):
        return Frontier(parameters)
    return MixedRadix([len(parameter) for parameter in parameters])


def draw_each(n: int, nvec: Indices, rng: np.random.Generator) -> Indices:
    """Every parameter at a uniform random index: int64 [n, P]."""
    # floor(u * n_p) stays below n_p for every u < 1 in double precision, and is three times as fast as
    # rng.integers
    return (rng.random((n, len(nvec))) * nvec).astype(np.int64)


class MixedRadix:
    """All combinations of n_p values, the first parameter most significant."""

    def __init__(self, sizes: Sequence[int]):
        self.sizes = sizes
        self.size: int = math.prod(sizes)
        self.nvec = np.array(sizes, np.int64)

    def active(self, indices: Indices) -> Array:
        return np.ones(indices.shape, bool)

    def canonical(self, indices: Indices) -> Indices:
        return indices

    def sample(self, n: int, rng: np.random.Generator) -> Indices:
        return draw_each(n, self.nvec, rng)

    @cached_property
    def _strides(self) -> Array:
        strides = [math.prod(self.sizes[j + 1 :]) for j in range(len(self.sizes))]
        return np.array(strides, integers(self.size))

    def rank(self, indices: Indices) -> Array:
        rows = indices if self.size < 2**63 else indices.astype(object)
        ordinals: Array = rows @ self._strides
        return ordinals

    def rank_one(self, indices: Sequence[int]) -> tuple[list[int], list[bool], int]:
        ordinal = 0
        for index, n in zip(indices, self.sizes, strict=True):
            ordinal = ordinal * n + index
        return list(indices), [True] * len(self.sizes), ordinal

    def unrank(self, ordinals: Array) -> Indices:
        rest = np.asarray(ordinals)
        indices = np.empty((len(rest), len(self.sizes)), np.int64)
        for j in range(len(self.sizes) - 1, -1, -1):
            indices[:, j] = rest % self.sizes[j]
            rest = rest // self.sizes[j]
        return indices


def integers(size: int) -> Any:
    """The type of ordinals below a size: int64, or Python's integers."""
    return np.int64 if size < 2**63 else object


class Frontier:
    """Designs of parameters with conditions.

    Args:
        parameters: the axes, parents before children.

    Raises:
        ArchGymError: a condition that names no earlier parameter, or a value that it does not take; more than
            100,000 states.
    """

    def __init__(self, parameters: Sequence[Parameter]):
        self.nvec = np.array([len(p) for p in parameters], np.int64)
        self.inactive = np.array([p.inactive if p.when else 0 for p in parameters], np.int64)
        self.conditions = _conditions(parameters)
        self.size, self.positions = _positions(parameters, self.conditions)

    def active(self, indices: Indices) -> Array:
        if len(indices) == 1:  # many times as fast
            return np.array([self.rank_one(indices[0].tolist())[1]])
        active = np.ones(indices.shape, bool)
        for p, parents in self.conditions.items():
            for parent, allowed in parents.items():
                active[:, p] &= active[:, parent] & allowed[indices[:, parent]]
        return active

    def canonical(self, indices: Indices) -> Indices:
        active = self.active(indices)
        return indices if all_true(active) else np.where(active, indices, self.inactive)

    def sample(self, n: int, rng: np.random.Generator) -> Indices:
        uniform = rng.random((n, len(self.nvec)))
        return self._walk(n, lambda p, states: self._drawn(p, states, uniform[:, p]))

    def _drawn(self, p: int, states: Indices, u: Array) -> Indices:
        chances = self._chances[p]
        return (u * self.nvec[p]).astype(np.int64) if chances is None else _places(chances, states, u)

    @cached_property
    def _chances(self) -> list[Array | None]:
        """P(v' < v | s) of every parameter whose values lead to different states, float [S, n + 1]."""
        return [
            None if position.plain else (position.before / position.before[:, -1:]).astype(float)
            for position in self.positions
        ]

    def rank(self, indices: Indices) -> Array:
        ordinals = np.zeros(len(indices), integers(self.size))
        states = np.zeros(len(indices), np.int64)
        for p, position in enumerate(self.positions):
            values = indices[:, p]
            smaller = (
                values * position.before[states, 0] if position.plain else position.before[states, values]
            )
            ordinals += np.where(position.active[states], smaller, 0)
            states = position.step(states, values)
        return ordinals

    def rank_one(self, indices: Sequence[int]) -> tuple[list[int], list[bool], int]:
        """One design's canonical row, its active parameters and its ordinal, in a few microseconds."""
        row, active, state, ordinal = [], [], 0, 0
        for value, inactive, position in zip(indices, self._inactive, self._lists, strict=True):
            active_in, following, classes, before = position
            active.append(active_in[state])
            row.append(value if active_in[state] else inactive)
            if active_in[state]:
                ordinal += before[state][value] if classes else value * before[state][0]
            state = following[state][classes[value] if classes else 0]
        return row, active, ordinal

    @cached_property
    def _inactive(self) -> list[int]:
        return self.inactive.tolist()

    @cached_property
    def _lists(self) -> list[tuple[list[bool], list[list[int]], list[int], list[list[int]]]]:
        """The tables as lists; no classes where all values lead to one state."""
        return [
            (
                p.active.tolist(),
                p.following.tolist(),
                [] if p.plain else p.classes.tolist(),
                p.before.tolist(),
            )
            for p in self.positions
        ]

    def unrank(self, ordinals: Array) -> Indices:
        rest = np.array(ordinals, integers(self.size))

        def chosen(p: int, states: Indices) -> Indices:
            nonlocal rest
            position = self.positions[p]
            if position.plain:
                each = position.before[states, 0]
                values = rest // each
                rest = rest - values * each
            else:
                values = _places(position.before, states, rest)
                rest = rest - position.before[states, values]
            return values.astype(np.int64)

        return self._walk(len(rest), chosen)

    def _walk(self, n: int, choose: Callable[[int, Indices], Indices]) -> Indices:
        """Designs [n, P] whose value of parameter p, where it is active, is choose(p, states)."""
        indices = np.empty((n, len(self.nvec)), np.int64)
        states = np.zeros(n, np.int64)
        for p, position in enumerate(self.positions):
            values = choose(p, states)
            indices[:, p] = np.where(position.active[states], values, self.inactive[p])
            states = position.step(states, values)
        return indices


def _places(rows: Array, states: Indices, sought: Array) -> Indices:
    """The place of each number [B] among the ascending row of its state: the last entry at most as large."""
    places = np.empty(len(states), np.int64)
    for state in np.flatnonzero(np.bincount(states, minlength=len(rows))):
        here = np.flatnonzero(states == state)
        places[here] = np.searchsorted(rows[state], sought[here], side="right") - 1
    return places


_Conditions = dict[int, dict[int, Array]]  # child -> parent -> the parent's values that open it, bool [n]


def _conditions(parameters: Sequence[Parameter]) -> _Conditions:
    """The positions of every conditional parameter's parents, with the values that open it."""
    names = [parameter.name for parameter in parameters]
    conditions: _Conditions = {}
    for p, parameter in enumerate(parameters):
        for name, values in parameter.when.items():
            if name not in names:
                raise unknown(f"parameter in when= of {parameter.name!r}", name, names[:p])
            parent = names.index(name)
            if parent >= p:
                raise ArchGymError(
                    f"expected when= of parameter {parameter.name!r} to name earlier parameters, got "
                    f"{name!r}; list {name!r} before it"
                )
            allowed = np.zeros(len(parameters[parent].grid), bool)
            for value in values:
                allowed[parameters[parent].index([value])] = True
            conditions.setdefault(p, {})[parent] = allowed
    return conditions


@dataclass(frozen=True)
class _Position:
    """Tables of one parameter, for its S states.

    Attributes:
        active: states in which the parameter is active, bool [S].
        classes: the class of every value, int64 [n]: values of one class open the same parameters; of any
            length where there is one class.
        following: the next position's state after a value of each class, int64 [S, C]; rows of inactive
            states have one entry C times.
        before: designs that come before each value, and all of them, [S, n + 1]; where there is one class
            their constant step alone, [S, 1].
    """

    active: Array
    classes: Indices
    following: Indices
    before: Array

    @property
    def plain(self) -> bool:
        """Whether all values lead to one state."""
        return self.following.shape[1] == 1

    def step(self, states: Indices, values: Indices) -> Indices:
        """The next position's states after values [B] in states [B]."""
        found: Indices = self.following[states, 0 if self.plain else self.classes[values]]
        return found


def _positions(parameters: Sequence[Parameter], conditions: _Conditions) -> tuple[int, list[_Position]]:
    """The number of designs, and the tables of every position: states forwards, designs backwards."""
    forwards = list(_forwards(parameters, conditions))
    size_of = np.array([1], object)  # N_{p+1} of every state
    tables: list[Array] = []
    for parameter, (active, classes, following) in zip(reversed(parameters), reversed(forwards), strict=True):
        of_class, n = size_of[following], len(parameter)
        if following.shape[1] == 1:
            tables.append(of_class)
            size_of = of_class[:, 0] * np.where(active, np.array(n, object), 1)
        else:
            before = np.zeros((len(active), n + 1), object)
            before[:, 1:] = np.cumsum(of_class[:, classes], axis=1)
            tables.append(before)
            size_of = np.where(active, before[:, -1], of_class[:, 0])
    size = int(size_of[0])
    exact = [table.astype(integers(size)) for table in reversed(tables)]
    return size, [_Position(*each, table) for each, table in zip(forwards, exact, strict=True)]


def _forwards(
    parameters: Sequence[Parameter], conditions: _Conditions
) -> Iterator[tuple[Array, Indices, Indices]]:
    """`active`, `classes` and `following` of every position."""
    states, total = [frozenset[int]()], 1  # a state is the set of closed parameters
    for p, parameter in enumerate(parameters):
        children = {child: opens[p] for child, opens in conditions.items() if p in opens}
        opened = np.stack([*children.values()], axis=1) if children else np.ones((1, 0), bool)
        kinds, classes = np.unique(opened, axis=0, return_inverse=True)
        shut = [
            frozenset(child for child, on in zip(children, kind, strict=True) if not on) for kind in kinds
        ]
        numbers: dict[frozenset[int], int] = {}
        following = [
            [
                numbers.setdefault(
                    (state | (frozenset(children) if p in state else more)) - {p}, len(numbers)
                )
                for more in shut
            ]
            for state in states
        ]
        total += len(numbers)
        if total > MOST_STATES or (len(shut) > 1 and len(states) * len(parameter) > MOST_ENTRIES):
            raise ArchGymError(
                f"expected conditions of at most {MOST_STATES:,} states, got more at parameter "
                f"{parameter.name!r}; list children directly after their parents"
            )
        active = np.array([p not in state for state in states])
        yield active, classes.reshape(-1).astype(np.int64), np.array(following, np.int64)
        states = list(numbers)
