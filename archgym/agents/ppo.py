"""Proximal policy optimisation (Schulman et al., 2017), as implemented by Stable-Baselines3.

The policy is a product of categorical distributions, one per parameter, that draws a whole design per step.
With one design per episode this is a bandit: nothing is discounted, and learning must be fast, since a few
thousand samples are a few dozen updates.

Good for: thousands of samples in large batches; the usual choice for studies of reinforcement learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgym.agents._stable_baselines import StableBaselinesAgent, rollout_steps
from archgym.space import DesignSpace, Integer, Ordinal, Real

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


MIN_MINIBATCH = 8  # designs whose advantages are normalised together: of two, only the signs would be left


class PPO(StableBaselinesAgent):
    """Proximal policy optimisation over whole designs; needs `archgym[rl]`.

    Args:
        num_envs: designs per step.
        n_steps: steps per update; at most an eighth of the budget, at least 8 designs.
        minibatches: parts of a rollout per epoch; fewer where a part would be less than a step of all
            environments, or 8 designs.
        epochs: passes over a rollout.
        learning_rate: learning rate of Adam.
        entropy: weight of the entropy bonus; more explores longer.
        clip: largest distance of a probability ratio from 1 in one update.
        gamma: discount between the designs of an episode (without effect at horizon 1).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "ppo", budget=200)  # doctest: +SKIP
    """

    version = 2
    whole_designs = True
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

    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        from stable_baselines3 import PPO as Algorithm

        n_steps, parts = rollout(self.n_steps, self.minibatches, env.num_envs, budget)
        return Algorithm(
            env=env,
            n_steps=n_steps,
            batch_size=n_steps // parts * env.num_envs,
            n_epochs=self.epochs,
            ent_coef=self.entropy,
            clip_range=self.clip,
            # Adam in one call
            **common
            | {"policy_kwargs": common["policy_kwargs"] | {"optimizer_kwargs": {"fused": True, "eps": 1e-5}}},
        )


def rollout(n_steps: int, minibatches: int, num_envs: int, budget: int) -> tuple[int, int]:
    """Steps per update and the parts they fall into, as PPO's arguments describe them."""
    steps = max(rollout_steps(n_steps, num_envs, budget), -(-MIN_MINIBATCH // num_envs))
    parts = min(minibatches, steps * num_envs // MIN_MINIBATCH, steps)
    return steps - steps % parts, parts
