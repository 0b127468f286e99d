"""Cells that choose how long they are trained: accuracy after few epochs is cheap and ranks cells worse.

A design is a cell and a number of epochs e, one of the table's budgets. Its metrics are those of the cell
after e epochs (`tabular`), and it costs

    cost = 3 macs x images per epoch x e x trainings             multiply-adds, forward and backward

where `trainings` is the number of training seeds that the accuracy is a mean of, or 1. Every query trains
from scratch: a cell that is queried after 8 epochs and then after 16 pays for 24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulator import Simulator
from archgym.simulators.nas.tables.table import load_table
from archgym.simulators.nas.tabular import NasCell
from archgym.space import Array, DesignSpace, Indices, Ordinal


class CellFidelities(Simulator):
    """The cells of a table after any of its numbers of epochs.

    Args:
        dataset: name of a table of cells: "digits-0.5" or another of `archgym data list`.
        seed: "mean" over the training seeds, "random" (one seed per query, drawn from `rng`), or the number
            of one of the table's seeds, from 0.

    Attributes:
        full: the cells after the last number of epochs.

    Raises:
        ArchGymError: see `NasCell`.
    """

    cost_unit = "multiply-adds of training"
    fidelity = "epochs"

    def __init__(self, dataset: str = "digits-0.5", seed: str | int = "mean"):
        budgets = load_table(dataset).budgets.tolist()
        self._after = [NasCell(dataset, epochs, seed) for epochs in budgets]
        self.full = self._after[-1]
        self.space = DesignSpace([*self.full.space, Ordinal("epochs", budgets, default=budgets[-1])])
        self.metrics, self.stochastic = self.full.metrics, self.full.stochastic

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table, whose file may change under its name."""
        return {**super().specification, "table": self.full.table.digest}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 7] -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        cells, drawn = indices[:, :-1], self.full.draw(len(indices), rng)
        columns = {metric.name: np.empty(len(indices)) for metric in self.metrics}
        for place in np.unique(indices[:, -1]):
            rows = indices[:, -1] == place
            found = self._after[place].look_up(cells[rows], None if drawn is None else drawn[rows])
            for name, column in columns.items():
                column[rows] = found[name]
        return {**columns, "feasible": np.ones(len(indices), bool)}

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all trainings behind each result: [B, 7] -> float64 [B]."""
        costs = np.empty(len(indices))
        for place in np.unique(indices[:, -1]):
            rows = indices[:, -1] == place
            costs[rows] = self._after[place].cost_of(indices[rows, :-1])
        return costs

    def canonical(self, indices: Indices) -> Indices:
        """The representative of each cell (`NasCell.canonical`), epochs unchanged: [B, 7] -> [B, 7]."""
        return np.concatenate([self.full.canonical(indices[:, :-1]), indices[:, -1:]], axis=1)
