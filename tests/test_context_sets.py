"""What agents see of a context: features of simulators; and the sets of contexts that ship."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import ENVS as MADE_WITHOUT_ARGUMENTS
from hypothesis import given
from hypothesis import strategies as st

from archgym import ArchGymError, DesignSpace, Integer, Metric, Minimize, Objective, Simulator
from archgym.envs.contexts import accelerator as accelerator_contexts
from archgym.optimum import Optimum
from archgym.processes.exits import INTERRUPTED
from archgym.registry import get_task
from archgym.simulator_wrappers import Noisy, Tabulated
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import first_name, list_workloads, load_workload
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.simulators.softmax.workloads import SHAPES

ENVS = sorted(env for env in MADE_WITHOUT_ARGUMENTS if env.startswith("archgym/"))


class Plain(Simulator):
    """A simulator of any arguments."""

    space, metrics = DesignSpace([Integer("x", 0, 3)]), (Metric("y"),)

    def __init__(self, size=8, fast=True, mode="a", limit=None, **more):
        pass

    def evaluate(self, designs, rng=None):
        return {"y": designs["x"] + 1.0, "feasible": np.ones(len(designs["x"]), bool)}


# --- features of arguments ---


def test_arguments_are_features_with_their_defaults():
    assert Plain().context_features() == {"size": 3.0, "fast": 1.0, "mode=a": 1.0, "limit=None": 1.0}
    assert Plain(8, mode="a").context_features() == Plain().context_features()
    assert Plain(0.5, fast=False, limit=-3).context_features() == {
        "size": -1.0, "fast": 0.0, "mode=a": 1.0, "limit": -2.0,
    }  # fmt: skip


def test_numbers_of_any_type_and_size_are_features():
    for value in (np.int8(-128), np.float32(-128), -128):
        assert Plain(value).context_features()["size"] == -math.log2(129)
    assert Plain(2**5000, np.True_).context_features() == {**Plain(1).context_features(), "size": 5000.0}
    assert Plain(0).context_features()["size"] == 0.0


def test_items_of_lists_and_mappings_are_features():
    found = Plain(limit=[2, {"power": 4, "word": "w"}], path=Path("a/b"), most=math.inf).context_features()
    assert {name: found[name] for name in found if name not in ("size", "fast", "mode=a")} == {
        "limit.0": 1.0, "limit.1.power": 2.0, "limit.1.word=w": 1.0, "more.path=a/b": 1.0, "more.most=inf": 1.0,
    }  # fmt: skip


def test_other_objects_differ_by_their_content():
    one, same, other = (
        Plain(limit=array).context_features() for array in (np.arange(3), np.arange(3), np.arange(4))
    )
    assert one == same != other


def test_wrappers_have_the_features_of_the_simulator_inside():
    for wrap in (Tabulated, lambda simulator: Noisy(Tabulated(simulator))):
        assert wrap(Plain(32)).context_features() == Plain(32).context_features()


@given(
    st.one_of(
        st.integers(), st.floats(allow_nan=True), st.booleans(), st.none(), st.text(), st.lists(st.integers())
    )
)
def test_features_of_any_argument_are_finite(value):
    found = Plain(limit=value).context_features()
    assert all(type(number) is float and math.isfinite(number) for number in found.values())
    assert found == Plain(limit=value).context_features()


@pytest.mark.parametrize("env", ENVS)
def test_every_environment_has_finite_features_with_stable_names(env):
    task = get_task(env)
    simulator, _ = task.build()
    features = simulator.context_features()
    assert features and all(type(x) is float and math.isfinite(x) for x in features.values())
    assert task.build()[0].context_features() == features


# --- features of layers ---

sizes = st.integers(1, 300)


@st.composite
def any_layer(draw):
    kind, groups = draw(st.sampled_from(["conv", "gemm", "matmul"])), draw(st.sampled_from([1, 1, 2, 12]))
    channels, filters, batch = (draw(sizes) for _ in range(3))
    alike = {"channels": channels * groups, "filters": filters * groups, "groups": groups, "batch": batch}
    if kind != "conv":
        return Layer("l", kind, height=draw(sizes), **alike)
    kernel = [draw(st.integers(1, 11)) for _ in range(2)]
    zeros = [draw(st.integers(0, 6)) for _ in range(2)]
    image = [max(draw(sizes), r - p) for r, p in zip(kernel, zeros, strict=True)]
    return Layer(
        "l",
        kind,
        alike["channels"],
        alike["filters"],
        *image,
        *kernel,
        draw(st.integers(1, 4)),
        *zeros,
        groups,
        batch,
    )


@given(any_layer())
def test_the_features_of_one_layer_determine_its_costs(layer):
    """Every symbol of the model's equations is a function of the features."""
    found = layer_features((layer,))
    size = {name.removeprefix("mean "): round(2**x) for name, x in found.items() if name.startswith("mean ")}
    read = {
        "batch": size["batch"], "c": size["k"] // (size["kernel_h"] * size["kernel_w"]), "k": size["n"],
        "h": size["height"], "w": size["width"], "r": size["kernel_h"], "s": size["kernel_w"],
        "stride": size["stride"], "top": size["zeros_h"] - 1, "left": size["zeros_w"] - 1,
        "e": size["output_h"], "f": size["output_w"], "m": size["m"], "n": size["n"], "kd": size["k"],
        "is_gemm": round(found["share gemm"] + found["share matmul"]), "count": size["groups"], "repeats": 1,
    }  # fmt: skip
    assert read == {name: int(column[0]) for name, column in columns((layer,)).items()}
    assert all(found[f"deviation {name}"] == 0 for name in ("m", "n", "k", "groups", "intensity"))


@given(st.lists(any_layer(), min_size=1, max_size=4))
def test_layers_of_a_network_have_finite_features_in_any_order(layers):
    found = layer_features(tuple(layers))
    assert all(type(x) is float and math.isfinite(x) for x in found.values())
    assert found.keys() == layer_features((Layer("l", "gemm", 1, 1, 1),)).keys()
    assert sum(found[f"share {kind}"] for kind in ("conv", "depthwise", "gemm", "matmul")) == pytest.approx(1)
    assert layer_features(tuple(reversed(layers))) == pytest.approx(found)


def test_repeats_of_a_layer_are_layers_of_a_network():
    once, twice = Layer("l", "gemm", 8, 16, 32), Layer("l", "gemm", 8, 16, 32, repeats=2)
    assert layer_features((twice,)) == layer_features((once, once))


# --- one layer of a network ---


def test_a_layer_of_a_shipped_network_is_a_workload():
    one = load_workload("mobilenet_v2:features.6.conv.1.0")
    (layer,) = one.layers
    assert (layer.name, layer.groups, layer.repeats) == ("features.6.conv.1.0", 192, 1)
    assert one.accuracy is None and one.name == "mobilenet_v2:features.6.conv.1.0"
    env = gymnasium.make("archgym/Accelerator-v0", workload="mobilenet_v2:features.6.conv.1.0")
    assert env.unwrapped.evaluator.simulator.unwrapped.workload == one


def test_a_layer_of_a_file_is_a_workload(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "name,kind,channels,filters,height,repeats\na:b.csv,gemm,3,4,5,\nc,gemm,3,4,5,\nc,gemm,3,4,6,\n"
        "2-3.d8-11,gemm,3,4,7,8\n2-3.e,gemm,3,4,8,1\n"
    )
    assert load_workload(f"{path}:a:b.csv").layers == (Layer("a:b.csv", "gemm", 3, 4, 5),)
    assert load_workload(f"{path}:2.d11").layers == (Layer("2.d11", "gemm", 3, 4, 7),)
    assert load_workload(f"{path}:2-3.e").layers == (Layer("2-3.e", "gemm", 3, 4, 8),)
    for name in ("2.d12", "4.d8", "2.e", "2xd8"):
        with pytest.raises(ArchGymError, match="unknown layer of mine"):
            load_workload(f"{path}:{name}")
    with pytest.raises(ArchGymError, match="mine has 2 layers named 'c'"):
        load_workload(f"{path}:c")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "resnet18:layer1.0.conv3",
            "unknown layer of resnet18 'layer1.0.conv3'; did you mean 'layer1.0.conv1'",
        ),
        ("resnet81:conv1", "unknown workload .*'resnet81'; did you mean 'resnet18'"),
        ("nowhere.csv:conv1", "nowhere.csv"),
    ],
)
def test_an_unknown_layer_is_refused_with_the_nearest(source, message):
    with pytest.raises(ArchGymError, match=message):
        load_workload(source)


def test_layers_of_a_network_add_up_to_it():
    """One layer after the other, each as often as it repeats: cycles, DRAM traffic."""
    designs = Accelerator("resnet18").space.sample(50, np.random.default_rng(0))
    whole = Accelerator("resnet18").evaluate_indices(designs)
    parts = [
        (layer.repeats, Accelerator(f"resnet18:{layer.name}").evaluate_indices(designs))
        for layer in load_workload("resnet18").layers
    ]
    fits = whole["feasible"]
    assert (np.all([part["feasible"] for _, part in parts], axis=0) == fits).all()
    for metric in ("cycles", "dram_bytes"):
        total = sum(repeats * part[metric] for repeats, part in parts)
        np.testing.assert_allclose(total[fits], whole[metric][fits], rtol=1e-9)


def test_every_layer_of_every_shipped_network_can_be_named():
    for network in list_workloads():
        for layer in load_workload(network).layers:
            names = {f"{network}:{name}" for name in (layer.name, first_name(layer))}
            assert {load_workload(name).macs for name in names} == {layer.macs / layer.repeats}


# --- sets ---

SETS = {
    ("archgym/Softmax-v0", "shapes"): 78,
    ("archgym/Accelerator-v0", "layers"): 188,
    ("archgym/Accelerator-v0", "networks"): 17,
    ("archgym/AttentionAccelerator-v0", "sequence_lengths"): 12,
    ("archgym/DramController-v0", "traces"): 30,
    ("archgym/NKLandscape-v0", "landscapes"): 48,
    ("archgym/SoC-v0", "budgets"): 48,
    ("archgym/Parallelism-v0", "cluster_sizes"): 14,
    ("archgym/LogicSynthesis-v0", "random_blocks"): 32,
}


@cache
def evaluator_of(env, contexts):
    return gymnasium.make(env, contexts=contexts).unwrapped.evaluator


def test_these_are_all_sets():
    assert set(SETS) == {(env, name) for env in ENVS for name in get_task(env).contexts}


@pytest.mark.parametrize(("env", "name"), SETS)
def test_contexts_of_a_set_differ_and_have_exact_optima(env, name):
    """One space, the same metrics, a known optimum, and features that tell every context from the others."""
    evaluator = evaluator_of(env, name)
    assert len(evaluator.contexts) == SETS[env, name]
    assert evaluator.exact.all()
    rows = evaluator.feature_rows
    assert np.isfinite(rows).all() and len(np.unique(rows, axis=0)) == len(rows)
    assert {(member.simulator.space, member.simulator.metrics) for member in evaluator.members} == {
        (evaluator.simulator.space, evaluator.simulator.metrics)
    }


@pytest.mark.parametrize(("env", "name"), SETS)
def test_no_valid_design_of_a_sample_is_better_than_the_optimum(env, name):
    evaluator, rng = evaluator_of(env, name), np.random.default_rng(0)
    for context in range(len(evaluator.contexts)):
        found = evaluator.score(evaluator.simulator.space.sample(64, rng), context=context)
        assert found["reward"][found["valid"]].max(initial=-np.inf) <= 1e-9


@pytest.mark.parametrize(("env", "name"), SETS)
def test_the_documentation_of_an_environment_has_its_sets(env, name):
    (point,) = entry_points(group="archgym.envs", name=env)
    section = point.load().__doc__.partition("\n## Contexts\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| {name} |")]
    assert str(SETS[env, name]) in row


def test_softmax_shapes_are_for_every_level_of_the_hierarchy():
    footprints = np.array([8 * shape["rows"] * shape["cols"] for shape in SHAPES])  # x and y
    between = np.histogram(footprints, [0, 32 * 1024, 2 * 1024**2, 32 * 1024**2, np.inf])[0]
    assert between.min() >= 7
    assert sum(shape["cols"] & (shape["cols"] - 1) != 0 for shape in SHAPES) > len(SHAPES) / 2


# --- layers and networks ---


def cost(layer):
    """Everything that the model's equations use of a layer."""
    once = replace(layer, repeats=1)
    return layer.kind, *(int(column[0]) for column in columns((once,)).values())


def test_every_layer_of_every_network_is_in_one_context_with_all_its_networks_as_groups():
    contexts = accelerator_contexts.layers()
    networks = {}
    for network in list_workloads():
        for layer in load_workload(network).layers:
            networks.setdefault(cost(layer), []).append(network)
    found = {
        cost(load_workload(arguments["workload"]).layers[0]): groups
        for arguments, groups in zip(contexts.arguments, contexts.groups, strict=True)
    }
    assert len(found) == len(contexts)
    assert {layer: set(groups) for layer, groups in found.items()} == {
        layer: set(names) for layer, names in networks.items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_held_out_networks_share_no_layer_with_the_others(seed):
    train, test = accelerator_contexts.layers().split(0.3, seed, by="group")
    layers = [{cost(load_workload(name).layers[0]) for name in part.names} for part in (train, test)]
    assert layers[0] and layers[1] and not layers[0] & layers[1]
    held_out = {name for name in list_workloads() if not any(name in groups for groups in train.groups)}
    assert all(held_out & set(groups) for groups in test.groups)


@pytest.mark.parametrize("name", ["layers", "networks"])
def test_shipped_optima_have_the_stored_rewards_and_no_better_neighbour(name):
    evaluator, stored = evaluator_of("archgym/Accelerator-v0", name), accelerator_contexts.read_optima()
    space = evaluator.simulator.space
    for member, context, best in zip(
        evaluator.members, evaluator.contexts.names, evaluator.best, strict=True
    ):
        assert stored[context]["reward"] == pytest.approx(best, rel=1e-12)
        optimum = space.encode(stored[context]["design"])[0]
        neighbours = member.score(space.neighbors(optimum))
        assert neighbours["reward"][neighbours["valid"]].max() <= best


@pytest.mark.parametrize("context", ["resnet50:layer1.0.conv3", "gpt2_decode:h.0.attn.QK"])
def test_a_shipped_optimum_is_the_best_of_a_slice(context):
    """All dataflows, arrays, memories and precisions at the optimum's bandwidths and clock: 69,984 designs."""
    found = accelerator_contexts.read_optima()[context]
    fixed = {name: found["design"][name] for name in ("noc_bytes_per_cycle", "dram_gb_s", "clock_mhz")}
    simulator, objective = get_task("archgym/Accelerator-v0").build(workload=context, fixed=fixed)
    best = -np.inf
    for designs in simulator.space.enumerate(1 << 13):
        outcome = simulator.evaluate_indices(designs)
        rewards = objective(outcome, outcome["feasible"])
        best = max(best, rewards.reward[rewards.valid].max())
    assert simulator.space.size == 69_984
    assert best == pytest.approx(found["reward"], rel=1e-12)


@pytest.mark.parametrize(
    "given", [{"area_mm2": 8.0}, {"area_mm2": 32.0}, {"objective": Objective(Minimize("latency_s"))}]
)
def test_shipped_optima_are_not_used_under_another_objective(given):
    evaluator = gymnasium.make("archgym/Accelerator-v0", contexts="networks", **given).unwrapped.evaluator
    assert not evaluator.exact.any() and not evaluator.best.any()


def test_the_generator_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """Rows that are missing are made anew, one at a time; others stay; the order is that of the contexts."""
    path, shipped = tmp_path / "optima.csv", accelerator_contexts.read_optima()
    names, asked = list(shipped), []
    accelerator_contexts.write_optima({name: shipped[name] for name in names if name not in names[3:6]}, path)

    def find(simulator, objective, chunk):
        asked.append(simulator.workload.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        found = shipped[simulator.workload.name]
        return Optimum(None, found["design"], None, found["reward"], valid=found["valid"])

    monkeypatch.setattr(accelerator_contexts, "find_optimum", find)
    assert accelerator_contexts.main(path) == INTERRUPTED
    assert accelerator_contexts.read_optima(path).keys() == shipped.keys() - set(names[4:6])
    assert accelerator_contexts.main(path) == 0
    assert asked == [names[3], names[4], names[4], names[5]]
    assert path.read_bytes() == accelerator_contexts.FILE.read_bytes()
