"""Accuracies of published benchmarks, read as fractions; files state per cent, and converted copies fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array
from archgym.text import one_line, shown

MAX_SMALL_SHARE = 0.05  # of accuracies up to 1 per cent: with 100 classes, every 46th network guesses
NUMPY_NUMBERS = (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
RANGES = {False: "of 0 to 100 per cent", True: "from 0 to 1"}  # by whether they are fractions


class UnclearUnit(ArchGymError):
    """Accuracies that cannot be per cent, where `fractions=` is not given."""


def number_of(value: Any) -> float:
    """A number of a pickle or a JSON file, or one in text; NaN for anything else."""
    try:
        return float(value) if type(value) in (int, float, str, *NUMPY_NUMBERS) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def fraction_of(value: Any, fractions: bool) -> float:
    """An accuracy of a file as a fraction.

    Raises:
        ValueError: not a number, or one out of range.
    """
    number = number_of(value) / (1 if fractions else 100)
    if not 0 <= number <= 1:
        hint = "; leave --fractions out, or bring all to one unit" if fractions and 1 < number <= 100 else ""
        raise ValueError(f"{shown(value)} is not an accuracy {RANGES[fractions]}{hint}")
    return number


def fraction_at(where: str, value: Any, fractions: bool) -> float:
    """`fraction_of`, with the place in an error, which is an ArchGymError."""
    try:
        return fraction_of(value, fractions)
    except ValueError as error:
        raise ArchGymError(f"{where}: {error}") from None


def check_unit(source: str, columns: Mapping[str, Array], fractions: bool | None) -> None:
    """Refuse accuracies that were read as per cent and cannot be.

    Args:
        source: name of the file.
        columns: name -> accuracies as fractions, NaN where unknown.
        fractions: argument of the import; checked only where it is None.

    Raises:
        UnclearUnit: all accuracies were from 0 to 1.
        ArchGymError: many were, or all of some columns.
    """
    if fractions is not None:
        return
    small_shares = {name: float(np.mean(column[np.isfinite(column)] <= 0.01)) for name, column in columns.items()}
    small = [name for name, share in small_shares.items() if share == 1]
    if len(small) == len(columns):
        raise UnclearUnit(
            f"{source}: all accuracies are from 0 to 1, where per cent are expected; say --fractions if they are fractions, or --per-cent "
            "if they are per cent (fractions=True or False in Python)"
        )
    if mixed := small or [name for name, share in small_shares.items() if share > MAX_SMALL_SHARE]:
        where = "" if small else " in many lines"
        raise ArchGymError(
            f"{source}: accuracies of {', '.join(mixed)} are from 0 to 1{where}, others are not; bring all to per cent (times 100), or "
            "say --per-cent if they are (fractions=False in Python)"
        )


def reason(error: Exception) -> str:
    """An error of a file's content in one line."""
    return one_line(f"{error} is missing" if isinstance(error, KeyError) else str(error), 300)
