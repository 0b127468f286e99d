"""Conditional spaces: counts, numbers and draws of designs equal those of brute force."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import optuna
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from typer.testing import CliRunner

from archgym import (
    ArchEnv,
    ArchGymError,
    ArchVectorEnv,
    Categorical,
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Minimize,
    Objective,
    Ordinal,
    Real,
    Simulator,
    find_optimum,
    register_env,
    search,
)
from archgym.agent import AskTellAgent
from archgym.agents._designs import crossed, free_genes, moved, mutated, neighbours, redraw_until_new
from archgym.agents._gaussian_process import GaussianProcess
from archgym.agents.ant_colony import AntColony
from archgym.agents.reinforce import Reinforce
from archgym.agents.tpe import TPE
from archgym.cli import app
from archgym.cli.search import _designs
from archgym.dataset import build, load_dataset
from archgym.dataset.card import _needed, _possible, card
from archgym.dataset.files import save_dataset
from archgym.files.columns import arrow_table, read_designs
from archgym.infos import finished
from archgym.lottery.statistics import importance
from archgym.proxy.features import Encoding
from archgym.simulator_wrappers import Tabulated
from archgym.space import from_configspace, from_optuna, suggest, to_configspace, to_optuna
from archgym.study.design import _distinct, _drawn
from archgym.task import Task
from archgym.testing import check_simulator


@st.composite
def spaces(draw: st.DrawFn) -> DesignSpace:
    """Up to six parameters of up to four values, each with conditions on up to two earlier ones."""
    parameters = []
    for p in range(draw(st.integers(1, 6))):
        parents = draw(st.lists(st.integers(0, p - 1), max_size=2, unique=True)) if p else []
        when = {
            f"p{q}": draw(
                st.lists(st.sampled_from(list(parameters[q].plain)), min_size=1, max_size=3, unique=True)
            )
            for q in parents
        }
        n = draw(st.integers(1, 4))
        kind = draw(st.sampled_from(["integer", "ordinal", "categorical", "real"]))
        if kind == "integer":
            made = Integer(f"p{p}", 3, 2 + n, default=draw(st.sampled_from([None, 2 + n])), when=when)
        elif kind == "real":
            made = Real(f"p{p}", 0.5, 2.0, levels=n, when=when)
        else:
            values = [f"v{v}" for v in range(n)]
            default = draw(st.sampled_from([None, *values]))
            made = {"ordinal": Ordinal, "categorical": Categorical}[kind](f"p{p}", values, default, when=when)
        parameters.append(made)
    return DesignSpace(parameters)


def distinct(space: DesignSpace) -> list[tuple[int, ...]]:
    """All designs, by the definition of `when` and a walk through every combination."""
    found = set()
    for combination in itertools.product(*(range(len(p)) for p in space)):
        row, active = list(combination), {}
        for p, parameter in enumerate(space):
            active[parameter.name] = all(
                active[name] and space[name].value(row[space.names.index(name)]) in values
                for name, values in parameter.when.items()
            )
            if not active[parameter.name]:
                row[p] = list(parameter.plain).index(parameter.default_value)
        found.add(tuple(row))
    return sorted(found)


@given(spaces())
@settings(max_examples=300)
def test_designs_equal_those_of_brute_force(space):
    expected = distinct(space)
    assert space.size == len(expected)
    rows = np.concatenate(list(space.enumerate(7)))
    assert list(map(tuple, rows.tolist())) == expected
    assert space.to_ordinal(rows).tolist() == list(range(space.size))
    assert np.array_equal(space.canonical(rows), rows)
    product = np.array(list(itertools.product(*(range(len(p)) for p in space))))
    canonical = space.canonical(product)
    assert {tuple(row) for row in canonical.tolist()} == set(expected)
    assert np.array_equal(space.to_ordinal(product), space.to_ordinal(canonical))
    for given_row, row, active, n in zip(
        product[:20], canonical, space.active(product), space.to_ordinal(product), strict=False
    ):
        assert space.order.rank_one(given_row.tolist()) == (row.tolist(), active.tolist(), n)
    for per in ("design", "parameter"):
        drawn = space.sample(20, np.random.default_rng(0), per=per)
        assert {tuple(row) for row in drawn.tolist()} <= set(expected)
    for p in range(len(space)):
        prefixes = [row[:p] for row in expected]
        mask = space.masks(rows, p)
        for row, prefix in zip(mask, prefixes, strict=True):
            legal = {each[p] for each in expected if each[:p] == prefix}
            assert set(np.flatnonzero(row).tolist()) == legal


@given(spaces())
@settings(max_examples=60)
def test_values_files_and_pickles_give_the_same_designs(space):
    rows = space.sample(9, np.random.default_rng(1))
    assert np.array_equal(space.encode(space.decode(rows)), rows)
    for row in rows:
        design = space.design(row)
        assert list(design) == [
            n for n, on in zip(space.names, space.active(row[None])[0], strict=True) if on
        ]
        assert np.array_equal(space.encode(design)[0], row)
        gaps = {name: design.get(name) for name in space.names}
        assert np.array_equal(space.encode(gaps)[0], row)
    for copy in (DesignSpace.from_json(space.to_json()), pickle.loads(pickle.dumps(space))):
        assert copy == space and hash(copy) == hash(space) and copy.size == space.size
        assert np.array_equal(copy.sample(9, np.random.default_rng(1)), rows)


@given(spaces())
@settings(max_examples=60)
def test_neighbors_reach_every_design(space):
    reached, frontier = set(), [tuple(space.canonical(np.zeros((1, len(space)), np.int64))[0].tolist())]
    while frontier:
        here = frontier.pop()
        if here not in reached:
            reached.add(here)
            rows = list(map(tuple, space.neighbors(np.array(here)).tolist()))
            assert len(set(rows)) == len(rows) and here not in rows
            frontier += rows
    assert len(reached) == space.size


@given(spaces(), spaces())
@settings(max_examples=30)
def test_join_prefixes_the_names_of_conditions(a, b):
    joint = DesignSpace.join(x=a, y=b)
    assert joint.size == a.size * b.size
    rows = joint.sample(9, np.random.default_rng(2))
    parts = DesignSpace.split(joint.decode(rows), "x"), DesignSpace.split(joint.decode(rows), "y")
    assert np.array_equal(np.hstack([a.encode(parts[0]), b.encode(parts[1])]), rows)


def plain_networks(depth: int) -> DesignSpace:
    """One to `depth` layers of kernel(3), width(4), dilation(2, where the kernel is above 1), pooling(2)."""
    parameters = [Integer("depth", 1, depth)]
    for layer in range(1, depth + 1):
        when = {"depth": range(layer, depth + 1)} if layer > 1 else {}
        parameters += [
            Ordinal(f"kernel{layer}", [1, 3, 5], when=when),
            Ordinal(f"width{layer}", [8, 16, 32, 64], when=when),
            Ordinal(f"dilation{layer}", [1, 2], when={**when, f"kernel{layer}": [3, 5]}),
            Categorical(f"pooling{layer}", ["none", "max"], when=when),
        ]
    return DesignSpace(parameters)


def test_counts_and_numbers_are_exact_in_large_spaces():
    space = plain_networks(6)
    assert len(space) == 25 and space.size == sum(40**d for d in range(1, 7)) == 4_201_025_640
    deep = plain_networks(30)
    assert deep.size == sum(40**d for d in range(1, 31)) > 2**63
    rows = deep.sample(50, np.random.default_rng(0))
    ordinals = deep.to_ordinal(rows)
    assert np.array_equal(deep.from_ordinal(ordinals), rows) and max(ordinals) < deep.size
    ends = np.array([0, deep.size - 1], object)
    assert deep.from_ordinal(ends)[:, 0].tolist() == [0, 29]
    assert deep.to_ordinal(deep.from_ordinal(ends)).tolist() == ends.tolist()


@pytest.mark.parametrize("depth", [2, 3])
def test_draws_are_uniform_over_designs(depth):
    space = DesignSpace(
        [Integer("depth", 1, depth)]
        + [
            Ordinal(f"width{n}", [1, 2, 3], default=2, when={"depth": range(n, depth + 1)})
            for n in range(1, depth + 1)
        ]
        + [Categorical("skip", "ab", when={"depth": depth, "width1": [2, 3]})]
    )
    counts = np.bincount(
        space.to_ordinal(space.sample(40_000, np.random.default_rng(3))), minlength=space.size
    )
    assert chisquare(counts).pvalue > 1e-3
    depths = np.bincount(space.sample(40_000, np.random.default_rng(3), per="parameter")[:, 0])
    assert chisquare(depths).pvalue > 1e-3


def test_wrong_conditions_are_refused():
    a, b = Integer("a", 1, 3), Integer("b", 1, 3, when={"a": 2})
    assert b.when == {"a": (2,)}
    for parameters, message in (
        ([b, a], "expected when= of parameter 'b' to name earlier parameters, got 'a'; list 'a' before it"),
        ([b], "a"),
        ([a, Integer("b", 1, 3, when={"a": 7})], "7 is not a value of parameter 'a'"),
        ([a, Integer("b", 1, 9, 4, default=3, when={"a": 1})], "3 is not a value of parameter 'b'"),
    ):
        with pytest.raises(ArchGymError, match=message):
            DesignSpace(parameters)
    with pytest.raises(ArchGymError, match="at least one value of 'a'"):
        Integer("b", 1, 3, when={"a": []})
    with pytest.raises(ArchGymError, match="expected a mapping of names to values"):
        Integer("b", 1, 3, when="a")
    space = DesignSpace([a, b])
    with pytest.raises(ArchGymError, match="expected a value of parameter 'b', which is active"):
        space.encode({"a": 2})
    with pytest.raises(ArchGymError, match="per of sample"):
        space.sample(1, np.random.default_rng(0), per="row")


class Layers(Simulator):
    """The width of all layers, and the rows that it was asked for."""

    metrics = (Metric("width"),)
    default_objective = Objective(Maximize("width"))

    def __init__(self) -> None:
        self.space = DesignSpace(
            [Integer("depth", 1, 2), Integer("w1", 1, 3), Integer("w2", 1, 3, default=2, when={"depth": 2})]
        )

    def evaluate(self, designs, rng=None):
        assert (designs["w2"][designs["depth"] == 1] == 2).all()
        width = designs["w1"] + np.where(designs["depth"] == 2, designs["w2"], 0)
        return {"width": width.astype(float), "feasible": np.ones(len(width), bool)}


def test_environments_take_any_index_of_an_inactive_parameter():
    with ArchEnv(Task("Layers-v0", Layers)) as env:
        env.reset(seed=0)
        infos = [env.step(np.array([0, 1, w]))[4] for w in range(3) if env.reset() is not None]
        assert all(info["design"] == {"depth": 1, "w1": 2} for info in infos)
        assert env.unwrapped.ledger.unique == 1
        assert env.unwrapped.ledger.column("indices").tolist() == [[0, 1, 1]] * 3
    best = find_optimum(Layers(), Layers.default_objective)
    assert best.indices.tolist() == [1, 2, 2] and best.designs == 12
    check_simulator(Layers())
    table = Task("Layers-v0", lambda: Tabulated(Layers()))
    actions = np.array(list(itertools.product(range(2), range(3), range(3))))
    single, batch = ArchEnv(table), ArchVectorEnv(table, len(actions))
    batch.reset(seed=0)
    steps = [single.step(action) for action in actions if single.reset() is not None]
    done = finished(batch.step(actions)[4])
    assert [step[1] for step in steps] == done["reward"].tolist()
    assert single.ledger.column("indices").tolist() == batch.ledger.column("indices").tolist()
    assert steps[1][4]["design"] == {"depth": 1, "w1": 1}
    vector = ArchVectorEnv(Task("Layers-v0", Layers), 200)
    vector.reset(seed=0)
    vector.action_space.seed(0)
    design = finished(vector.step(vector.action_space.sample())[4])["design"]
    assert set(design["w2"][design["depth"] == 1].tolist()) == {2}
    assert vector.ledger.unique == 12


# --- agents ---


@given(spaces(), st.integers(0, 99))
@settings(max_examples=100)
def test_moves_give_other_canonical_designs_and_draw_what_they_open(space, seed):
    rng = np.random.default_rng(seed)
    parents = space.sample(40, rng, per="parameter")
    moves = [moved(space, parents, rng)]
    mutate = rng.random(parents.shape) < 0.4
    some = (mutate & free_genes(space, parents)).any(axis=1)
    moves.append(np.where(some[:, None], mutated(space, parents, mutate, rng), moves[0]))
    for children in moves:
        assert np.array_equal(space.canonical(children), children)
        assert space.size == 1 or (children != parents).any(axis=1).all()
    mothers, fathers, mix = parents[:20], parents[20:], rng.random((20, len(space))) < 0.5
    children = crossed(space, mothers, fathers, mix, rng)
    assert np.array_equal(space.canonical(children), children)
    theirs = np.where(mix, fathers, mothers)
    inherited = np.where(mix, space.active(fathers), space.active(mothers)) & space.active(children)
    assert (children == theirs)[inherited].all()
    for row in parents[:3]:
        around = neighbours(space, row, rng)
        assert np.array_equal(space.canonical(around), around) and (around != row).any(axis=1).all()
    assert {tuple(r) for r in np.concatenate(moves).tolist()} <= set(distinct(space))


def test_what_a_move_opens_is_drawn_evenly():
    space = DesignSpace([Categorical("on", [False, True]), Integer("n", 1, 5, default=2, when={"on": True})])
    off = np.tile([0, 1], (5000, 1))
    rng = np.random.default_rng(0)
    for opened in (moved(space, off, rng), mutated(space, off, np.ones(off.shape, bool), rng)):
        assert (opened[:, 0] == 1).all() and chisquare(np.bincount(opened[:, 1])).pvalue > 1e-3
    design, seen = off[0].copy(), {off[0].tobytes()}
    redraw_until_new(space, design, seen, rng)
    assert design[0] == 1


@pytest.mark.parametrize("multivariate", [True, False])
def test_densities_of_tpe_are_of_designs(multivariate):
    space = plain_networks(2)
    agent = TPE(multivariate=multivariate, startup=5)
    agent.start(space, budget=50, rng=np.random.default_rng(0))
    for _ in range(15):
        rows = agent.ask(2)
        assert np.array_equal(space.canonical(rows), rows)
        active = space.active(rows).sum(axis=1).astype(float)
        agent.tell(rows, active, {}, np.ones(2, bool))
    every = agent._in_places(np.concatenate(list(space.enumerate())))
    for log_density in agent.log_densities(every, agent.good()):
        assert np.exp(log_density.astype(float)).sum() == pytest.approx(1, rel=1e-4)


def test_tpe_learns_a_parameter_from_designs_that_have_it():
    space = DesignSpace([Categorical("on", [False, True]), Integer("n", 1, 5, when={"on": True})])
    told = np.array([[0, 0]] * 20 + [[1, 3], [1, 3], [1, 4]])
    agents = [TPE(multivariate=False) for _ in range(2)]
    for agent, rows in zip(agents, (told, told[20:]), strict=True):
        agent.start(space, budget=50, rng=np.random.default_rng(0))
        agent.tell(rows, np.zeros(len(rows)), {}, np.ones(len(rows), bool))
    densities = []
    for agent in agents:
        agent._tabulate(3)
        good = np.arange(agent.n_seen)
        densities.append(agent._marginals(agent._counts(good), len(good))[1, :5])
    assert densities[0] == pytest.approx(densities[1]) and densities[0].argmax() == 3


def test_gaussian_processes_tell_an_inactive_parameter_from_its_default():
    space = DesignSpace([Integer("depth", 1, 3), Integer("w", 1, 5, default=2, when={"depth": [2, 3]})])
    process = GaussianProcess(space)
    off, default, other = np.array([[0, 1]]), np.array([[1, 1]]), np.array([[1, 4]])
    assert process.squared_distances(off, default) > process.squared_distances(off, off)
    same = process.squared_distances(np.array([[0, 1]]), np.array([[2, 1]]))
    assert same > process.squared_distances(default, np.array([[2, 1]])) and other is not None


@pytest.mark.parametrize("agent", [Reinforce, AntColony])
def test_policies_learn_active_parameters_alone(agent):
    space = DesignSpace([Categorical("on", [False, True]), Integer("n", 1, 5, default=2, when={"on": True})])
    made = agent()
    made.start(space, budget=100, rng=np.random.default_rng(0))
    made.tell(np.tile([0, 1], (16, 1)), np.arange(16.0), {}, np.ones(16, bool))
    learned = made.logits if agent is Reinforce else made.trails
    assert np.ptp(learned[2:]) == pytest.approx(0, abs=1e-12)
    made.tell(np.tile([1, 4], (16, 1)), np.arange(16.0) ** 2, {}, np.ones(16, bool))
    assert agent is Reinforce or np.ptp(made.trails[2:]) > 0


class Tuned(AskTellAgent):
    version = 1
    hyperparameters = DesignSpace(
        [
            Categorical("mode", ["plain", "warm"]),
            Real("heat", 0.1, 1.0, levels=10, default=0.5, when={"mode": "warm"}),
            Integer("width", 1, 4),
        ]
    )

    def start(self, space, *, budget, rng):
        self.space, self.rng = space, rng

    def ask(self, n):
        return self.space.sample(n, self.rng)

    def tell(self, indices, rewards, metrics, feasible):
        pass


def test_inactive_hyperparameters_are_neither_taken_nor_swept():
    assert Tuned().configuration == {"mode": "plain", "width": 1} and Tuned().heat == 0.5
    assert Tuned(mode="warm", heat=0.123).configuration == {"mode": "warm", "heat": 0.123, "width": 1}
    with pytest.raises(ArchGymError, match="expected no heat of Tuned, which has it only with mode = warm"):
        Tuned(heat=0.2)
    found = [values for values, _ in _drawn(Tuned, "tuned", 44)]
    configurations = [Tuned(**values).configuration for values in found]
    assert len({repr(each) for each in configurations}) == 44  # all: 4 plain ones and 10 x 4 warm ones
    grid = [{"mode": m, "heat": h} for m in ("plain", "warm") for h in (0.1, 0.2)]
    assert _distinct(Tuned.hyperparameters, grid) == [
        {"mode": "plain"},
        {"mode": "warm", "heat": 0.1},
        {"mode": "warm", "heat": 0.2},
    ]


def test_importance_of_a_hyperparameter_is_within_configurations_that_have_it():
    rng = np.random.default_rng(0)
    configurations = [{"on": True, "x": int(x)} for x in rng.integers(5, size=40)] + [{"on": False}] * 40
    scores = np.array([each.get("x", -3.0) for each in configurations], float) + 0.01 * rng.random(80)
    found = {each.name: each for each in importance(configurations, scores, rng=rng)}
    assert found["on"].importance > 0.5 and 0.1 < found["x"].importance < 0.5
    flat = importance(configurations, np.where(scores < -2, 0.0, 1.0) + 0.01 * rng.random(80), rng=rng)
    assert {each.name: each.importance for each in flat}["x"] == 0


# --- files, data sets, proxies, tables ---


def test_files_have_null_for_inactive_parameters(tmp_path):
    space = plain_networks(2)
    rows = space.sample(30, np.random.default_rng(0), per="parameter")
    table = arrow_table(space, space.decode(rows))
    active = space.active(rows)
    assert [table[name].null_count for name in space.names] == (~active).sum(axis=0).tolist()
    assert np.array_equal(read_designs(space, table), rows)
    pyarrow.csv.write_csv(table, tmp_path / "designs.csv")
    register_env("tests/Networks-v0", simulator=Networks)
    assert np.array_equal(_designs(tmp_path / "designs.csv", "tests/Networks-v0", {}), rows)


class Networks(Simulator):
    """Active parameters, as cost."""

    metrics = (Metric("cost", "s", "lower"), Metric("area", "m", "lower"))
    default_objective = Objective(Minimize("cost"))
    space = plain_networks(2)

    def evaluate_indices(self, indices, rng=None):
        cost = (self.space.active(indices) * (1 + indices)).sum(axis=1).astype(float)
        return {"cost": cost, "area": 1 + (cost - 12) ** 2, "feasible": np.ones(len(cost), bool)}


def test_results_data_sets_and_proxies_of_conditional_spaces(tmp_path):
    register_env("tests/Networks-v0", simulator=Networks)
    result = search("tests/Networks-v0", "genetic", budget=200, env_kwargs={})
    assert result.best_design == {"depth": 1, "kernel1": 1, "width1": 8, "pooling1": "none"}
    assert result.unique == len(
        {
            tuple(row)
            for row in Networks.space.encode(
                {name: result.history[name] for name in Networks.space.names}
            ).tolist()
        }
    )
    result.to_parquet(tmp_path / "search.parquet")
    data = build([tmp_path / "search.parquet"]).distinct()
    assert len(data) == result.unique
    save_dataset(data, tmp_path / "data")
    assert np.array_equal(load_dataset(tmp_path / "data").indices, data.indices)
    text = card(data)
    assert "designs with it" in text and "that a design can have" in text
    shown = CliRunner().invoke(app, ["pareto", str(tmp_path / "data"), "--metrics", "cost,area"])
    assert shown.exit_code == 0 and "kernel1" in shown.output
    encoding = Encoding(Networks.space)
    rows = Networks.space.sample(50, np.random.default_rng(0), per="parameter")
    features, active = encoding(rows), Networks.space.active(rows)
    assert features.shape == (50, len(encoding))
    for p, name in enumerate(Networks.space.names):
        if Networks.space[name].when:
            assert np.array_equal(features[:, encoding.names.index(f"{name} active")], active[:, p])
    described = CliRunner().invoke(app, ["describe", "tests/Networks-v0"])
    assert "1,640 distinct designs" in described.output and "└─ kernel2" in described.output


@given(spaces())
@settings(max_examples=60)
def test_possible_pairs_of_a_data_card_are_those_of_designs(space):
    rows = np.array(distinct(space))
    active, needed = space.active(rows), _needed(space)
    for a, b in itertools.combinations(range(len(space)), 2):
        both = active[:, a] & active[:, b]
        assert _possible(space, needed, a, b) == len(np.unique(rows[both][:, [a, b]], axis=0))


# --- other libraries ---


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_configspace_has_the_same_designs(space):
    pytest.importorskip("ConfigSpace")
    given_space = to_configspace(space)
    back, feasible = from_configspace(given_space)
    assert back == space
    rows = np.concatenate([space.encode(dict(each)) for each in given_space.sample_configuration(5)])
    assert feasible(space.decode(rows)).all()


def test_conditions_of_configspace_become_lists_of_values():
    library = pytest.importorskip("ConfigSpace")
    found = library.ConfigurationSpace({"a": (1, 5), "mode": ["x", "y", "z"], "rate": (0.1, 1.0), "k": 3})
    found.add(library.OrdinalHyperparameter("size", [8, 4, 2]))
    found.add([library.Integer(f"p{n}", (0, 3)) for n in range(5)])
    found.add(
        library.GreaterThanCondition(found["p0"], found["a"], 3),
        library.NotEqualsCondition(found["p1"], found["mode"], "y"),
        library.LessThanCondition(found["p2"], found["size"], 2),
        library.AndConjunction(
            library.EqualsCondition(found["p3"], found["mode"], "x"),
            library.InCondition(found["p3"], found["a"], [1, 2]),
        ),
        library.OrConjunction(
            library.EqualsCondition(found["p4"], found["a"], 1),
            library.LessThanCondition(found["p4"], found["a"], 3),
        ),
    )
    found.add(
        library.ForbiddenAndConjunction(
            library.ForbiddenEqualsClause(found["mode"], "x"), library.ForbiddenInClause(found["p0"], [0, 1])
        )
    )
    space, feasible = from_configspace(found, levels=7)
    assert {name: dict(space[name].when) for name in ("p0", "p1", "p2", "p3", "p4")} == {
        "p0": {"a": (4, 5)},
        "p1": {"mode": ("x", "z")},
        "p2": {"size": (8, 4)},
        "p3": {"mode": ("x",), "a": (1, 2)},
        "p4": {"a": (1, 2)},
    }
    assert len(space["rate"]) == 7
    rows = space.sample(300, np.random.default_rng(0), per="parameter")
    designs = [space.design(row) for row in rows]
    expected = [not (d["mode"] == "x" and d.get("p0") in (0, 1)) for d in designs]
    assert feasible(space.decode(rows)).tolist() == expected and 0 < sum(expected) < 300
    either = library.ConfigurationSpace({"a": (1, 3), "b": (1, 3), "c": (1, 3)})
    either.add(
        library.OrConjunction(
            library.EqualsCondition(either["c"], either["a"], 1),
            library.EqualsCondition(either["c"], either["b"], 1),
        )
    )
    with pytest.raises(ArchGymError, match="make a parameter of the combinations of a and b"):
        from_configspace(either)


def test_optuna_is_asked_for_active_parameters_alone():
    space = DesignSpace(
        [
            Integer("depth", 1, 9, 4),
            Real("rate", 0.01, 1.0, log=True, levels=5, when={"depth": [5, 9]}),
            Categorical("skip", [True, False, None], when={"depth": 9}),
            Real("share", 0.0, 1.0, levels=3),
        ]
    )
    found = from_optuna(to_optuna(space), levels=5)
    assert found.names == space.names and all(a.plain == b.plain for a, b in zip(found, space, strict=True))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(60):
        trial = study.ask()
        design = suggest(trial, space)
        assert trial.params.keys() == design.keys() == space.design(space.encode(design)[0]).keys()
        seen.add(design["depth"])
    assert seen == {1, 5, 9}
