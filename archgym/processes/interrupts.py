"""Ctrl-C for the `archgym` program: one line and exit code 130, at any time.

While modules are imported, nothing needs saving and an exception would print their tracebacks: the program
ends at once. A command gets one KeyboardInterrupt, never within an import, and stores its results; a bouncing
or held key counts once, and a later one ends the program.

`archgym` imports this first, so it needs only modules that the interpreter has loaded already and a module of
constants.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` imports `enum`, and Ctrl-C may arrive meanwhile
import atexit
import os
import sys
from time import monotonic

from archgym.processes.exits import INTERRUPTED

TYPE_CHECKING = False  # avoids importing `typing`
if TYPE_CHECKING:
    from typing import Any

_BOUNCE_S = 2.0  # interrupts within this time count as one
_SOON_S = 0.02  # delay before a postponed interrupt is raised again

_first: float | None = None  # time of a command's first interrupt


def guard_start() -> None:
    """End at once on Ctrl-C from now on, if this process is the `archgym` program (its script, or `python
    -m archgym`).
    """
    if _is_program() and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        try:
            _signal.signal(_signal.SIGINT, _end)
        except ValueError:  # not the main thread
            return
        atexit.register(_ignore)  # registered first, called last


def guard_command() -> None:
    """Raise KeyboardInterrupt on Ctrl-C from now on, if this process is the program."""
    if _signal.getsignal(_signal.SIGINT) is _end:
        _signal.signal(_signal.SIGINT, _interrupt)
        sys.unraisablehook = _raise_again


def guard_end() -> None:
    """End at once on Ctrl-C again: exit handlers have nothing to save."""
    if _signal.getsignal(_signal.SIGINT) is _interrupt:
        _flush()
        _signal.signal(_signal.SIGINT, _end)


def leave(code: object) -> None:
    """End an interrupted command at once with its exit code, if this process is the program.

    The interpreter would end itself by SIGINT if the interrupt had passed through code that a library
    compiled from text.
    """
    if interrupted() and isinstance(code, int):
        _flush()
        os._exit(code)


def _flush() -> None:
    from contextlib import suppress

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the other end is closed
            stream.flush()


def interrupted() -> bool:
    """Whether a command was interrupted, even if a library has replaced the exception."""
    return _first is not None


def _is_program() -> bool:
    if sys.argv[0] != "-m":  # as it is until Python has found the module
        return os.path.basename(sys.argv[0]) in ("archgym", "archgym.exe")
    words = sys.orig_argv
    return "-m" in words[:-1] and words[words.index("-m") + 1] in ("archgym", "archgym.cli")


def _interrupt(signum: int, frame: object) -> None:
    global _first
    if _first is None:
        _first = monotonic()
        _raise_outside_imports(signum, frame)
    elif monotonic() - _first > _BOUNCE_S:
        _end(signum, frame)


def _raise_outside_imports(signum: int, frame: Any) -> None:
    """Raise KeyboardInterrupt after the current import: an interrupted extension module may abort or crash
    the program later.
    """
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None or not _raise_soon():
        raise KeyboardInterrupt


def _raise_again(unraisable: Any) -> None:
    """Raise an interrupt again that a destructor or an extension module ignored."""
    if unraisable.exc_type is not KeyboardInterrupt or not _raise_soon():
        sys.__unraisablehook__(unraisable)


def _raise_soon() -> bool:
    if not hasattr(_signal, "setitimer"):  # Windows
        return False
    _signal.signal(_signal.SIGALRM, _raise_outside_imports)
    _signal.setitimer(_signal.ITIMER_REAL, _SOON_S)
    return True


def _end(signum: int, frame: object) -> None:
    try:
        if _first is None:
            os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def _ignore() -> None:
    """Ignore Ctrl-C while the interpreter ends: it would restore the system's handler, which kills without
    an exit code.
    """
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
