"""`archgym fidelity` for networks: costs against published figures, a table's trainings against new ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import fact_sheet, heading, new_table, stdout
from archgym.progress import progress_bar
from archgym.simulators.nas.tables.table import load_table
from archgym.simulators.transformer import fidelity as costs
from archgym.words import percent, significant

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.simulators.cnn.fidelity import Again, Noise


# --- archgym fidelity transformer ---


def transformer(
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Networks and their figures.", show_default="published ones"),
    ] = None,
    precision: Annotated[str, typer.Option(help="Numbers of weights and activations: int8, fp32.")] = "int8",
    schedule: Annotated[str, typer.Option(help="Activations that are stored: layer, token.")] = "layer",
    as_json: Annotated[bool, typer.Option("--json", help="Print the largest differences as JSON.")] = False,
) -> None:
    """Compare vision transformers with published or measured figures.

    A row of the file is a network: space, its parameters (blank where it has none), and any of the metrics.

    archgym fidelity transformer
    """
    path = costs.PUBLISHED if data is None else data
    rows, found = costs.compare(path, precision, schedule)
    if as_json:
        print(json.dumps({"rows": rows, "largest_relative_difference": costs.largest(found)}))
        return
    console = stdout()
    heading(console, "Vision transformers", "published figures" if data is None else str(data))
    table = new_table("Network", "Metric", "Given>", "Computed>", "Difference>")
    for each in found:
        figures = significant(each.given, 5), significant(each.computed, 5), percent(each.difference, 2)
        table.add_row(each.network, each.metric, *figures)
    console.print(table)


# --- archgym fidelity cnn ---


def cnn(
    networks: Annotated[int, typer.Option(min=1, help="Number of networks, three trainings each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed for their choice.")] = 0,
) -> None:
    """Train networks of archgym/PlainCnn-v0's table again, and compare them within its seeds' noise; a second
    each.

    archgym fidelity cnn --networks 10
    """
    from archgym.simulators.cnn import fidelity as plain
    from archgym.simulators.cnn.tabular import TABLE

    table = load_table(TABLE)
    noise = plain.noise(table)
    with progress_bar() as progress:
        found = list(plain.train_again(table, networks, seed, progress))
    console = stdout()
    heading(console, "Plain convolutional networks", f"table {TABLE}, {networks} trained again, seed {seed}")
    _print_cnn(console, noise, found)


def _print_cnn(console: Console, noise: Mapping[str, Noise], found: list[Again]) -> None:
    table = new_table("Accuracy", "Networks>", "Seeds' noise>", "Spearman>", "Reliability>", "Best quarter>")
    for kind, each in noise.items():
        table.add_row(
            kind,
            f"{each.networks:,}",
            percent(each.within, 2),
            f"{each.seeds:.3f}",
            f"{each.reliability:.3f}",
            f"{each.top_reliability:.3f}",
        )
    console.print(table)
    console.print()
    table = new_table("Network", "Accuracy", "Table>", "Again>", "Difference>", "Within>", "")
    for row in found:
        table.add_row(
            row.network,
            row.kind,
            percent(row.table, 2),
            percent(row.again, 2),
            percent(row.again - row.table, 2),
            percent(row.tolerance, 2),
            "" if row.within else "outside",
            style="" if row.within else "yellow",
        )
    console.print(table)
    console.print()
    meanings = (
        ("Networks", "those with three trainings"),
        ("Seeds' noise", "standard deviation of a network's trainings"),
        ("Spearman", "rank correlation of two seeds"),
        ("Reliability", "share of one training's variance that is not noise, ICC(1, 1)"),
        ("Within", "4 standard deviations of a mean of three trainings"),
    )
    console.print(fact_sheet(meanings), style="dim")
