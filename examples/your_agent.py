"""An agent of your own: python your_agent.py [BUDGET]

Hill climbing with a tabu list: it proposes neighbours of the best design that it has not asked for before.
"""

import sys

import numpy as np

import archgym
from archgym import AskTellAgent, DesignSpace, Real
from archgym.testing import check_agent


class Tabu(AskTellAgent):
    version = 1
    hyperparameters = DesignSpace([Real("jump", 0.01, 0.5, log=True, default=0.1)])

    def start(self, space, *, budget, rng):
        self.space, self.rng, self.asked = space, rng, set()
        self.best, self.reward = space.sample(1, rng)[0], -np.inf

    def ask(self, n):
        changed = self.rng.random((8 * n, len(self.space))) < np.maximum(self.jump, 1 / len(self.space))
        near = np.where(changed, self.space.sample(8 * n, self.rng), self.best)
        fresh = [row for row in near if row.tobytes() not in self.asked]
        rows = np.array([*fresh, *self.space.sample(n, self.rng)][:n])
        self.asked.update(row.tobytes() for row in rows)
        return rows

    def tell(self, indices, rewards, metrics, feasible):
        if rewards.max() > self.reward:
            self.best, self.reward = indices[rewards.argmax()], rewards.max()


check_agent(Tabu)
result = archgym.search(
    "archgym/Softmax-v0", Tabu(jump=0.2), budget=int(sys.argv[1]) if sys.argv[1:] else 1000, seed=0
)
print(result.best_design, f"regret {result.regret:.4f}")
