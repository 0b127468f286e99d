"""Plain convolutional networks trained at every query instead of looked up. Importing this module needs
PyTorch.

A query takes about .4 CPU seconds per seed. The metrics are those of `tabular`. Accuracies repeat bit for bit
on one machine with one version of PyTorch; elsewhere roundings differ, and with them some answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulator import Simulator
from archgym.simulators.cnn.costs import Precision
from archgym.simulators.cnn.layers import IMAGES, SPACE, all_networks
from archgym.simulators.cnn.tabular import METRICS, costs_of_all
from archgym.simulators.cnn.train import train
from archgym.simulators.nas.live import SEEDS, check_seed, seeds_of_queries
from archgym.simulators.nas.tabular import COST_UNIT
from archgym.simulators.nas.training.train import TORCH_VERSION
from archgym.space import Array, Indices


class TrainedCnn(Simulator):
    """Plain convolutional networks, trained on the noisy digits at every query.

    Args:
        seed: "mean" over the training seeds 0, 1 and 2, "random" (one of them per query, drawn from `rng`:
            the noise of a single training), or a training seed.
        precision: type of activations, "float32" or "int8".
        in_place: whether operators that can overwrite an operand do so.
        patches: n, tiles of the first stage in each direction: 1 (layer by layer), 2, 4 or 8.

    Raises:
        ArchGymError: scikit-learn is not installed; another seed, precision or number of patches.
    """

    identity = "archgym.simulators.cnn.live:TrainedCnn"

    deterministic = False
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
        check_seed(seed)
        self._costs = costs_of_all(precision, in_place, patches)
        self.seed = seed
        self.stochastic = seed == "random"

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and the version of PyTorch, on which the last bits of its sums depend."""
        return {**super().specification, "torch": TORCH_VERSION}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Train networks [B, P] one by one -> every metric, float64 [B], and `feasible`, bool [B], all
        True.
        """
        network = self.space.to_ordinal(indices)
        queries = zip(network.tolist(), seeds_of_queries(self.seed, len(indices), rng), strict=True)
        correct = np.array(
            [
                np.mean([train(all_networks()[each], seed)[:2] for seed in seeds], axis=0)
                for each, seeds in queries
            ]
        ).reshape(-1, 2)
        return {
            "valid_accuracy": correct[:, 0] / IMAGES,
            "test_accuracy": correct[:, 1] / IMAGES,
            **{name: column[network] for name, column in self._costs.items()},
            "feasible": np.ones(len(indices), bool),
        }

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all trainings behind each result, float64 [B]."""
        network = self.space.to_ordinal(indices)
        return self._costs["train_macs"][network] * (len(SEEDS) if self.seed == "mean" else 1)
