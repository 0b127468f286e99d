"""archgym: a Gymnasium for architecture search.

A simulator says what a design costs, an objective turns that into a reward, a Gymnasium environment wraps the two, an agent drives
it through `reset` and `step`, and a ledger counts every simulated design.

>>> import archgym
>>> result = archgym.search("archgym/Softmax-v0", "genetic", budget=500, seed=0)   # doctest: +SKIP
>>> result.best_design, result.regret                                              # doctest: +SKIP
"""

from archgym.processes.interrupts import guard_start

guard_start()  # before what takes time to import

from typing import Any

from archgym._search import Incumbent, Search, SearchResult, search, search_again
from archgym.agent import Agent, AskTellAgent
from archgym.deprecated import find_moved_modules
from archgym.env import ArchEnv, ArchVectorEnv, finished
from archgym.errors import ArchGymError, BudgetExhausted, MissingDependency, SimulatorUnavailable
from archgym.ledger import Ledger
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective, Target
from archgym.optimum import Optimum, find_optimum
from archgym.registry import discover, list_agents, list_envs, make_agent, preload_in_fork_servers, register_agent, register_env
from archgym.simulator import Metric, Simulator
from archgym.simulator_wrappers import Cached, Noisy, Tabulated
from archgym.simulator_wrappers.parallel import Isolated, Parallel
from archgym.space import Categorical, DesignSpace, Integer, Ordinal, Real
from archgym.version import __version__
from archgym.wrappers import ContinuousActions, SequentialDesign, VectorContinuousActions, VectorSequentialDesign

find_moved_modules()
discover()
preload_in_fork_servers()


def __getattr__(name: str) -> Any:
    if name == "proxy_env":  # a study of anything else does not pay for it
        from archgym.proxy import proxy_env

        return proxy_env
    raise AttributeError(f"module 'archgym' has no attribute {name!r}")


__all__ = [
    "Agent",
    "ArchEnv",
    "ArchGymError",
    "ArchVectorEnv",
    "AskTellAgent",
    "AtLeast",
    "AtMost",
    "BudgetExhausted",
    "Cached",
    "Categorical",
    "ContinuousActions",
    "DesignSpace",
    "Incumbent",
    "Integer",
    "Isolated",
    "Ledger",
    "Maximize",
    "Metric",
    "Minimize",
    "MissingDependency",
    "Noisy",
    "Objective",
    "Optimum",
    "Ordinal",
    "Parallel",
    "Real",
    "Search",
    "SearchResult",
    "SequentialDesign",
    "Simulator",
    "SimulatorUnavailable",
    "Tabulated",
    "Target",
    "VectorContinuousActions",
    "VectorSequentialDesign",
    "__version__",
    "find_optimum",
    "finished",
    "list_agents",
    "list_envs",
    "make_agent",
    "proxy_env",
    "register_agent",
    "register_env",
    "search",
    "search_again",
]
