"""Designs of a system on chip: processing elements, memories and buses, and where tasks and their data are.

Buses form a tree. A processing element and a memory hang on one bus each. A task runs on one processing
element and writes to one memory; it reads from the memories that its parents write to.

Names of `SystemOnChip` are FARSI's, with clocks in 100 MHz, and a width k for 4 x 2^k bytes per cycle in each
direction:

    A53_pe                           the CPU of the workload's library
    <task>_IP0_<unroll>_<clock>_pe   the accelerator of a task
    GMEM_<width>_<clock>_mem         DRAM
    LMEM_<width>_<clock>_mem         SRAM
    LMEM_ic_<width>_<clock>_ic       a bus

FARSI's tasks `souurce` and `siink` are `source` and `sink` here, and its suffix `_fxp_cloned` is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulators.soc.workload import Workload
from archgym.space import Array

HZ = 1e8  # of a clock of 1
_ACCELERATOR = re.compile(r"(.+)_IP0_(\d+)_(\d{1,3})_pe")
_LINKS = {
    "memory": (
        re.compile(r"[GL]MEM_(?P<width>[0-5])_(?P<clock>\d{1,3})_mem"),
        "GMEM_<width>_<clock>_mem or LMEM",
    ),
    "bus": (re.compile(r"LMEM_ic_(?P<width>[0-5])_(?P<clock>\d{1,3})_ic"), "LMEM_ic_<width>_<clock>_ic"),
}
_OURS = {"souurce": "source", "siink": "sink"}


@dataclass(frozen=True)
class Blocks:
    """B designs: T tasks, up to P processing elements, M memories and N buses each, unused ones included.

    Attributes:
        pe: processing element of each task, [B, T].
        pe_rate: its instructions per second for the task, [B, T].
        pe_per_joule: its instructions per joule for the task, [B, T].
        pe_area_mm2: area of each processing element, 0 where unused, [B, P].
        pe_bus: bus of each task's processing element, [B, T].
        memory: memory that each task writes to, [B, T].
        memory_rate: bytes per second in each direction, [B, M].
        memory_dram: DRAM rather than SRAM, [B, M].
        memory_bus: bus of each memory, [B, M].
        bus_rate: bytes per second in each direction, [B, N].
        bus_parent: bus that each bus hangs on, -1 for none, [B, N].
        order: rank of each task among those launched at once, [B, T]; None for the workload's own.
    """

    pe: Array
    pe_rate: Array
    pe_per_joule: Array
    pe_area_mm2: Array
    pe_bus: Array
    memory: Array
    memory_rate: Array
    memory_dram: Array
    memory_bus: Array
    bus_rate: Array
    bus_parent: Array
    order: Array | None = None

    def __post_init__(self) -> None:
        _check_rates(self)
        _check_positions(self)

    def rows(self, rows: slice) -> Blocks:
        """Some of the designs."""
        return replace(self, **{name: value[rows] for name, value in vars(self).items() if value is not None})


def _check_rates(blocks: Blocks) -> None:
    """Refuse rates that are not positive."""
    for name in ("pe_rate", "pe_per_joule", "memory_rate", "bus_rate"):
        values = getattr(blocks, name)
        wrong = ~(np.isfinite(values) & (values > 0))
        if wrong.any():
            raise ArchGymError(
                f"expected {name} > 0, got {values[wrong][0]:g} in design {np.argwhere(wrong)[0, 0]}"
            )


def _check_positions(blocks: Blocks) -> None:
    """Refuse positions of blocks that do not exist, blocks that are not connected, and equal ranks."""
    (size, tasks), buses = blocks.pe.shape, blocks.bus_parent.shape[1]
    if blocks.order is not None and (np.sort(blocks.order) != np.arange(tasks)).any():
        raise ArchGymError(f"expected each rank from 0 to {tasks - 1} once in the order of a design")
    pes, memories = blocks.pe_area_mm2.shape[1], blocks.memory_bus.shape[1]
    for name, most in (("pe", pes), ("memory", memories), ("pe_bus", buses), ("memory_bus", buses)):
        values = getattr(blocks, name)
        if values.min() < 0 or values.max() >= most:
            raise ArchGymError(f"expected {name} from 0 to {most - 1}, got {values.min()} to {values.max()}")
    if (blocks.bus_parent >= np.arange(buses)).any():
        raise ArchGymError("expected the parent of each bus among those before it, got a later one")
    design = np.arange(size)[:, None]
    connected = np.ones((size, buses), bool)
    for bus in range(1, buses):
        parent = blocks.bus_parent[:, bus]
        connected[:, bus] = (parent >= 0) & connected[design[:, 0], parent]
    memory_bus = blocks.memory_bus[design, blocks.memory]
    loose = ~(connected[design, blocks.pe_bus] & connected[design, memory_bus])
    if loose.any():
        row, task = np.argwhere(loose)[0]
        raise ArchGymError(
            f"expected connected buses, got task {task} of design {row} with its processing element on bus "
            f"{blocks.pe_bus[row, task]} and its memory on {memory_bus[row, task]}; give each bus a parent"
        )


@dataclass(frozen=True)
class SystemOnChip:
    """One design by its blocks.

    Attributes:
        pes, memories, buses: names of the blocks.
        pe_bus, memory_bus: bus of each processing element and memory, by position.
        bus_parent: bus that each bus hangs on, -1 for none.
        task_pe, task_memory: processing element and memory of each task, by position.
        order: tasks by rank among those launched at once; none for the workload's order.

    Example:
        >>> camera = load_workload("hpvm_cava")
        >>> hosts = [0, 0, 0, 0, 0, 1, 0, 0, 0]  # gamut_map on its accelerator
        >>> chip = SystemOnChip(
        ...     pes=["A53_pe", "gamut_map_IP0_151_8_pe"], memories=["LMEM_3_4_mem"], buses=["LMEM_ic_3_4_ic"],
        ...     pe_bus=[0, 0], memory_bus=[0], bus_parent=[-1], task_pe=hosts, task_memory=[0] * 9,
        ... )
        >>> simulate(camera, blocks_of(camera, [chip]))["latency_s"]  # doctest: +SKIP
    """

    pes: Sequence[str]
    memories: Sequence[str]
    buses: Sequence[str]
    pe_bus: Sequence[int]
    memory_bus: Sequence[int]
    bus_parent: Sequence[int]
    task_pe: Sequence[int]
    task_memory: Sequence[int]
    order: Sequence[str] = ()


def our_name(task: str) -> str:
    """Our name of FARSI's task."""
    return _OURS.get(task, task.removesuffix("_fxp_cloned"))


def blocks_of(workload: Workload, systems: Sequence[SystemOnChip]) -> Blocks:
    """Designs as columns.

    Raises:
        ArchGymError: an unknown block, a block without a bus, a bus without processing element or memory, or
            an accelerator that hosts another task.
    """
    size, tasks = len(systems), len(workload.names)
    pes, memories, buses = (
        max(len(getattr(system, blocks)) for system in systems) for blocks in ("pes", "memories", "buses")
    )
    pe_rate, pe_per_joule, pe_area = np.ones((size, tasks)), np.ones((size, tasks)), np.zeros((size, pes))
    memory_rate, memory_dram = np.ones((size, memories)), np.zeros((size, memories), bool)
    pe_bus, memory_bus = np.zeros((size, tasks), np.int64), np.zeros((size, memories), np.int64)
    bus_rate, bus_parent = np.ones((size, buses)), np.full((size, buses), -1)
    for row, system in enumerate(systems):
        _check_mapping(system, tasks)
        _check_tree(system)
        for pe, name in enumerate(system.pes):
            hosted = [task for task, host in enumerate(system.task_pe) if host == pe]
            pe_rate[row, hosted], pe_per_joule[row, hosted], pe_area[row, pe] = _pe(workload, name, hosted)
            pe_bus[row, hosted] = system.pe_bus[pe]
        for memory, name in enumerate(system.memories):
            memory_rate[row, memory], memory_dram[row, memory] = _rate("memory", name), name.startswith("G")
        memory_bus[row, : len(system.memories)] = system.memory_bus
        bus_rate[row, : len(system.buses)] = [_rate("bus", name) for name in system.buses]
        bus_parent[row, : len(system.buses)] = system.bus_parent
    return Blocks(
        pe=np.array([system.task_pe for system in systems]),
        pe_rate=pe_rate,
        pe_per_joule=pe_per_joule,
        pe_area_mm2=pe_area,
        pe_bus=pe_bus,
        memory=np.array([system.task_memory for system in systems]),
        memory_rate=memory_rate,
        memory_dram=memory_dram,
        memory_bus=memory_bus,
        bus_rate=bus_rate,
        bus_parent=bus_parent,
        order=np.array([_ranks(system, workload) for system in systems]),
    )


def _check_mapping(system: SystemOnChip, tasks: int) -> None:
    """Refuse positions of processing elements and memories that do not exist."""
    for column, blocks in (("task_pe", system.pes), ("task_memory", system.memories)):
        found = getattr(system, column)
        if len(found) != tasks:
            raise ArchGymError(f"expected {tasks} positions in {column}, got {len(found)}")
        for position in found:
            if not 0 <= position < len(blocks):
                raise ArchGymError(
                    f"expected positions in {column} from 0 to {len(blocks) - 1}, got {position}"
                )


def _ranks(system: SystemOnChip, workload: Workload) -> list[int]:
    """Rank of each task."""
    if not system.order:
        return list(range(len(workload.names)))
    ranks = {task: rank for rank, task in enumerate(system.order)}
    if sorted(ranks) != sorted(workload.names):
        raise ArchGymError(
            f"expected an order of all {len(workload.names)} tasks, got {' '.join(system.order)}"
        )
    return [ranks[name] for name in workload.names]


def _check_tree(system: SystemOnChip) -> None:
    """Refuse blocks without a bus, buses without blocks, and buses that are not a tree."""
    if len(system.bus_parent) != len(system.buses):
        raise ArchGymError(
            f"expected {len(system.buses)} positions in bus_parent, got {len(system.bus_parent)}"
        )
    for kind, blocks, attached in (("pe", "pes", system.pe_bus), ("memory", "memories", system.memory_bus)):
        names = getattr(system, blocks)
        if len(attached) != len(names):
            raise ArchGymError(f"expected {len(names)} positions in {kind}_bus, got {len(attached)}")
        for name, bus in zip(names, attached, strict=True):
            if not 0 <= bus < len(system.buses):
                raise ArchGymError(
                    f"{name} is not connected to a bus ({bus}); give it one of {len(system.buses)}"
                )
    for bus, name in enumerate(system.buses):
        for kind, attached in (("processing element", system.pe_bus), ("memory", system.memory_bus)):
            if bus not in attached:
                raise ArchGymError(f"bus {bus} ({name}) has no {kind}; attach one, or leave the bus out")
        parent = system.bus_parent[bus]
        if not (parent == -1 if bus == 0 else 0 <= parent < bus):
            expected = "-1" if bus == 0 else f"a bus before it, 0 to {bus - 1},"
            raise ArchGymError(f"expected {expected} as bus_parent of bus {bus}, got {parent}")


def _pe(workload: Workload, name: str, hosted: list[int]) -> tuple[Array, Array, float]:
    """Rates, instructions per joule and area of a processing element for the tasks that it hosts."""
    if name == "A53_pe":
        cpu = workload.cpu
        idle = set(hosted) <= {workload.root, workload.last}
        ones = np.ones(len(hosted))
        return cpu.rate * ones, cpu.per_joule * ones, 0.0 if idle else cpu.area_mm2
    match = _ACCELERATOR.fullmatch(name)
    task = our_name(match[1]) if match else ""
    if match is None or task not in workload.names:
        raise unknown("processing element", name, ["A53_pe", *(f"{n}_IP0_1_1_pe" for n in workload.names)])
    t, unroll, clock = workload.names.index(task), int(match[2]), int(match[3])
    if unroll not in workload.unrolls(t) or clock < 1:
        allowed = ", ".join(map(str, workload.unrolls(t))) or "no accelerator"
        raise ArchGymError(f"expected an unroll of {task} ({allowed}) and a clock >= 1, got {name}")
    if others := [workload.names[h] for h in hosted if h != t]:
        raise ArchGymError(f"{name} hosts {others[0]}, but runs only {task}; use a CPU")
    of = workload.accelerators
    per_joule = 1 / (unroll * of.joules_per_instruction[t])
    area = unroll * float(of.area_mm2[t])
    return np.full(len(hosted), unroll * clock * of.rate[t]), np.full(len(hosted), per_joule), area


def _rate(kind: str, name: str) -> float:
    """Bytes per second of a memory or bus."""
    pattern, form = _LINKS[kind]
    match = pattern.fullmatch(name)
    width, clock = (int(match["width"]), int(match["clock"])) if match else (0, 0)
    if not clock:
        raise ArchGymError(
            f"unknown {kind} {name!r}; expected {form}, a width up to 5 and a clock of at least 1"
        )
    return 4 * 2.0**width * clock * HZ
