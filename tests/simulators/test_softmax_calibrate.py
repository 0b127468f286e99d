"""What a calibration is fitted to: known machines are found again from what they would measure."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from archgym.simulators.softmax import Calibration, SoftmaxCostModel
from archgym.simulators.softmax.calibration import RECORDED
from archgym.simulators.softmax.fitting.calibrate import (
    _with_small_sizes,
    fitted,
    level_of,
    overlap,
    predicted,
    score,
    with_bias,
)
from archgym.simulators.softmax.fitting.sample import Sample

SHAPES = [(64, 256), *((1, 2**k) for k in (11, 13, 15, 17, 19, 21, 23, 25))]
LEVELS = [15.0, 20.0, 25.0]


@pytest.fixture
def machine():
    """The recorded machine with overheads, overlap and threads of round numbers."""
    document = json.loads((RECORDED / "xeon-2mb-l2.json").read_text())
    phi = np.array([[0.1, 0.05, 0.1], [0.0, 0.0, 0.0], [0.4, 0.2, 0.1], [0.6, 0.3, 0.0]])
    return {
        **document,
        "row_overhead_ns": 24.0,
        "tile_overhead_ns": 30.0,
        "overlap": overlap(LEVELS, phi),
        "threads": {"slowdown": 1.2, "start_ns": 500},
    }


def measured(document, designs=400, seed=0, noise=0.0):
    """A sample that a machine with this calibration would measure."""
    rng = np.random.default_rng(seed)
    space = SoftmaxCostModel.space
    rows = space.sample(designs, rng)
    columns = space.decode(rows[rows[:, 3] <= rows[:, 2]])
    n = len(columns["isa"])
    sample = Sample(
        designs={name: np.tile(column, len(SHAPES)) for name, column in columns.items()},
        rows=np.repeat([rows for rows, _ in SHAPES], n),
        cols=np.repeat([cols for _, cols in SHAPES], n),
        seconds=np.ones(n * len(SHAPES)),
        unreliable=np.zeros(n * len(SHAPES), bool),
    )
    seconds = predicted(document, sample) * np.exp(noise * rng.standard_normal(len(sample)))
    return Sample(sample.designs, sample.rows, sample.cols, seconds, sample.unreliable)


def unknown(document):
    return {
        **copy.deepcopy(document),
        "row_overhead_ns": 0.0,
        "tile_overhead_ns": 0.0,
        "overlap": overlap(LEVELS, np.zeros((4, 3))),
        "threads": {"slowdown": 1.0, "start_ns": 0.0},
    }


def test_fitting_finds_the_machine_that_a_sample_is_from(machine):
    found = fitted(unknown(machine), measured(machine, noise=0.02))
    assert score(found, measured(machine, seed=1)).mape < 0.02
    assert found["tile_overhead_ns"] == pytest.approx(30, abs=6)
    assert found["threads"]["slowdown"] == pytest.approx(1.2, abs=0.05)
    assert found["threads"]["start_ns"] == pytest.approx(500, rel=0.25)
    for level in (2, 3):
        assert found["overlap"]["phi"][level] == pytest.approx(machine["overlap"]["phi"][level], abs=0.1)


def test_fitting_improves_on_the_start_and_leaves_it_as_it_was(machine):
    start, sample = unknown(machine), measured(machine, noise=0.05)
    before = copy.deepcopy(start)
    assert score(fitted(start, sample), sample).mape < score(start, sample).mape
    assert start == before


def test_unreliable_points_do_not_count(machine):
    sample = measured(machine)
    wrong = np.arange(len(sample)) % 5 == 0
    spoilt = Sample(
        sample.designs, sample.rows, sample.cols, np.where(wrong, 100 * sample.seconds, sample.seconds), wrong
    )
    assert fitted(unknown(machine), spoilt) == fitted(unknown(machine), sample.where(~wrong))
    assert score(machine, spoilt).mape == pytest.approx(0, abs=1e-12)


def test_one_processor_leaves_the_entries_of_two_threads_alone(machine):
    sample = measured(machine)
    found = fitted(unknown(machine), sample.where(sample["threads"] == 1))
    assert found["threads"] == {"slowdown": 1.0, "start_ns": 0.0}


def test_a_bias_table_takes_out_what_the_model_misses(machine):
    def biased(seed):
        sample = measured(machine, seed=seed)
        off = (sample["algorithm"] == "tiled_reload") & sample["nontemporal"]
        return Sample(
            sample.designs,
            sample.rows,
            sample.cols,
            np.where(off, 2 * sample.seconds, sample.seconds),
            sample.unreliable,
        )

    document = with_bias(machine, biased(0))
    Calibration.from_json(document, "biased")
    assert score(machine, biased(1)).mape > 0.03
    assert score(document, biased(1)).mape < 0.01
    assert with_bias(document, biased(0)) == document  # an older table is not built upon


def test_levels_are_those_of_a_threads_own_share():
    columns = {"threads": [1, 2, 2, 1], "nontemporal": [False, False, False, True]}
    sample = Sample(
        {name: np.array(column) for name, column in columns.items()},
        rows=np.array([1, 1, 3, 1]),
        cols=np.array([2**12, 2**13, 2**11, 2**13]),
        seconds=np.ones(4),
        unreliable=np.zeros(4, bool),
    )
    assert level_of(sample, [15.5]).tolist() == [0, 0, 0, 0]  # 2^15 bytes each
    assert level_of(sample, [15.0]).tolist() == [1, 1, 1, 1]
    assert level_of(sample, [14.9, 15.1]).tolist() == [1, 1, 1, 1]


def test_curves_of_two_threads_are_continued_by_one_threads_and_never_below_it():
    single = {
        "read": {"log2_bytes": [10, 12, 16, 20], "ns_per_float": [1.0, 1.0, 2.0, 4.0]},
        "write_nontemporal": {"log2_bytes": [10, 12, 16, 20], "ns_per_float": [3.0, 3.0, 3.0, 3.0]},
    }
    both = {
        "read": {"log2_bytes": [16, 20], "ns_per_float": [1.5, 8.0]},
        "write_nontemporal": {"log2_bytes": [16, 20], "ns_per_float": [6.0, 6.0]},
    }
    joined = _with_small_sizes(both, single)
    assert joined["read"] == {"log2_bytes": [10, 12, 16, 20], "ns_per_float": [1.0, 1.0, 2.0, 8.0]}
    assert joined["write_nontemporal"]["ns_per_float"] == [6.0, 6.0, 6.0, 6.0]  # shares memory at any size
