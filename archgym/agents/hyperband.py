"""Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar, JMLR 2018).

Brackets of successive halving from many designs at the lowest fidelity to few at the full one, since nobody
can say beforehand how early designs are ranked well:

    for s = s_max, ..., 0:    n = ceil((s_max + 1) eta^s / (s + 1)) designs,    s + 1 rungs

in turn until the budget is spent; every bracket costs about (s_max + 1) whole evaluations. See `_rungs` for
rungs, promotions and what the proposer learns; a proposer with a model makes it close to BOHB (Falkner, Klein
& Hutter, 2018), whose model learns from one fidelity.

Good for: evaluations that can be cut short, where it is not known whether early results can be trusted.
"""

from __future__ import annotations

from archgym.agents._rungs import RUNG_HYPERPARAMETERS, RungAgent


class Hyperband(RungAgent):
    """Hyperband over the designs of another agent.

    Args:
        proposer: name of the agent that proposes designs, with its defaults.
        eta: designs of a rung per design promoted, and factor between fidelities.
        rungs: largest number of fidelities, from the full one down; 1 for whole evaluations alone, more where
            low fidelities rank designs well.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "hyperband", budget=50)  # doctest: +SKIP
    """

    version = 1
    hyperparameters = RUNG_HYPERPARAMETERS

    def bracket(self, k: int, rungs: int) -> tuple[int, int]:
        s = rungs - 1 - k % rungs
        return -(-rungs * self.eta**s // (s + 1)), s + 1
