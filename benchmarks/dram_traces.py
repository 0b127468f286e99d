"""Memory controllers on other traces than cloud-1: what carries over. All designs, by the model.

python benchmarks/dram_traces.py [FILE.stl|NAME ...]    some generated traces by default

For each trace: latencies; the loss from taking a controller that is best for cloud-1, the luckiest and the
unluckiest of those that tie there, and the controller of this trace on cloud-1; the rank correlation of
latencies with those on cloud-1 over all designs; the share of designs within 1 % of the best; and the share
of the variance of log latency that each parameter explains alone.
"""

from __future__ import annotations

import os
import sys

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy.stats import spearmanr

from archgym.progress import progress_bar
from archgym.simulators.dram import ControllerModel, DramController
from archgym.simulators.dram.space import SPACE, canonical
from archgym.simulators.dram.tabulate import keep_table, table_path
from archgym.simulators.dram.traces import load_trace
from archgym.space import Array

TRACES = (
    "stream",
    "stream:streams=4,writes=0.25",
    "random",
    "random:gap=8",
    "row_hits:hits=0.8,writes=0.3",
    "hot_rows:rows=32",
    "banks:banks=1",
    "copy",
    "gather",
    "transpose",
    "bursts:writes=0.3",
    "cores",
)
EVERYTHING = SPACE.from_ordinal(np.arange(SPACE.size))
DESIGNS = EVERYTHING[(canonical(EVERYTHING) == EVERYTHING).all(axis=1)]


def latencies(name: str) -> tuple[str, Array]:
    """The latency of every distinct design, seconds, from a table that is made at first use."""
    trace = load_trace(name)
    if not table_path(trace).is_file():
        with progress_bar() as progress:
            keep_table(ControllerModel(name), trace, progress)
    return trace.name, DramController(trace.name).evaluate_indices(DESIGNS)["latency_s"]


def explained(values: Array, levels: Array) -> float:
    """Share of the variance between the means of levels."""
    means = np.array([values[levels == level].mean() for level in np.unique(levels)])
    counts = np.array([(levels == level).sum() for level in np.unique(levels)])
    return float((counts * (means - values.mean()) ** 2).sum() / len(values) / values.var())


def main(names: list[str]) -> None:
    cloud = DramController("cloud-1").evaluate_indices(DESIGNS)["latency_s"]
    best = cloud == cloud.min()
    columns = ("lowest us", "median us", "best of cloud-1, loss", "its best on cloud-1", "rank", "within 1 %")
    print("trace".ljust(32), *(column.rjust(23) for column in columns))
    shares = {"cloud-1": cloud}
    for name in names:
        title, found = latencies(name)
        shares[title] = found
        low, own = found.min(), found == found.min()
        loss = [f"{100 * (f(found[best]) / low - 1):.2f}" for f in (np.min, np.max)]
        back = [f"{100 * (f(cloud[own]) / cloud.min() - 1):.2f}" for f in (np.min, np.max)]
        cells = (
            f"{1e6 * low:.2f}",
            f"{1e6 * np.median(found):.2f}",
            f"{loss[0]} to {loss[1]} %",
            f"{back[0]} to {back[1]} %",
            f"{spearmanr(cloud, found).statistic:.2f}",
            f"{(found <= 1.01 * low).mean():.4f}",
        )
        print(title.ljust(32), *(cell.rjust(23) for cell in cells), flush=True)
    print("\nvariance of log latency explained by each parameter alone")
    print("".ljust(32), *(parameter[:14].rjust(15) for parameter in SPACE.names))
    for title, found in shares.items():
        parts = [explained(np.log(found), DESIGNS[:, p]) for p in range(len(SPACE.names))]
        print(title.ljust(32), *(f"{part:15.3f}" for part in parts))


if __name__ == "__main__":
    main(sys.argv[1:] or list(TRACES))
