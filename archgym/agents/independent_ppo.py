"""Independent PPO (de Witt et al., 2020): one learner per parameter or group of parameters, all on one
reward.

Learner g has an actor pi_g(a_g | o) and a critic V_g(o); the other learners are part of its environment:

    rho_g = pi_g(a_g | o) / pi_g,old(a_g | o)                          A_g: generalised advantages under V_g,
                                                                       normalised
    L_g   = - E[min(rho_g A_g, clip(rho_g, 1 - eps, 1 + eps) A_g)] + E[(R_g - V_g(o))^2] / 2 - c H(pi_g)

The agent `ppo` clips the one ratio of the whole design, prod_g rho_g, under one critic. Learners share the
observation and the reward of the environment, and nothing else. Their networks are common tensors whose first
dimension is the learner.

Good for: the question whether parameters can learn on their own; all else is as in `ppo`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import Agent
from archgym.agents._designs import space_to_learn
from archgym.agents._torch import alone_with_torch
from archgym.agents.ppo import rollout
from archgym.errors import BudgetExhausted, MissingDependency
from archgym.infos import core
from archgym.seeding import integer_seed
from archgym.space import Array, DesignSpace, Indices, Integer, Ordinal, Real

if TYPE_CHECKING:
    import torch

HIDDEN = 32  # units of both hidden layers, as in `ppo`
GAE_LAMBDA = 0.95
MAX_GRADIENT = 0.5  # norm of each learner's gradient


class Step(NamedTuple):
    """A step of B environments, for G learners of K parameters each."""

    observations: torch.Tensor  # [B, D]
    actions: torch.Tensor  # [G, B, K]
    active: torch.Tensor  # active parameters, bool [G, B, K]
    logprobs: torch.Tensor  # [G, B]
    values: torch.Tensor  # [G, B]
    rewards: torch.Tensor  # [B]
    dones: torch.Tensor  # [B], bool


class IndependentPPO(Agent):
    """Proximal policy optimisation by a learner per parameter; needs `archgym[rl]`.

    Args:
        group: parameters per learner, in the order of the space.
        num_envs: designs per step.
        n_steps: steps per update; at most an eighth of the budget, at least 8 designs.
        minibatches: parts of a rollout per epoch; fewer where a part would be less than 8 designs.
        epochs: passes over a rollout.
        learning_rate: learning rate of Adam.
        entropy: weight of the entropy bonus; more explores longer.
        clip: largest distance of a learner's probability ratio from 1 in one update.
        gamma: discount between the designs of an episode (without effect at horizon 1).

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "independent_ppo", budget=200)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    num_envs_from = "num_envs"
    hyperparameters = DesignSpace(
        [
            Ordinal("group", [1, 2, 4, 8, 16], default=1),
            Ordinal("num_envs", [1, 2, 4, 8, 16, 32, 64], default=16),
            Ordinal("n_steps", [1, 2, 4, 8, 16, 32, 64, 128], default=4),
            Ordinal("minibatches", [1, 2, 4, 8], default=1),
            Integer("epochs", 1, 20, default=10),
            Real("learning_rate", 1e-5, 1e-1, log=True, default=1e-2),
            Real("entropy", 1e-5, 1.0, log=True, default=1e-2),
            Real("clip", 0.05, 0.5, default=0.2),
            Real("gamma", 0.8, 1.0, default=0.99),
        ]
    )

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependency(
                'the agent IndependentPPO needs PyTorch: pip install "archgym[rl]"'
            ) from error
        space_to_learn(self, env)
        with alone_with_torch(), suppress(BudgetExhausted):
            torch.manual_seed(integer_seed(seed, "agent"))
            self._learn(env, budget, seed)

    def _learn(self, env: VectorEnv, budget: int, seed: int) -> None:
        import torch

        steps, parts = rollout(self.n_steps, self.minibatches, env.num_envs, budget)
        observed = env.single_observation_space.shape[0]  # type: ignore[index]
        sizes = env.single_action_space.nvec  # type: ignore[attr-defined]
        learners = Learners(sizes, int(self.group), observed)
        space = core(env).simulator.space
        optimizer = torch.optim.Adam(learners.parameters, lr=self.learning_rate, eps=1e-5, fused=True)
        observation = torch.as_tensor(env.reset(seed=seed)[0])
        while True:
            rollout_steps: list[Step] = []
            with torch.no_grad():
                for _ in range(steps):
                    log_p = learners.log_policy(observation)
                    actions = learners.sample(log_p)
                    designs = learners.designs(actions)
                    active = learners.by_learner(space.active(designs))
                    following, rewards, terminated, truncated, _ = env.step(designs)
                    dones = torch.as_tensor(terminated | truncated)
                    reward = torch.as_tensor(rewards, dtype=torch.float32)
                    logprobs = learners.log_prob(log_p, actions, active)
                    values = learners.values(observation)
                    rollout_steps.append(Step(observation, actions, active, logprobs, values, reward, dones))
                    observation = torch.as_tensor(following)
                advantages, returns = self._advantages(rollout_steps, learners.values(observation))
            # [N, D], N designs of the rollout
            observations = torch.cat([step.observations for step in rollout_steps])
            actions = torch.cat([step.actions for step in rollout_steps], dim=1)  # [G, N, K]
            active = torch.cat([step.active for step in rollout_steps], dim=1)
            logprobs = torch.cat([step.logprobs for step in rollout_steps], dim=1)  # [G, N]
            for _ in range(self.epochs):
                for rows in torch.randperm(len(observations)).chunk(parts):
                    loss = self._loss(
                        learners,
                        observations[rows],
                        actions[:, rows],
                        active[:, rows],
                        logprobs[:, rows],
                        advantages[:, rows],
                        returns[:, rows],
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    learners.limit_gradients(MAX_GRADIENT)
                    optimizer.step()

    def _advantages(self, steps: list[Step], following: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Generalised advantages and returns [G, N] of a rollout; the last design of an episode has no
        following value.

        Args:
            steps: the rollout.
            following: values of the observations after it, [G, B].
        """
        import torch

        advantage = torch.zeros_like(following)  # [G, B]
        advantages: list[torch.Tensor] = []
        for step in reversed(steps):
            error = step.rewards + self.gamma * following * ~step.dones - step.values
            advantage = error + self.gamma * GAE_LAMBDA * advantage * ~step.dones
            advantages.insert(0, advantage)
            following = step.values
        stacked = torch.cat(advantages, dim=1)
        return stacked, stacked + torch.cat([step.values for step in steps], dim=1)

    def _loss(
        self,
        learners: Learners,
        observations: torch.Tensor,
        actions: torch.Tensor,
        active: torch.Tensor,
        old_logprobs: torch.Tensor,
        advantages: torch.Tensor,
        returns: torch.Tensor,
    ) -> torch.Tensor:
        """The sum of the learners' losses, which have no parameter in common."""
        import torch

        advantages = (advantages - advantages.mean(1, keepdim=True)) / (
            advantages.std(1, keepdim=True) + 1e-8
        )
        log_p = learners.log_policy(observations)
        ratio = torch.exp(learners.log_prob(log_p, actions, active) - old_logprobs)
        clipped = torch.clamp(ratio, 1 - self.clip, 1 + self.clip)
        policy = -torch.minimum(ratio * advantages, clipped * advantages).mean(1)
        value = (returns - learners.values(observations)).pow(2).mean(1) / 2
        entropy = -(log_p.exp() * log_p * active[..., None]).sum(dim=(2, 3)).mean(1)
        losses: torch.Tensor = policy + value - self.entropy * entropy
        return losses.sum()


class Learners:
    """Actors and critics of G learners with at most K parameters of at most n values each, D numbers
    observed.

    Args:
        nvec: values of each parameter.
        group: parameters per learner.
        observed: numbers per observation, D.
    """

    def __init__(self, nvec: Indices, group: int, observed: int):
        import torch

        learners = -(-len(nvec) // group)
        # the last learner may have parameters that do not exist, of one value each
        sizes = np.ones(learners * group, np.int64)
        sizes[: len(nvec)] = nvec
        self.designed = len(nvec)
        self.shape = learners, group, int(sizes.max())
        exists = torch.arange(self.shape[2]) < torch.as_tensor(sizes)[:, None]
        # on logits of values that do not exist
        self.never = torch.where(exists, 0.0, -1e9).view(learners, 1, group, -1)
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

    def log_prob(self, log_p: torch.Tensor, actions: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """log pi_g [G, B, K, n], actions and active parameters [G, B, K] -> log pi_g(a_g) [G, B]."""
        return (log_p.gather(3, actions[..., None]) * active[..., None]).sum(dim=(2, 3))

    def designs(self, actions: torch.Tensor) -> Indices:
        """Actions [G, B, K] -> index rows [B, P]."""
        return np.asarray(actions.transpose(0, 1).flatten(1)[:, : self.designed].numpy())

    def by_learner(self, columns: Array) -> torch.Tensor:
        """Bools of parameters [B, P] -> of learners [G, B, K], set where a parameter does not exist."""
        import torch

        learners, group, _ = self.shape
        padded = np.pad(columns, ((0, 0), (0, learners * group - self.designed)), constant_values=True)
        return torch.as_tensor(padded.reshape(len(columns), learners, group).transpose(1, 0, 2).copy())

    def limit_gradients(self, largest: float) -> None:
        """Scale each learner's gradient down to a norm of at most `largest`."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = sum(g.pow(2).sum(dim=(1, 2)) for g in gradients).sqrt()  # type: ignore[union-attr]
        scale = (largest / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale[:, None, None])


Network = list[tuple["torch.Tensor", "torch.Tensor"]]  # weights [G, in, out] and biases [G, 1, out]


def _network(learners: int, widths: tuple[int, ...], last_gain: float) -> Network:
    """Layers with orthogonal weights, each learner's drawn on its own."""
    import torch

    gains = [2**0.5] * (len(widths) - 2) + [last_gain]
    layers: Network = []
    for n_in, n_out, gain in zip(widths[:-1], widths[1:], gains, strict=True):
        weights = torch.stack(
            [torch.nn.init.orthogonal_(torch.empty(n_out, n_in), gain).T for _ in range(learners)]
        )
        layers.append(
            (weights.contiguous().requires_grad_(), torch.zeros(learners, 1, n_out, requires_grad=True))
        )
    return layers


def _through(network: Network, observations: torch.Tensor) -> torch.Tensor:
    """Observations [B, D] -> outputs [G, B, out], tanh between the layers."""
    import torch

    x = observations.expand(len(network[0][0]), *observations.shape)
    for weights, biases in network[:-1]:
        x = torch.tanh(torch.baddbmm(biases, x, weights))
    weights, biases = network[-1]
    return torch.baddbmm(biases, x, weights)
