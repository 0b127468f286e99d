"""The registry: names to environments and agents, lazily, with the nearest names where there is none."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import gymnasium
import pytest
from conftest import Bowl

import archgym
from archgym import (
    Agent,
    ArchGymError,
    Objective,
    list_agents,
    list_envs,
    make_agent,
    register_agent,
    register_env,
)
from archgym.registry import get_agent, get_task


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_archgym_imports_nothing_heavy_and_no_room():
    heavy = ["torch", "optuna", "pandas", "pyarrow", "stable_baselines3", "matplotlib", "scipy", "typer"]
    out = run(f"""
        import sys
        import archgym
        assert archgym.list_agents() and archgym.list_envs()
        rooms = ("archgym.envs.", "archgym.agents.", "archgym.simulators.")
        requirements = ("archgym.simulators.nas", "archgym.simulators.nas.requirements")  # a look at the data folder
        print([m for m in sys.modules if m in {heavy!r} or m.startswith(rooms) and m not in requirements])
    """)
    assert out.strip() == "[]"


def test_gymnasium_finds_the_environments_after_and_without_importing_archgym():
    run("""
        import archgym, gymnasium
        gymnasium.make("archgym/Softmax-v0"), gymnasium.make_vec("archgym/Softmax-v0", num_envs=64)
    """)
    run("""
        import gymnasium, sys
        assert "archgym" not in sys.modules
        env = gymnasium.make("archgym:archgym/Softmax-v0")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        gymnasium.make_vec("archgym:archgym/NKLandscape-v0", num_envs=3)
    """)


def test_the_module_prefix_works_in_search_too():
    assert archgym.search("archgym:archgym/NKLandscape-v0", "random", budget=5).samples == 5


def test_a_module_that_registers_is_imported_by_its_prefix(tmp_path, monkeypatch):
    (tmp_path / "mine_prefix.py").write_text(
        "import archgym\nfrom conftest import Bowl\narchgym.register_env('mine/Prefix-v0', simulator=Bowl)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "mine/Prefix-v0" not in list_envs()
    assert archgym.search("mine_prefix:mine/Prefix-v0", "random", budget=5).samples == 5
    gymnasium.registry.pop("mine/Prefix-v0")


def test_unknown_names_are_refused_with_the_nearest():
    for call, near in (
        (lambda: get_task("archgym/Sofmax-v0"), "archgym/Softmax-v0"),
        (lambda: get_agent("genetik"), "genetic"),
        (lambda: make_agent("anealing"), "annealing"),
        (lambda: make_agent("genetic", mutaton=1.0), "mutation"),
        (lambda: gymnasium.make("archgym/Softmax-v0", colls=3), "cols"),
        (lambda: gymnasium.make("archgym/Softmax-v0", preset="attention_4"), "attention_4k"),
    ):
        with pytest.raises(ArchGymError, match=f"did you mean.*'{near}'"):
            call()
    with pytest.raises(ArchGymError, match="known: "):
        get_agent("zzzzzz")


@pytest.mark.parametrize(
    "source",
    [Bowl, Bowl(), "conftest:Bowl", lambda: Bowl()],
    ids=["class", "instance", "reference", "factory"],
)
def test_a_simulator_is_registered_as_class_instance_factory_or_reference(register, source):
    env_id, _ = register(source)
    assert env_id in list_envs()
    env = gymnasium.make(env_id)
    assert isinstance(env.unwrapped.simulator, Bowl) and env.unwrapped.objective == Bowl.default_objective


def test_default_arguments_presets_and_arguments_override_one_another_in_this_order(register):
    env_id, _ = register(Bowl, presets={"far": {"offset": 9.0}}, offset=1.0)
    offsets = [
        gymnasium.make(env_id, **k).unwrapped.simulator.offset
        for k in ({}, {"preset": "far"}, {"preset": "far", "offset": 2.0})
    ]
    assert offsets == [1.0, 9.0, 2.0]


def test_an_objective_is_an_object_a_dictionary_or_a_function_with_options(register):
    def goal(simulator, *, limit=5.0):
        return Objective.from_dict({"minimize": ["cost_j"], "at_most": {"area_mm2": limit}})

    for objective in (goal, {"minimize": ["cost_j"], "at_most": {"area_mm2": 5.0}}, goal(None)):
        env_id, _ = register(Bowl, objective)
        assert gymnasium.make(env_id).unwrapped.objective == goal(None)
    env_id, _ = register(Bowl, goal, presets={"small": {"limit": 2.0}})
    assert gymnasium.make(env_id, limit=7.0).unwrapped.objective == goal(None, limit=7.0)
    assert gymnasium.make(env_id, preset="small").unwrapped.objective == goal(None, limit=2.0)
    other = gymnasium.make(env_id, preset="small", objective={"minimize": ["area_mm2"]}).unwrapped.objective
    assert other.constraints == ()  # the preset's limit belongs to the objective that was replaced
    with pytest.raises(ArchGymError, match="limit"):
        gymnasium.make(env_id, limit=7.0, objective={"minimize": ["area_mm2"]})


@pytest.mark.parametrize("source", [None, 5, {"a": 1}])
def test_what_makes_no_simulator_is_refused_when_it_is_registered(source):
    with pytest.raises(ArchGymError, match="expected a Simulator, its class, a function that makes one"):
        archgym.register_env("tests/Nothing-v0", simulator=source)


def test_a_simulator_without_an_objective_says_what_to_do(register):
    class Aimless(Bowl):
        default_objective = None

    env_id, _ = register(Aimless)
    with pytest.raises(ArchGymError, match="default_objective"):
        gymnasium.make(env_id)
    assert gymnasium.make(env_id, objective={"minimize": ["cost_j"]}).unwrapped.objective.metrics == (
        "cost_j",
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("no_such_module:Thing", "no_such_module"),
        ("conftest:Thing", "Thing"),
        (dict, "to make an archgym.Simulator, got"),
    ],
)
def test_what_is_not_a_simulator_is_refused_when_it_is_made(register, source, says):
    env_id, _ = register(source)
    with pytest.raises(ArchGymError, match=says):
        gymnasium.make(env_id)


def test_an_id_that_gymnasium_refuses_is_refused():
    with pytest.raises(ArchGymError, match="cannot register"):
        register_env("no version at all!", simulator=Bowl)


def test_registering_again_replaces_without_a_warning(register, recwarn):
    env_id, _ = register(Bowl)
    register_env(env_id, simulator=Bowl, offset=5.0)
    assert gymnasium.make(env_id).unwrapped.simulator.offset == 5.0 and not recwarn.list


def test_agents_are_registered_by_class_or_reference_and_listed(monkeypatch):
    from archgym import registry
    from archgym.agents.genetic import Genetic

    monkeypatch.setattr(registry, "_agents", {})
    before = list_agents()
    register_agent("mine", Genetic)
    register_agent("also_mine", "archgym.agents.genetic:Genetic")
    assert list_agents() == sorted([*before, "mine", "also_mine"])
    assert get_agent("mine") is get_agent("also_mine") is Genetic
    assert isinstance(make_agent("mine", population=8), Agent)
    for name, agent in (("", Genetic), ("x", "genetic"), ("x", Genetic())):
        with pytest.raises(ArchGymError, match="expected a name and a class"):
            register_agent(name, agent)
    register_agent("not_one", dict)
    with pytest.raises(ArchGymError, match="subclass"):
        get_agent("not_one")


def test_every_listed_agent_loads_and_has_valid_defaults():
    for name in list_agents():
        try:
            agent = make_agent(name)
        except archgym.MissingDependency:
            continue
        assert agent.configuration == type(agent).hyperparameters.defaults() and agent.preferred_num_envs >= 1
        assert type(agent).__doc__


def test_lists_are_functions_and_not_hidden_by_the_rooms():
    import archgym.agents
    import archgym.envs

    assert callable(archgym.list_agents) and callable(archgym.list_envs) and callable(archgym.search)
    assert "random" in archgym.list_agents() and "archgym/Softmax-v0" in archgym.list_envs()
