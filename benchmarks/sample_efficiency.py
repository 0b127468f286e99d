"""How many samples each agent needs to come within 1 % of the known optimum, with its default
hyperparameters.

Two tasks: NK landscapes (n = 8, k = 1, 3 alleles; seed s searches landscape s, so an agent cannot owe its
rank to one landscape), and the softmax space at 2^16 columns. A run ends when a valid design within 1 % of
the optimum's metric has been sampled, or at the agent's cap. One line per finished run is appended to a CSV
file, so an interrupted benchmark goes on where it stopped:

    python benchmarks/sample_efficiency.py run --seeds 30            # every agent; hours for the slow ones
    python benchmarks/sample_efficiency.py run --agents tpe,genetic
    python benchmarks/sample_efficiency.py table                     # the table in the documentation
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

import archgym
from archgym import Simulator, SimulatorUnavailable
from archgym.optimum import known_optimum

RESULTS = Path(__file__).parent / "results" / "sample_efficiency.csv"
CAPS = {
    "gp": 200,
    "dqn": 5000,
    "sac": 2000,
    "tpe": 1000,
    "bo": 1000,
    "portfolio": 1000,
    "predictor": 3000,
    "controller": 3000,
    "cmaes": 3000,
    "nsga2": 3000,
    "ppo": 5000,
    "independent_ppo": 5000,
    "language_model-scripted": 3000,
}  # where a run of a slow agent ends; others: 10,000
TASKS = {
    "nk": ("archgym/NKLandscape-v0", lambda seed: {"n": 8, "k": 1, "alleles": 3, "seed": seed}),
    "softmax": ("archgym/Softmax-v0", lambda seed: {"cols": 65536}),
}


class Reached(SimulatorUnavailable):
    """Ends a search: the sample that came within 1 % of the optimum."""


class Watched(Simulator):
    """A simulator that ends the search at the first valid design whose reward is at least `target`."""

    def __init__(self, simulator, objective, target):
        self.space, self.metrics, self.simulator = simulator.space, simulator.metrics, simulator
        self.objective, self.target, self.samples = objective, target, 0

    def evaluate_indices(self, indices, rng=None):
        columns = self.simulator.evaluate_indices(indices, rng)
        rewards = self.objective(columns, columns["feasible"])
        good = np.flatnonzero(rewards.valid & (rewards.reward >= self.target))
        if len(good):
            raise Reached(str(self.samples + int(good[0]) + 1))
        self.samples += len(indices)
        return columns


# agents that have no default for something: name in the table -> agent, its arguments
GIVEN = {"language_model-scripted": ("language_model", {"complete": "archgym.text.scripted:propose"})}


def samples_to_one_per_cent(task: str, agent: str, seed: int) -> int | None:
    """Samples until within 1 % of the optimum, or None where the agent's cap came first."""
    env_id, kwargs = TASKS[task]
    name, arguments = GIVEN.get(agent, (agent, None))
    budget, env_kwargs = CAPS.get(agent, 10_000), kwargs(seed)
    search = archgym.Search(
        env_id, name, budget=budget, seed=seed, env_kwargs=env_kwargs, agent_kwargs=arguments
    )
    evaluator = search.env.evaluator
    optimum = known_optimum(evaluator.simulator, evaluator.objective)
    evaluator.simulator = Watched(
        evaluator.simulator, evaluator.objective, optimum.best_reward - np.log(1.01) + 1e-12
    )
    try:
        search.run()
    except Reached as reached:
        return int(str(reached))
    return None


def run(agents: list[str], seeds: int, tasks: list[str]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    done = {(row["task"], row["agent"], row["version"], int(row["seed"])) for row in rows()}
    with open(RESULTS, "a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(["task", "agent", "version", "seed", "samples", "cap", "seconds"])
        for task in tasks:
            for agent in agents:
                version = str(archgym.make_agent(GIVEN.get(agent, (agent, None))[0]).version)
                for seed in range(seeds):
                    if (task, agent, version, seed) in done:
                        continue
                    start = time.perf_counter()
                    samples = samples_to_one_per_cent(task, agent, seed)
                    writer.writerow(
                        [
                            task,
                            agent,
                            version,
                            seed,
                            samples or "",
                            CAPS.get(agent, 10_000),
                            f"{time.perf_counter() - start:.3f}",
                        ]
                    )
                    file.flush()
                print(task, agent, flush=True)


def rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with open(RESULTS, newline="") as file:
        return list(csv.DictReader(file))


def table() -> None:
    """Median samples with a 95 % bootstrap interval over seeds; a run that hit its cap counts as
    infinitely long.
    """
    rng = np.random.default_rng(0)
    for task in TASKS:
        found = [row for row in rows() if row["task"] == task]
        summary = []
        for agent in sorted({row["agent"] for row in found}):
            runs = np.array([float(row["samples"] or np.inf) for row in found if row["agent"] == agent])
            medians = np.sort(np.median(rng.choice(runs, (4000, len(runs))), axis=1))
            low, high = medians[100], medians[-101]
            cap = next(row["cap"] for row in found if row["agent"] == agent)
            summary.append((np.median(runs), agent, low, high, np.isfinite(runs).sum(), len(runs), cap))
        print(
            f"\n### {task}\n\n| agent | median samples to 1 % | 95 % interval | reached |\n|---|---|---|---|"
        )
        for median, agent, low, high, reached, n, cap in sorted(summary):
            show = [f"{x:,.0f}" if np.isfinite(x) else f"> {int(cap):,}" for x in (median, low, high)]
            print(f"| {agent} | {show[0]} | {show[1]} to {show[2]} | {reached} of {n} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "table"])
    agents = [agent for agent in archgym.list_agents() if agent not in {name for name, _ in GIVEN.values()}]
    parser.add_argument("--agents", default=",".join([*agents, *GIVEN]))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=30)
    options = parser.parse_args()
    if options.action == "run":
        run(options.agents.split(","), options.seeds, options.tasks.split(","))
    else:
        table()
