"""Tables of short circuits on two qubits: the bits of the simulator, and exact optima."""

import gymnasium
import numpy as np
import pytest

from archgym import AtMost, Minimize, Objective, find_optimum
from archgym.errors import ArchGymError
from archgym.simulators.quantum import QuantumCircuit
from archgym.simulators.quantum.tabular import TabularQuantumCircuit, every_circuit, read_table
from archgym.simulators.quantum.tabulate import SHIPPED

ERROR = Objective(Minimize("error_hartree", floor=1e-7), AtMost("cnots", 2))


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("noise", SHIPPED.values(), ids=list(SHIPPED))
def test_a_table_has_the_bits_of_the_simulator(noise):
    live = QuantumCircuit("H2-2", 6, p1=noise[0], p2=noise[1])
    table = TabularQuantumCircuit("H2-2", 6, p1=noise[0], p2=noise[1])
    designs = live.space.sample(3000, np.random.default_rng(7))
    same(live.evaluate_indices(designs), table.evaluate_indices(designs))
    same(live.evaluate_indices(0 * designs[:1]), table.evaluate_indices(0 * designs[:1]))


def test_circuits_of_a_table_are_all_and_distinct():
    circuits = every_circuit()
    table = TabularQuantumCircuit("H2-2", 6)
    assert len(circuits) == len(np.unique(circuits, axis=0)) == sum(8**k for k in range(7))
    assert (table.canonical(circuits) == circuits).all()


@pytest.mark.parametrize("noise", SHIPPED.values(), ids=list(SHIPPED))
def test_the_optimum_is_that_of_an_enumeration(noise):
    p1, p2 = noise
    table, live = TabularQuantumCircuit("H2-2", 3, p1=p1, p2=p2), QuantumCircuit("H2-2", 3, p1=p1, p2=p2)
    found, known = find_optimum(live, ERROR), table.optimum(ERROR)
    assert found.designs == sum(8**k for k in range(4))
    assert (found.indices == known).all()
    from_table = find_optimum(table, ERROR)
    assert from_table.best_metrics == found.best_metrics
    assert (from_table.at_most == found.at_most).all()


def test_two_gates_solve_hydrogen_on_two_qubits():
    env = gymnasium.make("archgym/QuantumCircuit-v0", preset="H2-2")
    simulator = env.unwrapped.simulator
    assert isinstance(simulator, TabularQuantumCircuit)
    best = simulator.evaluate_indices(simulator.optimum(ERROR)[None])
    assert best["error_hartree"][0] < 1e-12
    fewest = simulator.optimum(Objective(Minimize("parameters"), AtMost("error_hartree", 1e-7)))
    assert simulator.evaluate_indices(fewest[None])["parameters"][0] == 1
    assert (fewest != 0).sum() == 2


def test_other_circuits_have_no_table(tmp_path):
    with pytest.raises(ArchGymError, match="no table has circuits of 7 slots on H2-2"):
        TabularQuantumCircuit("H2-2", 7)
    with pytest.raises(ArchGymError, match="no table"):
        TabularQuantumCircuit("H2-2", 5, starts=7)
    (tmp_path / "x.npz").write_bytes(b"PK junk")
    with pytest.raises(ArchGymError, match="install archgym again"):
        read_table(tmp_path / "x.npz")
