"""`archgym lottery`: run or resume a study, and report which conclusions about agents and their
hyperparameters it supports.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import heading, print_to_copy, say, stdout
from archgym.cli.study import Executor, RetryFailed, Workers, default_folder, open_folder, watched_run
from archgym.errors import ArchGymError

if TYPE_CHECKING:
    from archgym.study.design import Study
    from archgym.study.store import Store

QUICK = "quick"


def lottery(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|DIR", help="Study file, the name of one that ships, or the folder of a study."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Use the study that ships for a first look: two minutes on two cores."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for runs and report.",
            show_default="results/<name>, or the study's folder",
        ),
    ] = None,
    workers: Workers = None,
    executor: Executor = "local",
    retry_failed: RetryFailed = False,
    only_report: Annotated[
        bool, typer.Option("--no-run", help="Report the stored runs, and run nothing.")
    ] = False,
    margin: Annotated[
        float,
        typer.Option(
            min=1e-6, max=0.5, help="Largest relative difference between agents that is negligible."
        ),
    ] = 0.02,
) -> None:
    """Run or resume a study, and report which conclusions about agents and hyperparameters it supports.

    Of a study of kind "generalise": what policies design for contexts that they were not trained on.

    Writes report.html, which opens anywhere without a network, figures for papers (figures/), and tables
    (tables/).

    archgym lottery --quick
    """
    if (source is None) != quick:
        raise ArchGymError("give a study file, a study's folder, or --quick (and only one of them)")
    from archgym.lottery.report import require

    require()  # before hours of runs, not after
    study, store, folder = _opened(source or QUICK, out)
    if not only_report:
        watched_run(study, store, workers, executor, retry_failed)
    if study.generalise:
        report_policies(study, store, folder)
    else:
        report(study, store, folder, margin)


def _opened(source: str, out: Path | None) -> tuple[Study, Store, Path]:
    """The study, its store, and the folder for the report."""
    from archgym.study.design import Study
    from archgym.study.store import Store

    if Path(source).is_dir():
        study, store = open_folder(Path(source))
        return study, store, out or store.folder
    study = Study.read(source)
    store = Store(out or default_folder(study))
    return study, store, store.folder


def report(study: Study, store: Store, folder: Path, margin: float) -> None:
    """Write the report of the stored runs, and print its conclusions.

    Raises:
        ArchGymError: nothing is stored.
    """
    from archgym.lottery.analysis import analyse
    from archgym.lottery.load import load_tasks
    from archgym.lottery.report import write_report

    start = monotonic()
    tasks = load_tasks(study, store)
    stored = sum(
        trace is not None
        for task in tasks
        for agent in task.agents.values()
        for row in agent.traces
        for trace in row
    )
    failed = sum(len(task.failures) for task in tasks)
    if not stored:
        reasons = sorted({reason for task in tasks for *_, reason in task.failures})
        raise ArchGymError(
            f"{store.folder} has no finished run: "
            f"{'all runs failed: ' + reasons[0] if reasons else 'run the study first'}"
        )
    analysis = analyse(tasks, margin=margin)
    path = write_report(analysis, folder, title=study.name, provenance=_provenance(study, stored, failed))
    _print_conclusions(study, analysis.conclusions, path, stored, failed)
    say("report", f"written in {monotonic() - start:.1f} s", "dim")


def report_policies(study: Study, store: Store, folder: Path) -> None:
    """Write the report of a study of kind "generalise", and print its conclusions.

    Raises:
        ArchGymError: no training run is stored.
    """
    from archgym.lottery.generalise.analysis import analyse
    from archgym.lottery.generalise.load import load_shares
    from archgym.lottery.generalise.words import conclude
    from archgym.lottery.report.generalise import write_generalise_report

    start = monotonic()
    analysis = analyse(load_shares(study, store))
    found = store.read()
    runs = [found[run.id] for run in study.runs() if run.id in found]
    failed = sum(not run.done for run in runs)
    if not len(analysis.policies):
        reasons = sorted({str(run.result["reason"]) for run in runs if not run.done})
        raise ArchGymError(
            f"{store.folder} has no finished training run: "
            f"{'runs failed: ' + reasons[0] if reasons else 'run the study first'}"
        )
    stored = len(runs) - failed
    path = write_generalise_report(
        analysis, folder, title=study.name, provenance=_provenance(study, stored, failed)
    )
    _print_conclusions(study, [str(sentence) for sentence in conclude(analysis)], path, stored, failed)
    say("report", f"written in {monotonic() - start:.1f} s", "dim")


def _print_conclusions(
    study: Study, conclusions: Sequence[str], path: Path, stored: int, failed: int
) -> None:
    out = stdout()
    out.print()
    heading(out, "Conclusions", f"{stored:,} of {study.size:,} runs")
    for conclusion in conclusions:
        out.print(f"- {conclusion}", soft_wrap=False)
    out.print()
    print_to_copy("Report", str(path))
    if stored + failed < study.size:
        say(
            "note",
            f"{study.size - stored - failed:,} runs are missing; the same command without --no-run adds them",
            "yellow",
        )


def _provenance(study: Study, stored: int, failed: int) -> dict[str, str]:
    """The source of the report's numbers, for its reader."""
    import platform
    from datetime import UTC, datetime

    from archgym.version import __version__

    return {
        "Study": study.name,
        "Runs": f"{stored:,} finished, {failed:,} failed, of {study.size:,}",
        "archgym": __version__,
        "Python": platform.python_version(),
        "Machine": f"{platform.machine()}, {platform.system()}",
        "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
