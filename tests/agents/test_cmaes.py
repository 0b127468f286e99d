"""CMA-ES: generations, cells and restarts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from archgym.agents.cmaes import CMAES
from archgym.space import Categorical, DesignSpace, Integer

margins = pytest.mark.parametrize("margin", [True, False])


def started(space, *, seed=0, **hyperparameters):
    agent = CMAES(**hyperparameters)
    agent.start(space, budget=10_000, rng=np.random.default_rng(seed))
    return agent


def run(agent, reward, *, steps, width):
    """The designs of so many steps of an environment: [steps * width, P]; a warning is an error."""
    designs = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(steps):
            batch = agent._ask_all(width)
            told = reward(batch)
            agent.tell(batch, told, {}, told > -11)
            designs.append(batch)
    return np.concatenate(designs)


def grid(n, parameters):
    return DesignSpace([Integer(f"p{i}", 0, n - 1) for i in range(parameters)])


@margins
def test_the_first_generation_is_centred_in_the_space_and_every_value_is_a_cell(margin):
    agent = started(
        DesignSpace([Integer("x", 0, 8), Categorical("y", list("abc")), Integer("only", 4, 4)]),
        margin=margin,
        sigma0=0.3,
    )
    designs = agent.ask(4000)
    assert set(designs[:, 0]) == set(range(9)) and set(designs[:, 1]) == {0, 1, 2} and not designs[:, 2].any()
    assert designs[:, :2].mean(axis=0) == pytest.approx([4, 1], abs=0.15)
    share = np.bincount(designs[:, 1]) / 4000  # P(x < 1/3) for N(1/2, 0.3)
    assert share[0] == pytest.approx(0.29, abs=0.04) and share[2] == pytest.approx(0.29, abs=0.04)


@margins
@pytest.mark.parametrize(
    ("population", "width", "generation"), [(16, 16, 16), (16, 7, 21), (4, 10, 10), (8, 1, 8)]
)
def test_a_generation_is_the_population_rounded_up_to_whole_steps(margin, population, width, generation):
    agent = started(grid(16, 3), population=population, margin=margin)
    optimizer = None
    for step in range(generation // width):
        batch = agent._ask_all(width)
        optimizer = agent.optimizer
        assert optimizer.generation == 0, step
        agent.tell(batch, -batch.sum(axis=1).astype(float), {}, np.ones(width, bool))
    assert optimizer.population_size == generation and optimizer.generation == 1


@margins
def test_the_distribution_moves_to_the_better_designs(margin):
    designs = run(
        started(grid(32, 5), margin=margin), lambda d: -((d - 25.0) ** 2).sum(axis=1), steps=25, width=16
    )
    distance = np.abs(designs.reshape(25, 16, 5).mean(axis=1) - 25).max(axis=1)  # of each generation's mean
    assert distance[0] > 7 and distance.min() < 1


@margins
def test_a_search_that_has_narrowed_starts_again_elsewhere(margin):
    agent = started(grid(4, 4), margin=margin)
    designs = run(agent, lambda d: -d.sum(axis=1).astype(float), steps=200, width=16)
    assert agent.starts > 5
    assert all(len(np.unique(designs[-1600:, p])) == 4 for p in range(4))


@margins
def test_restarts_leave_a_deceptive_slope(margin):
    def trap(designs):  # the optimum at 15, 15, 15 lies at the end of a slope that rises the other way
        return np.where((designs >= 13).all(axis=1), 100.0, -designs.sum(axis=1))

    found = [
        (run(started(grid(16, 3), margin=margin, seed=s), trap, steps=150, width=16) >= 13).all(axis=1).any()
        for s in range(5)
    ]
    assert sum(found) >= 4


@margins
@pytest.mark.parametrize("reward", [0.0, -11.0])
def test_a_flat_reward_neither_fails_nor_warns(margin, reward):
    designs = run(
        started(grid(16, 6), margin=margin, population=4),
        lambda d: np.full(len(d), reward),
        steps=500,
        width=4,
    )
    assert designs.min() >= 0 and designs.max() <= 15


@margins
@pytest.mark.parametrize(
    "space",
    [
        grid(1, 3),
        grid(9, 1),
        DesignSpace([Categorical("isa", ["a", "b"]), Integer("only", 5, 5)]),
        DesignSpace([]),
    ],
)
def test_spaces_with_fewer_than_two_free_parameters_are_searched(margin, space):
    designs = run(
        started(space, margin=margin, population=8), lambda d: -d.sum(axis=1).astype(float), steps=40, width=8
    )
    assert all(len(np.unique(designs[:, p])) == n for p, n in enumerate(space.nvec))
