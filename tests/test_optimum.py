"""Exact optima: brute force agrees, files are used while they are true and ignored with a warning when
they are not.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Bowl, Noise
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym import (
    ArchGymError,
    AtMost,
    Cached,
    Maximize,
    Minimize,
    Noisy,
    Objective,
    Tabulated,
    find_optimum,
    search,
)
from archgym.optimum import known_optimum, load_optimum, optimum_path, save_optimum
from archgym.simulator import Candidates
from archgym.simulators.nk import NKLandscape

OBJECTIVE = Bowl.default_objective
objectives = st.builds(
    lambda low, weight, area, limit: Objective(
        Minimize(low, weight), Maximize(area), AtMost("cost_j", limit)
    ),
    st.sampled_from(["cost_j", "area_mm2"]),
    st.floats(0.5, 3.0),
    st.sampled_from(["area_mm2", "secret"]),
    st.floats(0.5, 30.0),
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))


def brute_force(simulator, objective):
    """Distinct designs, their rewards and validity, from `enumerate` in one piece."""
    every = np.concatenate(list(simulator.space.enumerate()))
    every = every[(simulator.canonical(every) == every).all(axis=1)]
    columns = simulator.evaluate_indices(every)
    reward, valid = objective(columns, columns["feasible"])
    return every, reward, valid, columns["feasible"]


@settings(max_examples=30)
@given(objectives, st.integers(1, 200))
def test_the_optimum_and_its_statistics_are_those_of_brute_force(objective, chunk):
    simulator = Bowl()
    found = find_optimum(simulator, objective, chunk=chunk)
    every, reward, valid, feasible = brute_force(simulator, objective)
    assert (found.designs, found.feasible, found.valid) == (len(every), feasible.sum(), valid.sum())
    if not valid.any():
        assert (
            found.best_reward is None
            and found.indices is None
            and found.regret(0.0) is None
            and found.percentile(0.0) is None
        )
        return
    best = np.where(valid, reward, -np.inf).argmax()
    assert found.best_reward == reward[best] and np.array_equal(found.indices, every[best])
    assert found.best_design == simulator.space.design(every[best])
    assert found.percentile(found.best_reward) == 100 and found.regret(found.best_reward) == 0
    good = reward[valid]
    for value in (-11.0, float(np.median(good)), found.best_reward - 1e-12):
        below, above = (good <= value - 1e-4).mean() * 100, (good <= value + 1e-4).mean() * 100
        assert below - 1e-9 <= found.percentile(value) <= above + 1e-9 or value > found.best_reward - 1e-9


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 7), st.integers(0, 3), st.integers(2, 3), st.integers(0, 99))
def test_an_optimum_in_closed_form_is_that_of_enumeration(n, k, alleles, seed):
    simulator, objective = NKLandscape(n, min(k, n - 1), alleles, seed), Objective(Maximize("fitness"))
    assert known_optimum(simulator, objective).best_reward == pytest.approx(
        find_optimum(simulator, objective).best_reward, abs=1e-12
    )


def test_progress_counts_every_design():
    seen = []
    find_optimum(Bowl(), OBJECTIVE, chunk=50, progress=lambda what, share: seen.append((what, share * 144)))
    assert seen == [("enumerating 144 designs", pytest.approx(done)) for done in (50, 100, 144)]


def test_measured_and_noisy_simulators_and_large_spaces_have_none():
    class Measured(Bowl):
        deterministic = False

    for simulator in (Measured(), Noise()):
        with pytest.raises(ArchGymError, match="no exact optimum"):
            find_optimum(simulator, OBJECTIVE)
        assert known_optimum(simulator, OBJECTIVE) is None
    with pytest.raises(ArchGymError, match="144"):
        find_optimum(Bowl(), OBJECTIVE, limit=100)
    assert find_optimum(NKLandscape(12, 1, 4), Objective(Maximize("fitness")), limit=100).valid is None


class Narrowed(Bowl):
    """Knows that the cheapest design has the widest instructions, and nothing of other objectives."""

    def candidates(self, objective):
        if objective.metrics != ("cost_j",):
            return None
        designs = np.concatenate(list(self.space.enumerate()))
        designs = designs[designs[:, 2] == 2]
        return Candidates(
            len(designs), lambda chunk: (designs[i : i + chunk] for i in range(0, len(designs), chunk))
        )


def test_candidates_are_enumerated_where_the_space_is_too_large_and_give_no_percentile():
    objective, seen = Objective(Minimize("cost_j")), []
    whole = find_optimum(Narrowed(), objective)
    assert whole.designs == 72 and whole.percentile(whole.best_reward) == 100, (
        "the whole space where it is within the limit"
    )
    for simulator in (Narrowed(), Cached(Narrowed())):
        found = find_optimum(
            simulator, objective, chunk=20, limit=48, progress=lambda what, share: seen.append((what, share))
        )
        assert np.array_equal(found.indices, whole.indices) and found.best_reward == whole.best_reward
        assert found.designs is None and found.at_most is None and found.percentile(found.best_reward) is None
    assert seen == 2 * [("enumerating 48 designs", done / 48) for done in (20, 40, 48)]
    with pytest.raises(
        ArchGymError, match="144 designs, 48 of them candidates for the optimum; enumeration is for up to 47"
    ):
        find_optimum(Narrowed(), objective, limit=47)
    with pytest.raises(ArchGymError, match="144 designs; enumeration"):
        find_optimum(Narrowed(), OBJECTIVE, limit=48)


def test_a_stored_optimum_gives_later_searches_their_regret_and_percentile(register):
    env_id, _ = register(Bowl)
    assert search(env_id, "random", budget=20).regret is None
    found = find_optimum(Bowl(), OBJECTIVE)
    path = save_optimum(Bowl(), OBJECTIVE, found)
    result = search(env_id, "random", budget=20)
    assert result.samples == 20
    assert result.regret == found.best_reward - result.best_reward
    assert result.percentile == found.percentile(result.best_reward)
    assert result.optimum.best_design == found.best_design and result.optimum.valid == found.valid
    other = search(env_id, "random", budget=20, env_kwargs={"offset": 1.0})
    assert other.regret is None  # another task
    assert (
        search(env_id, "random", budget=20, env_kwargs={"objective": {"minimize": ["area_mm2"]}}).regret
        is None
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@settings(max_examples=15)
@given(objectives)
def test_what_is_stored_reads_back_equal(objective):
    found = find_optimum(Bowl(), objective)
    if found.indices is None:
        with pytest.raises(ArchGymError, match="no design is valid"):
            save_optimum(Bowl(), objective, found)
        return
    save_optimum(Bowl(), objective, found)
    again = load_optimum(Bowl(), objective)
    assert np.array_equal(again.indices, found.indices) and np.array_equal(again.at_most, found.at_most)
    assert (again.best_reward, again.designs, again.feasible, again.valid) == (
        found.best_reward,
        found.designs,
        found.feasible,
        found.valid,
    )


def test_a_stored_optimum_of_another_version_of_the_simulator_is_not_believed():
    changed = Bowl()
    save_optimum(changed, OBJECTIVE, find_optimum(changed, OBJECTIVE))
    changed.offset = 0.5  # the same class and arguments, other numbers
    with pytest.warns(UserWarning, match="another version"):
        assert load_optimum(changed, OBJECTIVE) is None


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "flipped", "other"])
def test_a_damaged_file_is_ignored_with_a_warning(damage):
    path = save_optimum(Bowl(), OBJECTIVE, find_optimum(Bowl(), OBJECTIVE))
    data = path.read_bytes()
    if damage == "other":
        with open(path, "wb") as file:
            np.savez(file, something=np.zeros(3))
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes(b ^ 255 for b in data[middle : middle + 40]) + data[middle + 40 :]
        path.write_bytes(
            {"empty": b"", "garbage": b"not an archive", "truncated": data[:middle], "flipped": flipped}[
                damage
            ]
        )
    with pytest.warns(UserWarning, match="archgym optimum"):
        assert load_optimum(Bowl(), OBJECTIVE) is None


def test_a_table_knows_its_optimum_and_wrappers_keep_it():
    table = Tabulated(Bowl())
    found = find_optimum(Bowl(), OBJECTIVE)
    known = known_optimum(table, OBJECTIVE)
    assert known.best_reward == found.best_reward and known.percentile(known.best_reward) == 100
    assert known_optimum(Cached(Tabulated(Bowl())), OBJECTIVE).best_reward == found.best_reward


def test_a_noisy_search_states_no_regret_since_what_it_saw_is_not_comparable_with_an_exact_optimum(register):
    noisy = Noisy(Tabulated(Bowl()))
    assert known_optimum(noisy, OBJECTIVE) is None
    result = search(register(noisy)[0], "random", budget=20)
    assert result.best_reward is not None and result.regret is None and result.percentile is None


def test_the_path_depends_on_simulator_arguments_and_objective():
    paths = {
        optimum_path(Bowl(), OBJECTIVE),
        optimum_path(Bowl(1.0), OBJECTIVE),
        optimum_path(Bowl(), Objective(Minimize("cost_j"))),
    }
    assert len(paths) == 3 and optimum_path(Bowl(1.0), OBJECTIVE) == optimum_path(Bowl(offset=1.0), OBJECTIVE)
