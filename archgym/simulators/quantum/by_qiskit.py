"""Energies of circuits by Qiskit, for comparison: `archgym fidelity quantum --live`, and `record`.

Without noise a state vector, with noise a density matrix, on which every gate's depolarising channel acts as
a sum over Pauli errors E: (1 - p) rho + p / m sum_E E rho E, with m = 3 after a rotation, 15 after a CNOT.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

from archgym.errors import ArchGymError
from archgym.simulators.quantum.hamiltonians import Hamiltonian

INSTALL = 'pip install "qiskit>=2.0"'


def version() -> str:
    """Qiskit's version.

    Raises:
        ArchGymError: Qiskit is not installed.
    """
    try:
        import qiskit
    except ImportError as error:
        raise ArchGymError(f"Qiskit is not installed; {INSTALL}") from error
    return str(qiskit.__version__)


def energy(
    hamiltonian: Hamiltonian, gates: Sequence[str], angles: Sequence[float], p1: float, p2: float
) -> float:
    """The energy of one circuit at given angles, hartree.

    Args:
        hamiltonian: n qubits.
        gates: "rx 0", "cx 0 1", ...
        angles: angle of each rotation, radians.
        p1, p2: chance of a Pauli error after a rotation, after a CNOT.
    """
    version()
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import DensityMatrix, Statevector

    noisy = p1 > 0 or p2 > 0
    state = (DensityMatrix if noisy else Statevector).from_int(0, 2**hamiltonian.qubits)
    left = iter(angles)
    for gate in gates:
        name, *text = gate.split()
        qubits = [int(each) for each in text]
        step = QuantumCircuit(hamiltonian.qubits)
        getattr(step, name)(*(() if name == "cx" else (next(left),)), *qubits)
        state = state.evolve(step)
        p = p2 if name == "cx" else p1
        if p > 0:
            state = state.evolve(_depolarising(p, len(qubits)), qargs=qubits)
    return float(state.expectation_value(_operator(hamiltonian)).real)


def _operator(hamiltonian: Hamiltonian) -> Any:
    from qiskit.quantum_info import SparsePauliOp

    # Qiskit's rightmost letter is qubit 0
    return SparsePauliOp.from_list([(pauli[::-1], value) for pauli, value in hamiltonian.terms.items()])


@cache
def _depolarising(p: float, qubits: int) -> Any:
    from qiskit.quantum_info import Kraus, Pauli

    labels = ["".join(letters) for letters in product("IXYZ", repeat=qubits)]
    errors = len(labels) - 1
    shares = [1 - p, *[p / errors] * errors]
    return Kraus([share**0.5 * Pauli(label).to_matrix() for share, label in zip(shares, labels, strict=True)])
