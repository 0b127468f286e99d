"""The ledger counts every sample once, keeps its own copy, and ends a search exactly at its budget."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from conftest import Bowl
from hypothesis import given
from hypothesis import strategies as st

from archgym import ArchGymError, BudgetExhausted, Cached, DesignSpace, Integer, Ledger
from archgym.objective import Rewards
from archgym.simulator import Outcome, evaluate_safely


def record(ledger: Ledger, simulator: Bowl, indices: np.ndarray, seconds: float = 0.0) -> None:
    outcome = evaluate_safely(simulator, indices)
    columns = {m.name: outcome.values[:, j] for j, m in enumerate(simulator.metrics)}
    ledger.record(indices, outcome, Bowl.default_objective(columns, outcome.feasible), seconds)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 99))
def test_batches_of_any_size_append_and_read_back_as_they_were(sizes, seed):
    simulator, rng = Bowl(), np.random.default_rng(seed)
    ledger, rows, rewards, valid = Ledger(simulator), [], [], []
    for size in sizes:
        indices = simulator.space.sample(size, rng)
        outcome = evaluate_safely(simulator, indices)
        reward = Rewards(rng.normal(size=size), rng.random(size) < 0.5)
        ledger.record(indices, outcome, reward, seconds=2.0)
        rows.append(indices), rewards.append(reward.reward), valid.append(reward.valid)
        every_reward = np.where(np.concatenate(valid), np.concatenate(rewards), -np.inf)
        if np.isfinite(every_reward).any():
            assert ledger.best == every_reward.argmax() and ledger.best_reward == every_reward.max()
        else:
            assert ledger.best is None and ledger.best_reward is None
        assert np.array_equal(ledger.best_so_far(), np.maximum.accumulate(every_reward))
    every = np.concatenate(rows)
    assert ledger.samples == sum(sizes)
    assert np.array_equal(ledger.column("indices"), every)
    assert np.array_equal(ledger.column("reward"), np.concatenate(rewards))
    assert ledger.column("seconds").sum() == pytest.approx(2.0 * len(sizes))
    history = ledger.history()
    assert list(history) == [
        *("sample", "x", "size", "isa", "flag", "cost_j", "area_mm2", "secret"),
        *("feasible", "valid", "reward", "cached", "seconds", "cost"),
    ]
    assert np.array_equal(history["sample"], np.arange(sum(sizes)))
    assert np.array_equal(simulator.space.encode({n: history[n] for n in simulator.space.names}), every)
    assert np.array_equal(history["secret"][history["feasible"]], history["x"][history["feasible"]])
    representatives = {tuple(row) for row in simulator.canonical(every).tolist()}
    assert ledger.unique == len(representatives) and ledger.duplicates == sum(sizes) - len(representatives)


@given(st.integers(1, 300), st.integers(2, 300), st.integers(0, 99))
def test_designs_are_told_apart_in_a_space_of_any_size(parameters, values, seed):
    class Any(Bowl):
        space = DesignSpace([Integer(f"p{i}", 1, values) for i in range(parameters)])

        def canonical(self, indices):
            return indices // 2

    rng = np.random.default_rng(seed)
    few = Any.space.sample(9, rng)
    ledger = Ledger(Any())
    outcome = Outcome(np.zeros((40, 3)), np.ones(40, bool))
    every = few[rng.integers(0, 9, 40)]
    assert ledger.unique == 0
    ledger.record(every, outcome, Rewards(np.zeros(40), np.ones(40, bool)), 0.0)
    assert ledger.unique == len({tuple(row) for row in (every // 2).tolist()})


def test_it_keeps_copies_so_that_a_simulator_may_reuse_its_buffers(register):
    class Reusing(Bowl):
        def evaluate(self, designs, rng=None):
            out = super().evaluate(designs)
            if not hasattr(self, "buffers") or len(self.buffers["secret"]) != len(out["secret"]):
                self.buffers = {name: column.copy() for name, column in out.items()}
            for name, column in out.items():
                self.buffers[name][:] = column
            return self.buffers

    env_id, _ = register(Reusing())
    env = gymnasium.make_vec(env_id, num_envs=5)
    env.reset(seed=0)
    actions, fresh = Bowl.space.sample(15, np.random.default_rng(0)).reshape(3, 5, 4), Bowl()
    infos = [env.step(batch)[-1]["final_info"] for batch in actions]
    for batch, info in zip(actions, infos, strict=True):
        expected = evaluate_safely(fresh, batch)
        assert np.array_equal(info["metrics"]["area_mm2"], expected.values[:, 1], equal_nan=True)
    history = env.unwrapped.ledger.history()
    assert np.array_equal(
        history["cost_j"], evaluate_safely(fresh, actions.reshape(15, 4)).values[:, 0], equal_nan=True
    )


def test_the_actions_may_be_overwritten_after_the_step(bowl):
    env = gymnasium.make_vec(bowl[0], num_envs=2)
    env.reset()
    actions = np.array([[0, 1, 2, 0], [3, 2, 1, 1]])
    env.step(actions)
    actions[:] = 0
    assert env.unwrapped.ledger.column("indices").tolist() == [[0, 1, 2, 0], [3, 2, 1, 1]]


def test_a_batch_across_the_budget_is_cut_and_the_next_call_raises_at_once(bowl):
    env_id, simulator = bowl
    env = gymnasium.make_vec(env_id, num_envs=4)
    ledger = env.unwrapped.ledger
    ledger.budget = 6
    env.reset(seed=0)
    actions = Bowl.space.sample(8, np.random.default_rng(0)).reshape(2, 4, 4)
    env.step(actions[0])
    with pytest.raises(BudgetExhausted, match="6"):
        env.step(actions[1])
    assert simulator.rows == ledger.samples == 6
    assert np.array_equal(ledger.column("indices"), actions.reshape(8, 4)[:6])
    with pytest.raises(BudgetExhausted):
        env.step(actions[1])
    assert simulator.rows == 6
    ledger.budget = 10  # may be raised at any time
    env.step(actions[1])
    assert simulator.rows == ledger.samples == 10


def test_without_a_budget_there_is_no_end(bowl):
    env = gymnasium.make_vec(bowl[0], num_envs=50)
    env.reset(seed=0)
    for _ in range(40):
        env.step(env.action_space.sample())
    assert env.unwrapped.ledger.samples == 2000 and env.unwrapped.ledger.budget is None


@pytest.mark.parametrize("budget", [-1, 1.5, True, "7", float("nan"), float("inf")])
def test_a_budget_is_a_whole_number(budget):
    with pytest.raises(ArchGymError, match="whole number"):
        Ledger(Bowl(), budget)


def test_columns_are_read_only():
    ledger = Ledger(Bowl())
    record(ledger, Bowl(), Bowl.space.sample(3, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="read-only"):
        ledger.column("reward")[0] = 99


def test_duplicates_and_cache_hits_are_samples_and_counted_apart(register):
    inner = Bowl()
    env_id, _ = register(Cached(inner), Bowl.default_objective)
    env = gymnasium.make(env_id)
    for flag in (0, 0, 1):
        env.reset()
        env.step(np.array([1, 1, 1, flag]))
    ledger = env.unwrapped.ledger
    assert (ledger.samples, ledger.unique, ledger.duplicates, ledger.cache_hits, inner.rows) == (
        3,
        1,
        2,
        1,
        2,
    )


def test_failures_carry_their_sample_and_their_reason():
    simulator = Bowl()
    ledger = Ledger(simulator)
    rows = simulator.space.sample(3, np.random.default_rng(0))
    record(ledger, simulator, rows)
    values = np.full((3, 3), np.nan)
    nothing = np.zeros(3, bool)
    ledger.record(
        rows,
        Outcome(values, nothing, nothing, {2: "late", 0: "early"}),
        Rewards(np.full(3, -11.0), nothing),
        0.0,
    )
    assert [tuple(f) for f in ledger.failures] == [(3, "early"), (5, "late")]
