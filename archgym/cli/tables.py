"""Tables and lists of facts for a terminal of any width, in which a number is whole or absent.

A table is laid out in the first of these ways that fits: all columns, long texts wrapped between words; fewer
columns, with a line that names those left out; one fact per line. No word is broken, so no number is either:
a word that is wider than the terminal is printed whole on a line of its own, and the terminal wraps it. A
long path among facts is broken after a slash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

from archgym.words import REASON, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Line: TypeAlias = list[tuple[str, str]]
"""Texts side by side, each with its style."""

PROSE = 20  # characters: a longer text is wrapped, and has at least this width
_GAP, _WIDE_GAP = 2, 3  # characters between columns, the latter where there is room
_INDENT = 2  # of facts below their subject, and of continued lines


class Lines:
    """Lines of text for any width, printed by Rich."""

    def lines(self, width: int) -> Iterator[Line]:
        """Lines of at most `width` characters, longer words excepted."""
        raise NotImplementedError

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        plain = not options.encoding.startswith("utf")
        for line in self.lines(options.max_width):
            for text, style in line:
                yield Segment(
                    text.replace("─", "-") if plain else text, console.get_style(style) if style else None
                )
            yield Segment.line()


@dataclass
class _Column:
    header: str
    right: bool = False  # numbers, aligned to the right
    breakable: bool = False  # names that may be broken after a slash, a dot, a plus sign or a bar
    cells: list[str] = field(default_factory=list)

    @cached_property
    def widest(self) -> int:
        """Characters of the widest cell."""
        return max(map(_width, self.cells), default=0)

    @cached_property
    def natural(self) -> int:
        """Characters without a line break."""
        return max(_width(self.header), self.widest)

    @property
    def is_prose(self) -> bool:
        """Whether cells may be wrapped."""
        return not self.right and self.widest > PROSE

    @cached_property
    def least(self) -> int:
        """Least characters."""
        cells = max(PROSE, _longest(self.cells, self.breakable)) if self.is_prose else self.widest
        return max(_longest([self.header]), cells)


class Table(Lines):
    """Rows under headers.

    Args:
        columns: headers; ">" at the end of one is a column of numbers, aligned to the right; "/" one of names
            that may be broken after a slash, a dot, a plus sign or a bar. A column without a header belongs
            to the one before it.
        expendable: headers of columns that are left out first where there is no room, then those furthest to
            the right. A column of long texts is only left out if it is named here.
        elsewhere: another way to see the columns that are left out.
    """

    def __init__(self, *columns: str, expendable: Sequence[str] = (), elsewhere: str = ""):
        self._columns = [
            _Column(one_line(each.rstrip(">/")), each.endswith(">"), each.endswith("/")) for each in columns
        ]
        self._styles: list[str] = []
        self._expendable, self._elsewhere = expendable, elsewhere

    def add_row(self, *cells: str, style: str = "") -> None:
        """A row; cells that are not given are empty."""
        for column, cell in zip_longest(self._columns, cells, fillvalue=""):
            assert isinstance(column, _Column), "more cells than columns"
            column.cells.append(one_line(cell))
        self._styles.append(style)

    @cached_property
    def _groups(self) -> list[list[_Column]]:
        """Columns by the header that they share, those without any text excepted."""
        groups: list[list[_Column]] = []
        for i, column in enumerate(self._columns):
            if i and self._styles and not any(column.cells):
                continue
            if groups and not column.header:
                groups[-1].append(column)
            else:
                groups.append([column])
        return groups

    @property
    def natural(self) -> int:
        """Characters of all columns without a line break."""
        columns = [column for group in self._groups for column in group]
        return sum(column.natural for column in columns) + _WIDE_GAP * (len(columns) - 1)

    def lines(self, width: int) -> Iterator[Line]:
        kept, left_out = self._groups, []
        for going in [None, *self._going()]:
            if going is not None:
                if any(column.is_prose for column in going) and going[0].header not in self._expendable:
                    break
                kept = [group for group in kept if group is not going]
                left_out.append(going)
            if not any(map(_tells, kept[1:])) and any(map(_tells, self._groups[1:])):
                break
            columns = [column for group in kept for column in group]
            if widths := _widths(columns, width):
                yield from self._side_by_side(columns, *widths)
                if left_out:
                    names = "; ".join(group[0].header for group in self._groups if group in left_out)
                    others = f" or {self._elsewhere}" if self._elsewhere else ""
                    remark = f"Left out at {width} columns: {names} (shown by a wider terminal{others})."
                    yield from ([(line, "dim")] for line in wrapped(remark, width))
                return
        yield from self._one_fact_per_line(width)

    def _going(self) -> list[list[_Column]]:
        """Groups in the order in which they are left out; the first is kept."""
        first = [
            group for header in self._expendable for group in self._groups[1:] if group[0].header == header
        ]
        return first + [group for group in reversed(self._groups[1:]) if group not in first]

    def _side_by_side(self, columns: Sequence[_Column], widths: Sequence[int], gap: int) -> Iterator[Line]:
        headers = [wrapped(column.header, width) for column, width in zip(columns, widths, strict=True)]
        rows = [
            [
                wrapped(column.cells[i], width, column.breakable)
                for column, width in zip(columns, widths, strict=True)
            ]
            for i in range(len(self._styles))
        ]
        widths = [
            max((_width(line) for cells in (headers, *rows) for line in cells[j]), default=0)
            for j in range(len(columns))
        ]

        def joined(cells: Sequence[Sequence[str]]) -> Iterator[str]:
            for parts in zip_longest(*cells, fillvalue=""):
                padded = [
                    _padded(part, width, column.right)
                    for part, width, column in zip(parts, widths, columns, strict=True)
                ]
                yield (" " * gap).join(padded).rstrip()

        tallest = max(map(len, headers))
        yield from (
            [(line, "bold")]
            for line in joined([[""] * (tallest - len(header)) + header for header in headers])
        )
        yield [("─" * (sum(widths) + gap * (len(widths) - 1)), "")]
        for cells, style in zip(rows, self._styles, strict=True):
            yield from ([(line, style)] for line in joined(cells))

    def _one_fact_per_line(self, width: int) -> Iterator[Line]:
        """Each row as its first cell, and below it a line for each of the others."""
        (first, *beside), *others = self._groups
        title = wrapped(first.header, width)
        yield from ([(line, "bold")] for line in title)
        yield [("─" * min(width, max(map(_width, title), default=1)), "")]
        subject = ""
        for i, style in enumerate(self._styles):
            subject = first.cells[i] or subject
            facts = [(group[0].header, _joined(group, i)) for group in others if _joined(group, i)]
            name = " ".join(filter(None, (subject, *(column.cells[i] for column in beside))))
            if len(others) == 1 and facts:  # its header would only be repeated
                yield from _fact(name, facts[0][1], width, style or "bold", style)
            elif not others and beside:
                yield from _fact(
                    subject, " ".join(column.cells[i] for column in beside), width, style or "bold", style
                )
            else:
                yield from ([(line, style or ("bold" if facts else ""))] for line in wrapped(name, width))
                for header, text in facts:
                    yield from _fact(header, text, width, style, style, _INDENT)


class Facts(Lines):
    """Names and texts, the texts in a column of their own where there is room; a text has a line for each of
    its own.

    Args:
        styles: styles of the names.
    """

    def __init__(self, facts: Sequence[tuple[str, str]], styles: Sequence[str] = ()):
        self._facts = [
            (printable(name[:REASON]), [one_line(line) for line in text.split("\n")]) for name, text in facts
        ]
        self._styles = styles or ["bold"] * len(facts)

    def lines(self, width: int) -> Iterator[Line]:
        names = max((_width(name) for name, _ in self._facts), default=0)
        room = width - names - _WIDE_GAP
        texts = [line for _, lines in self._facts for line in lines]
        beside = room >= max(map(_width, texts), default=0) or room >= max(
            PROSE, min(_longest(texts), width // 2)
        )
        parts = [
            [part for line in lines for part in wrapped(line, room, paths=True)] for _, lines in self._facts
        ]
        column = min(room, max((_width(part) for each in parts for part in each), default=0))
        for (name, (first, *more)), style, (start, *rest) in zip(
            self._facts, self._styles, parts, strict=True
        ):
            if not first:
                yield [(name, style)]
            elif beside:
                yield [
                    (_padded(name, names, False), style),
                    (" " * _WIDE_GAP + _padded(start, column, False), ""),
                ]
                yield from ([(" " * (names + _WIDE_GAP) + _padded(part, column, False), "")] for part in rest)
            else:
                yield from (
                    _fact(name, first, width, style)
                    if name
                    else ([(line, "")] for line in wrapped(first, width, paths=True))
                )
                yield from (
                    [(" " * _INDENT + part, "")]
                    for line in more
                    for part in wrapped(line, width - _INDENT, paths=True)
                )


class Prose(Lines):
    """Text that is wrapped between words, each line at its own indentation; lines that fit stay as they
    are.
    """

    def __init__(self, text: str, style: str = ""):
        self._lines, self._style = [printable(line) for line in text.split("\n")], style

    def lines(self, width: int) -> Iterator[Line]:
        for line in self._lines:
            text = line.lstrip(" ")
            indent = line[: len(line) - len(text)] if len(line) - len(text) < width // 2 else ""
            yield from ([(indent + part, self._style)] for part in wrapped(text, width - len(indent)))


class Heading(Lines):
    """A title, a remark beside it or below, and an empty line."""

    def __init__(self, title: str, remark: str):
        self._title, self._remark = one_line(title), one_line(remark)

    def lines(self, width: int) -> Iterator[Line]:
        if _width(self._title) + _WIDE_GAP + _width(self._remark) <= width:
            yield [
                (self._title, "bold cyan"),
                (" " * _WIDE_GAP + self._remark if self._remark else "", "dim"),
            ]
        else:
            yield from Prose(self._title, "bold cyan").lines(width)
            yield from Prose(self._remark, "dim").lines(width)
        yield []


class Beside(Lines):
    """Two tables side by side where there is room, else one below the other."""

    def __init__(self, left: Table, right: Table, gap: int = 4):
        self._left, self._right, self._gap = left, right, gap

    def lines(self, width: int) -> Iterator[Line]:
        if (left := self._left.natural) + self._gap + self._right.natural > width:
            yield from self._left.lines(width)
            yield []
            yield from self._right.lines(width)
            return
        nothing: Line = []
        for one, other in zip_longest(self._left.lines(left), self._right.lines(width), fillvalue=nothing):
            blank = left + self._gap - sum(_width(text) for text, _ in one)
            yield [*one, *([(" " * blank, ""), *other] if other else [])]


def wrapped(text: str, width: int, breakable: bool = False, paths: bool = False) -> list[str]:
    """A text in lines of at most `width` characters, longer words excepted; at least one line.

    Args:
        breakable: also break after a slash, a dot, a plus sign or a bar; lines that go on are then indented.
        paths: break words that are wider than a line after slashes.
    """
    if _width(text) <= width:
        return [text]
    pieces = (_PIECES if breakable else _WORDS).findall(text)
    if paths:
        pieces = [
            part for piece in pieces for part in (_STEPS.findall(piece) if _width(piece) > width else [piece])
        ]
    lines, line, space = [], "", ""
    for piece in pieces:
        if piece.isspace():
            space = piece
        elif line.strip() and _width(line + space + piece) > width:
            lines.append(line)
            line, space = (" " * _INDENT if breakable else "") + piece, ""
        else:
            line, space = line + space + piece, ""
    return [*lines, line]


_WORDS = re.compile(r"\s+|\S+")
_PIECES = re.compile(r"\s+|[^\s/.+|]*[/.+|]+|[^\s/.+|]+")
_STEPS = re.compile(r"[^/]*/+|[^/]+")


def _fact(
    name: str, text: str, width: int, name_style: str = "bold", style: str = "", indent: int = 0
) -> Iterator[Line]:
    """ "name: text", the text on lines of its own where both do not fit on one and the name is long."""
    first, room, name = " " * indent, width - indent - _INDENT, f"{name}:"
    if _width(name) + 1 + _width(text) <= width - indent:
        rest = []
        yield [(first + name, name_style), (f" {text}", style)]
    elif 2 * _width(name) <= room:
        line, *rest = wrapped(f"{name} {text}", room, paths=True)
        yield [(first + name, name_style), (line[len(name) :], style)]
    else:
        rest = wrapped(text, room, paths=True)
        yield from ([(first + line, name_style)] for line in wrapped(name, width - indent))
    yield from ([(first + " " * _INDENT + line, style)] for line in rest)


def _tells(group: Sequence[_Column]) -> bool:
    """Whether it has numbers."""
    return any(column.right for column in group)


def _joined(group: Sequence[_Column], row: int) -> str:
    return " ".join(filter(None, (column.cells[row] for column in group)))


def _widths(columns: Sequence[_Column], width: int) -> tuple[list[int], int] | None:
    """A width for each column, and the gap between them; None where they do not fit."""
    for gap in (_WIDE_GAP, _GAP):
        if sum(column.natural for column in columns) + gap * (len(columns) - 1) <= width:
            return [column.natural for column in columns], gap
    prose = [j for j, column in enumerate(columns) if column.is_prose]
    for shortest in (False, True):  # whether headers of other columns are wrapped
        given = [column.least if shortest or column.is_prose else column.natural for column in columns]
        room = width - sum(given) - _GAP * (len(columns) - 1)
        if room >= 0:
            wanting = sorted(prose, key=lambda j: columns[j].natural - columns[j].least)
            for rank, j in enumerate(wanting):  # the least demanding first, so that the others share the rest
                more = min(columns[j].natural - columns[j].least, room // (len(wanting) - rank))
                given[j], room = given[j] + more, room - more
            return given, _GAP
    return None


def _longest(texts: Sequence[str], breakable: bool = False) -> int:
    """Characters of the longest word; where words may be broken, of the longest piece on a line that goes
    on.
    """
    if not breakable:
        return max((_width(word) for text in texts for word in text.split()), default=0)
    return max((_width(piece) + _INDENT for text in texts for piece in _PIECES.findall(text)), default=0)


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _width(text: str) -> int:
    """Width of a text on a terminal in columns: two for a Chinese character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
