"""The web server: uvicorn on a socket of ours, with bounded headers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archgym.errors import ArchGymError
from archgym.files.paths import in_words

MAX_HEADERS = 32 * 1024  # bytes of a request's line and headers
CONNECTIONS = 1000
GRACE_S = 10  # for requests under way when the server ends
_IDLE_S = 75  # a connection without requests
_BACKLOG = 1024


class _Protocol(HttpToolsProtocol):
    """Refuses requests whose line and headers are too long, which httptools would collect."""

    _length = 0

    def on_message_begin(self) -> None:
        self._length = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def _count(self, length: int) -> None:
        self._length += length
        if self._length > MAX_HEADERS:
            raise ValueError(f"more than {MAX_HEADERS} bytes of headers")


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
    server = _Server(config, ready)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
