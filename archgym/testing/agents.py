"""`check_agent`: whether an agent keeps the contract."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

import numpy as np

from archgym.agent import Agent, AskTellAgent
from archgym.env import ArchVectorEnv
from archgym.errors import ArchGymError, BudgetExhausted
from archgym.objective import Minimize, Objective
from archgym.registry import Task, get_agent, get_task, list_agents, load
from archgym.shared import SharedTask
from archgym.simulator import Metric, Simulator
from archgym.simulator_wrappers import SimulatorWrapper
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Ordinal, Real
from archgym.testing._common import must

_BRANCHES_BUDGET = 200  # samples within which the nine designs of `_Branches` must be proposed


class _Plateau(Simulator):
    """Nearly flat, so that every agent keeps looking: 840 designs of every kind of parameter, some of them
    infeasible.
    """

    space = DesignSpace(
        [
            Categorical("kind", ["a", "b", "c"]),
            Ordinal("size", [1, 2, 4, 8]),
            Integer("count", 0, 6),
            Real("ratio", 0.1, 10.0, log=True, levels=5),
            Categorical("flag", [False, True]),
            Categorical("fixed", ["only"]),
        ]
    )
    metrics = (Metric("cost", "1", "lower"), Metric("secret", "1", report_only=True))
    default_objective = Objective(Minimize("cost"))

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        ripple = (indices @ np.array([7, 11, 13, 17, 19, 0])) % 23
        feasible = (indices[:, 0] != 1) | (indices[:, 1] != 3)
        return {"cost": 1 + 0.001 * ripple, "secret": ripple.astype(float), "feasible": feasible}

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask:
        from archgym.testing.shared import LinearShared

        return LinearShared(self.space, seed, fresh=fresh)


class _Branches(_Plateau):
    """Nine distinct designs of three parameters, of which one to three are active."""

    space = DesignSpace(
        [
            Integer("depth", 1, 3),
            Ordinal("width", [1, 2, 4], default=2, when={"depth": [2, 3]}),
            Categorical("skip", [False, True], when={"depth": 3, "width": [2, 4]}),
        ]
    )

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        ripple = (indices @ np.array([7, 11, 13])) % 23
        return {"cost": 1 + 0.001 * ripple, "secret": ripple.astype(float), "feasible": indices[:, 1] != 0}


class _Counting(SimulatorWrapper):
    """Counts the designs that reach a simulator, from below the ledger, and keeps them."""

    def __init__(self, simulator: Simulator):
        super().__init__(simulator)
        self.rows: list[Indices] = []

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        self.rows.append(np.array(indices))
        return self.simulator.evaluate_indices(indices, rng)

    def close(self) -> None:
        """The wrapped simulator is used again."""


class _Watched(ArchVectorEnv):
    """Remembers illegal actions, and stops agents that go on when the budget is spent."""

    illegal = ""
    refused = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        try:
            return super().step(actions)
        except BudgetExhausted:
            self.refused += 1
            if self.refused > 100:
                raise AssertionError(
                    "the agent goes on stepping after BudgetExhausted: stop searching then"
                ) from None
            raise
        except ArchGymError as error:
            self.illegal = self.illegal or str(error)
            raise


def check_agent(
    agent: str | type[Agent] | Callable[..., Agent],
    env: str | Task | None = None,
    *,
    budget: int = 131,
    seed: int = 0,
    reach_budget: int | None = 2000,
    reach_searches: int = 3,
) -> None:
    """Check that an agent keeps its contract.

    Args:
        agent: a registered name, "module:Class", a subclass of `Agent`, or a function that makes one.
        env: an environment's id; default: a small one with every kind of parameter and nearly equal rewards,
            and one with conditions, whose every distinct design must be proposed.
        budget: samples of each search; odd, so that batches cross it.
        seed: seed of the searches.
        reach_budget: samples within which every value of every parameter must be proposed; None leaves that
            check out.
        reach_searches: searches (of other seeds) that may share in doing so.

    Raises:
        ArchGymError: no such agent or environment.
        AssertionError: the agent breaks the contract.
    """
    make = _agent_maker(agent)
    first = make()
    must(
        isinstance(first, Agent),
        f"{agent!r} made {type(first).__name__}: derive the class from archgym.Agent or AskTellAgent",
    )
    what = type(first).__name__
    _check_hyperparameters(type(first), what)
    task = (
        Task("check/Plateau-v0", _Plateau) if env is None else env if isinstance(env, Task) else get_task(env)
    )
    simulator, objective = task.build()

    preferred = _check_width(first, what)
    rows = _search(first, simulator, objective, budget, seed, preferred, what)
    with _other_global_random_states():
        again = _search(make(), simulator, objective, budget, seed, preferred, what)
        once_more = _search(first, simulator, objective, budget, seed, preferred, what)
    if simulator.deterministic:
        must(
            np.array_equal(rows, again),
            f"{what} asks for other designs under the same seed: draw from the given rng or seed only",
        )
        must(
            np.array_equal(rows, once_more),
            f"{what} searches differently the second time: reset everything when a search starts",
        )
    for odd, width in ((1, preferred), (3, preferred), (budget, 7)):
        _search(make(), simulator, objective, odd, seed, width, what)

    if reach_budget is not None:
        _check_reach(make, simulator, objective, reach_budget, reach_searches, seed, what)
    if env is None:
        most = budget if reach_budget is None else min(reach_budget, _BRANCHES_BUDGET)
        _check_conditional(make, most, reach_searches, seed, what)


def _check_reach(
    make: Callable[..., Agent],
    simulator: Simulator,
    objective: Objective,
    budget: int,
    searches: int,
    seed: int,
    what: str,
) -> None:
    """Whether an agent proposes every value of every parameter."""
    space = simulator.space
    missing = {name: set(range(n)) for name, n in zip(space.names, space.nvec.tolist(), strict=True)}
    for offset in range(searches):
        agent = make()
        width = agent.preferred_num_envs
        rows = _search(agent, simulator, objective, budget, seed + offset, width, what)
        missing = {name: left - set(rows[:, j].tolist()) for j, (name, left) in enumerate(missing.items())}
        if not any(missing.values()):
            return
    unseen = "; ".join(
        f"{name} = {', '.join(str(space[name].value(i)) for i in sorted(left)[:8])}"
        for name, left in missing.items()
        if left
    )
    raise AssertionError(
        f"{what} never proposed {unseen} in {searches} searches of {budget} samples: every design must be "
        "within reach"
    )


def _check_conditional(make: Callable[..., Agent], budget: int, searches: int, seed: int, what: str) -> None:
    """Whether an agent is told canonical rows of a conditional space, and proposes each of its designs."""
    simulator = _Branches()
    missing = set(range(simulator.space.size))
    for offset in range(searches):
        agent = make()
        told = _told(agent)
        rows = _search(
            agent,
            simulator,
            simulator.default_objective,
            budget,
            seed + offset,
            agent.preferred_num_envs,
            what,
        )
        must(
            all(np.array_equal(simulator.space.canonical(each), each) for each in told),
            f"{what}.tell gets designs with inactive parameters: pass it space.canonical(designs)",
        )
        missing -= set(simulator.space.to_ordinal(rows).tolist())
        if not missing:
            return
    designs = simulator.space.from_ordinal(np.array(sorted(missing)))
    raise AssertionError(
        f"{what} never proposed {simulator.space.design(designs[0])} of a conditional space in {searches} "
        f"searches of {budget} samples: every design must be within reach"
    )


def _told(agent: Agent) -> list[Indices]:
    """The designs that an agent's `tell` gets from now on, where it has one."""
    told: list[Indices] = []
    tell: Callable[..., None] | None = getattr(agent, "tell", None)
    if tell is None:
        return told
    place = 0 if isinstance(agent, AskTellAgent) else 1  # contextual agents get the contexts first

    @wraps(tell)
    def noting(*arguments: Any, **more: Any) -> None:
        told.append(arguments[place])
        tell(*arguments, **more)

    vars(agent)["tell"] = noting
    return told


def _agent_maker(agent: str | type[Agent] | Callable[..., Agent]) -> Callable[..., Agent]:
    if not isinstance(agent, str):
        must(
            callable(agent),
            f"{agent!r} is neither an agent's name, nor its class, nor a function that makes one",
        )
        return agent
    return load(agent) if ":" in agent and agent not in list_agents() else get_agent(agent)


def _check_hyperparameters(cls: type[Agent], what: str) -> None:
    declared = getattr(cls, "hyperparameters", None)
    must(
        isinstance(declared, DesignSpace),
        f"{what}.hyperparameters must be a DesignSpace (DesignSpace([]) where there are none)",
    )
    assert isinstance(declared, DesignSpace)
    version = getattr(cls, "version", None)
    must(
        isinstance(version, int) and not isinstance(version, bool),
        f"{what}.version must be an integer, not {version!r}",
    )
    must(
        DesignSpace.from_json(declared.to_json()) == declared,
        f"{what}.hyperparameters change in a JSON round trip: use numbers, strings and bools as values",
    )
    defaults = declared.defaults()
    for parameter in declared:
        for value in (defaults[parameter.name], parameter.value(0), parameter.value(len(parameter) - 1)):
            chosen = cls(**{parameter.name: value})
            must(
                getattr(chosen, parameter.name) == value == chosen.configuration[parameter.name],
                f"{what}({parameter.name}={value!r}) does not keep its hyperparameter as an attribute: "
                "leave the constructor to Agent",
            )
            _check_width(chosen, f"{what}({parameter.name}={value!r})")
    with suppress(ArchGymError):
        cls(no_such_hyperparameter=1)
        raise AssertionError(
            f"{what} takes hyperparameters that it does not declare: leave the constructor to archgym.Agent"
        )


def _check_width(agent: Agent, what: str) -> int:
    width = agent.preferred_num_envs
    must(
        isinstance(width, (int, np.integer)) and not isinstance(width, bool) and width >= 1,
        f"{what}.preferred_num_envs is {width!r}; it must be an integer from 1",
    )
    return int(width)


def _search(
    agent: Agent, simulator: Simulator, objective: Objective, budget: int, seed: int, width: int, what: str
) -> Indices:
    """Run a search as `archgym.search` does; the designs that reached the simulator, [budget, P]."""
    counting = _Counting(simulator)
    env = _Watched(Task("check/Counting-v0", counting, objective), num_envs=int(width))
    env.ledger.budget = budget
    before = _global_random_states()
    try:
        agent.search(env, budget=budget, seed=seed)
    except BudgetExhausted:
        pass
    except ArchGymError as error:
        must(not env.illegal, f"{what} took an illegal action: {error}")
        raise
    must(not env.illegal, f"{what} took an illegal action: {env.illegal}")
    counted = sum(len(batch) for batch in counting.rows)
    must(
        counted == budget == env.ledger.samples,
        f"{what} spent {counted} samples of a budget of {budget} ({width} designs per step): search until "
        "BudgetExhausted, and ask nothing but the environment",
    )
    for name, state in before.items():
        must(
            _equal_states(state, _global_random_states()[name]),
            f"{what} drew from the global state of {name}, or reseeded it: use a generator of its own, or "
            "restore the state",
        )
    return np.concatenate(counting.rows)


def _global_random_states() -> dict[str, Any]:
    numpy_state = np.random.get_state()  # noqa: NPY002
    states: dict[str, Any] = {"random": random.getstate(), "numpy.random": numpy_state}
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().copy()
    return states


def _equal_states(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_equal_states(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))


@contextmanager
def _other_global_random_states() -> Iterator[None]:
    """Other global states, so that an agent that draws from them is found out; restored afterwards."""
    states = _global_random_states()
    random.seed(987654321)
    np.random.seed(987654321)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(987654321)
    try:
        yield
    finally:
        random.setstate(states["random"])
        np.random.set_state(states["numpy.random"])  # noqa: NPY002
        if "torch" in states:
            torch = sys.modules["torch"]
            torch.set_rng_state(torch.from_numpy(states["torch"]))
