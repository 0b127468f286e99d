"""A cell trained for real, with PyTorch: several training seeds side by side in one network.

    image -> conv3x3 (1 -> 16), BN -> cell at 8x8 -> average pool 2, ReLU, conv1x1 (16 -> 16), BN
          -> cell at 4x4 -> BN, ReLU, global average -> linear (16 -> 10)    every edge has weights of its own

    SGD with Nesterov momentum .9, weight decay 5e-4, learning rate .1 falling as a cosine to 0 over 16 epochs
    of 14 batches of 64

The copies, one per training seed, are groups of the convolutions' channels; nothing connects them, so each
learns as if alone, up to rounding: with the initial weights of its seed (PyTorch's default distributions) and
the images of its seed. Only edges on a path from the cell's input to its output are built. Validation
accuracy is taken after 1, 2, 4, 8 and 16 epochs: the budgets of a search with early stopping, all on the one
schedule.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from archgym.errors import MissingDependency, unknown
from archgym.simulators.nas.cells import CONV1, CONV3, EDGES, NODES, POOL, SKIP, live_edges
from archgym.simulators.nas.training.digits import BATCH, BATCHES, CLASSES, SIDE, load_digits_task
from archgym.space import Array, Indices

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError:
    raise MissingDependency(
        "training cells needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None

TORCH_VERSION = str(torch.__version__)
WIDTH = 16  # channels of both stages
BUDGETS = (1, 2, 4, 8, 16)  # epochs
EVALUATION_BATCH = 150  # images; their activations fit into the cache
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4

Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Training:
    """Results of training one cell with S seeds.

    Attributes:
        valid_correct: right answers on 1,350 validation images, after each budget: uint16 [S, 5].
        test_correct: right answers on 1,350 test images, after the last budget: uint16 [S].
        train_loss: mean cross-entropy of the last epoch's batches, each before its step: float32 [S].
        valid_loss: mean cross-entropy on the validation images at the end: float32 [S].
        train_seconds: CPU time of training up to each budget, evaluations left out, divided by S: float32
            [5].
    """

    valid_correct: Counts
    test_correct: Counts
    train_loss: Array
    valid_loss: Array
    train_seconds: Array


class CellNetwork(nn.Module):
    """The network of one cell, once for each seed.

    Args:
        cell: operation indices [6].
        seeds: seeds for the initial weights.
    """

    def __init__(self, cell: Indices, seeds: Sequence[int]):
        super().__init__()
        self.copies = len(seeds)
        self.stem = self._convolution(1, 3)
        self.cell1 = Cell(cell, self)
        self.reduction = self._convolution(WIDTH, 1)
        self.cell2 = Cell(cell, self)
        self.norm = nn.BatchNorm2d(self.copies * WIDTH)
        self.weight = nn.Parameter(torch.empty(self.copies, WIDTH, CLASSES))
        self.bias = nn.Parameter(torch.empty(self.copies, 1, CLASSES))
        self._initialise(seeds)
        # documented, but not in PyTorch's annotations
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _convolution(self, channels: int, kernel: int) -> nn.Sequential:
        width = self.copies * WIDTH
        convolution = nn.Conv2d(
            self.copies * channels, width, kernel, padding=kernel // 2, groups=self.copies, bias=False
        )
        return nn.Sequential(convolution, nn.BatchNorm2d(width))

    def _initialise(self, seeds: Sequence[int]) -> None:
        """PyTorch's default for convolutions and linear layers, uniform within 1 / sqrt(fan in), from each
        seed's own stream.
        """
        for copy, seed in enumerate(seeds):
            stream = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for module in self.modules():
                    if isinstance(module, nn.Conv2d):
                        weight = module.weight.unflatten(0, (self.copies, WIDTH))[copy]
                        bound = 1 / math.sqrt(weight[0].numel())
                        weight.uniform_(-bound, bound, generator=stream)
                for parameter in (self.weight, self.bias):
                    parameter[copy].uniform_(-1 / math.sqrt(WIDTH), 1 / math.sqrt(WIDTH), generator=stream)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, S, 8, 8], one for each copy -> logits [S, B, 10]."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        x = F.avg_pool2d(self.cell1(x), 2)
        x = self.cell2(self.reduction(F.relu(x)))
        x = F.relu(self.norm(x)).mean((2, 3))
        return torch.baddbmm(self.bias, x.unflatten(1, (self.copies, WIDTH)).transpose(0, 1), self.weight)


class Cell(nn.Module):
    """One cell, with convolutions made by `network`."""

    def __init__(self, cell: Indices, network: CellNetwork):
        super().__init__()
        live = live_edges(np.asarray(cell)[None])[0]
        self.edges = [
            (source, target, int(cell[e]), str(e)) for e, (source, target) in enumerate(EDGES) if live[e]
        ]
        kernels = {CONV1: 1, CONV3: 3}
        self.convolutions = nn.ModuleDict(
            {
                name: network._convolution(WIDTH, kernels[operation])
                for _, _, operation, name in self.edges
                if operation in kernels
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, S * 16, H, H] -> the same shape; zeros where no edge is live."""
        nodes: list[Tensor] = [x]
        rectified: dict[int, Tensor] = {}
        pooled: dict[int, Tensor] = {}
        for node in range(1, NODES):
            fresh, shared = [], []  # terms of this node alone, and terms that other nodes may use
            for source, target, operation, name in self.edges:
                if target != node:
                    continue
                value = nodes[source]
                if operation == SKIP:
                    shared.append(value)
                elif operation == POOL:
                    if source not in pooled:
                        pooled[source] = F.avg_pool2d(value, 3, stride=1, padding=1, count_include_pad=False)
                    shared.append(pooled[source])
                else:
                    if source not in rectified:
                        rectified[source] = F.relu(value)
                    fresh.append(self.convolutions[name](rectified[source]))
            nodes.append(_sum(fresh, shared) if fresh or shared else torch.zeros_like(x))
        return nodes[-1]


def _sum(fresh: list[Tensor], shared: list[Tensor]) -> Tensor:
    """The sum of all, in the memory of the first fresh one, since memory traffic bounds these small
    networks.
    """
    if not fresh:
        first, *rest = shared
        return sum(rest, first)
    total, *rest = fresh
    for value in (*rest, *shared):
        total = total.add_(value)
    return total


def train(
    cell: Indices, seeds: Sequence[int] = (0, 1, 2), noise: float = 0.5, epochs: int = BUDGETS[-1]
) -> Training:
    """Train one cell on the noisy digits, once with each seed.

    Args:
        cell: operation indices [6].
        seeds: seeds for the initial weights, the order of the images and their noise.
        noise: standard deviation of the pixels' noise.
        epochs: epochs after which training stops, one of the budgets; later budgets are 0 in the result. The
            schedule remains that of 16 epochs.

    Returns:
        Counts of right answers, losses and times; all but the times repeat bit for bit on the same machine
        with one thread.

    Raises:
        ArchGymError: another number of epochs, or a negative noise.
    """
    if epochs not in BUDGETS:
        raise unknown("number of epochs", epochs, BUDGETS)
    digits = load_digits_task(noise)
    images, labels = _training_set(noise, tuple(seeds))
    network = CellNetwork(cell, seeds)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    copies, steps = len(seeds), BUDGETS[-1] * BATCHES
    valid_correct = np.zeros((copies, len(BUDGETS)), np.uint16)
    train_seconds = np.zeros(len(BUDGETS), np.float32)
    seconds = 0.0
    for epoch in range(epochs):
        start = time.process_time()
        network.train()
        losses = torch.zeros(copies)
        for batch in range(BATCHES):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * (epoch * BATCHES + batch) / steps)) / 2
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            loss = _cross_entropy(network(images[epoch, rows]), labels[epoch, rows].T)
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimizer.step()
            losses += loss.detach()
        seconds += time.process_time() - start
        if epoch + 1 in BUDGETS:
            budget = BUDGETS.index(epoch + 1)
            train_seconds[budget] = seconds / copies
            valid_correct[:, budget], valid_loss = _evaluate(
                network, digits.valid_images, digits.valid_labels
            )
    test_correct, _ = _evaluate(network, digits.test_images, digits.test_labels)
    return Training(valid_correct, test_correct, losses.numpy() / BATCHES, valid_loss, train_seconds)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, since sums over several differ in their last bits; afterwards the number of
    threads is restored.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over a batch: [S, B, 10], [S, B] -> [S]."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.reshape(labels.shape).mean(1)


@torch.no_grad()
def _evaluate(network: CellNetwork, images: Array, labels: Array) -> tuple[Counts, Array]:
    """Right answers, uint16 [S], and mean cross-entropy, float32 [S]."""
    network.eval()
    stacked = torch.from_numpy(images)[:, None].expand(-1, network.copies, SIDE, SIDE)
    logits = torch.cat([network(part) for part in stacked.split(EVALUATION_BATCH)], dim=1)
    expected = torch.from_numpy(labels).expand(network.copies, -1)
    return (logits.argmax(2) == expected).sum(1).numpy().astype(np.uint16), _cross_entropy(
        logits, expected
    ).numpy()


@lru_cache(maxsize=4)  # three seeds alone, and all together
def _training_set(noise: float, seeds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """All epochs of all seeds: images [16, 896, S, 8, 8] and labels [16, 896, S]."""
    digits = load_digits_task(noise)
    epochs = [[digits.epoch(seed, epoch) for seed in seeds] for epoch in range(BUDGETS[-1])]
    images, labels = (
        np.stack([np.stack([seen[part] for seen in epoch], 1) for epoch in epochs]) for part in (0, 1)
    )
    return torch.from_numpy(images), torch.from_numpy(labels)
