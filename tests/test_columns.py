"""Parameters of any types: to the simulator, to Parquet, to data sets and studies and back with their
types, or refused when made.
"""

from __future__ import annotations

import enum
import json
from fractions import Fraction
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import NEEDS
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import (
    ArchGymError,
    Categorical,
    DesignSpace,
    Integer,
    Metric,
    Minimize,
    Objective,
    Ordinal,
    Real,
    Simulator,
)
from archgym.dataset import load_dataset, save_dataset
from archgym.dataset.build import build
from archgym.files.columns import arrow_table, read_columns, read_designs
from archgym.study.run import execute
from archgym.testing import check_simulator


class Policy(enum.Enum):
    LRU = 1
    FIFO = 2


class Width(enum.IntEnum):
    NARROW = 1
    WIDE = 2


KINDS = {
    "text and numbers": ["none", 4, 8, 16],
    "text that looks like a number": ["4", 4, "None", None],
    "bool and integers": [False, 2, 4],
    "enum": list(Policy),
    "integer enum": list(Width),
    "bytes": [b"\x00", b"a"],
    "tuples": [(1, 1), (3, 3)],
    "tuples of several lengths": [(1,), (3, 3), ()],
    "64-bit masks": [0, 1, 2**64 - 1],
    "integers beyond 64 bits": [0, 2**70],
    "negative and beyond 63 bits": [-1, 2**63],
    "integer that a float cannot hold": [2**53 + 1, 0.5],
    "none and integers": [None, 4, 8],
    "none and 64-bit masks": [None, 2**64 - 1],
    "none and text": [None, "a"],
    "none, bool, text": [None, True, "a"],
    "integers and floats": [1, 2.5],
    "fractions, paths": [Fraction(1, 3), Path("a"), "a"],
    "types": [int, float, np.dtype("f4")],
    "text that is not Unicode": ["a", "\ud800"],
    "paths that are not Unicode": [Path("a"), Path("b\udcff")],
    "text that ends in NUL": ["a", "a\0", "\0"],
    "numpy": [np.int64(3), np.float32(0.5), np.str_("a")],
    "bools": [True, False],
}


class Any_(Simulator):
    metrics = (Metric("t_s", "s", "lower"),)
    default_objective = Objective(Minimize("t_s"))

    def __init__(self, kind):
        self.space = DesignSpace(
            [Categorical("p", KINDS[kind]), Integer("x", 1, 3), Real("r", 1.0, 2.0, levels=3)]
        )

    def evaluate(self, designs, rng=None):
        place = [self.space["p"].plain.index(value) for value in designs["p"].tolist()]
        return {"t_s": designs["x"] * (1.0 + np.array(place)), "feasible": designs["x"] > 0}


@pytest.fixture(autouse=True, scope="module")
def registered():
    archgym.register_env("tests/Any-v0", simulator=Any_)
    archgym.register_env("tests/Long-v0", simulator=Long)
    yield
    for env_id in ("tests/Any-v0", "tests/Long-v0"):
        gymnasium.registry.pop(env_id, None)


def typed(values):
    return [(type(value), value) for value in values]


@pytest.mark.parametrize("kind", KINDS)
def test_values_reach_the_simulator_and_every_file_and_come_back_with_their_types(kind, tmp_path):
    simulator = Any_(kind)
    space, parameter = simulator.space, simulator.space["p"]
    check_simulator(simulator)
    assert typed(DesignSpace.from_json(space.to_json())["p"].plain) == typed(parameter.plain)
    indices = space.from_ordinal(np.arange(space.size))
    column = space.decode(indices)["p"]
    assert typed(column.tolist()) == typed([parameter.plain[i] for i in indices[:, 0]])
    assert np.array_equal(space.encode(space.decode(indices)), indices)
    assert np.array_equal(
        space.encode({name: values.tolist() for name, values in space.decode(indices).items()}), indices
    )
    assert all(np.array_equal(space.encode(space.design(row))[0], row) for row in indices)

    result = archgym.search("tests/Any-v0", "genetic", budget=20, env_kwargs={"kind": kind})
    table = pyarrow.parquet.read_table(result.to_parquet(tmp_path / "o.parquet"))
    assert typed(read_columns(table)["p"].tolist()) == typed(result.history["p"].tolist())
    again = archgym.search_again(json.loads(table.schema.metadata[b"archgym"]))
    assert again.history["p"].tolist() == result.history["p"].tolist()

    data = load_dataset(save_dataset(build([tmp_path / "o.parquet"]), tmp_path / "data"))
    assert {tuple(row) for row in data.indices.tolist()} == {
        tuple(row) for row in space.encode(dict_of(result, space)).tolist()
    }

    content, _ = execute(result.specification, "full")
    assert typed(
        read_columns(pyarrow.parquet.read_table(pyarrow.BufferReader(content)))["p"].tolist()
    ) == typed(result.history["p"].tolist())


def dict_of(result, space):
    return {name: result.history[name] for name in space.names}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        min_size=1,
        max_size=5,
    ),
    st.randoms(),
)
def test_any_list_of_distinct_values_is_stored_and_read_back(values, random):
    values = [value for i, value in enumerate(values) if value not in values[:i]]
    space = DesignSpace([Ordinal("p", values)])
    indices = np.array([[random.randrange(len(values))] for _ in range(6)])
    table = arrow_table(space, space.decode(indices))
    assert np.array_equal(read_designs(space, table), indices)
    assert read_columns(table)["p"].tolist() == [space["p"].plain[i] for i in indices[:, 0]]
    assert DesignSpace.from_json(space.to_json())["p"].plain == space["p"].plain


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Categorical("kernel", [[1, 1], [3, 3]]), r"hashable.*\[1, 1\]; write the tuple \(1, 1\)"),
        (lambda: Categorical("kernel", [{"a": 1}, {}]), "hashable"),
        (lambda: Categorical("f", [lambda: 0, lambda: 1]), "'f'.*cannot be stored.*module level"),
        (lambda: Categorical("o", [object(), object()]), "'o'.*cannot be stored"),
        (lambda: Ordinal("n", [1.0, float("nan")]), "nan.*does not equal itself"),
        (lambda: Integer("x\ud800", 0, 3), "in Unicode"),
        (lambda: Integer("x", 0.5, 3), "whole number as low, got 0.5"),
        (lambda: Integer("x", "0", 3), "whole number as low, got '0'"),
        (lambda: Integer("x", 0, 2**64), "64 bits"),
        (lambda: Integer("x", -(2**63), 2**63 - 1), "64 bits"),
        (lambda: Real("r", 0.0, 1.0, levels=10**9), "at most 10,000,000 levels"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_when_the_space_is_made(make, says):
    with pytest.raises(ArchGymError, match=says):
        make()


def test_bounds_may_be_numpy_numbers():
    space = DesignSpace(
        [
            Integer("x", np.int64(0), np.int32(7)),
            Real("r", np.float32(0.5), np.float64(2), levels=np.int64(3)),
        ]
    )
    assert DesignSpace.from_json(space.to_json()) == space
    assert [type(p.value(1)) for p in space] == [int, float]


@pytest.mark.parametrize(
    "integer", [Integer("x", 0, 10**9), Integer("x", -(10**17), 10**18, 7), Integer("x", 0, 2**63 - 3)]
)
def test_a_long_integer_parameter_needs_no_table(integer):
    space = DesignSpace([integer, Ordinal("y", [1, 2])])
    indices = space.sample(50, np.random.default_rng(0))
    designs = space.decode(indices)
    assert np.array_equal(space.encode(designs), indices)
    assert (
        space.design(indices[3])["x"]
        == integer.value(int(indices[3, 0]))
        == integer.low + integer.step * int(indices[3, 0])
    )
    assert space.encode({"x": integer.high - (integer.high - integer.low) % integer.step, "y": 2})[
        0
    ].tolist() == [len(integer) - 1, 1]
    with pytest.raises(ArchGymError, match="'x'"):
        space.encode({"x": integer.low - 1, "y": 1})
    with pytest.raises(ArchGymError, match="too many to list"):
        integer.grid  # noqa: B018
    assert "grid" not in vars(integer)


class Long(Simulator):
    metrics = (Metric("t_s", "s", "lower"),)
    default_objective = Objective(Minimize("t_s"), reference={"t_s": 1e6})

    def __init__(self, high=10**9):
        self.space = DesignSpace([Integer("x", 0, high), Integer("y", 1, 8)])

    def evaluate(self, designs, rng=None):
        return {"t_s": 1.0 + abs(designs["x"] - 123456789.0) / designs["y"], "feasible": designs["x"] >= 0}


@pytest.mark.parametrize("high", [10**9, 2**62, 2**63 - 3])
def test_agents_search_a_long_integer_parameter_or_say_why_not(high):
    for agent in archgym.list_agents():
        try:
            more = {"env_kwargs": {"high": high}, "agent_kwargs": NEEDS.get(agent)}
            assert archgym.search("tests/Long-v0", agent, budget=60, **more).samples == 60
        except ArchGymError as error:
            listing = ("gp", "ant_colony", "reinforce", "ppo", "a2c", "dqn", "independent_ppo")
            shared = ("darts", "pc_darts", "darts_pt", "sd_darts", "sharp_darts", "rarts", "shared_random")
            shared += ("gdas", "proxyless", "few_shot_gm", "shift", "multi_task", "enas")
            others = ("controller", "contextual_ppo", "contextual_value", "predictor")
            assert agent in (*listing, *others, *shared), agent
            assert ("weights to share" if agent in shared else "'x'") in str(error)


@pytest.mark.parametrize("values", [[3.0], [True], np.array([3], object), [3]])
def test_equal_numbers_of_other_types_are_the_same_value(values):
    assert Integer("x", 0, 5).index(values).tolist() in ([3], [1])
    assert Ordinal("x", [1, 3]).index(values).tolist() in ([1], [0])


@pytest.mark.parametrize("values", [["3"], [2.5], [None], [float("nan")], [9], ["a", 1], [(1, 2)], [2**70]])
def test_values_off_the_grid_are_refused_whatever_their_type(values):
    for parameter in (Integer("x", 0, 5), Ordinal("x", [1, 3]), Ordinal("x", ["b", 1]), Ordinal("x", ["b"])):
        with pytest.raises(ArchGymError, match="'x'"):
            parameter.index(values)
