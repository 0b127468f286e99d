"""Conditional spaces: counts, numbers and draws of designs equal those of brute force."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from archgym import (
    ArchEnv,
    ArchGymError,
    ArchVectorEnv,
    Categorical,
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Objective,
    Ordinal,
    Real,
    Simulator,
    find_optimum,
)
from archgym.infos import finished
from archgym.simulator_wrappers import Tabulated
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
