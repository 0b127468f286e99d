"""One-shot agents, agents that take samples, and controls without search, at equal cost on trained cells.

Every run has a cost budget in reference samples (the median cost of training one cell once) on
archgym/NasCell-v0 with seed=0, where a sample is one training. Cells are judged by the table's mean test
accuracy of three trainings, as a percentile among the cells within the limit:

    pick        the first proposal of a one-shot agent, without a sample; else the best by validation
    checked     the best by validation among all samples
    RI          relative improvement of mean test accuracy over the average cell within the limit, %
                (Yang et al., "NAS evaluation is frustratingly hard", 2020)
    rho         Spearman correlation of shared estimates and test accuracy on 300 cells; rho1, rho2, rho3
                among those with 1, 2 or 3 live 3x3 convolutions
    free        edges of the pick without weights (none, skip, pooling)
    training    reference samples spent on training and estimates; seconds: CPU time of the whole run
    share       best validation accuracy found, as a share of the optimum within the limit

One line per run is appended to a CSV file, so an interrupted benchmark goes on where it stopped:

    python benchmarks/one_shot.py run --agents darts,random --seeds 20 --budgets 25
    python benchmarks/one_shot.py table
    python benchmarks/one_shot.py seconds

`seconds` compares at equal CPU seconds. Cells of both kinds of agents are charged the table's seconds of
training, times a factor that brings the table's machine to this one (some cells are trained again);
a one-shot run also pays the seconds that it took. Agents that take samples then stop where they have
spent as much as the one-shot run of the same seed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import process_time

import gymnasium
import numpy as np

import archgym
from archgym.agents._one_shot import OneShotAgent
from archgym.agents._torch import alone_with_torch
from archgym.registry import get_agent
from archgym.shared import Meter
from archgym.simulators.nas.cells import CONV1, CONV3, all_cells, live_edges
from archgym.simulators.nas.tabular import NasCell
from archgym.space import Array, Indices

RESULTS = Path(__file__).parent / "results" / "one_shot.csv"
ENV = "archgym/NasCell-v0"
PLAIN = ("random", "tpe", "bo", "aging_evolution")
JUDGED = 300  # cells of a rank correlation
KEY = ("agent", "fresh", "budget", "limit", "seed")
FIGURES = (
    "pick",
    "checked",
    "improvement",
    "training",
    "seconds",
    "samples",
    "free",
    "rho",
    "rho1",
    "rho2",
    "rho3",
    "share",
    "sample_seconds",
)


@cache
def table() -> dict[str, Array]:
    """Columns of all cells, by ordinal: mean accuracies of three trainings, costs."""
    return NasCell("digits-0.5").evaluate_indices(all_cells())


def within(limit: float) -> Array:
    """Cells within a limit on multiply-adds, bool [15625]; 0 is no limit."""
    return np.ones(len(all_cells()), bool) if not limit else table()["macs"] <= limit


def percentile(cell: Indices, limit: float) -> float:
    """The percentage of cells within the limit that test at most as well."""
    tests = table()["test_accuracy"]
    return float(100 * (tests[within(limit)] <= tests[_ordinal(cell)]).mean())


@cache
def best(limit: float) -> float:
    """The best validation accuracy of one training within the limit."""
    accuracies = NasCell("digits-0.5", seed=0).evaluate_indices(all_cells())["valid_accuracy"]
    return float(accuracies[within(limit)].max())


def _ordinal(cell: Indices) -> int:
    return int(np.asarray(cell) @ 5 ** np.arange(5, -1, -1))


def run_one(agent: str, fresh: bool, budget: float, limit: float, seed: int) -> dict[str, float]:
    """One search and its figures."""
    one_shot = issubclass(get_agent(agent), OneShotAgent)
    kwargs = {"seed": 0, **({"macs": limit} if limit else {})}
    made = get_agent(agent)(**({"fresh": fresh} if one_shot else {}))
    with gymnasium.make(ENV, **kwargs) as env:
        reference = env.unwrapped.evaluator.reference_cost
    start = process_time()
    result = archgym.search(ENV, made, cost_budget=budget * reference, seed=seed, env_kwargs=kwargs)
    seconds = process_time() - start
    history, space = result.history, result.space
    cells = space.encode({name: history[name] for name in space.names})
    valid = np.flatnonzero(history["valid"])
    checked = cells[valid[history["valid_accuracy"][valid].argmax()]] if len(valid) else cells[0]
    pick = cells[0] if one_shot else checked
    tests = table()["test_accuracy"]
    average = tests[within(limit)].mean()
    found = history["valid_accuracy"][valid].max() if len(valid) else 0.0
    return {
        "share": found / best(limit),
        "sample_seconds": history["train_seconds"].sum(),
        "pick": percentile(pick, limit),
        "checked": percentile(checked, limit),
        "improvement": 100 * (tests[_ordinal(pick)] / average - 1),
        "training": sum(charge.amount for charge in result.charges) / reference,
        "seconds": seconds,
        "samples": result.samples,
        "free": int((~np.isin(pick, (CONV1, CONV3))).sum()),
        **(_ranks(made) if isinstance(made, OneShotAgent) else {}),
    }


def _ranks(agent: OneShotAgent) -> dict[str, float]:
    """Rank correlations of the trained weights' estimates, which nobody pays."""
    from scipy.stats import spearmanr

    cells = all_cells()[np.random.default_rng(12345).choice(len(all_cells()), JUDGED, replace=False)]
    agent.task.meter = Meter()
    with alone_with_torch():
        estimates = agent.task.estimate(cells)
    tests = table()["test_accuracy"][[_ordinal(cell) for cell in cells]]
    counts = ((cells == CONV3) & live_edges(cells)).sum(axis=1)
    groups = {"rho": np.ones(JUDGED, bool), **{f"rho{n}": counts == n for n in (1, 2, 3)}}
    return {name: float(spearmanr(estimates[rows], tests[rows])[0]) for name, rows in groups.items()}


def controls(limit: float) -> Iterator[tuple[str, float, float]]:
    """Name, percentile of the first cell and of the best of ten by validation; means over tie breaks."""
    rng = np.random.default_rng(0)
    tests, valids, kept = table()["test_accuracy"], table()["valid_accuracy"], within(limit)
    rules = {**NasCell("digits-0.5").controls(), "random cells": (all_cells(), np.zeros(len(all_cells())))}
    for name, (cells, priorities) in rules.items():
        ordinals = np.array([_ordinal(cell) for cell in cells])
        inside = kept[ordinals]
        if not inside.any():
            continue
        ordinals, priorities = ordinals[inside], np.asarray(priorities, float)[inside]
        firsts, bests = [], []
        for _ in range(1000):
            top = ordinals[np.lexsort((rng.random(len(ordinals)), -priorities))[:10]]
            firsts.append(tests[top[0]]), bests.append(tests[top[valids[top].argmax()]])
        shares = [
            100 * np.mean([(tests[kept] <= each).mean() for each in found]) for found in (firsts, bests)
        ]
        yield name, shares[0], shares[1]


def run(
    agents: list[str], regimes: list[bool], budgets: list[float], limits: list[float], seeds: int
) -> None:
    """All runs that the file lacks, seed by seed."""
    done = {tuple(row[name] for name in KEY) for row in _rows()}
    for seed in range(seeds):
        for agent in agents:
            one_shot = issubclass(get_agent(agent), OneShotAgent)
            for fresh in regimes if one_shot else [True]:
                for budget in budgets:
                    for limit in limits:
                        key = (agent, str(fresh), f"{budget:g}", f"{limit:g}", str(seed))
                        if key not in done:
                            _append(key, run_one(agent, fresh, budget, limit, seed))


def _append(key: tuple[str, ...], figures: dict[str, float]) -> None:
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow([*KEY, *FIGURES])
        writer.writerow([*key, *(f"{figures[name]:.6g}" if name in figures else "" for name in FIGURES)])


def _rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def show() -> None:
    """Medians and quartiles over seeds, by limit, regime, budget and agent; then the controls."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in _rows():
        groups.setdefault(tuple(row[name] for name in ("limit", "fresh", "budget", "agent")), []).append(row)
    print(
        f"{'limit':>8} {'fresh':>6} {'budget':>6} {'agent':16} {'n':>3} {'pick: median (10%, mean)':>26} ",
        end="",
    )
    print(
        f"{'checked: median (10%, mean)':>28} {'RI':>6} {'train':>6} {'CPU s':>6} {'free':>5} rho, by count"
    )
    for (limit, fresh, budget, agent), rows in sorted(groups.items()):
        column = {name: np.array([float(row[name] or "nan") for row in rows]) for name in FIGURES}
        print(f"{limit:>8} {fresh:>6} {budget:>6} {agent:16} {len(rows):>3}", end="")
        for name, width in (("pick", 26), ("checked", 28)):
            low, middle = np.quantile(column[name], [0.1, 0.5])
            print(f"{f'{middle:.1f} ({low:.1f}, {column[name].mean():.1f})':>{width}} ", end="")
        means = [float(np.mean(column[name])) for name in ("improvement", "training", "seconds", "free")]
        print(f"{means[0]:6.1f} {means[1]:6.2f} {means[2]:6.1f} {means[3]:5.1f}", end=" ")
        print(" ".join(f"{np.mean(column[name]):.2f}" for name in ("rho", "rho1", "rho2", "rho3")))
    for limit in sorted({float(row["limit"]) for row in _rows()}):
        for name, first, best in controls(limit):
            print(f"{limit:>8g} control {name}: percentile {first:.1f} for one sample, {best:.1f} for ten")


def seconds_factor(cells: int = 12) -> float:
    """CPU seconds of a training here, over those in the table: the median over random cells."""
    from archgym.simulators.nas.live import TrainedCell

    simulator, drawn = TrainedCell(seed=0), np.random.default_rng(0).choice(len(all_cells()), cells)
    factors = []
    with alone_with_torch():
        for cell in all_cells()[drawn]:
            start = process_time()
            simulator.evaluate_indices(cell[None])
            factors.append((process_time() - start) / table()["train_seconds"][_ordinal(cell)])
    return float(np.median(factors))


def at_seconds(agent: str, limit: float, seed: int, seconds: float, factor: float) -> float:
    """The share that an agent's samples have reached when they have taken so many CPU seconds."""
    history = _long_history(agent, limit, seed)
    inside = np.cumsum(history["train_seconds"]) * factor <= seconds
    paid = history["valid_accuracy"][inside & history["valid"]]
    return float(paid.max() / best(limit)) if len(paid) else 0.0


@cache
def _long_history(agent: str, limit: float, seed: int) -> dict[str, Array]:
    kwargs = {"seed": 0, **({"macs": limit} if limit else {})}
    options = {"population": 10, "sample_size": 3, "batch": 1} if agent == "aging_evolution" else {}
    made = get_agent(agent)(**options)
    return archgym.search(ENV, made, budget=150, seed=seed, env_kwargs=kwargs).history


def show_seconds() -> None:
    """Mean differences of shares at equal CPU seconds, with 95 % bootstrap intervals over seeds."""
    factor, rng = seconds_factor(), np.random.default_rng(0)
    print(f"a training takes {factor:.2f} of the table's seconds here")
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in _rows():
        if row["agent"] not in PLAIN:
            groups.setdefault(tuple(row[name] for name in ("limit", "fresh", "budget", "agent")), []).append(
                row
            )
    for key, rows in sorted(groups.items()):
        seconds = [float(row["seconds"]) + factor * float(row["sample_seconds"]) for row in rows]
        shares = np.array([float(row["share"]) for row in rows])
        print(
            f"{' '.join(key)}: {np.mean(seconds):.1f} s, share {shares.mean():.3f};",
            end="",
        )
        for name in PLAIN:
            peers = [
                at_seconds(name, float(key[0]), int(row["seed"]), spent, factor)
                for row, spent in zip(rows, seconds, strict=True)
            ]
            gaps = shares - np.array(peers)
            means = rng.choice(gaps, (10_000, len(gaps))).mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            print(f" {name} {gaps.mean():+.3f} ({low:+.3f} to {high:+.3f})", end="")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table", "seconds"])
    parser.add_argument(
        "--agents", default="darts,darts_pt,pc_darts,proxyless,shared_random," + ",".join(PLAIN)
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="25", help="reference samples, separated by commas")
    parser.add_argument("--limits", default="0,4e5", help="limits on multiply-adds; 0 is none")
    parser.add_argument("--regimes", default="fresh", help="fresh, fixed or both: training images")
    chosen = parser.parse_args()
    if chosen.what == "table":
        return show()
    if chosen.what == "seconds":
        return show_seconds()
    regimes = {"fresh": [True], "fixed": [False], "both": [True, False]}[chosen.regimes]
    budgets, limits = ([float(x) for x in text.split(",")] for text in (chosen.budgets, chosen.limits))
    run(chosen.agents.split(","), regimes, budgets, limits, chosen.seeds)


if __name__ == "__main__":
    main()
