"""FARSI's phase-driven simulation of a system on chip, vectorised over designs.

A task t has w_t instructions. It reads the D_pt bytes of each edge from the memory of its parent p and writes
those of its own edges to one memory, along the path through the tree of buses. A pipe leads out of a bus, to
a memory or to a neighbouring bus; reading and writing have pipes of their own, of equal capacity. B are the
bytes of t in one direction, u its units on a pipe, and sums are over running tasks:

    units       n_t = floor(min_p D_pt / 1024) bursts; 1 where that is 0, or larger than w_t or than an edge
                that t writes. u = sum floor(D / n_t) over the edges that a pipe carries
    compute     R_t <= rate of t's processing element
    memory m    R_t <= C_m (u_t / sum u) w_t / B_tm, units on the pipe to m
    bus b       R_t <= C_b share_t(b) / n(q) w_t / B_tb for each pipe q out of b that t uses
                share_t(b) = 1 where t's processing element is on b, else u_t / sum u on the pipe into b
                n(q) = tasks of processing elements on b that go on to q + pipes into b with such tasks
    phase       R_t is the least of these; dt = min left_t / R_t; left_t -= R_t dt
    complete    t when 1 - left_t / w_t >= 0.99; what is left is dropped
    launch      t when all its parents have completed. A free processing element runs the task launched last,
                of those launched at once the first in order
    energy      sum of R_t dt / instructions per J, + bytes read and written x J per byte
    memory      t's bytes are allocated when it is launched. When t completes, for each parent p in turn: if
                all children of p are in the set of completed tasks, p's bytes are freed, and those children
                leave the set, so that a child of several parents frees only one. The source's bytes stay, and
                other tasks without work allocate none
    area        processing elements in use, + memories that are written to, of the size of their peak
    power       largest mean of windows; a window ends with the phase that exceeds what is left of 10 ms

Tasks without work take phases of no length. FARSI counts the bounds of windows in phases of some length,
but reads lengths and energies at those positions among all phases; `literal` keeps that.

Source: Boroujerdian et al., "FARSI: An Early-stage Design Space Exploration Framework to Tame the
Domain-specific System-on-chip Complexity", ACM TECS 2023, and its code (facebookresearch/Project_FARSI).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from archgym.simulators.soc.blocks import Blocks
from archgym.simulators.soc.memories import memories, size_class
from archgym.simulators.soc.traffic import Flows, edges_of, flows_of, ranges
from archgym.simulators.soc.workload import Workload
from archgym.space import Array

COMPLETE = 0.99  # progress of a task that counts as completed
WINDOW_S = 0.010
CHUNK = 1000  # designs at a time
ROUNDING = 1e-9  # relative difference of bounds that are equal
BOUNDS = ("compute_s", "memory_s", "bus_s")


def simulate(workload: Workload, blocks: Blocks, *, literal: bool = False) -> dict[str, Array]:
    """Latency, energy, power and area of designs.

    Args:
        workload: the task graph.
        blocks: B designs.
        literal: FARSI's own bounds of power windows, rather than correct ones.

    Returns:
        Columns [B]: latency_s, energy_j, power_w, area_mm2, peak_bytes of all memories, memory_bytes of the
        largest, phases, and compute_s, memory_s, bus_s: seconds in which these bound the task that ends the
        phase, the first of equal ones. Energy, power and area are NaN where a memory is beyond the table.
    """
    starts = range(0, len(blocks.pe), CHUNK)
    parts = [_simulate(workload, blocks.rows(slice(s, s + CHUNK)), literal) for s in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _simulate(workload: Workload, blocks: Blocks, literal: bool) -> dict[str, Array]:
    """The columns of at most CHUNK designs."""
    batch = _batch(workload, blocks)
    state = _start(batch)
    history: list[Phase] = []
    while True:
        _launch(batch, state)
        _choose(batch, state)
        if not len(state.running):
            return _columns(batch, state, history, literal)
        history.append(_advance(batch, state))
        _complete(batch, state)


# --- constants and state ---


@dataclass(frozen=True, eq=False)
class Graph:
    """The task graph, as the loop uses it.

    Attributes:
        child: whether a task (row) has another as its child, [T, T].
        children: children of each task one after another.
        first_child, child_count: where those of each task are among them, [T].
        parents: parents of each task, -1 after the last, [T, most].
        written: bytes that a task writes, [T].
        allocated: those that take up memory: not of tasks without work, but of the source, [T].
        freed: those that are ever freed: not of the source, [T].
    """

    child: Array
    children: Array
    first_child: Array
    child_count: Array
    parents: Array
    written: Array
    allocated: Array
    freed: Array


@lru_cache(maxsize=64)
def _graph(workload: Workload) -> Graph:
    tasks = len(workload.names)
    child = np.zeros((tasks, tasks), bool)
    child[workload.parents, workload.children] = True
    before = [workload.parents[workload.children == t].tolist() for t in range(tasks)]
    most = max(map(len, before))
    written, works = edges_of(workload).written_bytes, workload.work > 0
    count = child.sum(1)
    return Graph(
        child=child,
        children=np.nonzero(child)[1],
        first_child=np.cumsum(count) - count,
        child_count=count,
        parents=np.array([each + [-1] * (most - len(each)) for each in before]),
        written=written,
        allocated=np.where(works | (np.arange(tasks) == workload.root), written, 0),
        freed=np.where(works, written, 0),
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Constants of B designs. Tasks are numbered design x T + task, memories design x M + memory, and
    processing elements design x P + element.

    Attributes:
        graph, blocks, flows: the task graph, the designs, and what tasks carry.
        size, tasks: numbers of designs B and of tasks T.
        work, rate, per_joule: instructions of each task, per second, and per joule, [B x T].
        pe, memory: processing element of each task, and memory that it writes to, [B x T].
        rank: T - 1 - order of each task, [B x T].
    """

    graph: Graph
    blocks: Blocks
    flows: Flows
    size: int
    tasks: int
    work: Array
    rate: Array
    per_joule: Array
    pe: Array
    memory: Array
    rank: Array


def _batch(workload: Workload, blocks: Blocks) -> Batch:
    size, tasks = blocks.pe.shape
    design = np.arange(size)[:, None]
    order = np.arange(tasks) if blocks.order is None else blocks.order
    return Batch(
        graph=_graph(workload),
        blocks=blocks,
        flows=flows_of(workload, blocks),
        size=size,
        tasks=tasks,
        work=np.tile(workload.work, size),
        rate=blocks.pe_rate.reshape(-1),
        per_joule=blocks.pe_per_joule.reshape(-1),
        pe=(design * blocks.pe_area_mm2.shape[1] + blocks.pe).reshape(-1),
        memory=(design * blocks.memory_bus.shape[1] + blocks.memory).reshape(-1),
        rank=np.broadcast_to(tasks - 1 - order, (size, tasks)).reshape(-1),
    )


@dataclass(eq=False)
class State:
    """Where all designs of a batch are.

    Attributes:
        step: phases so far, those of no length included.
        clock: time, [B].
        left: instructions left of each task, [B x T].
        parents_left: parents that have not completed, [B x T].
        key: rank of a launched task: later ones larger, then those first in order, [B x T].
        ready: tasks to launch.
        waiting: launched tasks that do not run.
        running: tasks that run, ascending.
        busy: whether a processing element runs a task, [B x P].
        pending: completed tasks whose parents' bytes are not freed, [B, T].
        held, peak: bytes in memories, and the most so far, [B x M].
        bounds: seconds bound by compute, memory and bus, [3, B].
    """

    step: int
    clock: Array
    left: Array
    parents_left: Array
    key: Array
    ready: Array
    waiting: Array
    running: Array
    busy: Array
    pending: Array
    held: Array
    peak: Array
    bounds: Array


@dataclass(frozen=True, eq=False)
class Phase:
    """One phase of each design.

    Attributes:
        seconds: length, 0 for tasks without work and after a design's end, [B].
        joules: energy of processing elements, [B].
        moved: bytes read from and written to memories, [B, 2, M].
    """

    seconds: Array
    joules: Array
    moved: Array


def _start(batch: Batch) -> State:
    """No task has been launched; the source is ready."""
    size, tasks, none = batch.size, batch.tasks, np.zeros(0, np.int64)
    parents = batch.graph.child.sum(0)
    memories = batch.blocks.memory_bus.size
    return State(
        step=0,
        clock=np.zeros(size),
        left=batch.work.copy(),
        parents_left=np.tile(parents, size),
        key=np.zeros(size * tasks, np.int64),
        ready=np.flatnonzero(np.tile(parents == 0, size)),
        waiting=none,
        running=none,
        busy=np.zeros(batch.blocks.pe_area_mm2.size, bool),
        pending=np.zeros((size, tasks), bool),
        held=np.zeros(memories),
        peak=np.zeros(memories),
        bounds=np.zeros((3, size)),
    )


# --- steps of the loop ---


def _launch(batch: Batch, state: State) -> None:
    """Tasks whose parents have completed allocate what they write, and wait."""
    ready = state.ready
    state.key[ready] = state.step * batch.tasks + batch.rank[ready]
    memory = batch.memory[ready]
    state.held += np.bincount(memory, batch.graph.allocated[ready % batch.tasks], len(state.held))
    state.peak[memory] = np.maximum(state.peak[memory], state.held[memory])
    state.waiting = np.concatenate([state.waiting, ready])


def _choose(batch: Batch, state: State) -> None:
    """Each free processing element runs the waiting task of the largest key."""
    free = ~state.busy[batch.pe[state.waiting]]
    candidates = state.waiting[free]
    pe, key = batch.pe[candidates], state.key[candidates]
    best = np.full(len(state.busy), -1)
    np.maximum.at(best, pe, key)
    first = best[pe] == key
    chosen = candidates[first]
    state.busy[pe[first]] = True
    state.waiting = np.concatenate([state.waiting[~free], candidates[~first]])
    state.running = np.sort(np.concatenate([state.running, chosen]))


def _advance(batch: Batch, state: State) -> Phase:
    """Each design goes on until the first of its running tasks ends: at once where one has no work."""
    size, tasks, memories = batch.size, batch.tasks, batch.blocks.memory_bus.shape[1]
    phase = Phase(np.zeros(size), np.zeros(size), np.zeros((size, 2, memories)))
    state.step += 1
    still = np.zeros(size, bool)
    still[state.running[batch.work[state.running] == 0] // tasks] = True
    running = state.running[~still[state.running // tasks]]
    if not len(running):
        return phase
    flow, begin = batch.flows.of(running)
    rate, bound = _rates(batch, running, flow, begin)
    first, count = _runs(running // tasks)
    design = running[first] // tasks
    time = state.left[running] / rate
    length = np.minimum.reduceat(time, first)
    instructions = rate * np.repeat(length, count)
    state.left[running] -= instructions
    state.clock[design] += length
    ends = np.flatnonzero(time == np.repeat(length, count))
    ends = ends[_runs(running[ends] // tasks)[0]]  # one of each design
    state.bounds[bound[ends], design] += length
    phase.seconds[design] = length
    phase.joules[design] = np.add.reduceat(instructions / batch.per_joule[running], first)
    share = np.repeat(instructions / batch.work[running], np.diff(begin, append=len(flow)))
    moved = np.bincount(batch.flows.pipe[flow], batch.flows.data[flow] * share, batch.flows.pipes)
    phase.moved[:] = moved.reshape(size, 2, batch.flows.ways)[:, :, :memories]
    return phase


def _rates(batch: Batch, running: Array, flow: Array, begin: Array) -> tuple[Array, Array]:
    """Instructions per second of running tasks, and what bounds each: a position in BOUNDS."""
    flows = batch.flows
    pipe, entry = flows.pipe[flow], flows.entry[flow]
    units = np.bincount(pipe, flows.units[flow], flows.pipes + 1)
    units[flows.pipes] = 1.0  # processing elements have pipes of their own
    own = entry == flows.pipes
    ways = np.bincount(pipe[own], minlength=flows.pipes)
    if not own.all():  # a pipe between buses counts once for all its tasks
        pairs = _distinct(pipe[~own] * flows.ways + entry[~own] % flows.ways)
        ways += np.bincount(pairs // flows.ways, minlength=flows.pipes)
    memory = np.minimum.reduceat(flows.memory_bound[flow] / units[pipe], begin)
    bus = np.minimum.reduceat(flows.bus_bound[flow] / (units[entry] * ways[pipe]), begin)
    compute = batch.rate[running]
    rate = np.minimum(np.minimum(compute, memory), bus)
    equal = rate * (1 + ROUNDING)
    return rate, np.where(compute <= equal, 0, np.where(memory <= equal, 1, 2))


def _complete(batch: Batch, state: State) -> None:
    """Tasks that have ended leave their processing elements, free memory and make children ready."""
    running, graph, tasks = state.running, batch.graph, batch.tasks
    work = batch.work[running]
    progress = 1 - np.divide(state.left[running], work, out=np.zeros(len(work)), where=work > 0)
    ended = progress >= COMPLETE
    done = running[ended]
    state.running = running[~ended]
    state.busy[batch.pe[done]] = False
    _, count = _runs(done // tasks)
    nth = ranges(np.zeros_like(count), count)[0]
    for n in range(int(count.max(initial=0))):
        _free(batch, state, done[nth == n])
    task = done % tasks
    which, _ = ranges(graph.first_child[task], graph.child_count[task])
    children = np.repeat(done - task, graph.child_count[task]) + graph.children[which]
    np.subtract.at(state.parents_left, children, 1)
    state.ready = _distinct(children[state.parents_left[children] == 0])


def _runs(design: Array) -> tuple[Array, Array]:
    """The first row of each design among rows in order of designs, and its number of rows."""
    first = np.flatnonzero(np.diff(design, prepend=-1))
    return first, np.diff(first, append=len(design))


def _distinct(numbers: Array) -> Array:
    """Distinct numbers >= 0, ascending."""
    numbers = np.sort(numbers)
    return numbers[np.diff(numbers, prepend=-1) > 0]


def _free(batch: Batch, state: State, done: Array) -> None:
    """Free what parents of completed tasks, at most one of each design, wrote, where no child needs it."""
    graph = batch.graph
    design, task = done // batch.tasks, done % batch.tasks
    state.pending[design, task] = True
    for nth in range(graph.parents.shape[1]):
        parent = graph.parents[task, nth]
        design, task, parent = (each[parent >= 0] for each in (design, task, parent))
        siblings = graph.child[parent]
        whole = (state.pending[design] | ~siblings).all(1)
        rows, freed = design[whole], parent[whole]
        state.held[batch.memory[rows * batch.tasks + freed]] -= graph.freed[freed]
        state.pending[rows] &= ~siblings[whole]


# --- results ---


def _columns(batch: Batch, state: State, history: list[Phase], literal: bool) -> dict[str, Array]:
    """The columns of `simulate`."""
    size, blocks, table = batch.size, batch.blocks, memories()
    kind, peak = blocks.memory_dram.astype(np.int64), state.peak.reshape(size, -1)
    at = kind, size_class(peak)
    used = np.bincount(batch.memory, np.tile(batch.graph.written, size), state.peak.size) > 0
    area = blocks.pe_area_mm2.sum(1) + np.where(used.reshape(peak.shape), table.area_mm2[at], 0).sum(1)
    per_byte = np.stack([table.read[at], table.write[at]], axis=1)
    seconds = np.array([np.zeros(size), *(phase.seconds for phase in history)])
    joules = np.array(
        [np.zeros(size), *(phase.joules + (phase.moved * per_byte).sum((1, 2)) for phase in history)]
    )
    return {
        "latency_s": state.clock,
        "energy_j": np.cumsum(joules, 0)[-1],  # one after another, whatever the number of designs
        "power_w": _power(seconds, joules, literal),
        "area_mm2": area,
        "peak_bytes": peak.sum(1),
        "memory_bytes": peak.max(1),
        "phases": (seconds > 0).sum(0).astype(np.float64),
        **dict(zip(BOUNDS, state.bounds, strict=True)),
    }


def _power(seconds: Array, joules: Array, literal: bool) -> Array:
    """The largest mean power of windows over phases, [phases, B], the first of which has no length.

    A window ends with the phase that exceeds what is left of 10 ms, the last window with the run.
    """
    phases, size = seconds.shape
    # phases up to each one; FARSI counts those of some length only
    after = np.cumsum(seconds > 0, 0) if literal else np.arange(1, phases + 1)
    begins, left, columns = np.zeros((phases + 1, size), np.int64), np.full(size, WINDOW_S), np.arange(size)
    for n in range(phases):
        ends = seconds[n] > left
        begins[after[n], columns] += ends
        left = np.where(ends, WINDOW_S, left - seconds[n])
    window = (np.cumsum(begins[:-1], 0) * size + columns).reshape(-1)
    length, energy = (np.bincount(window, each.reshape(-1), seconds.size) for each in (seconds, joules))
    mean = np.divide(energy, length, out=np.zeros(seconds.size), where=length > 0)
    return mean.reshape(phases, size).max(0)
