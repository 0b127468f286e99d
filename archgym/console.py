"""What the user reads: tables, facts, one-line errors; results on stdout, everything else on stderr.

Rich is imported when something is printed, so that importing archgym stays cheap.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from archgym.tables import Facts, Heading, Table
from archgym.text import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_MESSAGE = 10_000  # characters of a message, at most
_LEAST_BAR, _MOST_BAR = 6, 40  # characters
_DRAWN_EVERY_S = 0.1
_LINE_EVERY_S = 10.0  # where stderr is no terminal
_SETTLED_S = 3.0  # of a step, before its pace says how long the rest takes

Tell = Callable[[str, float], None]  # what is being done, and the share of everything that is done: 0 to 1


def stdout() -> Console:
    """Where results go."""
    from archgym.terminal import Terminal

    return Terminal()


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from archgym.terminal import Terminal

    return Terminal(stderr=True)


def say(kind: str, message: str, colour: str) -> None:
    """One line on stderr: "error: ..."."""
    text = f"{kind}: {one_line(message, _MESSAGE)}" if message else kind
    stderr().print(text, style=colour, soft_wrap=True)


def new_table(*columns: str, expendable: Sequence[str] = (), elsewhere: str = "") -> Table:
    """A table with these headers; see `archgym.tables.Table`."""
    return Table(*columns, expendable=expendable, elsewhere=elsewhere)


def fact_sheet(facts: Sequence[tuple[str, str]], styles: Sequence[str] = ()) -> Facts:
    """Names and texts, the texts wrapped in a column of their own; see `archgym.tables.Facts`."""
    return Facts(facts, styles)


def heading(console: Console, title: str, remark: str) -> None:
    """A title, a remark beside it, and an empty line."""
    console.print(Heading(title, remark))


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
                print(f"{one_line(what)}, {100 * share:.0f} % done{left and ', ' + left}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.live import Live

    console = stderr()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        drawn, shown = 0.0, ""

        def tell(what: str, share: float) -> None:
            nonlocal drawn, shown
            left = pace.left(what, share)
            if what != shown or monotonic() - drawn >= _DRAWN_EVERY_S:
                live.update(progress_line(share, (f"{100 * share:3.0f} %", what, left), console.width), refresh=True)
                drawn, shown = monotonic(), what

        yield tell


def progress_line(share: float, remarks: Sequence[str], width: int) -> RenderableType:
    """A bar and, of the remarks, the first that stand whole beside it on one line."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table as Grid
    from rich.text import Text

    room, shown = width - _LEAST_BAR, ""
    for remark in map(one_line, filter(None, remarks)):
        if len(shown) + 2 + len(remark) > room:
            break
        shown += f"  {remark}"
    grid = Grid.grid()
    grid.add_row(ProgressBar(total=1.0, completed=share, width=max(1, min(_MOST_BAR, width - len(shown)))), Text(shown, no_wrap=True))
    return grid


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
