"""Forged entries: each is caught, by what it changes."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from boards import CELLS, ELSEWHERE, best_row, entry_of, forge, run_of, searched, submitted, suite, verified

from archgym.leaderboard.entry import read_entries
from archgym.leaderboard.rows import MAX_FILE
from archgym.leaderboard.verify import State

pytest_plugins = ["board_fixtures"]

CELL = ("rugged", 20)


def refused(board: Path, name: str) -> str:
    """Why an entry is refused; it has no part that counts."""
    found = verified(board)[name]
    assert found.problems and not found.parts
    return " ".join(found.problems)


def not_reproduced(board: Path, name: str, **options: Any) -> str:
    """Why the entry does not count on the cell; it counts on all others."""
    found = verified(board, **options)[name]
    assert not found.problems
    assert [cell for cell, part in found.parts.items() if part.state == State.FAILED] == [CELL]
    assert not found.parts[CELL].ranked
    return found.parts[CELL].reason


def better(lines: list[dict[str, Any]]) -> None:
    """A better metric in the best row, with the reward that follows from it."""
    row = best_row(run_of(lines, 20, 1))
    objective = suite().tasks["rugged"].evaluator.objective
    (name,) = suite().tasks["rugged"].metrics
    row[2] = [row[2][0] * 1.001]
    reward = objective({name: _array(row[2])}, _array([True]))
    row[4] = float(reward.reward[0])


def _array(values: list[Any]) -> Any:
    import numpy as np

    return np.array(values)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_forged_metric_of_the_best_row_is_always_caught(board: Path, share: float) -> None:
    forge(board, ELSEWHERE, rows=better)
    assert "in the entry" in not_reproduced(board, ELSEWHERE, share=share)


def test_a_forged_metric_of_a_replayed_entry(board: Path) -> None:
    forge(board, "random", rows=better)
    assert "in the entry" in not_reproduced(board, "random")


def test_a_metric_that_was_changed_without_its_hash(board: Path) -> None:
    forge(board, ELSEWHERE, rows=better, rehash=False)
    assert "SHA-256" in refused(board, ELSEWHERE)


def test_any_changed_row_is_caught_when_all_rows_are_evaluated(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        rows = run_of(lines, 20, 0)["rows"]
        better([{"budget": 20, "seed": 1, "rows": [rows[7]]}])

    forge(board, ELSEWHERE, rows=change)
    not_reproduced(board, ELSEWHERE, share=1.0)


def test_a_reward_that_does_not_follow_from_its_metrics(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        best_row(run_of(lines, 20, 0))[4] += 0.1

    for name in (ELSEWHERE, "random"):
        forge(board, name, rows=change)
        assert "does not follow" in refused(board, name)


def test_a_better_design_that_the_agent_did_not_find(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        run = run_of(lines, 20, 0)
        found = suite().tasks["rugged"].evaluator
        every = found.simulator.space.from_ordinal(_array(list(range(256))))
        scores = found.score(every)
        best = int(scores["reward"].argmax())
        metrics = [float(column[best]) for column in scores["metrics"].values()]
        forged = [18, every[best].tolist(), metrics, True, float(scores["reward"][best])]
        run["rows"] = [row for row in run["rows"] if row[0] < 18] + [forged, run["rows"][-1]]

    forge(board, "random", rows=change)
    assert "improves" in not_reproduced(board, "random")


def test_swapped_seeds(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        one, two = run_of(lines, 20, 0), run_of(lines, 20, 1)
        one["seed"], two["seed"] = 1, 0

    def digests(content: dict[str, Any]) -> None:
        runs = content["runs"]["rugged"]["20"]
        runs["0"], runs["1"] = runs["1"], runs["0"]

    forge(board, "random", rows=change, content=digests)
    not_reproduced(board, "random")


def test_a_forged_budget(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        run_of(lines, 10, 0)["budget"] = 0  # goes
        run_of(lines, 20, 0)["budget"] = 10
        lines[:] = [line for line in lines if line["budget"]]

    def digests(content: dict[str, Any]) -> None:
        runs = content["runs"]["rugged"]
        runs["10"]["0"] = runs["20"].pop("0")

    forge(board, ELSEWHERE, rows=change, content=digests, rehash=False)
    assert "more than the budget" in refused(board, ELSEWHERE)


def test_a_forged_number_of_samples(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        run = run_of(lines, 20, 0)
        run["samples"] = 10
        run["rows"] = [row for row in run["rows"] if row[0] < 9] + [[9, *run["rows"][-1][1:]]]

    forge(board, "random", rows=change)
    not_reproduced(board, "random")


def test_a_run_that_stopped_early_needs_a_replay(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        run = run_of(lines, 20, 0)
        run["samples"], run["rows"] = 15, run["rows"][:15]

    forge(board, ELSEWHERE, rows=change)
    assert "15 of 20" in not_reproduced(board, ELSEWHERE)


def test_the_hash_of_other_designs(board: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["runs"]["rugged"]["20"]["0"][1] = "0" * 64

    forge(board, "random", content=change)
    assert "SHA-256" in not_reproduced(board, "random")


def test_a_removed_row(board: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        run = run_of(lines, 20, 0)
        run["rows"].remove(best_row(run))

    forge(board, ELSEWHERE, rows=change, rehash=False)
    assert "19 of 20 rows" in refused(board, ELSEWHERE)
    forge(board, "random", rows=change)
    verified_random = verified(board)["random"]
    assert verified_random.problems or verified_random.parts[CELL].state == State.FAILED


def test_a_missing_seed_is_stated_and_not_ranked(tmp_path: Path) -> None:
    paths = [path for path in searched(tmp_path / "runs") if path.name != "random-rugged-20-1.parquet"]
    done = submitted(paths, tmp_path / "board")
    assert list(done.missing.values()) == [[(CELL, [1])]]
    part = verified(tmp_path / "board")["random"].parts[CELL]
    assert (part.state, part.reason, part.ranked) == (State.INCOMPLETE, "seed 1 missing", False)


def test_seeds_and_budgets_outside_the_suite(board: Path) -> None:
    def seed(content: dict[str, Any]) -> None:
        content["runs"]["rugged"]["20"]["7"] = content["runs"]["rugged"]["20"].pop("2")

    def budget(content: dict[str, Any]) -> None:
        content["runs"]["rugged"]["30"] = content["runs"]["rugged"].pop("20")
        content["configurations"]["30"] = content["configurations"]["20"]

    forge(board, "random", content=seed)
    assert "seeds [7] are not in small-1" in refused(board, "random")
    forge(board, ELSEWHERE, content=budget)
    assert "30 samples" in refused(board, ELSEWHERE)


def test_a_run_twice(board: Path) -> None:
    forge(board, "random", rows=lambda lines: lines.append(copy.deepcopy(lines[0])))
    assert "twice" in refused(board, "random")
    path = entry_of(board, ELSEWHERE).path
    assert path is not None
    text = (path / "entry.json").read_text().replace('"contact": "",', '"contact": "", "contact": "",')
    (path / "entry.json").write_text(text)
    assert "a key twice" in read_entries(board)[1][path.name]


def test_another_task_under_the_suites_name(board: Path) -> None:
    forge(board, "random", content=lambda content: content["suite"].update(digest="0" * 64))
    assert "another small-1" in refused(board, "random")
    forge(board, ELSEWHERE, content=lambda content: content["runs"].update(easy=content["runs"]["rugged"]))
    assert "'easy'" in refused(board, ELSEWHERE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "true", '"1"', "[]"])
def test_what_is_no_finite_number(board: Path, number: str) -> None:
    path = entry_of(board, "random").path
    assert path is not None
    rows = path / "rows" / suite().tasks["rugged"].file
    lines = rows.read_text().splitlines()
    run = json.loads(lines[0])
    run["rows"][0][4] = "@"
    rows.write_text("\n".join([json.dumps(run).replace('"@"', number), *lines[1:]]) + "\n")
    assert "line 1" in refused(board, "random")


@pytest.mark.parametrize("text", ["[1, 2", "null", "{}", "[" * 100_000, '{"budget": 20}', "\ud800"])
def test_lines_of_another_form(board: Path, text: str) -> None:
    path = entry_of(board, "random").path
    assert path is not None
    rows = path / "rows" / suite().tasks["rugged"].file
    rows.write_bytes(text.encode(errors="surrogatepass") + b"\n")
    assert "line 1" in refused(board, "random")


def test_a_changed_entry_is_not_the_one_that_its_folder_names(board: Path) -> None:
    path = entry_of(board, "random").path
    assert path is not None
    text = (path / "entry.json").read_text()
    (path / "entry.json").write_text(text.replace('"note": ""', '"note": "best"'))
    assert "was changed" in read_entries(board)[1][path.name]


def test_the_same_runs_under_another_name_are_refused(board: Path, tmp_path: Path) -> None:
    path = entry_of(board, "random").path
    assert path is not None
    kept = tmp_path / "kept"
    shutil.copytree(path, kept)
    forge(board, "random", content=lambda content: content.update(name="my own", date="2999-01-01T00:00:00Z"))
    shutil.copytree(kept, path)
    assert "earlier entry random-" in refused(board, "my own")
    assert not verified(board)["random"].problems


def test_links_and_strange_files_are_refused(board: Path, tmp_path: Path) -> None:
    random, other = entry_of(board, "random").path, entry_of(board, ELSEWHERE).path
    assert random is not None and other is not None
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (board / "entries" / "linked-000000000000").symlink_to(random)
    (board / "entries" / "UPPER").mkdir()
    (board / "entries" / "empty-000000000000").mkdir()
    shutil.copytree(random, board / "entries" / "copy-000000000000")
    os.mkfifo(board / "entries" / "fifo-000000000000")
    _, unread = read_entries(board)
    assert {name.partition("-")[0] for name in unread} == {"linked", "UPPER", "empty", "copy", "fifo"}
    rows = random / "rows" / suite().tasks["rugged"].file
    rows.unlink()
    rows.symlink_to(secret)
    assert "cannot be read" in refused(board, "random")
    (other / "rows" / "more.txt").write_text("x")
    assert "'more.txt'" in refused(board, ELSEWHERE)
    (other / "entry.json").unlink()
    (other / "entry.json").symlink_to(secret)
    assert other.name in read_entries(board)[1]


def test_huge_files_are_refused_unread(board: Path) -> None:
    random, other = entry_of(board, "random").path, entry_of(board, ELSEWHERE).path
    assert random is not None and other is not None
    os.truncate(random / "rows" / suite().tasks["rugged"].file, MAX_FILE + 1)
    assert "expected at most" in refused(board, "random")
    os.truncate(other / "entry.json", 1 << 30)
    assert "expected an entry.json of at most" in read_entries(board)[1][other.name]


def test_an_entry_names_no_code_that_is_run(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def module(content: dict[str, Any]) -> None:
        content["agent"]["name"] = "antigravity:fly"

    forge(board, "random", content=module)
    found = verified(board)["random"]
    assert found.state == State.ROWS
    assert "antigravity" not in sys.modules
    assert "not installed" in found.parts[CELL].reason


@pytest.mark.parametrize(
    "value", [{"$": "name", "of": "antigravity:fly"}, -5, "many", {"$": "content"}, [1e9]], ids=str
)
def test_configurations_that_the_agent_refuses(tmp_path: Path, value: Any) -> None:
    submitted(searched(tmp_path / "runs", "genetic", cells=[CELL]), tmp_path / "board")

    def change(content: dict[str, Any]) -> None:
        content["configurations"]["20"]["hyperparameters"]["population"] = value

    forge(tmp_path / "board", "genetic", content=change)
    part = verified(tmp_path / "board")["genetic"].parts[CELL]
    assert part.state == State.FAILED
    assert "antigravity" not in sys.modules


def test_another_configuration_than_the_one_that_ran(tmp_path: Path) -> None:
    submitted(searched(tmp_path / "runs", "genetic", cells=[CELL], population=4), tmp_path / "board")
    (name,) = verified(tmp_path / "board")
    assert name == "genetic (population=4)"

    def change(content: dict[str, Any]) -> None:
        content["configurations"]["20"]["hyperparameters"]["population"] = 8

    forge(tmp_path / "board", name, content=change)
    assert verified(tmp_path / "board")[name].parts[CELL].state == State.FAILED


def test_another_version_of_the_agent_is_verified_by_rows(board: Path) -> None:
    forge(board, "random", content=lambda content: content["agent"].update(version=99))
    found = verified(board)["random"]
    assert found.state == State.ROWS
    assert "version" in found.parts[CELL].reason


def test_every_cell_of_honest_entries_counts(board: Path) -> None:
    found = verified(board)
    assert {name: each.state for name, each in found.items()} == {
        "random": State.REPLAYED,
        ELSEWHERE: State.ROWS,
    }
    assert all(each.parts[cell].ranked and not each.problems for each in found.values() for cell in CELLS)
