"""CMA-ES with margin (Hansen, 2016; Hamano et al., 2022), as implemented by Optuna and the `cmaes` package.

A multivariate normal distribution over the grid of indices, moved towards each generation's better half. The margin keeps a minimum
probability on the neighbouring values of every parameter, without which a discrete search freezes.
"""

from __future__ import annotations

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler

from archgym.agents._optuna import OptunaAgent
from archgym.space import Categorical, DesignSpace, Ordinal, Parameter, Real


class CMAES(OptunaAgent):
    """CMA-ES with margin; categorical parameters are searched in the order of their values.

    Args:
        population: designs per generation.
        sigma0: initial standard deviation, as a fraction of each parameter's range.
        margin: keep neighbouring values reachable (CMA-ES with margin).
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [4, 8, 16, 32, 64, 128], default=16),
            Real("sigma0", 0.05, 0.5, log=True, default=0.2),
            Categorical("margin", [True, False], default=True),
        ]
    )

    @property
    def preferred_num_envs(self) -> int:
        return int(self.population)

    def distribution(self, parameter: Parameter) -> BaseDistribution:
        return IntDistribution(0, len(parameter) - 1)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        super().start(space, budget=budget, rng=rng)
        if (space.nvec > 1).sum() == 1:
            # CMA-ES is defined from two dimensions on: give it one without effect, under a name that no parameter has
            self.distributions[""] = FloatDistribution(0.0, 1.0)

    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        return CmaEsSampler(
            popsize=self.population,
            sigma0=self.sigma0,
            with_margin=self.margin,
            seed=seed,
            warn_independent_sampling=False,  # the first generation and single-valued parameters are always drawn independently
        )
