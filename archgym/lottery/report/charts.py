"""Charts of a lottery: pure functions from a frame of `archgym.lottery.analysis.Analysis` to an Altair chart.

A chart shows the rows of one task (one agent, for hyperparameter importance); `compose` puts several side by
side for a paper. The same chart is drawn in the report by the browser and turned into SVG and PDF by
vl-convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from archgym.lottery.report.scales import (
    AXES,
    FULL,
    OPTIMUM,
    agent_axis,
    agent_colour,
    agent_dash,
    below,
    in_percent,
    known_rows,
    samples_axis,
    score_encoding,
    tooltip,
)

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart

VERDICTS = {
    "better": "#0583c799",
    "worse": "#e0702a99",
    "equivalent": "#8b929c90",
    "not resolved": "#8b929c20",
}
"""Colour of each verdict on the agent of the row in a pairwise comparison."""

SHAPES = {
    "tuned": "diamond",
    "naive": "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0ZM-0.55,0A0.55,0.55,0,1,0,0.55,0A0.55,0.55,0,1,0,-0.55,0Z",
    "untuned": "triangle-up",
    "random search": "M-0.2,-1L0.2,-1L0.2,1L-0.2,1Z",
}
"""Marks of `tuning`: a ring for the naive claim, an upright stroke for random search."""


def lottery_map(frame: pl.DataFrame, agents: Sequence[str], unit: str = "samples") -> Chart:
    """The agent to pick, for each number of configurations that can be tried (vertical) and samples per run
    (horizontal).

    A cell has the name and the colour of the agent whose best configuration, chosen on some seeds, scores
    best on the others. The colour is stronger the more often the agent stays the best under resampling.

    Args:
        frame: rows of `Analysis.lottery_map` for one task.
        agents: all agents of the study, in the order of the axis or legend.
        unit: what is counted, "samples" or "reference samples".
    """
    frame = frame.select(
        "task", "agent", "runner_up", pl.col("samples").cast(pl.String).fill_null(FULL).alias("effort"),
        *(pl.col(c).cast(pl.Int64) for c in ("configurations", "samples")),
        *(pl.col(c).cast(pl.Float64) for c in ("ratio", "confidence", "runner_up_ratio")),
    )  # fmt: skip
    order = frame.sort("samples", nulls_last=True)["effort"].unique(maintain_order=True).to_list()
    base = alt.Chart(frame).encode(
        x=alt.X("effort:O", sort=order, title=f"{unit} per run",
                axis=alt.Axis(labelAngle=0, domain=False, ticks=False)),
        y=alt.Y("configurations:O", sort="descending", title="configurations tried",
                axis=alt.Axis(domain=False, ticks=False)),
        tooltip=tooltip(
            configurations="configurations", samples="effort", best="agent", confidence="confidence|.0%",
            ratio="ratio|.4f",
            runner_up="runner_up", ratio_of_the_runner_up="runner_up_ratio|.4f",
        ),
    )  # fmt: skip
    cells = base.mark_rect(cornerRadius=3, style="paper", strokeWidth=2).encode(
        color=agent_colour(agents),
        opacity=alt.Opacity(
            "confidence:Q", scale=alt.Scale(domain=[0.2, 1], range=[0.08, 0.65], clamp=True), legend=None
        ),
    )
    # Cells are narrow: a name of two words has two lines, and the confidence is below it.
    width = alt.ExprRef("bandwidth('x') - 2")
    short = (
        base.transform_filter("indexof(datum.agent, '_') < 0")
        .mark_text(fontSize=10, dy=-6, limit=width)
        .encode(text="agent:N")
    )
    two = base.transform_filter("indexof(datum.agent, '_') >= 0").transform_calculate(
        first="slice(datum.agent, 0, indexof(datum.agent, '_'))",
        second="slice(datum.agent, indexof(datum.agent, '_') + 1)"
    )  # fmt: skip
    first = two.mark_text(fontSize=10, dy=-12, limit=width).encode(text="first:N")
    second = two.mark_text(fontSize=10, dy=-1, limit=width).encode(text="second:N")
    sure = base.mark_text(fontSize=9, dy=11, opacity=0.8).encode(text=alt.Text("confidence:Q", format=".0%"))
    return alt.layer(cells, short, first, second, sure).properties(
        height=alt.Step(42),
        description=(
            "Heat map: the agent to pick for each number of configurations tried and of samples per run."
        ),
    )


def distributions(frame: pl.DataFrame, agents: Sequence[str], *, scale: str = OPTIMUM) -> Chart:
    """Mean score over seeds of each configuration, one dot each, spread over the width of their density (a
    violin of points).

    The bar spans the middle half of the configurations, its dot is their median, the diamond is the default
    configuration.

    Args:
        frame: rows of `Analysis.configurations` for one task.
        agents: all agents of the study, in the order of the axis or legend.
        scale: scale of the task's values, as in `Analysis.tasks`.
    """
    frame = frame.with_columns(shown=below(pl.col("mean_ratio"), scale)).filter(pl.col("shown").is_finite())
    frame = frame.select(
        "task",
        "agent",
        "configuration",
        "hyperparameters",
        pl.col("is_default").fill_null(False),
        "mean_ratio",
        "beats_random",
        "shown",
    )
    frame = frame.with_columns(spread=pl.Series(_sina(frame, scale), dtype=pl.Float64))
    ratio = pl.col("mean_ratio")
    boxes = frame.group_by("task", "agent", maintain_order=True).agg(
        q25=below(ratio.quantile(0.25, "linear"), scale),
        median=below(ratio.median(), scale),
        q75=below(ratio.quantile(0.75, "linear"), scale),
        median_ratio=ratio.median(),
        configurations=pl.len(),
    )
    quality = score_encoding(frame, ["shown"], scale)
    y = agent_axis(agents)
    details = tooltip(
        agent="agent", configuration="configuration", hyperparameters="hyperparameters", default="is_default",
        mean_ratio="mean_ratio|.4f",
        beats_random="beats_random|.0%",
    )  # fmt: skip
    points = alt.Chart(frame).mark_circle(size=18, opacity=1, fillOpacity=0.6, clip=True).encode(
        x=alt.X("shown:Q", **quality), y=y, color=agent_colour(agents), tooltip=details,
        yOffset=alt.YOffset("spread:Q", scale=alt.Scale(domain=[-0.55, 0.55])),
    )  # fmt: skip
    summary = tooltip(agent="agent", configurations="configurations", median_ratio="median_ratio|.4f")
    halves = (
        alt.Chart(boxes)
        .mark_rule(style="box")
        .encode(x=alt.X("q25:Q", **quality), x2="q75:Q", y=y, tooltip=summary)
    )
    medians = (
        alt.Chart(boxes)
        .mark_point(style="median", shape="circle", filled=True, size=52, opacity=1)
        .encode(x=alt.X("median:Q", **quality), y=y, tooltip=summary)
    )
    diamond: dict[str, Any] = {
        "style": "default",
        "shape": "diamond",
        "filled": True,
        "size": 80,
        "opacity": 1,
    }
    # agents with hyperparameters
    alone = pl.col("is_default").not_().any().over("agent") | (pl.len().over("agent") == 1)
    marked = alt.Chart(frame.filter(pl.col("is_default") & alone)).mark_point(**diamond)
    defaults = marked.encode(x=alt.X("shown:Q", **quality), y=y, tooltip=details)
    return alt.layer(points, halves, medians, defaults).properties(
        height=alt.Step(30),
        description=(
            "Distribution over hyperparameter configurations of the mean score of each agent; defaults are "
            "diamonds."
        ),
    )


def _sina(frame: pl.DataFrame, scale: str) -> list[float]:
    """Offsets in [-0.5, 0.5] that spread each agent's points over the width of their density, a kernel
    estimate on the drawn scale.
    """
    offsets = np.zeros(len(frame))
    values = frame["shown"].cast(pl.Float64).to_numpy()
    values = np.log(values) if in_percent(scale) else values
    names = frame["agent"].to_numpy()
    for name in np.unique(names.astype(str)):
        at = np.flatnonzero(names.astype(str) == name)
        v = values[at]
        width = 1.06 * v.std() * len(v) ** -0.2 or 1.0
        density = np.exp(-0.5 * ((v[:, None] - v[None, :]) / width) ** 2).mean(1)
        where = np.argsort(v, kind="stable")
        sequence = np.empty(len(v))
        # neighbours in value are far apart in height
        sequence[where] = (np.arange(1, len(v) + 1) * 0.6180339887498949) % 1 - 0.5
        offsets[at] = sequence * density / density.max() * min(1.0, 0.2 + len(v) / 40)
    return [round(float(o), 3) for o in offsets]


def winning_tickets(frame: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """Share of runs of random configurations within 1 % (strong bar) and 5 % (pale bar) of the best, with 95
    % intervals.

    Args:
        frame: rows of `Analysis.distribution` for one task; one number of samples is shown at a time.
        agents: all agents of the study, in the order of the axis or legend.
    """
    rows = pl.concat(
        frame.select(
            "task",
            "agent",
            "samples",
            pl.lit(f"within {n} %").alias("within"),
            share=pl.col(f"tickets_{n}").cast(pl.Float64),
            low=pl.col(f"tickets_{n}_low").cast(pl.Float64),
            high=pl.col(f"tickets_{n}_high").cast(pl.Float64),
        )
        for n in (1, 5)
    )
    rows = known_rows(rows, "share")
    within = ["within 1 %", "within 5 %"]
    x = alt.X(
        "share:Q",
        title="runs that win",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    base = alt.Chart(rows).encode(
        y=agent_axis(agents),
        yOffset=alt.YOffset("within:N", sort=within, scale=alt.Scale(domain=within, paddingInner=0.15)),
        tooltip=tooltip(
            agent="agent",
            samples="samples",
            end="within",
            runs_that_win="share|.1%",
            low="low|.1%",
            high="high|.1%",
        ),
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x=x,
        color=agent_colour(agents),
        opacity=alt.when("datum.within == 'within 1 %'").then(alt.value(1.0)).otherwise(alt.value(0.42)),
    )
    intervals = base.mark_rule(style="interval").encode(x=alt.X("low:Q"), x2="high:Q")
    return alt.layer(bars, intervals).properties(
        height=alt.Step(step=30, **{"for": "position"}),
        description="Share of the runs of each agent that come within 1 % and within 5 % of the best.",
    )


def curves(
    frame: pl.DataFrame,
    agents: Sequence[str],
    *,
    axis: str = "samples",
    scale: str = OPTIMUM,
    legend: bool = True,
    hover: bool = True,
) -> Chart:
    """Score of the best design so far, over samples, cost or wall time: median over runs, with a band between
    the quartiles.

    Args:
        frame: rows of `Analysis.curves` for one task and one axis; one series is shown at a time.
        agents: all agents of the study, in the order of the axis or legend.
        axis: "samples", "cost" or "seconds", the quantity on the horizontal axis.
        scale: scale of the task's values, as in `Analysis.tasks`.
        legend: whether the chart has a legend.
        hover: whether invisible points have tooltips; figures for papers need none.
    """
    rows = known_rows(frame, "x", "q50").filter(pl.col("x") > 0)
    rows = rows.select(
        "task",
        "agent",
        "series",
        "x",
        ratio="q50",
        **{c: below(pl.col(c), scale) for c in ("q25", "q50", "q75")},
    )
    quality = score_encoding(rows, ["q25", "q50", "q75"], scale)
    x = samples_axis(rows, "x", AXES[axis])
    colour, dash = agent_colour(agents, legend), agent_dash(agents, legend)
    base = alt.Chart(rows).encode(x=x, detail="series:N")
    band = base.mark_area(opacity=0.08, clip=True).encode(
        y=alt.Y("q25:Q", **quality), y2="q75:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y("q50:Q", **quality), color=colour, strokeDash=dash
    )
    layers: list[alt.Chart] = [band, line]
    if hover:
        tips = tooltip(agent="agent", **{axis: "x|.4~g"}, median_ratio="ratio|.4f")
        layers.append(
            base.mark_point(size=110, opacity=0, filled=True, clip=True).encode(
                y=alt.Y("q50:Q", **quality), color=colour, tooltip=tips
            )
        )
    return alt.layer(*layers).properties(
        height=230,
        description=(f"Best score so far over {axis}: median and quartiles over the runs of each agent."),
    )


def targets(
    frame: pl.DataFrame,
    agents: Sequence[str],
    *,
    unit: str = "samples",
    legend: bool = True,
    hover: bool = True,
) -> Chart:
    """Share of runs that have reached a target within a number of samples: the empirical distribution over
    all runs.

    Args:
        frame: rows of `Analysis.targets` for one task; one target is shown at a time.
        agents: all agents of the study, in the order of the axis or legend.
        unit: what is counted, "samples" or "reference samples".
        legend: whether the chart has a legend.
        hover: whether invisible points have tooltips.
    """
    rows = (
        known_rows(frame, "samples", "reached")
        .filter(pl.col("samples") > 0)
        .select("task", "agent", "target", "samples", "reached")
    )
    x = samples_axis(rows, "samples", unit)
    y = alt.Y(
        "reached:Q",
        title="runs that reached it",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    base = alt.Chart(rows).encode(x=x, y=y, color=agent_colour(agents, legend), detail="target:N")
    layers: list[alt.Chart] = [
        base.mark_line(interpolate="step-after", strokeWidth=2).encode(strokeDash=agent_dash(agents, legend))
    ]
    if hover:
        tips = tooltip(
            agent="agent", target="target", samples="samples|.4~g", runs_that_reached_it="reached|.1%"
        )
        layers.append(base.mark_point(size=110, opacity=0, filled=True).encode(tooltip=tips))
    return alt.layer(*layers).properties(
        height=210, description="Share of the runs of each agent that have reached the target, over samples."
    )


def tuning(frame: pl.DataFrame, agents: Sequence[str], *, scale: str = OPTIMUM) -> Chart:
    """The same total of samples, spent in four ways.

    Diamond with its interval: the best of k configurations, chosen on some seeds and scored on the others.
    Ring: the naive claim, scored on the seeds that chose it. Triangle: the untuned defaults, with all k B
    samples. Stroke: random search with k B samples.

    Args:
        frame: rows of `Analysis.tuning` for one task; one pair of configurations k and samples B is shown at
            a time.
        agents: all agents of the study, in the order of the axis or legend.
        scale: scale of the task's values, as in `Analysis.tasks`.
    """
    kinds = {"tuned": "tuned", "naive": "naive", "untuned": "untuned", "random_search": "random search"}
    nothing = pl.lit(None, dtype=pl.Float64)
    parts = [
        frame.select(
            "task", "agent", "configurations", "samples", pl.lit(title).alias("kind"),
            ratio=pl.col(column).cast(pl.Float64),
            shown=below(pl.col(column), scale),
            low=below(pl.col("low"), scale) if column == "tuned" else nothing,
            high=below(pl.col("high"), scale) if column == "tuned" else nothing,
        )
        for column, title in kinds.items()
    ]  # fmt: skip
    rows = known_rows(pl.concat(parts), "shown")
    quality = score_encoding(rows, ["shown", "low", "high"], scale)
    names = list(SHAPES)
    base = alt.Chart(rows).encode(y=agent_axis(agents), color=agent_colour(agents))
    tips = tooltip(
        agent="agent", what="kind", configurations="configurations", samples_each="samples", ratio="ratio|.4f"
    )
    intervals = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.5, opacity=0.7).encode(
        x=alt.X("low:Q", **quality), x2="high:Q", tooltip=tips
    )  # fmt: skip
    marks = base.mark_point(size=64, filled=True, opacity=1).encode(
        x=alt.X("shown:Q", **quality),
        shape=alt.Shape("kind:N", scale=alt.Scale(domain=names, range=list(SHAPES.values())), sort=names,
                        legend=alt.Legend(title=None, orient="top", columns=2, columnPadding=24)),
        tooltip=tips,
    )  # fmt: skip
    return alt.layer(intervals, marks).properties(
        height=alt.Step(26),
        description=("Tuned, naive, untuned and random search at equal total samples, for each agent."),
    )


def importance(frame: pl.DataFrame) -> Chart:
    """Percentage of the variation between configurations that each hyperparameter of one agent explains, on
    each task.

    For ordered values with a correlation beyond 0.2, an arrow shows whether larger values are better (up) or
    worse (down).

    Args:
        frame: rows of `Analysis.importance` for one agent.
    """
    rows = known_rows(frame, "importance").select(
        "task", "agent", "hyperparameter", "importance", "direction"
    )
    direction = pl.col("direction").cast(pl.Float64, strict=False).fill_null(0.0)
    percent = (pl.col("importance") * 100).round(0).cast(pl.Int64).cast(pl.String)
    seen = pl.col("importance") >= 0.05
    up, down = (
        pl.when(seen & (direction > 0.2)).then(pl.lit(" ↑")),
        pl.when(seen & (direction < -0.2)).then(pl.lit(" ↓")),
    )
    percent = pl.when(pl.col("importance") < 0.005).then(pl.lit("·")).otherwise(percent)
    rows = rows.with_columns(
        word=pl.concat_str(percent, up.otherwise(pl.lit("")), down.otherwise(pl.lit("")))
    )
    order = (
        rows.group_by("hyperparameter", maintain_order=True)
        .agg(pl.col("importance").mean())
        .sort("importance", descending=True, maintain_order=True)["hyperparameter"]
        .to_list()
    )
    base = alt.Chart(rows).encode(
        x=alt.X("task:N", sort=rows["task"].unique(maintain_order=True).to_list(), title=None,
                axis=alt.Axis(labelAngle=-35, labelLimit=110, domain=False, ticks=False)),
        y=alt.Y("hyperparameter:N", sort=order, title=None,
                axis=alt.Axis(domain=False, ticks=False, labelLimit=130)),
        tooltip=tooltip(task="task", agent="agent", hyperparameter="hyperparameter",
                        importance="importance|.1%", direction="direction"),
    )  # fmt: skip
    opacity = alt.Opacity(
        "importance:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 0.8], clamp=True), legend=None
    )
    cells = base.mark_rect(cornerRadius=3, color="#0583c7", style="paper", strokeWidth=2).encode(
        opacity=opacity
    )
    words = base.mark_text(fontSize=10).encode(text="word:N")
    return alt.layer(cells, words).properties(
        height=alt.Step(26), description="Importance of each hyperparameter on each task."
    )


def variance(frame: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """Shares of the variance of a run's score that hyperparameters and seeds explain.

    Args:
        frame: rows of `Analysis.distribution` for one task; one number of samples is shown at a time.
        agents: all agents of the study, in the order of the axis or legend.
    """
    share = pl.col("share_configurations").cast(pl.Float64)
    keys = ["task", "agent", "samples"]
    known = known_rows(frame, "share_configurations")
    hyperparameters = known.select(
        *keys,
        source=pl.lit("hyperparameters"),
        source_order=0,
        share=share,
        variance=pl.col("variance_configurations").cast(pl.Float64),
    )
    seeds = known.select(
        *keys,
        source=pl.lit("seeds"),
        source_order=1,
        share=1 - share,
        variance=pl.col("variance_seeds").cast(pl.Float64),
    )
    sources = ["hyperparameters", "seeds"]
    colour = alt.Scale(domain=sources, range=["#0583c7", "#a9b1bc"])
    x = alt.X(
        "share:Q",
        title="share of the variance",
        stack="zero",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    chart = alt.Chart(pl.concat([hyperparameters, seeds])).mark_bar(height={"band": 0.62})
    drawn = chart.encode(
        y=agent_axis(agents),
        x=x,
        color=alt.Color("source:N", scale=colour, sort=sources, legend=alt.Legend(title=None, orient="top")),
        order=alt.Order("source_order:Q"),
        tooltip=tooltip(
            agent="agent", samples="samples", source="source", share="share|.1%", variance="variance|.3~g"
        ),
    )
    return alt.layer(drawn).properties(
        height=alt.Step(24),
        description=(
            "Share of the variance of scores that hyperparameters and seeds explain, for each agent."
        ),
    )


def comparisons(frame: pl.DataFrame, agents: Sequence[str], *, scale: str = OPTIMUM) -> Chart:
    """Every pair of agents: how much better the agent of the row is than that of the column, after Holm's
    correction.

    Blue and orange cells are different, with the difference in percent (in rewards if the scale is of
    differences). Grey cells (≈) are equivalent within the study's margin. Cells with a dot are not resolved
    by this number of seeds.

    Args:
        frame: rows of `Analysis.comparisons` for one task; one family is shown at a time.
        agents: all agents of the study, in the order of the axis or legend.
        scale: scale of the task's values, as in `Analysis.tasks`.
    """
    numbers = [
        pl.col(c).cast(pl.Float64).fill_nan(None)
        for c in ("ratio", "low", "high", "p", "p_holm", "p_equivalence")
    ]
    there = frame.select("family", "task", "agent_a", "agent_b", *numbers, "verdict")
    swapped = {"agent_a": pl.col("agent_b"), "agent_b": pl.col("agent_a")}
    if scale.startswith("difference"):
        back = there.with_columns(**swapped, ratio=-pl.col("ratio"), low=-pl.col("high"), high=-pl.col("low"))
        gain = pl.col("ratio")
        number = gain.abs().map_elements(lambda v: f"{v:.2g}", return_dtype=pl.String)
    else:
        back = there.with_columns(
            **swapped, ratio=1 / pl.col("ratio"), low=1 / pl.col("high"), high=1 / pl.col("low")
        )
        gain = 100 * (pl.col("ratio") - 1)
        size = gain.abs()
        whole = size.round(0).cast(pl.Int64, strict=False).cast(pl.String)
        number = pl.when(size >= 9.95).then(whole).otherwise(size.round(1).cast(pl.String))
    different = pl.col("verdict") == "different"
    rows = pl.concat([there, back]).with_columns(
        says=pl.when(different & (gain > 0)).then(pl.lit("better"))
        .when(different).then(pl.lit("worse")).otherwise(pl.col("verdict")),
        word=pl.when(different)
        .then(pl.concat_str(pl.when(gain > 0).then(pl.lit("+")).otherwise(pl.lit("−")), number))
        .when(pl.col("verdict") == "equivalent").then(pl.lit("≈")).otherwise(pl.lit("·")),
    )  # fmt: skip
    colour = alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values()))
    base = alt.Chart(rows).encode(
        x=alt.X("agent_b:N", sort=list(agents), title=None,
                axis=alt.Axis(labelAngle=-45, labelLimit=100, domain=False, ticks=False, orient="top")),
        y=alt.Y("agent_a:N", sort=list(agents), title=None,
                axis=alt.Axis(domain=False, ticks=False, labelLimit=130)),
        tooltip=tooltip(
            row="agent_a", column="agent_b", row_against_column="ratio|.4f", low="low|.4f", high="high|.4f",
            p="p|.2~g",
            p_after_Holm="p_holm|.2~g", p_of_equivalence="p_equivalence|.2~g", verdict="verdict",
        ),
    )  # fmt: skip
    cells = base.mark_rect(cornerRadius=3, style="paper", strokeWidth=2).encode(
        color=alt.Color(
            "says:N",
            scale=colour,
            sort=list(VERDICTS),
            legend=alt.Legend(title=None, orient="bottom", columns=2, columnPadding=24),
        )
    )
    words = base.mark_text(fontSize=alt.ExprRef("min(9, bandwidth('x') / 2.7)")).encode(text="word:N")
    return alt.layer(cells, words).properties(
        height=alt.Step(26),
        description=(
            "Matrix of pairwise comparisons: whether the row's agent is better, worse, equivalent or not "
            "resolved."
        ),
    )


def effort(frame: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """Hours of wall time of all runs of each agent, summed over the tasks shown.

    Args:
        frame: wall time by task and agent, with the columns task, agent, seconds and runs.
        agents: all agents of the study, in the order of the axis or legend.
    """
    rows = known_rows(frame, "seconds").select(
        "task", "agent", "runs", hours=pl.col("seconds").cast(pl.Float64) / 3600
    )
    base = (
        alt.Chart(rows)
        .transform_aggregate(hours="sum(hours)", runs="sum(runs)", groupby=["agent"])
        .encode(y=agent_axis(agents))
    )
    base = base.transform_calculate(label="format(datum.hours, '.3~g') + ' h'")
    x = alt.X("hours:Q", title="hours of wall time, all runs", axis=alt.Axis(tickCount=5, format="~g"))
    bars = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.62}).encode(
        x=x, color=agent_colour(agents), tooltip=tooltip(agent="agent", hours="hours|.3~g", runs="runs|,d")
    )
    words = base.mark_text(align="left", dx=5).encode(x=x, text="label:N")
    return alt.layer(bars, words).properties(
        height=alt.Step(24), description="Wall time that the runs of each agent took."
    )


# ----------------------------------------------------------------------------------------------------
# figures


def compose(
    panels: Mapping[str, Chart], *, columns: int = 3, width: int = 260, title: str = ""
) -> alt.ConcatChart:
    """A figure for a paper: several charts of one kind side by side, titled by their keys."""
    parts = [chart.properties(title=name, width=width) for name, chart in panels.items()]
    return alt.concat(
        *parts, columns=min(columns, max(1, len(parts))), title=title or alt.Undefined, spacing=28
    )


def pdf(drawing: str) -> bytes:
    """An SVG drawing as PDF."""
    return bytes(vl_convert.svg_to_pdf(drawing))
