"""Designed data sets: distinct designs drawn at random, by a Sobol sequence, or evenly from the enumeration, all simulated."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from archgym.agent import AskTellAgent
from archgym.dataset.data import Dataset
from archgym.errors import ArchGymError, unknown
from archgym.registry import make_agent
from archgym.seeding import stream
from archgym.simulator import Simulator, evaluate_safely
from archgym.simulator_wrappers import Cached
from archgym.space import DesignSpace, Indices

METHODS = ("random", "sobol", "grid")
_CHUNK = 4096
_DRAWS = 64  # times n designs, before a method gives up on finding n distinct ones


def sample(
    env: str,
    n: int,
    *,
    method: str = "random",
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Simulate n distinct designs of an environment.

    Args:
        env: the environment's id.
        n: designs; the whole space where it has fewer.
        method: "random", "sobol" (scrambled, the balance of whose points ends where duplicates are left out) or "grid" (every n-th part
            of the enumeration).
        seed: of the draw, and of declared noise.
        env_kwargs: the environment's arguments.
        cache: a file that remembers what was simulated, so that an interrupted sampling goes on.
        progress: called with (designs done, designs in all).

    Raises:
        ArchGymError: an unknown method, no design, or a space in which n distinct designs cannot be found.
    """
    if method not in METHODS:
        raise unknown("method of sampling", method, METHODS)
    if n < 1:
        raise ArchGymError(f"n is a number of designs >= 1, not {n}")
    made = gymnasium.make(env, **(env_kwargs or {})).unwrapped
    evaluator = made.evaluator  # type: ignore[attr-defined]
    simulator = evaluator.simulator if cache is None else Cached(evaluator.simulator, cache)
    try:
        indices = draw(simulator.space, n, method, stream(seed, "dataset"))
        about = {**evaluator.specification(), "id": env}  # with the module that registers it, if the user has named one
        return _measured(simulator, indices, about, method, seed, progress)
    finally:
        simulator.close()


def draw(space: DesignSpace, n: int, method: str, rng: np.random.Generator) -> Indices:
    """n distinct designs, int64 [n, P]; all of them where there are no more."""
    if space.size <= n:
        return np.concatenate(list(space.enumerate()))
    if method == "grid":
        if space.size > 2**62:
            raise ArchGymError("a space of more than 2^62 designs has no numbered grid; use method 'sobol' or 'random'")
        return space.from_ordinal(np.array([space.size * i // n for i in range(n)]))
    if method == "random" and space.size < 2**62 and n > space.size // _DRAWS:
        return space.from_ordinal(rng.choice(space.size, n, replace=False))
    sobol = make_agent("qmc")
    assert isinstance(sobol, AskTellAgent)
    sobol.start(space, budget=n, rng=rng)
    found = np.empty((0, len(space)), np.int64)
    for _ in range(_DRAWS):
        found = np.concatenate([found, sobol.ask(n) if method == "sobol" else space.sample(n, rng)])
        found = found[np.sort(np.unique(found, axis=0, return_index=True)[1])]
        if len(found) >= n:
            return found[:n]
    raise ArchGymError(
        f"{_DRAWS * n:,} points of method {method!r} hold only {len(found):,} distinct designs; use method 'random' or 'grid'"
    )


def _measured(
    simulator: Simulator, indices: Indices, about: Mapping[str, Any], method: str, seed: int, progress: Callable[[int, int], None] | None
) -> Dataset:
    chunk = _CHUNK if simulator.deterministic else 1
    rng = stream(seed, "noise") if simulator.stochastic else None
    outcomes = []
    for start in range(0, len(indices), chunk):
        outcomes.append(evaluate_safely(simulator, indices[start : start + chunk], rng))
        if progress is not None:
            progress(min(start + chunk, len(indices)), len(indices))
    n = len(indices)
    return Dataset(
        environment={name: about[name] for name in ("id", "kwargs", "simulator")},
        space=simulator.space,
        metrics=simulator.metrics,
        indices=indices,
        values=np.concatenate([o.values for o in outcomes]),
        feasible=np.concatenate([o.feasible for o in outcomes]),
        agent=np.full(n, method),
        configuration=np.full(n, "{}"),
        seed=np.full(n, seed),
        sample=np.arange(n),
        count=np.ones(n, np.int64),
        sources=(f"{n:,} designs drawn by method {method}, seed {seed}",),
    )
