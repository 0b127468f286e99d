"""Checks of `archgym doctor`: real simulators."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.registry import Finding
from archgym.simulators.accelerator.backends.environments import BACKENDS, installed


def findings() -> Iterator[Finding]:
    """One check per backend."""
    for name, backend in BACKENDS.items():
        if installed(name):
            yield Finding("Backends", name, "ok", backend.version)
        else:
            yield Finding(
                "Backends",
                name,
                "missing",
                "",
                f"{backend.gives} of the tool itself",
                f"archgym backends install {name}",
            )
