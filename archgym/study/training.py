"""A training run: a contextual agent is trained, and its policy designs for contexts that it never saw.

A run's table has a row per held-out context:

    sample                      position of the context in the specification
    context                     its name
    feasible, valid, reward     of the policy's first proposal; the reward is the log share of the optimum
    share_1 ... share_V         share of the best of the first 1 to V proposals, 0 where none is valid
    share_nearest, share_one_for_all, share_random      of the baselines (`archgym.contexts.baselines`)
    optimum                     reward of the exact optimum under the context's objective
    <parameters>                the first proposal

Proposals are evaluated without being counted. The result has the training's samples and seconds, and `exact`:
whether the baselines come from the whole space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow

from archgym._search import Search
from archgym.contexts.baselines import baselines, share_table
from archgym.contexts.evaluator import ContextualEvaluator
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError
from archgym.files.columns import arrow_table
from archgym.optimum import stored_optimum
from archgym.space import Array
from archgym.task import EnvSpecification, Specification
from archgym.values import read_arguments


def find_optima(specification: Mapping[str, Any]) -> None:
    """Find and store the optima of a training run's contexts on this machine where the specification does not
    decide them: stated optima are those of the default arguments and objective.
    """
    run = Specification.from_dict(specification)
    if run.held_out is None or (run.env.objective is None and run.env.kwargs.keys() == {"contexts"}):
        return
    for contexts in (run.env.kwargs["contexts"], run.held_out):
        evaluator = _evaluator(run.env, Contexts.from_dict(contexts), known=False)
        for member in evaluator.members:
            stored_optimum(member.simulator, member.objective)
        evaluator.close()


def held_out_table(search: Search, specification: Mapping[str, Any]) -> tuple[pyarrow.Table, dict[str, Any]]:
    """The rows of a training run that has spent its budget, and what they add to its result."""
    run = Specification.from_dict(specification)
    train = search.env.evaluator
    assert isinstance(train, ContextualEvaluator) and run.held_out is not None
    check_optima(train)
    test = _evaluator(run.env, Contexts.from_dict(run.held_out).like(train.contexts))
    policy, contexts = search.agent.policy, np.arange(len(test.contexts))
    distinct = min(run.verify, test.simulator.space.size)
    proposed = np.stack([_padded(policy.rank(row, distinct), run.verify) for row in test.feature_rows])
    scored = test.score(proposed.reshape(-1, proposed.shape[-1]), context=np.repeat(contexts, run.verify))
    share = np.where(scored["valid"], np.exp(scored["reward"]), 0.0).reshape(len(contexts), run.verify)
    best = np.maximum.accumulate(share, axis=1)
    table = _shares_of_all(train, test)
    found = baselines(train, test, table)
    first = slice(None, None, run.verify)
    columns = {
        "sample": contexts,
        "context": np.array(test.contexts.names, object),
        "feasible": scored["feasible"][first],
        "valid": scored["valid"][first],
        "reward": scored["reward"][first],
        **{f"share_{v + 1}": best[:, v] for v in range(run.verify)},
        **{f"share_{name}": column for name, column in found._asdict().items()},
        "optimum": test.best,
        **test.simulator.space.decode(proposed[:, 0]),
    }
    test.close()
    return arrow_table(test.simulator.space, columns), {"exact": table is not None}


def _evaluator(env: EnvSpecification, contexts: Contexts, *, known: bool = True) -> ContextualEvaluator:
    """The environment with some contexts.

    Raises:
        ArchGymError: an optimum is not known, and must be.
    """
    kwargs = read_arguments({name: value for name, value in env.kwargs.items() if name != "contexts"})
    evaluator = ContextualEvaluator(env.id, env.objective, env.horizon, kwargs, contexts)
    if known:
        check_optima(evaluator)
    return evaluator


def check_optima(evaluator: ContextualEvaluator) -> None:
    """Refuse contexts whose rewards are not shares of an exact optimum.

    Raises:
        ArchGymError: the optimum of a context is not known.
    """
    if not evaluator.exact.all():
        name = evaluator.contexts.names[int(np.argmin(evaluator.exact))]
        raise ArchGymError(
            f"expected the optimum of every context, but that of {name!r} is not known here; check that the "
            "data folder of archgym can be written (ARCHGYM_HOME)"
        )


def _padded(designs: Array, count: int) -> Array:
    """Designs [n, P] as [count, P]: of a space with fewer designs the last one again."""
    return designs[np.minimum(np.arange(count), len(designs) - 1)]


def _shares_of_all(train: ContextualEvaluator, test: ContextualEvaluator) -> Mapping[str, Array] | None:
    """Shares of all designs under all contexts, which are the same for every split of an environment."""
    members = {
        name: (dict(arguments), design)
        for each in (train.contexts, test.contexts)
        for name, arguments, design in zip(each.names, each.arguments, each.optima or (), strict=True)
    }
    names = sorted(members)
    every = Contexts(
        tuple(members[name][0] for name in names),
        tuple(names),
        optima=tuple(members[name][1] for name in names),
    )
    env = EnvSpecification.from_dict(train.specification())
    kwargs = {**env.kwargs, "contexts": every.to_dict()}
    return _table(json.dumps(replace(env, kwargs=kwargs, simulator=None).as_dict, sort_keys=True))


@lru_cache(maxsize=1)
def _table(env: str) -> Mapping[str, Array] | None:
    specification = EnvSpecification.from_dict(json.loads(env))
    evaluator = _evaluator(specification, Contexts.from_dict(specification.kwargs["contexts"]))
    try:
        return share_table(evaluator)
    finally:
        evaluator.close()
