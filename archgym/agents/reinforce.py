"""REINFORCE (Williams, 1992) on a product of categorical distributions, one per parameter.

    pi_p(v) = softmax(theta_p)_v                                  a design is drawn parameter by parameter,
                                                                  independently
    A       = (r - b) / sigma                                     b: running mean of the rewards, sigma: their
                                                                  spread in the batch
    theta_p(v) <- theta_p(v) + rate * mean[A (1{v chosen} - pi_p(v))] - rate * entropy * pi_p(v) (log pi_p(v)
    + H_p)

The last term is the gradient of the entropy H_p = -sum_v pi_p(v) log pi_p(v) (Williams & Peng, 1991), which
slows convergence; a logit stays within `span` of its parameter's largest, so that every value keeps a
probability: pi_p(v) >= exp(-span) / n_p.

Good for: many cheap samples in large batches, and as the simplest policy gradient to compare others with.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import Generation, check_listable, draw
from archgym.space import Array, DesignSpace, Indices, Integer, Real


class Reinforce(AskTellAgent):
    """Policy gradient with a baseline and an entropy bonus.

    Args:
        batch: designs per update (the environment's width).
        rate: learning rate of the logits.
        entropy: weight of the entropy bonus, in units of the advantage.
        span: largest difference between two logits of a parameter.
        memory: share of the old baseline kept per update; 0 is the batch's own mean.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "reinforce", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "batch"
    hyperparameters = DesignSpace(
        [
            Integer("batch", 2, 256, default=16),
            Real("rate", 0.001, 10.0, log=True, default=1.0),
            Real("entropy", 0.0001, 1.0, log=True, default=0.2),
            Real("span", 1.0, 20.0, default=5.0),
            Real("memory", 0.0, 0.99, default=0.5),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        check_listable(self, space)
        self.space, self.nvec, self.rng = space, space.nvec, rng
        self.first = np.cumsum(space.nvec) - space.nvec  # where each parameter's logits begin
        self.parameter = np.repeat(np.arange(len(space)), space.nvec)
        self.logits = np.zeros(len(self.parameter))
        self.baseline: float | None = None
        self.update = Generation(self.batch)

    @property
    def log_policy(self) -> Array:
        """log pi_p(v) of every value of every parameter, end to end: [sum(nvec)]."""
        return self.logits - np.log(np.bincount(self.parameter, np.exp(self.logits)))[self.parameter]

    def ask(self, n: int) -> Indices:
        return draw(np.exp(self.log_policy), self.nvec, n, self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if (complete := self.update.collect(indices, rewards, feasible)) is None:
            return
        designs, rewards, feasible = complete
        # infeasible designs get the worst feasible reward, so that they do not dominate the gradient
        if feasible.any():
            self._ascend(designs, np.where(feasible, rewards, rewards[feasible].min()))

    def _ascend(self, designs: Indices, rewards: Array) -> None:
        mean, spread = rewards.mean(), rewards.std()
        self.baseline = (
            mean if self.baseline is None else self.memory * self.baseline + (1 - self.memory) * mean
        )
        advantage = (rewards - self.baseline) / (spread or 1.0)
        log_policy = self.log_policy
        policy = np.exp(log_policy)
        weights = advantage[:, None] * self.space.active(designs)  # inactive parameters have no gradient
        chosen = np.bincount((designs + self.first).ravel(), weights.ravel(), len(policy)) / len(designs)
        mean_weight = weights.mean(axis=0)[self.parameter] if self.space.conditional else advantage.mean()
        information = np.bincount(self.parameter, policy * log_policy)[self.parameter]  # -H_p
        gradient = chosen - policy * mean_weight - self.entropy * policy * (log_policy - information)
        # a wider environment makes fewer, larger updates
        self.logits += self.rate * len(designs) / self.batch * gradient
        largest = np.full(len(self.nvec), -np.inf)
        np.maximum.at(largest, self.parameter, self.logits)
        self.logits = np.maximum(self.logits - largest[self.parameter], -self.span)
