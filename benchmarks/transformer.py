"""Vision transformers: rates of one core, in CPU seconds, and the known optima.

python benchmarks/transformer.py rates        evaluations per second of each macro space
python benchmarks/transformer.py optima       the optimum of each preset, and the CPU seconds to find it
python benchmarks/transformer.py agents DIR   of a folder of the study vision-transformer: what agents found,
                                              relative to the optimum
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from archgym.env import Evaluator
from archgym.envs.vision_transformer import PRESETS, objective
from archgym.optimum import find_optimum
from archgym.simulators.transformer.model import VisionTransformer
from archgym.simulators.transformer.spaces import SPACES
from archgym.study.design import Study
from archgym.study.store import Store

BATCH = 10_000
ROUNDS = 7


def rates() -> None:
    """Designs per second: the first 1,000, whose layers are new, and batches whose layers are known."""
    for space in SPACES:
        simulator = VisionTransformer(space)
        designs = simulator.space.sample(BATCH, np.random.default_rng(0))
        start = process_time()
        simulator.evaluate_indices(designs[:1000])
        first = process_time() - start
        simulator.evaluate_indices(designs)
        seconds = []
        for _ in range(ROUNDS):
            start = process_time()
            simulator.evaluate_indices(designs)
            seconds.append(process_time() - start)
        print(f"{space:16} first 1,000 in {first:4.1f} s, then {BATCH / min(seconds):12,.0f} designs/s")


def optima() -> None:
    """The best network of each preset."""
    for preset, arguments in PRESETS.items():
        named = ("space", "precision", "schedule")
        simulator = VisionTransformer(**{k: v for k, v in arguments.items() if k in named})
        task = objective(simulator, **{k: v for k, v in arguments.items() if k not in named})
        start = process_time()
        found = find_optimum(simulator, task)
        seconds = process_time() - start
        print(f"{preset}: {simulator.space.size:,} designs, {seconds:.1f} s")
        print(f"    reward {found.best_reward:.6f}", {k: f"{v:.6g}" for k, v in found.best_metrics.items()})
        print("   ", found.best_design)


def agents(folder: Path) -> None:
    """exp(regret): latency over the least, or the most multiply-adds over the best; the median of the runs
    with a valid network, and from the second best run to the second worst.
    """
    study, store = Study.read(folder / "study.toml"), Store(folder)
    runs = {run.id: run for run in study.runs()}
    for task, env in study.tasks.items():
        made = Evaluator(env["id"], env["objective"], env["horizon"], {**env["kwargs"]})
        best = find_optimum(made.simulator, made.objective).best_reward
        print(f"\n{task}")
        ratios: dict[str, list[float]] = {}
        for id_, item in store.read().items():
            if runs[id_].task == task:
                reward = item.result["best_reward"] if item.result["valid"] else -np.inf
                ratios.setdefault(runs[id_].agent, []).append(np.exp(best - reward))
        for agent, found in sorted(ratios.items(), key=lambda pair: np.median(pair[1])):
            low, *_, high = sorted(found)[1:-1]
            interval = f"{np.median(found):.3f} ({low:.3f} to {high:.3f})"
            print(f"    {agent:16} {interval}, {sum(np.isinf(found))} of {len(found)} without")


if __name__ == "__main__":
    {"rates": rates, "optima": optima, "agents": agents}[sys.argv[1]](*map(Path, sys.argv[2:]))
