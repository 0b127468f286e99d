"""`archgym list`, `archgym describe`: environments and agents, from their docstrings and their own values."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from archgym.cli.options import Settings, building, pairs
from archgym.cli.screen import fact_sheet, heading, new_table, stdout
from archgym.cli.tables import Table
from archgym.cli.words import count, objective_in_words, quantity
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError, MissingDependency, reason_of, unknown
from archgym.objective import Objective
from archgym.optimum import known_optimum
from archgym.registry import Task, get_agent, get_task, list_agents, list_envs, requirement
from archgym.simulator import Metric, Simulator
from archgym.space import DesignSpace, Parameter
from archgym.text.documentation import documentation_of, meanings_in, summary_of
from archgym.words import assignments, number, plain


class What(StrEnum):
    """What `archgym list` lists."""

    envs = "envs"
    agents = "agents"


def list_(
    what: Annotated[What | None, typer.Argument(help="Kind to list.", show_default="both")] = None,
) -> None:
    """List environments and agents, installed plug-ins included.

    archgym list agents
    """
    out = stdout()
    if what in (None, What.envs):
        table = new_table("Environment", "Designs>", "Description")
        for name in list_envs():
            cells, style = _or_reason(partial(_listed_env, name), ("", "?"))
            table.add_row(name, *cells, style=style)
        out.print(table)
    if what is None:
        out.print()
    if what in (None, What.agents):
        table = new_table("Agent", "Description", "Hyperparameters")
        for name in list_agents():
            cells, style = _or_reason(partial(_listed_agent, name), ("?", ""))
            table.add_row(name, *cells, style=style)
        out.print(table)


def _or_reason(cells: Callable[[], Sequence[str]], nothing: Sequence[str]) -> tuple[Sequence[str], str]:
    """The cells of a list's row and their style; a plug-in that cannot be loaded is dimmed, with the
    reason for its description ("?").
    """
    try:
        return cells(), ""
    except Exception as error:  # a plug-in may raise anything
        reason = (
            str(error) if isinstance(error, MissingDependency) else f"cannot be loaded: {reason_of(error)}"
        )
        return [reason if cell == "?" else cell for cell in nothing], "dim"


def _listed_env(name: str) -> tuple[str, str]:
    task = get_task(name)
    simulator, _ = task.build()
    try:
        return count(simulator.space.size), summary_of(documentation_of(task), name)
    finally:
        simulator.close()


def _listed_agent(name: str) -> tuple[str, str]:
    cls = get_agent(name)
    return summary_of(inspect.getdoc(cls) or ""), ", ".join(cls.hyperparameters.names)


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Environment id or agent.")],
    set_: Settings = None,
) -> None:
    """Describe an environment or an agent: its parameters, metrics, arguments, presets, known optimum.

    archgym describe archgym/Softmax-v0
    """
    settings = pairs("--set", set_)
    if name in list_agents():
        if settings:
            raise ArchGymError(f"--set is for environments; {name!r} is an agent")
        _describe_agent(name)
    elif ":" in name or name in list_envs() or requirement(name):
        _describe_env(name, settings)
    else:
        raise unknown("environment or agent", name, [*list_envs(), *list_agents()])


def _describe_agent(name: str) -> None:
    cls = get_agent(name)
    out, documentation = stdout(), inspect.getdoc(cls) or ""
    prose = inspect.getdoc(sys.modules[cls.__module__]) or documentation.partition("\nArgs:")[0]
    heading(out, name, f"agent, version {cls.version}, {cls.__module__}:{cls.__qualname__}")
    out.print(_reflow(prose))
    out.print()
    if len(cls.hyperparameters):
        meanings = meanings_in(documentation)
        out.print(_parameters_table(cls.hyperparameters, meanings, "Hyperparameter", declared=True))
    else:
        out.print("No hyperparameters.")


def _describe_env(name: str, settings: Mapping[str, Any]) -> None:
    task = get_task(name)
    documentation = documentation_of(task)
    meanings = meanings_in(documentation)
    with building(task, settings):
        simulator, objective = task.build(**{k: v for k, v in settings.items() if k != "horizon"})
    out = stdout()
    distinct = "distinct " if simulator.space.conditional else ""
    heading(out, task.id, f"{count(simulator.space.size)} {distinct}designs")
    out.print(summary_of(documentation, task.id))
    description = re.search(r"^## Description\n(.*?)(?=^## |\Z)", documentation, re.MULTILINE | re.DOTALL)
    if description:
        out.print("\n" + _reflow(description[1].strip()))
    out.print()
    for table in (
        _parameters_table(simulator.space, meanings),
        _metrics_table(simulator.metrics),
        _arguments_table(task, meanings),
        *([_presets_table(task)] if task.presets else []),
        *([_contexts_table(task)] if task.contexts else []),
    ):
        out.print(table)
        out.print()
    goal, best = (
        objective_in_words(objective, simulator.metrics),
        _optimum_in_words(simulator, objective, name),
    )
    out.print(fact_sheet([("Objective", goal), ("Optimum", best)]))
    simulator.close()


def _parameters_table(
    space: DesignSpace, meanings: Mapping[str, str], title: str = "Parameter", *, declared: bool | None = None
) -> Table:
    """A row for each parameter; their defaults have a column if they are declared (default: if any is)."""
    declared = any(p.default is not None for p in space) if declared is None else declared
    opened = ["With"] if space.conditional else []
    values = "Values" if declared else "Values (default first)"
    default = ["Default"] if declared else []
    table = new_table(title, *opened, "Kind", values, *default, "Meaning", expendable=["Kind"])
    for name, conditions, p in _tree(space):
        table.add_row(
            name,
            *([conditions] if opened else []),
            type(p).__name__,
            p.describe(),
            *([plain(p.default_value)] if default else []),
            meanings.get(p.name, ""),
        )
    return table


def _tree(space: DesignSpace) -> Iterator[tuple[str, str, Parameter]]:
    """Parameters in the order of the space, conditional ones below the last of their parents: name with a
    branch, the values that open it, parameter.
    """
    children: dict[str, list[Parameter]] = {}
    for p in space:
        children.setdefault(max(p.when, key=space.names.index, default=""), []).append(p)

    def below(parent: str, branch: str) -> Iterator[tuple[str, str, Parameter]]:
        for p in children.get(parent, ()):
            yield f"{branch} {p.name}".lstrip(), _conditions(space, p, parent), p
            yield from below(p.name, f"{branch}──" if branch else "└─")

    return below("", "")


def _conditions(space: DesignSpace, parameter: Parameter, parent: str) -> str:
    """ "depth 2 to 6, kernel 3 or 5": the values that open a parameter, without those of its parent."""
    texts = []
    for name, values in parameter.when.items():
        if parent and space[parent].when.get(name) == values:
            continue
        places = sorted(space[name].index(list(values)).tolist())
        shown = [plain(space[name].value(place)) for place in places]
        run = space[name].ordered and len(shown) > 2 and places[-1] - places[0] == len(places) - 1
        texts.append(f"{name} {f'{shown[0]} to {shown[-1]}' if run else ' or '.join(shown)}")
    return ", ".join(texts)


def _metrics_table(metrics: Sequence[Metric]) -> Table:
    table = new_table("Metric", "Unit", "Better", "Note")
    for m in metrics:
        table.add_row(
            m.name, "" if m.unit == "1" else m.unit, m.better or "-", "only reported" if m.report_only else ""
        )
    return table


def _arguments_table(task: Task, meanings: Mapping[str, str]) -> Table:
    table = new_table("Argument", "Default", "Meaning")
    table.add_row(
        "objective",
        "as below",
        'another objective: {"minimize": ["metric"], "reference": {"metric": 1.0}, "at_most": {...}}',
    )
    table.add_row("horizon", "1", "designs per episode")
    table.add_row("table", "None", "file of Tabulated.save in which results are looked up")
    table.add_row("contexts", "None", "tasks that episodes are drawn from: a set below, ranges, or a file")
    for argument, default in task.arguments().items():
        table.add_row(
            argument,
            "required" if default is inspect.Parameter.empty else plain(default),
            meanings.get(argument, ""),
        )
    if task.presets:
        table.add_row("preset", "None", "named set of arguments, listed below")
    return table


def _presets_table(task: Task) -> Table:
    table = new_table("Preset", "Arguments")
    for preset, arguments in task.presets.items():
        table.add_row(preset, assignments(arguments))
    return table


def _contexts_table(task: Task) -> Table:
    table = new_table("Contexts", "Number>", "The first")
    for name in task.contexts:
        found = Contexts.of(name, task)
        table.add_row(name, f"{len(found):,}", found.names[0])
    return table


def _optimum_in_words(simulator: Simulator, objective: Objective, name: str) -> str:
    optimum = known_optimum(simulator, objective)
    if optimum is None and not simulator.deterministic:
        return "not known: designs are measured"
    bound = None if optimum is not None else simulator.bound(objective)
    if bound is not None:
        return f"not known; no design exceeds the reward {number(bound)}, a bound"
    if optimum is None:
        return f"not known; archgym optimum {name} finds it by enumeration"
    if optimum.best_metrics is None or optimum.best_reward is None:
        return "no design is valid"
    values = ", ".join(
        f"{m.name} {quantity(optimum.best_metrics[m.name], m)}"
        for m in simulator.metrics
        if m.name in objective.metrics
    )
    return f"known: {values}; reward {number(optimum.best_reward)}"


def _reflow(prose: str) -> str:
    """Paragraphs as one line each, for the terminal to wrap; indented lines (equations) and lists stay as
    they are.
    """
    return re.sub(r"(?<=\S)\n(?=[^\s|\-*#>])", " ", prose)
