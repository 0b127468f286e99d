"""Energies against those of another program, and how many starts the inner optimisation needs.

A table is a CSV file with a row per circuit:

    molecule            name from `list_molecules()`, or path, also relative to the table
    p1, p2              chance of a Pauli error after a rotation, after a CNOT; 0 without these columns
    circuit             gates with semicolons between them: rx 0; cx 0 1
    angles              angle of each rotation, radians, with semicolons between them
    energy_hartree      that the other program has, hartree
    tool, version       (or neither) the program

`recorded/qiskit.csv` is such a table of ours (`record`), and its README has the provenance.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.files.csv import delimiter_of
from archgym.simulators.quantum import by_qiskit
from archgym.simulators.quantum.hamiltonians import list_molecules
from archgym.simulators.quantum.simulator import QuantumCircuit
from archgym.simulators.quantum.space import MOST_SLOTS, ROTATION
from archgym.space import Array, Indices
from archgym.words import shown

RECORDED = Path(__file__).parent / "recorded" / "qiskit.csv"
COLUMNS = ("molecule", "p1", "p2", "circuit", "angles", "energy_hartree", "tool", "version")
NEEDED = ("molecule", "circuit", "angles", "energy_hartree")
MOST_BYTES = 16 << 20
STARTS = (1, 2, 4, 8, 16)
MOST_STARTS = 64  # the best of which counts as the optimum
CLOSE = (1e-4, 1e-6)  # hartree


@dataclass(frozen=True, eq=False)
class Row:
    """A circuit of a table.

    Attributes:
        simulator: molecule and noise.
        molecule: as the table has it.
        gates: the circuit, int64 [L].
        angles: angle of each gate, radians, [L]; 0 for CNOTs.
        energy: energy that the table has, hartree; NaN where Qiskit computes it.
        tool: program and version.
    """

    simulator: QuantumCircuit
    molecule: str
    gates: Indices
    angles: Array
    energy: float
    tool: str

    @property
    def noisy(self) -> bool:
        """Whether a gate has noise."""
        return self.simulator.problem.basis.p1 > 0 or self.simulator.problem.basis.p2 > 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows of a table beside archgym's energies.

    Attributes:
        molecules: molecule of each row, [R].
        noisy: rows with noise, [R].
        theirs, ours: energies, hartree, float64 [R].
        tools: programs and versions, in order of appearance.
    """

    molecules: npt.NDArray[np.str_]
    noisy: npt.NDArray[np.bool_]
    theirs: Array
    ours: Array
    tools: tuple[str, ...]

    @property
    def absolute(self) -> float:
        """The largest difference, hartree."""
        return float(np.abs(self.ours - self.theirs).max())

    @property
    def relative(self) -> float:
        """The largest relative difference; energies below 1e-12 hartree count as that."""
        return float((np.abs(self.ours - self.theirs) / np.maximum(np.abs(self.theirs), 1e-12)).max())

    def of(self, molecule: str) -> Comparison:
        """The rows of one molecule."""
        keep = self.molecules == molecule
        return Comparison(
            self.molecules[keep], self.noisy[keep], self.theirs[keep], self.ours[keep], self.tools
        )


def compare(path: Path = RECORDED, live: bool = False) -> Comparison:
    """Compute the energies of a table's circuits at its angles.

    Args:
        path: the table.
        live: compare with Qiskit's energies, computed now, in place of the table's.

    Raises:
        ArchGymError: a malformed table, or Qiskit is not installed.
    """
    tool = f"Qiskit {by_qiskit.version()}" if live else ""
    rows = list(read(path))
    ours = [row.simulator.energy(row.gates[None], row.angles[None])[0] for row in rows]
    theirs = [_by_qiskit(row) if live else row.energy for row in rows]
    return Comparison(
        np.array([row.molecule for row in rows]),
        np.array([row.noisy for row in rows]),
        np.array(theirs),
        np.array(ours),
        (tool,) if live else tuple(filter(None, dict.fromkeys(row.tool for row in rows))),
    )


def _by_qiskit(row: Row) -> float:
    simulator = row.simulator
    names = [simulator.gates.names[gate] for gate in row.gates]
    angles = row.angles[simulator.gates.kind[row.gates] == ROTATION].tolist()
    basis = simulator.problem.basis
    return by_qiskit.energy(simulator.hamiltonian, names, angles, basis.p1, basis.p2)


@dataclass(frozen=True, eq=False)
class Sufficiency:
    """How often some starts find the energy that `MOST_STARTS` find.

    Attributes:
        starts: numbers of starts, [S].
        shares: share of circuits within `CLOSE`, [S, 2].
        largest: largest distance from the best, hartree, [S].
        circuits: number of circuits.
    """

    starts: tuple[int, ...]
    shares: Array
    largest: Array
    circuits: int


def sufficiency(
    molecule: str | Path = "LiH-2.2", slots: int = 20, circuits: int = 60, p1: float = 0.0, p2: float = 0.0
) -> Sufficiency:
    """Compare few starts with many on random circuits.

    Args:
        molecule: name or file.
        slots: gates of a circuit.
        circuits: number of random circuits, each gate drawn uniformly.
        p1, p2: chance of a Pauli error after a rotation, after a CNOT.
    """
    found: list[Array] = []
    designs: Indices = np.zeros((0, slots), np.int64)
    for starts in (*STARTS, MOST_STARTS):
        simulator = QuantumCircuit(molecule, slots, p1=p1, p2=p2, starts=starts)
        if not found:
            gates = len(simulator.gates.names)
            designs = np.random.default_rng(0).integers(1, gates, (circuits, slots))
        found.append(simulator.evaluate_indices(designs)["energy_hartree"])
    energies = np.array(found)
    above = energies[:-1] - energies.min(axis=0)
    shares = np.stack([(above <= limit).mean(axis=1) for limit in CLOSE], axis=1)
    return Sufficiency(STARTS, shares, above.max(axis=1), circuits)


# --- reading ---


def read(path: Path) -> Iterator[Row]:
    """The circuits of a table.

    Raises:
        ArchGymError: the file is not such a table.
    """
    with reading(path, "a table of energies"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8-sig") as lines:
            header = lines.readline()
            lines.seek(0)
            # semicolons stand between gates, so commas and tabs are delimiters
            table = csv.DictReader(lines, delimiter="\t" if delimiter_of(header) == "\t" else ",")
            columns = [column for column in table.fieldnames or () if column]
            for column in columns:
                if column not in COLUMNS:
                    raise unknown("column", column, COLUMNS)
            if missing := [column for column in NEEDED if column not in columns]:
                raise ArchGymError(f"expected a column {missing[0]!r}; the columns are {', '.join(NEEDED)}")
            made: dict[tuple[str, float, float], QuantumCircuit] = {}
            rows = [_row(number, row, columns, path, made) for number, row in enumerate(table, start=2)]
        if not rows:
            raise ArchGymError("expected rows, got none")
    yield from rows


def _row(
    number: int,
    row: dict[str, Any],
    columns: Sequence[str],
    path: Path,
    made: dict[tuple[str, float, float], QuantumCircuit],
) -> Row:
    cells = {column: (row[column] or "").strip() for column in columns}
    if not cells["molecule"]:
        raise ArchGymError(f"line {number} has no molecule")
    p1, p2 = (_number(number, name, cells[name]) if name in cells else 0.0 for name in ("p1", "p2"))
    of = cells["molecule"], p1, p2
    if of not in made:
        made[of] = QuantumCircuit(_beside(of[0], path), 1, p1=p1, p2=p2, engine="python")
    gates = _gates(number, made[of], cells["circuit"])
    turned = made[of].gates.kind[gates] == ROTATION
    written = [_number(number, "angles", cell) for cell in _parts(cells["angles"])]
    if len(written) != turned.sum():
        raise ArchGymError(
            f"line {number}: expected {turned.sum()} angles, one of each rotation, got {len(written)}"
        )
    angles = np.zeros(len(gates))
    angles[turned] = written
    tool = " ".join(cells[name] for name in ("tool", "version") if cells.get(name))
    return Row(
        made[of], of[0], gates, angles, _number(number, "energy_hartree", cells["energy_hartree"]), tool
    )


def _gates(number: int, simulator: QuantumCircuit, text: str) -> Indices:
    names = _parts(text)
    if len(names) > MOST_SLOTS:
        raise ArchGymError(f"line {number}: expected at most {MOST_SLOTS} gates, got {len(names):,}")
    known = {name: place for place, name in enumerate(simulator.gates.names)}
    for name in names:
        if name not in known:
            raise unknown(
                f"gate of {simulator.hamiltonian.qubits} qubits in line {number}", name, [*known][1:]
            )
    return np.array([known[name] for name in names], np.int64)


def _parts(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split(";") if part.strip()]


def _beside(molecule: str, path: Path) -> str | Path:
    """The path of a molecule's file beside the table; other molecules as given."""
    named = molecule in list_molecules() or not (path.parent / molecule).is_file()
    return molecule if named else path.parent / molecule


def _number(number: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ArchGymError(f"line {number}: expected {name} as a finite number, got {shown(cell)}")
    return value
