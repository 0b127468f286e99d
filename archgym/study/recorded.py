"""The run of an agent elsewhere, from a ledger that no `Search` filled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from archgym._search import Search
from archgym.evaluator import Evaluator
from archgym.space import Array
from archgym.study.design import Run, identifier
from archgym.study.run import result_of, table_of, to_bytes
from archgym.task import AgentSpecification, EnvSpecification, Specification
from archgym.values import write
from archgym.version import __version__

HISTORY = "full"


def recorded_run(
    evaluator: Evaluator,
    env: str,
    agent: str,
    hyperparameters: Mapping[str, Any],
    seed: int,
    elapsed: Array,
) -> tuple[Run, bytes]:
    """A finished run, and its Parquet file with all samples (`archgym.study.run`).

    Args:
        evaluator: the environment, with the samples in its ledger.
        env: environment id, with the module that registers it if there is one.
        agent: name of the agent, which need not be registered here.
        hyperparameters: its hyperparameters, as JSON.
        seed: seed of the run.
        elapsed: seconds from the run's start to each sample, float64 [N].
    """
    environment = replace(EnvSpecification.from_dict(evaluator.specification()), id=env)
    written = Specification(
        environment,
        AgentSpecification(agent, write(dict(hyperparameters))),
        evaluator.ledger.budget,
        seed,
        num_envs=1,
        version=__version__,
    )
    specification = json.loads(json.dumps(written.to_dict(), default=write))
    search = cast(Search, _as_search(evaluator))
    seconds = float(elapsed[-1]) if len(elapsed) else 0.0
    content = to_bytes(table_of(search, elapsed, HISTORY), specification, result_of(search, seconds))
    run = Run(identifier(specification, HISTORY), environment.id, agent, 0, 0, specification)
    return run, content


def _as_search(evaluator: Evaluator) -> SimpleNamespace:
    """What a run's table and result need of a search."""
    env = SimpleNamespace(evaluator=evaluator, simulator=evaluator.simulator, contexts=None)
    return SimpleNamespace(
        ledger=evaluator.ledger,
        env=env,
        front=(),
        clipped=_clipped(evaluator),
        agent=SimpleNamespace(statistics={}),
    )


def _clipped(evaluator: Evaluator) -> int:
    values = evaluator.ledger.column("values")[evaluator.ledger.column("valid")]
    metrics = {metric.name: values[:, i] for i, metric in enumerate(evaluator.simulator.metrics)}
    return int(np.sum(evaluator.objective.clips(metrics)))
