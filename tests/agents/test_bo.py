"""Bayesian optimisation: every objective and every space, no repeated meaning, and proposals that are the
best of all by the acquisition.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from conftest import Bowl
from scipy.special import ndtri

import archgym
from archgym import (
    AtLeast,
    AtMost,
    Categorical,
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Minimize,
    Objective,
    Simulator,
    Target,
)
from archgym.agents import bo
from archgym.agents._designs import neighbours
from archgym.agents._gaussian_process import GaussianProcess
from archgym.agents.bo import BayesianOptimization, _merits, _normal_scores
from archgym.agents.random import Random
from archgym.objective import INFEASIBLE_REWARD
from archgym.pareto import hypervolume
from archgym.registry import Task
from archgym.testing import check_agent

pytestmark = pytest.mark.filterwarnings("error:.*encountered in:RuntimeWarning")
SPACE = DesignSpace(
    [*(Integer(f"p{i}", 0, 4) for i in range(4)), Categorical("c", list("abc")), Integer("one", 1, 1)]
)
LIMITED = Objective(Minimize("cost"), AtMost("size", 12.0))


class Sums(Simulator):
    """A cost with one optimum and a size that grows with every index: 1875 designs, all of them feasible.
    `change` makes other metrics of these.
    """

    metrics = (
        Metric("cost", "1", "lower"),
        Metric("size", "1", "lower"),
        Metric("secret", "1", "higher", report_only=True),
    )
    default_objective = Objective(Minimize("cost"))

    def __init__(self, space=SPACE, change=lambda out: out):
        self.space, self.change = space, change

    def evaluate_indices(self, indices, rng=None):
        far = np.abs(indices - self.space.nvec // 2).astype(float)
        out = {
            "cost": 1.0 + far @ (1.0 + np.arange(len(self.space))),
            "size": 5.0 + indices.sum(axis=1),
            "secret": 100.0 - far.sum(axis=1),
            "feasible": np.ones(len(indices), bool),
        }
        return self.change(out) or out


@pytest.fixture
def search(register):
    """A search of a simulator: search(simulator, objective=None, budget, ...) -> designs [N, P], history."""

    def run(simulator, objective=None, *, budget=22, agent=BayesianOptimization, seed=0, **options):
        given = {name: options.pop(name) for name in ("front", "num_envs") if name in options}
        env, _ = register(simulator, objective)
        found = archgym.search(env, agent, budget=budget, seed=seed, agent_kwargs=options or None, **given)
        history = found.history
        assert len(history["reward"]) == budget
        return simulator.space.encode({name: history[name] for name in simulator.space.names}), history

    return run


def meanings(simulator, designs):
    return len(np.unique(simulator.canonical(designs), axis=0))


def started(simulator, objective=None, *, seed=0, cls=BayesianOptimization, **hyperparameters):
    """An agent at the start of a search of a simulator, without an environment."""
    agent = cls(**hyperparameters)
    agent.objective = objective or simulator.default_objective
    agent.metrics = tuple(metric for metric in simulator.metrics if not metric.report_only)
    agent.canonical = simulator.canonical
    agent.start(simulator.space, budget=1000, rng=np.random.default_rng(seed))
    return agent


def evaluate(agent, simulator, designs, *, with_valid=False):
    """Tell an agent the results of designs."""
    out = simulator.evaluate_indices(designs)
    rewards, valid = agent.objective(out, out["feasible"])
    metrics = {metric.name: out[metric.name] for metric in agent.metrics}
    agent.tell(designs, rewards, metrics, out["feasible"], *([valid] if with_valid else []))


# --- the contract ---


@pytest.mark.parametrize("hyperparameters", [{}, {"q": 4, "models": "ranks"}], ids=["default", "q=4"])
def test_the_contract_of_agents_is_kept(hyperparameters):
    make = lambda: BayesianOptimization(**hyperparameters, startup=5)  # noqa: E731
    make.hyperparameters = BayesianOptimization.hyperparameters
    check_agent(make, Task("tests/Bowl-v0", Bowl), budget=13, reach_budget=70, reach_searches=1)


def test_the_seed_decides_every_row(search):
    rows = [search(Bowl(), seed=seed, budget=18)[0] for seed in (3, 3, 4)]
    assert np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0], rows[2])


def test_a_used_agent_searches_as_a_new_one_does(bowl):
    agent = BayesianOptimization()
    archgym.search(bowl[0], agent, budget=14, front=["cost_j", "area_mm2"])
    again = archgym.search(bowl[0], agent, budget=14, seed=1)
    new = archgym.search(bowl[0], BayesianOptimization(), budget=14, seed=1)
    assert again.history["reward"].tolist() == new.history["reward"].tolist()


# --- no design twice ---


@pytest.mark.parametrize("seed", [2, 5])
@pytest.mark.parametrize("width", [{}, {"q": 5}], ids=["q=1", "q=5"])
def test_every_meaning_of_a_small_space_is_proposed_before_one_repeats(search, seed, width):
    simulator = Bowl()  # 72 meanings of 144 designs
    designs, _ = search(simulator, budget=75, seed=seed, candidates=50, **width)
    assert meanings(simulator, designs[:72]) == 72


def test_nothing_repeats_where_nothing_is_feasible(search):
    simulator = Bowl()
    impossible = Objective(Minimize("cost_j"), AtMost("area_mm2", 0.5))
    designs, history = search(simulator, impossible, budget=30, seed=1)
    assert meanings(simulator, designs) == 30 and not np.any(history["valid"])

    def none_feasible(out):
        out["feasible"][:] = False

    space = DesignSpace([Integer("a", 0, 9), Integer("b", 0, 2)])
    designs, history = search(Sums(space, none_feasible), budget=33)
    assert len(np.unique(designs[:30], axis=0)) == 30
    assert set(np.asarray(history["reward"])) == {INFEASIBLE_REWARD}


def test_tpes_proposals_among_many_samples_have_new_meanings(search, monkeypatch):
    monkeypatch.setattr("archgym.agents.bo.TPE_FROM", 20)
    simulator = Bowl()
    designs, _ = search(simulator, budget=72, candidates=50, seed=4)
    assert meanings(simulator, designs) == 72


def test_hill_climbing_ends_at_a_new_design_although_known_ones_are_better(monkeypatch):
    monkeypatch.setattr(bo, "LISTED", 0)  # as in a larger space
    simulator = Sums(DesignSpace([Integer("a", 0, 6)]))
    agent = started(simulator)
    agent.seen = {np.array([i]).tobytes() for i in range(7) if i != 1}
    agent._value = lambda terms, designs: designs[:, 0].astype(float)
    assert agent._hill([], np.array([1]), 1.0)[0].tolist() == [1]


def test_no_two_cells_compute_the_same_function():
    found = archgym.Search("archgym/NasCell-v0", "bo", budget=60, agent_kwargs={"candidates": 50})
    found.spend()
    assert found.ledger.unique == 60


# --- several at once ---


@pytest.mark.parametrize("models", ["both", "metrics", "ranks"])
def test_designs_proposed_together_differ(models):
    simulator = Sums()
    agent = started(simulator, LIMITED, models=models, candidates=50)
    evaluate(agent, simulator, agent.ask(12))
    before = set(agent.seen)
    asked = agent.ask(6)
    assert len(np.unique(asked, axis=0)) == 6 and not before & {design.tobytes() for design in asked}


def test_random_designs_proposed_together_differ_too():
    simulator = Bowl()
    agent = started(simulator)
    assert meanings(simulator, agent.ask(60)) == 60


def test_a_proposal_of_a_batch_is_believed(monkeypatch):
    believed = []
    monkeypatch.setattr(GaussianProcess, "believe", lambda self, x: believed.append(x.tolist()))
    simulator = Sums()
    agent = started(simulator, models="metrics", candidates=50)
    evaluate(agent, simulator, agent.ask(10))
    assert not believed and agent.ask(3).tolist() == believed
    believed.clear()
    agent.ask(1)
    assert not believed, "one alone is simulated before the next"


def test_the_width_of_the_environment_need_not_be_q(search):
    designs, _ = search(Sums(), budget=31, q=3, num_envs=7, candidates=50)
    assert len(np.unique(designs, axis=0)) == 31


# --- spaces ---


@pytest.mark.parametrize(
    "space",
    [
        [],
        [Integer("a", 1, 1), Categorical("b", ["x"])],
        [Integer("a", 0, 10**15)],
        [Categorical("a", list(range(300)))],
        [Integer("a", 0, 1)],
    ],
    ids=["none", "one design", "long", "classes", "two designs"],
)
@pytest.mark.parametrize("front", [None, ["cost", "size"]], ids=["reward", "front"])
def test_unusual_spaces_are_searched(search, space, front):
    space = DesignSpace(space)
    designs, _ = search(Sums(space), budget=16, front=front, candidates=50)
    assert len(np.unique(designs, axis=0)) == min(16, space.size)


# --- objectives ---

OBJECTIVES = {
    "target": Objective(Target("size", 13.0), Minimize("cost", 0.5), AtMost("cost", 30.0)),
    "linear": Objective(Maximize("size", 2.0), AtMost("cost", 20.0), AtLeast("size", -3.0), form="linear"),
    "nasaic": Objective(Minimize("cost"), AtMost("size", 12.0), form="nasaic"),
    "archgym": Objective(
        Target("cost", 9.0), Target("size", 12.0, 2.0), AtLeast("size", 7.0), form="archgym"
    ),
    "strict": Objective(Minimize("cost"), AtMost("size", 12.0), strict=True),
    "weightless": Objective(Minimize("cost", 0.0), AtMost("size", 12.0)),
    "several": Objective(Minimize("cost"), Maximize("cost", 0.5), Target("cost", 3.0)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_form_of_objective_is_searched_better_than_at_random(search, name):
    def best(agent):
        _, history = search(Sums(), OBJECTIVES[name], agent=agent, budget=30)
        return np.asarray(history["reward"])[np.asarray(history["valid"], bool)].max()

    assert best(BayesianOptimization) >= best(Random)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"weightless"}))
def test_weighted_merits_are_the_reward_before_penalties(name):
    objective, out = OBJECTIVES[name], Sums().evaluate_indices(SPACE.sample(50, np.random.default_rng(0)))
    total = sum(weight * merit.uncut(out) for merit, weight in _merits(objective).values())
    assert total == pytest.approx(objective.uncut(out))
    assert not any(merit.constraints for merit, _ in _merits(objective).values()) or name == "archgym"


@pytest.mark.parametrize("models", ["both", "metrics", "ranks"])
def test_every_choice_of_models_finds_the_optimum_of_a_bowl(search, models):
    _, history = search(Bowl(), models=models, budget=40)
    assert np.min(np.asarray(history["cost_j"])[np.asarray(history["valid"], bool)]) == 1


def test_hidden_metrics_of_an_objective_are_searched_by_their_rewards(search):
    hidden = Objective(Maximize("secret"), AtLeast("secret", 95.0))
    _, history = search(Sums(), hidden, budget=45)
    _, by_chance = search(Sums(), hidden, budget=45, agent=Random)
    assert max(history["reward"]) > max(by_chance["reward"])
    for objective in (hidden, Objective(Minimize("cost"), AtLeast("secret", 95.0))):
        agent = started(Sums(), objective)
        evaluate(agent, Sums(), agent.ask(12))
        agent.ask(1)
        assert [*agent.fitted] == ["ranks"]


@pytest.mark.parametrize(
    ("objective", "processes"),
    [
        (Objective(Maximize("secret")), ["component 0", "component 1"]),
        (Objective(Minimize("cost"), AtLeast("secret", 95.0)), ["ranks"]),
    ],
    ids=["term", "limit"],
)
def test_a_front_is_searched_whatever_the_objective_hides(search, objective, processes):
    agent = BayesianOptimization()
    search(Sums(), objective, budget=12, agent=agent, front=["cost", "size"])
    assert [*agent.fitted] == processes


@pytest.mark.parametrize("form", ["log", "linear"])
@pytest.mark.parametrize("front", [None, ["cost", "size"]], ids=["reward", "front"])
def test_metrics_of_zero_and_constant_ones_are_modelled(search, form, front):
    def zeros(out):
        out["cost"] = np.where(out["cost"] > 12, 0.0, out["cost"])
        out["size"][:] = 0.1

    objective = Objective(Maximize("cost"), AtMost("size", 1.0), AtLeast("cost", 1.0), form=form)
    _, history = search(Sums(change=zeros), objective, front=front, budget=25)
    assert np.isfinite(np.asarray(history["reward"])).all() and max(history["cost"]) > 1


def test_four_arguments_suffice_to_tell():
    for objective in (LIMITED, Objective(Maximize("secret")), OBJECTIVES["archgym"]):
        agents = [started(Sums(), objective) for _ in range(2)]
        for with_valid, agent in zip((False, True), agents, strict=True):
            evaluate(agent, Sums(), agent.ask(12), with_valid=with_valid)
        assert agents[0].ask(2).tolist() == agents[1].ask(2).tolist()


def test_designs_that_were_not_asked_for_count():
    agent = started(Sums())
    known = SPACE.sample(15, np.random.default_rng(3))
    evaluate(agent, Sums(), known)
    assert agent.ask(1)[0].tolist() not in known.tolist() and "Minimize cost" in agent.fitted


def test_a_design_told_under_another_name_is_not_proposed():
    simulator = Bowl()
    agent = started(simulator)
    every = next(simulator.space.enumerate())
    twins = every[(every[:, 3] == 1) & (every[:, :3] != [2, 1, 1]).any(axis=1)]
    assert len(twins) == 71
    evaluate(agent, simulator, twins)
    assert agent.ask(1)[0, :3].tolist() == [2, 1, 1]


def test_valid_designs_rank_above_all_others():
    agent = started(Sums(), LIMITED)
    evaluate(agent, Sums(), agent.ask(40))
    scores = agent._valid_first(agent.rewards)
    assert scores[agent.valid].min() > scores[~agent.valid].max()
    assert agent.rewards[agent.valid].min() < agent.rewards[~agent.valid].max(), "not by their rewards alone"


def test_infeasible_designs_are_avoided(search, monkeypatch):
    def cheap_is_infeasible(out):
        out["feasible"] = out["size"] > 10

    def feasible(caution):
        monkeypatch.setattr(bo, "CAUTION", caution)
        _, history = search(Sums(change=cheap_is_infeasible), Objective(Minimize("size")), budget=40)
        assert history["size"][history["feasible"]].min() == 11
        return history["feasible"].mean()

    assert feasible(3.0) > feasible(0.0)


def test_normal_scores_are_quantiles_of_ranks():
    scores = _normal_scores(np.array([3.0, -np.inf, 7.0, 3.0, 1e300]))
    assert scores[1] < scores[0] == scores[3] < scores[2] < scores[4]
    assert _normal_scores(np.array([9.0, 7.0, 8.0])) == pytest.approx(ndtri([5 / 6, 1 / 6, 1 / 2]))
    assert _normal_scores(np.zeros(4)) == pytest.approx(np.zeros(4))


# --- more samples than the processes are conditioned on ---


@pytest.mark.parametrize("front", [None, ["cost", "size"]], ids=["reward", "front"])
def test_processes_hold_no_more_than_the_memory(search, monkeypatch, front):
    sizes, fit = [], GaussianProcess.fit

    def counted(self, x, y, *, iterations):
        sizes.append(len(x))
        assert len(np.unique(x, axis=0)) == len(x)
        fit(self, x, y, iterations=iterations)

    monkeypatch.setattr(GaussianProcess, "fit", counted)
    search(Sums(), LIMITED, budget=75, memory=50, startup=40, candidates=50, front=front)
    assert max(sizes) == sizes[-1] == 50 > min(sizes)


def test_the_memory_has_the_best_and_the_latest():
    simulator = Sums()
    agent = started(simulator, LIMITED, memory=50)
    designs = np.unique(SPACE.sample(400, np.random.default_rng(0)), axis=0)
    evaluate(agent, simulator, np.random.default_rng(1).permutation(designs)[:150])
    rows = agent._memory()
    assert len(np.unique(rows)) == 50 and set(range(142, 150)) <= set(rows)
    best = np.argsort(np.where(agent.valid, -agent.rewards, np.inf), kind="stable")
    assert set(best[:16]) <= set(rows)


# --- the proposal is the best of all ---


class Watched(BayesianOptimization):
    """Keeps the share of unseen designs whose acquisition exceeds that of the proposal."""

    def _climb(self, terms, elite):
        proposal = super()._climb(terms, elite)
        unseen = self._unseen(next(self.space.enumerate()))
        self.above = np.mean(self._value(terms, unseen) > self._value(terms, proposal[None]) + 1e-9)
        return proposal


@pytest.mark.parametrize("models", ["metrics", "ranks"])
def test_the_proposal_is_among_the_best_of_all_unseen_designs(models):
    above = []
    for seed in range(10):
        simulator = Sums()
        agent = started(simulator, LIMITED, seed=seed, cls=Watched, models=models, startup=20)
        evaluate(agent, simulator, agent.ask(20))
        agent.ask(1)
        above.append(agent.above)
    assert np.sum(np.array(above) <= 0.02) >= 9, above
    assert np.median(above) == 0, "mostly the best itself"


def test_the_acquisition_is_the_sum_of_the_docstring():
    """Of a proposal among samples of which some are infeasible and some break the limit."""

    def some_infeasible(out):
        out["feasible"] = out["cost"] < 25

    simulator = Sums(change=some_infeasible)
    agent = started(simulator, LIMITED, models="metrics", startup=20)
    evaluate(agent, simulator, agent.ask(40))
    agent.ask(1)
    terms, _ = agent._acquisition()
    best_design = agent.designs[agent._best_first(agent.rewards)[0]]
    designs = np.concatenate(
        [neighbours(SPACE, best_design, np.random.default_rng(4)), SPACE.sample(30, np.random.default_rng(5))]
    )
    values = agent._value(terms, designs)

    mean, sd = agent.fitted["Minimize cost"].predict(designs)
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((200_000, 1))
    columns = simulator.evaluate_indices(agent.designs)
    best = -np.log(columns["cost"][agent.valid].min())
    gain = np.maximum(mean + sd * draws - best, 0).mean(axis=0)
    size, spread = agent.fitted["limit 1 size"].predict(designs)
    within = (size + spread * draws < np.log(12.0)).mean(axis=0)
    feasible = np.clip(1 - agent.fitted["infeasible"].predict(designs)[0], 0.01, 1)
    clear = (gain > 1e-3) & (within > 0.05)
    assert clear.sum() >= 2 and len(terms) == 3
    expected = np.log(gain[clear]) + np.log(within[clear]) + 3 * np.log(feasible[clear])
    assert values[clear] == pytest.approx(expected, abs=0.1)


def test_the_improvement_is_that_of_the_weighted_sum():
    objective = Objective(Minimize("cost", 0.5), Maximize("size", 3.0), form="linear")
    agent = started(Sums(), objective, models="metrics")
    evaluate(agent, Sums(), agent.ask(15))
    agent.ask(1)
    designs = SPACE.sample(200, np.random.default_rng(5))
    cost, size = (agent.fitted[name].predict(designs) for name in ("Minimize cost", "Maximize size"))
    draws = np.random.default_rng(0).standard_normal((2, 20_000, 1))
    total = 0.5 * (cost[0] + cost[1] * draws[0]) + 3.0 * (size[0] + size[1] * draws[1])
    columns = Sums().evaluate_indices(agent.designs)
    best = (3.0 * columns["size"] - 0.5 * columns["cost"]).max()
    gain = np.maximum(total - best, 0)
    clear = (gain > 0).mean(axis=0) > 0.1
    expected = np.log(gain.mean(axis=0)[clear])
    assert clear.sum() >= 3
    assert agent._value(agent._improvement(), designs)[clear] == pytest.approx(expected, abs=0.05)


# --- fronts ---


def test_a_front_is_found_with_more_hypervolume_than_at_random(search):
    class Opposed(Sums):
        def evaluate_indices(self, indices, rng=None):
            first, second = (1.0 + ((indices[:, :4] - at) ** 2).sum(axis=1) for at in (1, 3))
            return super().evaluate_indices(indices) | {"cost": first, "size": second}

    def volume(agent, seed):
        _, history = search(Opposed(), budget=35, agent=agent, seed=seed, front=["cost", "size"])
        points = np.log(np.stack([history["cost"], history["size"]], axis=1).astype(float))
        return hypervolume(points, np.log([40.0, 40.0]))

    bo, by_chance = ([volume(agent, seed) for seed in range(2)] for agent in (BayesianOptimization, Random))
    assert min(bo) > max(by_chance)


def test_a_metric_may_have_the_name_of_a_model(search):
    def renamed(out):
        out["feasible"] = out["size"] > 8
        out.update(infeasible=out["cost"], ranks=out["size"])

    class Named(Sums):
        metrics = (Metric("infeasible", "1", "lower"), Metric("ranks", "1", "lower"))
        default_objective = Objective(Minimize("infeasible"), Minimize("ranks"))

    class Plain(Sums):
        default_objective = Objective(Minimize("cost"), Minimize("size"))

    named, _ = search(Named(change=renamed), front=["infeasible", "ranks"])
    plain, _ = search(Plain(change=renamed), front=["cost", "size"])
    assert np.array_equal(named, plain)


def test_searches_warn_of_nothing(search):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(Bowl(), budget=20, q=2)
