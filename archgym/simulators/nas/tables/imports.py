"""Accuracy tables that users bring: the files of four sources -> `Table`s, checked cell by cell.

    kind             file                                         tables                    epochs    seeds
    nats-bench       folder of 15,625 *.pickle.pbz2 and a meta    nats-cifar10, ...         12, 200   up to 3
    nasbench201      CSV, a line per cell                         nasbench201-cifar10, ...  12        1
    nas-bench-macro  JSON, 6,561 networks of eight layers         nas-bench-macro-cifar10   50        3
    naslib           pickle of learning curves                    naslib-cifar10, ...       12, last  1

Every source states per cent; tables hold fractions. Copies may have been converted: figures that are all from
0 to 1 cannot be per cent, and `fractions=` gives their unit. Rows keep the order of the source. Pickles are
read by `restricted_pickle`, and their values are checked by exact type, since a value could be made such that
converting or adding it never ends.

Sources: Dong & Yang, "NAS-Bench-201", ICLR 2020; Su et al., "Prioritized Architecture Sampling with
Monte-Carlo Tree Search", CVPR 2021 (NAS-Bench-Macro); NASLib (AutoML Freiburg); `nats_bench`.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError
from archgym.files.csv import delimiter_of
from archgym.files.paths import refuse_foreign
from archgym.progress import Progress, silent
from archgym.simulators.nas.cells import CELL_SPACE
from archgym.simulators.nas.requirements import MACRO_TABLE
from archgym.simulators.nas.tables.accuracies import (
    NUMPY_NUMBERS,
    RANGES,
    AnyPath,
    cell_table,
    check_unit,
    fraction_at,
    in_words,
    ordinals,
)
from archgym.simulators.nas.tables.nats_bench import NATS_BUDGETS, import_nats_bench
from archgym.simulators.nas.tables.restricted_pickle import MIB, load_pickle
from archgym.simulators.nas.tables.table import SPACES, Table
from archgym.space import Array
from archgym.words import one_line, shown

CSV_COLUMNS = {  # our name -> columns
    "cifar10": ("cifar10_valid", "cifar10_test"),
    "cifar100": ("cifar100_valid", "cifar100_test"),
    "imagenet16-120": ("imagenet16_valid", "imagenet16_test"),
}
CSV_EPOCHS = 12
MACRO_EPOCHS, MACRO_TRAININGS = 50, 3
NASLIB_SETS = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}
NASLIB_LIMIT = 2048 * MIB  # learning curves of three data sets over 200 epochs take 350 MiB
MAX_EPOCHS = 1000  # epochs of a learning curve
JSON_LIMIT = 64 * MIB  # NAS-Bench-Macro takes 1.2 MiB


@renamed(tell="progress")
def import_nasbench201(
    path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None
) -> list[Table]:
    """A CSV with columns cell, cifar10_valid, cifar10_test, cifar100_..., imagenet16_... -> a table per set.

    Args:
        path: the file.
        progress: receives the work at hand and the share done.
        fractions: True for accuracies from 0 to 1, False for per cent; None for per cent unless impossible.

    Raises:
        UnclearUnit: all figures are from 0 to 1.
        ArchGymError: a missing column; a missing, unknown or duplicate cell; a figure that is not from 0 to
            100. The message names the line.
    """
    name = os.fspath(path)
    cells: list[tuple[str, str]] = []
    figures: list[list[float]] = []
    try:
        refuse_foreign(path)
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = delimiter_of(first)
            header = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
            reader = csv.DictReader(file, header, strict=True, delimiter=delimiter, skipinitialspace=True)
            present = [dataset for dataset, columns in CSV_COLUMNS.items() if {*columns} & {*header}]
            datasets = present or [*CSV_COLUMNS]
            columns = [column for dataset in datasets for column in CSV_COLUMNS[dataset]]
            missing = [column for column in ("cell", *columns) if column not in header]
            if missing:
                raise ArchGymError(f"{name} lacks the columns {', '.join(missing)}")
            for line in itertools.islice(reader, CELL_SPACE.size + 1):  # one more has a duplicate
                where = f"line {reader.line_num + 1}"
                cells.append((where, line["cell"] or ""))
                if delimiter == ";":  # where commas are decimal marks
                    line |= {column: (line[column] or "").replace(",", ".") for column in columns}
                figures.append(
                    [fraction_at(f"{name}, {where}, {column}", line[column], fractions) for column in columns]
                )
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArchGymError(f"{name} is not a CSV file: {error}") from error
    rows = np.argsort(ordinals(cells, name))
    accuracies = np.array(figures).reshape(len(cells), len(datasets), 2)
    check_unit(name, dict(zip(columns, accuracies.reshape(len(cells), -1).T, strict=True)), fractions)
    about = {"source": "NAS-Bench-201, 12 epochs (CSV)", "file": Path(path).name}
    return [
        cell_table(
            f"nasbench201-{dataset}", dataset, rows, (CSV_EPOCHS,), valid[:, None, None], test[:, None], about
        )
        for dataset, (valid, test) in zip(datasets, accuracies.transpose(1, 2, 0), strict=True)
    ]


@renamed(tell="progress")
def import_nas_bench_macro(
    path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None
) -> list[Table]:
    """nas-bench-macro_cifar10.json -> one table, with parameters and multiply-adds.

    The source states the best test accuracy over the 50 epochs of each of three trainings, and no validation
    accuracy. Its "flops" are multiply-adds of convolutions and classifier, without biases and batch norm.

    Args:
        path: the file.
        progress: receives the work at hand and the share done.
        fractions: True for accuracies from 0 to 1, False for per cent; None for per cent unless impossible.

    Raises:
        UnclearUnit: all accuracies are from 0 to 1.
        ArchGymError: not such a file, or missing architectures or figures (the message names one).
    """
    name, data = os.fspath(path), _read_json(path)
    for architecture in data:
        if not re.fullmatch("[012]{8}", architecture):
            raise ArchGymError(
                f"{name}: {shown(architecture)} is not an architecture of NAS-Bench-Macro, eight digits of "
                "0, 1 and 2"
            )
    if len(data) != SPACES["macro"]:
        raise ArchGymError(
            f"{name} lacks {SPACES['macro'] - len(data):,} of {SPACES['macro']:,} architectures"
        )
    entries = [(entry, f"{name}, architecture {architecture}") for architecture, entry in data.items()]
    test = np.array([_trainings(entry, where, fractions) for entry, where in entries])
    check_unit(name, {"test_acc": test}, fractions)
    params, macs = (
        np.array([_count(entry, column, where) for entry, where in entries]) for column in ("params", "flops")
    )
    rows = np.argsort([int(architecture, 3) for architecture in data])
    table = Table(
        MACRO_TABLE,
        "macro",
        "",
        rows,
        np.array([MACRO_EPOCHS]),
        np.full((*test.shape, 1), np.nan, np.float32),
        test.astype(np.float32),
        columns={"params": params, "macs": macs},
        provenance={
            "source": "NAS-Bench-Macro",
            "file": Path(path).name,
            "note": "the best test accuracy over the epochs of a training; the source has no "
            "validation accuracy",
        },
    )
    return [table]


def _read_json(path: AnyPath) -> dict[str, Any]:
    name = os.fspath(path)
    try:
        refuse_foreign(path)
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(JSON_LIMIT + 1)
        if len(text) > JSON_LIMIT:
            raise ArchGymError(
                f"{name} is larger than {JSON_LIMIT / MIB:,.0f} MiB, which no file of its kind is"
            )
        data = json.loads(text)
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ArchGymError(f"{name} is not a JSON file: {in_words(error)}") from error
    if not isinstance(data, dict):
        raise ArchGymError(
            f"{name} is not the file of NAS-Bench-Macro: an object by architecture is expected"
        )
    return data


def _trainings(entry: Any, where: str, fractions: bool | None) -> list[float]:
    found = entry.get("test_acc") if isinstance(entry, dict) else None
    if not isinstance(found, list) or len(found) != MACRO_TRAININGS:
        raise ArchGymError(f"{where}: test_acc is not a list of {MACRO_TRAININGS} accuracies")
    return [fraction_at(f"{where}, test_acc", value, fractions) for value in found]


def _count(entry: Any, column: str, where: str) -> int:
    found = entry.get(column)
    if type(found) is not int or not 0 < found < 2**53:
        raise ArchGymError(f"{where}: {column} is not a positive whole number, but {shown(found)}")
    return found


@renamed(tell="progress")
def import_naslib(
    path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None
) -> list[Table]:
    """A pickle of NASLib, such as nb201_cifar10_full_training.pickle -> a table for each data set in it.

    It maps a cell's string to data sets, and those to lists by epoch. NASLib uses `eval_acc1es` as both
    validation and test accuracy; on CIFAR-10 it comes from training on half of the training set. It becomes
    validation accuracy, and test accuracy remains unknown.

    Args:
        path: the file.
        progress: receives the work at hand and the share done.
        fractions: True for accuracies from 0 to 1, False for per cent; None for per cent unless impossible.

    Raises:
        UnclearUnit: all accuracies of a data set are from 0 to 1.
        ArchGymError: a file that contains code, is damaged, or lacks cells or data sets; lists of different
            lengths.
    """
    name = os.fspath(path)
    progress("reading", 0.0)
    data = load_pickle(path, limit=NASLIB_LIMIT)
    if not isinstance(data, dict) or not data or not all(isinstance(entry, dict) for entry in data.values()):
        raise ArchGymError(
            f"{name} is not a pickle of NASLib: a dictionary by cell, then by data set, is expected"
        )
    rows = np.argsort(ordinals(((f"entry {entry}", string) for entry, string in enumerate(data, 1)), name))
    first = next(iter(data.values()))
    names = {ours: theirs for ours, theirs in NASLIB_SETS.items() if theirs in first}
    if not names:
        present = ", ".join(one_line(str(key), 40) for key in itertools.islice(first, 9))  # keys are flat
        raise ArchGymError(f"{name} has the data sets {present}; known are {', '.join(NASLIB_SETS.values())}")
    tables = []
    curves_of = {theirs: _curves(data, theirs, name, fractions) for theirs in names.values()}
    check_unit(name, {theirs: curves[:, -1] for theirs, curves in curves_of.items()}, fractions)
    for ours, theirs in names.items():
        curves = curves_of[theirs]
        last = curves.shape[1]
        budgets = sorted({*(epochs for epochs in NATS_BUDGETS if epochs < last), last})
        valid = curves[:, None, [epochs - 1 for epochs in budgets]]
        about = {
            "source": "NASLib, learning curves of NAS-Bench-201",
            "file": Path(path).name,
            "note": f"one training of {last} epochs, with accuracies on the way; NASLib's one accuracy "
            "is taken for validation accuracy",
        }
        tables.append(
            cell_table(f"naslib-{ours}", ours, rows, budgets, valid, np.full((len(curves), 1), np.nan), about)
        )
        progress("reading", len(tables) / len(names))
    return tables


def _curves(data: Mapping[Any, Any], dataset: str, name: str, fractions: bool | None) -> Array:
    """Accuracies by epoch of every cell, fractions: float64 [cells, epochs]."""
    curves: list[Array] = []
    for cell, entry in data.items():
        try:
            values = entry[dataset]["eval_acc1es"]
            if type(values) not in (list, tuple):
                raise TypeError(f"expected a list of numbers, got {shown(values)}")
            if not 0 < len(values) <= MAX_EPOCHS or len(values) != len((curves or [values])[0]):
                raise ValueError(f"{len(values):,} epochs")
            if not set(map(type, values)) <= {int, float, *NUMPY_NUMBERS}:
                raise TypeError(f"expected a list of numbers, got {shown(values)}")
            curve = np.array(values, float) / (1 if fractions else 100)
            if not ((curve >= 0) & (curve <= 1)).all():
                raise ValueError(f"an accuracy not {RANGES[bool(fractions)]}")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ArchGymError(
                f"{name}, cell {one_line(str(cell))}, {dataset}: expected a list of accuracies by epoch, of "
                f"the same length as others: {in_words(error)}"
            ) from error
        curves.append(curve)
    return np.stack(curves)


class Import(Protocol):
    """Reads the files of one kind."""

    def __call__(
        self, path: AnyPath, progress: Progress = ..., *, fractions: bool | None = ...
    ) -> list[Table]: ...


KINDS: dict[str, Import] = {
    "nats-bench": import_nats_bench,
    "nasbench201": import_nasbench201,
    "nas-bench-macro": import_nas_bench_macro,
    "naslib": import_naslib,
}
