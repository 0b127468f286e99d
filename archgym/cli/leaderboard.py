"""`archgym submit` and `archgym leaderboard`: entries of a suite, verified by repeating them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import new_table, print_to_copy, say, stdout
from archgym.words import one_line

if TYPE_CHECKING:
    from archgym.leaderboard.submit import Submission

_MAX_LINES = 8
SuiteName = Annotated[
    str, typer.Option("--suite", metavar="SUITE", help="Suite: the name of one that ships, or a study file.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Runs that are repeated at once.", show_default="the machine's processors"),
]


def submit(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT...", help="Files of archgym search --out, and folders of studies."),
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of a leaderboard, which may be new.")],
    suite: SuiteName = "archgym-1",
    name: Annotated[
        str, typer.Option(help="Name of the entry.", show_default="the agent's and its settings")
    ] = "",
    contact: Annotated[str, typer.Option(help="Person or address for questions.")] = "",
    url: Annotated[str, typer.Option(help="Page about the agent (http or https).")] = "",
    note: Annotated[str, typer.Option(help="Remark for readers of the page.")] = "",
    package: Annotated[
        str, typer.Option(metavar="NAME==VERSION", help="Package of an agent that is not installed here.")
    ] = "",
    workers: Workers = None,
) -> None:
    """Add entries to a leaderboard: one for each agent with one configuration.

    archgym submit results/archgym-1 --to my-leaderboard
    """
    from archgym.leaderboard.submit import submit as add
    from archgym.leaderboard.suite import Suite
    from archgym.study.runner import interruptible

    with interruptible(last=True):
        done = add(
            results,
            to,
            suite=Suite.read(suite),
            name=name,
            contact=contact,
            url=url,
            note=note,
            package=package,
            workers=workers,
        )
    _print_submission(done, to)


def _print_submission(done: Submission, to: Path) -> None:
    out = stdout()
    table = new_table("Entry", "Agent", "Version>", "Runs>", "Missing>", "Rows")
    for entry in done.entries:
        runs = sum(len(seeds) for seeds in entry.digests.values())
        missing = sum(len(seeds) for _, seeds in done.missing[entry.folder])
        table.add_row(
            one_line(entry.name, 60),
            one_line(str(entry.agent["name"]), 40),
            str(entry.agent["version"]),
            f"{runs:,}",
            f"{missing:,}" if missing else "",
            str(entry.content["rows"]),
        )
    out.print(table)
    for entry in done.entries:
        for (task, budget), seeds in done.missing[entry.folder][:_MAX_LINES]:
            say(
                "missing",
                f"{entry.name}: {task}, {budget:,} samples: seeds {', '.join(map(str, seeds))}; it is not "
                "ranked there",
                "yellow",
            )
    for left in done.left[:_MAX_LINES]:
        say("left out", f"{left.runs:,} {'run' if left.runs == 1 else 'runs'}: {left.reason}", "yellow")
    print_to_copy("Verify", f"archgym leaderboard {to}")
