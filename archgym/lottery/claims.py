"""What ArchGym (ISCA 2023) claims, worded so that data can contradict it, and what a study says; then the same in plain words.

Each claim is judged on each task: "supported", "contradicted", "not resolved", or "no conclusion: saturated" where agents sit at the
optimum. Claims about every agent are supported only if each single test rejects the opposite (an intersection-union test, which needs no
correction), and contradicted if one is, after Holm's correction over the agents.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archgym.lottery import statistics
from archgym.lottery.comparisons import DEFAULTS, Cell, Family, Tuned
from archgym.lottery.scores import RANDOM, TICKET, Task
from archgym.lottery.statistics import Estimate
from archgym.space import Array

SUPPORTED, CONTRADICTED, UNRESOLVED, SATURATED = "supported", "contradicted", "not resolved", "no conclusion: saturated"
RARE = 0.1
"""Winning tickets are rare where fewer than this share of the runs of random configurations hold one."""

STATEMENTS = {
    "H1": "With tuned hyperparameters no agent is better than another: all pairs of agents that have hyperparameters, each tuned over the "
    "same number of configurations, are equivalent within the margin.",
    "H2": "Hyperparameters are a lottery: averaged over the agents that have some, the choice of configuration changes a run's result "
    f"more than the seed does, and fewer than {100 * RARE:.0f} % of runs with random configurations are winning tickets (within "
    f"{100 * TICKET:.0f} % of the optimum, or of the best design seen where that is not known).",
    "H3": "With more samples agents converge: the variance between agents with tuned hyperparameters is smaller at the budget than at a "
    "tenth of it. (Unlimited samples cannot be observed.)",
    "H4": "Defaults are no gamble: each agent's default configuration is, within the margin, no worse than its average random "
    "configuration.",
    "H5": "Every agent beats random search when tuning is charged for: the best design that k runs with k different configurations find is "
    "better than the best that random search finds with the same number of samples in all, by any amount, and not equivalent within the "
    "margin.",
}


@dataclass(frozen=True)
class Evidence:
    """What a task says about a hypothesis."""

    hypothesis: str
    task: str
    verdict: str
    evidence: str

    @property
    def statement(self) -> str:
        """The hypothesis in words."""
        return STATEMENTS[self.hypothesis]


def judge(
    task: Task, scores: Mapping[str, Array], tuned: Tuned, families: Sequence[Family], *, margin: float, alpha: float, saturated: bool
) -> list[Evidence]:
    """All hypotheses on one task.

    Args:
        scores: of each agent at the budget, float64 [C, S].
        saturated: whether the task is: nothing is concluded then.
    """
    if saturated:
        return [Evidence(h, task.name, SATURATED, "agents sit at the optimum: differences cannot be seen") for h in STATEMENTS]
    tunable = [a for a in task.agents if task.tunable(a)]
    return [
        Evidence("H1", task.name, *_no_agent_is_better(task, families, tunable, margin)),
        Evidence("H2", task.name, *_lottery(task, scores, tunable, alpha)),
        Evidence("H3", task.name, *_convergence(task, tuned, families, tunable, alpha)),
        Evidence("H4", task.name, *_defaults(task, scores, tunable, margin, alpha)),
        Evidence("H5", task.name, *_better_than_random(task, scores, tuned, families, margin, alpha)),
    ]


def _no_agent_is_better(task: Task, families: Sequence[Family], tunable: Sequence[str], margin: float) -> tuple[str, str]:
    family, reason = _largest(families)
    if family is None:
        return (SATURATED if reason else UNRESOLVED), reason or "too few configurations to tune over"
    if len(tunable) < 2:
        return UNRESOLVED, "fewer than two agents with hyperparameters"
    kept = [v for (a, b), v in zip(family.pairs, family.verdicts, strict=True) if a in tunable and b in tunable]
    if len(kept) < len(tunable) * (len(tunable) - 1) // 2:
        kept.append(UNRESOLVED)  # an agent without enough runs to be in a pair
    words = ", ".join(f"{kept.count(v)} {v}" for v in ("different", "equivalent", UNRESOLVED) if v in kept)
    told = [(p, float(d), float(q)) for p, d, q, v in _rows(family) if v == "different" and set(p) <= set(tunable)]
    widest = max(told, key=lambda row: abs(row[1]), default=None)
    example = ""
    if widest:
        (a, b), d, p = widest
        example = f"; e.g. {a if d > 0 else b} is better than {b if d > 0 else a} by {_by(task, abs(d))} (p {p:.2g} after Holm)"
    evidence = f"{family.name} configurations: of {len(kept)} pairs {words} (margin {_percent(margin)}){example}"
    if "different" in kept:
        return CONTRADICTED, evidence
    return (SUPPORTED if set(kept) == {"equivalent"} else UNRESOLVED), evidence


def _rows(family: Family) -> list[tuple[tuple[str, str], float, float, str]]:
    """(pair, difference, p after Holm, verdict) of each pair."""
    return list(zip(family.pairs, family.comparison.difference, family.p_holm, family.verdicts, strict=True))


def _largest(families: Sequence[Family]) -> tuple[Family | None, str]:
    """The family tuned over most configurations that is not at the ceiling; None and a reason where all of them are."""
    over = [family for family in families if family.name != DEFAULTS]
    below = [family for family in over if not family.saturated]
    return (below[-1], "") if below else (None, "tuned agents sit at the optimum" if over else "")


def _lottery(task: Task, scores: Mapping[str, Array], tunable: Sequence[str], alpha: float) -> tuple[str, str]:
    ratios = {a: statistics.variance_ratio(scores[a]) for a in tunable}
    ratios = {a: r for a, r in ratios.items() if np.isfinite(r.value)}
    if not ratios:
        return UNRESOLVED, "no agent has three configurations with two seeds each whose results differ"
    values, errors, freedom = (np.array([float(r[i]) for r in ratios.values()]) for i in range(3))
    mean = statistics.sum_of(Estimate(values, errors, freedom), 1 / len(values))
    low, high = mean.interval(1 - alpha)
    shares = [statistics.variance_components(scores[a]).share for a in ratios]
    seeds = max(scores[a].shape[1] for a in tunable)
    every = np.concatenate([np.pad(scores[a], ((0, 0), (0, seeds - scores[a].shape[1])), constant_values=np.nan) for a in tunable])
    hits = np.where(np.isnan(every), np.nan, every >= task.ceiling - task.distance(TICKET))
    tickets, least, most = statistics.share_of_runs(hits, 1 - alpha)
    evidence = (
        f"configurations explain {_percent(np.mean(shares))} of the variance between runs ({_percent(min(shares))} to "
        f"{_percent(max(shares))} by agent); {_percent(tickets, 1)} of runs are winning tickets "
        f"({_percent(least, 1)} to {_percent(most, 1)})"
    )
    if low > 0 and most < RARE:
        return SUPPORTED, evidence
    return (CONTRADICTED if high < 0 or least > RARE else UNRESOLVED), evidence


def _convergence(task: Task, tuned: Tuned, families: Sequence[Family], tunable: Sequence[str], alpha: float) -> tuple[str, str]:
    family, reason = _largest(families)
    if family is None:
        return (SATURATED if reason else UNRESOLVED), reason or "too few configurations to tune over"
    early = max((b for b in tuned.samples if b <= task.budget / 10), default=None)
    agents = [a for a in tunable if a in family.estimates]
    if early is None or len(agents) < 2:
        return UNRESOLVED, "fewer than two agents with hyperparameters" if early else "the budget is too small to have an earlier tenth"
    k = tuned.configurations.index(family.configurations)
    moments = [
        (
            Estimate(*np.array([tuned.estimate(a, family.configurations, samples) for a in agents], float).T),
            np.stack([tuned.replicates[a][:, tuned.samples.index(samples), k] for a in agents], axis=1),
        )
        for samples in (early, task.budget)
    ]
    (before, drawn_before), (after, drawn_after) = moments
    spread, change = statistics.change_of_spread(before, after, drawn_before, drawn_after)
    low, high = change.interval(1 - alpha)
    typical = [_by(task, float(s)) for s in spread]
    evidence = (
        f"{family.name} configurations, agents typically (one standard deviation, without its noise) differ by {typical[0]} at {early:,} "
        f"samples and by {typical[1]} at {task.budget:,}"
    )
    return (SUPPORTED if high < 0 else CONTRADICTED if low > 0 else UNRESOLVED), evidence


def _defaults(task: Task, scores: Mapping[str, Array], tunable: Sequence[str], margin: float, alpha: float) -> tuple[str, str]:
    found: dict[str, tuple[Estimate, Estimate]] = {}
    for agent in tunable:
        default, runs = task.of(agent).default, scores[agent]
        if default is None or np.isnan(runs[default]).all() or len(runs) < 3:
            continue
        others = np.delete(runs, default, axis=0)
        components = statistics.variance_components(others)
        seeds = (~np.isnan(others)).sum() - (~np.isnan(others).all(axis=1)).sum()
        least = (components.seeds, float(seeds)) if np.isfinite(components.seeds) else (0.0, np.inf)
        found[agent] = statistics.mean_of_runs(runs[default], least), statistics.mean_of_configurations(others)
    if not found:
        return UNRESOLVED, "no agent has its defaults and random configurations to compare them with"
    distance = task.distance(margin)
    tests = {a: statistics.compare(*sides, margin=distance, alpha=2 * alpha) for a, sides in found.items()}
    p_holm = statistics.holm(np.array([float(t.p) for t in tests.values()]))
    fine = [a for a, t in tests.items() if t.low > -distance]
    worse = [a for (a, t), p in zip(tests.items(), p_holm, strict=True) if p <= alpha and t.difference < 0 and a not in fine]
    better = [a for (a, t), p in zip(tests.items(), p_holm, strict=True) if p <= alpha and t.difference > 0]
    rest = [a for a in tests if a not in fine and a not in worse]
    parts = [
        f"{word}: {', '.join(f'{a} ({_change(task, float(tests[a].difference))})' for a in group)}"
        for word, group in (
            ("better", better),
            ("no worse", [a for a in fine if a not in better]),
            ("worse", worse),
            (UNRESOLVED, [a for a in rest if a not in better]),
        )
        if group
    ]
    evidence = "defaults against the average random configuration: " + "; ".join(parts)
    return (CONTRADICTED if worse else SUPPORTED if not rest else UNRESOLVED), evidence


def _better_than_random(
    task: Task, scores: Mapping[str, Array], tuned: Tuned, families: Sequence[Family], margin: float, alpha: float
) -> tuple[str, str]:
    if RANDOM not in task.agents or task.tunable(RANDOM):
        return UNRESOLVED, "the study has no random search"
    others = [a for a in task.agents if a != RANDOM]
    if not others:
        return UNRESOLVED, "the study has no agent but random search"
    efforts = [family.configurations for family in families if family.name != DEFAULTS]
    pools = {a: task.clusters(a, scores[a]) for a in task.agents}
    for k in [*sorted(efforts, reverse=True), 1]:
        best = {
            a: Estimate(*(p[0] for p in statistics.resampled_best_of_k(runs, [k], tuned.counts[a], statistics.best_of_k_runs)[0]))
            for a, runs in pools.items()
        }
        known = [a for a in others if np.isfinite(best[a].value)]  # that have k runs at all
        if known and best[RANDOM].value < task.ceiling - task.ticket:
            break
    else:
        return SATURATED, "random search finds the optimum"
    tests = {a: statistics.compare(best[a], best[RANDOM], margin=task.distance(margin), alpha=alpha) for a in known}
    p_holm = statistics.holm(np.array([float(t.p) for t in tests.values()]))
    groups: dict[str, list[str]] = {"better": [], "equivalent": [], "worse": [], UNRESOLVED: []}
    for (agent, test), p in zip(tests.items(), p_holm, strict=True):
        word = statistics.verdict(float(p), float(test.p_equivalence), alpha)
        groups[("better" if test.difference > 0 else "worse") if word == "different" else word].append(agent)
    parts = [
        f"{word}: {', '.join(f'{a} ({_change(task, float(tests[a].difference))})' for a in group)}"
        for word, group in groups.items()
        if group
    ]
    evidence = f"{k} run{'s' * (k != 1)} of {task.budget:,} samples against random search with {k * task.budget:,}: " + "; ".join(parts)
    if groups["worse"] or groups["equivalent"]:
        return CONTRADICTED, evidence
    return (UNRESOLVED if groups[UNRESOLVED] else SUPPORTED), evidence


# --------------------------------------------------------------------------------------------- plain words


def conclude(
    task: Task, families: Sequence[Family], evidence: Sequence[Evidence], *, margin: float, saturated: bool, seeds: int
) -> list[str]:
    """A few sentences on one task: tuned, untuned, the lottery, random search. None says more than the verdicts do."""
    if saturated:
        return [
            f"{task.name}: no conclusion, as agents sit at the optimum after {task.budget:,} samples; use a harder task or fewer samples."
        ]
    said = []
    family, reason = _largest(families)
    if family is not None:
        effort = f"tuned over {family.configurations} configurations of {task.budget:,} samples"
        said.append(f"{task.name}: {effort}, {_order(task, family, margin, seeds)}.")
    elif reason:
        said.append(f"{task.name}: no conclusion on tuned agents, as they sit at the optimum.")
    defaults = next((f for f in families if f.name == DEFAULTS), None)
    if defaults is not None and not defaults.saturated:
        said.append(f"{task.name}: untuned, with {task.budget:,} samples, {_order(task, defaults, margin, seeds)}.")
    by = {e.hypothesis: e for e in evidence}
    lottery, random = by.get("H2"), by.get("H5")
    if lottery is not None and "explain" in lottery.evidence:
        words = {SUPPORTED: "it is a lottery", CONTRADICTED: "it is not the claimed lottery"}.get(
            lottery.verdict, "whether it is a lottery is not resolved"
        )
        said.append(f"{task.name}: {words}: {lottery.evidence}.")
    if random is not None and "against" in random.evidence:
        said.append(f"{task.name}: with tuning charged for, {random.evidence}.")
    return said


def _order(task: Task, family: Family, margin: float, seeds: int) -> str:
    """Every agent against the one with the best estimate, in words."""
    by = f"{seeds} seed{'s' * (seeds != 1)}"
    if family.name != DEFAULTS:
        by = f"{max(len(task.of(a).traces) for a in family.estimates)} configurations of {by}"
    first, *others = sorted(family.estimates, key=lambda a: -float(family.estimates[a].value))
    verdicts = {a: family.verdict(first, a) for a in others}
    same, worse, open_ = ([a for a in others if verdicts[a] == v] for v in ("equivalent", "different", UNRESOLVED))
    top = f"{first} ({_level(task, float(family.estimates[first].value))})"
    mutual = all(family.verdict(a, b) == "equivalent" for a, b in itertools.combinations(same, 2))
    if same and mutual:
        parts = [f"{_list([top, *same])} are equivalent within {_percent(margin)}"]
    else:
        parts = [
            f"{top} has the best estimate" + (f", to which {_list(same)} are each equivalent within {_percent(margin)}" if same else "")
        ]
    if worse:
        gaps = [float(family.estimates[a].value - family.estimates[first].value) for a in worse]
        parts.append(f"{_list([f'{a} ({_change(task, g)})' for a, g in zip(worse, gaps, strict=True)])} {_are(worse)} worse")
    if open_:
        parts.append(f"{_list(open_)} {_are(open_)} not resolved by {by}")
    return "; ".join(parts)


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _are(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"


def _level(task: Task, score: float) -> str:
    """A score in words: 0.985 of the optimum."""
    log = task.runs.log_scale
    reference = task.scale.removeprefix("ratio to ").removeprefix("difference from ")
    relation = "from" if not log else "times" if task.runs.optimum is None else "of"
    return f"{float(task.shown(np.asarray(score))):.4g} {relation} {reference}"


def _change(task: Task, difference: float) -> str:
    """A difference in words, with its sign: -3.2 %."""
    return f"{100 * np.expm1(difference):+.1f} %" if task.runs.log_scale else f"{difference:+.3g}"


def _by(task: Task, difference: float) -> str:
    """The size of a difference in words."""
    return _change(task, difference).lstrip("+-")


def _percent(share: float | np.floating, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


CLAIMS = {
    "H1": "that no tuned agent is better than another",
    "H2": "that hyperparameters are a lottery",
    "H3": "that agents converge with more samples",
    "H4": "that defaults are no gamble",
    "H5": "that every agent beats random search when tuning is charged for",
}


def overall(evidence: Sequence[Evidence], cells: Sequence[Cell], least: int = 2) -> list[str]:
    """What several tasks say together, in plain words: verdicts counted by claim, and the ends of the map of all tasks.

    Args:
        evidence: of all tasks.
        cells: of the lottery map.
        least: tasks that are several.
    """
    tasks = len({e.task for e in evidence})
    if tasks < least:
        return []
    counted = []
    for claim, words in CLAIMS.items():
        verdicts = [e.verdict for e in evidence if e.hypothesis == claim]
        found = [f"{verdict} on {verdicts.count(verdict)}" for verdict in (SUPPORTED, CONTRADICTED) if verdict in verdicts]
        counted.append(f"{words} is {' and '.join(found) or 'not resolved on any'}")
    lines = [f"Over {tasks} tasks, the claim {'; '.join(counted)}."]
    everywhere = [cell for cell in cells if cell.task == "all tasks"]
    if everywhere:
        ends = [min(everywhere, key=lambda c: (c.configurations, -c.samples)), max(everywhere, key=lambda c: (c.configurations, c.samples))]
        picks = [
            f"{cell.agent} with {cell.configurations:,} configuration{'s' * (cell.configurations > 1)} of {cell.samples:,} samples "
            f"(the best in {cell.confidence:.0%} of resamplings)".replace("%", " %")
            for cell in dict.fromkeys(ends)
        ]
        lines.append(f"Over all tasks that are not saturated, pick {' and '.join(picks)}.")
    return lines
