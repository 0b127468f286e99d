"""The whole design as a point of [-1, 1]^P:

index_p = min(floor((a_p + 1) / 2 * n_p), n_p - 1)
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs

from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.space import Array, Indices


class ContinuousActions(gymnasium.Wrapper[Array, Array, Array, Array], RecordConstructorArgs):
    """A design as a point of the box [-1, 1]^P, each axis cut into n_p equal parts.

    Args:
        env: an `ArchEnv` (wrapped or not).

    Raises:
        ArchGymError: an environment of another package.
    """

    def __init__(self, env: gymnasium.Env[Array, Array]):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._nvec = core(env).simulator.space.nvec
        self.action_space = Box(-1, 1, (len(self._nvec),), np.float32)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(
            _to_indices(action, self._nvec, (len(self._nvec),))
        )
        return observation, float(reward), terminated, truncated, info


def _to_indices(actions: Any, nvec: Indices, shape: tuple[int, ...]) -> Indices:
    point = np.asarray(actions, float)
    if point.shape != shape or not (np.abs(point) <= 1).all():
        raise ArchGymError(f"expected a continuous action in [-1, 1] of shape {shape}, got {point!r}")
    return np.minimum((point + 1) / 2 * nvec, nvec - 1).astype(np.int64)
