"""Gradient agents on tasks whose answers are given by construction."""

import math
import sys
from contextlib import suppress

import numpy as np
import pytest

from archgym import ArchGymError, Categorical, DesignSpace, Metric, Minimize, Objective, Simulator
from archgym.env import ArchVectorEnv
from archgym.errors import BudgetExhausted, MissingDependency
from archgym.registry import Task

torch = pytest.importorskip("torch")

from archgym.agents.darts import Darts, unrolled_gradient  # noqa: E402
from archgym.agents.darts_pt import DartsPT, near  # noqa: E402
from archgym.agents.pc_darts import PCDarts, edge_weights  # noqa: E402
from archgym.agents.rarts import Rarts, both, pulled  # noqa: E402
from archgym.agents.sd_darts import SelfDistillationDarts, vote  # noqa: E402
from archgym.agents.sharp_darts import SharpDarts, max_w  # noqa: E402
from archgym.shared.weights import Weights  # noqa: E402
from archgym.testing.shared import LinearShared  # noqa: E402

AGENTS = [Darts, PCDarts, DartsPT, SelfDistillationDarts, SharpDarts, Rarts]
SPACE = DesignSpace([Categorical(f"e{p}", list("abcd"[: 2 + p % 3])) for p in range(6)])
NODES = ((0,), (1, 2), (3, 4, 5))


def linear(seed=0, **given):
    task = LinearShared(SPACE, seed, **given)
    task.nodes = NODES
    return task


def begun(agent, task, steps=20):
    agent.begin(task, steps, np.random.default_rng(0))
    return agent


def copies(tensors):
    return [tensor.detach().clone() for tensor in tensors]


def same(before, after):
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("cls", [Darts, PCDarts, DartsPT, SelfDistillationDarts, SharpDarts])
def test_each_half_of_a_step_moves_its_own_tensors_alone(cls):
    task = linear()
    agent = begun(cls(), task)
    chosen, weights = copies([agent.alpha]), copies(task.parameters())
    agent.update_weights(task)
    assert same(chosen, [agent.alpha]) and not same(weights, task.parameters())
    assert agent.alpha.grad is None

    weights = copies(task.parameters())
    for weight in task.parameters():
        weight.grad = None
    gradient, *_ = agent.choice_gradient(task)
    assert gradient.shape == agent.alpha.shape and gradient.abs().max() > 0
    assert same(weights, task.parameters()) and all(weight.grad is None for weight in task.parameters())


def test_second_order_puts_the_weights_back():
    task = linear()
    agent = begun(Darts(order=2), task)
    weights = copies(task.parameters())
    agent.choice_gradient(task)
    assert same(weights, task.parameters()) and all(weight.grad is None for weight in task.parameters())


@pytest.mark.parametrize("cls", [Darts, PCDarts, SharpDarts])
def test_gradient_of_the_choice_is_that_of_finite_differences(cls):
    task = linear()
    agent = begun(cls(), task)
    with torch.no_grad():
        agent.alpha += torch.randn(agent.alpha.shape, generator=torch.Generator().manual_seed(1))
    batch = task.valid_batch()
    task.valid_batch = lambda: batch
    for tensor, gradient in zip(
        agent.choice.param_groups[0]["params"], agent.choice_gradient(task), strict=True
    ):
        found = torch.zeros_like(tensor)
        for at in np.ndindex(*tensor.shape):
            ends = []
            for shift in (1e-6, -1e-6):
                with torch.no_grad():
                    tensor[at] += shift
                    ends.append(float(agent.loss(task, batch)))
                    tensor[at] -= shift
            found[at] = (ends[0] - ends[1]) / 2e-6
        assert torch.allclose(gradient, found, atol=1e-8)


def test_second_order_gradient_is_that_of_finite_differences_through_the_weight_step():
    task = linear()
    agent = begun(Darts(order=2), task)
    train, valid, xi = task.train_batch(), task.valid_batch(), 0.3
    losses = (lambda: agent.loss(task, train)), (lambda: agent.loss(task, valid))
    gradient = unrolled_gradient(*losses, task.parameters(), agent.alpha, xi)

    def after_a_step():
        weights = copies(task.parameters())
        steps = torch.autograd.grad(losses[0](), task.parameters())
        with torch.no_grad():
            for weight, step in zip(task.parameters(), steps, strict=True):
                weight -= xi * step
            value = float(losses[1]())
            for weight, start in zip(task.parameters(), weights, strict=True):
                weight.copy_(start)
        return value

    for at in [(0, 0), (2, 3), (4, 1)]:
        ends = []
        for shift in (1e-5, -1e-5):
            agent.alpha.data[at] += shift
            ends.append(after_a_step())
            agent.alpha.data[at] -= shift
        assert float(gradient[at]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("xi", [0.0, 0.1, 0.25, 0.5])
def test_second_order_ends_where_the_solvable_model_says(xi):
    """L_valid = alpha w - 2 alpha + 1, L_train = (w - alpha)^2: alpha = w = 2 / (1 + 2 xi)."""
    alpha = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    losses = (lambda: (w - alpha) ** 2), (lambda: alpha * w - 2 * alpha + 1)
    for _ in range(400):
        w.data.sub_(0.1 * (2 * w.data - 2 * alpha.data))
        alpha.data.sub_(0.1 * unrolled_gradient(*losses, [w], alpha, xi))
    assert alpha.item() == pytest.approx(2 / (1 + 2 * xi), abs=1e-6)
    assert w.item() == pytest.approx(alpha.item(), abs=1e-6)


@pytest.mark.parametrize("coupling, share, eta", [(10, 10, 0.01), (2, 2, 0.01), (100, 100, 0.001)])
def test_rarts_ends_where_the_solvable_model_says(coupling, share, eta):
    alpha, w, y = 2.0, -2.0, 0.0
    for _ in range(100_000):
        of_y, of_w = pulled(alpha, 2 * w - 2 * alpha, y, w, share, coupling)
        y, w = y - eta * of_y, w - eta * of_w
        alpha -= eta * both(y - 2, 2 * alpha - 2 * w, share)
    expected = 2 / (2 - 1 / (2 * share) - 1 / coupling)
    assert (alpha, y) == pytest.approx((expected, 2 - expected), abs=1e-9)
    assert w == pytest.approx(expected * (1 - 1 / (2 * share)), abs=1e-9)


def test_the_networks_of_rarts_start_alike_and_both_learn():
    task = linear()
    agent = begun(Rarts(), task)
    start = copies(task.parameters())
    assert same(start, agent.twin.parameters())
    agent.update(task, True)
    assert not same(start, task.parameters()) and not same(start, agent.twin.parameters())
    assert not same(task.parameters(), agent.twin.parameters())


def test_a_stronger_coupling_keeps_the_networks_closer():
    distances = []
    for coupling in (0.1, 10.0):
        task = linear()
        agent = Rarts(coupling=coupling)
        agent.train(task, steps=40, rng=np.random.default_rng(0))
        pairs = zip(task.parameters(), agent.twin.parameters(), strict=True)
        distances.append(sum(float((a - b).detach().square().sum()) for a, b in pairs))
    assert distances[1] < distances[0]


def test_edges_of_a_node_share_a_weight_of_one():
    beta = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = edge_weights(beta, NODES)
    assert weights[0] == 1 and weights[6] == 1
    for node in NODES:
        assert float(weights[list(node)].sum()) == pytest.approx(1)
        assert torch.allclose(weights[list(node)], beta[list(node)].softmax(0))
    assert torch.equal(edge_weights(beta, ()), torch.ones_like(beta))


def test_pc_darts_leaves_the_choice_alone_while_it_warms_up():
    task, agent, seen = linear(), PCDarts(), []
    inner = agent.update

    def update(task, choosing):
        before = copies([agent.alpha, agent.beta])
        inner(task, choosing)
        seen.append(same(before, [agent.alpha, agent.beta]))

    agent.update = update
    agent.train(task, steps=20, rng=np.random.default_rng(0))
    assert seen == [True] * 6 + [False] * 14
    assert agent.partial == 4


def test_darts_pt_decides_each_edge_once_and_finds_the_operation_that_alone_can_learn():
    reach, best = np.zeros((6, 4)), SPACE.nvec - 1
    reach[np.arange(6), best] = 1.0
    task, agent = linear(reach=reach), DartsPT()
    rng = np.random.default_rng(0)
    agent.train(task, steps=120, rng=rng)
    designs = agent.propose(task, 8, rng)
    assert sorted(agent.decided) == list(range(6))
    assert (agent.kept.sum(axis=1) == 1).all()
    assert designs[0].tolist() == best.tolist()
    assert ((designs[1:] != designs[0]).sum(axis=1) == 1).all()  # a single edge differs


def test_darts_pt_charges_its_trials_as_estimates_and_lets_alpha_break_ties():
    task = linear(reach=np.zeros((6, 4)))  # no operation sees anything: every loss is log 4
    agent = begun(DartsPT(), task)
    charged = []
    task.meter.pay = lambda amount, what: charged.append((amount, what))
    batch = task.valid_batch()
    with torch.no_grad():
        agent.alpha[2] = torch.tensor([0.0, 1.0, 3.0, 2.0])
    alpha = copies([agent.alpha])
    agent.decide(task, 2, batch)
    assert agent.kept[2].tolist() == [False, False, True, False]
    assert [what for _, what in charged] == ["estimates"] * 4
    assert same(alpha, [agent.alpha])


def test_a_decided_edge_gives_its_other_operations_no_gradient():
    task = linear()
    agent = begun(DartsPT(), task)
    agent.kept[2] = [False, True, False, False]
    batch = task.train_batch()
    loss = agent.weights_loss(batch, agent.masked(task, batch.images, agent.kept))
    loss.backward()
    assert [weight.grad is not None for weight in task._weights[2]] == [False, True, False, False]


def test_designs_near_the_decided_one_come_first():
    log_p = np.log([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]])
    kept = np.array([[False, False, True], [True, True, True]])
    scores = near(log_p, kept)
    assert scores[0, 2] > scores[0, 0] > scores[0, 1]
    assert np.array_equal(scores[1], log_p[1])


def test_the_strongest_weight_of_max_w_is_one_without_a_gradient_of_its_own():
    alpha = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha.requires_grad_()
    allowed = linear().allowed
    weights = max_w(alpha, allowed)
    assert torch.equal(weights.max(dim=1).values, torch.ones(6, dtype=torch.float64))
    assert (weights.detach().numpy()[~allowed] == 0).all()
    (gradient,) = torch.autograd.grad(weights.max(dim=1).values.sum(), alpha)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_cosine_power_annealing():
    weights = [torch.zeros(1, requires_grad=True)]
    rates = [Weights(weights, 50, rate=0.1, power=2.0).rate_at(t) for t in range(51)]
    assert rates[0] == pytest.approx(0.1) and rates[-1] == pytest.approx(0)
    assert (np.diff(rates) < 0).all()
    nearly = Weights(weights, 50, rate=0.1, power=1 + 1e-6)
    cosine = Weights(weights, 50, rate=0.1)
    assert all(nearly.rate_at(t) == pytest.approx(cosine.rate_at(t), abs=1e-6) for t in range(51))
    assert rates[25] < cosine.rate_at(25)
    agent = begun(SharpDarts(), linear())
    assert agent.weights.power == 2.0


def test_teachers_are_copies_one_epoch_apart_that_get_no_gradient():
    task, agent = linear(), SelfDistillationDarts()
    rng = np.random.default_rng(0)
    agent.train(task, steps=5 * task.batches + 1, rng=rng)
    assert len(agent.teachers) == 3
    assert all(w.grad is None for teacher, _ in agent.teachers for w in teacher.parameters())
    assert not any(mixed.requires_grad for _, mixed in agent.teachers)
    images = task.valid_batch().images
    before = vote(agent.teachers, images)
    assert not before.requires_grad and torch.allclose(before.sum(1), torch.ones(len(images)).double())
    with torch.no_grad():
        for weight in task.parameters():
            weight += 1
    assert torch.equal(before, vote(agent.teachers, images))


def test_without_weight_self_distillation_is_darts_bit_for_bit():
    found = []
    for agent in (Darts(), SelfDistillationDarts(weight=0.0), SelfDistillationDarts()):
        task, rng = linear(), np.random.default_rng(0)
        agent.train(task, steps=25, rng=rng)
        found.append([*copies([agent.alpha, *task.parameters()]), torch.tensor(agent.propose(task, 9, rng))])
    assert same(found[0], found[1]) and not same(found[0], found[2])


@pytest.mark.parametrize("cls", AGENTS)
def test_the_operations_that_learn_are_proposed_first(cls):
    reach = np.zeros((6, 4))
    best = np.array([0, 2, 3, 1, 0, 1])
    reach[np.arange(6), best] = 1.0
    task, agent = linear(reach=reach), cls(alpha_rate=0.03)
    rng = np.random.default_rng(0)
    agent.train(task, steps=160, rng=rng)
    assert (agent.propose(task, 1, rng)[0] == best).mean() >= 5 / 6


class Metered(Simulator):
    """Samples that cost what 20 training steps cost."""

    space = SPACE
    metrics = (Metric("loss", "1", "lower"),)
    default_objective = Objective(Minimize("loss"))
    cost_unit = "multiply-adds"

    def evaluate_indices(self, indices, rng=None):
        return {"loss": 1.0 + indices.sum(axis=1), "feasible": np.ones(len(indices), bool)}

    def cost_of(self, indices):
        return np.full(len(indices), 20 * 3 * 32 * linear().macs())

    def shared(self, seed, *, fresh=True, partial=1):
        return linear(seed, fresh=fresh)


def search(agent, *, budget=1000, cost=None, seed=0):
    env = ArchVectorEnv(Task("tests/Metered-v0", Metered()), num_envs=agent.preferred_num_envs)
    env.ledger.budget, env.ledger.cost_budget = budget, cost
    with suppress(BudgetExhausted):
        agent.search(env, budget=budget, seed=seed)
    return env.ledger


@pytest.mark.parametrize("cls", AGENTS)
@pytest.mark.parametrize("samples", [0.5, 12.0, 30.3])
def test_a_cost_budget_is_never_exceeded_and_pays_finalists(cls, samples):
    reference = float(Metered().cost_of(np.zeros((1, 6), int))[0])
    ledger = search(cls(), cost=samples * reference)
    assert ledger.cost <= samples * reference
    if samples > 1:
        assert ledger.samples >= 1
        assert any(charge.what == "training" for charge in ledger.charges)
        assert ledger.cost > (samples - 1) * reference  # what is left pays no further sample


@pytest.mark.parametrize("cls", AGENTS)
def test_training_costs_what_was_expected_or_less(cls):
    task, agent, steps = linear(), cls(), 20
    agent.train(task, steps=steps, rng=np.random.default_rng(0))
    agent.propose(task, 5, np.random.default_rng(0))
    expected = agent.expected_cost(task, steps)
    assert task.meter.cost <= expected * (1 + 1e-9)
    assert task.meter.cost >= 0.6 * expected
    if cls in (Darts, SharpDarts, Rarts, PCDarts):
        assert task.meter.cost == pytest.approx(expected)


def test_second_order_costs_what_was_expected():
    task, agent = linear(), Darts(order=2)
    agent.train(task, steps=10, rng=np.random.default_rng(0))
    assert task.meter.cost == pytest.approx(agent.expected_cost(task, 10))
    assert math.isclose(agent.expected_cost(task, 10), 2.5 * Darts().expected_cost(task, 10))


@pytest.mark.parametrize("cls", AGENTS)
def test_without_torch_one_line_names_the_extra(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"archgym\[nas\]") as caught:
        search(cls(), budget=5)
    assert "\n" not in str(caught.value)


def test_a_simulator_without_weights_is_refused(monkeypatch):
    monkeypatch.setattr(Metered, "shared", lambda self, seed, **given: None)
    with pytest.raises(ArchGymError, match="weights to share"):
        search(Darts(), budget=5)
