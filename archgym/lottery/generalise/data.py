"""The input of the statistics: shares of the exact optimum on held-out contexts, split by split.

    share = exp(reward under the context's objective - reward of its exact optimum)

and 0 where a design is not valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from archgym.space import Array


class Baseline(StrEnum):
    """Designs that need no policy."""

    NEAREST = "nearest context's optimum"
    ONE_FOR_ALL = "one design for all"
    RANDOM = "random valid design"


@dataclass(frozen=True)
class Training:
    """Training runs of one contextual agent with one number of samples.

    Attributes:
        shares: share of the best of the first v proposals, float64 [J, S, C, V]; NaN where the split does not
            hold out the context, or the run is missing.
        seconds: wall time of a training run, float64 [J, S].
    """

    shares: Array
    seconds: Array


@dataclass(frozen=True)
class TaskShares:
    """Everything on one task: J splits, C contexts that some split holds out, S seeds.

    Attributes:
        task: label of the task, unique in the study.
        env: id of the environment.
        contexts: names of the C contexts.
        held_out: which split holds out which context, bool [J, C].
        ratio: held-out contexts per training context; of groups where whole groups are held out.
        unit: "context" or "group": what the splits are of.
        baselines: share of each baseline's design, float64 [J, C]; NaN where not held out or not known.
        exact: whether the best single design is exact, over the whole space.
        policies: contextual agent -> training samples -> its runs.
        searches: ordinary agent -> share of the best design after 1 to N samples of a context, float64
            [S, C, N]; NaN for a missing run.
        runs: number of the task's runs in the study.
        failures: (agent, reason) of failed runs.
        verify: proposals that are simulated.
        splits: seed of each split.
    """

    task: str
    env: str
    contexts: Sequence[str]
    held_out: Array
    ratio: float
    unit: str
    baselines: Mapping[Baseline, Array]
    exact: bool
    policies: Mapping[str, Mapping[int, Training]]
    searches: Mapping[str, Array]
    runs: int
    verify: int
    splits: Sequence[int]
    failures: Sequence[tuple[str, str]] = field(default=())
