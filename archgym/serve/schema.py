"""The service in OpenAPI: routes with their models, examples of the task that is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from archgym.serve.sessions import AGENT, DEEPEST, LONGEST_HYPERPARAMETERS, LONGEST_KEY, LONGEST_NAME
from archgym.serve.task import SEEDS, ServedTask
from archgym.space import Indices, Integer, Parameter, Real

ABOUT = (
    "Ask for designs' metrics; the server counts them. Open a session, keep its token, and evaluate designs "
    "by value or by indices until its budget is spent."
)
_LISTED = 64  # parameters, or values of one, that the schema of a request spells out


class Model(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class Error(BaseModel):
    """A request that was refused: what was expected, what was given, and what to do."""

    error: str
    left: int | None = Field(None, description="0 where the budget is spent")


class Health(Model):
    """The server answers."""

    status: Literal["ok"]


class ParameterModel(BaseModel):
    """An axis of the design space: the values at indices 0 to count - 1."""

    name: str
    type: Literal["categorical", "ordinal", "integer", "real"]
    count: int
    default: Any
    when: dict[str, list[Any]] | None = Field(
        description="values of other parameters with which this one is active; null: always"
    )
    values: list[Any] | None = Field(None, description="of categorical and ordinal parameters")
    low: float | None = Field(None, description="of integer and real parameters")
    high: float | None = Field(None, description="of integer and real parameters")
    step: int | None = Field(None, description="of integer parameters")
    levels: int | None = Field(None, description="of real parameters: number of values")
    log: bool | None = Field(None, description="of real parameters: whether their ratio is constant")


class SpaceModel(Model):
    """The design space."""

    parameters: list[ParameterModel]
    size: int
    nvec: list[int]


class MetricModel(Model):
    """A quantity of a design."""

    name: str
    unit: str
    better: Literal["lower", "higher"] | None


class ContextModel(Model):
    """One of the tasks that a session chooses from."""

    name: str
    arguments: dict[str, Any]
    objective: dict[str, Any]


class TaskModel(Model):
    """What is served."""

    format: int
    archgym: str
    env: str
    arguments: dict[str, Any]
    description: str
    space: SpaceModel
    metrics: list[MetricModel]
    objective: dict[str, Any]
    deterministic: bool
    stochastic: bool
    horizon: int
    budget: int | None
    seed: int
    contexts: list[ContextModel]
    cost_unit: str
    max_batch: int


class Opened(Model):
    """A new session; the token is told this once."""

    session: str
    token: str
    budget: int | None
    seed: int
    context: str | None


class Evaluated(Model):
    """Recorded samples; fewer than were sent where the budget ended among them."""

    start: int = Field(description="samples before")
    samples: int = Field(description="samples after")
    left: int | None
    indices: list[list[int]]
    metrics: dict[str, list[float | None]]
    feasible: list[bool]
    valid: list[bool]
    reward: list[float]
    failures: dict[str, str] = Field(description="row of this answer -> reason")


class Best(Model):
    """The first valid design with the highest reward."""

    sample: int
    design: dict[str, Any]
    metrics: dict[str, float | None]
    reward: float


class Summary(Model):
    """The ledger of a session."""

    session: str
    agent: str
    hyperparameters: dict[str, Any]
    seed: int
    context: str | None
    budget: int | None
    samples: int
    unique: int
    duplicates: int
    left: int | None
    feasible: int
    valid: int
    best: Best | None
    finished: bool


class History(Model):
    """All samples as columns."""

    columns: dict[str, list[Any]]


_REASONS = {
    400: "not JSON",
    401: "no token",
    403: "a page of another site, or another name of this machine",
    404: "no such session for this token",
    409: "the budget is spent, or the session exists",
    413: "too many designs, or bytes",
    422: "illegal designs or fields; nothing is counted",
    429: "too many requests or sessions",
    503: "the simulator or the journal is not available; nothing is counted",
    507: "the server's disk is full; nothing is counted",
}


def routes(task: ServedTask) -> list[dict[str, Any]]:
    """Arguments of `add_api_route`, where `name` is the method that answers."""
    session: list[dict[str, list[str]]] = [{"session": []}]
    return [
        _route("health", "GET", "/healthz", "Whether the server answers.", Health, (), {"status": "ok"}),
        _route("describe", "GET", "/task", "The task.", TaskModel, (401,), None, security=_SERVER),
        _route(
            "create",
            "POST",
            "/sessions",
            "Open a session. Agent, hyperparameters, seed and context name it, once.",
            Opened,
            (400, 401, 409, 413, 422, 429, 503, 507),
            {"session": "...", "token": "...", "budget": task.budget, "seed": task.seed, "context": None},
            status=201,
            requestBody=_session_body(task),
            security=_SERVER,
        ),
        _route(
            "evaluate",
            "POST",
            "/sessions/{id}/evaluate",
            "Evaluate designs, and count them.",
            Evaluated,
            (400, 401, 404, 409, 413, 422, 429, 503, 507),
            _example_answer(task),
            requestBody=_designs_body(task),
            parameters=[_KEY],
            security=session,
        ),
        _route(
            "summary",
            "GET",
            "/sessions/{id}",
            "The ledger of a session.",
            Summary,
            (401, 404, 429, 503),
            None,
            security=session,
        ),
        _route(
            "history",
            "GET",
            "/sessions/{id}/history",
            "All samples of a session, or some.",
            History,
            (401, 404, 422, 429, 503),
            None,
            parameters=_OF_HISTORY,
            security=session,
        ),
    ]


_SERVER: list[dict[str, list[str]]] = [{}, {"server": []}]
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "names the request: a repeated one gets the recorded answer, and counts nothing",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"},
}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
_OF_HISTORY = [
    {
        "name": "format",
        "in": "query",
        "description": "form of the columns",
        "schema": {"type": "string", "enum": ["json", "parquet"], "default": "json"},
    },
    {"name": "start", "in": "query", "description": "first sample", "schema": {**_COUNT, "default": 0}},
    {"name": "count", "in": "query", "description": "number of samples", "schema": _COUNT},
]


def _route(
    name: str,
    method: str,
    path: str,
    summary: str,
    model: type[BaseModel],
    errors: tuple[int, ...],
    example: Any,
    status: int = 200,
    **extra: Any,
) -> dict[str, Any]:
    content: dict[str, Any] = {} if example is None else {"example": example}
    answers: dict[int, dict[str, Any]] = {
        status: {"model": model, "description": model.__doc__, "content": {"application/json": content}}
    }
    if name == "history":
        answers[status]["content"]["application/vnd.apache.parquet"] = {}
    answers |= {code: {"model": Error, "description": _REASONS[code]} for code in (*errors, 403)}
    return {
        "name": name,
        "path": path,
        "methods": [method],
        "summary": summary,
        "description": summary,
        "operation_id": name,
        "response_model": None,
        "status_code": status,
        "responses": answers,
        "openapi_extra": extra,
    }


def _session_body(task: ServedTask) -> dict[str, Any]:
    contexts: dict[str, Any] = {"type": "null"}
    if task.contexts is not None:
        contexts = {"type": "string", "enum": list(task.contexts.names)}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "agent": {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_NAME,
                "default": "remote",
                "pattern": f"^{AGENT}$",
            },
            "hyperparameters": {
                "type": ["object", "null"],
                "default": {},
                "description": f"JSON of at most {LONGEST_HYPERPARAMETERS:,} characters and {DEEPEST} levels",
            },
            "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": SEEDS - 1, "default": None},
            "context": contexts,
        },
        **({} if task.contexts is None else {"required": ["context"]}),
    }
    context = {} if task.contexts is None else {"context": task.contexts.names[0]}
    examples = {
        "any seed": {"value": {"agent": "mine", **context}},
        "all fields": {"value": {"agent": "mine", "hyperparameters": {"rate": 0.1}, "seed": 7, **context}},
    }
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"required": task.contexts is not None, "content": content}


def _designs_body(task: ServedTask) -> dict[str, Any]:
    schema = {
        "oneOf": [
            _one_of("indices", _row_schema(task), task.max_batch),
            _one_of("designs", _design_schema(task), task.max_batch),
        ]
    }
    row = _default_row(task)
    examples = {
        "by value": {"value": {"designs": [task.designs.design(row)]}},
        "by indices": {"value": {"indices": [row.tolist()]}},
    }
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _one_of(name: str, items: dict[str, Any], most: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: {"type": "array", "minItems": 1, "maxItems": most, "items": items}},
    }


def _row_schema(task: ServedTask) -> dict[str, Any]:
    nvec = task.space.nvec.tolist()
    schema: dict[str, Any] = {"type": "array", "minItems": len(nvec), "maxItems": len(nvec)}
    if len(nvec) <= _LISTED:
        return {**schema, "prefixItems": [_whole(0, n - 1) for n in nvec]}
    return {**schema, "items": _whole(0, max(nvec) - 1)}


def _design_schema(task: ServedTask) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if len(task.space) > _LISTED:
        return schema
    return {
        **schema,
        "additionalProperties": False,
        "required": [p.name for p in task.space if not p.when],
        "properties": {p.name: _value_schema(p, task) for p in task.space},
    }


def _value_schema(parameter: Parameter, task: ServedTask) -> dict[str, Any]:
    if isinstance(parameter, Integer):
        whole = _whole(parameter.low, parameter.high)
        return whole if parameter.step == 1 else {**whole, "description": f"in steps of {parameter.step}"}
    if isinstance(parameter, Real):
        levels = f"one of {parameter.levels} levels"
        return {
            "type": "number",
            "minimum": parameter.low,
            "maximum": parameter.high,
            "description": levels,
        }
    if len(parameter) > _LISTED:
        return {"description": parameter.describe()}
    return {"enum": [task.designs.value(value) for value in parameter.plain]}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _default_row(task: ServedTask) -> Indices:
    row: Indices = task.space.encode(task.space.defaults())[0]
    return row


def _example_answer(task: ServedTask) -> dict[str, Any]:
    left = None if task.budget is None else task.budget - 1
    return {
        "start": 0,
        "samples": 1,
        "left": left,
        "indices": [_default_row(task).tolist()],
        "metrics": {metric.name: [1.0] for metric in task.metrics},
        "feasible": [True],
        "valid": [True],
        "reward": [-0.25],
        "failures": {},
    }


def described(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """A function that makes the OpenAPI description of an app, once."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = make()
            made.setdefault("components", {})["securitySchemes"] = {
                "session": {"type": "http", "scheme": "bearer", "description": "token of the session"},
                "server": {"type": "http", "scheme": "bearer", "description": "token of the server"},
            }
        assert app.openapi_schema is not None
        return app.openapi_schema

    return openapi
