"""`archgym fidelity softmax`: the cost model's predictions against kernels measured on this machine."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from archgym.cli.measuring import (
    COMPILING_S,
    Seed,
    check_memory,
    find_kernels,
    measuring,
    measuring_seconds,
    shape_in_words,
)
from archgym.cli.options import ChartFile, check_file
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.errors import ArchGymError, whole
from archgym.files.charts import check_chart, write_chart
from archgym.files.paths import write_atomically
from archgym.progress import parts, progress_bar
from archgym.words import percent, significant

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.cli.tables import Table
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.fitting.drift import Drift, Range
    from archgym.simulators.softmax.fitting.fidelity import Fidelity

MIN_DESIGNS = 10
OFF = 0.10  # distance of a term's median from 1 beyond which it is marked


def softmax(
    calibration: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH", help="Recorded calibration, or a file.", show_default="this machine's"
        ),
    ] = "host",
    cols: Annotated[
        list[int] | None,
        typer.Option(help="Elements per row (repeatable).", show_default="4096, 65536, 1048576 and 67108864"),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of every shape.")] = 1,
    designs: Annotated[int, typer.Option(help="Number of random designs, the same for every shape.")] = 300,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="File for all points: designs, measured and predicted times."),
    ] = None,
    chart: ChartFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure random kernels and the model's own choices, and compare the model's predictions with them; some
    minutes.

    Probes beside every kernel show how the machine's speed has drifted since the calibration; errors are
    given without that drift, and as measured.

    archgym fidelity softmax
    """
    whole("--rows", rows, least=1)
    whole("--designs", designs, least=MIN_DESIGNS)
    whole("--seed", seed, least=0)
    shapes = [
        (rows, whole("--cols", each, least=1)) for each in dict.fromkeys(cols or [2**12, 2**16, 2**20, 2**26])
    ]
    if out is not None:
        out = check_file("--out", out, ".csv")
    if chart is not None:
        chart = check_chart(chart, "--chart")
    model = _model_to_judge(calibration)
    check_memory(shapes)
    with measuring("nothing was written" if out or chart else ""):
        found = _compared(model, shapes, designs, seed)
    if out is not None:
        write_atomically(out, partial(_write_points, found))
    if chart is not None:
        from archgym.simulators.softmax.fitting.charts import predictions

        write_chart(
            predictions(found, f"Predicted against measured, calibration {calibration}", model.machine), chart
        )
    if as_json:
        print(json.dumps(_as_json(found, calibration)))
        return
    console = stdout()
    heading(
        console, "Softmax cost model", f"calibration {calibration}, {designs:,} random designs, seed {seed}"
    )
    _print_softmax(console, found)
    if out or chart:
        console.print()
    for title, written in (("Points", out), ("Chart", chart)):
        if written is not None:
            print_to_copy(title, str(written))


def _compared(model: Calibration, shapes: list[tuple[int, int]], designs: int, seed: int) -> Fidelity:
    """The model's predictions against measured kernels."""
    from archgym.simulators.softmax.fitting.fidelity import CHOICES, fidelity

    seconds = (
        designs * COMPILING_S,
        measuring_seconds(designs, shapes),
        measuring_seconds(2 * CHOICES, shapes),
    )
    kernels = find_kernels()
    with progress_bar() as progress, warnings.catch_warnings():
        # statistics of too few reliable points, which are printed as a dash
        warnings.simplefilter("ignore", RuntimeWarning)
        compiling, sampling, again = parts(progress, seconds)
        compiling("compiling kernels", 0.0)

        def sampled(what: str, share: float) -> None:
            sampling(what, share) if share < 1 else again("measuring the best again", 0.0)

        return fidelity(
            kernels, model, shapes, designs=designs, seed=seed, compiling=compiling, measuring=sampled
        )


def _model_to_judge(name: str) -> Calibration:
    """A calibration that has all instruction sets of this machine.

    Raises:
        ArchGymError: an unknown name, or a calibration that lacks an instruction set.
    """
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.machine.cpu import instruction_sets

    if name == "host" and not Calibration.host().exists():
        raise ArchGymError(
            "this machine has no calibration yet: run `archgym calibrate softmax`, or name one with "
            f"--calibration (a file, or a recorded one: {', '.join(Calibration.recorded())})"
        )
    calibration = Calibration.load(name)
    if missing := [isa for isa in instruction_sets() if isa not in calibration.lanes]:
        raise ArchGymError(
            f"the calibration {name!r} is of a machine without {' and '.join(missing)}, which this machine "
            "has: name another"
        )
    return calibration


def _print_softmax(console: Console, found: Fidelity) -> None:
    console.print(_errors_table(found))
    console.print()
    console.print(_drift_table(found))
    for line in _drift_in_words(found.reliable_drift):
        console.print(line, style="dim")
    for table in (_designs_table(found), _ratios_table(found)):
        console.print()
        console.print(table)
    console.print()
    console.print(fact_sheet(_SOFTMAX_TERMS), style="dim")


def _errors_table(found: Fidelity) -> Table:
    table = new_table("Shape>", "Points>", "Repeated>", "Unreliable>", "MAPE>", "As measured>", "Spearman>")
    for each in found.shapes:
        counts = (f"{n:,}" for n in (each.points, each.repeated, each.unreliable))
        figures = percent(each.mape), percent(each.as_measured), significant(each.spearman, 3)
        table.add_row(shape_in_words(each.shape), *counts, *figures)
    if len(found.shapes) > 1:
        repeated = sum(each.repeated for each in found.shapes)
        counts = (f"{n:,}" for n in (len(found.sample), repeated, int(found.sample.unreliable.sum())))
        steady, raw = found.agreement, found.as_measured
        figures = percent(steady.mape), percent(raw.mape), significant(steady.spearman, 3)
        table.add_row("all", *counts, *figures, style="bold")
    return table


def _drift_table(found: Fidelity) -> Table:
    table = new_table("Drift>", "Time>", "range", "Core>", "range", "Memory>", "range")
    rows = [(shape_in_words(each.shape), each.drift, "") for each in found.shapes]
    if len(rows) > 1:
        rows.append(("all", found.reliable_drift, "bold"))
    for name, drift, style in rows:
        ranges = drift.ranges()
        cells = (cell for key in ("factor", "core", "memory") for cell in _range_in_words(ranges[key]))
        table.add_row(name, *cells, style=style)
    return table


def _range_in_words(values: Range) -> tuple[str, str]:
    """Median and range: "1.02", "0.98 to 1.31"."""
    if math.isnan(values.median):
        return "-", ""
    return f"{values.median:.2f}", f"{values.least:.2f} to {values.largest:.2f}"


def _drift_in_words(drift: Drift) -> list[str]:
    second = drift.ranges()["second_s"]
    since = (
        "Speed of the probes beside each point over that at the calibration; 1.25: a quarter more time."
        if drift.since_calibration
        else "The calibration has no probe times: drift is not removed. Core, memory: over the run's least."
    )
    if math.isnan(second.median):
        return [since]
    median, least, largest = (f"{1e6 * value:+.2f}" for value in second)
    return [since, f"Start of the second thread: {median} us, {least} to {largest} us."]


def _as_json(found: Fidelity, calibration: str) -> dict[str, Any]:
    steady = found.agreement
    largest = abs(found.ratio - 1).max() if len(found.ratio) else math.nan
    shapes = [
        {
            "rows": each.shape[0],
            "cols": each.shape[1],
            "points": each.points,
            "repeated": each.repeated,
            "unreliable": each.unreliable,
            "mape": each.mape,
            "mape_as_measured": each.as_measured,
            "spearman": each.spearman,
            "drift": _drift_as_json(each.drift),
            "regret": each.regret,
            "top_10": each.top,
            "best": each.best,
            "best_ns": each.best_ns,
        }
        for each in found.shapes
    ]
    return _without_nan(
        {
            "rows": len(found.sample),
            "largest_relative_difference": {"time_s": float(largest)},
            "calibration": calibration,
            "unreliable": int(found.sample.unreliable.sum()),
            "mape": steady.mape,
            "mape_as_measured": found.as_measured.mape,
            "spearman": steady.spearman,
            "drift_since_calibration": found.drift.since_calibration,
            "drift": _drift_as_json(found.reliable_drift),
            "shapes": shapes,
        }
    )


def _drift_as_json(drift: Drift) -> dict[str, Any]:
    names = {"factor": "time", "core": "core", "memory": "memory", "second_s": "second_thread_s"}
    return {names[key]: values._asdict() for key, values in drift.ranges().items()}


def _without_nan(value: Any) -> Any:
    """The value with null for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _designs_table(found: Fidelity) -> Table:
    table = new_table("Shape>", "Regret>", "Top 10>", "", "ns>", "Design")
    for each in found.shapes:
        same = each.best == each.choice
        table.add_row(
            shape_in_words(each.shape),
            f"{each.regret:.3f}",
            f"{each.top:.3f}",
            "best",
            significant(each.best_ns, 3),
            _design_in_words(each.best) + (" (the model's first choice)" if same else ""),
        )
        if not same:
            table.add_row(
                "", "", "", "model's", significant(each.choice_ns, 3), _design_in_words(each.choice)
            )
    return table


def _ratios_table(found: Fidelity) -> Table:
    table = new_table("Term", "Value", "Points>", "Median ratio>", "MAPE>", "The model is")
    for name, values in found.terms().items():
        shown = name
        for value, (points, median, mape) in values.items():
            off = (
                ""
                if abs(median - 1) <= OFF
                else f"{percent(abs(median - 1), 0)} too {'slow' if median > 1 else 'fast'}"
            )
            table.add_row(
                shown,
                str(value),
                f"{points:,}",
                f"{median:.2f}",
                percent(mape),
                off,
                style="yellow" if off else "",
            )
            shown = ""
    return table


_SOFTMAX_TERMS = (
    ("MAPE", "mean of |predicted / measured - 1| over the random sample, drift removed"),
    ("As measured", "the same, drift and all"),
    ("Spearman", "rank correlation of predicted and measured time; 1: same order"),
    ("Repeated", "points measured again, up to four times: they or their probes were disturbed"),
    ("Unreliable", "points disturbed each time; left out of errors, drift and ratios"),
    ("Drift", "time now / time at the calibration, by probes: median and range over the points"),
    ("Regret", "time of the model's first choice / best time measured; 1 at best"),
    ("Top 10", "best of the model's ten first choices / best of the sample"),
    ("ns", "per element"),
    ("Median ratio", "predicted / measured of designs with the value, drift removed; 1: exact"),
)


def _design_in_words(design: Mapping[str, Any]) -> str:
    """The parameters that matter to a design: "two_pass, avx512, unroll 8, accumulators 4, non-temporal"."""
    from archgym.simulators.softmax.model import TILED

    parts = [
        str(design["algorithm"]),
        str(design["isa"]),
        f"unroll {design['unroll']}",
        f"accumulators {design['accumulators']}",
    ]
    parts += [f"prefetch {design['prefetch']}"] if design["prefetch"] else []
    parts += ["non-temporal"] if design["nontemporal"] else []
    parts += [f"tile {design['tile']}"] if design["algorithm"] in TILED else []
    return ", ".join([*parts, *(["2 threads"] if design["threads"] == 2 else [])])


def _write_points(found: Fidelity, file: BinaryIO) -> None:
    """All points of the random sample as CSV."""
    sample = found.sample
    columns = {
        **sample.designs,
        "rows": sample.rows,
        "cols": sample.cols,
        "measured_s": sample.seconds,
        "predicted_s": found.predicted,
        "unreliable": sample.unreliable,
        "drift": found.drift.factor,
        "core_drift": found.drift.core,
        "memory_drift": found.drift.memory,
        "second_thread_s": found.drift.second_s,
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
    file.write(text.getvalue().encode())
