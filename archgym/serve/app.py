"""The HTTP face of a task: FastAPI for the documentation, plain bytes for the traffic.

Requests that may simulate go through one thread, in order of arrival; everything else has threads of its own,
so that a slow simulator delays nothing but evaluations.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from archgym.errors import ArchGymError
from archgym.serve import schema
from archgym.serve.guards import Guard, check_access
from archgym.serve.page import documentation
from archgym.serve.refusals import Refused, without_paths
from archgym.serve.sessions import Session, Sessions
from archgym.serve.task import ServedTask
from archgym.version import __version__
from archgym.words import shown

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
_ASIDE = 4  # threads of requests that do not simulate
_LAST_S = 10.0  # for the evaluation under way when the service ends


def make_app(
    task: ServedTask,
    folder: str | Path,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    sessions: int = 10_000,
    rate: float | None = None,
) -> FastAPI:
    """A service; `app.state.sessions` are its sessions, which are closed when the service ends.

    Args:
        task: the task.
        folder: folder of the sessions.
        token: secret that shows the task and opens sessions; None where anybody may.
        host: address that is listened on; only a loopback address goes without a token.
        sessions: number of sessions allowed.
        rate: requests per second allowed to each client address; None for no limit.

    Raises:
        ArchGymError: a folder that cannot be used, or another address without a token.
    """
    check_access(host, token, rate)
    held = Sessions(task, folder, limit=sessions)
    service = _Service(task, held)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title=f"archgym: {task.env}",
        version=__version__,
        description=schema.ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.sessions = held
    service.add_routes(app)
    app.openapi = schema.described(app)  # type: ignore[method-assign]
    page: list[bytes] = []

    async def openapi(request: Request) -> Response:
        return _answer(app.openapi())

    async def docs(request: Request) -> Response:
        if not page:
            page.append(documentation(app.openapi()).encode())
        return Response(page[0], media_type="text/html")

    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ArchGymError, _refused)
    app.add_exception_handler(HTTPException, _wrong_route)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, host=host, token=token, rate=rate)
    return app


class _Service:
    """The routes of a task."""

    def __init__(self, task: ServedTask, sessions: Sessions):
        self.task, self.sessions = task, sessions
        self._described = json.dumps(task.describe(), allow_nan=False).encode()
        self._worker = ThreadPoolExecutor(1, "simulate")
        self._aside = ThreadPoolExecutor(_ASIDE, "aside")

    def close(self) -> None:
        """End the threads, and close the sessions; an evaluation under way gets a few seconds."""
        wait([self._worker.submit(int)], _LAST_S)
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._aside.shutdown(cancel_futures=True)
        self.sessions.close()

    def add_routes(self, app: FastAPI) -> None:
        """Add the documented routes."""
        for route in schema.routes(self.task):
            app.add_api_route(endpoint=getattr(self, route.pop("name")), **route)

        async def evaluate(request: Request) -> Response:
            return await self.evaluate(request.path_params["id"], request)

        # goes first, without FastAPI's look at its arguments: a tenth of a request's time
        plain = Route("/sessions/{id}/evaluate", evaluate, methods=["POST"], include_in_schema=False)
        app.router.routes.insert(0, plain)

    async def health(self) -> Response:
        return _answer({"status": "ok"})

    async def describe(self) -> Response:
        return Response(self._described, media_type=JSON)

    async def create(self, request: Request) -> Response:
        fields = _fields(_json(await request.body() or b"{}"), _OF_SESSION)
        session = await self._run(self._aside, lambda: self.sessions.create(**fields))
        answer = {
            "session": session.id,
            "token": session.token,
            "budget": session.budget,
            "seed": session.seed,
            "context": session.context,
        }
        session.token = ""
        return _answer(answer, 201)

    async def evaluate(self, id: str, request: Request) -> Response:
        session, body = self._session(id, request), await request.body()
        key = request.headers.get("idempotency-key")
        return await self._run(self._worker, lambda: _answer(self._evaluated(session, body, key)))

    def _evaluated(self, session: Session, body: bytes, key: str | None) -> dict[str, Any]:
        given = _fields(_json(body), ("designs", "indices"))
        if len(given) != 1:
            raise Refused(422, "expected one of designs and indices in a request, got both or neither")
        if "indices" in given:
            indices = given["indices"]
            if not isinstance(indices, list):
                raise Refused(422, f"expected indices as a list of rows, got {shown(indices)}")
            return session.evaluate(indices, key)
        designs = given["designs"]
        if isinstance(designs, list) and len(designs) > self.task.max_batch:
            raise Refused(
                413,
                f"expected at most {self.task.max_batch:,} designs in a request, got {len(designs):,}",
            )
        try:
            return session.evaluate(self.task.designs.rows(designs), key)
        except Refused:
            raise
        except ArchGymError as error:
            raise Refused(422, str(error)) from None

    async def summary(self, id: str, request: Request) -> Response:
        session = self._session(id, request)
        return await self._run(self._aside, lambda: _answer(session.summary()))

    async def history(self, id: str, request: Request) -> Response:
        session = self._session(id, request)
        query = _fields(dict(request.query_params), ("format", "start", "count"))
        start, count = (_whole(name, query.get(name)) for name in ("start", "count"))
        if (form := query.get("format", "json")) not in ("json", "parquet"):
            raise Refused(422, f"expected format=json or format=parquet, got {shown(form)}")
        found = _parquet if form == "parquet" else _columns
        return await self._run(self._aside, lambda: found(session, start or 0, count))

    def _session(self, id: str, request: Request) -> Session:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(401, "expected the header Authorization: Bearer with the session's token, got none")
        return self.sessions.get(id, token.strip())

    async def _run(self, executor: Executor, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, function)


_OF_SESSION = ("agent", "hyperparameters", "seed", "context")


def _columns(session: Session, start: int, count: int | None) -> Response:
    return _answer({"columns": session.history(start, count)})


def _parquet(session: Session, start: int, count: int | None) -> Response:
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(session.table(start, count), buffer)
    return Response(buffer.getvalue(), media_type=PARQUET)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"expected a body in JSON, got something else ({str(error)[:100]})") from None


def _fields(given: Any, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise Refused(422, f"expected an object with {' and '.join(known)}, got {shown(given)}")
    for name in given:
        if name not in known:
            raise Refused(422, f"expected {', '.join(known)}, got {shown(name)}")
    return dict(given)


def _whole(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refused(422, f"expected {name} as a whole number >= 0, got {shown(text)}")
    return int(text)


def _answer(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)


def error_answer(status: int, message: str, **more: Any) -> Response:
    """An error as every route words it."""
    answer = _answer({"error": message, **more}, status)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    status, more = (error.status, error.more) if isinstance(error, Refused) else (422, {})
    message = str(error) if isinstance(error, Refused) else without_paths(str(error))
    return error_answer(status, message, **more)


async def _wrong_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = error_answer(error.status_code, f"{error.detail}; GET /docs lists the routes")
    answer.headers.update(error.headers or {})
    return answer


async def _left(request: Request, error: Exception) -> Response:
    """The answer to a client that left within its request; the server did not fail."""
    return error_answer(400, "expected a whole request, got a part of it")


async def _failed(request: Request, error: Exception) -> Response:
    return error_answer(500, "the server failed; its own log says where")
