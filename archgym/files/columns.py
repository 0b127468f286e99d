"""Columns of parameter values as Arrow arrays, which Parquet stores, and back.

    bools, text, integers or numbers, each with or without None   a column of that type, None as null; null
                                                                  where a parameter is inactive
    anything else: mixed types, tuples, enums, ...                text: a label for each value of the
                                                                  parameter

A label is `str(value)` if these differ, otherwise the value's JSON. The field's metadata "archgym.values"
hold a JSON list of pairs [label, value as in `archgym.values.write`], from which `read_columns` restores the
values; [] where null is a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.space import Array, DesignSpace, Indices, Integer, Parameter, Real
from archgym.values import read, write
from archgym.words import is_unicode

if TYPE_CHECKING:
    import pyarrow

VALUES = b"archgym.values"


def arrow_table(
    space: DesignSpace, columns: Mapping[str, Array], *, nan_is_null: bool = False
) -> pyarrow.Table:
    """A table of columns [B]; a column with the name of a parameter holds its values.

    Args:
        nan_is_null: whether NaN is written as null, which unlike NaN equals itself.
    """
    import pyarrow

    arrays, fields, active = [], [], _active(space, columns)
    for name, column in columns.items():
        if name in active and not active[name].all():
            column = _with_gaps(column, active[name])
        metadata = None
        if name in space.names and None in getattr(space[name], "values", ()):
            metadata = {VALUES: "[]"}  # null is a value here, and not a NaN
        if name not in space.names:
            array = pyarrow.array(
                column.tolist() if column.dtype.kind in "OU" else column, from_pandas=nan_is_null
            )
        elif (labels := _labels(space[name])) is None:
            array = pyarrow.array(column.tolist() if column.dtype.kind in "OU" else column)
        else:
            label = dict(zip(space[name].plain, labels, strict=True))
            array = pyarrow.array([label.get(value) for value in column.tolist()], pyarrow.string())
            pairs = [[text, write(value)] for value, text in label.items()]
            metadata = {VALUES: json.dumps(pairs)}
        arrays.append(array)
        fields.append(pyarrow.field(name, array.type, metadata=metadata))
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def read_columns(table: pyarrow.Table) -> dict[str, Array]:
    """The columns of a table that archgym wrote, with the values' types: one array each, of objects where
    types are mixed.
    """
    columns = {}
    for field in table.schema:
        pairs = (field.metadata or {}).get(VALUES)
        column = table[field.name]
        if pairs is None and (not column.null_count or column.type == "double"):
            columns[field.name] = column.to_numpy()
        else:
            values = column.to_pylist()
            if pairs not in (None, b"[]"):
                value = {label: read(written) for label, written in json.loads(pairs)}
                values = [value.get(label) for label in values]
            columns[field.name] = np.empty(len(values), object)
            columns[field.name][:] = values
    return columns


def read_designs(space: DesignSpace, table: pyarrow.Table) -> Indices:
    """The designs of a table's columns of parameter values: int64 [N, P].

    Raises:
        ArchGymError: a value that is not one of its parameter's.
    """
    columns: dict[str, Any] = {}
    for parameter in space:
        if parameter.when and parameter.name not in table.column_names:
            continue
        column = table[parameter.name]
        labels = _labels(parameter)
        if labels is not None:
            value = dict(zip(labels, parameter.plain, strict=True))
            columns[parameter.name] = [value.get(label, label) for label in column.to_pylist()]
        else:
            columns[parameter.name] = (
                column.to_numpy()
                if parameter.take(np.zeros(1, np.int64)).dtype.kind in "iuf"
                else column.to_pylist()
            )
    return space.encode(columns) if len(space) else np.zeros((table.num_rows, 0), np.int64)


def _active(space: DesignSpace, columns: Mapping[str, Array]) -> dict[str, Array]:
    """Where each parameter of a conditional space is active, if its designs are among the columns."""
    if not space.conditional or not columns.keys() >= set(space.names):
        return {}
    active = space.active(space.encode({name: columns[name] for name in space.names}))
    return dict(zip(space.names, active.T, strict=True))


def _with_gaps(column: Array, active: Array) -> Array:
    """A column [B] of objects, None where the parameter is inactive."""
    found = column.astype(object)
    found[~active] = None
    return found


def _labels(parameter: Parameter) -> list[str] | None:
    """A text for each value; None if Arrow has a type for the values."""
    if isinstance(parameter, (Integer, Real)) or parameter.grid.dtype.kind in "iufb":
        return None
    values = [value for value in parameter.plain if value is not None]
    kinds = {type(value) for value in values}
    if kinds in ({bool}, {float}) or (kinds == {int} and all(-(2**63) <= value < 2**63 for value in values)):
        return None
    if kinds == {str} and all(map(is_unicode, values)):
        return None
    texts = [str(value) for value in parameter.plain]
    distinct = len(set(texts)) == len(texts) and all(map(is_unicode, texts))
    return texts if distinct else [json.dumps(write(value)) for value in parameter.plain]
