"""archgym/PlainCnn-v0: its conditional space, the table that ships, and the simulators behind it."""

import os
from itertools import combinations
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from typer.testing import CliRunner

import archgym
import archgym.simulators.nas.tables
from archgym.envs.plain_cnn import references
from archgym.errors import ArchGymError
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.cnn import generate
from archgym.simulators.cnn.costs import costs
from archgym.simulators.cnn.fidelity import noise
from archgym.simulators.cnn.layers import SPACE, Layer, Networks, all_networks, layers_of, name_of
from archgym.simulators.cnn.tabular import TabularCnn, count_trainings
from archgym.simulators.nas.tables.summary import spearman
from archgym.simulators.nas.tables.table import load_table
from archgym.testing import check_env, check_simulator

PATH = Path(archgym.simulators.nas.tables.__file__).parent / "plain-digits.npz"
TABLE = load_table("plain-digits")
NETWORKS = all_networks()
DESIGNS = SPACE.from_ordinal(np.arange(SPACE.size))
MEANS = np.nanmean(TABLE.valid_accuracy[:, :, 0].astype(float), axis=1)
KB = 1024


# --- the space ---


def test_the_space_has_every_network_once():
    later, last = 2 * (2 + 2 * 2), 2 * 2
    assert SPACE.conditional and SPACE.size == 6 * (1 + later * (1 + later * (1 + last))) == 4398
    assert len(set(NETWORKS)) == len({name_of(layers) for layers in NETWORKS}) == 4398
    assert {len(layers) for layers in NETWORKS} == {1, 2, 3, 4}


def test_a_skip_joins_tensors_of_one_shape():
    for layers in NETWORKS:
        for before, layer in zip((None, *layers), layers, strict=False):
            if layer.skip:
                assert before is not None and layer.downsample == "none" and layer.width == before.width
            if before is not None and layer.downsample == "none":
                assert layer.width == before.width


def test_a_design_has_the_parameters_of_its_layers_alone():
    design = {"depth": 3, "kernel1": 5, "width1": 12, "kernel2": 1, "downsample2": "none", "skip2": True}
    design |= {"kernel3": 3, "downsample3": "pool", "width3": 32}
    row = SPACE.encode(design)[0]
    assert SPACE.design(row) == design
    layers = (Layer(5, 12), Layer(1, 12, "none", True), Layer(3, 32, "pool"))
    assert layers_of(design) == layers == NETWORKS[int(SPACE.to_ordinal(row[None])[0])]
    assert name_of(layers) == "5x12-1x12+-3x32p"


# --- the table ---


def test_every_network_was_trained_and_a_third_three_times():
    assert (TABLE.row == np.arange(4398)).all() and TABLE.budgets.tolist() == [4]
    expected = np.zeros((4398, 3), bool)
    for network, seed in generate.wanted():
        expected[network, seed] = True
    assert expected.sum() == 7330
    for accuracies in (TABLE.valid_accuracy[:, :, 0], TABLE.test_accuracy):
        assert (np.isfinite(accuracies) == expected).all()
        counts = accuracies[expected].astype(float) * 1350
        np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
        assert counts.min() > 0.05 * 1350


def test_it_is_small_and_says_where_it_is_from():
    assert PATH.stat().st_size < 300_000
    provenance = TABLE.provenance
    assert provenance["source"] == "python -m archgym.simulators.cnn.generate"
    assert provenance["training_seeds"] == [0, 1, 2] and provenance["noise"] == 0.2
    assert {"torch", "numpy", "scikit-learn"} <= set(provenance["versions"]) and provenance["date"]


def test_training_seeds_agree_on_the_order_of_networks():
    thrice = count_trainings(TABLE) == 3
    for accuracies in (TABLE.valid_accuracy[thrice, :, 0], TABLE.test_accuracy[thrice]):
        for first, second in combinations(accuracies.T, 2):
            assert spearman(first, second) >= 0.8
    assert all(0.01 < each.within < 0.06 and each.reliability > 0.8 for each in noise(TABLE).values())


def test_accuracies_differ_and_leave_room_above():
    lowest, quarter, three_quarters, highest = np.quantile(MEANS, [0, 0.25, 0.75, 1])
    assert lowest < 0.15 and three_quarters - quarter > 0.1 and highest < 0.95


@pytest.mark.parametrize("kb", [16, 32])
def test_a_limit_on_memory_binds_and_its_optimum_is_exact(kb):
    peak = costs(Networks.of(NETWORKS))["peak_memory_bytes"]
    env = gymnasium.make("archgym/PlainCnn-v0", preset=f"sram-{kb}kb").unwrapped
    optimum = archgym.find_optimum(env.simulator, env.objective)
    best = int(SPACE.to_ordinal(optimum.indices[None])[0])
    assert best == np.where(peak <= kb * KB, MEANS, 0).argmax() != MEANS.argmax()
    assert optimum.valid == (peak <= kb * KB).sum() < 4398


# --- the simulators ---


def test_a_query_sees_the_mean_of_a_networks_trainings_and_costs_them():
    columns, simulator = TabularCnn().evaluate_indices(DESIGNS), TabularCnn()
    np.testing.assert_allclose(columns["valid_accuracy"], MEANS)
    np.testing.assert_allclose(
        columns["test_accuracy"], np.nanmean(TABLE.test_accuracy.astype(float), axis=1)
    )
    np.testing.assert_array_equal(columns["train_macs"], 3 * 4 * 896 * columns["macs"])
    np.testing.assert_array_equal(simulator.cost_of(DESIGNS), columns["train_macs"] * count_trainings(TABLE))
    np.testing.assert_array_equal(TabularCnn(seed=0).cost_of(DESIGNS), columns["train_macs"])
    first = TabularCnn(seed=0).evaluate_indices(DESIGNS)["valid_accuracy"]
    np.testing.assert_array_equal(first, TABLE.valid_accuracy[:, 0, 0].astype(float))


def test_a_random_seed_is_one_of_a_networks_trainings():
    simulator, trainings = TabularCnn(seed="random"), count_trainings(TABLE)
    assert simulator.stochastic
    for count in (1, 3):
        network = int(np.flatnonzero(trainings == count)[0])
        rows = DESIGNS[[network]].repeat(200, axis=0)
        found = simulator.evaluate_indices(rows, np.random.default_rng(0))["valid_accuracy"]
        known = TABLE.valid_accuracy[network, :count, 0].astype(float)
        assert set(found.tolist()) == set(known.tolist())
    with pytest.raises(ArchGymError, match="draws a training for every query: give rng="):
        simulator.evaluate_indices(DESIGNS)


def test_options_of_memory_change_memory_and_tiles_change_multiply_adds_but_not_training():
    plain = TabularCnn().evaluate_indices(DESIGNS)
    int8 = TabularCnn(precision="int8").evaluate_indices(DESIGNS)
    tiles = TabularCnn(in_place=True, patches=4).evaluate_indices(DESIGNS)
    np.testing.assert_array_equal(4 * int8["peak_memory_bytes"], plain["peak_memory_bytes"])
    assert (tiles["macs"] > plain["macs"]).any()
    np.testing.assert_array_equal(tiles["train_macs"], plain["train_macs"])
    assert plain["peak_memory_bytes"].max() <= 4 * 12 * KB and int8["peak_memory_bytes"].max() < 32 * KB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "lacks that training for some designs; use seed='mean'"),
        ({"seed": "median"}, "expected seed as 'mean', 'random' or a number from 0 to 2, got 'median'"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"patches": 3}, "unknown number of patches '3'"),
        ({"in_place": 1}, "expected in_place as True or False, got 1"),
        ({"backend": "shared"}, "unknown backend of archgym/PlainCnn-v0 'shared'"),
    ],
)
def test_wrong_arguments_say_what_to_do(options, message):
    with pytest.raises(ArchGymError, match=message):
        gymnasium.make("archgym/PlainCnn-v0", **options)


@pytest.mark.parametrize("options", [{}, {"preset": "sram-32kb", "patches": 2}, {"seed": "random"}])
def test_simulators_and_environments_keep_the_contract(options):
    env = gymnasium.make("archgym/PlainCnn-v0", **options)
    check_env(env)
    check_simulator(env.unwrapped.simulator)


def test_limits_are_constraints_and_rewards_are_relative_to_the_median():
    env = gymnasium.make("archgym/PlainCnn-v0", memory=32 * KB, params=5000.0, macs=4e5).unwrapped
    columns = env.simulator.evaluate_indices(DESIGNS)
    reward, valid = env.simulator.table_rewards(env.objective)
    within = (
        (columns["peak_memory_bytes"] <= 32 * KB) & (columns["params"] <= 5000) & (columns["macs"] <= 4e5)
    )
    assert isinstance(env.simulator, Tabulated) and (valid == within).all() and 0 < within.sum() < 4398
    np.testing.assert_allclose(reward[valid], np.log(MEANS[valid] / np.median(MEANS)))
    assert references()["valid_accuracy"] == np.median(MEANS)


# --- training ---


def test_networks_trained_again_lie_within_the_seeds_noise():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from archgym.cli import app

    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["fidelity", "cnn", "--networks", "2"])
    assert result.exit_code == 0, result.output
    names = {name_of(layers) for layers in NETWORKS}
    rows = [
        line.split() for line in result.stdout.splitlines() if line.split()[:1] and line.split()[0] in names
    ]
    assert len(rows) == 4 and len({row[0] for row in rows}) == 2 and "outside" not in result.stdout
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["fidelity", "cnn", "--networks", "4000"])
    assert result.exit_code and "expected from 1 to 1,466 networks" in result.output


def test_training_repeats_and_skips_and_pools_are_what_they_say():
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from archgym.simulators.cnn.network import PlainCnn
    from archgym.simulators.cnn.train import train

    layers = [Layer(3, 8), Layer(3, 8, skip=True), Layer(1, 16, "pool")]
    assert train(layers, 1)[:2] == train(layers, 1)[:2] != train(layers, 2)[:2]
    network = PlainCnn(layers, seed=0).eval()
    with torch.no_grad():
        for block in network.blocks:
            block.norm.running_var.fill_(2.0)
        images = torch.rand(3, 1, 16, 16)
        x = torch.relu(network.blocks[0].norm(network.blocks[0].convolution(images)))
        x = torch.relu(x + network.blocks[1].norm(network.blocks[1].convolution(x)))
        x = torch.relu(network.blocks[2].norm(network.blocks[2].convolution(x)))
        x = x.unflatten(2, (8, 2)).unflatten(4, (8, 2)).amax((3, 5))
        torch.testing.assert_close(network(images), network.head(x.mean((2, 3))))


def test_networks_trained_live_have_the_metrics_of_the_table():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    rows = DESIGNS[:2]
    env = gymnasium.make("archgym/PlainCnn-v0", backend="train", seed=0).unwrapped
    live, table = env.simulator.evaluate_indices(rows), TabularCnn(seed=0).evaluate_indices(rows)
    assert set(live) == set(table) and not env.simulator.deterministic
    for name, column in table.items():
        tolerance = 0.2 if "accuracy" in name else 0
        np.testing.assert_allclose(live[name], column, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(env.simulator.cost_of(rows), table["train_macs"])


def test_an_interrupted_generator_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    path, jobs = tmp_path / "lines.csv", [generate.Wanted(0, 0), generate.Wanted(1, 0), generate.Wanted(0, 1)]
    monkeypatch.setattr(generate, "wanted", lambda: jobs)
    first = f"{name_of(NETWORKS[0])},0,700,701,0.1\n"
    path.write_text(generate.HEADER + first + f"{name_of(NETWORKS[1])},0,12")  # stopped while writing
    assert generate.main(["--lines", str(path), "--processes", "1", "--out", str(tmp_path / "t.npz")]) == 0
    assert path.read_text().startswith(generate.HEADER + first) and path.read_text().count("\n") == 4
    done = generate.read_lines(path)
    assert set(done) == set(jobs) and done[jobs[0]] == (700, 701, 0.1) and done[jobs[1]][0] > 50
    table = generate.make_table(path)
    assert table.valid_accuracy[0, 0, 0] == np.float32(700 / 1350) and np.isnan(table.test_accuracy[2]).all()
    path.write_text(path.read_text() + "9x9,0,1,2,0.1\n")
    assert generate.main(["--lines", str(path)]) != 0
    assert "expected a training in line 5" in capsys.readouterr().err
    assert os.environ.get("OMP_NUM_THREADS") == "1"
