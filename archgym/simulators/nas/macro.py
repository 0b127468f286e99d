"""The networks of NAS-Bench-Macro, looked up: eight layers, each one of three blocks, trained on CIFAR-10.

The source trained on the whole training set and states test accuracy alone, the best over the epochs, so a
search sees that, and the best network found looks better than it would in practice. Metrics:

    test_accuracy   the best over 50 epochs: the mean of three trainings, or one of them
    params          parameters of the network
    macs            multiply-adds for one image of 32x32 pixels, of convolutions and classifier

A network is a stem (convolution 3x3, 32 wide), stages of 2, 3 and 3 layers of 64, 128 and 256 channels, of
which the first has stride 2, a convolution 1x1 of 1,280 and a classifier. Layers are

    identity   no operation; a convolution 1x1 of stride 2 where the layer is the first of its stage
    mb3_k3     inverted residual: 1x1 to three times the channels, depthwise 3x3, 1x1 back
    mb6_k5     the same with six times the channels and 5x5

so the place of identities behind the first layer of a stage does not matter: 3,969 of the 6,561 networks
differ.

Source: Su et al., "Prioritized Architecture Sampling with Monte-Carlo Tree Search", CVPR 2021.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric, Simulator
from archgym.simulators.nas.requirements import MACRO_TABLE
from archgym.simulators.nas.tables.table import load_table
from archgym.space import Array, Categorical, DesignSpace, Indices

BLOCKS = ("identity", "mb3_k3", "mb6_k5")
STAGES = (2, 3, 3)  # layers of each stage
IDENTITY = BLOCKS.index("identity")

MACRO_SPACE = DesignSpace(
    [Categorical(f"layer{layer}", BLOCKS, default="mb3_k3") for layer in range(sum(STAGES))]
)


class NasMacro(Simulator):
    """The networks of NAS-Bench-Macro and their accuracies.

    Args:
        dataset: name of a table of `archgym data list` whose space is "macro".
        seed: "mean" over the trainings, or "random": one of them, drawn from `rng` for every query (the noise
            of a single training).

    Raises:
        ArchGymError: the data set is not installed or not one of these networks, or the seed is neither.
    """

    identity = "archgym.simulators.nas.macro:NasMacro"

    space = MACRO_SPACE
    metrics = (
        Metric("test_accuracy", unit="1", better="higher"),
        Metric("params", unit="1", better="lower"),
        Metric("macs", unit="1", better="lower"),
    )

    def __init__(self, dataset: str = MACRO_TABLE, seed: str = "mean"):
        self.table = load_table(dataset)
        if self.table.space != "macro":
            raise ArchGymError(
                f"data set {dataset!r} is not one of networks of eight layers; use archgym/NasCell-v0"
            )
        if seed not in ("mean", "random"):
            raise unknown("seed of NasMacro", seed, ("mean", "random"))
        self.stochastic = seed == "random"
        accuracy = self.table.test_accuracy.astype(float)[self.table.row]
        # [6561, trainings to choose from]
        self._accuracy = accuracy if self.stochastic else accuracy.mean(axis=1, keepdims=True)
        self._costs = {
            name: self.table.columns[name].astype(float)[self.table.row] for name in ("params", "macs")
        }

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the table, whose file may change under its name."""
        return {**super().specification, "table": self.table.digest}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 8] -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        network = self.space.to_ordinal(indices)
        training: Array | int = 0
        if self.stochastic:
            if rng is None:
                raise ArchGymError("seed='random' draws a training for every query: give rng=")
            training = (rng.random((len(network), 1))[:, 0] * self._accuracy.shape[1]).astype(np.int64)
        return {
            "test_accuracy": self._accuracy[network, training],
            **{name: column.take(network) for name, column in self._costs.items()},
            "feasible": np.ones(len(network), bool),
        }

    def canonical(self, indices: Indices) -> Indices:
        """The same network with the identities of every stage, but for its first layer, moved to the
        stage's end: [B, 8] -> [B, 8].
        """
        moved, start = indices.copy(), 0
        for layers in STAGES:
            rest = indices[:, start + 1 : start + layers]
            order = np.argsort(rest == IDENTITY, axis=1, kind="stable")
            moved[:, start + 1 : start + layers] = np.take_along_axis(rest, order, axis=1)
            start += layers
        return moved
