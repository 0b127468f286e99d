"""The DRAM controller looked up: the shipped table against the runs that it was made of, its facts, goals,
errors, and how it is packed.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archgym
import archgym.envs.dram_controller
import archgym.simulators.dram
from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.optimum import find_optimum, known_optimum
from archgym.registry import get_task
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.dram import DramController, list_traces
from archgym.simulators.dram.pack import main, pack
from archgym.simulators.dram.space import SPACE
from archgym.simulators.dram.table import COLUMNS, Table, read_table, save_table
from archgym.testing import check_env, check_simulator

CSV = Path(__file__).parents[3] / "shared" / "data" / "dram" / "cloud-1.csv.gz"
SHIPPED = Path(archgym.simulators.dram.__file__).parent / "tables" / "cloud-1.npz"
ENV = "archgym/DramController-v0"

EVERYTHING = SPACE.from_ordinal(np.arange(SPACE.size))
DRAM = DramController()
COLUMN = DRAM.evaluate_indices(EVERYTHING)
DISTINCT = (DRAM.canonical(EVERYTHING) == EVERYTHING).all(axis=1)
NO_REFRESH = SPACE.decode(EVERYTHING)["refresh_policy"] == "NoRefresh"


@pytest.fixture(scope="module")
def rows():
    if not CSV.is_file():
        pytest.skip(f"the runs that the table was made of are not at {CSV}")
    with gzip.open(CSV, "rt") as file:
        return list(csv.DictReader(file))


def evaluator(**kwargs):
    return Evaluator(get_task(ENV), None, 1, kwargs)


@pytest.fixture(scope="module")
def indices(rows):
    """The designs of the runs: int64 [rows, 10]."""
    typed = {p.name: [type(p.value(0))(row[p.name]) for row in rows] for p in SPACE}
    return SPACE.encode({name: np.array(column) for name, column in typed.items()})


# --- the shipped table ---


def test_every_row_of_the_runs_is_looked_up_to_its_last_digit(rows, indices):
    columns = DRAM.evaluate_indices(indices)
    printed = {name: [row[name] for row in rows] for name in COLUMNS}
    assert columns["latency_s"].tolist() == [float(f"{text}e-12") for text in printed["time_ps"]]
    assert columns["energy_j"].tolist() == [float(f"{text}e-12") for text in printed["energy_pj"]]
    assert columns["power_w"].tolist() == [float(f"{text}e-3") for text in printed["power_mw"]]
    bits_s = np.array([float(f"{text}e9") for text in printed["bandwidth_gbit_s"]])
    np.testing.assert_allclose(columns["bandwidth_bytes_s"], bits_s / 8, rtol=1e-15)


def test_the_figures_are_those_of_every_row_as_integers(rows, indices):
    table = read_table(SHIPPED)
    figures = table.figures[table.outcome[SPACE.to_ordinal(indices)]]
    for j, (name, decimals) in enumerate(COLUMNS.items()):
        assert (figures[:, j] == [round(float(row[name]) * 10**decimals) for row in rows]).all(), name


def test_the_rows_of_the_runs_are_the_designs_that_differ(indices):
    assert sorted(SPACE.to_ordinal(indices).tolist()) == np.flatnonzero(DISTINCT).tolist()


def test_the_shipped_table_is_what_pack_makes_of_the_runs(rows, tmp_path, capsys):
    assert main([str(CSV), str(tmp_path / "cloud-1.npz")]) == 0
    assert capsys.readouterr().out.strip().endswith("cloud-1.npz")
    again, shipped = read_table(tmp_path / "cloud-1.npz"), read_table(SHIPPED)
    assert again.digest == shipped.digest and dict(again.provenance) == dict(shipped.provenance)


def test_the_table_is_small_and_says_where_it_is_from():
    assert SHIPPED.stat().st_size <= 3_000_000
    provenance = read_table(SHIPPED).provenance
    assert (
        provenance["simulator"] == "DRAMSys 4.0"
        and provenance["rows"] == 235_008
        and len(provenance["sha256"]) == 64
    )


def test_the_space_has_the_published_grid_of_which_235008_designs_differ():
    assert SPACE.size == 442_368 and DISTINCT.sum() == 235_008
    assert SPACE.names == (
        "page_policy",
        "scheduler",
        "scheduler_buffer",
        "request_buffer_size",
        "resp_queue",
        "refresh_policy",
        "refresh_max_postponed",
        "refresh_max_pulledin",
        "arbiter",
        "max_active_transactions",
    )


def test_refresh_bounds_have_no_effect_without_refreshes_and_are_all_that_is_folded():
    ordinals = SPACE.to_ordinal(DRAM.canonical(EVERYTHING))
    for metric in DRAM.metrics:
        assert (COLUMN[metric.name] == COLUMN[metric.name][ordinals]).all()
    assert (DRAM.canonical(EVERYTHING)[~NO_REFRESH] == EVERYTHING[~NO_REFRESH]).all()
    folded = EVERYTHING[NO_REFRESH].copy()
    folded[:, 6:8] = 0
    assert (DRAM.canonical(EVERYTHING)[NO_REFRESH] == folded).all()


def test_printed_power_is_energy_over_time_within_a_hair_but_is_not_computed_from_them():
    ratio = COLUMN["energy_j"] / COLUMN["latency_s"] / COLUMN["power_w"]
    assert np.abs(ratio - 1).max() <= 0.0013
    assert np.abs(ratio - 1).max() > 0.001


def test_few_outcomes_are_distinct_and_160_designs_that_differ_have_the_lowest_latency():
    assert len(set(zip(COLUMN["energy_j"].tolist(), COLUMN["latency_s"].tolist(), strict=True))) == 1_415
    fastest = COLUMN["latency_s"] == COLUMN["latency_s"].min()
    assert COLUMN["latency_s"].min() == 54.58e-6
    assert fastest[DISTINCT].sum() == 160


def test_any_batch_equals_the_columns_of_the_grid():
    drawn = SPACE.sample(20_000, np.random.default_rng(0))
    found = DRAM.evaluate_indices(drawn)
    for name, column in COLUMN.items():
        assert (found[name] == column[SPACE.to_ordinal(drawn)]).all()
    by_value = DRAM.evaluate(SPACE.decode(drawn[:500]))
    assert all((by_value[name] == column[:500]).all() for name, column in found.items())


# --- the optimum ---


@given(
    st.sampled_from(["latency_s", "energy_j", "power_w"]),
    st.sampled_from(["latency_s", "energy_j", "power_w"]),
    st.floats(0.1, 3.0),
    st.floats(0.9, 3.2),
)
def test_no_valid_design_is_better_than_the_optimum(first, second, weight, power_w):
    objective = Objective(
        Minimize(first),
        Minimize(second, weight=weight),
        AtMost("power_w", power_w),
        reference={first: 1e-4, second: 1.0},
    )
    rewards = objective(COLUMN, COLUMN["feasible"])
    best = DRAM.optimum(objective)
    if best is None:
        assert not rewards.valid.any()
        return
    at = SPACE.to_ordinal(best)
    assert rewards.valid[at] and rewards.reward[at] == rewards.reward[rewards.valid].max()
    assert not (rewards.valid & (rewards.reward == rewards.reward[at]))[:at].any(), "of equals the first"


def test_rewards_and_optimum_are_those_of_a_tabulated_simulator():
    table = Tabulated(DRAM)
    for goal in ("low_latency", "low_power", "both", "edp"):
        objective = evaluator(goal=goal).objective
        for ours, theirs in zip(DRAM.table_rewards(objective), table.table_rewards(objective), strict=True):
            assert np.array_equal(ours, theirs)
        assert np.array_equal(DRAM.optimum(objective), table.optimum(objective))


def test_the_optimum_costs_no_search_and_counts_designs_that_differ():
    objective = evaluator().objective
    known = known_optimum(DRAM, objective)
    assert known is not None and known.designs == known.valid == 235_008
    assert known.best_metrics == find_optimum(DRAM, objective).best_metrics
    assert known.best_metrics["latency_s"] == 54.58e-6
    assert DRAM.optimum(Objective(Minimize("latency_s"), AtMost("power_w", 0.5))) is None


# --- the environment ---


def test_simulator_and_environment_keep_the_contract():
    check_simulator(DRAM)
    check_env(ENV)
    check_env(ENV, preset="archgym_both")


def test_it_is_made_as_its_page_says_and_steps_with_the_simulators_own_names():
    env = gymnasium.make(ENV, trace="cloud-1")
    assert env.action_space.nvec.tolist() == [4, 3, 3, 8, 2, 2, 4, 4, 3, 8]
    env.reset(seed=0)
    *_, info = env.step(np.array([1, 1, 0, 7, 0, 1, 3, 0, 2, 7]))
    assert info["design"] == {
        "page_policy": "OpenAdaptive",
        "scheduler": "FrFcfsGrp",
        "scheduler_buffer": "Bankwise",
        "request_buffer_size": 128,
        "resp_queue": "Fifo",
        "refresh_policy": "AllBank",
        "refresh_max_postponed": 8,
        "refresh_max_pulledin": 1,
        "arbiter": "Reorder",
        "max_active_transactions": 128,
    }


@pytest.mark.parametrize(
    ("goal", "best"),
    [
        ("low_latency", COLUMN["latency_s"]),
        ("low_power", COLUMN["power_w"]),
        ("both", COLUMN["latency_s"] * COLUMN["power_w"]),
        ("edp", COLUMN["energy_j"] * COLUMN["latency_s"]),
    ],
)
def test_goals_reward_what_they_are_called_after(goal, best):
    made = evaluator(goal=goal)
    reward, valid = made.simulator.table_rewards(made.objective)
    assert valid.all()
    np.testing.assert_allclose(reward, -np.log(best) + (reward[0] + np.log(best[0])), rtol=0, atol=1e-9)
    assert abs(np.median(reward[DISTINCT])) < 0.1, "references are near the medians"
    for metric, reference in made.objective.reference.items():
        assert np.median(COLUMN[metric]) == pytest.approx(reference, rel=0.03)


@pytest.mark.parametrize(
    ("preset", "published"),
    [
        ("archgym_latency", 1e-4 / np.abs(COLUMN["latency_s"] - 1e-4)),
        ("archgym_power", 1 / np.abs(COLUMN["power_w"] - 1)),
        ("archgym_both", 1e-4 / np.abs(COLUMN["latency_s"] - 1e-4) / np.abs(COLUMN["power_w"] - 1)),
    ],
)
def test_the_published_rewards_are_there_by_name_and_their_optimum_with_them(preset, published):
    made = evaluator(preset=preset)
    reward, _ = made.simulator.table_rewards(made.objective)
    np.testing.assert_allclose(reward, published, rtol=1e-9)
    optimum = SPACE.to_ordinal(made.simulator.optimum(made.objective)[None])[0]
    assert reward[optimum] == reward.max() > 60


@pytest.mark.parametrize("reward", [0.5, 5.0, 9.99, 30.0, 500.0])
def test_percentiles_resolve_rewards_beyond_the_limit_of_other_forms(reward):
    made = evaluator(preset="archgym_latency")
    rewards, _ = made.simulator.table_rewards(made.objective)
    found = find_optimum(made.simulator, made.objective)
    assert found.percentile(reward) == pytest.approx(100 * (rewards[DISTINCT] <= reward).mean(), abs=0.2)


def test_latencies_without_their_unit_are_1000_times_too_small_where_the_simulator_prints_nanoseconds(
    rows, indices
):
    dropped = DramController(time_unit="dropped")
    columns, wrong = DRAM.evaluate_indices(indices), dropped.evaluate_indices(indices)
    number = [float(row["time_ps"]) / (1000 if int(row["time_ps"]) % 1000 == 0 else 1) for row in rows]
    np.testing.assert_allclose(wrong["latency_s"], np.array(number) * 1e-12, rtol=1e-15)
    assert (wrong["latency_s"] < columns["latency_s"] / 2).sum() == 70_202
    for name in ("energy_j", "power_w", "bandwidth_bytes_s"):
        assert (wrong[name] == columns[name]).all()
    assert dropped.specification != DRAM.specification


def test_targets_are_options_and_other_objectives_take_none_of_them():
    goal = evaluator(goal="low_power", form="archgym", target_power_w=2.0).objective
    assert [term.value for term in goal.terms] == [2.0]
    env = gymnasium.make(ENV, objective={"maximize": ["bandwidth_bytes_s"]})
    assert env.unwrapped.objective == Objective(Maximize("bandwidth_bytes_s"))


def test_a_search_states_its_regret():
    result = archgym.search(ENV, "random", budget=2000, seed=0)
    assert result.samples == 2000 and 0 <= result.regret < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trace": "cloud-7"}, "unknown trace 'cloud-7'; did you mean 'cloud-1'"),
        ({"trace": 1}, "unknown trace '1'; known: cloud-1"),
        (
            {"goal": "low_energy"},
            "unknown goal of archgym/DramController-v0 'low_energy'; did you mean 'low_latency'",
        ),
        ({"form": "linear"}, "unknown form of archgym/DramController-v0 'linear'; known: log, archgym"),
        ({"form": "archgym", "goal": "edp"}, "goal='edp' has no published target"),
        (
            {"backend": "ramulator"},
            "unknown backend of archgym/DramController-v0 'ramulator'; known: table, model, dramsys",
        ),
        ({"backend": "dramsys"}, "needs executable=.*and resources="),
        ({"time_unit": "drop"}, "unknown time_unit of DramController 'drop'; did you mean 'dropped'"),
        (
            {"time_unit": "dropped", "backend": "dramsys", "executable": "a", "resources": "b"},
            "goes with backend='table'",
        ),
        ({"executable": "DRAMSys"}, "executable and resources go with backend='dramsys'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        evaluator(**arguments)


# --- tables of a user's own ---


@pytest.fixture
def small_table():
    outcome = (np.arange(SPACE.size) % 3).astype(np.uint16)
    return Table(outcome, np.array([[1000, 5, 5, 7], [2000, 10, 5, 7], [3000, 20, 5, 7]]), {"trace": "mine"})


def test_a_table_comes_back_as_it_was_saved(small_table, tmp_path):
    path = save_table(small_table, tmp_path / "mine.npz")
    again = read_table(path)
    assert (again.outcome == small_table.outcome).all() and (again.figures == small_table.figures).all()
    assert again.provenance == small_table.provenance
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["about"]))["columns"] == COLUMNS


def test_tables_in_the_data_folder_are_traces_too_but_never_instead_of_ours(
    small_table, tmp_path, monkeypatch
):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    (tmp_path / "dram").mkdir()
    for name in ("mine", "cloud-1"):
        save_table(small_table, tmp_path / "dram" / f"{name}.npz")
    assert list_traces() == ["cloud-1", "mine"]
    mine = DramController("mine")
    assert mine.evaluate_indices(EVERYTHING[:3])["latency_s"].tolist() == [1e-9, 2e-9, 3e-9]
    assert (
        mine.specification["table"]
        != DRAM.specification["table"]
        == DramController("cloud-1").specification["table"]
    )


def test_simulators_that_share_a_table_cannot_change_it():
    with pytest.raises(ValueError, match="read-only"):
        DRAM.table.outcome[0] = 1


def test_damaged_and_foreign_tables_are_refused(small_table, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    (tmp_path / "dram").mkdir()
    path = save_table(small_table, tmp_path / "dram" / "mine.npz")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def refused(reason):
        with pytest.raises(ArchGymError, match=reason):
            DramController("mine")

    content = path.read_bytes()
    for damaged in (content[:-100], content[:600] + bytes(4) + content[604:], b"", b"nothing like it"):
        path.write_bytes(damaged)
        refused("not a table of the DRAM controller: .*pack CSV OUT")
    for changes, reason in (
        ({"figures": arrays["figures"] + 1}, "not those that were written"),
        ({"outcome": arrays["outcome"][:-1]}, r"outcome is uint16\[442367\]; expected uint16\[442368\]"),
        ({"outcome": arrays["outcome"] + np.uint16(1)}, "an outcome is missing"),
        ({"figures": arrays["figures"] * 0}, "figure that is not positive"),
        ({"about": np.array(json.dumps({**json.loads(str(arrays["about"])), "format": 9}))}, "format 9"),
        ({"about": np.array({"a": "pickle"}, dtype=object)}, "allow_pickle=False"),
    ):
        np.savez(path, **{**arrays, **changes})
        refused(reason)
    path.unlink()
    with pytest.raises(ArchGymError, match="no file at"):
        read_table(path)


# --- packing runs ---


def write_runs(path, designs, change=lambda i, row: row):
    """Made-up runs of some designs, of which the i-th row may be changed, or left out by None."""
    columns = [column.tolist() for column in SPACE.decode(designs).values()]
    lines = (
        [*design, "10.5", 1000 + i % 7, "3.25", "1"] for i, design in enumerate(zip(*columns, strict=True))
    )
    written = [change(i, line) for i, line in enumerate(lines)]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*SPACE.names, "energy_pj", "time_ps", "power_mw", "bandwidth_gbit_s"])
        writer.writerows(row for row in written if row is not None)
    return path


def replaced(at, column, value):
    return lambda i, row: [*row[:column], value, *row[column + 1 :]] if i == at else row


def test_pack_expands_designs_without_refreshes_and_keeps_printed_decimals(tmp_path):
    table = pack(write_runs(tmp_path / "runs.csv", EVERYTHING[DISTINCT]), "mine")
    assert table.figures.tolist() == [[1000 + i, 1050, 325, 100] for i in range(7)]
    canonical = SPACE.to_ordinal(DRAM.canonical(EVERYTHING))
    assert (table.outcome == table.outcome[canonical]).all()
    assert (table.outcome[DISTINCT] == np.arange(DISTINCT.sum()) % 7).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda i, row: None if i == 5 else row, "has no row for {'page_policy': 'Open'"),
        (lambda i, row: row[:3] if i == 5 else row, "time_ps is None, which is not a number"),
        (replaced(9, 0, "Ajar"), "page_policy is 'Ajar'; it takes Open, OpenAdaptive"),
        (replaced(9, 11, "fast"), "time_ps is 'fast', which is not a number"),
        (replaced(9, 11, "nan"), "time_ps is 'nan', which is not a number"),
        (replaced(9, 11, "1000.5"), "time_ps is 1000.5, but a table stores 0 decimals"),
        (replaced(0, 6, 2), "designs without refreshes have one row"),
        (replaced(1, 9, 1), "duplicate design"),
    ],
)
def test_runs_that_are_no_complete_grid_are_refused(change, reason, tmp_path):
    with pytest.raises(ArchGymError, match=reason):
        pack(write_runs(tmp_path / "runs.csv", EVERYTHING[DISTINCT][:99], change), "mine")


def test_files_that_cannot_be_packed_end_with_one_line(tmp_path, capsys):
    (tmp_path / "runs.csv.gz").write_bytes(b"not compressed")
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    for source, out, reason in (
        ("runs.csv.gz", "mine.npz", "cannot read"),
        ("none.csv", "mine.npz", "cannot read"),
        ("runs.csv", "mine.npz", "must have the columns page_policy"),
        ("runs.csv", "mine.csv", "the table is an .npz file named after its trace, not mine.csv"),
    ):
        assert main([str(tmp_path / source), str(tmp_path / out)]) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1
        assert not (tmp_path / out).exists()
