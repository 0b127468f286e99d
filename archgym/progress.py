"""Progress: one protocol, `Progress`, which long functions call, and its one display on stderr,
`progress_bar`.

Rich is imported when a bar is drawn, so that importing archgym stays cheap.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from time import monotonic
from typing import TYPE_CHECKING

from archgym.words import duration, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[str, float], None]
"""A function of the work at hand, in words, and the share of all work that is done, 0 to 1."""

Look = Callable[[], tuple[str, float]]
"""Returns the two arguments of a `Progress`, cheaply and from any thread."""

_MIN_BAR, _MAX_BAR = 6, 40  # characters
_KEY = 3  # columns for the terminal's "^C", which would wrap the line and leave the bar behind
_DRAWN_EVERY_S = 0.125
_LINE_EVERY_S = 10.0  # where stderr is not a terminal
_SETTLED_S = 3.0  # age of a step from which on its pace tells how long the rest takes


def silent(what: str, share: float) -> None:
    """Progress that is not shown."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """The progress of a part of the work: its shares 0 to 1 stand for `start` to `end` of the whole."""
    return lambda what, share: progress(what, start + (end - start) * share)


def parts(progress: Progress, seconds: Sequence[float]) -> list[Progress]:
    """The progress of each of several steps that take about these times, or times in these ratios."""
    total = sum(seconds)
    return [
        part(progress, start / total, end / total)
        for start, end in pairwise(accumulate(seconds, initial=0.0))
    ]


@contextmanager
def progress_bar(
    look: Look | None = None, below: Callable[[int], Sequence[str]] = lambda rows: ()
) -> Iterator[Progress]:
    """A bar on stderr that names what is being done; where stderr is not a terminal, a line now and then.

    Yields a `Progress`. The bar is drawn when that is called, and by no thread of its own: nothing runs
    beside a measurement.

    Args:
        look: source of the progress of work that does not call one; a thread calls it and draws, so that the
            work is not slowed.
        below: lines below the bar, given the terminal's rows.
    """
    with _drawn(look, below) if sys.stderr.isatty() else _in_lines(look) as progress:
        yield progress


@contextmanager
def _in_lines(look: Look | None) -> Iterator[Progress]:
    pace, last, over = _Pace(), monotonic(), threading.Event()

    def line(what: str, share: float) -> None:
        nonlocal last
        left = pace.left(what, share)
        if monotonic() - last >= _LINE_EVERY_S:
            last = monotonic()
            print(
                ", ".join(filter(None, (one_line(what), f"{100 * share:.0f} % done", left))),
                file=sys.stderr,
                flush=True,
            )

    def follow(look: Look) -> None:
        while not over.wait(_LINE_EVERY_S):
            line(*look())

    if look is None:
        yield line
        return
    thread = threading.Thread(target=follow, args=(look,), daemon=True)
    thread.start()
    try:
        yield line
    finally:
        over.set()
        thread.join()


@contextmanager
def _drawn(look: Look | None, below: Callable[[int], Sequence[str]]) -> Iterator[Progress]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    forget_unusable_size()
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    pace, last, shown = _Pace(), 0.0, ""

    def picture(what: str, share: float, left: str) -> RenderableType:
        remarks = (f"{100 * share:3.0f} %", *what.split(", "), left)
        lines = [Text(one_line(each), no_wrap=True, overflow="ellipsis") for each in below(console.height)]
        return Group(progress_line(share, remarks, console.width - _KEY), *lines)

    def draw(what: str, share: float) -> None:
        nonlocal last, shown
        left = pace.left(what, share)
        if what != shown or monotonic() - last >= _DRAWN_EVERY_S:
            live.update(picture(what, share, left), refresh=True)
            last, shown = monotonic(), what

    def followed() -> RenderableType:
        assert look is not None
        what, share = look()
        return picture(what, share, pace.left(what, share))

    live = Live(
        console=console,
        transient=True,
        auto_refresh=look is not None,
        get_renderable=None if look is None else followed,
        refresh_per_second=1 / _DRAWN_EVERY_S,
    )
    with live:
        yield draw


def progress_line(share: float, remarks: Sequence[str], width: int) -> RenderableType:
    """A bar and the first remarks that fit whole beside it on one line."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table as Grid
    from rich.text import Text

    room, shown = width - _MIN_BAR, ""
    for remark in map(one_line, filter(None, remarks)):
        if len(shown) + 2 + len(remark) > room:
            break
        shown += f"  {remark}"
    grid = Grid.grid()
    grid.add_row(
        ProgressBar(total=1.0, completed=share, width=max(1, min(_MAX_BAR, width - len(shown)))),
        Text(shown, no_wrap=True),
    )
    return grid


class _Pace:
    """How long the rest takes if it goes on like the step at hand; earlier steps are poor evidence, since
    stored results take no time.
    """

    def __init__(self) -> None:
        self._step, self._since, self._from = "", monotonic(), 0.0

    def left(self, what: str, share: float) -> str:
        """ "40 s left", or "" while that is not known; a step whose numbers change is the same step."""
        now, step = monotonic(), re.sub(r"\S*\d\S*", "", what)
        if step != self._step:
            self._step, self._since, self._from = step, now, share
        if now - self._since < _SETTLED_S or share <= self._from:
            return ""
        return f"{duration(round((now - self._since) / (share - self._from) * (1 - share)))} left"


def forget_unusable_size() -> None:
    """Remove COLUMNS and LINES from the environment where they are not a size: 0, as under docker exec,
    would print nothing.
    """
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "1")
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0):
            del os.environ[name]
