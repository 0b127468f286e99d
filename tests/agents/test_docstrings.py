"""Each agent's docstring has an example that runs."""

import inspect
import re

import pytest

import archgym
from archgym.registry import get_agent

EXAMPLE = re.compile(r">>> (archgym\.search\(.+\))  # doctest: \+SKIP")


@pytest.mark.parametrize(
    "name",
    [name for name in archgym.list_agents() if get_agent(name).__module__.startswith("archgym.agents.")],
)
def test_the_example_of_an_agent_runs(name):
    example = EXAMPLE.search(inspect.getdoc(get_agent(name)))[1]
    assert f'"{name}"' in example
    try:
        result = eval(example, {"archgym": archgym})
    except archgym.MissingDependency as error:
        pytest.skip(str(error))
    assert result.samples == result.specification["budget"] and result.specification["agent"]["name"] == name
