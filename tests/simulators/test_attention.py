"""Attention accelerators: the published closed forms at figures worked out by hand, the design space
around them, and its environment.
"""

import math

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archgym.envs.attention_accelerator as environment
from archgym.errors import ArchGymError
from archgym.simulator import evaluate_safely
from archgym.simulators.accelerator import fusemax as forms
from archgym.simulators.accelerator.attention import (
    FLAT_HARDWARE,
    PASSES,
    PUBLISHED,
    SCORE_ACCESSES,
    AttentionAccelerator,
)
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.fusemax import Attention
from archgym.testing import check_env, check_simulator

SPACE = AttentionAccelerator.space
METRICS = [metric.name for metric in AttentionAccelerator.metrics]
BERT = {name: Attention.of_model("BERT", n) for name, n in forms.LENGTHS.items()}

dimensions = st.sampled_from([16, 32, 64, 80, 128, 256])
lengths = st.integers(1, 5000) | st.sampled_from([2**14, 2**16, 2**18, 2**20, 100_003])
workloads = st.builds(
    AttentionAccelerator,
    st.sampled_from([1, 3, 64]),
    st.sampled_from([1, 12, 32]),
    lengths,
    lengths,
    dimensions,
    dimensions,
)
seeds = st.integers(0, 2**32 - 1)


def evaluate(simulator, **changes):
    columns = simulator.evaluate(
        {name: np.array([value]) for name, value in {**PUBLISHED, **changes}.items()}
    )
    return {name: column[0] for name, column in columns.items()}


def random_designs(seed, n=64):
    return SPACE.sample(n, np.random.default_rng(seed))


def with_every_value(designs, name):
    """[n, B, P]: the designs, with every value of a parameter in turn."""
    at = SPACE.names.index(name)
    copies = np.repeat(designs[None], SPACE.nvec[at], axis=0)
    copies[:, :, at] = np.arange(SPACE.nvec[at])[:, None]
    return copies


# --- the published closed forms ---


def test_cycles_of_a_tile_are_the_sum_of_its_operations():
    tiles = 64 * 12 * (1024 / 256) ** 2
    divided = 256 * 64 / 1024
    assert forms.fusemax_cycles(BERT["1K"]) / tiles == pytest.approx(64 + 64 + 10 + divided)
    assert forms.fusemax_cycles(BERT["1K"], interleaved=False) / tiles == pytest.approx(1.5 * (64 + 64) + 266)
    assert forms.one_pass_on_flat_cycles(BERT["1K"]) / tiles == pytest.approx(64 + 64 + 1029 + divided)
    assert forms.flat_cycles(BERT["1K"]) / tiles == pytest.approx(4 * 256)


def test_a_published_latency_comes_out_in_seconds():
    # Nayak et al., BERT at 1K
    assert forms.fusemax_cycles(BERT["1K"]) / forms.CLOCK_HZ == pytest.approx(2.013140425531915e-3, rel=1e-12)
    assert forms.flat_latency_s(BERT["1K"], 0) == pytest.approx(13.386076595744681e-3, rel=1e-12)
    assert forms.flat_latency_s(BERT["1K"], 400 * 2**30) == 1.0  # memory binds


def test_keys_and_values_are_read_again_once_the_queries_fill_the_buffer():
    operand = 2 * 64 * 12 * np.array(list(forms.LENGTHS.values())) * 64
    lengths = np.array(list(forms.LENGTHS.values()))
    bert = Attention(64, 12, lengths, lengths, 64, 64)
    np.testing.assert_array_equal(forms.compulsory_bytes(bert), 4 * operand)
    np.testing.assert_array_equal(
        forms.fusemax_bytes(bert), 2 * operand * (1 + np.maximum(1, lengths / 32768))
    )
    np.testing.assert_array_equal(
        forms.one_pass_on_flat_bytes(bert), 2 * operand * (1 + np.maximum(1, lengths / 8192))
    )


def test_flat_reads_again_what_is_off_chip_and_what_spills():
    places = {
        "queries_off_chip": False,
        "keys_off_chip": False,
        "values_off_chip": False,
        "scores_off_chip": False,
        "spilled": 0.0,
        "block": 256,
    }
    bert = BERT["4K"]
    operand = 2 * 64 * 12 * 4096 * 64
    assert forms.flat_bytes(bert, **places) == 4 * operand == forms.compulsory_bytes(bert)
    for name in ("queries", "keys", "values"):
        assert forms.flat_bytes(bert, **places | {f"{name}_off_chip": True}) == operand * (3 + 16)
    spilled = forms.flat_bytes(bert, **places | {"spilled": 0.5})
    assert spilled == pytest.approx(operand * (1 + 3 * (0.5 + 0.5 * 16) + 7 * 0.5 * 4096 / 64))
    assert forms.flat_bytes(bert, **places | {"scores_off_chip": True}) == operand * (
        2 + 2 * 16 + 4 * 4096 / 64
    )


def test_a_cascade_of_more_passes_must_move_a_row_that_is_not_held():
    bert, scores = BERT["64K"], 64 * 12 * 2.0**32
    compulsory = forms.compulsory_bytes(bert)
    for passes, words in ((3, 4), (2, 2), (1, 0)):
        assert forms.pass_bound_bytes(bert, passes, 0) - compulsory == 2 * words * scores
        # half of each row of 128 KiB is held
        assert forms.pass_bound_bytes(bert, passes, 65536) - compulsory == words * scores
        assert forms.pass_bound_bytes(bert, passes, 131072) == compulsory


def test_an_unknown_model_is_named():
    with pytest.raises(ArchGymError, match="unknown model 'BART'; did you mean 'BERT'"):
        Attention.of_model("BART", 1024)


# --- the design space ---


@pytest.mark.parametrize("model", forms.MODELS)
@pytest.mark.parametrize("length", forms.LENGTHS.values())
def test_the_design_space_has_the_published_designs_exactly(model, length):
    published = Attention.of_model(model, length)
    simulator = AttentionAccelerator(*published)
    for design, cycles, traffic in (
        (PUBLISHED, forms.fusemax_cycles(published), forms.fusemax_bytes(published)),
        (
            {**PUBLISHED, "interleaved": False},
            forms.fusemax_cycles(published, interleaved=False),
            forms.fusemax_bytes(published),
        ),
        (FLAT_HARDWARE, forms.one_pass_on_flat_cycles(published), forms.one_pass_on_flat_bytes(published)),
    ):
        found = evaluate(simulator, **design)
        assert found["cycles"] == pytest.approx(cycles, rel=1e-12)
        assert found["latency_s"] == pytest.approx(cycles / 940e6, rel=1e-12)
        assert found["dram_bytes"] == traffic


@pytest.mark.parametrize("model", forms.MODELS)
def test_three_passes_on_lanes_take_flats_cycles_where_memory_does_not_bind(model):
    published = Attention.of_model(model, 16384)
    assert evaluate(AttentionAccelerator(*published), **{**FLAT_HARDWARE, "cascade": "three_pass"})[
        "cycles"
    ] == forms.flat_cycles(published)


def reference(simulator, design):
    """A design by the equations, one number at a time; None where its buffer holds no tile."""
    b, h, p, m, e, f = simulator.attention
    table = load_energy_table("45nm")
    dim, lanes, word = (
        design["array_dim"],
        design["vector_lanes"],
        {"int8": 1, "fp16": 2, "fp32": 4}[design["precision"]],
    )
    passes, on_array, buffer = (
        PASSES[design["cascade"]],
        design["softmax"] == "array",
        1024 * design["buffer_kb"],
    )
    key_tiles = math.ceil(m / dim)
    tiles = b * h * math.ceil(p / dim) * key_tiles
    r, divided = dim / lanes, f / key_tiles

    array = e + f + ({3: 9, 2: 10, 1: 9}[passes] if on_array else 0)
    if on_array:
        vector = r * {3: dim + 2, 2: 18, 1: 10 + 2 * f + divided}[passes]
    else:
        vector = r * {3: 4 * dim, 2: 5 * dim + 8, 1: 4 * dim + 5 + 2 * f + divided}[passes]
    if on_array and passes == 1:
        if design["interleaved"]:
            tile = max(e + 1, r * (1 + f + divided)) + r + max(8, 8 * r) + max(f, f * r)
        else:
            tile = max(e + 1, r * (1 + divided)) + dim + r + max(8, 8 * r) + max(f, 2 * f * r)
    else:
        tile = max(array, vector) if design["interleaved"] else array + vector

    def block(words_per_query):
        queries = 0
        while (2 * queries or dim) * words_per_query + dim * (e + f) <= buffer / word and queries < 2**40:
            queries = 2 * queries or dim
        return queries

    def streamed(queries):
        return word * b * h * (e + f) * (p + m * max(1, math.ceil(p / queries)))

    small = block(e + f + 2 + (0 if on_array else 2 * dim))
    if not small:
        return None
    moved = 2 * (passes - 1) * word * b * h * p * m
    traffic, scores_out = streamed(small) + moved, moved / 2
    rows = block(m + e + f + 2)
    if passes > 1 and rows and streamed(rows) < traffic:
        traffic, scores_out = streamed(rows), 0
    written = word * b * h * p * f + scores_out

    compute_s = tiles * tile / (1e6 * design["clock_mhz"])
    dram_s = traffic / (1e9 * design["dram_gb_s"])
    latency = max(compute_s, dram_s)
    macs = b * h * p * m * (e + f)
    per_score = {3: 10, 2: 10, 1: 9}[passes]
    per_tile = {3: 2, 2: 18, 1: 10 + 2 * f}[passes]
    operations = macs + b * h * p * (m * per_score + key_tiles * per_tile + (f if passes == 1 else 0))
    score_reads, score_writes = SCORE_ACCESSES[design["cascade"], design["softmax"]]
    reads = tiles * word * (2 * dim * (e + f) + dim * dim * score_reads)
    writes = tiles * word * (dim * f + dim * dim * score_writes)
    read_pj, write_pj = (float(cost) for cost in table.sram_pj_per_byte(buffer))
    energy = 1e-12 * (
        operations * float(table.mac_pj(design["precision"]))
        + (reads + written) * read_pj
        + (writes + traffic - written) * write_pj
        + (reads + writes) * table.noc_pj_per_byte
        + traffic * table.dram_pj_per_byte
    )
    mac = float(table.mac_um2(design["precision"]))
    element = mac + float(table.sram_um2(word * (12 if on_array else 4)))
    area = dim * dim * element + lanes * mac * (1 if on_array else 7) + float(table.sram_um2(buffer))
    return {
        "latency_s": latency,
        "cycles": latency * 1e6 * design["clock_mhz"],
        "energy_j": energy,
        "area_mm2": 1e-6 * area,
        "power_w": energy / latency,
        "edp": energy * latency,
        "utilization": macs / (dim * dim * latency * 1e6 * design["clock_mhz"]),
        "dram_bytes": traffic,
        "bound": 3 if dram_s > compute_s else 2 if vector > array else 1,
    }


@given(simulator=workloads, seed=seeds)
def test_a_batch_equals_plain_python_design_by_design(simulator, seed):
    designs = random_designs(seed, 16)
    found = simulator.evaluate_indices(designs)
    for i, row in enumerate(designs):
        expected = reference(simulator, SPACE.design(row))
        assert found["feasible"][i] == (expected is not None)
        if expected is not None:
            assert {name: found[name][i] for name in METRICS} == pytest.approx(expected, rel=1e-9)


@given(simulator=workloads, seed=seeds)
def test_traffic_is_at_least_compulsory_and_at_least_what_the_passes_must_move(simulator, seed):
    designs = random_designs(seed)
    values, found = SPACE.decode(designs), simulator.evaluate_indices(designs)
    word = np.array([{"int8": 1, "fp16": 2, "fp32": 4}[name] for name in values["precision"]])
    passes = np.array([PASSES[name] for name in values["cascade"]])
    ok = found["feasible"]
    bound = forms.pass_bound_bytes(simulator.attention, passes, 1024 * values["buffer_kb"], word)
    assert (bound >= forms.compulsory_bytes(simulator.attention, word)).all()
    assert (found["dram_bytes"][ok] >= bound[ok]).all()


@given(simulator=workloads, seed=seeds)
def test_the_array_computes_no_more_than_one_multiply_add_per_element_and_cycle(simulator, seed):
    designs = random_designs(seed)
    found, dim = simulator.evaluate_indices(designs), SPACE.decode(designs)["array_dim"]
    b, h, p, m, e, f = simulator.attention
    ok = found["feasible"]
    assert (found["cycles"][ok] >= b * h * p * m * (e + f) / dim[ok] ** 2).all()
    assert (found["utilization"][ok] > 0).all() and (found["utilization"][ok] <= 1).all()
    assert np.isin(found["bound"][ok], [1, 2, 3]).all()


@given(simulator=workloads, seed=seeds)
def test_a_larger_buffer_never_moves_more_nor_loses_a_design(simulator, seed):
    found = [
        simulator.evaluate_indices(designs)
        for designs in with_every_value(random_designs(seed, 32), "buffer_kb")
    ]
    feasible, traffic = (np.stack([each[name] for each in found]) for name in ("feasible", "dram_bytes"))
    assert (feasible[1:] >= feasible[:-1]).all()
    both = feasible[1:] & feasible[:-1]
    assert (traffic[1:] <= traffic[:-1])[both].all()


@given(simulator=workloads, seed=seeds)
@pytest.mark.parametrize("name", ["dram_gb_s", "vector_lanes", "clock_mhz"])
def test_more_bandwidth_more_lanes_and_a_faster_clock_never_take_longer(simulator, seed, name):
    found = [
        simulator.evaluate_indices(designs) for designs in with_every_value(random_designs(seed, 32), name)
    ]
    latency = np.stack([each["latency_s"] for each in found])[:, found[0]["feasible"]]
    assert (latency[1:] <= latency[:-1] * (1 + 1e-12)).all()


def test_what_binds_is_named():
    simulator = AttentionAccelerator(*BERT["256K"])
    assert evaluate(simulator, vector_lanes=2048)["bound"] == 1
    assert evaluate(simulator, vector_lanes=32)["bound"] == 2
    assert evaluate(simulator, cascade="three_pass", buffer_kb=1024, dram_gb_s=50)["bound"] == 3


def test_passes_are_paid_for_once_a_row_no_longer_fits():
    def traffic(length, cascade):
        return evaluate(AttentionAccelerator(*BERT[length]), cascade=cascade)["dram_bytes"]

    one, two, three = (traffic("1K", cascade) for cascade in ("one_pass", "two_pass", "three_pass"))
    assert one == two == three
    one, two, three = (traffic("1M", cascade) for cascade in ("one_pass", "two_pass", "three_pass"))
    assert three - two == two - one == 2 * 2 * 64 * 12 * 2.0**40


def test_a_buffer_that_holds_no_tile_is_infeasible_and_says_so():
    simulator = AttentionAccelerator(head_dim=128, value_dim=128)
    found = evaluate(simulator, buffer_kb=64)
    assert not found["feasible"]
    assert found["failure"] == "a buffer of 64 KB cannot hold a tile of 256 queries, keys and values"
    assert all(math.isnan(found[name]) for name in METRICS)
    outcome = evaluate_safely(
        simulator, SPACE.encode({name: [value] for name, value in {**PUBLISHED, "buffer_kb": 64}.items()})
    )
    assert outcome.failures[0].startswith("a buffer of 64 KB")
    assert evaluate(simulator)["failure"] == ""


@pytest.mark.parametrize("name", Attention._fields)
@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, None])
def test_a_size_that_is_not_a_positive_integer_is_refused(name, size):
    with pytest.raises(ArchGymError, match=f"expected {name} as a whole number >= 1, got {size!r}"):
        AttentionAccelerator(**{name: size})


@pytest.mark.parametrize(
    "workload", [{}, {"batch": 1, "heads": 1, "queries": 1, "keys": 2**20, "head_dim": 128, "value_dim": 256}]
)
def test_the_simulator_keeps_its_contract(workload):
    check_simulator(AttentionAccelerator(**workload))


# --- the environment ---


def test_the_environment_keeps_its_contract():
    check_env("archgym/AttentionAccelerator-v0")


def test_the_documented_space_is_the_space():
    env = gymnasium.make("archgym/AttentionAccelerator-v0", tabulated=False)
    assert (
        f"`MultiDiscrete({env.unwrapped.action_space.nvec.tolist()})`: {SPACE.size:,} designs"
        in environment.__doc__.replace("\n", " ")
    )
    for i, parameter in enumerate(SPACE):
        assert (
            f"| {i} | {parameter.name} | {', '.join(map(str, parameter.grid.tolist()))} |"
            in environment.__doc__
        )
    for i, metric in enumerate(METRICS):
        assert f"| {i} | {metric}" in environment.__doc__


@pytest.mark.parametrize("preset", ["bert_1k", "bert_1m", "xlm_16k", "llama_1m"])
def test_the_reference_is_near_the_median_design_of_any_workload(preset):
    simulator = environment.attention_accelerator(**environment.PRESETS[preset], tabulated=False)
    goal = environment.objective(simulator)
    found = simulator.evaluate_indices(random_designs(0, 4096))
    for name, value in goal.reference.items():
        if name != "dram_bytes":  # over four decades, as rows fit or not
            assert 1 / 3 < np.median(found[name][found["feasible"]]) / value < 3


def test_the_table_knows_the_exact_optimum_within_the_area():
    simulator = environment.attention_accelerator(**environment.PRESETS["bert_64k"])
    goal = environment.objective(simulator, area_mm2=20.0)
    best = simulator.evaluate_indices(simulator.optimum(goal)[None])
    assert best["area_mm2"][0] <= 20.0
    found = simulator.unwrapped.evaluate_indices(random_designs(1, 8192))
    assert best["edp"][0] <= np.nanmin(found["edp"][found["area_mm2"] <= 20.0])


def test_an_unknown_preset_is_refused():
    with pytest.raises(ArchGymError, match="bert_2k"):
        gymnasium.make("archgym/AttentionAccelerator-v0", preset="bert_2k")


def test_the_closed_forms_are_found_under_the_name_that_they_had():
    from archgym.simulators.accelerator import attention

    with pytest.warns(
        DeprecationWarning, match=r"use archgym\.simulators\.accelerator\.fusemax\.fusemax_cycles"
    ):
        assert attention.fusemax_cycles is forms.fusemax_cycles
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = attention.absent
