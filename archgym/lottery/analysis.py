"""What a study says: tables for the report, claims with their verdicts, and conclusions in plain words.

Scores are log ratios to the optimum where it is known, so that a ratio of 1 is optimal; otherwise log ratios to the average random design
(Yang et al., NAS evaluation is frustratingly hard, 2020), or to the best design seen. Averages are means of scores, hence geometric means
of ratios. Rewards that are no logarithms are compared by their differences, which then stand where ratios are meant. Runs without a valid
design stay in as the worst, with the worst finite score that any run of the task has at that moment; failed runs are missing.

Agents are compared at equal samples: the budget that runs of every agent reached. A run that was given fewer samples is missing there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from archgym.lottery import statistics
from archgym.lottery.claims import Evidence, conclude, judge, overall
from archgym.lottery.comparisons import Family, Tuned, at_the_ceiling, families, lottery_map, tune
from archgym.lottery.data import TaskRuns
from archgym.lottery.scores import RANDOM, Task, quartiles, scored
from archgym.lottery.statistics import known_mean
from archgym.objective import CAPPED, clipping
from archgym.space import Array

TARGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Relative distances from the optimum that samples are counted to."""
POINTS = 40
"""Points of a curve."""
_BLIND = 0.99  # share of clipped rewards above which nothing is concluded

_T, _I, _F, _B = pl.String, pl.Int64, pl.Float64, pl.Boolean


def _schema(**columns: Any) -> dict[str, Any]:
    """Column types from words: text="a b", whole="c", ... in the order of `order`, if given."""
    order = columns.pop("order").split()
    kinds = {name: kind for kind, names in columns.items() for name in names.split()}
    return {name: {"text": _T, "whole": _I, "flag": _B}.get(kinds.get(name, ""), _F) for name in order}


_SCHEMAS = {
    "tasks": _schema(
        order="task env scale budget optimum configurations seeds runs failed saturated note",
        text="task env scale note",
        whole="budget configurations seeds runs failed",
        flag="saturated",
    ),
    "runs": _schema(
        order="task agent configuration seed samples score ratio seconds", text="task agent", whole="configuration seed samples"
    ),
    "configurations": _schema(
        order="task agent configuration hyperparameters is_default mean_score mean_ratio beats_random",
        text="task agent hyperparameters",
        whole="configuration",
        flag="is_default",
    ),
    "distribution": _schema(
        order="task agent samples mean q05 q25 q50 q75 q95 iqr tickets_1 tickets_1_low tickets_1_high tickets_5 tickets_5_low "
        "tickets_5_high default_ratio default_percentile variance_configurations variance_seeds share_configurations beats_random iqm "
        "iqm_low iqm_high",
        text="task agent",
        whole="samples",
    ),
    "curves": _schema(order="task agent series axis x q25 q50 q75", text="task agent series axis"),
    "targets": _schema(order="task agent target samples reached", text="task agent", whole="samples"),
    "running_time": _schema(order="task agent target reached expected_samples low high", text="task agent"),
    "importance": _schema(order="task agent hyperparameter importance low direction", text="task agent hyperparameter"),
    "tuning": _schema(
        order="task agent configurations samples tuned low high naive untuned random_search",
        text="task agent",
        whole="configurations samples",
    ),
    "comparisons": _schema(
        order="family task agent_a agent_b ratio low high p p_holm p_equivalence verdict", text="family task agent_a agent_b verdict"
    ),
    "lottery_map": _schema(
        order="task configurations samples agent ratio confidence runner_up runner_up_ratio",
        text="task agent runner_up",
        whole="configurations samples",
    ),
    "hypotheses": _schema(order="hypothesis statement task verdict evidence", text="hypothesis statement task verdict evidence"),
    "effort": _schema(order="agent runs seconds share", text="agent", whole="runs"),
}


@dataclass(frozen=True)
class Analysis:
    """What a study says. Ratios are exp(score) in the task's scale; null is what cannot be said.

    Attributes:
        tasks: one row per task; `configurations` and `seeds` are the most that any agent has, `note` says what to know about its data.
        runs: one row per finished run, at its end.
        configurations: one row per configuration: mean over seeds, and P(it beats random search at equal samples).
        distribution: of each agent's runs over random configurations, at checkpoints; intervals are of 95 %.
        curves: quartiles over samples and over wall time.
        targets: share of runs that came within a relative distance of the optimum (or of the best design seen), over samples.
        running_time: expected samples until then, with restarts; inf where no run got there.
        importance: of hyperparameters at the budget; `low` is 0 and `direction` null where it is not told from chance.
        tuning: k configurations of B samples against the defaults and random search with k B samples. `tuned` is a new run of the best of
            k, chosen on all seeds but one and scored on that one.
        comparisons: pairs of agents at the budget, by family of equal effort.
        lottery_map: which agent to pick for each number of configurations and samples; cells at the ceiling are left out.
        hypotheses: ArchGym's claims and the verdict of each task.
        conclusions: plain words for a terminal.
        effort: runs and wall time by agent.
    """

    tasks: pl.DataFrame
    runs: pl.DataFrame
    configurations: pl.DataFrame
    distribution: pl.DataFrame
    curves: pl.DataFrame
    targets: pl.DataFrame
    running_time: pl.DataFrame
    importance: pl.DataFrame
    tuning: pl.DataFrame
    comparisons: pl.DataFrame
    lottery_map: pl.DataFrame
    hypotheses: pl.DataFrame
    conclusions: list[str]
    effort: pl.DataFrame


Row = tuple[Any, ...]


def analyse(tasks: Sequence[TaskRuns], *, replicates: int = 1000, margin: float = 0.02, alpha: float = 0.05, seed: int = 0) -> Analysis:
    """Everything the report shows, from the runs of a study; partial studies give what they can.

    Args:
        tasks: the runs, task by task.
        replicates: of the bootstrap.
        margin: largest relative difference between agents that does not matter.
        alpha: chance of a false "different" in a family, and of a false "equivalent" of a pair.
        seed: of the bootstrap; the same runs and seed give the same numbers.
    """
    rows: dict[str, list[Row]] = {name: [] for name in _SCHEMAS}
    conclusions: list[str] = []
    mapped: list[tuple[Task, Tuned, bool]] = []
    judged: list[Evidence] = []
    for runs in tasks:
        task = scored(runs)
        nothing = "no run found a valid design" if task is None else _blind(runs)
        if task is None or nothing:
            rows["tasks"].append(_empty_task(runs, nothing))
            conclusions.append(f"{runs.task}: no conclusion, as {nothing}.")
            continue
        scores = task.scores(task.samples)
        budget = {agent: s[..., task.samples.index(task.budget)] for agent, s in scores.items()}
        saturated = at_the_ceiling(task, {a: float(statistics.quantiles(s, [0.5])[0]) for a, s in budget.items()})
        tuned = tune(task, scores, replicates, seed)
        compared = families(task, budget, tuned, margin=margin, alpha=alpha, saturated=saturated)
        evidence = judge(task, budget, tuned, compared, margin=margin, alpha=alpha, saturated=saturated)
        mapped.append((task, tuned, saturated))
        judged += evidence

        final = task.final()
        rows["tasks"].append(_task(task, final, saturated))
        rows["runs"] += _runs(task, final)
        rows["configurations"] += _configurations(task, final)
        rows["distribution"] += _distribution(task, scores, tuned)
        rows["curves"] += _curves(task, budget)
        rows["targets"] += _targets(task)
        rows["running_time"] += _running_time(task, tuned)
        rows["importance"] += _importance(task, budget, replicates, alpha, seed)
        rows["tuning"] += _tuning(task, scores, tuned)
        rows["comparisons"] += [row for family in compared for row in _comparisons(task, family)]
        rows["hypotheses"] += [(e.hypothesis, e.statement, e.task, e.verdict, e.evidence) for e in evidence]
        seeds = max(len(task.of(a).traces[0]) for a in task.agents)
        conclusions += conclude(task, compared, evidence, margin=margin, saturated=saturated, seeds=seeds)
    cells = lottery_map(mapped)
    conclusions[:0] = overall(judged, cells)
    for cell in cells:
        rows["lottery_map"].append(
            (cell.task, cell.configurations, cell.samples, cell.agent, cell.ratio, cell.confidence, cell.runner_up, cell.runner_up_ratio)
        )
    rows["hypotheses"].sort(key=lambda row: row[0])  # by claim, tasks in their order
    rows["effort"] = _effort(tasks)
    frames = {name: _frame(rows[name], schema) for name, schema in _SCHEMAS.items()}
    return Analysis(conclusions=conclusions, **frames)


def _frame(rows: Iterable[Row], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Rows as a frame, with null for NaN."""
    plain = [tuple(v.item() if isinstance(v, np.generic | np.ndarray) else v for v in row) for row in rows]
    return pl.DataFrame(plain, schema=dict(schema), orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))


# ------------------------------------------------------------------------------------------ the study's data


def _sizes(runs: TaskRuns) -> tuple[int, int, int]:
    """(configurations, seeds, finished runs)."""
    traces = [r.traces for r in runs.agents.values()]
    finished = sum(t is not None for agent in traces for row in agent for t in row)
    return max(map(len, traces), default=0), max((len(row) for agent in traces for row in agent), default=0), finished


def _failures(runs: TaskRuns) -> list[str]:
    reasons = Counter(reason for *_, reason in runs.failures)
    return [f"{n} run{'s' * (n != 1)} failed: {reason}" for reason, n in reasons.most_common(3)]


def _blind(runs: TaskRuns) -> str:
    """Why rewards tell agents nothing about designs; "" where they do."""
    if runs.clipped > _BLIND:
        return clipping(runs.clipped)
    return CAPPED if runs.capped else ""


def _empty_task(runs: TaskRuns, nothing: str) -> Row:
    configurations, seeds, finished = _sizes(runs)
    notes = "; ".join([nothing if finished else "no run has finished", *_failures(runs)])
    return runs.task, runs.env, "none", runs.budget, runs.optimum, configurations, seeds, finished, len(runs.failures), False, notes


def _task(task: Task, final: Mapping[str, Array], saturated: bool) -> Row:
    runs = task.runs
    configurations, seeds, finished = _sizes(runs)
    planned = sum(len(r.traces) * len(r.traces[0]) for r in runs.agents.values() if r.traces)
    invalid = sum(t is not None and not len(t.reward) for r in runs.agents.values() for row in r.traces for t in row)
    unit = "front" if runs.judged_by else "design"
    notes = [
        (saturated, f"saturated: agents are at the optimum after {task.budget:,} samples, no conclusion is drawn"),
        (bool(clipping(runs.clipped)), clipping(runs.clipped)),
        (bool(runs.judged_by), runs.judged_by),
        (runs.optimum is None, f"the optimum is not known: winning tickets and targets are relative to the best {unit} seen"),
        (not runs.log_scale, "rewards are no logarithms: differences are shown instead of ratios"),
        (RANDOM not in task.agents, "no random search to compare with"),
        (seeds < 2, "one seed: nothing can be resolved"),
        (task.budget < runs.budget, f"agents are compared at {task.budget:,} samples, which all of them were given"),
        (invalid > 0, f"{invalid} run{'s' * (invalid != 1)} found no valid design and count as the worst"),
        (finished + len(runs.failures) < planned, f"{planned - finished - len(runs.failures)} of {planned} runs are still to come"),
        *((True, text) for text in _failures(runs)),
    ]
    note = "; ".join(text for holds, text in notes if holds)
    return (
        task.name, runs.env, task.scale, runs.budget, runs.optimum, configurations, seeds, finished, len(runs.failures), saturated, note,
    )  # fmt: skip


def _runs(task: Task, final: Mapping[str, Array]) -> list[Row]:
    return [
        (task.name, agent, c, s, int(samples), score, ratio, seconds)
        for agent in task.agents
        for spent, ratios in [(task.of(agent).spent(), task.shown(final[agent]))]
        for c, s in np.argwhere(~np.isnan(final[agent]))
        for score, ratio, (samples, seconds) in [(final[agent][c, s], ratios[c, s], spent[c, s])]
    ]


def _effort(tasks: Sequence[TaskRuns]) -> list[Row]:
    seconds: dict[str, list[float]] = {}
    for runs in tasks:
        for agent, found in runs.agents.items():
            seconds.setdefault(agent, []).extend(t.total_seconds for row in found.traces for t in row if t is not None)
    total = sum(map(sum, seconds.values()))
    return [(agent, len(times), sum(times), sum(times) / total if total else None) for agent, times in seconds.items()]


# ------------------------------------------------------------------------------------------ distributions


def _configurations(task: Task, final: Mapping[str, Array]) -> list[Row]:
    rows: list[Row] = []
    random: dict[int, Array] = {}  # by the samples that a configuration spent
    for agent in task.agents:
        runs, mean = task.of(agent), known_mean(final[agent], -1)
        for c in np.flatnonzero(~np.isnan(mean)):
            beats = np.nan
            if RANDOM in task.agents:
                spent = int(np.nanmin(runs.spent()[c, :, 0]))
                if spent not in random:
                    random[spent] = task.scores([spent])[RANDOM][..., 0]
                beats = statistics.probability_of_improvement(final[agent][c], random[spent])
            hyperparameters = json.dumps(dict(runs.configurations[c]), default=str)
            is_default = c == runs.default or not runs.configurations[c]
            rows.append((task.name, agent, int(c), hyperparameters, bool(is_default), mean[c], task.shown(mean[c]), beats))
    return rows


def _distribution(task: Task, scores: Mapping[str, Array], tuned: Tuned) -> list[Row]:
    rows: list[Row] = []
    for agent in task.agents:
        default = task.defaults(agent, scores[agent])
        for b, samples in enumerate(task.samples):
            now = scores[agent][..., b]
            if np.isnan(now).all():
                continue
            runs, means = task.clusters(agent, now), known_mean(now, -1)
            q = task.shown(statistics.quantiles(now, [0.05, 0.25, 0.5, 0.75, 0.95]))
            tickets = [
                statistics.share_of_runs(np.where(np.isnan(runs), np.nan, runs >= task.ceiling - task.distance(tolerance)))
                for tolerance in (0.01, 0.05)
            ]
            of_default = np.nan if default is None else float(known_mean(default[..., b], -1))
            components = statistics.variance_components(now) if task.tunable(agent) else (np.nan,) * 3
            beats = statistics.probability_of_improvement(now, scores[RANDOM][..., b]) if RANDOM in task.agents else np.nan
            drawn = statistics.interquartile_mean_resampled(runs, tuned.counts[agent])
            iqm = [statistics.interquartile_mean(runs), *statistics.quantiles(drawn[:, None], [0.025, 0.975])]
            percentile = statistics.percentile_among(of_default, means) if task.tunable(agent) else np.nan
            rows.append(
                (
                    task.name, agent, samples, task.shown(known_mean(means, -1)), *q, q[3] - q[1], *tickets[0], *tickets[1],
                    task.shown(np.asarray(of_default)), percentile, *components, beats, *task.shown(np.asarray(iqm)),
                )
            )  # fmt: skip
    return rows


def _importance(task: Task, scores: Mapping[str, Array], replicates: int, alpha: float, seed: int) -> list[Row]:
    return [
        (task.name, agent, found.name, found.importance, found.low, found.direction)
        for agent in task.agents
        if task.tunable(agent)
        for found in statistics.importance(
            task.of(agent).configurations,
            known_mean(scores[agent], -1),
            replicates=replicates,
            alpha=alpha,
            rng=task.generator(seed, agent, "importance"),
        )
    ]


# ------------------------------------------------------------------------------------------ curves and targets


def _curves(task: Task, scores: Mapping[str, Array]) -> list[Row]:
    """Quartiles over a grid of samples, and of wall times, for all configurations, the defaults and the best, chosen on other seeds.

    Args:
        scores: of each agent at the budget, by which the best configuration is chosen.
    """
    latest = max(int(np.nanmax(task.of(a).spent()[..., 0])) for a in task.agents)
    times = np.concatenate([task.of(a).spent()[..., 1].ravel() for a in task.agents])
    times = times[times > 0]
    grids: list[tuple[str, Array, Mapping[str, Array]]] = []
    samples = np.unique(np.geomspace(1, latest, POINTS).astype(np.int64))
    grids.append(("samples", samples, task.scores(samples)))
    if len(times):
        seconds = np.geomspace(max(times.min() / latest, times.max() * 1e-6), times.max(), POINTS)
        grids.append(("seconds", seconds, task.scores_within(seconds)))
    rows: list[Row] = []
    for agent in task.agents:
        best = _best_on_other_seeds(scores[agent]) if task.tunable(agent) else None
        for axis, grid, along in grids:
            runs = along[agent]
            series = {"all configurations": runs, "defaults": task.defaults(agent, runs), "best configuration, cross-fitted": runs}
            if not task.tunable(agent) and series["defaults"] is not None:
                series["defaults"] = runs
            if best is not None:
                series["best configuration, cross-fitted"] = runs[best]
            for name, kept in series.items():
                if kept is None or not kept.size:
                    continue
                shown = task.shown(quartiles(kept.reshape(-1, 1, len(grid))))
                rows += [(task.name, agent, name, axis, x, *q) for x, q in zip(grid, shown.T, strict=True) if not np.isnan(q[1])]
    return rows


def _best_on_other_seeds(scores: Array) -> tuple[Array, Array]:
    """(configurations, seeds): for each seed the configuration with the best mean over all others, and all that tie with it."""
    chosen = []
    for seed in range(scores.shape[1]):
        others = np.round(known_mean(np.delete(scores, seed, axis=1), -1), 12)
        usable = np.where(np.isnan(scores[:, seed]), np.nan, others)
        if not np.isnan(usable).all():
            chosen += [(c, seed) for c in np.flatnonzero(usable == np.nanmax(usable))]
    pairs = np.array(chosen, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _reward_at(task: Task, target: float) -> float:
    """The reward at a relative distance from the optimum, or from the best design seen."""
    return task.reference + task.ceiling - task.distance(target)


def _targets(task: Task) -> list[Row]:
    rows: list[Row] = []
    for agent in task.agents:
        latest = np.nanmax(task.of(agent).spent()[..., 0])
        grid = np.unique(np.geomspace(1, latest, POINTS).astype(np.int64))
        for target in TARGETS:
            reached = statistics.reached_within(task.of(agent).samples_to(_reward_at(task, target)), grid)
            rows += [(task.name, agent, target, samples, share) for samples, share in zip(grid, reached, strict=True)]
    return rows


def _running_time(task: Task, tuned: Tuned) -> list[Row]:
    rows: list[Row] = []
    for agent in task.agents:
        spent = task.clusters(agent, task.of(agent).spent())[..., 0]
        for target in TARGETS:
            samples = task.clusters(agent, task.of(agent).samples_to(_reward_at(task, target)))
            reached = np.isfinite(samples).sum() / (~np.isnan(samples)).sum()
            interval = statistics.expected_running_time_interval(samples, spent, tuned.counts[agent])
            rows.append((task.name, agent, target, reached, *interval))
    return rows


# ------------------------------------------------------------------------------------------ tuning and comparisons


def _tuning(task: Task, scores: Mapping[str, Array], tuned: Tuned) -> list[Row]:
    products = sorted({k * b for k in tuned.configurations for b in tuned.samples if k * b <= max(task.samples)})
    longer = {agent: task.defaults(agent, s) for agent, s in task.scores(products).items()}
    untuned = {agent: dict(zip(products, known_mean(s.T, -1), strict=True)) for agent, s in longer.items() if s is not None}
    pool = task.clusters(RANDOM, scores[RANDOM]) if RANDOM in task.agents and not task.tunable(RANDOM) else None
    rows: list[Row] = []
    for b, samples in enumerate(tuned.samples):
        search = np.full(len(tuned.configurations), np.nan)
        if pool is not None:
            search = statistics.best_of_k_runs(pool[..., b], tuned.configurations)
        for agent in task.agents:
            estimate = _estimates(tuned, agent, b)
            low, high = estimate.interval()
            naive = statistics.naive_best_of_k(scores[agent][..., b], tuned.configurations) if task.tunable(agent) else search * np.nan
            for i, k in enumerate(tuned.configurations):
                if np.isnan(estimate.value[i]):
                    continue
                others = untuned.get(agent, {}).get(k * samples, np.nan)
                values = np.array([estimate.value[i], low[i], high[i], naive[i], others, search[i]])
                rows.append((task.name, agent, k, samples, *task.shown(values)))
    return rows


def _estimates(tuned: Tuned, agent: str, b: int) -> statistics.Estimate:
    """An agent's estimates for all k at one checkpoint."""
    return statistics.Estimate(*(part[b] for part in tuned.estimates[agent]))


def _comparisons(task: Task, family: Family) -> list[Row]:
    found = family.comparison
    shown = [task.shown(part) for part in (found.difference, found.low, found.high)]
    return [
        (
            family.name,
            task.name,
            a,
            b,
            *(part[i] for part in shown),
            found.p[i],
            family.p_holm[i],
            found.p_equivalence[i],
            family.verdicts[i],
        )
        for i, (a, b) in enumerate(family.pairs)
    ]
