"""Services in this process, plain ones and ones whose answers get lost on demand."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvicorn


class Served:
    """`archgym serve` in this process.

    Attributes:
        url, port: its address.
        task: the task.
        sessions: its sessions.
    """

    def __init__(self, env: str, folder: Any, port: int = 0, token: str | None = None, **settings: Any):
        from archgym.serve.app import make_app
        from archgym.serve.server import address_of, listen
        from archgym.serve.task import ServedTask

        listening = listen("127.0.0.1", port)
        self.url, self.port = address_of(listening), listening.getsockname()[1]
        self.task = ServedTask(env, **settings)
        app = make_app(self.task, folder, token=token)
        self.sessions = app.state.sessions
        self._server = uvicorn.Server(
            uvicorn.Config(app, access_log=False, log_level="warning", lifespan="on")
        )
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


class Lossy:
    """A bad line to a service.

    Attributes:
        url: its address.
        served: the service behind it.
        requests: method, path and headers of each request.
        faults: what happens to the next evaluations: "refuse" (503 before), "drop" (no answer before), "lose"
            (evaluated, no answer), or None.
        answers: replaced answers by path, status and content.
    """

    def __init__(self, served: Served):
        self.served = served
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[str | None] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        line = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                line._pass(self, "GET")

            def do_POST(self) -> None:
                line._pass(self, "POST")

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def samples(self) -> int:
        """Samples that the service counted, of all sessions."""
        return sum(len(history["sample"]) for history in self.served.histories())

    def _pass(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        self.requests.append((method, handler.path, dict(handler.headers)))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.faults.pop(0) if handler.path.endswith("/evaluate") and self.faults else None
        status, answer = self.answers.get(handler.path, (503, b"{}"))
        if fault in (None, "lose") and handler.path not in self.answers:
            behind = http.client.HTTPConnection("127.0.0.1", self.served.port)
            behind.request(method, handler.path, body, dict(handler.headers))
            found = behind.getresponse()
            status, answer = found.status, found.read()
            behind.close()
        if fault in ("drop", "lose"):
            handler.close_connection = True
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


@pytest.fixture
def lossy(real: Any) -> Iterator[Any]:
    """lossy(env, ...) -> Lossy, with the arguments of `real`."""
    started: list[Lossy] = []

    def start(env: str, **settings: Any) -> Lossy:
        started.append(Lossy(real(env, **settings)))
        return started[-1]

    yield start
    for each in started:
        each.stop()
