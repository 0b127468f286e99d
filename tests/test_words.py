"""Text from elsewhere: nothing raw reaches a terminal, and nothing is longer than it may be."""

import math
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym import words
from archgym.errors import ArchGymError, reason_of
from archgym.simulators.accelerator.energy import TABLES, load_energy_table
from archgym.simulators.accelerator.workloads import load_workload
from archgym.simulators.nas.tables.imports import import_nas_bench_macro, import_nasbench201
from archgym.simulators.softmax.calibration import RECORDED, Calibration
from archgym.space import DesignSpace, Integer
from archgym.words import one_line, printable, shown


@given(st.text())
def test_printable_text_has_no_control_or_format_character(text):
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in printable(text))


def test_what_was_printable_stays_and_the_rest_is_seen():
    assert printable("é文, 5 µs") == "é文, 5 µs"
    assert printable("a\x1b[2J\u202eb\0") == r"a\x1b[2J\u202eb\x00"


def test_one_line_joins_white_space_and_marks_what_it_cuts():
    assert one_line("a\n\tb ") == "a b"
    assert one_line("x" * 10**6, 5) == "xxxxx... (1,000,000 characters)"


def test_a_value_in_an_error_is_short_whatever_it_is():
    endless = [1.0]
    for _ in range(40):
        endless = [endless] * 10
    assert [shown(value) for value in ("a\x1bb", None, 1.5, (1, "x"), {}, 10**400)] == [
        r"'a\x1bb'",
        "None",
        "1.5",
        "(1, 'x')",
        "<dict>",
        "<int>",
    ]
    assert shown(endless) == (
        "[[<list>, <list>, <list>, <list>, ...], [<list>, <list>, <li... (161 characters)"
    )
    assert len(shown("x" * 10**7)) < 100


def test_an_error_whose_text_raises_still_has_a_reason():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert reason_of(Mute()) == "Mute: (its message cannot be read)"
    assert reason_of(ValueError("a\x1b[2J\nb")) == r"ValueError: a\x1b[2J b"
    assert reason_of(ArchGymError("do this")) == "do this"
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"


def _space(path):
    return DesignSpace.from_json(Path(path).read_text(encoding="utf-8"))


READERS = [  # what reads a file, its name, its text
    (load_energy_table, "tech.toml", (TABLES / "45nm.toml").read_text()),
    (Calibration.load, "host.json", (RECORDED / "xeon-2mb-l2.json").read_text()),
    (_space, "space.json", DesignSpace([Integer("x", 0, 3)]).to_json()),
    (load_workload, "net.csv", "name,kind,m,n,k\nfc,gemm,1,10,20\n"),
    (import_nasbench201, "nb.csv", "cell,cifar10_valid,cifar10_test\n"),
    (import_nas_bench_macro, "macro.json", '{"00000000": 1}\n'),
]


@pytest.mark.parametrize(("read", "name", "text"), READERS, ids=[name for _, name, _ in READERS])
def test_a_byte_order_mark_and_crlf_change_nothing(read, name, text, tmp_path):
    def outcome(content: bytes) -> str:
        getattr(read, "cache_clear", lambda: None)()
        (tmp_path / name).write_bytes(content)
        try:
            return repr(read(str(tmp_path / name)))
        except ArchGymError as error:
            return f"refused: {error}"

    plain = outcome(text.encode())
    assert (
        outcome(b"\xef\xbb\xbf" + text.encode())
        == plain
        == outcome(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    )
    assert "BOM" not in plain and "lacks the columns cell" not in plain


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.percent(0.12345), "12.3 %"),
        (words.percent(0.1236, 2), "12.36 %"),
        (words.percent(math.nan), "-"),
        (words.significant(0.0012345, 3), "0.0012"),
        (words.significant(1234.5, 3), "1,234"),
        (words.significant(0.0, 3), "0"),
        (words.significant(math.nan, 3), "-"),
        (words.duration(12.345), "12.3 s"),
        (words.duration(125), "2 min 05 s"),
        (words.duration(7500), "2 h 05 min"),
        (words.plain(0.123456), "0.1235"),
        (words.plain("two_pass"), "two_pass"),
        (words.assignments({"rows": 1, "cols": 4096}), "rows=1, cols=4096"),
    ],
)
def test_numbers_and_values_as_people_read_them(shown, expected):
    assert shown == expected
