"""Layers of several networks on the sub-accelerators of one chip: who computes what, and when (the mapper of NASAIC).

Networks are chains of layers and independent of each other; a sub-accelerator computes one layer at a time. With t_la and e_la the time
and energy of layer l on sub-accelerator a, a schedule assigns every layer, x_la in {0, 1}, sum_a x_la = 1, and starts it at s_l:

    end_l   = s_l + sum_a t_la x_la
    s_l    >= end_k                               k the layer before l in its network
    s_l    >= end_k  or  s_k >= end_l             k on the same sub-accelerator
    latency = max_l end_l <= latency_spec,        energy = sum_la e_la x_la -> min

This is the flexible job-shop problem, NP-hard; two heuristics in turn answer it, both for all designs of a batch at once:

1. A beam search builds schedules layer by layer in the order of their starts, so that it meets each left-shifted schedule once. It keeps
   the partial schedules of least Lagrangian bound, with a multiplier mu_a for the load of each sub-accelerator and nu_n for the length of
   each network, found by ascent on the dual:

       bound = energy so far + sum_a mu_a free_a + sum_n nu_n ready_n + sum_{l not started} min_a [ e_la + (mu_a + nu_n(l)) t_la ]

   free_a and ready_n are when a sub-accelerator and a network can go on. For the latency alone the energies are left out.
2. A tabu search takes one layer from its place and inserts it in another, on any sub-accelerator. It ranks insertions by the longest path
   through the inserted layer v between the machine's layers i and j and the network's k and m,

       max(end_k, end_i) + t_va + max(tail_m, tail_j),     tail_l = time from the start of l to the end of the schedule,

   times the best few of them, and makes the best, be it for the worse; its measure is energy + lambda max(0, latency - latency_spec),
   lambda rising while the schedule is too long and falling while it is not.

Beams are wide where layers are few: up to nine layers, nearly every answer is the exact one (`brute_force`). From some twenty layers on the
tabu search does most of the work, and what it misses is known only against bounds.

Sources: the problem and its heuristic, Yang et al., "Co-exploration of neural architectures and heterogeneous ASIC accelerator designs
targeting multiple tasks", DAC 2020; insertions, Mastrolilli and Gambardella, "Effective neighbourhood functions for the flexible job shop
problem", Journal of Scheduling 3, 2000; the oscillating lambda, Gendreau, Hertz and Laporte, Management Science 40, 1994.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Number = TypeVar("Number", bound=np.generic)
Bools = npt.NDArray[np.bool_]

CHUNK, PARTIAL = 512, 2**16  # designs and partial schedules at a time, at most: bounds the memory
ASCENT = 15  # steps on the dual
SCALES = (0.5, 1.0, 2.0, 4.0)  # of the multipliers, each with a beam of its own
BEAM, NARROWEST, WIDEST = 3_000_000, 2, 512  # partial schedules a beam keeps: BEAM / L^4, within limits
ROUNDS, FEWEST_ROUNDS, PATIENCE = 320, 4, 20  # of a tabu search: ROUNDS / L; as many without improvement end it
TIMED, FEWEST, MOST = 128, 2, 16  # insertions timed in a round: TIMED / L, within limits
TIE, SLACK = 1e-6, 1e-4  # weights of the energy where the latency counts, and of the latency where the energy does
TOO_LONG, LAST_RESORT = 1e3, 1e6  # what a schedule is charged, both sums of least times and of least energies being about 1
TOLERANCE = 1e-12  # relative; what is better by less is rounding


@dataclass(frozen=True)
class Schedule:
    """Schedules of B designs; where some layer can run nowhere, assignment -1 and everything else inf.

    Attributes:
        assignment: sub-accelerator of each layer, int [B, L].
        start: of each layer, [B, L], in the unit of the times given.
        latency: end of the last layer, [B].
        energy: sum over the layers, [B], in the unit of the energies given.
    """

    assignment: Integers
    start: Floats
    latency: Floats
    energy: Floats


def schedule(time: npt.ArrayLike, energy: npt.ArrayLike, network: npt.ArrayLike, latency_spec: npt.ArrayLike | None = None) -> Schedule:
    """The least energy among schedules within `latency_spec`; where none is found, the least latency.

    Deterministic, and a design's schedule does not depend on the batch it is in.

    Args:
        time: of each layer on each sub-accelerator, [B, L, A]; inf where it cannot run there.
        energy: likewise [B, L, A], in any unit.
        network: which network a layer belongs to, int [L]; layers of one network are in their order.
        latency_spec: one for all designs, or [B], in the unit of `time`; None asks for the least latency, and among equals the least
            energy.

    Raises:
        ArchGymError: shapes that do not fit, a negative time or energy, a NaN.
    """
    times, energies, networks = _checked(time, energy, network, dimensions=3)
    batch, layers, _ = times.shape
    specs = _checked_spec(latency_spec, batch)
    out = Schedule(np.full((batch, layers), -1, np.intp), np.full((batch, layers), np.inf), np.full(batch, np.inf), np.full(batch, np.inf))
    possible = np.flatnonzero(np.all(np.isfinite(times).any(axis=2), axis=1))
    chunk = min(max(PARTIAL // (_beam_width(layers) * len(SCALES)), 16), CHUNK)
    for first in range(0, len(possible), chunk):
        rows = possible[first : first + chunk]
        chips = _Chips.of(times[rows], energies[rows], networks)
        plans = _solve(chips, None if specs is None else np.ldexp(specs[rows], -chips.time_exponent))
        layer = chips.layer_of.take(plans)
        start, end = _start_and_end(chips, plans, np.arange(len(rows)))
        assignment = _by_layer(chips.sub_accelerator_of.take(plans), layer).T
        out.assignment[rows] = assignment
        out.start[rows] = np.ldexp(_by_layer(start, layer), chips.time_exponent).T
        out.latency[rows] = np.ldexp(end.max(axis=0), chips.time_exponent)
        out.energy[rows] = _total(np.take_along_axis(energies[rows], assignment[:, :, None], axis=2)[:, :, 0].T)
    return out


def lower_bound(time: npt.ArrayLike, network: npt.ArrayLike) -> Floats:
    """A latency that no schedule goes below, [B]: the longest network or the mean load, every layer where it is fastest.

    Args:
        time: [B, L, A], inf where a layer cannot run.
        network: int [L].

    Raises:
        ArchGymError: shapes that do not fit, a negative time, a NaN.
    """
    times, _, networks = _checked(time, time, network, dimensions=3)
    least = times.min(axis=2)
    longest = np.max([_total(least[:, networks == n].T) for n in range(networks.max() + 1)], axis=0)
    return np.asarray(np.maximum(longest, _total(least.T) / times.shape[2]))


def every_schedule(time: npt.ArrayLike, energy: npt.ArrayLike, network: npt.ArrayLike) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    """Latency [S], energy [S] and assignment [S, L] of all left-shifted schedules of one design: for up to about nine layers.

    All assignments times all interleavings of the networks, each schedule once: sorted by its starts, it is one sequence of layers, of
    which each starts as soon as its network and its sub-accelerator let it, and not before the one in front of it.

    Args:
        time, energy: [L, A], inf where a layer cannot run.
        network: int [L].

    Raises:
        ArchGymError: shapes that do not fit, a negative time or energy, a NaN.
    """
    times, energies, networks = _checked(time, energy, network, dimensions=2)
    layers, accelerators = times.shape
    members = [np.flatnonzero(networks == n) for n in range(networks.max() + 1)]
    done, free, ready = np.zeros((1, len(members)), int), np.zeros((1, accelerators)), np.zeros((1, len(members)))
    last_start, spent, assignment = np.zeros(1), np.zeros(1), np.full((1, layers), -1, np.int8)
    for _ in range(layers):
        longer: list[tuple[npt.NDArray[Any], ...]] = []
        for n, of_network in enumerate(members):
            for a in range(accelerators):
                one = np.flatnonzero(done[:, n] < len(of_network))
                layer = of_network[done[one, n]]
                start = np.maximum(free[one, a], ready[one, n])
                in_order = (start >= last_start[one]) & np.isfinite(times[layer, a])
                one, layer, start = one[in_order], layer[in_order], start[in_order]
                done_, free_, ready_, assignment_ = done[one], free[one], ready[one], assignment[one]
                done_[:, n] += 1
                free_[:, a] = ready_[:, n] = start + times[layer, a]
                assignment_[np.arange(len(one)), layer] = a
                longer.append((done_, free_, ready_, start, spent[one] + energies[layer, a], assignment_))
        done, free, ready, last_start, spent, assignment = (np.concatenate(parts) for parts in zip(*longer, strict=True))
    return ready.max(axis=1), spent, assignment


def brute_force(
    time: npt.ArrayLike, energy: npt.ArrayLike, network: npt.ArrayLike, latency_spec: float | None = None
) -> tuple[float, float, Integers]:
    """What `schedule` approximates, for one small design: latency, energy and assignment [L] of the best of `every_schedule`.

    Raises:
        ArchGymError: as `every_schedule`, or some layer can run nowhere.
    """
    latency, spent, assignment = every_schedule(time, energy, network)
    if not len(latency):
        raise ArchGymError("some layer can run on no sub-accelerator; give it a finite time and energy on at least one")
    least = latency.min()
    within = np.flatnonzero(latency <= (least if latency_spec is None else max(latency_spec, least)))
    best = within[np.lexsort((latency[within], spent[within]))[0]]
    return float(latency[best]), float(spent[best]), assignment[best].astype(np.intp)


def _checked(time: Any, energy: Any, network: Any, dimensions: int) -> tuple[Floats, Floats, Integers]:
    """Both tables, inf where either is, and networks numbered from 0."""
    times, energies, networks = np.asarray(time, float), np.asarray(energy, float), np.asarray(network)
    if times.ndim != dimensions or times.shape != energies.shape or networks.shape != times.shape[-2:-1] or 0 in times.shape[-2:]:
        raise ArchGymError(
            f"time and energy must both be {'[B, L, A]' if dimensions == 3 else '[L, A]'} and network [L], with a layer and a "
            f"sub-accelerator at least; they are {list(times.shape)}, {list(energies.shape)} and {list(networks.shape)}"
        )
    for name, values in (("time", times), ("energy", energies)):
        if not np.all(values >= 0):
            raise ArchGymError(f"{name} must be 0 or more everywhere, inf where a layer cannot run; it has negative numbers or NaN")
    cannot = np.isinf(times) | np.isinf(energies)
    numbers = np.unique(networks, return_inverse=True)[1].astype(np.intp)
    return np.where(cannot, np.inf, times), np.where(cannot, np.inf, energies), numbers


def _checked_spec(latency_spec: npt.ArrayLike | None, batch: int) -> Floats | None:
    if latency_spec is None:
        return None
    specs = np.asarray(latency_spec, float)
    if specs.shape not in ((), (batch,)) or np.isnan(specs).any():
        raise ArchGymError(f"latency_spec must be a number or one for each of the {batch} designs; it is {latency_spec!r}")
    return np.broadcast_to(specs, (batch,))


# A plan is what happens in order, [L, ...]: at each position an operation, layer * A + sub-accelerator.


@dataclass(frozen=True)
class _Chips:
    """A chunk of designs, the designs last. Times and energies are scaled by powers of two to sums near 1: no comparison changes."""

    time: Floats  # [L, A, b], inf where a layer cannot run
    energy: Floats  # [L, A, b], 0 where a layer cannot run
    network: Integers  # [L]
    before: Integers  # layer before in the network, [L], L where none
    after: Integers  # layer after
    time_exponent: Integers  # [b]
    layer_of: Integers  # of an operation, [L * A]
    sub_accelerator_of: Integers

    @classmethod
    def of(cls, time: Floats, energy: Floats, network: Integers) -> _Chips:
        layers = len(network)
        before, after = np.full(layers, layers, np.intp), np.full(layers, layers, np.intp)
        for n in range(network.max() + 1):
            members = np.flatnonzero(network == n)
            before[members[1:]], after[members[:-1]] = members[:-1], members[1:]
        tables, exponents = [], []
        for table in (time, energy):
            least, largest = _total(table.min(axis=2).T), np.where(np.isinf(table), 0.0, table).max(axis=(1, 2))
            exponent = np.frexp(np.where(least > 0, least, largest))[1]
            tables.append(np.ascontiguousarray(np.ldexp(table, -exponent[:, None, None]).transpose(1, 2, 0)))
            exponents.append(exponent.astype(np.intp))
        layer_of, sub_accelerator_of = np.divmod(np.arange(layers * time.shape[2]), time.shape[2])
        energy = np.where(np.isinf(tables[1]), 0.0, tables[1])
        return cls(tables[0], energy, network, before, after, exponents[0], layer_of, sub_accelerator_of)

    @property
    def accelerators(self) -> int:
        return int(self.time.shape[1])

    @property
    def networks(self) -> int:
        return int(self.network.max()) + 1


def _values(table: Floats, operation: Integers, row: Integers) -> Floats:
    """Entries of a table [L, A, b] for operations [..., M] of the designs row [M]."""
    entries: Floats = table.reshape(-1).take(operation * table.shape[2] + row)
    return entries


def _total(values: Floats) -> Floats:
    """Sum over the first axis in its order, whatever the shape: NumPy's own sum adds a single column in another order."""
    total: Floats = values[0].copy()
    for value in values[1:]:
        total += value
    return total


def _at(values: npt.NDArray[Number], position: Integers) -> npt.NDArray[Number]:
    """values[position[..., m], m] of values [L, M]."""
    index = position * values.shape[1]
    index += np.arange(values.shape[1])
    found: npt.NDArray[Number] = values.reshape(-1).take(index)
    return found


def _by_layer(values: npt.NDArray[Number], layer: Integers) -> npt.NDArray[Number]:
    """From the order of positions, where the layers are `layer`, to that of layers."""
    out = np.empty_like(values)
    np.put_along_axis(out, layer, values, axis=0)
    return out


def _start_and_end(chips: _Chips, plan: Integers, row: Integers) -> tuple[Floats, Floats]:
    """Start and end by position, [L, ..., M]: each layer as soon as its sub-accelerator and its network are free.

    The one loop over layers, and most of the cost.
    """
    width = plan[0].size
    resource = np.empty((len(plan), 2, width), np.intp)
    network_of = chips.accelerators + chips.network[chips.layer_of]
    for which, of_operation in enumerate((chips.sub_accelerator_of, network_of)):
        (of_operation * width).take(plan.reshape(len(plan), width), out=resource[:, which], mode="clip")
    resource += np.arange(width)
    duration = _values(chips.time, plan, row).reshape(len(plan), width)
    free = np.zeros((chips.accelerators + chips.networks) * width)
    start, end = np.empty_like(duration), np.empty_like(duration)
    for p in range(len(plan)):
        both = free.take(resource[p])
        np.maximum(both[0], both[1], out=start[p])
        np.add(start[p], duration[p], out=end[p])
        free[resource[p]] = end[p]
    return start.reshape(plan.shape), end.reshape(plan.shape)


def _solve(chips: _Chips, spec: Floats | None) -> Integers:
    """The best plan of every design, [L, b]."""
    aim = np.zeros(chips.time.shape[2]) if spec is None else spec
    plans, latency, _ = _beam(chips, None)
    fastest, least = _tabu(chips, plans(latency.argmin(axis=0))[:, None], aim, None)
    target = np.maximum(aim, least)
    plans, latency, energy = _beam(chips, target)
    cost = np.where(latency <= target, energy, TOO_LONG + energy + latency)
    starts = np.stack([fastest, plans(cost.argmin(axis=0))], axis=1)
    return _tabu(chips, starts, aim, target)[0]


def _multipliers(chips: _Chips, spec: Floats | None) -> Floats:
    """mu and nu, [A + N, b], by multiplicative ascent on the dual. Without a spec they sum to 1, and energy counts nothing."""
    accelerators, networks, network = chips.accelerators, chips.networks, chips.network
    resources = accelerators + networks
    multiplier = np.full((resources, chips.time.shape[2]), 1 / resources)
    for step in range(ASCENT):
        price = (multiplier[:accelerators] + multiplier[accelerators:][network][:, None]) * chips.time
        chosen = (price if spec is None else price + chips.energy).argmin(axis=1)
        time = np.take_along_axis(chips.time, chosen[:, None], axis=1)[:, 0]
        load = np.stack(
            [_total(np.where(chosen == a, time, 0.0)) for a in range(accelerators)] + [_total(time[network == n]) for n in range(networks)]
        )
        limit = load.max(axis=0) if spec is None else spec
        growth = np.clip(load / np.maximum(limit, 1e-9) - 1, -1, 1) / (1 + 0.1 * step)
        # About exp(growth), whose last bit may depend on where in an array a number is.
        multiplier = np.maximum(multiplier * (2 + growth) / (2 - growth), 1e-9)
        if spec is None:
            multiplier /= _total(multiplier)
    return multiplier


def _beam(chips: _Chips, spec: Floats | None) -> tuple[Callable[[Integers], Integers], Floats, Floats]:
    """A function from choices [b] among S schedules to plans [L, b], and the schedules' latency and energy [S, b], inf where fewer.

    For the latency without a spec, for the energy with one. Several beams stand side by side: with two weights of the longest network
    beside the Lagrangian bound, or with several scales of the multipliers.
    """
    layers, accelerators, designs = chips.time.shape
    networks = chips.networks
    width = _beam_width(layers)
    multiplier = _multipliers(chips, spec)
    beams = [(multiplier, TIE, 1.0), (multiplier, TIE, 0.75)] if spec is None else [(scale * multiplier, 1.0, TOO_LONG) for scale in SCALES]
    multiplier = np.concatenate([each for each, _, _ in beams], axis=1)  # [A + N, W], W = beams times designs
    mu, nu = multiplier[:accelerators], multiplier[accelerators:]
    weight, pressure = (np.repeat([beam[i] for beam in beams], designs) for i in (1, 2))  # of the energy, of the longest network
    row = np.tile(np.arange(designs), len(beams))

    # From a layer to the end of its network: the last term of the bound, and the least time.
    after = np.append(chips.after, layers)
    rest, path = np.zeros((layers + 1, len(row))), np.zeros((layers + 1, len(row)))
    for layer in range(layers - 1, -1, -1):
        time, energy = chips.time[layer][:, row], chips.energy[layer][:, row]
        rest[layer] = ((mu + nu[chips.network[layer]]) * time + weight * energy).min(axis=0) + rest[after[layer]]
        path[layer] = time.min(axis=0) + path[after[layer]]

    upcoming = np.stack([np.full((1, len(row)), np.flatnonzero(chips.network == n)[0], np.intp) for n in range(networks)])  # [N, K, W]
    free, ready = np.zeros((accelerators, 1, len(row))), np.zeros((networks, 1, len(row)))
    last_start, spent, alive = np.zeros((1, len(row))), np.zeros((1, len(row))), np.ones((1, len(row)), bool)
    levels: list[tuple[Integers, Integers]] = []
    onto, each_network = np.arange(accelerators)[:, None, None], np.arange(networks)[:, None, None]
    for _ in range(layers):
        kept = len(spent)
        bounds, starts, ends, energies = (np.empty((networks, accelerators, kept, len(row))) for _ in range(4))
        resting, ways = _at(rest, upcoming), _at(path, upcoming)
        for n in range(networks):
            layer = np.minimum(upcoming[n], layers - 1)
            operation = layer * accelerators + onto
            time = _values(chips.time, operation, row)
            runs = np.isfinite(time) & (alive & (upcoming[n] < layers))
            earliest = np.maximum(free, ready[n])
            start = np.maximum(earliest, last_start)
            end = start + np.where(runs, time, 0.0)
            lagrangian = nu[n] * end + _at(rest, after[layer])
            longest = end + _at(path, after[layer])
            for other in range(networks):
                if other != n:
                    go_on = np.where(upcoming[other] < layers, np.maximum(ready[other], start), ready[other])
                    lagrangian += nu[other] * go_on + resting[other]
                    longest = np.maximum(longest, go_on + ways[other])
            for a in range(accelerators):
                go_on = np.maximum(free[a], start)
                go_on[a] = end[a]
                lagrangian += mu[a] * go_on
            energies[n] = spent + _values(chips.energy, operation, row)
            bound = weight * energies[n] + lagrangian + pressure * np.maximum(longest - (lagrangian if spec is None else spec[row]), 0)
            # A layer that could have started earlier belongs in front, where another schedule has it: only where nothing else is left.
            bound += np.where(earliest < last_start, LAST_RESORT, 0.0)
            bounds[n], starts[n], ends[n] = np.where(runs, bound, np.inf), start, end
        flat = bounds.reshape(-1, len(row))
        best = _least(flat, width)
        network, accelerator, parent = np.unravel_index(best, (networks, accelerators, kept))
        levels.append((_at(upcoming.reshape(-1, len(row)), network * kept + parent) * accelerators + accelerator, parent))
        alive = np.isfinite(_at(flat, best))
        last_start, end, spent = (_at(each.reshape(-1, len(row)), best) for each in (starts, ends, energies))
        index = parent * len(row) + np.arange(len(row))
        free = np.where(accelerator == onto, end, free.reshape(accelerators, -1).take(index, axis=1))
        ready = np.where(network == each_network, end, ready.reshape(networks, -1).take(index, axis=1))
        upcoming = upcoming.reshape(networks, -1).take(index, axis=1)
        upcoming = np.where(network == each_network, after[upcoming], upcoming)

    def plans(choice: Integers) -> Integers:
        place, lane = choice // len(beams), (choice % len(beams)) * designs + np.arange(designs)
        backwards = []
        for operation, parent in reversed(levels):
            backwards.append(operation[place, lane])
            place = parent[place, lane]
        return np.stack(backwards[::-1])

    latency = np.where(alive, ready.max(axis=0), np.inf).reshape(-1, designs)
    return plans, latency, np.where(alive, spent, np.inf).reshape(-1, designs)


def _beam_width(layers: int) -> int:
    return min(max(BEAM // layers**4, NARROWEST), WIDEST)


def _least(values: Floats, count: int) -> Integers:
    """Rows of the `count` least of each column, in no order; all where there are fewer."""
    if len(values) <= count:
        return np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    return np.argpartition(values, count - 1, axis=0)[:count]


def _tabu(chips: _Chips, plans: Integers, aim: Floats, target: Floats | None) -> tuple[Integers, Floats]:
    """Improves plans [L, K, b], K starts of every design, each going its own way: the best plan [L, b] and its latency or energy [b].

    With a target, the least energy among plans no longer than it. Without, the least latency, and no further than `aim`.
    """
    layers, starts, designs = plans.shape
    best = plans[:, 0].copy()
    best_value, best_tie, improved = np.full(designs, np.inf), np.full(designs, np.inf), np.zeros(designs, int)
    active = np.arange(designs)  # those that go on

    def record(latency: Floats, energy: Floats, candidates: Integers, step: int) -> None:
        """Keeps the best of candidates [L, C, M], M = starts times active designs; latency and energy [C, M]."""
        value, tie = latency, energy
        if target is not None:
            value, tie = np.where(latency <= np.tile(target[active], starts), energy, np.inf), latency
        value, tie = value.reshape(-1, len(active)), tie.reshape(-1, len(active))
        which = np.where(value <= value.min(axis=0), tie, np.inf).argmin(axis=0)
        value, tie = _at(value, which), _at(tie, which)
        old, margin = best_value[active], 1 - TOLERANCE
        better = np.flatnonzero(np.isfinite(value) & ((value < old * margin) | ((value <= old) & (tie < best_tie[active] * margin))))
        rows = active[better]
        best[:, rows] = candidates.reshape(layers, -1)[:, which[better] * len(active) + better]
        best_value[rows], best_tie[rows], improved[rows] = value[better], tie[better], step

    row = np.tile(active, starts)
    plan = plans.reshape(layers, -1)
    start, end = _start_and_end(chips, plan, row)
    record(end.max(axis=0)[None], _total(_values(chips.energy, plan, row))[None], plan[:, None], 0)
    tabu = np.zeros((layers * chips.accelerators, len(row)), int)  # the round until which an operation does not come back
    pressure = np.ones(len(row))  # lambda
    tenure = np.repeat(np.arange(starts) * max(1, layers // 8) + max(2, layers // 4), designs)
    energy_weight = TIE if target is None else 1.0
    timed = min(max(TIMED // layers, FEWEST), MOST)
    for step in range(1, max(ROUNDS // layers, FEWEST_ROUNDS) + 1):
        going = improved[active] + PATIENCE >= step
        if target is None:
            going &= best_value[active] > aim[active]
        if not going.all():
            lanes = np.tile(going, starts)
            active, row = active[going], row[lanes]
            plan, start, end, tabu = plan[:, lanes], start[:, lanes], end[:, lanes], tabu[:, lanes]
            pressure, tenure = pressure[lanes], tenure[lanes]
        if not len(active):
            break
        limit = np.zeros(len(row)) if target is None else target[row]

        def cost(latency: Floats, energy: Floats, pressure: Floats = pressure, limit: Floats = limit) -> Floats:
            return energy_weight * energy + pressure * np.maximum(latency - limit, 0) + SLACK * latency

        order = np.argsort(start, axis=0, kind="stable")
        index = order * len(row) + np.arange(len(row))
        plan, start, end = plan.take(index), start.take(index), end.take(index)
        spent = _values(chips.energy, plan, row)
        costs, operations, destinations = _insertions(chips, plan, row, start, end, spent, tabu >= step, cost)
        source = _least(costs, timed)
        possible = np.isfinite(_at(costs, source))
        operation, destination = _at(operations, source), _at(destinations, source)
        candidates = _moved(plan, source, destination, operation)
        start, end = _start_and_end(chips, candidates, row)
        latency = np.where(possible, end.max(axis=0), np.inf)
        energy = _total(spent) + _values(chips.energy, operation, row) - _at(spent, source)
        record(latency, energy, candidates, step)
        # Where every insertion is tabu, an impossible one is chosen, which leaves the plan as it is.
        choice = np.where(possible, cost(end.max(axis=0), energy), np.inf).argmin(axis=0)
        lane = np.arange(len(row))
        tabu[_at(plan, _at(source, choice)), lane] = step + tenure
        plan, start, end = candidates[:, choice, lane], start[:, choice, lane], end[:, choice, lane]
        if target is not None:
            pressure = pressure * np.where(end.max(axis=0) > limit, 1.5, 1 / 1.5)
    return best, best_value


def _insertions(
    chips: _Chips,
    plan: Integers,
    row: Integers,
    start: Floats,
    end: Floats,
    spent: Floats,
    forbidden: Bools,
    cost: Callable[[Floats, Floats], Floats],
) -> tuple[Floats, Integers, Integers]:
    """The best other place of every layer of plans [L, M] by its estimated cost: that cost, the operation and the position, each [L, M].

    Places are, on each sub-accelerator, the present position, one layer of that sub-accelerator earlier, and one later. `forbidden`
    operations are [L * A, M]; `cost` is of latency and energy. Where no place is left: inf, and the layer as it is.
    """
    layers, lanes = plan.shape
    layer, accelerator = chips.layer_of.take(plan), chips.sub_accelerator_of.take(plan)
    tail = _start_and_end(chips, plan[::-1], row)[1][::-1]
    latency = end.max(axis=0)
    elsewhere = np.where(start + tail >= latency * (1 - 1e-9), 0.0, latency)  # what the latency stays, whatever this layer does
    total = _total(spent)

    # Positions before are counted from 1, those after from 0, so that 0 and L stand for none, and for times of 0.
    position = np.arange(layers)[:, None]
    ends, tails = np.concatenate([np.zeros((1, lanes)), end]), np.concatenate([tail, np.zeros((1, lanes))])
    none, last = np.zeros((1, lanes), np.intp), np.full((1, lanes), layers)
    place = _by_layer(np.broadcast_to(position, plan.shape), layer)
    network_before = _at(np.concatenate([place + 1, none]), chips.before.take(layer))
    network_after = _at(np.concatenate([place, last]), chips.after.take(layer))
    head, rest = _at(ends, network_before), _at(tails, network_after)

    before, after = np.empty((2, chips.accelerators, layers + 1, lanes), np.intp)  # on each sub-accelerator, up to and from a position
    before[:, 0], after[:, -1] = 0, layers
    on = accelerator == np.arange(chips.accelerators)[:, None, None]
    up_to, from_on = np.where(on, position + 1, 0), np.where(on, position, layers)
    for p in range(layers):
        np.maximum(before[:, p], up_to[:, p], out=before[:, p + 1])
        np.minimum(after[:, layers - p], from_on[:, layers - p - 1], out=after[:, layers - p - 1])

    costs, operations = np.full(plan.shape, np.inf), plan.copy()
    destinations = np.broadcast_to(position, plan.shape).copy()
    for a in range(chips.accelerators):
        one_before, one_after = before[a, :-1], after[a, 1:]
        path = np.maximum(head, _at(ends, one_before)) + np.maximum(rest, _at(tails, one_after))
        path[on[a]] = np.inf
        place = np.broadcast_to(position, plan.shape).copy()
        earlier, later = np.maximum(one_before - 1, 0), np.minimum(one_after + 1, layers)
        for machine_head, machine_tail, destination, allowed in (
            (_at(ends, _at(before[a], earlier)), _at(tails, earlier), earlier, one_before > network_before),
            (_at(ends, later), _at(tails, _at(after[a], later)), one_after, one_after < network_after),
        ):
            through = np.maximum(head, machine_head) + np.maximum(rest, machine_tail)
            better = allowed & (through < path)
            np.copyto(path, through, where=better)
            np.copyto(place, destination, where=better)
        operation = layer * chips.accelerators + a
        time = _values(chips.time, operation, row)
        possible = np.isfinite(path) & np.isfinite(time) & ~_at(forbidden, operation)
        path = np.maximum(np.where(possible, path + time, 0.0), elsewhere)
        estimate = np.where(possible, cost(path, total + (_values(chips.energy, operation, row) - spent)), np.inf)
        better = estimate < costs
        for kept, value in ((costs, estimate), (operations, operation), (destinations, place)):
            np.copyto(kept, value, where=better)
    return costs, operations, destinations


def _moved(plan: Integers, source: Integers, destination: Integers, operation: Integers) -> Integers:
    """Plans [L, C, M]: the layer at `source` [C, M] of plan [L, M] taken out and put in at `destination`, as `operation`."""
    position = np.arange(len(plan))[:, None, None]
    inserted = position == destination
    between = (position >= np.minimum(source, destination)) & (position <= np.maximum(source, destination)) & ~inserted
    return np.where(inserted, operation, _at(plan, position + between * np.sign(destination - source)))
