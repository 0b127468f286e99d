"""Designs of a system on chip as parameters, every combination of which is a valid chip.

    host_<task or group>   PE that runs the task: cpu0, cpu1, or ip, an accelerator of its own
    ip_unroll, ip_mhz      unroll and clock of all accelerators; a task's own iterations cap its unroll
    memories, placement    memories, and which of them each task writes to
    memory_kind, memory_gb_s, bus_gb_s    kind and bandwidth of all memories, bandwidth of all buses
    buses                  buses in a chain, where more than one is allowed

    placement of task t among M memories:
        alternate       t mod M
        level           floor(M l_t / L), l_t edges from the source on the longest path, of L levels
        largest_alone   M - 1 for the task that writes most, else t mod (M - 1)

    n = min(buses, memories, PEs with work);  PE r of P on bus floor(n r / P), in the order of the levels of
    their first tasks;  memory m of M on bus floor(n m / M)

So every bus has a PE and a memory, every memory is written to, and every block is connected. FARSI's pruning
of unused blocks would change nothing. Tasks without work (source, sink) are on cpu0. A group's tasks share a
host; as accelerators each has its own.

Several rows are one chip (`Encoding.canonical`): cpu0 and cpu1 swapped; unroll and clock without
accelerators; unrolls above the iterations of all accelerators; more buses than memories or PEs; placements
that coincide.

What FARSI chooses is here in another encoding. In that of ArchGym's wrapper, integers that connect blocks,
nearly all combinations are invalid.
"""

from __future__ import annotations

import numpy as np

from archgym.simulators.soc.blocks import Blocks
from archgym.simulators.soc.workload import Workload
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Ordinal, Parameter

CPUS = 2
IP = CPUS  # index of a host that is an accelerator
UNROLLS = (1, 4, 16, 64, 256, 1024)
CLOCKS_MHZ = (100, 400, 600, 800)
MEMORIES = 3
PLACEMENTS = ("alternate", "level", "largest_alone")
KINDS = ("sram", "dram")
RATES_GB_S = (1.6, 6.4, 25.6, 102.4)  # in each direction; FARSI's are 0.4 to 102.4
BUSES = 3  # at most


class Encoding:
    """The design space of a workload, and the blocks of its designs.

    Args:
        workload: task graph and library.
        max_buses: largest number of buses, 1 to 3; the parameter `buses` exists above 1.

    Attributes:
        space: the design space.
    """

    def __init__(self, workload: Workload, max_buses: int = 1):
        self.workload, self.max_buses = workload, max_buses
        units = _units(workload)
        self._tasks = np.concatenate([tasks for _, tasks in units])  # with work, in the order of hosts
        self._unit = np.repeat(np.arange(len(units)), [len(tasks) for _, tasks in units])  # their hosts
        hosts = [_host(workload, name, tasks) for name, tasks in units]
        self.space = DesignSpace([*hosts, *_blocks(max_buses)])
        self._hosts = len(hosts)
        self._iterations = np.array([workload.accelerators.iterations[tasks].max() for _, tasks in units])
        self._column = {name: place for place, name in enumerate(self.space.names)}
        self._placed, self._memories = _placements(workload)  # [settings, T], [settings]
        _, first, same = np.unique(self._placed, axis=0, return_index=True, return_inverse=True)
        self._setting = first[same.reshape(-1)]  # of equal settings the first
        order = np.lexsort((self._tasks, workload.levels[self._tasks]))
        self._by_level = self._tasks[order]

    def canonical(self, indices: Indices) -> Indices:
        """The representative of designs that are one chip: [B, P] -> [B, P]."""
        rows = self.space.canonical(indices).copy()
        hosts = rows[:, : self._hosts]
        on_cpu = hosts < CPUS
        first = np.take_along_axis(hosts, on_cpu.argmax(1)[:, None], 1)
        hosts[:] = np.where(on_cpu & (first == 1), 1 - hosts, hosts)
        most = np.where(hosts == IP, self._iterations, 0).max(1)  # of accelerators in use
        enough = np.searchsorted(UNROLLS, most)  # first unroll that is not less
        unroll, clock = self._column["ip_unroll"], self._column["ip_mhz"]
        rows[:, unroll] = np.minimum(rows[:, unroll], enough)
        rows[:, clock] = np.where(most > 0, rows[:, clock], 0)
        setting = self._setting[self._settings(rows)]
        rows[:, self._column["memories"]], rows[:, self._column["placement"]] = _memories(setting)
        if "buses" in self._column:
            rows[:, self._column["buses"]] = self._buses(rows) - 1
        return rows

    def accelerated(self) -> Indices:
        """All distinct designs with every task on an accelerator, [R, P]; none where a task lacks one."""
        sizes = self.space.nvec[self._hosts :].tolist()
        if (self.space.nvec[: self._hosts] <= IP).any():
            return np.zeros((0, len(self.space)), np.int64)
        rows = np.full((int(np.prod(sizes)), len(self.space)), IP, np.int64)
        rows[:, self._hosts :] = np.indices(sizes).reshape(len(sizes), -1).T
        return rows[(self.canonical(rows) == rows).all(1)]

    def _settings(self, rows: Indices) -> Indices:
        """Setting of memories and placement, 0 for one memory: [B]."""
        memories, placement = rows[:, self._column["memories"]], rows[:, self._column["placement"]]
        return np.where(memories > 0, 1 + (memories - 1) * len(PLACEMENTS) + placement, 0)

    def _buses(self, rows: Indices) -> Indices:
        """Buses that there are, [B]."""
        if "buses" not in self._column:
            return np.ones(len(rows), np.int64)
        hosts = rows[:, : self._hosts]
        tasks = np.bincount(self._unit)
        pes = np.where(hosts == IP, tasks, 0).sum(1) + sum((hosts == cpu).any(1) for cpu in range(CPUS))
        memories = self._memories[self._settings(rows)]
        buses: Indices = np.minimum(rows[:, self._column["buses"]] + 1, np.minimum(memories, pes))
        return buses

    def blocks(self, indices: Indices) -> Blocks:
        """Designs [B, P] -> their blocks; T tasks, PEs numbered cpu0, cpu1, then an accelerator per task."""
        rows = self.canonical(indices)
        values = {name: self.space[name].grid[rows[:, place]] for name, place in self._column.items()}
        work, cpu, accelerators = self.workload.work, self.workload.cpu, self.workload.accelerators
        host = np.zeros((len(rows), len(work)), np.int64)
        host[:, self._tasks] = rows[:, self._unit]
        ip = host == IP
        unroll = np.minimum(values["ip_unroll"][:, None], np.maximum(accelerators.iterations, 1))
        speed = accelerators.rate * unroll * (values["ip_mhz"][:, None] / 100)
        per_joule = 1 / np.where(ip, accelerators.joules_per_instruction * unroll, 1 / cpu.per_joule)
        buses, setting = self._buses(rows), self._settings(rows)
        memory_bus = buses[:, None] * np.arange(MEMORIES) // self._memories[setting][:, None]
        return Blocks(
            pe=np.where(ip, CPUS + np.arange(len(work)), host),
            pe_rate=np.where(ip, speed, cpu.rate),
            pe_per_joule=per_joule,
            pe_area_mm2=self._areas(host, unroll),
            pe_bus=self._pe_bus(host, buses),
            memory=self._placed[setting],
            memory_rate=_columns(1e9 * values["memory_gb_s"], MEMORIES),
            memory_dram=_columns(values["memory_kind"] == "dram", MEMORIES),
            memory_bus=np.minimum(memory_bus, buses[:, None] - 1),
            bus_rate=_columns(1e9 * values["bus_gb_s"], self.max_buses),
            bus_parent=np.where(
                np.arange(self.max_buses) < buses[:, None], np.arange(self.max_buses) - 1, -1
            ),
            order=None,
        )

    def _areas(self, host: Indices, unroll: Indices) -> Array:
        """Area of each PE, [B, 2 + T], 0 where there is none; source and sink alone need no CPU."""
        inner = np.ones(host.shape[1], bool)
        inner[[self.workload.root, self.workload.last]] = False
        cpus = [(inner & (host == cpu)).any(1) * self.workload.cpu.area_mm2 for cpu in range(CPUS)]
        accelerators = np.where(host == IP, unroll * self.workload.accelerators.area_mm2, 0.0)
        return np.concatenate([np.stack(cpus, 1), accelerators], 1)

    def _pe_bus(self, host: Indices, buses: Indices) -> Indices:
        """The bus of each task's PE, [B, T]."""
        found = np.zeros(host.shape, np.int64)
        if "buses" not in self._column:
            return found
        hosts = host[:, self._by_level]
        cpus = [hosts == cpu for cpu in range(CPUS)]
        first = hosts == IP  # a task is the first on its PE
        for on in cpus:
            first |= on & (np.cumsum(on, 1) == 1)
        rank = np.cumsum(first, 1) - 1
        for on in cpus:
            rank = np.where(on, np.take_along_axis(rank, on.argmax(1)[:, None], 1), rank)
        found[:, self._by_level] = buses[:, None] * rank // first.sum(1)[:, None]
        return found


def _units(workload: Workload) -> list[tuple[str, Indices]]:
    """Groups of tasks with work, the earliest first: name and tasks."""
    groups: dict[str, list[int]] = {}
    levels = workload.levels.tolist()
    for task in sorted(np.flatnonzero(workload.work > 0).tolist(), key=lambda task: (levels[task], task)):
        groups.setdefault(workload.groups[task], []).append(task)
    return [(name, np.array(tasks)) for name, tasks in groups.items()]


def _host(workload: Workload, name: str, tasks: Indices) -> Parameter:
    """The parameter of a group; no accelerator where a task lacks one."""
    cpus = [f"cpu{cpu}" for cpu in range(CPUS)]
    ip = ["ip"] if (workload.accelerators.iterations[tasks] > 0).all() else []
    return Categorical(f"host_{name}", [*cpus, *ip])


def _blocks(max_buses: int) -> list[Parameter]:
    """The parameters that all workloads have."""
    several = list(range(2, MEMORIES + 1))
    buses: list[Parameter] = [Integer("buses", 1, max_buses)] if max_buses > 1 else []
    return [
        Ordinal("ip_unroll", UNROLLS),
        Ordinal("ip_mhz", CLOCKS_MHZ),
        Integer("memories", 1, MEMORIES),
        Categorical("placement", PLACEMENTS, when={"memories": several}),
        Categorical("memory_kind", KINDS),
        Ordinal("memory_gb_s", RATES_GB_S),
        Ordinal("bus_gb_s", RATES_GB_S),
        *buses,
    ]


def _placements(workload: Workload) -> tuple[Indices, Indices]:
    """Memory that each task writes to in every setting, [settings, T], and the number of memories."""
    tasks, written = np.arange(len(workload.names)), np.zeros(len(workload.names))
    np.add.at(written, workload.parents, workload.data)
    levels, largest = workload.levels, int(written.argmax())
    settings = [np.zeros_like(tasks)]
    for memories in range(2, MEMORIES + 1):
        alone = np.where(tasks == largest, memories - 1, tasks % (memories - 1))
        settings += [tasks % memories, levels * memories // (levels.max() + 1), alone]
    placed = np.zeros((len(settings), len(tasks)), np.int64)
    for row, setting in zip(placed, settings, strict=True):  # memories without a writer are left out
        row[written > 0] = np.unique(setting[written > 0], return_inverse=True)[1]
    return placed, placed.max(1) + 1


def _memories(setting: Indices) -> tuple[Indices, Indices]:
    """Indices of `memories` and `placement`, [B] each; the inverse of `Encoding._settings`."""
    several = setting > 0
    memories, placement = np.divmod(setting - 1, len(PLACEMENTS))
    return np.where(several, memories + 1, 0), np.where(several, placement, 0)


def _columns(values: Array, n: int) -> Array:
    """Values [B] in n equal columns, [B, n]."""
    columns: Array = np.repeat(values[:, None], n, axis=1)
    return columns
