"""From a study and its folder to what the statistics read: the improvements of every stored run, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.console import progress_bar
from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.lottery.data import AgentRuns, TaskRuns, Trace
from archgym.optimum import known_optimum, stored_optimum
from archgym.space import Array
from archgym.study.spec import Run, Study
from archgym.study.store import Store, Stored

_COLUMNS = ("sample", "reward", "valid", "elapsed_seconds")


def load_tasks(study: Study, store: Store) -> list[TaskRuns]:
    """All stored runs of a study.

    Raises:
        ArchGymError: a file that cannot be read.
    """
    stored = store.read()
    runs = {run.id: run for run in study.runs() if run.id in stored}
    traces: dict[str, Trace] = {}
    for found, table in store.table([stored[id_] for id_ in runs if stored[id_].done], _COLUMNS):
        traces[found.id] = _trace(found, {name: table[name].to_numpy() for name in table.column_names})
    placed = {(run.task, run.agent, run.configuration, run.replicate): run for run in runs.values()}
    return [_task(study, task, placed, traces, stored) for task in study.tasks]


def _trace(found: Stored, columns: Mapping[str, Array]) -> Trace:
    valid = columns["valid"].astype(bool)
    reward = np.where(valid, columns["reward"], -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(reward)])[: len(reward)]
    improved = np.flatnonzero(reward > before)
    return Trace(
        sample=columns["sample"][improved],
        reward=reward[improved],
        seconds=columns["elapsed_seconds"][improved],
        samples=int(found.specification["budget"]),
        total_seconds=float(found.result["seconds"]),
    )


def _task(
    study: Study,
    task: str,
    placed: Mapping[tuple[str, str, int, int], Run],
    traces: Mapping[str, Trace],
    stored: Mapping[str, Stored],
) -> TaskRuns:
    env = study.tasks[task]
    agents, failures, random_means = {}, [], []
    for agent, configurations in study.agents.items():
        widest = max(len(c.seeds) for c in configurations)
        budgets = {c.budget for c in configurations}
        rows: list[tuple[Trace | None, ...]] = []
        for c, configuration in enumerate(configurations):
            row: list[Trace | None] = [None] * widest
            for s, seed in enumerate(configuration.seeds):
                run = placed.get((task, agent, c, s))
                if run is None:
                    continue
                row[s] = traces.get(run.id)
                result = stored[run.id].result
                if not stored[run.id].done:
                    failures.append((agent, c, seed, str(result.get("reason"))))
                elif configuration.agent["name"] == "random" and result["mean_valid_reward"] is not None:
                    random_means.append((result["mean_valid_reward"], result["valid"]))
            rows.append(tuple(row))
        settings = [{**c.hyperparameters, **({"budget": c.budget} if len(budgets) > 1 else {})} for c in configurations]
        defaults = [c for c, configuration in enumerate(configurations) if configuration.is_default]
        agents[agent] = AgentRuns(agent, tuple(settings), defaults[0] if defaults else None, tuple(rows))
    objective, optimum = _objective(env, task in study.enumerated)
    means = np.array(random_means, float).reshape(-1, 2)
    return TaskRuns(
        task=task,
        env=str(env["id"]),
        optimum=optimum,
        average_random=float(np.average(means[:, 0], weights=means[:, 1])) if len(means) else None,
        log_scale=objective == "log",
        agents=agents,
        budget=max(c.budget for configurations in study.agents.values() for c in configurations),
        failures=failures,
    )


def _objective(env: Mapping[str, Any], enumerate_it: bool) -> tuple[str, float | None]:
    """The objective's form and the reward of the exact optimum, where that is known or to be enumerated."""
    kwargs = {**env["kwargs"]}
    try:
        evaluator = Evaluator(env["id"], env["objective"], env["horizon"], kwargs)
    except Exception as error:  # a constructor may raise anything
        raise ArchGymError(f"cannot make {env['id']} to ask for its optimum: {error}") from error
    try:
        if enumerate_it:
            with progress_bar() as tell:
                found = stored_optimum(
                    evaluator.simulator, evaluator.objective, progress=lambda done, size: tell(f"optimum of {env['id']}", done / size)
                )
        else:
            found = known_optimum(evaluator.simulator, evaluator.objective)
    finally:
        evaluator.simulator.close()
    return evaluator.objective.form, None if found is None else found.best_reward
