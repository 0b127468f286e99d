"""The figure of docs/nas.md: what the table of noisy digits is like.

python benchmarks/nas_table.py             # writes docs/figures/nas-digits.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair
import numpy as np
import pandas

from archgym.simulators.nas.cells import CONV3, live_edges
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.summary import first_cells, pareto_front, summarize
from archgym.simulators.nas.tables.table import load_table

OUT = Path(__file__).parents[1] / "docs" / "figures" / "nas-digits.svg"
BLUE, GREY, ORANGE = "#1652dc", "#8b929c", "#fb8900"
HEIGHT = 260
COST = altair.X("macs", title="multiply-adds of the network (millions)", scale=altair.Scale(zero=False))


def main(name: str) -> None:
    table = load_table(name)
    cells = first_cells(table)
    accuracy = 100 * table.test_accuracy.mean(axis=1, dtype=float)
    macs = get_network(table.network).costs(cells)["macs"]
    live = (live_edges(cells) & (cells == CONV3)).sum(axis=1)
    rows = pandas.DataFrame({"accuracy": accuracy, "macs": macs / 1e6, "live": live})
    front = rows.iloc[pareto_front(macs, accuracy)]

    tested = altair.Y("accuracy", title="test accuracy (%), mean of 3 seeds", scale=altair.Scale(zero=False))
    chance = float(accuracy.min())
    shown = rows[rows["accuracy"] > chance + 1]  # the one class that is not connected lies far below
    points = altair.Chart(shown).mark_circle(size=7, opacity=0.35, color=GREY).encode(COST, tested)
    best = altair.Chart(front[front["accuracy"] > chance + 1])
    pareto = best.mark_line(color=BLUE, interpolate="step-after").encode(COST, tested) + best.mark_point(
        color=BLUE, filled=True, size=40
    ).encode(COST, tested)
    costs = (points + pareto).properties(
        width=300, height=HEIGHT, title="Accuracy and cost, with the Pareto front"
    )

    spread = (
        altair.Chart(shown)
        .mark_boxplot(extent="min-max", size=18, color=GREY, median={"color": "white"})
        .encode(
            x=altair.X("live:O", title="live 3x3 convolutions of the cell", axis=altair.Axis(labelAngle=0)),
            y=tested,
        )
        .properties(width=220, height=HEIGHT, title="What convolutions are worth")
    )

    known = pandas.DataFrame(
        [(label(what), abs(value), kind(what)) for what, value in summarize(table).correlations.items()]
    )
    known.columns = ["what", "correlation", "kind"]
    bars = (
        altair.Chart(known)
        .mark_bar(size=12)
        .encode(
            x=altair.X(
                "correlation",
                title="|Spearman correlation| with test accuracy",
                scale=altair.Scale(domain=[0, 1]),
            ),
            y=altair.Y("what", title=None, sort="-x"),
            color=altair.Color(
                "kind",
                title=None,
                scale=altair.Scale(
                    domain=["training", "cost", "zero-cost proxy"], range=[BLUE, GREY, ORANGE]
                ),
                legend=altair.Legend(orient="bottom"),
            ),
        )
        .properties(width=240, height=HEIGHT, title="What predicts it")
    )
    title = altair.TitleParams(
        f"{len(rows):,} cells, {table.test_accuracy.shape[1]} trainings of each: {name}",
        anchor="start",
        offset=14,
    )
    chart = altair.hconcat(costs, spread, bars, spacing=28).properties(
        title=title, background="white", padding=10
    )
    chart.resolve_scale(color="independent").configure_view(stroke=None).save(OUT)
    print(OUT)


def label(what: str) -> str:
    return (
        what.replace("valid_accuracy at 1 epochs", "validation, 1 epoch")
        .replace("valid_accuracy at", "validation,")
        .replace("_", " ")
    )


def kind(what: str) -> str:
    if what in ("params", "macs"):
        return "cost"
    return "training" if what.startswith(("valid", "train")) else "zero-cost proxy"


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main(sys.argv[1] if len(sys.argv) > 1 else "digits-0.5")
