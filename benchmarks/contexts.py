"""What a policy is worth on contexts that it never saw, beside the best that copying can do.

Splits hold out 30 % of softmax shapes, 30 % of networks with all their layers (accelerator), or 30 % of NK
landscapes, where nothing can be learned. Shares of the exact optimum, 0 for designs that are not valid: of
the first proposal (zero-shot), and of the best of five. Baselines are given the exact optima of all training
contexts, which an agent has to find:

    nearest    optimum of the nearest training context, by standardised features
    one        the optimum of one training context with the largest mean share over them all
    random     a uniformly random design, mean over 1,000

One line per split is appended to a CSV file, so an interrupted benchmark goes on where it stopped:

    python benchmarks/contexts.py run softmax --splits 10            # a minute on one core
    python benchmarks/contexts.py table                              # means over splits, worst contexts
"""

from __future__ import annotations

import argparse
import csv
import warnings
from pathlib import Path
from time import process_time

import gymnasium
import numpy as np

import archgym
from archgym.contexts.sets import Contexts
from archgym.registry import get_task

RESULTS = Path(__file__).parent / "results" / "contexts.csv"
SETS = {
    "softmax": ("archgym/Softmax-v0", "shapes", "context", 50_000),
    "accelerator": ("archgym/Accelerator-v0", "layers", "group", 100_000),
    "nk": ("archgym/NKLandscape-v0", "landscapes", "context", 20_000),
}
COLUMNS = ["zero_shot", "zero_shot_worst", "best_of_5", "best_of_5_worst"]
BASELINES = ["nearest", "nearest_worst", "one", "one_worst", "random"]
HEADER = ["set", "agent", "budget", "split", *COLUMNS, *BASELINES, "seconds", "samples_per_s"]


def run(name: str, agent: str, splits: int) -> None:
    """Train and judge one policy per split."""
    env, contexts, by, budget = SETS[name]
    everything = Contexts.of(contexts, get_task(env))
    done = {(row["set"], row["agent"], row["split"]) for row in _rows()}
    for split in range(splits):
        if (name, agent, str(split)) in done:
            continue
        train, test = everything.split(0.3, split, by)  # type: ignore[arg-type]
        before = process_time()
        policy = archgym.train(env, contexts=train, budget=budget, seed=split, agent=agent)
        seconds = process_time() - before
        numbers = [*_policy_shares(env, policy, test), *_baseline_shares(env, train, test)]
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(HEADER)
            row = [f"{x:.4f}" for x in numbers] + [f"{seconds:.1f}", f"{budget / seconds:.0f}"]
            writer.writerow([name, agent, budget, split, *row])


def table() -> None:
    """Means over splits; of the worst contexts the worst."""
    rows = _rows()
    for key in dict.fromkeys((row["set"], row["agent"], row["budget"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["agent"], row["budget"]) == key]
        print(*key, f"{len(mine)} splits")
        for column in HEADER[4:]:
            values = np.array([float(row[column]) for row in mine])
            worst = "worst" in column
            print(f"  {column:16} {values.min() if worst else values.mean():.3f}")
        for baseline in ("nearest", "one"):
            ahead = np.array([float(row["zero_shot"]) - float(row[baseline]) for row in mine])
            low, high = _interval(ahead)
            print(
                f"  zero-shot minus {baseline}: {ahead.mean():+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
            )


def _policy_shares(env: str, policy: archgym.contexts.policy.Policy, test: Contexts) -> list[float]:
    judge = gymnasium.make(env, contexts=test.like(policy.contexts)).unwrapped
    ranked = [policy.rank(row, 5) for row in judge.evaluator.feature_rows]
    shares = np.array([_shares(judge, designs, c) for c, designs in enumerate(ranked)])
    best = shares.max(axis=1)
    return [shares[:, 0].mean(), shares[:, 0].min(), best.mean(), best.min()]


def _baseline_shares(env: str, train: Contexts, test: Contexts) -> list[float]:
    trained = gymnasium.make(env, contexts=train).unwrapped
    judge = gymnasium.make(env, contexts=test.like(trained.contexts)).unwrapped
    optima = np.array([_optimum(trained, train, c) for c in range(len(train))])
    known, new = trained.evaluator.feature_rows, judge.evaluator.feature_rows
    nearest = optima[((new[:, None] - known) ** 2).sum(axis=2).argmin(axis=1)]
    over_training = np.mean([_shares(trained, optima, c) for c in range(len(train))], axis=0)
    one = optima[over_training.argmax()][None]
    near = [_shares(judge, design[None], c)[0] for c, design in enumerate(nearest)]
    same = [_shares(judge, one, c)[0] for c in range(len(test))]
    drawn = trained.simulator.space.sample(1000, np.random.default_rng(0))
    random = np.mean([_shares(judge, drawn, c).mean() for c in range(len(test))])
    return [float(x) for x in (np.mean(near), min(near), np.mean(same), min(same), random)]


def _optimum(env: archgym.ArchEnv, contexts: Contexts, c: int) -> np.ndarray:
    """Indices of a context's exact optimum, [P]: as stated or known, else by enumeration."""
    space = env.simulator.space
    stated = None if contexts.optima is None else contexts.optima[c]
    if stated is not None:
        return space.encode({name: [value] for name, value in stated.items()})[0]
    member = env.evaluator.members[c]
    known = member.simulator.optimum(member.objective)
    if known is not None:
        return known
    designs = np.concatenate(list(space.enumerate()))
    return designs[_shares(env, designs, c).argmax()]


def _shares(env: archgym.ArchEnv, designs: np.ndarray, context: int) -> np.ndarray:
    found = env.score(designs, context=context)
    return np.where(found["valid"], np.exp(found["reward"]), 0.0)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    draws = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("set", nargs="?", choices=list(SETS), default="softmax")
    parser.add_argument("--agent", default="contextual_value", help="agent that is trained")
    parser.add_argument("--splits", type=int, default=10, help="number of splits")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    if arguments.action == "run":
        run(arguments.set, arguments.agent, arguments.splits)
    table()
