"""Workloads of a system on chip: a task graph, the processing elements that run its tasks, and budgets.

A workload is a JSON file, or a folder with tasks.csv, edges.csv, library.csv and budgets.csv. Both have the
same four tables; a column with a default may be absent, and its cell blank.

    tasks    name    name of a task, each once
             work    instructions; 0 for a task that only passes data on
             group   name that tasks with one host parameter share; default: the task's own name
    edges    parent  task that writes the data
             child   task that reads them, when all its parents have completed
             bytes   bytes, at least 1
    library  task        task that an accelerator runs, or * for the CPU, which runs any task
             seconds     duration at unroll 1 and 100 MHz, its data at hand; for *, of one instruction
             energy_j    energy at unroll 1 in J; for *, of one instruction
             area_mm2    area at unroll 1 in mm2
             iterations  largest unroll of an accelerator; default 1
    budgets  latency_s, power_w, area_mm2   one row

The graph has no cycle, and exactly one task without parents and one without children, the source and the
sink: tasks without work, which stand for the input in memory and for the end. A JSON file is an object with
"format": "archgym-soc/1", "source" (where the figures are from), and these tables: a list of objects each,
and for budgets one object.

An accelerator with unroll u at f MHz takes seconds / (u f / 100), u x energy_j and u x area_mm2: unrolling
costs area and energy, a faster clock neither. Unrolls are powers of two up to 2^15, and the number of
iterations.

Source: Boroujerdian et al., "FARSI: An Early-stage Design Space Exploration Framework to Tame the
Domain-specific System-on-chip Complexity", ACM TECS 2023, and its code (facebookresearch/Project_FARSI).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.space import Array

FORMAT = "archgym-soc/1"
FOLDER = Path(__file__).parent / "workloads"
CPU = "*"  # the library's row of the CPU
BUDGETS = ("latency_s", "power_w", "area_mm2")
POWERS = 16  # unrolls 1, 2, ..., 2^15
MOST_BYTES = 16 << 20  # of a file
# columns, those that have a default last
COLUMNS = {
    "tasks": (("name", "work"), ("group",)),
    "edges": (("parent", "child", "bytes"), ()),
    "library": (("task", "seconds", "energy_j", "area_mm2"), ("iterations",)),
    "budgets": (BUDGETS, ()),
}


@dataclass(frozen=True)
class Cpu:
    """A processor that runs any task.

    Attributes:
        rate: instructions per second.
        per_joule: instructions per joule.
        area_mm2: area in mm2.
    """

    rate: float
    per_joule: float
    area_mm2: float


@dataclass(frozen=True)
class Accelerators:
    """One accelerator for each task, at unroll 1 and 100 MHz; all 0 where a task has none.

    Attributes:
        rate: instructions per second, [tasks].
        joules_per_instruction: energy in J, [tasks].
        area_mm2: area in mm2, [tasks].
        iterations: largest unroll, [tasks].
    """

    rate: Array
    joules_per_instruction: Array
    area_mm2: Array
    iterations: Array


@dataclass(frozen=True, eq=False)
class Workload:
    """A task graph, the processing elements for its tasks, and budgets.

    Attributes:
        name: name of the workload.
        source: where its figures are from.
        names: tasks.
        work: instructions of each task, [tasks].
        groups: group of each task.
        parents, children: tasks at both ends of each edge, [edges].
        data: bytes of each edge, [edges].
        cpu: the processor.
        accelerators: an accelerator for each task.
        budgets: latency_s, power_w and area_mm2.
    """

    name: str
    source: str
    names: tuple[str, ...]
    work: Array
    groups: tuple[str, ...]
    parents: Array
    children: Array
    data: Array
    cpu: Cpu
    accelerators: Accelerators
    budgets: Mapping[str, float]

    @property
    def edges(self) -> list[tuple[int, int, float]]:
        """Parent, child and bytes of each edge."""
        return list(zip(self.parents.tolist(), self.children.tolist(), self.data.tolist(), strict=True))

    @property
    def root(self) -> int:
        """The source, a task without parents."""
        return next(t for t in range(len(self.names)) if t not in self.children)

    @property
    def last(self) -> int:
        """The sink, a task without children, whose completion is the latency."""
        return next(t for t in range(len(self.names)) if t not in self.parents)

    @cached_property
    def levels(self) -> Array:
        """Edges on the longest path from the source, [tasks]."""
        before = {t: self.parents[self.children == t].tolist() for t in range(len(self.names))}
        levels = np.zeros(len(self.names), np.int64)
        for task in TopologicalSorter(before).static_order():
            levels[task] = max((levels[p] + 1 for p in before[task]), default=0)
        return levels

    def unrolls(self, task: int) -> list[int]:
        """The unrolls of a task's accelerator; empty where it has none."""
        most = int(self.accelerators.iterations[task])
        return [u for u in (1 << k for k in range(POWERS)) if u < most] + [most] * (most > 0)


def list_workloads() -> list[str]:
    """Names of the workloads that come with archgym."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_workload(source: str | Path) -> Workload:
    """A workload of archgym's by its name, or one from a JSON file or a folder of CSV files.

    Args:
        source: name or path.

    Raises:
        ArchGymError: an unknown name, or a file that is not a workload.
    """
    if str(source) in list_workloads():
        path = FOLDER / f"{source}.json"
    else:
        path = Path(source).expanduser()
        if not path.exists():
            known = ", ".join(list_workloads())
            raise ArchGymError(
                f"expected a workload ({known}), a JSON file or a folder with "
                f"{', '.join(f'{table}.csv' for table in COLUMNS)}, got {str(source)!r}"
            )
    tables = _read_folder(path) if path.is_dir() else _read_json(path)
    try:
        return _workload(path.stem, tables)
    except ArchGymError as error:
        raise ArchGymError(f"{path} is not a workload: {error}") from None


# --- reading ---


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path, "a workload"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise ArchGymError(f'expected "format": "{FORMAT}", got {found!r}; write it in that form')
        if isinstance(content.get("budgets"), dict):
            content["budgets"] = [content["budgets"]]
    return content


def _read_folder(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {"source": str(path)}
    for table in COLUMNS:
        file = path / f"{table}.csv"
        with reading(file, f"a table of {table}"):
            if file.stat().st_size > MOST_BYTES:
                raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
            with file.open(newline="", encoding="utf-8-sig") as lines:
                content[table] = list(csv.DictReader(lines))
    return content


def _rows(tables: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    """Rows of a table, blank cells left out, after a check of its columns."""
    rows = tables.get(table)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ArchGymError(f"expected {table!r} as a table, got {type(rows).__name__}")
    needed, others = COLUMNS[table]
    kept = []
    for number, row in enumerate(rows, start=1):
        row = {k: v for k, v in row.items() if v is not None and v != ""}
        if missing := [column for column in needed if column not in row]:
            raise ArchGymError(f"row {number} of {table} has no {missing[0]!r}; give it a value")
        for column in row:
            if column not in (*needed, *others):
                raise unknown(f"column of {table}", column, (*needed, *others))
        kept.append(row)
    return kept


def _number(what: str, value: Any, least: float, *, above: bool = False) -> float:
    """A finite number from a cell, at least (or above) `least`."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < least or (above and number == least):
        raise ArchGymError(f"expected {what} as a number {'>' if above else '>='} {least:g}, got {value!r}")
    return number


# --- building ---


def _workload(name: str, tables: Mapping[str, Any]) -> Workload:
    """A workload from its tables."""
    tasks = _rows(tables, "tasks")
    names = [str(row["name"]) for row in tasks]
    for task in names:
        if names.count(task) > 1 or task == CPU:
            raise ArchGymError(f"expected each task once, none named {CPU}, got {task!r}; rename it")
    work = np.array([_number(f"work of {row['name']}", row["work"], 0) for row in tasks])
    edges = _edges(_rows(tables, "edges"), names)
    _check_graph(names, work, edges)
    cpu, accelerators = _library(_rows(tables, "library"), names, work)
    budgets = _rows(tables, "budgets")
    if len(budgets) != 1:
        raise ArchGymError(f"expected one row of budgets, got {len(budgets)}")
    return Workload(
        name=name,
        source=str(tables.get("source", "")),
        names=tuple(names),
        work=work,
        groups=tuple(str(row.get("group", row["name"])) for row in tasks),
        parents=np.array([p for p, _ in edges]),
        children=np.array([c for _, c in edges]),
        data=np.array(list(edges.values())),
        cpu=cpu,
        accelerators=accelerators,
        budgets={b: _number(f"budget {b}", budgets[0][b], 0, above=True) for b in BUDGETS},
    )


def _edges(rows: Sequence[Mapping[str, Any]], names: list[str]) -> dict[tuple[int, int], float]:
    """Parent and child of each edge -> bytes."""
    edges: dict[tuple[int, int], float] = {}
    for row in rows:
        for end in ("parent", "child"):
            if row[end] not in names:
                raise unknown("task of an edge", row[end], names)
        edge = names.index(row["parent"]), names.index(row["child"])
        where = f"{row['parent']} -> {row['child']}"
        if edge in edges:
            raise ArchGymError(f"expected each edge once, got {where} twice; add up its bytes")
        edges[edge] = _number(f"bytes of {where}", row["bytes"], 1)
    return edges


def _check_graph(names: list[str], work: Array, edges: Mapping[tuple[int, int], float]) -> None:
    """Refuse a cycle, and more than one source or sink, or one with work."""
    before: dict[int, list[int]] = {t: [p for p, c in edges if c == t] for t in range(len(names))}
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        cycle = " -> ".join(names[t] for t in error.args[1])
        raise ArchGymError(f"expected a graph without cycles, got {cycle}; remove an edge") from None
    for end, kind, near in ((1, "source", "parents"), (0, "sink", "children")):
        alone = [t for t in range(len(names)) if all(edge[end] != t for edge in edges)]
        if len(alone) != 1 or work[alone[0]] > 0:
            found = ", ".join(names[t] for t in alone) or "none"
            raise ArchGymError(
                f"expected one task without {near}, its work 0, got {found}; add a {kind} and edges "
                f"{'from' if end else 'to'} it"
            )


def _library(rows: Sequence[Mapping[str, Any]], names: list[str], work: Array) -> tuple[Cpu, Accelerators]:
    """The CPU, and an accelerator for each task."""
    cpu = None
    found = np.zeros((4, len(names)))
    for row in rows:
        task = row["task"]
        seconds, joules, area = (
            _number(f"{column} of {task}", row[column], 0, above=True)
            for column in ("seconds", "energy_j", "area_mm2")
        )
        if task == CPU:
            if cpu is not None:
                raise ArchGymError(f"expected one CPU (task {CPU}), got two; keep one")
            cpu = Cpu(1 / seconds, 1 / joules, area)
            continue
        if task not in names:
            raise unknown("task of the library", task, names)
        t = names.index(task)
        if found[0, t] or not work[t]:
            raise ArchGymError(f"expected one accelerator for a task with work, got another for {task}")
        iterations = _number(f"iterations of {task}", row.get("iterations", 1), 1)
        if iterations % 1:
            raise ArchGymError(f"expected iterations of {task} as a whole number, got {iterations:g}")
        found[:, t] = work[t] / seconds, joules / work[t], area, iterations
    if cpu is None:
        bare = [
            name
            for name, rate in sorted(
                zip(names, found[0], strict=True), key=lambda x: work[names.index(x[0])] == 0
            )
            if not rate
        ]
        raise ArchGymError(
            f"no processing element runs task {bare[0]}; give the library a row for it, or a CPU (task {CPU})"
        )
    return cpu, Accelerators(found[0], found[1], found[2], found[3].astype(np.int64))
