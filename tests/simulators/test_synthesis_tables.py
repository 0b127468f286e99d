"""Tables of synthesis sequences: what they hold is what ABC does, and their optima are those of all rows."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest
from synthesis_toys import needs_abc

from archgym.errors import ArchGymError
from archgym.files.paths import data_folder
from archgym.objective import AtMost, Minimize, Objective
from archgym.optimum import find_optimum, known_optimum
from archgym.simulator import is_table
from archgym.simulators.synthesis import (
    PASSES,
    LogicSynthesis,
    TabularSynthesis,
    list_tables,
    load_circuit,
)
from archgym.simulators.synthesis import table as tables
from archgym.simulators.synthesis.abc import find_abc, version_of
from archgym.simulators.synthesis.space import sequence_space
from archgym.simulators.synthesis.table import load_table, read_table, save_table
from archgym.simulators.synthesis.tabulate import main, tabulate
from archgym.testing import check_simulator

SIX = ("int_to_float-11", "max-4x8", "priority_encoder-32", "random-7")  # with all sequences of six passes
METRICS = ("and_gates", "levels", "luts", "lut_levels")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))


@pytest.fixture
def live():
    """LogicSynthesis, closed after the test."""
    made = []

    def build(*arguments, **named):
        made.append(LogicSynthesis(*arguments, **named))
        return made[-1]

    yield build
    for simulator in made:
        simulator.close()


def everything(space):
    return space.from_ordinal(np.arange(space.size))


@needs_abc
@pytest.mark.parametrize("circuit", SIX)
def test_rows_of_a_table_replay_exactly(circuit, live):
    simulator, table = live(circuit, slots=6), TabularSynthesis(circuit)
    rng = np.random.default_rng(11)
    rows = np.concatenate([rng.integers(1, len(PASSES), (12, 6)), table.space.sample(4, rng)])
    found, stored = simulator.evaluate_indices(rows), table.evaluate_indices(rows)
    # another version covers graphs by other look-up tables
    same_tool = table.table.provenance["tool"].split(")")[0] == version_of(find_abc()).split(")")[0]
    for name in METRICS if same_tool else METRICS[:2]:
        assert found[name].tolist() == stored[name].tolist(), name
    assert simulator.state_features(rows) == pytest.approx(table.state_features(rows))
    assert simulator.context_features() == pytest.approx(table.context_features())


@pytest.mark.parametrize("circuit", list_tables())
def test_a_shipped_table_is_of_the_circuit_that_has_its_name(circuit):
    table = load_table(circuit)
    assert table.provenance["circuit_digest"] == load_circuit(circuit).digest
    assert table.provenance["circuit"] == circuit and table.provenance["tool"].startswith("ABC ")


def test_the_tables_of_six_passes_have_all_sequences_of_six():
    assert {name for name in list_tables() if load_table(name).slots == 6} >= set(SIX)
    assert len(load_table("random-7").outcome) == sum(7**k for k in range(7)) == 137_257


@pytest.mark.parametrize("circuit", SIX)
def test_a_table_has_its_optimum_after_more_than_two_passes(circuit):
    for names in (("and_gates",), ("luts",), ("and_gates", "levels")):
        objective = Objective(*(Minimize(name) for name in names))
        best = TabularSynthesis(circuit).optimum(objective)
        assert np.count_nonzero(best) > 2


def test_the_optimum_is_that_of_brute_force_at_four_slots():
    simulator = TabularSynthesis("int_to_float-11", slots=4)
    for objective in (
        Objective(Minimize("and_gates"), Minimize("levels")),
        Objective(Minimize("luts"), AtMost("levels", 20.0)),
    ):
        best, where = -np.inf, None
        for row in everything(simulator.space):
            columns = simulator.evaluate_indices(row[None])
            judged = objective({name: columns[name] for name in METRICS}, columns["feasible"])
            if judged.valid[0] and judged.reward[0] > best:
                best, where = judged.reward[0], row
        assert np.isfinite(best)
        assert simulator.optimum(objective).tolist() == where.tolist()
        assert find_optimum(simulator, objective).best_reward == best
        assert known_optimum(simulator, objective).best_reward == best
    assert is_table(simulator)


@needs_abc
def test_a_new_table_is_what_the_program_does_with_every_sequence(live):
    table = tabulate(live("comparator-16", slots=4), 4)
    assert table.provenance["passes_in_this_run"] == table.provenance["passes"] > 100
    fresh = live("comparator-16", slots=4, cache=False)
    rows = everything(sequence_space(4))
    found = fresh.evaluate_indices(rows)
    stored = table.figures[table.outcome]
    for name, column in zip(METRICS, stored.T, strict=True):
        assert found[name].tolist() == column.tolist()
    best = np.argmin(found["and_gates"] * found["levels"])
    objective = Objective(Minimize("and_gates"), Minimize("levels"))
    assert save_table(table, data_folder_of("comparator-16"))
    assert TabularSynthesis("comparator-16", slots=4).optimum(objective).tolist() == rows[best].tolist()
    again = tabulate(live("comparator-16", slots=4), 4)
    assert again.provenance["passes_in_this_run"] == 0 and again.digest == table.digest


def data_folder_of(name):
    path = data_folder("synthesis")
    path.mkdir(parents=True, exist_ok=True)
    return path / f"{name}.npz"


@needs_abc
def test_the_command_writes_a_table_of_the_users(capsys, tmp_path):
    out = data_folder_of("mine")
    assert main(["multiplier-4", str(out), "--slots", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert "mine" in list_tables() and TabularSynthesis("mine", slots=2).space.size == 57
    assert main(["multiplier-4", str(tmp_path / "x.txt")]) != 0
    assert main(["multiplier-4000", str(out)]) != 0
    assert capsys.readouterr().err.count("\n") == 2


def test_a_table_needs_no_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ARCHGYM_ABC", str(tmp_path / "absent"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    simulator = TabularSynthesis("random-7", slots=3)
    check_simulator(simulator)
    assert simulator.evaluate_indices(np.zeros((1, 3), np.int64))["and_gates"] == [129]


def test_fewer_slots_are_a_part_of_the_table():
    whole, part = TabularSynthesis("random-7"), TabularSynthesis("random-7", slots=3)
    rows = everything(part.space)
    padded = np.concatenate([rows, np.zeros_like(rows)], axis=1)
    a, b = part.evaluate_indices(rows), whole.evaluate_indices(padded)
    assert all(np.array_equal(a[name], b[name]) for name in METRICS)


def test_what_a_table_lacks_is_one_line():
    with pytest.raises(ArchGymError, match='backend="abc"'):
        TabularSynthesis("random-7", slots=7)
    with pytest.raises(ArchGymError, match="did you mean 'random-7'"):
        TabularSynthesis("random_7")


def test_scripts_of_the_program_are_controls():
    ((design, priority),) = TabularSynthesis("random-7").controls().values()
    assert [PASSES[number] for number in design[0]] == [
        "balance",
        "rewrite",
        "rewrite -z",
        "balance",
        "rewrite -z",
        "balance",
    ]
    assert priority.tolist() == [1]


def test_a_damaged_or_changed_table_is_refused(tmp_path, monkeypatch):
    table = load_table("random-7")
    figures = table.figures.copy()
    figures[0, 0] += 1
    path = save_table(replace(table, figures=figures), tmp_path / "x.npz")
    assert read_table(path).digest != table.digest
    monkeypatch.setattr(tables.Table, "digest", "0")
    with pytest.raises(ArchGymError, match="not those that were written"):
        read_table(path)
    monkeypatch.undo()
    shutil.copy(path, tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArchGymError, match="tabulate") as error:
        read_table(tmp_path / "cut.npz")
    assert "\n" not in str(error.value)
    for wrong in ({"outcome": table.outcome[1:]}, {"figures": -table.figures}, {"slots": 5}):
        with pytest.raises(ArchGymError):
            replace(table, **wrong)
