"""Options that several commands take, and the values that users type."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import check_writable
from archgym.task import Task
from archgym.words import assignments

Env = Annotated[str, typer.Argument(metavar="ENV", help="Environment id, such as archgym/Softmax-v0.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Argument of the environment (repeatable), such as preset=l2."
    ),
]
TaskOrEnv = Annotated[
    str | None,
    typer.Option(
        "--env", help="Task label or environment id, to choose one of a study's tasks.", show_default=False
    ),
]
ChartFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Chart to write: a .html, .svg or .png file.")
]

_NOT_ARGUMENTS = (
    "autoreset_mode",
    "num_envs",
    "render_mode",
    "spec",
    "task",
    "vector_kwargs",
    "vectorization_mode",
    "wrappers",
)


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
    """Build an environment from what the user typed: a value of the wrong type is an error of theirs, not
    a traceback.
    """
    for name in settings:
        if name in _NOT_ARGUMENTS:
            hint = "use --num-envs" if name == "num_envs" else "see archgym describe"
            raise ArchGymError(f"{name!r} is not an argument of {task.id} that --set can give: {hint}")
    try:
        yield
    except (TypeError, ValueError) as error:
        if not settings:
            raise
        raise ArchGymError(
            f"{task.id} cannot be made with {assignments(settings)}: {reason_of(error)}"
        ) from error


# --- progress ---


def names_of(text: str) -> list[str]:
    """The names in "a,b,c"."""
    return [name.strip() for name in text.split(",")]


def check_file(option: str, path: Path, *suffixes: str) -> Path:
    """The path of a file that can be written.

    Raises:
        ArchGymError: another suffix, or no file can be written there.
    """
    if path.suffix not in suffixes:
        raise ArchGymError(f"{option} takes the name of a {' or '.join(suffixes)} file, not {str(path)!r}")
    return check_writable(path)


def check_folder_free(path: Path, file: str, what: str, overwrite: bool) -> None:
    """Refuse a folder for results that has others.

    Args:
        path: the folder, which need not exist.
        file: name of the file by which such results are recognised.
        what: such results in words ("a data set").
        overwrite: whether they may be replaced.

    Raises:
        ArchGymError: the folder is a file, or has other files, or such results that may not be replaced.
    """
    if path.exists() and not path.is_dir():
        raise ArchGymError(f"{path} is not a folder: give another --out")
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / file).exists():
        raise ArchGymError(f"{path} holds other files: give another --out")
    if not overwrite:
        raise ArchGymError(f"{path} holds {what}: give another --out, or --overwrite")
