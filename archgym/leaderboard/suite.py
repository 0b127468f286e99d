"""Suites: the tasks, budgets and seeds on which entries are compared.

A suite is a study file (`archgym.study.design`) whose agents all have the suite's budgets and seeds; the
agents themselves are no part of it. Its digest is a SHA-256 of tasks, budgets and seeds.

Tasks are deterministic, so that a design evaluated again has equal metrics.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from archgym.contexts.evaluator import make_evaluator
from archgym.errors import ArchGymError, nearest
from archgym.evaluator import Evaluator
from archgym.files.paths import open_regular
from archgym.space import DesignSpace
from archgym.study.file import MAX_CHARACTERS, EnvTable, StudyFile
from archgym.task import EnvSpecification

SHIPPED = Path(__file__).parent / "suites"
DEFAULT = "archgym-1"


@dataclass(frozen=True)
class SuiteTask:
    """A task of a suite.

    Attributes:
        label: name of the task.
        file: name of an entry's file with rows of this task.
        env: the environment, in the form of a specification.
    """

    label: str
    file: str
    env: EnvSpecification

    @cached_property
    def evaluator(self) -> Evaluator:
        """The environment."""
        return Evaluator.from_specification(self.env)

    @property
    def space(self) -> DesignSpace:
        """The design space."""
        return self.evaluator.simulator.space

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics that agents see; report-only ones are no part of an entry."""
        return [metric.name for metric in self.evaluator.simulator.metrics if not metric.report_only]

    def matches(self, env: Mapping[str, Any]) -> bool:
        """Whether a specification's environment is this task."""
        return canonical_json(env) == canonical_json(self.env.as_dict)


@dataclass(frozen=True)
class Suite:
    """Tasks, budgets and seeds.

    Attributes:
        name: name of the suite, with its number, which a change of tasks, budgets or seeds raises.
        tasks: label -> task.
        budgets: samples per run, increasing.
        seeds: seeds of the runs of each task and budget.
        timeout_s: limit of a run, in seconds.
        text: the study file.
    """

    name: str
    tasks: Mapping[str, SuiteTask]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    timeout_s: float
    text: str

    @classmethod
    def read(cls, suite: str | os.PathLike[str] = DEFAULT) -> Suite:
        """The suite of a study file, or a shipped one by its name.

        Raises:
            ArchGymError: a file that cannot be read, or that lacks tasks, budgets or seeds of a suite.
        """
        path = Path(suite).expanduser()
        shipped = SHIPPED / f"{suite}.toml"
        if not path.is_file() and shipped.is_file():
            path = shipped
        try:
            with open_regular(path, follow=True) as file:
                text = file.read(MAX_CHARACTERS + 1).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            known = sorted(each.stem for each in SHIPPED.glob("*.toml"))
            reason = getattr(error, "strerror", None) or error
            raise ArchGymError(f"cannot read the suite {suite}: {reason}; {nearest(suite, known)}") from error
        return cls.parse(text, str(suite))

    @classmethod
    def parse(cls, text: str, source: str = "suite") -> Suite:
        """The suite of a study file's text; errors as of `read`."""
        file = StudyFile(text, source)
        if file.generalise or file.study.effort != "samples":
            raise file.error(("study",), 'expected a suite of kind "search" and effort "samples"')
        budgets = {tuple(sorted(set(file.budgets(i) or file.study_budgets))) for i in range(len(file.agent))}
        seeds = {tuple(file.seeds(i)) for i in range(len(file.agent))}
        if len(budgets) > 1 or len(seeds) > 1 or any(env.budget is not None for env in file.env):
            raise file.error(
                ("agent", 0), "expected a suite's agents with equal budgets and seeds; give all the same"
            )
        tasks: dict[str, SuiteTask] = {}
        for i, env in enumerate(file.env):
            if env.label is None or env.label in tasks:
                raise file.error(("env", i), "expected a label of its own for each task of a suite")
            try:
                plain = re.sub(r"[^a-z0-9]+", "-", env.label.lower()).strip("-")[:40]
                tasks[env.label] = SuiteTask(env.label, f"{i + 1:02}-{plain}.jsonl", _environment(env))
            except ArchGymError as error:
                raise file.error(("env", i), str(error)) from error
        timeout = file.study.timeout_s or 3600.0
        return cls(file.study.name, tasks, budgets.pop(), seeds.pop(), timeout, text)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of tasks, budgets and seeds."""
        tasks = {label: task.env.as_dict for label, task in self.tasks.items()}
        whole = {"name": self.name, "tasks": tasks, "budgets": self.budgets, "seeds": self.seeds}
        return hashlib.sha256(canonical_json(whole).encode()).hexdigest()

    def find(self, env: Mapping[str, Any]) -> SuiteTask | None:
        """The task that a specification's environment is; None without one."""
        return next((task for task in self.tasks.values() if task.matches(env)), None)


def canonical_json(value: Any) -> str:
    """JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _environment(env: EnvTable) -> EnvSpecification:
    """The environment of a table, as `archgym.study.design.Study` writes it in a run's specification.

    Raises:
        ArchGymError: an environment that cannot be made, or whose results differ between evaluations.
    """
    if env.front is not None or env.contexts is not None:
        raise ArchGymError("expected a task with one reward, got a front or contexts; leave them out")
    kwargs = dict(env.kwargs)
    horizon = kwargs.pop("horizon", 1)
    evaluator = make_evaluator(env.id, env.objective, horizon, kwargs, None)
    simulator = evaluator.simulator
    if not simulator.deterministic or simulator.stochastic:
        raise ArchGymError(
            f"expected a deterministic task, got {env.id}, which is measured or noisy: its rows cannot be "
            "verified; choose another"
        )
    written = json.loads(json.dumps(evaluator.specification()))
    evaluator.close()
    return replace(EnvSpecification.from_dict(written), id=env.id)
