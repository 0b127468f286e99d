"""Ctrl-C for the `archgym` program: one line and exit code 130, whenever it comes and however often.

While modules are imported there is nothing to keep, and an exception would end in their tracebacks: the program ends at once. A command
is given a KeyboardInterrupt, once and never within an import, and stores what it has; a key that bounces or is held down is the same
wish, and one that comes later ends the program at once.

`archgym` imports this before everything else, so it needs only what the interpreter has loaded already, its built-in modules, and a
module of constants.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself imports `enum`, and Ctrl-C may come meanwhile
import atexit
import os
import sys
from time import monotonic

from archgym.processes.exits import INTERRUPTED

TYPE_CHECKING = False  # `typing` would have to be imported for its own
if TYPE_CHECKING:
    from typing import Any

_SAME_WISH_S = 2.0
_SOON_S = 0.02  # until an interrupt that came at the wrong time comes again

_first: float | None = None  # when a command was interrupted


def guard_start() -> None:
    """End at once on Ctrl-C from now on, if this process is the `archgym` program (its script, or `python -m archgym`)."""
    if _is_program() and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        try:
            _signal.signal(_signal.SIGINT, _end)
        except ValueError:  # not the main thread
            return
        atexit.register(_ignore)  # first, so that it is called last


def guard_command() -> None:
    """Give a command its KeyboardInterrupt from now on, if this process is the program."""
    if _signal.getsignal(_signal.SIGINT) is _end:
        _signal.signal(_signal.SIGINT, _interrupt)
        sys.unraisablehook = _raise_again


def guard_end() -> None:
    """End at once again: exit handlers have nothing to keep."""
    if _signal.getsignal(_signal.SIGINT) is _interrupt:
        _flush()
        _signal.signal(_signal.SIGINT, _end)


def leave(code: object) -> None:
    """End an interrupted command at once with its exit code, if this process is the program.

    The interpreter would end itself by SIGINT if the interrupt had passed through code that a library made from text.
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
    """Whether a command was interrupted, even if a library has made another exception of it."""
    return _first is not None


def _is_program() -> bool:
    if sys.argv[0] != "-m":  # which it is until Python has found the module that it was given
        return os.path.basename(sys.argv[0]) in ("archgym", "archgym.exe")
    words = sys.orig_argv
    return "-m" in words[:-1] and words[words.index("-m") + 1] in ("archgym", "archgym.cli")


def _interrupt(signum: int, frame: object) -> None:
    global _first
    if _first is None:
        _first = monotonic()
        _raise_outside_imports(signum, frame)
    elif monotonic() - _first > _SAME_WISH_S:
        _end(signum, frame)


def _raise_outside_imports(signum: int, frame: Any) -> None:
    """Raise KeyboardInterrupt, once what is being imported is complete: an extension module may abort, or crash the program later."""
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None or not _raise_soon():
        raise KeyboardInterrupt


def _raise_again(unraisable: Any) -> None:
    """An interrupt that came within a destructor or an extension module, which ignores exceptions, comes again."""
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
    """While the interpreter ends it would give the signal back to the system, which kills without an exit code."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
