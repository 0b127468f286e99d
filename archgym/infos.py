"""What wrappers and agents take from an environment: the core below all wrappers, and the designs that a
step evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from archgym.errors import ArchGymError
from archgym.ledger import Ledger
from archgym.objective import Objective
from archgym.shared import SharedTask
from archgym.simulator import Simulator


class Core(Protocol):
    """What `ArchEnv` and `ArchVectorEnv` have in common.

    Attributes:
        simulator: design -> metrics.
        objective: metrics -> reward.
        ledger: counter and record of samples.
        evaluator: all three, with the stream of noise.
    """

    evaluator: Any

    @property
    def simulator(self) -> Simulator: ...
    @property
    def objective(self) -> Objective: ...
    @property
    def ledger(self) -> Ledger: ...
    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask: ...


def core(env: Any) -> Core:
    """The archgym environment below all wrappers.

    Raises:
        ArchGymError: an environment of another package.
    """
    found = getattr(env, "unwrapped", env)
    if not hasattr(found, "evaluator"):
        raise ArchGymError(
            f"expected an environment of archgym, got {type(found).__name__}; make one with "
            "gymnasium.make('archgym/...')"
        )
    unwrapped: Core = found
    return unwrapped


def finished(info: Mapping[str, Any]) -> dict[str, Any]:
    """The columns [B] of the designs that a vector environment's step evaluated, wherever its `info` holds
    them.

    Returns:
        `design` and `metrics` (a column for each name), `feasible`, `valid`, `reward` (the objective's), and
        with contexts `context`.

    Raises:
        ArchGymError: the step evaluated no design (a NEXT_STEP reset).
    """
    place = info.get("final_info", info)
    if "design" not in place:
        raise ArchGymError(
            "expected the info of a step that evaluated designs, got that of a reset step (NEXT_STEP "
            "autoreset); skip it"
        )
    names = ("design", "metrics", "feasible", "valid", "reward", "context")
    return {name: place[name] for name in names if name in place}
