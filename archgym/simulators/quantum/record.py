"""Make `recorded/qiskit.csv`: random circuits, the angles that archgym finds, and Qiskit's energies at these.

python -m archgym.simulators.quantum.record [FILE.csv]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from archgym.simulators.quantum import by_qiskit
from archgym.simulators.quantum.fidelity import COLUMNS, RECORDED
from archgym.simulators.quantum.hamiltonians import list_molecules
from archgym.simulators.quantum.simulator import QuantumCircuit
from archgym.simulators.quantum.space import ROTATION

CIRCUITS = 36  # of a molecule; a third of them with noise
NOISE = ((0.0, 0.0), (0.0, 0.0), (0.001, 0.01))
SLOTS = (2, 20)
STARTS = 2  # the energy is compared at the angles, whichever they are


def record(path: Path) -> int:
    """Write the table; the number of its rows."""
    rng = np.random.default_rng(0)
    tool, version = "Qiskit", by_qiskit.version()
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for molecule in list_molecules():
            for number in range(CIRCUITS):
                p1, p2 = NOISE[number % len(NOISE)]
                slots = int(rng.integers(SLOTS[0], SLOTS[1] + 1))
                simulator = QuantumCircuit(molecule, slots, p1=p1, p2=p2, starts=STARTS)
                design = rng.integers(1, len(simulator.gates.names), slots)
                names = [simulator.gates.names[gate] for gate in design]
                turned = simulator.gates.kind[design] == ROTATION
                angles = simulator.angles(design[None])[0, turned].round(9).tolist()
                energy = by_qiskit.energy(simulator.hamiltonian, names, angles, p1, p2)
                circuit, written = "; ".join(names), "; ".join(map(repr, angles))
                table.writerow([molecule, p1, p2, circuit, written, repr(energy), tool, version])
    return CIRCUITS * len(list_molecules())


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED
    print(f"{target}: {record(target)} rows")
