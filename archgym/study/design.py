"""Studies: a file of environments, agents with configurations, budgets and seeds, expanded into runs.

    [study]                           runs = environments x sum over agents (configurations x budgets x seeds)
    name = "example"
    effort = "samples"                # default; "cost": budgets are reference samples
    budget = 1000                     # samples per run, where neither task nor agent has its own; or several
    seeds = 5                         # 0..4, or a list

    [[env]]
    id = "archgym/Softmax-v0"
    budget = 200                                    # samples per run on this task
    kwargs = { preset = "memory" }                  # arguments of the environment
    objective = { minimize = ["time_s"], reference = { time_s = 1e-2 } }   # replaces the environment's own
    front = ["time_s", "sum_error"]                 # judge runs by the front of these metrics; nsga2 searches
                                                    for it

    [[agent]]
    name = "genetic"
    configurations = 80           # the defaults, then 79 drawn from the agent's declared hyperparameter space

    [[agent]]
    name = "tpe"
    [agent.grid]                               # all combinations, the other hyperparameters at their defaults
    startup = [10, 40]

Where the effort is "cost", a run ends when its samples, and what else it is charged for, cost as much as
`budget` reference samples (`archgym.simulator.reference_cost`), whatever its number of samples:

    cost_budget = budget x reference cost of the environment

Studies of kind "generalise" have contexts and splits of them besides (`archgym.study.generalise`).

`archgym.study.file` reads the tables; this module checks them against the registry and makes configurations
and runs.

A run's identifier is a hash of its full specification (with the environment's versioned id, the simulator's
arguments and the agent's version), so that equal runs have equal names in every study and on every machine.

Drawn configurations are distinct, and the first N are the same for every larger N. An agent with fewer than N
repeats them with further seeds, as replicates.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archgym._search import agent_name, make_any_agent
from archgym.agent import Agent
from archgym.contexts.evaluator import make_evaluator
from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError, nearest, reason_of, unknown
from archgym.evaluator import Evaluator
from archgym.files.paths import refuse_foreign
from archgym.pareto import check_front
from archgym.registry import get_task
from archgym.space import DesignSpace
from archgym.study.file import (
    MAX_CHARACTERS,
    MAX_NAME,
    AgentTable,
    EnvTable,
    Place,
    StudyFile,
    with_agents,
)
from archgym.study.generalise import SplitContexts
from archgym.task import AgentSpecification, EnvSpecification, Specification, what_decides_rows
from archgym.values import write
from archgym.words import one_line

SHIPPED = Path(__file__).parent.parent / "studies"
SUITES = Path(__file__).parent.parent / "leaderboard" / "suites"
_FORMAT = 1  # format of the hashed specification
__getattr__ = old_names(
    __name__,
    **{
        name: f"archgym.study.file:{name}" for name in ("MAX_RUNS", "MAX_BUDGET", "MAX_GB", "Name", "line_of")
    },
)


@dataclass(frozen=True)
class Run:
    """One search of a study.

    Attributes:
        id: 16 hexadecimal digits, a hash of the specification.
        task: label of the environment in the study.
        agent: label of the agent in the study.
        configuration: position among the agent's configurations.
        replicate: position among the configuration's seeds.
        specification: JSON; `archgym.search_again(specification)` repeats the run row for row.
        split: seed of the split of contexts, of a training run.
        context: name of the held-out context, of an ordinary agent's run in a study of kind "generalise".
    """

    id: str
    task: str
    agent: str
    configuration: int
    replicate: int
    specification: dict[str, Any]
    split: int | None = None
    context: str | None = None


@dataclass(frozen=True)
class Configuration:
    """An agent with hyperparameters, its budget on each task, and the seeds of its runs.

    Attributes:
        is_default: whether the hyperparameters are the agent's defaults (for each task's budget).
        budgets: task -> samples per run, or reference samples where the study's effort is cost.
        seeds: seeds of its runs.
        agents: task -> the agent in the form of a specification, with its hyperparameters.
        num_envs: task -> designs per step of the agent.
        contextual: whether the agent trains a policy over contexts.
    """

    is_default: bool
    budgets: Mapping[str, int]
    seeds: Sequence[int]
    agents: Mapping[str, AgentSpecification]
    num_envs: Mapping[str, int]
    contextual: bool = False


class _Place(NamedTuple):
    """An environment of runs, with what a policy designs for after its training."""

    env: EnvSpecification
    held_out: Mapping[str, Any] | None = None
    split: int | None = None
    context: str | None = None


class Study:
    """A validated study file.

    Args:
        text: TOML.
        source: name of the file in errors.

    Attributes:
        name: the study's name.
        text: the file as it was read.
        timeout_s, memory_gb, retries: limits of one run, in seconds, gigabytes and attempts (see
            `archgym.study.worker`).
        history: "full" for run files with every sample, "improvements" for the improvements and the last
            sample.
        cache: whether designs are cached on disk, so that interrupted runs replay without simulation.
        effort: "samples", or "cost" where budgets are reference samples.
        reference_costs: label of each environment -> cost of a reference sample, in the simulator's unit,
            where the effort is cost.
        budget: samples (or reference samples) per run, where neither the task nor the agent has its own; the
            last of several.
        generalise: whether policies are trained on some contexts and judged on others.
        verify: proposals of a policy that are simulated, in such a study.
        search_budget: samples of an ordinary agent on a held-out context, in such a study.
        by: "context" or "group", what the splits of such a study are of.

    Raises:
        ArchGymError: an invalid file; the message has the line.
    """

    def __init__(self, text: str, source: str = "study file"):
        self._file = StudyFile(text, source)
        self.text, study = text, self._file.study
        self.name, self.history, self.cache = study.name, study.history, study.cache
        self.effort = study.effort
        self.reference_costs: dict[str, float] = {}
        self.budget, self.generalise = self._file.study_budgets[-1], self._file.generalise
        self.verify, self.search_budget, self.by = study.verify, study.search_budget, study.by
        self.timeout_s, self.memory_gb, self.retries = study.timeout_s, study.memory_gb, study.retries
        self._tasks, self._budgets = self._label_environments()
        self._agents = self._label_agents()

    @classmethod
    def read(cls, file: str | os.PathLike[str], agents: Sequence[str] = ()) -> Study:
        """The study in a TOML file, or a shipped one by its name without ".toml" ("quick", "lottery",
        "archgym-2023", "archgym-1").

        Args:
            agents: names of agents in place of the file's, at their defaults.

        Raises:
            ArchGymError: a file that does not exist or is invalid.
        """
        path = Path(file).expanduser()
        shipped = {found.stem: found for folder in (SUITES, SHIPPED) for found in folder.glob("*.toml")}
        if not path.exists():
            path = shipped.get(str(file), path)
        try:
            refuse_foreign(path)
            with open(path, encoding="utf-8-sig") as opened:
                text = opened.read(MAX_CHARACTERS + 1)
            return cls(with_agents(text, agents) if agents else text, str(file))
        except OSError as error:
            reason = f"cannot read the study file {file}: {error.strerror or error}"
            raise ArchGymError(f"{reason}; {nearest(path.stem, sorted(shipped))}") from error
        except UnicodeDecodeError as error:
            raise ArchGymError(f"expected a study file of UTF-8 text, got {file} ({error})") from error

    @cached_property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Label -> environment, in the form of a specification."""
        return {label: env.as_dict for label, env in self._tasks.items()}

    @property
    def enumerated(self) -> frozenset[str]:
        """Labels of environments whose optimum a report may find by enumeration."""
        return frozenset(
            label for label, env in zip(self._tasks, self._file.env, strict=True) if env.enumerate
        )

    @property
    def front_references(self) -> dict[str, dict[str, float]]:
        """Label of each environment with a front -> metric -> reference point of the hypervolume, where
        the file has one.
        """
        return {
            label: dict(env.front_reference or {})
            for label, env in zip(self._tasks, self._file.env, strict=True)
            if env.front
        }

    @property
    def agents(self) -> dict[str, list[Configuration]]:
        """Label -> configurations of the agent."""
        return self._agents

    @cached_property
    def splits(self) -> dict[str, SplitContexts]:
        """Label -> contexts and their splits, in a study of kind "generalise".

        Raises:
            ArchGymError: contexts that cannot be split so often, or without known optima.
        """
        found = {}
        for i, (label, env) in enumerate(zip(self._tasks, self._file.env, strict=True)):
            if self.generalise:
                try:
                    found[label] = SplitContexts.from_tables(env, self._file.study)
                except ArchGymError as error:
                    raise self._file.error(("env", i, "contexts"), str(error)) from error
        return found

    @cached_property
    def size(self) -> int:
        """Number of runs."""
        return sum(
            len(c.seeds) * sum(1 for _ in self._places(task, c))
            for task in self._tasks
            for configurations in self._agents.values()
            for c in configurations
        )

    def runs(self) -> Iterator[Run]:
        """Every run, in the file's order.

        Raises:
            ArchGymError: two equal runs.
        """
        seen: dict[str, Run] = {}
        for task, agent, c, configuration in self._cells():
            for s, seed in enumerate(configuration.seeds):
                for place in self._places(task, configuration):
                    budget, cost_budget = self._allowed(task, configuration)
                    specification = Specification(
                        place.env,
                        configuration.agents[task],
                        budget,
                        seed,
                        configuration.num_envs[task],
                        held_out=place.held_out,
                        verify=self.verify,
                        cost_budget=cost_budget,
                    ).to_dict()
                    id_ = identifier(specification, self.history)
                    run = Run(id_, task, agent, c, s, specification, place.split, place.context)
                    if id_ in seen:
                        first = seen[id_]
                        raise ArchGymError(
                            f"{self._file.source}: two runs are the same, {run.id}: {first.task!r}, "
                            f"{first.agent!r}, configuration {first.configuration}, seed {seed} and "
                            f"{task!r}, {agent!r}, configuration {c}; remove one of them"
                        )
                    seen[id_] = run
                    yield run

    def _cells(self) -> Iterator[tuple[str, str, int, Configuration]]:
        """Every task, agent, position of a configuration and configuration."""
        for task in self._tasks:
            for agent, configurations in self._agents.items():
                for c, configuration in enumerate(configurations):
                    yield task, agent, c, configuration

    def _allowed(self, task: str, configuration: Configuration) -> tuple[int | None, float | None]:
        """Samples and cost of a run: one of them, by the study's effort."""
        budget = configuration.budgets[task]
        return (None, budget * self.reference_costs[task]) if self.effort == "cost" else (budget, None)

    def _places(self, task: str, configuration: Configuration) -> Iterator[_Place]:
        """The environments that a configuration runs in: the task's, its splits' or its contexts'."""
        if not self.generalise:
            yield _Place(self._tasks[task])
        elif configuration.contextual:
            for split in self.splits[task].splits:
                yield _Place(split.training, split.held_out_dict, split.seed)
        else:
            for name, env in self.splits[task].searched.items():
                yield _Place(env, context=name)

    def _label_environments(self) -> tuple[dict[str, EnvSpecification], dict[str, int]]:
        tasks: dict[str, EnvSpecification] = {}
        budgets: dict[str, int] = {}
        for i, env in enumerate(self._file.env):
            specification, reference_cost = self._check_environment(i, env)
            budget = self.budget if env.budget is None else env.budget
            label = env.label or one_line(_label(env), MAX_NAME)
            if label in tasks:
                same = (specification, budget) == (tasks[label], budgets[label])
                hint = "the same environment twice" if same else "set a different `label` on one"
                raise self._file.error(("env", i), f"two environments share the label {label!r}: {hint}")
            if (specification, budget) in zip(tasks.values(), budgets.values(), strict=True):
                raise self._file.error(("env", i), f"{label!r} is the same environment as an earlier one")
            tasks[label], budgets[label] = specification, budget
            if self.effort == "cost":
                self.reference_costs[label] = reference_cost
        return tasks, budgets

    def _check_environment(self, i: int, env: EnvTable) -> tuple[EnvSpecification, float]:
        """Make the i-th environment once to check it: what it is, and the cost of a reference sample (1 where
        the effort is samples).
        """
        where: Place = ("env", i, "id")
        try:
            get_task(env.id)
            where = ("env", i, "kwargs" if env.kwargs else "id")
            kwargs = dict(env.kwargs)
            horizon = kwargs.pop("horizon", 1)
            if "objective" in kwargs:
                raise ArchGymError("expected the objective as a key of [[env]], got it in kwargs")
            where = where if env.contexts is None else ("env", i, "contexts")
            evaluator = make_evaluator(env.id, None, horizon, kwargs, env.contexts)
            if env.objective is not None:
                where = ("env", i, "objective")
                evaluator.close()
                evaluator = make_evaluator(env.id, env.objective, horizon, kwargs, env.contexts)
            specification = EnvSpecification.from_dict(json.loads(json.dumps(evaluator.specification())))
            if env.front is not None:
                where = ("env", i, "front")
                check_front(env.front, evaluator.simulator)
            where = ("env", i, "front_reference")
            for name in env.front_reference or {}:
                if name not in (env.front or []):
                    raise unknown("metric of the front", name, env.front or [])
            where = ("env", i)
            reference_cost = _reference_cost(evaluator) if self.effort == "cost" else 1.0
            evaluator.close()
        except (Exception, SystemExit) as error:  # constructors may raise anything
            raise self._file.error(where, reason_of(error)) from error
        return replace(specification, id=env.id, front=tuple(env.front or ())), reference_cost

    def _label_agents(self) -> dict[str, list[Configuration]]:
        agents: dict[str, list[Configuration]] = {}
        names: dict[str, str] = {}
        for i, entry in enumerate(self._file.agent):
            label = entry.label or entry.name
            if self.generalise and label in agents:
                raise self._file.error(
                    ("agent", i), f"two agents share the label {label!r}; give one another `label`"
                )
            if names.setdefault(label, entry.name) != entry.name:
                both = f"agents {names[label]!r} and {entry.name!r} share the label {label!r}"
                raise self._file.error(("agent", i), f"{both}; set a different `label` on one")
            try:
                cls = type(make_any_agent(entry.name, {}))
            except (Exception, SystemExit) as error:
                raise self._file.error(("agent", i, "name"), reason_of(error)) from error
            seeds = self._file.seeds(i)
            stride = max(seeds) + 1
            found = agents.setdefault(label, [])
            for hyperparameters, round_ in self._settings(i, entry, cls):
                found += self._with_budgets(
                    i, cls, hyperparameters, [seed + round_ * stride for seed in seeds]
                )
        return agents

    def _settings(self, i: int, entry: AgentTable, cls: type[Agent]) -> Iterator[tuple[dict[str, Any], int]]:
        """Hyperparameters of each configuration, and the number of earlier configurations with equal ones."""
        if entry.configurations is not None:
            yield from _drawn(cls, entry.name, entry.configurations)
            return
        key = "grid" if entry.grid is not None else "hyperparameters"
        single = {name: [value] for name, value in (entry.hyperparameters or {}).items()}
        given: Mapping[str, list[Any]] = single if entry.grid is None else entry.grid
        declared = cls.hyperparameters
        for name, values in given.items():
            for value in values:
                try:
                    if name in declared.names and declared[name].when:
                        declared[name].validate(value)
                    else:
                        cls(**{name: value})
                except (Exception, SystemExit) as error:
                    raise self._file.error(("agent", i, key, name), reason_of(error)) from error
            if len({repr(value) for value in values}) < len(values):
                raise self._file.error(
                    ("agent", i, key, name), f"expected distinct values of {name}, got one twice"
                )
        combinations = [dict(zip(given, each, strict=True)) for each in itertools.product(*given.values())]
        if entry.grid is not None and declared.conditional:
            combinations = _distinct(declared, combinations)
        for combination in combinations:
            yield combination, 0

    def _with_budgets(
        self, i: int, cls: type[Agent], hyperparameters: Mapping[str, Any], seeds: Sequence[int]
    ) -> Iterator[Configuration]:
        try:
            agent, default = cls(**hyperparameters), cls()
            width = agent.preferred_num_envs
        except (Exception, SystemExit) as error:
            raise self._file.error(("agent", i, "name"), reason_of(error)) from error
        contextual = self.generalise and getattr(cls, "policy_class", None) is not None
        own = self._file.budgets(i, width)
        if own is None and self.generalise:
            own = self._file.study_budgets if contextual else [self.search_budget]
        elif own is None and len(self._file.study_budgets) > 1:
            own = self._file.study_budgets
        if self.generalise and not contextual and len(own or ()) > 1:
            raise self._file.error(
                ("agent", i, "budget"),
                f"expected one number of samples, as {agent_name(agent)} is not contextual",
            )
        for budgets in [self._budgets] if own is None else [dict.fromkeys(self._tasks, b) for b in own]:
            agents, widths, is_default = {}, {}, True
            for task, budget in budgets.items():
                if self._file.agent[i].steps is None:  # a number of steps holds at the declared width
                    agent.adapt(budget)
                    default.adapt(budget)
                agents[task] = AgentSpecification(agent_name(agent), write(agent.configuration), cls.version)
                is_default = is_default and agents[task].hyperparameters == write(default.configuration)
                widths[task] = agent.preferred_num_envs
            yield Configuration(is_default, budgets, tuple(seeds), agents, widths, contextual)


def _reference_cost(evaluator: Evaluator) -> float:
    """The cost of a reference sample, in an environment whose runs have a column `cost`.

    Raises:
        ArchGymError: a parameter or metric has that name, or the cost is no finite number > 0.
    """
    if "cost" in (*evaluator.simulator.space.names, *evaluator.metric_names):
        raise ArchGymError(
            'expected no parameter or metric called cost in a study of effort = "cost", whose runs have a '
            "column of that name; rename it"
        )
    if not 0 < (found := evaluator.reference_cost) < math.inf:
        raise ArchGymError(f"expected a reference sample to cost a finite number > 0, got {found:g}")
    return found


def identifier(specification: Mapping[str, Any], history: str) -> str:
    """The hash that identifies a run: of its specification, and of `history` unless that is
    "improvements".
    """
    identity = {
        "format": _FORMAT,
        **what_decides_rows(specification),
        **({"history": history} if history != "improvements" else {}),
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _distinct(declared: DesignSpace, combinations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The combinations without inactive hyperparameters, each once."""
    found: dict[str, dict[str, Any]] = {}
    for combination in combinations:
        active = declared.active_values({**declared.defaults(), **combination})
        kept = {name: value for name, value in combination.items() if name in active}
        found.setdefault(repr(kept), kept)
    return list(found.values())


def _drawn(cls: type[Agent], name: str, n: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The defaults and n - 1 distinct draws from the declared space, repeated where it has fewer:
    (hyperparameters, round).
    """
    space = cls.hyperparameters
    entropy = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    # 3: studies, as in archgym.seeding
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(3,)))
    defaults = space.active_values(space.defaults())
    distinct: list[dict[str, Any]] = [{}]  # nothing given: the defaults, which may depend on the budget
    seen = {json.dumps(write(defaults))}
    # defaults may be off the grid
    available = space.size + any(value not in space[name].plain for name, value in defaults.items())
    while len(distinct) < min(n, available):
        drawn = space.design(space.sample(1, rng, per="parameter")[0])
        if (text := json.dumps(write(drawn))) not in seen:
            seen.add(text)
            distinct.append(drawn)
    for j in range(n):
        yield distinct[j % len(distinct)], j // len(distinct)


def _label(env: EnvTable) -> str:
    """A short name of an environment: its id without "archgym/", its arguments, its objective, its front."""
    arguments = " ".join(f"{name}={value}" for name, value in env.kwargs.items())
    objective = "" if env.objective is None else json.dumps(env.objective)
    front = "" if env.front is None else f"front of {', '.join(env.front)}"
    contexts = env.contexts if isinstance(env.contexts, str) else ""
    return " ".join(filter(None, [env.id.removeprefix("archgym/"), contexts, arguments, objective, front]))
