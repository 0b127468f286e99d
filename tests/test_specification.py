"""A specification's dictionary form: back to the same bytes, rebuilt, refused where it is not one."""

import json

import pytest

import archgym
from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.study.design import Study, identifier
from archgym.task import EnvSpecification, Specification

FRONT = '[study]\nname="a"\nbudget=5\n[[env]]\nid="archgym/DramController-v0"\nfront=["latency_s","energy_j"]\n[[agent]]\nname="nsga2"\n'
PLAIN = '[study]\nname="a"\nbudget=5\n[[env]]\nid="archgym/NKLandscape-v0"\nkwargs={n=6,horizon=2}\n[[agent]]\nname="genetic"\n'


def dictionaries():
    yield archgym.search("archgym/NKLandscape-v0", "random", budget=5, env_kwargs={"n": 6}).specification
    yield archgym.search(
        "archgym/DramController-v0", "nsga2", budget=8, front=["latency_s", "energy_j"]
    ).specification
    for text in (FRONT, PLAIN):
        yield from (run.specification for run in Study(text).runs())


@pytest.mark.parametrize("given", dictionaries(), ids=["search", "front", "study with a front", "study"])
def test_the_dictionary_form_comes_back_byte_for_byte(given):
    again = Specification.from_dict(json.loads(json.dumps(given))).to_dict()
    assert json.dumps(again) == json.dumps(given)
    assert identifier(again, "full") == identifier(given, "full")


def test_a_run_s_environment_is_built_again():
    given = next(Study(PLAIN).runs()).specification
    env = Specification.from_dict(given).env
    evaluator = Evaluator.from_specification(env)
    assert json.loads(json.dumps(evaluator.specification())) == given["env"]
    assert (
        Evaluator.from_specification(EnvSpecification.from_dict(env.measured)).simulator.specification
        == env.simulator
    )


@pytest.mark.parametrize("missing", ["env", "agent", "budget", "seed", "num_envs"])
def test_what_lacks_a_part_is_refused_in_one_line(missing):
    given = {name: part for name, part in next(Study(PLAIN).runs()).specification.items() if name != missing}
    with pytest.raises(ArchGymError, match=f"expected a search's specification, .*'{missing}'") as error:
        Specification.from_dict(given)
    assert "\n" not in str(error.value)
