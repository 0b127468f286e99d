"""The examples run as their first lines say, and the plug-in template is installed, found, checked and
swept.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {  # budgets that take a second
    "cleanrl_style.py": ["320"],
    "compare_agents.py": ["60"],
    "hidden_states.py": ["60"],
    "optuna_study.py": ["20"],
    "policy.py": ["600"],
    "slow_simulator.py": ["12"],
    "small_study.py": ["40", "out"],
    "stable_baselines.py": ["256"],
    "your_agent.py": ["100"],
    "your_simulator.py": ["30"],
}
NEEDS = {
    "cleanrl_style.py": ["torch"],
    "hidden_states.py": ["torch"],
    "stable_baselines.py": ["stable_baselines3"],
    "small_study.py": ["altair", "vl_convert", "polars"],
}


def test_every_example_is_run_here():
    assert set(ARGUMENTS) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs_and_says_something(name, tmp_path):
    for module in NEEDS.get(name, []):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{name} needs {module}")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *ARGUMENTS[name]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["first_search", "lottery"])
def test_a_notebook_runs_with_small_budgets(name, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("vl_convert")
    for variable, value in {
        "SAMPLES": "60",
        "CONFIGURATIONS": "3",
        "FOLDER": str(tmp_path / "study"),
    }.items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells[1:] if not cell.source.startswith("study =")), (
        "as it is read without being run"
    )
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert not [
        output
        for cell in cells
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def test_every_notebook_is_run_here():
    assert {"first_search", "lottery"} == {path.stem for path in EXAMPLES.glob("*.ipynb")}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A copy of the template, and the folder that pip has installed it into."""
    pytest.importorskip("hatchling", reason="building packages without network needs hatchling")
    root = tmp_path_factory.mktemp("template")
    shutil.copytree(EXAMPLES / "plugin", root / "plugin")
    install = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
    ]
    command = [sys.executable, "-m", *install, "--target", root / "site", root / "plugin"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return root


def run(plugin: Path, *arguments: object) -> str:
    path = os.pathsep.join(filter(None, [str(plugin / "site"), os.environ.get("PYTHONPATH", "")]))
    # of these tests, not of the plug-in's
    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=plugin / "plugin",
        capture_output=True,
        text=True,
        timeout=300,
        env=inherited | {"PYTHONPATH": path, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_plugin_is_listed_described_and_searched(plugin):
    assert "tabu" in run(plugin, "-m", "archgym.cli", "list", "agents")
    assert "plugin/CacheHierarchy-v0" in run(plugin, "-m", "archgym.cli", "list", "envs")
    assert "l2_kb" in run(plugin, "-m", "archgym.cli", "describe", "plugin/CacheHierarchy-v0")
    assert "access_ns" in run(
        plugin, "-m", "archgym.cli", "search", "plugin/CacheHierarchy-v0", "tabu", "--budget", 80
    )


def test_the_plugins_own_tests_pass(plugin):
    assert "3 passed" in run(plugin, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_the_plugin_is_swept_in_a_study(plugin):
    told = run(
        plugin, "-m", "archgym.cli", "study", "run", "study.toml", "--out", plugin / "results", "--workers", 1
    )
    assert "27 of 27" in told
