"""Designs of unequal cost, and an agent that pays for training: "priced:test/Priced-v0"."""

from __future__ import annotations

import numpy as np

from archgym import AtMost, DesignSpace, Integer, Metric, Minimize, Objective, Simulator, register_env
from archgym.agent import Agent
from archgym.errors import BudgetExhausted
from archgym.infos import core
from archgym.seeding import stream


class Priced(Simulator):
    """6 x 12 designs; x costs 10 (1 + x), and x = 5 breaks the limit. The time is 1 + x + 0.1 (11 - y)."""

    space = DesignSpace([Integer("x", 0, 5), Integer("y", 0, 11)])
    metrics = (Metric("time_s", "s", "lower"), Metric("area_mm2", "mm2", "lower"))
    default_objective = Objective(Minimize("time_s"), AtMost("area_mm2", 4.5), reference={"time_s": 1.0})
    cost_unit = "joules"

    def evaluate_indices(self, indices, rng=None):
        x, y = indices.T
        ones = np.ones(len(x), bool)
        return {"time_s": 1.0 + x + 0.1 * (11 - y), "area_mm2": x.astype(float), "feasible": ones}

    def cost_of(self, indices):
        return 10.0 * (1 + indices[:, 0])

    def controls(self):
        every = self.space.from_ordinal(np.arange(self.space.size))
        few = np.array([[x, 11] for x in range(4)])
        return {"large y": (every, every[:, 1].astype(float)), "few": (few, np.zeros(4))}


class Named(Priced):
    """A parameter is called cost."""

    space = DesignSpace([Integer("cost", 0, 5), Integer("y", 0, 11)])


class Trainer(Agent):
    """Pays 100 for training, then proposes random designs."""

    hyperparameters = DesignSpace([])
    version = 1
    num_envs_from = 1

    def search(self, env, *, budget, seed):
        rng, evaluator = stream(seed, "agent"), core(env).evaluator
        env.reset(seed=seed)
        evaluator.ledger.charge(100.0, "training")
        try:
            while True:
                env.step(evaluator.simulator.space.sample(env.num_envs, rng))
        except BudgetExhausted:
            pass


register_env("test/Priced-v0", simulator=Priced)
register_env("test/Named-v0", simulator=Named)
