"""Tabu search: one layer is taken from its place and inserted in another, on any sub-accelerator, again and
again.

Insertions are ranked by the longest path through the inserted layer v between the machine's layers i and j
and the network's k and m,

    max(end_k, end_i) + t_va + max(tail_m, tail_j),   tail_l = time from the start of l to the end of the
                                                      schedule.

A round evaluates the best few exactly and applies the best, even if it is worse than the current schedule.
Its measure is energy + lambda max(0, latency - limit), lambda rising while the schedule is too long and
falling while it is not.

A lane is one start of one design, independent of the others; arrays have the lanes last: M = starts times
active designs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from archgym.simulators.accelerator.scheduler.plans import (
    TIE_WEIGHT,
    TOLERANCE,
    Bools,
    Chips,
    Floats,
    Integers,
    by_layer,
    entries,
    least_rows,
    pick,
    start_and_end,
    total,
)

# at most ROUNDS / L rounds; PATIENCE rounds without improvement end a search
ROUNDS, MIN_ROUNDS, PATIENCE = 320, 4, 20
# insertions evaluated in a round: CANDIDATES / L, within limits
CANDIDATES, MIN_CANDIDATES, MAX_CANDIDATES = 128, 2, 16
LATENCY_WEIGHT = 1e-4  # weight of the latency where the energy counts
PENALTY_GROWTH = 1.5  # factor of lambda in a round


class TabuSearch:
    """Improves plans [L, K, b], K starts of every design.

    With a target [b] it minimises energy among plans no longer than the target. Without one it minimises
    latency, down to `aim` [b].

    Attributes:
        best: the best plan of every design, [L, b].
        best_value: its energy with a target, its latency without, [b].
    """

    def __init__(self, chips: Chips, plans: Integers, aim: Floats, target: Floats | None):
        layers, starts, designs = plans.shape
        self.best = plans[:, 0].copy()
        self.best_value = np.full(designs, np.inf)
        self._chips, self._aim, self._target, self._starts = chips, aim, target, starts
        self._best_tie, self._improved = np.full(designs, np.inf), np.zeros(designs, int)
        self._active = np.arange(designs)  # designs whose search goes on
        self._row = np.tile(self._active, starts)  # design of a lane
        self._plan = plans.reshape(layers, -1)
        self._start, self._end = start_and_end(chips, self._plan, self._row)
        # last round that leaves an operation out
        self._tabu_until = np.zeros((layers * chips.accelerators, len(self._row)), int)
        self._tenure = np.repeat(np.arange(starts) * max(1, layers // 8) + max(2, layers // 4), designs)
        self._penalty = np.ones(len(self._row))  # lambda

    def run(self) -> tuple[Integers, Floats]:
        """Search to the end: `best` and `best_value`."""
        layers = len(self._plan)
        energy = total(entries(self._chips.energy, self._plan, self._row))
        self._record(self._end.max(axis=0)[None], energy[None], self._plan[:, None], 0)
        for step in range(1, max(ROUNDS // layers, MIN_ROUNDS) + 1):
            self._drop_finished(step)
            if not len(self._active):
                break
            self._round(step)
        return self.best, self.best_value

    def _record(self, latency: Floats, energy: Floats, candidates: Integers, step: int) -> None:
        """Keep the best of candidates [L, C, M]; latency and energy [C, M]."""
        value, tie = latency, energy
        if self._target is not None:
            limit = np.tile(self._target[self._active], self._starts)
            value, tie = np.where(latency <= limit, energy, np.inf), latency
        value, tie = value.reshape(-1, len(self._active)), tie.reshape(-1, len(self._active))
        which = np.where(value <= value.min(axis=0), tie, np.inf).argmin(axis=0)
        value, tie = pick(value, which), pick(tie, which)
        old, margin = self.best_value[self._active], 1 - TOLERANCE
        is_less = (value < old * margin) | ((value <= old) & (tie < self._best_tie[self._active] * margin))
        better = np.flatnonzero(np.isfinite(value) & is_less)
        rows = self._active[better]
        self.best[:, rows] = candidates.reshape(len(self.best), -1)[
            :, which[better] * len(self._active) + better
        ]
        self.best_value[rows], self._best_tie[rows], self._improved[rows] = value[better], tie[better], step

    def _drop_finished(self, step: int) -> None:
        """Drop the designs that did not improve lately or have reached their aim."""
        going = self._improved[self._active] + PATIENCE >= step
        if self._target is None:
            going &= self.best_value[self._active] > self._aim[self._active]
        if going.all():
            return
        lanes = np.tile(going, self._starts)
        self._active, self._row = self._active[going], self._row[lanes]
        self._plan, self._start, self._end = self._plan[:, lanes], self._start[:, lanes], self._end[:, lanes]
        self._tabu_until, self._tenure, self._penalty = (
            self._tabu_until[:, lanes],
            self._tenure[lanes],
            self._penalty[lanes],
        )

    def _round(self, step: int) -> None:
        """Evaluate the best insertions and apply the best of them."""
        chips, row = self._chips, self._row
        lane = np.arange(len(row))
        limit = np.zeros(len(row)) if self._target is None else self._target[row]
        energy_weight = TIE_WEIGHT if self._target is None else 1.0
        penalty = self._penalty

        def cost(latency: Floats, energy: Floats) -> Floats:
            return (
                energy_weight * energy + penalty * np.maximum(latency - limit, 0) + LATENCY_WEIGHT * latency
            )

        index = np.argsort(self._start, axis=0, kind="stable") * len(row) + lane
        plan, start, end = self._plan.take(index), self._start.take(index), self._end.take(index)
        spent = entries(chips.energy, plan, row)
        costs, operations, destinations = _best_insertions(
            chips, plan, row, start, end, spent, self._tabu_until >= step, cost
        )
        source = least_rows(costs, min(max(CANDIDATES // len(plan), MIN_CANDIDATES), MAX_CANDIDATES))
        possible = np.isfinite(pick(costs, source))
        operation, destination = pick(operations, source), pick(destinations, source)
        candidates = _moved(plan, source, destination, operation)
        start, end = start_and_end(chips, candidates, row)
        latency = end.max(axis=0)
        energy = total(spent) + entries(chips.energy, operation, row) - pick(spent, source)
        self._record(np.where(possible, latency, np.inf), energy, candidates, step)
        # Where every insertion is tabu, the choice is an impossible one, which leaves the plan as it is.
        choice = np.where(possible, cost(latency, energy), np.inf).argmin(axis=0)
        self._tabu_until[pick(plan, pick(source, choice)), lane] = step + self._tenure
        self._plan, self._start, self._end = (
            candidates[:, choice, lane],
            start[:, choice, lane],
            end[:, choice, lane],
        )
        if self._target is not None:
            self._penalty = penalty * np.where(
                self._end.max(axis=0) > limit, PENALTY_GROWTH, 1 / PENALTY_GROWTH
            )


class _Places(NamedTuple):
    """Possible places of the layers of plans [L, M]. Positions before a layer count from 1, those after it
    from 0: 0 and L mean none, and times of 0."""

    position: Integers  # [L, 1]
    ends: Floats  # end of the layer before a position, [L + 1, M]
    tails: Floats  # time from a position to the end of the schedule, [L + 1, M]
    network_before: Integers  # position of the layer before in the network, [L, M]
    network_after: Integers  # position of the layer after in the network, [L, M]
    on: Bools  # whether a layer is on a sub-accelerator, [A, L, M]
    before: Integers  # last position of a sub-accelerator up to a position, [A, L + 1, M]
    after: Integers  # first position of a sub-accelerator from a position on, [A, L + 1, M]


def _best_insertions(
    chips: Chips,
    plan: Integers,
    row: Integers,
    start: Floats,
    end: Floats,
    spent: Floats,
    forbidden: Bools,
    cost: Callable[[Floats, Floats], Floats],
) -> tuple[Floats, Integers, Integers]:
    """The best other place of every layer of plans [L, M] by its estimated cost: that cost, the operation and
    the position, each [L, M].

    Places are, on each sub-accelerator, the present position, one layer of that sub-accelerator earlier, and
    one later. `forbidden` operations are [L * A, M]; `cost` is of latency and energy. Where no place is left:
    inf, and the layer as it is.
    """
    layer = chips.layer_of.take(plan)
    places = _places(chips, plan, row, end)
    latency = end.max(axis=0)
    is_critical = start + places.tails[:-1] >= latency * (1 - 1e-9)
    elsewhere = np.where(is_critical, 0.0, latency)  # the latency that moving this layer cannot reduce
    energy = total(spent)
    head, rest = pick(places.ends, places.network_before), pick(places.tails, places.network_after)
    costs, operations = np.full(plan.shape, np.inf), plan.copy()
    destinations = np.broadcast_to(places.position, plan.shape).copy()
    for a in range(chips.accelerators):
        path, place = _best_places(places, a, head, rest)
        operation = layer * chips.accelerators + a
        time = entries(chips.time, operation, row)
        possible = np.isfinite(path) & np.isfinite(time) & ~pick(forbidden, operation)
        path = np.maximum(np.where(possible, path + time, 0.0), elsewhere)
        estimate = np.where(
            possible, cost(path, energy + (entries(chips.energy, operation, row) - spent)), np.inf
        )
        better = estimate < costs
        for kept, value in ((costs, estimate), (operations, operation), (destinations, place)):
            np.copyto(kept, value, where=better)
    return costs, operations, destinations


def _places(chips: Chips, plan: Integers, row: Integers, end: Floats) -> _Places:
    layers, lanes = plan.shape
    layer, accelerator = chips.layer_of.take(plan), chips.sub_accelerator_of.take(plan)
    tail = start_and_end(chips, plan[::-1], row)[1][::-1]
    position = np.arange(layers)[:, None]
    none, last = np.zeros((1, lanes), np.intp), np.full((1, lanes), layers)
    place = by_layer(np.broadcast_to(position, plan.shape), layer)

    before, after = np.empty((2, chips.accelerators, layers + 1, lanes), np.intp)
    before[:, 0], after[:, -1] = 0, layers
    on = accelerator == np.arange(chips.accelerators)[:, None, None]
    up_to, from_on = np.where(on, position + 1, 0), np.where(on, position, layers)
    for p in range(layers):
        np.maximum(before[:, p], up_to[:, p], out=before[:, p + 1])
        np.minimum(after[:, layers - p], from_on[:, layers - p - 1], out=after[:, layers - p - 1])
    return _Places(
        position=position,
        ends=np.concatenate([np.zeros((1, lanes)), end]),
        tails=np.concatenate([tail, np.zeros((1, lanes))]),
        network_before=pick(np.concatenate([place + 1, none]), chips.before.take(layer)),
        network_after=pick(np.concatenate([place, last]), chips.after.take(layer)),
        on=on,
        before=before,
        after=after,
    )


def _best_places(places: _Places, a: int, head: Floats, rest: Floats) -> tuple[Floats, Integers]:
    """The best position of every layer on sub-accelerator a: the longest path through it without its time,
    inf where it is already there, and the position, [L, M]. `head` and `rest` are the paths up to the layer
    before in its network and from the layer after."""
    ends, tails, before, after = places.ends, places.tails, places.before[a], places.after[a]
    layers = len(places.position)
    one_before, one_after = before[:-1], after[1:]
    path = np.maximum(head, pick(ends, one_before)) + np.maximum(rest, pick(tails, one_after))
    path[places.on[a]] = np.inf
    place = np.broadcast_to(places.position, path.shape).copy()
    earlier, later = np.maximum(one_before - 1, 0), np.minimum(one_after + 1, layers)
    for machine_head, machine_tail, destination, allowed in (
        (
            pick(ends, pick(before, earlier)),
            pick(tails, earlier),
            earlier,
            one_before > places.network_before,
        ),
        (pick(ends, later), pick(tails, pick(after, later)), one_after, one_after < places.network_after),
    ):
        through = np.maximum(head, machine_head) + np.maximum(rest, machine_tail)
        better = allowed & (through < path)
        np.copyto(path, through, where=better)
        np.copyto(place, destination, where=better)
    return path, place


def _moved(plan: Integers, source: Integers, destination: Integers, operation: Integers) -> Integers:
    """Plans [L, C, M]: the layer at `source` [C, M] of plan [L, M] taken out and put in at `destination`,
    as `operation`.
    """
    position = np.arange(len(plan))[:, None, None]
    inserted = position == destination
    between = (
        (position >= np.minimum(source, destination))
        & (position <= np.maximum(source, destination))
        & ~inserted
    )
    return np.where(inserted, operation, pick(plan, position + between * np.sign(destination - source)))
