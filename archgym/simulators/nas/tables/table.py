"""Accuracy tables of trained networks: one npz format, for tables that ship and for imported ones.

A table holds the results of training every architecture of a space, by seed and after several budgets:

    row              int64   [designs]     row of each architecture, by ordinal (equal functions may share)
    budgets          int64   [K]           epochs before validation, increasing
    valid_accuracy   float32 [rows, S, K]  fractions, by training seed; NaN where a seed was not trained
    test_accuracy    float32 [rows, S]     fractions, after the last budget; NaN where a seed was not tested
    train_seconds    float32 [rows, K]     time of training one seed up to each budget; absent where unknown
    columns          numbers [rows] each   further figures of each row, by name
    provenance       JSON                  origin of the figures

Tables that ship are beside this module; `archgym data import` puts others into the data folder. Tables are
read without pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import digest, expect, load_archive, reading, save_archive
from archgym.files.paths import data_folder, make_folder
from archgym.space import Array, Indices

FORMAT = 1
HEADER = ("name", "space", "network", "provenance")  # fields in the file's header
SPACES = {"cell": 5**6, "macro": 3**8, "plain": 4398}  # architectures of each space

IMPORTERS = {  # start of the names of tables that do not ship -> the command that makes them
    "digits": "python -m archgym.simulators.nas.generate --noise NOISE",
    "nats": "archgym data import nats-bench PATH",
    "nasbench201": "archgym data import nasbench201 CSV",
    "nas-bench-macro": "archgym data import nas-bench-macro JSON",
    "naslib": "archgym data import naslib PICKLE",
    "plain": "python -m archgym.simulators.cnn.generate",
}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Table:
    """Results of training the architectures of one space on one data set; see the module for shapes.

    Attributes:
        name: name of the data set, such as "digits-0.5" or "nats-cifar10".
        space: "cell" (NAS-Bench-201, ordinals of `cells.CELL_SPACE`), "macro" (NAS-Bench-Macro) or "plain"
            (plain convolutional networks, ordinals of `cnn.layers.SPACE`).
        network: name in `costs.NETWORKS` of the network with a cell's costs; "" for other spaces.

    Raises:
        ArchGymError: arrays that do not fit together, or accuracies that are not fractions.
    """

    identity: ClassVar[str] = "archgym.simulators.nas.tables:Table"

    name: str
    space: str
    network: str
    row: Indices
    budgets: Indices
    valid_accuracy: Floats
    test_accuracy: Floats
    train_seconds: Floats | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise unknown("space of a table", self.space, SPACES)
        rows, seeds = self.test_accuracy.shape if self.test_accuracy.ndim == 2 else (-1, -1)
        expect("row", self.row, (SPACES[self.space],), np.integer)
        expect("budgets", self.budgets, (len(self.budgets),), np.integer)
        expect("valid_accuracy", self.valid_accuracy, (rows, seeds, len(self.budgets)), np.floating)
        expect("test_accuracy", self.test_accuracy, (rows, seeds), np.floating)
        if self.train_seconds is not None:
            expect("train_seconds", self.train_seconds, (rows, len(self.budgets)), np.floating)
            if not (self.train_seconds >= 0).all():
                raise ArchGymError("train_seconds has values that are negative or missing")
        for name, column in self.columns.items():
            expect(name, column, (rows,), np.number)
        if not len(self.budgets) or (np.diff(self.budgets) <= 0).any():
            raise ArchGymError("budgets must be epochs in increasing order, at least one")
        if len(self.row) and not (self.row.min() >= 0 and self.row.max() < rows):
            raise ArchGymError(f"expected row numbers in 0..{rows - 1}, got others")
        for name, accuracies in (
            ("valid_accuracy", self.valid_accuracy),
            ("test_accuracy", self.test_accuracy),
        ):
            if (accuracies < 0).any() or (accuracies > 1).any():
                raise ArchGymError(f"{name} has values that are not fractions from 0 to 1")

    @property
    def digest(self) -> str:
        """A hash of everything that results depend on."""
        arrays: list[Array] = [self.row, self.budgets, self.valid_accuracy, self.test_accuracy]
        arrays += [self.columns[name] for name in sorted(self.columns)]
        arrays += [] if self.train_seconds is None else [self.train_seconds]
        return digest(json.dumps([self.space, self.network, sorted(self.columns)]), arrays)


def save_table(table: Table, path: str | os.PathLike[str] | None = None) -> Path:
    """Write a table, complete or not at all; by default into the user's data folder.

    Raises:
        ArchGymError: the file cannot be written.
    """
    if path is None:
        path = data_folder("nas", f"{table.name}.npz")
        make_folder(path.parent)
    about = {name: getattr(table, name) for name in HEADER} | {"format": FORMAT, "sha256": table.digest}
    arrays: dict[str, Array] = {
        "row": table.row,
        "budgets": table.budgets,
        "valid_accuracy": table.valid_accuracy,
        "test_accuracy": table.test_accuracy,
        **({} if table.train_seconds is None else {"train_seconds": table.train_seconds}),
        **{f"column.{name}": column for name, column in table.columns.items()},
    }
    return save_archive(path, about, arrays)


def read_table(path: str | os.PathLike[str]) -> Table:
    """The table that `save_table` wrote.

    Raises:
        ArchGymError: the file is missing or damaged, or its figures are not those that were written.
    """
    with reading(path, "an accuracy table of archgym", "import it again"):
        about, arrays = load_archive(path, FORMAT)
        columns = {
            name.removeprefix("column."): arrays.pop(name)
            for name in list(arrays)
            if name.startswith("column.")
        }
        fields: dict[str, Any] = {**{name: about[name] for name in HEADER}, **arrays}
        table = Table(**fields, columns=columns)
        if table.digest != about["sha256"]:
            raise ArchGymError("its figures are not those that were written")
    return table


def list_tables() -> dict[str, Path]:
    """Installed tables by name, those that ship first."""
    folders = (Path(__file__).parent, data_folder("nas"))
    found = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.npz"))}
    return {
        name: found[name] for name in sorted(found, key=lambda name: (found[name].parent != folders[0], name))
    }


def load_table(name: str) -> Table:
    """An installed table by the name of its data set; the same object until its file is replaced.

    Raises:
        ArchGymError: it is not installed (with the command that imports it), or damaged.
    """
    path = list_tables().get(name) if isinstance(name, str) else None
    if path is None:
        for start, command in IMPORTERS.items():
            if str(name).startswith(start):
                raise ArchGymError(f"data set {name!r} is not installed; get it with: {command}")
        raise unknown("data set", name, [*list_tables(), *(f"{start}-..." for start in IMPORTERS)])
    return _read_once(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_once(path: Path, modified: int) -> Table:
    return read_table(path)
