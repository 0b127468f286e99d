"""A data set in memory and on disk.

    DIR/data.parquet   a row per design and agent: parameters by name with their values, metrics with their units in the fields' metadata,
                       feasible, agent, configuration, seed, sample, count; what they are of in the schema's metadata ("archgym.dataset")
    DIR/README.md      the data card (`archgym.dataset.card`)

Rows of one design and one agent are one row with a count; equal means equal indices, never a simulator's `canonical`. Metrics that an
infeasible design does not have are NaN here and null there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import check_format, reading
from archgym.files.columns import arrow_table, read_designs
from archgym.files.paths import make_folder, write_atomically
from archgym.simulator import Metric
from archgym.space import Array, DesignSpace, Indices

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
METADATA = b"archgym.dataset"
FILE = "data.parquet"
PROVENANCE = ("feasible", "agent", "configuration", "seed", "sample", "count")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Designs of one environment, and what was measured of them: N rows, one per design and agent.

    Attributes:
        environment: its id, its arguments ("kwargs") and its simulator's specification ("simulator").
        space: P parameters.
        metrics: M of them.
        indices: designs, int64 [N, P].
        values: metrics in their order, float64 [N, M]; NaN where infeasible.
        feasible: bool [N].
        agent: who asked for the design, str [N].
        configuration: the agent's hyperparameters as JSON, str [N]; like `seed` and `sample` those of the first time the agent asked.
        seed: of that run, int64 [N].
        sample: 0-based sample of that run, int64 [N].
        count: how often the agent asked, int64 [N].
        sources: what it was built from, in words.
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

    def column(self, metric: str) -> Array:
        """A metric, float64 [N].

        Raises:
            ArchGymError: no metric has this name.
        """
        names = [m.name for m in self.metrics]
        if metric not in names:
            raise unknown("metric", metric, names)
        column: Array = self.values[:, names.index(metric)]
        return column

    def rows(self, chosen: Any) -> Dataset:
        """The rows of a mask or of indices."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in ("indices", "values", *PROVENANCE)})

    def distinct(self) -> Dataset:
        """One row per design, in order of first appearance: counts summed, provenance of the first row, metrics averaged by count."""
        return merged(self, by_agent=False)


def merged(data: Dataset, *, by_agent: bool, deterministic: bool = False) -> Dataset:
    """Equal designs (of equal agents) as one row: counts summed, provenance of the first, metrics averaged over the counts.

    Args:
        deterministic: equal designs must have equal metrics.

    Raises:
        ArchGymError: they do not.
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
    measured = np.bincount(group, data.count * data.feasible, size)
    weights = data.count * data.feasible
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = [np.bincount(group, weights * np.where(data.feasible, column, 0.0), size) / measured for column in data.values.T]
    values = np.stack(sums, axis=1) if sums else np.empty((size, 0))
    same = _constant(data, group, size)  # an average of equal figures may differ from them in the last digit
    values[same] = data.values[first[same]]
    whole = replace(data.rows(first), values=values, feasible=measured > 0, count=np.bincount(group, data.count, size).astype(np.int64))
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
    equal = (data.feasible == data.feasible[leader]) & ((data.values == data.values[leader]) | np.isnan(data.values)).all(axis=1)
    constant: Array = np.bincount(group, ~equal, size) == 0
    return constant


def _check_same(data: Dataset, first: Indices, group: Indices) -> None:
    differing = ~_constant(data, group, len(first))
    if differing.any():
        row = first[differing][0]
        raise ArchGymError(
            f"{differing.sum():,} designs have different metrics in different runs, among them {data.space.design(data.indices[row])}: "
            f"{data.environment['id']} is deterministic, so that the simulator has changed between the runs; build a data set of each"
        )


def save_dataset(data: Dataset, folder: str | os.PathLike[str]) -> Path:
    """Write a data set and its card; the folder is made.

    Raises:
        ArchGymError: the folder cannot be written.
    """
    import pyarrow.parquet

    from archgym.dataset.card import card

    target = make_folder(folder)
    table = to_arrow(data)
    write_atomically(target / FILE, lambda file: pyarrow.parquet.write_table(table, file, compression="zstd", write_page_checksum=True))
    text = card(data)
    write_atomically(target / "README.md", lambda file: file.write(text.encode()))
    return target


def about(data: Dataset) -> dict[str, Any]:
    """What a data set is of and from, as JSON."""
    return {
        "format": FORMAT,
        "environment": dict(data.environment),
        "space": json.loads(data.space.to_json()),
        "metrics": [asdict(m) for m in data.metrics],
        "sources": list(data.sources),
    }


def to_arrow(data: Dataset) -> pyarrow.Table:
    """A data set as the table that lies on disk."""
    import pyarrow

    units = {m.name: m.unit for m in data.metrics}
    columns = {**data.space.decode(data.indices), **{m.name: data.values[:, j] for j, m in enumerate(data.metrics)}}
    columns |= {name: getattr(data, name) for name in PROVENANCE}
    table = arrow_table(data.space, columns, nan_is_null=True)
    fields = [field.with_metadata({"unit": units[field.name]}) if field.name in units else field for field in table.schema]
    return table.cast(pyarrow.schema(fields, metadata={METADATA: json.dumps(about(data))}))


def load_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Read and check a data set.

    Raises:
        ArchGymError: there is none, or it is damaged.
    """
    import pyarrow.parquet

    path = Path(folder).expanduser() / FILE
    if not path.is_file():
        raise ArchGymError(f"{folder} holds no data set ({FILE}): make one with archgym dataset build or archgym dataset sample")
    with reading(path, "a data set of archgym", "build it again"):
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        return _from_table(table, json.loads((table.schema.metadata or {})[METADATA]))


def _from_table(table: pyarrow.Table, header: Mapping[str, Any]) -> Dataset:
    check_format(header["format"], FORMAT)
    space = DesignSpace.from_json(json.dumps(header["space"]))
    metrics = tuple(Metric(**m) for m in header["metrics"])
    _check_columns(table.column_names, [*space.names, *(m.name for m in metrics), *PROVENANCE])
    indices = read_designs(space, table)
    values = np.stack([table[m.name].to_numpy().astype(float) for m in metrics], axis=1) if metrics else np.empty((len(indices), 0))
    kinds: dict[str, Any] = {"feasible": bool, "agent": str, "configuration": str, "seed": np.int64, "sample": np.int64, "count": np.int64}
    provenance: dict[str, Array] = {name: np.array(table[name].to_pylist(), dtype=kind) for name, kind in kinds.items()}
    if not (provenance["count"] >= 1).all():
        raise ArchGymError("a count is below 1")
    if not np.isfinite(values[provenance["feasible"]]).all():
        raise ArchGymError("a feasible design lacks a metric")
    return Dataset(dict(header["environment"]), space, metrics, indices, values, **provenance, sources=tuple(header["sources"]))


def _check_columns(found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise ArchGymError(f"it lacks the columns {', '.join(missing)}")
