"""Results to entries: runs of one agent with one configuration become one entry.

At each budget an entry has one configuration for all tasks and seeds. Agents adapt hyperparameters to their
budget, so runs of several configurations are told apart by what differs from the adapted defaults:

    configuration = hyperparameters of the run - defaults adapted to its budget

and by all hyperparameters where the agent is not installed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from archgym._search import make_any_agent
from archgym.errors import ArchGymError
from archgym.files.paths import kind_of
from archgym.leaderboard.entry import FORMAT, MAX_TEXT, Cell, Entry, read_entries, write_entry
from archgym.leaderboard.replay import Failed, Impossible, cannot_replay, package_of
from archgym.leaderboard.replay import replay as repeat
from archgym.leaderboard.results import Found, Left, find_runs
from archgym.leaderboard.rows import Rows
from archgym.leaderboard.suite import Suite, canonical_json
from archgym.values import read, write
from archgym.version import __version__
from archgym.words import one_line, plain

_MAX_NAME = 120


@dataclass(frozen=True)
class Submission:
    """What `submit` did.

    Attributes:
        entries: the new entries.
        runs: runs in them.
        left: runs that are in none, and why.
        missing: task, budget and seeds that an entry lacks, by the entry's folder.
    """

    entries: list[Entry]
    runs: int
    left: list[Left]
    missing: dict[str, list[tuple[Cell, list[int]]]]


def submit(
    results: Iterable[str | os.PathLike[str]],
    to: str | os.PathLike[str],
    *,
    suite: Suite,
    name: str = "",
    contact: str = "",
    url: str = "",
    note: str = "",
    package: str = "",
    workers: int | None = None,
    executor: str = "local",
) -> Submission:
    """Add entries to a leaderboard's folder.

    Args:
        results: Parquet files of searches, and folders of studies.
        to: the folder.
        suite: the suite.
        name: name of the entries; "" for the agent's.
        contact, url, note: texts for the page.
        package: "NAME==VERSION" of an agent that is not installed.
        workers: runs that are repeated at once, where results have improvements alone.
        executor: "local" or "inline".

    Raises:
        ArchGymError: no run belongs to the suite, a run is there twice with other rows, or the folder cannot
            be written.
    """
    for what, text in (("name", name), ("contact", contact), ("url", url), ("note", note)):
        if len(text) > (_MAX_NAME if what == "name" else MAX_TEXT):
            raise ArchGymError(f"expected a shorter {what}, got {len(text):,} characters")
    found, left = find_runs(suite, results)
    if not found:
        why = "; ".join(f"{each.runs:,} runs: {each.reason}" for each in left[:3])
        raise ArchGymError(f"expected runs of {suite.name}, got none ({why or 'no runs'})")
    found, more = _complete(found, suite, workers, executor)
    texts = {"contact": contact, "url": url, "note": note}
    folder = Path(to).expanduser()
    before = read_entries(folder)[0] if kind_of(folder / "entries") else []
    entries, missing, runs = [], {}, 0
    for group in _groups(found).values():
        content, rows = _content(suite, group, name, package, texts, before)
        entry = _existing(before, content) or write_entry(folder, suite, content, rows)
        entries.append(entry)
        runs += len(rows)
        missing[entry.folder] = missing_runs(suite, entry)
    return Submission(entries, runs, [*left, *more], missing)


def missing_runs(suite: Suite, entry: Entry) -> list[tuple[Cell, list[int]]]:
    """Seeds that an entry lacks, by task and budget."""
    cells = [(label, budget) for label in suite.tasks for budget in suite.budgets]
    lacking = [(cell, sorted({*suite.seeds} - entry.digests.get(cell, {}).keys())) for cell in cells]
    return [(cell, seeds) for cell, seeds in lacking if seeds]


def _complete(
    found: Sequence[Found], suite: Suite, workers: int | None, executor: str
) -> tuple[list[Found], list[Left]]:
    """Runs with all their rows: those whose results have improvements alone are repeated."""
    done: list[Found] = []
    again: list[Found] = []
    left: list[Left] = []
    for each in found:
        reason = None if each.rows.complete else cannot_replay(each.run.agent)
        if reason is not None:
            left.append(
                Left(1, f'all rows are needed ({reason.reason}): run the study with history = "full"')
            )
        else:
            (done if each.rows.complete else again).append(each)
    runs = [(each.task, replace(each.run, version=None)) for each in again]
    answers = repeat(runs, timeout_s=suite.timeout_s, workers=workers, executor=executor) if runs else ()
    for task, run, rows in answers:
        if isinstance(rows, (Impossible, Failed)):
            left.append(Left(1, rows.reason))
        else:
            done.append(Found(task, replace(run, version=__version__), rows))
    return done, left


def _groups(found: Sequence[Found]) -> dict[str, list[Found]]:
    """Runs by entry: agent, version, and its configuration where there are several."""
    agents: dict[str, list[Found]] = {}
    for each in found:
        agents.setdefault(canonical_json([each.run.agent.name, each.run.agent.version]), []).append(each)
    groups: dict[str, list[Found]] = {}
    for agent, runs in agents.items():
        at: dict[int | None, set[str]] = {}
        for each in runs:
            at.setdefault(each.run.budget, set()).add(_setting(each))
        several = any(len(settings) > 1 for settings in at.values())
        for each in runs:
            key = canonical_json([_own_settings(each), each.run.num_envs]) if several else ""
            groups.setdefault(agent + key, []).append(each)
    return groups


def _setting(each: Found) -> str:
    return canonical_json([each.run.agent.hyperparameters, each.run.num_envs])


def _own_settings(each: Found) -> dict[str, Any]:
    """Hyperparameters that differ from the defaults adapted to the budget; all of an agent that is not
    installed.
    """
    given: Mapping[str, Any] = each.run.agent.hyperparameters
    if cannot_replay(each.run.agent) is not None:
        return dict(given)
    default = make_any_agent(each.run.agent.name, {})
    default.adapt(each.run.budget or 1)
    usual = write(default.configuration)
    return {name: value for name, value in given.items() if name not in usual or usual[name] != value}


def _content(
    suite: Suite,
    group: Sequence[Found],
    name: str,
    package: str,
    texts: Mapping[str, str],
    before: Sequence[Entry],
) -> tuple[dict[str, Any], dict[tuple[Cell, int], Rows]]:
    """The object of entry.json, and the rows that the entry keeps."""
    agent = group[0].run.agent
    short = cannot_replay(agent) is None
    configurations: dict[str, Any] = {}
    runs: dict[str, dict[str, dict[str, list[str]]]] = {}
    rows: dict[tuple[Cell, int], Rows] = {}
    for each in sorted(group, key=lambda each: (each.task.file, each.run.budget or 0, each.run.seed)):
        budget = each.run.budget or 0
        setting = {"num_envs": each.run.num_envs, "hyperparameters": each.run.agent.hyperparameters}
        if configurations.setdefault(str(budget), setting) != setting:
            raise ArchGymError(
                f"expected one configuration of {agent.name!r} at {budget} samples for all tasks and seeds, "
                f"got two, of which one also has runs on {each.task.label!r}; submit their results one by one"
            )
        digests = list(each.rows.digests(each.task))
        seeds = runs.setdefault(each.task.label, {}).setdefault(str(budget), {})
        if seeds.setdefault(str(each.run.seed), digests) != digests:
            raise ArchGymError(
                f"expected each run once, got {agent.name!r} on {each.task.label!r} with {budget} samples "
                f"and seed {each.run.seed} twice, with other rows; give one result of it"
            )
        kept = each.rows.take(each.rows.improvements) if short else each.rows
        rows[(each.task.label, budget), each.run.seed] = kept
    own = {} if not short else _own_settings(group[0])
    title = one_line(name or agent.name, _MAX_NAME)
    if own:
        title += f" ({', '.join(f'{key}={plain(read(value))}' for key, value in own.items())})"[:_MAX_NAME]
    given, _, number = package.partition("==")
    distribution, version = (given, number or None) if given else package_of(agent.name)
    content = {
        "format": FORMAT,
        "suite": {"name": suite.name, "digest": suite.digest},
        "name": title,
        "agent": {
            "name": agent.name,
            "version": agent.version,
            "package": distribution,
            "package_version": version,
        },
        "archgym": group[0].run.version or __version__,
        **texts,
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "previous": None,
        "rows": "improvements" if short else "full",
        "configurations": configurations,
        "runs": runs,
    }
    line = Entry("", content).line
    earlier = [entry for entry in before if entry.line == line and entry.content["suite"] == content["suite"]]
    latest = max(earlier, key=lambda entry: entry.content["date"], default=None)
    return content | {"previous": None if latest is None else latest.folder}, rows


def _existing(before: Sequence[Entry], content: Mapping[str, Any]) -> Entry | None:
    """The entry that has the same runs already."""
    same = ("suite", "name", "agent", "archgym", "contact", "url", "note", "configurations", "runs")
    return next((e for e in before if all(e.content[key] == content[key] for key in same)), None)


def machine() -> dict[str, Any]:
    """This machine in general words: no names of hosts or users, no paths. NumPy's version and its widest
    vector instructions decide the last bits of arithmetic.
    """
    processor = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            processor = next((value.strip() for key, _, value in lines if key.strip() == "model name"), "")
    except OSError:
        pass
    name = one_line(processor or platform.processor() or platform.machine(), 100)
    vectors = np.show_config(mode="dicts").get("SIMD Extensions", {})
    widest = [*vectors.get("baseline", []), *vectors.get("found", [])][-1:]
    return {
        "processor": ", ".join([name, *widest]),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}, numpy {np.__version__}",
    }
