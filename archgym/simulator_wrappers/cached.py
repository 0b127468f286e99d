"""Exact results, kept in memory or in an SQLite file that processes share."""

from __future__ import annotations

import hashlib
import json
import os
from types import NoneType

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.results import Records
from archgym.simulator import Simulator, evaluate_safely, unidentified
from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.space import Array, Indices
from archgym.values import write


class Cached(SimulatorWrapper):
    """Simulates a design once, then returns the same result with `cached` True.

    Failures are not stored, so that the next request tries them again; infeasible designs are. With a path,
    results are committed to an SQLite file at the end of every batch, and any process finds them under the
    same simulator (class, arguments, metric names) and parameter values; if two processes simulate a design
    at once, the first result counts. The cache does not notice changes to a simulator's code: give the
    simulator a version argument, or use a new file.

    Args:
        simulator: simulator of new designs; gets those of a batch together.
        path: the file, on a file system with locks; None to keep results in memory only.

    Raises:
        ArchGymError: a stochastic simulator; a file that cannot be opened and written; with a path, a
            simulator whose arguments do not identify it (a lambda, an open file).
    """

    identity = "archgym.simulator_wrappers:Cached"

    transparent = True

    def __init__(self, simulator: Simulator, path: str | os.PathLike[str] | None = None):
        if simulator.stochastic:
            raise ArchGymError(
                "a stochastic simulator cannot be cached; put the noise outside: Noisy(Cached(simulator))"
            )
        super().__init__(simulator)
        self._records: dict[bytes, bytes] = {}  # by key: feasible and the metrics, as float64 [1 + M]
        if not isinstance(path, (str, os.PathLike, NoneType)):
            raise ArchGymError(f"expected the path of a file as a cache of results, got {path!r}")
        self._file: Records | None = None
        if path is not None:
            self._prefix = self._identity()
            # JSON of values by index, filled on demand
            self._texts: list[dict[int, str]] = [{} for _ in self.space]
            self._file = Records(path)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Stored or simulated results: int64 [B, P] in, columns [B] out, with `cached` (True for repetitions
        in a batch), `failure` if any.

        Raises:
            ArchGymError: the file cannot be read or written any more.
        """
        return self._answer(indices, again=False)

    def remeasure(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """As `evaluate_indices`, with separate stored results: the first time, designs are simulated even if
        they are stored, so that a replayed search finds its second measurements too."""
        return self._answer(indices, again=True)

    def _answer(self, indices: Indices, again: bool) -> dict[str, Array]:
        keys = [self._key(row, again) for row in indices]
        if self._file is not None:
            self._records.update(self._file.get({key for key in keys if key not in self._records}))
        # first row of each new design
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._records}
        cached = np.ones(len(keys), bool)
        forgotten: dict[bytes, bytes] = {}  # records of failures, for this batch only
        reasons: dict[bytes, str] = {}
        if first:
            rows = np.array(list(first.values()))
            outcome = evaluate_safely(self.simulator, indices[rows], again=again)
            cached[rows] = False if outcome.cached is None else outcome.cached
            records = [
                record.tobytes()
                for record in np.column_stack([outcome.feasible, outcome.values]).astype("<f8")
            ]
            fresh = dict(zip(first, records, strict=True))
            reasons = {key: outcome.failures[row] for row, key in enumerate(first) if row in outcome.failures}
            forgotten = {key: fresh.pop(key) for key in reasons}
            self._remember(fresh)
        results = np.frombuffer(
            b"".join([self._records.get(key) or forgotten[key] for key in keys]), "<f8"
        ).reshape(len(keys), -1)
        columns: dict[str, Array] = {metric.name: results[:, 1 + j] for j, metric in enumerate(self.metrics)}
        columns["feasible"] = results[:, 0] == 1
        columns["cached"] = cached
        if reasons:
            columns["failure"] = np.array([reasons.get(key, "") for key in keys])
        return columns

    def close(self) -> None:
        """Close the file and the wrapped simulator."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _identity(self) -> bytes:
        """A hash of everything that results depend on besides the design."""
        simulator = self.simulator
        while isinstance(simulator, SimulatorWrapper) and simulator.transparent:
            simulator = simulator.simulator
        identity = {"simulator": simulator.specification, "metrics": [metric.name for metric in self.metrics]}
        if reason := unidentified(simulator.specification):
            raise ArchGymError(
                f"a cache on disk cannot identify this simulator by its arguments: {reason}; pass strings, "
                "numbers, arrays or objects of module-level classes instead"
            )
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).digest()

    def _key(self, row: Indices, again: bool) -> bytes:
        if self._file is None:
            return row.tobytes() + b"again" * again
        parts = []
        for parameter, texts, index in zip(self.space, self._texts, row.tolist(), strict=True):
            if index not in texts:
                texts[index] = f"{json.dumps(parameter.name)}: {json.dumps(write(parameter.value(index)))}"
            parts.append(texts[index])
        design = ", ".join(sorted(parts))
        return hashlib.sha256(self._prefix + design.encode() + b"again" * again).digest()

    def _remember(self, records: dict[bytes, bytes]) -> None:
        if self._file is None:
            self._records.update(records)
        else:
            self._file.put(records)
            self._records.update(self._file.get(records))  # another process may have been first
