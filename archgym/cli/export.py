"""`archgym export`: the best design of a search as a file that other tools read."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from archgym.cli.options import check_file
from archgym.cli.screen import fact_sheet, heading, print_to_copy, stdout
from archgym.cli.words import print_design
from archgym.errors import ArchGymError
from archgym.words import number

if TYPE_CHECKING:
    import pyarrow

    from archgym.simulator import Simulator


def export(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="File of archgym search --out.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to write.", show_default="standard output, unless it is binary"
        ),
    ] = None,
) -> None:
    """Write the best valid design of a search in a form that tools of its field read: a circuit of
    archgym/QuantumCircuit-v0 as OpenQASM 2 with its best angles, a graph that ABC left as AIGER.

    archgym export search.parquet --out circuit.qasm
    """
    from archgym.dataset.build import read_search, simulator_of
    from archgym.files.columns import read_designs
    from archgym.files.paths import check_writable, write_atomically

    if out is not None:
        check_writable(out)
    specification, table = read_search(result)
    simulator = simulator_of(specification.env.as_dict)
    row = _best(result, table)
    design = read_designs(simulator.space, table.slice(row, 1))[0]
    with closing(simulator):
        found = simulator.export(design)
    if found is None:
        raise ArchGymError(
            f"designs of {specification.env.id} have no file form: {_name(simulator)} defines no "
            "export(indices); result.best_design in Python has the parameters"
        )
    suffix, content = found
    if out is None:
        _print(suffix, content)
        return
    write_atomically(check_file("--out", out, suffix), content)
    _show(specification.env.id, simulator, design, table.slice(row, 1))
    print_to_copy("File", str(out))


def _best(result: Path, table: pyarrow.Table) -> int:
    """The row of the best valid design, of equals the first."""
    valid = table["valid"].to_numpy().astype(bool)
    if not valid.any():
        raise ArchGymError(f"none of the {len(valid):,} designs in {result} is valid; search on")
    return int(np.where(valid, table["reward"].to_numpy(), -np.inf).argmax())


def _name(simulator: Simulator) -> str:
    return type(simulator.unwrapped).__name__


def _print(suffix: str, content: bytes) -> None:
    """Print a text file."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if not all(c.isprintable() or c in "\n\r\t" for c in text):
        raise ArchGymError(f"the file is binary: give --out FILE{suffix}")
    sys.stdout.write(text)


def _show(env: str, simulator: Simulator, design: Any, row: pyarrow.Table) -> None:
    """The design that was written, its metrics and its reward."""
    console = stdout()
    metrics = {metric.name: float(row[metric.name][0].as_py()) for metric in simulator.metrics}
    heading(console, env, "the best valid design")
    print_design(console, simulator.space.design(design), metrics, simulator.metrics)
    console.print(fact_sheet([("Reward", number(float(row["reward"][0].as_py())))]))
