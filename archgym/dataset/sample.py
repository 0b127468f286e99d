"""Sampled data sets: distinct designs drawn at random, by a Sobol sequence, or evenly from the
enumeration, all simulated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from archgym.agent import AskTellAgent
from archgym.dataset.data import Dataset
from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError, unknown
from archgym.infos import core
from archgym.progress import Progress, silent
from archgym.registry import make_agent
from archgym.seeding import stream
from archgym.simulator import Simulator, evaluate_safely
from archgym.simulator_wrappers import Cached
from archgym.space import DesignSpace, Indices
from archgym.task import EnvSpecification

METHODS = ("random", "sobol", "grid")
_CHUNK = 4096
_MAX_DRAWS = 64  # rounds of n draws in which n distinct designs must be found


@renamed(n="budget")
def sample(
    env: str,
    budget: int,
    *,
    method: str = "random",
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Simulate distinct designs of an environment.

    Args:
        env: the environment's id.
        budget: number of distinct designs to simulate; the whole space where it has fewer.
        method: "random", "sobol" (scrambled; duplicates are left out, after which the points are no longer
            balanced) or "grid" (evenly spaced in the enumeration).
        seed: seed for the draw and for declared noise.
        env_kwargs: the environment's arguments.
        cache: file of simulated designs, from which an interrupted sampling resumes.
        progress: receives the share of designs done.

    Raises:
        ArchGymError: an unknown method, a budget below 1, or a space in which the method does not find that
            many distinct designs.
    """
    if method not in METHODS:
        raise unknown("method of sampling", method, METHODS)
    if budget < 1:
        raise ArchGymError(f"expected a budget of at least 1 design, got {budget}")
    evaluator = core(gymnasium.make(env, **(env_kwargs or {}))).evaluator
    if evaluator.contexts is not None:
        evaluator.close()
        raise ArchGymError("expected one task to sample designs of, got contexts; leave contexts out")
    simulator = evaluator.simulator if cache is None else Cached(evaluator.simulator, cache)
    try:
        indices = draw(simulator.space, budget, method, stream(seed, "dataset"))
        specification = EnvSpecification.from_dict(evaluator.specification())
        # with the module that registers it, where the user has named one
        specification = replace(specification, id=env)
        return _measured(simulator, indices, specification, method, seed, progress)
    finally:
        simulator.close()


def draw(space: DesignSpace, n: int, method: str, rng: np.random.Generator) -> Indices:
    """n distinct designs, int64 [n, P]; the whole space where it has at most n."""
    if space.size <= n:
        return np.concatenate(list(space.enumerate()))
    if method == "grid":
        if space.size > 2**62:
            raise ArchGymError(
                "a space of more than 2^62 designs has no numbered grid; use method 'sobol' or 'random'"
            )
        return space.from_ordinal(np.array([space.size * i // n for i in range(n)]))
    if method == "random" and space.size < 2**62 and n > space.size // _MAX_DRAWS:
        return space.from_ordinal(rng.choice(space.size, n, replace=False))
    sobol = make_agent("qmc")
    assert isinstance(sobol, AskTellAgent)
    sobol.start(space, budget=n, rng=rng)
    found = np.empty((0, len(space)), np.int64)
    for _ in range(_MAX_DRAWS):
        found = np.concatenate([found, sobol.ask(n) if method == "sobol" else space.sample(n, rng)])
        found = found[np.sort(np.unique(found, axis=0, return_index=True)[1])]
        if len(found) >= n:
            return found[:n]
    raise ArchGymError(
        f"expected {n:,} distinct designs, got {len(found):,} from {_MAX_DRAWS * n:,} draws by method "
        f"{method!r}; use 'random' or 'grid'"
    )


def _measured(
    simulator: Simulator, indices: Indices, env: EnvSpecification, method: str, seed: int, progress: Progress
) -> Dataset:
    chunk = _CHUNK if simulator.deterministic else 1
    rng = stream(seed, "noise") if simulator.stochastic else None
    outcomes = []
    for start in range(0, len(indices), chunk):
        outcomes.append(evaluate_safely(simulator, indices[start : start + chunk], rng))
        progress(f"{len(indices):,} designs", min(start + chunk, len(indices)) / len(indices))
    n = len(indices)
    return Dataset(
        environment=env.measured,
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
