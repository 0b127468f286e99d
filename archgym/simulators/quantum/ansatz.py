"""Circuits that take no search: hardware-efficient ones (Kandala et al., Nature 549, 2017).

ry      [ry on all qubits, CNOTs along the chain], repeated, then ry on all qubits
ry_rz   the same with ry and rz
"""

from __future__ import annotations

import numpy as np

from archgym.simulators.quantum.space import GateSet
from archgym.space import Array, Indices


def hardware_efficient(gates: GateSet, slots: int) -> dict[str, tuple[Indices, Array]]:
    """The largest circuit of each kind that fits, as a simulator's controls: designs [1, L], priorities [1].

    The chain has the CNOTs from qubit 0 to 1, 1 to 2, ... that the coupling map allows.
    """
    place = {name: index for index, name in enumerate(gates.names)}
    chain = [f"cx {q} {q + 1}" for q in range(gates.qubits - 1)]
    found = {}
    for name, axes in (("ry", "y"), ("ry_rz", "yz")):
        rotations = [f"r{axis} {q}" for q in range(gates.qubits) for axis in axes]
        layer = [*rotations, *(pair for pair in chain if pair in place)]
        layers = (slots - len(rotations)) // len(layer)
        if layers > 0:
            circuit = [place[gate] for gate in (*layer * layers, *rotations)]
            design = np.zeros((1, slots), np.int64)
            design[0, : len(circuit)] = circuit
            found[name] = design, np.ones(1)
    return found
