"""Training plans of a transformer on a cluster: step time, memory, and what a step is made of.

    step_time_s             T, time of one step on the whole batch (`model`)
    memory_bytes            per GPU; a plan above its memory is infeasible
    mfu                   = B F / (N P T), with F flop of matrix products per sequence without recomputation,
                            P peak of a GPU
    bubble                = time in which pipeline stages wait / T
    exposed_communication = communication that no computation hides / T
    tokens_s              = B s / T
    energy_j              = N W T, where the cluster gives the power W of a GPU: an upper bound
    gpus, price             of the cluster, where it is chosen too (`co_design`)

for N GPUs and B sequences of s tokens. Plans that do not divide or do not fit are infeasible, with the
reason. The optimum is exact: all plans that divide are evaluated, once per process; with a cluster to choose,
plans are evaluated on the clusters that bounds leave (`co_design`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, whole
from archgym.objective import Objective
from archgym.simulator import Metric, Simulator
from archgym.simulators.parallelism.clusters import Cluster, load_cluster
from archgym.simulators.parallelism.co_design import (
    Judged,
    best_design,
    bounded,
    check_prices,
    cluster_at,
    cluster_values,
    price,
)
from archgym.simulators.parallelism.encoding import PREFIX, Encoding, chunk_numbers, divisors
from archgym.simulators.parallelism.language_models import ALIASES, load_model
from archgym.simulators.parallelism.model import simulate
from archgym.space import Array, Indices

BATCHES = {"22B": 512, "175B": 1536, "530B": 1920, "1T": 3072}
"""Sequences per step: 3.1 M tokens, near GPT-3's 3.2 M (Brown et al., 2020); those of Megatron-Turing NLG
(Smith et al., 2022) and of the 1T model of Narayanan et al. (2021); ours for 22B.
"""
METRICS = (
    Metric("step_time_s", "s", "lower"),
    Metric("memory_bytes", "B", "lower"),
    Metric("mfu", "1", "higher"),
    Metric("bubble", "1", "lower"),
    Metric("exposed_communication", "1", "lower"),
    Metric("tokens_s", "1/s", "higher"),
    Metric("energy_j", "J", "lower"),
    Metric("gpus", "1", "lower"),
    Metric("price", "1", "lower"),
)
_LOWER = ("step_time_s", "memory_bytes", "energy_j", "gpus", "price")
_HIGHER = ("tokens_s", "mfu")
_CHUNK = 2048  # plans at a time, whose columns stay in a core's cache


class Parallelism(Simulator):
    """Plans that train one language model on one cluster, or on clusters to choose from.

    Args:
        model: "22B", "175B", "530B", "1T", or a .json file.
        gpus: number of GPUs.
        system: "a100", "h100", a .json file, or a cluster.
        batch: sequences per step; None: 512, 1,536, 1,920 and 3,072 for the four models.
        literal: whether Calculon's own window of the overlap of gradients is used, errors included.
        tensors: values of the tensor degree; None: divisors of the fastest network's GPUs.
        pipelines: values of the pipeline degree, such as for several numbers of GPUs in one space; None:
            divisors of the GPUs up to the number of blocks.
        interleavings: values of the interleaving; None: numbers of chunks that some stage divides into.
        cluster_choices: field -> values that become parameters: gpus; link_gpus and link_gb_s of the fastest
            network, nic_gb_s of the slowest; hbm_gib, hbm_gb_s, matrix_tflops.
        prices: weights of the price (gpu, hbm_gib, hbm_gb_s, link_gb_s, nic_gb_s) in place of the default's.

    Raises:
        ArchGymError: an unknown or missing model or system, a number that is not positive, prices without
            choices, or no plan that divides.
    """

    identity = "archgym.simulators.parallelism.simulator:Parallelism"

    def __init__(
        self,
        model: str = "22B",
        gpus: int = 64,
        system: str | Cluster = "a100",
        batch: int | None = None,
        literal: bool = False,
        tensors: Sequence[int] | None = None,
        pipelines: Sequence[int] | None = None,
        interleavings: Sequence[int] | None = None,
        cluster_choices: Mapping[str, Sequence[float]] | None = None,
        prices: Mapping[str, float] | None = None,
    ):
        self.model, self.cluster, self.literal = load_model(model), load_cluster(system), bool(literal)
        self.clusters = cluster_values(self.cluster, whole("gpus", gpus, least=1), cluster_choices)
        self.gpus, self.chooses = gpus, bool(cluster_choices)
        if prices is not None and not self.chooses:
            raise ArchGymError("expected cluster_choices with prices, got prices alone; leave them out")
        self.prices = check_prices(prices)
        sizes = [int(number) for number in self.clusters["gpus"]]
        links = [int(number) for number in self.clusters["link_gpus"]]
        if tensors is None:
            tensors = sorted({t for link in links for t in divisors(link, self.model.heads)})
        if pipelines is None:
            pipelines = sorted({p for number in sizes for p in divisors(number, self.model.blocks)})
        pipelines = _degrees("pipelines", pipelines)
        if interleavings is None:
            interleavings = chunk_numbers(self.model.blocks, pipelines)
        self.batch = _batch(model, batch)
        self.encoding = Encoding(
            self.model,
            self.cluster,
            self.batch,
            self.clusters,
            _degrees("tensors", tensors),
            pipelines,
            _degrees("interleavings", interleavings),
        )
        self.space = self.encoding.space
        if not self.encoding.table.any():
            raise ArchGymError(
                f"no plan divides {' or '.join(map(str, sizes))} GPUs, {self.model.blocks} blocks and a "
                f"batch of {self.batch} sequences; choose a batch with more divisors, or other GPUs"
            )
        absent = {
            "energy_j": self.cluster.power_w is None,
            "gpus": len(sizes) == 1,
            "price": not self.chooses,
        }
        self.metrics = tuple(metric for metric in METRICS if not absent.get(metric.name, False))

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and what the model and the system are."""
        return {**super().specification, "model": asdict(self.model), "system": asdict(self.cluster)}

    def context_features(self) -> dict[str, float]:
        """Sizes of model and cluster, as logarithms to base 2; the middle one of several."""
        sizes = {**asdict(self.model), "batch": self.batch}
        sizes |= {PREFIX + name: values[len(values) // 2] for name, values in self.clusters.items()}
        return {**{name: math.log2(size) for name, size in sizes.items()}, "literal": float(self.literal)}

    def canonical(self, indices: Indices) -> Indices:
        """Plans with a fixed value of whatever has no meaning in them (`encoding`): [B, P] -> [B, P]."""
        return self.encoding.canonical(indices)

    def masks(self, indices: Indices, p: int) -> Array:
        """The values of parameter p after which plans may divide, of rows [B, >= p]: bool [B, n_p]."""
        return self.encoding.masks(indices, p)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, P] -> every metric, float64 [B], `feasible`, bool [B], and `failure`, [B], if any."""
        rows = self.canonical(indices)
        parts = [self._evaluate(rows[i : i + _CHUNK]) for i in range(0, max(len(rows), 1), _CHUNK)]
        found = parts[0] if len(parts) == 1 else _joined(parts)
        feasible = found["failure"] == ""
        if feasible.all():
            del found["failure"]
        return {**found, "feasible": feasible}

    def _evaluate(self, rows: Indices) -> dict[str, Array]:
        """Metrics of canonical rows [B, P], NaN where they do not divide; `failure`, "" where feasible."""
        failure = np.full(len(rows), "", object)
        undivided = ~self.encoding.divides(rows)
        if undivided.any():
            found = {metric.name: np.full(len(rows), np.nan) for metric in self.metrics}
            for name, column in self._measured(rows[~undivided]).items():
                found[name][~undivided] = column
            failure[undivided] = self.encoding.why(rows[undivided])
        else:
            found = self._measured(rows)
        needed, capacity = found["memory_bytes"] / 2**30, self._capacity_gib(rows)
        for row in np.flatnonzero(needed > capacity).tolist():
            failure[row] = f"{needed[row]:.4g} GiB do not fit the {capacity[row]:g} GiB of a GPU"
        return {**found, "failure": failure}

    def _measured(self, rows: Indices) -> dict[str, Array]:
        """Metrics of canonical plans [B, P] that divide, whether they fit or not: float64 [B]."""
        found = self._simulated(rows)
        return {metric.name: found[metric.name] for metric in self.metrics}

    def _simulated(self, rows: Indices) -> dict[str, Array]:
        """Every output of the model, and those of the cluster, for plans that divide: float64 [B]."""
        fields = self.encoding.clusters(rows)
        cluster = cluster_at(self.cluster, fields)
        found = simulate(self.model, cluster, self.encoding.plans(rows), literal=self.literal)
        own = {"gpus": fields["gpus"], "price": price(fields, self.prices)}
        own = {name: np.broadcast_to(np.asarray(value, float), len(rows)) for name, value in own.items()}
        shares = {"bubble": found["bubble_share"], "exposed_communication": found["communication_share"]}
        return {**found, **shares, **own}

    def _capacity_gib(self, rows: Indices) -> Array:
        return np.broadcast_to(self.encoding.clusters(rows)["hbm_gib"], len(rows))

    def optimum(self, objective: Objective) -> Indices | None:
        """The exact best plan, or plan and cluster, [P]; None where none is valid. With a cluster to choose
        also None in Calculon's form, and where the objective wants a metric that bounds are not for.
        """
        if not self.chooses:
            rows, columns, fits = self.plans()
            rewards = _rewards(objective, columns, fits)
            return None if rewards.max() == -np.inf else rows[rewards.argmax()].copy()
        falling = _HIGHER if len(self.clusters["matrix_tflops"]) == 1 else ("tokens_s",)
        known = not self.literal and bounded(objective, _LOWER, falling)
        return _best_of_clusters(self._task, objective) if known else None

    def plans(self) -> tuple[Indices, dict[str, Array], Array]:
        """All distinct plans that divide, [N, P], their metrics, float64 [N], and whether they fit, bool [N];
        on the first values of a cluster to choose. Evaluated once per process.
        """
        return _all_plans(self._task)

    @property
    def _task(self) -> _Task:
        return _Task(json.dumps(self.specification, sort_keys=True), self)

    def _judged(
        self, objective: Objective, rows: Indices, worst: Mapping[str, int], best: Mapping[str, int]
    ) -> Judged:
        """Rewards of plans [B, P] on the best cluster of a box, and bounds on them in the whole box."""
        rows = self.encoding.on(rows, best)
        reached = self._simulated(rows)
        fits = reached["memory_bytes"] <= self._capacity_gib(rows) * 2.0**30
        cheapest = {name: values[worst[name]] for name, values in self.clusters.items()}
        bound = {**reached, "price": np.full(len(rows), price(cheapest, self.prices))}
        return Judged(rows, *(_rewards(objective, columns, fits) for columns in (reached, bound)))


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rewards(objective: Objective, columns: Mapping[str, Array], fits: Array) -> Array:
    """Rewards [B], -inf where a plan is not valid."""
    rewards = objective(columns, fits)
    return np.where(rewards.valid, rewards.reward, -np.inf)


@dataclass(frozen=True)
class _Task:
    """A simulator by what identifies its results."""

    specification: str
    simulator: Parallelism = field(compare=False)


@lru_cache(maxsize=16)
def _all_plans(task: _Task) -> tuple[Indices, dict[str, Array], Array]:
    """All plans that divide, [N, P], their metrics, and whether they fit, [N]."""
    simulator = task.simulator
    rows = simulator.encoding.all_plans({})
    parts = [simulator._measured(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)]
    columns = _joined(parts)
    return rows, columns, columns["memory_bytes"] <= simulator.cluster.hbm_bytes


@lru_cache(maxsize=64)
def _best_of_clusters(task: _Task, objective: Objective) -> Indices | None:
    """The best design of all clusters, [P]."""
    simulator = task.simulator
    return best_design(
        simulator.clusters,
        simulator.encoding.all_plans,
        lambda rows, worst, best: simulator._judged(objective, rows, worst, best),
    )


def _batch(model: str, batch: int | None) -> int:
    if batch is not None:
        return whole("batch", batch, least=1)
    name = ALIASES.get(str(model), str(model))
    if name not in BATCHES:
        raise ArchGymError(
            f"expected batch, the sequences of a step, with the model {name}, got none; pass batch=512"
        )
    return BATCHES[name]


def _degrees(name: str, values: Any) -> list[int]:
    """Distinct positive whole numbers, ascending."""
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)) or not len(values):
        raise ArchGymError(f"expected {name} as a list of whole numbers, got {values!r}")
    return sorted({whole(f"every value of {name}", value, least=1) for value in values})
