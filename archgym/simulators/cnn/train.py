"""Training of a plain convolutional network on the noisy digits, one seed.

    images   the 8x8 digits anywhere in a frame of 16x16 pixels, noise of standard deviation .2
    recipe   SGD with Nesterov momentum .9, weight decay 5e-4, learning rate .1 falling as a cosine to 0 over
             4 epochs of 28 batches of 32

The seed decides initial weights, images' order, places and noise. The evaluation copies of validation and
test images are the same for all (`nas.training.digits`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from archgym.errors import MissingDependency
from archgym.simulators.cnn.layers import EPOCHS, SIDE, Layer
from archgym.simulators.cnn.network import PlainCnn
from archgym.simulators.nas.training.digits import load_digits_task
from archgym.simulators.nas.training.train import EVALUATION_BATCH, MOMENTUM, WEIGHT_DECAY, one_thread
from archgym.space import Array

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
except ImportError:
    raise MissingDependency(
        "training networks needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None

NOISE = 0.2
BATCH = 32
LEARNING_RATE = 0.1


class Trained(NamedTuple):
    """Results of one training: right answers on 1,350 validation and 1,350 test images, and its CPU time."""

    valid_correct: int
    test_correct: int
    seconds: float


def train(layers: Sequence[Layer], seed: int) -> Trained:
    """Train a network on one thread; counts repeat bit for bit on one machine with one version of PyTorch."""
    with one_thread():
        start = time.process_time()
        network = PlainCnn(layers, seed)
        fit(network, seed)
        return Trained(*count_correct(network), time.process_time() - start)


def fit(network: PlainCnn, seed: int, *, epochs: int = EPOCHS, learning_rate: float = LEARNING_RATE) -> None:
    """Train a network as it is, new or not, on a seed's images.

    Args:
        network: the network, which changes.
        seed: seed for images.
        epochs: epochs, over which the learning rate falls to 0.
        learning_rate: learning rate of the first step.
    """
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=learning_rate,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    batches = [batch for epoch in range(epochs) for batch in _batches(seed, epoch)]
    network.train()
    for step, (images, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * step / len(batches))) / 2
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def count_correct(network: PlainCnn) -> tuple[int, int]:
    """Right answers on the validation and the test images."""
    network.eval()
    digits = load_digits_task(NOISE, SIDE)

    def correct(images: Array, labels: Array) -> int:
        parts = torch.from_numpy(images)[:, None].split(EVALUATION_BATCH)
        answers = torch.cat([network(part).argmax(1) for part in parts])
        return int((answers == torch.from_numpy(labels)).sum())

    return (
        correct(digits.valid_images, digits.valid_labels),
        correct(digits.test_images, digits.test_labels),
    )


@lru_cache(maxsize=32)
def _batches(seed: int, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of a seed's epoch: images [32, 1, 16, 16], labels [32]."""
    images, labels = map(torch.from_numpy, load_digits_task(NOISE, SIDE).epoch(seed, epoch))
    return list(zip(images[:, None].split(BATCH), labels.split(BATCH), strict=True))
