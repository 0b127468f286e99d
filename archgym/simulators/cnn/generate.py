"""python -m archgym.simulators.cnn.generate: train every plain convolutional network, and make their table.

The 4,398 networks are shuffled once. All are trained with seed 0, then the first third in this order with
seeds 1 and 2 too: 7,330 trainings, .4 s of one core each. Each training becomes one line of a text file when
it ends, so that an interrupted run loses only the trainings at work and goes on where it stopped. When all
lines are there, they become one table.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import data_folder, make_folder
from archgym.processes.exits import BAD_INPUT, INTERRUPTED
from archgym.progress import Progress, progress_bar
from archgym.simulators.cnn.layers import EPOCHS, IMAGES, SEEDS, all_networks, name_of
from archgym.simulators.cnn.tabular import TABLE
from archgym.simulators.nas.tables.table import Table, save_table

VERSION = 1  # networks and training; results of different versions differ
SHUFFLE_SEED = 0
HEADER = "network,seed,valid_correct,test_correct,seconds\n"


class Wanted(NamedTuple):
    """A training: a network by its number, and a seed."""

    network: int
    seed: int


def wanted() -> list[Wanted]:
    """Every training of the table, in the order in which they are made."""
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(all_networks())).tolist()
    third = order[: len(order) // len(SEEDS)]
    return [Wanted(each, SEEDS[0]) for each in order] + [
        Wanted(each, seed) for each in third for seed in SEEDS[1:]
    ]


def read_lines(path: Path) -> dict[Wanted, tuple[int, int, float]]:
    """The trainings in a file: right answers on validation and test images, seconds.

    Raises:
        ArchGymError: a line that is not a training of the table.
    """
    numbers = {name_of(layers): number for number, layers in enumerate(all_networks())}
    done = {}
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
            try:
                name, seed, valid, test, seconds = line.split(",")
                done[Wanted(numbers[name], int(seed))] = int(valid), int(test), float(seconds)
            except (KeyError, ValueError):
                raise ArchGymError(
                    f"expected a training in line {number} of {path}, got {line[:80]!r}; remove the line"
                ) from None
    return done


def train_missing(path: Path, processes: int, progress: Progress) -> None:
    """Train whatever has no line in the file yet."""
    make_folder(path.parent)
    _drop_unfinished_line(path)
    done, order = read_lines(path), wanted()
    missing = [training for training in order if training not in done]
    count = len(order) - len(missing)
    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        open(path, "a", encoding="utf-8", newline="\n") as file,
        multiprocessing.get_context("spawn").Pool(processes, initializer=_start) as workers,
    ):
        if not file.tell():
            file.write(HEADER)
        for line in workers.imap_unordered(train_one, missing):
            file.write(line)
            file.flush()
            count += 1
            progress("training networks", count / len(order))


def _drop_unfinished_line(path: Path) -> None:
    """Cut what follows the last whole line, which a stopped run may have left."""
    if path.exists():
        whole = path.read_bytes()
        os.truncate(path, whole.rfind(b"\n") + 1)


def train_one(training: Wanted) -> str:
    """One training's line."""
    from archgym.simulators.cnn.train import train

    layers = all_networks()[training.network]
    valid, test, seconds = train(layers, training.seed)
    return f"{name_of(layers)},{training.seed},{valid},{test},{seconds:.4f}\n"


def make_table(path: Path) -> Table:
    """The table of all trainings.

    Raises:
        ArchGymError: trainings are missing.
    """
    import sklearn
    import torch

    from archgym.simulators.cnn.train import NOISE
    from archgym.simulators.nas.training.digits import SPLIT_SEED

    done = read_lines(path)
    if missing := set(wanted()) - set(done):
        raise ArchGymError(f"{len(missing):,} trainings are missing in {path}; run it again to make them")
    accuracies = np.full((2, len(all_networks()), len(SEEDS)), np.nan, np.float32)
    for (network, seed), (valid, test, _) in done.items():
        accuracies[:, network, SEEDS.index(seed)] = valid / IMAGES, test / IMAGES
    return Table(
        name=TABLE,
        space="plain",
        network="",
        row=np.arange(len(all_networks())),
        budgets=np.array([EPOCHS]),
        valid_accuracy=accuracies[0, :, :, None],
        test_accuracy=accuracies[1],
        provenance={
            "source": "python -m archgym.simulators.cnn.generate",
            "generator_version": VERSION,
            "date": datetime.date.today().isoformat(),
            "noise": NOISE,
            "training_seeds": SEEDS,
            "split_seed": SPLIT_SEED,
            "shuffle_seed": SHUFFLE_SEED,
            "images": "load_digits of scikit-learn",
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": str(torch.__version__),
                "scikit-learn": sklearn.__version__,
            },
            "cpu_hours": round(sum(seconds for _, _, seconds in done.values()) / 3600, 2),
        },
    )


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
    parser.add_argument("--out", type=Path, help="file for the table (default: in the data folder)")
    options = parser.parse_args(arguments)
    lines = options.lines or data_folder("nas", f"{TABLE}.csv")
    try:
        with progress_bar() as progress:
            train_missing(lines, options.processes, progress)
        path = save_table(make_table(lines), options.out)
    except KeyboardInterrupt:
        print(f"interrupted: finished trainings are in {lines}; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except ArchGymError as error:
        print(f"error: {reason_of(error)}", file=sys.stderr)
        return BAD_INPUT
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
