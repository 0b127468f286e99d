"""A task with contexts, and two small agents that learn policies over them: "targets:test/Target-v0"."""

from __future__ import annotations

import time

import numpy as np

from archgym import AtMost, DesignSpace, Integer, Metric, Minimize, Objective, Simulator, register_env
from archgym.agent import Agent
from archgym.contexts.policy import Policy
from archgym.errors import BudgetExhausted
from archgym.infos import core, finished
from archgym.seeding import stream


class Target(Simulator):
    """10 x 4 designs: the closer x to the target, and the smaller y, the faster; y = 3 takes too much area."""

    space = DesignSpace([Integer("x", 0, 9), Integer("y", 0, 3)])
    metrics = (Metric("time_s", "s", "lower"), Metric("area_mm2", "mm2", "lower"))
    default_objective = Objective(Minimize("time_s"), AtMost("area_mm2", 2.5), reference={"time_s": 4.0})

    def __init__(self, target: int = 0, sleep_s: float = 0.0):
        self.target, self.sleep_s = target, sleep_s

    def context_features(self):
        return {"target": float(self.target)}

    def evaluate_indices(self, indices, rng=None):
        time.sleep(self.sleep_s * len(indices))
        x, y = indices.T
        gap = np.abs(x - self.target)
        return {"time_s": 1.0 + gap + 0.5 * y, "area_mm2": y.astype(float), "feasible": np.ones(len(x), bool)}


class Table(Policy):
    """Designs of training contexts; those of the nearest context come first."""

    def __init__(self, env, space, designs, features):
        super().__init__(env, space)
        self.designs, self.rows = designs, features

    def rank(self, features, n):
        near = self.designs[np.argsort(((self.rows - features) ** 2).sum(axis=1), kind="stable")]
        every = np.concatenate([near, self.space.from_ordinal(np.arange(self.space.size))])
        _, first = np.unique(every, axis=0, return_index=True)
        return every[np.sort(first)][:n]

    def arrays(self):
        return {"designs": self.designs, "rows": self.rows}

    @classmethod
    def from_arrays(cls, env, space, arrays):
        return cls(env, space, arrays["designs"], arrays["rows"])


class Copier(Agent):
    """Remembers the best design of every training context."""

    hyperparameters = DesignSpace([])
    version = 1
    num_envs_from = 8
    policy_class = Table

    def search(self, env, *, budget, seed):
        rng, evaluator = stream(seed, "agent"), core(env).evaluator
        best = np.full(len(evaluator.contexts), -np.inf)
        designs = np.zeros((len(best), 2), np.int64)
        env.reset(seed=seed)
        try:
            while True:
                actions = evaluator.simulator.space.sample(env.num_envs, rng)
                _, rewards, *_, info = env.step(actions)
                for context, reward, action in zip(finished(info)["context"], rewards, actions, strict=True):
                    if reward > best[context]:
                        best[context], designs[context] = reward, action
        except BudgetExhausted:
            self.policy = self.learned(evaluator, designs, rng)

    def learned(self, evaluator, designs, rng):
        return Table(*Policy.describes(evaluator), designs, evaluator.feature_rows)


class Guesser(Copier):
    """Forgets all and proposes random designs."""

    def learned(self, evaluator, designs, rng):
        guesses = evaluator.simulator.space.sample(len(designs), rng)
        return Table(*Policy.describes(evaluator), guesses, evaluator.feature_rows)


class Breaks(Copier):
    """Has a policy that fails."""

    def learned(self, evaluator, designs, rng):
        raise ValueError("no policy today")


GROUPS = {
    "arguments": [{"target": t} for t in range(10)],
    "groups": [[f"g{t // 3}"] for t in range(10)],
}

register_env(
    "test/Target-v0",
    simulator=Target,
    contexts={"all": [{"target": t} for t in range(10)], "grouped": GROUPS},
)
