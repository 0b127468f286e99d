"""What benchmarks/serve.py and the tests of the service share: a keep-alive client, the service as a process.

The client speaks HTTP/1.1 over a bare socket, so that it costs less than what it measures, and can send what
no library would.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

READY_S = 120.0  # limit of a start
PAUSE_S = 0.01  # between attempts


class Cut(ConnectionError):
    """The connection ended within an answer, or before it."""


class Answer(NamedTuple):
    """An answer: status, head and body."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return (self.head + b"\r\n\r\n" + self.body).decode("utf-8", "replace")


def request_bytes(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if body and "Content-Type" not in (headers or {}):
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


class Client:
    """One connection, opened at its first request and again after it was cut.

    Args:
        port: port on the loopback interface.
        timeout: limit of a send or a receive, seconds.
    """

    def __init__(self, port: int, timeout: float = 60.0):
        self.port, self.timeout = port, timeout
        self._socket: socket.socket | None = None
        self._rest = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def send(self, content: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(content)

    def receive(self) -> Answer:
        """The next answer.

        Raises:
            Cut: the connection ended before it was complete.
            OSError: the connection failed.
        """
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head, data = data[:end], data[end + 4 :]
        lower, status = head.lower(), int(head[9:12])
        if (at := lower.find(b"content-length:")) >= 0:
            size = int(lower[at + 15 :].split(b"\r\n", 1)[0])
            parts, got = [data], len(data)
            while got < size:
                parts.append(self._more())
                got += len(parts[-1])
            data = b"".join(parts)
            body, self._rest = data[:size], data[size:]
        elif b"transfer-encoding: chunked" in lower:
            body, self._rest = self._chunks(data)
        else:
            body, self._rest = (b"", data) if status in (204, 304) else (self._until_end(data), b"")
        if b"\r\nconnection: close" in lower:
            self.close()
        return Answer(status, head, body)

    def _chunks(self, data: bytes) -> tuple[bytes, bytes]:
        body = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._more()
            size = int(data[:end], 16)
            while len(data) < end + size + 4:
                data += self._more()
            body += data[end + 2 : end + 2 + size]
            data = data[end + size + 4 :]
            if not size:
                return body, data

    def _until_end(self, data: bytes) -> bytes:
        try:
            while True:
                data += self._more()
        except Cut:
            return data

    def _more(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(1 << 18)
        if not data:
            self.close()
            raise Cut("the connection was closed")
        return data

    def ask(
        self,
        method: str,
        path: str,
        data: Any = None,
        token: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its answer; `data` is bytes, or what becomes JSON."""
        body = data if isinstance(data, bytes) else b"" if data is None else json.dumps(data).encode()
        more = dict(headers or {})
        if token is not None:
            more.setdefault("Authorization", f"Bearer {token}")
        if key is not None:
            more.setdefault("Idempotency-Key", key)
        try:
            self.send(request_bytes(method, path, body, more))
            return self.receive()
        except OSError:
            self.close()
            raise

    def insist(self, *args: Any, limit: float = READY_S, **kwargs: Any) -> tuple[Answer, int]:
        """`ask` until there is an answer: it, and how often a request that was sent got none.

        Raises:
            OSError: none within `limit` seconds.
        """
        cut, until = 0, time.monotonic() + limit
        while True:
            try:
                return self.ask(*args, **kwargs), cut
            except OSError as error:
                cut += not isinstance(error, ConnectionRefusedError)
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """`archgym serve` as a process, or another program that serves a port.

    Args:
        arguments: command line after `archgym serve`, without port and folder.
        folder: folder of its sessions.
        port: port; a free one by default.
        program: command line of another program, which gets the port as its last argument.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path | None = None,
        port: int | None = None,
        program: tuple[str, ...] | None = None,
    ):
        self.port, self.folder = port or free_port(), folder
        if program is None:
            program = (sys.executable, "-m", "archgym", "serve", *arguments, "--out", str(folder), "--port")
        self.command = (*program, str(self.port))
        self.process: subprocess.Popen[bytes] | None = None
        # a pipe that nobody reads would block the service
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
        self._file.close()

    @property
    def output(self) -> str:
        """What the processes wrote so far."""
        self._file.seek(0)
        return self._file.read().decode("utf-8", "replace")

    def launch(self) -> None:
        """Start the process, without waiting for it."""
        self.process = subprocess.Popen(self.command, stdout=self._file, stderr=self._file)

    def start(self, path: str = "/healthz") -> float:
        """Start the process: seconds until it answers.

        Raises:
            RuntimeError: it ended instead, or does not answer.
        """
        begun = time.monotonic()
        self.launch()
        self.ready(path)
        return time.monotonic() - begun

    def ready(self, path: str = "/healthz") -> None:
        until = time.monotonic() + READY_S
        with Client(self.port) as client:
            while True:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > until:
                    self.stop(signal.SIGKILL)
                    raise RuntimeError(f"the service did not start: {self.output[-2000:]}")
                try:
                    client.ask("GET", path)
                    return
                except OSError:
                    time.sleep(PAUSE_S)

    def stop(self, how: int = signal.SIGTERM, limit: float = 60.0) -> int:
        """End the process by a signal: its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
