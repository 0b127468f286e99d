"""`archgym fidelity quantum`: energies of circuits against Qiskit, and the inner optimisation's starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from archgym.cli.screen import heading, new_table, stdout
from archgym.simulators.quantum import fidelity
from archgym.words import percent


def quantum(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Circuits, angles and another program's energies; default: ours."
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Compute the other energies now, with Qiskit where it is installed."),
    ] = False,
    starts: Annotated[
        int,
        typer.Option(
            metavar="CIRCUITS",
            min=0,
            max=10_000,
            help="Random circuits for which 1 to 16 starts of the angles are compared with 64; 0 for none.",
        ),
    ] = 0,
    molecule: Annotated[str, typer.Option(help="Molecule of --starts.")] = "LiH-2.2",
    slots: Annotated[int, typer.Option(min=1, help="Gates of the circuits of --starts.")] = 20,
    p1: Annotated[float, typer.Option(help="Noise of rotations of --starts.")] = 0.0,
    p2: Annotated[float, typer.Option(help="Noise of CNOTs of --starts.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare the energies of circuits, with and without noise, with Qiskit's at the same angles.

    A row of the file is a molecule, a circuit ("ry 0; cx 0 1"), the angles of its rotations (radians), the
    energy_hartree, and perhaps p1, p2, tool and version.

    archgym fidelity quantum --starts 60
    """
    found = fidelity.compare(data or fidelity.RECORDED, live)
    enough = fidelity.sufficiency(molecule, slots, starts, p1, p2) if starts else None
    if as_json:
        print(json.dumps(_as_json(found, enough)))
        return
    console = stdout()
    tool = ", ".join(found.tools) or "the file"
    heading(console, "Quantum circuits", f"{data or 'our recorded circuits'}, against {tool}")
    table = new_table("Molecule", "Circuits>", "With noise>", "Largest difference>", "Relative>")
    for name in (*dict.fromkeys(found.molecules.tolist()), None):
        part = found if name is None else found.of(name)
        rows, noisy = f"{len(part.molecules):,}", f"{part.noisy.sum():,}"
        table.add_row(name or "all", rows, noisy, f"{part.absolute:.1e} Ha", f"{part.relative:.1e}")
    console.print(table)
    if enough:
        heading(console, "Starts", f"{enough.circuits:,} random circuits of {slots} gates on {molecule}")
        within = (f"Within {limit:.0e} Ha>" for limit in fidelity.CLOSE)
        table = new_table("Starts>", *within, "Largest distance>")
        for number, shares, largest in zip(enough.starts, enough.shares, enough.largest, strict=True):
            table.add_row(f"{number}", *(percent(share) for share in shares), f"{largest:.1e} Ha")
        console.print(table)
        console.print(f"From the best energy, of up to {fidelity.MOST_STARTS} starts.", style="dim")


def _as_json(found: fidelity.Comparison, enough: fidelity.Sufficiency | None) -> dict[str, object]:
    shown: dict[str, object] = {
        "rows": len(found.molecules),
        "largest_relative_difference": {"energy_hartree": found.relative},
        "largest_absolute_difference": {"energy_hartree": found.absolute},
        "tools": found.tools,
    }
    if enough:
        columns = {
            f"within_{limit:g}": enough.shares[:, i].tolist() for i, limit in enumerate(fidelity.CLOSE)
        }
        shown["starts"] = {"starts": enough.starts, **columns, "largest": enough.largest.tolist()}
        shown["circuits"] = enough.circuits
    return shown
