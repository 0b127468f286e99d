"""A simulator with values that other libraries do not take, conditions, constraints and infeasible designs."""

from __future__ import annotations

import numpy as np

from archgym import (
    AtMost,
    Categorical,
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Objective,
    Ordinal,
    Real,
    Simulator,
    register_env,
)


class Odd(Simulator):
    """Gain and size of a design; those with a = 5 are infeasible, large ones violate."""

    space = DesignSpace(
        [
            Categorical("shape", [(1, 2), (3, 4), None, "none"]),
            Integer("a", 0, 5),
            Ordinal("b", [1, 2, 8], when={"shape": [(1, 2)]}),
            Real("c", 0.1, 10.0, log=True, levels=7),
            Real("d", 0.0, 1.0, levels=4),
            Categorical("e", [(1,), "(1,)"]),
        ]
    )
    metrics = (Metric("gain", "1", "higher"), Metric("size", "1", "lower"))
    default_objective = Objective(Maximize("gain"), AtMost("size", 6.0), reference={"gain": 5.0, "size": 5.0})

    def evaluate_indices(self, indices, rng=None):
        feasible = indices[:, 1] != 5
        gain = np.where(feasible, 1.0 + indices @ np.array([1, 2, 1, 3, 1, 0]), np.nan)
        size = np.where(feasible, 1.0 + indices[:, 1] + indices[:, 4], np.nan)
        return {"gain": gain, "size": size, "feasible": feasible}


register_env("test/Odd-v0", simulator="odd:Odd")
