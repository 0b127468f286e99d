"""Pareto fronts: the designs that no other beats in every metric, and how much of the metric space they
dominate.

With every metric to be minimised (those that are better high change their sign), a point p dominates q where
p <= q in all metrics and p < q in one. The front is what nothing dominates; its quality is the hypervolume
(Zitzler & Thiele, 1998) up to a reference point r,

    H(P) = volume of the union over p in P of the boxes [p, r]

computed exactly by WFG (While, Bradstreet & Barone, "A Fast Way of Calculating Exact Hypervolumes", 2012):
the exclusive volumes

    H(P) = sum_k  volume [p_k, r] - H({ max(p_k, p_j) : j > k })

with the points in descending order of the last metric, in which the limited points max(p_k, p_j) then all
agree, so that each recursion has one dimension less; in two dimensions it is a sweep.

Fronts behind the first, and how crowded each is, rank the designs of an evolutionary search (Deb et al., "A
Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import Objective
from archgym.progress import Progress, silent
from archgym.simulator import Metric, Simulator, evaluate_safely
from archgym.space import Array, Indices


def non_dominated(points: Array) -> Array:
    """Which points no other point dominates; equal points do not dominate each other.

    Args:
        points: [N, M], lower is better.

    Returns:
        bool [N].

    Raises:
        ArchGymError: not an array of points, or a coordinate that is not finite.
    """
    points = _points(points)
    order = np.lexsort(points.T[::-1])  # in which no point dominates an earlier one
    new = np.ones(len(points), bool)
    new[1:] = (points[order[1:]] != points[order[:-1]]).any(axis=1)
    distinct = points[order[new]]
    front = np.zeros(len(distinct), bool)
    if points.shape[1] == 2:
        front[:1] = True
        front[1:] = distinct[1:, 1] < np.minimum.accumulate(distinct[:-1, 1])
    elif points.shape[1] == 3:
        front[_above_stairs(distinct[:, 1:])] = True
    else:
        ranks = np.stack(
            [np.unique(column, return_inverse=True)[1].reshape(-1) for column in distinct.T], axis=1
        )
        # nor does one in this order, which has those first that dominate many
        left = np.argsort(ranks.sum(axis=1), kind="stable")
        while len(left):
            first, left = left[0], left[1:]
            front[first] = True
            left = left[(distinct[left] < distinct[first]).any(axis=1)]
    chosen = np.empty(len(points), bool)
    chosen[order] = front[np.cumsum(new) - 1]
    return chosen


def _above_stairs(points: Array) -> list[int]:
    """Places of the points [N, 2] that no earlier one is no worse than, in N log N steps: those so far are
    stairs, along which the second coordinate falls as the first rises.
    """
    first: list[float] = []
    second: list[float] = []
    found = []
    for place, (x, y) in enumerate(points.tolist()):
        start = bisect_right(first, x)
        if start and second[start - 1] <= y:
            continue
        start = end = bisect_left(first, x)
        while end < len(second) and second[end] >= y:
            end += 1
        first[start:end], second[start:end] = [x], [y]
        found.append(place)
    return found


def front_ranks(points: Array) -> Indices:
    """The front of every point: 0 where nothing dominates it, 1 where only points of front 0 do, and so on.

    Compares all pairs, which takes N^2 bytes of memory: for thousands of points, not for millions.

    Args:
        points: [N, M], lower is better.

    Returns:
        int64 [N].

    Raises:
        ArchGymError: not an array of points, or a coordinate that is not finite.
    """
    points = _points(points)
    if points.shape[1] == 1:
        return np.unique(points[:, 0], return_inverse=True)[1].reshape(-1).astype(np.int64)
    no_worse = np.ones((len(points), len(points)), bool)
    for column in points.T:
        no_worse &= column[:, None] <= column
    dominates = no_worse & ~no_worse.T
    ranks, rank, dominators = np.empty(len(points), np.int64), 0, dominates.sum(axis=0)
    while len(front := np.flatnonzero(dominators == 0)):
        ranks[front] = rank
        dominators -= dominates[front].sum(axis=0)
        dominators[front] = -1
        rank += 1
    return ranks


def crowding_distance(points: Array, ranks: Indices) -> Array:
    """How far apart the neighbours of every point are within its front.

    For each metric, the gap between the next smaller and the next larger value in the same front, as a share
    of the front's extent; the sum over metrics.

    Args:
        points: [N, M].
        ranks: front of every point (`front_ranks`), [N].

    Returns:
        float64 [N], infinite at the ends of a front.
    """
    distance = np.zeros(len(points))
    for column in np.asarray(points, float).T:
        order = np.lexsort((column, ranks))
        value, border = column[order], np.diff(ranks[order], prepend=-1, append=-1) != 0
        first, last = border[:-1], border[1:]
        extent = (value[last] - value[first])[np.cumsum(first) - 1]
        gap = np.full(len(value), np.inf)
        gap[1:-1] = (value[2:] - value[:-2]) / np.where(extent > 0, extent, 1.0)[1:-1]
        distance[order] += np.where(first | last, np.inf, gap)
    return distance


def hypervolume(points: Array, reference: Array) -> float:
    """The volume that points dominate up to a reference point, exact in any dimension.

    Args:
        points: [N, M], lower is better; dominated points and points beyond the reference add nothing.
        reference: [M].

    Raises:
        ArchGymError: shapes that do not match, or a coordinate that is not finite.
    """
    points, corner = _points_and_corner(points, reference)
    boxes = (corner - points)[(points < corner).all(axis=1)]
    return _union(boxes[non_dominated(-boxes)])


def growing_hypervolume(points: Array, reference: Array) -> Array:
    """The hypervolume of the first point, of the first two, and so on: each adds what it alone dominates.

    Args:
        points: [N, M], lower is better.
        reference: [M].

    Returns:
        float64 [N], never falling.

    Raises:
        ArchGymError: points or a reference that `hypervolume` refuses.
    """
    points, corner = _points_and_corner(points, reference)
    front = np.empty((0, points.shape[1]))  # boxes of the points so far
    volume, volumes = 0.0, np.empty(len(points))
    for n, box in enumerate(corner - points):
        if (box > 0).all() and not (front >= box).all(axis=1).any():
            limited = np.minimum(front, box)
            volume += float(box.prod()) - _union(
                limited[non_dominated(-limited)] if box.size > 2 else limited
            )
            front = np.concatenate([front[(front > box).any(axis=1)], box[None]])
        volumes[n] = volume
    return volumes


def extends_front(points: Array) -> Indices:
    """The points that no earlier one dominates or equals, each of which extends the front of those before it.

    Args:
        points: [N, M], lower is better.

    Returns:
        Rows, int64 [I], increasing.
    """
    points = _points(points)
    front = np.empty((0, points.shape[1]))
    rows = []
    for row, point in enumerate(points):
        if not (front <= point).all(axis=1).any():
            front = np.concatenate([front[(front < point).any(axis=1)], point[None]])
            rows.append(row)
    return np.array(rows, np.int64)


def _points_and_corner(points: Array, reference: Array) -> tuple[Array, Array]:
    points, corner = _points(points), _points(np.asarray(reference, float)[None])
    if points.shape[1] != corner.shape[1]:
        raise ArchGymError(
            f"expected a reference point of {points.shape[1]} metrics, as the points have, got "
            f"{corner.shape[1]}"
        )
    return points, corner


def _points(points: Any) -> Array:
    found = np.asarray(points, float) + 0.0  # -0.0 becomes 0.0, which it equals
    if found.ndim != 2 or found.shape[1] == 0:
        raise ArchGymError(f"expected points as an array [N, M] of M >= 1 metrics, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ArchGymError(
            "expected finite metrics, got a point with NaN or infinity; leave infeasible designs out"
        )
    return found


def _union(boxes: Array) -> float:
    """Volume of the union of boxes from the origin to corners [N, M]."""
    if len(boxes) == 0:
        return 0.0
    if boxes.shape[1] == 1:
        return float(boxes.max())
    if boxes.shape[1] == 2:
        widths, heights = boxes[np.argsort(-boxes[:, 0])].T
        return float(widths @ np.diff(np.maximum.accumulate(heights), prepend=0.0))
    boxes = boxes[np.argsort(boxes[:, -1])]
    volume = 0.0
    for k, box in enumerate(boxes[:, :-1]):
        limited = np.minimum(boxes[k + 1 :, :-1], box)
        if limited.shape[1] > 2:
            limited = limited[non_dominated(-limited)]
        volume += float(boxes[k, -1] * (box.prod() - _union(limited)))
    return volume


@dataclass(frozen=True, eq=False)
class Front:
    """The non-dominated designs among N.

    Attributes:
        metrics: the M compared metrics.
        rows: designs on the front, int64 [F], in the order of the first metric, best first.
        values: metrics of these designs, float64 [F, M].
        reference: the point that the hypervolume reaches to, in the metrics' units, float64 [M].
        hypervolume: volume between the front and the reference, in the product of the metrics' units.
        share: the hypervolume as a share of the box from the ideal point (the best of each metric) to the
            reference; None where that box is empty, so that the share is undefined.
    """

    metrics: tuple[Metric, ...]
    rows: Indices
    values: Array
    reference: Array
    hypervolume: float
    share: float | None


def choose_metrics(names: Sequence[str], known: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics of these names, each with a direction.

    Raises:
        ArchGymError: an unknown metric, a repeated one, or one without a direction in the schema.
    """
    by_name = {metric.name: metric for metric in known}
    for name in names:
        if name not in by_name:
            raise unknown("metric", name, by_name)
        if names.count(name) > 1:
            raise ArchGymError(f"expected distinct metrics, got {name!r} twice")
        if by_name[name].better is None:
            directed = ", ".join(metric.name for metric in known if metric.better)
            raise ArchGymError(
                f"expected a metric with a direction, got {name!r}; those with one: {directed}"
            )
    return tuple(by_name[name] for name in names)


def check_front(names: Sequence[str], simulator: Simulator) -> tuple[Metric, ...]:
    """The metrics of these names, to be traded off by agents: two or more, that agents see and that have a
    direction.

    Raises:
        ArchGymError: otherwise.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ArchGymError(f"expected the names of at least two metrics to trade off, got {names!r}")
    metrics = choose_metrics(names, [metric for metric in simulator.metrics if not metric.report_only])
    _check_two(metrics)
    return metrics


def _check_two(metrics: Sequence[Metric]) -> None:
    if len(metrics) < 2:
        raise ArchGymError("expected at least two metrics for a front, got one: the best design is its front")


def directions(metrics: Sequence[Metric]) -> Array:
    """Factors of the metrics that make lower better: float64 [M], 1 or -1."""
    return np.array([-1.0 if metric.better == "higher" else 1.0 for metric in metrics])


def find_front(
    values: Array, metrics: Sequence[Metric], reference: Mapping[str, float] | None = None
) -> Front:
    """The front of designs and its hypervolume.

    Args:
        values: metrics of feasible designs, in their units, [N, M].
        metrics: M metrics with a direction (`choose_metrics`).
        reference: metric -> coordinate of the reference point; default: the worst value among the designs.

    Raises:
        ArchGymError: no designs, fewer than two metrics, or a reference for another metric.
    """
    _check_two(metrics)
    if len(values) == 0:
        raise ArchGymError("expected at least one feasible design, got none: a front needs one")
    given = dict(reference or {})
    for name in given:
        if name not in [metric.name for metric in metrics]:
            raise unknown("metric of the front", name, [metric.name for metric in metrics])
    signs = directions(metrics)
    points = signs * values
    worst = points.max(axis=0)
    corner = np.array(
        [
            sign * given[m.name] if m.name in given else w
            for sign, m, w in zip(signs, metrics, worst, strict=True)
        ]
    )
    rows = np.flatnonzero(non_dominated(points))
    rows = rows[np.lexsort(points[rows].T[::-1])]
    volume, box = (
        hypervolume(points[rows], corner),
        float(np.prod(np.maximum(corner - points.min(axis=0), 0))),
    )
    return Front(
        tuple(metrics), rows, values[rows], signs * corner, volume, volume / box if box > 0 else None
    )


def exact_front(
    simulator: Simulator,
    objective: Objective,
    metrics: Sequence[Metric],
    *,
    chunk: int = 65536,
    progress: Progress = silent,
) -> tuple[Array, Array]:
    """The front of all valid designs, by enumeration of the whole space.

    Args:
        objective: objective whose constraints decide which designs are valid.
        metrics: M metrics with a direction.
        chunk: designs that are evaluated at once.
        progress: a function of (what is being done, the share that is done), called after each chunk.

    Returns:
        The front's distinct points, float64 [F, M], and the least and largest value of each metric among all
        valid designs, [2, M].

    Raises:
        ArchGymError: a measured or noisy simulator, one whose service counts every evaluation, or no design
            is valid.
    """
    if not simulator.deterministic or simulator.stochastic or simulator.counted_elsewhere:
        raise ArchGymError(
            "a measured, noisy or served simulator has no exact front here; find_front gives that of samples"
        )
    columns = [metric.name for metric in metrics]
    names = [metric.name for metric in simulator.metrics]
    signs = directions(metrics)
    front = np.empty((0, len(columns)))
    ends = np.array([[np.inf], [-np.inf]]) * np.ones(len(columns))
    done, what = 0, f"front of {simulator.space.size:,} designs"
    for indices in simulator.space.enumerate(chunk):
        outcome = evaluate_safely(simulator, indices)
        valid = objective.judge(outcome, names).valid
        values = outcome.values[valid][:, [names.index(name) for name in columns]]
        if len(values):
            ends = np.stack(
                [np.minimum(ends[0], values.min(axis=0)), np.maximum(ends[1], values.max(axis=0))]
            )
            front = np.concatenate([front, signs * values])
            front = np.unique(front[non_dominated(front)], axis=0)
        done += len(indices)
        progress(what, done / simulator.space.size)
    if not len(front):
        raise ArchGymError(
            "expected at least one valid design, got none under this objective; relax its constraints"
        )
    return signs * front, ends
