"""Pareto fronts: the designs that no other beats in every metric, and how much of the metric space they dominate.

With every metric to be minimised (those that are better high change their sign), a point p dominates q where p <= q in all metrics and
p < q in one. The front is what nothing dominates; its quality is the hypervolume (Zitzler & Thiele, 1998) up to a reference point r,

    H(P) = volume of the union over p in P of the boxes [p, r]

computed exactly by WFG (While, Bradstreet & Barone, "A Fast Way of Calculating Exact Hypervolumes", 2012): the exclusive volumes

    H(P) = sum_k  volume [p_k, r] - H({ max(p_k, p_j) : j > k })

with the points in descending order of the last metric, in which the limited points max(p_k, p_j) then all agree, so that each recursion
has one dimension less; in two dimensions it is a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric
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
    distinct, group = np.unique(points, axis=0, return_inverse=True)  # in lexicographic order, in which no point dominates an earlier one
    front = np.zeros(len(distinct), bool)
    if points.shape[1] == 2:
        front[:1] = True
        front[1:] = distinct[1:, 1] < np.minimum.accumulate(distinct[:-1, 1])
    else:
        left = np.arange(len(distinct))
        while len(left):
            first, left = left[0], left[1:]
            front[first] = True
            left = left[(distinct[left] < distinct[first]).any(axis=1)]
    chosen: Array = front[group.reshape(-1)]
    return chosen


def hypervolume(points: Array, reference: Array) -> float:
    """The volume that points dominate up to a reference point, exact in any dimension.

    Args:
        points: [N, M], lower is better; dominated points and points beyond the reference add nothing.
        reference: [M].

    Raises:
        ArchGymError: shapes that do not match, or a coordinate that is not finite.
    """
    points, corner = _points(points), _points(np.asarray(reference, float)[None])
    if points.shape[1] != corner.shape[1]:
        raise ArchGymError(f"the reference point has {corner.shape[1]} metrics, the points have {points.shape[1]}")
    boxes = (corner - points)[(points < corner).all(axis=1)]
    return _union(boxes[non_dominated(-boxes)])


def _points(points: Any) -> Array:
    found = np.asarray(points, float) + 0.0  # -0.0 becomes 0.0, which it equals
    if found.ndim != 2 or found.shape[1] == 0:
        raise ArchGymError(f"points are an array [N, M] with M >= 1 metrics, not of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ArchGymError("a point has a metric that is not finite: leave infeasible designs out")
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
        metrics: what they were compared by, M of them.
        rows: which of the designs are on the front, int64 [F], from the best in the first metric on.
        values: their metrics, float64 [F, M].
        reference: the point that the hypervolume reaches to, in the metrics' units, float64 [M].
        hypervolume: of the front, in the product of the metrics' units.
        share: the hypervolume as a share of the box from the ideal point (the best of each metric) to the reference; None where that box
            is empty, so that there is nothing to share.
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
        ArchGymError: an unknown metric, one that is named twice, or one of which the schema does not say what is better.
    """
    by_name = {metric.name: metric for metric in known}
    for name in names:
        if name not in by_name:
            raise unknown("metric", name, by_name)
        if names.count(name) > 1:
            raise ArchGymError(f"the metric {name!r} is named twice")
        if by_name[name].better is None:
            directed = ", ".join(metric.name for metric in known if metric.better)
            raise ArchGymError(f"neither more nor less of {name!r} is better; metrics with a direction: {directed}")
    return tuple(by_name[name] for name in names)


def find_front(values: Array, metrics: Sequence[Metric], reference: Mapping[str, float] | None = None) -> Front:
    """The front of designs and its hypervolume.

    Args:
        values: metrics of feasible designs, in their units, [N, M].
        metrics: M metrics with a direction (`choose_metrics`).
        reference: metric -> its coordinate of the reference point; default: the worst value there is.

    Raises:
        ArchGymError: no designs, fewer than two metrics, or a reference for another metric.
    """
    if len(metrics) < 2:
        raise ArchGymError("a front needs at least two metrics: with one, the best design is the front")
    if len(values) == 0:
        raise ArchGymError("there is no feasible design, and so no front")
    given = dict(reference or {})
    for name in given:
        if name not in [metric.name for metric in metrics]:
            raise unknown("metric of the front", name, [metric.name for metric in metrics])
    signs = np.array([-1.0 if metric.better == "higher" else 1.0 for metric in metrics])
    points = signs * values
    worst = points.max(axis=0)
    corner = np.array([sign * given[m.name] if m.name in given else w for sign, m, w in zip(signs, metrics, worst, strict=True)])
    rows = np.flatnonzero(non_dominated(points))
    rows = rows[np.lexsort(points[rows].T[::-1])]
    volume, box = hypervolume(points[rows], corner), float(np.prod(np.maximum(corner - points.min(axis=0), 0)))
    return Front(tuple(metrics), rows, values[rows], signs * corner, volume, volume / box if box > 0 else None)
