"""The analysis of a study: its tables (`archgym.lottery.tables`), ArchGym's claims with their verdicts, and
conclusions in sentences.

Scores are log ratios to the optimum where it is known, so that a ratio of 1 is optimal; otherwise log ratios
to the average random design (Yang et al., NAS evaluation is frustratingly hard, 2020), or to the best design
seen. Averages are means of scores, hence geometric means of ratios. Runs without a valid design stay in as
the worst, with the worst finite score that any run of the task has at that moment; failed runs are missing.

Agents are compared at equal samples, or at equal cost in a study of that effort: the budget that runs of
every agent reached. A run with a smaller budget is missing there. Beside agents are controls, which take no
search.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from archgym.lottery import statistics, tables, words
from archgym.lottery.claims import Evidence, judge
from archgym.lottery.comparisons import Family, Tuned, at_the_ceiling, families, lottery_map, tune
from archgym.lottery.data import TaskRuns, Trace
from archgym.lottery.scores import RANDOM, UNITS, ScoredTask, quartiles, scored
from archgym.lottery.statistics import known_mean
from archgym.lottery.tables import (
    ComparisonRow,
    ConfigurationRow,
    ControlRow,
    CurveRow,
    DistributionRow,
    EffortRow,
    HypothesisRow,
    ImportanceRow,
    RunningTimeRow,
    RunRow,
    TargetRow,
    TaskRow,
    TuningRow,
)
from archgym.lottery.words import Conclusion
from archgym.objective import CAPPED, clipping
from archgym.space import Array

TARGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Relative distances from the optimum that samples are counted to."""
POINTS = 40
"""Points of a curve."""
_BLIND = 0.99  # share of clipped rewards above which nothing is concluded


@dataclass(frozen=True)
class Analysis:
    """The tables of a study, each documented by the class of its rows in `archgym.lottery.tables.TABLES`,
    and its conclusions.
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
    effort: pl.DataFrame
    controls: pl.DataFrame
    sentences: Sequence[Conclusion]

    @property
    def conclusions(self) -> list[str]:
        """The conclusions as text, each after its task's label."""
        return [str(sentence) for sentence in self.sentences]


def analyse(
    tasks: Sequence[TaskRuns],
    *,
    replicates: int = 1000,
    margin: float = 0.02,
    alpha: float = 0.05,
    seed: int = 0,
) -> Analysis:
    """Everything the report shows, from the runs of a study; partial studies give partial tables.

    Args:
        tasks: the runs, task by task.
        replicates: number of bootstrap replicates.
        margin: largest relative difference between agents that is negligible.
        alpha: chance of a false "different" in a family, and of a false "equivalent" of a pair.
        seed: seed of the bootstrap; the same runs and seed give the same numbers.
    """
    rows: dict[str, list[Any]] = {name: [] for name in tables.TABLES}
    sentences: list[Conclusion] = []
    mapped: list[tuple[ScoredTask, Tuned, bool]] = []
    judged: list[Evidence] = []
    for runs in tasks:
        task = scored(runs)
        obstacle = "no run found a valid design" if task is None else _blind(runs)
        if task is None or obstacle:
            rows["tasks"].append(_empty_task(runs, obstacle))
            sentences.append(Conclusion(runs.task, f"no conclusion, as {obstacle}."))
            continue
        scores = task.scores(task.samples)
        budget = {agent: s[..., task.samples.index(task.budget)] for agent, s in scores.items()}
        saturated = at_the_ceiling(
            task, {a: float(statistics.quantiles(s, [0.5])[0]) for a, s in budget.items()}
        )
        tuned = tune(task, scores, replicates, seed)
        compared = families(task, budget, tuned, margin=margin, alpha=alpha, saturated=saturated)
        evidence = judge(task, budget, tuned, compared, margin=margin, alpha=alpha, saturated=saturated)
        mapped.append((task, tuned, saturated))
        judged += evidence

        final = task.final()
        rows["tasks"].append(_task(task, saturated))
        rows["runs"] += _runs(task, final)
        rows["configurations"] += _configurations(task, final)
        rows["distribution"] += _distribution(task, scores, tuned)
        rows["curves"] += _curves(task, budget)
        rows["targets"] += _targets(task)
        rows["running_time"] += _running_time(task, tuned)
        rows["importance"] += _importance(task, budget, replicates, alpha, seed)
        rows["tuning"] += _tuning(task, scores, tuned)
        rows["comparisons"] += [row for family in compared for row in _comparisons(task, family)]
        rows["hypotheses"] += [_hypothesis(task, e) for e in evidence]
        seeds = max(len(task.runs_of(a).traces[0]) for a in task.agents)
        sentences += words.conclude(task, compared, evidence, margin=margin, seeds=seeds)
        rows["controls"] += _controls(task)
        sentences += _beaten(task, budget)
    rows["lottery_map"] = lottery_map(mapped)
    rows["hypotheses"].sort(key=lambda row: row.hypothesis)  # a stable sort: tasks stay in their order
    rows["effort"] = _effort(tasks)
    unit = UNITS[tasks[0].effort if tasks else "samples"]
    frames = {name: tables.frame(name, content) for name, content in rows.items()}
    return Analysis(sentences=[*words.overall(judged, rows["lottery_map"], unit=unit), *sentences], **frames)


# ------------------------------------------------------------------------------------------ the study's data


def _sizes(runs: TaskRuns) -> tuple[int, int, int]:
    """(configurations, seeds, finished runs)."""
    traces = [r.traces for r in runs.agents.values()]
    finished = sum(t is not None for agent in traces for row in agent for t in row)
    return (
        max(map(len, traces), default=0),
        max((len(row) for agent in traces for row in agent), default=0),
        finished,
    )


def _failures(runs: TaskRuns) -> list[str]:
    reasons = Counter(reason for *_, reason in runs.failures)
    return [f"{n} run{'s' * (n != 1)} failed: {reason}" for reason, n in reasons.most_common(3)]


def _blind(runs: TaskRuns) -> str:
    """Why rewards do not distinguish designs; "" where they do."""
    if runs.clipped > _BLIND:
        return clipping(runs.clipped)
    return CAPPED if runs.capped else ""


def _empty_task(runs: TaskRuns, obstacle: str) -> TaskRow:
    *_, finished = _sizes(runs)
    note = "; ".join([obstacle if finished else "no run has finished", *_failures(runs)])
    return _task_row(runs, "none", False, note)


def _task(task: ScoredTask, saturated: bool) -> TaskRow:
    runs = task.runs
    _, seeds, finished = _sizes(runs)
    planned = sum(len(r.traces) * len(r.traces[0]) for r in runs.agents.values() if r.traces)
    invalid = sum(
        t is not None and not len(t.reward) for r in runs.agents.values() for row in r.traces for t in row
    )
    unit = "front" if runs.judged_by else "design"
    notes = [
        (
            saturated,
            f"saturated: agents are at the optimum after {task.budget:,} {task.unit}; no conclusion is drawn",
        ),
        (bool(clipping(runs.clipped)), clipping(runs.clipped)),
        (bool(runs.judged_by), runs.judged_by),
        (
            runs.optimum is None,
            f"the optimum is not known: winning tickets and targets are relative to the best {unit} seen",
        ),
        (not runs.log_scale, "rewards are not logarithms: differences are shown instead of ratios"),
        (RANDOM not in task.agents, "no random search to compare with"),
        (seeds < 2, "one seed: nothing can be resolved"),
        (
            task.budget < runs.budget,
            f"agents are compared at {task.budget:,} {task.unit}, the budget that all of them reached",
        ),
        (
            invalid > 0,
            f"{invalid} run{'s' * (invalid != 1)} found no valid design and are scored as the worst",
        ),
        (
            finished + len(runs.failures) < planned,
            f"{planned - finished - len(runs.failures)} of {planned} runs are still to come",
        ),
        *((True, text) for text in _failures(runs)),
    ]
    return _task_row(runs, task.scale, saturated, "; ".join(text for holds, text in notes if holds))


def _task_row(runs: TaskRuns, scale: str, saturated: bool, note: str) -> TaskRow:
    configurations, seeds, finished = _sizes(runs)
    return TaskRow(
        task=runs.task,
        env=runs.env,
        scale=scale,
        budget=runs.budget,
        optimum=runs.optimum,
        configurations=configurations,
        seeds=seeds,
        runs=finished,
        failed=len(runs.failures),
        saturated=saturated,
        note=note,
        effort=runs.effort,
    )


def _hypothesis(task: ScoredTask, evidence: Evidence) -> HypothesisRow:
    text = words.evidence_in_words(task, evidence)
    statement = words.in_unit(words.STATEMENTS[evidence.claim], task.unit)
    return HypothesisRow(evidence.claim, statement, evidence.task, evidence.verdict, text)


def _runs(task: ScoredTask, final: Mapping[str, Array]) -> list[RunRow]:
    rows = []
    for agent in task.agents:
        spent, ratios = task.runs_of(agent).spent(), task.shown(final[agent])
        for c, s in np.argwhere(~np.isnan(final[agent])):
            samples, seconds = spent[c, s]
            rows.append(
                RunRow(task.name, agent, c, s, int(samples), final[agent][c, s], ratios[c, s], seconds)
            )
    return rows


def _effort(tasks: Sequence[TaskRuns]) -> list[EffortRow]:
    finished: dict[str, list[Trace]] = {}
    for runs in tasks:
        for agent, found in runs.agents.items():
            finished.setdefault(agent, []).extend(t for row in found.traces for t in row if t is not None)
    seconds = {agent: sum(t.total_seconds for t in traces) for agent, traces in finished.items()}
    total = sum(seconds.values())
    rows = []
    for agent, traces in finished.items():
        costs = [t.total_cost for t in traces if t.total_cost is not None]
        charges: Counter[str] = Counter()
        for trace in traces:
            charges.update(trace.charges)
        rows.append(
            EffortRow(
                agent,
                len(traces),
                seconds[agent],
                seconds[agent] / total if total else None,
                sum(costs) if costs else None,
                json.dumps(dict(charges)) if costs else "",
            )
        )
    return rows


def _controls(task: ScoredTask) -> list[ControlRow]:
    return [
        ControlRow(
            task.name,
            control.name,
            control.samples,
            control.cost,
            score := control.reward - task.reference,
            float(task.shown(np.asarray(score))),
            control.percentile,
        )
        for control in task.runs.controls
    ]


def _beaten(task: ScoredTask, budget: Mapping[str, Array]) -> list[Conclusion]:
    """A sentence for each rule that beats the mean of agents at no more cost: with the number of designs
    that beats most of them, of equals the smallest.
    """
    most: dict[str, int] = {}
    found: dict[str, Conclusion] = {}
    means = {agent: float(known_mean(budget[agent].ravel())) for agent in task.agents}
    costs = {
        agent: float(
            known_mean(np.where(np.isnan(budget[agent]), np.nan, task.runs_of(agent).costs()).ravel())
        )
        for agent in task.agents
    }
    for control in task.runs.controls:
        score = control.reward - task.reference
        beaten = {a: m for a, m in means.items() if m < score and control.cost <= costs[a]}
        if len(beaten) > most.get(control.name, 0):
            most[control.name] = len(beaten)
            found[control.name] = words.control_beats(task, control, beaten)
    return list(found.values())


# ------------------------------------------------------------------------------------------ distributions


def _configurations(task: ScoredTask, final: Mapping[str, Array]) -> list[ConfigurationRow]:
    rows = []
    random: dict[int, Array] = {}  # scores of random search, by the samples that a configuration spent
    for agent in task.agents:
        runs, mean = task.runs_of(agent), known_mean(final[agent], -1)
        for c in np.flatnonzero(~np.isnan(mean)):
            beats = np.nan
            if RANDOM in task.agents:
                spent = int(np.nanmin(runs.spent()[c, :, 0]))
                if spent not in random:
                    random[spent] = task.scores([spent])[RANDOM][..., 0]
                beats = statistics.probability_of_improvement(final[agent][c], random[spent])
            hyperparameters = json.dumps(dict(runs.configurations[c]), default=str)
            is_default = c == runs.default or not runs.configurations[c]
            rows.append(
                ConfigurationRow(
                    task.name,
                    agent,
                    int(c),
                    hyperparameters,
                    bool(is_default),
                    mean[c],
                    float(task.shown(mean[c])),
                    beats,
                )
            )
    return rows


def _distribution(task: ScoredTask, scores: Mapping[str, Array], tuned: Tuned) -> list[DistributionRow]:
    return [
        _distribution_at(task, agent, b, scores, tuned)
        for agent in task.agents
        for b in range(len(task.samples))
        if not np.isnan(scores[agent][..., b]).all()
    ]


def _distribution_at(
    task: ScoredTask, agent: str, b: int, scores: Mapping[str, Array], tuned: Tuned
) -> DistributionRow:
    """The runs of an agent at checkpoint b."""
    now, tunable = scores[agent][..., b], task.tunable(agent)
    runs, means, default = task.clusters(agent, now), known_mean(now, -1), task.defaults(agent, now)
    of_default = np.nan if default is None else float(known_mean(default))
    q05, q25, q50, q75, q95 = task.shown(statistics.quantiles(now, [0.05, 0.25, 0.5, 0.75, 0.95]))
    (tickets_1, low_1, high_1), (tickets_5, low_5, high_5) = (
        statistics.share_of_runs(
            np.where(np.isnan(runs), np.nan, runs >= task.ceiling - task.distance(tolerance))
        )
        for tolerance in (0.01, 0.05)
    )
    components = (
        statistics.variance_components(now)
        if tunable
        else statistics.VarianceComponents(np.nan, np.nan, np.nan)
    )
    drawn = statistics.interquartile_mean_resampled(runs, tuned.counts[agent])
    iqm_low, iqm_high = task.shown(statistics.quantiles(drawn[:, None], [0.025, 0.975]))
    return DistributionRow(
        task=task.name,
        agent=agent,
        samples=task.samples[b],
        mean=float(task.shown(known_mean(means, -1))),
        q05=q05,
        q25=q25,
        q50=q50,
        q75=q75,
        q95=q95,
        iqr=q75 - q25,
        tickets_1=tickets_1,
        tickets_1_low=low_1,
        tickets_1_high=high_1,
        tickets_5=tickets_5,
        tickets_5_low=low_5,
        tickets_5_high=high_5,
        default_ratio=float(task.shown(np.asarray(of_default))),
        default_percentile=statistics.percentile_among(of_default, means) if tunable else np.nan,
        variance_configurations=components.configurations,
        variance_seeds=components.seeds,
        share_configurations=components.share,
        beats_random=statistics.probability_of_improvement(now, scores[RANDOM][..., b])
        if RANDOM in task.agents
        else np.nan,
        iqm=float(task.shown(np.asarray(statistics.interquartile_mean(runs)))),
        iqm_low=iqm_low,
        iqm_high=iqm_high,
    )


def _importance(
    task: ScoredTask, scores: Mapping[str, Array], replicates: int, alpha: float, seed: int
) -> list[ImportanceRow]:
    return [
        ImportanceRow(task.name, agent, found.name, found.importance, found.low, found.direction)
        for agent in task.agents
        if task.tunable(agent)
        for found in statistics.importance(
            task.runs_of(agent).configurations,
            known_mean(scores[agent], -1),
            replicates=replicates,
            alpha=alpha,
            rng=task.generator(seed, agent, "importance"),
        )
    ]


# ------------------------------------------------------------------------------------------ curves and
# targets


def _curves(task: ScoredTask, scores: Mapping[str, Array]) -> list[CurveRow]:
    """Quartiles over a grid of samples, of costs where runs have them, and of wall times, for all
    configurations, the defaults and the best, chosen on other seeds.

    Args:
        scores: of each agent at the budget, by which the best configuration is chosen.
    """
    grids = _grids(task)
    rows: list[CurveRow] = []
    for agent in task.agents:
        best = _best_on_other_seeds(scores[agent]) if task.tunable(agent) else None
        for axis, grid, along in grids:
            runs = along[agent]
            series = {
                "all configurations": runs,
                "defaults": task.defaults(agent, runs),
                "best configuration, cross-fitted": runs,
            }
            if not task.tunable(agent) and series["defaults"] is not None:
                series["defaults"] = runs
            if best is not None:
                series["best configuration, cross-fitted"] = runs[best]
            for name, kept in series.items():
                if kept is None or not kept.size:
                    continue
                shown = task.shown(quartiles(kept.reshape(-1, 1, len(grid))))
                rows += [
                    CurveRow(task.name, agent, name, axis, x, *q)
                    for x, q in zip(grid, shown.T, strict=True)
                    if not np.isnan(q[1])
                ]
    return rows


def _grids(task: ScoredTask) -> list[tuple[str, Array, Mapping[str, Array]]]:
    """Each axis of the curves, its points [X], and the scores of each agent there, float64 [C, S, X]; the
    axis of the study's effort first.
    """
    runs = [task.runs_of(agent) for agent in task.agents]
    latest = max(int(np.nanmax(r.spent()[..., 0])) for r in runs)
    points = np.unique(np.geomspace(1, latest, POINTS).astype(np.int64))
    at_equal_cost = task.runs.effort == "cost"
    grids: list[tuple[str, Array, Mapping[str, Array]]]
    grids = [("cost" if at_equal_cost else "samples", points, task.scores(points))]
    if at_equal_cost:
        traces = [trace for r in runs for row in r.traces for trace in row if trace is not None]
        most = 1 + max(int(trace.sample.max(initial=0)) for trace in traces)
        samples = np.unique(np.geomspace(1, most, POINTS).astype(np.int64))
        grids.append(("samples", samples, task.scores_along("samples", samples)))
    elif all(r.has_costs for r in runs):
        costs = np.concatenate([r.costs().ravel() for r in runs])
        along = np.geomspace(np.nanmax(costs) / latest, np.nanmax(costs), POINTS)
        grids.append(("cost", along, task.scores_along("cost", along)))
    times = np.concatenate([r.spent()[..., 1].ravel() for r in runs])
    times = times[times > 0]
    if len(times):
        seconds = np.geomspace(max(times.min() / latest, times.max() * 1e-6), times.max(), POINTS)
        grids.append(("seconds", seconds, task.scores_along("seconds", seconds)))
    return grids


def _best_on_other_seeds(scores: Array) -> tuple[Array, Array]:
    """(configurations, seeds): for each seed the configuration with the best mean over all others, and all
    that tie with it.
    """
    chosen = []
    for seed in range(scores.shape[1]):
        others = np.round(known_mean(np.delete(scores, seed, axis=1), -1), 12)
        usable = np.where(np.isnan(scores[:, seed]), np.nan, others)
        if not np.isnan(usable).all():
            chosen += [(c, seed) for c in np.flatnonzero(usable == np.nanmax(usable))]
    pairs = np.array(chosen, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _reward_at(task: ScoredTask, target: float) -> float:
    """The reward at a relative distance from the optimum, or from the best design seen."""
    return task.reference + task.ceiling - task.distance(target)


def _targets(task: ScoredTask) -> list[TargetRow]:
    rows: list[TargetRow] = []
    for agent in task.agents:
        latest = np.nanmax(task.runs_of(agent).spent()[..., 0])
        grid = np.unique(np.geomspace(1, latest, POINTS).astype(np.int64))
        for target in TARGETS:
            reached = statistics.reached_within(
                task.runs_of(agent).samples_to(_reward_at(task, target)), grid
            )
            rows += [
                TargetRow(task.name, agent, target, samples, share)
                for samples, share in zip(grid, reached, strict=True)
            ]
    return rows


def _running_time(task: ScoredTask, tuned: Tuned) -> list[RunningTimeRow]:
    rows = []
    for agent in task.agents:
        spent = task.clusters(agent, task.runs_of(agent).spent())[..., 0]
        for target in TARGETS:
            samples = task.clusters(agent, task.runs_of(agent).samples_to(_reward_at(task, target)))
            reached = np.isfinite(samples).sum() / (~np.isnan(samples)).sum()
            interval = statistics.expected_running_time_interval(samples, spent, tuned.counts[agent])
            rows.append(RunningTimeRow(task.name, agent, target, reached, *interval))
    return rows


# ------------------------------------------------------------------------------------------ tuning and
# comparisons


def _tuning(task: ScoredTask, scores: Mapping[str, Array], tuned: Tuned) -> list[TuningRow]:
    products = sorted(
        {k * b for k in tuned.configurations for b in tuned.samples if k * b <= max(task.samples)}
    )
    longer = {agent: task.defaults(agent, s) for agent, s in task.scores(products).items()}
    untuned = {
        agent: dict(zip(products, known_mean(s.T, -1), strict=True))
        for agent, s in longer.items()
        if s is not None
    }
    pool = (
        task.clusters(RANDOM, scores[RANDOM]) if RANDOM in task.agents and not task.tunable(RANDOM) else None
    )
    rows = []
    for b, samples in enumerate(tuned.samples):
        search = np.full(len(tuned.configurations), np.nan)
        if pool is not None:
            search = statistics.best_of_k_runs(pool[..., b], tuned.configurations)
        for agent in task.agents:
            estimate = _estimates(tuned, agent, b)
            low, high = estimate.interval()
            naive = (
                statistics.naive_best_of_k(scores[agent][..., b], tuned.configurations)
                if task.tunable(agent)
                else search * np.nan
            )
            for i, k in enumerate(tuned.configurations):
                if np.isnan(estimate.value[i]):
                    continue
                others = untuned.get(agent, {}).get(k * samples, np.nan)
                values = np.array([estimate.value[i], low[i], high[i], naive[i], others, search[i]])
                rows.append(TuningRow(task.name, agent, k, samples, *task.shown(values)))
    return rows


def _estimates(tuned: Tuned, agent: str, b: int) -> statistics.Estimate:
    """An agent's estimates for all k at one checkpoint."""
    return statistics.Estimate(*(part[b] for part in tuned.estimates[agent]))


def _comparisons(task: ScoredTask, family: Family) -> list[ComparisonRow]:
    found = family.comparison
    ratio, low, high = (task.shown(part) for part in (found.difference, found.low, found.high))
    return [
        ComparisonRow(
            family=family.name,
            task=task.name,
            agent_a=a,
            agent_b=b,
            ratio=ratio[i],
            low=low[i],
            high=high[i],
            p=found.p[i],
            p_holm=family.p_holm[i],
            p_equivalence=found.p_equivalence[i],
            verdict=family.verdicts[i],
        )
        for i, (a, b) in enumerate(family.pairs)
    ]
