"""Study files: what they say, and how wrong ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_texts import study_text

import archgym
from archgym.errors import ArchGymError
from archgym.study.design import SHIPPED, Study
from archgym.study.file import MAX_CHARACTERS, MAX_RUNS, line_of

pytestmark = pytest.mark.usefixtures("plugins")

NK = 'id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }'
SOFTMAX = 'id = "archgym/Softmax-v0"\nkwargs = { preset = "memory" }'


def refused(text: str) -> str:
    with pytest.raises(ArchGymError) as error:
        list(Study(text).runs())
    return str(error.value)


def test_runs_are_all_combinations_with_distinct_identifiers():
    runs = list(Study(study_text(NK, SOFTMAX, seeds=3, configurations=4)).runs())
    assert len(runs) == 2 * 2 * 4 * 3 == len({run.id for run in runs})
    assert {(run.task, run.agent, run.configuration, run.replicate) for run in runs} == {
        (task, agent, c, s)
        for task in ("NKLandscape-v0 n=8 k=1", "Softmax-v0 preset=memory")
        for agent in ("random", "genetic")
        for c in range(4)
        for s in range(3)
    }


def test_a_study_may_have_several_budgets_for_all_agents():
    text = study_text(NK, SOFTMAX, seeds=3, configurations=1).replace("budget = 40", "budget = [20, 40]")
    runs = list(Study(text).runs())
    assert len(runs) == 2 * 2 * 2 * 3 == len({run.id for run in runs})
    assert {(run.agent, run.specification["budget"]) for run in runs} == {
        (agent, budget) for agent in ("random", "genetic") for budget in (20, 40)
    }
    assert {run.id for run in Study(study_text(NK, SOFTMAX, seeds=3, configurations=1)).runs()} < {
        run.id for run in runs
    }
    message = refused(text.replace(NK, f"{NK}\nbudget = 30"))
    assert "line 9" in message and "several" in message
    assert "distinct" in refused(text.replace("[20, 40]", "[20, 20]"))


def test_other_agents_stand_in_for_those_of_a_file(tmp_path):
    grid = '[agent.grid]\npopulation = [8, 16]\n[[env]]\nlabel = "second"\n' + NK.replace("n = 8", "n = 9")
    text = study_text(NK, agents=("random",)) + '\n[[agent]]\nname = "genetic"\n' + grid + "\n# the end\n"
    (tmp_path / "study.toml").write_text(text)
    study = Study.read(tmp_path / "study.toml", ["tpe", "local_search", "tpe"])
    assert list(study.agents) == ["tpe", "local_search"]
    assert list(study.tasks) == ["NKLandscape-v0 n=8 k=1", "second"]
    assert Study(study.text).size == study.size == 2 * 2 * 2
    with pytest.raises(ArchGymError, match="tpe"):
        Study.read(tmp_path / "study.toml", ["tpf"])


def test_a_specification_repeats_the_run():
    run = list(Study(study_text(NK, budget=30)).runs())[-1]
    result = archgym.search_again(run.specification)
    assert {name: result.specification[name] for name in run.specification} == run.specification
    assert result.samples == 30


def test_an_identifier_depends_on_what_decides_the_result_and_on_nothing_else():
    def first(text: str) -> str:
        return next(Study(text).runs()).id

    text = study_text(NK)
    assert (
        first(text)
        == first(text.replace('name = "test"', 'name = "other"\ntimeout_s = 5'))
        == first(text + "# a comment")
    )
    assert first(text) == first(text.replace("n = 8, k = 1", "k = 1, n = 8"))
    others = [
        text.replace("budget = 40", "budget = 41"),
        text.replace("k = 1", "k = 2"),
        text.replace("seeds = 2", "seeds = [1]"),
    ]
    others += [
        text.replace("kwargs", 'objective = { minimize = ["fitness"] }\nkwargs'),
        text.replace("random", "qmc"),
    ]
    assert len({first(t) for t in [text, *others]}) == 6


def hyperparameters(configuration):
    """Those of a configuration that has the same ones on all tasks."""
    first, *others = configuration.agents.values()
    assert all(other == first for other in others)
    return first.hyperparameters


def test_drawn_configurations_begin_with_the_defaults_and_are_prefix_stable():
    few = Study(study_text(NK, agents=("genetic",), configurations=5)).agents["genetic"]
    many = Study(study_text(NK, agents=("genetic",), configurations=50)).agents["genetic"]
    assert few == many[:5]
    adapted = archgym.make_agent("genetic")
    adapted.adapt(next(iter(few[0].budgets.values())))
    assert few[0].is_default and hyperparameters(few[0]) == adapted.configuration
    assert not any(configuration.is_default for configuration in many[1:])
    assert len({str(hyperparameters(c)) for c in many}) == 50


def test_an_agent_without_hyperparameters_is_repeated_with_further_seeds():
    configurations = Study(study_text(NK, agents=("random",), seeds=5, configurations=80)).agents["random"]
    assert len(configurations) == 80
    assert sorted(seed for c in configurations for seed in c.seeds) == list(range(400))


def test_a_grid_is_all_combinations_and_steps_are_budgets_in_environment_steps():
    text = (
        study_text(NK, agents=())
        + '[[agent]]\nname = "genetic"\nsteps = [8, 16]\n[agent.grid]\npopulation = [2, 64]\nelite = [0, 1, 2]\n'
    )
    configurations = Study(text).agents["genetic"]
    assert len(configurations) == 12
    assert {(hyperparameters(c)["population"], *c.budgets.values()) for c in configurations} == {
        (2, 16),
        (2, 32),
        (64, 512),
        (64, 1024),
    }
    assert all(hyperparameters(c)["tournament"] == 4 for c in configurations)


def test_a_task_has_its_own_budget_unless_the_agent_has_one():
    text = study_text(NK, SOFTMAX + "\nbudget = 7", agents=("random", "genetic"))
    text += '[[agent]]\nname = "tpe"\nbudget = [8, 20]\n[[agent]]\nname = "ppo"\nsteps = 3\n'
    width = archgym.make_agent("ppo").preferred_num_envs
    study = Study(text)
    found = {(run.task[:2], run.agent, run.specification["budget"]) for run in study.runs()}
    assert found == {
        ("NK", "random", 40),
        ("NK", "genetic", 40),
        ("So", "random", 7),
        ("So", "genetic", 7),
    } | {(task, *own) for task in ("NK", "So") for own in (("tpe", 8), ("tpe", 20), ("ppo", 3 * width))}
    assert study.size == len(list(study.runs()))


def test_runs_of_equal_budget_are_equal_wherever_the_budget_is_given():
    in_study, in_task = study_text(NK, budget=30), study_text(NK + "\nbudget = 30", budget=40)
    assert [run.id for run in Study(in_study).runs()] == [run.id for run in Study(in_task).runs()]


def test_an_environment_may_be_a_task_at_each_of_two_budgets():
    twice = (NK, NK + '\nlabel = "short"\nbudget = 10')
    assert {(run.task, run.specification["budget"]) for run in Study(study_text(*twice)).runs()} == {
        ("NKLandscape-v0 n=8 k=1", 40),
        ("short", 10),
    }
    assert "is the same environment as" in refused(study_text(*twice).replace("budget = 10", "budget = 40"))
    assert "set a different `label`" in refused(study_text(*twice).replace('label = "short"', ""))
    own = study_text(*twice).replace("configurations", "budget = 20\nconfigurations")
    assert "two runs are the same" in refused(own)


def test_the_shipped_studies_are_of_the_published_size():
    assert Study.read("lottery-v1").size == 21_600 == len(list(Study.read("lottery-v1").runs()))
    published = Study.read("archgym-2023").agents
    assert [len(published[name]) for name in ("ant_colony", "genetic", "gp", "random")] == [150, 18, 1, 1]
    # equal samples
    every = [c for configurations in published.values() for c in configurations]
    assert {(budget, len(c.seeds)) for c in every for budget in c.budgets.values()} == {(250, 5)}
    assert Study.read("joint-search").size == 640
    assert {path.stem for path in SHIPPED.glob("*.toml")} == {
        "quick",
        "lottery",
        "lottery-v1",
        "archgym-2023",
        "joint-search",
        "multi-agent",
        "fronts",
        "generalise-accelerator",
        "generalise-nk",
        "generalise-quick",
        "generalise-softmax",
        "one-shot",
        "vision-transformer",
        "plain-cnn",
        "systems",
        "synthesis",
        "dram-traces",
        "quantum",
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("budget = 40", "budgte = 40", 3, "unknown key 'budgte'; did you mean 'budget'?"),
        ("budget = 40", "", 1, "[study] lacks budget"),
        ("budget = 40", 'budget = "40"', 3, "budget: expected a number of samples"),
        ("budget = 40", "budget = 0", 3, "budget: expected a number of samples"),
        ("budget = 40", "budget = true", 3, "budget: expected a number of samples"),
        (
            "budget = 40",
            "budget = 40\nmemory_gb = inf",
            4,
            "memory_gb: expected a number of gigabytes > 0 and at most 1,000,000,000",
        ),
        ("budget = 40", "budget = 40\nmemory_gb = 1e300", 4, "memory_gb: expected a number of gigabytes"),
        ("budget = 40", "budget = 40\nmemory_gb = nan", 4, "memory_gb: expected a number of gigabytes"),
        ("seeds = 2", "seeds = []", 4, "seeds: expected a number >= 1"),
        ("seeds = 2", "seeds = [1, 1]", 4, "list of distinct numbers"),
        ("seeds = 2", "seeds = 1000000000000", 4, "at most 1,000,000 runs"),
        ("[study]", "[studdy]", 1, "did you mean 'study'?"),
        ("NKLandscape", "NKLandscpae", 7, "did you mean 'archgym/NKLandscape-v0'"),
        ("n = 8, k = 1 }", "n = 8, k = 1 }\nbudget = 0", 9, "budget: expected a number of samples from 1 to"),
        ("n = 8, k = 1 }", "n = 8, k = 1 }\nbudget = [1, 2]", 9, "budget: expected a number of samples"),
        ("n = 8, k = 1 }", "n = 8, k = 1 }\nbudgets = 9", 9, "did you mean 'budget'?"),
        ("n = 8", "m = 8", 8, "unknown argument of archgym/NKLandscape-v0 'm'"),
        ("n = 8", "n = inf", 8, "JSON cannot express"),
        ("n = 8", "n = 1979-05-27", 8, "JSON cannot express"),
        ("kwargs = { n = 8, k = 1 }", "objective = { minimize = ['fitnes'] }", 8, "did you mean 'fitness'?"),
        ("kwargs = { n = 8, k = 1 }", "objective = 3", 8, "objective: expected a table such as"),
        ("kwargs = { n = 8, k = 1 }", "kwargs = [1]", 8, "kwargs: expected a table of arguments"),
        ("configurations = 2", "configurations = 1000000000000", 9, "at most 1,000,000 runs"),
        (
            "configurations = 2",
            "configurations = 2.5",
            11,
            "configurations: expected a number of configurations",
        ),
        ("configurations = 2", "[agent.grid]", 11, "expected lists of values in the grid, got none"),
        (
            "configurations = 2",
            "[agent.grid]\npopulation = []",
            12,
            "expected values of population in the grid, got none",
        ),
        (
            "configurations = 2",
            "[agent.grid]\npopulation = [16, 16]",
            12,
            "expected distinct values of population",
        ),
        (
            "configurations = 2",
            "[agent.grid]\npopulation = [16,\n3]",
            12,
            "3 is not a value of parameter 'population'",
        ),
        ("configurations = 2", "[agent.grid]\npopluation = [16]", 12, "did you mean 'population'"),
        (
            "configurations = 2",
            "[agent.hyperparameters]\nelite = 99",
            12,
            "99 is not a value of parameter 'elite'",
        ),
        (
            "configurations = 2",
            "configurations = 2\n[agent.hyperparameters]\nelite = 1",
            12,
            "at most one of",
        ),
        ("configurations = 2", "steps = 0", 11, "steps: expected a number from 1"),
        ("configurations = 2", "steps = 2\nbudget = 3", 11, "not both"),
        ('"genetic"', '"genetics"', 10, "unknown agent 'genetics'; did you mean 'genetic'?"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old, new, line, message):
    text = study_text(NK, agents=("genetic",))
    assert old in text
    error = refused(text.replace(old, new))
    assert message in error and f"line {line}:" in error and "\n" not in error


def test_the_same_run_twice_is_refused():
    assert "the same environment twice" in refused(study_text(NK, NK))
    assert "is the same environment as" in refused(study_text(NK, NK + '\nlabel = "again"'))
    assert "two runs are the same" in refused(study_text(NK, agents=("genetic", "genetic")))
    assert "agents 'random' and 'genetic' share the label 'x'" in refused(
        study_text(NK).replace('"\nconf', '"\nlabel = "x"\nconf')
    )


def test_grids_of_10_to_the_12_runs_are_counted_not_made():
    values = ", ".join(str(v) for v in range(1000))
    grid = "\n".join(f"{name} = [{values}]" for name in ("a", "b", "c", "d"))
    error = refused(study_text(NK, agents=()) + f'[[agent]]\nname = "genetic"\n[agent.grid]\n{grid}\n')
    assert "got 2,000,000,000,000" in error and f"{MAX_RUNS:,}" in error


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "binary.toml": "expected a study file of UTF-8 text",
        "absent.toml": "known: archgym-1, archgym-2023",
        ".": "cannot read",
    }.items():
        with pytest.raises(ArchGymError, match=message):
            Study.read(tmp_path / name)


def test_lines_are_found_in_nested_and_multiline_values():
    text = '# one\n[a]\nx = [\n 1,\n 2]\n\n[[b]]\ny = """\nz = 1\n"""\n[[b]]\n[b.c]\nd = 1\n'
    assert [
        line_of(text, where)
        for where in [("a", "x"), ("b", 0, "y"), ("b", 1), ("b", 1, "c"), ("b", 1, "c", "d")]
    ] == [
        3,
        8,
        11,
        12,
        13,
    ]
    assert line_of(text, ("b", 1, "e")) == 11 and line_of(text, ("nothing",)) is None


# --- any text is either a study or one clear error ---

words = st.sampled_from(
    [
        "study",
        "env",
        "agent",
        "name",
        "budget",
        "seeds",
        "id",
        "kwargs",
        "grid",
        "random",
        "archgym/NKLandscape-v0",
    ]
)
values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        words.map(repr),
        st.text(max_size=5).map(lambda t: '"' + t.replace('"', "") + '"'),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, (bool, float)) else str(value)


lines = st.one_of(
    st.sampled_from(
        ["[study]", "[[env]]", "[[agent]]", "[agent.grid]", "[agent.hyperparameters]", "[agent]"]
    ),
    st.tuples(words, values).map(lambda pair: f"{pair[0]} = {toml(pair[1])}"),
    st.text(max_size=10),
)


def only_clear_errors(text: str) -> None:
    try:
        list(Study(text).runs())
    except ArchGymError as error:
        assert str(error).strip()


@given(st.lists(lines, max_size=12).map("\n".join))
def test_any_text_is_a_study_or_one_clear_error(text):
    only_clear_errors(text)


@given(st.data())
def test_any_study_with_one_line_changed_is_a_study_or_one_clear_error(data):
    text = study_text(
        NK, budget=4, seeds=1, configurations=1, more="timeout_s = 3.0\nmemory_gb = 1.0"
    ).splitlines()
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + data.draw(st.integers(0, 1))] = [data.draw(lines)]
    only_clear_errors("\n".join(text))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = 1" + "0" * 5000,
        "[" * 5000,
        "\x00",
        "a=1\r\nb",
        "study = 1\nenv = 2\nagent = 3",
        "[study]\nenv=[1]",
    ],
)
def test_texts_that_break_parsers_are_refused(text):
    refused(text)


# --- names and texts from elsewhere ---

FILE = """[study]
name = "test"
seeds = [
    0,
    1,
]
budget = 4
[[env]]
id = "archgym/NKLandscape-v0"
label = "NK"
[[agent]]
name = "random"
label = "baseline"
"""


@pytest.mark.parametrize(
    "bad", ["a\\u001b[2J", "a\\u0000", "a\\nb", "a\u200fb", "a\u202eb", "a\\u2028b", "x" * 201, "x" * 900_000]
)
@pytest.mark.parametrize(
    ("name", "line"),
    [("test", 2), ("archgym/NKLandscape-v0", 9), ("NK", 10), ("random", 12), ("baseline", 13)],
)
def test_names_are_printable_and_bounded(bad, name, line):
    message = refused(FILE.replace(f'"{name}"', f'"{bad}"'))
    assert f"line {line}: " in message and ": expected a" in message and len(message) < 300


@pytest.mark.parametrize("name", ["é文", "<b>a</b>", "../x", "$(id)", " a "])
def test_other_names_are_taken(name):
    assert Study(FILE.replace('"NK"', f"'{name}'")).tasks.keys() == {name}


def test_a_label_made_of_arguments_is_printable_and_bounded():
    text = FILE.replace('label = "NK"\n', 'kwargs = { cols = 1, calibration = "a\\u001b[2J" }\n').replace(
        "NKLandscape", "Softmax"
    )
    assert "\\x1b" in refused(text) and "\x1b" not in refused(text)


@pytest.mark.parametrize(("value", "line"), [('"' + "x" * MAX_CHARACTERS + '"', 2), (None, 3)])
def test_a_huge_file_is_refused_with_the_line(value, line):
    seeds = "seeds = [\n" + ",\n".join(map(str, range(200_000))) + "]"
    text = FILE.replace('"test"', value) if value else FILE.replace("seeds = [\n    0,\n    1,\n]", seeds)
    message = refused(text)
    assert (
        f"line {line}: expected a study file of at most 1,000,000 characters" in message
        and len(message) < 300
    )


def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path):
    file = tmp_path / "study.toml"
    for end in ("\r\n", "\n", "\r"):
        file.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", end).encode())
        assert [run.id for run in Study.read(file).runs()] == [run.id for run in Study(FILE).runs()]
        file.write_bytes(b"\xef\xbb\xbf" + FILE.replace("NKLand", "Nkland").replace("\n", end).encode())
        with pytest.raises(ArchGymError, match="line 9: "):
            Study.read(file)


def test_lines_are_found_behind_values_of_many_lines():
    text = 'a = """\n[x]\n\\"\n"""\nb = [\n1, # ]\n{ c = "]" },\n]\n[t]\nd = \'\'\'\n\n\'\'\'\ne = 1\n'
    assert [line_of(text, where) for where in (("a",), ("b",), ("t",), ("t", "d"), ("t", "e"))] == [
        1,
        5,
        9,
        10,
        13,
    ]
