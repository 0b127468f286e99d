"""A design space: an ordered set of parameters, with designs as rows of indices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.space.parameters import Array, Indices, Parameter
from archgym.text import shown


class DesignSpace:
    """An ordered set of finite parameters.

    Args:
        parameters: axes with distinct names; may be empty (a space of one design, as for an agent without
            hyperparameters).

    Raises:
        ArchGymError: two parameters of one name.

    Examples:
        >>> space = DesignSpace([Categorical("isa", ["scalar", "avx2"]), Ordinal("unroll", [1, 2, 4, 8])])
        >>> space.size, space.nvec.tolist()
        (8, [2, 4])
    """

    identity = "archgym.space:DesignSpace"

    def __init__(self, parameters: Sequence[Parameter]):
        self.parameters = tuple(parameters)
        self.names = tuple(p.name for p in self.parameters)
        for name in self.names:
            if self.names.count(name) > 1:
                raise ArchGymError(f"expected distinct names of parameters, got {name!r} twice")
        self.nvec: Indices = np.array([len(p) for p in self.parameters], np.int64)
        self.nvec.flags.writeable = False
        self.size: int = math.prod(len(p) for p in self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        if name not in self.names:
            raise unknown("parameter", name, self.names)
        return self.parameters[self.names.index(name)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DesignSpace) and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash(self.parameters)

    def __repr__(self) -> str:
        axes = ", ".join(f"{p.name}[{len(p)}]" for p in self.parameters)
        return f"DesignSpace({axes}; {self.size:,} designs)"

    def defaults(self) -> dict[str, Any]:
        """The default value of every parameter."""
        return {p.name: p.default_value for p in self.parameters}

    def sample(self, n: int, rng: np.random.Generator) -> Indices:
        """Uniform random designs: int64 [n, P]."""
        # floor(u * n_p) stays below n_p for every u < 1 in double precision, and is three times as fast as
        # rng.integers
        return (rng.random((n, len(self.parameters))) * self.nvec).astype(np.int64)

    def decode(self, indices: Indices) -> dict[str, Array]:
        """Indices [B, P] -> the column [B] of values of every parameter."""
        return {p.name: p.take(indices[:, j]) for j, p in enumerate(self.parameters)}

    def design(self, indices: Indices) -> dict[str, Any]:
        """One design [P] as plain Python values by parameter name."""
        return {
            name: values[i] for name, values, i in zip(self.names, self._plain, indices.tolist(), strict=True)
        }

    @cached_property
    def _plain(self) -> list[Sequence[Any]]:
        return [p.plain for p in self.parameters]

    def encode(self, designs: Mapping[str, Any]) -> Indices:
        """Columns of values (length B, or scalars for one design) -> indices [B, P].

        Raises:
            ArchGymError: a parameter that is missing or unknown, a value that is not on its grid, columns of
                different lengths.
        """
        for name in designs:
            if name not in self.names:
                raise unknown("parameter", name, self.names)
        for name in self.names:
            if name not in designs:
                raise ArchGymError(f"expected a column for every parameter, got none for {name!r}")
        columns = [p.index(designs[p.name]) for p in self.parameters]
        if len({len(column) for column in columns}) > 1:
            lengths = ", ".join(f"{p.name}: {len(c)}" for p, c in zip(self.parameters, columns, strict=True))
            raise ArchGymError(f"expected columns of one length, got {lengths}")
        return np.stack(columns, axis=1) if columns else np.zeros((1, 0), np.int64)

    def rows(self, designs: Any) -> Indices:
        """Designs as mappings of names and values, or indices [K, P] as they are -> int64 [K, P].

        Raises:
            ArchGymError: no designs, another form, or one that is not in the space.
        """
        if isinstance(designs, Sequence) and designs and isinstance(designs[0], Mapping):
            return np.concatenate([self.encode(design) for design in designs])
        given = np.asarray(designs)
        if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != len(self) or not len(given):
            raise ArchGymError(
                "expected designs as mappings of parameters and values, or as integer indices "
                f"[K, {len(self)}] with K >= 1, got {shown(designs)}"
            )
        if ((given < 0) | (given >= self.nvec)).any():
            row, column = np.argwhere((given < 0) | (given >= self.nvec))[0]
            parameter = self.parameters[column]
            raise ArchGymError(
                f"expected an index in 0..{len(parameter) - 1} for parameter {parameter.name!r}, got "
                f"{given[row, column]}"
            )
        return given.astype(np.int64)

    def enumerate(self, chunk: int = 65536) -> Iterator[Indices]:
        """Every design once, in the order of ordinals, in arrays of at most `chunk` rows: int64 [<= chunk,
        P].
        """
        for start in range(0, self.size, chunk):
            stop = min(start + chunk, self.size)
            ordinals = np.arange(start, stop) if self._fits_int64 else np.array(range(start, stop), object)
            yield self.from_ordinal(ordinals)

    @property
    def _fits_int64(self) -> bool:
        return self.size < 2**63

    @cached_property
    def _strides(self) -> Array:
        strides = [math.prod(len(p) for p in self.parameters[j + 1 :]) for j in range(len(self.parameters))]
        return np.array(strides, np.int64 if self._fits_int64 else object)

    def to_ordinal(self, indices: Indices) -> Array:
        """Indices [B, P] -> flat ordinals [B], int64 (Python integers where the space has 2^63 designs or
        more).
        """
        rows = indices if self._fits_int64 else indices.astype(object)
        ordinals: Array = rows @ self._strides
        return ordinals

    def from_ordinal(self, ordinals: Array) -> Indices:
        """Flat ordinals [B] -> indices [B, P]; the inverse of `to_ordinal`."""
        rest = np.asarray(ordinals)
        indices = np.empty((len(rest), len(self.parameters)), np.int64)
        for j in range(len(self.parameters) - 1, -1, -1):
            indices[:, j] = rest % len(self.parameters[j])
            rest = rest // len(self.parameters[j])
        return indices

    def neighbors(self, indices: Indices) -> Indices:
        """Every design one move away from one design: indices [P] -> int64 [K, P].

        A move takes an ordered parameter one step up or down, and a categorical one to any other value.
        """
        rows = []
        for j, parameter in enumerate(self.parameters):
            here = int(indices[j])
            others = (here - 1, here + 1) if parameter.ordered else range(len(parameter))
            for value in others:
                if 0 <= value < len(parameter) and value != here:
                    row = np.array(indices, np.int64)
                    row[j] = value
                    rows.append(row)
        return np.array(rows, np.int64).reshape(len(rows), len(self.parameters))

    @classmethod
    def join(cls, **spaces: DesignSpace) -> DesignSpace:
        """One space of several, for co-design: `join(cell=a, chip=b)` has the parameters `cell_...` then
        `chip_...`.
        """
        return cls([_renamed(p, f"{prefix}_{p.name}") for prefix, space in spaces.items() for p in space])

    @staticmethod
    def split(designs: Mapping[str, Array], prefix: str) -> dict[str, Array]:
        """The columns of one part of a joined space, without the prefix."""
        return {
            name.removeprefix(f"{prefix}_"): column
            for name, column in designs.items()
            if name.startswith(f"{prefix}_")
        }

    def to_json(self) -> str:
        """The space as JSON text; `from_json` gives an equal space back."""
        return json.dumps([p.to_json() for p in self.parameters])

    @classmethod
    def from_json(cls, text: str) -> DesignSpace:
        """The inverse of `to_json`."""
        return cls([Parameter.from_json(entry) for entry in json.loads(text.removeprefix("\ufeff"))])


def _renamed(parameter: Parameter, name: str) -> Parameter:
    return Parameter.from_json({**parameter.to_json(), "name": name})
