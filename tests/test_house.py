"""The structure of the package: who imports whom, who prints, no circles, and no loose modules."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import archgym

ROOT = Path(archgym.__file__).parent
KERNEL = {
    "__init__", "__main__", "_search", "agent", "env", "errors", "evaluator", "infos", "ledger", "objective", "optimum", "pareto", "progress",
    "registry", "seeding", "simulator", "task", "values", "version", "words",
}  # fmt: skip
# "" is the kernel
GROUND = {
    "",
    "space",
    "files",
    "processes",
    "contexts",
    "shared",
    "simulator_wrappers",
    "wrappers",
    "text",
    "callbacks",
    "deprecated",
}
MAY_IMPORT = {
    **dict.fromkeys(GROUND, GROUND),
    "simulators": GROUND - {"wrappers", "contexts"},
    "envs": GROUND | {"simulators"},
    "agents": GROUND,
    "testing": GROUND,
    "study": GROUND,
    "dataset": GROUND | {"study"},
    "lottery": GROUND | {"study"},
    "proxy": GROUND | {"dataset"},
    "remote": GROUND,
    "serve": GROUND | {"study"},
    "leaderboard": GROUND | {"study", "lottery"},
    "cli": GROUND | {"simulators", "study", "dataset", "lottery", "proxy", "serve", "leaderboard"},
}
# what users start with: they name rooms, and no module imports them
FACES = {"archgym.__init__", "archgym.__main__"}


def modules() -> dict[str, ast.Module]:
    """Name -> syntax tree; a package is named by its `__init__`."""
    paths = sorted(ROOT.rglob("*.py"))
    return {
        ".".join(("archgym", *path.relative_to(ROOT).with_suffix("").parts)): ast.parse(path.read_text())
        for path in paths
    }


TREES = modules()


def imported(tree: ast.AST) -> set[str]:
    """Everything that a module imports, at its top, late or for types only, by full names."""
    nodes = list(ast.walk(tree))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in (node for node in nodes if isinstance(node, ast.ImportFrom)):
        found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def needs(name: str) -> set[str]:
    """The modules of the package that a module imports."""
    names = {each if each in TREES else f"{each}.__init__" for each in imported(TREES[name])}
    return (names & TREES.keys()) - {name, "archgym.__init__"}


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 2 else ""


def test_each_room_imports_only_what_is_below_it():
    edges = [(name, need) for name in TREES.keys() - FACES for need in needs(name)]
    wrong = [
        f"{name} imports {need}"
        for name, need in edges
        if room(need) not in MAY_IMPORT[room(name)] | {room(name)}
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_command_line_and_the_progress_display_print_with_rich_and_typer():
    printing = {
        name
        for name, tree in TREES.items()
        if {each.split(".")[0] for each in imported(tree)} & {"rich", "typer", "click"}
    }
    assert {name for name in printing if room(name) != "cli"} == {"archgym.progress"}


def test_no_circle_of_modules():
    TopologicalSorter({name: needs(name) for name in TREES}).prepare()  # raises CycleError with the circle


def test_no_loose_modules():
    assert {path.stem for path in ROOT.glob("*.py")} == KERNEL
    assert len(KERNEL) <= 20


def test_documentation_of_environments_has_its_headings_on_lines_of_their_own():
    headings = [
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
    ]
    for path in sorted((ROOT / "envs").glob("[!_]*.py")):
        lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        missing = [heading for heading in headings if f"## {heading}" not in lines]
        assert not missing, f"{path.name} lacks {missing}"
