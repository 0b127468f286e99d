"""The accelerator model: rates on one core, and against SCALE-Sim itself.

    python benchmarks/accelerator.py rates          designs, (design, layer) pairs, attentions and scheduled
                                                    chips per second
    python benchmarks/accelerator.py memory         the peak of a batch of a million designs
    python benchmarks/accelerator.py scalesim [N]   the same N arrays and layers through SCALE-Sim and the
                                                    closed form, in turns

`scalesim` needs `archgym backends install scalesim`; kept results are not used.
"""

from __future__ import annotations

import os
import resource
import sys
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from archgym.simulators.accelerator import systolic
from archgym.simulators.accelerator.attention import AttentionAccelerator
from archgym.simulators.accelerator.heterogeneous import HeterogeneousAccelerator
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import load_workload

ROUNDS = 7
BATCH = 10_000
PAIRS = 1_000_000


def rates() -> None:
    """Best of some rounds; cold is the first batch of a process, with the search for tiles of every layer
    in it.
    """
    rng = np.random.default_rng(0)
    start = perf_counter()
    model = Accelerator("resnet18")
    designs = model.space.sample(BATCH, rng)
    model.evaluate_indices(designs)
    print(
        f"ResNet-18 with tiling, first {BATCH:,} designs, construction included   "
        f"{BATCH / (perf_counter() - start):12,.0f} designs/s"
    )
    for workload in ("resnet18", "mobilenet_v2", "bert_base"):
        model = Accelerator(workload)
        seconds = _best(lambda model=model: model.evaluate_indices(designs))
        print(
            f"{workload}, {len(model.workload.layers)} layers, batches of {BATCH:,}".ljust(70),
            f"{BATCH / seconds:12,.0f} designs/s",
        )
    shapes = np.array([layer.shape for layer in load_workload("resnet18").layers])
    m, n, k = shapes[rng.integers(len(shapes), size=PAIRS)].T
    rows, cols = (2 ** rng.integers(3, 9, size=PAIRS) for _ in range(2))
    for dataflow in systolic.DATAFLOWS:
        seconds = _best(lambda dataflow=dataflow: systolic.cycles(dataflow, rows, cols, m, n, k))
        print(
            f"cycles without tiling, {dataflow}".ljust(70),
            f"{PAIRS / seconds:12,.0f} (design, layer) pairs/s",
        )
    attention = AttentionAccelerator()
    indices = attention.space.sample(BATCH, rng)
    print(
        "attention".ljust(70),
        f"{BATCH / _best(lambda: attention.evaluate_indices(indices)):12,.0f} designs/s",
    )
    chips = HeterogeneousAccelerator(["resnet18", "mobilenet_v2"], specs={"latency_s": 3e-3})
    indices = chips.space.sample(8 * BATCH, rng)
    indices = indices[chips.affordable(indices)]
    for batch in (1, 64, 1000):
        seconds = _best(lambda batch=batch: chips.evaluate_indices(indices[:batch]), rounds=3)
        print(
            f"ResNet-18 and MobileNetV2 scheduled on two, batches of {batch:,}".ljust(70),
            f"{batch / seconds:12,.0f} chips/s",
        )


def memory() -> None:
    """A million designs at once: chunks bound what is held beside the results."""
    model = Accelerator("mobilenet_v2")
    designs = model.space.sample(1_000_000, np.random.default_rng(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = model.evaluate_indices(designs)
    held = sum(column.nbytes for column in results.values()) / 2**20
    print(
        f"peak {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10:.0f} MiB, of which "
        f"results are {held:.0f} MiB"
    )


def scalesim(number: int = 12) -> None:
    """Seconds per layer of the tool, of which its process is running already, and of the closed form, for
    the same arrays and layers.
    """
    from archgym.simulators.accelerator.backends.environments import python_of
    from archgym.simulators.accelerator.backends.session import Session

    rng = np.random.default_rng(0)
    shapes = [layer.shape for layer in load_workload("resnet18").layers]
    session = Session(python_of("scalesim"), "scalesim")
    slow = fast = 0.0
    different = 0
    for i in range(number):
        m, n, k = shapes[int(rng.integers(len(shapes)))]
        rows, cols = (int(2 ** rng.integers(5, 9)) for _ in range(2))
        dataflow = systolic.DATAFLOWS[i % 3]
        start = perf_counter()
        told = session.ask({"dataflow": dataflow, "rows": rows, "cols": cols, "m": m, "n": n, "k": k})[
            "cycles"
        ]
        slow += perf_counter() - start
        batch = [np.full(PAIRS, size) for size in (rows, cols, m, n, k)]
        start = perf_counter()
        ours = systolic.cycles(dataflow, *batch)
        fast += (perf_counter() - start) / PAIRS
        different += int(ours[0] != told)
        print(
            f"{dataflow} {rows:3d} x {cols:<3d} {m:6d} x {n:4d} x {k:4d}   {told:>10,} cycles   "
            f"{slow / (i + 1):6.2f} s per layer",
            flush=True,
        )
    session.close()
    print(
        f"SCALE-Sim {slow / number:.2f} s, closed form {1e9 * fast / number:.0f} ns per layer: ratio "
        f"{slow / fast:,.0f}; {different} differ"
    )


def _best(run: object, rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = perf_counter()
        run()  # type: ignore[operator]
        times.append(perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    known = {"rates": rates, "memory": memory, "scalesim": scalesim}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(__doc__)
    known[sys.argv[1]](*map(int, sys.argv[2:]))
