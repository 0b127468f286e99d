"""The portfolio: one ledger and one memory for several agents, and more turns for those that earn."""

from __future__ import annotations

import numpy as np
import pytest

import archgym
from archgym import AskTellAgent, DesignSpace
from archgym.agents import portfolio
from archgym.agents.portfolio import Portfolio
from archgym.testing import check_agent

NK = {"n": 8, "k": 1, "alleles": 3}


class Watched(AskTellAgent):
    """Asks for random designs; counts what it asked and keeps what it was told."""

    hyperparameters = DesignSpace([])
    version = 1

    def start(self, space, *, budget, rng):
        self.space, self.rng, self.asked, self.told = space, rng, 0, []

    def ask(self, n):
        self.asked += n
        return self.space.sample(n, self.rng)

    def tell(self, indices, rewards, metrics, feasible):
        self.told.append(indices.copy())


class Climber(Watched):
    """Asks for the design of ordinal 0, 1, 2, ... of a space in which each is better than the one before."""

    def ask(self, n):
        self.asked += n
        return self.space.from_ordinal(np.arange(self.asked - n, self.asked))


@pytest.mark.parametrize("num_envs", [None, 5])
def test_every_agent_learns_from_every_sample_of_one_exact_budget(monkeypatch, num_envs):
    monkeypatch.setattr(portfolio, "ARMS", dict.fromkeys(portfolio.ARMS, Watched))
    agent = Portfolio()
    result = archgym.search("archgym/NKLandscape-v0", agent, budget=60, env_kwargs=NK, num_envs=num_envs)
    assert result.samples == 60
    # the batch that meets the end of the budget is asked and not told
    assert sum(arm.asked for arm in agent.arms) == 60 + (num_envs or 1)
    for arm in agent.arms:
        assert arm.asked > 0 and sum(map(len, arm.told)) == 60
        np.testing.assert_array_equal(np.concatenate(arm.told), np.concatenate(agent.arms[0].told))


def test_an_agent_that_improves_gets_most_turns(monkeypatch, register):
    monkeypatch.setattr(
        portfolio, "ARMS", {**portfolio.ARMS, "local_search": Climber, "tpe": Watched, "bo": Watched}
    )
    agent = Portfolio()
    agent.objective, agent.metrics = archgym.Objective(archgym.Maximize("height")), ()
    space = DesignSpace([archgym.Integer("x", 0, 9999)])
    agent.start(space, budget=200, rng=np.random.default_rng(0))
    for step in range(200):
        design = agent.ask(1)
        improves = agent.owners == [2]  # the climber
        columns = {"height": np.array([step + 2.0 if improves else 1.0])}
        rewards = agent.objective(columns, np.ones(1, bool))
        agent.tell(design, rewards.reward, columns, np.ones(1, bool), rewards.valid)
    turns = [arm.asked for arm in agent.arms]
    assert turns[2] > 150 and min(turns) > 0


@pytest.mark.parametrize("agents", Portfolio.hyperparameters["agents"].plain)
def test_the_same_seed_gives_the_same_rows(agents):
    first, again = (
        archgym.search(
            "archgym/NKLandscape-v0", Portfolio, budget=40, env_kwargs=NK, agent_kwargs={"agents": agents}
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.history["reward"], again.history["reward"])


def test_it_is_an_agent():
    check_agent(Portfolio, budget=67, reach_budget=800)
