"""The accelerator model: equal to a scalar reference, what must hold of any design, and designs that
cannot be.
"""

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.accelerator import model as module
from archgym.simulators.accelerator.design import DATAFLOWS, PRECISIONS, accelerator_space
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.model import Accelerator, LayerModel
from archgym.simulators.accelerator.tiling import compulsory_bytes
from archgym.simulators.accelerator.workloads import Workload
from archgym.testing import check_simulator

LAYERS = (
    Layer("3 x 3", "conv", 16, 24, 14, 14, 3, 3, 1, 2, 2),
    Layer("stem", "conv", 3, 16, 21, 23, 7, 7, 2, 6, 6, batch=2),
    Layer("down", "conv", 8, 16, 13, 13, 1, 1, 2),
    Layer("depthwise", "conv", 16, 16, 12, 12, 3, 3, 1, 2, 2, groups=16, repeats=2),
    Layer("depthwise, stride 2", "conv", 16, 16, 11, 11, 5, 5, 2, 4, 4, groups=16),
    Layer("pointwise", "conv", 20, 36, 7, 7),
    Layer("grouped", "conv", 24, 48, 10, 9, 3, 3, 2, 1, 1, groups=4, batch=3),
    Layer.gemm("fully connected", 4, 100, 72),
    Layer.gemm("attention", 48, 48, 16, kind="matmul", groups=6, repeats=3),
)
DESIGN = {
    "dataflow": "nvdla",
    "rows": 16,
    "cols": 16,
    "l1_bytes": 256,
    "buffer_kb": 128,
    "noc_bytes_per_cycle": 64,
    "dram_gb_s": 16,
    "precision": "int8",
    "double_buffering": True,
    "clock_mhz": 800,
}
NO_ROOM = {"dataflow": "eyeriss", "precision": "fp32", "l1_bytes": 32}  # for a row of a kernel wider than 3
SPACE = accelerator_space()
METRICS = [metric.name for metric in Accelerator.metrics]


def simulator(*layers, **others):
    return Accelerator(Workload(name="test", title="", source="", accuracy=None, layers=layers), **others)


def evaluate(simulator, **changes):
    return {name: column[0].item() for name, column in simulator.evaluate({**DESIGN, **changes}).items()}


def sweep(simulator, name, **changes):
    """Designs with every value of one parameter."""
    values = SPACE[name].grid
    columns = {parameter: [value] * len(values) for parameter, value in {**DESIGN, **changes}.items()}
    return simulator.evaluate({**columns, name: values})


def designs_of(simulator, indices):
    return [
        {name: column[i].item() for name, column in simulator.space.decode(indices).items()}
        for i in range(len(indices))
    ]


designs = st.fixed_dictionaries({name: st.sampled_from(SPACE[name].grid.tolist()) for name in SPACE.names})
layers = st.builds(
    lambda groups, c, k, kernel, extra, stride, padding, batch, repeats: Layer(
        "random",
        "conv",
        groups * c,
        groups * k,
        kernel[0] + extra[0],
        kernel[1] + extra[1],
        *kernel,
        stride,
        *padding,
        groups,
        batch,
        repeats,
    ),
    st.sampled_from([1, 1, 3]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.integers(1, 3),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 3),
    st.integers(1, 2),
) | st.builds(
    lambda m, n, k, groups: Layer.gemm("random", m, n, k, groups=groups),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 3),
)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_layer_costs_what_the_scalar_reference_says(layer):
    accelerator = simulator(layer)
    indices = SPACE.sample(250, np.random.default_rng(7))
    found = accelerator.evaluate_indices(indices)
    for i, design in enumerate(designs_of(accelerator, indices)):
        expected, feasible = reference.evaluate((layer,), design)
        assert found["feasible"][i] == feasible, design
        for name in METRICS if feasible else ():
            assert found[name][i] == pytest.approx(expected[name], rel=1e-12), (name, design)


@pytest.mark.parametrize("technology", ["45nm", "65nm"])
def test_a_network_costs_what_the_scalar_reference_says(technology):
    accelerator = simulator(*LAYERS, LAYERS[0], technology=technology)
    indices = SPACE.sample(120, np.random.default_rng(8))
    found = accelerator.evaluate_indices(indices)
    assert 60 < found["feasible"].sum() <= 120
    assert set(found["bound"][found["feasible"]]) == {1, 2, 3}
    for i, design in enumerate(designs_of(accelerator, indices)):
        expected, feasible = reference.evaluate((*LAYERS, LAYERS[0]), design, technology)
        assert found["feasible"][i] == feasible, design
        for name in METRICS if feasible else ():
            assert found[name][i] == pytest.approx(expected[name], rel=1e-12), (name, design)


def test_a_matrix_multiplication_worked_out_by_hand():
    # [64, 32] x [32, 16] in int8, single-buffered: one tile, 2,048 + 512 + 1,024 bytes of operands
    found = evaluate(simulator(Layer.gemm("fc", 64, 16, 32)), double_buffering=False)
    compute = 1 * 2 * 64 * (1 + 1)  # 16 filters, 2 x 16 channels
    noc = 64 * 32 + 32 * 16 + 64 * 16 + 2 * 4 * 64 * 16 * (2 - 1)
    dram = 64 * 32 + 32 * 16 + 64 * 16
    cycles = compute + noc / 64 + dram / 20  # 16 GB/s at 800 MHz
    assert found["cycles"] == pytest.approx(cycles)
    assert found["latency_s"] == pytest.approx(cycles / 800e6)
    assert found["dram_bytes"] == dram
    assert found["compute_cycles"] == compute
    assert found["utilization"] == pytest.approx(64 * 16 * 32 / (cycles * 256))
    assert found["bound"] == 1
    assert found["power_w"] == pytest.approx(found["energy_j"] / found["latency_s"])
    assert found["edp"] == pytest.approx(found["energy_j"] * found["latency_s"])


def test_double_buffering_hides_all_but_the_slowest_and_the_first_tile():
    layer = Layer.gemm("fc", 64, 16, 32)
    compute, noc, dram, first = (
        256,
        (64 * 32 + 32 * 16 + 64 * 16 + 8 * 64 * 16) / 64,
        (64 * 32 + 32 * 16 + 64 * 16) / 20,
        (64 * 32 + 32 * 16) / 20,
    )
    assert evaluate(simulator(layer))["cycles"] == pytest.approx(max(compute, noc, dram) + first)
    assert evaluate(simulator(layer), dram_gb_s=4)["cycles"] == pytest.approx(4 * (dram + first))
    assert evaluate(simulator(layer), dram_gb_s=4)["bound"] == 3
    assert evaluate(simulator(layer), noc_bytes_per_cycle=16)["cycles"] == pytest.approx(4 * noc + first)
    assert evaluate(simulator(layer), noc_bytes_per_cycle=16)["bound"] == 2


def test_repeats_and_groups_are_one_after_the_other():
    once = evaluate(simulator(Layer.gemm("fc", 30, 40, 50)), double_buffering=False)
    for others in ({"repeats": 6}, {"groups": 6}, {"repeats": 2, "groups": 3}):
        six = evaluate(simulator(Layer.gemm("fc", 30, 40, 50, **others)), double_buffering=False)
        for name in ("cycles", "latency_s", "energy_j", "dram_bytes", "compute_cycles"):
            assert six[name] == pytest.approx(6 * once[name])
        assert six["utilization"] == pytest.approx(once["utilization"])


def test_a_layer_that_comes_twice_costs_as_much_as_its_repeats():
    layer = {"channels": 12, "filters": 20, "height": 9, "width": 9, "kernel_h": 3, "kernel_w": 3}
    twice = simulator(Layer("a", "conv", **layer), Layer("b", "conv", **layer))
    repeated = simulator(Layer("a", "conv", **layer, repeats=2))
    indices = SPACE.sample(50, np.random.default_rng(0))
    one, other = twice.evaluate_indices(indices), repeated.evaluate_indices(indices)
    for name in METRICS:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(layer=layers, design=designs)
def test_no_design_beats_its_pes_its_memories_or_compulsory_traffic(layer, design):
    found = evaluate(simulator(layer), **design)
    if not found["feasible"]:
        return
    pes = design["rows"] * design["cols"]
    assert 0 < found["utilization"] <= 1
    assert found["compute_cycles"] * pes >= layer.macs
    assert found["cycles"] >= found["compute_cycles"]
    least = compulsory_bytes(layer, PRECISIONS[design["precision"]]) * layer.groups * layer.repeats
    assert found["dram_bytes"] >= least
    assert found["latency_s"] >= found["dram_bytes"] / (1e9 * design["dram_gb_s"]) * (1 - 1e-12)
    assert all(np.isfinite(found[name]) and found[name] > 0 for name in METRICS)


@settings(max_examples=100, deadline=None)
@given(layer=layers, design=designs)
def test_more_buffer_never_means_more_traffic(layer, design):
    found = sweep(simulator(layer), "buffer_kb", **design)
    assert (np.diff(found["feasible"].astype(int)) >= 0).all()
    assert (np.diff(found["dram_bytes"][found["feasible"]]) <= 0).all()


@settings(max_examples=100, deadline=None)
@given(layer=layers, design=designs, name=st.sampled_from(["noc_bytes_per_cycle", "dram_gb_s"]))
def test_more_bandwidth_never_hurts(layer, design, name):
    found = sweep(simulator(layer), name, **design)
    assert (np.diff(found["latency_s"]) <= 0).all()
    assert (np.diff(found["energy_j"]) <= 0).all()  # leakage lasts as long
    for unchanged in ("dram_bytes", "compute_cycles", "feasible"):
        assert len(set(found[unchanged].tolist())) == 1


@pytest.mark.parametrize("workload", ["small", "mobilenet_v2", "resnet50"])
def test_batches_chunks_and_single_designs_give_the_same_bits(monkeypatch, workload):
    def make():
        return simulator(*LAYERS) if workload == "small" else Accelerator(workload)

    accelerator = make()
    indices = np.concatenate(
        [SPACE.sample(60, np.random.default_rng(3)), SPACE.encode({**DESIGN, **NO_ROOM})]
    )
    batch = accelerator.evaluate_indices(indices)
    monkeypatch.setattr(module, "CHUNK", 7)
    chunked = accelerator.evaluate_indices(indices)
    alone = [accelerator.evaluate_indices(indices[i : i + 1]) for i in range(len(indices))]
    backwards = make().evaluate_indices(indices[::-1])
    for name in (*METRICS, "feasible"):
        np.testing.assert_array_equal(chunked[name], batch[name])
        np.testing.assert_array_equal(np.concatenate([row[name] for row in alone]), batch[name])
        np.testing.assert_array_equal(backwards[name][::-1], batch[name])
    assert batch["feasible"].any()
    if workload != "mobilenet_v2":  # kernels of 3 alone
        assert not batch["feasible"][-1]
        np.testing.assert_array_equal(chunked["failure"], batch["failure"])
        assert [row.get("failure", [""])[0] for row in alone] == batch["failure"].tolist()


def test_a_layers_costs_are_its_share_of_the_network():
    table = load_energy_table("45nm")
    columns = SPACE.decode(SPACE.sample(40, np.random.default_rng(5)))
    together = LayerModel(LAYERS, table).costs(columns)
    for j, layer in enumerate(LAYERS):
        alone = LayerModel((layer,), table).costs(columns)
        for name in ("cycles", "energy_j", "dram_bytes", "fits"):
            np.testing.assert_array_equal(getattr(together, name)[:, j], getattr(alone, name)[:, 0])
        np.testing.assert_array_equal(together.terms[:, :, j], alone.terms[:, :, 0])


def test_a_buffer_too_small_for_a_tile_is_infeasible_and_says_so():
    huge = Layer("huge kernel", "conv", 1, 1, 300, 300, 200, 200)
    accelerator = simulator(LAYERS[0], huge)
    found = accelerator.evaluate(
        {
            **{name: [value] * 2 for name, value in DESIGN.items()},
            "buffer_kb": [64, 256],
            "double_buffering": [False, False],
        }
    )
    assert found["feasible"].tolist() == [False, True]
    need = 2 * 200 * 200 + 4
    assert found["failure"].tolist() == [
        f"a buffer of 64 KiB holds no tile of huge kernel, which takes {need:,} bytes: raise buffer_kb",
        "",
    ]
    assert accelerator.model.least_buffer_bytes(1, "int8", False) == need


@pytest.mark.parametrize(("kernel", "need"), [((90, 91), 16 * 1024), ((64, 128), 16 * 1024 + 4)])
def test_a_tile_that_fills_the_buffer_to_the_last_byte_fits(kernel, need):
    accelerator = simulator(Layer("large kernel", "conv", 1, 1, 100, 140, *kernel))
    assert accelerator.model.least_buffer_bytes(0, "int8", False) == need == 2 * kernel[0] * kernel[1] + 4
    assert evaluate(accelerator, buffer_kb=16, double_buffering=False)["feasible"] == (need <= 16 * 1024)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_smallest_buffer_holds_a_tile_of_one_output(precision):
    model = LayerModel((Layer("kernel", "conv", 1, 1, 130, 130, 64, 64),), load_energy_table())
    b, a = reference.BYTES[precision]
    assert model.least_buffer_bytes(0, precision, False) == 2 * 64 * 64 * b + a
    # several tiles of inputs and outputs
    assert model.least_buffer_bytes(0, precision, True) == (2 + 1) * 64 * 64 * b + 2 * a


def test_an_l1_too_small_for_a_row_of_the_kernel_is_infeasible_for_eyeriss_and_says_so():
    accelerator = simulator(LAYERS[0], LAYERS[1])
    least = 2 * 7 * 4 + 4  # a filter row and an input row of 7 in fp32, and a partial sum
    for l1_bytes in (32, 64):
        found = evaluate(accelerator, dataflow="eyeriss", precision="fp32", l1_bytes=l1_bytes)
        assert found["feasible"] == (l1_bytes >= least)
    found = evaluate(accelerator, dataflow="eyeriss", precision="fp32", l1_bytes=32)
    assert found["failure"] == (
        "an L1 of 32 bytes does not hold a row of the kernel of stem for dataflow eyeriss in fp32: "
        "raise l1_bytes"
    )
    for dataflow in DATAFLOWS:
        if dataflow != "eyeriss":
            assert evaluate(accelerator, dataflow=dataflow, precision="fp32", l1_bytes=32)["feasible"]


def test_fixed_parameters_have_one_value_and_the_others_all_of_theirs():
    accelerator = simulator(*LAYERS, fixed={"precision": "fp16", "rows": 32})
    assert accelerator.space.size == SPACE.size // 3 // 6
    indices = accelerator.space.sample(50, np.random.default_rng(1))
    columns = accelerator.space.decode(indices)
    assert set(columns["precision"]) == {"fp16"}
    assert set(columns["rows"].tolist()) == {32}
    free = simulator(*LAYERS).evaluate(columns)
    for name, column in accelerator.evaluate_indices(indices).items():
        np.testing.assert_array_equal(column, free[name])


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"row": 8}, "unknown parameter 'row'; did you mean 'rows'"),
        ({"rows": 12}, "unknown value of rows '12'"),
        ({"dataflow": "nvldla"}, "unknown value of dataflow 'nvldla'; did you mean 'nvdla'"),
        ({"precision": "int4"}, "unknown value of precision 'int4'"),
        (["rows"], "fixed must be a mapping of parameters to values"),
    ],
)
def test_a_fixed_parameter_that_cannot_be_is_refused(fixed, message):
    with pytest.raises(ArchGymError, match=message):
        simulator(LAYERS[0], fixed=fixed)


def test_an_unknown_workload_or_technology_is_refused():
    with pytest.raises(ArchGymError, match="unknown workload"):
        Accelerator("resnet19")
    with pytest.raises(ArchGymError, match="unknown energy table '5nm'"):
        simulator(LAYERS[0], technology="5nm")


def test_the_space_has_as_many_accelerators_as_it_says():
    assert SPACE.size == 14_696_640
    assert f"{SPACE.size:,} accelerators" in accelerator_space.__doc__


@pytest.mark.parametrize(
    "others", [{}, {"technology": "65nm"}, {"fixed": {"dataflow": "eyeriss", "l1_bytes": 32}}]
)
def test_it_keeps_the_contract_of_simulators(others):
    check_simulator(simulator(*LAYERS, **others))
    check_simulator(Accelerator(**others))


def test_the_largest_workload_that_is_accepted_does_not_overflow():
    huge = Workload("huge", "huge", "a test", None, (Layer.gemm("g", 2**19, 2**19, 2**19),))
    columns = Accelerator(huge).evaluate_indices(accelerator_space().sample(300, np.random.default_rng(0)))
    feasible = columns["feasible"]
    assert feasible.any()
    for metric in Accelerator.metrics:
        assert (columns[metric.name][feasible] > 0).all(), metric.name
    with pytest.raises(ArchGymError, match="simulators take up to"):
        Workload("too-large", "", "", None, (Layer.gemm("g", 2**20, 2**20, 2**18),))


def test_a_batch_of_no_designs_has_empty_columns():
    simulator = Accelerator("resnet18")
    columns = simulator.evaluate_indices(np.empty((0, len(simulator.space)), np.int64))
    assert all(len(columns[metric.name]) == 0 for metric in simulator.metrics)


def test_a_file_that_changes_changes_what_identifies_the_simulator(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("name,kind,channels,filters,height\nfc,gemm,64,10,1\n")
    before = Accelerator(str(file)).specification
    assert before == Accelerator(str(file)).specification
    file.write_text("name,kind,channels,filters,height\nfc,gemm,64,10,2\n")
    assert before != Accelerator(str(file)).specification
    assert Accelerator("resnet18").specification != Accelerator("resnet18", "65nm").specification


def test_tables_that_cannot_cost_every_design_are_refused_at_once():
    with pytest.raises(ArchGymError, match="unknown precision of this energy table 'fp16'"):
        Accelerator("resnet18", "accelforge_nvdla")
    with pytest.raises(ArchGymError, match="unknown energy table 'None'"):
        Accelerator("resnet18", None)  # type: ignore[arg-type]
