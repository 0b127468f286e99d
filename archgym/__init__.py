"""archgym: a Gymnasium for architecture search.

A simulator says what a design costs, an objective turns that into a reward, a Gymnasium environment wraps the
two, an agent drives it through `reset` and `step`, and a ledger counts every simulated design.

>>> import archgym
>>> result = archgym.search("archgym/Softmax-v0", "genetic", budget=500, seed=0)   # doctest: +SKIP
>>> result.best_design, result.regret                                              # doctest: +SKIP
"""

from archgym.processes.interrupts import guard_start

guard_start()  # before what takes time to import

from importlib import import_module
from typing import Any

from archgym._search import Incumbent, Search, SearchResult, search, search_again
from archgym.agent import Agent, AskTellAgent
from archgym.contexts.policy import Policy
from archgym.contexts.sets import Contexts
from archgym.contexts.training import train
from archgym.deprecated.modules import find_moved_modules
from archgym.deprecated.names import old_names
from archgym.env import ArchEnv, ArchVectorEnv, finished
from archgym.errors import ArchGymError, BudgetExhausted, MissingDependency, SimulatorUnavailable
from archgym.ledger import Failure, Ledger
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective, Target
from archgym.optimum import Optimum, find_optimum
from archgym.pareto import Front, find_front
from archgym.registry import (
    discover,
    get_task,
    list_agents,
    list_envs,
    make_agent,
    preload_in_fork_servers,
    register_agent,
    register_env,
)
from archgym.simulator import Metric, Simulator
from archgym.simulator_wrappers import Cached, Isolated, Noisy, Parallel, Tabulated
from archgym.space import Categorical, DesignSpace, Integer, Ordinal, Real
from archgym.task import Task
from archgym.version import __version__
from archgym.wrappers import (
    ContinuousActions,
    Curriculum,
    PrefixDesign,
    RandomHalting,
    RewardVector,
    SequentialDesign,
)

find_moved_modules()
discover()
preload_in_fork_servers()


def __getattr__(name: str) -> Any:
    if name == "proxy_env":  # a study of anything else does not pay for it
        from archgym.proxy import proxy_env

        return proxy_env
    if name == "remote":
        return import_module("archgym.remote")
    return _old_names(name)


_old_names = old_names(
    __name__,
    VectorContinuousActions="archgym.wrappers.vector:ContinuousActions",
    VectorSequentialDesign="archgym.wrappers.vector:SequentialDesign",
)


__all__ = [
    # search
    "search", "search_again", "Search", "SearchResult", "Incumbent", "Failure", "Ledger",
    # environments
    "ArchEnv", "ArchVectorEnv", "Task", "finished", "list_envs", "register_env", "get_task",
    # contexts
    "Contexts", "Policy", "train",
    # agents
    "Agent", "AskTellAgent", "list_agents", "make_agent", "register_agent",
    # simulators
    "Simulator", "Metric", "Cached", "Isolated", "Noisy", "Parallel", "Tabulated", "proxy_env",
    # design spaces
    "DesignSpace", "Categorical", "Integer", "Ordinal", "Real",
    # objectives
    "Objective", "Minimize", "Maximize", "Target", "AtMost", "AtLeast",
    # optima and fronts
    "Optimum", "find_optimum", "Front", "find_front",
    # other interfaces of an environment; those of vector environments are in archgym.wrappers.vector
    "SequentialDesign", "PrefixDesign", "ContinuousActions", "RewardVector", "Curriculum", "RandomHalting",
    # errors
    "ArchGymError", "BudgetExhausted", "MissingDependency", "SimulatorUnavailable",
    "__version__",
]  # fmt: skip
