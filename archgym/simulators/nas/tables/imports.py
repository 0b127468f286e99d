"""Accuracy tables that users bring: the files of four sources -> `Table`s, checked cell by cell.

    kind             file                                          tables                                 epochs      trainings
    nats-bench       folder of 15,625 *.pickle.pbz2 and a meta     nats-cifar10, -cifar100,               12, 200     up to 3
                                                                   -imagenet16-120
    nasbench201      CSV, a line per cell                          nasbench201-cifar10, ...               12          1
    nas-bench-macro  JSON, 6,561 networks of eight layers          nas-bench-macro-cifar10                50          3
    naslib           pickle of learning curves                     naslib-cifar10, ...                    12, last    1

Every source states per cent; tables hold fractions. Copies of them may have been brought to fractions: figures that are all from 0 to 1
cannot be per cent, and `fractions=` says what they are. Rows keep the order of the source. Pickles are read by `restricted_pickle`; what
they hold is looked at by its exact type, since text or a sum of it could be made to take for ever.

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
from archgym.progress import Progress
from archgym.simulators.nas.cells import CELL_SPACE, parse
from archgym.simulators.nas.requirements import MACRO_TABLE
from archgym.simulators.nas.tables.restricted_pickle import MIB, load_pickle
from archgym.simulators.nas.tables.table import SPACES, Table
from archgym.space import Array, Indices
from archgym.text import one_line, shown

NATS_BUDGETS = (12, 200)  # epochs, each with trainings of its own
NATS_SETS = {  # our name -> where validation accuracy lies: data set and part; and where test accuracy does
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),  # validated on half of the training set, tested after all of it
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test")),
    "imagenet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
}
CSV_SETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "imagenet16"}  # our name -> how its columns begin
CSV_COLUMNS = {dataset: (f"{start}_valid", f"{start}_test") for dataset, start in CSV_SETS.items()}
CSV_EPOCHS = 12
MACRO_EPOCHS, MACRO_TRAININGS = 50, 3
NASLIB_SETS = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}
NASLIB_LIMIT = 2048 * MIB  # learning curves of three data sets over 200 epochs take 350
MOST_EPOCHS = 1000  # of a learning curve
JSON_LIMIT = 64 * MIB  # NAS-Bench-Macro takes 1.2
FEW = 0.05  # of a table's accuracies may be 1 per cent or less: of 100 classes, every 46th network guesses

AnyPath = str | os.PathLike[str]


class UnclearUnit(ArchGymError):
    """Accuracies that cannot be per cent, where `fractions=` is not given."""


def _silent(what: str, share: float) -> None:
    pass


# --- NATS-Bench ---


@dataclass(frozen=True)
class NatsRecord:
    """What one file of NATS-Bench says of one cell.

    Attributes:
        index: of the cell, in the order of NATS-Bench.
        cell: its string.
        valid: (data set, epochs, seed) -> validation accuracy, a fraction.
        test: the same -> test accuracy.
        seconds: the same -> what the training whose validation accuracy is stated took, as the source states it.
    """

    index: int
    cell: str
    valid: Mapping[tuple[str, int, int], float]
    test: Mapping[tuple[str, int, int], float]
    seconds: Mapping[tuple[str, int, int], float]


def read_nats_record(path: AnyPath, *, fractions: bool = False) -> NatsRecord:
    """One file of NATS-Bench's topology space, such as 000011.pickle.pbz2; the figures that `nats_bench`'s `get_more_info` gives.

    Args:
        path: the file.
        fractions: it states accuracies from 0 to 1, not per cent.

    Raises:
        ArchGymError: no such file, a damaged one, one that wants to run code, or one that is no such record.
    """
    data = load_pickle(path)
    if not isinstance(data, dict):
        raise ArchGymError(f"{os.fspath(path)} is not a record of NATS-Bench's topology space: expected a dictionary, got {shown(data)}")
    valid: dict[tuple[str, int, int], float] = {}
    test: dict[tuple[str, int, int], float] = {}
    seconds: dict[tuple[str, int, int], float] = {}
    try:
        for epochs in NATS_BUDGETS:
            trainings = data[str(epochs)]["all_results"]
            for name, ((valid_set, valid_part), (test_set, test_part)) in NATS_SETS.items():
                for (dataset, seed), training in trainings.items():
                    accuracies, key = training["eval_acc1es"], (name, epochs, int(seed))
                    if dataset == valid_set:
                        valid[key] = _fraction(accuracies[f"{valid_part}@{epochs - 1}"], fractions)
                        seconds[key] = sum(_number(training["train_times"][epoch]) for epoch in range(epochs))
                        if not math.isfinite(seconds[key]):
                            raise ValueError("train_times has values that are not numbers")
                    if dataset == test_set:
                        test[key] = _fraction(accuracies[f"{test_part}@{epochs - 1}"], fractions)
                for what, found in (("validation", valid), ("test", test)):
                    if not any(key[:2] == (name, epochs) for key in found):
                        raise ValueError(f"no {what} accuracy of {name} after {epochs} epochs")
        about = data[str(NATS_BUDGETS[0])]
        index, cell = about["arch_index"], about["arch_str"]
        if type(index) is not int or type(cell) is not str:
            raise TypeError(f"it is of cell {shown(index)}, {shown(cell)}; expected a number and a string")
        return NatsRecord(index, cell, valid, test, seconds)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ArchGymError(f"{os.fspath(path)} is not a record of NATS-Bench's topology space: {_said(error)}") from error


def import_nats_bench(path: AnyPath, tell: Progress = _silent, *, fractions: bool | None = None) -> list[Table]:
    """The folder NATS-tss-v1_0-3ffb9-simple -> three tables; takes about ten minutes.

    Validation accuracy after 12 and 200 epochs, in trainings of their own; test accuracy after 200. CIFAR-10's validation accuracy comes
    from trainings on half of its training set, its test accuracy from others on all of it. Seconds are those of the former, the mean over
    the seeds.

    Args:
        path: the folder.
        tell: called with (what is being done, the share of everything that is done).
        fractions: accuracies are from 0 to 1 (True) or per cent (False); None for per cent, unless that cannot be.

    Raises:
        UnclearUnit: all figures are from 0 to 1.
        ArchGymError: not such a folder, records that are missing (how many), damaged, of other cells, or that want to run code.
    """
    folder = Path(path)
    meta = folder / "meta.pickle.pbz2"
    if not meta.is_file():
        raise ArchGymError(
            f"{folder} is not the folder of NATS-Bench's topology space: it has no {meta.name}. "
            "Unpack NATS-tss-v1_0-3ffb9-simple.tar and give the folder with its 15,625 files"
        )
    strings = _index_of_cells(meta)
    rows = np.argsort(_ordinals(((f"index {index}", string) for index, string in enumerate(strings)), os.fspath(meta)))
    files = [folder / f"{index:06d}.pickle.pbz2" for index in range(len(strings))]
    there = {entry.name for entry in os.scandir(folder)}
    missing = [file.name for file in files if file.name not in there]
    if missing:
        raise ArchGymError(f"{len(missing):,} of {len(files):,} records are missing in {folder}, first of all {missing[0]}")
    records = []
    for index, file in enumerate(files):
        record = read_nats_record(file, fractions=bool(fractions))
        if (record.index, record.cell) != (index, strings[index]):
            raise ArchGymError(f"{file} is the record of cell {record.index}, {one_line(record.cell)}, not that of {strings[index]}")
        records.append(record)
        tell("reading records", (index + 1) / len(files))
    last = NATS_BUDGETS[-1]
    tested = {seed for record in records for _, epochs, seed in record.test if epochs == last}
    seeds = sorted({key[2] for record in records for key in record.valid} | tested, key=lambda seed: (seed not in tested, seed))
    shape = (len(records), len(seeds), len(NATS_BUDGETS))
    places = {(epochs, seed): (s, k) for k, epochs in enumerate(NATS_BUDGETS) for s, seed in enumerate(seeds)}

    def gathered(what: str, name: str) -> Array:
        found = np.full(shape, np.nan)
        for row, record in enumerate(records):
            for (dataset, epochs, seed), value in getattr(record, what).items():
                if dataset == name:
                    found[row][places[epochs, seed]] = value
        return found

    accuracies = {(what, name): gathered(what, name) for what in ("valid", "test") for name in NATS_SETS}
    _check_unit(os.fspath(path), {f"{name}, {what}": found[:, :, -1] for (what, name), found in accuracies.items()}, fractions)
    about = {
        "source": "NATS-Bench, topology space (v1.0)",
        "seeds": seeds,
        "note": "12 and 200 epochs are trainings of their own; a seed that was not trained for as many epochs has no figure there",
    }
    return [
        _table(
            f"nats-{name}",
            name,
            rows,
            NATS_BUDGETS,
            accuracies["valid", name],
            accuracies["test", name][:, :, -1],
            about,
            np.nanmean(gathered("seconds", name), axis=1),
        )
        for name in NATS_SETS
    ]


def _index_of_cells(meta: Path) -> list[str]:
    data = load_pickle(meta)
    cells: Any = data.get("meta_archs") if isinstance(data, dict) else None
    if type(cells) not in (list, tuple) or not all(type(cell) is str for cell in cells):
        raise ArchGymError(f"{meta} has no list of cells: expected strings under 'meta_archs', got {shown(cells)}")
    return list(cells)


# --- NAS-Bench-201 after 12 epochs ---


def import_nasbench201(path: AnyPath, tell: Progress = _silent, *, fractions: bool | None = None) -> list[Table]:
    """A CSV with the columns cell and cifar10_valid, cifar10_test, cifar100_..., imagenet16_... -> a table for each data set in it.

    Args:
        path: the file.
        tell: called with (what is being done, the share of everything that is done).
        fractions: accuracies are from 0 to 1 (True) or per cent (False); None for per cent, unless that cannot be.

    Raises:
        UnclearUnit: all figures are from 0 to 1.
        ArchGymError: a column that is missing; a cell that is missing, unknown or there twice; a figure that is not one of 0 to 100. The
            message names the line.
    """
    name = os.fspath(path)
    cells: list[tuple[str, str]] = []
    figures: list[list[float]] = []
    try:
        refuse_foreign(path)
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = delimiter_of(first)
            there = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
            reader = csv.DictReader(file, there, strict=True, delimiter=delimiter, skipinitialspace=True)
            datasets = [dataset for dataset, columns in CSV_COLUMNS.items() if any(column in there for column in columns)] or [*CSV_SETS]
            columns = [column for dataset in datasets for column in CSV_COLUMNS[dataset]]
            missing = [column for column in ("cell", *columns) if column not in there]
            if missing:
                raise ArchGymError(f"{name} lacks the columns {', '.join(missing)}")
            for line in itertools.islice(reader, CELL_SPACE.size + 1):  # one of more is there twice
                where = f"line {reader.line_num + 1}"
                cells.append((where, line["cell"] or ""))
                if delimiter == ";":  # where commas are decimal marks
                    line |= {column: (line[column] or "").replace(",", ".") for column in columns}
                figures.append([_fraction_at(f"{name}, {where}, {column}", line[column], bool(fractions)) for column in columns])
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArchGymError(f"{name} is not a CSV file: {error}") from error
    rows = np.argsort(_ordinals(cells, name))
    accuracies = np.array(figures).reshape(len(cells), len(datasets), 2)
    _check_unit(name, dict(zip(columns, accuracies.reshape(len(cells), -1).T, strict=True)), fractions)
    about = {"source": "NAS-Bench-201, 12 epochs (CSV)", "file": Path(path).name}
    return [
        _table(f"nasbench201-{dataset}", dataset, rows, (CSV_EPOCHS,), accuracies[:, d, :1, None], accuracies[:, d, 1:], about)
        for d, dataset in enumerate(datasets)
    ]


# --- NAS-Bench-Macro ---


def import_nas_bench_macro(path: AnyPath, tell: Progress = _silent, *, fractions: bool | None = None) -> list[Table]:
    """nas-bench-macro_cifar10.json -> one table, with parameters and multiply-adds.

    The source states the best test accuracy over the 50 epochs of each of three trainings, and no validation accuracy. Its "flops" are
    multiply-adds of convolutions and classifier, without biases and batch norm.

    Args:
        path: the file.
        tell: called with (what is being done, the share of everything that is done).
        fractions: accuracies are from 0 to 1 (True) or per cent (False); None for per cent, unless that cannot be.

    Raises:
        UnclearUnit: all accuracies are from 0 to 1.
        ArchGymError: not such a file, or architectures that are missing or have other figures (the message names one).
    """
    name = os.fspath(path)
    try:
        refuse_foreign(path)
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(JSON_LIMIT + 1)
        if len(text) > JSON_LIMIT:
            raise ArchGymError(f"{name} is larger than {JSON_LIMIT / MIB:,.0f} MiB, which no file of its kind is")
        data = json.loads(text)
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ArchGymError(f"{name} is not a JSON file: {_said(error)}") from error
    if not isinstance(data, dict):
        raise ArchGymError(f"{name} is not the file of NAS-Bench-Macro: an object by architecture is expected")
    for architecture in data:
        if not re.fullmatch("[012]{8}", architecture):
            raise ArchGymError(f"{name}: {shown(architecture)} is not an architecture of NAS-Bench-Macro, eight digits of 0, 1 and 2")
    if len(data) != SPACES["macro"]:
        raise ArchGymError(f"{name} lacks {SPACES['macro'] - len(data):,} of {SPACES['macro']:,} architectures")
    test = np.array([_trainings(entry, f"{name}, architecture {architecture}", bool(fractions)) for architecture, entry in data.items()])
    _check_unit(name, {"test_acc": test}, fractions)
    params, macs = (
        np.array([_count(entry, column, f"{name}, architecture {architecture}") for architecture, entry in data.items()])
        for column in ("params", "flops")
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
            "note": "the best test accuracy over the epochs of a training; the source has no validation accuracy",
        },
    )
    return [table]


def _trainings(entry: Any, where: str, fractions: bool) -> list[float]:
    found = entry.get("test_acc") if isinstance(entry, dict) else None
    if not isinstance(found, list) or len(found) != MACRO_TRAININGS:
        raise ArchGymError(f"{where}: test_acc is not a list of {MACRO_TRAININGS} accuracies")
    return [_fraction_at(f"{where}, test_acc", value, fractions) for value in found]


def _count(entry: Any, column: str, where: str) -> int:
    found = entry.get(column)
    if type(found) is not int or not 0 < found < 2**53:
        raise ArchGymError(f"{where}: {column} is not a positive whole number, but {shown(found)}")
    return found


# --- NASLib ---


def import_naslib(path: AnyPath, tell: Progress = _silent, *, fractions: bool | None = None) -> list[Table]:
    """A pickle of NASLib, nb201_cifar10_full_training.pickle or the like -> a table for each data set in it.

    It maps a cell's string to data sets, and those to lists by epoch. `eval_acc1es` is what NASLib calls both validation and test accuracy;
    on CIFAR-10 it is that of the trainings on half of the training set. It becomes validation accuracy, and test accuracy is left unknown.

    Args:
        path: the file.
        tell: called with (what is being done, the share of everything that is done).
        fractions: accuracies are from 0 to 1 (True) or per cent (False); None for per cent, unless that cannot be.

    Raises:
        UnclearUnit: all accuracies of a data set are from 0 to 1.
        ArchGymError: a file that wants to run code, is damaged, or lacks cells or data sets; lists of different lengths.
    """
    name = os.fspath(path)
    tell("reading", 0.0)
    data = load_pickle(path, limit=NASLIB_LIMIT)
    if not isinstance(data, dict) or not data or not all(isinstance(entry, dict) for entry in data.values()):
        raise ArchGymError(f"{name} is not a pickle of NASLib: a dictionary by cell, then by data set, is expected")
    rows = np.argsort(_ordinals(((f"entry {entry}", string) for entry, string in enumerate(data, 1)), name))
    first = next(iter(data.values()))
    names = {ours: theirs for ours, theirs in NASLIB_SETS.items() if theirs in first}
    if not names:
        there = ", ".join(one_line(str(key), 40) for key in itertools.islice(first, 9))  # keys are flat
        raise ArchGymError(f"{name} has the data sets {there}; known are {', '.join(NASLIB_SETS.values())}")
    tables = []
    curves_of = {theirs: _curves(data, theirs, name, bool(fractions)) for theirs in names.values()}
    _check_unit(name, {theirs: curves[:, -1] for theirs, curves in curves_of.items()}, fractions)
    for ours, theirs in names.items():
        curves = curves_of[theirs]
        last = curves.shape[1]
        budgets = sorted({*(epochs for epochs in NATS_BUDGETS if epochs < last), last})
        valid = curves[:, None, [epochs - 1 for epochs in budgets]]
        about = {
            "source": "NASLib, learning curves of NAS-Bench-201",
            "file": Path(path).name,
            "note": f"one training of {last} epochs, seen on its way; NASLib states one accuracy, which is taken for that of validation",
        }
        tables.append(_table(f"naslib-{ours}", ours, rows, budgets, valid, np.full((len(curves), 1), np.nan), about))
        tell("reading", len(tables) / len(names))
    return tables


def _curves(data: Mapping[Any, Any], dataset: str, name: str, fractions: bool) -> Array:
    """Accuracies by epoch of every cell, fractions: float64 [cells, epochs]."""
    curves: list[Array] = []
    for cell, entry in data.items():
        try:
            found = entry[dataset]["eval_acc1es"]
            if type(found) not in (list, tuple):
                raise TypeError(f"expected a list of numbers, got {shown(found)}")
            if not 0 < len(found) <= MOST_EPOCHS or len(found) != len((curves or [found])[0]):
                raise ValueError(f"{len(found):,} epochs")
            if not set(map(type, found)) <= {int, float, *_NUMPY_NUMBERS}:
                raise TypeError(f"expected a list of numbers, got {shown(found)}")
            curve = np.array(found, float) / (1 if fractions else 100)
            if not ((curve >= 0) & (curve <= 1)).all():
                raise ValueError(f"an accuracy that is not one {_RANGES[fractions]}")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ArchGymError(
                f"{name}, cell {one_line(str(cell))}, {dataset}: no list of accuracies by epoch, as many as others have: {_said(error)}"
            ) from error
        curves.append(curve)
    return np.stack(curves)


# --- common ---


def _ordinals(cells: Iterable[tuple[str, Any]], source: str) -> Indices:
    """The ordinals of all 15,625 cells in the order of the source, from (where it stands, the cell's string or tuple).

    Raises:
        ArchGymError: a string that is no cell's, a cell that is there twice, or cells that are missing.
    """
    places: dict[int, str] = {}
    for where, string in cells:
        try:
            ordinal = int(CELL_SPACE.to_ordinal(parse(string)[None])[0])
        except ArchGymError as error:
            raise ArchGymError(f"{source}, {where}: {error}") from None
        if ordinal in places:
            raise ArchGymError(f"{source}, {where}: the cell {one_line(str(string))} has been there before, at {places[ordinal]}")
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
    return Table(
        name,
        "cell",
        network,
        rows,
        np.array(list(budgets)),
        valid.astype(np.float32),
        test.astype(np.float32),
        None if seconds is None else seconds.astype(np.float32),
        provenance=provenance,
    )


_NUMPY_NUMBERS = (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
_RANGES = {False: "of 0 to 100 per cent", True: "from 0 to 1"}  # by whether they are fractions


def _number(value: Any) -> float:
    """Of a pickle or a JSON file; NaN for anything else, and text is read."""
    if type(value) not in (int, float, str, *_NUMPY_NUMBERS):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _fraction(value: Any, fractions: bool) -> float:
    number = _number(value) / (1 if fractions else 100)
    if not 0 <= number <= 1:
        hint = "; leave --fractions out, or bring all to one unit" if fractions and 1 < number <= 100 else ""
        raise ValueError(f"{shown(value)} is not an accuracy {_RANGES[fractions]}{hint}")
    return number


def _fraction_at(where: str, value: Any, fractions: bool) -> float:
    try:
        return _fraction(value, fractions)
    except ValueError as error:
        raise ArchGymError(f"{where}: {error}") from None


def _check_unit(source: str, columns: Mapping[str, Array], fractions: bool | None) -> None:
    """Ask for the unit of accuracies that were taken for per cent, where they cannot be.

    Args:
        source: the file.
        columns: accuracies, as fractions, by what they are called; NaN where there is none.
        fractions: the user's answer: fractions, per cent, or None where not given.
    """
    if fractions is not None:
        return
    at_most_1 = {name: float(np.mean(column[np.isfinite(column)] <= 0.01)) for name, column in columns.items()}
    small = [name for name, share in at_most_1.items() if share == 1]
    if len(small) == len(columns):
        raise UnclearUnit(
            f"{source}: all accuracies are from 0 to 1, where per cent are expected; say --fractions if they are fractions, or --per-cent "
            "if they are per cent (fractions=True or False in Python)"
        )
    mixed = small or [name for name, share in at_most_1.items() if share > FEW]
    if mixed:
        where = "" if small else " in many lines"
        raise ArchGymError(
            f"{source}: accuracies of {', '.join(mixed)} are from 0 to 1{where}, others are not; bring all to per cent (times 100), or "
            "say --per-cent if they are (fractions=False in Python)"
        )


def _said(error: Exception) -> str:
    return one_line(f"{error} is missing" if isinstance(error, KeyError) else str(error), 300)


class Import(Protocol):
    """Reads the files of one kind."""

    def __call__(self, path: AnyPath, tell: Progress = ..., *, fractions: bool | None = ...) -> list[Table]: ...


KINDS: dict[str, Import] = {
    "nats-bench": import_nats_bench,
    "nasbench201": import_nasbench201,
    "nas-bench-macro": import_nas_bench_macro,
    "naslib": import_naslib,
}
