"""The tables of `archgym fidelity accelerator` about accelforge's mapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgym.cli.screen import new_table
from archgym.simulators.accelerator.fidelity.mapper import difference
from archgym.words import percent

if TYPE_CHECKING:
    from rich.console import Console

SETTINGS = {  # of the mapper, by name in `mapper.SETTINGS`
    "free": "weights stay",
    "full": "the same, array filled",
    "outputs": "outputs stay",
    "inputs": "inputs stay",
}
NAMES = {"off_chip": "Off-chip bytes", "buffer": "Buffer bytes", "latency": "Latency"}
WORST = 3


def print_mapper(console: Console, found: dict[str, Any], *, recorded: bool) -> None:
    """Errors of energy by buffer and setting, differences of traffic and latency, and the worst cases."""
    summary = found["summary"]
    sizes = [f"{int(size):,} KB>" for size in summary["free"]["by_buffer_kb"]]
    table = new_table("Energy, mean error", *sizes, "all>", "Largest>", "Spearman>")
    for setting, words in SETTINGS.items():
        own = summary[setting]
        each = [*own["by_buffer_kb"].values(), own["overall"]]
        table.add_row(
            words,
            *(percent(one["mean"], 2) for one in each),
            percent(own["overall"]["largest"]),
            f"{own['overall']['spearman']:.4f}",
        )
    console.print(table)
    runs = len(found["rows"]) // len(summary)
    note = (
        f"{runs} layers and buffers without a table, against {found['tool']}'s mapper, seed {found['seed']}"
    )
    console.print(f"{note}{', recorded' if recorded else ''}.", style="dim")
    console.print(
        "The mapper uses the array as it finds best, or filled as its own template demands.", style="dim"
    )
    console.print()

    table = new_table("Model over mapper", "", "Mean>", "From>", "To>")
    for setting, words in SETTINGS.items():
        for quantity, name in NAMES.items():
            each = summary[setting]["differences"][quantity]
            shares = (_signed(each[part]) for part in ("mean", "least", "largest"))
            table.add_row(words, name, *shares)
            words = ""
    console.print(table)
    console.print()

    table = new_table("Largest of energy", "M>", "N>", "K>", "Buffer>", "Energy>", "Off chip>")
    own = [row for row in found["rows"] if row["setting"] == "free"]
    for row in sorted(own, key=lambda row: -abs(difference(row, "energy")))[:WORST]:
        shape = [f"{row[name]:,}" for name in "mnk"]
        differences = [_signed(difference(row, quantity)) for quantity in ("energy", "off_chip")]
        table.add_row(row["name"], *shape, f"{row['buffer_kb']} KB", *differences)
    console.print(table)


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"
