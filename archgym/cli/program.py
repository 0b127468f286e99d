"""The `archgym` program: its commands, those of plug-ins included, errors and exit codes.

Results go to stdout, progress, warnings and errors to stderr. Exit codes: 0 done; 2 invalid input (one line
with what was wrong and what to do); 1 internal error; 130 interrupted by Ctrl-C. A search that ends early
prints and writes what it found.

A command is "module:name", imported when it is invoked, or when help needs its text: ours from `_OURS`, those
of rooms and plug-ins from the registry. A function becomes a command, a `typer.Typer` application a group of
commands; a dotted name, such as "fidelity.softmax", is a command of a group that any room or plug-in adds to.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from types import TracebackType
from typing import Annotated, Any

import gymnasium
import typer
from typer.core import TyperGroup

from archgym.cli.screen import Unfinished, say, stderr
from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import is_full
from archgym.processes.exits import BAD_INPUT, FAILED, INTERRUPTED
from archgym.processes.interrupts import guard_command, guard_end, guard_start, interrupted, leave
from archgym.registry import list_commands, load
from archgym.version import __version__
from archgym.words import is_printable, printable

_OURS = {
    "list": "archgym.cli.describe:list_",
    "describe": "archgym.cli.describe:describe",
    "search": "archgym.cli.search:search",
    "optimum": "archgym.cli.optimum:optimum",
}
_GROUPS = {  # help of the groups that rooms share
    "backends": "Real simulators, installed in environments of their own.",
    "data": "Accuracy tables of trained networks: those that are installed, and those that users bring.",
    "fidelity": "Accuracy of a cost model: its predictions against measurements or other simulators.",
}


class _Group(TyperGroup):
    """A group of commands of the registry."""

    prefix = ""  # of its commands' names in the registry: "fidelity."

    def list_commands(self, ctx: Any) -> list[str]:
        return _registered(self.prefix)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _plugin(self.prefix + cmd_name) if cmd_name in _registered(self.prefix) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if hasattr(error, "message") and (near := get_close_matches(args[0], self.list_commands(ctx))):
                error.message = (
                    f"{str(error.message).rstrip('.')}. Did you mean {' or '.join(map(repr, near))}?"
                )
            raise


class _Commands(_Group):
    """The program; errors become one line and an exit code. 2: invalid input; 1: internal error."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*_OURS, *super().list_commands(ctx)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _loaded(cmd_name, _OURS[cmd_name]) if cmd_name in _OURS else super().get_command(ctx, cmd_name)

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
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            # a plug-in that exits does not choose the exit code
            if hasattr(error, "exit_code"):  # a wrong command line, which Typer explains
                raise
            code, message = _outcome(error)
            say("error" if message else "interrupted", message, "red" if message else "yellow")
            raise typer.Exit(code) from None


def _outcome(error: BaseException) -> tuple[int, str]:
    """The exit code and the message of a command that an exception ended; no message after Ctrl-C."""
    where = "archgym --debug, before the command, shows where"
    if isinstance(error, Unfinished):
        return FAILED, f"{error}; {where}"
    if isinstance(error, (ArchGymError, gymnasium.error.Error)):
        return BAD_INPUT, str(error) or reason_of(error)
    if isinstance(error, KeyboardInterrupt) or interrupted():
        return INTERRUPTED, ""
    if is_full(error):
        return BAD_INPUT, "the disk is full: free some space and run the same command again"
    if isinstance(error, PermissionError) and error.filename:
        return (
            BAD_INPUT,
            f"cannot use {error.filename}: {error.strerror}; change its permissions, or give another path",
        )
    return FAILED, f"{reason_of(error)}; {where}"


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make the words of a wrong command line printable, which Typer quotes in its message."""
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
    """The registry's commands and groups directly under a prefix, sorted; names that cannot be printed are
    left out.
    """
    names = {
        name.removeprefix(prefix).partition(".")[0] for name in list_commands() if name.startswith(prefix)
    }
    return sorted(filter(is_printable, names))


def _plugin(name: str) -> Any:
    """The registry's command or group of this name, dotted if it is in a group."""
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
    """The command behind "module:name"; the error of one that cannot be loaded is its help, and its
    result.
    """
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


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """A Gymnasium for architecture search: one step API, exact optima, honest agent comparisons."""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: Any = None,
) -> None:
    say("warning", str(message), "yellow")


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):  # Python reports one that an extension module ignores
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
