"""The one way in which a check fails."""

from __future__ import annotations


def _must(holds: object, message: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(message)
