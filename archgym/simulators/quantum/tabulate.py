"""Make the tables of short circuits on two qubits: python -m archgym.simulators.quantum.tabulate [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from archgym.simulators.quantum.simulator import QuantumCircuit
from archgym.simulators.quantum.tabular import SLOTS, TABLES, Table, every_circuit, identified

SHIPPED = {"H2-2": (0.0, 0.0), "H2-2-noisy": (0.001, 0.01)}  # p1, p2


def tabulate(simulator: QuantumCircuit) -> Table:
    """The energies of all circuits of at most `SLOTS` gates."""
    energies = simulator.evaluate_indices(every_circuit())["energy_hartree"]
    distinct, place = np.unique(energies, return_inverse=True)
    return Table(identified(simulator), distinct, place.reshape(-1).astype(np.uint16))


def main(folder: Path) -> None:
    """Write the tables that archgym ships."""
    for name, (p1, p2) in SHIPPED.items():
        path = tabulate(QuantumCircuit("H2-2", SLOTS, p1=p1, p2=p2)).save(folder / f"{name}.npz")
        print(f"{path} {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLES)
