"""Softmax kernels on this machine.

    python benchmarks/softmax.py two_pass    the paper's comparison: two passes against three, tuned and
                                             untuned, by size and ISA
    python benchmarks/softmax.py libraries   the best kernel of a measured search against SciPy and NumPy, at
                                             2^16 and 2^26 elements
    python benchmarks/softmax.py search      where the time of a measured search of 200 samples goes

Ratios are of times measured in turns, in one process: `two_pass` by the processor time of the kernels alone,
`libraries` by the wall-clock time of whole calls from Python, arrays given (SciPy and NumPy make theirs).
"""

from __future__ import annotations

import os
import sys
import tempfile
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy.special import softmax as scipy_softmax

import archgym
from archgym.simulator import evaluate_safely
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.softmax import MeasuredSoftmax, SoftmaxCostModel, softmax
from archgym.simulators.softmax.fitting.sample import BATCH, build_and_check
from archgym.simulators.softmax.machine.checking import Workload
from archgym.simulators.softmax.machine.cpu import instruction_sets, processor
from archgym.simulators.softmax.machine.kernels import Kernels, aligned_pair, kernel_compiler
from archgym.simulators.softmax.machine.timing import Timer
from archgym.simulators.softmax.terms import ALGORITHMS

SIZES = [2**k for k in (12, 16, 20, 22, 24, 26)]
FINALISTS = 3  # of each algorithm and ISA
REPETITIONS = 9
BUDGET = 200


def two_pass() -> None:
    """Best of all unrolls, accumulators, prefetch distances, kinds of stores and tiles, one thread, and
    the plainest of each.
    """
    kernels, rng = Kernels(kernel_compiler()), np.random.default_rng(0)
    isas = [isa for isa in instruction_sets() if isa != "scalar"]
    space = SoftmaxCostModel.space
    every = np.concatenate(list(space.enumerate()))
    designs = [
        space.design(row) for row in np.unique(SoftmaxCostModel(cols=SIZES[-1]).canonical(every), axis=0)
    ]
    designs = [
        d
        for d in designs
        if d["isa"] in isas and d["threads"] == 1 and d["accumulators"] <= d["unroll"] and d["unroll"] != 2
    ]
    designs = [d for d in designs if d["accumulators"] in (1, d["unroll"]) and d["tile"] in (256, 4096)]
    print(f"{processor()}: {len(designs)} designs; compiling", flush=True)
    build_and_check(kernels, designs)
    print(
        "ns per element of the best design and of the plainest (unroll 1, no prefetch, no non-temporal "
        "stores)"
    )
    for cols in SIZES:
        workload = Workload(1, cols, rng)

        timer = Timer(kernels, workload.x, workload.y, rng)
        parts = [designs[i : i + BATCH] for i in range(0, len(designs), BATCH)]
        first = dict(
            zip(
                map(_key, designs),
                np.concatenate([timer.measure(part).seconds for part in parts]),
                strict=True,
            )
        )
        for isa in isas:
            groups = {
                algorithm: [d for d in designs if (d["algorithm"], d["isa"]) == (algorithm, isa)]
                for algorithm in ALGORITHMS
            }
            plain = {
                a: next(d for d in group if (d["unroll"], d["prefetch"], d["nontemporal"]) == (1, 0, False))
                for a, group in groups.items()
            }
            best = {a: sorted(group, key=lambda d: first[_key(d)])[:FINALISTS] for a, group in groups.items()}
            finalists = [d for a in ALGORITHMS for d in (plain[a], *best[a])]
            measured = timer.measure(finalists).seconds  # all in turns
            final = dict(zip(map(_key, finalists), 1e9 * measured / cols, strict=True))
            tuned = {a: min(final[_key(d)] for d in best[a]) for a in ALGORITHMS}
            untuned = {a: final[_key(plain[a])] for a in ALGORITHMS}
            ratio, plain_ratio = (
                min(t["three_pass_recompute"], t["three_pass_reload"]) / t["two_pass"]
                for t in (tuned, untuned)
            )
            print(
                f"\n2^{int(np.log2(cols))} {isa}: three passes / two passes: tuned {ratio:.2f}, plain "
                f"{plain_ratio:.2f}; fastest: {min(tuned, key=tuned.get)}"
            )
            for a in ALGORITHMS:
                winner = min(best[a], key=lambda d: final[_key(d)])
                how = ", ".join(
                    f"{name} {winner[name]}" for name in ("unroll", "accumulators", "prefetch", "nontemporal")
                )
                print(
                    f"    {a:21} {tuned[a]:.4f}  {untuned[a]:.4f}   {how}"
                    + (f", tile {winner['tile']}" if "tiled" in a else ""),
                    flush=True,
                )


def _key(design: dict) -> tuple:
    return tuple(design.values())


def libraries() -> None:
    """The best designs of a measured search, with one thread and with any number, against what people use."""
    for cols in (2**16, 2**26):
        settings = {"backend": "measured", "cols": cols}
        result = archgym.search(
            "archgym/Softmax-v0",
            "genetic",
            budget=BUDGET,
            env_kwargs=settings,
            agent_kwargs={"population": 16},
        )
        single = np.where(
            result.history["valid"] & (result.history["threads"] == 1), result.history["reward"], -np.inf
        ).argmax()
        designs = {
            "archgym, one thread": {
                name: result.history[name][single] for name in MeasuredSoftmax.space.names
            },
            "archgym, any threads": result.incumbents[0].design,
        }
        x, y = aligned_pair((1, cols))
        x[:], y[:] = 4 * np.random.default_rng(0).standard_normal((1, cols)), 0
        calls = {
            "scipy.special.softmax": lambda x=x: scipy_softmax(x, axis=-1),
            "NumPy": lambda x=x: _naive(x),
        }
        calls |= {
            label: lambda x=x, y=y, design=design: softmax(x, design, out=y)
            for label, design in designs.items()
        }
        seconds = {label: [] for label in calls}
        for _ in range(REPETITIONS + 1):  # the first is a warm-up
            for label, call in calls.items():
                repeat = max(1, 2**20 // cols)
                before = perf_counter()
                for _ in range(repeat):
                    call()
                seconds[label].append((perf_counter() - before) / repeat)
        least = {label: min(times[1:]) for label, times in seconds.items()}
        print(f"\n2^{int(np.log2(cols))} float32 on {processor()}: ms, and SciPy's and NumPy's time over it")
        for label, time in least.items():
            ratios = f"{least['scipy.special.softmax'] / time:6.2f} {least['NumPy'] / time:6.2f}"
            print(
                f"    {label:22} {1e3 * time:9.4f}  {ratios}   "
                f"{_in_words(designs[label]) if label in designs else ''}",
                flush=True,
            )


def _naive(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _in_words(design: dict) -> str:
    words = [design["algorithm"], design["isa"]]
    words += [
        f"{name} {design[name]}" for name in ("unroll", "accumulators", "prefetch", "nontemporal", "threads")
    ]
    return ", ".join([*words, f"tile {design['tile']}"] if "tiled" in design["algorithm"] else words)


def search() -> None:
    """A search with an empty folder of kernels, again with all of them compiled, and the same designs
    without a worker process.
    """
    for cols in (2**12, 2**16, 2**20):
        with tempfile.TemporaryDirectory() as home:
            os.environ["ARCHGYM_HOME"] = home
            settings = {"budget": BUDGET, "num_envs": 20, "env_kwargs": {"backend": "measured", "cols": cols}}
            cold, result = _timed(
                lambda settings=settings: archgym.search("archgym/Softmax-v0", "random", **settings)
            )
            warm, _ = _timed(
                lambda settings=settings: archgym.search("archgym/Softmax-v0", "random", **settings)
            )
            inside, alone = (
                MeasuredSoftmax(cols=cols),
                Isolated(MeasuredSoftmax(cols=cols), timeout_s=120, rows_at_once=BATCH),
            )
            names = MeasuredSoftmax.space.names
            indices = inside.space.encode({name: result.history[name] for name in names}).reshape(
                -1, BATCH, len(names)
            )
            times: dict[str, list[float]] = {"here": [], "worker": []}
            for _ in range(6):
                for label, simulator in (("here", inside), ("worker", alone)):
                    times[label].append(
                        sum(
                            _timed(lambda s=simulator, batch=batch: evaluate_safely(s, batch))[0]
                            for batch in indices
                        )
                    )
            alone.close()
            here, worker = (min(times[label][1:]) for label in ("here", "worker"))
            print(
                f"2^{int(np.log2(cols))}: {cold:.1f} s, compiled before {warm:.1f} s; measuring {BUDGET} "
                f"designs here {here:.3f} s, in a worker {worker:.3f} s: overhead {worker / here - 1:.1%}",
                flush=True,
            )


def _timed(call):
    before = perf_counter()
    result = call()
    return perf_counter() - before, result


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["two_pass"]:
            two_pass()
        case ["libraries"]:
            libraries()
        case ["search"]:
            search()
        case _:
            sys.exit(__doc__)
