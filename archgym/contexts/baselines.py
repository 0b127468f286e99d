"""Designs for a context without a policy: what a policy that generalises must beat.

    nearest        the optimum of the training context with the nearest standardised features (Euclidean)
    one for all    the design with the largest mean share over the training contexts
    random         a valid design drawn at random: the mean share over all of the context's valid designs

They are properties of a split of contexts, without seeds, samples or budgets, and exact where the whole space
of all contexts is evaluated, up to `LIMIT` evaluations. Beyond it, one for all is the best of the training
contexts' optima, and random the mean of `DRAWS` seeded draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from archgym.contexts.evaluator import ContextualEvaluator
from archgym.errors import ArchGymError
from archgym.space import Array, Indices

LIMIT = 50_000_000
"""Designs x contexts up to which the whole space is evaluated."""
DRAWS = 256
"""Random valid designs per context beyond it."""
_CHUNK = 65536
_TRIES = 256  # batches in which random valid designs are sought


class Baselines(NamedTuple):
    """Share of the exact optimum of each baseline's design on H held-out contexts, each float64 [H].

    Attributes:
        nearest: of the nearest training context's optimum.
        one_for_all: of the best single design over the training contexts.
        random: of a random valid design, the mean; 0 where no design is valid.
    """

    nearest: Array
    one_for_all: Array
    random: Array


def baselines(
    train: ContextualEvaluator, test: ContextualEvaluator, table: Mapping[str, Array] | None = None
) -> Baselines:
    """The baselines of a split.

    Args:
        train: the training contexts, whose optima are stated.
        test: the held-out contexts, with the training contexts' constants of features.
        table: shares of all designs under each context, by its name (`share_table`).

    Raises:
        ArchGymError: an optimum that is not stated.
    """
    optima = _optima(train)
    near = nearest_contexts(train.feature_rows, test.feature_rows)
    held_out = np.arange(len(test.contexts))
    nearest = shares(test, optima[near], held_out)
    if table is not None:
        total = np.zeros(test.simulator.space.size)
        for name in train.contexts.names:
            total += np.nan_to_num(table[name])
        best = int(total.argmax())
        rows = [table[name] for name in test.contexts.names]
        one = np.array([np.nan_to_num(row[best]) for row in rows], float)
        return Baselines(nearest, one, np.array([_mean(row[~np.isnan(row)]) for row in rows]))
    trained = np.arange(len(train.contexts))
    means = [shares(train, np.tile(design, (len(trained), 1)), trained).mean() for design in optima]
    one = shares(test, np.tile(optima[int(np.argmax(means))], (len(held_out), 1)), held_out)
    return Baselines(nearest, one, np.array([_mean(_random(test, int(c))) for c in held_out]))


def nearest_contexts(train: Array, test: Array) -> Indices:
    """The nearest row of features [C, F] for each of [H, F], the first of equals: int64 [H]."""
    gap = np.asarray(test, float)[:, None] - np.asarray(train, float)[None]
    return np.asarray((gap**2).sum(axis=2).argmin(axis=1), np.int64)


def shares(evaluator: ContextualEvaluator, designs: Indices, contexts: Indices) -> Array:
    """Share of the optimum of designs [B, P], each under its context [B]: float64 [B], 0 where not valid."""
    found = evaluator.score(designs, context=contexts)
    return np.where(found["valid"], np.exp(found["reward"]), 0.0)


def share_table(evaluator: ContextualEvaluator) -> dict[str, Array] | None:
    """Share of the optimum of every design of the space under each context: name -> float32 [D] by ordinal,
    NaN where not valid.

    Returns:
        None where that takes more than `LIMIT` evaluations.
    """
    space, names = evaluator.simulator.space, evaluator.contexts.names
    if space.size * len(names) > LIMIT:
        return None
    table = {name: np.empty(space.size, np.float32) for name in names}
    for start in range(0, space.size, _CHUNK):
        designs = space.from_ordinal(np.arange(start, min(start + _CHUNK, space.size)))
        for name, row in table.items():
            found = evaluator.score(designs, context=name)
            row[start : start + len(designs)] = np.where(found["valid"], np.exp(found["reward"]), np.nan)
    return table


def _random(evaluator: ContextualEvaluator, context: int) -> Array:
    """Shares of the first `DRAWS` valid designs among seeded random ones."""
    rng, space = np.random.default_rng(0), evaluator.simulator.space
    found: list[Array] = []
    for _ in range(_TRIES):
        scored = evaluator.score(space.sample(DRAWS, rng), context=context)
        found.append(np.exp(scored["reward"][scored["valid"]]))
        if sum(map(len, found)) >= DRAWS:
            break
    return np.concatenate(found)[:DRAWS]


def _mean(values: Array) -> float:
    return float(values.mean(dtype=float)) if len(values) else 0.0


def _optima(evaluator: ContextualEvaluator) -> Indices:
    """The stated optimum of each context: int64 [C, P]."""
    stated = evaluator.contexts.optima or ()
    if not stated or any(design is None for design in stated):
        raise ArchGymError("expected contexts with their optima; state optima=[...] in the Contexts")
    encode = evaluator.simulator.space.encode
    return np.concatenate([encode(design) for design in stated if design is not None])
