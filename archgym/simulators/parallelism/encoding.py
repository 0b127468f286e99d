"""Training plans as rows of a design space, on one cluster or on clusters to choose from.

The degrees that have to divide each other, and what they are divided by, are the axes of one table of truth
values, `CELL`; from it come the plans that divide and the masks of agents that build a plan step by step.

Two plans are the same where a parameter has no meaning. One replica exchanges no gradients, so that it
neither shards the optimizer nor overlaps anything. One tensor parallel GPU exchanges no activations, so that
neither the kind of communication nor gathering again has a meaning. (Calculon's model frees memory for the
latter even then; here it does not.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.co_design import FIELDS, cluster_at
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.plans import (
    RECOMPUTE,
    SWITCHES,
    TENSOR_COMMUNICATION,
    divides,
    undivided,
)
from archgym.space import Array, Categorical, DesignSpace, Indices, Ordinal, Parameter

LARGEST_MICROBATCH = 16  # sequences
PREFIX = "cluster_"  # of the cluster's parameters
CELL = ("cluster_gpus", "cluster_link_gpus", "tensor", "pipeline", "microbatch", "interleaving")
OF_CLUSTER = CELL[:2]
AGAIN = {"tensor_communication": "sequence_parallel", "recompute": ["none", "attention"]}
OPTIONS: tuple[Parameter, ...] = (  # every plan may have any of them
    Ordinal("recompute", RECOMPUTE),
    Categorical("tensor_communication", TENSOR_COMMUNICATION),
    Categorical("gather_again", [False, True], when=AGAIN),
    *(Categorical(name, [False, True]) for name in SWITCHES if name != "gather_again"),
)

Truths = npt.NDArray[np.bool_]


class Encoding:
    """The plans of one model on clusters.

    Args:
        model, cluster, batch: what is trained, on what, and sequences per step.
        clusters: values of every one of `FIELDS`; those with several are parameters.
        tensors, pipelines, interleavings: values of the degrees.

    Attributes:
        space: the design space.
        values: values of every numeric axis by name, those of the cluster with `PREFIX`.
    """

    def __init__(
        self,
        model: LanguageModel,
        cluster: Cluster,
        batch: int,
        clusters: Mapping[str, Sequence[float]],
        tensors: Sequence[int],
        pipelines: Sequence[int],
        interleavings: Sequence[int],
    ):
        self.model, self.cluster, self.batch = model, cluster, batch
        axes: dict[str, Sequence[float]] = {
            **{PREFIX + name: values for name, values in clusters.items()},
            "tensor": tensors,
            "pipeline": pipelines,
            "microbatch": divisors(batch, LARGEST_MICROBATCH),
            "interleaving": interleavings,
        }
        chosen = {n: v for n, v in axes.items() if len(v) > 1 or not n.startswith(PREFIX)}
        self.values = {name: np.array(values) for name, values in axes.items()}
        self.space = DesignSpace([*(Ordinal(name, list(v)) for name, v in chosen.items()), *OPTIONS])
        self.places = {name: place for place, name in enumerate(self.space.names)}
        self._words: dict[int, str] = {}  # by flat indices of `CELL`

    def column(self, name: str, rows: Indices) -> Array:
        """A parameter's values in designs [B, P], or its only value: [B]."""
        if name not in self.places:
            return np.full(len(rows), self.values[name][0])
        return self.space[name].take(rows[:, self.places[name]])

    def plans(self, rows: Indices) -> dict[str, Any]:
        """Columns of plans, as `model.simulate` takes them, of canonical rows [B, P]."""
        names = [name for name in self.space.names if not name.startswith(PREFIX)]
        found: dict[str, Any] = {name: self.column(name, rows) for name in names}
        return {**found, "gpus": self.column("cluster_gpus", rows), "batch": self.batch}

    def clusters(self, rows: Indices) -> dict[str, Any]:
        """Values of `FIELDS`, a column [B] where designs choose it, else a number."""
        return {
            name: self.column(PREFIX + name, rows) if PREFIX + name in self.places else values[0]
            for name, values in ((name, self.values[PREFIX + name].tolist()) for name in FIELDS)
        }

    def cluster_of(self, rows: Indices) -> Cluster:
        """The cluster of each of the designs [B, P]."""
        return cluster_at(self.cluster, self.clusters(rows))

    def divides(self, rows: Indices) -> Truths:
        """Whether plans [B, P] divide: [B]."""
        found: Truths = divides(self.model, self.cluster_of(rows), self.plans(rows))
        return found

    def why(self, rows: Indices) -> Array:
        """Why plans [B, P] do not divide: texts [B]. By far most reasons are those of a plan's cell, each put
        into words once.
        """
        cells = np.zeros(len(rows), np.int64)
        for name in CELL:
            cells = cells * len(self.values[name]) + (
                rows[:, self.places[name]] if name in self.places else 0
            )
        plain = rows.copy()
        plain[:, self.places["recompute"] :] = 0
        new = [i for i in np.unique(cells, return_index=True)[1].tolist() if int(cells[i]) not in self._words]
        if new:
            self._words.update(zip(cells[new].tolist(), self._reasons(plain[new]), strict=True))
        found = np.array([self._words[cell] for cell in cells.tolist()], object)
        other = found == ""
        if other.any():
            found[other] = self._reasons(rows[other])
        return found

    def _reasons(self, rows: Indices) -> Array:
        return undivided(self.model, self.cluster_of(rows), self.plans(rows))

    def canonical(self, indices: Indices) -> Indices:
        """The representative of designs that are the same: [B, P] -> [B, P]."""
        rows: Indices = np.array(indices, np.int64)
        tensor = self.column("tensor", rows)
        alone = tensor * self.column("pipeline", rows) == self.column("cluster_gpus", rows)
        rows[tensor == 1, self.places["tensor_communication"]] = 0
        for name in ("shard_optimizer", "overlap_data"):
            rows[alone, self.places[name]] = 0
        return self.space.canonical(rows)

    @cached_property
    def table(self) -> Truths:
        """Whether plans divide, by indices of `CELL`, with the first value of every other parameter."""
        shape = tuple(len(self.values[name]) for name in CELL)
        rows = np.zeros((math.prod(shape), len(self.space)), np.int64)
        for name, index in zip(CELL, np.unravel_index(np.arange(len(rows)), shape), strict=True):
            if name in self.places:
                rows[:, self.places[name]] = index
        found: Truths = self.divides(rows).reshape(shape)
        return found

    def on(self, rows: Indices, cluster: Mapping[str, int]) -> Indices:
        """Designs [B, P] with the cluster's fields at other indices."""
        moved: Indices = rows.copy()
        for name, index in cluster.items():
            if PREFIX + name in self.places:
                moved[:, self.places[PREFIX + name]] = index
        return moved

    def all_plans(self, cluster: Mapping[str, int]) -> Indices:
        """All distinct plans that divide, with the cluster's fields at given indices, else at 0: [N, P]."""
        cells = np.argwhere(
            self.table[tuple(cluster.get(name.removeprefix(PREFIX), 0) for name in OF_CLUSTER)]
        )
        options = np.array(list(itertools.product(*(range(len(p)) for p in OPTIONS))), np.int64)
        rows = np.zeros((len(cells), len(options), len(self.space)), np.int64)
        first, last = self.places["tensor"], self.places["recompute"]
        rows[:, :, first:last] = cells[:, None]
        rows[:, :, last:] = options
        rows = self.on(rows.reshape(-1, len(self.space)), cluster)
        rows = rows[(self.canonical(rows) == rows).all(axis=1)]
        return rows[self.divides(rows)]

    def masks(self, indices: Indices, p: int) -> Truths:
        """The values of parameter number p after which plans may divide, of rows [B, >= p]: [B, n_p]; those
        of the space where none may.
        """
        masks: Truths = self.space.masks(indices, p)
        name = self.space.names[p]
        if name not in CELL:
            return masks
        axis = CELL.index(name)
        possible = self.table.any(axis=tuple(range(axis + 1, len(CELL))))
        before = [indices[:, self.places[n]] if n in self.places else 0 for n in CELL[:axis]]
        found = masks & np.asarray(possible)[tuple(before)]
        return np.where(found.any(axis=1, keepdims=True), found, masks)


def divisors(number: int, largest: int) -> list[int]:
    """Divisors of a number up to the largest, in order."""
    return [n for n in range(1, min(number, largest) + 1) if number % n == 0]


def chunk_numbers(blocks: int, pipelines: Sequence[int]) -> list[int]:
    """Every number of chunks that a stage of one of these pipelines divides into, in order."""
    stages = {math.ceil(blocks / p) for p in pipelines if p > 1}
    return sorted({1} | {v for stage in stages for v in divisors(stage, stage)})
