"""What `scheduler.schedule` approximates: every schedule of a small design, the best of them, and a bound."""

import numpy as np

from archgym.errors import ArchGymError


def lower_bound(time, network):
    """A latency that no schedule goes below, [B]: the longest network or the mean load, every layer where it
    is fastest.

    Args:
        time: times of layers on sub-accelerators, [B, L, A]; inf where a layer cannot run.
        network: network of each layer, int [L].
    """
    least, network = np.min(time, axis=2), np.asarray(network)
    longest = np.max([_total(least[:, network == n]) for n in np.unique(network)], axis=0)
    return np.maximum(longest, _total(least) / np.shape(time)[2])


def _total(values):
    """Sums over the layers [B, L] in their order, as the scheduler adds them."""
    return np.add.accumulate(values, axis=1)[:, -1]


def every_schedule(time, energy, network):
    """Latency [S], energy [S] and assignment [S, L] of all left-shifted schedules of one design: for up to
    about nine layers.

    All assignments times all interleavings of the networks, each schedule once: sorted by its starts, it is
    one sequence of layers, of which each starts as soon as its network and its sub-accelerator let it, and
    not before the one in front of it.

    Args:
        time, energy: times and energies of layers on sub-accelerators, [L, A]; inf where a layer cannot run.
        network: network of each layer, int [L].
    """
    time, energy = np.asarray(time, float), np.asarray(energy, float)
    runs, network = np.isfinite(time) & np.isfinite(energy), np.asarray(network)
    layers, accelerators = time.shape
    members = [np.flatnonzero(network == n) for n in np.unique(network)]
    done, free, ready = (
        np.zeros((1, len(members)), int),
        np.zeros((1, accelerators)),
        np.zeros((1, len(members))),
    )
    last_start, spent, assignment = np.zeros(1), np.zeros(1), np.full((1, layers), -1, np.int8)
    for _ in range(layers):
        longer = []
        for n, of_network in enumerate(members):
            for a in range(accelerators):
                one = np.flatnonzero(done[:, n] < len(of_network))
                layer = of_network[done[one, n]]
                start = np.maximum(free[one, a], ready[one, n])
                in_order = (start >= last_start[one]) & runs[layer, a]
                one, layer, start = one[in_order], layer[in_order], start[in_order]
                done_, free_, ready_, assignment_ = done[one], free[one], ready[one], assignment[one]
                done_[:, n] += 1
                free_[:, a] = ready_[:, n] = start + time[layer, a]
                assignment_[np.arange(len(one)), layer] = a
                longer.append((done_, free_, ready_, start, spent[one] + energy[layer, a], assignment_))
        done, free, ready, last_start, spent, assignment = (
            np.concatenate(parts) for parts in zip(*longer, strict=True)
        )
    return ready.max(axis=1), spent, assignment


def brute_force(time, energy, network, latency_spec=None):
    """What `schedule` approximates, for one small design: latency, energy and assignment [L] of the best of
    `every_schedule`.

    Raises:
        ArchGymError: a layer can run on no sub-accelerator.
    """
    latency, spent, assignment = every_schedule(time, energy, network)
    if not len(latency):
        raise ArchGymError(
            "some layer can run on no sub-accelerator; give it a finite time and energy on at least one"
        )
    least = latency.min()
    within = np.flatnonzero(latency <= (least if latency_spec is None else max(latency_spec, least)))
    best = within[np.lexsort((latency[within], spent[within]))[0]]
    return float(latency[best]), float(spent[best]), assignment[best].astype(np.intp)
