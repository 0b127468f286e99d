"""Submissions, verification of honest entries, groups, the page and the commands."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from boards import (
    CELLS,
    ELSEWHERE,
    TEXT,
    copied,
    entry_of,
    forge,
    searched,
    submitted,
    suite,
    verified,
)
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym.cli.program import app
from archgym.errors import ArchGymError
from archgym.leaderboard import verify as verification
from archgym.leaderboard.entry import read_entries
from archgym.leaderboard.page import render, write_page
from archgym.leaderboard.scores import letters_of, score
from archgym.leaderboard.suite import SHIPPED, Suite
from archgym.leaderboard.verify import State, Verified, verify
from archgym.study.design import Run, Study, identifier
from archgym.study.run import to_bytes
from archgym.study.runner import run_study
from archgym.study.store import Store

pytest_plugins = ["board_fixtures"]

HOSTILE = "<script>window.pwned=1</script>\"'&\u202e\u200f</title>" + "x" * 1500


def test_a_suite_has_the_tasks_of_its_study() -> None:
    assert {label: task.env.as_dict for label, task in suite().tasks.items()} == Study(TEXT).tasks
    assert (suite().budgets, suite().seeds) == ((10, 20), (0, 1, 2))


def test_a_suite_refuses_what_cannot_be_compared() -> None:
    shots = 'id = "archgym/QuantumCircuit-v0"\nkwargs = { molecule = "H2-2", slots = 3, shots = 100 }'
    noisy = TEXT.replace('id = "archgym/Softmax-v0"', shots)
    for text, reason in (
        (noisy, "deterministic"),
        (TEXT.replace('label = "kernel"', ""), "label"),
        (TEXT + '[[agent]]\nname = "genetic"\nbudget = [5]\n', "equal budgets"),
    ):
        with pytest.raises(ArchGymError, match=reason):
            Suite.parse(text)


def test_shipped_suites_differ_from_each_other_by_name() -> None:
    assert {path.stem for path in SHIPPED.glob("*.toml")} == {
        Suite.read(path.stem).name for path in SHIPPED.glob("*.toml")
    }


def test_results_become_entries_whatever_holds_them(tmp_path: Path) -> None:
    """Files of searches, a folder of a study with improvements alone, and the same compacted."""
    found = []
    for name, text in (("full", TEXT), ("improvements", TEXT.replace('history = "full"', ""))):
        store = Store(tmp_path / name)
        run_study(Study(text), store, executor="inline")
        found.append(store.folder)
        submitted([store.folder], tmp_path / f"board-{name}")
    Store(found[0]).compact()
    submitted([found[0]], tmp_path / "board-compact")
    submitted(searched(tmp_path / "files"), tmp_path / "board-files")
    entries = [read_entries(board)[0][0].content for board in sorted(tmp_path.glob("board-*"))]
    assert len(entries) == 4
    for entry in entries[1:]:
        assert entry["runs"] == entries[0]["runs"]
        assert entry["configurations"] == entries[0]["configurations"]


def test_runs_of_a_served_task_are_verified_by_rows(tmp_path: Path) -> None:
    """A store with all rows of an agent that has no class here: neither a version nor its code."""
    store = Store(tmp_path / "served")
    for path in searched(tmp_path / "runs", "qmc", cells=CELLS[:1]):
        table = pyarrow.parquet.read_table(path)
        specification = json.loads(table.schema.metadata[b"archgym"])
        specification["agent"] = {
            "name": "my-agent",
            "version": None,
            "hyperparameters": {"temperature": 0.7},
        }
        specification["num_envs"] = 1
        reward = table["reward"].to_numpy()
        result = {"status": "done", "samples": len(reward), "seconds": 1.0, "valid": len(reward)}
        result |= {"mean_valid_reward": float(reward.mean()), "best_reward": float(reward.max())}
        run = Run(identifier(specification, "full"), "task", "my-agent", 0, 0, specification)
        store.write(run, to_bytes(table, specification, result))
    done = submitted([store.folder], tmp_path / "board", package="my-agent==1.2")
    assert done.runs == 3 and done.entries[0].content["rows"] == "full"
    assert done.entries[0].agent["package_version"] == "1.2"
    part = verified(tmp_path / "board")["my-agent"].parts[CELLS[0]]
    assert part.state == State.ROWS and part.ranked and "not installed" in part.reason


def test_runs_outside_the_suite_are_left_out_with_the_reason(tmp_path: Path) -> None:
    import archgym

    paths = searched(tmp_path / "runs", cells=CELLS[:1], seeds=(0, 9))
    for name, kwargs, budget in (("k", {"n": 8, "k": 3}, 10), ("b", {"n": 8, "k": 2}, 11)):
        result = archgym.search("archgym/NKLandscape-v0", "random", budget=budget, env_kwargs=kwargs)
        paths.append(result.to_parquet(tmp_path / f"{name}.parquet"))
    done = submitted(paths, tmp_path / "board")
    reasons = " ".join(left.reason for left in done.left)
    assert done.runs == 1 and len(done.left) == 3
    for part in ("seed 9", "differ from those of 'rugged'", "a budget of 11"):
        assert part in reasons
    with pytest.raises(ArchGymError, match="got none"):
        submitted(paths[1:], tmp_path / "nothing")


def test_configurations_of_an_agent_are_entries_of_their_own(tmp_path: Path) -> None:
    cells = [("rugged", 10), ("rugged", 20)]
    paths = searched(tmp_path / "a", "genetic", cells=cells)
    paths += searched(tmp_path / "b", "genetic", cells=cells, population=4)
    done = submitted(paths, tmp_path / "board")
    assert {entry.name for entry in done.entries} == {"genetic", "genetic (population=4)"}
    again = submitted(paths, tmp_path / "board")
    assert {entry.folder for entry in again.entries} == {entry.folder for entry in done.entries}
    mixed = [paths[0], *searched(tmp_path / "c", "genetic", cells=[("kernel", 10)], population=4)]
    assert len(submitted(mixed, tmp_path / "mixed").entries) == 2


def test_entries_name_neither_host_nor_user_nor_paths(honest: Path, tmp_path: Path) -> None:
    import platform

    for entry in read_entries(honest)[0]:
        assert entry.path is not None
        text = (entry.path / "entry.json").read_text()
        assert platform.node() not in text and str(tmp_path.parent) not in text
        assert set(entry.content["machine"]) == {"processor", "cores", "system"}


def test_a_second_verification_replays_nothing(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise AssertionError("a run was repeated")

    monkeypatch.setattr(verification, "repeat", fail)
    assert verified(board)["random"].state == State.REPLAYED
    with pytest.raises(AssertionError, match="repeated"):
        verified(board, again=True)


def test_an_interrupted_verification_resumes(board: Path) -> None:
    (path,) = (board.parent / "replays").glob("*.jsonl")
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])  # kill -9 within a line
    assert verified(board)["random"].state == State.REPLAYED
    assert verified(board)["random"].state == State.REPLAYED


def test_without_evaluation_nothing_is_called_verified(board: Path) -> None:
    assert {each.state for each in verified(board, evaluate=False).values()} == {State.UNCHECKED}


def test_the_newest_entry_that_is_not_refused_counts(board: Path, tmp_path: Path) -> None:
    first = entry_of(board, "random")
    assert first.path is not None
    kept = tmp_path / "kept"
    shutil.copytree(first.path, kept)
    newer = forge(board, "random", content=lambda c: c.update(date="2998-01-01T00:00:00Z", note="new"))
    shutil.copytree(kept, first.path)
    found = {e.entry.folder: e for e in verify(board, suite(), executor="inline")[0]}
    assert found[first.folder].superseded == newer.name
    assert found[newer.name].superseded is None
    page = render(suite(), list(found.values()), {}, score(suite(), list(found.values())), share=0.1, seed=0)
    assert "note" in page and page.count(first.folder) == 1  # in the history alone
    worse = json.loads((newer / "entry.json").read_text())
    assert worse["note"] == "new"
    shutil.rmtree(newer / "rows")
    found = {e.entry.folder: e for e in verify(board, suite(), executor="inline")[0]}
    assert found[newer.name].problems and found[first.folder].superseded is None


def _pairs(n: int) -> st.SearchStrategy[tuple[int, int]]:
    every = list(itertools.combinations(range(n), 2))
    return st.sampled_from(every) if every else st.nothing()


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.sets(_pairs(n)))))
def test_two_share_a_letter_exactly_where_they_do_not_differ(found: tuple[int, set[tuple[int, int]]]) -> None:
    size, different = found
    letters = letters_of(size, different)
    assert all(letters)
    for i, j in itertools.combinations(range(size), 2):
        assert bool({*letters[i]} & {*letters[j]}) == ((i, j) not in different)


def test_regrets_are_those_of_the_rows(honest: Path, tmp_path: Path) -> None:
    import archgym

    scores = score(suite(), list(verified(copied(honest, tmp_path)).values()))
    regrets = [
        archgym.search(
            "archgym/NKLandscape-v0", "random", budget=20, seed=seed, env_kwargs={"n": 8, "k": 2}
        ).regret
        for seed in suite().seeds
    ]
    found = next(each for each in scores.tasks["rugged", 20] if each.folder.startswith("random"))
    np.testing.assert_allclose(found.regrets, regrets)
    assert scores.scales["rugged"].exact
    assert {each.folder[:6] for each in scores.overall[20]} == {"random", ELSEWHERE[:6]}


# --------------------------------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def hostile(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a board with hostile entries."""
    board = copied(honest, tmp_path_factory.mktemp("hostile"))

    def disguise(content: dict[str, Any]) -> None:
        content.update(name=HOSTILE, note=HOSTILE, contact=HOSTILE, archgym=HOSTILE, date=HOSTILE)
        content["url"] = "javascript:window.pwned=2"
        content["machine"].update(processor=HOSTILE, system=HOSTILE)
        content["agent"].update(name=HOSTILE, package=HOSTILE, package_version=HOSTILE)
        content["configurations"]["10"]["hyperparameters"] = {HOSTILE: HOSTILE}

    forge(board, ELSEWHERE, content=disguise)
    found, unread = verify(board, suite(), executor="inline", cache=board.parent / "replays")
    unread = {**unread, HOSTILE: HOSTILE}
    refused = Verified(found[0].entry, (HOSTILE,), {}, superseded=HOSTILE)
    scores = score(suite(), found)
    return write_page(board / "index.html", suite(), [*found, refused], unread, scores, share=0.1, seed=0)


def test_hostile_names_are_text(hostile: Path) -> None:
    text = hostile.read_text("utf-8")
    assert "<script" not in text and "javascript:" not in text
    assert "\u202e" not in text and "\u200f" not in text
    assert "x" * 1000 not in text
    assert "default-src 'none'" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=executable, args=flags.split())
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_is_inert_in_a_browser(hostile: Path, browser: Any, width: int) -> None:
    errors: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(hostile.as_uri())
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.querySelectorAll('a[href]:not([href^=\"#\"])').length") == 0
    assert "window.pwned=1" in page.inner_text("main")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.querySelector('.range')).strokeWidth") == "7px"
    assert (errors, requests) == ([], [hostile.as_uri()])
    context.close()


# --------------------------------------------------------------------------------------------- commands


def test_the_commands_submit_and_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    source = tmp_path / "small.toml"
    source.write_text(TEXT)
    paths = searched(tmp_path / "runs", "qmc", called=ELSEWHERE)
    invoke = CliRunner().invoke
    options = ["--suite", str(source)]
    done = invoke(
        app, ["submit", *map(str, paths), "--to", str(tmp_path / "board"), "--note", "a note", *options]
    )
    assert done.exit_code == 0, done.output
    assert ELSEWHERE in done.output
    command = ["leaderboard", str(tmp_path / "board"), *options, "--seed", "1", "--strict"]
    done = invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "rows" in done.output and (tmp_path / "board" / "index.html").exists()
    done = invoke(app, [*command, "--json"])
    found = json.loads(done.stdout)
    assert [entry["state"] for entry in found["entries"]] == ["rows"]
    assert len(found["overall"]["20"]) == 1
    forge(tmp_path / "board", ELSEWHERE, rows=lambda lines: lines[0]["rows"][0].__setitem__(4, 9.0))
    assert invoke(app, command).exit_code == 1
