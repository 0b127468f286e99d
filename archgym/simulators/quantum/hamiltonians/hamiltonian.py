"""A Hamiltonian of n qubits as a real sum of Pauli strings,

    H = sum_k c_k P_k,    P_k in {I, X, Y, Z}^n,  qubit 0 leftmost.

With bit masks x (letters X, Y) and z (letters Y, Z) of a string, qubit 0 most significant,

    P |j> = i^|x & z| (-1)^|z & j| |j xor x>,

so that all strings with one x fill one generalised diagonal of the matrix, and a product with the signs
S[j, z] = (-1)^|z & j| fills all of them (Aaronson and Gottesman, "Improved simulation of stabilizer
circuits", Phys. Rev. A 70, 2004, have the masks).
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array
from archgym.words import shown

LETTERS = "IXYZ"
LARGEST = 8  # qubits
SAME_LEVEL = 1e-9  # part of the levels' range within which two levels count as one
# Rounding of a sum, relative to its summands: what is left below it has cancelled.
_CANCELLED = 4 * sys.float_info.epsilon
_LARGEST_SUM = 1e100  # hartree; levels of larger sums overflow


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    """A Hamiltonian of 1 to 8 qubits as Pauli terms.

    Attributes:
        name: name of the molecule, or of the user's file.
        qubits: number of qubits n.
        paulis: strings of n letters I, X, Y, Z, qubit 0 leftmost; sorted, each once.
        coefficients: float64 [terms], hartree, none of them 0.

    Raises:
        ArchGymError: terms that are not such; `from_terms` sorts and merges them.
    """

    name: str
    qubits: int
    paulis: tuple[str, ...]
    coefficients: Array

    def __post_init__(self) -> None:
        values = np.array(self.coefficients, np.float64)
        values.flags.writeable = False
        object.__setattr__(self, "coefficients", values)
        if values.shape != (len(self.paulis),):
            raise ArchGymError(
                f"expected one coefficient for each of {len(self.paulis)} Pauli strings, got an array of "
                f"shape {list(values.shape)}"
            )
        for pauli in self.paulis:
            check_pauli(pauli, self.qubits)
        _check_sizes(values)
        if not values.all() or list(self.paulis) != sorted(set(self.paulis)):
            raise ArchGymError(
                "expected sorted Pauli strings, each once, without coefficients of 0; use "
                "Hamiltonian.from_terms, which sorts and merges them"
            )
        if not any(pauli.strip("I") for pauli in self.paulis):
            raise ArchGymError(
                f"expected a term with X, Y or Z, got {'identities only' if self.paulis else 'no term'} "
                "after merging; every state would have the same energy"
            )

    @classmethod
    def from_terms(cls, name: str, terms: Iterable[tuple[str, float]]) -> Hamiltonian:
        """A Hamiltonian from terms in any order; those with one string are summed, zeros dropped.

        Args:
            name: name of the Hamiltonian.
            terms: Pauli strings of equal length, qubit 0 leftmost, and coefficients in hartree.

        Raises:
            ArchGymError: no terms, or terms that are no Hamiltonian.
        """
        parts: dict[str, list[float]] = {}
        for pauli, coefficient in terms:
            parts.setdefault(pauli, []).append(float(coefficient))
        if not parts:
            raise ArchGymError("expected Pauli strings with coefficients, got none")
        _check_sizes([value for values in parts.values() for value in values])
        qubits = len(next(iter(parts)))
        merged = {}
        for pauli, values in parts.items():
            check_pauli(pauli, qubits)
            total = math.fsum(values)
            if total and (len(values) == 1 or abs(total) > _CANCELLED * math.fsum(map(abs, values))):
                merged[pauli] = total
        paulis = tuple(sorted(merged))
        return cls(name, qubits, paulis, np.array([merged[p] for p in paulis], np.float64))

    @property
    def terms(self) -> dict[str, float]:
        """Coefficient of each Pauli string, hartree."""
        return dict(zip(self.paulis, self.coefficients.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of a hash of the terms."""
        text = "\n".join(f"{pauli} {value.hex()}" for pauli, value in self.terms.items())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def vector(self) -> Array:
        """Coefficients by Pauli string, float64 [4^n], hartree: strings are numbers in base 4 with digits
        I, X, Y, Z = 0, 1, 2, 3, qubit 0 most significant.
        """
        vector = np.zeros(4**self.qubits)
        vector[self._digits @ 4 ** np.arange(self.qubits)[::-1]] = self.coefficients
        return _constant(vector)

    @cached_property
    def matrix(self) -> Array:
        """The matrix, complex128 [2^n, 2^n], hartree, qubit 0 most significant."""
        size = 2**self.qubits
        weights = 2 ** np.arange(self.qubits)[::-1]
        flips = np.isin(self._digits, (1, 2)) @ weights
        signs = np.isin(self._digits, (2, 3)) @ weights
        phases = np.array([1, 1j, -1, -1j])[(self._digits == 2).sum(1) % 4]
        by_masks = np.zeros((size, size), complex)  # [z, x]
        by_masks[signs, flips] = self.coefficients * phases
        states = np.arange(size)
        parity = 1 - 2 * (np.bitwise_count(states[:, None] & states) & 1).astype(np.float64)
        matrix = np.zeros((size, size), complex)
        matrix[states[:, None] ^ states, states[:, None]] = parity @ by_masks
        return _constant(matrix)

    @cached_property
    def levels(self) -> Array:
        """All eigenvalues in ascending order, float64 [2^n], hartree."""
        return _constant(np.linalg.eigvalsh(self.matrix))

    @property
    def ground_energy(self) -> float:
        """The lowest eigenvalue, hartree."""
        return float(self.levels[0])

    @property
    def gap(self) -> float:
        """First excited level above the ground, hartree; levels that differ by rounding are one."""
        above = self.levels - self.levels[0]
        return float(above[np.argmax(above > SAME_LEVEL * above[-1])])

    @property
    def zero_state_energy(self) -> float:
        """Energy of |0...0>, where a circuit without gates ends, hartree."""
        return float(math.fsum(v for pauli, v in self.terms.items() if set(pauli) <= set("IZ")))

    @cached_property
    def _digits(self) -> Array:
        """Letters as numbers 0 to 3, int64 [terms, n]."""
        return np.array([[LETTERS.index(letter) for letter in pauli] for pauli in self.paulis])


def check_pauli(pauli: str, qubits: int) -> None:
    """Refuse anything but a string of `qubits` letters I, X, Y, Z, and more qubits than `LARGEST`.

    Raises:
        ArchGymError: it is refused.
    """
    if not isinstance(pauli, str) or not pauli or set(pauli) - set(LETTERS):
        raise ArchGymError(f"expected a Pauli string of letters I, X, Y, Z, got {shown(pauli)}")
    if len(pauli) != qubits:
        raise ArchGymError(
            f"expected Pauli strings of one length, {qubits} as the first, got {len(pauli)} letters in "
            f"{shown(pauli)}; write I for a qubit without a letter"
        )
    check_qubits(qubits)


def check_qubits(qubits: int) -> None:
    """Refuse more qubits than `LARGEST`.

    Raises:
        ArchGymError: it is refused.
    """
    if qubits > LARGEST:
        raise ArchGymError(
            f"expected at most {LARGEST} qubits, got {qubits:,}: a state has 4^n numbers; freeze orbitals or "
            "taper symmetries"
        )


def _check_sizes(coefficients: Array | list[float]) -> None:
    sizes = np.minimum(np.abs(coefficients), 2 * _LARGEST_SUM)  # a sum that cannot overflow; NaN stays
    if not sizes.sum() <= _LARGEST_SUM:
        raise ArchGymError(
            f"expected finite coefficients whose magnitudes sum to at most {_LARGEST_SUM:g} hartree, got "
            "larger ones, infinity or NaN; correct or scale them"
        )


def _constant(array: Array) -> Array:
    array.flags.writeable = False
    return array
