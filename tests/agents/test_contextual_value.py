"""contextual_value: its outputs, its model, what it samples, and its policy."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import archgym
from archgym.agents.contextual_value import ContextualValue, Value, outputs_of
from archgym.contexts.policy import Policy
from archgym.objective import AtLeast, AtMost, Minimize, Objective
from archgym.simulator import Metric, Simulator
from archgym.space import Categorical, DesignSpace, Integer
from archgym.testing import check_agent


class Kernel(Simulator):
    """The best width is the size, as far as the area has room for it, and engine b is better for large ones."""

    space = DesignSpace(
        [Integer("width", 1, 24), Categorical("engine", ["a", "b", "c"]), Integer("spare", 1, 6)]
    )
    metrics = (Metric("time", "s"), Metric("area", "mm2"))

    def __init__(self, size: int = 8):
        self.size = size

    def evaluate_indices(self, indices, rng=None):
        width, engine, spare = indices[:, 0] + 1, indices[:, 1], indices[:, 2]
        off = np.abs(np.log2(width / self.size))
        return {
            "time": np.exp(off + 0.5 * (engine != (self.size > 9)) + 0.1 * spare),
            "area": width * (1.0 + 0.5 * (engine == 1)),
            "feasible": ~((engine == 2) & (spare == 0)),
        }

    def optimum(self, objective):
        designs = np.concatenate(list(self.space.enumerate()))
        metrics = self.evaluate_indices(designs)
        rewards = objective(metrics, metrics["feasible"])
        return designs[np.where(rewards.valid, rewards.reward, -np.inf).argmax()]


SIZES = [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 18]
HELD_OUT = [8, 13, 16]


@pytest.fixture(scope="module")
def env():
    limited = lambda simulator: Objective(Minimize("time"), AtMost("area", 18.0))  # noqa: E731
    archgym.register_env("tests/Value-v0", simulator=Kernel, objective=limited)
    return "tests/Value-v0"


@pytest.fixture(scope="module")
def policy(env):
    return archgym.train(env, contexts={"size": SIZES}, budget=1200, agent=ContextualValue, seed=1)


def share(env, size, designs):
    made = gymnasium.make(env, contexts=[{"size": size}]).unwrapped
    found = made.score(designs, context=0)
    return np.where(found["valid"], np.exp(found["reward"]), 0.0)


def test_it_keeps_the_contract_of_agents():
    check_agent(ContextualValue, budget=47, reach_budget=600)


def test_outputs_are_the_reward_without_penalties_the_excess_of_every_limit_and_infeasibility():
    objective = Objective(
        Minimize("time"), AtMost("area", 10.0), AtLeast("speed", 4.0), reference={"time": 2.0}
    )
    metrics = {
        "time": np.array([2.0, 4.0, np.nan, 0.0]),
        "area": np.array([5.0, 20.0, np.nan, np.inf]),
        "speed": np.array([4.0, 1.0, np.nan, 8.0]),
    }
    feasible = np.array([True, True, False, True])
    outputs = outputs_of(objective, metrics, feasible)
    expected = [[0, -0.5, 0, -1], [-np.log(2), 0.5, 0.75, -1], [0, 0, 0, 1], [10, 1, -0.5, -1]]
    assert np.allclose(outputs, expected)
    within = (outputs[:, 1:] <= 0).all(axis=1)
    assert within[feasible].tolist() == objective(metrics, feasible).valid[feasible].tolist()


def test_the_value_of_many_contexts_is_that_of_each_and_falls_where_a_limit_is_passed():
    rng = np.random.default_rng(0)
    value = Value(Kernel.space, 2, 3, 2, 16, rng)
    contexts = rng.standard_normal((5, 2)).astype(np.float32)
    designs = np.stack([Kernel.space.sample(300, rng) for _ in contexts])
    together = value.of_each(contexts, designs)
    assert np.allclose(
        together, [value(z, rows) for z, rows in zip(contexts, designs, strict=True)], rtol=1e-4
    )
    h = np.stack(
        [
            value.ensemble(value.inputs(np.tile(z, (300, 1)), d))
            for z, d in zip(contexts, designs, strict=True)
        ]
    )
    kept = np.prod(1 / (1 + np.exp(h[..., 1:].astype(float) / 0.05)), axis=-1)
    assert np.allclose(together, (np.exp(np.minimum(h[..., 0], 1)) * kept).mean(axis=1), rtol=1e-3, atol=1e-6)


def test_no_design_is_evaluated_twice_in_a_context_until_all_have_been(env):
    run = archgym.contexts.training.training(env, ContextualValue, contexts={"size": [4, 9]}, budget=400)
    archgym.contexts.training.trained(run)
    rows = np.column_stack([run.ledger.column("context"), run.ledger.column("indices")])
    assert len(rows) == 400 and len(np.unique(rows, axis=0)) == 400


def test_designs_that_it_chooses_are_better_than_random_ones(env):
    run = archgym.contexts.training.training(
        env, ContextualValue, contexts={"size": SIZES}, budget=1200, seed=2
    )
    archgym.contexts.training.trained(run)
    shares = np.where(run.ledger.column("valid"), np.exp(run.ledger.column("reward")), 0)
    assert shares[400:700].mean() > 2 * shares[:300].mean()  # the good designs are used up later


def test_the_policy_proposes_near_optimal_valid_designs_for_contexts_it_never_saw(env, policy):
    found = [share(env, size, policy.rank(policy.features_of({"size": size}), 5)) for size in HELD_OUT]
    assert np.mean([s[0] for s in found]) > 0.75 and min(s.max() for s in found) > 0.85


def test_the_policy_ranks_the_archive_first_and_then_all_other_designs_once(policy):
    features = policy.features_of({"size": 8})
    everything = policy.rank(features, Kernel.space.size)
    assert len(np.unique(everything, axis=0)) == Kernel.space.size
    assert np.array_equal(policy.rank(features, 3), everything[:3])
    first = np.unique(everything[: len(policy.archive)], axis=0)
    assert np.array_equal(first, np.unique(policy.archive, axis=0))
    values = policy.value(features, everything)
    assert (np.diff(values[: len(policy.archive)]) <= 1e-6).all()
    assert (np.diff(values[len(policy.archive) :]) <= 1e-6).all()


def test_in_a_large_space_more_designs_than_the_archive_are_distinct(policy, monkeypatch):
    monkeypatch.setattr("archgym.agents.contextual_value.MAX_LISTED", 1)
    ranked = policy.rank(policy.features_of({"size": 8}), 120)
    assert len(np.unique(ranked, axis=0)) == 120
    assert np.array_equal(ranked, policy.rank(policy.features_of({"size": 8}), 120))


def test_the_same_seed_gives_the_same_bytes_and_a_loaded_policy_the_same_designs(env, tmp_path):
    saved = [
        archgym.train(env, contexts={"size": [3, 8]}, budget=150, agent="contextual_value", seed=seed).save(
            tmp_path / str(number)
        )
        for number, seed in enumerate([5, 5, 6])
    ]
    first, again, other = (path.read_bytes() for path in saved)
    assert first == again != other
    loaded = Policy.load(saved[0])
    assert loaded.propose({"size": 5}, n=4) == Policy.load(saved[1]).propose({"size": 5}, n=4)


def test_contexts_in_which_nothing_is_valid_give_a_policy_all_the_same(env, monkeypatch):
    monkeypatch.setattr(Kernel, "optimum", lambda self, objective: None)
    nothing = Objective(Minimize("time"), AtMost("area", 0.5))
    policy = archgym.train(
        env, contexts={"size": [3, 8]}, budget=60, agent=ContextualValue, env_kwargs={"objective": nothing}
    )
    assert len(policy.propose({"size": 5}, n=3)) == 3
