"""Study files: TOML text to checked tables, without the registry. Errors name the line.

    text -> tomllib -> pydantic models -> seeds, budgets and the number of runs

`archgym.study.design` describes the format and makes the runs.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.words import is_printable, shown

MAX_RUNS = 1_000_000
MAX_BUDGET = 1_000_000_000
MAX_CHARACTERS = 1_000_000  # characters of a study file
MAX_NAME = 200  # characters of a name or a label
MAX_GB = 1_000_000_000
MAX_SPLITS = 1000
MAX_VERIFY = 1000  # proposals per held-out context

_OF_ONE_KIND = {  # table -> kind of study -> keys that only it has
    "study": {
        "search": ("cache", "effort"),
        "generalise": ("splits", "held_out", "by", "verify", "search_budget"),
    },
    "env": {
        "search": ("budget", "enumerate", "front", "front_reference"),
        "generalise": ("contexts",),
    },
    "agent": {"search": ("configurations", "grid", "steps"), "generalise": ()},
}

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value in the file: ("agent", 1, "grid", "population")."""


def _readable(name: str) -> str:
    if not is_printable(name):
        raise ValueError
    return name


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_readable)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StudyTable(_Table):
    """[study]."""

    kind: Literal["search", "generalise"] = "search"
    name: Name
    effort: Literal["samples", "cost"] = "samples"
    budget: Any
    seeds: Any = 1
    timeout_s: float | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0, le=MAX_GB)
    retries: int = Field(default=3, ge=0)
    history: Literal["improvements", "full"] = "improvements"
    cache: bool = False
    splits: int = Field(default=10, ge=1, le=MAX_SPLITS)
    held_out: float = Field(default=0.3, gt=0, lt=1)
    by: Literal["context", "group"] = "context"
    verify: int = Field(default=5, ge=1, le=MAX_VERIFY)
    search_budget: int = Field(default=300, ge=1, le=MAX_BUDGET)


class EnvTable(_Table):
    """[[env]]."""

    id: Name
    label: Name | None = None
    budget: int | None = Field(default=None, ge=1, le=MAX_BUDGET)
    kwargs: dict[str, Any] = {}
    objective: dict[str, Any] | None = None
    enumerate: bool = False
    front: list[str] | None = None
    front_reference: dict[str, float] | None = None
    contexts: Any = None


class AgentTable(_Table):
    """[[agent]]."""

    name: Name
    label: Name | None = None
    configurations: int | None = Field(default=None, ge=1)
    grid: dict[str, list[Any]] | None = None
    hyperparameters: dict[str, Any] | None = None
    budget: Any = None
    steps: Any = None
    seeds: Any = None


class _Tables(_Table):
    study: StudyTable
    env: list[EnvTable] = Field(min_length=1)
    agent: list[AgentTable] = Field(min_length=1)


_NAME = f"a text of 1 to {MAX_NAME} characters, none of them a control or format character"
_EXPECTED = {  # the values of a key, for errors
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
    "kind": "'search' or 'generalise'",
    "effort": "'samples' or 'cost'",
    "splits": f"a number of random splits from 1 to {MAX_SPLITS:,}",
    "held_out": "a share of the contexts or groups between 0 and 1",
    "by": "'context' or 'group'",
    "verify": f"a number of simulated proposals from 1 to {MAX_VERIFY:,}",
    "search_budget": f"a number of samples per held-out context from 1 to {MAX_BUDGET:,}",
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


class StudyFile:
    """The tables of a study file.

    Args:
        text: TOML.
        source: name of the file in errors.

    Attributes:
        text: the text as given.
        source: the name as given.
        study: the table [study].
        env: the tables [[env]].
        agent: the tables [[agent]].
        generalise: whether policies are trained on some contexts and judged on others.
        study_budgets: samples per run, or reference samples where its effort is cost; one or several.

    Raises:
        ArchGymError: text that is not TOML, an unknown key, a value of the wrong form, or too many runs; the
            message has the line.
    """

    def __init__(self, text: str, source: str):
        self.text, self.source = text, source
        data = self._parse()
        try:
            tables = _Tables.model_validate(data)
        except ValidationError as error:
            raise self._explained(error, data) from None
        self.study, self.env, self.agent = tables.study, tables.env, tables.agent
        self.generalise = self.study.kind == "generalise"
        self._check_kind()
        self.study_budgets = self._read_budgets()
        self._default_seeds = self._read_seeds(self.study.seeds, ("study", "seeds"))
        counts = [self._count(i) for i in range(len(self.agent))]
        per_env = len(self.env) * (self.study.splits if self.generalise else 1)
        if (total := per_env * sum(counts)) > MAX_RUNS:
            largest = max(range(len(counts)), key=counts.__getitem__)
            raise self.error(
                ("agent", largest), f"expected at most {MAX_RUNS:,} runs, got {total:,}; shorten the grids"
            )
        for i, env in enumerate(self.env):
            for key in ("kwargs", "objective", "contexts"):
                self._check_json(getattr(env, key), ("env", i, key))

    def error(self, where: Place, message: str) -> ArchGymError:
        """An error at a place in the file, with its line."""
        line = line_of(self.text, where)
        return ArchGymError(f"{self.source}{f', line {line}' if line else ''}: {message}")

    def seeds(self, i: int) -> Sequence[int]:
        """Seeds of the i-th agent."""
        given = self.agent[i].seeds
        return self._default_seeds if given is None else self._read_seeds(given, ("agent", i, "seeds"))

    def budgets(self, i: int, num_envs: int = 1) -> list[int] | None:
        """Budgets of the i-th agent in samples (or reference samples), on every task; a step is `num_envs`
        samples. None: those of the tasks.
        """
        agent = self.agent[i]
        if agent.steps is not None:
            return [steps * num_envs for steps in self._read_numbers(agent.steps, ("agent", i, "steps"))]
        if agent.budget is not None:
            return self._read_numbers(agent.budget, ("agent", i, "budget"))
        return None

    def _check_kind(self) -> None:
        """Refuse keys of the other kind of study, and environments without contexts in this one."""
        other = "search" if self.generalise else "generalise"
        tables: list[tuple[Place, str, _Table]] = [(("study",), "study", self.study)]
        tables += [(("env", i), "env", table) for i, table in enumerate(self.env)]
        tables += [(("agent", i), "agent", table) for i, table in enumerate(self.agent)]
        for where, name, table in tables:
            for key in _OF_ONE_KIND[name][other]:
                if key in table.model_fields_set:
                    raise self.error(
                        (*where, key),
                        f"{key} is a key of studies of kind {other!r}, and this study is of kind "
                        f"{self.study.kind!r}; remove it, or change the kind",
                    )
        for i, env in enumerate(self.env):
            if self.generalise and env.contexts is None:
                raise self.error(
                    ("env", i),
                    "expected contexts in a study of kind 'generalise', such as contexts = \"shapes\"",
                )

    def _read_budgets(self) -> list[int]:
        budget, where = self.study.budget, ("study", "budget")
        if isinstance(budget, list):
            own = next((i for i, env in enumerate(self.env) if env.budget is not None), None)
            if own is not None and len(budget) > 1:
                raise self.error(
                    ("env", own, "budget"),
                    "expected no budget of a task where [study] has several; remove it, or give [study] one",
                )
            return self._read_numbers(budget, where)
        if not _is_whole(budget, 1) or budget > MAX_BUDGET:
            raise self.error(where, f"budget: expected {_EXPECTED['budget']}, got {shown(budget)}")
        return [budget]

    def _count(self, i: int) -> int:
        """Runs of the i-th agent per environment."""
        agent = self.agent[i]
        ways = [
            key for key in ("configurations", "grid", "hyperparameters") if getattr(agent, key) is not None
        ]
        if len(ways) > 1:
            raise self.error(
                ("agent", i, ways[1]),
                f"expected at most one of configurations, grid and hyperparameters, got {ways}",
            )
        if agent.steps is not None and agent.budget is not None:
            raise self.error(("agent", i, "steps"), "expected a budget in samples or in steps, not both")
        self._check_json(agent.hyperparameters, ("agent", i, "hyperparameters"))
        self._check_json(agent.grid, ("agent", i, "grid"))
        settings = 1 if agent.configurations is None else agent.configurations
        if agent.grid is not None:
            if not agent.grid:
                raise self.error(
                    ("agent", i, "grid"),
                    "expected lists of values in the grid, got none; give some, such as population = [16, "
                    "64]",
                )
            for name, values in agent.grid.items():
                if not values:
                    raise self.error(
                        ("agent", i, "grid", name), f"expected values of {name} in the grid, got none"
                    )
            settings = math.prod(map(len, agent.grid.values()))
        return settings * len(self.seeds(i)) * len(self.budgets(i) or [None])

    def _read_seeds(self, value: Any, where: Place) -> Sequence[int]:
        seeds = range(value) if _is_whole(value, 1) else value
        good = isinstance(seeds, range) or (
            isinstance(seeds, list) and seeds and all(_is_whole(s, 0) for s in seeds)
        )
        if not good or (isinstance(seeds, list) and (len(set(seeds)) < len(seeds) or max(seeds) >= 2**32)):
            raise self.error(
                where,
                "seeds: expected a number >= 1 (0, 1, ...) or a list of distinct numbers >= 0, got "
                f"{shown(value)}",
            )
        if len(seeds) > MAX_RUNS:
            raise self.error(where, f"expected at most {MAX_RUNS:,} runs, got {len(seeds):,} seeds")
        return seeds

    def _read_numbers(self, value: Any, where: Place) -> list[int]:
        numbers = value if isinstance(value, list) else [value]
        if (
            not numbers
            or not all(_is_whole(n, 1) and n <= MAX_BUDGET for n in numbers)
            or len(set(numbers)) < len(numbers)
        ):
            raise self.error(
                where,
                f"{where[-1]}: expected a number from 1 to {MAX_BUDGET:,}, or distinct ones, got "
                f"{shown(value)}",
            )
        return numbers

    def _check_json(self, value: Any, where: Place) -> None:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise self.error(
                where, f"{where[-1]} has a value that JSON cannot express (a date, inf or nan): {error}"
            ) from None

    def _parse(self) -> dict[str, Any]:
        if len(self.text) > MAX_CHARACTERS:
            line, longest = max(_statements(self.text), key=lambda statement: len(statement[1]))
            raise ArchGymError(
                f"{self.source}, line {line}: expected a study file of at most {MAX_CHARACTERS:,} "
                f"characters, got more, {len(longest):,} in this value alone; give seeds as a number, and "
                "shorten names and grids"
            )
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ArchGymError(f"{self.source} is not TOML: {error}") from None
        except (RecursionError, ValueError) as error:  # deep nesting, an integer of thousands of digits
            raise ArchGymError(f"{self.source} cannot be read: {reason_of(error)}") from None

    def _explained(self, error: ValidationError, data: Mapping[str, Any]) -> ArchGymError:
        """The first of pydantic's errors as one of ours."""
        errors = error.errors(include_url=False)
        # a misspelt key is also reported as missing
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        where = tuple(first["loc"])
        key = next((part for part in reversed(where) if isinstance(part, str)), "study")
        if first["type"] == "extra_forbidden":
            models: dict[Any, type[BaseModel]] = {"study": StudyTable, "env": EnvTable, "agent": AgentTable}
            model = models.get(where[0], _Tables) if len(where) > 1 else _Tables
            return self.error(where, str(unknown("key", key, model.model_fields)))
        if first["type"] == "missing":
            place = where[:-1]
            table = "[study]" if place[:1] == ("study",) else f"[[{place[0]}]]" if place else "the file"
            return self.error(place, f"{table} lacks {key}")
        while where and _at(data, where) is _ABSENT:
            where = where[:-1]
        names = [str(part) for part in where if isinstance(part, str)]
        known = next((name for name in reversed(names) if name in _EXPECTED), key)
        return self.error(
            where, f"{known}: expected {_EXPECTED.get(known, first['msg'])}, got {shown(_at(data, where))}"
        )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


_ABSENT = object()


def _at(data: Any, where: Sequence[str | int]) -> Any:
    """The value at a place in parsed TOML; `_ABSENT` where the place does not exist."""
    for part in where:
        if not isinstance(data, dict | list):
            return _ABSENT
        try:
            data = data[part]  # type: ignore[index]  # the wrong kind of key is caught
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return data


def line_of(text: str, where: Sequence[str | int]) -> int | None:
    """The line (from 1) at which a key or table of a TOML text begins, or that of the nearest table or key
    around it.

    None where the text has neither.
    """
    lines: dict[Place, int] = {}
    for line, place in _places(text):
        for n in range(1, len(place) + 1):
            lines.setdefault(place[:n], line)
    return next(
        (lines[tuple(where[:n])] for n in range(len(where), 0, -1) if tuple(where[:n]) in lines), None
    )


def with_agents(text: str, names: Sequence[str]) -> str:
    """The text of a study file with other agents, at their defaults, in place of its own.

    A name that stands here several times counts once.
    """
    kept, ours = [], True
    for _, statement in _statements(text):
        if header := _HEADER.match(statement):
            ours = _parts(header[2])[0] != "agent"
        if ours:
            kept.append(statement)
    tables = [f"[[agent]]\nname = {json.dumps(name)}\n" for name in dict.fromkeys(names)]
    return "\n".join(["".join(kept).rstrip("\n") + "\n", *tables])


_TOKEN = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[\[\]{}]|\n''', re.DOTALL
)
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_KEY})[ \t]*\]")
_VALUE = re.compile(rf"[ \t]*({_KEY})[ \t]*=")


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a TOML text with their numbers; a value over several lines counts as one."""
    line, start, depth = 1, 0, 0
    for token in _TOKEN.finditer(text):
        found = token[0]
        depth += (found in ("[", "{")) - (found in ("]", "}"))
        if found == "\n" and depth <= 0:
            statement = text[start : token.end()]
            yield line, statement
            line, start = line + statement.count("\n"), token.end()
    if start < len(text):
        yield line, text[start:]


def _places(text: str) -> Iterator[tuple[int, Place]]:
    """Every table header and key of a TOML text: its line, its place."""
    table: Place = ()
    tables: dict[Place, int] = {}  # place of each array of tables -> tables so far
    for line, statement in _statements(text):
        if header := _HEADER.match(statement):
            table = ()
            *above, last = _parts(header[2])
            for part in above:
                table += (part,)
                table += (tables[table] - 1,) if table in tables else ()
            table += (last,)
            if header[1] == "[[":
                tables[table] = tables.get(table, 0) + 1
            table += (tables[table] - 1,) if table in tables else ()
            yield line, table
        elif value := _VALUE.match(statement):
            yield line, table + tuple(_parts(value[1]))


def _parts(key: str) -> list[str]:
    """A dotted key's parts, without quotes."""
    data: Any = tomllib.loads(f"{key} = 0")
    parts = []
    while isinstance(data, dict):
        ((part, data),) = data.items()
        parts.append(part)
    return parts
