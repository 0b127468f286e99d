"""Systems on chip: rates of one core, what enumeration finds, and rankings under the published direction.

python benchmarks/soc.py rates        designs per CPU second in batches of 1,000, and the encoding's share
python benchmarks/soc.py landscape    distinct designs of each enumerable space, how many meet the budgets,
                                      and the optima
python benchmarks/soc.py windows      how many rows meet the budgets by FARSI's power windows, and by correct
                                      ones
python benchmarks/soc.py anomalies    how often a faster bus or memory makes a design slower
python benchmarks/soc.py published    agents under the right and the published direction, 300 samples, 10
                                      seeds
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from time import process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy.stats import kendalltau

import archgym
import archgym.envs.soc
from archgym.simulators.soc.model import SoC
from archgym.simulators.soc.workload import list_workloads
from archgym.space import Array, Indices

BATCH, ROUNDS = 1000, 20
ENUMERATED = (("hpvm_cava", 1), ("edge_detection", 1), ("edge_detection", 3))
PAIRS = 100_000
AGENTS = ("random", "genetic", "aging_evolution", "tpe", "ant_colony")
BUDGET, SEEDS, REPLICATES = 300, 10, 2000


def rates() -> None:
    """Designs per CPU second, the median of rounds."""
    for workload in list_workloads():
        for max_buses in (1, 3):
            simulator, rng = SoC(workload, max_buses), np.random.default_rng(0)
            encoding, whole = [], []
            for _ in range(ROUNDS):
                rows = simulator.space.sample(BATCH, rng)
                start = process_time()
                simulator.encoding.blocks(rows)
                middle = process_time()
                simulator.evaluate_indices(rows)
                encoding.append(middle - start)
                whole.append(process_time() - middle)
            share = 100 * np.median(encoding) / np.median(whole)
            rate = BATCH / np.median(whole)
            print(f"{workload:16} up to {max_buses} buses {rate:10,.0f} designs/s, encoding {share:.0f} %")


def distinct(simulator: SoC) -> Iterator[Indices]:
    """All distinct designs, in chunks."""
    for rows in simulator.space.enumerate(1 << 17):
        rows = rows[(simulator.canonical(rows) == rows).all(1)]
        if len(rows):
            yield rows


def landscape() -> None:
    """Counts, quantiles and optima."""
    for workload, max_buses in ENUMERATED:
        simulator = SoC(workload, max_buses)
        start, parts, designs = process_time(), [], []
        for rows in distinct(simulator):
            parts.append(simulator.evaluate_indices(rows))
            designs.append(rows.astype(np.int8))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        rows = np.concatenate(designs)
        meets = columns["distance"] == 0
        seconds = process_time() - start
        print(
            f"\n{workload}, up to {max_buses} buses: {simulator.space.size:,} designs, {len(rows):,} distinct"
        )
        print(f"    {seconds:.0f} CPU s; {meets.sum()} meet the budgets, {meets.mean():.2g}")
        for name in ("latency_s", "energy_j", "power_w", "area_mm2", "distance"):
            quantiles = np.quantile(columns[name], [0, 0.01, 0.25, 0.5, 0.75, 1])
            print(f"    {name:10}", *(f"{q:.4g}" for q in quantiles))
        for goal, among in (("energy_j", meets), ("edp", meets), ("edp", np.ones_like(meets))):
            values = np.where(among, columns[goal], np.inf)
            best = int(values.argmin())
            equal = int((values <= values[best] * (1 + 1e-9)).sum())
            where = "within the budgets" if among is meets else "without budgets"
            print(f"    least {goal} {where}: {values[best]:.6g}, {equal} designs")
            print("       ", simulator.space.design(rows[best].astype(np.int64)))
            print("       ", {name: f"{column[best]:.5g}" for name, column in columns.items()})


def windows() -> None:
    """All rows, equal chips included, with the same bandwidth of memories and buses and `alternate` alone."""
    for workload in ("hpvm_cava", "edge_detection"):
        for literal in (True, False):
            simulator = SoC(workload, literal=literal)
            place = {name: p for p, name in enumerate(simulator.space.names)}
            count, meet, edp = 0, 0, []
            for rows in simulator.space.enumerate(1 << 17):
                same = rows[:, place["memory_gb_s"]] == rows[:, place["bus_gb_s"]]
                fast = rows[:, place["memory_gb_s"]] > 0
                rows = rows[same & fast & (rows[:, place["placement"]] == 0)]
                if len(rows):
                    columns = simulator.evaluate_indices(rows)
                    count, meet = count + len(rows), meet + int((columns["distance"] == 0).sum())
                    edp.append(columns["edp"])
            values = np.concatenate(edp)
            equal = int((values <= values.min() * (1 + 1e-9)).sum())
            print(f"{workload:16} literal={literal!s:5} {count:,} rows, {meet} meet the budgets,", end=" ")
            print(f"least edp {values.min():.5g} J s, {equal} equal")


def anomalies() -> None:
    """Latency with one parameter a step higher, over that of the same design."""
    rng = np.random.default_rng(1)
    for workload in list_workloads():
        for max_buses in (1, 3):
            simulator = SoC(workload, max_buses)
            rows = simulator.space.sample(PAIRS, rng)
            for name in ("bus_gb_s", "memory_gb_s", "ip_mhz"):
                slow, fast = stepped(simulator, rows, name, rng)
                ratio = (
                    simulator.evaluate_indices(fast)["latency_s"]
                    / simulator.evaluate_indices(slow)["latency_s"]
                )
                longer = ratio > 1 + 1e-9
                print(f"{workload:16} up to {max_buses} buses, {name:12}", end=" ")
                print(f"{100 * longer.mean():.3f} % longer, at most by {100 * (ratio.max() - 1):.2f} %")


def stepped(simulator: SoC, rows: Indices, name: str, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Designs with a random value of a parameter, and the same designs with the next one."""
    place = simulator.space.names.index(name)
    slow = rows.copy()
    slow[:, place] = rng.integers(0, simulator.space.nvec[place] - 1, len(rows))
    fast = slow.copy()
    fast[:, place] += 1
    return slow, fast


def published() -> None:
    """Agents under both directions: samples until a design meets all budgets, and the distance of the design
    with the best published reward.
    """
    for workload in ("hpvm_cava", "edge_detection"):
        needed, farthest = np.zeros((len(AGENTS), SEEDS)), np.zeros((len(AGENTS), SEEDS))
        for row, agent in enumerate(AGENTS):
            for seed in range(SEEDS):
                distances = searched(agent, seed, workload=workload)
                met = np.flatnonzero(distances == 0)
                needed[row, seed] = 1 + met[0] if len(met) else np.inf
                farthest[row, seed] = searched(agent, seed, workload=workload, goal="farsi_published").max()
        right, wrong = wins(needed), wins(-farthest)
        draws = resampled(needed), resampled(-farthest, seed=1)
        print(f"\n{workload}: met in 300, samples until then | beats another's run | farthest | beats")
        for row in np.argsort(-right):
            print(f"    {AGENTS[row]:16} {np.isfinite(needed[row]).sum()} of {SEEDS}", end=" ")
            for values, chances, replicates in ((needed, right, draws[0]), (farthest, wrong, draws[1])):
                low, high = np.quantile(replicates[:, row], [0.025, 0.975])
                _, least, *_, most, _ = sorted(values[row])
                print(f"| {np.median(values[row]):.6g} ({least:.6g} to {most:.6g})", end=" ")
                print(f"| {chances[row]:.2f} ({low:.2f} to {high:.2f})", end=" ")
            print()
        taus = [kendalltau(*pair).statistic for pair in zip(*draws, strict=True)]
        low, high = np.nanquantile(taus, [0.025, 0.975])
        print(f"    Kendall's tau {kendalltau(right, wrong).statistic:.2f} ({low:.2f} to {high:.2f})")


def searched(agent: str, seed: int, **kwargs: str) -> Array:
    """The distance of each sample of a search."""
    result = archgym.search("archgym/SoC-v0", agent, budget=BUDGET, seed=seed, env_kwargs=kwargs)
    return np.asarray(result.history["distance"], float)


def wins(values: Array) -> Array:
    """The probability that a run of an agent beats one of another, ties one half: [A, seeds] -> [A]."""
    less = values[:, None, :, None] < values[None, :, None, :]
    equal = values[:, None, :, None] == values[None, :, None, :]
    pairs = (less + 0.5 * equal).mean((2, 3))
    return (pairs.sum(1) - pairs.diagonal()) / (len(values) - 1)


def resampled(values: Array, seed: int = 0) -> Array:
    """`wins` of bootstrap replicates over seeds, [R, A]."""
    rng = np.random.default_rng(seed)
    rows = np.arange(len(values))[:, None]
    return np.array([wins(values[rows, rng.integers(0, SEEDS, values.shape)]) for _ in range(REPLICATES)])


if __name__ == "__main__":
    {f.__name__: f for f in (rates, landscape, windows, anomalies, published)}[sys.argv[1]]()
