"""Checks of `archgym doctor`: DRAM traces."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.registry import Finding
from archgym.simulators.dram.table import list_traces


def findings() -> Iterator[Finding]:
    """One check with the names of the traces."""
    yield Finding("Data", "DRAM traces", "ok", ", ".join(list_traces()))
