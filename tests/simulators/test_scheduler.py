"""The layer scheduler: against brute force on small cases, and what holds of every schedule."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schedule_reference import brute_force, every_schedule, lower_bound
from scipy.optimize import linprog

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.scheduler import schedule

SLACKS = (1.0, 1.1, 1.5)  # specs, times the least latency

# Networks of the layers, sub-accelerators: up to nine layers, in blocks and interleaved.
SHAPES = [
    ([0, 0, 0, 0, 1, 1, 1, 1, 1], 2),
    ([0, 0, 0, 1, 1, 1, 2, 2, 2], 2),
    ([0, 0, 0, 0, 0, 0, 1, 1, 2], 2),
    ([0, 1, 0, 1, 0, 1, 0, 1], 2),
    ([2, 1, 0, 0, 1, 2, 2, 1], 2),
    ([0, 0, 0, 0, 0, 0, 0, 1], 2),
    ([0, 0, 0, 0, 0], 2),
    ([0, 0, 0, 1, 1, 1, 1], 3),
    ([0, 0, 1, 1, 2, 2], 3),
    ([0, 1, 2, 0, 1, 2, 0], 3),
]


def designs(networks, accelerators, count, seed):
    """Times and energies that go with the work of a layer; some layers suit a sub-accelerator ten times
    better, a few it cannot run.
    """
    rng = np.random.default_rng([seed, len(networks), accelerators, networks[-1]])
    shape = (count, len(networks), accelerators)
    work = rng.lognormal(0, 0.8, (count, len(networks), 1))
    suits = np.where(rng.random(shape) < 0.15, 0.1, 1.0)
    size = rng.lognormal(0, 0.3, (count, 1, accelerators))
    time = work * suits * size * rng.lognormal(0, 0.5, shape)
    energy = work * suits**0.5 / size * rng.lognormal(0, 0.3, shape)
    cannot = rng.random(shape) < 0.03
    cannot[..., 0] &= ~cannot[..., 1:].all(axis=-1)
    time[cannot] = np.inf
    return time, energy


@st.composite
def problems(draw, most=7):
    """Times, energies, networks: small integers among them, so that there are ties."""
    layers, accelerators, batch = draw(st.integers(1, most)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    networks = draw(st.lists(st.integers(0, 2), min_size=layers, max_size=layers))
    numbers = st.one_of(st.integers(0, 4).map(float), st.floats(1e-6, 1e6))
    cells = batch * layers * accelerators
    time, energy = (draw(st.lists(numbers, min_size=cells, max_size=cells)) for _ in range(2))
    time, energy = (np.reshape(each, (batch, layers, accelerators)) for each in (time, energy))
    for cell in draw(st.lists(st.integers(0, cells - 1), max_size=3)):
        time.reshape(-1)[cell] = np.inf
    spec = draw(st.one_of(st.none(), st.floats(0.5, 3)))
    return (
        time,
        energy,
        networks,
        None if spec is None else spec * np.nan_to_num(lower_bound(time, networks), posinf=1.0),
    )


@pytest.fixture(scope="module")
def compared():
    """Per question, the gaps to brute force of every case: how much longer, how much more energy, over the
    spec by how much.
    """
    gaps = {question: [] for question in (None, *SLACKS)}
    for networks, accelerators in SHAPES:
        time, energy = designs(networks, accelerators, 20, seed=0)
        references = [every_schedule(*each, networks) for each in zip(time, energy, strict=True)]
        least = np.array([latency.min() for latency, _, _ in references])
        for slack in gaps:
            spec = least * (slack or 1.0)
            least_energy = np.array(
                [spent[latency <= s].min() for (latency, spent, _), s in zip(references, spec, strict=True)]
            )
            found = schedule(time, energy, networks, None if slack is None else spec)
            over = np.maximum(found.latency / spec - 1, 0)
            gaps[slack].append((over, np.where(over > 0, np.nan, found.energy / least_energy - 1)))
    return {question: np.concatenate(each, axis=1) for question, each in gaps.items()}


def test_the_least_latency_is_within_2_per_cent_of_brute_force_in_every_case(compared):
    over, _ = compared[None]
    assert len(over) == 200
    assert over.max() <= 0.02
    assert (over == 0).mean() >= 0.99


def test_among_schedules_of_the_least_latency_the_energy_is_least(compared):
    _, energy = compared[None]
    assert np.nanmax(energy) <= 0.02


@pytest.mark.parametrize("slack", SLACKS)
def test_the_energy_under_an_attainable_spec_is_within_2_per_cent_of_brute_force_in_every_case(
    compared, slack
):
    over, energy = compared[slack]
    assert over.max() <= 0.02
    assert (over == 0).mean() >= 0.99
    assert np.nanmax(energy) <= 0.02
    assert (energy < 1e-9).mean() >= 0.98


def fractional_energy(time, energy, networks, spec):
    """The least energy [] if layers could be split and need not wait: loads of sub-accelerators and
    lengths of networks within the spec.
    """
    layers, accelerators = time.shape
    time = np.where(np.isinf(time), 1e6, time)
    loads = [time * (np.arange(accelerators) == a) for a in range(accelerators)]
    lengths = [time * (networks == n)[:, None] for n in np.unique(networks)]
    limits = np.reshape(loads + lengths, (-1, layers * accelerators))
    once = np.kron(np.eye(layers), np.ones(accelerators))
    return linprog(energy.ravel(), limits, np.full(len(limits), spec), once, np.ones(layers), (0, 1)).fun


@pytest.mark.parametrize(("slack", "gap"), [(1.1, 0.08), (1.3, 0.05)])
def test_with_44_layers_the_energy_is_near_that_of_layers_that_could_be_split(slack, gap):
    networks = np.repeat([0, 1, 2, 3], 11)
    time, energy = designs(networks, 2, 20, seed=4)
    spec = slack * schedule(time, energy, networks).latency
    found = schedule(time, energy, networks, spec)
    bound = np.array(
        [fractional_energy(*each, networks, limit) for *each, limit in zip(time, energy, spec, strict=True)]
    )
    assert (found.latency <= spec).all()
    assert (found.energy >= bound * (1 - 1e-6)).all()
    assert (found.energy / bound).mean() <= 1 + gap


def planted(seed, networks=3, layers=20):
    """A design whose least latency is 1: two sub-accelerators without a pause, every layer where it is
    fastest and takes least energy.
    """
    rng = np.random.default_rng(seed)
    ends = [np.append(np.sort(rng.random(layers // 2 - 1)), 1.0) for _ in range(2)]
    pieces = sorted(
        (start, end, a) for a in range(2) for start, end in zip([0.0, *ends[a]], ends[a], strict=False)
    )
    busy, network, time, energy = np.zeros(networks), [], np.empty((1, layers, 2)), np.empty((1, layers, 2))
    for layer, (start, end, a) in enumerate(pieces):
        network.append(rng.choice(np.flatnonzero(busy <= start)))
        busy[network[-1]] = end
        for table in (time, energy):
            table[0, layer] = (end - start) * rng.uniform(1, 4)
            table[0, layer, a] = end - start
    return time, energy, network


def test_schedules_planted_without_a_pause_are_found_to_1_per_cent_on_average():
    latency = np.array([schedule(*planted(seed)).latency[0] for seed in range(20)])
    assert latency.min() >= 1 - 1e-9
    assert latency.mean() <= 1.01


def test_a_planted_least_energy_is_found_when_the_spec_leaves_5_per_cent():
    for seed in range(20):
        time, energy, network = planted(seed)
        found = schedule(time, energy, network, 1.05)
        assert found.latency[0] <= 1.05
        assert found.energy[0] == pytest.approx(energy.min(axis=2).sum())


def test_a_layer_that_suits_one_sub_accelerator_waits_for_it():
    # Two networks of one layer, both ten times faster on the first: one after the other there is better than
    # one on each.
    found = schedule([[[1.0, 10.0], [1.0, 10.0]]], np.ones((1, 2, 2)), [0, 1])
    assert found.assignment.tolist() == [[0, 0]]
    assert found.latency.tolist() == [2.0]


def test_a_looser_spec_moves_layers_to_where_they_take_less_energy():
    time, energy = [[[1.0, 2.0], [1.0, 2.0]]], [[[5.0, 1.0], [5.0, 1.0]]]
    found = [schedule(time, energy, [0, 0], spec) for spec in (2.0, 3.0, 4.0)]
    assert [each.energy.tolist() for each in found] == [[10.0], [6.0], [2.0]]
    assert [each.latency.tolist() for each in found] == [[2.0], [3.0], [4.0]]


def test_where_no_schedule_meets_the_spec_the_least_latency_is_found():
    time, energy = designs([0, 0, 0, 1, 1, 1], 2, 10, seed=1)
    fastest, missed = (
        schedule(time, energy, [0, 0, 0, 1, 1, 1]),
        schedule(time, energy, [0, 0, 0, 1, 1, 1], 1e-3),
    )
    np.testing.assert_array_equal(missed.latency, fastest.latency)
    np.testing.assert_array_equal(missed.energy, fastest.energy)


def test_a_design_with_a_layer_that_runs_nowhere_has_no_schedule_and_others_are_as_without_it():
    time, energy = designs([0, 0, 1, 1], 2, 3, seed=2)
    alone = schedule(time, energy, [0, 0, 1, 1])
    time[1, 2] = np.inf
    found = schedule(time, energy, [0, 0, 1, 1])
    assert np.isinf(found.latency).tolist() == np.isinf(found.energy).tolist() == [False, True, False]
    assert found.assignment[1].tolist() == [-1] * 4
    assert np.isinf(found.start[1]).all()
    np.testing.assert_array_equal(found.assignment[[0, 2]], alone.assignment[[0, 2]])
    with pytest.raises(ArchGymError, match="can run on no sub-accelerator"):
        brute_force(time[1], energy[1], [0, 0, 1, 1])


def test_an_empty_batch_has_no_schedules():
    found = schedule(np.empty((0, 3, 2)), np.empty((0, 3, 2)), [0, 0, 1], np.empty(0))
    assert found.assignment.shape == found.start.shape == (0, 3)
    assert found.latency.shape == found.energy.shape == (0,)


@settings(max_examples=80)
@given(problems())
def test_schedules_keep_the_order_of_networks_and_one_layer_at_a_time(problem):
    time, energy, networks, spec = problem
    found = schedule(time, energy, networks, spec)
    assert np.array_equal(np.isfinite(found.latency), np.isfinite(time).any(axis=2).all(axis=1))
    assert (found.latency >= lower_bound(time, networks) * (1 - 1e-9))[np.isfinite(found.latency)].all()
    for b in np.flatnonzero(np.isfinite(found.latency)):
        layers, assignment, start = np.arange(len(networks)), found.assignment[b], found.start[b]
        end = start + time[b, layers, assignment]
        rounding = 1e-9 * found.latency[b]
        for i, j in itertools.combinations(layers, 2):
            if networks[i] == networks[j]:
                assert end[i] <= start[j] + rounding
            elif assignment[i] == assignment[j]:
                assert end[i] <= start[j] + rounding or end[j] <= start[i] + rounding
        assert start.min() == 0
        assert found.latency[b] == pytest.approx(end.max())
        assert found.energy[b] == pytest.approx(energy[b, layers, assignment].sum())


@settings(max_examples=40)
@given(problems())
def test_a_design_is_scheduled_the_same_in_any_batch(problem):
    time, energy, networks, spec = problem
    together = schedule(time, energy, networks, spec)
    for b in range(len(time)):
        alone = schedule(time[b : b + 1], energy[b : b + 1], networks, None if spec is None else spec[b])
        for name in ("assignment", "start", "latency", "energy"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[b])


@pytest.mark.parametrize("slack", [None, 1.2])
def test_a_design_of_20_layers_is_scheduled_the_same_alone_and_in_several_chunks(slack):
    networks = np.repeat([0, 1], 10)
    time, energy = designs(networks, 2, 700, seed=3)
    spec = None if slack is None else slack * lower_bound(time, networks)
    together = schedule(time, energy, networks, spec)
    for some in ([699, 3, 512, 511, 0], [3]):
        apart = schedule(time[some], energy[some], networks, None if spec is None else spec[some])
        for name in ("assignment", "start", "latency", "energy"):
            np.testing.assert_array_equal(getattr(apart, name), getattr(together, name)[some])


@settings(max_examples=40)
@given(problems(most=6))
def test_brute_force_is_the_best_of_all_sequences_and_assignments(problem):
    time, energy, networks, spec = (each[0] if i in (0, 1) else each for i, each in enumerate(problem))
    layers, accelerators = time.shape
    if layers > 5 or not np.isfinite(time).any(axis=1).all():
        return
    outcomes = []
    for order in itertools.permutations(range(layers)):
        if any(networks[i] == networks[j] and i > j for i, j in itertools.combinations(order, 2)):
            continue
        for assignment in itertools.product(range(accelerators), repeat=layers):
            free, ready, spent = [0.0] * accelerators, {}, 0.0
            for layer in order:
                a, network = assignment[layer], networks[layer]
                free[a] = ready[network] = max(free[a], ready.get(network, 0.0)) + time[layer, a]
                spent += energy[layer, a]
            outcomes.append((max(ready.values()), spent))
    least = min(latency for latency, _ in outcomes)
    limit = least if spec is None else max(spec[0], least)
    latency, spent, assignment = brute_force(time, energy, networks, None if spec is None else spec[0])
    assert latency <= limit
    assert spent == pytest.approx(min(spent for latency, spent in outcomes if latency <= limit))
    assert spent == pytest.approx(energy[np.arange(layers), assignment].sum())


@settings(max_examples=40)
@given(problems(most=7), st.floats(1, 2), st.floats(1, 2))
def test_a_looser_spec_never_costs_more_energy(problem, slack, more):
    time, energy, networks, _ = problem
    if not np.isfinite(time[0]).any(axis=1).all():
        return
    least, _, _ = brute_force(time[0], energy[0], networks)
    tight, loose = (
        brute_force(time[0], energy[0], networks, spec) for spec in (slack * least, slack * more * least)
    )
    assert loose[1] <= tight[1]
    assert loose[0] <= slack * more * least


# a chip on which nearly everything is free: nothing but the largest number says what the unit is
FREE = np.zeros((1, 5, 3))
FREE[0, 4, 2] = 1e-6
COSTLY = np.zeros((1, 5, 3))
COSTLY[0, 3, 0] = 1.0


@settings(max_examples=40)
@example((FREE, COSTLY, [0, 0, 0, 0, 1], None), 0, 1)
@given(problems(), st.integers(-30, 30), st.integers(-30, 30))
def test_units_change_no_schedule(problem, time_unit, energy_unit):
    time, energy, networks, spec = problem
    here = schedule(time, energy, networks, spec)
    there = schedule(
        time * 2.0**time_unit,
        energy * 2.0**energy_unit,
        networks,
        None if spec is None else spec * 2.0**time_unit,
    )
    np.testing.assert_array_equal(here.assignment, there.assignment)
    np.testing.assert_array_equal(here.latency * 2.0**time_unit, there.latency)
    np.testing.assert_array_equal(here.energy * 2.0**energy_unit, there.energy)


@pytest.mark.parametrize(
    ("time", "energy", "network", "spec", "message"),
    [
        (np.ones((1, 2, 2)), np.ones((1, 2, 3)), [0, 0], None, r"both be \[B, L, A\]"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), [0], None, r"network \[L\]"),
        (np.ones((2, 2)), np.ones((2, 2)), [0, 0], None, r"both be \[B, L, A\]"),
        (np.ones((1, 0, 2)), np.ones((1, 0, 2)), [], None, "a layer and a sub-accelerator at least"),
        (-np.ones((1, 2, 2)), np.ones((1, 2, 2)), [0, 0], None, "time must be 0 or more"),
        (np.ones((1, 2, 2)), np.full((1, 2, 2), np.nan), [0, 0], None, "energy must be 0 or more"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), [0, 0], [1.0, 2.0], "one for each of the 1 designs"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), [0, 0], np.nan, "latency_spec must be a number"),
    ],
)
def test_arguments_that_do_not_fit_are_named(time, energy, network, spec, message):
    with pytest.raises(ArchGymError, match=message):
        schedule(time, energy, network, spec)
