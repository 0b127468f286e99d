"""Networks grown along a path, with training in between. Importing this module needs PyTorch.

    start      the network 3x8-3x16p-3x16, trained as every network of the table is
    step       a transformation that keeps the function (`transform`), noise of a hundredth of a kernel's
               standard deviation on copied channels, then `epochs` epochs of the same recipe with learning
               rate .05 falling as a cosine to 0
    scratch    the control: the last network of the same path, trained from new weights with learning rate .1
               for as many epochs as start and steps have in all

All randomness of a step derives from the seed and the moves up to it, so a path has the same accuracy
whatever was asked before, bit for bit on one machine with one version of PyTorch. Trained prefixes are kept
in memory. Metrics:

    valid_accuracy, test_accuracy            of the last network, means over the seeds
    params, macs, peak_memory_bytes          of the last network (`cnn.costs`)
    train_macs                               multiply-adds of all training of one seed along the path, start
                                             included: 3 macs for each of 896 images and each epoch

Cost counts what is newly trained, in multiply-adds, and is known before anything runs. With the 1,350
validation images and M the macs of the last network, each sample costs for each seed

    training of start and steps that no earlier sample of the search had     ("scratch": of the last network,
                                                                             unless an earlier sample had it)
    + 1,350 M for validation

An impossible path trains nothing, and costs the validation of the network before its first impossible move:
no sample is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from archgym.errors import unknown, whole
from archgym.simulator import Simulator
from archgym.simulators.cnn.costs import Precision, costs
from archgym.simulators.cnn.growth.moves import (
    DEEPEST,
    MOVES,
    START,
    STOP,
    WIDTHS,
    Growth,
    Path,
    growth_of,
    path_space,
    refusal,
)
from archgym.simulators.cnn.growth.transform import transform
from archgym.simulators.cnn.layers import EPOCHS, IMAGES, SEEDS, SIDE, Layer, Networks
from archgym.simulators.cnn.network import PlainCnn
from archgym.simulators.cnn.tabular import METRICS, check_memory
from archgym.simulators.cnn.train import NOISE, count_correct, fit
from archgym.simulators.nas.tabular import COST_UNIT, PASSES, TRAINING_IMAGES
from archgym.simulators.nas.training.digits import load_digits_task
from archgym.simulators.nas.training.train import TORCH_VERSION, one_thread
from archgym.space import Array, Indices

STARTS = ("inherit", "scratch")
LEARNING_RATE = 0.05  # of a step; higher ones forget more, lower ones learn less in few epochs
COPY_NOISE = 0.01
COSTS = ("params", "macs", "peak_memory_bytes")
LARGEST = np.array([WIDTHS[-1], 5, 1, 1], np.float32)  # features of a layer


class Grown(NamedTuple):
    """A trained network, and its right answers on 1,350 validation and 1,350 test images."""

    network: PlainCnn
    valid_correct: int
    test_correct: int


@lru_cache(maxsize=1024)
def grow(path: Path, seed: int, epochs: int) -> Grown:
    """Grow a network along a possible path.

    Args:
        path: moves.
        seed: seed for the start, its images, and those of the steps.
        epochs: epochs of a step.
    """
    if not path:
        network = PlainCnn(START, seed)
        fit(network, seed)
        return Grown(network, *count_correct(network))
    before = grow(path[:-1], seed, epochs).network
    step_seed = seed_of(path, seed)
    images = load_digits_task(NOISE, SIDE).epoch(step_seed, 0)[0]
    network = transform(
        before, path[-1], torch.from_numpy(images)[:, None], np.random.default_rng(step_seed), COPY_NOISE
    )
    fit(network, step_seed, epochs=epochs, learning_rate=LEARNING_RATE)
    return Grown(network, *count_correct(network))


@lru_cache(maxsize=1024)
def train_last(path: Path, seed: int, epochs: int) -> Grown:
    """The last network of a possible path, from new weights, for as many epochs as its growth takes."""
    last_seed = seed_of(path, seed)
    network = PlainCnn(growth_of(path).last, last_seed)
    fit(network, last_seed, epochs=EPOCHS + epochs * len(path))
    return Grown(network, *count_correct(network))


def seed_of(path: Path, seed: int) -> int:
    """A seed for the last step of a path; for the start, the seed itself."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0]) if path else seed


class GrownCnn(Simulator):
    """Plain convolutional networks, grown along a path or trained from scratch.

    Args:
        start: "inherit", weights come from the network before; or "scratch", the control.
        steps: moves of a path at most.
        epochs: epochs of a step.
        seed: "mean" over the training seeds 0, 1 and 2, or a training seed.
        precision: type of activations, "float32" or "int8".
        in_place: whether operators that can overwrite an operand do so.
        patches: n, tiles of the first stage in each direction: 1 (layer by layer), 2, 4 or 8.

    Raises:
        ArchGymError: an argument out of range.
    """

    identity = "archgym.simulators.cnn.growth.grown:GrownCnn"

    metrics = METRICS
    cost_unit = COST_UNIT

    def __init__(
        self,
        start: Literal["inherit", "scratch"] = "inherit",
        steps: int = 5,
        epochs: int = 4,
        seed: str | int = "mean",
        precision: Precision = "float32",
        in_place: bool = False,
        patches: int = 1,
    ):
        if start not in STARTS:
            raise unknown("start", start, STARTS)
        check_memory(precision, in_place, patches)
        self.start, self.epochs = start, whole("epochs", epochs, least=1)
        self.space = path_space(whole("steps", steps, least=1))
        self.seeds = SEEDS if seed == "mean" else (whole("seed", seed, least=0),)
        self._memory = (precision, in_place, patches)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and the version of PyTorch, on which the last bits of its sums depend."""
        return {**super().specification, "torch": TORCH_VERSION}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Paths [B, P] -> every metric, float64 [B], `feasible`, bool [B], and `failure`, text [B]."""
        growths = self._growths(indices)
        rows = []
        with one_thread():
            for growth in growths:
                trained = np.full((1, 2), np.nan)
                if not growth.refusal:
                    trained = np.array([self._train(growth.path, seed)[1:] for seed in self.seeds]) / IMAGES
                rows.append([*trained.mean(axis=0), *costs_of(growth.last, *self._memory)])
        columns = np.array(rows, float).reshape(-1, 5).T
        train_macs = [sum(self._trainings(growth).values()) for growth in growths]
        return {
            **dict(zip(("valid_accuracy", "test_accuracy", *COSTS), columns, strict=True)),
            "train_macs": np.array(train_macs, float),
            "feasible": np.array([not growth.refusal for growth in growths], bool),
            "failure": np.array([growth.refusal for growth in growths], object),
        }

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of all training behind each path, and of its validation, float64 [B]."""
        return np.array([self._cost(growth, self._trainings(growth)) for growth in self._growths(indices)])

    def cost_after(self, indices: Indices, before: Indices) -> Array:
        """Multiply-adds of training that no path before had, and of validation, float64 [B]."""
        done = {path for growth in self._growths(before) for path in self._trainings(growth)}
        found = []
        for growth in self._growths(indices):
            trainings = self._trainings(growth)
            found.append(self._cost(growth, {p: macs for p, macs in trainings.items() if p not in done}))
            done |= trainings.keys()
        return np.array(found, float)

    def masks(self, indices: Indices, p: int) -> Array:
        """The possible moves of step p after the first p of paths [B, >= p]: bool [B, moves]."""
        masks = self.space.masks(indices, p)
        rows = np.zeros((len(indices), len(self.space)), np.int64)
        rows[:, :p] = indices[:, :p]
        for mask, growth in zip(masks, self._growths(rows), strict=True):
            mask &= [not refusal(growth.last, move) for move in range(len(MOVES))]
        return masks

    def state_features(self, indices: Indices) -> Array:
        """The last network of each path: of every layer its width / 64, kernel / 5, whether it halves the
        resolution and whether it exists, float32 [B, 20].
        """
        features = np.zeros((len(indices), DEEPEST, len(LARGEST)), np.float32)
        for row, growth in zip(features, self._growths(indices), strict=True):
            row[: len(growth.last)] = [
                (layer.width, layer.kernel, layer.downsample != "none", 1) for layer in growth.last
            ]
        return (features / LARGEST).reshape(len(features), -1)

    def _growths(self, indices: Indices) -> list[Growth]:
        rows = self.space.canonical(np.asarray(indices, np.int64)).tolist()
        return [growth_of(tuple(move for move in row if move != STOP)) for row in rows]

    def _train(self, path: Path, seed: int) -> Grown:
        return (grow if self.start == "inherit" else train_last)(path, seed, self.epochs)

    def _trainings(self, growth: Growth) -> dict[Path, float]:
        """Multiply-adds of every training behind a path, for one seed, by the path that it ends."""
        if growth.refusal:
            return {}
        epochs = EPOCHS + self.epochs * len(growth.path)
        if self.start == "scratch":
            return {growth.path: epochs * epoch_macs(growth.last)}
        return {
            growth.path[:step]: (self.epochs if step else EPOCHS) * epoch_macs(network)
            for step, network in enumerate(growth.networks)
        }

    def _cost(self, growth: Growth, trainings: Mapping[Path, float]) -> float:
        return len(self.seeds) * (sum(trainings.values()) + IMAGES * macs_of(growth.last))


@lru_cache(maxsize=1 << 14)
def costs_of(
    layers: tuple[Layer, ...], precision: Precision = "float32", in_place: bool = False, patches: int = 1
) -> tuple[float, ...]:
    """`params`, `macs` and `peak_memory_bytes` of a network."""
    found = costs(Networks.of([layers]), precision=precision, in_place=in_place, patches=patches)
    return tuple(float(found[name][0]) for name in COSTS)


def macs_of(layers: tuple[Layer, ...]) -> float:
    """Multiply-adds of a network for one image, layer by layer."""
    return costs_of(layers)[COSTS.index("macs")]


def epoch_macs(layers: tuple[Layer, ...]) -> float:
    """Multiply-adds of an epoch of training."""
    return PASSES * TRAINING_IMAGES["digits"] * macs_of(layers)
