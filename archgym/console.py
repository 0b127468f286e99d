"""What the user reads: tables, facts, one-line errors; results on stdout, everything else on stderr.

Rich is imported when something is printed, so that importing archgym stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archgym.errors import ArchGymError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(markup=False, highlight=False)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False)


def say(kind: str, message: str, colour: str) -> None:
    """One line on stderr: "error: ..."."""
    text = f"{kind}: {' '.join(message.split())}" if message else kind
    stderr().print(text, style=colour, soft_wrap=True)


def reason_of(error: BaseException) -> str:
    """An error in one line: our own messages as they are, others with their type."""
    message = " ".join(str(error).split())
    return message if isinstance(error, ArchGymError) and message else f"{type(error).__name__}: {message}"


def new_table(*columns: str) -> Table:
    """A table with these headers; ">" at the end of one aligns its column to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        name = column.removesuffix(">")
        unbroken = name != column or column == columns[0] or name in ("Designs", "Kind", "Default", "Agent")
        table.add_column(name, justify="right" if name != column else "left", no_wrap=unbroken, overflow="fold")
    return table


def without_empty_columns(table: Table) -> Table:
    """The table less columns that have no text in any row."""
    table.columns = [column for column in table.columns if any(str(cell) for cell in column.cells)]
    return table


def fact_sheet(facts: Sequence[tuple[str, str]]) -> Table:
    """Names and texts, the texts wrapped in a column of their own."""
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(name, text)
    return table


def heading(console: Console, title: str, remark: str) -> None:
    """A title, a remark beside it, and an empty line."""
    from rich.text import Text

    console.print(Text.assemble((title, "bold cyan"), ("   " + remark if remark else "", "dim")))
    console.print()


def number(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"
