"""Quantum circuits as designs: L slots, each a gate or nothing.

    none                       no gate
    rx q, ry q, rz q           rotation exp(-i theta P / 2) about P = X, Y, Z of qubit q, its angle free
    cx c t                     CNOT, control c, target t, for pairs that the coupling map has

Angles are no part of a design: `rotosolve` finds the best. Gates act in the order of their slots, and a gate
stands in the first layer after all gates before it on its qubits; the depth is the number of layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from numbers import Integral

import numpy as np

from archgym.errors import ArchGymError, unknown, whole
from archgym.simulator import Metric
from archgym.space import Array, Categorical, DesignSpace, Indices
from archgym.words import shown

CHEMICAL_ACCURACY = 1.6e-3  # hartree, about 1 kcal/mol
METRICS = (
    Metric("energy_hartree", "hartree", "lower"),
    Metric("error_hartree", "hartree", "lower"),
    Metric("cnots", "1", "lower"),
    Metric("depth", "1", "lower"),
    Metric("parameters", "1", "lower"),
    Metric("chemical_accuracy", "1", "higher"),
)
AXES = "xyz"
MOST_SLOTS = 128
COUPLINGS = ("full", "linear", "ring")

NONE, ROTATION, CNOT = 0, 1, 2  # kinds of gates


@dataclass(frozen=True)
class GateSet:
    """The gates of n qubits, in the order of a slot's values: none; rx, ry, rz of qubit 0, of qubit 1, ...;
    then the CNOTs.

    Args:
        qubits: n.
        pairs: (control, target) of each CNOT.
    """

    qubits: int
    pairs: tuple[tuple[int, int], ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The gates in words, [G]."""
        rotations = [f"r{axis} {q}" for q in range(self.qubits) for axis in AXES]
        return ("none", *rotations, *(f"cx {c} {t}" for c, t in self.pairs))

    @cached_property
    def kind(self) -> Indices:
        """NONE, ROTATION or CNOT, [G]."""
        return np.array([NONE] + [ROTATION] * 3 * self.qubits + [CNOT] * len(self.pairs))

    @cached_property
    def first(self) -> Indices:
        """Qubit of a rotation, control of a CNOT, [G]; 0 for none."""
        rotated = [q for q in range(self.qubits) for _ in AXES]
        return np.array([0, *rotated, *(c for c, _ in self.pairs)])

    @cached_property
    def second(self) -> Indices:
        """Target of a CNOT, else `first`, [G]."""
        return np.array([*self.first[: 1 + 3 * self.qubits], *(t for _, t in self.pairs)])

    @cached_property
    def axis(self) -> Indices:
        """Axis of a rotation, 1 for X, 2 for Y, 3 for Z, [G]; 0 for other gates."""
        return np.array([0, *(1, 2, 3) * self.qubits, *(0 for _ in self.pairs)])

    def space(self, slots: int) -> DesignSpace:
        """The circuits of at most `slots` gates."""
        if whole("slots", slots, least=1) > MOST_SLOTS:
            raise ArchGymError(f"expected at most {MOST_SLOTS} slots, got {slots}")
        return DesignSpace([Categorical(f"slot_{k}", self.names) for k in range(1, slots + 1)])

    def layers(self, circuits: Indices) -> Indices:
        """The layer of each gate, from 1, and 0 for none: [B, L] -> [B, L]."""
        free = np.zeros((len(circuits), self.qubits), np.int64)  # last layer in use
        layers = np.zeros_like(circuits)
        rows = np.arange(len(circuits))
        for k in np.flatnonzero(circuits.any(axis=0)):  # the slots of prefixes end early
            gates = circuits[:, k]
            first, second = self.first[gates], self.second[gates]
            layer = np.maximum(free[rows, first], free[rows, second]) + 1
            there = self.kind[gates] != NONE
            layers[there, k] = layer[there]
            for qubit in (first, second):
                free[rows[there], qubit[there]] = layer[there]
        return layers

    def redundant(self, circuits: Indices) -> Array:
        """The gates that would do nothing new after circuits [B, p]: bool [B, G].

        These are none, a rotation about the axis of the last gate on its qubit, if that is a rotation, and a
        CNOT whose qubits both have the same CNOT as their last gate, which it would undo.
        """
        last = np.zeros((len(circuits), self.qubits), np.int64)  # last gate on a qubit
        rows = np.arange(len(circuits))
        for gates in circuits.T:
            there = self.kind[gates] != NONE
            for qubit in (self.first[gates], self.second[gates]):
                last[rows[there], qubit[there]] = gates[there]
        gates = np.arange(len(self.names))
        return (last[:, self.first] == gates) & (last[:, self.second] == gates) | (gates == 0)

    def encoding(self, circuits: Indices) -> Array:
        """Circuits [B, L] as binary tensors float32 [B, L, n + 3, n], as CRLQAS sees them (Patel et al., ICLR
        2024): one page per layer, in which

            [c, t] = 1        CNOT of control c, target t
            [n + a, q] = 1    rotation of qubit q about axis a: X, Y, Z
        """
        n = self.qubits
        seen = np.zeros((len(circuits), circuits.shape[1], n + 3, n), np.float32)
        layers, kind = self.layers(circuits), self.kind[circuits]
        row, slot = np.nonzero(kind != NONE)
        gate = circuits[row, slot]
        line = np.where(kind[row, slot] == CNOT, self.first[gate], n + self.axis[gate] - 1)
        seen[row, layers[row, slot] - 1, line, self.second[gate]] = 1
        return seen


def gate_set(qubits: int, coupling: str | Iterable[Sequence[int]] = "full") -> GateSet:
    """The gates of `qubits` qubits.

    Args:
        coupling: pairs that CNOTs act on: "full" (all), "linear" (q and q + 1, both ways), "ring" (these, and
            the last with the first), or pairs (control, target); none for circuits without CNOTs.

    Raises:
        ArchGymError: an unknown map, something other than pairs, a pair that is not two different qubits.
    """
    if isinstance(coupling, str):
        if coupling not in COUPLINGS:
            raise unknown("coupling map", coupling, COUPLINGS)
        distances = {"full": range(qubits), "linear": (1,), "ring": (1, qubits - 1)}[coupling]
        pairs = [pair for pair in permutations(range(qubits), 2) if abs(pair[0] - pair[1]) in distances]
        return GateSet(qubits, tuple(pairs))
    try:
        given = [tuple(pair) for pair in coupling]
    except TypeError:
        raise _no_pairs(coupling) from None
    found = set()
    for pair in given:
        if len(pair) != 2 or not all(isinstance(q, Integral) and not isinstance(q, bool) for q in pair):
            raise _no_pairs(pair)
        control, target = map(int, pair)
        if control == target or not {control, target} <= set(range(qubits)):
            raise ArchGymError(
                f"expected two different qubits in 0..{qubits - 1} as a pair of the coupling map, got "
                f"({control}, {target})"
            )
        found.add((control, target))
    return GateSet(qubits, tuple(sorted(found)))


def _no_pairs(given: object) -> ArchGymError:
    maps = ", ".join(map(repr, COUPLINGS))
    return ArchGymError(
        f"expected {maps} or pairs of qubits (control, target) as coupling, got {shown(given)}"
    )
