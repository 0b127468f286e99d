"""Contexts of archgym/SoC-v0: edge_detection under multiples of FARSI's budgets, with their exact optima.

`soc.csv` has a row per context: its factors, a design that is nearest to its budgets among all distinct
designs, 1 + its distance to them, and how many distinct designs meet them.

    python -m archgym.envs.contexts.soc      finds all optima by one enumeration, in half a minute

Under FARSI's power no CPU may run for long; eight times as much admits CPUs. Among
the 48 contexts no design is an optimum of more than 10.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from archgym.contexts.sets import Contexts
from archgym.files.paths import write_atomically
from archgym.processes.exits import INTERRUPTED
from archgym.progress import progress_bar
from archgym.simulators.soc.model import SoC
from archgym.simulators.soc.workload import load_workload
from archgym.space import DesignSpace

WORKLOAD = "edge_detection"
FACTORS = {
    "latency_s": (0.125, 0.25, 0.5, 1.0),
    "power_w": (0.25, 1.0, 8.0),
    "area_mm2": (0.125, 0.25, 0.5, 1.0),
}
FILE = Path(__file__).with_suffix(".csv")
CHUNK = 1 << 17

Factors = tuple[float, ...]  # of latency, power and area


def budgets(path: Path = FILE) -> Contexts:
    """All combinations of factors, in groups by each of their factors."""
    known = read_optima(path)
    factors = list(itertools.product(*FACTORS.values()))
    words = [tuple(f"{name} x {f:g}" for name, f in zip(FACTORS, each, strict=True)) for each in factors]
    return Contexts(
        tuple({"workload": WORKLOAD, "budgets": scaled(each)} for each in factors),
        tuple(", ".join(each) for each in words),
        optima=tuple(known[each]["design"] if each in known else None for each in factors),
        groups=tuple(words),
    )


def scaled(factors: Factors) -> dict[str, float]:
    """FARSI's budgets times factors."""
    limits = load_workload(WORKLOAD).budgets
    return {name: factor * limits[name] for name, factor in zip(FACTORS, factors, strict=True)}


def read_optima(path: Path = FILE) -> dict[Factors, dict[str, Any]]:
    """Factors -> `design`, `overshoot` and `meeting`; nothing of a file that is not there."""
    if not path.exists():
        return {}
    values = {p.name: {str(value): value for value in p.grid.tolist()} for p in SoC(WORKLOAD).space}
    with open(path, newline="", encoding="utf-8") as file:
        return {
            tuple(float(row[name]) for name in FACTORS): {
                "design": {name: known[row[name]] for name, known in values.items() if row[name]},
                "overshoot": float(row["overshoot"]),
                "meeting": int(row["meeting"]),
            }
            for row in csv.DictReader(file)
        }


def write_optima(optima: dict[Factors, dict[str, Any]], space: DesignSpace, path: Path = FILE) -> None:
    """The inverse of `read_optima`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FACTORS, *space.names, "overshoot", "meeting"])
    for factors, found in optima.items():
        design = [found["design"].get(name, "") for name in space.names]
        writer.writerow([*factors, *design, repr(found["overshoot"]), found["meeting"]])
    write_atomically(path, text.getvalue().encode())


def find_optima(simulator: SoC, chunk: int = CHUNK) -> dict[Factors, dict[str, Any]]:
    """The optima of all contexts, from one enumeration of a simulator's designs."""
    factors = list(itertools.product(*FACTORS.values()))
    limits = np.array([list(scaled(each).values()) for each in factors])
    best, designs = np.full(len(factors), np.inf), [np.zeros(0, np.int64)] * len(factors)
    meeting, done = np.zeros(len(factors), np.int64), 0
    with progress_bar() as progress:
        for rows in simulator.space.enumerate(chunk):
            done += len(rows)
            rows = rows[(simulator.canonical(rows) == rows).all(1)]
            if len(rows):
                columns = simulator.evaluate_indices(rows)
                metrics = np.stack([columns[name] for name in FACTORS], 1)
                for context, limit in enumerate(limits):
                    distance = np.maximum(0.0, metrics / limit - 1).sum(1)
                    meeting[context] += np.count_nonzero(distance == 0)
                    if distance.min() < best[context]:
                        best[context], designs[context] = distance.min(), rows[distance.argmin()]
            progress("enumerating", done / simulator.space.size)
    return {
        each: {
            "design": simulator.space.design(designs[context]),
            "overshoot": 1 + float(best[context]),
            "meeting": int(meeting[context]),
        }
        for context, each in enumerate(factors)
    }


def main(path: Path = FILE) -> int:
    """Find and write the optima."""
    simulator = SoC(WORKLOAD)
    try:
        write_optima(find_optima(simulator), simulator.space, path)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
