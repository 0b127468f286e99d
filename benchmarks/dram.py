"""The DRAM controller: rates on one core, the landscape of a trace, and what a unit that is dropped does to the rankings of agents.

    python benchmarks/dram.py rates            lookups and steps per second, beside the published environment's
    python benchmarks/dram.py landscape        distribution, variance by parameter, and samples that a random search needs
    python benchmarks/dram.py rankings DIR     of a folder of the study archgym-2023: agents under the right and the wrong latency
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np
from scipy.stats import kendalltau

import archgym  # noqa: F401 - registers the environments
from archgym.lottery.load import load_tasks
from archgym.simulators.dram import DramController
from archgym.space import Array
from archgym.study.spec import Study
from archgym.study.store import Store

ROUNDS = 7
BATCH = 10_000
STEPS = 5_000
PUBLISHED = (10, 15)  # steps/s of the published environment
SEARCHES = 2_000


def rates() -> None:
    rng = np.random.default_rng(0)
    model = DramController()
    for batch in (BATCH, 100 * BATCH):
        designs = model.space.sample(batch, rng)
        seconds = _best(lambda designs=designs: model.evaluate_indices(designs))
        print(f"lookups, batches of {batch:,}".ljust(50), f"{batch / seconds:14,.0f} designs/s")
    env = gymnasium.make("archgym/DramController-v0", trace="cloud-1")
    actions = [env.action_space.sample() for _ in range(STEPS)]

    def episodes() -> None:
        for action in actions:
            env.reset()
            env.step(action)

    rate = STEPS / _best(episodes)
    print("reset + step".ljust(50), f"{rate:14,.0f} /s, {rate / PUBLISHED[1]:,.0f} to {rate / PUBLISHED[0]:,.0f} times the published 10 to 15")
    envs = gymnasium.make_vec("archgym/DramController-v0", num_envs=BATCH)
    envs.reset()
    batch_of_actions = envs.action_space.sample()
    print(f"step of {BATCH:,} environments".ljust(50), f"{BATCH / _best(lambda: envs.step(batch_of_actions)):14,.0f} designs/s")


def landscape() -> None:
    right, wrong = DramController(), DramController(time_unit="dropped")
    space = right.space
    everything = space.from_ordinal(np.arange(space.size))
    designs = everything[(right.canonical(everything) == everything).all(axis=1)]
    metrics = right.evaluate_indices(designs)
    latency, faulty = metrics["latency_s"], wrong.evaluate_indices(designs)["latency_s"]
    outcomes = len(np.unique(np.stack([latency, metrics["energy_j"]]), axis=1).T)
    print(f"{len(designs):,} designs differ, {outcomes:,} distinct (latency, energy); in whole ns: {(faulty < latency / 2).mean():.3f}\n")
    print("quantiles".ljust(24), *(f"{q:>10}" for q in ("lowest", "1 %", "25 %", "median", "75 %", "highest")))
    for name, unit, scale in (("latency_s", "us", 1e6), ("energy_j", "uJ", 1e6), ("power_w", "W", 1), ("bandwidth_bytes_s", "GB/s", 1e-9)):
        quantiles = np.quantile(metrics[name] * scale, [0, 0.01, 0.25, 0.5, 0.75, 1])
        print(f"{name}, {unit}".ljust(24), *(f"{q:10.2f}" for q in quantiles))
    columns = {"log latency": latency, "log wrong latency": faulty, "log energy": metrics["energy_j"], "log power": metrics["power_w"]}
    print("\nvariance explained".ljust(25), *(f"{name:>18}" for name in columns))
    for p, name in enumerate(space.names):
        shares = [_explained(np.log(column), designs[:, p]) for column in columns.values()]
        print(name.ljust(24), *(f"{share:18.3f}" for share in shares))
    print("\nrandom search on the lowest latency, samples until".ljust(52), *(f"{q:>9}" for q in ("10 %", "median", "90 %")))
    rng = np.random.default_rng(0)
    everywhere = right.evaluate_indices(everything)["latency_s"]
    for name, share in (("10 %", 0.1), ("1 %", 0.01), ("0", 0.0)):
        reached = (everywhere <= latency.min() * (1 + share)).mean()
        samples = np.quantile(rng.geometric(reached, SEARCHES * 100), [0.1, 0.5, 0.9])
        print(f"  within {name} of it ({reached:.5f} of the designs)".ljust(51), *(f"{q:9,.0f}" for q in samples))


def rankings(folder: Path) -> None:
    """Agents by the regret of their runs, in pairs of tasks that differ in the unit alone."""
    tasks = {task.name: task for task in load_tasks(Study.read(folder / "study.toml"), Store(folder))}
    pairs = [(name, f"{name}, unit dropped") for name in tasks if f"{name}, unit dropped" in tasks]
    for pair in pairs:
        print(tasks[pair[0]])


def _explained(values: Array, levels: Array) -> float:
    """Share of the variance between the levels of one parameter (its main effect in a full grid)."""
    groups = [values[levels == level] for level in np.unique(levels)]
    return sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups) / len(values) / values.var()


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    commands = {"rates": rates, "landscape": landscape}
    match sys.argv[1:]:
        case [name] if name in commands:
            commands[name]()
        case ["rankings", folder]:
            rankings(Path(folder))
        case _:
            sys.exit(__doc__)
