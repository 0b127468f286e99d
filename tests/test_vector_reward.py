"""Reward vectors: consistent with the scalar objective, alike for one environment and many, and what
MO-Gymnasium's wrappers expect.
"""

from __future__ import annotations

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from conftest import Bowl
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import ArchGymError, AtMost, Maximize, Metric, Minimize, Objective, SequentialDesign, Target
from archgym.objective import INFEASIBLE_REWARD, R
from archgym.registry import Task
from archgym.wrappers import RewardVector, VectorObjective
from archgym.wrappers import vector as vector_wrappers

TWO = Objective(
    Minimize("cost_j", 0.7), Minimize("area_mm2", 0.3), reference={"cost_j": 4.0, "area_mm2": 8.0}
)
TASK = Task("tests/Vector-v0", Bowl, TWO)
DESIGNS = next(Bowl.space.enumerate())
INFEASIBLE = np.array([5, 3, 0, 0])
METRICS = ["cost_j", "area_mm2"]


def rewards_of(env, designs):
    found = []
    for design in designs:
        env.reset()
        found.append(env.step(design)[1])
    return np.array(found)


@pytest.mark.parametrize("form", ["log", "linear"])
def test_the_weighted_sum_of_the_objectives_terms_is_the_scalar_reward_of_valid_designs(form):
    objective = Objective(*TWO.terms, AtMost("area_mm2", 20.0), reference=TWO.reference, form=form)
    task = Task("tests/Sum-v0", Bowl, objective)
    env = RewardVector(archgym.ArchEnv(task))
    assert env.vector_objective.metrics == ("cost_j", "area_mm2")
    for design in DESIGNS:
        env.reset()
        _, reward, _, _, info = env.step(design)
        if info["valid"]:
            assert reward @ np.array([0.7, 0.3]) == pytest.approx(info["reward"], rel=1e-5, abs=1e-6)


def test_a_component_is_the_logarithm_of_its_metric_with_its_direction():
    class Thing(Bowl):
        metrics = (*Bowl.metrics[:2], Metric("speed", "1", "higher"))

        def evaluate(self, designs, rng=None):
            out = super().evaluate(designs)
            return out | {"speed": out["secret"]}

    env = RewardVector(archgym.ArchEnv(Task("tests/Thing-v0", Thing)), ["speed", "cost_j"], {"speed": 2.0})
    env.reset()
    _, reward, _, _, info = env.step(np.array([3, 1, 1, 0]))
    metrics = info["metrics"]
    assert reward == pytest.approx([np.log(metrics["speed"] / 2), -np.log(metrics["cost_j"] / 4)], rel=1e-6)


def test_an_infeasible_design_has_the_worst_and_finite_reward_in_every_component():
    env = RewardVector(archgym.ArchEnv(TASK))
    rewards = rewards_of(env, DESIGNS)
    infeasible = (DESIGNS[:, 0] == 5) & (DESIGNS[:, 1] == 3)
    assert (rewards[infeasible] == INFEASIBLE_REWARD).all() and (rewards[~infeasible] >= -R).all()
    assert (rewards[infeasible] == env.reward_space.low).all()


def test_a_violating_design_loses_the_objectives_penalty_in_every_component():
    task = Task(
        "tests/Limited-v0", Bowl, Objective(*TWO.terms, AtMost("area_mm2", 12.0), reference=TWO.reference)
    )
    limited = rewards_of(RewardVector(archgym.ArchEnv(task)), DESIGNS)
    free = rewards_of(RewardVector(archgym.ArchEnv(TASK)), DESIGNS)
    columns = Bowl().evaluate_indices(DESIGNS)
    penalty = np.where(columns["feasible"], np.log(np.maximum(columns["area_mm2"] / 12, 1)), 0)
    assert (penalty > 0).any()
    assert limited == pytest.approx(free - penalty[:, None], abs=1e-5)


def test_targets_and_the_archgym_form_have_components_too():
    objective = Objective(Target("cost_j", 2.5, 2.0), Target("area_mm2", 5.0), form="archgym")
    env = RewardVector(archgym.ArchEnv(Task("tests/Target-v0", Bowl, objective)))
    env.reset()
    _, reward, _, _, info = env.step(np.array([0, 0, 1, 0]))
    metrics = info["metrics"]
    assert reward == pytest.approx(
        [2.5 / abs(metrics["cost_j"] - 2.5), 5 / abs(metrics["area_mm2"] - 5)], rel=1e-5
    )
    assert info["reward"] == pytest.approx(float(reward[0]) ** 2 * reward[1], rel=1e-5)
    assert env.reward_space.contains(reward)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from(["SameStep", "NextStep"]), st.booleans())
def test_reward_vectors_of_many_environments_are_those_of_single_ones(seed, horizon, mode, sequential):
    sequential = sequential and mode == "SameStep"
    rng = np.random.default_rng(seed)
    many, one = (
        archgym.ArchVectorEnv(TASK, 3, horizon=horizon, autoreset_mode=mode),
        archgym.ArchEnv(TASK, horizon=horizon),
    )
    many, one = (vector_wrappers.SequentialDesign(many), SequentialDesign(one)) if sequential else (many, one)
    vector, singles = vector_wrappers.RewardVector(many), [RewardVector(copy.deepcopy(one)) for _ in range(3)]
    vector.reset()
    for env in singles:
        env.reset()
    over = np.zeros(3, bool)
    for _ in range(10):
        actions = rng.integers(6, size=3) if sequential else Bowl.space.sample(3, rng)
        _, rewards, terminated, _, _ = vector.step(actions)
        assert rewards.shape == (3, 2) and rewards.dtype == np.float32
        for i, env in enumerate(singles):
            if over[i] and mode == "NextStep":
                env.reset()
                assert not rewards[i].any() and not terminated[i]
                continue
            _, reward, ended, _, _ = env.step(actions[i])
            assert rewards[i].tolist() == reward.tolist() and terminated[i] == ended
            if ended and mode == "SameStep":
                env.reset()
        over = terminated


def test_vectors_next_step_resets_and_steps_side_by_side():
    vector = vector_wrappers.RewardVector(
        archgym.ArchVectorEnv(TASK, 2, horizon=2, autoreset_mode="NextStep")
    )
    vector.reset()
    designs = DESIGNS[[0, 1]]
    for _ in range(2):
        _, rewards, terminated, _, _ = vector.step(designs)
    assert terminated.all() and rewards.any(axis=1).all()
    _, rewards, *_ = vector.step(designs)
    assert not rewards.any()
    vector.unwrapped._steps[0] = 2
    _, rewards, *_ = vector.step(designs)
    assert not rewards[0].any() and rewards[1].any()


def test_steps_without_a_design_have_zeros():
    env = RewardVector(SequentialDesign(archgym.ArchEnv(TASK)))
    env.reset()
    rewards = [env.step(0)[1] for _ in range(4)]
    assert not np.any(rewards[:3]) and rewards[3].all()
    assert env.unwrapped.ledger.samples == 1


@pytest.mark.parametrize(
    ("metrics", "reference", "message"),
    [
        (["cost"], None, "did you mean 'cost_j'"),
        (["secret"], None, "unknown metric 'secret'"),
        ([], None, "at least one metric"),
        (METRICS, {"cost_k": 1.0}, "did you mean 'cost_j'"),
        (METRICS, {"cost_j": -1.0}, "expected a positive number as reference"),
    ],
)
def test_what_is_no_vector_of_metrics_is_refused(metrics, reference, message):
    with pytest.raises(ArchGymError, match=message):
        RewardVector(archgym.ArchEnv(TASK), metrics, reference)


def test_directions_are_the_objectives_where_it_has_them_and_the_schemas_elsewhere():
    objective = VectorObjective(Bowl(), Objective(Maximize("cost_j")), METRICS)
    columns = {"cost_j": np.array([np.e]), "area_mm2": np.array([np.e]), "secret": np.array([1.0])}
    assert objective(columns, np.array([True])) == pytest.approx(np.array([[1.0, -1.0]]))


def test_it_can_be_copied_pickled_and_made_again_from_its_specification(bowl):
    env = RewardVector(gymnasium.make(bowl[0]), METRICS)
    again = gymnasium.make(pickle.loads(pickle.dumps(env.spec)))
    assert isinstance(again, RewardVector)
    expected = rewards_of(env, DESIGNS[:5])
    for other in (again, copy.deepcopy(env)):
        assert np.array_equal(rewards_of(other, DESIGNS[:5]), expected)


# --- MO-Gymnasium ---


@pytest.fixture
def wrappers():
    """MO-Gymnasium's wrappers."""
    return pytest.importorskip("mo_gymnasium.wrappers", reason="MO-Gymnasium is not installed")


def make(horizon: int = 1):
    return RewardVector(archgym.ArchEnv(TASK, horizon=horizon))


def test_the_interface_is_that_of_mo_gymnasium():
    env = make()
    space = env.unwrapped.reward_space
    assert space is env.reward_space and space.shape == (2,) and space.dtype == np.float32
    env.reset()
    _, reward, *_ = env.step(INFEASIBLE)
    assert space.contains(reward)


def test_linear_reward_with_the_objectives_weights_is_the_scalar_environment(wrappers):
    linear, scalar = wrappers.LinearReward(make(), np.array([0.7, 0.3])), archgym.ArchEnv(TASK)
    assert rewards_of(linear, DESIGNS[:100]) == pytest.approx(
        rewards_of(scalar, DESIGNS[:100]), rel=1e-5, abs=1e-6
    )


def test_episode_statistics_sum_reward_vectors(wrappers):
    env = wrappers.MORecordEpisodeStatistics(wrappers.MOClipReward(make(horizon=3), 0, -1, 1), gamma=0.5)
    env.reset()
    rewards = []
    for design in DESIGNS[[0, 40, 90]]:
        *_, info = stepped = env.step(design)
        rewards.append(stepped[1])
    assert info["episode"]["r"] == pytest.approx(np.sum(rewards, axis=0))
    assert info["episode"]["dr"] == pytest.approx(np.array([1, 0.5, 0.25]) @ np.array(rewards))


def test_normalised_rewards_leave_the_other_component_alone(wrappers):
    env = wrappers.MONormalizeReward(make(), 0)
    assert rewards_of(env, DESIGNS[:20])[:, 1].tolist() == rewards_of(make(), DESIGNS[:20])[:, 1].tolist()


def test_mo_gymnasiums_vector_environment_and_its_statistics_take_it(wrappers):
    env = wrappers.vector.MORecordEpisodeStatistics(wrappers.vector.MOSyncVectorEnv([make, make]))
    env.reset(seed=0)
    _, rewards, terminated, _, info = env.step(DESIGNS[[0, 50]])
    assert np.array_equal(rewards, rewards_of(make(), DESIGNS[[0, 50]]))
    assert terminated.all() and np.array_equal(info["episode"]["r"], rewards)


def test_our_vector_environment_takes_its_statistics_too(wrappers):
    env = wrappers.vector.MORecordEpisodeStatistics(
        vector_wrappers.RewardVector(archgym.ArchVectorEnv(TASK, 2, autoreset_mode="NextStep"))
    )
    env.reset(seed=0)
    _, rewards, _, _, info = env.step(DESIGNS[[0, 50]])
    assert np.array_equal(info["episode"]["r"], rewards) and np.array_equal(
        rewards, rewards_of(make(), DESIGNS[[0, 50]])
    )
