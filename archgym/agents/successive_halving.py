"""Successive halving (Jamieson & Talwalkar, 2016, "Non-stochastic best arm identification and hyperparameter
optimization").

    repeat: n = eta^(rungs - 1) designs at the lowest fidelity; the best 1/eta of them at the next one; ...;
            the best one at the full fidelity

Every rung costs as much as the first one where fidelities are a factor eta apart: a bracket looks at n
designs for the price of `rungs` whole evaluations. The paper runs one bracket of a given size; here brackets
follow each other until the budget is spent, and what one finds improves the proposals of the next. See
`_rungs` for rungs, promotions and what the proposer learns.

Good for: trained networks and other evaluations that can be cut short, where early results rank designs
nearly as late ones do. Those of archgym/NasCell-v0 with one training seed do not (rank correlation with 16
epochs 0.13 after 1, 0.58 after 4): whole evaluations by TPE are at least as good there at equal cost.
"""

from __future__ import annotations

from archgym.agents._rungs import RUNG_HYPERPARAMETERS, RungAgent


class SuccessiveHalving(RungAgent):
    """Successive halving of the designs of another agent.

    Args:
        proposer: name of the agent that proposes designs, with its defaults.
        eta: designs of a rung per design promoted, and factor between fidelities.
        rungs: largest number of fidelities, from the full one down; 1 for whole evaluations alone, more where
            low fidelities rank designs well.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "successive_halving", budget=50)  # doctest: +SKIP
    """

    version = 1
    hyperparameters = RUNG_HYPERPARAMETERS

    def bracket(self, k: int, rungs: int) -> tuple[int, int]:
        return self.eta ** (rungs - 1), rungs
