"""Ctrl-C for the `archgym` program: one line and exit code 130, whenever it comes and however often.

While modules are imported there is nothing to keep, and an exception would end in their tracebacks: the program ends at once. A command
is given a KeyboardInterrupt, once, and stores what it has; a key that bounces or is held down is the same wish, and one that comes
later ends the program at once. Only the standard library is imported, since `archgym` does so before everything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

_EXIT_CODE = 130  # 128 + SIGINT, as shells have it
_SAME_WISH_S = 2.0

_first: float | None = None  # when a command was interrupted


def guard_start() -> None:
    """End at once on Ctrl-C from now on, if this process is the `archgym` program (its script, or `python -m archgym`)."""
    ours = Path(sys.argv[0]).stem == "archgym" if sys.argv[0] != "-m" else _module() in ("archgym", "archgym.cli")
    if ours and threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def guard_command() -> None:
    """Give a command its KeyboardInterrupt from now on, if this process is the program."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _interrupt)


def guard_end() -> None:
    """End at once again: exit handlers have nothing to keep."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        signal.signal(signal.SIGINT, _end)


def interrupted() -> bool:
    """Whether a command was interrupted, even if a library has made another exception of it."""
    return _first is not None


def _module() -> str:
    """What `python -m` was given."""
    words = sys.orig_argv
    return words[words.index("-m") + 1] if "-m" in words[:-1] else ""


def _interrupt(signum: int, frame: Any) -> None:
    global _first
    if _first is None:
        _first = monotonic()
        raise KeyboardInterrupt
    if monotonic() - _first > _SAME_WISH_S:
        _end(signum, frame)


def _end(signum: int, frame: Any) -> None:
    if _first is None:
        with suppress(OSError):
            os.write(2, b"interrupted\n")
    os._exit(_EXIT_CODE)
