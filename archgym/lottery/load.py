"""Reads the stored runs of a study: the improvements of every run, arranged task by task, for the
statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.lottery.controls import find_controls
from archgym.lottery.data import AgentRuns, Control, TaskRuns, Trace
from archgym.lottery.fronts import Judge, Samples
from archgym.optimum import known_optimum, stored_optimum
from archgym.progress import progress_bar
from archgym.space import Array, Indices
from archgym.study.design import Run, Study
from archgym.study.store import Store, Stored
from archgym.task import EnvSpecification, Specification

Place: TypeAlias = tuple[str, int, int, Run]
"""A stored run of a task, after its agent, configuration and replicate."""

_COLUMNS = ("sample", "reward", "valid", "elapsed_seconds", "cost")


def load_tasks(study: Study, store: Store) -> list[TaskRuns]:
    """All stored runs of a study.

    Raises:
        ArchGymError: a file that cannot be read.
    """
    stored = store.read()
    runs = {run.id: run for run in study.runs() if run.id in stored}
    fronts = {task: EnvSpecification.from_dict(study.tasks[task]).front for task in study.front_references}
    traces: dict[str, Trace] = {}
    samples: dict[str, dict[str, Samples]] = {task: {} for task in fronts}
    wanted = dict.fromkeys([*_COLUMNS, *(metric for front in fronts.values() for metric in front)])
    for found, table in store.table([stored[id_] for id_ in runs if stored[id_].done], tuple(wanted)):
        columns = {name: table[name].to_numpy() for name in table.column_names}
        task = runs[found.id].task
        if task in fronts:
            samples[task][found.id] = _samples(found, columns, fronts[task])
        else:
            traces[found.id] = _trace(found, columns)
    judges = {task: _judge(study, task, members.values()) for task, members in samples.items()}
    traces |= {
        id_: judges[task].trace(run) for task, members in samples.items() for id_, run in members.items()
    }
    by_place = {(run.task, run.agent, run.configuration, run.replicate): run for run in runs.values()}
    places: dict[str, list[Place]] = {
        task: [
            (agent, c, s, run)
            for agent, configurations in study.agents.items()
            for c, configuration in enumerate(configurations)
            for s in range(len(configuration.seeds))
            if (run := by_place.get((task, agent, c, s))) is not None
        ]
        for task in study.tasks
    }
    return [_task(study, task, places[task], traces, stored, judges.get(task)) for task in study.tasks]


def _trace(found: Stored, columns: Mapping[str, Array]) -> Trace:
    valid = columns["valid"].astype(bool)
    reward = np.where(valid, columns["reward"], -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(reward)])[: len(reward)]
    improved = np.flatnonzero(reward > before)
    samples, total_seconds = _spent(found)
    seconds = columns["elapsed_seconds"][improved]
    costs = _costs(found, columns, improved)
    return Trace(columns["sample"][improved], reward[improved], seconds, samples, total_seconds, *costs)


def _samples(found: Stored, columns: Mapping[str, Array], front: Sequence[str]) -> Samples:
    valid = np.flatnonzero(columns["valid"].astype(bool))
    values = np.stack([columns[metric][valid].astype(float) for metric in front], axis=1)
    samples, total_seconds = _spent(found)
    seconds = columns["elapsed_seconds"][valid]
    costs = _costs(found, columns, valid)
    return Samples(columns["sample"][valid], seconds, values, samples, total_seconds, *costs)


def _spent(found: Stored) -> tuple[int, float]:
    """Budget of a run in samples, or in reference samples where it has a cost budget, and its wall time in
    seconds.
    """
    specification = Specification.from_dict(found.specification)
    budget = specification.budget
    if budget is None:
        budget = round((specification.cost_budget or 0.0) / found.result["reference_cost"])
    return int(budget), float(found.result["seconds"])


def _costs(
    found: Stored, columns: Mapping[str, Array], rows: Indices
) -> tuple[Array | None, float | None, dict[str, float]]:
    """Reference samples until each row, of the whole run, and of its charges by what they were for; None
    of a run without costs.
    """
    result = found.result
    if "cost" not in result:
        return None, None, {}
    reference = float(result["reference_cost"])
    charges = {what: amount / reference for what, amount in result["charges"].items()}
    return columns["cost"][rows].astype(float) / reference, float(result["cost"]) / reference, charges


def _judge(study: Study, task: str, seen: Iterable[Samples]) -> Judge:
    env = EnvSpecification.from_dict(study.tasks[task])
    with _evaluator(env) as evaluator, progress_bar() as progress:
        return Judge.from_runs(
            evaluator,
            env.front,
            study.front_references[task],
            seen,
            enumerate_it=task in study.enumerated,
            progress=lambda _, share: progress(f"front of {env.id}", share),
        )


def _task(
    study: Study,
    task: str,
    places: Sequence[Place],
    traces: Mapping[str, Trace],
    stored: Mapping[str, Stored],
    judge: Judge | None,
) -> TaskRuns:
    env = EnvSpecification.from_dict(study.tasks[task])
    controls: list[Control] = []
    if judge is None:
        form, optimum, capped, controls = _objective(env, task in study.enumerated)
        average_random = _average_random(study, places, stored)
    else:
        form, optimum, capped, average_random = "log", judge.optimum, False, None
    agents = {
        agent: _agent_runs(
            study,
            task,
            agent,
            {(c, s): traces.get(run.id) for a, c, s, run in places if a == agent},
        )
        for agent in study.agents
    }
    return TaskRuns(
        task=task,
        env=str(env.id),
        optimum=optimum,
        average_random=average_random,
        log_scale=form == "log",
        agents=agents,
        budget=max(c.budgets[task] for configurations in study.agents.values() for c in configurations),
        failures=[
            (agent, c, study.agents[agent][c].seeds[s], str(stored[run.id].result.get("reason")))
            for agent, c, s, run in places
            if not stored[run.id].done
        ],
        clipped=max(
            (_clipped([stored[run.id] for a, *_, run in places if a == agent]) for agent in study.agents),
            default=0.0,
        ),
        capped=capped,
        judged_by="" if judge is None else str(judge),
        effort=study.effort,
        controls=controls,
    )


def _agent_runs(
    study: Study, task: str, agent: str, traces: Mapping[tuple[int, int], Trace | None]
) -> AgentRuns:
    configurations = study.agents[agent]
    replicates = max(len(c.seeds) for c in configurations)
    budgets = {c.budgets[task] for c in configurations}
    defaults = [c for c, configuration in enumerate(configurations) if configuration.is_default]
    return AgentRuns(
        agent,
        tuple(
            {**c.agents[task].hyperparameters, **({"budget": c.budgets[task]} if len(budgets) > 1 else {})}
            for c in configurations
        ),
        defaults[0] if defaults else None,
        tuple(tuple(traces.get((c, s)) for s in range(replicates)) for c in range(len(configurations))),
        study.effort,
    )


def _average_random(study: Study, places: Sequence[Place], stored: Mapping[str, Stored]) -> float | None:
    """The mean reward of the valid designs of random search."""
    results = [
        stored[run.id].result
        for agent, c, _, run in places
        if study.agents[agent][c].agents[run.task].name == "random" and stored[run.id].done
    ]
    means = np.array(
        [(r["mean_valid_reward"], r["valid"]) for r in results if r["mean_valid_reward"] is not None], float
    ).reshape(-1, 2)
    return float(np.average(means[:, 0], weights=means[:, 1])) if len(means) else None


def _clipped(runs: Iterable[Stored]) -> float:
    """Share of the valid rewards that are clipped; runs stored by versions that did not count them are
    left out.
    """
    counted = [run.result for run in runs if "clipped" in run.result]
    valid = sum(result["valid"] for result in counted)
    return sum(result["clipped"] for result in counted) / valid if valid else 0.0


def _objective(env: EnvSpecification, enumerate_it: bool) -> tuple[str, float | None, bool, list[Control]]:
    """The objective's form, the reward of the exact optimum (None where it is not known), whether that is
    clipped, and the task's controls.
    """
    with _evaluator(env) as evaluator:
        if enumerate_it:
            with progress_bar() as progress:
                found = stored_optimum(
                    evaluator.simulator,
                    evaluator.objective,
                    progress=lambda _, share: progress(f"optimum of {env.id}", share),
                )
        else:
            found = known_optimum(evaluator.simulator, evaluator.objective)
        controls = find_controls(evaluator, found)
    optimum = None if found is None else found.best_reward
    return evaluator.objective.form, optimum, evaluator.objective.caps(optimum), controls


@contextmanager
def _evaluator(env: EnvSpecification) -> Iterator[Evaluator]:
    """The task's simulator and objective."""
    try:
        evaluator = Evaluator.from_specification(env)
    except Exception as error:  # a constructor may raise anything
        raise ArchGymError(f"cannot make {env.id} to find its optimum: {error}") from error
    try:
        yield evaluator
    finally:
        evaluator.simulator.close()
