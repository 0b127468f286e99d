"""The answer to `GET /task` as the objects that it describes.

Nothing that a service sends is read as a class or a function: values that are neither JSON nor Python's own
are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archgym.errors import ArchGymError, reason_of, unknown, whole
from archgym.objective import Objective
from archgym.remote.connection import ServiceError
from archgym.simulator import Metric
from archgym.space import DesignSpace, Parameter
from archgym.words import is_printable, shown

FORMAT = 1
_PLAIN = frozenset(
    {"tuple", "set", "frozenset", "dict", "int", "complex", "range", "bytes", "fraction", "decimal", "date"}
)


@dataclass(frozen=True)
class RemoteTask:
    """A served task.

    Attributes:
        env: id of the served environment.
        arguments: its arguments as JSON, those of the context among them.
        space, metrics, objective: what is searched, in what a design is measured, what its reward is.
        deterministic: False where results differ between sessions.
        horizon: designs per episode.
        budget: samples of a session; None without a limit.
        max_batch: designs of a request.
    """

    env: str
    arguments: Mapping[str, Any]
    space: DesignSpace
    metrics: tuple[Metric, ...]
    objective: Objective
    deterministic: bool
    horizon: int
    budget: int | None
    max_batch: int

    @classmethod
    def of(cls, told: Mapping[str, Any], context: str | None, url: str) -> RemoteTask:
        """The task that a service describes, on one of its contexts.

        Raises:
            ArchGymError: no such context, or a context is missing.
            ServiceError: another wire format, or JSON without a task's description.
        """
        if told.get("format", FORMAT) != FORMAT:
            raise ServiceError(
                f"expected wire format {FORMAT} from {url}, got another one; install the service's archgym"
            )
        own = _context(told, context, url)
        try:
            return cls._of(told, own)
        except Exception as error:  # a foreign answer raises nearly anything
            raise ServiceError(
                f"expected the task of an archgym service from {url}, got something else "
                f"({reason_of(error, 300)}); check the address, and that both have the same archgym"
            ) from None

    @classmethod
    def _of(cls, told: Mapping[str, Any], own: Mapping[str, Any]) -> RemoteTask:
        budget = told["budget"]
        return cls(
            str(told["env"]),
            {**told["arguments"], **own.get("arguments", {})},
            DesignSpace([_parameter(each) for each in told["space"]["parameters"]]),
            tuple(_metric(each) for each in told["metrics"]),
            Objective.from_dict(own.get("objective") or told["objective"]),
            bool(told["deterministic"]) and not told["stochastic"],
            whole("horizon", told["horizon"], least=1),
            None if budget is None else whole("budget", budget, least=0),
            whole("max_batch", told["max_batch"], least=1),
        )


def _context(told: Mapping[str, Any], context: str | None, url: str) -> Mapping[str, Any]:
    """What the task says of a context; nothing of a task without contexts."""
    contexts = told.get("contexts") or []
    by_name = {each["name"]: each for each in contexts if isinstance(each, Mapping) and "name" in each}
    if context is None and not by_name:
        return {}
    if context is None:
        names = ", ".join(map(str, list(by_name)[:8]))
        raise ArchGymError(
            f"expected the context to search at {url}, got none; pass context=, one of {names}"
        )
    if context not in by_name:
        raise unknown("context", context, by_name)
    return by_name[context]


def _metric(told: Mapping[str, Any]) -> Metric:
    _check_plain(dict(told))
    return Metric(str(told["name"]), str(told["unit"]), told["better"])


def _parameter(told: Mapping[str, Any]) -> Parameter:
    given = {name: setting for name, setting in told.items() if name not in ("type", "count")}
    _check_plain(given)
    if not given.get("when"):
        given.pop("when", None)
    parameter = Parameter.from_json({**given, "kind": str(told["type"]).capitalize()})
    if len(parameter) != told.get("count", len(parameter)):
        raise ArchGymError(f"expected {told['count']} values of {parameter.name!r}, got {len(parameter)}")
    return parameter


def _check_plain(value: Any) -> None:
    """Refuse written values of other kinds than Python's own, whose classes would have to be imported, and
    texts that could control a terminal.
    """
    if isinstance(value, str) and not is_printable(value):
        raise ArchGymError(f"expected printable names and values, got {shown(value)}")
    if isinstance(value, Mapping):
        if "$" in value and value["$"] not in _PLAIN:
            raise ArchGymError(f"expected values of JSON or Python's own, got one of kind {value['$']!r}")
        for item in (*value, *value.values()):
            _check_plain(item)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item)
