"""Measures a calibration of the softmax cost model on this machine (its format: README.md).

bandwidth   each access pattern, as code of the widest vectors that does nothing else, from L1 to memory
compute     each pass with its data in L1, at few (unroll, accumulators) that the model interpolates
row_overhead_ns, overlap, threads
            what brings the model nearest to a sample of measured kernels, by the mean of |log(predicted / measured)|
bias        optional: what is left, as a factor for each (algorithm, ISA, non-temporal stores, cache level)
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import product
from time import sleep
from typing import Any

import numpy as np

from archgym.simulators.softmax.calibration import FORMAT, PASSES, PREFETCH_BYTES, VERSION, Calibration
from archgym.simulators.softmax.fitting.sample import (
    BATCH,
    Agreement,
    Sample,
    Share,
    agreement,
    build_and_check,
    measure_sample,
    random_designs,
)
from archgym.simulators.softmax.machine.checking import Workload
from archgym.simulators.softmax.machine.compiler import CompilerError
from archgym.simulators.softmax.machine.cpu import cache_bytes, instruction_sets, processor, processors
from archgym.simulators.softmax.machine.kernels import LANES, Kernels, Pass
from archgym.simulators.softmax.machine.timing import Timer
from archgym.simulators.softmax.model import ALGORITHMS, TILED
from archgym.space import Array

Document = dict[str, Any]
Progress = Callable[[str, float], None]  # what is being done, and how much of everything is: 0 to 1

LOG2_FLOATS = [k / 2 for k in range(20, 53)]  # sizes of the curves: 4 KB to 256 MB of x
PAUSES, PAUSE_S = 2, 0.3
LEAST_LOG2_SHARED = 16  # sizes below this are not measured with two threads, whose start would take longer
L1_FLOATS = 2048  # 8 KB of x, 8 KB of y
POINTS = ((1, 1), (2, 1), (4, 1), (4, 4), (8, 1), (8, 2), (8, 4), (8, 8))  # (unroll, accumulators)
VECTORS = ("avx2", "avx512")  # scalar code is slower than memory, so that nothing can be learnt from it of how the two overlap
SAMPLE_DESIGNS = 18  # of each on one thread; half as many more on two
SAMPLE_SHAPES = [(64, 256), *((1, 2**k) for k in (11, 13, 15, 17, 19, 21, 23, 24, 25))]
MANY_TILES = 4  # of a row, to see what they cost
OVERHEADS_NS = np.linspace(0, 200, 401)
BIAS_DESIGNS = 160
BIAS_SHAPES = [(1, 2**k) for k in (11, 12, 14, 16, 18, 19, 20, 21, 22, 24, 25)]

PATTERN_PASSES = {  # pattern: (pass, non-temporal)
    "read": ("maximum", False),
    "write": ("write", False),
    "write_nontemporal": ("write", True),
    "copy": ("copy", False),
    "copy_nontemporal": ("copy", True),
    "in_place": ("scale", False),
    "in_place_nontemporal": ("scale", True),
}


def calibrate(kernels: Kernels, *, seed: int = 0, progress: Progress = lambda what, share: None) -> Document:
    """Measure this machine; about a minute.

    Args:
        seed: of the sample of kernels and of the order of measurements.
        progress: told what is being done and how much of all is done.

    Raises:
        CompilerError: a kernel does not compile, or gives wrong results.
    """
    rng = np.random.default_rng(seed)
    two_threads = len(processors()) > 1
    seconds = {
        "compiling": 8,
        "bandwidth": 5,
        "bandwidth of two threads": 5,
        "compute": 3,
        "compiling kernels": 10,
        "measuring kernels": 25,
    }
    steps = _Steps(progress, seconds)
    patterns = [Pass(name, instruction_sets()[-1], 8, 8, nontemporal) for name, nontemporal in PATTERN_PASSES.values()]
    passes = {(name, isa, *point): Pass(name, isa, *point) for name in PASSES for isa in instruction_sets() for point in POINTS}
    _build(kernels, [*patterns, *passes.values()], steps.of("compiling"))
    large = Workload(1, int(2 ** LOG2_FLOATS[-1]), rng)
    document: Document = {
        "format": FORMAT,
        "version": VERSION,
        "machine": describe_machine(kernels),
        "lanes": {isa: LANES[isa] for isa in instruction_sets()},
        "bandwidth": _bandwidth(kernels, 1, large, rng, steps.of("bandwidth")),
        "compute": _compute(kernels, passes, rng, steps.of("compute")),
        "overlap": overlap(levels := cache_levels(), np.zeros((len(levels) + 1, len(PREFETCH_BYTES)))),
        "row_overhead_ns": 0.0,
        "tile_overhead_ns": 0.0,
        "threads": {"slowdown": 1.0, "start_ns": 0.0},
    }
    if two_threads:
        shared = _bandwidth(kernels, 2, large, rng, steps.of("bandwidth of two threads"))
        document["two_threads"] = {"bandwidth": _with_small_sizes(shared, document["bandwidth"])}
    one = [design for isa in VECTORS if isa in instruction_sets() for design in random_designs(SAMPLE_DESIGNS, rng, threads=1, isa=isa)]
    one = one or random_designs(SAMPLE_DESIGNS, rng, threads=1)
    two = [{**design, "threads": 2} for design in one[::2]] if two_threads else []
    build_and_check(kernels, [*one, *two], steps.of("compiling kernels"))
    return fitted(document, measure_sample(kernels, [*one, *two], SAMPLE_SHAPES, rng, steps.of("measuring kernels")))


def describe_machine(kernels: Kernels) -> str:
    """The machine in words: processor, caches, system, compiler."""
    caches = ", ".join(f"{size >> 10} KB {name}" for name, size in cache_bytes().items())
    return (
        f"{processor()}, {len(processors())} processors ({caches or 'caches not known'}); {platform.system()}; {kernels.compiler.version}"
    )


def cache_levels() -> list[float]:
    """log2 of the footprints, in bytes, at which a level of the hierarchy ends."""
    sizes = cache_bytes()
    return [float(np.log2(sizes.get(name, default))) for name, default in (("L1d", 2**15), ("L2", 2**20), ("L3", 2**25))]


class _Steps:
    """Shares of all work from shares of its steps."""

    def __init__(self, progress: Progress, seconds: Mapping[str, float]):
        self.progress, self.seconds = progress, dict(seconds)

    def of(self, step: str) -> Share:
        names = list(self.seconds)
        total = sum(self.seconds.values())
        before = sum(self.seconds[name] for name in names[: names.index(step)])
        return lambda share: self.progress(step, (before + share * self.seconds[step]) / total)


# --- what is measured ---


def _build(kernels: Kernels, passes: Sequence[Pass], share: Share) -> None:
    by_library: dict[tuple[str, ...], list[Pass]] = {}
    for each in passes:
        by_library.setdefault(tuple(each.options), []).append(each)
    groups = list(by_library.values())
    for start in range(0, len(groups), 2):
        for reason in kernels.build([each for group in groups[start : start + 2] for each in group]).values():
            raise CompilerError(reason)
        share(min(1.0, (start + 2) / len(groups)))


def _bandwidth(kernels: Kernels, threads: int, workload: Workload, rng: np.random.Generator, share: Share) -> Document:
    """ns per float of each pattern for each thread, against log2 of the bytes that the thread touches."""
    widest = instruction_sets()[-1]
    patterns = {pattern: Pass(name, widest, 8, 8, nontemporal, threads) for pattern, (name, nontemporal) in PATTERN_PASSES.items()}

    def seconds(passes: Sequence[Pass], n: int) -> Array:
        return _least_seconds(Timer(kernels, workload.x[:, :n], workload.y[:, :n], rng), passes)

    curves: Document = {pattern: {"log2_bytes": [], "ns_per_float": []} for pattern in patterns}
    overhead = seconds([Pass("maximum", widest, 8, 8, False, threads)], 256)[0] if threads == 2 else 0.0
    sizes = [size for size in LOG2_FLOATS if threads == 1 or size >= LEAST_LOG2_SHARED]
    for i, log2_floats in enumerate(sizes):
        n = int(2**log2_floats) // 256 * 256  # whole steps for each thread
        for pattern, taken in zip(patterns, seconds(list(patterns.values()), n), strict=True):
            curves[pattern]["log2_bytes"].append(round(float(np.log2(n / threads * (8 if pattern == "copy" else 4))), 4))
            curves[pattern]["ns_per_float"].append(_significant(1e9 * max(taken - overhead, 0.1 * taken) / (n / threads)))
        share((i + 1) / len(sizes))
    return curves


def _least_seconds(timer: Timer, passes: Sequence[Pass]) -> Array:
    """Seconds of passes; after a pause, and then once more, while the machine is not at rest."""
    measured = timer.measure(passes)
    seconds = measured.seconds
    for _ in range(PAUSES):
        if not measured.unreliable.any():
            break
        sleep(PAUSE_S)
        measured = timer.measure(passes)
        seconds = np.minimum(seconds, measured.seconds)
    return seconds


def _with_small_sizes(curves: Document, single: Document) -> Document:
    """Curves of two threads, no faster than one thread's, and continued by those to small sizes, where each thread has its own caches;
    what bypasses the caches, at the ratio of the smallest size measured."""
    joined: Document = {}
    for pattern, curve in curves.items():
        alone = single[pattern]["log2_bytes"], single[pattern]["ns_per_float"]
        costs = np.maximum(curve["ns_per_float"], np.interp(curve["log2_bytes"], *alone))
        ratio = costs[0] / np.interp(curve["log2_bytes"][0], *alone) if pattern.endswith("_nontemporal") else 1.0
        small = [(size, ns * ratio) for size, ns in zip(*alone, strict=True) if size < curve["log2_bytes"][0]]
        joined[pattern] = {
            "log2_bytes": [size for size, _ in small] + curve["log2_bytes"],
            "ns_per_float": [_significant(float(ns)) for ns in (*(ns for _, ns in small), *costs)],
        }
    return joined


def _compute(kernels: Kernels, passes: Mapping[tuple[Any, ...], Pass], rng: np.random.Generator, share: Share) -> Document:
    """ns per element of each pass with its data in L1."""
    workload = Workload(1, L1_FLOATS, rng)
    timer = Timer(kernels, workload.x, workload.y, rng)
    points: Document = {name: {isa: [] for isa in instruction_sets()} for name in PASSES}
    keys = list(passes)
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        measured = _least_seconds(timer, [passes[key] for key in batch])
        for (name, isa, unroll, accumulators), seconds in zip(batch, measured, strict=True):
            points[name][isa].append([unroll, accumulators, _significant(1e9 * seconds / L1_FLOATS)])
        share(min(1.0, (start + BATCH) / len(keys)))
    return points


def _significant(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


# --- what is fitted ---


def fitted(document: Document, sample: Sample) -> Document:
    """A calibration with overheads, overlap and threads such that the model is nearest to a sample that this machine ran."""
    document = deepcopy(document)
    levels = document["overlap"]["log2_bytes"]
    sample = sample.where(~sample.unreliable)
    one, two = sample.where(sample["threads"] == 1), sample.where(sample["threads"] == 2)

    plain = ~np.isin(one["algorithm"], TILED)
    tiles = -(-one.cols // one["tile"])
    for name, fitting, starts in (
        ("row_overhead_ns", plain & (level_of(one, levels) == 0), one.rows),
        ("tile_overhead_ns", ~plain & (tiles >= MANY_TILES), one.rows * tiles),
    ):
        some, seconds = one.where(fitting), predicted(document, one)[fitting]
        errors = [_deviation(seconds + 1e-9 * ns * starts[fitting], some.seconds) for ns in OVERHEADS_NS]
        document[name] = float(OVERHEADS_NS[np.argmin(errors)])

    # time is linear in phi: that of any phi follows from those of 0 and 1
    level = level_of(one, levels)
    phi = np.zeros((len(levels) + 1, len(PREFETCH_BYTES)))
    hidden = predicted({**document, "overlap": overlap(levels, phi)}, one)
    exposed = predicted({**document, "overlap": overlap(levels, phi + 1)}, one)
    for i, (j, distance) in product(range(len(phi)), enumerate(PREFETCH_BYTES)):
        here = (level == i) & (one["prefetch"] == distance)
        candidates = np.linspace(0, 1 if j == 0 else phi[i, 0], 101)  # prefetching does not make it larger
        errors = [_deviation((hidden + value * (exposed - hidden))[here], one.seconds[here]) for value in candidates]
        phi[i, j] = candidates[np.argmin(errors)]
    document["overlap"] = overlap(levels, phi)

    # what a second thread costs shows in L1, which each has to itself; what two cost each other, beyond it
    half, alone = predicted(document, two), level_of(two, levels) == 0
    if alone.any() and not alone.all():
        starts = np.array([0, *np.geomspace(50, 50_000, 301)])
        start_ns = starts[np.argmin([_deviation(half[alone] + 1e-9 * ns, two.seconds[alone]) for ns in starts])]
        factors = np.linspace(0.8, 2.5, 171)
        errors = [_deviation(factor * half[~alone] + 1e-9 * start_ns, two.seconds[~alone]) for factor in factors]
        document["threads"] = {"slowdown": round(float(factors[np.argmin(errors)]), 3), "start_ns": round(float(start_ns))}
    return document


def predicted(document: Document, sample: Sample) -> Array:
    """What the cost model says with a calibration, seconds [points]."""
    return sample.predicted(Calibration.from_json(document, "host"))


def _deviation(predicted: Array, measured: Array) -> float:
    return float(np.abs(np.log(predicted / measured)).mean()) if len(measured) else 0.0


def level_of(sample: Sample, log2_bytes: Sequence[float]) -> Array:
    """The level of the memory hierarchy that a thread's footprint lies in, int64 [points]: 0 is L1."""
    shared = sample["threads"] == 2
    rows = np.where(shared & (sample.rows > 1), -(-sample.rows // 2), sample.rows)
    cols = np.where(shared & (sample.rows == 1), -(-sample.cols // 2), sample.cols)
    bytes_per_element = np.where(sample["nontemporal"], 4, 8)
    return np.asarray(np.searchsorted(log2_bytes, np.log2(bytes_per_element * rows * cols), side="right"))


def overlap(log2_bytes: Sequence[float], phi: Array) -> Document:
    """The entry of a calibration for phi [level, prefetch distance], which is largest without prefetching."""
    factors = np.divide(phi, phi[:, :1], out=np.ones_like(phi), where=phi[:, :1] > 0)
    return {
        "log2_bytes": list(log2_bytes),
        "phi": phi[:, 0].round(3).tolist(),
        "prefetch_factor": {str(distance): factors[:, j].round(3).tolist() for j, distance in enumerate(PREFETCH_BYTES)},
    }


def with_bias(document: Document, sample: Sample) -> Document:
    """A calibration with the bias table that a sample calls for: measured over predicted, the median of each cell, drawn towards 1
    where a cell has few points."""
    document = {name: entry for name, entry in document.items() if name != "bias"}
    levels = document["overlap"]["log2_bytes"]
    sample = sample.where(~sample.unreliable)
    log_ratio, level = np.log(sample.seconds / predicted(document, sample)), level_of(sample, levels)
    table: Document = {algorithm: {isa: {} for isa in document["lanes"]} for algorithm in ALGORITHMS}
    for algorithm, isa, (stores, nontemporal) in product(ALGORITHMS, document["lanes"], (("cached", False), ("nontemporal", True))):
        cell = (sample["algorithm"] == algorithm) & (sample["isa"] == isa) & (sample["nontemporal"] == nontemporal)
        table[algorithm][isa][stores] = [_shrunk_median(log_ratio[cell & (level == i)]) for i in range(len(levels) + 1)]
    return {**document, "bias": {"log2_bytes": levels, "factors": table}}


def _shrunk_median(log_ratios: Array) -> float:
    n = len(log_ratios)
    return _significant(float(np.exp(np.median(log_ratios) * n / (n + 1)))) if n else 1.0


def held_out(sample: Sample, rng: np.random.Generator) -> Array:
    """Which points to keep for judging what is fitted to the others, bool [points]: all points of a third of the designs."""
    designs = list(zip(*(column.tolist() for column in sample.designs.values()), strict=True))
    different = list(dict.fromkeys(designs))
    kept = {different[i] for i in rng.permutation(len(different))[: len(different) // 3]}
    return np.array([design in kept for design in designs], dtype=bool)


def score(document: Document, sample: Sample) -> Agreement:
    """How well a calibration predicts a sample."""
    return agreement(predicted(document, sample), sample)
