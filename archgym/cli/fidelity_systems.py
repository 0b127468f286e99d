"""`archgym fidelity` for systems: training plans of a transformer on a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.simulators.parallelism import fidelity as plans
from archgym.simulators.parallelism.clusters import load_cluster
from archgym.text import percent, significant

if TYPE_CHECKING:
    from rich.console import Console


# --- archgym fidelity parallelism ---


def parallelism(
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Plans and their outputs, as Calculon names them."),
    ] = None,
    system: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Cluster that Calculon ran the plans for.")
    ] = "a100",
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare training plans with Calculon's outputs for them, and with published step times.

    archgym fidelity parallelism
    """
    rows, largest = (0, {}) if data is None else plans.compare(data, load_cluster(system))
    times = plans.step_times()
    if as_json:
        print(json.dumps(_parallelism_as_json(rows, largest, times)))
        return
    console = stdout()
    if data is not None:
        heading(console, "Training plans", f"{rows:,} plans of {data}, Calculon's form")
        table = new_table("Output", "Largest difference>")
        for name, difference in largest.items():
            table.add_row(name, f"{difference:.1e}")
        console.print(table)
        console.print()
    _print_step_times(console, times)


def _parallelism_as_json(rows: int, largest: dict[str, float], times: list[plans.StepTime]) -> dict[str, Any]:
    each = [
        {
            "source": time.source,
            "model": time.model,
            "gpus": time.gpus,
            "recompute": time.recompute,
            "published_s": time.published_s,
            "computed_s": time.computed_s,
        }
        for time in times
    ]
    errors = {source: plans.mean_error(times, source) for source in _sources(times)}
    published = {"mean_relative_difference": errors, "step_times": each}
    return {"rows": rows, "largest_relative_difference": largest, "published_step_times": published}


def _print_step_times(console: Console, times: list[plans.StepTime]) -> None:
    heading(console, "Step times", "published ones, A100")
    table = new_table("Source", "Model", "GPUs>", "Recompute", "Published s>", "Computed s>", "Difference>")
    for time in times:
        figures = significant(time.published_s, 4), significant(time.computed_s, 4)
        difference = percent(time.difference, 2)
        table.add_row(time.source, time.model, f"{time.gpus:,}", time.recompute, *figures, difference)
    for source in _sources(times):
        mean = percent(plans.mean_error(times, source), 2)
        table.add_row(source, "", "", "", "", "mean, without sign", mean, style="bold")
    console.print(table)


def _sources(times: list[plans.StepTime]) -> list[str]:
    return list(dict.fromkeys(time.source for time in times))
