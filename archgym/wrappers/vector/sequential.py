"""One parameter per step, for the vector environment: every sub-environment is at the same parameter, which
has one legal action where it is inactive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.space import Array
from archgym.wrappers.sequential import _PartialDesigns
from archgym.wrappers.vector._base import BatchWrapper


class SequentialDesign(BatchWrapper):
    """One parameter per step, as `archgym.wrappers.SequentialDesign` with `skip_inactive=False`; every
    sub-environment is at the same parameter.

    Args:
        env: an `ArchVectorEnv` (wrapped or not) under SAME_STEP autoreset.

    Raises:
        ArchGymError: an environment of another package, or another autoreset mode.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        _needs_same_step(env)
        self._partial = _PartialDesigns(core(env), env.num_envs)
        self.single_action_space = self._partial.action_space
        self.single_observation_space = self._partial.observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        self._partial.clear()
        return self._partial.observe(), {**info, "action_mask": self._partial.mask()}

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        if not self._partial.choose(actions):
            never = np.zeros(self.num_envs, bool)
            return (
                self._partial.observe(),
                np.zeros(self.num_envs),
                never,
                never.copy(),
                {"action_mask": self._partial.mask()},
            )
        designs, complete = self._partial.designs(), self._partial.observe()
        self._partial.clear()
        _, rewards, terminated, truncated, info = self.env.step(designs)
        if "final_obs" in info:
            info["final_obs"] = complete
        return (
            self._partial.observe(),
            rewards,
            terminated,
            truncated,
            {**info, "action_mask": self._partial.mask()},
        )

    def action_masks(self) -> Array:
        """The masks of the next actions, bool [num_envs, max n_p], as MaskablePPO takes them."""
        return self._partial.mask().astype(bool)


def _needs_same_step(env: Any) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ArchGymError(
            f"expected autoreset_mode='SameStep', got {mode}; make the environment with "
            "autoreset_mode='SameStep'"
        )
