"""What stands before the routes: who may ask, how much, and how often.

an unknown Host header on a loopback address   403: a name of another site that resolves to this machine
a page of another origin                       403: browsers send Origin, and no page may drive this
a body that is too large                       413, before it is read
too many requests of an address                429
too many bytes of all requests at once         429
no token of the server                         401, where one is needed
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import OrderedDict
from typing import Any

import orjson

from archgym.errors import ArchGymError
from archgym.serve.refusals import Refused
from archgym.serve.task import MAX_BODY

MAX_HELD = 16 * MAX_BODY  # bytes of all bodies under way
_ADDRESSES = 10_000  # that are counted at once
_SERVER_ROUTES = ("/task", "/sessions", "/docs", "/openapi.json")  # the token of the server opens these
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


def is_loopback(host: str) -> bool:
    """Whether an address or name stays on this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware.

    Args:
        app: the routes.
        host: address that is listened on.
        token: the server's token; None where none is needed.
        rate: requests per second of an address; None for no limit.
        max_body: largest body, bytes.
    """

    def __init__(
        self,
        app: Any,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        rate: float | None = None,
        max_body: int = MAX_BODY,
    ):
        self.app, self.max_body = app, max_body
        self._held = 0  # bytes of bodies under way
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
        self._loopback = is_loopback(host)
        self._token = None if token is None else token.encode()
        self._buckets = None if rate is None else _Buckets(rate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _refuse(send, *refused)
            return
        seen = 0

        async def limited() -> Any:
            nonlocal seen
            message = await receive()
            size = len(message.get("body", b""))
            seen, self._held = seen + size, self._held + size
            if seen > self.max_body:
                raise Refused(*self._too_large())
            if self._held > MAX_HELD:
                raise Refused(429, "expected fewer large requests at once; send it again later")
            return message

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SAFE]
            await send(message)

        try:
            await self.app(scope, limited, sending)
        finally:
            self._held -= seen

    def _refusal(self, scope: Any, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and reason of a request that is not let through."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._loopback and _name(host) not in self._names:
            return 403, "expected the name of this machine in the header Host; use http://127.0.0.1"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            return 403, "expected no page of another site; call the service from a program"
        if self._buckets is not None and not self._buckets.take((scope.get("client") or ("",))[0]):
            return 429, "expected fewer requests per second; wait a second and send it again"
        if self._token is not None and scope["path"] in _SERVER_ROUTES:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not secrets.compare_digest(given.strip(), self._token):
                return 401, "expected the header Authorization: Bearer with the server's token, got another"
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_body:
            return self._too_large()
        return None

    def _too_large(self) -> tuple[int, str]:
        return 413, f"expected a body of at most {self.max_body:,} bytes; send fewer designs at once"


def check_access(host: str, token: str | None, rate: float | None) -> None:
    """Refuse an address that others reach without a token.

    Raises:
        ArchGymError: that, a token that is too short, or a rate that is not positive.
    """
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise ArchGymError(
            "expected a token of at least 16 printable ASCII characters; make one with: python -c "
            "'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is None and not is_loopback(host):
        raise ArchGymError(
            f"expected a token for {host}, which other machines reach; give --token or set ARCHGYM_TOKEN"
        )
    if rate is not None and not rate > 0:
        raise ArchGymError(f"expected a rate > 0 requests per second, got {rate}")


class _Buckets:
    """Requests that each address may still send: `rate` more every second, at most those of a second."""

    def __init__(self, rate: float):
        self._rate, self._most = rate, max(rate, 1.0)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        now = time.monotonic()
        left, before = self._left.pop(address, (self._most, now))
        left = min(self._most, left + (now - before) * self._rate)
        allowed = left >= 1
        self._left[address] = (left - allowed, now)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return allowed


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _refuse(send: Any, status: int, message: str) -> None:
    headers = [(b"content-type", b"application/json"), *_SAFE]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", b"1"))
    if status == 413:
        headers.append((b"connection", b"close"))
    body = orjson.dumps({"error": message})
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
