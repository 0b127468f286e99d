"""Designs as several commands print them, and the words of `archgym.text` for what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archgym.cli.screen import new_table
from archgym.cli.tables import Beside
from archgym.simulator import Metric
from archgym.text.phrases import count as count
from archgym.text.phrases import objective_in_words as objective_in_words
from archgym.text.phrases import quantity as quantity
from archgym.words import number, plain

if TYPE_CHECKING:
    from rich.console import Console


def print_design(
    console: Console, design: Mapping[str, Any], metrics: Mapping[str, float], schema: Sequence[Metric]
) -> None:
    """A design and its metrics, beside each other where there is room."""
    left = new_table("Best design", "")
    for name, value in design.items():
        left.add_row(name, plain(value))
    right = new_table("Metric", "Value>", "")
    for m in schema:
        right.add_row(m.name, number(metrics[m.name]), "" if m.unit == "1" else m.unit)
    console.print(Beside(left, right))
    console.print()
