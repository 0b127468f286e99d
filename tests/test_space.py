"""Design spaces: indices, ordinals, values and JSON are the same designs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym import ArchGymError, Categorical, DesignSpace, Integer, Ordinal, Real
from archgym.space import Parameter

NAMES = ["a", "b", "c", "d", "e", "f"]
numbers = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_subnormal=False))
words = st.text("abcxyz_0 é", min_size=1, max_size=5)


@st.composite
def parameters(draw: st.DrawFn, name: str) -> Parameter:
    kind = draw(st.sampled_from(["numbers", "words", "bools", "mixed", "integer", "real"]))
    if kind == "integer":
        low = draw(st.integers(-50, 50))
        return Integer(name, low, low + draw(st.integers(0, 12)), draw(st.integers(1, 4)))
    if kind == "real":
        low = draw(st.floats(0.01, 10.0))
        return Real(
            name,
            low,
            low * draw(st.floats(1.5, 100.0)),
            log=draw(st.booleans()),
            levels=draw(st.integers(1, 9)),
        )
    if kind == "bools":
        return Categorical(name, draw(st.permutations([False, True])))
    values = {"numbers": numbers, "words": words, "mixed": st.one_of(st.none(), words, st.integers(2, 9))}[
        kind
    ]
    listed = draw(st.lists(values, min_size=1, max_size=6, unique=True))
    default = draw(st.sampled_from([None, *listed]))
    return draw(st.sampled_from([Categorical, Ordinal]))(name, listed, default)


@st.composite
def spaces(draw: st.DrawFn, least: int = 0) -> DesignSpace:
    names = NAMES[: draw(st.integers(least, 5))]
    return DesignSpace([draw(parameters(name)) for name in names])


def samples(space: DesignSpace, n: int = 7) -> np.ndarray:
    return space.sample(n, np.random.default_rng(0))


@given(spaces())
def test_encode_is_the_inverse_of_decode(space):
    indices = samples(space)
    designs = space.decode(indices)
    assert list(designs) == list(space.names) and all(len(column) == 7 for column in designs.values())
    if len(space):
        assert np.array_equal(space.encode(designs), indices)


@given(spaces(least=1))
def test_one_design_in_plain_values_encodes_to_its_row(space):
    row = samples(space, 1)[0]
    design = {p.name: p.value(int(i)) for p, i in zip(space, row, strict=True)}
    assert np.array_equal(space.encode(design), row[None])
    assert not any(isinstance(value, np.generic) for value in design.values())
    assert space.design(row) == design


@given(spaces(), st.integers(1, 50))
def test_enumerate_gives_every_design_once_in_the_order_of_ordinals(space, chunk):
    if space.size > 3000:
        return
    chunks = list(space.enumerate(chunk))
    assert all(1 <= len(c) <= chunk for c in chunks)
    every = np.concatenate(chunks)
    assert every.shape == (space.size, len(space))
    assert np.array_equal(space.to_ordinal(every), np.arange(space.size))
    assert len(np.unique(every, axis=0)) == space.size if len(space) else len(every) == 1
    assert (every < space.nvec).all() and (every >= 0).all()


@given(spaces())
def test_from_ordinal_is_the_inverse_of_to_ordinal(space):
    indices = samples(space)
    assert np.array_equal(space.from_ordinal(space.to_ordinal(indices)), indices)


def test_ordinals_stay_exact_beyond_64_bits():
    space = DesignSpace([Integer(f"p{i}", 0, 15) for i in range(20)])
    assert space.size == 16**20
    last = space.nvec[None] - 1
    assert space.to_ordinal(last).tolist() == [16**20 - 1]
    assert np.array_equal(space.from_ordinal(space.to_ordinal(last)), last)
    assert np.array_equal(space.from_ordinal(np.array([16**19 + 3], object))[0, [0, 19]], [1, 3])


@given(spaces())
def test_json_gives_an_equal_space_back(space):
    again = DesignSpace.from_json(space.to_json())
    assert again == space and hash(again) == hash(space)
    assert again.defaults() == space.defaults()
    indices = samples(space)
    for (name, one), other in zip(space.decode(indices).items(), again.decode(indices).values(), strict=True):
        assert np.array_equal(one, other), name


@given(spaces(least=1), st.data())
def test_neighbors_are_one_move_away_each_once_and_symmetric(space, data):
    row = np.array([data.draw(st.integers(0, int(n) - 1)) for n in space.nvec])
    neighbors = space.neighbors(row)
    expected = sum(
        (i > 0) + (i < n - 1) if p.ordered else n - 1
        for p, i, n in zip(space, row.tolist(), space.nvec.tolist(), strict=True)
    )
    assert len(neighbors) == expected == len({tuple(r) for r in neighbors.tolist()})
    for neighbor in neighbors:
        changed = np.flatnonzero(neighbor != row)
        assert len(changed) == 1
        if space.parameters[changed[0]].ordered:
            assert abs(neighbor[changed[0]] - row[changed[0]]) == 1
        assert (space.neighbors(neighbor) == row).all(axis=1).any()


@given(spaces(least=1), spaces(least=1))
def test_join_puts_two_spaces_side_by_side_and_split_takes_them_apart(cell, chip):
    joint = DesignSpace.join(cell=cell, chip=chip)
    assert joint.names == tuple(f"cell_{n}" for n in cell.names) + tuple(f"chip_{n}" for n in chip.names)
    assert joint.size == cell.size * chip.size and joint.nvec.tolist() == [
        *cell.nvec.tolist(),
        *chip.nvec.tolist(),
    ]
    indices = samples(joint)
    designs = joint.decode(indices)
    assert np.array_equal(cell.encode(DesignSpace.split(designs, "cell")), indices[:, : len(cell)])
    assert np.array_equal(chip.encode(DesignSpace.split(designs, "chip")), indices[:, len(cell) :])


def test_samples_are_uniform_and_repeatable():
    space = DesignSpace([Integer("a", 0, 2), Categorical("b", ["x", "y", "z", "w"])])
    rows = space.sample(24_000, np.random.default_rng(1))
    assert np.array_equal(rows, space.sample(24_000, np.random.default_rng(1)))
    counts = np.bincount(space.to_ordinal(rows), minlength=12)
    assert (np.abs(counts - 2000) < 6 * np.sqrt(2000)).all()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Ordinal("a", [1, 2, 1]), "twice"),
        (lambda: Categorical("a", {"x", "y"}), "expected a list of values, got {"),
        (lambda: Categorical("a", 5), "expected a list of values, got 5"),
        (lambda: Categorical("a", [10**5000]), "cannot be stored"),
        (lambda: Categorical("a", ["x"], default=np.arange(2)), "not a value of parameter 'a'"),
        (lambda: Integer("a", None, 1), "expected a whole number as low, got None"),
        (lambda: Integer("a", 0, 10**5000), "of 64 bits"),
        (lambda: Real("a", "0", 1), "expected a number as low, got '0'"),
        (lambda: Real("a", 0, 10**400), "expected a number as high"),
        (lambda: Real("a", -1e308, 1e308), "a range that a float can measure"),
        (lambda: Real("a", 0, 1, levels=2.5), "expected a whole number as levels, got 2.5"),
        (lambda: Integer("a", 0, 9).validate(10**5000), "not a value of parameter 'a'"),
        (lambda: Real("a", 0, 9).validate(10**400), "not a value of parameter 'a'"),
        (lambda: Real("a", 0, 9).index([10**400]), "not a value of parameter 'a'"),
        (lambda: Ordinal("a", [1, 1.0]), "twice"),
        (lambda: Categorical("a", [True, 1]), "twice"),
        (lambda: Ordinal("a", []), "no values"),
        (lambda: Ordinal("a", [1, 2], default=3), "3"),
        (lambda: Integer("a", 3, 2), "low <= high"),
        (lambda: Integer("a", 0, 2, step=0), "step"),
        (lambda: Integer("a", 0, 2, default=7), "7"),
        (lambda: Real("a", 0.0, 1.0, log=True), "low > 0"),
        (lambda: Real("a", 0.0, float("inf")), "finite"),
        (lambda: DesignSpace([Integer("a", 0, 1), Integer("a", 0, 1)]), "'a'"),
        (lambda: DesignSpace([Integer("", 0, 1)]), "name"),
        (lambda: DesignSpace([Integer("a", 0, 1)])["b"], "'b'"),
        (lambda: DesignSpace.from_json('[{"kind": "Ordinel", "name": "a"}]'), "Ordinal"),
    ],
)
def test_wrong_parameters_are_refused_with_what_is_wrong(build, says):
    with pytest.raises(ArchGymError, match=says):
        build()


SPACE = DesignSpace(
    [
        Ordinal("unroll", [1, 2, 4]),
        Categorical("isa", ["avx2", "avx512"]),
        Real("ratio", 0.1, 10.0, log=True, levels=3),
    ]
)


@pytest.mark.parametrize(
    ("designs", "says"),
    [
        ({"unroll": 3, "isa": "avx2", "ratio": 1.0}, "unroll"),
        ({"unroll": 2, "isa": "avx", "ratio": 1.0}, "isa"),
        ({"unroll": 2, "isa": 7, "ratio": 1.0}, "isa"),
        ({"unroll": 2, "isa": "avx2", "ratio": 1.1}, "ratio"),
        ({"unroll": 2, "isa": "avx2"}, "ratio"),
        ({"unrol": 2, "isa": "avx2", "ratio": 1.0}, "did you mean 'unroll'"),
        ({"unroll": [1, 2], "isa": ["avx2"], "ratio": [1.0]}, "columns of one length"),
    ],
)
def test_designs_off_the_grid_are_refused(designs, says):
    with pytest.raises(ArchGymError, match=says):
        SPACE.encode(designs)


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (
            Integer("n", 2, 10, step=4),
            [2, 3, 10, 4.0, np.int64(5)],
            [1, 11, 2.5, True, "3", None, float("nan")],
        ),
        (
            Real("r", 0.5, 2.0, levels=3),
            [0.5, 0.7, 2, np.float32(1.5)],
            [0.4, 2.1, True, "1", None, float("nan")],
        ),
        (Ordinal("o", [1, 2, 4]), [1, 4, np.int32(2)], [3, True, "1"]),
        (Categorical("f", [False, True]), [True, np.False_], [0, 1, "True"]),
    ],
)
def test_hyperparameters_are_validated_by_range_and_not_by_grid(parameter, good, bad):
    for value in good:
        assert parameter.validate(value) == value
        assert not isinstance(parameter.validate(value), np.generic)
    for value in bad:
        with pytest.raises(ArchGymError, match=parameter.name):
            parameter.validate(value)


def test_a_space_without_parameters_has_one_design():
    space = DesignSpace([])
    assert space.size == 1 and space.sample(3, np.random.default_rng(0)).shape == (3, 0)
    assert [chunk.shape for chunk in space.enumerate()] == [(1, 0)]
