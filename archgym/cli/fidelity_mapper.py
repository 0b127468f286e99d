"""The tables of `archgym fidelity accelerator` about accelforge's mapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgym.cli.screen import new_table
from archgym.simulators.accelerator.fidelity.mapper import USES, difference
from archgym.text import percent

if TYPE_CHECKING:
    from rich.console import Console

USED = {"free": "as it finds best", "full": "filled"}  # the array in the mapper, by name in `USES`
NAMES = {"energy": "Energy", "off_chip": "Off-chip bytes", "buffer": "Buffer bytes", "latency": "Latency"}
WORST = 3


def print_mapper(console: Console, found: dict[str, Any], *, recorded: bool) -> None:
    """The errors of energy by buffer, the differences of every quantity, and the worst cases."""
    summary = found["summary"]
    table = new_table("Energy, buffer>", *(f"{USED[use]}: mean>" for use in USES), "Largest>", "Largest>")
    sizes = summary["free"]["by_buffer_kb"]
    for size in sizes:
        each = [summary[use]["by_buffer_kb"][size] for use in USES]
        table.add_row(f"{int(size):,} KB", *_cells(each))
    table.add_row("all", *_cells([summary[use]["overall"] for use in USES]), style="bold")
    console.print(table)
    runs = len(found["rows"]) // len(summary)
    console.print(
        f"{runs} runs of {found['tool']}'s mapper on layers and buffers without a table, seed {found['seed']}"
        f"{', recorded' if recorded else ''}.",
        style="dim",
    )
    console.print("The mapper's array is used as it finds best, or filled where possible.", style="dim")
    console.print()

    table = new_table("Model over mapper", *(f"{USED[use]}: mean>" for use in USES), "From>", "To>")
    for quantity, name in NAMES.items():
        each = [summary[use]["differences"][quantity] for use in USES]
        free = each[0]
        means = (_signed(one["mean"]) for one in each)
        table.add_row(name, *means, _signed(free["least"]), _signed(free["largest"]))
    console.print(table)
    console.print("From and to: the extremes where the array is used as the mapper finds best.", style="dim")
    console.print()

    table = new_table("Largest of energy", "M>", "N>", "K>", "Buffer>", "Energy>", "Off chip>")
    own = [row for row in found["rows"] if row["use"] == "free"]
    for row in sorted(own, key=lambda row: -abs(difference(row, "energy")))[:WORST]:
        shape = [f"{row[name]:,}" for name in "mnk"]
        differences = [_signed(difference(row, quantity)) for quantity in ("energy", "off_chip")]
        table.add_row(row["name"], *shape, f"{row['buffer_kb']} KB", *differences)
    console.print(table)


def _cells(errors: list[dict[str, Any]]) -> list[str]:
    return [percent(each["mean"], 2) for each in errors] + [percent(each["largest"]) for each in errors]


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"
