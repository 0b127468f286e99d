"""Numbers and values as people read them, and text from elsewhere made fit for a terminal, a file and a page.

Text from elsewhere is labels, failure reasons and the output of tools. Terminals act on its control
characters: ESC sequences set titles, clear screens and reach the clipboard; format characters such as U+202E
change the order in which a line is read. XML forbids most of them. `printable` writes each as an escape,
which is visible and has no effect.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

REASON = 1000  # characters that are kept of a failure's reason
_FORBIDDEN = "\ufffe\uffff"  # no characters, which XML refuses
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph separators


def printable(text: str) -> str:
    """The text with every control and format character as an escape (ESC is `\\x1b`, a right-to-left mark
    `\\u200f`).
    """
    if is_printable(text):
        return text
    return "".join(_escaped(c) if _is_unsafe(c) else c for c in text)


def is_printable(text: str) -> bool:
    """Whether the text has neither control nor format characters."""
    return (text.isascii() and text.isprintable()) or not any(map(_is_unsafe, text))


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE or character in _FORBIDDEN


def _escaped(character: str) -> str:
    return (
        character.encode("ascii", "backslashreplace").decode()
        if ord(character) > 0x7F
        else f"\\x{ord(character):02x}"
    )


def shown(value: object, limit: int = 60) -> str:
    """A value of any kind, however large or deep, as an error shows it: text in quotes, numbers, a list's
    first values; else its type.
    """
    return one_line(_sketch(value, 2), limit)


def _sketch(value: object, depth: int) -> str:
    if isinstance(value, str):
        return repr(value[:200])
    if (
        value is None
        or isinstance(value, (bool, float))
        or (isinstance(value, int) and value.bit_length() < 1000)
    ):
        return repr(value)
    if type(value) in (list, tuple) and depth:
        items = [_sketch(item, depth - 1) for item in value[:4]]  # type: ignore[index]
        begin, end = "[]" if type(value) is list else "()"
        return f"{begin}{', '.join(items)}{', ...' if len(value) > 4 else ''}{end}"  # type: ignore[arg-type]
    return f"<{type(value).__name__}>"


def one_line(text: str, limit: int = REASON) -> str:
    """The text in one printable line: white space joined to single spaces, cut with a mark after `limit`
    characters.
    """
    head = text[: 2 * limit + 100]  # a text of many megabytes is not worked through
    line = printable(" ".join(head.split()))
    if len(head) == len(text) and len(line) <= limit:
        return line
    return f"{line[:limit]}... ({len(text):,} characters)"


def number(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def plain(value: object) -> str:
    """A parameter's value or an argument's default: four significant digits of a float, anything else in
    full.
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def assignments(values: Mapping[str, object]) -> str:
    """ "rows=1, cols=4096"."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def significant(value: float, digits: int) -> str:
    """This many significant digits, but at most one decimal more, without an exponent; "-" for NaN."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, digits + 1)}f}"


def percent(share: float, places: int = 1) -> str:
    """A share of 1 as "12.3 %"; "-" for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.{places}f} %"


def duration(seconds: float) -> str:
    """ "12.3 s", "2 min 05 s", "3 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts; bars within them are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def is_unicode(text: str) -> bool:
    """Whether files can store a text: not with a surrogate, as in the name of a file that is not UTF-8."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
