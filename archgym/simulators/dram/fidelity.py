"""The model of the controller against runs of DRAMSys on the same trace.

Runs are a CSV file in the form of `archgym.simulators.dram.pack`, complete or not, or the table that ships.
Relative differences are |model - run| / run; a time is equal where both are the same whole number of
picoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, whole
from archgym.progress import Progress, silent
from archgym.simulator import Simulator
from archgym.simulators.dram.model import BYTES_S, PER_UNIT
from archgym.simulators.dram.pack import Runs, read_runs
from archgym.simulators.dram.space import METRICS, SPACE, canonical
from archgym.simulators.dram.table import load_table
from archgym.space import Array, Indices

SHIPPED = "cloud-1"
SHIPPED_TRACE = "52a2a4ed774adcf7"  # digest of the trace that the shipped table was made on
WORST = 5  # designs that reports name
_CHUNK = 1024  # designs between two reports of progress
_REFRESH = SPACE.names.index("refresh_policy")


@dataclass(frozen=True)
class Comparison:
    """The model's figures beside those of runs, R rows.

    Attributes:
        designs: int64 [R, 10].
        refresh: whether a design refreshes, bool [R].
        model, runs: metric -> figures in SI units, float64 [R].
    """

    designs: Indices
    refresh: npt.NDArray[np.bool_]
    model: Mapping[str, Array]
    runs: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.designs)

    def of(self, refresh: bool) -> Comparison:
        """The rows with refreshes, or those without."""
        rows = self.refresh == refresh
        model, runs = ({name: each[rows] for name, each in part.items()} for part in (self.model, self.runs))
        return Comparison(self.designs[rows], self.refresh[rows], model, runs)

    @property
    def differences(self) -> dict[str, Array]:
        """Metric -> relative differences without sign, [R]."""
        return {name: np.abs(self.model[name] / run - 1) for name, run in self.runs.items()}

    @property
    def largest(self) -> dict[str, float]:
        """Metric -> largest relative difference; 0 without rows."""
        return {name: float(each.max(initial=0)) for name, each in self.differences.items()}

    @property
    def mean(self) -> dict[str, float]:
        """Metric -> mean relative difference; 0 without rows."""
        return {name: float(each.mean()) if len(each) else 0.0 for name, each in self.differences.items()}

    @property
    def equal(self) -> float:
        """Share of rows with the same time; 1 without rows."""
        if not len(self):
            return 1.0
        ours, theirs = (np.rint(part["latency_s"] * 1e12) for part in (self.model, self.runs))
        return float((ours == theirs).mean())

    def worst(self) -> list[dict[str, Any]]:
        """The designs whose times differ, the largest difference first, at most `WORST`, with both times."""
        differences = self.differences["latency_s"]
        order = [i for i in np.argsort(-differences, kind="stable")[:WORST].tolist() if differences[i] > 0]
        return [
            {
                "design": SPACE.design(self.designs[i]),
                "model_s": float(self.model["latency_s"][i]),
                "run_s": float(self.runs["latency_s"][i]),
                "relative_difference": float(differences[i]),
            }
            for i in order
        ]


def shipped_runs() -> Runs:
    """The runs of the shipped table, a row per distinct design."""
    everything = SPACE.from_ordinal(np.arange(SPACE.size))
    distinct = np.flatnonzero((canonical(everything) == everything).all(axis=1))
    table = load_table(SHIPPED)
    return Runs(everything[distinct], table.figures[table.outcome[distinct]], table.digest)


def compare(
    simulator: Simulator,
    data: Path | None = None,
    sample: int | None = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """The model beside runs on the same trace.

    Args:
        simulator: model of the trace.
        data: CSV file with the runs; None for the shipped table.
        sample: number of random designs with refreshes; all designs without are taken; None takes all rows.
        seed: seed of the draw.
        progress: function of (current step, share done).

    Raises:
        ArchGymError: an invalid file, a sample that is not positive, a failure of the model.
    """
    if sample is not None:
        whole("sample", sample, least=1)
    runs = shipped_runs() if data is None else read_runs(data)
    refresh = runs.designs[:, _REFRESH] != 0
    rows = np.arange(len(refresh))
    if sample is not None and refresh.sum() > sample:
        drawn = np.random.default_rng(seed).choice(rows[refresh], sample, replace=False)
        rows = np.sort(np.concatenate([rows[~refresh], drawn]))
    designs, figures = runs.designs[rows], runs.figures[rows].T
    values = [*(figures[:3] / PER_UNIT[:, None]), figures[3] * BYTES_S]
    names = [metric.name for metric in METRICS]
    model = _evaluated(simulator, designs, progress)
    return Comparison(designs, refresh[rows], model, dict(zip(names, values, strict=True)))


def _evaluated(simulator: Simulator, designs: Indices, progress: Progress) -> dict[str, Array]:
    parts = []
    for start in range(0, len(designs), _CHUNK):
        parts.append(simulator.evaluate_indices(designs[start : start + _CHUNK]))
        if not parts[-1]["feasible"].all():
            raise ArchGymError("the model has no result for a design of the runs; its trace is another one")
        progress(f"{len(designs):,} designs", min(start + _CHUNK, len(designs)) / len(designs))
    return {m.name: np.concatenate([part[m.name] for part in parts]) for m in METRICS}
