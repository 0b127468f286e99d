"""Logic synthesis looked up: all sequences of at most six passes on a circuit, as ABC left it.

Exact: every result is what `LogicSynthesis` gives with the version of ABC in the table's provenance, and the
optimum of any objective is known. Nothing has to be installed.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, whole
from archgym.objective import Objective
from archgym.simulator import Simulator
from archgym.simulators.synthesis.graph import graph_features
from archgym.simulators.synthesis.simulator import LogicSynthesis
from archgym.simulators.synthesis.space import (
    METRICS,
    prefix_features,
    scripts,
    sequence_space,
    sequences,
)
from archgym.simulators.synthesis.table import load_table
from archgym.space import Array, Indices


class TabularSynthesis(Simulator):
    """Sequences of passes on a circuit with a table.

    Args:
        circuit: name from `list_tables()`.
        slots: passes of a sequence at most, no more than the table has.

    Raises:
        ArchGymError: a circuit without a table, a damaged table, more slots than it has.
    """

    identity = "archgym.simulators.synthesis.tabular:TabularSynthesis"
    tabulated = True

    metrics = METRICS

    def __init__(self, circuit: str = "int_to_float-11", slots: int = 6):
        self.table = load_table(circuit)
        self.slots = whole("slots", slots, least=1)
        if slots > self.table.slots:
            raise ArchGymError(
                f"expected at most {self.table.slots} slots, of which the table of {circuit!r} has all "
                f'sequences, got {slots}; use backend="abc"'
            )
        self.circuit, self.space = circuit, sequence_space(slots)
        self._whole = sequence_space(self.table.slots)
        self._figures = self.table.figures.astype(float).T  # [4, M]
        self._names = tuple(metric.name for metric in self.metrics)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Look sequences up: int64 [B, K] in, columns [B] out; all feasible."""
        values = self._figures.take(self._outcomes(indices), axis=1)
        columns: dict[str, Array] = dict(zip(self._names, values, strict=True))
        columns["feasible"] = np.ones(len(indices), bool)
        return columns

    def state_features(self, indices: Indices) -> Array:
        """What sequences [B, K] have made of the circuit (`prefix_features`), float32 [B, 15]."""
        rows = []
        for sequence in sequences(self.space, indices):
            prefixes = np.zeros((len(sequence) + 1, self.slots), np.int64)
            for length in range(1, len(prefixes)):
                prefixes[length, :length] = sequence[:length]
            gates, levels = self.table.figures[self._outcomes(prefixes), :2].T.tolist()
            rows.append(prefix_features(sequence, self.slots, gates, levels))
        return np.array(rows, np.float32)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """ABC's scripts that fit (`scripts`)."""
        return scripts(self.slots)

    def table_rewards(self, objective: Objective) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Reward float64 [D] and validity bool [D] of every sequence, by ordinal."""
        rewards = objective(
            dict(zip(self._names, self._figures, strict=True)), np.ones(self._figures.shape[1], bool)
        )
        outcome = self._outcomes(self.space.from_ordinal(np.arange(self.space.size)))
        return rewards.reward.take(outcome), rewards.valid.take(outcome)

    def optimum(self, objective: Objective) -> Indices | None:
        """The valid sequence with the highest reward, [K], of equals that with the lowest ordinal; None if
        none is valid.
        """
        reward, valid = self.table_rewards(objective)
        best = int(np.where(valid, reward, -np.inf).argmax())
        return self.space.from_ordinal(np.array([best]))[0] if valid[best] else None

    def export(self, indices: Indices) -> tuple[str, bytes]:
        """The result of a design [K] as a file in binary AIGER, carried out by ABC.

        Raises:
            SimulatorUnavailable: ABC is not installed.
            ArchGymError: it leaves another number of gates than in the table.
        """
        with closing(LogicSynthesis(self.circuit, self.slots, cache=False)) as live:
            design, file = np.asarray(indices)[None], live.export(indices)
            found, expected = (each.evaluate_indices(design)["and_gates"][0] for each in (live, self))
            if found != expected:
                raise ArchGymError(
                    f"this ABC leaves {found:g} AND gates, that of the table {expected:g}: {live.version}"
                )
            return file

    def context_features(self) -> dict[str, float]:
        """Statistics of the circuit (`graph_features`), and the number of slots."""
        levels = int(self.table.figures[self.table.outcome[0], 1])
        return {**graph_features(self.table.circuit.tobytes(), levels), "slots": float(self.slots)}

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table."""
        return {**super().specification, "table": self.table.digest}

    def _outcomes(self, indices: Indices) -> npt.NDArray[np.intp]:
        """Numbers of the outcomes of sequences [B, K]: [B]."""
        padded = np.zeros((len(indices), self.table.slots), np.int64)
        padded[:, : self.slots] = indices
        return self.table.outcome.take(self._whole.to_ordinal(padded)).astype(np.intp)
