"""Logic synthesis of a circuit by ABC: a sequence of passes, and the circuit that it leaves.

    and_gates, levels     of the and-inverter graph after the passes
    luts, lut_levels      of its cover by look-up tables of six inputs (`if -K 6`)
    area, delay_ps        of its cover by cells of a Liberty file (`map`), where one is given

Every result is proven equivalent to the circuit (`cec`); a design whose result is not is infeasible. Prefixes
that any search has run are kept (`tree`), so that a sequence costs the passes after its longest known prefix.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable, reason_of
from archgym.files.paths import check_readable, data_folder, in_words, make_folder
from archgym.files.results import Records
from archgym.simulator import Simulator
from archgym.simulators.synthesis.abc import MEMORY_BYTES, Abc, find_abc, version_of
from archgym.simulators.synthesis.circuits import load_circuit
from archgym.simulators.synthesis.graph import graph_features
from archgym.simulators.synthesis.space import (
    MAPPED,
    METRICS,
    PASSES,
    Sequence,
    prefix_features,
    scripts,
    sequence_space,
    sequences,
)
from archgym.simulators.synthesis.tree import COPY, PassFailed, State, Tree
from archgym.space import Array, Indices

CACHE = "synthesis.sqlite"
LIBRARY_BYTES = 256 << 20  # size of the largest Liberty file


class LogicSynthesis(Simulator):
    """Sequences of passes, carried out by ABC.

    One process of ABC per simulator, and per worker of `Parallel`.

    Args:
        circuit: name from `list_circuits()`, or path of a file .aig, .blif, .bench or .v.
        slots: passes of a sequence at most.
        library: Liberty file with the cells for area and delay; None for neither.
        timeout_s: time limit of a pass, seconds; then it is killed and the design fails.
        memory_bytes: limit on the address space of ABC, bytes.
        cache: whether results are kept in the user's data folder, for other processes and sessions.

    Raises:
        ArchGymError: an unknown or unreadable circuit or library, a number out of range.
        SimulatorUnavailable: ABC is not installed, or does not start.
    """

    identity = "archgym.simulators.synthesis.simulator:LogicSynthesis"

    def __init__(
        self,
        circuit: str | os.PathLike[str] = "int_to_float-11",
        slots: int = 10,
        library: str | os.PathLike[str] | None = None,
        timeout_s: float = 60.0,
        memory_bytes: int = MEMORY_BYTES,
        cache: bool = True,
    ):
        if not timeout_s > 0:
            raise ArchGymError(f"expected timeout_s > 0, got {timeout_s!r}")
        self.space = sequence_space(slots)
        self.slots, self.timeout_s, self.memory_bytes, self.cache = slots, timeout_s, memory_bytes, cache
        self.circuit = load_circuit(circuit)
        self._library = b"" if library is None else _read_library(Path(library).expanduser())
        self.metrics = METRICS if library is None else METRICS + MAPPED
        self.program = find_abc()
        self.version = version_of(self.program)
        self._tree: Tree | None = None
        self._owner = os.getpid()  # process that the tree's program belongs to
        self._root = self.tree.root

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Carry sequences out, one after the other: int64 [B, K] in, columns [B] out, with `failure` where
        one failed or took too long.

        Raises:
            SimulatorUnavailable: ABC does not start.
        """
        values = np.full((len(indices), len(self.metrics)), np.nan)
        failures = [""] * len(indices)
        for row, sequence in enumerate(sequences(self.space, indices)):
            try:
                values[row] = self._measure(sequence)
            except SimulatorUnavailable:
                raise
            except ArchGymError as error:
                failures[row] = reason_of(error)
        columns: dict[str, Array] = {
            metric.name: column for metric, column in zip(self.metrics, values.T, strict=True)
        }
        columns["feasible"] = np.array([not reason for reason in failures], bool)
        if any(failures):
            columns["failure"] = np.array(failures, object)
        return columns

    def state_features(self, indices: Indices) -> Array:
        """What sequences [B, K] have made of the circuit (`prefix_features`), float32 [B, 15]; of one that
        fails, what the passes before the failure have made.
        """
        rows = []
        for sequence in sequences(self.space, indices):
            states = self.states(sequence)
            gates, levels = [state.and_gates for state in states], [state.levels for state in states]
            rows.append(prefix_features(sequence, self.slots, gates, levels))
        return np.array(rows, np.float32)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """ABC's scripts that fit (`scripts`)."""
        return scripts(self.slots)

    def states(self, sequence: Sequence) -> list[State]:
        """The circuit and its states after each pass, up to one that fails: K + 1 at most.

        Args:
            sequence: places of the passes in `PASSES`.
        """
        try:
            return self.tree.walk(sequence)
        except PassFailed as failed:
            return failed.states

    def script(self, indices: Indices) -> str:
        """The commands that carry a design [K] out by hand."""
        passes = [PASSES[number] for number in next(sequences(self.space, np.asarray(indices)[None]))]
        file = f"circuit{self.circuit.suffix}"
        return "; ".join([f"read {file}; strash; {COPY}", *(f"{one}; {COPY}" for one in passes)])

    def graph(self, indices: Indices) -> bytes:
        """The result of a design [K] as a file in binary AIGER.

        Raises:
            ArchGymError: a pass fails.
        """
        sequence = next(sequences(self.space, np.asarray(indices)[None]))
        graph = self.tree.graph(self.tree.walk(sequence)[-1])
        if graph is None:
            raise ArchGymError("the result is not kept; evaluate the design again")
        return graph

    def export(self, indices: Indices) -> tuple[str, bytes]:
        """The result of a design [K] as a file in binary AIGER (`graph`)."""
        return ".aig", self.graph(indices)

    def context_features(self) -> dict[str, float]:
        """Statistics of the circuit (`graph_features`), and the number of slots."""
        graph = self.tree.graph(self._root)
        assert graph is not None  # the root is kept
        return {**graph_features(graph, self._root.levels), "slots": float(self.slots)}

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, digests of circuit and library, and the version of ABC."""
        given = super().specification
        arguments = {
            name: value
            for name, value in given.get("arguments", {}).items()
            if name not in ("circuit", "library", "cache", "memory_bytes")
        }
        return {
            **given,
            "arguments": arguments,
            "circuit": self.circuit.digest,
            "library": _digest(self._library),
            "tool": self.version,
        }

    @property
    def tree(self) -> Tree:
        """The tree of sequences, with this process's ABC."""
        if self._tree is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._tree = self._grow()
        return self._tree

    def close(self) -> None:
        """End ABC and close the file of results."""
        if self._tree is not None and self._owner == os.getpid():
            self._tree.abc.close()
            if self._tree.records is not None:
                self._tree.records.close()
        self._tree = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tree": None}

    def _grow(self) -> Tree:
        file = f"circuit{self.circuit.suffix}"
        files = {file: self.circuit.content}
        setup: tuple[str, ...] = ()
        if self._library:
            files["cells.lib"], setup = self._library, ("read_lib cells.lib",)
        abc = Abc(self.program, self.timeout_s, self.memory_bytes, files, setup)
        records = Records(make_folder(data_folder("cache")) / CACHE) if self.cache else None
        try:
            return Tree(abc, self.version, file, self.circuit.digest, records, _digest(self._library))
        except ArchGymError as error:
            abc.close()
            if isinstance(error, SimulatorUnavailable):
                raise
            what = "library" if "read_lib" in str(error) else f"circuit {self.circuit.name!r}"
            raise ArchGymError(f"ABC cannot read the {what}: {error}") from error

    def _measure(self, sequence: Sequence) -> list[float]:
        """The metrics of a sequence, in order."""
        tree = self.tree
        state = tree.walk(sequence)[-1]
        if reason := tree.check(state, sequence):
            raise ArchGymError(reason)
        found: list[float] = [state.and_gates, state.levels, *tree.luts(state, sequence)]
        if self._library:
            found += tree.mapped(state, sequence)
        return found


def _read_library(path: Path) -> bytes:
    """The content of a Liberty file."""
    check: Callable[[Path, str], None] = check_readable
    try:
        check(path, "the library")
        if path.stat().st_size > LIBRARY_BYTES:
            raise ArchGymError(f"the library {path} has more than {LIBRARY_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise ArchGymError(f"cannot read the library {path}: {in_words(error)}") from error
    if b"library" not in content[:4096]:
        raise ArchGymError(f"expected a Liberty file (library (NAME) {{ ... }}), got {path}")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16] if content else ""
