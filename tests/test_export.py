"""`archgym export`: the best valid design of a search as a file; wrappers pass the simulator's on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Bowl
from typer.testing import CliRunner

import archgym
from archgym import ArchGymError, AtMost, Minimize, Objective, SimulatorUnavailable
from archgym.cli import app
from archgym.simulator_wrappers import Cached, Noisy, Parallel, Tabulated
from archgym.simulators.quantum import QuantumCircuit
from archgym.simulators.synthesis import TabularSynthesis
from archgym.simulators.synthesis.abc import find_abc

CIRCUITS = "archgym/QuantumCircuit-v0"


class Filed(Bowl):
    """A bowl whose designs have files."""

    suffix, head = ".txt", b"design"

    def export(self, indices):
        return self.suffix, self.head + b" " + ",".join(map(str, indices.tolist())).encode() + b"\n"


class Binary(Filed):
    suffix, head = ".bin", b"aig\x00\x01"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments) -> str:
    """The one line of an error."""
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr.strip()


def searched(env: str, path: Path, budget: int = 60, **kwargs) -> archgym.SearchResult:
    result = archgym.search(env, "random", budget=budget, env_kwargs=kwargs)
    result.to_parquet(path)
    return result


def test_the_best_valid_design_is_written_or_printed(register, here):
    env, _ = register(Filed)
    result = searched(env, here / "s.parquet")
    reward = np.where(result.history["valid"], result.history["reward"], -np.inf)
    assert not result.history["valid"].all() and (reward == result.best_reward).any()
    space = result.space
    expected = "design " + ",".join(map(str, space.rows([result.best_design])[0].tolist())) + "\n"
    assert run("export", "s.parquet").stdout == expected
    (here / "x.txt").write_text("old")
    shown = run("export", "s.parquet", "--out", "x.txt")
    assert shown.exit_code == 0 and (here / "x.txt").read_text() == expected  # as --out of all commands
    assert "x.txt" in shown.stdout and "cost_j" in shown.stdout and env in shown.stdout


def test_binary_files_need_a_name(register, here):
    env, _ = register(Binary)
    searched(env, here / "s.parquet")
    assert refused("export", "s.parquet") == "error: the file is binary: give --out FILE.bin"
    assert run("export", "s.parquet", "--out", "x.bin").exit_code == 0
    assert (here / "x.bin").read_bytes().startswith(b"aig\x00\x01 ")


def test_what_cannot_be_exported_is_one_line(register, here):
    env, _ = register(Filed)
    searched(env, here / "s.parquet")
    assert "takes the name of a .txt file" in refused("export", "s.parquet", "--out", "x.qasm")
    assert "does not exist" in refused("export", "s.parquet", "--out", "nowhere/x.txt")
    assert not list(here.glob("x*"))
    assert "expected a file of archgym search --out" in refused("export", "missing.parquet")
    (here / "text").write_text("no result")
    assert "is not a file of archgym search --out" in refused("export", "text")
    assert "it is a folder" in refused("export", here)
    plain, _ = register(Bowl)
    searched(plain, here / "plain.parquet")
    assert "Bowl defines no export(indices)" in refused("export", "plain.parquet")
    none = Objective(Minimize("cost_j"), AtMost("area_mm2", 1e-9))
    searched(env, here / "none.parquet", objective=none)
    assert "none of the 60 designs in none.parquet is valid" in refused("export", "none.parquet")


def test_a_circuit_is_exported_from_a_search_and_from_the_users_hamiltonian(here):
    (here / "own.csv").write_text("XI,0.5\nIY,0.2\nZZ,-1\n")
    for kwargs in ({"preset": "H2-3"}, {"molecule": "own.csv", "slots": 6, "max_cnots": None}):
        given = [part for name, value in kwargs.items() for part in ("--set", f"{name}={value}")]
        found = run("search", CIRCUITS, "genetic", "--budget", 60, *given, "--out", "s.parquet")
        assert found.exit_code == 0, found.stderr
        text = run("export", "s.parquet").stdout
        assert "OPENQASM 2.0;" in text
        assert run("export", "s.parquet", "--out", "c.qasm").exit_code == 0
        assert (here / "c.qasm").read_text() == text
    (here / "own.csv").write_text("XI,0.5\nIY,0.2\nZZ,-2\n")
    assert "the installed one is" in refused("export", "s.parquet")  # another Hamiltonian


def test_wrappers_pass_files_on():
    simulator, design = Filed(), np.array([0, 1, 2, 0])
    expected = simulator.export(design)
    table = Tabulated(simulator)
    for wrapper in (Parallel(simulator, workers=1), Noisy(simulator, 0.1), Cached(simulator), table):
        assert wrapper.export(design) == expected
    assert Bowl().export(design) is Tabulated(Bowl()).export(design) is None
    circuit = QuantumCircuit("H2-2", 3)
    assert Parallel(circuit, workers=1).export(np.array([1, 2, 3])) == circuit.export(np.array([1, 2, 3]))


def test_sequences_from_a_table_are_exported_by_abc():
    simulator = TabularSynthesis("random-7", 3)
    design = np.array([1, 2, 0])
    try:
        find_abc()
    except SimulatorUnavailable:
        with pytest.raises(SimulatorUnavailable):
            simulator.export(design)
        pytest.skip('needs ABC: pip install "archgym[synthesis]"')
    suffix, content = simulator.export(design)
    gates = int(content.split(b"\n", 1)[0].split()[5])
    assert suffix == ".aig" and gates == simulator.evaluate_indices(design[None])["and_gates"][0]


def test_a_table_and_an_abc_that_disagree_export_nothing(monkeypatch):
    try:
        find_abc()
    except SimulatorUnavailable:
        pytest.skip('needs ABC: pip install "archgym[synthesis]"')
    simulator = TabularSynthesis("random-7", 3)
    simulator._figures = simulator._figures + 1
    with pytest.raises(ArchGymError, match="this ABC leaves"):
        simulator.export(np.array([1, 2, 0]))
