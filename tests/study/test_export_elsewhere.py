"""Studies in TensorBoard and in Optuna's storages: the rows, the best and the settings are those of the study."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import optuna
import pytest
from study_texts import study_text
from typer.testing import CliRunner

from archgym.cli import app
from archgym.errors import ArchGymError, MissingDependency
from archgym.study.design import Study
from archgym.study.events import write_events
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.study.trials import StudyTrials
from archgym.task import Specification

pytestmark = pytest.mark.usefixtures("plugins")

ODD = 'id = "odd:test/Odd-v0"\nlabel = "odd"'
FULL = study_text(ODD, budget=40, configurations=1, more='history = "full"')


@pytest.fixture
def store(plugins, tmp_path):
    return stored(tmp_path, FULL)


def stored(tmp_path, text: str) -> Store:
    store = Store(tmp_path / "out")
    run_study(Study(text), store, executor="inline")
    return store


def journal(path):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def best_of(store: Store, agent: str) -> float:
    return max(
        run.result["best_reward"]
        for run in store.read().values()
        if run.specification["agent"]["name"] == agent
    )


def rows_of(store: Store, agent: str) -> list[dict]:
    """Every row of an agent's runs, in the order of samples."""
    found = [
        {"run": run.id, **row}
        for run, table in store.table(store.read().values())
        if run.specification["agent"]["name"] == agent
        for row in table.to_pylist()
    ]
    return sorted(found, key=lambda row: (row["sample"], row["run"]))


# --- Optuna ---


def test_every_row_is_a_trial_with_its_active_parameters_metrics_and_settings(store, tmp_path):
    found = StudyTrials(store).write(str(tmp_path / "new" / "study.journal"))
    assert (found.studies, found.trials, found.runs, found.of_runs) == (2, 160, 4, 4)
    storage = journal(tmp_path / "new" / "study.journal")
    for agent in ("random", "genetic"):
        study = optuna.load_study(study_name=f"odd, {agent}", storage=storage)
        rows = rows_of(store, agent)
        assert len(study.trials) == len(rows) == 80 and study.user_attrs["env"] == "odd:test/Odd-v0"
        assert study.best_value == best_of(store, agent)
        states = set()
        for trial, row in zip(study.trials, rows, strict=True):
            states.add(trial.state.name)
            assert (trial.state.name == "COMPLETE") == row["feasible"]
            assert trial.user_attrs["sample"] == row["sample"] and trial.user_attrs["run"] == row["run"]
            assert trial.params["shape"] == {"None": None}.get(row["shape"], row["shape"])
            assert ("b" in trial.params) == (row["b"] is not None) == (trial.params["shape"] == "(1, 2)")
            assert trial.params["e"] == ("1: (1,)" if row["e"] == '"(1,)"' else "0: (1,)")
            assert (trial.params["a"], trial.params["c"], trial.params["d"]) == (row["a"], row["c"], row["d"])
            assert trial.distributions["d"].high == 1.0 and trial.distributions["c"].log
            if row["feasible"]:
                assert trial.value == row["reward"] and trial.user_attrs["gain"] == row["gain"]
                violated = [each > 0 for each in trial.system_attrs["constraints"]]
                assert any(violated) == (not row["valid"]) == (row["size"] > 6)
            assert trial.duration.total_seconds() >= 0
        assert states == {"COMPLETE", "FAIL"}
    assert "agent.population" in study.trials[0].user_attrs


def test_an_optuna_study_has_whole_runs_within_its_limit_and_the_best_run_always(store, tmp_path):
    found = StudyTrials(store, limit=70).write(str(tmp_path / "few"))
    assert (found.trials, found.runs, found.of_runs) == (80, 2, 4)
    one = StudyTrials(store, limit=1).write(str(tmp_path / "one"))
    assert (one.trials, one.runs) == (80, 2)  # one run at least
    for name in ("few", "one"):
        for agent in ("random", "genetic"):
            study = optuna.load_study(study_name=f"odd, {agent}", storage=journal(tmp_path / name))
            assert study.best_value == best_of(store, agent)
            assert len({trial.user_attrs["run"] for trial in study.trials}) == 1


def test_compacted_runs_are_exported_alike(store, tmp_path):
    StudyTrials(store).write(str(tmp_path / "before"))
    store.compact()
    StudyTrials(store).write(str(tmp_path / "after"))
    for agent in ("random", "genetic"):
        before, after = (
            optuna.load_study(study_name=f"odd, {agent}", storage=journal(tmp_path / name))
            for name in ("before", "after")
        )
        assert [(t.params, t.values, t.user_attrs) for t in before.trials] == [
            (t.params, t.values, t.user_attrs) for t in after.trials
        ]


def test_a_database_takes_them_and_a_name_that_is_taken_is_refused(tmp_path):
    store = stored(tmp_path, study_text(ODD, budget=10, agents=("random",), configurations=1, seeds=1))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    command = ["study", "export", str(store.folder), "--optuna", url]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0 and "1 Optuna studies" in found.output, found.output
    assert optuna.load_study(study_name="odd, random", storage=url).best_value == best_of(store, "random")
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2 and "give another storage" in again.output
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ArchGymError, match="exists; give another file"):
        StudyTrials(store).write(str(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "mine"
    with pytest.raises(ArchGymError, match="cannot open the storage"):
        StudyTrials(store).write("sqlite:////nowhere/at/all.db")
    assert not (tmp_path / "runs.parquet").exists()


def test_metrics_of_a_front_are_values_with_directions(tmp_path):
    text = study_text(
        ODD + '\nfront = ["gain", "size"]', budget=40, agents=("nsga2",), configurations=1, seeds=1
    )
    store = stored(tmp_path, text)
    StudyTrials(store).write(str(tmp_path / "front"))
    study = optuna.load_study(study_name="odd, nsga2", storage=journal(tmp_path / "front"))
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(
        trial.values == [trial.user_attrs["gain"], trial.user_attrs["size"]] for trial in study.best_trials
    )


def test_each_context_of_an_ordinary_agent_is_a_study_of_its_own_and_training_runs_are_left_out(tmp_path):
    text = """[study]
kind = "generalise"
name = "small"
budget = 40
splits = 2
seeds = 1
verify = 2
search_budget = 12
[[env]]
id = "targets:test/Target-v0"
label = "target"
contexts = "all"
[[agent]]
name = "targets:Copier"
[[agent]]
name = "random"
"""
    store = stored(tmp_path, text)
    contexts = {json.dumps(run.specification["env"]) for run in Study(text).runs() if run.context}
    found = StudyTrials(store).write(str(tmp_path / "contexts"))
    assert found.studies == len(contexts) > 1
    names = optuna.get_all_study_names(journal(tmp_path / "contexts"))
    assert len(names) == len(contexts) and all(name.startswith("target, random (") for name in names)
    pytest.importorskip("tensorboard")
    assert write_events(store, tmp_path / "events") == found.runs


def test_an_environment_that_cannot_be_made_here_is_an_error(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules["odd"].__dict__, "Odd", None)
    monkeypatch.setattr("archgym.study.trials.Evaluator.from_specification", lambda env: 1 / 0)
    with pytest.raises(
        ArchGymError, match="cannot be made here, which its parameters need: ZeroDivisionError"
    ):
        StudyTrials(store).write(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_the_dashboard_shows_them(store, tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    StudyTrials(store).write(str(tmp_path / "study.journal"))
    served = dashboard.wsgi(journal(tmp_path / "study.journal"))

    def get(path):
        status = []
        request = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "here", "SERVER_PORT": "80", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http"}  # fmt: skip
        answer = json.loads(b"".join(served(request, lambda code, headers, *_: status.append(code))))
        assert status == ["200 OK"], answer
        return answer

    summaries = get("/api/studies")["study_summaries"]
    assert {each["study_name"] for each in summaries} == {"odd, random", "odd, genetic"}
    detail = get(f"/api/studies/{summaries[0]['study_id']}")
    assert len(detail["trials"]) == 80 and detail["best_trials"]


# --- TensorBoard ---


def test_every_run_has_an_event_file_with_its_rows_and_settings(store, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    command = ["study", "export", str(store.folder), "--tensorboard", str(tmp_path / "events")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "4 runs in" in done.output, done.output
    for run, table in store.table(store.read().values()):
        agent = run.specification["agent"]["name"]
        found = EventAccumulator(str(tmp_path / "events" / "odd" / agent / run.id))
        found.Reload()
        rows = table.to_pylist()
        rewards = found.Scalars("reward/sample")
        assert [each.step for each in rewards] == list(range(1, 41))
        assert np.allclose([each.value for each in rewards], [row["reward"] for row in rows])
        times = [each.wall_time for each in rewards]
        assert np.allclose(np.diff(times), np.diff(table["elapsed_seconds"].to_numpy()), atol=1e-5)
        assert np.isclose(found.Scalars("reward/best")[-1].value, run.result["best_reward"])
        gains = {each.step: each.value for each in found.Scalars("metric/gain")}
        assert gains.keys() == {row["sample"] + 1 for row in rows if row["feasible"]}
        content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        specification = Specification.from_dict(run.specification)
        assert given["agent"].string_value == agent and given["seed"].number_value == specification.seed
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2 and "give another folder" in again.output


def test_events_without_tensorboard_name_the_extra(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(MissingDependency, match=r"archgym\[watch\]"):
        write_events(store, tmp_path / "events")
