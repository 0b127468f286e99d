"""Tabulated, Cached and Noisy: the same answers as the simulator they wrap, sooner, or with declared
noise.
"""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.files.archive import save_arrays
from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.simulator import Metric, Simulator, evaluate_safely
from archgym.simulator_wrappers import Cached, Noisy, Parallel, StoredTable, Tabulated
from archgym.space import Categorical, DesignSpace, Integer, Ordinal

SPACE = DesignSpace(
    [Categorical("isa", ["scalar", "avx2", "avx512"]), Ordinal("unroll", [1, 2, 4, 8]), Integer("tile", 0, 4)]
)


class Random(Simulator):
    """Arbitrary but fixed metrics; designs with tile 0 are infeasible, isa and unroll of one kind raise.
    Counts what it simulates.
    """

    metrics = (
        Metric("latency_s", "s", "lower"),
        Metric("area_mm2", "mm2", "lower"),
        Metric("spread", report_only=True),
    )

    def __init__(self, seed: int = 0, raises: bool = False):
        self.space = SPACE
        self.raises = raises
        self.table = np.random.default_rng(seed).lognormal(size=(SPACE.size, 3))
        self.simulated = 0
        self.closed = False

    def evaluate_indices(self, indices, rng=None):
        if self.raises and (indices[:, :2] == [1, 2]).all(axis=1).any():
            raise ZeroDivisionError("no such kernel")
        self.simulated += len(indices)
        values = self.table[SPACE.to_ordinal(indices)]
        columns = {metric.name: values[:, j] for j, metric in enumerate(self.metrics)}
        return {**columns, "feasible": indices[:, 2] > 0}

    def canonical(self, indices):
        # unrolling scalar code changes nothing
        return np.where(indices[:, :1] == 0, indices * [1, 0, 1], indices)

    def close(self):
        self.closed = True


class Measured(Random):
    """Never the same twice."""

    deterministic = False

    def evaluate_indices(self, indices, rng=None):
        columns = super().evaluate_indices(indices)
        return {**columns, "latency_s": np.random.default_rng().random(len(indices)) / 3}


class Slow(Random):
    """Takes its time."""

    def evaluate_indices(self, indices, rng=None):
        time.sleep(0.02 * len(indices))
        return super().evaluate_indices(indices)


class Described(Random):
    """Has an argument of any kind."""

    def __init__(self, anything: object):
        super().__init__()


rows = st.lists(st.integers(0, SPACE.size - 1), min_size=1, max_size=40).map(
    lambda ordinals: SPACE.from_ordinal(np.array(ordinals))
)


def same(one, other):
    assert np.array_equal(one.values, other.values, equal_nan=True)
    assert np.array_equal(one.feasible, other.feasible)
    assert one.failures == other.failures


# ----------------------------------------------------------------------------------------------------
# Tabulated


@given(indices=rows, seed=st.integers(0, 9), raises=st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_table_answers_what_the_simulator_answers(indices, seed, raises):
    same(
        evaluate_safely(Tabulated(Random(seed, raises)), indices),
        evaluate_safely(Random(seed, raises), indices),
    )


@given(seed=st.integers(0, 9), area=st.sampled_from([0.0001, 0.3, 2.0]))
@settings(deadline=None, max_examples=20)
def test_the_optimum_of_a_table_is_the_best_valid_design_of_all(seed, area):
    objective = Objective(Minimize("latency_s"), AtMost("area_mm2", area))
    simulator = Random(seed)
    best, best_reward = None, -np.inf
    for ordinal in range(SPACE.size):
        design = SPACE.from_ordinal(np.array([ordinal]))
        outcome = evaluate_safely(simulator, design)
        if outcome.feasible[0]:
            reward, valid = objective(
                {m.name: outcome.values[:, j] for j, m in enumerate(simulator.metrics)}, outcome.feasible
            )
            if valid[0] and reward[0] > best_reward:
                best, best_reward = design[0], reward[0]
    found = Tabulated(simulator).optimum(objective)
    assert (found is None and best is None) or found.tolist() == best.tolist()


def test_of_equally_good_designs_the_optimum_is_the_first():
    simulator = Random()
    simulator.table[:, 0] = 1.0
    assert Tabulated(simulator).optimum(Objective(Maximize("latency_s"))).tolist() == [0, 0, 1]


def test_table_rewards_are_those_of_every_design_in_order():
    objective = Objective(Minimize("latency_s"))
    reward, valid = Tabulated(Random()).table_rewards(objective)
    designs = next(SPACE.enumerate())
    assert np.array_equal(valid, designs[:, 2] > 0)
    assert np.allclose(reward[valid], -np.log(Random().table[valid, 0]).clip(-10, 10))


def test_a_saved_table_comes_back_whole_without_its_simulator(tmp_path):
    table = Tabulated(Random(3, raises=True))
    table.save(tmp_path / "table.npz")
    loaded = Tabulated.load(tmp_path / "table.npz")
    designs = next(SPACE.enumerate())
    same(evaluate_safely(loaded, designs), evaluate_safely(table, designs))
    assert loaded.simulator is None and loaded.space == table.space and loaded.metrics == table.metrics
    assert loaded.specification == table.specification
    assert np.array_equal(loaded.canonical(designs), table.canonical(designs)) and not np.array_equal(
        loaded.canonical(designs), designs
    )
    assert [file.name for file in tmp_path.iterdir()] == ["table.npz"]
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "table.npz").read_bytes()


@pytest.mark.parametrize(
    "wrap", [Random, lambda seed: Cached(Parallel(Random(seed)))], ids=["alone", "wrapped"]
)
def test_a_table_comes_back_to_its_simulator_whatever_filled_it(tmp_path, wrap):
    path, simulator = tmp_path / "table.npz", Random(3)
    table = Tabulated(wrap(3))
    table.save(path)
    table.close()
    loaded = Tabulated.load(path, simulator)
    assert loaded.simulator is loaded.unwrapped is simulator
    assert loaded.specification == Tabulated(simulator).specification
    assert Tabulated.load(path, Tabulated(simulator)).specification == loaded.specification
    designs = next(SPACE.enumerate())
    same(evaluate_safely(loaded, designs), evaluate_safely(simulator, designs))
    loaded.close()
    assert simulator.closed


def test_a_table_of_another_simulator_of_other_arguments_or_of_another_version_is_refused(tmp_path):
    path, changed = tmp_path / "table.npz", Random(3)
    Tabulated(Random(3)).save(path)
    changed.table[::16] *= 1 + 1e-6
    renamed = Random(3)
    renamed.metrics = (Metric("latency_ms", "ms", "lower"), *Random.metrics[1:])
    for simulator, says in (
        (Slow(3), r"with simulator = .*Slow"),
        (Random(4), r"with arguments\.seed = 4, got 3; make it again"),
        (Noisy(Random(3)), r"with simulator = .*Noisy"),
        (changed, "other results"),
        (renamed, "other metrics"),
        (Described(lambda: 1), "do not identify it"),
    ):
        with pytest.raises(ArchGymError, match=says):
            Tabulated.load(path, simulator)


def test_few_designs_of_a_slow_simulator_are_compared_with_its_table(tmp_path, monkeypatch):
    path, simulator = tmp_path / "table.npz", Random(3)
    Tabulated(simulator).save(path)
    simulator.simulated = 0
    monkeypatch.setattr("archgym.simulator_wrappers.tabulated._PROBE_S", 0.0)
    Tabulated.load(path, simulator)
    assert simulator.simulated == 1


def test_what_is_not_a_table_is_refused_with_its_name(tmp_path):
    good = tmp_path / "good.npz"
    Tabulated(Random()).save(good)
    arrays = dict(np.load(good))
    bad = tmp_path / "bad.npz"
    contents = [
        b"",
        b"not a zip",
        good.read_bytes()[:-100],
        # the checksum is wrong
        good.read_bytes().replace(arrays["values"].tobytes(), bytes(arrays["values"].nbytes)),
    ]
    for content in contents:
        bad.write_bytes(content)
        with pytest.raises(ArchGymError, match=r"bad\.npz is not a table"):
            Tabulated.load(bad)
    changes = [
        {"format": np.array(99)},
        {"values": arrays["values"][:, 1:]},
        {"values": arrays["values"] * np.inf},
        {"values": arrays["values"].astype(object)},
        {"feasible": arrays["feasible"].astype(int)},
        {"reasons": np.array(["one too many"])},
        {"canonical": arrays["canonical"] + SPACE.size},
        {"space": np.array("[{}]")},
        {"metrics": np.array('[{"shape": 1}]')},
    ]
    for change in changes:
        np.savez(bad, **{**arrays, **change})
        with pytest.raises(ArchGymError, match=r"bad\.npz is not a table"):
            Tabulated.load(bad)
    with pytest.raises(ArchGymError, match="absent"):
        Tabulated.load(tmp_path / "absent.npz")


def test_a_failed_save_leaves_the_old_table_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "table.npz"
    Tabulated(Random(1)).save(path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ArchGymError, match="the disk is full"):
        Tabulated(Random(2)).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_tables_refuse_noise_measurements_and_spaces_over_the_limit():
    with pytest.raises(ArchGymError, match=r"Noisy\(Tabulated"):
        Tabulated(Noisy(Random()))
    with pytest.raises(ArchGymError, match="Cached"):
        Tabulated(Measured())
    with pytest.raises(ArchGymError, match=r"60 designs.*limit"):
        Tabulated(Random(), limit=59)


# ----------------------------------------------------------------------------------------------------
# Cached


@pytest.fixture(params=["memory", "disk"])
def path(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "cache.sqlite"


def test_a_measurement_is_replayed_exactly_and_simulated_once(path):
    cache = Cached(Measured(), path)
    designs = SPACE.from_ordinal(np.array([7, 5, 7, 9, 5]))
    first = evaluate_safely(cache, designs)
    again = evaluate_safely(cache, designs[::-1])
    assert first.cached.tolist() == [False, False, True, False, True] and again.cached.all()
    assert np.array_equal(first.values, again.values[::-1], equal_nan=True)
    assert np.array_equal(first.values[0], first.values[2])
    assert cache.simulator.simulated == 3


def test_a_second_measurement_is_new_the_first_time_and_replayed_exactly_after(path):
    cache = Cached(Measured(), path)
    designs = SPACE.from_ordinal(np.array([7, 9]))  # feasible ones
    first = evaluate_safely(cache, designs)
    second = evaluate_safely(cache, designs, again=True)
    assert not second.cached.any() and not np.array_equal(first.values, second.values)
    assert np.array_equal(evaluate_safely(cache, designs, again=True).values, second.values)
    assert np.array_equal(evaluate_safely(cache, designs).values, first.values)
    assert cache.simulator.simulated == 4


def test_a_cache_on_disk_is_found_by_another_process(tmp_path):
    path = tmp_path / "cache.sqlite"
    designs = SPACE.from_ordinal(np.arange(20))
    program = (
        "import sys, numpy as np, test_simulator_wrappers as t\n"
        "cache = t.Cached(t.Measured(seed=4), sys.argv[1])\n"
        "out = t.evaluate_safely(cache, t.SPACE.from_ordinal(np.arange(20)))\n"
        "print(out.values.tobytes().hex(), out.cached.any())\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    replay = evaluate_safely(Cached(Measured(seed=4), path), designs)
    assert f"{replay.values.tobytes().hex()} False" == printed.stdout.strip() and replay.cached.all()


def environment():
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }


def test_killing_a_search_loses_nothing_that_was_returned(tmp_path):
    path = tmp_path / "cache.sqlite"
    program = (
        "import sys, numpy as np, test_simulator_wrappers as t\n"
        "cache = t.Cached(t.Slow(), sys.argv[1])\n"
        "for ordinal in range(60):\n"
        "    t.evaluate_safely(cache, t.SPACE.from_ordinal(np.array([ordinal])))\n"
        "    print(ordinal, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    for _ in range(10):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    returned = 10 + len(child.stdout.read().split())
    child.wait()
    cache = Cached(Slow(), path)
    replay = evaluate_safely(cache, SPACE.from_ordinal(np.arange(returned)))
    assert returned < 60 and replay.cached.all() and cache.simulator.simulated == 0
    same(replay, evaluate_safely(Random(), SPACE.from_ordinal(np.arange(returned))))


def test_processes_share_a_cache_and_the_first_result_counts(tmp_path):
    path = tmp_path / "cache.sqlite"
    program = (
        "import sys, numpy as np, test_simulator_wrappers as t\n"
        "cache = t.Cached(t.Measured(), sys.argv[1])\n"
        "out = [t.evaluate_safely(cache, t.SPACE.from_ordinal(np.array([i]))).values for i in range(60)]\n"
        "print(np.concatenate(out).tobytes().hex())\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    children = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert len({child.communicate()[0] for child in children}) == 1
    assert all(child.returncode == 0 for child in children)


def test_failures_are_passed_on_and_tried_again_but_infeasible_designs_are_remembered(path):
    cache = Cached(Random(raises=True), path)
    designs = np.array([[0, 0, 0], [1, 2, 1], [2, 2, 2], [1, 2, 1]])
    outcome = evaluate_safely(cache, designs)
    assert outcome.feasible.tolist() == [False, False, True, False]
    assert outcome.failures == {
        1: "ZeroDivisionError: no such kernel",
        3: "ZeroDivisionError: no such kernel",
    }
    cache.simulator.raises = False
    outcome = evaluate_safely(cache, designs)
    assert outcome.feasible.tolist() == [False, True, True, True] and not outcome.failures
    assert outcome.cached.tolist() == [True, False, True, True]


def test_caches_on_disk_keep_simulators_apart(tmp_path):
    designs = next(SPACE.enumerate())
    for seed in (1, 2):
        outcome = evaluate_safely(Cached(Random(seed), tmp_path / "cache.sqlite"), designs)
        assert not outcome.cached.any()
        same(outcome, evaluate_safely(Random(seed), designs))


def test_a_cache_survives_pickling_and_a_fork(tmp_path):
    cache = Cached(Random(), tmp_path / "cache.sqlite")
    evaluate_safely(cache, next(SPACE.enumerate()))
    copy = pickle.loads(pickle.dumps(cache))
    copy._records.clear()
    assert evaluate_safely(copy, next(SPACE.enumerate())).cached.all()
    child = os.fork()
    if child == 0:
        cache._records.clear()
        os._exit(0 if evaluate_safely(cache, next(SPACE.enumerate())).cached.all() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_unusable_cache_files_are_refused_before_anything_is_simulated(tmp_path):
    (tmp_path / "text").write_text("not a database, and long enough to be looked at as one" * 20)
    for bad in (tmp_path, tmp_path / "text", tmp_path / "absent" / "cache.sqlite"):
        with pytest.raises(ArchGymError, match="as a cache of results"):
            Cached(Random(), bad)


def test_caches_refuse_noise_and_arguments_without_a_lasting_description(tmp_path):
    with pytest.raises(ArchGymError, match=r"Noisy\(Cached"):
        Cached(Noisy(Random()))
    with pytest.raises(ArchGymError, match="at module level"):
        Cached(Described(lambda: 0), tmp_path / "cache.sqlite")
    assert Cached(Described(lambda: 0)).specification["simulator"].endswith(":Cached")


def test_a_cache_is_one_ordinary_sqlite_file_with_a_row_per_design(tmp_path):
    cache = Cached(Random(), tmp_path / "cache.sqlite")
    evaluate_safely(cache, next(SPACE.enumerate()))
    cache.close()
    assert cache.simulator.closed and [file.name for file in tmp_path.iterdir()] == ["cache.sqlite"]
    assert sqlite3.connect(tmp_path / "cache.sqlite").execute("SELECT count(*) FROM results").fetchone() == (
        SPACE.size,
    )


# ----------------------------------------------------------------------------------------------------
# Noisy


def test_noise_multiplies_the_visible_metrics_by_the_stated_factor():
    designs = SPACE.from_ordinal(np.arange(1, 60, 2))
    plain = evaluate_safely(Random(), designs).values
    noisy = evaluate_safely(Noisy(Random(), sigma=0.2), designs, np.random.default_rng(5)).values
    z = np.random.default_rng(5).standard_normal((len(designs), 2))
    assert np.allclose(noisy[:, :2], plain[:, :2] * np.exp(0.2 * z), equal_nan=True)
    assert np.array_equal(noisy[:, 2], plain[:, 2], equal_nan=True)


@given(indices=rows, raises=st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_noisy_batch_is_its_rows_one_after_another_even_if_some_raise(indices, raises):
    rng, rowwise = np.random.default_rng(1), np.random.default_rng(1)
    batch = evaluate_safely(Noisy(Random(raises=raises), metrics=["area_mm2"]), indices, rng)
    single = [
        evaluate_safely(Noisy(Random(raises=raises), metrics=["area_mm2"]), row[None], rowwise)
        for row in indices
    ]
    assert np.array_equal(batch.values, np.concatenate([row.values for row in single]), equal_nan=True)
    assert rng.random() == rowwise.random()


def test_noise_needs_a_generator_known_metrics_and_a_quiet_simulator():
    with pytest.raises(ArchGymError, match="default_rng"):
        Noisy(Random()).evaluate_indices(np.zeros((1, 3), np.int64))
    with pytest.raises(ArchGymError, match=r"unknown metric 'latency'.*latency_s"):
        Noisy(Random(), metrics=["latency"])
    with pytest.raises(ArchGymError, match="sigma"):
        Noisy(Random(), sigma=-1)
    with pytest.raises(ArchGymError, match="noise"):
        Noisy(Noisy(Random()))


def test_wrappers_pass_on_schema_canonical_optimum_flags_specification_and_close():
    objective = Objective(Minimize("latency_s"))
    inner = Random(7)
    outer = Noisy(Cached(Tabulated(inner)))
    assert (
        outer.space == SPACE
        and outer.metrics == inner.metrics
        and outer.stochastic
        and not Cached(Measured()).deterministic
    )
    assert (
        outer.optimum(objective).tolist() == Tabulated(inner).optimum(objective).tolist()
        and Noisy(inner).optimum(objective) is None
    )
    designs = next(SPACE.enumerate())
    assert np.array_equal(outer.canonical(designs), inner.canonical(designs))
    nested = outer.specification["arguments"]["simulator"]["arguments"]["simulator"]["arguments"]["simulator"]
    assert nested == inner.specification and nested["arguments"] == {"seed": 7}
    outer.close()
    assert inner.closed


# --- tables that are kept ---


def test_a_stored_table_is_filled_once_and_then_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    first, second = Random(seed=3), Random(seed=3)
    table, again = StoredTable(first), StoredTable(second)
    assert first.simulated == 0, "nothing happens until a design is asked for"
    every = next(SPACE.enumerate())
    expected = Tabulated(Random(seed=3)).evaluate_indices(every)
    assert first.simulated == 0
    for name, column in expected.items():
        np.testing.assert_array_equal(table.evaluate_indices(every)[name], column)
    assert first.simulated == SPACE.size
    for name, column in expected.items():
        np.testing.assert_array_equal(again.evaluate_indices(every)[name], column)
    assert second.simulated == 64, "probes only"
    objective = Objective(Minimize("latency_s"))
    np.testing.assert_array_equal(again.optimum(objective), Tabulated(Random(seed=3)).optimum(objective))
    assert again.unwrapped is second and len(list((tmp_path / "tables").glob("*.npz"))) == 1


def test_a_stored_table_of_another_version_of_the_simulator_is_filled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    every = next(SPACE.enumerate())
    before = StoredTable(Random(seed=3)).evaluate_indices(every)
    changed = Random(seed=3)
    changed.table *= 1.001  # as a change of its code would
    after = StoredTable(changed).evaluate_indices(every)
    np.testing.assert_allclose(after["latency_s"], 1.001 * before["latency_s"])


def test_what_cannot_be_tabulated_is_refused_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    with pytest.raises(ArchGymError, match="put the noise outside"):
        StoredTable(Noisy(Random())).evaluate_indices(next(SPACE.enumerate()))


def test_arrays_of_objects_are_never_written(tmp_path):
    with pytest.raises(ArchGymError, match=r"'reasons' holds Python objects"):
        save_arrays(tmp_path / "table.npz", {"values": np.zeros(2), "reasons": np.array([{}], object)})
    assert not list(tmp_path.iterdir())
