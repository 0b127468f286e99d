"""Bounds of rewards, where no optimum is known: in results, on the command line, and floors in words."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Bowl
from typer.testing import CliRunner

import archgym
from archgym import AtMost, Minimize, Objective
from archgym.cli import app
from archgym.cli.words import objective_in_words
from archgym.optimum import find_optimum, save_optimum
from archgym.simulator_wrappers import Cached, Noisy, Parallel, Tabulated

CIRCUITS = "archgym/QuantumCircuit-v0"


class Bounded(Bowl):
    """A bowl whose cost is known to be above 1/2."""

    def bound(self, objective):
        return None if "secret" in objective.metrics else float(np.log(4.0 / 0.5))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments):
    return " ".join(CliRunner().invoke(app, [str(a) for a in arguments]).stdout.split())


def test_results_have_the_bound_where_the_optimum_is_not_known(register):
    env, _ = register(Bounded)
    result = archgym.search(env, "random", budget=20)
    assert result.optimum is None and result.regret is None
    assert result.bound == np.log(8) and result.regret_bound == np.log(8) - result.best_reward > 0
    nothing = Objective(Minimize("cost_j"), AtMost("area_mm2", 1e-9))
    without = archgym.search(env, "random", budget=5, env_kwargs={"objective": nothing})
    assert without.bound == np.log(8) and without.regret_bound is None
    other = archgym.search(env, "random", budget=5, env_kwargs={"objective": Objective(Minimize("secret"))})
    assert other.bound is other.regret_bound is None
    plain, _ = register(Bowl)
    assert archgym.search(plain, "random", budget=5).bound is None


def test_an_optimum_takes_the_place_of_the_bound(register):
    env, simulator = register(Bounded())
    save_optimum(simulator, simulator.default_objective, find_optimum(simulator, simulator.default_objective))
    result = archgym.search(env, "random", budget=20)
    assert result.optimum is not None and result.regret is not None
    assert result.bound is result.regret_bound is None
    assert result.optimum.best_reward < np.log(8)


def test_wrappers_pass_the_bound_on_but_for_noise_and_tables():
    simulator = Bounded()
    objective = simulator.default_objective
    for wrapper in (Parallel(simulator, workers=1), Cached(simulator)):
        assert wrapper.bound(objective) == np.log(8)
    assert Noisy(simulator, 0.1).bound(objective) is None
    assert Tabulated(simulator).bound(objective) is None


def test_the_command_line_labels_the_bound_as_one(register):
    env, _ = register(Bounded)
    assert "not known; no design exceeds the reward 2.079, a bound" in run("describe", env)
    assert "against 2.079, a bound of rewards" in run("search", env, "random", "--budget", 20)
    circuits = run("search", CIRCUITS, "random", "--budget", 10, "--set", "slots=6")
    assert "Regret at most" in circuits and "against 9.68, a bound of rewards" in circuits
    measured = run("search", CIRCUITS, "random", "--budget", 10, "--set", "slots=6", "--set", "shots=10")
    assert "bound" not in measured and "Reward" in measured
    assert "a bound" not in run("describe", CIRCUITS, "--set", "preset=H2-2")  # a table's optimum


def test_floors_are_described(register):
    objective = Objective(Minimize("cost_j", weight=2.0, floor=0.25), AtMost("area_mm2", 8.0))
    said = objective_in_words(objective, Bowl.metrics)
    assert said == "minimize cost_j down to 0.25 J (weight 2), with area_mm2 <= 8 mm2"
    assert "minimize error_hartree down to 1e-07 hartree" in run("describe", CIRCUITS)


def test_an_optimum_below_the_floor_is_compared_by_reward_alone(register):
    env, simulator = register(Bowl(-0.99))  # its least cost is 0.01 J
    goal = Objective(Minimize("cost_j", floor=0.5))
    save_optimum(simulator, goal, find_optimum(simulator, goal))
    settings = ("--set", 'objective={"minimize": ["cost_j"], "floors": {"cost_j": 0.5}}')
    found = run("search", env, "exhaustive", "--budget", 144, *settings)
    assert "0: this is the exact optimum" in found
    few = run("search", env, "random", "--budget", 2, *settings)
    assert "Regret" in few and "% from the optimum" not in few
