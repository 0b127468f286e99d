"""`archgym pareto`: the non-dominated designs of searches, studies and data sets, as a table, a chart and
a CSV file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from archgym.cli.options import TaskOrEnv, names_of, pairs
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.errors import ArchGymError
from archgym.files.charts import axis_title, check_chart, write_chart
from archgym.words import number, plain

if TYPE_CHECKING:
    from archgym.dataset import Dataset
    from archgym.pareto import Front


def pareto(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|DIR...", help="Files of archgym search --out, folders of studies, data sets."
        ),
    ],
    metrics: Annotated[str, typer.Option(metavar="A,B[,C]", help="Metrics to trade off.")],
    env: TaskOrEnv = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="A=..,B=..",
            help="Reference point of the hypervolume, in the metrics' units.",
            show_default="the worst values seen",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Chart of the front to write: a .html, .svg or .png file."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file to write the front's designs to.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", hidden=True)] = None,  # the former name of --env
) -> None:
    """Show the designs that no other beats in every metric, and the volume that they dominate.

    archgym pareto results/quick --env "softmax 4K" --metrics time_s,sum_error
    archgym pareto search.parquet --metrics latency_s,energy_j --reference latency_s=1e-3,energy_j=2e-3
    """
    from archgym.dataset import build
    from archgym.dataset.export import to_csv
    from archgym.files.paths import check_writable
    from archgym.pareto import choose_metrics, find_front

    if out is not None:
        check_chart(out, "--out")
    if csv is not None:
        check_writable(csv)
    corner = _reference(reference)
    data = build(sources, env=env if task is None else task).distinct()
    chosen = choose_metrics(names_of(metrics), data.metrics)
    data = data.rows(data.feasible)
    values = np.stack([data.column(metric.name) for metric in chosen], axis=1)
    front = find_front(values, chosen, corner)
    designs = data.rows(front.rows)
    _show(designs, front, len(data))
    if csv is not None:
        print_to_copy("CSV", str(to_csv(designs, csv)))
    if out is not None:
        from archgym.dataset.charts import draw

        write_chart(draw(values, designs, front), out)
        print_to_copy("Chart", str(out))


def _reference(text: str | None) -> dict[str, float]:
    """ "a=1,b=2" as numbers by name."""
    found = pairs("--reference", text.split(",") if text else None)
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ArchGymError(f"--reference takes a number for {name!r}, not {value!r}")
    return found


def _show(designs: Dataset, front: Front, feasible: int) -> None:
    """The front, a row for each point with one of its designs, and its hypervolume."""
    console = stdout()
    heading(console, designs.env.id, f"{len(designs):,} of {feasible:,} feasible designs are on the front")
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(front.values, axis=0) != 0).any(axis=1)]))
    sizes = np.diff(starts, append=len(designs))
    several = sizes.max() > 1
    points = [
        [*(number(float(value)) for value in front.values[row]), *([f"{size:,}"] if several else [])]
        for row, size in zip(starts.tolist(), sizes.tolist(), strict=True)
    ]
    chosen = [designs.space.design(designs.indices[row]) for row in starts.tolist()]
    titles = [*(f"{axis_title(m)}>" for m in front.metrics), *(["Designs>"] if several else [])]
    wide = [*titles, *designs.space.names]
    table = new_table(*wide)
    for point, design in zip(points, chosen, strict=True):
        table.add_row(*point, *(plain(design.get(name, "-")) for name in designs.space.names))
    if table.natural > console.width:  # a column for each parameter does not fit
        table = new_table(*titles, "Design")
        for point, design in zip(points, chosen, strict=True):
            table.add_row(*point, ", ".join(f"{name} {plain(value)}" for name, value in design.items()))
    console.print(table)
    console.print()
    units = " ".join(m.unit for m in front.metrics if m.unit != "1")
    box = "the box from the best of each metric to the reference"
    facts = [
        (
            "Reference",
            ", ".join(
                f"{m.name}={float(r):.6g}" for m, r in zip(front.metrics, front.reference, strict=True)
            ),
        ),
        ("Hypervolume", f"{front.hypervolume:.6g} {units}".rstrip()),
        ("Normalised", f"{box} is empty" if front.share is None else f"{front.share:.6f} of {box}"),
        ("Sources", "; ".join(designs.sources)),
    ]
    console.print(fact_sheet(facts))
