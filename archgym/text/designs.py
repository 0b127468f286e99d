"""Designs as JSON: the form of each value, the schema, and how far a proposed object is a design.

    number, text, bool, None    itself
    anything else               its text, str(value): a tuple, an enum, a fraction, an infinite float
    value of a Real             any number of the range: the nearest level is meant

Proposed values are read generously where only one value can be meant: "4" and 4.0 for 4, "TRUE" for true,
names in another case; inactive parameters are left out. Everything else is a problem, in one line that names
the parameter, what was expected and the nearest value, and is repaired with that one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np

from archgym.errors import nearest
from archgym.space import DesignSpace, Indices, Integer, Parameter, Real
from archgym.text.finding import scalar
from archgym.words import is_printable, one_line, shown

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FEW = 16  # values that an error lists
_CLOSE = 1e-9  # relative difference of numbers that are one


def as_json(value: Any) -> str:
    """JSON on one line, without control and format characters."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not is_printable(text):
        text = json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text


@dataclass(frozen=True)
class Proposal:
    """A proposed object beside the space.

    Attributes:
        row: the design as a canonical row, int64 [P], with repairs where there are problems; None where a
            value has no nearest one.
        problems: faults in words, a line each; empty for a legal design.
    """

    row: Indices | None
    problems: tuple[str, ...]


class Checker:
    """Reads objects as designs of a space."""

    def __init__(self, space: DesignSpace):
        self.space = space
        self.values = [Values(parameter) for parameter in space]
        plain = Counter(map(_plain_name, space.names))
        self._names = {_plain_name(name): name for name in space.names if plain[_plain_name(name)] == 1}
        self._names |= {name: name for name in space.names}

    def names_a_parameter(self, found: Mapping[str, Any]) -> bool:
        """Whether an object can be meant as a design."""
        return not len(self.space) or any(self._name(name) for name in found)

    def _name(self, given: str) -> str | None:
        return self._names.get(given) or self._names.get(_plain_name(given[:200]))

    def check(self, found: Mapping[str, Any]) -> Proposal:
        """An object as a design."""
        given: dict[str, Any] = {}
        problems: list[str] = []
        for name, value in found.items():
            known = self._name(name)
            if known is None:
                hint = one_line(nearest(name[:100], self.space.names), 200)
                problems.append(f"unknown parameter {shown(name)}; {hint}")
            else:
                given[known] = value
        row, ok = np.zeros(len(self.space), np.int64), True
        chosen: dict[str, Any] = {}
        for j, (parameter, values) in enumerate(zip(self.space, self.values, strict=True)):
            if not all(n in chosen and chosen[n] in allowed for n, allowed in parameter.when.items()):
                continue
            index, problem = values.read(given.get(parameter.name), parameter.name in given)
            if problem:
                problems.append(problem)
            if index is None:
                ok = False
                break
            row[j] = index
            chosen[parameter.name] = parameter.value(index)
        return Proposal(self.space.canonical(row[None])[0] if ok else None, tuple(problems))

    def design(self, row: Indices) -> dict[str, Any]:
        """A design [P] in JSON's values, active parameters alone."""
        active = self.space.active(row[None])[0].tolist()
        columns = zip(self.space.names, self.values, row.tolist(), active, strict=True)
        return {name: values.form(index) for name, values, index, on in columns if on}


class Values:
    """The values of a parameter as JSON."""

    def __init__(self, parameter: Parameter):
        self.parameter = parameter
        self.name = one_line(repr(parameter.name), 100)

    def form(self, index: int) -> Any:
        """The JSON form of the value at an index."""
        value = self.parameter.value(index)
        return value if isinstance(self.parameter, (Integer, Real)) else self.forms[index]

    @cached_property
    def forms(self) -> list[Any]:
        """The form of every value; those that would be equal have their index before."""
        forms = [value if _is_json(value) else str(value) for value in self.parameter.plain]
        often = Counter(map(_key, forms))
        return [f"{i}: {form}" if often[_key(form)] > 1 else form for i, form in enumerate(forms)]

    @cached_property
    def _by_form(self) -> dict[Any, int]:
        keys: dict[Any, int] = {}
        for index, (value, form) in enumerate(zip(self.parameter.plain, self.forms, strict=True)):
            keys[_key(form)] = index
            keys.setdefault(_key(value), index)
        return keys

    @cached_property
    def _by_text(self) -> dict[str, int]:
        texts = [_as_text(form) for form in self.forms]
        often = Counter(texts)
        return {text: index for index, text in enumerate(texts) if often[text] == 1}

    def read(self, value: Any, is_given: bool) -> tuple[int | None, str]:
        """The index of a proposed value, or the nearest; what is wrong, "" where nothing is."""
        index = self._index(value) if is_given else None
        if index is not None:
            return index, ""
        expected = f"parameter {self.name}: expected {self.expected}"
        if value is None:
            default = self._default
            return default, f"{expected}, got nothing; default: {self._told(default)}"
        index = self._nearest(value)
        told = "" if index is None else f"; nearest: {self._told(index)}"
        return index, f"{expected}, got {shown(value)}{told}"

    @cached_property
    def _default(self) -> int:
        """The index of the default, or of the value nearest to one that is not on the grid."""
        default = self.parameter.default_value
        index = self._index(default)
        return index if index is not None else self._nearest(default) or 0

    def _told(self, index: int) -> str:
        return one_line(as_json(self.form(index)), 100)

    @cached_property
    def expected(self) -> str:
        """The values in words, in one line."""
        p = self.parameter
        if isinstance(p, Integer):
            return f"a whole number from {p.low} to {p.plain[-1]}" + (
                f" in steps of {p.step}" if p.step > 1 else ""
            )
        if isinstance(p, Real):
            return f"a number from {p.low!r} to {p.high!r}"
        shown_ = list(map(self._told, range(min(len(p), _FEW))))
        if len(p) > _FEW:
            shown_ = [*shown_[:-2], "...", self._told(len(p) - 1)]
        return one_line(("one of " if len(p) > 1 else "") + ", ".join(shown_), 600)

    def _index(self, value: Any) -> int | None:
        p = self.parameter
        if isinstance(p, (Integer, Real)):
            number = _number(value)
            return None if number is None else self._on_grid(number)
        key = _key(value)
        if key in self._by_form:
            return self._by_form[key]
        if isinstance(value, str):
            text = value.strip().casefold()
            read = scalar(value.strip())
            return self._by_text.get(text, None if isinstance(read, str) else self._index(read))
        if not isinstance(value, (bool, int, float)):
            return None
        number = _number(value)
        index = None if number is None else self._nearest_number(number)
        if index is not None and number is not None and _close(p.value(index), number):
            return index
        return self._by_text.get(_as_text(value))

    def _on_grid(self, number: float) -> int | None:
        p = self.parameter
        if not p.low <= number <= p.high:  # type: ignore[attr-defined]
            return None
        if isinstance(p, Real):
            return self._level(number)
        return p.plain.index(int(number)) if number in p.plain else None

    def _level(self, number: float) -> int:
        """The level nearest to a number, on the scale of the levels."""
        p = self.parameter
        scale = np.log if getattr(p, "log", False) else np.asarray
        return int(np.abs(scale(p.grid) - scale(number)).argmin())

    def _nearest(self, value: Any) -> int | None:
        """The index of the nearest value: of numbers by their difference, of texts by their letters."""
        p, number = self.parameter, _number(value)
        if isinstance(p, Real):
            return None if number is None else self._level(min(max(number, p.low), p.high))
        if isinstance(p, Integer):
            if number is None:
                return None
            inside = min(max(number, p.low), p.plain[-1])
            return min((round(inside) - p.low + p.step // 2) // p.step, len(p) - 1)
        index = None if number is None else self._nearest_number(number)
        if index is None and isinstance(value, str):
            near = get_close_matches(value[:100].strip().casefold(), list(self._by_text)[:1000], n=1)
            return self._by_text[near[0]] if near else None
        return index

    def _nearest_number(self, number: float) -> int | None:
        """The index of the number nearest to one, where all values are numbers."""
        numbers = self._numbers
        if numbers is None:
            return None
        finite = np.isfinite(numbers)
        if not finite.any():
            return None
        inside = min(max(number, float(numbers[finite].min())), float(numbers[finite].max()))
        return int(np.abs(np.where(finite, numbers, np.inf) - inside).argmin())

    @cached_property
    def _numbers(self) -> Any:
        plain = self.parameter.plain
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in plain):
            return None
        try:
            return np.array([float(v) for v in plain])
        except OverflowError:
            return None

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the values."""
        p = self.parameter
        if isinstance(p, Real):
            about = f"{len(p)} {'geometric ' if p.log else ''}levels; the nearest is taken"
            return {"type": "number", "minimum": p.low, "maximum": p.high, "description": about}
        if not isinstance(p, Integer):
            return {"enum": self.forms}
        found: dict[str, Any] = {"type": "integer", "minimum": p.low, "maximum": p.plain[-1]}
        if p.step > 1 and p.low % p.step == 0:
            found["multipleOf"] = p.step
        elif p.step > 1:
            if len(p) <= 64:
                return {"enum": list(p.plain)}
            found["description"] = f"{p.low} plus a multiple of {p.step}"
        return found


def schema_of(space: DesignSpace) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a space's designs: active parameters are required, inactive ones
    absent.
    """
    values = {parameter.name: Values(parameter) for parameter in space}
    found: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": {name: each.schema() for name, each in values.items()},
        "required": [parameter.name for parameter in space if not parameter.when],
        "additionalProperties": False,
    }
    rules = []
    for parameter in space:
        if parameter.when:
            opened = {name: {"enum": forms_of(space[name], v)} for name, v in parameter.when.items()}
            rules.append(
                {
                    "if": {"properties": opened, "required": list(opened)},
                    "then": {"required": [parameter.name]},
                    "else": {"properties": {parameter.name: False}},
                }
            )
    return found | ({"allOf": rules} if rules else {})


def forms_of(parameter: Parameter, chosen: Sequence[Any]) -> list[Any]:
    """The JSON forms of values of a parameter."""
    values = Values(parameter)
    return [values.form(int(index)) for index in parameter.index(list(chosen))]


def _plain_name(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _is_json(value: Any) -> bool:
    """Whether JSON has a value: text, None, bools and finite numbers."""
    return (
        value is None
        or isinstance(value, (bool, str, int))
        or (isinstance(value, float) and math.isfinite(value))
    )


def _key(value: Any) -> Any:
    """Equal for equal values; 1 and True differ, 1 and 1.0 do not, a list equals its tuple."""
    if isinstance(value, list):
        value = tuple(value)
    try:
        hash(value)
    except TypeError:
        return (None, repr(type(value)))
    return isinstance(value, bool), value


def _as_text(value: Any) -> str:
    """A form as people write it."""
    return (value if isinstance(value, str) else json.dumps(value)).strip().casefold()


def _number(value: Any) -> float | None:
    """A number, or text of one; None for anything else and for NaN."""
    if isinstance(value, str):
        value = scalar(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if value != value else value


def _close(value: Any, number: float) -> bool:
    try:
        return math.isclose(value, number, rel_tol=_CLOSE)
    except (OverflowError, TypeError):
        return bool(value == number)
