"""Text from elsewhere (labels, failure reasons, output of tools) made fit for a terminal, a file and a page.

Terminals act on control characters: ESC sequences set titles, clear screens and reach the clipboard; format characters such as U+202E
change the order in which a line is read. XML forbids most of them. `printable` writes each as an escape, which is seen and does nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

REASON = 1000  # characters that are kept of a failure's reason
_FORBIDDEN = "\ufffe\uffff"  # no characters, which XML refuses
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph separators


def printable(text: str) -> str:
    """The text with every control and format character as an escape (ESC is `\\x1b`, a right-to-left mark `\\u200f`)."""
    if is_printable(text):
        return text
    return "".join(_escaped(c) if _is_unsafe(c) else c for c in text)


def is_printable(text: str) -> bool:
    """Whether the text has neither control nor format characters."""
    return (text.isascii() and text.isprintable()) or not any(map(_is_unsafe, text))


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE or character in _FORBIDDEN


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 0x7F else f"\\x{ord(character):02x}"


def shown(value: object, limit: int = 60) -> str:
    """A value of any kind, however large or deep, as an error shows it: text in quotes, numbers, a list's first values; else its type."""
    return one_line(_sketch(value, 2), limit)


def _sketch(value: object, depth: int) -> str:
    if isinstance(value, str):
        return repr(value[:200])
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and value.bit_length() < 1000):
        return repr(value)
    if type(value) in (list, tuple) and depth:
        items = [_sketch(item, depth - 1) for item in value[:4]]  # type: ignore[index]
        begin, end = "[]" if type(value) is list else "()"
        return f"{begin}{', '.join(items)}{', ...' if len(value) > 4 else ''}{end}"  # type: ignore[arg-type]
    return f"<{type(value).__name__}>"


def one_line(text: str, limit: int = REASON) -> str:
    """The text in one printable line: white space joined to single spaces, and what is longer than `limit` characters cut with a mark."""
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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts; bars within them are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def is_unicode(text: str) -> bool:
    """Whether files can store a text: not with a surrogate, as in the name of a file that is not UTF-8."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
