"""The whole design as a point of [-1, 1]^P, for the vector environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from archgym.infos import core
from archgym.space import Array
from archgym.wrappers.continuous import _to_indices
from archgym.wrappers.vector._base import BatchWrapper


class ContinuousActions(BatchWrapper):
    """Designs as points of the box [-1, 1]^P, as `archgym.wrappers.ContinuousActions`.

    Args:
        env: an `ArchVectorEnv` (wrapped or not).

    Raises:
        ArchGymError: an environment of another package.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        self._nvec = core(env).simulator.space.nvec
        self.single_action_space = Box(-1, 1, (len(self._nvec),), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        return self.env.step(_to_indices(actions, self._nvec, (self.num_envs, len(self._nvec))))
