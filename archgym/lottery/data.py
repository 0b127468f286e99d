"""The input of the statistics: the improvements of every run, arranged as task -> agent -> configurations x
seeds.

A trace is a run's strictly improving valid rewards. From traces follow, exactly, for any sample count b and
any wall time t,

    best(b) = max {r_i : sample_i < b}   best(t) = max {r_i : seconds_i <= t}   hit(r) = 1 + min {sample_i :
                                         r_i >= r}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from archgym.space import Array


class Trace(NamedTuple):
    """One finished run.

    Attributes:
        sample: 0-based samples at which the best valid reward improved, int64 [I], increasing; empty if no
            design was valid.
        reward: new best rewards, float64 [I], increasing.
        seconds: wall time from the start of the run to each improvement, float64 [I].
        samples: budget of the run, samples.
        total_seconds: wall time of the whole run.
    """

    sample: Array
    reward: Array
    seconds: Array
    samples: int
    total_seconds: float


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
    """

    agent: str
    configurations: tuple[Mapping[str, Any], ...]
    default: int | None
    traces: tuple[tuple[Trace | None, ...], ...]

    @property
    def replicates(self) -> bool:
        """Whether all configurations are equal, so that nothing can be tuned."""
        return all(c == self.configurations[0] for c in self.configurations)

    def best_after(self, samples: Sequence[int] | Array) -> Array:
        """Best valid reward after each number of samples: float64 [C, S, B].

        -inf where no design was valid yet, NaN for a missing run or a smaller budget.
        """
        best = self._best(np.asarray(samples) - 1, "sample")
        for (c, s), trace in self._runs():
            best[c, s, np.asarray(samples) > trace.samples] = np.nan
        return best

    def best_within(self, seconds: Sequence[float] | Array) -> Array:
        """Best valid reward after each wall time: float64 [C, S, B]; NaN and -inf as in `best_after`."""
        return self._best(np.asarray(seconds, float), "seconds")

    def samples_to(self, reward: float) -> Array:
        """Samples until a reward was reached: float64 [C, S]; inf if it was not, NaN for a missing run."""
        found = np.full((len(self.traces), len(self.traces[0])), np.nan)
        for (c, s), trace in self._runs():
            at = int(np.searchsorted(trace.reward, reward))
            found[c, s] = trace.sample[at] + 1 if at < len(trace.reward) else np.inf
        return found

    def spent(self) -> Array:
        """(samples, wall seconds) of each run: float64 [C, S, 2]; NaN for a missing run."""
        found = np.full((len(self.traces), len(self.traces[0]), 2), np.nan)
        for (c, s), trace in self._runs():
            found[c, s] = trace.samples, trace.total_seconds
        return found

    def _best(self, at: Array, axis: str) -> Array:
        best = np.full((len(self.traces), len(self.traces[0]), len(at)), np.nan)
        for (c, s), trace in self._runs():
            # the last improvement up to there
            before = np.searchsorted(getattr(trace, axis), at, side="right") - 1
            best[c, s] = (
                np.where(before >= 0, trace.reward[before], -np.inf) if len(trace.reward) else -np.inf
            )
        return best

    def _runs(self) -> list[tuple[tuple[int, int], Trace]]:
        return [
            ((c, s), trace)
            for c, row in enumerate(self.traces)
            for s, trace in enumerate(row)
            if trace is not None
        ]


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
        budget: largest budget of a run, samples.
        failures: (agent, configuration, seed, reason) of failed runs.
        clipped: share of the valid rewards that are clipped at +-R, which hides differences between designs;
            the largest over agents.
        capped: whether the optimum's reward is clipped, so that worse designs may have the same reward.
        judged_by: the rule that replaces the reward, as a sentence, where runs are judged by their fronts
            (`archgym.lottery.fronts`).
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
