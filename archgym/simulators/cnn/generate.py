"""python -m archgym.simulators.cnn.generate: train every plain convolutional network, and make their table.

The 4,398 networks are shuffled once. All are trained with seed 0, then the first third in this order with
seeds 1 and 2 too: 7,330 trainings, .3 s of one core each. Each training becomes one line of a text file when
it ends, so that an interrupted run loses only the trainings at work and goes on where it stopped. When all
lines are there, they become one table.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import signal
import sys
from functools import cache
from pathlib import Path

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import data_folder, make_folder
from archgym.processes.exits import BAD_INPUT, INTERRUPTED
from archgym.progress import Progress, progress_bar
from archgym.simulators.cnn.layers import Layer, all_networks, name_of

VERSION = 1  # networks and training; results of different versions differ
SEEDS = (0, 1, 2)
SHUFFLE_SEED = 0
COLUMNS = ("network", "seed", "valid_correct", "test_correct", "seconds")

Training = tuple[str, int]  # a network's name and a seed


def trainings() -> list[Training]:
    """Every training of the table, in the order in which they are made."""
    names = [name_of(layers) for layers in all_networks()]
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(names))
    third = order[: len(order) // len(SEEDS)]
    rows = [(row, SEEDS[0]) for row in order] + [(row, seed) for row in third for seed in SEEDS[1:]]
    return [(names[row], seed) for row, seed in rows]


def read_lines(path: Path) -> dict[Training, tuple[int, int, float]]:
    """Right answers on validation and test images, and seconds, of the trainings in a file.

    A line that was being written when a run was stopped is left out.
    """
    done: dict[Training, tuple[int, int, float]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and not line.startswith(COLUMNS[0]):
                name, seed, valid, test, seconds = line.rstrip().split(",")
                done[name, int(seed)] = int(valid), int(test), float(seconds)
    return done


def train_missing(path: Path, processes: int, progress: Progress) -> None:
    """Train whatever has no line in the file yet."""
    make_folder(path.parent)
    done, wanted = read_lines(path), trainings()
    missing = [training for training in wanted if training not in done]
    count = len(wanted) - len(missing)
    ended = not path.exists() or path.read_bytes().endswith(b"\n")
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        open(path, "a", encoding="utf-8", newline="") as file,
        multiprocessing.get_context("spawn").Pool(processes, initializer=_start) as workers,
    ):
        lines = csv.writer(file, lineterminator="\n")
        if not ended:
            file.write("\n")
        if not done:
            lines.writerow(COLUMNS)
        for line in workers.imap_unordered(train_one, missing):
            lines.writerow(line)
            file.flush()
            count += 1
            progress("training networks", count / len(wanted))


def train_one(training: Training) -> tuple[str, int, int, int, float]:
    """One training's line."""
    from archgym.simulators.cnn.train import train

    name, seed = training
    result = train(_networks()[name], seed)
    return name, seed, result.valid_correct, result.test_correct, round(result.seconds, 4)


@cache
def _networks() -> dict[str, tuple[Layer, ...]]:
    return {name_of(layers): layers for layers in all_networks()}


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    description = (__doc__ or "").partition(": ")[2].partition("\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m archgym.simulators.cnn.generate", description=description
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="worker processes (default: one per core)"
    )
    parser.add_argument("--lines", type=Path, help="file of trainings (default: in the data folder)")
    options = parser.parse_args(arguments)
    path = options.lines or data_folder("cnn", "digits.csv")
    try:
        with progress_bar() as progress:
            train_missing(path, options.processes, progress)
    except KeyboardInterrupt:
        print(f"interrupted: finished trainings are in {path}; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except ArchGymError as error:
        print(f"error: {reason_of(error)}", file=sys.stderr)
        return BAD_INPUT
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
