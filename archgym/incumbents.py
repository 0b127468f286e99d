"""The best designs of a measured search, measured once more when it is over.

The best of many noisy measurements is better than it can hold (the winner's curse). A second measurement, made of all rivals side by side,
was not chosen for being good: it is the one to report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from archgym.env import Evaluator

INCUMBENTS = 5


@dataclass(frozen=True)
class Incumbent:
    """A design that a search found good, measured twice.

    Attributes:
        sample: which of the search's samples it was.
        design: parameter values.
        reward, metrics: as the search saw them.
        remeasured_reward, remeasured_metrics: the second measurement; None where it failed.
        valid: whether the second measurement satisfies the constraints.
    """

    sample: int
    design: dict[str, Any]
    reward: float
    metrics: dict[str, float]
    remeasured_reward: float | None
    remeasured_metrics: dict[str, float] | None
    valid: bool


def measure_again(evaluator: Evaluator, count: int = INCUMBENTS) -> tuple[Incumbent, ...]:
    """Measure the best distinct valid designs in the ledger again, all together and uncounted; best second measurement first."""
    ledger, space, metrics = evaluator.ledger, evaluator.simulator.space, evaluator.metric_names
    valid = np.flatnonzero(ledger.column("valid"))
    best_first = valid[np.argsort(-ledger.column("reward")[valid], kind="stable")]
    indices = ledger.column("indices").astype(np.int64)[best_first]
    _, first = np.unique(evaluator.simulator.canonical(indices), axis=0, return_index=True)
    chosen = np.sort(first)[:count]
    if not len(chosen):
        return ()
    again = evaluator.remeasure(indices[chosen])
    found = []
    for j, row in enumerate(best_first[chosen].tolist()):
        there = bool(again.feasible[j])
        incumbent = Incumbent(
            sample=row,
            design=space.design(again.indices[j]),
            reward=float(ledger.column("reward")[row]),
            metrics=dict(zip(metrics, ledger.column("values")[row].tolist(), strict=True)),
            remeasured_reward=float(again.reward[j]) if there else None,
            remeasured_metrics=dict(zip(metrics, again.values[j].tolist(), strict=True)) if there else None,
            valid=bool(again.valid[j]),
        )
        found.append((not incumbent.valid, -float(again.reward[j]), j, incumbent))
    return tuple(incumbent for *_, incumbent in sorted(found))
