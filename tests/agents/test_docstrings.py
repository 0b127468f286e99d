"""Each agent's docstring has an example that runs."""

import inspect
import re

import pytest

import archgym
from archgym.registry import get_agent

SHORT = {"epochs": 1, "estimates": 20}  # training and estimates of one-shot agents
EXAMPLE = re.compile(r">>> (archgym\.search\(.+\))  # doctest: \+SKIP")


@pytest.mark.parametrize(
    "name",
    [name for name in archgym.list_agents() if get_agent(name).__module__.startswith("archgym.agents.")],
)
def test_the_example_of_an_agent_runs(name):
    example = EXAMPLE.search(inspect.getdoc(get_agent(name)))[1]
    assert f'"{name}"' in example
    declared = get_agent(name).hyperparameters.names
    if short := {key: value for key, value in SHORT.items() if key in declared}:
        example = example.replace("budget=10)", f"budget=4, agent_kwargs={short})")
    try:
        result = eval(example, {"archgym": archgym})
    except archgym.MissingDependency as error:
        pytest.skip(str(error))
    assert result.samples == result.specification["budget"] and result.specification["agent"]["name"] == name
