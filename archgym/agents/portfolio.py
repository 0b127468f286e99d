"""A portfolio of agents with one budget and one memory (Gomes & Selman, 2001; Cicirello & Smith, 2005).

Every agent learns from every sample. The next proposal is that of the agent likeliest to improve on the best
design: Thompson sampling (Thompson, 1933) draws, for an agent whose own proposals improved on it (1) or not
(0),

    p ~ Beta(1 + a, 1 + b),     a = sum of gamma^age over its improvements, b over its other proposals,

age in its own proposals, and the agent with the largest p proposes. An agent that earns nothing keeps a small
share, and what it finds helps the others.

Good for: a task that nobody has tuned an agent for; it is seldom far from the best agent of the task.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents.aging_evolution import AgingEvolution
from archgym.agents.bo import BayesianOptimization
from archgym.agents.local_search import LocalSearch
from archgym.agents.tpe import TPE
from archgym.space import Array, Categorical, DesignSpace, Indices, Real

ARMS: dict[str, type[AskTellAgent]] = {  # agents that also learn from designs that they did not propose
    "bo": BayesianOptimization,
    "tpe": TPE,
    "local_search": LocalSearch,
    "aging_evolution": AgingEvolution,
}


class Portfolio(AskTellAgent):
    """Several agents with their defaults, one budget, and one memory.

    Args:
        agents: names of the agents, with + between.
        memory: gamma, the weight of an improvement relative to one at the agent's next proposal.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "portfolio", budget=100)  # doctest: +SKIP
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Categorical(
                "agents",
                ["bo+tpe+local_search", "bo+local_search", "tpe+local_search+aging_evolution"],
                default="bo+tpe+local_search",
            ),
            Real("memory", 0.8, 1.0, default=0.95),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.arms = [ARMS[name]() for name in self.agents.split("+")]
        for arm in self.arms:
            arm.objective, arm.metrics, arm.canonical = self.objective, self.metrics, self.canonical
            arm.adapt(budget)
            arm.start(space, budget=budget, rng=rng)
        self.earned = np.zeros((len(self.arms), 2))  # a and b of each
        self.owners: list[int] = []  # of the designs asked and not told yet
        self.best = -np.inf

    def ask(self, n: int) -> Indices:
        improved, others = 1 + self.earned.T
        chosen = int(np.argmax(self.rng.beta(improved, others)))
        designs = np.asarray(self.arms[chosen].ask(n))
        self.owners += [chosen] * len(designs)
        return designs

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        self.owners = []
        self.best = rewards[valid].max(initial=-np.inf)
        for arm in self.arms:
            arm.warm(indices, rewards, metrics, feasible, valid)

    def tell(
        self,
        indices: Indices,
        rewards: Array,
        metrics: Mapping[str, Array],
        feasible: Array,
        valid: Array | None = None,
    ) -> None:
        valid = self.objective(metrics, feasible).valid if valid is None else valid
        for reward, is_valid, owner in zip(rewards.tolist(), valid.tolist(), self.owners, strict=True):
            improved = is_valid and reward > self.best
            self.best = reward if improved else self.best
            self.earned[owner] *= self.memory
            self.earned[owner, 0 if improved else 1] += 1
        self.owners = []
        for arm in self.arms:
            arm.receive(indices, rewards, metrics, feasible, valid)
