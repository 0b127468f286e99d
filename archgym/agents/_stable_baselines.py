"""Stable-Baselines3 (Raffin et al., 2021) as agents: a view of our vector environments as its own, and one search loop for all.

Needs `archgym[rl]`. Stable-Baselines3 is imported when a search starts, since it imports PyTorch.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.agents._designs import check_choices, check_listable
from archgym.agents._torch import alone_with_torch, require
from archgym.errors import BudgetExhausted
from archgym.infos import core
from archgym.seeding import integer_seed
from archgym.space import Array

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


class StableBaselinesAgent(Agent):
    """Lets a Stable-Baselines3 model learn until the budget is spent; subclasses build the model.

    Class attributes:
        discrete: whether the model has an output for every value of every parameter.
        whole_designs: whether one action of an actor-critic model is a whole design.

    Raises:
        MissingDependency: Stable-Baselines3 is not installed (when a search starts).
    """

    batch_hyperparameter = "num_envs"
    discrete: ClassVar[bool] = True
    whole_designs: ClassVar[bool] = False

    @abstractmethod
    def model(self, *, num_envs: int, budget: int, common: dict[str, Any]) -> Any:
        """The Stable-Baselines3 model to train; `common` holds the keyword arguments that every algorithm takes."""

    def view(self, env: VectorEnv) -> VectorEnv:
        """The environment as the algorithm needs to see it."""
        return env

    def steps_per_design(self, env: VectorEnv) -> int:
        """Steps of the view that make one design."""
        return 1

    def replay(self, budget: int) -> dict[str, Any]:
        """Keyword arguments of the algorithms that learn from a buffer of transitions."""
        return {
            "buffer_size": 100_000,
            "learning_starts": min(self.learning_starts, budget // 8),
            "batch_size": self.batch,
            "train_freq": 1,
            "gradient_steps": self.gradient_steps,
        }

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        require(self, "stable_baselines3", "Stable-Baselines3", "rl")
        from stable_baselines3.common.logger import Logger

        space = core(env).simulator.space
        check_choices(self, space)
        if self.discrete:
            check_listable(self, space)
        # More than the budget needs: the environment ends the search, and schedules run over this number of steps.
        total = (budget + 2 * env.num_envs) * self.steps_per_design(env)
        with alone_with_torch():
            adapted = as_vec_env(self.view(env))
            common: dict[str, Any] = {
                "env": adapted,
                "policy": "MlpPolicy",
                "policy_kwargs": {"net_arch": [32, 32]},
                "device": "cpu",
                "seed": integer_seed(seed, "agent"),
                "learning_rate": self.learning_rate,
                "gamma": self.gamma,
            }
            if self.whole_designs:
                from archgym.agents._policy import DesignPolicy

                common["policy"] = DesignPolicy
            model = self.model(num_envs=env.num_envs, budget=budget, common=common)
            model.set_logger(Logger(None, []))  # the default logger makes a temporary folder per run
            adapted.seed(seed)  # after the model, which passes on its own seed
            with suppress(BudgetExhausted):
                model.learn(total, log_interval=None)


def rollout_steps(n_steps: int, num_envs: int, budget: int) -> int:
    """Steps per environment and update: at most `n_steps`, at least eight updates where the budget allows, never a single sample."""
    longest = max(budget // 8, num_envs, 2) // num_envs
    return max(min(n_steps, longest), 2 if num_envs == 1 else 1)


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
                infos[i] = {"terminal_observation": final["final_obs"][i], "TimeLimit.truncated": bool(truncated[i] and not terminated[i])}
            return observations, np.asarray(rewards, np.float32), done, infos

        def close(self) -> None:
            """The environment belongs to the caller."""

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(env, attr_name)] * len(list(self._get_indices(indices)))

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError("sub-environments share one object; set its attributes before adapting it")

        def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
            raise NotImplementedError("sub-environments share one object; call its methods before adapting it")

        def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
            return [False] * len(list(self._get_indices(indices)))

    return Adapter()
