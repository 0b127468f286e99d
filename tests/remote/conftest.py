"""A small service in the tests' own words, whose answers get lost on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import uvicorn

from archgym.errors import BudgetExhausted
from archgym.evaluator import Evaluator


class Service:
    """One task behind HTTP.

    Attributes:
        evaluators: ledger of each session.
        requests: method, path and headers of each request.
        faults: what happens to the next evaluate requests: "refuse" (503 before), "drop" (no answer before),
            "lose" (evaluated, no answer), or None.
        answers: replaced answers by path.
    """

    def __init__(self, evaluator: Evaluator, budget: int | None = None, max_batch: int = 1000):
        self.evaluator, self.budget, self.max_batch = evaluator, budget, max_batch
        self.evaluators: dict[str, Evaluator] = {}
        self.opened: list[Mapping[str, Any]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[str | None] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self._kept: dict[str, tuple[int, Any]] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service._serve(self, "GET")

            def do_POST(self) -> None:
                service._serve(self, "POST")

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def samples(self) -> int:
        return sum(each.ledger.samples for each in self.evaluators.values())

    def task(self) -> dict[str, Any]:
        simulator = self.evaluator.simulator
        visible = [m for m in simulator.metrics if not m.report_only]
        parameters = []
        for p in simulator.space:
            told = p.to_json()
            parameters.append({"type": told.pop("kind").lower(), "default": None, "when": None, **told})
        return {
            "env": "tests/Served-v0",
            "arguments": {"offset": 0.0},
            "space": {"parameters": parameters},
            "metrics": [{"name": m.name, "unit": m.unit, "better": m.better} for m in visible],
            "objective": self.evaluator.objective.to_dict(),
            "deterministic": simulator.deterministic,
            "stochastic": simulator.stochastic,
            "horizon": self.evaluator.horizon,
            "budget": self.budget,
            "seed": 0,
            "contexts": [],
            "max_batch": self.max_batch,
        }

    def _serve(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        self.requests.append((method, handler.path, dict(handler.headers)))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        status, answer = 200, b""
        if handler.path in self.answers:
            status, answer = self.answers[handler.path]
        elif handler.path.endswith("/evaluate") and self.faults:
            fault = self.faults.pop(0)
            if fault != "drop":
                if fault != "refuse":
                    status, told = self._answer(handler, json.loads(body))
                    answer = json.dumps(told).encode()
                else:
                    status, answer = 503, b"{}"
            if fault in ("drop", "lose"):
                handler.close_connection = True
                return
        else:
            status, told = self._answer(handler, json.loads(body) if body else None)
            answer = json.dumps(told).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _answer(self, handler: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        if handler.path == "/task":
            return 200, self.task()
        if handler.path == "/sessions":
            self.opened.append(body)
            session = f"s{len(self.evaluators)}"
            task = self.evaluator
            again = Evaluator(task.task, task.objective, task.horizon, task.kwargs)
            again.ledger.budget = self.budget
            again.seed(body["seed"] or 0)
            self.evaluators[session] = again
            return 201, {"session": session, "token": f"secret-{session}", "budget": self.budget}
        session = handler.path.split("/")[2]
        if handler.headers["Authorization"] != f"Bearer secret-{session}":
            return 401, {"error": f"no token, got {handler.headers['Authorization']}"}
        ledger = self.evaluators[session].ledger
        if handler.path.endswith("/evaluate"):
            key = handler.headers["Idempotency-Key"]
            if key not in self._kept:
                self._kept[key] = self._evaluate(self.evaluators[session], np.array(body["indices"]))
            return self._kept[key]
        left = None if self.budget is None else self.budget - ledger.samples
        return 200, {"session": session, "samples": ledger.samples, "left": left, "context": None}

    def _evaluate(self, evaluator: Evaluator, indices: Any) -> tuple[int, Any]:
        ledger, start = evaluator.ledger, evaluator.ledger.samples
        try:
            evaluator.evaluate(indices, len(indices))
        except BudgetExhausted as error:
            if ledger.samples == start:
                return 409, {"error": str(error), "left": 0}
        values = ledger.column("values")[start:]
        numbers = np.where(np.isfinite(values), values.astype(object), None)
        names = [m.name for m in evaluator.simulator.metrics]
        return 200, {
            "samples": ledger.samples,
            "left": None if self.budget is None else self.budget - ledger.samples,
            "metrics": {
                name: numbers[:, j].tolist()
                for j, name in enumerate(names)
                if not evaluator.simulator.metrics[j].report_only
            },
            "feasible": ledger.column("feasible")[start:].tolist(),
            "failures": {f.sample - start: f.reason for f in ledger.failures if f.sample >= start},
        }


@pytest.fixture
def serve() -> Iterator[Any]:
    """serve(evaluator, budget=None, max_batch=1000) -> Service."""
    services: list[Service] = []

    def start(evaluator: Evaluator, **settings: Any) -> Service:
        services.append(Service(evaluator, **settings))
        return services[-1]

    yield start
    for service in services:
        service.close()


class Served:
    """`archgym serve` in this process.

    Attributes:
        url: its address.
        sessions: its sessions.
    """

    def __init__(self, env: str, folder: Any, port: int = 0, token: str | None = None, **settings: Any):
        from archgym.serve.app import make_app
        from archgym.serve.server import address_of, listen
        from archgym.serve.task import ServedTask

        listening = listen("127.0.0.1", port)
        self.url, self.port = address_of(listening), listening.getsockname()[1]
        app = make_app(ServedTask(env, **settings), folder, token=token)
        self.sessions = app.state.sessions
        self._server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def histories(self) -> list[dict[str, list[Any]]]:
        """The history of each session."""
        return [session.history() for session in self.sessions._all.values()]


@pytest.fixture
def real(tmp_path: Any) -> Iterator[Any]:
    """real(env, budget=..., seed=..., arguments=..., port=0, token=None) -> Served; all in one folder."""
    started: list[Served] = []

    def start(env: str, **settings: Any) -> Served:
        started.append(Served(env, settings.pop("folder", tmp_path / f"served-{len(started)}"), **settings))
        return started[-1]

    yield start
    for each in started:
        each.stop()
