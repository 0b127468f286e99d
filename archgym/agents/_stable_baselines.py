"""Stable-Baselines3 (Raffin et al., 2021) as agents: a view of our vector environments as its own, and one
search loop for all.

Needs `archgym[rl]`. Stable-Baselines3 is imported when a search starts, never before: it brings PyTorch
along.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.agents._designs import space_to_learn
from archgym.agents._torch import alone_with_torch
from archgym.errors import BudgetExhausted, MissingDependency
from archgym.seeding import integer_seed
from archgym.space import Array, DesignSpace

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


class StableBaselinesAgent(Agent):
    """Lets a Stable-Baselines3 model learn until the budget is spent; subclasses build the model.

    Class attributes:
        discrete: whether the model has an output for every value of every parameter.
        whole_designs: whether the policy is a product of categorical distributions that draws a design per
            step.

    Raises:
        MissingDependency: Stable-Baselines3 is not installed (when a search starts).
    """

    discrete: ClassVar[bool] = True
    whole_designs: ClassVar[bool] = False
    num_envs_from = "num_envs"

    @abstractmethod
    def model(self, env: VecEnv, *, budget: int, common: dict[str, Any]) -> BaseAlgorithm:
        """The model to train; `common` holds the keyword arguments that every algorithm shares."""

    def view(self, env: VectorEnv) -> VectorEnv:
        """The environment in the form that the algorithm needs."""
        return env

    def off_policy(self, budget: int) -> dict[str, Any]:
        """Keyword arguments that DQN and SAC share: a replay buffer, and gradient steps after every step
        of all environments.
        """
        return {
            "buffer_size": 100_000,
            "learning_starts": min(self.learning_starts, budget // 8),
            "batch_size": self.batch,
            "train_freq": 1,
            "gradient_steps": self.gradient_steps,
        }

    def _policy(self, space: DesignSpace) -> dict[str, Any]:
        """The policy's class, or Stable-Baselines3's name for it, and its arguments."""
        if not self.whole_designs:
            return {"policy": "MlpPolicy", "policy_kwargs": {"net_arch": [32, 32]}}
        from archgym.agents._policy import DesignPolicy

        return {"policy": DesignPolicy, "policy_kwargs": {"net_arch": [32, 32], "designs": space}}

    def steps_per_design(self, env: VectorEnv) -> int:
        """Steps of the view that make one design."""
        return 1

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        try:
            from stable_baselines3.common.logger import Logger
        except ImportError as error:
            name = type(self).__name__
            raise MissingDependency(
                f'the agent {name} needs Stable-Baselines3: pip install "archgym[rl]"'
            ) from error
        space = space_to_learn(self, env, listed=self.discrete)
        # More than the budget needs, since the environment ends the search. Schedules run over this number.
        total = (budget + 2 * env.num_envs) * self.steps_per_design(env)
        common = {
            **self._policy(space),
            "device": "cpu",
            "seed": integer_seed(seed, "agent"),
            "learning_rate": self.learning_rate,
            "gamma": self.gamma,
        }
        with alone_with_torch():
            adapted = as_vec_env(self.view(env))
            model = self.model(adapted, budget=budget, common=common)
            model.set_logger(Logger(None, []))  # the default logger makes a temporary folder per run
            adapted.seed(seed)  # after the model, which passes on its own seed
            with suppress(BudgetExhausted):
                model.learn(total, log_interval=None)  # type: ignore[arg-type]


def rollout_steps(n_steps: int, num_envs: int, budget: int) -> int:
    """Steps per environment and update: at most `n_steps`, at least eight updates where the budget allows,
    never a single sample.
    """
    most = max(budget // 8, num_envs, 2) // num_envs
    return max(min(n_steps, most), 2 if num_envs == 1 else 1)


def as_vec_env(env: VectorEnv) -> VecEnv:
    """A SAME_STEP vector environment (float32 observations) as Stable-Baselines3's `VecEnv`."""
    from stable_baselines3.common.vec_env import VecEnv

    class Adapter(VecEnv):
        def __init__(self) -> None:
            actions = deepcopy(env.single_action_space)  # models seed their action space
            super().__init__(env.num_envs, env.single_observation_space, actions)

        def reset(self) -> Array:
            observations, _ = env.reset(seed=self._seeds[0])
            self._reset_seeds()
            return np.asarray(observations)

        def step_async(self, actions: Array) -> None:
            self._actions = actions

        def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
            observations, rewards, terminated, truncated, final = env.step(self._actions)
            done = terminated | truncated
            infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
            for i in np.flatnonzero(done).tolist():
                infos[i] = {
                    "terminal_observation": final["final_obs"][i],
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
            return observations, np.asarray(rewards, np.float32), done, infos

        def close(self) -> None:
            """The environment belongs to the caller."""

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(env, attr_name)] * len(list(self._get_indices(indices)))

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError(
                "sub-environments share one object; set its attributes before adapting it"
            )

        def env_method(
            self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
        ) -> list[Any]:
            raise NotImplementedError(
                "sub-environments share one object; call its methods before adapting it"
            )

        def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
            return [False] * len(list(self._get_indices(indices)))

    return Adapter()
