"""`archgym fidelity`: predictions of the cost models against measurements, other simulators and published
tables.

Other simulators' and published tables are not shipped: --data names the folder that has them, and a record of
each comparison is printed where it is not given. The accelerator model's record is written by

    archgym fidelity accelerator --data DIR \\
        --record archgym/simulators/accelerator/fidelity/records/accelerator_fidelity.json
    archgym fidelity accelerator --live accelforge \\
        --record archgym/simulators/accelerator/fidelity/records/accelforge_mapper.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
import typer

from archgym.cli.fidelity_mapper import print_mapper
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.errors import ArchGymError, unknown
from archgym.files.paths import check_writable, write_atomically
from archgym.progress import progress_bar
from archgym.simulators.accelerator.fidelity import accelerator as arrays
from archgym.simulators.accelerator.fidelity import attention as published
from archgym.simulators.accelerator.fidelity import mapper
from archgym.simulators.accelerator.fusemax import LENGTHS, MODELS
from archgym.words import percent

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.cli.tables import Table


# --- archgym fidelity accelerator ---


NOT_VALIDATED = (
    ("Stalls", "cycles where the NoC or off-chip memory binds; only computation is compared"),
    ("Joules", "simulators' constants differ 2 to 10 times; compare designs under one table"),
    ("Dataflows", "traffic of eyeriss (row-stationary) and of convolutions on shidiannao; accesses to L1"),
    ("Area", "all of it: memories are CACTI's and multiply-adders Horowitz's, their sum was not compared"),
)


LIVE = ("scalesim", "accelforge")  # the first is meant by --live alone


def accelerator(
    tool: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOOL]", help="Tool for --live: scalesim or accelforge.", show_default="scalesim"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Folder with {', '.join(arrays.COMPARED)}.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help=f"Also run the installed tool: {arrays.LIVE_RUNS} random cases in SCALE-Sim, or "
            f"{mapper.LAYERS} layers in accelforge, some minutes.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the cases.")] = 0,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="File for the comparison with --data, or by --live accelforge."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Compare the accelerator model with the tables of other simulators; without --data, as recorded.

    archgym fidelity accelerator
    """
    ran = _tool_to_run(tool, live)
    if record is not None:
        if (data is not None) == (ran == "accelforge"):
            raise ArchGymError(
                "--record writes one comparison: give the folder of tables (--data DIR), or --live accelforge"
            )
        record = check_writable(record)
    found = _found(arrays.RECORD, arrays.compare, data)
    runs, mapped = None, dict(json.loads(mapper.RECORD.read_text(encoding="utf-8")))
    if ran is not None:
        with progress_bar() as progress:
            if ran == "scalesim":
                runs = arrays.run_live(seed, progress)
            else:
                mapped = mapper.run_live(seed, progress)
    if record is not None:
        written = partial(_write_json, found) if data is not None else partial(_write_mapped, mapped)
        write_atomically(record, written)
    if as_json:
        print(json.dumps(_accelerator_as_json(found, mapped, runs)))
        return
    console = stdout()
    _heading(console, "Accelerator model", data)
    _print_accelerator(console, found)
    console.print()
    print_mapper(console, mapped, recorded=ran != "accelforge")
    if runs is not None:
        console.print()
        _print_live(console, runs, seed)
    console.print()
    console.print("Not validated", style="bold")
    console.print(fact_sheet(NOT_VALIDATED), style="dim")
    if record is not None:
        console.print()
        print_to_copy("Written to", str(record))


def _tool_to_run(tool: str | None, live: bool) -> str | None:
    """The tool to run, if any.

    Raises:
        ArchGymError: an unknown tool, or one without --live.
    """
    if tool is not None and tool not in LIVE:
        raise unknown("tool of --live", tool, LIVE)
    if tool is not None and not live:
        raise ArchGymError(f"{tool} is run with --live: archgym fidelity accelerator --live {tool}")
    return (tool or LIVE[0]) if live else None


def _accelerator_as_json(
    found: dict[str, Any], mapped: dict[str, Any], runs: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Numbers of rows and largest differences: of counts in counts, of energies and traffic relative."""
    tables = [found[name]["rows"] for name in ("scalesim", "maestro")]
    energy, own = found["accelforge_nvdla"]["overall"], mapped["summary"]["free"]["differences"]
    live = {f"mapper_{name}": max(-each["least"], each["largest"]) for name, each in own.items()}
    counts = {"scalesim": found["scalesim"]["largest"], "maestro": found["maestro"]["largest"]}
    if runs is not None:
        counts["scalesim_live"] = {"all": max(run["difference"] for run in runs)}
    return {
        "rows": sum(tables) + energy["rows"] + len(found["zigzag"]["names"]),
        "largest_relative_difference": {"energy": energy["largest"], **live},
        "largest_difference": counts,
        "spearman": {"zigzag": found["zigzag"]["spearman"], "accelforge": energy["spearman"]},
        "mapper": mapped["summary"],
    }


def _write_mapped(found: dict[str, Any], file: BinaryIO) -> None:
    file.write(mapper.record_of(found).encode("utf-8"))


def _write_json(found: dict[str, Any], file: BinaryIO) -> None:
    file.write((json.dumps(found, indent=1) + "\n").encode("utf-8"))


def _print_accelerator(console: Console, found: dict[str, Any]) -> None:
    table = new_table("Closed form", "Against", "Rows>", "Largest difference>", expendable=["Rows"])
    exact = [("SCALE-Sim", found["scalesim"]), ("MAESTRO", found["maestro"])]
    for tool, differences in exact:
        for quantity, largest in differences["largest"].items():
            table.add_row(quantity, tool, f"{differences['rows']:,}", f"{largest:,}")
    console.print(table)
    console.print(
        "Without stalls: SCALE-Sim's systolic arrays; MAESTRO's nvdla, shidiannao and eyeriss convolutions.",
        style="dim",
    )
    console.print()

    table = new_table("Energy, buffer>", "Rows>", "Mean error>", "Largest>", "Spearman>")
    errors = found["accelforge_nvdla"]
    for size, each in errors["by_buffer_kb"].items():
        table.add_row(f"{int(size):,} KB", *_errors(each))
    table.add_row("all", *_errors(errors["overall"]), style="bold")
    console.print(table)
    console.print(
        "Matrix multiplications, weights stay, against accelforge's best mappings with its constants.",
        style="dim",
    )
    console.print(
        "The nominal array that tiles are chosen for was set on these rows: 2.0 to 2.8 % from 64 to 256.",
        style="dim",
    )
    console.print()

    order = found["zigzag"]
    table = new_table("Energy per multiply-add", "ZigZag pJ>", "ZigZag rank>", "Model pJ>", "Model rank>")
    simulated, predicted = order["simulated"], order["predicted"]
    for i, name in enumerate(order["names"]):
        cells = [
            cell
            for values in (simulated, predicted)
            for cell in (f"{values[i]:.3f}", str(1 + sum(v < values[i] for v in values)))
        ]
        table.add_row(name, *cells)
    console.print(table)
    orders = (
        ("Spearman", f"{_rank(order['spearman'])} with the constants of ZigZag's tpu_like"),
        (
            "",
            f"{_rank(order['spearman_compulsory'])} by off-chip traffic that nothing avoids, alone: a weak "
            "check",
        ),
        (
            "",
            f"{_rank(order['spearman_45nm'])} with the 45nm table, whose 2 MB buffer is one bank",
        ),
        (
            "",
            f"{_rank(order['spearman_45nm_banked'])} with 45nm_banked: banks of 128 KB, as ZigZag's has",
        ),
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
    return (
        f"{errors['rows']:,}",
        percent(errors["mean"], 2),
        percent(errors["largest"]),
        _rank(errors["spearman"]),
    )


def _rank(correlation: float) -> str:
    return "-" if math.isnan(correlation) else f"{correlation:.4f}"


# --- archgym fidelity attention ---


def attention(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the published tables, or one that has them as fusemax/."),
    ] = None,
) -> None:
    """Compare closed forms of FuseMax and FLAT with the published tables; without --data, as recorded.

    archgym fidelity attention
    """
    found = _found(published.RECORD, published.compare, data)
    console = stdout()
    _heading(console, "Attention accelerators", data)
    _print_attention(console, found)


def _print_attention(console: Console, found: dict[str, Any]) -> None:
    table = new_table("Design", "Table", "Rows>", "Latency>", "Traffic>", expendable=["Rows", "Table"])
    for name, design in published.FORMS.items():
        each = found["forms"][name]
        table.add_row(
            design, name, str(each["rows"]), _scientific(each["latency"]), _scientific(each["traffic"])
        )
    console.print(table)
    console.print()
    console.print(_ratios("Speed-up over FLAT", found["speed_up"], "{:.2f}x"))
    console.print()
    console.print(_ratios("Energy, published", found["energy"], "{:.3f}"))
    console.print()
    meanings = (
        ("Latency, traffic", "largest |closed form / published - 1| over the rows"),
        (
            "Speed-up",
            f"published latencies; the mean by the closed forms is {found['speed_up_by_the_forms']:.2f}x",
        ),
        ("Energy", "FuseMax / FLAT, published; archgym does not compute it"),
        ("Validity", "these designs only: AttentionAccelerator-v0 also has others"),
    )
    console.print(fact_sheet(meanings), style="dim")


def _scientific(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _ratios(title: str, ratios: dict[str, list[float]], form: str) -> Table:
    """A row per model, a column per length, means at the right and in the last row."""
    table = new_table(title, *(f"{length}>" for length in LENGTHS), "Mean>")
    rows = np.array([ratios[model] for model in MODELS])
    for model, row in zip(MODELS, rows, strict=True):
        table.add_row(model, *map(form.format, row), form.format(row.mean()))
    table.add_row("mean", *map(form.format, rows.mean(axis=0)), form.format(rows.mean()), style="bold")
    return table


# --- tables of others, and records ---


def _found(record: Path, compare: Callable[[Path], dict[str, Any]], data: Path | None) -> dict[str, Any]:
    """A comparison with the tables of a folder, or as recorded."""
    return dict(json.loads(record.read_text(encoding="utf-8"))) if data is None else compare(data)


def _heading(console: Console, title: str, data: Path | None) -> None:
    heading(console, title, "recorded; --data DIR compares anew" if data is None else f"tables of {data}")
