"""The tree-structured Parzen estimator: its densities against the equations, and what it proposes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.agents import tpe
from archgym.agents.tpe import TPE
from archgym.space import Categorical, DesignSpace, Integer

SPACE = DesignSpace(
    [Integer("x", 0, 4), Categorical("isa", ["a", "b", "c"]), Integer("only", 5, 5), Integer("y", 0, 1)]
)
EVERY = np.concatenate(list(SPACE.enumerate()))

densities = pytest.mark.parametrize("multivariate", [True, False])


def told(designs, rewards, *, space=SPACE, feasible=None, seed=0, **hyperparameters):
    """A TPE that is told these designs, whatever it would have asked."""
    agent = TPE(**hyperparameters)
    agent.start(space, budget=1000, rng=np.random.default_rng(seed))
    rewards = np.asarray(rewards, float)
    agent.tell(
        np.asarray(designs),
        rewards,
        {},
        np.ones(len(rewards), bool) if feasible is None else np.asarray(feasible),
    )
    return agent


def kernel(parameter, u, v, *, epsilon, good):
    """K_p(u | v) of the module's equations, literally."""
    n = len(parameter)
    if not parameter.ordered:
        near = float(u == v)
    else:
        h = 0.3 * max(1, n / (good + 2))
        weights = [math.exp(-((w - v) ** 2) / (2 * h**2)) for w in range(n)]
        near = weights[u] / sum(weights)
    return (1 - epsilon) * near + epsilon / n


def density(space, x, members, *, epsilon, good, multivariate):
    """l(x) or g(x) of the module's equations, literally."""

    def terms(p):
        parameter = space.parameters[p]
        return [
            1 / len(parameter),
            *(kernel(parameter, x[p], y[p], epsilon=epsilon, good=good) for y in members),
        ]

    columns = [terms(p) for p in range(len(space))]
    if multivariate:
        return sum(math.prod(row) for row in zip(*columns, strict=True)) / (len(members) + 1)
    return math.prod(sum(column) / (len(members) + 1) for column in columns)


@densities
@pytest.mark.parametrize("one_hot", [True, False])
@given(seed=st.integers(0, 99), seen=st.integers(0, 40), mutation=st.sampled_from([0.1, 0.5, 4.0]))
@settings(max_examples=15, deadline=None)
def test_both_densities_are_those_of_the_equations(multivariate, one_hot, seed, seen, mutation):
    rng = np.random.default_rng(seed)
    designs = SPACE.sample(seen, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tpe, "MAX_ONE_HOT", 512 if one_hot else 0)
        agent = told(designs, rng.random(seen), multivariate=multivariate, mutation=mutation, seed=seed)
        good = agent.good()
        log_l, log_g = agent.log_densities(EVERY, good)
    rest = [y for i, y in enumerate(designs) if i not in good]
    options = {"epsilon": min(mutation / 3, 0.5), "good": len(good), "multivariate": multivariate}
    assert np.exp(log_l) == pytest.approx(
        [density(SPACE, x, designs[good], **options) for x in EVERY], rel=1e-4
    )
    assert np.exp(log_g) == pytest.approx([density(SPACE, x, rest, **options) for x in EVERY], rel=1e-4)


@densities
@pytest.mark.parametrize("one_hot", [True, False])
@given(seed=st.integers(0, 99), bound=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_a_joint_g_is_of_the_latest_designs_and_any_other_density_of_all(multivariate, one_hot, seed, bound):
    rng = np.random.default_rng(seed)
    designs = SPACE.sample(40, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tpe, "MAX_ONE_HOT", 512 if one_hot else 0)
        patch.setattr(tpe, "MAX_LATEST", bound)
        agent = told(designs, rng.random(40), multivariate=multivariate)
        good = agent.good()
        log_l, log_g = agent.log_densities(EVERY, good)
    first = 40 - bound if multivariate else 0
    rest = [y for i, y in enumerate(designs) if i not in good and i >= first]
    options = {"epsilon": 0.5 / 3, "good": len(good), "multivariate": multivariate}
    assert np.exp(log_l) == pytest.approx(
        [density(SPACE, x, designs[good], **options) for x in EVERY], rel=1e-4
    )
    assert np.exp(log_g) == pytest.approx([density(SPACE, x, rest, **options) for x in EVERY], rel=1e-4)


@densities
def test_a_proposal_reads_a_bounded_number_of_designs(multivariate, monkeypatch):
    rng = np.random.default_rng(0)
    space = DesignSpace([Integer(f"p{i}", 0, 3) for i in range(8)])
    agent = told(space.sample(3000, rng), rng.random(3000), space=space, multivariate=multivariate)
    read = []
    products = agent._log_products
    monkeypatch.setattr(
        agent, "_log_products", lambda tables, designs: read.append(len(designs)) or products(tables, designs)
    )
    agent.ask(1)
    assert sum(read) <= tpe.MAX_LATEST + tpe.MAX_GOOD and (tpe.MAX_LATEST in read) == multivariate
    assert len(agent.latest) <= tpe.MAX_LATEST and len(agent.ranked) == tpe.MAX_GOOD


def test_the_bound_changes_no_row_of_a_search_within_it(monkeypatch):
    def rows(bound):
        monkeypatch.setattr(tpe, "MAX_LATEST", bound)
        agent = told([], [])
        batches = []
        for _ in range(32):
            batches.append(agent.ask(2))
            agent.tell(batches[-1], batches[-1].sum(axis=1).astype(float), {}, np.ones(2, bool))
        return np.concatenate(batches)

    assert np.array_equal(rows(64), rows(1024)) and not np.array_equal(rows(8), rows(1024))


@densities
def test_designs_not_asked_for_count_as_those_asked_for(multivariate):
    asking, other = (TPE(multivariate=multivariate) for _ in range(2))
    for agent in (asking, other):
        agent.start(SPACE, budget=100, rng=np.random.default_rng(0))
    designs = asking.ask(20)
    rewards, every = np.arange(20.0), np.ones(20, bool)
    asking.tell(designs, rewards, {}, every)
    other.tell(designs.astype(np.int32), rewards, {}, every)
    assert np.array_equal(asking.good(), other.good())
    for ours, theirs in zip(
        asking.log_densities(EVERY, asking.good()), other.log_densities(EVERY, other.good()), strict=True
    ):
        assert np.array_equal(ours, theirs)
    left = {design.tobytes() for design in EVERY} - {design.tobytes() for design in designs}
    assert {design.tobytes() for design in other.ask(len(left))} == left


def test_designs_told_between_an_ask_and_its_rewards_leave_each_reward_with_its_design():
    agent = told([], [], startup=80)
    first, second = agent.ask(3), agent.ask(2)
    others = np.array([y for y in EVERY if not (y == np.concatenate([first, second])).all(axis=1).any()][:2])
    agent.tell(second, np.array([1.0, 9.0]), {}, np.ones(2, bool))
    agent.tell(
        np.concatenate([others, first]),
        np.array([2.0, 8.0, 7.0, 3.0, 4.0]),
        {},
        np.array([1, 1, 1, 1, 0], bool),
    )
    assert agent.n_told == agent.n_seen == 7
    ranked = agent.places[[position for _, position in agent.ranked]]
    assert np.array_equal(ranked, [second[1], others[1], first[0], first[1], others[0], second[0]])


def test_a_design_told_again_counts_again():
    design = EVERY[:1]
    agent = told([], [])
    agent.tell(np.repeat(design, 3, axis=0), np.array([1.0, 3.0, 2.0]), {}, np.ones(3, bool))
    assert [reward for reward, _ in agent.ranked] == [-3, -2, -1] and agent.n_seen == 3


@densities
def test_both_densities_sum_to_one_over_the_space(multivariate):
    rng = np.random.default_rng(1)
    agent = told(SPACE.sample(60, rng), rng.random(60), multivariate=multivariate)
    assert [np.exp(log).sum() for log in agent.log_densities(EVERY, agent.good())] == pytest.approx(
        [1, 1], rel=1e-5
    )


@pytest.mark.parametrize("size", [0, 1, 7, 25])
def test_every_kernel_is_a_distribution_around_its_design(size):
    agent = told([], [])
    agent._tabulate(size)
    for p, n in enumerate(SPACE.nvec):
        table = agent.kernel[p, :n, :n]
        assert table.sum(axis=1) == pytest.approx(1) and (table > 0).all()
        assert (table.argmax(axis=1) == np.arange(n)).all()
        assert not agent.kernel[p, :, n:].any()


@densities
def test_candidates_are_drawn_from_the_density_of_the_good(multivariate):
    rng = np.random.default_rng(2)
    agent = told(SPACE.sample(30, rng), rng.random(30), multivariate=multivariate, candidates=128)
    good = agent.good()
    drawn = np.concatenate([agent._draw(good) for _ in range(400)])
    share = np.bincount(SPACE.to_ordinal(drawn), minlength=SPACE.size) / len(drawn)
    expected = np.exp(agent.log_densities(EVERY, good)[0])
    assert np.abs(share - expected).max() < 5 * math.sqrt(expected.max() / len(drawn))


def test_the_good_are_the_best_tenth_of_what_can_exist():
    rewards = np.arange(40.0)
    assert told(SPACE.sample(40, np.random.default_rng(0)), rewards).good().tolist() == [39, 38, 37, 36]
    feasible = rewards < 38
    assert told(SPACE.sample(40, np.random.default_rng(0)), rewards, feasible=feasible).good().tolist() == [
        37,
        36,
        35,
        34,
    ]
    nothing = told(SPACE.sample(40, np.random.default_rng(0)), rewards, feasible=rewards < 0)
    assert len(nothing.good()) == 0 and nothing.ask(5).shape == (5, 4)


def test_more_than_25_designs_are_never_good():
    rng = np.random.default_rng(0)
    rewards = rng.permutation(900)
    good = told(SPACE.sample(900, rng), rewards, gamma=0.5).good()
    assert rewards[good].tolist() == list(range(899, 874, -1))


@densities
def test_proposals_take_the_value_that_good_designs_share(multivariate):
    space = DesignSpace([Categorical(f"p{i}", list("abcdef")) for i in range(5)])
    designs = space.sample(100, np.random.default_rng(3))
    agent = told(designs, designs[:, 2] == 4, space=space, multivariate=multivariate)
    share = []
    for _ in range(60):
        asked = agent.ask(1)
        share.append(asked[0, 2] == 4)
        agent.tell(asked, (asked[:, 2] == 4).astype(float), {}, np.ones(1, bool))
    assert np.mean(share) > 0.6  # of designs drawn at random, a sixth


def test_a_joint_density_sees_that_two_values_are_good_together_only():
    space = DesignSpace([Categorical(f"p{i}", list("ab")) for i in range(2)])
    designs = np.array([[0, 0], [1, 1], [0, 1], [1, 0]] * 10)
    ratio = {}
    for multivariate in (True, False):
        agent = told(
            designs,
            designs[:, 0] == designs[:, 1],
            space=space,
            multivariate=multivariate,
            gamma=0.5,
            mutation=0.1,
        )
        log_l, log_g = agent.log_densities(np.array([[0, 0], [0, 1]]), agent.good())
        ratio[multivariate] = np.diff(log_g - log_l)[0]
    assert ratio[True] > 3 and abs(ratio[False]) < 0.1


@densities
def test_no_design_is_proposed_twice_before_all_have_been(multivariate):
    agent = TPE(multivariate=multivariate)
    space = DesignSpace([Integer(f"p{i}", 0, 9) for i in range(3)])
    agent.start(space, budget=1000, rng=np.random.default_rng(0))
    seen = set()
    for _ in range(300):
        batch = agent.ask(1)
        seen.add(batch.tobytes())
        agent.tell(batch, -batch.sum(axis=1).astype(float), {}, np.ones(1, bool))
    assert len(seen) == 300


def test_designs_that_are_being_simulated_count_as_not_good():
    designs = SPACE.sample(30, np.random.default_rng(0))
    agent = told(designs, np.arange(30.0))
    good = agent.good()
    before = agent.log_densities(EVERY, good)
    asked = agent.ask(3)
    after = agent.log_densities(EVERY, good)
    at = SPACE.to_ordinal(asked)
    assert len(set(at.tolist())) == 3
    assert np.array_equal(before[0], after[0]) and (after[1][at] > before[1][at]).all()
    agent.tell(asked, np.array([99.0, 0, 0]), {}, np.ones(3, bool))
    assert agent.good()[0] == 30


@densities
@pytest.mark.parametrize("n", [255, 256, 257, 300, 100_000])
def test_every_value_of_a_long_grid_is_within_reach_and_near_good_ones(multivariate, n):
    space = DesignSpace([Integer("x", 0, n - 1), Integer("y", 0, 3)])
    designs = np.array([[n // 3, 1], [n - 1, 3], [0, 2], *([n - 1, i % 4] for i in range(17))])
    agent = told(designs, [1.0, 0.5, *np.zeros(18)], space=space, multivariate=multivariate, mutation=0.1)
    proposed = agent.ask(200)
    assert ((proposed >= 0) & (proposed < space.nvec)).all()
    near = np.abs(proposed[:, 0] - n // 3) <= 0.3 * n
    assert near.mean() > 0.5 and len(np.unique(proposed[:, 0])) > 60


def test_a_cell_holds_each_of_its_values():
    space = DesignSpace([Integer("x", 0, 599)])
    agent = told([], [], space=space)
    drawn = agent._in_cells(np.full((500, 1), 100))
    assert set(drawn[:, 0].tolist()) == {x for x in range(600) if x * 256 // 600 == 100}


def test_densities_do_not_underflow_in_hundreds_of_dimensions():
    space = DesignSpace([Integer(f"p{i}", 0, 63) for i in range(300)])
    designs = space.sample(40, np.random.default_rng(0))
    agent = told(designs, np.arange(40.0), space=space)
    assert all(np.isfinite(log).all() for log in agent.log_densities(agent._draw(agent.good()), agent.good()))


def test_a_space_of_which_everything_has_been_seen_is_searched_on():
    space = DesignSpace([Integer("x", 0, 1), Integer("y", 0, 1)])
    agent = TPE(startup=5)
    agent.start(space, budget=100, rng=np.random.default_rng(0))
    first = agent.ask(4)
    assert len(np.unique(first, axis=0)) == 4
    agent.tell(first, np.arange(4.0), {}, np.ones(4, bool))
    assert agent.ask(20).shape == (20, 2)
