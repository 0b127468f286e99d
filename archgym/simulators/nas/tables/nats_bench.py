"""NATS-Bench's topology space (Dong et al., TPAMI 2021): its folder, read as by its API's `get_more_info`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError
from archgym.progress import Progress, silent
from archgym.simulators.nas.tables.accuracies import (
    AnyPath,
    cell_table,
    check_unit,
    fraction,
    in_words,
    number,
    ordinals,
)
from archgym.simulators.nas.tables.restricted_pickle import load_pickle
from archgym.simulators.nas.tables.table import Table
from archgym.space import Array
from archgym.words import one_line, shown

NATS_BUDGETS = (12, 200)  # epochs, each with trainings of its own
NATS_SETS = {  # our name -> data set and part of validation accuracy, and of test accuracy
    # validated on half of the training set, tested after all of it
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}

Figures = dict[tuple[str, int, int], float]


@dataclass(frozen=True)
class NatsRecord:
    """One file of NATS-Bench: the trainings of one cell, by (data set, epochs, seed).

    Attributes:
        index: number of the cell in the order of NATS-Bench.
        cell: string of the cell.
        valid: (data set, epochs, seed) -> validation accuracy, a fraction.
        test: the same -> test accuracy.
        seconds: the same -> time of the training with that validation accuracy, as the source states it.
    """

    index: int
    cell: str
    valid: Figures
    test: Figures
    seconds: Figures


def read_nats_record(path: AnyPath, *, fractions: bool = False) -> NatsRecord:
    """One file of NATS-Bench's topology space, such as 000011.pickle.pbz2.

    Args:
        path: the file.
        fractions: True for accuracies from 0 to 1 instead of per cent.

    Raises:
        ArchGymError: no such file, a damaged one, one that contains code, or one that is not a record.
    """
    data = load_pickle(path)
    if not isinstance(data, dict):
        raise ArchGymError(
            f"{os.fspath(path)} is not a record of NATS-Bench's topology space: expected a dictionary, got "
            f"{shown(data)}"
        )
    valid: Figures = {}
    test: Figures = {}
    seconds: Figures = {}
    try:
        for epochs in NATS_BUDGETS:
            trainings = data[str(epochs)]["all_results"]
            for name, ((valid_set, valid_part), (test_set, test_part)) in NATS_SETS.items():
                for (dataset, seed), training in trainings.items():
                    accuracies, key = training["eval_acc1es"], (name, epochs, int(seed))
                    if dataset == valid_set:
                        valid[key] = fraction(accuracies[f"{valid_part}@{epochs - 1}"], fractions)
                        times = itemgetter(*range(epochs))(training["train_times"])
                        seconds[key] = sum(times if {*map(type, times)} == {float} else map(number, times))
                        if not math.isfinite(seconds[key]):
                            raise ValueError("train_times has values that are not numbers")
                    if dataset == test_set:
                        test[key] = fraction(accuracies[f"{test_part}@{epochs - 1}"], fractions)
                for what, found in (("validation", valid), ("test", test)):
                    if not any(key[:2] == (name, epochs) for key in found):
                        raise ValueError(f"no {what} accuracy of {name} after {epochs} epochs")
        about = data[str(NATS_BUDGETS[0])]
        index, cell = about["arch_index"], about["arch_str"]
        if type(index) is not int or type(cell) is not str:
            raise TypeError(f"it is of cell {shown(index)}, {shown(cell)}; expected a number and a string")
        return NatsRecord(index, cell, valid, test, seconds)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArchGymError(
            f"{os.fspath(path)} is not a record of NATS-Bench's topology space: {in_words(error)}"
        ) from error


@renamed(tell="progress")
def import_nats_bench(
    path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None
) -> list[Table]:
    """The folder NATS-tss-v1_0-3ffb9-simple -> three tables; takes about ten minutes.

    Validation accuracy after 12 and 200 epochs, in separate trainings; test accuracy after 200. CIFAR-10's
    validation accuracy comes from trainings on half of its training set, its test accuracy from others on all
    of it. Seconds are those of the former, the mean over the seeds.

    Args:
        path: the folder.
        progress: receives the work at hand and the share done.
        fractions: True for accuracies from 0 to 1, False for per cent; None for per cent unless impossible.

    Raises:
        UnclearUnit: all figures are from 0 to 1.
        ArchGymError: not such a folder; records that are missing, damaged, of other cells, or contain code.
    """
    folder = Path(path)
    meta = folder / "meta.pickle.pbz2"
    if not meta.is_file():
        raise ArchGymError(
            f"{folder} is not the folder of NATS-Bench's topology space: it has no {meta.name}. "
            "Unpack NATS-tss-v1_0-3ffb9-simple.tar and give the folder with its 15,625 files"
        )
    strings = _index_of_cells(meta)
    places = ((f"index {index}", string) for index, string in enumerate(strings))
    rows = np.argsort(ordinals(places, os.fspath(meta)))
    records = _read_all(folder, strings, bool(fractions), progress)
    last = NATS_BUDGETS[-1]
    tested = {seed for record in records for _, epochs, seed in record.test if epochs == last}
    seeds = sorted(
        {key[2] for record in records for key in record.valid} | tested,
        key=lambda seed: (seed not in tested, seed),
    )
    shape = (len(records), len(seeds), len(NATS_BUDGETS))
    at = {(epochs, seed): (s, k) for k, epochs in enumerate(NATS_BUDGETS) for s, seed in enumerate(seeds)}

    def gathered(what: str, name: str) -> Array:
        found = np.full(shape, np.nan)
        for row, record in enumerate(records):
            for (dataset, epochs, seed), value in getattr(record, what).items():
                if dataset == name:
                    found[row][at[epochs, seed]] = value
        return found

    accuracies = {(what, name): gathered(what, name) for what in ("valid", "test") for name in NATS_SETS}
    columns = {f"{name}, {what}": found[:, :, -1] for (what, name), found in accuracies.items()}
    check_unit(os.fspath(path), columns, fractions)
    about = {
        "source": "NATS-Bench, topology space (v1.0)",
        "seeds": seeds,
        "note": "12 and 200 epochs are trainings of their own; a seed that was not trained for one "
        "of them has no figure there",
    }
    tables = []
    for name in NATS_SETS:
        valid, test = accuracies["valid", name], accuracies["test", name][:, :, -1]
        seconds = np.nanmean(gathered("seconds", name), axis=1)
        tables.append(cell_table(f"nats-{name}", name, rows, NATS_BUDGETS, valid, test, about, seconds))
    return tables


def _read_all(folder: Path, strings: Sequence[str], fractions: bool, progress: Progress) -> list[NatsRecord]:
    """The records of the cells that the index lists, in its order."""
    files = [folder / f"{index:06d}.pickle.pbz2" for index in range(len(strings))]
    there = {entry.name for entry in os.scandir(folder)}
    missing = [file.name for file in files if file.name not in there]
    if missing:
        raise ArchGymError(
            f"{len(missing):,} of {len(files):,} records are missing in {folder}, first of all {missing[0]}"
        )
    records = []
    for index, file in enumerate(files):
        record = read_nats_record(file, fractions=fractions)
        if (record.index, record.cell) != (index, strings[index]):
            found = f"cell {record.index}, {one_line(record.cell)}"
            raise ArchGymError(f"{file} is the record of {found}, not that of {strings[index]}")
        records.append(record)
        progress("reading records", (index + 1) / len(files))
    return records


def _index_of_cells(meta: Path) -> list[str]:
    data = load_pickle(meta)
    cells: Any = data.get("meta_archs") if isinstance(data, dict) else None
    if type(cells) not in (list, tuple) or not all(type(cell) is str for cell in cells):
        raise ArchGymError(
            f"{meta} has no list of cells: expected strings under 'meta_archs', got {shown(cells)}"
        )
    return list(cells)
