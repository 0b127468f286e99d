"""Co-design: what a design costs is what its network costs on its chip, and the optimum among candidates
is that of brute force.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nas_toys import toy_table

import archgym
from archgym import ArchGymError, AtLeast, AtMost, Cached, Maximize, Minimize, Objective, Target, find_optimum
from archgym.envs.co_design import PRESETS, SPECS
from archgym.optimum import load_optimum, stored_optimum, to_enumerate
from archgym.registry import get_task
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.model import Accelerator, LayerModel
from archgym.simulators.accelerator.workloads import Workload
from archgym.simulators.co_design import CoDesign
from archgym.simulators.nas import tables
from archgym.simulators.nas.cells import CELL_SPACE, all_cells, convolutions
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.table import save_table
from archgym.testing import check_env, check_simulator

ENV = "archgym/CoDesign-v0"
SMALL = {  # all of it but dataflows, buffers and clocks
    "rows": 16,
    "cols": 64,
    "l1_bytes": 256,
    "buffer_kb": 64,
    "noc_bytes_per_cycle": 64,
    "dram_gb_s": 32,
    "precision": "fp16",
    "double_buffering": True,
    "clock_mhz": 800,
}
shipped = pytest.mark.skipif(
    not (Path(tables.__file__).parent / "tables" / "digits-0.5.npz").is_file(),
    reason="the table of the digits does not ship yet",
)


@pytest.fixture(autouse=True, scope="module")
def toys(tmp_path_factory):
    """Tables of a data folder of its own: `toy`, `toy-imagenet` and `toy-untimed`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHGYM_HOME", str(tmp_path_factory.mktemp("home")))
        save_table(toy_table("toy"))
        save_table(toy_table("toy-imagenet", network="imagenet16-120"))
        save_table(replace(toy_table("toy-untimed"), train_seconds=None))
        yield


def designs(simulator: CoDesign, n: int, seed: int = 0) -> np.ndarray:
    return simulator.space.sample(n, np.random.default_rng(seed))


# --- what a design costs ---


@pytest.mark.parametrize(
    ("dataset", "deploy", "network"),
    [
        ("toy", "dataset", "digits"),
        ("toy", "cifar", "cifar10"),
        ("toy-imagenet", "dataset", "imagenet16-120"),
    ],
)
@pytest.mark.parametrize("technology", ["45nm", "65nm"])
def test_a_design_costs_what_its_own_network_costs_on_its_own_chip(dataset, deploy, network, technology):
    simulator = CoDesign(dataset, deploy, technology=technology, fixed={})
    indices = designs(simulator, 40)
    indices[0, :6] = 0  # no convolution at all
    found = simulator.evaluate_indices(indices)
    for row, design in enumerate(indices):
        layers = get_network(network).layers(design[:6])
        alone = Accelerator(Workload("cell", "", "", None, layers), technology).evaluate_indices(
            design[None, 6:]
        )
        assert bool(alone["feasible"][0]) == bool(found["feasible"][row])
        for name in ("latency_s", "energy_j", "area_mm2", "power_w", "edp"):
            assert found[name][row] == pytest.approx(alone[name][0], rel=1e-12), name
        assert found["macs"][row] == sum(layer.macs for layer in layers)
        assert found["params"][row] == get_network(network).costs(design[None, :6])["params"][0]


def test_accuracies_are_the_tables_whatever_is_deployed():
    table = tables.load_table("toy")
    for deploy in ("dataset", "cifar"):
        simulator = CoDesign("toy", deploy, epochs=4, seed=1)
        indices = designs(simulator, 300)
        found, row = simulator.evaluate_indices(indices), table.row[CELL_SPACE.to_ordinal(indices[:, :6])]
        np.testing.assert_allclose(found["valid_accuracy"], table.valid_accuracy[row, 1, 1])
        np.testing.assert_allclose(found["test_accuracy"], table.test_accuracy[row, 1])
        np.testing.assert_allclose(found["train_seconds"], table.train_seconds[row, 1])


def test_metrics_are_those_that_the_table_has():
    names = [metric.name for metric in CoDesign("toy-untimed").metrics]
    assert names == [
        "valid_accuracy",
        "test_accuracy",
        "latency_s",
        "energy_j",
        "area_mm2",
        "power_w",
        "edp",
        "params",
        "macs",
    ]
    assert [metric.name for metric in CoDesign("toy").metrics] == [*names, "train_seconds"]
    assert [metric.name for metric in CoDesign("toy").metrics if metric.report_only] == ["test_accuracy"]


def test_a_layer_that_is_not_there_need_not_fit_and_costs_nothing():
    small, large = Layer.gemm("small", 64, 16, 16), Layer("large", "conv", 3, 16, 400, 400, 3, 300)
    model = LayerModel((small, large), load_energy_table("45nm"))
    chips = Accelerator(
        Workload("one", "", "", None, (small,)),
        fixed={"dataflow": "eyeriss", "l1_bytes": 32, "precision": "fp32"},
    )
    chip = chips.space.decode(chips.space.sample(20, np.random.default_rng(0)))
    chip["buffer_kb"] = np.full(20, 16)
    costs = model.costs(chip)
    assert costs.fits[:, 0].all() and not costs.fits[:, 1].any()
    absent = model.totals(chip, costs, np.tile([1, 0], (20, 1)))
    present = model.totals(chip, costs, np.tile([1, 1], (20, 1)))
    alone = chips.evaluate_indices(chips.space.encode(chip))
    assert absent["feasible"].all() and "failure" not in absent
    assert not present["feasible"].any() and all("large" in reason for reason in present["failure"])
    for name in ("latency_s", "energy_j", "area_mm2"):
        np.testing.assert_allclose(absent[name], alone[name], rtol=1e-12)


def test_every_chip_runs_every_network():
    """As the documentation of the environment says; that of 3x3 convolutions everywhere has every layer
    but the 1x1.
    """
    for deploy in ("dataset", "cifar"):
        simulator = CoDesign(
            "toy", deploy, fixed={"noc_bytes_per_cycle": 16, "dram_gb_s": 4, "clock_mhz": 200}
        )
        smallest = {"buffer_kb": 16, "l1_bytes": 32, "precision": "fp32", "double_buffering": True}
        chips = np.concatenate(list(CoDesign("toy", deploy, fixed=smallest).chips.enumerate()))[::7]
        chip = CoDesign("toy", deploy, fixed=smallest).chips.decode(chips)
        assert simulator.model.costs(chip).fits.all()


def test_cells_of_one_function_and_cost_are_the_same_design():
    simulator = CoDesign("toy")
    indices = designs(simulator, 500)
    first = simulator.canonical(indices)
    assert (simulator.canonical(first) == first).all() and (first != indices).any()
    assert (first[:, 6:] == indices[:, 6:]).all() and (
        first[:, :6] == simulator.cells.canonical(indices[:, :6])
    ).all()
    before, after = simulator.evaluate_indices(indices), simulator.evaluate_indices(first)
    for metric in simulator.metrics:
        np.testing.assert_array_equal(before[metric.name], after[metric.name])


def test_it_keeps_the_contract():
    check_simulator(CoDesign("toy"))
    check_simulator(CoDesign("toy", "cifar", seed="random"))


def test_what_results_depend_on_is_in_the_specification():
    specification = CoDesign("toy").specification
    assert (
        specification["network"] == "digits"
        and CoDesign("toy", "cifar").specification["network"] == "cifar10"
    )
    assert specification["accuracies"] == tables.load_table("toy").digest
    assert specification["energies"] != CoDesign("toy", technology="65nm").specification["energies"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "toys"}, "toy"),
        ({"dataset": "nats-cifar10"}, "archgym data import nats-bench"),
        ({"deploy": "cifar10"}, "cifar"),
        ({"epochs": 3}, "budget"),
        ({"seed": 7}, "seed"),
        ({"technology": "44nm"}, "45nm"),
        ({"fixed": {"precission": "fp16"}}, "precision"),
        ({"fixed": {"precision": "fp8"}}, "fp16"),
        ({"specs": "loose"}, "edge"),
        ({"specs": ["latency_s"]}, "mapping of limits"),
        ({"specs": {"latency": 1.0}}, "latency_s"),
        ({"specs": {"latency_s": 0}}, "positive"),
        ({"specs": None, "accuracy_weight": 0}, "positive"),
        ({"form": "linear"}, "nasaic"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_do(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        get_task(ENV).build(**{"dataset": "toy", **arguments})


# --- the environment ---


def test_the_environment_keeps_the_contract():
    check_env(ENV, dataset="toy")
    for preset in PRESETS:
        env = gymnasium.make(ENV, preset=preset, dataset="toy")
        assert env.unwrapped.simulator.network.name == ("cifar10" if preset == "cifar" else "digits")


@pytest.mark.parametrize("deploy", ["dataset", "cifar"])
@pytest.mark.parametrize("dataset", ["toy", "toy-imagenet"])
@pytest.mark.parametrize("level", ["edge", "tight"])
def test_specs_are_met_by_a_few_random_designs_and_references_are_near_their_median(dataset, deploy, level):
    simulator, objective = get_task(ENV).build(dataset=dataset, deploy=deploy, specs=level)
    columns = simulator.evaluate_indices(designs(simulator, 20_000))
    share = objective(columns, columns["feasible"]).valid.mean()
    assert (1 / 25 if level == "edge" else 1 / 100) < share < (1 / 15 if level == "edge" else 1 / 50)
    for name in ("latency_s", "energy_j", "area_mm2", "power_w", "edp", "params", "macs", "train_seconds"):
        assert 0.4 < np.median(columns[name]) / objective.reference[name] < 2.5, name
    assert objective.metrics == ("valid_accuracy", *SPECS[simulator.network.name][level])


def test_the_reward_is_accuracy_less_a_penalty_within_specs_and_a_trade_off_without():
    simulator, objective = get_task(ENV).build(dataset="toy", specs={"power_w": 0.3, "area_mm2": 20.0})
    columns = simulator.evaluate_indices(designs(simulator, 1000))
    over = sum(
        np.maximum(columns[name] / limit - 1, 0) / 3 for name, limit in (("power_w", 0.3), ("area_mm2", 20.0))
    )
    np.testing.assert_allclose(
        objective(columns, columns["feasible"]).reward, np.maximum(columns["valid_accuracy"] - 10 * over, -10)
    )
    _, objective = get_task(ENV).build(dataset="toy", specs={"power_w": 0.3}, form="log")
    excess = np.log(np.maximum(columns["power_w"] / 0.3, 1))
    expected = np.log(columns["valid_accuracy"] / objective.reference["valid_accuracy"]) - excess
    np.testing.assert_allclose(objective(columns, columns["feasible"]).reward, expected)
    _, objective = get_task(ENV).build(dataset="toy", specs=None, accuracy_weight=4.0)
    median, edp = (objective.reference[name] for name in ("valid_accuracy", "edp"))
    expected = 4 * np.log(columns["valid_accuracy"] / median) - np.log(columns["edp"] / edp)
    np.testing.assert_allclose(objective(columns, columns["feasible"]).reward, np.clip(expected, -10, 10))


def test_a_search_meets_the_specs():
    result = archgym.search(ENV, "genetic", budget=1500, env_kwargs={"dataset": "toy", "preset": "tight"})
    assert result.best_metrics is not None
    assert all(result.best_metrics[name] <= limit for name, limit in SPECS["digits"]["tight"].items())


@shipped
def test_the_default_task_needs_nothing_but_the_package():
    env = gymnasium.make(ENV)
    assert env.unwrapped.simulator.space.size == 76_545_000_000 and env.unwrapped.objective.form == "nasaic"


# --- the optimum ---

OBJECTIVES = [
    Objective(Maximize("valid_accuracy"), AtMost("latency_s", 3e-6), AtMost("energy_j", 3e-6), form="nasaic"),
    Objective(Maximize("valid_accuracy"), AtMost("power_w", 0.2), AtMost("latency_s", 1e-5)),
    Objective(Maximize("valid_accuracy", 10.0), Minimize("edp")),
    Objective(Maximize("valid_accuracy", 3.0), Minimize("power_w", 0.5), Minimize("area_mm2")),
    Objective(
        Maximize("valid_accuracy", 30.0),
        Minimize("macs"),
        AtLeast("valid_accuracy", 0.45),
        AtMost("area_mm2", 4.0),
    ),
    Objective(Maximize("valid_accuracy"), Maximize("params", 0.1), AtMost("energy_j", 5e-6)),
    Objective(Target("macs", 200_000.0), AtLeast("valid_accuracy", 0.42)),
    Objective(Target("energy_j", 2e-6), Target("latency_s", 5e-6), form="archgym"),
    Objective(Minimize("latency_s"), AtMost("latency_s", 1e-9)),  # which no design meets
]


@pytest.fixture(scope="module", params=["dataset", "cifar"])
def every_design(request):
    """A simulator of few chips, and all of its designs evaluated."""
    simulator = CoDesign(
        "toy", request.param, fixed={name: value for name, value in SMALL.items() if name != "buffer_kb"}
    )
    indices = next(simulator.space.enumerate(simulator.space.size))
    return simulator, simulator.evaluate_indices(indices)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=range(len(OBJECTIVES)))
def test_the_optimum_among_candidates_is_that_of_brute_force(every_design, objective):
    simulator, columns = every_design
    scale = 1.0 if simulator.network.name == "digits" else 100.0  # of costs
    constraints = [
        replace(c, limit=scale * c.limit) if c.metric in ("latency_s", "energy_j") else c
        for c in objective.constraints
    ]
    objective = Objective(*objective.terms, *constraints, form=objective.form)
    reward, valid = objective(columns, columns["feasible"])
    candidates = simulator.candidates(objective)
    assert candidates is not None and candidates.size <= 28 * simulator.chips.size
    found = find_optimum(simulator, objective, limit=candidates.size)
    if not valid.any():
        assert found.best_reward is None
        return
    assert found.best_reward == pytest.approx(reward[valid].max(), abs=1e-12)
    assert (
        found.designs is None
        and found.percentile(found.best_reward) is None
        and found.regret(found.best_reward) == 0
    )


@given(st.sampled_from(OBJECTIVES), st.integers(1, 300))
@settings(max_examples=20)
def test_candidates_are_named_once_in_chunks_of_any_size(objective, chunk):
    simulator = CoDesign("toy", fixed={**SMALL, "rows": 8})
    candidates = simulator.candidates(objective)
    parts = list(candidates.enumerate(chunk))
    assert all(0 < len(part) <= chunk for part in parts)
    rows = np.concatenate(parts)
    assert len(rows) == candidates.size == len(np.unique(rows, axis=0))
    assert (rows >= 0).all() and (rows < simulator.space.nvec).all()


def test_costs_grow_with_convolutions_on_every_chip():
    """What leaving out beaten cells rests on; power does not grow, so that objectives of it keep all 28."""
    simulator = CoDesign("toy")
    assert simulator.candidates(OBJECTIVES[1]).size == 28 * simulator.chips.size
    chips = simulator.chips.sample(300, np.random.default_rng(1))
    cells = simulator._best_cells(frugal=False)
    counts = convolutions(cells)
    columns = simulator.evaluate_indices(
        np.concatenate([np.repeat(cells, 300, axis=0), np.tile(chips, (28, 1))], axis=1)
    )
    fewer = (counts[:, None] <= counts[None]).all(axis=2)
    for name in ("latency_s", "energy_j", "edp", "params", "macs"):
        column = columns[name].reshape(28, 300)
        assert (column[:, None] <= column[None])[fewer].all(), name
    power = columns["power_w"].reshape(28, 300)
    assert not (power[:, None] <= power[None])[fewer].all()


def test_the_cells_of_candidates_are_the_best_of_their_counts():
    simulator = CoDesign("toy")
    accuracy = simulator.cells.evaluate_indices(all_cells())["valid_accuracy"]
    counts = convolutions(all_cells())
    cells = simulator._best_cells(frugal=False)
    assert len(cells) == 28
    for cell, (n1, n3) in zip(CELL_SPACE.to_ordinal(cells), convolutions(cells), strict=True):
        assert accuracy[cell] == accuracy[(counts == [n1, n3]).all(axis=1)].max()
    frugal = simulator._best_cells(frugal=True)
    kept = {tuple(cell) for cell in frugal.tolist()}
    assert 1 < len(frugal) < 28 and kept <= {tuple(cell) for cell in cells.tolist()}


@pytest.mark.parametrize(
    "objective",
    [
        Objective(Minimize("valid_accuracy")),
        Objective(Maximize("valid_accuracy", -1.0), Minimize("edp")),
        Objective(Target("valid_accuracy", 0.4)),
        Objective(Minimize("edp"), AtMost("valid_accuracy", 0.4)),
        Objective(Maximize("valid_accuracy"), Minimize("train_seconds", 0.1)),
        Objective(Maximize("valid_accuracy"), AtMost("train_seconds", 2.0)),
        Objective(Maximize("test_accuracy")),
    ],
)
def test_where_other_cells_may_be_optimal_no_candidates_are_named(objective):
    simulator = CoDesign("toy")
    assert simulator.candidates(objective) is None and to_enumerate(simulator, objective) is None
    with pytest.raises(ArchGymError, match="76,545,000,000"):
        find_optimum(simulator, objective)


def test_candidates_that_are_too_many_are_counted():
    simulator = CoDesign("toy")
    assert simulator.candidates(OBJECTIVES[1]).size > 100_000_000
    with pytest.raises(ArchGymError, match="137,168,640 of them candidates"):
        find_optimum(simulator, OBJECTIVES[1])


def test_the_noise_of_a_single_training_leaves_no_exact_optimum():
    simulator = CoDesign("toy", seed="random", fixed=SMALL)
    assert simulator.candidates(OBJECTIVES[0]) is None
    with pytest.raises(ArchGymError, match="noisy"):
        find_optimum(simulator, OBJECTIVES[0])


# 13,608 chips
FEW = {
    name: value for name, value in SMALL.items() if name not in ("rows", "l1_bytes", "buffer_kb", "dram_gb_s")
}


def test_an_optimum_among_candidates_is_stored_and_read_again():
    simulator, objective = get_task(ENV).build(dataset="toy", fixed=FEW)
    assert simulator.space.size > 100_000_000
    seen = []
    found = stored_optimum(
        Cached(simulator), objective, progress=lambda what, share: seen.append((what, share))
    )
    assert (
        seen[-1] == (f"enumerating {simulator.candidates(objective).size:,} designs", 1.0)
        and found.best_design is not None
    )
    again = load_optimum(simulator, objective)
    assert (
        np.array_equal(again.indices, found.indices)
        and again.at_most is None
        and again.best_reward == found.best_reward
    )
    columns = simulator.evaluate_indices(designs(simulator, 50_000))
    reward, valid = objective(columns, columns["feasible"])
    assert valid.any() and reward[valid].max() <= found.best_reward


def test_the_program_finds_stores_and_uses_it(program):
    arguments = ["--set", "dataset=toy", "--set", "preset=tight", "--set", f"fixed={json.dumps(FEW)}"]
    search = ["search", ENV, "random", "--budget", 2000, *arguments]
    before = program(*search)
    assert before.returncode == 0 and "archgym optimum" in before.stdout
    shown = program("optimum", ENV, *arguments)
    assert shown.returncode == 0 and "one of" in shown.stdout, shown.stdout + shown.stderr
    after = program(*search)
    assert after.returncode == 0 and "Regret" in after.stdout and "Percentile" not in after.stdout
