"""What is served: one environment, its budget, and everything that a client may see of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError, unknown, whole
from archgym.evaluator import Evaluator
from archgym.objective import Objective
from archgym.registry import get_task
from archgym.serve.designs import Designs, described
from archgym.serve.refusals import without_paths
from archgym.simulator import Metric
from archgym.values import restored, write
from archgym.version import __version__
from archgym.words import shown

MAX_BATCH = 10_000  # designs
MAX_BODY = 16 * 2**20  # bytes
_NUMBER = 24  # bytes of a longest float as JSON
SEEDS = 2**53  # above the largest integer that every JSON reader keeps


class ServedTask:
    """A task as clients see it: without its optimum and its report-only metrics.

    Args:
        env: environment id.
        budget: samples of a session; None for no limit.
        seed: seed of the first session of an agent; the next one has the next seed.
        arguments: keyword arguments of the environment, `contexts` and `objective` among them.
        max_batch: limit on the designs of a request; default: 10,000, or fewer where 16 MiB are too small.

    Attributes:
        members: the evaluator of each context by name; of the task itself under None, without contexts.
        space: the design space.
        metrics: the metrics that clients see.

    Raises:
        ArchGymError: an environment that cannot be made, contexts with different spaces or metrics, or an
            objective of a report-only metric, which rewards would give away.
    """

    def __init__(
        self,
        env: str,
        *,
        budget: int | None = None,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        max_batch: int | None = None,
    ):
        self.env, self.budget, self.seed = env, budget, whole("seed", seed, least=0)
        if budget is not None:
            self.budget = whole("budget", budget, least=1)
        kwargs = dict(arguments or {})
        objective, horizon = kwargs.pop("objective", None), kwargs.pop("horizon", 1)
        contexts = kwargs.pop("contexts", None)
        task = get_task(env)
        self.contexts = None if contexts is None else Contexts.of(restored(contexts), task)
        given: dict[str | None, Mapping[str, Any]] = {None: {}}
        if self.contexts is not None:
            given = dict(zip(self.contexts.names, self.contexts.arguments, strict=True))
        self.members = {
            name: Evaluator(task, objective, horizon, {**kwargs, **own}) for name, own in given.items()
        }
        self._first = next(iter(self.members.values()))
        self.space = self._first.simulator.space
        self.metrics = tuple(m for m in self._first.simulator.metrics if not m.report_only)
        self.designs = Designs(self.space)
        for name, member in self.members.items():
            self._check(name, member)
        self.max_batch = self._batch() if max_batch is None else whole("max_batch", max_batch, least=1)

    def _check(self, context: str | None, member: Evaluator) -> None:
        first, own = self._first.simulator, member.simulator
        if own.space != first.space or own.metrics != first.metrics:
            raise ArchGymError(
                f"expected contexts with one design space and the same metrics, got others for {context!r}; "
                "serve it by itself"
            )
        hidden = {m.name for m in own.metrics if m.report_only}
        if used := hidden & set(member.objective.metrics):
            raise ArchGymError(
                f"expected an objective of metrics that clients may see, got {min(used)!r}, which is for "
                "reports only; give another objective"
            )

    def _batch(self) -> int:
        """Designs by value that fit in the largest request."""
        values = [
            max((len(json.dumps(write(v))) for v in getattr(p, "values", ())), default=_NUMBER)
            for p in self.space
        ]
        each = 3 + sum(len(json.dumps(p.name)) + size + 4 for p, size in zip(self.space, values, strict=True))
        return max(1, min(MAX_BATCH, (MAX_BODY - 1024) // each))

    def evaluator(self, context: str | None, seed: int) -> Evaluator:
        """A session's evaluator, with an empty ledger.

        Raises:
            ArchGymError: an unknown context, or one where there are none.
        """
        return self.member(context).restarted(self.budget, seed)

    def member(self, context: str | None) -> Evaluator:
        """The evaluator of a context that sessions share.

        Raises:
            ArchGymError: an unknown context, or one where there are none.
        """
        if context is not None and not isinstance(context, str):
            raise ArchGymError(f"expected the name of a context as a text, got {shown(context)}")
        if context in self.members:
            return self.members[context]
        if self.contexts is None:
            raise ArchGymError(f"expected no context, since the task has none, got {shown(context)}")
        if context is None:
            raise ArchGymError("expected the name of a context, got null; GET /task lists them")
        raise unknown("context", context, self.contexts.names[:50])

    def describe(self) -> dict[str, Any]:
        """The task as JSON: the answer of GET /task."""
        evaluator = self._first
        specification = evaluator.specification()
        return {
            "format": 1,
            "archgym": __version__,
            "env": self.env,
            "arguments": shareable(specification["kwargs"] if self.contexts is None else self._common()),
            "description": _introduction(evaluator.task.documentation or ""),
            "space": described(self.space),
            "metrics": [_metric(m) for m in self.metrics],
            "objective": self._objective(evaluator.objective),
            "deterministic": evaluator.simulator.deterministic,
            "stochastic": evaluator.simulator.stochastic,
            "horizon": evaluator.horizon,
            "budget": self.budget,
            "seed": self.seed,
            "contexts": self._contexts(),
            "cost_unit": evaluator.ledger.cost_unit,
            "max_batch": self.max_batch,
        }

    def _common(self) -> dict[str, Any]:
        """Arguments that no context sets."""
        own = {name for each in self.contexts.arguments for name in each} if self.contexts else set()
        kwargs = self._first.specification()["kwargs"]
        return {name: value for name, value in kwargs.items() if name not in own}

    def _contexts(self) -> list[dict[str, Any]]:
        if self.contexts is None:
            return []
        return [
            {
                "name": name,
                "arguments": shareable(write(dict(arguments))),
                "objective": self._objective(self.members[name].objective),
            }
            for name, arguments in zip(self.contexts.names, self.contexts.arguments, strict=True)
        ]

    def _objective(self, objective: Objective) -> dict[str, Any]:
        """An objective without references of metrics that clients do not see."""
        data, seen = objective.to_dict(), {m.name for m in self.metrics}
        reference = {name: value for name, value in data.get("reference", {}).items() if name in seen}
        return {**data, "reference": reference} if reference else {**data, "reference": {}}

    def identity(self) -> dict[str, Any]:
        """What a folder of sessions belongs to, as JSON: it is opened again for an equal one alone."""
        members = {json.dumps(name): member.specification() for name, member in self.members.items()}
        same = {"env": self.env, "budget": self.budget, "seed": self.seed, "tasks": members}
        return json.loads(json.dumps(same, default=write))


def shareable(value: Any) -> Any:
    """JSON without the server's paths."""
    if isinstance(value, str):
        return without_paths(value) if len(value) < 10_000 else value[:10_000]
    if isinstance(value, Mapping):
        if value.get("$") == "path":
            return {"$": "path", "of": without_paths(str(value.get("of")))}
        return {name: shareable(item) for name, item in value.items()}
    return [shareable(item) for item in value] if isinstance(value, list) else value


def _introduction(documentation: str) -> str:
    """An environment's documentation without its tables, and without what it says of the optimum."""
    text = documentation.strip()
    for heading in ("Action Space", "Known optimum"):
        text = text.split(f"\n## {heading}\n")[0]
    return text.replace("\n## Description\n", "\n").strip()


def _metric(metric: Metric) -> dict[str, Any]:
    return {"name": metric.name, "unit": metric.unit, "better": metric.better}
