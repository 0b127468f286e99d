"""`archgym fidelity accelerator`: the accelerator model against SCALE-Sim, MAESTRO, accelforge and ZigZag.

The tables of those simulators are not shipped: --data names the folder that has them, and --live runs SCALE-Sim itself.
`records/accelerator_fidelity.json` is what `compare` returned on our tables; it is shown where there is no --data. It is written by

    archgym fidelity accelerator --data DIR --record archgym/simulators/accelerator/records/accelerator_fidelity.json
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
import typer

from archgym.cli.screen import fact_sheet, heading, new_table, stdout
from archgym.errors import ArchGymError
from archgym.files.paths import check_writable, write_atomically
from archgym.progress import progress_bar
from archgym.simulators.accelerator import systolic
from archgym.simulators.accelerator.fidelity import accelerator as fidelity

if TYPE_CHECKING:
    from rich.console import Console

RECORD = Path(fidelity.__file__).parent / "records" / "accelerator_fidelity.json"
COMPARED: dict[str, Callable[[fidelity.Rows], Any]] = {  # by file
    "scalesim.csv": fidelity.scalesim,
    "maestro.csv": fidelity.maestro_,
    "accelforge_nvdla.csv": fidelity.accelforge,
    "zigzag.csv": fidelity.zigzag,
}
NOT_VALIDATED = (
    ("Stalls", "cycles where the NoC or off-chip memory binds; only computation is compared"),
    ("Joules", "simulators' constants differ 2 to 10 times; compare designs under one table"),
    ("Dataflows", "traffic and L1 accesses of eyeriss (row-stationary) and of outputs or inputs that stay"),
    ("Area", "all of it: memories are CACTI's and multiply-adders Horowitz's, their sum was not compared"),
)
LIVE_RUNS = 12
LIVE_ARRAYS = (8, 16, 32)  # rows and columns, each on its own
LIVE_SIZE = 200  # the largest of m, n and k: SCALE-Sim goes through every cycle


def accelerator(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help=f"Folder with {', '.join(COMPARED)}.")] = None,
    live: Annotated[bool, typer.Option("--live", help=f"Also run {LIVE_RUNS} random cases through the installed SCALE-Sim.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the random cases.")] = 0,
    record: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write what --data gives.")] = None,
) -> None:
    """The accelerator model against the tables of other simulators; without --data, as recorded.

    archgym fidelity accelerator
    """
    if record is not None:
        if data is None:
            raise ArchGymError("--record writes what --data DIR gives: name the folder of tables too")
        record = check_writable(record)
    found = json.loads(RECORD.read_text(encoding="utf-8")) if data is None else compare(data)
    runs = run_live(seed) if live else None
    console = stdout()
    heading(console, "Accelerator model", "recorded; --data DIR compares anew" if data is None else f"tables of {data}")
    _print(console, found)
    if runs is not None:
        console.print()
        _print_live(console, runs, seed)
    console.print()
    console.print("Not validated", style="bold")
    console.print(fact_sheet(NOT_VALIDATED), style="dim")
    if record is not None:
        write_atomically(record, partial(_write, found))
        console.print()
        console.print(f"Written to   {record}", soft_wrap=True)


def compare(data: Path) -> dict[str, Any]:
    """The model against the tables of a folder: plain values, as the record has them, by file without its suffix.

    Raises:
        ArchGymError: a file is missing, or is not such a table.
    """
    missing = [name for name in COMPARED if not (data / name).is_file()]
    if missing:
        raise ArchGymError(f"{data} lacks {', '.join(missing)}: --data takes the folder with {', '.join(COMPARED)}")
    found = {Path(name).stem: asdict(_compared(data / name, function)) for name, function in COMPARED.items()}
    plain: dict[str, Any] = json.loads(json.dumps(found))  # as it will be read again: keys are text
    return plain


def _write(found: dict[str, Any], file: BinaryIO) -> None:
    file.write((json.dumps(found, indent=1) + "\n").encode("utf-8"))


def _compared(path: Path, function: Callable[[fidelity.Rows], Any]) -> Any:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        return function(rows)
    except KeyError as error:
        raise ArchGymError(f"{path} has no column {error.args[0]!r}: give the table with all of its columns") from error
    except (ArchGymError, OSError, ValueError, TypeError, ArithmeticError, csv.Error) as error:
        raise ArchGymError(f"{path} is not the table that it should be: {error}") from error


def run_live(seed: int) -> list[dict[str, Any]]:
    """Random matrix multiplications on random arrays through SCALE-Sim: each case, the largest `difference` of cycles and accesses.

    Raises:
        ArchGymError: SCALE-Sim fails.
        SimulatorUnavailable: it is not installed, or does not start.
    """
    from archgym.simulators.accelerator.backends.environments import python_of
    from archgym.simulators.accelerator.backends.session import Session

    rng, runs = np.random.default_rng(seed), []
    session = Session(python_of("scalesim"), "scalesim")
    try:
        with progress_bar() as tell:
            for i in range(LIVE_RUNS):
                rows, cols = rng.choice(LIVE_ARRAYS, 2).tolist()
                m, n, k = rng.integers(1, LIVE_SIZE, 3, endpoint=True).tolist()
                case = {"dataflow": systolic.DATAFLOWS[i % len(systolic.DATAFLOWS)], "rows": rows, "cols": cols, "m": m, "n": n, "k": k}
                tell("SCALE-Sim", i / LIVE_RUNS)
                ran = session.ask(case)
                simulated = [ran[name] for name in ("cycles", "ifmap_reads", "filter_reads", "ofmap_writes")]
                predicted = [systolic.cycles(**case), *systolic.sram_accesses(**case)]
                difference = max(abs(int(a) - int(b)) for a, b in zip(predicted, simulated, strict=True))
                runs.append({**case, "cycles": int(simulated[0]), "difference": difference})
    finally:
        session.close()
    return runs


def _print(console: Console, found: dict[str, Any]) -> None:
    table = new_table("Closed form", "Against", "Rows>", "Largest difference>", expendable=["Rows"])
    exact = [("SCALE-Sim", found["scalesim"]), ("MAESTRO", found["maestro"])]
    for tool, differences in exact:
        for quantity, largest in differences["largest"].items():
            table.add_row(quantity, tool, f"{differences['rows']:,}", f"{largest:,}")
    console.print(table)
    console.print("Without stalls: SCALE-Sim's systolic arrays; MAESTRO's nvdla, shidiannao and eyeriss convolutions.", style="dim")
    console.print()

    table = new_table("Energy, buffer>", "Rows>", "Mean error>", "Largest>", "Spearman>")
    errors = found["accelforge_nvdla"]
    for size, each in errors["by_buffer_kb"].items():
        table.add_row(f"{int(size):,} KB", *_errors(each))
    table.add_row("all", *_errors(errors["overall"]), style="bold")
    console.print(table)
    console.print("Matrix multiplications, weights stay, against accelforge's best mappings with its constants.", style="dim")
    console.print("The nominal array that tiles are chosen for was set on these rows: 2.0 to 2.8 % from 64 to 256.", style="dim")
    console.print()

    order = found["zigzag"]
    table = new_table("Energy per multiply-add", "ZigZag pJ>", "ZigZag rank>", "Model pJ>", "Model rank>")
    simulated, predicted = order["simulated"], order["predicted"]
    for i, name in enumerate(order["names"]):
        cells = [cell for values in (simulated, predicted) for cell in (f"{values[i]:.3f}", str(1 + sum(v < values[i] for v in values)))]
        table.add_row(name, *cells)
    console.print(table)
    orders = (
        ("Spearman", f"{_rank(order['spearman'])} with the constants of ZigZag's tpu_like"),
        ("", f"{_rank(order['spearman_compulsory'])} by off-chip traffic that nothing avoids, alone: a weak check"),
        ("", f"{_rank(order['spearman_45nm'])} with the 45nm table, whose buffer costs ten times ZigZag's"),
    )
    console.print(fact_sheet(orders), style="dim")


def _print_live(console: Console, runs: list[dict[str, Any]], seed: int) -> None:
    table = new_table("SCALE-Sim, live", "Array>", "M>", "N>", "K>", "Cycles>", "Difference>")
    for run in runs:
        sizes = (f"{run[name]:,}" for name in ("m", "n", "k", "cycles", "difference"))
        table.add_row(run["dataflow"], f"{run['rows']} x {run['cols']}", *sizes)
    console.print(table)
    largest = max(run["difference"] for run in runs)
    console.print(f"Seed {seed}. Largest difference of cycles and SRAM accesses: {largest:,}.", style="dim")


def _errors(errors: dict[str, Any]) -> tuple[str, str, str, str]:
    return f"{errors['rows']:,}", f"{100 * errors['mean']:.2f} %", f"{100 * errors['largest']:.1f} %", _rank(errors["spearman"])


def _rank(correlation: float) -> str:
    return "-" if math.isnan(correlation) else f"{correlation:.4f}"
