"""`archgym plan`: the best plan, the front, relaxations, and what is printed."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from archgym.cli.plan import plan as command
from archgym.errors import ArchGymError
from archgym.simulators.parallelism.clusters import load_cluster
from archgym.simulators.parallelism.language_models import load_model
from archgym.simulators.parallelism.model import simulate
from archgym.simulators.parallelism.planning import plan
from archgym.simulators.parallelism.plans import enumerate_plans

MODEL = {"hidden": 2048, "feedforward": 8192, "sequence": 1024, "heads": 16, "head_size": 128, "blocks": 12}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "small.json"
    path.write_text(json.dumps({"format": "archgym-language-model/1", **MODEL}))
    return path


@pytest.fixture(scope="module")
def found(model):
    return plan(model, 8, "a100", 16)


def every_plan(model, gpus: int):
    """Step time and memory of all plans that divide and fit, by the enumeration that `plan` does not use."""
    cluster = load_cluster("a100")
    plans = enumerate_plans(load_model(model), cluster, gpus, 16)
    # Calculon's model frees memory for inputs that are gathered again where nothing is gathered
    real = ~((plans["tensor"] == 1) & plans["gather_again"])
    columns = simulate(load_model(model), cluster, {name: column[real] for name, column in plans.items()})
    fits = columns["memory_bytes"] <= cluster.hbm_bytes
    return columns["step_time_s"][fits], columns["memory_bytes"][fits]


def invoke(*arguments: object):
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(each) for each in arguments])


def test_the_best_plan_is_the_fastest_of_all(model, found):
    step, _ = every_plan(model, 8)
    assert found.best.metrics["step_time_s"] == pytest.approx(step.min(), rel=1e-12)
    design = found.best.design
    assert design["tensor"] * design["pipeline"] * design["data"] == 8


def test_no_plan_beats_the_front_and_each_beats_the_others_somewhere(model, found):
    front = np.array([each.point() for each in found.front])
    assert {1, 2, 4, 8} == set(front[:, 2])
    for gpus in (1, 2, 4, 8):
        step, memory = every_plan(model, gpus)
        points = np.stack([step, memory, np.full(len(step), float(gpus))], axis=1)
        covered = (front[None] <= points[:, None] * (1 + 1e-12)).all(axis=2).any(axis=1)
        assert covered.all()
    for place, point in enumerate(front):
        others = np.delete(front, place, axis=0)
        assert not (others <= point).all(axis=1).any()


def test_more_of_the_hardware_never_makes_the_best_plan_slower(found):
    gains = {each.what: each.gain for each in found.relaxations}
    for what in ("compute of a GPU", "memory of a GPU", "bandwidth of its memory", "bandwidth of NVLink"):
        assert gains[what] >= 1
    assert gains["compute of a GPU"] > 1.2
    assert list(gains.values()) == sorted(gains.values(), reverse=True)


def test_a_relaxed_cluster_is_answered_by_its_own_best_plan(model, found):
    other = plan(model, 16, "a100", 16)
    (doubled,) = (each for each in found.relaxations if each.what == "GPUs")
    assert doubled.best == other.best
    assert doubled.gain == other.best.metrics["tokens_s"] / found.best.metrics["tokens_s"]


def test_where_nothing_fits_the_error_says_how_many_gpus_would_do():
    with pytest.raises(ArchGymError, match=r"no plan fits 8 GPUs of 80 GiB.*; 256 GPUs would do"):
        plan("1T", 8)
    with pytest.raises(ArchGymError, match="no plan fits 128 GPUs"):
        plan("1T", 128)
    assert plan("1T", 256).best.gpus == 256


def test_json_csv_and_the_printed_table_have_the_same_best_plan(model, found, tmp_path):
    table = tmp_path / "front.csv"
    arguments = (model, "--gpus", 8, "--batch", 16)
    printed = json.loads(invoke(*arguments, "--json", "--csv", table).stdout)
    assert printed["best"]["step_time_s"] == found.best.metrics["step_time_s"]
    assert printed["plans"] == found.plans >= printed["fitting"] >= printed["within_1_percent"] >= 1
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["memory_bytes"]) for row in rows] == [e["memory_bytes"] for e in printed["front"]]
    text = invoke(*arguments).stdout
    assert "small on 8 a100" in text
    assert f"{found.plans:,} divide" in text


def test_a_chart_is_written(model, tmp_path):
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    chart = tmp_path / "front.svg"
    assert invoke(model, "--gpus", 2, "--batch", 16, "--chart", chart).exit_code == 0
    assert "memory per GPU" in chart.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("23B", "--gpus", 8), "did you mean '22B'"),
        (("22B", "--gpus", 8, "--system", "b100"), "did you mean"),
        (("22B", "--gpus", 61, "--batch", 7), "no plan divides 61 GPUs"),
        (("absent.json", "--gpus", 8), "no file at absent.json"),
    ],
)
def test_wrong_input_is_one_clear_line(arguments, message):
    result = invoke(*arguments)
    assert isinstance(result.exception, ArchGymError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
