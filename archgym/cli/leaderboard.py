"""`archgym submit` and `archgym leaderboard`: entries of a suite, verified by repeating them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import heading, new_table, print_to_copy, say, stdout
from archgym.processes.exits import FAILED
from archgym.words import one_line

if TYPE_CHECKING:
    from archgym.leaderboard.scores import Score, Scores
    from archgym.leaderboard.submit import Submission
    from archgym.leaderboard.suite import Suite
    from archgym.leaderboard.verify import Verified

_MAX_LINES = 8
SUITE = "archgym-1"
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
    suite: SuiteName = SUITE,
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
    _print_submission(done, to, suite)


def _print_submission(done: Submission, to: Path, suite: str) -> None:
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
    which = "" if suite == SUITE else f" --suite {suite}"
    print_to_copy("Verify", f"archgym leaderboard {to}{which}")


def leaderboard(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Folder of a leaderboard.", show_default="the entries that ship"
        ),
    ] = None,
    suite: SuiteName = SUITE,
    share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of rows to evaluate again where no replay is possible."),
    ] = 0.1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of their choice.", show_default="drawn and printed")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page to write.", show_default="FOLDER/index.html"),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Whether to repeat and evaluate anything.")
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Repeat also what was repeated here before.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if an entry was refused or not reproduced.")
    ] = False,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Verify the entries of a leaderboard by repeating them, and write one static page.

    archgym leaderboard my-leaderboard
    """
    import secrets

    from archgym.files.paths import check_writable
    from archgym.leaderboard.entry import SHIPPED
    from archgym.leaderboard.page import write_page
    from archgym.leaderboard.scores import score
    from archgym.leaderboard.suite import Suite
    from archgym.leaderboard.verify import verify
    from archgym.progress import progress_bar
    from archgym.study.runner import interruptible

    place = SHIPPED if folder is None else folder.expanduser()
    target = check_writable(out or (Path("leaderboard.html") if folder is None else place / "index.html"))
    chosen = secrets.randbelow(2**31) if seed is None else seed
    found = Suite.read(suite)
    with interruptible(last=True), progress_bar() as progress:
        verified, unread = verify(
            place,
            found,
            share=share,
            seed=chosen,
            evaluate=evaluate,
            again=again,
            workers=workers,
            progress=progress,
        )
        progress("comparing entries", 1.0)
        scores = score(found, verified)
    path = write_page(target, found, verified, unread, scores, share=share, seed=chosen)
    if as_json:
        _print_json(found, verified, unread, scores, path, chosen)
    else:
        _print_boards(found, verified, unread, scores)
        print_to_copy("Rows", f"--share {share:g} --seed {chosen}")
        print_to_copy("Page", str(path))
    if strict and (unread or any(each.state in ("refused", "not reproduced") for each in verified)):
        raise typer.Exit(FAILED)


def _print_boards(
    suite: Suite, verified: Sequence[Verified], unread: Mapping[str, str], scores: Scores
) -> None:
    from archgym.leaderboard.page import short
    from archgym.leaderboard.scores import title
    from archgym.leaderboard.verify import State

    out = stdout()
    names = {each.entry.folder: each for each in verified}
    for budget in suite.budgets:
        heading(out, suite.name, f"{budget:,} samples, mean normalised regret over {len(suite.tasks)} tasks")
        table = new_table(
            "Group", "Entry", "Regret>", "95 %>", "Best group>", "Verified", expendable=["95 %"]
        )
        for each in scores.overall[budget]:
            best = sum(
                "A" in there.groups
                for label in suite.tasks
                for there in scores.tasks[label, budget]
                if there.folder == each.folder
            )
            low, high = (short(end, True) for end in each.interval)
            shown = names[each.folder]
            table.add_row(
                each.groups,
                one_line(title(shown), 50),
                short(float(each.mean.value), True),
                f"{low} to {high}",
                f"{best} of {len(suite.tasks)}",
                shown.state,
            )
        out.print(table)
        out.print()
    for folder, reason in list(unread.items())[:_MAX_LINES]:
        say("refused", f"{one_line(folder, 60)}: {reason}", "red")
    for entry in verified:
        for problem in entry.problems[:_MAX_LINES]:
            say("refused", f"{title(entry)}: {problem}", "red")
        if entry.superseded is None:
            for state, colour in ((State.FAILED, "red"), (State.INCOMPLETE, "yellow")):
                for remark in entry.remarks(state)[:_MAX_LINES]:
                    say(str(state), f"{title(entry)}: {remark}", colour)


def _print_json(
    suite: Suite,
    verified: Sequence[Verified],
    unread: Mapping[str, str],
    scores: Scores,
    path: Path,
    seed: int,
) -> None:
    """Everything that the page has, as JSON."""
    import json

    def row(each: Score) -> dict[str, object]:
        low, high = each.interval
        numbers = {"regret": float(each.mean.value), "low": low, "high": high}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"entry": each.folder, "groups": each.groups, **finite, "failed": each.failed}

    entries = [
        {
            "entry": each.entry.folder,
            "name": each.entry.name,
            "agent": dict(each.entry.agent),
            "state": each.state,
            "superseded_by": each.superseded,
            "problems": list(each.problems),
            "parts": [
                {"task": task, "budget": budget, "state": str(part.state), "reason": part.reason}
                for (task, budget), part in each.parts.items()
            ],
        }
        for each in verified
    ]
    content = {
        "suite": suite.name,
        "digest": suite.digest,
        "seed": seed,
        "entries": entries,
        "unread": dict(unread),
        "overall": {str(b): [row(each) for each in scores.overall[b]] for b in suite.budgets},
        "tasks": {
            label: {str(b): [row(each) for each in scores.tasks[label, b]] for b in suite.budgets}
            for label in suite.tasks
        },
        "page": str(path),
    }
    typer.echo(json.dumps(content, indent=1, allow_nan=False))
