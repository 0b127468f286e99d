"""Evaluation of designs for several contexts in one step, with rewards on one scale.

    reward of design d in context c = max(r_c(d) - r*_c, -R)      r_c: reward under the context's objective
                                                                  r*_c: reward of its exact optimum
    share of the optimum            = exp(reward)                 of metrics that are products and ratios

so that the optimum of every context has 0. Where an optimum is not known, r*_c = 0: the scale is the
objective's reference. Infeasible designs keep -R - 1, and under a strict objective violating ones their rank
below -R.

An observation is the context's features (`Features`), then that of one task.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from archgym.contexts.features import Features, context_features
from archgym.contexts.sets import Contexts, ContextSource
from archgym.errors import ArchGymError, unknown
from archgym.evaluator import Evaluation, Evaluator
from archgym.ledger import Ledger
from archgym.objective import R, Rewards
from archgym.optimum import load_optimum
from archgym.registry import ObjectiveSource, Task, get_task
from archgym.seeding import stream
from archgym.simulator import Outcome, Simulator, evaluate_safely
from archgym.space import Array, Indices
from archgym.task import EnvSpecification
from archgym.values import restored, settle


def make_evaluator(
    task: str | Task,
    objective: ObjectiveSource | None,
    horizon: int | None,
    kwargs: Mapping[str, Any],
    contexts: ContextSource | None,
) -> Evaluator:
    """The evaluator of one task, or of a set of contexts."""
    if contexts is None:
        return Evaluator(task, objective, horizon, kwargs)
    return ContextualEvaluator(task, objective, horizon, kwargs, contexts)


class ContextualEvaluator(Evaluator):
    """An evaluator that draws a context for every episode of its environment.

    Args:
        task, objective, horizon: those of an `Evaluator`.
        kwargs: arguments of all contexts; a context's own replace them.
        contexts: the C contexts.

    Attributes:
        members: evaluator of each context.
        features: the features of the contexts.
        feature_rows: standardised features, float32 [C, F].
        best: reward of each context's optimum under its own objective, float64 [C]; 0 where it is not known.
        exact: whether it is known, bool [C].
        current: context of every sub-environment, int64 [num_envs].

    Raises:
        ArchGymError: contexts with different spaces, metrics or kinds of simulators, or an objective without
            logarithms, whose rewards have no common scale.
    """

    contexts: Contexts

    def __init__(
        self,
        task: str | Task,
        objective: ObjectiveSource | None,
        horizon: int | None,
        kwargs: Mapping[str, Any],
        contexts: ContextSource,
    ):
        task = task if isinstance(task, Task) else get_task(task)
        self.given = Contexts.of(restored(contexts), task)
        self.members = [
            Evaluator(task, objective, horizon, {**kwargs, **arguments}) for arguments in self.given.arguments
        ]
        first = self.members[0]
        self.task, self._given_objective = task, objective
        self.kwargs = {name: restored(value) for name, value in kwargs.items()}
        self._set_up(first.simulator, first.objective, horizon)
        if "context" in (*first.simulator.space.names, *self.metric_names):
            raise ArchGymError(
                "expected no parameter or metric called 'context', which is a column of histories with "
                "contexts; rename it"
            )
        for name, member in zip(self.given.names, self.members, strict=True):
            _check_alike(first, member, name)
        found = [context_features(each.simulator, each.objective) for each in self.members]
        given = self.given.constants
        self.features = Features.of(found) if given is None else Features(given)
        self.contexts = replace(self.given, constants=self.features.constants)
        self.feature_rows = np.array([self.features.vector(each) for each in found], np.float32)
        stated = None if kwargs or objective is not None else self.given.optima  # of the defaults alone
        optima = stated or (None,) * len(self.given)
        known = [_best_reward(member, design) for member, design in zip(self.members, optima, strict=True)]
        self.exact = np.array([reward is not None for reward in known])
        self.best = np.array([0.0 if reward is None else reward for reward in known])
        self.ledger = Ledger([member.simulator for member in self.members])
        self.current = np.zeros(1, np.int64)
        self._draws = np.random.default_rng()
        self._shares = None if self.given.weights is None else np.cumsum(self.given.weights)
        self._scales = np.array([member._scale for member in self.members])
        self._first = self.feature_rows.shape[1]
        self.observation_space = Box(-R, R, (self._first + self._width,), np.float32)

    def seed(self, seed: int | None) -> None:
        """Restart the streams of noise and of contexts, where a seed is given."""
        super().seed(seed)
        if seed is not None:
            self._draws = stream(seed, "contexts")

    def begin(
        self, n: int, rows: Array | None = None, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Draw, or take from `options["context"]`, the contexts of episodes that begin."""
        if len(self.current) != n:
            self.current = np.zeros(n, np.int64)
        rows = np.ones(n, bool) if rows is None else rows
        chosen = (options or {}).get("context")
        if chosen is None:
            self.current[rows] = self._drawn(int(rows.sum()))
        else:
            self.current[rows] = np.broadcast_to(self.indices_of(chosen, n), n)[rows]
        return {"context": self.current.copy()}

    def _drawn(self, n: int) -> Indices:
        if self._shares is None:
            return self._draws.integers(len(self.contexts), size=n)
        place = self._draws.random(n) * self._shares[-1]
        return np.minimum(np.searchsorted(self._shares, place, side="right"), len(self._shares) - 1)

    def indices_of(self, chosen: Any, n: int) -> Indices:
        """Positions of contexts, int64 [] or [n], given by position or by name.

        Raises:
            ArchGymError: no such context, or another number of them.
        """
        names = self.contexts.names
        flat = np.asarray(chosen)
        if flat.dtype.kind in "U":
            for name in flat.ravel().tolist():
                if name not in names:
                    raise unknown("context", name, names)
            flat = np.array([names.index(name) for name in flat.ravel().tolist()]).reshape(flat.shape)
        if (
            flat.dtype.kind not in "iu"
            or flat.shape not in ((), (n,))
            or (flat < 0).any()
            or (flat >= len(names)).any()
        ):
            raise ArchGymError(
                f"expected a context as a position in 0..{len(names) - 1} or a name, or {n} of them, got "
                f"{chosen!r}"
            )
        return flat.astype(np.int64)

    def simulator_of(self, row: int) -> Simulator:
        """See `Evaluator`."""
        return self.members[self.current[row]].simulator

    def context_rows(self, n: int) -> Array:
        """See `Evaluator`."""
        return self.feature_rows[self.current]

    def evaluate_one(self, action: Any, remaining: float) -> tuple[Array, dict[str, Any]]:
        """See `Evaluator`."""
        evaluation = self.evaluate(np.asarray(action)[None], 1)
        return self.observe(evaluation, remaining)[0], self.info(evaluation, 0)

    def score(
        self, designs: Any, rng: np.random.Generator | None = None, context: Any = None
    ) -> dict[str, Any]:
        """See `Evaluator`; `context` is the position or name of their context, or one for each design."""
        if context is None:
            raise ArchGymError("expected the context of the designs: score(designs, context=0)")
        rows = len(designs) if np.ndim(designs) else 0
        contexts = np.broadcast_to(self.indices_of(context, rows), rows)
        return self.columns(self._scored(designs, rng, contexts))

    def arguments(self) -> dict[str, Any]:
        """See `Evaluator`."""
        objective = self._given_objective
        return {"objective": objective, "horizon": self.horizon, **self.kwargs, "contexts": self.given}

    def specification(self, contexts: Contexts | None = None) -> dict[str, Any]:
        """See `Evaluator`; the objective only where one was given for all contexts, and the simulators as a
        hash. With `contexts`, some of these by name, that of the environment with them alone.
        """
        contexts = self.given if contexts is None else contexts
        members = [self.members[self.given.names.index(name)] for name in contexts.names]
        simulators = json.dumps([member.simulator.specification for member in members], sort_keys=True)
        digest = hashlib.sha256(simulators.encode()).hexdigest()[:32]
        kwargs, _ = settle(self.kwargs)
        return EnvSpecification(
            self.task.id,
            {**kwargs, "contexts": contexts.to_dict()},
            None if self._given_objective is None else self.objective.to_dict(),
            self.horizon,
            {"contexts": digest},
        ).as_dict

    def remember(self, cache: str | os.PathLike[str]) -> None:
        """Keep every simulated design of all contexts in one file (`Cached`)."""
        for member in self.members:
            member.remember(cache)
        self.simulator = self.members[0].simulator

    def close(self) -> None:
        """Close the simulators."""
        for member in self.members:
            member.close()

    def _contexts_of(self, rows: Array | None) -> Indices:
        return self.current.copy() if rows is None else self.current[rows]

    def _judge(
        self,
        indices: Indices,
        contexts: Indices | None,
        rng: np.random.Generator | None,
        again: bool = False,
    ) -> tuple[Outcome, Rewards, float]:
        assert contexts is not None
        n, seconds = len(indices), 0.0
        failures: dict[int, str] = {}
        values = np.empty((n, len(self.metric_names)))
        feasible, cached, valid = np.zeros((3, n), bool)
        reward = np.empty(n)
        reports_cached = False
        for c, rows in self._groups(contexts):
            outcome, rewards, took = self.members[c]._judge(indices[rows], None, rng, again)
            values[rows], feasible[rows] = outcome.values, outcome.feasible
            valid[rows] = rewards.valid
            reward[rows] = self._on_one_scale(rewards.reward, c)
            if outcome.cached is not None:
                reports_cached, cached[rows] = True, outcome.cached
            failures |= {int(rows[row]): reason for row, reason in outcome.failures.items()}
            seconds += took
        outcome = Outcome(values, feasible, cached if reports_cached else None, failures)
        return outcome, Rewards(reward, valid), seconds

    def _groups(self, contexts: Indices) -> Iterator[tuple[int, Indices]]:
        """Contexts and their rows; with noise, which is drawn row by row, only neighbours are together."""
        order = np.arange(len(contexts)) if self.simulator.stochastic else np.argsort(contexts, kind="stable")
        ordered = contexts[order]
        for rows in np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1):
            yield int(contexts[rows[0]]), rows

    def _on_one_scale(self, reward: Array, context: int) -> Array:
        return np.where(reward >= -R, np.maximum(reward - self.best[context], -R), reward)

    def _references(self, evaluation: Evaluation | Outcome) -> Array:
        return self._scales[self._context_of(evaluation)]

    def observe(self, evaluation: Evaluation | Outcome, remaining: Array | float) -> Array:
        """See `Evaluator`."""
        observation = super().observe(evaluation, remaining)
        observation[:, : self._first] = self.feature_rows[self._context_of(evaluation)]
        return observation

    @staticmethod
    def _context_of(evaluation: Evaluation | Outcome) -> Indices:
        assert isinstance(evaluation, Evaluation) and evaluation.context is not None
        return evaluation.context


def _check_alike(first: Evaluator, other: Evaluator, name: str) -> None:
    """Refuse a context that cannot share an environment with the first one."""
    a, b = first.simulator, other.simulator
    if other.objective.form != "log":
        raise ArchGymError(
            f"expected an objective of form 'log' with contexts, whose rewards have one scale, got "
            f"{other.objective.form!r}; pass objective=..."
        )
    for what, mine, theirs in (
        ("designs", a.space, b.space),
        ("metrics", [m.name for m in a.metrics], [m.name for m in b.metrics]),
        ("noise", (a.deterministic, a.stochastic), (b.deterministic, b.stochastic)),
    ):
        if mine != theirs:
            raise ArchGymError(
                f"expected contexts with the same {what}, got {mine!r} in the first and {theirs!r} in "
                f"{name!r}"
            )


def _best_reward(member: Evaluator, design: Mapping[str, Any] | None) -> float | None:
    """The reward of a task's optimum: of the stated design, else where it is known without search."""
    simulator, objective = member.simulator, member.objective
    if design is not None:
        return _reward_of(member, simulator.space.encode(design)[0])
    if not simulator.deterministic or simulator.stochastic or simulator.counted_elsewhere:
        return None
    known = simulator.optimum(objective)
    if known is None:
        stored = load_optimum(simulator, objective)
        return None if stored is None else stored.best_reward
    return _reward_of(member, known)


def _reward_of(member: Evaluator, indices: Indices) -> float:
    outcome = evaluate_safely(member.simulator, np.asarray(indices, np.int64)[None])
    rewards = member.objective.judge(outcome, member.metric_names)
    if not rewards.valid[0]:
        raise ArchGymError(
            f"expected the optimum of a context to be a valid design, got "
            f"{member.simulator.space.design(indices)}; correct it, or leave it out"
        )
    return float(rewards.reward[0])
