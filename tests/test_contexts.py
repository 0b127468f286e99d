"""Environments that draw a context per episode: sets, features, rewards on one scale, policies as files."""

from __future__ import annotations

import json
import warnings

import gymnasium
import numpy as np
import pytest
from conftest import Bowl
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import (
    Agent,
    ArchEnv,
    ArchGymError,
    ArchVectorEnv,
    AtMost,
    Categorical,
    Contexts,
    DesignSpace,
    Integer,
    Metric,
    Minimize,
    Objective,
    Policy,
    Simulator,
    Tabulated,
    Task,
    finished,
)
from archgym.contexts.features import Features, context_features
from archgym.infos import core
from archgym.objective import INFEASIBLE_REWARD, R
from archgym.optimum import find_optimum, save_optimum
from archgym.testing import check_env
from archgym.wrappers import ContinuousActions, RewardVector, SequentialDesign, vector


class Kernel(Simulator):
    """36 designs whose best one depends on the context: cost |x - size| + 1, times 2 on the wrong engine."""

    space = DesignSpace([Integer("x", 0, 8), Categorical("engine", ["a", "b"]), Categorical("flag", [0, 1])])
    metrics = (Metric("cost_s", "s", "lower"), Metric("area_mm2", "mm2", "lower"))

    def __init__(self, size: int = 4, engine: str = "a"):
        self.size, self.engine = size, engine

    def evaluate(self, designs, rng=None):
        x = np.asarray(designs["x"], float)
        wrong = np.asarray(designs["engine"]) != self.engine
        cost = (np.abs(x - self.size) + 1) * np.where(wrong, 2.0, 1.0) * (1 + np.asarray(designs["flag"]))
        return {"cost_s": cost, "area_mm2": 1 + x, "feasible": (x < 8) | (self.size < 6)}


def objective(simulator, *, area_mm2: float = 7.5):
    return Objective(
        Minimize("cost_s"), AtMost("area_mm2", area_mm2), reference={"cost_s": simulator.unwrapped.size}
    )


def kernel(size: int = 4, engine: str = "a", tabulated: bool = True):
    simulator = Kernel(size, engine)
    return Tabulated(simulator) if tabulated else simulator


TASK = Task("tests/Kernel-v0", kernel, objective, presets={"small": {"size": 1}, "large": {"size": 7}})
SIX = {"size": [1, 4, 6], "engine": ["a", "b"]}


def make(contexts=SIX, **kwargs):
    return ArchEnv(TASK, contexts=contexts, **kwargs)


def batch(num_envs, contexts=SIX, **kwargs):
    return ArchVectorEnv(TASK, num_envs, contexts=contexts, **kwargs)


# --- sets ---


def test_every_form_of_a_set_gives_the_same_contexts(tmp_path):
    rows = [{"size": size, "engine": engine} for size in (1, 4, 6) for engine in ("a", "b")]
    files = {
        "list.json": json.dumps(rows),
        "ranges.json": json.dumps(SIX),
        "table.json": json.dumps({"contexts": rows}),
        "whole.json": json.dumps(Contexts.ranges(SIX).to_dict()),
        "ranges.toml": 'size = [1, 4, 6]\nengine = ["a", "b"]',
        "list.toml": "\n".join(
            f'[[contexts]]\nsize = {row["size"]}\nengine = "{row["engine"]}"' for row in rows
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    forms = [rows, tuple(rows), SIX, {**SIX, "size": np.array([1, 4, 6])}, lambda: SIX, Contexts(tuple(rows))]
    found = [Contexts.of(form, TASK) for form in [*forms, *(tmp_path / name for name in files)]]
    assert all(each == found[0] for each in found) and len(found[0]) == 6
    assert found[0].names[1] == "size=1 engine=b"


def test_a_task_brings_sets_by_name_and_its_presets():
    task = Task("tests/Sets-v0", kernel, objective, TASK.presets, {"mine": SIX, "later": "test_contexts:SIX"})
    assert Contexts.of("mine", task) == Contexts.of("later", task) == Contexts.of(SIX)
    assert Contexts.of("presets", task).arguments == ({"preset": "small"}, {"preset": "large"})
    env = ArchEnv(task, contexts="presets")
    assert env.reset(options={"context": "large"})[1] == {"context": 1}
    assert env.evaluator.members[1].simulator.unwrapped.size == 7
    with pytest.raises(ArchGymError, match="set of contexts of tests/Sets-v0 'mime'; did you mean 'mine'"):
        Contexts.of("mime", task)


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ([], "at least one context"),
        ([{"size": 1}, {"size": 1}], "distinct contexts, got 'size=1' twice"),
        ([{"size": 1}, 3], "mappings of arguments"),
        (7, "expected contexts as a Contexts"),
        ({"arguments": [{"size": 1}], "weights": [0.0]}, "weights > 0"),
        ({"arguments": [{"size": 1}], "weights": [1.0, 2.0]}, "expected weights for 1 contexts, got 2"),
        ({"arguments": [{"size": 1}], "wieghts": [1.0]}, "unknown key of contexts 'wieghts'"),
        ([{"seize": 1}], "unknown argument of tests/Kernel-v0 'seize'; did you mean 'size'"),
        ("nowhere.json", "cannot read the contexts"),
    ],
)
def test_a_set_in_another_form_is_refused_with_what_was_expected(given_, reason):
    with pytest.raises(ArchGymError, match=reason):
        make(given_)


@given(st.integers(2, 40), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_a_split_by_context_has_every_context_once_and_is_repeatable(n, held_out, seed):
    contexts = Contexts.ranges({"size": range(n)})
    train, test = contexts.split(held_out, seed)
    assert sorted(train.names + test.names) == sorted(contexts.names)
    assert 1 <= len(test) == min(max(round(held_out * n), 1), n - 1)
    assert contexts.split(held_out, seed) == (train, test)


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=4, max_size=30), st.integers(0, 99))
def test_a_split_by_group_trains_on_no_context_of_a_held_out_group(groups, seed):
    contexts = Contexts(
        tuple({"size": i} for i in range(len(groups))), groups=tuple(tuple(sorted(each)) for each in groups)
    )
    if len(set().union(*groups)) < 2:
        return
    try:
        train, test = contexts.split(0.25, seed, by="group")
    except ArchGymError as error:
        assert "leaves no context" in str(error)
        return
    trained = {name for names in train.groups for name in names}
    assert all(not set(names) <= trained for names in test.groups)
    assert sorted(train.names + test.names) == sorted(contexts.names)


# --- features ---


def test_features_are_standardised_over_the_contexts_and_constant_ones_left_out():
    env = make()
    found = np.array([m.simulator.unwrapped.size for m in env.evaluator.members])
    z = env.evaluator.feature_rows[:, env.evaluator.features.names.index("size")]
    log = np.log2(found)
    np.testing.assert_allclose(z, (log - log.mean()) / log.std(), rtol=1e-6)
    assert env.evaluator.features.names == ("size", "engine=a", "engine=b")
    assert env.contexts.constants["limit area_mm2"] == (np.log2(7.5), 0.0)
    assert env.observation_space.shape == (3 + 2 + 1,)


def test_held_out_contexts_are_standardised_with_the_constants_of_training():
    env = make()
    other = make(Contexts.ranges({"size": [2, 3], "engine": "a"}).like(env.contexts))
    mean, scale = env.contexts.constants["size"]
    np.testing.assert_allclose(
        other.evaluator.feature_rows[:, 0], (np.log2([2, 3]) - mean) / scale, rtol=1e-6
    )


def test_a_context_outside_of_what_was_trained_gets_a_warning():
    features = Features.of([{"size": 1.0, "area": 3.0, "isa=avx2": 1.0}, {"size": 2.0, "area": 3.0}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert features.vector({"size": 2.0, "area": 3.0}).shape == (2,)
    with pytest.warns(UserWarning, match="area = 4 instead of 3"):
        features.vector({"size": 2.0, "area": 4.0})
    with pytest.warns(UserWarning, match="isa=avx512"):
        features.vector({"size": 2.0, "area": 3.0, "isa=avx512": 1.0})
    with pytest.raises(ArchGymError, match="to have the feature 'size'"):
        features.vector({"area": 3.0})


def test_limits_of_the_objective_are_features():
    env = make({"size": [4], "area_mm2": [4.0, 8.0]})
    assert env.evaluator.features.names == ("limit area_mm2",)
    np.testing.assert_allclose(env.evaluator.feature_rows[:, 0], [-1, 1])


# --- environments ---


@pytest.mark.parametrize("kwargs", [{}, {"horizon": 3}], ids=["one design", "three designs"])
@pytest.mark.parametrize(
    ("env_id", "contexts"),
    [
        ("archgym/Softmax-v0", {"rows": [1, 16], "cols": [256, 4096]}),
        ("archgym/NKLandscape-v0", {"seed": [0, 1, 2], "n": 8, "alleles": 2}),
        ("archgym/Accelerator-v0", {"workload": ["resnet18", "vit_b_16"], "area_mm2": [8.0, 16.0]}),
    ],
)
def test_contextual_environments_pass_the_checks_without_a_warning(env_id, contexts, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env_id, contexts=contexts, **kwargs)


def test_without_contexts_nothing_is_added():
    env = ArchEnv(TASK)
    assert env.contexts is None and env.reset(seed=0)[1] == {} and "context" not in env.step([0, 0, 0])[-1]
    assert "context" not in env.ledger.history() and "contexts" not in env.evaluator.specification()["kwargs"]
    with pytest.raises(ArchGymError, match="make it with contexts="):
        env.reset(options={"context": 0})


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_a_step_equals_each_contexts_own_environment_on_the_scale_of_its_optimum(seed, num_envs):
    env = batch(num_envs)
    env.reset(seed=seed)
    contexts = env.evaluator.current.copy()
    designs = Kernel.space.sample(num_envs, np.random.default_rng(seed))
    _, rewards, *_, info = env.step(designs)
    done = finished(info)
    np.testing.assert_array_equal(done["context"], contexts)
    np.testing.assert_array_equal(env.ledger.column("context"), contexts)
    for row, (context, design) in enumerate(zip(contexts, designs, strict=True)):
        alone = ArchEnv(TASK, **env.contexts.arguments[context])
        best = find_optimum(alone.simulator, alone.objective).best_reward
        alone.reset()
        observation, reward, _, _, said = alone.step(design)
        expected = reward if reward == INFEASIBLE_REWARD else max(reward - best, -R)
        assert rewards[row] == pytest.approx(expected, abs=1e-12)
        assert bool(done["valid"][row]) == said["valid"]
        assert (
            said["metrics"]["cost_s"] is None or done["metrics"]["cost_s"][row] == said["metrics"]["cost_s"]
        )
        np.testing.assert_array_equal(info["final_obs"][row][3:], observation)
        np.testing.assert_array_equal(info["final_obs"][row][:3], env.evaluator.feature_rows[context])


def test_the_optimum_of_every_context_has_reward_0_and_shares_are_ratios():
    env = make()
    assert env.evaluator.exact.all()
    for i, arguments in enumerate(env.contexts.arguments):
        alone = ArchEnv(TASK, **arguments)
        best = find_optimum(alone.simulator, alone.objective)
        design = best.indices[None]
        assert env.score(design, context=i)["reward"][0] == 0
        twice = design.copy()
        twice[0, 2] = 1  # the flag doubles the cost
        assert np.exp(env.score(twice, context=i)["reward"][0]) == pytest.approx(0.5)


def test_contexts_are_chosen_by_position_or_name_for_one_or_all_sub_environments():
    env = make()
    observation, info = env.reset(options={"context": "size=6 engine=b"})
    assert info == {"context": 5}
    np.testing.assert_array_equal(observation[:3], env.evaluator.feature_rows[5])
    many = batch(3)
    assert many.reset(options={"context": 2})[1]["context"].tolist() == [2, 2, 2]
    assert many.reset(options={"context": [0, 5, 1]})[1]["context"].tolist() == [0, 5, 1]
    mask = np.array([False, True, False])
    assert many.reset(options={"context": 3, "reset_mask": mask})[1]["context"].tolist() == [0, 3, 1]
    for wrong in (6, -1, [0, 1], "size=9", 1.5, [[0, 1, 2]]):
        with pytest.raises(ArchGymError, match="context"):
            many.reset(options={"context": wrong})


def test_weights_decide_how_often_a_context_is_drawn():
    weights = (1.0, 2.0, 7.0)
    contexts = Contexts.ranges({"size": [1, 4, 6]})
    env = batch(20_000, Contexts(contexts.arguments, weights=weights))
    env.reset(seed=0)
    np.testing.assert_allclose(np.bincount(env.evaluator.current) / 20_000, [0.1, 0.2, 0.7], atol=0.01)
    uniform = batch(20_000, contexts)
    uniform.reset(seed=0)
    np.testing.assert_allclose(np.bincount(uniform.evaluator.current) / 20_000, 1 / 3, atol=0.01)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_context_lasts_an_episode_in_every_autoreset_mode(mode):
    env, horizon = batch(8, horizon=3, autoreset_mode=mode), 3
    observation, info = env.reset(seed=3)
    rng = np.random.default_rng(0)
    context, steps = info["context"], np.zeros(8, int)
    seen = set()
    for _ in range(12):
        over = steps == horizon
        if mode == "Disabled" and over.any():
            observation, info = env.reset(options={"reset_mask": over})
            context, steps = info["context"], np.where(over, 0, steps)
        np.testing.assert_array_equal(observation[:, :3], env.evaluator.feature_rows[context])
        before = len(env.ledger.history()["context"])
        going = ~over if mode == "NextStep" else np.ones(8, bool)
        observation, *_, info = env.step(Kernel.space.sample(8, rng))
        np.testing.assert_array_equal(env.ledger.history()["context"][before:], context[going])
        steps = np.where(going, steps + 1, 0)
        if mode == "SameStep":
            steps = np.where(steps == horizon, 0, steps)
        context = info.get("context", context) if mode != "Disabled" else context
        seen.add(tuple(context.tolist()))
    assert len(seen) > 2


def test_the_budget_is_spent_exactly_and_a_design_counts_once_per_context():
    env = batch(4, Contexts.ranges({"size": [1, 4]}))
    env.ledger.budget = 6
    env.reset(options={"context": [0, 0, 1, 1]})
    env.step(np.zeros((4, 3), int))
    assert env.ledger.samples == 4 and env.ledger.unique == 2
    env.reset(options={"context": [0, 1, 1, 1]})
    with pytest.raises(archgym.BudgetExhausted):
        env.step(np.ones((4, 3), int))
    assert env.ledger.samples == 6 and env.ledger.column("context").tolist() == [0, 0, 1, 1, 0, 1]


def test_a_search_on_contexts_is_repeated_from_its_specification():
    archgym.register_env("tests/Contextual-v0", simulator=kernel, objective=objective, contexts={"six": SIX})
    found = archgym.search("tests/Contextual-v0", "random", budget=50, env_kwargs={"contexts": "six"}, seed=4)
    assert found.optimum is None and found.regret is None and set(found.history["context"]) == set(range(6))
    again = archgym.search_again(json.loads(json.dumps(found.specification)))
    for name, column in found.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(column, again.history[name])
    bo = archgym.search("tests/Contextual-v0", "bo", budget=20, env_kwargs={"contexts": "six"})
    assert bo.samples == 20


def test_noise_is_drawn_row_by_row_in_every_mixture_of_contexts():
    task = Task("tests/Noise-v0", lambda offset=0.0: archgym.Noisy(Bowl(offset), 0.5))
    env = ArchVectorEnv(task, 5, contexts={"offset": [0.0, 1.0, 2.0]})
    designs = Bowl.space.sample(5, np.random.default_rng(0))
    order = [2, 0, 0, 1, 2]
    env.reset(seed=7, options={"context": order})
    *_, info = env.step(designs)
    single = ArchEnv(task, contexts={"offset": [0.0, 1.0, 2.0]})
    for row, context in enumerate(order):
        single.reset(seed=7 if row == 0 else None, options={"context": context})
        said = single.step(designs[row])[-1]
        if said["feasible"]:
            assert finished(info)["metrics"]["cost_j"][row] == said["metrics"]["cost_j"]


# --- the scale ---


def test_an_optimum_that_is_not_known_leaves_the_objectives_reference_as_the_scale():
    env = make({"size": [1, 4], "tabulated": False})
    assert not env.evaluator.exact.any() and (env.evaluator.best == 0).all()
    alone = ArchEnv(TASK, size=4, tabulated=False)
    alone.reset()
    env.reset(options={"context": 1})
    assert env.step([2, 0, 0])[1] == alone.step([2, 0, 0])[1]


def test_a_stored_or_stated_optimum_is_the_scale():
    simulator, goal = TASK.build(size=4, tabulated=False)
    save_optimum(simulator, goal, find_optimum(simulator, goal))
    stated = {"x": 1, "engine": "a", "flag": 0}
    contexts = Contexts(
        ({"size": 4, "tabulated": False}, {"size": 1, "tabulated": False}), optima=(None, stated)
    )
    env = make(contexts)
    assert env.evaluator.exact.all()
    for context, x in ((0, 4), (1, 1)):
        assert env.score(np.array([[x, 0, 0]]), context=context)["reward"][0] == 0
    with pytest.raises(ArchGymError, match="optimum of a context to be a valid design"):
        make(Contexts(({"size": 7},), optima=({"x": 8, "engine": "a", "flag": 0},)))


@pytest.mark.parametrize(
    ("contexts", "kwargs", "reason"),
    [
        (SIX, {"objective": Objective(Minimize("cost_s"), form="linear")}, "objective of form 'log'"),
        ({"n": [4, 5]}, {}, "contexts with the same designs"),
    ],
)
def test_contexts_without_a_common_scale_or_space_are_refused(contexts, kwargs, reason):
    task = TASK if contexts is SIX else archgym.get_task("archgym/NKLandscape-v0")
    with pytest.raises(ArchGymError, match=reason):
        ArchEnv(task, contexts=contexts, **kwargs)


# --- wrappers ---


def test_the_sequential_view_begins_with_the_features_and_equals_its_vector_form():
    env, many = SequentialDesign(make()), vector.SequentialDesign(batch(3))
    assert env.observation_space.shape == (3 + 6,)
    rows, info = many.reset(seed=1)
    features = core(env).evaluator.feature_rows
    np.testing.assert_array_equal(rows[:, :3], features[info["context"]])
    for i, context in enumerate(info["context"].tolist()):
        row, _ = env.reset(options={"context": context})
        np.testing.assert_array_equal(row, rows[i])
    for _ in range(3):
        rows, *_, info = many.step(np.zeros(3, int))
        assert many.single_observation_space.contains(rows[0])
    np.testing.assert_array_equal(info["final_obs"][:, :3], features[finished(info)["context"]])
    np.testing.assert_array_equal(rows[:, :3], features[info["context"]])


def test_continuous_actions_keep_the_features_and_reward_vectors_are_refused():
    env = ContinuousActions(make())
    observation, info = env.reset(seed=0)
    np.testing.assert_array_equal(observation[:3], core(env).evaluator.feature_rows[info["context"]])
    for wrap, each in ((RewardVector, make()), (vector.RewardVector, batch(2))):
        with pytest.raises(ArchGymError, match="no common scale"):
            wrap(each)


def test_gymnasium_makes_contextual_environments_and_their_specifications_are_json():
    env = gymnasium.make("archgym/Softmax-v0", contexts=Contexts.ranges({"cols": [256, 512]}))
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.contexts == env.unwrapped.contexts
    many = gymnasium.make_vec("archgym/Softmax-v0", num_envs=2, contexts={"cols": [256, 512]})
    assert many.unwrapped.contexts == env.unwrapped.contexts
    assert many.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


# --- policies ---


class Ranking(Policy):
    """The same designs for every context."""

    def __init__(self, env, space, designs):
        super().__init__(env, space)
        self.designs = designs

    def rank(self, features, n):
        return self.designs[:n]

    def arrays(self):
        return {"designs": self.designs}

    @classmethod
    def from_arrays(cls, env, space, arrays):
        return cls(env, space, arrays["designs"])


class Best(Agent):
    """Random designs; the best are proposed."""

    hyperparameters = DesignSpace([])
    version = 1
    policy_class = Ranking
    num_envs_from = 16

    def search(self, env, *, budget, seed):
        env.reset(seed=seed)
        rng, unwrapped = np.random.default_rng(seed), core(env)
        try:
            while True:
                env.step(unwrapped.simulator.space.sample(env.num_envs, rng))
        except archgym.BudgetExhausted:
            column = unwrapped.ledger.column
            distinct, first = np.unique(column("indices"), axis=0, return_index=True)
            best = np.argsort(-column("reward")[first], kind="stable")[:5]
            self.policy = Ranking(*Ranking.describes(unwrapped.evaluator), distinct[best].astype(np.int64))


@pytest.fixture
def policy():
    archgym.register_agent("tests-best", Best)
    archgym.register_env("tests/Policy-v0", simulator=kernel, objective=objective)
    return archgym.train("tests/Policy-v0", contexts=SIX, budget=200, agent="tests-best", seed=3)


def test_a_policy_is_trained_within_its_budget_and_proposes_designs_for_any_context(policy):
    assert policy.about["samples"] == policy.about["budget"] == 200 and policy.about["agent"] == "tests-best"
    designs = policy.propose({"size": 5, "engine": "b"}, n=3)
    assert (
        len(designs) == 3 and len(Kernel.space.encode({k: [d[k] for d in designs] for k in designs[0]})) == 3
    )
    assert len(policy.propose({"size": 5}, n=10**6)) <= Kernel.space.size
    with pytest.raises(ArchGymError, match="did you mean 'size'"):
        policy.propose({"sise": 5})
    with pytest.raises(ArchGymError, match="n as a whole number >= 1"):
        policy.propose({"size": 5}, n=0)


def test_the_same_seed_writes_the_same_bytes_and_loading_gives_the_same_proposals(policy, tmp_path):
    again = archgym.train("tests/Policy-v0", contexts=SIX, budget=200, agent="tests-best", seed=3)
    first, second = policy.save(tmp_path / "first").read_bytes(), again.save(tmp_path / "second").read_bytes()
    assert first == second
    loaded = Policy.load(tmp_path / "first")
    assert loaded.propose({"size": 3}, n=4) == policy.propose({"size": 3}, n=4)
    assert loaded.about == json.loads(json.dumps(policy.about)) and loaded.contexts == policy.contexts


def test_a_policy_that_was_changed_or_belongs_elsewhere_is_refused(policy, tmp_path):
    path = policy.save(tmp_path / "policy")
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def refused(changes, reason):
        with open(tmp_path / "changed", "wb") as file:
            np.savez_compressed(file, **{**arrays, **changes})
        with pytest.raises(ArchGymError, match=reason):
            Policy.load(tmp_path / "changed")

    refused({"designs": arrays["designs"][::-1]}, "checksum")
    header = json.loads(str(arrays["about"]))
    header["training"]["seed"] = 4
    refused({"about": np.array(json.dumps(header))}, "checksum")
    refused({"about": np.array("{}")}, "not a policy")
    archgym.register_env("tests/Policy-v0", simulator=Bowl)
    with pytest.raises(ArchGymError, match=r"unknown argument|design space"):
        Policy.load(path)
    (tmp_path / "text").write_text("no policy")
    with pytest.raises(ArchGymError, match=r"not a policy that Policy\.save wrote"):
        Policy.load(tmp_path / "text")
    with pytest.raises(ArchGymError, match="no file at"):
        Policy.load(tmp_path / "nothing")


def test_an_agent_that_learns_no_policy_is_refused_before_the_first_sample():
    with pytest.raises(ArchGymError, match="an agent that learns a policy"):
        archgym.train("archgym/Softmax-v0", contexts={"cols": [256, 512]}, budget=10, agent="random")


def test_features_of_a_context_are_those_of_its_environment():
    env = make()
    for i, arguments in enumerate(env.contexts.arguments):
        alone = ArchEnv(TASK, **arguments)
        found = env.evaluator.features.vector(context_features(alone.simulator, alone.objective))
        np.testing.assert_array_equal(found, env.evaluator.feature_rows[i])


def test_proposals_have_different_meanings_in_the_context(tmp_path):
    archgym.register_agent("tests-best", Best)
    archgym.register_env("tests/Meanings-v0", simulator=Bowl)  # its last parameter has no effect
    policy = archgym.train(
        "tests/Meanings-v0", contexts={"offset": [1.0, 2.0]}, budget=2000, agent="tests-best"
    )
    policy.designs = Bowl.space.from_ordinal(np.arange(Bowl.space.size))
    found = Bowl.space.encode({k: [d[k] for d in policy.propose({}, 6)] for k in Bowl.space.names})
    np.testing.assert_array_equal(found, policy.designs[0:12:2])
    assert len(policy.propose({}, Bowl.space.size)) == Bowl.space.size // 2
