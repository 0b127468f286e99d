"""Logic synthesis by ABC: the program called by hand, the tree of sequences, and what may go wrong."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from synthesis_toys import ABC, by_hand, cells, needs_abc, stand_in

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.files.paths import data_folder
from archgym.files.results import Records
from archgym.simulator_wrappers import Parallel
from archgym.simulators.synthesis import PASSES, LogicSynthesis, load_circuit
from archgym.simulators.synthesis import tree as trees
from archgym.simulators.synthesis.abc import VARIABLE, Abc, find_abc, version_of
from archgym.simulators.synthesis.findings import findings
from archgym.simulators.synthesis.space import sequence_space, sequences
from archgym.simulators.synthesis.tree import Tree, digest_of, structure
from archgym.testing import check_simulator

CIRCUITS = ("int_to_float-8", "random-7", "priority_encoder-32")
FIXED = ["balance", "rewrite", "refactor", "balance", "rewrite -z", "resub", "refactor -z", "balance"]
COUNTS = ("and_gates", "levels")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))


@pytest.fixture
def make():
    """LogicSynthesis, closed after the test."""
    made = []

    def build(circuit="int_to_float-8", **arguments):
        made.append(LogicSynthesis(circuit, **arguments))
        return made[-1]

    yield build
    for simulator in made:
        simulator.close()


def design(passes, slots=10):
    row = [PASSES.index(one) for one in passes]
    return np.array([[*row, *[0] * (slots - len(row))]])


def random_designs(count, slots, seed=0):
    return np.random.default_rng(seed).integers(1, len(PASSES), (count, slots))


def same(a, b):
    return all(
        np.array_equal(a[name], b[name], equal_nan=True) for name in b if name not in ("failure", "cached")
    )


@needs_abc
@pytest.mark.parametrize("circuit", CIRCUITS)
def test_counts_after_eight_passes_are_those_of_the_program_called_by_hand(circuit, make, tmp_path):
    simulator = make(circuit)
    found = simulator.evaluate_indices(design(FIXED))
    content = load_circuit(circuit).content
    ours = [int(found[name][0]) for name in COUNTS]
    assert ours == by_hand(tmp_path, content, "; ".join(FIXED))
    copied = simulator.script(design(FIXED)[0]).partition("strash; ")[2]
    assert ours == by_hand(tmp_path, content, copied)
    luts = [int(found[name][0]) for name in ("luts", "lut_levels")]
    assert luts == by_hand(tmp_path, content, f"{copied}; if -K 6")


@needs_abc
def test_a_script_leaves_the_same_graph_by_hand_as_the_tree(make, tmp_path):
    simulator = make("random-7", slots=6)
    for row in random_designs(3, 6):
        simulator.evaluate_indices(row[None])
        script = simulator.script(row).partition("strash; ")[2]
        by_hand(tmp_path, simulator.circuit.content, f"{script}; write_aiger out.aig")
        assert structure((tmp_path / "out.aig").read_bytes()) == simulator.graph(row)


@needs_abc
def test_no_passes_change_nothing(make, tmp_path):
    simulator = make(slots=4)
    found = simulator.evaluate_indices(np.array([[0, 0, 0, 0], [0, 3, 0, 2]]))
    counts = by_hand(tmp_path, simulator.circuit.content, "print_stats")
    assert [found[name].tolist() for name in COUNTS] == [[count] * 2 for count in counts]
    assert simulator.tree.runs == 0
    longer = simulator.evaluate_indices(np.array([[1, 2, 0, 0], [1, 2, 0, 5]]))
    assert all(column[0] == column[1] for column in longer.values())


@needs_abc
def test_a_sequence_never_runs_a_known_prefix(make):
    simulator = make(slots=4)
    simulator.evaluate_indices(design(["rewrite", "balance", "refactor"], 4))
    assert simulator.tree.runs == 3
    simulator.evaluate_indices(design(["rewrite", "balance"], 4))
    assert simulator.tree.runs == 3
    simulator.evaluate_indices(design(["rewrite", "balance", "refactor", "rewrite"], 4))
    assert simulator.tree.runs == 4


@needs_abc
def test_known_prefixes_give_what_fresh_runs_give(make):
    rows = random_designs(12, 6)
    rows[6:, :3] = rows[:6, :3]  # shared prefixes
    shared = make("random-7", slots=6).evaluate_indices(rows)
    again = make("random-7", slots=6, cache=False)
    fresh = []
    for row in rows:
        fresh.append(again.evaluate_indices(row[None]))
        again.close()  # forgets all
    for name, column in shared.items():
        assert column.tolist() == [one[name][0] for one in fresh]
    other = make("random-7", slots=6)
    assert same(other.evaluate_indices(rows), shared)
    assert other.tree.runs == 0  # from the file


def truth_table(path):
    """A 3-bit multiplier as sums of products, in which `resub` sees in which order gates were made."""
    inputs = " ".join(f"x{i}" for i in range(6))
    lines = [".model product", f".inputs {inputs}", f".outputs {' '.join(f'y{o}' for o in range(6))}"]
    for output in range(6):
        lines.append(f".names {inputs} y{output}")
        lines += [
            "".join(str(v >> i & 1) for i in range(6)) + " 1"
            for v in range(64)
            if (v & 7) * (v >> 3) >> output & 1
        ]
    path.write_text("\n".join([*lines, ".end"]) + "\n")
    return path


@needs_abc
def test_a_pass_depends_on_the_graph_alone(make, tmp_path):
    circuit = truth_table(tmp_path / "product.blif")
    row, prefix, other = (
        design(passes, 4)
        for passes in (["refactor", "refactor", "resub"], ["refactor", "refactor"], ["balance"])
    )
    at_once, in_parts = make(circuit, slots=4, cache=False), make(circuit, slots=4, cache=False)
    found = at_once.evaluate_indices(row)
    in_parts.evaluate_indices(np.concatenate([prefix, other]))  # the program reads the prefix from a file
    assert same(in_parts.evaluate_indices(row), found)
    script = at_once.script(row[0]).partition("strash; ")[2]
    counts = by_hand(tmp_path, at_once.circuit.content, script, ".blif")
    assert [found[name][0] for name in COUNTS] == counts


@needs_abc
def test_graphs_that_memory_no_longer_has_are_made_again(make, monkeypatch):
    rows = random_designs(8, 5)
    expected = make(slots=5, cache=False).evaluate_indices(rows)
    monkeypatch.setattr(trees, "MEMORY_BYTES", 1)
    monkeypatch.setattr(trees, "EDGES", 4)
    small = make(slots=5, cache=False)
    assert same(small.evaluate_indices(rows), expected)
    assert same(small.evaluate_indices(rows[::-1]), {k: v[::-1] for k, v in expected.items()})
    assert len(small.tree._graphs) <= 2


@needs_abc
def test_a_result_that_is_not_the_circuit_is_a_failed_row(make, monkeypatch):
    simulator = make(slots=2)
    wrong = structure(load_circuit("int_to_float-8").content)
    head, _, rest = wrong.partition(b"\n")
    first, _, rest = rest.partition(b"\n")
    wrong = b"\n".join([head, b"%d" % (int(first) ^ 1), rest])  # one output inverted
    real = Abc.read
    monkeypatch.setattr(Abc, "read", lambda self, name: wrong if name == "new.aig" else real(self, name))
    found = simulator.evaluate_indices(design(["balance"], 2))
    # the program holds the right graph; let it read what the tree stored
    simulator.tree._held = None
    simulator.tree._facts.clear()
    simulator.tree.records = None
    found = simulator.evaluate_indices(design(["balance"], 2))
    assert not found["feasible"][0] and "not equivalent to the circuit" in found["failure"][0]


@needs_abc
def test_a_proof_that_takes_too_long_fails_the_row_and_is_not_kept(make, monkeypatch):
    row, real, asked = design(["rewrite"], 2), Abc.run, []

    def undecided(self, command, timeout_s=None):
        asked.append(command)
        return "Networks are UNDECIDED." if "cec" in command else real(self, command, timeout_s)

    with monkeypatch.context() as patched:
        patched.setattr(Abc, "run", undecided)
        found = make(slots=2).evaluate_indices(row)
    assert not found["feasible"][0] and "could not be proven" in found["failure"][0]
    assert [command.split()[1] for command in asked if "cec" in command] == ["&get;", "cec"]
    assert make(slots=2).evaluate_indices(row)["feasible"][0]


@needs_abc
def test_a_pass_that_hangs_costs_one_row_and_the_next_runs(make, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(stand_in(tmp_path / "abc", "resub;")))
    simulator = make(slots=2, timeout_s=1.0)
    rows = np.concatenate([design(["resub"], 2), design(["balance", "rewrite"], 2)])
    found = simulator.evaluate_indices(rows)
    assert found["feasible"].tolist() == [False, True]
    assert re.search(r"took longer than 1 s: raise timeout_s", found["failure"][0])
    start = time.monotonic()
    assert not simulator.evaluate_indices(design(["resub", "balance"], 2))["feasible"][0]
    assert time.monotonic() - start < 1  # it is not tried again
    features = simulator.state_features(design(["resub", "balance"], 2))
    assert np.isfinite(features).all()


@needs_abc
def test_a_pass_that_ends_the_program_costs_one_row(make, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(stand_in(tmp_path / "abc", "refactor;", "exit 1")))
    simulator = make(slots=2)
    rows = np.concatenate([design(["refactor"], 2), design(["balance", "rewrite"], 2)])
    found = simulator.evaluate_indices(rows)
    assert found["feasible"].tolist() == [False, True]
    assert "in 'refactor;" in found["failure"][0]


@needs_abc
def test_a_program_that_is_killed_from_outside_is_started_again(make):
    rows = random_designs(3, 4)
    expected = make(slots=4, cache=False).evaluate_indices(rows)
    simulator = make(slots=4, cache=False)
    for row in rows:
        (process,) = simulator.tree.abc._processes
        for one in psutil.Process(process.child.pid).children():
            one.kill()
        simulator.evaluate_indices(row[None])
    assert simulator.tree.abc.starts == 4
    assert same(simulator.evaluate_indices(rows), expected)


@needs_abc
def test_a_program_that_is_gone_ends_the_search(make, monkeypatch, tmp_path):
    program = stand_in(tmp_path / "abc", "resub;", "exit 1")
    monkeypatch.setenv(VARIABLE, str(program))
    simulator = make(slots=2, cache=False)
    assert not simulator.evaluate_indices(design(["resub"], 2))["feasible"][0]
    program.unlink()
    with pytest.raises(SimulatorUnavailable, match=r"cannot be started|does not start"):
        simulator.evaluate_indices(design(["balance"], 2))


def test_without_the_program_one_line_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimulatorUnavailable, match=r'pip install "archgym\[synthesis\]"') as error:
        LogicSynthesis("int_to_float-8")
    assert "\n" not in str(error.value)
    (finding,) = findings()
    assert finding.state == "missing" and "synthesis" in finding.remedy


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_wrong_program_is_one_line(name, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / name))
    with pytest.raises(SimulatorUnavailable, match=VARIABLE):
        find_abc()


def test_another_program_is_told_from_abc():
    with pytest.raises(SimulatorUnavailable, match="is not ABC"):
        version_of(Path("/bin/echo"))


@needs_abc
def test_the_doctor_states_program_and_version():
    (finding,) = findings()
    assert finding.state == "ok" and version_of(ABC) in finding.found


@needs_abc
def test_the_contract_of_simulators_and_worker_processes(make):
    simulator = make(slots=3)
    check_simulator(simulator)
    rows = random_designs(4, 3)
    expected = simulator.evaluate_indices(rows)
    assert same(pickle.loads(pickle.dumps(simulator)).evaluate_indices(rows), expected)
    parallel = Parallel(simulator, workers=2)
    try:
        assert same(parallel.evaluate_indices(rows), expected)
    finally:
        parallel.close()


@needs_abc
def test_the_specification_has_program_and_circuit_and_no_place(make):
    ours, other = make(slots=3), make("random-7", slots=3)
    assert ours.specification["tool"] == version_of(ABC)
    assert ours.specification["circuit"] == load_circuit("int_to_float-8").digest
    assert ours.specification != other.specification
    assert make(slots=3, cache=False).specification == ours.specification


RUN = """
import sys, numpy as np
from archgym.simulators.synthesis import LogicSynthesis
simulator = LogicSynthesis("random-7", slots=6)
rows = np.array(eval(sys.argv[1]))
print("ready", flush=True)
while True:
    found = simulator.evaluate_indices(rows)
    print(found["and_gates"].tolist(), found["luts"].tolist(), flush=True)
    if len(sys.argv) < 3:
        break
    rows = np.random.default_rng().integers(1, 8, rows.shape)
"""


def start(rows, *more):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, repr(rows.tolist()), *more], stdout=subprocess.PIPE, text=True
    )


@needs_abc
def test_two_processes_share_what_they_ran(make):
    rows = random_designs(6, 6)
    both = [start(rows), start(rows)]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert printed[0] == printed[1]
    simulator = make("random-7", slots=6)
    found = simulator.evaluate_indices(rows)
    assert f"{found['and_gates'].tolist()} {found['luts'].tolist()}" in printed[0]
    assert simulator.tree.runs == 0


@needs_abc
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_process_leaves_no_program_and_a_whole_file(make):
    process = start(random_designs(2, 6), "forever")
    assert process.stdout is not None
    for _ in range(3):  # ready, and two batches
        process.stdout.readline()
    below = psutil.Process(process.pid).children(recursive=True)
    assert any("abc" in one.name() for one in below)
    (folder,) = {one.cwd() for one in below if "abc" in one.name()}
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
    assert os.path.exists(folder)
    os.utime(f"{folder}/lock", (0, 0))
    rows = random_designs(4, 6, seed=5)
    simulator = make("random-7", slots=6)
    assert not os.path.exists(folder) and simulator.tree.abc.folder.exists()
    found = simulator.evaluate_indices(rows)
    os.utime(simulator.tree.abc.folder / "lock", (0, 0))
    assert same(found, make("random-7", slots=6, cache=False).evaluate_indices(rows))
    assert simulator.tree.abc.folder.exists()  # it is old, but in use


@needs_abc
def test_a_damaged_record_is_not_used(make):
    simulator = make(slots=3)
    rows = random_designs(3, 3)
    expected = simulator.evaluate_indices(rows)
    tree = simulator.tree
    graphs = {state.digest for row in sequences(simulator.space, rows) for state in simulator.states(row)}
    simulator.close()
    path = data_folder("cache") / "synthesis.sqlite"
    import sqlite3
    import zlib

    with sqlite3.connect(path) as connection:
        for digest in graphs:
            record = (zlib.compress(b"aig 0 0 0 0 0\n"), tree._key("graph", digest))
            connection.execute("UPDATE results SET record = ? WHERE key = ?", record)
    again = make(slots=3)
    more = np.concatenate([rows[:, :2], [[7], [6], [5]]], axis=1)
    assert same(again.evaluate_indices(more), make(slots=3, cache=False).evaluate_indices(more))
    assert same(again.evaluate_indices(rows), expected)


@needs_abc
def test_area_and_delay_of_the_users_cells(make, tmp_path):
    (tmp_path / "it's; a quit.lib").write_text(cells())
    simulator = make("adder-8", slots=2, library=tmp_path / "it's; a quit.lib")
    assert [metric.name for metric in simulator.metrics][4:] == ["area", "delay_ps"]
    found = simulator.evaluate_indices(design(["balance", "rewrite"], 2))
    (tmp_path / "cells.lib").write_text(cells())
    (tmp_path / "c.aig").write_bytes(simulator.circuit.content)
    script = "read_lib cells.lib; read c.aig; strash; balance; rewrite; map; topo; stime"
    printed = subprocess.run(
        [str(ABC), "-s", "-q", script], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    (area,) = re.findall(r"Area =\s*([\d.]+)", printed)
    assert found["area"][0] == float(area)
    assert f"Delay = {found['delay_ps'][0]:8.2f} ps" in re.sub(r"\x1b\[[0-9;]*m", "", printed)


@needs_abc
@pytest.mark.parametrize("content", ["library (x", "library garbage", "nothing of the kind"])
def test_a_damaged_library_is_one_line(content, tmp_path):
    (tmp_path / "x.lib").write_text(content)
    with pytest.raises(ArchGymError, match=r"library|Liberty") as error:
        LogicSynthesis("adder-8", library=tmp_path / "x.lib")
    assert "\n" not in str(error.value)


@needs_abc
def test_a_process_is_renewed_after_many_commands(make, monkeypatch):
    rows = random_designs(4, 4)
    expected = make(slots=4, cache=False).evaluate_indices(rows)
    monkeypatch.setattr("archgym.simulators.synthesis.abc.COMMANDS", 12)
    simulator = make(slots=4, cache=False)
    assert same(simulator.evaluate_indices(rows), expected)
    assert simulator.tree.abc.starts > 1


@needs_abc
def test_features_follow_the_passes(make):
    simulator = make("random-7", slots=4)
    features = simulator.state_features(np.array([[0, 0, 0, 0], [2, 1, 0, 0]]))
    root, *_, last = simulator.states((2, 1))
    assert features[0, :7] == pytest.approx([np.log10(130), np.log10(12), 1, 1, 1, 1, 1])
    assert features[1, :4] == pytest.approx(
        [
            np.log10(1 + last.and_gates),
            np.log10(1 + last.levels),
            last.and_gates / root.and_gates,
            last.levels / root.levels,
        ]
    )
    assert features[1, 6] == 0.5
    assert features[1, 7:].argmax() == PASSES.index("balance")


def test_a_cut_off_graph_is_refused():
    whole = structure(load_circuit("adder-8").content)
    assert structure(whole + b"c\nanything") == whole
    assert digest_of(whole) != digest_of(whole[:-1])
    for end in (3, 20, len(whole) - 1):
        with pytest.raises(ArchGymError, match="damaged"):
            structure(whole[:end])


def test_sequences_are_distinct_designs():
    space = sequence_space(3)
    assert space.size == 1 + 7 + 49 + 343
    rows = space.from_ordinal(np.arange(space.size))
    assert len(set(sequences(space, rows))) == space.size


def test_a_full_disk_ends_storing_and_nothing_else(monkeypatch, tmp_path):
    records = Records(tmp_path / "x.sqlite")
    monkeypatch.setattr(trees, "DISK_BYTES", 1)
    tree = Tree.__new__(Tree)
    tree.records, tree._new = records, {b"key": b"record"}
    tree._flush()
    assert not tree._new and not records.get([b"key"])
    records.close()
