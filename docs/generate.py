"""Generated pages of the site: one per environment and per agent, README and others from outside docs/.

MkDocs runs this as a hook. An environment's page is its docstring and its schema.
"""

from __future__ import annotations

import csv
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "index.md": "README.md",
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
}
LINKS = [  # path in the repository -> path on the site
    (r"\]\(docs/", "]("),
    (r"\]\(\.\./docs/", "]("),
    (r"\]\((\.\./)?benchmarks/README\.md", "](benchmarks.md"),
    (r"\]\((\.\./)?README\.md", "](index.md"),
    (r"\]\((\.\./)?CHANGELOG\.md", "](changelog.md"),
    (r"\]\((\.\./)?SECURITY\.md", "](security.md"),
    # files that are not on the site
    (r"\[([^\]]*)\]\((?:\.\./)?(?:archgym|benchmarks|results|examples)[^)]*\)", r"`\1`"),
]
FIDELITY = {  # environment -> page and section about the fidelity of its figures
    "archgym/Softmax-v0": ("softmax.md", "Fidelity"),
    "archgym/SoftmaxLibrary-v0": ("softmax.md", "Fidelity"),
    "archgym/Accelerator-v0": ("accelerator.md", "How far to trust it"),
    "archgym/HeterogeneousAccelerator-v0": ("accelerator.md", "How far to trust it"),
    "archgym/AttentionAccelerator-v0": ("attention.md", "What was checked"),
    "archgym/CoDesign-v0": ("accelerator.md", "How far to trust it"),
    "archgym/NasCell-v0": ("nas.md", "The table that ships"),
    "archgym/VisionTransformer-v0": ("vision-transformer.md", "What is exact, and what is absent"),
    "archgym/PlainCnn-v0": ("cnn.md", "The table that ships"),
    "archgym/SoC-v0": ("soc.md", "What was checked"),
    "archgym/Parallelism-v0": ("parallelism.md", "What is validated, and what is not"),
    "archgym/LogicSynthesis-v0": ("synthesis.md", "What was checked"),
    "archgym/QuantumCircuit-v0": ("quantum.md", "What was checked"),
}
EXACT = {  # environments without a model error
    "archgym/NKLandscape-v0": "Nothing is approximated: the landscape is its own definition.",
    "archgym/DramController-v0": "Every distinct design was run by DRAMSys 4.0 on cloud-1; a query is a "
    "look-up of its output, to the last digit. The model of other traces gives these times and "
    "energies exactly ([DRAM](../dram.md)).",
    "archgym/NasMacro-v0": "A query is a look-up in the imported table ([networks and cells](../nas.md)).",
}
EFFICIENCY = ROOT / "benchmarks" / "results" / "sample_efficiency.csv"


def on_files(files: Files, config: Any) -> Files:
    pages = dict(_outside()) | dict(_environments()) | dict(_agents())
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    for pattern, replacement in LINKS:
        markdown = re.sub(pattern, replacement, markdown)
    return markdown


def on_config(config: Any) -> Any:
    """The pages of environments and agents below their own headings of the navigation."""
    for entry in config.nav:
        if isinstance(entry, dict) and entry.get("Environments") == "environments.md":
            entry["Environments"] = [
                "environments.md",
                *({name: f"environments/{_slug(name)}.md"} for name in _names()),
            ]
        if isinstance(entry, dict) and entry.get("Agents") == "agents.md":
            entry["Agents"] = ["agents.md", *({name: f"agents/{name}.md"} for name in _agent_names())]
    return config


def _outside() -> Iterator[tuple[str, str]]:
    for page, source in OUTSIDE.items():
        yield page, (ROOT / source).read_text()


def _names() -> list[str]:
    return sorted(
        point.name for point in entry_points(group="archgym.envs") if point.name.startswith("archgym/")
    )


def _slug(name: str) -> str:
    return name.removeprefix("archgym/").removesuffix("-v0").lower()


def _environments() -> Iterator[tuple[str, str]]:
    from archgym.words import markdown_table

    rows = []
    for name in _names():
        text, summary = _environment(name)
        yield f"environments/{_slug(name)}.md", text
        rows.append([f"[{name}](environments/{_slug(name)}.md)", summary])
    yield "environments.md", "# Environments\n\n" + markdown_table(["id", "search space"], rows) + "\n"


def _environment(name: str) -> tuple[str, str]:
    """The page and its first sentence."""
    from archgym.optimum import known_optimum
    from archgym.registry import get_task, load, requirement
    from archgym.words import markdown_table

    (module,) = (
        point.value.partition(":")[0] for point in entry_points(group="archgym.envs") if point.name == name
    )
    prose = inspect.getdoc(load(module)) or ""
    first, _, rest = prose.partition("\n")
    summary = first.removeprefix(f"{name}: ")
    parts = [
        f"# {name}",
        summary[:1].upper() + summary[1:],
        f'```py\ngymnasium.make("{name}")\n```',
        rest.strip(),
    ]
    missing = requirement(name)
    if missing:
        return "\n\n".join([*parts, f"!!! note\n    Before it can be made: {missing}"]), summary
    task = get_task(name)
    simulator, objective = task.build()
    space = simulator.space
    parameters = [[p.name, type(p).__name__, p.describe(), str(p.default_value)] for p in space]
    metrics = [
        [m.name, m.unit, m.better or "", "in reports only" if m.report_only else ""]
        for m in simulator.metrics
    ]
    parts += [
        f"## Schema\nDesigns: {space.size:,}. Objective: `{objective}`",
        markdown_table(["parameter", "kind", "values", "default"], parameters),
        markdown_table(["metric", "unit", "better", ""], metrics),
    ]
    if task.presets:
        presets = [[f"`{preset}`", f"`{dict(values)}`"] for preset, values in task.presets.items()]
        parts += ["## Presets", markdown_table(["preset", "arguments"], presets)]
    optimum = known_optimum(simulator, objective)
    if optimum is not None and optimum.best_design is not None:
        best = [[key, str(value)] for key, value in optimum.best_design.items()]
        goals = [m for m in simulator.metrics if m.name in objective.metrics]
        values = ", ".join(f"{m.name} {optimum.best_metrics[m.name]:.6g} {m.unit}" for m in goals)
        parts += [
            f"## The optimum of the default task\n{values}; reward {optimum.best_reward:.6g}.",
            markdown_table(["parameter", "value"], best),
        ]
    simulator.close()
    if name in FIDELITY:
        page, section = FIDELITY[name]
        parts.append(
            f"## Fidelity\nFrom [{page.removesuffix('.md')}](../{page}):\n\n{_section(page, section)}"
        )
    elif name in EXACT:
        parts.append(f"## Fidelity\n{EXACT[name]}")
    return "\n\n".join(parts) + "\n", summary


def _section(page: str, title: str) -> str:
    """The text below a heading, with its links and figures relative to a subfolder."""
    text = (ROOT / "docs" / page).read_text()
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\((?!https?:|#)", "](../", section.strip())


def _agent_names() -> list[str]:
    return [
        point.name for point in entry_points(group="archgym.agents") if point.value.startswith("archgym.")
    ]


def _agents() -> Iterator[tuple[str, str]]:
    """A page for each agent: equations, suitable tasks, hyperparameters, measured sample efficiency."""
    from archgym.registry import get_agent
    from archgym.words import markdown_table

    tasks = _efficiency()
    for name in _agent_names():
        agent = get_agent(name)
        about, _, good = (inspect.getdoc(inspect.getmodule(agent)) or "").partition("Good for: ")
        parts = [f"# {name}", about.strip(), f"**Good for:** {good}", _arguments(inspect.getdoc(agent) or "")]
        rows = [[p.name, type(p).__name__, p.describe(), str(p.default_value)] for p in agent.hyperparameters]
        if rows:
            parts += [
                "## Hyperparameters",
                markdown_table(["hyperparameter", "kind", "values", "default"], rows),
            ]
        measured = [
            [task, found[name], found["random"], f"{list(found).index(name) + 1} of {len(found)}"]
            for task, found in tasks.items()
            if name in found
        ]
        if measured:
            words = (
                "Samples until within 1 % of the optimum, median of 30 seeds, default hyperparameters ([all "
                "agents](../agents.md))."
            )
            parts += [
                "## Sample efficiency",
                words,
                markdown_table(["task", "samples", "random search", "rank"], measured),
            ]
        yield f"agents/{name}.md", "\n\n".join(filter(None, parts)) + "\n"


def _arguments(docstring: str) -> str:
    """The prose of a class's docstring, with Args and Raises as lists."""
    prose, *sections = re.split(r"^(Args|Raises):\n", docstring, flags=re.MULTILINE)
    parts = [prose.strip()]
    for heading, items in zip(sections[::2], sections[1::2], strict=True):
        parts += ["Raises:"] if heading == "Raises" else []
        parts.append(
            re.sub(r"^(\w[\w, ]*): ", r"- **\1**: ", textwrap.dedent(items).strip(), flags=re.MULTILINE)
        )
    return "\n\n".join(parts)


def _efficiency() -> dict[str, dict[str, str]]:
    """Task -> agent -> median samples as text, the best agent first."""
    found: dict[str, dict[str, list[float]]] = {}
    with open(EFFICIENCY, newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["task"], {}).setdefault(row["agent"], []).append(
                float(row["samples"] or "inf")
            )
    return {
        task: {
            agent: f"{median(samples):,.0f}" if median(samples) < float("inf") else "not reached"
            for agent, samples in sorted(agents.items(), key=lambda item: median(item[1]))
        }
        for task, agents in found.items()
    }
