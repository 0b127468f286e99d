"""The softmax cost model against kernels measured on the machine of its calibration."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from archgym.simulators.softmax import SoftmaxCostModel

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "softmax"
CALIBRATION = ROOT / "archgym" / "simulators" / "softmax" / "calibrations" / "xeon-2mb-l2.json"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the measured kernels (shared/data/softmax beside the project) are not here"
)

PATTERNS = {
    "st_read": "read",
    "st_write": "write",
    "st_writent": "write_nontemporal",
    "st_copy": "copy",
    "st_copynt": "copy_nontemporal",
    "st_inpl": "in_place",
    "st_inplnt": "in_place_nontemporal",
}
PASSES = {
    "max": "maximum",
    "sum": "exponential_sum",
    "exs": "stored_exponential_sum",
    "sxp": "normalised_exponential",
    "ext": "extended_sum",
    "vsx": "extended_output",
    "onl": "online_sum",
    "scl": "scale",
}


def read(name):
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def measured():
    """Every measured point of a design in the space: (rows, cols, threads, predicted ns, measured ns) as
    columns.
    """
    points = []
    tiles = SoftmaxCostModel.space["tile"].grid
    rows = [row for row in read("measured_kernels.csv") if int(row["tile"]) in tiles]
    for shape in sorted({(int(row["rows"]), int(row["cols"])) for row in rows}):
        here = [row for row in rows if (int(row["rows"]), int(row["cols"])) == shape]
        designs = {
            name: [int(row[name]) for row in here] for name in ("unroll", "accumulators", "tile", "threads")
        }
        designs |= {name: [row[name] for row in here] for name in ("algorithm", "isa")}
        designs["prefetch"] = [int(row["prefetch_bytes"]) for row in here]
        designs["nontemporal"] = [row["nontemporal"] == "1" for row in here]
        predicted = SoftmaxCostModel(*shape).evaluate(designs)["time_s"] * 1e9
        points += [
            (*shape, int(row["threads"]), p, float(row["median_cpu_ns"]))
            for row, p in zip(here, predicted, strict=True)
        ]
    return np.array(points).T


def test_one_thread_is_predicted_within_15_percent_and_in_the_right_order(measured):
    rows, cols, _, predicted, actual = measured[:, measured[2] == 1]
    assert len(rows) > 6000
    error = np.abs(predicted / actual - 1).mean()
    rank = spearmanr(predicted / (rows * cols), actual / (rows * cols)).statistic
    print(
        f"\n{len(rows)} points on one thread: MAPE {error:.2%}, Spearman of the time per element {rank:.3f}"
    )
    assert error <= 0.15
    assert rank >= 0.90


def test_many_rows_and_two_threads_are_predicted_within_20_percent(measured):
    rows, _, threads, predicted, actual = measured
    error = np.abs(predicted / actual - 1)
    print(f"\nMAPE, many rows: {error[rows > 1].mean():.2%}; two threads: {error[threads == 2].mean():.2%}")
    assert error[rows > 1].mean() <= 0.20
    assert error[threads == 2].mean() <= 0.20


def test_the_models_choice_is_seldom_much_slower_than_the_best_measured(measured):
    """Regret per size: measured time of the design that the model prefers, over that of the fastest one."""
    rows, cols, threads, predicted, actual = measured
    regrets = []
    print()
    for size in np.unique(cols):
        here = (rows == 1) & (threads == 1) & (cols == size)
        if here.sum() >= 40:
            choice = actual[here][predicted[here] == predicted[here].min()].max()
            regrets.append(choice / actual[here].min())
            print(f"2^{np.log2(size):.0f} columns, {here.sum()} designs: regret {regrets[-1]:.2f}")
    assert np.median(regrets) <= 1.15
    assert max(regrets) <= 2.0


def test_the_recorded_calibration_holds_the_measured_curves():
    recorded = json.loads(CALIBRATION.read_text())["bandwidth"]
    for kernel, pattern in PATTERNS.items():
        rows = sorted(
            (int(r["log2_elements"]), float(r["ns_per_element"]))
            for r in read("bandwidth_calibration.csv")
            if r["kernel"] == kernel
        )
        log2_bytes_per_element = 3 if kernel == "st_copy" else 2
        assert recorded[pattern]["log2_bytes"] == [n + log2_bytes_per_element for n, _ in rows]
        assert recorded[pattern]["ns_per_float"] == [ns for _, ns in rows]


def test_the_recorded_calibration_holds_the_measured_passes():
    recorded = json.loads(CALIBRATION.read_text())["compute"]
    points = {
        (what, isa, u, a): ns
        for what, by_isa in recorded.items()
        for isa, points in by_isa.items()
        for u, a, ns in points
    }
    measured = {
        (PASSES[r["pass"]], r["isa"], int(r["unroll"]), int(r["accumulators"])): float(r["ns_per_element_l1"])
        for r in read("pass_compute.csv")
    }
    assert points == measured
