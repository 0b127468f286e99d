"""Monte Carlo tree search: the tree's rules on trees worked out by hand or by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import Categorical, DesignSpace, Integer
from archgym.agents.mcts import MonteCarloTreeSearch

NVEC = [3, 4, 2, 3]
FLAT = DesignSpace([Categorical(f"p{i}", list(range(n))) for i, n in enumerate(NVEC)])
DEPTH = DesignSpace(
    [
        Integer("depth", 1, 3),
        Categorical("kind", ["a", "b"], default="b"),
        Integer("only_a", 1, 5, when={"kind": "a"}),
        *(Integer(f"kernel{i}", 1, 3, default=2, when={"depth": list(range(i, 4))}) for i in (2, 3)),
        Categorical("fixed", ["x"]),
    ]
)


def started(space: DesignSpace, seed: int = 0, **hyperparameters) -> MonteCarloTreeSearch:
    agent = MonteCarloTreeSearch(**hyperparameters)
    agent.start(space, budget=1000, rng=np.random.default_rng(seed))
    return agent


def tell(agent, designs, rewards, feasible=None) -> None:
    rewards = np.array(rewards, float)
    agent.tell(np.array(designs), rewards, {}, np.ones(len(rewards), bool) if feasible is None else feasible)


def asked(agent, n: int, width: int = 1) -> np.ndarray:
    """The first n designs of a search that asks for `width` at once, with rewards of the designs' sums."""
    rows = np.empty((0, len(agent.space)), np.int64)
    while len(rows) < n:
        batch = agent.ask(min(width, n - len(rows)))
        tell(agent, batch, np.sin(batch @ np.arange(1, len(agent.space) + 1)))
        rows = np.concatenate([rows, batch])
    return rows


@pytest.mark.parametrize("space", [FLAT, DEPTH], ids=["flat", "conditional"])
@given(width=st.integers(1, 9), bisect=st.booleans(), widening=st.sampled_from([0.2, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_every_design_is_proposed_exactly_once_before_any_twice(space, width, bisect, widening):
    agent = started(space, bisect=bisect, widening=widening)
    every = {tuple(row) for row in np.concatenate(list(space.enumerate())).tolist()}
    for _ in range(2):  # it starts over
        designs = [tuple(row) for row in asked(agent, space.size, width).tolist()]
        assert len(set(designs)) == len(designs) and set(designs) == every


def test_every_meaning_is_proposed_exactly_once_before_any_twice():
    agent = started(FLAT)
    agent.canonical = lambda designs: (
        np.sort(designs[:, [0, 3]], axis=1) @ np.array([[0, 9, 0, 0], [0, 0, 0, 1]])
    )
    designs = agent.canonical(asked(agent, 6))  # pairs of three values without order
    assert len(np.unique(designs, axis=0)) == 6


def test_every_choice_has_the_largest_upper_confidence_bound():
    rng = np.random.default_rng(0)
    rewards_of = {tuple(row): rng.normal() for row in next(FLAT.enumerate()).tolist()}
    agent, history = started(FLAT, c=0.3, widening=1.0), []

    def below(prefix):
        return [rewards_of[row] for row in history if row[: len(prefix)] == prefix]

    def bound(prefix):
        rewards = np.array(below(prefix))
        low, high = min(below(())), max(below(()))
        mean = (rewards.mean() - low) / (high - low)
        return mean + 0.3 * math.sqrt(2 * math.log(len(below(prefix[:-1]))) / len(rewards))

    compared = 0
    for _ in range(60):
        (row,) = map(tuple, agent.ask(1).tolist())
        for p, n in enumerate(NVEC):
            children = [(*row[:p], value) for value in range(n)]
            if not below(row[:p]):
                break  # drawn at random
            if any(not below(child) for child in children):
                assert not below(row[: p + 1]), "children without visits come first"
                continue
            unfinished = [child for child in children if len(below(child)) < math.prod(NVEC[p + 1 :])]
            assert row[: p + 1] == max(unfinished, key=bound)
            compared += len(unfinished) > 1
        history.append(row)
        tell(agent, [row], [rewards_of[row]])
    assert compared > 50


@pytest.mark.parametrize(("c", "first"), [(1.0, 0), (0.1, 1)])
def test_the_bound_of_a_tree_worked_out_by_hand(c, first):
    # c = 1: .3 + sqrt(2 ln 6 / 2) = 1.64 and .5 + sqrt(2 ln 6 / 4) = 1.45;  c = .1: .43 and .59
    agent = started(DesignSpace([Categorical("a", [0, 1]), Categorical("b", list(range(50)))]), c=c)
    designs = [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [1, 3]]
    tell(agent, designs, [2.0, 4.0, 0.0, 10.0, 5.0, 5.0])
    assert agent.ask(1)[0, 0] == first


def test_infeasible_designs_count_as_the_worst_feasible_one():
    agent = started(DesignSpace([Categorical("a", [0, 1]), Categorical("b", list(range(50)))]), c=0.02)
    tell(agent, [[0, 0], [0, 1]], [5.0, 3.0])  # mean .5
    tell(agent, [[1, 0], [1, 1], [1, 2]], [5.0, 5.0, -11.0], np.array([True, True, False]))  # mean .67
    assert agent.ask(1)[0, 0] == 1


def test_ordered_parameters_are_halved_until_one_value_is_left():
    agent = started(DesignSpace([Integer("x", 0, 7)]), c=0.02)
    tell(agent, [[1], [6]], [0.0, 1.0])
    assert agent.ask(1)[0, 0] in (4, 5)  # the better half; its other quarter
    agent = started(DesignSpace([Integer("x", 0, 7)]), c=0.02)
    tell(agent, [[1], [6], [4]], [0.0, 1.0, 0.9])
    assert agent.ask(1)[0, 0] == 7  # the better quarter's other value
    tell(agent, [[7]], [1.0])
    assert agent.ask(1)[0, 0] == 5  # the quarter is exhausted


def test_widening_limits_the_children_of_a_node_by_its_visits():
    def values(widening):
        agent = started(
            DesignSpace([Categorical("a", list(range(100))), Integer("b", 0, 99)]), widening=widening
        )
        return len(set(asked(agent, 81)[:, 0]))

    assert (values(1.0), values(0.5), values(0.2)) == (81, 9, math.ceil(81**0.2))


def test_designs_still_out_count_as_visits():
    agent = started(DesignSpace([Categorical("a", [0, 1]), Integer("b", 0, 99)]), c=1.0)
    tell(agent, [[0, 0], [1, 0], [0, 50], [1, 50]], [1.0, 1.0, 0.0, 0.0])
    assert sorted(agent.ask(6)[:, 0]) == [0, 0, 0, 1, 1, 1]


def test_the_tree_has_at_most_two_nodes_more_after_each_sample():
    def nodes(node):
        return 1 + sum(map(nodes, node.children.values()))

    agent = started(DesignSpace([Integer(f"p{i}", 0, 2**40) for i in range(20)]))
    asked(agent, 300, 7)
    assert nodes(agent.root) <= 2 * 300


def test_inactive_parameters_are_skipped_and_active_ones_uniform():
    rng = np.random.default_rng(1)
    depths = []
    for seed in rng.integers(2**31, size=400):
        (row,) = started(DEPTH, int(seed)).ask(1)
        assert np.array_equal(DEPTH.canonical(row[None])[0], row)
        depths.append(row[0])
    assert np.bincount(depths, minlength=3) == pytest.approx(400 / 3, abs=4 * 9.5)  # not by designs below


@pytest.mark.parametrize("width", [None, 8])
def test_a_search_is_ahead_of_random_search_and_repeats_under_its_seed(width):
    def best(agent, seed):
        kwargs = {"n": 12, "k": 2, "alleles": 4, "seed": seed}
        result = archgym.search(
            "archgym/NKLandscape-v0", agent, budget=400, seed=seed, env_kwargs=kwargs, num_envs=width
        )
        return result.best_reward

    found = [best(MonteCarloTreeSearch, seed) for seed in range(6)]
    assert found == [best(MonteCarloTreeSearch, seed) for seed in range(6)]
    assert np.mean(found) > np.mean([best("random", seed) for seed in range(6)]) + 0.03
