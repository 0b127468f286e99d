"""Tree-structured Parzen estimator (Bergstra et al., 2011; Watanabe, 2023), as implemented by Optuna.

The designs seen so far are split into the best few and the rest, with densities l(x) and g(x); of some candidates drawn from l, the one
with the largest l(x) / g(x) is proposed. A proposal looks at every design seen, so that long searches grow slower.
"""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from archgym.agents._optuna import OptunaAgent
from archgym.space import Categorical, DesignSpace, Ordinal


class TPE(OptunaAgent):
    """Tree-structured Parzen estimator.

    Args:
        startup: random designs before the first estimate.
        candidates: draws from l(x) among which the proposal is chosen.
        multivariate: one joint density of all parameters instead of one for each.
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Ordinal("startup", [5, 10, 20, 40, 80], default=10),
            Ordinal("candidates", [8, 16, 24, 32, 64, 128], default=24),
            Categorical("multivariate", [True, False], default=True),
        ]
    )

    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        return TPESampler(n_startup_trials=self.startup, n_ei_candidates=self.candidates, multivariate=self.multivariate, seed=seed)
