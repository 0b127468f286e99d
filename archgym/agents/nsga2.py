"""NSGA-II (Deb et al., 2002), as implemented by Optuna, on the scalar reward or on a reward vector.

On an environment with a reward for each metric (`archgym.wrappers.vector.RewardVector`) it searches the
Pareto front: designs are ranked by non-dominated sorting, then by crowding distance. With one objective,
non-dominated sorting is sorting by reward and the crowding distance has no effect: NSGA-II's elitist genetic
algorithm remains, where parents and children compete for the next generation.

Good for: several metrics that no weights settle: with `front` it searches for their Pareto front.
"""

from __future__ import annotations

from collections.abc import Mapping

from gymnasium.vector import VectorEnv
from optuna.samplers import BaseSampler, NSGAIISampler

from archgym.agents._optuna import OptunaAgent
from archgym.space import Array, DesignSpace, Indices, Ordinal, Real
from archgym.wrappers import VectorObjective


class NSGA2(OptunaAgent):
    """NSGA-II: the Pareto front of a reward vector, where the environment has one; else the best reward.

    Args:
        population: designs per generation.
        crossover: probability that a child mixes two parents instead of copying one.
        swap: probability that a parameter comes from the second parent.
        mutation: expected mutated parameters per child.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "nsga2", budget=200)  # doctest: +SKIP
    """

    vector_objective: VectorObjective | None = None
    version = 1
    num_envs_from = "population"
    multi_objective = True
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [8, 16, 32, 64, 128, 256], default=32),
            Real("crossover", 0.0, 1.0, default=0.9),
            Real("swap", 0.05, 0.95, default=0.5),
            Real("mutation", 0.1, 4.0, log=True, default=1.0),
        ]
    )

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        self.vector_objective = getattr(env, "vector_objective", None)
        self.components = 1 if self.vector_objective is None else len(self.vector_objective.metrics)
        super().search(env, budget=budget, seed=seed)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if self.vector_objective is not None:
            rewards = self.vector_objective(metrics, feasible)
        super().tell(indices, rewards, metrics, feasible)

    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        return NSGAIISampler(
            population_size=self.population,
            crossover_prob=self.crossover,
            swapping_prob=self.swap,
            mutation_prob=min(1.0, self.mutation / max(1, len(space))),
            seed=seed,
        )
