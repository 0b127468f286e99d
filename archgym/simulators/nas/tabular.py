"""Cells looked up in a table of trained networks.

A search sees the validation accuracy of the budget that it chose: with fewer epochs training is cheaper and
the ranking worse. Test accuracy, a cell's true worth, is only reported. Metrics:

    valid_accuracy  after the budget's epochs: mean over the training seeds, or one seed's
    test_accuracy   after the table's last budget, over the same seeds
    params, macs    parameters and multiply-adds of the network (`costs`)
    train_seconds   time of training one seed up to the budget
    train_macs      multiply-adds of training one seed up to the budget: 3 macs per training image and epoch,
                    forward and backward

A query costs the train_macs of all trainings behind it (`cost_of`): three where a mean averages three seeds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric, Simulator
from archgym.simulators.nas.cells import CELL_SPACE, CONV3, EDGES, all_cells, first_of_equals, live_edges
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.table import Table, load_table
from archgym.space import Array, Indices

if TYPE_CHECKING:
    from archgym.shared import SharedTask

# images per epoch
TRAINING_IMAGES = {"digits": 896, "cifar10": 25_000, "cifar100": 50_000, "imagenet16-120": 151_700}
PASSES = 3  # forward, and backward to inputs and to weights
COST_UNIT = "multiply-adds of training"

METRICS = (
    Metric("valid_accuracy", unit="1", better="higher"),
    Metric("test_accuracy", unit="1", better="higher", report_only=True),
    Metric("params", unit="1", better="lower"),
    Metric("macs", unit="1", better="lower"),
    Metric("train_seconds", unit="s", better="lower"),
    Metric("train_macs", unit="1", better="lower"),
)


class NasCell(Simulator):
    """The cells of NAS-Bench-201 and the accuracies of their networks.

    Args:
        dataset: name of a table of cells: "digits-0.5" or another of `archgym data list`.
        epochs: budget, one of the table's; None for its last.
        seed: "mean" over the training seeds, "random" (one seed per query, drawn from `rng`: the noise of a
            single training), or the number of one of the table's seeds, from 0.

    Raises:
        ArchGymError: the data set is not installed or not one of cells, or its table lacks the budget or the
            seed.
    """

    identity = "archgym.simulators.nas.benchmark:NasCell"

    cost_unit = COST_UNIT

    def __init__(self, dataset: str = "digits-0.5", epochs: int | None = None, seed: str | int = "mean"):
        self.table = load_table(dataset)
        if self.table.space != "cell":
            raise ArchGymError(f"data set {dataset!r} is not one of cells; use archgym/NasMacro-v0")
        self.space = CELL_SPACE
        self.epochs, budget = _budget(self.table, epochs)
        self.stochastic = seed == "random"
        costs = get_network(self.table.network).costs(all_cells())
        row, seconds = self.table.row, self.table.train_seconds
        fixed = {
            **costs,
            **({} if seconds is None else {"train_seconds": seconds[:, budget][row]}),
            "train_macs": PASSES * self.epochs * TRAINING_IMAGES[self.table.network] * costs["macs"],
        }
        self._representatives = first_of_equals(row)
        self._fixed = {name: np.asarray(column, np.float64) for name, column in fixed.items()}  # [15625] each
        accuracies = accuracies_by_seed(self.table, budget, seed)
        # [15625, seeds to choose from] each
        self._by_seed = {name: column[row] for name, column in accuracies.items()}
        self._n_seeds = np.isfinite(accuracies["valid_accuracy"]).sum(axis=1)[row]  # [15625]
        trained = np.isfinite(self.table.valid_accuracy[:, :, budget]).sum(axis=1)[row]
        self._trainings = trained if seed == "mean" else np.ones_like(trained)  # behind a result, [15625]
        self.metrics = tuple(
            metric for metric in METRICS if metric.name in self._by_seed or metric.name in self._fixed
        )

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table, whose file may change under its name."""
        return {**super().specification, "table": self.table.digest}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 6] -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        return self.look_up(indices, self.draw(len(indices), rng))

    def draw(self, n: int, rng: np.random.Generator | None) -> Array | None:
        """One number from 0 to 1 for each query, which chooses its training seed, [n]; None unless the seed
        is random.
        """
        if not self.stochastic:
            return None
        if rng is None:
            raise ArchGymError("seed='random' draws a training seed for every query: give rng=")
        return rng.random((n, 1))[:, 0]

    def look_up(self, indices: Indices, drawn: Array | None) -> dict[str, Array]:
        """The columns of `evaluate_indices`, with the numbers of `draw`."""
        cell = self.space.to_ordinal(indices)
        columns = {name: column.take(cell) for name, column in self._fixed.items()}
        seed = 0 if drawn is None else (drawn * self._n_seeds[cell]).astype(np.int64)
        for name, column in self._by_seed.items():
            columns[name] = column[cell, seed]
        columns["feasible"] = np.ones(len(cell), bool)
        return columns

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all trainings behind each result, which may be a mean: [B, 6] -> float64 [B]."""
        cell = self.space.to_ordinal(indices)
        return np.asarray(self._fixed["train_macs"][cell] * self._trainings[cell])

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask | None:
        """Shared weights of all cells on the noisy digits; None for tables of other data sets."""
        noise = digits_noise(self.table.name)
        return None if noise is None else shared_digits(noise, seed, fresh=fresh, partial=partial)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Rules of 3x3 convolutions (`convolution_controls`)."""
        return convolution_controls()

    def canonical(self, indices: Indices) -> Indices:
        """The first cell of the same row of the table and the same numbers of convolutions: [B, 6] -> [B, 6].

        The table that ships has a row for each function; tables that trained every cell by itself have a row
        for each cell.
        """
        return self.space.from_ordinal(self._representatives[self.space.to_ordinal(indices)])


def digits_noise(dataset: str) -> float | None:
    """The level of noise of a data set "digits-<noise>"; None for other names."""
    noise = re.fullmatch(r"digits-([0-9]*\.?[0-9]+)", dataset)
    return None if noise is None else float(noise[1])


def shared_digits(noise: float, seed: int, *, fresh: bool, partial: int) -> SharedTask:
    """Shared weights of all cells on the noisy digits.

    Raises:
        MissingDependency: PyTorch or scikit-learn is not installed.
    """
    from archgym.simulators.nas.training.supernet import SharedDigits

    return SharedDigits(noise, seed, fresh=fresh, partial=partial)


def convolution_controls() -> dict[str, tuple[Indices, Array]]:
    """Cells by their 3x3 convolutions: the one that has no other operation, and all in the order of the
    number of live ones.
    """
    cells = all_cells()
    live = (live_edges(cells) & (cells == CONV3)).sum(axis=1).astype(float)
    return {
        "all 3x3 convolutions": (np.full((1, len(EDGES)), CONV3), np.zeros(1)),
        "most 3x3 convolutions": (cells, live),
    }


def _budget(table: Table, epochs: int | None) -> tuple[int, int]:
    """Epochs, and their index in the table's budgets."""
    budgets = table.budgets.tolist()
    if epochs is None:
        epochs = budgets[-1]
    if epochs not in budgets:
        raise unknown(f"budget of {table.name}, in epochs,", epochs, budgets)
    return epochs, budgets.index(epochs)


def accuracies_by_seed(table: Table, budget: int, seed: str | int) -> dict[str, Array]:
    """Validation and, where known, test accuracy by training seed: float64 [rows, seeds], missing last.

    Args:
        table: the table.
        budget: number of its budget.
        seed: "mean" over the trainings of a row, "random" (all of them), or the number of a seed.

    Raises:
        ArchGymError: a seed that no row has, or not every row; "random" where no row has two trainings.
    """
    known = {
        "valid_accuracy": table.valid_accuracy[:, :, budget].astype(float),
        "test_accuracy": table.test_accuracy.astype(float),
    }
    if np.isnan(known["test_accuracy"]).all():
        del known["test_accuracy"]
    means = {name: _mean(accuracies) for name, accuracies in known.items()}
    if seed == "mean":
        chosen = {name: mean[:, None] for name, mean in means.items()}
    elif seed == "random":
        order = np.argsort(np.isnan(known["valid_accuracy"]), axis=1, kind="stable")
        chosen = {name: np.take_along_axis(accuracies, order, axis=1) for name, accuracies in known.items()}
        if np.isfinite(chosen["valid_accuracy"]).sum(axis=1).max() < 2:
            raise ArchGymError(
                f"data set {table.name!r} has one training per design at {table.budgets[budget]} epochs; use "
                "seed='mean'"
            )
    elif isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < table.test_accuracy.shape[1]:
        chosen = {name: accuracies[:, [seed]] for name, accuracies in known.items()}
    else:
        raise ArchGymError(
            f"expected seed as 'mean', 'random' or a number from 0 to {table.test_accuracy.shape[1] - 1}, "
            f"got {seed!r}"
        )
    if "test_accuracy" in chosen:  # trainings that were not tested get the mean of those that were
        chosen["test_accuracy"] = np.where(
            np.isnan(chosen["test_accuracy"]), means["test_accuracy"][:, None], chosen["test_accuracy"]
        )
    if not all(np.isfinite(accuracies[:, 0]).all() for accuracies in chosen.values()):
        raise ArchGymError(f"data set {table.name!r} lacks that training for some designs; use seed='mean'")
    return chosen


def _mean(accuracies: Array) -> Array:
    """The mean over the seeds that were trained, [rows]; NaN where none was."""
    trained = np.isfinite(accuracies)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(trained, accuracies, 0).sum(axis=1) / trained.sum(axis=1))
