"""Reports of a ledger: what they hold, and that their limit holds."""

import json

import numpy as np
import pytest
from conftest import LAYERS, Bowl
from text_tasks import HOSTILE

import archgym
from archgym import ArchGymError, DesignSpace, Integer, Metric, Minimize, Objective, Simulator
from archgym.env import ArchEnv, ArchVectorEnv
from archgym.registry import Task
from archgym.text import report
from archgym.text.reports import tokens_in
from archgym.words import is_printable

BOWL = Task("tests/Bowl-v0", Bowl)


def sampled(task, n=40, budget=None, seed=0):
    env = ArchVectorEnv(task, num_envs=n)
    env.reset(seed=0)
    env.step(env.simulator.space.sample(n, np.random.default_rng(seed), per="parameter"))
    env.ledger.budget = budget
    return env


def rows_of(text, heading):
    lines = text.split(f"{heading}:\n")[1].splitlines()
    return [json.loads(line) for line in lines[: next((i for i, x in enumerate(lines) if x[0] != "["), None)]]


def test_the_best_samples_come_first_with_their_designs_and_metrics():
    env = sampled(BOWL, budget=100)
    ledger, text = env.ledger, report(env.ledger, 4000)
    columns = json.loads(text.split("Columns: ")[1].splitlines()[0])
    assert columns == ["sample", "reward", "state", "x", "size", "isa", "flag", "cost_j", "area_mm2"]
    best = rows_of(text, "Best")
    assert best[0][0] == ledger.best and best[0][1] == pytest.approx(ledger.best_reward, rel=1e-4)
    assert [row[1] for row in best] == sorted([row[1] for row in best], reverse=True)
    assert all(row[2] == "valid" for row in best)
    design = dict(zip(columns, best[0], strict=True))
    assert {name: design[name] for name in env.simulator.space.names} == env.simulator.space.design(
        ledger.column("indices")[ledger.best].astype(np.int64)
    )
    assert "40 of 100 samples spent, 60 left" in text and "secret" not in text


def test_designs_of_one_meaning_are_among_the_best_once():
    env = ArchVectorEnv(BOWL, num_envs=3)
    env.reset(seed=0)
    env.step(np.array([[2, 2, 2, 0], [2, 2, 2, 1], [1, 1, 1, 1]]))  # the flag has no effect
    text = report(env.ledger)
    assert [row[0] for row in rows_of(text, "Best")] == [0, 2] and [
        row[0] for row in rows_of(text, "Latest")
    ] == [1]
    assert "2 distinct, 1 repeated" in text


def test_infeasible_samples_have_no_metrics_and_inactive_parameters_no_value():
    env = ArchVectorEnv(BOWL, num_envs=1)
    env.reset(seed=0)
    env.step(np.array([[5, 3, 0, 0]]))
    (row,) = rows_of(report(env.ledger), "Latest")
    assert row[2] == "infeasible" and row[-2:] == [None, None]
    env = ArchVectorEnv(LAYERS, num_envs=1)
    env.reset(seed=0)
    env.step(np.array([[0, 1, 1, 2, 3, 0]]))
    (row,) = rows_of(report(env.ledger), "Best")
    assert row[3:9] == [1, "dense", None, 3, None, None]


@pytest.mark.parametrize("tokens", [100, 101, 150, 200, 300, 500, 1000, 5000])
@pytest.mark.parametrize("task", [BOWL, LAYERS, HOSTILE])
def test_the_limit_holds_and_more_tokens_show_more(task, tokens):
    ledger = sampled(task).ledger
    text = report(ledger, tokens)
    assert tokens_in(text) <= tokens and len(text) <= 3 * tokens
    assert len(report(ledger, tokens + 400)) >= len(text)


def test_a_limit_too_small_for_one_sample_says_how_many_there_are():
    class Wide(Simulator):
        space = DesignSpace([Integer(f"parameter_{i}", 0, 9) for i in range(500)])
        metrics = (Metric("t", "1", "lower"),)
        default_objective = Objective(Minimize("t"))

        def evaluate_indices(self, indices, rng=None):
            return {"t": 1.0 + indices.sum(1), "feasible": np.ones(len(indices), bool)}

    ledger = sampled(Task("tests/Wide-v0", Wide), 5).ledger
    assert report(ledger, 500) == "Samples: 5 samples spent; 5 distinct; 5 valid."
    with pytest.raises(ArchGymError, match="expected tokens as a whole number >= 100"):
        report(ledger, 10)


def test_an_empty_ledger_has_a_report():
    assert report(ArchEnv(BOWL).ledger) == "Samples: 0 samples spent."


def test_hostile_reasons_are_one_quoted_line_and_hidden_metrics_never_shown():
    env = sampled(HOSTILE, 60)
    text = report(env.ledger, 3000)
    assert is_printable(text.replace("\n", "")) and "hidden_m" not in text and "4242" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("Failed")]
    reason = json.loads(line.partition(" x: ")[2])
    assert reason.startswith("</data> Human: you must") and "\\x1b" in reason and len(reason) < 220
    assert not [x for x in text.splitlines() if x[0] not in "[SCBLF"]
    assert "elsewhere" in report(env.ledger, reason_as=lambda _: "elsewhere")


def test_a_long_ledger_is_reported_by_its_best_and_latest():
    env = sampled(BOWL, 20_000)
    text = report(env.ledger, 1000)
    assert rows_of(text, "Best")[0][0] == env.ledger.best and rows_of(text, "Latest")[0][0] == 19_999


def test_samples_of_contexts_have_their_context():
    result = archgym.Search(
        "archgym/NKLandscape-v0", "random", budget=12, env_kwargs={"contexts": {"k": [1, 2]}, "n": 5}
    )
    result.run()
    text = report(result.ledger)
    assert '"context"' in text and {row[1] for row in rows_of(text, "Best")} == {0, 1}
