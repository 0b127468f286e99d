"""What simulators may answer: wrong types are failures of their rows with a reason, and never taken for
numbers.
"""

from __future__ import annotations

import datetime
import pathlib
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from archgym import DesignSpace, Integer, Metric, Simulator
from archgym.simulator import evaluate_safely
from archgym.testing import check_simulator

ROWS = 16
GUILTY = (3, 11)


class Answering(Simulator):
    """Answers with `columns(a)`, a function of the column `a` = 0, 1, ..., in place of what is right."""

    space = DesignSpace([Integer("a", 0, ROWS - 1)])
    metrics = (Metric("time_s", "s"), Metric("area_mm2", "mm2"))

    def __init__(self, columns):
        self.columns = columns

    @property
    def specification(self):
        return {"simulator": "Answering"}

    def evaluate(self, designs, rng=None):
        a = designs["a"]
        return {"time_s": a + 1.0, "area_mm2": 2.0 * a, "feasible": np.ones(len(a), bool), **self.columns(a)}


def outcome_of(columns):
    return evaluate_safely(Answering(columns), np.arange(ROWS)[:, None])


def guilty(name, value, right):
    """A list with `right(a)` in every row but for the guilty ones, which have `value`."""
    return lambda a: {name: [value if int(x) in GUILTY else right(float(x)) for x in a]}


def whole(dtype):
    """A column that is wrong as a whole."""
    return lambda a: {"time_s": a.astype(dtype)}


def raising(error):
    def columns(a):
        if set(GUILTY) & set(a.tolist()):
            raise error
        return {}

    return columns


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1 + 2j, "the simulator returned 'time_s' as complex128; expected real numbers"),
        (1 + 0j, "the simulator returned 'time_s' as complex128; expected real numbers"),
        ("1.5", "the simulator returned 'time_s' as str_; expected real numbers"),
        (b"1.5", "the simulator returned 'time_s' as bytes_; expected real numbers"),
        (np.datetime64("2024-01-01"), "the simulator returned 'time_s' as datetime64; expected real numbers"),
        (np.timedelta64(5, "s"), "the simulator returned 'time_s' as timedelta64; expected real numbers"),
        (
            datetime.datetime(2024, 1, 1),
            "the simulator returned 'time_s' with a value of type datetime; expected a real number",
        ),
        (
            datetime.timedelta(1),
            "the simulator returned 'time_s' with a value of type timedelta; expected a real number",
        ),
        (
            pathlib.PurePosixPath("x"),
            "the simulator returned 'time_s' with a value of type PurePosixPath; expected a real number",
        ),
        (10**400, "OverflowError: int too large to convert to float"),
        ([1.0], "the simulator returned 'time_s' with shape (1, 1); expected (1,)"),
        (None, "not finite: time_s"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_row_whose_metric_is_no_real_number_fails_alone_with_the_reason(value, reason):
    columns = guilty("time_s", value, lambda x: x + 1)
    outcome = outcome_of(columns)
    assert outcome.failures == dict.fromkeys(GUILTY, reason)
    assert (
        np.flatnonzero(~outcome.feasible).tolist() == list(GUILTY)
        and np.isnan(outcome.values[~outcome.feasible]).all()
    )
    assert (outcome.values[outcome.feasible, 0] - 1).tolist() == [x for x in range(ROWS) if x not in GUILTY]
    with pytest.raises(AssertionError, match=r"time_s|Answering raised"):
        check_simulator(Answering(columns))


@pytest.mark.parametrize("dtype", ["c8", "c16", "m8[s]", "M8[s]", "U9", "S9"])
def test_a_column_that_is_wrong_as_a_whole_fails_in_every_row(dtype):
    outcome = outcome_of(whole(dtype))
    assert (
        not outcome.feasible.any()
        and len(outcome.failures) == ROWS
        and "expected real numbers" in outcome.failures[0]
    )
    with pytest.raises(AssertionError, match=r"'time_s' as .*; return real numbers"):
        check_simulator(Answering(whole(dtype)))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.nan, "nan"),
        (2, "2"),
        (-1.0, "-1.0"),
        (0.5, "0.5"),
        ("False", "str"),
        ("", "str"),
        (1j, "complex"),
        (None, "NoneType"),
    ],
)
@pytest.mark.parametrize("name", ["feasible", "cached"])
def test_a_row_whose_flag_is_neither_true_nor_false_fails_alone_with_the_reason(name, value, shown):
    columns = guilty(name, value, lambda x: True)
    outcome = outcome_of(columns)
    assert sorted(outcome.failures) == np.flatnonzero(~outcome.feasible).tolist() == list(GUILTY)
    assert all(
        r.startswith(f"the simulator returned {name!r} with {shown}")
        and r.endswith("; expected True or False")
        for r in outcome.failures.values()
    )
    with pytest.raises(AssertionError, match=f"{name!r} as .*; return bool"):
        check_simulator(Answering(columns))


def test_masked_values_are_no_values():
    masked = np.isin(np.arange(ROWS), GUILTY)

    def metric(a):
        return {"time_s": np.ma.array(a + 1, mask=masked[a])}

    assert outcome_of(metric).failures == dict.fromkeys(GUILTY, "not finite: time_s")
    # where it is infeasible nothing is missing
    assert outcome_of(lambda a: {**metric(a), "feasible": ~masked[a]}).failures == {}

    def flag(a):
        return {"feasible": np.ma.array(a >= 0, mask=masked[a])}

    assert outcome_of(flag).failures == dict.fromkeys(
        GUILTY, "the simulator returned 'feasible' with NoneType; expected True or False"
    )
    assert (
        outcome_of(lambda a: {"time_s": np.ma.array(a + 1.0), "feasible": np.ma.array(a >= 0)}).failures == {}
    )
    for columns in (metric, flag):
        with pytest.raises(AssertionError, match="with masked values"):
            check_simulator(Answering(columns))


@pytest.mark.parametrize(
    "columns",
    [
        lambda a: {
            "time_s": [1, 2.5, True, Fraction(1, 2), Decimal("0.5"), np.float32(1), np.int8(3)][: len(a)]
            + [1] * (len(a) - 7)
        },
        lambda a: {"time_s": a > 3, "area_mm2": a > 5},  # counts as 1 and 0
        lambda a: {"time_s": np.array([int(x) + 2**70 for x in a], object)},
        lambda a: {"time_s": a.astype(np.float16), "area_mm2": a.astype(np.uint8)},
        lambda a: {"feasible": np.ones(len(a), np.int64), "cached": np.zeros(len(a))},
        lambda a: {"feasible": [1] * len(a), "cached": [np.False_] * len(a)},
        lambda a: {"feasible": np.array([True] * len(a), object)},
        lambda a: {"failure": [None] * len(a)},
        lambda a: {"failure": np.full(len(a), np.nan)},
        lambda a: {"failure": np.full(len(a), "")},
        lambda a: {"failure": [" \n"] * len(a)},
    ],
)
def test_numbers_and_flags_in_any_dress_are_accepted(columns):
    outcome = outcome_of(columns)
    assert (
        outcome.feasible.all()
        and not outcome.failures
        and outcome.values.dtype == float
        and np.isfinite(outcome.values).all()
    )


def test_columns_of_pandas_are_accepted():
    pandas = pytest.importorskip("pandas")

    def series(a):
        return {
            "time_s": pandas.Series(a + 1),
            "feasible": pandas.Series(a >= 0),
            "area_mm2": pandas.Series(a, dtype="Int64"),
        }

    outcome = outcome_of(
        lambda a: {
            **series(a),
            "failure": pandas.Series(["slow" if x in GUILTY else None for x in a.tolist()]),
        }
    )
    assert outcome.failures == dict.fromkeys(GUILTY, "slow") and outcome.feasible.sum() == ROWS - 2


def test_missing_reasons_of_pandas_are_none():
    reasons = pytest.importorskip("pandas").array(["slow", None] * (ROWS // 2), dtype="string")
    assert outcome_of(lambda a: {"failure": reasons[: len(a)]}).failures == {
        row: "slow" for row in range(0, ROWS, 2)
    }


def test_a_column_that_numpy_cannot_read_says_so():
    torch = pytest.importorskip("torch")
    failures = outcome_of(lambda a: {"time_s": torch.ones(len(a), dtype=torch.bfloat16)}).failures
    assert (
        len(failures) == ROWS and "'time_s' as a Tensor, which NumPy cannot turn into an array" in failures[0]
    )


@pytest.mark.parametrize("name", ["failure", "cached", "feasible", "time_s"])
def test_a_column_of_another_length_fails_where_it_is_so(name):
    right = {"failure": "", "cached": False, "feasible": True, "time_s": 1.0}[name]

    def columns(a):
        return {name: [right for x in a.tolist() if x not in GUILTY]}

    outcome = outcome_of(columns)
    assert outcome.failures == dict.fromkeys(
        GUILTY, f"the simulator returned {name!r} with shape (0,); expected (1,)"
    )
    with pytest.raises(AssertionError, match=rf"{name!r} with shape"):
        check_simulator(Answering(columns))


@pytest.mark.parametrize(
    "reasons",
    ["text", {3: "slow"}, {"slow"}, 5, np.full((ROWS, 1), "slow"), [np.arange(2)] * ROWS],
    ids=lambda reasons: type(reasons).__name__,
)
def test_reasons_that_are_no_column_are_refused(reasons):
    outcome = outcome_of(lambda a: {"failure": reasons})
    assert (
        len(outcome.failures) == ROWS
        and "'failure'" in outcome.failures[0]
        and "expected" in outcome.failures[0]
    )


@pytest.mark.parametrize(
    "answer", [None, 5, "text", [1.0], np.zeros(2, [("time_s", "f8"), ("feasible", "?")])]
)
def test_an_answer_without_columns_says_what_is_expected(answer):
    class Odd(Answering):
        def evaluate_indices(self, indices, rng=None):
            return answer

    failures = evaluate_safely(Odd(None), np.zeros((2, 1), int)).failures
    assert set(failures.values()) == {
        f"the simulator returned {type(answer).__name__}; expected a dict of columns"
    }


def test_an_exception_without_words_is_a_failed_row():
    outcome = outcome_of(raising(Unspeakable()))
    assert outcome.failures == dict.fromkeys(GUILTY, "Unspeakable: (its message cannot be read)")
    with pytest.raises(AssertionError, match="raised Unspeakable"):
        check_simulator(Answering(raising(Unspeakable())))


def test_reasons_are_one_printable_line_of_a_thousand_characters():
    told = "a\x1b[2J\nb" + "x" * 100_000
    for columns in (
        raising(ValueError(told)),
        guilty("failure", told, lambda x: ""),
        guilty("failure", ValueError(told), lambda x: ""),
    ):
        failures = outcome_of(columns).failures
        assert sorted(failures) == list(GUILTY)
        for reason in failures.values():
            assert r"a\x1b[2J bxxx" in reason and len(reason) < 1100 and reason.isprintable()


def test_long_messages_of_a_whole_batch_take_little_memory():
    def columns(a):
        raise ValueError("x" * 100_000)

    rows = np.zeros((4096, 1), int)
    tracemalloc.start()
    outcome = evaluate_safely(Answering(columns), rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(outcome.failures) == 4096 and peak < 20e6
