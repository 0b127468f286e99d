"""Small workloads and random designs of systems on chip, and FARSI's equations one design at a time."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np

from archgym.simulators.soc.blocks import SystemOnChip, blocks_of
from archgym.simulators.soc.memories import memories, size_class
from archgym.simulators.soc.workload import load_workload

FAST = "LMEM_5_8_mem"  # 1.024e11 B/s
WIDE = "LMEM_ic_5_8_ic"
CPU = {"task": "*", "seconds": 1e-9, "energy_j": 1e-10, "area_mm2": 0.5}


def content(work, edges, accelerators=()):
    """The tables of a workload: instructions per task, and (parent, child, bytes)."""
    return {
        "format": "archgym-soc/1",
        "source": "a test",
        "budgets": {"latency_s": 0.01, "power_w": 0.1, "area_mm2": 2},
        "tasks": [{"name": name, "work": each} for name, each in work.items()],
        "edges": [dict(zip(("parent", "child", "bytes"), edge, strict=True)) for edge in edges],
        "library": [dict(row) for row in (CPU, *accelerators)],
    }


def toy(folder, work, edges, accelerators=()):
    """A workload whose source and sink have no work."""
    path = folder / "toy.json"
    path.write_text(json.dumps(content({"source": 0, **work, "sink": 0}, edges, accelerators)))
    return load_workload(path)


def system(workload, pes, hosts, **changes):
    """A design on one bus with one memory; `hosts` is a position in `pes` of each task between the ends."""
    given = {
        "pes": pes,
        "memories": [FAST],
        "buses": [WIDE],
        "pe_bus": [0] * len(pes),
        "memory_bus": [0],
        "bus_parent": [-1],
        "task_pe": [0, *hosts, 0],
        "task_memory": [0] * len(workload.names),
    }
    return SystemOnChip(**{**given, **changes})


def random_workload(folder, seed):
    """A graph of 1 to 8 tasks in any order between the ends, some without work, some with accelerators."""
    rng = np.random.default_rng(seed)
    names = [f"t{n}" for n in range(rng.integers(1, 9))]
    work = {name: float(rng.random() > 0.15 or name == "t0") * int(10 ** rng.uniform(1, 8)) for name in names}
    edges = []
    for n, name in enumerate(names):
        parents = [each for each in names[:n] if rng.random() < 0.35]
        parents += ["source"] * (not parents or rng.random() < 0.2)
        edges += [(parent, name, int(10 ** rng.uniform(0, 7))) for parent in parents]
    ends = set(names) - {parent for parent, _, _ in edges}
    edges += [(name, "sink", int(10 ** rng.uniform(0, 6))) for name in names if name in ends]
    accelerators = [
        {
            "task": name,
            "seconds": 10 ** rng.uniform(-5, 0),
            "energy_j": 10 ** rng.uniform(-9, -3),
            "area_mm2": 0.1,
            "iterations": int(rng.integers(1, 40)),
        }
        for name in names
        if work[name] and rng.random() < 0.6
    ]
    return toy(folder, {name: work[name] for name in rng.permutation(names)}, edges, accelerators)


def random_systems(workload, count, seed):
    """Designs of 1 to 3 buses in a tree, 1 to 3 CPUs, and random accelerators and memories."""
    rng = np.random.default_rng(seed)
    return [_random(workload, rng) for _ in range(count)]


def _random(workload, rng):
    buses = int(rng.integers(1, 4))
    pes = ["A53_pe"] * int(rng.integers(buses, 4))
    cpus, hosts = len(pes), []
    for task, name in enumerate(workload.names):
        unrolls = workload.unrolls(task)
        if unrolls and rng.random() < 0.5:
            pes.append(f"{name}_IP0_{rng.choice(unrolls)}_{rng.choice([1, 4, 6, 8])}_pe")
            hosts.append(len(pes) - 1)
        else:
            hosts.append(int(rng.integers(cpus)))
    stores = int(rng.integers(buses, 5))
    places = [[*range(buses), *rng.integers(buses, size=n - buses).tolist()] for n in (len(pes), stores)]
    kinds = [
        f"{rng.choice(['G', 'L'])}MEM_{rng.integers(6)}_{rng.choice([1, 4, 6, 8])}_mem" for _ in range(stores)
    ]
    return SystemOnChip(
        pes=pes,
        memories=kinds,
        buses=[f"LMEM_ic_{rng.integers(6)}_{rng.choice([1, 4, 6, 8])}_ic" for _ in range(buses)],
        pe_bus=places[0],
        memory_bus=places[1],
        bus_parent=[-1, *(int(rng.integers(bus)) for bus in range(1, buses))],
        task_pe=hosts,
        task_memory=rng.integers(stores, size=len(hosts)).tolist(),
        order=rng.permutation(workload.names).tolist() if rng.random() < 0.5 else (),
    )


# --- one design at a time ---


class Reference:
    """FARSI's equations on one design, with loops and dictionaries."""

    def __init__(self, workload, design):
        self.load, self.tasks = workload, range(len(workload.names))
        self.at = {name: each[0] for name, each in vars(blocks_of(workload, [design])).items()}
        self.parents = {t: [(p, d) for p, c, d in workload.edges if c == t] for t in self.tasks}
        self.children = {t: [(c, d) for p, c, d in workload.edges if p == t] for t in self.tasks}
        self.carried, self.units, self.bus_bytes, self.hops = Counter(), Counter(), Counter(), {}
        for t in self.tasks:
            bursts = self.bursts(t)
            for p, d in self.parents[t]:
                self.carry(t, "read", self.at["memory"][p], d, int(d / bursts))
            for _, d in self.children[t]:
                self.carry(t, "write", self.at["memory"][t], d, int(d / bursts))

    def bursts(self, t):
        if not self.parents[t] or not self.children[t]:
            return 1
        bursts = min(d for _, d in self.parents[t]) // 1024
        least = min(self.load.work[t], *(d for _, d in self.children[t]))
        return bursts if 1 <= bursts <= least else 1

    def path(self, start, end):
        """Buses from one to another."""
        up = {bus: [bus] for bus in (start, end)}
        for line in up.values():
            while (parent := self.at["bus_parent"][line[-1]]) >= 0:
                line.append(parent)
        meet = next(bus for bus in up[start] if bus in up[end])
        there, back = (line[: line.index(meet)] for line in (up[start], up[end]))
        return [*there, meet, *reversed(back)]

    def carry(self, t, direction, memory, data, units):
        path = self.path(self.at["pe_bus"][t], self.at["memory_bus"][memory])
        for before, bus, after in zip([None, *path], path, [*path[1:], ("memory", memory)], strict=False):
            self.bus_bytes[t, direction, bus] += data
            self.units[t, direction, bus, after] += units
            self.carried[t, direction, bus, after] += data
            self.hops.setdefault((t, direction), {})[bus, after] = before

    def rate(self, t, running):
        """Instructions per second, and what bounds them."""
        if not self.load.work[t]:  # any rate: nothing is left
            return 1.0, "compute_s"
        bounds = {"compute_s": self.at["pe_rate"][t], "memory_s": np.inf, "bus_s": np.inf}
        for direction in ("read", "write"):
            for (bus, after), before in self.hops.get((t, direction), {}).items():
                others = [s for s in running if (bus, after) in self.hops.get((s, direction), {})]
                entries = [self.hops[s, direction][bus, after] for s in others]
                ways = entries.count(None) + len(set(entries) - {None})
                share = 1.0 if before is None else self.share(t, running, direction, before, bus)
                capacity = self.at["bus_rate"][bus] * share / ways
                limit = capacity * self.load.work[t] / self.bus_bytes[t, direction, bus]
                bounds["bus_s"] = min(bounds["bus_s"], limit)
                if isinstance(after, tuple):
                    capacity = self.at["memory_rate"][after[1]] * self.share(
                        t, running, direction, bus, after
                    )
                    limit = capacity * self.load.work[t] / self.carried[t, direction, bus, after]
                    bounds["memory_s"] = min(bounds["memory_s"], limit)
        rate = min(bounds.values())
        return rate, next(bound for bound, limit in bounds.items() if limit <= rate * (1 + 1e-9))

    def share(self, t, running, direction, bus, after):
        all_units = sum(self.units[s, direction, bus, after] for s in running)
        return self.units[t, direction, bus, after] / all_units

    def free(self, t, pending, held):
        pending.add(t)
        for p, _ in self.parents[t]:
            siblings = {c for c, _ in self.children[p]}
            if siblings <= pending:
                if self.load.work[p]:
                    held[self.at["memory"][p]] -= sum(d for _, d in self.children[p])
                pending -= siblings

    def run(self, literal=False):
        load, at = self.load, self.at
        left, running, waiting, done, pending = list(load.work), [], [], [], set()
        clock, held, peak, phases, spent = 0.0, Counter(), Counter(), [], Counter()
        while load.last not in done:
            for t in self.tasks:
                if t not in (*done, *running, *(w for _, w in waiting)) and all(
                    p in done for p, _ in self.parents[t]
                ):
                    waiting.append(((-len(phases), at["order"][t]), t))
                    if load.work[t] or not self.parents[t]:
                        held[at["memory"][t]] += sum(d for _, d in self.children[t])
            for memory in held:
                peak[memory] = max(peak[memory], held[memory])
            for each in sorted(waiting):
                if all(at["pe"][each[1]] != at["pe"][s] for s in running):
                    running.append(each[1])
                    waiting.remove(each)
            rates = {t: self.rate(t, running) for t in sorted(running)}
            first = min(rates, key=lambda t: left[t] / rates[t][0])
            dt = left[first] / rates[first][0]
            clock += dt
            spent[rates[first][1]] += dt
            moved, joules = Counter(), 0.0
            for t, (rate, _) in rates.items():
                left[t] -= rate * dt
                joules += rate * dt / at["pe_per_joule"][t]
                for (s, direction, _, after), data in self.carried.items():
                    if s == t and isinstance(after, tuple) and load.work[t]:
                        moved[after[1], direction] += data * rate * dt / load.work[t]
            phases.append((dt, joules, moved))
            ended = [t for t in rates if not load.work[t] or 1 - left[t] / load.work[t] >= 0.99]
            for t in ended:
                running.remove(t)
                done.append(t)
                self.free(t, pending, held)
        return self.columns(clock, peak, phases, spent, literal)

    def columns(self, clock, peak, phases, spent, literal):
        table = memories()
        used = {self.at["memory"][t] for t in self.tasks if self.children[t]}
        where = {m: (int(self.at["memory_dram"][m]), int(size_class(np.array(peak[m])))) for m in used}
        cost = {"read": table.read, "write": table.write}
        lengths = [dt for dt, _, _ in phases]
        energies = [
            joules + sum(each * cost[direction][where[m]] for (m, direction), each in moved.items())
            for _, joules, moved in phases
        ]
        area = sum(table.area_mm2[at] for at in where.values())
        return {
            "latency_s": clock,
            "energy_j": sum(energies),
            "power_w": power([0.0, *lengths], [0.0, *energies], literal),
            "area_mm2": self.at["pe_area_mm2"].sum() + area,
            "peak_bytes": sum(peak.values()),
            "memory_bytes": max(peak.values()),
            "phases": sum(dt > 0 for dt in lengths),
            **{bound: spent[bound] for bound in ("compute_s", "memory_s", "bus_s")},
        }


def power(lengths, energies, literal):
    """The largest mean power of windows of 10 ms."""
    starts, left, count = [0], 0.010, 0
    for n, dt in enumerate(lengths):
        count += dt > 0
        if dt > left:
            starts.append(count if literal else n + 1)
            left = 0.010
        else:
            left -= dt
    windows = [slice(a, b) for a, b in zip(starts, [*starts[1:], len(lengths)], strict=True)]
    return max(sum(energies[w]) / sum(lengths[w]) for w in windows if sum(lengths[w]))
