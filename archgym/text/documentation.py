"""What the docstrings of environments and agents say: their summary, and the meanings of names."""

from __future__ import annotations

import inspect
import re

from archgym.registry import Task, load
from archgym.simulator import Simulator


def documentation_of(task: Task) -> str:
    """The prose of an environment: its module's, else its simulator's."""
    if task.documentation:
        return inspect.cleandoc(task.documentation)
    simulator = load(task.simulator) if isinstance(task.simulator, str) else task.simulator
    return inspect.getdoc(type(simulator) if isinstance(simulator, Simulator) else simulator) or ""


def summary_of(documentation: str, name: str = "") -> str:
    """The first paragraph on one line, without the name that it may open with and without markup."""
    paragraph = " ".join(documentation.split("\n\n")[0].split()).removeprefix(f"{name}: ").replace("`", "")
    return paragraph[:1].upper() + paragraph[1:]


def meanings_in(documentation: str) -> dict[str, str]:
    """Meanings of names in a docstring: lines "name: text" under "Args:", and rows "| name | ... | text |"
    of tables, except sets of contexts, which may have the name of an argument.
    """
    found: dict[str, str] = {}
    documentation = re.sub(r"^## Contexts\n.*?(?=^## |\Z)", "", documentation, flags=re.MULTILINE | re.DOTALL)
    arguments = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", documentation, re.MULTILINE)
    if arguments:
        for name, text in re.findall(
            r"^    (\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", arguments[1], re.MULTILINE
        ):
            found[name] = " ".join(text.split())
    for row in re.findall(r"^\|(.*)\|\s*$", documentation, re.MULTILINE):
        *cells, meaning = (cell.strip() for cell in row.split("|"))
        if len(cells) >= 2:
            found |= {
                name: meaning for name in (cell.strip("`") for cell in cells[:2]) if name.isidentifier()
            }
    return found
