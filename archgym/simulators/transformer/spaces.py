"""Macro spaces of vision transformers for images of 224 x 224 pixels and 1,000 classes.

    mcuformer        one width for all blocks; heads and hidden layer of each block, 12 to 14 of them; patch
    mcuformer_small  size, and the rank of factorised layers. Values are those of MCUFormer's code (supernets
                     T and S), whose rank of attention is a share of the supernet's width and here of the
                     network's own, and whose relative positions are left out. rank_ratio 1, which is ours,
                     leaves layers whole, so that DeiT's networks are in the space.
    turbovit         four stages whose first blocks, from the second on, pool queries 2 x 2 and double width
                     and heads; attention within mask units or among all tokens in each stage. TurboViT's
                     paper names these parts, its three poolings and its size, but not its search space: the
                     blocks are those of Hiera, on which it builds, and values lie around Hiera's. Hiera-T, S
                     and B are in the space.
    ascan            four stages of convolution blocks, transformer blocks, or the first and then the second.
                     The paper says that convolutions are most of the early stages and transformers of the
                     late ones, after a stem of convolutions; the blocks are a fused inverted bottleneck
                     without squeeze-and-excitation and a plain transformer block without positions. Widths,
                     numbers and the 3 x 3 convolution of stride 2 in front of each stage are our reading.

A network is a row of parts, each determined by a few parameters, so that its costs are sums of theirs.

Source: Liang et al., "MCUFormer", NeurIPS 2023, and github.com/liangyn22/MCUFormer; Wong et al., "TurboViT:
    Generating Fast Vision Transformers via Generative Architecture Search", 2023; Ryali et al., "Hiera", ICML
    2023; Kag et al., "AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and
    Generation", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from archgym.simulators.transformer.blocks import (
    Attention,
    Block,
    bottleneck,
    downsampling,
    embedding,
    head,
    joined,
    pooled_transformer,
    stem,
    transformer,
)
from archgym.space import Categorical, DesignSpace, Integer, Ordinal
from archgym.space.parameters import Parameter

IMAGE = 224
DEEPEST = 14  # blocks of an MCUFormer
HEAD_DIM = 64  # of MCUFormer
STEM = 64  # channels of AsCAN's stem
SIDES = (56, 28, 14, 7)  # tokens along a side, by stage

Design = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A part of all networks of a space.

    Attributes:
        names: parameters that determine it.
        build: function of the values of these -> its blocks, none where it is absent.
    """

    names: tuple[str, ...]
    build: Callable[[Design], Sequence[Block]]


@dataclass(frozen=True)
class Macro:
    """A macro space.

    Attributes:
        space: the design space.
        parts: parts of a network, in order.
    """

    space: DesignSpace
    parts: tuple[Part, ...]


# --- MCUFormer ---

_RANKS = [round(0.4 + 0.05 * step, 2) for step in range(12)]  # 0.4 to 0.95


def mcuformer(widths: Sequence[int], heads: Sequence[int], ratios: Sequence[float]) -> Macro:
    """The space of MCUFormer, around one supernet."""
    parameters: list[Parameter] = [
        Ordinal("patch_size", [16, 20, 24, 28, 32]),
        Ordinal("rank_ratio", [*_RANKS, 1.0]),
        Ordinal("width", widths),
        Integer("depth", 12, DEEPEST),
    ]
    parts = [Part(("patch_size", "width"), _patches)]
    for block in range(1, DEEPEST + 1):
        when = {} if block <= 12 else {"depth": list(range(block, DEEPEST + 1))}
        parameters += [
            Ordinal(f"heads{block}", heads, when=when),
            Ordinal(f"mlp_ratio{block}", ratios, when=when),
        ]
        own = (f"heads{block}", f"mlp_ratio{block}")
        names = ("patch_size", "rank_ratio", "width", *(("depth",) if when else ()), *own)
        parts.append(Part(names, partial(_encoder, block)))
    parts.append(Part(("patch_size", "width"), _mcuformer_head))
    return Macro(DesignSpace(parameters), tuple(parts))


def _tokens(design: Design) -> int:
    """Patches and the class token."""
    return (IMAGE // design["patch_size"]) ** 2 + 1


def _patches(design: Design) -> list[Block]:
    size = design["patch_size"]
    return [embedding(IMAGE, size, size, 0, design["width"], class_token=True)]


def _encoder(number: int, design: Design) -> list[Block]:
    if number > design.get("depth", number):
        return []
    width, ratio = design["width"], design["rank_ratio"]
    return [
        transformer(
            Attention(
                tokens=_tokens(design),
                width=width,
                heads=design[f"heads{number}"],
                head_dim=HEAD_DIM,
                hidden=int(width * design[f"mlp_ratio{number}"]),
                rank=None if ratio == 1 else int(width * ratio),
            )
        )
    ]


def _mcuformer_head(design: Design) -> list[Block]:
    return [head(_tokens(design), design["width"], normalized=True)]


# --- TurboViT ---

MASK_UNIT, GLOBAL = "mask_unit", "global"
LAST_UNIT = 2  # tokens along a side of the third stage's mask units, the only even size


def turbovit() -> Macro:
    """Stages of attention in mask units or among all tokens, with pooled queries in between."""
    depths = [Integer("depth1", 1, 2), Integer("depth2", 1, 3), Integer("depth3", 2, 16)]
    units = ([4, 8, 14, 28], [2, 4, 14], None)  # tokens along a side of a mask unit; even, to be pooled
    parameters: list[Parameter] = [
        Ordinal("width", [48, 64, 80, 96, 112]),
        Ordinal("heads", [1, 2, 4]),
        Ordinal("mlp_ratio", [3, 4]),
    ]
    everywhere = ("width", "heads", "mlp_ratio")
    parts = [Part(("width",), _convolutional_patches)]
    for stage, (depth, sides) in enumerate(zip(depths, units, strict=True), start=1):
        parameters += [depth, Categorical(f"attention{stage}", [MASK_UNIT, GLOBAL])]
        if sides:
            parameters.append(Ordinal(f"unit{stage}", sides, when={f"attention{stage}": [MASK_UNIT]}))
        before = (f"attention{stage - 1}", f"unit{stage - 1}") if stage > 1 else ()
        own = (f"depth{stage}", f"attention{stage}", *((f"unit{stage}",) if sides else ()))
        parts.append(Part((*everywhere, *before, *own), partial(_stage, stage)))
    parameters.append(Integer("depth4", 1, 3))
    parts.append(Part((*everywhere, "attention3", "depth4"), partial(_stage, 4)))
    parts.append(
        Part(("width",), lambda design: [head(SIDES[3] ** 2, 8 * design["width"], normalized=False)])
    )
    return Macro(DesignSpace(parameters), tuple(parts))


def _convolutional_patches(design: Design) -> list[Block]:
    return [embedding(IMAGE, 7, 4, 3, design["width"], class_token=False)]


def _stage(stage: int, design: Design) -> list[Block]:
    """A stage of TurboViT; the block that pools attends as the stage before, whose tokens it takes in."""
    depth = design[f"depth{stage}"]
    own = _stage_attention(design, stage, stage)
    if stage == 1:
        return [transformer(own)] * depth
    pooling = pooled_transformer(_stage_attention(design, stage, stage - 1), own.width // 2)
    return [pooling, *[transformer(own)] * (depth - 1)]


def _stage_attention(design: Design, stage: int, tokens_of: int) -> Attention:
    """Attention with the width of a stage on the tokens, and in the windows, of one."""
    side = SIDES[tokens_of - 1]
    within = design.get(f"attention{tokens_of}", GLOBAL) == MASK_UNIT  # the fourth stage has no such choice
    width, heads = (design[name] << (stage - 1) for name in ("width", "heads"))
    return Attention(
        tokens=side**2,
        width=width,
        heads=heads,
        head_dim=width // heads,
        hidden=width * design["mlp_ratio"],
        windows=(side // design.get(f"unit{tokens_of}", LAST_UNIT)) ** 2 if within else 1,
    )


# --- AsCAN ---

CONVOLUTION, ATTENTION, MIXED = "convolution", "attention", "mixed"


def ascan() -> Macro:
    """Stages of convolutions, of attention, or of both."""
    widths = ([64, 128], [128, 192, 256], [256, 384, 512], [512, 640, 768])
    blocks = ([1, 2, 3, 4], [1, 2, 3, 4], [2, 4, 6, 8], [1, 2, 3, 4])
    parameters: list[Parameter] = []
    parts = [Part((), lambda design: [stem(IMAGE, STEM)])]
    for stage in range(1, 5):
        convolved = {f"kind{stage}": [CONVOLUTION, MIXED]}
        attended = {f"kind{stage}": [ATTENTION, MIXED]}
        own: list[Parameter] = [
            Ordinal(f"width{stage}", widths[stage - 1]),
            Categorical(f"kind{stage}", [CONVOLUTION, MIXED, ATTENTION]),
            Ordinal(f"convolutions{stage}", blocks[stage - 1], when=convolved),
            Ordinal(f"kernel{stage}", [3, 5], when=convolved),
            Ordinal(f"expansion{stage}", [2, 4], when=convolved),
            Ordinal(f"attentions{stage}", blocks[stage - 1], when=attended),
            Ordinal(f"head_dim{stage}", [32, 64], when=attended),
            Ordinal(f"mlp_ratio{stage}", [2, 4], when=attended),
        ]
        before = (f"width{stage - 1}",) if stage > 1 else ()
        parameters += own
        parts.append(Part((*before, *(p.name for p in own)), partial(_mixed_stage, stage)))
    parts.append(Part(("width4",), lambda design: [_pooled_head(design["width4"])]))
    return Macro(DesignSpace(parameters), tuple(parts))


def _mixed_stage(stage: int, design: Design) -> list[Block]:
    side, width = SIDES[stage - 1], design[f"width{stage}"]
    convolutions, attentions = _numbers(design, stage)
    blocks = [downsampling(2 * side, design[f"width{stage - 1}"] if stage > 1 else STEM, width)]
    if convolutions:
        one = bottleneck(side, width, design[f"kernel{stage}"], design[f"expansion{stage}"])
        blocks += [one] * convolutions
    if attentions:
        head_dim = design[f"head_dim{stage}"]
        hidden = width * design[f"mlp_ratio{stage}"]
        blocks += [transformer(Attention(side**2, width, width // head_dim, head_dim, hidden))] * attentions
    return blocks


def _numbers(design: Design, stage: int) -> tuple[int, int]:
    """Convolution and transformer blocks of a stage."""
    kind = design[f"kind{stage}"]
    return (
        0 if kind == ATTENTION else design[f"convolutions{stage}"],
        0 if kind == CONVOLUTION else design[f"attentions{stage}"],
    )


def _pooled_head(width: int) -> Block:
    return head(SIDES[3] ** 2, width, normalized=False)


SPACES: dict[str, Callable[[], Macro]] = {
    "mcuformer": lambda: mcuformer([168, 192, 216], [3, 4], [3.5, 4.0]),
    "mcuformer_small": lambda: mcuformer([320, 384, 448], [5, 6, 7], [3.0, 3.5, 4.0]),
    "turbovit": turbovit,
    "ascan": ascan,
}


def network(macro: Macro, design: Design) -> Block:
    """A whole network as one block."""
    return joined([block for part in macro.parts for block in part.build(design)])
