"""The autoregressive policy: its probabilities, its search for the best designs, and what it learns."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest

import archgym
from archgym.agents.contextual_ppo import ContextualPPO, Network, first_weights, log_policy
from archgym.space import Categorical, DesignSpace, Integer
from archgym.testing import check_agent

SPACE = DesignSpace(
    [Categorical("a", ["x", "y"]), Integer("b", 1, 4), Categorical("only", [0]), Integer("c", 1, 3)]
)
ALL = np.array(list(product(*map(range, SPACE.nvec))))
CONDITIONAL = DesignSpace(
    [
        Integer("depth", 1, 3),
        Categorical("a", ["x", "y"], when={"depth": [2, 3]}),
        Integer("b", 1, 4, default=3, when={"a": "y"}),
        Integer("c", 1, 3, when={"depth": 3, "a": "y"}),
    ]
)
SIGNS = np.array([[-1.0], [1.0]], np.float32)  # features of two contexts
SHAPES = {"rows": [1, 64], "cols": [256, 2048, 16384, 131072]}


def test_without_torch_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(archgym.MissingDependency, match=r'pip install "archgym\[gp\]"'):
        archgym.search("archgym/NKLandscape-v0", ContextualPPO(), budget=10)


torch = pytest.importorskip("torch", reason="the agent needs PyTorch")


@pytest.fixture(params=[SPACE, CONDITIONAL], ids=["flat", "conditional"])
def network(request):
    """A network whose distributions are far from uniform."""
    rng = np.random.default_rng(0)
    weights = first_weights(1, request.param.nvec, 16, rng)
    weights["o"] += rng.standard_normal(weights["o"].shape).astype(np.float32)
    return Network(request.param, weights)


def every(network):
    return np.concatenate(list(network.space.enumerate()))


def log_pi(network, features):
    designs = every(network)
    z = torch.from_numpy(np.tile(features, (len(designs), 1)))
    active = torch.from_numpy(network.space.active(designs).T[:, :, None])
    with torch.no_grad():
        tensors = {name: torch.as_tensor(array) for name, array in network.weights.items()}
        return [column.numpy() for column in log_policy(tensors, z, torch.from_numpy(designs), active)]


def trained(reward, updates=60, valid=None, **hyperparameters):
    """An agent that was told rewards of (contexts, designs)."""
    agent = ContextualPPO(**{"batch": 64, "hidden": 32, "rate": 0.01, **hyperparameters})
    agent.start(SPACE, SIGNS, budget=64 * updates, rng=np.random.default_rng(1))
    for _ in range(updates):
        contexts = agent.rng.integers(2, size=64)
        designs = agent.ask(contexts)
        keeps = np.ones(64, bool) if valid is None else valid(designs)
        agent.tell(contexts, designs, reward(contexts, designs), np.ones(64, bool), keeps)
    return agent


def test_it_keeps_the_contract_of_agents():
    check_agent(ContextualPPO, budget=47, reach_budget=200)


def test_probabilities_sum_to_1_and_the_mean_of_conditional_entropies_is_the_entropy(network):
    logarithm, entropy = log_pi(network, SIGNS[0])
    p = np.exp(logarithm.astype(float))
    assert p.sum() == pytest.approx(1, abs=1e-5) and p.max() > 3 / len(p)
    # chain rule: H = sum_p E[H(pi_p | earlier values)]
    assert p @ entropy == pytest.approx(-p @ logarithm, rel=1e-5)


def test_numpy_draws_designs_with_the_probabilities_of_torch(network):
    n = 20_000
    drawn = network.draw(np.tile(SIGNS[1], (n, 1)), np.random.default_rng(2))
    counts = (drawn[:, None] == every(network)).all(axis=2).sum(axis=0)
    expected = n * np.exp(log_pi(network, SIGNS[1])[0])
    enough = expected > 5
    chi_square = ((counts - expected)[enough] ** 2 / expected[enough]).sum()
    assert counts.sum() == n and chi_square < enough.sum() + 5 * np.sqrt(2 * enough.sum())


def test_the_best_designs_are_the_most_probable_of_all(network):
    ranked = every(network)[np.argsort(-log_pi(network, SIGNS[0])[0], kind="stable")]
    np.testing.assert_array_equal(network.best(SIGNS[0], len(ranked)), ranked)
    np.testing.assert_array_equal(network.best(SIGNS[0], 3), ranked[:3])


def test_choices_depend_on_earlier_choices_and_on_the_context():
    # b belongs to a as the context says, and either a is right: no product of distributions can express it
    def right(contexts, designs):
        return designs[:, 1] == np.where(contexts == 1, 3 * designs[:, 0], 2 - designs[:, 0])

    agent = trained(lambda contexts, designs: right(contexts, designs).astype(float))
    for context in (0, 1):
        p = np.exp(log_pi(agent.network, SIGNS[context])[0])
        good = right(np.full(len(ALL), context), ALL)
        assert p[good].sum() > 0.9 and all(p[good & (ALL[:, 0] == a)].sum() > 0.1 for a in (0, 1))


def test_rewards_are_compared_within_their_context():
    # beside the distance between the contexts, that between two designs is nothing
    agent = trained(lambda contexts, designs: (designs[:, 1] == 3 * contexts) + 1e4 * contexts, updates=40)
    for context in (0, 1):
        assert agent.network.best(SIGNS[context], 1)[0, 1] == 3 * context


def test_a_violating_design_is_not_preferred_for_a_better_reward():
    agent = trained(lambda _, designs: 0.5 * designs[:, 0], valid=lambda designs: designs[:, 0] == 0)
    assert (agent.network.best(SIGNS[0], 1)[:, 0] == 0).all()


def test_a_batch_without_a_feasible_design_teaches_nothing():
    agent = ContextualPPO(batch=8)
    agent.start(SPACE, SIGNS, budget=100, rng=np.random.default_rng(0))
    before = agent.arrays()
    contexts, none = np.zeros(8, np.int64), np.zeros(8, bool)
    agent.tell(contexts, agent.ask(contexts), np.full(8, -11.0), none, none)
    assert all(np.array_equal(before[name], array) for name, array in agent.arrays().items())


def test_a_policy_proposes_without_torch_and_the_same_seed_gives_the_same_one(monkeypatch):
    policy, again = (
        archgym.train("archgym/Softmax-v0", contexts=SHAPES, budget=600, seed=3, agent=ContextualPPO)
        for _ in range(2)
    )
    assert all(np.array_equal(policy.arrays()[name], array) for name, array in again.arrays().items())
    monkeypatch.setitem(sys.modules, "torch", None)
    described = policy._specification, policy.space
    restored = type(policy).from_arrays(*described, policy.arrays())
    designs = restored.propose({"rows": 8, "cols": 5000}, n=5)
    assert designs == policy.propose({"rows": 8, "cols": 5000}, n=5)
    assert len({tuple(design.values()) for design in designs}) == 5
