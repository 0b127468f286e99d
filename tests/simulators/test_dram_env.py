"""Memory controllers on any trace: the environment with the model, tables that it makes, contexts, and
`archgym fidelity dram`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import archgym
from archgym.cli import fidelity_dram
from archgym.cli.trace import trace as trace_command
from archgym.env import Evaluator
from archgym.envs.contexts import dram_controller as contexts
from archgym.errors import ArchGymError
from archgym.optimum import find_optimum, known_optimum
from archgym.registry import get_task
from archgym.simulator_wrappers import Parallel
from archgym.simulators.dram import ControllerModel, DramController
from archgym.simulators.dram.space import SPACE, canonical
from archgym.simulators.dram.statistics import features
from archgym.simulators.dram.table import COLUMNS
from archgym.simulators.dram.traces import load_trace, write_trace
from archgym.testing import check_env

ENV = "archgym/DramController-v0"
DATA = Path(__file__).parents[3] / "shared" / "data" / "dram"
NAME = "random:requests=60"


def evaluator(**kwargs):
    return Evaluator(get_task(ENV), None, 1, kwargs)


def sample(count, seed=0):
    return canonical(SPACE.sample(count, np.random.default_rng(seed)))


# --- the environment ---


def test_a_trace_by_name_or_path_is_simulated(tmp_path):
    path = write_trace(load_trace(NAME), tmp_path / "mine.stl")
    by_name, by_path = (evaluator(backend="model", trace=trace).simulator for trace in (NAME, path))
    designs = sample(50)
    for metric in by_name.metrics:
        columns = [each.evaluate_indices(designs)[metric.name] for each in (by_name, by_path)]
        assert (columns[0] == columns[1]).all() and (columns[0] > 0).all()
    check_env(ENV, backend="model", trace=NAME)
    assert gymnasium.make(ENV, preset="copy").unwrapped.simulator.unwrapped.trace.name == "copy"


def test_workers_share_the_designs():
    with_workers = evaluator(backend="model", trace=NAME, workers=2).simulator
    assert isinstance(with_workers, Parallel)
    designs = sample(20)
    found = with_workers.evaluate_indices(designs)["latency_s"]
    with_workers.close()
    assert (found == ControllerModel(NAME).evaluate_indices(designs)["latency_s"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trace": "random"}, "'random' has no table .*cloud-1.*; use backend='model', or .*random --table"),
        ({"trace": "mine.stl"}, "'mine.stl' has no table .*backend='model'"),
        ({"trace": "randmo"}, "unknown trace 'randmo'; did you mean 'random'"),
        ({"backend": "model"}, "the table of cloud-1 is here, but not its requests: give trace="),
        ({"backend": "model", "trace": NAME, "memory": "/dev/zero"}, "it is a device, not a file"),
        ({"backend": "model", "trace": "none.stl"}, "no trace at .*none.stl"),
        ({"backend": "model", "trace": NAME, "time_unit": "dropped"}, "goes with backend='table'"),
        ({"backend": "model", "trace": NAME, "resources": "r"}, "go with backend='dramsys'"),
        ({"memory": "ddr3-1600"}, "memory and engine go with backend='model'"),
        ({"engine": "c"}, "memory and engine go with backend='model'"),
        ({"backend": "modle"}, "did you mean 'model'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        evaluator(**arguments)


def test_searches_have_exact_optima_after_an_enumeration(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    made = evaluator(backend="model", trace="random:requests=20")
    found = find_optimum(made.simulator, made.objective)
    every = made.simulator.evaluate_indices(SPACE.from_ordinal(np.arange(SPACE.size)))["latency_s"]
    assert found.best_metrics["latency_s"] == every.min() and found.valid == found.designs


# --- tables of other traces ---


def invoke(command, *arguments: object):
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(each) for each in arguments])


def test_a_table_makes_a_trace_as_good_as_cloud_1(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    path = write_trace(load_trace("row_hits:requests=30,writes=0.3"), tmp_path / "mine.stl")
    result = invoke(trace_command, path, "--table")
    assert result.exit_code == 0 and "442,368, " in result.output and "mine.npz" in result.output
    table, model, designs = DramController("mine"), ControllerModel(path), sample(300)
    looked_up, simulated = table.evaluate_indices(designs), model.evaluate_indices(designs)
    np.testing.assert_allclose(looked_up["latency_s"], simulated["latency_s"], rtol=1e-12)
    np.testing.assert_allclose(looked_up["energy_j"], simulated["energy_j"], rtol=1e-6)
    np.testing.assert_allclose(looked_up["power_w"], simulated["power_w"], atol=5.1e-6)
    assert archgym.search(ENV, "random", budget=50, env_kwargs={"trace": "mine"}).regret >= 0
    assert known_optimum(table, evaluator(trace="mine").objective) is not None
    for wrong in (("--table",), (write_trace(load_trace(NAME), tmp_path / "cloud-1.stl"), "--table")):
        assert isinstance(invoke(trace_command, *wrong).exception, ArchGymError)


# --- contexts ---


def test_the_optima_of_contexts_are_those_of_their_traces():
    known, task = contexts.read_optima(), get_task(ENV)
    assert set(known) == {arguments["trace"] for arguments in contexts.traces().arguments}
    for name, found in known.items():
        assert load_trace(name).digest == found["digest"], "make the optima again: the generator has changed"
        simulator, objective = task.build(backend="model", trace=name)
        judged = Evaluator(task, None, 1, {"backend": "model", "trace": name})
        reward = judged.score(SPACE.encode({k: np.array([v]) for k, v in found["design"].items()}))["reward"]
        assert reward[0] == pytest.approx(found["reward"], rel=1e-9), (name, simulator, objective)


def test_features_of_a_context_are_statistics_of_its_trace():
    assert ControllerModel(NAME).context_features() == features(load_trace(NAME))
    groups = {group for groups in contexts.traces().groups for group in groups}
    assert groups == set(contexts.KINDS)


# --- fidelity ---


def write_runs(path, model, designs):
    """What the model gives for designs, as a CSV file of runs."""
    columns = model.evaluate_indices(designs)
    scales = {"time_ps": ("latency_s", 1e12), "energy_pj": ("energy_j", 1e12), "power_mw": ("power_w", 1e3)}
    scales["bandwidth_gbit_s"] = ("bandwidth_bytes_s", 8e-9)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*SPACE.names, *scales])
        for row, design in enumerate(designs):
            figures = (f"{columns[n][row] * s:.{COLUMNS[c]}f}" for c, (n, s) in scales.items())
            writer.writerow([*SPACE.design(design).values(), *figures])
    return path


def test_differences_from_runs_are_printed(tmp_path):
    designs = np.unique(sample(80), axis=0)
    data = write_runs(tmp_path / "runs.csv", ControllerModel(NAME), designs)
    result = invoke(fidelity_dram.dram, "--data", data, "--trace", NAME, "--json")
    found = json.loads(result.output)
    assert found["rows"] == len(designs) and found["equal_times"] == 1
    assert found["largest_relative_difference"]["latency_s"] <= 1e-12
    assert found["largest_relative_difference"]["power_w"] <= 1e-4 and found["worst"] == []
    assert sum(each["rows"] for each in found["groups"].values()) == len(designs)
    other = invoke(fidelity_dram.dram, "--data", data, "--trace", "stream:requests=60")
    assert other.exit_code == 0 and "Largest differences of time" in other.output
    text = data.read_text().splitlines()
    for wrong in ("", "\n".join(text[:1]), "\n".join([*text[:3], text[1]]), text[0].replace("arbiter", "x")):
        data.write_text(wrong)
        failed = invoke(fidelity_dram.dram, "--data", data, "--trace", NAME)
        assert isinstance(failed.exception, ArchGymError) and "\n" not in str(failed.exception)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give --trace FILE.stl"),
        (("--trace", "random"), "the shipped table is of cloud-1, and random is another trace: .*--data"),
        (("--trace", "none.stl"), "no trace at"),
        (("--trace", "random", "--data", "none.csv"), "cannot read"),
    ],
)
def test_without_the_trace_or_runs_one_line_says_so(arguments, reason):
    result = invoke(fidelity_dram.dram, *arguments)
    assert isinstance(result.exception, ArchGymError)
    with pytest.raises(ArchGymError, match=reason):
        raise result.exception


def test_the_model_equals_dramsys_on_cloud_1():
    trace = DATA / "traces" / "cloud-1.stl"
    if not trace.is_file():
        pytest.skip(f"DRAMSys' trace is not at {trace}")
    if ControllerModel(NAME).engine != "c":
        pytest.skip("no C compiler works here, and the model in Python is slow")
    result = invoke(fidelity_dram.dram, "--trace", trace, "--sample", 200, "--json")
    found = json.loads(result.output)
    assert found["rows"] == 13_824 + 200
    still, refreshing = found["groups"]["no_refresh"], found["groups"]["refresh"]
    assert still["equal_times"] == 1
    assert still["largest_relative_difference"]["energy_j"] <= 2e-4
    assert refreshing["equal_times"] >= 0.99
    assert refreshing["largest_relative_difference"]["latency_s"] <= 1e-3
