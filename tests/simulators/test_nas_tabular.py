"""archgym/NasCell-v0 and the simulator behind it, on a table made up for the purpose."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from nas_toys import toy_table

import archgym
from archgym.errors import ArchGymError
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.nas.cells import all_cells, parse
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.table import load_table, save_table
from archgym.simulators.nas.tabular import NasCell
from archgym.testing import check_env, check_simulator

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory):
    """The table in a data folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHGYM_HOME", str(tmp_path_factory.mktemp("home")))
        table = toy_table()
        save_table(table)
        yield table


def test_a_cell_has_the_mean_accuracies_of_its_row_and_the_costs_of_its_network(toy):
    cells = all_cells()
    columns = NasCell("toy").evaluate_indices(cells)
    row = int(np.flatnonzero((cells == parse(CELL)).all(axis=1))[0])
    own = toy.row[row]
    assert columns["valid_accuracy"][row] == pytest.approx(
        toy.valid_accuracy[own, :, -1].astype(float).mean(), abs=1e-12
    )
    assert columns["test_accuracy"][row] == pytest.approx(
        toy.test_accuracy[own].astype(float).mean(), abs=1e-12
    )
    assert columns["train_seconds"][row] == toy.train_seconds[own, -1]
    costs = get_network("digits").costs(parse(CELL)[None])
    assert (columns["params"][row], columns["macs"][row]) == (costs["params"][0], costs["macs"][0])
    assert columns["train_macs"][row] == 3 * 16 * 896 * costs["macs"][0]


def test_fewer_epochs_change_what_is_seen_and_what_it_costs_but_not_the_test(toy):
    cells = all_cells()[:200]
    short, long = NasCell("toy", epochs=4).evaluate_indices(cells), NasCell("toy").evaluate_indices(cells)
    assert (short["valid_accuracy"] != long["valid_accuracy"]).all()
    assert (short["test_accuracy"] == long["test_accuracy"]).all()
    np.testing.assert_allclose(4 * short["train_macs"], long["train_macs"])
    np.testing.assert_allclose(4 * short["train_seconds"], long["train_seconds"])


def test_a_random_seed_draws_one_training_per_query_and_a_number_chooses_it(toy):
    simulator, rng = NasCell("toy", seed="random"), np.random.default_rng(0)
    cell = parse(CELL)[None].repeat(600, axis=0)
    own = toy.row[simulator.space.to_ordinal(cell[:1])[0]]
    drawn = simulator.evaluate_indices(cell, rng)
    seen, times = np.unique(
        np.stack([drawn["valid_accuracy"], drawn["test_accuracy"]]), axis=1, return_counts=True
    )
    expected = np.stack([toy.valid_accuracy[own, :, -1], toy.test_accuracy[own]]).astype(float)
    assert {*map(tuple, seen.T)} == {*map(tuple, expected.T)}  # validation and test of the same training
    assert (times > 150).all()
    for seed in range(3):
        assert NasCell("toy", seed=seed).evaluate_indices(cell[:1])["valid_accuracy"][0] == expected[0, seed]


def test_missing_trainings_are_not_drawn_and_untested_ones_have_the_mean_test(toy):
    valid, test = toy.valid_accuracy.copy(), toy.test_accuracy.copy()
    valid[:, 0] = np.nan
    test[:, 1] = np.nan
    save_table(replace(toy, name="holes", valid_accuracy=valid, test_accuracy=test))
    columns = NasCell("holes", seed="random").evaluate_indices(all_cells(), np.random.default_rng(0))
    at_hand = toy.valid_accuracy[toy.row, 1:, -1].astype(float)
    assert (columns["valid_accuracy"][:, None] == at_hand).any(axis=1).all()
    second = (columns["valid_accuracy"] == at_hand[:, 0]) & (at_hand[:, 0] != at_hand[:, 1])
    np.testing.assert_allclose(
        columns["test_accuracy"][second], test[:, [0, 2]].astype(float).mean(axis=1)[toy.row][second]
    )
    with pytest.raises(ArchGymError, match="seed='mean'"):
        NasCell("holes", seed=0)


def test_without_test_accuracies_or_times_there_are_no_such_metrics(toy):
    save_table(
        replace(toy, name="bare", test_accuracy=np.full_like(toy.test_accuracy, np.nan), train_seconds=None)
    )
    assert [metric.name for metric in NasCell("bare").metrics] == [
        "valid_accuracy",
        "params",
        "macs",
        "train_macs",
    ]
    check_simulator(NasCell("bare"))


def test_canonical_cells_have_equal_metrics():
    simulator, cells = NasCell("toy"), all_cells()
    canonical = simulator.canonical(cells)
    own, theirs = simulator.evaluate_indices(cells), simulator.evaluate_indices(canonical)
    for metric in simulator.metrics:
        assert (own[metric.name] == theirs[metric.name]).all(), metric.name
    assert (simulator.canonical(canonical) == canonical).all()


def test_cells_that_a_table_trained_by_themselves_are_not_the_same(toy):
    rows, rng = np.arange(15625), np.random.default_rng(0)
    each = {
        name: getattr(toy, name)[toy.row] for name in ("valid_accuracy", "test_accuracy", "train_seconds")
    }
    each["valid_accuracy"] = np.clip(
        each["valid_accuracy"] + 0.01 * rng.standard_normal((15625, 1, 1), np.float32), 0, 1
    )
    save_table(replace(toy, name="each", row=rows, **each))
    cells = all_cells()
    assert (NasCell("each").canonical(cells) == cells).all()
    result = archgym.search("archgym/NasCell-v0", "random", budget=10, seed=0, env_kwargs={"dataset": "each"})
    best = each["valid_accuracy"][:, :, -1].astype(float).mean(axis=1).max()
    assert result.optimum.best_metrics["valid_accuracy"] == pytest.approx(best, abs=1e-12)
    assert result.optimum.designs == 15625


@pytest.mark.parametrize("options", [{}, {"seed": "random"}, {"epochs": 4, "seed": 1}])
def test_simulators_and_environments_keep_the_contract(options):
    check_simulator(NasCell("toy", **options))
    check_env(gymnasium.make("archgym/NasCell-v0", dataset="toy", disable_env_checker=True, **options))


def test_the_environment_knows_its_optimum_and_shows_no_test_accuracy(toy):
    env = gymnasium.make("archgym/NasCell-v0", dataset="toy")
    assert isinstance(env.unwrapped.simulator, Tabulated)
    env.reset(seed=0)
    observation, _, _, _, info = env.step(parse(CELL))
    assert observation.shape == (6,)  # five visible metrics and feasibility
    assert info["metrics"]["test_accuracy"] > 0
    result = archgym.search("archgym/NasCell-v0", "random", budget=500, seed=0, env_kwargs={"dataset": "toy"})
    best = toy.valid_accuracy[:, :, -1].astype(float).mean(axis=1).max()
    assert result.optimum.best_metrics["valid_accuracy"] == pytest.approx(best)
    assert result.regret >= 0


def test_limits_on_parameters_are_constraints():
    limited = {"dataset": "toy", "params": 6000}
    result = archgym.search("archgym/NasCell-v0", "genetic", budget=500, seed=0, env_kwargs=limited)
    assert result.best_metrics["params"] <= 6000 < result.history["params"].max()


def test_replacing_a_table_changes_the_specification(toy):
    before = NasCell("toy").specification
    try:
        save_table(replace(toy, test_accuracy=toy.test_accuracy / 2))
        assert NasCell("toy").specification != before
    finally:
        save_table(toy)
    assert NasCell("toy").specification == before
    assert load_table("toy") is load_table("toy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "nats-cifar10"}, "archgym data import nats-bench"),
        ({"dataset": "tyo"}, "toy"),
        ({"dataset": "toy", "epochs": 3}, "1, 4, 16"),
        ({"dataset": "toy", "seed": 3}, "0 to 2"),
        ({"dataset": "toy", "seed": "some"}, "'mean'"),
        ({"dataset": "toy", "backend": "guess"}, "train"),
        ({"dataset": "cifar10", "backend": "train"}, "noisy digits"),
    ],
)
def test_wrong_arguments_say_what_to_do(options, message):
    with pytest.raises(ArchGymError, match=message):
        gymnasium.make("archgym/NasCell-v0", **options)
