"""A transformer block on one GPU, for one microbatch: sums over its layers.

    time = flop / (peak efficiency(flop)) + bytes / (bandwidth efficiency(bytes))    (or the larger one)

in the forward pass, for gradients of inputs and of weights, and for Adam's update of the weights (11 flop and
12 bytes of state per weight: a master copy and two moments of 4 bytes each), which `sharers` GPUs may share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.layers import Layer, Step, transformer_block
from archgym.simulators.parallelism.plans import Plans

OPTIMIZER_FLOP = 11.0
OPTIMIZER_BYTES = 12.0


@dataclass
class Block:
    """Sums over a block's layers; columns [B].

    Attributes:
        forward, backward, again, optimizer: time of layers in the passes, of recomputation and of the update,
            all without communication, in s.
        enter, leave: time that F and G take of compute and memory in the forward pass, s.
        backward_compute, backward_memory: compute and memory time of the backward pass, with F and G, s.
        again_compute, again_memory, optimizer_compute, optimizer_memory: those of recomputation and of the
            update, s.
        flop: number of flop of both passes and the update, without recomputation.
        weights: number of weights.
        working_bytes, stored_bytes, gradient_bytes: inputs of all layers, those that wait for the backward
            pass, and gradients of outputs.
    """

    forward: Any = 0.0
    backward: Any = 0.0
    again: Any = 0.0
    optimizer: Any = 0.0
    enter: Any = 0.0
    leave: Any = 0.0
    backward_compute: Any = 0.0
    backward_memory: Any = 0.0
    again_compute: Any = 0.0
    again_memory: Any = 0.0
    optimizer_compute: Any = 0.0
    optimizer_memory: Any = 0.0
    flop: Any = 0.0
    weights: Any = 0.0
    working_bytes: Any = 0.0
    stored_bytes: Any = 0.0
    gradient_bytes: Any = 0.0


class Times(NamedTuple):
    """Times of a layer, s: of the forward pass, the two gradients, and the update."""

    compute: tuple[Any, Any, Any, Any]
    memory: tuple[Any, Any, Any, Any]


def measure_block(model: LanguageModel, cluster: Cluster, plan: Plans, *, literal: bool) -> Block:
    """Sums over the layers of a block.

    Args:
        model: model.
        cluster: cluster.
        plan: plans.
        literal: whether `again_compute` and `again_memory` are Calculon's.
    """
    steps = transformer_block(model, plan)
    times = _times({step.layer: None for step in steps}, cluster, plan.sharers)
    block = Block()
    for step, n in Counter(steps).items():
        layer, (compute, memory) = step.layer, times[step.layer]
        total = [cluster.processing(c, m) for c, m in zip(compute, memory, strict=True)]
        if step.communication == "enter":
            block.enter = total[0]
        elif step.communication == "leave":
            block.leave = total[0]
        else:
            block.forward += n * total[0]
            block.backward += n * (total[1] + total[2])
            block.optimizer += n * total[3]
            block.again += n * step.again * total[0]
        block.backward_compute += n * (compute[1] + compute[2])
        block.backward_memory += n * (memory[1] + memory[2])
        block.optimizer_compute += n * compute[3]
        block.optimizer_memory += n * memory[3]
        block.flop += n * (sum(layer.flop) + OPTIMIZER_FLOP * layer.weights / plan.sharers)
        block.weights += n * layer.weights
        block.working_bytes += 0 if step.reused else n * layer.kept
        block.stored_bytes += n * (step.stored * layer.kept - step.output_dropped * layer.output)
        block.gradient_bytes += n * layer.gradient
    again = _again_of_calculon if literal else _again
    block.again_compute, block.again_memory = again(steps, times)
    return block


def _again(steps: list[Step], times: dict[Layer, Times]) -> tuple[Any, Any]:
    """Compute and memory time of the layers that the backward pass computes again."""
    found = [0.0, 0.0]
    for step, n in Counter(steps).items():
        if not step.communication:
            for kind, each in enumerate(times[step.layer]):
                found[kind] += n * step.again * each[0]
    return found[0], found[1]


def _again_of_calculon(steps: list[Step], times: dict[Layer, Times]) -> tuple[Any, Any]:
    """Calculon's: each of these layers adds the sum over all layers up to it, instead of its own time
    (`Llm._compute_block_stats`).
    """
    found, so_far = [0.0, 0.0], [0.0, 0.0]
    for step in steps:
        for kind, each in enumerate(times[step.layer]):
            so_far[kind] = so_far[kind] + each[0]
            found[kind] += step.again * so_far[kind]
    return found[0], found[1]


def _times(layers: Iterable[Layer], cluster: Cluster, sharers: Any) -> dict[Layer, Times]:
    """Times of layers: sizes of the same kind are evaluated together."""
    layers = list(layers)
    updates = {layer: np.asarray(layer.weights / sharers) for layer in layers if np.any(layer.weights)}
    flop = {layer: OPTIMIZER_FLOP * weights for layer, weights in updates.items()}
    state = {layer: OPTIMIZER_BYTES * weights for layer, weights in updates.items()}
    matrix = _together(cluster.matrix_s, chain.from_iterable(each.flop for each in layers if each.matrix))
    others = chain.from_iterable(each.flop for each in layers if not each.matrix)
    vector = _together(cluster.vector_s, chain(others, flop.values()))
    moved = chain.from_iterable((each.moved, each.moved_back) for each in layers)
    memory = _together(cluster.memory_s, chain(moved, state.values()))

    def of(layer: Layer) -> Times:
        forward, back, weights = (matrix if layer.matrix else vector)(*layer.flop)
        moved, moved_back = memory(layer.moved, layer.moved_back)
        if layer not in updates:
            return Times((forward, back, weights, 0.0), (moved, moved_back, 0.0, 0.0))
        update, written = *vector(flop[layer]), *memory(state[layer])
        return Times((forward, back, weights, update), (moved, moved_back, moved, written))

    return {layer: of(layer) for layer in layers}


def _together(seconds: Callable[[Any], Any], sizes: Iterable[Any]) -> Callable[..., Iterator[Any]]:
    """The times of any of the sizes, from one call for all of them; a number among the columns is 0, and its
    time too.
    """
    columns = {id(size): size for size in sizes if np.ndim(size)}
    times = dict(zip(columns, seconds(np.stack(list(columns.values()))), strict=True))
    return lambda *wanted: (times.get(id(size), 0.0) for size in wanted)
