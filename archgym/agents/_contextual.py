"""Agents that learn, from designs for the contexts of an environment, a policy for contexts that it lacks.

    repeat: contexts of the next designs -> ask -> step -> tell         (until the ledger's budget is spent)

An environment without contexts has one context without features, so that these agents also search.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.contexts.policy import Policy
from archgym.errors import BudgetExhausted
from archgym.infos import core, finished
from archgym.objective import Objective
from archgym.seeding import stream
from archgym.space import Array, DesignSpace, Indices


class ContextualAgent(Agent):
    """An agent that learns over contexts; subclasses define `start`, `ask`, `tell` and `arrays`.

    Class attributes:
        policy_class: class of the policy, made from `arrays`.

    Attributes:
        objectives: objective of each context; set before `start`.
        policy: what the last search learned; None before, and where the environment had no contexts.
    """

    policy_class: ClassVar[type[Policy]]
    objectives: tuple[Objective, ...]
    policy: Policy | None = None

    @abstractmethod
    def start(
        self,
        space: DesignSpace,
        features: npt.NDArray[np.float32],
        *,
        budget: int,
        rng: np.random.Generator,
    ) -> None:
        """Begin to learn `space` over contexts with features [C, F]; all randomness comes from `rng`."""

    @abstractmethod
    def ask(self, contexts: Indices) -> Indices:
        """Designs [B, P] for contexts given by their positions, [B]."""

    @abstractmethod
    def tell(
        self, contexts: Indices, indices: Indices, rewards: Array, feasible: Array, valid: Array
    ) -> None:
        """Learn from the designs of `ask`: contexts [B], designs as canonical rows [B, P], rewards, feasible
        and valid [B].

        A method with a sixth parameter `metrics` also receives them: name -> column [B], NaN where
        infeasible.
        """

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """What was learned, for `policy_class.from_arrays`."""

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        self.adapt(budget)
        evaluator = core(env).evaluator
        several = evaluator.contexts is not None
        features = evaluator.feature_rows if several else np.zeros((1, 0), np.float32)
        members = evaluator.members if several else [evaluator]
        self.objectives = tuple(member.objective for member in members)
        takes_metrics = "metrics" in inspect.signature(self.tell).parameters
        self.policy = None
        self.start(evaluator.simulator.space, features, budget=budget, rng=stream(seed, "agent"))
        env.reset(seed=seed)
        try:
            while True:
                contexts = evaluator.current.copy() if several else np.zeros(env.num_envs, np.int64)
                indices = self.ask(contexts)
                *_, info = env.step(indices)
                done = finished(info)
                more = {"metrics": done["metrics"]} if takes_metrics else {}
                designs = evaluator.simulator.space.canonical(indices)
                self.tell(contexts, designs, done["reward"], done["feasible"], done["valid"], **more)
        except BudgetExhausted:
            pass
        if several:
            described = self.policy_class.describes(evaluator)
            self.policy = self.policy_class.from_arrays(*described, self.arrays())
