"""archgym/LogicSynthesis-v0: objectives and optima of the tables, the sequential view, and ABC behind the same
interface; `archgym fidelity synthesis`.
"""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_toys import cells, needs_abc
from typer.testing import CliRunner

import archgym
from archgym import ArchGymError, PrefixDesign, SequentialDesign
from archgym.cli import app
from archgym.envs.logic_synthesis import PRESETS, objective, references
from archgym.simulators.synthesis import PASSES, TabularSynthesis, fidelity
from archgym.simulators.synthesis.space import SCRIPTS
from archgym.testing import check_env

ENV = "archgym/LogicSynthesis-v0"
TABLES = ("int_to_float-11", "priority_encoder-32", "random-7", "max-4x8")
NAMES = ("and_gates", "levels", "luts", "lut_levels")


def figures(circuit, slots=6):
    """The figures of every sequence, [D, 4], and the simulator."""
    simulator = TabularSynthesis(circuit, slots)
    columns = simulator.evaluate_indices(simulator.space.from_ordinal(np.arange(simulator.space.size)))
    return np.stack([columns[name] for name in NAMES], 1), simulator


# --- objectives and optima ---


@pytest.mark.parametrize("goal", ["and_gates", "luts", "product"])
@pytest.mark.parametrize("circuit", TABLES)
def test_the_optimum_is_the_least_of_all_sequences(circuit, goal):
    values, simulator = figures(circuit)
    gates, levels, luts, _ = values.T
    cost = {"and_gates": gates, "luts": luts, "product": gates * levels}[goal]
    best = simulator.optimum(objective(simulator, goal=goal))
    assert cost[simulator.space.to_ordinal(best[None])[0]] == cost.min()
    result = archgym.search(ENV, "random", budget=30, seed=0, env_kwargs={"circuit": circuit, "goal": goal})
    found = {"product": result.best_metrics["and_gates"] * result.best_metrics["levels"]}
    reached = found[goal] if goal in found else result.best_metrics[goal]
    assert result.regret == pytest.approx(np.log(reached / cost.min()))


def test_limits_of_levels_bound_the_optimum():
    values, simulator = figures("priority_encoder-32")
    for limits, within in (
        ({"max_levels": 14}, values[:, 1] <= 14),
        ({"max_lut_levels": 4}, values[:, 3] <= 4),
    ):
        best = simulator.optimum(objective(simulator, **limits))
        row = values[simulator.space.to_ordinal(best[None])[0]]
        assert row[0] == values[within, 0].min() >= values[:, 0].min()
    assert simulator.optimum(objective(simulator, max_levels=1)) is None


@pytest.mark.parametrize("circuit", TABLES)
def test_references_are_resyns_and_near_the_median(circuit):
    values, simulator = figures(circuit)
    resyn = [PASSES.index(name) for name in SCRIPTS["resyn"].split("; ")]
    row = values[simulator.space.to_ordinal(np.array([resyn]))[0]]
    assert references(simulator) == dict(zip(NAMES, row, strict=True))
    assert (np.abs(np.log(row / np.median(values, 0))) < 0.25).all()
    score = objective(simulator)(
        {name: np.array([value]) for name, value in zip(NAMES, row, strict=True)}, np.ones(1, bool)
    )
    assert score.reward[0] == 0


def test_fewer_slots_are_the_prefixes_of_the_table():
    values, simulator = figures("int_to_float-11", 3)
    assert len(values) == 1 + 7 + 49 + 343
    longer = TabularSynthesis("int_to_float-11", 6)
    designs = simulator.space.from_ordinal(np.arange(simulator.space.size))
    columns = longer.evaluate_indices(np.pad(designs, [(0, 0), (0, 3)]))
    assert (columns["and_gates"] == values[:, 0]).all()


@pytest.mark.parametrize("preset", [name for name, given in PRESETS.items() if "backend" not in given])
def test_presets_with_tables_are_sound(preset):
    env = gymnasium.make(ENV, preset=preset)
    assert env.unwrapped.simulator.optimum(env.unwrapped.evaluator.objective) is not None
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"goal": "gates"}, "unknown goal of archgym/LogicSynthesis-v0 'gates'; did you mean 'and_gates'"),
        ({"goal": "area"}, "area needs backend='abc' and liberty="),
        ({"max_delay_ps": 10.0}, "delay_ps needs backend='abc' and liberty="),
        ({"liberty": "cells.lib"}, "liberty= goes with backend='abc'"),
        ({"backend": "yosys"}, "unknown backend of archgym/LogicSynthesis-v0 'yosys'"),
        ({"circuit": "adder-9"}, "circuit 'adder-9' has no table; use backend='abc'"),
        ({"circuit": "addr-9"}, "unknown circuit 'addr'; did you mean 'adder'"),
        ({"circuit": "random-8"}, "expected at most 4 slots"),
        ({"slots": 7}, "expected at most 6 slots"),
        ({"slots": 0}, "slots"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message):
    with pytest.raises(ArchGymError, match=message) as caught:
        gymnasium.make(ENV, **arguments)
    assert "\n" not in str(caught.value)


# --- views ---


def test_the_checkers_pass():
    check_env(ENV, circuit="random-7")
    gymnasium_check_env(gymnasium.make(ENV).unwrapped, skip_render_check=True)


@settings(max_examples=25, deadline=None)
@given(passes=st.lists(st.integers(0, 7), min_size=6, max_size=6), preset=st.sampled_from(TABLES))
def test_a_step_of_the_sequential_view_is_a_pass_and_shows_the_graph_after_it(passes, preset):
    whole = TabularSynthesis(preset, 6)
    env = PrefixDesign(gymnasium.make(ENV, preset=preset, horizon=6))
    observation, info = env.reset(seed=0)
    before, best, total, over, taken = None, -np.inf, 0.0, False, 0
    while not over:
        assert env.action_masks().all() and info["action_mask"].all()
        prefix = np.zeros((1, 6), np.int64)
        prefix[0, : taken + 1] = passes[: taken + 1]
        observation, reward, over, _, info = env.step(passes[taken])
        columns = whole.evaluate_indices(prefix)
        assert info["metrics"] == {name: columns[name][0] for name in NAMES}
        first = whole.evaluate_indices(np.zeros((1, 6), np.int64))
        gates, levels = columns["and_gates"][0], columns["levels"][0]
        seen = observation[-15:]
        assert seen[0] == pytest.approx(np.log10(1 + gates))
        assert seen[2] == pytest.approx(gates / first["and_gates"][0])
        assert seen[3] == pytest.approx(levels / first["levels"][0])
        ended = passes[taken] == 0
        if not ended:
            assert seen[4] == pytest.approx(1 if before is None else before)
            assert seen[6] == pytest.approx(1 - (taken + 1) / 6)
            assert seen[7:].argmax() == passes[taken] and seen[7:].sum() == 1
        before, taken, total = seen[2], taken + 1, total + reward
        best = max(best, info["reward"])
        assert over == (ended or taken == 6)
    assert total == pytest.approx(best, abs=1e-6) and env.unwrapped.ledger.samples == taken


def test_slots_of_a_whole_sequence_can_be_chosen_one_after_the_other():
    env = SequentialDesign(gymnasium.make(ENV, circuit="random-7"))
    env.reset(seed=0)
    passes, over, steps = [2, 3, 1, 5, 7, 4], False, 0
    while not over:
        _, _, over, _, info = env.step(passes[steps])
        steps += 1
    columns = TabularSynthesis("random-7", 6).evaluate_indices(np.array([passes]))
    assert steps == 6 and info["metrics"]["and_gates"] == columns["and_gates"][0]
    assert env.unwrapped.ledger.samples == 1


# --- ABC behind the same interface ---


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    return tmp_path


@needs_abc
@pytest.mark.parametrize("circuit", TABLES)
def test_both_backends_agree(home, circuit):
    designs = TabularSynthesis(circuit, 6).space.sample(12, np.random.default_rng(1))
    envs = [gymnasium.make(ENV, circuit=circuit, backend=backend) for backend in ("table", "abc")]
    found = []
    for env in envs:
        steps = []
        for design in designs:
            observation, _ = env.reset(seed=0)
            observation, reward, *_, info = env.step(design)
            steps.append((reward, info["metrics"], observation.tolist()))
        found.append(steps)
        env.close()
    assert found[0] == found[1]


@needs_abc
def test_users_circuits_and_cells_have_area_and_delay(home):
    (home / "cells.lib").write_text(cells())
    (home / "mine.bench").write_text(
        "INPUT(a)\nINPUT(b)\nINPUT(c)\nOUTPUT(y)\nt = XOR(a, b)\nu = AND(t, c)\nv = AND(a, b)\ny = OR(u, v)\n"
    )
    arguments = {"circuit": home / "mine.bench", "backend": "abc", "slots": 3, "liberty": home / "cells.lib"}
    for goal, metric in (("area", "area"), ("delay", "delay_ps")):
        env = gymnasium.make(ENV, goal=goal, max_levels=20, **arguments)
        env.reset(seed=0)
        *_, info = env.step(np.array([1, 2, 4]))
        reference = references(env.unwrapped.simulator.unwrapped)[metric]
        assert info["reward"] == pytest.approx(-np.log(info["metrics"][metric] / reference))
        env.close()


@needs_abc
def test_long_sequences_are_built_pass_by_pass_and_on_workers(home):
    env = PrefixDesign(gymnasium.make(ENV, preset="random-7-long", horizon=10))
    env.reset(seed=0)
    for number in range(10):
        _, _, over, _, _ = env.step(1 + number % 7)
    assert over and env.unwrapped.simulator.tree.runs <= 10 + 6  # resyn is the reference
    env.close()
    result = archgym.search(
        ENV, "random", budget=8, seed=0, env_kwargs={"preset": "random-7-long", "workers": 2}
    )
    alone = archgym.search(ENV, "random", budget=8, seed=0, env_kwargs={"preset": "random-7-long"})
    assert result.best_metrics == alone.best_metrics


@needs_abc
def test_a_circuit_that_abc_cannot_parse_is_one_line(home):
    (home / "odd.v").write_text("module m (input a, output y); assign y = a +* b; endmodule\n")
    with pytest.raises(ArchGymError, match=r"ABC cannot read the circuit 'odd\.v'") as caught:
        gymnasium.make(ENV, circuit=home / "odd.v", backend="abc")
    assert "\n" not in str(caught.value)


# --- archgym fidelity synthesis ---


def run(*arguments):
    return CliRunner().invoke(app, ["fidelity", "synthesis", *map(str, arguments)])


def as_json(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_tables_replay_what_abc_printed_by_hand():
    found = as_json("--backend", "table")
    assert found["rows"] >= 50 and found["skipped"] > 0
    assert found["equal"] == 1 and set(found["largest_relative_difference"].values()) == {0.0}


@needs_abc
def test_abc_replays_what_it_printed_by_hand(home):
    found = as_json()
    assert found["rows"] == 200 and found["skipped"] == 0 and "ABC" in found["tool"]
    differences = found["largest_relative_difference"]
    assert differences["and_gates"] == differences["levels"] == 0  # other versions may count other LUTs


def test_a_changed_figure_shows(home):
    text = fidelity.RECORDED.read_text().splitlines()
    changed = [row.replace(",145,24,", ",290,24,") for row in text if not row.count(";")][:3]
    (home / "changed.csv").write_text("\n".join(changed))
    found = as_json("--data", home / "changed.csv", "--backend", "table")
    assert found["largest_relative_difference"]["and_gates"] == 0.5 and found["equal"] < 1
    assert "50.00 %" in run("--data", home / "changed.csv", "--backend", "table").output


def test_luts_are_optional_and_short_names_are_understood(home):
    (home / "short.csv").write_text(
        "circuit,sequence,and_gates,levels\nint_to_float-11,b; rw;rf ; b; rwz ; b,128,19\n"
    )
    found = as_json("--data", home / "short.csv", "--backend", "table")
    assert set(found["largest_relative_difference"]) == {"and_gates", "levels"}
    assert fidelity.passes_of("b; rw;rf ; rs; rsz; rfz; rwz;") == [1, 2, 4, 6, 7, 5, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column"),
        ("circuit,sequence,and_gates\n", "expected a column 'levels'"),
        ("circuit,sequence,and_gates,levels\n", "expected rows"),
        ("circuit,sequence,and_gates,levels,depth\n", "unknown column 'depth'"),
        ("circuit,sequence,and_gates,levels\nadder-8,rewrit,1,1\n", "did you mean 'rewrite'"),
        ("circuit,sequence,and_gates,levels\nadder-8,b,nan,1\n", "and_gates in line 2 as a whole number"),
        ("circuit,sequence,and_gates,levels\nadder-8,b,-3,1\n", "as a whole number"),
        ("circuit,sequence,and_gates,levels\n,b,3,1\n", "line 2 has no circuit"),
        ("circuit,sequence,and_gates,levels\nadder-8,b,3,1\n", "the tables have no row"),
    ],
)
def test_malformed_tables_of_figures_are_refused_in_one_line(home, text, message):
    (home / "bad.csv").write_text(text)
    with pytest.raises(ArchGymError, match=message) as caught:
        fidelity.compare(home / "bad.csv", "table")
    assert "\n" not in str(caught.value)
