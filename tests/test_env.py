"""Environments: Gymnasium's API, the contract's rewards, observations and infos, and one answer from
single and vector forms.
"""

from __future__ import annotations

import json
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from conftest import ENVS, Bowl, Noise
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import ArchGymError, BudgetExhausted, Minimize, Objective, finished
from archgym.simulator import is_table

# which needs a model, and is registered once that is imported
KEYS = ["design", "metrics", "feasible", "valid", "reward"]
INFEASIBLE = np.array([5, 3, 0, 0])
VIOLATING = np.array([4, 2, 0, 0])
VALID = np.array([2, 2, 2, 1])
UNSIGNED = np.full(4, 2**64 - 1, np.uint64)


@pytest.mark.parametrize("kwargs", [{}, {"horizon": 3}], ids=["one design", "three designs"])
@pytest.mark.parametrize("env_id", ENVS)
def test_every_environment_and_wrapper_passes_the_checks_without_a_warning(env_id, kwargs):
    from archgym.testing import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env_id, **kwargs)


@pytest.mark.parametrize("env_id", ENVS)
def test_every_environments_simulator_passes_the_checks(env_id):
    from archgym.testing import check_simulator

    env = gymnasium.make(env_id)
    check_simulator(env.unwrapped.simulator)
    env.close()


@pytest.mark.parametrize("env_id", ENVS)
def test_every_environment_is_made_by_gymnasium_with_its_passive_checker(env_id):
    env = gymnasium.make(env_id)
    observation, info = env.reset(seed=0)
    assert not observation.any() and info == {} and observation.dtype == np.float32
    env.step(env.action_space.sample())
    assert env.unwrapped.ledger.samples == 1
    env.close()


@pytest.mark.parametrize(
    ("action", "feasible", "valid"),
    [(VALID, True, True), (VIOLATING, True, False), (INFEASIBLE, False, False)],
)
def test_info_has_the_same_keys_whatever_the_design(bowl, action, feasible, valid):
    env = gymnasium.make(bowl[0])
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(action)
    assert list(info) == KEYS
    assert terminated is True and truncated is False
    assert info["feasible"] is feasible and info["valid"] is valid and info["reward"] == reward
    assert info["design"] == Bowl.space.design(action) and list(info["metrics"]) == [
        "cost_j",
        "area_mm2",
        "secret",
    ]
    if feasible:
        expected = Bowl().evaluate_indices(action[None])
        assert info["metrics"] == {name: expected[name][0] for name in ("cost_j", "area_mm2", "secret")}
        cost, area = info["metrics"]["cost_j"], info["metrics"]["area_mm2"]
        assert reward == pytest.approx(-np.log(cost / 4) - max(0, np.log(area / 12)))
        # secret is not observed
        assert observation == pytest.approx([np.log(cost / 4), np.log(area), 1], rel=1e-6)
    else:
        assert set(info["metrics"].values()) == {None} and reward == -11.0 and not observation.any()


def test_metrics_that_are_not_positive_are_observed_at_the_lower_bound(register):
    class Signed(Bowl):
        def evaluate(self, designs, rng=None):
            out = super().evaluate(designs)
            return out | {"area_mm2": np.where(out["area_mm2"] > 4, 1e30, -1.0)}

    env = gymnasium.make(register(Signed(), Objective(Minimize("cost_j")))[0])
    env.reset()
    assert env.step(np.array([0, 0, 0, 0]))[0][1] == -10
    env.reset()
    assert env.step(np.array([4, 1, 0, 0]))[0][1] == 10


def test_reset_costs_no_sample_and_a_step_after_the_end_is_refused(bowl):
    env_id, simulator = bowl
    env = gymnasium.make(env_id).unwrapped
    for _ in range(3):
        env.reset()
    assert simulator.rows == 0
    env.step(VALID)
    with pytest.raises(ArchGymError, match="reset"):
        env.step(VALID)
    assert simulator.rows == 1


designs = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1))


@settings(max_examples=25)
@given(
    horizon=st.integers(1, 3),
    episodes=st.integers(1, 3),
    num_envs=st.integers(1, 4),
    data=st.data(),
)
def test_the_vector_environment_equals_single_environments(horizon, episodes, num_envs, data):
    steps = horizon * episodes
    actions = np.array([[data.draw(designs) for _ in range(num_envs)] for _ in range(steps)])
    task = archgym.registry.Task("tests/Equal-v0", Bowl)
    vector = archgym.ArchVectorEnv(task, num_envs, horizon=horizon)
    singles = [archgym.ArchEnv(task, horizon=horizon) for _ in range(num_envs)]
    observations, _ = vector.reset(seed=0)
    assert np.array_equal(observations, [env.reset(seed=0)[0] for env in singles])
    for t in range(steps):
        observations, rewards, terminated, truncated, info = vector.step(actions[t])
        over = (t + 1) % horizon == 0
        assert terminated.tolist() == [over] * num_envs and not truncated.any()
        assert (
            ("final_info" in info)
            == ("_final_info" in info)
            == ("final_obs" in info)
            == ("_final_obs" in info)
            == over
        )
        done = finished(info)
        assert list(done) == KEYS
        for i, env in enumerate(singles):
            observation, reward, ended, _, said = env.step(actions[t, i])
            assert rewards[i] == reward and ended == over
            assert (
                done["reward"][i] == said["reward"]
                and done["feasible"][i] == said["feasible"]
                and done["valid"][i] == said["valid"]
            )
            assert {k: v[i] for k, v in done["design"].items()} == said["design"]
            if said["feasible"]:
                assert {k: v[i] for k, v in done["metrics"].items()} == said["metrics"]
            else:
                assert all(np.isnan(v[i]) for v in done["metrics"].values())
            if over:
                assert np.array_equal(info["final_obs"][i], observation)
                observation, _ = env.reset()
            assert np.array_equal(observations[i], observation)
    assert vector.ledger.samples == steps * num_envs


@settings(max_examples=25)
@given(st.integers(1, 5), st.data())
def test_an_episodes_rewards_sum_to_its_best(horizon, data):
    env = archgym.ArchEnv(archgym.registry.Task("tests/Sum-v0", Bowl), horizon=horizon)
    observation, _ = env.reset()
    assert (observation[-1] == 1) == (horizon > 1)
    steps = [env.step(np.array(data.draw(designs))) for _ in range(horizon)]
    assert sum(s[1] for s in steps) == pytest.approx(max(s[4]["reward"] for s in steps))
    assert [s[2] for s in steps] == [False] * (horizon - 1) + [True]
    if horizon > 1:
        assert [s[0][-1] for s in steps] == pytest.approx(
            [1 - (t + 1) / horizon for t in range(horizon)], abs=1e-6
        )


@pytest.mark.parametrize(
    "action",
    [
        [6, 0, 0, 0],
        [-1, 0, 0, 0],
        [0, 0, 0],
        [[0, 0, 0, 0]],
        [0.5, 0, 0, 0],
        [np.nan, 0, 0, 0],
        ["a", "b", "c", "d"],
        [None] * 4,
        2,
    ],
    ids=str,
)
def test_illegal_actions_are_refused_and_cost_nothing(bowl, action):
    env_id, simulator = bowl
    env = gymnasium.make(env_id, disable_env_checker=True)
    vector = gymnasium.make_vec(env_id, num_envs=2)
    env.reset(), vector.reset()
    with pytest.raises(ArchGymError):
        env.step(np.array(action))
    with pytest.raises(ArchGymError):
        vector.step(
            np.array([VALID.tolist(), action], dtype=object)
            if np.shape(action) != (4,)
            else np.array([VALID.tolist(), action])
        )
    assert simulator.rows == env.unwrapped.ledger.samples == vector.unwrapped.ledger.samples == 0
    env.step(VALID)  # the episode goes on
    vector.step(np.array([VALID, VALID]))


def test_an_illegal_index_is_named_with_its_parameter(bowl):
    env = gymnasium.make(bowl[0], disable_env_checker=True)
    env.reset()
    with pytest.raises(ArchGymError, match=r"index in 0\.\.3 for parameter 'size', got 4"):
        env.step(np.array([0, 4, 0, 0]))


def test_next_step_autoreset_gives_a_reset_step_that_costs_nothing(bowl):
    env_id, simulator = bowl
    env = gymnasium.make_vec(env_id, num_envs=3, autoreset_mode="NextStep")
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    actions = np.array([VALID, INFEASIBLE, VIOLATING])
    observation, rewards, terminated, _, info = env.step(actions)
    assert (
        terminated.all() and observation.any() and "final_info" not in info and list(finished(info)) == KEYS
    )
    observation, rewards, terminated, truncated, info = env.step(actions)
    assert not observation.any() and not rewards.any() and not terminated.any() and not truncated.any()
    with pytest.raises(ArchGymError, match="got that of a reset step"):
        finished(info)
    assert simulator.rows == 3
    assert env.step(actions)[2].all() and simulator.rows == 6


def test_next_step_autoreset_with_a_horizon_resets_only_what_is_over(bowl):
    env_id, simulator = bowl
    env = gymnasium.make_vec(env_id, num_envs=2, horizon=2, autoreset_mode=AutoresetMode.NEXT_STEP).unwrapped
    env.reset(seed=0)
    actions = np.array([VALID, VIOLATING])
    env.step(actions)
    # now out of step: the first is one design ahead
    env.reset(options={"reset_mask": np.array([False, True])})
    _, _, terminated, _, _ = env.step(actions)
    assert terminated.tolist() == [True, False]
    observation, rewards, terminated, _, info = env.step(actions)
    assert simulator.rows == 5 and terminated.tolist() == [False, True]
    assert observation[0].tolist() == [0, 0, 0, 1] and rewards[0] == 0 and observation[1].any()
    assert info["_reward"].tolist() == [False, True] and info["feasible"].tolist() == [False, True]
    # what was shown of the other one stays
    kept, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert np.array_equal(kept[1], observation[1]) and kept[0].tolist() == [0, 0, 0, 1]
    with pytest.raises(ArchGymError, match="sub-environment"):
        env.step(VALID[None])


def test_disabled_autoreset_asks_for_a_reset(bowl):
    env_id, simulator = bowl
    env = gymnasium.make_vec(env_id, num_envs=2, horizon=2, autoreset_mode="Disabled").unwrapped
    env.reset(seed=0)
    actions = np.array([VALID, VIOLATING])
    env.step(actions), env.step(actions)
    with pytest.raises(ArchGymError, match="reset_mask"):
        env.step(actions)
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert observation[0].tolist() == [0, 0, 0, 1] and observation[1, :3].any()
    with pytest.raises(ArchGymError, match=r"\[1\]"):
        env.step(actions)
    assert simulator.rows == 4
    env.reset()
    env.step(actions)
    for mask in ([True], [False, False]):
        with pytest.raises(ArchGymError, match="reset_mask"):
            env.reset(options={"reset_mask": np.array(mask)})


@pytest.mark.parametrize("mode", ["SameStep", "same_step", AutoresetMode.SAME_STEP])
def test_autoreset_modes_go_by_name(bowl, mode):
    assert (
        gymnasium.make_vec(bowl[0], num_envs=1, autoreset_mode=mode).metadata["autoreset_mode"]
        is AutoresetMode.SAME_STEP
    )


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": 1.0}, "horizon"),
        ({"ofset": 1.0}, "did you mean 'offset'"),
        ({"preset": "big"}, "preset"),
        ({"objective": {"minimize": ["cost"]}}, "did you mean 'cost_j'"),
    ],
)
def test_wrong_arguments_are_refused_with_a_hint(register, kwargs, says):
    env_id, _ = register(Bowl)
    with pytest.raises((ArchGymError, gymnasium.error.Error), match=says):
        gymnasium.make(env_id, **kwargs)
    with pytest.raises(ArchGymError, match=says):
        gymnasium.make_vec(env_id, num_envs=2, **kwargs)


@pytest.mark.parametrize("mode", ["rgb_array", "human", "rgb_arry", ""])
def test_an_unknown_render_mode_is_warned_of_as_gymnasium_does_and_is_none(bowl, mode):
    says = "render_mode=.*not in the possible render_modes"
    with pytest.warns(UserWarning, match=says):
        env = gymnasium.make(bowl[0], render_mode=mode)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()), render_mode=None)
    with pytest.warns(UserWarning, match=says):
        batch = gymnasium.make_vec(bowl[0], num_envs=2, render_mode=mode)
    with pytest.warns(UserWarning, match=says):
        several = gymnasium.make_vec(bowl[0], num_envs=2, render_mode=mode, vectorization_mode="sync")
    for made in (env, again, batch, several):
        made.reset(seed=0)
        made.step(made.action_space.sample())
        assert made.render_mode is None
    assert (
        env.unwrapped.render() is None
        and batch.render() is None
        and several.unwrapped.envs[0].unwrapped.render() is None
    )


def test_numpys_integers_are_whole_numbers(register):
    env_id, _ = register(Bowl)
    made = gymnasium.make_vec(env_id, num_envs=np.int64(3), horizon=np.int32(2))
    assert made.num_envs == 3 and made.unwrapped.evaluator.horizon == 2
    assert json.loads(made.spec.to_json())["kwargs"]["num_envs"] == 3
    single = gymnasium.make(env_id, horizon=np.uint8(2), offset=np.float64(1.5))
    assert gymnasium.make(EnvSpec.from_json(single.spec.to_json())).unwrapped.simulator.offset == 1.5


@pytest.mark.parametrize(
    "objective",
    [
        "cost_j",
        lambda metrics: metrics["cost_j"],
        lambda: 1,
        lambda simulator: 5.0,
        max,
        [Minimize("cost_j")],
        Minimize("cost_j"),
        3,
    ],
)
def test_what_is_no_objective_is_refused_with_what_is_one(bowl, objective):
    with pytest.raises(ArchGymError, match=r"expected an archgym.Objective, a mapping such as \{'minimize'"):
        gymnasium.make(bowl[0], objective=objective)


class Slack(archgym.Simulator):
    """A minimised slack of -2 .. 2, and a maximised rate of 0 .. 4."""

    space = archgym.DesignSpace([archgym.Integer("x", -2, 2), archgym.Integer("y", 0, 4)])
    metrics = (archgym.Metric("slack", "s", "lower"), archgym.Metric("rate", "1/s", "higher"))
    default_objective = Objective(Minimize("slack"), archgym.Maximize("rate"))

    def evaluate(self, designs, rng=None):
        return {"slack": designs["x"] * 1.0, "rate": designs["y"] * 1.0, "feasible": designs["x"] < 3}


def test_a_metric_that_has_no_logarithm_costs_its_design_and_nothing_else(register):
    env_id, _ = register(Slack())
    env = gymnasium.make(env_id)
    env.reset(seed=0)
    observation, reward, _, _, info = env.step(np.array([0, 1]))
    assert (
        reward == -11.0
        and not info["feasible"]
        and not info["valid"]
        and set(info["metrics"].values()) == {None}
    )
    assert not observation.any()
    ((sample, reason),) = env.unwrapped.ledger.failures
    assert sample == 0 and "slack = -2.0" in reason and "form='linear'" in reason
    batch = gymnasium.make_vec(env_id, num_envs=5)
    batch.reset(seed=0)
    _, rewards, _, _, info = batch.step(np.array([[1, 1], [2, 1], [2, 0], [3, 0], [4, 1]]))
    assert rewards.tolist() == [-11.0, 10.0, -10.0, -10.0, pytest.approx(-np.log(2))]
    assert archgym.finished(info)["feasible"].tolist() == [False, True, True, True, True]
    assert info["final_obs"][2, :2].tolist() == [-10.0, -10.0]
    assert np.isnan(batch.unwrapped.ledger.column("values")[0]).all()
    vector = archgym.wrappers.RewardVector(gymnasium.make(env_id))
    vector.reset()
    assert vector.step(np.array([0, 1]))[1].tolist() == [-11.0, -11.0]
    from archgym.testing import check_env, check_simulator

    check_env(env_id)
    with pytest.warns(UserWarning, match=r"infeasible: expected metrics of at least 0.*slack = -2.0"):
        check_simulator(Slack())


def test_all_that_rewards_designs_agrees_about_those_without_a_logarithm(register):
    found = archgym.find_optimum(Slack(), Slack.default_objective)
    table = archgym.Tabulated(Slack())
    reward, valid = table.table_rewards(Slack.default_objective)
    assert (
        (found.designs, found.feasible, found.valid)
        == (25, 15, 15)
        == (25, (reward > -11).sum(), valid.sum())
    )
    assert (
        found.best_design == {"x": 0, "y": 1} == table.space.design(table.optimum(Slack.default_objective))
        and found.best_reward == 10.0
    )
    env_id, _ = register(table)
    result = archgym.search(env_id, "exhaustive", budget=25)
    assert (
        np.array_equal(result.history["reward"], reward)
        and len(result.failures) == 10
        and result.regret == 0.0
    )


def test_arguments_of_a_simulator_without_a_constructor_are_refused_too(register):
    class Plain(archgym.Simulator):
        space, metrics, default_objective = Bowl.space, Bowl.metrics, Bowl.default_objective

        def evaluate(self, designs, rng=None):
            return Bowl().evaluate(designs)

    with pytest.raises(ArchGymError, match="offset"):
        gymnasium.make(register(Plain)[0], offset=1.0)


@pytest.mark.parametrize("num_envs", [0, -1, True, 2.0])
def test_num_envs_is_a_whole_number(num_envs):
    with pytest.raises(ArchGymError, match="num_envs"):
        archgym.ArchVectorEnv(archgym.registry.Task("tests/Width-v0", Bowl), num_envs)


@pytest.mark.parametrize("wrap", [None, archgym.SequentialDesign, archgym.ContinuousActions])
def test_the_specification_of_a_made_environment_survives_json_and_makes_the_same_environment(register, wrap):
    env_id, _ = register(Bowl)
    made = gymnasium.make(
        env_id, offset=2.0, horizon=2, objective=Objective(Minimize("cost_j"), reference={"cost_j": 7.0})
    )
    made = made if wrap is None else wrap(made)
    again = gymnasium.make(EnvSpec.from_json(made.spec.to_json()))
    assert type(again) is type(made) and again.unwrapped.objective == made.unwrapped.objective
    for env in (made, again):
        env.reset(seed=3)
        env.action_space.seed(3)
    for _ in range(2):
        one, other = made.step(made.action_space.sample()), again.step(again.action_space.sample())
        assert np.array_equal(one[0], other[0]) and one[1:4] == other[1:4]


def test_the_specification_of_a_vector_environment_makes_the_same_environment(register):
    env_id, _ = register(Bowl)
    made = gymnasium.make_vec(env_id, num_envs=3, offset=2.0, horizon=2, autoreset_mode="NextStep")
    again = gymnasium.make_vec(EnvSpec.from_json(made.spec.to_json()), num_envs=3)
    assert (
        again.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        and again.unwrapped.simulator.offset == 2.0
    )
    made.reset(), again.reset()
    actions = made.action_space.sample()
    assert np.array_equal(made.step(actions)[0], again.step(actions)[0])


@pytest.mark.parametrize("env_id", ENVS)
def test_environments_pickle_with_their_ledger(env_id):
    for env in (gymnasium.make(env_id), gymnasium.make_vec(env_id, num_envs=3)):
        env.reset(seed=0)
        env.action_space.seed(0)
        action, after = env.action_space.sample(), env.action_space.sample()
        env.step(action), env.reset()
        again = pickle.loads(pickle.dumps(env))
        one, other = env.step(after), again.step(after)
        assert np.array_equal(one[1], other[1]) and np.array_equal(one[0], other[0])
        assert env.unwrapped.ledger.samples == again.unwrapped.ledger.samples
        assert np.array_equal(
            env.unwrapped.ledger.column("indices"), again.unwrapped.ledger.column("indices")
        )


def test_render_prints_the_design_its_metrics_and_its_state(bowl):
    env = gymnasium.make(bowl[0], render_mode="ansi", disable_env_checker=True)
    env.reset()
    assert env.render() == "no design yet"
    for action, state in ((VALID, "valid"), (VIOLATING, "violates"), (INFEASIBLE, "infeasible")):
        env.reset()
        env.step(action)
        text = env.render()
        assert (
            state in text and f"x = {action[0] + 1}" in text and ("cost_j" in text) == (state != "infeasible")
        )
    vector = gymnasium.make_vec(bowl[0], num_envs=2, render_mode="ansi")
    vector.reset()
    vector.step(np.array([VALID, INFEASIBLE]))
    assert len(vector.render()) == 2 and "infeasible" in vector.render()[1]
    assert gymnasium.make(bowl[0]).unwrapped.render() is None


def test_declared_noise_follows_the_seed_and_equals_the_rows(register):
    env_id, _ = register(Noise())
    actions = np.tile(VALID, (4, 1))

    def rewards(seed):
        env = gymnasium.make_vec(env_id, num_envs=4)
        env.reset(seed=seed)
        return env.step(actions)[1].tolist()

    assert rewards(0) == rewards(0) != rewards(1) and len(set(rewards(0))) == 4
    single = gymnasium.make(env_id)
    single.reset(seed=0)
    rows = []
    for action in actions:
        rows.append(single.step(action)[1])
        single.reset()
    assert rows == rewards(0)


def test_the_last_batch_of_a_single_environment_ends_with_the_budget(bowl):
    env = gymnasium.make(bowl[0])
    env.unwrapped.ledger.budget = 1
    env.reset()
    env.step(VALID)
    env.reset()
    with pytest.raises(BudgetExhausted):
        env.step(VALID)


def test_one_failing_row_fails_alone_and_is_recorded_with_its_reason(register):
    class Fragile(Bowl):
        def evaluate(self, designs, rng=None):
            if (designs["x"] == 2).any():
                raise RuntimeError("the tool crashed")
            out = super().evaluate(designs)
            return out | {"cost_j": np.where(designs["x"] == 3, np.inf, out["cost_j"])}

    env = gymnasium.make_vec(register(Fragile())[0], num_envs=4)
    env.reset(seed=0)
    *_, info = env.step(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]))
    ledger = env.unwrapped.ledger
    assert finished(info)["feasible"].tolist() == [True, False, False, True] and ledger.samples == 4
    assert [f.sample for f in ledger.failures] == [1, 2]
    assert "the tool crashed" in ledger.failures[0].reason and "cost_j" in ledger.failures[1].reason


def test_the_evaluators_specification_is_json(bowl):
    env = gymnasium.make(bowl[0])
    said = json.loads(json.dumps(env.unwrapped.evaluator.specification()))
    assert (
        said["id"] == bowl[0]
        and said["horizon"] == 1
        and Objective.from_dict(said["objective"]) == Bowl.default_objective
    )


class Through(archgym.simulator_wrappers.SimulatorWrapper):
    """Gives the answers of the simulator inside, by simulating every design."""

    def evaluate_indices(self, indices, rng=None):
        return self.simulator.evaluate_indices(indices, rng)


def exact(value):
    """A value with its types and bits."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value), *map(exact, value)]
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return type(value), value.hex() if isinstance(value, float) else value


def walk(env, actions, horizon=1):
    """Everything that single steps give and record, but times."""
    steps, ledger = [], env.ledger
    for t, action in enumerate(actions):
        if t % horizon == 0:
            steps.append(env.reset())
        steps.append(env.step(action))
    history = {name: column for name, column in ledger.history().items() if name != "seconds"}
    assert len(ledger.column("seconds")) == len(ledger.column("recorded")) == ledger.samples
    kinds = {name: column.dtype.kind for name, column in history.items()}
    history = {n: c.tolist() if kinds[n] in "OU" else np.ascontiguousarray(c) for n, c in history.items()}
    return exact([steps, kinds, history, ledger.failures, ledger.best, ledger.best_reward])


TABLES = [
    ("archgym/Softmax-v0", {}),
    ("archgym/Softmax-v0", {"preset": "attention_4k", "tolerance": 1e-8, "horizon": 3}),
    ("archgym/DramController-v0", {"goal": "low_power"}),
    ("archgym/DramController-v0", {"preset": "archgym_both", "time_unit": "dropped", "horizon": 3}),
    ("archgym/NasCell-v0", {"params": 6000.0}),
    ("archgym/AttentionAccelerator-v0", {"horizon": 2}),
    ("archgym/PlainCnn-v0", {"preset": "sram-32kb"}),
    ("archgym/LogicSynthesis-v0", {"preset": "random-7-product", "horizon": 2}),
]


@pytest.mark.parametrize(("env_id", "kwargs"), TABLES)
def test_single_steps_of_a_table_give_the_bits_of_batches(env_id, kwargs):
    looked_up, simulated = (gymnasium.make(env_id, **kwargs).unwrapped for _ in range(2))
    simulated.evaluator.simulator = Through(simulated.simulator)
    designs = looked_up.simulator.space.sample(60, np.random.default_rng(0))
    actions = np.concatenate([designs, designs[::2]])
    horizon = kwargs.get("horizon", 1)
    assert walk(looked_up, actions, horizon) == walk(simulated, actions, horizon)
    assert is_table(looked_up.simulator) and looked_up.evaluator._answers.find(actions[0]) is not None


def test_the_shipped_tables_are_those_that_are_compared():
    made = {name: gymnasium.make(name) for name in ENVS}
    assert {name for name, env in made.items() if is_table(env.unwrapped.simulator)} - {
        "archgym/NasMacro-v0"  # whose table is downloaded
    } == {name for name, _ in TABLES}


class Fragile(Bowl):
    """Designs of one kind raise, others have a metric below 0."""

    def evaluate(self, designs, rng=None):
        if (designs["x"] == 2).any():
            raise RuntimeError("the tool crashed")
        out = super().evaluate(designs)
        return out | {"cost_j": out["cost_j"] - 4}


@pytest.mark.parametrize(
    "objective",
    [None, Objective(Minimize("cost_j"), form="linear"), Objective(Minimize("area_mm2"), strict=True)],
    ids=["with failures", "linear", "strict"],
)
def test_single_steps_of_a_table_keep_failures_and_constraints(register, objective):
    env_id, _ = register(lambda: archgym.Tabulated(Fragile()), objective or Bowl.default_objective)
    looked_up, simulated = gymnasium.make(env_id).unwrapped, gymnasium.make(env_id).unwrapped
    simulated.evaluator.simulator = Through(simulated.simulator)
    actions = Bowl.space.from_ordinal(np.arange(Bowl.space.size))
    assert walk(looked_up, actions) == walk(simulated, actions)
    assert looked_up.ledger.failures


def test_a_table_takes_and_refuses_the_actions_that_simulators_do(register):
    for simulator in (Bowl(), archgym.Tabulated(Bowl())):
        env = gymnasium.make(register(simulator, Bowl.default_objective)[0]).unwrapped
        given = [VALID.astype(kind) for kind in (np.uint8, np.int32, ">i8", float)]
        for action in (*given, VALID.tolist(), tuple(VALID.tolist())):
            env.reset()
            assert env.step(action)[4]["design"] == Bowl.space.design(VALID)
        for action in (VALID - 3, VALID + 6, VALID[:3], VALID[None], VALID > 0, UNSIGNED):
            env.reset()
            with pytest.raises(ArchGymError):
                env.step(action)
        assert env.ledger.samples == 6
        env.ledger.budget = 7
        env.step(VALID)
        env.reset()
        with pytest.raises(BudgetExhausted):
            env.step(VALID)
        assert env.ledger.samples == 7 and env.ledger.column("indices").tolist() == [VALID.tolist()] * 7


def test_what_takes_the_place_of_a_table_is_asked_from_then_on(register):
    table = archgym.Tabulated(Bowl())
    env = gymnasium.make(register(table, Bowl.default_objective)[0]).unwrapped
    evaluator = env.evaluator

    def cost():
        env.reset(seed=1)
        return env.step(VALID)[4]["metrics"]["cost_j"]

    before = cost()
    evaluator.simulator = archgym.Noisy(table, 0.5)
    noisy = cost()
    evaluator.simulator = Bowl(offset=1.0)
    assert cost() == before + 1 and evaluator.simulator.rows == 1 and noisy not in (before, before + 1)
    evaluator.simulator = archgym.Cached(table)
    assert [cost(), cost()] == [before, before] and env.ledger.cache_hits == 1
    evaluator.simulator = table
    assert cost() == before
    evaluator.objective = Objective(Minimize("cost_j"), reference={"cost_j": before})
    env.reset()
    assert env.step(VALID)[1] == 0.0


def test_a_table_with_answers_of_its_own_is_asked_for_each(register):
    class Odd(archgym.Tabulated):
        asked = 0

        def evaluate_indices(self, indices, rng=None):
            self.asked += len(indices)
            return super().evaluate_indices(indices)

    table = Odd(Bowl())
    walk(gymnasium.make(register(table, Bowl.default_objective)[0]).unwrapped, [VALID] * 4)
    assert table.asked == 4


def test_scored_designs_have_the_columns_of_a_step_and_are_not_counted(bowl):
    env_id, _ = bowl
    single, vector = gymnasium.make(env_id).unwrapped, gymnasium.make_vec(env_id, num_envs=3).unwrapped
    vector.reset(), single.reset()
    actions = np.array([VALID, VIOLATING, INFEASIBLE])
    expected = finished(vector.step(actions)[-1])
    for designs in (actions, actions.tolist()):
        assert exact(single.score(designs)) == exact(vector.score(designs)) == exact(expected)
    assert single.ledger.samples == 0 and vector.ledger.samples == 3
    single.step(VALID)  # the episode has not moved
    for designs in ([], VALID, [[6, 0, 0, 0]], [[0.5, 0, 0, 0]], 3):
        with pytest.raises(ArchGymError, match="expected"):
            single.score(designs)


def test_scoring_leaves_the_noise_of_the_search_alone(register):
    env = gymnasium.make(register(Noise())[0]).unwrapped
    env.reset(seed=4)
    noise = env.evaluator.rng.bit_generator.state
    first, second = (env.score([VALID] * 3, rng=np.random.default_rng(s))["reward"] for s in (0, 0))
    assert len(set(first)) == 3 and first.tolist() == second.tolist()
    assert env.evaluator.rng.bit_generator.state == noise
    with pytest.raises(ArchGymError, match="default_rng"):
        env.score([VALID])


def test_a_stored_table_takes_the_place_of_its_simulator(register, tmp_path):
    env_id, _ = register(Bowl)
    live = gymnasium.make(env_id, offset=1.0)
    archgym.Tabulated(live.unwrapped.simulator).save(tmp_path / "bowl.npz")
    stored = gymnasium.make(env_id, offset=1.0, table=str(tmp_path / "bowl.npz"))
    again = gymnasium.make(EnvSpec.from_json(stored.spec.to_json()))
    actions = Bowl.space.sample(40, np.random.default_rng(0))
    assert walk(stored.unwrapped, actions) == walk(live.unwrapped, actions)
    assert walk(again.unwrapped, actions) == walk(gymnasium.make(env_id, offset=1.0).unwrapped, actions)
    inside = stored.unwrapped.simulator.unwrapped
    # few designs are compared with the table, none is simulated for a step
    assert isinstance(inside, Bowl) and inside.rows == 64
    settings = {"offset": 1.0, "table": str(tmp_path / "bowl.npz")}
    found = archgym.search(env_id, "random", budget=20, env_kwargs=settings)
    repeated = archgym.search_again(found.specification)
    assert repeated.history["reward"].tolist() == found.history["reward"].tolist()
    assert found.regret is not None
    with pytest.raises(ArchGymError, match=r"offset = 0\.0, got 1\.0"):
        gymnasium.make(env_id, offset=0.0, table=str(tmp_path / "bowl.npz"))
    for wrong in (tmp_path / "absent.npz", 5):
        with pytest.raises(ArchGymError, match="table"):
            gymnasium.make(env_id, offset=1.0, table=wrong)


def test_a_simulators_own_argument_may_be_called_table(register):
    class Tables(Bowl):
        def __init__(self, table: str = "oak"):
            super().__init__()
            self.table = table

    assert gymnasium.make(register(Tables)[0], table="pine").unwrapped.simulator.table == "pine"
