"""Quantum circuits: circuits per second with their best angles, beside COBYLA on state vectors, and searches.

python benchmarks/quantum.py rates     circuits/s of one core side by side, in rounds that alternate
python benchmarks/quantum.py search    seconds of searches of 300 circuits on LiH

Rates are per second of CPU time, for random circuits (each gate drawn uniformly) and the default 8 starts.

    batch, c        one call for all circuits, compiled; batch, python: the same with NumPy
    one by one      a call per circuit, as a step of the environment has it
    noisy           with p1 = 0.001, p2 = 0.01
    NumPy, COBYLA   a state vector in NumPy, and SciPy's COBYLA from one random start (not 8), until its steps
                    are below 1e-4 radians, 1,000 evaluations at most: the usual way of papers
    Qiskit, COBYLA  the same with Qiskit's Statevector and SparsePauliOp, where it is installed

Beside COBYLA's rate stand the rate of its energies alone, as SciPy's COBYLA is slow in itself (Python, from
1.16 on), and the share of its results that are within 1e-4 hartree of archgym's or below.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time
from typing import NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy.optimize import minimize

import archgym
from archgym.simulators.quantum import Hamiltonian, QuantumCircuit
from archgym.simulators.quantum.space import CNOT, ROTATION, GateSet

MOLECULES = ("H2-2", "H2-3", "LiH-2.2", "LiH-2.2-6")
SLOTS = (20, 40)
NOISE = {"p1": 0.001, "p2": 0.01}
ROUNDS = 5
AGENTS = ("random", "genetic", "mcts", "tpe", "bo")
PAULIS = (np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.array([[1, 0], [0, -1]]))
Energy = Callable[[np.ndarray], float]


def circuits(simulator: QuantumCircuit, seed: int, count: int) -> np.ndarray:
    gates = len(simulator.gates.names)
    return np.random.default_rng(seed).integers(1, gates, (count, simulator.slots))


def with_numpy(gates: GateSet, hamiltonian: Hamiltonian, circuit: np.ndarray) -> Energy:
    """The energy of angles by a state vector in NumPy."""
    n, matrix = gates.qubits, hamiltonian.matrix
    states = np.arange(2**n)
    flipped = {}
    for gate in set(circuit.tolist()):
        if gates.kind[gate] == CNOT:
            control, target = n - 1 - gates.first[gate], n - 1 - gates.second[gate]
            flipped[gate] = states ^ ((states >> control & 1) << target)

    def energy(angles: np.ndarray) -> float:
        state, k = np.zeros(2**n, complex), 0
        state[0] = 1
        for gate in circuit.tolist():
            if gates.kind[gate] == CNOT:
                state = state[flipped[gate]]
            elif gates.kind[gate] == ROTATION:
                half, pauli = angles[k] / 2, PAULIS[gates.axis[gate] - 1]
                turn = np.cos(half) * np.eye(2) - 1j * np.sin(half) * pauli
                state, k = (turn @ state.reshape(2 ** gates.first[gate], 2, -1)).reshape(-1), k + 1
        return float((state.conj() @ (matrix @ state)).real)

    return energy


def with_qiskit(gates: GateSet, hamiltonian: Hamiltonian, circuit: np.ndarray) -> Energy:
    """The energy of angles by Qiskit's state vector."""
    from qiskit import QuantumCircuit as Circuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp, Statevector

    terms = [(pauli[::-1], value) for pauli, value in hamiltonian.terms.items()]
    operator, program, k = SparsePauliOp.from_list(terms), Circuit(gates.qubits), 0
    parameters = ParameterVector("t", int((gates.kind[circuit] == ROTATION).sum()))
    for gate in circuit.tolist():
        name, *qubits = gates.names[gate].split()
        if gates.kind[gate] == CNOT:
            program.cx(*map(int, qubits))
        else:
            getattr(program, name)(parameters[k], int(qubits[0]))
            k += 1

    def energy(angles: np.ndarray) -> float:
        state = Statevector(program.assign_parameters(angles))
        return float(state.expectation_value(operator).real)

    return energy


class Found(NamedTuple):
    """What COBYLA found: the least energy, evaluations, and seconds that these took."""

    energy: float
    evaluations: int
    seconds: float


def cobyla(energy: Energy, parameters: int, seed: int) -> Found:
    spent = 0.0

    def timed_energy(angles: np.ndarray) -> float:
        nonlocal spent
        start = process_time()
        value = energy(angles)
        spent += process_time() - start
        return value

    if not parameters:
        return Found(timed_energy(np.zeros(0)), 1, spent)
    first = np.random.default_rng(seed).uniform(-np.pi, np.pi, parameters)
    found = minimize(timed_energy, first, method="COBYLA", options={"maxiter": 1000, "tol": 1e-4})
    return Found(float(found.fun), int(found.nfev), spent)


class Rate:
    """Circuits per CPU second of one way, over rounds, and for COBYLA what it found."""

    def __init__(self) -> None:
        self.rounds: list[float] = []
        self.found: list[Found] = []
        self.reached: list[bool] = []

    def __str__(self) -> str:
        shown = f"{np.median(self.rounds):10,.1f} /s"
        if self.found:
            shown += f", {np.mean([one.evaluations for one in self.found]):.0f} evaluations each"
            shown += f", {self.energies_alone:.1f} /s by energies alone"
            shown += f", {100 * np.mean(self.reached):.0f} % within 1e-4 Ha"
        return shown

    @property
    def energies_alone(self) -> float:
        """Circuits per second of CPU time within energies."""
        return len(self.found) / sum(one.seconds for one in self.found)


def timed(rate: Rate, circuits: int, work: Callable[[], object]) -> None:
    start = process_time()
    work()
    rate.rounds.append(circuits / (process_time() - start))


def rates() -> None:
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for molecule in MOLECULES:
        for slots in SLOTS:
            compiled, noisy = QuantumCircuit(molecule, slots), QuantumCircuit(molecule, slots, **NOISE)
            plain = QuantumCircuit(molecule, slots, engine="python")
            found: dict[str, Rate] = defaultdict(Rate)
            count = {2: 200, 3: 100, 4: 40, 6: 4}[compiled.hamiltonian.qubits]
            compiled.evaluate_indices(circuits(compiled, 0, 1))
            for seed in range(ROUNDS):
                one_round(found, compiled, noisy, plain, seed, count)
            print(f"{molecule}, {slots} slots, engine {compiled.engine}")
            for what, rate in found.items():
                print(f"  {what:18}{rate}")
            fast = np.array(found["batch, c"].rounds)
            for what in ("batch, python", "NumPy, COBYLA", "Qiskit, COBYLA"):
                if what in found:
                    ratio = np.median(fast / np.array(found[what].rounds))
                    also = ""
                    if found[what].found:
                        times = np.median(fast) / found[what].energies_alone
                        also = f", {times:,.0f} times by its energies alone"
                    print(f"  batch, c is {ratio:,.0f} times as fast as {what}{also}", flush=True)


def one_round(
    found: dict[str, Rate],
    compiled: QuantumCircuit,
    noisy: QuantumCircuit,
    plain: QuantumCircuit,
    seed: int,
    count: int,
) -> None:
    rows = circuits(compiled, seed, count)
    energies: list[np.ndarray] = []
    timed(
        found["batch, c"],
        count,
        lambda: energies.append(compiled.evaluate_indices(rows)["energy_hartree"]),
    )
    timed(found["one by one, c"], count, lambda: [compiled.evaluate_indices(row[None]) for row in rows])
    timed(found["batch, c, noisy"], count, lambda: noisy.evaluate_indices(rows))
    few = rows[: max(count // 10, 1)]
    timed(found["batch, python"], len(few), lambda: plain.evaluate_indices(few))
    for what, build in (("NumPy, COBYLA", with_numpy), ("Qiskit, COBYLA", with_qiskit)):
        few = rows[: 3 if build is with_numpy else 1]
        parameters = (compiled.gates.kind[few] == ROTATION).sum(axis=1)
        try:
            build(compiled.gates, compiled.hamiltonian, few[0])(np.zeros(parameters[0]))  # imports, too
        except ImportError:
            continue
        done: list[Found] = []

        def optimise(build=build, few=few, parameters=parameters, done=done) -> None:
            for number, (row, angles) in enumerate(zip(few, parameters, strict=True)):
                energy = build(compiled.gates, compiled.hamiltonian, row)
                done.append(cobyla(energy, int(angles), 1000 * seed + number))

        timed(found[what], len(few), optimise)
        found[what].found += done
        found[what].reached += [
            one.energy <= ours + 1e-4 for one, ours in zip(done, energies[0], strict=False)
        ]


def search() -> None:
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for preset in ("LiH-2.2", "LiH-2.2-40", "LiH-2.2-noisy"):
        for agent in AGENTS:
            cpu, start = process_time(), perf_counter()
            found = archgym.search(
                "archgym/QuantumCircuit-v0", agent, budget=300, seed=0, env_kwargs={"preset": preset}
            )
            best = found.best_metrics
            error = f"{best['error_hartree']:.1e} Ha, {best['cnots']:.0f} CNOTs" if best else "none valid"
            spent = f"{process_time() - cpu:6.1f} s of CPU, {perf_counter() - start:6.1f} s"
            print(f"{preset:16}{agent:10}{spent}  {error}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rates"]:
            rates()
        case ["search"]:
            search()
        case _:
            print(__doc__)
            sys.exit(2)
