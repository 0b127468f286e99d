"""Charts of a lottery: what is drawn, from frames alone; and `fake`, an analysis with every column, for
these tests and the report's.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

pl = pytest.importorskip("polars")
alt = pytest.importorskip("altair")
pytest.importorskip("vl_convert")
np = pytest.importorskip("numpy")

from archgym.errors import MissingDependency  # noqa: E402
from archgym.files.charts import GREY, ON_DARK, specification, svg  # noqa: E402
from archgym.lottery.report import charts, require, scales  # noqa: E402
from archgym.lottery.words import Conclusion  # noqa: E402

AGENTS = ("random", "local_search", "genetic", "aging_evolution", "ant_colony", "tpe", "cmaes", "ppo", "a2c")
TASKS = ("Softmax", "NKLandscape", "Accelerator", "HeterogeneousAccelerator", "NasCell", "CoDesign")

_TEXT, _NUMBER, _WHOLE, _FLAG = pl.String, pl.Float64, pl.Int64, pl.Boolean


def _columns(kind: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), kind)


SCHEMAS: dict[str, dict[str, Any]] = {
    "tasks": {
        **_columns(_TEXT, "task env scale"),
        **_columns(_WHOLE, "budget"),
        **_columns(_NUMBER, "optimum"),
        **_columns(_WHOLE, "configurations seeds runs failed"),
        "saturated": _FLAG,
        "note": _TEXT,
        "effort": _TEXT,
    },
    "runs": {
        **_columns(_TEXT, "task agent"),
        **_columns(_WHOLE, "configuration seed samples"),
        **_columns(_NUMBER, "score ratio seconds"),
    },
    "configurations": {
        **_columns(_TEXT, "task agent"),
        "configuration": _WHOLE,
        "hyperparameters": _TEXT,
        "is_default": _FLAG,
        **_columns(_NUMBER, "mean_score mean_ratio beats_random"),
    },
    "distribution": {
        **_columns(_TEXT, "task agent"),
        "samples": _WHOLE,
        **_columns(
            _NUMBER,
            "mean q05 q25 q50 q75 q95 iqr tickets_1 tickets_1_low tickets_1_high tickets_5 tickets_5_low "
            "tickets_5_high default_ratio default_percentile variance_configurations variance_seeds "
            "share_configurations beats_random iqm iqm_low iqm_high",
        ),
    },
    "curves": {**_columns(_TEXT, "task agent series axis"), **_columns(_NUMBER, "x q25 q50 q75")},
    "targets": {**_columns(_TEXT, "task agent"), "target": _NUMBER, "samples": _WHOLE, "reached": _NUMBER},
    "running_time": {
        **_columns(_TEXT, "task agent"),
        **_columns(_NUMBER, "target reached expected_samples low high"),
    },
    "importance": {
        **_columns(_TEXT, "task agent hyperparameter"),
        **_columns(_NUMBER, "importance direction"),
    },
    "tuning": {
        **_columns(_TEXT, "task agent"),
        **_columns(_WHOLE, "configurations samples"),
        **_columns(_NUMBER, "tuned low high naive untuned random_search"),
    },
    "comparisons": {
        **_columns(_TEXT, "family task agent_a agent_b"),
        **_columns(_NUMBER, "ratio low high p p_holm p_equivalence"),
        "verdict": _TEXT,
    },
    "lottery_map": {
        "task": _TEXT,
        **_columns(_WHOLE, "configurations samples"),
        "agent": _TEXT,
        **_columns(_NUMBER, "ratio confidence"),
        "runner_up": _TEXT,
        "runner_up_ratio": _NUMBER,
    },
    "hypotheses": _columns(_TEXT, "hypothesis statement task verdict evidence"),
    "effort": {"agent": _TEXT, "runs": _WHOLE, **_columns(_NUMBER, "seconds share cost"), "charges": _TEXT},
    "controls": {
        **_columns(_TEXT, "task control"),
        "samples": _WHOLE,
        **_columns(_NUMBER, "cost score ratio percentile"),
    },
}


def empty() -> SimpleNamespace:
    """An analysis of nothing."""
    return SimpleNamespace(
        **{name: pl.DataFrame(schema=schema) for name, schema in SCHEMAS.items()}, sentences=[]
    )


def fake(
    tasks: Sequence[str] = TASKS,
    agents: Sequence[str] = AGENTS,
    configurations: int = 80,
    seeds: int = 5,
    seed: int = 0,
    hyperparameter: str = "rate",
) -> SimpleNamespace:
    """An analysis of runs that nobody ran: agents differ, hyperparameters matter, one task is saturated,
    one has no known optimum.
    """
    rng = np.random.default_rng(seed)
    budget, rows = 1000, {name: [] for name in SCHEMAS}  # type: ignore[var-annotated]
    checkpoints, ks = (10, 30, 100, 300, 1000), (1, 2, 4, 8, 16, 32)
    skill = {a: 0.05 if a == "random" else 0.4 + 0.12 * rng.normal() for a in agents}
    hours = {a: s for a, s in zip(agents, (0.1, 0.2, 0.2, 0.3, 0.3, 8, 1.5, 3, 1), strict=False)}
    finals: dict[tuple[str, str], Any] = {}
    for number, task in enumerate(tasks):
        saturated, known = number == 1 and len(tasks) > 1, number != 4
        hard = 2.0 if saturated else -1.6 + 0.7 * rng.normal()
        rows["tasks"].append(
            (
                task,
                f"archgym/{task}-v0",
                "ratio to the optimum" if known else "ratio to the average random design",
                budget,
                1.25 if known else None,
                configurations,
                seeds,
                len(agents) * configurations * seeds,
                3 if number == 2 else 0,
                saturated,
                "3 runs failed: time-out after 600 s (cmaes, configuration 4)" if number == 2 else None,
                "samples",
            )
        )
        for agent in agents:
            rate = rng.normal(size=configurations)
            rate[0] = 0.3
            regret = np.exp(
                -hard
                - 3.5 * (skill[agent] + 0.15 * rng.normal())
                - 0.5 * rate
                + 0.3 * rng.normal(size=configurations)
                - 3.2
            )
            runs = regret[:, None] * np.exp(0.35 * rng.normal(size=(configurations, seeds)))
            ratio = np.clip(1 - np.where(runs < 2e-3, 0, runs), 0, 1)
            means = ratio.mean(1)
            finals[task, agent] = means
            for c in range(configurations):
                rows["configurations"].append(
                    (
                        task,
                        agent,
                        c,
                        json.dumps(
                            {hyperparameter: round(float(np.exp(rate[c])), 4), "population": 2 ** (c % 7)}
                        ),
                        c == 0,
                        float(np.log(means[c] + 1e-9)),
                        float(means[c]),
                        float(rng.random()),
                    )
                )
                rows["runs"] += [
                    (
                        task,
                        agent,
                        c,
                        s,
                        budget,
                        float(np.log(ratio[c, s] + 1e-9)),
                        float(ratio[c, s]),
                        hours.get(agent, 1) * float(rng.uniform(0.5, 1.5)),
                    )
                    for s in range(seeds)
                ]
            for b in checkpoints:
                worse = (budget / b) ** (0.2 + 0.3 * skill[agent])
                r = 1 - np.clip((1 - means) * worse, 0, 1)
                q = np.quantile(r, [0.05, 0.25, 0.5, 0.75, 0.95])
                t1, t5 = float((r >= 0.99).mean()), float((r >= 0.95).mean())
                between = float(means.var() * worse**2)
                within = float((1 - means).mean() * 0.01)
                rows["distribution"].append(
                    (
                        task,
                        agent,
                        b,
                        float(r.mean()),
                        *map(float, q),
                        float(q[3] - q[1]),
                        t1,
                        max(0, t1 - 0.08),
                        min(1, t1 + 0.09),
                        t5,
                        max(0, t5 - 0.08),
                        min(1, t5 + 0.09),
                        float(r[0]),
                        float((r < r[0]).mean()),
                        between,
                        within,
                        None if saturated else between / (between + within),
                        float(rng.random()),
                        float(r.mean()),
                        float(r.mean() - 0.01),
                        float(min(1, r.mean() + 0.01)),
                    )
                )
                for k in ks:
                    top = np.sort(r)[::-1]
                    tuned = float(top[len(top) // (k + 1)])
                    naive, untuned, low = (
                        float(top[0] * 0.3 + tuned * 0.7),
                        float(r[0] * 0.8 + 0.2 * tuned),
                        float(1 - (1 - tuned) * 1.3),
                    )
                    rows["tuning"].append(
                        (
                            task,
                            agent,
                            k,
                            b,
                            tuned,
                            low,
                            float(1 - (1 - tuned) * 0.75),
                            naive,
                            untuned if k * b <= budget else None,
                            float(1 - (1 - r.min()) * 0.5),
                        )
                    )
            xs = np.unique(np.geomspace(1, budget, 48).astype(int))
            for name, better in (
                ("all configurations", 1.0),
                ("defaults", 0.8),
                ("best configuration, cross-fitted", 0.5),
            ):
                for axis, scale in (("samples", 1.0), ("seconds", hours.get(agent, 1) / budget)):
                    for x in xs:
                        gap = np.clip(
                            (1 - means.mean())
                            * better
                            * (budget / x) ** (0.2 + 0.3 * skill[agent])
                            * np.array([1.6, 1, 0.6]),
                            0,
                            1,
                        )
                        rows["curves"].append(
                            (task, agent, name, axis, float(x * scale), *map(float, 1 - gap))
                        )
            for target in (0.01, 0.02, 0.05):
                reach = np.clip(
                    np.linspace(0, 1, len(xs)) ** 2 * 1.5 * skill[agent] / (3 - 40 * target), 0, 1
                )
                rows["targets"] += [
                    (task, agent, target, int(x), float(f)) for x, f in zip(xs, reach, strict=True)
                ]
                expected = None if saturated else float(800 / (skill[agent] + 0.1))
                rows["running_time"].append(
                    (
                        task,
                        agent,
                        target,
                        float(reach[-1]),
                        expected,
                        expected and expected * 0.8,
                        expected and expected * 1.3,
                    )
                )
            if agent != "random":
                names = (hyperparameter, "population", "mutation")
                rows["importance"] += [
                    (
                        task,
                        agent,
                        h,
                        float(abs(rng.normal()) * 0.3 % 1),
                        None if h == "mutation" else float(rng.uniform(-1, 1)),
                    )
                    for h in names
                ]
    for task in ("all tasks", *tasks):
        for k in ks:
            for b in checkpoints:
                order = sorted(agents, key=lambda a: -skill[a] - 0.25 * rng.random() * (a != "random"))
                rows["lottery_map"].append(
                    (task, k, b, order[0], 0.97, float(rng.uniform(0.25, 1)), order[-1], 0.95)
                )
    for task in tasks:
        for i, a in enumerate(agents):
            for b_ in agents[i + 1 :]:
                quotient = float(finals[task, a].mean() / finals[task, b_].mean())
                verdict = (
                    "different"
                    if abs(math.log(quotient)) > 0.02
                    else "equivalent"
                    if abs(math.log(quotient)) < 0.006
                    else "not resolved"
                )
                rows["comparisons"].append(
                    (
                        "defaults after 1,000 samples",
                        task,
                        a,
                        b_,
                        quotient,
                        quotient * 0.99,
                        quotient * 1.01,
                        0.01,
                        0.04,
                        0.3,
                        verdict,
                    )
                )
    claims = {
        "H1": "With unlimited samples and tuned hyperparameters no agent family is better than another.",
        "H2": "The chance of a good configuration is a lottery: hyperparameters explain more of the variance than seeds do.",
        "H3": "Every agent has at least one configuration that reaches the optimum.",
    }
    words = ("supported", "contradicted", "not resolved", "no conclusion: saturated")
    for n, (h, statement) in enumerate(claims.items()):
        rows["hypotheses"] += [
            (
                h,
                statement,
                t,
                words[(n + i) % 4],
                f"largest difference {3 + i}.1 % [1.2, 5.0] between tpe and ppo, Holm p = 0.003",
            )
            for i, t in enumerate(tasks)
        ]
    total = sum(hours.get(a, 1) for a in agents) or 1
    rows["effort"] = [
        (a, len(tasks) * configurations * seeds, 3600.0 * hours.get(a, 1), hours.get(a, 1) / total, None, "")
        for a in agents
    ]
    frames = {name: pl.DataFrame(rows[name], schema=schema, orient="row") for name, schema in SCHEMAS.items()}
    sentences = [
        "Tuned over 16 configurations of 1,000 samples, genetic and tpe are equivalent within 2 %; ppo is "
        "not resolved by 5 seeds.",
        "Untuned, aging_evolution is 3.1 % better than a2c [1.2 %, 5.0 %] on Accelerator.",
        "On NKLandscape the ceiling is reached: no conclusion is drawn from it.",
    ]
    return SimpleNamespace(**frames, sentences=[Conclusion("", sentence) for sentence in sentences])


HOSTILE = """<script>window.pwned=1</script>"'&</script>"""
FEW = fake(
    ("Softmax", "NKLandscape", HOSTILE),
    ("random", "genetic", "tpe", HOSTILE),
    configurations=8,
    seeds=3,
    hyperparameter=HOSTILE,
)
LISTED = ("tpe", "genetic", HOSTILE, "random")


def one(frame: Any, task: str = "Softmax") -> Any:
    """The rows of one task."""
    return frame.filter(pl.col("task") == task)


DRAWN = {
    "lottery_map": lambda a: charts.lottery_map(one(a.lottery_map), LISTED),
    "distributions": lambda a: charts.distributions(one(a.configurations), LISTED),
    "distributions without an optimum": lambda a: charts.distributions(
        one(a.configurations), LISTED, scale="ratio to the average random design"
    ),
    "winning_tickets": lambda a: charts.winning_tickets(one(a.distribution), LISTED),
    "curves": lambda a: charts.curves(one(a.curves).filter(pl.col("axis") == "samples"), LISTED),
    "curves over wall time": lambda a: charts.curves(
        one(a.curves).filter(pl.col("axis") == "seconds"), LISTED, axis="seconds", hover=False
    ),
    "targets": lambda a: charts.targets(one(a.targets), LISTED),
    "tuning": lambda a: charts.tuning(one(a.tuning), LISTED),
    "importance": lambda a: charts.importance(a.importance.filter(pl.col("agent") == HOSTILE)),
    "variance": lambda a: charts.variance(one(a.distribution), LISTED),
    "comparisons": lambda a: charts.comparisons(one(a.comparisons), LISTED),
    "comparisons of differences": lambda a: charts.comparisons(
        one(a.comparisons), LISTED, scale="difference from the optimum"
    ),
    "effort": lambda a: charts.effort(
        a.runs.group_by("task", "agent").agg(pl.col("seconds").sum(), runs=pl.len()), LISTED
    ),
}


def datasets(chart: Any) -> list[list[dict[str, Any]]]:
    """The rows that a chart holds."""
    return list(specification(chart).get("datasets", {}).values())


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_says_what_it_shows_and_draws_marks_without_a_browser(name: str) -> None:
    chart = DRAWN[name](FEW).properties(width=300)
    assert specification(chart)["description"]
    drawing = ElementTree.fromstring(svg(chart))
    marks = [e for e in drawing.iter() if "role-mark" in e.get("class", "") and len(e)]
    assert marks and "NaN" not in ElementTree.tostring(drawing, "unicode")


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_can_be_empty(name: str) -> None:
    ElementTree.fromstring(svg(DRAWN[name](empty()).properties(width=300)))


@pytest.mark.parametrize("name", DRAWN)
def test_every_chart_can_do_without_its_numbers(name: str) -> None:
    nothing = SimpleNamespace(
        **{
            n: getattr(FEW, n).with_columns(
                pl.lit(None, dtype=kind).alias(c) for c, kind in SCHEMAS[n].items() if kind is pl.Float64
            )
            for n in SCHEMAS
        }
    )
    ElementTree.fromstring(svg(DRAWN[name](nothing).properties(width=300)))


def test_ratios_are_shown_as_percent_below_the_best_and_other_values_as_they_are() -> None:
    frame = pl.DataFrame({"r": [1.0, 0.99999, 0.99, 0.0, -1.0, None, float("nan")]})
    for scale in ("ratio to the optimum", "ratio to the best design seen"):
        assert frame.select(x=scales.below(pl.col("r"), scale))["x"].round(6).to_list() == [
            0.01,
            0.01,
            1.0,
            100.0,
            100.0,
            None,
            None,
        ]
    for scale in ("ratio to the average random design", "difference from the optimum"):
        assert frame.select(x=scales.below(pl.col("r"), scale))["x"].to_list() == [
            1.0,
            0.99999,
            0.99,
            0.0,
            -1.0,
            None,
            None,
        ]


def test_better_is_to_the_right_on_every_scale() -> None:
    for scale, better_is_larger in (
        ("ratio to the optimum", False),
        ("ratio to the average random design", True),
    ):
        spec = specification(charts.distributions(one(FEW.configurations), LISTED, scale=scale))
        first, last = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
        assert (first < last) is better_is_larger


def test_agents_of_archgym_have_their_colour_in_every_study_and_others_a_colour_of_their_own() -> None:
    alone, together = scales.colours(["tpe"]), scales.colours(["mine", "tpe", "yours", "random"])
    assert alone["tpe"] == together["tpe"] == scales.COLOURS["tpe"]
    assert len(set(together.values())) == 4
    assert (
        len(set(scales.colours([*scales.COLOURS, *(f"agent {i}" for i in range(40))]).values()))
        == len(scales.COLOURS) + 40
    )
    assert set(ON_DARK) == set(scales.COLOURS.values()) - {GREY}


def test_agents_beyond_the_ninth_are_told_apart_by_their_dashes() -> None:
    dashes = scales.dashes([f"agent {i}" for i in range(12)])
    assert dashes["agent 0"] == dashes["agent 8"] != dashes["agent 9"]


def test_distributions_hold_each_configuration_and_the_quartiles_of_each_agent() -> None:
    rows = one(FEW.configurations)
    points, boxes, *_ = sorted(datasets(charts.distributions(rows, LISTED)), key=len, reverse=True)
    assert len(points) == len(rows) and len(boxes) == 4
    for box in boxes:
        ratios = rows.filter(pl.col("agent") == box["agent"])["mean_ratio"].to_numpy()
        expected = 100 * (1 - np.quantile(ratios, [0.25, 0.5, 0.75]))
        assert [box["q25"], box["median"], box["q75"]] == pytest.approx(np.clip(expected, 0.01, 100))
    assert all(abs(point["spread"]) <= 0.5 for point in points)


def test_defaults_are_marked_only_where_there_are_other_configurations() -> None:
    rows = one(FEW.configurations).with_columns(
        is_default=pl.col("is_default") | (pl.col("agent") == "random")
    )
    marked = min(datasets(charts.distributions(rows, LISTED)), key=len)
    assert {row["agent"] for row in marked} == {"tpe", "genetic", HOSTILE}


def test_a_pair_is_compared_in_both_directions() -> None:
    pair = (
        one(FEW.comparisons)
        .head(1)
        .with_columns(
            agent_a=pl.lit("a"), agent_b=pl.lit("b"), verdict=pl.lit("different"), ratio=pl.lit(1.25)
        )
    )
    there, back = datasets(charts.comparisons(pair, ["a", "b"]))[0]
    assert (there["agent_a"], there["says"], there["word"]) == ("a", "better", "+25")
    assert (back["agent_a"], back["says"], back["word"]) == ("b", "worse", "−20")
    assert back["ratio"] == pytest.approx(0.8) and back["low"] == pytest.approx(1 / there["high"])
    there, back = datasets(
        charts.comparisons(
            pair.with_columns(ratio=pl.lit(-0.031)), ["a", "b"], scale="difference from the optimum"
        )
    )[0]
    assert (there["says"], there["word"], back["says"], back["word"]) == (
        "worse",
        "−0.031",
        "better",
        "+0.031",
    )
    for verdict, word in (("equivalent", "≈"), ("not resolved", "·")):
        shown = datasets(charts.comparisons(pair.with_columns(verdict=pl.lit(verdict)), ["a", "b"]))[0]
        assert [(row["says"], row["word"]) for row in shown] == [(verdict, word)] * 2


def test_tuning_leaves_out_what_is_not_known() -> None:
    # 32,000 samples: nobody ran so many untuned
    rows = one(FEW.tuning).filter(pl.col("configurations") == 32, pl.col("samples") == 1000)
    kinds = {row["kind"] for row in datasets(charts.tuning(rows, LISTED))[0]}
    assert kinds == {"tuned", "naive", "random search"}


def test_importance_says_in_which_direction_a_hyperparameter_helps() -> None:
    schema = SCHEMAS["importance"]
    rows = [
        ("t", "a", "up", 0.5, 0.9),
        ("t", "a", "down", 0.3, -0.9),
        ("t", "a", "unordered", 0.2, None),
        ("t", "a", "none", 0.0, None),
    ]
    drawn = datasets(charts.importance(pl.DataFrame(rows, schema=schema, orient="row")))[0]
    assert {row["hyperparameter"]: row["word"] for row in drawn} == {
        "up": "50 ↑",
        "down": "30 ↓",
        "unordered": "20",
        "none": "·",
    }


def test_hyperparameters_of_equal_importance_stay_in_their_order() -> None:
    names = [f"parameter {i}" for i in range(12)]
    rows = pl.DataFrame(
        [("t", "a", name, 0.0, None) for name in names], schema=SCHEMAS["importance"], orient="row"
    )
    assert specification(charts.importance(rows))["layer"][0]["encoding"]["y"]["sort"] == names


def test_a_figure_has_one_panel_for_each_task() -> None:
    figure = charts.compose(
        {task: charts.targets(one(FEW.targets, task), LISTED, hover=False) for task in ("Softmax", HOSTILE)}
    )
    drawing = svg(figure)
    text = " ".join(ElementTree.fromstring(drawing).itertext())
    assert "Softmax" in text and HOSTILE[:20] in text
    assert charts.pdf(drawing).startswith(b"%PDF-")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(MissingDependency, match=r"archgym\[report\]"):
        require()
