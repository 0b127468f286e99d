"""Circuits by the textbook, with none of archgym's code: state vectors, and density matrices with Kraus operators.

Gates are words, such as "rx 0" and "cx 0 1"; qubit 0 is the most significant bit, as in archgym's matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import product

import numpy as np

ONE = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


@cache
def pauli(letters: str) -> np.ndarray:
    """A Pauli string as a matrix, the leftmost letter on qubit 0."""
    return reduce(np.kron, (ONE[letter] for letter in letters)).astype(complex)


def matrix_of(terms: Sequence[tuple[str, float]]) -> np.ndarray:
    """The sum of Pauli strings with coefficients."""
    return sum(coefficient * pauli(letters) for letters, coefficient in terms)


def on(letters: str, qubits: Sequence[int], n: int) -> np.ndarray:
    """A Pauli string on some of n qubits."""
    whole = ["I"] * n
    for letter, qubit in zip(letters, qubits, strict=True):
        whole[qubit] = letter
    return pauli("".join(whole))


@cache
def cnot(control: int, target: int, n: int) -> np.ndarray:
    """A CNOT as a matrix, by what it makes of every bit string."""
    matrix = np.zeros((2**n, 2**n))
    for bits in product((0, 1), repeat=n):
        after = list(bits)
        after[target] ^= bits[control]
        matrix[int("".join(map(str, after)), 2), int("".join(map(str, bits)), 2)] = 1
    return matrix


def unitary(gate: str, angle: float, n: int) -> np.ndarray:
    """The matrix of a gate; the identity for none."""
    name, *qubits = gate.split()
    places = [int(q) for q in qubits]
    if name == "none":
        return np.eye(2**n)
    if name == "cx":
        return cnot(*places, n)
    generator = on(name[1].upper(), places, n)
    return np.cos(angle / 2) * np.eye(2**n) - 1j * np.sin(angle / 2) * generator


def state_vector(gates: Sequence[str], angles: Sequence[float], n: int) -> np.ndarray:
    """What the gates make of |0...0>."""
    state = np.zeros(2**n, complex)
    state[0] = 1
    for gate, angle in zip(gates, angles, strict=True):
        state = unitary(gate, angle, n) @ state
    return state


def density_matrix(gates: Sequence[str], angles: Sequence[float], n: int, p1: float, p2: float) -> np.ndarray:
    """The same with depolarising noise: after a rotation, with chance p1, one of the 3 Paulis on its qubit; after
    a CNOT, with chance p2, one of the 15 on both.
    """
    rho = np.zeros((2**n, 2**n), complex)
    rho[0, 0] = 1
    for gate, angle in zip(gates, angles, strict=True):
        name, *qubits = gate.split()
        if name == "none":
            continue
        u = unitary(gate, angle, n)
        rho = u @ rho @ u.conj().T
        places, p = [int(q) for q in qubits], p2 if name == "cx" else p1
        errors = ["".join(letters) for letters in product("IXYZ", repeat=len(places))][1:]
        kraus = [on(letters, places, n) for letters in errors]
        rho = (1 - p) * rho + p / len(kraus) * sum(k @ rho @ k.conj().T for k in kraus)
    return rho
