"""Cells and their co-design with accelerators: rates on one core.

    python benchmarks/nas.py rates [DATASET]      designs and lookups per second, seconds of gymnasium.make

DATASET is a table of `archgym data list`; digits-0.5 by default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np
from scipy.special import stdtrit

import archgym
from archgym.simulators.co_design import CoDesign
from archgym.simulators.nas.tabular import NasCell

# Test accuracies of searches on NAS-Bench-201, CIFAR-10, mean and standard deviation, as they are quoted from
# Dong & Yang (ICLR 2020). The
# protocol is another: 500 searches that end after 12,000 s of simulated training, validated after 12 epochs
# and tested after 200.
PUBLISHED = {
    "random": (93.70, 0.36),
    "aging_evolution": (93.92, 0.30),
    "reinforce": (93.85, 0.37),
}
AGENTS = {
    "random": {},
    "aging_evolution": {"population": 10, "sample_size": 3, "batch": 1},
    "reinforce": {},
    "ppo": {},
}
BUDGETS = (100, 300)  # cells

ROUNDS = 7
BATCH = 10_000
LOOKUPS = 1_000_000


def rates(dataset: str = "digits-0.5") -> None:
    """Best of some rounds, but for what is made: the first time, and the best of the others."""
    rng = np.random.default_rng(0)
    for deploy in ("dataset", "cifar"):
        simulator = CoDesign(dataset, deploy)
        designs = simulator.space.sample(BATCH, rng)
        first = _seconds(lambda simulator=simulator, designs=designs: simulator.evaluate_indices(designs))
        best = _best(lambda simulator=simulator, designs=designs: simulator.evaluate_indices(designs))
        _print(f"co-design, deploy={deploy}, first {BATCH:,} designs", BATCH / first, "designs/s")
        _print(f"co-design, deploy={deploy}, batches of {BATCH:,}", BATCH / best, "designs/s")
    cells = NasCell(dataset)
    for batch in (BATCH, LOOKUPS):
        indices = cells.space.sample(batch, rng)
        best = _best(lambda indices=indices: cells.evaluate_indices(indices))
        _print(f"NasCell.evaluate_indices, batches of {batch:,}", batch / best, "designs/s")
    tabulated = gymnasium.make("archgym/NasCell-v0", dataset=dataset).unwrapped.simulator
    indices = cells.space.sample(BATCH, rng)
    _print(
        f"simulator of archgym/NasCell-v0, batches of {BATCH:,}",
        BATCH / _best(lambda: tabulated.evaluate_indices(indices)),
        "designs/s",
    )
    for env_id, batch in (("archgym/NasCell-v0", BATCH), ("archgym/CoDesign-v0", BATCH)):
        envs = gymnasium.make_vec(env_id, num_envs=batch, dataset=dataset)
        envs.reset(seed=0)
        actions = envs.action_space.sample()
        _print(
            f"{env_id}, vector of {batch:,}",
            batch / _best(lambda envs=envs, actions=actions: envs.step(actions)),
            "steps/s",
        )
    for env_id in ("archgym/NasCell-v0", "archgym/CoDesign-v0"):
        best = _best(lambda env_id=env_id: gymnasium.make(env_id, dataset=dataset))
        _print(f"gymnasium.make of {env_id}", 1000 * best, "ms")


def agents(dataset: str = "nasbench201-cifar10", seeds: str = "100") -> None:
    """Mean, 95 % interval (Student's t) and standard deviation over seeds of what agents find, in per
    cent.
    """
    count = int(seeds)
    half = float(stdtrit(count - 1, 0.975)) / count**0.5
    for budget in BUDGETS:
        print(
            f"\n{dataset}, {budget} cells, {count} seeds".ljust(59),
            "validation".ljust(30),
            "test".ljust(30),
            "published test",
        )
        for agent, settings in AGENTS.items():
            run = partial(
                archgym.search,
                "archgym/NasCell-v0",
                agent,
                budget=budget,
                agent_kwargs=settings,
                env_kwargs={"dataset": dataset},
            )
            found = [run(seed=seed).best_metrics for seed in range(count)]
            columns = [
                100 * np.array([metrics[name] for metrics in found])
                for name in ("valid_accuracy", "test_accuracy")
            ]
            texts = [
                f"{c.mean():.2f} +- {half * c.std(ddof=1):.2f} (sd {c.std(ddof=1):.2f})" for c in columns
            ]
            quoted = "{:.2f} (sd {:.2f})".format(*PUBLISHED[agent]) if agent in PUBLISHED else "-"
            words = ", ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"
            print(f"{agent} ({words})".ljust(58), texts[0].ljust(30), texts[1].ljust(30), quoted, flush=True)


def _print(what: str, value: float, unit: str) -> None:
    print(what.ljust(70), f"{value:12,.0f} {unit}", flush=True)


def _best(run: Callable[[], object]) -> float:
    return min(_seconds(run) for _ in range(ROUNDS))


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


if __name__ == "__main__":
    known = {"rates": rates, "agents": agents}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(__doc__)
    known[sys.argv[1]](*sys.argv[2:])
