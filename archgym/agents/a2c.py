"""Advantage actor-critic (Mnih et al., 2016), as implemented by Stable-Baselines3: one gradient step per
rollout of whole designs.

Good for: the same as PPO with fewer hyperparameters; one gradient step per batch makes it the cheaper of the
two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgym.agents._stable_baselines import StableBaselinesAgent, rollout_steps
from archgym.space import Categorical, DesignSpace, Ordinal, Real

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


class A2C(StableBaselinesAgent):
    """Advantage actor-critic over whole designs; needs `archgym[rl]`.

    Args:
        num_envs: designs per step.
        n_steps: steps per update; at most an eighth of the budget.
        learning_rate: learning rate of RMSprop.
        entropy: weight of the entropy bonus; more explores longer.
        normalize_advantage: bring the advantages of a rollout to mean 0 and deviation 1, so that the reward's
            scale does not matter.
        gamma: discount between the designs of an episode (without effect at horizon 1).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "a2c", budget=200)  # doctest: +SKIP
    """

    version = 2
    whole_designs = True
    hyperparameters = DesignSpace(
        [
            Ordinal("num_envs", [1, 2, 4, 8, 16, 32, 64], default=16),
            Ordinal("n_steps", [1, 2, 4, 8, 16, 32], default=2),
            Real("learning_rate", 1e-4, 1e-1, log=True, default=2e-3),
            Real("entropy", 1e-5, 1.0, log=True, default=5e-2),
            Categorical("normalize_advantage", [True, False], default=True),
            Real("gamma", 0.8, 1.0, default=0.99),
        ]
    )

    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        from stable_baselines3 import A2C as Algorithm

        return Algorithm(
            env=env,
            n_steps=rollout_steps(self.n_steps, env.num_envs, budget),
            ent_coef=self.entropy,
            normalize_advantage=self.normalize_advantage,
            **common,
        )
