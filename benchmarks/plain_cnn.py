"""python benchmarks/plain_cnn.py: agents on archgym/PlainCnn-v0, with and without a limit on memory.

Validation and test accuracy of the best of 100 samples, in per cent, mean and 95 % interval of 20 seeds.
"""

import math

import numpy as np

import archgym

AGENTS = ("random", "local_search", "genetic", "aging_evolution", "tpe")
PRESETS = (None, "sram-32kb", "sram-16kb")
BUDGET, SEEDS = 100, 20


def main() -> None:
    for preset in PRESETS:
        for agent in AGENTS:
            runs = [
                archgym.search(
                    "archgym/PlainCnn-v0",
                    agent,
                    budget=BUDGET,
                    seed=seed,
                    env_kwargs={"preset": preset} if preset else {},
                )
                for seed in range(SEEDS)
            ]
            shown = []
            for metric in ("valid_accuracy", "test_accuracy"):
                best = 100 * np.array([run.best_metrics[metric] for run in runs])
                shown.append(f"{best.mean():.1f} ± {1.96 * best.std(ddof=1) / math.sqrt(SEEDS):.1f}")
            print(preset or "no limit", agent, *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main()
