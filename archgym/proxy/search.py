"""Search a proxy, and ask the simulator about the best designs only.

    1  an agent searches the proxy                          `samples` predictions
    2  its distinct designs, best prediction first          designs that the simulator calls the same count once
    3  the simulator evaluates as many as the budget allows

The ledger counts the evaluations of step 3; those that the proxy was trained on come on top and are in `training`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym._search import Search
from archgym.agent import Agent, AskTellAgent
from archgym.errors import ArchGymError
from archgym.proxy.env import ID, narrowed
from archgym.proxy.training import Trained, load_trained
from archgym.space import Array, DesignSpace, Indices

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from archgym.simulator import Simulator


class ProxySearch(AskTellAgent):
    """Proposes the designs that another agent finds best on a proxy; it spends its budget on verifying them.

    Args:
        model: the folder of a proxy.
        agent: who searches the proxy.
        samples: predictions that it may ask for.
        hyperparameters: of that agent.

    Attributes:
        training: designs that the proxy was trained and tested on.
    """

    version = 1
    hyperparameters = DesignSpace([])

    def __init__(
        self,
        model: str | os.PathLike[str],
        agent: str | Agent | type[Agent] = "genetic",
        samples: int = 10_000,
        hyperparameters: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.folder, self.agent, self.samples, self.given = Path(model).expanduser(), agent, samples, dict(hyperparameters or {})
        self.trained: Trained = load_trained(self.folder)
        self.training = int(self.trained.report["designs"]["train"]) + int(self.trained.report["designs"]["test"])

    @property
    def configuration(self) -> dict[str, Any]:
        agent = self.agent if isinstance(self.agent, str) else type(self.agent).__name__
        model = self.trained.simulator.specification
        return {"model": {"path": str(self.folder), **model}, "agent": agent, "samples": self.samples, "hyperparameters": self.given}

    @property
    def preferred_num_envs(self) -> int:
        return 1

    def search(self, env: VectorEnv, *, budget: int, seed: int) -> None:
        self.seed, self.real = seed, env.unwrapped.simulator  # type: ignore[attr-defined]
        super().search(env, budget=budget, seed=seed)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        proxy = self.trained.simulator
        if proxy.space != space:
            raise ArchGymError(f"the proxy in {self.folder} is of {proxy.environment['id']}, whose parameters are others")
        run = Search(
            ID,
            self.agent,
            budget=self.samples,
            seed=self.seed,
            env_kwargs={"model": os.fspath(self.folder), "objective": narrowed(self.objective, [m.name for m in proxy.metrics])},
            agent_kwargs=self.given or None,
        )
        ledger = run.run().history
        indices = space.encode({name: ledger[name] for name in space.names})
        self.queue = ranked(indices, ledger["reward"], ledger["valid"], self.real, budget)
        self.rng, self.space, self.asked = rng, space, 0

    def ask(self, n: int) -> Indices:
        batch = self.queue[self.asked : self.asked + n]
        self.asked += len(batch)
        return batch if len(batch) else self.space.sample(n, self.rng)  # fewer distinct designs than the budget: draw others

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        pass


def ranked(indices: Indices, rewards: Array, valid: Array, simulator: Simulator, most: int) -> Indices:
    """The best designs, one of each kind that the simulator tells apart: int64 [<= most, P], best prediction first.

    Args:
        indices, rewards, valid: designs with predictions, [N, P], [N], [N].
        simulator: whose `canonical` says which designs are the same.
    """
    order = np.lexsort((-rewards, ~valid.astype(bool)))
    _, first = np.unique(simulator.canonical(indices[order]), axis=0, return_index=True)
    return indices[order[np.sort(first)[:most]]]
