"""The table of plain convolutional networks against itself: its noise, and networks trained again.

With S trainings per network, MSB the mean square between networks and MSW the mean square within them,

    noise        sqrt(MSW)                  standard deviation of a network's trainings
    Spearman     of two seeds               rank correlation of one training with another
    ICC(1, 1)    (MSB - MSW) / (MSB + (S - 1) MSW)    share of a single training's variance that is not noise

over the networks with three trainings (Shrout & Fleiss, "Intraclass correlations", 1979). Networks trained
again with the same seeds differ by roundings of another machine alone, which training multiplies: their means
should lie within the noise of a mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from archgym.errors import ArchGymError
from archgym.progress import Progress, silent
from archgym.simulators.cnn.layers import IMAGES, SEEDS, all_networks, name_of
from archgym.simulators.nas.tables.summary import spearman
from archgym.simulators.nas.tables.table import Table
from archgym.space import Array, Indices

KINDS = ("validation", "test")
SIGMAS = 4.0  # of a mean, within which networks trained again lie


@dataclass(frozen=True)
class Noise:
    """Noise of one kind of accuracy.

    Attributes:
        networks: number of networks with three trainings.
        within: standard deviation of a network's trainings.
        seeds: mean Spearman correlation of two seeds.
        reliability, top_reliability: ICC(1, 1) of all networks, and of the quarter with the highest means.
    """

    networks: int
    within: float
    seeds: float
    reliability: float
    top_reliability: float


@dataclass(frozen=True)
class Again:
    """One kind of a network's accuracy, mean over the seeds: in the table and trained again."""

    network: str
    kind: str
    table: float
    again: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether they differ by the seeds' noise at most."""
        return abs(self.again - self.table) <= self.tolerance


def noise(table: Table) -> dict[str, Noise]:
    """The noise of each kind of accuracy."""
    found = {}
    for kind, accuracies in _by_kind(table).items():
        trials = accuracies[thrice(table)]
        top = np.argsort(trials.mean(axis=1))[-len(trials) // 4 :]
        found[kind] = Noise(
            len(trials),
            float(np.sqrt(trials.var(axis=1, ddof=1).mean())),
            float(np.mean([spearman(*pair) for pair in combinations(trials.T, 2)])),
            _reliability(trials),
            _reliability(trials[top]),
        )
    return found


def train_again(table: Table, networks: int, seed: int, progress: Progress = silent) -> Iterator[Again]:
    """Random networks with three trainings, trained again with the same seeds.

    Args:
        table: the table.
        networks: number of networks.
        seed: seed for their choice.
        progress: function of (current step, share done).

    Raises:
        ArchGymError: more networks than have three trainings, or PyTorch or scikit-learn is not installed.
    """
    from archgym.simulators.cnn.train import train

    candidates = thrice(table)
    if not 1 <= networks <= len(candidates):
        raise ArchGymError(
            f"expected from 1 to {len(candidates):,} networks, which have three trainings, got {networks:,}"
        )
    chosen = np.random.default_rng(seed).choice(candidates, networks, replace=False).tolist()
    spreads = noise(table)
    for number, network in enumerate(chosen):
        progress("training networks", number / networks)
        layers = all_networks()[network]
        counts = np.mean([train(layers, each)[:2] for each in SEEDS], axis=0)
        for (kind, accuracies), correct in zip(_by_kind(table).items(), counts, strict=True):
            tolerance = SIGMAS * spreads[kind].within / np.sqrt(len(SEEDS))
            stored = float(accuracies[network].mean())
            yield Again(name_of(layers), kind, stored, float(correct / IMAGES), float(tolerance))


def thrice(table: Table) -> Indices:
    """Numbers of the networks with three trainings."""
    return np.flatnonzero(np.isfinite(table.test_accuracy).all(axis=1))


def _by_kind(table: Table) -> dict[str, Array]:
    """Validation and test accuracy, float64 [4398, 3] each."""
    return dict(
        zip(
            KINDS,
            (table.valid_accuracy[:, :, 0].astype(float), table.test_accuracy.astype(float)),
            strict=True,
        )
    )


def _reliability(trials: Array) -> float:
    """ICC(1, 1) of trials [networks, S]."""
    between = trials.shape[1] * trials.mean(axis=1).var(ddof=1)
    within = trials.var(axis=1, ddof=1).mean()
    return float((between - within) / (between + (trials.shape[1] - 1) * within))
