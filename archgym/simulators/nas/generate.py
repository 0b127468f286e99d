"""python -m archgym.simulators.nas.generate: train every class of cells, and make an accuracy table of them.

The 5,044 classes of cells (weights of their own on every edge) are shuffled once and cut into shards. A
worker process, one per core, trains one shard at a time and writes it whole, so that an interrupted run loses
at most the shards at work and goes on where it stopped. When all shards are there, the zero-cost proxies are
computed and everything becomes one table. A level of noise takes about four core-hours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.archive import save_arrays
from archgym.files.paths import data_folder, make_folder
from archgym.processes.exits import BAD_INPUT, INTERRUPTED
from archgym.progress import Progress, progress_bar
from archgym.simulators.nas.cells import all_cells, canonical_classes
from archgym.simulators.nas.tables.table import Table, save_table
from archgym.space import Array, Indices

VERSION = 1  # of the networks and their training; results of different versions differ
SEEDS = (0, 1, 2)
SHARD = 32  # classes: about a minute and a half of one core
SHUFFLE_SEED = 0


def class_cells() -> Indices:
    """The first cell of every class of functions, int64 [5044, 6]."""
    cells = all_cells()
    _, first = np.unique(canonical_classes(cells, shared_weights=False), return_index=True)
    return cells[first]


def shards() -> list[Indices]:
    """Class numbers, in the order in which they are trained, by shard."""
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(class_cells()))
    return [order[start : start + SHARD] for start in range(0, len(order), SHARD)]


def shard_file(folder: Path, shard: int) -> Path:
    """The file of a shard."""
    return folder / f"shard-{shard:03}.npz"


def train_shard(shard: int, folder: Path, noise: float) -> None:
    """Train one shard's classes and write them to its file."""
    from archgym.simulators.nas.training.train import train

    cells, classes = class_cells(), shards()[shard]
    columns: dict[str, Any] = {
        "classes": classes,
        **_stacked(asdict(train(cells[c], SEEDS, noise)) for c in classes),
    }
    save_arrays(shard_file(folder, shard), columns)


def proxies(cell: Indices, noise: float) -> dict[str, float]:
    """The zero-cost proxies of a cell, means over the seeds."""
    from archgym.simulators.nas.training.zero_cost import zero_cost

    return {name: float(values.mean()) for name, values in zero_cost(cell, SEEDS, noise).items()}


def train_missing(folder: Path, noise: float, workers: Pool, progress: Progress) -> None:
    """Train every shard that has no file yet."""
    make_folder(folder)
    count = len(shards())
    missing = [shard for shard in range(count) if not shard_file(folder, shard).exists()]
    _run(
        partial(train_shard, folder=folder, noise=noise),
        missing,
        workers,
        progress,
        f"training cells, noise {noise}",
        count,
    )


def make_table(folder: Path, noise: float, workers: Pool, progress: Progress) -> Table:
    """The table of all shards.

    Raises:
        ArchGymError: shards are missing, or are of another version.
    """
    import sklearn
    import torch

    from archgym.simulators.nas.training.digits import COPIES, HELD_OUT, SPLIT_SEED
    from archgym.simulators.nas.training.train import BUDGETS

    trained = read_shards(folder)
    cells = class_cells()
    known = _stacked(
        _run(partial(proxies, noise=noise), list(cells), workers, progress, "zero-cost proxies", len(cells))
    )
    images = COPIES * HELD_OUT
    return Table(
        name=f"digits-{noise}",
        space="cell",
        network="digits",
        row=canonical_classes(all_cells(), shared_weights=False),
        budgets=np.array(BUDGETS),
        valid_accuracy=(trained["valid_correct"] / images).astype(np.float32),
        test_accuracy=(trained["test_correct"] / images).astype(np.float32),
        train_seconds=trained["train_seconds"],
        columns={
            **{name: trained[name].mean(axis=1) for name in ("train_loss", "valid_loss")},
            **{name: column.astype(np.float32) for name, column in known.items()},
        },
        provenance={
            "source": "python -m archgym.simulators.nas.generate",
            "generator_version": VERSION,
            "noise": noise,
            "training_seeds": SEEDS,
            "split_seed": SPLIT_SEED,
            "images": "load_digits of scikit-learn",
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": str(torch.__version__),
                "scikit-learn": sklearn.__version__,
            },
            "cpu_hours": round(float(trained["train_seconds"][:, -1].sum()) * len(SEEDS) / 3600, 2),
        },
    )


def read_shards(folder: Path) -> dict[str, Array]:
    """The columns of all shards, by class number.

    Raises:
        ArchGymError: shards are missing, or are of another version.
    """
    parts = shards()
    missing = [shard for shard in range(len(parts)) if not shard_file(folder, shard).exists()]
    if missing:
        raise ArchGymError(
            f"{len(missing)} of {len(parts)} shards are missing in {folder}; run it again to train them"
        )
    columns: dict[str, Array] = {}
    for shard, classes in enumerate(parts):
        with np.load(shard_file(folder, shard), allow_pickle=False) as file:
            if not np.array_equal(file["classes"], classes):
                raise ArchGymError(
                    f"{shard_file(folder, shard)} holds other classes: remove {folder}, or give another "
                    "--folder"
                )
            for name in file.files:
                if name != "classes":
                    columns.setdefault(
                        name, np.empty((len(class_cells()), *file[name].shape[1:]), file[name].dtype)
                    )[classes] = file[name]
    return columns


def _stacked(rows: Iterable[dict[str, Any]]) -> dict[str, Array]:
    listed = list(rows)
    return {name: np.stack([row[name] for row in listed]) for name in listed[0]}


def _run(
    function: Callable[[Any], Any], tasks: list[Any], workers: Pool, progress: Progress, what: str, count: int
) -> list[Any]:
    """The results of all tasks, each done by a worker, in the tasks' order; the rest of `count` was done
    before.
    """
    done = count - len(tasks)
    progress(what, done / count)
    results = []
    for result in workers.imap(function, tasks):
        results.append(result)
        done += 1
        progress(what, done / count)
    return results


@contextmanager
def _workers(processes: int) -> Iterator[Pool]:
    """Worker processes of one thread each, which leave Ctrl-C to their parent."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes, initializer=_start) as pool:
        yield pool


def _start() -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    description = (__doc__ or "").partition(": ")[2].partition("\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m archgym.simulators.nas.generate", description=description
    )
    parser.add_argument(
        "--noise", type=float, default=0.5, help="standard deviation of the pixels' noise (default 0.5)"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="worker processes (default: one per core)"
    )
    parser.add_argument("--folder", type=Path, help="folder of the shards (default: in the data folder)")
    parser.add_argument(
        "--out",
        type=Path,
        help="file for the table (default: in the data folder, where `archgym data list` finds it)",
    )
    options = parser.parse_args(arguments)
    folder = options.folder or data_folder("nas", f"digits-{options.noise}-shards")
    try:
        from archgym.simulators.nas.training.digits import load_digits_task

        load_digits_task(options.noise)
        with progress_bar() as progress, _workers(options.processes) as workers:
            train_missing(folder, options.noise, workers, progress)
            path = save_table(make_table(folder, options.noise, workers, progress), options.out)
    except KeyboardInterrupt:
        print(
            f"interrupted: finished shards are in {folder}; the same command resumes from them",
            file=sys.stderr,
        )
        return INTERRUPTED
    except ArchGymError as error:
        print(f"error: {reason_of(error)}", file=sys.stderr)
        return BAD_INPUT
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
