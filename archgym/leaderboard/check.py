"""What an entry must keep before anything is evaluated, and the evaluation of its rows again.

    entry.json        its suite, tasks, budgets and seeds are the suite's; every run has rows, once
    rows              no more than the budget; in order; designs canonical; rewards and validity follow from
                      the metrics by the task's objective; digests of complete runs are those claimed

Numbers agree where they differ by at most 1e-9, relative or absolute in a reward: the last bits of a metric
differ between processors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.paths import kind_of
from archgym.leaderboard.entry import Cell, Entry
from archgym.leaderboard.rows import Rows
from archgym.leaderboard.suite import Suite, SuiteTask
from archgym.simulator import Outcome
from archgym.space import Array, Indices
from archgym.words import one_line

TOLERANCE = 1e-9
_CHUNK = 4096


@dataclass
class Checked:
    """An entry's rows, and what is wrong with it.

    Attributes:
        problems: faults in words; an entry with any is not ranked.
        rows: rows by task and budget, then seed.
        missing: seeds without a run, by task and budget.
    """

    problems: list[str] = field(default_factory=list)
    rows: dict[Cell, dict[int, Rows]] = field(default_factory=dict)
    missing: dict[Cell, list[int]] = field(default_factory=dict)


def check(entry: Entry, suite: Suite) -> Checked:
    """Read an entry's rows and check them without evaluating a design."""
    found = Checked()
    if entry.content["suite"] != {"name": suite.name, "digest": suite.digest}:
        found.problems.append(f"it is of another {suite.name}, with other tasks, budgets or seeds")
        return found
    found.problems += _strangers(entry, suite)
    for label, task in suite.tasks.items():
        if any(cell[0] == label for cell in entry.digests):
            try:
                found.problems += _read(entry, suite, task, found)
            except ArchGymError as error:
                found.problems.append(str(error))
        for budget in suite.budgets:
            seeds = found.rows.get((label, budget), {})
            if lacking := [seed for seed in suite.seeds if seed not in seeds]:
                found.missing[label, budget] = lacking
    return found


def _strangers(entry: Entry, suite: Suite) -> Iterator[str]:
    """Runs and files that are not of the suite."""
    for (label, budget), seeds in entry.digests.items():
        where = f"{one_line(label, 60)!r}, {budget:,} samples"
        if label not in suite.tasks or budget not in suite.budgets:
            yield f"{where} is not in {suite.name}"
        elif strange := sorted(seeds.keys() - {*suite.seeds}):
            yield f"{where}: seeds {strange[:5]} are not in {suite.name}"
    ours = {task.file for task in suite.tasks.values()}
    assert entry.path is not None
    for place, known in ((entry.path, {"entry.json", "rows"}), (entry.path / "rows", ours)):
        if kind_of(place) != "a folder":
            yield f"expected a folder, got another file: {place.name}"
            continue
        for name in sorted({*os.listdir(place)} - known):
            yield f"{one_line(name, 60)!r} is not one of its files"


def _read(entry: Entry, suite: Suite, task: SuiteTask, found: Checked) -> Iterator[str]:
    """Read the rows of a task into `found`: what is wrong with them."""
    full = entry.content["rows"] == "full"
    for budget, seed, rows in entry.rows(task):
        where = f"{task.label!r}, {budget:,} samples, seed {seed}"
        cell = (task.label, budget)
        digests = entry.digests.get(cell, {}).get(seed)
        runs = found.rows.setdefault(cell, {})
        if digests is None or budget not in suite.budgets or seed not in suite.seeds:
            yield f"{where}: rows of a run that entry.json does not have"
        elif seed in runs:
            yield f"{where}: a run twice"
        else:
            runs[seed] = rows
            yield from (f"{where}: {reason}" for reason in _wrong(task, budget, rows, full, digests))
    for cell, seeds in entry.digests.items():
        if cell[0] == task.label and (gone := sorted(seeds.keys() - found.rows.get(cell, {}).keys())):
            yield f"{task.label!r}, {cell[1]:,} samples: no rows of seeds {gone[:5]}"


def _wrong(task: SuiteTask, budget: int, rows: Rows, full: bool, digests: tuple[str, str]) -> Iterator[str]:
    """What is wrong with the rows of a run."""
    if rows.samples > budget:
        yield f"{rows.samples:,} samples, more than the budget"
    if full and not rows.complete:
        yield f"{len(rows.sample):,} of {rows.samples:,} rows"
    elif full and rows.digests(task) != digests:
        yield "its rows are not those of the SHA-256 in entry.json"
    if not full and len(rows.improvements) != len(rows.sample):
        yield "rows that are neither improvements nor the last one"
    if (task.space.canonical(rows.indices) != rows.indices).any():
        yield "a design in another form than the space's"
    objective = task.evaluator.objective
    if {*objective.metrics} <= {*task.metrics}:
        outcome = Outcome(rows.values.copy(), rows.feasible.copy())
        rewards = objective.judge(outcome, task.metrics)
        wrong = ~_near(rewards.reward, rows.reward, absolute=True) | (rewards.valid != rows.valid)
        if wrong.any():
            at = int(np.argmax(wrong))
            yield (
                f"sample {rows.sample[at]}: reward {rows.reward[at]:.6g} does not follow from its metrics "
                f"({rewards.reward[at]:.6g})"
            )


def evaluate_again(task: SuiteTask, rows: Rows, positions: Indices) -> str | None:
    """Evaluate rows again: None where all are equal, else the first difference.

    Args:
        task: their task.
        rows: rows of a run.
        positions: the rows to evaluate, positions here.
    """
    for start in range(0, len(positions), _CHUNK):
        chosen = rows.take(positions[start : start + _CHUNK])
        found = task.evaluator.score(chosen.indices)
        values = np.stack([found["metrics"][name] for name in task.metrics], axis=1)
        values[~found["feasible"]] = np.nan
        numbers = _near(values, chosen.values)
        wrong = (
            (found["feasible"] != chosen.feasible)
            | (found["valid"] != chosen.valid)
            | ~_near(found["reward"], chosen.reward, absolute=True)
            | ~numbers.all(axis=1)
        )
        if wrong.any():
            at = int(np.argmax(wrong))
            if found["feasible"][at] == chosen.feasible[at] and not numbers[at].all():
                column = int(np.argmin(numbers[at]))
                name, here, there = task.metrics[column], values[at, column], chosen.values[at, column]
            else:
                name, here, there = "reward", found["reward"][at], chosen.reward[at]
            return f"sample {chosen.sample[at]}: {name} is {here:.9g} here, {there:.9g} in the entry"
    return None


def _near(a: Array, b: Array, absolute: bool = False) -> Array:
    """Where numbers agree, NaN with NaN."""
    return np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE if absolute else 0.0, equal_nan=True)
