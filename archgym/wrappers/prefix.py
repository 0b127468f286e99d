"""Designs that are built step by step: one parameter per step, and every prefix is a whole design.

In step t parameter t is chosen, the ones after it stand at their defaults (which mean "nothing more"), and
this design is evaluated. So every step is a sample, and with the environment's own rewards

    r_1 = objective(prefix of 1),   r_t = max(0, objective(prefix of t) - best of the episode so far)

an episode sums to the best of its prefixes. The observation is the environment's own, of the last prefix,
followed by the simulator's features of what it has become (`Simulator.state_features`): layers of a grown
network, statistics of a circuit after some passes.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.utils import RecordConstructorArgs

from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.objective import R
from archgym.simulator import Simulator
from archgym.space import Array, Indices


class PrefixDesign(gymnasium.Wrapper[Array, Any, Array, Array], RecordConstructorArgs):
    """One parameter per step: `Discrete(max n_p)`, action modulo n_p. Each step evaluates the prefix.

    An episode ends after the last parameter, after a value that leaves no later parameter active, and after
    an infeasible prefix. `info["action_mask"]` marks the values after which a design can be feasible
    (`Simulator.masks`).

    Args:
        env: an `ArchEnv` (wrapped or not) whose horizon is its number of parameters.

    Raises:
        ArchGymError: an environment of another package, another horizon, or a simulator without
            `state_features`.

    Examples:
        >>> env = gymnasium.make("archgym/PlainCnn-v0", start="inherit", horizon=5)    # doctest: +SKIP
        >>> env = PrefixDesign(env)                                                    # doctest: +SKIP
    """

    def __init__(self, env: gymnasium.Env[Array, Array]):
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._evaluator, self._space = core(env).evaluator, core(env).simulator.space
        _needs_a_step_per_parameter(self._evaluator)
        self._empty = np.array([parameter.inactive for parameter in self._space], np.int64)
        self._clear()
        size = np.full(len(self._features()), R, np.float32)
        seen = env.observation_space
        assert isinstance(seen, Box)
        self.observation_space = Box(np.concatenate([seen.low, -size]), np.concatenate([seen.high, size]))
        self._most = int(self._space.nvec.max())
        self.action_space = Discrete(self._most)
        self._over = True

    def action_masks(self) -> Array:
        """The mask of the next action, bool [max n_p], under the name that sb3-contrib's MaskablePPO asks
        for.
        """
        p = self._position
        mask = np.zeros(self._most, bool)
        mask[: self._space.nvec[p]] = self._evaluator.simulator_of(0).masks(self._design[None], p)[0]
        return mask

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._clear()
        self._over = False
        return self._observed(observation), self._masked(info)

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if self._over:
            raise ArchGymError("the episode is over: call reset() before the next step()")
        if not self.action_space.contains(action):
            raise ArchGymError(
                f"expected one whole index in 0..{self._most - 1} as an action, got {action!r}"
            )
        self._design[self._position] = action % self._space.nvec[self._position]
        observation, reward, terminated, truncated, info = self.env.step(self._design.copy())
        observation = self._observed(observation)
        self._position += 1
        more = self._space.active(self._design[None])[0, self._position :].any()
        self._over = bool(terminated or not info["feasible"] or not more)
        if self._over:
            self._clear()
        return observation, float(reward), self._over, truncated, self._masked(info)

    def _clear(self) -> None:
        self._design, self._position = self._empty.copy(), 0

    def _features(self) -> Array:
        """Features of the prefix, float32 [F]."""
        features: Array = _features_of(self._evaluator.simulator_of(0), self._design[None])[0]
        return features

    def _observed(self, observation: Array) -> Array:
        return np.concatenate([observation, self._features()])

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "action_mask": self.action_masks().astype(np.int8)}


def _needs_a_step_per_parameter(evaluator: Any) -> None:
    parameters = len(evaluator.simulator.space)
    if evaluator.horizon != parameters:
        raise ArchGymError(
            f"expected a horizon of one step per parameter, {parameters}, got {evaluator.horizon}; make the "
            f"environment with horizon={parameters}"
        )


def _features_of(simulator: Simulator, designs: Indices) -> Array:
    """Features of prefixes [B, P], float32 [B, F]."""
    features = simulator.state_features(designs)
    if features is None:
        raise ArchGymError(
            f"expected a simulator whose designs are built step by step, got "
            f"{type(simulator.unwrapped).__name__}, which has no features of a prefix; define "
            "state_features(indices), or use SequentialDesign"
        )
    return np.clip(np.asarray(features, np.float32), -R, R)
