"""`archgym lottery` from a study file to a report, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars
import pytest

pytest.importorskip("altair", reason="needs archgym[report]")

from archgym.lottery.load import load_tasks
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store

STUDY = """
[study]
name = "small <b>"
budget = 60
seeds = 3

[[env]]
id = "archgym/NKLandscape-v0"
kwargs = { n = 8, k = 1 }

[[agent]]
name = "random"
configurations = 4

[[agent]]
name = "genetic"
configurations = 4
"""


def program(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archgym.cli", *map(str, arguments)], capture_output=True, text=True, cwd=cwd
    )


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")


def test_a_study_file_becomes_a_report_and_its_folder_another(tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)
    first = program("lottery", "small.toml", "--workers", 2, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "results" / "small--b"
    assert "24 of 24" in first.stdout and "Conclusions" in first.stdout and "Traceback" not in first.stderr
    page = (folder / "report.html").read_text()
    assert "small &lt;b&gt;" in page and "small <b>" not in page
    runs = polars.read_csv(folder / "tables" / "runs.csv")
    assert (
        runs.height == 24
        and set(runs["agent"]) == {"random", "genetic"}
        and (runs["ratio"] <= 1 + 1e-12).all()
    )
    assert list((folder / "figures").glob("*.svg")) and list((folder / "figures").glob("*.pdf"))
    again = program("lottery", folder, "--out", tmp_path / "elsewhere", cwd=tmp_path)
    assert again.returncode == 0 and "none now" in again.stdout
    assert (tmp_path / "elsewhere" / "report.html").is_file()


def test_clipped_rewards_are_warned_of_and_nothing_is_concluded_from_them(tmp_path):
    # 2 log(2e5) > 10
    cells = 'id = "archgym/NasCell-v0"\nlabel = "cells"\nobjective = { minimize = ["macs"], weights = { macs = 2 } }'
    (tmp_path / "small.toml").write_text(
        STUDY.replace('id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }', cells)
    )
    result = program("lottery", "small.toml", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "cells: 100 % of the valid rewards are clipped" in result.stderr and "reference" in result.stderr
    assert "cells: no conclusion, as 100 % of the valid rewards are clipped" in " ".join(
        result.stdout.split()
    )


def test_a_task_is_capped_where_the_optimum_is_cut_and_as_clipped_as_the_agent_that_suffers_most(tmp_path):
    # log(1e-7) < -10
    softmax = 'id = "archgym/Softmax-v0"\nkwargs = { cols = 1024 }\nobjective = { minimize = ["time_s"] }'
    front = 'id = "archgym/NasCell-v0"\nlabel = "cells"\nobjective = { minimize = ["macs"], weights = { macs = 0.5 } }\n'
    front += 'front = ["valid_accuracy", "macs"]'
    text = STUDY.replace(
        'id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }', f"{softmax}\n\n[[env]]\n{front}"
    )
    study, store = Study(text.replace('"genetic"', '"nsga2"')), Store(tmp_path / "out")
    run_study(study, store, executor="inline")
    softmax, cells = load_tasks(study, store)
    assert softmax.capped and not cells.capped
    by_agent = {
        run.specification["agent"]["name"]: run.result["clipped"]
        for run in store.read().values()
        if "Cell" in str(run.specification)
    }
    assert by_agent["random"] == 0 < by_agent["nsga2"] and cells.clipped > 0.5


def test_tasks_of_different_budgets_are_loaded_with_theirs(tmp_path):
    short = (
        '[[env]]\nid = "archgym/NKLandscape-v0"\nlabel = "short"\nbudget = 20\nkwargs = { n = 8, k = 2 }\n'
    )
    study = Study(
        STUDY.replace("[[agent]]", f"{short}\n[[agent]]", 1) + "\n[[agent]]\nname = 'tpe'\nbudget = 9\n"
    )
    store = Store(tmp_path / "out")
    run_study(study, store, executor="inline")
    tasks = load_tasks(study, store)
    spent = {
        (task.task[:2], agent): {trace.samples for row in runs.traces for trace in row}
        for task in tasks
        for agent, runs in task.agents.items()
    }
    assert spent == {
        ("NK", "random"): {60}, ("NK", "genetic"): {60}, ("NK", "tpe"): {9},
        ("sh", "random"): {20}, ("sh", "genetic"): {20}, ("sh", "tpe"): {9},
    }  # fmt: skip
    assert [task.budget for task in tasks] == [60, 20]
    assert not any("budget" in c for task in tasks for r in task.agents.values() for c in r.configurations)


def test_part_of_a_study_is_reported_and_said_to_be_part(tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)
    assert program("study", "run", "small.toml", "--out", "out", cwd=tmp_path).returncode == 0
    (tmp_path / "larger.toml").write_text(STUDY.replace("seeds = 3", "seeds = 5"))
    part = program("lottery", "larger.toml", "--out", "out", "--no-run", cwd=tmp_path)
    assert part.returncode == 0 and "16 runs are missing" in part.stderr, part.stderr


def test_wrong_input_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "small.toml").write_text(STUDY)
    for arguments, message in [
        ([], "give a study file"),
        (["small.toml", "--quick"], "only one of them"),
        (["absent.toml"], "known: archgym-1, archgym-2023"),
        (["lotery.toml"], "did you mean 'lottery'"),
        (["empty"], "has no study.toml"),
        (["small.toml", "--no-run", "--out", "nothing"], "has no finished run"),
    ]:
        result = program("lottery", *arguments, cwd=tmp_path)
        assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr, (
            result.stderr
        )
        assert len(result.stderr.strip().splitlines()) == 1


def test_where_every_run_failed_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "study"))
    environment = 'id = "misbehaving:test/Exits-v0"'
    (tmp_path / "small.toml").write_text(
        STUDY.replace('id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }', environment)
    )
    result = program("lottery", "small.toml", "--out", "out", "--workers", 2, cwd=tmp_path)
    assert result.returncode == 2 and "all runs failed: SystemExit: 3" in result.stderr, result.stderr


def test_a_missing_package_is_said_before_the_first_run(tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(STUDY)
    (tmp_path / "hidden" / "altair").mkdir(parents=True)
    (tmp_path / "hidden" / "altair" / "__init__.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    result = program("lottery", "small.toml", "--out", "out", cwd=tmp_path)
    assert result.returncode == 2 and "archgym[report]" in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_a_study_may_ask_for_an_optimum_that_is_not_known(tmp_path):
    rugged = STUDY.replace("k = 1 }", 'k = 1, alleles = 2, neighbourhood = "random" }')
    store = Store(tmp_path / "out")
    asking = Study(rugged.replace("[[agent]]", "enumerate = true\n\n[[agent]]", 1))
    run_study(Study(rugged), store, workers=2)
    (unknown,), (known,) = load_tasks(Study(rugged), store), load_tasks(asking, store)
    assert unknown.optimum is None and known.optimum is not None
    assert len(list((tmp_path / "home" / "optima").glob("*.npz"))) == 1, "it is stored for later results"
    assert run_study(asking, store, workers=2).done == 0 and len(store.read()) == 24, (
        "and no run is another for it"
    )
