"""Exceptions: one hierarchy, whose messages state what was expected, what was given, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral

from archgym.words import one_line


class ArchGymError(Exception):
    """Base of every error that archgym raises on purpose."""


class BudgetExhausted(ArchGymError):
    """The ledger's budget of samples is spent; the search is over."""


class SimulatorUnavailable(ArchGymError):
    """The simulator cannot run (no worker starts, the cache's disk is full): the search ends, the design
    is not at fault.
    """


class MissingDependency(ArchGymError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def unknown(kind: str, name: object, known: Iterable[object]) -> ArchGymError:
    """The error for an unknown name, with the nearest known ones.

    Args:
        kind: kind of name, such as "agent" or "metric".
        name: the name that was given.
        known: all accepted names.
    """
    return ArchGymError(f"unknown {kind} {str(name)!r}; {nearest(name, known)}")


def nearest(name: object, known: Iterable[object]) -> str:
    """The known names nearest to a wrong one ("did you mean 'tpe'?"), or all of them where none is near."""
    names = [str(k) for k in known]
    near = get_close_matches(str(name), names, n=3, cutoff=0.6)
    return (
        f"did you mean {' or '.join(repr(n) for n in near)}?"
        if near
        else f"known: {', '.join(names) or 'none'}"
    )


def whole(what: str, value: object, *, least: int) -> int:
    """A whole number as a Python int, from any integer type.

    Args:
        what: name of the number in the error.

    Raises:
        ArchGymError: a smaller number, or something other than a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ArchGymError(f"expected {what} as a whole number >= {least}, got {value!r}")
    return int(value)


def reason_of(error: BaseException, limit: int = 4000) -> str:
    """An error in one printable line of at most about `limit` characters: our own messages as they are,
    others with their type.
    """
    kind = type(error).__name__
    try:
        message = one_line(str(error), limit)
    except Exception:  # its __str__ raises
        message = "(its message cannot be read)"
    if isinstance(error, ArchGymError) and message:
        return message
    return f"{kind}: {message}" if message else kind
