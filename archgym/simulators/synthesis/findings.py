"""Checks of `archgym doctor`: the logic synthesis program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from archgym.errors import SimulatorUnavailable
from archgym.registry import Finding
from archgym.simulators.synthesis.abc import INSTALL, find_abc, version_of


def findings() -> Iterator[Finding]:
    """One check: ABC and its version."""
    try:
        program = find_abc()
        place = str(program).replace(str(Path.home()), "~", 1)
        yield Finding("Tools", "ABC", "ok", f"{version_of(program)} at {place}")
    except SimulatorUnavailable as error:
        yield Finding("Tools", "ABC", "missing", str(error), "logic synthesis beyond its tables", INSTALL)
