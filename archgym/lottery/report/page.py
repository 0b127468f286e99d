"""The report's page and files: one HTML page that opens offline, its figures as SVG and PDF, its tables as
CSV.

The page has every chart once, as Vega-Lite with its rows packed by column. A bar of check boxes chooses
environments and agents for all charts and tables. Names come from users and are treated as text alone: Jinja2
escapes them in HTML, the data block cannot end its script element, Vega's tool tips escape their values, and
a content security policy with the hashes of the page's two scripts refuses all other scripts and every
network request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from archgym.files.charts import ON_DARK, config, drawable, specification, svg, vega_script
from archgym.files.csv import write_csv
from archgym.files.paths import make_folder, write_atomically
from archgym.lottery.claims import Verdict
from archgym.lottery.report.charts import compose, pdf
from archgym.lottery.report.scales import colours, dashes
from archgym.lottery.report.sections import ReportInput, Section, build_sections, final_rows, within
from archgym.lottery.tables import TABLES
from archgym.lottery.words import Conclusion

if TYPE_CHECKING:
    from archgym.lottery.analysis import Analysis

COLOURS: Mapping[str, str] = {
    Verdict.SUPPORTED: "yes",
    Verdict.CONTRADICTED: "no",
    Verdict.UNRESOLVED: "open",
    Verdict.SATURATED: "open",
}
"""The style of the chip that shows each verdict."""


def write(analysis: Analysis, folder: Path, title: str, provenance: Mapping[str, str]) -> Path:
    """Write the page, figures and tables, as `archgym.lottery.report.write_report` documents."""
    report = ReportInput.from_analysis(analysis)
    sections = build_sections(report)
    page = render(
        "report.html.j2",
        sections,
        tasks=report.tasks,
        agents=report.agents,
        budgets=report.budgets,
        title=title,
        provenance=dict(provenance),
        conclusions=conclusions_by_task(report.tasks, analysis.sentences),
        claims=_claims(analysis.hypotheses),
        counts=_counts(report),
        running_times=_running_times(analysis.running_time, report.agents),
        finals=_finals(analysis.distribution, report.agents),
        controls=analysis.controls.to_dicts(),
        unit=report.unit,
    )
    return write_files(folder, {name: getattr(analysis, name) for name in TABLES}, sections, page)


def write_files(
    folder: Path, tables: Mapping[str, pl.DataFrame], sections: Sequence[Section], page: str
) -> Path:
    """Write tables, figures and the page into a folder, each file atomically: the path of the page."""
    for part in ("figures", "tables"):
        make_folder(folder / part, within=folder)
    for name, frame in tables.items():
        write_atomically(folder / "tables" / f"{name}.csv", partial(_write_csv, frame))
    for section in sections:
        for name, panels in section.figures.items():
            drawing = svg(compose(panels, width=section.panel_width or 260))
            write_atomically(folder / "figures" / f"{name}.svg", partial(_write_bytes, drawing.encode()))
            write_atomically(folder / "figures" / f"{name}.pdf", partial(_write_bytes, pdf(drawing)))
    return write_atomically(folder / "report.html", partial(_write_bytes, page.encode()))


def render(
    template: str,
    sections: Sequence[Section],
    *,
    tasks: Sequence[Mapping[str, Any]],
    agents: Sequence[str],
    budgets: Mapping[str, int],
    **more: Any,
) -> str:
    """The HTML of a page.

    Args:
        template: name of the template.
        sections: the sections with charts.
        tasks: the tasks, a dictionary with its label as "task" for each.
        agents: all agents, in the order of their colours.
        budgets: task -> samples that the choice "full" stands for.
        **more: what the template has besides.
    """
    templates = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=drawable,
    )
    environment.filters["short"] = _short
    vega, script = vega_script(), (templates / "report.js").read_text(encoding="utf-8")
    patterns = dashes(agents)
    return environment.get_template(template).render(
        tasks=tasks,
        agents=[
            {"name": agent, "colour": colour, "dark": ON_DARK.get(colour, colour), "dash": patterns[agent]}
            for agent, colour in colours(agents).items()
        ],
        sections=sections,
        style=Markup((templates / "report.css").read_text(encoding="utf-8")),
        vega=Markup(vega),
        script=Markup(script),
        hashes=[_hash(vega), _hash(script)],
        data=Markup(
            script_safe_json(drawable(_data(sections, [t["task"] for t in tasks], list(agents), budgets)))
        ),
        **more,
    )


def script_safe_json(value: Any) -> str:
    """JSON for a script element: no part of it ends the element, starts a comment or ends a line of
    JavaScript.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def pack_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows by column: numbers to six digits; text as its distinct values and one index per row."""
    packed: dict[str, Any] = {}
    for name in rows[0] if rows else ():
        values = [_plain(row[name]) for row in rows]
        if any(isinstance(v, str) for v in values):
            levels: dict[str | None, int] = {}
            packed[name] = {
                "codes": [levels.setdefault(v, len(levels)) for v in values],
                "levels": list(levels),
            }
        else:
            packed[name] = values
    return {"rows": len(rows), "columns": packed}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else float(f"{value:.6g}")
    return value if value is None or isinstance(value, bool | int | str) else str(value)


# ----------------------------------------------------------------------------------------------------
# tables


def colour_of(verdict: str) -> str:
    """The style of a verdict's chip; that of an open question for a verdict that is not known."""
    return COLOURS.get(verdict, "open")


def _claims(hypotheses: pl.DataFrame) -> list[dict[str, Any]]:
    """Claims in the order of their rows, each with its verdicts."""
    claims: dict[str, dict[str, Any]] = {}
    for row in hypotheses.to_dicts():
        claim = claims.setdefault(
            str(row["hypothesis"]),
            {"hypothesis": row["hypothesis"], "statement": row["statement"], "verdicts": []},
        )
        claim["verdicts"].append(
            {
                "task": row["task"],
                "verdict": row["verdict"],
                "evidence": row["evidence"],
                "tone": colour_of(str(row["verdict"])),
            }
        )
    return list(claims.values())


def conclusions_by_task(
    tasks: Sequence[Mapping[str, Any]], sentences: Sequence[Conclusion]
) -> list[tuple[str, list[str]]]:
    """Conclusions by task, those about all tasks first, under ""."""
    found: dict[str, list[str]] = {name: [] for name in ("", *(str(t["task"]) for t in tasks))}
    for task, sentence in sentences:
        found.setdefault(task, []).append(sentence)
    return [(task, sentences) for task, sentences in found.items() if sentences]


def _counts(report: ReportInput) -> dict[str, int]:
    """The size of the study."""
    runs = sum(t["runs"] or 0 for t in report.tasks) or len(report.analysis.runs)
    failed = sum(t["failed"] or 0 for t in report.tasks)
    return {"runs": runs, "tasks": len(report.tasks), "agents": len(report.agents), "failed": failed}


def _running_times(running_time: pl.DataFrame, agents: Sequence[str]) -> dict[str, Any]:
    """Expected samples to each target: the targets, and one row per task and agent with a cell for each
    target.
    """
    running_time = running_time.filter(running_time["target"].is_not_null())
    targets = {
        target: within(target) for target in running_time["target"].unique(maintain_order=True).to_list()
    }
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in running_time.to_dicts():
        rows.setdefault(
            (row["task"], row["agent"]), {"task": row["task"], "agent": row["agent"], "cells": {}}
        )["cells"][row["target"]] = row
    tasks = {task: i for i, task in enumerate(running_time["task"].unique(maintain_order=True).to_list())}
    place = {agent: i for i, agent in enumerate(agents)}
    ordered = sorted(rows.values(), key=lambda r: (tasks[r["task"]], place.get(r["agent"], len(place))))
    return {"targets": targets, "rows": ordered}


def _finals(distribution: pl.DataFrame, agents: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table of numbers at the full budget, by task and then by agent."""
    rows = final_rows(distribution).to_dicts()
    tasks = {task: i for i, task in enumerate(distribution["task"].unique(maintain_order=True).to_list())}
    place = {agent: i for i, agent in enumerate(agents)}
    return sorted(rows, key=lambda r: (tasks[r["task"]], place.get(r["agent"], len(place))))


def _short(value: Any, form: str = ".3g") -> str:
    """A number for a reader, with thousands separators; a dash for an unknown value."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "∞"
    if form == ".0%" and 0 < value < 0.005:
        return "< 1%"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            f"{value:,.0f}" if form == "," or (form == ".3g" and abs(value) >= 1000) else format(value, form)
        )
    return str(value)


# ----------------------------------------------------------------------------------------------------
# data


def _data(
    sections: Sequence[Section], tasks: Sequence[str], agents: Sequence[str], budgets: Mapping[str, int]
) -> dict[str, Any]:
    """The input of the page's script: charts, filters and the light and dark configurations."""
    drawn = []
    for section in sections:
        for panel in section.panels:
            spec = specification(panel.chart.properties(width="container"))
            spec["description"] = f"{panel.title}: {spec['description']}"
            spec["autosize"] = {"type": "fit-x", "contains": "padding"}
            bands = None
            if isinstance(spec["height"], dict):  # the script counts the bands that remain after filtering
                bands = {
                    "step": spec.pop("height")["step"],
                    "field": spec.get("layer", [spec])[0]["encoding"]["y"]["field"],
                }
            datasets = {name: pack_columns(rows) for name, rows in spec.pop("datasets", {}).items()}
            drawn.append(
                {"section": section.id, "title": panel.title, "about": panel.about, "when": panel.when}
                | {"spec": spec, "bands": bands, "datasets": datasets}
            )
    return {
        "tasks": tasks,
        "agents": agents,
        "charts": drawn,
        "budgets": budgets,
        "choices": {s.id: {c.column: c.chosen for c in s.choices} for s in sections},
        "dark": ON_DARK,
        "config": {"light": config() | {"background": "transparent"}, "dark": config(dark=True)},
    }


def _hash(script: str) -> str:
    """Hash of a script for the content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _write_csv(frame: pl.DataFrame, file: BinaryIO) -> None:
    table = frame.to_arrow()
    write_csv([table], table.schema, file)


def _write_bytes(content: bytes, file: BinaryIO) -> None:
    file.write(content)
