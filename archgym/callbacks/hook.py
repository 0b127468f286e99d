"""How a search calls its callbacks: by the ledger's growth, seldom, and without an effect on its rows.

    next call >= end of this call + max(every_s, 19 x seconds of this call)

so that calls take at most 5 % of a search's time. Without callbacks the ledger has no listener, and nothing
is called.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

from archgym.callbacks.base import Callback, Watched
from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.values import identity_of

_REST = 19  # seconds without a call for each second of one


class Hook:
    """The callbacks of one search, and when each is called next.

    Raises:
        ArchGymError: something other than a callback.
    """

    def __init__(self, callbacks: Sequence[Callback] | None, search: Watched):
        self._callbacks = [] if callbacks is None else list(callbacks)
        for each in self._callbacks:
            if not isinstance(each, Callback):
                raise ArchGymError(
                    f"expected callbacks as instances of archgym.callbacks.Callback, got {each!r}"
                )
        self._search = search
        self._started: list[Callback] = []  # and not ended
        self._due: dict[int, float] = {}  # position of each that is called -> time of its next call
        self._next = 0.0

    def __reduce__(self) -> Any:
        return type(None), ()  # a copy of an environment is not watched

    @contextmanager
    def following(self) -> Iterator[None]:
        """Call the callbacks' `on_start`, and `on_step` until the end.

        Raises:
            CannotStart: an error in `on_start`, with its message.
            MissingDependency: a callback's package is not installed.
        """
        if not self._callbacks:
            yield
            return
        for place, callback in enumerate(self._callbacks):
            try:
                with self._apart(callback):
                    callback.on_start(self._search)
            except (MissingDependency, _Sampled):
                raise
            except Exception as error:
                name = identity_of(type(callback))
                raise CannotStart(f"the callback {name} cannot start: {reason_of(error)}") from error
            self._started.append(callback)
            self._due[place] = 0.0
        ledger = self._search.ledger
        ledger.listener = self
        try:
            yield
        finally:
            ledger.listener = None
            if ledger.samples and self._due:
                self._step(np.inf)

    def end(self, result: Any) -> None:
        """Call `on_end` of those that were started."""
        while self._started:
            callback = self._started.pop(0)
            with self._forgiven(callback), self._apart(callback):
                callback.on_end(self._search, result)

    def __call__(self) -> None:
        """The ledger has new samples."""
        now = perf_counter()
        if now >= self._next:
            self._step(now)

    def _step(self, now: float) -> None:
        for place in [place for place, due in self._due.items() if due <= now]:
            callback, start = self._callbacks[place], perf_counter()
            del self._due[place]
            with self._forgiven(callback), self._apart(callback):
                callback.on_step(self._search)
                end = perf_counter()
                rest = max(callback.every_s, _REST * (end - start)) if callback.every_s > 0 else 0.0
                self._due[place] = end + rest
        self._next = min(self._due.values(), default=np.inf)

    @contextmanager
    def _apart(self, callback: Callback) -> Iterator[None]:
        """Keep a callback from changing what the search draws.

        Raises:
            _Sampled: it took samples.
        """
        ledger, torch = self._search.ledger, sys.modules.get("torch")
        samples, charges = ledger.samples, list(ledger.charges)
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - SB3 draws from it
        drawn = None if torch is None else torch.get_rng_state()
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            if torch is not None:
                torch.set_rng_state(drawn)
        if ledger.samples != samples or ledger.charges != charges:
            raise _Sampled(
                f"expected the callback {identity_of(type(callback))} to read only, got "
                f"{ledger.samples - samples:,} samples taken by it; use an environment of its own"
            )

    @contextmanager
    def _forgiven(self, callback: Callback) -> Iterator[None]:
        """Turn an error of a callback into a warning."""
        try:
            yield
        except _Sampled:
            raise
        except Exception as error:
            warnings.warn(
                f"the callback {identity_of(type(callback))} failed, and the search goes on without it: "
                f"{reason_of(error)}",
                stacklevel=2,
            )


class CannotStart(ArchGymError):
    """A callback raised in `on_start`; nothing was simulated."""


class _Sampled(ArchGymError):
    """A callback took samples."""
