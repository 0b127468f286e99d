"""States, gates and noise in the Pauli basis.

A state rho of n qubits is the real vector of its 4^n Pauli expectations, an observable H that of its
coefficients,

    r_i = tr(rho Q_i),    h_i = tr(H Q_i) / 2^n,    tr(rho H) = sum_i h_i r_i

where i in base 4 has a digit 0, 1, 2, 3 for I, X, Y, Z of each qubit, qubit 0 first. In this basis

    rotation exp(-i theta P / 2), P = X, Y or Z of qubit q: with b, c the two axes after P in the order
    X Y Z X Y, and b, c also for the strings that have them at q and are equal elsewhere,
        r_b' = cos(theta) r_b - sin(theta) r_c,    r_c' = sin(theta) r_b + cos(theta) r_c
    CNOT: r_i' = s_i r_p(i), a permutation with signs, its own inverse
    depolarising after a gate, where the string is not I on all qubits of the gate:
        r_i' = (1 - 4 p1 / 3) r_i after a rotation,    r_i' = (1 - 16 p2 / 15) r_i after a CNOT

p1 and p2 are the chances that one of the 3 or 15 Pauli errors happens. An observable goes back through a gate
by the transposed maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from archgym.simulators.quantum.space import CNOT, ROTATION, GateSet

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PauliBasis:
    """The gates of a set as maps of vectors of N = 4^n numbers.

    Args:
        gates: G gates.
        p1, p2: chance of a Pauli error after a rotation, after a CNOT.
    """

    gates: GateSet
    p1: float = 0.0
    p2: float = 0.0

    @property
    def size(self) -> int:
        """N."""
        return int(4**self.gates.qubits)

    @cached_property
    def damping(self) -> tuple[float, float]:
        """What a rotation and a CNOT leave of the strings that their noise damps."""
        return 1 - 4 * self.p1 / 3, 1 - 16 * self.p2 / 15

    @cached_property
    def zero(self) -> Floats:
        """The state |0...0>, [N]: 1 where every digit is I or Z."""
        digits = self._digits
        return np.isin(digits, (0, 3)).all(axis=1).astype(float)

    @cached_property
    def stride(self) -> Places:
        """Distance of strings that differ by 1 in the digit of a gate's first qubit, [G]."""
        return (4 ** (self.gates.qubits - 1 - self.gates.first)).astype(np.int32)

    @cached_property
    def turned(self) -> Places:
        """The strings with b, with c, with P at the qubit of a rotation, and those with I there, in equal
        order, [G, 4, N / 4]; 0 for other gates.
        """
        found = np.zeros((len(self.gates.names), 4, self.size // 4), np.int32)
        for g in np.flatnonzero(self.gates.kind == ROTATION):
            at_identity = np.flatnonzero(self._digits[:, self.gates.first[g]] == 0)
            axis, stride = int(self.gates.axis[g]), self.stride[g]
            digits = (axis % 3 + 1, (axis + 1) % 3 + 1, axis, 0)
            found[g] = [at_identity + digit * stride for digit in digits]
        return found

    @cached_property
    def permutation(self) -> Places:
        """p(i) of a CNOT, [G, N]; 0 for other gates."""
        return self._cnots[0]

    @cached_property
    def weight(self) -> Floats:
        """s_i of a CNOT times its damping, [G, N]; 0 for other gates."""
        return self._cnots[1]

    @cached_property
    def _digits(self) -> Places:
        powers = 4 ** np.arange(self.gates.qubits - 1, -1, -1)
        return (np.arange(self.size)[:, None] // powers % 4).astype(np.int32)

    @cached_property
    def _cnots(self) -> tuple[Places, Floats]:
        """`permutation` and `weight`, from what a CNOT makes of a Pauli on its control and its target:

        X I -> X X,  Z I -> Z I,  I X -> I X,  I Z -> Z Z, and their products.
        """
        shape = (len(self.gates.names), self.size)
        permutation, weight = np.zeros(shape, np.int32), np.zeros(shape)
        places = np.arange(self.size)
        for g in np.flatnonzero(self.gates.kind == CNOT):
            control, target = self._digits[:, self.gates.first[g]], self._digits[:, self.gates.second[g]]
            x = [np.isin(digit, (1, 2)) for digit in (control, target)]  # X or Y
            z = [np.isin(digit, (2, 3)) for digit in (control, target)]  # Y or Z
            new_control, new_target = _digit(x[0], z[0] ^ z[1]), _digit(x[0] ^ x[1], z[1])
            moved = places + (new_control - control) * self.stride[g]
            moved += (new_target - target) * 4 ** (self.gates.qubits - 1 - int(self.gates.second[g]))
            permutation[g] = moved
            # X Z -> -Y Y and Y Y -> -X Z, all others keep their sign
            negative = x[0] & z[1] & (x[1] == z[0])
            damped = (control > 0) | (target > 0)
            weight[g] = np.where(negative, -1.0, 1.0) * np.where(damped, self.damping[1], 1.0)
        return permutation, weight


def _digit(x: npt.NDArray[np.bool_], z: npt.NDArray[np.bool_]) -> Places:
    """The Pauli i^(x z) X^x Z^z as a digit: I, X, Y, Z = 0, 1, 2, 3."""
    return np.where(x, np.where(z, 2, 1), np.where(z, 3, 0)).astype(np.int32)
