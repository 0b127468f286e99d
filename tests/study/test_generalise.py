"""Studies of kind "generalise": what is run, what a training run stores, and what a killed runner loses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest

from archgym.dataset.build import build
from archgym.errors import ArchGymError
from archgym.study.design import Study
from archgym.study.export import StudyRows
from archgym.study.run import execute
from archgym.study.runner import run_study
from archgym.study.store import Store

pytestmark = pytest.mark.usefixtures("plugins")

ENV = 'id = "targets:test/Target-v0"\nlabel = "target"\ncontexts = "all"\n'
AGENTS = ("targets:Copier", "random")


def text(
    env: str = ENV,
    agents=AGENTS,
    more: str = "",
    budget: object = (40, 200),
    splits: int = 3,
    seeds: int = 2,
    verify: int = 3,
    search_budget: int = 12,
) -> str:
    study = f"""[study]
kind = "generalise"
name = "small"
budget = {list(budget) if isinstance(budget, tuple) else budget}
splits = {splits}
seeds = {seeds}
verify = {verify}
search_budget = {search_budget}
{more}
"""
    tables = "".join(f'[[agent]]\nname = "{agent}"\n' for agent in agents)
    return f"{study}\n[[env]]\n{env}\n{tables}"


def training(study: Study):
    return [run for run in study.runs() if run.split is not None]


# ------------------------------------------------------------------------------------------- runs of a file


def test_contextual_agents_train_once_per_split_budget_and_seed_and_others_search_what_is_held_out():
    study = Study(text())
    runs = list(study.runs())
    trained = training(study)
    assert len(runs) == study.size and len({run.id for run in runs}) == len(runs)
    assert {(r.split, r.specification["budget"], r.specification["seed"]) for r in trained} == {
        (split, budget, seed) for split in (0, 1, 2) for budget in (40, 200) for seed in (0, 1)
    }
    held_out = {name for run in trained for name in run.specification["held_out"]["names"]}
    searched = [run for run in runs if run.split is None]
    assert {(run.context, run.specification["seed"]) for run in searched} == {
        (name, seed) for name in held_out for seed in (0, 1)
    }
    assert {run.specification["budget"] for run in searched} == {12}
    assert all("held_out" not in run.specification and "verify" not in run.specification for run in searched)
    assert all(run.specification["env"]["kwargs"] == {"target": int(run.context[7:])} for run in searched)


def test_what_is_held_out_is_not_trained_on_and_every_context_has_its_optimum():
    for run in training(Study(text(splits=8))):
        train, test = run.specification["env"]["kwargs"]["contexts"], run.specification["held_out"]
        assert len(test["names"]) == 3 and not set(train["names"]) & set(test["names"])
        assert len(train["names"]) + len(test["names"]) == 10
        for contexts in (train, test):
            optima = [{"x": arguments["target"], "y": 0} for arguments in contexts["arguments"]]
            assert contexts["optima"] == optima
        assert "constants" not in train and "constants" not in test


def test_splits_are_distinct_and_whole_groups_are_held_out_together():
    grouped = ENV.replace('"all"', '"grouped"')
    splits = Study(text(grouped, more='by = "group"\nheld_out = 0.25', splits=4)).splits["target"].splits
    assert len({split.held_out.names for split in splits}) == 4
    for split in splits:
        groups = {name for names in split.held_out.groups or () for name in names}
        assert len(groups) == 1 and split.ratio == pytest.approx(1 / 3)
        members = [t for t in range(10) if f"g{t // 3}" in groups]
        assert [arguments["target"] for arguments in split.held_out.arguments] == members
    with pytest.raises(ArchGymError, match=r"line 1\d: .*expected 5 distinct splits, the groups have 4"):
        _ = Study(text(grouped, more='by = "group"\nheld_out = 0.25', splits=5)).splits


def test_the_specification_of_a_run_says_what_was_held_out():
    study = Study(text())
    other = Study(text(verify=4))
    assert {run.id for run in training(study)}.isdisjoint({run.id for run in training(other)})
    searched = [{run.id for run in each.runs() if run.context} for each in (study, other)]
    assert searched[0] == searched[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text().replace('kind = "generalise"', 'kind = "generalize"'), "line 2: kind: expected 'search' or"),
        (text(more="cache = true"), "cache is a key of studies of kind 'search'"),
        (text(ENV + "enumerate = true"), "enumerate is a key of studies of kind 'search'"),
        (text() + "configurations = 3\n", "configurations is a key of studies of kind 'search'"),
        (text(ENV.replace('contexts = "all"\n', "")), "expected contexts in a study of kind 'generalise'"),
        (text(ENV.replace('"all"', '"al"')), "unknown set of contexts"),
        (text(budget=(40, 40)), "budget: expected a number from 1"),
        (text(budget=0), "budget: expected a number of samples from 1"),
        (text(more="held_out = 1.5"), "held_out: expected a share"),
        (text(agents=("random", "random")), "two agents share the label 'random'"),
        (text(agents=("random",)) + "budget = [5, 6]\n", "expected one number of samples"),
    ],
)
def test_errors_of_a_file_name_the_line(content, message):
    with pytest.raises(ArchGymError, match=r"study file, line \d+: ") as error:
        Study(content)
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["splits = 3", 'by = "group"', "search_budget = 9"])
def test_keys_of_this_kind_are_refused_in_a_search(key):
    search = f'[study]\nname = "s"\nbudget = 9\n{key}\n[[env]]\nid = "archgym/Softmax-v0"\n[[agent]]\nname = "random"\n'
    with pytest.raises(ArchGymError, match=r"line 4: .* is a key of studies of kind 'generalise'"):
        Study(search)


def test_a_context_without_a_valid_design_is_refused():
    limit = 'objective = { minimize = ["time_s"], at_most = { time_s = 1e-6 }, reference = { time_s = 4.0 } }'
    with pytest.raises(ArchGymError, match="expected contexts with valid designs, but 'target=0' has none"):
        _ = Study(text(f"{ENV}{limit}")).splits


# ----------------------------------------------------------------------------------------- a training run


def share(x: int, y: int, target: int) -> float:
    return 1 / (1 + abs(x - target) + 0.5 * y) if y < 3 else 0.0


def test_a_training_run_stores_the_shares_of_the_policys_proposals():
    run = training(Study(text()))[-1]
    content, result = execute(run.specification)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    targets = [arguments["target"] for arguments in run.specification["held_out"]["arguments"]]
    assert result["status"] == "done" and result["samples"] == 200 and result["exact"] is True
    assert table["context"].to_pylist() == run.specification["held_out"]["names"]
    first = [
        share(*design, t)
        for *design, t in zip(table["x"].to_pylist(), table["y"].to_pylist(), targets, strict=True)
    ]
    assert table["share_1"].to_pylist() == pytest.approx(first)
    assert np.exp(table["reward"].to_numpy()) == pytest.approx(first)
    best = np.stack([table[f"share_{v}"].to_numpy() for v in (1, 2, 3)])
    assert (np.diff(best, axis=0) >= 0).all() and (best <= 1).all()
    assert table["optimum"].to_numpy() == pytest.approx(np.log(4.0))  # reference 4 s, optimum 1 s
    every = [[share(x, y, t) for x in range(10) for y in range(3)] for t in targets]
    assert table["share_random"].to_pylist() == pytest.approx(np.mean(every, axis=1), rel=1e-6)
    trained = [a["target"] for a in run.specification["env"]["kwargs"]["contexts"]["arguments"]]
    near = [min(trained, key=lambda t: abs(t - target)) for target in targets]
    assert table["share_nearest"].to_pylist() == pytest.approx(
        [share(n, 0, t) for n, t in zip(near, targets, strict=True)]
    )


def test_the_same_run_gives_the_same_rows_and_proposals_are_not_counted(rows, tmp_path):
    run = training(Study(text()))[0]
    tables = []
    for name in ("a", "b"):
        content, result = execute(run.specification)
        assert result["samples"] == 40
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.parquet").write_bytes(content)
        tables.append(rows(tmp_path / name)["x"])
    assert tables[0].equals(tables[1])


def test_proposals_of_a_small_space_repeat_and_a_policy_that_fails_is_a_failed_run():
    (run, *_) = training(Study(text(verify=60)))
    content, _ = execute(run.specification)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    assert table["share_60"].to_pylist() == [1.0] * 3  # all 40 designs
    (run, *_) = training(Study(text(agents=("targets:Breaks",))))
    _, result = execute(run.specification)
    assert result["status"] == "failed" and "no policy today" in result["reason"] and result["samples"] == 40


# ------------------------------------------------------------------------------------------- the runner


def test_a_runner_that_is_killed_within_training_runs_resumes_and_loses_nothing(tmp_path, rows, program):
    content = text(ENV + "kwargs = { sleep_s = 0.0002 }\n", agents=AGENTS[:1], budget=100, splits=4)
    (tmp_path / "study.toml").write_text(content)
    arguments = ["study", "run", tmp_path / "study.toml", "--workers", "1", "--out", tmp_path / "out"]
    killed = 0
    for enough in (1, 4):
        process = subprocess.Popen(
            [sys.executable, "-m", "archgym.cli", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(list((tmp_path / "out").rglob("*.parquet"))) < enough:
            time.sleep(0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    last = program(*arguments)
    assert last.returncode == 0, last.stderr
    run_study(Study(content), Store(tmp_path / "inline"), executor="inline")
    resumed, expected = rows(tmp_path / "out"), rows(tmp_path / "inline")
    assert resumed.keys() == expected.keys() and len(expected) == 8
    assert all(resumed[id_].equals(expected[id_]) for id_ in expected)


def test_verify_compact_export_and_status_take_training_runs(tmp_path, program):
    (tmp_path / "study.toml").write_text(text())
    study, store = Study(text()), Store(tmp_path / "out")
    progress = run_study(study, store, executor="inline")
    assert progress.done == study.size and progress.failed == 0
    assert progress.best["target"][1] == "targets:Copier"  # searches of contexts have other scales
    before = {id_: run.result for id_, run in store.read().items()}
    assert program("study", "verify", tmp_path / "out").returncode == 0
    assert program("study", "compact", tmp_path / "out").returncode == 0
    assert {id_: run.result for id_, run in store.read().items()} == before
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 2
    found = program("study", "status", tmp_path / "out")
    assert found.returncode == 0 and f"{study.size} of {study.size} runs" in found.stdout, found.stderr
    with pytest.raises(ArchGymError, match="a data set is of one task"):
        build([tmp_path / "out"])
    rows = StudyRows(store)
    tables = list(rows.tables())
    assert sum(table.num_rows for table in tables) == rows.rows and rows.runs == study.size
    assert {"share_1", "share_nearest", "context"} <= set(rows.schema.names)
    assert run_study(study, store, executor="inline").done == 0


def test_optima_follow_the_studys_arguments_and_objective(monkeypatch, tmp_path):
    """A set states the optima of the default arguments; a machine without stored optima finds them."""
    stated = "[" + ", ".join(f"{{ x = {t}, y = 1 }}" for t in range(10)) + "]"
    arguments = "[" + ", ".join(f"{{ target = {t} }}" for t in range(10)) + "]"
    env = ENV.replace('"all"', f"{{ arguments = {arguments}, optima = {stated} }}")
    slow = 'objective = { minimize = ["time_s"], weights = { time_s = 2.0 }, reference = { time_s = 4.0 } }\n'
    run = training(Study(text(env + slow)))[0]
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "another machine"))
    content, result = execute(run.specification)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    targets = [arguments["target"] for arguments in run.specification["held_out"]["arguments"]]
    assert run.specification["held_out"]["optima"] == [{"x": target, "y": 0} for target in targets]
    designs = zip(table["x"].to_pylist(), table["y"].to_pylist(), targets, strict=True)
    # the square of the ratio of times, without a limit on area
    expected = [1 / (1 + abs(x - t) + 0.5 * y) ** 2 for x, y, t in designs]
    assert result["status"] == "done" and table["share_1"].to_pylist() == pytest.approx(expected)
    assert table["optimum"].to_numpy() == pytest.approx(2 * np.log(4.0))
