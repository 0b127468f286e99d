"""Turns rewards into comparable scores: one scale per task, one floor for runs without a valid design,
equal samples or equal cost.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archgym.lottery import statistics
from archgym.lottery.data import AgentRuns, TaskRuns
from archgym.space import Array

RANDOM = "random"
"""Name of random search, the baseline of all other agents."""
UNITS = {"samples": "samples", "cost": "reference samples"}
"""What budgets count, by the effort of a study."""
TICKET = 0.01
"""Largest relative distance from the optimum of a winning ticket, and of a saturated task."""


@dataclass(frozen=True)
class ScoredTask:
    """The runs of one task, on one scale.

    Scores are differences of rewards to a reference: to the optimum's where it is known, else to the average
    random design's, else to the best seen. Where rewards are logarithms, the ratio exp(score) is shown; other
    scores are shown unchanged.

    Attributes:
        runs: the task's runs.
        agents: names of the agents with finished runs.
        scale: the reference of the scores, in words.
        reference: reward that has score 0.
        ceiling: score of the optimum, or of the best design seen.
        size: score of a relative difference of 1: 1 for logarithms, else the absolute value of the ceiling's
            reward.
        budget: samples (reference samples in a study of effort "cost", here and below) at which agents are
            compared: the smallest, over agents, of the largest budget of a
            run.
        samples: checkpoints up to the largest budget, on a logarithmic grid that includes `budget` and a
            tenth of it.
    """

    runs: TaskRuns
    agents: tuple[str, ...]
    scale: str
    reference: float
    ceiling: float
    size: float
    budget: int
    samples: tuple[int, ...]

    @property
    def name(self) -> str:
        """The task's label."""
        return self.runs.task

    @property
    def unit(self) -> str:
        """The unit of budgets and checkpoints: "samples" or "reference samples"."""
        return UNITS[self.runs.effort]

    def runs_of(self, agent: str) -> AgentRuns:
        """The runs of an agent."""
        return self.runs.agents[agent]

    def shown(self, scores: Array) -> Array:
        """Scores as shown: ratios for logarithms, else the differences themselves."""
        return np.exp(scores) if self.runs.log_scale else np.asarray(scores, float)

    def distance(self, tolerance: float) -> float:
        """A relative difference, such as 0.01, in the units of the scores."""
        return float(np.log1p(tolerance)) if self.runs.log_scale else tolerance * self.size

    @property
    def ticket(self) -> float:
        """Largest distance from the ceiling at which a run has reached it; about 0 where the ceiling is
        only the best design seen.
        """
        return 1e-9 * self.size if self.runs.optimum is None else self.distance(TICKET)

    def scores(self, samples: Sequence[int] | Array) -> dict[str, Array]:
        """Scores of each agent after numbers of samples [B]: float64 [C, S, B]; NaN for a missing run or a
        smaller budget.
        """
        return self._scored({agent: self.runs_of(agent).best_after(samples) for agent in self.agents})

    def scores_within(self, seconds: Array) -> dict[str, Array]:
        """Scores of each agent after wall times [T]: float64 [C, S, T]; a run that has ended keeps its
        last.
        """
        return self.scores_along("seconds", seconds)

    def scores_along(self, axis: str, at: Sequence[float] | Array) -> dict[str, Array]:
        """Scores of each agent after samples, reference samples ("cost") or seconds [X]: float64 [C, S, X]; a
        run that has ended keeps its last.
        """
        return self._scored({agent: self.runs_of(agent).best_along(axis, at) for agent in self.agents})

    def final(self) -> dict[str, Array]:
        """Scores of each agent's runs at their own ends: float64 [C, S]."""
        return {
            a: s[..., 0]
            for a, s in self._scored({a: self.runs_of(a).best_within([np.inf]) for a in self.agents}).items()
        }

    def _scored(self, best: Mapping[str, Array]) -> dict[str, Array]:
        """Rewards [C, S, B] to scores; runs without a valid design get the worst finite score of the task
        at the same moment.
        """
        flat = np.concatenate([b.reshape(-1, b.shape[-1]) for b in best.values()])
        floor = np.where(np.isfinite(flat), flat, np.inf).min(axis=0)
        floor = np.where(np.isfinite(floor), floor, np.nan)
        return {agent: np.where(np.isneginf(b), floor, b) - self.reference for agent, b in best.items()}

    def clusters(self, agent: str, scores: Array) -> Array:
        """Scores [C, S, ...] with independent entries along the first axis: runs, [C S, 1, ...], if all
        configurations are equal.
        """
        return scores.reshape(-1, 1, *scores.shape[2:]) if self.runs_of(agent).replicates else scores

    def tunable(self, agent: str) -> bool:
        """Whether the agent ran with more than one configuration."""
        return not self.runs_of(agent).replicates

    def defaults(self, agent: str, scores: Array) -> Array | None:
        """Scores [S, ...] of the agent's default configuration, or None; of an agent without
        hyperparameters, of its first.
        """
        runs = self.runs_of(agent)
        first = 0 if runs.replicates and not runs.configurations[0] else runs.default
        return None if first is None else scores[first]

    def generator(self, seed: int, *parts: str) -> np.random.Generator:
        """A random generator for a part of the analysis, independent of the rest of the study."""
        return np.random.default_rng([seed, *(zlib.crc32(p.encode()) for p in (self.name, *parts))])


def scored(runs: TaskRuns) -> ScoredTask | None:
    """The task on its scale; None if no run found a valid design."""
    traces = {a: [t for row in r.traces for t in row if t is not None] for a, r in runs.agents.items()}
    rewards = [float(t.reward[-1]) for found in traces.values() for t in found if len(t.reward)]
    if not rewards:
        return None
    agents = tuple(a for a, found in traces.items() if found)
    best = max(rewards)
    known = [
        (runs.optimum, "the optimum"),
        (runs.average_random, "the average random design"),
        (best, "the best design seen"),
    ]
    if runs.judged_by:
        known = [(runs.optimum, "the exact front's hypervolume"), (best, "the best front's hypervolume seen")]
    reference, words = next((float(r), w) for r, w in known if r is not None)
    top = best if runs.optimum is None else runs.optimum
    budget = min(max(t.samples for t in traces[a]) for a in agents)
    return ScoredTask(
        runs=runs,
        agents=agents,
        scale=f"{'ratio to' if runs.log_scale else 'difference from'} {words}",
        reference=reference,
        ceiling=top - reference,
        size=1.0 if runs.log_scale else abs(top) or max(rewards) - min(rewards) or 1.0,
        budget=budget,
        samples=checkpoints(budget, max(t.samples for found in traces.values() for t in found)),
    )


def checkpoints(budget: int, largest: int, decades: float = 2.3) -> tuple[int, ...]:
    """1, 2, 5, 10, ... over the last decades up to the largest number of samples, with that number, the
    budget and a tenth of it included.
    """
    series = {m * 10**e for e in range(12) for m in (1, 2, 5)}
    late = {s for s in series if largest / 10**decades <= s < largest}
    return tuple(sorted(late | {max(budget // 10, 1), budget, largest}))


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [1 << i for i in range(max(most, 0).bit_length())]


def quartiles(scores: Array) -> Array:
    """Quartiles over all runs: scores [C, S, X] -> float64 [3, X]."""
    return statistics.quantiles(scores, [0.25, 0.5, 0.75])
