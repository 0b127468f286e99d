"""CSV as spreadsheets write it, and CSV without formulas.

Spreadsheets read a cell that begins with =, +, -, @, a tab or a line break as a formula, and formulas can
start programs and send data. Such a text, in a cell or as a column's name, gets an apostrophe in front;
numbers do not change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow

_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(inf|nan)$"


def delimiter_of(header: str) -> str:
    """The delimiter of a file with this first line: a tab or a semicolon if it has one and no comma, else
    a comma.
    """
    return next((each for each in "\t;" if each in header and "," not in header), ",")


def write_csv(tables: Iterable[pyarrow.Table], schema: pyarrow.Schema, file: BinaryIO) -> None:
    """Write tables of one schema as one CSV file, with a line of names.

    Args:
        tables: tables with the rows, in order.
        schema: schema of the tables; columns of lists and other nested types become JSON.
        file: file opened for writing.
    """
    import pyarrow.csv

    names = [inert(pyarrow.array(schema.names, pyarrow.string()))] if schema.names else []
    types = [field.type if _is_plain(field.type) else pyarrow.string() for field in schema]
    written = pyarrow.schema(list(zip(*(n.to_pylist() for n in names), types, strict=True)))
    with pyarrow.csv.CSVWriter(file, written) as writer:
        for table in tables:
            columns = [
                as_text(column) if type_ == pyarrow.string() else column
                for column, type_ in zip(table.columns, types, strict=True)
            ]
            columns = [
                inert(column) if type_ == pyarrow.string() else column
                for column, type_ in zip(columns, types, strict=True)
            ]
            writer.write_table(pyarrow.table(columns, schema=written))


def inert(column: Any) -> Any:
    """An Arrow column of texts, with an apostrophe before those that a spreadsheet would run."""
    import pyarrow.compute as pc

    runs = pc.and_not(pc.match_substring_regex(column, _FORMULA), pc.match_substring_regex(column, _NUMBER))
    return pc.if_else(runs, pc.binary_join_element_wise("'", column, ""), column)


def as_text(column: Any) -> Any:
    """An Arrow column as texts; nested types as JSON."""
    import pyarrow

    try:
        return column.cast(pyarrow.string())
    except pyarrow.ArrowException:
        return pyarrow.array(
            [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()],
            pyarrow.string(),
        )


def _is_plain(type_: pyarrow.DataType) -> bool:
    """Whether CSV has a native form of the type, which spreadsheets do not run."""
    from pyarrow import types

    return bool(types.is_primitive(type_) or types.is_boolean(type_) or types.is_null(type_))
