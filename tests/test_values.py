"""Values as JSON: read back equal, told apart by content, or refused before anything is simulated."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict, namedtuple
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from threading import Lock

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym import ArchGymError, DesignSpace, Integer, Metric, Minimize, Objective, Simulator
from archgym.simulator_wrappers import Cached
from archgym.values import Unwritable, identify, read, write


class Policy(enum.Enum):
    OPEN = 1
    CLOSED = (2, "b")


class Access(enum.Flag):
    READ = 1
    WRITE = 2


Point = namedtuple("Point", "x y")


class Marked(Point):
    """A named tuple that holds more than its fields."""


@dataclasses.dataclass
class Doubled:
    """Its constructor converts what it is given, every time."""

    rows: int
    more: dataclasses.InitVar[int] = 0
    size: int = dataclasses.field(init=False, default=1)

    def __post_init__(self, more):
        self.rows, self.size = 2 * self.rows + more, self.size + 1


@dataclasses.dataclass
class Filled(dict):
    rows: int = 1


class Named:
    """Not a simulator, whatever its properties are called."""

    def __init__(self, held):
        self.held = held

    @property
    def specification(self):
        return "a name"


def twice(simulator):
    return Objective(Minimize("t_s", 2.0))


@dataclasses.dataclass(frozen=True)
class Bank:
    rows: int = 8
    policy: Policy = Policy.OPEN


class Holder:
    """Objects whose text says nothing about what they hold."""

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return "Holder"


class Told(Simulator):
    """Metrics that depend on the argument's value and type."""

    space = DesignSpace([Integer("a", 0, 99), Integer("b", 0, 99)])
    metrics = (Metric("t_s", "s", "lower"),)
    default_objective = Objective(Minimize("t_s"), reference={"t_s": 100.0})
    asked = 0

    def __init__(self, argument=None):
        self.scale = 1.0 + int.from_bytes(f"{type(argument)}{_shown(argument)}".encode(), "big") % 1009

    def evaluate(self, designs, rng=None):
        Told.asked += 1
        return {"t_s": self.scale * (1.0 + designs["a"] + designs["b"]), "feasible": designs["a"] >= 0}


def _shown(value):
    if isinstance(value, Holder):
        return _shown(value.held)
    return value.tobytes() if isinstance(value, np.ndarray) else getattr(value, "to_dict", lambda: value)()


@pytest.fixture(autouse=True, scope="module")
def registered():
    archgym.register_env("tests/Told-v0", simulator=Told)
    yield
    for env_id in ("tests/Told-v0", "tests/Taking-v0"):
        gymnasium.registry.pop(env_id, None)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
hashable = (
    plain
    | st.complex_numbers(allow_nan=False)
    | st.binary()
    | st.fractions()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.sampled_from(
        [
            *Policy,
            *Access,
            Access.READ | Access.WRITE,
            Path("a/b.csv"),
            range(3, 9, 2),
            Point(1, "y"),
            Bank(4, Policy.CLOSED),
        ]
    )
    | st.sampled_from([int, np.float32, np.dtype("<f4"), len, json.dumps])
)
written = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.just("$"), inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
    ),
    max_leaves=8,
)


def typed(value):
    """A value with the types of all its parts."""
    if isinstance(value, dict):
        return dict, sorted(repr((typed(key), typed(item))) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value), [typed(item) for item in value]
    if type(value) in (set, frozenset):
        return type(value), sorted(map(repr, map(typed, value)))
    return type(value), value


@settings(max_examples=100, deadline=None)
@given(written)
def test_what_is_written_is_read_back_with_its_types(value):
    again = read(json.loads(json.dumps(write(value))))
    assert again == value and typed(again) == typed(value)


@settings(max_examples=100, deadline=None)
@given(written, written)
def test_values_that_differ_have_different_identities(one, other):
    same = typed(one) == typed(other)
    assert (json.dumps(identify(one), sort_keys=True) == json.dumps(identify(other), sort_keys=True)) == same


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.array([[1, 2], [3, 4]], np.int8).T,
        np.array(["a", "bc"]),
        np.array([True, False]),
        np.array([1, "a", None, (2, 3)], object),
        np.array([(1, 2.5)], [("n", "<i4"), ("x", "<f8")]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.empty((0, 3)),
    ],
)
def test_arrays_are_read_back_with_type_and_shape(array):
    again = read(json.loads(json.dumps(write(array))))
    assert again.dtype == array.dtype and again.shape == array.shape and again.tolist() == array.tolist()


def test_an_integer_of_any_length_is_written():
    for value in (10**5000, -(10**5000)):
        assert read(json.loads(json.dumps(write(value)))) == value


def test_numpy_scalars_are_the_numbers_that_they_hold():
    assert write([np.int64(3), np.float32(0.5), np.bool_(True), np.str_("a")]) == [3, 0.5, True, "a"]


def frame(value):
    pandas = pytest.importorskip("pandas")
    cycles = np.ones(200)
    cycles[100] = value
    return pandas.DataFrame({"cycles": cycles, "name": ["a"] * 200})


def tensor(value):
    torch = pytest.importorskip("torch")
    cells = torch.ones(2000)
    cells[1000] = value
    return cells


def filled(dictionary, value):
    dictionary["a"] = value
    return dictionary


def looped(value):
    """An object that refers to itself."""
    holder = Holder(value)
    holder.me = holder
    return holder


@pytest.mark.parametrize(
    "make",
    [
        frame,
        lambda value: frame(value)["cycles"],
        tensor,
        lambda value: np.full(20_000, float(value)),
        lambda value: Holder(np.array([1.0, value])),
        lambda value: Holder({value, "a", "b"}),
        lambda value: Holder([Holder(value)]),
        lambda value: OrderedDict(a=value),
        lambda value: np.ma.array([1, 2], mask=[0, value > 1]),
        looped,
        lambda value: filled(Filled(), value),
        lambda value: vars(marked := Marked(1, 2)).update(of=value) or marked,
        Named,
        lambda value: np.array([(value, "a")], [("n", "i8"), ("text", "O")]),
        lambda value: np.array([f"a{value}"], np.dtypes.StringDType()),
    ],
)
def test_objects_are_told_apart_by_what_they_hold_and_not_by_their_text(make):
    assert identify(make(1)) == identify(make(1)) != identify(make(2))
    with pytest.raises(ArchGymError, match="only a hash"):
        read(write(make(1)))


def test_dictionaries_that_are_equal_have_one_identity():
    """The order of their keys does not count, for Python as for the identifiers of stored runs."""
    one, other = identify({"a": 1, "b": [2]}), identify({"b": [2], "a": 1})
    assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def test_the_identity_of_an_object_is_the_same_in_every_process():
    """Sets come in another order, and PyTorch pickles a tensor differently."""
    objects = "[Holder({'a', 'b', 'c'}), frame(1), tensor(1)]"
    script = f"import sys; sys.path[:0] = sys.argv[1:]; from test_values import *; print(identify({objects}))"
    here = str(Path(__file__).parent)
    texts = {
        subprocess.run(
            [sys.executable, "-c", script, here],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1 and "sha256" in texts.pop()


@pytest.mark.parametrize(
    "value", [lambda: 0, (i for i in "ab"), Lock(), open, [lambda: 0], Holder(lambda: 0), {1: Lock()}]
)
def test_what_can_be_neither_written_nor_told_apart_is_refused(value):
    if value is open:  # an open file, closed again at once
        with open(__file__) as value, pytest.raises(Unwritable):
            write(value)
        return
    with pytest.raises(Unwritable):
        write(value)


def test_a_list_that_contains_itself_is_refused():
    endless = [1]
    endless.append(endless)
    with pytest.raises(Unwritable, match="contains itself"):
        write(endless)


@pytest.mark.parametrize(
    "hostile",
    [
        {"$": "enum", "class": "os:system", "of": "true"},
        {"$": "dataclass", "class": "subprocess:Popen", "of": {"args": "true"}},
        {"$": "namedtuple", "class": "pathlib:Path", "of": ["a"]},
        {"$": "no such kind", "of": 1},
        {"$": "fraction", "of": "1/0"},
        {"$": "array", "dtype": "O", "shape": [7], "of": []},
        {"$": "tuple"},
    ],
)
def test_foreign_texts_are_refused_and_call_nothing(hostile):
    with pytest.raises(ArchGymError):
        read(hostile)


ARGUMENTS = {
    "enum": Policy.CLOSED,
    "flag": Access.READ | Access.WRITE,
    "tuple": (8, 8),
    "list": [8, 8],
    "other keys": {3: 1, (1, 2): "x"},
    "set": {3},
    "frozenset": frozenset([3]),
    "range": range(2, 5),
    "bytes": b"\x03",
    "complex": 1j,
    "fraction": Fraction(1, 3),
    "decimal": Decimal("0.1"),
    "path": Path("x.onnx"),
    "date": date(2020, 1, 2),
    "numpy": np.float32(0.1),
    "array": np.arange(5.0),
    "class": Holder,
    "namedtuple": Point(1, 2),
    "dataclass": Bank(4, Policy.CLOSED),
    "dataclass that converts": Doubled(3, more=1),
    "nested": {"a": [(1, Policy.OPEN), {"$": {Path("b")}}]},
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_a_search_with_an_argument_of_any_kind_is_repeated_row_for_row(kind):
    first = archgym.search("tests/Told-v0", "genetic", budget=20, env_kwargs={"argument": ARGUMENTS[kind]})
    again = archgym.search_again(json.loads(json.dumps(first.specification)))
    assert first.history["t_s"].tolist() == again.history["t_s"].tolist()


unwritable = st.builds(lambda: lambda: 0) | st.builds(Lock) | st.builds(lambda: (i for i in "ab"))


@settings(max_examples=60, deadline=None)
@given(written | st.lists(written | unwritable, max_size=3) | st.builds(Holder, written | unwritable))
def test_a_search_has_equal_rows_again_or_is_refused_before_the_first_sample(argument):
    Told.asked = 0
    try:
        first = archgym.search("tests/Told-v0", "random", budget=8, env_kwargs={"argument": argument})
    except ArchGymError:
        assert Told.asked == 0
        return
    specification = json.loads(json.dumps(first.specification))
    given = {"argument": argument} if '"content"' in json.dumps(specification["env"]["kwargs"]) else None
    again = archgym.search_again(specification, env_kwargs=given)
    assert first.history["t_s"].tolist() == again.history["t_s"].tolist()


@pytest.mark.parametrize("make", [frame, tensor, Holder, lambda value: np.full(20_000, value)])
def test_a_search_with_an_object_is_repeated_with_that_object_only(make):
    first = archgym.search("tests/Told-v0", "random", budget=20, env_kwargs={"argument": make(1.5)})
    Told.asked = 0
    with pytest.raises(ArchGymError, match=r"'argument'.*env_kwargs"):
        archgym.search_again(first.specification)
    with pytest.raises(ArchGymError, match="stored argument 'argument', got a different one"):
        archgym.search_again(first.specification, env_kwargs={"argument": make(2.5)})
    with pytest.raises(ArchGymError, match="did you mean 'argument'"):
        archgym.search_again(first.specification, env_kwargs={"argumnt": make(1.5)})
    assert Told.asked == 0
    again = archgym.search_again(first.specification, env_kwargs={"argument": make(1.5)})
    assert first.history["t_s"].tolist() == again.history["t_s"].tolist()


def test_a_search_that_could_not_be_repeated_is_refused_before_the_first_sample():
    Told.asked = 0
    with pytest.raises(ArchGymError, match=r"'argument' cannot be written down.*module level"):
        archgym.search("tests/Told-v0", "random", budget=20, env_kwargs={"argument": lambda: 0})
    assert Told.asked == 0


def test_a_simulator_that_changes_its_argument_does_not_change_what_is_repeated():
    class Taking(Told):
        def __init__(self, argument):
            super().__init__(argument.pop())

    archgym.register_env("tests/Taking-v0", simulator=Taking)
    given = [1, 2]
    first = archgym.search("tests/Taking-v0", "random", budget=5, env_kwargs={"argument": given})
    again = archgym.search_again(first.specification)
    assert first.history["t_s"].tolist() == again.history["t_s"].tolist()


@pytest.mark.parametrize("make", [frame, tensor, Holder, lambda value: (value, 8)])
def test_a_cache_never_answers_for_another_argument(make, tmp_path):
    def found(value, **kwargs):
        return archgym.search(
            "tests/Told-v0", "exhaustive", budget=16, env_kwargs={"argument": make(value)}, **kwargs
        )

    found(1, cache=tmp_path / "c")
    other = found(5, cache=tmp_path / "c")
    assert other.cache_hits == 0 and other.best_metrics == found(5).best_metrics
    assert found(5, cache=tmp_path / "c").cache_hits == 16


def test_a_tuple_and_a_list_do_not_share_a_cache(tmp_path):
    assert (
        Cached(Told((8, 8)), tmp_path / "c")._identity() != Cached(Told([8, 8]), tmp_path / "c")._identity()
    )


def test_a_simulator_as_an_argument_is_told_apart_by_its_own_arguments():
    assert identify([Told(1)]) == identify([Told(1)]) != identify([Told(2)])
    with pytest.raises(Unwritable, match=r"Told cannot be identified .*made with an argument"):
        identify([Told(lambda: 0)])


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_gymnasium_makes_the_same_environment_from_its_specification(kind):
    argument = ARGUMENTS[kind]
    for env in (
        gymnasium.make("tests/Told-v0", argument=argument),
        gymnasium.make("tests/Told-v0", argument=[argument]),
    ):
        stored = EnvSpec.from_json(env.spec.to_json())
        for spec in (stored, env.spec, pickle.loads(pickle.dumps(env.spec))):
            assert (
                gymnasium.make(spec).unwrapped.evaluator.specification()
                == env.unwrapped.evaluator.specification()
            )


def test_gymnasium_makes_the_same_environment_with_an_objective_that_is_a_function():
    env = gymnasium.make("tests/Told-v0", objective=twice)
    assert gymnasium.make(EnvSpec.from_json(env.spec.to_json())).unwrapped.objective == twice(None)
