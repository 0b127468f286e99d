"""The `archgym` program: list and describe what there is, search a design space, find an exact optimum.

Results go to stdout, progress, warnings and errors to stderr. Exit codes: 0 done; 2 bad input (one line says what and what to do);
1 something went wrong; 130 interrupted by Ctrl-C. A search that ends in either way prints and writes what was found so far.

Sub-commands of rooms and plug-ins come from the registry as "module:name" and are imported when they are invoked, or when help needs
their text. A function becomes a command, a `typer.Typer` application a group of commands; a dotted name, such as "fidelity.softmax", is a
command of a group that any room or plug-in adds to.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import gymnasium
import numpy as np
import typer
from typer.core import TyperGroup

from archgym._search import Incumbent, Search, SearchResult
from archgym.cli.screen import BAD_INPUT, FAILED, INTERRUPTED, fact_sheet, heading, new_table, say, stderr, stdout
from archgym.cli.tables import Beside, Table
from archgym.errors import ArchGymError, MissingDependency, reason_of, unknown
from archgym.files.paths import check_folder, check_writable, is_full
from archgym.objective import CAPPED, AtMost, Maximize, Minimize, Objective, Target
from archgym.optimum import Optimum, find_optimum, known_optimum, optimum_path, save_optimum, to_enumerate
from archgym.processes.interrupts import guard_command, guard_end, guard_start, interrupted, leave
from archgym.progress import progress_line
from archgym.registry import Task, get_agent, get_task, list_agents, list_commands, list_envs, load, requirement
from archgym.simulator import Metric, Simulator
from archgym.text import is_printable, number, printable
from archgym.version import __version__

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from archgym.agent import Agent

_REFRESH_PER_SECOND = 8
_REASONS = 3  # distinct failures that a result shows
_GROUPS = {  # help of the groups that rooms share
    "backends": "Real simulators, installed in environments of their own.",
    "data": "Accuracy tables of trained networks: those that are installed, and those that users bring.",
    "fidelity": "How far a cost model can be trusted: its predictions against measurements, or against other simulators.",
}
_NOT_ARGUMENTS = ("autoreset_mode", "num_envs", "render_mode", "spec", "task", "vector_kwargs", "vectorization_mode", "wrappers")


class _Group(TyperGroup):
    """A group of its own commands, then the registry's under its name."""

    prefix = ""  # of its commands' names in the registry: "fidelity."

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*self.commands, *_registered(self.prefix)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.commands or cmd_name not in _registered(self.prefix):
            return super().get_command(ctx, cmd_name)
        return _plugin(self.prefix + cmd_name)


class _Commands(_Group):
    """The program; errors become one line and an exit code: 2 for what the user can put right, 1 for what went wrong."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        from archgym.progress import forget_unusable_size

        forget_unusable_size()  # Typer prints help and wrong command lines itself
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _printable_usage():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        guard_command()
        with _printable_usage():
            return super().invoke(ctx) if ctx.params.get("debug") else self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _Unfinished as error:
            say("error", f"{error}; archgym --debug, before the command, shows where", "red")
            raise typer.Exit(FAILED) from None
        except (ArchGymError, gymnasium.error.Error) as error:
            say("error", str(error), "red")
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            say("interrupted", "", "yellow")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (Exception, SystemExit, GeneratorExit) as error:  # a plug-in that exits does not choose the exit code
            if hasattr(error, "exit_code"):  # a wrong command line, which Typer explains
                raise
            if interrupted():
                say("interrupted", "", "yellow")
                raise typer.Exit(INTERRUPTED) from None
            if is_full(error):
                say("error", "the disk is full: free some space and run the same command again", "red")
                raise typer.Exit(BAD_INPUT) from None
            if isinstance(error, PermissionError) and error.filename:
                say("error", f"cannot use {error.filename}: {error.strerror}; change its permissions, or give another", "red")
                raise typer.Exit(BAD_INPUT) from None
            say("error", f"{reason_of(error)}; archgym --debug, before the command, shows where", "red")
            raise typer.Exit(FAILED) from None


@contextmanager
def _printable_usage() -> Iterator[None]:
    """What Typer says of a wrong command line quotes the words of that line."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "message"):
            error.message = printable(str(error.message))
        raise


app = typer.Typer(
    cls=_Commands,
    name="archgym",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _registered(prefix: str) -> list[str]:
    """The registry's commands and groups directly under a prefix, sorted; a name that cannot be shown is none."""
    names = {name.removeprefix(prefix).partition(".")[0] for name in list_commands() if name.startswith(prefix)}
    return sorted(filter(is_printable, names))


def _plugin(name: str) -> Any:
    """The registry's command or group of this name, dotted if it lies in a group."""
    reference, members = list_commands().get(name), _registered(f"{name}.")
    found = None if reference is None else _loaded(name, reference)
    if not members:
        return found
    if isinstance(found, TyperGroup):  # an application of its own, to which others add
        for member in members:
            found.commands.setdefault(member, _plugin(f"{name}.{member}"))
        return found
    shared = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False)
    shared.callback(help=_GROUPS.get(name, f"Commands: {', '.join(members)}."))(lambda: None)
    group: Any = typer.main.get_group(shared)
    group.name, group.prefix = name.rpartition(".")[2], f"{name}."
    return group


def _loaded(name: str, reference: str) -> Any:
    """The command behind "module:name"; one that cannot be loaded says so in the help, and when it is invoked."""
    last, holder = name.rpartition(".")[2], typer.Typer(add_completion=False)
    try:
        found = load(reference)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=last)
        elif callable(found):
            holder.command(last)(found)
        else:
            raise ArchGymError(f"{reference} is {found!r}, neither a function nor a typer.Typer")
        return typer.main.get_group(holder).commands[last]
    except Exception as error:  # a plug-in's module may raise anything
        reason = f"the command {name.replace('.', ' ')!r} cannot be loaded: {reason_of(error)}"

    def broken(ctx: typer.Context) -> None:
        raise ArchGymError(reason)

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    stub = typer.Typer(add_completion=False)
    stub.command(last, help=reason, context_settings=anything)(broken)
    return typer.main.get_group(stub).commands[last]


class What(StrEnum):
    """What `archgym list` lists."""

    envs = "envs"
    agents = "agents"


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the environment (repeatable), such as preset=l2."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """A Gymnasium for architecture search: one step API, exact optima, honest agent comparisons."""


@app.command("list")
def list_(what: Annotated[What | None, typer.Argument(help="Default: both.")] = None) -> None:
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
    """The cells of a list's row and their style; a plug-in that cannot be loaded is dimmed, with the reason for its description ("?")."""
    try:
        return cells(), ""
    except Exception as error:  # a plug-in may raise anything
        reason = str(error) if isinstance(error, MissingDependency) else f"cannot be loaded: {reason_of(error)}"
        return [reason if cell == "?" else cell for cell in nothing], "dim"


def _listed_env(name: str) -> tuple[str, str]:
    task = get_task(name)
    simulator, _ = task.build()
    try:
        return _size(simulator.space.size), _summary(_documentation(task), name)
    finally:
        simulator.close()


def _listed_agent(name: str) -> tuple[str, str]:
    cls = get_agent(name)
    return _summary(inspect.getdoc(cls) or ""), ", ".join(cls.hyperparameters.names)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An environment or an agent.")],
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
        meanings = _meanings(documentation)
        table = new_table("Hyperparameter", "Kind", "Values", "Default", "Meaning", expendable=["Kind"])
        for p in cls.hyperparameters:
            table.add_row(p.name, type(p).__name__, p.describe(), _value(p.default_value), meanings.get(p.name, ""))
        out.print(table)
    else:
        out.print("No hyperparameters.")


def _describe_env(name: str, settings: Mapping[str, Any]) -> None:
    task = get_task(name)
    documentation = _documentation(task)
    meanings = _meanings(documentation)
    with building(task, settings):
        simulator, objective = task.build(**{k: v for k, v in settings.items() if k != "horizon"})
    out = stdout()
    heading(out, task.id, f"{_size(simulator.space.size)} designs")
    out.print(_summary(documentation, task.id))
    description = re.search(r"^## Description\n(.*?)(?=^## |\Z)", documentation, re.MULTILINE | re.DOTALL)
    if description:
        out.print("\n" + _reflow(description[1].strip()))
    declared = any(p.default is not None for p in simulator.space)
    values = "Values" if declared else "Values (default first)"
    table = new_table("Parameter", "Kind", values, "Default", "Meaning", expendable=["Kind"])
    for p in simulator.space:
        table.add_row(p.name, type(p).__name__, p.describe(), _value(p.default_value) if declared else "", meanings.get(p.name, ""))
    out.print()
    out.print(table)
    out.print()
    table = new_table("Metric", "Unit", "Better", "Note")
    for m in simulator.metrics:
        table.add_row(m.name, "" if m.unit == "1" else m.unit, m.better or "-", "only reported" if m.report_only else "")
    out.print(table)
    out.print()
    table = new_table("Argument", "Default", "Meaning")
    table.add_row("objective", "as below", 'another one: {"minimize": ["metric"], "reference": {"metric": 1.0}, "at_most": {...}}')
    table.add_row("horizon", "1", "designs per episode")
    for argument, default in task.arguments().items():
        table.add_row(argument, "required" if default is inspect.Parameter.empty else _value(default), meanings.get(argument, ""))
    if task.presets:
        table.add_row("preset", "None", "a named set of arguments, as below")
    out.print(table)
    out.print()
    if task.presets:
        table = new_table("Preset", "Arguments")
        for preset, arguments in task.presets.items():
            table.add_row(preset, _assignments(arguments))
        out.print(table)
        out.print()
    out.print(
        fact_sheet([("Objective", _in_words(objective, simulator.metrics)), ("Optimum", _optimum_in_words(simulator, objective, name))])
    )
    simulator.close()


def _optimum_in_words(simulator: Simulator, objective: Objective, name: str) -> str:
    optimum = known_optimum(simulator, objective)
    if optimum is None and not simulator.deterministic:
        return "not known: designs are measured"
    if optimum is None:
        return f"not known; archgym optimum {name} finds it by enumeration"
    if optimum.best_metrics is None or optimum.best_reward is None:
        return "no design is valid"
    values = ", ".join(f"{m.name} {_quantity(optimum.best_metrics[m.name], m)}" for m in simulator.metrics if m.name in objective.metrics)
    return f"known: {values}; reward {number(optimum.best_reward)}"


@app.command()
def search(
    env: Annotated[str, typer.Argument(metavar="ENV", help="An environment, such as archgym/Softmax-v0.")],
    agents: Annotated[list[str], typer.Argument(metavar="AGENT...", help="An agent, such as genetic; several are compared.")],
    budget: Annotated[int, typer.Option(help="Samples, counted at the simulator; spent exactly.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 0,
    set_: Settings = None,
    hp: Annotated[
        list[str] | None,
        typer.Option("--hp", metavar="NAME=VALUE", help="A hyperparameter of the agent (repeatable), such as population=128."),
    ] = None,
    num_envs: Annotated[int | None, typer.Option(help="Designs per step.", show_default="what the agent prefers")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember every design, so that an interrupted search replays at no cost.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Write the history of all samples, with the specification.")
    ] = None,
    proxy: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Spend the budget on this proxy, and simulate only the best designs.")
    ] = None,
    verify_top: Annotated[int, typer.Option(min=1, help="With --proxy: how many designs are simulated.")] = 20,
    front: Annotated[
        str | None, typer.Option(metavar="A,B[,C]", help="Metrics to trade off: nsga2 searches for their front, others are told its size.")
    ] = None,
) -> None:
    """Search a design space; prints the best design, its metrics and, where the optimum is known, the regret.

    archgym search archgym/Softmax-v0 genetic --budget 1000 --set cols=4096
    """
    settings, hyperparameters = pairs("--set", set_), pairs("--hp", hp)
    if len(agents) > 1:
        if hyperparameters or any(option is not None for option in (out, cache, proxy, front)):
            raise ArchGymError("--hp, --cache, --proxy, --front and --out go with one agent, not with several")
        _compare(env, agents, budget, seed, settings, num_envs)
        return
    agent: str | Agent = agents[0]
    facts: list[tuple[str, str]] = []
    if proxy is not None:
        from archgym.proxy import ProxySearch

        agent = searcher = ProxySearch(proxy, agents[0], budget, hyperparameters)
        spent = searcher.training + verify_top
        facts = [
            ("Proxy", f"{budget:,} predictions; {spent:,} designs simulated in all, {searcher.training:,} of them to train and test it")
        ]
        budget, hyperparameters = verify_top, {}
    if out is not None:
        if out.suffix != ".parquet":
            raise ArchGymError(f"--out takes the name of a .parquet file, not {str(out)!r}")
        out = check_writable(out)
    with building(get_task(env), settings):
        run = Search(
            env,
            agent,
            budget=budget,
            seed=seed,
            env_kwargs=settings,
            agent_kwargs=hyperparameters,
            num_envs=num_envs,
            cache=cache,
            front=None if front is None else [name.strip() for name in front.split(",")],
        )
    ended: BaseException | None = None
    start = perf_counter()
    try:
        with _searching(run):
            result = run.run()
    except BaseException as error:  # sys.exit, too
        if not run.ledger.samples:
            raise
        ended, result = error, run.result()
    seconds = perf_counter() - start
    if out is not None:
        try:
            result.to_parquet(out)
        except Exception as error:  # a full disk; what was found is printed
            ended, out = ended or error, None
    console = stdout()
    chosen = ", ".join(filter(None, [_assignments(settings), _assignments(hyperparameters), f"seed {seed}"]))
    heading(console, f"{env}  {agents[0]}{'' if proxy is None else f' on {proxy}'}", chosen)
    if ended is not None:
        console.print(f"{_how_it_ended(ended)} after {result.samples:,} of {budget:,} samples", style="yellow")
    _print_result(console, result, run.env.simulator, run.env.objective, seconds, out, facts)
    if ended is not None:
        _end({agents[0]: ended})


class _Unfinished(ArchGymError):
    """A search ended before its budget was spent; what it found is printed."""


def _how_it_ended(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "ended by an error"


def _end(ended: Mapping[str, BaseException]) -> NoReturn:
    """End a command some of whose agents could not finish, once what they found has been printed."""
    for error in ended.values():
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED)
    raise _Unfinished("; ".join(f"{name}: {reason_of(error)}" for name, error in ended.items())) from next(iter(ended.values()))


def _compare(env: str, agents: Sequence[str], budget: int, seed: int, settings: dict[str, Any], num_envs: int | None) -> None:
    """Several agents on one task, one after the other, and a table of what each found."""
    with building(get_task(env), settings):
        runs = [Search(env, name, budget=budget, seed=seed, env_kwargs=settings, num_envs=num_envs) for name in agents]
    simulator, objective = runs[0].env.simulator, runs[0].env.objective
    goals = [m for m in simulator.metrics if m.name in {term.metric for term in objective.terms}]
    units = [f"{m.name} ({m.unit})" if m.unit != "1" else m.name for m in goals]
    against = ["Regret>", "Percentile>"] if simulator.deterministic else ["Measured again>"]
    table = new_table("Agent", *(f"{name}>" for name in units), "Reward>", *against, "Seconds>")
    results: list[SearchResult] = []
    ended: dict[str, BaseException] = {}
    for name, run in zip(agents, runs, strict=True):
        start = perf_counter()
        try:
            with _searching(run):
                result = run.run()
        except BaseException as error:  # sys.exit, too
            ended[name], result = error, run.result()
        best = result.best_metrics
        cells = [number(best[m.name]) if best else "none valid" for m in goals]
        again = result.incumbents[0].remeasured_reward if result.incumbents else None
        figures = [result.best_reward, *([result.regret, result.percentile] if simulator.deterministic else [again])]
        shown = ["-" if x is None else number(x) for x in figures]
        table.add_row(name, *cells, *shown, f"{perf_counter() - start:.2f}")
        results.append(result)
        if isinstance(ended.get(name), KeyboardInterrupt):
            break
    console = stdout()
    heading(console, env, ", ".join(filter(None, [_assignments(settings), f"budget {budget:,}", f"seed {seed}"])))
    console.print(table)
    winner = max(results, key=lambda result: -np.inf if result.best_reward is None else result.best_reward)
    if winner.best_design is not None and winner.best_metrics is not None:
        console.print()
        _print_design(console, winner.best_design, winner.best_metrics, simulator.metrics)
    for name, end in ended.items():
        console.print(f"{_how_it_ended(end)}: the row of {name} is of an unfinished search", style="yellow")
    if ended:
        _end(ended)


def _print_result(
    console: Console,
    result: SearchResult,
    simulator: Simulator,
    objective: Objective,
    seconds: float,
    out: Path | None,
    more_facts: Sequence[tuple[str, str]],
) -> None:
    if result.best_design is None or result.best_metrics is None or result.best_reward is None:
        infeasible = int((~result.history["feasible"]).sum())
        console.print(f"no valid design found; {infeasible:,} of {result.samples:,} were infeasible", style="yellow")
    else:
        _print_design(console, result.best_design, result.best_metrics, simulator.metrics)
    facts = [] if result.best_reward is None else [("Reward", number(result.best_reward))]
    speed = f"{seconds:.3g} s, {result.samples / max(seconds, 1e-9):,.0f} per second"
    cached = f", {result.cache_hits:,} from the cache" if result.cache_hits else ""
    facts.append(("Samples", f"{result.samples:,} ({result.unique:,} distinct{cached}); {speed}"))
    facts += [*more_facts, *_comparison(result, simulator, objective)]
    if result.front is not None:
        names = ", ".join(metric.name for metric in result.front.metrics)
        file = f"archgym pareto {out} --metrics {names.replace(' ', '')}" if out is not None else "archgym pareto, of a file of --out,"
        facts.append(("Front", f"{len(result.front.rows):,} designs trade off {names}; {file} shows them"))
    if result.failures:
        reasons = Counter(" ".join(failure.reason.split()) for failure in result.failures)
        text = "\n".join(f"{count:,} x {reason}" for reason, count in list(reasons.items())[:_REASONS])
        more = f"\nand {len(reasons) - _REASONS} other reasons" if len(reasons) > _REASONS else ""
        facts.append(("Failures", f"{len(result.failures):,} samples\n{text}{more}"))
    if out is not None:
        facts.append(("History", str(out)))
    console.print(fact_sheet(facts))
    if result.incumbents:
        console.print()
        console.print(_measured_again(result.incumbents, simulator, objective))


def _measured_again(incumbents: Sequence[Incumbent], simulator: Simulator, objective: Objective) -> Table:
    """The best designs of a measured search by their second measurements, with the parameters in which they differ."""
    goals = [m for m in simulator.metrics if m.name in {term.metric for term in objective.terms}]
    names = [name for name in simulator.space.names if len({incumbent.design[name] for incumbent in incumbents}) > 1]
    table = new_table("Measured again", *(f"{m.name}>" for m in goals), "Before>", "Reward>", ", ".join(names))
    for rank, incumbent in enumerate(incumbents, start=1):
        again = incumbent.remeasured_metrics
        now = [number(again[m.name]) if again else "failed" for m in goals]
        before = ", ".join(number(incumbent.metrics[m.name]) for m in goals)
        reward = "-" if incumbent.remeasured_reward is None else number(incumbent.remeasured_reward)
        reward += "" if incumbent.valid else " (not valid)"
        table.add_row(f"{rank}", *now, before, reward, ", ".join(_value(incumbent.design[name]) for name in names))
    return table


def _comparison(result: SearchResult, simulator: Simulator, objective: Objective) -> list[tuple[str, str]]:
    """What the known optimum says of a result: regret, the distance in the metric itself, percentile."""
    regret, optimum = result.regret, result.optimum
    exact = simulator.deterministic and not simulator.stochastic
    if optimum is None and exact and (designs := to_enumerate(simulator, objective)) is not None:
        simulated = result.history["seconds"][~result.history["cached"]]
        days = designs.size * float(simulated.mean()) / 86_400 if simulated.size else 0.0
        if days > 1:
            return [("Regret", f"not known: to enumerate {designs.size:,} designs at this rate would take {days:,.0f} days")]
        return [("Regret", "not known: archgym optimum, with the same --set, finds the optimum")]
    if regret is None or optimum is None or optimum.best_metrics is None or result.best_metrics is None:
        return []
    unbounded = objective.unbounded(optimum.best_metrics)
    if objective.caps(optimum.best_reward) and not unbounded:
        return [("Regret", f"not known: {CAPPED}")]
    if objective.unbounded(result.best_metrics) or (regret <= 0 and not unbounded):
        text = "0: this is the exact optimum"
    elif unbounded:
        zeros = [term.metric for term in objective.terms if optimum.best_metrics[term.metric] == 0]
        text = f"not finite: {' and '.join(zeros) or 'a metric'} is 0 at the optimum"
    else:
        distance = _distance(result.best_metrics, optimum.best_metrics, simulator.metrics, objective)
        text = ", ".join(filter(None, [number(regret), distance]))
    facts = [("Regret", text)]
    if result.percentile is not None:
        shown = f"{result.percentile:.4g}" if result.percentile < 99.9 else f"{result.percentile:.4f}".rstrip("0").rstrip(".")
        facts.append(("Percentile", f"{shown} % of the {optimum.valid:,} valid designs are no better"))
    return facts


def _distance(found: Mapping[str, float], best: Mapping[str, float], metrics: Sequence[Metric], objective: Objective) -> str:
    """ "3.2 % from the optimum's latency_s (1.5e-05 s)" for a logarithmic objective of one metric, else ""."""
    if objective.form != "log" or len(objective.terms) != 1 or isinstance(objective.terms[0], Target):
        return ""
    name = objective.terms[0].metric
    metric = next(m for m in metrics if m.name == name)
    return f"{abs(found[name] / best[name] - 1):.3%} from the optimum's {name} ({_quantity(best[name], metric)})".replace("%", " %")


@app.command()
def optimum(
    env: Annotated[str, typer.Argument(metavar="ENV", help="An environment with up to 1e8 designs, or one that knows its optimum.")],
    set_: Settings = None,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Store it, so that later results state their regret.")] = True,
) -> None:
    """Find the exact optimum by enumeration in chunks, and store it for later results.

    archgym optimum archgym/Accelerator-v0 --set workload=mobilenet_v2
    """
    settings = pairs("--set", set_)
    task = get_task(env)
    with building(task, settings):
        simulator, objective = task.build(**{k: v for k, v in settings.items() if k != "horizon"})
    if save:
        check_folder(optimum_path(simulator, objective).parent)
    done, total = 0, (to_enumerate(simulator, objective) or simulator.space).size

    def progress(_: str, share: float) -> None:
        nonlocal done
        done = round(share * total)

    start = perf_counter()
    try:
        with _bar(total, "designs", lambda: (done, "")):
            found = find_optimum(simulator, objective, progress=progress)
    except KeyboardInterrupt:
        say("interrupted", f"after {done:,} of {total:,} designs; nothing is stored", "yellow")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        simulator.close()
    _print_optimum(env, settings, simulator, objective, found, done, perf_counter() - start, save)


def _print_optimum(
    env: str,
    settings: Mapping[str, Any],
    simulator: Simulator,
    objective: Objective,
    found: Optimum,
    tried: int,
    seconds: float,
    save: bool,
) -> None:
    if found.best_design is None or found.best_metrics is None or found.best_reward is None:
        raise ArchGymError(f"no design of {env} is valid under {_in_words(objective, simulator.metrics)}: there is no optimum")
    console = stdout()
    heading(console, f"{env}  exact optimum", _assignments(settings))
    _print_design(console, found.best_design, found.best_metrics, simulator.metrics)
    facts = [("Objective", _in_words(objective, simulator.metrics)), ("Reward", number(found.best_reward))]
    rate = f"{seconds:.3g} s, {tried / max(seconds, 1e-9):,.0f} per second"
    if found.designs is not None:
        counts = f"{found.designs:,} distinct, {found.feasible:,} feasible, {found.valid:,} valid"
        facts.append(("Designs", f"{counts}; {rate}"))
    elif tried:
        facts.append(("Designs", f"{_size(simulator.space.size)}; the best is one of {tried:,}; {rate}"))
    else:
        facts.append(("Designs", f"{_size(simulator.space.size)}; the simulator knows its optimum"))
    if save:
        facts.append(("Stored in", str(save_optimum(simulator, objective, found))))
    console.print(fact_sheet(facts))


def pairs(option: str, pairs: Sequence[str] | None) -> dict[str, Any]:
    """ "name=value" pairs as a dictionary.

    Raises:
        ArchGymError: one without "=", or a name given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ArchGymError(f"{option} takes name=value, not {pair!r}")
        if name in found:
            raise ArchGymError(f"{option} gives {name!r} twice")
        found[name] = _parse(text.strip())
    return found


def _parse(text: str) -> Any:
    """A value as JSON, Python's True, False or None, or TOML, in this order; anything else is a string."""
    constants = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (bool, int, float, str, list, dict)) and "\n" not in text else text


@contextmanager
def building(task: Task, settings: Mapping[str, Any]) -> Iterator[None]:
    """Building an environment from what the user typed: a value of the wrong type is an error of theirs, not a traceback."""
    for name in settings:
        if name in _NOT_ARGUMENTS:
            hint = "use --num-envs" if name == "num_envs" else "see archgym describe"
            raise ArchGymError(f"{name!r} is not an argument of {task.id} that --set can give: {hint}")
    try:
        yield
    except (TypeError, ValueError) as error:
        if not settings:
            raise
        raise ArchGymError(f"{task.id} cannot be made with {_assignments(settings)}: {reason_of(error)}") from error


# --- progress ---


@contextmanager
def _bar(total: int, what: str, look: Callable[[], tuple[int, str]]) -> Iterator[None]:
    """A bar on stderr, where that is a terminal, that Rich's own thread redraws: the work itself is not slowed by it.

    Args:
        total: units of work.
        what: the unit, for the rate ("samples").
        look: gives (units done, a remark), cheaply and from any thread.
    """
    console = stderr()
    if not sys.stderr.isatty():
        yield
        return
    from rich.live import Live
    from rich.progress import Progress

    pace = Progress(console=console, auto_refresh=False)  # never shown: it keeps the pace
    task = pace.add_task("", total=total)

    def draw() -> RenderableType:
        done, remark = look()
        pace.update(task, completed=done)
        speed, seconds = pace.tasks[0].finished_speed or pace.tasks[0].speed, pace.tasks[0].time_remaining
        rate = f"{number(speed if speed < 100 else round(speed))} {what}/s" if speed else ""
        left = "" if seconds is None else f"{int(seconds) // 60:02}:{int(seconds) % 60:02} left"
        width = console.width - 3  # room for the terminal's "^C", which would wrap and leave the bar behind
        return progress_line(done / max(total, 1), (f"{done:,}/{total:,}", remark, rate, left), width)

    with Live(get_renderable=draw, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True):
        yield


@contextmanager
def _searching(run: Search) -> Iterator[None]:
    def look() -> tuple[int, str]:
        best = run.ledger.best_reward
        return run.ledger.samples, "" if best is None else f"best reward {number(best)}"

    with _bar(run.budget, "samples", look):
        yield


# --- what the user reads ---


def _print_design(console: Console, design: Mapping[str, Any], metrics: Mapping[str, float], schema: Sequence[Metric]) -> None:
    """A design and its metrics, beside each other where there is room."""
    left = new_table("Best design", "")
    for name, value in design.items():
        left.add_row(name, _value(value))
    right = new_table("Metric", "Value>", "")
    for m in schema:
        right.add_row(m.name, number(metrics[m.name]), "" if m.unit == "1" else m.unit)
    console.print(Beside(left, right))
    console.print()


def _quantity(value: float, metric: Metric) -> str:
    return number(value) if metric.unit == "1" else f"{number(value)} {metric.unit}"


def _value(value: Any) -> str:
    """A parameter's value or an argument's default."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _size(size: int) -> str:
    return f"{size:,}" if size < 10**15 else f"{size:.3g}" if size < 10**300 else f"about 10^{len(str(size)) - 1}"


def _assignments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


def _documentation(task: Task) -> str:
    """The prose of an environment: its module's, else its simulator's."""
    if task.documentation:
        return inspect.cleandoc(task.documentation)
    simulator = load(task.simulator) if isinstance(task.simulator, str) else task.simulator
    return inspect.getdoc(type(simulator) if isinstance(simulator, Simulator) else simulator) or ""


def _summary(documentation: str, name: str = "") -> str:
    """The first paragraph on one line, without the name that it may open with and without markup."""
    paragraph = " ".join(documentation.split("\n\n")[0].split()).removeprefix(f"{name}: ").replace("`", "")
    return paragraph[:1].upper() + paragraph[1:]


def _reflow(prose: str) -> str:
    """Paragraphs as one line each, for the terminal to wrap; indented lines (equations) and lists stay as they are."""
    return re.sub(r"(?<=\S)\n(?=[^\s|\-*#>])", " ", prose)


def _meanings(documentation: str) -> dict[str, str]:
    """What a docstring says of names: lines "name: text" under "Args:", and rows "| name | ... | text |" of tables."""
    found: dict[str, str] = {}
    arguments = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", documentation, re.MULTILINE)
    if arguments:
        for name, text in re.findall(r"^    (\w+)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)", arguments[1], re.MULTILINE):
            found[name] = " ".join(text.split())
    for row in re.findall(r"^\|(.*)\|\s*$", documentation, re.MULTILINE):
        cells = [cell.strip().strip("`") for cell in row.split("|")]
        if len(cells) >= 3:
            found |= {cell: cells[-1] for cell in cells[:2] if cell.isidentifier()}
    return found


def _in_words(objective: Objective, metrics: Sequence[Metric]) -> str:
    """ "minimize latency_s, with area_mm2 <= 4 mm2"."""
    schema = {m.name: m for m in metrics}
    terms = []
    for term in objective.terms:
        verb = "minimize" if isinstance(term, Minimize) else "maximize" if isinstance(term, Maximize) else "bring to target"
        goal = f" {_quantity(term.value, schema[term.metric])}" if isinstance(term, Target) else ""
        weight = f" (weight {number(term.weight)})" if term.weight != 1 else ""
        terms.append(f"{verb} {term.metric}{goal}{weight}")
    limits = [f"{c.metric} {'<=' if isinstance(c, AtMost) else '>='} {_quantity(c.limit, schema[c.metric])}" for c in objective.constraints]
    reference = [
        f"{t.metric} relative to {_quantity(objective.reference[t.metric], schema[t.metric])}"
        for t in objective.terms
        if t.metric in objective.reference
    ]
    text = " and ".join(terms) + (f", with {' and '.join(limits)}" if limits else "") + (f"; {', '.join(reference)}" if reference else "")
    return text + (f"; form {objective.form}" if objective.form != "log" else "") + ("; strict" if objective.strict else "")


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say("warning", str(message), "yellow")


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):  # an extension module tells of one that it ignores
        stderr().print("".join(traceback.format_exception(kind, error, trace)), soft_wrap=True, end="")


def main() -> None:
    """The `archgym` program."""
    guard_start()
    warnings.showwarning, sys.excepthook = _show_warning, _show_traceback
    try:
        app()
    except SystemExit as end:
        leave(end.code)
        raise
    finally:
        guard_end()


if __name__ == "__main__":
    main()
