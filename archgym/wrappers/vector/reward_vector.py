"""A reward for each metric, for the vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archgym.space import Array
from archgym.wrappers.reward_vector import vector_objective_of
from archgym.wrappers.vector._base import BatchWrapper


class RewardVector(BatchWrapper):
    """Reward vectors float32 [num_envs, M], zeros in rows that completed no design; otherwise as
    `archgym.wrappers.RewardVector`.

    As in MO-Gymnasium's vector environments, `reward_space` is that of one sub-environment.

    Args:
        env: an `ArchVectorEnv` (wrapped or not).
        metrics: names of the components; by default those of the objective.
        reference: metric -> positive number that its logarithm is taken against.

    Raises:
        ArchGymError: an environment of another package, or metrics that `VectorObjective` refuses.
    """

    def __init__(
        self, env: Any, metrics: Sequence[str] | None = None, reference: Mapping[str, float] | None = None
    ):
        super().__init__(env)
        self.vector_objective = vector_objective_of(env, metrics, reference)
        self.reward_space = env.unwrapped.reward_space = self.vector_objective.reward_space

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        observations, _, terminated, truncated, info = self.env.step(actions)
        rewards = np.zeros((self.num_envs, *self.reward_space.shape), np.float32)
        finished = info.get("final_info", info)
        if "design" in finished:
            rows = info.get("_design", np.ones(self.num_envs, bool))
            columns = {name: column[rows] for name, column in finished["metrics"].items()}
            rewards[rows] = self.vector_objective(columns, finished["feasible"][rows])
        return observations, rewards, terminated, truncated, info
