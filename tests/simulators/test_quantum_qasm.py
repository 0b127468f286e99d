"""Exported circuits, run by Qiskit: the same energy, whatever the order of qubits in each program."""

from __future__ import annotations

import numpy as np
import pytest

from archgym.simulators.quantum import Hamiltonian, QuantumCircuit, list_molecules
from archgym.simulators.quantum.tabular import TabularQuantumCircuit

qiskit = pytest.importorskip("qiskit", reason="needs qiskit, of the extra test")
from qiskit import qasm2  # noqa: E402
from qiskit.quantum_info import SparsePauliOp, Statevector  # noqa: E402


def by_qiskit(text: str, hamiltonian: Hamiltonian) -> float:
    """The energy of a program. The rightmost letter of Qiskit's Pauli strings is qubit 0, of archgym's the
    leftmost.
    """
    terms = zip(hamiltonian.paulis, hamiltonian.coefficients.tolist(), strict=True)
    operator = SparsePauliOp.from_list([(pauli[::-1], coefficient) for pauli, coefficient in terms])
    state = Statevector.from_instruction(qasm2.loads(text))
    return float(state.expectation_value(operator).real)


@pytest.mark.parametrize("molecule", list_molecules())
def test_exported_circuits_have_the_same_energy_in_qiskit(molecule):
    simulator = QuantumCircuit(molecule, 8, starts=2 if molecule == "LiH-2.2-6" else 8)
    designs = simulator.space.sample(5, np.random.default_rng(0))
    designs[0, ::2] = 0  # gaps
    designs[1] = 0  # no gate
    for design, energy in zip(designs, simulator.evaluate_indices(designs)["energy_hartree"], strict=True):
        suffix, content = simulator.export(design)
        assert suffix == ".qasm"
        assert by_qiskit(content.decode(), simulator.hamiltonian) == pytest.approx(energy, abs=1e-10)


def test_qubits_are_told_apart_by_hamiltonians_without_symmetry():
    terms = [("XIZ", 0.3), ("IYI", -0.7), ("ZZX", 0.5), ("IIZ", 1.1), ("YXI", 0.2)]
    simulator = QuantumCircuit(Hamiltonian.from_terms("own", terms), 12, "linear")
    for design in simulator.space.sample(20, np.random.default_rng(1)):
        energy = simulator.evaluate_indices(design[None])["energy_hartree"][0]
        assert by_qiskit(simulator.qasm(design), simulator.hamiltonian) == pytest.approx(energy, abs=1e-10)


def test_a_program_has_a_line_per_gate_and_states_its_exact_energy_and_noise():
    noisy = QuantumCircuit("H2-2", 3, p1=0.01, p2=0.02)
    names = noisy.gates.names
    design = np.array([names.index("ry 0"), names.index("cx 1 0"), 0])
    energy = noisy.evaluate_indices(design[None])["energy_hartree"][0]
    lines = noisy.qasm(design).splitlines()
    assert lines[0] == f"// H2-2: {energy:.12g} hartree with noise p1 = 0.01, p2 = 0.02"
    assert lines[1:4] == ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[2];"]
    assert float(lines[4][3:].partition(")")[0]) == noisy.angles(design[None])[0, 0]  # all digits
    assert lines[4].startswith("ry(") and lines[4].endswith(" q[0];") and lines[5:] == ["cx q[1],q[0];"]
    assert [gate.operation.name for gate in qasm2.loads("\n".join(lines)).data] == ["ry", "cx"]
    measured, exact = QuantumCircuit("H2-2", 3, shots=5), QuantumCircuit("H2-2", 3)
    assert measured.qasm(design) == exact.qasm(design) == TabularQuantumCircuit("H2-2", 3).qasm(design)


def test_a_name_cannot_add_lines_to_a_program():
    name = 'x\nqreg evil[9];\r\n"\x1b[2J'
    simulator = QuantumCircuit(Hamiltonian.from_terms(name, [("X", 1.0)]), 1)
    assert len(simulator.qasm(np.array([2])).splitlines()) == 5
    assert qasm2.loads(simulator.qasm(np.array([2]))).num_qubits == 1
