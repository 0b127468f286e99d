"""What the user reads: tables, facts, one-line errors; results on stdout, everything else on stderr.

Rich is imported when something is printed, so that importing archgym stays cheap.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_DRAWN_EVERY_S = 0.1
_LINE_EVERY_S = 10.0  # where stderr is no terminal
_SETTLED_S = 3.0  # of a step, before its pace says how long the rest takes

Tell = Callable[[str, float], None]  # what is being done, and the share of everything that is done: 0 to 1


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


@contextmanager
def progress_bar() -> Iterator[Tell]:
    """A bar on stderr that names what is being done; where stderr is no terminal, a line now and then.

    Yields a function tell(what, share of everything done). The bar is drawn when that is called, and by no thread of its own: nothing
    runs beside what is being measured.
    """
    pace = _Pace()
    if not sys.stderr.isatty():
        last = monotonic()

        def line(what: str, share: float) -> None:
            nonlocal last
            left = pace.left(what, share)
            if monotonic() - last >= _LINE_EVERY_S:
                last = monotonic()
                print(f"{what}, {100 * share:.0f} % done{left and ', ' + left}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = stderr()
    unbroken = Column(no_wrap=True)
    columns = [
        BarColumn(bar_width=max(10, min(40, console.width - 50))),
        TextColumn("{task.percentage:>3.0f} %", table_column=unbroken),
        TextColumn("{task.description}", table_column=unbroken),
        TextColumn("{task.fields[left]}", style="dim", table_column=unbroken),
    ]
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")
        drawn, shown = 0.0, ""

        def tell(what: str, share: float) -> None:
            nonlocal drawn, shown
            bar.update(task, description=what, completed=share, left=pace.left(what, share))
            if what != shown or monotonic() - drawn >= _DRAWN_EVERY_S:
                bar.refresh()
                drawn, shown = monotonic(), what

        yield tell


class _Pace:
    """How long the rest takes if it goes on like the step at hand; earlier steps say little, since what is kept takes no time."""

    def __init__(self) -> None:
        self._what, self._since, self._from = "", monotonic(), 0.0

    def left(self, what: str, share: float) -> str:
        """ "40 s left", or "" while that is not known."""
        now = monotonic()
        if what != self._what:
            self._what, self._since, self._from = what, now, share
        if now - self._since < _SETTLED_S or share <= self._from:
            return ""
        seconds = round((now - self._since) / (share - self._from) * (1 - share))
        return f"{seconds} s left" if seconds < 120 else f"{round(seconds / 60)} min left"
