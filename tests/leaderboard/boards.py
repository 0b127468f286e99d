"""A small suite, honest entries of it, and what forgers do to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet

import archgym
from archgym.leaderboard.entry import Entry, folder_name, read_entries, to_text
from archgym.leaderboard.rows import read_lines
from archgym.leaderboard.submit import Submission, submit
from archgym.leaderboard.suite import Suite
from archgym.leaderboard.verify import Verified, verify

TEXT = """
[study]
name = "small-1"
budget = 20
seeds = 3
history = "full"
[[env]]
id = "archgym/NKLandscape-v0"
label = "rugged"
kwargs = { n = 8, k = 2 }
[[env]]
id = "archgym/Softmax-v0"
label = "kernel"
[[agent]]
name = "random"
budget = [10, 20]
"""
ARGUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rugged": ("archgym/NKLandscape-v0", {"n": 8, "k": 2}),
    "kernel": ("archgym/Softmax-v0", {}),
}
CELLS = [(label, budget) for label in ARGUMENTS for budget in (10, 20)]
ELSEWHERE = "searcher_of_others"


@cache
def suite() -> Suite:
    return Suite.parse(TEXT)


def searched(
    folder: Path,
    agent: str = "random",
    *,
    called: str = "",
    cells: Sequence[tuple[str, int]] = tuple(CELLS),
    seeds: Sequence[int] = (0, 1, 2),
    **hyperparameters: Any,
) -> list[Path]:
    """Files of searches, as of an agent that is called differently where a name is given."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label, budget in cells:
        for seed in seeds:
            env, kwargs = ARGUMENTS[label]
            result = archgym.search(
                env, agent, budget=budget, seed=seed, env_kwargs=kwargs, agent_kwargs=hyperparameters
            )
            table = result.to_arrow()
            specification = json.loads(table.schema.metadata[b"archgym"])
            specification["agent"]["name"] = called or agent
            table = table.replace_schema_metadata({"archgym": json.dumps(specification)})
            paths.append(folder / f"{called or agent}-{label}-{budget}-{seed}.parquet")
            pyarrow.parquet.write_table(table, paths[-1])
    return paths


def submitted(paths: Sequence[Path], to: Path, **options: Any) -> Submission:
    return submit(paths, to, suite=suite(), executor="inline", **options)


def verified(folder: Path, **options: Any) -> dict[str, Verified]:
    """Verified entries by name."""
    cache_folder = folder.parent / "replays"
    found, _ = verify(folder, suite(), executor="inline", cache=cache_folder, **options)
    return {each.entry.name: each for each in found}


def entry_of(folder: Path, name: str) -> Entry:
    return next(entry for entry in read_entries(folder)[0] if entry.name == name)


def forge(
    folder: Path,
    name: str,
    *,
    content: Callable[[dict[str, Any]], object] = lambda content: None,
    rows: Callable[[list[dict[str, Any]]], object] = lambda lines: None,
    rehash: bool = True,
    label: str = "rugged",
) -> Path:
    """Change an entry as a forger would: the lines of a task, their digests, entry.json, the folder's name.

    Args:
        folder: folder of the leaderboard.
        name: name of the entry.
        content: changes entry.json in place.
        rows: changes the lines of the task in place.
        rehash: whether digests of complete runs follow the changed rows.
        label: the task.
    """
    entry, task = entry_of(folder, name), suite().tasks[label]
    assert entry.path is not None
    path = entry.path / "rows" / task.file
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    changed = json.loads((entry.path / "entry.json").read_text())
    if rehash and changed["rows"] == "full":
        with open(path, "rb") as file:
            for budget, seed, found in read_lines(task, file):
                changed["runs"][label].setdefault(str(budget), {})[str(seed)] = list(found.digests(task))
    content(changed)
    (entry.path / "entry.json").write_text(to_text(changed))
    return entry.path.rename(entry.path.with_name(folder_name(changed)))


def copied(board: Path, to: Path) -> Path:
    """A copy of a board, and of what was replayed beside it."""
    shutil.copytree(board, to / "board")
    if (board.parent / "replays").exists():
        shutil.copytree(board.parent / "replays", to / "replays")
    return to / "board"


def run_of(lines: list[dict[str, Any]], budget: int, seed: int) -> dict[str, Any]:
    return next(line for line in lines if (line["budget"], line["seed"]) == (budget, seed))


def best_row(run: dict[str, Any]) -> list[Any]:
    valid = [row for row in run["rows"] if row[3]]
    return max(valid, key=lambda row: row[4])
