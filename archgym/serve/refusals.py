"""Requests that are refused, with the HTTP status that says why, and texts without the server's paths."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from archgym.errors import ArchGymError
from archgym.words import one_line

# an absolute path: "/usr/lib/x.so", "C:\\x", "//host/x", "~/x"
_END = r"\s\"'`<>|,;:()\[\]{}"
_START = r"file:/+|(?<![\w.)\]/])(?:[A-Za-z]:[\\/]|\\\\|(?!(?<=:)//)~?/)"
_PATH = re.compile(rf"(?:{_START})[^{_END}]*[^{_END}.]")
HIDDEN = "<path>"


class Refused(ArchGymError):
    """A request that is not carried out.

    Attributes:
        status: HTTP status.
        more: fields of the answer beside `error`.
    """

    def __init__(self, status: int, message: str, **more: Any):
        super().__init__(message)
        self.status, self.more = status, more


def without_paths(text: str) -> str:
    """A text from a simulator or an error in one line, every absolute path in it as "<path>"."""
    for place in _own_places():
        text = text.replace(place, "/" + HIDDEN.strip("<>"))
    return _PATH.sub(HIDDEN, one_line(text))


def _own_places() -> list[str]:
    """Folders whose names may hold spaces, longest first."""
    places = {str(Path.home()), os.getcwd(), sys.prefix, sys.base_prefix, str(Path(__file__).parents[1])}
    return sorted((place for place in places if len(place) > 1), key=len, reverse=True)
