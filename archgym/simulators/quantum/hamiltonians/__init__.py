"""Hamiltonians: molecules that ship, and the user's from a file.

hamiltonian  Hamiltonian: Pauli terms, their matrix, vector and levels
readers      terms from CSV, and from the text of OpenFermion and Qiskit
molecules    load_hamiltonian, list_molecules; `molecules/` has the terms of each molecule
derive       how the molecules' terms were derived (needs PySCF and OpenFermion)
"""

from archgym.simulators.quantum.hamiltonians.hamiltonian import LARGEST, Hamiltonian
from archgym.simulators.quantum.hamiltonians.molecules import list_molecules, load_hamiltonian

__all__ = ["LARGEST", "Hamiltonian", "list_molecules", "load_hamiltonian"]
