"""Independent PPO (de Witt et al., 2020): one learner per parameter or group of parameters, all on one reward.

Learner g has an actor pi_g(a_g | o) and a critic V_g(o) of its own, and treats the others as part of the environment:

    rho_g = pi_g(a_g | o) / pi_g,old(a_g | o)                          A_g: generalised advantages under V_g, normalised
    L_g   = - E[min(rho_g A_g, clip(rho_g, 1 - eps, 1 + eps) A_g)] + E[(R_g - V_g(o))^2] / 2 - c H(pi_g)

The agent `ppo` clips the one ratio of the whole design, prod_g rho_g, under one critic. Learners share only the observation and the reward
of the environment. Their networks are stacked in common tensors, whose first dimension is the learner.

Good for: the question whether parameters can learn on their own: compare it with `ppo`, which is equal in everything else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.agents._designs import check_choices, check_listable
from archgym.agents._torch import alone_with_torch, require
from archgym.agents.ppo import PPO, rollout
from archgym.errors import BudgetExhausted
from archgym.infos import core
from archgym.seeding import integer_seed
from archgym.space import DesignSpace, Indices, Ordinal

if TYPE_CHECKING:
    import torch

HIDDEN = 32  # units of both hidden layers, as in `ppo`
GAE_LAMBDA = 0.95
MAX_GRADIENT_NORM = 0.5  # of each learner


class Step(NamedTuple):
    """One step of B environments, for G learners of K parameters each that observe D numbers.

    Attributes:
        obs: observations, float32 [B, D].
        actions: indices of the chosen values, int64 [G, B, K].
        logprobs: log pi_g of the actions, float32 [G, B].
        values: V_g of the observations, float32 [G, B].
        rewards: float32 [B].
        dones: whether the episode ended, bool [B].
    """

    obs: torch.Tensor
    actions: torch.Tensor
    logprobs: torch.Tensor
    values: torch.Tensor
    rewards: torch.Tensor
    dones: torch.Tensor


class Rollout(NamedTuple):
    """N designs of several steps, as tensors of `Step` with N in the place of B.

    Attributes:
        advantages, returns: generalised advantages and returns under V_g, float32 [G, N].
    """

    obs: torch.Tensor
    actions: torch.Tensor
    logprobs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor

    def part(self, rows: torch.Tensor) -> Rollout:
        """The designs of these rows."""
        return Rollout(self.obs[rows], *(tensor[:, rows] for tensor in self[1:]))


class IndependentPPO(Agent):
    """Proximal policy optimisation by a learner per parameter; needs `archgym[rl]`.

    Args:
        group: parameters per learner, in the order of the space.
        num_envs: designs per step.
        n_steps: steps per update, reduced so that the budget has at least eight updates, raised to at least 8 designs.
        minibatches: parts of a rollout per epoch, reduced to at least 8 designs each.
        epochs: passes over a rollout.
        learning_rate: learning rate of Adam.
        entropy: weight of the entropy bonus; more explores longer.
        clip: largest change of a learner's probability ratio from 1 in one update.
        gamma: discount between the designs of an episode (without effect at horizon 1).

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).

    Example: `archgym.search("archgym/NKLandscape-v0", "independent_ppo", budget=2000)`
    """

    version = 1
    batch_hyperparameter = "num_envs"
    hyperparameters = DesignSpace([Ordinal("group", [1, 2, 4, 8, 16], default=1), *PPO.hyperparameters])

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        require(self, "torch", "PyTorch", "rl")
        import torch

        space = core(env).simulator.space
        check_choices(self, space)
        check_listable(self, space)
        with alone_with_torch(), suppress(BudgetExhausted):
            torch.manual_seed(integer_seed(seed, "agent"))
            self._learn(env, budget, seed)

    def _learn(self, env: VectorEnv, budget: int, seed: int) -> None:
        import torch

        n_steps, n_parts = rollout(self.n_steps, self.minibatches, env.num_envs, budget)
        learners = Learners(env.single_action_space.nvec, int(self.group), env.single_observation_space.shape[0])  # type: ignore[attr-defined,index]
        optimizer = torch.optim.Adam(learners.parameters, lr=self.learning_rate, eps=1e-5, fused=True)
        obs = torch.as_tensor(env.reset(seed=seed)[0])
        while True:
            steps: list[Step] = []
            with torch.no_grad():
                for _ in range(n_steps):
                    step, obs = self._step(env, learners, obs)
                    steps.append(step)
                batch = self._rollout(steps, learners.values(obs))
            for _ in range(self.epochs):
                for rows in torch.randperm(len(batch.obs)).chunk(n_parts):
                    loss = self._loss(learners, batch.part(rows))
                    optimizer.zero_grad()
                    loss.backward()
                    learners.limit_gradients(MAX_GRADIENT_NORM)
                    optimizer.step()

    def _step(self, env: VectorEnv, learners: Learners, obs: torch.Tensor) -> tuple[Step, torch.Tensor]:
        """One step of the environment, and the observations [B, D] after it."""
        import torch

        log_p = learners.log_policy(obs)
        actions = learners.sample(log_p)
        next_obs, rewards, terminated, truncated, _ = env.step(learners.designs(actions))
        dones = torch.as_tensor(terminated | truncated)
        reward = torch.as_tensor(rewards, dtype=torch.float32)
        step = Step(obs, actions, learners.log_prob(log_p, actions), learners.values(obs), reward, dones)
        return step, torch.as_tensor(next_obs)

    def _rollout(self, steps: list[Step], next_values: torch.Tensor) -> Rollout:
        """Steps as one batch with advantages and returns; the value after the last design of an episode is 0."""
        import torch

        advantage = torch.zeros_like(next_values)  # [G, B]
        advantages: list[torch.Tensor] = []
        for step in reversed(steps):
            error = step.rewards + self.gamma * next_values * ~step.dones - step.values
            advantage = error + self.gamma * GAE_LAMBDA * advantage * ~step.dones
            advantages.insert(0, advantage)
            next_values = step.values
        stacked = torch.cat(advantages, dim=1)
        return Rollout(
            obs=torch.cat([step.obs for step in steps]),
            actions=torch.cat([step.actions for step in steps], dim=1),
            logprobs=torch.cat([step.logprobs for step in steps], dim=1),
            advantages=stacked,
            returns=stacked + torch.cat([step.values for step in steps], dim=1),
        )

    def _loss(self, learners: Learners, batch: Rollout) -> torch.Tensor:
        """The sum of the learners' losses, which have no parameter in common."""
        import torch

        advantages = batch.advantages
        advantages = (advantages - advantages.mean(1, keepdim=True)) / (advantages.std(1, keepdim=True) + 1e-8)
        log_p = learners.log_policy(batch.obs)
        ratio = torch.exp(learners.log_prob(log_p, batch.actions) - batch.logprobs)
        clipped = torch.clamp(ratio, 1 - self.clip, 1 + self.clip)
        policy = -torch.minimum(ratio * advantages, clipped * advantages).mean(1)
        value = (batch.returns - learners.values(batch.obs)).pow(2).mean(1) / 2
        entropy = -(log_p.exp() * log_p).sum(dim=(2, 3)).mean(1)
        return (policy + value - self.entropy * entropy).sum()


class Learners:
    """Actors and critics of G learners with at most K parameters of at most n values each, D numbers observed.

    Args:
        nvec: number of values of each parameter.
        group: parameters per learner, K.
        observed: numbers observed, D.
    """

    def __init__(self, nvec: Indices, group: int, observed: int):
        import torch

        learners = -(-len(nvec) // group)
        sizes = np.ones(learners * group, np.int64)  # the last learner is padded with parameters of one value
        sizes[: len(nvec)] = nvec
        self.n_parameters = len(nvec)
        self.shape = learners, group, int(sizes.max())
        exists = torch.arange(self.shape[2]) < torch.as_tensor(sizes)[:, None]
        self.never = torch.where(exists, 0.0, -1e9).view(learners, 1, group, -1)  # added to the logits of values that do not exist
        widths = (observed, HIDDEN, HIDDEN)
        self.actor = _network(learners, (*widths, group * self.shape[2]), last_gain=0.01)
        self.critic = _network(learners, (*widths, 1), last_gain=1.0)
        self.parameters = [parameter for layer in (*self.actor, *self.critic) for parameter in layer]

    def log_policy(self, observations: torch.Tensor) -> torch.Tensor:
        """Observations [B, D] -> log pi_g [G, B, K, n]."""
        learners, group, largest = self.shape
        logits = _through(self.actor, observations).view(learners, -1, group, largest)
        return (logits + self.never).log_softmax(3)

    def values(self, observations: torch.Tensor) -> torch.Tensor:
        """Observations [B, D] -> V_g [G, B]."""
        return _through(self.critic, observations).squeeze(2)

    def sample(self, log_p: torch.Tensor) -> torch.Tensor:
        """log pi_g [G, B, K, n] -> actions [G, B, K]."""
        import torch

        return torch.multinomial(log_p.exp().flatten(0, 2), 1).view(log_p.shape[:3])

    def log_prob(self, log_p: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """log pi_g [G, B, K, n], actions [G, B, K] -> log pi_g(a_g) [G, B]."""
        return log_p.gather(3, actions[..., None]).sum(dim=(2, 3))

    def designs(self, actions: torch.Tensor) -> Indices:
        """Actions [G, B, K] -> index rows [B, P]."""
        return actions.transpose(0, 1).flatten(1)[:, : self.n_parameters].numpy()

    def limit_gradients(self, max_norm: float) -> None:
        """Scale each learner's gradient down to a norm of at most `max_norm`."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = sum(g.pow(2).sum(dim=(1, 2)) for g in gradients).sqrt()  # type: ignore[union-attr]
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale[:, None, None])


Network = list[tuple["torch.Tensor", "torch.Tensor"]]  # weights [G, in, out] and biases [G, 1, out]


def _network(learners: int, widths: tuple[int, ...], last_gain: float) -> Network:
    """Layers with orthogonal weights, each learner's drawn on its own."""
    import torch

    gains = [2**0.5] * (len(widths) - 2) + [last_gain]
    layers: Network = []
    for n_in, n_out, gain in zip(widths[:-1], widths[1:], gains, strict=True):
        weights = torch.stack([torch.nn.init.orthogonal_(torch.empty(n_out, n_in), gain).T for _ in range(learners)])
        layers.append((weights.contiguous().requires_grad_(), torch.zeros(learners, 1, n_out, requires_grad=True)))
    return layers


def _through(network: Network, observations: torch.Tensor) -> torch.Tensor:
    """Observations [B, D] -> outputs [G, B, out], tanh between the layers."""
    import torch

    x = observations.expand(len(network[0][0]), *observations.shape)
    for weights, biases in network[:-1]:
        x = torch.tanh(torch.baddbmm(biases, x, weights))
    weights, biases = network[-1]
    return torch.baddbmm(biases, x, weights)
