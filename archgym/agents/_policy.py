"""Stable-Baselines3's actor-critic policy with all categorical distributions of a design in one tensor.

Stable-Baselines3 keeps one distribution object per parameter, whose bookkeeping is most of a small network's
time at 20 parameters. The same distributions, padded to the longest parameter with logits of probability 0,
are one log-softmax:

    log pi(i) = sum_p log softmax(theta_p)_{i_p}   H = - sum_p sum_v pi_p(v) log pi_p(v)   theta: [B, P, max
                                                   n]

In log pi the sum is over active parameters, so that inactive ones have no gradient from rewards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from archgym.space import DesignSpace

_NEVER = -1e9  # a logit whose probability is exactly 0, and whose product with it is too


class ProductOfCategoricals(MultiCategoricalDistribution):
    """Independent categorical distributions of the parameters of a space."""

    def __init__(self, space: DesignSpace):
        action_dims = space.nvec.tolist()
        super().__init__(action_dims)
        self.space = space
        n = torch.as_tensor(action_dims)
        self.shape = len(n), int(n.max())
        column = torch.arange(self.shape[1]).expand(self.shape)
        first = torch.cumsum(n, 0) - n
        exists = column < n[:, None]
        # where each padded logit comes from: the given logits, then one column of _NEVER
        self.source = torch.where(exists, first[:, None] + column, int(n.sum())).flatten()
        self.padded = not bool(exists.all())

    def proba_distribution(self, action_logits: torch.Tensor) -> ProductOfCategoricals:
        if self.padded:
            never = action_logits.new_full((len(action_logits), 1), _NEVER)
            action_logits = torch.cat([action_logits, never], dim=1)[:, self.source]
        self.log_p = torch.log_softmax(action_logits.view(-1, *self.shape), dim=2)  # [B, P, max n]
        return self

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        log_p = self.log_p.gather(2, actions.long()[:, :, None])
        if self.space.conditional:
            log_p = log_p * torch.as_tensor(self.space.active(actions.long().numpy()))[:, :, None]
        return log_p.sum(dim=(1, 2))

    def entropy(self) -> torch.Tensor:
        return -(self.log_p.exp() * self.log_p).sum(dim=(1, 2))

    def sample(self) -> torch.Tensor:
        drawn = torch.multinomial(self.log_p.exp().view(-1, self.shape[1]), 1)
        return drawn.view(-1, self.shape[0])

    def mode(self) -> torch.Tensor:
        return self.log_p.argmax(dim=2)


class DesignPolicy(ActorCriticPolicy):
    """Stable-Baselines3's "MlpPolicy" for spaces of designs: the same networks, called with fewer detours.

    Args:
        args, settings: those of `ActorCriticPolicy`.
        designs: the design space.
    """

    def __init__(self, *args: Any, designs: DesignSpace, **settings: Any):
        self.designs = designs
        super().__init__(*args, **settings)

    def _build(self, lr_schedule: Any) -> None:
        self.action_dist = ProductOfCategoricals(self.designs)
        super()._build(lr_schedule)
        actor, critic = self.mlp_extractor.policy_net, self.mlp_extractor.value_net
        self._actor = [m for m in (*actor, self.action_net) if isinstance(m, torch.nn.Linear)]
        self._critic = [m for m in (*critic, self.value_net) if isinstance(m, torch.nn.Linear)]
        self._parameters_in_order = list(super().parameters())

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """All parameters, listed once, since every gradient step needs them."""
        found = self.__dict__.get("_parameters_in_order")
        return super().parameters(recurse) if found is None else iter(found)

    def set_training_mode(self, mode: bool) -> None:
        """Without effect: these networks are the same in training."""

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        distribution = self.action_dist.proba_distribution(_through(self._actor, obs))
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, _through(self._critic, obs), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Any, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        distribution = self.action_dist.proba_distribution(_through(self._actor, obs))
        return _through(self._critic, obs), distribution.log_prob(actions), distribution.entropy()

    def predict_values(self, obs: Any) -> torch.Tensor:
        return _through(self._critic, obs)


def _through(layers: list[torch.nn.Linear], x: torch.Tensor) -> torch.Tensor:
    """A network of linear layers with tanh between them."""
    for layer in layers[:-1]:
        x = torch.tanh(torch.nn.functional.linear(x, layer.weight, layer.bias))
    return torch.nn.functional.linear(x, layers[-1].weight, layers[-1].bias)
