"""`archgym plan`: how to train a language model on a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from archgym.cli.options import ChartFile
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.cli.words import print_design
from archgym.files.charts import check_chart, write_chart
from archgym.files.csv import write_csv
from archgym.files.paths import check_writable, write_atomically
from archgym.progress import progress_bar
from archgym.simulators.parallelism.planning import GIB, Plan, Planning
from archgym.simulators.parallelism.planning import plan as find_plan
from archgym.simulators.parallelism.simulator import METRICS
from archgym.words import percent, significant

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 5  # plans of the front for each number of GPUs
_DEGREES = ("tensor", "pipeline", "data", "microbatch", "interleaving")
_RECOMPUTE = {"none": "", "attention": "A", "full": "F"}
_COMMUNICATION = {"all_reduce": "ar", "scattered_transfers": "st", "sequence_parallel": "sp"}
LETTERS = (
    ("t p d m v", ", ".join(_DEGREES)),
    ("A, F", "attention, or everything, computed again"),
    ("ar, st, sp", "tensor communication: all_reduce, scattered_transfers, sequence_parallel"),
    ("g, f, s, o", "gathered again, activation fused, optimizer sharded, gradients overlapped"),
)


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model: 22B, 175B, 530B, 1T; a .json file.")],
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs.")],
    system: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Cluster (a100, h100), or a .json file.")
    ] = "a100",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences per step.", show_default="that of a shipped model")
    ] = None,
    literal: Annotated[
        bool, typer.Option("--literal", help="Use Calculon's overlap of gradients, errors included.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file for all plans of the front.")
    ] = None,
    chart: ChartFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Find the plan of the shortest training step, what less memory or fewer GPUs cost, and what more of one
    thing would bring. Exact: all plans are evaluated.

    archgym plan 175B --gpus 1024 --system a100
    """
    if chart is not None:
        check_chart(chart)
    if csv is not None:
        check_writable(csv)
    share = 0.0

    def progress(what: str, done: float) -> None:
        nonlocal share
        share = done

    with progress_bar(lambda: (f"{share:.0%} of clusters", share)):
        found = find_plan(model, gpus, system, batch, literal=literal, progress=progress)
    if as_json:
        print(json.dumps(_as_json(found)))
    else:
        _show(found, Path(model).stem, Path(system).stem)
    if csv is not None:
        _write(found, csv)
        if not as_json:
            print_to_copy("CSV", str(csv))
    if chart is not None:
        from archgym.simulators.parallelism.charts import draw

        write_chart(draw(found, f"{Path(model).stem} on {Path(system).stem}"), chart)
        if not as_json:
            print_to_copy("Chart", str(chart))


def _as_json(found: Planning) -> dict[str, Any]:
    return {
        "gpus": found.gpus,
        "batch": found.batch,
        "plans": found.plans,
        "fitting": found.fitting,
        "within_1_percent": found.near,
        "best": _row(found.best),
        "front": [_row(each) for each in found.front],
        "relaxations": [
            {"doubled": each.what, "gain": each.gain, "best": each.best and _row(each.best)}
            for each in found.relaxations
        ],
    }


def _row(each: Plan) -> dict[str, Any]:
    return {"gpus": each.gpus, **each.design, **each.metrics}


def _write(found: Planning, path: Path) -> None:
    """The front as CSV, a row for each plan."""
    import pyarrow

    rows = [_row(each) for each in found.front]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    write_atomically(path, lambda file: write_csv([table], table.schema, file))


def _show(found: Planning, model: str, system: str) -> None:
    console = stdout()
    heading(console, f"{model} on {found.gpus:,} {system}", f"a batch of {found.batch:,} sequences")
    schema = [metric for metric in METRICS if metric.name in found.best.metrics]
    print_design(console, found.best.design, found.best.metrics, schema)
    capacity = f"{found.cluster.hbm_gib:g} GiB"
    fit = f"{found.plans:,} divide, {found.fitting:,} fit {capacity}, {found.near:,} within 1 % of the best"
    console.print(fact_sheet([("Plans", fit)]))
    console.print()
    _show_front(console, found)
    _show_relaxations(console, found)
    console.print()
    console.print(fact_sheet(LETTERS), style="dim")


def _show_front(console: Console, found: Planning) -> None:
    shown = _thinned(found.front)
    left = len(found.front) - len(shown)
    more = f"; {left:,} more are in --csv, --json and --chart" if left else ""
    heading(console, "Less memory, fewer GPUs", f"no plan beats these in time, memory and GPUs{more}")
    table = new_table("GPUs>", "Step s>", "GiB>", "MFU>", "GPU h/1,000 steps>", "t p d m v>", "Options")
    for each in shown:
        step = each.metrics["step_time_s"]
        table.add_row(
            f"{each.gpus:,}",
            significant(step, 4),
            f"{each.metrics['memory_bytes'] / GIB:.1f}",
            percent(each.metrics["mfu"], 1),
            significant(1000 * step * each.gpus / 3600, 4),
            *_in_short(each),
        )
    console.print(table)
    console.print()


def _thinned(front: tuple[Plan, ...]) -> list[Plan]:
    """For each number of GPUs the fastest plan, the one of least memory, and some between, evenly in
    memory.
    """
    shown = []
    for gpus in dict.fromkeys(each.gpus for each in front):
        group = [each for each in front if each.gpus == gpus]
        memory = np.log([each.metrics["memory_bytes"] for each in group])
        wanted = np.linspace(memory[0], memory[-1], SHOWN)
        places = sorted({int(np.abs(memory - each).argmin()) for each in wanted})
        shown += [group[place] for place in places]
    return shown


def _show_relaxations(console: Console, found: Planning) -> None:
    heading(console, "Twice of one thing", "and the best plan then")
    table = new_table("Doubled", "Tokens/s>", "Step s>", "GiB>", "t p d m v>", "Options")
    for each in found.relaxations:
        if each.best is None:
            table.add_row(each.what, "-", "-", "-", "-", "no plan divides")
            continue
        metrics = each.best.metrics
        step, memory = significant(metrics["step_time_s"], 4), f"{metrics['memory_bytes'] / GIB:.1f}"
        table.add_row(each.what, f"{100 * (each.gain - 1):+.1f} %", step, memory, *_in_short(each.best))
    console.print(table)


def _in_short(each: Plan) -> tuple[str, str]:
    """ "2 8 64 1 12" and "A sp f s o"; `LETTERS` explains both."""
    design = each.design
    options = {
        _RECOMPUTE[design["recompute"]]: design["recompute"] != "none",
        _COMMUNICATION[design["tensor_communication"]]: design["tensor"] > 1,
        "g": design.get("gather_again"),
        "f": design["fuse_activation"],
        "s": design["shard_optimizer"],
        "o": design["overlap_data"],
    }
    return " ".join(str(design[name]) for name in _DEGREES), " ".join(w for w, has in options.items() if has)
