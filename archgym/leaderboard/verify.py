"""Verification: every entry of a leaderboard again.

    replayed          the agent is installed in the entry's version: each run was repeated, and its digests
                      are equal; or those of its designs, and each stored metric to 1e-9
    rows              it is not: the best row of every run, and a random share of the others (at least 5 a
                      run), were evaluated again, and are equal
                      or its replay goes another way, and the entry is from another processor: the last bits
                      of sums and logarithms differ between processors, and agents may choose by them
    not reproduced    a replay or a row differs: not ranked on that task and budget
    incomplete        seeds are missing: likewise
    refused           what no honest entry has (`archgym.leaderboard.check`): ranked nowhere

Rows show that designs have their metrics. They cannot show that the agent found them within the budget, on
these seeds and without a look at the optimum: only a replay does, and the page says which it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from archgym.leaderboard.check import Checked, check, evaluate_again
from archgym.leaderboard.entry import Cell, Entry, read_entries
from archgym.leaderboard.replay import Failed, Impossible, Replay, Replays, cannot_replay
from archgym.leaderboard.replay import replay as repeat
from archgym.leaderboard.rows import Rows
from archgym.leaderboard.submit import machine
from archgym.leaderboard.suite import Suite, SuiteTask
from archgym.progress import Progress, silent
from archgym.space import Indices
from archgym.task import AgentSpecification, Specification
from archgym.words import one_line

_REASON, _NAMED = 300, 3  # characters of a reason, and tasks that are named with it
LEAST_ROWS = 5  # of a run that are evaluated again
Answer = Replay | Impossible | Failed


class State(StrEnum):
    """What became of an entry's runs on a task at a budget."""

    REPLAYED = "replayed"
    ROWS = "rows"
    UNCHECKED = "not verified"
    INCOMPLETE = "incomplete"
    FAILED = "not reproduced"


@dataclass(frozen=True)
class Part:
    """An entry's runs on a task at a budget.

    Attributes:
        state: how they were verified.
        reason: why they were not replayed or not reproduced, or which seeds are missing; else "".
        best: best valid reward of each seed; None where no design was valid.
    """

    state: State
    reason: str = ""
    best: Mapping[int, float | None] = field(default_factory=dict)

    @property
    def ranked(self) -> bool:
        """Whether they count."""
        return self.state not in (State.INCOMPLETE, State.FAILED)


@dataclass(frozen=True)
class Verified:
    """An entry with what was found.

    Attributes:
        entry: the entry.
        problems: why it is refused; empty otherwise.
        parts: its runs by task and budget.
        superseded: folder of the entry that succeeds it, or None.
    """

    entry: Entry
    problems: tuple[str, ...]
    parts: Mapping[Cell, Part]
    superseded: str | None = None

    @property
    def state(self) -> str:
        """In one word: the weakest verification of its ranked parts, or "refused"."""
        if self.problems:
            return "refused"
        states = {part.state for part in self.parts.values()}
        order = (State.FAILED, State.UNCHECKED, State.ROWS, State.REPLAYED, State.INCOMPLETE)
        return next((str(state) for state in order if state in states), str(State.INCOMPLETE))

    def remarks(self, state: State) -> list[str]:
        """Tasks, budgets and reasons of the parts in a state, a sentence for those with one reason."""
        places: dict[tuple[int, str], list[str]] = {}
        for (task, budget), part in self.parts.items():
            if part.state == state:
                places.setdefault((budget, one_line(part.reason, _REASON)), []).append(task)
        named = {key: ", ".join(tasks) for key, tasks in places.items() if len(tasks) <= _NAMED}
        return [
            f"{named.get((budget, why), f'{len(tasks)} tasks')}, {budget:,} samples: {why}"
            for (budget, why), tasks in places.items()
        ]


def verify(
    folder: Path,
    suite: Suite,
    *,
    share: float = 0.1,
    seed: int = 0,
    evaluate: bool = True,
    again: bool = False,
    workers: int | None = None,
    executor: str = "local",
    cache: Path | None = None,
    progress: Progress = silent,
) -> tuple[list[Verified], dict[str, str]]:
    """Verify the entries of a suite.

    Args:
        folder: folder of a leaderboard.
        suite: the suite.
        share: share of the rows that are evaluated again where no replay is possible.
        seed: seed of their choice.
        evaluate: whether to repeat and evaluate anything.
        again: whether to repeat what was repeated here before.
        workers: runs that are repeated at once; None for the number of processors.
        executor: "local" or "inline".
        cache: folder of earlier replays; None for the user's data folder.
        progress: a function of (what is being done, the share that is done).

    Returns:
        The entries, by name, and why others cannot be read, by their folder's name.

    Raises:
        ArchGymError: the folder cannot be read.
    """
    entries, refused = read_entries(folder)
    entries = [entry for entry in entries if entry.content["suite"]["name"] == suite.name]
    checked = {}
    for done, entry in enumerate(entries):
        progress("reading entries", done / len(entries))
        checked[entry.folder] = check(entry, suite)
    for name, why in _duplicates(entries).items():
        checked[name].problems.append(why)
    answers: dict[tuple[str, Cell, int], Answer] = {}
    if evaluate:
        replays = Replays(cache, again)
        answers = _answers(entries, checked, suite, replays, workers, executor, progress)
    found = []
    for done, entry in enumerate(entries):
        progress("evaluating rows again", done / len(entries))
        problems = checked[entry.folder].problems
        parts: dict[Cell, Part] = {}
        if not problems:
            judge = _Judge(entry, checked[entry.folder], suite, answers if evaluate else None, share, seed)
            parts = judge.parts()
        found.append(Verified(entry, tuple(problems), parts))
    return sorted(_in_lines(found), key=lambda each: (each.entry.name, each.entry.content["date"])), refused


def _in_lines(found: Iterable[Verified]) -> list[Verified]:
    """Entries with their successors: of those that are not refused, the newest of a line counts."""
    lines: dict[tuple[str, str, str], list[Verified]] = {}
    for each in found:
        lines.setdefault(each.entry.line, []).append(each)
    done = []
    for line in lines.values():
        line.sort(key=lambda each: (bool(not each.problems), each.entry.content["date"], each.entry.folder))
        newest = line[-1].entry.folder
        done += [Verified(e.entry, e.problems, e.parts, newest) for e in line[:-1]] + line[-1:]
    return done


def _duplicates(entries: Iterable[Entry]) -> dict[str, str]:
    """Entries whose runs are all in an earlier entry of another line."""
    seen: list[tuple[Entry, set[tuple[Cell, int, str]]]] = []
    found = {}
    for entry in sorted(entries, key=lambda entry: (entry.content["date"], entry.folder)):
        runs = {(c, s, exact) for c, seeds in entry.digests.items() for s, (exact, _) in seeds.items()}
        for earlier, theirs in seen:
            if runs and runs <= theirs and earlier.line != entry.line:
                found[entry.folder] = f"all its runs are those of the earlier entry {earlier.folder}"
        seen.append((entry, runs))
    return found


def _answers(
    entries: Iterable[Entry],
    checked: Mapping[str, Checked],
    suite: Suite,
    replays: Replays,
    workers: int | None,
    executor: str,
    progress: Progress,
) -> dict[tuple[str, Cell, int], Answer]:
    """What replays say of each run, from before or from now."""
    answers: dict[tuple[str, Cell, int], Answer] = {}
    wanted: dict[str, list[tuple[str, Cell, int]]] = {}
    todo: dict[str, tuple[SuiteTask, Specification]] = {}
    for entry in entries:
        for cell, seeds in checked[entry.folder].rows.items():
            if checked[entry.folder].problems or cell in checked[entry.folder].missing:
                continue
            agent = agent_of(entry, cell[1])
            obstacle = cannot_replay(agent)
            for seed in seeds:
                place = (entry.folder, cell, seed)
                if obstacle is not None:
                    answers[place] = obstacle
                    continue
                run = specification(entry, suite, cell, seed)
                key = replays.key(run)
                if (known := replays[key]) is not None:
                    answers[place] = known
                else:
                    wanted.setdefault(key, []).append(place)
                    todo[key] = (suite.tasks[cell[0]], run)
    if not todo:
        return answers
    keys = {id(run): key for key, (_, run) in todo.items()}
    again = repeat(todo.values(), timeout_s=suite.timeout_s, workers=workers, executor=executor)
    for done, (task, run, rows) in enumerate(again):
        progress(f"replaying {run.agent.name} on {task.label}", done / len(todo))
        key = keys[id(run)]
        answer: Answer = Replay.of(task, rows) if isinstance(rows, Rows) else rows
        if isinstance(answer, Replay):
            replays.add(key, answer)
        for place in wanted[key]:
            answers[place] = answer
    return answers


def agent_of(entry: Entry, budget: int) -> AgentSpecification:
    """The agent of an entry at a budget."""
    agent = entry.agent
    return AgentSpecification(
        str(agent["name"]), entry.configuration(budget)["hyperparameters"], agent["version"]
    )


def specification(entry: Entry, suite: Suite, cell: Cell, seed: int) -> Specification:
    """The run that an entry claims: the task, budget and seed are the suite's."""
    width = entry.configuration(cell[1])["num_envs"]
    return Specification(suite.tasks[cell[0]].env, agent_of(entry, cell[1]), cell[1], seed, width)


@dataclass
class _Judge:
    """Verdicts on the parts of an entry."""

    entry: Entry
    checked: Checked
    suite: Suite
    answers: Mapping[tuple[str, Cell, int], Answer] | None
    share: float
    seed: int

    def parts(self) -> dict[Cell, Part]:
        """The verdict on each task and budget of the suite."""
        cells = [(label, budget) for label in self.suite.tasks for budget in self.suite.budgets]
        return {cell: self._part(cell) for cell in cells}

    def _part(self, cell: Cell) -> Part:
        runs = self.checked.rows.get(cell, {})
        if cell in self.checked.missing:
            seeds = self.checked.missing[cell]
            lacking = (
                "all seeds" if not runs else f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
            )
            return Part(State.INCOMPLETE, f"{lacking} missing")
        best = {
            seed: None if rows.best is None else float(rows.reward[rows.best]) for seed, rows in runs.items()
        }
        if self.answers is None:
            return Part(State.UNCHECKED, "nothing was evaluated", best)
        states, reasons = set(), []
        for seed in sorted(runs):
            state, reason = self._run(cell, seed, runs[seed])
            states.add(state)
            if reason and reason not in reasons:
                reasons.append(reason)
            if state == State.FAILED:
                return Part(State.FAILED, f"seed {seed}: {reason}", best)
        return Part(State.ROWS if State.ROWS in states else State.REPLAYED, "; ".join(reasons[:3]), best)

    def _run(self, cell: Cell, seed: int, rows: Rows) -> tuple[State, str]:
        assert self.answers is not None
        answer = self.answers[self.entry.folder, cell, seed]
        if isinstance(answer, Failed):
            return State.FAILED, answer.reason
        if isinstance(answer, Replay):
            return self._replayed(cell, seed, rows, answer)
        if rows.samples < cell[1]:
            return State.FAILED, f"{rows.samples:,} of {cell[1]:,} samples, which only a replay could confirm"
        difference = evaluate_again(self.suite.tasks[cell[0]], rows, self._chosen(cell, seed, rows))
        return (State.ROWS, answer.reason) if difference is None else (State.FAILED, difference)

    def _replayed(self, cell: Cell, seed: int, rows: Rows, answer: Replay) -> tuple[State, str]:
        """The verdict on a run beside its replay."""
        task = self.suite.tasks[cell[0]]
        claimed = self.entry.digests[cell][seed]
        kept = Replay.of(task, rows).improvements
        if kept != answer.improvements or rows.samples != answer.samples:
            pairs = zip(kept, answer.improvements, strict=False)
            same = sum(1 for _ in _while_equal(pairs))
            if same and rows.samples == answer.samples and self._is_of_another_processor:
                return self._elsewhere(task, rows)
            here, there = ((*each[same : same + 1], [None])[0][0] for each in (answer.improvements, kept))
            return State.FAILED, f"the replay improves at sample {here} where the entry does at {there}"
        if answer.designs != claimed[1]:
            if self._is_of_another_processor:
                return self._elsewhere(task, rows)
            return State.FAILED, "the replay has other designs than those of its SHA-256"
        difference = evaluate_again(task, rows, np.arange(len(rows.sample)))
        if difference is not None:
            return State.FAILED, difference
        return State.REPLAYED, "" if answer.exact == claimed[0] else "metrics differ in their last bits here"

    @property
    def _is_of_another_processor(self) -> bool:
        here, there = machine(), self.entry.content["machine"]
        return any(here[name] != there[name] for name in ("processor", "system"))

    def _elsewhere(self, task: SuiteTask, rows: Rows) -> tuple[State, str]:
        """The verdict on a run from another processor whose replay goes another way: that on an agent that is
        not installed, with all its rows.
        """
        difference = evaluate_again(task, rows, np.arange(len(rows.sample)))
        if difference is not None:
            return State.FAILED, difference
        return State.ROWS, "its replay goes another way on this processor than on the entry's"

    def _chosen(self, cell: Cell, seed: int, rows: Rows) -> Indices:
        """The best row, the last one, and a random share of the others: positions, increasing."""
        text = f"{self.seed} {self.entry.folder} {cell} {seed}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
        n = len(rows.sample)
        if not rows.complete:  # improvements alone, on which more rests
            return np.arange(n)
        count = min(n, max(LEAST_ROWS, round(self.share * n)))
        always = [n - 1] if rows.best is None else [rows.best, n - 1]
        return np.union1d(rng.choice(n, count, replace=False), always)


def _while_equal(pairs: Iterable[tuple[object, object]]) -> Iterable[object]:
    for a, b in pairs:
        if a != b:
            return
        yield a
