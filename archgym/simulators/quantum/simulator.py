"""Quantum circuits for a ground state: what energy a circuit reaches once its angles are best.

    energy_hartree       min over the angles of tr(rho H)    (`rotosolve`)
    error_hartree        energy_hartree - lowest eigenvalue of H
    cnots, depth, parameters    CNOTs; layers; rotations, an angle each
    chemical_accuracy    1 where error_hartree <= 1.6e-3

Without noise rho = |psi><psi|, and energy_hartree is at least the lowest eigenvalue. With noise each gate is
followed by a depolarising channel (`pauli`). With shots the energy at the best angles is measured: for each
Pauli string P_k of H, of coefficient c_k, the mean of `shots` measurements, together

    energy + sqrt(sum_k c_k^2 (1 - <P_k>^2) / shots) z,    z standard normal
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, whole
from archgym.objective import Maximize, Minimize, Objective, R
from archgym.simulator import Simulator
from archgym.simulators.compiler import choose_engine
from archgym.simulators.quantum.ansatz import hardware_efficient
from archgym.simulators.quantum.compiled import library, solve_compiled
from archgym.simulators.quantum.hamiltonians import Hamiltonian, load_hamiltonian
from archgym.simulators.quantum.pauli import Floats, PauliBasis
from archgym.simulators.quantum.qasm import program
from archgym.simulators.quantum.rotosolve import (
    MOST_STARTS,
    Problem,
    energies_at,
    pack,
    solve,
    states_at,
)
from archgym.simulators.quantum.space import CHEMICAL_ACCURACY, CNOT, METRICS, ROTATION, gate_set
from archgym.space import Array, Indices

MODEL = 1  # version of the inner optimisation, which results depend on


class QuantumCircuit(Simulator):
    """Circuits on a molecule's, or your own, Hamiltonian.

    Args:
        molecule: name from `list_molecules()`, path of a file, or a `Hamiltonian`.
        slots: gates of a circuit at most.
        coupling: pairs that CNOTs act on: "full", "linear", "ring", or pairs (control, target).
        p1, p2: chance of a Pauli error after a rotation, 0 to 3/4, and after a CNOT, 0 to 15/16.
        starts: number of starts of the inner optimisation.
        shots: measurements of each Pauli string; None for exact energies.
        engine: "c", compiled on this machine; "python", with equal results, some 80 times slower; "auto", the
            first that works.

    Raises:
        ArchGymError: an unknown molecule, coupling map or engine, an invalid file, a number out of range.
        CompilerError: engine "c" where no C compiler works.
    """

    identity = "archgym.simulators.quantum.simulator:QuantumCircuit"

    metrics = METRICS

    def __init__(
        self,
        molecule: str | os.PathLike[str] | Hamiltonian = "LiH-2.2",
        slots: int = 20,
        coupling: str | Iterable[Sequence[int]] = "full",
        p1: float = 0.0,
        p2: float = 0.0,
        starts: int = 8,
        shots: int | None = None,
        engine: str = "auto",
    ):
        starts = whole("starts", starts, least=1)
        if starts > MOST_STARTS:
            raise ArchGymError(f"expected at most {MOST_STARTS} starts, got {starts}")
        self.hamiltonian = molecule if isinstance(molecule, Hamiltonian) else load_hamiltonian(molecule)
        self.gates = gate_set(self.hamiltonian.qubits, coupling)
        self.slots = whole("slots", slots, least=1)
        self.space = self.gates.space(self.slots)
        noise = _chance("p1", p1, 3 / 4), _chance("p2", p2, 15 / 16)
        self.shots = None if shots is None else whole("shots", shots, least=1)
        self.stochastic = shots is not None
        self.engine = choose_engine("QuantumCircuit", engine, library)
        self.problem = Problem(PauliBasis(self.gates, *noise), self.hamiltonian.vector, starts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        wanted = "auto" if self.engine == "c" else self.engine  # another machine, perhaps
        self.engine = choose_engine("QuantumCircuit", wanted, library)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Optimise the angles of circuits and count their gates: int64 [B, L] in, columns [B] out; all
        feasible.
        """
        circuits, _ = pack(np.asarray(indices, np.int64), self.gates.kind)
        energies = self._energies(circuits, rng)
        errors = energies - self.hamiltonian.ground_energy
        if not self.stochastic:
            errors = np.maximum(errors, 0.0)  # -1e-15 by rounding, which has no logarithm
        kind = self.gates.kind[circuits]
        return {
            "energy_hartree": energies,
            "error_hartree": errors,
            "cnots": (kind == CNOT).sum(axis=1).astype(float),
            "depth": self.gates.layers(circuits).max(axis=1, initial=0).astype(float),
            "parameters": (kind == ROTATION).sum(axis=1).astype(float),
            "chemical_accuracy": (errors <= CHEMICAL_ACCURACY).astype(float),
            "feasible": np.ones(len(circuits), bool),
        }

    def angles(self, indices: Indices) -> Array:
        """The best angles of circuits [B, L], radians in (-pi, pi], float64 [B, L]; 0 for other gates."""
        return self._solved(indices)[1]

    def energy(self, indices: Indices, angles: Array) -> Array:
        """The energies of circuits [B, L] at given angles [B, L], radians: float64 [B], hartree."""
        points = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        return energies_at(self.problem, np.asarray(indices, np.int64), points)

    def qasm(self, design: Indices) -> str:
        """A circuit [L] with its best angles, as a program in OpenQASM 2."""
        design, noise = np.asarray(design, np.int64), self.problem.basis
        energies, angles = self._solved(design[None])
        about = f"{self.hamiltonian.name}: {energies[0]:.12g} hartree"
        if noise.p1 or noise.p2:
            about += f" with noise p1 = {noise.p1:g}, p2 = {noise.p2:g}"
        return program(self.gates, design, angles[0], about)

    def export(self, indices: Indices) -> tuple[str, bytes]:
        """A circuit [L] with its best angles, as a program in OpenQASM 2 (`qasm`)."""
        return ".qasm", self.qasm(indices).encode()

    def canonical(self, indices: Indices) -> Indices:
        """Circuits with their gates in the first slots: [B, L] -> [B, L]."""
        return pack(np.asarray(indices, np.int64), self.gates.kind)[0]

    def masks(self, indices: Indices, p: int) -> Array:
        """The gates that do something new in slot p (`GateSet.redundant`): bool [B, G]. All circuits are
        feasible; this is for circuits built gate by gate, as in CRLQAS.
        """
        return ~self.gates.redundant(np.asarray(indices, np.int64)[:, :p])

    def state_features(self, indices: Indices) -> Array:
        """Circuits as binary tensors (`GateSet.encoding`) in a row: float32 [B, L (n + 3) n]."""
        return self.gates.encoding(np.asarray(indices, np.int64)).reshape(len(indices), -1)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Hardware-efficient circuits that fit (`ansatz`)."""
        return hardware_efficient(self.gates, self.slots)

    def context_features(self) -> dict[str, float]:
        """Size and spectrum of the Hamiltonian, noise, and number of slots."""
        hamiltonian = self.hamiltonian
        weights = np.array([len(pauli) - pauli.count("I") for pauli in hamiltonian.paulis])
        share = np.abs(hamiltonian.coefficients) / np.abs(hamiltonian.coefficients[weights > 0]).sum()
        return {
            "qubits": float(hamiltonian.qubits),
            "terms": float(len(hamiltonian.paulis)),
            "norm": float(np.abs(hamiltonian.coefficients[weights > 0]).sum()),
            **{f"weight_{w}": float(share[weights == w].sum()) for w in range(1, hamiltonian.qubits + 1)},
            "pairs": float(len(self.gates.pairs)),
            "p1": self.problem.basis.p1,
            "p2": self.problem.basis.p2,
            "slots": float(self.slots),
        }

    def bound(self, objective: Objective) -> float | None:
        """The reward of a circuit without gates whose energy is the lowest eigenvalue: no circuit is better,
        where every term wants its metric as it is there, lower or higher.
        """
        better = {metric.name: Minimize if metric.better == "lower" else Maximize for metric in METRICS}
        if self.stochastic or any(
            type(term) is not better[term.metric] or term.weight < 0 for term in objective.terms
        ):
            return None
        best = {"energy_hartree": self.hamiltonian.ground_energy, "error_hartree": 0.0}
        best |= {"cnots": 0.0, "depth": 0.0, "parameters": 0.0, "chemical_accuracy": 1.0}
        uncut = float(objective.uncut({name: np.array([value]) for name, value in best.items()})[0])
        return None if np.isnan(uncut) else min(uncut, R)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments but the engine, a digest of the Hamiltonian, and the model's version."""
        basis = self.problem.basis
        return {
            "simulator": type(self).identity,
            "molecule": self.hamiltonian.name,
            "digest": self.hamiltonian.digest,
            "slots": self.slots,
            "pairs": [list(pair) for pair in self.gates.pairs],
            "noise": [basis.p1, basis.p2],
            "starts": self.problem.starts,
            **({} if self.shots is None else {"shots": self.shots}),
            "model": MODEL,
        }

    def _energies(self, circuits: Indices, rng: np.random.Generator | None) -> Floats:
        """The energies of packed circuits [B, L], measured if there are shots: [B], hartree."""
        unique, inverse = np.unique(circuits, axis=0, return_inverse=True)
        energies, points = self._solve(unique)
        found: Floats = energies[inverse.reshape(-1)]
        if self.shots is not None:
            spread = self._spread(unique, points)[inverse.reshape(-1)]
            draws = (rng or np.random.default_rng()).standard_normal((len(circuits), 1))[:, 0]
            found = found + spread * draws
        return found

    def _solved(self, indices: Indices) -> tuple[Floats, Floats]:
        """Exact energies [B] of circuits [B, L] and their best angles [B, L]."""
        circuits, order = pack(np.asarray(indices, np.int64), self.gates.kind)
        energies, points = self._solve(circuits)
        angles = np.zeros(circuits.shape)
        np.put_along_axis(angles, order, np.arctan2(points[..., 1], points[..., 0]), axis=1)
        return energies, angles

    def _solve(self, circuits: Indices) -> tuple[Floats, Floats]:
        return (solve_compiled if self.engine == "c" else solve)(self.problem, circuits)

    def _spread(self, circuits: Indices, points: Floats) -> Floats:
        """The standard deviation of measured energies, [B], hartree."""
        states = states_at(self.problem, circuits, points)[:, 1:]  # I needs no measurement
        variance = (self.problem.observable[1:] ** 2 * np.maximum(1 - states**2, 0)).sum(axis=1)
        spread: Floats = np.sqrt(variance / self.shots)
        return spread


def _chance(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 <= value <= most:
        raise ArchGymError(f"expected {name} as a chance from 0 to {most:g}, got {value!r}")
    return float(value)
