"""Agents: search algorithms that drive an environment through `reset` and `step` alone.

An agent declares its hyperparameters as a `DesignSpace`, so a lottery sweeps agents with the same class that
agents sweep designs with. `AskTellAgent` supplies the loop for algorithms that propose designs and learn from
their rewards:

    repeat: ask until the environment is full -> step -> tell         (until the ledger's budget is spent)

A search may be given designs to start from: they are evaluated first, with proposals that fill up their last
step, and learned from together (`warm`).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.errors import ArchGymError, BudgetExhausted, unknown
from archgym.infos import core, finished
from archgym.objective import Objective
from archgym.seeding import stream
from archgym.simulator import Metric
from archgym.space import Array, DesignSpace, Indices, condition_in_words
from archgym.wrappers.reward_vector import VectorObjective


class Agent(ABC):
    """A search algorithm.

    Class attributes:
        hyperparameters: the declared space; defaults stand in it. Each becomes an attribute of the instance;
            an inactive one (`when=`) is at its default and is no part of the configuration.
        version: raised whenever the same seed gives other designs than before.
        multi_objective: True if it searches for a Pareto front where the environment pays a reward vector.
        num_envs_from: designs to propose at once: a number, or the name of the hyperparameter that is the
            number.
    """

    hyperparameters: ClassVar[DesignSpace]
    version: ClassVar[int]
    multi_objective: ClassVar[bool] = False
    num_envs_from: ClassVar[str | int] = 1

    def __init__(self, **hyperparameters: Any) -> None:
        """Take hyperparameters as keywords; those not given have their declared defaults.

        Raises:
            ArchGymError: an unknown hyperparameter, an inactive one, or a value outside its range; the class
                declares none.
        """
        declared = _declared(type(self))
        for name in hyperparameters:
            if name not in declared.names:
                raise unknown(f"hyperparameter of {type(self).__name__}", name, declared.names)
        values = {
            name: declared[name].validate(value)
            for name, value in {**declared.defaults(), **hyperparameters}.items()
        }
        for name, value in values.items():
            setattr(self, name, value)
        active = declared.active_values(values)
        for name in hyperparameters:
            if name not in active:
                raise ArchGymError(
                    f"expected no {name} of {type(self).__name__}, which has it only "
                    f"{condition_in_words(declared[name])}, got {hyperparameters[name]!r}; leave it out"
                )
        self._given = frozenset(hyperparameters)

    if TYPE_CHECKING:  # hyperparameters become attributes

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def defaults_for(cls, budget: int) -> Mapping[str, Any]:
        """Defaults that depend on the number of samples of a search: name -> value, of the same names for
        every budget.
        """
        return {}

    def adapt(self, budget: int) -> None:
        """Take the defaults for a budget, unless one of these hyperparameters was given: they suit each
        other. A search does this before it starts, so that its specification has the numbers.
        """
        adapted = self.defaults_for(budget)
        if adapted and self._given.isdisjoint(adapted):
            for name, value in adapted.items():
                setattr(self, name, type(self).hyperparameters[name].validate(value))

    @property
    def configuration(self) -> dict[str, Any]:
        """The value of every active hyperparameter."""
        declared = type(self).hyperparameters
        return declared.active_values({name: getattr(self, name) for name in declared.names})

    @property
    def statistics(self) -> Mapping[str, float]:
        """Figures about the latest search beside its samples, such as shares of proposals, by name; a share
        is between 0 and 1 and named `..._share`. None by default.
        """
        return {}

    @property
    def preferred_num_envs(self) -> int:
        """Designs that the agent proposes at once unless the user sets a number; part of a run's
        specification.
        """
        source = type(self).num_envs_from
        return int(getattr(self, source)) if isinstance(source, str) else source

    @abstractmethod
    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        """Search until the environment's ledger is exhausted (`BudgetExhausted` may be caught or passed on).

        Args:
            env: a vector environment whose actions are rows of indices, MultiDiscrete(nvec).
            budget: number of samples that the ledger allows.
            seed: seed for all random choices of the agent.

        An agent that can start from given designs has a further keyword `start`: int64 [K, P], evaluated
        first, or None.
        """


def _declared(agent: type[Agent]) -> DesignSpace:
    """The hyperparameters of a class.

    Raises:
        ArchGymError: they are not declared, or with something else than a DesignSpace.
    """
    declared = getattr(agent, "hyperparameters", None)
    if not isinstance(declared, DesignSpace):
        raise ArchGymError(
            f"expected {agent.__name__}.hyperparameters to be a DesignSpace, got {declared!r}; write "
            "DesignSpace([Real('rate', 0.01, 1.0, default=0.1)]), or DesignSpace([]) where there are none"
        )
    return declared


class AskTellAgent(Agent):
    """An agent that proposes designs and receives their rewards; subclasses define `start`, `ask` and `tell`.

    Attributes set before `start`:
        objective: the environment's objective.
        metrics: the metrics that `tell` receives (report-only ones left out); none with contexts, whose
            metrics have no common scale.
        canonical: designs [B, P] -> one design of each meaning (`Simulator.canonical`).
        vector_objective: reward vectors of metrics, where the environment pays them and the agent is
            `multi_objective`; else None.
    """

    objective: Objective
    metrics: tuple[Metric, ...]
    canonical: Callable[[Indices], Indices] = staticmethod(lambda indices: indices)
    vector_objective: VectorObjective | None = None

    @abstractmethod
    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        """Begin a search of `space` with `budget` samples; all randomness comes from `rng`."""

    @abstractmethod
    def ask(self, n: int) -> Array:
        """Propose designs: int [m, P] with 1 <= m <= n. Asked again until the environment's width is
        filled.
        """

    @abstractmethod
    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        """Learn from designs [B, P], in the order of `ask`.

        A method with a fifth parameter `valid` (with a default, so that four arguments suffice) also receives
        the designs that keep the constraints, bool [B].

        Args:
            indices: designs of `ask`, as canonical rows of the space, int64 [B, P].
            rewards: rewards of the objective, float64 [B].
            metrics: visible metric -> column [B], NaN where infeasible.
            feasible: feasible designs, bool [B].
        """

    def receive(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        """Pass evaluated designs to `tell`, with `valid` where the method takes it."""
        more = {"valid": valid} if self._takes_valid else {}
        self.tell(indices, rewards, metrics, feasible, **more)

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        """Learn, before any `tell`, from the designs that a search starts from [B, P]; only the last of them,
        which fill up a step, were asked for.

        The arguments are those of `tell`. Agents that keep something for each design asked override this.
        """
        self.receive(indices, rewards, metrics, feasible, valid)

    @cached_property
    def _takes_valid(self) -> bool:
        parameters = inspect.signature(self.tell).parameters.values()
        return any(p.name == "valid" or p.kind is p.VAR_KEYWORD for p in parameters)

    def search(self, env: VectorEnv, *, budget: int, seed: int, start: Indices | None = None) -> None:
        self.adapt(budget)
        unwrapped = core(env)
        self.objective = unwrapped.objective
        one_task = unwrapped.evaluator.contexts is None
        self.metrics = tuple(m for m in unwrapped.simulator.metrics if one_task and not m.report_only)
        self.canonical = unwrapped.simulator.canonical
        self.vector_objective = getattr(env, "vector_objective", None) if self.multi_objective else None
        self.start(unwrapped.simulator.space, budget=budget, rng=stream(seed, "agent"))
        env.reset(seed=seed)
        try:
            if start is not None:
                self._start_from(start, env)
            while True:
                self.receive(*self._evaluated(self._ask_all(env.num_envs), env))
        except BudgetExhausted:
            return

    def _start_from(self, designs: Indices, env: VectorEnv) -> None:
        """Evaluate designs [K, P], and proposals that fill up the last step, and learn from all of them."""
        if missing := -len(designs) % env.num_envs:
            designs = np.concatenate([designs, self._ask_all(missing)])
        steps = [self._evaluated(rows, env) for rows in np.split(designs, len(designs) // env.num_envs)]
        indices, rewards, metrics, feasible, valid = zip(*steps, strict=True)
        columns = {name: np.concatenate([each[name] for each in metrics]) for name in metrics[0]}
        join = np.concatenate
        self.warm(join(indices), join(rewards), columns, join(feasible), join(valid))

    def _evaluated(
        self, indices: Indices, env: VectorEnv
    ) -> tuple[Indices, Array, dict[str, Array], Array, Array]:
        """Step with designs of the environment's width; the arguments of `receive`."""
        *_, info = env.step(indices)
        done = finished(info)
        metrics = {metric.name: done["metrics"][metric.name] for metric in self.metrics}
        designs = core(env).simulator.space.canonical(indices)
        return designs, done["reward"], metrics, done["feasible"], done["valid"]

    def _ask_all(self, width: int) -> Indices:
        batches: list[Array] = []
        missing = width
        while missing:
            batch = np.asarray(self.ask(missing))
            if batch.ndim != 2 or not 1 <= len(batch) <= missing:
                asked = f"{type(self).__name__}.ask({missing})"
                raise ArchGymError(
                    f"{asked} returned shape {batch.shape}; expected [m, P] with 1 <= m <= {missing}"
                )
            batches.append(batch)
            missing -= len(batch)
        return batches[0] if len(batches) == 1 else np.concatenate(batches)
