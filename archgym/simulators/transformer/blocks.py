"""Blocks of vision networks: their layers, and the activations that are alive at once.

Multiply-adds and latency of a block are those of its layers; its parameters are theirs and `vectors`, numbers
learned outside them (normalisations, positions, the class token). Layers of attention scores have one group
for each head and window. A factorised linear layer k -> n of rank r is three, k -> r -> r -> n, with a bias
in the last (MCUFormer's code).

Memory. Weights are read from elsewhere (flash); batch normalisation is folded into its convolution. Residual
additions, biases, activation functions and the softmax work in place. With T tokens of width d, an operator
counts the tensors that are alive while it works, in elements:

    layer    every operator writes its whole output. Alive are its input, its output, and what a later
             operator reads: the residual, and Q, K and V until attention has ended.
    token    the schedule of MCUFormer (Liang et al., NeurIPS 2023) as we read it. The patch embedding holds
             the pixels of one patch instead of the image; operators are integrated, so that normalisation,
             factors, scores, softmax and the hidden layer of the perceptron exist for one token at a time;
             and tokens are overwritten: attention writes over Q, the perceptron and the projection over the
             residual. Blocks with convolutions keep input and output, since neighbours are read again, and
             one pixel of what lies between.

The peak of a network is the largest number of elements that any operator has alive, times the bytes of one.

Source: Liang et al., "MCUFormer: Deploying Vision Transformers on Microcontrollers with Limited Memory",
    NeurIPS 2023; Ryali et al., "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles",
    ICML 2023 (attention within mask units, pooling of queries); Tan and Le, "EfficientNetV2", ICML 2021 (the
    fused inverted bottleneck).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

from archgym.simulators.accelerator.layers import Layer

COLORS = 3
CLASSES = 1000
POOLED = 4  # tokens that become one where queries are pooled, 2 x 2


@dataclass(frozen=True)
class Block:
    """A part of a network.

    Attributes:
        layers: layers in order; equal ones have equal names.
        vectors: learned numbers outside the layers.
        by_layer, by_token: the most elements alive at once under each schedule.
        blocks: number of transformer and convolution blocks; 0 for what surrounds them.
        tokens, channels: what a head takes in; 0 in other parts.
    """

    layers: tuple[Layer, ...]
    vectors: int
    by_layer: int
    by_token: int
    blocks: int = 0
    tokens: int = 0
    channels: int = 0

    @cached_property
    def parameters(self) -> int:
        """Learned numbers."""
        return self.vectors + sum(layer.parameters for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(layer.macs for layer in self.layers)


@dataclass(frozen=True)
class Attention:
    """Sizes of a transformer block.

    Attributes:
        tokens: number of tokens, those of all windows.
        width: channels of a token.
        heads: number of heads.
        head_dim: channels of a head.
        hidden: hidden channels of the perceptron.
        windows: number of windows within which tokens attend to each other; 1 where all do.
        rank: rank of the linear layers; None where they are not factorised.
    """

    tokens: int
    width: int
    heads: int
    head_dim: int
    hidden: int
    windows: int = 1
    rank: int | None = None


def embedding(image: int, kernel: int, stride: int, padding: int, width: int, class_token: bool) -> Block:
    """Patches of an image as tokens, with learned positions."""
    patches = Layer(
        "embedding",
        "conv",
        COLORS,
        width,
        image,
        image,
        kernel,
        kernel,
        stride,
        padding_h=2 * padding,
        padding_w=2 * padding,
        vectors=1,
    )
    found = patches.output_h * patches.output_w * width
    kept = found + class_token * width
    return Block(
        (patches,),
        vectors=kept + class_token * width,
        by_layer=max(COLORS * image**2 + found, class_token * (found + kept)),
        by_token=COLORS * kernel**2 + kept,
    )


@cache
def transformer(block: Attention) -> Block:
    """Attention and a perceptron, each after a layer normalisation and with a residual."""
    tokens, width, inner = block.tokens, block.width, block.heads * block.head_dim
    keys = tokens // block.windows
    residual, scores = tokens * width, block.heads * tokens * keys
    factors = [] if block.rank is None else [block.rank, block.rank]
    qkv = [width, *factors, 3 * inner]
    projection = [inner, *factors, width]
    up, down = [width, *factors, block.hidden], [block.hidden, *factors, width]
    return Block(
        layers=(
            *_linear(tokens, qkv),
            *_products(tokens, tokens, block),
            *_linear(tokens, projection),
            *_linear(tokens, up),
            *_linear(tokens, down),
        ),
        vectors=4 * width,
        by_layer=max(
            residual + tokens * _widest(qkv),
            residual + 3 * tokens * inner + scores,
            residual + 3 * tokens * inner + scores + tokens * inner,
            residual + tokens * _widest(projection),
            residual + tokens * _widest(up),
            residual + tokens * _widest(down),
        ),
        by_token=max(
            residual + 3 * tokens * inner + _widest(qkv[:-1]),
            residual + 3 * tokens * inner + keys + block.head_dim,
            residual + tokens * inner + _widest(projection[1:]),
            residual + _widest([*up, *down[1:]]),
        ),
        blocks=1,
    )


def pooled_transformer(block: Attention, width: int) -> Block:
    """A transformer block that pools its queries 2 x 2, as Hiera's between stages: `width` channels come in,
    four times as many tokens as go out.

    `block.tokens` are those that come in; scores have a row for each pooled query. The residual is a linear
    layer of the normalised tokens, pooled too.
    """
    tokens, wide, inner = block.tokens, block.width, block.heads * block.head_dim
    fewer, keys = tokens // POOLED, tokens // block.windows
    scores, kept = block.heads * fewer * keys, fewer * wide
    return Block(
        layers=(
            *_linear(tokens, [width, wide]),
            *_linear(tokens, [width, 3 * inner]),
            *_products(fewer, tokens, block),
            *_linear(fewer, [inner, wide]),
            *_linear(fewer, [wide, block.hidden]),
            *_linear(fewer, [block.hidden, wide]),
        ),
        vectors=2 * width + 2 * wide,
        by_layer=max(
            2 * tokens * width,
            tokens * width + tokens * wide,
            tokens * width + tokens * wide + kept,
            tokens * width + kept + 3 * tokens * inner,
            kept + 3 * tokens * inner + fewer * inner,
            kept + 3 * tokens * inner + fewer * inner + scores,
            kept + 3 * tokens * inner + fewer * inner + scores + fewer * inner,
            kept + fewer * inner + kept,
            kept + fewer * (wide + block.hidden),
        ),
        by_token=max(
            tokens * width + kept + 2 * tokens * inner + fewer * inner + width + max(wide, inner),
            kept + 2 * tokens * inner + fewer * inner + keys + block.head_dim,
            kept + fewer * inner + wide,
            kept + _widest([wide, block.hidden, wide]),
        ),
        blocks=1,
    )


def bottleneck(size: int, channels: int, kernel: int, expansion: int) -> Block:
    """A fused inverted bottleneck with a residual: a convolution to `expansion` times the channels, and one
    of 1 x 1 back, each with batch normalisation.
    """
    pixels, inner = size**2, expansion * channels
    kept = pixels * channels
    return Block(
        (_convolution(size, channels, inner, kernel), _convolution(size, inner, channels, 1)),
        vectors=0,
        by_layer=kept + pixels * inner + kept,
        by_token=kept + inner + kept,
        blocks=1,
    )


def downsampling(size: int, channels: int, filters: int) -> Block:
    """A 3 x 3 convolution of stride 2 with batch normalisation, of an image of `size` pixels."""
    layer = _convolution(size, channels, filters, 3, stride=2)
    alive = size**2 * channels + layer.output_h * layer.output_w * filters
    return Block((layer,), vectors=0, by_layer=alive, by_token=alive)


def stem(image: int, channels: int) -> Block:
    """A 3 x 3 convolution of stride 2 and one of stride 1, of an image."""
    first = downsampling(image, COLORS, channels)
    second = _convolution(image // 2, channels, channels, 3)
    alive = 2 * (image // 2) ** 2 * channels
    return joined([first, Block((second,), vectors=0, by_layer=alive, by_token=alive)])


def head(tokens: int, width: int, normalized: bool) -> Block:
    """The mean of all tokens, a layer normalisation of it (of the tokens before it where `normalized`), and a
    linear layer to the classes.
    """
    kept = tokens * width
    return Block(
        _linear(1, [width, CLASSES]),
        vectors=2 * width,
        by_layer=max(kept + (kept if normalized else width), width + CLASSES),
        by_token=max(kept + (2 if normalized else 1) * width, width + CLASSES),
        tokens=tokens,
        channels=width,
    )


def joined(parts: Sequence[Block]) -> Block:
    """Blocks one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Block(
        layers=tuple(layer for block in parts for layer in block.layers),
        vectors=sum(block.vectors for block in parts),
        by_layer=max((block.by_layer for block in parts), default=0),
        by_token=max((block.by_token for block in parts), default=0),
        blocks=sum(block.blocks for block in parts),
        tokens=sum(block.tokens for block in parts),
        channels=sum(block.channels for block in parts),
    )


def _linear(rows: int, widths: list[int]) -> tuple[Layer, ...]:
    """Linear layers in a row, with a bias in the last."""
    pairs = list(pairwise(widths))
    return tuple(
        Layer.gemm("linear", rows, n, k, vectors=int(place == len(pairs) - 1))
        for place, (k, n) in enumerate(pairs)
    )


def _products(queries: int, keys: int, block: Attention) -> tuple[Layer, Layer]:
    """Scores of queries and keys, and the mean of the values by them, in every window."""
    groups = block.heads * block.windows
    m, n, k = queries // block.windows, keys // block.windows, block.head_dim
    return (
        Layer.gemm("scores", m, n, k, kind="matmul", groups=groups),
        Layer.gemm("mean", m, k, n, kind="matmul", groups=groups),
    )


def _convolution(size: int, channels: int, filters: int, kernel: int, stride: int = 1) -> Layer:
    """A convolution without bias, and its batch normalisation, of a square image."""
    padding = kernel - 1
    return Layer(
        "convolution",
        "conv",
        channels,
        filters,
        size,
        size,
        kernel,
        kernel,
        stride,
        padding_h=padding,
        padding_w=padding,
        vectors=2,
    )


def _widest(widths: list[int]) -> int:
    """The most channels that a row of linear layers has alive for one token: an input and its output."""
    return max((first + second for first, second in pairwise(widths)), default=widths[0])
