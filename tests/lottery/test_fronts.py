"""Runs judged by their fronts: exact fronts against brute force, what runs store, and a lottery of
hypervolumes.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
from conftest import Bowl, Noise
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import archgym
from archgym import ArchGymError, AtMost, Minimize, Objective
from archgym.env import Evaluator
from archgym.lottery.fronts import Judge, Samples
from archgym.lottery.load import load_tasks
from archgym.lottery.scores import scored
from archgym.pareto import check_front, exact_front, extends_front, hypervolume, non_dominated
from archgym.simulator import evaluate_safely
from archgym.study.design import Study
from archgym.study.store import Store

NAMES = ["cost_j", "area_mm2"]
STUDY = """
[study]
name = "fronts"
budget = 40
seeds = 2

[[env]]
id = "BOWL"
front = ["cost_j", "area_mm2"]

[[agent]]
name = "random"
configurations = 2

[[agent]]
name = "nsga2"
[agent.grid]
population = [8, 16]
"""


@pytest.fixture
def task(register):
    """The id of an environment around new bowls."""
    return register(Bowl)[0]


@pytest.fixture
def text(task):
    """The study of it."""
    return STUDY.replace("BOWL", task)


def everything(simulator=None, objective=None):
    """Metrics of all valid designs of the bowl, [V, 2]."""
    simulator = simulator or Bowl()
    outcome = evaluate_safely(simulator, np.concatenate(list(simulator.space.enumerate(50))))
    values = {metric.name: outcome.values[:, j] for j, metric in enumerate(simulator.metrics)}
    valid = (objective or simulator.default_objective)(values, outcome.feasible).valid
    return np.stack([values[name][valid] for name in NAMES], axis=1)


# --- fronts ---


@given(
    arrays(
        float,
        st.tuples(st.integers(0, 15), st.integers(1, 4)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    )
)
def test_what_extends_a_front_is_on_the_front_of_everything_up_to_it_and_new(points):
    expected = [
        n
        for n in range(len(points))
        if non_dominated(points[: n + 1])[n] and not (points[:n] == points[n]).all(axis=1).any()
    ]
    assert extends_front(points).tolist() == expected


@pytest.mark.parametrize("chunk", [7, 1000])
@pytest.mark.parametrize(
    "objective", [Bowl.default_objective, Objective(Minimize("cost_j"), AtMost("area_mm2", 3.0))]
)
def test_the_exact_front_is_that_of_all_valid_designs(chunk, objective):
    values = everything(objective=objective)
    simulator, told = Bowl(), []
    front, ends = exact_front(
        simulator,
        objective,
        check_front(NAMES, simulator),
        chunk=chunk,
        progress=lambda what, share: told.append((what, share)),
    )
    assert (
        np.unique(front, axis=0).tolist()
        == np.unique(values[non_dominated(values)], axis=0).tolist()
        == sorted(front.tolist())
    )
    assert ends.tolist() == [values.min(axis=0).tolist(), values.max(axis=0).tolist()]
    assert told[-1] == ("front of 144 designs", 1.0)


def test_no_exact_front_of_noise_or_of_nothing():
    with pytest.raises(ArchGymError, match="noisy"):
        exact_front(Noise(), Bowl.default_objective, check_front(NAMES, Noise()))
    with pytest.raises(ArchGymError, match="at least one valid design, got none"):
        exact_front(
            Bowl(), Objective(Minimize("cost_j"), AtMost("area_mm2", 0.5)), check_front(NAMES, Bowl())
        )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cost_j"], "at least two"),
        (["cost_j", "cost_j"], "'cost_j' twice"),
        (["cost_j", "secret"], "'secret'"),
        (["cost", "area"], "cost_j"),
    ],
)
def test_a_front_is_of_metrics_that_agents_see(task, text, names, message):
    with pytest.raises(ArchGymError, match=message):
        archgym.search(task, "random", budget=1, front=names)
    with pytest.raises(ArchGymError, match=f"line 9:.*{message}"):
        Study(text.replace('["cost_j", "area_mm2"]', str(names)))


# --- searches for them ---


def test_nsga2_searches_for_the_front_and_other_agents_for_the_reward(task):
    searched = {
        a: archgym.search(
            task, a, budget=60, seed=1, front=NAMES, env_kwargs={"objective": {"minimize": ["cost_j"]}}
        )
        for a in ("nsga2", "genetic")
    }
    alone = {
        a: archgym.search(task, a, budget=60, seed=1, env_kwargs={"objective": {"minimize": ["cost_j"]}})
        for a in ("nsga2", "genetic")
    }
    assert searched["genetic"].history["reward"].tolist() == alone["genetic"].history["reward"].tolist()
    assert searched["nsga2"].history["reward"].tolist() != alone["nsga2"].history["reward"].tolist()
    for result in searched.values():
        assert result.front is not None and result.specification["env"]["front"] == NAMES
        values = np.stack([result.history[name][result.history["valid"]] for name in NAMES], axis=1)
        assert sorted(result.front.values.tolist()) == sorted(values[non_dominated(values)].tolist())
        again = archgym.search_again(result.specification)
        assert (
            again.history["reward"].tolist() == result.history["reward"].tolist() and again.front is not None
        )
    assert alone["nsga2"].front is None and "front" not in alone["nsga2"].specification["env"]


def test_a_search_without_a_valid_design_has_no_front(task):
    impossible = {"minimize": ["cost_j"], "at_most": {"area_mm2": 0.5}}
    assert (
        archgym.search(task, "random", budget=5, front=NAMES, env_kwargs={"objective": impossible}).front
        is None
    )


# --- judged ---


@pytest.fixture
def judge(task):
    def made(reference=None, enumerate_it=True, seen=(), objective=None, **kwargs):
        return Judge.from_runs(
            Evaluator(task, objective, 1, kwargs), NAMES, reference or {}, seen, enumerate_it
        )

    return made


def test_the_exact_front_is_the_optimum_and_a_run_improves_towards_it(judge):
    values = np.random.default_rng(0).permutation(everything())
    found = judge()
    trace = found.trace(
        Samples(np.arange(len(values)), np.arange(len(values)) * 0.5, values, len(values), 100.0)
    )
    assert (np.diff(trace.reward) > 0).all() and (np.diff(trace.sample) > 0).all()
    assert (
        trace.reward[-1] == pytest.approx(found.optimum, abs=1e-12)
        and (trace.reward <= found.optimum + 1e-12).all()
    )
    corner = np.log(values.max(axis=0))
    for at, worth in zip(trace.sample.tolist(), trace.reward.tolist(), strict=True):
        assert worth == pytest.approx(np.log(hypervolume(np.log(values[: at + 1]), corner)), abs=1e-12)
    assert trace.seconds.tolist() == (trace.sample * 0.5).tolist()


def test_designs_that_are_no_better_than_the_reference_are_worth_nothing(judge):
    found = judge({"cost_j": 2.0, "area_mm2": 100.0})
    trace = found.trace(
        Samples(np.arange(3), np.arange(3.0), np.array([[9.0, 1.0], [2.0, 4.0], [1.0, 4.0]]), 3, 1.0)
    )
    assert trace.sample.tolist() == [2]
    assert trace.reward[0] == pytest.approx(np.log(np.log(2.0) * np.log(25.0)))
    empty = found.trace(Samples(np.arange(0), np.arange(0.0), np.empty((0, 2)), 3, 1.0))
    assert len(empty.reward) == 0 and empty.samples == 3


def test_where_the_space_is_not_enumerated_the_reference_is_the_worst_that_runs_stored(judge, monkeypatch):
    monkeypatch.setattr("archgym.lottery.fronts.ENUMERATED", 10)
    seen = [
        Samples(np.arange(2), np.arange(2.0), np.array(v), 2, 1.0)
        for v in ([[3.0, 5.0], [4.0, 2.0]], [[6.0, 1.0], [2.0, 9.0]])
    ]
    found = judge(enumerate_it=False, seen=seen)
    assert found.optimum is None and found.reference.tolist() == [6.0, 9.0]
    assert judge(enumerate_it=False).optimum is None, "no run, no reference, no error"


def test_a_metric_that_is_not_always_positive_has_a_linear_axis_and_a_log_axis_no_reference_of_zero(judge):
    found = judge(offset=-3.0, objective={"minimize": ["cost_j"], "form": "linear"})
    assert found.logarithmic.tolist() == [False, True] and "except for cost_j" in str(found)
    with pytest.raises(ArchGymError, match="area_mm2 are positive"):
        judge({"area_mm2": 0.0})


# --- in studies ---


def run(study, folder):
    from archgym.study.run import execute

    store = Store(folder)
    for each in study.runs():
        content, _ = execute(each.specification)
        store.write(each, content)
    return store


def test_a_study_of_fronts_stores_what_extends_them_and_a_lottery_reads_hypervolumes(task, text, tmp_path):
    study = Study(text)
    assert list(study.tasks) == [f"{task} front of cost_j, area_mm2"]
    store = run(study, tmp_path / "out")
    for path in (tmp_path / "out" / "runs").rglob("*.parquet"):
        kept = pyarrow.parquet.read_table(path).to_pydict()
        whole = archgym.search_again(
            json.loads(pyarrow.parquet.read_metadata(path).metadata[b"archgym"])
        ).history
        values = np.stack([whole[name] for name in NAMES], axis=1)
        extending = np.flatnonzero(whole["valid"])[extends_front(values[whole["valid"]])]
        assert set(extending.tolist()) <= set(kept["sample"])
    (runs,) = load_tasks(study, store)
    on_scale = scored(runs)
    assert on_scale.scale == "ratio to the exact front's hypervolume" and "hypervolume" in runs.judged_by
    final = on_scale.shown(np.concatenate([scores.reshape(-1) for scores in on_scale.final().values()]))
    assert (final > 0).all() and (final <= 1 + 1e-12).all()
    for stored in store.read().values():
        whole = archgym.search_again(stored.specification).history
        values = np.log(np.stack([whole[name][whole["valid"]] for name in NAMES], axis=1))
        corner = np.log(everything().max(axis=0))
        expected = hypervolume(values, corner) / np.exp(runs.optimum)
        assert np.isclose(final, expected, rtol=1e-9).any()


def test_the_same_environment_may_be_judged_both_ways(task, text, tmp_path):
    both = text.replace("[[agent]]", f'[[env]]\nid = "{task}"\nlabel = "reward"\n\n[[agent]]', 1)
    study = Study(both)
    assert study.size == 16 and len({each.id for each in study.runs()}) == 16
    fronts, rewards = load_tasks(study, run(study, tmp_path / "out"))
    assert fronts.judged_by and not rewards.judged_by
    assert "hypervolume" in scored(fronts).scale and "hypervolume" not in scored(rewards).scale


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("front_reference = { cost = 1.0 }", "did you mean 'cost_j'"),
        ("front_reference = { cost_j = 'x' }", "front_reference: expected a table of numbers"),
        ("front_reference = 3", "front_reference: expected a table of numbers"),
    ],
)
def test_a_reference_is_of_the_fronts_metrics(text, more, message):
    with pytest.raises(ArchGymError, match=f"line 10:.*{message}"):
        Study(text.replace('"area_mm2"]\n', f'"area_mm2"]\n{more}\n', 1))
