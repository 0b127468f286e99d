"""What agents see of a context: features of simulators; and the sets of contexts that ship."""

from __future__ import annotations

import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym import ArchGymError, DesignSpace, Integer, Metric, Simulator
from archgym.registry import get_task, list_envs
from archgym.simulator_wrappers import Noisy, Tabulated
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import list_workloads, load_workload
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.simulators.accelerator.workloads.files import first_name

ENVS = sorted(env for env in list_envs() if env.startswith("archgym/"))


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
