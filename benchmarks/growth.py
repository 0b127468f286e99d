"""Whether a grown network is worth more than one trained from new weights, at equal epochs and at equal cost.

children   A parent is grown from the start by two random moves, then a child of it by two more at once. The
           child is trained for some epochs from the inherited weights, and from new weights at the recipe's
           own learning rate. Its accuracy before training is under 0 epochs.
paths      A random path of five moves with four epochs after each, against its last network trained from new
           weights for as many epochs in all (`start="scratch"`), or for as many multiply-adds in all.

Accuracies are those on 1,350 test images, in percent. One line per training is appended to a CSV file, so an
interrupted benchmark goes on where it stopped:

    python benchmarks/growth.py run --children 12 --paths 12
    python benchmarks/growth.py table

Means have 95 % bootstrap intervals over children or paths, gaps are paired.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from archgym.simulators.cnn.growth.grown import (
    COPY_NOISE,
    LEARNING_RATE,
    GrownCnn,
    epoch_macs,
    grow,
    seed_of,
    train_last,
)
from archgym.simulators.cnn.growth.moves import MOVES, growth_of, refusal
from archgym.simulators.cnn.growth.moves import Path as Moves
from archgym.simulators.cnn.growth.transform import transform
from archgym.simulators.cnn.layers import EPOCHS, IMAGES, SIDE
from archgym.simulators.cnn.network import PlainCnn
from archgym.simulators.cnn.train import NOISE, count_correct, fit
from archgym.simulators.nas.training.digits import load_digits_task
from archgym.simulators.nas.training.train import one_thread
from archgym.space import Array

RESULTS = Path(__file__).parent / "results" / "growth.csv"
COLUMNS = ("part", "number", "kind", "epochs", "test")
LENGTHS = (1, 2, 4, 8, 16)  # epochs
RATES = (0.02, LEARNING_RATE, 0.1)  # learning rates of inherited weights, compared where they train for
RATED = 4  # epochs
STEPS, STEP_EPOCHS = 5, 4


def random_path(number: int, steps: int) -> Moves:
    """A path of possible moves, each equally likely."""
    rng, path = np.random.default_rng(number), Moves()
    for _ in range(steps):
        possible = [move for move in range(1, len(MOVES)) if not refusal(growth_of(path).last, move)]
        path = (*path, int(rng.choice(possible)))
    return path


def percent(network: PlainCnn) -> float:
    """Accuracy on the test images."""
    return 100 * count_correct(network)[1] / IMAGES


def child_trainings(number: int) -> Iterator[tuple[str, int, float]]:
    """Kind, epochs and accuracy of a child's trainings."""
    path = random_path(number, 4)
    seed = seed_of(path, number)
    images = torch.from_numpy(load_digits_task(NOISE, SIDE).epoch(seed, 0)[0])[:, None]

    def inherited() -> PlainCnn:
        network, rng = grow(path[:2], number, STEP_EPOCHS).network, np.random.default_rng(seed)
        for move in path[2:]:
            network = transform(network, move, images, rng, COPY_NOISE)
        return network

    yield "parent", 0, percent(grow(path[:2], number, STEP_EPOCHS).network)
    yield "child", 0, percent(inherited())
    for epochs in LENGTHS:
        for rate in RATES if epochs == RATED else (LEARNING_RATE,):
            network = inherited()
            fit(network, seed, epochs=epochs, learning_rate=rate)
            yield f"inherit {rate:g}", epochs, percent(network)
        network = PlainCnn(growth_of(path).last, seed)
        fit(network, seed, epochs=epochs)
        yield "scratch", epochs, percent(network)


def path_trainings(number: int) -> Iterator[tuple[str, int, float]]:
    """Kind, epochs and accuracy of a path's trainings."""
    path, simulator = random_path(number, STEPS), GrownCnn("inherit", STEPS, STEP_EPOCHS, seed=number)
    total = EPOCHS + STEPS * STEP_EPOCHS
    yield "grown", total, 100 * grow(path, number, STEP_EPOCHS).test_correct / IMAGES
    yield "equal epochs", total, 100 * train_last(path, number, STEP_EPOCHS).test_correct / IMAGES
    macs = simulator.evaluate_indices(np.array([path]))["train_macs"][0]
    epochs = round(macs / epoch_macs(growth_of(path).last))
    network = PlainCnn(growth_of(path).last, seed_of(path, number))
    fit(network, seed_of(path, number), epochs=epochs)
    yield "equal multiply-adds", epochs, percent(network)


def run(children: int, paths: int) -> None:
    """All children and paths that the file lacks."""
    done = {(row["part"], row["number"]) for row in rows()}
    wanted = [("children", child_trainings, n) for n in range(children)]
    wanted += [("paths", path_trainings, n) for n in range(paths)]
    for part, trainings, number in sorted(wanted, key=lambda each: each[2]):
        if (part, str(number)) not in done:
            with one_thread():
                found = [
                    (part, number, kind, epochs, f"{test:.3f}") for kind, epochs, test in trainings(number)
                ]
            new = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *found] if new else found)


def rows() -> list[dict[str, str]]:
    """Lines of the file."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def interval(values: Array) -> str:
    """Mean and its 95 % bootstrap interval."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.1f} ({low:.1f} to {high:.1f})"


def show() -> None:
    """Both tables."""
    found: dict[str, dict[tuple[str, int], Array]] = {}
    for part in ("children", "paths"):
        lines = [row for row in rows() if row["part"] == part]
        # a path's epochs at equal multiply-adds are its own
        keys = [(row["kind"], int(row["epochs"]) if part == "children" else 0) for row in lines]
        found[part] = {
            key: np.array([float(row["test"]) for row, k in zip(lines, keys, strict=True) if k == key])
            for key in dict.fromkeys(keys)
        }
    children, paths = found["children"], found["paths"]
    print(f"{len(children['child', 0])} children: parent {interval(children['parent', 0])}, ", end="")
    print(f"child before training {interval(children['child', 0])}")
    for epochs in LENGTHS:
        print(f"epochs {epochs}: scratch {interval(children['scratch', epochs])}", end="")
        for kind in [kind for kind, length in children if length == epochs and kind != "scratch"]:
            gap = children[kind, epochs] - children["scratch", epochs]
            print(f"; {kind} {interval(children[kind, epochs])}, gap {interval(gap)}", end="")
        print()
    grown = paths.pop(("grown", 0))
    print(f"{len(grown)} paths: grown {interval(grown)}", end="")
    for (kind, _), tests in paths.items():
        print(f"; {kind} {interval(tests)}, gap {interval(grown - tests)}", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--children", type=int, default=12)
    parser.add_argument("--paths", type=int, default=12)
    chosen = parser.parse_args()
    if chosen.what == "table":
        show()
    else:
        run(chosen.children, chosen.paths)


if __name__ == "__main__":
    main()
