"""What the user reads: tables, facts, one-line errors; results on stdout, everything else on stderr.

Rich is imported when something is printed, so that importing archgym stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archgym.cli.tables import Facts, Heading, Table
from archgym.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_MESSAGE = 10_000  # characters of a message, at most


def stdout() -> Console:
    """Where results go."""
    from archgym.cli.terminal import Terminal

    return Terminal()


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from archgym.cli.terminal import Terminal

    return Terminal(stderr=True)


def say(kind: str, message: str, colour: str) -> None:
    """One line on stderr: "error: ..."."""
    text = f"{kind}: {one_line(message, _MESSAGE)}" if message else kind
    stderr().print(text, style=colour, soft_wrap=True)


def new_table(*columns: str, expendable: Sequence[str] = (), elsewhere: str = "") -> Table:
    """A table with these headers; see `archgym.cli.tables.Table`."""
    return Table(*columns, expendable=expendable, elsewhere=elsewhere)


def fact_sheet(facts: Sequence[tuple[str, str]], styles: Sequence[str] = ()) -> Facts:
    """Names and texts, the texts wrapped in a column of their own; see `archgym.cli.tables.Facts`."""
    return Facts(facts, styles)


def heading(console: Console, title: str, remark: str) -> None:
    """A title, a remark beside it, and an empty line."""
    console.print(Heading(title, remark))
