"""Agents on archgym/QuantumCircuit-v0 at equal circuits, without and with noise.

python benchmarks/quantum_agents.py run FOLDER [AGENT ...]    runs that FOLDER lacks, a file each
python benchmarks/quantum_agents.py tables FOLDER             what they found
python benchmarks/quantum_agents.py settings                  other hyperparameters of learners, other seeds
python benchmarks/quantum_agents.py long FOLDER [AGENT ...]   the same for 30,000 circuits without noise

A sample is one evaluated circuit. Learners (stable-baselines3, sb3-contrib) add a gate per step with
`PrefixDesign`, where each prefix is a sample; "+ c" adds `RandomHalting` and `Curriculum`, with CRLQAS'
rewards and thresholds. "random gates" is the same view with gates drawn among those that the mask allows. The
other agents name whole circuits, with default hyperparameters. Runs have 1,000 or 4,000 samples, those of bo
300; figures after 300 are of the start of the former.

Errors are averaged as logarithms, which is their reward; intervals are bootstrap intervals, 95 %, over seeds.
Places count agents that are better, or worse, by Welch's test of log errors with Holm's correction.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np
from scipy import stats

import archgym
from archgym._search import Search
from archgym.lottery.statistics import holm
from archgym.simulators.quantum.space import CHEMICAL_ACCURACY, METRICS
from archgym.space import Array

ENV = "archgym/QuantumCircuit-v0"
CLEAN, NOISY = PRESETS = ("LiH-2.2", "LiH-2.2-noisy")
WHOLE = ("random", "local_search", "annealing", "genetic", "aging_evolution", "mcts", "tpe", "bo")
LEARNERS = ("MaskablePPO", "PPO", "DQN", "MaskablePPO + c", "PPO + c", "DQN + c")
AGENTS = (*WHOLE, "random gates", *LEARNERS)
MARKS = (300, 1000, 4000)
LEAST = 5  # runs that a place takes
LATE = {"bo": 300}  # agents whose time per sample grows
SEEDS, REPLICATES = 10, 4000
ERROR = [metric.name for metric in METRICS].index("error_hartree")

PPO = {
    "n_steps": 100,
    "batch_size": 50,
    "n_epochs": 10,
    "learning_rate": 1e-3,
    "gamma": 0.9,
    "gae_lambda": 0.95,
    "ent_coef": 0.01,
}
DQN = {
    "learning_rate": 1e-3,
    "learning_starts": 100,
    "batch_size": 64,
    "gamma": 0.9,
    "train_freq": 1,
    "target_update_interval": 200,
    "exploration_fraction": 0.5,
    "exploration_final_eps": 0.05,
}
TRIAL_SEEDS, TRIAL_BUDGET = range(100, 103), 1000
MOVING = {"threshold": None, "greedy_shift": 50, "patience": 20}
TRIALS: dict[str, tuple[dict[str, Any], ...]] = {
    "MaskablePPO": (
        {},
        {"learning_rate": 3e-3},
        {"n_steps": 40, "batch_size": 40},
        {"gamma": 1.0},
    ),
    "DQN": ({}, {"gamma": 1.0}),
    "MaskablePPO + c": ({}, MOVING),
    "DQN + c": ({}, MOVING),
}
CURRICULUM = {  # no shift before 500 episodes: none in 1,000 samples
    "threshold": CHEMICAL_ACCURACY,
    "bound": 0.0,
    "amortisation": 1e-3,
    "shrinks": 10,
    "greedy_shift": 500,
    "patience": 500,
}


LONG, LONG_MARKS = 30_000, (1000, 3000, 10_000, 30_000)
ROLLOUTS = {"n_steps": 500, "batch_size": 100, "gamma": 0.95}
LONG_RUNS: dict[
    str, dict[str, Any]
] = {  # "+ m": thresholds that move every 50 episodes, 20 failures, or successes
    "random": {},
    "local_search": {},
    "MaskablePPO": ROLLOUTS,
    "MaskablePPO + m": ROLLOUTS | MOVING,
}


class Run(NamedTuple):
    """Samples of a run, in order.

    Attributes:
        reward: float64 [B].
        valid: bool [B].
        values: metrics, float64 [B, M].
        indices: designs, int64 [B, L].
    """

    reward: Array
    valid: Array
    values: Array
    indices: Array


def run_all(folder: Path, agents: tuple[str, ...]) -> None:
    """Carry out the runs that a folder lacks, long ones of agents that have two last."""
    for last in (False, True):
        for seed in range(SEEDS):
            for preset in PRESETS:
                for agent in agents:
                    for budget in budgets(agent)[1:] if last else budgets(agent)[:1]:
                        stored(folder, agent, preset, budget, seed)


def budgets(agent: str) -> tuple[int, ...]:
    """The budgets of an agent's runs."""
    return (LATE[agent],) if agent in LATE else MARKS[1:]


def run_long(folder: Path, agents: tuple[str, ...]) -> None:
    """Carry out the long runs that a folder lacks, and print what all found."""
    for seed in range(SEEDS):
        for agent in agents:
            stored(folder, agent, CLEAN, LONG, seed, **LONG_RUNS[agent])
    for agent in agents:
        runs = [stored(folder, agent, CLEAN, LONG, seed) for seed in range(SEEDS)]
        rewards = [np.where(run.valid, run.reward, -np.inf) for run in runs]
        for mark in LONG_MARKS:
            best = [each[:mark].argmax() for each in rewards]
            errors = [run.values[row, ERROR] for run, row in zip(runs, best, strict=True)]
            print(f"{agent:16} {mark:6,} {cell(np.maximum(errors, 1e-7))}")


def stored(folder: Path, agent: str, preset: str, budget: int, seed: int, **settings: Any) -> Run:
    """A run, carried out where the folder does not have it."""
    path = file_of(folder, agent, preset, budget, seed)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        run = searched(agent.replace("+ m", "+ c"), preset, budget, seed, **settings)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **run._asdict())
        part.replace(path)
        print(path.stem, f"{run.reward[run.valid].max(initial=-np.inf):.3f}", flush=True)
    with np.load(path) as file:
        return Run(*(file[field] for field in Run._fields))


def file_of(folder: Path, agent: str, preset: str, budget: int, seed: int) -> Path:
    """The file of a run."""
    return folder / f"{preset}_{agent.replace(' ', '_')}_{budget}_{seed}.npz"


def searched(agent: str, preset: str, budget: int, seed: int, **settings: Any) -> Run:
    """Carry out a run; `settings` go before a learner's own."""
    if agent in WHOLE:
        search = Search(ENV, agent, budget=budget, seed=seed, env_kwargs={"preset": preset})
        try:
            search.spend()
            return run_of(search.ledger, budget)
        finally:
            search.env.close()
    slots = len(archgym.ArchEnv(ENV, preset=preset).simulator.space)
    env: gymnasium.Env[Any, Any] = archgym.PrefixDesign(gymnasium.make(ENV, preset=preset, horizon=slots))
    if agent == "random gates":
        walk(env, budget, seed)
    else:
        learn(env, agent, budget, seed, settings)
    return run_of(env.unwrapped.ledger, budget)


def run_of(ledger: Any, budget: int) -> Run:
    """The first samples of a ledger."""
    return Run(*(ledger.column(name)[:budget] for name in ("reward", "valid", "values", "indices")))


def walk(env: gymnasium.Env[Any, Any], budget: int, seed: int) -> None:
    """Gates drawn among those allowed."""
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for _ in range(budget):
        *_, over, _, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        if over:
            _, info = env.reset()


def learn(env: gymnasium.Env[Any, Any], agent: str, budget: int, seed: int, settings: dict[str, Any]) -> None:
    """A learner's run."""
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import DQN as DeepQ
    from stable_baselines3 import PPO as Proximal

    algorithm, _, curriculum = agent.partition(" ")
    if curriculum:
        chosen = CURRICULUM | {name: settings.pop(name) for name in list(settings) if name in CURRICULUM}
        env = archgym.Curriculum(archgym.RandomHalting(env), **chosen)
    if algorithm == "DQN":
        model = DeepQ("MlpPolicy", env, seed=seed, device="cpu", **DQN | settings)
    else:
        method = MaskablePPO if algorithm == "MaskablePPO" else Proximal
        model = method("MlpPolicy", env, seed=seed, device="cpu", **PPO | settings)
    model.learn(budget)


def try_settings() -> None:
    """Mean reward of learners with other settings, on seeds that no table has."""
    for agent, changes in TRIALS.items():
        for settings in changes:
            label = ", ".join(f"{name} {value}" for name, value in settings.items()) or "as set here"
            runs = [searched(agent, CLEAN, TRIAL_BUDGET, seed, **settings) for seed in TRIAL_SEEDS]
            rewards = [run.reward[run.valid].max() for run in runs]
            print(f"{agent:16} | {label:40} | {np.mean(rewards):.2f}", np.round(rewards, 2), flush=True)


class Found(NamedTuple):
    """The best valid circuits of an agent's runs.

    Attributes:
        errors: error_hartree, float64 [S].
        designs: int64 [S, L].
    """

    errors: Array
    designs: Array


@cache
def found(folder: Path, agent: str, preset: str, mark: int) -> Found | None:
    """What the runs in a folder had found after so many samples; None where an agent's runs end before."""
    budget = next((b for b in budgets(agent) if b >= mark), None)
    files = [file_of(folder, agent, preset, budget or 0, seed) for seed in range(SEEDS)]
    if budget is None or not any(path.exists() for path in files):
        return None
    errors, designs = [], []
    for seed in range(SEEDS):
        if files[seed].exists():
            run = stored(folder, agent, preset, budget, seed)
            best = np.where(run.valid[:mark], run.reward[:mark], -np.inf).argmax()
            errors.append(run.values[best, ERROR])
            designs.append(run.indices[best])
    return Found(np.maximum(errors, 1e-7), np.stack(designs))


def tables(folder: Path) -> None:
    """Print what the runs in a folder found."""
    for preset in PRESETS:
        print(f"\n{preset}: error in millihartree, mean of logarithms, interval; runs within 1.6; median")
        for agent in AGENTS:
            rows = [found(folder, agent, preset, mark) for mark in MARKS]
            print(f"| {agent} |", " | ".join("" if row is None else cell(row.errors) for row in rows), "|")
    for mark in MARKS:
        rank(folder, mark)
    for mark in MARKS:
        choices(folder, mark)


def cell(errors: Array) -> str:
    """Mean, interval, runs within chemical accuracy, median."""
    hits = (errors <= CHEMICAL_ACCURACY).sum()
    return f"{mean_error(errors)}; {hits} of {len(errors)}; {1e3 * np.median(errors):.2g}"


def mean_error(errors: Array) -> str:
    """Mean of the logarithms as an error in millihartree, with its interval."""
    low, high = np.quantile(resampled(errors), [0.025, 0.975])
    mean, low, high = (f"{1e3 * np.exp(value):.2g}" for value in (np.log(errors).mean(), low, high))
    return f"{mean} ({low} to {high})"


def resampled(errors: Array, seed: int = 0) -> Array:
    """Bootstrap replicates of the mean logarithm, [R]."""
    drawn = np.random.default_rng(seed).integers(0, len(errors), (REPLICATES, len(errors)))
    return np.asarray(np.log(errors)[drawn].mean(axis=1))


def rank(folder: Path, mark: int) -> None:
    """Print the places of agents without and with noise, side by side, and their rank correlation."""
    runs = {agent: [found(folder, agent, preset, mark) for preset in PRESETS] for agent in AGENTS}
    names = [agent for agent, row in runs.items() if all(each and len(each.errors) >= LEAST for each in row)]
    if not names:
        return
    columns = [[runs[name][k].errors for name in names] for k in range(len(PRESETS))]  # type: ignore[union-attr]
    ranges = [places(column) for column in columns]
    means = np.array([[np.log(errors).mean() for errors in column] for column in columns])
    order = stats.rankdata(means, axis=1)
    print(f"\nafter {mark} circuits: place, and its range, without noise and with it")
    for i in np.argsort(means[0]):
        cells = (f"{order[k][i]:.0f} ({ranges[k][i][0]} to {ranges[k][i][1]})" for k in range(len(PRESETS)))
        print(f"| {names[i]} |", " | ".join(cells), "|")
    drawn = np.stack(  # [preset, agent, R]
        [
            [resampled(errors, 1 + i) for i, errors in enumerate(column, k * 100)]
            for k, column in enumerate(columns)
        ]
    )
    ranks = stats.rankdata(drawn, axis=1)
    spread = [np.corrcoef(ranks[0, :, r], ranks[1, :, r])[0, 1] for r in range(REPLICATES)]
    low, high = np.quantile(spread, [0.025, 0.975])
    print(f"rank correlation {np.corrcoef(order)[0, 1]:.2f} ({low:.2f} to {high:.2f})")


def places(column: list[Array]) -> list[tuple[int, int]]:
    """The first and last place of each agent that tests of log errors leave possible."""
    pairs = list(combinations(range(len(column)), 2))
    logs = [np.log(errors) for errors in column]
    p = holm(np.array([stats.ttest_ind(logs[i], logs[j], equal_var=False).pvalue for i, j in pairs]))
    better, worse = np.zeros(len(column), int), np.zeros(len(column), int)
    for (i, j), value in zip(pairs, p, strict=True):
        if value < 0.05:
            ahead, behind = (i, j) if logs[i].mean() < logs[j].mean() else (j, i)
            better[behind] += 1
            worse[ahead] += 1
    return [(1 + int(b), len(column) - int(w)) for b, w in zip(better, worse, strict=True)]


def choices(folder: Path, mark: int) -> None:
    """Print what circuits chosen without and with noise are worth without and with it."""
    simulators = [archgym.ArchEnv(ENV, preset=preset).simulator for preset in PRESETS]
    print(f"\nbest circuits after {mark}: error without noise, with noise, CNOTs, rotations")
    for agent in AGENTS:
        for preset in PRESETS:
            row = found(folder, agent, preset, mark)
            if row is not None:
                seen = [simulator.evaluate_indices(row.designs) for simulator in simulators]
                errors = [mean_error(np.maximum(columns["error_hartree"], 1e-7)) for columns in seen]
                sizes = [f"{seen[0][name].mean():.1f}" for name in ("cnots", "parameters")]
                print(f"| {agent}, chosen on {preset} |", " | ".join(errors + sizes), "|")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run_all(Path(sys.argv[2]), tuple(sys.argv[3:]) or AGENTS)
    elif sys.argv[1] == "settings":
        try_settings()
    elif sys.argv[1] == "long":
        run_long(Path(sys.argv[2]), tuple(sys.argv[3:]) or tuple(LONG_RUNS))
    else:
        tables(Path(sys.argv[2]))
