"""Proximal policy optimisation (Schulman et al., 2017), as implemented by Stable-Baselines3.

The policy is a product of categorical distributions, one per parameter, that draws a whole design per step. With one design per episode
this is a bandit: nothing is discounted, and learning must be fast, since a few thousand samples are a few dozen updates.

Good for: thousands of samples in large batches; the usual choice where reinforcement learning is what is studied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgym.agents._stable_baselines import StableBaselinesAgent, rollout_steps
from archgym.space import DesignSpace, Integer, Ordinal, Real

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


SMALLEST_PART = 8  # designs whose advantages are normalised together: the sign is all that two would leave of them


class PPO(StableBaselinesAgent):
    """Proximal policy optimisation over whole designs; needs `archgym[rl]`.

    Args:
        num_envs: designs per step.
        n_steps: steps per update, fewer where an eighth of the budget is less, more where they are not 8 designs.
        minibatches: parts of a rollout per epoch, in whole steps of all environments and of at least 8 designs; else fewer.
        epochs: passes over a rollout.
        learning_rate: of Adam.
        entropy: weight of the entropy bonus; more explores longer.
        clip: how far a probability ratio may move from 1 in one update.
        gamma: discount between the designs of an episode (without effect at horizon 1).
    """

    version = 2
    hyperparameters = DesignSpace(
        [
            Ordinal("num_envs", [1, 2, 4, 8, 16, 32, 64], default=16),
            Ordinal("n_steps", [1, 2, 4, 8, 16, 32, 64, 128], default=4),
            Ordinal("minibatches", [1, 2, 4, 8], default=1),
            Integer("epochs", 1, 20, default=10),
            Real("learning_rate", 1e-5, 1e-1, log=True, default=1e-2),
            Real("entropy", 1e-5, 1.0, log=True, default=1e-2),
            Real("clip", 0.05, 0.5, default=0.2),
            Real("gamma", 0.8, 1.0, default=0.99),
        ]
    )

    @property
    def preferred_num_envs(self) -> int:
        return int(self.num_envs)

    def policy(self) -> Any:
        from archgym.agents._policy import DesignPolicy

        return DesignPolicy

    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        from stable_baselines3 import PPO as Algorithm

        n_steps, parts = rollout(self.n_steps, self.minibatches, env.num_envs, budget)
        return Algorithm(
            env=env,
            n_steps=n_steps,
            batch_size=n_steps // parts * env.num_envs,
            n_epochs=self.epochs,
            learning_rate=self.learning_rate,
            ent_coef=self.entropy,
            clip_range=self.clip,
            gamma=self.gamma,
            **common | {"policy_kwargs": common["policy_kwargs"] | {"optimizer_kwargs": {"fused": True, "eps": 1e-5}}},  # Adam in one call
        )


def rollout(n_steps: int, minibatches: int, num_envs: int, budget: int) -> tuple[int, int]:
    """Steps per update and the parts they fall into, as PPO's arguments describe them."""
    steps = max(rollout_steps(n_steps, num_envs, budget), -(-SMALLEST_PART // num_envs))
    parts = min(minibatches, steps * num_envs // SMALLEST_PART, steps)
    return steps - steps % parts, parts
