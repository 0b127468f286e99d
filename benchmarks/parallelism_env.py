"""Training plans of archgym/Parallelism-v0: rates of one core, in CPU seconds, and how plans are distributed.

python benchmarks/parallelism_env.py rates        plans per second in batches of 1,000
python benchmarks/parallelism_env.py landscape    how many plans of a preset divide, fit, or are near the best
python benchmarks/parallelism_env.py clusters     the best cluster and plan for 175B within prices
"""

from __future__ import annotations

import os
import sys
from time import process_time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from archgym.envs.parallelism import PRESETS, objective
from archgym.simulators.parallelism.simulator import Parallelism

BATCH = 1000
ROUNDS = 7
PLANS = [preset for preset in PRESETS if preset != "co-design"]


def rates() -> None:
    """Feasible plans, and random designs, most of which do not divide."""
    for preset in PLANS:
        simulator = Parallelism(**PRESETS[preset])
        rng = np.random.default_rng(0)
        plans = simulator.encoding.all_plans({})
        plans = plans[simulator.evaluate_indices(plans)["feasible"]]
        kinds = {"feasible": rng.permutation(plans), "random": simulator.space.sample(20 * BATCH, rng)}
        figures = {kind: f"{_rate(simulator, rows):9,.0f} {kind}/s" for kind, rows in kinds.items()}
        print(f"{preset:10}", *figures.values())


def _rate(simulator: Parallelism, rows: Any) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = process_time()
        for first in range(0, len(rows), BATCH):
            simulator.evaluate_indices(rows[first : first + BATCH])
        seconds.append(process_time() - start)
    return len(rows) / min(seconds)


def landscape() -> None:
    """Distinct plans by what becomes of them, and the best one."""
    for preset in PLANS:
        simulator = Parallelism(**PRESETS[preset])
        start = process_time()
        best = simulator.optimum(objective(simulator))
        seconds = process_time() - start
        if best is None:
            raise SystemExit(f"{preset}: no plan fits")
        plans = simulator.encoding.all_plans({})
        found = simulator.evaluate_indices(plans)
        time = found["step_time_s"][found["feasible"]]
        near = int((time <= 1.01 * time.min()).sum())
        fit = f"{len(time):,} fit ({100 * len(time) / len(plans):.1f} %)"
        median = np.median(time) / time.min()
        print(f"{preset}: {simulator.space.size:,} designs, {len(plans):,} divide, {fit}, {near} within 1 %,")
        print(f"    median {median:.2f} x best, optimum in {seconds:.2f} s:", _described(simulator, best))


def clusters() -> None:
    """The fastest step that a price buys."""
    arguments = {name: value for name, value in PRESETS["co-design"].items() if name != "limits"}
    for limit in (256.0, 512.0, 1024.0):
        simulator = Parallelism(**arguments)
        start = process_time()
        best = simulator.optimum(objective(simulator, limits={"price": limit}))
        seconds = process_time() - start
        if best is None:
            raise SystemExit(f"nothing fits within a price of {limit}")
        print(
            f"price {limit:g}, {simulator.space.size:,} designs, {seconds:.1f} s:",
            _described(simulator, best),
        )


def _described(simulator: Parallelism, best: Any) -> str:
    found = simulator.evaluate_indices(best[None])
    metrics = {metric.name: f"{found[metric.name][0]:.5g}" for metric in simulator.metrics}
    return f"{simulator.space.design(best)} {metrics}"


COMMANDS = {"rates": rates, "landscape": landscape, "clusters": clusters}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        raise SystemExit(__doc__)
    COMMANDS[sys.argv[1]]()
