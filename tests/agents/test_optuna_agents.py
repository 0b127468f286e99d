"""The agents that Optuna or the `cmaes` package stand behind, and TPE, through an environment."""

from __future__ import annotations

import logging
import sys
import warnings

import numpy as np
import optuna
import pytest

from archgym.agents.cmaes import CMAES
from archgym.agents.gp import GaussianProcess
from archgym.agents.tpe import TPE
from archgym.env import ArchVectorEnv
from archgym.errors import MissingDependency
from archgym.objective import Minimize, Objective
from archgym.registry import Task
from archgym.simulator import Metric, Simulator
from archgym.space import Categorical, DesignSpace, Integer, Ordinal

AGENTS = [TPE, CMAES]
SPACE = DesignSpace(
    [
        Integer("x", 1, 16),
        Ordinal("size", [1, 2, 4, 8, 16]),
        Categorical("isa", ["b", "a", "c"]),
        Integer("only", 5, 5),
    ]
)


class Bowl(Simulator):
    """The cost of a design is 1 plus its squared distance, in indices, from index n // 3 of every
    parameter.
    """

    metrics = (Metric("cost", "1", "lower"),)

    def __init__(self, space=SPACE):
        self.space = space

    def evaluate_indices(self, indices, rng=None):
        cost = 1.0 + ((indices - self.space.nvec // 3) ** 2).sum(axis=1)
        return {"cost": cost, "feasible": indices.sum(axis=1) > 0}

    def evaluate(self, designs, rng=None):
        return self.evaluate_indices(self.space.encode(designs))


def search(agent, *, budget, seed=0, num_envs=None, space=SPACE):
    env = ArchVectorEnv(
        Task("test/Bowl-v0", Bowl(space), Objective(Minimize("cost"))), num_envs or agent.preferred_num_envs
    )
    env.ledger.budget = budget
    agent.search(env, budget=budget, seed=seed)
    return env.ledger


def rows(ledger):
    return ledger.column("indices").tolist()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("budget", [1, 3, 20, 137])
def test_every_budget_is_spent_exactly(agent, budget):
    assert search(agent(), budget=budget).samples == budget


@pytest.mark.parametrize("agent", AGENTS)
def test_any_width_works(agent):
    assert search(agent(), budget=50, num_envs=7).samples == 50


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_seed_gives_the_same_designs_and_another_seed_others(agent):
    assert rows(search(agent(), budget=90, seed=3)) == rows(search(agent(), budget=90, seed=3))
    assert rows(search(agent(), budget=90, seed=3)) != rows(search(agent(), budget=90, seed=4))


@pytest.mark.parametrize("agent", AGENTS)
def test_agents_beat_random_search_on_a_bowl(agent):
    space = DesignSpace([Integer(f"p{i}", 0, 15) for i in range(6)])
    bowl = Bowl(space)
    random = [
        bowl.evaluate_indices(space.sample(300, np.random.default_rng(seed)))["cost"].min()
        for seed in range(3)
    ]
    best = [-search(agent(), budget=300, seed=seed, space=space).best_reward for seed in range(3)]
    assert np.median(np.exp(best)) < np.median(random)


@pytest.mark.parametrize("agent", AGENTS)
def test_every_value_of_every_parameter_is_reached(agent):
    seen = np.concatenate([search(agent(), budget=120, seed=seed).column("indices") for seed in range(5)])
    assert [len(np.unique(column)) for column in seen.T] == SPACE.nvec.tolist()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [Integer("only", 5, 5)],
        [Integer("x", 0, 9)],
        [Categorical("isa", ["a", "b"]), Integer("only", 5, 5)],
    ],
)
def test_empty_single_valued_and_one_dimensional_spaces_work(agent, parameters):
    assert search(agent(), budget=40, space=DesignSpace(parameters)).samples == 40


@pytest.mark.parametrize("margin", [True, False])
def test_cma_es_searches_with_and_without_margin(margin):
    assert search(CMAES(margin=margin), budget=60).samples == 60


def test_a_search_neither_warns_nor_logs_nor_changes_the_callers_settings(caplog):
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what must not change
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
            warnings.simplefilter("error")
            for agent in AGENTS:
                search(agent(), budget=40)
        assert not [record for record in caplog.records if record.name.startswith("optuna")]
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_the_gaussian_process_names_the_extra_that_brings_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"archgym\[gp\]"):
        search(GaussianProcess(), budget=5)


def test_the_gaussian_process_is_reproducible_and_restores_the_threads_of_torch():
    torch = pytest.importorskip("torch")
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        first, again = (search(GaussianProcess(startup=5), budget=12, seed=1) for _ in range(2))
        assert torch.get_num_threads() == 2 and torch.equal(state, torch.get_rng_state())
    finally:
        torch.set_num_threads(threads)
    assert first.samples == 12 and rows(first) == rows(again)


@pytest.mark.parametrize("parameters", [[], [Integer("only", 5, 5)], [Integer("x", 0, 9)]])
def test_the_gaussian_process_works_on_small_spaces(parameters):
    pytest.importorskip("torch")
    assert search(GaussianProcess(startup=5), budget=8, space=DesignSpace(parameters)).samples == 8
