"""Published and measured figures of networks of the macro spaces, against the model's.

A table is a CSV file, a network per row: `space`, the parameters of that space (blank where a network does
not have them), and any of the metrics (blank where unknown). `network` and `source`, if present, name a row.
`published.csv` has the figures of DeiT (Touvron et al., ICML 2021) and Hiera (Ryali et al., ICML 2023) as the
model cards of timm print them, parameters and multiply-adds rounded.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.simulators.transformer.model import VisionTransformer
from archgym.simulators.transformer.spaces import SPACES
from archgym.space.parameters import Parameter

PUBLISHED = Path(__file__).parent / "published.csv"
NAMES = ("network", "source")
MOST_BYTES = 16 << 20  # of a file


@dataclass(frozen=True)
class Comparison:
    """One figure of one network.

    Attributes:
        network: name of the network, or number of its row.
        metric: name of the metric.
        given, computed: figure of the table, and of the model.
    """

    network: str
    metric: str
    given: float
    computed: float

    @property
    def difference(self) -> float:
        """computed / given - 1."""
        return self.computed / self.given - 1


def compare(path: Path, precision: str = "int8", schedule: str = "layer") -> tuple[int, list[Comparison]]:
    """The number of networks of a table, and all of its figures beside the model's.

    Raises:
        ArchGymError: no such file, an unknown column or space, a design outside its space, or a figure that
            is not a positive number.
    """
    with reading(path, "a table of networks"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    simulators: dict[str, VisionTransformer] = {}
    found: list[Comparison] = []
    for number, row in enumerate(rows, start=2):
        try:
            found += _compared(row, number, simulators, precision, schedule)
        except ArchGymError as error:
            raise ArchGymError(f"{path}, line {number}: {error}") from None
    return len(rows), found


def largest(found: list[Comparison]) -> dict[str, float]:
    """The largest relative difference of each metric, without its sign."""
    differences: dict[str, float] = {}
    for each in found:
        differences[each.metric] = max(differences.get(each.metric, 0.0), abs(each.difference))
    return differences


def _compared(
    row: Mapping[str, Any],
    number: int,
    simulators: dict[str, VisionTransformer],
    precision: str,
    schedule: str,
) -> list[Comparison]:
    name = (row.get("space") or "").strip()
    if name not in SPACES:
        raise unknown("macro space", name, SPACES)
    simulator = simulators.setdefault(name, VisionTransformer(name, precision, schedule))
    metrics = [metric.name for metric in simulator.metrics]
    cells = {}
    for column, text in row.items():
        if column is None or text is None:
            raise ArchGymError("expected as many cells as there are names in the first line")
        if text.strip() and column not in ("space", *NAMES):
            cells[column] = text.strip()
    for column in cells:
        if column not in (*metrics, *simulator.space.names):
            raise unknown("column", column, (*metrics, *simulator.space.names))
    design = {p.name: _value(p, cells[p.name]) if p.name in cells else None for p in simulator.space}
    computed = simulator.evaluate_indices(simulator.space.encode({n: [v] for n, v in design.items()}))
    label = (row.get("network") or "").strip() or f"line {number}"
    return [
        Comparison(label, metric, _figure(metric, cells[metric]), float(computed[metric][0]))
        for metric in metrics
        if metric in cells
    ]


def _value(parameter: Parameter, text: str) -> Any:
    """The value that a cell names: "4" is 4 and 4.0."""
    for value in parameter.plain:
        if text == str(value) or (not isinstance(value, str) and _number(text) == value):
            return value
    return parameter.validate(text)  # refuses it


def _figure(metric: str, text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise ArchGymError(f"expected a positive number as {metric}, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
