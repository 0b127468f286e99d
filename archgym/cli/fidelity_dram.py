"""`archgym fidelity dram`: the model of the memory controller against runs of DRAMSys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.errors import ArchGymError
from archgym.progress import progress_bar
from archgym.simulators.dram import ControllerModel
from archgym.simulators.dram.fidelity import SHIPPED, SHIPPED_TRACE, Comparison, compare
from archgym.simulators.dram.traces import Trace, load_trace
from archgym.words import percent


def dram(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Runs of DRAMSys, or .csv.gz.", show_default="the table of cloud-1"
        ),
    ] = None,
    trace: Annotated[
        str | None, typer.Option(metavar="FILE.stl|NAME", help="Trace that DRAMSys ran.", show_default=False)
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Random designs with refreshes, all without; 0 for all rows.")
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    memory: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Memory.", show_default="DDR3-1600")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare the model of the memory controller with runs of DRAMSys on the same trace.

    archgym fidelity dram --data cloud-1.csv.gz --trace cloud-1.stl
    """
    requests = _trace(data, trace)
    model = ControllerModel(requests, **({} if memory is None else {"memory": memory}))
    with progress_bar() as progress:
        found = compare(model, data, sample or None, seed, progress)
    if as_json:
        print(json.dumps(_as_json(found, requests, sample, seed)))
        return
    console = stdout()
    heading(console, "Memory controller", f"{data or SHIPPED} on {requests.name}, {len(found):,} designs")
    columns = [f"{name}>" for name in _groups(found)]
    table = new_table("", *columns)
    table.add_row("Designs", *(f"{len(each):,}" for each in _groups(found).values()))
    table.add_row("Equal times", *(percent(each.equal, 2) for each in _groups(found).values()))
    for metric in found.runs:
        for what in ("largest", "mean"):
            figures = (f"{getattr(each, what)[metric]:.1e}" for each in _groups(found).values())
            table.add_row(f"{metric}, {what}", *figures)
    console.print(table)
    console.print("Differences are relative, without sign.", style="dim")
    _print_worst(found)


def _trace(data: Path | None, trace: str | None) -> Trace:
    """The trace of the runs, which is not shipped."""
    if trace is None:
        raise ArchGymError(
            "the model needs the trace that the runs are of, which is not shipped: give --trace FILE.stl "
            f"({SHIPPED}.stl is in DRAMSys' folder library/resources/traces)"
        )
    found = load_trace(trace)
    if data is None and found.digest != SHIPPED_TRACE:
        raise ArchGymError(
            f"the shipped table is of {SHIPPED}, and {found.name} is another trace: give its runs with --data"
        )
    return found


def _groups(found: Comparison) -> dict[str, Comparison]:
    return {"no refresh": found.of(False), "refresh": found.of(True), "all": found}


def _as_json(found: Comparison, trace: Trace, sample: int, seed: int) -> dict[str, Any]:
    groups = {
        name.replace(" ", "_"): {
            "rows": len(each),
            "equal_times": each.equal,
            "largest_relative_difference": each.largest,
            "mean_relative_difference": each.mean,
        }
        for name, each in _groups(found).items()
    }
    everything = groups.pop("all")
    trace_of = {"name": trace.name, "requests": len(trace), "digest": trace.digest}
    return {
        **everything,
        "groups": groups,
        "worst": found.worst(),
        "trace": trace_of,
        "sample": sample,
        "seed": seed,
    }


def _print_worst(found: Comparison) -> None:
    console, worst = stdout(), found.worst()
    if not worst:
        return
    console.print()
    heading(console, "Largest differences of time", "")
    table = new_table("Model us>", "DRAMSys us>", "Difference>", "Design")
    for each in worst:
        design = " ".join(str(value) for value in each["design"].values())
        difference = f"{each['relative_difference']:.1e}"
        table.add_row(f"{1e6 * each['model_s']:.4f}", f"{1e6 * each['run_s']:.4f}", difference, design)
    console.print(table)
