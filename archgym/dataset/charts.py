"""Chart of a Pareto front among the designs of a data set (Altair)."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import altair as alt
import numpy as np

from archgym.dataset.data import Dataset
from archgym.files.charts import GREY, axis_title
from archgym.pareto import Front
from archgym.space import Array
from archgym.words import plain

_MAX_DOTS = 3000  # dominated designs that are drawn
_LOG_RATIO = 30  # ratio of a metric's largest to its smallest value from which its axis is logarithmic
_HUE = "#1652dc"


def draw(values: Array, designs: Dataset, front: Front) -> alt.ConcatChart:
    """A panel for each pair of metrics: dominated designs in grey, the front in colour and, for two metrics,
    joined by a line.

    Args:
        values: metrics of all feasible designs, float64 [N, M].
        designs: designs on the front, F rows.
        front: front of the values.
    """
    names = [axis_title(metric) for metric in front.metrics]
    others = np.delete(values, front.rows, axis=0)
    others = others[:: max(1, -(-len(others) // _MAX_DOTS))]
    points = []
    for row, indices in zip(front.values, designs.indices, strict=True):
        design = designs.space.design(indices)
        shown = {f"p{j}": plain(design.get(name, "-")) for j, name in enumerate(designs.space.names)}
        points.append({**_columns(row), **shown})
    tips = [alt.Tooltip(f"m{j}:Q", title=name, format=".4~g") for j, name in enumerate(names)]
    tips += [alt.Tooltip(f"p{j}:N", title=name) for j, name in enumerate(designs.space.names)]
    width, height = (420, 320) if len(names) == 2 else (260, 240)
    panels = []
    for i, j in combinations(range(len(names)), 2):
        x, y = _axis(alt.X, i, names[i], values[:, i]), _axis(alt.Y, j, names[j], values[:, j])
        grey = alt.Chart(alt.InlineData(values=[_columns(row) for row in others])).mark_point(
            filled=True, size=14, opacity=0.35, color=GREY
        )
        colour = alt.Chart(alt.InlineData(values=[{**point, "rank": k} for k, point in enumerate(points)]))
        layers: list[alt.Chart] = [grey.encode(x=x, y=y)]
        if len(names) == 2:
            line = colour.mark_line(interpolate="step-after", strokeWidth=1.5, opacity=0.7, color=_HUE)
            layers.append(line.encode(x=x, y=y, order="rank:Q"))
        layers.append(
            colour.mark_point(filled=True, size=45, opacity=1, color=_HUE).encode(x=x, y=y, tooltip=tips)
        )
        panels.append(alt.layer(*layers).properties(width=width, height=height))
    share = "" if front.share is None else f", normalised hypervolume {front.share:.4f}"
    title = alt.TitleParams(
        f"Pareto front, {designs.env.id}", subtitle=f"{len(designs):,} designs{share}", offset=14
    )
    return alt.concat(*panels, columns=3, spacing=28).properties(
        title=title, description="The Pareto front of the designs seen."
    )


def _columns(row: Array) -> dict[str, float]:
    return {f"m{j}": float(value) for j, value in enumerate(row)}


def _axis(channel: Any, j: int, title: str, column: Array) -> Any:
    low, high = float(column.min()), float(column.max())
    axis = alt.Axis(format="~g", tickCount=6, labelOverlap="greedy", labelFlush=False)
    if low > 0 and high >= _LOG_RATIO * low:
        scale = alt.Scale(type="log", domain=[low / 1.2, high * 1.2], nice=False)
    else:
        room = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
    return channel(f"m{j}:Q", title=title, scale=scale, axis=axis)
