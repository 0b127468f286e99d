"""Plans, and how long they take: for a chunk of designs at once.

A plan [L, ...] is what happens in order: at each position an operation, layer * A + sub-accelerator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)

TIE_WEIGHT = 1e-6  # weight of the energy where the latency counts
TOLERANCE = 1e-12  # relative; a smaller improvement is rounding


@dataclass(frozen=True)
class Chips:
    """A chunk of designs, the designs last. Times and energies are scaled by powers of two to sums near 1:
    no comparison changes.
    """

    time: Floats  # [L, A, b], inf where a layer cannot run
    energy: Floats  # [L, A, b], 0 where a layer cannot run
    network: Integers  # [L]
    before: Integers  # layer before in the network, [L]; L for the first
    after: Integers  # layer after in the network, [L]; L for the last
    time_exponent: Integers  # [b]
    layer_of: Integers  # layer of an operation, [L * A]
    sub_accelerator_of: Integers  # sub-accelerator of an operation, [L * A]

    @classmethod
    def scaled(cls, time: Floats, energy: Floats, network: Integers) -> Chips:
        """Designs from times and energies [b, L, A], inf where a layer cannot run, and networks [L],
        numbered from 0.
        """
        layers = len(network)
        before, after = np.full(layers, layers, np.intp), np.full(layers, layers, np.intp)
        for n in range(network.max() + 1):
            members = np.flatnonzero(network == n)
            before[members[1:]], after[members[:-1]] = members[:-1], members[1:]
        tables, exponents = [], []
        for table in (time, energy):
            least, largest = (
                total(table.min(axis=2).T),
                np.where(np.isinf(table), 0.0, table).max(axis=(1, 2)),
            )
            exponent = np.frexp(np.where(least > 0, least, largest))[1]
            tables.append(np.ascontiguousarray(np.ldexp(table, -exponent[:, None, None]).transpose(1, 2, 0)))
            exponents.append(exponent.astype(np.intp))
        layer_of, sub_accelerator_of = np.divmod(np.arange(layers * time.shape[2]), time.shape[2])
        energy = np.where(np.isinf(tables[1]), 0.0, tables[1])
        return cls(tables[0], energy, network, before, after, exponents[0], layer_of, sub_accelerator_of)

    @property
    def accelerators(self) -> int:
        """Sub-accelerators of a design."""
        return self.time.shape[1]

    @property
    def networks(self) -> int:
        """Networks that run at once."""
        return int(self.network.max()) + 1


def entries(table: Floats, operation: Integers, row: Integers) -> Floats:
    """Entries of a table [L, A, b] for operations [..., M] of the designs row [M]."""
    return table.reshape(-1).take(operation * table.shape[2] + row)


def total(values: Floats) -> Floats:
    """Sum over the first axis in its order for any shape: NumPy's sum adds a single column in a different
    order.
    """
    added = values[0].copy()
    for value in values[1:]:
        added += value
    return added


def pick(values: npt.NDArray[Number], position: Integers) -> npt.NDArray[Number]:
    """values[position[..., m], m] of values [L, M]."""
    index = position * values.shape[1]
    index += np.arange(values.shape[1])
    return values.reshape(-1).take(index)


def by_layer(values: npt.NDArray[Number], layer: Integers) -> npt.NDArray[Number]:
    """Values in the order of layers, from the order of positions, where the layers are `layer`."""
    out = np.empty_like(values)
    np.put_along_axis(out, layer, values, axis=0)
    return out


def least_rows(values: Floats, count: int) -> Integers:
    """Rows of the `count` smallest of each column, in any order; all where there are fewer."""
    if len(values) <= count:
        return np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    return np.argpartition(values, count - 1, axis=0)[:count]


def start_and_end(chips: Chips, plan: Integers, row: Integers) -> tuple[Floats, Floats]:
    """Start and end by position, [L, ..., M]: each layer as soon as its sub-accelerator and its network are
    free.

    The only loop over layers here, and most of the run time.
    """
    width = plan[0].size
    resource = np.empty((len(plan), 2, width), np.intp)
    network_of = chips.accelerators + chips.network[chips.layer_of]
    for which, of_operation in enumerate((chips.sub_accelerator_of, network_of)):
        (of_operation * width).take(plan.reshape(len(plan), width), out=resource[:, which], mode="clip")
    resource += np.arange(width)
    duration = entries(chips.time, plan, row).reshape(len(plan), width)
    free = np.zeros((chips.accelerators + chips.networks) * width)
    start, end = np.empty_like(duration), np.empty_like(duration)
    for p in range(len(plan)):
        both = free.take(resource[p])
        np.maximum(both[0], both[1], out=start[p])
        np.add(start[p], duration[p], out=end[p])
        free[resource[p]] = end[p]
    return start.reshape(plan.shape), end.reshape(plan.shape)
