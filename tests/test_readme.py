"""README and documentation are run, not trusted: every block is executed, here or, where it is marked, by
`.ci/run` (docs/blocks.py).
"""

import importlib.util
import json
import re
import shlex
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from archgym.cli import app
from archgym.simulators.compiler import CompilerError
from archgym.simulators.dram.dramsys import MEMORY
from archgym.simulators.nas import cells as nas
from archgym.simulators.softmax.fitting import calibrate as calibrating
from archgym.study.design import Study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


documentation = _module(ROOT / "docs" / "blocks.py")
BLOCKS = documentation.blocks()
PAGES = documentation.PAGES


def test_every_block_is_of_a_kind_that_something_runs():
    kinds = Counter(block.kind for block in BLOCKS)
    assert set(kinds) <= {"python", "sh", "toml", "install", "test", "cluster", ""}
    assert {mark: kinds[mark] for mark in documentation.MARKS} == {"install": 3, "test": 1, "cluster": 1}, (
        "run by .ci/run, one by one"
    )
    assert not [
        str(block)
        for block in BLOCKS
        if block.kind == "" and re.search(r"^(archgym|pip|python) ", block.text, re.MULTILINE)
    ]


def test_what_is_marked_is_run_by_the_program_that_continuous_integration_calls(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ["page.md"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(
        "<!-- test -->\n```sh\necho one &&\\\n echo $((1 + 1))\n```\n\n```sh\necho no\n```\n<!-- test "
        "-->\n```sh\nfalse\n```\n"
    )
    monkeypatch.setattr(sys, "argv", ["blocks.py", "test"])
    assert documentation.main() == 1
    told = capfd.readouterr()
    assert (
        "one\n2\n" in told.out and "no" not in told.out.splitlines() and "page.md:12 ended with 1" in told.err
    )
    monkeypatch.setattr(sys, "argv", ["blocks.py", "tests"])
    assert documentation.main() == 2


@pytest.mark.parametrize("block", documentation.blocks("python"), ids=str)
def test_every_python_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        exec(compile(block.text, block.page, "exec"), {"__name__": "__main__"})
    except CompilerError as error:
        pytest.skip(f"no C compiler: {error}")


@pytest.mark.parametrize("block", documentation.blocks("toml"), ids=str)
def test_every_study_file_is_one(block):
    text = block.text
    if "[study]" not in text:
        text = '[study]\nname = "part"\nbudget = 10\n\n' + text
    if "[[agent]]" not in text:
        text += '\n[[agent]]\nname = "random"\n'
    if "my_package" in text:
        text = (
            text.replace("my_package.agents:Mine", "genetic")
            .replace("rate = 0.5", "elite = 1")
            .replace('"genetic"\n[agent', '"genetic"\nlabel = "mine"\n[agent')
        )
    assert Study(text).size


def test_there_are_exactly_two_set_up_commands_and_their_extras_exist():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert len(commands) == 2
    for command in commands:
        assert set(re.search(r"\[(.*)\]", command)[1].split(",")) <= extras


# --- commands ---

FIXED = {"dataflow": "nvdla", "precision": "int8", "clock_mhz": 200, "l1_bytes": 32}
SHORT = [  # what is made small, so that every command ends in seconds
    (r"--budget \d+", "--budget 40"),
    (r"^(archgym dataset sample .*)--budget 40\b", r"\1--budget 400"),
    (r"^(archgym train .*)--budget 40\b", r"\1--budget 4000"),  # so that a proposed design is valid
    (r"--workers \d+", "--workers 1"),
    (r"^archgym search (?!.*--budget)", "archgym search --budget 40 "),
    (r"^archgym proxy train (?!.*--model)", "archgym proxy train --model linear "),
    (r"^archgym fidelity softmax", "archgym fidelity softmax --cols 4096 --designs 10"),
    (
        r"^archgym lottery (lottery-v1|lottery|archgym-2023|fronts|generalise-softmax)\b.*",
        r"archgym study expand \1",
    ),  # of hours
    # of millions of designs
    (r"^archgym optimum (archgym/\S+)", rf"archgym optimum \1 --set 'fixed={json.dumps(FIXED)}'"),
    (r"\brandom:writes=0\.3\b", "random:writes=0.3,requests=100"),
    (r"/opt/DRAMSys/build/bin/", ""),  # where the tests have it
    (r"/opt/DRAMSys/DRAMSys/library/", ""),
    (r"^archgym study run archgym-1\b", "archgym study run small.toml"),
    (r"^(archgym (submit|leaderboard) .*)", r"\1 --suite small.toml --workers 1"),
    # .ci/run runs it in full, as README's first command
    (r"^archgym lottery --quick", "archgym study expand quick"),
]
ONLY_READ = "backends install"  # from the network: docs/accelerator.md has it in a marked block
ONCE = (
    "calibrate softmax",
    "fidelity softmax",
    "lottery lottery",
    "lottery --quick",
)  # on the first page that has them: they leave nothing
SMALL = {  # measurements of a calibration
    "LOG2_FLOATS": [10, 12, 14, 15],
    "MIN_LOG2_SHARED": 12,
    "POINTS": ((1, 1), (4, 4)),
    "SAMPLE_DESIGNS": 2,
    "SAMPLE_SHAPES": [(2, 256), (1, 4096)],
}


SUITE = """[study]
name = "small-1"
budget = [10, 20]
seeds = 2
[[env]]
id = "archgym/NKLandscape-v0"
label = "rugged"
kwargs = { n = 8, k = 2 }
[[agent]]
name = "random"
"""
DRAMSYS = """#!/bin/sh
cat << END
DRAMSys.controller0  Total Time:     174755 ns
DRAMSys.controller0  AVG BW:          29.30 Gb/s |   3.66 GB/s |  28.61 %
DRAMSys.dram0  Total Energy:   226677450.00 pJ
DRAMSys.dram0  Average Power:  1297.12 mW
END
"""


def _write_network(path):
    """A convolution on images whose sizes have names."""
    onnx = pytest.importorskip("onnx")
    images = onnx.helper.make_tensor_value_info(
        "images", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"]
    )
    weights = onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "weights")
    result = onnx.helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["images", "weights"], ["result"])],
        "net",
        [images],
        [result],
        [weights],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)


def what_users_bring(folder):
    """The files that commands of the documentation name: a study, a table of NAS-Bench-201, DRAMSys with
    its resources.
    """
    study = re.sub(
        r"^(configurations|seeds) = \d+",
        r"\1 = 2",
        (ROOT / "examples" / "study.toml").read_text(),
        flags=re.MULTILINE,
    )
    accuracies = ("60,50,40,30,20,10", "61,51,41,31,21,11")
    columns = "cell,cifar10_test,cifar10_valid,cifar100_test,cifar100_valid,imagenet16_test,imagenet16_valid"
    files = {
        "examples/study.toml": study.replace("budget = 300", "budget = 40"),
        "nasbench201.csv": "\n".join(
            [
                columns,
                *(f"{cell},{accuracies[i % 2]}" for i, cell in enumerate(map(nas.format, nas.all_cells()))),
            ]
        ),
        "small.toml": SUITE,
        "DRAMSys": DRAMSYS,
        f"resources/configs/amconfigs/{MEMORY['addressmapping']}": "{}",
        f"resources/configs/memspecs/{MEMORY['memspec']}": "{}",
        "resources/traces/cloud-1.stl": "",
    }
    _write_network(folder / "net.onnx")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "DRAMSys").chmod(0o755)


def commands(block):
    """The archgym commands of a block."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [command.strip() for line in lines for command in line.partition("  #")[0].split("&&")]
    return [command for command in words if command.startswith("archgym ")]


SHELL = [(block, command) for block in BLOCKS if block.language == "sh" for command in commands(block)]


@pytest.mark.parametrize(
    ("block", "command"), SHELL, ids=[f"{block}-{n}" for n, (block, _) in enumerate(SHELL)]
)
def test_every_command_is_one_that_the_program_accepts(block, command):
    parsed, words = typer.main.get_command(app), shlex.split(command)
    context = parsed.make_context("archgym", [], resilient_parsing=True)
    arguments = words[1:]
    while isinstance(parsed, TyperGroup) and not (arguments and arguments[0].startswith("-")):
        assert arguments and parsed.get_command(context, arguments[0]), f"{block}: no command {command!r}"
        parsed, arguments = parsed.get_command(context, arguments[0]), arguments[1:]
    parsed.make_context(command, arguments)


@pytest.mark.parametrize("page", sorted({block.page for block in documentation.blocks("sh")}))
def test_the_commands_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, compiled):
    """In one folder, since later commands use what earlier ones wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kernels").symlink_to(compiled)
    for name, value in SMALL.items():
        monkeypatch.setattr(calibrating, name, value)
    what_users_bring(tmp_path)
    if page == "docs/proxy.md":
        assert (
            CliRunner()
            .invoke(app, shlex.split("study run examples/study.toml --out results/quick --workers 1"))
            .exit_code
            == 0
        )
    ran, earlier = 0, set()
    for block in documentation.blocks("sh"):
        if block.page != page:
            earlier.update(commands(block))
            continue
        assert all(line.startswith(("archgym ", " ")) for line in block.text.splitlines() if line), block
        for command in commands(block):
            if ONLY_READ in command or (command in earlier and any(words in command for words in ONCE)):
                continue
            for pattern, short in SHORT:
                command = re.sub(pattern, short, command)
            result = CliRunner().invoke(app, shlex.split(command)[1:])
            if "needs a C compiler" in result.output:
                continue
            assert result.exit_code == 0, f"{block}: {command}\n{result.output}\n{result.exception!r}"
            ran += 1
    assert ran


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_exists(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), link
