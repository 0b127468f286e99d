"""Ant colony optimisation: the ant colony system's choice rule (Dorigo & Gambardella, 1997) with MAX-MIN trails (Stützle & Hoos, 2000).

An ant chooses a value v for every parameter p by the trail tau_p(v):

    v = argmax_v tau_p(v)                 with probability `greediness`
    v ~ tau_p(v) / sum_w tau_p(w)         otherwise

and when all ants are back, the best of them and the best so far strengthen their trails:

    tau_p(v) <- (1 - evaporation) tau_p(v) + evaporation * share of the depositing ants that chose v,   never below tau_min

When every ant walks the same way the trails are levelled and the colony starts afresh.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices, Integer, Real


class AntColony(AskTellAgent):
    """Ants that lay pheromone on the values of good designs.

    Args:
        ants: designs per round.
        evaporation: share of the trail that is lost, and laid anew, per round.
        greediness: probability that an ant takes a parameter's strongest trail.
        elite: best ants of a round that lay pheromone, beside the best design so far.
        floor: least probability of a value, relative to 1 / n_p.
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Integer("ants", 2, 256, default=16),
            Real("evaporation", 0.01, 1.0, default=0.1),
            Real("greediness", 0.0, 1.0, default=0.25),
            Integer("elite", 1, 16, default=2),
            Real("floor", 0.001, 0.5, log=True, default=0.05),
        ]
    )
