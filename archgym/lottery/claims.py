"""ArchGym's claims (ISCA 2023), worded so that data can contradict them, and their verdicts: values, which
`words` puts into sentences.

Each claim is judged on each task. Claims about every agent are supported only if each single test rejects the
opposite (an intersection-union test, which needs no correction), and contradicted if one test does, after
Holm's correction over the agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TypeAlias

import numpy as np

from archgym.lottery import statistics
from archgym.lottery.comparisons import DEFAULTS, Family, Tuned
from archgym.lottery.scores import RANDOM, TICKET, ScoredTask
from archgym.lottery.statistics import Comparison, Estimate, PairVerdict
from archgym.space import Array

RARE = 0.1
"""Winning tickets are rare where fewer than this share of the runs of random configurations hold one."""


class Claim(StrEnum):
    """The claims; `words.STATEMENTS` has their full wording."""

    NO_BEST_AGENT = "H1"
    LOTTERY = "H2"
    CONVERGENCE = "H3"
    DEFAULTS = "H4"
    BETTER_THAN_RANDOM = "H5"


class Verdict(StrEnum):
    """The verdict of one task on one claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNRESOLVED = "not resolved"
    SATURATED = "no conclusion: saturated"


class Obstacle(Enum):
    """Why a claim cannot be judged on a task."""

    SATURATED = auto()
    TUNED_SATURATED = auto()
    RANDOM_SATURATED = auto()
    TOO_FEW_CONFIGURATIONS = auto()
    TOO_FEW_AGENTS = auto()
    NO_EARLY_CHECKPOINT = auto()
    NO_VARIANCE = auto()
    NO_DEFAULTS = auto()
    NO_RANDOM_SEARCH = auto()
    ONLY_RANDOM_SEARCH = auto()


class Standing(StrEnum):
    """One side of a comparison against the other."""

    BETTER = "better"
    NOT_WORSE = "no worse"
    EQUIVALENT = "equivalent"
    WORSE = "worse"
    UNRESOLVED = "not resolved"


Standings: TypeAlias = Mapping[Standing, Mapping[str, float]]
"""Agents by their standing, each with its difference; without empty groups."""


@dataclass(frozen=True)
class Lead:
    """The largest significant difference between two agents.

    Attributes:
        better, worse: the two agents.
        difference: difference of their scores, positive.
        p_holm: p value after Holm's correction.
    """

    better: str
    worse: str
    difference: float
    p_holm: float


@dataclass(frozen=True)
class PairCounts:
    """Evidence on H1: verdicts on all pairs of agents that have hyperparameters.

    Attributes:
        configurations: number of configurations that each agent is tuned over.
        counts: number of pairs by verdict, without zeros.
        largest: the largest significant difference; None if there is none.
        margin: largest relative difference that is negligible.
    """

    configurations: int
    counts: Mapping[PairVerdict, int]
    largest: Lead | None
    margin: float


@dataclass(frozen=True)
class Explained:
    """Evidence on H2: causes of the variance between runs, and winning tickets.

    Attributes:
        mean, lowest, highest: share of the variance between runs that configurations explain, over agents.
        tickets: share of runs that are winning tickets: (share, low, high).
    """

    mean: float
    lowest: float
    highest: float
    tickets: tuple[float, float, float]


@dataclass(frozen=True)
class Spread:
    """Evidence on H3: differences between tuned agents early and at the budget.

    Attributes:
        configurations: number of configurations that each agent is tuned over.
        early: samples of the early checkpoint.
        before, after: standard deviation between agents at that checkpoint and at the budget, without its
            noise.
    """

    configurations: int
    early: int
    before: float
    after: float


@dataclass(frozen=True)
class DefaultStandings:
    """Evidence on H4: the defaults of each agent against its average random configuration."""

    standings: Standings


@dataclass(frozen=True)
class RandomStandings:
    """Evidence on H5: the best of k runs of each agent against random search with k times the samples."""

    runs: int
    standings: Standings


Findings: TypeAlias = PairCounts | Explained | Spread | DefaultStandings | RandomStandings | Obstacle
Judged: TypeAlias = tuple[Verdict, Findings]


@dataclass(frozen=True)
class Evidence:
    """The verdict of a task on a claim, with its numbers or with the obstacle to a verdict."""

    claim: Claim
    task: str
    verdict: Verdict
    findings: Findings


def judge(
    task: ScoredTask,
    scores: Mapping[str, Array],
    tuned: Tuned,
    families: Sequence[Family],
    *,
    margin: float,
    alpha: float,
    saturated: bool,
) -> list[Evidence]:
    """All claims on one task.

    Args:
        task: the task.
        scores: scores of each agent at the budget, float64 [C, S].
        tuned: tuned scores of its agents.
        families: comparisons of all pairs of agents, by effort.
        margin: largest relative difference between agents that is negligible.
        alpha: chance of a false verdict.
        saturated: True if agents are at the optimum, so that no claim is judged.
    """
    if saturated:
        return [Evidence(claim, task.name, Verdict.SATURATED, Obstacle.SATURATED) for claim in Claim]
    tunable = [a for a in task.agents if task.tunable(a)]
    return [
        Evidence(Claim.NO_BEST_AGENT, task.name, *_no_best_agent(families, tunable, margin)),
        Evidence(Claim.LOTTERY, task.name, *_lottery(task, scores, tunable, alpha)),
        Evidence(Claim.CONVERGENCE, task.name, *_convergence(task, tuned, families, tunable, alpha)),
        Evidence(Claim.DEFAULTS, task.name, *_defaults(task, scores, tunable, margin, alpha)),
        Evidence(
            Claim.BETTER_THAN_RANDOM,
            task.name,
            *_better_than_random(task, scores, tuned, families, margin, alpha),
        ),
    ]


def largest_effort(families: Sequence[Family]) -> Family | Obstacle:
    """The family tuned over the most configurations whose agents are not at the optimum, or why there is
    none.
    """
    over = [family for family in families if family.name != DEFAULTS]
    below = [family for family in over if not family.saturated]
    if below:
        return below[-1]
    return Obstacle.TUNED_SATURATED if over else Obstacle.TOO_FEW_CONFIGURATIONS


def _without_family(obstacle: Obstacle) -> Judged:
    return (Verdict.SATURATED if obstacle is Obstacle.TUNED_SATURATED else Verdict.UNRESOLVED), obstacle


def _no_best_agent(families: Sequence[Family], tunable: Sequence[str], margin: float) -> Judged:
    family = largest_effort(families)
    if isinstance(family, Obstacle):
        return _without_family(family)
    if len(tunable) < 2:
        return Verdict.UNRESOLVED, Obstacle.TOO_FEW_AGENTS
    rows = [
        (pair, float(difference), float(p), verdict)
        for pair, difference, p, verdict in zip(
            family.pairs, family.comparison.difference, family.p_holm, family.verdicts, strict=True
        )
        if set(pair) <= set(tunable)
    ]
    verdicts = [verdict for *_, verdict in rows]
    if len(rows) < len(tunable) * (len(tunable) - 1) // 2:
        verdicts.append(PairVerdict.UNRESOLVED)  # an agent without enough runs to be in a pair
    different = [row for row in rows if row[-1] is PairVerdict.DIFFERENT]
    largest = None
    if different:
        (a, b), difference, p, _ = max(different, key=lambda row: abs(row[1]))
        largest = Lead(*((a, b) if difference > 0 else (b, a)), abs(difference), p)
    counts = {verdict: verdicts.count(verdict) for verdict in PairVerdict if verdict in verdicts}
    found = PairCounts(family.configurations, counts, largest, margin)
    if different:
        return Verdict.CONTRADICTED, found
    return (Verdict.SUPPORTED if set(counts) == {PairVerdict.EQUIVALENT} else Verdict.UNRESOLVED), found


def _lottery(task: ScoredTask, scores: Mapping[str, Array], tunable: Sequence[str], alpha: float) -> Judged:
    ratios = {a: statistics.variance_ratio(scores[a]) for a in tunable}
    ratios = {a: r for a, r in ratios.items() if np.isfinite(r.value)}
    if not ratios:
        return Verdict.UNRESOLVED, Obstacle.NO_VARIANCE
    values, errors, freedom = (np.array([float(r[i]) for r in ratios.values()]) for i in range(3))
    mean = statistics.sum_of(Estimate(values, errors, freedom), 1 / len(values))
    low, high = mean.interval(1 - alpha)
    shares = [statistics.variance_components(scores[a]).share for a in ratios]
    seeds = max(scores[a].shape[1] for a in tunable)
    every = np.concatenate(
        [
            np.pad(scores[a], ((0, 0), (0, seeds - scores[a].shape[1])), constant_values=np.nan)
            for a in tunable
        ]
    )
    hits = np.where(np.isnan(every), np.nan, every >= task.ceiling - task.distance(TICKET))
    tickets = statistics.share_of_runs(hits, 1 - alpha)
    _, lowest, highest = tickets
    found = Explained(float(np.mean(shares)), min(shares), max(shares), tickets)
    if low > 0 and highest < RARE:
        return Verdict.SUPPORTED, found
    return (Verdict.CONTRADICTED if high < 0 or lowest > RARE else Verdict.UNRESOLVED), found


def _convergence(
    task: ScoredTask, tuned: Tuned, families: Sequence[Family], tunable: Sequence[str], alpha: float
) -> Judged:
    family = largest_effort(families)
    if isinstance(family, Obstacle):
        return _without_family(family)
    early = max((b for b in tuned.samples if b <= task.budget / 10), default=None)
    if early is None:
        return Verdict.UNRESOLVED, Obstacle.NO_EARLY_CHECKPOINT
    agents = [a for a in tunable if a in family.estimates]
    if len(agents) < 2:
        return Verdict.UNRESOLVED, Obstacle.TOO_FEW_AGENTS
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
    found = Spread(family.configurations, early, float(spread[0]), float(spread[1]))
    return (Verdict.SUPPORTED if high < 0 else Verdict.CONTRADICTED if low > 0 else Verdict.UNRESOLVED), found


def _defaults(
    task: ScoredTask, scores: Mapping[str, Array], tunable: Sequence[str], margin: float, alpha: float
) -> Judged:
    sides: dict[str, tuple[Estimate, Estimate]] = {}
    for agent in tunable:
        default, runs = task.runs_of(agent).default, scores[agent]
        if default is None or np.isnan(runs[default]).all() or len(runs) < 3:
            continue
        others = np.delete(runs, default, axis=0)
        components = statistics.variance_components(others)
        seeds = (~np.isnan(others)).sum() - (~np.isnan(others).all(axis=1)).sum()
        least = (components.seeds, float(seeds)) if np.isfinite(components.seeds) else (0.0, np.inf)
        sides[agent] = (
            statistics.mean_of_runs(runs[default], least),
            statistics.mean_of_configurations(others),
        )
    if not sides:
        return Verdict.UNRESOLVED, Obstacle.NO_DEFAULTS
    distance = task.distance(margin)
    tests = {a: statistics.compare(*pair, margin=distance, alpha=2 * alpha) for a, pair in sides.items()}
    p_holm = _holm(tests)
    within = [a for a, t in tests.items() if t.low > -distance]
    better = [a for a, t in tests.items() if p_holm[a] <= alpha and t.difference > 0]
    worse = [a for a, t in tests.items() if p_holm[a] <= alpha and t.difference < 0 and a not in within]
    open_ = [a for a in tests if a not in within and a not in worse]
    groups = {
        Standing.BETTER: better,
        Standing.NOT_WORSE: [a for a in within if a not in better],
        Standing.WORSE: worse,
        Standing.UNRESOLVED: [a for a in open_ if a not in better],
    }
    verdict = Verdict.CONTRADICTED if worse else Verdict.UNRESOLVED if open_ else Verdict.SUPPORTED
    return verdict, DefaultStandings(_standings(groups, tests))


def _better_than_random(
    task: ScoredTask,
    scores: Mapping[str, Array],
    tuned: Tuned,
    families: Sequence[Family],
    margin: float,
    alpha: float,
) -> Judged:
    if RANDOM not in task.agents or task.tunable(RANDOM):
        return Verdict.UNRESOLVED, Obstacle.NO_RANDOM_SEARCH
    others = [a for a in task.agents if a != RANDOM]
    if not others:
        return Verdict.UNRESOLVED, Obstacle.ONLY_RANDOM_SEARCH
    efforts = [family.configurations for family in families if family.name != DEFAULTS]
    pools = {a: task.clusters(a, scores[a]) for a in task.agents}
    for k in [*sorted(efforts, reverse=True), 1]:
        best = {
            a: Estimate(
                *(
                    p[0]
                    for p in statistics.resampled_best_of_k(
                        runs, [k], tuned.counts[a], statistics.best_of_k_runs
                    )[0]
                )
            )
            for a, runs in pools.items()
        }
        known = [a for a in others if np.isfinite(best[a].value)]  # agents with at least k runs
        if known and best[RANDOM].value < task.ceiling - task.ticket:
            break
    else:
        return Verdict.SATURATED, Obstacle.RANDOM_SATURATED
    tests = {
        a: statistics.compare(best[a], best[RANDOM], margin=task.distance(margin), alpha=alpha) for a in known
    }
    p_holm = _holm(tests)
    groups: dict[Standing, list[str]] = {
        s: [] for s in (Standing.BETTER, Standing.EQUIVALENT, Standing.WORSE, Standing.UNRESOLVED)
    }
    for agent, test in tests.items():
        groups[_standing(test, p_holm[agent], alpha)].append(agent)
    found = RandomStandings(k, _standings(groups, tests))
    if groups[Standing.WORSE] or groups[Standing.EQUIVALENT]:
        return Verdict.CONTRADICTED, found
    return (Verdict.UNRESOLVED if groups[Standing.UNRESOLVED] else Verdict.SUPPORTED), found


def _holm(tests: Mapping[str, Comparison]) -> dict[str, float]:
    """p values after Holm's correction over the agents."""
    return dict(
        zip(tests, statistics.holm(np.array([float(t.p) for t in tests.values()])).tolist(), strict=True)
    )


def _standing(test: Comparison, p_holm: float, alpha: float) -> Standing:
    match statistics.verdict(p_holm, float(test.p_equivalence), alpha):
        case PairVerdict.EQUIVALENT:
            return Standing.EQUIVALENT
        case PairVerdict.DIFFERENT:
            return Standing.BETTER if test.difference > 0 else Standing.WORSE
        case _:
            return Standing.UNRESOLVED


def _standings(groups: Mapping[Standing, Sequence[str]], tests: Mapping[str, Comparison]) -> Standings:
    return {
        standing: {a: float(tests[a].difference) for a in agents}
        for standing, agents in groups.items()
        if agents
    }
