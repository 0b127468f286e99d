"""Successive halving and Hyperband: rungs, promotions, and costs charged by epochs."""

from __future__ import annotations

import numpy as np
import pytest

import archgym
from archgym.agents._rungs import PROPOSERS, Bracket, rung_levels
from archgym.agents.hyperband import Hyperband
from archgym.agents.successive_halving import SuccessiveHalving
from archgym.env import ArchVectorEnv
from archgym.registry import get_agent
from archgym.simulators.nas.tabular import NasCell
from archgym.testing import check_agent

BOTH = [SuccessiveHalving, Hyperband]
EPOCHS = np.array([1, 2, 4, 8, 16])


def searched(agent, *, samples=None, reference_samples=None, num_envs=1, seed=0, start=None, **kwargs):
    """The ledger of a search of cells, by default with chosen epochs."""
    kwargs = {"epochs": "chosen", "seed": 0, **kwargs}
    env = ArchVectorEnv("archgym/NasCell-v0", num_envs=num_envs, **kwargs)
    env.ledger.budget = samples
    if reference_samples is not None:
        env.ledger.cost_budget = reference_samples * env.evaluator.reference_cost
    agent.search(env, budget=samples or reference_samples, seed=seed, start=start)
    return env.ledger


# Li et al. (2018), table 1: R = 81, eta = 3; (designs, resource) of every rung of brackets s = 4, 3, 2, 1, 0
TABLE = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]


def rungs_of(agent, values, k):
    """(designs, fidelity) of every rung of bracket k."""
    levels = rung_levels(values, agent.eta, agent.rungs)
    n, rungs = agent.bracket(k, len(levels))
    bracket = Bracket(np.zeros((n, 1), np.int64), levels[-rungs:], agent.eta)
    found = []
    while bracket.waiting:
        rows, bracket.waiting = bracket.waiting, []
        found.append((len(rows), values[bracket.levels[bracket.rung]]))
        for row in rows:
            bracket.receive(row, 0.0)
    return found


def test_brackets_of_hyperband_are_those_of_the_paper():
    agent = Hyperband(eta=3, rungs=8)
    for k in range(10):
        assert rungs_of(agent, [1, 3, 9, 27, 81], k) == TABLE[k % 5]


def test_brackets_of_successive_halving_by_hand():
    assert rungs_of(SuccessiveHalving(eta=4, rungs=8), EPOCHS, 0) == [(16, 1), (4, 4), (1, 16)]
    assert rungs_of(SuccessiveHalving(eta=4, rungs=2), EPOCHS, 3) == [(4, 4), (1, 16)]
    assert rungs_of(SuccessiveHalving(eta=2, rungs=8), EPOCHS, 0) == [
        (16, 1),
        (8, 2),
        (4, 4),
        (2, 8),
        (1, 16),
    ]
    assert rungs_of(SuccessiveHalving(eta=2, rungs=1), EPOCHS, 0) == [(1, 16)]


def test_a_rung_takes_the_highest_fidelity_that_is_low_enough():
    assert rung_levels([1, 2, 4, 8, 16], 3, 8) == [0, 2, 4]  # at most 16/3 and 16/9
    assert rung_levels([12, 200], 4, 8) == [0, 1]
    assert rung_levels([10], 2, 8) == [0]


@pytest.mark.parametrize("agent", BOTH)
@pytest.mark.parametrize("eta, rungs", [(2, 8), (4, 2), (3, 8)])
def test_costs_are_those_of_the_epochs_and_never_exceed_the_budget(agent, eta, rungs):
    ledger = searched(agent(eta=eta, rungs=rungs), reference_samples=25)
    indices = ledger.column("indices").astype(np.int64)
    macs = NasCell(seed=0).evaluate_indices(indices[:, :6])["macs"]
    costs = 3 * 896 * macs * EPOCHS[indices[:, 6]]
    np.testing.assert_array_equal(ledger.column("cost"), np.cumsum(costs))
    assert ledger.cost == costs.sum() <= ledger.cost_budget
    assert ledger.cost > 0.85 * ledger.cost_budget and ledger.charges == []


@pytest.mark.parametrize("eta, sizes", [(2, [16, 8, 4, 2, 1]), (4, [16, 4, 1])])
def test_the_best_of_a_rung_are_promoted(eta, sizes):
    samples = 3 * sum(sizes)
    ledger = searched(SuccessiveHalving(eta=eta, rungs=8, proposer="random"), samples=samples)
    indices, rewards = ledger.column("indices").astype(np.int64), ledger.column("reward")
    for first in range(0, samples, sum(sizes)):
        ends = first + np.cumsum(sizes)
        for size, start, end, stop in zip(sizes[1:], [first, *ends], ends, ends[1:], strict=False):
            assert len(set(indices[start:end, 6])) == 1 and (indices[end:stop, 6] > indices[start, 6]).all()
            best = np.argsort(-rewards[start:end], kind="stable")[:size]
            np.testing.assert_array_equal(indices[end:stop, :6], indices[start:end, :6][best])


@pytest.mark.parametrize("agent", BOTH)
@pytest.mark.parametrize("proposer", PROPOSERS)
@pytest.mark.parametrize("num_envs", [1, 7])
def test_one_rung_is_the_proposer_alone(agent, proposer, num_envs):
    alone = searched(get_agent(proposer)(), samples=45, num_envs=num_envs, epochs=None).column("indices")
    rows = searched(agent(proposer=proposer, rungs=1), samples=45, num_envs=num_envs).column("indices")
    np.testing.assert_array_equal(rows, np.insert(alone, 6, 4, axis=1))
    plain = searched(agent(proposer=proposer), samples=45, num_envs=num_envs, epochs=None).column("indices")
    np.testing.assert_array_equal(plain, alone)  # without fidelities


@pytest.mark.parametrize("agent", BOTH)
@pytest.mark.parametrize("proposer", PROPOSERS)
@pytest.mark.parametrize("num_envs", [1, 5])
def test_the_proposer_learns_from_whole_evaluations_alone(agent, proposer, num_envs, monkeypatch):
    told = []
    cls, original = get_agent(proposer), get_agent(proposer).receive
    monkeypatch.setattr(cls, "receive", lambda self, *args: (told.append(args[:2]), original(self, *args)))
    ledger = searched(agent(proposer=proposer), samples=100, num_envs=num_envs)
    indices, rewards = ledger.column("indices"), ledger.column("reward")
    whole = indices[:, 6] == 4
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in told]), indices[whole, :6])
    np.testing.assert_array_equal(np.concatenate([each for _, each in told]), rewards[whole])


@pytest.mark.parametrize("agent", BOTH)
def test_a_search_that_starts_from_designs_evaluates_them_first(agent):
    start = np.array([[3, 3, 3, 3, 3, 3, 4], [2, 2, 2, 2, 2, 2, 0]])
    ledger = searched(agent(), samples=60, num_envs=3, start=start)
    np.testing.assert_array_equal(ledger.column("indices")[:2], start)
    assert ledger.samples == 60 and set(ledger.column("indices")[3:, 6]) == {2, 4}


@pytest.mark.parametrize("agent", BOTH)
def test_they_search_any_environment(agent):
    assert archgym.search("archgym/NKLandscape-v0", agent, budget=30).samples == 30


@pytest.mark.parametrize("agent", BOTH)
def test_they_are_agents(agent):
    check_agent(agent)
