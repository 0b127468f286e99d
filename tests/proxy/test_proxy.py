"""Proxies from a data set to a search: no leakage, the same model twice, errors on unseen designs, clear
refusals.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from conftest import Bowl
from typer.testing import CliRunner

import archgym
from archgym import (
    ArchGymError,
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Minimize,
    Objective,
    Simulator,
    Tabulated,
    register_env,
)
from archgym.cli import app
from archgym.dataset import build, load_dataset, sample, save_dataset
from archgym.files.archive import load_archive, save_archive
from archgym.proxy import (
    ProxySearch,
    ProxySimulator,
    evaluate,
    fitting,
    load_trained,
    proxy_env,
    save_trained,
    train,
)
from archgym.proxy.evaluate import LEVELS
from archgym.proxy.features import Encoding
from archgym.proxy.search import ranked
from archgym.proxy.speed import measure
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.testing import check_env, check_simulator

pytest.importorskip("sklearn", reason="training needs scikit-learn")

KINDS = ("random_forest", "hist_gradient_boosting", "gaussian_process", "linear")


class Hills(Simulator):
    """4,096 designs: a smooth cost over two decades, a gain, and a corner of infeasible designs."""

    space = DesignSpace([Integer(name, 0, 7) for name in "abcd"])
    metrics = (Metric("cost_s", "s", "lower"), Metric("gain", "1", "higher"))
    default_objective = Objective(Minimize("cost_s"), reference={"cost_s": 1e-5})

    def evaluate_indices(self, indices, rng=None):
        a, b, c, d = indices.T
        cost = 1e-6 * np.exp(0.5 * np.abs(a - 5) + 0.3 * np.abs(b - 2) + 0.1 * c * (d > 3))
        return {"cost_s": cost, "gain": 1.0 + a + b * c, "feasible": a + d < 13}


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr(fitting, "N_ITERATIONS", 100)
    monkeypatch.setattr(fitting, "N_TREES", 20)
    monkeypatch.setattr(fitting, "GP_TUNING_DESIGNS", 100)
    register_env("test/Hills-v0", simulator=Hills)
    register_env("test/Bowl-v0", simulator=Bowl)


@pytest.fixture(scope="module")
def hills():
    register_env("test/Hills-v0", simulator=Hills)
    return sample("test/Hills-v0", 400)


@pytest.fixture(scope="module")
def trained(hills):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "N_ITERATIONS", 100)
        return train(hills, folds=3)


@pytest.fixture
def folder(trained, tmp_path):
    return save_trained(trained, tmp_path / "model")


def program(*arguments: object):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(a) for a in arguments])


# --- errors are honest ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_errors_told_are_those_on_designs_that_the_saved_model_has_not_seen(kind, hills, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "archgym.proxy.training.fit",
        lambda model, x, z, seed: seen.append(x) or fitting.fit(model, x, z, seed),
    )
    found = train(hills, ["cost_s"], kind, folds=3)
    (x,) = seen
    assert not {row.tobytes() for row in x} & {row.tobytes() for row in Encoding(hills.space)(found.indices)}
    true = Hills().evaluate_indices(found.indices)["cost_s"]
    predicted = found.simulator.evaluate_indices(found.indices)["cost_s"]
    assert np.array_equal(found.true[:, 0], true) and found.predicted[:, 0] == pytest.approx(
        predicted, rel=1e-9
    )
    error, told = predicted - true, found.report["test"]["cost_s"]
    span = np.ptp(hills.column("cost_s")[hills.feasible])
    assert told["rmse_percent_of_range"] == pytest.approx(100 * np.sqrt((error**2).mean()) / span)
    assert told["r2"] == pytest.approx(1 - (error**2).mean() / true.var())
    assert told["mape_percent"] == pytest.approx(100 * np.abs(error / true).mean())
    assert told["worst_percent_of_range"] == pytest.approx(100 * np.abs(error).max() / span)
    assert told["rmse_percent_of_range"] < told["mean_predictor_rmse_percent_of_range"] / 2


def test_designs_that_occur_twice_do_not_lie_on_both_sides_of_the_split(hills):
    rng = np.random.default_rng(0)
    noise = replace(hills, values=rng.random(hills.values.shape), feasible=np.ones(len(hills), bool))
    rows = np.tile(np.arange(len(hills)), 5)
    planted = replace(noise.rows(rows), agent=np.repeat(["a", "b", "c", "d", "e"], len(hills)))
    found = train(planted, ["gain"], "random_forest", folds=3)
    assert found.report["designs"]["train"] + found.report["designs"]["test"] == len(hills)
    for part in ("test", "cross_validated"):
        assert found.report[part]["gain"]["r2"] < 0.1, "noise that a model predicts was shown to it"
    assert found.report["agents"]["errors"]["a"]["all"] > 20


def test_the_same_data_give_the_same_model_and_another_seed_another(hills):
    a, b, c = (train(hills, ["cost_s"], "random_forest", folds=2, seed=seed) for seed in (0, 0, 1))
    assert a.simulator.specification == b.simulator.specification != c.simulator.specification
    assert json.dumps(a.report) == json.dumps(b.report)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_truth_as_often_as_they_say(kind, monkeypatch):
    monkeypatch.setattr(fitting, "GP_TUNING_DESIGNS", 250)
    register_env("test/Hills-v0", simulator=Hills)
    found = train(sample("test/Hills-v0", 500), ["cost_s"], kind, folds=5)
    space = Hills.space
    everything = np.concatenate(list(space.enumerate()))
    answers = Hills().evaluate_indices(everything)
    true = answers["cost_s"][answers["feasible"]]
    for level in LEVELS:
        low, high = found.simulator.interval(everything[answers["feasible"]], level)["cost_s"]
        covered = ((low <= true) & (true <= high)).mean()
        assert level - 0.08 < covered < level + 0.2, (
            "the folds' models have seen less than the one that is kept"
        )
        assert set(found.report["coverage"]["cost_s"]) == {str(level) for level in LEVELS}
    with pytest.raises(ArchGymError, match="expected a calibrated level, one of"):
        found.simulator.interval(everything, 0.42)


def test_agents_that_look_everywhere_leave_better_data_than_one_that_does_not(hills):
    corner = hills.rows(hills.indices[:, 0] < 2)
    both = replace(
        hills.rows(np.concatenate([np.arange(len(hills)), np.flatnonzero(hills.indices[:, 0] < 2)])),
        agent=np.array(["wide"] * len(hills) + ["narrow"] * len(corner)),
    )
    errors = train(both, ["cost_s"], "random_forest", folds=2).report["agents"]["errors"]
    assert (
        errors["wide"]["all"] < errors["narrow"]["all"]
        and errors["narrow"]["narrow"] < errors["narrow"]["wide"]
    )


def test_learning_curves_fall_and_end_at_the_model_itself(trained):
    curve = trained.report["learning_curve"]
    assert [point["designs"] for point in curve] == sorted(point["designs"] for point in curve)
    assert curve[-1]["errors"] == trained.report["test"]
    assert (
        curve[-1]["errors"]["gain"]["rmse_percent_of_range"]
        < curve[0]["errors"]["gain"]["rmse_percent_of_range"]
    )


def test_feasibility_is_learnt_where_some_designs_are_not(trained, hills):
    assert trained.report["feasibility"]["accuracy"] > 0.95
    everything = np.concatenate(list(Hills.space.enumerate()))
    expected = Hills().evaluate_indices(everything)["feasible"]
    assert (trained.simulator.evaluate_indices(everything)["feasible"] == expected).mean() > 0.97
    assert train(hills.rows(hills.feasible), ["gain"], "linear", folds=2).report["feasibility"] is None


# --- what cannot be trained is refused ---


@pytest.mark.parametrize(
    ("change", "targets", "options", "message"),
    [
        ({}, ["cost"], {}, "unknown metric of the data set 'cost'; did you mean 'cost_s'"),
        ({}, ["gain", "gain"], {}, "expected distinct targets, got 'gain' twice"),
        ({}, ["gain"], {"model": "forest"}, "unknown model 'forest'"),
        ({}, ["gain"], {"folds": 1}, "expected at least 2 folds .*, got 1 and"),
        ({}, ["gain"], {"test_size": 1.0}, "a test_size between 0 and 1, got 5 and 1.0"),
        ({}, ["gain"], {"train_size": 19}, "at least 20 feasible designs for training and 2 for the test"),
        ({"values": np.ones((400, 2))}, ["gain"], {}, "gain is 1 for all"),
        (
            {"feasible": np.zeros(400, bool)},
            ["gain"],
            {},
            "expected feasible designs, got 400 infeasible ones",
        ),
    ],
)
def test_what_cannot_be_learnt_is_told(hills, change, targets, options, message):
    with pytest.raises(ArchGymError, match=message):
        train(replace(hills, **change), targets, **options)


# --- a proxy is a simulator ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_comes_back_from_disk_digit_for_digit_and_is_a_simulator(kind, hills, tmp_path):
    found = train(hills, None, kind, folds=2)
    again = ProxySimulator.load(save_trained(found, tmp_path / "model"))
    indices = hills.space.sample(200, np.random.default_rng(1))
    for name, column in found.simulator.evaluate_indices(indices).items():
        assert np.array_equal(column, again.evaluate_indices(indices)[name])
    assert again.specification == found.simulator.specification
    check_simulator(again)
    loaded = load_trained(tmp_path / "model")
    assert loaded.report == found.report and np.array_equal(loaded.predicted, found.predicted)


def test_a_proxy_becomes_an_environment_with_the_objective_it_was_made_for(folder, trained):
    env = proxy_env(folder)
    assert archgym.proxy_env is proxy_env
    check_env("archgym.proxy.env:archgym/Proxy-v0", model=str(folder))
    env.reset(seed=0)
    action = env.action_space.sample()
    _, reward, terminated, _, info = env.step(action)
    expected = -np.log(trained.simulator.evaluate_indices(action[None])["cost_s"][0] / 1e-5)
    assert terminated and (reward == pytest.approx(expected) or not info["feasible"])
    other = proxy_env(folder, objective=Objective(Maximize("gain")), horizon=3)
    other.reset(seed=0)
    assert not other.step(action)[2]


def test_a_proxy_that_lacks_a_metric_of_the_objective_says_which(hills, tmp_path):
    path = save_trained(train(hills, ["gain"], "linear", folds=2), tmp_path / "model")
    with pytest.raises(ArchGymError, match="metrics that this proxy has not learnt"):
        proxy_env(path)
    assert proxy_env(path, objective={"maximize": ["gain"]}).reset(seed=0)
    with pytest.raises(ArchGymError, match="the objective needs cost_s"):
        archgym.search("test/Hills-v0", ProxySearch(path, "random", 100), budget=5)


def test_a_proxy_can_be_tabulated_searched_and_studied(folder, tmp_path):
    table = Tabulated(ProxySimulator.load(folder))
    assert table.optimum(table.default_objective) is not None
    result = archgym.search(
        "archgym.proxy.env:archgym/Proxy-v0", "genetic", budget=300, env_kwargs={"model": str(folder)}
    )
    assert result.best_metrics["cost_s"] < 3e-6
    text = f"""
[study]
name = "on a proxy"
budget = 30
seeds = 1
[[env]]
id = "archgym.proxy.env:archgym/Proxy-v0"
kwargs = {{ model = "{folder}" }}
[[agent]]
name = "random"
"""
    assert run_study(Study(text), Store(tmp_path / "out"), workers=1).failed == 0


@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "foreign", "pickle", "format", "features", "kind", "space"]
)
def test_foreign_and_damaged_files_are_refused_without_running_anything(folder, damage):
    path = folder / "model.npz"
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:-100])
        case "foreign":
            path.write_bytes(b"PK\x03\x04 nothing of the kind")
        case "pickle":

            class Evil:
                def __reduce__(self):
                    return (shutil.rmtree, (str(folder),))

            np.savez(path, about=np.array([Evil()], dtype=object))
        case _:
            about, arrays = load_archive(path, 1)
            about |= {
                "format": {"format": 99},
                "features": {},
                "kind": {"model": "neural_network"},
                "space": {"space": about["space"][:2]},
            }[damage]
            if damage == "features":
                arrays["model.0.feature"] = arrays["model.0.feature"] + 50
            save_archive(path, about, arrays)
    with pytest.raises(ArchGymError, match=r"is not a proxy of archgym|holds no proxy"):
        ProxySimulator.load(folder)
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 1e308),
        ("scale", 0.0),
        ("scale", -1.0),
        ("scale", 5e306),
        ("mean", 1.7e308),
        ("mean", -np.inf),
        ("widths", np.nan),
    ],
)
def test_a_proxy_whose_predictions_would_not_be_finite_is_refused(folder, name, value):
    about, arrays = load_archive(folder / "model.npz", 1)
    save_archive(folder / "model.npz", about, arrays | {name: np.full_like(arrays[name], value)})
    with pytest.raises(ArchGymError, match=r"is not a proxy of archgym: .*finite"):
        ProxySimulator.load(folder)


def test_an_array_that_nobody_asks_for_is_not_unpacked(folder):
    with (
        zipfile.ZipFile(folder / "model.npz", "a", zipfile.ZIP_DEFLATED) as file,
        file.open("more.npy", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(2**20))
    with pytest.raises(
        ArchGymError, match=r"is not a proxy of archgym: it would unpack to 20\d MiB, far more than its kind"
    ):
        ProxySimulator.load(folder)


# --- search the proxy, simulate the best ---


def test_only_the_designs_that_are_verified_are_simulated_and_they_are_good(folder):
    agent = ProxySearch(folder, "genetic", 1000)
    result = archgym.search("test/Hills-v0", agent, budget=10, seed=2)
    assert result.samples == result.unique == 10 and agent.training == 400
    optimum = min(Hills().evaluate_indices(np.concatenate(list(Hills.space.enumerate())))["cost_s"])
    assert result.best_metrics["cost_s"] == pytest.approx(optimum)
    again = archgym.search("test/Hills-v0", ProxySearch(folder, "genetic", 1000), budget=10, seed=2)
    assert np.array_equal(result.history["reward"], again.history["reward"])
    assert (
        result.specification["agent"]["hyperparameters"]["model"]["model"]
        == agent.trained.simulator.specification["model"]
    )


def test_designs_that_the_simulator_calls_the_same_are_verified_once():
    indices = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [2, 0, 0, 0]])
    rewards, valid = np.array([1.0, 2.0, 3.0, 9.0]), np.array([True, True, True, False])
    assert ranked(indices, rewards, valid, Bowl(), 3).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [2, 0, 0, 0]]


def test_a_proxy_of_another_space_is_refused(folder):
    with pytest.raises(ArchGymError, match="was trained on test/Hills-v0, which has different parameters"):
        archgym.search("test/Bowl-v0", ProxySearch(folder, "random", 50), budget=5)


def test_speeds_are_measured_side_by_side(trained):
    found = measure(trained.simulator, Hills(), batches=(1, 100))
    assert [each.batch for each in found] == [1, 100]
    assert all(each.ratio == each.simulator_s / each.proxy_s > 0 for each in found)


# --- the commands ---


def test_the_commands_train_show_report_and_search(tmp_path):
    assert (
        program(
            "dataset",
            "sample",
            "archgym/NKLandscape-v0",
            "--set",
            "n=6",
            "--set",
            "k=1",
            "--budget",
            800,
            "--out",
            tmp_path / "data",
        ).exit_code
        == 0
    )
    options = ("--target", "fitness", "--model", "random_forest", "--folds", 2, "--out", tmp_path / "model")
    made = program("proxy", "train", tmp_path / "data", *options)
    assert made.exit_code == 0, made.output
    assert "640 designs of 4,096" in made.output and "160 designs that it has not seen" in made.output
    again = program("proxy", "train", tmp_path / "data", *options)
    assert again.exit_code == 2 and "--overwrite" in again.output
    assert program("proxy", "train", tmp_path / "data", *options, "--overwrite").exit_code == 0
    text = (tmp_path / "model" / "README.md").read_text()
    shown = program("proxy", "show", tmp_path / "model").output
    assert "fitness" in shown and "Spearman" in shown and "| `fitness` |" in text and "Learning curve" in text
    pytest.importorskip("vl_convert")
    drawn = program("proxy", "report", tmp_path / "model", "--out", tmp_path / "r.svg")
    assert drawn.exit_code == 0, drawn.output
    svg = (tmp_path / "r.svg").read_text()
    assert "Learning curve" in svg and "Intervals" in svg and "designs/s" in drawn.output
    search = (
        "search",
        "archgym/NKLandscape-v0",
        "genetic",
        "--budget",
        500,
        "--proxy",
        tmp_path / "model",
        "--verify-top",
        7,
    )
    found = program(*search, "--set", "n=6", "--set", "k=1")
    assert (
        found.exit_code == 0
        and "7 (7 distinct)" in found.output
        and "807 designs simulated in all" in found.output
    ), found.output
    assert (
        program(
            "search", "archgym/NKLandscape-v0", "random", "genetic", "--proxy", tmp_path / "model"
        ).exit_code
        == 2
    )


def test_every_studys_data_train_a_proxy_and_compare_its_agents(tmp_path):
    text = """
[study]
name = "two"
budget = 150
seeds = 2
history = "full"
[[env]]
id = "test/Hills-v0"
[[agent]]
name = "random"
[[agent]]
name = "genetic"
"""
    run_study(Study(text), Store(tmp_path / "study"), executor="inline")
    path = save_dataset(build([tmp_path / "study"]), tmp_path / "data")
    found = train(load_dataset(path), ["cost_s"], "random_forest", folds=2)
    assert set(found.report["agents"]["errors"]) == {"random", "genetic", "all agents"}
    assert set(found.report["agents"]["errors"]["random"]) == {"all", "random", "genetic"}
    pytest.importorskip("vl_convert")
    from archgym.files.charts import svg
    from archgym.proxy.charts import draw

    assert "Generalisation between agents" in svg(draw(found))


def test_scores_of_perfect_and_of_constant_predictions():
    true = np.array([1.0, 2.0, 3.0])
    perfect, constant = (evaluate.scores(true, p, 2.0, 2.0) for p in (true, np.full(3, 2.0)))
    assert perfect["rmse_percent_of_range"] == 0 and perfect["r2"] == perfect["spearman"] == 1
    assert (
        constant["rmse_percent_of_range"] == constant["mean_predictor_rmse_percent_of_range"]
        and constant["r2"] == 0
    )
    assert np.isnan(constant["spearman"]) and np.isnan(
        evaluate.scores(true - 1, true, 2.0, 1.0)["mape_percent"]
    )


def test_progress_rises_to_the_end_and_old_names_of_arguments_work(hills, folder):
    seen = []
    with pytest.warns(DeprecationWarning, match=r"train\(designs=\.\.\.\) is deprecated: write train_size"):
        found = train(
            hills,
            ["gain"],
            "linear",
            designs=100,
            folds=2,
            progress=lambda what, share: seen.append((what, share)),
        )
    assert found.report["designs"]["train"] == 100
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1
    assert list(dict.fromkeys(what for what, _ in seen)) == [
        "the model",
        "cross-validation",
        "learning curve",
    ]
    with pytest.warns(DeprecationWarning, match=r"ProxySearch\(samples=\.\.\.\) is deprecated: write budget"):
        assert ProxySearch(folder, samples=7).configuration["samples"] == 7
