"""The web server: uvicorn on a socket of ours, with limits on what a connection sends, and how slowly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archgym.errors import ArchGymError
from archgym.files.paths import in_words
from archgym.serve.task import MAX_BODY

MAX_HEADERS = 32 * 1024  # bytes of a request's line and headers
MAX_SENT = 2 * MAX_BODY  # bytes of a request, with what chunks add
CONNECTIONS = 1000
GRACE_S = 10  # for requests under way when the server ends
ARRIVAL_S = 120  # from a request's first byte, or the connection's start, to its last byte
_IDLE_S = 75  # a connection without requests
_BACKLOG = 1024


class _Protocol(HttpToolsProtocol):
    """Ends connections whose headers are too long, which httptools would collect, those that send much more
    than the largest body, and those whose request does not arrive in time: there are only so many.
    """

    _seen = 0  # bytes of the present request
    _in_body = False
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._limit = self.loop.call_later(ARRIVAL_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(ARRIVAL_S, self.transport.close)
        self._seen += len(data)
        super().data_received(data)
        if self._seen > (MAX_SENT if self._in_body else MAX_HEADERS):
            self._arrived()
            self.transport.close()

    def on_message_begin(self) -> None:
        self._in_body = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arrived()
        self._seen, self._in_body = 0, False
        super().on_message_complete()

    def _arrived(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        ArchGymError: the address cannot be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ArchGymError(
            f"cannot listen on {host}, port {port}: {in_words(error)}; give another --port or --host"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """ "http://127.0.0.1:8000"."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: Any, listening: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT or SIGTERM, which end requests under way first and are raised again afterwards.

    Args:
        app: the ASGI application.
        listening: the socket.
        ready: called when requests are answered.
    """
    make_server(app, ready).run(sockets=[listening])


def make_server(app: Any, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """The server of `run`, for a thread: `should_exit` ends it."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
