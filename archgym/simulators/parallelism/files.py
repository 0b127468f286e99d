"""JSON files of models and clusters: one clear line for whatever is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.paths import open_regular

MOST_BYTES = 1 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The object that a small JSON file holds."""
    with open_regular(path, follow=True) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ArchGymError(f"expected JSON text: {error}") from None
    if not isinstance(found, dict):
        raise ArchGymError(f"expected a JSON object, got {type(found).__name__}")
    return found


def check_format(found: Mapping[str, Any], expected: str) -> None:
    """Refuse another format, or another version of it."""
    if found.get("format") != expected:
        raise ArchGymError(f'expected "format": "{expected}", got {found.get("format")!r}')


def check_keys(what: str, found: Any, needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Refuse anything but an object with the needed keys, and at most the optional ones besides."""
    if not isinstance(found, dict):
        raise ArchGymError(f"expected {what} as an object, got {found!r}")
    for key in found:
        if key not in needed and key not in optional:
            raise unknown(f"key of {what}", key, [*needed, *optional])
    if missing := [key for key in needed if key not in found]:
        raise ArchGymError(f"expected the key {missing[0]!r} in {what}")


def positive(what: str, value: Any) -> float:
    """A finite number above 0."""
    return _number(what, value, "> 0", _is_number(value) and 0 < value < np.inf)


def at_least(what: str, value: Any, least: float) -> float:
    """A finite number of at least this."""
    return _number(what, value, f">= {least:g}", _is_number(value) and least <= value < np.inf)


def share(what: str, value: Any) -> float:
    """A number above 0 and at most 1."""
    return _number(what, value, "> 0 and <= 1", _is_number(value) and 0 < value <= 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(what: str, value: Any, limits: str, within: bool) -> float:
    if not within:
        raise ArchGymError(f"expected {what} as a number {limits}, got {value!r}")
    return float(value)
