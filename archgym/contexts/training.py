"""`train`: an agent learns from contexts, and leaves a policy for new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archgym._search import Search
from archgym.agent import Agent
from archgym.contexts.policy import Policy
from archgym.contexts.sets import ContextSource
from archgym.errors import ArchGymError


def train(
    env: str,
    *,
    contexts: ContextSource,
    budget: int,
    seed: int = 0,
    agent: str | Agent | type[Agent] = "contextual_value",
    agent_kwargs: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Policy:
    """Learn a policy from designs for some contexts.

    Args:
        env: an environment id.
        contexts: contexts to train on: a `Contexts`, a list of mappings of arguments, a mapping of arguments
            to lists of values (all combinations), the name of a set that comes with the environment, or a
            .json or .toml file.
        budget: samples in all contexts together, spent exactly.
        seed: seed of everything random; the same seed gives the same policy.
        agent: a contextual agent's name, class, or instance.
        agent_kwargs: hyperparameters, where the agent is given by name or class.
        env_kwargs: environment arguments of all contexts.

    Returns:
        The policy: `propose` gives designs for any context, `save` writes it.

    Raises:
        ArchGymError: an unknown name or argument, or an agent that makes no policies.

    Examples:
        >>> policy = archgym.train("archgym/Softmax-v0", contexts="shapes", budget=20_000)  # doctest: +SKIP
        >>> policy.propose({"rows": 4, "cols": 3000}, n=5)                                  # doctest: +SKIP
    """
    settings = {"budget": budget, "seed": seed, "agent_kwargs": agent_kwargs}
    return trained(training(env, agent, contexts=contexts, env_kwargs=env_kwargs, **settings))


def training(
    env: str,
    agent: str | Agent | type[Agent],
    *,
    contexts: ContextSource,
    env_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Search:
    """The search that `train` runs, not yet run; other settings are those of `Search`.

    Raises:
        ArchGymError: see `train`.
    """
    run = Search(env, agent, env_kwargs={**(env_kwargs or {}), "contexts": contexts}, **settings)
    if getattr(run.agent, "policy_class", None) is None:
        run.env.close()
        raise ArchGymError(
            f"expected an agent that learns a policy, such as contextual_value, got "
            f"{type(run.agent).__name__}; use search for one task"
        )
    return run


def trained(run: Search) -> Policy:
    """Run the search of a contextual agent: its policy, with how it was trained. The environment is closed.

    Raises:
        Exception: whatever ended the search, or an agent that left no policy.
    """
    try:
        run.spend()
    finally:
        run.env.close()
    policy: Policy | None = getattr(run.agent, "policy", None)
    if policy is None:
        raise ArchGymError(f"expected {type(run.agent).__name__}.search to set self.policy, got none")
    agent = run.specification["agent"]
    policy.about = {
        "agent": agent["name"],
        "version": agent["version"],
        "hyperparameters": agent["hyperparameters"],
        "budget": run.budget,
        "seed": run.seed,
        "samples": run.ledger.samples,
        "archgym": run.specification["archgym"],
    }
    return policy
