"""Costs: what evaluations cost, budgets cut exactly, charges, and shared weights that are paid before they run."""

from __future__ import annotations

import json
import warnings

import gymnasium
import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archgym
from archgym import ArchGymError, Categorical, DesignSpace, Metric, Minimize, Objective, Simulator, Tabulated
from archgym.agents._one_shot import OneShotAgent, most_probable, one_shot_hyperparameters
from archgym.env import ArchEnv, ArchVectorEnv
from archgym.errors import BudgetExhausted
from archgym.ledger import Ledger
from archgym.registry import Task
from archgym.shared import Meter, SharedTask
from archgym.simulator import reference_cost
from archgym.simulator_wrappers import Noisy
from archgym.space import Array, Indices


class Priced(Simulator):
    """Designs that cost 2^a + b grams each."""

    space = DesignSpace([Categorical("a", [0, 1, 2, 3]), Categorical("b", [0, 1, 2])])
    metrics = (Metric("time_s", "s", "lower"),)
    default_objective = Objective(Minimize("time_s"))
    cost_unit = "grams"

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        return {"time_s": 1.0 + indices.sum(axis=1), "feasible": np.ones(len(indices), bool)}

    def cost_of(self, indices: Indices) -> Array:
        return 2.0 ** indices[:, 0] + indices[:, 1]

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask:
        from archgym.testing.shared import LinearShared

        return LinearShared(self.space, seed, fresh=fresh)


TASK = Task("test/Priced-v0", Priced)


@pytest.fixture
def priced():
    archgym.register_env("test/Priced-v0", simulator=Priced)
    yield "test/Priced-v0"
    gymnasium.registry.pop("test/Priced-v0", None)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(0, 90),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9)), max_size=5),
    st.integers(0, 99),
)
def test_a_cost_budget_is_cut_to_the_last_unit(sizes, budget, charges, seed):
    env, rng = ArchVectorEnv(TASK, num_envs=1), np.random.default_rng(seed)
    ledger = env.ledger
    ledger.cost_budget = budget
    paid, evaluated, ended = 0.0, [], False
    for step, size in enumerate(sizes):
        for _, amount in (charge for charge in charges if charge[0] == step):
            if paid + amount <= budget:
                ledger.charge(amount, "training")
                paid += amount
            else:
                with pytest.raises(BudgetExhausted):
                    ledger.charge(amount, "training")
        designs = Priced.space.sample(size, rng)
        costs = Priced().cost_of(designs)
        fits = int((paid + np.cumsum(costs) <= budget).sum())
        if fits < size:
            with pytest.raises(BudgetExhausted):
                env.evaluator.evaluate(designs, size)
            ended = True
        else:
            env.evaluator.evaluate(designs, size)
        evaluated += designs[:fits].tolist()
        paid += costs[:fits].sum()
        assert ledger.cost == paid <= budget and ledger.samples == len(evaluated)
        if ended:
            break
    assert ledger.column("indices").tolist() == evaluated
    assert (
        sum(charge.amount for charge in ledger.charges)
        + Priced().cost_of(np.array(evaluated, int).reshape(-1, 2)).sum()
        == paid
    )


def test_the_column_cost_is_cumulative_with_the_charges_before_each_sample():
    ledger = ArchVectorEnv(TASK, num_envs=1).ledger
    env = ArchEnv(TASK)
    ledger = env.ledger
    ledger.charge(10, "training")
    ledger.charge(5, "training")
    env.reset(seed=0)
    env.step(np.array([2, 1]))  # 5
    ledger.charge(100, "estimates")
    env.reset()
    env.step(np.array([0, 0]))  # 1
    ledger.charge(7, "estimates")
    assert ledger.charges == [(0, 15, "training"), (1, 100, "estimates"), (2, 7, "estimates")]
    assert ledger.column("cost").tolist() == [20, 121] and ledger.cost == 128
    assert ledger.history()["cost"].tolist() == [20, 121]


def test_single_steps_of_a_table_keep_the_cost_budget_too():
    env = ArchEnv(Task("test/Table-v0", lambda: Tabulated(Priced())))
    env.ledger.cost_budget = 20
    env.reset(seed=0)
    with pytest.raises(BudgetExhausted, match="cost budget of 20 grams is spent: 16 are paid"):
        while True:
            env.step(np.array([3, 0]))
            env.reset()
    assert env.ledger.samples == 2 and env.ledger.cost == 16


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf, "5", True])
def test_budgets_and_charges_are_finite_numbers(wrong):
    ledger = Ledger(Priced())
    with pytest.raises(ArchGymError, match="expected a cost budget as a finite number"):
        ledger.cost_budget = wrong
    with pytest.raises(ArchGymError, match="expected a cost budget as a finite number"):
        archgym.search("archgym/NKLandscape-v0", "random", cost_budget=wrong)


def test_samples_cost_one_each_unless_the_simulator_says_otherwise():
    result = archgym.search("archgym/NKLandscape-v0", "random", budget=7)
    assert result.cost == 7 and result.cost_unit == "samples" and result.charges == ()
    assert result.history["cost"].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_wrappers_pass_costs_on():
    for wrapped in (Tabulated(Priced()), Noisy(Priced()), Noisy(Tabulated(Priced()))):
        assert wrapped.cost_unit == "grams" and reference_cost(wrapped) == reference_cost(Priced()) == 4.0
        assert wrapped.cost_of(np.array([[3, 2]])) == [10]
        assert wrapped.shared(0) is not None


@pytest.mark.parametrize("agent", ["random", "genetic", "tpe", "bo", "annealing", "nsga2"])
@pytest.mark.parametrize("cost_budget", [3, 45, 97.5])
def test_searches_spend_a_cost_budget_and_repeat(priced, agent, cost_budget, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = archgym.search(priced, agent, cost_budget=cost_budget, seed=1)
    assert cost_budget - 10 < result.cost <= cost_budget and result.cost_unit == "grams"
    assert result.history["cost"][-1] == result.cost
    assert result.specification["budget"] is None and result.specification["cost_budget"] == cost_budget
    again = archgym.search_again(result.specification)
    assert all(np.array_equal(again.history[n], result.history[n]) for n in ("a", "b", "cost", "reward"))
    stored = pyarrow.parquet.read_table(result.to_parquet(tmp_path / "run.parquet"))
    assert stored["cost"].to_pylist() == result.history["cost"].tolist()


def test_either_budget_ends_a_search(priced):
    assert archgym.search(priced, "random", budget=5, cost_budget=1e9).samples == 5
    assert archgym.search(priced, "random", budget=500, cost_budget=50).cost <= 50
    with pytest.raises(ArchGymError, match="got neither"):
        archgym.search(priced, "random")
    with pytest.raises(ArchGymError, match="expected a cost budget that pays for a sample, got 0 grams"):
        archgym.search(priced, "random", cost_budget=0)


class Trains(OneShotAgent):
    """Trains random paths; proposes designs in the order of their ordinals."""

    version = 1
    hyperparameters = DesignSpace(one_shot_hyperparameters(epochs=3, finalists=2))

    def expected_cost(self, task, steps):
        return (
            steps
            * task.batch
            * 3
            * np.mean([task.macs(d) for d in task.space.sample(64, np.random.default_rng(0))])
        )

    def train(self, task, *, steps, rng):
        self.steps = steps
        for _ in range(steps):
            task.path(task.train_batch().images, task.space.sample(1, rng)[0])

    def propose(self, task, k, rng):
        return task.space.from_ordinal(np.arange(min(k, task.space.size)))


@pytest.mark.parametrize("cost_budget", [2_000, 20_000, 300_000])
def test_one_shot_agents_keep_a_share_for_the_finalists_and_never_exceed_the_budget(priced, cost_budget):
    agent = Trains()
    result = archgym.search(priced, agent, cost_budget=cost_budget, seed=3)
    trained = sum(charge.amount for charge in result.charges)
    assert result.cost <= cost_budget and result.samples >= 2
    assert {charge.what for charge in result.charges} <= {"training"}
    assert trained <= cost_budget - min(2 * 4.0, cost_budget / 2)
    assert (
        result.cost
        == trained
        + Priced().cost_of(np.stack([result.history["a"], result.history["b"]], axis=1).astype(int)).sum()
    )
    if cost_budget == 300_000:
        assert agent.steps == 3 * 4  # epochs, though the budget pays more


def test_without_a_cost_budget_training_is_only_counted(priced):
    result = archgym.search(priced, Trains(), budget=14, seed=3)
    assert result.samples == 14 and result.unique == 12  # the whole space, then random designs
    assert sum(charge.amount for charge in result.charges) > 0 and result.charges[0].sample == 0


def test_charges_are_in_the_metadata_of_a_stored_history(priced, tmp_path):
    result = archgym.search(priced, Trains(), budget=3, seed=3)
    metadata = pyarrow.parquet.read_table(result.to_parquet(tmp_path / "x.parquet")).schema.metadata
    assert json.loads(metadata[b"archgym.charges"]) == {"unit": "grams", "charges": [list(result.charges[0])]}


def test_environments_without_shared_weights_say_what_has_them():
    env = ArchVectorEnv("archgym/NKLandscape-v0", num_envs=1)
    with pytest.raises(ArchGymError, match="expected an environment with weights to share, got archgym/NKL"):
        env.shared(0)


def test_a_meter_refuses_a_pass_before_it_runs():
    torch = pytest.importorskip("torch")
    env = ArchVectorEnv(TASK, num_envs=1)
    task = env.shared(0)
    images = task.train_batch().images
    design = np.array([0, 0])
    one = len(images) * task.macs(design)
    env.ledger.cost_budget = 4 * one - 1
    task.path(images, design)  # with gradients: three passes
    assert env.ledger.cost == 3 * one
    with pytest.raises(BudgetExhausted), torch.no_grad():
        task.path(images, design)
    assert env.ledger.cost == 3 * one
    meter = Meter()
    meter.limit = 5
    meter.pay(5, "training")
    with pytest.raises(BudgetExhausted, match="share of the cost budget"):
        meter.pay(1, "training")


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4), st.integers(0, 99), st.integers(1, 40))
def test_the_most_probable_designs_are_those_of_a_full_enumeration(sizes, seed, k):
    space = DesignSpace([Categorical(f"p{i}", list(range(n))) for i, n in enumerate(sizes)])
    rng = np.random.default_rng(seed)
    log_p = np.where(
        np.arange(max(sizes)) < np.array(sizes)[:, None], rng.normal(size=(len(sizes), max(sizes))), -np.inf
    )
    everything = space.from_ordinal(np.arange(space.size))
    valid = everything.sum(axis=1) % 3 != 1

    class Stub:
        def valid(self, designs):
            return designs.sum(axis=1) % 3 != 1

    scores = log_p[np.arange(len(sizes)), everything].sum(axis=1)
    best = everything[valid][np.argsort(-scores[valid], kind="stable")][:k]
    assert most_probable(log_p, k, Stub()).tolist() == best.tolist()
