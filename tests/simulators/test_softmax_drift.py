"""Drift of a machine's speed: synthetic machines that become slower while they measure, and what is left of it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.simulators.softmax import Calibration, SoftmaxCostModel
from archgym.simulators.softmax.calibration import RECORDED
from archgym.simulators.softmax.fitting import sample as sampling
from archgym.simulators.softmax.fitting.calibrate import fitted, overlap, predicted, score, steady
from archgym.simulators.softmax.fitting.drift import drift, without_drift
from archgym.simulators.softmax.fitting.sample import agreement, measure_sample, random_designs
from archgym.simulators.softmax.machine import cpu, probing, timing
from archgym.simulators.softmax.machine.kernels import Timing, aligned, aligned_pair
from archgym.simulators.softmax.machine.probing import ProbedTimer, movement

SHAPES = [(1, 2**12), (1, 2**16), (1, 2**20), (1, 2**24), (16, 2**18)]
ISAS = ("scalar", "avx2", "avx512")
SPACE = SoftmaxCostModel.space


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """A processor with all instruction sets and two threads; workloads that nothing reads."""
    for module in (cpu, timing, sampling):
        monkeypatch.setattr(module, "instruction_sets", lambda: ISAS)
    monkeypatch.setattr(sampling, "why_unsupported", lambda design: design["accumulators"] > design["unroll"])
    monkeypatch.setattr(
        sampling,
        "Workload",
        lambda rows, cols, rng: SimpleNamespace(x=aligned((rows, cols)), y=aligned((rows, cols))),
    )


class Machine:
    """A machine of the recorded calibration, on whose clock nothing but measurements takes time.

    Args:
        core, memory: factors on arithmetic and on memory at a time in seconds.
        second_s: time added to the start of a second thread, seconds.
    """

    def __init__(self, core=lambda t: 1.0, memory=lambda t: 1.0, second_s=lambda t: 0.0):
        self.core, self.memory, self.second_s = core, memory, second_s
        self.now, self.measured = 0.0, 0

    def pinned(self):
        return nullcontext()

    def build(self, kernels):
        return dict.fromkeys(kernels, "") and {}

    def measure(self, design, x, y, *, calls, warmups=0):
        arithmetic, memory, start = parts(x.shape, tuple(design[name] for name in SPACE.names))
        in_core = 8 * x.size <= 2**20  # L1 and L2 have the clock of the core
        slower = self.core(self.now) if in_core else self.memory(self.now)
        added = self.second_s(self.now) if design["threads"] == 2 else 0.0
        seconds = self.core(self.now) * (arithmetic + start) + slower * memory + added
        self.now += seconds * (calls + warmups)
        self.measured += 1
        return Timing(seconds, seconds, 0)

    def sleep(self, seconds):
        self.now += seconds


@cache
def parts(shape, values):
    model = SoftmaxCostModel(*shape, "epyc-1mb-l2")
    columns = {name: np.array([value]) for name, value in zip(SPACE.names, values, strict=True)}
    return tuple(float(part[0]) for part in model.parts(model.space.encode(columns)))


def reference_s(floats, threads=1, isa="avx512"):
    design = {**timing.reference_design(), "isa": isa, "threads": threads}
    return sum(parts((1, floats), tuple(design[name] for name in SPACE.names)))


@pytest.fixture(scope="module")
def document():
    """The recorded calibration with the probe times of its machine at rest."""
    sizes = [k / 2 for k in range(20, 53)]

    def curve(threads):
        floats = [round(2**size) for size in sizes]
        return {
            "log2_floats": np.log2(floats).tolist(),
            "ns_per_float": [1e9 * reference_s(n, threads) / n for n in floats],
        }

    recorded = json.loads((RECORDED / "epyc-1mb-l2.json").read_text())
    probe = {
        "core_ns": {isa: 1e9 * reference_s(2048, isa=isa) for isa in ISAS},
        "second_ns": 1e9 * reference_s(2048, 2),
        "workload": curve(1),
        "workload_by_two": curve(2),
    }
    return {**recorded, "version": 2, "probe": probe}


def measured(machine, designs=32, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return measure_sample(machine, random_designs(designs, rng), shapes, rng)


def errors(sample, calibration):
    """MAPE without drift, and as measured."""
    predictions = sample.predicted(calibration)
    return (
        agreement(predictions, without_drift(sample, calibration)).mape,
        agreement(predictions, sample).mape,
    )


def step(before, after, at):
    return lambda t: before if t < at else after


def ramp(rate):
    return lambda t: 1 + rate * t


# --- drift is taken out ---


@pytest.mark.parametrize(
    "drifting",
    [
        {},
        {"core": lambda t: 1.6, "memory": lambda t: 1.6},
        {"core": step(1.0, 1.6, at=0.3), "memory": step(1.0, 1.6, at=0.3)},
        {"core": ramp(0.05), "memory": ramp(0.05)},
        {"core": lambda t: 1.6},
        {"memory": lambda t: 1.8},
        {"second_s": lambda t: 8e-7},
        {"core": ramp(0.1), "memory": step(1.5, 0.9, at=1.0), "second_s": lambda t: -4e-7},
    ],
    ids=["none", "slow", "step", "ramp", "arithmetic", "memory", "second thread", "all at once"],
)
def test_the_error_without_drift_is_small_where_that_as_measured_is_not(document, drifting):
    calibration = Calibration.from_json(document, "rest")
    sample = measured(Machine(**drifting))
    assert not sample.unreliable.any()
    corrected, raw = errors(sample, calibration)
    if drifting:
        assert raw > 0.025 and corrected < raw / 3
    assert corrected < 0.03
    assert drift(sample, calibration).since_calibration


def test_arithmetic_memory_and_the_second_thread_drift_by_their_own_amounts(document):
    calibration = Calibration.from_json(document, "rest")
    machine = Machine(core=lambda t: 1.2, memory=lambda t: 1.7, second_s=lambda t: 3e-7)
    sample = measured(machine)
    found = drift(sample, calibration)
    np.testing.assert_allclose(found.core, 1.2, rtol=1e-6)
    large = sample.rows * sample.cols == 2**24
    np.testing.assert_allclose(found.memory[large], 1.7, rtol=0.03)
    two = sample["threads"] == 2
    assert np.isnan(found.second_s[~two]).all()
    np.testing.assert_allclose(found.second_s[two], 3e-7, rtol=0.3)
    factor = found.ranges()["factor"]
    assert 1 < factor.least <= factor.median <= factor.largest


def test_code_of_each_isa_has_its_own_drift(document):
    """Another guest on the same core slows scalar and vector code differently."""

    class Shared(Machine):
        def measure(self, design, x, y, **arguments):
            took = super().measure(design, x, y, **arguments)
            slower = 1.5 if design["isa"] == "scalar" else 1.1
            return took._replace(seconds=slower * took.seconds)

    calibration = Calibration.from_json(document, "rest")
    sample = measured(Shared(), shapes=[(1, 2**12)])
    corrected, raw = errors(sample, calibration)
    assert corrected < 0.01 and raw > 0.05


def test_a_calibration_without_probe_times_shows_the_runs_own_drift_and_takes_none_out():
    old = Calibration.load("epyc-1mb-l2")
    assert old.probe is None
    measured(quiet := Machine(), shapes=[(1, 2**16)])
    stepping = step(1.5, 1.0, at=quiet.now / 2)
    sample = measured(Machine(core=stepping, memory=stepping), shapes=[(1, 2**16)])
    found = drift(sample, old)
    assert not found.since_calibration
    np.testing.assert_array_equal(found.factor, 1)
    np.testing.assert_array_equal(without_drift(sample, old).seconds, sample.seconds)
    for ratios in (found.core, found.memory):
        assert ratios.min() == 1
        assert ratios.max() == pytest.approx(1.5, rel=0.01)


def test_a_sample_without_probes_has_no_drift(document):
    calibration = Calibration.from_json(document, "rest")
    sample = replace(measured(Machine(), designs=8, shapes=[(1, 4096)]), probes=None)
    np.testing.assert_array_equal(drift(sample, calibration).factor, 1)
    np.testing.assert_array_equal(steady(document, sample).seconds, sample.seconds)


def test_fitting_a_sample_of_a_drifting_machine_finds_the_machine_at_rest(document):
    sizes = document["overlap"]["log2_bytes"]
    unknown = {
        **{key: entry for key, entry in document.items() if key != "bias"},
        "row_overhead_ns": 0.0,
        "tile_overhead_ns": 0.0,
        "overlap": overlap(sizes, np.zeros((len(sizes) + 1, 3))),
        "threads": {"slowdown": 1.0, "start_ns": 0.0},
    }
    shapes = [(64, 256), *((1, 2**k) for k in (11, 13, 17, 21, 24))]
    rest = measured(Machine(), designs=24, seed=1, shapes=shapes)
    drifting = measured(Machine(core=ramp(0.3), memory=step(2.0, 1.4, at=2.0)), designs=24, shapes=shapes)
    assert agreement(predicted(document, drifting), drifting).mape > 0.1
    found = fitted(unknown, drifting)
    blind = fitted(unknown, replace(drifting, probes=None))
    assert score(found, rest).mape < 0.04
    assert score(blind, rest).mape > 0.08


# --- what moved is measured again ---


def timer_of(machine, monkeypatch, cols=4096):
    monkeypatch.setattr(probing, "sleep", machine.sleep)
    return ProbedTimer(machine, aligned((1, cols)), aligned((1, cols)), np.random.default_rng(0))


class Turbulent(Machine):
    """Every measurement takes a different time until `quiet`, seconds; the first by a factor of 1."""

    def __init__(self, quiet):
        super().__init__(core=self._slower)
        self.quiet = quiet

    def _slower(self, t):
        return 1.0 if t >= self.quiet else 1 + 0.2 * (self.measured % 40)


def test_designs_whose_probes_moved_are_measured_again_and_the_steady_attempt_counts(monkeypatch):
    designs = random_designs(8, np.random.default_rng(0))
    at_rest = timer_of(Machine(), monkeypatch).measure_probed(designs)
    assert at_rest.attempts.tolist() == [1] * 8 and not at_rest.unreliable.any()
    found = timer_of(Turbulent(quiet=probing.PAUSE_S), monkeypatch).measure_probed(designs)
    assert found.attempts.max() == 2 and not found.unreliable.any()
    again = found.attempts == 2
    assert again.sum() >= 4
    np.testing.assert_allclose(found.seconds[again], at_rest.seconds[again])
    np.testing.assert_allclose(found.probes.core[again], at_rest.probes.core[again])


def test_designs_beside_probes_that_never_rest_are_unreliable_after_the_last_attempt(monkeypatch):
    designs = random_designs(8, np.random.default_rng(0))
    found = timer_of(Turbulent(quiet=np.inf), monkeypatch).measure_probed(designs)
    assert found.unreliable.any()
    assert (found.attempts[found.unreliable] == probing.ATTEMPTS).all()


def test_a_batch_that_takes_long_is_measured_twice_at_most(monkeypatch):
    designs = random_designs(8, np.random.default_rng(0))
    monkeypatch.setattr(probing, "BATCH_S", -1.0)
    found = timer_of(Turbulent(quiet=np.inf), monkeypatch).measure_probed(designs)
    assert found.attempts.max() == 2


def test_only_the_probe_moving_is_enough(monkeypatch):
    class ProbeMoves(Machine):
        def measure(self, design, x, y, **arguments):
            took = super().measure(design, x, y, **arguments)
            is_probe = x.size == probing_floats and self.now < probing.PAUSE_S
            return took._replace(seconds=took.seconds * (1 + (self.measured if is_probe else 0)))

    probing_floats = timing.PROBE_FLOATS
    designs = random_designs(4, np.random.default_rng(0), threads=1)
    found = timer_of(ProbeMoves(), monkeypatch).measure_probed(designs)
    assert found.attempts.tolist() == [2] * 4 and not found.unreliable.any()


@pytest.mark.parametrize(
    ("seconds", "moved"),
    [
        ([1.0] * 9, False),
        ([1.0, 1.04, 1.04, 2, 2, 2, 2, 2, 2], False),  # the least time is confirmed by two others
        ([1.0, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2], True),  # it was a lucky one
        ([1.2, 1.08, 1.0], False),
        ([1.3, 1.2, 1.0], True),
    ],
)
def test_a_kernel_has_moved_where_its_least_time_is_not_confirmed(seconds, moved):
    assert (movement(seconds) > probing.MOVED_LIMIT) is moved


def test_many_rows_are_probed_on_their_memory_as_one_row(monkeypatch):
    machine = Machine()
    seen = []
    measure = machine.measure
    machine.measure = lambda design, x, y, **arguments: (
        seen.append(x.shape) or measure(design, x, y, **arguments)
    )
    rows = ProbedTimer(machine, aligned((8, 512)), aligned((8, 512)), np.random.default_rng(0))
    found = rows.measure_probed(random_designs(4, np.random.default_rng(0), threads=1))
    assert set(seen) == {(8, 512), (1, 4096), (1, timing.PROBE_FLOATS)}
    np.testing.assert_allclose(found.probes.workload, reference_s(4096))


# --- where data stand ---


@pytest.mark.parametrize("shape", [(1, 1), (1, 2048), (1, 4096), (3, 1000), (64, 256), (1, 2**18)])
def test_input_and_output_stand_in_one_block_that_begins_at_a_multiple_of_its_size(shape):
    for _ in range(20):
        x, y = aligned_pair(shape)
        first, second, size = x.ctypes.data, y.ctypes.data, x.nbytes
        assert x.shape == y.shape == shape and x.dtype == y.dtype == np.float32
        assert first + size <= second
        block = 1 << (second + size - first - 1).bit_length()
        assert first % min(block, 2**21) == 0
        assert (second - first) % 4096 == 2048  # stores do not alias loads
        assert x.flags.c_contiguous and y.flags.writeable
        x[:], y[:] = 1, 2
        assert (x == 1).all() and (y == 2).all()


def test_lines_of_a_block_that_fits_l1_have_different_hashes_of_their_addresses():
    """The hash by which AMD's processors look data up in L1: exclusive or of address bits 12 to 27."""

    def hashed(address):
        bits = [(address >> bit) & 1 for bit in range(28)]
        return tuple(
            bits[a] ^ bits[b] for a, b in zip(range(12, 20), (27, 26, 25, 20, 21, 22, 23, 24), strict=True)
        )

    for _ in range(20):
        x, y = aligned_pair((1, 2048))
        start, end = x.ctypes.data, y.ctypes.data + y.nbytes
        pages = {hashed(page) for page in range(start, end, 4096)}
        assert len(pages) == -(-(end - start) // 4096)


# --- the model's parts, and calibrations ---


@pytest.mark.parametrize("name", ["epyc-1mb-l2", "xeon-2mb-l2"])
@pytest.mark.parametrize("shape", [(1, 1000), (7, 65536), (1, 2**24)])
def test_the_parts_of_a_time_are_the_time(name, shape):
    model = SoftmaxCostModel(*shape, name)
    designs = model.space.sample(500, np.random.default_rng(0))
    columns = model.evaluate_indices(designs)
    arithmetic, memory, start = model.parts(designs)
    feasible = columns["feasible"]
    np.testing.assert_allclose((arithmetic + memory + start)[feasible], columns["time_s"][feasible])
    assert (memory[feasible] >= 0).all() and np.isnan(arithmetic[~feasible]).all()


def test_shipped_calibrations_stay_as_they_were():
    digests = {name: Calibration.load(name).digest for name in Calibration.recorded()}
    assert digests == DIGESTS
    assert all(Calibration.load(name).probe is None for name in digests)


DIGESTS = {"epyc-1mb-l2": "5b2ab722a08bba7f", "xeon-2mb-l2": "52356cee24f4004e"}  # of version 1


def test_probe_times_are_read_and_no_prediction_depends_on_them(document):
    calibration = Calibration.from_json(document, "rest")
    probe = calibration.probe
    assert probe.core_s["scalar"] == pytest.approx(reference_s(2048, isa="scalar"))
    assert probe.second_s == pytest.approx(reference_s(2048, 2))
    for floats, threads in ((2**12, 1), (2**20, 2), (2**26, 1)):
        assert probe.workload_s(floats, threads) == pytest.approx(reference_s(floats, threads))
    assert probe.workload_s(2**30, 1) == pytest.approx(16 * probe.workload_s(2**26, 1))
    slower = {**document["probe"], "second_ns": 1.0}
    assert Calibration.from_json({**document, "probe": slower}, "rest").digest == calibration.digest
    one = {key: document["probe"][key] for key in ("core_ns", "workload")}
    alone = Calibration.from_json({**document, "probe": one}, "one processor")
    assert alone.probe.second_s is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["core_ns", "avx2"], 0, "probe.core_ns.avx2 must be greater than 0"),
        (["workload", "ns_per_float"], [1.0], "must be a list of 33 numbers, one per log2_floats"),
        (["workload", "log2_floats"], [2, 1], "probe.workload.log2_floats must be a list of increasing"),
        (["second_ns"], "fast", "probe.second_ns must be a valid number"),
    ],
)
def test_an_invalid_probe_is_named(document, path, value, message):
    broken = json.loads(json.dumps(document))
    entry = broken["probe"]
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    with pytest.raises(ArchGymError, match=message):
        Calibration.from_json(broken, "broken")
