"""The page of a leaderboard: one HTML file without scripts, that opens anywhere.

Names, notes and links come from strangers. They are text: cut to one printable line, escaped by Jinja2, and
links only where they begin with http:// or https://. A content security policy allows the page's own style
and nothing else: no script, no image, no request.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import MissingDependency
from archgym.files.paths import write_atomically
from archgym.leaderboard.scores import Scale, Score, Scores, title
from archgym.leaderboard.suite import Suite, canonical_json
from archgym.leaderboard.verify import State, Verified
from archgym.version import __version__
from archgym.words import one_line

_TONES = {
    State.REPLAYED: "yes",
    State.ROWS: "open",
    State.UNCHECKED: "open",
    State.INCOMPLETE: "open",
    State.FAILED: "no",
    "refused": "no",
}
_REASON = 300  # characters
_PARTS = ("agent", "archgym", "configurations", "machine", "note")


@dataclass(frozen=True)
class Bar:
    """A row of a chart: positions in percent of its width."""

    name: str
    anchor: str
    groups: str
    state: str
    tone: str
    mean: str
    between: str
    x: float
    low: float | None
    high: float | None
    seeds: Sequence[float]
    failed: int


@dataclass(frozen=True)
class Chart:
    """Intervals of one task or of all, at one budget."""

    budget: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]


def write_page(
    path: str | os.PathLike[str],
    suite: Suite,
    verified: Sequence[Verified],
    unread: Mapping[str, str],
    scores: Scores,
    *,
    share: float,
    seed: int,
) -> Path:
    """Write the page.

    Args:
        path: the file.
        suite, verified, unread, scores: what `verify` and `score` found.
        share, seed: share of rows that were evaluated again, and seed of their choice.

    Raises:
        ArchGymError: it cannot be written.
        MissingDependency: Jinja2 is missing.
    """
    text = render(suite, verified, unread, scores, share=share, seed=seed)
    return write_atomically(path, text.encode())


def render(
    suite: Suite,
    verified: Sequence[Verified],
    unread: Mapping[str, str],
    scores: Scores,
    *,
    share: float,
    seed: int,
) -> str:
    """The HTML; arguments as of `write_page`."""
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependency('the page needs Jinja2: pip install "archgym[report]"') from error
    from archgym.lottery import report

    own = Path(__file__).parent / "templates"
    theirs = Path(report.__file__).parent / "templates"
    style = (theirs / "report.css").read_text("utf-8") + (own / "leaderboard.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader([own, theirs]), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = {each.entry.folder: title(each) for each in verified}
    states = {each.entry.folder: each.state for each in verified}
    current = [each for each in verified if each.superseded is None and not each.problems]
    return environment.get_template("leaderboard.html.j2").render(
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        suite=suite,
        budgets=[f"{budget:,}" for budget in suite.budgets],
        provenance=_provenance(suite, verified, share, seed),
        overall=[
            _chart(budget, scores.overall[budget], names, states, percent=True) for budget in suite.budgets
        ],
        matrix=[_matrix(suite, budget, scores, current, names) for budget in suite.budgets],
        tasks=[_task(suite, label, scores, verified, names) for label in suite.tasks],
        entries=[_entry(each, verified, suite, scores) for each in _by_rank(current, scores, suite)],
        failures=_failures(verified, unread),
        evaluated=all(each.state != State.UNCHECKED for each in verified),
        share=f"{100 * share:.3g} %",
    )


def _provenance(suite: Suite, verified: Sequence[Verified], share: float, seed: int) -> dict[str, str]:
    states = [each.state for each in verified if each.superseded is None]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return {
        "Suite": f"{suite.name} ({suite.digest[:12]})",
        "Tasks": f"{len(suite.tasks)}",
        "Budgets": " and ".join(f"{budget:,}" for budget in suite.budgets) + " samples",
        "Seeds": f"{len(suite.seeds)}",
        "Entries": counts or "none",
        "Rows evaluated again": f"{100 * share:.3g} %, chosen with seed {seed}",
        "archgym": __version__,
        "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _by_rank(current: Sequence[Verified], scores: Scores, suite: Suite) -> list[Verified]:
    """Entries in the order of the largest budget's overall table, then by name."""
    place = {each.folder: i for i, each in enumerate(scores.overall[suite.budgets[-1]])}
    return sorted(current, key=lambda each: (place.get(each.entry.folder, len(place)), title(each)))


def _chart(
    budget: int,
    found: Sequence[Score],
    names: Mapping[str, str],
    states: Mapping[str, str],
    *,
    percent: bool = False,
) -> Chart:
    """Intervals of scores, best first; `percent` for shares of 1."""
    ends = [end for each in found for end in (*each.regrets, *each.interval) if math.isfinite(end)]
    most = max([*ends, 1e-12])

    def place(value: float) -> float:
        return round(2 + 96 * min(max(value / most, 0.0), 1.0), 2)

    bars = []
    for each in found:
        low, high = each.interval
        known = math.isfinite(low) and math.isfinite(high)
        state = states[each.folder]
        bars.append(
            Bar(
                names[each.folder],
                each.folder,
                each.groups,
                state,
                _TONES.get(state, "open"),
                short(float(each.mean.value), percent),
                f"{short(low, percent).removesuffix(' %')} to {short(high, percent)}" if known else "",
                place(float(each.mean.value)),
                place(low) if known else None,
                place(high) if known else None,
                [place(value) for value in each.regrets.tolist()],
                each.failed,
            )
        )
    ticks = [(place(value), short(value, percent)) for value in _round_values(most)]
    return Chart(f"{budget:,}", bars, ticks if bars else [])


def _round_values(most: float) -> list[float]:
    """Three to five round numbers from 0 to at most this one."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(step * power for step in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0) if most / (step * power) < 4)
    return [i * step for i in range(int(most / step) + 1)]


def _matrix(
    suite: Suite, budget: int, scores: Scores, current: Sequence[Verified], names: Mapping[str, str]
) -> dict[str, Any]:
    """Groups and normalised regret of every entry on every task."""
    cells = {
        (each.folder, label): {
            "groups": each.groups,
            "regret": short(float(each.mean.value) / scores.scales[label].width, True),
            "best": "A" in each.groups,
        }
        for label in suite.tasks
        for each in scores.tasks[label, budget]
    }
    rows = []
    place = {each.folder: i for i, each in enumerate(scores.overall[budget])}
    for each in sorted(current, key=lambda e: (place.get(e.entry.folder, len(place)), title(e))):
        folder = each.entry.folder
        row = [
            cells.get((folder, label)) or {"why": str(each.parts[label, budget].state)}
            for label in suite.tasks
        ]
        best = sum(bool(cell.get("best")) for cell in row)
        rows.append({"name": names[folder], "anchor": folder, "cells": row, "best": best})
    return {"budget": f"{budget:,}", "rows": rows}


def _task(
    suite: Suite, label: str, scores: Scores, verified: Sequence[Verified], names: Mapping[str, str]
) -> dict[str, Any]:
    """A task with its charts."""
    scale, task = scores.scales[label], suite.tasks[label]
    charts = []
    for budget in suite.budgets:
        states = {e.entry.folder: str(e.parts[label, budget].state) for e in verified if not e.problems}
        charts.append(_chart(budget, scores.tasks[label, budget], names, states))
    return {
        "label": label,
        "id": f"task-{list(suite.tasks).index(label) + 1}",
        "env": task.env.id,
        "arguments": ", ".join(f"{name} = {value}" for name, value in task.env.kwargs.items()),
        "optimum": f"{scale.best:.6g}",
        "exact": scale.exact,
        "average": short(scale.width),
        "charts": charts,
    }


def _entry(each: Verified, verified: Sequence[Verified], suite: Suite, scores: Scores) -> dict[str, Any]:
    """An entry with its history."""
    content, agent = each.entry.content, each.entry.agent
    line = [other for other in verified if other.entry.line == each.entry.line]
    line.sort(key=lambda other: str(other.entry.content["date"]), reverse=True)
    package = " ".join(str(part) for part in (agent["package"], agent["package_version"]) if part)
    machine = content["machine"]
    url = str(content["url"])
    reasons: dict[str, int] = {}
    for part in each.parts.values():
        if part.reason:
            text = f"{part.state}: {one_line(part.reason, _REASON)}"
            reasons[text] = reasons.get(text, 0) + 1
    return {
        "name": title(each),
        "anchor": each.entry.folder,
        "state": each.state,
        "tone": _TONES.get(each.state, "open"),
        "facts": {
            "Agent": f"{one_line(str(agent['name']), 100)}, version {agent['version']}",
            "Package": one_line(package, 100) or "not known",
            "archgym": one_line(str(content["archgym"]), 40),
            "Machine": f"{one_line(str(machine['processor']), 100)}, {machine['cores']} cores, "
            f"{one_line(str(machine['system']), 60)}",
            "Date": one_line(str(content["date"]), 40),
            "Contact": one_line(str(content["contact"]), 200),
            "Note": one_line(str(content["note"]), 600),
        },
        "url": one_line(url, 300) if re.fullmatch(r"https?://[^\s\"'<>\\]{1,300}", url) else "",
        "settings": [
            (f"{int(budget):,}", one_line(canonical_json(setting["hyperparameters"]), 600))
            for budget, setting in sorted(content["configurations"].items(), key=lambda pair: int(pair[0]))
        ],
        "reasons": list(reasons.items()),
        "history": [_version(line, i, suite, scores) for i in range(len(line))] if len(line) > 1 else [],
    }


def _version(line: Sequence[Verified], i: int, suite: Suite, scores: Scores) -> dict[str, Any]:
    """One entry of a line: its date, its scores, and what changed since the one before."""
    each = line[i]
    changed = []
    if i + 1 < len(line):
        before = line[i + 1].entry.content
        changed = [_change(name, before[name], each.entry.content[name]) for name in _PARTS]
    regrets = [
        f"{short(value, True)} at {budget:,}"
        for budget in suite.budgets
        if (value := _normalised(each, budget, scores.scales)) is not None
    ]
    return {
        "folder": each.entry.folder,
        "date": one_line(str(each.entry.content["date"]), 40),
        "state": each.state,
        "tone": _TONES.get(each.state, "open"),
        "regrets": ", ".join(regrets) or "–",
        "changed": "; ".join(filter(None, changed)) or ("" if i + 1 == len(line) else "nothing stated"),
    }


def _change(name: str, before: Any, after: Any) -> str:
    """What changed in a part of an entry, in words; "" where nothing did."""
    if before == after:
        return ""
    if name == "agent":
        keys = [key for key in ("version", "package_version") if before[key] != after[key]]
        words = {"version": "agent's version", "package_version": "package"}
        return ", ".join(f"{words[k]} {one_line(f'{before[k]} to {after[k]}', 60)}" for k in keys)
    if name == "archgym":
        return f"archgym {one_line(f'{before} to {after}', 60)}"
    return {"configurations": "hyperparameters", "machine": "machine", "note": "note"}[name]


def _normalised(each: Verified, budget: int, scales: Mapping[str, Scale]) -> float | None:
    """Mean normalised regret over all tasks; None where a task is not ranked, or a run found nothing
    valid.
    """
    means = []
    for label, scale in scales.items():
        part = each.parts.get((label, budget))
        if part is None or not part.ranked or None in part.best.values():
            return None
        rewards = np.array([reward for reward in part.best.values()], float)
        means.append(float(np.maximum(scale.best - rewards, 0.0).mean()) / scale.width)
    return sum(means) / len(means)


def _failures(verified: Sequence[Verified], unread: Mapping[str, str]) -> list[dict[str, Any]]:
    """What was not reproduced, with reasons."""
    found = []
    for folder, reason in unread.items():
        found.append(
            {"name": one_line(folder, 80), "state": "refused", "reasons": [one_line(reason, _REASON)]}
        )
    for each in verified:
        reasons = [one_line(problem, _REASON) for problem in each.problems]
        reasons += each.remarks(State.FAILED)
        missing = each.remarks(State.INCOMPLETE)
        state = "refused" if each.problems else str(State.FAILED) if reasons else str(State.INCOMPLETE)
        if reasons or missing:
            more = [f"and {len(reasons + missing) - 8} more"] if len(reasons + missing) > 8 else []
            found.append({"name": title(each), "state": state, "reasons": (reasons + missing)[:8] + more})
    return [each | {"tone": _TONES.get(str(each["state"]), "no")} for each in found]


def short(value: float, percent: bool = False) -> str:
    """Three significant digits, of a share in percent."""
    if not math.isfinite(value):
        return "–"
    value = 100 * value if percent else value
    if value and abs(value) < 1e-4:
        return f"{value:.1e}" + (" %" if percent else "")
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + (" %" if percent else "")
