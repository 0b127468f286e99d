"""Optuna's samplers as agents: an in-memory study over indices, with a trial per row.

An ordered parameter with n values is Optuna's integer in 0..n-1, so that its samplers see the order of the
grid and not the values; a categorical one is a choice among 0..n-1. Inactive parameters of a conditional
space keep what the sampler chose: where all trials had them at their defaults it would propose other values
of them, the same designs, again and again. Trials whose results the end of the budget cuts off stay open in
the study, which is dropped with the agent: the environment's ledger is the record.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import create_trial

from archgym.agent import AskTellAgent
from archgym.space import Array, DesignSpace, Indices, Parameter


class OptunaAgent(AskTellAgent):
    """Asks and tells an Optuna study that maximises the reward; subclasses choose the sampler."""

    @abstractmethod
    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        """The sampler for one search."""

    def distribution(self, parameter: Parameter) -> BaseDistribution:
        """Optuna's distribution for a parameter."""
        n = len(parameter)
        return IntDistribution(0, n - 1) if parameter.ordered else CategoricalDistribution(range(n))

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.names = space.names
        self.distributions = {parameter.name: self.distribution(parameter) for parameter in space}
        with _quiet():
            self.study = optuna.create_study(
                direction="maximize", sampler=self.sampler(space, int(rng.integers(2**31)))
            )
        self.trials: list[optuna.Trial] = []

    def ask(self, n: int) -> Array:
        trials = [self.study.ask(self.distributions) for _ in range(n)]
        self.trials += trials
        rows = [[trial.params[name] for name in self.names] for trial in trials]
        return np.array(rows, np.int64).reshape(n, len(self.names))

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        """Add finished trials for the designs that were not asked for."""
        given = len(indices) - len(self.trials)
        for design, reward in zip(indices[:given].tolist(), rewards[:given].tolist(), strict=True):
            params = dict(zip(self.names, design, strict=True))
            trial = create_trial(params=params, distributions=self.distributions, value=reward)
            self.study.add_trial(trial)
        self.tell(indices[given:], rewards[given:], metrics, feasible[given:])

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        for trial, reward in zip(self.trials, rewards.tolist(), strict=True):
            self.study.tell(trial, reward)
        self.trials = []


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log of new studies and its warnings about experimental options, which are chosen on
    purpose here.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
