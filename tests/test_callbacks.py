"""Callbacks of a search: they see every sample, change no row, and nothing that goes wrong in one loses a result."""

# ruff: noqa: NPY002

from __future__ import annotations

import copy
import pickle
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import archgym
from archgym.callbacks import Callback, MLflow, TensorBoard, WandB, make_callback
from archgym.cli import app
from archgym.errors import ArchGymError, MissingDependency

ENV = "archgym/Softmax-v0"


class Recorder(Callback):
    every_s = 0.0

    def __init__(self):
        self.calls = []

    def on_start(self, search):
        self.calls.append(("start", search.ledger.samples))

    def on_step(self, search):
        self.calls.append(("step", search.ledger.samples))

    def on_end(self, search, result):
        self.calls.append(("end", None if result is None else result.samples))


class GlobalDraws(archgym.Agent):
    """Draws from the global generators, as Stable-Baselines3 does."""

    version = 1
    hyperparameters = archgym.DesignSpace([])
    preferred_num_envs = 4

    def search(self, env, *, budget, seed):
        np.random.seed(seed)
        random.seed(seed)
        nvec = env.single_action_space.nvec
        env.reset(seed=seed)
        while True:
            env.step(np.array([[np.random.randint(n) if p % 2 else random.randrange(n) for p, n in enumerate(nvec)] for _ in range(4)]))  # fmt: skip


def same_rows(a, b):
    names = [name for name in a.history if name not in ("seconds", "cached")]
    return all(a.history[name].tolist() == b.history[name].tolist() or np.array_equal(a.history[name], b.history[name], equal_nan=True) for name in names)  # fmt: skip


def test_a_callback_sees_the_start_every_batch_and_the_end():
    told = Recorder()
    result = archgym.search(ENV, "random", budget=40, num_envs=8, callbacks=[told])
    assert told.calls == [
        ("start", 0),
        *(("step", n) for n in (8, 16, 24, 32, 40)),
        ("step", 40),
        ("end", 40),
    ]
    assert result.samples == 40


def test_rows_are_the_same_with_a_callback_that_draws_random_numbers():
    class Drawing(Recorder):
        def on_step(self, search):
            np.random.random(7)
            np.random.seed(3)
            random.random()
            assert search.ledger.best_so_far().size == search.ledger.samples  # reading is free

    for agent in ("genetic", GlobalDraws):
        alone = archgym.search(ENV, agent, budget=60)
        assert same_rows(alone, archgym.search(ENV, agent, budget=60, callbacks=[Drawing()]))


def test_rows_of_ppo_are_the_same_with_a_callback_that_uses_torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("stable_baselines3")

    class Drawing(Recorder):
        def on_step(self, search):
            torch.rand(3)
            torch.manual_seed(0)

    alone = archgym.search(ENV, "ppo", budget=64)
    assert same_rows(alone, archgym.search(ENV, "ppo", budget=64, callbacks=[Drawing()]))


def test_a_throttled_callback_is_called_at_the_first_batch_and_at_the_end():
    told = Recorder()
    told.every_s = 3600.0
    archgym.search(ENV, "random", budget=40, num_envs=8, callbacks=[told])
    assert told.calls == [("start", 0), ("step", 8), ("step", 40), ("end", 40)]


def test_a_callback_that_fails_gives_one_warning_and_the_search_goes_on():
    class Failing(Recorder):
        def on_step(self, search):
            super().on_step(search)
            raise OSError("disk full")

    failing, other = Failing(), Recorder()
    with pytest.warns(
        UserWarning, match="Failing failed, and the search goes on without it: OSError: disk full"
    ) as found:
        result = archgym.search(ENV, "random", budget=40, num_envs=8, callbacks=[failing, other])
    assert len(found) == 1 and result.samples == 40
    assert failing.calls == [("start", 0), ("step", 8), ("end", 40)] and other.calls[-2:] == [
        ("step", 40),
        ("end", 40),
    ]

    class FailingAtTheEnd(Recorder):
        def on_end(self, search, result):
            raise ValueError("no")

    with pytest.warns(UserWarning, match="ValueError: no"):
        assert archgym.search(ENV, "random", budget=8, callbacks=[FailingAtTheEnd()]).samples == 8


def test_a_callback_that_cannot_start_ends_the_search_before_a_sample_and_closes_the_others():
    class Unready(Recorder):
        def on_start(self, search):
            raise ArchGymError("no folder; give one")

    first = Recorder()
    with pytest.raises(ArchGymError, match="no folder"):
        archgym.search(ENV, "random", budget=8, callbacks=[first, Unready()])
    assert first.calls == [("start", 0), ("end", None)]


def test_ctrl_c_in_a_callback_keeps_what_was_found():
    class Interrupting(Recorder):
        def on_step(self, search):
            if search.ledger.samples >= 16:
                raise KeyboardInterrupt

    other = Recorder()
    with pytest.raises(KeyboardInterrupt) as caught:
        archgym.search(ENV, "random", budget=40, num_envs=8, callbacks=[Interrupting(), other])
    assert caught.value.partial.samples == 16 and other.calls[-1] == ("end", 16)


def test_a_callback_that_takes_samples_is_refused_and_what_was_found_is_kept():
    class Greedy(Recorder):
        def on_step(self, search):
            if search.ledger.samples == 16:
                search.env.step(np.zeros((8, len(search.env.simulator.space)), np.int64))

    with pytest.raises(ArchGymError, match="Greedy to read only, got 8 samples taken by it") as caught:
        archgym.search(ENV, "random", budget=40, num_envs=8, callbacks=[Greedy()])
    assert caught.value.partial.samples == 24


def test_a_search_without_callbacks_has_no_listener_and_a_copied_environment_is_not_watched():
    run = archgym.Search(ENV, "random", budget=8)
    run.run()
    assert run.ledger.listener is None
    copies = []

    class Copying(Recorder):
        def on_step(self, search):
            copies.extend([copy.deepcopy(search.ledger), pickle.loads(pickle.dumps(search.ledger))])

    archgym.search(ENV, "random", budget=8, callbacks=[Copying()])
    assert len(copies) == 4 and all(each.listener is None and each.samples == 8 for each in copies)


def test_what_is_no_callback_is_refused():
    with pytest.raises(ArchGymError, match="expected callbacks as instances"):
        archgym.search(ENV, "random", budget=8, callbacks=[print])
    with pytest.raises(ArchGymError, match="did you mean 'tensorboard'"):
        make_callback("tensorbord=here")
    with pytest.raises(ArchGymError, match="write NAME=VALUE"):
        make_callback("tensorboard")
    with pytest.raises(ArchGymError, match="expected a subclass"):
        make_callback("builtins:dict")
    assert isinstance(make_callback("test_callbacks:Recorder"), Callback)


def events(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_has_every_improvement_at_its_sample_and_the_settings(tmp_path):
    told = TensorBoard(tmp_path / "logs")
    told.every_s = 0.0
    result = archgym.search(ENV, "genetic", budget=80, seed=3, callbacks=[told])
    archgym.search(ENV, "genetic", budget=8, seed=3, callbacks=[TensorBoard(tmp_path / "logs")])
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "Softmax-v0-genetic-3",
        "Softmax-v0-genetic-3-2",
    }
    found = events(tmp_path / "logs" / "Softmax-v0-genetic-3")
    best = {each.step: each.value for each in found.Scalars("reward/best")}
    curve = result.best_so_far
    improved = [i for i in range(80) if curve[i] > (curve[i - 1] if i else -np.inf)]
    assert {i + 1 for i in improved} <= best.keys() and max(best) == 80
    assert all(np.isclose(value, curve[step - 1]) for step, value in best.items())
    last = found.Scalars("metric/time_s")[-1]
    assert np.isclose(last.value, result.best_metrics["time_s"]) and last.step == improved[-1] + 1
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info.hparams
    assert given["agent"].string_value == "genetic" and given["seed"].number_value == 3
    assert (
        given["agent.population"].number_value == 16
        and "_hparams_/session_end_info" in found.summary_metadata
    )


def test_a_folder_that_cannot_be_written_ends_the_search_before_a_sample(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchGymError, match="give another folder"):
        archgym.search(ENV, "random", budget=8, callbacks=[TensorBoard(tmp_path / "file")])


def test_mlflow_has_the_curve_the_settings_and_the_regret(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a new database takes seconds
    uri = (tmp_path / "store").as_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = archgym.search(ENV, "random", budget=30, callbacks=[MLflow("softmax", uri)])
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("softmax").experiment_id])
    assert (
        run.info.status == "FINISHED"
        and run.data.params["agent"] == "random"
        and run.data.params["budget"] == "30"
    )
    assert np.isclose(run.data.metrics["reward/best"], result.best_reward)
    assert np.isclose(run.data.metrics["regret"], result.regret)
    curve = client.get_metric_history(run.info.run_id, "reward/best")
    assert all(np.isclose(each.value, result.best_so_far[each.step - 1]) for each in curve)


def test_wandb_has_the_curve_the_settings_and_the_result(monkeypatch):
    class Run:
        def __init__(self):
            self.logged, self.summary, self.code = [], {}, None

        def log(self, figures, step):
            self.logged.append((step, figures))

        def finish(self, exit_code):
            self.code = exit_code

    made = Run()

    class Module:
        @staticmethod
        def init(**options):
            made.options = options
            return made

    monkeypatch.setitem(sys.modules, "wandb", Module)
    result = archgym.search(ENV, "random", budget=30, callbacks=[WandB("mine", group="a")])
    assert (
        made.options["project"] == "mine"
        and made.options["group"] == "a"
        and made.options["config"]["seed"] == 0
    )
    steps = [step for step, _ in made.logged]
    assert steps == sorted(steps) and steps[-1] == 30
    assert made.logged[-1][1]["reward/best"] == result.best_reward == made.summary["best_reward"]
    assert made.summary["samples"] == 30 and made.code == 0


@pytest.mark.parametrize(("module", "text", "extra"), [("wandb", "wandb=x", "wandb"), ("mlflow", "mlflow=x", "mlflow"), ("tensorboard.compat.proto", "tensorboard={}", "watch")])  # fmt: skip
def test_a_logger_without_its_package_names_the_extra(monkeypatch, tmp_path, module, text, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"archgym\[{extra}\]"):
        archgym.search(ENV, "random", budget=8, callbacks=[make_callback(text.format(tmp_path / "logs"))])


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_every_run_of_a_study_is_logged_and_has_the_same_rows(tmp_path, monkeypatch, executor, rows):
    pytest.importorskip("tensorboard")
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "study"))
    from study_texts import study_text

    from archgym.study.design import Study
    from archgym.study.runner import run_study
    from archgym.study.store import Store

    study = Study(study_text(f'id = "{ENV}"', budget=20, configurations=1, seeds=1))
    log = [f"tensorboard={tmp_path / 'logs'}"]
    run_study(study, Store(tmp_path / "logged"), executor=executor, workers=1, log=log)
    run_study(study, Store(tmp_path / "plain"), executor="inline")
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "Softmax-v0-random-0",
        "Softmax-v0-genetic-0",
    }
    assert events(tmp_path / "logs" / "Softmax-v0-genetic-0").Scalars("reward/best")[-1].step == 20
    logged, alone = rows(tmp_path / "logged"), rows(tmp_path / "plain")
    assert logged.keys() == alone.keys() and all(logged[id_].equals(alone[id_]) for id_ in alone)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchGymError, match="TensorBoard cannot start: cannot write"):
        run_study(
            study,
            Store(tmp_path / "none"),
            executor=executor,
            workers=1,
            log=[f"tensorboard={tmp_path / 'file'}"],
        )
    assert not Store(tmp_path / "none").read()


def test_search_logs_by_name(tmp_path):
    pytest.importorskip("tensorboard")
    command = [
        "search",
        ENV,
        "random",
        "genetic",
        "--budget",
        "20",
        "--log",
        f"tensorboard={tmp_path / 'logs'}",
    ]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "Softmax-v0-random-0",
        "Softmax-v0-genetic-0",
    }
    assert CliRunner().invoke(app, ["search", ENV, "random", "--log", "wandbb=x"]).exit_code == 2
