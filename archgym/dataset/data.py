"""A data set in memory; `archgym.dataset.files` writes and reads it.

Equal designs of one agent are one row with a count. Equal means equal indices, not a simulator's `canonical`.
The metrics of infeasible designs are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric
from archgym.space import Array, DesignSpace, Indices
from archgym.task import EnvSpecification

_MOVED = ("save_dataset", "load_dataset", "to_arrow", "about", "FORMAT", "METADATA", "FILE")
__getattr__ = old_names(__name__, **{name: f"archgym.dataset.files:{name}" for name in _MOVED})

PROVENANCE = ("feasible", "agent", "configuration", "seed", "sample", "count")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Designs of one environment and their measured metrics: N rows, one per design and agent.

    Attributes:
        environment: the environment's id, its arguments ("kwargs") and its simulator's specification
            ("simulator").
        space: P parameters.
        metrics: M metrics.
        indices: designs, int64 [N, P].
        values: metrics in their order, float64 [N, M]; NaN where infeasible.
        feasible: feasibility, bool [N].
        agent: name of the agent that proposed the design, str [N].
        configuration: the agent's hyperparameters as JSON in the run that proposed the design first, str [N].
        seed: seed of that run, int64 [N].
        sample: 0-based sample of that run, int64 [N].
        count: proposals of the design by the agent, int64 [N].
        sources: origins of the rows, in words.
    """

    environment: Mapping[str, Any]
    space: DesignSpace
    metrics: tuple[Metric, ...]
    indices: Indices
    values: Array
    feasible: Array
    agent: Array
    configuration: Array
    seed: Array
    sample: Array
    count: Array
    sources: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def env(self) -> EnvSpecification:
        """The environment as a specification."""
        return EnvSpecification.from_dict(self.environment)

    def column(self, metric: str) -> Array:
        """A metric, float64 [N].

        Raises:
            ArchGymError: no metric has this name.
        """
        names = [m.name for m in self.metrics]
        if metric not in names:
            raise unknown("metric", metric, names)
        return self.values[:, names.index(metric)]

    def rows(self, chosen: Any) -> Dataset:
        """The rows of a mask or of indices."""
        return replace(
            self, **{name: getattr(self, name)[chosen] for name in ("indices", "values", *PROVENANCE)}
        )

    def distinct(self) -> Dataset:
        """One row per design, in order of first appearance: counts summed, provenance of the first row,
        metrics averaged by count.
        """
        return merged(self, by_agent=False)


def merged(data: Dataset, *, by_agent: bool, deterministic: bool = False) -> Dataset:
    """Equal designs (of equal agents) as one row: counts summed, provenance of the first, metrics averaged
    over the counts.

    Args:
        data: N rows.
        by_agent: whether equal designs of different agents stay different rows.
        deterministic: whether to refuse equal designs with different metrics.

    Raises:
        ArchGymError: equal designs with different metrics, where `deterministic` is set.
    """
    if len(data) == 0:
        return data
    keys = data.indices
    if deterministic:
        _check_same(data, *_groups(keys))
    if by_agent:
        keys = np.column_stack([keys, np.unique(data.agent, return_inverse=True)[1]])
    first, group = _groups(keys)
    size = len(first)
    weights = data.count * data.feasible
    measured = np.bincount(group, weights, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = [
            np.bincount(group, weights * np.where(data.feasible, column, 0.0), size) / measured
            for column in data.values.T
        ]
    values = np.stack(sums, axis=1) if sums else np.empty((size, 0))
    same = _constant(data, group, size)  # an average of equal numbers may differ from them in the last digit
    values[same] = data.values[first[same]]
    whole = replace(
        data.rows(first),
        values=values,
        feasible=measured > 0,
        count=np.bincount(group, data.count, size).astype(np.int64),
    )
    return whole.rows(np.argsort(first))


def _groups(keys: Indices) -> tuple[Indices, Indices]:
    """First row and group number of equal rows of keys: int64 [G], [N]."""
    packed = np.ascontiguousarray(keys, dtype=np.int64).view(np.dtype((np.void, keys.shape[1] * 8))).ravel()
    _, first, group = np.unique(packed, return_index=True, return_inverse=True)
    return first, group


def _constant(data: Dataset, group: Indices, size: int) -> Array:
    """Groups whose rows agree in all metrics and in feasibility: bool [G]."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(size))
    leader = order[starts][group]
    equal = (data.feasible == data.feasible[leader]) & (
        (data.values == data.values[leader]) | np.isnan(data.values)
    ).all(axis=1)
    return np.asarray(np.bincount(group, ~equal, size) == 0)


def _check_same(data: Dataset, first: Indices, group: Indices) -> None:
    differing = ~_constant(data, group, len(first))
    if differing.any():
        row = first[differing][0]
        raise ArchGymError(
            f"{differing.sum():,} designs have different metrics in different runs, among them "
            f"{data.space.design(data.indices[row])}: {data.env.id} is deterministic, so the simulator has "
            "changed between the runs; build a data set of each"
        )
