"""Circuits as programs in OpenQASM 2 (Cross et al., arXiv:1707.03429), which Qiskit, PennyLane and others
read. Qubit q is q[q]; Qiskit prints it as the rightmost letter of a Pauli string, archgym as the leftmost.
"""

from __future__ import annotations

from archgym.simulators.quantum.space import CNOT, NONE, GateSet
from archgym.space import Array, Indices
from archgym.words import one_line

_AXES = "?xyz"


def program(gates: GateSet, circuit: Indices, angles: Array, about: str) -> str:
    """A circuit as a program.

    Args:
        circuit: gates [L].
        angles: angle of each rotation, radians, [L].
        about: comment in the first line.
    """
    lines = [f"// {one_line(about)}", "OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{gates.qubits}];"]
    for gate, angle in zip(circuit.tolist(), angles.tolist(), strict=True):
        first, second = gates.first[gate], gates.second[gate]
        if gates.kind[gate] == CNOT:
            lines.append(f"cx q[{first}],q[{second}];")
        elif gates.kind[gate] != NONE:
            lines.append(f"r{_AXES[gates.axis[gate]]}({angle!r}) q[{first}];")
    return "\n".join(lines) + "\n"
