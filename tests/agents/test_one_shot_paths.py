"""One-shot agents that train single paths: their draws, gradients and splits, their costs and proposals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="one-shot agents need PyTorch")

from archgym import ArchGymError, Categorical, DesignSpace, Metric, Minimize, Objective, Simulator  # noqa: E402
from archgym.agents._one_shot import Weights, log_softmax  # noqa: E402
from archgym.agents._paths import draw, draw_valid, learn, ranked, uniform  # noqa: E402
from archgym.agents._torch import alone_with_torch  # noqa: E402
from archgym.agents.enas import ENAS  # noqa: E402
from archgym.agents.few_shot_gm import FewShotGM, gradient_similarity, least_similar  # noqa: E402
from archgym.agents.gdas import GDAS, gumbel_gates  # noqa: E402
from archgym.agents.multi_task import MultiTask, importance  # noqa: E402
from archgym.agents.proxyless import Proxyless, limit_gradient, pair_gradient  # noqa: E402
from archgym.agents.shared_random import SharedRandom  # noqa: E402
from archgym.agents.shift import Shift, complexity_bins  # noqa: E402
from archgym.env import ArchVectorEnv  # noqa: E402
from archgym.task import Task  # noqa: E402
from archgym.testing.shared import LinearShared  # noqa: E402

AGENTS = [SharedRandom, GDAS, Proxyless, FewShotGM, Shift, MultiTask, ENAS]
SPACE = DesignSpace([Categorical(f"edge_{e}", list("abcde")) for e in range(3)])
ALL = SPACE.from_ordinal(np.arange(SPACE.size))
LEARNS = np.array([3, 0, 4])  # on each edge the only operation that can learn
REACH = np.zeros((3, 5))
REACH[range(3), LEARNS] = 1.0
SAMPLE_COST = 4e6  # the median is 43,000 images of a design, as for 16 epochs of digits


class Cells(Simulator):
    space = SPACE
    metrics = (Metric("wrong", "1", "lower"),)
    default_objective = Objective(Minimize("wrong"))
    cost_unit = "multiply-adds"

    def __init__(self, reach=None):
        self.reach = reach

    def evaluate_indices(self, indices, rng=None):
        wrong = 1.0 + (indices != LEARNS).sum(axis=1)
        return {"wrong": wrong, "feasible": wrong > 0}

    def cost_of(self, indices):
        return SAMPLE_COST * (1.0 + 0.1 * np.asarray(indices).sum(axis=1))

    def shared(self, seed, *, fresh=True, partial=1):
        return LinearShared(self.space, seed, fresh=fresh, reach=self.reach)


class Noisy(LinearShared):
    """Operations of no reach add fixed noise to the logits."""

    def _output(self, images, p, o):
        if self.reach[p, o] > 0:
            return super()._output(images, p, o)
        return 2.0 * torch.sin(100.0 * images[:, :4] + p) + 0 * self._weights[p][o].sum()


@pytest.fixture(autouse=True)
def one_thread():
    with alone_with_torch():
        yield


def rng(seed=0):
    return np.random.default_rng(seed)


def copies(task):
    return [weight.detach().clone() for weight in task.parameters()]


def trained(agent, task, steps, seed=0):
    agent.train(task, steps=steps, rng=rng(seed))
    return agent


# draws


def test_every_operation_of_every_edge_is_drawn_equally_often_and_none_that_is_not_allowed():
    allowed, n = np.ones((3, 5), bool), 20_000
    allowed[1, [0, 2]] = False
    designs = draw(uniform(allowed), n, rng())
    for edge, row in enumerate(allowed):
        counts, p = np.bincount(designs[:, edge], minlength=5), 1 / row.sum()
        assert (counts[~row] == 0).all()
        assert (np.abs(counts[row] - n * p) < 4 * np.sqrt(n * p * (1 - p))).all()


def test_draws_follow_the_distribution():
    p, n = np.array([[0.5, 0.3, 0.2], [0.05, 0.05, 0.9]]), 20_000
    designs = draw(np.log(p), n, rng(1))
    for edge in range(2):
        counts = np.bincount(designs[:, edge], minlength=3)
        assert (np.abs(counts - n * p[edge]) < 4 * np.sqrt(n * p[edge] * (1 - p[edge]))).all()


def test_drawn_designs_are_distinct_and_valid_and_fewer_where_there_are_no_more():
    task = LinearShared(SPACE, 0)
    task.valid = lambda designs: designs[:, 0] == 2
    generator = rng()
    designs = draw_valid(task, 1000, lambda n: draw(uniform(task.allowed), n, generator))
    assert len(designs) == len(np.unique(designs, axis=0)) == 25 and (designs[:, 0] == 2).all()


def test_a_step_moves_the_weights_of_its_path_only():
    task = LinearShared(SPACE, 0)
    weights, design = Weights(task.parameters(), 10), np.array([1, 2, 3])
    learn(task, weights, np.array([4, 4, 4]))  # gives momentum to other weights
    before = copies(task)
    learn(task, weights, design)
    on_path = {5 * edge + value for edge, value in enumerate(design)}
    for place, (old, new) in enumerate(zip(before, task.parameters(), strict=True)):
        assert torch.equal(old, new.detach()) == (place not in on_path)
        assert (new.grad is None) == (place not in on_path)


def test_designs_are_ranked_by_estimate_as_far_as_the_budget_goes():
    task = LinearShared(SPACE, 0)
    designs, estimates = ranked(ALL[:40], lambda design: task)
    assert (np.diff(estimates) <= 0).all() and np.allclose(task.estimate(designs), estimates)
    task.meter.limit = task.meter.cost + 10.5 * 450 * task.macs(ALL[0])
    designs, _ = ranked(ALL[:40], lambda design: task)
    assert sorted(map(tuple, designs)) == sorted(map(tuple, ALL[:10]))


# gdas


def test_gates_are_one_and_have_the_gradient_of_the_softened_draw():
    alpha = torch.tensor(rng().normal(size=(3, 5)), requires_grad=True)
    allowed, noise, tau = np.ones((3, 5), bool), rng(1).gumbel(size=(3, 5)), 0.7
    allowed[2, 4] = False
    design, gates = gumbel_gates(alpha, allowed, noise, tau)
    assert torch.equal(gates.detach(), torch.ones(3, dtype=torch.float64))
    factors = np.array([1.0, -2.0, 0.5])
    (gates * torch.tensor(factors)).sum().backward()
    log_p = np.where(allowed, alpha.detach().numpy(), -np.inf)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    scaled = np.exp((log_p + noise) / tau)
    soft = scaled / scaled.sum(axis=1, keepdims=True)
    assert np.array_equal(design, (log_p + noise).argmax(axis=1))
    # d soft_o / d alpha_k = soft_o (1[o = k] - soft_k) / tau, log p and alpha differ by a constant per edge
    one_hot = np.eye(5)[design]
    chosen = soft[range(3), design][:, None]
    assert np.allclose(alpha.grad.numpy(), factors[:, None] * chosen * (one_hot - soft) / tau, atol=1e-12)


# proxyless


def test_alphas_gradient_is_that_of_the_renormalised_pair():
    log_p, d = np.log(rng().dirichlet(np.ones(4), size=2)), rng(1).normal(size=(2, 4))
    pair = np.array([[True, False, True, False], [False, True, True, False]])
    alpha = torch.tensor(log_p, requires_grad=True)
    q = alpha.masked_fill(~torch.tensor(pair), -torch.inf).softmax(dim=1)
    (q * torch.tensor(d)).sum().backward()
    assert np.allclose(pair_gradient(log_p, pair, np.where(pair, d, 0)), alpha.grad.numpy(), atol=1e-12)


def test_the_limits_gradient_is_that_of_moves_that_keep_the_pairs_mass():
    log_p, costs = np.log(rng().dirichlet(np.ones(4), size=2)), rng(1).uniform(1, 9, size=(2, 4))
    pair = np.array([[True, False, True, False], [False, True, True, False]])

    def expected(alpha):
        moved = np.where(pair, alpha, -np.inf)
        mass = np.exp(np.where(pair, log_p, -np.inf)).sum(axis=1, keepdims=True)
        p = np.where(pair, mass * np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True), np.exp(log_p))
        return np.log((p * costs).sum())

    found, step = limit_gradient(log_p, pair, costs), 1e-6
    for place in np.ndindex(2, 4):
        shifted = np.zeros((2, 4))
        shifted[place] = step
        slope = (expected(log_p + shifted) - expected(log_p - shifted)) / (2 * step)
        assert found[place] == pytest.approx(slope if pair[place] else 0.0, abs=1e-8)


@pytest.mark.parametrize("limit_on", ["none", "macs"])
def test_probabilities_of_operations_that_are_not_drawn_do_not_move(limit_on):
    task, agent = LinearShared(SPACE, 0, reach=rng().uniform(size=(3, 5))), Proxyless(limit_on=limit_on)
    trained(agent, task, 60)
    moved = 0
    for seed in range(20):
        before = np.exp(log_softmax(agent.alpha, task.allowed))
        agent.move_alpha(task, rng(seed))
        change = np.abs(np.exp(log_softmax(agent.alpha, task.allowed)) - before)
        assert ((change > 1e-7).sum(axis=1) <= 2).all()
        moved += (change > 1e-5).sum()
    assert moved > 60


def test_an_alpha_step_computes_and_charges_two_operations_per_edge_and_leaves_the_weights():
    task, agent = LinearShared(SPACE, 0), Proxyless()
    trained(agent, task, 10)
    before, cost, alpha = copies(task), task.meter.cost, agent.alpha.detach().clone()
    agent.move_alpha(task, rng())
    assert task.meter.cost - cost == 3 * task.batch * 2 * task.macs(np.zeros(3, int))
    assert all(torch.equal(old, new) for old, new in zip(before, copies(task), strict=True))
    assert not torch.equal(alpha, agent.alpha.detach())


def test_gates_gradient_is_the_inner_product_with_each_output():
    task, agent = LinearShared(SPACE, 0), Proxyless()
    pair = np.zeros((3, 5), bool)
    pair[:, [1, 4]] = True
    active = np.array([1, 4, 1])
    images, labels = task.valid_batch()
    task.valid_batch = lambda: (images, labels)
    found = agent.gate_gradient(task, pair, active)
    with torch.no_grad():
        error = task.path(images, active).softmax(dim=1) - torch.eye(4, dtype=torch.float64)[labels]
        weights = task.parameters()
        expected = [
            [float((error * (images @ weights[5 * e + o])).sum()) / len(labels) for o in (1, 4)]
            for e in range(3)
        ]
    assert np.allclose(found[:, [1, 4]], expected, atol=1e-10)
    assert (found[~pair] == 0).all()


def test_a_limit_finds_cheaper_designs():
    reach = np.tile([0.25, 0.5, 0.75, 1.0, 1.0], (3, 1))

    def cost(**limit):
        task = LinearShared(SPACE, 0, reach=reach)
        agent = trained(Proxyless(rate=0.05, **limit), task, 400)
        return task.macs(agent.propose(task, 1, rng())[0])

    assert cost(limit_on="macs", pressure=10.0) < cost()


def test_a_metric_that_operations_do_not_have_is_refused():
    with pytest.raises(ArchGymError, match="latency_s"):
        trained(Proxyless(limit_on="latency_s"), LinearShared(SPACE, 0), 5)


# few-shot


def test_similarities_are_symmetric_and_one_with_themselves():
    task = LinearShared(SPACE, 0)
    similarity = gradient_similarity(task, 1, 4, rng())
    assert similarity.shape == (5, 5)
    assert np.allclose(similarity, similarity.T) and np.allclose(np.diag(similarity), 1.0)
    assert (np.abs(similarity) < 1 + 1e-12).all()


def test_an_operations_own_weights_are_left_out_of_similarities():
    """Two edges of two operations: on edge 0 the gradients of edge 1's weights alone are compared."""
    space = DesignSpace([Categorical("a", ["x", "y"]), Categorical("b", ["x", "y"])])
    task = LinearShared(space, 0)
    found = gradient_similarity(task, 0, 1, rng(5))
    task = LinearShared(space, 0)
    (design,), (images, labels) = draw(uniform(task.allowed), 1, rng(5)), task.train_batch()
    other, gradients = task.parameters()[2 + design[1]], []
    for value in range(2):
        loss = torch.nn.functional.cross_entropy(task.path(images, np.array([value, design[1]])), labels)
        gradients.append(torch.autograd.grad(loss, other)[0].flatten())
    assert found[0, 1] == pytest.approx(float(torch.cosine_similarity(*gradients, dim=0)), abs=1e-12)


def test_the_split_has_the_least_similarity_between_its_groups():
    similarity = np.full((5, 5), 0.9)
    similarity[np.ix_([1, 3], [0, 2, 4])] = similarity[np.ix_([0, 2, 4], [1, 3])] = 0.1
    value, group = least_similar(similarity)
    assert (value, group) == (pytest.approx(0.1), (1, 3))


def test_halves_cover_the_space_once_and_equal_the_parent_before_training():
    task, agent = LinearShared(SPACE, 0), FewShotGM()
    for _ in range(10):
        learn(task, Weights(task.parameters(), 10), draw(uniform(task.allowed), 1, rng())[0])
    agent.halves = first, second = agent.halves_of(task, 50, rng())
    held = [half.allowed[range(3), ALL].all(axis=1) for half in (first, second)]
    assert (held[0] ^ held[1]).all()
    assert sorted(mask.sum() for mask in held) == [50, 75]
    for half in (first, second):
        assert np.array_equal(half.estimate(ALL[::7]), task.estimate(ALL[::7]))
    assert [agent.holder(design) is second for design in ALL] == held[1].tolist()
    before = copies(task)
    learn(first, Weights(first.parameters(), 10), ALL[held[0]][0])
    assert all(torch.equal(old, new) for old, new in zip(before, copies(task), strict=True))
    assert all(torch.equal(old, new) for old, new in zip(before, copies(second), strict=True))


def test_the_control_trains_one_supernet_as_many_steps():
    for split in (True, False):
        task, agent = LinearShared(SPACE, 0), FewShotGM(split=split, estimates=1)
        trained(agent, task, 60)
        assert len(agent.halves) == (2 if split else 1)
        assert task.meter.cost == pytest.approx(agent.expected_cost(task, 60), rel=0.15)


# shift


def test_designs_come_from_the_bin_asked_for(monkeypatch):
    task = LinearShared(SPACE, 0, reach=rng().uniform(0.2, 1, size=(3, 5)))
    bins = complexity_bins(task, 5, rng())
    assert sum(map(len, bins)) == SPACE.size and max(map(len, bins)) - min(map(len, bins)) <= 1
    ends = [[task.macs(design) for design in part] for part in bins]
    assert all(max(low) <= min(high) for low, high in pairwise(ends))
    agent, asked, seen = Shift(), np.array([0, 0, 0, 1.0, 0]), []
    monkeypatch.setattr(agent, "shares", lambda losses: asked)
    path = task.path
    monkeypatch.setattr(
        task, "path", lambda images, design: (seen.append(tuple(design)), path(images, design))[1]
    )
    trained(agent, task, 200)
    assert set(seen) <= set(map(tuple, bins[3])) and len(set(seen)) > 20


def test_bins_that_lag_are_drawn_more_in_proportion_to_the_exponential_of_their_gap():
    shares = Shift(temperature=0.5).shares(np.array([1.0, 1.2, np.nan, 2.0]))
    assert shares.sum() == pytest.approx(1)
    assert np.allclose(shares / shares[0], np.exp(np.array([0, 0.2, 1.0, 1.0]) / 0.5))
    assert np.allclose(Shift().shares(np.full(4, np.nan)), 0.25)


# multi_task


def test_importance_keeps_each_data_sets_mean_and_is_one_for_equal_distributions():
    log_p = {name: np.log(rng(seed).dirichlet(np.ones(5), size=3)) for seed, name in enumerate("xyz")}
    p = {name: np.exp(each[range(3), ALL].sum(axis=1)) for name, each in log_p.items()}
    mixture = np.mean(list(p.values()), axis=0)
    factors = [importance(log_p, design) for design in ALL]
    for name in log_p:
        found = np.array([each[name] for each in factors])
        assert np.allclose(found * mixture, p[name])
    assert importance({"x": log_p["x"], "y": log_p["x"]}, ALL[7]) == {"x": 1.0, "y": 1.0}


def test_every_data_set_trains_the_same_weights_and_has_a_design():
    task, agent = LinearShared(SPACE, 0, reach=REACH), MultiTask(estimates=40)
    trained(agent, task, 300)
    proposals = agent.propose(task, 5, rng())
    assert agent.designs.keys() == set(task.family)
    assert np.array_equal(agent.designs[task.family[0]], proposals[0])
    for name, each in agent.tasks.items():
        assert all(own is other for own, other in zip(task.parameters(), each.parameters(), strict=True)), (
            name
        )
    assert not torch.equal(agent.alphas["linear-0"], agent.alphas["linear-1"])


# enas


def test_the_controller_learns_the_operation_that_learns():
    task, agent = LinearShared(SPACE, 0, reach=REACH), ENAS(updates=10, rate=0.01)
    trained(agent, task, 200)
    counts = [(agent.written(500)[:, edge] == LEARNS[edge]).mean() for edge in range(3)]
    assert max(counts) > 0.5
    assert np.mean(counts) > 0.3


# all of them


@pytest.mark.parametrize("agent", AGENTS)
def test_training_costs_what_was_expected(agent):
    task, made = LinearShared(SPACE, 0), agent()
    made.estimates = 50
    trained(made, task, 120)
    made.propose(task, 10, rng())
    assert task.meter.cost == pytest.approx(made.expected_cost(task, 120), rel=0.15)


@pytest.mark.parametrize("agent", AGENTS)
def test_proposals_are_distinct_and_within_the_limits(agent):
    task = LinearShared(SPACE, 0)
    task.valid = lambda designs: designs[:, 0] != 1
    proposals = trained(agent(), task, 30).propose(task, 40, rng())
    assert proposals.dtype == np.int64 and proposals.shape == (40, 3)
    assert len(np.unique(proposals, axis=0)) == 40 and (proposals[:, 0] != 1).all()


@pytest.mark.parametrize("samples", [2.5, 6, 40])
@pytest.mark.parametrize("agent", AGENTS)
def test_a_cost_budget_is_never_exceeded_and_leaves_samples(agent, samples):
    env = ArchVectorEnv(Task("tests/Cells-v0", Cells), 1)
    ledger = env.evaluator.ledger
    ledger.cost_budget = samples * env.evaluator.reference_cost
    agent().search(env, budget=1000, seed=3)
    assert ledger.cost <= ledger.cost_budget
    assert ledger.cost_budget - ledger.cost < 2.3 * SAMPLE_COST  # not even the largest design is left
    assert ledger.samples >= min(samples // 2.5, 10)
    assert any(charge.what == "training" for charge in ledger.charges)


@pytest.mark.parametrize("agent", [SharedRandom, Proxyless])
@pytest.mark.parametrize("seed", range(3))
def test_the_operations_that_alone_can_learn_come_first(agent, seed):
    """Where the others put noise of their own on the logits, that no weight of theirs can undo."""
    task = Noisy(SPACE, seed, reach=REACH)
    made = trained(agent(), task, 600, seed)
    assert made.propose(task, 1, rng(seed))[0].tolist() == LEARNS.tolist()
