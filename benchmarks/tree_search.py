"""Monte Carlo tree search at its settings, against random search, evolution and `tpe`, at equal samples.

Six tasks, the last four of them in three conditional spaces; seed s of an agent searches landscape s of the
first four. Regret is the reward of the exact optimum, or in the two spaces of `Layers` the best that any run
here found, minus the best of the run. One line per finished run
goes to a CSV file, so an interrupted benchmark goes on where it stopped:

    python benchmarks/tree_search.py run --seeds 20               # half an hour on one core
    python benchmarks/tree_search.py table                        # the tables in the documentation
    python benchmarks/tree_search.py policy                       # sb3-contrib's MaskablePPO on `layers`
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import defaultdict
from pathlib import Path

import gymnasium
import numpy as np

import archgym
from archgym import DesignSpace, Integer, Maximize, Objective
from archgym.simulators.nk import NKLandscape

RESULTS = Path(__file__).parent / "results" / "tree_search.csv"
BUDGETS = (100, 300, 1000)
RESAMPLES = 10_000
AGENTS = {  # as the tables name them -> name, hyperparameters
    "mcts": ("mcts", {}),
    "mcts, c = .33": ("mcts", {"c": 0.33}),
    "mcts, c = 1": ("mcts", {"c": 1.0}),
    "mcts by value": ("mcts", {"bisect": False}),
    "mcts by value, not widened": ("mcts", {"bisect": False, "widening": 1.0}),
    "random": ("random", {}),
    "aging_evolution": ("aging_evolution", {}),
    "tpe": ("tpe", {}),
}


class Layers(NKLandscape):
    """An NK landscape of 25 loci, read as a network: the first says which of four layers of six loci there
    are, and the first locus of a layer whether its last three are there.

    Args:
        seed: seed of the landscape.
        absent: contribution of an absent locus: "nothing", so that more loci are better on average, or that
            of "allele 0", so that they are not, though the best designs have most loci.
    """

    def __init__(self, seed: int, absent: str):
        super().__init__(n=25, k=2, alleles=4, seed=seed)
        self.absent = absent
        loci = [Integer("depth", 0, 3)]
        for layer in range(4):
            present = {"depth": range(layer, 4)} if layer else {}
            opened = {**present, f"a{layer}": [1, 2, 3]}
            loci += [Integer(f"{name}{layer}", 0, 3, when=present) for name in "abc"]
            loci += [Integer(f"{name}{layer}", 0, 3, when=opened) for name in "def"]
        self.space = DesignSpace(loci)

    def evaluate_indices(self, indices, rng=None):
        contributions = self._contribution[np.arange(self.n), indices[:, self._loci] @ self._place]
        if self.absent == "nothing":
            contributions = contributions * self.space.active(indices)
        return {"fitness": contributions.mean(axis=1), "feasible": np.ones(len(indices), bool)}

    def optimum(self, objective):
        """Not known: the dynamic program has no conditions."""


archgym.register_env("benchmarks/Layers-v0", simulator=Layers, objective=Objective(Maximize("fitness")))
TASKS = {
    "nk": lambda seed: ("archgym/NKLandscape-v0", {"n": 20, "k": 2, "alleles": 4, "seed": seed}),
    "nk16": lambda seed: ("archgym/NKLandscape-v0", {"n": 10, "k": 1, "alleles": 16, "seed": seed}),
    "layers": lambda seed: ("benchmarks/Layers-v0", {"seed": seed, "absent": "nothing"}),
    "neutral": lambda seed: ("benchmarks/Layers-v0", {"seed": seed, "absent": "allele 0"}),
    "cell": lambda seed: ("archgym/NasCell-v0", {}),
    "cnn": lambda seed: ("archgym/PlainCnn-v0", {}),
}


def run(agents: list[str], tasks: list[str], seeds: int) -> None:
    done = {tuple(row[:4]) for row in _rows()}
    for seed, task, label, budget in itertools.product(range(seeds), tasks, agents, BUDGETS):
        name, hyperparameters = AGENTS[label]
        version = str(archgym.make_agent(name).version)
        if (task, f"{label} v{version}", str(budget), str(seed)) in done:
            continue
        env, arguments = TASKS[task](seed)
        begin = time.process_time()
        result = archgym.search(
            env, name, budget=budget, seed=seed, env_kwargs=arguments, agent_kwargs=hyperparameters
        )
        optimum = "" if result.optimum is None else result.optimum.best_reward
        with RESULTS.open("a", newline="") as file:
            csv.writer(file).writerow(
                [
                    task,
                    f"{label} v{version}",
                    budget,
                    seed,
                    result.best_reward,
                    optimum,
                    f"{time.process_time() - begin:.3f}",
                ]
            )


def table() -> None:
    """Print mean regrets with 95 % bootstrap intervals over seeds, and by how much mcts is ahead of random,
    seed by seed.
    """
    best, optima = defaultdict(dict), defaultdict(lambda: -np.inf)
    for task, agent, budget, seed, reward, optimum, _ in _rows():
        best[task, agent.rsplit(" v", 1)[0], int(budget)][int(seed)] = float(reward)
        optima[task, int(seed)] = max(optima[task, int(seed)], float(optimum or reward))
    for budget in BUDGETS:
        tasks = [task for task in TASKS if (task, "random", budget) in best]
        print(f"\n#### {budget:,} samples\n\n| agent | {' | '.join(tasks)} |")
        print("|---" * (len(tasks) + 1) + "|")
        for agent in AGENTS:
            runs = [best[task, agent, budget] for task in tasks]
            regrets = [
                [optima[t, s] - r for s, r in each.items()] for t, each in zip(tasks, runs, strict=True)
            ]
            print(f"| {agent} | {' | '.join(map(_interval, regrets))} |")
        pairs = [(best[task, "mcts", budget], best[task, "random", budget]) for task in tasks]
        ahead = [[tree[s] - other[s] for s in tree.keys() & other.keys()] for tree, other in pairs]
        print(f"| *random less mcts* | {' | '.join(map(_interval, ahead))} |")


def policy(seeds: int, designs: int = 600, shown: int = 100) -> None:
    """Print the mean rewards of MaskablePPO's first and last designs on `layers`, one parameter per step."""
    from sb3_contrib import MaskablePPO

    first, last = [], []
    for seed in range(seeds):
        env = archgym.SequentialDesign(gymnasium.make("benchmarks/Layers-v0", seed=seed, absent="nothing"))
        settings = {"n_steps": 256, "batch_size": 256, "n_epochs": 6, "learning_rate": 5e-3, "gamma": 1.0}
        model = MaskablePPO("MlpPolicy", env, **settings, seed=seed, device="cpu")
        model.learn(designs * len(env.unwrapped.simulator.space))
        rewards = env.unwrapped.ledger.column("reward")
        first.append(float(rewards[:shown].mean()))
        last.append(float(rewards[designs - shown : designs].mean()))
    print(f"designs 1 to {shown}: {_interval(first)}; {designs - shown + 1} to {designs}: {_interval(last)}")


def _interval(values: list[float]) -> str:
    """The mean and its 95 % bootstrap interval."""
    if not values:
        return "-"
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def _rows() -> list[list[str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.reader(file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "table", "policy"))
    parser.add_argument("--agents", default="/".join(AGENTS), help="labels between slashes")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    if options.command == "run":
        run(options.agents.split("/"), options.tasks.split(","), options.seeds)
    elif options.command == "table":
        table()
    else:
        policy(options.seeds)
