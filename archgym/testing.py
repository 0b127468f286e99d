"""Conformance checks for simulators, environments and agents, in the spirit of Gymnasium's `check_env`.

    check_simulator(simulator)     what the kernel relies on when it calls a simulator
    check_env(id or environment)   Gymnasium's and Stable-Baselines3's checks, and that the vector environment says the same
    check_agent(agent)             exact budgets, one seed one trajectory, legal actions, no value out of reach

Each returns None, or raises AssertionError (ArchGymError where the kernel itself refuses) with what is wrong and what to do. They need
no test framework; a plug-in's test is one line:

>>> def test_my_simulator():
...     check_simulator(MySimulator())   # doctest: +SKIP
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from archgym.agent import Agent
from archgym.env import ArchEnv, ArchVectorEnv, finished
from archgym.errors import ArchGymError, BudgetExhausted, reason_of
from archgym.objective import INFEASIBLE_REWARD, Minimize, Objective, R
from archgym.registry import Task, get_agent, get_task, list_agents, load
from archgym.simulator import Metric, Outcome, Simulator, check_schema
from archgym.simulator_wrappers import SimulatorWrapper
from archgym.space import LONGEST_GRID, Array, Categorical, DesignSpace, Indices, Integer, Ordinal, Real
from archgym.wrappers import ContinuousActions, SequentialDesign

__all__ = ["check_agent", "check_env", "check_simulator"]


def _must(holds: object, message: str) -> None:
    """An assertion that `python -O` keeps."""
    if not holds:
        raise AssertionError(message)


# Simulators


def check_simulator(simulator: Simulator, *, samples: int = 64, seed: int = 0) -> None:
    """Check that a simulator keeps its contract on random designs and on the corners of its space.

    Args:
        simulator: the simulator; it is neither closed nor changed.
        samples: random designs to ask for, besides the corners.
        seed: of the designs and of declared noise.

    Raises:
        ArchGymError: the space and the metrics do not fit together.
        AssertionError: an answer that the contract forbids.

    Warns:
        UserWarning: answers share memory with later answers. The kernel copies, so that this is allowed, but other callers may not.
            The default objective takes logarithms of metrics that are below 0, which makes the design infeasible.
    """
    _must(isinstance(simulator, Simulator), f"{simulator!r} is not an archgym.Simulator: derive its class from archgym.Simulator")
    what = type(simulator).__name__
    check_schema(simulator)
    _check_metrics(simulator, what)
    _must(
        DesignSpace.from_json(simulator.space.to_json()) == simulator.space,
        f"{what}.space changes in a JSON round trip: use numbers, text, tuples or enums as parameter values",
    )
    try:
        json.dumps(simulator.specification)
    except TypeError as error:
        raise AssertionError(f"{what}.specification is not JSON ({error}): make the simulator with plain arguments") from error

    indices = _corners_and_samples(simulator.space, samples, np.random.default_rng(seed))
    columns = _ask(simulator, indices, seed, what)
    _check_columns(simulator, columns, len(indices), what)
    again = _ask(simulator, indices, seed, what)
    if simulator.deterministic:
        how = "under the same rng" if simulator.stochastic else "twice"
        measured = "declare `deterministic = False` or `stochastic = True`"
        undeclared = "draw noise from the given rng only, in rows" if simulator.stochastic else measured
        _same(simulator, columns, again, f"{what} gives other metrics for the same designs when asked {how}: {undeclared}")
        _check_rows(simulator, indices, columns, seed, what)
    else:
        _check_columns(simulator, again, len(indices), what)
    _check_designs_by_value(simulator, indices, columns, seed, what)
    _check_canonical(simulator, indices, columns, seed, what)
    _warn_of_shared_buffers(simulator, indices, seed, what)
    _warn_of_logarithms(simulator, columns, what)


def _check_metrics(simulator: Simulator, what: str) -> None:
    for metric in simulator.metrics:
        _must(isinstance(metric.name, str) and metric.name, f"{what}: a metric's name is a non-empty string, not {metric.name!r}")
        _must(
            metric.better in ("lower", "higher", None),
            f"{what}: metric {metric.name!r} is better={metric.better!r}; it takes 'lower', 'higher' or None",
        )
    _must(
        any(not metric.report_only for metric in simulator.metrics),
        f"{what}: every metric is report_only, so that nothing can be observed or rewarded; leave it out of at least one",
    )


def _corners_and_samples(space: DesignSpace, samples: int, rng: np.random.Generator) -> Indices:
    """The first and last design, one parameter at its extreme and the rest at the other (64 each at most), and random designs."""
    last = space.nvec - 1
    rows = [np.zeros_like(last), last]
    for j in range(min(len(space), 64)):
        low, high = np.zeros_like(last), last.copy()
        low[j], high[j] = last[j], 0
        rows += [low, high]
    return np.concatenate([np.array(rows, np.int64).reshape(len(rows), len(space)), space.sample(samples, rng)])


def _ask(simulator: Simulator, indices: Indices, seed: int, what: str) -> dict[str, Array]:
    """`evaluate_indices` as the environment calls it, with the answer copied and the question checked."""
    asked = indices.copy()
    asked.flags.writeable = False
    try:
        columns = simulator.evaluate_indices(asked, np.random.default_rng(seed))
    except Exception as error:
        raise AssertionError(
            f"{what} raised {reason_of(error)} on {len(indices)} legal designs: return feasible=False for designs that "
            "cannot exist, and do not write into the indices, which are read-only"
        ) from error
    _must(isinstance(columns, Mapping), f"{what} returned {type(columns).__name__}; return a dict of columns")
    return {name: _copy(name, column, what) for name, column in columns.items()}


def _copy(name: str, column: Any, what: str) -> Array:
    try:
        return np.array(column, subok=isinstance(column, np.ma.MaskedArray))
    except ValueError as error:
        raise AssertionError(f"{what} returned {name!r} with values of several shapes ({error}); return one number per design") from error


def _check_columns(simulator: Simulator, columns: Mapping[str, Array], n: int, what: str) -> None:
    for name in (*(m.name for m in simulator.metrics), "feasible"):
        _must(name in columns, f"{what} returned no column {name!r}: return one for every metric, and 'feasible'")
    for name, column in columns.items():
        _must(column.shape == (n,), f"{what} returned {name!r} with shape {column.shape} for {n} designs; return shape ({n},)")
        _must(not np.ma.is_masked(column), f"{what} returned {name!r} with masked values; return feasible=False for designs without one")
    for name in ("feasible", "cached"):
        if name in columns:
            _must(columns[name].dtype == bool, f"{what} returned {name!r} as {columns[name].dtype}; return bool")
    reasons = columns.get("failure", np.array([], str))
    _must(
        reasons.dtype.kind in "OUT" and all(reason is None or isinstance(reason, str) for reason in reasons.tolist()),
        f"{what} returned 'failure' as {reasons.dtype}; return a text for every row, empty where it did not fail",
    )
    for metric in simulator.metrics:
        column = columns[metric.name]
        _must(column.dtype.kind in "biuf", f"{what} returned {metric.name!r} as {column.dtype}; return real numbers")
        bad = columns["feasible"] & ~np.isfinite(column.astype(float))
        _must(
            not bad.any(),
            f"{what} returned {metric.name!r} = {column[bad][:1]} on a feasible design; metrics are finite where feasible: "
            "set feasible=False there",
        )


def _same(simulator: Simulator, one: Mapping[str, Array], other: Mapping[str, Array], message: str) -> None:
    """Equal feasibility, and equal metrics (up to rounding) where feasible."""
    feasible = one["feasible"]
    _must(np.array_equal(feasible, other["feasible"]), f"{message} (the column 'feasible' differs)")
    for metric in simulator.metrics:
        a, b = one[metric.name][feasible].astype(float), other[metric.name][feasible].astype(float)
        _must(np.allclose(a, b, rtol=1e-9, atol=0), f"{message} (the column {metric.name!r} differs)")


def _check_rows(simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(len(indices)):
        answer = simulator.evaluate_indices(indices[i : i + 1].copy(), rng)
        rows.append({name: np.array(column) for name, column in answer.items()})
    for i, row in enumerate(rows):
        for name, column in row.items():
            _must(np.shape(column) == (1,), f"{what} returned {name!r} with shape {np.shape(column)} for row {i} alone; return shape (1,)")
    joined = {name: np.concatenate([row[name] for row in rows]) for name in columns if all(name in row for row in rows)}
    hint = "draw noise row by row, as one rng.random((B, k))" if simulator.stochastic else "treat every row by itself"
    _same(simulator, columns, joined, f"{what} gives a batch other metrics than its rows one by one: {hint}")


def _check_designs_by_value(simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str) -> None:
    designs = simulator.space.decode(indices)
    before = {name: column.copy() for name, column in designs.items()}
    by_value = simulator.evaluate(designs, np.random.default_rng(seed))
    for name, column in before.items():
        _must(
            name in designs and np.array_equal(designs[name], column),
            f"{what}.evaluate changed its input column {name!r}: work on a copy",
        )
    if simulator.deterministic:
        message = f"{what}.evaluate(decode(indices)) differs from evaluate_indices(indices): define one of the two, or make them agree"
        _same(simulator, columns, {name: np.asarray(column) for name, column in by_value.items()}, message)


def _check_canonical(simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str) -> None:
    asked = indices.copy()
    representatives = np.array(simulator.canonical(asked))
    _must(np.array_equal(asked, indices), f"{what}.canonical changed its input: work on a copy")
    _must(
        representatives.shape == indices.shape and representatives.dtype.kind in "iu",
        f"{what}.canonical returned {representatives.dtype} of shape {representatives.shape}; return integers of shape {indices.shape}",
    )
    _must(
        ((representatives >= 0) & (representatives < simulator.space.nvec)).all(),
        f"{what}.canonical returned indices outside the space: a representative is itself a design",
    )
    _must(
        np.array_equal(simulator.canonical(representatives.copy()), representatives),
        f"{what}.canonical is not idempotent: a representative must be its own representative",
    )
    if simulator.deterministic and not simulator.stochastic:
        message = f"{what}.canonical maps designs to ones with other metrics: map only designs that are the same thing"
        _same(simulator, columns, _ask(simulator, representatives, seed, what), message)


def _warn_of_shared_buffers(simulator: Simulator, indices: Indices, seed: int, what: str) -> None:
    half = len(indices) // 2
    first = simulator.evaluate_indices(indices[:half].copy(), np.random.default_rng(seed))
    kept = {name: np.array(column) for name, column in first.items()}
    simulator.evaluate_indices(indices[half : 2 * half].copy(), np.random.default_rng(seed))
    for name, column in kept.items():
        if not np.array_equal(column, first[name], equal_nan=column.dtype.kind == "f"):
            warnings.warn(
                f"{what} overwrote the column {name!r} of its last answer: archgym copies answers, other callers may not; return a copy",
                stacklevel=3,
            )
            return


def _warn_of_logarithms(simulator: Simulator, columns: Mapping[str, Array], what: str) -> None:
    objective, names = simulator.default_objective, [metric.name for metric in simulator.metrics]
    if objective is None:
        return
    objective.check(names)
    outcome = Outcome(np.stack([columns[name] for name in names], axis=1).astype(float), columns["feasible"].copy())
    objective.judge(outcome, names)
    if outcome.failures:
        reason = next(iter(outcome.failures.values()))
        warnings.warn(
            f"{what}.default_objective makes {len(outcome.failures)} of {len(outcome.values)} designs infeasible: {reason}", stacklevel=3
        )


# Environments


def check_env(env: str | gymnasium.Env[Any, Any], *, seed: int = 0, **kwargs: Any) -> None:
    """Check an environment by id, or one that was made: it, its wrappers and its vector form.

    Runs Gymnasium's `check_env` on the bare environment and under `SequentialDesign` and `ContinuousActions`, Stable-Baselines3's on
    each where it is installed, and compares the vector environment with the single one, row for row.

    Args:
        env: an id, or an `ArchEnv` (wrapped or not). Of the latter fresh copies are made; it is not stepped.
        seed: of the designs that are tried.
        **kwargs: arguments of the environment, with an id.

    Raises:
        ArchGymError: the environment cannot be made.
        AssertionError: it does not behave as the contract says.
    """
    single = _maker(env, kwargs)
    raw = single()
    _must(isinstance(raw, ArchEnv), f"{env!r} is not an environment of archgym: register it with archgym.register_env(id, simulator=...)")
    opened: list[Any] = [raw]
    try:
        wrappers: list[Callable[[Any], Any]] = [lambda made: made, ContinuousActions]
        if 0 < raw.simulator.space.nvec.max(initial=0) <= LONGEST_GRID:
            wrappers.append(SequentialDesign)
        for wrap in wrappers:
            wrapped = wrap(single())
            opened.append(wrapped)
            _foreign_checks(wrapped)
        vector = _vector_of(raw, 6)
        opened.append(vector)
        _check_vector_equals_single(vector, single(), seed)
        _check_ranking(raw, vector, seed)
        _check_ledger(single(), seed)
    finally:  # only now: a task may share one simulator among its environments
        for made in opened:
            made.close()


def _maker(env: str | gymnasium.Env[Any, Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    if isinstance(env, str):
        get_task(env)  # an unknown id is refused here, with the nearest names
        return lambda: gymnasium.make(env, disable_env_checker=True, **kwargs).unwrapped
    if kwargs:
        raise ArchGymError("arguments go with an environment's id; this environment has been made already")
    core = env.unwrapped
    if not isinstance(core, ArchEnv):
        return lambda: core

    def again() -> ArchEnv:
        evaluator = core.evaluator
        kwargs = evaluator.task.without_options(evaluator.kwargs)
        made = ArchEnv(evaluator.task, objective=evaluator.objective, horizon=evaluator.horizon, render_mode=core.render_mode, **kwargs)
        made.spec = core.spec
        return made

    return again


def _vector_of(env: ArchEnv, num_envs: int) -> ArchVectorEnv:
    evaluator = env.evaluator
    kwargs = evaluator.task.without_options(evaluator.kwargs)
    return ArchVectorEnv(evaluator.task, num_envs, objective=evaluator.objective, horizon=evaluator.horizon, **kwargs)


def _foreign_checks(env: gymnasium.Env[Any, Any]) -> None:
    with warnings.catch_warnings():
        # wrappers are ours, and checked on purpose
        warnings.filterwarnings("ignore", message=".*The environment .* is different from the unwrapped version.*")
        gymnasium_check_env(env, skip_render_check=True, skip_close_check=True)
        if find_spec("stable_baselines3") is not None:
            from stable_baselines3.common.env_checker import check_env as stable_baselines_check_env

            stable_baselines_check_env(env, skip_render_check=True)


def _check_vector_equals_single(vector: ArchVectorEnv, single: ArchEnv, seed: int) -> None:
    """Sub-environment 0 of a vector of one is the single environment; a wider one equals single steps, row by row."""
    space, horizon, width = single.simulator.space, single.evaluator.horizon, vector.num_envs
    actions = space.sample(2 * horizon * width, np.random.default_rng(seed)).reshape(2 * horizon, width, len(space))
    # noise is drawn row by row, which is another order than episode by episode
    if not single.simulator.deterministic or (single.simulator.stochastic and horizon > 1):
        return
    vector.reset(seed=seed)
    single.reset(seed=seed)
    expected: dict[tuple[int, int], Any] = {}
    steps = [(t, i) for t in range(2 * horizon) for i in range(width)]
    for t, i in sorted(steps, key=lambda step: (step[0] // horizon, step[1], step[0])):
        if t % horizon == 0:
            single.reset()
        expected[t, i] = single.step(actions[t, i])
    for t in range(2 * horizon):
        _, rewards, terminated, truncated, info = vector.step(actions[t])
        done = finished(info)
        for i in range(width):
            observation, reward, over, _, said = expected[t, i]
            where = f"the vector environment differs from the single one (step {t}, sub-environment {i}):"
            _must(rewards[i] == reward, f"{where} reward {rewards[i]} and {reward}")
            _must(terminated[i] == over and not truncated[i], f"{where} terminated {terminated[i]} and {over}; truncated is always False")
            for name in ("feasible", "valid", "reward"):
                _must(done[name][i] == said[name], f"{where} info[{name!r}] is {done[name][i]} and {said[name]}")
            for name, value in said["design"].items():
                _must(done["design"][name][i] == value, f"{where} info['design'][{name!r}] is {done['design'][name][i]} and {value}")
            if over:
                _must(np.array_equal(info["final_obs"][i], observation), f"{where} other observations")


def _check_ranking(single: ArchEnv, vector: ArchVectorEnv, seed: int) -> None:
    indices = _corners_and_samples(single.simulator.space, 256, np.random.default_rng(seed))
    evaluation = vector.evaluator.evaluate(indices, len(indices))
    _must(
        (evaluation.reward[~evaluation.feasible] == INFEASIBLE_REWARD).all(),
        f"an infeasible design is rewarded with other than {INFEASIBLE_REWARD}: give the environment an archgym.Objective",
    )
    feasible = evaluation.reward[evaluation.feasible]
    _must((feasible > INFEASIBLE_REWARD).all() and np.isfinite(feasible).all(), "a feasible design is not ranked above infeasible ones")
    largest = np.inf if vector.evaluator.objective.form == "archgym" else R
    valid = evaluation.reward[evaluation.valid]
    _must(((valid >= -R) & (valid <= largest)).all(), f"a valid design's reward lies outside [-{R:g}, {largest:g}]")


def _check_ledger(env: ArchEnv, seed: int) -> None:
    env.reset(seed=seed)
    for illegal in (env.simulator.space.nvec, np.full(len(env.simulator.space), -1)):
        if len(illegal):
            with suppress(ArchGymError):
                env.step(illegal)
                raise AssertionError(f"the illegal action {illegal.tolist()} was taken: raise ArchGymError")
    _must(env.ledger.samples == 0, "an illegal action or a reset was counted as a sample: count at the simulator call only")
    env.ledger.budget = 1
    action = np.zeros(len(env.simulator.space), np.int64)
    env.reset()
    env.step(action)
    env.reset()
    with suppress(BudgetExhausted):
        env.step(action)
        raise AssertionError("a step beyond the ledger's budget was taken: raise BudgetExhausted")
    _must(env.ledger.samples == 1, f"the ledger counts {env.ledger.samples} samples after one design")


# Agents


class _Plateau(Simulator):
    """Nearly flat, so that every agent keeps looking: 840 designs of every kind of parameter, some of them infeasible."""

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
                raise AssertionError("the agent goes on stepping after BudgetExhausted: stop searching then") from None
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
        env: an environment's id; default: a small one with every kind of parameter and nearly equal rewards.
        budget: samples of each search; odd, so that batches cross it.
        seed: of the searches.
        reach_budget: samples within which every value of every parameter must be proposed; None leaves that check out.
        reach_searches: searches (of other seeds) that may share in doing so.

    Raises:
        ArchGymError: no such agent or environment.
        AssertionError: the agent does not behave as the contract says.
    """
    make = _agent_maker(agent)
    first = make()
    _must(isinstance(first, Agent), f"{agent!r} made {type(first).__name__}: derive the class from archgym.Agent or AskTellAgent")
    what = type(first).__name__
    _check_hyperparameters(type(first), what)
    task = Task("check/Plateau-v0", _Plateau) if env is None else env if isinstance(env, Task) else get_task(env)
    simulator, objective = task.build()

    preferred = _check_width(first, what)
    rows = _search(first, simulator, objective, budget, seed, preferred, what)
    with _other_global_random_states():
        again = _search(make(), simulator, objective, budget, seed, preferred, what)
        once_more = _search(first, simulator, objective, budget, seed, preferred, what)
    if simulator.deterministic:
        _must(np.array_equal(rows, again), f"{what} asks for other designs under the same seed: draw from the given rng or seed only")
        _must(np.array_equal(rows, once_more), f"{what} searches differently the second time: reset everything when a search starts")
    for odd, width in ((1, preferred), (3, preferred), (budget, 7)):
        _search(make(), simulator, objective, odd, seed, width, what)

    if reach_budget is not None:
        missing = {name: set(range(n)) for name, n in zip(simulator.space.names, simulator.space.nvec.tolist(), strict=True)}
        for offset in range(reach_searches):
            rows = _search(make(), simulator, objective, reach_budget, seed + offset, preferred, what)
            missing = {name: left - set(rows[:, j].tolist()) for j, (name, left) in enumerate(missing.items())}
            if not any(missing.values()):
                return
        unseen = "; ".join(
            f"{name} = {', '.join(str(simulator.space[name].value(i)) for i in sorted(left)[:8])}" for name, left in missing.items() if left
        )
        raise AssertionError(
            f"{what} never proposed {unseen} in {reach_searches} searches of {reach_budget} samples: every design must be within reach"
        )


def _agent_maker(agent: str | type[Agent] | Callable[..., Agent]) -> Callable[..., Agent]:
    if not isinstance(agent, str):
        _must(callable(agent), f"{agent!r} is neither an agent's name, nor its class, nor a function that makes one")
        return agent
    return load(agent) if ":" in agent and agent not in list_agents() else get_agent(agent)


def _check_hyperparameters(cls: type[Agent], what: str) -> None:
    declared = getattr(cls, "hyperparameters", None)
    _must(isinstance(declared, DesignSpace), f"{what}.hyperparameters must be a DesignSpace (DesignSpace([]) where there are none)")
    assert isinstance(declared, DesignSpace)
    version = getattr(cls, "version", None)
    _must(isinstance(version, int) and not isinstance(version, bool), f"{what}.version must be an integer, not {version!r}")
    _must(
        DesignSpace.from_json(declared.to_json()) == declared,
        f"{what}.hyperparameters change in a JSON round trip: use numbers, strings and bools as values",
    )
    defaults = declared.defaults()
    for parameter in declared:
        for value in (defaults[parameter.name], parameter.value(0), parameter.value(len(parameter) - 1)):
            chosen = cls(**{parameter.name: value})
            _must(
                getattr(chosen, parameter.name) == value == chosen.configuration[parameter.name],
                f"{what}({parameter.name}={value!r}) does not keep its hyperparameter as an attribute: leave the constructor to Agent",
            )
            _check_width(chosen, f"{what}({parameter.name}={value!r})")
    with suppress(ArchGymError):
        cls(no_such_hyperparameter=1)
        raise AssertionError(f"{what} takes hyperparameters that it does not declare: leave the constructor to archgym.Agent")


def _check_width(agent: Agent, what: str) -> int:
    width = agent.preferred_num_envs
    _must(
        isinstance(width, (int, np.integer)) and not isinstance(width, bool) and width >= 1,
        f"{what}.preferred_num_envs is {width!r}; it must be an integer from 1",
    )
    return int(width)


def _search(agent: Agent, simulator: Simulator, objective: Objective, budget: int, seed: int, width: int, what: str) -> Indices:
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
        _must(not env.illegal, f"{what} took an illegal action: {error}")
        raise
    _must(not env.illegal, f"{what} took an illegal action: {env.illegal}")
    counted = sum(len(batch) for batch in counting.rows)
    _must(
        counted == budget == env.ledger.samples,
        f"{what} spent {counted} samples of a budget of {budget} ({width} designs per step): search until BudgetExhausted, "
        "and ask nothing but the environment",
    )
    for name, state in before.items():
        _must(
            _equal_states(state, _global_random_states()[name]),
            f"{what} drew from the global state of {name}, or reseeded it: use a generator of its own, or restore the state",
        )
    return np.concatenate(counting.rows)


def _global_random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate(), "numpy.random": np.random.get_state()}  # noqa: NPY002
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
