"""Layers of a transformer block on one GPU, for one microbatch: flop, bytes, and time.

    block = [fork(A', 2), norm(A'), F, fork(A, 3), 3 x linear(h -> a e / t), Q K^T, softmax, dropout, S V,
             linear(a e / t -> h), G, dropout(A'), add(A'),
             fork(A', 2), norm(A'), F, linear(h -> f / t), GeLU, linear(f / t -> h), G, dropout(A'), add(A')]

with A = m s h activations (m sequences of s tokens), A' = A / t if they are split by sequence and A else,
and F and G the communication of tensor parallelism (`collectives`). Numbers are 2 bytes.

    time = flop / (peak efficiency(flop)) + bytes / (bandwidth efficiency(bytes))    (or the larger one)

Equations: Isaev et al., Calculon, SC 2023, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.plans import Plans

NUMBER_BYTES = 2.0
OPTIMIZER_FLOP = 11.0  # per weight: Adam
OPTIMIZER_BYTES = 12.0  # per weight: a master copy and two moments of 4 bytes each


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer; numbers or columns [B].

    Args:
        flop: of the forward pass, the gradient of inputs, and the gradient of weights.
        moved: bytes to and from memory in the forward pass.
        moved_back: bytes for the gradient of inputs.
        weights: weights; with them, their gradient moves as many bytes as the forward pass.
        kept: bytes of inputs that the backward pass needs.
        output: bytes of the output.
        gradient: bytes of the gradient of the output.
        matrix: whether it is a product of matrices.
    """

    flop: tuple[Any, Any, Any]
    moved: Any
    moved_back: Any
    kept: Any
    output: Any
    gradient: Any
    weights: Any = 0.0
    matrix: bool = False


def fork(x: Any, users: int) -> Layer:
    """x numbers that several layers read: their gradients are added."""
    b = NUMBER_BYTES
    return Layer((0, users * x, 0), 0, x * b * (users + 1), kept=x * b, output=0, gradient=0)


def layer_norm(x: Any, hidden: Any) -> Layer:
    """Normalisation of x numbers, in rows of `hidden`."""
    b = NUMBER_BYTES
    moved = (2 * x + 2 * hidden) * b
    return Layer((9 * x, 14 * x, 7 * x), moved, moved, x * b, x * b, x * b, weights=2 * hidden)


def linear(tokens: Any, inputs: Any, outputs: Any) -> Layer:
    """[tokens, inputs] by [inputs, outputs]."""
    b = NUMBER_BYTES
    flop = 2 * tokens * inputs * outputs
    kept, output, weights = tokens * inputs * b, tokens * outputs * b, inputs * outputs
    moved = kept + output + weights * b
    return Layer((flop, flop, flop), moved, moved, kept, output, output, weights, matrix=True)


def products(count: Any, m: Any, n: Any, k: Any) -> Layer:
    """`count` products of [m, n] by [n, k], neither of them weights."""
    flop = 2 * count * m * n * k
    kept, output = count * (m * n + n * k) * NUMBER_BYTES, count * m * k * NUMBER_BYTES
    return Layer((flop, 2 * flop, 0), kept + output, kept + output, kept, output, output, matrix=True)


def softmax(x: Any) -> Layer:
    """Softmax of x numbers."""
    b = NUMBER_BYTES
    return Layer((5 * x, 8 * x, 0), 2 * x * b, 2 * x * b, x * b, x * b, x * b)


def gelu(x: Any, fused: Any) -> Layer:
    """GeLU of x numbers; fused with the layer before, it keeps nothing."""
    b = NUMBER_BYTES
    kept = np.where(fused, 0, x) * b
    return Layer((8 * x, 13 * x, 0), 2 * x * b, 2 * x * b, kept, x * b, kept)


def dropout(x: Any) -> Layer:
    """Dropout of x numbers, with a mask of one byte each."""
    moved = 2 * x * NUMBER_BYTES + x
    return Layer((x, x, 0), moved, moved, x, x * NUMBER_BYTES, x)


def add(x: Any) -> Layer:
    """Sum of twice x numbers."""
    b = NUMBER_BYTES
    return Layer((x, 2 * x, 0), 3 * x * b, 3 * x * b, 2 * x * b, x * b, x * b)


def enter(x: Any, plan: Plans) -> Layer:
    """F: x numbers are gathered, or copied; the backward pass reduces them."""
    copied, reduced, part, whole = _parts(x, plan)
    return Layer((0, x * (plan.t - 1) / plan.t, 0), copied, reduced, kept=part, output=0, gradient=whole)


def leave(x: Any, plan: Plans) -> Layer:
    """G: x numbers are reduced; the backward pass gathers or copies them."""
    copied, reduced, part, whole = _parts(x, plan)
    return Layer((x * (plan.t - 1) / plan.t, 0, 0), reduced, copied, kept=whole, output=0, gradient=part)


def _parts(x: Any, plan: Plans) -> tuple[Any, Any, Any, Any]:
    """Bytes moved where x is copied or gathered, and where it is reduced; bytes that a GPU has of x on the side
    of the sequence, and on the other.
    """
    split, size = plan.sequence_parallel, x * NUMBER_BYTES
    return np.where(split, 2 * size, 0), 2 * size, np.where(split, size / plan.t, 0), np.where(split, size / plan.t, size)


@dataclass(frozen=True)
class Step:
    """A layer's place in a block.

    Args:
        layer: the layer.
        again: mask [B], whether the backward pass computes it again.
        reused: whether its inputs are another layer's, which keeps them.
        stored: mask, whether its inputs wait for the backward pass.
        output_stored: mask, whether its output does.
        communication: whether it is F or G.
    """

    layer: Layer
    again: Any
    reused: bool = False
    stored: Any = True
    output_stored: Any = True
    communication: bool = False


def transformer_block(model: LanguageModel, plan: Plans) -> list[Step]:
    """The layers of one block, in the order of the forward pass."""
    h, f, s, a, e = model.hidden, model.feedforward, model.sequence, model.heads, model.head_size
    t, m = plan.t, plan.m
    tokens = m * s
    A = tokens * h
    split = np.where(plan.sequence_parallel, A / t, A)
    scores = m * a / t * s * s
    full, attention = plan.full_again, plan.attention_again
    gathered_attention, gathered_perceptron = attention | plan.gather_again, full | plan.gather_again
    exchanged = np.where(t > 1, A, 0)
    both, norm, f_, g_ = fork(split, 2), layer_norm(split, h), enter(exchanged, plan), leave(exchanged, plan)
    drop, total = dropout(split), add(split)
    qkv = Step(linear(tokens, h, a * e / t), full, reused=True, stored=False)
    into = [Step(both, full), Step(norm, full, reused=True, stored=False), Step(f_, False, communication=True)]
    out = [
        Step(g_, False, stored=False, communication=True),
        Step(drop, full),
        Step(total, full, reused=True, stored=False),
    ]
    return [
        *into,
        Step(fork(A, 3), gathered_attention, stored=~gathered_attention),
        *[qkv] * 3,
        Step(products(m * a / t, s, e, s), attention, output_stored=~attention),
        Step(softmax(scores), attention, output_stored=~attention),
        Step(dropout(scores), attention, stored=~attention),
        Step(products(m * a / t, s, s, e), full),
        Step(linear(tokens, a * e / t, h), full),
        *out,
        *into,
        Step(linear(tokens, h, f / t), full, stored=~gathered_perceptron),
        Step(gelu(f * tokens / t, plan.fuse_activation), full),
        Step(linear(tokens, f / t, h), full),
        *out,
    ]


@dataclass
class Block:
    """Sums over a block's layers, per GPU and microbatch; columns [B].

    Attributes:
        forward, input_gradient, weight_gradient, optimizer, again: time of layers without F and G, s.
        compute, memory: time of flop and of bytes in the backward pass (F and G too), s.
        optimizer_compute, optimizer_memory: the same of the optimizer, s.
        enter, leave: time of flop and bytes of F and of G in the forward pass; the other one's in the backward
            pass; s.
        flop: of all passes and the optimizer, without recomputation.
        weights: weights.
        working_bytes, stored_bytes, gradient_bytes: inputs of all layers, those that wait for the backward pass,
            and gradients of outputs.
    """

    forward: Any = 0.0
    input_gradient: Any = 0.0
    weight_gradient: Any = 0.0
    optimizer: Any = 0.0
    again: Any = 0.0
    compute: Any = 0.0
    memory: Any = 0.0
    optimizer_compute: Any = 0.0
    optimizer_memory: Any = 0.0
    enter: Any = 0.0
    leave: Any = 0.0
    flop: Any = 0.0
    weights: Any = 0.0
    working_bytes: Any = 0.0
    stored_bytes: Any = 0.0
    gradient_bytes: Any = 0.0


def measure_block(steps: list[Step], cluster: Cluster, plan: Plans, literal: bool) -> Block:
    """Sums over the layers of a block.

    Args:
        steps: the block.
        cluster: cluster.
        plan: plans.
        literal: whether the time of recomputation in `compute` and `memory` is Calculon's: at each layer that is
            computed again, the sum over all layers up to it, instead of the layer's own.
    """
    block = Block()
    times = _times([step.layer for step in steps], cluster, plan)
    so_far = np.zeros((2, *plan.t.shape))
    for step in steps:
        layer = step.layer
        compute, memory, both = times[id(layer)]
        if step.communication:
            if np.ndim(layer.flop[0]):
                block.leave = both[0]
            else:
                block.enter = both[0]
        else:
            block.forward += both[0]
            block.input_gradient += both[1]
            block.weight_gradient += both[2]
            block.optimizer += both[3]
            block.again += np.where(step.again, both[0], 0)
        block.compute += compute[1] + compute[2]
        block.memory += memory[1] + memory[2]
        block.optimizer_compute += compute[3]
        block.optimizer_memory += memory[3]
        so_far += compute[0], memory[0]
        again = so_far if literal else (compute[0], memory[0])
        block.compute += np.where(step.again, again[0], 0)
        block.memory += np.where(step.again, again[1], 0)
        block.flop += layer.flop[0] + layer.flop[1] + layer.flop[2] + OPTIMIZER_FLOP * layer.weights / plan.sharers
        block.weights += layer.weights
        block.working_bytes += 0 if step.reused else layer.kept
        block.stored_bytes += np.where(step.stored, layer.kept, 0) - np.where(step.output_stored, 0, layer.output)
        block.gradient_bytes += layer.gradient
    return block


def _times(layers: list[Layer], cluster: Cluster, plan: Plans) -> dict[int, Any]:
    found = {}
    for layer in layers:
        if id(layer) in found:
            continue
        sh = plan.t.shape
        seconds = cluster.matrix_s if layer.matrix else cluster.vector_s
        fl = np.array([np.broadcast_to(np.asarray(x, float), sh) for x in layer.flop])
        by = np.array([np.broadcast_to(np.asarray(x, float), sh) for x in (layer.moved, layer.moved_back, np.where(np.asarray(layer.weights) > 0, layer.moved, 0))])
        w = layer.weights / plan.sharers
        compute = [*seconds(fl), cluster.vector_s(OPTIMIZER_FLOP * w)]
        memory = [*cluster.memory_s(by), cluster.memory_s(OPTIMIZER_BYTES * w)]
        both = [np.maximum(c, m) if cluster.overlap == "roofline" else c + m for c, m in zip(compute, memory)]
        found[id(layer)] = compute, memory, both
    return found
