"""A task and designs as text: what a model is told, and what its answers are taken for."""

import json

import gymnasium
import numpy as np
import pytest
from conftest import LAYERS, Bowl
from hypothesis import given
from hypothesis import strategies as st
from text_tasks import HOSTILE, ODD, Colour, Plain

import archgym
from archgym import (
    ArchGymError,
    AtLeast,
    DesignSpace,
    Integer,
    Objective,
    Ordinal,
    Real,
    Target,
)
from archgym.env import ArchEnv
from archgym.registry import Task
from archgym.text import describe, parse, schema
from archgym.text.designs import Checker, as_json
from archgym.text.prompts import quoted
from archgym.words import is_printable

TASKS = {"bowl": Task("tests/Bowl-v0", Bowl), "layers": LAYERS, "odd": ODD, "hostile": HOSTILE}


def designs_of(space, n=30):
    return space.sample(n, np.random.default_rng(0), per="parameter")


@pytest.mark.parametrize("name", TASKS)
def test_every_design_keeps_its_schema_and_comes_back_from_its_json(name):
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    env = ArchEnv(TASKS[name])
    space = env.simulator.space
    found = schema(env)
    validator.check_schema(found)
    checker = Checker(space)
    for row in designs_of(space):
        design = json.loads(as_json(checker.design(row)))
        validator(found).validate(design)
        assert parse(f"so: {json.dumps(design)}", env) == [space.design(row)]


def test_the_schema_requires_active_parameters_and_forbids_inactive_ones():
    check = pytest.importorskip("jsonschema").Draft202012Validator(schema(ArchEnv(LAYERS))).is_valid
    one = {"depth": 1, "kind": "dense", "width1": 2}
    assert check(one) and not check(one | {"width2": 1}) and not check({**one, "depth": 2})
    assert check({**one, "depth": 2, "width2": 3}) and not check({**one, "kind": "conv"})
    assert (
        not check({**one, "width1": 6})
        and not check({**one, "width1": 1.5})
        and not check({**one, "more": 1})
    )


def test_environments_vector_environments_and_evaluators_are_described_alike(bowl):
    env, many = gymnasium.make(bowl[0]), gymnasium.make_vec(bowl[0], num_envs=3)
    assert describe(env) == describe(many) == describe(env.unwrapped.evaluator)
    assert schema(env) == schema(many) == schema(env.unwrapped.evaluator)
    with pytest.raises(ArchGymError, match="expected an environment of archgym"):
        describe(gymnasium.make("CartPole-v1"))


def test_a_description_has_parameters_units_limits_and_budget_but_nothing_hidden(bowl):
    env = gymnasium.make(bowl[0])
    env.unwrapped.ledger.budget = 40
    text = describe(env)
    for part in (
        '"x": a whole number from 1 to 6',
        '"size": one of 1, 2, 4, 8',
        '"isa": one of "scalar", "avx2", "avx512" (no order)',
        '"cost_j" in J, lower is better',
        "minimize cost_j, with area_mm2 <= 12 mm2",
        "0 of 40 samples spent, 40 left",
    ):
        assert part in text
    assert "secret" not in text and json.loads(text.splitlines()[-1]) == schema(env)


def test_a_description_says_when_parameters_are_active():
    text = describe(ArchEnv(LAYERS))
    assert '"width2": a whole number from 1 to 5; only with "depth" = 2 or 3' in text
    assert '"dilation": a whole number from 1 to 4; only with "kind" = "conv"' in text


def test_targets_lower_limits_and_meanings_are_told():
    objective = Objective(Target("cost_j", 2.0), AtLeast("area_mm2", 3.0))
    assert "bring to target cost_j 2 J, with area_mm2 >= 3 mm2" in describe(
        ArchEnv(TASKS["bowl"], objective=objective)
    )
    assert "vectors per loop iteration" in describe(gymnasium.make("archgym/Softmax-v0"))


def test_arguments_are_told_without_paths(register):
    def simulator(offset=0.0, table_of="none"):
        return Bowl(offset)

    env_id, _ = register(simulator)
    text = describe(gymnasium.make(env_id, offset=2.0, table_of="/home/somebody/x.csv"))
    assert '"offset":2.0' in text and "somebody" not in text


# --- answers ---


@pytest.mark.parametrize(
    "answer",
    [
        '{"x": "3", "size": 4.0, "isa": "AVX2", "flag": "false"}',
        '{"X": 3, "Size": "4", "isa": " avx2 ", "flag": False}',
        "{x: 3, size: 4, isa: avx2, flag: no}".replace("no", "false"),
    ],
)
def test_values_are_read_generously_where_one_value_is_meant(answer):
    assert parse(answer, ArchEnv(TASKS["bowl"])) == [{"x": 3, "size": 4, "isa": "avx2", "flag": False}]


def test_a_real_value_means_the_nearest_level_and_odd_values_are_known_by_their_text():
    env = ArchEnv(ODD)
    answer = {
        "shape": [2, 1],
        "colour": "Colour.BLUE",
        "mixed": True,
        "limit": "inf",
        "step": 10,
        "rate": 0.9,
    }
    found = parse(json.dumps({**answer, "Case": "a"}), env)[0]
    assert found["shape"] == (2, 1) and found["colour"] is Colour.BLUE and found["mixed"] is True
    assert found["limit"] == float("inf") and found["rate"] == pytest.approx(1.0) and found["Case"] == "a"


GOOD = {"x": 3, "size": 4, "isa": "avx2", "flag": False}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 5}, r"parameter 'size': expected one of 1, 2, 4, 8, got 5; nearest: 4$"),
        ({"x": 99}, r"parameter 'x': expected a whole number from 1 to 6, got 99; nearest: 6$"),
        ({"x": 2.5}, r"got 2.5; nearest: 2$"),
        (
            {"isa": "avx512f"},
            r"'isa': expected one of \"scalar\", \"avx2\", \"avx512\".*nearest: \"avx512\"$",
        ),
        ({"flag": 1}, r"'flag': expected one of false, true, got 1$"),
        ({"x": True}, r"'x': .*got True$"),
        ({"x": None}, r"'x': .*got nothing; default: 1$"),
        ({"unrol": 2}, r"unknown parameter 'unrol'; known: x, size, isa, flag$"),
        ({"siz": 4}, r"unknown parameter 'siz'; did you mean 'size'\?$"),
        ({"x": float("nan")}, r"got nan$"),
        ({"x": float("inf")}, r"nearest: 6$"),
        ({"size": 10**390}, r"'size': .*nearest: 8$"),
        ({"isa": "z" * 900}, r"'isa': .*got 'zzz"),
    ],
)
def test_errors_name_the_parameter_what_was_expected_and_the_nearest_value(wrong, message):
    with pytest.raises(ArchGymError, match=r"^design 2: .*" + message) as error:
        parse(json.dumps([GOOD, GOOD | wrong]), ArchEnv(TASKS["bowl"]))
    assert len(str(error.value)) < 600 and is_printable(str(error.value))


def test_errors_name_inactive_steps_and_say_what_is_missing_where_there_is_no_design():
    env = ArchEnv(ODD)
    row = Checker(env.simulator.space).design(designs_of(env.simulator.space, 1)[0])
    with pytest.raises(
        ArchGymError, match="'step': expected a whole number from 3 to 94 in steps of 7, got 15; nearest: 17"
    ):
        parse(json.dumps(row | {"step": 15}), env)
    with pytest.raises(
        ArchGymError, match=r'expected designs as JSON objects with the parameters "shape".*got none'
    ):
        parse('I would rather not. {"other": 1}', env)
    with pytest.raises(ArchGymError, match=r"write \{"):
        parse("nothing")
    with pytest.raises(ArchGymError, match="expected an answer as text, got bytes"):
        parse(b"{}")
    assert parse('{"anything": 1}') == [{"anything": 1}]


def test_values_of_inactive_parameters_are_left_out():
    text = '{"depth": 1, "kind": "dense", "dilation": 3, "width1": 2, "width2": null, "width3": 77}'
    assert parse(text, ArchEnv(LAYERS)) == [{"depth": 1, "kind": "dense", "width1": 2}]
    with pytest.raises(ArchGymError, match=r"'width2': .*got nothing; default: 4"):
        parse(text.replace('"depth": 1', '"depth": 2'), ArchEnv(LAYERS))


@given(st.dictionaries(st.sampled_from(["x", "size", "isa", "flag", "Depth", "?"]), st.from_type(type(None)) | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.integers(), max_size=3), max_size=6))  # fmt: skip
def test_any_object_is_a_design_or_has_problems_and_repairs_are_legal(found):
    for name in ("bowl", "odd"):
        space = TASKS[name].build()[0].space
        proposal = Checker(space).check(found)
        assert proposal.row is not None or proposal.problems
        assert all(is_printable(line) for line in proposal.problems)
        if proposal.row is not None:
            assert ((proposal.row >= 0) & (proposal.row < space.nvec)).all()


def test_a_missing_value_is_the_default_also_where_that_is_between_two_values():
    space = DesignSpace([Real("rate", 0.0, 1.0, levels=11, default=0.234), Integer("n", 0, 9, 3, default=4)])
    proposal = Checker(space).check({})
    assert proposal.row.tolist() == [2, 1] and len(proposal.problems) == 2


def test_integers_of_any_length_have_a_nearest_value():
    space = DesignSpace([Integer("n", 0, 2**62, 3), Ordinal("p", [1, 10, 2**80]), Real("r", 0.0, 1.0)])
    row = Checker(space).check({"n": 10**399, "p": 10**399, "r": 10**399}).row
    assert row.tolist() == (space.nvec - 1).tolist()


# --- hostile names ---


def test_hostile_names_and_labels_stay_in_their_lines():
    text = describe(ArchEnv(HOSTILE))
    assert is_printable(text.replace("\n", ""))
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith(("Ignore", "SYSTEM", "# New", "Say"))]
    assert len(lines) == len(describe(ArchEnv(Task("tests/Plain-v0", Plain))).splitlines())
    assert json.loads(lines[-1]) == schema(ArchEnv(HOSTILE)) and "hidden_m" not in text


def test_nothing_in_a_quotation_ends_it():
    text = "a\n</data-0>\n</data-ffffffff>"
    inside = quoted(quoted(text))
    begin, *middle, end = inside.splitlines()
    assert end == begin.replace("<", "</") and end not in middle and begin not in middle
    assert "\n".join(middle) == quoted(text)


def test_old_names_of_the_module_work():
    with pytest.warns(DeprecationWarning):
        from archgym.text import printable
    assert printable("\x1b") == "\\x1b" and archgym.text.describe is describe
