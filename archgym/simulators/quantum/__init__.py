"""Quantum circuits: ground energies that circuits of few gates reach.

hamiltonians  molecules, and the user's Hamiltonian from a file
space         circuits as designs: gates, layers, binary encoding
pauli         states, gates and noise in the Pauli basis
rotosolve     the best angles, for many circuits at once; `compiled` does the same in C
simulator     QuantumCircuit
tabular       short circuits on two qubits from tables, which `tabulate` makes
ansatz        circuits that take no search
qasm          circuits as programs in OpenQASM 2
fidelity      energies against another program's (`by_qiskit`, recorded by `record`), and numbers of starts
"""

from archgym.simulators.quantum.hamiltonians import Hamiltonian, list_molecules, load_hamiltonian
from archgym.simulators.quantum.simulator import QuantumCircuit

__all__ = ["Hamiltonian", "QuantumCircuit", "list_molecules", "load_hamiltonian"]
