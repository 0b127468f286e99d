"""Parallelism plans: their columns, which of them divide a model among GPUs, and all of them.

A plan splits every matrix product among `tensor` GPUs, the blocks among `pipeline` stages, and the batch
among data = gpus / (tensor pipeline) replicas. Each replica runs its sequences in microbatches; each stage
holds `interleaving` chunks of blocks. Networks are filled from the first (fastest) on: tensor parallel GPUs
first, then stages, then replicas; a group that does not fit beside the inner ones goes to the next network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown, whole
from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.language_models import LanguageModel

RECOMPUTE = ("none", "attention", "full")
TENSOR_COMMUNICATION = ("all_reduce", "scattered_transfers", "sequence_parallel")
DEGREES = ("gpus", "batch", "tensor", "pipeline", "microbatch", "interleaving")
CHOICES = {"recompute": RECOMPUTE, "tensor_communication": TENSOR_COMMUNICATION}
SWITCHES = ("gather_again", "fuse_activation", "shard_optimizer", "overlap_data")
NETWORKS = ("tensor_network", "pipeline_network", "data_network")
COLUMNS = (*DEGREES, *CHOICES, *SWITCHES)
MICROBATCHES = tuple(range(1, 17))
_NAME = re.compile(r"{(\w+)}")
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
    """Columns of B plans in the symbols of the equations: t, p, d, m (sequences per microbatch), v (chunks
    per stage), M (microbatches), and masks.
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
    tensor_network: Any
    pipeline_network: Any
    data_network: Any

    @property
    def sharers(self) -> Any:
        """GPUs that share one copy of the optimizer's state."""
        return np.where(self.shard_optimizer, self.d, 1.0)


def read_plans(cluster: Cluster, plans: Columns) -> Plans:
    """The columns of plans, broadcast to [B] with those of the cluster.

    Raises:
        ArchGymError: a missing or unknown column or choice, or a number that is not whole and above 0.
    """
    for name in plans:
        if name not in COLUMNS and name not in NETWORKS:
            raise unknown("column of plans", name, [*COLUMNS, *NETWORKS])
    if missing := [name for name in COLUMNS if name not in plans]:
        raise ArchGymError(f"expected the column {missing[0]!r} of plans; all are {', '.join(COLUMNS)}")
    shape = np.broadcast_shapes(*map(np.shape, plans.values()), cluster.shape) or (1,)
    numbers = {name: np.broadcast_to(_degree(name, plans[name]), shape) for name in DEGREES}
    recompute = _masks("recompute", plans["recompute"], shape)
    communication = _masks("tensor_communication", plans["tensor_communication"], shape)
    t, p, m = numbers["tensor"], numbers["pipeline"], numbers["microbatch"]
    d = numbers["gpus"] / (t * p)
    return Plans(
        gpus=numbers["gpus"],
        batch=numbers["batch"],
        t=t,
        p=p,
        d=d,
        m=m,
        v=numbers["interleaving"],
        M=numbers["batch"] / d / m,
        attention_again=~recompute["none"],
        full_again=recompute["full"],
        sequence_parallel=communication["sequence_parallel"],
        scattered=~communication["all_reduce"],
        **{name: np.broadcast_to(np.asarray(plans[name], bool), shape) for name in SWITCHES},
        **dict(zip(NETWORKS, _networks(cluster, plans, (t, p, d)), strict=True)),
    )


def _degree(name: str, column: Any) -> Any:
    found = np.asarray(column)
    if found.dtype.kind not in "iuf" or np.any(found < 1) or np.any(found != np.floor(found)):
        raise ArchGymError(f"expected whole numbers >= 1 in the column {name!r} of plans")
    return found.astype(float)


def _masks(name: str, column: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Where a column has each of its values."""
    found = np.asarray(column)
    masks = {value: found == value for value in CHOICES[name]}
    if not np.all(known := np.logical_or.reduce(list(masks.values()))):
        raise unknown(name, found[~known].flat[0] if found.ndim else found, CHOICES[name])
    return {value: np.broadcast_to(mask, shape) for value, mask in masks.items()}


def _networks(cluster: Cluster, plans: Columns, degrees: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Number of the network [B] of tensor, pipeline and data parallel groups."""
    found = []
    shape = degrees[0].shape
    network: Any = np.zeros(shape, int)
    filled: Any = np.ones(shape)  # by the groups that it has already
    for name, degree in zip(NETWORKS, degrees, strict=True):
        last = network
        if name in plans:
            network = np.broadcast_to(np.asarray(plans[name], int), shape)
            if np.any((network < 0) | (network >= len(cluster.networks))):
                most = len(cluster.networks) - 1
                raise ArchGymError(f"expected the column {name!r} of plans as numbers from 0 to {most}")
            filled = np.where(network == last, filled, 1)
        else:
            for number, each in enumerate(cluster.networks[:-1]):
                together = filled * degree
                fits = (together <= each.gpus) & (~np.asarray(each.divided) | (each.gpus % together == 0))
                moves = (network == number) & (degree > 1) & ~fits
                network, filled = np.where(moves, number + 1, network), np.where(moves, 1, filled)
        filled = filled * degree
        found.append(network)
    return found[0], found[1], found[2]


def divides(model: LanguageModel, cluster: Cluster, plans: Columns) -> np.ndarray[Any, Any]:
    """Mask [B] of the plans that divide the model, the batch and the GPUs."""
    plan = read_plans(cluster, plans)
    _, refusals = _refusals(model, cluster, plan)
    return np.asarray(~np.logical_or.reduce([mask for mask, _ in refusals]))


def undivided(model: LanguageModel, cluster: Cluster, plans: Columns) -> np.ndarray[Any, Any]:
    """Why each plan does not divide the model, the batch or the GPUs: a line [B], empty where it does."""
    plan = read_plans(cluster, plans)
    columns, refusals = _refusals(model, cluster, plan)
    found = np.full(plan.t.shape, "", object)
    for mask, text in refusals:
        rows = np.flatnonzero(mask & (found == ""))
        used = {name: np.broadcast_to(columns[name], found.shape)[rows] for name in _NAME.findall(text)}
        for place, row in enumerate(rows):
            found[row] = text.format(**{name: f"{column[place]:g}" for name, column in used.items()})
    return found


def _refusals(
    model: LanguageModel, cluster: Cluster, plan: Plans
) -> tuple[dict[str, Any], list[tuple[Any, str]]]:
    """Columns for the texts, and pairs of a mask [B] and a text, the most basic first."""
    n, batch, t, p, d, m, v = plan.gpus, plan.batch, plan.t, plan.p, plan.d, plan.m, plan.v
    h, f, a, L = model.hidden, model.feedforward, model.heads, model.blocks
    tokens, stage = m * model.sequence, np.ceil(L / p)
    columns = dict(n=n, batch=batch, t=t, p=p, d=d, m=m, v=v, h=h, f=f, a=a, L=L, tokens=tokens, stage=stage)
    refusals = [
        (n % (t * p) != 0, "tensor {t} x pipeline {p} does not divide {n} GPUs"),
        (a % t != 0, "tensor {t} does not divide {a} heads"),
        (h % t != 0, "tensor {t} does not divide hidden {h}"),
        (f % t != 0, "tensor {t} does not divide feedforward {f}"),
        (p > L, "pipeline {p} exceeds {L} blocks"),
        (batch % d != 0, "data {d} does not divide batch {batch}"),
        (batch % (d * m) != 0, "data {d} x microbatch {m} does not divide batch {batch}"),
        (plan.scattered & (tokens % t != 0), "tensor {t} does not divide {tokens} tokens per microbatch"),
        ((p == 1) & (v > 1), "interleaving {v} needs pipeline > 1"),
        (stage % v != 0, "interleaving {v} does not divide {stage} blocks per stage"),
        (plan.gather_again & ~plan.sequence_parallel, "gather_again needs sequence_parallel communication"),
        (plan.gather_again & plan.full_again, "gather_again needs recompute none or attention"),
        (plan.shard_optimizer & (d == 1), "shard_optimizer needs data > 1"),
        (plan.overlap_data & (d == 1), "overlap_data needs data > 1"),
    ]
    networks = plan.tensor_network, plan.pipeline_network, plan.data_network
    for number, network in enumerate(cluster.networks):
        used, size = f"used_{number}", f"size_{number}"
        groups = [np.where(index == number, each, 1) for each, index in zip((t, p, d), networks, strict=True)]
        columns |= {used: np.prod(groups, axis=0), size: network.gpus}
        over, uneven = columns[used] > network.gpus, network.gpus % columns[used] != 0
        refusals += [
            (over, f"{{{used}}} GPUs exceed the {{{size}}} of network {number}"),
            (network.divided & uneven, f"{{{used}}} GPUs do not divide the {{{size}}} of network {number}"),
        ]
    return columns, refusals


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


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if not number % each]
