"""Tree-structured Parzen estimator (Bergstra et al., 2011; Watanabe, 2023), as implemented by Optuna.

The designs seen so far are split into the best few and the rest, with densities l(x) and g(x); of some candidates drawn from l, the one
with the largest l(x) / g(x) is proposed. A proposal looks at every design seen, so that long searches grow slower.

In a finite space l(x) soon narrows to designs that have been seen, and repeating them teaches nothing (on NK landscapes of 4^20 designs
half of 500 proposals were repeats). So a repeated proposal is moved to a design not seen yet by redrawing random parameters of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState, create_trial

from archgym.agents._optuna import OptunaAgent
from archgym.space import Array, Categorical, DesignSpace, Indices, Ordinal


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

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().start(space, budget=budget, rng=rng)
        self.space, self.rng = space, rng
        self.seen: set[bytes] = set()

    def ask(self, n: int) -> Array:
        designs = super().ask(n)
        for row in designs:
            self._move(row)
            self.seen.add(row.tobytes())
        return designs

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        for trial, row, reward in zip(self.trials, indices.tolist(), rewards.tolist(), strict=True):
            asked = dict(zip(self.names, row, strict=True))
            if trial.params == asked:
                self.study.tell(trial, reward)
            else:  # Optuna's record of the proposal gives way to one of the design it was moved to
                self.study.tell(trial, state=TrialState.FAIL)
                self.study.add_trial(create_trial(params=asked, distributions=self.distributions, value=reward))
        self.trials: list[optuna.Trial] = []

    def _move(self, row: Indices) -> None:
        """Redraw one parameter of a repeated design [P], in place, then others, until it is new; give up after 2 P draws."""
        for _ in range(2 * len(row)):
            if row.tobytes() not in self.seen:
                return
            parameter = int(self.rng.integers(len(row)))
            row[parameter] = self.rng.integers(self.space.nvec[parameter])
