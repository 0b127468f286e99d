"""`archgym study`: expand, run, watch, verify, export and compact studies."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archgym.cli.options import check_file
from archgym.cli.screen import end_interrupted, fact_sheet, heading, new_table, say, stdout
from archgym.errors import ArchGymError
from archgym.files.paths import kind_of
from archgym.objective import clipping
from archgym.processes.exits import FAILED
from archgym.progress import progress_bar
from archgym.words import duration, number, one_line, percent, plain

if TYPE_CHECKING:
    from archgym.study.design import Study
    from archgym.study.runner import StudyProgress
    from archgym.study.store import Store

app = typer.Typer(no_args_is_help=True, help="Run many searches from one study file, so that none is lost.")

_MAX_TASKS = 12  # that are named
_BESIDE_TASKS = 8  # rows of a terminal that best rewards leave free
_UNLIMITED = 1_000_000  # characters

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Study file (TOML), or the name of one that ships, such as quick, lottery or archgym-1.",
    ),
]
Agents = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        metavar="NAME",
        help="Agent in place of those in the file, at its defaults; may be repeated.",
        show_default=False,
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of runs at once on this machine.", show_default="its processors"),
]
Executor = Annotated[
    str,
    typer.Option(help="Place of the runs: local, inline, dask, dask://HOST:PORT, ray or ray://HOST:PORT."),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the runs.", show_default="results/<name of the study>"),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again.")]


@app.command()
def expand(file: File, agent: Agents = None) -> None:
    """List the runs of a study file, a line for each: identifier, task, agent, configuration, seed, samples,
    hyperparameters.

    archgym study expand quick
    """
    from archgym.study.design import Study
    from archgym.task import Specification

    study = Study.read(file, agent or ())
    out = stdout()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _UNLIMITED  # for grep and the like, a line is a run
    heading(out, study.name, f"{study.size:,} runs: {len(study.tasks)} tasks, {len(study.agents)} agents")
    spent = "Reference samples" if study.effort == "cost" else "Samples"
    columns = ("Run", "Task", "Agent", "Configuration>", "Seed>", f"{spent}>", "Hyperparameters")
    listing = new_table(*columns, expendable=["Hyperparameters", spent, "Configuration"], elsewhere="a pipe")
    for run in study.runs():
        found = Specification.from_dict(run.specification)
        settings = " ".join(f"{name}={plain(value)}" for name, value in found.agent.hyperparameters.items())
        place = run.context or (None if run.split is None else f"split {run.split}")
        listing.add_row(
            run.id,
            run.task if place is None else f"{run.task}, {place}",
            run.agent,
            f"{run.configuration}",
            f"{found.seed}",
            f"{study.agents[run.agent][run.configuration].budgets[run.task]:,}",
            settings,
        )
    out.print(listing)


@app.command()
def run(
    file: File,
    workers: Workers = None,
    executor: Executor = "local",
    out: Out = None,
    retry_failed: RetryFailed = False,
    agent: Agents = None,
) -> None:
    """Run the missing runs of a study; the same command resumes it.

    archgym study run my-study.toml --workers 8 --out results/mine
    """
    from archgym.study.design import Study
    from archgym.study.store import Store

    study = Study.read(file, agent or ())
    store = Store(out or default_folder(study))
    watched_run(study, store, workers, executor, retry_failed)


def default_folder(study: Study) -> Path:
    """The folder of a study's runs where the user names none."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in study.name).strip(".-") or "study"
    return Path("results") / plain


def watched_run(study: Study, store: Store, workers: int | None, executor: str, retry_failed: bool) -> None:
    """Run a study under a live view on stderr, and print on stdout how it ended.

    Raises:
        typer.Exit: it was interrupted.
    """
    from archgym.study.runner import StudyProgress, interruptible, run_study

    progress = StudyProgress()
    with interruptible(last=True), ExitStack() as view:

        def watch(found: StudyProgress) -> None:
            nonlocal progress
            progress = found
            for note in found.notes:
                say("note", note, "yellow")
            if found.left:
                view.enter_context(progress_bar(partial(_look, found), partial(_best, found)))

        try:
            run_study(
                study, store, workers=workers, executor=executor, retry_failed=retry_failed, watch=watch
            )
        except KeyboardInterrupt:
            view.close()
            stored = progress.stored + progress.done
            end_interrupted(
                f"{stored:,} of {progress.total:,} runs are stored in {store.folder}; the same command "
                "resumes the study"
            )
    _print_progress(study, store, progress)


def _look(progress: StudyProgress) -> tuple[str, float]:
    """Text and share of a study's bar."""
    finished = progress.stored + progress.done
    rate = progress.samples / max(monotonic() - progress.started, 1e-9)
    parts = [f"{finished:,}/{progress.total:,} runs", f"{progress.failed:,} failed", f"{rate:,.0f} samples/s"]
    parts += [f"{progress.retried:,} tried again"] if progress.retried else []
    return ", ".join(parts), finished / max(progress.total, 1)


def _best(progress: StudyProgress, rows: int) -> list[str]:
    """The best reward of each task, below the bar."""
    best = sorted(progress.best.items())[: min(_MAX_TASKS, max(rows - _BESIDE_TASKS, 1))]
    rewards = [number(reward) for _, (reward, _) in best]
    lines = [
        f"{reward:>{max(map(len, rewards))}}  {task}, {agent}"
        for reward, (task, (_, agent)) in zip(rewards, best, strict=True)
    ]
    return ["Best rewards", *lines] if best else []


def _print_progress(study: Study, store: Store, progress: StudyProgress) -> None:
    seconds = monotonic() - progress.started
    out = stdout()
    heading(out, study.name, f"{progress.total:,} runs in {store.folder}")
    now = f"{progress.done:,} now, in {duration(seconds)}" if progress.done else "none now"
    facts = [
        (
            "Runs",
            f"{progress.stored + progress.done:,} of {progress.total:,} stored ({progress.stored:,} before, "
            f"{now})",
        )
    ]
    if progress.done:
        facts.append(
            ("Samples", f"{progress.samples:,} ({progress.samples / max(seconds, 1e-9):,.0f} per second)")
        )
    if progress.failed:
        facts.append(("Failed", _reasons(progress.failed, progress.reasons)))
    if progress.retried:
        facts.append(("Tried again", f"{progress.retried:,} runs whose process died or hung"))
    out.print(fact_sheet(facts))
    if progress.early:
        groups = [
            f"{runs:,} of {agent} on {task}" for (task, agent), runs in progress.early.most_common(_MAX_TASKS)
        ]
        more = (
            [f"and {len(progress.early) - _MAX_TASKS:,} other groups"]
            if len(progress.early) > _MAX_TASKS
            else []
        )
        runs = f"{progress.early.total():,} runs ended before their budget was spent"
        say("note", f"{runs}: {', '.join([*groups, *more])}", "yellow")
    shares: dict[str, float] = {}
    for (task, agent), valid in progress.valid.items():
        shares[task] = max(shares.get(task, 0.0), progress.clipped[task, agent] / max(valid, 1))
    for task, share in shares.items():
        if text := clipping(share):
            say("warning", f"{task}: {text}", "yellow")


def _reasons(failed: int, reasons: Counter[str]) -> str:
    lines = [f"{count:,} x {reason}" for reason, count in reasons.most_common(3)]
    more = [f"and {len(reasons) - 3} other reasons"] if len(reasons) > 3 else []
    return "\n".join([f"{failed:,} runs (stored as failed; --retry-failed runs them again)", *lines, *more])


@app.command()
def status(folder: Folder) -> None:
    """Show how many runs are stored, failed and missing.

    archgym study status results/mine
    """
    study, store = open_folder(folder)
    stored = store.read()
    out = stdout()
    runs = list(study.runs())
    heading(
        out, study.name, f"{sum(run.id in stored for run in runs):,} of {len(runs):,} runs stored in {folder}"
    )
    listing = new_table(
        "Task",
        "Agent",
        "Stored>",
        "Failed>",
        "Missing>",
        "Seconds>",
        "Best reward>",
        expendable=["Seconds", "Missing", "Failed"],
    )
    of_contexts = {run.id for run in runs if run.context}
    groups: dict[tuple[str, str], list[Any]] = {}
    for run in runs:
        groups.setdefault((run.task, run.agent), []).append(stored.get(run.id))
    for (task, agent), found in groups.items():
        there = [run for run in found if run is not None]
        done = [run.result for run in there if run.done]
        # contexts have scales of their own
        best = [
            run.result["best_reward"]
            for run in there
            if run.done and run.result["best_reward"] is not None and run.id not in of_contexts
        ]
        mean = f"{sum(result['seconds'] for result in done) / len(done):.3g}" if done else "-"
        counts = len(there), len(there) - len(done), len(found) - len(there)
        listing.add_row(
            task, agent, *(f"{count:,}" for count in counts), mean, number(max(best)) if best else "-"
        )
    out.print(listing)
    reasons = Counter(
        str(run.result["reason"])
        for found in groups.values()
        for run in found
        if run is not None and not run.done
    )
    if reasons:
        out.print()
        out.print(fact_sheet([("Failed", _reasons(sum(reasons.values()), reasons))]))
    if damaged := store.damaged():
        say("note", f"{len(damaged):,} unreadable files are in {folder / 'damaged'}", "yellow")


@app.command()
def violations(folder: Folder) -> None:
    """Show how often searches end without a design that meets all constraints, by task and agent, with 95 %
    intervals (Wilson).

    archgym study violations results/mine
    """
    from scipy.stats import binomtest

    study, store = open_folder(folder)
    stored = store.read()
    rewards: dict[tuple[str, str], list[float | None]] = {}
    for run in study.runs():
        if run.id in stored and stored[run.id].done:
            rewards.setdefault((run.task, run.agent), []).append(stored[run.id].result["best_reward"])
    if not rewards:
        raise ArchGymError(f"{folder} has no finished run: run the study first")
    out = stdout()
    heading(out, study.name, f"{sum(map(len, rewards.values())):,} finished runs of {study.size:,}")
    table = new_table("Task", "Agent", "Runs>", "No valid design>", "95 % interval>", "Mean best reward>")
    for (task, agent), best in rewards.items():
        met = [reward for reward in best if reward is not None]
        failed = len(best) - len(met)
        interval = binomtest(failed, len(best)).proportion_ci(method="wilson")
        between = f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"
        mean = number(sum(met) / len(met)) if met else ""
        table.add_row(task, agent, str(len(best)), percent(failed / len(best), 0), between, mean)
    out.print(table)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Table to write, .parquet or .csv.")] = Path(
        "runs.parquet"
    ),
) -> None:
    """Write the stored rows of all runs as one table, with environment, agent, hyperparameters and seed as
    columns.

    archgym study export results/mine --out runs.parquet
    """
    from archgym.files.paths import write_atomically
    from archgym.study.export import StudyRows

    out = check_file("--out", out, ".parquet", ".csv")
    rows = StudyRows(_runs_of(folder))
    write_atomically(out, rows.write_parquet if out.suffix == ".parquet" else rows.write_csv)
    stdout().print(f"{rows.rows:,} rows of {rows.runs:,} runs in {out}")


@app.command()
def verify(
    folder: Folder,
    set_aside: Annotated[
        bool,
        typer.Option(
            "--set-aside", help="Move damaged files to DIR/damaged; the next run repeats their runs."
        ),
    ] = False,
) -> None:
    """Read every file of a study, and list the damaged ones; exit code 1 if there are any.

    archgym study verify results/mine
    """
    store = _runs_of(folder)
    damaged: dict[Path, str] = {}
    with store.locked() if set_aside else nullcontext():
        seals = [file.sealed for file in store.files(damaged)]
        if set_aside:
            store.set_aside(damaged)
    for path, reason in damaged.items():
        print(f"{one_line(str(path))}: {one_line(reason)}")
    checked = f"{len(seals):,} files are intact" if all(seals) else f"{len(seals):,} files are readable"
    if unsealed := seals.count(False):
        checked += f"; {unsealed:,} of them, of an older archgym, have checksums of their rows only"
    stdout().print(
        f"{checked}; {len(damaged):,} {'is' if len(damaged) == 1 else 'are'} damaged", soft_wrap=True
    )
    if damaged:
        where = f"they are in {store.folder / 'damaged'} now; " if set_aside else ""
        say("note", f"{where}archgym study run FILE --out {folder} repeats their runs", "yellow")
        raise typer.Exit(FAILED)


@app.command()
def compact(folder: Folder) -> None:
    """Merge the many small files of a study into one per task and agent.

    archgym study compact results/mine
    """
    _, store = open_folder(folder)
    with store.locked():
        before, after = store.compact()
    stdout().print(f"{before:,} files became {after:,} in {folder}")


def _runs_of(folder: Path) -> Store:
    """The store of a folder that has runs; it may lack the study file.

    Raises:
        ArchGymError: it has none.
    """
    from archgym.study.store import Store

    store = Store(folder)
    if kind_of(store.folder / "runs") is None:
        raise ArchGymError(f"{folder} is not the folder of a study: it has no runs")
    return store


def open_folder(folder: Path) -> tuple[Study, Store]:
    """The study and the store of a folder.

    Raises:
        ArchGymError: it is not the folder of a study.
    """
    from archgym.study.design import Study
    from archgym.study.store import Store

    store = Store(folder)
    if not store.study_file.is_file():
        raise ArchGymError(f"{folder} is not the folder of a study: it has no study.toml")
    return Study.read(store.study_file), store
