"""Checks of `archgym doctor`: DRAM traces, and the form of the controller model that runs here."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.errors import reason_of
from archgym.registry import Finding
from archgym.simulators.compiler import CompilerError
from archgym.simulators.dram.engines import compiler
from archgym.simulators.dram.table import list_traces


def findings() -> Iterator[Finding]:
    """One check with the names of the traces, one with the engine of the controller model."""
    yield Finding("Data", "DRAM traces", "ok", ", ".join(list_traces()))
    try:
        yield Finding("Machine", "DRAM model", "ok", f"compiled, by {compiler().version}")
    except CompilerError as error:
        yield Finding(
            "Machine",
            "DRAM model",
            "missing",
            f"runs in Python, some 150 times slower: {reason_of(error)}",
            "the fast form of DramController's backend=model",
            'pip install "archgym[compiler]"',
        )
