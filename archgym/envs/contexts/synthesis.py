"""Contexts of archgym/LogicSynthesis-v0: blocks of random control logic, with their exact optima.

The tables of all sequences of at most four passes ship (`python -m archgym.simulators.synthesis.tabulate
random-N random-N.npz --slots 4`), and the optima come from them.
"""

from __future__ import annotations

from functools import cache

from archgym.contexts.sets import Contexts
from archgym.objective import Minimize, Objective
from archgym.simulators.synthesis import TabularSynthesis

SEEDS = range(32)
SLOTS = 4


def random_blocks() -> Contexts:
    """The blocks of seeds 0 to 31."""
    names = tuple(f"random-{seed}" for seed in SEEDS)
    return Contexts(
        tuple({"circuit": name, "slots": SLOTS} for name in names), names, optima=tuple(map(_best, names))
    )


@cache
def _best(circuit: str) -> dict[str, object] | None:
    """A sequence with the fewest AND gates."""
    simulator = TabularSynthesis(circuit, SLOTS)
    found = simulator.optimum(Objective(Minimize("and_gates")))
    return None if found is None else simulator.space.design(found)
