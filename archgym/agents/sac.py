"""Soft actor-critic (Haarnoja et al., 2018), as implemented by Stable-Baselines3, on a continuous relaxation
of the design.

Each parameter p is a number a in [-1, 1] that stands for the value floor((a + 1) / 2 * n_p): a squashed
normal distribution over each parameter's grid, whose width follows from a target entropy.

Good for: long ordered axes and reuse of every sample; slow, and categorical parameters become numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from archgym.agents._stable_baselines import StableBaselinesAgent
from archgym.space import DesignSpace, Ordinal, Real

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


class SAC(StableBaselinesAgent):
    """Soft actor-critic over continuous designs; needs `archgym[rl]`.

    Args:
        num_envs: designs per step.
        learning_starts: random designs before the first update; at most an eighth of the budget.
        batch: designs per gradient step.
        gradient_steps: gradient steps per step of all environments; most of the running time.
        learning_rate: learning rate of Adam, for the actor, the critics and the entropy coefficient.
        entropy: initial entropy coefficient, adapted from there.
        gamma: discount between the designs of an episode (without effect at horizon 1).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "sac", budget=200)  # doctest: +SKIP
    """

    version = 1
    discrete = False
    hyperparameters = DesignSpace(
        [
            Ordinal("num_envs", [1, 2, 4, 8, 16, 32], default=8),
            Ordinal("learning_starts", [16, 32, 64, 128, 256, 512, 1024], default=128),
            Ordinal("batch", [32, 64, 128, 256], default=64),
            Ordinal("gradient_steps", [1, 2, 4, 8], default=2),
            Real("learning_rate", 1e-4, 1e-2, log=True, default=5e-3),
            Real("entropy", 1e-3, 1.0, log=True, default=0.01),
            Real("gamma", 0.8, 1.0, default=0.99),
        ]
    )

    def view(self, env: VectorEnv) -> VectorEnv:
        from archgym.wrappers.vector import ContinuousActions

        return ContinuousActions(env)

    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        from stable_baselines3 import SAC as Algorithm

        return Algorithm(
            env=env,
            ent_coef=f"auto_{self.entropy}",
            **self.off_policy(budget),
            **common,
        )
