"""`search`: one agent on one environment with one budget and one seed, and everything it leaves behind.

The module is called `_search` because `archgym.search` is the function.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from archgym.agent import Agent
from archgym.callbacks.base import Callback
from archgym.callbacks.hook import Hook
from archgym.contexts.policy import Policy
from archgym.env import ArchVectorEnv
from archgym.errors import ArchGymError, BudgetExhausted, reason_of, whole
from archgym.evaluator import Evaluator, measure_again
from archgym.evaluator import Incumbent as Incumbent
from archgym.files.columns import arrow_table
from archgym.files.paths import write_atomically
from archgym.infos import core
from archgym.ledger import Charge, Failure, Ledger
from archgym.objective import clipping
from archgym.optimum import Optimum, known_optimum
from archgym.pareto import Front, check_front, find_front
from archgym.registry import agent_name as agent_name
from archgym.registry import get_task
from archgym.registry import make_any_agent as make_any_agent
from archgym.simulator import Metric, Simulator
from archgym.space import Array, DesignSpace, Indices
from archgym.task import AgentSpecification, EnvSpecification, Specification
from archgym.values import read_arguments, settle, write
from archgym.version import __version__
from archgym.words import shown
from archgym.wrappers import VectorObjective, vector

if TYPE_CHECKING:
    import pandas
    import pyarrow
    from gymnasium.vector import VectorEnv


PROPOSALS = 5  # designs of a policy that a search starts from

Start = Policy | Sequence[Mapping[str, Any]] | Array
"""Designs that a search starts from: a policy, mappings of parameters and values, or indices [K, P]."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and how.

    Attributes:
        best_design: parameter values of the best valid design (the first, among equals); None if none was
            valid.
        best_metrics: metrics of that design, report-only ones included; None if none was valid.
        best_reward: reward of that design; None if none was valid.
        samples: number of designs sent to the simulator.
        cost: cost of the samples, plus all charges, in `cost_unit`.
        cost_unit: unit of costs.
        charges: costs other than samples, such as training shared weights, in order.
        unique: number of distinct designs among them.
        cache_hits: number of samples answered from a cache.
        history: columns [samples]: `sample`, every parameter (values), every metric, `feasible`, `valid`,
            `reward`, `cached`, `seconds`, `cost` (after each sample).
        failures: samples that the simulator could not evaluate, with reasons.
        optimum: the exact optimum, where it is known.
        bound: a reward that no valid design exceeds; None where the optimum is known, or no bound is.
        specification: JSON; `search_again(specification)` repeats the search row for row.
        space: the design space.
        incumbents: where the simulator measures, the five best designs, measured once more; best second
            measurement first. These measurements are not samples.
        front: Pareto front of the valid designs in the metrics given as `front`; None without them, or if
            none was valid.
        statistics: figures of the agent about its search (`Agent.statistics`).
    """

    best_design: dict[str, Any] | None
    best_metrics: dict[str, float] | None
    best_reward: float | None
    samples: int
    unique: int
    cache_hits: int
    history: Mapping[str, Array]
    failures: list[Failure]
    optimum: Optimum | None
    specification: dict[str, Any]
    space: DesignSpace
    incumbents: tuple[Incumbent, ...] = ()
    front: Front | None = None
    cost: float = 0.0
    cost_unit: str = "samples"
    charges: tuple[Charge, ...] = ()
    bound: float | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)

    @property
    def regret(self) -> float | None:
        """The optimum's reward minus the best found; None where the optimum is not known or nothing was
        valid.
        """
        return (
            None
            if self.optimum is None or self.best_reward is None
            else self.optimum.regret(self.best_reward)
        )

    @property
    def regret_bound(self) -> float | None:
        """The bound minus the best reward, which the regret does not exceed; None without a bound, or where
        nothing was valid.
        """
        return None if self.bound is None or self.best_reward is None else self.bound - self.best_reward

    @property
    def percentile(self) -> float | None:
        """The percentage of distinct valid designs that are at most as good as the best found; None where
        not known.
        """
        return (
            None
            if self.optimum is None or self.best_reward is None
            else self.optimum.percentile(self.best_reward)
        )

    @cached_property
    def best_so_far(self) -> Array:
        """The best valid reward after each sample: float64 [samples], -inf before the first valid design."""
        rewards = np.where(self.history["valid"], self.history["reward"], -np.inf)
        return np.asarray(np.maximum.accumulate(rewards))

    def to_arrow(self) -> pyarrow.Table:
        """The history as a PyArrow table, with the specification in the schema's metadata.

        Parameters whose values have several types, or one that Arrow has not, are columns of text;
        `files.columns.read_columns` gives their values back.
        """
        metadata = {"archgym": json.dumps(self.specification)}
        if self.charges:
            metadata["archgym.charges"] = json.dumps({"unit": self.cost_unit, "charges": self.charges})
        return arrow_table(self.space, self.history).replace_schema_metadata(metadata)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write the history as Parquet, all of it or nothing; the specification is in the metadata under
        "archgym", charges as rows (sample, amount, what) under "archgym.charges".

        Raises:
            ArchGymError: the path cannot be written.
        """
        import pyarrow.parquet

        table = self.to_arrow()
        return write_atomically(path, lambda file: pyarrow.parquet.write_table(table, file))

    def to_pandas(self) -> pandas.DataFrame:
        """The history as a pandas DataFrame (needs pandas)."""
        import pandas

        return pandas.DataFrame(dict(self.history))


class Search:
    """A search that can be observed while it runs: `run()` runs it, `ledger` counts its samples, `result()`
    returns what it has so far.

    Simulated designs are kept whatever ends the search: `result()` also works after an error or Ctrl-C.

    Arguments and errors are those of `search`.
    """

    def __init__(
        self,
        env: str,
        agent: str | Agent | type[Agent],
        *,
        budget: int | None = None,
        cost_budget: float | None = None,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
        agent_kwargs: Mapping[str, Any] | None = None,
        num_envs: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        front: Sequence[str] | None = None,
        start: Start | None = None,
        callbacks: Sequence[Callback] | None = None,
    ):
        if budget is None and cost_budget is None:
            raise ArchGymError("expected a budget of samples, or a cost_budget, got neither; give one")
        self.cost_budget = cost_budget
        self.seed = whole("seed", seed, least=0)
        env_kwargs, agent_kwargs = (
            _keywords("env_kwargs", env_kwargs),
            _keywords("agent_kwargs", agent_kwargs),
        )
        self.agent = make_any_agent(agent, agent_kwargs)
        self.budget = _samples(budget, cost_budget, env, env_kwargs)
        self.agent.adapt(self.budget)
        version = whole(f"{type(self.agent).__name__}.version", getattr(self.agent, "version", None), least=0)
        if num_envs is None:
            width = whole(
                f"{type(self.agent).__name__}.preferred_num_envs", self.agent.preferred_num_envs, least=1
            )
        else:
            width = whole("num_envs", num_envs, least=1)
        get_task(env)  # an unknown environment is refused here, with the nearest names
        for name in env_kwargs:
            if name in (
                "task",
                "num_envs",
                "spec",
                "wrappers",
                "vectorization_mode",
                "vector_kwargs",
                "render_mode",
                "autoreset_mode",
            ):
                raise ArchGymError(
                    f"{name!r} cannot be set through env_kwargs: a search makes its own vector environment; "
                    "use search(num_envs=...)"
                )
        objective, written, kwargs = _settled(env_kwargs)
        made = gymnasium.make_vec(env, num_envs=width, **objective, **kwargs)
        if not isinstance(made.unwrapped, ArchVectorEnv):
            raise ArchGymError(f"expected an environment of archgym, got {env}; archgym list shows them")
        self.env: ArchVectorEnv = made.unwrapped
        self.ledger.budget, self.ledger.cost_budget = _within(made.unwrapped.simulator, budget), cost_budget
        self.front = () if front is None else check_front(front, self.env.simulator)
        self.start = None if start is None else _first_designs(start, self.agent, self.env.evaluator)
        environment = EnvSpecification.from_dict(self.env.evaluator.specification())
        # as they were before the simulator had them
        kwargs = {
            name: value if name == "contexts" else written[name] for name, value in environment.kwargs.items()
        }
        specification = Specification(
            replace(environment, id=env, kwargs=kwargs, front=tuple(front or ())),
            AgentSpecification(agent_name(self.agent), write(self.agent.configuration), version),
            self.ledger.budget,
            self.seed,
            width,
            __version__,
            () if self.start is None else self.start.tolist(),
            cost_budget=self.ledger.cost_budget,
        )
        self.specification: dict[str, Any] = json.loads(json.dumps(specification.to_dict(), default=write))
        if cache is not None:
            self.env.evaluator.remember(cache)
        self.callbacks = Hook(callbacks, self)
        self._incumbents: tuple[Incumbent, ...] = ()
        self._optimum: Optimum | None = None
        self._bound: float | None = None

    @property
    def ledger(self) -> Ledger:
        """The environment's ledger: samples, best so far, failures."""
        return self.env.ledger

    def run(self) -> SearchResult:
        """Search until the budget is spent; the environment is closed whatever happens.

        Raises:
            ArchGymError: the agent took no sample, or more than its budget.
            Exception: whatever ended the search; what was found until then is in its attribute `partial`, a
                `SearchResult`.
        """
        try:
            self.spend()
            if not self.env.simulator.deterministic and self.env.contexts is None:
                self._incumbents = measure_again(self.env.evaluator)
            found = self.result()
            self.callbacks.end(found)
            return found
        except BaseException as error:
            self._hand_over(error)
            with suppress(ArchGymError):
                self.callbacks.end(getattr(error, "partial", None))
            raise
        finally:
            self.env.close()

    def _hand_over(self, error: BaseException) -> None:
        """Give an error what was found before it; nothing that goes wrong here takes its place."""
        if self.ledger.samples:
            with suppress(Exception):
                error.partial = self.result()  # type: ignore[attr-defined]
                error.add_note(
                    f"archgym: {self.progress}; the attribute `partial` of this exception has what was found"
                )

    def spend(self) -> None:
        """Let the agent spend the budget; what it found is in the ledger. Whoever calls this closes the
        environment.

        Raises:
            ArchGymError: the agent took no sample, or more than its budget.

        Warns:
            UserWarning: the agent stopped early, or most valid rewards are clipped.
        """
        env: VectorEnv = vector.RewardVector(self.env, self._followed) if self._followed else self.env
        allowed, cost_allowed = (
            self.ledger.budget,
            self.ledger.cost_budget,
        )  # before the agent could change them
        with self.callbacks.following(), suppress(BudgetExhausted):
            start = {} if self.start is None else {"start": self.start}
            self.agent.search(env, budget=self.budget, seed=self.seed, **start)
        agent, samples = agent_name(self.agent), self.ledger.samples
        cost = self.ledger.cost
        if not samples and cost_allowed is not None:
            raise ArchGymError(
                f"expected a cost budget that pays for a sample, got {cost_allowed:,.0f} "
                f"{self.ledger.cost_unit}, of which {cost:,.0f} were spent; a reference sample costs "
                f"{self.env.evaluator.reference_cost:,.0f}"
            )
        over = cost_allowed is not None and cost > cost_allowed
        if samples == 0 or over or (allowed is not None and samples > allowed):
            raise ArchGymError(
                f"expected the agent {agent} to take {self.budget:,} samples, got {samples:,}; step the "
                "environment that its `search` is given until BudgetExhausted is raised, and leave the "
                "ledger's budget alone"
            )
        if not self.ledger.refused and (allowed is None or samples < allowed):
            warnings.warn(f"the agent {agent} stopped early: {self.progress}", stacklevel=2)
        valid = int(self.ledger.column("valid").sum())
        if valid and self.env.contexts is None and (text := clipping(self.clipped / valid)):
            warnings.warn(text, stacklevel=2)

    @property
    def progress(self) -> str:
        """How far the search is, in words."""
        ledger = self.ledger
        if ledger.budget is not None or ledger.cost_budget is None:
            return f"{ledger.samples:,} of {self.budget:,} samples were taken"
        share = f"{ledger.cost / ledger.cost_budget:.0%}"
        return f"{share} of the cost budget was spent, {ledger.samples:,} samples were taken"

    @property
    def share_done(self) -> float:
        """Share of the budget that is spent, of samples or of cost, whichever is larger."""
        ledger = self.ledger
        shares = [0.0 if ledger.budget is None else ledger.samples / max(ledger.budget, 1)]
        return max([*shares, ledger.cost / ledger.cost_budget] if ledger.cost_budget else shares)

    @property
    def clipped(self) -> int:
        """Number of valid samples whose reward, or a component of it, is clipped at +-R although it is
        finite.
        """
        simulator, objective = self.env.simulator, self.env.objective
        values = self.ledger.column("values")[self.ledger.column("valid")]
        metrics = {metric.name: values[:, i] for i, metric in enumerate(simulator.metrics)}
        given = (
            VectorObjective(simulator, objective, self._followed).components
            if self._followed
            else [objective]
        )
        return int(np.any([each.clips(metrics) for each in given], axis=0).sum())

    @property
    def _followed(self) -> list[str]:
        """The metrics whose reward vectors the agent follows; empty where it follows the one reward."""
        return [metric.name for metric in self.front] if self.agent.multi_objective else []

    def _look_up_optimum(self) -> None:
        """Look the optimum up while the environment is open; a simulator that fails now gives a warning."""
        if not self.env.closed and self.env.contexts is None:
            try:
                self._optimum = known_optimum(self.env.simulator, self.env.objective)
                if self._optimum is None:
                    self._bound = self.env.simulator.bound(self.env.objective)
            except Exception as error:
                warnings.warn(f"the optimum cannot be looked up: {reason_of(error)}", stacklevel=3)

    def result(self) -> SearchResult:
        """What has been found so far, at any time: also after an error, and when the environment is
        closed.
        """
        self._look_up_optimum()
        ledger, simulator = self.ledger, self.env.simulator
        history = ledger.history()
        row = ledger.best
        return SearchResult(
            best_design=None if row is None else simulator.space.design(ledger.column("indices")[row]),
            best_metrics=None
            if row is None
            else {m.name: float(history[m.name][row]) for m in simulator.metrics},
            best_reward=ledger.best_reward,
            samples=ledger.samples,
            unique=ledger.unique,
            cache_hits=ledger.cache_hits,
            history=history,
            failures=list(ledger.failures),
            optimum=self._optimum,
            specification=self.specification,
            space=simulator.space,
            incumbents=self._incumbents,
            front=find_front(_columns(history, self.front), self.front)
            if self.front and row is not None
            else None,
            cost=ledger.cost,
            cost_unit=ledger.cost_unit,
            charges=tuple(ledger.charges),
            bound=self._bound,
            statistics=dict(self.agent.statistics),
        )


def search(
    env: str,
    agent: str | Agent | type[Agent],
    *,
    budget: int | None = None,
    cost_budget: float | None = None,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    agent_kwargs: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    front: Sequence[str] | None = None,
    start: Start | None = None,
    callbacks: Sequence[Callback] | None = None,
) -> SearchResult:
    """Search a design space.

    Args:
        env: an environment id, such as "archgym/Softmax-v0".
        agent: an agent's name, class, or instance.
        budget: samples, counted at the simulator; spent exactly. None where a cost budget ends the search.
        cost_budget: cost of samples and of training shared weights, in the simulator's `cost_unit`, never
            exceeded; a reference sample costs `env.unwrapped.evaluator.reference_cost`.
        seed: everything random derives from it; the same seed gives the same rows.
        env_kwargs: arguments of the environment (`objective`, `horizon`, `preset` and those of its
            simulator).
        agent_kwargs: hyperparameters, where the agent is given by name or class.
        num_envs: designs per step; default: what the agent prefers.
        cache: a file that remembers every simulated design, so that a search that was interrupted replays at
            no cost (`Cached`).
        front: two metrics or more to trade off: an agent that can (`nsga2`) is paid a reward for each of them
            and searches for their Pareto front, others keep the scalar reward; `result.front` is what was
            found either way.
        start: designs to evaluate first, as samples that the agent learns from: mappings of parameters and
            values, indices [K, P], or a `Policy`, which proposes five for this task.
        callbacks: told of the search while it runs, without an effect on its rows (`archgym.callbacks`).

    Raises:
        ArchGymError: an unknown environment, agent, argument or hyperparameter (with the nearest names), or a
            value out of range. Nothing is simulated then.
        Exception: whatever ends the search before its budget is spent. If something was simulated, its
            attribute `partial` is a `SearchResult` of what was found until then (of Ctrl-C's
            KeyboardInterrupt, too).

    Examples:
        >>> result = archgym.search("archgym/Softmax-v0", "genetic", budget=500, seed=0)   # doctest: +SKIP
    """
    return Search(
        env,
        agent,
        budget=budget,
        cost_budget=cost_budget,
        seed=seed,
        env_kwargs=env_kwargs,
        agent_kwargs=agent_kwargs,
        num_envs=num_envs,
        cache=cache,
        front=front,
        start=start,
        callbacks=callbacks,
    ).run()


def search_again(
    specification: Mapping[str, Any], *, env_kwargs: Mapping[str, Any] | None = None
) -> SearchResult:
    """Repeat a search from its specification, row for row.

    Args:
        specification: JSON of a search, such as `SearchResult.specification`.
        env_kwargs: the original objects of arguments that are stored as a hash only (frames, tensors, large
            arrays).

    Raises:
        ArchGymError: an error of `search`; an argument stored as a hash is missing or differs; or the agent
            has another version here, so that the rows would differ.
    """
    again, agent = (
        specified(specification, env_kwargs=env_kwargs),
        Specification.from_dict(specification).agent,
    )
    if again.agent.version != agent.version:
        raise ArchGymError(
            f"expected version {agent.version!r} of the agent {agent.name!r}, got {again.agent.version}; "
            "install the archgym that made the result"
        )
    return again.run()


def specified(
    specification: Mapping[str, Any],
    cache: str | os.PathLike[str] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] | None = None,
) -> Search:
    """The search that a specification describes, not yet run; whether the agent is of the same version is for
    the caller to check.

    Raises:
        ArchGymError: arguments that `search` refuses.
    """
    run = Specification.from_dict(specification)
    kwargs = {
        **read_arguments(run.env.kwargs, env_kwargs),
        "objective": run.env.objective,
        "horizon": run.env.horizon,
    }
    return Search(
        run.env.id,
        make_any_agent(run.agent.name, _keywords("hyperparameters", run.agent.configuration)),
        budget=run.budget,
        cost_budget=run.cost_budget,
        seed=run.seed,
        num_envs=run.num_envs,
        env_kwargs=kwargs,
        cache=cache,
        front=run.env.front or None,
        start=np.array(run.start, np.int64) if run.start else None,
        callbacks=callbacks,
    )


def _samples(budget: int | None, cost_budget: float | None, env: str, env_kwargs: Mapping[str, Any]) -> int:
    """Number of samples that an agent may expect: the budget, or reference samples of the cost budget."""
    if budget is not None:
        return whole("budget", budget, least=1)
    with closing(gymnasium.make(env, **{**_settled(env_kwargs)[0], **_settled(env_kwargs)[2]})) as made:
        core(made).ledger.cost_budget = cost_budget  # refuses what is no budget
        samples = (cost_budget or 0) / core(made).evaluator.reference_cost
        return max(1, math.ceil(round(samples, 6)))  # a whole number of them stays one


def _within(simulator: Simulator, budget: int | None) -> int | None:
    """A budget of samples that the simulator's service allows, where one counts them."""
    left = simulator.left
    if left is not None and budget is not None and budget > left:
        raise ArchGymError(
            f"expected a budget of at most {left:,} samples, which the service allows, got {budget:,}; "
            f"lower it, or open another session"
        )
    return left if budget is None else budget


def _columns(history: Mapping[str, Array], metrics: Sequence[Metric]) -> Array:
    """Metrics of the valid samples: float64 [V, M]."""
    return np.stack([history[metric.name][history["valid"]] for metric in metrics], axis=1)


def _first_designs(start: Start, agent: Agent, evaluator: Evaluator) -> Indices:
    """The designs that a search starts from: int64 [K, P]."""
    if "start" not in inspect.signature(agent.search).parameters:
        raise ArchGymError(
            "expected an agent that starts from given designs (genetic, tpe, bo and all ask-tell agents do), "
            f"got {agent_name(agent)}; use one of them or leave start out"
        )
    space = evaluator.simulator.space
    if not isinstance(start, Policy):
        return space.rows(start)
    if start.space != space:
        raise ArchGymError(f"expected a policy with the design space {space!r}, got {start.space!r}")
    if evaluator.contexts is not None:
        raise ArchGymError("a policy proposes designs for one task: leave contexts out or give designs")
    return start.designs_for(evaluator, PROPOSALS)


def _keywords(what: str, given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Keyword arguments by name; none for None.

    Raises:
        ArchGymError: not a mapping of names.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ArchGymError(f"expected {what} as a dictionary of names and values, got {shown(given)}")
    return given


def _settled(env_kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """An environment's objective, which a specification states in full, and its other arguments, as
    written and as they are passed on.
    """
    objective = {name: value for name, value in env_kwargs.items() if name == "objective"}
    return objective, *settle({name: value for name, value in env_kwargs.items() if name != "objective"})
