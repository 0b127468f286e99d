"""One parameter per step: Discrete(max n_p), action modulo n_p, with a mask, the context and the partial
design observed.

A sample is counted when a design is complete. In a conditional space an inactive parameter is skipped, or has
one legal action, and whatever is chosen there is ignored.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils import RecordConstructorArgs

from archgym.errors import ArchGymError
from archgym.infos import Core, core
from archgym.objective import R
from archgym.space import LONGEST_GRID, Array, Indices


class _PartialDesigns:
    """Designs under construction, all at the same parameter: chosen indices [B, P] and the position p.

    Observation float32 [B, F + 2 P]: the F features of the context; the chosen index as (i + 1) / n_p, 0
    where not chosen yet or inactive; then the position, one-hot.
    """

    def __init__(self, core: Core, n: int, skip_inactive: bool = False):
        self.space, self.skip_inactive = core.simulator.space, skip_inactive
        nvec = self.space.nvec
        if len(nvec) == 0:
            raise ArchGymError("expected a space with parameters to choose one by one, got one without")
        if nvec.max() > LONGEST_GRID:
            raise ArchGymError(
                f"expected parameters of at most {LONGEST_GRID:,} values to choose one by one, got "
                f"{nvec.max():,}"
            )
        self.nvec = np.asarray(nvec)
        self.n = n
        self.action_space = Discrete(int(self.nvec.max()))
        self._context_rows = core.evaluator.context_rows
        features = np.full(self._context_rows(n).shape[1], R, np.float32)
        parameters = np.ones(2 * len(self.nvec), np.float32)
        self.observation_space = Box(
            np.concatenate([-features, 0 * parameters]),
            np.concatenate([features, parameters]),
            dtype=np.float32,
        )
        self.clear()

    def clear(self) -> None:
        self.position = 0
        self.indices = np.full((self.n, len(self.nvec)), -1, np.int64)

    def choose(self, actions: Any) -> bool:
        """Take the next parameter's indices [B]; True when the designs are complete."""
        given = np.asarray(actions)
        if (
            given.shape != (self.n,)
            or given.dtype.kind not in "iu"
            or (given < 0).any()
            or (given >= self.action_space.n).any()
        ):
            raise ArchGymError(
                f"expected one whole index in 0..{self.action_space.n - 1} per environment as an action, got "
                f"{given!r}"
            )
        self.indices[:, self.position] = np.where(self._active(), given % self.nvec[self.position], -1)
        self.position += 1
        while self.skip_inactive and self.position < len(self.nvec) and not self._active().any():
            self.position += 1
        return self.position == len(self.nvec)

    def _active(self) -> Array:
        """In which designs the next parameter is active, bool [B]."""
        active: Array = self.space.active(self.designs())[:, self.position]
        return active

    def designs(self) -> Indices:
        """The designs, with the first value of each parameter that is not chosen."""
        return np.maximum(self.indices, 0)

    def observe(self) -> Array:
        position = np.zeros((self.n, len(self.nvec)), np.float32)
        if self.position < len(self.nvec):
            position[:, self.position] = 1
        chosen = ((self.indices + 1) / self.nvec).astype(np.float32)
        observation: Array = np.concatenate([self._context_rows(self.n), chosen, position], axis=1)
        return observation

    def mask(self) -> Array:
        """Which actions name a value of the next parameter, one where it is inactive: int8 [B, max n_p]."""
        distinct = np.zeros((self.n, int(self.action_space.n)), np.int8)
        distinct[:, : self.nvec[self.position]] = self.space.masks(self.designs(), self.position)
        return distinct


class SequentialDesign(gymnasium.Wrapper[Array, Any, Array, Array], RecordConstructorArgs):
    """One parameter per step. Rewards are 0 until the design is complete; `info["action_mask"]` marks the
    distinct actions.

    Args:
        env: an `ArchEnv` (wrapped or not).
        skip_inactive: whether inactive parameters take no step, so that episodes of a conditional space have
            as many steps as the design has active parameters; else each takes a step with one legal action.

    Raises:
        ArchGymError: an environment of another package.
    """

    def __init__(self, env: gymnasium.Env[Array, Array], skip_inactive: bool = True):
        RecordConstructorArgs.__init__(self, skip_inactive=skip_inactive)
        gymnasium.Wrapper.__init__(self, env)
        self._partial = _PartialDesigns(core(env), 1, skip_inactive)
        self.action_space = self._partial.action_space
        self.observation_space = self._partial.observation_space

    def action_masks(self) -> Array:
        """The mask of the next action, bool [max n_p], under the name that sb3-contrib's MaskablePPO asks
        for.
        """
        return self._partial.mask()[0].astype(bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        self._partial.clear()
        return self._partial.observe()[0], {**info, "action_mask": self._partial.mask()[0]}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if not self._partial.choose(np.asarray(action).reshape(-1)):
            return self._partial.observe()[0], 0.0, False, False, {"action_mask": self._partial.mask()[0]}
        design, observation = self._partial.designs()[0], self._partial.observe()[0]
        self._partial.clear()
        _, reward, terminated, truncated, info = self.env.step(design)
        if not terminated:
            observation = self._partial.observe()[0]
        return (
            observation,
            float(reward),
            terminated,
            truncated,
            {**info, "action_mask": self._partial.mask()[0]},
        )
