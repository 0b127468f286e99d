"""The input of the statistics: the improvements of every run, arranged as task -> agent -> configurations x
seeds.

A trace is a run's strictly improving valid rewards. From traces follow, exactly, for any sample count b, any
cost c in reference samples and any wall time t,

    best(b) = max {r_i : sample_i < b}        best(t) = max {r_i : seconds_i <= t}
    best(c) = max {r_i : cost_i <= c}         hit(r) = 1 + min {sample_i : r_i >= r}
                                              at equal cost  min {cost_i : r_i >= r}

In a study of effort "cost", budgets are reference samples, and so are all numbers called samples here: runs
are compared at best(c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from archgym.space import Array

_ROUNDING = 1e-12  # of costs divided by that of a reference sample


class Trace(NamedTuple):
    """One finished run.

    Attributes:
        sample: 0-based samples at which the best valid reward improved, int64 [I], increasing; empty if no
            design was valid.
        reward: new best rewards, float64 [I], increasing.
        seconds: wall time from the start of the run to each improvement, float64 [I].
        samples: budget of the run: samples, or reference samples in a study of effort "cost".
        total_seconds: wall time of the whole run.
        cost: reference samples until each improvement, what was charged beside samples included, float64 [I];
            None where the study has no costs.
        total_cost: reference samples of the whole run; None likewise.
        charges: reference samples of what was charged beside samples, by what it was for.
    """

    sample: Array
    reward: Array
    seconds: Array
    samples: int
    total_seconds: float
    cost: Array | None = None
    total_cost: float | None = None
    charges: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class AgentRuns:
    """All runs of one agent on one task.

    Attributes:
        agent: name of the agent.
        configurations: C hyperparameter settings. Replicates of an agent without hyperparameters are
            configurations that are all {}.
        default: index of the configuration with the agent's default hyperparameters; None if the study has
            none.
        traces: runs, [C][S]; None for one that failed or has not been run.
        effort: "samples", or "cost" where numbers of samples are reference samples.
    """

    agent: str
    configurations: tuple[Mapping[str, Any], ...]
    default: int | None
    traces: tuple[tuple[Trace | None, ...], ...]
    effort: str = "samples"

    @property
    def replicates(self) -> bool:
        """Whether all configurations are equal, so that nothing can be tuned."""
        return all(c == self.configurations[0] for c in self.configurations)

    def best_after(self, samples: Sequence[int] | Array) -> Array:
        """Best valid reward after each number of samples: float64 [C, S, B].

        -inf where no design was valid yet, NaN for a missing run or a smaller budget.
        """
        best = self.best_along("cost" if self.effort == "cost" else "samples", samples)
        for (c, s), trace in self._runs():
            best[c, s, np.asarray(samples) > trace.samples] = np.nan
        return best

    def best_within(self, seconds: Sequence[float] | Array) -> Array:
        """Best valid reward after each wall time: float64 [C, S, B]; NaN and -inf as in `best_after`."""
        return self.best_along("seconds", seconds)

    def best_along(self, axis: str, at: Sequence[float] | Array) -> Array:
        """Best valid reward after each number of samples, reference samples ("cost") or seconds: float64
        [C, S, B].

        A run that has ended keeps its last. -inf where no design was valid yet, NaN for a missing run.
        """
        name = "sample" if axis == "samples" else axis
        last = np.asarray(at) - 1 if axis == "samples" else np.asarray(at, float)
        if axis == "cost":
            last = last * (1 + _ROUNDING)
        best = np.full((len(self.traces), len(self.traces[0]), len(last)), np.nan)
        for (c, s), trace in self._runs():
            # the last improvement up to there
            before = np.searchsorted(getattr(trace, name), last, side="right") - 1
            best[c, s] = (
                np.where(before >= 0, trace.reward[before], -np.inf) if len(trace.reward) else -np.inf
            )
        return best

    @property
    def has_costs(self) -> bool:
        """Whether every run has costs."""
        return all(trace.cost is not None for _, trace in self._runs())

    def samples_to(self, reward: float) -> Array:
        """Samples until a reward was reached: float64 [C, S]; inf if it was not, NaN for a missing run."""
        found = np.full((len(self.traces), len(self.traces[0])), np.nan)
        for (c, s), trace in self._runs():
            at = int(np.searchsorted(trace.reward, reward))
            reached = trace.cost if self.effort == "cost" and trace.cost is not None else trace.sample + 1
            found[c, s] = reached[at] if at < len(trace.reward) else np.inf
        return found

    def costs(self) -> Array:
        """Cost of each run in reference samples, its number of samples where it has no costs: float64
        [C, S]; NaN for a missing run.
        """
        found = np.full((len(self.traces), len(self.traces[0])), np.nan)
        for (c, s), trace in self._runs():
            found[c, s] = trace.samples if trace.total_cost is None else trace.total_cost
        return found

    def spent(self) -> Array:
        """(samples, wall seconds) of each run: float64 [C, S, 2]; NaN for a missing run."""
        found = np.full((len(self.traces), len(self.traces[0]), 2), np.nan)
        for (c, s), trace in self._runs():
            found[c, s] = trace.samples, trace.total_seconds
        return found

    def _runs(self) -> list[tuple[tuple[int, int], Trace]]:
        return [
            ((c, s), trace)
            for c, row in enumerate(self.traces)
            for s, trace in enumerate(row)
            if trace is not None
        ]


class Control(NamedTuple):
    """The best of k designs that a rule names without a search.

    Attributes:
        name: the rule, in words.
        samples: k.
        cost: mean cost of the k designs, reference samples.
        rewards: rewards of the best of k, ascending, float64 [V].
        shares: probability of each over the order of designs with equal priority, float64 [V], sum 1.
        percentile: mean percentage of distinct valid designs that are at most as good; None where not known.
    """

    name: str
    samples: int
    cost: float
    rewards: Array
    shares: Array
    percentile: float | None

    @property
    def reward(self) -> float:
        """The mean reward of the best of k."""
        return float(self.rewards @ self.shares)


@dataclass(frozen=True)
class TaskRuns:
    """All runs on one task.

    Attributes:
        task: label of the task, unique in the study.
        env: id of the environment.
        optimum: reward of the exact optimum; None if it is not known.
        average_random: mean reward of randomly drawn valid designs; None if the study has no random search.
        log_scale: whether rewards are logarithms of ratios, so that exp(best - optimum) is a ratio of
            metrics.
        agents: runs of each agent, in the study's order.
        budget: largest budget of a run, samples or reference samples.
        failures: (agent, configuration, seed, reason) of failed runs.
        clipped: share of the valid rewards that are clipped at +-R, which hides differences between designs;
            the largest over agents.
        capped: whether the optimum's reward is clipped, so that worse designs may have the same reward.
        judged_by: the rule that replaces the reward, as a sentence, where runs are judged by their fronts
            (`archgym.lottery.fronts`).
        effort: "samples", or "cost" where numbers of samples are reference samples.
        controls: designs that take no search (`archgym.lottery.controls`).
    """

    task: str
    env: str
    optimum: float | None
    average_random: float | None
    log_scale: bool
    agents: Mapping[str, AgentRuns]
    budget: int
    failures: Sequence[tuple[str, int, int, str]] = field(default=())
    clipped: float = 0.0
    capped: bool = False
    judged_by: str = ""
    effort: str = "samples"
    controls: Sequence[Control] = field(default=())
