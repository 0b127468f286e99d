"""Co-design: the cluster's parameters beside the plan's, what clusters cost, and the exact best of both.

Price, in A100s of 80 GB in servers of eight (ours, not a list price; every weight is an argument):

    price = N (w_gpu P / P0 + w_hbm_gib C / C0 + w_hbm_gb_s M / M0
               + w_link_gb_s K / K0 log(n) / log(8) + w_nic_gb_s I / I0)

for N GPUs with peak P, memory C and its bandwidth M, bandwidth K of the fastest network, which joins n GPUs,
and I of the slowest; P0 and so on are the A100's. log(n) stands for levels of switches. Without a price the
largest cluster is always best.

The optimum is found by branch and bound. A box is a range of values of every field that only makes a cluster
faster or larger as it grows (`GROWING`), with the number of GPUs and the size of the fastest network fixed.
Its best corner bounds what a plan can reach in it, except for the price, which is least at the worst corner:

    step time >= that at the best corner     memory = the plan's <= capacity at the best corner

No part of a step grows with a rate or a bandwidth, and what a faster GPU or link takes from the window in
which gradients are exchanged is at most what it takes from the step. (In Calculon's form the exposed exchange
jumps.) Boxes are halved, the best bound first; of each, those plans are kept whose bound is above the best
reward so far.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown, whole
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective
from archgym.simulators.parallelism.clusters import Cluster
from archgym.space import Indices

GROWING = ("link_gb_s", "nic_gb_s", "hbm_gib", "hbm_gb_s", "matrix_tflops")
WHOLE = ("gpus", "link_gpus")
FIELDS = (*WHOLE, *GROWING)

PRICES = {"gpu": 0.5, "hbm_gib": 0.15, "hbm_gb_s": 0.1, "link_gb_s": 0.1, "nic_gb_s": 0.15}
A100 = {"matrix_tflops": 312.0, "hbm_gib": 80.0, "hbm_gb_s": 2048.0, "link_gb_s": 300.0, "nic_gb_s": 25.0}

Floats = npt.NDArray[np.float64]


def cluster_values(
    cluster: Cluster, gpus: int, choices: Mapping[str, Sequence[float]] | None
) -> dict[str, list[float]]:
    """Values of every one of `FIELDS`, ascending: those chosen, or the cluster's own.

    Raises:
        ArchGymError: an unknown field, or values that are not distinct positive numbers.
    """
    if choices is not None and not isinstance(choices, Mapping):
        raise ArchGymError(
            f'expected cluster_choices such as {{"hbm_gib": [40, 80]}}, or None, got {choices!r}'
        )
    given = dict(choices or {})
    for name in given:
        if name not in FIELDS:
            raise unknown("field of cluster_choices", name, FIELDS)
    if "nic_gb_s" in given and len(cluster.networks) == 1:
        raise ArchGymError("expected a system of several networks with nic_gb_s, got one; choose link_gb_s")
    fastest, slowest = cluster.networks[0], cluster.networks[-1]
    own = {
        "gpus": gpus,
        "link_gpus": fastest.gpus,
        "link_gb_s": fastest.gb_s,
        "nic_gb_s": slowest.gb_s,
        "hbm_gib": cluster.hbm_gib,
        "hbm_gb_s": cluster.hbm_gb_s,
        "matrix_tflops": cluster.matrix_tflops,
    }
    return {name: _values(name, given.get(name, [own[name]])) for name in FIELDS}


def _values(name: str, given: Any) -> list[float]:
    if isinstance(given, (str, bytes)) or not isinstance(given, (Sequence, np.ndarray)) or not len(given):
        raise ArchGymError(f"expected a list of values of {name} in cluster_choices, got {given!r}")
    if name in WHOLE:
        return sorted(
            {whole(name, int(v) if isinstance(v, float) and v == int(v) else v, least=1) for v in given}
        )
    for value in given:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ArchGymError(f"expected positive values of {name}, got {value!r}")
    return sorted(set(given))


def cluster_at(cluster: Cluster, fields: Mapping[str, Any]) -> Cluster:
    """A cluster with other values of `FIELDS`, numbers or columns [B]."""
    networks = list(cluster.networks)
    networks[-1] = replace(networks[-1], gb_s=fields["nic_gb_s"])
    networks[0] = replace(networks[0], gpus=fields["link_gpus"], gb_s=fields["link_gb_s"])
    own = {name: fields[name] for name in ("hbm_gib", "hbm_gb_s", "matrix_tflops")}
    return replace(cluster, networks=tuple(networks), **own)


def check_prices(prices: Mapping[str, float] | None) -> dict[str, float]:
    """`PRICES` with some of them replaced.

    Raises:
        ArchGymError: an unknown part, or a weight below 0.
    """
    if prices is not None and not isinstance(prices, Mapping):
        raise ArchGymError(f'expected prices such as {{"nic_gb_s": 0.2}}, or None, got {prices!r}')
    for name, weight in (prices or {}).items():
        if name not in PRICES:
            raise unknown("part of the price", name, PRICES)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ArchGymError(f"expected a weight >= 0 as price of {name}, got {weight!r}")
    return {**PRICES, **(prices or {})}


def price(fields: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
    """Price of clusters in A100s, from numbers or columns [B] of `FIELDS`."""
    size = {name: fields[name] / of for name, of in A100.items()}
    size["gpu"] = size.pop("matrix_tflops")
    size["link_gb_s"] = size["link_gb_s"] * np.log2(np.maximum(fields["link_gpus"], 2)) / 3
    return fields["gpus"] * sum(weight * size[name] for name, weight in weights.items())


def bounded(objective: Objective, growing: Sequence[str], falling: Sequence[str]) -> bool:
    """Whether an objective wants every metric in the direction that bounds have."""
    wanted = {Minimize: growing, AtMost: growing, Maximize: falling, AtLeast: falling}
    parts = (*objective.terms, *objective.constraints)
    return all(part.weight >= 0 and part.metric in wanted.get(type(part), ()) for part in parts)


@dataclass(frozen=True)
class Judged:
    """Plans on the best cluster of a box, [B, P], with the rewards that they reach there and that bound what
    they reach in the box; -inf where they are not valid.
    """

    rows: Indices
    reached: Floats
    bound: Floats


@dataclass(order=True)
class _Box:
    """Ranges of indices of `GROWING`, and the plans that may be best in them."""

    priority: float
    number: int
    fixed: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    plans: Indices


def best_design(
    values: Mapping[str, Sequence[float]],
    plans: Callable[[Mapping[str, int]], Indices],
    judge: Callable[[Indices, Mapping[str, int], Mapping[str, int]], Judged],
) -> Indices | None:
    """The best plan on the best cluster, [P]; None where no design is valid.

    Args:
        values: values of every one of `FIELDS`.
        plans: function of indices of `WHOLE` -> all plans there, [N, P].
        judge: function of plans, and of the indices of `FIELDS` at the worst and at the best corner of a box.
    """
    best, winner = -math.inf, None
    count = itertools.count()
    heap: list[_Box] = []

    def visit(fixed: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...], rows: Indices) -> None:
        nonlocal best, winner
        if not len(rows):
            return
        worst, top = (dict(zip(FIELDS, (*fixed, *corner), strict=True)) for corner in (low, high))
        judged = judge(rows, worst, top)
        at = int(judged.reached.argmax())
        if judged.reached[at] > best:
            best, winner = float(judged.reached[at]), judged.rows[at].copy()
        kept = judged.bound > best
        if low != high and kept.any():
            heapq.heappush(heap, _Box(-judged.bound.max(), next(count), fixed, low, high, rows[kept]))

    last = tuple(len(values[name]) - 1 for name in GROWING)
    for fixed in itertools.product(*(range(len(values[name])) for name in WHOLE)):
        visit(fixed, (0,) * len(GROWING), last, plans(dict(zip(WHOLE, fixed, strict=True))))
    while heap and -heap[0].priority > best:
        box = heapq.heappop(heap)
        widest = max(range(len(GROWING)), key=lambda i: box.high[i] - box.low[i])
        middle = (box.low[widest] + box.high[widest]) // 2
        upper, lower = list(box.low), list(box.high)
        upper[widest], lower[widest] = middle + 1, middle
        visit(box.fixed, tuple(upper), box.high, box.plans)
        visit(box.fixed, box.low, tuple(lower), box.plans)
    return winner
