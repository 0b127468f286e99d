"""The conformance checks: what keeps the contract passes, and each planted fault is found and named."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from conftest import NEEDS, Bowl, Noise

import archgym
from archgym import ArchGymError, AskTellAgent, DesignSpace, Integer, Metric, Noisy, Tabulated
from archgym.registry import Task, get_agent
from archgym.testing import check_agent, check_env, check_simulator

SLOW = {
    "gp": {"budget": 11, "reach_budget": 25},
    "cmaes": {"reach_budget": 300},
    "tpe": {"reach_budget": 300},
    "nsga2": {"reach_budget": 600},
}


@pytest.mark.parametrize("name", archgym.list_agents())
def test_every_agent_passes_the_checks(name):
    agent = get_agent(name)
    if "rl" in (agent.__doc__ or "") and "archgym[rl]" in (agent.__doc__ or ""):
        pytest.importorskip("stable_baselines3")
    if name == "gp":
        pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        budgets = {"budget": 67, "reach_budget": 800} | SLOW.get(name, {})
        check_agent((lambda: agent(**NEEDS[name])) if name in NEEDS else name, **budgets)


def test_agents_may_be_checked_on_another_environment():
    check_agent("genetic", "archgym/Softmax-v0", budget=67)
    check_agent("random", Task("tests/Noisy-v0", Noise), budget=67)


@pytest.mark.parametrize(
    "simulator", [Bowl(), Noise(), Tabulated(Bowl()), Noisy(Bowl())], ids=lambda s: type(s).__name__
)
def test_simulators_that_keep_the_contract_pass(simulator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_simulator(simulator)


def test_a_made_environment_passes_without_being_stepped(bowl):
    env = gymnasium.make(bowl[0], horizon=2)
    check_env(env)
    check_env(bowl[0], horizon=3)
    check_env(archgym.SequentialDesign(env))
    assert env.unwrapped.ledger.samples == 0
    with pytest.raises(ArchGymError, match="made already"):
        check_env(env, horizon=2)


def test_the_checks_need_no_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None; import archgym.testing as t; t.check_agent('random', "
        "budget=9, reach_budget=None)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


class Drifting(Bowl):
    def evaluate(self, designs, rng=None):
        self.rows += 1
        return Bowl.evaluate(self, designs) | {"area_mm2": np.full(len(designs["x"]), float(self.rows))}


class BatchDependent(Bowl):
    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        return out | {"area_mm2": out["area_mm2"] + np.asarray(designs["x"]).mean()}


class NotFinite(Bowl):
    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        return out | {"feasible": np.ones(len(out["feasible"]), bool)}


class Mutating(Bowl):
    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        designs["x"][:] = 1
        return out


class Lacking(Bowl):
    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        del out["secret"]
        return out


class Misshapen(Bowl):
    def evaluate(self, designs, rng=None):
        return super().evaluate(designs) | {"secret": np.zeros(3)}


class IntegerFlag(Bowl):
    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        return out | {"feasible": out["feasible"].astype(int)}


class Disagreeing(Bowl):
    def evaluate_indices(self, indices, rng=None):
        out = super().evaluate(self.space.decode(indices))
        return out | {"area_mm2": out["area_mm2"] + 1}


class WrongRepresentative(Bowl):
    def canonical(self, indices):
        return indices * np.array([0, 1, 1, 1])


class Restless(Bowl):
    def canonical(self, indices):
        return np.where(np.arange(4) == 3, 1 - indices, indices)


class Raising(Bowl):
    def evaluate(self, designs, rng=None):
        if (designs["x"] == 6).any():
            raise RuntimeError("corner")
        return super().evaluate(designs)


class UndeclaredNoise(Bowl):
    stochastic = True

    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs)
        return out | {"area_mm2": np.random.default_rng().random(len(out["area_mm2"]))}


class ColumnwiseNoise(Bowl):
    stochastic = True

    def evaluate(self, designs, rng=None):
        out, n = super().evaluate(designs), len(designs["x"])
        return out | {"area_mm2": rng.random(n), "secret": rng.random(n)}


class Featureless(Bowl):
    def context_features(self):
        return {"size": np.inf}


class Wandering(Bowl):
    def context_features(self):
        self.rows += 1
        return {"rows": self.rows}


class OddDirection(Bowl):
    metrics = (*Bowl.metrics[:2], Metric("secret", better="more"))


class TakenName(Bowl):
    metrics = (*Bowl.metrics, Metric("reward"))


@pytest.mark.parametrize(
    ("simulator", "says"),
    [
        (Drifting, "deterministic = False"),
        (BatchDependent, "rows one by one"),
        (NotFinite, "finite where feasible"),
        (Mutating, "changed its input column 'x'"),
        (Lacking, "no column 'secret'"),
        (Misshapen, "shape"),
        (IntegerFlag, "return bool"),
        (Disagreeing, "evaluate_indices"),
        (WrongRepresentative, "other metrics"),
        (Restless, "idempotent"),
        (Raising, "corner"),
        (UndeclaredNoise, "given rng"),
        (ColumnwiseNoise, "row by row"),
        (Featureless, "return finite numbers"),
        (Wandering, "changes between calls"),
        (OddDirection, "'lower', 'higher' or None"),
        (TakenName, "taken"),
    ],
)
def test_a_simulators_fault_is_found_and_named(simulator, says):
    with pytest.raises((AssertionError, ArchGymError), match=says):
        check_simulator(simulator())


def test_a_shared_buffer_is_allowed_and_warned_of():
    class Reusing(Bowl):
        buffer = np.zeros(1000)

        def evaluate(self, designs, rng=None):
            out = super().evaluate(designs)
            self.buffer[: len(out["secret"])] = out["secret"]
            return out | {"secret": self.buffer[: len(out["secret"])]}

    with pytest.warns(UserWarning, match="overwrote the column 'secret'"):
        check_simulator(Reusing())


def test_measured_simulators_are_exempt_from_repeating_themselves():
    class Measured(Drifting):
        deterministic = False

    check_simulator(Measured())


class Good(AskTellAgent):
    """Random search."""

    hyperparameters = DesignSpace([Integer("width", 1, 32, default=8)])
    version = 1

    @property
    def preferred_num_envs(self):
        return self.width

    def start(self, space, *, budget, rng):
        self.space, self.rng = space, rng

    def ask(self, n):
        return self.space.sample(n, self.rng)

    def tell(self, indices, rewards, metrics, feasible):
        pass


class StopsEarly(Good):
    def search(self, env, *, budget, seed):
        env.reset(seed=seed)
        for _ in range(budget // env.num_envs):
            env.step(np.zeros((env.num_envs, len(env.single_action_space.nvec)), int))


class AsksTheSimulator(Good):
    def ask(self, n):
        indices = super().ask(n)
        self.env.simulator.evaluate_indices(indices)
        return indices

    def search(self, env, *, budget, seed):
        self.env = env
        super().search(env, budget=budget, seed=seed)


class Unseeded(Good):
    def ask(self, n):
        return self.space.sample(n, np.random.default_rng())


class GlobalState(Good):
    def ask(self, n):
        return self.space.sample(n, np.random.default_rng(np.random.randint(2**31)))  # noqa: NPY002


class Reseeding(Good):
    def ask(self, n):
        np.random.seed(0)  # noqa: NPY002
        return super().ask(n)


class Remembering(Good):
    asked = 0

    def ask(self, n):
        self.asked += n
        return (super().ask(n) + self.asked // 100) % self.space.nvec


class Illegal(Good):
    def ask(self, n):
        return np.tile(self.space.nvec, (n, 1))


class SilentlyIllegal(Good):
    def search(self, env, *, budget, seed):
        env.reset(seed=seed)
        try:
            env.step(np.full((env.num_envs, 1), 99))
        except ArchGymError:
            super().search(env, budget=budget, seed=seed)


class Narrow(Good):
    def ask(self, n):
        return np.maximum(super().ask(n), 1) % self.space.nvec


class Shallow(Good):
    """It changes what is active alone, and begins with little."""

    def ask(self, n):
        rows = super().ask(n)
        if self.space.conditional:
            rows[:, 0] %= 2
        return rows


class Raw(Good):
    """It is told what it asked for, inactive parameters and all."""

    def search(self, env, *, budget, seed):
        self.start(archgym.infos.core(env).simulator.space, budget=budget, rng=np.random.default_rng(seed))
        env.reset(seed=seed)
        while True:
            rows = self.rng.integers(self.space.nvec, size=(env.num_envs, len(self.space)))
            rewards = env.step(rows)[1]
            self.tell(rows, rewards, {}, np.ones(len(rows), bool))


class Endless(Good):
    def search(self, env, *, budget, seed):
        env.reset(seed=seed)
        while True:
            try:
                env.step(np.zeros((env.num_envs, len(env.single_action_space.nvec)), int))
            except archgym.BudgetExhausted:
                continue


class Undeclared(Good):
    def __init__(self, width=8, **others):
        super().__init__(width=width)


class Deaf(Good):
    def __init__(self, **hyperparameters):
        super().__init__(**hyperparameters)
        self.width = 8


class NoVersion(Good):
    version = "1"


class ZeroWidth(Good):
    preferred_num_envs = 0


class FractionalWidth(Good):
    hyperparameters = DesignSpace([])
    preferred_num_envs = 2.0


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        (StopsEarly, "spent 128 samples of a budget of 131"),
        (AsksTheSimulator, "nothing but the environment"),
        (Unseeded, "same seed"),
        (GlobalState, "global state of numpy.random"),
        (Reseeding, "global state of numpy.random"),
        (Remembering, "second time"),
        (Illegal, "illegal action.*expected an index in"),
        (SilentlyIllegal, "illegal action"),
        (Narrow, r"never proposed kind = a; size = 1"),
        (Shallow, "never proposed {'depth': 3, 'width': 1} of a conditional space"),
        (Raw, "inactive parameters: pass it"),
        (Endless, "BudgetExhausted"),
        (Undeclared, "does not declare"),
        (Deaf, "attribute"),
        (NoVersion, "version"),
        (ZeroWidth, "preferred_num_envs"),
        (FractionalWidth, "preferred_num_envs is 2.0"),
        (lambda: 3, "derive the class"),
        ("genetik", "did you mean 'genetic'"),
    ],
)
def test_an_agents_fault_is_found_and_named(agent, says):
    with pytest.raises((AssertionError, ArchGymError), match=says):
        check_agent(agent)


def test_agents_are_checked_by_class_factory_and_reference():
    for agent in (Good, lambda **hyperparameters: Good(width=3, **hyperparameters), "test_testing:Good"):
        check_agent(agent)


def test_the_checks_leave_the_global_random_states_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    check_agent(Good)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("fault", ["vector", "ranking", "ledger"])
def test_an_environments_fault_is_found(bowl, fault, monkeypatch):
    if fault == "vector":
        monkeypatch.setattr(archgym.ArchVectorEnv, "_advance", lambda self, objective, rows: objective + 1.0)
        says = "differs from the single one"
    elif fault == "ranking":
        honest = archgym.Objective.__call__
        monkeypatch.setattr(
            archgym.Objective, "__call__", lambda *a: honest(*a)._replace(reward=np.zeros(len(a[2])))
        )
        says = "infeasible design"
    else:
        honest_admit = archgym.Ledger.admit
        monkeypatch.setattr(
            archgym.Ledger, "admit", lambda self, n: n if self.budget else honest_admit(self, n)
        )
        says = "beyond the ledger's budget"
    with pytest.raises(AssertionError, match=says):
        check_env(bowl[0])


def test_what_is_not_ours_is_refused():
    with pytest.raises(AssertionError, match="register_env"):
        check_env(gymnasium.make("CartPole-v1"))
    with pytest.raises(ArchGymError, match="unknown environment"):
        check_env("CartPole-v1")
    with pytest.raises(AssertionError, match="Simulator"):
        check_simulator(Bowl)
