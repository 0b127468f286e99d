"""`archgym fidelity` for systems: the models of chips and clusters against the programs that they follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.simulators.soc import fidelity as chips
from archgym.text import percent

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
