"""One agent per parameter, all on one reward: a design space as a cooperative game.

After Krishnan et al., "Multi-Agent Reinforcement Learning for Microprocessor Design Space Exploration"
(2022): each agent chooses the values of its own parameters, the joint action is the design, and all agents
receive its reward. In PettingZoo's parallel interface:

    action of agent g       Discrete(n_p), or MultiDiscrete of its group's n_p
    observation, reward     those of the environment, the same for all
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete, Space

from archgym.errors import ArchGymError, MissingDependency, unknown
from archgym.infos import core
from archgym.space import Array

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise MissingDependency('the multi-agent view needs PettingZoo: pip install "archgym[marl]"') from error


class MultiAgentDesign(ParallelEnv):  # type: ignore[misc]
    """An environment as a PettingZoo `ParallelEnv`.

    Args:
        env: an `ArchEnv` (wrapped by Gymnasium or not).
        groups: agent -> parameters of this agent, each parameter with one agent; by default one agent per
            parameter, under its name.

    Raises:
        MissingDependency: PettingZoo is not installed.
        ArchGymError: a parameter without an agent, with two, or unknown; an agent without parameters.

    Examples:
        >>> env = MultiAgentDesign(gymnasium.make("archgym/DramController-v0"))   # doctest: +SKIP
        >>> observations, infos = env.reset(seed=0)                               # doctest: +SKIP
        >>> env.step({agent: env.action_space(agent).sample() for agent in env.agents})   # doctest: +SKIP
    """

    def __init__(self, env: gymnasium.Env[Array, Array], groups: Mapping[str, Sequence[str]] | None = None):
        self.env = env
        self.space = core(env).simulator.space
        self.groups = (
            {name: (name,) for name in self.space.names}
            if groups is None
            else {a: tuple(names) for a, names in groups.items()}
        )
        self._check_groups()
        self.possible_agents = list(self.groups)
        self.agents: list[str] = []
        self.render_mode = env.render_mode
        self.metadata = {
            **env.metadata,
            "name": env.spec.id if env.spec else type(env.unwrapped).__name__,
            "is_parallelizable": True,
        }
        self._columns = {
            agent: [self.space.names.index(name) for name in names] for agent, names in self.groups.items()
        }
        self.action_spaces: dict[str, Space[Any]] = {}
        for agent, columns in self._columns.items():
            sizes = self.space.nvec[columns]
            self.action_spaces[agent] = Discrete(int(sizes[0])) if len(columns) == 1 else MultiDiscrete(sizes)
        self.observation_spaces = dict.fromkeys(self.possible_agents, env.observation_space)

    def _check_groups(self) -> None:
        counts = Counter(name for names in self.groups.values() for name in names)
        for name in counts:
            if name not in self.space.names:
                raise unknown("parameter", name, self.space.names)
        problems = {
            "parameters without an agent": [name for name in self.space.names if name not in counts],
            "parameters with two": [name for name, count in counts.items() if count > 1],
            "agents without parameters": [agent for agent, names in self.groups.items() if not names],
        }
        for problem, names in problems.items():
            if names:
                raise ArchGymError(f"expected each parameter in one group; {problem}: {', '.join(names)}")

    @property
    def unwrapped(self) -> MultiAgentDesign:
        """This environment itself, which has no wrapper."""
        return self

    def observation_space(self, agent: str) -> Space[Any]:
        """The environment's, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """`Discrete`, or `MultiDiscrete` for several parameters."""
        return self.action_spaces[agent]

    def state(self) -> Array:
        """What all agents observe."""
        return self._observation

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """Start an episode: observations and infos by agent."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._for_all(self._observation), {agent: dict(info) for agent in self.possible_agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Simulate the joint design: observations, rewards, terminations, truncations and infos by agent.

        Raises:
            ArchGymError: an agent is missing or unknown, or its action is not in its space.
        """
        design = np.empty(len(self.space), np.int64)
        for agent in actions:
            if agent not in self.groups:
                raise unknown("agent", agent, self.possible_agents)
        for agent, columns in self._columns.items():
            if agent not in actions:
                raise ArchGymError(
                    f"expected an action of each agent ({', '.join(self.possible_agents)}), got none of "
                    f"{agent!r}"
                )
            if not self.action_spaces[agent].contains(actions[agent]):
                raise ArchGymError(
                    f"expected an action of {agent!r} in {self.action_spaces[agent]}, got {actions[agent]!r}"
                )
            design[columns] = actions[agent]
        self._observation, reward, terminated, truncated, info = self.env.step(design)
        observations, rewards = self._for_all(self._observation), self._for_all(float(reward))
        terminations, truncations = self._for_all(terminated), self._for_all(truncated)
        infos = {agent: dict(info) for agent in self.possible_agents}
        if terminated or truncated:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def render(self) -> Any:
        """What the environment renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _for_all(self, value: Any) -> dict[str, Any]:
        return dict.fromkeys(self.possible_agents, value)
