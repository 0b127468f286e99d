"""`archgym data`: accuracy tables, those that ship and those that users import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from archgym.cli.screen import fact_sheet, heading, new_table, say, stdout
from archgym.errors import ArchGymError, reason_of, unknown
from archgym.files.paths import check_folder, data_folder
from archgym.progress import progress_bar
from archgym.registry import discover
from archgym.simulators.nas import cells
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.accuracies import UnclearUnit
from archgym.simulators.nas.tables.imports import KINDS
from archgym.simulators.nas.tables.summary import Summary, first_cells, summarize
from archgym.simulators.nas.tables.table import (
    IMPORTERS,
    Table,
    list_tables,
    load_table,
    read_table,
    save_table,
)
from archgym.words import percent

_ENVIRONMENTS = {"cell": "archgym/NasCell-v0", "macro": "archgym/NasMacro-v0"}  # by space
WIDE = 110  # characters, from which on sources have a column of their own


def import_table(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"Benchmark: {', '.join(KINDS)}.")],
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="Folder of nats-bench; CSV, JSON or pickle file of the others."),
    ],
    fractions: Annotated[
        bool | None,
        typer.Option(
            "--fractions/--per-cent",
            help="Unit of the accuracies, 0 to 1 or per cent, where the file leaves it unclear.",
        ),
    ] = None,
) -> None:
    """Turn the files of a published benchmark into accuracy tables for environments; a pickle is never
    allowed to run code.

    archgym data import nas-bench-macro nas-bench-macro_cifar10.json
    """
    if kind not in KINDS:
        raise unknown("kind of table", kind, KINDS)
    check_folder(data_folder("nas"))
    try:
        with progress_bar() as progress:
            tables = KINDS[kind](path, progress, fractions=fractions)
    except UnclearUnit as unclear:
        if not _on_terminal():
            raise
        say("question", str(unclear), "yellow")
        typer.confirm("Are they fractions?", abort=True, err=True)
        with progress_bar() as progress:
            tables = KINDS[kind](path, progress, fractions=True)
    written = [(table, save_table(table)) for table in tables]
    discover()  # environments that waited for a table
    out = stdout()
    for table, file in written:
        heading(out, table.name, str(table.provenance.get("source", "")))
        facts = {
            "Architectures": f"{len(table.row):,}",
            "Seeds": str(table.test_accuracy.shape[1]),
            "Epochs": _epochs(table),
            "Best": ", ".join(f"{percent(best, 2)} {what}" for what, best in _best(table).items()),
            "Written to": str(file),
            "Search": f"archgym search {_ENVIRONMENTS[table.space]} genetic --set dataset={table.name}",
        }
        out.print(fact_sheet(list(facts.items())))
        out.print()


def _on_terminal() -> bool:
    """Whether the user can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def show_tables() -> None:
    """List the accuracy tables that are installed, and how to import others.

    archgym data list
    """
    out = stdout()
    wide = out.width >= WIDE
    shown = new_table(
        "Name", "Space", "Networks>", "Seeds>", "Epochs>", "Test, %>", *(["Source"] if wide else [])
    )
    sources = {}
    for name, path in list_tables().items():
        try:
            table = read_table(path)
        except ArchGymError as error:
            say("warning", reason_of(error), "yellow")
            continue
        best, sources[name] = _best(table).get("test"), str(table.provenance.get("source", ""))
        share = "-" if best is None else f"{100 * best:.2f}"
        row = [
            name,
            table.space,
            f"{len(table.row):,}",
            str(table.test_accuracy.shape[1]),
            _epochs(table),
            share,
        ]
        shown.add_row(*row, *([sources[name]] if wide else []))
    if sources:
        out.print(shown)
        out.print()
    facts = {
        "Test": "best accuracy of all networks, of the mean over seeds; - where unknown" if sources else "",
        "Sources": "" if wide else "\n".join(f"{name}: {source}" for name, source in sources.items()),
        "Others": "\n".join(IMPORTERS.values()),
    }
    out.print(fact_sheet([(title, text) for title, text in facts.items() if text]))


def show_table(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Table, one of `archgym data list`.")],
) -> None:
    """Summarise a table: distribution, noise ceiling, predictors, Pareto front, source.

    archgym data show digits-0.5
    """
    table, out = load_table(name), stdout()
    heading(out, name, f"{len(table.row):,} architectures, {table.test_accuracy.shape[0]:,} trained")
    facts = {"Seeds": str(table.test_accuracy.shape[1]), "Epochs": _epochs(table)}
    summary = summarize(table) if table.space == "cell" else None
    out.print(fact_sheet(list({**facts, **(_figures(summary) if summary else {})}.items())))
    if summary:
        out.print()
        _print_correlations(summary)
        out.print()
        _print_front(table, summary)
    out.print()
    out.print(
        fact_sheet(
            [(key.replace("_", " ").capitalize(), _joined(value)) for key, value in table.provenance.items()]
        )
    )


def _figures(summary: Summary) -> dict[str, str]:
    """Accuracies in per cent."""
    figures = {
        f"{summary.kind.capitalize()} accuracy": f"{_each(summary.quantiles)} (lowest, quartiles, highest)",
        "By live 3x3 convolutions": f"{_each(summary.by_convolutions)} (0, 1, ... of them)",
        "Deviation between networks": percent(summary.between),
    }
    if (
        summary.within is None
        or summary.seeds is None
        or summary.reliability is None
        or summary.top_reliability is None
    ):
        return figures
    return {
        **figures,
        "Deviation between seeds": percent(summary.within),
        "Spearman between seeds": f"{summary.seeds:.3f}",
        "Reliability of the mean": f"{summary.reliability:.3f}; "
        f"{summary.top_reliability:.3f} in the best quarter",
    }


def _print_correlations(summary: Summary) -> None:
    shown = new_table("Predictor", "Spearman with accuracy>")
    for what, correlation in sorted(summary.correlations.items(), key=lambda entry: -abs(entry[1])):
        shown.add_row(what.replace("_", " "), f"{correlation:+.3f}")
    stdout().print(shown)


def _print_front(table: Table, summary: Summary) -> None:
    shown = new_table("Pareto front: cell/", "MACs>", "Accuracy>")
    rows = first_cells(table)[summary.front]
    macs = get_network(table.network).costs(rows)["macs"]
    for cell, cost, accuracy in zip(rows, macs, summary.accuracy[summary.front], strict=True):
        shown.add_row(cells.format(cell), f"{cost:,}", percent(accuracy))
    stdout().print(shown)


def _joined(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _each(shares: Sequence[float]) -> str:
    """ "9.6, 47.0 %"."""
    return ", ".join(f"{100 * share:.1f}" for share in shares) + " %"


def _epochs(table: Table) -> str:
    return ", ".join(str(epochs) for epochs in table.budgets.tolist())


def _best(table: Table) -> dict[str, float]:
    """The best mean over the trainings after the last epoch, of validation and test accuracy where known."""
    found = {"validation": table.valid_accuracy[:, :, -1], "test": table.test_accuracy}
    known = {
        what: np.ma.masked_invalid(accuracies)
        for what, accuracies in found.items()
        if np.isfinite(accuracies).any()
    }
    return {what: float(accuracies.mean(axis=1).max()) for what, accuracies in known.items()}
