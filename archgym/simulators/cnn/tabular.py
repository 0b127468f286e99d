"""Plain convolutional networks looked up in a table of trainings. Metrics:

    valid_accuracy      on 1,350 validation images: of one training, or the mean of a network's trainings
    test_accuracy       on 1,350 test images, of the same trainings; no search sees it
    params, macs        parameters and multiply-adds of inference (`costs`)
    peak_memory_bytes   most activations that live at once (`costs`)
    train_macs          multiply-adds of one training: 3 macs (forward, and backward to inputs and to weights)
                        for each of 896 images and 4 epochs

Every network was trained with seed 0, a third of them, drawn at random, with seeds 1 and 2 too. A mean is
that of the trainings which a network has, one or three; a random seed is one of them. A query costs the
train_macs of all trainings behind it (`cost_of`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric, Simulator
from archgym.simulators.cnn.costs import BYTES, Precision, costs
from archgym.simulators.cnn.layers import EPOCHS, SPACE, Networks, all_networks
from archgym.simulators.nas.tables.table import Table, load_table
from archgym.simulators.nas.tabular import COST_UNIT, PASSES, TRAINING_IMAGES, accuracies_by_seed
from archgym.space import Array, Indices

TABLE = "plain-digits"
PATCHES = (1, 2, 4, 8)

METRICS = (
    Metric("valid_accuracy", unit="1", better="higher"),
    Metric("test_accuracy", unit="1", better="higher", report_only=True),
    Metric("params", unit="1", better="lower"),
    Metric("macs", unit="1", better="lower"),
    Metric("peak_memory_bytes", unit="B", better="lower"),
    Metric("train_macs", unit="1", better="lower"),
)


class TabularCnn(Simulator):
    """Plain convolutional networks and their accuracies in the table.

    Args:
        seed: "mean" over a network's trainings, "random" (one of them per query, drawn from `rng`), or 0, the
            seed that every network was trained with.
        precision: type of activations, "float32" or "int8".
        in_place: whether operators that can overwrite an operand do so.
        patches: n, tiles of the first stage in each direction: 1 (layer by layer), 2, 4 or 8.

    Raises:
        ArchGymError: another seed, precision or number of patches.
    """

    identity = "archgym.simulators.cnn.tabular:TabularCnn"

    space = SPACE
    metrics = METRICS
    cost_unit = COST_UNIT

    def __init__(
        self,
        seed: str | int = "mean",
        precision: Precision = "float32",
        in_place: bool = False,
        patches: int = 1,
    ):
        self._costs = costs_of_all(precision, in_place, patches)
        self.table = load_table(TABLE)
        self.stochastic = seed == "random"
        self._by_seed = accuracies_by_seed(self.table, 0, seed)  # [4398, seeds to choose from] each
        self._trainings = count_trainings(self.table)
        self._behind = self._trainings if seed == "mean" else np.ones_like(self._trainings)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table."""
        return {**super().specification, "table": self.table.digest}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, P] -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        network = self.space.to_ordinal(indices)
        training: Array | int = 0
        if self.stochastic:
            if rng is None:
                raise ArchGymError("seed='random' draws a training for every query: give rng=")
            drawn = rng.random((len(network), 1))[:, 0]
            training = (drawn * self._trainings[network]).astype(np.int64)
        return {
            **{name: column[network, training] for name, column in self._by_seed.items()},
            **{name: column[network] for name, column in self._costs.items()},
            "feasible": np.ones(len(network), bool),
        }

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all trainings behind each result: [B, P] -> float64 [B]."""
        network = self.space.to_ordinal(indices)
        return np.asarray(self._costs["train_macs"][network] * self._behind[network])


def count_trainings(table: Table) -> Indices:
    """Trainings of every network, int64 [4398]: 1 or 3."""
    return np.asarray(np.isfinite(table.test_accuracy).sum(axis=1))


def costs_of_all(precision: Precision, in_place: bool, patches: int) -> dict[str, Array]:
    """Costs of all networks, with those of training: float64 [4398] each.

    Args:
        precision: type of activations, "float32" or "int8".
        in_place: whether operators that can overwrite an operand do so.
        patches: n, tiles of the first stage in each direction: 1 (layer by layer), 2, 4 or 8.

    Raises:
        ArchGymError: another precision, or another number of patches.
    """
    check_memory(precision, in_place, patches)
    networks = _networks()
    found = costs(networks, precision=precision, in_place=in_place, patches=patches)
    training = PASSES * EPOCHS * TRAINING_IMAGES["digits"] * costs(networks)["macs"]
    return {name: column.astype(float) for name, column in {**found, "train_macs": training}.items()}


def check_memory(precision: str, in_place: bool, patches: int) -> None:
    """Refuse arguments of `costs` that no peak memory has."""
    if precision not in BYTES:
        raise unknown("precision", precision, BYTES)
    if not isinstance(in_place, bool):
        raise ArchGymError(f"expected in_place as True or False, got {in_place!r}")
    if patches not in PATCHES or isinstance(patches, bool):
        raise unknown("number of patches", patches, PATCHES)


@cache
def _networks() -> Networks:
    return Networks.of(all_networks())
