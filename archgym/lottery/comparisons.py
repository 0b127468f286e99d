"""Comparisons of agents: tuned scores, pairs of agents at equal effort, and the lottery map.

A family is all pairs of agents on one task at one effort: with their defaults, or tuned over k
configurations. Holm's correction is over one family, so that on each task and at each effort the chance of
any false "different" is at most alpha. The chance of a false "equivalent" is at most alpha for each pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from archgym.lottery import statistics
from archgym.lottery.scores import RANDOM, ScoredTask, powers_of_two
from archgym.lottery.statistics import Estimate, PairVerdict
from archgym.space import Array

DEFAULTS = "defaults"


@dataclass(frozen=True)
class Tuned:
    """The agents of one task, each tuned over k configurations of B samples.

    Attributes:
        configurations: numbers of configurations tried, K powers of two.
        samples: B checkpoints.
        estimates: expected score of a new run of the best of k configurations, cross-fitted, [B, K], by
            agent. For an agent with a single configuration it is the mean, for every k.
        replicates: replicates of the estimates over configurations and the shared luck of the seeds, float64
            [R, B, K], by agent.
        counts: number of times that each configuration (or run) was drawn in each replicate, int64 [R, C], by
            agent.
    """

    configurations: tuple[int, ...]
    samples: tuple[int, ...]
    estimates: Mapping[str, Estimate]
    replicates: Mapping[str, Array]
    counts: Mapping[str, Array]

    def estimate(self, agent: str, k: int, samples: int) -> Estimate:
        """One agent's estimate, a scalar."""
        b, i = self.samples.index(samples), self.configurations.index(k)
        return Estimate(*(part[b, i] for part in self.estimates[agent]))


def tune(task: ScoredTask, scores: Mapping[str, Array], replicates: int, seed: int) -> Tuned:
    """Tuned scores of all agents at all checkpoints.

    Args:
        task: the task.
        scores: scores of each agent at the checkpoints, float64 [C, S, B].
        replicates: number of bootstrap replicates.
        seed: seed of the bootstrap.
    """
    ks = powers_of_two(max((len(s) for a, s in scores.items() if task.tunable(a)), default=1))
    estimates, drawn, counts = {}, {}, {}
    for agent in task.agents:
        runs = task.clusters(agent, scores[agent])
        counts[agent] = statistics.resample(len(runs), replicates, task.generator(seed, agent))
        parts = [
            _tuned(runs[..., b], ks, counts[agent], task.tunable(agent)) for b in range(len(task.samples))
        ]
        estimates[agent] = Estimate(
            *(np.stack(column) for column in zip(*(estimate for estimate, _ in parts), strict=True))
        )
        luck = task.generator(seed, f"seeds of {agent}").standard_t(max(runs.shape[1] - 1, 1), replicates)
        shared = np.sqrt([statistics.shared_seed_variance(runs[..., b]) for b in range(len(task.samples))])
        drawn[agent] = np.stack([found for _, found in parts], axis=1) + (luck[:, None] * shared)[..., None]
    return Tuned(tuple(ks), task.samples, estimates, drawn, counts)


def _tuned(runs: Array, ks: Sequence[int], counts: Array, tunable: bool) -> tuple[Estimate, Array]:
    if tunable:
        return statistics.resampled_best_of_k(runs, ks, counts)
    mean = statistics.mean_of_runs(runs)
    drawn = statistics.resampled_best_of_k(runs, [1], counts)[1]
    return Estimate(*(np.full(len(ks), part) for part in mean)), np.repeat(drawn, len(ks), axis=1)


@dataclass(frozen=True)
class Family:
    """All pairs of agents at one effort on one task.

    Attributes:
        name: "defaults" or "tuned over k".
        task: label of the task.
        configurations: k; 1 for the defaults.
        estimates: estimate of each agent, scalars.
        pairs: P pairs of agents.
        comparison: each pair's first agent against its second, [P].
        p_holm: p values after Holm's correction, float64 [P].
        verdicts: verdict on each pair, [P].
        saturated: whether the agents are at the optimum; then all verdicts are "not resolved".
    """

    name: str
    task: str
    configurations: int
    estimates: Mapping[str, Estimate]
    pairs: Sequence[tuple[str, str]]
    comparison: statistics.Comparison
    p_holm: Array
    verdicts: Sequence[PairVerdict]
    saturated: bool

    def verdict(self, a: str, b: str) -> PairVerdict:
        """The verdict on a pair in either order."""
        return next(v for pair, v in zip(self.pairs, self.verdicts, strict=True) if set(pair) == {a, b})


def efforts(task: ScoredTask) -> list[int]:
    """Numbers of configurations for comparisons: 4, 16, 64, ... up to a quarter of those drawn; if that is
    less than 4, then 2.
    """
    most = max((len(task.runs_of(a).traces) for a in task.agents if task.tunable(a)), default=0) // 4
    return [k for k in powers_of_two(most) if k > 1 and (k.bit_length() % 2 == 1 or most < 4)]


def families(
    task: ScoredTask,
    scores: Mapping[str, Array],
    tuned: Tuned,
    *,
    margin: float,
    alpha: float,
    saturated: bool,
) -> list[Family]:
    """The defaults and the tuned agents, at the budget.

    Args:
        task: the task.
        scores: scores of each agent at the budget, float64 [C, S].
        tuned: tuned scores of the agents.
        margin: largest relative difference that is negligible.
        alpha: significance level.
        saturated: whether agents are at the optimum, so that all verdicts are "not resolved".
    """
    defaults = {a: runs for a in task.agents if (runs := task.defaults(a, scores[a])) is not None}
    found = [
        _family(
            task,
            DEFAULTS,
            1,
            {a: statistics.mean_of_runs(runs) for a, runs in defaults.items()},
            margin,
            alpha,
            saturated,
        )
    ]
    for k in efforts(task):
        estimates = {agent: tuned.estimate(agent, k, task.budget) for agent in task.agents}
        found.append(_family(task, f"tuned over {k}", k, estimates, margin, alpha, saturated))
    return [family for family in found if family.pairs]


def _family(
    task: ScoredTask,
    name: str,
    k: int,
    estimates: Mapping[str, Estimate],
    margin: float,
    alpha: float,
    saturated: bool,
) -> Family:
    known = {agent: e for agent, e in estimates.items() if not np.isnan(e.value)}
    pairs = list(itertools.combinations(known, 2))
    sides = [
        Estimate(*(np.array([float(known[p[side]][i]) for p in pairs]) for i in range(3))) for side in (0, 1)
    ]
    found = statistics.compare(*sides, margin=task.distance(margin), alpha=alpha)
    p_holm = statistics.holm(found.p)
    top = saturated or at_the_ceiling(task, {a: float(e.value) for a, e in known.items()})
    verdicts = [
        PairVerdict.UNRESOLVED if top else statistics.verdict(float(p), float(q), alpha)
        for p, q in zip(p_holm, found.p_equivalence, strict=True)
    ]
    return Family(name, task.name, k, known, pairs, found, p_holm, verdicts, top)


def at_the_ceiling(task: ScoredTask, typical: Mapping[str, float]) -> bool:
    """Whether agents with these typical scores are at the optimum (`statistics.saturated`)."""
    return statistics.saturated(
        {a: v - task.ceiling for a, v in typical.items()}, tolerance=task.ticket, random=RANDOM
    )


class MapCell(NamedTuple):
    """The agent to pick where k configurations of B samples can be tried; cells at the ceiling are left
    out. Without a number of samples, B is each task's own budget.
    """

    task: str
    configurations: int
    samples: int | None
    agent: str
    ratio: float
    confidence: float
    runner_up: str | None
    runner_up_ratio: float | None


def lottery_map(tasks: Sequence[tuple[ScoredTask, Tuned, bool]]) -> list[MapCell]:
    """The map of each task, and the map of all tasks that are not saturated, by mean scores: at the numbers
    of samples that all of them have and, where budgets differ, at the full budget of each.

    Confidence is the share of bootstrap replicates, over configurations and shared luck of seeds, in which
    the agent is the best. Cells at the ceiling, where all agents are equally good, are left out. So are
    agents with fewer than 2 k configurations, and cells where only agents without hyperparameters are left.

    Args:
        tasks: (task, tuned scores, whether it is saturated) of each task.
    """
    cells = []
    for task, tuned, _ in tasks:
        for b, i in itertools.product(range(len(tuned.samples)), range(len(tuned.configurations))):
            cells += _cell(task.name, [(task, tuned)], tuned.configurations[i], tuned.samples[b])
    usable = [(task, tuned) for task, tuned, saturated in tasks if not saturated]
    if len(usable) > 1 and len({task.runs.log_scale for task, _ in usable}) == 1:
        shared = sorted(set.intersection(*(set(tuned.samples) for _, tuned in usable)))
        mixed = len({task.budget for task, _ in usable}) > 1
        for samples in [*shared, None] if mixed else shared:
            for k in sorted(set.intersection(*(set(tuned.configurations) for _, tuned in usable))):
                cells += _cell("all tasks", usable, k, samples)
    return cells


def _cell(name: str, tasks: Sequence[tuple[ScoredTask, Tuned]], k: int, samples: int | None) -> list[MapCell]:
    values: dict[str, float] = {}
    replicates: dict[str, Array] = {}
    for agent in tasks[0][0].agents:
        if not all(agent in task.agents for task, _ in tasks):
            continue
        at = [
            (tuned, tuned.samples.index(samples or task.budget), tuned.configurations.index(k))
            for task, tuned in tasks
        ]
        if all(np.isfinite(tuned.estimates[agent].error[b, i]) for tuned, b, i in at):
            values[agent] = float(np.mean([tuned.estimates[agent].value[b, i] for tuned, b, i in at]))
            replicates[agent] = np.mean([tuned.replicates[agent][:, b, i] for tuned, b, i in at], axis=0)
    task = tasks[0][0]
    if not any(task.tunable(a) for a in values) and (k > 1 or not values):
        return []
    if len(tasks) == 1 and at_the_ceiling(task, values):
        return []
    order = sorted(values, key=lambda agent: -values[agent])
    every = np.stack([replicates[agent] for agent in order])
    best = every == np.nanmax(every, axis=0)
    confidence = float((best[0] / np.maximum(best.sum(axis=0), 1)).mean())
    second = order[1] if len(order) > 1 else None
    ratios = [float(task.shown(np.asarray(values[a]))) for a in order[:2]]
    return [MapCell(name, k, samples, order[0], ratios[0], confidence, second, ratios[1] if second else None)]
