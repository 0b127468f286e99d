"""The simulator of a served task: designs go to the service, exact metrics come back.

    first design   POST /sessions                -> session, its token
    designs        POST /sessions/{id}/evaluate  -> metrics, feasible, failures, samples left

A request that may have reached the service is repeated under its Idempotency-Key, so that no design counts
twice. A session begins with the first design: looking at a task takes none.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np

from archgym.errors import ArchGymError, BudgetExhausted, reason_of
from archgym.remote.connection import (
    TIMEOUT_S,
    VARIABLE,
    Connection,
    ServiceError,
    address,
    remember,
    token_of,
)
from archgym.remote.task import RemoteTask
from archgym.simulator import Simulator
from archgym.space import Array, Indices
from archgym.values import write

_FIRST_CONTACT_S = 10.0  # for a service that is just starting


class TokenAmongArguments(ArchGymError):
    """A token among the arguments of an environment, which specifications and errors show."""

    def __init__(self, *_: object):  # Gymnasium makes it again, with all arguments in the text
        super().__init__(
            "expected no token among the environment's arguments, which results state; pass it to "
            f"archgym.remote.make, or set {VARIABLE}"
        )


class RemoteSimulator(Simulator):
    """The simulator behind a service's URL.

    Args:
        url: address of the service.
        agent, hyperparameters: name and hyperparameters in the service's records.
        seed: seed of the session; None takes the service's next free one.
        context: name of a context, where the service has several.
        session: session to continue, whose token `archgym.remote.make` was given.
        timeout_s: seconds for an answer, and for retries from the first failure on.
        token, session_token: refused; `archgym.remote.make` takes them.

    Attributes:
        url: address of the service.
        task: the task that it serves.
        session: identifier of the session; None before the first design.

    Raises:
        ArchGymError: not an address, or an unknown context.
        ServiceError: no service there, or one that refuses.
        MissingDependency: urllib3 is not installed.
    """

    identity: ClassVar[str] = "archgym.remote:RemoteSimulator"

    counted_elsewhere = True

    def __init__(
        self,
        url: str,
        *,
        agent: str = "remote",
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
        context: str | None = None,
        session: str | None = None,
        timeout_s: float = TIMEOUT_S,
        token: object = None,
        session_token: object = None,
    ):
        if token is not None or session_token is not None:
            raise TokenAmongArguments
        self.url = address(url)
        self._connection = Connection(self.url, timeout_s)
        patience = min(self._connection.timeout_s, _FIRST_CONTACT_S)
        told = self._connection.request("GET", "/task", patience_s=patience)
        self._new = {
            "agent": agent,
            "hyperparameters": write(dict(hyperparameters or {})),
            "seed": seed,
            "context": context,
        }
        self.session: str | None = None
        left = None
        if session is not None:
            summary = self._connection.request("GET", _path(session), session=session)
            context, left, self.session = summary.get("context"), summary.get("left"), session
        self._context = context
        self.task = RemoteTask.of(told, context, self.url)
        self._left = self.task.budget if session is None else left
        self.space, self.metrics = self.task.space, self.task.metrics
        self.deterministic = self.task.deterministic
        self.default_objective, self.default_horizon = self.task.objective, self.task.horizon

    @property
    def specification(self) -> dict[str, Any]:
        """What is simulated, without the session: the address, and the served task."""
        task = {"env": self.task.env, "arguments": dict(self.task.arguments), "context": self._context}
        return {"simulator": self.identity, "url": self.url, "task": task}

    @property
    def left(self) -> int | None:
        """Samples that the session still allows; None without a limit."""
        return self._left

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """See `Simulator`; every design is a sample of the session.

        Raises:
            BudgetExhausted: the session allows fewer designs; none is evaluated.
            ServiceError: no answer in time, or a refusal.
        """
        n, size = len(indices), self.task.max_batch
        if self._left is not None and n > self._left:
            raise BudgetExhausted(f"the service allows {self._left} more samples of this session, got {n}")
        parts = [self._evaluate(indices[start : start + size]) for start in range(0, n, size)]
        if not parts:
            return {name: np.zeros(0) for name in (*(m.name for m in self.metrics), "feasible")}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def ticket(self) -> tuple[str, str]:
        """The session and its token, which continue it elsewhere; opens one if there is none yet."""
        if self.session is None:
            self._open()
        assert self.session is not None
        token = token_of(self.url, self.session)
        if token is None:
            raise _without_token(self.session)
        return self.session, token

    def close(self) -> None:
        """Close the connections; the session stays open at the service."""
        self._connection.close()

    def _open(self) -> None:
        """Open a session."""
        told = self._connection.request("POST", "/sessions", self._new)
        session, token = told.get("session"), told.get("token")
        if not isinstance(session, str):
            raise ServiceError(f"expected a session from {self.url}, got none; check the address")
        remember(self.url, token, session)
        self.session, self._left = session, told.get("budget")

    def _evaluate(self, indices: Indices) -> dict[str, Array]:
        """Metrics of designs [B, P] that fit in one request."""
        if self.session is None:
            self._open()
        assert self.session is not None
        if token_of(self.url, self.session) is None:
            raise _without_token(self.session)
        try:
            told = self._connection.request(
                "POST",
                f"{_path(self.session)}/evaluate",
                {"indices": indices.tolist()},
                session=self.session,
                key=secrets.token_hex(16),
            )
        except ServiceError as error:
            if error.status == 409 and error.answer.get("left") == 0:
                self._left = 0
                raise BudgetExhausted(f"the budget of the session at {self.url} is spent") from None
            raise
        return self._columns(told, len(indices))

    def _columns(self, told: Mapping[str, Any], n: int) -> dict[str, Array]:
        """The columns [B] of an answer."""
        try:
            self._left = told["left"]
            feasible = np.array(told["feasible"], bool)
            columns = {m.name: np.array(told["metrics"][m.name], float) for m in self.metrics}
            reasons = {int(row): str(reason) for row, reason in (told.get("failures") or {}).items()}
            shapes = {column.shape for column in (feasible, *columns.values())}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServiceError(
                f"expected metrics of {n} designs from {self.url}, got another answer ({reason_of(error)}); "
                "check that both have the same archgym"
            ) from None
        if len(shapes) == 1 and len(feasible) < n and self._left == 0:  # another client spent from it
            raise BudgetExhausted(
                f"the budget of the session at {self.url} is spent; {len(feasible)} of the last {n} designs "
                "were its last samples, since another client uses it too"
            )
        if shapes != {(n,)}:
            raise ServiceError(
                f"expected metrics of {n} designs from {self.url}, got columns of other lengths; check that "
                "both have the same archgym"
            )
        failure = np.array([reasons.get(row, "") for row in range(n)], object)
        return {**columns, "feasible": feasible, "failure": failure}


def _path(session: str) -> str:
    return f"/sessions/{quote(session, safe='')}"


def _without_token(session: str) -> ArchGymError:
    return ServiceError(
        f"expected the token of session {session[:80]!r}, which no copy in another process has; pass "
        "session= and session_token= to archgym.remote.make there"
    )
