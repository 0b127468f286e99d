"""Chips of several sub-accelerators: budgets, symmetry, specs, and the sum of their parts."""

from __future__ import annotations

import numpy as np
import pytest
from schedule_reference import brute_force

import archgym
from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.objective import Maximize, Minimize
from archgym.registry import get_task
from archgym.simulators.accelerator import maestro
from archgym.simulators.accelerator.design import KIB
from archgym.simulators.accelerator.heterogeneous import BANDWIDTH_BUDGET, PE_BUDGET, HeterogeneousAccelerator
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.model import LayerModel
from archgym.simulators.accelerator.workloads import Workload, load_workload
from archgym.testing import check_env, check_simulator


def workload(name: str, *layers: Layer, accuracy: float | None = None) -> Workload:
    return Workload(name, name, "a test", accuracy, layers)


def conv(name: str, channels: int, filters: int, size: int, kernel: int = 3, groups: int = 1) -> Layer:
    return Layer(
        name, "conv", channels, filters, size, size, kernel, kernel, 1, kernel - 1, kernel - 1, groups
    )


SMALL = [
    workload("a", conv("a1", 16, 32, 28), conv("a2", 32, 64, 14), Layer.gemm("a3", 1, 100, 512)),
    workload("b", conv("b1", 64, 64, 14), conv("b2", 64, 64, 14, groups=64), Layer.gemm("b3", 64, 128, 64)),
]


@pytest.fixture(scope="module")
def chips() -> HeterogeneousAccelerator:
    return HeterogeneousAccelerator(SMALL)


def designs(simulator: HeterogeneousAccelerator, n: int, seed: int = 0) -> np.ndarray:
    """Random chips within the budgets."""
    indices = simulator.space.sample(20 * n, np.random.default_rng(seed))
    return indices[simulator.affordable(indices)][:n]


def test_it_keeps_the_contract():
    check_simulator(HeterogeneousAccelerator(SMALL, specs={"latency_s": 1e-3}))
    for preset in ("light", "joint"):
        check_env("archgym/HeterogeneousAccelerator-v0", preset=preset)


def test_budgets_are_what_makes_a_chip_infeasible(chips):
    indices = chips.space.sample(500, np.random.default_rng(1))
    columns = chips.space.decode(indices)
    pes, bandwidth = (
        columns["pes0"] + columns["pes1"],
        columns["bandwidth0_gb_s"] + columns["bandwidth1_gb_s"],
    )
    within = (pes <= PE_BUDGET) & (bandwidth <= BANDWIDTH_BUDGET)
    assert 0.1 < within.mean() < 0.4
    np.testing.assert_array_equal(chips.evaluate_indices(indices)["feasible"], within)


def test_exchanging_sub_accelerators_changes_nothing(chips):
    indices = designs(chips, 60)
    exchanged = indices[:, [3, 4, 5, 0, 1, 2]]
    np.testing.assert_array_equal(chips.canonical(indices), chips.canonical(exchanged))
    ours, theirs = chips.evaluate_indices(indices), chips.evaluate_indices(exchanged)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_chip_costs_what_its_layers_cost_where_they_run(chips):
    """Against all schedules there are, from the model's own times and energies of each sub-accelerator."""
    indices = designs(chips, 25, seed=2)
    found = chips.evaluate_indices(indices)
    layers = (*SMALL[0].layers, *SMALL[1].layers)
    model = LayerModel(layers, chips.table)
    for row, design in enumerate(map(chips.space.design, indices)):
        columns = [{name: np.array([value]) for name, value in sub(design, a).items()} for a in (0, 1)]
        costs = [model.costs(c) for c in columns]
        time = np.stack([c.cycles[0] for c in costs], axis=1) / 1e9
        energy = np.stack([c.energy_j[0] for c in costs], axis=1)
        latency, _, _ = brute_force(time, energy, np.array([0, 0, 0, 1, 1, 1]), None)
        assert latency * (1 - 1e-9) <= found["latency_s"][row] <= 1.02 * latency
        assert energy.min(axis=1).sum() <= found["energy_j"][row] <= 1.001 * energy.max(axis=1).sum()


def sub(design: dict[str, object], a: int) -> dict[str, object]:
    """Sub-accelerator a as a design of the accelerator space, from what the documentation says of it."""
    dataflow, pes = str(design[f"dataflow{a}"]), int(design[f"pes{a}"])  # type: ignore[call-overload]
    rows = {"nvdla": 64, "shidiannao": pes // 8, "eyeriss": 16}[dataflow]
    fixed = {
        "l1_bytes": 256,
        "buffer_kb": 512,
        "noc_bytes_per_cycle": 128,
        "precision": "int8",
        "double_buffering": True,
        "clock_mhz": 1000,
    }
    return {
        "dataflow": dataflow,
        "rows": rows,
        "cols": pes // rows,
        "dram_gb_s": design[f"bandwidth{a}_gb_s"],
        **fixed,
    }


@pytest.mark.parametrize("dataflow", ["nvdla", "shidiannao"])
def test_pes_are_arranged_as_maestro_has_them(chips, dataflow):
    layer = conv("c", 64, 128, 28)
    costs = LayerModel((layer,), chips.table).costs(
        {
            name: np.array([v])
            for name, v in sub({"dataflow0": dataflow, "pes0": 1024, "bandwidth0_gb_s": 64}, 0).items()
        }
    )
    assert costs.terms[0, 0, 0] == maestro.runtime(dataflow, 1024, 128, 64, 3, 3, 28, 28) - 1


def test_energy_is_minimised_among_schedules_within_the_latency_spec():
    free = HeterogeneousAccelerator(SMALL)
    indices = designs(free, 80, seed=3)
    fastest = free.evaluate_indices(indices)
    spec = float(np.median(fastest["latency_s"])) * 1.5
    bound = HeterogeneousAccelerator(SMALL, specs={"latency_s": spec}).evaluate_indices(indices)
    attainable = fastest["latency_s"] <= spec
    assert attainable.sum() > 30
    assert (bound["latency_s"][attainable] <= spec).all()
    # leakage for longer
    assert (bound["energy_j"][attainable] <= fastest["energy_j"][attainable] * (1 + 1e-4)).all()
    assert (bound["energy_j"] < 0.999 * fastest["energy_j"]).any()
    np.testing.assert_allclose(bound["latency_s"][~attainable], fastest["latency_s"][~attainable], rtol=0.02)


def test_area_and_power_and_edp_follow(chips):
    from archgym.simulators.accelerator.energy import area_mm2

    indices = designs(chips, 20, seed=4)
    found = chips.evaluate_indices(indices)
    for row, design in enumerate(map(chips.space.design, indices)):
        parts = [sub(design, a) for a in (0, 1)]
        areas = [area_mm2(chips.table, p["rows"], p["cols"], 256, 512 * KIB, 128, "int8") for p in parts]
        assert found["area_mm2"][row] == pytest.approx(sum(areas), rel=1e-12)
    np.testing.assert_allclose(found["edp"], found["energy_j"] * found["latency_s"])
    np.testing.assert_allclose(found["power_w"] * found["latency_s"], found["energy_j"])
    assert (found["utilization"] <= 1).all()


def test_networks_are_parameters_where_there_is_a_choice():
    options = [
        workload(w.name, *w.layers, accuracy=accuracy) for w, accuracy in zip(SMALL, (0.7, 0.8), strict=True)
    ]
    joint = HeterogeneousAccelerator([options, options])
    assert joint.space.names[-2:] == ("network0", "network1") and joint.metrics[0].name == "accuracy"
    chip = designs(joint, 1)[0][:6]
    every = np.array([[*chip, i, j] for i in (0, 1) for j in (0, 1)])
    found = joint.evaluate_indices(every)
    np.testing.assert_allclose(found["accuracy"], [0.7, 0.75, 0.75, 0.8])
    assert found["latency_s"][1] == found["latency_s"][2], "which network is called first does not matter"
    for row, names in enumerate([(0, 0), (0, 1), (1, 1)]):
        alone = HeterogeneousAccelerator([options[i] for i in names]).evaluate_indices(chip[None])
        assert found["latency_s"][[0, 1, 3][row]] == alone["latency_s"][0]


def test_accuracy_is_searched_within_specs_by_nasaics_objective():
    evaluator = Evaluator(get_task("archgym/HeterogeneousAccelerator-v0"), None, 1, {"preset": "joint"})
    goal = evaluator.objective
    assert goal.form == "nasaic" and goal.terms == (Maximize("accuracy"),)
    specs = evaluator.simulator.unwrapped.specs
    columns = {
        "accuracy": np.array([0.75, 0.75]),
        **{name: np.array([limit, limit]) for name, limit in specs.items()},
    }
    columns["latency_s"] = columns["latency_s"] * [1.0, 1.3]
    reward, valid = goal(columns, np.ones(2, bool))
    np.testing.assert_allclose(reward, [0.75, 0.75 - 10 * 0.3 / 3])  # the bound is 4 specs
    np.testing.assert_array_equal(valid, [True, False])
    given = Evaluator(get_task("archgym/HeterogeneousAccelerator-v0"), None, 1, {"preset": "light"}).objective
    assert given.terms == (Minimize("energy_j"),) and len(given.constraints) == 3


def test_a_layer_that_fits_nowhere_is_a_failure_with_a_reason():
    # a tile of it takes megabytes
    wide = workload("wide", Layer("huge", "conv", 4, 8, 2000, 2000, 1400, 1400))
    chips = HeterogeneousAccelerator([wide])
    found = chips.evaluate_indices(designs(chips, 3))
    assert not found["feasible"].any() and all(
        "fits none of the sub-accelerators" in reason for reason in found["failure"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"networks": []}, "networks must be a list of workloads"),
        ({"networks": "resnet18"}, "networks must be a list of workloads"),
        ({"networks": ["resnet81"]}, "unknown workload"),
        (
            {"networks": [["resnet18", "bert_base"]]},
            "bert_base has no published accuracy, so it cannot be one of several options",
        ),
        ({"subs": 0}, "expected subs as a whole number >= 1, got 0"),
        ({"specs": {"latency": 1.0}}, "unknown spec 'latency'; did you mean 'latency_s'"),
        ({"specs": {"latency_s": -1}}, "must be a positive number"),
        ({"specs": [1]}, "specs must be a mapping"),
    ],
)
def test_bad_arguments_are_refused_with_what_to_do(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        HeterogeneousAccelerator(**arguments)


def test_a_table_of_all_chips_answers_as_the_scheduler_does(tmp_path, monkeypatch):
    from archgym.simulator_wrappers import StoredTable

    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    one = HeterogeneousAccelerator([workload("tiny", conv("c", 16, 16, 14))], subs=1)  # 768 chips
    table = StoredTable(one)
    indices = one.space.sample(100, np.random.default_rng(0))
    for name, column in one.evaluate_indices(indices).items():
        np.testing.assert_array_equal(table.evaluate_indices(indices)[name], column)


def test_a_search_finds_a_chip_within_specs():
    result = archgym.search(
        "archgym/HeterogeneousAccelerator-v0", "genetic", budget=600, seed=0, env_kwargs={"preset": "light"}
    )
    assert result.best_metrics is not None
    specs = {"latency_s": 3e-3, "energy_j": 6e-3, "area_mm2": 9.0}
    assert all(result.best_metrics[name] <= limit for name, limit in specs.items())
    assert load_workload("resnet18").accuracy == 0.69758
