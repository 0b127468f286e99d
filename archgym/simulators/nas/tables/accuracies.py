"""What importers of tables share: their arguments, cells in order, accuracies as numbers, and their unit."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from archgym.errors import ArchGymError
from archgym.progress import Progress
from archgym.simulators.nas.cells import CELL_SPACE, parse
from archgym.simulators.nas.tables.table import Table
from archgym.space import Array, Indices
from archgym.text import one_line, shown

MAX_GUESSING = 0.05  # share of accuracies of 1 per cent or less: with 100 classes, every 46th network guesses
AnyPath = str | os.PathLike[str]


class UnclearUnit(ArchGymError):
    """Accuracies that cannot be percentages, without an answer in `fractions=`."""


class Import(Protocol):
    """Reads the files of one kind.

    Args:
        path: path of the file or folder.
        progress: called with the step and the share that is done.
        fractions: True for accuracies from 0 to 1, False for per cent; None for per cent, unless that is
            impossible.

    Returns:
        A table for each data set.

    Raises:
        UnclearUnit: all accuracies are from 0 to 1, and `fractions` is None.
        ArchGymError: a file that is missing, damaged, of another kind or contains code; a cell that is
            missing, unknown or duplicate; a figure that is missing or impossible. The message names the
            place.
    """

    def __call__(
        self, path: AnyPath, progress: Progress = ..., *, fractions: bool | None = ...
    ) -> list[Table]: ...


def ordinals(cells: Iterable[tuple[str, Any]], source: str) -> Indices:
    """The ordinals of all 15,625 cells in the order of the source, from pairs (place in the source, the
    cell's string or tuple).

    Raises:
        ArchGymError: a string that is not a cell's, a duplicate cell, or missing cells.
    """
    places: dict[int, str] = {}
    for where, string in cells:
        try:
            ordinal = int(CELL_SPACE.to_ordinal(parse(string)[None])[0])
        except ArchGymError as error:
            raise ArchGymError(f"{source}, {where}: {error}") from None
        if ordinal in places:
            raise ArchGymError(
                f"{source}, {where}: duplicate cell {one_line(str(string))}, first seen at {places[ordinal]}"
            )
        places[ordinal] = where
    if len(places) != CELL_SPACE.size:
        raise ArchGymError(f"{source} lacks {CELL_SPACE.size - len(places):,} of {CELL_SPACE.size:,} cells")
    return np.array(list(places))


def cell_table(
    name: str,
    network: str,
    rows: Indices,
    budgets: Iterable[int],
    valid: Array,
    test: Array,
    provenance: Mapping[str, Any],
    seconds: Array | None = None,
) -> Table:
    """A table of cells from fractions [cells, seeds, budgets] and [cells, seeds], and seconds [cells,
    budgets].
    """
    valid, test = valid.astype(np.float32), test.astype(np.float32)
    train_seconds = None if seconds is None else seconds.astype(np.float32)
    epochs = np.array(list(budgets))
    return Table(name, "cell", network, rows, epochs, valid, test, train_seconds, provenance=provenance)


NUMPY_NUMBERS = (
    *(np.float16, np.float32, np.float64),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
)
RANGES = {False: "of 0 to 100 per cent", True: "from 0 to 1"}  # by `fractions`


def number(value: Any) -> float:
    """A number of a pickle or a JSON file, or written as text; NaN for anything else."""
    try:
        return float(value) if type(value) in (int, float, str, *NUMPY_NUMBERS) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def fraction(value: Any, fractions: bool) -> float:
    """An accuracy of a file as a fraction.

    Raises:
        ValueError: not a number, or one out of range.
    """
    amount = number(value) / (1 if fractions else 100)
    if not 0 <= amount <= 1:
        hint = "; leave --fractions out, or bring all to one unit" if fractions and 1 < amount <= 100 else ""
        raise ValueError(f"{shown(value)} is not an accuracy {RANGES[fractions]}{hint}")
    return amount


def fraction_at(where: str, value: Any, fractions: bool) -> float:
    """`fraction`, with the place in the error, which is an ArchGymError."""
    try:
        return fraction(value, fractions)
    except ValueError as error:
        raise ArchGymError(f"{where}: {error}") from None


def check_unit(source: str, columns: Mapping[str, Array], fractions: bool | None) -> None:
    """Refuse accuracies that were read as per cent and cannot be, and ask for their unit.

    Args:
        source: name of the file.
        columns: name -> accuracies as fractions, NaN where missing.
        fractions: True if the user says fractions, False for per cent, None where not given.
    """
    if fractions is not None:
        return
    at_most_1 = {
        name: float(np.mean(column[np.isfinite(column)] <= 0.01)) for name, column in columns.items()
    }
    small = [name for name, share in at_most_1.items() if share == 1]
    if len(small) == len(columns):
        raise UnclearUnit(
            f"{source}: all accuracies are from 0 to 1, where per cent are expected; say --fractions if they "
            "are fractions, or --per-cent if they are per cent (fractions=True or False in Python)"
        )
    if mixed := small or [name for name, share in at_most_1.items() if share > MAX_GUESSING]:
        where = "" if small else " in many lines"
        raise ArchGymError(
            f"{source}: accuracies of {', '.join(mixed)} are from 0 to 1{where}, others are not; bring all "
            "to per cent (times 100), or say --per-cent if they are (fractions=False in Python)"
        )


def in_words(error: Exception) -> str:
    """An error of a file's content in one line."""
    return one_line(f"{error} is missing" if isinstance(error, KeyError) else str(error), 300)
