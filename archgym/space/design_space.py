"""A design space: an ordered set of parameters, with designs as rows of indices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.space.orders import draw_each, integers, order_of
from archgym.space.parameters import Array, Indices, Parameter, all_true
from archgym.words import shown


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
        self.order = order_of(self.parameters)
        self.size: int = self.order.size

    def __getstate__(self) -> dict[str, Any]:
        """Without the order, which `__setstate__` makes again: pickles keep their form from before it."""
        return {name: value for name, value in vars(self).items() if name != "order"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self.order = order_of(self.parameters)

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

    def active_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of active parameters among those of all parameters, on their grids or not."""
        found: dict[str, Any] = {}
        for p in self.parameters:
            if all(name in found and found[name] in allowed for name, allowed in p.when.items()):
                found[p.name] = values[p.name]
        return found

    @cached_property
    def conditional(self) -> bool:
        """Whether some parameters are active only `when` others have given values."""
        return any(p.when for p in self.parameters)

    def active(self, indices: Indices) -> Array:
        """Which parameters of designs [B, P] are active: bool [B, P]."""
        return self.order.active(indices)

    def canonical(self, indices: Indices) -> Indices:
        """Designs [B, P] with every inactive parameter at its inactive index; equal rows are one design."""
        return self.order.canonical(indices)

    def sample(
        self, n: int, rng: np.random.Generator, *, per: Literal["design", "parameter"] = "design"
    ) -> Indices:
        """Random designs, as canonical rows: int64 [n, P].

        Args:
            n: number of designs.
            rng: source of randomness.
            per: "design", all distinct designs equally likely; or "parameter", all values of every active
                parameter equally likely. They differ in conditional spaces, where most designs may share the
                values that open most parameters.

        Raises:
            ArchGymError: another `per`.
        """
        if per == "design":
            return self.order.sample(n, rng)
        if per != "parameter":
            raise unknown("per of sample", per, ("design", "parameter"))
        return self.canonical(draw_each(n, self.nvec, rng))

    def masks(self, indices: Indices, p: int) -> Array:
        """The values of parameter number p that lead to distinct designs, after the first p indices of rows
        [B, >= p]: bool [B, n_p].

        All where it is active, its inactive index alone elsewhere.
        """
        rows = np.zeros((len(indices), len(self)), np.int64)
        rows[:, :p] = indices[:, :p]
        active = self.active(rows)[:, p]
        masks = np.repeat(active[:, None], len(self.parameters[p]), axis=1)
        if not all_true(active):
            masks[:, self.parameters[p].inactive] = True
        return masks

    def decode(self, indices: Indices) -> dict[str, Array]:
        """Indices [B, P] -> the column [B] of values of every parameter."""
        return {p.name: p.take(indices[:, j]) for j, p in enumerate(self.parameters)}

    def design(self, indices: Indices) -> dict[str, Any]:
        """One design [P] as plain Python values by parameter name, active parameters alone."""
        values = zip(self.names, self._plain, indices.tolist(), strict=True)
        if not self.conditional:
            return {name: plain[i] for name, plain, i in values}
        active = self.active(indices[None])[0].tolist()
        return {name: plain[i] for on, (name, plain, i) in zip(active, values, strict=True) if on}

    @cached_property
    def _plain(self) -> list[Sequence[Any]]:
        return [p.plain for p in self.parameters]

    def encode(self, designs: Mapping[str, Any]) -> Indices:
        """Columns of values (length B, or scalars for one design) -> canonical indices [B, P].

        Where a parameter is inactive its value may be None, or its column missing.

        Raises:
            ArchGymError: a parameter that is missing or unknown, a value that is not on its grid, columns of
                different lengths.
        """
        for name in designs:
            if name not in self.names:
                raise unknown("parameter", name, self.names)
        for p in self.parameters:
            if p.name not in designs and not p.when:
                raise ArchGymError(f"expected a column for every parameter, got none for {p.name!r}")
        columns = [_with_gaps(p, designs) if p.when else p.index(designs[p.name]) for p in self.parameters]
        lengths = {len(c) for p, c in zip(self.parameters, columns, strict=True) if p.name in designs}
        if len(lengths) > 1:
            lengths_of = ", ".join(
                f"{p.name}: {len(c)}" for p, c in zip(self.parameters, columns, strict=True)
            )
            raise ArchGymError(f"expected columns of one length, got {lengths_of}")
        if not columns:
            return np.zeros((1, 0), np.int64)
        rows = np.stack(np.broadcast_arrays(*columns), axis=1)
        return self._without_gaps(rows) if self.conditional else rows

    def _without_gaps(self, rows: Indices) -> Indices:
        """Canonical designs of rows with -1 where no value was given."""
        gaps = rows < 0
        filled = self.canonical(np.where(gaps, [p.inactive if p.when else 0 for p in self.parameters], rows))
        if (gaps & self.active(filled)).any():
            row, column = np.argwhere(gaps & self.active(filled))[0]
            raise ArchGymError(
                f"expected a value of parameter {self.names[column]!r}, which is active with "
                f"{self.design(filled[row])}, got none"
            )
        return filled

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
        return self.canonical(given.astype(np.int64))

    def enumerate(self, chunk: int = 65536) -> Iterator[Indices]:
        """Every design once, in the order of ordinals, in arrays of at most `chunk` rows: int64 [<= chunk,
        P].
        """
        for start in range(0, self.size, chunk):
            stop = min(start + chunk, self.size)
            yield self.from_ordinal(np.arange(start, stop, dtype=integers(self.size)))

    def to_ordinal(self, indices: Indices) -> Array:
        """Indices [B, P] -> flat ordinals [B], int64 (Python integers where the space has 2^63 designs or
        more).
        """
        return self.order.rank(indices)

    def from_ordinal(self, ordinals: Array) -> Indices:
        """Flat ordinals [B] -> indices [B, P]; the inverse of `to_ordinal`."""
        return self.order.unrank(ordinals)

    def neighbors(self, indices: Indices) -> Indices:
        """Every design one move away from one design: indices [P] -> int64 [K, P].

        A move takes an ordered parameter one step up or down, and a categorical one to any other value.
        Inactive parameters stay; those that a move opens stand at their defaults.
        """
        here = self.canonical(np.array(indices, np.int64)[None])[0]
        rows = []
        for j in np.flatnonzero(self.active(here[None])[0]):
            parameter, index = self.parameters[j], int(here[j])
            others = (index - 1, index + 1) if parameter.ordered else range(len(parameter))
            for value in others:
                if 0 <= value < len(parameter) and value != index:
                    row = here.copy()
                    row[j] = value
                    rows.append(row)
        return self.canonical(np.array(rows, np.int64).reshape(len(rows), len(self.parameters)))

    @classmethod
    def join(cls, **spaces: DesignSpace) -> DesignSpace:
        """One space of several, for co-design: `join(cell=a, chip=b)` has the parameters `cell_...` then
        `chip_...`.
        """
        return cls([_prefixed(p, f"{prefix}_") for prefix, space in spaces.items() for p in space])

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


def _prefixed(parameter: Parameter, prefix: str) -> Parameter:
    when = {f"{prefix}{name}": values for name, values in parameter.when.items()}
    return replace(parameter, name=f"{prefix}{parameter.name}", when=when)


def _with_gaps(parameter: Parameter, designs: Mapping[str, Any]) -> Indices:
    """The indices of a conditional parameter's column [B], or of one value, -1 where it has none."""
    if parameter.name not in designs:
        return np.array([-1])
    values = parameter.listed(designs[parameter.name])
    gaps = np.array([(v is None and None not in parameter.plain) or v != v for v in values], bool)
    given = [value for value, gap in zip(values, gaps, strict=True) if not gap]
    indices = np.full(len(values), -1, np.int64)
    if given:
        indices[~gaps] = parameter.index(given)
    return indices
