"""The softmax cost model: its equations at designs worked out by hand, its rules, and its calibration
files.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.softmax import Calibration, SoftmaxCostModel

RECORDED = (
    Path(__file__).parents[2] / "archgym" / "simulators" / "softmax" / "calibrations" / "xeon-2mb-l2.json"
)
DESIGN = {
    "algorithm": "two_pass",
    "isa": "avx512",
    "unroll": 8,
    "accumulators": 4,
    "prefetch": 0,
    "nontemporal": False,
    "tile": 256,
    "threads": 1,
}
METRICS = [metric.name for metric in SoftmaxCostModel.metrics]


def evaluate(model, **changes):
    return {name: column[0] for name, column in model.evaluate({**DESIGN, **changes}).items()}


def every_design(model):
    return np.concatenate(list(model.space.enumerate()))


def parent_of(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


@pytest.fixture
def document():
    """A calibration of round numbers: every curve flat, every pass as costly as its memory, so that times
    can be worked out by hand.
    """
    recorded = json.loads(RECORDED.read_text())
    nanoseconds = {
        "read": 1.0,
        "write": 2.0,
        "write_nontemporal": 1.5,
        "copy": 4.0,
        "copy_nontemporal": 3.0,
        "in_place": 2.5,
        "in_place_nontemporal": 5.0,
    }
    return {
        **recorded,
        "bandwidth": {
            pattern: {"log2_bytes": [10, 30], "ns_per_float": [ns, ns]} for pattern, ns in nanoseconds.items()
        },
        "compute": {what: {isa: [[1, 1, 0.5]] for isa in recorded["lanes"]} for what in recorded["compute"]},
        "overlap": {
            "log2_bytes": [16],
            "phi": [0.0, 0.5],
            "prefetch_factor": {"0": [1, 1], "256": [1, 0.5], "1024": [1, 0.25]},
        },
        "row_overhead_ns": 10.0,
        "threads": {"slowdown": 1.5, "start_ns": 100.0},
    }


def model_of(document, rows=1, cols=65536):
    return SoftmaxCostModel(rows=rows, cols=cols, calibration=Calibration.from_json(document, "test"))


# c = 0.5 ns everywhere; out of cache phi = 0.5 adds 0.25 per pass with memory time, and 0 where the tile is
# cached (m = 0, t = c)
@pytest.mark.parametrize(
    ("algorithm", "nontemporal", "memory_ns"),
    [
        ("three_pass_recompute", False, [1, 1, 4]),
        ("three_pass_recompute", True, [1, 1, 3]),
        ("three_pass_reload", False, [1, 4, 2.5]),
        ("three_pass_reload", True, [1, 3, 5]),
        ("two_pass", False, [1, 4]),
        ("two_pass", True, [1, 3]),
        ("online", False, [1, 4]),
        ("online", True, [1, 3]),
        ("tiled_online", False, [1, 0, 4]),
        ("tiled_online", True, [1, 0, 3]),
        ("tiled_reload", False, [1, 3, 2.5]),
        ("tiled_reload", True, [1, 3, 5]),
    ],
)
def test_time_is_the_sum_over_passes_of_the_slower_of_memory_and_compute(
    document, algorithm, nontemporal, memory_ns
):
    in_cache, out_of_cache = 1024, 65536
    changes = {"algorithm": algorithm, "nontemporal": nontemporal}
    total = sum(max(m, 0.5) for m in memory_ns)
    unhidden = sum(0.5 * min(m, 0.5) for m in memory_ns)
    for cols, per_element in ((in_cache, total), (out_of_cache, total + unhidden)):
        assert evaluate(model_of(document, cols=cols), **changes)["time_s"] == pytest.approx(
            (cols * per_element + 10) * 1e-9
        )


def test_prefetching_hides_more_of_the_shorter_time_out_of_cache(document):
    model = model_of(document)
    for prefetch, unhidden in ((0, 0.5), (256, 0.25), (1024, 0.125)):
        assert evaluate(model, prefetch=prefetch)["time_per_element_ns"] == pytest.approx(
            5 + unhidden, abs=1e-3
        )


def test_a_second_thread_takes_half_the_columns_of_one_row_or_half_of_the_rows(document):
    halves = evaluate(model_of(document, cols=32768))["time_s"]
    assert evaluate(model_of(document, cols=65536), threads=2)["time_s"] == pytest.approx(
        1.5 * halves + 100e-9
    )
    two_of_three_rows = evaluate(model_of(document, rows=2, cols=65536))["time_s"]
    assert evaluate(model_of(document, rows=3, cols=65536), threads=2)["time_s"] == pytest.approx(
        1.5 * two_of_three_rows + 100e-9
    )


def test_two_threads_move_data_as_it_was_measured_with_two(document):
    alone = evaluate(model_of(document), threads=2)["time_s"]
    slower = {
        pattern: {**curve, "ns_per_float": [3 * ns for ns in curve["ns_per_float"]]}
        for pattern, curve in document["bandwidth"].items()
    }
    document["two_threads"] = {"bandwidth": slower}
    model = model_of(document)
    # two_pass: read 1 -> 3 and copy 4 -> 12 ns per element, for half of the elements at 1.5 times the time
    assert evaluate(model, threads=2)["time_s"] - alone == pytest.approx(1.5 * 32768 * (2 + 8) * 1e-9)
    assert (
        evaluate(model)["time_s"]
        == evaluate(model_of({**document, "two_threads": {"bandwidth": document["bandwidth"]}}))["time_s"]
    )


def test_tiles_have_a_start_up_cost_where_the_algorithm_has_them(document):
    without = model_of(document, rows=3, cols=10000)
    document["tile_overhead_ns"] = 7.0
    with_ = model_of(document, rows=3, cols=10000)
    for algorithm, tiles in (("tiled_online", 10), ("tiled_reload", 10), ("two_pass", 0)):
        design = {"algorithm": algorithm, "tile": 1024}
        added = evaluate(with_, **design)["time_s"] - evaluate(without, **design)["time_s"]
        assert added == pytest.approx(3 * tiles * 7e-9, abs=1e-12)


def test_a_bias_table_scales_a_threads_time_by_algorithm_isa_stores_and_level(document):
    from archgym.simulators.softmax.calibration import ALGORITHMS

    plain = {isa: {"cached": [1.0, 1.0], "nontemporal": [1.0, 1.0]} for isa in document["lanes"]}
    table = {algorithm: {isa: dict(stores) for isa, stores in plain.items()} for algorithm in ALGORITHMS}
    table["two_pass"]["avx512"]["cached"] = [1.0, 1.25]  # beyond 2^16 bytes
    biased = {**document, "bias": {"log2_bytes": [16], "factors": table}}
    for changes, cols, factor in (
        ({}, 65536, 1.25),
        ({}, 1024, 1.0),
        ({"nontemporal": True}, 65536, 1.0),
        ({"isa": "avx2"}, 65536, 1.0),
        ({"algorithm": "online"}, 65536, 1.0),
    ):
        before, after = (evaluate(model_of(d, cols=cols), **changes)["time_s"] for d in (document, biased))
        assert after == pytest.approx(factor * before)
    before, after = (evaluate(model_of(d, cols=65536), threads=2)["time_s"] for d in (document, biased))
    assert after - 100e-9 == pytest.approx(1.25 * (before - 100e-9))
    table["online"]["scalar"]["cached"] = [1.0]
    with pytest.raises(
        ArchGymError, match=r"bias\.factors\.online\.scalar\.cached must be a list of 2 numbers"
    ):
        model_of(biased)


def test_output_of_many_rows_takes_no_less_than_writing_them(document):
    # 8 * 1024 * 256 bytes = 2^21
    document["bandwidth"]["write"] = {"log2_bytes": [20, 21], "ns_per_float": [2.0, 7.0]}
    assert evaluate(model_of(document, rows=1, cols=1024))["time_per_element_ns"] == pytest.approx(
        5, abs=0.02
    )
    assert evaluate(model_of(document, rows=256, cols=1024))["time_per_element_ns"] == pytest.approx(
        8 + 2 * 0.25, abs=0.02
    )


def test_tiled_reload_always_writes_through_the_caches_first(document):
    document["bandwidth"]["write"]["ns_per_float"] = [7.0, 7.0]
    model = model_of(document, rows=2, cols=1024)
    assert evaluate(model, algorithm="tiled_reload", nontemporal=True)[
        "time_per_element_ns"
    ] == pytest.approx(1 + 7 + 5, abs=0.02)


def test_rows_leave_the_caches_at_8_bytes_per_element_or_at_4_with_nontemporal_stores(document):
    def unhidden_ns(cols, nontemporal):
        all_hidden = 4 if nontemporal else 5
        return (
            evaluate(model_of(document, cols=cols), nontemporal=nontemporal)["time_per_element_ns"]
            - 10 / cols
            - all_hidden
        )

    assert unhidden_ns(8191, nontemporal=False) == pytest.approx(0)
    assert unhidden_ns(8192, nontemporal=False) == pytest.approx(0.5)  # the level begins at 2^16 bytes
    assert unhidden_ns(16383, nontemporal=True) == pytest.approx(0)
    assert unhidden_ns(16384, nontemporal=True) == pytest.approx(0.5)


def test_first_pass_over_many_rows_reads_them_from_where_all_of_them_fit(document):
    document["bandwidth"]["read"] = {"log2_bytes": [20, 21], "ns_per_float": [1.0, 3.5]}
    assert evaluate(model_of(document, rows=256, cols=1024))["time_per_element_ns"] == pytest.approx(
        7.5 + 2 * 0.25, abs=0.02
    )


def test_unmeasured_unrolls_lie_between_measured_ones_and_accumulators_fall_back_to_fewer(document):
    document["compute"]["extended_sum"]["avx512"] = [[1, 1, 30.0], [4, 1, 20.0], [4, 4, 12.0]]
    model = model_of(document, cols=1024)

    def reduction_ns(unroll, accumulators):
        return (
            evaluate(model, unroll=unroll, accumulators=accumulators)["time_per_element_ns"] - 4 - 10 / 1024
        )

    assert reduction_ns(1, 1) == pytest.approx(30)
    assert reduction_ns(2, 1) == pytest.approx(25)
    assert reduction_ns(8, 1) == pytest.approx(20)
    assert reduction_ns(4, 2) == pytest.approx(20)
    assert reduction_ns(8, 8) == pytest.approx(12)


@pytest.mark.parametrize(
    ("algorithm", "k", "passes"),
    [
        ("three_pass_recompute", 4, 3),
        ("three_pass_reload", 5, 3),
        ("two_pass", 3, 2),
        ("online", 3, 2),
        ("tiled_online", 3, 2),
        ("tiled_reload", 4, 2),
    ],
)
@pytest.mark.parametrize(("rows", "cols"), [(1, 65536), (7, 1001), (4096, 4096)])
def test_traffic_is_exactly_the_papers(algorithm, k, passes, rows, cols):
    result = evaluate(SoftmaxCostModel(rows=rows, cols=cols), algorithm=algorithm)
    assert result["memory_traffic_bytes"] == 4 * rows * cols * k
    assert result["passes"] == passes
    assert result["bandwidth_gb_s"] == pytest.approx(4 * rows * cols * k / result["time_s"] / 1e9)
    assert result["time_per_element_ns"] == pytest.approx(result["time_s"] * 1e9 / (rows * cols))


def test_sum_error_falls_with_lanes_and_accumulators_and_follows_the_tile():
    model = SoftmaxCostModel(cols=2**20)
    for isa, lanes in (("scalar", 1), ("avx2", 8), ("avx512", 16)):
        for accumulators in (1, 8):
            expected = 3e-8 + 1.3e-9 * 2**20 / (lanes * accumulators)
            assert evaluate(model, isa=isa, accumulators=accumulators)["sum_error"] == pytest.approx(expected)
    tiled = evaluate(model, algorithm="tiled_online", tile=4096)["sum_error"]
    assert tiled == pytest.approx(3e-8 + 1.3e-9 * 4096 / (16 * 4) + 1.5e-10 * 256)


def test_more_accumulators_than_unrolled_vectors_are_infeasible_and_nothing_else_is():
    model = SoftmaxCostModel()
    designs = every_design(model)
    result = model.evaluate_indices(designs)
    values = model.space.decode(designs)
    np.testing.assert_array_equal(result["feasible"], values["accumulators"] <= values["unroll"])
    for name in METRICS:
        np.testing.assert_array_equal(np.isfinite(result[name]), result["feasible"])
        assert (result[name][result["feasible"]] > 0).all()


def test_an_isa_that_the_machine_lacks_is_infeasible(document):
    del document["lanes"]["avx512"]
    model = model_of(document)
    assert not evaluate(model, isa="avx512")["feasible"]
    assert evaluate(model, isa="avx2")["feasible"]


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 1000), cols=st.integers(1, 2**22), seed=st.integers(0, 2**16))
def test_a_batch_equals_its_rows(rows, cols, seed):
    model = SoftmaxCostModel(rows=rows, cols=cols)
    designs = model.space.sample(16, np.random.default_rng(seed))
    batch = model.evaluate_indices(designs)
    for i in range(len(designs)):
        row = model.evaluate_indices(designs[i : i + 1])
        for name, column in batch.items():
            np.testing.assert_array_equal(row[name], column[i : i + 1])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 100), cols=st.sampled_from([1, 255, 256, 257, 4096, 65536, 10**6]))
def test_canonical_designs_are_fixed_and_cost_the_same(rows, cols):
    model = SoftmaxCostModel(rows=rows, cols=cols)
    designs = every_design(model)
    before = designs.copy()
    canonical = model.canonical(designs)
    np.testing.assert_array_equal(designs, before)
    np.testing.assert_array_equal(model.canonical(canonical), canonical)
    original, representative = model.evaluate_indices(designs), model.evaluate_indices(canonical)
    for name in original:
        np.testing.assert_array_equal(original[name], representative[name])


def test_canonical_merges_tiles_that_are_not_used_and_tiles_that_hold_a_row():
    def tiles(algorithm, cols):
        model = SoftmaxCostModel(cols=cols)
        grid = model.space["tile"].grid
        columns = {name: [value] * len(grid) for name, value in {**DESIGN, "algorithm": algorithm}.items()}
        return model.space.decode(model.canonical(model.space.encode({**columns, "tile": grid})))["tile"]

    assert tiles("online", 2**20).tolist() == [256] * 5
    assert tiles("tiled_online", 2**20).tolist() == [256, 1024, 4096, 16384, 65536]
    assert tiles("tiled_online", 4096).tolist() == [256, 1024, 4096, 4096, 4096]
    assert tiles("tiled_reload", 100).tolist() == [256] * 5


@pytest.mark.parametrize(
    ("name", "value"), list(itertools.product(["rows", "cols"], [0, -1, 1.5, "4", True, None]))
)
def test_a_shape_that_is_not_a_positive_integer_is_refused(name, value):
    with pytest.raises(ArchGymError, match=f"expected {name} as a whole number >= 1"):
        SoftmaxCostModel(**{name: value})


def test_calibrations_load_by_name_path_and_default(tmp_path):
    copy = tmp_path / "mine.json"
    copy.write_text(RECORDED.read_text())
    default, named, mine = Calibration.load(), Calibration.load("xeon-2mb-l2"), Calibration.load(copy)
    assert default == named
    for name in Calibration.recorded():  # not checked when they are loaded
        assert Calibration.load(name) == Calibration.from_json(
            json.loads(Calibration.path(name).read_text()), name
        )
    assert mine.digest == default.digest
    assert evaluate(SoftmaxCostModel(calibration=str(copy))) == evaluate(SoftmaxCostModel())


def test_the_digest_follows_the_numbers_and_not_the_prose(document):
    digest = Calibration.from_json(document, "a").digest
    assert Calibration.from_json({**document, "machine": "another description"}, "b").digest == digest
    assert Calibration.from_json({**document, "row_overhead_ns": 11}, "a").digest != digest
    assert model_of(document).specification["calibration"] == digest
    assert SoftmaxCostModel().specification["calibration"] != digest
    json.dumps(model_of(document).specification)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], "other", "format must be 'archgym-softmax-calibration'"),
        (["version"], 3, "version must be 1 or 2"),
        (["machine"], 5, "machine must be a valid string"),
        (["lanes"], {}, "lanes must be an object"),
        (["lanes"], {"neon": 4}, "lanes must be an object with keys among scalar, avx2, avx512"),
        (["lanes", "avx2"], 0, "lanes.avx2 must be greater than or equal to 1"),
        (["bandwidth", "copy"], None, "bandwidth.copy must be an object"),
        (
            ["bandwidth", "copy", "log2_bytes"],
            [30, 10],
            "bandwidth.copy.log2_bytes must be a list of increasing numbers",
        ),
        (
            ["bandwidth", "copy", "ns_per_float"],
            [1.0],
            "bandwidth.copy.ns_per_float must be a list of 2 numbers",
        ),
        (
            ["bandwidth", "copy", "ns_per_float"],
            [1.0, -1.0],
            r"bandwidth.copy.ns_per_float\[1\] must be greater than 0",
        ),
        (["compute", "scale", "avx2"], [], "compute.scale.avx2 must have at least 1 item"),
        (["compute", "scale", "avx2"], [[1, 1]], r"lacks compute.scale.avx2\[0\]\[2\]"),
        (
            ["compute", "scale", "avx2"],
            [[4, 4, 1.0]],
            "compute.scale.avx2 must be a list with a point for one accumulator",
        ),
        (
            ["compute", "scale", "avx2"],
            [[1, 1, 1.0], [1, 1, 2.0]],
            "compute.scale.avx2 must be a list with each",
        ),
        (
            ["compute", "scale", "avx2"],
            [[1, 1, float("nan")]],
            r"compute.scale.avx2\[0\]\[2\] must be a finite number",
        ),
        (["overlap", "phi"], [0.1], "overlap.phi must be a list of 2 numbers"),
        (["overlap", "phi"], [0.1, 1.5], r"overlap.phi\[1\] must be less than or equal to 1"),
        (
            ["overlap", "prefetch_factor", "256"],
            [1],
            "overlap.prefetch_factor.256 must be a list of 2 numbers",
        ),
        (["row_overhead_ns"], "4", "row_overhead_ns must be a valid number"),
        (["threads", "slowdown"], 0, "threads.slowdown must be greater than 0"),
    ],
)
def test_an_invalid_entry_is_named(document, path, value, message):
    parent_of(document, path)[path[-1]] = value
    with pytest.raises(ArchGymError, match=message):
        Calibration.from_json(document, "broken")


@pytest.mark.parametrize(
    "path",
    [
        ["format"],
        ["version"],
        ["machine"],
        ["lanes"],
        ["bandwidth", "write_nontemporal"],
        ["bandwidth", "copy", "ns_per_float"],
        ["compute", "online_sum"],
        ["compute", "scale", "avx2"],
        ["overlap", "prefetch_factor", "1024"],
        ["row_overhead_ns"],
        ["threads", "start_ns"],
    ],
)
def test_a_missing_entry_is_named(document, path):
    del parent_of(document, path)[path[-1]]
    with pytest.raises(ArchGymError, match=f"lacks {'.'.join(path)};"):
        Calibration.from_json(document, "broken")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["row_overhead_ns"], 10**400),
        (["row_overhead_ns"], -(10**400)),
        (["lanes", "avx2"], 10**400),
        (["bandwidth", "copy", "log2_bytes"], list(range(2_000_000))),
        (["compute", "scale", "avx2"], [[1, 1, 1.0]] * 2_000_000),
    ],
)
def test_numbers_and_lists_beyond_all_measure_are_refused(document, path, value):
    parent_of(document, path)[path[-1]] = value
    with pytest.raises(ArchGymError, match=rf"{'.'.join(path)} must (be|have)") as error:
        Calibration.from_json(document, "broken")
    assert len(str(error.value)) < 400


def test_a_calibration_that_nests_or_goes_on_without_end_is_refused(document, tmp_path):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArchGymError, match="values that no calibration has"):
        Calibration.from_json({**document, "more": deep}, "broken")
    for text in (
        "[" * 100_000,
        json.dumps({**document, "more": 1})[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        " " * 2**21,
    ):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(ArchGymError, match="the calibration"):
            Calibration.load(tmp_path / "broken.json")
    (tmp_path / "broken.json").write_text(json.dumps(document), "utf-8-sig")
    assert Calibration.load(tmp_path / "broken.json").lanes


def test_an_unreadable_calibration_says_what_would_be_read(tmp_path):
    with pytest.raises(
        ArchGymError, match=r"cannot read the calibration 'xeon'.*recorded name: epyc-1mb-l2, xeon-2mb-l2"
    ):
        Calibration.load("xeon")
    with pytest.raises(ArchGymError, match="cannot read the calibration"):
        SoftmaxCostModel(calibration=tmp_path)
    (tmp_path / "text.json").write_text("not json")
    with pytest.raises(ArchGymError, match="is not a JSON text"):
        Calibration.load(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ArchGymError, match="the document must be an object"):
        Calibration.load(tmp_path / "list.json")
