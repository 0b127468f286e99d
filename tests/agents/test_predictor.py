"""The predictor: its networks, its targets, the reverse chain of the diffusion, and what it proposes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import archgym
from archgym.agents._perceptrons import Ensemble, Features
from archgym.agents.predictor import Predictor, reverse_step
from archgym.errors import ArchGymError
from archgym.space import Categorical, DesignSpace, Integer
from archgym.testing import check_agent

SPACE = DesignSpace(
    [Categorical("a", ["x", "y", "z"]), Integer("b", 1, 4), Categorical("only", [0]), Integer("long", 1, 40)]
)
PROPOSALS = ["mutation", "random", "diffusion"]


def started(space=SPACE, seed=0, **hyperparameters):
    agent = Predictor(**hyperparameters)
    agent.start(space, budget=1000, rng=np.random.default_rng(seed))
    return agent


def searched(agent, reward, rounds):
    rows = []
    for _ in range(rounds):
        rows.append(agent.ask(agent.round))
        rewards = reward(rows[-1])
        agent.tell(rows[-1], rewards, {}, rewards > -11)
    return np.concatenate(rows)


def chi_square(counts, expected):
    """In standard deviations from its mean."""
    free = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - free) / np.sqrt(2 * free)


@pytest.mark.parametrize("proposals", PROPOSALS)
def test_it_keeps_the_contract_of_agents(proposals):
    agent = lambda **given: Predictor(**{"proposals": proposals, **given})  # noqa: E731
    check_agent(agent, budget=47, reach_budget=100)


@pytest.mark.parametrize("proposals", PROPOSALS)
def test_no_design_is_proposed_twice(proposals):
    space = DesignSpace([Categorical("a", list("uvwxy")), Integer("b", 1, 6), Integer("c", 1, 4)])
    rows = searched(started(space, proposals=proposals), lambda d: -d.sum(axis=1).astype(float), 20)
    assert len(np.unique(rows, axis=0)) == len(rows) == 100


def test_a_space_smaller_than_the_budget_is_searched_on():
    space = DesignSpace([Integer("b", 1, 3), Integer("c", 1, 4)])
    rows = searched(started(space), lambda d: d.sum(axis=1).astype(float), 12)
    assert len(rows) == 60 and len(np.unique(rows, axis=0)) == 12


@pytest.mark.parametrize("proposals", PROPOSALS)
def test_ordered_and_categorical_parameters_are_optimised(proposals):
    def bowl(designs):
        return -np.log1p((designs[:, 0] != 2) + (designs[:, 1] - 1) ** 2 + ((designs[:, 3] - 23) / 4.0) ** 2)

    best = [bowl(searched(started(seed=s, proposals=proposals), bowl, 16)).max() for s in range(3)]
    random = [bowl(SPACE.sample(80, np.random.default_rng(s))).max() for s in range(50)]
    assert np.mean(best) > np.mean(random)


def test_a_guided_proposal_has_a_better_prediction_than_a_random_one():
    agent = started(proposals="diffusion", scale=10.0)
    searched(agent, lambda d: -((d[:, 3] - 23) ** 2) / 100.0 - d[:, 1], 8)
    guided, random = agent._diffused(500), SPACE.sample(500, np.random.default_rng(1))
    predicted = [agent.ensemble(agent.features(x)).mean() for x in (guided, random)]
    assert predicted[0] > predicted[1] + 0.5


def test_scale_0_proposes_uniform_designs():
    space = DesignSpace([Categorical("a", ["x", "y", "z"]), Integer("b", 1, 4)])
    agent = started(space, proposals="diffusion", scale=0.0)
    searched(agent, lambda d: d[:, 0] + d[:, 1] / 2, 4)
    drawn = agent._diffused(12_000)
    assert abs(chi_square(np.bincount(drawn @ [4, 1], minlength=12), 1000)) < 4


def test_a_reverse_step_without_guidance_keeps_the_uniform_marginal_and_the_kept_share():
    nvec, rng = np.array([3, 1, 5]), np.random.default_rng(0)
    x = (rng.random((20_000, 3)) * nvec).astype(np.int64)
    for kept in (0.0, 0.3, 0.9):
        y = reverse_step(x, kept, np.zeros((len(x), 9)), nvec, rng)
        for p in (0, 2):
            assert abs(chi_square(np.bincount(y[:, p], minlength=nvec[p]), len(y) / nvec[p])) < 4
            stays = kept + (1 - kept) / nvec[p]
            assert (x[:, p] == y[:, p]).mean() == pytest.approx(stays, abs=4 * np.sqrt(0.25 / len(y)))
        x = y


def test_a_reverse_step_draws_from_its_formula():
    nvec, slopes, kept = np.array([3, 2]), np.array([0.5, -1.0, 0.0, 2.0, 1.0]), 0.4
    x = np.tile([1, 0], (40_000, 1))
    y = reverse_step(x, kept, np.tile(slopes, (len(x), 1)), nvec, np.random.default_rng(0))
    for p, part in enumerate((slopes[:3], slopes[3:])):
        weight = np.exp(part) * ((1 - kept) / nvec[p] + kept * (np.arange(nvec[p]) == x[0, p]))
        assert np.bincount(y[:, p]) / len(y) == pytest.approx(weight / weight.sum(), abs=0.01)


def test_with_a_linear_reward_and_large_scale_the_best_design_is_drawn():
    nvec, rng = np.array([3, 5, 2]), np.random.default_rng(0)
    slopes = np.tile(500 * rng.standard_normal(10), (50, 1))
    x = (rng.random((50, 3)) * nvec).astype(np.int64)
    y = reverse_step(x, 0.0, slopes, nvec, rng)
    assert (y == [slopes[0, :3].argmax(), slopes[0, 3:8].argmax(), slopes[0, 8:].argmax()]).all()


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    network = Ensemble(7, rng)
    network.layers = [layer.astype(float) for layer in network.layers]
    network.slopes = [slope.astype(float) for slope in network.slopes]
    inputs, targets = rng.standard_normal((5, 7)), rng.standard_normal((5, 1))
    step = 1e-6

    def loss():
        return ((network._forward(inputs)[-1] - targets) ** 2).sum()

    gradient = network.gradient(inputs)
    for i, j in product(range(5), range(7)):
        moved = inputs.copy()
        moved[i, j] += step
        assert (network(moved) - network(inputs)).mean(0).sum() / step == pytest.approx(
            gradient[i, j], rel=1e-3, abs=1e-5
        )
    activations = network._forward(inputs)
    network._backward(activations, 2 * (activations[-1] - targets))
    for layer, slope in zip(network.layers, network.slopes, strict=True):
        place = tuple(rng.integers(layer.shape))
        before = loss()
        layer[place] += step
        assert (loss() - before) / step == pytest.approx(slope[place], rel=1e-3, abs=1e-4)
        layer[place] -= step


def test_each_member_fits_the_targets():
    rng = np.random.default_rng(0)
    inputs = rng.random((64, 6)).astype(np.float32)
    targets = inputs[:, 0] - inputs[:, 1] * inputs[:, 2]
    network = Ensemble(6, rng)
    network.fit(inputs, targets[:, None], 400, rng)
    predicted = network(inputs)[..., 0]
    assert (((predicted - targets) ** 2).mean(axis=1) < 0.05 * targets.var()).all()
    assert predicted.std(axis=0).max() > 0


def test_features_are_one_hot_or_hats_between_knots():
    features = Features(SPACE)
    designs = SPACE.sample(30, np.random.default_rng(0))
    inputs = features(designs)
    assert features.size == 3 + 4 + 1 + 16 and (inputs.sum(axis=1) == pytest.approx(4))
    assert np.array_equal(inputs[:, :3].argmax(axis=1), designs[:, 0])
    assert inputs[:, 8:] @ (np.arange(16) * 39 / 15) == pytest.approx(designs[:, 3], abs=1e-4)
    # the gradient by the values of a function that is linear in the inputs is its table
    slopes = np.random.default_rng(1).standard_normal((1, features.size))
    table, first = features.by_value(slopes)[0], np.cumsum(SPACE.nvec) - SPACE.nvec
    assert table[designs + first].sum(axis=1) == pytest.approx(inputs @ slopes[0], abs=1e-5)


def test_targets_cut_below_and_do_not_depend_on_the_reward_of_infeasible_designs():
    agent = started()
    rewards = np.array([0.0, 1.0, 2.0, 3.0, -500.0, -11.0])
    agent.tell(np.zeros((6, 4), np.int64), rewards, {}, np.array([True] * 5 + [False]))
    y = agent._targets()
    assert y[4] == y[5] == -2 and (np.diff(y[:4]) > 0).all()
    assert y[:4] == pytest.approx((rewards[:4] - 0.5) / np.sqrt((0.25 + 2.25 + 6.25) / 3))


def test_nothing_feasible_or_all_equal_gives_targets_of_0():
    for feasible in (True, False):
        agent = started()
        agent.tell(np.zeros((5, 4), np.int64), np.full(5, -11.0), {}, np.full(5, feasible))
        assert (agent._targets() == 0).all()
        agent.ask(30)


def test_a_fit_follows_every_round_and_no_other_ask():
    agent = started(startup=20)
    searched(agent, lambda d: d[:, 1].astype(float), 4)
    steps = []
    for _ in range(10):
        design = agent.ask(1)
        agent.tell(design, np.array([0.0]), {}, np.array([True]))
        steps.append(agent.ensemble.steps)
    assert np.diff(steps).nonzero()[0].tolist() == [4]


def test_a_space_with_too_many_values_is_refused():
    with pytest.raises(ArchGymError, match="20,000 values"):
        started(DesignSpace([Categorical("a", [str(i) for i in range(20_001)])]))


def test_it_is_better_than_random_on_a_rugged_landscape():
    def regret(agent):
        return np.mean(
            [archgym.search("archgym/NKLandscape-v0", agent, budget=100, seed=s).regret for s in range(3)]
        )

    assert regret(Predictor()) < regret("random") - 0.05
