"""Charts of a proxy: predictions, errors by parameter, learning curve, agents, intervals (Altair)."""

from __future__ import annotations

from typing import Any, TypeAlias

import altair as alt
import numpy as np

from archgym.files.charts import axis_title
from archgym.proxy.evaluate import LEVELS
from archgym.proxy.training import Trained
from archgym.words import plain

Chart: TypeAlias = Any  # Altair builds classes at run time

_MAX_DOTS = 2000  # dots per panel
_HUES = ("#1652dc", "#fb8900", "#d90151", "#41c37b", "#8d77fe", "#006f06")
_SIZE = 240


def draw(trained: Trained, subtitle: str = "") -> Chart:
    """All charts of a proxy on one page.

    Args:
        trained: the proxy, its report and its test designs.
        subtitle: text below the title, such as the speed-up.
    """
    metrics = trained.simulator.metrics
    names = [metric.name for metric in metrics]
    colour = alt.Color(
        "target:N",
        sort=names,
        scale=alt.Scale(
            domain=names,
            range=list(_HUES[: len(names)]) if len(names) <= len(_HUES) else {"scheme": "tableau20"},
        ),
        legend=alt.Legend(title=None, orient="bottom") if len(names) > 1 else None,
    )
    last = [
        _curve(trained, colour),
        _intervals(trained, colour),
        *([_agents(trained)] if trained.report["agents"] else []),
    ]
    rows: list[Chart] = [
        alt.concat(*[_predictions(trained, k) for k in range(len(metrics))], columns=3, spacing=28),
        alt.concat(*[_by_parameter(trained, k) for k in range(len(metrics))], columns=3, spacing=28),
        alt.hconcat(*last, spacing=40),
    ]
    title = alt.TitleParams(
        f"A {trained.report['model'].replace('_', ' ')} proxy of {trained.simulator.env.id}",
        subtitle=[line for line in (_facts(trained), subtitle) if line],
        offset=16,
        limit=0,
    )
    return alt.vconcat(*rows, spacing=36).properties(title=title).resolve_scale(color="independent")


def _facts(trained: Trained) -> str:
    designs = trained.report["designs"]
    return (
        f"{designs['train']:,} of {designs['space']:,} designs for training, {designs['test']:,} others for "
        "the test"
    )


def _predictions(trained: Trained, k: int) -> Chart:
    """Predicted against true values."""
    metric, errors = trained.simulator.metrics[k], trained.report["test"][trained.simulator.metrics[k].name]
    step = max(1, len(trained.true) // _MAX_DOTS)
    true, predicted = trained.true[::step, k], trained.predicted[::step, k]
    both = np.concatenate([true, predicted])
    log = bool(trained.simulator.targets.log[k]) and both.min() > 0
    low, high = float(both.min()), float(both.max())
    room = 0.03 * (high - low)
    domain = [low / 1.1, high * 1.1] if log else [low - room, high + room]
    scale = alt.Scale(type="log" if log else "linear", domain=domain, nice=False, zero=False)
    axis = alt.Axis(format="~s" if high < 1e15 and low > 1e-15 else "~g", tickCount=5, labelOverlap="greedy")
    dots = alt.Chart(
        alt.InlineData(values=[{"t": float(t), "p": float(p)} for t, p in zip(true, predicted, strict=True)])
    ).mark_point(filled=True, size=12, opacity=0.45, color=_HUES[0])
    encoded = dots.encode(
        x=alt.X("t:Q", title=f"true {axis_title(metric)}", scale=scale, axis=axis),
        y=alt.Y("p:Q", title="predicted", scale=scale, axis=axis),
    )
    ends = [{"t": v, "p": v} for v in domain]
    diagonal = (
        alt.Chart(alt.InlineData(values=ends)).mark_line(style="diagonal", clip=True).encode(x="t:Q", y="p:Q")
    )
    title = alt.TitleParams(
        f"RMSE {errors['rmse_percent_of_range']:.3g} % of the range, R2 {errors['r2']:.5g}",
        subtitle=f"MAPE {errors['mape_percent']:.3g} %, Spearman {errors['spearman']:.5f}",
    )
    return alt.layer(diagonal, encoded).properties(width=_SIZE, height=_SIZE, title=title)


def _by_parameter(trained: Trained, k: int) -> Chart:
    """RMSE at each value of each parameter, one dot each; the worst value of each parameter is labelled."""
    metric, space = trained.simulator.metrics[k], trained.simulator.space
    error = 100 * (trained.predicted[:, k] - trained.true[:, k]) / np.ptp(trained.true[:, k])
    values = []
    for p, parameter in enumerate(space):
        seen = np.unique(trained.indices[:, p])
        rmse = [float(np.sqrt((error[trained.indices[:, p] == i] ** 2).mean())) for i in seen]
        worst = int(np.argmax(rmse))
        for j, (i, value) in enumerate(zip(seen, rmse, strict=True)):
            shown = plain(parameter.value(int(i)))
            values.append({"parameter": parameter.name, "value": shown, "rmse": value, "worst": j == worst})
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("rmse:Q", title=f"RMSE of {metric.name}, % of the range", scale=alt.Scale(zero=True)),
        y=alt.Y("parameter:N", title=None, sort=list(space.names), axis=alt.Axis(labelLimit=150)),
    )
    dots = base.mark_point(filled=True, size=26, opacity=0.6, color=_HUES[0]).encode(
        tooltip=[alt.Tooltip("parameter:N"), alt.Tooltip("value:N"), alt.Tooltip("rmse:Q", format=".3g")]
    )
    names = (
        base.transform_filter("datum.worst")
        .mark_text(style="name", align="left", dx=6)
        .encode(text="value:N")
    )
    return alt.layer(dots, names).properties(
        width=_SIZE, height=max(90, 17 * len(space)), title="Errors by parameter"
    )


def _curve(trained: Trained, colour: Any) -> Chart:
    """Error against the number of training designs."""
    values = [
        {"designs": point["designs"], "target": name, "rmse": errors["rmse_percent_of_range"]}
        for point in trained.report["learning_curve"]
        for name, errors in point["errors"].items()
    ]
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(point={"size": 28, "filled": True})
        .encode(
            x=alt.X(
                "designs:Q",
                title="training designs",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(format="~s", tickCount=5, labelOverlap="greedy", labelFlush=False),
            ),
            y=alt.Y(
                "rmse:Q",
                title="RMSE, % of the range",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~g", tickCount=4),
            ),
            color=colour,
        )
        .properties(width=_SIZE, height=_SIZE, title="Learning curve")
    )


def _intervals(trained: Trained, colour: Any) -> Chart:
    """Coverage of test designs against the level of the interval."""
    values = [
        {"level": level, "target": name, "coverage": shares[str(level)]}
        for name, shares in trained.report["coverage"].items()
        for level in LEVELS
    ]
    scale = alt.Scale(domain=[0.4, 1.0], nice=False, zero=False)
    axis = alt.Axis(format="%", values=[0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    lines = (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(point={"size": 28, "filled": True}, clip=True)
        .encode(
            x=alt.X("level:Q", title="level of the interval", scale=scale, axis=axis),
            y=alt.Y("coverage:Q", title="test designs within", scale=scale, axis=axis),
            color=colour,
        )
    )
    ends = [{"level": v, "coverage": v} for v in (0.4, 1.0)]
    diagonal = (
        alt.Chart(alt.InlineData(values=ends)).mark_line(style="diagonal").encode(x="level:Q", y="coverage:Q")
    )
    return alt.layer(diagonal, lines).properties(width=_SIZE, height=_SIZE, title="Intervals")


def _agents(trained: Trained) -> Chart:
    """Generalisation from the designs of one agent to those of another."""
    found = trained.report["agents"]
    values = [
        {"on": row, "to": column, "rmse": rmse}
        for row, errors in found["errors"].items()
        for column, rmse in errors.items()
    ]
    columns = list(next(iter(found["errors"].values())))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("to:N", title="tested on unseen designs of", sort=columns, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("on:N", title=f"trained on {found['designs']:,} designs of", sort=list(found["errors"])),
    )
    low, high = (float(f([v["rmse"] for v in values])) for f in (np.min, np.max))
    tiles = base.mark_rect().encode(
        color=alt.Color(
            "rmse:Q",
            scale=alt.Scale(type="log", scheme="blues", domain=[low, max(high, 1.01 * low)]),
            legend=None,
        )
    )
    middle = float(np.sqrt(low * high))
    text = base.mark_text().encode(
        text=alt.Text("rmse:Q", format=".2g"),
        color=alt.condition(f"datum.rmse > {middle}", alt.value("#ffffff"), alt.value("#1b2027")),
    )
    return alt.layer(tiles, text).properties(
        width=46 * len(columns),
        height=26 * len(found["errors"]),
        title="Generalisation between agents: RMSE, % of the range",
    )
