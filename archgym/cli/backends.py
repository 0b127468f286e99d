"""`archgym backends`: the real simulators that can replace the analytical model, and their installation."""

from __future__ import annotations

from typing import Annotated

import typer

from archgym.cli.screen import end_interrupted, fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.progress import progress_bar
from archgym.simulators.accelerator.backends.environments import BACKENDS, installed
from archgym.simulators.accelerator.backends.environments import install as make


def install(
    name: Annotated[str, typer.Argument(metavar="BACKEND", help=f"Simulator: {' or '.join(BACKENDS)}.")],
) -> None:
    """Install a real simulator in an environment of its own; about a minute, half to one gigabyte.

    archgym backends install scalesim
    """
    try:
        with progress_bar() as progress:
            place = make(name, progress=progress)
    except KeyboardInterrupt:
        end_interrupted("nothing was installed")
    print_to_copy("Installed", f"{name} {BACKENDS[name].version} in {place}")
    print_to_copy("Next", f"archgym search archgym/Accelerator-v0 genetic --set backend={name}")


def show() -> None:
    """List the real simulators, what they report, and whether they are installed.

    archgym backends list
    """
    console = stdout()
    heading(console, "Backends", "archgym/Accelerator-v0, --set backend=NAME")
    table = new_table("Backend", "Version", "Installed", "Time per layer")
    for name, backend in BACKENDS.items():
        there = installed(name)
        state = "yes" if there else f"no: archgym backends install {name}"
        table.add_row(name, backend.version, state, backend.seconds_per_layer, style="" if there else "dim")
    console.print(table)
    console.print()
    console.print(
        fact_sheet(
            [(name, f"{backend.gives}; dataflows {backend.dataflows}") for name, backend in BACKENDS.items()]
        )
    )
    console.print()
    console.print(
        "Time per layer is that of a new matrix multiplication on one core; results are kept on disk.",
        style="dim",
    )
