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
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
        return _workload(path.name if path.is_dir() else path.stem, tables)
    except ArchGymError as error:
        raise ArchGymError(f"{path} is not a workload: {error}") from None


# --- reading ---


def _read_json(path: Path) -> dict[str, Any]:
    with reading(path, "a workload"):
        _check_size(path)
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ArchGymError(f'expected an object with "format": "{FORMAT}", got {found!r}; convert it')
        if isinstance(content.get("budgets"), dict):
            content["budgets"] = [content["budgets"]]
    return dict(content)


def _read_folder(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {"source": str(path)}
    for table in COLUMNS:
        file = path / f"{table}.csv"
        with reading(file, f"a table of {table}"):
            _check_size(file)
            with file.open(newline="", encoding="utf-8-sig") as lines:
                content[table] = list(csv.DictReader(lines))
    return content


def _check_size(path: Path) -> None:
    if path.stat().st_size > MOST_BYTES:
        raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")


def _rows(tables: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    """Rows of a table without blank cells, their columns checked."""
    rows = tables.get(table)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ArchGymError(f"expected {table!r} as a table with rows, got {reprlib.repr(rows)}")
    needed, optional = COLUMNS[table]
    kept = []
    for number, row in enumerate(rows, start=1):
        cells = {
            column: value.strip() if isinstance(value, str) else value
            for column, value in row.items()
            if value is not None and value != ""
        }
        if None in cells:  # where csv puts what is left over
            raise ArchGymError(f"row {number} of {table} has more cells than columns; quote its commas")
        for column in cells:
            if column not in (*needed, *optional):
                raise unknown(f"column of {table}", column, (*needed, *optional))
        if missing := [column for column in needed if column not in cells]:
            raise ArchGymError(f"row {number} of {table} has no {missing[0]}; give it a value")
        kept.append(cells)
    return kept


def _number(what: str, value: Any, least: float = 0.0, *, above: bool = False) -> float:
    """A finite number from a cell, at least (or above) `least`."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < least or (above and number == least):
        raise ArchGymError(f"expected {what} as a number {'>' if above else '>='} {least:g}, got {value!r}")
    return number


# --- building ---


def _workload(name: str, tables: Mapping[str, Any]) -> Workload:
    """A workload from its tables."""
    tasks = _rows(tables, "tasks")
    names = [str(row["name"]) for row in tasks]
    for task, times in Counter(names).items():
        if times > 1 or task == CPU:
            raise ArchGymError(f"expected each task once and none named {CPU}, got {task!r}; rename it")
    work = np.array([_number(f"work of task {row['name']}", row["work"]) for row in tasks])
    if not work.any():
        raise ArchGymError("expected a task with work, got none")
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
        parents=np.array([parent for parent, _ in edges]),
        children=np.array([child for _, child in edges]),
        data=np.array(list(edges.values())),
        cpu=cpu,
        accelerators=accelerators,
        budgets={each: _number(f"budget {each}", budgets[0][each], above=True) for each in BUDGETS},
    )


def _edges(rows: Sequence[Mapping[str, Any]], names: list[str]) -> dict[tuple[int, int], float]:
    """Parent and child of each edge -> bytes."""
    position = {name: task for task, name in enumerate(names)}
    edges: dict[tuple[int, int], float] = {}
    for row in rows:
        parent, child = str(row["parent"]), str(row["child"])
        for task in (parent, child):
            if task not in position:
                raise unknown("task of an edge", task, names)
        edge = position[parent], position[child]
        if edge in edges:
            raise ArchGymError(f"expected each edge once, got {parent} -> {child} twice; add up its bytes")
        edges[edge] = _number(f"bytes of {parent} -> {child}", row["bytes"], 1)
    return edges


def _check_graph(names: list[str], work: Array, edges: Iterable[tuple[int, int]]) -> None:
    """Refuse a cycle, several sources or sinks, and those with work."""
    before: dict[int, list[int]] = {task: [] for task in range(len(names))}
    for parent, child in edges:
        before[child].append(parent)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        cycle = " -> ".join(names[task] for task in error.args[1])
        raise ArchGymError(f"expected a graph without cycles, got {cycle}; remove an edge") from None
    roots = [task for task, parents in before.items() if not parents]
    ends = sorted(set(before).difference(*before.values()))
    for found, near, remedy in (
        (roots, "parents", "source with edges to"),
        (ends, "children", "sink with edges from"),
    ):
        if len(found) != 1 or work[found[0]] > 0:
            raise ArchGymError(
                f"expected one task without {near}, of work 0, got {', '.join(names[t] for t in found)}; "
                f"add a {remedy} these"
            )


def _library(rows: Sequence[Mapping[str, Any]], names: list[str], work: Array) -> tuple[Cpu, Accelerators]:
    """The CPU, and an accelerator for each task."""
    cpu = None
    found: dict[int, tuple[float, float, float, int]] = {}
    for row in rows:
        task = str(row["task"])
        seconds, joules, area = (
            _number(f"{column} of {task}", row[column], above=True)
            for column in ("seconds", "energy_j", "area_mm2")
        )
        iterations = _number(f"iterations of {task}", row.get("iterations", 1), 1)
        if iterations % 1:
            raise ArchGymError(f"expected iterations of {task} as a whole number, got {iterations:g}")
        if task == CPU:
            if cpu is not None:
                raise ArchGymError(f"expected one CPU (task {CPU}), got two; keep one")
            cpu = Cpu(1 / seconds, 1 / joules, area)
            continue
        if task not in names:
            raise unknown("task of the library", task, (CPU, *names))
        t = names.index(task)
        if t in found or not work[t]:
            wrong = "two" if t in found else "one for a task of work 0"
            raise ArchGymError(f"expected one accelerator per task with work, got {wrong} ({task}); keep one")
        found[t] = work[t] / seconds, joules / work[t], area, int(iterations)
    if cpu is None:
        bare = sorted((t for t in range(len(names)) if t not in found), key=lambda t: work[t] == 0)
        raise ArchGymError(
            f"expected a processing element for each task, got none for {names[bare[0]]}; "
            f"add a row to the library, or a CPU (task {CPU})"
        )
    rate, per_instruction, area_mm2, most = np.array(
        [found.get(t, (0, 0, 0, 0)) for t in range(len(names))]
    ).T
    return cpu, Accelerators(rate, per_instruction, area_mm2, most.astype(np.int64))
