"""`archgym trace`: the requests of a trace, as a memory controller sees them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archgym.cli.options import check_file
from archgym.cli.screen import end_interrupted, fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.errors import ArchGymError
from archgym.progress import progress_bar
from archgym.simulator_wrappers.parallel import Parallel
from archgym.simulators.dram import ControllerModel
from archgym.simulators.dram.generators import LINE_BYTES, list_generators
from archgym.simulators.dram.statistics import CLOCK_HZ, WINDOW, TraceStatistics, describe
from archgym.simulators.dram.tabulate import check_name, keep_table
from archgym.simulators.dram.traces import SUFFIX, Trace, load_trace, write_trace
from archgym.words import assignments, percent, significant

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 24  # characters of the longest bar
_PEAK = 12.8e9  # bytes per second of the data bus: 64 bytes in 4 cycles


def trace(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|NAME]",
            help="A .stl file, or a generated trace such as row_hits:hits=0.8; without, a list of these.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar=f"FILE{SUFFIX}", help="File to write the trace to.")
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Make the table of all controllers on it, by the model.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make the table.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as JSON.")] = False,
) -> None:
    """Describe a trace of memory requests: reads and writes, arrivals, rows, banks and locality.

    With --table, archgym/DramController-v0 takes it as trace=NAME, all optima known; Ctrl-C keeps what is
    done, and the same command goes on.

    archgym trace random:writes=0.3 --out random.stl
    """
    if name is None:
        if out is not None or table:
            raise ArchGymError("--out and --table go with a trace: name it")
        _print_all(as_json)
        return
    if out is not None:
        check_file("--out", out, SUFFIX)
    found = load_trace(name)
    statistics = describe(found)
    if as_json:
        print(json.dumps({"name": found.name, "digest": found.digest, **statistics.to_dict()}))
    else:
        _show(stdout(), found, statistics)
    if out is not None:
        write_trace(found, out)
        if not as_json:
            print_to_copy("Trace", str(out))
    if table:
        _make_table(found, workers, as_json)


def _make_table(found: Trace, workers: int, as_json: bool) -> None:
    """Make and keep the table of a trace."""
    check_name(found)
    model = ControllerModel(found)
    simulator = model if workers == 1 else Parallel(model, workers=workers)
    try:
        with progress_bar() as progress, closing(simulator):
            path, made = keep_table(simulator, found, progress)
    except KeyboardInterrupt:
        end_interrupted("the same command goes on where it stopped")
    if not as_json:
        lowest = significant(made.figures[:, 0].min() / 1e6, 4)
        facts = f"{len(made.outcome):,}, {len(made.figures):,} distinct outcomes, lowest latency {lowest} us"
        stdout().print(fact_sheet([("Designs", facts)]))
        print_to_copy("Table", str(path))


def _print_all(as_json: bool) -> None:
    """The kinds of generated traces and their parameters."""
    kinds = list_generators()
    if as_json:
        print(json.dumps(kinds))
        return
    console = stdout()
    heading(console, "Generated traces", "NAME, or NAME:parameter=value,...")
    common = set.intersection(*(set(each) for each in kinds.values())) | {"writes"}
    table = new_table("Name", "Its parameters")
    for kind, parameters in kinds.items():
        table.add_row(kind, assignments({k: v for k, v in parameters.items() if k not in common}))
    console.print(table)
    console.print()
    shared: dict[str, Any] = {k: v for k, v in kinds["random"].items() if k in common}
    console.print(fact_sheet([("All kinds", assignments(shared)), ("One of them", "archgym trace NAME")]))


def _show(console: Console, found: Trace, of: TraceStatistics) -> None:
    heading(console, found.name, f"{of.requests:,} requests of {LINE_BYTES} bytes")
    console.print(fact_sheet(_facts(of)))
    console.print()
    table = new_table("Bank>", "Requests>", "Hits>", "Conflicts>", "Share")
    largest = max(of.banks["share"])
    for bank, (share, hits, conflicts) in enumerate(
        zip(of.banks["share"], of.banks["hits"], of.banks["conflicts"], strict=True)
    ):
        bar = "─" * round(_BAR * share / largest)
        table.add_row(str(bank), percent(share), percent(hits), percent(conflicts), bar)
    console.print(table)
    console.print()
    meaning = "the row that its bank has open, in order of arrival"
    console.print(fact_sheet([("Hits", meaning), ("Conflicts", "another row is open")]), style="dim")


def _facts(of: TraceStatistics) -> list[tuple[str, str]]:
    turns = f"{of.turnarounds:,} changes of direction"
    rate = of.bytes_s / _PEAK
    bursts = f"{of.bursts:,}, the longest of {of.longest_burst:,} requests"
    facts = {
        "Reads": f"{of.reads:,} ({percent(of.reads / of.requests)})",
        "Writes": f"{of.writes:,} ({percent(of.writes / of.requests)}), {turns}",
        "Arrivals": f"{of.cycles:,} cycles, {significant(1e6 * of.cycles / CLOCK_HZ, 4)} us at 800 MHz; "
        f"{significant(of.bytes_s / 1e9, 3)} GB/s, {significant(rate, 3)} times the data bus",
        "Bursts": f"{bursts}; pauses up to {of.longest_pause:,} cycles"
        if of.bursts > 1
        else "one without a pause",
        "Late": f"{of.late:,} at a cycle that had passed, which arrive at once" if of.late else "",
        "Rows": f"{of.rows:,} distinct, {significant(of.requests / of.rows, 3)} requests each",
        "Open page": f"{percent(of.hits)} hits, {percent(of.misses)} first of a bank, "
        f"{percent(of.conflicts)} conflicts",
        "Locality": f"{percent(of.near)} to a row of the {WINDOW} requests before; "
        f"{percent(of.repeated)} to a line requested before",
    }
    return [(title, text) for title, text in facts.items() if text]
