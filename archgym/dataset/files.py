"""Data sets on disk.

    DIR/data.parquet   a row per design and agent: parameters, metrics (units in the fields' metadata),
                       feasible, agent, configuration,
                       seed, sample, count; environment and sources in the schema's metadata
                       ("archgym.dataset")
    DIR/README.md      the data card (`archgym.dataset.card`)

The metrics of infeasible designs are null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from archgym.dataset.card import card
from archgym.dataset.data import PROVENANCE, Dataset
from archgym.errors import ArchGymError
from archgym.files.archive import check_format, reading
from archgym.files.columns import arrow_table, read_designs
from archgym.files.paths import make_folder, write_atomically
from archgym.simulator import Metric
from archgym.space import DesignSpace

FORMAT = 1
METADATA = b"archgym.dataset"
FILE = "data.parquet"


def save_dataset(data: Dataset, folder: str | os.PathLike[str]) -> Path:
    """Write a data set and its card; the folder is made.

    Raises:
        ArchGymError: the folder cannot be written.
    """
    target = make_folder(folder)
    table = to_arrow(data)
    write_atomically(
        target / FILE,
        lambda file: pyarrow.parquet.write_table(table, file, compression="zstd", write_page_checksum=True),
    )
    write_atomically(target / "README.md", card(data).encode())
    return target


def about(data: Dataset) -> dict[str, Any]:
    """A data set's environment, parameters, metrics and sources, as JSON."""
    return {
        "format": FORMAT,
        "environment": dict(data.environment),
        "space": json.loads(data.space.to_json()),
        "metrics": [asdict(m) for m in data.metrics],
        "sources": list(data.sources),
    }


def to_arrow(data: Dataset) -> pyarrow.Table:
    """A data set as the table of its file."""
    units = {m.name: m.unit for m in data.metrics}
    columns = {
        **data.space.decode(data.indices),
        **{m.name: data.values[:, j] for j, m in enumerate(data.metrics)},
    }
    columns |= {name: getattr(data, name) for name in PROVENANCE}
    table = arrow_table(data.space, columns, nan_is_null=True)
    fields = [
        field.with_metadata({"unit": units[field.name]}) if field.name in units else field
        for field in table.schema
    ]
    return table.cast(pyarrow.schema(fields, metadata={METADATA: json.dumps(about(data))}))


def load_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Read and check a data set.

    Raises:
        ArchGymError: the folder has no data set, or a damaged one.
    """
    path = Path(folder).expanduser() / FILE
    if not path.is_file():
        raise ArchGymError(
            f"{folder} holds no data set ({FILE}); make one with archgym dataset build or archgym dataset "
            "sample"
        )
    with reading(path, "a data set of archgym", "build it again"):
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        return _from_table(table, json.loads((table.schema.metadata or {})[METADATA]))


def _from_table(table: pyarrow.Table, header: Mapping[str, Any]) -> Dataset:
    check_format(header["format"], FORMAT)
    space = DesignSpace.from_json(json.dumps(header["space"]))
    metrics = tuple(Metric(**m) for m in header["metrics"])
    if missing := [
        name
        for name in (*space.names, *(m.name for m in metrics), *PROVENANCE)
        if name not in table.column_names
    ]:
        raise ArchGymError(f"it lacks the columns {', '.join(missing)}")
    indices = read_designs(space, table)
    values = (
        np.stack([table[m.name].to_numpy().astype(float) for m in metrics], axis=1)
        if metrics
        else np.empty((len(indices), 0))
    )
    kinds: dict[str, Any] = {
        "feasible": bool,
        "agent": str,
        "configuration": str,
        "seed": np.int64,
        "sample": np.int64,
        "count": np.int64,
    }
    provenance = {name: np.array(table[name].to_pylist(), dtype=kind) for name, kind in kinds.items()}
    if not (provenance["count"] >= 1).all():
        raise ArchGymError("a count is below 1")
    if not np.isfinite(values[provenance["feasible"]]).all():
        raise ArchGymError("a feasible design lacks a metric")
    return Dataset(
        dict(header["environment"]),
        space,
        metrics,
        indices,
        values,
        **provenance,
        sources=tuple(header["sources"]),
    )
