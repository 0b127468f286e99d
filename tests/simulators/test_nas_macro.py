"""NAS-Bench-Macro: the simulator against the source's file and the network's own arithmetic, the
environment, and its commands.
"""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import archgym
from archgym.cli import app
from archgym.errors import ArchGymError
from archgym.optimum import known_optimum
from archgym.registry import get_task
from archgym.simulators.nas.macro import MACRO_SPACE, NasMacro
from archgym.simulators.nas.tables.imports import import_nas_bench_macro, import_nasbench201
from archgym.simulators.nas.tables.table import save_table
from archgym.testing import check_env, check_simulator

DATA = Path(__file__).parents[3] / "shared" / "data" / "nas"
SOURCE = DATA / "nas_bench_macro_cifar10.json"
pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason="the JSON file of NAS-Bench-Macro is not there")

ID = "archgym/NasMacro-v0"
ALL = MACRO_SPACE.from_ordinal(np.arange(MACRO_SPACE.size))
networks = st.lists(st.integers(0, 2), min_size=8, max_size=8)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder with nothing in it; what the tests register is forgotten."""
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    yield tmp_path
    gymnasium.registry.pop(ID, None)


@pytest.fixture
def installed(home):
    """The table is installed and the environment registered."""
    save_table(import_nas_bench_macro(SOURCE)[0])
    archgym.discover()


@pytest.fixture(scope="module")
def source():
    return json.loads(SOURCE.read_text())


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


# The simulator


def test_networks_have_the_figures_of_the_source(installed, source):
    columns = NasMacro().evaluate_indices(ALL)
    for n in range(0, len(ALL), 41):
        entry = source["".join(map(str, ALL[n]))]
        assert 100 * columns["test_accuracy"][n] == pytest.approx(entry["mean_acc"], rel=1e-6)
        assert (columns["params"][n], columns["macs"][n]) == (entry["params"], entry["flops"])


def arithmetic(network) -> tuple[int, int]:
    """Parameters and multiply-adds of a network, from its description."""
    params, macs, side = 0, 0, 32

    def convolution(channels, filters, kernel, side, groups=1):
        nonlocal params, macs
        weights = channels // groups * filters * kernel**2
        params, macs = params + weights + 2 * filters, macs + weights * side**2

    convolution(3, 32, 3, side)
    channels, layers = 32, list(network)
    for stage in (2, 3, 3):
        for layer in range(stage):
            block, stride = layers.pop(0), 1 + (layer == 0)
            wider, smaller = channels * stride, side // stride
            if block:
                hidden, kernel = (3 * channels, 3) if block == 1 else (6 * channels, 5)
                convolution(channels, hidden, 1, side)
                convolution(hidden, hidden, kernel, smaller, groups=hidden)
                convolution(hidden, wider, 1, smaller)
            elif stride == 2:
                convolution(channels, wider, 1, smaller)
            channels, side = wider, smaller
    convolution(channels, 1280, 1, side)
    return params + 1280 * 10 + 10, macs + 1280 * 10


def test_costs_are_parameters_and_multiply_adds_of_the_described_network(installed):
    columns = NasMacro().evaluate_indices(ALL)
    expected = np.array([arithmetic(network) for network in ALL.tolist()])
    assert (columns["params"] == expected[:, 0]).all() and (columns["macs"] == expected[:, 1]).all()


@given(networks)
def test_a_network_is_the_same_wherever_its_stages_identities_stand(network):
    row = np.array([network])
    canonical = NasMacro.canonical(None, row)
    assert (NasMacro.canonical(None, canonical) == canonical).all()
    assert canonical[0, [0, 2, 5]].tolist() == row[0, [0, 2, 5]].tolist()
    for stage in ((1, 2), (3, 5), (6, 8)):
        left, right = (found[0, slice(*stage)].tolist() for found in (row, canonical))
        assert [block for block in left if block] == [block for block in right if block]
        assert right == sorted(right, key=lambda block: block == 0)


def test_the_same_networks_have_the_same_figures(installed, source):
    canonical = NasMacro.canonical(None, ALL)
    assert len(np.unique(MACRO_SPACE.to_ordinal(canonical))) == 3_969
    for row, same in zip(ALL, canonical, strict=True):
        assert source["".join(map(str, row))] == source["".join(map(str, same))]


def test_a_random_seed_gives_one_of_three_trainings(installed, source):
    simulator, rng = NasMacro(seed="random"), np.random.default_rng(0)
    assert simulator.stochastic and not NasMacro().stochastic
    row = np.tile([[2, 1, 0, 2, 1, 1, 0, 2]], (600, 1))
    seen, counts = np.unique(simulator.evaluate_indices(row, rng)["test_accuracy"], return_counts=True)
    np.testing.assert_allclose(np.sort(100 * seen), np.sort(source["21021102"]["test_acc"]), rtol=1e-6)
    assert counts.min() > 150
    with pytest.raises(ArchGymError, match="give rng="):
        simulator.evaluate_indices(row)


def test_it_conforms(installed):
    check_simulator(NasMacro())
    check_simulator(NasMacro(seed="random"))
    check_env(ID)


def test_wrong_arguments_are_refused(installed):
    with pytest.raises(ArchGymError, match="unknown seed of NasMacro 'men'; did you mean 'mean'"):
        NasMacro(seed="men")
    save_table(import_nasbench201(DATA / "nasbench201_12epochs.csv")[0])
    with pytest.raises(
        ArchGymError,
        match="'nasbench201-cifar10' is not one of networks of eight layers; use archgym/NasCell-v0",
    ):
        NasMacro("nasbench201-cifar10")


# The environment


def test_it_is_registered_once_its_table_is_imported_and_not_before(home):
    archgym.discover()
    assert ID not in archgym.list_envs() and ID not in gymnasium.registry
    with pytest.raises(gymnasium.error.Error):
        gymnasium.make(ID)
    for call in (lambda: get_task(ID), lambda: archgym.search(ID, "random", budget=3)):
        with pytest.raises(
            ArchGymError, match=r"NasMacro-v0 cannot be made yet: .*archgym data import nas-bench-macro JSON"
        ):
            call()
    save_table(import_nas_bench_macro(SOURCE)[0])
    archgym.discover()
    assert ID in archgym.list_envs()
    env = gymnasium.make(ID)
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[4]["metrics"]["test_accuracy"] > 0.4


def test_a_table_imported_elsewhere_since_is_found_by_a_search(home):
    archgym.discover()
    save_table(import_nas_bench_macro(SOURCE)[0])
    assert archgym.search(ID, "random", budget=3).samples == 3


def test_the_optimum_is_known_and_searches_have_regret(installed, source):
    simulator, objective = get_task(ID).build()
    optimum = known_optimum(simulator, objective)
    best = max(source.values(), key=lambda entry: entry["mean_acc"])
    assert 100 * optimum.best_metrics["test_accuracy"] == pytest.approx(best["mean_acc"], rel=1e-6)
    result = archgym.search(ID, "exhaustive", budget=6561)
    assert result.regret == pytest.approx(0, abs=1e-12)
    small = archgym.search(ID, "exhaustive", budget=6561, env_kwargs={"macs": 3e7, "params": 1e6})
    assert (
        small.best_metrics["macs"] <= 3e7
        and small.best_metrics["params"] <= 1e6
        and small.best_reward < result.best_reward
    )


def test_rewards_are_relative_to_the_median_network(installed, source):
    env = gymnasium.make(ID)
    env.reset(seed=0)
    reward = env.step(np.array([1] * 8))[1]
    median = np.median([entry["mean_acc"] for entry in source.values()])
    assert reward == pytest.approx(np.log(source["11111111"]["mean_acc"] / median), rel=1e-5)


# Commands


def test_import_says_what_came_of_it_and_the_environment_appears(home):
    done = run("data", "import", "nas-bench-macro", SOURCE)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    for part in (
        "nas-bench-macro-cifar10 NAS-Bench-Macro",
        "6,561",
        "Seeds 3",
        "Epochs 50",
        "93.13 % test",
        "archgym/NasMacro-v0",
    ):
        assert part in text
    assert (home / "nas" / "nas-bench-macro-cifar10.npz").exists()
    assert ID in archgym.list_envs() and max(map(len, done.stdout.splitlines())) <= 80
    found = run("search", ID, "random", "--budget", 50)
    assert found.exit_code == 0 and "from the optimum" in found.stdout


def test_list_shows_installed_tables_and_how_to_import_others(home):
    empty = run("data", "list")
    assert (
        empty.exit_code == 0
        and "archgym data import nats-bench PATH" in empty.stdout
        and "nas-bench-macro-cifar10" not in empty.stdout
    )
    run("data", "import", "nas-bench-macro", SOURCE)
    run("data", "import", "nasbench201", DATA / "nasbench201_12epochs.csv")
    listed = run("data", "list").stdout
    lines = {line.split()[0]: line.split()[1:] for line in listed.splitlines() if line.strip()}
    assert lines["nas-bench-macro-cifar10"] == ["macro", "6,561", "3", "50", "93.13"]
    assert lines["nasbench201-cifar10"] == ["cell", "15,625", "1", "12", "89.16"]
    assert (
        "nasbench201-cifar100: NAS-Bench-201, 12 epochs (CSV)" in listed
        and max(map(len, listed.splitlines())) <= 80
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("naslb", SOURCE), "unknown kind of table 'naslb'; did you mean 'naslib'?"),
        (("nasbench201", SOURCE), "lacks the columns cell"),
        (("nats-bench", DATA / "nats_bench_records"), "15,622 of 15,625 records are missing"),
        (("naslib", SOURCE), "is not a pickle"),
        (("naslib", "missing.pickle"), "cannot read missing.pickle"),
    ],
)
def test_import_of_wrong_files_is_one_line_and_writes_nothing(home, arguments, message):
    done = run("data", "import", *arguments)
    assert done.exit_code == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (home / "nas").exists()


def test_a_search_without_the_table_says_what_to_do(program, tmp_path):
    done = program(
        "search", ID, "random", env={"ARCHGYM_HOME": str(tmp_path), "PATH": "/usr/bin", "COLUMNS": "80"}
    )
    assert done.returncode == 2 and "get it with: archgym data import nas-bench-macro JSON" in done.stderr
