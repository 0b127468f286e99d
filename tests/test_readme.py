"""README and guides are run, not trusted: their Python blocks work as printed, and the set-up commands name what exists."""

import re
import tomllib
from pathlib import Path

import pytest

from archgym.simulators.softmax.compiler import CompilerError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = (
    "README.md",
    "docs/accelerator.md",
    "docs/agents.md",
    "docs/attention.md",
    "docs/dram.md",
    "docs/nas.md",
    "docs/pareto.md",
    "docs/proxy.md",
)
BLOCKS = [(name, block) for name in GUIDES for block in re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)]


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


PAGES = ["README.md", "benchmarks/README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_exists(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), link
