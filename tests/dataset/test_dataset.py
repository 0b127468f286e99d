"""Data sets: what studies, searches and samplings have measured, one row per design and agent, on disk and
for other tools.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pyarrow.parquet
import pytest
from conftest import Bowl
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import archgym
from archgym import (
    ArchGymError,
    Categorical,
    DesignSpace,
    Integer,
    Metric,
    Noisy,
    Ordinal,
    Real,
    register_env,
)
from archgym.cli import app
from archgym.dataset import METHODS, Dataset, build, load_dataset, sample, save_dataset
from archgym.dataset.card import card
from archgym.dataset.data import PROVENANCE, merged
from archgym.dataset.sample import draw
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store


@pytest.fixture
def bowl():
    register_env("test/Bowl-v0", simulator=Bowl)


def program(*arguments: object):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["dataset", *map(str, arguments)])


def equal(a: Dataset, b: Dataset) -> bool:
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("indices", *PROVENANCE))
    about = ("environment", "space", "metrics", "sources")
    return (
        same
        and np.array_equal(a.values, b.values, equal_nan=True)
        and all(getattr(a, name) == getattr(b, name) for name in about)
    )


# --- sampled ---


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_has_distinct_designs_with_the_simulators_metrics(method, bowl):
    data = sample("test/Bowl-v0", 40, method=method, seed=3)
    assert len(np.unique(data.indices, axis=0)) == len(data) == 40
    expected = Bowl().evaluate_indices(data.indices)
    for metric in data.metrics:
        assert np.array_equal(
            data.column(metric.name), np.where(data.feasible, expected[metric.name], np.nan), equal_nan=True
        )
    assert (data.agent == method).all() and data.sample.tolist() == list(range(40))
    assert equal(data, sample("test/Bowl-v0", 40, method=method, seed=3))
    if method != "grid":
        assert not np.array_equal(data.indices, sample("test/Bowl-v0", 40, method=method, seed=4).indices)


def test_a_sample_of_more_designs_than_there_are_is_the_whole_space(bowl):
    data = sample("test/Bowl-v0", 10**6)
    assert len(data) == Bowl().space.size == len(np.unique(data.indices, axis=0))


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=6),
    st.integers(1, 400),
    st.sampled_from(METHODS),
    st.integers(0, 5),
)
def test_draws_are_distinct_and_within_the_space(nvec, n, method, seed):
    space = DesignSpace([Integer(f"p{i}", 0, k) for i, k in enumerate(nvec)])
    found = draw(space, n, method, np.random.default_rng(seed))
    assert len(found) == min(n, space.size) == len(np.unique(found, axis=0))
    assert (found >= 0).all() and (found < space.nvec).all()


def test_a_vast_space_is_sampled_but_has_no_grid():
    space = DesignSpace([Integer(f"p{i}", 0, 9) for i in range(30)])
    for method in ("random", "sobol"):
        assert len(np.unique(draw(space, 100, method, np.random.default_rng(0)), axis=0)) == 100
    with pytest.raises(ArchGymError, match="no numbered grid"):
        draw(space, 100, "grid", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "sobel"}, "did you mean 'sobol'"),
        ({"budget": 0}, "expected a budget of at least 1 design, got 0"),
    ],
)
def test_a_sample_that_cannot_be_says_why(options, message, bowl):
    with pytest.raises(ArchGymError, match=message):
        sample("test/Bowl-v0", **{"budget": 10, **options})


def test_the_former_name_of_the_budget_still_works(bowl):
    with pytest.warns(DeprecationWarning, match=r"sample\(n=...\) is deprecated: write budget="):
        assert len(sample("test/Bowl-v0", n=10)) == 10


def test_an_interrupted_sample_goes_on_from_its_cache(tmp_path):
    asked = []

    class Counting(Bowl):
        def evaluate_indices(self, indices, rng=None):
            asked.append(len(indices))
            return super().evaluate_indices(indices, rng)

    register_env("test/Counting-v0", simulator=Counting)
    first = sample("test/Counting-v0", 30, cache=tmp_path / "cache")
    assert sum(asked) == 30
    second = sample("test/Counting-v0", 50, cache=tmp_path / "cache")
    known = {row.tobytes() for row in first.indices}
    assert sum(asked) == 30 + sum(row.tobytes() not in known for row in second.indices)


# --- on disk ---


def everything() -> Dataset:
    """Every kind of parameter, an infeasible design, and names that CSV has to quote."""
    space = DesignSpace(
        [
            Categorical("kind", ["a", 'b, "c"']),
            Ordinal("size", [1, 2, 4]),
            Real("share", 0.0, 1.0),
            Integer("n", -2, 3),
        ]
    )
    rng = np.random.default_rng(0)
    indices = space.sample(60, rng)
    feasible = rng.random(60) < 0.8
    return Dataset(
        environment={"id": "test/Any-v0", "kwargs": {"x": 1}, "simulator": {"simulator": "any"}},
        space=space,
        metrics=(Metric("time_s", "s", "lower"), Metric("score", "1", None)),
        indices=indices,
        values=np.where(feasible[:, None], rng.random((60, 2)) * 1e-9, np.nan),
        feasible=feasible,
        agent=rng.choice(["random", "genetic"], 60),
        configuration=np.full(60, "{}"),
        seed=np.arange(60) // 20,
        sample=np.arange(60) % 20,
        count=np.ones(60, np.int64),
        sources=("made up",),
    )


def test_a_data_set_comes_back_from_disk_exactly(tmp_path):
    data = everything()
    assert equal(load_dataset(save_dataset(data, tmp_path / "data")), data)
    table = pyarrow.parquet.read_table(tmp_path / "data" / "data.parquet")
    assert table.schema.field("time_s").metadata == {b"unit": b"s"}
    assert (
        table["kind"].type == pyarrow.string()
        and table["n"].type == pyarrow.int64()
        and table["share"].type == pyarrow.float64()
    )
    assert table["time_s"].null_count == (~data.feasible).sum()


def test_a_card_of_a_wide_parameter_counts_what_was_seen_alone():
    data = everything()
    space = DesignSpace([Integer("wide", 0, 2**60), Integer("other", 0, 2**60)])
    indices = np.stack([np.arange(60) % 6 * 2**57, np.arange(60) % 4 * 2**58], axis=1)
    text = card(replace(data, space=space, indices=indices))
    assert (
        f"`wide` | 6 of {2**60 + 1}" in text and f"`wide` x `other` | 12 of {(2**60 + 1) ** 2} | 0.0%" in text
    )


def test_the_card_tells_what_the_data_cover(tmp_path):
    data = everything()
    save_dataset(data, tmp_path)
    text = (tmp_path / "README.md").read_text()
    seen = len(np.unique(data.distinct().indices[:, :2], axis=0))
    for fact in (
        "test/Any-v0",
        "made up",
        f"`kind` | {2} of 2",
        "`random`",
        "`genetic`",
        "time_s",
        "pairs are complete",
    ):
        assert fact in text
    assert seen == 6 or f"`kind` x `size` | {seen} of 6" in text


def test_the_card_of_parameters_of_2_to_the_62_values_counts_those_seen(tmp_path):
    data = everything()
    space = DesignSpace([Integer("x", 0, 2**62), Integer("y", 0, 2**62), *list(data.space)[2:]])
    save_dataset(replace(data, space=space), tmp_path)
    text = (tmp_path / "README.md").read_text()
    seen = len(np.unique(data.distinct().indices[:, :2], axis=0))
    assert f"`x` | 2 of {2**62 + 1}" in text and f"`x` x `y` | {seen} of {(2**62 + 1) ** 2}" in text


@pytest.mark.parametrize("damage", ["missing", "truncated", "bit", "foreign", "format"])
def test_damage_is_told(tmp_path, damage):
    path = save_dataset(everything(), tmp_path) / "data.parquet"
    content = bytearray(path.read_bytes())
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "bit":
            content[len(content) // 4] ^= 16
            path.write_bytes(content)
        case "foreign":
            pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
        case "format":
            table = pyarrow.parquet.read_table(path)
            about = json.loads(table.schema.metadata[b"archgym.dataset"])
            pyarrow.parquet.write_table(
                table.replace_schema_metadata({b"archgym.dataset": json.dumps(about | {"format": 99})}), path
            )
    with pytest.raises(ArchGymError):
        load_dataset(tmp_path)


# --- equal designs ---


def test_equal_designs_of_an_agent_are_one_row_with_a_count_and_the_mean_of_what_was_measured():
    data = everything()
    data = data.rows(np.concatenate([np.arange(60), np.arange(0, 60, 3), np.arange(0, 60, 6)]))
    for by_agent in (True, False):
        whole = merged(data, by_agent=by_agent)
        keys = [
            (*row, agent if by_agent else "")
            for row, agent in zip(data.indices.tolist(), data.agent.tolist(), strict=True)
        ]
        assert len(whole) == len(set(keys)) and whole.count.sum() == len(data)
        order = list(dict.fromkeys(keys))
        for key, row in zip(order, range(len(whole)), strict=True):
            own = np.array([k == key for k in keys])
            assert whole.indices[row].tolist() == list(key[:-1]) and whole.count[row] == own.sum()
            assert whole.feasible[row] == data.feasible[own].any()
            measured = data.values[own & data.feasible]
            if len(measured):
                assert whole.values[row] == pytest.approx(measured.mean(axis=0), rel=1e-12)
            assert whole.sample[row] == data.sample[own][0]


def test_equal_is_equal_indices_and_not_what_a_simulator_ignores():
    data = sample("archgym/DramController-v0", 20_000)
    assert len(data.distinct()) == 20_000, "refresh bounds that NoRefresh ignores are designs of their own"


# --- built ---


STUDY = """
[study]
name = "two"
budget = 60
seeds = 2
history = "full"
[[env]]
id = "archgym/NKLandscape-v0"
label = "small"
kwargs = { n = 6, k = 2 }
[[env]]
id = "archgym/NKLandscape-v0"
label = "large"
kwargs = { n = 8, k = 2 }
[[agent]]
name = "random"
[[agent]]
name = "genetic"
configurations = 2
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "two"
    store = Store(folder)
    run_study(Study(STUDY), store, executor="inline")
    return folder


def test_a_data_set_of_a_study_has_every_design_once_per_agent_and_the_metrics_of_its_simulator(study):
    data = build([study], env="small")
    runs = [run for run in Store(study).read().values() if run.specification["env"]["kwargs"]["n"] == 6]
    assert data.count.sum() == 60 * len(runs) == 60 * 6 and set(data.agent) == {"random", "genetic"}
    pairs = list(zip(map(bytes, data.indices), data.agent, strict=True))
    assert len(set(pairs)) == len(pairs)
    simulator = gymnasium.make("archgym/NKLandscape-v0", n=6, k=2).unwrapped.simulator
    assert np.array_equal(data.values[:, 0], simulator.evaluate_indices(data.indices)[data.metrics[0].name])
    assert build([study], env="large").space != data.space


def test_searches_studies_and_data_sets_are_one_if_they_are_of_one_environment(study, tmp_path):
    small = {"n": 6, "k": 2}
    archgym.search("archgym/NKLandscape-v0", "random", budget=50, seed=7, env_kwargs=small).to_parquet(
        tmp_path / "run.parquet"
    )
    part = save_dataset(sample("archgym/NKLandscape-v0", 30, env_kwargs=small), tmp_path / "part")
    save_dataset(build([study], env="small"), tmp_path / "study")
    whole = build([tmp_path / "study", tmp_path / "run.parquet", part])
    assert whole.count.sum() == 360 + 50 + 30 and len(whole.sources) == 3
    assert whole.count[whole.agent == "random"].sum() == 120 + 50 + 30


def test_environments_are_not_mixed(study, tmp_path):
    with pytest.raises(ArchGymError, match=r"differ in kwargs.*choose a task"):
        build([study])
    with pytest.raises(ArchGymError, match="its tasks are small, large"):
        build([study], env="smal")
    other = save_dataset(
        sample("archgym/NKLandscape-v0", 30, env_kwargs={"n": 6, "k": 3}), tmp_path / "other"
    )
    with pytest.raises(ArchGymError, match="differ in kwargs"):
        build([save_dataset(build([study], env="small"), tmp_path / "small"), other])


def test_versions_are_not_mixed(tmp_path):
    archgym.search("archgym/NKLandscape-v0", "random", budget=20, env_kwargs={"n": 6}).to_parquet(
        tmp_path / "run.parquet"
    )
    table = pyarrow.parquet.read_table(tmp_path / "run.parquet")
    about = json.loads(table.schema.metadata[b"archgym"])
    about["env"]["simulator"]["version"] = 99
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({b"archgym": json.dumps(about)}), tmp_path / "run.parquet"
    )
    with pytest.raises(ArchGymError, match="read them with the version"):
        build([tmp_path / "run.parquet"])


def test_a_deterministic_simulator_has_one_answer_per_design(tmp_path):
    part = sample("archgym/NKLandscape-v0", 30, env_kwargs={"n": 6})
    save_dataset(part, tmp_path / "a")
    part.values[3] += 1
    save_dataset(part, tmp_path / "b")
    with pytest.raises(ArchGymError, match="1 designs have different metrics"):
        build([tmp_path / "a", tmp_path / "b"])


def test_repeated_measurements_of_a_noisy_simulator_are_averaged(tmp_path):
    register_env("test/Noisy-v0", simulator=lambda: Noisy(Bowl(), 0.1))
    for seed in range(2):
        save_dataset(sample("test/Noisy-v0", 10**6, seed=seed), tmp_path / str(seed))
    whole = build([tmp_path / "0", tmp_path / "1"])
    parts = [load_dataset(tmp_path / name) for name in "01"]
    assert (whole.count == 2).all() and not np.array_equal(parts[0].values, parts[1].values)
    assert whole.column("cost_j") == pytest.approx(
        (parts[0].column("cost_j") + parts[1].column("cost_j")) / 2, nan_ok=True
    )


@pytest.mark.parametrize("source", ["nothing", "empty", "file"])
def test_what_is_no_source_is_told(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("hello")
    with pytest.raises(ArchGymError, match=r"does not exist|is not a study|is not a file of archgym search"):
        build([tmp_path / source])


# --- for other tools ---


def test_csv_has_all_rows_and_a_schema_beside_it(tmp_path):
    data = everything()
    save_dataset(data, tmp_path / "data")
    assert program("export", tmp_path / "data", "--out", tmp_path / "data.csv").exit_code == 0
    with open(tmp_path / "data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == data.space.decode(data.indices)["kind"].tolist()
    assert [float(row["time_s"] or "nan") for row in rows] == pytest.approx(
        data.column("time_s").tolist(), nan_ok=True, abs=0
    )
    about = json.loads((tmp_path / "data.csv.schema.json").read_text())
    assert about["metrics"][0] == {"name": "time_s", "unit": "s", "better": "lower", "report_only": False}


def test_csv_holds_no_formula(tmp_path):
    """Names and values that a spreadsheet would run; numbers stay numbers."""
    evil = Categorical("=cmd|' /C calc'!A0", ["+1+1", "@SUM(A1)", "-1", "plain"])
    data = replace(
        everything(),
        space=DesignSpace([evil, *list(everything().space)[1:]]),
        indices=np.zeros((60, 4), np.int64),
    )
    data.indices[1:4, 0] = 1, 2, 3
    save_dataset(data, tmp_path / "data")
    assert program("export", tmp_path / "data", "--out", tmp_path / "data.csv").exit_code == 0
    with open(tmp_path / "data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row[f"'{evil.name}"] for row in rows[:4]] == ["'+1+1", "'@SUM(A1)", "-1", "plain"] and rows[0][
        "n"
    ] == "-2"


def test_a_data_set_is_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "data").mkdir()
    for name in ("data.parquet", "README.md"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "precious")
    save_dataset(everything(), tmp_path / "data")
    assert (tmp_path / "precious").read_text() == "precious" and equal(
        load_dataset(tmp_path / "data"), everything()
    )
    (tmp_path / "data" / "data.parquet").unlink()
    os.mkfifo(tmp_path / "data" / "data.parquet")
    with pytest.raises(ArchGymError, match="holds no data set"):
        load_dataset(tmp_path / "data")


def test_minari_reads_the_export(tmp_path, monkeypatch, recwarn):
    minari = pytest.importorskip("minari")
    save_dataset(sample("archgym/Softmax-v0", 50), tmp_path / "data")
    done = program("export", tmp_path / "data", "--format", "minari", "--out", tmp_path / "minari")
    assert done.exit_code == 0, done.output
    assert not [w for w in recwarn if "set to None" in str(w.message)]
    assert "MINARI_DATASETS_PATH" not in os.environ
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    offline = minari.load_dataset("archgym/softmax/designs-v0")
    assert offline.total_episodes == offline.total_steps == 50
    env = offline.recover_environment()
    for episode in offline.iterate_episodes():
        env.reset()
        observation, reward, *_ = env.step(episode.actions[0])
        assert reward == pytest.approx(float(episode.rewards[0])) and np.array_equal(
            observation, episode.observations[1]
        )
    again = program("export", tmp_path / "data", "--format", "minari", "--out", tmp_path / "minari")
    assert again.exit_code == 2 and "exists already" in again.output


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """The id of an environment that a module registers when it is imported, which nothing here has done."""
    (tmp_path / "its_module.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "its_module:theirs/Line-v0"
    sys.modules.pop("its_module", None)


PLUG_IN = """
import archgym

class Line(archgym.Simulator):
    space = archgym.DesignSpace([archgym.Integer("x", 1, 50)])
    metrics = (archgym.Metric("cost_j", "J", "lower"),)
    default_objective = archgym.Objective(archgym.Minimize("cost_j"))

    def evaluate(self, designs, rng=None):
        return {"cost_j": designs["x"] * 1.0, "feasible": designs["x"] > 0}

archgym.register_env("theirs/Line-v0", simulator=Line)
"""


def test_a_data_set_keeps_the_module_of_a_plug_in_and_other_processes_read_it(plug_in, tmp_path):
    pytest.importorskip("minari")
    assert program("sample", plug_in, "--budget", 20, "--out", tmp_path / "sampled").exit_code == 0
    searched = archgym.search(plug_in, "random", budget=20)
    searched.to_parquet(tmp_path / "searched.parquet")
    text = f'[study]\nname = "s"\nbudget = 5\nseeds = 1\nhistory = "full"\n[[env]]\nid = "{plug_in}"\n[[agent]]\nname = "random"\n'
    assert run_study(Study(text), Store(tmp_path / "study"), workers=1).failed == 0
    assert (
        program(
            "build", tmp_path / "searched.parquet", tmp_path / "sampled", "--out", tmp_path / "built"
        ).exit_code
        == 0
    )
    assert (
        program(
            "build", tmp_path / "study", "--env", "theirs/Line-v0", "--out", tmp_path / "studied"
        ).exit_code
        == 0
    )
    for name in ("sampled", "built", "studied"):
        assert load_dataset(tmp_path / name).environment["id"] == plug_in
    code = f"""
import minari
from archgym.dataset import load_dataset
from archgym.dataset.export import to_minari
for name in ("sampled", "built", "studied"):
    assert to_minari(load_dataset({str(tmp_path)!r} + "/" + name), "m", f"{{name}}/line-v0")
"""
    read = (
        "import minari; env = minari.load_dataset('built/line-v0').recover_environment(); env.reset(); "
        "print(env.step([0])[4]['metrics'])"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "MINARI_DATASETS_PATH": str(tmp_path / "m"),
    }
    for text in (code, read):
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "{'cost_j': 1.0}" in done.stdout


def test_an_export_that_cannot_be_says_what_to_do(plug_in, tmp_path):
    pytest.importorskip("minari")
    assert program("sample", plug_in, "--n", 20, "--out", tmp_path / "data").exit_code == 0
    named = program(
        "export", tmp_path / "data", "--format", "minari", "--out", tmp_path / "m", "--name", "a/z-v0"
    )
    assert named.exit_code == 2 and "at least two characters in the namespace" in named.output
    data = load_dataset(tmp_path / "data")
    save_dataset(replace(data, environment={**data.environment, "id": "nobodys/Line-v0"}), tmp_path / "data")
    unknown = program("export", tmp_path / "data", "--format", "minari", "--out", tmp_path / "m")
    assert (
        unknown.exit_code == 2
        and "nobodys/Line-v0 cannot be made here" in unknown.output
        and "module:namespace/Name-vN" in unknown.output
    )


def test_the_commands_say_what_they_made_and_do_not_overwrite(study, tmp_path):
    made = program("sample", "archgym/NKLandscape-v0", "--n", 40, "--set", "n=6", "--out", tmp_path / "data")
    assert made.exit_code == 0 and "40 of 4,096 (0.98 %)" in made.output
    again = program("sample", "archgym/NKLandscape-v0", "--n", 40, "--out", tmp_path / "data")
    assert again.exit_code == 2 and "--overwrite" in again.output
    assert program("build", study, "--env", "large", "--out", tmp_path / "data", "--overwrite").exit_code == 0
    assert "genetic 4" in program("show", tmp_path / "data").output


def test_progress_of_a_sample_rises_to_the_end(bowl):
    seen = []
    sample(
        "archgym/NKLandscape-v0",
        5000,
        env_kwargs={"n": 14, "k": 1},
        progress=lambda what, share: seen.append((what, share)),
    )
    assert [share for _, share in seen] == [4096 / 5000, 1.0] and {what for what, _ in seen} == {
        "5,000 designs"
    }


@pytest.mark.parametrize("name", ["save_dataset", "load_dataset", "to_arrow", "about", "FILE"])
def test_names_that_moved_are_still_found(name):
    from archgym.dataset import data, files

    with pytest.warns(DeprecationWarning, match=f"use archgym.dataset.files.{name}"):
        assert getattr(data, name) is getattr(files, name)
