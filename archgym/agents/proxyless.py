"""ProxylessNAS (Cai, Zhu & Han, ICLR 2019; gradients as in mit-han-lab/proxylessnas): gates over two paths.

    w:      one path drawn from p = softmax(alpha), a step on CE(path, training batch)
    alpha:  two operations i, j per edge, drawn from p without replacement; q = p renormalised over them;
            one, drawn from q, has gate 1, the other 0; d_i = dCE/dgate_i on a validation batch

            grad alpha_i = q_i (d_i - q_i d_i - q_j d_j)
            Adam with beta_1 = 0, then alpha_i, alpha_j are shifted so that exp alpha_i + exp alpha_j stays:
            the probabilities of all other operations do not move

    limit:  + pressure log(E[F] / F_uniform),  E[F] = sum_e sum_o p[e, o] F[e, o]
            grad alpha_i += pressure (p_i + p_j) q_i (F_i - q_i F_i - q_j F_j) / E[F]

Alpha rests for the first fifth of training, then moves every second step. Where the paper's code leaves alpha
without a gradient if the active operation has no weights, the two gates always have one.

Good for: cells with few reference samples to spend, and a preference for cheap or fast ones.
"""

from __future__ import annotations

import numpy as np

from archgym.agents._one_shot import (
    OneShotAgent,
    Weights,
    log_softmax,
    most_probable,
    one_shot_hyperparameters,
)
from archgym.agents._paths import draw, learn, training_cost
from archgym.shared import SharedTask
from archgym.space import Array, Categorical, DesignSpace, Indices, Real

REST, EVERY = 0.2, 2  # share of training before alpha moves; steps between its moves
DRIFT = 0.1  # of paths towards the largest operations, measured on cells: `mean_path_cost`
BETAS = (0.0, 0.999)  # without momentum: an operation that is not drawn stands still


class Proxyless(OneShotAgent):
    """Single paths from a learned distribution, two per edge to learn it; needs `archgym[nas]` (PyTorch).

    Args:
        finalists: proposals that a share of the cost budget is kept for.
        epochs: length of training, epochs; less where the cost budget pays less.
        fresh: new noise for the images of each epoch, in place of a few fixed images.
        rate: learning rate of alpha.
        limit_on: metric of an operation that the loss holds down: "macs", "latency_s" (s), or "none".
        pressure: weight of the log of that metric's expectation.

    Example:
        >>> archgym.search("archgym/NasCell-v0", "proxyless", budget=10)  # doctest: +SKIP

    Raises:
        ArchGymError: the environment has no such metric of operations (when a search starts).
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            *one_shot_hyperparameters(epochs=50),
            Real("rate", 0.0003, 0.1, log=True, default=0.01),
            Categorical("limit_on", ["none", "macs", "latency_s"], default="none"),
            Real("pressure", 0.01, 10.0, log=True, default=0.1),
        ]
    )

    def expected_cost(self, task: SharedTask, steps: int) -> float:
        return training_cost(task, steps + 2 * (1 - REST) * steps / EVERY, DRIFT)

    def train(self, task: SharedTask, *, steps: int, rng: np.random.Generator) -> None:
        import torch

        weights, allowed = Weights(task.parameters(), steps), task.allowed
        self.alpha = torch.zeros(allowed.shape, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.alpha], self.rate, betas=BETAS)
        self.costs = None if self.limit_on == "none" else task.cost_of_operations(self.limit_on)
        for step in range(steps):
            if step >= REST * steps and step % EVERY == 0:
                self.move_alpha(task, rng)
            learn(task, weights, draw(log_softmax(self.alpha, allowed), 1, rng)[0])

    def propose(self, task: SharedTask, k: int, rng: np.random.Generator) -> Indices:
        return most_probable(log_softmax(self.alpha, task.allowed), k, task)

    def move_alpha(self, task: SharedTask, rng: np.random.Generator) -> None:
        """Take a step of alpha, with two operations of every edge, or one where it has no other."""
        import torch

        log_p = log_softmax(self.alpha, task.allowed)
        noisy = log_p + rng.gumbel(size=log_p.shape)
        pair = np.zeros(log_p.shape, bool)
        np.put_along_axis(pair, np.argsort(-noisy, axis=1)[:, :2], True, axis=1)
        pair &= task.allowed  # an edge may have one operation only
        active = np.where(pair, log_p + rng.gumbel(size=log_p.shape), -np.inf).argmax(axis=1)

        gradient = pair_gradient(log_p, pair, self.gate_gradient(task, pair, active))
        if self.costs is not None:
            gradient += self.pressure * limit_gradient(log_p, pair, self.costs)
        drawn = torch.as_tensor(pair)
        with torch.no_grad():
            before = self.alpha.masked_fill(~drawn, -torch.inf).logsumexp(dim=1, keepdim=True)
            self.alpha.grad = torch.as_tensor(gradient)
            self.optimizer.step()
            after = self.alpha.masked_fill(~drawn, -torch.inf).logsumexp(dim=1, keepdim=True)
            self.alpha.add_(torch.where(drawn, before - after, 0.0))

    def gate_gradient(self, task: SharedTask, pair: Array, active: Indices) -> Array:
        """dCE/dgate of each operation in pairs [P, n], the active ones [P] at 1 and the others at 0;
        0 outside pairs.
        """
        import torch
        from torch.nn.functional import cross_entropy

        images, labels = task.valid_batch()
        gates = torch.zeros(pair.shape, dtype=images.dtype)
        gates[range(len(active)), active] = 1
        gates.requires_grad_()
        loss = cross_entropy(task.mixture(images, gates, kept=pair), labels)
        (found,) = torch.autograd.grad(loss, gates, allow_unused=True)
        return np.zeros(pair.shape) if found is None else np.where(pair, found.double().numpy(), 0.0)


def pair_gradient(log_p: Array, pair: Array, gates: Array) -> Array:
    """q (d - sum q d) over the pairs, [P, n].

    Args:
        log_p: log-probability of each operation, [P, n].
        pair: operations drawn, bool [P, n].
        gates: d, gradients of the gates, [P, n].
    """
    q = np.where(pair, np.exp(log_p), 0.0)
    q /= q.sum(axis=1, keepdims=True)
    return np.asarray(q * (gates - (q * gates).sum(axis=1, keepdims=True)))


def limit_gradient(log_p: Array, pair: Array, costs: Array) -> Array:
    """Gradient of log E[F] for moves within pairs that keep their mass, [P, n]; 0 where E[F] is.

    Args:
        log_p: log-probability of each operation, [P, n].
        pair: operations drawn, bool [P, n].
        costs: F, cost of each operation, [P, n].
    """
    p = np.exp(log_p)
    mass, expected = np.where(pair, p, 0.0).sum(axis=1, keepdims=True), (p * costs).sum()
    return mass * pair_gradient(log_p, pair, costs) / expected if expected > 0 else np.zeros(p.shape)
