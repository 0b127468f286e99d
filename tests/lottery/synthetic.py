"""Synthetic studies with known properties: plausible traces and hyperparameters, without running a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archgym.lottery.data import AgentRuns, Control, TaskRuns, Trace
from archgym.space import Array

# samples per second
SPEED = {"random": 20000.0, "local_search": 15000.0, "genetic": 12000.0, "tpe": 400.0, "ppo": 900.0}


def trace(
    rate: float, spread: float, ceiling: float, samples: int, seconds: float, rng: np.random.Generator
) -> Trace:
    """One run whose best reward approaches `ceiling` from below: the gap shrinks like samples^-rate times
    a random walk's luck.
    """
    at = np.unique(np.r_[rng.integers(0, 3), np.geomspace(2, samples, 40).astype(np.int64) - 1])
    at = at[(at < samples) & (rng.random(len(at)) < 0.7)]
    if not len(at):
        at = np.array([0])
    luck = np.exp(spread * rng.normal())
    gap = 1.2 * luck * (1.0 + at) ** -rate * np.exp(0.1 * rng.normal(size=len(at)))
    reward = ceiling - np.minimum.accumulate(gap)
    # a finite space: what is close enough is the optimum
    reward = np.where(ceiling - reward < 2e-3, ceiling, reward)
    better = np.r_[True, np.diff(reward) > 0]
    at, reward = at[better], reward[better]
    return Trace(at, reward, seconds * (1.0 + at) / samples, samples, seconds)


def hyperparameters(agent: str, configurations: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The defaults and then random settings; an agent called "random" has none."""
    if agent == "random":
        return [{} for _ in range(configurations)]
    default: dict[str, Any] = {"population": 32, "rate": 0.1, "restart": True, "kind": "one"}
    drawn = [
        {
            "population": int(2 ** rng.integers(2, 8)),
            "rate": float(np.exp(rng.uniform(np.log(1e-3), np.log(1.0)))),
            "restart": bool(rng.random() < 0.5),
            "kind": str(rng.choice(["one", "two", "three"])),
        }
        for _ in range(configurations - 1)
    ]
    return [default, *drawn]


def agent_runs(
    agent: str,
    *,
    ceiling: float,
    configurations: int,
    seeds: int,
    budget: int,
    rng: np.random.Generator,
    level: float = 0.6,
    importance: float = 0.12,
    spread: float = 0.25,
) -> AgentRuns:
    """Runs of one agent whose log10(rate) moves the speed of convergence by `importance` per decade."""
    settings = hyperparameters(agent, configurations, rng)
    seconds = budget / SPEED.get(agent, 2000.0)
    rates = [
        level if not s else level + importance * (np.log10(s["rate"]) + 1.5) + 0.03 * rng.normal()
        for s in settings
    ]
    traces = tuple(
        tuple(trace(max(r, 0.02), spread, ceiling, budget, seconds, rng) for _ in range(seeds)) for r in rates
    )
    return AgentRuns(agent, tuple(settings), 0, traces)


def tasks(
    tasks: int = 2,
    agents: Sequence[str] = ("random", "genetic", "tpe", "ppo"),
    configurations: int = 16,
    seeds: int = 5,
    budget: int = 1000,
    seed: int = 0,
) -> list[TaskRuns]:
    """A study: random search is the slowest, the others differ a little in their mean speed of
    convergence.
    """
    study = []
    for task in range(tasks):
        rng = np.random.default_rng([seed, task])
        ceiling = 1.0 + task
        runs: Mapping[str, AgentRuns] = {
            agent: agent_runs(
                agent,
                ceiling=ceiling,
                configurations=configurations,
                seeds=seeds,
                budget=budget,
                rng=rng,
                level=0.25 if agent == "random" else 0.4 + 0.05 * rng.normal(),
            )
            for agent in agents
        }
        study.append(
            TaskRuns(
                task=f"task {task + 1}",
                env="archgym/Synthetic-v0",
                optimum=ceiling,
                average_random=ceiling - 1.0,
                log_scale=True,
                agents=runs,
                budget=budget,
                controls=[Control("a rule", 1, 1.0, np.array([ceiling - 5.0]), np.ones(1), None)],
            )
        )
    return study


def without_runs(task: TaskRuns, share: float, seed: int = 0) -> TaskRuns:
    """The same study with a share of its runs missing, as failures."""
    rng = np.random.default_rng(seed)
    failures: list[tuple[str, int, int, str]] = []
    agents: dict[str, AgentRuns] = {}
    for name, runs in task.agents.items():
        gone: Array = rng.random((len(runs.traces), len(runs.traces[0]))) < share
        failures += [(name, int(c), int(s), "time-out") for c, s in np.argwhere(gone)]
        traces = tuple(
            tuple(None if gone[c, s] else t for s, t in enumerate(row)) for c, row in enumerate(runs.traces)
        )
        agents[name] = AgentRuns(name, runs.configurations, runs.default, traces)
    return TaskRuns(
        task.task, task.env, task.optimum, task.average_random, task.log_scale, agents, task.budget, failures
    )
