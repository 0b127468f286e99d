"""The line of `archgym doctor` on accuracy tables."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.registry import Finding
from archgym.simulators.nas.tables.table import list_tables


def findings() -> Iterator[Finding]:
    """Names of the installed tables."""
    yield Finding("Data", "accuracy tables", "ok", ", ".join(list_tables()))
