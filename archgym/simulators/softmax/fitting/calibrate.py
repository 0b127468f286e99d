"""Measures a calibration of the softmax cost model on this machine.

Curves and passes are measured alone; the other entries are fitted to a sample of measured kernels, by the
mean of |log(predicted / measured)|. The entries of the document (format: README.md):

    bandwidth       each access pattern by itself, in code of the widest vectors, from L1 to memory
    compute         each pass with its data in L1, at a few (unroll, accumulators) that the model interpolates
    row_overhead_ns, tile_overhead_ns, overlap, threads
                    fitted
    bias            optional, fitted: the remaining error, a factor for each (algorithm, ISA, non-temporal
                    stores, cache level)
    probe           times of the probes (`machine.probing`): in L1 at the start, on the workload beside the
                    curves

The machine's speed may change while it is measured: passes, and curves in L1 and L2, are divided by the drift
of the core probe since the start, kernels by the drift of `fitting.drift`. Curves beyond L2 and the workload
probe's are measured side by side, so that their ratio stays.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np

from archgym.progress import Progress, parts, silent
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.fitting.drift import without_drift
from archgym.simulators.softmax.fitting.sample import (
    BATCH,
    Agreement,
    Sample,
    agreement,
    build_and_check,
    build_probes,
    measure_sample,
    random_designs,
)
from archgym.simulators.softmax.machine.checking import Workload
from archgym.simulators.softmax.machine.cpu import cache_bytes, instruction_sets, processor, processors
from archgym.simulators.softmax.machine.kernels import LANES, Kernels, Pass, aligned_pair
from archgym.simulators.softmax.machine.probing import ProbedTimer
from archgym.simulators.softmax.machine.timing import reference_design
from archgym.simulators.softmax.model import ALGORITHMS, TILED
from archgym.simulators.softmax.terms import FORMAT, PASSES, PREFETCH_BYTES, VERSION
from archgym.space import Array

Document = dict[str, Any]

LOG2_FLOATS = [k / 2 for k in range(20, 53)]  # sizes of the curves: 4 KB to 256 MB of x
MIN_LOG2_SHARED = 16  # smallest size measured with two threads, whose start takes longer than smaller ones
MOST_COPIED = 2**22  # floats; larger curves are measured on parts of one workload
L1_FLOATS = 2048  # 8 KB of x, 8 KB of y
POINTS = ((1, 1), (2, 1), (4, 1), (4, 4), (8, 1), (8, 2), (8, 4), (8, 8))  # (unroll, accumulators)
VECTORS = ("avx2", "avx512")  # scalar code is slower than memory, so it shows nothing of their overlap
SAMPLE_DESIGNS = 18  # designs of each on one thread; every other one also on two
SAMPLE_SHAPES = [(64, 256), *((1, 2**k) for k in (11, 13, 15, 17, 19, 21, 23, 24, 25))]
MIN_TILES = 4  # tiles of a row, from which on their cost shows
OVERHEADS_NS = np.linspace(0, 200, 401)
BIAS_DESIGNS = 160
BIAS_SHAPES = [(1, 2**k) for k in (11, 12, 14, 16, 18, 19, 20, 21, 22, 24, 25)]
STEPS_S = (8, 5, 5, 3, 10, 25)  # typical seconds of the steps of `calibrate`, for the progress bar

PATTERN_PASSES = {  # pattern: (pass, non-temporal)
    "read": ("maximum", False),
    "write": ("write", False),
    "write_nontemporal": ("write", True),
    "copy": ("copy", False),
    "copy_nontemporal": ("copy", True),
    "in_place": ("scale", False),
    "in_place_nontemporal": ("scale", True),
}


def calibrate(kernels: Kernels, *, seed: int = 0, progress: Progress = silent) -> Document:
    """Measure this machine; about two minutes.

    Args:
        kernels: compiler and runner of kernels.
        seed: seed for the sample of kernels and the order of measurements.
        progress: a function of (what is being done, the share that is done).

    Raises:
        CompilerError: a kernel does not compile, or gives wrong results.
    """
    rng = np.random.default_rng(seed)
    two_threads = len(processors()) > 1
    steps = parts(progress, STEPS_S)
    patterns = [
        Pass(name, instruction_sets()[-1], 8, 8, nontemporal) for name, nontemporal in PATTERN_PASSES.values()
    ]
    passes = {
        (name, isa, *point): Pass(name, isa, *point)
        for name in PASSES
        for isa in instruction_sets()
        for point in POINTS
    }
    _build(kernels, [*patterns, *passes.values()], steps[0])
    build_probes(kernels)
    probe: Document = {"core_ns": _core_ns(kernels, rng)}
    large = Workload(1, int(2 ** LOG2_FLOATS[-1]), rng)
    curves, probe["workload"], _ = _bandwidth(kernels, 1, large, probe, rng, steps[1])
    document: Document = {
        "format": FORMAT,
        "version": VERSION,
        "machine": describe_machine(kernels),
        "lanes": {isa: LANES[isa] for isa in instruction_sets()},
        "probe": probe,
        "bandwidth": curves,
        "compute": _compute(kernels, passes, probe, rng, steps[3]),
        "overlap": overlap(levels := cache_levels(), np.zeros((len(levels) + 1, len(PREFETCH_BYTES)))),
        "row_overhead_ns": 0.0,
        "tile_overhead_ns": 0.0,
        "threads": {"slowdown": 1.0, "start_ns": 0.0},
    }
    if two_threads:
        shared, probe["workload_by_two"], second_ns = _bandwidth(kernels, 2, large, probe, rng, steps[2])
        probe["second_ns"] = _significant(second_ns)
        document["two_threads"] = {"bandwidth": _with_small_sizes(shared, curves)}
    one = [
        design
        for isa in VECTORS
        if isa in instruction_sets()
        for design in random_designs(SAMPLE_DESIGNS, rng, threads=1, isa=isa)
    ]
    one = one or random_designs(SAMPLE_DESIGNS, rng, threads=1)
    two = [{**design, "threads": 2} for design in one[::2]] if two_threads else []
    build_and_check(kernels, [*one, *two], steps[4])
    return fitted(document, measure_sample(kernels, [*one, *two], SAMPLE_SHAPES, rng, steps[5]))


def describe_machine(kernels: Kernels) -> str:
    """The machine in words: processor, caches, system, compiler."""
    caches = ", ".join(f"{size >> 10} KB {name}" for name, size in cache_bytes().items())
    return (
        f"{processor()}, {len(processors())} processors ({caches or 'unknown caches'}); {platform.system()}; "
        f"{kernels.compiler.version}"
    )


def cache_levels() -> list[float]:
    """log2 of the footprints, in bytes, at which a level of the hierarchy ends."""
    sizes = cache_bytes()
    return [
        float(np.log2(sizes.get(name, default)))
        for name, default in (("L1d", 2**15), ("L2", 2**20), ("L3", 2**25))
    ]


# --- measured ---


def _build(kernels: Kernels, passes: Sequence[Pass], progress: Progress) -> None:
    by_library: dict[tuple[str, ...], list[Pass]] = {}
    for each in passes:
        by_library.setdefault(tuple(each.options), []).append(each)
    groups = list(by_library.values())
    for start in range(0, len(groups), 2):
        for reason in kernels.build([each for group in groups[start : start + 2] for each in group]).values():
            raise CompilerError(reason)
        progress("compiling", min(1.0, (start + 2) / len(groups)))


def _core_ns(kernels: Kernels, rng: np.random.Generator) -> Document:
    """ns of the probe in code of each ISA with its data in L1, from which drift counts."""
    workload = Workload(1, L1_FLOATS, rng)
    timer = ProbedTimer(kernels, workload.x, workload.y, rng)
    designs = [{**reference_design(), "isa": isa} for isa in instruction_sets()]
    cores = timer.measure_probed(designs).probes.core.tolist()
    return {isa: _significant(1e9 * core_s) for isa, core_s in zip(instruction_sets(), cores, strict=True)}


def _bandwidth(
    kernels: Kernels,
    threads: int,
    workload: Workload,
    probe: Document,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Document, Document, float]:
    """ns per float of each pattern for each thread, against log2 of the bytes that the thread touches, and of
    the workload probe, against log2 of the floats; ns of the probe by two threads in L1: the median, since
    where virtual processors run decides from one time to the next what starting a thread takes.
    """
    widest = instruction_sets()[-1]
    patterns = {
        pattern: Pass(name, widest, 8, 8, nontemporal, threads)
        for pattern, (name, nontemporal) in PATTERN_PASSES.items()
    }
    in_core, second_ns = cache_levels()[1], []

    def measured(passes: Sequence[Pass], n: int) -> tuple[Array, float]:
        """Seconds of passes, and of the workload probe."""
        x, y = workload.x[:, :n], workload.y[:, :n]
        if n <= MOST_COPIED:
            x, y = aligned_pair((1, n))
            x[:], y[:] = workload.x[:, :n], 0
        timer = ProbedTimer(kernels, x, y, rng)
        found = timer.measure_probed(passes)
        slower = 1e9 * found.probes.widest / probe["core_ns"][widest]
        second_ns.append(float(np.median(1e9 * found.probes.second / slower)))
        drift = slower if np.log2(8 * n / threads) < in_core else np.ones(len(slower))
        return found.seconds / drift, float(np.median(found.probes.workload / drift))

    curves: Document = {pattern: {"log2_bytes": [], "ns_per_float": []} for pattern in patterns}
    beside: Document = {"log2_floats": [], "ns_per_float": []}
    overhead = measured([patterns["read"]], 256)[0][0] if threads == 2 else 0.0
    for i, log2_floats in enumerate(LOG2_FLOATS):
        n = int(2**log2_floats) // 256 * 256  # whole steps for each thread
        shown = patterns if threads == 1 or log2_floats >= MIN_LOG2_SHARED else {}
        times, reference_s = measured(list(shown.values()) or [patterns["read"]], n)
        beside["log2_floats"].append(round(float(np.log2(n)), 4))
        beside["ns_per_float"].append(_significant(1e9 * reference_s / n))
        for pattern, taken in zip(shown, times, strict=False):
            curves[pattern]["log2_bytes"].append(
                round(float(np.log2(n / threads * (8 if pattern == "copy" else 4))), 4)
            )
            curves[pattern]["ns_per_float"].append(
                _significant(1e9 * max(taken - overhead, 0.1 * taken) / (n / threads))
            )
        progress("bandwidth" if threads == 1 else "bandwidth of two threads", (i + 1) / len(LOG2_FLOATS))
    return curves, beside, float(np.median(second_ns))


def _with_small_sizes(curves: Document, single: Document) -> Document:
    """Curves of two threads, at least as slow as one thread's, and extended by those to small sizes, where
    each thread has its own caches; patterns that bypass the caches are extended at the ratio of the smallest
    measured size."""
    joined: Document = {}
    for pattern, curve in curves.items():
        alone = single[pattern]["log2_bytes"], single[pattern]["ns_per_float"]
        sizes = curve["log2_bytes"]
        costs = np.maximum(curve["ns_per_float"], np.interp(sizes, *alone))
        ratio = costs[0] / np.interp(sizes[0], *alone) if pattern.endswith("_nontemporal") else 1.0
        small = [(size, ns * ratio) for size, ns in zip(*alone, strict=True) if size < sizes[0]]
        joined[pattern] = {
            "log2_bytes": [size for size, _ in small] + sizes,
            "ns_per_float": [_significant(float(ns)) for ns in (*(ns for _, ns in small), *costs)],
        }
    return joined


def _compute(
    kernels: Kernels,
    passes: Mapping[tuple[Any, ...], Pass],
    probe: Document,
    rng: np.random.Generator,
    progress: Progress,
) -> Document:
    """ns per element of each pass with its data in L1."""
    workload = Workload(1, L1_FLOATS, rng)
    timer = ProbedTimer(kernels, workload.x, workload.y, rng)
    points: Document = {name: {isa: [] for isa in instruction_sets()} for name in PASSES}
    keys = list(passes)
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        found = timer.measure_probed([passes[key] for key in batch])
        for key, seconds, core_s in zip(batch, found.seconds, found.probes.core, strict=True):
            name, isa, unroll, accumulators = key
            steady = seconds * probe["core_ns"][isa] / (1e9 * core_s)
            points[name][isa].append([unroll, accumulators, _significant(1e9 * steady / L1_FLOATS)])
        progress("compute", min(1.0, (start + BATCH) / len(keys)))
    return points


def _significant(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


# --- fitted ---


def fitted(document: Document, sample: Sample) -> Document:
    """A calibration whose overheads, overlap and threads bring the model nearest to a sample of this
    machine, without drift.

    The drift of a point depends on the model's parts of its time: those of the first fit serve a second one.
    """
    sample = sample.where(~sample.unreliable)
    if sample.probes is None:
        return _fitted(document, sample)
    first = _fitted(document, steady(document, sample))
    return _fitted(document, steady(first, sample))


def steady(document: Document, sample: Sample) -> Sample:
    """A sample without drift since a calibration."""
    return without_drift(sample, Calibration.from_json(document, "host"))


def _fitted(document: Document, sample: Sample) -> Document:
    document = deepcopy(document)
    levels = document["overlap"]["log2_bytes"]
    one, two = sample.where(sample["threads"] == 1), sample.where(sample["threads"] == 2)

    plain = ~np.isin(one["algorithm"], TILED)
    tiles = -(-one.cols // one["tile"])
    for name, fitting, starts in (
        ("row_overhead_ns", plain & (level_of(one, levels) == 0), one.rows),
        ("tile_overhead_ns", ~plain & (tiles >= MIN_TILES), one.rows * tiles),
    ):
        some, seconds = one.where(fitting), predicted(document, one)[fitting]
        errors = [_deviation(seconds + 1e-9 * ns * starts[fitting], some.seconds) for ns in OVERHEADS_NS]
        document[name] = float(OVERHEADS_NS[np.argmin(errors)])

    # Time is linear in phi, so the time at any phi follows from those at 0 and 1.
    level = level_of(one, levels)
    phi = np.zeros((len(levels) + 1, len(PREFETCH_BYTES)))
    hidden = predicted({**document, "overlap": overlap(levels, phi)}, one)
    exposed = predicted({**document, "overlap": overlap(levels, phi + 1)}, one)
    for i, (j, distance) in product(range(len(phi)), enumerate(PREFETCH_BYTES)):
        here = (level == i) & (one["prefetch"] == distance)
        candidates = np.linspace(0, 1 if j == 0 else phi[i, 0], 101)  # prefetching only lowers phi
        errors = [
            _deviation((hidden + value * (exposed - hidden))[here], one.seconds[here]) for value in candidates
        ]
        phi[i, j] = candidates[np.argmin(errors)]
    document["overlap"] = overlap(levels, phi)

    # L1, which each thread has to itself, shows the start of a second thread; larger footprints show the
    # slow-down of both.
    half, alone = predicted(document, two), level_of(two, levels) == 0
    if alone.any() and not alone.all():
        starts = np.array([0, *np.geomspace(50, 50_000, 301)])
        start_ns = starts[
            np.argmin([_deviation(half[alone] + 1e-9 * ns, two.seconds[alone]) for ns in starts])
        ]
        factors = np.linspace(0.8, 2.5, 171)
        errors = [
            _deviation(factor * half[~alone] + 1e-9 * start_ns, two.seconds[~alone]) for factor in factors
        ]
        document["threads"] = {
            "slowdown": round(float(factors[np.argmin(errors)]), 3),
            "start_ns": round(float(start_ns)),
        }
    return document


def predicted(document: Document, sample: Sample) -> Array:
    """Times by the cost model with a calibration, seconds [points]."""
    return sample.predicted(Calibration.from_json(document, "host"))


def _deviation(predicted: Array, measured: Array) -> float:
    return float(np.abs(np.log(predicted / measured)).mean()) if len(measured) else 0.0


def level_of(sample: Sample, log2_bytes: Sequence[float]) -> Array:
    """The level of the memory hierarchy that holds a thread's footprint, int64 [points]: 0 is L1."""
    shared = sample["threads"] == 2
    rows = np.where(shared & (sample.rows > 1), -(-sample.rows // 2), sample.rows)
    cols = np.where(shared & (sample.rows == 1), -(-sample.cols // 2), sample.cols)
    bytes_per_element = np.where(sample["nontemporal"], 4, 8)
    return np.asarray(np.searchsorted(log2_bytes, np.log2(bytes_per_element * rows * cols), side="right"))


def overlap(log2_bytes: Sequence[float], phi: Array) -> Document:
    """A calibration's entry for phi [level, prefetch distance], which is largest without prefetching."""
    factors = np.divide(phi, phi[:, :1], out=np.ones_like(phi), where=phi[:, :1] > 0)
    return {
        "log2_bytes": list(log2_bytes),
        "phi": phi[:, 0].round(3).tolist(),
        "prefetch_factor": {
            str(distance): factors[:, j].round(3).tolist() for j, distance in enumerate(PREFETCH_BYTES)
        },
    }


def with_bias(document: Document, sample: Sample) -> Document:
    """A calibration with a bias table fitted to a sample: the median of measured over predicted in each cell,
    shrunk towards 1 where a cell has few points."""
    document = {name: entry for name, entry in document.items() if name != "bias"}
    levels = document["overlap"]["log2_bytes"]
    sample = sample.where(~sample.unreliable)
    log_ratio, level = np.log(sample.seconds / predicted(document, sample)), level_of(sample, levels)
    table: Document = {algorithm: {isa: {} for isa in document["lanes"]} for algorithm in ALGORITHMS}
    for algorithm, isa, (stores, nontemporal) in product(
        ALGORITHMS, document["lanes"], (("cached", False), ("nontemporal", True))
    ):
        cell = (
            (sample["algorithm"] == algorithm)
            & (sample["isa"] == isa)
            & (sample["nontemporal"] == nontemporal)
        )
        table[algorithm][isa][stores] = [
            _shrunk_median(log_ratio[cell & (level == i)]) for i in range(len(levels) + 1)
        ]
    return {**document, "bias": {"log2_bytes": levels, "factors": table}}


def _shrunk_median(log_ratios: Array) -> float:
    n = len(log_ratios)
    return _significant(float(np.exp(np.median(log_ratios) * n / (n + 1)))) if n else 1.0


def held_out(sample: Sample, rng: np.random.Generator) -> Array:
    """The test points, bool [points]: all points of a random third of the designs."""
    designs = list(zip(*(column.tolist() for column in sample.designs.values()), strict=True))
    distinct = list(dict.fromkeys(designs))
    test = {distinct[i] for i in rng.permutation(len(distinct))[: len(distinct) // 3]}
    return np.array([design in test for design in designs], dtype=bool)


def score(document: Document, sample: Sample) -> Agreement:
    """Agreement of a calibration's predictions with a sample."""
    return agreement(predicted(document, sample), sample)
