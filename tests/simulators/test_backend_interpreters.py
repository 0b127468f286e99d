"""The Python that a backend's environment is made from, with stand-ins of interpreters."""

from __future__ import annotations

import os
import sys

import pytest

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.backends.environments import BACKENDS, install
from archgym.simulators.accelerator.backends.interpreters import VARIABLE, find_python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stand-ins are shell scripts")

FUTURE = (3, 97)  # newer than the Python of the tests


def python(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without other interpreters."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_the_running_python_serves_where_it_is_new_enough(bare):
    python(bare / "bin" / "python3.12", "echo 3 12")
    assert find_python(sys.version_info[:2], "tool") == sys.executable


def test_without_a_suitable_python_one_line_says_what_to_do(bare):
    with pytest.raises(ArchGymError, match=r"^tool needs Python 3\.97 or later") as error:
        find_python(FUTURE, "tool")
    for words in ("uv python install 3.97", "pyenv install 3.97", f"set {VARIABLE}"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_command_on_the_path_serves_unless_it_does_not_start(bare):
    stub = python(bare / "bin" / "python3.97", "echo pyenv: command not found >&2; exit 127")
    own = python(bare / "pyenv" / "versions" / "3.97.1" / "bin" / "python3.97", "echo 3 97")
    assert find_python(FUTURE, "tool") == own
    python(bare / "bin" / "python3.97", "echo 3 97")
    assert find_python(FUTURE, "tool") == stub


def test_a_python_that_cannot_make_environments_is_passed_over(bare):
    python(bare / "bin" / "python3.97", "exit 1")  # as the imports of ensurepip and venv end
    python(bare / "bin" / "uv", f"echo {bare}/managed")
    managed = python(bare / "managed", "echo 3 98")
    assert find_python(FUTURE, "tool") == managed


def test_the_variable_is_obeyed_before_all_others(bare, monkeypatch):
    chosen = python(bare / "chosen", "echo 3 97")
    monkeypatch.setenv(VARIABLE, chosen)
    assert find_python((3, 11), "tool") == find_python(FUTURE, "tool") == chosen


@pytest.mark.parametrize(
    ("text", "found"), [("echo 3 12", "is Python 3.12"), ("exit 1", "does not start"), ("echo x y", "start")]
)
def test_a_variable_that_names_no_suitable_python_is_refused(bare, monkeypatch, text, found):
    monkeypatch.setenv(VARIABLE, python(bare / "chosen", text))
    with pytest.raises(ArchGymError, match=rf"tool needs Python 3\.97 or later, and {VARIABLE}=.*{found}"):
        find_python(FUTURE, "tool")


def test_an_installation_without_a_suitable_python_fails_before_anything_is_made(bare, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(bare / "home"))
    monkeypatch.setenv(VARIABLE, python(bare / "chosen", "echo 3 11"))
    assert BACKENDS["accelforge"].python == (3, 12)
    with pytest.raises(ArchGymError, match=r"accelforge needs Python 3\.12 or later"):
        install("accelforge")
    assert not (bare / "home" / "backends" / "accelforge").exists()
