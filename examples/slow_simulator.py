"""A slow program as a simulator: python slow_simulator.py [BUDGET]

The program is started once per design. `Parallel` keeps two at work and kills one that hangs, which costs
that design alone (`Isolated` is the same with one worker); `Cached` remembers every result in a file, so that
a second search starts no program.
"""

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import archgym
from archgym import Cached, DesignSpace, Integer, Metric, Minimize, Objective, Parallel, Simulator

PROGRAM = (
    "import sys; width, depth = map(int, sys.argv[1:]); print('cycles', 10_000 // (width * depth) + 50 * "
    "depth)"
)


class Pipeline(Simulator):
    space = DesignSpace([Integer("width", 1, 8), Integer("depth", 1, 20)])
    metrics = (Metric("cycles", "cycles", "lower"),)
    default_objective = Objective(Minimize("cycles"), reference={"cycles": 1000})  # near a typical design

    def evaluate(self, designs, rng=None):
        pairs = zip(designs["width"], designs["depth"], strict=True)
        return {
            "cycles": [self.run(width, depth) for width, depth in pairs],
            "feasible": [True] * len(designs["width"]),
        }

    def run(self, width, depth):
        command = [sys.executable, "-c", PROGRAM, str(width), str(depth)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1])


if __name__ == "__main__":  # workers import this file
    simulator = Cached(Parallel(Pipeline(), workers=2, timeout_s=10), Path(tempfile.mkdtemp()) / "cache")
    with closing(simulator):
        archgym.register_env("mine/Pipeline-v0", simulator=simulator)
        for _ in range(2):
            result = archgym.search(
                "mine/Pipeline-v0", "genetic", budget=int(sys.argv[1]) if sys.argv[1:] else 100, seed=0
            )
            print(
                result.best_design, result.best_metrics, f"{result.cache_hits} of {result.samples} remembered"
            )
