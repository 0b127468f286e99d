"""The figures of a search that loggers write, by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from archgym.callbacks.base import Watched

BEST, REWARD, METRIC = "reward/best", "reward/sample", "metric/"


class Point(NamedTuple):
    """Figures after a number of samples.

    Attributes:
        samples: number of samples, from 1.
        figures: name -> value.
    """

    samples: int
    figures: dict[str, float]


class Reader:
    """New figures of a search at every call of `points`: each improvement of the best valid reward at its own
    sample, with its metrics, then the newest sample.
    """

    def __init__(self, search: Watched):
        self._search, self._seen = search, 0
        self._best = -np.inf
        self._metrics = [metric.name for metric in search.env.simulator.metrics]

    def points(self) -> Iterator[Point]:
        """Figures of the samples since the last call."""
        ledger = self._search.ledger
        start, stop = self._seen, ledger.samples
        if start == stop:
            return
        self._seen = stop
        reward, valid = ledger.column("reward")[start:stop], ledger.column("valid")[start:stop]
        best = np.maximum.accumulate(np.where(valid, reward, -np.inf))
        before = np.maximum(np.concatenate([[-np.inf], best[:-1]]), self._best)
        for row in np.flatnonzero(best > before).tolist():
            values = ledger.column("values")[start + row].tolist()
            self._best = float(best[row])
            found = {METRIC + name: value for name, value in zip(self._metrics, values, strict=True)}
            yield Point(start + row + 1, {BEST: self._best, **finite(found)})
        newest = {REWARD: float(reward[-1])}
        if self._best > -np.inf:
            newest[BEST] = self._best
        yield Point(stop, finite(newest))


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that are numbers."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def settings(specification: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """What a search was run with: environment and arguments, agent and hyperparameters, budget, seed."""
    env, agent = specification["env"], specification["agent"]
    found = {
        "env": env["id"],
        **{f"env.{name}": value for name, value in env.get("kwargs", {}).items()},
        "agent": agent["name"],
        **{f"agent.{name}": value for name, value in agent.get("hyperparameters", {}).items()},
        "budget": specification.get("budget"),
        "seed": specification["seed"],
    }
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, default=str)


def title(specification: Mapping[str, Any]) -> str:
    """ "Softmax-v0-genetic-0": a short name of a search, fit for a folder."""
    name = f"{specification['env']['id'].rpartition('/')[2]}-{specification['agent']['name']}"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return f"{plain[:100]}-{specification['seed']}"
