"""`archgym fidelity synthesis`: sequences of passes against ABC called by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.simulators.synthesis import fidelity
from archgym.words import percent


def synthesis(
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Sequences and the figures that ABC printed; default: ours."),
    ] = None,
    backend: Annotated[str, typer.Option(help="abc runs ABC, table looks up what the tables have.")] = "abc",
    timeout_s: Annotated[float, typer.Option(help="Time limit of a pass, seconds.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Replay sequences of passes, and compare with what ABC printed when it was called by hand.

    A row of the file is a circuit, a sequence ("balance; rewrite -z"), its and_gates and levels, and perhaps
    luts and lut_levels.

    archgym fidelity synthesis
    """
    found = fidelity.compare(data or fidelity.RECORDED, backend, timeout_s)
    equal = float(found.equal.mean())
    if as_json:
        rows = {"rows": len(found.circuits), "largest_relative_difference": found.largest}
        print(json.dumps({**rows, "equal": equal, "skipped": found.skipped, "tool": found.source}))
        return
    console = stdout()
    heading(console, "Logic synthesis", f"{data or 'our recorded sequences'}, against {backend}")
    names = list(found.largest)
    table = new_table("Circuit", "Sequences>", "Equal>", *(f"{name}>" for name in names))
    for circuit in (*dict.fromkeys(found.circuits.tolist()), None):
        part = found if circuit is None else found.of(circuit)
        differences = (f"{part.largest.get(name, 0):.1e}" for name in names)
        share = percent(part.equal.mean(), 2)
        table.add_row(circuit or "all", f"{len(part.circuits):,}", share, *differences)
    console.print(table)
    console.print(f"By {found.source}.", style="dim")
    if found.skipped:
        console.print(f"{found.skipped:,} rows are in no table and were skipped.", style="dim")
