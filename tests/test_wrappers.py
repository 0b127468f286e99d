"""Wrappers: the same designs, rewards and samples through another action space."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from conftest import LAYERS, Bowl, Layers
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import (
    ArchGymError,
    ContinuousActions,
    RewardVector,
    SequentialDesign,
    finished,
)
from archgym.wrappers import vector as vector_wrappers

TASK = archgym.registry.Task("tests/Wrapped-v0", Bowl)
NVEC = Bowl.space.nvec
seeds = st.integers(0, 10_000)


@settings(max_examples=20)
@given(seeds, st.integers(1, 3), st.integers(1, 4))
def test_sequential_designs_of_a_vector_equal_single_ones(seed, horizon, num_envs):
    rng = np.random.default_rng(seed)
    vector = vector_wrappers.SequentialDesign(archgym.ArchVectorEnv(TASK, num_envs, horizon=horizon))
    singles = [SequentialDesign(archgym.ArchEnv(TASK, horizon=horizon)) for _ in range(num_envs)]
    observations, info = vector.reset(seed=0)
    for i, env in enumerate(singles):
        observation, said = env.reset(seed=0)
        assert np.array_equal(observations[i], observation) and np.array_equal(
            info["action_mask"][i], said["action_mask"]
        )
    for t in range(len(NVEC) * horizon * 2):
        actions = rng.integers(NVEC.max(), size=num_envs)
        observations, rewards, terminated, truncated, info = vector.step(actions)
        for i, env in enumerate(singles):
            observation, reward, over, cut, said = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, over, cut)
            if over:
                assert np.array_equal(info["final_obs"][i], observation)
                assert finished(info)["reward"][i] == said["reward"]
                observation, after = env.reset()
                said = {**said, **after}
            assert np.array_equal(observations[i], observation), t
            assert np.array_equal(info["action_mask"][i], said["action_mask"])


@settings(max_examples=20)
@given(seeds)
def test_a_sequential_design_is_the_whole_design_modulo_the_number_of_values_and_counts_once(seed):
    rng = np.random.default_rng(seed)
    env, whole = SequentialDesign(archgym.ArchEnv(TASK)), archgym.ArchEnv(TASK)
    assert env.action_space.n == NVEC.max()
    _, info = env.reset()
    actions = rng.integers(NVEC.max(), size=len(NVEC))
    for p, action in enumerate(actions):
        assert np.array_equal(info["action_mask"], np.arange(NVEC.max()) < NVEC[p])
        assert np.array_equal(env.action_masks(), info["action_mask"].astype(bool))
        assert env.unwrapped.ledger.samples == 0
        observation, reward, terminated, truncated, info = env.step(action)
        chosen = np.where(np.arange(len(NVEC)) <= p, (actions % NVEC + 1) / NVEC, 0)
        assert observation[: len(NVEC)] == pytest.approx(chosen, rel=1e-6)
        assert terminated == (p == len(NVEC) - 1) and truncated is False
        assert reward == 0 or terminated
    whole.reset()
    expected = whole.step(actions % NVEC)
    assert reward == expected[1] and {k: info[k] for k in expected[4]} == expected[4]
    assert env.unwrapped.ledger.samples == 1


def test_a_reset_forgets_the_partial_design(bowl):
    env = SequentialDesign(gymnasium.make(bowl[0], disable_env_checker=True))
    env.reset()
    env.step(3), env.step(1)
    observation, _ = env.reset()
    assert observation.tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    for action in (1, 1, 1, 1):
        *_, info = env.step(action)
    assert info["design"] == Bowl.space.design(np.array([1, 1, 1, 1])) and bowl[1].rows == 1


@pytest.mark.parametrize("action", [-1, 6, 1.0, [0, 1], "a"])
def test_illegal_sequential_actions_are_refused_and_cost_nothing(bowl, action):
    env = SequentialDesign(gymnasium.make(bowl[0], disable_env_checker=True))
    env.reset()
    with pytest.raises(ArchGymError):
        env.step(action)
    for legal in (0, 0, 0, 0):
        *_, terminated, _, _ = env.step(legal)
    assert terminated and bowl[1].rows == 1


@pytest.mark.parametrize("kind", [ContinuousActions, vector_wrappers.ContinuousActions])
def test_continuous_actions_cut_each_axis_into_equal_parts_and_reach_every_value(kind):
    points = np.linspace(-1, 1, 601)
    single = kind is ContinuousActions
    env = kind(archgym.ArchEnv(TASK) if single else archgym.ArchVectorEnv(TASK, len(points)))
    actions = np.repeat(points[:, None], len(NVEC), axis=1)
    if single:
        for action in actions:
            env.reset()
            env.step(action.astype(np.float32))
    else:
        env.reset()
        env.step(actions)
    asked = env.unwrapped.ledger.column("indices")
    for j, n in enumerate(NVEC):
        assert asked[0, j] == 0 and asked[-1, j] == n - 1 and (np.diff(asked[:, j]) >= 0).all()
        assert (np.abs(np.bincount(asked[:, j], minlength=n) - 601 / n) <= 1.5).all()


@pytest.mark.parametrize("action", [[1.01, 0, 0, 0], [0, 0, 0], [np.nan, 0, 0, 0]])
def test_illegal_continuous_actions_are_refused_and_cost_nothing(bowl, action):
    env = ContinuousActions(gymnasium.make(bowl[0], disable_env_checker=True))
    env.reset()
    with pytest.raises(ArchGymError, match=r"\[-1, 1\]"):
        env.step(np.array(action))
    vector = vector_wrappers.ContinuousActions(gymnasium.make_vec(bowl[0], num_envs=1))
    vector.reset()
    with pytest.raises(ArchGymError, match=r"\[-1, 1\]"):
        vector.step(np.array([action]))
    assert bowl[1].rows == 0


def test_the_vector_form_of_sequential_designs_needs_same_step(bowl):
    with pytest.raises(ArchGymError, match="SameStep"):
        vector_wrappers.SequentialDesign(gymnasium.make_vec(bowl[0], num_envs=2, autoreset_mode="NextStep"))


def test_a_space_without_parameters_cannot_be_designed_sequentially(register):
    class Point(archgym.Simulator):
        space = archgym.DesignSpace([])
        metrics = (archgym.Metric("cost"),)
        default_objective = archgym.Objective(archgym.Minimize("cost"))

        def evaluate_indices(self, indices, rng=None):
            return {"cost": np.ones(len(indices)), "feasible": np.ones(len(indices), bool)}

    with pytest.raises(ArchGymError, match="space with parameters to choose"):
        SequentialDesign(archgym.ArchEnv(archgym.registry.Task("tests/Point-v0", Point)))


# --- conditional spaces ---


@settings(max_examples=30)
@given(seeds)
def test_inactive_parameters_take_no_step_of_a_sequential_design(seed):
    rng = np.random.default_rng(seed)
    space, P = Layers.space, len(Layers.space)
    env = SequentialDesign(archgym.ArchEnv(LAYERS))
    observation, info = env.reset()
    row, positions, over = np.zeros(P, np.int64), [], False
    while not over:
        p = int(observation[P:].argmax())
        assert np.flatnonzero(env.action_masks()).tolist() == list(range(space.nvec[p]))
        row[p] = rng.integers(space.nvec[p])
        positions.append(p)
        observation, _, over, _, info = env.step(row[p])
    active = space.active(row[None])[0]
    assert positions == np.flatnonzero(active).tolist()
    assert observation.tolist() == pytest.approx([*np.where(active, (row + 1) / space.nvec, 0), *[0] * P])
    assert info["design"] == space.design(space.canonical(row[None])[0])
    assert set(info["design"]) == {name for name, on in zip(space.names, active, strict=True) if on}
    assert env.unwrapped.ledger.column("indices").tolist() == space.canonical(row[None]).tolist()


@settings(max_examples=30)
@given(seeds, st.integers(1, 3), st.integers(1, 4))
def test_inactive_parameters_of_a_vector_have_one_legal_action_and_every_action_does(seed, horizon, num_envs):
    rng = np.random.default_rng(seed)
    space, P = Layers.space, len(Layers.space)
    vector = vector_wrappers.SequentialDesign(archgym.ArchVectorEnv(LAYERS, num_envs, horizon=horizon))
    singles = [
        SequentialDesign(archgym.ArchEnv(LAYERS, horizon=horizon), skip_inactive=False)
        for _ in range(num_envs)
    ]
    observations, info = vector.reset(seed=0)
    for env in singles:
        env.reset(seed=0)
    for t in range(P * horizon * 2):
        p = t % P
        assert vector.action_masks().shape == (num_envs, space.nvec.max())
        assert np.array_equal(vector.action_masks(), info["action_mask"].astype(bool))
        if p == 0:
            rows = np.zeros((num_envs, P), np.int64)
        active = space.active(rows)[:, p]
        for i, mask in enumerate(vector.action_masks()):
            legal = range(space.nvec[p]) if active[i] else [space.parameters[p].inactive]
            assert np.flatnonzero(mask).tolist() == list(legal)
        rows[:, p] = rng.integers(space.nvec.max(), size=num_envs)
        observations, rewards, terminated, truncated, info = vector.step(rows[:, p])
        rows[:, p] %= space.nvec[p]
        shown = info["final_obs"] if terminated.any() else observations
        if p < P - 1 or terminated.any():
            known = np.arange(P) <= p
            expected = np.where(space.active(rows) & known, (rows + 1) / space.nvec, 0)
            assert shown[:, :P] == pytest.approx(expected, rel=1e-6)
        for i, env in enumerate(singles):
            observation, reward, over, cut, _ = env.step(rows[i, p])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, over, cut)
            assert np.array_equal(observation, shown[i])
            if over:
                env.reset()
        if p == P - 1:
            assert np.array_equal(
                vector.unwrapped.ledger.column("indices")[-num_envs:], space.canonical(rows)
            )


def test_the_other_views_take_any_action_of_an_inactive_parameter():
    shallow = np.array([-1, 1, 0.3, 0.9, 0.5, -0.7], np.float32)  # depth 1, dense
    design = {"depth": 1, "kind": "dense", "width1": 5}
    env = ContinuousActions(archgym.ArchEnv(LAYERS))
    env.reset()
    assert env.step(shallow)[-1]["design"] == design
    vector = vector_wrappers.ContinuousActions(archgym.ArchVectorEnv(LAYERS, 2))
    vector.reset()
    vector.step(np.stack([shallow, np.array([-1, 1, -1, 0.9, 1, 1], np.float32)]))
    assert vector.unwrapped.ledger.unique == 1
    rewards = RewardVector(SequentialDesign(archgym.ArchEnv(LAYERS)))
    rewards.reset()
    steps = [rewards.step(action) for action in (0, 1, 4)]
    assert [step[1].tolist() for step in steps[:2]] == [[0], [0]]
    assert steps[2][2] and steps[2][1] == pytest.approx([-np.log(7)], rel=1e-6)
