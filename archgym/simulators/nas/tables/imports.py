"""Accuracy tables of published benchmarks: the files of four sources -> `Table`s, checked cell by cell.

    kind             file                                          tables                          epochs      trainings
    nats-bench       folder of 15,625 *.pickle.pbz2 and a meta     nats-cifar10, -cifar100,        12, 200     up to 3
                                                                   -imagenet16-120
    nasbench201      CSV, a line per cell                          nasbench201-cifar10, ...        12          1
    nas-bench-macro  JSON, 6,561 networks of eight layers          nas-bench-macro-cifar10         50          3
    naslib           pickle of learning curves                     naslib-cifar10, ...             12, last    1

The sources state per cent; tables hold fractions. Since copies may hold fractions too, figures that are all from 0 to 1 are refused unless
`fractions=` names their unit. Rows keep the order of the source. Values of pickles (`restricted_pickle`) are checked by their exact type,
because a crafted text or list could make a sum or a conversion take for ever.

Sources: Dong et al., "NATS-Bench", TPAMI 2021 (topology space, API `get_more_info`); Dong & Yang, "NAS-Bench-201", ICLR 2020; Su et al.,
"Prioritized Architecture Sampling with Monte-Carlo Tree Search", CVPR 2021 (NAS-Bench-Macro); NASLib (AutoML Freiburg).
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.csv import delimiter_of
from archgym.files.paths import refuse_foreign
from archgym.progress import Progress, silent
from archgym.simulators.nas.cells import CELL_SPACE, parse
from archgym.simulators.nas.requirements import MACRO_TABLE
from archgym.simulators.nas.tables.accuracies import NUMPY_NUMBERS, RANGES, check_unit, fraction_at, fraction_of, number_of, reason
from archgym.simulators.nas.tables.accuracies import UnclearUnit as UnclearUnit  # public here
from archgym.simulators.nas.tables.restricted_pickle import MIB, load_pickle
from archgym.simulators.nas.tables.table import SPACES, Table
from archgym.space import Array, Indices
from archgym.text import one_line, shown

NATS_BUDGETS = (12, 200)  # epochs, each with trainings of its own
NATS_SETS = {  # our name -> (data set, part) of the validation accuracy, and of the test accuracy
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),  # trained on half of the training set, and on all of it
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
CSV_COLUMNS = {  # our name -> columns of the validation and the test accuracy
    name: (f"{start}_valid", f"{start}_test")
    for name, start in (("cifar10", "cifar10"), ("cifar100", "cifar100"), ("imagenet16-120", "imagenet16"))
}
CSV_EPOCHS = 12
MACRO_EPOCHS, MACRO_TRAININGS = 50, 3
NASLIB_SETS = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}
MAX_NASLIB_BYTES = 2048 * MIB  # learning curves of three data sets over 200 epochs take 350 MiB
MAX_EPOCHS = 1000  # of a learning curve
MAX_JSON_CHARACTERS = 64 * MIB  # NAS-Bench-Macro takes 1.2 MiB

AnyPath = str | os.PathLike[str]
NatsKey = tuple[str, int, int]
"""Data set, epochs, seed."""


class Import(Protocol):
    """Reads the files of one kind.

    Args:
        path: path of the file or folder.
        progress: called with the step and the share of everything that is done.
        fractions: unit of the accuracies: fractions from 0 to 1 (True), per cent (False), or per cent unless that cannot be (None).

    Returns:
        A table for each data set.

    Raises:
        UnclearUnit: all accuracies are from 0 to 1, and `fractions` is None.
        ArchGymError: a file that cannot be read, is damaged, of another kind or contains code; architectures that are missing, unknown or
            duplicate; a figure that is missing or impossible. The message names the place.
    """

    def __call__(self, path: AnyPath, progress: Progress = ..., *, fractions: bool | None = ...) -> list[Table]: ...


# --- NATS-Bench ---


@dataclass(frozen=True)
class NatsRecord:
    """One file of NATS-Bench: the trainings of one cell.

    Attributes:
        index: index of the cell in NATS-Bench.
        cell: its string.
        valid, test: accuracies, fractions.
        seconds: times of the trainings behind `valid`, as the source states them.
    """

    index: int
    cell: str
    valid: Mapping[NatsKey, float]
    test: Mapping[NatsKey, float]
    seconds: Mapping[NatsKey, float]


def read_nats_record(path: AnyPath, *, fractions: bool = False) -> NatsRecord:
    """One file of NATS-Bench's topology space, such as 000011.pickle.pbz2; the figures that `nats_bench`'s `get_more_info` gives.

    Args:
        path: path of the file.
        fractions: True where its accuracies are from 0 to 1, not per cent.

    Raises:
        ArchGymError: a file that cannot be read or is damaged, a pickle that contains code, or a file that is not a record.
    """
    data = load_pickle(path)
    valid: dict[NatsKey, float] = {}
    test: dict[NatsKey, float] = {}
    seconds: dict[NatsKey, float] = {}
    try:
        if not isinstance(data, dict):
            raise TypeError(f"expected a dictionary, got {shown(data)}")
        for epochs in NATS_BUDGETS:
            trainings = data[str(epochs)]["all_results"]
            for name, ((valid_set, valid_part), (test_set, test_part)) in NATS_SETS.items():
                for (dataset, seed), training in trainings.items():
                    accuracies, key = training["eval_acc1es"], (name, epochs, int(seed))
                    if dataset == valid_set:
                        valid[key] = fraction_of(accuracies[f"{valid_part}@{epochs - 1}"], fractions)
                        times = [training["train_times"][epoch] for epoch in range(epochs)]
                        seconds[key] = sum(times if {*map(type, times)} == {float} else map(number_of, times))
                        if not math.isfinite(seconds[key]):
                            raise ValueError("train_times has values that are not numbers")
                    if dataset == test_set:
                        test[key] = fraction_of(accuracies[f"{test_part}@{epochs - 1}"], fractions)
                for what, read in (("validation", valid), ("test", test)):
                    if not any(key[:2] == (name, epochs) for key in read):
                        raise ValueError(f"no {what} accuracy of {name} after {epochs} epochs")
        about = data[str(NATS_BUDGETS[0])]
        index, cell = about["arch_index"], about["arch_str"]
        if type(index) is not int or type(cell) is not str:
            raise TypeError(f"expected a number and a string as its cell, got {shown(index)} and {shown(cell)}")
        return NatsRecord(index, cell, valid, test, seconds)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArchGymError(f"{os.fspath(path)} is not a record of NATS-Bench's topology space: {reason(error)}") from error


def import_nats_bench(path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None) -> list[Table]:
    """The folder NATS-tss-v1_0-3ffb9-simple -> three tables; takes about ten minutes. Arguments and errors: `Import`.

    Validation accuracy after 12 and 200 epochs, in trainings of their own; test accuracy after 200. CIFAR-10's validation accuracy comes
    from trainings on half of its training set, its test accuracy from others on all of it. Seconds are those of the former, the mean over
    the seeds.
    """
    rows, records = _nats_records(Path(path), progress, fractions=bool(fractions))
    tested = {seed for record in records for _, epochs, seed in record.test if epochs == NATS_BUDGETS[-1]}
    seeds = sorted({key[2] for record in records for key in record.valid} | tested, key=lambda seed: (seed not in tested, seed))
    shape = (len(records), len(seeds), len(NATS_BUDGETS))
    places = {(epochs, seed): (s, k) for k, epochs in enumerate(NATS_BUDGETS) for s, seed in enumerate(seeds)}

    def gathered(what: str, name: str) -> Array:
        """One attribute of all records on one data set, NaN where a seed was not trained: float64 [cells, seeds, budgets]."""
        values = np.full(shape, np.nan)
        for row, record in enumerate(records):
            for (dataset, epochs, seed), value in getattr(record, what).items():
                if dataset == name:
                    values[row][places[epochs, seed]] = value
        return values

    accuracies = {(what, name): gathered(what, name) for what in ("valid", "test") for name in NATS_SETS}
    check_unit(os.fspath(path), {f"{name}, {what}": each[:, :, -1] for (what, name), each in accuracies.items()}, fractions)
    about = {
        "source": "NATS-Bench, topology space (v1.0)",
        "seeds": seeds,
        "note": "12 and 200 epochs are trainings of their own; a seed that was not trained for as many epochs has no figure there",
    }
    tables = []
    for name in NATS_SETS:
        valid, test = accuracies["valid", name], accuracies["test", name][:, :, -1]
        seconds = np.nanmean(gathered("seconds", name), axis=1)
        tables.append(_table(f"nats-{name}", name, rows, NATS_BUDGETS, valid, test, about, seconds))
    return tables


def _nats_records(folder: Path, progress: Progress, *, fractions: bool) -> tuple[Indices, list[NatsRecord]]:
    """The row of every cell, and the records in the order of rows."""
    meta = folder / "meta.pickle.pbz2"
    if not meta.is_file():
        raise ArchGymError(
            f"{folder} is not the folder of NATS-Bench's topology space: expected {meta.name} in it; "
            "unpack NATS-tss-v1_0-3ffb9-simple.tar and give the folder with its 15,625 files"
        )
    data = load_pickle(meta)
    cells: Any = data.get("meta_archs") if isinstance(data, dict) else None
    if type(cells) not in (list, tuple) or not all(type(cell) is str for cell in cells):
        raise ArchGymError(f"{meta} has no list of cells: expected strings under 'meta_archs', got {shown(cells)}")
    rows = np.argsort(_ordinals(((f"index {index}", cell) for index, cell in enumerate(cells)), os.fspath(meta)))
    files = [folder / f"{index:06d}.pickle.pbz2" for index in range(len(cells))]
    names = {entry.name for entry in os.scandir(folder)}
    missing = [file.name for file in files if file.name not in names]
    if missing:
        raise ArchGymError(f"{len(missing):,} of {len(files):,} records are missing in {folder}, first of all {missing[0]}")
    records = []
    for index, (file, cell) in enumerate(zip(files, cells, strict=True)):
        record = read_nats_record(file, fractions=fractions)
        if (record.index, record.cell) != (index, cell):
            raise ArchGymError(f"{file} is the record of cell {record.index}, {one_line(record.cell)}, not that of {cell}")
        records.append(record)
        progress("reading records", (index + 1) / len(files))
    return rows, records


# --- NAS-Bench-201 after 12 epochs ---


def import_nasbench201(path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None) -> list[Table]:
    """A CSV with the columns cell and cifar10_valid, cifar10_test, cifar100_..., imagenet16_... -> a table for each data set in it.

    Arguments and errors: `Import`.
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
            datasets = [dataset for dataset, columns in CSV_COLUMNS.items() if not {*columns}.isdisjoint(header)] or [*CSV_COLUMNS]
            columns = [column for dataset in datasets for column in CSV_COLUMNS[dataset]]
            if missing := [column for column in ("cell", *columns) if column not in header]:
                raise ArchGymError(f"{name} lacks the columns {', '.join(missing)}")
            for line in itertools.islice(reader, CELL_SPACE.size + 1):  # a longer file has a duplicate
                where = f"line {reader.line_num + 1}"
                cells.append((where, line["cell"] or ""))
                if delimiter == ";":  # where commas are decimal marks
                    line |= {column: (line[column] or "").replace(",", ".") for column in columns}
                figures.append([fraction_at(f"{name}, {where}, {column}", line[column], bool(fractions)) for column in columns])
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArchGymError(f"{name} is not a CSV file: {error}") from error
    rows = np.argsort(_ordinals(cells, name))
    accuracies = np.array(figures).reshape(len(cells), len(datasets), 2)
    check_unit(name, dict(zip(columns, accuracies.reshape(len(cells), -1).T, strict=True)), fractions)
    about = {"source": "NAS-Bench-201, 12 epochs (CSV)", "file": Path(path).name}
    return [
        _table(f"nasbench201-{dataset}", dataset, rows, (CSV_EPOCHS,), accuracies[:, d, :1, None], accuracies[:, d, 1:], about)
        for d, dataset in enumerate(datasets)
    ]


# --- NAS-Bench-Macro ---


def import_nas_bench_macro(path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None) -> list[Table]:
    """nas-bench-macro_cifar10.json -> one table, with parameters and multiply-adds. Arguments and errors: `Import`.

    The source states the best test accuracy over the 50 epochs of each of three trainings, and no validation accuracy. Its "flops" are
    multiply-adds of convolutions and classifier, without biases and batch norm.
    """
    name = os.fspath(path)
    data = _read_json(path)
    if not isinstance(data, dict):
        raise ArchGymError(f"{name} is not the file of NAS-Bench-Macro: expected an object by architecture, got {shown(data)}")
    for architecture in data:
        if not re.fullmatch("[012]{8}", architecture):
            raise ArchGymError(f"{name}: {shown(architecture)} is not an architecture of NAS-Bench-Macro, eight digits of 0, 1 and 2")
    if len(data) != SPACES["macro"]:
        raise ArchGymError(f"{name} lacks {SPACES['macro'] - len(data):,} of {SPACES['macro']:,} architectures")
    entries = [(f"{name}, architecture {architecture}", entry) for architecture, entry in data.items()]
    test = np.array([_trainings(entry, where, bool(fractions)) for where, entry in entries])
    check_unit(name, {"test_acc": test}, fractions)
    table = Table(
        MACRO_TABLE,
        "macro",
        "",
        row=np.argsort([int(architecture, 3) for architecture in data]),
        budgets=np.array([MACRO_EPOCHS]),
        valid_accuracy=np.full((*test.shape, 1), np.nan, np.float32),
        test_accuracy=test.astype(np.float32),
        columns={
            ours: np.array([_count(entry, theirs, where) for where, entry in entries])
            for ours, theirs in (("params", "params"), ("macs", "flops"))
        },
        provenance={
            "source": "NAS-Bench-Macro",
            "file": Path(path).name,
            "note": "the best test accuracy over the epochs of a training; the source has no validation accuracy",
        },
    )
    return [table]


def _read_json(path: AnyPath) -> Any:
    name = os.fspath(path)
    try:
        refuse_foreign(path)
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MAX_JSON_CHARACTERS + 1)
        if len(text) > MAX_JSON_CHARACTERS:
            raise ArchGymError(f"{name} is larger than {MAX_JSON_CHARACTERS / MIB:,.0f} MiB, which no file of its kind is")
        return json.loads(text)
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ArchGymError(f"{name} is not a JSON file: {reason(error)}") from error


def _trainings(entry: Any, where: str, fractions: bool) -> list[float]:
    accuracies = entry.get("test_acc") if isinstance(entry, dict) else None
    if not isinstance(accuracies, list) or len(accuracies) != MACRO_TRAININGS:
        raise ArchGymError(f"{where}: test_acc is not a list of {MACRO_TRAININGS} accuracies")
    return [fraction_at(f"{where}, test_acc", value, fractions) for value in accuracies]


def _count(entry: Any, column: str, where: str) -> int:
    value = entry.get(column)
    if type(value) is not int or not 0 < value < 2**53:
        raise ArchGymError(f"{where}: expected a positive integer as {column}, got {shown(value)}")
    return value


# --- NASLib ---


def import_naslib(path: AnyPath, progress: Progress = silent, *, fractions: bool | None = None) -> list[Table]:
    """A pickle of NASLib, such as nb201_cifar10_full_training.pickle -> a table for each data set in it. Arguments and errors: `Import`.

    It maps a cell's string to data sets, and those to lists by epoch. `eval_acc1es` is what NASLib calls both validation and test accuracy;
    on CIFAR-10 it is that of the trainings on half of the training set. It becomes validation accuracy, and test accuracy is left unknown.
    """
    name = os.fspath(path)
    progress("reading", 0.0)
    data = load_pickle(path, limit=MAX_NASLIB_BYTES)
    if not isinstance(data, dict) or not data or not all(isinstance(entry, dict) for entry in data.values()):
        raise ArchGymError(f"{name} is not a pickle of NASLib: expected a dictionary by cell, then by data set")
    rows = np.argsort(_ordinals(((f"entry {entry}", string) for entry, string in enumerate(data, 1)), name))
    first = next(iter(data.values()))
    names = {ours: theirs for ours, theirs in NASLIB_SETS.items() if theirs in first}
    if not names:
        keys = ", ".join(one_line(str(key), 40) for key in itertools.islice(first, 9))  # keys are flat
        raise ArchGymError(f"{name} has the data sets {keys}; known are {', '.join(NASLIB_SETS.values())}")
    all_curves = {ours: _curves(data, theirs, name, bool(fractions)) for ours, theirs in names.items()}
    check_unit(name, {names[ours]: curves[:, -1] for ours, curves in all_curves.items()}, fractions)
    tables = []
    for ours, curves in all_curves.items():
        last = curves.shape[1]
        budgets = sorted({*(epochs for epochs in NATS_BUDGETS if epochs < last), last})
        valid = curves[:, None, [epochs - 1 for epochs in budgets]]
        about = {
            "source": "NASLib, learning curves of NAS-Bench-201",
            "file": Path(path).name,
            "note": f"one training of {last} epochs, seen on its way; NASLib states one accuracy, which is taken for that of validation",
        }
        tables.append(_table(f"naslib-{ours}", ours, rows, budgets, valid, np.full((len(curves), 1), np.nan), about))
        progress("reading", len(tables) / len(names))
    return tables


def _curves(data: Mapping[Any, Any], dataset: str, name: str, fractions: bool) -> Array:
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
                raise ValueError(f"an accuracy that is not one {RANGES[fractions]}")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            where = f"{name}, cell {one_line(str(cell))}, {dataset}"
            raise ArchGymError(f"{where}: no list of accuracies by epoch, as many as others have: {reason(error)}") from error
        curves.append(curve)
    return np.stack(curves)


# --- common ---


def _ordinals(cells: Iterable[tuple[str, Any]], source: str) -> Indices:
    """The ordinals of all 15,625 cells in the order of the source, from (place, the cell's string or tuple).

    Raises:
        ArchGymError: cells that are unknown, duplicate or missing.
    """
    places: dict[int, str] = {}
    for where, string in cells:
        try:
            ordinal = int(CELL_SPACE.to_ordinal(parse(string)[None])[0])
        except ArchGymError as error:
            raise ArchGymError(f"{source}, {where}: {error}") from None
        if ordinal in places:
            raise ArchGymError(f"{source}, {where}: duplicate cell {one_line(str(string))}, first seen at {places[ordinal]}")
        places[ordinal] = where
    if len(places) != CELL_SPACE.size:
        raise ArchGymError(f"{source} lacks {CELL_SPACE.size - len(places):,} of {CELL_SPACE.size:,} cells")
    return np.array(list(places))


def _table(
    name: str,
    network: str,
    rows: Indices,
    budgets: Iterable[int],
    valid: Array,
    test: Array,
    provenance: Mapping[str, Any],
    seconds: Array | None = None,
) -> Table:
    """A table of cells from fractions [cells, seeds, budgets] and [cells, seeds], and seconds [cells, budgets]."""
    valid, test = valid.astype(np.float32), test.astype(np.float32)
    train_seconds = None if seconds is None else seconds.astype(np.float32)
    return Table(name, "cell", network, rows, np.array(list(budgets)), valid, test, train_seconds, provenance=provenance)


KINDS: dict[str, Import] = {
    "nats-bench": import_nats_bench,
    "nasbench201": import_nasbench201,
    "nas-bench-macro": import_nas_bench_macro,
    "naslib": import_naslib,
}
