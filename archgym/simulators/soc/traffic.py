"""What tasks carry through the pipes of a system on chip: the constants of the bounds in `phases`.

A pipe leads out of a bus, to a memory or to a neighbouring bus, with capacities of their own for reading and
writing. Designs with M memories and N buses have M + 2 N pipes in each direction: to each memory, down to
each bus from its parent, and up from each bus to its parent. All tasks of a batch are numbered together,
design x T + task, and so are all pipes, (design x 2 + direction) (M + 2 N) + pipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from archgym.simulators.soc.blocks import Blocks
from archgym.simulators.soc.workload import Workload
from archgym.space import Array

BURST_BYTES = 1024
READ, WRITE = 0, 1


@dataclass(frozen=True, eq=False)
class Edges:
    """The data of a task graph.

    Attributes:
        bytes: bytes of each edge, [edges].
        read_units: units of each edge by its child's bursts, [edges].
        written_bytes, written_units: sums over the edges that each task writes, [tasks].
    """

    bytes: Array
    read_units: Array
    written_bytes: Array
    written_units: Array


@lru_cache(maxsize=64)
def edges_of(workload: Workload) -> Edges:
    """Bytes and units of edges: u = floor(D / n_t), with n_t bursts of task t."""
    tasks, data = len(workload.names), workload.data
    least = np.full((2, tasks), np.inf)  # bytes read, written
    np.minimum.at(least[READ], workload.children, data)
    np.minimum.at(least[WRITE], workload.parents, data)
    bursts = np.floor(least[READ] / BURST_BYTES)
    bursts[(bursts > least[WRITE]) | (bursts > workload.work) | (bursts < 1)] = 1  # work 0: source and sink
    return Edges(
        bytes=data,
        read_units=data // bursts[workload.children],
        written_bytes=np.bincount(workload.parents, data, tasks),
        written_units=np.bincount(workload.parents, data // bursts[workload.parents], tasks),
    )


@dataclass(frozen=True, eq=False)
class Flows:
    """Rows of task, direction and pipe, in order of tasks.

    Attributes:
        first, count: rows of each task, [B x T].
        pipe: the pipe.
        units: u of the task on it.
        memory_bound: C_m u w / B of a pipe to a memory; to be divided by all units on the pipe.
        bus_bound: C_b u_entry w / B of the bus from which the pipe leads; to be divided by n(q), and by all
            units on the pipe from which the task comes.
        entry: the pipe from which the task comes; the number of pipes where that is its processing element.
        data: bytes to or from a memory, 0 for a pipe to a bus.
        pipes: number of pipes, and of those of one direction of a design.
    """

    first: Array
    count: Array
    pipe: Array
    units: Array
    memory_bound: Array
    bus_bound: Array
    entry: Array
    data: Array
    pipes: int
    ways: int

    def of(self, tasks: Array) -> tuple[Array, Array]:
        """Rows of tasks, and where those of each task begin among them."""
        return ranges(self.first[tasks], self.count[tasks])


def ranges(first: Array, count: Array) -> tuple[Array, Array]:
    """Positions first, first + 1, ... of `count` each, one after another, and where each range begins."""
    begin = np.cumsum(count) - count
    return np.repeat(first - begin, count) + np.arange(int(count.sum())), begin


def flows_of(workload: Workload, blocks: Blocks) -> Flows:
    """The flows of all tasks with work."""
    (size, tasks), memories, buses = blocks.pe.shape, blocks.memory_bus.shape[1], blocks.bus_rate.shape[1]
    ways = memories + 2 * buses
    units, data = _accesses(workload, blocks, ways)
    before = _before(blocks.bus_parent)
    through = _through(blocks, before, ways, units, data)
    where = np.flatnonzero(units)
    side, way = np.divmod(where, ways)  # task x 2 + direction
    task = side // 2
    design = task // tasks
    bus = _bus_before(blocks)[design, way]
    previous = before[design, blocks.pe_bus.reshape(-1)[task], bus]
    own = previous < 0
    entry = np.where(own, 0, _pipe_between(blocks, design, previous, bus))
    work, used = workload.work[task % tasks], units[where]
    moved = np.where(way < memories, data[where], 0.0)
    with np.errstate(divide="ignore"):
        memory_bound = blocks.memory_rate[design, np.minimum(way, memories - 1)] * used * work / moved
    entry_units = np.where(own, 1.0, units[side * ways + entry])
    bus_bound = blocks.bus_rate[design, bus] * entry_units * work / through[side * buses + bus]
    first = (design * 2 + side % 2) * ways
    count = np.bincount(task, minlength=size * tasks)
    return Flows(
        first=np.cumsum(count) - count,
        count=count,
        pipe=first + way,
        units=used,
        memory_bound=memory_bound,
        bus_bound=bus_bound,
        entry=np.where(own, size * 2 * ways, first + entry),
        data=moved,
        pipes=size * 2 * ways,
        ways=ways,
    )


def _accesses(workload: Workload, blocks: Blocks, ways: int) -> tuple[Array, Array]:
    """Units and bytes of each task with work, direction and pipe to a memory, [B x T x 2 x ways]."""
    (size, tasks), edges = blocks.pe.shape, edges_of(workload)
    works = workload.work > 0
    row = np.arange(size)[:, None] * tasks
    reads = ((row + workload.children) * 2 + READ) * ways + blocks.memory[:, workload.parents]
    writes = ((row + np.arange(tasks)) * 2 + WRITE) * ways + blocks.memory
    where = np.concatenate([reads[:, works[workload.children]], writes[:, works]], axis=1).reshape(-1)

    def spread(read: Array, written: Array) -> Array:
        once = np.concatenate([read[works[workload.children]], written[works]])
        return np.bincount(where, np.tile(once, size), size * tasks * 2 * ways)

    return spread(edges.read_units, edges.written_units), spread(edges.bytes, edges.written_bytes)


def _before(parent: Array) -> Array:
    """The bus before `to` on the path of each design's tree, -1 where it begins there, [B, from, to]."""
    size, buses = parent.shape
    before = np.full((size, buses, buses), -1)
    met = np.broadcast_to(np.eye(buses, dtype=bool), before.shape).copy()
    for _ in range(buses - 1):
        reached = met.copy()
        for near in range(buses):
            for to in range(buses):
                joined = (parent[:, to] == near) | (parent[:, near] == to)
                new = joined[:, None] & reached[:, :, near] & ~met[:, :, to]
                before[:, :, to][new] = near
                met[:, :, to] |= new
    return before


def _bus_before(blocks: Blocks) -> Array:
    """The bus from which each pipe leads, [B, ways]."""
    own = np.broadcast_to(np.arange(blocks.bus_rate.shape[1]), blocks.bus_rate.shape)
    return np.concatenate([blocks.memory_bus, np.maximum(blocks.bus_parent, 0), own], axis=1)


def _pipe_between(blocks: Blocks, design: Array, bus: Array, to: Array) -> Array:
    """The pipe between neighbouring buses: down to a child, or up from one."""
    memories, buses = blocks.memory_bus.shape[1], blocks.bus_rate.shape[1]
    return np.where(blocks.bus_parent[design, to] == bus, memories + to, memories + buses + bus)


def _through(blocks: Blocks, before: Array, ways: int, units: Array, data: Array) -> Array:
    """Bytes of each task, direction and bus, [B x T x 2 x N]; adds units and bytes of pipes between buses."""
    (size, tasks), buses = blocks.pe.shape, blocks.bus_rate.shape[1]
    through = np.zeros(size * tasks * 2 * buses)
    where = np.flatnonzero(units)
    used, moved = units[where], data[where]
    side, way = np.divmod(where, ways)
    task = side // 2
    design, start = task // tasks, blocks.pe_bus.reshape(-1)[task]
    bus = blocks.memory_bus[design, way]
    while len(side):  # from the memory's bus back to the processing element's
        np.add.at(through, side * buses + bus, moved)
        previous = before[design, start, bus]
        on = previous >= 0
        side, design, start, used, moved = side[on], design[on], start[on], used[on], moved[on]
        bus, to = previous[on], bus[on]
        way = _pipe_between(blocks, design, bus, to)
        np.add.at(units, side * ways + way, used)
        np.add.at(data, side * ways + way, moved)
    return through
