"""Deep Q-learning (Mnih et al., 2015), as implemented by Stable-Baselines3, on designs built one parameter
per step.

A Q-network needs a single discrete action, so that a design of P parameters takes P steps and is rewarded at
the last one. Values of later parameters are backed up through the partial designs that led to them; nothing
is discounted by default.

Good for: budgets of many thousands: values must travel back through one step per parameter before it is ahead
of random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agents._stable_baselines import StableBaselinesAgent
from archgym.space import DesignSpace, Ordinal, Real

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


class DQN(StableBaselinesAgent):
    """Deep Q-learning over sequential designs; needs `archgym[rl]`.

    Args:
        num_envs: designs built side by side.
        learning_starts: random steps before the first update; at most an eighth of the budget.
        batch: transitions per gradient step.
        gradient_steps: gradient steps per step of all environments.
        learning_rate: learning rate of Adam.
        target_update: steps between copies of the network to its target.
        exploration: fraction of the search over which epsilon falls from 1 to `epsilon`.
        epsilon: probability of a random value, once fallen.
        gamma: discount between parameters.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "dqn", budget=200)  # doctest: +SKIP
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Ordinal("num_envs", [1, 2, 4, 8, 16, 32], default=8),
            Ordinal("learning_starts", [16, 32, 64, 128, 256, 512, 1024], default=128),
            Ordinal("batch", [32, 64, 128, 256], default=128),
            Ordinal("gradient_steps", [1, 2, 4, 8], default=1),
            Real("learning_rate", 1e-4, 1e-2, log=True, default=5e-4),
            Ordinal("target_update", [32, 64, 128, 256, 512, 1024], default=128),
            Real("exploration", 0.05, 1.0, default=0.5),
            Real("epsilon", 0.005, 0.2, log=True, default=0.05),
            Real("gamma", 0.8, 1.0, default=1.0),
        ]
    )

    def view(self, env: VectorEnv) -> VectorEnv:
        from archgym.wrappers.vector import SequentialDesign

        return SequentialDesign(env)

    def steps_per_design(self, env: VectorEnv) -> int:
        return len(env.single_action_space.nvec)  # type: ignore[attr-defined]

    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        from stable_baselines3 import DQN as Algorithm

        class RowwiseDQN(Algorithm):
            """Explores for each design by itself: one draw for all, as in Stable-Baselines3, repeats the
            greedy design num_envs times.
            """

            def predict(
                self,
                observation: Any,
                state: Any = None,
                episode_start: Any = None,
                deterministic: bool = False,
            ) -> Any:
                actions, state = super().predict(observation, state, episode_start, deterministic=True)
                if not deterministic:
                    # the state that the model seeds
                    explore = np.random.random(len(actions)) < self.exploration_rate  # noqa: NPY002
                    actions[explore] = [self.action_space.sample() for _ in range(explore.sum())]
                return actions, state

        return RowwiseDQN(
            env=env,
            target_update_interval=self.target_update,
            exploration_fraction=self.exploration,
            exploration_final_eps=self.epsilon,
            **self.off_policy(budget),
            **common,
        )
