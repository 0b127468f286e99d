"""One-shot agents: train weights that all designs share, then ask for the designs they believe in.

    env.shared(seed) -> train(task, steps) -> propose(task, k) -> step the proposals, best first
       charged in multiply-adds, pass by pass      |             charged as any sample

Under a cost budget a share is kept for the finalists: `finalists` reference samples, but at most half the
budget. Training takes the steps that the rest pays, at most `epochs`. All that is left goes to further
proposals, in order. Without a cost budget training takes `epochs` and is only counted.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.agents._torch import alone_with_torch
from archgym.errors import BudgetExhausted, MissingDependency
from archgym.evaluator import Evaluator
from archgym.infos import core
from archgym.seeding import integer_seed, stream
from archgym.shared import SharedTask
from archgym.shared.weights import Weights as Weights
from archgym.space import Array, Categorical, Indices, Integer, Parameter

if TYPE_CHECKING:
    from torch import Tensor

MOST_PROPOSALS = 4096


def one_shot_hyperparameters(epochs: int, finalists: int = 10) -> list[Parameter]:
    """The hyperparameters that all one-shot agents have.

    Args:
        epochs: default length of training, epochs.
        finalists: default number of proposals that a share of the budget is kept for.
    """
    return [
        Integer("finalists", 1, 64, default=finalists),
        Integer("epochs", 1, 1000, default=epochs),
        Categorical("fresh", [True, False], default=True),
    ]


class OneShotAgent(Agent):
    """An agent that trains shared weights; subclasses define `expected_cost`, `train` and `propose`.

    Class attributes:
        partial: share of the channels that operations see, 1 / partial.
        ranks_fewer: `propose` ranks fewer designs where the budget does not pay all estimates; training then
            keeps half of what is left beside the finalists.

    Attributes:
        task: the shared weights of the last search, trained.
    """

    partial: ClassVar[int] = 1
    ranks_fewer: ClassVar[bool] = False
    task: SharedTask

    @abstractmethod
    def expected_cost(self, task: SharedTask, steps: int) -> float:
        """Multiply-adds of `steps` training steps and of what `propose` estimates, linear in `steps`."""

    @abstractmethod
    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        """Train the shared weights, and what chooses designs, for `steps` steps; schedules run over them.

        `BudgetExhausted` may be passed on: the search goes on with what was trained.
        """

    @abstractmethod
    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        """At most k designs, best first, distinct and within the limits (`task.valid`): int64 [m, P]."""

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingDependency(
                f'the agent {type(self).__name__} trains networks with PyTorch: pip install "archgym[nas]"'
            ) from error
        self.adapt(budget)
        environment, rng = core(env), stream(seed, "agent")
        env.reset(seed=seed)
        with alone_with_torch(), suppress(BudgetExhausted):
            self.task = task = environment.shared(
                integer_seed(seed, "agent"), fresh=self.fresh, partial=self.partial
            )
            steps = self._steps(task, environment.evaluator)
            with suppress(BudgetExhausted):
                self.train(task, steps=steps, rng=rng)
            task.meter.limit = self._estimates_end
            designs = self._proposals(task, budget, rng)
            task.meter.limit = np.inf
            canonical = environment.simulator.canonical
            self._step_all(env, _distinct(designs, canonical(designs)), rng)

    def _steps(self, task: SharedTask, evaluator: Evaluator) -> int:
        """Training steps that the budget pays beside the finalists; sets the meter's limit."""
        steps, ledger = self.epochs * task.batches, evaluator.ledger
        self._estimates_end = np.inf
        if ledger.cost_budget is None:
            return steps
        kept = min(self.finalists * evaluator.reference_cost, ledger.cost_budget / 2)
        spare, estimates = ledger.cost_budget - kept, self.expected_cost(task, 0)
        fewer = self.ranks_fewer and estimates > spare / 2
        task.meter.limit = spare - (spare / 2 if fewer else estimates)
        # designs are not equally large: estimates may take half the finalists' share if they must, but leave
        # one reference sample, and all of the share where fewer designs are ranked anyway
        left = kept if fewer else max(kept / 2, min(kept, evaluator.reference_cost))
        self._estimates_end = ledger.cost_budget - left
        per_step = (self.expected_cost(task, steps) - estimates) / steps
        return int(min(steps, max(1, (task.meter.limit - task.meter.cost) / per_step)))

    def _proposals(self, task: SharedTask, budget: int, rng: np.random.Generator) -> Indices:
        k = int(min(max(budget, self.finalists), task.space.size, MOST_PROPOSALS))
        try:
            return self.propose(task, k, rng)
        except BudgetExhausted:
            return np.empty((0, len(task.space)), np.int64)

    def _step_all(self, env: VectorEnv, designs: Indices, rng: np.random.Generator) -> None:
        """Evaluate the proposals that the budget pays, in order, then random designs, until it is spent."""
        environment, width = core(env), env.num_envs
        simulator, ledger = environment.simulator, environment.evaluator.ledger
        while True:
            if ledger.cost_budget is not None:
                designs = designs[simulator.cost_of(designs) <= ledger.cost_budget - ledger.cost]
            batch, designs = designs[:width], designs[width:]
            env.step(np.concatenate([batch, simulator.space.sample(width - len(batch), rng)]))


def _distinct(designs: Indices, canonical: Indices) -> Indices:
    """The first design of each meaning, in order."""
    if not len(designs):
        return designs
    _, first = np.unique(canonical, axis=0, return_index=True)
    return designs[np.sort(first)]


def most_probable(log_p: Array, k: int, task: SharedTask) -> Indices:
    """The k most probable valid designs under a product of categoricals, best first: int64 [m, P].

    Args:
        log_p: log-probability of each value of each parameter, [P, n]; -inf for values left out.
        k: number of designs.

    Best-first search over the ranks of each parameter's values; every design is met at most once.
    """
    order = np.argsort(-log_p, axis=1, kind="stable")
    ranked = np.take_along_axis(log_p, order, axis=1)
    values = np.isfinite(ranked).sum(axis=1)
    best = tuple([0] * len(ranked))
    heap = [(-ranked[:, 0].sum(), best, 0)]
    found: list[Indices] = []
    while heap and len(found) < k:
        cost, ranks, first = heapq.heappop(heap)
        design = order[np.arange(len(order)), list(ranks)]
        if task.valid(design[None])[0]:
            found.append(design)
        for p in range(first, len(ranks)):  # raising only later parameters, so that no design comes twice
            if ranks[p] + 1 < values[p]:
                step = ranked[p, ranks[p]] - ranked[p, ranks[p] + 1]
                heapq.heappush(heap, (cost + step, (*ranks[:p], ranks[p] + 1, *ranks[p + 1 :]), p))
    return np.array(found, np.int64).reshape(-1, len(order))


def log_softmax(alpha: Tensor, allowed: Array) -> Array:
    """log softmax over the allowed operations, float64 [P, n]; -inf for others."""
    import torch

    masked = alpha.detach().double().masked_fill(~torch.as_tensor(allowed), -torch.inf)
    return np.asarray(masked.log_softmax(dim=1).numpy())
