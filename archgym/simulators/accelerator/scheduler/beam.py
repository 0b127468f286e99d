"""Beam search: schedules built layer by layer in the order of their starts, so that each left-shifted
schedule is met once.

It keeps the partial schedules of least Lagrangian bound, with a multiplier mu_a for the load of each
sub-accelerator and nu_n for the length of each network, found by ascent on the dual:

    bound = energy so far + sum_a mu_a free_a + sum_n nu_n ready_n + sum_{l not started} min_a [ e_la + (mu_a
    + nu_n(l)) t_la ]

free_a and ready_n are the times from which a sub-accelerator and a network can go on. For the latency alone
the energies are left out.

Several beams of every design are searched at once: with two weights of the longest network beside the
Lagrangian bound, or with several scales of the multipliers. A lane is one beam of one design; arrays have the
lanes last: W = beams times designs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from archgym.simulators.accelerator.scheduler.plans import (
    TIE_WEIGHT,
    Bools,
    Chips,
    Floats,
    Integers,
    entries,
    least_rows,
    pick,
    total,
)

ASCENT = 15  # steps of the ascent on the dual
SCALES = (0.5, 1.0, 2.0, 4.0)  # scales of the multipliers, one beam each
LONGEST_WEIGHTS = (1.0, 0.75)  # weights of the longest network, one beam each
# partial schedules that a beam keeps: BEAM / L^4, within limits
BEAM, MIN_WIDTH, MAX_WIDTH = 3_000_000, 2, 512
# charges of a schedule, both sums of least times and of least energies being about 1
TOO_LONG, LAST_RESORT = 1e3, 1e6


class Beams(NamedTuple):
    """S complete schedules of every design.

    Attributes:
        levels: after each layer, operation and parent of the partial schedules, [K, W] each.
        latency: [S, b], inf where there are fewer schedules.
        energy: [S, b], inf where there are fewer schedules.
    """

    levels: list[tuple[Integers, Integers]]
    latency: Floats
    energy: Floats

    def plans(self, choice: Integers) -> Integers:
        """The plans [L, b] of one schedule per design, by their rows [b] in `latency`."""
        designs = len(choice)
        beams = self.levels[-1][0].shape[1] // designs
        place, lane = choice // beams, (choice % beams) * designs + np.arange(designs)
        backwards = []
        for operation, parent in reversed(self.levels):
            backwards.append(operation[place, lane])
            place = parent[place, lane]
        return np.stack(backwards[::-1])


@dataclass(frozen=True)
class _Lanes:
    """Constants of a beam search."""

    chips: Chips
    row: Integers  # design of a lane, [W]
    limit: Floats | None  # latency spec, [W]
    mu: Floats  # multipliers of sub-accelerators, [A, W]
    nu: Floats  # multipliers of networks, [N, W]
    energy_weight: Floats  # [W]
    longest_weight: Floats  # weight of the longest network, [W]
    after: Integers  # layer after in the network, [L + 1]; L where none
    rest: Floats  # from a layer to the end of its network: the last term of the bound, [L + 1, W]
    path: Floats  # least time from a layer to the end of its network, [L + 1, W]


class _Partial(NamedTuple):
    """K partial schedules in every lane."""

    upcoming: Integers  # next layer of each network, L where none, [N, K, W]
    free: Floats  # time from which a sub-accelerator can go on, [A, K, W]
    ready: Floats  # time from which a network can go on, [N, K, W]
    last_start: Floats  # [K, W]
    spent: Floats  # energy so far, [K, W]
    alive: Bools  # False where there are fewer than K, [K, W]


class _Extensions(NamedTuple):
    """All partial schedules that are one layer longer, [N, A, K, W]: by network and sub-accelerator of
    that layer.
    """

    bound: Floats  # inf where the layer cannot run
    start: Floats
    end: Floats
    spent: Floats


def search_beams(chips: Chips, spec: Floats | None) -> Beams:
    """Schedules for the least latency; with a spec [b], for the least energy within it."""
    layers, _, designs = chips.time.shape
    lanes, width = _lanes(chips, spec), beam_width(layers)
    partial = _empty(lanes)
    levels = []
    for _ in range(layers):
        partial, operation, parent = _kept(lanes, partial, _extensions(lanes, partial), width)
        levels.append((operation, parent))
    latency = np.where(partial.alive, partial.ready.max(axis=0), np.inf).reshape(-1, designs)
    return Beams(levels, latency, np.where(partial.alive, partial.spent, np.inf).reshape(-1, designs))


def beam_width(layers: int) -> int:
    """Partial schedules that a beam keeps."""
    return min(max(BEAM // layers**4, MIN_WIDTH), MAX_WIDTH)


def _multipliers(chips: Chips, spec: Floats | None) -> Floats:
    """mu and nu, [A + N, b], by multiplicative ascent on the dual. Without a spec they sum to 1, and
    energy does not count.
    """
    accelerators, networks, network = chips.accelerators, chips.networks, chips.network
    resources = accelerators + networks
    multiplier = np.full((resources, chips.time.shape[2]), 1 / resources)
    for step in range(ASCENT):
        price = (multiplier[:accelerators] + multiplier[accelerators:][network][:, None]) * chips.time
        chosen = (price if spec is None else price + chips.energy).argmin(axis=1)
        time = np.take_along_axis(chips.time, chosen[:, None], axis=1)[:, 0]
        load = np.stack(
            [total(np.where(chosen == a, time, 0.0)) for a in range(accelerators)]
            + [total(time[network == n]) for n in range(networks)]
        )
        limit = load.max(axis=0) if spec is None else spec
        growth = np.clip(load / np.maximum(limit, 1e-9) - 1, -1, 1) / (1 + 0.1 * step)
        # This approximates exp(growth), whose last bit may depend on a number's place in an array.
        multiplier = np.maximum(multiplier * (2 + growth) / (2 - growth), 1e-9)
        if spec is None:
            multiplier /= total(multiplier)
    return multiplier


def _lanes(chips: Chips, spec: Floats | None) -> _Lanes:
    layers, accelerators, designs = chips.time.shape
    multiplier = _multipliers(chips, spec)
    if spec is None:
        beams = [(multiplier, TIE_WEIGHT, weight) for weight in LONGEST_WEIGHTS]
    else:
        beams = [(scale * multiplier, 1.0, TOO_LONG) for scale in SCALES]
    multiplier = np.concatenate([each for each, _, _ in beams], axis=1)  # [A + N, W]
    mu, nu = multiplier[:accelerators], multiplier[accelerators:]
    energy_weight, longest_weight = (np.repeat([beam[i] for beam in beams], designs) for i in (1, 2))
    row = np.tile(np.arange(designs), len(beams))
    after = np.append(chips.after, layers)
    rest, path = np.zeros((layers + 1, len(row))), np.zeros((layers + 1, len(row)))
    for layer in range(layers - 1, -1, -1):
        time, energy = chips.time[layer][:, row], chips.energy[layer][:, row]
        rest[layer] = ((mu + nu[chips.network[layer]]) * time + energy_weight * energy).min(axis=0) + rest[
            after[layer]
        ]
        path[layer] = time.min(axis=0) + path[after[layer]]
    return _Lanes(
        chips,
        row,
        None if spec is None else spec[row],
        mu,
        nu,
        energy_weight,
        longest_weight,
        after,
        rest,
        path,
    )


def _empty(lanes: _Lanes) -> _Partial:
    """One schedule without layers in every lane."""
    chips, width = lanes.chips, len(lanes.row)
    first = [np.flatnonzero(chips.network == n)[0] for n in range(chips.networks)]
    return _Partial(
        upcoming=np.stack([np.full((1, width), layer, np.intp) for layer in first]),
        free=np.zeros((chips.accelerators, 1, width)),
        ready=np.zeros((chips.networks, 1, width)),
        last_start=np.zeros((1, width)),
        spent=np.zeros((1, width)),
        alive=np.ones((1, width), bool),
    )


def _extensions(lanes: _Lanes, partial: _Partial) -> _Extensions:
    """The next layer of every network on every sub-accelerator."""
    chips = lanes.chips
    shape = (chips.networks, chips.accelerators, *partial.spent.shape)
    extensions = _Extensions(*(np.empty(shape) for _ in _Extensions._fields))
    rests, paths = pick(lanes.rest, partial.upcoming), pick(lanes.path, partial.upcoming)
    for n in range(chips.networks):
        _extend(lanes, partial, n, rests, paths, extensions)
    return extensions


def _extend(lanes: _Lanes, partial: _Partial, n: int, rests: Floats, paths: Floats, out: _Extensions) -> None:
    """The next layer of network n on every sub-accelerator, into `out`; `rests` and `paths` of every
    network are [N, K, W].
    """
    chips, layers = lanes.chips, len(lanes.chips.network)
    layer = np.minimum(partial.upcoming[n], layers - 1)
    operation = layer * chips.accelerators + np.arange(chips.accelerators)[:, None, None]
    time = entries(chips.time, operation, lanes.row)
    runs = np.isfinite(time) & (partial.alive & (partial.upcoming[n] < layers))
    earliest = np.maximum(partial.free, partial.ready[n])
    start = np.maximum(earliest, partial.last_start)
    end = start + np.where(runs, time, 0.0)
    lagrangian = lanes.nu[n] * end + pick(lanes.rest, lanes.after[layer])
    longest = end + pick(lanes.path, lanes.after[layer])
    for other in range(chips.networks):
        if other != n:
            ready = partial.ready[other]
            go_on = np.where(partial.upcoming[other] < layers, np.maximum(ready, start), ready)
            lagrangian += lanes.nu[other] * go_on + rests[other]
            longest = np.maximum(longest, go_on + paths[other])
    for a in range(chips.accelerators):
        go_on = np.maximum(partial.free[a], start)
        go_on[a] = end[a]
        lagrangian += lanes.mu[a] * go_on
    spent = partial.spent + entries(chips.energy, operation, lanes.row)
    excess = np.maximum(longest - (lagrangian if lanes.limit is None else lanes.limit), 0)
    bound = lanes.energy_weight * spent + lagrangian + lanes.longest_weight * excess
    # Another schedule has a layer that could have started earlier in front: this one is for where nothing
    # else is left.
    bound += np.where(earliest < partial.last_start, LAST_RESORT, 0.0)
    out.bound[n], out.start[n], out.end[n], out.spent[n] = np.where(runs, bound, np.inf), start, end, spent


def _kept(
    lanes: _Lanes, partial: _Partial, extensions: _Extensions, width: int
) -> tuple[_Partial, Integers, Integers]:
    """The extensions of least bound, with the operation that each adds and the partial schedule that it
    extends, [K, W].
    """
    chips, lane_count = lanes.chips, len(lanes.row)
    accelerators, networks, parents = chips.accelerators, chips.networks, len(partial.spent)
    bound = extensions.bound.reshape(-1, lane_count)
    best = least_rows(bound, width)
    network, accelerator, parent = np.unravel_index(best, (networks, accelerators, parents))
    operation = (
        pick(partial.upcoming.reshape(-1, lane_count), network * parents + parent) * accelerators
        + accelerator
    )
    start, end, spent = (
        pick(each.reshape(-1, lane_count), best)
        for each in (extensions.start, extensions.end, extensions.spent)
    )
    index = parent * lane_count + np.arange(lane_count)
    free, ready, upcoming = (
        each.reshape(len(each), -1).take(index, axis=1)
        for each in (partial.free, partial.ready, partial.upcoming)
    )
    is_accelerator = accelerator == np.arange(accelerators)[:, None, None]
    is_network = network == np.arange(networks)[:, None, None]
    kept = _Partial(
        upcoming=np.where(is_network, lanes.after[upcoming], upcoming),
        free=np.where(is_accelerator, end, free),
        ready=np.where(is_network, end, ready),
        last_start=start,
        spent=spent,
        alive=np.isfinite(pick(bound, best)),
    )
    return kept, operation, parent
