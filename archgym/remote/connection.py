"""Requests to a service: retried over dropped connections and restarts, with errors of one line.

    wait before retry n = min(0.05 * 2^n, 2) s * uniform(0.5, 1)      until timeout_s after the first failure

Tokens are in no object: they stay in this module's memory, or in ARCHGYM_TOKEN, and are looked up for each
request, so that no pickle, specification, result or error has one.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from archgym.errors import ArchGymError, MissingDependency, SimulatorUnavailable
from archgym.words import one_line, shown

VARIABLE = "ARCHGYM_TOKEN"
TIMEOUT_S = 120.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0
_LARGEST = 256 * 2**20  # bytes of an answer
_PASSING = frozenset({408, 425, 502, 503, 504})  # statuses of a server that is busy or restarts
_tokens: dict[tuple[str, str], str] = {}  # by address and session, "" for the service itself


class ServiceError(SimulatorUnavailable):
    """A service refuses a request, cannot be reached, or gives another answer than expected.

    Attributes:
        status: HTTP status; None without an answer.
        answer: the JSON object of a refusal.
    """

    def __init__(self, message: str, status: int | None = None, answer: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.status, self.answer = status, answer or {}


def address(url: object) -> str:
    """A service's address without a slash at its end.

    Raises:
        ArchGymError: not an address of HTTP, or one that holds a password or a query.
    """
    text = url if isinstance(url, str) else ""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise ArchGymError(
            f"expected url as the address of a service, such as 'http://127.0.0.1:8000', got {_kind_of(url)}"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ArchGymError(
            "expected an address without user, password, query and fragment; pass the token as token=, or "
            f"set {VARIABLE}"
        )
    return text.rstrip("/")


def _kind_of(url: object) -> str:
    # an address may hold a password
    return f"a text that begins with {url[:8]!r}" if isinstance(url, str) else shown(url)


def remember(url: str, token: object, session: str = "") -> None:
    """Keep the token of a service, or of a session, in this process's memory.

    Raises:
        ArchGymError: not a token.
    """
    what = "a session's token" if session else "a token"
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise ArchGymError(f"expected {what} as printable text, got another value; copy it again")
    _tokens[url, session] = token


def token_of(url: str, session: str = "") -> str | None:
    """The token of a service, or of a session; None without one."""
    found = _tokens.get((url, session))
    return found or (None if session else os.environ.get(VARIABLE) or None)


class Connection:
    """HTTP to one service. Processes that are forked from this one, and pickled copies, open their own.

    Args:
        url: address of the service.
        timeout_s: seconds for an answer, and for retries from the first failure on.

    Raises:
        ArchGymError: `timeout_s` is not a positive number of seconds.
        MissingDependency: urllib3 is not installed.
    """

    def __init__(self, url: str, timeout_s: float):
        self.url, self.timeout_s = url, _time(timeout_s)
        self._pools: dict[int, Any] = {}  # by process
        self._pool()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pools": {}}

    def _pool(self) -> Any:
        if os.getpid() not in self._pools:
            try:
                import urllib3
            except ImportError as error:
                raise MissingDependency(
                    'an environment of a service needs urllib3: pip install "archgym[remote]"'
                ) from error
            self._pools = {os.getpid(): urllib3.PoolManager(num_pools=1, maxsize=4)}
        return self._pools[os.getpid()]

    def close(self) -> None:
        """Close the connections of this process."""
        for pool in self._pools.values():
            pool.clear()
        self._pools = {}

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        session: str = "",
        key: str | None = None,
        patience_s: float | None = None,
    ) -> dict[str, Any]:
        """The JSON object that answers a request.

        Args:
            method: "GET" or "POST".
            path: path below the address.
            body: JSON object of the request.
            session: session whose token goes with it; "" for the service's.
            key: Idempotency-Key, by which the service tells a repeated request.
            patience_s: seconds for retries; default: `timeout_s`.

        Raises:
            ServiceError: a refusal, no answer in time, or another answer than JSON.
        """
        patience = self.timeout_s if patience_s is None else patience_s
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        end, wait = None, _FIRST_WAIT_S
        while True:
            status, answer, reason, after = self._once(method, path, content, session, key)
            limited = status == 429 and after is not None  # without Retry-After there are too many sessions
            if status is not None and status not in _PASSING and not limited:
                return self._checked(f"{method} {path}", status, answer)
            end = time.monotonic() + patience if end is None else end
            pause = max(after or 0.0, wait * random.uniform(0.5, 1))
            if time.monotonic() + pause > end:
                raise ServiceError(
                    f"expected an answer from {self.url} within {patience:g} s, got "
                    f"{self._without_tokens(reason)}; check that the service runs there, or raise timeout_s",
                    status,
                )
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _once(
        self, method: str, path: str, content: bytes | None, session: str, key: str | None
    ) -> tuple[int | None, bytes, str, float | None]:
        """One attempt: status (None without an answer), content, the reason of a failure, and seconds that
        the server asks to wait, if it does.
        """
        import urllib3

        token = token_of(self.url, session)
        headers = {
            "Accept": "application/json",
            **({} if content is None else {"Content-Type": "application/json"}),
            **({} if token is None else {"Authorization": f"Bearer {token}"}),
            **({} if key is None else {"Idempotency-Key": key}),
        }
        try:
            response = self._pool().request(
                method,
                self.url + path,
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(self.timeout_s, 10.0), read=self.timeout_s),
                retries=False,  # which would follow redirections, with the token
                redirect=False,
                preload_content=False,
            )
            answer = response.read(_LARGEST + 1, decode_content=True)
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return None, b"", f"no connection ({_cause(error)})", None
        if len(answer) > _LARGEST:
            response.close()
            raise ServiceError(
                f"expected an answer of at most {_LARGEST >> 20} MiB from {self.url}, got a larger one; "
                "check the address",
                response.status,
            )
        return response.status, answer, f"HTTP {response.status}: {_error(answer)}", _seconds(response)

    def _checked(self, what: str, status: int, content: bytes) -> dict[str, Any]:
        """The JSON object of an answer."""
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or status >= 300:
            told = answer if isinstance(answer, dict) else {}
            text = self._without_tokens(_error(content))
            if status == 401:
                text += f"; pass token= (or session_token=), or set {VARIABLE}"
            if "error" not in told:
                text += "; check the address"
            raise ServiceError(
                f"expected an answer of an archgym service to {what} from {self.url}, got HTTP {status}: "
                f"{text}",
                status,
                told,
            )
        return answer

    def _without_tokens(self, text: str) -> str:
        secrets = {*_tokens.values(), os.environ.get(VARIABLE, "")} - {""}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return one_line(text, 400)


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
        raise ArchGymError(f"expected timeout_s in seconds, above 0 and up to 1e6, got {shown(value)}")
    return float(value)


def _error(content: bytes) -> str:
    """The text of a refusal."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    error = told.get("error") if isinstance(told, dict) else None
    return error if isinstance(error, str) else f"{len(content):,} bytes that are no answer of archgym"


def _seconds(response: Any) -> float | None:
    text = response.headers.get("Retry-After") or ""
    return float(min(int(text), 3600)) if text.isascii() and text.isdigit() else None


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed connection; its text would repeat the address and objects."""
    inner = getattr(error, "reason", None) or error.__cause__ or error.__context__ or error
    text = getattr(inner, "strerror", None)
    return f"{type(inner).__name__}{f': {text}' if text else ''}"
