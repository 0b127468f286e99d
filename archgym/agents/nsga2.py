"""NSGA-II (Deb, Pratap, Agarwal & Meyarivan, 2002): non-dominated sorting, crowding distance, elitism, on a
reward vector or on the one reward.

    front k   = the designs that nothing dominates once fronts 0 .. k - 1 are removed; a valid design
                dominates every other one (constrained domination)
    crowding  = sum over metrics of the gap between a design's two neighbours in its front, as a share of the
                front's extent; infinite at its ends
    survivors = the `population` first of parents and children, by front, then by falling crowding
    mother    = the better of two random members
    father    = of three random members, the nearest to the mother in the metrics (Ishibuchi & Shibata, 2003)
    child     = every gene from the father with probability `swap`, then mutated with probability
                `mutation` / P

Where this differs from the paper: few children are born at a time, so that the next ones descend from them
(mu + lambda, with lambda < mu); parents resemble each other, because mixtures of a small and a large design
are seldom on the front; and no design is repeated: a child seen before moves one parameter until it is new.

With one reward, fronts are levels of reward and an elitist genetic algorithm remains.

Good for: several metrics that no weights settle: with `front` it searches for their Pareto front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import crossed, free_genes, moved, mutated, population_for
from archgym.pareto import crowding_distance, front_ranks
from archgym.space import Array, DesignSpace, Indices, Ordinal, Real

SUITORS = 3  # members among which a father is the nearest
MAX_MOVES = 64  # moves of a repeated design, before it is accepted


class NSGA2(AskTellAgent):
    """NSGA-II: the Pareto front of a reward vector, where the environment has one; else the best reward.

    Args:
        population: survivors of a generation, and random designs before the first one; where none is given,
            a search takes the power of two up to the square root of its budget, from 16 to 64.
        offspring: children of a generation.
        crossover: probability that a child mixes two parents instead of copying the mother.
        swap: probability that a parameter of such a child comes from the father.
        mutation: expected mutated parameters per child.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "nsga2", budget=200)  # doctest: +SKIP
    """

    version = 2
    num_envs_from = "offspring"
    multi_objective = True
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [8, 16, 32, 64, 128, 256], default=16),
            Ordinal("offspring", [1, 2, 4, 8, 16, 32, 64], default=8),
            Real("crossover", 0.0, 1.0, default=1.0),
            Real("swap", 0.05, 0.95, default=0.25),
            Real("mutation", 0.1, 4.0, log=True, default=1.0),
        ]
    )

    @classmethod
    def defaults_for(cls, budget: int) -> Mapping[str, Any]:
        return {"population": population_for(budget)}

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        components = 1 if self.vector_objective is None else len(self.vector_objective.metrics)
        # best first: designs [N, P], reward vectors [N, M] and which are valid [N]
        self.members = np.empty((0, len(space)), np.int64)
        self.rewards, self.valid = np.empty((0, components)), np.empty(0, bool)
        self.seen: set[bytes] = set()

    def ask(self, n: int) -> Indices:
        if len(self.members) < self.population:
            return self._unseen(self.space.sample(n, self.rng, per="parameter"))
        mothers = self.rng.integers(len(self.members), size=(2, n)).min(axis=0)
        fathers = self._nearest(mothers)
        u = self.rng.random((2, n, len(self.space)))
        mix = u[0] < np.where(self.rng.random((n, 1)) < self.crossover, self.swap, 0.0)
        children = crossed(self.space, self.members[mothers], self.members[fathers], mix, self.rng)
        genes = free_genes(self.space, children).sum(axis=1, keepdims=True)
        mutate = u[1] < self.mutation / np.maximum(genes, 1)
        return self._unseen(mutated(self.space, children, mutate, self.rng))

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        self.seen.update(design.tobytes() for design in indices)
        super().warm(indices, rewards, metrics, feasible, valid)

    def tell(
        self,
        indices: Indices,
        rewards: Array,
        metrics: Mapping[str, Array],
        feasible: Array,
        valid: Array | None = None,
    ) -> None:
        vectors = (
            rewards[:, None] if self.vector_objective is None else self.vector_objective(metrics, feasible)
        )
        members = np.concatenate([self.members, indices])
        rewards = np.concatenate([self.rewards, vectors])
        valid = np.concatenate([self.valid, feasible if valid is None else valid])
        costs = -rewards
        costs[~valid] += np.ptp(costs) + 1  # now every valid design dominates every other one
        ranks = front_ranks(costs)
        best = np.lexsort((-crowding_distance(costs, ranks), ranks))[: self.population]
        self.members, self.rewards, self.valid = members[best], rewards[best], valid[best]

    def _nearest(self, mothers: Indices) -> Indices:
        """Of a few random members the nearest to each mother in rewards, but not herself: int64 [n]."""
        suitors = self.rng.integers(len(self.members), size=(SUITORS, len(mothers)))
        low, extent = self.rewards.min(axis=0), np.ptp(self.rewards, axis=0)
        scaled = (self.rewards - low) / np.where(extent > 0, extent, 1.0)
        distance = ((scaled[suitors] - scaled[mothers]) ** 2).sum(axis=2)
        distance[suitors == mothers] = np.inf
        return np.asarray(suitors[distance.argmin(axis=0), np.arange(len(mothers))])

    def _unseen(self, designs: Indices) -> Indices:
        """Designs [n, P], those seen before moved until they are new."""
        rows = np.arange(len(designs))
        for _ in range(MAX_MOVES):
            repeated = []
            for row in rows:
                known = len(self.seen)
                self.seen.add(designs[row].tobytes())
                if len(self.seen) == known:
                    repeated.append(row)
            if not repeated or len(self.seen) >= self.space.size:
                break
            rows = np.array(repeated)
            designs[rows] = moved(self.space, designs[rows], self.rng)
        return designs
