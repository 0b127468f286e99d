"""Designs that are built step by step, for the vector environment: sub-environments may be at different
parameters, since each begins a new design when its own is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector.utils import batch_space

from archgym.errors import ArchGymError
from archgym.infos import core, finished
from archgym.objective import R
from archgym.simulator import Simulator
from archgym.space import Array, Indices
from archgym.wrappers.prefix import _features_of, _needs_a_step_per_parameter
from archgym.wrappers.vector._base import BatchWrapper
from archgym.wrappers.vector.sequential import _needs_same_step


class PrefixDesign(BatchWrapper):
    """One parameter per step and every prefix evaluated, as `archgym.wrappers.PrefixDesign`; each step is one
    batch of prefixes.

    Rows whose episode is over begin the next one in the same step: `info` has their last observation in
    `final_obs` and their design in `final_info`, as `ArchVectorEnv` does, and the mask of the next action,
    int8 [num_envs, max n_p], in `action_mask`.

    Args:
        env: an `ArchVectorEnv` (wrapped or not) under SAME_STEP autoreset, whose horizon is its number of
            parameters.

    Raises:
        ArchGymError: an environment of another package, another horizon or autoreset mode, or a simulator
            without `state_features`.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        _needs_same_step(env)
        self._evaluator, self._space = core(env).evaluator, core(env).simulator.space
        _needs_a_step_per_parameter(self._evaluator)
        self._empty = np.array([parameter.inactive for parameter in self._space], np.int64)
        self._designs = np.tile(self._empty, (self.num_envs, 1))
        self._position = np.zeros(self.num_envs, np.int64)
        self._most = int(self._space.nvec.max())
        size = np.full(self._features(self._simulators()).shape[1], R, np.float32)
        seen = env.single_observation_space
        self.single_observation_space = Box(
            np.concatenate([seen.low, -size]), np.concatenate([seen.high, size])
        )
        self.single_action_space = Discrete(self._most)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def action_masks(self) -> Array:
        """The masks of the next actions, bool [num_envs, max n_p], as MaskablePPO takes them."""
        masks = np.zeros((self.num_envs, self._most), bool)
        for simulator, rows in _groups(self._simulators()):
            for p in np.unique(self._position[rows]).tolist():
                there = rows[self._position[rows] == p]
                masks[there, : self._space.nvec[p]] = simulator.masks(self._designs[there], p)
        return masks

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        rows = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        self._begin(rows)
        return self._observed(observation), self._masked(info)

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        self._choose(actions)
        simulators = self._simulators()  # of the episodes that this step may end
        observation, rewards, terminated, truncated, info = self.env.step(self._designs.copy())
        done, ended = finished(info), terminated | truncated
        last = np.concatenate([info.get("final_obs", observation), self._features(simulators)], axis=1)
        self._position += 1
        later = np.arange(len(self._space)) >= self._position[:, None]
        more = (self._space.active(self._designs) & later).any(axis=1)
        over = ended | ~done["feasible"] | ~more
        info = dict(info)
        if (over & ~ended).any():
            observation, begun = self.env.reset(options={"reset_mask": over & ~ended})
            info |= begun
        if over.any():
            info |= {"final_info": done, "_final_info": over.copy()}
            info |= {"final_obs": last, "_final_obs": over.copy()}
            if over.all():  # no design of an episode that goes on
                info = {name: value for name, value in info.items() if name == "context" or name not in done}
        self._begin(over)
        return self._observed(observation), rewards, over & ~truncated, truncated, self._masked(info)

    def _choose(self, actions: Any) -> None:
        given = np.asarray(actions)
        legal = given.shape == (self.num_envs,) and given.dtype.kind in "iu"
        if not legal or (given < 0).any() or (given >= self._most).any():
            raise ArchGymError(
                f"expected one whole index in 0..{self._most - 1} per environment as an action, got {given!r}"
            )
        rows = np.arange(self.num_envs)
        self._designs[rows, self._position] = given % self._space.nvec[self._position]

    def _begin(self, rows: Array) -> None:
        self._designs[rows], self._position[rows] = self._empty, 0

    def _simulators(self) -> list[Simulator]:
        return [self._evaluator.simulator_of(row) for row in range(self.num_envs)]

    def _features(self, simulators: list[Simulator]) -> Array:
        """Features of the prefixes, float32 [num_envs, F]."""
        found = [(rows, _features_of(each, self._designs[rows])) for each, rows in _groups(simulators)]
        features = np.empty((self.num_envs, found[0][1].shape[1]), np.float32)
        for rows, values in found:
            features[rows] = values
        return features

    def _observed(self, observation: Array) -> Array:
        seen: Array = np.concatenate([observation, self._features(self._simulators())], axis=1)
        return seen

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "action_mask": self.action_masks().astype(np.int8)}


def _groups(simulators: list[Simulator]) -> Iterator[tuple[Simulator, Indices]]:
    """Each simulator and the rows that have it."""
    rows: dict[int, list[int]] = {}
    for row, simulator in enumerate(simulators):
        rows.setdefault(id(simulator), []).append(row)
    for found in rows.values():
        yield simulators[found[0]], np.array(found)
