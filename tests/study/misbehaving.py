"""Simulators that do what simulators should not, as environments "misbehaving:test/<Name>-v0"."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from archgym import (
    DesignSpace,
    Integer,
    Maximize,
    Metric,
    Objective,
    Simulator,
    SimulatorUnavailable,
    register_env,
)
from archgym.agents.random import Random


class Well(Simulator):
    """A design of three numbers; the better the larger."""

    space = DesignSpace([Integer("a", 0, 9), Integer("b", 0, 9), Integer("c", 0, 9)])
    metrics = (Metric("gain", "1", "higher"),)
    default_objective = Objective(Maximize("gain"), reference={"gain": 100.0})

    def __init__(self, sleep_s: float = 0.0, log: str | None = None):
        self.sleep_s, self.log = sleep_s, log

    def evaluate_indices(self, indices, rng=None):
        time.sleep(self.sleep_s * len(indices))
        if self.log:
            with open(self.log, "a") as file:
                file.write("".join(f"{row}\n" for row in indices.tolist()))
        gain = 1.0 + indices @ np.array([100, 10, 1])
        self.misbehave(indices)
        return {"gain": gain, "feasible": np.ones(len(indices), bool)}

    def misbehave(self, indices):
        pass


class Hangs(Well):
    def misbehave(self, indices):
        time.sleep(1000)


class Exits(Well):
    def misbehave(self, indices):
        sys.exit(3)


class Crashes(Well):
    def misbehave(self, indices):
        print("about to crash", file=sys.stderr, flush=True)
        os._exit(7)


class Raises(Well):
    def misbehave(self, indices):
        raise ValueError("no such design")


class Eats(Well):
    def misbehave(self, indices):
        hoard = []
        for _ in range(400):
            hoard.append(np.ones(10**7))  # 80 MB each
            time.sleep(0.01)


class CrashesOnce(Well):
    """Dies at the first run ever, and never again."""

    def misbehave(self, indices):
        marker = Path(f"{self.log}.crashed")
        if not marker.exists():
            marker.touch()
            os._exit(9)


class Tires(Well):
    """Ends the process's search, as one whose licence has run out, at the 31st design."""

    def misbehave(self, indices):
        self.asked = getattr(self, "asked", 0) + len(indices)
        if self.asked > 30:
            raise SimulatorUnavailable("the licence has run out")


class ForksAndDies(Well):
    """Leaves a child that holds all descriptors, in a session of its own."""

    def misbehave(self, indices):
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        os.kill(os.getpid(), 9)


class Prints(Well):
    """10 MB to standard error for each design, and then the name of the file where they went."""

    def misbehave(self, indices):
        for _ in range(10 * len(indices)):
            os.write(2, bytes(10**6))
        print(f"\nprinted to {os.readlink('/proc/self/fd/2')}", file=sys.stderr, flush=True)
        if self.log:
            os._exit(7)


class Interrupts(Well):
    def misbehave(self, indices):
        raise KeyboardInterrupt


class Stops(Random):
    """Ends before its budget is spent."""

    share = 0.5

    def search(self, env, *, budget, seed):
        env.reset(seed=seed)
        for _ in range(int(self.share * budget)):
            env.step(np.zeros((env.num_envs, len(env.unwrapped.simulator.space)), int))

    @property
    def preferred_num_envs(self):
        return 1


class NeverStarts(Stops):
    share = 0.0


class Overruns(Stops):
    share = 3.0

    def search(self, env, *, budget, seed):
        env.unwrapped.ledger.budget = None
        super().search(env, budget=budget, seed=seed)


for simulator in (
    Well,
    Hangs,
    Exits,
    Crashes,
    Raises,
    Eats,
    CrashesOnce,
    Tires,
    ForksAndDies,
    Prints,
    Interrupts,
):
    register_env(f"test/{simulator.__name__}-v0", simulator=f"misbehaving:{simulator.__name__}")
