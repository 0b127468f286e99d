"""Co-design: a cell of NAS-Bench-201 and the accelerator that its network runs on, as one design.

    accuracy   accuracy of the cell's trained network, from a table (`nas.tabular`)
    latency    = sum over layers of count * cycles(layer, chip) / clock
    energy     = sum over layers of count * energy(layer, chip) + leakage * latency
    area       area of the chip
    feasible   where every layer with count > 0 fits the chip

count is 1 for layers of the network's skeleton, n1 or n3 for those of a 1x1 or a 3x3 convolution of the cell,
which has n1 and n3 (dead ones too, as in `nas.costs`). Cycles, energies and area are those of the analytical
model (`accelerator.model`), for one image and the network of the accuracy. With deploy="cifar" the costs
alone are those of the CIFAR-10 network with the same cell, with layers of a size that accelerators are made
for. The precision is fixed at fp16, which stands for bf16 too, since the accuracy lost to others is not
modelled.

The optimum. Among cells with equal n1 and n3 all metrics but accuracy are equal, so 28 cells of the highest
accuracy stand for 15,625. If, moreover, an objective wants every other metric low, and each grows with n1 and
n3 (latency, energy, their product, params, macs: sums and products of terms that are not negative) or is the
area, then a cell with no more convolutions of either kind and no lower accuracy is as good on every chip; it
is feasible where the other is, since its layers are among the other's. Only cells that no other beats in this
sense remain, in a smaller space: theirs times the chips.

Source: Yang et al., "Co-exploration of neural architectures and heterogeneous ASIC accelerator designs
targeting multiple tasks", DAC 2020 (the joint search and its objective).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from archgym.errors import unknown
from archgym.objective import AtLeast, AtMost, Constraint, Maximize, Minimize, Objective, Term
from archgym.simulator import Candidates, Metric, Simulator, argument_features
from archgym.simulators.accelerator.design import PRECISIONS, accelerator_space
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.model import LayerModel, in_chunks
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.simulators.nas.cells import CELL_SPACE, all_cells, convolutions
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tabular import NasCell
from archgym.space import Array, DesignSpace, Indices

FIXED = {"precision": "fp16"}
DEPLOYMENTS = ("dataset", "cifar")

METRICS = (
    Metric("valid_accuracy", unit="1", better="higher"),
    Metric("test_accuracy", unit="1", better="higher", report_only=True),
    Metric("latency_s", unit="s", better="lower"),
    Metric("energy_j", unit="J", better="lower"),
    Metric("area_mm2", unit="mm2", better="lower"),
    Metric("power_w", unit="W", better="lower"),
    Metric("edp", unit="J s", better="lower"),
    Metric("params", unit="1", better="lower"),
    Metric("macs", unit="1", better="lower"),
    Metric("train_seconds", unit="s", better="lower"),
)

OF_CELL = ("valid_accuracy", "test_accuracy", "train_seconds")  # independent of the deployed network
GROWING = ("latency_s", "energy_j", "edp", "params", "macs")  # with n1 and n3, on every chip
OF_CHIP = ("area_mm2",)
OF_COUNTS = (*GROWING, *OF_CHIP, "power_w")  # determined by chip, n1 and n3

_EDGES = len(CELL_SPACE)


class CoDesign(Simulator):
    """A cell, the accuracy of its network, and the costs of that network on a chip.

    Args:
        dataset: the accuracy table, "digits-0.5" or another of `archgym data list`.
        deploy: network whose costs count: "dataset", the trained one, or "cifar", that of CIFAR-10 with the
            same cell.
        epochs, seed: budget and seed of the accuracy, as in `NasCell`.
        technology: energy table, by name or path: "45nm", "65nm".
        fixed: accelerator parameters to hold constant, name -> value, instead of the default; {} searches
            precision too, which is free in accuracy.

    Raises:
        ArchGymError: the data set is not installed or not one of cells; an unknown deployment, table,
            parameter or value.
    """

    identity = "archgym.simulators.co_design:CoDesign"

    def __init__(
        self,
        dataset: str = "digits-0.5",
        deploy: str = "dataset",
        epochs: int | None = None,
        seed: str | int = "mean",
        technology: str = "45nm",
        fixed: Mapping[str, Any] = FIXED,
    ):
        if deploy not in DEPLOYMENTS:
            raise unknown("deployment", deploy, DEPLOYMENTS)
        self.cells = NasCell(dataset, epochs, seed)
        self.stochastic = self.cells.stochastic
        self.network = get_network(self.cells.table.network if deploy == "dataset" else "cifar10")
        self.chips = accelerator_space(fixed)
        self.space = DesignSpace.join(cell=CELL_SPACE, chip=self.chips)
        self.energies = load_energy_table(technology)
        self.energies.mac_pj(list(PRECISIONS))  # a table without one of them is refused here
        parts = (self.network.skeleton, self.network.edge_layers(1), self.network.edge_layers(3))
        self._layers = sum(parts, ())  # L layers, each shape once
        self._convolutions = convolutions(all_cells())  # [15625, 2]
        # [15625, L]
        self._counts = np.insert(self._convolutions, 0, 1, axis=1).repeat(
            [len(part) for part in parts], axis=1
        )
        # [15625] each
        self._network_costs = {
            name: column.astype(float) for name, column in self.network.costs(all_cells()).items()
        }
        of_cells = {metric.name for metric in self.cells.metrics}
        self.metrics = tuple(
            metric for metric in METRICS if metric.name not in OF_CELL or metric.name in of_cells
        )

    @cached_property
    def model(self) -> LayerModel:
        """Costs of all layers of the cells' networks, the skeleton's first; computed at first use."""
        return LayerModel(self._layers, self.energies)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, the network of the costs, and digests of the tables."""
        named = {
            "network": self.network.name,
            "accuracies": self.cells.table.digest,
            "energies": self.energies.digest,
        }
        return {**super().specification, **named}

    def context_features(self) -> dict[str, float]:
        """The arguments, and statistics of the layers that cells may have (`layer_features`)."""
        return {**argument_features(self), **layer_features(self._layers)}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 16] -> metrics, float64 [B], `feasible`, bool [B], and `failure`, str [B], if any."""
        accuracies = self.cells.evaluate_indices(indices[:, :_EDGES], rng)
        results = in_chunks(self._run, indices)
        results |= {metric.name: accuracies[metric.name] for metric in self.metrics if metric.name in OF_CELL}
        return results

    def _run(self, indices: Indices) -> dict[str, Array]:
        """Costs and feasibility: all metrics but those of the cell alone."""
        cell = CELL_SPACE.to_ordinal(indices[:, :_EDGES])
        designs = self.chips.decode(indices[:, _EDGES:])
        totals = self.model.totals(designs, self.model.costs(designs), self._counts[cell])
        return totals | {name: column[cell] for name, column in self._network_costs.items()}

    def canonical(self, indices: Indices) -> Indices:
        """The first equal cell (function and convolutions) on the same chip: [B, 16] -> [B, 16]."""
        return np.concatenate([self.cells.canonical(indices[:, :_EDGES]), indices[:, _EDGES:]], axis=1)

    def candidates(self, objective: Objective) -> Candidates | None:
        """The best cells by numbers of convolutions, on every chip, without those that others dominate.

        None where the objective does not prefer high accuracy, or names a metric that differs among cells of
        equal convolutions.
        """
        parts = (*objective.terms, *objective.constraints)
        if self.stochastic or not all(
            part.metric in OF_COUNTS or _wants(part, "high", ("valid_accuracy",)) for part in parts
        ):
            return None
        frugal = all(
            part.metric in ("valid_accuracy", *OF_CHIP) or _wants(part, "low", GROWING) for part in parts
        )
        cells = self._best_cells(frugal)

        def enumerate_(chunk: int) -> Iterator[Indices]:
            for chips in self.chips.enumerate(max(chunk // len(cells), 1)):
                # all at once, unless the chunk is smaller than that
                for start in range(0, len(cells), chunk):
                    part = cells[start : start + chunk]
                    yield np.concatenate(
                        [np.tile(part, (len(chips), 1)), np.repeat(chips, len(part), axis=0)], axis=1
                    )

        return Candidates(len(cells) * self.chips.size, enumerate_)

    def _best_cells(self, frugal: bool) -> Indices:
        """The most accurate cell of each (n1, n3), [K, 6]; `frugal` drops what smaller cells dominate."""
        accuracy = self.cells.evaluate_indices(all_cells())["valid_accuracy"]
        # among equals those with fewer convolutions first
        order = np.lexsort((self._convolutions.sum(axis=1), -accuracy))
        best: list[int] = []
        for cell in order.tolist():
            others, counts = self._convolutions[best], self._convolutions[cell]
            beaten = (others <= counts).all(axis=1) if frugal else (others == counts).all(axis=1)
            if not beaten.any():
                best.append(cell)
        return CELL_SPACE.from_ordinal(np.array(best))


def _wants(part: Term | Constraint, what: str, metrics: tuple[str, ...]) -> bool:
    """Whether a part of an objective names one of these metrics and prefers it low (or high)."""
    if part.metric not in metrics or part.weight < 0:
        return False
    return isinstance(part, (Minimize, AtMost) if what == "low" else (Maximize, AtLeast))
