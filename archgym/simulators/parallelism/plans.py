"""Parallelism plans: their columns, which of them divide a model among GPUs, and all of them.

A plan splits every matrix product among `tensor` GPUs, the blocks among `pipeline` stages, and the batch among

    data = gpus / (tensor pipeline)

replicas. Each replica runs its sequences in microbatches; each stage holds `interleaving` chunks of blocks.
Networks are filled from the first (fastest) on: tensor parallel GPUs first, then stages, then replicas; a group
that does not fit beside the inner ones goes to the next network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.errors import ArchGymError, unknown, whole

RECOMPUTE = ("none", "attention", "full")
TENSOR_COMMUNICATION = ("all_reduce", "scattered_transfers", "sequence_parallel")
DEGREES = ("gpus", "batch", "tensor", "pipeline", "microbatch", "interleaving")
CHOICES = {"recompute": RECOMPUTE, "tensor_communication": TENSOR_COMMUNICATION}
SWITCHES = ("gather_again", "fuse_activation", "shard_optimizer", "overlap_data")
NETWORKS = ("tensor_network", "pipeline_network", "data_network")
COLUMNS = (*DEGREES, *CHOICES, *SWITCHES)
MICROBATCHES = tuple(range(1, 17))
Columns = Mapping[str, Any]
"""Columns [B] of plans, or single values for all of them:

    gpus, batch              GPUs, and sequences per step
    tensor, pipeline         GPUs per matrix product, and stages
    microbatch               sequences per microbatch and replica
    interleaving             chunks per stage
    recompute                what the backward pass computes again: none, attention, full
    tensor_communication     all_reduce; scattered_transfers: each GPU sends its part to the next stage, which
                             gathers it; sequence_parallel: norms and dropouts are split too
    gather_again             keep only the own part of gathered inputs (sequence_parallel)
    fuse_activation          GeLU without an input in memory
    shard_optimizer          each replica keeps 1 / data of the optimizer's state
    overlap_data             exchange gradients during the backward pass
    tensor_network, pipeline_network, data_network
                             optional: number of the network that a group uses
"""


@dataclass(frozen=True)
class Plans:
    """Columns of B plans in the symbols of the equations: t, p, d, m (sequences per microbatch), v (chunks per
    stage), M (microbatches), s_o (replicas that share the optimizer), and masks.
    """

    gpus: Any
    batch: Any
    t: Any
    p: Any
    d: Any
    m: Any
    v: Any
    M: Any
    attention_again: Any
    full_again: Any
    sequence_parallel: Any
    scattered: Any
    gather_again: Any
    fuse_activation: Any
    shard_optimizer: Any
    overlap_data: Any
    networks: tuple[Any, Any, Any]

    @property
    def sharers(self) -> Any:
        """GPUs that share one copy of the optimizer's state."""
        return np.where(self.shard_optimizer, self.d, 1.0)


def read_plans(cluster: Cluster, plans: Columns) -> Plans:
    """The columns of plans, broadcast to [B].

    Raises:
        ArchGymError: a missing or unknown column.
    """
    for name in plans:
        if name not in COLUMNS and name not in NETWORKS:
            raise unknown("column of plans", name, [*COLUMNS, *NETWORKS])
    if missing := [name for name in COLUMNS if name not in plans]:
        raise ArchGymError(f"expected the column {missing[0]!r} of plans; all are {', '.join(COLUMNS)}")
    shape = np.broadcast_shapes(*(np.shape(each) for each in plans.values())) or (1,)
    numbers = {name: np.broadcast_to(np.asarray(plans[name], float), shape) for name in DEGREES}
    names = {name: np.broadcast_to(np.asarray(plans[name]), shape) for name in CHOICES}
    masks = {name: np.broadcast_to(np.asarray(plans[name], bool), shape) for name in SWITCHES}
    t, p, m = numbers["tensor"], numbers["pipeline"], numbers["microbatch"]
    d = numbers["gpus"] / (t * p)
    full = names["recompute"] == "full"
    return Plans(
        gpus=numbers["gpus"],
        batch=numbers["batch"],
        t=t,
        p=p,
        d=d,
        m=m,
        v=numbers["interleaving"],
        M=numbers["batch"] / d / m,
        attention_again=full | (names["recompute"] == "attention"),
        full_again=full,
        sequence_parallel=names["tensor_communication"] == "sequence_parallel",
        scattered=names["tensor_communication"] != "all_reduce",
        networks=_networks(cluster, plans, (t, p, d)),
        **masks,
    )


def _networks(cluster: Cluster, plans: Columns, degrees: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Number of the network [B] of tensor, pipeline and data parallel groups."""
    found = []
    network: Any = np.zeros(degrees[0].shape, int)
    filled: Any = np.ones(degrees[0].shape)
    for name, degree in zip(NETWORKS, degrees, strict=True):
        if name in plans:
            network = np.broadcast_to(np.asarray(plans[name], int), degree.shape)
            found.append(network)
            continue
        for number, each in enumerate(cluster.networks[:-1]):
            together = filled * degree
            fits = (together <= each.gpus) & (not each.divided or each.gpus % together == 0)
            moves = (network == number) & (degree > 1) & ~fits
            network, filled = np.where(moves, number + 1, network), np.where(moves, 1.0, filled)
        filled = filled * degree
        found.append(network)
    return found[0], found[1], found[2]


def reasons(model: LanguageModel, cluster: Cluster, plans: Columns) -> np.ndarray[Any, Any]:
    """Why each plan cannot be run, memory aside: one line per plan [B], empty where it can."""
    plan = read_plans(cluster, plans)
    found = np.full(plan.t.shape, "", object)
    for bad, text in _refusals(model, cluster, plan):
        for row in np.flatnonzero(np.broadcast_to(bad, found.shape) & (found == "")):
            found[row] = text(row)
    return found


def _refusals(model: LanguageModel, cluster: Cluster, plan: Plans) -> Any:
    """Pairs (mask [B], text of a row), most basic first."""

    def of(template: str, **columns: Any) -> Any:
        return lambda row: template.format(
            **{name: f"{float(np.broadcast_to(each, plan.t.shape)[row]):g}" for name, each in columns.items()}
        )

    t, p, d, m, v = plan.t, plan.p, plan.d, plan.m, plan.v
    names = {"t": t, "p": p, "d": d, "m": m, "v": v, "n": plan.gpus, "batch": plan.batch}
    whole_ = np.minimum.reduce([plan.gpus, plan.batch, t, p, m, v]) >= 1
    yield ~whole_, of("gpus, batch, tensor, pipeline, microbatch and interleaving must be >= 1")
    yield plan.gpus % (t * p) != 0, of("tensor {t} x pipeline {p} does not divide {n} GPUs", **names)
    for what, number in (("heads", model.heads), ("hidden", model.hidden), ("feedforward", model.feedforward)):
        yield number % t != 0, of("tensor {t} does not divide {number} " + what, number=number, **names)
    yield p > model.blocks, of("pipeline {p} exceeds {number} blocks", number=model.blocks, **names)
    yield plan.batch % d != 0, of("data {d} does not divide batch {batch}", **names)
    yield plan.batch % (d * m) != 0, of("microbatch {m} x data {d} does not divide batch {batch}", **names)
    split = m * model.sequence % t != 0
    yield plan.scattered & split, of("tensor {t} does not divide {number} tokens", number=m * model.sequence, **names)
    blocks = np.ceil(model.blocks / p)
    yield (p == 1) & (v > 1), of("interleaving {v} needs pipeline > 1", **names)
    yield blocks % v != 0, of("interleaving {v} does not divide {number} blocks per stage", number=blocks, **names)
    yield plan.gather_again & ~plan.sequence_parallel, of("gather_again needs sequence_parallel communication")
    yield plan.gather_again & plan.full_again, of("gather_again needs recompute none or attention")
    yield plan.shard_optimizer & (d == 1), of("shard_optimizer needs data > 1")
    yield plan.overlap_data & (d == 1), of("overlap_data needs data > 1")
    for number, network in enumerate(cluster.networks):
        used = np.ones_like(t)
        for degree, index in zip((t, p, d), plan.networks, strict=True):
            used = used * np.where(index == number, degree, 1.0)
        words = {"used": used, "size": network.gpus, "number": number}
        yield used > network.gpus, of("{used} GPUs exceed the {size} of network {number}", **words)
        odd = network.divided & (network.gpus % used != 0)
        yield odd, of("{used} GPUs do not divide the {size} of network {number}", **words)


def enumerate_plans(
    model: LanguageModel,
    cluster: Cluster,
    gpus: int,
    batch: int,
    *,
    microbatches: tuple[int, ...] = MICROBATCHES,
) -> dict[str, np.ndarray[Any, Any]]:
    """Columns [B] of all plans that divide a model and a batch among GPUs; memory is not checked.

    Args:
        model: model to train.
        cluster: cluster, whose first network bounds tensor parallelism.
        gpus: GPUs, all of which are used.
        batch: sequences per step.
        microbatches: candidates for the sequences per microbatch.
    """
    gpus, batch = whole("gpus", gpus, least=1), whole("batch", batch, least=1)
    splits = [
        (t, p, m, v)
        for t in _divisors(gpus)
        if t <= cluster.networks[0].gpus and not model.heads % t
        for p in _divisors(gpus // t)
        if p <= model.blocks and not batch % (gpus // (t * p))
        for m in microbatches
        if not batch % (gpus // (t * p) * m)
        for v in (_divisors(-(-model.blocks // p)) if p > 1 else [1])
    ]
    switches = list(product(range(3), range(3), *[(False, True)] * 4))
    degrees = np.repeat(np.array(splits, int).reshape(-1, 4), len(switches), axis=0)
    chosen = np.tile(np.array(switches, int), (len(splits), 1))
    plans: dict[str, Any] = {"gpus": np.full(len(chosen), gpus), "batch": np.full(len(chosen), batch)}
    plans |= dict(zip(DEGREES[2:], degrees.T, strict=True))
    plans |= {name: np.array(values)[chosen[:, i]] for i, (name, values) in enumerate(CHOICES.items())}
    plans |= {name: chosen[:, 2 + i].astype(bool) for i, name in enumerate(SWITCHES)}
    keep = divides(model, cluster, plans)
    return {name: column[keep] for name, column in plans.items()}


def divides(model: LanguageModel, cluster: Cluster, plans: Columns) -> Any:
    """Whether plans can be run, memory aside: bool [B], as `reasons` without words."""
    plan = read_plans(cluster, plans)
    bad: Any = np.zeros(plan.t.shape, bool)
    for refused, _ in _refusals(model, cluster, plan):
        bad = bad | refused
    return ~bad


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if not number % each]
