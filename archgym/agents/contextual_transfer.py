"""Transfer between searches: what the searches of similar contexts found good is proposed first (Feurer,
Springenberg & Hutter, 2015; weights by similarity as in Wistuba, Schilling & Schmidt-Thieme, 2016).

    run c      = a search of context c by tpe or bo, with budget / C samples
    share_c(d) = exp(r_c(d) - the best r_c of the run) of a valid design of run c, else 0
    score(d)   = sum_c w_c share_c(d),     w_c = exp(-|f - f_c|^2 / 2 l^2)       f, f_c: features
    l          = the length, of some multiples of the median distance to the nearest context, with the largest
                 mean over c of share_c(d), d the design of run c with the largest score of the other runs

The policy proposes designs by falling score: `archgym.search(env, "bo", start=policy)` starts from its first
five, and goes on from there.

Good for: tens of samples per context, and a first guess for searches of tasks that resemble earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent, AskTellAgent
from archgym.agents.bo import BayesianOptimization
from archgym.agents.tpe import TPE
from archgym.contexts.policy import Policy
from archgym.errors import BudgetExhausted
from archgym.infos import core, finished
from archgym.seeding import stream
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer
from archgym.task import EnvSpecification

SEARCHERS: dict[str, type[AskTellAgent]] = {"tpe": TPE, "bo": BayesianOptimization}
CANDIDATES = 64  # best designs of each run that may be proposed
MULTIPLES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)  # lengths to choose among


class TransferPolicy(Policy):
    """Proposes what runs in similar contexts found good.

    Args:
        env, space: as of `Policy`.
        features: features of the contexts, float32 [C, F].
        designs: distinct designs, int64 [D, P].
        shares: share of each design in each context, 0 where the run has not sampled it, float32 [C, D].
        length: l.
    """

    def __init__(
        self,
        env: EnvSpecification,
        space: DesignSpace,
        *,
        features: Array,
        designs: Indices,
        shares: Array,
        length: Array,
    ):
        super().__init__(env, space)
        self.learned = {"features": features, "designs": designs, "shares": shares, "length": length}

    def rank(self, features: Array, n: int) -> Indices:
        known, designs, shares, length = self.learned.values()
        scores = similarities(features[None], known, float(length))[0] @ shares
        ranked = designs[np.argsort(-scores, kind="stable")[:n]]
        if len(ranked) == n:
            return ranked
        others = next(self.space.enumerate(n + len(ranked)))  # of which n or more are new
        together = np.concatenate([ranked, others])
        first = np.unique(together, axis=0, return_index=True)[1]
        return together[np.sort(first)[:n]]

    def arrays(self) -> dict[str, Array]:
        return self.learned

    @classmethod
    def from_arrays(cls, env: EnvSpecification, space: DesignSpace, arrays: Mapping[str, Array]) -> Self:
        return cls(env, space, **arrays)


class ContextualTransfer(Agent):
    """Searches one context after the other; its policy lets their designs vote.

    Args:
        searcher: agent that searches each context, "tpe" or "bo".
        block: contexts that are searched side by side (the environment's width).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "contextual_transfer", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "block"
    policy_class = TransferPolicy
    policy: TransferPolicy | None = None
    hyperparameters = DesignSpace(
        [Categorical("searcher", ["tpe", "bo"], default="tpe"), Integer("block", 1, 256, default=8)]
    )

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        evaluator = core(env).evaluator
        several = evaluator.contexts is not None
        tasks = evaluator.members if several else [evaluator]
        counts = budget // len(tasks) + (np.arange(len(tasks)) < budget % len(tasks))
        rngs = stream(seed, "agent").spawn(len(tasks))
        runs: dict[int, AskTellAgent] = {}
        told: list[tuple[Array, ...]] = []
        self.policy = None
        env.reset(seed=seed)
        with suppress(BudgetExhausted):
            for contexts in turns(counts, env.num_envs):
                if several:
                    env.reset(options={"context": contexts})
                present = np.unique(contexts).tolist()
                runs = {  # a context that is absent is finished
                    c: runs.get(c) or self._run(tasks[c], int(counts[c]), rngs[c]) for c in present
                }
                rows = {c: np.flatnonzero(contexts == c) for c in present}
                indices = np.empty((env.num_envs, len(evaluator.simulator.space)), np.int64)
                for c, own in rows.items():
                    indices[own] = runs[c].ask(len(own))
                indices = evaluator.simulator.space.canonical(indices)
                *_, info = env.step(indices)
                done = finished(info)
                for c, own in rows.items():
                    metrics = {m.name: done["metrics"][m.name][own] for m in runs[c].metrics}
                    columns = done["reward"], done["feasible"], done["valid"]
                    reward, feasible, valid = (column[own] for column in columns)
                    runs[c].receive(indices[own], reward, metrics, feasible, valid)
                told.append((contexts, indices, done["reward"], done["valid"]))
        if several:
            self.policy = self._policy(evaluator, told)

    def _run(self, task: Any, budget: int, rng: np.random.Generator) -> AskTellAgent:
        """An agent that begins to search a task."""
        agent = SEARCHERS[self.searcher]()
        agent.objective, agent.canonical = task.objective, task.simulator.canonical
        agent.metrics = tuple(m for m in task.simulator.metrics if not m.report_only)
        agent.adapt(budget)
        agent.start(task.simulator.space, budget=budget, rng=rng)
        return agent

    def _policy(self, evaluator: Any, told: list[tuple[Array, ...]]) -> TransferPolicy:
        """What was learned from steps of contexts [B], designs [B, P], rewards [B] and valid [B]."""
        parameters = len(evaluator.simulator.space)
        nothing = np.empty(0, int), np.empty((0, parameters), int), np.empty(0), np.empty(0, bool)
        contexts, *columns = map(np.concatenate, zip(nothing, *told, strict=True))
        meanings = [member.simulator.canonical for member in evaluator.members]
        runs = [
            _shares(meaning, *(column[contexts == c] for column in columns))
            for c, meaning in enumerate(meanings)
        ]
        best = [designs[np.argsort(-shares, kind="stable")] for designs, shares in runs]
        valid = [np.count_nonzero(shares) for _, shares in runs]
        good = [designs[: min(CANDIDATES, count)] for designs, count in zip(best, valid, strict=True)]
        candidates = np.unique(np.concatenate(good), axis=0)
        shares = np.stack([_found(m(candidates), *run) for m, run in zip(meanings, runs, strict=True)])
        return TransferPolicy(
            *TransferPolicy.describes(evaluator),
            features=evaluator.feature_rows,
            designs=candidates,
            shares=np.nan_to_num(shares).astype(np.float32),
            length=np.array(best_length(evaluator.feature_rows, shares)),
        )


def turns(counts: Indices, width: int) -> Indices:
    """The contexts of every step, int64 [T, width], for `counts` [C] samples of each: blocks of `width`
    contexts, one block after the other, take turns. The last step is filled up with its last context.
    """
    contexts = np.repeat(np.arange(len(counts)), counts)
    turn = np.concatenate([np.arange(count) for count in counts.tolist()])
    order = contexts[np.lexsort((contexts, turn, contexts // width))]
    return np.pad(order, (0, -len(order) % width), mode="edge").reshape(-1, width)


def similarities(new: Array, known: Array, length: float) -> Array:
    """w of contexts with features [C, F] for new ones [N, F], the largest of each 1: float64 [N, C]."""
    squared = ((new[:, None].astype(float) - known) ** 2).sum(axis=2)
    return np.asarray(np.exp((squared.min(axis=1, keepdims=True) - squared) / (2 * length**2)))


def best_length(features: Array, shares: Array) -> float:
    """The length l for contexts with features [C, F] and shares [C, D], NaN where a run lacks a design."""
    if len(features) == 1 or not shares.size:
        return 1.0
    distances = np.sqrt(((features[:, None].astype(float) - features) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    lengths = np.array(MULTIPLES) * (np.median(distances.min(axis=1)) or 1.0)
    merits = []
    for length in lengths:
        weights = np.exp((distances.min(axis=1, keepdims=True) ** 2 - distances**2) / (2 * length**2))
        scores = weights @ np.nan_to_num(shares)
        chosen = np.where(np.isnan(shares), -1.0, scores).argmax(axis=1)
        merits.append(np.nan_to_num(shares[np.arange(len(shares)), chosen]).mean())
    return float(lengths[np.argmax(merits)])


def _shares(
    meaning: Callable[[Indices], Indices], designs: Indices, rewards: Array, valid: Array
) -> tuple[Indices, Array]:
    """The designs of a run that differ in meaning [N, P], and their shares [N]."""
    distinct, first = np.unique(meaning(designs), axis=0, return_index=True)
    rewards, valid = rewards[first], valid[first]
    best = rewards[valid].max(initial=-np.inf)
    return distinct, np.where(valid, np.exp(np.minimum(rewards - best, 0.0)), 0.0)


def _found(wanted: Indices, designs: Indices, shares: Array) -> Array:
    """Shares [W] of wanted designs [W, P] among distinct designs [N, P] with shares [N], or NaN."""
    distinct, where = np.unique(np.concatenate([designs, wanted]), axis=0, return_inverse=True)
    where = where.reshape(-1)
    column = np.full(len(distinct), np.nan)
    column[where[: len(designs)]] = shares
    return column[where[len(designs) :]]
