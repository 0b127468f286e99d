"""Output for the user: tables, facts, one-line errors; results on stdout, everything else on stderr.

Rich is imported when something is printed, so that importing archgym stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from archgym.cli.tables import Facts, Heading, Table
from archgym.errors import ArchGymError
from archgym.processes.exits import INTERRUPTED
from archgym.words import one_line

if TYPE_CHECKING:
    from rich.console import Console

_MAX_MESSAGE = 10_000  # characters
_TITLE = 13  # columns


class Unfinished(ArchGymError):
    """A command that ended early, after it has printed what it found."""


def stdout() -> Console:
    """The console for results."""
    from archgym.cli.terminal import Terminal

    return Terminal()


def stderr() -> Console:
    """The console for progress, warnings and errors."""
    from archgym.cli.terminal import Terminal

    return Terminal(stderr=True)


def say(kind: str, message: str, colour: str) -> None:
    """One line on stderr: "error: ..."."""
    text = f"{kind}: {one_line(message, _MAX_MESSAGE)}" if message else kind
    stderr().print(text, style=colour, soft_wrap=True)


def end_interrupted(message: str = "") -> NoReturn:
    """End a command after Ctrl-C with one line and its exit code."""
    say("interrupted", message, "yellow")
    raise typer.Exit(INTERRUPTED)


def new_table(*columns: str, expendable: Sequence[str] = (), elsewhere: str = "") -> Table:
    """A table with these headers; see `archgym.cli.tables.Table`."""
    return Table(*columns, expendable=expendable, elsewhere=elsewhere)


def fact_sheet(facts: Sequence[tuple[str, str]], styles: Sequence[str] = ()) -> Facts:
    """Names and texts, the texts wrapped in a column of their own; see `archgym.cli.tables.Facts`."""
    return Facts(facts, styles)


def heading(console: Console, title: str, remark: str) -> None:
    """A title, a remark beside it, and an empty line."""
    console.print(Heading(title, remark))


def print_to_copy(title: str, text: str) -> None:
    """A path or a command, on one line of stdout at any width, so that it can be copied."""
    stdout().print(f"{title:<{_TITLE}}{text}", soft_wrap=True)
