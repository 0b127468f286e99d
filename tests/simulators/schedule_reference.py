"""What `scheduler.schedule` approximates: every schedule of a small design, the best of them, and a bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.errors import ArchGymError


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


