"""`archgym fidelity` for systems: the models of chips and clusters against the programs that they follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.simulators.parallelism import fidelity as plans
from archgym.simulators.parallelism.clusters import load_cluster
from archgym.simulators.soc import fidelity as chips
from archgym.words import percent, significant

if TYPE_CHECKING:
    from rich.console import Console

# --- archgym fidelity soc ---


def soc(
    data: Annotated[Path, typer.Option(metavar="FILE.csv", help="Designs and FARSI's figures.")],
    order: Annotated[str, typer.Option(help="Order of tasks launched at once: recorded, task.")] = "recorded",
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare the model of systems on chip with designs that were run through FARSI.

    A row of the file is a design: its blocks, mapping, and FARSI's latency, energy, power and area.

    archgym fidelity soc --data designs.csv
    """
    found = chips.compare(data, order)
    if as_json:
        largest = {"rows": len(found.workloads), "largest_relative_difference": found.largest}
        print(json.dumps({**largest, "equal": found.equal, "order": order}))
        return
    console = stdout()
    heading(console, "Systems on chip", f"{data}, {order} order of tasks")
    table = new_table(
        "Workload", "Designs>", f"Equal to {chips.EQUAL:.0e}>", *(f"{m}>" for m in chips.METRICS)
    )
    for name in (*dict.fromkeys(found.workloads.tolist()), None):
        part = found if name is None else found.of(name)
        differences = (f"{each:.1e}" for each in part.largest.values())
        table.add_row(name or "all", f"{len(part.workloads):,}", percent(part.equal, 2), *differences)
    console.print(table)
    low, middle, high = np.quantile(found.corrected, [0, 0.5, 1])
    changed = f"{low:.2f} to {high:.2f} times that of FARSI's, median {middle:.2f}"
    console.print(f"Peak power with correct windows is {changed}.", style="dim")


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
