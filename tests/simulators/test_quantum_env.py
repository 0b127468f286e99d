"""archgym/QuantumCircuit-v0: goals and presets, the sequential view, the user's Hamiltonian, hostile arguments."""

from __future__ import annotations

import json
from functools import cache

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from typer.testing import CliRunner

import archgym
from archgym import ArchGymError, PrefixDesign
from archgym.cli import app
from archgym.envs.quantum_circuit import PRESETS, objective
from archgym.simulators.compiler import CompilerError
from archgym.simulators.quantum import QuantumCircuit, compiled, findings, list_molecules, load_hamiltonian
from archgym.simulators.quantum.space import CHEMICAL_ACCURACY
from archgym.testing import check_env

ENV = "archgym/QuantumCircuit-v0"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


# --- goals ---


@cache
def sample():
    """A simulator, and the metrics of random circuits."""
    simulator = QuantumCircuit("H2-3", 10, starts=2)
    designs = simulator.space.sample(200, np.random.default_rng(0))
    designs[np.random.default_rng(1).random(designs.shape) < 0.5] = 0
    return simulator, simulator.evaluate_indices(designs)


def rewards(**options):
    """An objective's rewards of these circuits."""
    simulator, columns = sample()
    return objective(simulator, **options)(columns, columns["feasible"]), columns


def test_the_goal_error_is_the_error_over_chemical_accuracy_within_cnots():
    for limit in (2, 8, None):
        (reward, valid), columns = rewards(max_cnots=limit)
        for row in range(len(reward)):
            error, cnots = columns["error_hartree"][row], columns["cnots"][row]
            expected = -np.log(max(error, 1e-7) / 1.6e-3)
            over = limit is not None and cnots > limit
            expected -= np.log(cnots / limit) if over else 0
            assert reward[row] == pytest.approx(np.clip(expected, -10, 10)) and valid[row] == (not over)


def test_the_goal_cnots_is_the_number_of_cnots_within_an_error():
    for limit in (CHEMICAL_ACCURACY, 0.3):
        (reward, valid), columns = rewards(goal="cnots", max_error=limit)
        for row in range(len(reward)):
            error, cnots = columns["error_hartree"][row], columns["cnots"][row]
            expected = -np.log(max(cnots, 0.5))
            expected -= 2 * np.log(error / limit) if error > limit else 0
            assert reward[row] == pytest.approx(np.clip(expected, -10, 10)) and valid[row] == (error <= limit)


def test_every_preset_is_sound_and_stands_in_the_table():
    import archgym.envs.quantum_circuit as module

    for name, arguments in PRESETS.items():
        env = gymnasium.make(ENV, preset=name)
        simulator = env.unwrapped.simulator
        env.reset(seed=0)
        _, reward, *_ = env.step(np.zeros(simulator.slots, np.int64))
        assert -10 <= reward <= 10
        assert name in module.__doc__ and simulator.hamiltonian.name == arguments["molecule"]
        assert (simulator.optimum(env.unwrapped.objective) is None) == (not name.startswith("H2-2"))
        env.close()
    assert {preset["molecule"] for preset in PRESETS.values()} == set(list_molecules())


@pytest.mark.parametrize(
    "arguments", [{"molecule": "H2-3", "slots": 3, "starts": 2}, {"preset": "H2-2-noisy"}]
)
def test_the_checkers_pass(arguments):
    check_env(ENV, **arguments)
    gymnasium_check_env(gymnasium.make(ENV, **arguments).unwrapped, skip_render_check=True)


# --- the sequential view ---


def test_a_step_is_a_gate_and_shows_the_circuit_so_far():
    env = PrefixDesign(gymnasium.make(ENV, preset="H2-3", horizon=12))
    simulator = env.unwrapped.simulator
    rng = np.random.default_rng(2)
    _, info = env.reset(seed=0)
    circuit = np.zeros((1, 12), np.int64)
    for step in range(12):
        mask = info["action_mask"]
        assert (mask == simulator.masks(circuit, step)[0]).all() and not mask[0]
        action = int(rng.choice(np.flatnonzero(mask)))
        observation, _, terminated, truncated, info = env.step(action)
        circuit[0, step] = action
        seen = simulator.state_features(circuit)[0]
        assert seen.sum() == step + 1 and contains(observation, seen)
    assert terminated or truncated


def contains(whole, part):
    """Whether an array has another in a row."""
    return any((whole[k : k + len(part)] == part).all() for k in range(len(whole) - len(part) + 1))


def test_a_search_of_300_circuits_is_reproducible_and_states_a_bound():
    one, two = (
        archgym.search(ENV, "genetic", budget=300, seed=1, env_kwargs={"preset": "H2-4"}) for _ in range(2)
    )
    assert (one.history["reward"] == two.history["reward"]).all()
    assert one.bound == pytest.approx(np.log(1.6e-3 / 1e-7)) and one.regret_bound >= 0 and one.regret is None
    assert one.best_metrics["error_hartree"] >= 0
    noisy = archgym.search(ENV, "genetic", budget=60, env_kwargs={"preset": "H2-3", "shots": 100})
    again = archgym.search(ENV, "genetic", budget=60, env_kwargs={"preset": "H2-3", "shots": 100})
    assert (noisy.history["energy_hartree"] == again.history["energy_hartree"]).all()
    assert noisy.bound is None


def test_a_search_repeats_from_its_specification_also_with_pairs_and_a_file(here):
    (here / "own.csv").write_text("XI,0.5\nIY,0.2\nZZ,-1\n")
    kwargs = {"molecule": str(here / "own.csv"), "slots": 6, "coupling": [[1, 0]], "p1": 0.01}
    result = archgym.search(ENV, "random", budget=20, env_kwargs=kwargs)
    again = archgym.search_again(json.loads(json.dumps(result.specification)))
    assert (result.history["reward"] == again.history["reward"]).all()


# --- the user's Hamiltonian ---


def test_six_qubits_work(here):
    result = archgym.search(
        ENV, "random", budget=4, env_kwargs={"preset": "LiH-2.2-6", "slots": 8, "starts": 2}
    )
    ground = load_hamiltonian("LiH-2.2-6").ground_energy
    assert result.best_metrics["energy_hartree"] >= ground - 1e-12
    rng = np.random.default_rng(3)
    lines = [f"{''.join(rng.choice(list('IXYZ'), 6))},{rng.normal():.6f}" for _ in range(40)]
    (here / "own.csv").write_text("\n".join(lines))
    found = run("search", ENV, "random", "--budget", 3, "--set", "molecule=own.csv", "--set", "slots=6")
    assert found.exit_code == 0 and "error_hartree" in found.stdout


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("complex.csv", "ZZ,0.5\nXX,0.1+0.2j\n", "expected a real coefficient of XX"),
        ("length.csv", "ZZ,0.5\nXXX,0.1\n", "expected Pauli strings of one length, 2"),
        ("large.csv", f"{'Z' * 12},0.5\n", "expected at most 8 qubits, got 12"),
        ("nan.csv", "ZZ,0.5\nXX,nan\n", "expected a finite coefficient of XX"),
        ("inf.csv", "ZZ,-inf\n", "finite"),
        ("letters.csv", "ZW,0.5\n", "letters I, X, Y, Z"),
        ("words.csv", "ZZ,half\n", "expected a number"),
        ("empty.csv", "", "expected terms"),
        ("identity.csv", "II,1\n", "expected a term with X, Y or Z"),
        ("pickle.csv", "\x80\x04\x95\x00\x00", ""),
    ],
)
def test_files_that_are_no_hamiltonian_are_one_line_of_the_program(here, name, text, message):
    (here / name).write_text(text)
    result = run("search", ENV, "random", "--budget", 5, "--set", f"molecule={name}")
    assert result.exit_code == 2 and result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr
    assert name in result.stderr and message in result.stderr


# --- arguments ---

WRONG = [
    ("p1=-1", "expected p1 as a chance"),
    ("p1=NaN", "expected p1 as a chance"),
    ("p1=x", "expected p1 as a chance"),
    ("p1=True", "expected p1 as a chance"),
    ("p2=0.95", "expected p2 as a chance"),
    ("slots=0", "expected slots as a whole number"),
    ("slots=129", "expected at most 128 slots"),
    ("slots=1.5", "expected slots as a whole number"),
    ("starts=0", "expected starts as a whole number"),
    ("starts=1000000000", "expected at most 256 starts"),
    ("shots=0", "expected shots as a whole number"),
    ("shots=None5", "expected shots as a whole number"),
    ("coupling=everything", "coupling map"),
    ("coupling=[[0,1,2]]", "pairs of qubits"),
    ('coupling=[["a","b"]]', "pairs of qubits"),
    ("coupling=[[0,0]]", "two different qubits"),
    ("coupling=[[0,4]]", "two different qubits"),
    ("coupling=7", "pairs of qubits"),
    ("goal=depth", "goal of archgym/QuantumCircuit-v0"),
    ("goal=[1]", "goal of archgym/QuantumCircuit-v0"),
    ("max_cnots=0", "expected max_cnots above 0"),
    ("max_cnots=NaN", "max_cnots"),
    ("max_cnots=x", "max_cnots"),
    ("max_cnots=[1]", "max_cnots"),
    ("max_error=0.1", "max_error goes with goal='cnots'"),
    ("molecule=LiH", "LiH-"),
    ("molecule=7", "expected a molecule"),
    ("preset=LiH-9", "preset"),
    ("engine=python", "engine"),
]


@pytest.mark.parametrize(("setting", "message"), WRONG, ids=[setting for setting, _ in WRONG])
def test_wrong_arguments_are_one_line_and_nothing_is_simulated(setting, message):
    result = run("search", ENV, "random", "--budget", 5, "--set", setting)
    assert result.exit_code == 2 and result.stdout == "", result.stdout
    assert len(result.stderr.strip().splitlines()) == 1 and message in result.stderr
    name, _, text = setting.partition("=")
    value = {"NaN": np.nan, "True": True}.get(text)
    if value is None:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
    if name != "engine":
        with pytest.raises(ArchGymError):
            gymnasium.make(ENV, **{name: value})


@pytest.mark.parametrize("limit", [0, -1, np.nan, np.inf, "x", [1]])
def test_wrong_limits_of_errors_are_refused(limit):
    with pytest.raises(ArchGymError):
        gymnasium.make(ENV, preset="H2-2", goal="cnots", max_error=limit)


def test_no_pairs_leave_product_states():
    result = run("search", ENV, "random", "--budget", 20, "--set", "coupling=[]", "--set", "slots=6")
    assert result.exit_code == 0 and "cx" not in result.stdout
    made = gymnasium.make(ENV, coupling=(pair for pair in [(0, 1), (1, 0)]), preset="H2-2", slots=3)
    assert made.unwrapped.simulator.gates.pairs == ((0, 1), (1, 0))


def test_without_a_compiler_numpy_gives_the_same_bits_and_doctor_says_so(monkeypatch):
    designs = QuantumCircuit("H2-3", 8).space.sample(5, np.random.default_rng(0))
    before = QuantumCircuit("H2-3", 8).evaluate_indices(designs)
    monkeypatch.setenv("CC", "false")
    for function in (compiled.compiler, compiled.library):
        function.cache_clear()
    try:
        simulator = QuantumCircuit("H2-3", 8)
        assert simulator.engine == "python"
        assert (simulator.evaluate_indices(designs)["energy_hartree"] == before["energy_hartree"]).all()
        with pytest.raises(CompilerError, match=r"no C compiler works here"):
            QuantumCircuit("H2-3", 8, engine="c")
        found = {finding.name: finding for finding in findings.findings()}
        assert "LiH-2.2" in found["molecules"].found
        assert found["quantum circuits"].state == "missing"
        assert found["quantum circuits"].found.startswith("run in NumPy")
    finally:
        for function in (compiled.compiler, compiled.library):
            function.cache_clear()
