"""From a study and its folder to what the statistics read: the improvements of every stored run, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.lottery.data import AgentRuns, TaskRuns, Trace
from archgym.lottery.fronts import Judge, Samples
from archgym.optimum import known_optimum, stored_optimum
from archgym.progress import progress_bar
from archgym.space import Array
from archgym.study.design import Run, Study
from archgym.study.store import Store, Stored
from archgym.task import EnvSpecification, Specification

_COLUMNS = ("sample", "reward", "valid", "elapsed_seconds")


def load_tasks(study: Study, store: Store) -> list[TaskRuns]:
    """All stored runs of a study.

    Raises:
        ArchGymError: a file that cannot be read.
    """
    stored = store.read()
    runs = {run.id: run for run in study.runs() if run.id in stored}
    fronts = {task: EnvSpecification.from_dict(study.tasks[task]).front for task in study.front_references}
    traces: dict[str, Trace] = {}
    searched: dict[str, dict[str, Samples]] = {task: {} for task in fronts}
    wanted = dict.fromkeys([*_COLUMNS, *(metric for front in fronts.values() for metric in front)])
    for found, table in store.table([stored[id_] for id_ in runs if stored[id_].done], tuple(wanted)):
        columns = {name: table[name].to_numpy() for name in table.column_names}
        task = runs[found.id].task
        if task in fronts:
            searched[task][found.id] = _samples(found, columns, fronts[task])
        else:
            traces[found.id] = _trace(found, columns)
    judges = {task: _judge(study, task, members.values()) for task, members in searched.items()}
    traces |= {id_: judges[task].trace(run) for task, members in searched.items() for id_, run in members.items()}
    placed = {(run.task, run.agent, run.configuration, run.replicate): run for run in runs.values()}
    return [_task(study, task, placed, traces, stored, judges.get(task)) for task in study.tasks]


def _trace(found: Stored, columns: Mapping[str, Array]) -> Trace:
    valid = columns["valid"].astype(bool)
    reward = np.where(valid, columns["reward"], -np.inf)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(reward)])[: len(reward)]
    improved = np.flatnonzero(reward > before)
    return Trace(columns["sample"][improved], reward[improved], columns["elapsed_seconds"][improved], *_spent(found))


def _samples(found: Stored, columns: Mapping[str, Array], front: Sequence[str]) -> Samples:
    valid = columns["valid"].astype(bool)
    values = np.stack([columns[metric][valid].astype(float) for metric in front], axis=1)
    return Samples(columns["sample"][valid], columns["elapsed_seconds"][valid], values, *_spent(found))


def _spent(found: Stored) -> tuple[int, float]:
    """Samples and wall seconds that a run was given."""
    return int(Specification.from_dict(found.specification).budget), float(found.result["seconds"])


def _judge(study: Study, task: str, seen: Iterable[Samples]) -> Judge:
    env = EnvSpecification.from_dict(study.tasks[task])
    with _evaluator(env) as evaluator, progress_bar() as tell:
        return Judge.of(
            evaluator,
            env.front,
            study.front_references[task],
            seen,
            enumerate_it=task in study.enumerated,
            progress=lambda _, share: tell(f"front of {env.id}", share),
        )


def _task(
    study: Study,
    task: str,
    placed: Mapping[tuple[str, str, int, int], Run],
    traces: Mapping[str, Trace],
    stored: Mapping[str, Stored],
    judge: Judge | None,
) -> TaskRuns:
    env = EnvSpecification.from_dict(study.tasks[task])
    agents, failures, random_means = {}, [], []
    clipped = 0.0
    for agent, configurations in study.agents.items():
        widest = max(len(c.seeds) for c in configurations)
        budgets = {c.budget for c in configurations}
        rows: list[tuple[Trace | None, ...]] = []
        valid = cut = 0
        for c, configuration in enumerate(configurations):
            row: list[Trace | None] = [None] * widest
            for s, seed in enumerate(configuration.seeds):
                run = placed.get((task, agent, c, s))
                if run is None:
                    continue
                row[s] = traces.get(run.id)
                result = stored[run.id].result
                if "clipped" in result:  # finished, by a version that counts them
                    valid, cut = valid + result["valid"], cut + result["clipped"]
                if not stored[run.id].done:
                    failures.append((agent, c, seed, str(result.get("reason"))))
                elif configuration.agent.name == "random" and result["mean_valid_reward"] is not None:
                    random_means.append((result["mean_valid_reward"], result["valid"]))
            rows.append(tuple(row))
        clipped = max(clipped, cut / valid if valid else 0.0)
        settings = [{**c.hyperparameters, **({"budget": c.budget} if len(budgets) > 1 else {})} for c in configurations]
        defaults = [c for c, configuration in enumerate(configurations) if configuration.is_default]
        agents[agent] = AgentRuns(agent, tuple(settings), defaults[0] if defaults else None, tuple(rows))
    if judge is None:
        form, optimum, capped = _objective(env, task in study.enumerated)
        means = np.array(random_means, float).reshape(-1, 2)
        average_random = float(np.average(means[:, 0], weights=means[:, 1])) if len(means) else None
    else:
        form, optimum, capped, average_random = "log", judge.optimum, False, None
    return TaskRuns(
        task=task,
        env=str(env.id),
        optimum=optimum,
        average_random=average_random,
        log_scale=form == "log",
        agents=agents,
        budget=max(c.budget for configurations in study.agents.values() for c in configurations),
        failures=failures,
        clipped=clipped,
        capped=capped,
        judged_by="" if judge is None else str(judge),
    )


def _objective(env: EnvSpecification, enumerate_it: bool) -> tuple[str, float | None, bool]:
    """The objective's form, the reward of the exact optimum, where that is known or to be enumerated, and whether it is cut."""
    with _evaluator(env) as evaluator:
        if enumerate_it:
            with progress_bar() as tell:
                found = stored_optimum(
                    evaluator.simulator, evaluator.objective, progress=lambda _, share: tell(f"optimum of {env.id}", share)
                )
        else:
            found = known_optimum(evaluator.simulator, evaluator.objective)
    optimum = None if found is None else found.best_reward
    return evaluator.objective.form, optimum, evaluator.objective.caps(optimum)


@contextmanager
def _evaluator(env: EnvSpecification) -> Iterator[Evaluator]:
    """The task itself, to ask it about its optimum."""
    try:
        evaluator = Evaluator.from_specification(env)
    except Exception as error:  # a constructor may raise anything
        raise ArchGymError(f"cannot make {env.id} to ask for its optimum: {error}") from error
    try:
        yield evaluator
    finally:
        evaluator.simulator.close()
