"""Scores of verified entries: regrets, their intervals, and groups that differ.

    regret = reward of the optimum - best valid reward        (of runs without a valid design: the largest on
                                                               the task, or that of the average design)
    normalised regret = regret / (reward of the optimum - mean reward of random valid designs)
    mean over seeds with Student's t interval; overall, the mean over tasks of normalised regret

The optimum is exact where it is known, else the best reward of all verified runs. 2,000 designs drawn with
seed 0 are the random ones. A pair differs by Welch's t after Holm's correction over all pairs of a task and
budget, unless they are equivalent within 1 % of the average design's regret (`archgym.lottery.statistics`).
Entries that share a letter are not shown to differ: groups are the largest sets without a difference (Piepho
2004).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archgym.leaderboard.entry import Cell
from archgym.leaderboard.suite import Suite, SuiteTask
from archgym.leaderboard.verify import Verified
from archgym.lottery import statistics
from archgym.lottery.statistics import Estimate, PairVerdict
from archgym.optimum import known_optimum
from archgym.space import Array
from archgym.words import one_line

MARGIN = 0.01
_RANDOM = 2000


@dataclass(frozen=True)
class Scale:
    """The rewards that regrets on a task are relative to.

    Attributes:
        best: reward of the optimum, or the best that is known.
        exact: whether it is the optimum's.
        average: mean reward of random valid designs.
    """

    best: float
    exact: bool
    average: float

    @property
    def width(self) -> float:
        """Regret of the average design."""
        return max(self.best - self.average, 1e-12)


@dataclass(frozen=True)
class Score:
    """An entry's regret on a task, or over all.

    Attributes:
        folder: the entry.
        regrets: regret of each seed (or mean on each task), float64 [S].
        mean: with error and freedom.
        failed: seeds without a valid design.
        groups: letters of its groups.
    """

    folder: str
    regrets: Array
    mean: Estimate
    failed: int = 0
    groups: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, cut at 0."""
        low, high = self.mean.interval()
        return max(float(low), 0.0), float(high)


@dataclass(frozen=True)
class Scores:
    """Scores of a suite.

    Attributes:
        scales: label of each task -> its scale.
        tasks: task and budget -> scores, best first.
        overall: budget -> normalised scores of the entries that are ranked on all tasks, best first.
    """

    scales: Mapping[str, Scale]
    tasks: Mapping[Cell, Sequence[Score]]
    overall: Mapping[int, Sequence[Score]]


def score(suite: Suite, verified: Sequence[Verified]) -> Scores:
    """Scores of the entries that count."""
    current = [each for each in verified if not each.problems and each.superseded is None]
    scales = {label: _scale(task, label, current) for label, task in suite.tasks.items()}
    tasks = {
        (label, budget): _on_task((label, budget), scales[label], current)
        for label in suite.tasks
        for budget in suite.budgets
    }
    overall = {budget: _overall(suite, budget, scales, tasks) for budget in suite.budgets}
    return Scores(scales, tasks, overall)


def _scale(task: SuiteTask, label: str, current: Sequence[Verified]) -> Scale:
    evaluator = task.evaluator
    found = known_optimum(evaluator.simulator, evaluator.objective)
    drawn = evaluator.score(task.space.sample(_RANDOM, np.random.default_rng(0)))
    average = float(drawn["reward"][drawn["valid"]].mean()) if drawn["valid"].any() else np.nan
    if found is not None and found.best_reward is not None:
        return Scale(found.best_reward, True, average)
    parts = (
        part for each in current for cell, part in each.parts.items() if cell[0] == label and part.ranked
    )
    seen = [reward for part in parts for reward in part.best.values() if reward is not None]
    return Scale(max(seen, default=average), False, average)


def _on_task(cell: Cell, scale: Scale, current: Sequence[Verified]) -> list[Score]:
    """Scores on a task at a budget, best first."""
    ranked = {e.entry.folder: e.parts[cell].best for e in current if e.parts[cell].ranked}
    found = {
        folder: np.array([np.nan if r is None else scale.best - r for _, r in sorted(best.items())])
        for folder, best in ranked.items()
    }
    worst = max([scale.width, *(float(np.nanmax(r)) for r in found.values() if not np.isnan(r).all())])
    scores = []
    for folder, regrets in found.items():
        lacking = np.isnan(regrets)
        regrets = np.maximum(np.where(lacking, worst, regrets), 0.0)
        scores.append(Score(folder, regrets, statistics.mean_of_runs(regrets), int(lacking.sum())))
    return _grouped(scores, MARGIN * scale.width)


def _overall(
    suite: Suite, budget: int, scales: Mapping[str, Scale], tasks: Mapping[Cell, Sequence[Score]]
) -> list[Score]:
    """Mean normalised regret of the entries that are ranked on every task, best first."""
    parts: dict[str, list[tuple[Score, float]]] = {}
    for label in suite.tasks:
        for each in tasks[label, budget]:
            parts.setdefault(each.folder, []).append((each, scales[label].width))
    scores = []
    for folder, found in parts.items():
        if len(found) == len(suite.tasks):
            estimate = Estimate(
                *(
                    np.array(column)
                    for column in zip(
                        *((s.mean.value / w, s.mean.error / w, s.mean.freedom) for s, w in found), strict=True
                    )
                )
            )
            regrets = np.array([float(each.mean.value) / width for each, width in found])
            mean = statistics.sum_of(estimate, 1 / len(found))
            scores.append(Score(folder, regrets, mean, sum(each.failed for each, _ in found)))
    return _grouped(scores, MARGIN)


def _grouped(scores: Sequence[Score], margin: float) -> list[Score]:
    """Scores, best first, with their groups."""
    ordered = sorted(scores, key=lambda each: (float(each.mean.value), each.folder))
    pairs = list(itertools.combinations(range(len(ordered)), 2))
    different: set[tuple[int, int]] = set()
    if pairs:
        sides = [
            Estimate(*(np.array([float(ordered[pair[side]].mean[i]) for pair in pairs]) for i in range(3)))
            for side in (0, 1)
        ]
        found = statistics.compare(*sides, margin=margin)
        corrected = statistics.holm(found.p)
        different = {
            pair
            for pair, p, q in zip(pairs, corrected, found.p_equivalence, strict=True)
            if statistics.verdict(float(p), float(q)) == PairVerdict.DIFFERENT
        }
    letters = letters_of(len(ordered), different)
    return [Score(s.folder, s.regrets, s.mean, s.failed, g) for s, g in zip(ordered, letters, strict=True)]


def letters_of(size: int, different: set[tuple[int, int]]) -> list[str]:
    """Letters of each position such that two share one exactly where they are not different: insert and
    absorb (Piepho 2004).
    """
    groups = [frozenset(range(size))] if size else []
    for i, j in sorted(different):
        split = [part for group in groups for part in _without_both(group, i, j)]
        distinct = list(dict.fromkeys(split))
        groups = [g for g in distinct if not any(g < other for other in distinct)]
    groups.sort(key=lambda group: sorted(group))
    return ["".join(_letter(k) for k, group in enumerate(groups) if i in group) for i in range(size)]


def _without_both(group: frozenset[int], i: int, j: int) -> list[frozenset[int]]:
    return [group - {i}, group - {j}] if {i, j} <= group else [group]


def _letter(k: int) -> str:
    return chr(ord("A") + k) if k < 26 else f"[{k + 1}]"


def title(each: Verified) -> str:
    """The name of an entry in one printable line."""
    return one_line(each.entry.name, 120)
