"""`archgym study watch`: a live table of a study, from outside its runner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archgym.cli.screen import end_interrupted, fact_sheet, new_table, stdout
from archgym.cli.tables import Heading, Lines, Table
from archgym.progress import progress_line
from archgym.words import duration, number

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from archgym.study.watch import Look, StudyWatch

_REASONS = 3  # that are shown
_REASON = 200  # characters
_LEAST_WIDTH = 20
_LEAST_ROWS = 9  # of the table, with its remark on columns


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
    interval: Annotated[
        float, typer.Option(min=0.2, max=3600.0, metavar="SECONDS", help="Time between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
) -> None:
    """Show how far a study is, from any machine that sees its folder: runs, rates, best rewards, failures,
    time left.

    Nothing is written or locked. It ends when every run is stored (exit code 0), or by Ctrl-C (130).

    archgym study watch results/mine
    """
    from archgym.study.watch import StudyWatch

    watched, console = StudyWatch(folder), stdout()
    if once:
        while watched.find_optimum():
            pass
        look = watched.look()
        while watched.find_optimum():  # of tasks that only the runs name
            look = watched.look()
        _print(console, look)
        return
    try:
        look = (_follow_on_screen if console.is_terminal else _follow_in_lines)(watched, console, interval)
    except KeyboardInterrupt:
        end_interrupted("the watch has ended; the study goes on")
    while watched.find_optimum():
        look = watched.look()
    _print(console, look)


def _follow_on_screen(watched: StudyWatch, console: Console, interval: float) -> Look:
    """Redraw the table until the study is finished, or print the last one after Ctrl-C."""
    from rich.live import Live

    look: Look | None = None
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while look is None or not look.finished:
                start = time.monotonic()
                look = watched.look(limit_s=interval)
                live.update(Screen(look), refresh=True)
                if look.unread == 0:
                    while time.monotonic() - start < interval and watched.find_optimum():
                        pass
                    time.sleep(max(interval - (time.monotonic() - start), 0.0))
    except KeyboardInterrupt:
        if look is not None:
            _print(console, look)
        raise
    return look


def _follow_in_lines(watched: StudyWatch, console: Console, interval: float) -> Look:
    """Print a line at every look until the study is finished."""
    while True:
        look = watched.look()
        if look.finished:
            return look
        parts = [
            time.strftime("%H:%M:%S"),
            *_counts(look),
            *_left(look),
            *_rates(look),
            *_best_in_words(look),
        ]
        print(", ".join(parts), flush=True)
        time.sleep(interval)


def _print(console: Console, look: Look) -> None:
    console.print(Screen(look, whole=True))


def _best_in_words(look: Look) -> list[str]:
    return [f"best {number(reward)} ({task}, {agent})" for task, (reward, agent) in look.best().items()][:1]


def _counts(look: Look) -> list[str]:
    stored = look.done + look.failed
    runs = f"{stored:,} runs" if look.total is None else f"{stored:,}/{look.total:,} runs"
    reading = [f"{look.unread:,} files unread"] if look.unread else []
    return [runs, *reading, *([f"{look.failed:,} failed"] if look.failed else [])]


def _left(look: Look) -> list[str]:
    return [f"{duration(round(look.left_s))} left"] if look.left and look.left_s is not None else []


def _rates(look: Look) -> list[str]:
    if look.runs_per_s <= 0:
        return []
    often = look.runs_per_s >= 0.1
    runs = f"{_rate(look.runs_per_s)} runs/s" if often else f"{_rate(3600 * look.runs_per_s)} runs/h"
    return [runs, f"{_rate(look.samples_per_s)} samples/s"]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _state(look: Look) -> str:
    """Who is at work, how fast, and when the newest run came."""
    who = {
        True: "a runner is at work",
        False: "no runner on this machine",
        None: "runners cannot be seen here",
    }
    newest = [] if look.newest_s is None else [f"newest run {duration(round(look.newest_s))} ago"]
    return "; ".join([who[look.runner], *_rates(look), *newest])


class Screen:
    """The table of a look, cut to the rows of the terminal unless it is `whole`."""

    def __init__(self, look: Look, whole: bool = False):
        self._look, self._whole = look, whole

    def __rich_console__(self, console: Console, options: Any) -> Iterator[RenderableType]:
        look, width = self._look, max(options.max_width, _LEAST_WIDTH)
        head: list[Lines] = [Heading(look.name, _state(look))]
        foot = list(self._foot(look))
        share = 0.0 if not look.total else (look.done + look.failed) / look.total
        remarks = [*_counts(look), *_left(look), *([f"{100 * share:.0f} %"] if look.total else [])]
        room = None
        if not self._whole:
            heights = [len(list(part.lines(width))) for part in (*head, *foot)]
            room = console.height - sum(heights) - len(foot) - 3
            if room < _LEAST_ROWS:  # a table says more than a title, and than reasons
                room, head = room + heights[0], []
            if room < _LEAST_ROWS and foot:
                room, foot = room + heights[1] + 1, []
        yield from head
        yield progress_line(share, remarks, width)
        yield ""
        yield _cut(look, width, room)
        for part in foot:
            yield ""
            yield part

    @staticmethod
    def _foot(look: Look) -> Iterator[Lines]:
        facts = []
        if look.reasons:
            lines = [f"{n:,} x {reason[:_REASON]}" for reason, n in look.reasons.most_common(_REASONS)]
            more = len(look.reasons) - _REASONS
            facts.append(
                ("Failed", "\n".join([*lines, *([f"and {more:,} other reasons"] if more > 0 else [])]))
            )
        if look.damaged:
            path, reason = next(iter(look.damaged.items()))
            facts.append(("Damaged", f"{len(look.damaged):,}, such as {path.name}: {reason}"))
        if look.others:
            facts.append(("Others", f"{look.others:,} runs of another version of the study file"))
        if look.note:
            facts.append(("Note", look.note))
        if facts:
            yield fact_sheet(facts)


def _cut(look: Look, width: int, room: int | None) -> Lines:
    """The most detailed table that fits into so many lines; None for any number."""
    tables = [partial(_of_agents, look), partial(_of_tasks, look)]
    for make in tables:
        table = make()
        if room is None or len(list(table.lines(width))) <= room:
            return table
    rows = len(look.best()) or len({task for task, _ in look.groups})
    while rows > 1:
        rows -= 1
        table = _of_tasks(look, rows)
        if len(list(table.lines(width))) <= (room or 0):
            break
    return table


def _of_agents(look: Look) -> Table:
    """A row for each task and agent."""
    table = new_table(
        "Task/", "Agent/", "Done>", "Failed>", "Left>", "Seconds>", "Best reward>", "Regret>",
        expendable=["Seconds", "Failed", "Regret", "Left"],
    )  # fmt: skip
    best, last = look.best(), None
    for (task, agent), group in look.groups.items():
        mean = f"{group.seconds / group.done:.3g}" if group.done else ""
        style = "green" if group.best is not None and group.best == best[task][0] else ""
        table.add_row(
            task if task != last else "",
            agent,
            f"{group.done:,}",
            f"{group.failed:,}" if group.failed else "",
            "" if group.left is None else f"{group.left:,}",
            mean,
            "" if group.best is None else number(group.best),
            _regret(look, task, group.best),
            style=style,
        )
        last = task
    return table


def _of_tasks(look: Look, most: int | None = None) -> Table:
    """A row for each task, or for the first ones and one for the others."""
    table = new_table(
        "Task/", "Done>", "Failed>", "Left>", "Best reward>", "Regret>", "Agent/",
        expendable=["Failed", "Regret", "Left"],
    )  # fmt: skip
    best = look.best()
    tasks: dict[str, list[Any]] = {}
    for (task, _), group in look.groups.items():
        tasks.setdefault(task, []).append(group)
    # those at work are more interesting than finished ones
    order = sorted(tasks, key=lambda task: all(group.left == 0 for group in tasks[task]))
    shown = order if most is None else order[:most]
    for task in shown:
        reward, agent = best.get(task, (None, ""))
        table.add_row(
            task,
            *_sums(tasks[task]),
            "" if reward is None else number(reward),
            _regret(look, task, reward),
            agent,
        )
    if rest := order[len(shown) :]:
        table.add_row(f"{len(rest):,} others", *_sums([g for task in rest for g in tasks[task]]), style="dim")
    return table


def _sums(groups: list[Any]) -> tuple[str, str, str]:
    failed, left = sum(g.failed for g in groups), [g.left for g in groups if g.left is not None]
    return (
        f"{sum(g.done for g in groups):,}",
        f"{failed:,}" if failed else "",
        f"{sum(left):,}" if left else "",
    )


def _regret(look: Look, task: str, reward: float | None) -> str:
    regret = None if reward is None or task not in look.optima else look.optima[task].regret(reward)
    return "" if regret is None else number(regret)
