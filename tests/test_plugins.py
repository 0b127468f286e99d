"""A third party's agent and simulator, in two packages of their own, appear beside ours, run, and pass the
conformance checks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

AGENT = '''
"""Random search by somebody else."""
from archgym import AskTellAgent, DesignSpace, Integer


class Drunkard(AskTellAgent):
    """Walks from the last design."""

    version = 1
    hyperparameters = DesignSpace([Integer("stride", 1, 4, default=2)])

    def start(self, space, *, budget, rng):
        self.space, self.rng = space, rng
        self.here = space.sample(1, rng)

    def ask(self, n):
        moves = self.rng.integers(-self.stride, self.stride + 1, size=(n, len(self.space)))
        walk = (self.here + moves.cumsum(axis=0)) % self.space.nvec
        self.here = walk[-1:]
        return walk

    def tell(self, indices, rewards, metrics, feasible):
        pass
'''

SIMULATOR = '''
"""A simulator by somebody else, without a line of Gymnasium."""
import numpy as np
from archgym import Categorical, DesignSpace, Integer, Metric, Minimize, Objective, Simulator


class Thing(Simulator):
    """Costs more the further x is from `best`."""

    metrics = (Metric("latency_s", "s", "lower"),)
    default_objective = Objective(Minimize("latency_s"))

    def __init__(self, best: int = 3):
        self.best = best
        self.space = DesignSpace([Integer("x", 0, 9), Categorical("kind", ["plain", "fancy"])])

    def evaluate(self, designs, rng=None):
        x = np.asarray(designs["x"], float)
        return {"latency_s": 1 + (x - self.best) ** 2, "feasible": (designs["kind"] == "plain") | (x < 9)}
'''

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"

[project.entry-points."{group}"]
"{entry}" = "{module}:{object}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

PACKAGES = [
    {
        "name": "their-agent",
        "module": "their_agent",
        "group": "archgym.agents",
        "entry": "drunkard",
        "object": "Drunkard",
        "code": AGENT,
    },
    {
        "name": "their-thing",
        "module": "their_thing",
        "group": "archgym.envs",
        "entry": "theirs/Thing-v0",
        "object": "Thing",
        "code": SIMULATOR,
    },
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages, built and installed by pip into a folder of their own."""
    pytest.importorskip("hatchling", reason="building packages without network needs hatchling")
    root = tmp_path_factory.mktemp("plugins")
    target = root / "site"
    for package in PACKAGES:
        project = root / package["name"]
        (project / package["module"]).mkdir(parents=True)
        (project / "pyproject.toml").write_text(PROJECT.format(**package))
        (project / package["module"] / "__init__.py").write_text(package["code"])
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
    ]
    done = subprocess.run(
        [*install, "--target", str(target), *(str(root / p["name"]) for p in PACKAGES)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, *arguments: str) -> str:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(installed: Path, code: str) -> str:
    return run(installed, "-c", textwrap.dedent(code))


def test_they_are_listed_without_being_imported(installed):
    python(
        installed,
        """
        import sys, archgym
        assert "drunkard" in archgym.list_agents() and "random" in archgym.list_agents()
        assert "theirs/Thing-v0" in archgym.list_envs() and "archgym/Softmax-v0" in archgym.list_envs()
        assert not {"their_agent", "their_thing"} & set(sys.modules)
        """,
    )


def test_the_command_line_lists_describes_and_searches_them(installed):
    pytest.importorskip("archgym.cli")
    assert "drunkard" in run(installed, "-m", "archgym.cli", "list", "agents")
    assert "theirs/Thing-v0" in run(installed, "-m", "archgym.cli", "list", "envs")
    described = run(installed, "-m", "archgym.cli", "describe", "theirs/Thing-v0")
    assert "latency_s" in described and "kind" in described
    assert "stride" in run(installed, "-m", "archgym.cli", "describe", "drunkard")
    found = run(
        installed,
        *(
            "-m",
            "archgym.cli",
            "search",
            "theirs/Thing-v0",
            "drunkard",
            "--budget",
            "80",
            "--set",
            "best=5",
            "--hp",
            "stride=3",
        ),
    )
    assert "latency_s" in found


def test_they_run_with_ours_and_with_each_other_and_repeat_from_the_specification(installed):
    python(
        installed,
        """
        import archgym, gymnasium, json
        import numpy as np
        for env, agent in (("theirs/Thing-v0", "genetic"), ("archgym/NKLandscape-v0", "drunkard"), ("theirs/Thing-v0", "drunkard")):
            result = archgym.search(env, agent, budget=61, seed=1)
            assert result.samples == 61
            again = archgym.search_again(json.loads(json.dumps(result.specification)))
            assert np.array_equal(result.history["reward"], again.history["reward"])
        assert result.specification["agent"]["name"] == "drunkard"
        result = archgym.search("theirs/Thing-v0", "exhaustive", budget=20, env_kwargs={"best": 7})
        assert result.best_design == {"x": 7, "kind": "plain"} and result.best_metrics == {"latency_s": 1.0}
        gymnasium.make("theirs/Thing-v0", best=2), gymnasium.make_vec("theirs/Thing-v0", num_envs=4)
        for wrong in ({"agent_kwargs": {"strid": 1}}, {"env_kwargs": {"bets": 1}}):
            try:
                archgym.search("theirs/Thing-v0", "drunkard", budget=5, **wrong)
            except archgym.ArchGymError as error:
                assert "did you mean" in str(error)
            else:
                raise AssertionError(wrong)
        """,
    )


def test_they_pass_the_conformance_checks(installed):
    python(
        installed,
        """
        from archgym.testing import check_agent, check_env, check_simulator
        from their_thing import Thing
        check_simulator(Thing())
        check_env("theirs/Thing-v0")
        check_agent("drunkard", reach_budget=500)
        check_agent("drunkard", "theirs/Thing-v0", reach_budget=500)
        """,
    )


def test_a_package_that_cannot_be_imported_spoils_nothing_but_itself(installed, tmp_path):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[archgym.agents]\nbroken = no_such_module:X\n[archgym.envs]\nbad/Id = no_such_module:Y\nbad/B-v0 = "
        "no_such_module:Y\n"
    )
    code = """
        import archgym, warnings
        assert archgym.search("archgym/NKLandscape-v0", "random", budget=3).samples == 3
        for env, agent in (("archgym/NKLandscape-v0", "broken"), ("bad/B-v0", "random")):
            try:
                archgym.search(env, agent, budget=3)
            except archgym.ArchGymError as error:
                assert "no_such_module" in str(error)
            else:
                raise AssertionError((env, agent))
    """
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
