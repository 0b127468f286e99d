"""Shared by the importers of tables: cells in order, accuracies as numbers, and their unit."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulators.nas.cells import CELL_SPACE, parse
from archgym.simulators.nas.tables.restricted_pickle import NUMBERS
from archgym.simulators.nas.tables.table import Table
from archgym.space import Array, Indices
from archgym.words import one_line, shown

MAX_GUESSING = 0.05  # share of accuracies of at most 1 %: of 100 classes, every 46th network guesses
AnyPath = str | os.PathLike[str]


class UnclearUnit(ArchGymError):
    """Accuracies that cannot be percentages, without an answer in `fractions=`."""


def ordinals(cells: Iterable[tuple[str, Any]], source: str) -> Indices:
    """The ordinals of all 15,625 cells in the source's order, from pairs (place in it, string or tuple).

    Raises:
        ArchGymError: a string that is not a cell's, a duplicate cell, or missing cells.
    """
    places: dict[tuple[int, ...], str] = {}
    for where, string in cells:
        try:
            cell = tuple(parse(string).tolist())
        except ArchGymError as error:
            raise ArchGymError(f"{source}, {where}: {error}") from None
        if cell in places:
            raise ArchGymError(
                f"{source}, {where}: duplicate cell {one_line(str(string))}, first seen at {places[cell]}"
            )
        places[cell] = where
    if len(places) != CELL_SPACE.size:
        raise ArchGymError(f"{source} lacks {CELL_SPACE.size - len(places):,} of {CELL_SPACE.size:,} cells")
    return CELL_SPACE.to_ordinal(np.array(list(places)))


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
    """A table from fractions [cells, seeds, budgets] and [cells, seeds], and seconds [cells, budgets]."""
    budgets, valid, test = np.array(list(budgets)), valid.astype(np.float32), test.astype(np.float32)
    seconds = None if seconds is None else seconds.astype(np.float32)
    return Table(name, "cell", network, rows, budgets, valid, test, seconds, provenance=provenance)


NUMPY_NUMBERS = tuple(np.dtype(code).type for code in NUMBERS - {"b1"})
RANGES = {False: "of 0 to 100 per cent", True: "from 0 to 1"}  # key: fractions


def number(value: Any) -> float:
    """A number of a pickle or a JSON file, or written as text; NaN for anything else."""
    if type(value) not in (int, float, str, *NUMPY_NUMBERS):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def fraction(value: Any, fractions: bool | None) -> float:
    """An accuracy as a fraction, from a fraction or per cent.

    Raises:
        ValueError: not an accuracy in that unit.
    """
    amount = number(value) / (1 if fractions else 100)
    if not 0 <= amount <= 1:
        hint = "; leave --fractions out, or bring all to one unit" if fractions and 1 < amount <= 100 else ""
        raise ValueError(f"{shown(value)} is not an accuracy {RANGES[bool(fractions)]}{hint}")
    return amount


def fraction_at(where: str, value: Any, fractions: bool | None) -> float:
    """The same, with an ArchGymError that names the place."""
    try:
        return fraction(value, fractions)
    except ValueError as error:
        raise ArchGymError(f"{where}: {error}") from None


def check_unit(source: str, columns: Mapping[str, Array], fractions: bool | None) -> None:
    """Refuse accuracies that were read as per cent and cannot be, and ask for their unit.

    Args:
        source: name of the file.
        columns: name -> accuracies as fractions, NaN where missing.
        fractions: the user's answer, None where not given.
    """
    if fractions is not None:
        return
    at_most_1 = {name: np.mean(column[np.isfinite(column)] <= 0.01) for name, column in columns.items()}
    small = [name for name, share in at_most_1.items() if share == 1]
    if len(small) == len(columns):
        raise UnclearUnit(
            f"{source}: all accuracies are from 0 to 1, where per cent are expected; say --fractions if they "
            "are fractions, or --per-cent if they are per cent (fractions=True or False in Python)"
        )
    mixed = small or [name for name, share in at_most_1.items() if share > MAX_GUESSING]
    if mixed:
        where = "" if small else " in many lines"
        raise ArchGymError(
            f"{source}: accuracies of {', '.join(mixed)} are from 0 to 1{where}, others are not; bring all "
            "to per cent (times 100), or say --per-cent if they are (fractions=False in Python)"
        )


def in_words(error: Exception) -> str:
    """An error of a source's structure, on one line."""
    return one_line(f"{error} is missing" if isinstance(error, KeyError) else str(error), 300)
