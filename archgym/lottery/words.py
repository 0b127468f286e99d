"""A study in sentences: the claims, the evidence on each, and the conclusions; no other module words them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from archgym.lottery.claims import (
    RARE,
    Claim,
    DefaultStandings,
    Evidence,
    Explained,
    Obstacle,
    PairCounts,
    RandomStandings,
    Spread,
    Standings,
    Verdict,
    largest_effort,
)
from archgym.lottery.comparisons import DEFAULTS, Family, MapCell
from archgym.lottery.data import Control
from archgym.lottery.scores import TICKET, ScoredTask
from archgym.lottery.statistics import PairVerdict
from archgym.words import percent

STATEMENTS = {
    Claim.NO_BEST_AGENT: (
        "With tuned hyperparameters no agent is better than another: all pairs of agents that have "
        "hyperparameters, each tuned over the same number of configurations, are equivalent within the "
        "margin."
    ),
    Claim.LOTTERY: (
        "Hyperparameters are a lottery: averaged over the agents that have hyperparameters, the choice of "
        f"configuration changes a run's result more than the seed does, and fewer than {100 * RARE:.0f} % of "
        f"runs with random configurations are winning tickets (within {100 * TICKET:.0f} % of the "
        "optimum, or "
        "of the best design seen where the optimum is not known)."
    ),
    Claim.CONVERGENCE: (
        "With more samples agents converge: the variance between agents with tuned hyperparameters is "
        "smaller at the budget than at a tenth of it. (Unlimited samples cannot be observed.)"
    ),
    Claim.DEFAULTS: (
        "Defaults are not a gamble: each agent's default configuration is, within the margin, not worse than "
        "its average random configuration."
    ),
    Claim.BETTER_THAN_RANDOM: (
        "Every agent beats random search when tuning counts as samples: the best design that k "
        "runs with k different configurations find is better, by any amount, than the best that random "
        "search "
        "finds with the same total number of samples, and not equivalent within the margin."
    ),
}
"""Each claim, as it is tested."""

CLAIMS = {
    Claim.NO_BEST_AGENT: "that no tuned agent is better than another",
    Claim.LOTTERY: "that hyperparameters are a lottery",
    Claim.CONVERGENCE: "that agents converge with more samples",
    Claim.DEFAULTS: "that defaults are not a gamble",
    Claim.BETTER_THAN_RANDOM: "that every agent beats random search when tuning counts as samples",
}
"""Each claim in short, as the rest of a sentence."""

OBSTACLES = {
    Obstacle.SATURATED: "agents are at the optimum, where differences cannot be seen",
    Obstacle.TUNED_SATURATED: "tuned agents are at the optimum",
    Obstacle.RANDOM_SATURATED: "random search finds the optimum",
    Obstacle.TOO_FEW_CONFIGURATIONS: "too few configurations for tuning",
    Obstacle.TOO_FEW_AGENTS: "fewer than two agents with hyperparameters",
    Obstacle.NO_EARLY_CHECKPOINT: "the budget is too small for a checkpoint at a tenth of it",
    Obstacle.NO_VARIANCE: "no agent has three configurations with two seeds each and different results",
    Obstacle.NO_DEFAULTS: "no agent has runs of both its defaults and random configurations",
    Obstacle.NO_RANDOM_SEARCH: "the study has no random search",
    Obstacle.ONLY_RANDOM_SEARCH: "the study has no agent but random search",
}
"""Why a claim cannot be judged, as the rest of a sentence."""


class Conclusion(NamedTuple):
    """One sentence.

    Attributes:
        task: label of the task it is about; "" for all of them.
        sentence: the sentence, without the task's label.
    """

    task: str
    sentence: str

    def __str__(self) -> str:
        """The sentence, after the task's label."""
        return f"{self.task}: {self.sentence}" if self.task else self.sentence


def conclude(
    task: ScoredTask, families: Sequence[Family], evidence: Sequence[Evidence], *, margin: float, seeds: int
) -> list[Conclusion]:
    """A few sentences on one task: tuned agents, untuned agents, the lottery, random search. No sentence
    goes beyond the verdicts.
    """
    by_claim = {e.claim: e for e in evidence}
    if all(e.findings is Obstacle.SATURATED for e in evidence):
        saturated = f"no conclusion, as agents are at the optimum after {task.budget:,} {task.unit}"
        return [Conclusion(task.name, f"{saturated}; use a harder task or fewer {task.unit}.")]
    sentences = []
    family = largest_effort(families)
    if isinstance(family, Family):
        effort = f"tuned over {family.configurations} configurations of {task.budget:,} {task.unit}"
        sentences.append(f"{effort}, {_order(task, family, margin, seeds)}.")
    elif family is Obstacle.TUNED_SATURATED:
        sentences.append("no conclusion on tuned agents, as they are at the optimum.")
    defaults = next((f for f in families if f.name == DEFAULTS), None)
    if defaults is not None and not defaults.saturated:
        sentences.append(
            f"untuned, with {task.budget:,} {task.unit}, {_order(task, defaults, margin, seeds)}."
        )
    lottery, random = by_claim[Claim.LOTTERY], by_claim[Claim.BETTER_THAN_RANDOM]
    if isinstance(lottery.findings, Explained):
        answer = {
            Verdict.SUPPORTED: "it is a lottery",
            Verdict.CONTRADICTED: "it is not the claimed lottery",
        }.get(lottery.verdict, "whether it is a lottery is not resolved")
        sentences.append(f"{answer}: {evidence_in_words(task, lottery)}.")
    if isinstance(random.findings, RandomStandings):
        sentences.append(f"with tuning counted as {task.unit}, {evidence_in_words(task, random)}.")
    return [Conclusion(task.name, sentence) for sentence in sentences]


def overall(
    evidence: Sequence[Evidence], cells: Sequence[MapCell], min_tasks: int = 2, unit: str = "samples"
) -> list[Conclusion]:
    """Conclusions of several tasks together: verdicts counted by claim, and the two ends of the map of all
    tasks.

    Args:
        evidence: evidence of all tasks.
        cells: cells of the lottery map.
        min_tasks: smallest number of tasks that are summed up.
        unit: what budgets count, "samples" or "reference samples".
    """
    tasks = len({e.task for e in evidence})
    if tasks < min_tasks:
        return []
    counted = []
    for claim, words in CLAIMS.items():
        verdicts = [e.verdict for e in evidence if e.claim is claim]
        found = [
            f"{verdict} on {verdicts.count(verdict)}"
            for verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED)
            if verdict in verdicts
        ]
        counted.append(f"{in_unit(words, unit)} is {' and '.join(found) or 'not resolved on any'}")
    sentences = [f"Over {tasks} tasks, the claim {'; '.join(counted)}."]
    everywhere = [cell for cell in cells if cell.task == "all tasks"]
    if everywhere:
        ends = [
            min(everywhere, key=lambda c: (c.configurations, -(c.samples or np.inf))),
            max(everywhere, key=lambda c: (c.configurations, c.samples or np.inf)),
        ]
        picks = [
            f"{cell.agent} with {_effort(cell, unit)} "
            f"(the best in {percent(cell.confidence, 0)} of resamplings)"
            for cell in dict.fromkeys(ends)
        ]
        sentences.append(f"Over all tasks that are not saturated, pick {' and '.join(picks)}.")
    return [Conclusion("", sentence) for sentence in sentences]


def in_unit(text: str, unit: str) -> str:
    """A text about samples, in what budgets count."""
    return text if unit == "samples" else text.replace("samples", unit)


def control_beats(task: ScoredTask, control: Control, beaten: Mapping[str, float]) -> Conclusion:
    """A control that is better than agents at no more cost.

    Args:
        task: the task.
        control: the control.
        beaten: mean score of each agent that it beats, at the budget.
    """
    spent = "reference sample" if task.runs.effort == "cost" else "sample"
    agents = _list([f"{a} ({float(task.shown(np.asarray(score))):.4g})" for a, score in beaten.items()])
    level = _level(task, control.reward - task.reference)
    cost = f"{control.cost:.3g} {spent}{'' if f'{control.cost:.3g}' == '1' else 's'}"
    worth = "its search shows" if len(beaten) == 1 else "their searches show"
    return Conclusion(
        task.name,
        f"the control '{control.name}' reaches {level} for {cost}, more than {agents} with "
        f"{task.budget:,} {task.unit}: {worth} no worth here.",
    )


def evidence_in_words(task: ScoredTask, evidence: Evidence) -> str:
    """The numbers behind a verdict, or the obstacle to one."""
    match evidence.findings:
        case Obstacle() as obstacle:
            return OBSTACLES[obstacle]
        case PairCounts(k, counts, largest, margin):
            pairs = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
            example = ""
            if largest is not None:
                gap = _by(task, largest.difference)
                better, worse, p = largest.better, largest.worse, largest.p_holm
                example = f"; e.g. {better} is better than {worse} by {gap} (p {p:.2g} after Holm)"
            all_pairs = f"of {sum(counts.values())} pairs {pairs}"
            return f"tuned over {k} configurations: {all_pairs} (margin {percent(margin, 0)}){example}"
        case Explained(mean, lowest, highest, (share, low, high)):
            return (
                f"configurations explain {percent(mean, 0)} of the variance between runs "
                f"({percent(lowest, 0)} to {percent(highest, 0)} by agent); {percent(share)} of runs are "
                f"winning tickets ({percent(low)} to {percent(high)})"
            )
        case Spread(k, early, before, after):
            return (
                f"tuned over {k} configurations, agents typically (one standard deviation, without its "
                f"noise) differ by {_by(task, before)} at {early:,} {task.unit} and by {_by(task, after)} at "
                f"{task.budget:,}"
            )
        case DefaultStandings(standings):
            return f"defaults against the average random configuration: {_standings(task, standings)}"
        case RandomStandings(k, standings):
            runs = f"{k} {_plural(k, 'run')} of {task.budget:,} {task.unit}"
            spent = f"{runs} against random search with {k * task.budget:,}"
            return f"{spent}: {_standings(task, standings)}"


def _order(task: ScoredTask, family: Family, margin: float, seeds: int) -> str:
    """Every agent against the one with the best estimate."""
    data = f"{seeds} {_plural(seeds, 'seed')}"
    if family.name != DEFAULTS:
        data = f"{max(len(task.runs_of(a).traces) for a in family.estimates)} configurations of {data}"
    first, *others = sorted(family.estimates, key=lambda a: -float(family.estimates[a].value))
    verdicts = {a: family.verdict(first, a) for a in others}
    same, worse, open_ = (
        [a for a in others if verdicts[a] is v]
        for v in (PairVerdict.EQUIVALENT, PairVerdict.DIFFERENT, PairVerdict.UNRESOLVED)
    )
    top = f"{first} ({_level(task, float(family.estimates[first].value))})"
    mutual = all(family.verdict(a, b) is PairVerdict.EQUIVALENT for a, b in itertools.combinations(same, 2))
    if same and mutual:
        parts = [f"{_list([top, *same])} are equivalent within {percent(margin, 0)}"]
    else:
        each = f", to which {_list(same)} are each equivalent within {percent(margin, 0)}" if same else ""
        parts = [f"{top} has the best estimate{each}"]
    if worse:
        gaps = {a: float(family.estimates[a].value - family.estimates[first].value) for a in worse}
        parts.append(
            f"{_list([f'{a} ({_change(task, gap)})' for a, gap in gaps.items()])} {_are(worse)} worse"
        )
    if open_:
        parts.append(f"{_list(open_)} {_are(open_)} not resolved by {data}")
    return "; ".join(parts)


def _effort(cell: MapCell, unit: str) -> str:
    """The effort of a cell of the lottery map: 16 configurations of 1,000 samples."""
    samples = "the full budget of each task" if cell.samples is None else f"{cell.samples:,} {unit}"
    return f"{cell.configurations:,} {_plural(cell.configurations, 'configuration')} of {samples}"


def _standings(task: ScoredTask, standings: Standings) -> str:
    """ "better: a (+3.1 %), b (+2.0 %); worse: c (-1.0 %)"."""
    groups = {
        s: ", ".join(f"{a} ({_change(task, difference)})" for a, difference in agents.items())
        for s, agents in standings.items()
    }
    return "; ".join(f"{standing}: {agents}" for standing, agents in groups.items())


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _are(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"


def _level(task: ScoredTask, score: float) -> str:
    """A score: 0.985 of the optimum."""
    log = task.runs.log_scale
    reference = task.scale.removeprefix("ratio to ").removeprefix("difference from ")
    relation = "from" if not log else "times" if task.runs.optimum is None else "of"
    return f"{float(task.shown(np.asarray(score))):.4g} {relation} {reference}"


def _change(task: ScoredTask, difference: float) -> str:
    """A difference with its sign: -3.2 %."""
    return f"{100 * np.expm1(difference):+.1f} %" if task.runs.log_scale else f"{difference:+.3g}"


def _by(task: ScoredTask, difference: float) -> str:
    """The size of a difference."""
    return _change(task, difference).lstrip("+-")
