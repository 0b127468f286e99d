"""Designs between JSON and indices.

A value that JSON has stands for itself; others (tuples, enums) are written as `archgym.values.write` does,
and recognised by that text: nothing that a client sends is ever read as a class or a function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, nearest
from archgym.space import DesignSpace, Indices, Integer, Parameter, Real
from archgym.values import write
from archgym.words import shown

_ABSENT = -1


class Designs:
    """Designs of one space by value.

    Args:
        space: the design space.
    """

    def __init__(self, space: DesignSpace):
        self.space = space

    @cached_property
    def _columns(self) -> dict[str, tuple[int, dict[Any, int]]]:
        """Name -> place of a parameter, and the index of each of its values that was met so far."""
        return {p.name: (place, _indices(p)) for place, p in enumerate(self.space)}

    @cached_property
    def _scalars(self) -> dict[str, dict[type, dict[Any, int]]]:
        """Name -> type -> value -> index."""
        found: dict[str, dict[type, dict[Any, int]]] = {}
        for name, (_, indices) in self._columns.items():
            found[name] = {}
            for (kind, value), index in indices.items():
                if isinstance(kind, type):
                    found[name].setdefault(kind, {})[value] = index
        return found

    @cached_property
    def _absent(self) -> Indices:
        return np.array([p.inactive if p.when else _ABSENT for p in self.space], np.int64)

    def rows(self, designs: Any) -> Indices:
        """Designs as mappings of names and values -> canonical indices, int64 [B, P].

        Raises:
            ArchGymError: another form, an unknown or missing parameter, or a value that is not one of its
                parameter's.
        """
        if not isinstance(designs, Sequence) or isinstance(designs, str):
            raise ArchGymError(f"expected a list of designs, got {shown(designs)}")
        if (columns := self._by_column(designs)) is not None:
            return self.space.canonical(columns)
        rows = np.full((len(designs), len(self.space)), _ABSENT, np.int64)
        for row, design in zip(rows, designs, strict=True):
            if not isinstance(design, Mapping):
                raise ArchGymError(f"expected a design as an object of names and values, got {shown(design)}")
            for name, value in design.items():
                found = self._columns.get(name)
                if found is None:
                    known = nearest(name, self.space.names[:50])
                    raise ArchGymError(f"unknown parameter {shown(name)}; {known}")
                place, indices = found
                row[place] = self._index(place, indices, value)
        return self._complete(rows)

    def _by_column(self, designs: Sequence[Any]) -> Indices | None:
        """Designs that give all parameters, each by scalars of one type as they are listed, int64 [B, P];
        None for others, which are read one by one.
        """
        width = len(self.space)
        if not all(type(design) is dict and len(design) == width for design in designs):
            return None
        rows = np.empty((len(designs), width), np.int64)
        try:
            for place, (name, indices) in enumerate(self._scalars.items()):
                column = [design[name] for design in designs]
                [kind] = set(map(type, column))
                rows[:, place] = list(map(indices[kind].__getitem__, column))
        except (KeyError, ValueError):  # ValueError: values of two types
            return None
        return rows

    def _index(self, place: int, indices: dict[Any, int], value: Any) -> int:
        index = indices.get((type(value), value) if _is_scalar(value) else _text(value))
        return index_of(self.space.parameters[place], value) if index is None else index

    def _complete(self, rows: Indices) -> Indices:
        gaps = rows < 0
        if not gaps.any():
            return self.space.canonical(rows)
        missing = gaps & (self._absent < 0)
        filled = rows
        if not missing.any():
            filled = self.space.canonical(np.where(gaps, self._absent, rows))
            missing = gaps & self.space.active(filled)
        if missing.any():
            row, column = np.argwhere(missing)[0]
            raise ArchGymError(
                f"expected a value of parameter {self.space.names[column]!r} in design {row}, got none; "
                "only inactive parameters are left out"
            )
        return filled

    @staticmethod
    def value(value: Any) -> Any:
        """A value of a parameter as JSON."""
        return _plain(value)

    def design(self, row: Indices) -> dict[str, Any]:
        """One design [P] as JSON, active parameters alone."""
        return {name: _plain(value) for name, value in self.space.design(row).items()}

    def columns(self, rows: Indices) -> dict[str, list[Any]]:
        """Designs [B, P] as a list of JSON values for every parameter, None where it is inactive."""
        active = self.space.active(rows) if self.space.conditional else None
        found: dict[str, list[Any]] = {}
        for place, parameter in enumerate(self.space):
            values = parameter.take(rows[:, place]).tolist()
            if not _is_plain(parameter):
                values = [_plain(value) for value in values]
            if active is not None and parameter.when:
                values = [value if on else None for value, on in zip(values, active[:, place], strict=True)]
            found[parameter.name] = values
        return found


def described(space: DesignSpace) -> dict[str, Any]:
    """A space as JSON, enough to build an equal one."""
    return {
        "parameters": [_described(p) for p in space],
        "size": space.size,
        "nvec": space.nvec.tolist(),
    }


def _described(parameter: Parameter) -> dict[str, Any]:
    settings = parameter.to_json()
    kind, name = settings.pop("kind"), settings.pop("name")
    when = settings.pop("when", None)
    default = settings.pop("default", None)
    return {
        "name": name,
        "type": kind.lower(),
        **settings,
        "count": len(parameter),
        "default": default,
        "when": when,
    }


def index_of(parameter: Parameter, value: Any) -> int:
    """The index of a JSON value.

    Raises:
        ArchGymError: it is not one of the parameter's.
    """
    if value is None and parameter.when and None not in getattr(parameter, "values", ()):
        return _ABSENT
    numeric = isinstance(parameter, (Integer, Real))
    if numeric and type(value) in (int, float):
        return int(parameter.index([value])[0])
    if not numeric and type(value) is float and value.is_integer() and abs(value) < 2**53:
        return _listed(parameter, int(value))  # JSON does not tell 1.0 from 1
    return _listed(parameter, value)


def _listed(parameter: Parameter, value: Any) -> int:
    for index, known in () if isinstance(parameter, (Integer, Real)) else enumerate(parameter.plain):
        written = _plain(known)
        alike = isinstance(written, bool) == isinstance(value, bool)
        if alike and written == value:
            return index
    raise ArchGymError(
        f"{shown(value)} is not a value of parameter {parameter.name!r}: it takes {parameter.describe()}"
    )


def _indices(parameter: Parameter) -> dict[Any, int]:
    """The index of each value by its type and itself, or by the text of its JSON form."""
    if isinstance(parameter, (Integer, Real)) and len(parameter) > 4096:
        return {}
    keys = (_plain(value) for value in parameter.plain)
    return {(type(key), key) if _is_scalar(key) else _text(key): index for index, key in enumerate(keys)}


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (str, bool, int, float)


def _text(value: Any) -> tuple[str, str]:
    return "json", json.dumps(value, sort_keys=True)


def _is_plain(parameter: Parameter) -> bool:
    if isinstance(parameter, (Integer, Real)):
        return True
    return all(_is_scalar(value) for value in parameter.plain)


def _plain(value: Any) -> Any:
    """A value as JSON."""
    return value if _is_scalar(value) else write(value)
