"""Search a proxy, and simulate only the best designs.

    1  an agent searches the proxy                          `budget` predictions
    2  its distinct designs, best prediction first          equal designs of the simulator (`canonical`) count
                                                            once
    3  the simulator evaluates them until the search's budget is spent

The ledger counts the evaluations of step 3; `training` counts those for the proxy's data set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from archgym._search import Search
from archgym.agent import Agent, AskTellAgent
from archgym.deprecated.arguments import renamed
from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.proxy.env import ID, restrict_to
from archgym.proxy.training import load_trained
from archgym.simulator import Simulator
from archgym.space import Array, DesignSpace, Indices


class ProxySearch(AskTellAgent):
    """Proposes the designs that another agent finds best on a proxy; the search's budget verifies them.

    Args:
        model: folder of a proxy.
        agent: agent that searches the proxy.
        budget: number of predictions.
        hyperparameters: hyperparameters of that agent.

    Attributes:
        training: number of designs that the proxy was trained and tested on.

    Example: `archgym.search("archgym/DramController-v0", ProxySearch("models/dram", "genetic", budget=2000),
        budget=20)`
    """

    version = 1
    hyperparameters = DesignSpace([])

    @renamed(samples="budget")
    def __init__(
        self,
        model: str | os.PathLike[str],
        agent: str | Agent | type[Agent] = "genetic",
        budget: int = 10_000,
        hyperparameters: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.folder, self.agent, self.budget, self.given = (
            Path(model).expanduser(),
            agent,
            budget,
            dict(hyperparameters or {}),
        )
        self.trained = load_trained(self.folder)
        self.training = sum(int(self.trained.report["designs"][part]) for part in ("train", "test"))

    @property
    def configuration(self) -> dict[str, Any]:
        agent = self.agent if isinstance(self.agent, str) else type(self.agent).__name__
        model = self.trained.simulator.specification
        return {
            "model": {"path": str(self.folder), **model},
            "agent": agent,
            "samples": self.budget,
            "hyperparameters": self.given,
        }

    def search(self, env: VectorEnv, *, budget: int, seed: int, start: Indices | None = None) -> None:
        self.seed, self.real = seed, core(env).simulator
        super().search(env, budget=budget, seed=seed, start=start)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        proxy = self.trained.simulator
        if proxy.space != space:
            raise ArchGymError(
                f"the proxy in {self.folder} was trained on {proxy.env.id}, which has different parameters"
            )
        run = Search(
            ID,
            self.agent,
            budget=self.budget,
            seed=self.seed,
            env_kwargs={
                "model": os.fspath(self.folder),
                "objective": restrict_to(self.objective, [m.name for m in proxy.metrics]),
            },
            agent_kwargs=self.given or None,
        )
        ledger = run.run().history
        indices = space.encode({name: ledger[name] for name in space.names})
        self.queue = ranked(indices, ledger["reward"], ledger["valid"], self.real, budget)
        self.rng, self.space, self.n_asked = rng, space, 0

    def ask(self, n: int) -> Indices:
        batch = self.queue[self.n_asked : self.n_asked + n]
        self.n_asked += len(batch)
        # fewer distinct designs than the budget
        return batch if len(batch) else self.space.sample(n, self.rng)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass


def ranked(indices: Indices, rewards: Array, valid: Array, simulator: Simulator, n: int) -> Indices:
    """The n best designs that differ for the simulator: int64 [<= n, P], best prediction first.

    Args:
        indices, rewards, valid: designs with predictions, [N, P], [N], [N].
        simulator: the simulator; its `canonical` maps equal designs to one.
        n: largest number of designs.
    """
    order = np.lexsort((-rewards, ~valid.astype(bool)))
    _, first = np.unique(simulator.canonical(indices[order]), axis=0, return_index=True)
    return indices[order[np.sort(first)[:n]]]
