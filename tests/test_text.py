"""Text from elsewhere: nothing raw reaches a terminal, and nothing is longer than it may be."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError, reason_of
from archgym.text import one_line, printable, shown


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
    assert shown(endless) == "[[<list>, <list>, <list>, <list>, ...], [<list>, <list>, <li... (161 characters)"
    assert len(shown("x" * 10**7)) < 100


def test_an_error_whose_text_raises_still_has_a_reason():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert reason_of(Mute()) == "Mute: (its message cannot be read)"
    assert reason_of(ValueError("a\x1b[2J\nb")) == r"ValueError: a\x1b[2J b"
    assert reason_of(ArchGymError("do this")) == "do this"
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"
