"""`archgym calibrate`: fit the cost model of softmax kernels to this machine, and show a calibration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from typer.core import TyperGroup

from archgym.cli.measuring import COMPILING_S, Seed, check_memory, find_kernels, measuring, measuring_seconds
from archgym.cli.options import ChartFile, check_file
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.errors import ArchGymError, whole
from archgym.files.charts import check_chart, write_chart
from archgym.files.paths import check_writable, make_folder, write_atomically
from archgym.progress import Progress, parts, progress_bar
from archgym.words import number, percent, significant

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.cli.tables import Table
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.fitting.calibrate import Document
    from archgym.simulators.softmax.fitting.sample import Agreement
    from archgym.simulators.softmax.machine.kernels import Kernels

MOVED_BYTES = {"read": 4, "write": 4, "copy": 8, "in_place": 8}  # read and written, per float32
UNITS = {
    "log2_bytes": "log2 of the bytes touched",
    "ns_per_float": "ns per float32",
    "compute": "ns per element, data in L1",
    "row_overhead_ns": "ns",
    "tile_overhead_ns": "ns",
    "start_ns": "ns",
}
MAX_LOG2_BYTES = 64
LINE = 110  # characters of a JSON file, longer lists excepted
CALIBRATION_S = 40.0  # rough time of a calibration, to divide the progress bar


class _ShowWithoutName(TyperGroup):
    """A group with an option --show whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for i, word in enumerate(args):
            if word == "--show" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                args = [*args[: i + 1], "", *args[i + 1 :]]
        return super().parse_args(ctx, args)


calibrate = typer.Typer(cls=_ShowWithoutName, invoke_without_command=True, no_args_is_help=True)

# --- archgym calibrate ---


@calibrate.callback()
def _calibrate(
    ctx: typer.Context,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="[NAME|PATH]",
            help=(
                "Calibration to show: host, a recorded one (xeon-2mb-l2), or a file; without a name, host's "
                "if there is one."
            ),
        ),
    ] = None,
    chart: ChartFile = None,
) -> None:
    """Fit a cost model to this machine, or show a calibration."""
    if ctx.invoked_subcommand is not None:
        if show is not None or chart is not None:
            raise ArchGymError(f"--show and --chart go without {ctx.invoked_subcommand!r}")
    elif show is None:
        raise ArchGymError("--chart goes with --show: archgym calibrate --show --chart FILE.svg")
    else:
        _show(show, chart)


@calibrate.command("softmax")
def calibrate_softmax(
    bias: Annotated[
        bool,
        typer.Option(
            "--bias",
            help=(
                "Also measure more kernels and fit a table of the model's errors to them; some minutes more."
            ),
        ),
    ] = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="File for the calibration.", show_default="this machine's own"
        ),
    ] = None,
) -> None:
    """Measure memory, arithmetic and softmax kernels of this machine; about two minutes, more beside others.

    archgym calibrate softmax
    """
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.fitting.calibrate import BIAS_SHAPES, LOG2_FLOATS
    from archgym.simulators.softmax.fitting.calibrate import calibrate as measure

    whole("--seed", seed, least=0)
    path = _place(out)
    shapes = [(1, int(2 ** LOG2_FLOATS[-1])), *(BIAS_SHAPES if bias else ())]
    check_memory(shapes)
    scores = None
    with measuring("nothing was written"):
        kernels = find_kernels()
        with progress_bar() as progress:
            first, *more = parts(progress, [CALIBRATION_S, *(_seconds_of_bias() if bias else ())])
            first("compiling", 0.0)
            document = measure(kernels, seed=seed, progress=first)
            if bias:
                document, scores = _with_bias(kernels, document, seed, *more)
    document = _signed(document, seed, scores)
    path = write_atomically(path, lambda file: _write_json(document, file))
    console = stdout()
    heading(console, "Calibration of this machine", path.name)
    _print_calibration(console, document)
    if scores is not None:
        console.print()
        _print_scores(console, scores)
    console.print()
    name = "host" if path == Calibration.host() else str(path)
    print_to_copy("Written to", str(path))
    print_to_copy("Next", f"archgym search archgym/Softmax-v0 genetic --set calibration={name}")


def _place(out: Path | None) -> Path:
    """The file for a calibration; its folder is made where that is ours.

    Raises:
        ArchGymError: no file can be written there.
    """
    if out is not None:
        return check_file("--out", out, ".json")
    from archgym.simulators.softmax import Calibration

    path = Calibration.host()
    make_folder(path.parent)
    return check_writable(path)


def _seconds_of_bias() -> tuple[float, float]:
    from archgym.simulators.softmax.fitting.calibrate import BIAS_DESIGNS, BIAS_SHAPES

    return BIAS_DESIGNS * COMPILING_S, measuring_seconds(BIAS_DESIGNS, BIAS_SHAPES)


@dataclass(frozen=True)
class _BiasScores:
    """The effect of a bias table: `fitted` designs went into it; (MAPE, Spearman) on `unseen` others
    `without` and `with_` it.
    """

    fitted: int
    unseen: int
    without: Agreement
    with_: Agreement


def _with_bias(
    kernels: Kernels, document: Document, seed: int, compiling: Progress, sampling: Progress
) -> tuple[Document, _BiasScores]:
    """The calibration with a bias table fitted to two thirds of a sample's designs, and how well it
    predicts the others.
    """
    import numpy as np

    from archgym.simulators.softmax.fitting.calibrate import (
        BIAS_DESIGNS,
        BIAS_SHAPES,
        held_out,
        score,
        steady,
        with_bias,
    )
    from archgym.simulators.softmax.fitting.sample import build_and_check, measure_sample, random_designs

    rng = np.random.default_rng([seed, 1])
    designs = random_designs(BIAS_DESIGNS, rng)
    build_and_check(kernels, designs, compiling)
    sample = steady(document, measure_sample(kernels, designs, BIAS_SHAPES, rng, sampling))
    kept = held_out(sample, rng)
    biased, unseen = with_bias(document, sample.where(~kept)), sample.where(kept)
    others = len(unseen) // len(BIAS_SHAPES)
    return biased, _BiasScores(len(designs) - others, others, score(document, unseen), score(biased, unseen))


def _print_scores(console: Console, scores: _BiasScores) -> None:
    table = new_table("Bias table", "MAPE>", "Spearman>")
    for title, (mape, spearman) in (("without it", scores.without), ("with it", scores.with_)):
        table.add_row(title, percent(mape), significant(spearman, 3))
    console.print(table)
    console.print(
        f"Fitted to {scores.fitted:,} random designs, judged by {scores.unseen:,} others.", style="dim"
    )


def _signed(document: Document, seed: int, scores: _BiasScores | None) -> Document:
    """The document with date, version, seed and units, for its readers."""
    from datetime import UTC, datetime

    from archgym.version import __version__

    provenance = f"{datetime.now(UTC):%Y-%m-%d}, measured by archgym {__version__} (seed {seed})"
    if scores is not None:
        without, with_ = percent(scores.without.mape), percent(scores.with_.mape)
        provenance += (
            f"; bias fitted to {scores.fitted} designs: on {scores.unseen} others MAPE {without} without it, "
            f"{with_} with it"
        )
    first = {key: document[key] for key in ("format", "version", "machine")}
    return {
        **first,
        "provenance": provenance,
        "units": UNITS,
        **{key: value for key, value in document.items() if key not in first},
    }


def _write_json(document: Document, file: BinaryIO) -> None:
    file.write((_in_lines(document) + "\n").encode("utf-8"))


def _in_lines(value: Any, depth: int = 0) -> str:
    """Readable JSON: a list, or an entry that fits, is on one line; one more space for each level."""
    text = json.dumps(value)
    if not isinstance(value, dict) or (depth and len(text) <= LINE):
        return text
    space = " " * (depth + 1)
    entries = ",\n".join(
        f"{space}{json.dumps(key)}: {_in_lines(entry, depth + 1)}" for key, entry in value.items()
    )
    return f"{{\n{entries}\n{' ' * depth}}}"


# --- archgym calibrate --show ---


def _show(source: str, chart: Path | None) -> None:
    """Print the numbers of a calibration, and draw its bandwidth curves to a file."""
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.terms import DEFAULT, PATTERNS

    if chart is not None:
        chart = check_chart(chart, "--chart")
    source = source or ("host" if Calibration.host().exists() else DEFAULT)
    calibration = Calibration.load(source)  # checks it
    path = Calibration.path(source)
    document: Document = json.loads(path.read_text(encoding="utf-8-sig"))
    curves = {
        pattern: (curve["log2_bytes"], curve["ns_per_float"])
        for pattern, curve in document["bandwidth"].items()
        if pattern in PATTERNS
    }
    levels = document["overlap"]["log2_bytes"]
    if (largest := max(*levels, *(size for sizes, _ in curves.values() for size in sizes))) > MAX_LOG2_BYTES:
        raise ArchGymError(
            f"the calibration {source!r} has log2_bytes of {largest:g}: they are logarithms of bytes, not "
            "bytes"
        )
    console = stdout()
    heading(
        console,
        f"Calibration {source}",
        "" if source == "host" or source in Calibration.recorded() else str(path),
    )
    _print_calibration(console, document)
    console.print()
    console.print(_curves_in_numbers(calibration, curves))
    console.print("ns per float32 of one thread, by the bytes that go through the caches.", style="dim")
    if chart is not None:
        from archgym.simulators.softmax.fitting.charts import bandwidth

        write_chart(
            bandwidth(curves, levels, f"Memory bandwidth, calibration {source}", calibration.machine), chart
        )
        console.print()
        print_to_copy("Chart", str(chart))


def _curves_in_numbers(
    calibration: Calibration, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> Table:
    """ns per float at every fourth size."""
    from archgym.simulators.softmax.fitting.charts import size, words

    table = new_table("Bytes>", *(f"{words(pattern)}>" for pattern in curves))
    low = min(sizes[0] for sizes, _ in curves.values())
    high = max(sizes[-1] for sizes, _ in curves.values())
    for x in range(math.ceil(low / 2) * 2, math.floor(high) + 1, 2):
        cells = [
            significant(calibration.bandwidth_ns(pattern, 2.0**x), 3)
            if sizes[0] - 0.01 <= x <= sizes[-1] + 0.01
            else "-"
            for pattern, (sizes, _) in curves.items()
        ]
        table.add_row(size(x), *cells)
    return table


# --- what both print ---


def _print_calibration(console: Console, document: Document) -> None:
    """The machine, the costs of memory by pattern and level, and the fitted constants."""
    from archgym.simulators.softmax import Calibration
    from archgym.simulators.softmax.fitting.charts import levels_of, words
    from archgym.simulators.softmax.terms import PATTERNS, PREFETCH_BYTES

    calibration = Calibration.from_json(document, "host")
    log2_bytes = document["overlap"]["log2_bytes"]
    levels, places = levels_of(log2_bytes), _places(document)
    facts = [("Machine", calibration.machine)]
    if "provenance" in document:
        facts.append(("Measured", str(document["provenance"])))
    console.print(fact_sheet(facts))
    console.print()

    table = new_table(
        "Memory, one thread", *(f"{level} {unit}>" for level in levels for unit in ("ns", "GB/s"))
    )
    for pattern in PATTERNS:
        cells = []
        for place in places:
            ns = calibration.bandwidth_ns(pattern, 2.0**place)
            cells += [f"{ns:.3f}", significant(MOVED_BYTES[pattern.removesuffix("_nontemporal")] / ns, 2)]
        table.add_row(words(pattern), *cells)
    console.print(table)
    console.print("ns per float32; GB/s of what the code reads and writes.", style="dim")
    console.print()

    table = new_table("Not hidden (phi)", *(f"{level}>" for level in levels))
    for distance in PREFETCH_BYTES:
        factors = document["overlap"]["prefetch_factor"][str(distance)]
        phi = [value * factor for value, factor in zip(document["overlap"]["phi"], factors, strict=True)]
        table.add_row(
            f"prefetching {distance:,} bytes ahead" if distance else "no prefetching",
            *(f"{value:.2f}" for value in phi),
        )
    console.print(table)
    console.print("Part of the shorter of memory time and arithmetic time that is not hidden.", style="dim")
    console.print()

    facts = [
        (
            "Start-up",
            f"{number(calibration.row_overhead_ns)} ns per row, {number(calibration.tile_overhead_ns)} ns "
            "per tile",
        )
    ]
    text = (
        f"{number(calibration.thread_start_ns)} ns to start the second; each takes "
        f"{calibration.thread_slowdown:.3g} times as long"
    )
    if "two_threads" in document:
        slower = [
            math.prod(
                calibration.bandwidth_ns(p, 2.0**x, 2) / calibration.bandwidth_ns(p, 2.0**x) for p in PATTERNS
            )
            ** (1 / len(PATTERNS))
            for x in places
        ]
        moving = ", ".join(f"{ratio:.2f} ({level})" for ratio, level in zip(slower, levels, strict=True))
        text += f", and moving data another {moving.replace(' (', ' times (', 1)}"
    console.print(fact_sheet([*facts, ("Two threads", text)]))


def _places(document: Document) -> list[float]:
    """log2 of the bytes that represent a level: half of the first, the middle of the others, the most
    measured for memory.
    """
    levels = document["overlap"]["log2_bytes"]
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    return [levels[0] - 1, *middles, max(curve["log2_bytes"][-1] for curve in document["bandwidth"].values())]
