"""A task as MCP tools, called by the SDK's own client, in the process and over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import Bowl

from archgym.errors import ArchGymError, MissingDependency
from archgym.serve.sessions import Sessions
from archgym.serve.task import ServedTask

mcp = pytest.importorskip("mcp")

from archgym.serve.mcp import make_server, serve_mcp  # noqa: E402

GOOD = {"x": 3, "size": 4, "isa": "avx512", "flag": True}


class Fragile(Bowl):
    """Fails with a path of the server in its reason."""

    def evaluate(self, designs, rng=None):
        if (np.asarray(designs["x"]) == 5).any():
            raise OSError("cannot open /srv/secret/table.csv")
        return super().evaluate(designs)


def talk(server, *calls):
    """The tools' names, and the result of each call."""

    async def conversation():
        async with mcp.Client(server) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(asyncio.wait_for(conversation(), 60))


def text_of(result):
    return result.content[0].text


@pytest.fixture
def sessions(register, tmp_path):
    env, simulator = register(Fragile())
    with closing(Sessions(ServedTask(env, budget=5), tmp_path)) as opened:
        opened.simulator = simulator
        yield opened


def test_a_client_lists_the_tools_and_is_told_the_task(sessions):
    tools, (described,) = talk(make_server(sessions), ("describe", {}))
    assert [tool.name for tool in tools] == ["describe", "evaluate", "history"]
    assert all(len(tool.description) > 50 for tool in tools)
    (design,) = [
        tool.input_schema["properties"]["designs"]["items"] for tool in tools if tool.name == "evaluate"
    ]
    assert design["properties"]["isa"] == {"enum": ["scalar", "avx2", "avx512"]} and "x" in design["required"]
    assert not described.is_error and "minimize cost_j" in text_of(described)
    assert "0 of 5 samples spent, 5 left" in text_of(described) and "secret" not in text_of(described)


def test_designs_are_evaluated_counted_and_remembered(sessions):
    other = {**GOOD, "size": 8, "x": 6}
    _, (first, second, history) = talk(
        make_server(sessions),
        ("evaluate", {"designs": [GOOD, {**GOOD, "x": 4}]}),
        ("evaluate", {"designs": json.dumps([other])}),  # models also send JSON as text
        ("history", {"tokens": 500}),
    )
    answer = first.structured_content
    assert answer == json.loads(text_of(first)) and (answer["samples"], answer["left"]) == (2, 3)
    assert answer["results"][0]["metrics"] == {"cost_j": 1.0, "area_mm2": 12.0}
    assert answer["results"][0]["design"] == GOOD and answer["results"][0]["state"] == "valid"
    assert answer["results"][1]["state"] == "violates"
    bad = second.structured_content["results"][0]
    assert bad["state"] == "infeasible" and bad["metrics"] == {"cost_j": None, "area_mm2": None}
    assert "3 of 5 samples spent" in text_of(history) and "Best:" in text_of(history)
    assert sessions.simulator.rows == 3 and "secret" not in text_of(first) + text_of(history)


def test_the_budget_is_exact_and_its_end_is_a_tool_error(sessions):
    designs = [{**GOOD, "size": size, "isa": isa} for size in (1, 2, 4) for isa in ("scalar", "avx2")]
    _, (first, second, history) = talk(
        make_server(sessions),
        ("evaluate", {"designs": designs}),
        ("evaluate", {"designs": [GOOD]}),
        ("history", {}),
    )
    assert len(first.structured_content["results"]) == 5 and first.structured_content["left"] == 0
    assert second.is_error and "the budget of 5 samples is spent" in text_of(second)
    assert sessions.simulator.rows == 5 and "0 left" in text_of(history)


@pytest.mark.parametrize(
    ("designs", "message"),
    [
        ([{**GOOD, "size": 5}], "parameter 'size': expected one of 1, 2, 4, 8, got 5; nearest: 4"),
        ([GOOD, {**GOOD, "sizes": 4}], "design 2: unknown parameter 'sizes'; did you mean 'size'?"),
        ([{"x": 1}], "'size': expected one of 1, 2, 4, 8, got nothing"),
        ([], "expected a list of designs"),
        ("none here", "expected a list of designs"),
        ([GOOD, 7], "expected a list of designs"),
        ([[["deep"] * 100]], "expected a list of designs"),
        (None, "expected a list of designs"),
    ],
)
def test_what_cannot_be_done_is_a_tool_error_that_counts_nothing(sessions, designs, message):
    _, (wrong, unknown, missing, good) = talk(
        make_server(sessions),
        ("evaluate", {"designs": designs}),
        ("optimum", {}),
        ("evaluate", {}),
        ("evaluate", {"designs": [GOOD]}),
    )
    assert wrong.is_error and message in text_of(wrong)
    assert unknown.is_error and missing.is_error
    assert not good.is_error and good.structured_content["samples"] == 1


def test_a_failing_simulator_is_a_result_and_its_paths_stay_here(sessions):
    _, (failed, history) = talk(
        make_server(sessions), ("evaluate", {"designs": [{**GOOD, "x": 5}]}), ("history", {})
    )
    assert failed.structured_content["results"][0]["failure"] == "OSError: cannot open <path>"
    assert "cannot open" in text_of(history) and "/srv" not in text_of(failed) + text_of(history)


def test_limits_of_the_history_are_kept_within_bounds(sessions):
    _, results = talk(make_server(sessions), *(("history", {"tokens": t}) for t in (-5, 10**9, "x")))
    assert [result.is_error for result in results] == [False, False, True]


def test_a_server_that_starts_again_goes_on_with_the_session(register, tmp_path):
    env, simulator = register(Bowl())
    for spent in range(3):
        with closing(Sessions(ServedTask(env, budget=2), tmp_path)) as sessions:
            _, (result,) = talk(make_server(sessions), ("evaluate", {"designs": [{**GOOD, "x": 1 + spent}]}))
            assert result.is_error == (spent == 2)
    assert simulator.rows == 2
    with closing(Sessions(ServedTask(env, budget=2, seed=0), tmp_path)) as sessions:
        assert "Best:" in text_of(talk(make_server(sessions), ("history", {}))[1][0])


def test_a_task_with_contexts_and_a_missing_sdk_are_refused(tmp_path, monkeypatch):
    task = ServedTask("archgym/NKLandscape-v0", budget=2, arguments={"contexts": {"k": [1, 2]}})
    with pytest.raises(ArchGymError, match="expected one task for a language model, got contexts"):
        serve_mcp(task, tmp_path)
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(MissingDependency, match=r"archgym\[mcp\]"):
        serve_mcp(ServedTask("archgym/NKLandscape-v0", budget=2), tmp_path / "other")


LOUD = """
import subprocess, sys
import archgym
from archgym import Integer, Metric, Minimize, Objective, DesignSpace, Simulator

class Loud(Simulator):
    space = DesignSpace([Integer("x", 0, 9)])
    metrics = (Metric("t_s", "s", "lower"),)
    default_objective = Objective(Minimize("t_s"))

    def evaluate_indices(self, indices, rng=None):
        print("a simulator that prints", flush=True)
        subprocess.run([sys.executable, "-S", "-c", "print('so does its process')"], check=True)
        sys.stdin.read()
        return {"t_s": 1.0 + indices[:, 0], "feasible": indices[:, 0] >= 0}

print("so does its module")
archgym.register_env("tests/Loud-v0", simulator=Loud)
"""


def test_over_stdin_and_stdout_nothing_but_the_protocol_is_printed(tmp_path, program):
    (tmp_path / "loud.py").write_text(LOUD)
    arguments = ["-m", "archgym.cli", "serve", "loud:tests/Loud-v0", "--mcp", "--budget", "2"]
    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=[*arguments, "--out", str(tmp_path / "out")], cwd=tmp_path
    )
    tools, (first, second) = talk(
        parameters, ("evaluate", {"designs": [{"x": 3}]}), ("evaluate", {"designs": [{"x": 1}, {"x": 2}]})
    )
    assert len(tools) == 3 and first.structured_content["results"][0]["metrics"] == {"t_s": 4.0}
    assert second.structured_content["left"] == 0 and len(second.structured_content["results"]) == 1
    closed = program(*arguments[2:], "--out", tmp_path / "out", cwd=tmp_path, input="")
    assert (closed.returncode, closed.stdout) == (0, "") and "so does its module" in closed.stderr


def test_the_configuration_in_the_guide_starts_a_server(tmp_path, program):
    guide = Path(__file__).parents[2] / "docs" / "guides" / "language-model.md"
    (block,) = re.findall(r"^```json\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE)
    (server,) = json.loads(block)["mcpServers"].values()
    assert server["command"] == "archgym"
    started = program(*server["args"], cwd=tmp_path, input="")
    assert (started.returncode, started.stdout) == (0, "") and (tmp_path / server["args"][-1]).is_dir()
