"""A study's rows as Optuna studies, for optuna-dashboard and whatever else reads Optuna's storages.

    Optuna study     "<task>, <agent>": an agent on a task, its reward maximised; each metric of a front,
                     where the task has one, in its own direction
    trial            a stored row, in the order of samples: the best value after n trials rises as in the runs
    parameters       those that are active; distributions of `to_optuna` (reals without a step), values
                     that Optuna does not take as text
    state            FAIL where infeasible
    constraints      metric - limit (or limit - metric): above 0 where violated
    user attributes  run, seed, sample, hyperparameters ("agent.<name>") and metrics
    times            of the run's start by its file, plus `elapsed_seconds`

Optuna's dashboard reads all trials of a study at once, and a database takes some 20 ms per trial. An Optuna
study therefore has at most `limit` trials, of whole runs: the one with the best reward, then others in the
order of their identifiers, which is random. The best value is that of all runs.
"""

from __future__ import annotations

import datetime
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow

from archgym.errors import ArchGymError, reason_of
from archgym.evaluator import Evaluator
from archgym.files.columns import read_designs
from archgym.objective import AtMost, Objective
from archgym.progress import Progress, silent
from archgym.simulator import Metric
from archgym.space import Array, DesignSpace, Real
from archgym.space.conversion import to_optuna
from archgym.study.store import Store, Stored
from archgym.task import Specification
from archgym.words import assignments

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

LIMIT = 1000  # trials of an Optuna study
MAX_NAME = 500  # characters of an Optuna study's name, which databases limit to 512
_BLOCK = 100  # trials between two calls of a progress
_SIMPLE = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        studies, trials: numbers of Optuna studies and of their trials.
        runs, of_runs: runs whose rows are in them, and finished runs.
    """

    studies: int
    trials: int
    runs: int
    of_runs: int


class StudyTrials:
    """The finished runs of a study as trials.

    Args:
        store: folder of the study. Damaged files are passed over, with a warning.
        limit: trials of an Optuna study.
    """

    def __init__(self, store: Store, limit: int = LIMIT):
        self._store, self._limit = store, limit
        self._groups: dict[str, list[Stored]] = {}
        places: dict[str, dict[str, list[Stored]]] = {}  # folders -> environment -> runs
        for run in store.read().values():
            # training runs of policies have contexts for rows
            if run.done and Specification.from_dict(run.specification).held_out is None:
                env = json.dumps(run.specification["env"], sort_keys=True)
                places.setdefault(", ".join(run.path.parts[-3:-1]), {}).setdefault(env, []).append(run)
        for name, environments in places.items():
            for env, runs in environments.items():  # several where agents search contexts
                kwargs = assignments(json.loads(env)["kwargs"])
                title = name if len(environments) == 1 else f"{name} ({kwargs or env})"
                self._groups[title[:MAX_NAME]] = runs

    def write(self, storage: str, progress: Progress = silent) -> Exported:
        """Write them to a storage.

        Args:
            storage: URL of a database, such as "sqlite:///study.db", or path of a journal file, which must
                not exist.
            progress: a function of (what is being done, the share that is done).

        Raises:
            ArchGymError: the storage cannot be written, has a study of one of the names, or an environment
                cannot be made here.
        """
        if not self._groups:
            raise ArchGymError(f"{self._store.folder} has no finished search: run the study first")
        with _quiet():
            return self._write(storage, progress)

    def _write(self, storage: str, progress: Progress) -> Exported:
        import optuna

        target = _Target(storage)
        names = set(optuna.get_all_study_names(target.storage))
        if taken := names & self._groups.keys():
            raise ArchGymError(f"{storage} has a study named {min(taken)!r} already; give another storage")
        tasks = {title: _Task(members[0].specification) for title, members in self._groups.items()}
        trials = runs = 0
        for n, (title, members) in enumerate(sorted(self._groups.items())):
            task = tasks[title]
            study = optuna.create_study(storage=target.storage, study_name=title, directions=task.directions)
            study.set_metric_names(task.names)
            for name, value in task.attributes.items():
                study.set_user_attr(name, value)
            found = []
            for run, table in self._chosen(members):
                found += [(sample, run.id, trial) for sample, trial in task.trials(run, table)]
                runs += 1
            found.sort(key=lambda each: each[:2])
            for start in range(0, len(found), _BLOCK):
                progress(f"trials of {title}", (n + start / len(found)) / len(self._groups))
                study.add_trials([trial for *_, trial in found[start : start + _BLOCK]])
            trials += len(found)
        target.close()
        return Exported(len(self._groups), trials, runs, sum(map(len, self._groups.values())))

    def _chosen(self, runs: Sequence[Stored]) -> Iterator[tuple[Stored, pyarrow.Table]]:
        """Runs with their rows, within the limit, one at least; the best one first."""
        order = sorted(runs, key=lambda run: run.id)
        best = max(order, key=lambda run: _or_least(run.result.get("best_reward")))
        order.sort(key=lambda run: run is not best)
        rows = 0
        for run, table in self._store.table(order):
            rows += table.num_rows
            if rows > self._limit and rows > table.num_rows:
                return
            yield run, table


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its lines on new studies, and without warnings of interfaces that may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _or_least(reward: float | None) -> float:
    return -np.inf if reward is None else reward


class _Task:
    """A task's space, objective and metrics.

    Raises:
        ArchGymError: its environment cannot be made here.
    """

    def __init__(self, specification: Mapping[str, Any]):
        run = Specification.from_dict(specification)
        try:
            with closing(Evaluator.from_specification(run.env)) as evaluator:
                self.space: DesignSpace = evaluator.simulator.space
                self.objective: Objective = evaluator.objective
                self.metrics: Sequence[Metric] = evaluator.simulator.metrics
        except Exception as error:  # a constructor may raise anything
            raise ArchGymError(
                f"{run.env.id} cannot be made here, which its parameters need: {reason_of(error)}"
            ) from error
        self.front = [metric for name in run.env.front for metric in self.metrics if metric.name == name]
        self.attributes = {"env": run.env.id, "agent": run.agent.name, "objective": self.objective.to_dict()}
        self._values = [_distinct(parameter.plain) for parameter in self.space]
        self._distributions = _distributions(self.space, self._values)

    @property
    def names(self) -> list[str]:
        """Names of the values that trials have."""
        return [metric.name for metric in self.front] or ["reward"]

    @property
    def directions(self) -> list[Any]:
        """Direction of each value."""
        if not self.front:
            return ["maximize"]
        return ["maximize" if metric.better == "higher" else "minimize" for metric in self.front]

    def trials(self, run: Stored, table: pyarrow.Table) -> Iterator[tuple[int, FrozenTrial]]:
        """The rows of a run: sample and trial."""
        from optuna.trial import TrialState, create_trial

        specification = Specification.from_dict(run.specification)
        about = {
            "run": run.id,
            "seed": specification.seed,
            **{f"agent.{name}": _taken(value) for name, value in specification.agent.hyperparameters.items()},
        }
        indices = read_designs(self.space, table)
        active = self.space.active(indices)
        columns = {name: table[name].to_pylist() for name in _columns(table, self.metrics)}
        limits = self._violations(table)
        start = _started(run)
        elapsed = columns.get("elapsed_seconds", [0.0] * len(indices))
        for row, design in enumerate(indices.tolist()):
            held = [p for p, there in enumerate(active[row]) if there]
            feasible = columns["feasible"][row]
            measured = {m.name: columns[m.name][row] for m in self.metrics if m.name in columns}
            values = [measured[m.name] for m in self.front] or [columns["reward"][row]]
            whole = feasible and all(value is not None and np.isfinite(value) for value in values)
            trial = create_trial(
                state=TrialState.COMPLETE if whole else TrialState.FAIL,
                values=values if whole else None,
                params={self.space.names[p]: self._values[p][design[p]] for p in held},
                distributions={self.space.names[p]: self._distributions[p] for p in held},
                user_attrs={
                    **{name: value for name, value in measured.items() if value is not None},
                    **about,
                    "sample": columns["sample"][row],
                },
                system_attrs={"constraints": limits[row]} if limits is not None and whole else {},
            )
            trial.datetime_start = start
            trial.datetime_complete = start + datetime.timedelta(seconds=elapsed[row] or 0.0)
            yield columns["sample"][row], trial

    def _violations(self, table: pyarrow.Table) -> list[list[float]] | None:
        """How far each row is above each limit, [N, constraints]; None without constraints."""
        constraints = self.objective.constraints
        if not constraints:
            return None
        columns: list[Array] = []
        for each in constraints:
            metric = table[each.metric].to_numpy().astype(float)
            columns.append(metric - each.limit if isinstance(each, AtMost) else each.limit - metric)
        found = np.nan_to_num(np.stack(columns, axis=1), nan=1.0)
        valid = table["valid"].to_numpy(zero_copy_only=False)
        inside = (found <= 0).all(axis=1)
        found[~valid & inside, 0] = 1.0  # refused by the objective for another reason
        return [[float(value) for value in row] for row in found]


def _columns(table: pyarrow.Table, metrics: Sequence[Metric]) -> list[str]:
    wanted = {"sample", "feasible", "reward", "elapsed_seconds", *(metric.name for metric in metrics)}
    return [name for name in table.column_names if name in wanted]


def _taken(value: Any) -> Any:
    """A value as Optuna takes it: itself, or its text."""
    return value if isinstance(value, _SIMPLE) else str(value)


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Values as Optuna takes them; with their position where two have one text."""
    taken = [_taken(value) for value in values]
    return taken if len(set(taken)) == len(taken) else [f"{i}: {value}" for i, value in enumerate(values)]


def _distributions(space: DesignSpace, values: Sequence[Sequence[Any]]) -> list[BaseDistribution]:
    """Optuna's distribution of each parameter: real ones without a step, of which Optuna would round the
    upper end down.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that Optuna cannot store
        found = to_optuna(space)
    for parameter, taken in zip(space, values, strict=True):
        if isinstance(parameter, Real):
            found[parameter.name] = FloatDistribution(min(taken), max(taken), log=parameter.log)
        elif isinstance(found[parameter.name], CategoricalDistribution):
            found[parameter.name] = CategoricalDistribution(taken)
    return list(found.values())


def _started(run: Stored) -> datetime.datetime:
    """When a run started, by the time of its file."""
    stored = 0.0
    with suppress(OSError):
        stored = os.stat(run.path).st_mtime
    return datetime.datetime.fromtimestamp(max(stored - run.result["seconds"], 0.0))


class _Target:
    """A storage of Optuna's: a database, or a journal that is written at the end, in one piece.

    Raises:
        ArchGymError: the database cannot be opened, or the journal exists.
    """

    def __init__(self, where: str):
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import BaseJournalBackend

        class Memory(BaseJournalBackend):
            """A journal in memory: a file would be locked, synchronised and read for every trial."""

            def __init__(self) -> None:
                self.logs: list[dict[str, Any]] = []

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                self.logs.extend(logs)

            def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
                return iter(self.logs[log_number_from:])

        self._path: Path | None = None
        self.storage: BaseStorage
        if "://" in where:
            try:
                self.storage = RDBStorage(where)
            except Exception as error:  # of the database's driver
                raise ArchGymError(f"cannot open the storage {where}: {reason_of(error)}") from error
            return
        self._path = Path(where).expanduser()
        if self._path.exists():
            raise ArchGymError(f"{self._path} exists; give another file for the journal")
        self._memory = Memory()
        self.storage = JournalStorage(self._memory)

    def close(self) -> None:
        """Write what is still in memory."""
        from optuna.storages.journal import JournalFileBackend

        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            JournalFileBackend(str(self._path)).append_logs(self._memory.logs)
        except OSError as error:
            raise ArchGymError(f"cannot write {self._path}: {error.strerror}; give another file") from error
