"""`archgym backends`: the real simulators that can stand in for the analytical model, and their installation."""

from __future__ import annotations

from typing import Annotated

import typer

from archgym.cli.screen import INTERRUPTED, fact_sheet, heading, new_table, say, stdout
from archgym.progress import progress_bar
from archgym.simulators.accelerator.backends.environments import BACKENDS, installed
from archgym.simulators.accelerator.backends.environments import install as make


def install(name: Annotated[str, typer.Argument(help=f"{' or '.join(BACKENDS)}.")]) -> None:
    """Install a real simulator in an environment of its own; about half a minute and half a gigabyte.

    archgym backends install scalesim
    """
    try:
        with progress_bar() as tell:
            place = make(name, tell=tell)
    except KeyboardInterrupt:
        say("interrupted", "nothing was installed", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    console = stdout()
    console.print(f"{'Installed':<13}{name} {BACKENDS[name].version} in {place}", soft_wrap=True)
    console.print(f"{'Next':<13}archgym search archgym/Accelerator-v0 genetic --set backend={name}", soft_wrap=True)


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
    console.print(fact_sheet([(name, f"{backend.gives}; dataflows {backend.dataflows}") for name, backend in BACKENDS.items()]))
    console.print()
    console.print("Time of a matrix multiplication that was not met before, on one core; what was met is found again on disk.", style="dim")
