"""`make` and `make_vec`: environments of a service, like Gymnasium's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.remote.connection import TIMEOUT_S, address, remember
from archgym.remote.simulator import RemoteSimulator

ID = "archgym/Remote-v0"


def make(
    url: str,
    *,
    token: str | None = None,
    agent: str = "remote",
    hyperparameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    context: str | None = None,
    session: str | None = None,
    session_token: str | None = None,
    timeout_s: float = TIMEOUT_S,
    **kwargs: Any,
) -> gymnasium.Env[Any, Any]:
    """The environment of a served task. It takes a session, and samples, with the first step alone.

    Args:
        url: address of the service, "http://127.0.0.1:8000".
        token: the service's token; default: the variable ARCHGYM_TOKEN. It stays in this process's memory.
        agent, hyperparameters: name and hyperparameters in the service's records.
        seed: seed of the session, which its noise follows; default: the service's next free one.
        context: name of a context, where the service has several.
        session, session_token: session to continue (`ticket`).
        timeout_s: seconds for an answer, and for retries from the first failure on, over restarts of the
            service.
        **kwargs: `objective`, `horizon` and `render_mode` of `ArchEnv`; default: as served.

    Raises:
        ArchGymError: not an address, an unknown context, or a session without its token.
        SimulatorUnavailable: no service there, or one that refuses (the message says why).
        MissingDependency: urllib3 is not installed.

    Examples:
        >>> env = archgym.remote.make("http://127.0.0.1:8000")   # doctest: +SKIP
    """
    keep = _arguments(url, token, session, session_token)
    given = _given(agent, hyperparameters, seed, context, timeout_s)
    with _own_errors():
        return gymnasium.make(ID, **keep, **given, **kwargs)


def make_vec(
    url: str,
    num_envs: int,
    *,
    token: str | None = None,
    agent: str = "remote",
    hyperparameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    context: str | None = None,
    session: str | None = None,
    session_token: str | None = None,
    timeout_s: float = TIMEOUT_S,
    **kwargs: Any,
) -> VectorEnv[Any, Any, Any]:
    """`make` as a vector environment: `num_envs` designs per step, one request, one session.

    Args, Raises: those of `make`.
    """
    keep = _arguments(url, token, session, session_token)
    given = _given(agent, hyperparameters, seed, context, timeout_s)
    with _own_errors():
        return gymnasium.make_vec(ID, num_envs=num_envs, **keep, **given, **kwargs)


def ticket(env: Any) -> dict[str, str]:
    """`session` and `session_token` of an environment that `make` or `make_vec` made: with them `make(url,
    **ticket(env))` continues its session, in another process too. Whoever has them can spend its samples.

    Raises:
        ArchGymError: an environment of no service.
    """
    simulator = core(env).simulator.unwrapped
    if not isinstance(simulator, RemoteSimulator):
        raise ArchGymError("expected an environment of archgym.remote.make, got another one")
    return dict(zip(("session", "session_token"), simulator.ticket(), strict=True))


@contextmanager
def _own_errors() -> Iterator[None]:
    """Errors as they are, without the arguments that Gymnasium adds."""
    try:
        yield
    except ArchGymError as error:
        raise error.__cause__ if isinstance(error.__cause__, ArchGymError) else error from None


def _arguments(url: str, token: str | None, session: str | None, session_token: str | None) -> dict[str, Any]:
    """Address and session, without the tokens, which are kept apart."""
    where = address(url)
    if token is not None:
        remember(where, token)
    if session is None and session_token is None:
        return {"url": where}
    if not isinstance(session, str) or session_token is None:
        raise ArchGymError(
            "expected a session and its token, got one of them; pass session= and session_token="
        )
    remember(where, session_token, session)
    return {"url": where, "session": session}


def _given(
    agent: str,
    hyperparameters: Mapping[str, Any] | None,
    seed: int | None,
    context: str | None,
    timeout_s: float,
) -> dict[str, Any]:
    """Arguments that are not the default, which specifications and copies state."""
    stated = {
        "agent": (agent, "remote"),
        "hyperparameters": (dict(hyperparameters or {}), {}),
        "seed": (seed, None),
        "context": (context, None),
        "timeout_s": (timeout_s, TIMEOUT_S),
    }
    return {name: value for name, (value, default) in stated.items() if value != default}
