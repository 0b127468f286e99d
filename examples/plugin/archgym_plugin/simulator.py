"""Two levels of cache in front of memory: the average memory access time of a program whose misses follow a
power law.

    AMAT    = t1 + m1 (t2 + m2 t_memory)
    m(S)    = m0 (S0 / S)^(1/2)                 misses of a cache of size S (Chow, 1974), less what
                                                associativity saves
    t(S, a) = 0.4 ns (S / 16 KB)^(1/3) (1 + 0.08 log2 a),    area = 0.9 mm2 per MB, 5 % more per doubling of a

The figures are those of no machine: replace them with yours.
"""

from __future__ import annotations

import numpy as np

from archgym import AtMost, DesignSpace, Metric, Minimize, Objective, Ordinal, Simulator


class CacheHierarchy(Simulator):
    """Sizes and associativities of two caches.

    Args:
        memory_ns: latency of the memory behind them.
    """

    space = DesignSpace(
        [
            Ordinal("l1_kb", [8, 16, 32, 64, 128]),
            Ordinal("l1_ways", [1, 2, 4, 8]),
            Ordinal("l2_kb", [128, 256, 512, 1024, 2048, 4096]),
            Ordinal("l2_ways", [1, 2, 4, 8, 16]),
        ]
    )
    metrics = (Metric("access_ns", "ns", "lower"), Metric("area_mm2", "mm2", "lower"))
    default_objective = Objective(
        Minimize("access_ns"), AtMost("area_mm2", 2.0), reference={"access_ns": 2.0}
    )

    def __init__(self, memory_ns: float = 80.0):
        self.memory_ns = memory_ns

    def evaluate(self, designs, rng=None):
        l1, l2, a1, a2 = (
            np.asarray(designs[name], float) for name in ("l1_kb", "l2_kb", "l1_ways", "l2_ways")
        )

        def time(size_kb, ways):
            return 0.4 * np.cbrt(size_kb / 16) * (1 + 0.08 * np.log2(ways))

        def misses(size_kb, ways):
            return 0.05 * np.sqrt(16 / size_kb) * (0.8 + 0.2 / ways)

        beyond_l1 = misses(l1, a1)
        beyond_l2 = np.minimum(1.0, misses(l2, a2) / beyond_l1)
        access = time(l1, a1) + beyond_l1 * (time(l2, a2) + beyond_l2 * self.memory_ns)
        area = 0.9 * (l1 * (1 + 0.05 * np.log2(a1)) + l2 * (1 + 0.05 * np.log2(a2))) / 1024
        return {"access_ns": access, "area_mm2": area, "feasible": l2 >= 4 * l1}
