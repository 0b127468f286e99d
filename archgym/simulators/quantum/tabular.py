"""Short circuits on two qubits looked up: every circuit of at most six gates, so that optima are exact.

A table holds the energy of each of the (8^7 - 1) / 7 = 299,593 sequences of gates without gaps, shorter ones
first, those of one length in lexicographic order:

    energies   float64 [E]    distinct energies, hartree, ascending
    energy     uint16 [D]     place of a sequence's energy in these
    about      JSON           format, what `QuantumCircuit.specification` identifies, and a hash of the above

They are the bits that `QuantumCircuit` gives. `python -m archgym.simulators.quantum.tabulate` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.files.archive import digest, expect, load_archive, reading, save_archive
from archgym.objective import Objective
from archgym.simulators.quantum.pauli import Floats
from archgym.simulators.quantum.simulator import QuantumCircuit
from archgym.space import Indices

FORMAT = 1
SLOTS = 6
GATES = 8  # of two qubits, without none
TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Table:
    """The energies of all circuits of at most `SLOTS` gates; the module has the shapes.

    Raises:
        ArchGymError: invalid arrays.
    """

    identity: ClassVar[str] = "archgym.simulators.quantum.tabular:Table"

    about: dict[str, Any]
    energies: Floats
    energy: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        expect("energies", self.energies, (len(self.energies),), np.float64)
        expect("energy", self.energy, (_shorter(SLOTS + 1),), np.uint16)
        if not self.energy.max() < len(self.energies) or not np.isfinite(self.energies).all():
            raise ArchGymError("an energy is missing")
        for array in (self.energies, self.energy):
            array.flags.writeable = False  # simulators share the arrays

    @property
    def digest(self) -> str:
        """A hash of the circuits and their energies."""
        return digest(str(sorted(self.about.items())), (self.energies, self.energy))

    def save(self, path: Path) -> Path:
        """Write the table, complete or not at all."""
        about = {"format": FORMAT, "of": self.about, "sha256": self.digest}
        return save_archive(path, about, {"energies": self.energies, "energy": self.energy})


def read_table(path: Path) -> Table:
    """The table that `Table.save` wrote.

    Raises:
        ArchGymError: a missing, damaged or modified file.
    """
    with reading(path, "a table of circuits", "install archgym again"):
        about, arrays = load_archive(path, FORMAT)
        table = Table(about["of"], **arrays)
        if table.digest != about["sha256"]:
            raise ArchGymError("its energies are not those that were written")
    return table


@lru_cache
def _tables() -> list[Table]:
    return [read_table(path) for path in sorted(TABLES.glob("*.npz"))]


def table_of(simulator: QuantumCircuit) -> Table | None:
    """The table that has all circuits of a simulator; None without one."""
    if simulator.hamiltonian.qubits != 2 or simulator.slots > SLOTS or simulator.stochastic:
        return None
    wanted = identified(simulator)
    return next((table for table in _tables() if table.about == wanted), None)


def identified(simulator: QuantumCircuit) -> dict[str, Any]:
    """What the energies of circuits depend on, but for the number of slots."""
    given = simulator.specification
    return {name: given[name] for name in ("digest", "pairs", "noise", "starts", "model")}


class TabularQuantumCircuit(QuantumCircuit):
    """`QuantumCircuit` for two qubits and at most six slots, with energies from a table.

    Raises:
        ArchGymError: no table has these circuits.
    """

    identity = "archgym.simulators.quantum.tabular:TabularQuantumCircuit"
    tabulated = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        table = table_of(self)
        if table is None:
            raise ArchGymError(
                f"no table has circuits of {self.slots} slots on {self.hamiltonian.name} with these "
                "arguments; use QuantumCircuit"
            )
        self.table = table

    def _energies(self, circuits: Indices, rng: np.random.Generator | None) -> Floats:
        found: Floats = self.table.energies[self.table.energy[_ordinals(circuits)]]
        return found

    def table_rewards(self, objective: Objective) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Reward float64 [D] and validity bool [D] of every design, by ordinal."""
        columns = self.evaluate_indices(self.space.from_ordinal(np.arange(self.space.size)))
        rewards = objective(columns, columns["feasible"])
        return rewards.reward, rewards.valid

    def optimum(self, objective: Objective) -> Indices | None:
        """The valid circuit with the highest reward, [L], of equal ones without gaps that with the lowest
        ordinal; None if none is valid.
        """
        designs = self.space.from_ordinal(np.arange(self.space.size))
        reward, valid = self.table_rewards(objective)
        valid &= (self.canonical(designs) == designs).all(axis=1)
        best = int(np.where(valid, reward, -np.inf).argmax())
        return designs[best] if valid[best] else None


def every_circuit() -> Indices:
    """The circuits of a table in order, with none at the end: int64 [D, SLOTS]."""
    circuits = np.zeros((_shorter(SLOTS + 1), SLOTS), np.int64)
    for length in range(1, SLOTS + 1):
        number, part = np.arange(GATES**length), circuits[_shorter(length) : _shorter(length + 1)]
        for slot in range(length):
            part[:, slot] = number // GATES ** (length - 1 - slot) % GATES + 1
    return circuits


def _ordinals(circuits: Indices) -> Indices:
    """Places of packed circuits [B, L] in a table, [B]."""
    length = (circuits != 0).sum(axis=1)
    number = np.zeros(len(circuits), np.int64)
    for gates in circuits.T:
        number = np.where(gates != 0, number * GATES + gates - 1, number)
    starts = np.array([_shorter(n) for n in range(SLOTS + 1)])
    return starts[length] + number


def _shorter(length: int) -> int:
    """Number of circuits of fewer gates than `length`."""
    return int((GATES**length - 1) // (GATES - 1))
