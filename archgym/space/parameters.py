"""Parameters: the axes of a design space, each a finite grid of values in index order.

Values are numbers, text, bools, None, or anything else that is hashable and that `archgym.values` can write
and read back: tuples, enums, bytes, fractions. A parameter may mix them. Columns of values are NumPy arrays
of numbers, bools or text where all values are, of objects otherwise.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.values import hashed, read, write
from archgym.words import is_unicode, one_line, shown

LONGEST_GRID = 10_000_000  # values that a parameter may list
Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


def all_true(mask: Array) -> bool:
    """`mask.all()` of a mask of bools, many times as fast on the short columns of single steps."""
    return 0 not in mask.tobytes()


def condition_in_words(parameter: Parameter) -> str:
    """ "with depth = 2 or 3, mode = sparse": the values that open a parameter."""
    named = (f"{name} = {' or '.join(map(str, values))}" for name, values in parameter.when.items())
    return f"with {', '.join(named)}"


@dataclass(frozen=True)
class Parameter(ABC):
    """One axis of a design space: a name and a finite `grid` of values in index order.

    Attributes:
        name: name, distinct within a space.
        when: names of earlier parameters, with the value or list of values of each that opens this one; all
            of them must be active. Elsewhere it is inactive, at its default value. Empty: always active.
    """

    name: str
    when: Mapping[str, Any] = field(
        default_factory=dict, kw_only=True, hash=False, repr=False, metadata={"written": "where set"}
    )

    ordered: ClassVar[bool] = True
    default = cast(Any, None)  # not annotated: a field only in the kinds, after their own

    @cached_property
    @abstractmethod
    def grid(self) -> Array:
        """Every value, in index order: [n]."""

    @property
    @abstractmethod
    def plain(self) -> Sequence[Any]:
        """Every value as a plain Python object, in index order; not a list where that would be long."""

    def __len__(self) -> int:
        return len(self.plain)

    def take(self, indices: Indices) -> Array:
        """The values at indices: int64 [B] -> column [B]."""
        column: Array = self.grid[indices]
        return column

    @property
    def default_value(self) -> Any:
        """The declared default, or the first value."""
        return self.value(0) if self.default is None else self.default

    @cached_property
    def inactive(self) -> int:
        """The index at which the parameter stands where it is inactive: that of its default value."""
        return int(self.index([self.default_value])[0])

    def value(self, index: int) -> Any:
        """The value at an index as a plain Python object."""
        return self.plain[index]

    def validate(self, value: Any) -> Any:
        """A single value as a plain Python object, if the parameter admits it.

        Raises:
            ArchGymError: a value outside the grid; the message names what is allowed.
        """
        admitted = self.plain[self._position(value)]
        if isinstance(admitted, bool) != isinstance(_plain(value), bool):
            raise self._refusal(value)
        return admitted

    def index(self, column: Any) -> Indices:
        """Values to their indices: column [B], or one value -> int64 [B].

        Raises:
            ArchGymError: a value that is not on the grid.
        """
        if self.grid.dtype.kind in "Ou" or getattr(getattr(column, "dtype", None), "kind", "") == "O":
            return np.array([self._position(value) for value in self.listed(column)], np.int64)
        values = self._numbers(column)
        sorted_grid, order = self._sorted
        try:
            at = np.minimum(np.searchsorted(sorted_grid, values), len(sorted_grid) - 1)
            found = self._equal(sorted_grid[at], values)
        except (TypeError, np.exceptions.DTypePromotionError):
            raise self._refusal(values.flat[0]) from None
        if not found.all():
            raise self._refusal(values[~found][0])
        return order[at]

    @cached_property
    def _sorted(self) -> tuple[Array, Indices]:
        order = np.argsort(self.grid, kind="stable")
        return self.grid[order], order

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {value: i for i, value in enumerate(self.plain)}

    def listed(self, column: Any) -> Sequence[Any]:
        """A column, or one value, as a list of values; NumPy would make text of mixed values and a table
        of tuples.
        """
        if isinstance(column, np.ndarray):
            values: list[Any] = np.atleast_1d(column).tolist()
            return values
        if isinstance(column, (str, bytes)) or not isinstance(column, Iterable) or self._has(column):
            return [column]
        return list(column)

    def _numbers(self, column: Any) -> Array:
        """A column, or one value, as an array [B]."""
        values = np.atleast_1d(np.asarray(column))
        if values.ndim > 1:
            raise self._refusal(column[0])
        return values

    def _has(self, value: Any) -> bool:
        try:
            return value in self._positions
        except TypeError:  # not hashable: a list of values
            return False

    def _position(self, value: Any) -> int:
        plain = _plain(value)
        if not self._has(plain):
            raise self._refusal(plain)
        return self._positions[plain]

    def _equal(self, grid_values: Array, values: Array) -> npt.NDArray[np.bool_]:
        return np.asarray(grid_values == values, bool)

    def _refusal(self, value: Any) -> ArchGymError:
        return ArchGymError(
            f"{_shown(value)} is not a value of parameter {self.name!r}: it takes {self.describe()}"
        )

    def describe(self) -> str:
        """The values in words, for tables and messages."""
        few = self.plain if len(self) <= 8 else [*self.plain[:4], "...", self.plain[-1]]
        return ", ".join(map(str, few))

    def _settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `Parameter.from_json` turns back into an equal parameter."""
        settings = {"kind": type(self).__name__, "name": self.name, **self._settings()}
        if self.default is not None:
            settings["default"] = write(self.default)
        if self.when:
            settings["when"] = {name: [write(v) for v in values] for name, values in self.when.items()}
        return settings

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Parameter:
        """The inverse of `to_json`.

        Raises:
            ArchGymError: an unknown kind of parameter.
        """
        settings = dict(data)
        kind = settings.pop("kind")
        if kind not in _KINDS:
            raise unknown("kind of parameter", kind, _KINDS)
        parameter: Parameter = _KINDS[kind](**{name: read(setting) for name, setting in settings.items()})
        return parameter

    def _settle(self, name: str, what: str, convert: Callable[[Any], Any]) -> None:
        """Convert a setting in place; a default may be None."""
        value = getattr(self, name)
        if value is None and name == "default":
            return
        try:
            object.__setattr__(self, name, convert(value))
        except (TypeError, ValueError, OverflowError):
            raise ArchGymError(
                f"parameter {self.name!r}: expected {what} as {name}, got {_shown(value)}"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        """Without `when` where it is empty, so that what is pickled keeps its form from before conditions."""
        return {name: value for name, value in vars(self).items() if name != "when" or value}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update({"when": {}, **state})

    def _check(self) -> None:
        object.__setattr__(self, "when", self._conditions())
        if not isinstance(self.name, str) or not self.name:
            raise ArchGymError(f"expected a non-empty string as a parameter's name, got {self.name!r}")
        if not is_unicode(self.name):
            raise ArchGymError(
                f"expected a parameter's name in Unicode, which files can store, got {self.name!r}"
            )
        if len(self) == 0:
            raise ArchGymError(f"parameter {self.name!r} has no values")
        if self.default is not None:
            self.validate(self.default)

    def _conditions(self) -> dict[str, tuple[Any, ...]]:
        """`when` with a tuple of values for every name."""
        if not isinstance(self.when, Mapping) or not all(isinstance(name, str) for name in self.when):
            raise ArchGymError(
                f"parameter {self.name!r}: expected a mapping of names to values as when=, got "
                f"{_shown(self.when)}; write when={{'depth': [2, 3]}}"
            )
        conditions = {}
        for name, given in self.when.items():
            listed = isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, (str, bytes))
            values = tuple(_plain(value) for value in (given if listed else [given]))
            if not values:
                raise ArchGymError(
                    f"parameter {self.name!r}: expected at least one value of {name!r} in when=, got none"
                )
            conditions[name] = values
        return conditions


@dataclass(frozen=True)
class _Listed(Parameter):
    """A parameter given by the list of its values."""

    values: Sequence[Any]
    default: Any = None

    def __post_init__(self) -> None:
        # whose order differs from process to process
        if not isinstance(self.values, Iterable) or isinstance(self.values, Set):
            raise ArchGymError(
                f"parameter {self.name!r}: expected a list of values, got {_shown(self.values)}; write [...]"
            )
        plain = tuple(_plain(v) for v in self.values)
        object.__setattr__(self, "values", plain)
        object.__setattr__(self, "default", _plain(self.default))
        for value in plain:
            self._check_value(value)
        if len(set(plain)) != len(plain):  # 1, 1.0 and True are one value
            raise ArchGymError(f"parameter {self.name!r} lists a value twice")
        self._check()

    def _check_value(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            hint = f"; write the tuple {tuple(value)!r}" if isinstance(value, list) else ""
            raise ArchGymError(
                f"parameter {self.name!r}: expected hashable values, got {_shown(value)}{hint}"
            ) from None
        if type(value) in (str, bool, float) and value == value:  # by far the most
            return
        try:
            written = write(value)
            reason = (
                "only a hash of it can be"
                if hashed(written)
                else ""
                if read(written) == value
                else "it does not equal itself"
            )
            str(value)
        except (ArchGymError, ValueError) as error:  # an integer of more digits than Python writes
            reason = str(error)
        if reason:
            got = f"the {type(value).__name__} {_shown(value)}"
            raise ArchGymError(
                f"parameter {self.name!r}: expected numbers, text, tuples or enums, got {got}, which cannot "
                f"be stored: {reason}"
            )

    @cached_property
    def grid(self) -> Array:
        kinds = {type(v) for v in self.values}
        # which NumPy would drop
        if kinds == {bool} or (kinds == {str} and not any(v.endswith("\0") for v in self.values)):
            return np.array(self.values)
        if kinds == {int}:  # NumPy would make floats of integers beyond 2^63
            low, high = min(self.values), max(self.values)
            fits = (
                np.int64
                if low >= -(2**63) and high < 2**63
                else np.uint64
                if low >= 0 and high < 2**64
                else object
            )
            return np.array(self.values, fits)
        if kinds <= {int, float} and all(_is_float(v) for v in self.values):
            return np.array(self.values, float)
        grid = np.empty(len(self.values), object)
        grid[:] = self.values
        return grid

    @cached_property
    def plain(self) -> Sequence[Any]:
        values: Sequence[Any] = self.grid.tolist() if self.grid.dtype.kind == "f" else self.values
        return values

    def _settings(self) -> dict[str, Any]:
        return {"values": [write(value) for value in self.values]}


class Categorical(_Listed):
    """Unordered values: `Categorical("isa", ["scalar", "avx2", "avx512"])`."""

    identity: ClassVar[str] = "archgym.space:Categorical"

    ordered = False


class Ordinal(_Listed):
    """Ordered values, such as powers of two: `Ordinal("tile", [256, 1024, 4096])`."""

    identity: ClassVar[str] = "archgym.space:Ordinal"


@dataclass(frozen=True)
class Integer(Parameter):
    """The integers low, low + step, ... up to and including high."""

    identity: ClassVar[str] = "archgym.space:Integer"

    low: int
    high: int
    step: int = 1
    default: int | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "step", "default"):
            self._settle(name, "a whole number", _whole)
        if self.low < -(2**63) or self.high >= 2**63 or self.high - self.low >= 2**63 - 1:
            given = f"{_shown(self.low)} to {_shown(self.high)}"
            raise ArchGymError(
                f"parameter {self.name!r}: expected at most 2^63 - 1 integers of 64 bits, got {given}"
            )
        if self.step < 1 or self.high < self.low:
            given = f"{self.low}, {self.high}, {_shown(self.step)}"
            raise ArchGymError(f"parameter {self.name!r}: expected low <= high and step >= 1, got {given}")
        self._check()

    @property
    def plain(self) -> range:
        return range(self.low, self.high + 1, self.step)

    @cached_property
    def grid(self) -> Array:
        if len(self) > LONGEST_GRID:
            raise ArchGymError(
                f"parameter {self.name!r} has {len(self):,} values, too many to list; use take, index or "
                "value instead"
            )
        return np.arange(self.low, self.high + 1, self.step, dtype=np.int64)

    def take(self, indices: Indices) -> Array:
        places = np.asarray(indices, np.int64)
        column: Array = self.low + (places if self.step == 1 else self.step * places)
        return column

    def index(self, column: Any) -> Indices:
        values = self._numbers(column)
        if values.dtype.kind not in "biuf":
            return np.array([self._position(value) for value in values.tolist()], np.int64)
        with np.errstate(invalid="ignore"):  # NaN, which equals nothing
            whole = values.astype(np.int64)
        good = (whole == values) & (whole >= self.low) & (whole <= self.high)
        good &= np.where(good, whole - self.low, 0) % self.step == 0
        if not good.all():
            raise self._refusal(_plain(values[~good][0]))
        found: Indices = (whole - self.low) // self.step
        return found

    def _position(self, value: Any) -> int:
        try:
            whole = int(value)
        except (TypeError, ValueError, OverflowError):
            raise self._refusal(value) from None
        if whole != value or whole not in self.plain:
            raise self._refusal(value)
        return self.plain.index(whole)

    def validate(self, value: Any) -> int:
        """Any integer within the range is admitted, on the grid of steps or not."""
        try:
            whole = int(value)
        except (TypeError, ValueError, OverflowError):
            raise self._refusal(value) from None
        if whole != value or isinstance(value, (bool, str)) or not self.low <= whole <= self.high:
            raise self._refusal(value)
        return whole

    def describe(self) -> str:
        return f"{self.low} to {self.high}" + (f" in steps of {self.step}" if self.step > 1 else "")

    def _settings(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "step": self.step}


@dataclass(frozen=True)
class Real(Parameter):
    """A real range as a grid of `levels` values, equally spaced (geometrically with `log=True`), so that
    the space is finite.
    """

    identity: ClassVar[str] = "archgym.space:Real"

    low: float
    high: float
    log: bool = False
    levels: int = 256
    default: float | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high", "default"):
            self._settle(name, "a number", _number)
        self._settle("levels", "a whole number", _whole)
        object.__setattr__(self, "log", bool(self.log))
        if self.levels > LONGEST_GRID:
            raise ArchGymError(
                f"parameter {self.name!r}: expected at most {LONGEST_GRID:,} levels, got {self.levels:,}"
            )
        if not (
            math.isfinite(self.low)
            and math.isfinite(self.high)
            and self.low <= self.high
            and self.levels >= 1
        ):
            given = f"{self.low}, {self.high}, {self.levels}"
            raise ArchGymError(
                f"parameter {self.name!r}: expected finite low <= high and levels >= 1, got {given}"
            )
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ArchGymError(
                f"parameter {self.name!r}: expected a range that a float can measure, got {self.low} to "
                f"{self.high}"
            )
        if self.log and self.low <= 0:
            raise ArchGymError(f"parameter {self.name!r}: expected low > 0 with log=True, got {self.low}")
        self._check()

    @cached_property
    def grid(self) -> Array:
        grid = (np.geomspace if self.log else np.linspace)(self.low, self.high, self.levels)
        return np.asarray(grid, float)

    @cached_property
    def plain(self) -> list[float]:
        values: list[float] = self.grid.tolist()
        return values

    def validate(self, value: Any) -> float:
        """Any number within the range is admitted, on the grid of levels or not."""
        if isinstance(value, (bool, str)):
            raise self._refusal(value)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise self._refusal(value) from None
        if not self.low <= number <= self.high:
            raise self._refusal(value)
        return number

    def index(self, column: Any) -> Indices:
        """The level that equals each value up to rounding: column [B] -> int64 [B]."""
        given = self._numbers(column)
        if given.dtype.kind not in "biufO":
            raise self._refusal(given[0])
        try:
            values = given.astype(float)
        except (TypeError, ValueError, OverflowError):
            raise self._refusal(given[0]) from None
        after = (
            np.clip(np.searchsorted(self.grid, values), 1, max(len(self) - 1, 1))
            if len(self) > 1
            else np.zeros(values.shape, int)
        )
        before = np.maximum(after - 1, 0)
        nearest = np.where(
            np.abs(self.grid[before] - values) <= np.abs(self.grid[after] - values), before, after
        )
        close = np.isclose(self.grid[nearest], values, rtol=1e-9, atol=0)
        if not close.all():
            raise self._refusal(values[~close][0])
        return nearest.astype(np.int64)

    def describe(self) -> str:
        return f"{self.low:g} to {self.high:g} in {self.levels} {'geometric ' if self.log else ''}levels"

    def _settings(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log, "levels": self.levels}


_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Categorical, Ordinal, Integer, Real)}


def _whole(value: Any) -> int:
    """A whole number as a Python int, from any integer type."""
    return (
        int(value)
        if isinstance(value, (float, np.floating)) and float(value).is_integer()
        else operator.index(value)
    )


def _number(value: Any) -> int | float:
    """A number that a float can be near to, as Python's own."""
    if isinstance(value, (str, bytes)):
        raise TypeError
    plain, number = _plain(value), float(value)
    return plain if type(plain) in (int, float) else number


def _is_float(number: int | float) -> bool:
    """Whether a float can be this very number."""
    try:
        return float(number) == number
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    """A value in an error's words, whatever its size."""
    try:
        return one_line(repr(value), 200)
    except ValueError:  # an integer of more digits than Python writes
        return shown(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
