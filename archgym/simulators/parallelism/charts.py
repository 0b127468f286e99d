"""Chart of the plans that no other beats in step time, memory per GPU and GPUs (Altair)."""

from __future__ import annotations

from typing import Any

import altair as alt

from archgym.simulators.parallelism.planning import GIB, Plan, Planning


def draw(found: Planning, title: str) -> Any:
    """Step time against memory, a staircase for each number of GPUs, the best plan marked.

    Args:
        found: plans to draw.
        title: title of the chart, such as "22B on a100".
    """
    points = [_point(each) for each in found.front]
    base = alt.Chart(alt.InlineData(values=points))
    axis = alt.Axis(format="~g", tickCount=6, labelOverlap="greedy")
    x = alt.X("memory:Q", title="memory per GPU (GiB)", scale=alt.Scale(type="log", nice=False), axis=axis)
    y = alt.Y("step:Q", title="step time (s)", scale=alt.Scale(type="log", nice=False), axis=axis)
    order = sorted({each["gpus"] for each in points}, reverse=True)
    colour = alt.Color("gpus:O", title="GPUs", sort=order, scale=alt.Scale(scheme="viridis"))
    tips = [alt.Tooltip(f"{name}:N", title=name) for name in points[0]]
    best = alt.Chart(alt.InlineData(values=[_point(found.best)]))
    layers = [
        base.mark_line(interpolate="step-after", strokeWidth=1.5, opacity=0.7).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
        best.mark_point(size=160, strokeWidth=2, style="interval").encode(x=x, y=y),
    ]
    subtitle = f"plans that no other beats; the ring is the fastest on {found.gpus:,} GPUs"
    return alt.layer(*layers).properties(
        width=460,
        height=320,
        title=alt.TitleParams(title, subtitle=subtitle, offset=14),
        description="Step time against memory per GPU, by number of GPUs.",
    )


def _point(each: Plan) -> dict[str, Any]:
    numbers = {"memory": each.metrics["memory_bytes"] / GIB, "step": each.metrics["step_time_s"]}
    return {
        "gpus": each.gpus,
        **{name: float(f"{value:.5g}") for name, value in numbers.items()},
        **each.design,
    }
