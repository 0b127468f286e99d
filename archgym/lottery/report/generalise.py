"""The report of a study of kind "generalise": its charts, sections and page, in the lottery's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from archgym.lottery.generalise.analysis import TABLES, Analysis, Transfer
from archgym.lottery.generalise.data import Baseline
from archgym.lottery.generalise.words import MEANING, conclude, equal_in_words, final
from archgym.lottery.report.charts import SHAPES, Chart
from archgym.lottery.report.page import conclusions_by_task, render, write_files
from archgym.lottery.report.scales import agent_colour, known_rows, samples_axis, tooltip
from archgym.lottery.report.sections import Choice, Panel, Section

FIRST, VERIFIED = "first proposal", "best of the simulated proposals"
SHOWN = 60
"""Contexts of a chart; the table has all."""

_TONES: Mapping[str, str] = {
    Transfer.GENERALISES: "yes",
    Transfer.COPIES: "open",
    Transfer.NOTHING: "no",
    Transfer.UNRESOLVED: "open",
}
_BASELINE_DASHES = {Baseline.NEAREST: [6, 3], Baseline.ONE_FOR_ALL: [2, 2], Baseline.RANDOM: [1, 4]}


def write_generalise_report(
    analysis: Analysis, folder: Path, *, title: str, provenance: Mapping[str, str]
) -> Path:
    """Write `report.html`, figures and tables into a folder: the path of the page.

    Args:
        analysis: the analysis to report.
        folder: folder of the report, created if needed.
        title: heading of the page.
        provenance: where the numbers come from, in the order in which it is listed.

    Raises:
        ArchGymError: the folder cannot be written.
    """
    tasks = analysis.tasks.to_dicts()
    policies = list(dict.fromkeys(analysis.policies["agent"]))
    agents = list(dict.fromkeys([*policies, *analysis.searches["agent"]]))
    sections = [
        _training(analysis, agents),
        _saved(analysis, agents),
        _contexts(analysis, agents),
    ]
    page = render(
        "generalise.html.j2",
        sections,
        tasks=tasks,
        agents=agents,
        budgets={},
        title=title,
        provenance=dict(provenance),
        conclusions=conclusions_by_task(tasks, conclude(analysis)),
        policies=[{**row, "tone": _TONES[row["verdict"]]} for row in _final_rows(analysis.policies)],
        compared=_final_rows(analysis.baselines),
        saved=_saved_table(analysis),
        meanings={verdict.value: words for verdict, words in MEANING.items()},
    )
    return write_files(folder, {name: getattr(analysis, name) for name in TABLES}, sections, page)


def _final_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return final(frame).to_dicts()


def _saved_table(analysis: Analysis) -> dict[str, Any]:
    """The table of samples saved: the searches, and a row for each policy and quality."""
    searches = list(dict.fromkeys(analysis.samples_saved["search"]))
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in _final_rows(analysis.samples_saved):
        key = row["task"], row["agent"], row["quality"]
        found = rows.setdefault(key, {name: row[name] for name in ("task", "agent", "quality", "spent")})
        found.setdefault("cells", {})[row["search"]] = equal_in_words(row)
    return {"searches": searches, "rows": list(rows.values())}


def _by_task(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = frame.partition_by("task", as_dict=True, maintain_order=True)
    return {str(task): part for (task,), part in parts.items()}


# ----------------------------------------------------------------------------------------------------
# sections


def _training(analysis: Analysis, agents: Sequence[str]) -> Section:
    keys = ["task", "agent", "samples"]
    columns = {
        FIRST: ("share", "share_low", "share_high"),
        VERIFIED: ("verified", "verified_low", "verified_high"),
    }
    curves = pl.concat(
        analysis.policies.select(
            *keys, pl.lit(quality).alias("quality"),
            share=pl.col(share), low=pl.col(low), high=pl.col(high),
        )
        for quality, (share, low, high) in columns.items()
    )  # fmt: skip
    levels = _by_task(_levels(analysis))
    panels, figures = [], {}
    for task, rows in _by_task(curves).items():
        panels.append(Panel(task, training_curve(rows, levels[task], agents), "task"))
        figures[task] = training_curve(rows.filter(pl.col("quality") == FIRST), levels[task], agents)
    choices = [Choice("quality", "Share of", list(columns), FIRST)]
    return Section(
        "training", panels, choices, {"training-samples": figures}, ["policies", "training_runs"], 420
    )


def _levels(analysis: Analysis) -> pl.DataFrame:
    """Share of each baseline, by task."""
    return analysis.baselines.group_by("task", "baseline", maintain_order=True).agg(pl.col("share").mean())


def _saved(analysis: Analysis, agents: Sequence[str]) -> Section:
    last = _by_task(final(analysis.policies))
    panels, figures = [], {}
    for task, rows in _by_task(analysis.searches).items():
        if task in last:
            figures[task] = saved_samples(rows, last[task], agents)
            panels.append(Panel(task, figures[task], "task"))
    return Section(
        "saved", panels, figures={"samples-saved": figures} if figures else {},
        tables=["samples_saved", "searches"], panel_width=420,
    )  # fmt: skip


def _contexts(analysis: Analysis, agents: Sequence[str]) -> Section:
    rows = final(analysis.contexts)
    policies = list(dict.fromkeys(rows["agent"]))
    panels, figures = [], {}
    for task, part in _by_task(rows).items():
        n = part["context"].n_unique()
        note = f"the {SHOWN} lowest of {n}" if n > SHOWN else ""
        panels.append(Panel(task, contexts_chart(part, agents), "task", note=note))
        for agent in policies:
            own = part.filter(pl.col("agent") == agent)
            if len(own):
                figures[f"{task}, {agent}"] = contexts_chart(own, agents)
    choices = [Choice("agent", "Policy", policies, policies[0])] if policies else []
    return Section(
        "contexts", panels, choices, {"contexts": figures} if figures else {}, ["contexts", "baselines"], 420
    )


# ----------------------------------------------------------------------------------------------------
# charts


def _share(title: str) -> dict[str, Any]:
    return {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format=".1f", tickCount=5), "title": title}


def training_curve(frame: pl.DataFrame, levels: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """Share on held-out contexts over training samples, with intervals over splits, and the baselines.

    Args:
        frame: task, agent, samples, quality, share, low, high; one quality is shown at a time.
        levels: baseline, share.
        agents: all agents, in the order of their colours.
    """
    rows = known_rows(frame, "share")
    samples = sorted(set(rows["samples"]))
    x = alt.X(
        "samples:Q",
        title="training samples",
        scale=alt.Scale(type="log", domain=[samples[0] / 1.3, samples[-1] * 1.3], nice=False),
        axis=alt.Axis(values=samples, format=",d", grid=False, labelOverlap="greedy"),
    )
    base = alt.Chart(rows).encode(
        x=x, color=agent_colour(agents, legend=True), detail="quality:N",
        tooltip=tooltip(
            agent="agent", training_samples="samples|,d", share="share|.3f", low="low|.3f", high="high|.3f"
        ),
    )  # fmt: skip
    y = alt.Y("share:Q", **_share("share of the exact optimum"))
    line = base.mark_line(strokeWidth=2).encode(y=y)
    limits = base.mark_rule(strokeWidth=2, opacity=0.6).encode(y=alt.Y("low:Q", **_share("")), y2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(y=y)
    return alt.layer(*_baseline_levels(levels), line, limits, points).properties(
        height=250, description="Share of the exact optimum on held-out contexts over training samples."
    )


def _baseline_levels(levels: pl.DataFrame) -> list[alt.Chart]:
    """Lines across, each with its name above it at the left."""
    base = alt.Chart(levels).encode(y=alt.Y("share:Q", **_share("share of the exact optimum")))
    dash = alt.StrokeDash(
        "baseline:N",
        scale=alt.Scale(domain=[b.value for b in _BASELINE_DASHES], range=list(_BASELINE_DASHES.values())),
        legend=None,
    )
    tips = tooltip(baseline="baseline", share="share|.3f")
    rules = base.mark_rule(style="diagonal").encode(strokeDash=dash, tooltip=tips)
    names = base.mark_text(style="name", align="left", dx=4, dy=-6, x=0).encode(text="baseline:N")
    return [rules, names]


def saved_samples(searches: pl.DataFrame, policies: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """What searches find with samples of the held-out context, and what policies design without.

    Args:
        searches: rows of `Analysis.searches` for one task.
        policies: rows of `Analysis.policies` for one task, one for each policy.
        agents: all agents, in the order of their colours.
    """
    rows = known_rows(searches, "share")
    colour = agent_colour(agents, legend=True)
    x, y = (
        samples_axis(rows, "samples", "samples of the held-out context"),
        _share("share of the exact optimum"),
    )
    base = alt.Chart(rows).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.1, clip=True).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y("share:Q", **y),
        tooltip=tooltip(
            agent="agent", samples="samples|,d", share="share|.3f", low="low|.3f", high="high|.3f"
        ),
    )
    own = alt.Chart(policies).encode(color=colour)
    details = tooltip(
        agent="agent", training_samples="samples|,d", first_proposal="share|.3f", low="share_low|.3f",
        high="share_high|.3f", best_of_the_simulated="verified|.3f", simulated="verify|d",
    )  # fmt: skip
    first = own.mark_rule(strokeWidth=2, strokeDash=[7, 3]).encode(y=alt.Y("share:Q", **y), tooltip=details)
    verified = own.mark_point(shape="diamond", filled=True, size=110, opacity=1).encode(
        x=alt.X("verify:Q"), y=alt.Y("verified:Q", **y), tooltip=details
    )
    names = own.mark_text(align="right", dx=-4, dy=-7, x="width").encode(
        y=alt.Y("share:Q", **y), text="agent:N"
    )
    return alt.layer(band, line, first, verified, names).properties(
        height=250,
        description="Share that searches reach over samples of a context, and policies without.",
    )


def contexts_chart(frame: pl.DataFrame, agents: Sequence[str]) -> Chart:
    """Share by held-out context of the policy and of both copies, for the `SHOWN` contexts with the lowest.

    Args:
        frame: rows of `Analysis.contexts` for one task; one agent is shown at a time.
        agents: all agents, in the order of their colours.
    """
    rows = frame.filter(pl.col("share").rank("ordinal").over("agent") <= SHOWN)
    lowest_first = alt.EncodingSortField("share", op="min", order="ascending")
    axis = alt.Axis(ticks=False, domain=False, labelLimit=220, labelPadding=6, labelFontSize=10, grid=True)
    base = alt.Chart(rows).encode(
        y=alt.Y("context:N", sort=lowest_first, title=None, axis=axis),
        tooltip=tooltip(
            context="context", agent="agent", splits="splits", first_proposal="share|.3f",
            best_of_the_simulated="verified|.3f", lowest="lowest|.3f", nearest="nearest|.3f",
            one_for_all="one_for_all|.3f", random_design="random|.3f",
        ),
    )  # fmt: skip

    def at(column: str) -> alt.X:
        return alt.X(f"{column}:Q", **_share("share of the exact optimum"))

    near = base.mark_point(shape=SHAPES["random search"], filled=True, size=150, opacity=1, style="name")
    one = base.mark_point(shape="triangle-up", filled=True, size=40, opacity=0.8, style="name")
    ring = base.mark_point(shape="circle", filled=False, size=60, opacity=1, strokeWidth=1.6)
    dot = base.mark_point(shape="circle", filled=True, size=52, opacity=1)
    return alt.layer(
        near.encode(x=at("nearest")),
        one.encode(x=at("one_for_all")),
        ring.encode(x=at("verified"), color=agent_colour(agents)),
        dot.encode(x=at("share"), color=agent_colour(agents)),
    ).properties(
        height=alt.Step(16),
        description="Share of the exact optimum for each held-out context: policy and copies.",
    )
