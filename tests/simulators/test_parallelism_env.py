"""archgym/Parallelism-v0: which plans divide and fit, that equal plans have equal metrics, and that the optimum
of plans and of clusters is that of brute force.
"""

from __future__ import annotations

import json
from functools import cache

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import ArchGymError, AtLeast, AtMost, Maximize, Minimize, Objective
from archgym.envs.parallelism import CLUSTER_SIZES, PRESETS, objective, references
from archgym.optimum import find_optimum
from archgym.simulators.parallelism.clusters import FOLDER, load_cluster
from archgym.simulators.parallelism.co_design import GROWING, PRICES, price
from archgym.simulators.parallelism.language_models import load_model
from archgym.simulators.parallelism.model import simulate
from archgym.simulators.parallelism.plans import enumerate_plans
from archgym.simulators.parallelism.simulator import BATCHES, Parallelism
from archgym.testing import check_env, check_simulator

ENV = "archgym/Parallelism-v0"
FASTEST = Objective(Minimize("step_time_s"))
CLUSTERS = {
    "gpus": [8, 16],
    "link_gb_s": [150],
    "nic_gb_s": [5, 100],
    "hbm_gib": [50, 80],
    "hbm_gb_s": [1024, 1536, 2048, 4096],
}
SMALL = {"batch": 16, "tensors": [1, 4], "pipelines": [1, 2, 4], "interleavings": [1, 2, 6]}


@pytest.fixture(scope="module")
def default():
    return Parallelism()


def drawn(simulator, n, seed=0):
    return simulator.space.sample(n, np.random.default_rng(seed))


# --- the contract ---


def test_the_environment_keeps_the_contract():
    check_env(ENV)


@pytest.mark.parametrize(
    "arguments", [{}, {"model": "530B", "gpus": 2240, "literal": True}, {"cluster_choices": CLUSTERS}]
)
def test_the_simulator_keeps_the_contract(arguments):
    check_simulator(Parallelism(**arguments))


def test_all_clusters_of_the_contexts_have_one_space_and_a_known_optimum():
    env = gymnasium.make(ENV, contexts="cluster_sizes").unwrapped
    assert len(env.contexts) == len(CLUSTER_SIZES) and env.evaluator.exact.all()
    best = env.evaluator.best
    assert len(set(best.tolist())) == len(best)


def test_every_search_states_its_regret():
    for preset in ("22B", "175B"):
        result = archgym.search(ENV, "random", budget=400, seed=0, env_kwargs={"preset": preset})
        assert result.regret is not None and result.regret > 0


# --- plans ---


def test_plans_of_the_space_are_those_that_the_model_enumerates(default):
    columns = enumerate_plans(default.model, default.cluster, 64, default.batch)
    assert len(columns["tensor"]) == 35112
    given = {name: column for name, column in columns.items() if name not in ("gpus", "batch")}
    rows = np.unique(default.canonical(default.space.encode(given)), axis=0)
    own = default.encoding.all_plans({})
    assert np.array_equal(rows, np.unique(own, axis=0)) and len(rows) == len(own)


def test_a_plan_divides_where_the_reason_is_not_another(default):
    rows = drawn(default, 3000)
    found = default.evaluate_indices(rows)
    divides = np.isfinite(found["step_time_s"])
    fits = found["memory_bytes"] <= 80 * 2**30
    assert 0 < fits.sum() < divides.sum() < len(rows)
    assert np.array_equal(found["feasible"], divides & fits)
    for row, reason in enumerate(found["failure"].tolist()):
        assert bool(reason) != found["feasible"][row]
        assert (reason.endswith("do not fit the 80 GiB of a GPU")) == bool(divides[row] and not fits[row])


def test_reasons_name_what_does_not_divide(default):
    design = {
        "tensor": 2,
        "pipeline": 4,
        "microbatch": 1,
        "interleaving": 4,
        "recompute": "full",
        "tensor_communication": "all_reduce",
        "fuse_activation": True,
        "shard_optimizer": True,
        "overlap_data": True,
    }

    def why(**changes):
        found = default.evaluate({name: np.array([v]) for name, v in {**design, **changes}.items()})
        return found["failure"][0] if "failure" in found else ""

    assert why() == ""
    assert why(interleaving=8) == "interleaving 8 does not divide 12 blocks per stage"
    assert why(pipeline=1) == "interleaving 4 needs pipeline > 1"
    assert why(tensor=8, pipeline=32) == "tensor 8 x pipeline 32 does not divide 64 GPUs"
    assert "microbatch 16" not in why(microbatch=16)
    assert "GiB do not fit the 80 GiB" in why(microbatch=16, recompute="none", shard_optimizer=False)


def test_plans_without_what_has_no_meaning_are_equal_in_the_model(default):
    rows = default.encoding.all_plans({})
    options = slice(default.space.names.index("recompute"), None)
    other = rows.copy()
    rng = np.random.default_rng(0)
    other[:, options] = rng.integers(default.space.nvec[options], size=other[:, options].shape)
    other = default.space.canonical(other)
    same = default.canonical(other)
    tensor = default.encoding.column("tensor", other)
    again = default.encoding.column("gather_again", other)
    changed = (same != other).any(axis=1) & ~((tensor == 1) & again)
    alone = tensor * default.encoding.column("pipeline", other) == 64
    assert changed.sum() > 2000 and (changed & alone).any() and (changed & (tensor == 1)).any()
    raw, canonical = (
        simulate(default.model, default.cluster, default.encoding.plans(each[changed]))
        for each in (other, same)
    )
    for name, column in raw.items():
        np.testing.assert_allclose(column, canonical[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("arguments", [{}, {"model": "530B", "gpus": 280, "batch": 280}])
def test_plans_built_within_the_masks_divide(arguments):
    simulator = Parallelism(**arguments)
    rng, rows = np.random.default_rng(0), np.zeros((200, len(simulator.space)), np.int64)
    for p in range(len(simulator.space)):
        masks = simulator.masks(rows, p)
        rows[:, p] = [rng.choice(np.flatnonzero(mask)) for mask in masks]
    assert np.isfinite(simulator.evaluate_indices(rows)["step_time_s"]).all()


@settings(max_examples=25, deadline=None)
@given(
    capacities=st.lists(st.floats(1.0, 500.0), min_size=2, max_size=2, unique=True),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_plan_with_more_memory_fits_where_one_with_less_does_not(capacities, seed):
    simulator = Parallelism(gpus=16, batch=64, cluster_choices={"hbm_gib": capacities})
    plans = simulator.encoding.all_plans({})
    plans = plans[np.random.default_rng(seed).choice(len(plans), 50, replace=False)]
    small, large = (simulator.evaluate_indices(simulator.encoding.on(plans, {"hbm_gib": i})) for i in (0, 1))
    assert not (small["feasible"] & ~large["feasible"]).any()
    for found in (small, large):
        fits, needed = found["feasible"], found["memory_bytes"]
        assert fits.all() or not fits.any() or needed[fits].max() < needed[~fits].min()
    np.testing.assert_array_equal(small["step_time_s"], large["step_time_s"])


# --- optima ---


@pytest.mark.parametrize(
    ("model", "gpus", "plans", "seconds"),
    [
        ("22B", 64, 35112, 11.811),
        ("175B", 1024, 72864, 15.812),
        ("530B", 2240, 46552, 28.897),
        ("1T", 3072, 83864, 57.651),
    ],
)
def test_the_four_best_plans_of_calculon(model, gpus, plans, seconds):
    """Enumerated in Calculon's form, stages and replicas on InfiniBand."""
    size, cluster = load_model(model), load_cluster("a100")
    columns = enumerate_plans(size, cluster, gpus, BATCHES[model])
    assert len(columns["tensor"]) == plans
    networks = {"pipeline_network": 1, "data_network": 1}
    found = simulate(size, cluster, {**columns, **networks}, literal=True)
    best = found["step_time_s"][found["memory_bytes"] <= cluster.hbm_bytes].min()
    assert best == pytest.approx(seconds, abs=5e-4)
    # the environment's form is the corrected one, and stages use NVLink where they fit beside tensors
    simulator = Parallelism(model, gpus)
    own = simulator.evaluate_indices(simulator.optimum(FASTEST)[None])["step_time_s"][0]
    assert own == pytest.approx(11.229 if model == "22B" else seconds, rel=1e-4)


@pytest.mark.parametrize(
    "goal",
    [
        FASTEST,
        Objective(Minimize("memory_bytes"), AtMost("step_time_s", 2.0)),
        Objective(Maximize("mfu"), AtMost("memory_bytes", 6e10)),
        Objective(Minimize("exposed_communication"), form="linear"),
        Objective(Minimize("energy_j"), Minimize("memory_bytes", 0.5)),
    ],
)
def test_the_optimum_is_that_of_the_whole_space(goal):
    simulator = Parallelism(gpus=8, batch=8)
    whole = find_optimum(simulator, goal)
    names = [metric.name for metric in simulator.metrics]
    assert whole.designs > whole.feasible > 0 and whole.percentile(whole.best_reward) == 100
    found = simulator.evaluate_indices(simulator.optimum(goal)[None])
    reward = goal({name: found[name] for name in names}, found["feasible"]).reward[0]
    assert reward == pytest.approx(whole.best_reward, rel=1e-12, abs=1e-12)


def test_no_plan_is_the_best_where_none_is_valid():
    assert (
        Parallelism(gpus=8, batch=8).optimum(Objective(Minimize("step_time_s"), AtMost("mfu", 1e-6))) is None
    )
    assert Parallelism("1T", gpus=8, batch=8).optimum(FASTEST) is None


@pytest.mark.parametrize(
    "goal",
    [
        Objective(Minimize("step_time_s"), AtMost("price", 12.1)),
        Objective(Minimize("step_time_s"), Minimize("price")),
        Objective(Minimize("price"), AtMost("step_time_s", 1.5)),
        Objective(Maximize("mfu"), AtMost("price", 20.0), AtLeast("tokens_s", 1.5e4)),
        Objective(Minimize("energy_j"), AtMost("memory_bytes", 5e10), reference={"energy_j": 1e4}),
    ],
)
def test_the_best_cluster_with_its_plan_is_that_of_brute_force(goal):
    simulator = Parallelism(cluster_choices=CLUSTERS, **SMALL)
    rewards = goal(*brute_force())
    found = simulator.evaluate_indices(simulator.optimum(goal)[None])
    reward = goal({name: found[name] for name in goal.metrics}, found["feasible"]).reward[0]
    best = rewards.reward[rewards.valid].max()
    assert abs(best) < 9 and reward == pytest.approx(best, rel=1e-12, abs=1e-12)


@cache
def brute_force():
    """Metrics of all plans on all small clusters."""
    simulator = Parallelism(cluster_choices=CLUSTERS, **SMALL)
    rows = simulator.space.from_ordinal(np.arange(simulator.space.size))
    columns = simulator.evaluate_indices(rows)
    feasible = columns["feasible"]
    return {m.name: np.where(feasible, columns[m.name], 1.0) for m in simulator.metrics}, feasible


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(GROWING),
    factor=st.floats(1.01, 30.0),
    gpus=st.sampled_from([8, 48, 64]),
    microbatches=st.sampled_from([1, 2, 3, 8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_field_that_grows_makes_a_step_slower(name, factor, gpus, microbatches, seed):
    """On which the bounds of clusters rest."""
    own = {"link_gb_s": 300, "nic_gb_s": 25, "hbm_gib": 80, "hbm_gb_s": 2048, "matrix_tflops": 312}
    rng = np.random.default_rng(seed)
    choices = {field: [value, value * factor] for field, value in own.items()}
    simulator = Parallelism(gpus=gpus, batch=gpus * microbatches, cluster_choices=choices)
    plans = simulator.encoding.all_plans({})
    plans = plans[rng.choice(len(plans), 300)]
    fields = [simulator.space.names.index(f"cluster_{field}") for field in own]
    plans[:, fields] = rng.integers(2, size=(300, len(fields)))
    slow, fast = (simulator.evaluate_indices(simulator.encoding.on(plans, {name: i})) for i in (0, 1))
    assert (fast["step_time_s"] <= slow["step_time_s"] * (1 + 1e-12)).all()
    np.testing.assert_array_equal(fast["memory_bytes"], slow["memory_bytes"])
    assert (fast["price"] > slow["price"]).all() and (fast["feasible"] >= slow["feasible"]).all()


def test_bounds_are_not_used_for_what_they_do_not_bound():
    simulator = Parallelism(cluster_choices=CLUSTERS, **SMALL)
    assert simulator.optimum(FASTEST) is not None
    assert Parallelism(cluster_choices=CLUSTERS, literal=True, **SMALL).optimum(FASTEST) is None
    assert simulator.optimum(Objective(Minimize("bubble"))) is None
    assert simulator.optimum(Objective(Maximize("price"))) is None
    faster = Parallelism(cluster_choices={"matrix_tflops": [312, 624]}, **SMALL)
    assert faster.optimum(Objective(Maximize("mfu"))) is None
    assert faster.optimum(FASTEST) is not None


# --- clusters, models and prices ---


def test_the_price_of_an_a100_is_one_and_every_part_adds_to_it():
    a100 = {"gpus": 64, "link_gpus": 8, "link_gb_s": 300, "nic_gb_s": 25, "hbm_gib": 80, "hbm_gb_s": 2048}
    a100["matrix_tflops"] = 312
    assert sum(PRICES.values()) == pytest.approx(1) and price(a100, PRICES) == pytest.approx(64)
    for name in a100:
        assert price({**a100, name: 2 * a100[name]}, PRICES) > price(a100, PRICES), name


def test_prices_change_the_best_cluster():
    within = Objective(Minimize("step_time_s"), AtMost("price", 14.0))

    def network(**prices):
        simulator = Parallelism(cluster_choices=CLUSTERS, prices=prices, **SMALL)
        return simulator.space.design(simulator.optimum(within))["cluster_nic_gb_s"]

    assert network(nic_gb_s=0.0) == 100 and network(nic_gb_s=1.0) == 5


def test_a_cluster_that_is_chosen_equals_the_cluster_itself():
    h100 = load_cluster("h100")
    chosen = Parallelism(system="h100", cluster_choices={"gpus": [32, 64], "nic_gb_s": [10, 50]})
    alone = Parallelism(system="h100", gpus=32, pipelines=chosen.encoding.values["pipeline"].tolist())
    assert chosen.space.names[2:] == alone.space.names and h100.networks[-1].gb_s == 50
    rows = alone.encoding.all_plans({})[::50]
    first, second = (
        alone.evaluate_indices(rows),
        chosen.evaluate_indices(np.insert(rows, 0, [[0], [1]], axis=1)),
    )
    for metric in alone.metrics:
        np.testing.assert_allclose(first[metric.name], second[metric.name], rtol=1e-12)
    assert (second["gpus"] == 32).all()


def test_metrics_follow_the_cluster(tmp_path):
    system = json.loads((FOLDER / "a100.json").read_text())
    del system["power_w"]
    (tmp_path / "mine.json").write_text(json.dumps(system))
    names = [metric.name for metric in Parallelism(system=str(tmp_path / "mine.json")).metrics]
    assert "energy_j" not in names and "gpus" not in names and "price" not in names
    assert Parallelism().specification != Parallelism(system=str(tmp_path / "mine.json")).specification


def test_a_model_and_a_batch_of_your_own(tmp_path):
    path = tmp_path / "tiny.json"
    sizes = {"hidden": 1024, "feedforward": 4096, "sequence": 512, "heads": 16, "head_size": 64, "blocks": 24}
    path.write_text(json.dumps({"format": "archgym-language-model/1", **sizes}))
    with pytest.raises(ArchGymError, match=r"expected batch.*pass batch=512"):
        Parallelism(str(path))
    simulator = Parallelism(str(path), gpus=8, batch=64)
    found = simulator.evaluate_indices(simulator.optimum(FASTEST)[None])
    flop = 6 * 512 * 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096 + 2 * 512 * 1024)
    assert found["mfu"][0] == pytest.approx(64 * flop / (8 * 312e12 * found["step_time_s"][0]))
    assert found["tokens_s"][0] == pytest.approx(64 * 512 / found["step_time_s"][0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": "22b"}, "unknown language model.*22B"),
        ({"model": "missing.json"}, "missing.json"),
        ({"system": "a1000"}, "unknown cluster.*a100"),
        ({"gpus": 0}, "expected gpus as a whole number >= 1, got 0"),
        ({"gpus": -8}, "expected gpus"),
        ({"gpus": 7.5}, "expected gpus"),
        ({"batch": 0}, "expected batch"),
        ({"gpus": 64, "batch": 7, "pipelines": [2]}, "no plan divides 64 GPUs, 48 blocks and a batch of 7"),
        ({"pipelines": 4}, "expected pipelines as a list"),
        ({"tensors": []}, "expected tensors as a list"),
        ({"interleavings": [0]}, "every value of interleavings"),
        ({"prices": {"gpu": 1}}, "expected cluster_choices with prices"),
        ({"cluster_choices": {"hbm": [1]}}, "unknown field of cluster_choices"),
        ({"cluster_choices": {"hbm_gib": 80}}, "expected a list of values of hbm_gib"),
        ({"cluster_choices": {"nic_gb_s": [0]}}, "expected positive values of nic_gb_s"),
        ({"cluster_choices": {"gpus": [8, 0]}}, "expected gpus"),
        ({"cluster_choices": {"gpus": [8]}, "prices": {"nic": 1}}, "unknown part of the price"),
        ({"cluster_choices": {"gpus": [8]}, "prices": {"gpu": -1}}, "weight >= 0"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, says):
    with pytest.raises(ArchGymError, match=says) as caught:
        Parallelism(**arguments)
    assert "\n" not in str(caught.value)


# --- the objective ---


def test_goals_and_limits_name_metrics_in_their_direction(default):
    found = objective(default, goal="mfu", limits={"memory_bytes": 6e10, "tokens_s": 5e4})
    assert found.terms == (Maximize("mfu"),)
    assert set(found.constraints) == {AtMost("memory_bytes", 6e10), AtLeast("tokens_s", 5e4)}
    assert set(references(default)) == {metric.name for metric in default.metrics}
    for wrong in ({"goal": "price"}, {"goal": "bubble"}, {"limits": {"speed": 1}}, {"limits": {"mfu": -1}}):
        with pytest.raises(ArchGymError):
            objective(default, **wrong)
    with pytest.raises(ArchGymError, match="expected limits such as"):
        objective(default, limits=[1])


@pytest.mark.parametrize("preset", PRESETS)
def test_references_are_near_the_best_design(preset):
    env = gymnasium.make(ENV, preset=preset).unwrapped
    best = env.simulator.evaluate_indices(env.simulator.optimum(env.objective)[None])
    assert best["feasible"].all()
    for name, reference in references(env.simulator).items():
        assert name in ("bubble", "exposed_communication") or 0.1 < best[name][0] / reference < 10, name
