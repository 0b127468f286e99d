"""Cells trained at every query instead of looked up. Importing this module needs PyTorch.

A query takes about one CPU second per seed at 16 epochs. The metrics are those of `tabular`:

    valid_accuracy, test_accuracy   after `epochs` epochs of the schedule of 16 epochs (`training.train`),
                                    stopped early
    train_seconds                   measured CPU time of training one seed up to `epochs`
    params, macs, train_macs        as in `tabular`

In tables the test accuracy is that after the last epoch, whatever the budget; here training ends at the
budget. The accuracies of a cell and a seed repeat bit for bit on one machine with one version of PyTorch and
on one thread; cells are trained on one thread whatever the process is set to. Seconds do not repeat, so the
simulator is not deterministic. Cells of one function may differ as two seeds do: their live convolutions are
on different edges, with different initial weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Simulator
from archgym.simulators.nas.cells import CELL_SPACE, representatives
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tabular import (
    COST_UNIT,
    METRICS,
    PASSES,
    TRAINING_IMAGES,
    convolution_controls,
    shared_digits,
)
from archgym.simulators.nas.training.digits import load_digits_task
from archgym.simulators.nas.training.train import BUDGETS, TORCH_VERSION, one_thread, train
from archgym.space import Array, Indices

if TYPE_CHECKING:
    from archgym.shared import SharedTask

SEEDS = (0, 1, 2)  # training seeds of the table that ships


class TrainedCell(Simulator):
    """The cells of NAS-Bench-201, trained on the noisy digits at every query.

    Args:
        noise: standard deviation of the pixels' noise (pixels are from 0 to 1).
        epochs: epochs after which training stops: 1, 2, 4, 8 or 16.
        seed: "mean" over the training seeds 0, 1 and 2, "random" (one of them per query, drawn from `rng`:
            the noise of a single training), or a training seed.

    Raises:
        ArchGymError: scikit-learn is not installed; a negative noise, other epochs, or another seed.
    """

    identity = "archgym.simulators.nas.live:TrainedCell"

    deterministic = False
    space = CELL_SPACE
    metrics = METRICS
    cost_unit = COST_UNIT

    def __init__(self, noise: float = 0.5, epochs: int = 16, seed: str | int = "mean"):
        load_digits_task(noise)
        if epochs not in BUDGETS:
            raise unknown("budget, in epochs,", epochs, BUDGETS)
        check_seed(seed)
        self.noise, self.epochs, self.seed = noise, epochs, seed
        self.stochastic = seed == "random"

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and the version of PyTorch, on which the last bits of its sums depend."""
        return {**super().specification, "torch": TORCH_VERSION}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Train cells [B, 6] one by one -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        trained = np.array(
            [
                self._train(cell, seeds)
                for cell, seeds in zip(
                    self.canonical(indices), seeds_of_queries(self.seed, len(indices), rng), strict=True
                )
            ]
        )
        costs = get_network("digits").costs(indices)
        columns: dict[str, Array] = {name: np.asarray(column, np.float64) for name, column in costs.items()}
        columns["train_macs"] = self._train_macs(columns["macs"])
        columns |= zip(
            ("valid_accuracy", "test_accuracy", "train_seconds"), trained.reshape(-1, 3).T, strict=True
        )
        columns["feasible"] = np.ones(len(indices), bool)
        return columns

    def _train_macs(self, macs: Array) -> Array:
        return PASSES * self.epochs * TRAINING_IMAGES["digits"] * macs

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all trainings behind each result, float64 [B]."""
        macs = get_network("digits").costs(np.asarray(indices))["macs"].astype(np.float64)
        return self._train_macs(macs) * (len(SEEDS) if self.seed == "mean" else 1)

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask:
        """Shared weights of all cells on the noisy digits."""
        return shared_digits(self.noise, seed, fresh=fresh, partial=partial)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Rules of 3x3 convolutions (`convolution_controls`)."""
        return convolution_controls()

    def canonical(self, indices: Indices) -> Indices:
        """The first cell of the same function and the same numbers of convolutions: [B, 6] -> [B, 6]."""
        return self.space.from_ordinal(representatives()[self.space.to_ordinal(indices)])

    def _train(self, cell: Indices, seeds: tuple[int, ...]) -> tuple[float, float, float]:
        """Validation and test accuracy, means over the seeds, and seconds of one of them."""
        with one_thread():
            training = train(cell, seeds, self.noise, self.epochs)
        budget, digits = BUDGETS.index(self.epochs), load_digits_task(self.noise)
        valid = training.valid_correct[:, budget].mean() / len(digits.valid_labels)
        return valid, training.test_correct.mean() / len(digits.test_labels), training.train_seconds[budget]


def check_seed(seed: str | int) -> None:
    """Refuse what is neither "mean", "random" nor a training seed."""
    if seed not in ("mean", "random") and (
        isinstance(seed, (str, bool)) or not isinstance(seed, int) or seed < 0
    ):
        raise ArchGymError(f"expected seed as 'mean', 'random' or an integer >= 0, got {seed!r}")


def seeds_of_queries(seed: str | int, count: int, rng: np.random.Generator | None) -> list[tuple[int, ...]]:
    """The training seeds of each of `count` queries."""
    if seed != "random":
        return [SEEDS if seed == "mean" else (int(seed),)] * count
    if rng is None:
        raise ArchGymError("seed='random' draws a training seed for every query: give rng=")
    return [(SEEDS[int(drawn * len(SEEDS))],) for drawn in rng.random((count, 1))[:, 0]]
