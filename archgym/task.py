"""Tasks, which environment ids name, and specifications, which repeat runs.

    Task:      simulator source + keyword arguments -> Simulator,  objective source + its options -> Objective
    Specification:   environment, agent, budget, seed and width of a run  <->  the dictionary that is stored
                                                                               and hashed

No other module takes the dictionary apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.objective import Objective
from archgym.simulator import Simulator, check_schema
from archgym.simulator_wrappers import Tabulated
from archgym.values import load as load
from archgym.values import read
from archgym.words import shown

SimulatorSource = str | Simulator | Callable[..., Simulator]
ObjectiveSource = str | Objective | Mapping[str, Any] | Callable[..., Objective]


@dataclass(frozen=True)
class Task:
    """The simulator and the objective of an environment id.

    Attributes:
        id: Gymnasium id.
        simulator: a Simulator, a class or factory of one, or "module:name" of those.
        objective: an Objective, its dictionary form, a function `(simulator, **options) -> Objective`, or
            "module:name" of those.
        presets: name -> keyword arguments of a workload.
        contexts: name -> set of contexts, in any form that `archgym.contexts.sets.Contexts.of` takes.
        kwargs: keyword arguments that apply unless overridden.
        documentation: prose for `archgym describe` (a module's docstring).
    """

    id: str
    simulator: SimulatorSource
    objective: ObjectiveSource | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contexts: Mapping[str, Any] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    documentation: str = ""

    def build(
        self,
        objective: ObjectiveSource | None = None,
        preset: str | None = None,
        **kwargs: Any,
    ) -> tuple[Simulator, Objective]:
        """The simulator and the objective for these keyword arguments.

        Args:
            objective: objective in place of the task's own.
            preset: name of a workload.
            **kwargs: arguments of the simulator, options of the objective, and `table`: a file of
                `Tabulated.save` in which the simulator's results are looked up.

        Raises:
            ArchGymError: an unknown preset or argument (with the nearest names), a simulator and an
                objective that do not fit, or a table of another simulator.
        """
        if preset is not None and (not isinstance(preset, str) or preset not in self.presets):
            raise unknown(f"preset of {self.id}", preset, self.presets)
        settings = {**self.kwargs, **(self.presets[preset] if preset else {})}
        if objective is not None:  # presets may have options of the task's own objective
            settings = self.without_options(settings)
        settings |= kwargs
        factory = _resolve(self.simulator)
        if isinstance(objective, str) and ":" not in objective:
            raise ArchGymError(
                f"{_OBJECTIVE}, got {objective!r}; write {{'minimize': [{objective!r}]}} to minimize that "
                "metric"
            )
        goal = _resolve(objective if objective is not None else self.objective)
        goal = Objective.from_dict(goal) if isinstance(goal, Mapping) else goal
        if not (goal is None or isinstance(goal, Objective) or callable(goal)):
            raise ArchGymError(f"{self.id}: {_OBJECTIVE}, got {goal!r}")
        goal_options = _options(goal)
        table = None
        # a simulator's own argument of that name goes first
        if "table" in settings and "table" not in (_parameters(factory) or {}):
            table = settings.pop("table")
        for name in settings:
            accepted = _parameters(factory)
            if accepted is not None and name not in accepted and name not in goal_options:
                raise unknown(
                    f"argument of {self.id}",
                    name,
                    [*accepted, *goal_options, "objective", "horizon", "preset", "table"],
                )
        options = {name: settings.pop(name) for name in goal_options if name in settings}
        simulator = factory if isinstance(factory, Simulator) else factory(**settings)
        if not isinstance(simulator, Simulator):
            raise ArchGymError(
                f"{self.id}: expected {self.simulator!r} to make an archgym.Simulator, got "
                f"{type(simulator).__name__}"
            )
        check_schema(simulator)
        if table is not None:
            simulator = Tabulated.load(table, simulator)
        goal = simulator.default_objective if goal is None else goal
        if goal is None:
            raise ArchGymError(
                f"{self.id} has no objective: give objective=..., or set default_objective on "
                f"{type(simulator).__name__}"
            )
        if not isinstance(goal, Objective):
            goal = _called(goal, simulator, options, self.id)
        goal.check([m.name for m in simulator.metrics])
        return simulator, goal

    def without_options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments without the options of the task's own objective."""
        options = _options(_resolve(self.objective))
        return {name: value for name, value in settings.items() if name not in options}

    def arguments(self) -> dict[str, Any]:
        """Names and defaults of the environment's keyword arguments, without objective, horizon and
        render_mode.
        """
        factory = _resolve(self.simulator)
        found = {**(_parameters(factory) or {}), **_options(_resolve(self.objective))}
        return {**found, **self.kwargs}


@dataclass(frozen=True)
class EnvSpecification:
    """The environment of a run; `archgym.evaluator.Evaluator.from_specification` builds it again.

    Attributes:
        id: Gymnasium id, with the module that registers it if the user gave one.
        kwargs: keyword arguments, as written by `archgym.values`.
        objective: dictionary form of the objective; None for the environment's own.
        horizon: designs per episode.
        simulator: the simulator's specification; None if not stored.
        front: metrics to trade off; empty for the scalar reward.
    """

    id: str
    kwargs: Mapping[str, Any]
    objective: Mapping[str, Any] | None = None
    horizon: int = 1
    simulator: Any = None
    front: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, given: Any) -> EnvSpecification:
        """The environment of a specification, a data set or a proxy.

        Raises:
            ArchGymError: not a dictionary with an id and arguments.
        """
        env = _table(given, "env", ("id", "kwargs"))
        kwargs = _table(env["kwargs"], "kwargs")
        return cls(
            env["id"],
            kwargs,
            env.get("objective"),
            env.get("horizon", 1),
            env.get("simulator"),
            tuple(env.get("front") or ()),
        )

    @cached_property
    def as_dict(self) -> dict[str, Any]:
        """The dictionary form, one object for all runs with this environment."""
        front = {"front": list(self.front)} if self.front else {}
        return {
            "id": self.id,
            "kwargs": self.kwargs,
            "objective": self.objective,
            "horizon": self.horizon,
            "simulator": self.simulator,
            **front,
        }

    @property
    def measured(self) -> dict[str, Any]:
        """The part that a design's metrics depend on, as data sets and proxies store it: id, arguments and
        simulator.
        """
        return {name: self.as_dict[name] for name in ("id", "kwargs", "simulator")}


@dataclass(frozen=True)
class AgentSpecification:
    """The agent of a run.

    Attributes:
        name: registered name, or "module:Class".
        hyperparameters: all hyperparameters, as written by `archgym.values`.
        version: version of the class; None if not stored.
    """

    name: str
    hyperparameters: Any
    version: int | None = None

    @classmethod
    def from_dict(cls, given: Any) -> AgentSpecification:
        """The agent of a specification.

        Raises:
            ArchGymError: not a dictionary with a name and hyperparameters.
        """
        agent = _table(given, "agent", ("name", "hyperparameters"))
        return cls(agent["name"], agent["hyperparameters"], agent.get("version"))

    @cached_property
    def as_dict(self) -> dict[str, Any]:
        """The dictionary form, one object for all runs with this agent."""
        return {"name": self.name, "version": self.version, "hyperparameters": self.hyperparameters}

    @property
    def configuration(self) -> Any:
        """Hyperparameters as keyword arguments of the agent.

        Raises:
            ArchGymError: a value that cannot be read back.
        """
        return read(self.hyperparameters)


@dataclass(frozen=True)
class Specification:
    """A run: everything that determines its rows, and the version of archgym that made it.

    Attributes:
        env: the environment.
        agent: the agent.
        budget: number of samples.
        seed: seed of the run.
        num_envs: designs per step.
        version: version of archgym; None before the run.
        start: designs that the search starts from, as rows of indices; empty without.
        held_out: contexts that a policy designs for after its training (`archgym.study.training`), in the
            form of `Contexts.to_dict`; None in other runs.
        verify: proposals for each of them that are simulated.
        cost_budget: cost allowed, in the simulator's unit; None without. Beside it `budget` may be None.
    """

    env: EnvSpecification
    agent: AgentSpecification
    budget: int | None
    seed: int
    num_envs: int
    version: str | None = None
    start: Sequence[Sequence[int]] = ()
    held_out: Mapping[str, Any] | None = None
    verify: int = 0
    cost_budget: float | None = None

    @classmethod
    def from_dict(cls, given: Any) -> Specification:
        """The specification of a dictionary form.

        Raises:
            ArchGymError: not the dictionary form of a specification.
        """
        run = _table(given, "")
        env = EnvSpecification.from_dict(_table(run.get("env"), "env", ("objective", "horizon")))
        agent = AgentSpecification.from_dict(run.get("agent"))
        _table(run, "", _ROWS)
        return cls(
            env,
            agent,
            run["budget"],
            run["seed"],
            run["num_envs"],
            run.get("archgym"),
            run.get("start") or (),
            run.get("held_out"),
            run.get("verify", 0),
            run.get("cost_budget"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The dictionary form, from which `archgym.search_again` repeats the run."""
        version = {} if self.version is None else {"archgym": self.version}
        start = {"start": self.start} if self.start else {}
        env, agent = self.env.as_dict, self.agent.as_dict
        judged = {} if self.held_out is None else {"held_out": self.held_out, "verify": self.verify}
        cost = {} if self.cost_budget is None else {"cost_budget": self.cost_budget}
        return {
            **version,
            "env": env,
            "agent": agent,
            "budget": self.budget,
            "seed": self.seed,
            "num_envs": self.num_envs,
            **start,
            **judged,
            **cost,
        }


_ROWS = ("env", "agent", "budget", "seed", "num_envs")
_OPTIONAL = ("start", "held_out", "verify", "cost_budget")  # written where they are set


def what_decides_rows(specification: Mapping[str, Any]) -> dict[str, Any]:
    """A specification's dictionary form without the version of archgym, every other key as it is stored."""
    optional = [name for name in _OPTIONAL if name in specification]
    return {name: specification[name] for name in (*_ROWS, *optional)}


def _table(given: Any, name: str, keys: Iterable[str] = ()) -> Mapping[str, Any]:
    """A dictionary of a specification, "" for the whole, with these keys.

    Raises:
        ArchGymError: not a dictionary, or one that lacks a key.
    """
    if not isinstance(given, Mapping):
        where = f", with a dictionary {name!r}" if name else " as a dictionary"
        raise ArchGymError(f"expected a search's specification{where}; got {shown(given)}")
    for key in keys:
        if key not in given:
            raise ArchGymError(f"expected a search's specification, got one without {key!r}")
    return given


_OBJECTIVE = (
    "expected an archgym.Objective, a mapping such as {'minimize': ['time_s']}, or a function of the "
    "simulator that returns one"
)


def _called(
    function: Callable[..., Any], simulator: Simulator, options: Mapping[str, Any], env_id: str
) -> Objective:
    """The objective that a function returns.

    Raises:
        ArchGymError: the function raises, or returns something else.
    """
    try:
        made = function(simulator, **options)
    except ArchGymError:
        raise
    except Exception as error:
        given = f" with {dict(options)}" if options else ""
        raise ArchGymError(
            f"{env_id}: {_OBJECTIVE}, got {function!r}, which raised {reason_of(error)}{given}"
        ) from error
    if not isinstance(made, Objective):
        raise ArchGymError(f"{env_id}: {_OBJECTIVE}, got {function!r}, which returned {made!r}")
    return made


def _resolve(source: Any) -> Any:
    return load(source) if isinstance(source, str) else source


def _parameters(factory: Any) -> dict[str, Any] | None:
    """Keyword arguments of a factory with their defaults; None where it takes any."""
    if isinstance(factory, Simulator):
        return {}
    # has *args for `inspect`
    if isinstance(factory, type) and inspect.getattr_static(factory, "__init__") is object.__init__:
        return {}
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p.default for p in parameters}


def _options(objective: Any) -> dict[str, Any]:
    """Keyword-only options of an objective function with their defaults."""
    if not callable(objective) or isinstance(objective, Objective):
        return {}
    with suppress(ValueError):  # functions written in C may have no signature
        return {
            p.name: p.default
            for p in inspect.signature(objective).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        }
    return {}
