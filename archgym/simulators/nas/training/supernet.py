"""The supernet of the digits network: all five operations on every edge of both cells.

    image -> conv3x3 (1 -> 16), BN -> cell at 8x8 -> average pool 2, ReLU, conv1x1 (16 -> 16), BN
          -> cell at 4x4 -> BN, ReLU, global average -> linear (16 -> 10)

    path      x_j = sum_i o_ij(x_i)                   o_ij the chosen operation
    mixture   x_j = sum_i b_ij sum_o w_ij,o o(x_i)    the convolutions of all edges that leave node i are one

Every edge, operation and stage has its own weights. Batch norms use the statistics of the batch at hand, in
training and in estimates, since those of one path are not those of another; those inside cells have no
parameters. With partial channels operations see the first 16/K of the 16 channels and the rest passes by,

    y = shuffle([o(x_1..16/K), x_16/K+1..16])         shuffle: channels as [K, 16/K], transposed

on every edge, one with `none` too, so that all edges are live. Weights learn from the training images,
choices between operations from the validation images; the test images are not read.

Sources: Dong & Yang, "NAS-Bench-201", ICLR 2020 (batch statistics, norms without parameters); Xu et al.,
"PC-DARTS", ICLR 2020 (partial channels); Zhang et al., "ShuffleNet", CVPR 2018 (channel shuffle).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import ClassVar, Self

import numpy as np

from archgym.errors import ArchGymError, MissingDependency, unknown
from archgym.shared import Batch, SharedTask
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import Workload
from archgym.simulators.nas.cells import (
    CELL_SPACE,
    CONV1,
    CONV3,
    EDGES,
    NODES,
    OPERATIONS,
    POOL,
    SKIP,
    live_edges,
)
from archgym.simulators.nas.costs import Network, get_network
from archgym.simulators.nas.training.digits import BATCH, BATCHES, CLASSES, load_digits_task
from archgym.space import Array, Indices

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError:
    raise MissingDependency(
        "training shared weights needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None

WIDTH, STAGES = 16, 2
KERNELS = {CONV1: 1, CONV3: 3}
LEAVING = tuple([e for e, (source, _) in enumerate(EDGES) if source == node] for node in range(NODES - 1))
NOISES = (0.5, 0.3, 0.7)  # of the family of data sets


class Supernet(nn.Module):
    """The weights.

    Args:
        seed: seed for initial weights, PyTorch's default distributions.
        partial: K, where operations see 1/K of the channels.
    """

    def __init__(self, seed: int, partial: int = 1):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int, inputs: int) -> nn.Parameter:
            bound = 1 / math.sqrt(inputs)
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        def norm() -> nn.ParameterList:
            return nn.ParameterList([nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))])

        self.partial, self.seen = partial, WIDTH // partial
        self.stem, self.stem_norm = uniform(WIDTH, 1, 3, 3, inputs=9), norm()
        self.reduction, self.reduction_norm = uniform(WIDTH, WIDTH, 1, 1, inputs=WIDTH), norm()
        self.last_norm = norm()
        self.weight = uniform(CLASSES, WIDTH, inputs=WIDTH)
        self.bias = uniform(CLASSES, inputs=WIDTH)
        self.convolutions = nn.ParameterDict(
            {
                f"{stage}-{operation}-{edge}": uniform(
                    self.seen, self.seen, kernel, kernel, inputs=self.seen * kernel**2
                )
                for stage in range(STAGES)
                for operation, kernel in KERNELS.items()
                for edge in range(len(EDGES))
            }
        )

    def path(self, images: Tensor, design: Indices, gates: Tensor | None = None) -> Tensor:
        """Images [B, 1, 8, 8] -> logits [B, 10] of one cell."""
        live = computed_edges(design, self.partial)
        x = self._begin(images)
        x = self._reduce(self._path_cell(x, 0, design, live, gates))
        return self._end(self._path_cell(x, 1, design, live, gates))

    def mixture(
        self, images: Tensor, weights: Tensor, edges: Tensor | None = None, kept: Array | None = None
    ) -> Tensor:
        """Images [B, 1, 8, 8] -> logits [B, 10] of a mixture of operations."""
        kept = np.ones((len(EDGES), len(OPERATIONS)), bool) if kept is None else np.asarray(kept, bool)
        x = self._begin(images)
        x = self._reduce(self._mixed_cell(x, 0, weights, edges, kept))
        return self._end(self._mixed_cell(x, 1, weights, edges, kept))

    def _begin(self, images: Tensor) -> Tensor:
        return normalised(F.conv2d(images, self.stem, padding=1), *self.stem_norm)

    def _reduce(self, x: Tensor) -> Tensor:
        return normalised(F.conv2d(F.relu(F.avg_pool2d(x, 2)), self.reduction), *self.reduction_norm)

    def _end(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(normalised(x, *self.last_norm)).mean((2, 3)), self.weight, self.bias)

    def _path_cell(
        self, x: Tensor, stage: int, design: Indices, live: list[int], gates: Tensor | None
    ) -> Tensor:
        nodes: list[Tensor | None] = [x, *[None] * (NODES - 1)]
        for edge in live:
            source, target = EDGES[edge]
            value, operation = nodes[source], int(design[edge])
            assert value is not None  # a live edge leaves a live node
            seen = value[:, : self.seen]
            if operation in KERNELS:
                term = self._convolved(F.relu(seen), stage, operation, [edge])
            elif operation == POOL:
                term = pooled(seen)
            else:
                term = seen if operation == SKIP else torch.zeros_like(seen)
            if gates is not None:
                term = gates[edge] * term
            nodes[target] = _plus(nodes[target], self._with_rest(term, value))
        return _or_zeros(nodes[-1], x)

    def _mixed_cell(
        self, x: Tensor, stage: int, weights: Tensor, edges: Tensor | None, kept: Array
    ) -> Tensor:
        nodes: list[Tensor | None] = [x, *[None] * (NODES - 1)]
        for source, leaving in enumerate(LEAVING):
            value = nodes[source]
            if value is None:
                continue
            for edge, outputs in self._outputs(value[:, : self.seen], stage, leaving, kept).items():
                term: Tensor | None = None
                for operation, output in outputs.items():
                    term = _plus(term, weights[edge, operation] * output)
                if self.partial > 1:
                    term = self._with_rest(_or_zeros(term, value[:, : self.seen]), value)
                if term is not None:
                    target = EDGES[edge][1]
                    nodes[target] = _plus(nodes[target], term if edges is None else edges[edge] * term)
        return _or_zeros(nodes[-1], x)

    def _outputs(
        self, seen: Tensor, stage: int, leaving: list[int], kept: Array
    ) -> dict[int, dict[int, Tensor]]:
        """Outputs of the kept operations of edges that leave one node, by edge and operation."""
        outputs: dict[int, dict[int, Tensor]] = {edge: {} for edge in leaving}
        for edge in leaving:
            if kept[edge, SKIP]:
                outputs[edge][SKIP] = seen
        rectified = F.relu(seen) if kept[np.ix_(leaving, list(KERNELS))].any() else seen
        for operation in KERNELS:
            chosen = [edge for edge in leaving if kept[edge, operation]]
            if chosen:
                joint = self._convolved(rectified, stage, operation, chosen)
                for edge, output in zip(chosen, joint.split(self.seen, dim=1), strict=True):
                    outputs[edge][operation] = output
        if kept[leaving, POOL].any():
            pool = pooled(seen)
            for edge in leaving:
                if kept[edge, POOL]:
                    outputs[edge][POOL] = pool
        return outputs

    def _convolved(self, rectified: Tensor, stage: int, operation: int, edges: list[int]) -> Tensor:
        """The convolutions of E edges as one, with their norms: [B, C, H, W] -> [B, E C, H, W]."""
        filters = [self.convolutions[f"{stage}-{operation}-{edge}"] for edge in edges]
        joint = torch.cat(filters) if len(filters) > 1 else filters[0]
        return normalised(F.conv2d(rectified, joint, padding=KERNELS[operation] // 2))

    def _with_rest(self, term: Tensor, value: Tensor) -> Tensor:
        """The term of an edge, with the channels that passed by."""
        if self.partial == 1:
            return term
        return shuffled(torch.cat([term, value[:, self.seen :]], dim=1), self.partial)


def normalised(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Batch norm with the statistics of the batch."""
    return F.batch_norm(x, None, None, weight, bias, training=True)


def pooled(x: Tensor) -> Tensor:
    """Average pooling 3x3 that ignores padding."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels as [groups, C / groups], transposed: [B, C, H, W] -> the same shape."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def computed_edges(design: Indices, partial: int) -> list[int]:
    """Edges of a cell [6] that its path computes: the live ones, or all where channels pass by."""
    if partial > 1:
        return list(range(len(EDGES)))
    return np.flatnonzero(live_edges(np.asarray(design)[None])[0]).tolist()


def _plus(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term


def _or_zeros(total: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if total is None else total


class SharedDigits(SharedTask):
    """Shared weights of all cells, trained on the noisy digits.

    Args:
        noise: standard deviation of the pixels' noise.
        seed: seed for initial weights and batches.
        fresh: True: a new noisy copy of the training images every epoch, and the 1,350 validation images for
            `valid_batch`; False: two noisy copies of 896 training images, drawn once, of which one half is
            for `train_batch` and the other for `valid_batch`.
        partial: K, where operations see 1/K of the channels.

    Raises:
        ArchGymError: K does not divide 16, a negative noise, or scikit-learn is not installed.
    """

    space = CELL_SPACE
    operations = (len(OPERATIONS),) * len(EDGES)
    nodes = tuple(tuple(e for e, (_, to) in enumerate(EDGES) if to == node) for node in range(1, NODES))
    batch, batches = BATCH, BATCHES
    cost_metrics: ClassVar[tuple[str, ...]] = ("macs", "latency_s")

    def __init__(self, noise: float, seed: int, *, fresh: bool = True, partial: int = 1):
        super().__init__()
        if isinstance(partial, bool) or not isinstance(partial, int) or partial < 1 or WIDTH % partial:
            raise ArchGymError(
                f"expected partial as a divisor of the {WIDTH} channels, got {partial!r}; use 1, 2, 4, 8 "
                "or 16"
            )
        self.fresh, self.partial = fresh, partial
        self.network = Supernet(seed, partial)
        self._allowed = super().allowed
        self._read(noise, np.random.default_rng(seed))

    def _read(self, noise: float, rng: np.random.Generator) -> None:
        """Take the images of a level of noise, and start streams of batches."""
        self.noise = noise
        self.family = tuple(f"digits-{level:g}" for level in dict.fromkeys((noise, *NOISES)))
        self._restart(rng)
        digits = load_digits_task(noise)
        self._validation = _batch(digits.valid_images, digits.valid_labels)
        self._halves: tuple[Batch, Batch] | None = None
        if not self.fresh:
            copies = [digits.epoch(self._stream, epoch) for epoch in range(2)]
            images, labels = (np.concatenate(parts) for parts in zip(*copies, strict=True))
            first, second = np.array_split(self._rng.permutation(len(labels)), 2)
            self._halves = _batch(images[first], labels[first]), _batch(images[second], labels[second])

    def _restart(self, rng: np.random.Generator) -> None:
        self._rng, self._stream, self._epoch = rng, int(rng.integers(2**31)), 0
        self._training: list[Batch] = []  # batches left in the epoch
        self._choosing: list[Batch] = []

    def parameters(self) -> list[Tensor]:
        return list(self.network.parameters())

    def train_batch(self) -> Batch:
        if not self._training:
            if self._halves is None:
                images, labels = load_digits_task(self.noise).epoch(self._stream, self._epoch)
                self._training = _batches(_batch(images, labels), np.arange(len(labels)))
            else:
                self._training = self._shuffled(self._halves[0])
            self._epoch += 1
        return self._training.pop(0)

    def valid_batch(self) -> Batch:
        if not self._choosing:
            self._choosing = self._shuffled(self._validation if self._halves is None else self._halves[1])
        return self._choosing.pop(0)

    def _shuffled(self, images: Batch) -> list[Batch]:
        return _batches(images, self._rng.permutation(len(images.labels)))

    def macs(self, design: Indices | None = None, *, kept: Array | None = None) -> float:
        edges, skeleton = _operation_macs(self.partial), sum(layer.macs for layer in _network(1).skeleton)
        if design is None:
            return skeleton + float((edges if kept is None else edges[np.asarray(kept, bool)]).sum())
        live = computed_edges(design, self.partial)
        return skeleton + float(edges[live, np.asarray(design)[live]].sum())

    def cost_of_operations(self, metric: str = "macs") -> Array:
        if metric not in self.cost_metrics:
            raise unknown("cost of operations", metric, self.cost_metrics)
        return (_operation_macs if metric == "macs" else _operation_latencies)(self.partial).copy()

    def known_metrics(self, designs: Indices) -> dict[str, Array]:
        """`params` and `macs` of the cells' own networks, as in tables: [B, 6] -> float64 [B] each."""
        costs = get_network("digits").costs(np.asarray(designs))
        return {name: np.asarray(column, np.float64) for name, column in costs.items()}

    def clone(self, allowed: Array | None = None) -> Self:
        twin = copy.copy(self)
        twin.network = copy.deepcopy(self.network)
        twin._allowed = self._allowed if allowed is None else np.array(allowed, bool)
        twin._restart(self._rng.spawn(1)[0])
        return twin

    @property
    def allowed(self) -> Array:
        return self._allowed

    def on(self, data: str) -> Self:
        """The same weights on another level of noise.

        Args:
            data: a name of `family`.

        Raises:
            ArchGymError: an unknown data set.
        """
        if data not in self.family:
            return super().on(data)
        twin = copy.copy(self)
        twin._read(float(data.removeprefix("digits-")), self._rng.spawn(1)[0])
        return twin

    def _path(self, images: Tensor, design: Indices, gates: Tensor | None) -> Tensor:
        return self.network.path(images, np.asarray(design), gates)

    def _mixture(self, images: Tensor, weights: Tensor, edges: Tensor | None, kept: Array | None) -> Tensor:
        return self.network.mixture(images, weights, edges, kept)

    def _accuracy(self, design: Indices, images: int) -> float:
        logits = self.network.path(self._validation.images[:images], np.asarray(design))
        return float((logits.argmax(1) == self._validation.labels[:images]).double().mean())


def _batch(images: Array, labels: Array) -> Batch:
    return Batch(torch.from_numpy(images)[:, None].contiguous(), torch.from_numpy(labels))


def _batches(images: Batch, order: Indices) -> list[Batch]:
    """Full batches of images in an order; those left over wait for the next epoch."""
    rows = torch.from_numpy(order[: len(order) // BATCH * BATCH])
    return [Batch(images.images[part], images.labels[part]) for part in rows.split(BATCH)]


def _network(partial: int) -> Network:
    """The digits network whose edges have 1/partial of the channels."""
    return replace(get_network("digits"), widths=(WIDTH // partial,) * STAGES)


@cache
def _operation_macs(partial: int) -> Array:
    """Multiply-adds of each operation over both stages, float64 [6, 5]."""
    costs = np.zeros((len(EDGES), len(OPERATIONS)))
    for operation, kernel in KERNELS.items():
        costs[:, operation] = sum(layer.macs for layer in _network(partial).edge_layers(kernel))
    return costs


@cache
def _operation_latencies(partial: int) -> Array:
    """Latency of each operation's layers on the default accelerator, seconds, float64 [6, 5]."""
    costs = np.zeros((len(EDGES), len(OPERATIONS)))
    for operation, kernel in KERNELS.items():
        layers = _network(partial).edge_layers(kernel)
        accelerator = Accelerator(Workload(OPERATIONS[operation], OPERATIONS[operation], "", None, layers))
        default = {name: np.array([value]) for name, value in accelerator.space.defaults().items()}
        costs[:, operation] = accelerator.evaluate(default)["latency_s"]
    return costs
