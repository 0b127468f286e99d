"""Checks of `archgym doctor`: molecules, and the form of the inner optimisation that runs here."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.errors import reason_of
from archgym.registry import Finding
from archgym.simulators.compiler import CompilerError
from archgym.simulators.quantum.compiled import compiler
from archgym.simulators.quantum.hamiltonians import list_molecules


def findings() -> Iterator[Finding]:
    """One check with the names of the molecules, one with the engine of quantum circuits."""
    yield Finding("Data", "molecules", "ok", ", ".join(list_molecules()))
    try:
        yield Finding("Machine", "quantum circuits", "ok", f"compiled, by {compiler().version}")
    except CompilerError as error:
        yield Finding(
            "Machine",
            "quantum circuits",
            "missing",
            f"run in NumPy, some 80 times slower: {reason_of(error)}",
            "the fast form of QuantumCircuit",
            'pip install "archgym[compiler]"',
        )
