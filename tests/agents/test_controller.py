"""The recurrent controller: its probabilities and gradient, spaces of any shape, and its memory."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest

import archgym
from archgym.agents._torch import alone_with_torch
from archgym.agents.controller import Controller
from archgym.space import Categorical, DesignSpace, Integer
from archgym.testing import check_agent

SPACE = DesignSpace(
    [Categorical("a", ["x", "y"]), Integer("b", 1, 4), Categorical("only", [0]), Integer("c", 1, 4)]
)
ALL = np.array(list(product(*map(range, SPACE.nvec))))


def test_without_torch_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(archgym.MissingDependency, match=r'pip install "archgym\[gp\]"'):
        archgym.search("archgym/NKLandscape-v0", Controller(), budget=10)


torch = pytest.importorskip("torch", reason="the controller needs PyTorch")


@pytest.fixture(autouse=True)
def one_thread():
    with alone_with_torch():
        yield


def started(space=SPACE, seed=0, **hyperparameters):
    agent = Controller(**hyperparameters)
    agent.start(space, budget=1000, rng=np.random.default_rng(seed))
    return agent


def told(agent, reward, updates):
    for _ in range(updates):
        designs = agent.ask(agent.batch)
        agent.tell(designs, reward(designs), {}, np.ones(len(designs), bool))
    return agent


def probabilities(agent, designs):
    with torch.no_grad():
        return agent.write(agent.read(designs[:, :0]), designs)[1].exp().numpy()


@pytest.mark.parametrize("memory", [0, 100])
def test_it_keeps_the_contract_of_agents(memory):
    check_agent(
        lambda **given: Controller(**{"memory": memory, "replay": 1, **given}), budget=47, reach_budget=200
    )


def test_designs_are_drawn_with_the_probabilities_that_are_learned():
    agent = told(started(rate=0.03), lambda d: (d[:, 1] == d[:, 3]).astype(float), 40)
    p = probabilities(agent, ALL)
    assert p.sum() == pytest.approx(1, abs=1e-5) and p.max() > 3 / len(ALL)
    drawn = agent.ask(20_000)
    counts = (drawn[:, None] == ALL).all(axis=2).sum(axis=0)
    expected = 20_000 * p
    enough = expected > 5
    chi_square = ((counts - expected)[enough] ** 2 / expected[enough]).sum()
    assert chi_square < enough.sum() + 5 * np.sqrt(2 * enough.sum())


def test_values_depend_on_earlier_values():
    # b is right where it equals 0 for a = x and 3 for a = y, which no product of distributions can express
    agent = told(started(rate=0.03, entropy=0.1), lambda d: (d[:, 1] == 3 * d[:, 0]).astype(float), 60)
    p = probabilities(agent, ALL)
    right = ALL[:, 1] == 3 * ALL[:, 0]
    assert p[right].sum() > 0.75 and all(p[right & (ALL[:, 0] == a)].sum() > 0.2 for a in (0, 1))


def test_every_value_keeps_the_probability_of_the_bounded_logits():
    agent = started(SPACE)
    with torch.no_grad():
        for table in agent.outputs:
            table *= 1e4
    assert probabilities(agent, ALL).min() >= np.prod(np.exp(-5.0) / SPACE.nvec[SPACE.nvec > 1])


def test_the_entropy_is_that_of_the_choices():
    space = DesignSpace([Integer("a", 1, 5)])
    agent = told(started(space, rate=0.03), lambda d: d[:, 0].astype(float), 10)
    designs = np.arange(5)[:, None]
    p = probabilities(agent, designs)
    with torch.no_grad():
        entropy = agent.write(agent.read(designs[:, :0]), designs)[2].numpy()
    assert entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)


def test_parameters_with_the_same_values_share_vectors():
    kind = started().kind
    assert kind[2:6].tolist() == kind[7:11].tolist() and len(set(kind.tolist())) == 2 + 4 + 1


def test_infeasible_designs_count_as_the_worst_feasible_one():
    def after(infeasible_reward):
        agent = started()
        designs = agent.ask(10)
        feasible = np.arange(10) > 2
        agent.tell(designs, np.where(feasible, np.arange(10.0), infeasible_reward), {}, feasible)
        return probabilities(agent, ALL)

    assert np.array_equal(after(3.0), after(-11.0))


def test_a_batch_without_feasible_designs_teaches_nothing():
    agent = started()
    before = probabilities(agent, ALL)
    agent.tell(agent.ask(10), np.full(10, -11.0), {}, np.zeros(10, bool))
    assert np.array_equal(before, probabilities(agent, ALL)) and agent.baseline is None


def test_the_memory_is_of_the_last_designs_and_learns_to_spell_them():
    agent = started(memory=100, replay=10)
    rewards = np.random.default_rng(0)
    seen = []
    for _ in range(30):
        designs = agent.ask(10)
        seen.append(designs)
        agent.tell(designs, rewards.random(10), {}, np.ones(10, bool))
    past = np.concatenate(seen)[-100:]
    assert np.array_equal(agent.past, past)
    with torch.no_grad():
        loss = float(agent.misspelling(agent.read(past), past))
    assert loss < 0.25 * np.log(SPACE.nvec).mean()


def test_without_a_memory_replay_changes_nothing():
    rows = [told(started(replay=replay), lambda d: d[:, 1] / 3, 3).ask(50) for replay in (0, 10)]
    assert np.array_equal(*rows)
