"""Bayesian optimisation with a Gaussian process (Snoek et al., 2012; Garnett, 2023), as implemented by
Optuna.

A Matern-5/2 process with one length scale per parameter is fitted to all rewards; the proposal maximises the
logarithm of the expected improvement. Some ten designs per second: for simulators that take seconds. It sees
the reward alone; `bo` models every metric, without PyTorch, and is faster.

Good for: simulators that take seconds, and budgets up to a few hundred: samples are few, proposals slow.
"""

from __future__ import annotations

from gymnasium.vector import VectorEnv
from optuna.samplers import BaseSampler, GPSampler

from archgym.agents._designs import check_listable
from archgym.agents._optuna import OptunaAgent
from archgym.agents._torch import alone_with_torch
from archgym.errors import MissingDependency
from archgym.space import Categorical, DesignSpace, Indices, Ordinal


class GaussianProcess(OptunaAgent):
    """Gaussian-process Bayesian optimisation; needs `archgym[gp]`.

    Args:
        startup: random designs before the first fit.
        deterministic: fit no noise; right for simulators without it.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "gp", budget=20)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Ordinal("startup", [5, 10, 20, 40, 80], default=10),
            Categorical("deterministic", [True, False], default=True),
        ]
    )

    def search(self, env: VectorEnv, *, budget: int, seed: int, start: Indices | None = None) -> None:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingDependency('the "gp" agent needs PyTorch: pip install "archgym[gp]"') from error
        with alone_with_torch():
            super().search(env, budget=budget, seed=seed, start=start)

    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        check_listable(self, space)
        return GPSampler(
            n_startup_trials=self.startup,
            deterministic_objective=self.deterministic,
            seed=seed,
            warn_independent_sampling=False,  # the first parameters are always drawn independently
        )
