"""Tables of all designs of a simulator, in memory or in the user's data folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.files.archive import check_format, expect, reading, save_arrays
from archgym.files.paths import data_folder, make_folder
from archgym.objective import Objective
from archgym.progress import Progress, progress_bar, silent
from archgym.simulator import Metric, Simulator, evaluate_safely, unidentified
from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.simulator_wrappers.cached import Cached
from archgym.simulator_wrappers.parallel import Isolated, Parallel
from archgym.space import Array, DesignSpace, Indices
from archgym.values import identity_of
from archgym.words import shown

if TYPE_CHECKING:
    from archgym.shared import SharedTask

TABLE_FORMAT = 1  # format of the files of `Tabulated.save`
_TABLE_CHUNK = 16384  # designs
_PROBES, _STRIDE = 64, 39  # designs that a stored table is checked on, and their order
_PROBE_S = 1.0  # time after which no further design is checked, seconds


class Tabulated(Simulator):
    """Evaluates every design once, then looks results up: for spaces that fit in memory (8 bytes per metric
    and design).

    Args:
        simulator: simulator that fills the table; its attribute is None in a loaded table.
        limit: maximum number of designs.
        progress: function of (current step, share done).

    Raises:
        ArchGymError: a stochastic or measured simulator, or a space over the limit.
    """

    identity = "archgym.simulator_wrappers:Tabulated"

    tabulated = True

    def __init__(self, simulator: Simulator, limit: int = 50_000_000, progress: Progress = silent):
        if simulator.stochastic:
            raise ArchGymError(
                "a stochastic simulator cannot be tabulated; put the noise outside: "
                "Noisy(Tabulated(simulator))"
            )
        if not simulator.deterministic or simulator.counted_elsewhere:
            raise ArchGymError(
                "a measured or served simulator cannot be tabulated; use Cached(simulator), which keeps "
                "results"
            )
        if simulator.space.size > limit:
            raise ArchGymError(
                f"the space has {simulator.space.size:,} designs and the table's limit is {limit:,}; "
                "raise limit=, or use Cached(simulator), which stores only the designs that are evaluated"
            )
        self.simulator: Simulator | None = simulator
        self.space = simulator.space
        self.metrics = simulator.metrics
        self.default_objective = simulator.default_objective
        self.cost_unit, self.fidelity = simulator.cost_unit, simulator.fidelity
        values = np.empty((len(self.metrics), self.space.size))
        feasible = np.empty(self.space.size, bool)
        failures: dict[int, str] = {}
        start, what = 0, f"table of {simulator.space.size:,} designs"
        for indices in self.space.enumerate(_TABLE_CHUNK):
            outcome = evaluate_safely(simulator, indices)
            values[:, start : start + len(indices)] = outcome.values.T
            feasible[start : start + len(indices)] = outcome.feasible
            failures.update({start + row: reason for row, reason in outcome.failures.items()})
            start += len(indices)
            progress(what, start / self.space.size)
        self._fill(values, feasible, failures, None)

    def _fill(
        self, values: Array, feasible: Array, failures: dict[int, str], canonical: Array | None
    ) -> None:
        self._values = values  # float64 [M, size]; NaN where infeasible
        self._feasible = feasible  # bool [size]
        self._failures = failures  # reason by ordinal
        # int64 [size], ordinals; None in a table with its simulator, or without equivalent designs
        self._canonical = canonical
        self._names = tuple(metric.name for metric in self.metrics)
        self._optima: dict[Objective, Indices | None] = {}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look designs up: int64 [B, P] in, columns [B] out, with `failure` if any of them failed."""
        ordinals = self.space.to_ordinal(indices)
        columns = dict(zip(self._names, self._values.take(ordinals, axis=1), strict=True))
        columns["feasible"] = self._feasible.take(ordinals)
        infeasible = np.flatnonzero(~columns["feasible"]) if self._failures else ()
        if len(infeasible):
            failure = np.full(len(indices), "", object)
            failure[infeasible] = [
                self._failures.get(ordinal, "") for ordinal in ordinals[infeasible].tolist()
            ]
            columns["failure"] = failure
        return columns

    @property
    def unwrapped(self) -> Simulator:
        """The simulator that filled the table; the table itself if it was loaded."""
        return self if self.simulator is None else self.simulator.unwrapped

    def canonical(self, indices: Indices) -> Indices:
        """The representatives under the simulator that filled the table, also after `load`: [B, P] -> [B,
        P].
        """
        if self.simulator is not None:
            return self.simulator.canonical(indices)
        if self._canonical is None:
            return self.space.canonical(indices)
        return self.space.from_ordinal(self._canonical[self.space.to_ordinal(indices)])

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Reward float64 [size] and validity bool [size] of every design, by ordinal."""
        rewards = objective(dict(zip(self._names, self._values, strict=True)), self._feasible)
        return rewards.reward, rewards.valid

    def optimum(self, objective: Objective) -> Indices | None:
        """The valid design with the highest reward, [P], of equals that with the lowest ordinal; None if
        no design is valid.
        """
        if objective not in self._optima:
            reward, valid = self.table_rewards(objective)
            best = int(np.where(valid, reward, -np.inf).argmax())
            self._optima[objective] = self.space.from_ordinal(np.array([best]))[0] if valid[best] else None
        return self._optima[objective]

    def cost_of(self, indices: Indices) -> Array:
        """Costs of the simulator that filled the table, float64 [B]; 1 each in a loaded table."""
        return super().cost_of(indices) if self.simulator is None else self.simulator.cost_of(indices)

    def cost_after(self, indices: Indices, before: Indices) -> Array:
        """As `cost_of`, after other designs."""
        if self.simulator is None:
            return super().cost_after(indices, before)
        return self.simulator.cost_after(indices, before)

    def bound(self, objective: Objective) -> float | None:
        """None: a table's optimum is known."""
        return None

    def export(self, indices: Indices) -> tuple[str, bytes] | None:
        """A design's file, of the simulator that filled the table; None in a loaded table."""
        return None if self.simulator is None else self.simulator.export(indices)

    def masks(self, indices: Indices, p: int) -> Array:
        """Possible values of the simulator that filled the table; those of the space in a loaded table."""
        return super().masks(indices, p) if self.simulator is None else self.simulator.masks(indices, p)

    def state_features(self, indices: Indices) -> Array | None:
        """Features of the simulator that filled the table; None in a loaded table."""
        return None if self.simulator is None else self.simulator.state_features(indices)

    def cost_before(self) -> float:
        """Cost before the first evaluation, of the simulator that filled the table; 0 in a loaded table."""
        return 0.0 if self.simulator is None else self.simulator.cost_before()

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask | None:
        """Shared weights of the simulator that filled the table; None without."""
        if self.simulator is None:
            return None
        return self.simulator.shared(seed, fresh=fresh, partial=partial)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Designs that take no search, of the simulator that filled the table."""
        return {} if self.simulator is None else self.simulator.controls()

    @property
    def specification(self) -> dict[str, Any]:
        """The class and the simulator that filled the table; `load` restores the saved one."""
        if self.simulator is None:
            return self._saved_specification
        return {
            "simulator": identity_of(type(self)),
            "arguments": {"simulator": self.simulator.specification},
        }

    def close(self) -> None:
        """Close the simulator that filled the table."""
        if self.simulator is not None:
            self.simulator.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as an npz file, complete or not at all.

        Raises:
            ArchGymError: the file cannot be written.
        """
        arrays: dict[str, Array] = {
            "format": np.array(TABLE_FORMAT),
            "space": np.array(self.space.to_json()),
            "metrics": np.array(json.dumps([asdict(metric) for metric in self.metrics])),
            "specification": np.array(json.dumps(self.specification)),
            "values": self._values,
            "feasible": self._feasible,
            "failed": np.array(list(self._failures), np.int64),
            "reasons": np.array(list(self._failures.values()), np.str_),
        }
        canonical = np.concatenate(
            [self.space.to_ordinal(self.canonical(indices)) for indices in self.space.enumerate()]
        )
        if not np.array_equal(canonical, np.arange(self.space.size)):
            arrays["canonical"] = canonical
        save_arrays(path, arrays, compress=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], simulator: Simulator | None = None) -> Tabulated:
        """The table that `save` wrote.

        Args:
            path: file of the table.
            simulator: simulator whose table it is expected to be; None for a table without its simulator.

        Raises:
            ArchGymError: no such file, not a table, or a table of another simulator, of other arguments, or
                of a version that gives other results (`_PROBES` designs are compared).
        """
        if not isinstance(path, (str, os.PathLike)):
            raise ArchGymError(f"expected the path of a file as a table, got {path!r}")
        table = cls.__new__(cls)
        table.simulator = None
        with reading(path, "a table that Tabulated.save wrote"), np.load(path, allow_pickle=False) as archive:
            table._read({name: archive[name] for name in archive.files})
        if simulator is not None:
            if reason := table._is_not_of(simulator):
                raise ArchGymError(
                    f"expected {os.fspath(path)} to be a table of this simulator, {reason}; make it again: "
                    "Tabulated(simulator).save(path)"
                )
            while isinstance(simulator, Tabulated) and simulator.simulator is not None:
                simulator = simulator.simulator
            table.simulator, table.default_objective = simulator, simulator.default_objective
            table.cost_unit, table.fidelity = simulator.cost_unit, simulator.fidelity
        return table

    def _is_not_of(self, simulator: Simulator) -> str:
        """Why this is not a table of a simulator; "" where it is."""
        if reason := unidentified(simulator.specification):
            return f"got a simulator whose arguments do not identify it ({reason})"
        found, expected = (_flat(_inside(each.specification)) for each in (self, simulator))
        for name in {**expected, **found}:
            if found.get(name) != expected.get(name):
                return f"with {name} = {shown(expected.get(name))}, got {shown(found.get(name))}"
        if (self.space, self.metrics) != (simulator.space, simulator.metrics):
            return "got one with another space or other metrics"
        if not _agree(simulator, self):
            return "got one with other results: the simulator has changed since"
        return ""

    def _read(self, arrays: dict[str, Array]) -> None:
        check_format(arrays["format"], TABLE_FORMAT)
        self.space = DesignSpace.from_json(str(arrays["space"]))
        self.metrics = tuple(Metric(**metric) for metric in json.loads(str(arrays["metrics"])))
        self._saved_specification = dict(json.loads(str(arrays["specification"])))
        size, canonical = self.space.size, arrays.get("canonical")
        values, feasible, failed, reasons = (
            arrays[name] for name in ("values", "feasible", "failed", "reasons")
        )
        expect("values", values, (len(self.metrics), size), np.float64)
        expect("feasible", feasible, (size,), np.bool_)
        expect("failed", failed, (len(reasons),), np.int64)
        expect("reasons", reasons, (len(failed),), np.str_)
        if canonical is not None:
            expect("canonical", canonical, (size,), np.int64)
            if not ((canonical >= 0) & (canonical < size)).all():
                raise ArchGymError("canonical designs outside the space")
        if not all(np.isfinite(column[feasible]).all() for column in values):
            raise ArchGymError("a feasible design has a metric that is not finite")
        self._fill(values, feasible, dict(zip(failed.tolist(), reasons.tolist(), strict=True)), canonical)


class StoredTable(SimulatorWrapper):
    """`Tabulated(simulator)` from the user's data folder, for simulators that are too slow to tabulate every
    time.

    The first evaluation reads the table, or fills and writes it with its progress on stderr: one process does
    so while others wait. A table that disagrees with the current simulator on designs spread over the space
    is filled again.

    Args:
        simulator: deterministic simulator, identified by its specification, parameters and metrics.
    """

    identity = "archgym.simulator_wrappers:StoredTable"

    transparent = True

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look designs up: int64 [B, P] in, columns [B] out.

        Raises:
            ArchGymError: the simulator cannot be tabulated, or the folder cannot be written.
        """
        return self._table.evaluate_indices(indices)

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """See `Tabulated`."""
        return self._table.table_rewards(objective)

    def optimum(self, objective: Objective) -> Indices | None:
        """See `Tabulated`."""
        return self._table.optimum(objective)

    @cached_property
    def _table(self) -> Tabulated:
        from filelock import FileLock

        if unidentified(self.simulator.specification):  # its table could be that of another simulator
            return self._filled()
        identity = [
            self.simulator.specification,
            self.space.to_json(),
            [metric.name for metric in self.metrics],
        ]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        path = data_folder("tables", f"{key}.npz")
        make_folder(path.parent)
        with FileLock(path.with_suffix(".lock")):
            table = Tabulated.load(path) if path.is_file() else None
            if table is None or not _agree(self.simulator, table):
                table = self._filled()
                table.save(path)
        return table

    def _filled(self) -> Tabulated:
        with progress_bar() as progress:
            return Tabulated(self.simulator, progress=progress)


def _agree(simulator: Simulator, table: Tabulated) -> bool:
    """Whether a simulator gives the results of a table, on designs spread over the space for up to
    `_PROBE_S`.
    """
    size, end = table.space.size, time.monotonic() + _PROBE_S
    for i in range(_PROBES):  # an odd stride visits all of 64 places, neighbours far apart
        probe = table.space.from_ordinal(np.array([size * (_STRIDE * i % _PROBES) // _PROBES]))
        now, then = evaluate_safely(simulator, probe), evaluate_safely(table, probe)
        if not np.allclose(now.values, then.values, rtol=1e-9, atol=0, equal_nan=True):
            return False
        if time.monotonic() > end:
            break
    return True


def _inside(specification: Any) -> Any:
    """The specification of a simulator without the wrappers that leave its results as they are."""
    inside = json.loads(json.dumps(specification))
    while inside["simulator"] in _EXACT:
        inside = inside["arguments"]["simulator"]
    return inside


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, by dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    parts = [_flat(inner, f"{name}.{key}" if name else key) for key, inner in value.items()]
    return {key: inner for part in parts for key, inner in part.items()}


_EXACT = [identity_of(wrapper) for wrapper in (Tabulated, StoredTable, Cached, Parallel, Isolated)]
