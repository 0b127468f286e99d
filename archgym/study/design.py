"""Study files: which environments, which agents in which configurations, which budgets and seeds, as TOML.

    [study]                                         runs = environments x sum over agents (configurations x budgets x seeds)
    name = "example"
    budget = 1000                                   # samples per run
    seeds = 5                                       # 0..4, or a list

    [[env]]
    id = "archgym/Softmax-v0"
    kwargs = { preset = "memory" }                  # arguments of the environment
    objective = { minimize = ["time_s"], reference = { time_s = 1e-2 } }   # replaces the environment's own
    front = ["time_s", "sum_error"]                 # judge runs by the front of these metrics; nsga2 searches for it

    [[agent]]
    name = "genetic"
    configurations = 80                             # the defaults, then 79 drawn from the agent's declared hyperparameter space

    [[agent]]
    name = "tpe"
    [agent.grid]                                    # all combinations, the other hyperparameters at their defaults
    startup = [10, 40]

A run is what `archgym.search` takes, in full: its identifier is a hash of that specification (with the environment's versioned id, the
simulator's arguments and the agent's version), so that the same run has the same name wherever and whenever a file asks for it.

Drawn configurations are prefix-stable: the first N are the same for every larger N. They are distinct; where an agent has fewer than N
(an agent without hyperparameters has one), they come round again with further seeds, as replicates.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from archgym._search import agent_name, make_any_agent
from archgym.agent import Agent
from archgym.env import Evaluator
from archgym.errors import ArchGymError, nearest, reason_of, unknown
from archgym.files.paths import refuse_foreign
from archgym.pareto import check_front
from archgym.registry import get_task
from archgym.text import is_printable, one_line
from archgym.values import write

MAX_RUNS = 1_000_000
MAX_BUDGET = 1_000_000_000
MAX_CHARACTERS = 1_000_000  # of a study file
MAX_NAME = 200  # characters of a name or a label
MAX_GB = 1_000_000_000
SHIPPED = Path(__file__).parent.parent / "studies"
_FORMAT = 1  # of the canonical specification behind identifiers


@dataclass(frozen=True)
class Run:
    """One search of a study.

    Attributes:
        id: 16 hexadecimal digits, a hash of the specification.
        task: the label of its environment in the study.
        agent: the label of its agent in the study.
        configuration: which of the agent's configurations.
        replicate: which of the configuration's seeds.
        specification: JSON; `archgym.search_again(specification)` repeats the run row for row.
    """

    id: str
    task: str
    agent: str
    configuration: int
    replicate: int
    specification: dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """One column of a study's design: an agent with hyperparameters and a budget, and the seeds it is run with."""

    hyperparameters: Mapping[str, Any]
    is_default: bool
    budget: int
    seeds: Sequence[int]
    agent: Mapping[str, Any]  # as in a specification
    num_envs: int


def _readable(name: str) -> str:
    if not is_printable(name):
        raise ValueError
    return name


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_readable)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Study(_Table):
    name: Name
    budget: int = Field(ge=1, le=MAX_BUDGET)
    seeds: Any = 1
    timeout_s: float | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0, le=MAX_GB)
    retries: int = Field(default=3, ge=0)
    history: Literal["improvements", "full"] = "improvements"
    cache: bool = False


class _Env(_Table):
    id: Name
    label: Name | None = None
    kwargs: dict[str, Any] = {}
    objective: dict[str, Any] | None = None
    enumerate: bool = False
    front: list[str] | None = None
    front_reference: dict[str, float] | None = None


class _Agent(_Table):
    name: Name
    label: Name | None = None
    configurations: int | None = Field(default=None, ge=1)
    grid: dict[str, list[Any]] | None = None
    hyperparameters: dict[str, Any] | None = None
    budget: Any = None
    steps: Any = None
    seeds: Any = None


class _File(_Table):
    study: _Study
    env: list[_Env] = Field(min_length=1)
    agent: list[_Agent] = Field(min_length=1)


_NAME = f"a name of 1 to {MAX_NAME} characters, none of them a control or format character"
_WHAT = {  # what a key takes, in the words of an error
    "study": "a table [study]",
    "env": "at least one [[env]]",
    "agent": "at least one [[agent]]",
    "name": _NAME,
    "label": _NAME,
    "id": "an environment's id, such as 'archgym/Softmax-v0'",
    "budget": f"a number of samples from 1 to {MAX_BUDGET:,}",
    "timeout_s": "a number of seconds > 0",
    "memory_gb": f"a number of gigabytes > 0 and at most {MAX_GB:,} (default: a share of the machine's)",
    "retries": "a number >= 0",
    "history": "'improvements' or 'full'",
    "cache": "true or false",
    "kwargs": "a table of arguments",
    "objective": "a table such as { minimize = ['latency_s'] }",
    "enumerate": "true or false",
    "front": "a list of two metrics or more",
    "front_reference": "a table of numbers, such as { latency_s = 0.1, power_w = 10.0 }",
    "configurations": "a number of configurations >= 1",
    "grid": "a table of lists of values, such as population = [16, 64]",
    "hyperparameters": "a table of values, such as population = 64",
}


class Study:
    """A validated study file.

    Attributes:
        name: of the study.
        text: the file as it was read.
        timeout_s, memory_gb, retries: limits of one run (see `archgym.study.worker`).
        history: whether run files hold every sample ("full") or the improvements and the last.
        cache: whether designs are remembered on disk, so that interrupted runs replay without simulating.
        budget: samples per run, unless an agent has its own.

    Raises:
        ArchGymError: anything wrong with it, with the line.
    """

    def __init__(self, text: str, source: str = "study file"):
        self.text = text
        self._source = source
        data = self._parse()
        try:
            self._file = _File.model_validate(data)
        except ValidationError as error:
            raise self._explained(error, data) from None
        study = self._file.study
        self.name, self.budget, self.history, self.cache = study.name, study.budget, study.history, study.cache
        self.timeout_s, self.memory_gb, self.retries = study.timeout_s, study.memory_gb, study.retries
        self._default_seeds = self._seeds(study.seeds, ("study", "seeds"))
        counts = self._counts()
        if (total := len(self._file.env) * sum(counts)) > MAX_RUNS:
            largest = int(np.argmax([float(count) for count in counts]))
            raise self._error(("agent", largest), f"the study has {total:,} runs; at most {MAX_RUNS:,} are allowed: shorten its grids")
        self._tasks = self._check_environments()
        self._agents = self._check_agents()

    @classmethod
    def read(cls, file: str | os.PathLike[str]) -> Study:
        """The study in a TOML file; a name without ".toml" is one that ships with archgym ("quick", "lottery", "archgym-2023").

        Raises:
            ArchGymError: no such file, or anything wrong with it.
        """
        path = Path(file).expanduser()
        shipped = SHIPPED / f"{file}.toml"
        if not path.exists() and shipped.is_file():
            path = shipped
        try:
            refuse_foreign(path)
            with open(path, encoding="utf-8-sig") as opened:
                text = opened.read(MAX_CHARACTERS + 1)
            return cls(text, str(file))
        except OSError as error:
            reason = f"cannot read the study file {file}: {error.strerror or error}"
            raise ArchGymError(f"{reason}; {nearest(path.stem, sorted(p.stem for p in SHIPPED.glob('*.toml')))}") from error
        except UnicodeDecodeError as error:
            raise ArchGymError(f"{file} is not a study file: it is not UTF-8 text ({error})") from error

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Label -> the environment, as in a specification."""
        return self._tasks

    @property
    def enumerated(self) -> frozenset[str]:
        """Labels of environments whose optimum a report finds by enumeration where it is not known."""
        return frozenset(label for label, env in zip(self._tasks, self._file.env, strict=True) if env.enumerate)

    @property
    def front_references(self) -> dict[str, dict[str, float]]:
        """Label of each environment whose runs are judged by their fronts -> metric -> where the hypervolume ends, as far as given."""
        return {label: dict(env.front_reference or {}) for label, env in zip(self._tasks, self._file.env, strict=True) if env.front}

    @property
    def agents(self) -> dict[str, list[Configuration]]:
        """Label -> the agent's configurations."""
        return self._agents

    @cached_property
    def size(self) -> int:
        """Runs in all."""
        return len(self._tasks) * sum(len(c.seeds) for configurations in self._agents.values() for c in configurations)

    def runs(self) -> Iterator[Run]:
        """Every run, in the file's order.

        Raises:
            ArchGymError: two runs that are the same.
        """
        seen: dict[str, Run] = {}
        for task, env in self._tasks.items():
            for agent, configurations in self._agents.items():
                for c, configuration in enumerate(configurations):
                    for s, seed in enumerate(configuration.seeds):
                        specification = {
                            "env": env,
                            "agent": configuration.agent,
                            "budget": configuration.budget,
                            "seed": seed,
                            "num_envs": configuration.num_envs,
                        }
                        run = Run(identifier(specification, self.history), task, agent, c, s, specification)
                        if run.id in seen:
                            first = seen[run.id]
                            raise ArchGymError(
                                f"{self._source}: two runs are the same, {run.id}: {first.task!r}, {first.agent!r}, configuration "
                                f"{first.configuration}, seed {seed} and {task!r}, {agent!r}, configuration {c}; remove one of them"
                            )
                        seen[run.id] = run
                        yield run

    # --- checks that need the registry ---

    def _check_environments(self) -> dict[str, dict[str, Any]]:
        tasks: dict[str, dict[str, Any]] = {}
        for i, env in enumerate(self._file.env):
            where = ("env", i, "id")
            for key in ("kwargs", "objective"):
                self._refuse_unspeakable(getattr(env, key), ("env", i, key))
            try:
                get_task(env.id)
                where = ("env", i, "kwargs" if env.kwargs else "id")
                kwargs = dict(env.kwargs)
                horizon = kwargs.pop("horizon", 1)
                if "objective" in kwargs:
                    raise ArchGymError("the objective is a key of [[env]], not one of its kwargs")
                evaluator = Evaluator(env.id, None, horizon, kwargs)
                if env.objective is not None:
                    where = ("env", i, "objective")
                    evaluator.simulator.close()
                    evaluator = Evaluator(env.id, env.objective, horizon, kwargs)
                specification = json.loads(json.dumps({**evaluator.specification(), "id": env.id}))
                if env.front is not None:
                    where = ("env", i, "front")
                    check_front(env.front, evaluator.simulator)
                    specification["front"] = env.front
                for name in env.front_reference or {}:
                    where = ("env", i, "front_reference")
                    if name not in (env.front or []):
                        raise unknown("metric of the front", name, env.front or [])
                evaluator.simulator.close()
            except (Exception, SystemExit) as error:  # a constructor may raise anything
                raise self._error(where, reason_of(error)) from error
            label = env.label or one_line(_label(env), MAX_NAME)
            if label in tasks:
                same = specification == tasks[label]
                hint = "the same environment twice" if same else "give one of them another `label`"
                raise self._error(("env", i), f"two environments are called {label!r}: {hint}")
            if specification in tasks.values():
                raise self._error(("env", i), f"{label!r} is the same environment as an earlier one")
            tasks[label] = specification
        return tasks

    def _check_agents(self) -> dict[str, list[Configuration]]:
        agents: dict[str, list[Configuration]] = {}
        names: dict[str, str] = {}
        for i, entry in enumerate(self._file.agent):
            label = entry.label or entry.name
            if names.setdefault(label, entry.name) != entry.name:
                raise self._error(("agent", i), f"{names[label]!r} and {entry.name!r} are both called {label!r}: give one another `label`")
            try:
                cls = type(make_any_agent(entry.name, {}))
            except (Exception, SystemExit) as error:
                raise self._error(("agent", i, "name"), reason_of(error)) from error
            seeds = self._default_seeds if entry.seeds is None else self._seeds(entry.seeds, ("agent", i, "seeds"))
            found = agents.setdefault(label, [])
            for hyperparameters, round_ in self._settings(i, entry, cls):
                stride = max(seeds) + 1
                found += self._with_budgets(i, entry, cls, hyperparameters, [seed + round_ * stride for seed in seeds])
        return agents

    def _settings(self, i: int, entry: _Agent, cls: type[Agent]) -> Iterator[tuple[dict[str, Any], int]]:
        """Hyperparameters of each configuration, and how often they have been before."""
        if entry.configurations is not None:
            yield from _drawn(cls, entry.name, entry.configurations)
            return
        key = "grid" if entry.grid is not None else "hyperparameters"
        given: Mapping[str, list[Any]]
        given = entry.grid if entry.grid is not None else {name: [value] for name, value in (entry.hyperparameters or {}).items()}
        for name, values in given.items():
            for value in values:
                try:
                    cls(**{name: value})
                except (Exception, SystemExit) as error:
                    raise self._error(("agent", i, key, name), reason_of(error)) from error
            if len({repr(value) for value in values}) < len(values):
                raise self._error(("agent", i, key, name), f"{name} lists a value twice")
        for combination in itertools.product(*given.values()):
            yield dict(zip(given, combination, strict=True)), 0

    def _with_budgets(
        self, i: int, entry: _Agent, cls: type[Agent], hyperparameters: Mapping[str, Any], seeds: Sequence[int]
    ) -> Iterator[Configuration]:
        try:
            agent = cls(**hyperparameters)
            width = agent.preferred_num_envs
        except (Exception, SystemExit) as error:
            raise self._error(("agent", i, "name"), reason_of(error)) from error
        if entry.steps is not None:
            budgets = [steps * width for steps in self._numbers(entry.steps, ("agent", i, "steps"))]
        elif entry.budget is not None:
            budgets = self._numbers(entry.budget, ("agent", i, "budget"))
        else:
            budgets = [self.budget]
        described = {"name": agent_name(agent), "version": cls.version, "hyperparameters": write(agent.configuration)}
        is_default = described["hyperparameters"] == write(cls().configuration)
        for budget in budgets:
            yield Configuration(described["hyperparameters"], is_default, budget, tuple(seeds), described, width)

    def _counts(self) -> list[int]:
        """Runs per environment of each [[agent]], counted without making them."""
        counts = []
        for i, entry in enumerate(self._file.agent):
            ways = [key for key in ("configurations", "grid", "hyperparameters") if getattr(entry, key) is not None]
            if len(ways) > 1:
                raise self._error(
                    ("agent", i, ways[1]), f"an agent has at most one of configurations, grid and hyperparameters, not {ways}"
                )
            if entry.steps is not None and entry.budget is not None:
                raise self._error(("agent", i, "steps"), "an agent has a budget in samples or in steps, not both")
            self._refuse_unspeakable(entry.hyperparameters, ("agent", i, "hyperparameters"))
            self._refuse_unspeakable(entry.grid, ("agent", i, "grid"))
            settings = 1
            if entry.configurations is not None:
                settings = entry.configurations
            if entry.grid is not None:
                if not entry.grid:
                    raise self._error(("agent", i, "grid"), "the grid is empty: give lists of values, such as population = [16, 64]")
                for name, values in entry.grid.items():
                    if not values:
                        raise self._error(("agent", i, "grid", name), f"the grid has no values for {name}")
                settings = math.prod(len(values) for values in entry.grid.values())
            seeds = self._default_seeds if entry.seeds is None else self._seeds(entry.seeds, ("agent", i, "seeds"))
            budgets = 1
            for key in ("steps", "budget"):
                if getattr(entry, key) is not None:
                    budgets = len(self._numbers(getattr(entry, key), ("agent", i, key)))
            counts.append(settings * len(seeds) * budgets)
        return counts

    def _seeds(self, value: Any, where: tuple[str | int, ...]) -> Sequence[int]:
        seeds = range(value) if _whole(value, 1) else value
        good = isinstance(seeds, range) or (isinstance(seeds, list) and seeds and all(_whole(s, 0) for s in seeds))
        if not good or (isinstance(seeds, list) and (len(set(seeds)) < len(seeds) or max(seeds) >= 2**32)):
            shown = _short(value)
            raise self._error(where, f"seeds is a number >= 1 (seeds 0, 1, ...) or a list of distinct numbers from 0, not {shown}")
        if len(seeds) > MAX_RUNS:
            raise self._error(where, f"the study has {len(seeds):,} seeds; at most {MAX_RUNS:,} runs are allowed")
        return seeds

    def _numbers(self, value: Any, where: tuple[str | int, ...]) -> list[int]:
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(_whole(n, 1) and n <= MAX_BUDGET for n in numbers) or len(set(numbers)) < len(numbers):
            raise self._error(where, f"{where[-1]} is a number from 1 to {MAX_BUDGET:,}, or a list of distinct ones, not {_short(value)}")
        return numbers

    def _refuse_unspeakable(self, value: Any, where: tuple[str | int, ...]) -> None:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._error(where, f"{where[-1]} holds a value that JSON cannot express (a date, inf or nan): {error}") from None

    # --- the file's text ---

    def _parse(self) -> dict[str, Any]:
        if len(self.text) > MAX_CHARACTERS:
            statements = _statements(self.text)
            longest = max(range(len(statements)), key=lambda i: len(statements[i]))
            line = "".join(statements[:longest]).count("\n") + 1
            raise ArchGymError(
                f"{self._source}, line {line}: expected a study file of at most {MAX_CHARACTERS:,} characters, got more, "
                f"{len(statements[longest]):,} in this value alone; give seeds as a number, and shorten names and grids"
            )
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ArchGymError(f"{self._source} is not TOML: {error}") from None
        except (RecursionError, ValueError) as error:  # deep nesting, an integer of thousands of digits
            raise ArchGymError(f"{self._source} cannot be read: {reason_of(error)}") from None

    def _error(self, where: tuple[str | int, ...], message: str) -> ArchGymError:
        line = line_of(self.text, where)
        return ArchGymError(f"{self._source}{f', line {line}' if line else ''}: {message}")

    def _explained(self, error: ValidationError, data: Mapping[str, Any]) -> ArchGymError:
        """The first of pydantic's errors, in our words."""
        errors = error.errors(include_url=False)
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a misspelt key is also a missing one
        where = tuple(first["loc"])
        key = next((part for part in reversed(where) if isinstance(part, str)), "study")
        if first["type"] == "extra_forbidden":
            models: dict[Any, type[BaseModel]] = {"study": _Study, "env": _Env, "agent": _Agent}
            model = models.get(where[0], _File) if len(where) > 1 else _File
            return self._error(where, str(unknown("key", key, model.model_fields)))
        if first["type"] == "missing":
            place = where[:-1]
            return self._error(place, f"{'[study]' if place[:1] == ('study',) else f'[[{place[0]}]]' if place else 'the file'} lacks {key}")
        while where and not _present(data, where):
            where = where[:-1]
        value = _at(data, where)
        names = [str(part) for part in where if isinstance(part, str)]
        known = next((name for name in reversed(names) if name in _WHAT), key)
        return self._error(where, f"{known} is {_WHAT.get(known, first['msg'])}, not {_short(value)}")


def identifier(specification: Mapping[str, Any], history: str) -> str:
    """The hash that names a run: of its specification, and of how much of its history is kept where that is all of it."""
    specification = {name: specification[name] for name in ("env", "agent", "budget", "seed", "num_envs")}
    identity = {"format": _FORMAT, **specification, **({"history": history} if history != "improvements" else {})}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _drawn(cls: type[Agent], name: str, n: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The defaults and n - 1 distinct draws from the declared space, then the same again: (hyperparameters, round)."""
    space = cls.hyperparameters
    entropy = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(3,)))  # 3: studies, as in archgym.seeding
    defaults = space.defaults()
    distinct = [defaults]
    seen = {json.dumps(write(defaults))}
    available = space.size + (0 if _on_grid(space, defaults) else 1)
    while len(distinct) < min(n, available):
        drawn = space.design(space.sample(1, rng)[0])
        if (text := json.dumps(write(drawn))) not in seen:
            seen.add(text)
            distinct.append(drawn)
    for j in range(n):
        yield distinct[j % len(distinct)], j // len(distinct)


def _on_grid(space: Any, values: Mapping[str, Any]) -> bool:
    return all(values[p.name] in p.plain for p in space)


def _label(env: _Env) -> str:
    """An environment in a few words: its id without our namespace, its arguments, its objective."""
    arguments = " ".join(f"{name}={value}" for name, value in env.kwargs.items())
    objective = "" if env.objective is None else json.dumps(env.objective)
    front = "" if env.front is None else f"front of {', '.join(env.front)}"
    return " ".join(filter(None, [env.id.removeprefix("archgym/"), arguments, objective, front]))


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_ABSENT = object()


def _at(data: Any, where: Sequence[str | int]) -> Any:
    """What lies at a path of keys and positions in parsed TOML; `_ABSENT` where there is nothing."""
    for part in where:
        if not isinstance(data, dict | list):
            return _ABSENT
        try:
            data = data[part]  # type: ignore[index]  # the wrong kind of key is caught
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return data


def _present(data: Any, where: Sequence[str | int]) -> bool:
    return _at(data, where) is not _ABSENT


def line_of(text: str, where: Sequence[str | int]) -> int | None:
    """The line (from 1) at which a key or table of a TOML text begins; None where it cannot be told.

    A key is present in every prefix of the text that ends after its value and parses. So it begins after the longest parsing prefix
    that lacks it, which bisection finds.
    """
    statements = _statements(text)

    def parsed(n: int) -> tuple[int, Any]:
        """The longest prefix of at most n statements that parses."""
        while n > 0:
            try:
                return n, tomllib.loads("".join(statements[:n]))
            except (tomllib.TOMLDecodeError, RecursionError, ValueError):
                n -= 1
        return 0, {}

    while where:
        if _present(parsed(len(statements))[1], where):
            break
        where = where[:-1]
    if not where:
        return None
    before = _first(parsed, len(statements), lambda data: _present(data, where))
    return "".join(statements[:before]).count("\n") + 1


_TOKEN = re.compile(r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}]|\n''', re.DOTALL)


def _statements(text: str) -> list[str]:
    """A TOML text in pieces of a line, or of several where a value goes on over lines."""
    pieces, start, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        found = token[0]
        depth += (found in ("[", "{")) - (found in ("]", "}"))
        if found == "\n" and depth <= 0:
            pieces.append(text[start : token.end()])
            start = token.end()
    return [*pieces, *([text[start:]] if start < len(text) else [])]


def _first(parsed: Callable[[int], tuple[int, Any]], most: int, holds: Callable[[Any], bool]) -> int:
    """The longest prefix, in statements, that parses and does not hold."""
    low, high = 0, most  # parsed(low) does not hold, parsed(high) does
    while low + 1 < high:
        middle = (low + high) // 2
        if holds(parsed(middle)[1]):
            high = middle
        else:
            low = middle
    return parsed(low)[0]
