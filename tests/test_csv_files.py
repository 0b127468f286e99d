"""No cell of a CSV file of ours is a formula for a spreadsheet, and none is lost."""

from __future__ import annotations

import csv
import io

import polars
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.files.csv import write_csv


def written(table: pyarrow.Table) -> list[list[str]]:
    buffer = io.BytesIO()
    write_csv([table], table.schema, buffer)
    return list(csv.reader(io.StringIO(buffer.getvalue().decode(), newline="")))


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", "＝1", "=1.5", "--1"]
)
def test_a_formula_gets_an_apostrophe_in_cells_and_in_names(text):
    assert written(pyarrow.table({text: [text]})) == [[f"'{text}"], [f"'{text}"]]


@pytest.mark.parametrize(
    "text", ["-1.5", "+1", "-1e-3", "-.5", "a=b", "", " =1", "1-1", "-inf", "'=1", "x@y"]
)
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert written(pyarrow.table({"x": [text, None]}))[1] == [text]


def test_numbers_are_written_as_numbers():
    table = pyarrow.table({"a": [-1.5, float("-inf"), None], "b": [-1, 2, None], "c": [True, None, False]})
    assert written(table) == [["a", "b", "c"], ["-1.5", "-1", "true"], ["-inf", "2", ""], ["", "", "false"]]


def test_other_types_are_texts():
    table = pyarrow.table(
        {"l": [[1, 2], None], "d": pyarrow.array(["=a", "b"]).dictionary_encode(), "n": pyarrow.nulls(2)}
    )
    assert written(table) == [["l", "d", "n"], ["[1, 2]", "'=a", ""], ["", "b", ""]]
    frame = polars.DataFrame({"t": ["=1", "é"], "x": [0.1, None]})
    assert written(frame.to_arrow()) == [["t", "x"], ["'=1", "0.1"], ["é", ""]]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_every_text_is_kept_but_for_the_apostrophe(texts):
    rows = written(pyarrow.table({"x": texts}))[1:]
    for text, (cell,) in zip(texts, rows, strict=True):
        assert cell in (text, f"'{text}")
        assert cell[0] not in "=+-@\t\r" or cell.lstrip("+-")[0] in "0123456789.iInN"
