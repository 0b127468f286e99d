"""The report of a lottery: one HTML page that opens offline, its figures as SVG and PDF, its tables as CSV.

The page holds every chart once, as Vega-Lite with its rows packed by column; a bar of check boxes chooses environments and agents for all
charts and tables. Names come from users, so they only ever are text: Jinja2 escapes them in HTML, the data block cannot end its script
element, Vega's tool tips escape their values, and a content security policy with the hashes of our own two scripts refuses all others (and
every network request).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from archgym.files.charts import drawable
from archgym.files.csv import write_csv
from archgym.files.paths import make_folder, write_atomically
from archgym.lottery.report import charts

if TYPE_CHECKING:
    import polars as pl

    from archgym.lottery.analysis import Analysis

    Draw: TypeAlias = Callable[[pl.DataFrame, str], charts.Chart]

TABLES = (
    "tasks", "runs", "configurations", "distribution", "curves", "targets", "running_time", "importance", "tuning", "comparisons",
    "lottery_map", "hypotheses", "effort",
)  # fmt: skip
ALL_TASKS = "all tasks"
ALL_CONFIGURATIONS = "all configurations"
SATURATED = "saturated: no conclusion"

LEADS = {
    "map": (
        "The lottery map: which agent to pick",
        "Go up to the number of configurations you can afford to try and right to the samples each may spend: the cell names the agent "
        "whose best configuration, chosen on some seeds, scores best on the others. The stronger the colour, the surer the pick (the small "
        "number is how often it stays the best under resampling); hover for the runner-up. Cells won by agents that you filtered out are "
        "blank.",
    ),
    "distributions": (
        "The lottery: one dot per configuration",
        "Each dot is the mean over seeds of one hyperparameter configuration at the full budget; further right is better, and the axis is "
        "logarithmic so that the last percent can be seen. The bar spans the middle half of the configurations, the circle is their "
        "median, the diamond the agent's defaults. What is closer than 0.01 % is drawn at the edge. Hover a dot for its hyperparameters.",
    ),
    "tickets": (
        "Winning tickets",
        "The chance to win with hyperparameters drawn blindly: the share of runs that come within 1 % (strong bar) and 5 % (pale bar) of "
        "the optimum, or of the best design seen where the optimum is not known, with 95 % intervals.",
    ),
    "curves": (
        "How fast: equal samples and equal wall time",
        "The best design so far: median over runs, with the middle half as a band; higher is better. Equal samples is the fair view where "
        "simulation is what costs; equal wall time also charges the agents for thinking.",
    ),
    "targets": (
        "Samples to reach a target",
        "The share of runs that have come within a distance of the optimum (or of the best design seen), over samples: further left and "
        "higher is better. Unlike final scores, this does not saturate. Runs that never get there keep the curve below 100 %.",
    ),
    "tuning": (
        "Tuning is not free",
        "The same total of samples spent in four ways. Diamond: a new run of the best of k configurations of B samples, chosen on some "
        "seeds and scored on the others, with its interval. Ring: the naive claim, scored on the very seeds that chose it; the gap is the "
        "winner's curse. Triangle: the untuned defaults, given all k × B samples in one run. Stroke: random search with as many.",
    ),
    "importance": (
        "Which hyperparameters matter",
        "How many percent of the variation between an agent's configurations each of its hyperparameters explains, task by task. An arrow "
        "says whether larger values do better (↑) or worse (↓), where they have an order.",
    ),
    "variance": (
        "Hyperparameters or luck",
        "The variance of a run's score, split into what the hyperparameters explain and what is left to the seed (the seeds' part of the "
        "variance between configurations is subtracted).",
    ),
    "comparisons": (
        "Every pair of agents",
        "How much better the agent of the row is than that of the column, in percent. Only differences that survive Holm's correction over "
        "the family are coloured; ≈ is equivalent within the study's margin, shown by an equivalence test; a dot is not resolved by this "
        "many seeds, which is not the same as equal.",
    ),
    "effort": ("Where the time went", "Wall time of all runs, simulation and the agents' own thinking together."),
}
"""The heading of each section, and how to read it."""


@dataclass(frozen=True)
class Panel:
    """One chart of a section.

    Attributes:
        title: what it is about: a task, or an agent.
        chart: drawn as wide as its box.
        about: "task", "agent" or "" (everything): which filter hides it.
        when: the values of the section's choices that it is for; choices that are columns of its rows are filtered instead.
        note: a warning shown beside the title.
        least: pixels below which it cannot be read; its box scrolls where there are fewer.
    """

    title: str
    chart: charts.Chart
    about: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    least: int = 0


@dataclass(frozen=True)
class Choice:
    """A choice that a section offers.

    Attributes:
        column: the column of the charts' rows, or key of `Panel.when`, that it chooses.
        title: what it is called.
        values: what there is to choose from.
        chosen: the value at first.
        labels: what values are called, where not by themselves.
    """

    column: str
    title: str
    values: Sequence[str]
    chosen: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading, how to read what is below it, and charts.

    Attributes:
        id: its anchor, and key of `LEADS`.
        panels: its charts.
        choices: what the reader can choose.
        figures: for papers: panels by title, by the file's name in figures/ without suffix.
        tables: names of the files in tables/, without suffix.
        wide: width of a figure's panel, where a third of the page is not enough for the charts.
    """

    id: str
    panels: Sequence[Panel]
    choices: Sequence[Choice] = ()
    figures: Mapping[str, Mapping[str, charts.Chart]] = field(default_factory=dict)
    tables: Sequence[str] = ()
    wide: int = 0

    @property
    def title(self) -> str:
        """Its heading."""
        return LEADS[self.id][0]

    @property
    def lead(self) -> str:
        """How to read it."""
        return LEADS[self.id][1]


@dataclass(frozen=True)
class Study:
    """What all sections draw from: the analysis, its agents, the best first, and its tasks, one dictionary each."""

    analysis: Analysis
    agents: Sequence[str]
    tasks: Sequence[Mapping[str, Any]]

    def panels(self, frame: pl.DataFrame, draw: Draw, when: Mapping[str, str] | None = None, least: int = 0) -> list[Panel]:
        """A panel for each task of a frame, in the study's order and after that over all tasks, drawn by `draw(rows, scale)`."""
        rows = {str(key): part for (key,), part in frame.partition_by("task", as_dict=True, maintain_order=True).items()}
        panels = []
        for task in [{"task": ALL_TASKS}, *self.tasks]:
            name = str(task["task"])
            if name in rows:
                chart = draw(rows[name], str(task.get("scale") or charts.OPTIMUM))
                about = "" if name == ALL_TASKS else "task"
                panels.append(Panel(name, chart, about, when or {}, SATURATED if task.get("saturated") else "", least))
        return panels


def _figures(name: str, panels: Sequence[Panel]) -> dict[str, dict[str, charts.Chart]]:
    """A figure of panels, where there are any."""
    return {name: {panel.title: panel.chart for panel in panels}} if panels else {}


def write_report(analysis: Analysis, folder: Path, *, title: str, provenance: Mapping[str, str]) -> Path:
    """Write `report.html`, `figures/*.svg`, `figures/*.pdf` and `tables/*.csv` into a folder.

    Args:
        analysis: what the statistics say.
        folder: made where it does not exist; files of an earlier report are replaced, each at once.
        title: heading of the page.
        provenance: where the numbers come from (study, version, machine, date, ...), in the order in which it is listed.

    Returns:
        The path of report.html.

    Raises:
        MissingDependency: altair, vl-convert-python, jinja2 or polars is not installed.
        ArchGymError: the folder cannot be written.
    """
    charts.require()
    folder = Path(folder)
    for part in ("figures", "tables"):
        make_folder(folder / part, within=folder)
    for name in TABLES:
        write_atomically(folder / "tables" / f"{name}.csv", partial(_write_csv, getattr(analysis, name)))

    study = Study(analysis, agents_by_rank(analysis), _tasks(analysis))
    sections = _sections(study)
    for section in sections:
        for name, panels in section.figures.items():
            drawing = charts.svg(charts.compose(panels, width=section.wide or 260))
            write_atomically(folder / "figures" / f"{name}.svg", partial(_write_bytes, drawing.encode()))
            write_atomically(folder / "figures" / f"{name}.pdf", partial(_write_bytes, charts.pdf(drawing)))
    page = _page(study, sections, title, provenance)
    return write_atomically(folder / "report.html", partial(_write_bytes, page.encode()))


def _page(study: Study, sections: Sequence[Section], title: str, provenance: Mapping[str, str]) -> str:
    """The page's HTML."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    analysis, agents = study.analysis, study.agents
    templates = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=drawable)
    environment.filters["short"] = _short
    vega, script = _vega(), (templates / "report.js").read_text(encoding="utf-8")
    dashes = charts.dashes(agents)
    return environment.get_template("report.html.j2").render(
        title=title,
        provenance=dict(provenance),
        conclusions=_conclusions(study),
        claims=_claims(analysis.hypotheses),
        tasks=study.tasks,
        agents=[
            {"name": agent, "colour": colour, "dark": charts.ON_DARK.get(colour, colour), "dash": dashes[agent]}
            for agent, colour in charts.colours(agents).items()
        ],
        counts=_counts(study),
        sections=sections,
        running_times=_running_times(analysis.running_time, agents),
        finals=_finals(analysis.distribution, agents),
        style=Markup((templates / "report.css").read_text(encoding="utf-8")),
        vega=Markup(vega),
        script=Markup(script),
        hashes=[_hash(vega), _hash(script)],
        data=Markup(inert_json(drawable(_data(study, sections)))),
    )


def agents_by_rank(analysis: Analysis) -> list[str]:
    """All agents of the study, the best first: by the mean over tasks of the rank of the median at the largest number of samples."""
    import polars as pl

    columns = ((analysis.distribution, "agent"), (analysis.configurations, "agent"), (analysis.runs, "agent"), (analysis.effort, "agent"),
               (analysis.importance, "agent"), (analysis.curves, "agent"), (analysis.tuning, "agent"), (analysis.comparisons, "agent_a"),
               (analysis.comparisons, "agent_b"), (analysis.lottery_map, "agent"))  # fmt: skip
    names = dict.fromkeys(str(name) for frame, column in columns for name in frame[column].drop_nulls().to_list())
    final = _final(analysis.distribution).with_columns(rank=pl.col("q50").cast(pl.Float64).rank(descending=True).over("task"))
    means = dict(final.group_by("agent").agg(pl.col("rank").mean()).iter_rows())
    last = len(names) + 1.0
    return sorted(names, key=lambda name: last if means.get(name) is None else means[name])


def inert_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element, starts a comment or ends a line of JavaScript."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def pack(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows by column: numbers as they are, to six digits; text as its different values and one index per row."""
    packed: dict[str, Any] = {}
    for name in rows[0] if rows else ():
        values = [_plain(row[name]) for row in rows]
        if any(isinstance(v, str) for v in values):
            levels: dict[str | None, int] = {}
            packed[name] = {"codes": [levels.setdefault(v, len(levels)) for v in values], "levels": list(levels)}
        else:
            packed[name] = values
    return {"rows": len(rows), "columns": packed}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else float(f"{value:.6g}")
    return value if value is None or isinstance(value, bool | int | str) else str(value)


# ---------------------------------------------------------------------------------------------------------------------------- sections


def _sections(study: Study) -> list[Section]:
    """The page's charts, in their order."""
    return [
        _map(study), _distributions(study), _tickets(study), _curves(study), _targets(study), _tuning(study), _importance(study),
        _variance(study), _comparisons(study), _effort(study),
    ]  # fmt: skip


def _map(study: Study) -> Section:
    frame = study.analysis.lottery_map
    least = 50 + 44 * frame["samples"].n_unique()
    panels = study.panels(frame, lambda rows, scale: charts.lottery_map(rows, study.agents), least=least)
    return Section("map", panels, figures=_figures("lottery-map", panels), tables=["lottery_map"], wide=320)


def _distributions(study: Study) -> Section:
    panels = study.panels(study.analysis.configurations, lambda rows, scale: charts.distributions(rows, study.agents, scale=scale))
    return Section("distributions", panels, figures=_figures("distributions", panels), tables=["configurations", "distribution"])


def _tickets(study: Study) -> Section:
    def draw(rows: pl.DataFrame, scale: str) -> charts.Chart:
        return charts.winning_tickets(rows, study.agents)

    frame = study.analysis.distribution
    figures = _figures("winning-tickets", study.panels(_final(frame), draw))
    return Section("tickets", study.panels(frame, draw), _checkpoints(frame), figures, ["distribution"])


def _curves(study: Study) -> Section:
    import polars as pl

    frame = study.analysis.curves
    series = _values(frame, "series")
    axes = [a for a in ("samples", "seconds") if a in set(_values(frame, "axis"))]
    panels: list[Panel] = []
    figures: dict[str, dict[str, charts.Chart]] = {}
    for axis in axes:
        along = frame.filter(pl.col("axis") == axis)

        def draw(rows: pl.DataFrame, scale: str, paper: bool = False, axis: str = axis) -> charts.Chart:
            return charts.curves(rows, study.agents, axis=axis, scale=scale, legend=paper, hover=not paper)

        panels += study.panels(along, draw, {"axis": axis})
        for one in series:
            rows = along.filter(pl.col("series") == one)
            figures |= _figures(f"curves-{axis}-{_slug(one)}", study.panels(rows, partial(draw, paper=True)))
    choices = [
        *_choice("axis", "At equal", axes, axes[:1], {"seconds": "wall time"}),
        *_choice("series", "Runs", series, [s for s in series if s == ALL_CONFIGURATIONS] or series[:1]),
    ]
    return Section("curves", panels, choices, figures, ["curves"])


def _targets(study: Study) -> Section:
    import polars as pl

    def draw(rows: pl.DataFrame, scale: str, paper: bool = False) -> charts.Chart:
        return charts.targets(rows, study.agents, legend=paper, hover=not paper)

    frame = study.analysis.targets
    distances = sorted(set(frame["target"].drop_nulls().to_list()))
    shown = [d for d in distances if d in (0.01, 0.05)] or distances[:1]
    figures: dict[str, dict[str, charts.Chart]] = {}
    for distance in shown:
        rows = frame.filter(pl.col("target") == distance)
        figures |= _figures(f"samples-to-target-{_slug(_within(distance))}", study.panels(rows, partial(draw, paper=True)))
    values = [str(d) for d in distances]
    choices = _choice("target", "Target", values, [str(d) for d in shown[-1:]], {str(d): _within(d) for d in distances})
    return Section("targets", study.panels(frame, draw), choices, figures, ["targets", "running_time"])


def _tuning(study: Study) -> Section:
    import polars as pl

    def draw(rows: pl.DataFrame, scale: str) -> charts.Chart:
        return charts.tuning(rows, study.agents, scale=scale)

    frame = study.analysis.tuning
    k, samples = _pair(frame)
    rows = frame.filter(pl.col("configurations") == k, pl.col("samples") == samples)
    choices = [
        *_choice("configurations", "Configurations tried (k)", _numbers(frame, "configurations"), [str(k)]),
        *_choice("samples", "Samples each (B)", _numbers(frame, "samples"), [str(samples)]),
    ]
    return Section("tuning", study.panels(frame, draw), choices, _figures("tuning", study.panels(rows, draw)), ["tuning"])


def _importance(study: Study) -> Section:
    import polars as pl

    frame = study.analysis.importance
    known = set(_values(frame, "agent"))
    least = 110 + 34 * frame["task"].n_unique()
    drawn = {a: charts.importance(frame.filter(pl.col("agent") == a)) for a in study.agents if a in known}
    panels = [Panel(agent, chart, "agent", least=least) for agent, chart in drawn.items()]
    return Section("importance", panels, figures=_figures("importance", panels), tables=["importance"])


def _variance(study: Study) -> Section:
    import polars as pl

    def draw(rows: pl.DataFrame, scale: str) -> charts.Chart:
        return charts.variance(rows, study.agents)

    frame = study.analysis.distribution.filter(pl.col("share_configurations").is_not_null())
    figures = _figures("variance", study.panels(_final(frame), draw))
    return Section("variance", study.panels(frame, draw), _checkpoints(frame), figures, ["distribution"])


def _comparisons(study: Study) -> Section:
    import polars as pl

    def draw(rows: pl.DataFrame, scale: str) -> charts.Chart:
        return charts.comparisons(rows, study.agents, scale=scale)

    frame = study.analysis.comparisons
    families = _values(frame, "family")
    figures: dict[str, dict[str, charts.Chart]] = {}
    for family in families:
        figures |= _figures(f"comparisons-{_slug(family)}", study.panels(frame.filter(pl.col("family") == family), draw))
    choices = _choice("family", "Family", families, families[:1])
    panels = study.panels(frame, draw, least=130 + 22 * len(study.agents))
    return Section("comparisons", panels, choices, figures, ["comparisons"], wide=480 if len(study.agents) > 10 else 0)


def _effort(study: Study) -> Section:
    import polars as pl

    spent = study.analysis.runs.group_by("task", "agent", maintain_order=True).agg(pl.col("seconds").sum(), runs=pl.len())
    if not len(spent):  # a study whose runs are not listed
        spent = study.analysis.effort.select(pl.lit(None, dtype=pl.String).alias("task"), "agent", "seconds", "runs")
    panels = [Panel("All runs", charts.effort(spent, study.agents))] if len(spent) else []
    return Section("effort", panels, figures=_figures("effort", panels), tables=["effort", "runs"], wide=420)


def _choice(column: str, title: str, values: Sequence[str], chosen: Sequence[str], labels: Mapping[str, str] | None = None) -> list[Choice]:
    """A choice, where there are rows to be kept apart; with only one value it is made but not shown."""
    return [Choice(column, title, values, chosen[0], labels or {})] if values else []


def _checkpoints(frame: pl.DataFrame) -> list[Choice]:
    """Which number of samples is looked at, the largest first."""
    values = _numbers(frame, "samples")
    return _choice("samples", "Samples per run", values, values[-1:])


def _values(frame: pl.DataFrame, column: str) -> list[str]:
    """The texts of a column, each once, in their order."""
    return [str(v) for v in frame[column].drop_nulls().unique(maintain_order=True).to_list()]


def _numbers(frame: pl.DataFrame, column: str) -> list[str]:
    """The numbers of a column, each once, ascending."""
    return [str(v) for v in sorted(set(frame[column].drop_nulls().to_list()))]


def _pair(tuning: pl.DataFrame) -> tuple[int, int]:
    """The (configurations, samples) shown first: most agents with all four ways, up to 16 configurations, most samples in total."""
    import polars as pl

    known = tuning.filter(pl.col("tuned").is_not_null())
    pairs = known.group_by("configurations", "samples").agg(rows=pl.len(), both=pl.col("untuned").is_not_null().sum())
    k, samples = pl.col("configurations"), pl.col("samples")
    best = pairs.sort(k > 1, "both", "rows", pl.min_horizontal(k, 16), k * samples, descending=True).head(1)
    return (int(best["configurations"][0]), int(best["samples"][0])) if len(best) else (1, 1)


def _final(distribution: pl.DataFrame) -> pl.DataFrame:
    """The rows at each task's largest number of samples."""
    import polars as pl

    return distribution.filter(pl.col("samples") == pl.col("samples").max().over("task"))


def _tasks(analysis: Analysis) -> list[dict[str, Any]]:
    """One dictionary per task, those of the tasks table first."""
    rows = analysis.tasks.to_dicts()
    known = {row["task"] for row in rows}
    frames = (analysis.configurations, analysis.distribution, analysis.runs, analysis.curves)
    others = dict.fromkeys(t for frame in frames for t in frame["task"].drop_nulls().to_list() if t not in known and t != ALL_TASKS)
    return rows + [{name: None for name in analysis.tasks.columns} | {"task": task} for task in others]


# ------------------------------------------------------------------------------------------------------------------------------- tables


def _tone(verdict: str) -> str:
    """Which chip a verdict is shown as: yes, no, or open."""
    word = verdict.lower()
    if "not resolved" in word or "no conclusion" in word or "saturat" in word or "unresolved" in word or "not test" in word:
        return "open"
    if word.startswith(("not ", "contradict", "refut", "reject", "no")) or "against" in word:
        return "no"
    return "yes" if word.startswith(("support", "yes", "confirm", "hold")) else "open"


def _claims(hypotheses: pl.DataFrame) -> list[dict[str, Any]]:
    """Hypotheses in the order in which they come, each with its verdicts."""
    claims: dict[str, dict[str, Any]] = {}
    for row in hypotheses.to_dicts():
        claim = claims.setdefault(str(row["hypothesis"]), {"hypothesis": row["hypothesis"], "statement": row["statement"], "verdicts": []})
        claim["verdicts"].append(
            {"task": row["task"], "verdict": row["verdict"], "evidence": row["evidence"], "tone": _tone(str(row["verdict"]))}
        )
    return list(claims.values())


def _conclusions(study: Study) -> list[tuple[str, list[str]]]:
    """Conclusions by the task that they begin with ("task: ..."), those about no single task first, under ""."""
    names = sorted((str(t["task"]) for t in study.tasks), key=len, reverse=True)
    found: dict[str, list[str]] = {name: [] for name in ("", *(str(t["task"]) for t in study.tasks))}
    for line in study.analysis.conclusions:
        task = next((name for name in names if line.startswith(f"{name}: ")), "")
        found[task].append(line.removeprefix(f"{task}: ") if task else line)
    return [(task, lines) for task, lines in found.items() if lines]


def _counts(study: Study) -> dict[str, int]:
    """How large the study is."""
    runs = sum(t["runs"] or 0 for t in study.tasks) or len(study.analysis.runs)
    failed = sum(t["failed"] or 0 for t in study.tasks)
    return {"runs": runs, "tasks": len(study.tasks), "agents": len(study.agents), "failed": failed}


def _running_times(running_time: pl.DataFrame, agents: Sequence[str]) -> dict[str, Any]:
    """Expected samples to each target: targets, and one row per task and agent with a cell for each."""
    running_time = running_time.filter(running_time["target"].is_not_null())
    targets = {target: _within(target) for target in running_time["target"].unique(maintain_order=True).to_list()}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in running_time.to_dicts():
        rows.setdefault((row["task"], row["agent"]), {"task": row["task"], "agent": row["agent"], "cells": {}})["cells"][row["target"]] = (
            row
        )
    tasks = {task: i for i, task in enumerate(running_time["task"].unique(maintain_order=True).to_list())}
    place = {agent: i for i, agent in enumerate(agents)}
    ordered = sorted(rows.values(), key=lambda r: (tasks[r["task"]], place.get(r["agent"], len(place))))
    return {"targets": targets, "rows": ordered}


def _finals(distribution: pl.DataFrame, agents: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table of numbers at the full budget, tasks together and agents in their order."""
    rows = _final(distribution).to_dicts()
    tasks = {task: i for i, task in enumerate(distribution["task"].unique(maintain_order=True).to_list())}
    place = {agent: i for i, agent in enumerate(agents)}
    return sorted(rows, key=lambda r: (tasks[r["task"]], place.get(r["agent"], len(place))))


def _within(distance: float) -> str:
    """What a target is called."""
    return f"within {100 * distance:g} %"


def _short(value: Any, form: str = ".3g") -> str:
    """A number for a reader: thousands apart, a dash where there is none."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "∞"
    if form == ".0%" and 0 < value < 0.005:
        return "< 1%"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if form == "," or (form == ".3g" and abs(value) >= 1000) else format(value, form)
    return str(value)


# --------------------------------------------------------------------------------------------------------------------------------- page


def _data(study: Study, sections: Sequence[Section]) -> dict[str, Any]:
    """What the page's script needs: charts, filters and the two colour configurations."""
    drawn = []
    for section in sections:
        for panel in section.panels:
            spec = charts.specification(panel.chart.properties(width="container"))
            spec["description"] = f"{panel.title}: {spec['description']}"
            spec["autosize"] = {"type": "fit-x", "contains": "padding"}
            bands = None
            if isinstance(spec["height"], dict):  # the script counts the bands that are left
                bands = {"step": spec.pop("height")["step"], "field": spec.get("layer", [spec])[0]["encoding"]["y"]["field"]}
            datasets = {name: pack(rows) for name, rows in spec.pop("datasets", {}).items()}
            drawn.append(
                {"section": section.id, "title": panel.title, "about": panel.about, "when": panel.when}
                | {"spec": spec, "bands": bands, "datasets": datasets}
            )
    return {
        "tasks": [t["task"] for t in study.tasks],
        "agents": list(study.agents),
        "charts": drawn,
        "choices": {s.id: {c.column: c.chosen for c in s.choices} for s in sections},
        "dark": charts.ON_DARK,
        "config": {"light": charts.config() | {"background": "transparent"}, "dark": charts.config(dark=True)},
    }


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    bundle = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=charts.vega_lite()))
    return re.sub(r"</(script)", r"<\\/\1", bundle, flags=re.IGNORECASE).replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    """A script's hash for the content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _slug(text: str) -> str:
    """A name for a file: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"


def _write_csv(frame: pl.DataFrame, file: BinaryIO) -> None:
    table = frame.to_arrow()
    write_csv([table], table.schema, file)


def _write_bytes(content: bytes, file: BinaryIO) -> None:
    file.write(content)
