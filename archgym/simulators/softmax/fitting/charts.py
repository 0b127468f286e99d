"""Charts of a calibration and of a cost model's fidelity, by Altair.

Both axes of each are logarithmic. A pattern has a colour; where it stores past the caches ("non-temporal"),
its line is dotted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

from archgym.files.charts import GREY
from archgym.simulators.softmax.fitting.fidelity import Fidelity
from archgym.simulators.softmax.fitting.sample import Sample
from archgym.simulators.softmax.terms import ALGORITHMS
from archgym.space import Array
from archgym.words import percent

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.FacetChart | alt.ConcatChart

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""By pattern: log2 of bytes, and ns per float32."""


def words(pattern: str) -> str:
    """A pattern in words: "copy, non-temporal"."""
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


# Hues that can be distinguished by protanopic and deuteranopic sight too, on white and on near-black.
_COLOURS = ("#1652dc", "#fb8900", "#d90151", "#41c37b", "#8d77fe", "#006f06")
_PATTERN_COLOURS = dict(zip(("read", "write", "copy", "in_place"), _COLOURS, strict=False))
_STORES = ["through the caches", "non-temporal"]
_BYTES = (  # a number of bytes as a tick's label, in Vega's language
    "datum.value < 1024 ? datum.value + ' B' : datum.value < 1048576 ? datum.value / 1024 + ' KB' : "
    "datum.value < 1073741824 ? datum.value / 1048576 + ' MB' : datum.value / 1073741824 + ' GB'"
)


def bandwidth(curves: Curves, log2_bytes: Sequence[float], title: str, subtitle: str = "") -> Chart:
    """The bandwidth curves of a calibration.

    Args:
        curves: pattern -> sizes and costs.
        log2_bytes: the footprints that separate the levels.
        title, subtitle: text above the chart.
    """
    import altair as alt

    low, high, _, most = _ends(curves)
    x, y = _bandwidth_axes(curves)
    ends = [low, *(value for value in log2_bytes if low < value < high), high]
    names = levels_of(log2_bytes)[sum(value <= low for value in log2_bytes) :]
    marks = [{"bytes": 2.0**x} for x in ends[1:-1]]
    middles = [
        {"bytes": 2 ** ((a + b) / 2), "level": name, "ns": most}
        for name, a, b in zip(names, ends, ends[1:], strict=False)
    ]
    bases = [words(pattern) for pattern in _PATTERN_COLOURS]
    colour = alt.Color(
        "pattern:N",
        sort=bases,
        scale=alt.Scale(domain=bases, range=list(_PATTERN_COLOURS.values())),
        legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=200),
    )
    dash = alt.StrokeDash(
        "stores:N",
        sort=_STORES,
        scale=alt.Scale(domain=_STORES, range=[[1, 0], [3, 3]]),
        legend=alt.Legend(
            title="stores",
            symbolType="stroke",
            symbolStrokeWidth=2,
            symbolSize=400,
            symbolStrokeColor=GREY,
            symbolOpacity=1,
        ),
    )
    tips = [
        alt.Tooltip("pattern:N"),
        alt.Tooltip("stores:N"),
        alt.Tooltip("size:N", title="bytes"),
        alt.Tooltip("ns:Q", title="ns per float32", format=".4~g"),
    ]
    base = alt.Chart(alt.InlineData(values=_curve_points(curves))).encode(x=x, y=y)
    ends_of_levels = alt.Chart(alt.InlineData(values=marks)).mark_rule(style="level").encode(x=x)
    level_names = (
        alt.Chart(alt.InlineData(values=middles))
        .mark_text(style="name", dy=-8)
        .encode(x=x, y=y, text="level:N")
    )
    lines = base.mark_line(strokeWidth=2, clip=True).encode(color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=60, opacity=0).encode(tooltip=tips)
    return alt.layer(ends_of_levels, level_names, lines, points).properties(
        width=560,
        height=340,
        title=alt.TitleParams(title, subtitle=wrap(subtitle, 100), offset=22, limit=0),
        description="ns per float32 of memory access patterns against the bytes that they touch.",
    )


def _curve_points(curves: Curves) -> list[dict[str, Any]]:
    return [
        {
            "pattern": words(pattern).partition(",")[0],
            "stores": _STORES[pattern.endswith("_nontemporal")],
            "bytes": 2.0**x,
            "size": size(x),
            "ns": ns,
        }
        for pattern, (sizes, costs) in curves.items()
        for x, ns in zip(sizes, costs, strict=True)
    ]


def _bandwidth_axes(curves: Curves) -> tuple[alt.X, alt.Y]:
    import altair as alt

    low, high, least, most = _ends(curves)
    x = alt.X(
        "bytes:Q",
        title="bytes that go through the caches",
        scale=alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False),
        axis=alt.Axis(
            values=[2.0**x for x in range(ceil(low), floor(high) + 1, 2)],
            labelExpr=_BYTES,
            grid=False,
            labelFlush=False,
        ),
    )
    y = alt.Y(
        "ns:Q",
        title="ns per float32",
        scale=alt.Scale(type="log", domain=[least, most], nice=False),
        axis=alt.Axis(values=_round_values(least, most), format="~g"),
    )
    return x, y


def predictions(found: Fidelity, title: str, subtitle: str = "") -> Chart:
    """Predicted against measured ns per element of the random sample: a panel for each shape, a colour for
    each algorithm.

    On the diagonal the two are equal, above it the model predicts too much. Points that were not measured
    reliably are hollow.
    """
    import altair as alt

    known = dict(zip(ALGORITHMS, _COLOURS, strict=True))
    algorithms = [name for name in known if name in found.sample["algorithm"]]
    colour = alt.Color(
        "algorithm:N",
        scale=alt.Scale(domain=algorithms, range=[known[name] for name in algorithms]),
        legend=alt.Legend(title=None, symbolType="circle", symbolOpacity=1),
    )
    panels = []
    for each in found.shapes:
        rows, cols = each.shape
        here = (found.sample.rows == rows) & (found.sample.cols == cols)
        sample, elements = found.steady.where(here), rows * cols
        measured, predicted = 1e9 * sample.seconds / elements, 1e9 * found.predicted[here] / elements
        low, high = min(measured.min(), predicted.min()) / 1.1, max(measured.max(), predicted.max()) * 1.1
        scale = alt.Scale(type="log", domain=[float(low), float(high)], nice=False)
        axis = alt.Axis(values=_round_values(low, high), format="~g")
        x = alt.X("measured:Q", title="measured ns per element", scale=scale, axis=axis)
        y = alt.Y("predicted:Q", title="predicted ns per element", scale=scale, axis=axis)
        ends = [{"measured": float(end), "predicted": float(end)} for end in (low, high)]
        diagonal = alt.Chart(alt.InlineData(values=ends)).mark_line(style="diagonal").encode(x=x, y=y)
        tips = [
            *(alt.Tooltip(f"{name}:N") for name in sample.designs),
            *(
                alt.Tooltip(f"{name}:Q", title=f"{name} ns", format=".4~g")
                for name in ("measured", "predicted")
            ),
        ]
        dots = (
            alt.Chart(alt.InlineData(values=_sample_points(sample, measured, predicted)))
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
        words_of_shape = f"{rows:,} x {cols:,}: {percent(each.mape)} MAPE, Spearman {each.spearman:.3f}"
        panels.append(alt.layer(diagonal, dots).properties(width=260, height=260, title=words_of_shape))
    return alt.concat(*panels, columns=2, spacing=28).properties(
        title=alt.TitleParams(title, subtitle=wrap(subtitle, 100), offset=14, limit=0),
        description="Predicted against measured ns per element, a panel for each shape.",
    )


def _sample_points(sample: Sample, measured: Array, predicted: Array) -> list[dict[str, Any]]:
    return [
        {
            **{name: str(column[i]) for name, column in sample.designs.items()},
            "measured": float(measured[i]),
            "predicted": float(predicted[i]),
            "reliable": not sample.unreliable[i],
        }
        for i in range(len(sample))
    ]
