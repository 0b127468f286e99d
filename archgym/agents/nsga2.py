"""NSGA-II (Deb et al., 2002), as implemented by Optuna, on the single scalar reward.

With one objective, non-dominated sorting is sorting by reward and the crowding distance has nothing to spread: what remains is NSGA-II's
elitist genetic algorithm, where parents and children compete for the next generation's places.
"""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

from archgym.agents._optuna import OptunaAgent
from archgym.space import DesignSpace, Ordinal, Real


class NSGA2(OptunaAgent):
    """NSGA-II on the reward, not on the metrics: use it for the search it does, not for a Pareto front.

    Args:
        population: designs per generation.
        crossover: probability that a child mixes two parents instead of copying one.
        swap: probability that a parameter comes from the second parent.
        mutation: expected mutated parameters per child.
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Ordinal("population", [8, 16, 32, 64, 128, 256], default=32),
            Real("crossover", 0.0, 1.0, default=0.9),
            Real("swap", 0.05, 0.95, default=0.5),
            Real("mutation", 0.1, 4.0, log=True, default=1.0),
        ]
    )

    @property
    def preferred_num_envs(self) -> int:
        return int(self.population)

    def sampler(self, space: DesignSpace, seed: int) -> BaseSampler:
        return NSGAIISampler(
            population_size=self.population,
            crossover_prob=self.crossover,
            swapping_prob=self.swap,
            mutation_prob=min(1.0, self.mutation / max(1, len(space))),
            seed=seed,
        )
