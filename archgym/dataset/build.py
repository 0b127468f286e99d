"""One data set from any number of studies, searches and data sets, all of the same environment and simulator.

A study stores only the designs that were the best so far, unless its file sets `history = "full"`.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from archgym.dataset.data import PROVENANCE, Dataset, merged
from archgym.dataset.files import FILE, load_dataset
from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.files.archive import reading
from archgym.files.columns import read_designs
from archgym.simulator import Simulator
from archgym.study.design import Study
from archgym.study.store import Store
from archgym.task import EnvSpecification, Specification


def build(sources: Sequence[str | os.PathLike[str]], *, env: str | None = None) -> Dataset:
    """All measurements of the sources, one row per design and agent.

    Args:
        sources: folders of studies, files of `archgym search --out`, folders of data sets.
        env: label or environment id of a task, for studies with several.

    Raises:
        ArchGymError: a source that is not one of these or is damaged; sources of several environments,
            arguments or simulators; a simulator that differs from the installed one; a deterministic
            simulator with different metrics for one design.
    """
    parts: list[Dataset] = []
    for source in sources:
        path = Path(source).expanduser()
        if (path / FILE).is_file():
            parts.append(load_dataset(path))
        elif path.is_file():
            parts.extend(_runs([read_search(path)], f"a search in {path.name}"))
        elif (path / "runs").is_dir():
            parts.extend(_runs(_studied(path, env), f"the study in {path.name}"))
        elif not path.exists():
            raise ArchGymError(
                f"{path} does not exist; give folders of studies or data sets, or files of archgym search "
                "--out"
            )
        else:
            raise ArchGymError(f"{path} is not a study, a file of archgym search --out or a data set")
    if not parts:
        raise ArchGymError("nothing to build from: give folders of studies with finished runs")
    _check_one_environment([part.environment for part in parts])
    simulator = simulator_of(parts[0].environment)
    return merged(
        _joined(parts), by_agent=True, deterministic=simulator.deterministic and not simulator.stochastic
    )


def read_search(path: Path) -> tuple[Specification, pyarrow.Table]:
    """Specification and history of a file of `archgym search --out`.

    Raises:
        ArchGymError: no such file.
    """
    with reading(path, "a file of archgym search --out"):
        table = pyarrow.parquet.read_table(path)
        return Specification.from_dict(json.loads((table.schema.metadata or {})[b"archgym"])), table


def _studied(folder: Path, env: str | None) -> Iterator[tuple[Specification, pyarrow.Table]]:
    """Specification and rows of every finished run of a study, or of one of its tasks."""
    store = Store(folder)
    stored = [run for run in store.read().values() if run.done]
    if any("held_out" in run.specification for run in stored):
        raise ArchGymError(
            f"{folder} is of kind 'generalise', with runs of many contexts, and a data set is of one task; "
            "give a study of kind 'search'"
        )
    if env is not None:
        labels = _labels(store)
        stored = [
            run for run in stored if env in _names(Specification.from_dict(run.specification).env, labels)
        ]
        if not stored:
            raise ArchGymError(
                f"{folder} has no finished run of {env!r}; its tasks are "
                f"{', '.join(labels.values()) or 'not known'}"
            )
    if not stored:
        raise ArchGymError(f"{folder} has no finished run: run the study first")
    for run, table in store.table(stored):
        yield Specification.from_dict(run.specification), table


def _labels(store: Store) -> dict[str, str]:
    """The labels of a study's tasks by environment."""
    if not store.study_file.is_file():
        return {}
    return {
        _key(EnvSpecification.from_dict(task)): label
        for label, task in Study.read(store.study_file).tasks.items()
    }


def _names(env: EnvSpecification, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Names of a task: its id, with the module that registers it or without, and its label."""
    return (env.id, env.id.rpartition(":")[2], labels.get(_key(env), ""))


def _key(env: EnvSpecification) -> str:
    """An environment as text, without the simulator, whose specification may differ between versions."""
    return json.dumps(replace(env, simulator=None).as_dict, sort_keys=True)


def _runs(runs: Iterable[tuple[Specification, pyarrow.Table]], source: str) -> Iterator[Dataset]:
    """One data set per environment of the runs, rows as they were sampled."""
    by_environment: dict[str, list[tuple[Specification, pyarrow.Table]]] = {}
    environments: dict[str, dict[str, Any]] = {}
    for specification, table in runs:
        environment = specification.env.measured
        key = json.dumps(environment, sort_keys=True)
        environments[key] = environment
        by_environment.setdefault(key, []).append((specification, table))
    _check_one_environment(list(environments.values()))
    for key, members in by_environment.items():
        yield _tidy(environments[key], members, source)


def _tidy(
    environment: Mapping[str, Any], runs: Sequence[tuple[Specification, pyarrow.Table]], source: str
) -> Dataset:
    simulator = simulator_of(environment)
    metrics = [m.name for m in simulator.metrics]
    names = ["sample", "feasible", *simulator.space.names, *metrics]
    tables = [table.select(names).replace_schema_metadata(None) for _, table in runs]
    whole = pyarrow.concat_tables(tables, promote_options="permissive")
    rows = np.array([table.num_rows for table in tables])
    specifications = [specification for specification, _ in runs]
    agents = [specification.agent for specification in specifications]
    n, budgets = whole.num_rows, sum(int(specification.budget or 0) for specification in specifications)
    remark = (
        f"{len(runs):,} runs of {source} "
        f"({', '.join(f'{a} {c:,}' for a, c in sorted(Counter(a.name for a in agents).items()))})"
    )
    if n < budgets:
        remark += (
            f'; {n:,} of at most {budgets:,} samples are stored: a study keeps them all with history = "full"'
        )
    values = [whole[name].to_numpy().astype(float) for name in metrics]
    return Dataset(
        environment=environment,
        space=simulator.space,
        metrics=simulator.metrics,
        indices=read_designs(simulator.space, whole),
        values=np.stack(values, axis=1) if values else np.empty((n, 0)),
        feasible=whole["feasible"].to_numpy().astype(bool),
        agent=np.repeat([agent.name for agent in agents], rows),
        configuration=np.repeat(
            [json.dumps(agent.hyperparameters, sort_keys=True) for agent in agents], rows
        ),
        seed=np.repeat([int(specification.seed) for specification in specifications], rows),
        sample=whole["sample"].to_numpy().astype(np.int64),
        count=np.ones(n, np.int64),
        sources=(remark,),
    )


def simulator_of(environment: Mapping[str, Any]) -> Simulator:
    """The simulator of runs, closed.

    Raises:
        ArchGymError: the installed simulator is a different one.
    """
    stored = EnvSpecification.from_dict(environment)
    simulator = Evaluator.from_specification(stored).simulator
    here = json.loads(json.dumps(simulator.specification))
    simulator.close()
    if here != stored.simulator:
        raise ArchGymError(
            f"the runs are of the simulator {stored.simulator}, but the installed one is {here}: read them "
            "with the version of archgym and of the plug-ins that made them"
        )
    return simulator


def _check_one_environment(environments: Sequence[Mapping[str, Any]]) -> None:
    for first, other in itertools.pairwise(environments):
        for part in ("id", "kwargs", "simulator"):
            if other[part] != first[part]:
                raise ArchGymError(
                    f"expected one environment, but these differ in {part}: {first[part]} and {other[part]}; "
                    "choose a task of a study with --env, or build a data set of each"
                )


def _joined(parts: Sequence[Dataset]) -> Dataset:
    first = parts[0]
    if any(part.space != first.space or part.metrics != first.metrics for part in parts):
        raise ArchGymError(
            "the data sets have different parameters or metrics; build a data set of each version of the "
            "simulator"
        )
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("indices", "values", *PROVENANCE)
    }
    return Dataset(
        first.environment,
        first.space,
        first.metrics,
        **arrays,
        sources=tuple(s for part in parts for s in part.sources),
    )
