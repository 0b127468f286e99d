"""Progress: one protocol, `Progress`, which long functions call, and its one display on stderr.

Rich is imported when a bar is drawn, so that importing archgym stays cheap.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from archgym.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of everything that is done: 0 to 1."""

_MIN_BAR, _MAX_BAR = 6, 40  # characters
_DRAWN_EVERY_S = 0.1
_LINE_EVERY_S = 10.0  # where stderr is no terminal
_SETTLED_S = 3.0  # of a step, before its pace says how long the rest takes


def silent(what: str, share: float) -> None:
    """Progress that nobody follows."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of the work: its shares 0 to 1 stand for `start` to `end` of the whole."""
    return lambda what, share: progress(what, start + (end - start) * share)


@contextmanager
def progress_bar() -> Iterator[Progress]:
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
    from rich.console import Console
    from rich.live import Live

    forget_unusable_size()
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
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

    room, shown = width - _MIN_BAR, ""
    for remark in map(one_line, filter(None, remarks)):
        if len(shown) + 2 + len(remark) > room:
            break
        shown += f"  {remark}"
    grid = Grid.grid()
    grid.add_row(ProgressBar(total=1.0, completed=share, width=max(1, min(_MAX_BAR, width - len(shown)))), Text(shown, no_wrap=True))
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


def forget_unusable_size() -> None:
    """Remove COLUMNS and LINES from the environment where they are not a size: 0, as under docker exec, would print nothing."""
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "1")
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0):
            del os.environ[name]
