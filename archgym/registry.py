"""The registry: names to agents and environments, ours and everybody else's, through the same doors.

Entry-point groups (read from package metadata; nothing is imported until it is used):

    archgym.agents   name = "module:Class"
    archgym.envs     "mine/Thing-v0" = "module:Simulator"   (its objective is the class attribute
                                                            `default_objective`)
                        "mine/Thing-v0" = "module"          (a module that calls `register_env` when imported)
    archgym.requirements  "mine/Thing-v0" = "module:function"   (what must be done before the environment can
                                                                be made, "" for nothing;
                                                                  imported and called with archgym, so its
                                                                  module is small)
    archgym.commands    name = "module:typer_app_or_function"    (a sub-command of the `archgym` program)
                        "group.name" = the same           (`archgym group name`, in a group that others share)
    archgym.callbacks  name = "module:Class"   (`archgym search ... --log name=TEXT` calls it with the text)
    archgym.findings   name = "module:function"   (findings of `archgym doctor` on a plug-in's needs, in the
                                                  names' order:
                                                                  called without arguments, yields
                                                                  `archgym.registry.Finding`s)

or, at run time, `register_agent` and `register_env`. The registry is the only mutable module-level state of
the kernel.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal

import gymnasium

from archgym.agent import Agent
from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError, reason_of, unknown
from archgym.simulator import Simulator
from archgym.task import ObjectiveSource as ObjectiveSource
from archgym.task import SimulatorSource
from archgym.task import Task as Task
from archgym.values import identity_of
from archgym.values import load as load


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: heading that it is printed under.
        name: name of the thing.
        state: "missing" is a choice, "broken" is a fault.
        found: versions, or what is wrong.
        enables: features that need it.
        remedy: the command that brings it, or what else to do.
        needed: True if archgym cannot work without it, or the user asked for it.
    """

    section: str
    name: str
    state: Literal["ok", "missing", "broken"]
    found: str = ""
    enables: str = ""
    remedy: str = ""
    needed: bool = False


_tasks: dict[str, Task] = {}
_agents: dict[str, str | type[Agent]] = {}


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def discover() -> None:
    """Make every environment of the entry-point group known to Gymnasium, importing none of them.

    Those whose requirement is not met are left out; call it again once it is.
    """
    for name in _points("archgym.envs"):
        try:
            _register_with_gymnasium(name)
        except gymnasium.error.Error as error:
            warnings.warn(
                f"the environment {name!r} of an installed package cannot be registered: {reason_of(error)}",
                stacklevel=2,
            )


def preload_in_fork_servers() -> None:
    """Import archgym in processes of a fork server, so that environments can be made by their ids there.

    Stable-Baselines3's SubprocVecEnv starts such processes, and Gymnasium imports no packages by the names of
    environments.
    """
    try:
        from multiprocessing import forkserver
    except ImportError:  # a system without fork
        return
    server: Any = forkserver._forkserver
    if server._preload_modules == ["__main__"]:  # the default: a list of the user's own stays
        server.set_forkserver_preload(["__main__", "archgym"])


def requirement(env_id: str) -> str:
    """What must be done before an environment can be made, such as importing its data; "" where nothing
    must.
    """
    point = _points("archgym.requirements").get(env_id)
    if point is None:
        return ""
    try:
        return str(load(point.value)())
    except Exception as error:  # a plug-in may raise anything
        return f"its requirement check failed: {reason_of(error)}"


def _register_with_gymnasium(env_id: str) -> None:
    """Register an environment, or take it back where its requirement is not met."""
    spec = gymnasium.registry.get(env_id)
    # ours to replace; Gymnasium warns about any other
    if spec is not None and spec.entry_point == "archgym.env:ArchEnv":
        del gymnasium.registry[env_id]
    if requirement(env_id):
        return
    gymnasium.register(
        env_id,
        entry_point="archgym.env:ArchEnv",
        vector_entry_point="archgym.env:ArchVectorEnv",
        kwargs={"task": env_id},
    )


@renamed(id="env")
def register_env(
    env: str,
    *,
    simulator: SimulatorSource,
    objective: ObjectiveSource | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    contexts: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    """Register an environment around a simulator; `gymnasium.make(env)` and `make_vec(env)` then build it.

    Args:
        env: Gymnasium id with a version, "mine/Thing-v0".
        simulator: "module:Class", a Simulator class or factory (called with the environment's keyword
            arguments), or an instance.
        objective: an Objective, its dictionary form, a function `(simulator, *, option=default) -> Objective`
            (its options become arguments of the environment), or "module:name" of one; default: the
            simulator's `default_objective`.
        presets: named workloads, chosen with `gymnasium.make(id, preset="name")`.
        contexts: named sets of contexts, chosen with `gymnasium.make(id, contexts="name")`: lists of mappings
            of arguments, ranges, or "module:function" of one.
        **kwargs: default arguments of the simulator.

    Raises:
        ArchGymError: an id that Gymnasium does not accept.
    """
    if not (isinstance(simulator, (str, Simulator)) or callable(simulator)):
        raise ArchGymError(
            f"{env}: expected a Simulator, its class, a function that makes one, or 'module:Class', "
            f"got {simulator!r}"
        )
    try:
        _register_with_gymnasium(env)
    except gymnasium.error.Error as error:
        raise ArchGymError(f"cannot register {env!r}: {error}") from error
    _tasks[env] = Task(env, simulator, objective, presets or {}, contexts or {}, kwargs)


def list_envs() -> list[str]:
    """Ids of all environments, installed and registered at run time."""
    return sorted(name for name in {*_tasks, *_points("archgym.envs")} if name in gymnasium.registry)


@renamed(env_id="env")
def get_task(env: str) -> Task:
    """The task behind an environment id ("module:ns/Name-v0" imports the module first).

    Raises:
        ArchGymError: no such environment (with the nearest ids), one whose requirement is not met (with what
            to do), or one whose package cannot be imported.
    """
    if not isinstance(env, str):
        spec: Any = getattr(env, "spec", None)
        got = (
            f"an environment ({type(env).__name__}); pass its id, {spec.id!r}"
            if hasattr(spec, "id")
            else repr(env)
        )
        raise ArchGymError(f"expected an environment's id, such as 'archgym/Softmax-v0', got {got}")
    module, _, name = env.rpartition(":")
    if module:
        load(module)
    if missing := requirement(name):
        raise ArchGymError(f"{name} cannot be made yet: {missing}")
    if name in _points("archgym.requirements") and name not in gymnasium.registry:
        discover()  # its requirement has been met since
    if name not in list_envs():
        raise unknown("environment", name, list_envs())
    if name not in _tasks:
        found = load(_points("archgym.envs")[name].value)
        if isinstance(found, ModuleType):
            if name not in _tasks:
                raise ArchGymError(
                    f"expected module {found.__name__} to register {name!r}, which is its entry point; call "
                    "archgym.register_env there"
                )
            _tasks[name] = replace(_tasks[name], documentation=inspect.getdoc(found) or "")
        else:
            _tasks[name] = Task(name, found, documentation=inspect.getdoc(found) or "")
    elif not _tasks[name].documentation and name in _points("archgym.envs"):
        imported = sys.modules.get(_points("archgym.envs")[name].value)  # imported before it was asked for
        _tasks[name] = replace(_tasks[name], documentation=inspect.getdoc(imported) or "" if imported else "")
    return _tasks[name]


def register_agent(name: str, agent: str | type[Agent]) -> None:
    """Register an agent class, or "module:Class", under a name.

    Raises:
        ArchGymError: an empty name, or something that is neither a class nor "module:Class".
    """
    if not name or not (isinstance(agent, type) or (isinstance(agent, str) and ":" in agent)):
        raise ArchGymError(f"expected a name and a class or 'module:Class', got {name!r}, {agent!r}")
    _agents[name] = agent


def list_agents() -> list[str]:
    """Names of all agents, installed and registered at run time."""
    return sorted({*_agents, *_points("archgym.agents")})


def get_agent(name: str) -> type[Agent]:
    """The class of an agent.

    Raises:
        ArchGymError: no such agent (with the nearest names), or one whose package cannot be imported.
    """
    if name not in list_agents():
        raise unknown("agent", name, list_agents())
    found = _agents[name] if name in _agents else _points("archgym.agents")[name].value
    cls = load(found) if isinstance(found, str) else found
    if not (isinstance(cls, type) and issubclass(cls, Agent)):
        raise ArchGymError(f"expected a subclass of archgym.Agent as agent {name!r}, got {cls!r}")
    return cls


def make_agent(name: str, **hyperparameters: Any) -> Agent:
    """An agent by name, with hyperparameters as keywords.

    Raises:
        ArchGymError: no such agent or hyperparameter (with the nearest names), or a value out of range.
    """
    return get_agent(name)(**hyperparameters)


def agent_names() -> dict[str, str]:
    """ "module:Class" -> name of every registered agent."""
    points = {name: point.value for name, point in _points("archgym.agents").items()}
    known = {**points, **_agents}
    return {ref if isinstance(ref, str) else identity_of(ref): name for name, ref in known.items()}


def make_any_agent(agent: str | Agent | type[Agent], hyperparameters: Mapping[str, Any]) -> Agent:
    """An agent by registered name, "module:Class" or class, with hyperparameters; or the one given."""
    if isinstance(agent, Agent):
        if hyperparameters:
            raise ArchGymError(
                "expected no agent_kwargs beside an agent that is made already; pass its name or class, or "
                "leave agent_kwargs out"
            )
        return agent
    if isinstance(agent, str):
        agent = load(agent) if ":" in agent and agent not in list_agents() else get_agent(agent)
    if not (isinstance(agent, type) and issubclass(agent, Agent)) or inspect.isabstract(agent):
        raise ArchGymError(
            f"expected an agent's name, a subclass of archgym.Agent, or an instance of one, got {agent!r}"
        )
    return agent(**hyperparameters)


def agent_name(agent: Agent) -> str:
    """The registered name of an agent's class, else "module:Class"."""
    reference = identity_of(type(agent))
    return agent_names().get(reference, reference)


def list_commands() -> dict[str, str]:
    """Sub-commands of the `archgym` program that rooms and plug-ins bring: name, or "group.name" ->
    "module:name".
    """
    return {name: point.value for name, point in sorted(_points("archgym.commands").items())}


def list_callbacks() -> dict[str, str]:
    """Callbacks of searches that rooms and plug-ins bring: name -> "module:Class"."""
    return {name: point.value for name, point in sorted(_points("archgym.callbacks").items())}
