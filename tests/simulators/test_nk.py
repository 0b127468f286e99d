"""NK landscapes: the definition, written out, and the optimum against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.objective import AtMost, Maximize, Minimize, Objective, Target
from archgym.simulators.nk import NKLandscape


def fitness(landscape, designs):
    return landscape.evaluate_indices(designs)["fitness"]


def every_design(landscape):
    return np.concatenate(list(landscape.space.enumerate()))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 7), k=st.integers(0, 4), alleles=st.integers(2, 3), seed=st.integers(0, 99))
def test_the_stated_optimum_is_the_best_of_all_designs(n, k, alleles, seed):
    landscape = NKLandscape(n=n, k=min(k, n - 1), alleles=alleles, seed=seed)
    values = fitness(landscape, every_design(landscape))
    fittest = landscape.optimum(Objective(Maximize("fitness")))
    least = landscape.optimum(Objective(Minimize("fitness", weight=2.0)))
    assert fittest.shape == (n,)
    assert fitness(landscape, fittest[None]) == values.max()
    assert fitness(landscape, least[None]) == values.min()


def test_the_optimum_of_a_landscape_too_large_to_enumerate_is_a_local_one_that_search_does_not_beat():
    landscape = NKLandscape(n=60, k=3, alleles=4, seed=1)
    optimum = landscape.optimum(Objective(Maximize("fitness")))
    best = fitness(landscape, optimum[None])[0]
    assert best >= fitness(landscape, landscape.space.neighbors(optimum)).max()
    assert best > fitness(landscape, landscape.space.sample(20_000, np.random.default_rng(0))).max() + 0.1


@pytest.mark.parametrize(
    "objective",
    [
        Objective(Target("fitness", 0.5)),
        Objective(Maximize("fitness"), AtMost("fitness", 0.6)),
        Objective(Maximize("fitness"), Minimize("fitness")),
        Objective(Maximize("fitness", weight=-1.0)),
    ],
)
def test_the_optimum_of_any_other_objective_is_not_claimed(objective):
    assert NKLandscape(n=5, k=1).optimum(objective) is None


def test_the_optimum_is_not_claimed_for_random_or_too_rugged_landscapes():
    objective = Objective(Maximize("fitness"))
    assert NKLandscape(n=5, k=1, neighbourhood="random").optimum(objective) is None
    assert NKLandscape(n=14, k=13, alleles=2).optimum(objective) is None


@pytest.mark.parametrize("neighbourhood", ["adjacent", "random"])
def test_without_interaction_a_locus_changes_fitness_by_the_same_amount_everywhere(neighbourhood):
    landscape = NKLandscape(n=6, k=0, alleles=3, neighbourhood=neighbourhood)
    designs = landscape.space.sample(50, np.random.default_rng(0))
    zero, one = designs.copy(), designs.copy()
    zero[:, 2], one[:, 2] = 0, 1
    effect = fitness(landscape, one) - fitness(landscape, zero)
    np.testing.assert_allclose(effect, effect[0])


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 9), k=st.integers(1, 3), seed=st.integers(0, 99))
def test_loci_interact_exactly_within_a_window_of_the_ring(n, k, seed):
    """The second difference in loci i and j vanishes where no contribution holds both."""
    k = min(k, n - 1)
    landscape = NKLandscape(n=n, k=k, alleles=2, seed=seed)
    base = landscape.space.sample(8, np.random.default_rng(seed))

    def at(i, x, j, y):
        designs = base.copy()
        designs[:, i], designs[:, j] = x, y
        return fitness(landscape, designs)

    for i in range(n):
        for j in range(n):
            if i != j:
                interaction = at(i, 1, j, 1) - at(i, 1, j, 0) - at(i, 0, j, 1) + at(i, 0, j, 0)
                near = min((i - j) % n, (j - i) % n) <= k
                assert (np.abs(interaction).max() > 1e-9) == near


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 30),
    k=st.integers(0, 4),
    neighbourhood=st.sampled_from(["adjacent", "random"]),
    seed=st.integers(0, 99),
)
def test_a_batch_equals_its_rows_and_lies_between_0_and_1(n, k, neighbourhood, seed):
    landscape = NKLandscape(n=n, k=min(k, n - 1), seed=seed, neighbourhood=neighbourhood)
    designs = landscape.space.sample(20, np.random.default_rng(seed))
    batch = landscape.evaluate_indices(designs)
    assert batch["feasible"].all()
    assert ((batch["fitness"] > 0) & (batch["fitness"] < 1)).all()
    assert [fitness(landscape, row[None])[0] for row in designs] == batch["fitness"].tolist()


def test_the_seed_decides_the_landscape():
    designs = NKLandscape().space.sample(10, np.random.default_rng(0))
    assert (fitness(NKLandscape(seed=1), designs) == fitness(NKLandscape(seed=1), designs)).all()
    assert (fitness(NKLandscape(seed=1), designs) != fitness(NKLandscape(seed=2), designs)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "expected n as a whole number >= 1, got 0"),
        ({"n": 2.5}, "expected n as a whole number >= 1, got 2.5"),
        ({"k": -1}, "expected k as a whole number >= 0, got -1"),
        ({"n": 3, "k": 3}, "expected k below n, got k=3"),
        ({"alleles": 1}, "expected alleles as a whole number >= 2, got 1"),
        ({"seed": -1}, "expected seed as a whole number >= 0, got -1"),
        ({"neighbourhood": "adjecent"}, "did you mean 'adjacent'"),
        ({"n": 40, "k": 30}, "do not fit into memory"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        NKLandscape(**arguments)
