"""Training plans: rates of one core in CPU seconds, whole plan spaces, and published step times.

python benchmarks/parallelism.py rates        plans per second in batches of 1,000
python benchmarks/parallelism.py spaces       each whole space: plans, seconds, the best one
python benchmarks/parallelism.py correction CSV     plans of Calculon's that the corrected window changes

Step times against Selene and MT-NLG: archgym fidelity parallelism.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from time import process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from archgym.simulators.parallelism.clusters import load_cluster
from archgym.simulators.parallelism.fidelity import read_plans_of_calculon
from archgym.simulators.parallelism.language_models import load_model
from archgym.simulators.parallelism.model import reasons, simulate
from archgym.simulators.parallelism.plans import enumerate_plans

BATCH = 1000
ROUNDS = 7
# model, GPUs, sequences per step
SPACES = (("22B", 64, 512), ("175B", 1024, 1536), ("530B", 2240, 1920), ("1T", 3072, 3072))
# pipeline and replicas on InfiniBand, whether or not they fit beside a product's GPUs
INFINIBAND = {"pipeline_network": np.array(1), "data_network": np.array(1)}


def rates() -> None:
    """Plans per second: metrics only, and with the reasons of plans that cannot be run."""
    cluster = load_cluster("a100")
    for name, gpus, batch in SPACES:
        model = load_model(name)
        plans = enumerate_plans(model, cluster, gpus, batch)
        rows = np.random.default_rng(0).integers(len(plans["gpus"]), size=(20, BATCH))
        batches = [{name: column[each] for name, column in plans.items()} for each in rows]
        metrics, both = [], []
        for _ in range(ROUNDS):
            start = process_time()
            found = [simulate(model, cluster, each) for each in batches]
            metrics.append(process_time() - start)
            start = process_time()
            for each, outcome in zip(batches, found, strict=True):
                reasons(model, cluster, each, outcome)
            both.append(metrics[-1] + process_time() - start)
        count = rows.size
        print(
            f"{name:6} {count / min(metrics):12,.0f} plans/s, with reasons {count / min(both):12,.0f} plans/s"
        )


def spaces() -> None:
    """All plans of each model on its cluster, in Calculon's and in the corrected form."""
    cluster = load_cluster("a100")
    for name, gpus, batch in SPACES:
        model = load_model(name)
        for literal, networks in ((True, INFINIBAND), (False, {})):
            start = process_time()
            plans = enumerate_plans(model, cluster, gpus, batch)
            found = simulate(model, cluster, plans | networks, literal=literal)
            fits = found["memory_bytes"] <= cluster.hbm_bytes
            steps = np.where(fits, found["step_time_s"], np.inf)
            best = int(np.argmin(steps))
            seconds = process_time() - start
            form = "Calculon's, on InfiniBand" if literal else "corrected, fastest network"
            print(
                f"{name:5} {gpus:5,} GPUs  {form:27} {len(steps):7,} plans {seconds:6.2f} s  "
                f"{100 * fits.mean():4.1f} % fit  best {steps[best]:8.3f} s, "
                f"{np.sum(steps <= 1.01 * steps[best])} within 1 %"
            )
            print("     ", {key: column[best].item() for key, column in plans.items()})


def correction(path: Path) -> None:
    """How the corrected window changes the plans of a table of Calculon's."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cluster = load_cluster("a100")
    changes: dict[str, list[np.ndarray]] = {"step_time_s": [], "data_communication_s": []}
    for model in dict.fromkeys(row["model"] for row in rows):
        plans = read_plans_of_calculon([row for row in rows if row["model"] == model])
        before, after = (simulate(load_model(model), cluster, plans, literal=each) for each in (True, False))
        for name, each in changes.items():
            given = np.where(before[name] == 0, 1, before[name])
            each.append((after[name] - before[name]) / given)
    for name, each in changes.items():
        change = np.concatenate(each)
        moved = change[np.abs(change) > 1e-12]
        print(
            f"{name:22} {len(moved)} of {len(change)} change, by {100 * moved.min():.2f} % to "
            f"{100 * moved.max():.2f} %, median {100 * np.median(moved):.2f} %"
        )


if __name__ == "__main__":
    {"rates": rates, "spaces": spaces, "correction": correction}[sys.argv[1]](*map(Path, sys.argv[2:]))
