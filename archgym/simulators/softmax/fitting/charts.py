"""Charts of a calibration and of a cost model's fidelity: in the terminal, and by Altair as HTML, SVG or PNG.

All are functions of what is drawn. Both axes of all of them are logarithmic. A pattern has a colour; where it stores past the caches
("non-temporal"), its line is dotted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from archgym.files.charts import GREY
from archgym.files.charts import check_chart as check_chart
from archgym.files.charts import write_chart as write_chart
from archgym.simulators.softmax.calibration import ALGORITHMS, PATTERNS

if TYPE_CHECKING:
    import altair as alt
    from rich.text import Text

    from archgym.simulators.softmax.fitting.fidelity import Fidelity

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart | alt.ConcatChart

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""By pattern: log2 of bytes, and ns per float32."""

# --- what both kinds share ---


def words(pattern: str) -> str:
    """A pattern as it is read: "copy, non-temporal"."""
    return pattern.replace("_nontemporal", ", non-temporal").replace("_", " ")


def levels_of(log2_bytes: Sequence[float]) -> list[str]:
    """The names of the levels that these footprints separate: L1 and so on, memory."""
    return [*(f"L{i + 1}" for i in range(len(log2_bytes))), "memory"]


def size(log2_bytes: float) -> str:
    """ "32 KB"."""
    unit = min(int(log2_bytes + 1e-9) // 10, 4)
    return f"{2 ** (log2_bytes - 10 * unit):.3g} {('B', 'KB', 'MB', 'GB', 'TB')[unit]}"


def _ends(curves: Curves) -> tuple[float, float, float, float]:
    """The ends of both axes: log2 of bytes, and ns."""
    sizes, costs = ([value for curve in curves.values() for value in curve[i]] for i in (0, 1))
    return min(sizes), max(*sizes, min(sizes) + 1), min(costs) / 1.15, max(costs) * 1.15


def _round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two numbers."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [value for p in powers for value in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if low <= value <= high]


# --- in the terminal ---

# Of the sixteen colours that a terminal's own theme defines, those that can be read on light and on dark.
_TERMINAL_COLOURS = {"read": "cyan", "write": "green", "copy": "magenta", "in_place": "red"}
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell [row][column]
_LABELS = 9  # columns that hold the ticks of the vertical axis
_NAMES = 14  # columns that hold the names of the curves
_LEAST_AREA = 12  # columns for the curves
NARROWEST = _LABELS + _NAMES + _LEAST_AREA


@dataclass
class _Cells:
    """Characters with a style each; a curve is drawn in dots of braille, or in its letter where only ASCII can be shown."""

    width: int
    height: int
    braille: bool
    text: list[list[str]] = field(init=False)
    style: list[list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.text = [[" "] * self.width for _ in range(self.height)]
        self.style = [[""] * self.width for _ in range(self.height)]

    @property
    def dots(self) -> tuple[int, int]:
        """Dots of a cell, across and down."""
        return (2, 4) if self.braille else (1, 1)

    def write(self, row: int, column: int, text: str, style: str) -> None:
        for i, character in enumerate(text):
            if 0 <= row < self.height and 0 <= column + i < self.width:
                self.text[row][column + i], self.style[row][column + i] = character, style

    def dot(self, x: int, y: int, letter: str, style: str) -> None:
        across, down = self.dots
        row, column = y // down, x // across
        if not (0 <= row < self.height and 0 <= column < self.width):
            return
        before = self.text[row][column]
        dots = ord(before) - 0x2800 if "\u2800" <= before <= "\u28ff" else 0
        self.text[row][column] = chr(0x2800 | dots | _DOTS[y % 4][x % 2]) if self.braille else letter
        self.style[row][column] = style


def in_terminal(curves: Curves, log2_bytes: Sequence[float], width: int, height: int = 18, *, braille: bool = True) -> Text:
    """Curves against bytes as text.

    Args:
        curves: by pattern.
        log2_bytes: the footprints that separate the levels.
        width: of everything, characters.
        height: of the area that the curves are drawn in, characters.
        braille: whether braille and box-drawing characters can be shown, else only ASCII.
    """
    from rich.text import Text

    low, high, least, most = _ends(curves)
    area = _Cells(max(_LEAST_AREA, width - _LABELS - _NAMES), height, braille)
    across, down = area.dots
    columns, rows = area.width * across, height * down

    def x_of(size: float) -> int:
        return round((size - low) / (high - low) * (columns - 1))

    def y_of(ns: float) -> int:
        return round(log10(most / ns) / log10(most / least) * (rows - 1))

    ends = [low, *(value for value in log2_bytes if low < value < high), high]
    for value in ends[1:-1]:
        for row in range(height):
            area.write(row, x_of(value) // across, "┊" if braille else "|", "dim")
    rightmost: dict[str, int] = {}
    for pattern in (name for name in (*PATTERNS[::-1], *curves) if name in curves and name not in rightmost):  # the first on top
        rightmost[pattern] = _draw(area, pattern, curves[pattern], x_of, y_of) // down
    names = levels_of(log2_bytes)[sum(value <= low for value in log2_bytes) :]
    for name, left, right in zip(names, ends, ends[1:], strict=False):
        start, end = x_of(left) // across, x_of(right) // across
        if end - start > len(name) + 1:
            area.write(0, (start + end + 1 - len(name)) // 2, name, "dim")

    ticks = {y_of(value) // down: f"{value:g}" for value in _round_values(least, most)}
    legend = _apart(rightmost, height)
    text = Text()
    text.append(f"{'ns per float':>{_LABELS + 4}}\n", "dim")
    for row in range(height):
        text.append(f"{ticks.get(row, ''):>{_LABELS - 2}} ", "")
        text.append(("┤" if row in ticks else "│") if braille else ("+" if row in ticks else "|"), "dim")
        for character, style in zip(area.text[row], area.style[row], strict=True):
            text.append(character, style)
        if row in legend:
            text.append(f" {_sample_line(legend[row], braille)} ", _colour(legend[row]))
            text.append(words(legend[row]).partition(",")[0], _colour(legend[row]))
        text.append("\n")
    step = next((step for step in (1, 2, 3, 4, 5, 10) if (columns // across) * step / max(high - low, 1) >= 8), 20)
    at = {x_of(value) // across: size(value) for value in range(ceil(low), floor(high) + 1, step)}
    line = "".join(("┬" if i in at else "─") if braille else ("+" if i in at else "-") for i in range(area.width))
    text.append(" " * (_LABELS - 1) + ("└" if braille else "+") + line + "\n", "dim")
    labels = _Cells(width, 1, braille)
    for column, label in at.items():
        if column + len(label) // 2 < area.width + 3:
            labels.write(0, _LABELS + column - len(label) // 2, label, "")
    text.append("".join(labels.text[0]).rstrip())
    return text


def _draw(
    area: _Cells, pattern: str, curve: tuple[Sequence[float], Sequence[float]], x_of: Callable[[float], int], y_of: Callable[[float], int]
) -> int:
    """Draw a curve, and return the height, in dots from above, at which it ends."""
    sizes, costs = curve
    dotted, letter = pattern.endswith("_nontemporal"), pattern[0]
    xs = np.arange(x_of(sizes[0]), x_of(sizes[-1]) + 1)
    heights = np.interp(xs, [x_of(size) for size in sizes], np.log(costs))
    ys = [y_of(float(np.exp(h))) for h in heights]
    for i, (x, y) in enumerate(zip(xs.tolist(), ys, strict=True)):
        before = ys[max(i - 1, 0)]
        step = 1 if y > before else -1
        for between in range(before + step, y, step) if abs(y - before) > 1 else ():
            if not (area.braille and dotted and between % 3 == 0):
                area.dot(x, between, letter.upper() if dotted else letter, _colour(pattern))
        if not (area.braille and dotted and x % 4 > 1):
            area.dot(x, y, letter.upper() if dotted else letter, _colour(pattern))
    return ys[-1]


def _colour(pattern: str) -> str:
    return _TERMINAL_COLOURS.get(pattern.removesuffix("_nontemporal"), "")


def _sample_line(pattern: str, braille: bool) -> str:
    dotted = pattern.endswith("_nontemporal")
    if braille:
        return "⠒ ⠒" if dotted else "⠒⠒⠒"
    return pattern[0].upper() if dotted else pattern[0]


def _apart(rows: Mapping[str, int], height: int) -> dict[int, str]:
    """A row of its own for each name, near the one it asks for and in the same order."""
    names = sorted(rows, key=lambda name: rows[name])
    taken: list[int] = []
    for name in names:
        taken.append(max(rows[name], taken[-1] + 1 if taken else 0))
    for i in reversed(range(len(names))):  # those pushed out below go up again
        taken[i] = min(taken[i], height - len(names) + i)
    return dict(zip(taken, names, strict=True))


# --- by Altair ---

# Hues that are told apart by protanopic and deuteranopic sight too, on white and on near-black.
_COLOURS = ("#1652dc", "#fb8900", "#d90151", "#41c37b", "#8d77fe", "#006f06")
_PATTERN_COLOURS = dict(zip(_TERMINAL_COLOURS, _COLOURS, strict=False))


def bandwidth(curves: Curves, log2_bytes: Sequence[float], title: str, subtitle: str = "") -> Chart:
    """The bandwidth curves of a calibration.

    Args:
        curves: by pattern.
        log2_bytes: the footprints that separate the levels.
        title, subtitle: what is written above.
    """
    import altair as alt

    low, high, least, most = _ends(curves)
    rows = [
        {
            "pattern": words(pattern).partition(",")[0],
            "stores": "non-temporal" if pattern.endswith("_nontemporal") else "through the caches",
            "bytes": 2.0**x,
            "size": size(x),
            "ns": ns,
        }
        for pattern, (sizes, costs) in curves.items()
        for x, ns in zip(sizes, costs, strict=True)
    ]
    ends = [low, *(value for value in log2_bytes if low < value < high), high]
    names = levels_of(log2_bytes)[sum(value <= low for value in log2_bytes) :]
    marks = [{"bytes": 2.0**x} for x in ends[1:-1]]
    middles = [{"bytes": 2 ** ((a + b) / 2), "level": name, "ns": most} for name, a, b in zip(names, ends, ends[1:], strict=False)]
    ticks = [2.0**x for x in range(ceil(low), floor(high) + 1, 2)]
    label = (
        "datum.value < 1024 ? datum.value + ' B' : datum.value < 1048576 ? datum.value / 1024 + ' KB' : "
        "datum.value < 1073741824 ? datum.value / 1048576 + ' MB' : datum.value / 1073741824 + ' GB'"
    )
    x = alt.X(
        "bytes:Q",
        title="bytes that go through the caches",
        scale=alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False),
        axis=alt.Axis(values=ticks, labelExpr=label, grid=False, labelFlush=False),
    )
    y = alt.Y(
        "ns:Q",
        title="ns per float32",
        scale=alt.Scale(type="log", domain=[least, most], nice=False),
        axis=alt.Axis(values=_round_values(least, most), format="~g"),
    )
    bases = [words(pattern) for pattern in _PATTERN_COLOURS]
    colour = alt.Color(
        "pattern:N",
        sort=bases,
        scale=alt.Scale(domain=bases, range=list(_PATTERN_COLOURS.values())),
        legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=200),
    )
    stores = ["through the caches", "non-temporal"]
    dash = alt.StrokeDash(
        "stores:N",
        sort=stores,
        scale=alt.Scale(domain=stores, range=[[1, 0], [3, 3]]),
        legend=alt.Legend(
            title="stores", symbolType="stroke", symbolStrokeWidth=2, symbolSize=400, symbolStrokeColor=GREY, symbolOpacity=1
        ),
    )
    tips = [
        alt.Tooltip("pattern:N"),
        alt.Tooltip("stores:N"),
        alt.Tooltip("size:N", title="bytes"),
        alt.Tooltip("ns:Q", title="ns per float32", format=".4~g"),
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, y=y)
    ends_of_levels = alt.Chart(alt.InlineData(values=marks)).mark_rule(style="level").encode(x=x)
    level_names = alt.Chart(alt.InlineData(values=middles)).mark_text(style="name", dy=-8).encode(x=x, y=y, text="level:N")
    lines = base.mark_line(strokeWidth=2, clip=True).encode(color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=60, opacity=0).encode(tooltip=tips)
    return alt.layer(ends_of_levels, level_names, lines, points).properties(
        width=560,
        height=340,
        title=alt.TitleParams(title, subtitle=_wrapped(subtitle), offset=22, limit=0),
        description="ns per float32 of memory access patterns against the bytes that they touch.",
    )


def predictions(found: Fidelity, title: str, subtitle: str = "") -> Chart:
    """Predicted against measured ns per element of the random sample: a panel for each shape, a colour for each algorithm.

    On the diagonal the two are equal, above it the model says too much. What was not measured reliably is hollow.
    """
    import altair as alt

    sample = found.sample
    known = dict(zip(ALGORITHMS, _COLOURS, strict=True))
    algorithms = [name for name in known if name in sample["algorithm"]]
    colour = alt.Color(
        "algorithm:N",
        scale=alt.Scale(domain=algorithms, range=[known[name] for name in algorithms]),
        legend=alt.Legend(title=None, symbolType="circle", symbolOpacity=1),
    )
    panels = []
    for each in found.shapes:
        rows, cols = each.shape
        here = (sample.rows == rows) & (sample.cols == cols)
        elements = rows * cols
        measured, predicted = 1e9 * sample.seconds[here] / elements, 1e9 * found.predicted[here] / elements
        points = [
            {
                **{name: str(column[here][i]) for name, column in sample.designs.items()},
                "measured": float(measured[i]),
                "predicted": float(predicted[i]),
                "reliable": not sample.unreliable[here][i],
            }
            for i in range(len(measured))
        ]
        low, high = min(measured.min(), predicted.min()) / 1.1, max(measured.max(), predicted.max()) * 1.1
        scale = alt.Scale(type="log", domain=[float(low), float(high)], nice=False)
        axis = alt.Axis(values=_round_values(low, high), format="~g")
        x = alt.X("measured:Q", title="measured ns per element", scale=scale, axis=axis)
        y = alt.Y("predicted:Q", title="predicted ns per element", scale=scale, axis=axis)
        ends = [{"measured": float(end), "predicted": float(end)} for end in (low, high)]
        diagonal = alt.Chart(alt.InlineData(values=ends)).mark_line(style="diagonal").encode(x=x, y=y)
        tips = [
            *(alt.Tooltip(f"{name}:N") for name in sample.designs),
            *(alt.Tooltip(f"{name}:Q", title=f"{name} ns", format=".4~g") for name in ("measured", "predicted")),
        ]
        dots = (
            alt.Chart(alt.InlineData(values=points))
            .mark_point(size=26, strokeWidth=1, filled=False, clip=True)
            .encode(
                x=x,
                y=y,
                color=colour,
                fill=colour,
                fillOpacity=alt.when("datum.reliable").then(alt.value(0.65)).otherwise(alt.value(0.0)),
                strokeOpacity=alt.value(0.8),
                tooltip=tips,
            )
        )
        words_of_shape = f"{rows:,} x {cols:,}: {_percent(each.mape)} MAPE, Spearman {each.spearman:.3f}"
        panels.append(alt.layer(diagonal, dots).properties(width=260, height=260, title=words_of_shape))
    return alt.concat(*panels, columns=2, spacing=28).properties(
        title=alt.TitleParams(title, subtitle=_wrapped(subtitle), offset=14, limit=0),
        description="Predicted against measured ns per element, a panel for each shape.",
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _wrapped(text: str, width: int = 100) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
