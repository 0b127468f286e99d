"""Layers of a transformer block on one GPU, for one microbatch: flop and bytes.

    block = [fork(A', 2), norm(A'), F, fork(A, 3), 3 x linear(h -> a e / t), Q K^T, softmax, dropout, S V,
             linear(a e / t -> h), G, dropout(A'), add(A'),
             fork(A', 2), norm(A'), F, linear(h -> f / t), GeLU, linear(f / t -> h), G, dropout(A'), add(A')]

with A = m s h activations (m sequences of s tokens), A' = A / t if they are split by sequence and A else,
and F and G the communication of tensor parallelism (`collectives`). Numbers are 2 bytes.

Equations: Isaev et al., Calculon, SC 2023, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.plans import Plans

NUMBER_BYTES = 2.0


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer. A size is 0 or a column [B].

    Args:
        flop: numbers of flop of the forward pass, the gradient of inputs, and the gradient of weights.
        moved: bytes to and from memory in the forward pass, and again for the gradient of weights.
        moved_back: bytes for the gradient of inputs.
        kept: bytes of inputs that the backward pass needs.
        output: bytes of the output.
        gradient: bytes of the gradient of the output.
        weights: number of weights.
        matrix: whether it is a product of matrices.
    """

    flop: tuple[Any, Any, Any]
    moved: Any
    moved_back: Any
    kept: Any
    output: Any
    gradient: Any
    weights: Any = 0
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


def exchange(x: Any, plan: Plans) -> tuple[Layer, Layer]:
    """F and G for x numbers: F gathers or copies them and reduces their gradients, G does the reverse."""
    reduced, both = x * (plan.t - 1) / plan.t, 2 * x * NUMBER_BYTES
    copied = np.where(plan.sequence_parallel, both, 0)
    inside = np.where(plan.sequence_parallel, x * NUMBER_BYTES / plan.t, 0)
    outside = np.where(plan.sequence_parallel, inside, x * NUMBER_BYTES)
    enter = Layer((0, reduced, 0), copied, both, kept=inside, output=0, gradient=outside)
    leave = Layer((reduced, 0, 0), both, copied, kept=outside, output=0, gradient=inside)
    return enter, leave


@dataclass(frozen=True, eq=False)
class Step:
    """A layer's place in a block.

    Args:
        layer: the layer.
        again: mask [B], whether the backward pass computes it again.
        reused: whether another layer keeps its inputs.
        stored: mask [B], whether its inputs wait for the backward pass.
        output_dropped: mask [B], whether its output, an input of the next layer, does not.
        communication: "enter" for F, "leave" for G.
    """

    layer: Layer
    again: Any
    reused: bool = False
    stored: Any = True
    output_dropped: Any = False
    communication: str = ""


def transformer_block(model: LanguageModel, plan: Plans) -> list[Step]:
    """The layers of one block in the order of the forward pass; equal ones are the same object."""
    h, f, s, a, e = model.hidden, model.feedforward, model.sequence, model.heads, model.head_size
    t, m = plan.t, plan.m
    full, attention = plan.full_again, plan.attention_again
    tokens = m * s
    A, scores, inner = tokens * h, m * a / t * s * s, tokens * f / t
    A_ = np.where(plan.sequence_parallel, A / t, A)
    F, G = exchange(np.where(t > 1, A, 0), plan)
    regathered_qkv, regathered_mlp = attention | plan.gather_again, full | plan.gather_again
    into = [
        Step(fork(A_, 2), full),
        Step(layer_norm(A_, h), full, reused=True, stored=False),
        Step(F, False, communication="enter"),
    ]
    out = [
        Step(G, False, stored=False, communication="leave"),
        Step(dropout(A_), full),
        Step(add(A_), full, reused=True, stored=False),
    ]
    return [
        *into,
        Step(fork(A, 3), regathered_qkv, stored=~regathered_qkv),
        *[Step(linear(tokens, h, a * e / t), full, reused=True, stored=False)] * 3,
        Step(products(m * a / t, s, e, s), attention, output_dropped=attention),
        Step(softmax(scores), attention, output_dropped=attention),
        Step(dropout(scores), attention, stored=~attention),
        Step(products(m * a / t, s, s, e), full),
        Step(linear(tokens, a * e / t, h), full),
        *out,
        *into,
        Step(linear(tokens, h, f / t), full, stored=~regathered_mlp),
        Step(gelu(inner, plan.fuse_activation), full),
        Step(linear(tokens, f / t, h), full),
        *out,
    ]
