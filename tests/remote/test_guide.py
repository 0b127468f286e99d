"""Clients in other languages spend exactly their budget, also where answers get lost, and the guide's commands
run as they are printed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
from blocks import blocks  # noqa: E402

pytest_plugins = ["remote_fixtures"]

COMPILER = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
SPENT = {"docs/guides/other-languages.md": [3, 200], "README.md": [500]}  # samples of each block

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
needs_cc = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def bash(text, folder):
    """A block with `archgym` of this Python, all of whose processes end with it."""
    (folder / "bin").mkdir(exist_ok=True)
    shim = folder / "bin" / "archgym"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m archgym.cli "$@"\n')
    shim.chmod(0o755)
    started = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
    )
    try:
        told, errors = started.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):  # none left
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 0, errors
    return told


@pytest.fixture
def hill_climber(tmp_path):
    """The C example, compiled without a warning."""
    program = tmp_path / "hill_climber"
    options = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]
    subprocess.run([COMPILER, *options, "-o", program, ROOT / "examples" / "hill_climber.c"], check=True)
    return program


@needs_curl
def test_the_client_in_shell_spends_exactly_its_budget(real, tmp_path):
    (block,) = blocks("client")
    served = real("archgym/LogicSynthesis-v0", budget=13)
    told = bash(block.text.replace("8000", str(served.port)), tmp_path)
    (history,) = served.histories()
    assert history["sample"] == list(range(13)) and len(told.splitlines()) == 13
    for line, reward in zip(told.splitlines(), history["reward"], strict=True):
        assert float(line.partition("reward ")[2].split(",")[0]) == reward


@needs_curl
def test_the_client_in_shell_loses_and_doubles_nothing(lossy, bowl, tmp_path):
    service = lossy(bowl[0], budget=5)
    service.faults = [None, "lose", "refuse"]
    (block,) = blocks("client")
    bash(block.text.replace("http://localhost:8000", service.url), tmp_path)
    assert service.samples == 5 and not service.faults


@needs_cc
def test_the_client_in_c_spends_exactly_its_budget_and_climbs(real, hill_climber):
    served = real("archgym/Softmax-v0", budget=150)
    told = subprocess.check_output([hill_climber, "localhost", str(served.port), "1"], text=True)
    (history,) = served.histories()
    assert len(history["sample"]) == 150 and told.startswith("150 samples in session")
    assert float(told.partition("best reward ")[2].split()[0]) == max(history["reward"])
    assert max(history["reward"]) > max(history["reward"][:10])


@needs_cc
def test_the_client_in_c_loses_and_doubles_nothing(lossy, bowl, hill_climber):
    service = lossy(bowl[0], budget=30)
    service.faults = ["lose", "drop", None, "refuse", "lose", "lose", *[None] * 9, "drop"]
    subprocess.run([hill_climber, *service.url.removeprefix("http://").split(":")], check=True)
    assert service.samples == 30 and not service.faults
    sent = [path for _, path, _ in service.requests if path.endswith("evaluate")]
    assert len(sent) == 36


def test_the_guides_function_works_on_a_service(real):
    served, names = real("archgym/NKLandscape-v0", budget=500), {}
    (block,) = (each for each in blocks("python") if each.page.endswith("other-languages.md"))
    exec(block.text, names)
    result, continued = names["on_another_machine"](served.url)
    assert result.samples == 500 and continued.unwrapped.ledger.budget == 499
    assert sorted(len(history["sample"]) for history in served.histories()) == [1, 500]


@needs_curl
@pytest.mark.parametrize("page", sorted({block.page for block in blocks("serve")}))
def test_the_blocks_that_start_a_service_run(page, tmp_path):
    if COMPILER is None:
        pytest.skip("no C compiler")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for place, block in enumerate(each for each in blocks("serve") if each.page == page):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "examples").symlink_to(ROOT / "examples")
        bash(block.text.replace("8000", free_port()), folder)
        (journal,) = folder.rglob("sessions.sqlite")
        assert samples(journal) == SPENT[page][place], block


def samples(journal):
    with sqlite3.connect(journal) as connection:
        return connection.execute("select sum(size) from batches").fetchone()[0]
