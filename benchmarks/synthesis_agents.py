"""Agents on archgym/LogicSynthesis-v0, whole sequences against one pass per step.

python benchmarks/synthesis_agents.py table    presets with tables, against their exact optimum
python benchmarks/synthesis_agents.py live     ABC itself, ten passes

A row is the best goal of a run above the exact optimum (table) or over that of ABC's resyn (live), in per
cent, after so many samples: mean of the seeds with a 95 % bootstrap interval, and how many runs found the
optimum. MaskablePPO (sb3-contrib) works on the sequential view, `PrefixDesign`, where each pass is a sample;
the other agents name whole sequences, and a sample is up to `slots` passes. The last column is the mean
number of passes that no earlier sample of the run had in its prefix: what ABC would have to run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np

import archgym
from archgym.env import ArchEnv
from archgym.space import Array

ENV = "archgym/LogicSynthesis-v0"
TABLES = ("priority_encoder-32", "random-7-product")
LIVE = ("random-7-long", "max-4x8-long")
AGENTS = ("random", "aging_evolution", "local_search", "mcts", "tpe", "MaskablePPO", "bo")
LATE = {"bo": 300}  # agents whose time per sample grows
MARKS = (100, 300, 1000)
SEEDS, REPLICATES = 12, 4000
PPO = {"n_steps": 60, "batch_size": 60, "learning_rate": 1e-3, "gamma": 1.0, "ent_coef": 0.01}


def main(presets: tuple[str, ...], marks: tuple[int, ...], seeds: int) -> None:
    """Print a row per preset and agent."""
    for preset in presets:
        probe = gymnasium.make(ENV, preset=preset).unwrapped
        assert isinstance(probe, ArchEnv)
        design = probe.simulator.optimum(probe.evaluator.objective)
        best = 0.0
        if design is not None:
            best = float(probe.evaluator.score(design[None])["reward"][0])
        print(f"\n{preset}, {len(probe.simulator.space)} slots, after {marks} samples")
        for agent in AGENTS:
            rows, passes = [], []
            for seed in range(seeds):
                rewards, designs = searched(agent, preset, max(marks), seed)
                rows.append([rewards[: min(mark, len(rewards))].max() for mark in marks])
                passes.append(new_passes(designs))
            print(f"{agent:16}", *cells(np.array(rows), best, design is not None), end=" ")
            print(f"| {np.mean(passes):,.0f} passes", flush=True)


def cells(rewards: Array, best: float, known: bool) -> Iterator[str]:
    """A cell for each mark, from the best rewards of runs, [seeds, marks]."""
    rng = np.random.default_rng(0)
    for column in rewards.T:
        values = 100 * np.expm1((best - column) if known else -column)
        means = values[rng.integers(0, len(values), (REPLICATES, len(values)))].mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        found = f", {np.isclose(column, best).sum()} of {len(values)}" if known else ""
        yield f"| {values.mean():.2f} ({low:.2f} to {high:.2f}){found}"


def searched(agent: str, preset: str, budget: int, seed: int) -> tuple[Array, Array]:
    """The reward and the design of each sample of a run, float64 [B] and int64 [B, K]."""
    if agent == "MaskablePPO":
        return learned(preset, budget, seed)
    budget = min(budget, LATE.get(agent, budget))
    result = archgym.search(ENV, agent, budget=budget, seed=seed, env_kwargs={"preset": preset})
    return np.asarray(result.history["reward"], float), np.stack(
        [np.asarray(result.history[name]) for name in result.history if name.startswith("slot_")], 1
    )


def learned(preset: str, budget: int, seed: int) -> tuple[Array, Array]:
    """MaskablePPO on the sequential view."""
    from sb3_contrib import MaskablePPO

    slots = len(archgym.ArchEnv(ENV, preset=preset).simulator.space)
    env = archgym.PrefixDesign(gymnasium.make(ENV, preset=preset, horizon=slots))
    model = MaskablePPO("MlpPolicy", env, seed=seed, device="cpu", **PPO)
    model.learn(budget)
    ledger = env.unwrapped.ledger
    return ledger.column("reward")[:budget], ledger.column("indices")[:budget]


def new_passes(designs: Array) -> int:
    """Prefixes that no earlier design has."""
    rows = [tuple(str(value) for value in row) for row in designs.tolist()]
    prefixes = set()
    for row in rows:
        for length in range(1, len(row) + 1):
            if row[length - 1] in ("0", "none", "None", ""):
                break
            prefixes.add(row[:length])
    return len(prefixes)


if __name__ == "__main__":
    if sys.argv[1] == "table":
        main(TABLES, MARKS, SEEDS)
    else:
        main(LIVE, (100, 300), SEEDS)
