"""`archgym calibrate`, `archgym fidelity softmax`: fit the cost model of softmax kernels to this machine, and see how far to trust it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from typer.core import TyperGroup

from archgym.cli.screen import INTERRUPTED, fact_sheet, heading, new_table, say, stdout
from archgym.errors import ArchGymError
from archgym.files.paths import check_writable, make_folder, write_atomically
from archgym.progress import Progress, progress_bar
from archgym.simulators.softmax.calibration import DEFAULT, PATTERNS, PREFETCH_BYTES, RECORDED, Calibration
from archgym.text import number

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.cli.tables import Table
    from archgym.simulators.softmax.fitting.calibrate import Document
    from archgym.simulators.softmax.fitting.fidelity import Fidelity
    from archgym.simulators.softmax.fitting.sample import Agreement
    from archgym.simulators.softmax.machine.kernels import Kernels

LEAST_DESIGNS = 10
OFF = 0.10  # a term's median from 1, beyond which it is marked
WIDEST_CHART = 120  # characters
MOVED_BYTES = {"read": 4, "write": 4, "copy": 8, "in_place": 8}  # read and written, per float32
UNITS = {
    "log2_bytes": "log2 of the bytes touched",
    "ns_per_float": "ns per float32",
    "compute": "ns per element, data in L1",
    "row_overhead_ns": "ns",
    "tile_overhead_ns": "ns",
    "start_ns": "ns",
}
MOST_LOG2_BYTES = 64
LINE = 110  # characters of a JSON file, longer lists excepted

# Seconds that work takes, roughly: they only divide the progress bar.
CALIBRATION_S = 40.0
COMPILING_S = 0.4  # a design
MEASURING_S = 1.2e-8  # an element of a design


class _ShowWithoutName(TyperGroup):
    """A group whose option --show may stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for i, word in enumerate(args):
            if word == "--show" and (i + 1 == len(args) or args[i + 1].startswith("-")):
                args = [*args[: i + 1], "", *args[i + 1 :]]
        return super().parse_args(ctx, args)


calibrate = typer.Typer(cls=_ShowWithoutName, invoke_without_command=True, no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Of the random sample, and of the order of measurements.")]
ChartFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it as a .html, .svg or .png file.")]


# --- archgym calibrate ---


@calibrate.callback()
def _calibrate(
    ctx: typer.Context,
    show: Annotated[
        str | None,
        typer.Option(
            metavar="[NAME|PATH]", help=f"Draw a calibration: host, a recorded one ({DEFAULT}), or a file; default: what there is."
        ),
    ] = None,
    chart: ChartFile = None,
) -> None:
    """Fit a cost model to this machine, or show what was measured."""
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
        bool, typer.Option("--bias", help="Also fit a table of what the model misses to more kernels; some minutes more.")
    ] = False,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where it goes.", show_default="this machine's own place")] = None,
) -> None:
    """Measure memory, arithmetic and softmax kernels of this machine; about a minute.

    archgym calibrate softmax
    """
    from archgym.simulators.softmax.fitting.calibrate import BIAS_SHAPES, LOG2_FLOATS
    from archgym.simulators.softmax.fitting.calibrate import calibrate as measure

    _at_least("--seed", seed, 0)
    path = _place(out)
    shapes = [(1, int(2 ** LOG2_FLOATS[-1])), *(BIAS_SHAPES if bias else ())]
    _check_memory(shapes)
    scores = None
    with _measuring("nothing was written"):
        kernels = _kernels()
        with progress_bar() as tell:
            parts = _parts({"": CALIBRATION_S, **(_seconds_of_bias() if bias else {})}, tell)
            parts("", 0.0, "compiling")
            document = measure(kernels, seed=seed, progress=lambda what, share: parts("", share, what))
            if bias:
                document, scores = _with_bias(kernels, document, seed, parts)
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
    next_ = f"archgym search archgym/Softmax-v0 genetic --set calibration={name}"
    for title, text in (("Written to", str(path)), ("Next", next_)):
        console.print(f"{title:<13}{text}", soft_wrap=True)


def _place(out: Path | None) -> Path:
    """Where a calibration goes; its folder is made where that is ours.

    Raises:
        ArchGymError: no file can be written there.
    """
    if out is not None:
        if out.suffix != ".json":
            raise ArchGymError(f"--out takes the name of a .json file, not {str(out)!r}")
        return check_writable(out)
    path = Calibration.host()
    make_folder(path.parent)
    return check_writable(path)


def _seconds_of_bias() -> dict[str, float]:
    from archgym.simulators.softmax.fitting.calibrate import BIAS_DESIGNS, BIAS_SHAPES

    return {
        "compiling kernels for the bias table": BIAS_DESIGNS * COMPILING_S,
        "measuring kernels for the bias table": _measuring_seconds(BIAS_DESIGNS, BIAS_SHAPES),
    }


@dataclass(frozen=True)
class _BiasScores:
    """What a bias table is worth: `fitted` designs went into it, and (MAPE, Spearman) on `unseen` others `without` and `with_` it."""

    fitted: int
    unseen: int
    without: Agreement
    with_: Agreement


def _with_bias(kernels: Kernels, document: Document, seed: int, parts: Callable[..., None]) -> tuple[Document, _BiasScores]:
    """The calibration with a bias table fitted to two thirds of a sample's designs, and how well it predicts the others."""
    import numpy as np

    from archgym.simulators.softmax.fitting.calibrate import BIAS_DESIGNS, BIAS_SHAPES, held_out, score, with_bias
    from archgym.simulators.softmax.fitting.sample import build_and_check, measure_sample, random_designs

    rng = np.random.default_rng([seed, 1])
    designs = random_designs(BIAS_DESIGNS, rng)
    compiling, measuring = _seconds_of_bias()
    build_and_check(kernels, designs, lambda _, share: parts(compiling, share))
    sample = measure_sample(kernels, designs, BIAS_SHAPES, rng, lambda _, share: parts(measuring, share))
    kept = held_out(sample, rng)
    biased, unseen = with_bias(document, sample.where(~kept)), sample.where(kept)
    others = len(unseen) // len(BIAS_SHAPES)
    return biased, _BiasScores(len(designs) - others, others, score(document, unseen), score(biased, unseen))


def _print_scores(console: Console, scores: _BiasScores) -> None:
    table = new_table("Bias table", "MAPE>", "Spearman>")
    for title, (mape, spearman) in (("without it", scores.without), ("with it", scores.with_)):
        table.add_row(title, _percent(mape), _digits(spearman, 3))
    console.print(table)
    console.print(f"Fitted to {scores.fitted:,} random designs, judged by {scores.unseen:,} others.", style="dim")


def _signed(document: Document, seed: int, scores: _BiasScores | None) -> Document:
    """The document with what its readers want to know: when and by what it was measured, and in what units."""
    from datetime import UTC, datetime

    from archgym.version import __version__

    provenance = f"{datetime.now(UTC):%Y-%m-%d}, measured by archgym {__version__} (seed {seed})"
    if scores is not None:
        without, with_ = _percent(scores.without.mape), _percent(scores.with_.mape)
        provenance += f"; bias fitted to {scores.fitted} designs: on {scores.unseen} others MAPE {without} without it, {with_} with it"
    first = {key: document[key] for key in ("format", "version", "machine")}
    return {**first, "provenance": provenance, "units": UNITS, **{key: value for key, value in document.items() if key not in first}}


def _write_json(document: Document, file: BinaryIO) -> None:
    file.write((_in_lines(document) + "\n").encode("utf-8"))


def _in_lines(value: Any, depth: int = 0) -> str:
    """JSON that can be read: what fits on a line, and every list, stands on one; one more space for each level."""
    text = json.dumps(value)
    if not isinstance(value, dict) or (depth and len(text) <= LINE):
        return text
    space = " " * (depth + 1)
    entries = ",\n".join(f"{space}{json.dumps(key)}: {_in_lines(entry, depth + 1)}" for key, entry in value.items())
    return f"{{\n{entries}\n{' ' * depth}}}"


# --- archgym calibrate --show ---


def _show(source: str, chart: Path | None) -> None:
    """Draw the bandwidth curves of a calibration in the terminal, and to a file; print its numbers."""
    from archgym.simulators.softmax.fitting import charts

    if chart is not None:
        chart = charts.check_chart(chart)
    source = source or ("host" if Calibration.host().exists() else DEFAULT)
    calibration = Calibration.load(source)  # says what is wrong with it, if anything
    path = Calibration.host() if source == "host" else RECORDED / f"{source}.json" if source in Calibration.recorded() else Path(source)
    document: Document = json.loads(path.read_text(encoding="utf-8-sig"))
    curves = {
        pattern: (curve["log2_bytes"], curve["ns_per_float"]) for pattern, curve in document["bandwidth"].items() if pattern in PATTERNS
    }
    levels = document["overlap"]["log2_bytes"]
    if (largest := max(*levels, *(size for sizes, _ in curves.values() for size in sizes))) > MOST_LOG2_BYTES:
        raise ArchGymError(f"the calibration {source!r} has log2_bytes of {largest:g}: they are logarithms of bytes, not bytes")
    console = stdout()
    heading(console, f"Calibration {source}", "" if source == "host" or source in Calibration.recorded() else str(path))
    braille = console.encoding.lower().startswith("utf")
    if console.width >= charts.NARROWEST:
        console.print(charts.in_terminal(curves, levels, min(console.width, WIDEST_CHART), braille=braille), no_wrap=True, crop=True)
        console.print()
        stores = f"{'dotted' if braille else 'in capitals'} with non-temporal stores"
        console.print(f"ns per float32 that one thread takes, against the bytes that go through the caches; {stores}.", style="dim")
        console.print()
    _print_calibration(console, document)
    console.print()
    console.print(_curves_in_numbers(calibration, curves))
    if chart is not None:
        charts.write_chart(charts.bandwidth(curves, levels, f"Memory bandwidth, calibration {source}", calibration.machine), chart)
        console.print()
        console.print(f"Chart    {chart}", soft_wrap=True)


def _curves_in_numbers(calibration: Calibration, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Table:
    """ns per float at every fourth size."""
    from archgym.simulators.softmax.fitting.charts import size, words

    table = new_table("Bytes>", *(f"{words(pattern)}>" for pattern in curves))
    low = min(sizes[0] for sizes, _ in curves.values())
    high = max(sizes[-1] for sizes, _ in curves.values())
    for x in range(math.ceil(low / 2) * 2, math.floor(high) + 1, 2):
        cells = [
            _digits(calibration.bandwidth_ns(pattern, 2.0**x), 3) if sizes[0] - 0.01 <= x <= sizes[-1] + 0.01 else "-"
            for pattern, (sizes, _) in curves.items()
        ]
        table.add_row(size(x), *cells)
    return table


# --- what both print ---


def _print_calibration(console: Console, document: Document) -> None:
    """The machine, what memory costs by pattern and level, and what was fitted."""
    from archgym.simulators.softmax.fitting.charts import levels_of, words

    calibration = Calibration.from_json(document, "host")
    log2_bytes = document["overlap"]["log2_bytes"]
    levels, places = levels_of(log2_bytes), _places(document)
    facts = [("Machine", calibration.machine)]
    if "provenance" in document:
        facts.append(("Measured", str(document["provenance"])))
    console.print(fact_sheet(facts))
    console.print()

    table = new_table("Memory, one thread", *(f"{level} {unit}>" for level in levels for unit in ("ns", "GB/s")))
    for pattern in PATTERNS:
        cells = []
        for place in places:
            ns = calibration.bandwidth_ns(pattern, 2.0**place)
            cells += [f"{ns:.3f}", _digits(MOVED_BYTES[pattern.removesuffix("_nontemporal")] / ns, 2)]
        table.add_row(words(pattern), *cells)
    console.print(table)
    console.print("ns per float32; GB/s of what the code reads and writes.", style="dim")
    console.print()

    table = new_table("Not hidden (phi)", *(f"{level}>" for level in levels))
    for distance in PREFETCH_BYTES:
        factors = document["overlap"]["prefetch_factor"][str(distance)]
        phi = [value * factor for value, factor in zip(document["overlap"]["phi"], factors, strict=True)]
        table.add_row(f"prefetching {distance:,} bytes ahead" if distance else "no prefetching", *(f"{value:.2f}" for value in phi))
    console.print(table)
    console.print("The part of the shorter of memory and arithmetic that is not hidden.", style="dim")
    console.print()

    facts = [("Start-up", f"{number(calibration.row_overhead_ns)} ns of a row, {number(calibration.tile_overhead_ns)} ns of a tile")]
    text = f"{number(calibration.thread_start_ns)} ns to start the second; each takes {calibration.thread_slowdown:.3g} times as long"
    if "two_threads" in document:
        slower = [
            math.prod(calibration.bandwidth_ns(p, 2.0**x, 2) / calibration.bandwidth_ns(p, 2.0**x) for p in PATTERNS) ** (1 / len(PATTERNS))
            for x in places
        ]
        moving = ", ".join(f"{ratio:.2f} ({level})" for ratio, level in zip(slower, levels, strict=True))
        text += f", and moving data another {moving.replace(' (', ' times (', 1)}"
    console.print(fact_sheet([*facts, ("Two threads", text)]))


def _places(document: Document) -> list[float]:
    """log2 of the bytes that stand for a level: half of the first, the middle of the others, all that was measured for memory."""
    levels = document["overlap"]["log2_bytes"]
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    return [levels[0] - 1, *middles, max(curve["log2_bytes"][-1] for curve in document["bandwidth"].values())]


def _digits(value: float, digits: int) -> str:
    """Significant digits, and a dash for what is not known."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, digits + 1)}f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


# --- archgym fidelity softmax ---


def fidelity(
    calibration: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A recorded calibration, or a file.", show_default="this machine's")
    ] = "host",
    cols: Annotated[
        list[int] | None, typer.Option(help="Elements per row (repeatable).", show_default="4096, 65536, 1048576 and 67108864")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of every shape.")] = 1,
    designs: Annotated[int, typer.Option(help="Of the random sample, the same for every shape.")] = 300,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write all points: designs, measured and predicted times.")] = None,
    chart: ChartFile = None,
) -> None:
    """Measure random kernels and the model's favourites, and hold the model's predictions against them; some minutes.

    archgym fidelity softmax
    """
    from archgym.simulators.softmax.fitting.fidelity import fidelity as compare

    _at_least("--rows", rows, 1)
    _at_least("--designs", designs, LEAST_DESIGNS)
    _at_least("--seed", seed, 0)
    shapes = [(rows, _at_least("--cols", each, 1)) for each in dict.fromkeys(cols or [2**12, 2**16, 2**20, 2**26])]
    if out is not None:
        if out.suffix != ".csv":
            raise ArchGymError(f"--out takes the name of a .csv file, not {str(out)!r}")
        out = check_writable(out)
    if chart is not None:
        from archgym.simulators.softmax.fitting import charts

        chart = charts.check_chart(chart)
    model = _model_to_judge(calibration)
    _check_memory(shapes)
    with _measuring("nothing was written" if out or chart else ""):
        kernels = _kernels()
        with progress_bar() as tell, _quiet():
            seconds = {
                "compiling kernels": designs * COMPILING_S,
                "measuring kernels": _measuring_seconds(designs, shapes),
                "measuring the best again": _measuring_seconds(20, shapes),
            }
            compiling, measuring, again = seconds
            parts = _parts(seconds, tell)
            parts(compiling, 0.0)

            def measured(_: str, share: float) -> None:
                parts(measuring, share) if share < 1 else parts(again, 0.0)

            found = compare(
                kernels, model, shapes, designs=designs, seed=seed, compiling=lambda _, share: parts(compiling, share), measuring=measured
            )
    if out is not None:
        write_atomically(out, lambda file: _write_points(found, file))
    if chart is not None:
        charts.write_chart(charts.predictions(found, f"Predicted against measured, calibration {calibration}", model.machine), chart)
    console = stdout()
    heading(console, "Softmax cost model", f"calibration {calibration}, {designs:,} random designs, seed {seed}")
    _print_fidelity(console, found)
    if out or chart:
        console.print()
    for title, written in (("Points", out), ("Chart", chart)):
        if written is not None:
            console.print(f"{title:<10}{written}", soft_wrap=True)


def _model_to_judge(name: str) -> Calibration:
    """A calibration that has all instruction sets of this machine.

    Raises:
        ArchGymError: there is none of this name, or it lacks an instruction set.
    """
    from archgym.simulators.softmax.machine.cpu import instruction_sets

    if name == "host" and not Calibration.host().exists():
        raise ArchGymError(
            f"this machine has no calibration yet: run `archgym calibrate softmax`, or name one with --calibration "
            f"(a file, or a recorded one: {', '.join(Calibration.recorded())})"
        )
    calibration = Calibration.load(name)
    if missing := [isa for isa in instruction_sets() if isa not in calibration.lanes]:
        raise ArchGymError(
            f"the calibration {name!r} is of a machine without {' and '.join(missing)}, which this machine has: name another"
        )
    return calibration


def _print_fidelity(console: Console, found: Fidelity) -> None:
    table = new_table("Shape>", "Points>", "Unreliable>", "MAPE>", "Spearman>", "Regret>", "Top 10>", "Best ns>")
    for each in found.shapes:
        figures = _digits(each.spearman, 3), f"{each.regret:.3f}", f"{each.top:.3f}", _digits(each.best_ns, 3)
        table.add_row(_shape(each.shape), f"{each.points:,}", f"{each.unreliable:,}", _percent(each.mape), *figures)
    sample = found.sample
    unreliable = int(sample.unreliable.sum())
    if len(found.shapes) > 1:
        overall = _percent(found.agreement.mape), _digits(found.agreement.spearman, 3)
        table.add_row("all", f"{len(sample):,}", f"{unreliable:,}", *overall, "", "", "", style="bold")
    console.print(table)
    console.print()

    table = new_table("Shape>", "", "ns>", "Design")
    for each in found.shapes:
        same = each.best == each.choice
        table.add_row(
            _shape(each.shape), "best", _digits(each.best_ns, 3), _in_words(each.best) + (" (the model's first choice)" if same else "")
        )
        if not same:
            table.add_row("", "model's", _digits(each.choice_ns, 3), _in_words(each.choice))
    console.print(table)
    console.print()

    table = new_table("Term", "Value", "Points>", "Median ratio>", "MAPE>", "The model is")
    for name, values in found.terms().items():
        shown = name
        for value, (points, median, mape) in values.items():
            off = "" if abs(median - 1) <= OFF else f"{100 * abs(median - 1):.0f} % too {'slow' if median > 1 else 'fast'}"
            table.add_row(shown, str(value), f"{points:,}", f"{median:.2f}", _percent(mape), off, style="yellow" if off else "")
            shown = ""
    console.print(table)
    console.print()
    console.print(fact_sheet(_MEANINGS), style="dim")


_MEANINGS = (
    ("MAPE", "mean of |predicted / measured - 1| over the random sample"),
    ("Spearman", "rank correlation of predicted and measured time; 1: same order"),
    ("Regret", "time of the model's first choice / best time measured; 1 at best"),
    ("Top 10", "best of the model's ten first choices / best of the sample"),
    ("Best ns", "per element, of the best design measured"),
    ("Unreliable", "disturbed while measured; left out of MAPE, Spearman and ratios"),
    ("Median ratio", "predicted / measured of designs with the value; 1: right"),
)


def _shape(shape: tuple[int, int]) -> str:
    return " x ".join(f"{n:,}" for n in shape)


def _in_words(design: Mapping[str, Any]) -> str:
    """A design without what it does not use: "two_pass, avx512, unroll 8, accumulators 4, non-temporal"."""
    from archgym.simulators.softmax.model import TILED

    parts = [str(design["algorithm"]), str(design["isa"]), f"unroll {design['unroll']}", f"accumulators {design['accumulators']}"]
    parts += [f"prefetch {design['prefetch']}"] if design["prefetch"] else []
    parts += ["non-temporal"] if design["nontemporal"] else []
    parts += [f"tile {design['tile']}"] if design["algorithm"] in TILED else []
    return ", ".join([*parts, *(["2 threads"] if design["threads"] == 2 else [])])


def _write_points(found: Fidelity, file: BinaryIO) -> None:
    """All points of the random sample as CSV."""
    import csv
    import io

    sample = found.sample
    columns = {
        **sample.designs,
        "rows": sample.rows,
        "cols": sample.cols,
        "measured_s": sample.seconds,
        "predicted_s": found.predicted,
        "unreliable": sample.unreliable,
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
    file.write(text.getvalue().encode())


# --- measuring ---


def _kernels() -> Kernels:
    from archgym.simulators.softmax.machine.compiler import find_compiler
    from archgym.simulators.softmax.machine.kernels import Kernels

    return Kernels(find_compiler())


@contextmanager
def _measuring(interrupted: str) -> Iterator[None]:
    """Ctrl-C and a lack of memory end a measurement with one line.

    Args:
        interrupted: what is said besides.

    Raises:
        typer.Exit: Ctrl-C.
        ArchGymError: there was not enough memory.
    """
    try:
        yield
    except KeyboardInterrupt:
        say("interrupted", interrupted, "yellow")
        raise typer.Exit(INTERRUPTED) from None
    except MemoryError as error:
        raise ArchGymError("this machine has not enough memory for what was to be measured") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Statistics of too few reliable points are shown as a dash, which says it all."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _parts(seconds: Mapping[str, float], tell: Progress) -> Callable[..., None]:
    """What tells the shares of parts as shares of all of them: parts(name, share of the part, what is being done)."""
    total = sum(seconds.values())
    before = {name: sum(list(seconds.values())[:i]) for i, name in enumerate(seconds)}

    def parts(name: str, share: float, what: str = "") -> None:
        tell(what or name, (before[name] + share * seconds[name]) / total)

    return parts


def _measuring_seconds(designs: int, shapes: Sequence[tuple[int, int]]) -> float:
    from archgym.simulators.softmax.fitting.sample import FIXED_FLOATS

    return designs * MEASURING_S * sum(FIXED_FLOATS + rows * cols for rows, cols in shapes)


def _check_memory(shapes: Sequence[tuple[int, int]]) -> None:
    """Refuse inputs and outputs that would not fit: the two largest shapes are there at once, while one takes the other's place.

    Raises:
        ArchGymError: they do not fit.
    """
    import psutil

    needed = sum(sorted(2 * 4 * rows * cols for rows, cols in shapes)[-2:])
    free = psutil.virtual_memory().available
    if needed > free:
        rows, cols = max(shapes, key=lambda shape: shape[0] * shape[1])
        raise ArchGymError(
            f"{_shape((rows, cols))} elements need {needed / 2**30:,.1f} GB of memory and {free / 2**30:.1f} GB are free: measure fewer"
        )


def _at_least(option: str, value: int, least: int) -> int:
    """The value, if it is not less.

    Raises:
        ArchGymError: it is.
    """
    if value < least:
        raise ArchGymError(f"{option} must be {least} or more, not {value}")
    return value
