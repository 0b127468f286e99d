"""`Callback`: the base class of whatever is told of a search while it runs."""

from __future__ import annotations

from typing import Any, Protocol

from archgym.agent import Agent
from archgym.ledger import Ledger

EVERY_S = 1.0  # seconds between two calls


class Watched(Protocol):
    """The parts of a search (`archgym.Search`) that a callback reads."""

    agent: Agent
    budget: int
    seed: int
    specification: dict[str, Any]

    @property
    def env(self) -> Any:
        """The vector environment; `env.simulator` has the metrics and the design space."""

    @property
    def ledger(self) -> Ledger:
        """Samples so far."""

    @property
    def progress(self) -> str:
        """How far the search is, in words."""

    @property
    def share_done(self) -> float:
        """Share of the budget that is spent."""


class Callback:
    """Told of a search's start, steps and end.

    A search calls `on_step` between two batches, in its own thread, at most once in `every_s` seconds, and
    seldom enough that all its calls take at most a twentieth of the search's time; the last samples are
    always shown. A callback reads: rows are the same with and without it. It may use the global random
    generators of Python, NumPy and PyTorch, whose states are restored. One that takes samples ends the search
    with an error.

    An exception in `on_start` ends the search before its first sample. An exception in `on_step` or `on_end`
    gives one warning, and the search continues without this callback's `on_step`. What was found is kept
    either way.

    Attributes:
        every_s: seconds between two calls of `on_step`; 0 for a call after every batch, whatever it costs.
    """

    every_s: float = EVERY_S

    def on_start(self, search: Watched) -> None:
        """The search is about to start."""

    def on_step(self, search: Watched) -> None:
        """The search has new samples in its ledger."""

    def on_end(self, search: Watched, result: Any) -> None:
        """The search has ended, also by an error or Ctrl-C.

        Args:
            search: the search.
            result: result of the search (`archgym.SearchResult`); None where nothing was simulated.
        """
