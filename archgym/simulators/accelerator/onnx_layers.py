"""Nodes of an ONNX graph as layers: which operators multiply, and what of.

What is computed from initializers alone is learned; a product of two operands that are not learned is a "matmul". A batched MatMul of
[B.., m, k] by [b.., k, n] is prod(b) groups, with the rows of broadcast batches one below the other:

    groups = prod(b),   M = m prod(broadcast(B, b)) / groups,   N = n,   Kd = k

A convolution along one axis, E outputs of R taps, reads row `stride e + dilation r - front`. A layer has one stride and no dilation, so
that others are taken apart, to the same multiply-adds: with d = dilation / gcd(stride, dilation), outputs e = d e' + p read every d-th row
alone, each p an image of its own (TensorFlow's space to batch); with q = stride / the common stride, taps r = q t + p read every q-th row
alone, each p a layer of its own, and their results are added (a polyphase decomposition). An axis of one output has any stride.

A transposed convolution is [pixels, C] by [C, K R S], whose results are added up; a recurrent operator of G gates is [T B, I] by [I, G H]
for its inputs and, T times one after the other, [B, H] by [H, G H]. ONNX operator specification: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import product
from typing import Any, NamedTuple

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer

Shape = tuple[int, ...]

MOST_DIMENSIONS = 32  # of a tensor

# Where an operator that multiplies has its two operands and its bias.
OPERANDS: dict[str, tuple[int, int, int | None]] = {
    "Conv": (0, 1, 2),
    "ConvInteger": (0, 1, None),
    "ConvTranspose": (0, 1, 2),
    "QLinearConv": (0, 3, 8),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None),
    "QLinearMatMul": (0, 3, None),
    "Einsum": (0, 1, None),
    "Attention": (0, 1, None),
    "LSTM": (0, 1, 3),
    "GRU": (0, 1, 3),
    "RNN": (0, 1, 3),
}
# These multiply, and no Layer expresses them.
REFUSED = (
    *("DeformConv", "LinearAttention", "Loop", "Scan"),
    *("LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor"),
)
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class _Axis(NamedTuple):
    """One direction of a convolution: E `outputs` of `kernel` taps on every `step`-th row from `start`, zeros outside 0 to `size`."""

    size: int
    kernel: int
    stride: int
    dilation: int
    start: int
    outputs: int
    step: int = 1
    times: int = 1  # images that are convolved alike

    @property
    def rows(self) -> tuple[int, int]:
        """Rows that are read, those of the image and zeros."""
        count = (self.outputs - 1) * self.stride + self.kernel
        first, last = -(self.start // self.step), (self.size - 1 - self.start) // self.step
        inside = max(min(last, count - 1) - max(first, 0) + 1, 1)
        return inside, count - inside


def layers_of(name: str, node: Any, shapes: Mapping[str, Shape], learned: AbstractSet[str]) -> list[Layer]:
    """The layers of a node whose operator is in `OPERANDS`: none where it does not multiply.

    Raises:
        ArchGymError: a shape that is not known, or what no layer expresses; the message is for after the node's name.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Attention":
        return _attention(name, node, attributes, shapes)
    positions = OPERANDS[node.op_type]
    operands = [node.input[position] for position in positions[:2] if position < len(node.input)]
    if node.op_type == "Einsum" and len(node.input) == 1:
        return []  # a transposition or a sum
    if len(operands) < 2 or not all(operands):
        raise ArchGymError("it needs two inputs")
    left, right = (_known(shapes, operand) for operand in operands)
    first, second = (operand in learned for operand in operands)
    bias = positions[2]
    biased = int(bias is not None and len(node.input) > bias and node.input[bias] in learned)
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        return _convolution(name, left, right, attributes, biased)
    if node.op_type == "ConvTranspose":
        return _transposed(name, left, right, _integer(attributes, "group", 1))
    if node.op_type in _GATES:
        return _recurrent(name, node, left, _known(shapes, node.input[2]), attributes, biased)
    if node.op_type == "Einsum":
        if len(node.input) > 2:
            raise ArchGymError(f"it multiplies {len(node.input)} operands at once: split it into products of two")
        equation = attributes["equation"].s.decode(errors="replace") if "equation" in attributes else ""
        return [_einsum(name, equation, left, right, first, second)]
    if node.op_type == "Gemm":
        if len(left) != 2 or len(right) != 2:
            raise ArchGymError(f"operands are matrices, not {left} and {right}")
        left = left[::-1] if _integer(attributes, "transA", 0) else left
        right = right[::-1] if _integer(attributes, "transB", 0) else right
    return [_product(name, left, right, first, second, biased)]


def _known(shapes: Mapping[str, Shape], operand: str) -> Shape:
    if operand not in shapes:
        raise ArchGymError(
            f"the shape of its input {operand!r} does not follow from the model's inputs: export it with fixed sizes, or simplify it"
        )
    if len(shapes[operand]) > MOST_DIMENSIONS:
        raise ArchGymError(
            f"its input {operand!r} has {len(shapes[operand])} dimensions; up to {MOST_DIMENSIONS} are read: reshape it to fewer"
        )
    return shapes[operand]


def _integer(attributes: Mapping[str, Any], name: str, default: int) -> int:
    return int(attributes[name].i) if name in attributes else default


# --- convolutions ---


def _convolution(name: str, image: Shape, weights: Shape, attributes: Mapping[str, Any], biased: int) -> list[Layer]:
    """Of any number of dimensions of which at most two are more than a batch or more channels; an image [L] is one of L x 1 pixels."""
    spatial = len(image) - 2
    if spatial < 1 or len(weights) != len(image):
        raise ArchGymError(f"an input of shape {image} and weights of shape {weights} are no convolution: fix the model")
    strides, dilations, pads = (
        tuple(attributes[key].ints) if key in attributes else (default,) * count
        for key, default, count in (("strides", 1, spatial), ("dilations", 1, spatial), ("pads", 0, 2 * spatial))
    )
    groups = _integer(attributes, "group", 1)
    mode = attributes["auto_pad"].s.decode(errors="replace") if "auto_pad" in attributes else "NOTSET"
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        raise ArchGymError(f"strides {strides}, dilations {dilations} and pads {pads} are not of {spatial} dimensions: fix the model")
    if min(*strides, *dilations) < 1:
        raise ArchGymError(f"strides {_by(strides)} and dilations {_by(dilations)} are not positive: fix the model")
    if min(*image, *weights) < 1 or groups < 1:
        raise ArchGymError(f"an input of shape {image} and weights of shape {weights} in {groups} groups are not positive: fix the model")
    if image[1] != weights[1] * groups:
        raise ArchGymError(f"{image[1]} channels do not fit weights of {weights[1]} channels in {groups} groups: fix the model")
    spans = [dilation * (kernel - 1) + 1 for dilation, kernel in zip(dilations, weights[2:], strict=True)]
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // stride) - 1) * stride + span - size, 0) for size, stride, span in zip(image[2:], strides, spans, strict=True)
        ]
        padding = [(total // 2, total - total // 2) for total in totals]
    elif mode in ("NOTSET", "VALID"):
        padding = [(front, back) if mode == "NOTSET" else (0, 0) for front, back in zip(pads[:spatial], pads[spatial:], strict=True)]
    else:
        raise ArchGymError(f"auto_pad is {mode!r}, not NOTSET, VALID, SAME_UPPER or SAME_LOWER: fix the model")
    for axis, (size, pad, span) in enumerate(zip(image[2:], padding, spans, strict=True)):
        if size + sum(pad) < span and min(pad) >= 0:  # a layer says what is wrong with negative padding
            raise ArchGymError(f"its kernel spans {span} pixels, its input only {size + sum(pad)} along axis {axis + 2}: give a larger input")
    axes = [
        _Axis(size, kernel, stride, dilation if kernel > 1 else 1, -pad[0], (size + sum(pad) - span) // stride + 1)
        for size, kernel, stride, dilation, pad, span in zip(image[2:], weights[2:], strides, dilations, padding, spans, strict=True)
    ]
    batch, channels = image[0], image[1]
    kept = list(range(spatial))
    for index, axis in enumerate(axes):
        if len(kept) > 2 and (axis.outputs == 1 or (axis.kernel == 1 and axis.start == 0)):
            batch, channels = batch * axis.outputs, channels * axis.kernel
            kept.remove(index)
    if len(kept) > 2:
        raise ArchGymError(
            f"a convolution in {len(kept)} dimensions, kernel {_by(weights[2:])} on {_by(image[2:])}: layers have two; leave it out of the model"
        )
    common = {"channels": channels, "filters": weights[0], "groups": groups}
    if len({axes[index].stride for index in kept}) == 1 and all(axes[index].dilation == 1 for index in kept):
        (height, *width), (kernel_h, *kernel_w) = ([getattr(axes[i], key) for i in kept] for key in ("size", "kernel"))
        padding_h, *padding_w = (sum(padding[i]) for i in kept)
        sizes = {"height": height, "kernel_h": kernel_h, "padding_h": padding_h, "stride": axes[kept[0]].stride}
        if width:
            sizes |= {"width": width[0], "kernel_w": kernel_w[0], "padding_w": padding_w[0]}
        return [Layer(name, "conv", **common, **sizes, batch=batch, vectors=biased)]
    alone = [_undilated(axes[index]) for index in kept]
    shared = math.gcd(*(axis.stride for phases in alone for axis in phases if axis.outputs > 1))
    parts = [[part for axis in phases for part in _split(axis, shared or 1)] for phases in alone]
    found = []
    for number, (h, *w) in enumerate(product(*parts)):
        (height, padding_h), (width, padding_w) = h.rows, w[0].rows if w else (1, 0)
        found.append(
            Layer(
                f"{name}[{number}]" if math.prod(map(len, parts)) > 1 else name,
                "conv",
                **common,
                height=height,
                width=width,
                kernel_h=h.kernel,
                kernel_w=w[0].kernel if w else 1,
                stride=shared or 1,
                padding_h=padding_h,
                padding_w=padding_w,
                batch=batch * h.times * (w[0].times if w else 1),
                vectors=biased if number == 0 else 0,
            )
        )
    return found


def _undilated(axis: _Axis) -> list[_Axis]:
    """The axis as several without dilation, on rows that the others do not read, for other outputs; those of equal length are one."""
    if axis.outputs == 1:
        return [axis._replace(stride=1, dilation=1, step=axis.step * axis.dilation)]
    shared = math.gcd(axis.stride, axis.dilation)
    apart = axis.dilation // shared
    short, longer = divmod(axis.outputs, apart)
    lengths = [(short + 1, longer, 0), (short, apart - longer, longer)]  # outputs, how many phases have as many, and the first of these
    return [
        axis._replace(
            stride=axis.stride // shared,
            dilation=1,
            start=axis.start + axis.stride * first,
            step=axis.step * axis.dilation,
            outputs=outputs,
            times=times,
        )
        for outputs, times, first in lengths
        if outputs and times
    ]


def _split(axis: _Axis, stride: int) -> list[_Axis]:
    """The axis as several of a smaller stride, on rows that the others do not read, whose results are added."""
    if axis.outputs == 1:
        return [axis._replace(stride=stride)]
    ratio = axis.stride // stride
    return [
        axis._replace(
            kernel=-(-(axis.kernel - phase) // ratio), stride=stride, start=axis.start + axis.step * phase, step=axis.step * ratio
        )
        for phase in range(min(ratio, axis.kernel))
    ]


def _transposed(name: str, image: Shape, weights: Shape, groups: int) -> list[Layer]:
    if len(image) < 3 or len(weights) != len(image) or min(*image, *weights, groups) < 1 or image[1] != weights[0] or image[1] % groups:
        raise ArchGymError(f"an input of shape {image} does not fit weights of shape {weights} in {groups} groups: fix the model")
    pixels = image[0] * math.prod(image[2:])
    return [Layer.gemm(name, pixels, math.prod(weights[1:]), image[1] // groups, groups=groups)]


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


# --- products ---


def _product(name: str, left: Shape, right: Shape, left_learned: bool, right_learned: bool, biased: int) -> Layer:
    """[.., m, k] by [.., k, n], with NumPy's meaning of vectors and of batches."""
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    if left_learned and not right_learned:  # C^T = B^T A^T has its weights on the right
        left, right = (*right[:-2], *right[:-3:-1]), (*left[:-2], *left[:-3:-1])
    batch = _broadcast(left[:-2], right[:-2])
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2] or batch < 1:
        raise ArchGymError(f"operands of shapes {left} and {right} cannot be multiplied: fix the model")
    groups = math.prod(right[:-2])
    kind = "gemm" if left_learned or right_learned else "matmul"
    return Layer.gemm(name, left[-2] * batch // groups, right[-1], right[-2], kind=kind, groups=groups, vectors=biased)


def _broadcast(left: Shape, right: Shape) -> int:
    """How many matrices two batches are together; 0 where they do not fit."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return math.prod(max(a, b) if min(a, b) == 1 or a == b else 0 for a, b in pairs)


def _einsum(name: str, equation: str, left: Shape, right: Shape, left_learned: bool, right_learned: bool) -> Layer:
    """A product of two: labels of both and the result are groups, of both alone the inner dimension, of one and the result M or N."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    a, b = _labels(first, left), _labels(second, right)
    if not arrow:
        result = "..." + "".join(sorted(label for label in {*first, *second} - {"."} if (first + second).count(label) == 1))
    out = {*result.replace("...", ""), *(label for label in (*a, *b) if len(label) > 1 and "..." in result)}
    sizes_a, sizes_b = dict(zip(a, left, strict=True)), dict(zip(b, right, strict=True))
    both = sizes_a.keys() & sizes_b.keys()
    alone = (sizes_a.keys() ^ sizes_b.keys()) - out
    if len(sizes_a) < len(a) or len(sizes_b) < len(b) or alone or any(sizes_a[label] != sizes_b[label] for label in both):
        raise ArchGymError(
            f"{equation!r} of {left} and {right} is no batch of matrix products (repeated labels, sums of one operand, broadcast sizes):"
            " write it as MatMul"
        )

    def size(labels: AbstractSet[str]) -> int:
        return math.prod((sizes_a | sizes_b)[label] for label in labels)

    m, n = size(sizes_a.keys() - both), size(sizes_b.keys() - both)
    k, groups = size(both - out), size(both & out)
    if left_learned and not right_learned:
        m, n = n, m
    kind = "gemm" if left_learned or right_learned else "matmul"
    return Layer.gemm(name, m, n, k, kind=kind, groups=groups)


def _labels(term: str, shape: Shape) -> list[str]:
    """A label per dimension; those of an ellipsis are numbered from the last."""
    before, dots, after = term.partition("...")
    hidden = len(shape) - len(before) - len(after)
    if hidden < 0 or (hidden and not dots) or not (before + after).isalpha() and before + after:
        raise ArchGymError(f"{term!r} does not name the dimensions of {shape}: fix the model")
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]


def _recurrent(
    name: str, node: Any, inputs: Shape, recurrence: Shape, attributes: Mapping[str, Any], biased: int
) -> list[Layer]:
    """Inputs of all steps at once, then the state, a step after the other."""
    gates = _GATES[node.op_type]
    if len(inputs) != 3 or len(recurrence) != 3 or recurrence[1] != gates * recurrence[2]:
        raise ArchGymError(f"inputs of shape {inputs} do not fit recurrent weights of shape {recurrence}: fix the model")
    directions, columns, hidden = recurrence
    steps, batch = inputs[:2] if not _integer(attributes, "layout", 0) else inputs[1::-1]
    return [
        Layer.gemm(f"{name}.inputs", steps * batch, directions * columns, inputs[2], vectors=2 * biased),
        Layer.gemm(f"{name}.state", batch, columns, hidden, groups=directions, repeats=steps),
    ]


def _attention(name: str, node: Any, attributes: Mapping[str, Any], shapes: Mapping[str, Shape]) -> list[Layer]:
    """QK and AV of ONNX's Attention: [batch, heads, tokens, size] or [batch, tokens, heads size], with keys and values of earlier tokens."""
    if len(node.input) < 3:
        raise ArchGymError("it needs queries, keys and values: fix the model")
    sides = []
    for operand, key in zip(node.input[:3], ("q_num_heads", "kv_num_heads", "kv_num_heads"), strict=True):
        shape, heads = _known(shapes, operand), _integer(attributes, key, 0)
        if len(shape) == 3 and heads > 0 and shape[2] % heads == 0:
            shape = (shape[0], heads, shape[1], shape[2] // heads)
        if len(shape) != 4:
            raise ArchGymError(f"{operand!r} of shape {shape} is not [batch, heads, tokens, size], nor has it {key}: fix the model")
        sides.append(shape)
    (batch, heads, tokens, size), (_, shared, keys, _), (_, _, _, values) = sides
    if len(node.input) > 4 and node.input[4]:
        keys += _known(shapes, node.input[4])[-2]
    if heads % shared:
        raise ArchGymError(f"{heads} query heads do not share {shared} key/value heads evenly: fix the model")
    rows, groups = tokens * heads // shared, batch * shared
    return [
        Layer.gemm(f"{name}.QK", rows, keys, size, kind="matmul", groups=groups),
        Layer.gemm(f"{name}.AV", rows, values, keys, kind="matmul", groups=groups),
    ]
