"""archgym/NasCell-v0 with epochs="chosen": cells that choose how long they are trained."""

import gymnasium
import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.optimum import find_optimum
from archgym.simulator import reference_cost
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.nas.cells import all_cells
from archgym.simulators.nas.fidelities import CellFidelities
from archgym.simulators.nas.tabular import NasCell
from archgym.testing import check_env, check_simulator

EPOCHS = [1, 2, 4, 8, 16]


def at(cells, place):
    return np.insert(cells, 6, place, axis=1)


@pytest.mark.parametrize("seed", ["mean", 0])
@pytest.mark.parametrize("place", range(5))
def test_metrics_are_those_of_the_cells_after_as_many_epochs(seed, place):
    found = CellFidelities(seed=seed).evaluate_indices(at(all_cells(), place))
    expected = NasCell(epochs=EPOCHS[place], seed=seed).evaluate_indices(all_cells())
    assert found.keys() == expected.keys()
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)


def test_a_batch_of_several_fidelities_equals_its_rows():
    simulator = CellFidelities(seed="random")
    designs = simulator.space.sample(50, np.random.default_rng(1))
    rng = np.random.default_rng(0)
    batch = simulator.evaluate_indices(designs, np.random.default_rng(0))
    for i, design in enumerate(designs):
        row = simulator.evaluate_indices(design[None], rng)
        assert {name: column[0] for name, column in row.items()} == {n: c[i] for n, c in batch.items()}


@pytest.mark.parametrize("seed, trainings", [(0, 1), ("random", 1), ("mean", 3)])
def test_a_cost_is_that_of_the_epochs_of_every_training(seed, trainings):
    simulator, cells = CellFidelities(seed=seed), all_cells()
    assert simulator.full.table.test_accuracy.shape[1] == 3
    train_macs = NasCell().evaluate_indices(cells)["train_macs"]
    for place, epochs in enumerate(EPOCHS):
        np.testing.assert_array_equal(
            16 * simulator.cost_of(at(cells, place)), epochs * trainings * train_macs
        )
    np.testing.assert_array_equal(simulator.cost_of(at(cells, 4)), 2 * simulator.cost_of(at(cells, 3)))
    assert reference_cost(simulator) == trainings * np.median(train_macs)
    assert (simulator.fidelity, simulator.cost_unit) == ("epochs", "multiply-adds of training")


@pytest.mark.parametrize("seed", ["mean", 0])
def test_the_optimum_is_the_ordinary_one_fully_trained(seed):
    chosen = Evaluator("archgym/NasCell-v0", None, 1, {"epochs": "chosen", "seed": seed})
    ordinary = Evaluator("archgym/NasCell-v0", None, 1, {"seed": seed})
    best, known = (find_optimum(each.simulator, each.objective) for each in (chosen, ordinary))
    assert best.best_reward == known.best_reward
    assert best.best_design == {**known.best_design, "epochs": 16}


def test_equal_cells_stay_equal_and_fidelities_apart():
    simulator = CellFidelities()
    designs = simulator.space.sample(500, np.random.default_rng(0))
    canonical = simulator.canonical(designs)
    np.testing.assert_array_equal(canonical[:, :6], NasCell().canonical(designs[:, :6]))
    np.testing.assert_array_equal(canonical[:, 6], designs[:, 6])


def test_the_environment_is_a_table_unless_the_seed_is_random():
    with gymnasium.make("archgym/NasCell-v0", epochs="chosen") as env:
        assert isinstance(env.unwrapped.simulator, Tabulated)
        assert env.unwrapped.simulator.fidelity == "epochs"
        assert env.unwrapped.simulator.space.defaults()["epochs"] == 16
    with gymnasium.make("archgym/NasCell-v0", epochs="chosen", seed="random") as env:
        assert isinstance(env.unwrapped.simulator, CellFidelities)
    with pytest.raises(ArchGymError, match="expected a number of epochs"):
        gymnasium.make("archgym/NasCell-v0", epochs="chosen", backend="train")


def test_it_keeps_the_contracts():
    check_simulator(CellFidelities("digits-0.5", seed="random"))
    check_env("archgym/NasCell-v0", epochs="chosen")
