"""archgym.proxy.env:archgym/Proxy-v0: search a model of a simulator.

## Description
The designs of an environment, evaluated by a model of its simulator (`archgym proxy train`). An evaluation
takes a fraction of a millisecond and is not exact; the model's report.json has its errors. The module's name
in the id makes Gymnasium import it; studies take the id too, with `kwargs = { model = "DIR" }`.

## Action Space
The action space of the learnt environment.

## Observation Space
`Box`, float32: log(metric / reference) of the last design's predicted metrics, then its predicted
feasibility.

## Rewards
The objective of the learnt environment, on predicted metrics; give `objective=` if the model lacks a metric
that it needs.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Default | Meaning |
|---|---|---|
| model | | folder of a proxy |
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium

from archgym.errors import ArchGymError
from archgym.objective import Objective
from archgym.proxy.simulator import ProxySimulator
from archgym.registry import register_env
from archgym.simulator import Simulator

ID = "archgym/Proxy-v0"


def load_proxy(model: str | os.PathLike[str]) -> Simulator:
    """The simulator of a proxy's folder."""
    return ProxySimulator.load(model)


def objective(simulator: Simulator) -> Objective:
    """The objective of the learnt environment."""
    if simulator.default_objective is None:
        names = ", ".join(metric.name for metric in simulator.metrics)
        raise ArchGymError(
            "the environment's objective needs metrics that this proxy has not learnt: give an objective of "
            f"{names}, such as objective={{'minimize': ['{simulator.metrics[0].name}']}}, or train it on "
            "more targets"
        )
    return simulator.default_objective


def restrict_to(goal: Objective, names: Sequence[str]) -> Objective:
    """An objective without references of metrics that a proxy has not learnt.

    Raises:
        ArchGymError: terms or constraints that need another metric.
    """
    references = {name: value for name, value in goal.reference.items() if name in names}
    found = Objective(
        *goal.terms, *goal.constraints, reference=references, form=goal.form, strict=goal.strict
    )
    for metric in found.metrics:
        if metric not in names:
            raise ArchGymError(
                f"the objective needs {metric}, but this proxy has learnt {', '.join(names)}: train one with "
                f"--target {metric}, or give an objective of these"
            )
    return found


register_env(ID, simulator="archgym.proxy.env:load_proxy", objective="archgym.proxy.env:objective")


def proxy_env(
    model: str | os.PathLike[str], *, objective: Objective | Mapping[str, Any] | None = None, horizon: int = 1
) -> gymnasium.Env[Any, Any]:
    """An environment around a proxy.

    Args:
        model: folder of a proxy.
        objective: objective of the environment; default: that of the learnt environment.
        horizon: designs per episode.

    Raises:
        ArchGymError: the folder has no proxy, or one that lacks metrics of the objective.

    Examples:
        >>> env = archgym.proxy_env("models/dram")   # doctest: +SKIP
    """
    given: dict[str, Any] = {} if objective is None else {"objective": objective}
    return gymnasium.make(ID, model=os.fspath(model), horizon=horizon, **given)
