"""The suite archgym-1 and our entries on it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archgym.leaderboard.check import check, evaluate_again
from archgym.leaderboard.entry import SHIPPED, read_entries
from archgym.leaderboard.replay import Replay, cannot_replay
from archgym.leaderboard.replay import replay as repeat
from archgym.leaderboard.submit import machine
from archgym.leaderboard.suite import DEFAULT, Suite
from archgym.leaderboard.verify import agent_of, specification
from archgym.optimum import known_optimum

SLOW = {"bo", "portfolio", "ppo"}  # seconds a run, or PyTorch
SAME_EVERYWHERE = {"aging_evolution", "annealing", "ant_colony", "local_search", "qmc", "random", "reinforce"}
RUNS = 8  # that are repeated


@pytest.fixture(scope="module")
def suite():
    return Suite.read(DEFAULT)


@pytest.fixture(scope="module")
def entries():
    found, unread = read_entries(SHIPPED)
    assert not unread
    return found


def test_the_suite_has_ten_tasks_two_budgets_and_ten_seeds(suite):
    assert len(suite.tasks) == 10 == len({task.env.id for task in suite.tasks.values()})
    assert suite.budgets == (100, 1000) and suite.seeds == tuple(range(10))
    assert suite.digest == "eb6f48aac671" + suite.digest[12:], "raise the suite's number for other tasks"


def test_every_optimum_is_known_at_once_and_is_a_valid_design(suite):
    for label, task in suite.tasks.items():
        simulator, objective = task.evaluator.simulator, task.evaluator.objective
        optimum = known_optimum(simulator, objective)
        assert optimum is not None and math.isfinite(optimum.best_reward), label
        found = task.evaluator.score(optimum.indices[None])
        assert found["valid"].all() and found["reward"][0] == optimum.best_reward, label
        drawn = task.evaluator.score(simulator.space.sample(2000, np.random.default_rng(0)))
        assert drawn["reward"][drawn["valid"]].max(initial=-np.inf) <= optimum.best_reward, label


def test_our_entries_are_complete_and_their_rows_are_what_they_say(suite, entries):
    assert {entry.name for entry in entries} >= {"random", "genetic", "local_search", "tpe", "bo"}
    rng = np.random.default_rng(0)
    for entry in entries:
        found = check(entry, suite)
        assert not found.problems, entry.name
        assert not found.missing, entry.name
        for (label, _), runs in found.rows.items():
            rows = runs[int(rng.choice([*runs]))]
            assert evaluate_again(suite.tasks[label], rows, np.arange(len(rows.sample))) is None


def test_a_random_share_of_our_entries_replays(suite, entries):
    rng = np.random.default_rng()
    runs = [
        (e, cell, seed) for e in entries if e.name not in SLOW for cell in e.digests for seed in range(10)
    ]
    chosen = [runs[i] for i in rng.choice(len(runs), RUNS, replace=False)]
    here = machine()
    for entry, cell, seed in chosen:
        assert cannot_replay(agent_of(entry, cell[1])) is None
        task = suite.tasks[cell[0]]
        run = specification(entry, suite, cell, seed)
        ((_, _, rows),) = repeat([(task, run)], timeout_s=600, executor="inline")
        answer, (exact, designs) = Replay.of(task, rows), entry.digests[cell][seed]
        where = f"{entry.name}, {cell}, seed {seed}"
        at_home = all(entry.content["machine"][name] == here[name] for name in ("processor", "system"))
        if at_home:
            assert answer.exact == exact, where
        if at_home or entry.name in SAME_EVERYWHERE:
            assert answer.designs == designs, where
