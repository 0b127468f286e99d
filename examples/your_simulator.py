"""A simulator of your own, searched and solved: python your_simulator.py [BUDGET]

A direct-mapped loop tile: bytes moved against on-chip memory, for a matrix product C = A B of n x n matrices
in tiles of m x m.

    traffic = 2 n^3 / m + n^2 elements,     memory = 3 m^2 elements
"""

import sys

import archgym
from archgym import AtMost, DesignSpace, Metric, Minimize, Objective, Ordinal, Simulator
from archgym.testing import check_simulator


class Tiling(Simulator):
    metrics = (Metric("traffic_bytes", "B", "lower"), Metric("memory_bytes", "B", "lower"))
    default_objective = Objective(
        Minimize("traffic_bytes"), AtMost("memory_bytes", 65536), reference={"traffic_bytes": 1e8}
    )
    space = DesignSpace([Ordinal("tile", [2**k for k in range(2, 10)]), Ordinal("element_bytes", [1, 2, 4])])

    def __init__(self, n: int = 1024):
        self.n = n

    def evaluate(self, designs, rng=None):
        m, size = designs["tile"].astype(float), designs["element_bytes"]
        traffic = (2 * self.n**3 / m + self.n**2) * size
        return {"traffic_bytes": traffic, "memory_bytes": 3 * m**2 * size, "feasible": m <= self.n}


check_simulator(Tiling())
archgym.register_env("mine/Tiling-v0", simulator=Tiling)
result = archgym.search(
    "mine/Tiling-v0",
    "genetic",
    budget=int(sys.argv[1]) if sys.argv[1:] else 100,
    seed=0,
    env_kwargs={"n": 2048},
)
print(result.best_design, result.best_metrics)
