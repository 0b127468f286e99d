"""Which population suits a budget: median regret of evolutionary agents on eight tasks, by population.

The regret is the best reward that any run of this benchmark found, minus the run's own; a run of 1,000
samples also gives those of 100 and 300, because a given population makes the rows independent of the budget.
One line per run and budget is appended to a CSV file, so an interrupted benchmark goes on where it stopped:

    python benchmarks/small_budgets.py run --seeds 10                # about ten minutes on one core
    python benchmarks/small_budgets.py table                         # the table in the documentation
"""

from __future__ import annotations

import argparse
import csv
import itertools
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

import archgym

RESULTS = Path(__file__).parent / "results" / "small_budgets.csv"
BUDGETS = (100, 300, 1000)
TASKS = {
    "nk": ("NKLandscape", {"n": 8, "k": 1, "alleles": 3}),
    "nk30": ("NKLandscape", {"n": 30, "k": 5, "alleles": 4}),
    "softmax": ("SoftmaxLibrary", {}),
    "accelerator": ("Accelerator", {"workload": "mobilenet_v2"}),
    "heterogeneous": ("HeterogeneousAccelerator", {"tabulated": True}),
    "cell": ("NasCell", {}),
    "dram": ("DramController", {}),
    "co-design": ("CoDesign", {}),
}
AGENTS = {
    "genetic": [{"population": n} for n in (8, 16, 32, 64, 128)],
    "aging_evolution": [
        {"population": n, "sample_size": k} for n, k in ((10, 3), (20, 5), (50, 10), (100, 16))
    ],
}


def run(seeds: int) -> None:
    """Append the best valid reward at every budget, -inf where nothing was valid."""
    done = {tuple(row[:4]) for row in _rows()}
    runs = [(agent, hp) for agent, settings in AGENTS.items() for hp in settings]
    for seed, (task, (env, kwargs)), (agent, hp) in itertools.product(range(seeds), TASKS.items(), runs):
        name = "/".join(map(str, hp.values()))
        if (task, agent, name, str(seed)) in done:
            continue
        result = archgym.search(
            f"archgym/{env}-v0", agent, budget=max(BUDGETS), seed=seed, env_kwargs=kwargs, agent_kwargs=hp
        )
        with RESULTS.open("a", newline="") as file:
            best = [result.best_so_far[budget - 1] for budget in BUDGETS]
            csv.writer(file).writerow([task, agent, name, seed, *map(float, best)])


def table() -> None:
    """Print median regrets in Markdown, and the mean rank of each population within its agent."""
    found = defaultdict(list)
    for task, agent, name, _, *best in _rows():
        found[agent, name, task].append([float(each) for each in best])
    top = {
        task: max(max(run) for key, runs in found.items() if key[2] == task for run in runs) for task in TASKS
    }
    for b, budget in enumerate(BUDGETS):
        print(f"\n#### {budget:,} samples\n\n| agent | population | {' | '.join(TASKS)} | mean rank |")
        print("|---" * (len(TASKS) + 3) + "|")
        for agent in AGENTS:
            names = list(dict.fromkeys(name for a, name, _ in found if a == agent))
            regret = np.array(
                [[top[t] - np.median([r[b] for r in found[agent, n, t]]) for t in TASKS] for n in names]
            )
            ranks = (regret[:, None] > regret).sum(axis=1) + ((regret[:, None] == regret).sum(axis=1) + 1) / 2
            for name, row, rank in zip(names, regret, ranks.mean(axis=1), strict=True):
                print(f"| {agent} | {name} | {' | '.join(f'{r:.3g}' for r in row)} | {rank:.1f} |")


def _rows() -> list[list[str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.reader(file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    run(options.seeds) if options.command == "run" else table()
