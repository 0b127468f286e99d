"""README and guides are run, not trusted: their Python blocks work as printed, and the set-up commands name what exists."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from archgym.cli import app
from archgym.simulators.softmax.compiler import CompilerError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "benchmarks/README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
BLOCKS = [(name, block) for name in PAGES for block in re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)]


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=range(len(BLOCKS)))
def test_every_python_block_runs(name, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        exec(compile(block, name, "exec"), {"__name__": "__main__"})
    except CompilerError as error:
        pytest.skip(f"no C compiler: {error}")


def test_there_are_exactly_two_set_up_commands_and_their_extras_exist():
    commands = re.findall(r"^pip install .*$", README, re.MULTILINE)
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert len(commands) == 2
    for command in commands:
        assert set(re.search(r"\[(.*)\]", command)[1].split(",")) <= extras


FENCED = {
    page: [
        block
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
        if language in ("", "sh")
    ]
    for page in PAGES
}
COMMANDS = [
    (page, command.strip())
    for page, blocks in FENCED.items()
    for block in blocks
    for line in block.replace("\\\n", " ").splitlines()
    for command in line.partition("  #")[0].split("&&")
    if command.strip().startswith("archgym ")
]


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=range(len(COMMANDS)))
def test_every_command_that_a_page_shows_is_one_that_the_program_accepts(page, command):
    parsed, words = typer.main.get_command(app), shlex.split(command)
    context = parsed.make_context("archgym", [], resilient_parsing=True)
    arguments = words[1:]
    while isinstance(parsed, TyperGroup) and not (arguments and arguments[0].startswith("-")):
        assert arguments and parsed.get_command(context, arguments[0]), f"{page}: no command {command!r}"
        parsed, arguments = parsed.get_command(context, arguments[0]), arguments[1:]
    parsed.make_context(command, arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_exists(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), link
