"""Entries: one agent with one configuration on a suite, as plain files that a git repository can hold.

    FOLDER/entries/<name>-<12 digits>/entry.json     what was run, by what, with which digests
    FOLDER/entries/<name>-<12 digits>/rows/<task>.jsonl     rows (`archgym.leaderboard.rows`)

The digits are those of a SHA-256 of entry.json. Its keys:

    format            1
    suite             {"name", "digest"}
    name              name of the entry on the page; the newest entry of a name and an agent counts, earlier
                      ones are its history
    agent             {"name", "version", "package", "package_version"}; package is null where not known
    archgym           version that ran it
    contact, url, note   texts, "" without
    machine           {"processor", "cores", "system"} where it was submitted
    date              UTC, ISO 8601
    previous          folder of the entry before it, or null
    rows              "full", or "improvements" where a replay repeats the rest
    configurations    {budget: {"num_envs", "hyperparameters"}}: at each budget one for all tasks and seeds
    runs              {task: {budget: {seed: [exact, designs]}}}, the digests of all rows

Nothing else is trusted: tasks come from the suite, scores from verified rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import check_own_folder, in_words, kind_of, make_folder, open_regular, replace
from archgym.leaderboard.rows import MAX_FILE, Rows, parse_json, read_lines, write_line
from archgym.leaderboard.suite import Suite, SuiteTask

SHIPPED = Path(__file__).parent
FORMAT = 1
MAX_ENTRY = 16 * 2**20  # bytes of entry.json
MAX_TEXT = 2000  # characters
_FOLDER = re.compile(r"[a-z0-9][a-z0-9-]{0,59}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("name", "archgym", "contact", "url", "note", "date")
_KEYS = {*_TEXTS, "format", "suite", "agent", "machine", "previous", "rows", "configurations", "runs"}

_NOT_AN_ENTRY = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

Cell = tuple[str, int]
"""Label of a task, and a budget."""


@dataclass(frozen=True)
class Entry:
    """An entry as it is written; `archgym.leaderboard.verify` says what of it holds.

    Attributes:
        folder: name of its folder.
        content: the object in entry.json.
        path: its folder, or None before it is written.
    """

    folder: str
    content: Mapping[str, Any]
    path: Path | None = None

    @property
    def name(self) -> str:
        """Its name, from a stranger."""
        return str(self.content["name"])

    @property
    def agent(self) -> Mapping[str, Any]:
        """Name, version and package of the agent."""
        found: Mapping[str, Any] = self.content["agent"]
        return found

    @property
    def line(self) -> tuple[str, str, str]:
        """Entries that succeed each other have the same: name, agent and package."""
        return self.name, str(self.agent["name"]), str(self.agent["package"])

    @cached_property
    def digests(self) -> dict[Cell, dict[int, tuple[str, str]]]:
        """Digests of the runs by task and budget, then seed."""
        return {
            (task, int(budget)): {int(seed): (exact, designs) for seed, (exact, designs) in seeds.items()}
            for task, budgets in self.content["runs"].items()
            for budget, seeds in budgets.items()
        }

    def configuration(self, budget: int) -> Mapping[str, Any]:
        """Hyperparameters and number of environments at a budget."""
        found: Mapping[str, Any] = self.content["configurations"][str(budget)]
        return found

    def rows(self, task: SuiteTask) -> Iterator[tuple[int, int, Rows]]:
        """Budget, seed and rows of every run on a task.

        Raises:
            ArchGymError: the file is missing, damaged, too large or no regular file.
        """
        assert self.path is not None
        path = self.path / "rows" / task.file
        try:
            check_own_folder(path.parent)
            with open_regular(path) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE:
                    raise ArchGymError(f"rows/{task.file}: expected at most {MAX_FILE:,} bytes, got more")
                yield from read_lines(task, file)
        except OSError as error:
            raise ArchGymError(f"rows/{task.file} cannot be read: {in_words(error)}") from error


def folder_name(content: Mapping[str, Any]) -> str:
    """The name of an entry's folder: readable, and distinct for distinct entries."""
    plain = re.sub(r"[^a-z0-9]+", "-", str(content["name"])[:200].lower()).strip("-")[:59].strip("-")
    return f"{plain or 'x'}-{hashlib.sha256(to_text(content).encode()).hexdigest()[:12]}"


def to_text(content: Mapping[str, Any]) -> str:
    """The text of entry.json."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_entry(
    to: Path, suite: Suite, content: Mapping[str, Any], rows: Mapping[tuple[Cell, int], Rows]
) -> Entry:
    """Write an entry; its entry.json comes last, so that a folder without one is incomplete.

    Args:
        to: folder of a leaderboard.
        suite: the suite.
        content: the object of entry.json.
        rows: rows of each run by task, budget and seed.

    Raises:
        ArchGymError: it is there already, or cannot be written.
    """
    name = folder_name(content)
    place = to.expanduser() / "entries" / name
    if kind_of(place / "entry.json") is not None:
        raise ArchGymError(f"expected a new entry, got {name}, which is there already")
    folder = make_folder(place / "rows", within=to.expanduser())
    files: dict[str, list[str]] = {}
    for ((label, budget), seed), found in sorted(rows.items(), key=lambda pair: pair[0]):
        files.setdefault(suite.tasks[label].file, []).append(write_line(budget, seed, found))
    try:
        for file, lines in files.items():
            _put(folder / file, "".join(lines))
        _put(place / "entry.json", to_text(content))
    except OSError as error:
        raise ArchGymError(f"cannot write {place}: {in_words(error)}") from error
    return Entry(name, content, place)


def _put(path: Path, text: str) -> None:
    replace(path, lambda file: file.write(text.encode()))


def read_entries(folder: Path) -> tuple[list[Entry], dict[str, str]]:
    """Every entry of a leaderboard's folder, and why others cannot be read, by their folder's name.

    Raises:
        ArchGymError: the folder cannot be read, or has none.
    """
    place = folder.expanduser() / "entries"
    found, refused = [], {}
    try:
        if kind_of(place) is not None:
            check_own_folder(place)
        names = sorted(os.listdir(place))
    except OSError as error:
        raise ArchGymError(
            f"expected a folder with entries/, got {folder}: {in_words(error)}; archgym submit makes one"
        ) from error
    for name in names:
        if name.startswith("."):
            continue
        try:
            found.append(_read(place / name))
        except (ArchGymError, OSError, *_NOT_AN_ENTRY) as error:
            refused[name] = reason_of(error, 300)
    return found, refused


def _read(path: Path) -> Entry:
    if not _FOLDER.fullmatch(path.name):
        raise ArchGymError("expected a folder <name>-<12 digits>, as archgym submit writes it")
    if (kind := kind_of(path)) != "a folder":
        raise ArchGymError(f"expected a folder, got {kind or 'a file'}")
    try:
        with open_regular(path / "entry.json") as file:
            text = file.read(MAX_ENTRY + 1)
    except OSError as error:
        raise ArchGymError(f"entry.json cannot be read: {in_words(error)}") from error
    if len(text) > MAX_ENTRY:
        raise ArchGymError(f"expected an entry.json of at most {MAX_ENTRY:,} bytes, got more")
    content = parse_json(text)
    check_form(content)
    if folder_name(content) != path.name:
        raise ArchGymError("entry.json was changed: its SHA-256 is not the one in the folder's name")
    entry = Entry(path.name, content, path)
    if len(entry.digests) != sum(len(budgets) for budgets in content["runs"].values()):
        raise ArchGymError("a budget twice")
    return entry


def check_form(content: Any) -> None:
    """Refuse an object that is not of the form of entry.json.

    Raises:
        ArchGymError: it is not, with the key.
    """

    def expect(met: bool, what: str) -> None:
        if not met:
            raise ArchGymError(f"entry.json: expected {what}")

    expect(isinstance(content, dict) and content.keys() == _KEYS, f"the keys {', '.join(sorted(_KEYS))}")
    expect(content["format"] == FORMAT, f"format {FORMAT}, which this version of archgym reads")
    for key in _TEXTS:
        text = content[key]
        expect(isinstance(text, str) and len(text) <= MAX_TEXT, f"{key} of <= {MAX_TEXT} characters")
    expect(isinstance(content["previous"], (str, type(None))), "previous as a text or null")
    expect(content["rows"] in ("full", "improvements"), 'rows as "full" or "improvements"')
    for key, names in (
        ("suite", {"name", "digest"}),
        ("agent", {"name", "version", "package", "package_version"}),
        ("machine", {"processor", "cores", "system"}),
    ):
        found = content[key]
        expect(isinstance(found, dict) and found.keys() == names, f"{key} with {', '.join(sorted(names))}")
        expect(
            all(isinstance(v, (str, int, type(None))) and len(str(v)) <= MAX_TEXT for v in found.values()),
            f"{key} with short values",
        )
    configurations, runs = content["configurations"], content["runs"]
    expect(isinstance(configurations, dict) and isinstance(runs, dict), "configurations and runs as objects")
    for budget, configuration in configurations.items():
        expect(_is_number(budget) and isinstance(configuration, dict), "configurations by budget")
        expect(configuration.keys() == {"num_envs", "hyperparameters"}, "num_envs and hyperparameters")
        expect(type(configuration["num_envs"]) is int and configuration["num_envs"] > 0, "num_envs >= 1")
        expect(isinstance(configuration["hyperparameters"], dict), "hyperparameters as an object")
    for budgets in runs.values():
        expect(isinstance(budgets, dict), "runs by task and budget")
        for budget, seeds in budgets.items():
            expect(_is_number(budget) and budget in configurations, "a configuration for each budget")
            expect(isinstance(seeds, dict) and all(map(_is_number, seeds)), "runs by seed")
            for pair in seeds.values():
                expect(
                    isinstance(pair, list) and len(pair) == 2 and all(map(_is_digest, pair)),
                    "two SHA-256 for each run",
                )


def _is_number(text: str) -> bool:
    """Whether a key is a whole number in its one form."""
    return re.fullmatch(r"0|[1-9][0-9]{0,14}", text) is not None


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None
