"""Tasks: what an environment id stands for.

simulator source + keyword arguments -> Simulator,  objective source + its options -> Objective
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.objective import Objective
from archgym.simulator import Simulator, check_schema
from archgym.values import load as load

if TYPE_CHECKING:
    pass


SimulatorSource = str | Simulator | Callable[..., Simulator]
ObjectiveSource = str | Objective | Mapping[str, Any] | Callable[..., Objective]


@dataclass(frozen=True)
class Task:
    """What an environment id stands for.

    Attributes:
        id: Gymnasium id.
        simulator: a Simulator, a class or factory of one, or "module:name" of those.
        objective: an Objective, its dictionary form, a function `(simulator, **options) -> Objective`, or "module:name" of those.
        presets: named workloads, each a set of keyword arguments.
        kwargs: keyword arguments that always apply unless overridden.
        documentation: prose for `archgym describe` (a module's docstring).
    """

    id: str
    simulator: SimulatorSource
    objective: ObjectiveSource | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    documentation: str = ""

    def build(self, objective: ObjectiveSource | None = None, preset: str | None = None, **kwargs: Any) -> tuple[Simulator, Objective]:
        """The simulator and the objective for these keyword arguments.

        Raises:
            ArchGymError: an unknown preset or argument (with the nearest names), or a simulator and an objective that do not fit.
        """
        if preset is not None and (not isinstance(preset, str) or preset not in self.presets):
            raise unknown(f"preset of {self.id}", preset, self.presets)
        settings = {**self.kwargs, **(self.presets[preset] if preset else {})}
        if objective is not None:  # another objective does not take the options that presets give to the task's own
            settings = self.without_options(settings)
        settings |= kwargs
        factory = _resolve(self.simulator)
        if isinstance(objective, str) and ":" not in objective:
            raise ArchGymError(f"{_OBJECTIVE}, got {objective!r}; write {{'minimize': [{objective!r}]}} to minimize that metric")
        goal = _resolve(objective if objective is not None else self.objective)
        goal = Objective.from_dict(goal) if isinstance(goal, Mapping) else goal
        if not (goal is None or isinstance(goal, Objective) or callable(goal)):
            raise ArchGymError(f"{self.id}: {_OBJECTIVE}, got {goal!r}")
        goal_options = _options(goal)
        for name in settings:
            accepted = _parameters(factory)
            if accepted is not None and name not in accepted and name not in goal_options:
                raise unknown(f"argument of {self.id}", name, [*accepted, *goal_options, "objective", "horizon", "preset"])
        options = {name: settings.pop(name) for name in goal_options if name in settings}
        simulator = factory if isinstance(factory, Simulator) else factory(**settings)
        if not isinstance(simulator, Simulator):
            raise ArchGymError(f"{self.id}: expected {self.simulator!r} to make an archgym.Simulator, got {type(simulator).__name__}")
        check_schema(simulator)
        goal = simulator.default_objective if goal is None else goal
        if goal is None:
            raise ArchGymError(f"{self.id} has no objective: give objective=..., or set default_objective on {type(simulator).__name__}")
        if not isinstance(goal, Objective):
            goal = _called(goal, simulator, options, self.id)
        goal.check([m.name for m in simulator.metrics])
        return simulator, goal

    def without_options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments less those that are options of the task's own objective."""
        options = _options(_resolve(self.objective))
        return {name: value for name, value in settings.items() if name not in options}

    def arguments(self) -> dict[str, Any]:
        """Names and defaults of the keyword arguments that the environment takes besides objective, horizon and render_mode."""
        factory = _resolve(self.simulator)
        found = {**(_parameters(factory) or {}), **_options(_resolve(self.objective))}
        return {**found, **self.kwargs}


_OBJECTIVE = "expected an archgym.Objective, a mapping such as {'minimize': ['time_s']}, or a function of the simulator that returns one"


def _called(function: Callable[..., Any], simulator: Simulator, options: Mapping[str, Any], env_id: str) -> Objective:
    """The objective that a function makes.

    Raises:
        ArchGymError: it raises, or returns something else.
    """
    try:
        made = function(simulator, **options)
    except ArchGymError:
        raise
    except Exception as error:
        given = f" with {dict(options)}" if options else ""
        raise ArchGymError(f"{env_id}: {_OBJECTIVE}, got {function!r}, which raised {reason_of(error)}{given}") from error
    if not isinstance(made, Objective):
        raise ArchGymError(f"{env_id}: {_OBJECTIVE}, got {function!r}, which returned {made!r}")
    return made


def _resolve(source: Any) -> Any:
    return load(source) if isinstance(source, str) else source


def _parameters(factory: Any) -> dict[str, Any] | None:
    """Keyword arguments of a factory with their defaults; None where it takes anything."""
    if isinstance(factory, Simulator):
        return {}
    if isinstance(factory, type) and inspect.getattr_static(factory, "__init__") is object.__init__:  # Python would ignore arguments here
        return {}
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p.default for p in parameters}


def _options(objective: Any) -> dict[str, Any]:
    """Keyword-only options of an objective function with their defaults."""
    if not callable(objective) or isinstance(objective, Objective):
        return {}
    with suppress(ValueError):  # a function of C's may have no signature
        return {p.name: p.default for p in inspect.signature(objective).parameters.values() if p.kind is p.KEYWORD_ONLY}
    return {}
