"""Genetic algorithm (Holland, 1975; Goldberg, 1989): tournament selection, uniform crossover, per-gene
mutation, elitism.

    parent = best of `tournament` random members of the last generation
    child  = per gene, the mother's or (with probability 1/2, in a share `crossover` of the children) the
           father's
    every gene of a child mutates with probability `mutation` / P

Whole generations at once: one batch is one generation.

Good for: a thousand samples and more on simulators that take large batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import Generation, crossed, free_genes, mutated, population_for, random_genes
from archgym.space import Array, DesignSpace, Indices, Integer, Ordinal, Real


class Genetic(AskTellAgent):
    """Generational genetic algorithm over rows of indices.

    Args:
        population: designs per generation; where none is given, a search takes the power of two up to the
            square root of its budget, from 16 to 64.
        tournament: contestants per parent; 1 is no selection pressure.
        crossover: probability that a child mixes two parents instead of copying one.
        mutation: expected mutated genes per child (P times the probability per gene). A child that would copy
            its mother mutates anyway.
        elite: best designs kept as parents' rivals from one generation to the next.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "genetic", budget=200)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "population"
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [2, 4, 8, 16, 32, 64, 128, 256], default=64),
            Integer("tournament", 1, 16, default=4),
            Real("crossover", 0.0, 1.0, default=0.5),
            Real("mutation", 0.001, 8.0, log=True, default=0.3),
            Integer("elite", 0, 16, default=1),
        ]
    )

    @classmethod
    def defaults_for(cls, budget: int) -> Mapping[str, Any]:
        return {"population": population_for(budget)}

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.parents, self.fitness = np.empty((0, len(space)), np.int64), np.empty(0)
        self.generation = Generation(self.population)

    def ask(self, n: int) -> Indices:
        if len(self.parents) == 0:
            return self.space.sample(n, self.rng, per="parameter")
        chosen = self._select(2 * n)
        mothers, fathers = self.parents[chosen[:n]], self.parents[chosen[n:]]
        u = self.rng.random((2, n, len(self.space)))
        mix = u[0] < np.where(self.rng.random((n, 1)) < self.crossover, 0.5, 0.0)
        children = crossed(self.space, mothers, fathers, mix, self.rng)
        return self._mutate(children, mothers, u[1])

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if (complete := self.generation.collect(indices, rewards)) is None:
            return
        children, fitness = complete
        elite = np.argsort(-self.fitness)[: self.elite]
        # all of them, unless the environment is wider than the population
        best = np.argsort(-fitness)[: self.population]
        self.parents = np.concatenate([self.parents[elite], children[best]])
        self.fitness = np.concatenate([self.fitness[elite], fitness[best]])

    def _select(self, n: int) -> Indices:
        """The winners of n tournaments, as positions among the parents: int64 [n]."""
        contestants = (self.rng.random((self.tournament, n)) * len(self.parents)).astype(np.int64)
        return np.asarray(contestants[self.fitness[contestants].argmax(axis=0), np.arange(n)])

    def _mutate(self, children: Indices, mothers: Indices, u: Array) -> Indices:
        genes = free_genes(self.space, children).sum(axis=1, keepdims=True)
        mutate = (u < self.mutation / np.maximum(genes, 1)) & self.space.active(children)
        copies = np.flatnonzero(((children == mothers) & ~mutate).all(axis=1))
        if self.space.size > 1:
            mutate[copies, random_genes(self.space, children[copies], self.rng)] = True
        return mutated(self.space, children, mutate, self.rng)
