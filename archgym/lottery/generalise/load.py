"""Reads the stored runs of a study of kind "generalise": shares of the exact optimum, split by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow

from archgym.lottery.generalise.data import Baseline, TaskShares, Training
from archgym.space import Array
from archgym.study.design import Run, Study
from archgym.study.store import Store, Stored

_BASELINES = {
    Baseline.NEAREST: "share_nearest",
    Baseline.ONE_FOR_ALL: "share_one_for_all",
    Baseline.RANDOM: "share_random",
}


def load_shares(study: Study, store: Store) -> list[TaskShares]:
    """All stored runs of a study, task by task.

    Raises:
        ArchGymError: a file that cannot be read.
    """
    stored = store.read()
    runs = list(study.runs())
    there = [run for run in runs if run.id in stored]
    done = [stored[run.id] for run in there if stored[run.id].done]
    rows = {found.id: (found, table) for found, table in store.table(done)}
    return [
        _task(
            study,
            task,
            [run for run in runs if run.task == task],
            {run.id: rows[run.id] for run in there if run.task == task and run.id in rows},
            [
                (run.agent, str(stored[run.id].result.get("reason")))
                for run in there
                if run.task == task and not stored[run.id].done
            ],
        )
        for task in study.tasks
    ]


def _task(
    study: Study,
    task: str,
    runs: Sequence[Run],
    rows: Mapping[str, tuple[Stored, pyarrow.Table]],
    failures: Sequence[tuple[str, str]],
) -> TaskShares:
    splits = study.splits[task].splits
    names = list(study.splits[task].searched)
    place = {name: c for c, name in enumerate(names)}
    held_out = np.array([[name in split.held_out.names for name in names] for split in splits])
    baselines = {baseline: np.full(held_out.shape, np.nan) for baseline in Baseline}
    optimum = np.full(len(names), np.nan)
    policies: dict[str, dict[int, Training]] = {}
    searches: dict[str, Array] = {}
    seeds = max(len(c.seeds) for configurations in study.agents.values() for c in configurations)
    of_split = {split.seed: j for j, split in enumerate(splits)}
    exact = True
    for run in (run for run in runs if run.split is not None):
        samples = int(run.specification["budget"])
        trained = policies.setdefault(run.agent, {}).setdefault(
            samples,
            Training(
                np.full((len(splits), seeds, len(names), study.verify), np.nan),
                np.full((len(splits), seeds), np.nan),
            ),
        )
        if run.id in rows and run.split is not None:
            found, table = rows[run.id]
            j, s = of_split[run.split], run.replicate
            at = [place[name] for name in table["context"].to_pylist()]
            columns = [table[f"share_{v + 1}"].to_numpy() for v in range(study.verify)]
            trained.shares[j, s, at] = np.stack(columns, axis=1)
            trained.seconds[j, s] = found.result["seconds"]
            optimum[at] = table["optimum"].to_numpy()
            for baseline, column in _BASELINES.items():
                baselines[baseline][j, at] = table[column].to_numpy()
            exact = exact and bool(found.result["exact"])
    for run in (run for run in runs if run.context is not None):
        samples = int(run.specification["budget"])
        shares = searches.setdefault(run.agent, np.full((seeds, len(names), samples), np.nan))
        if run.id in rows and run.context is not None:
            c = place[run.context]
            shares[run.replicate, c] = _best_share(rows[run.id][1], optimum[c], samples)
    env = str(study.tasks[task]["id"])
    ratio = float(np.mean([split.ratio for split in splits]))
    return TaskShares(
        task, env, names, held_out, ratio, study.by, baselines, exact, policies, searches, len(runs),
        study.verify, [split.seed for split in splits], failures,
    )  # fmt: skip


def _best_share(table: pyarrow.Table, optimum: float, samples: int) -> Array:
    """Share of the best valid design after 1 to `samples` samples, float64 [samples]; NaN without a
    known optimum.
    """
    reward = np.full(samples, -np.inf)
    valid = table["valid"].to_numpy().astype(bool)
    reward[table["sample"].to_numpy()[valid]] = table["reward"].to_numpy()[valid]
    return np.exp(np.maximum.accumulate(reward) - optimum)
