"""Pages of the site that are made from the code: one per environment, the agents, and README and others from outside docs/.

MkDocs runs this as a hook. An environment's page is its docstring and its schema as they are; nothing of it is written twice.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {"index.md": "README.md", "benchmarks.md": "benchmarks/README.md", "changelog.md": "CHANGELOG.md", "security.md": "SECURITY.md"}
LINKS = [  # where files lie in the repository -> where they lie on the site
    (r"\]\(docs/", "]("),
    (r"\]\(\.\./docs/", "]("),
    (r"\]\((\.\./)?benchmarks/README\.md", "](benchmarks.md"),
    (r"\]\((\.\./)?README\.md", "](index.md"),
    (r"\]\((\.\./)?CHANGELOG\.md", "](changelog.md"),
    (r"\]\((\.\./)?SECURITY\.md", "](security.md"),
    (r"\[([^\]]*)\]\((?:\.\./)?(?:archgym|benchmarks|results|examples)[^)]*\)", r"`\1`"),  # files that are not on the site
]
EFFICIENCY = ROOT / "benchmarks" / "results" / "sample_efficiency.csv"


def on_files(files: Files, config: Any) -> Files:
    pages = dict(_outside()) | dict(_environments()) | {"agents-reference.md": _agents()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    for pattern, replacement in LINKS:
        markdown = re.sub(pattern, replacement, markdown)
    return markdown


def on_config(config: Any) -> Any:
    """The environments' pages below their own heading of the navigation."""
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Environments") == "environments.md":
            entry["Environments"] = ["environments.md", *({name: f"environments/{_slug(name)}.md"} for name in _names())]
    return config


def _outside() -> Iterator[tuple[str, str]]:
    for page, source in OUTSIDE.items():
        yield page, (ROOT / source).read_text()


def _names() -> list[str]:
    return sorted(point.name for point in entry_points(group="archgym.envs") if point.name.startswith("archgym/"))


def _slug(name: str) -> str:
    return name.removeprefix("archgym/").removesuffix("-v0").lower()


def _environments() -> Iterator[tuple[str, str]]:
    from archgym.markdown import table

    rows = []
    for name in _names():
        text, summary = _environment(name)
        yield f"environments/{_slug(name)}.md", text
        rows.append([f"[{name}](environments/{_slug(name)}.md)", summary])
    yield "environments.md", "# Environments\n\n" + table(["id", "what is searched"], rows) + "\n"


def _environment(name: str) -> tuple[str, str]:
    """The page and its first sentence."""
    from archgym.markdown import table
    from archgym.optimum import known_optimum
    from archgym.registry import get_task, load, requirement

    (module,) = (point.value.partition(":")[0] for point in entry_points(group="archgym.envs") if point.name == name)
    prose = inspect.getdoc(load(module)) or ""
    first, _, rest = prose.partition("\n")
    summary = first.removeprefix(f"{name}: ")
    parts = [f"# {name}", summary[:1].upper() + summary[1:], f'```py\ngymnasium.make("{name}")\n```', rest.strip()]
    missing = requirement(name)
    if missing:
        return "\n\n".join([*parts, f"!!! note\n    Before it can be made: {missing}"]), summary
    task = get_task(name)
    simulator, objective = task.build()
    space = simulator.space
    parameters = [[p.name, type(p).__name__, p.describe(), str(p.default_value)] for p in space]
    metrics = [[m.name, m.unit, m.better or "", "in reports only" if m.report_only else ""] for m in simulator.metrics]
    parts += [
        f"## Schema\nDesigns: {space.size:,}. Objective: `{objective}`",
        table(["parameter", "kind", "values", "default"], parameters),
        table(["metric", "unit", "better", ""], metrics),
    ]
    if task.presets:
        presets = [[f"`{preset}`", f"`{dict(values)}`"] for preset, values in task.presets.items()]
        parts += ["## Presets", table(["preset", "arguments"], presets)]
    optimum = known_optimum(simulator, objective)
    if optimum is not None and optimum.best_design is not None:
        best = [[key, str(value)] for key, value in optimum.best_design.items()]
        goals = [m for m in simulator.metrics if m.name in objective.metrics]
        values = ", ".join(f"{m.name} {optimum.best_metrics[m.name]:.6g} {m.unit}" for m in goals)
        parts += [f"## The optimum of the default task\n{values}; reward {optimum.best_reward:.6g}.", table(["parameter", "value"], best)]
    simulator.close()
    return "\n\n".join(parts) + "\n", summary


def _agents() -> str:
    from archgym.markdown import table
    from archgym.registry import get_agent, list_agents

    reached = _efficiency()
    parts = [
        "# Agents: hyperparameters and sources",
        "Measured sample efficiency is the median over 30 seeds of samples until within 1 % of the optimum, default hyperparameters "
        "([agents](agents.md)).",
    ]
    for name in list_agents():
        agent = get_agent(name)
        if not agent.__module__.startswith("archgym."):
            continue
        source = inspect.getdoc(inspect.getmodule(agent)) or ""
        parts += [f"## {name}", source.replace("\n    ", "\n\n    ", 1), _arguments(inspect.getdoc(agent) or "")]
        rows = [[p.name, type(p).__name__, p.describe(), str(p.default_value)] for p in agent.hyperparameters]
        if rows:
            parts.append(table(["hyperparameter", "kind", "values", "default"], rows))
        if name in reached:
            parts.append("Samples to 1 %: " + ", ".join(f"{task} {samples}" for task, samples in reached[name].items()) + ".")
    return "\n\n".join(filter(None, parts)) + "\n"


def _arguments(docstring: str) -> str:
    """The class's own words, its Args as a list."""
    prose, _, arguments = docstring.partition("Args:\n")
    items = re.sub(r"^    (\w[\w, ]*):", r"- **\1**:", inspect.cleandoc("    " + arguments) if arguments else "", flags=re.MULTILINE)
    items = re.sub(r"^(\w[\w, ]*): ", r"- **\1**: ", items, flags=re.MULTILINE)
    return prose.strip() + ("\n\n" + items if items else "")


def _efficiency() -> dict[str, dict[str, str]]:
    """Agent -> task -> median samples in words."""
    found: dict[str, dict[str, list[float]]] = {}
    with open(EFFICIENCY, newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["agent"], {}).setdefault(row["task"], []).append(float(row["samples"] or "inf"))
    return {
        agent: {task: f"{median(samples):,.0f}" if median(samples) < float("inf") else "not reached" for task, samples in tasks.items()}
        for agent, tasks in found.items()
    }
