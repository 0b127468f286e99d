"""What the charts of a lottery share: the colour and the dashes of each agent, axes, and tooltips.

Ratios to the optimum (or to the best design seen) are shown as what is missing, in percent,

    100 (1 - ratio),

on a reversed logarithmic axis that ends at `FLOOR`, so that better is always to the right or up and the last
percent, where agents differ, gets as much space as the first ninety. Values on any other scale are shown
unchanged.
"""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from archgym.files.charts import GREY

FULL = "full"
"""The effort that is each task's whole budget."""
OPTIMUM = "ratio to the optimum"
"""Scale of a task with a known optimum."""

FLOOR = 0.01
"""Smallest distance from the optimum that is shown, percent; closer values are drawn here."""

# Eight hues (and grey for random search) maximise the smallest OKLab distance between any two for normal,
# protanopic and deuteranopic
# sight, at lightnesses that are readable on white and on near-black. Each of the other eight is the farthest
# from all before it.
COLOURS = {
    "random": GREY,
    "genetic": "#1652dc",
    "aging_evolution": "#fb8900",
    "ant_colony": "#006f06",
    "tpe": "#d90151",
    "cmaes": "#894696",
    "ppo": "#f487e3",
    "a2c": "#8d77fe",
    "local_search": "#41c37b",
    "qmc": "#0583c7",
    "annealing": "#b47a0a",
    "dqn": "#d3666b",
    "nsga2": "#c34bb1",
    "gp": "#b33911",
    "sac": "#0cbaf6",
    "reinforce": "#b50b76",
    "exhaustive": "#039775",
}
"""Colours of the agents of archgym, the same in every report; other agents take the remaining colours."""

DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
"""Dash patterns: solid lines for the first nine agents, dashes for the next nine, and so on."""


def colours(agents: Iterable[str]) -> dict[str, str]:
    """The colour of each agent: fixed for agents of archgym, else the first that no agent of the study
    has.
    """
    agents = list(agents)
    spare = [c for name, c in COLOURS.items() if name not in agents and c != GREY]
    # Further colours go around the wheel by the golden angle, dark and light in turn.
    wheel = (colorsys.hls_to_rgb(0.618034 * i % 1, (0.42, 0.6)[i % 2], 0.55) for i in range(len(agents)))
    others = itertools.chain(
        spare, ("#" + "".join(f"{round(255 * part):02x}" for part in rgb) for rgb in wheel)
    )
    return {a: COLOURS[a] if a in COLOURS else next(others) for a in agents}


def dashes(agents: Iterable[str]) -> dict[str, list[int]]:
    """The dash pattern of each agent's line: solid for the first nine, random search dotted."""
    return {a: [2, 2] if a == "random" else list(DASHES[i // 9 % len(DASHES)]) for i, a in enumerate(agents)}


# ----------------------------------------------------------------------------------------------------
# scores


def in_percent(scale: str) -> bool:
    """Whether a scale of `Analysis.tasks` is of ratios with a best value of 1, shown as percent below it."""
    return scale.startswith("ratio to ") and not scale.endswith("random design")


def below(value: pl.Expr, scale: str) -> pl.Expr:
    """The number drawn for a value on a scale: percent below the best, from `FLOOR` to 100, or the value
    itself.
    """
    value = value.cast(pl.Float64).fill_nan(None)
    return (100 * (1 - value)).clip(FLOOR, 100) if in_percent(scale) else value


def known_range(frame: pl.DataFrame, columns: Sequence[str]) -> tuple[float, float] | None:
    values = np.concatenate([frame[c].drop_nulls().to_numpy().astype(float) for c in columns])
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else None


def score_encoding(frame: pl.DataFrame, columns: Sequence[str], scale: str) -> dict[str, Any]:
    """Scale, axis and title of scores, for the range of some columns of a frame."""
    percent = in_percent(scale)
    low, high = known_range(frame, columns) or ((1.0, 100.0) if percent else (0.0, 1.0))
    if not percent:
        room = 0.04 * (high - low) or 0.05 * abs(high) or 0.05
        axis = alt.Axis(format="~g", tickCount=5)
        return {
            "scale": alt.Scale(domain=[low - room, high + room], nice=False, zero=False),
            "axis": axis,
            "title": scale,
        }
    title = f"% below {scale.removeprefix('ratio to ')}"
    label = f"datum.value <= {FLOOR * 1.001} ? '≤ {FLOOR:g}' : format(datum.value, '~g')"
    if high / low >= 6:
        low, high = max(low / 1.25, FLOOR / 1.15), min(high * 1.25, 115.0)
        ticks = [t for t in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if low <= t <= high]
        ticks = [t for t in ticks if t != 2 * FLOOR or FLOOR not in ticks]  # their labels would touch
        if len(ticks) > 8:
            ticks = [
                t
                for t in ticks
                if math.isclose(math.log10(t) % 1, 0, abs_tol=1e-9)
                or math.isclose(math.log10(t) % 1, 1, abs_tol=1e-9)
            ]
        axis = alt.Axis(values=ticks, labelExpr=label, labelOverlap="greedy", labelSeparation=6)
        return {
            "scale": alt.Scale(type="log", domain=[high, low], nice=False),
            "axis": axis,
            "title": f"{title}, log axis",
        }
    room = 0.06 * (high - low) or 0.1 * high
    linear = alt.Scale(domain=[high + room, max(low - room, 0.0)], nice=False, zero=False)
    return {"scale": linear, "axis": alt.Axis(tickCount=5, labelExpr=label), "title": title}


def agent_axis(agents: Sequence[str]) -> alt.Y:
    axis = alt.Axis(ticks=False, domain=False, labelLimit=130, labelPadding=6)
    return alt.Y("agent:N", sort=list(agents), title=None, axis=axis)


def agent_colour(agents: Sequence[str], legend: bool = False) -> alt.Color:
    known = colours(agents)
    scale = alt.Scale(domain=list(known), range=list(known.values()))
    lines = alt.Legend(
        title=None, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=2.5, symbolSize=200
    )
    return alt.Color("agent:N", scale=scale, legend=lines if legend else None)


def agent_dash(agents: Sequence[str], legend: bool = False) -> alt.StrokeDash:
    known = dashes(agents)
    scale = alt.Scale(domain=list(known), range=list(known.values()))
    return alt.StrokeDash("agent:N", scale=scale, legend=alt.Legend(title=None) if legend else None)


AXES = {"samples": "samples", "cost": "cost, reference samples", "seconds": "wall time of the run, s"}
"""Titles of the axes of curves."""


def samples_axis(frame: pl.DataFrame, column: str, title: str) -> alt.X:
    domain = known_range(frame.filter(frame[column] > 0), [column]) or (1.0, 10.0)
    scale = alt.Scale(type="log", domain=[domain[0], max(domain[1], domain[0] * 1.5)], nice=False)
    whole = domain[1] >= 10
    return alt.X(
        f"{column}:Q",
        scale=scale,
        title=title,
        axis=alt.Axis(format="~s" if whole else "~g", tickCount=6, grid=False, labelFlush=False),
    )


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """Lines of a tooltip, each given as title="field" or title="field|format"; underscores in titles
    become spaces.
    """
    lines = []
    for title, field in fields.items():
        name, _, form = field.partition("|")
        line = alt.Tooltip(f"{name}:{'Q' if form else 'N'}", title=title.replace("_", " "))
        lines.append(line.format(form) if form else line)
    return lines


def known_rows(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The rows with finite values in all of these columns."""
    return frame.filter(*(pl.col(c).cast(pl.Float64).is_finite().fill_null(False) for c in columns))
