"""Circuits on molecules and random Hamiltonians, against the textbook (`quantum_reference`): energies with and
without noise, the best angles, both engines, redundant gates, measured energies.
"""

from __future__ import annotations

import json
import pickle
from functools import cache

import numpy as np
import pytest
from quantum_reference import density_matrix, matrix_of, pauli, state_vector

from archgym import ArchGymError, Objective
from archgym.objective import AtMost, Maximize, Minimize, Target
from archgym.simulator_wrappers import Noisy, Parallel, Tabulated
from archgym.simulators.compiler import CompilerError
from archgym.simulators.quantum import Hamiltonian, QuantumCircuit, list_molecules, load_hamiltonian
from archgym.simulators.quantum.compiled import library
from archgym.simulators.quantum.space import gate_set
from archgym.testing import check_simulator

NOISE = {"p1": 0.01, "p2": 0.05}


def random_hamiltonian(qubits: int, seed: int) -> Hamiltonian:
    """About a third of all Pauli strings, with normal coefficients."""
    rng = np.random.default_rng(seed)
    strings = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(4**qubits // 3 + 2)]
    return Hamiltonian.from_terms("random", [(p, float(rng.normal())) for p in (*strings, "Z" * qubits)])


@cache
def dense(hamiltonian: Hamiltonian) -> np.ndarray:
    return matrix_of(list(zip(hamiltonian.paulis, hamiltonian.coefficients.tolist(), strict=True)))


def words(simulator: QuantumCircuit, circuit: np.ndarray) -> list[str]:
    """The gates of a circuit, by the values of its parameters."""
    return [str(gate) for gate in simulator.space.design(circuit).values()]


def reference(simulator: QuantumCircuit, circuit: np.ndarray, angles: np.ndarray, **noise: float) -> float:
    """A circuit's energy by the textbook."""
    hamiltonian = simulator.hamiltonian
    gates, n = words(simulator, circuit), hamiltonian.qubits
    if noise:
        rho = density_matrix(gates, angles.tolist(), n, **noise)
        return float(np.trace(rho @ dense(hamiltonian)).real)
    state = state_vector(gates, angles.tolist(), n)
    return float((state.conj() @ dense(hamiltonian) @ state).real)


def circuits(simulator: QuantumCircuit, count: int, seed: int = 0) -> np.ndarray:
    return simulator.space.sample(count, np.random.default_rng(seed))


def named(simulator: QuantumCircuit, *gates: str) -> np.ndarray:
    """A circuit [1, L] of these gates, then none."""
    places = [simulator.gates.names.index(gate) for gate in gates]
    return np.array([places + [0] * (simulator.slots - len(places))])


def energies(simulator: QuantumCircuit, designs: np.ndarray) -> np.ndarray:
    return simulator.evaluate_indices(designs)["energy_hartree"]


def compiles() -> bool:
    try:
        library()
    except CompilerError:
        return False
    return True


# --- energies ---

SYSTEMS = [
    ("H2-2", 10),
    (random_hamiltonian(2, 0), 10),
    ("H2-3", 10),
    (random_hamiltonian(3, 1), 10),
    ("H2-4", 10),
    ("LiH-2.2", 12),
    (random_hamiltonian(4, 2), 8),
]
IDS = [name if isinstance(name, str) else f"random{name.qubits}" for name, _ in SYSTEMS]


@pytest.mark.parametrize(("molecule", "slots"), SYSTEMS, ids=IDS)
def test_energies_are_those_of_state_vectors_at_the_best_and_at_any_angles(molecule, slots):
    simulator = QuantumCircuit(molecule, slots)
    designs = circuits(simulator, 150)  # 1,050 in all
    reported, best = energies(simulator, designs), simulator.angles(designs)
    anything = np.random.default_rng(1).uniform(-7, 7, designs.shape)
    scale = np.abs(simulator.hamiltonian.coefficients).sum()
    for angles, found in (
        (best, reported),
        (best, simulator.energy(designs, best)),
        (anything, simulator.energy(designs, anything)),
    ):
        expected = [reference(simulator, *row) for row in zip(designs, angles, strict=True)]
        assert np.abs(found - expected).max() <= 1e-12 * max(scale, 1)
    ground = np.linalg.eigvalsh(dense(simulator.hamiltonian))[0]
    assert (reported >= ground - 1e-12).all()
    errors = simulator.evaluate_indices(designs)["error_hartree"]
    assert (errors >= 0).all()  # also where energies are 1e-15 too low by rounding
    np.testing.assert_allclose(errors, reported - ground, atol=1e-12)
    assert (reported <= simulator.energy(designs, anything) + 1e-12).all()


@pytest.mark.parametrize(("molecule", "slots"), SYSTEMS, ids=IDS)
def test_noisy_energies_are_those_of_density_matrices(molecule, slots):
    simulator = QuantumCircuit(molecule, slots, **NOISE)
    designs = circuits(simulator, 12, seed=2)
    reported, best = energies(simulator, designs), simulator.angles(designs)
    anything = np.random.default_rng(3).uniform(-4, 4, designs.shape)
    for angles, found in ((best, reported), (anything, simulator.energy(designs, anything))):
        expected = [reference(simulator, *row, **NOISE) for row in zip(designs, angles, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-12)
    assert (reported >= np.linalg.eigvalsh(dense(simulator.hamiltonian))[0]).all()
    quiet = QuantumCircuit(molecule, slots)
    assert (reported - energies(quiet, designs)).mean() > 1e-3  # noise costs energy


def test_full_depolarisation_leaves_the_mean_of_all_states():
    simulator = QuantumCircuit("H2-2", 2, p1=3 / 4, p2=15 / 16)
    mixed = np.trace(dense(simulator.hamiltonian)).real / 4
    found = energies(
        simulator, np.concatenate([named(simulator, "cx 0 1"), named(simulator, "ry 0", "rx 1")])
    )
    np.testing.assert_allclose(found, mixed, atol=1e-14)


def test_one_qubit_is_solved_by_the_rotation_that_its_hamiltonian_needs():
    x, y, z, i = 0.7, -0.4, 1.3, -0.2
    real = QuantumCircuit(Hamiltonian.from_terms("real", [("X", x), ("Z", z), ("I", i)]), 3)
    imaginary = QuantumCircuit(Hamiltonian.from_terms("imaginary", [("Y", y), ("Z", z), ("I", i)]), 3)
    both = QuantumCircuit(Hamiltonian.from_terms("both", [("X", x), ("Y", y), ("Z", z)]), 3)
    for simulator, gates, lowest in (
        (real, ("ry 0",), i - np.hypot(x, z)),
        (real, ("rx 0",), i - z),
        (real, ("rz 0",), i + z),
        (real, (), i + z),
        (imaginary, ("rx 0",), i - np.hypot(y, z)),
        (both, ("ry 0", "rz 0"), -np.sqrt(x * x + y * y + z * z)),
    ):
        assert energies(simulator, named(simulator, *gates))[0] == pytest.approx(lowest, abs=1e-13)


def test_two_gates_solve_hydrogen_on_two_qubits_and_none_of_one_does():
    simulator = QuantumCircuit("H2-2", 2)
    columns = simulator.evaluate_indices(simulator.space.from_ordinal(np.arange(simulator.space.size)))
    gates = columns["cnots"] + columns["parameters"]
    assert columns["error_hartree"][gates == 2].min() < 1e-9
    assert columns["error_hartree"][gates < 2].min() > 1e-3
    solved = columns["error_hartree"] <= 1.6e-3
    assert (columns["chemical_accuracy"] == solved).all()


# --- the best angles ---


@pytest.mark.parametrize("starts", [1, 8])
@pytest.mark.parametrize("molecule", list_molecules())
def test_further_rotations_at_the_end_never_raise_the_energy(molecule, starts):
    large = molecule == "LiH-2.2-6"
    simulator = QuantumCircuit(molecule, 8, starts=starts)
    rng = np.random.default_rng(4)
    designs = circuits(simulator, (8 if starts == 1 else 2) if large else 60, seed=5)
    designs[:, -3:] = 0
    before = energies(simulator, designs)
    rotations = 3 * simulator.hamiltonian.qubits
    for slot in (5, 6, 7):
        designs[:, slot] = 1 + rng.integers(rotations, size=len(designs))
        after = energies(simulator, designs)
        assert (after <= before + 1e-9).all()
        before = after


def test_eight_starts_are_enough():
    few, many = QuantumCircuit("LiH-2.2", 20), QuantumCircuit("LiH-2.2", 20, starts=64)
    designs = circuits(few, 20, seed=6)
    worse = energies(few, designs) - energies(many, designs)
    assert (worse <= 1e-4).mean() >= 0.9
    assert (worse >= -1e-6).all()  # the first starts are the same


@pytest.mark.parametrize("noise", [{}, NOISE], ids=["quiet", "noisy"])
def test_results_depend_neither_on_order_nor_on_size_of_batches(noise):
    simulator = QuantumCircuit("H2-3", 9, **noise)
    designs = circuits(simulator, 40, seed=7)
    whole, angles = simulator.evaluate_indices(designs), simulator.angles(designs)
    order = np.random.default_rng(8).permutation(len(designs))
    for name, column in simulator.evaluate_indices(designs[order]).items():
        assert column.tobytes() == whole[name][order].tobytes()
    for row, design in enumerate(designs):
        assert energies(simulator, design[None])[0] == whole["energy_hartree"][row]
        assert simulator.angles(design[None]).tobytes() == angles[row].tobytes()
    twice = np.concatenate([designs, designs])
    assert energies(simulator, twice).tobytes() == np.tile(whole["energy_hartree"], 2).tobytes()
    assert energies(simulator, designs[:0]).shape == (0,)


@pytest.mark.skipif(not compiles(), reason="no C compiler works here")
@pytest.mark.parametrize(
    ("qubits", "slots", "noise", "count"),
    [(2, 6, {}, 50), (2, 6, NOISE, 50), (3, 5, {}, 50), (3, 5, NOISE, 50), (4, 5, {}, 50), (4, 5, NOISE, 50)],
)
def test_both_engines_give_the_same_bits(qubits, slots, noise, count):
    given = {"molecule": random_hamiltonian(qubits, 10), "slots": slots, "starts": 2, **noise}
    python, c = (QuantumCircuit(**given, engine=engine) for engine in ("python", "c"))
    assert (python.engine, c.engine) == ("python", "c")
    designs = circuits(c, count, seed=11)
    designs[::5, -2:] = 1 + designs[::5, -2:] % (3 * qubits)  # rotations at the end, and
    designs[::7, 2:4] = 0  # gaps
    assert energies(python, designs).tobytes() == energies(c, designs).tobytes()
    some = designs[:10]
    assert python.angles(some).tobytes() == c.angles(some).tobytes()
    assert python.specification == c.specification


# --- circuits as designs ---


def layers_of(gates: list[str]) -> list[int]:
    """The layer of each gate, from 1; 0 for none."""
    busy: dict[str, int] = {}
    layers = []
    for gate in gates:
        qubits = gate.split()[1:]
        layers.append(1 + max(busy.get(q, 0) for q in qubits) if qubits else 0)
        busy.update(dict.fromkeys(qubits, layers[-1]))
    return layers


@pytest.mark.parametrize("molecule", ["H2-2", "LiH-2.2"])
def test_gates_layers_and_the_binary_tensor_are_those_of_a_count_by_hand(molecule):
    simulator = QuantumCircuit(molecule, 12, starts=1)
    designs = circuits(simulator, 60, seed=12)
    designs[0] = 0
    columns, n = simulator.evaluate_indices(designs), simulator.hamiltonian.qubits
    tensors = simulator.state_features(designs).reshape(60, 12, n + 3, n)
    assert tensors.dtype == np.float32
    for row, design in enumerate(designs):
        gates = words(simulator, design)
        layers = layers_of(gates)
        cnots = sum(gate.startswith("cx") for gate in gates)
        rotations = sum(gate.startswith("r") for gate in gates)
        found = [columns[name][row] for name in ("cnots", "depth", "parameters")]
        assert found == [cnots, max(layers), rotations]
        expected = np.zeros((12, n + 3, n))
        for k, gate in enumerate(gates):
            if gate == "none":
                continue
            name, *qubits = gate.split()
            places = [int(q) for q in qubits]
            line = places[0] if name == "cx" else n + "xyz".index(name[1])
            expected[layers[k] - 1, line, places[-1]] = 1
        assert (tensors[row] == expected).all()


def test_none_is_no_gate_in_any_slot_and_the_canonical_circuit_is_packed():
    simulator = QuantumCircuit("H2-4", 10, **NOISE)
    designs = circuits(simulator, 60, seed=13)
    designs[np.random.default_rng(14).random(designs.shape) < 0.4] = 0
    packed = simulator.canonical(designs)
    assert (simulator.canonical(packed) == packed).all()
    for design, front in zip(designs, packed, strict=True):
        gates = [gate for gate in design.tolist() if gate]
        assert front.tolist() == gates + [0] * (10 - len(gates))
    for name, column in simulator.evaluate_indices(packed).items():
        assert column.tobytes() == simulator.evaluate_indices(designs)[name].tobytes()
    angles = simulator.angles(designs)
    assert (angles[designs == 0] == 0).all() and (np.abs(angles) <= np.pi).all()
    np.testing.assert_allclose(simulator.energy(designs, angles), energies(simulator, designs), atol=1e-12)


def test_masks_leave_out_exactly_the_gates_that_change_nothing():
    simulator = QuantumCircuit("H2-3", 8)
    gates = simulator.gates
    rng = np.random.default_rng(15)
    designs = circuits(simulator, 30, seed=16)
    for design in designs:
        free = simulator.masks(design[None], 5)[0]
        left = [name for name, open_ in zip(gates.names, free, strict=True) if not open_]
        assert "none" in left
        for gate in (g for g in left if g != "none"):
            place = gates.names.index(gate)
            angles = rng.uniform(-3, 3, (1, 8))
            longer = design[None].copy()
            longer[0, 5:] = [place, 0, 0]
            # what it repeats: with other angles the circuit without it does the same
            same, shorter = longer.copy(), angles.copy()
            same[0, 5] = 0
            k = max(
                j for j in range(5) if set(words(simulator, design)[j].split()[1:]) & set(gate.split()[1:])
            )
            assert design[k] == place
            if gate.startswith("cx"):
                same[0, k] = 0
            else:
                shorter[0, k] += angles[0, 5]
            assert simulator.energy(longer, angles)[0] == pytest.approx(
                simulator.energy(same, shorter)[0], abs=1e-12
            )
    # a gate on a qubit in between, or a part of a CNOT's qubits only, makes the gate count again
    for before, gate, open_ in (
        (("rx 0",), "rx 0", False),
        (("rx 0", "rx 1"), "rx 0", False),
        (("rx 0", "ry 0"), "rx 0", True),
        (("rx 0", "cx 1 0"), "rx 0", True),
        (("cx 0 1",), "cx 0 1", False),
        (("cx 0 1",), "cx 1 0", True),
        (("cx 0 1", "rz 2"), "cx 0 1", False),
        (("cx 0 1", "rz 1"), "cx 0 1", True),
        (("cx 0 1", "cx 1 2"), "cx 0 1", True),
        ((), "cx 0 1", True),
        ((), "none", False),
    ):
        mask = simulator.masks(named(simulator, *before), len(before))[0]
        assert mask[gates.names.index(gate)] == open_, (before, gate)


def test_a_gate_that_repeats_or_undoes_the_one_before_leaves_the_optimum():
    simulator = QuantumCircuit("H2-4", 8, starts=32)
    designs = circuits(simulator, 20, seed=17)
    designs[:, 5:] = 0
    plain = energies(simulator, designs)
    for gate in ("ry 2", "cx 1 3"):
        place, longer = simulator.gates.names.index(gate), designs.copy()
        longer[:, 5] = place
        once = energies(simulator, longer)
        longer[:, 6] = place
        twice = energies(simulator, longer)
        expected = plain if gate.startswith("cx") else once
        np.testing.assert_allclose(twice, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("coupling", "pairs"),
    [
        (
            "full",
            [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3), (3, 0), (3, 1), (3, 2)],
        ),
        ("linear", [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]),
        ("ring", [(0, 1), (0, 3), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2)]),
        ([[3, 1], (0, 2), [3, 1]], [(0, 2), (3, 1)]),
        (np.array([[1, 0]]), [(1, 0)]),
        ([], []),  # product states: no entanglement, by choice
    ],
)
def test_cnots_act_on_the_pairs_of_the_coupling_map(coupling, pairs):
    simulator = QuantumCircuit("LiH-2.2", 3, coupling)
    assert list(simulator.gates.pairs) == pairs
    assert [name for name in simulator.gates.names if name.startswith("cx")] == [
        f"cx {c} {t}" for c, t in pairs
    ]
    assert (simulator.space.nvec == 13 + len(pairs)).all()
    assert gate_set(1, "ring").pairs == () and gate_set(2, "ring").pairs == ((0, 1), (1, 0))


def test_hardware_efficient_circuits_are_layers_of_rotations_and_a_chain():
    simulator = QuantumCircuit("LiH-2.2", 20)
    found = {name: words(simulator, designs[0]) for name, (designs, _) in simulator.controls().items()}
    ry, chain = [f"ry {q}" for q in range(4)], ["cx 0 1", "cx 1 2", "cx 2 3"]
    assert found["ry"] == [*ry, *chain, *ry, *chain, *ry, "none", "none"]
    both = [f"r{axis} {q}" for q in range(4) for axis in "yz"]
    assert found["ry_rz"] == [*both, *chain, *both, "none"]
    assert QuantumCircuit("LiH-2.2", 5).controls() == {}


# --- measured energies ---


def test_shots_spread_the_energy_by_the_formula():
    simulator, exact = QuantumCircuit("H2-3", 6, shots=100), QuantumCircuit("H2-3", 6)
    assert simulator.stochastic and not exact.stochastic
    design = circuits(exact, 1, seed=18)
    state = state_vector(words(exact, design[0]), exact.angles(design)[0].tolist(), 3)
    variance = 0.0
    for letters, coefficient in zip(exact.hamiltonian.paulis, exact.hamiltonian.coefficients, strict=True):
        mean = (state.conj() @ pauli(letters) @ state).real
        variance += coefficient**2 * (1 - mean**2) / 100
    many = np.repeat(design, 20_000, axis=0)
    columns = simulator.evaluate_indices(many, np.random.default_rng(0))
    measured = columns["energy_hartree"]
    assert measured.std() == pytest.approx(np.sqrt(variance), rel=0.03)
    assert measured.mean() == pytest.approx(energies(exact, design)[0], abs=5 * np.sqrt(variance / 20_000))
    np.testing.assert_allclose(
        columns["error_hartree"], measured - exact.hamiltonian.ground_energy, atol=1e-14
    )


def test_shots_are_reproducible_under_a_seed_and_a_batch_is_its_rows():
    simulator = QuantumCircuit("H2-2", 5, shots=10)
    designs = circuits(simulator, 30, seed=19)
    whole = simulator.evaluate_indices(designs, np.random.default_rng(1))
    again = simulator.evaluate_indices(designs, np.random.default_rng(1))
    other = simulator.evaluate_indices(designs, np.random.default_rng(2))
    rng = np.random.default_rng(1)
    rows = [simulator.evaluate_indices(design[None], rng) for design in designs]
    for name, column in whole.items():
        assert column.tobytes() == again[name].tobytes()
        assert column.tobytes() == np.concatenate([row[name] for row in rows]).tobytes()
    assert (whole["energy_hartree"] != other["energy_hartree"]).any()
    assert simulator.specification != QuantumCircuit("H2-2", 5).specification


# --- the simulator among others ---


def test_the_checker_passes():
    check_simulator(QuantumCircuit("H2-2", 4))
    check_simulator(QuantumCircuit("H2-3", 5, "linear", **NOISE))
    check_simulator(QuantumCircuit("H2-2", 4, shots=50))


@pytest.mark.parametrize("engine", ["auto", "python"])
def test_copies_and_workers_give_the_same_bits(engine):
    simulator = QuantumCircuit("H2-3", 5, starts=4, engine=engine)
    designs = circuits(simulator, 12, seed=20)
    expected = simulator.evaluate_indices(designs)
    copy = pickle.loads(pickle.dumps(simulator))
    assert copy.engine == simulator.engine and copy.specification == simulator.specification
    assert energies(copy, designs).tobytes() == expected["energy_hartree"].tobytes()
    if engine == "python":
        return
    workers = Parallel(simulator, workers=2)
    try:
        found = workers.evaluate_indices(designs)
        for name, column in expected.items():
            assert found[name].tobytes() == column.tobytes()
    finally:
        workers.close()


def test_the_specification_states_what_results_depend_on_and_no_engine():
    given = {"molecule": "H2-2", "slots": 4}
    one = QuantumCircuit(**given, starts=np.int64(8), engine="python").specification
    assert one == QuantumCircuit(**given).specification and "engine" not in json.dumps(one)
    assert one == QuantumCircuit(load_hamiltonian("H2-2"), 4, [(0, 1), (1, 0)]).specification
    for other in (
        {"slots": 5},
        {"starts": 9},
        {"p1": 0.1},
        {"p2": 0.1},
        {"coupling": [(0, 1)]},
        {"shots": 3},
    ):
        assert QuantumCircuit(**{**given, **other}).specification != one
    renamed = Hamiltonian.from_terms("H2-2", [("ZZ", 1.0)])
    assert QuantumCircuit(renamed, 4).specification != one


# --- bounds ---


def test_no_reward_exceeds_the_bound_and_objectives_that_it_does_not_fit_have_none():
    simulator = QuantumCircuit("H2-3", 6)
    columns = simulator.evaluate_indices(circuits(simulator, 300, seed=21))
    feasible = columns["feasible"]
    fits = [
        Objective(Minimize("error_hartree", floor=1e-7), reference={"error_hartree": 1.6e-3}),
        Objective(Minimize("error_hartree", floor=1e-7), Minimize("depth", floor=2.0, weight=0.5)),
        Objective(Minimize("cnots", floor=0.5), AtMost("error_hartree", 1.6e-3)),
        Objective(Minimize("energy_hartree"), Maximize("chemical_accuracy"), form="linear"),
    ]
    for objective in fits:
        bound = simulator.bound(objective)
        assert bound is not None
        rewards = objective(columns, feasible)
        assert (rewards.reward[rewards.valid] <= bound + 1e-12).all()
    assert simulator.bound(fits[0]) == pytest.approx(np.log(1.6e-3 / 1e-7))
    for objective in (
        Objective(Target("cnots", 3.0)),
        Objective(Minimize("energy_hartree")),  # has no logarithm
        Objective(Maximize("depth"), form="linear"),
        Objective(Minimize("chemical_accuracy"), form="linear"),
        Objective(Minimize("cnots", weight=-1.0), form="linear"),
    ):
        assert simulator.bound(objective) is None, objective
    assert QuantumCircuit("H2-3", 6, shots=10).bound(fits[0]) is None


def test_wrappers_pass_the_bound_on_unless_they_add_noise():
    objective = Objective(Minimize("error_hartree", floor=1e-7))
    simulator = QuantumCircuit("H2-2", 2)
    assert Parallel(simulator, workers=1).bound(objective) == simulator.bound(objective) is not None
    assert Noisy(simulator, 0.1).bound(objective) is None
    assert Tabulated(simulator).bound(objective) is None


# --- arguments ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"p1": p}, "expected p1 as a chance from 0 to 0.75")
            for p in (-1, float("nan"), "x", True, None, 0.76)
        ),
        *(({"p2": p}, "expected p2 as a chance from 0 to 0.9375") for p in (1, np.inf, [0.1])),
        *(({"slots": n}, "expected slots as a whole number >= 1") for n in (0, -3, 1.5, "x", True)),
        ({"slots": 129}, "expected at most 128 slots, got 129"),
        *(({"starts": n}, "expected starts as a whole number >= 1") for n in (0, 2.5, None, "8")),
        ({"starts": 10**9}, "expected at most 256 starts, got 1000000000"),
        *(({"shots": n}, "expected shots as a whole number >= 1") for n in (0, -1, 1.5, True)),
        ({"engine": "rust"}, "engine of QuantumCircuit"),
        ({"coupling": "linaer"}, "'linear'"),
        ({"coupling": [(0, 4)]}, "expected two different qubits in 0..3"),
        ({"coupling": [(1, 1)]}, "expected two different qubits in 0..3"),
        ({"coupling": [(0, -1)]}, "expected two different qubits in 0..3"),
        *(
            ({"coupling": [pair]}, "or pairs of qubits (control, target) as coupling, got")
            for pair in ((0, 1, 2), (0,), "01", 5, (0, 1.5), (0, True), None, {})
        ),
        *(({"coupling": given}, "as coupling, got") for given in (5, None, 0.5, [[]])),
        ({"molecule": "LiH-2.3"}, "LiH-2.2"),
        ({"molecule": 5}, "expected a molecule or the path of a file"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ArchGymError) as error:
        QuantumCircuit(**{"slots": 3, **arguments})
    assert message in str(error.value) and "\n" not in str(error.value)
