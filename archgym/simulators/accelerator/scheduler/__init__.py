"""Layers of several networks on the sub-accelerators of one chip: who computes what, and when (the mapper of
NASAIC).

Networks are chains of layers and independent of each other; a sub-accelerator computes one layer at a time.
With t_la and e_la the time and energy of layer l on sub-accelerator a, a schedule assigns every layer, x_la
in {0, 1}, sum_a x_la = 1, and starts it at s_l:

    end_l   = s_l + sum_a t_la x_la
    s_l    >= end_k                               k the layer before l in its network
    s_l    >= end_k  or  s_k >= end_l             k on the same sub-accelerator
    latency = max_l end_l <= latency_spec,        energy = sum_la e_la x_la -> min

This is the flexible job-shop problem, NP-hard; two heuristics answer it in turn, for all designs of a batch
at once: a beam search builds schedules (`beam`), and a tabu search improves them (`tabu`). Beams are wide
where layers are few: up to nine layers, nearly every answer is exact. From about twenty layers on the tabu
search does most of the work, and its error is known only against bounds.

Sources: the problem and its heuristic, Yang et al., "Co-exploration of neural architectures and heterogeneous
    ASIC accelerator designs
targeting multiple tasks", DAC 2020; insertions, Mastrolilli and Gambardella, "Effective neighbourhood
functions for the flexible job shop problem", Journal of Scheduling 3, 2000; the oscillating lambda, Gendreau,
Hertz and Laporte, Management Science 40, 1994.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.scheduler.beam import SCALES, TOO_LONG, beam_width, search_beams
from archgym.simulators.accelerator.scheduler.plans import (
    Chips,
    Floats,
    Integers,
    by_layer,
    start_and_end,
    total,
)
from archgym.simulators.accelerator.scheduler.tabu import TabuSearch

CHUNK, PARTIAL = 512, 2**16  # most designs and partial schedules at a time: a bound on the memory


@dataclass(frozen=True)
class Schedule:
    """Schedules of B designs; where some layer can run nowhere, assignment -1 and everything else inf.

    Attributes:
        assignment: sub-accelerator of each layer, int [B, L].
        start: start of each layer, [B, L], in the unit of the times.
        latency: end of the last layer, [B], in the unit of the times.
        energy: sum over the layers, [B], in the unit of the energies.
    """

    assignment: Integers
    start: Floats
    latency: Floats
    energy: Floats


def schedule(
    time: npt.ArrayLike,
    energy: npt.ArrayLike,
    network: npt.ArrayLike,
    latency_spec: npt.ArrayLike | None = None,
) -> Schedule:
    """The least energy among schedules within `latency_spec`; where none is found, the least latency.

    Deterministic, and a design's schedule does not depend on the batch it is in.

    Args:
        time: time of each layer on each sub-accelerator, [B, L, A], in any unit; inf where it cannot run
            there.
        energy: energy of each layer on each sub-accelerator, [B, L, A], in any unit.
        network: network of each layer, int [L]; layers of one network are in their order.
        latency_spec: limit for all designs, or [B], in the unit of `time`; None for the least latency, and
            the least energy among equals.

    Raises:
        ArchGymError: shapes that do not fit, a negative time or energy, a NaN.
    """
    times, energies, networks = _checked(time, energy, network)
    batch, layers, _ = times.shape
    specs = _checked_spec(latency_spec, batch)
    out = Schedule(
        np.full((batch, layers), -1, np.intp),
        np.full((batch, layers), np.inf),
        np.full(batch, np.inf),
        np.full(batch, np.inf),
    )
    possible = np.flatnonzero(np.all(np.isfinite(times).any(axis=2), axis=1))
    chunk = min(max(PARTIAL // (beam_width(layers) * len(SCALES)), 16), CHUNK)
    for first in range(0, len(possible), chunk):
        rows = possible[first : first + chunk]
        chips = Chips.scaled(times[rows], energies[rows], networks)
        plans = _solve(chips, None if specs is None else np.ldexp(specs[rows], -chips.time_exponent))
        layer = chips.layer_of.take(plans)
        start, end = start_and_end(chips, plans, np.arange(len(rows)))
        assignment = by_layer(chips.sub_accelerator_of.take(plans), layer).T
        out.assignment[rows] = assignment
        out.start[rows] = np.ldexp(by_layer(start, layer), chips.time_exponent).T
        out.latency[rows] = np.ldexp(end.max(axis=0), chips.time_exponent)
        out.energy[rows] = total(
            np.take_along_axis(energies[rows], assignment[:, :, None], axis=2)[:, :, 0].T
        )
    return out


def _checked(time: Any, energy: Any, network: Any) -> tuple[Floats, Floats, Integers]:
    """Both tables, inf where either is, and networks numbered from 0."""
    times, energies, networks = np.asarray(time, float), np.asarray(energy, float), np.asarray(network)
    if (
        times.ndim != 3
        or times.shape != energies.shape
        or networks.shape != times.shape[-2:-1]
        or 0 in times.shape[-2:]
    ):
        raise ArchGymError(
            "time and energy must both be [B, L, A] and network [L], with a layer and a sub-accelerator at "
            f"least; they are {list(times.shape)}, {list(energies.shape)} and {list(networks.shape)}"
        )
    for name, values in (("time", times), ("energy", energies)):
        if not np.all(values >= 0):
            raise ArchGymError(
                f"{name} must be 0 or more everywhere, inf where a layer cannot run; it has negative numbers "
                "or NaN"
            )
    cannot = np.isinf(times) | np.isinf(energies)
    numbers = np.unique(networks, return_inverse=True)[1].astype(np.intp)
    return np.where(cannot, np.inf, times), np.where(cannot, np.inf, energies), numbers


def _checked_spec(latency_spec: npt.ArrayLike | None, batch: int) -> Floats | None:
    if latency_spec is None:
        return None
    specs = np.asarray(latency_spec, float)
    if specs.shape not in ((), (batch,)) or np.isnan(specs).any():
        raise ArchGymError(
            f"latency_spec must be a number or one for each of the {batch} designs; it is {latency_spec!r}"
        )
    return np.broadcast_to(specs, (batch,))


def _solve(chips: Chips, spec: Floats | None) -> Integers:
    """The best plan of every design, [L, b]."""
    aim = np.zeros(chips.time.shape[2]) if spec is None else spec
    beams = search_beams(chips, None)
    fastest, least = TabuSearch(chips, beams.plans(beams.latency.argmin(axis=0))[:, None], aim, None).run()
    target = np.maximum(aim, least)
    beams = search_beams(chips, target)
    cost = np.where(beams.latency <= target, beams.energy, TOO_LONG + beams.energy + beams.latency)
    starts = np.stack([fastest, beams.plans(cost.argmin(axis=0))], axis=1)
    return TabuSearch(chips, starts, aim, target).run()[0]
