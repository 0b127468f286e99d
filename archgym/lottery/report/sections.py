"""The sections of the report: headings, explanations, charts, and the choices of the reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

import archgym.lottery.report.charts as charts
from archgym.lottery.report.charts import Chart
from archgym.lottery.report.scales import FULL, OPTIMUM
from archgym.lottery.scores import UNITS

if TYPE_CHECKING:
    from archgym.lottery.analysis import Analysis

Draw: TypeAlias = Callable[[pl.DataFrame, str], Chart]

ALL_TASKS = "all tasks"
ALL_CONFIGURATIONS = "all configurations"
SATURATED = "saturated: no conclusion"
EFFORTS = {FULL: "full budget"}
"""Text of the choices of a number of samples that differs from their value."""

SECTION_TEXT = {
    "map": (
        "The lottery map: which agent to pick",
        "Vertical: the number of configurations you can afford to try. Horizontal: the samples of each "
        "run; “full” is the whole budget of each task, where budgets differ. Each cell names the agent "
        "whose best configuration, chosen on some seeds, scores best on the others. The stronger the "
        "colour, the more certain the pick: the small number is the share of resamplings in which the agent "
        "stays the best. Hover for the runner-up. Cells won by agents that you filtered out are blank.",
    ),
    "distributions": (
        "The lottery: one dot per configuration",
        "Each dot is the mean over seeds of one hyperparameter configuration at the full budget. Further "
        "right is better; the axis is logarithmic, so that the last percent is visible, and values closer "
        "than 0.01 % are drawn at its end. The bar spans the middle half of the configurations, the circle "
        "is their median, the diamond the agent's defaults. Hover over a dot for its hyperparameters.",
    ),
    "tickets": (
        "Winning tickets",
        "The chance to win with randomly drawn hyperparameters: the share of runs within 1 % (strong bar) "
        "and 5 % (pale bar) of the optimum, or of the best design seen where the optimum is not known, "
        "with 95 % intervals.",
    ),
    "curves": (
        "How fast: equal samples, equal cost and equal wall time",
        "The best design so far: median over runs, with the middle half as a band; higher is better. Equal "
        "samples is the fair comparison where every simulation costs the same. Equal cost, in reference "
        "samples, also counts unequal designs and the training of shared weights; equal wall time counts "
        "the agents' own computation too.",
    ),
    "targets": (
        "Samples to reach a target",
        "The share of runs that are within a distance of the optimum (or of the best design seen), over "
        "samples: further left and higher is better. Unlike final scores, this does not saturate. Runs "
        "that never reach the target keep the curve below 100 %.",
    ),
    "tuning": (
        "Tuning is not free",
        "The same total of samples, spent in four ways. Diamond: a new run of the best of k configurations "
        "of B samples, chosen on some seeds and scored on the others, with its interval. Ring: the naive "
        "claim, scored on the same seeds that chose it; the gap is the winner's curse. Triangle: the "
        "untuned defaults, with all k × B samples in one run. Stroke: random search with k × B samples.",
    ),
    "importance": (
        "Which hyperparameters matter",
        "The percentage of the variation between an agent's configurations that each of its "
        "hyperparameters explains, task by task. For ordered hyperparameters, an arrow shows whether "
        "larger values are better (↑) or worse (↓).",
    ),
    "variance": (
        "Hyperparameters or luck",
        "The variance of a run's score, split into the part that hyperparameters explain and the part that "
        "is left to the seed (the seeds' part of the variance between configurations is subtracted).",
    ),
    "comparisons": (
        "Every pair of agents",
        "How much better the agent of the row is than that of the column, in percent. Only differences "
        "that are significant after Holm's correction over the family are coloured; ≈ is equivalent within "
        "the study's margin, shown by an equivalence test; a dot is not resolved by this number of seeds, "
        "which is not the same as equal.",
    ),
    "training": (
        "How many training samples",
        "The share of the exact optimum that a policy's design for a held-out context has, after training on "
        "the other contexts: the mean over held-out contexts, with 95 % intervals over splits. Lines across: "
        "designs that need no policy.",
    ),
    "saved": (
        "Samples saved at equal quality",
        "The best design that a search finds with a number of samples of the held-out context (curves, with "
        "95 % intervals over splits), against a policy that never saw it: its first proposal, without a "
        "sample (line across), and the best of its simulated proposals (diamond).",
    ),
    "contexts": (
        "Context by context",
        "Means over the splits that hold a context out, and over seeds. Filled dot: the policy's first "
        "proposal; ring: the best of its simulated proposals; stroke: the optimum of the nearest training "
        "context; triangle: the one design that is best for all training contexts. The contexts with the "
        "lowest shares come first.",
    ),
    "effort": ("Where the time went", "Wall time of all runs: simulation and the agents' own computation."),
}
"""Heading and explanation of each section."""


@dataclass(frozen=True)
class Panel:
    """One chart of a section.

    Attributes:
        title: name of its task or agent.
        chart: the chart, as wide as its box.
        about: filter that hides it: "task", "agent" or "" (none).
        when: values of the section's choices at which it is shown; choices that are columns of its rows
            filter the rows.
        note: warning beside the title.
        min_width: smallest readable width, pixels; a narrower box scrolls.
    """

    title: str
    chart: Chart
    about: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    min_width: int = 0


@dataclass(frozen=True)
class Choice:
    """A choice that a section offers.

    Attributes:
        column: column of the charts' rows, or key of `Panel.when`.
        title: name of the choice.
        values: the options.
        chosen: the option at first.
        labels: text of options that differs from their value.
    """

    column: str
    title: str
    values: Sequence[str]
    chosen: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A heading, an explanation, and charts.

    Attributes:
        id: anchor of the section, and key of `SECTION_TEXT`.
        panels: the charts.
        choices: choices of the reader.
        figures: panels of each figure for papers by title, by the file's name in figures/ without suffix.
        tables: names of the section's files in tables/, without suffix.
        panel_width: width of a figure's panel, pixels; 0 for a third of the page.
    """

    id: str
    panels: Sequence[Panel]
    choices: Sequence[Choice] = ()
    figures: Mapping[str, Mapping[str, Chart]] = field(default_factory=dict)
    tables: Sequence[str] = ()
    panel_width: int = 0

    @property
    def title(self) -> str:
        """The heading."""
        return SECTION_TEXT[self.id][0]

    @property
    def lead(self) -> str:
        """The explanation below the heading."""
        return SECTION_TEXT[self.id][1]


@dataclass(frozen=True)
class ReportInput:
    """The input of all sections: the analysis, its agents, the best first, and its tasks, one dictionary
    each.
    """

    analysis: Analysis
    agents: Sequence[str]
    tasks: Sequence[Mapping[str, Any]]

    @classmethod
    def from_analysis(cls, analysis: Analysis) -> ReportInput:
        """The input from an analysis alone."""
        return cls(analysis, ranked_agents(analysis), _tasks(analysis))

    @cached_property
    def budgets(self) -> dict[str, int]:
        """Task -> samples at which its agents are compared."""
        return dict(final_rows(self.analysis.distribution).select("task", "samples").iter_rows())

    @property
    def at_equal_cost(self) -> bool:
        """Whether agents are compared at equal cost, so that numbers of samples are reference samples."""
        return any(task.get("effort") == "cost" for task in self.tasks)

    @property
    def unit(self) -> str:
        """What budgets count: "samples" or "reference samples"."""
        return UNITS["cost" if self.at_equal_cost else "samples"]

    @property
    def mixed(self) -> bool:
        """Whether tasks have different budgets."""
        return len(set(self.budgets.values())) > 1

    def checkpoints(self, frame: pl.DataFrame) -> list[str]:
        """The numbers of samples that a reader can choose: where budgets differ, those that all tasks have
        and the full budget of each.
        """
        if not self.mixed or not len(frame):
            return _numbers(frame, "samples")
        found = [set(part["samples"].drop_nulls()) for part in frame.partition_by("task")]
        return [*map(str, sorted(set.intersection(*found))), FULL]

    def at(self, frame: pl.DataFrame, samples: str) -> pl.DataFrame:
        """The rows at one of the checkpoints."""
        if samples != FULL:
            return frame.filter(pl.col("samples") == int(samples))
        return frame.filter(pl.col("samples") == pl.col("task").replace_strict(self.budgets, default=None))

    def panels(
        self, frame: pl.DataFrame, draw: Draw, when: Mapping[str, str] | None = None, min_width: int = 0
    ) -> list[Panel]:
        """A panel for all tasks together and one for each task of a frame, in the study's order, drawn by
        `draw(rows, scale)`.
        """
        rows = {
            str(key): part
            for (key,), part in frame.partition_by("task", as_dict=True, maintain_order=True).items()
        }
        panels = []
        for task in [{"task": ALL_TASKS}, *self.tasks]:
            name = str(task["task"])
            if name in rows:
                chart = draw(rows[name], str(task.get("scale") or OPTIMUM))
                about = "" if name == ALL_TASKS else "task"
                panels.append(
                    Panel(
                        name, chart, about, when or {}, SATURATED if task.get("saturated") else "", min_width
                    )
                )
        return panels


def _figures(name: str, panels: Sequence[Panel]) -> dict[str, dict[str, Chart]]:
    """A figure of these panels, or an empty dictionary without panels."""
    return {name: {panel.title: panel.chart for panel in panels}} if panels else {}


def ranked_agents(analysis: Analysis) -> list[str]:
    """All agents of the report, the best first: by the mean over tasks of the rank of the median at the
    largest number of samples.
    """
    frames = (
        analysis.distribution, analysis.configurations, analysis.runs, analysis.effort, analysis.importance,
        analysis.curves, analysis.tuning, analysis.lottery_map,
    )  # fmt: skip
    pairs = [(analysis.comparisons, "agent_a"), (analysis.comparisons, "agent_b")]
    columns = [*((frame, "agent") for frame in frames), *pairs]
    names = dict.fromkeys(
        str(name) for frame, column in columns for name in frame[column].drop_nulls().to_list()
    )
    final = final_rows(analysis.distribution).with_columns(
        rank=pl.col("q50").cast(pl.Float64).rank(descending=True).over("task")
    )
    means = dict(final.group_by("agent").agg(pl.col("rank").mean()).iter_rows())
    last = len(names) + 1.0
    return sorted(names, key=lambda name: last if means.get(name) is None else means[name])


def build_sections(report: ReportInput) -> list[Section]:
    """The page's charts, in their order."""
    return [
        _map(report), _distributions(report), _tickets(report), _curves(report), _targets(report),
        _tuning(report), _importance(report), _variance(report), _comparisons(report), _effort(report),
    ]  # fmt: skip


def _map(report: ReportInput) -> Section:
    frame = report.analysis.lottery_map
    min_width = 50 + 44 * frame["samples"].n_unique()
    panels = report.panels(
        frame, lambda rows, scale: charts.lottery_map(rows, report.agents, report.unit), min_width=min_width
    )
    return Section(
        "map", panels, figures=_figures("lottery-map", panels), tables=["lottery_map"], panel_width=320
    )


def _distributions(report: ReportInput) -> Section:
    panels = report.panels(
        report.analysis.configurations,
        lambda rows, scale: charts.distributions(rows, report.agents, scale=scale),
    )
    return Section(
        "distributions",
        panels,
        figures=_figures("distributions", panels),
        tables=["configurations", "distribution", "controls"],
    )


def _tickets(report: ReportInput) -> Section:
    def draw(rows: pl.DataFrame, scale: str) -> Chart:
        return charts.winning_tickets(rows, report.agents)

    frame = report.analysis.distribution
    figures = _figures("winning-tickets", report.panels(report.at(frame, FULL), draw))
    choices = _checkpoints(report, frame)
    return Section("tickets", report.panels(frame, draw), choices, figures, ["distribution"])


def _curves(report: ReportInput) -> Section:
    frame = report.analysis.curves
    series = _values(frame, "series")
    axes = [a for a in ("samples", "cost", "seconds") if a in set(_values(frame, "axis"))]
    # of equal effort
    first = "cost" if report.at_equal_cost and "cost" in axes else next(iter(axes), "")
    panels: list[Panel] = []
    figures: dict[str, dict[str, Chart]] = {}
    for axis in axes:
        along = frame.filter(pl.col("axis") == axis)

        def draw(rows: pl.DataFrame, scale: str, paper: bool = False, axis: str = axis) -> Chart:
            return charts.curves(rows, report.agents, axis=axis, scale=scale, legend=paper, hover=not paper)

        panels += report.panels(along, draw, {"axis": axis})
        for one in series:
            rows = along.filter(pl.col("series") == one)
            figures |= _figures(f"curves-{axis}-{_slug(one)}", report.panels(rows, partial(draw, paper=True)))
    choices = [
        *_choice("axis", "At equal", axes, [first], {"seconds": "wall time"}),
        *_choice("series", "Runs", series, [s for s in series if s == ALL_CONFIGURATIONS] or series[:1]),
    ]
    return Section("curves", panels, choices, figures, ["curves"])


def _targets(report: ReportInput) -> Section:
    def draw(rows: pl.DataFrame, scale: str, paper: bool = False) -> Chart:
        return charts.targets(rows, report.agents, unit=report.unit, legend=paper, hover=not paper)

    frame = report.analysis.targets
    distances = sorted(set(frame["target"].drop_nulls().to_list()))
    shown = [d for d in distances if d in (0.01, 0.05)] or distances[:1]
    figures: dict[str, dict[str, Chart]] = {}
    for distance in shown:
        rows = frame.filter(pl.col("target") == distance)
        figures |= _figures(
            f"samples-to-target-{_slug(within(distance))}", report.panels(rows, partial(draw, paper=True))
        )
    values = [str(d) for d in distances]
    choices = _choice(
        "target", "Target", values, [str(d) for d in shown[-1:]], {str(d): within(d) for d in distances}
    )
    return Section("targets", report.panels(frame, draw), choices, figures, ["targets", "running_time"])


def _tuning(report: ReportInput) -> Section:
    def draw(rows: pl.DataFrame, scale: str) -> Chart:
        return charts.tuning(rows, report.agents, scale=scale)

    frame = report.analysis.tuning
    efforts = report.checkpoints(frame)
    k, samples = _pair(frame.filter(pl.col("samples").cast(pl.String).is_in(efforts)))
    chosen = str(samples) if str(samples) in efforts else FULL
    rows = report.at(frame, chosen).filter(pl.col("configurations") == k)
    choices = [
        *_choice("configurations", "Configurations tried (k)", _numbers(frame, "configurations"), [str(k)]),
        *_choice("samples", f"{report.unit.capitalize()} each (B)", efforts, [chosen], EFFORTS),
    ]
    return Section(
        "tuning",
        report.panels(frame, draw),
        choices,
        _figures("tuning", report.panels(rows, draw)),
        ["tuning"],
    )


def _importance(report: ReportInput) -> Section:
    frame = report.analysis.importance
    known = set(_values(frame, "agent"))
    min_width = 110 + 34 * frame["task"].n_unique()
    drawn = {a: charts.importance(frame.filter(pl.col("agent") == a)) for a in report.agents if a in known}
    panels = [Panel(agent, chart, "agent", min_width=min_width) for agent, chart in drawn.items()]
    return Section("importance", panels, figures=_figures("importance", panels), tables=["importance"])


def _variance(report: ReportInput) -> Section:
    def draw(rows: pl.DataFrame, scale: str) -> Chart:
        return charts.variance(rows, report.agents)

    frame = report.analysis.distribution.filter(pl.col("share_configurations").is_not_null())
    figures = _figures("variance", report.panels(report.at(frame, FULL), draw))
    choices = _checkpoints(report, frame)
    return Section("variance", report.panels(frame, draw), choices, figures, ["distribution"])


def _comparisons(report: ReportInput) -> Section:
    def draw(rows: pl.DataFrame, scale: str) -> Chart:
        return charts.comparisons(rows, report.agents, scale=scale)

    frame = report.analysis.comparisons
    families = _values(frame, "family")
    figures: dict[str, dict[str, Chart]] = {}
    for family in families:
        figures |= _figures(
            f"comparisons-{_slug(family)}", report.panels(frame.filter(pl.col("family") == family), draw)
        )
    choices = _choice("family", "Family", families, families[:1])
    panels = report.panels(frame, draw, min_width=130 + 22 * len(report.agents))
    return Section(
        "comparisons",
        panels,
        choices,
        figures,
        ["comparisons"],
        panel_width=480 if len(report.agents) > 10 else 0,
    )


def _effort(report: ReportInput) -> Section:
    spent = report.analysis.runs.group_by("task", "agent", maintain_order=True).agg(
        pl.col("seconds").sum(), runs=pl.len()
    )
    if not len(spent):  # an analysis without its table of runs
        spent = report.analysis.effort.select(
            pl.lit(None, dtype=pl.String).alias("task"), "agent", "seconds", "runs"
        )
    panels = [Panel("All runs", charts.effort(spent, report.agents))] if len(spent) else []
    return Section(
        "effort", panels, figures=_figures("effort", panels), tables=["effort", "runs"], panel_width=420
    )


def _choice(
    column: str,
    title: str,
    values: Sequence[str],
    chosen: Sequence[str],
    labels: Mapping[str, str] | None = None,
) -> list[Choice]:
    """A choice, if there are options; one with a single option is made but not shown."""
    return [Choice(column, title, values, chosen[0], labels or {})] if values else []


def _checkpoints(report: ReportInput, frame: pl.DataFrame) -> list[Choice]:
    """A choice of the number of samples, at first the budget of all tasks, or of each."""
    values = report.checkpoints(frame)
    budgets = [FULL] if report.mixed else [str(budget) for budget in report.budgets.values()]
    return _choice("samples", f"{report.unit.capitalize()} per run", values, budgets or values[-1:], EFFORTS)


def _values(frame: pl.DataFrame, column: str) -> list[str]:
    """Distinct texts of a column, in their order."""
    return [str(v) for v in frame[column].drop_nulls().unique(maintain_order=True).to_list()]


def _numbers(frame: pl.DataFrame, column: str) -> list[str]:
    """Distinct numbers of a column, ascending."""
    return [str(v) for v in sorted(set(frame[column].drop_nulls().to_list()))]


def _pair(tuning: pl.DataFrame) -> tuple[int, int]:
    """The (configurations, samples) shown first: most agents with all four ways, up to 16 configurations,
    most samples in total.
    """
    known = tuning.filter(pl.col("tuned").is_not_null())
    pairs = known.group_by("configurations", "samples", maintain_order=True).agg(
        rows=pl.len(), both=pl.col("untuned").is_not_null().sum()
    )
    k, samples = pl.col("configurations"), pl.col("samples")
    best = pairs.sort(
        k > 1, "both", "rows", pl.min_horizontal(k, 16), k * samples, descending=True, maintain_order=True
    ).head(1)
    return (int(best["configurations"][0]), int(best["samples"][0])) if len(best) else (1, 1)


def final_rows(distribution: pl.DataFrame) -> pl.DataFrame:
    """The rows at each task's largest number of samples that all of its agents have."""
    agents = pl.col("agent").n_unique()
    whole = distribution.filter(agents.over("task", "samples") == agents.over("task"))
    return whole.filter(pl.col("samples") == pl.col("samples").max().over("task"))


def _tasks(analysis: Analysis) -> list[dict[str, Any]]:
    """One dictionary per task, those of the tasks table first."""
    rows = analysis.tasks.to_dicts()
    known = {row["task"] for row in rows}
    frames = (analysis.configurations, analysis.distribution, analysis.runs, analysis.curves)
    others = dict.fromkeys(
        t
        for frame in frames
        for t in frame["task"].drop_nulls().to_list()
        if t not in known and t != ALL_TASKS
    )
    return rows + [{name: None for name in analysis.tasks.columns} | {"task": task} for task in others]


def within(distance: float) -> str:
    """The label of a target."""
    return f"within {100 * distance:g} %"


def _slug(text: str) -> str:
    """A name for a file: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"
