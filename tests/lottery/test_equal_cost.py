"""Studies of effort "cost": budgets, scores and controls in reference samples, by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "study"))
pytest.importorskip("polars")
pytest.importorskip("altair")

from typer.testing import CliRunner

from archgym import ArchGymError
from archgym._search import Search
from archgym.cli import app
from archgym.evaluator import Evaluator
from archgym.lottery.analysis import analyse
from archgym.lottery.controls import find_controls
from archgym.lottery.data import AgentRuns, Control, TaskRuns, Trace
from archgym.lottery.load import load_tasks
from archgym.lottery.report import write_report
from archgym.lottery.scores import scored
from archgym.optimum import find_optimum
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.task import EnvSpecification

ENV = 'id = "priced:test/Priced-v0"'
TEXT = f"""
[study]
name = "cost"
effort = "cost"
budget = 12
seeds = 2
history = "full"

[[env]]
{ENV}

[[agent]]
name = "random"
configurations = 2

[[agent]]
name = "priced:Trainer"
label = "trainer"
budget = 8
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    study, store = Study(TEXT), Store(tmp_path_factory.mktemp("cost"))
    progress = run_study(study, store, executor="inline")
    assert (progress.done, progress.failed, dict(progress.early)) == (6, 0, {})
    return study, store


@pytest.fixture(scope="module")
def task(ran):
    return load_tasks(*ran)[0]


def evaluator():
    return Evaluator.from_specification(EnvSpecification.from_dict(next(iter(Study(TEXT).tasks.values()))))


def test_a_budget_of_reference_samples_is_a_cost_budget():
    study = Study(TEXT)
    runs = list(study.runs())
    assert list(study.reference_costs.values()) == [35.0]  # the median of 10, 20, ..., 60
    assert [(r.specification["budget"], r.specification["cost_budget"]) for r in runs] == [
        *[(None, 12 * 35.0)] * 4,
        *[(None, 8 * 35.0)] * 2,
    ]
    assert [r.id for r in runs] == [r.id for r in Study(TEXT).runs()]
    of_samples = list(Study(TEXT.replace('"cost"\nbudget', '"samples"\nbudget')).runs())
    plain = list(Study(TEXT.replace('effort = "cost"\n', "")).runs())
    assert [r.id for r in of_samples] == [r.id for r in plain]
    assert not {r.id for r in plain} & {r.id for r in runs}
    assert "cost_budget" not in plain[0].specification


def test_a_list_of_the_runs_has_their_reference_samples(tmp_path):
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    found = CliRunner().invoke(app, ["study", "expand", str(tmp_path / "study.toml")])
    assert found.exit_code == 0 and "Reference" in found.output  # narrow terminals break the heading
    trainers = [line.split() for line in found.output.splitlines() if " trainer " in line]
    assert len(trainers) == 2 and all("8" in line for line in trainers)


def test_fractions_of_a_unit_do_not_change_the_number_of_reference_samples():
    allowed = np.nextafter(3 * 35.0, np.inf)
    assert allowed / 35.0 > 3
    search = Search("priced:test/Priced-v0", "random", cost_budget=float(allowed))
    search.env.close()
    assert search.budget == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('effort = "cost"', 'effort = "time"', "effort: expected 'samples' or 'cost'"),
        ("budget = 12", "budget = 1.5", "budget: expected a number of samples"),
        (ENV, 'id = "priced:test/Named-v0"', "called cost"),
    ],
)
def test_files_that_have_no_equal_cost_are_refused(old, new, message):
    with pytest.raises(ArchGymError, match=message):
        Study(TEXT.replace(old, new))


def test_runs_spend_their_cost_budget_and_store_what_they_spent_it_on(ran):
    study, store = ran
    stored = store.read()
    found = {run.id: table.to_pydict() for run, table in store.table(stored.values())}
    for run in study.runs():
        rows, result = found[run.id], stored[run.id].result
        allowed = run.specification["cost_budget"]
        assert allowed - 60 < result["cost"] <= allowed
        assert (result["cost_unit"], result["reference_cost"]) == ("joules", 35.0)
        before = {"training": 100.0} if run.agent == "trainer" else {}
        assert result["charges"] == before
        paid = np.cumsum([10.0 * (x + 1) for x in rows["x"]]) + before.get("training", 0.0)
        assert rows["cost"] == paid.tolist() and result["cost"] == paid[-1]


def test_a_study_of_equal_cost_is_resumed(ran, tmp_path):
    study, store = ran
    again = Store(tmp_path)
    first = next(study.runs())
    again.write(first, store.read()[first.id].path.read_bytes())
    progress = run_study(study, again, executor="inline")
    assert (progress.stored, progress.done, progress.failed) == (1, 5, 0)
    before, after = store.read(), again.read()
    assert {i: r.result["cost"] for i, r in before.items()} == {i: r.result["cost"] for i, r in after.items()}


def test_a_study_of_samples_keeps_its_columns_unless_the_simulator_has_costs(tmp_path):
    text = TEXT.replace('effort = "cost"\n', "")
    for env, costed in ((ENV, True), ('id = "archgym/NKLandscape-v0"\nkwargs = { n = 4, k = 1 }', False)):
        text_here = text.replace(ENV, env).replace("priced:Trainer", "genetic")
        study, store = Study(text_here), Store(tmp_path / str(costed))
        run_study(study, store, executor="inline")
        stored = store.read()
        for run, table in store.table(stored.values()):
            assert ("cost" in table.column_names) == ("cost" in run.result) == costed
            assert {"cost_unit", "reference_cost", "charges"} & set(run.result) == (
                {"cost_unit", "reference_cost", "charges"} if costed else set()
            )
        traces = [t for a in load_tasks(study, store)[0].agents.values() for row in a.traces for t in row]
        assert [t.cost is not None for t in traces] == [costed] * len(traces)
        axes = set(analyse(load_tasks(study, store), replicates=20).curves["axis"])
        assert axes == ({"samples", "cost", "seconds"} if costed else {"samples", "seconds"})


def test_runs_are_compared_at_equal_cost(task):
    assert (task.effort, task.budget) == ("cost", 12)
    trainer = task.agents["trainer"]
    assert (trainer.best_after([1, 2, 2.9])[0] == -np.inf).all()  # training costs 100 of 35 each
    assert np.isfinite(trainer.best_after([8])).all() and np.isnan(trainer.best_after([9])).all()
    at = scored(task)
    assert at is not None and at.budget == 8 and at.unit == "reference samples"
    floor = at.scores([2])
    assert (floor["trainer"] == np.nanmin(floor["random"])).all()


def trace(cost, reward, budget=10, total=9.0):
    n = len(cost)
    return Trace(
        np.arange(n), np.array(reward), np.ones(n), budget, 1.0, np.array(cost), total, {"training": 2.0}
    )


def by_hand(effort, budget=10):
    runs = {
        "random": AgentRuns("random", ({},), 0, ((trace([1.0, 4.0], [-3.0, -1.0], budget),),), effort),
        "a": AgentRuns("a", ({},), 0, ((trace([5.5, 6.0], [-2.0, -0.5], budget),),), effort),
    }
    control = Control("rule", 1, 1.0, np.array([-1.0, 0.0]), np.array([0.5, 0.5]), 90.0)
    return TaskRuns("t", "e", 0.0, None, True, runs, budget, effort=effort, controls=[control])


def test_best_and_hits_at_equal_cost_by_hand():
    at_cost = by_hand("cost").agents
    assert at_cost["a"].best_after([1, 5, 6, 10]).tolist() == [[[-np.inf, -np.inf, -0.5, -0.5]]]
    assert at_cost["random"].best_after([1, 3, 4]).tolist() == [[[-3.0, -3.0, -1.0]]]
    assert np.isnan(at_cost["a"].best_after([11])).all()
    assert at_cost["a"].samples_to(-2.0).tolist() == [[5.5]] and at_cost["a"].samples_to(0.0)[0, 0] == np.inf
    assert by_hand("samples").agents["a"].samples_to(-2.0).tolist() == [[1.0]]
    assert by_hand("samples").agents["a"].best_after([1, 2]).tolist() == [[[-2.0, -0.5]]]
    scores = scored(by_hand("cost")).scores([3, 6])
    assert scores["a"].tolist() == [[[-3.0, -0.5]]]  # before its first finalist: the worst finite score
    assert at_cost["a"].costs().tolist() == [[9.0]]


def test_the_report_says_reference_samples_and_what_a_control_reaches(tmp_path):
    found = analyse([by_hand("cost")], replicates=20)
    (sentence,) = [s for s in found.conclusions if "control" in s]
    assert sentence == (
        "t: the control 'rule' reaches 0.6065 of the optimum for 1 reference sample, more than random "
        "(0.3679) with 10 reference samples: its search shows no worth here."
    )
    assert found.controls.rows() == [("t", "rule", 1, 1.0, -0.5, float(np.exp(-0.5)), 90.0)]
    assert any("10 reference samples" in s for s in found.conclusions)
    effort = found.effort.filter(found.effort["agent"] == "a").to_dicts()[0]
    assert (effort["cost"], json.loads(effort["charges"])) == (9.0, {"training": 2.0})
    page = write_report(found, tmp_path, title="t", provenance={}).read_text(encoding="utf-8")
    assert "Controls: what needs no search" in page and "cost, reference samples" in page
    assert "Expected reference samples until" in page and "reference samples per run" in page.lower()
    assert not any("no worth" in s for s in analyse([without_control()], replicates=20).conclusions)


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (-0.6, "for 1 reference sample, more than random (0.3679) with"),
        (-0.1, "for 4 reference samples, more than random (0.3679) and a (0.6065) with"),
    ],
)
def test_the_control_that_beats_most_agents_is_told(reward, told):
    task = by_hand("cost")
    (control,) = task.controls
    larger = control._replace(samples=3, cost=4.0, rewards=np.array([reward]), shares=np.ones(1))
    found = analyse([replace(task, controls=[control, larger])], replicates=20)
    (sentence,) = [s for s in found.conclusions if "the control" in s]
    assert told in sentence


def without_control():
    runs = by_hand("cost")
    worse = runs.controls[0]._replace(rewards=np.array([-2.0]), shares=np.array([1.0]))
    dear = runs.controls[0]._replace(cost=9.5)
    return TaskRuns("t", "e", 0.0, None, True, runs.agents, 10, effort="cost", controls=[worse, dear])


def test_controls_by_hand():
    found = {(c.name, c.samples): c for c in find_controls(evaluator(), optimum())}
    # "large y": y = 11 ties between x = 0..5, of which x = 5 (cost 60) is invalid; reward of x is -log(1 + x)
    rewards = -np.log(1.0 + np.arange(5))
    one = found["large y", 1]
    assert one.reward == pytest.approx(rewards.mean())
    assert one.cost == pytest.approx((10 + 20 + 30 + 40 + 50) / 5 / 35)
    # 10 designs: the 5 of y = 11, then the 5 of y = 10, whose rewards are those of y = 11 less 0.1
    ten = found["large y", 10]
    assert ten.reward == pytest.approx(rewards.max()) and ten.cost == pytest.approx(300 / 35)
    # two of four ranked alike: P(best = i-th of 4) = C(i - 1, 1) / C(4, 2)
    assert ("few", 10) not in found and found["few", 1].rewards.tolist() == pytest.approx(
        sorted(-np.log(1.0 + np.arange(4)))
    )
    assert found["few", 1].percentile is not None


@pytest.mark.parametrize(("m", "r"), [(1, 1), (4, 2), (7, 7), (9, 4)])
def test_shares_of_the_best_of_a_random_subset(m, r):
    from math import comb

    from archgym.lottery.controls import _shares

    assert _shares(m, r) == pytest.approx([comb(i - 1, r - 1) / comb(m, r) for i in range(1, m + 1)])


def optimum():
    with_it = evaluator()
    return find_optimum(with_it.simulator, with_it.objective)


def test_controls_of_the_task_are_in_its_analysis(task):
    found = analyse([task], replicates=20)
    assert found.controls.select("control", "samples").rows() == [
        ("large y", 1),
        ("large y", 10),
        ("few", 1),
    ]
    assert set(found.curves["axis"]) == {"cost", "samples", "seconds"}
    charges = {row["agent"]: json.loads(row["charges"]) for row in found.effort.to_dicts()}
    assert charges == {"random": {}, "trainer": {"training": pytest.approx(2 * 100 / 35)}}


def test_tasks_of_several_budgets_and_one_configuration_have_a_report(tmp_path):
    later = replace(by_hand("cost", budget=6), task="later")
    found = analyse([by_hand("cost"), later], replicates=20)
    page = write_report(found, tmp_path, title="t", provenance={}).read_text(encoding="utf-8")
    assert "later" in page and "reference samples" in page
