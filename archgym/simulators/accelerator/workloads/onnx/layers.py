"""Nodes of an ONNX graph as layers.

Tensors computed from initializers alone are learned; a product of two other operands is a "matmul". A batched
MatMul of [B.., m, k] by [b.., k, n] has prod(b) groups, with the rows of broadcast batches stacked:

    groups = prod(b),   M = m prod(broadcast(B, b)) / groups,   N = n,   Kd = k

A transposed convolution is [pixels, C] by [C, K R S], with overlapping results added; a recurrent operator of
G gates is [T B, I] by [I, G H] for its inputs and T times [B, H] by [H, G H]. ONNX operator specification:
https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads.convolutions import Axis, convolution
from archgym.simulators.accelerator.workloads.onnx.graph import Shape

MAX_DIMENSIONS = 32  # dimensions of a tensor

# Positions of the two operands and the bias among the inputs of operators that multiply.
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
# Operators that multiply and that no Layer expresses.
REFUSED = (
    *("DeformConv", "LinearAttention", "Loop", "Scan"),
    *("LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor"),
)
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layers_of(name: str, node: Any, shapes: Mapping[str, Shape], learned: AbstractSet[str]) -> list[Layer]:
    """The layers of a node whose operator is in `OPERANDS`; [] if it does not multiply.

    Raises:
        ArchGymError: an unknown shape, or a node that no layer expresses; the message continues one with the
            node's name.
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
            raise ArchGymError(
                f"it multiplies {len(node.input)} operands at once: split it into products of two"
            )
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
            f"the shape of its input {operand!r} does not follow from the model's inputs: export it with "
            "fixed sizes, or simplify it"
        )
    if len(shapes[operand]) > MAX_DIMENSIONS:
        raise ArchGymError(
            f"its input {operand!r} has {len(shapes[operand])} dimensions; up to {MAX_DIMENSIONS} are read: "
            "reshape it to fewer"
        )
    return shapes[operand]


def _integer(attributes: Mapping[str, Any], name: str, default: int) -> int:
    return int(attributes[name].i) if name in attributes else default


# --- convolutions ---


def _convolution(
    name: str, image: Shape, weights: Shape, attributes: Mapping[str, Any], biased: int
) -> list[Layer]:
    spatial = len(image) - 2
    if spatial < 1 or len(weights) != len(image):
        raise ArchGymError(
            f"an input of shape {image} and weights of shape {weights} are not a convolution: fix the model"
        )
    strides, dilations, pads = (
        tuple(attributes[key].ints) if key in attributes else (default,) * count
        for key, default, count in (
            ("strides", 1, spatial),
            ("dilations", 1, spatial),
            ("pads", 0, 2 * spatial),
        )
    )
    groups = _integer(attributes, "group", 1)
    mode = attributes["auto_pad"].s.decode(errors="replace") if "auto_pad" in attributes else "NOTSET"
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        raise ArchGymError(
            f"strides {strides}, dilations {dilations} and pads {pads} are not of {spatial} dimensions: fix "
            "the model"
        )
    if image[1] != weights[1] * groups:
        raise ArchGymError(
            f"{image[1]} channels do not fit weights of {weights[1]} channels in {groups} groups: fix the "
            "model"
        )
    if min(strides) < 1 or min(dilations) < 1:
        raise ArchGymError(f"strides {strides} and dilations {dilations} are not positive: fix the model")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        needed = [
            max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            for size, kernel, stride, dilation in zip(image[2:], weights[2:], strides, dilations, strict=True)
        ]
        padding = [(total // 2, total - total // 2) for total in needed]
    elif mode in ("NOTSET", "VALID"):
        padding = [
            (front, back) if mode == "NOTSET" else (0, 0)
            for front, back in zip(pads[:spatial], pads[spatial:], strict=True)
        ]
    else:
        raise ArchGymError(
            f"auto_pad is {mode!r}, not NOTSET, VALID, SAME_UPPER or SAME_LOWER: fix the model"
        )
    axes = [
        Axis(*each)
        for each in zip(image[2:], weights[2:], strides, dilations, *zip(*padding, strict=True), strict=True)
    ]
    return convolution(name, axes, image[1], weights[0], groups=groups, batch=image[0], vectors=biased)


def _transposed(name: str, image: Shape, weights: Shape, groups: int) -> list[Layer]:
    if (
        len(image) < 3
        or len(weights) != len(image)
        or min(*image, *weights, groups) < 1
        or image[1] != weights[0]
        or image[1] % groups
    ):
        raise ArchGymError(
            f"an input of shape {image} does not fit weights of shape {weights} in {groups} groups: fix the "
            "model"
        )
    pixels = image[0] * math.prod(image[2:])
    return [Layer.gemm(name, pixels, math.prod(weights[1:]), image[1] // groups, groups=groups)]


# --- products ---


def _product(
    name: str, left: Shape, right: Shape, left_learned: bool, right_learned: bool, biased: int
) -> Layer:
    """[.., m, k] by [.., k, n], with vectors and batches as in NumPy."""
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    if left_learned and not right_learned:  # C^T = B^T A^T has the weights on the right
        left, right = (*right[:-2], *right[:-3:-1]), (*left[:-2], *left[:-3:-1])
    batch = _broadcast(left[:-2], right[:-2])
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2] or batch < 1:
        raise ArchGymError(f"operands of shapes {left} and {right} cannot be multiplied: fix the model")
    groups = math.prod(right[:-2])
    kind = "gemm" if left_learned or right_learned else "matmul"
    return Layer.gemm(
        name, left[-2] * batch // groups, right[-1], right[-2], kind=kind, groups=groups, vectors=biased
    )


def _broadcast(left: Shape, right: Shape) -> int:
    """Number of matrices of two broadcast batches; 0 if they do not fit."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return math.prod(max(a, b) if min(a, b) == 1 or a == b else 0 for a, b in pairs)


def _einsum(
    name: str, equation: str, left: Shape, right: Shape, left_learned: bool, right_learned: bool
) -> Layer:
    """A product of two operands: labels of both and the result are groups, of both alone the inner
    dimension, of one M or N.
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    a, b = _labels(first, left), _labels(second, right)
    if not arrow:
        result = "..." + "".join(
            sorted(label for label in {*first, *second} - {"."} if (first + second).count(label) == 1)
        )
    out = {*result.replace("...", ""), *(label for label in (*a, *b) if len(label) > 1 and "..." in result)}
    sizes_a, sizes_b = dict(zip(a, left, strict=True)), dict(zip(b, right, strict=True))
    both = sizes_a.keys() & sizes_b.keys()
    alone = (sizes_a.keys() ^ sizes_b.keys()) - out | out - sizes_a.keys() - sizes_b.keys()
    if (
        len(sizes_a) < len(a)
        or len(sizes_b) < len(b)
        or alone
        or any(sizes_a[label] != sizes_b[label] for label in both)
    ):
        raise ArchGymError(
            f"{equation!r} of {left} and {right} is not a batch of matrix products (repeated labels, sums of "
            "one operand, broadcast sizes): write it as MatMul"
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
    """A label per dimension; dimensions of an ellipsis are numbered from the last."""
    before, dots, after = term.partition("...")
    hidden = len(shape) - len(before) - len(after)
    if hidden < 0 or (hidden and not dots) or not (before + after + "a").isalpha():
        raise ArchGymError(f"{term!r} does not name the dimensions of {shape}: fix the model")
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]


def _recurrent(
    name: str, node: Any, inputs: Shape, recurrence: Shape, attributes: Mapping[str, Any], biased: int
) -> list[Layer]:
    """Inputs of all steps at once, then the state step by step."""
    gates = _GATES[node.op_type]
    if len(inputs) != 3 or len(recurrence) != 3 or recurrence[1] != gates * recurrence[2]:
        raise ArchGymError(
            f"inputs of shape {inputs} do not fit recurrent weights of shape {recurrence}: fix the model"
        )
    directions, columns, hidden = recurrence
    steps, batch = inputs[:2] if not _integer(attributes, "layout", 0) else inputs[1::-1]
    return [
        Layer.gemm(f"{name}.inputs", steps * batch, directions * columns, inputs[2], vectors=2 * biased),
        Layer.gemm(f"{name}.state", batch, columns, hidden, groups=directions, repeats=steps),
    ]


def _attention(
    name: str, node: Any, attributes: Mapping[str, Any], shapes: Mapping[str, Shape]
) -> list[Layer]:
    """QK and AV: queries, keys and values, also of earlier tokens, are [batch, heads, tokens, size] or
    [batch, tokens, heads size].
    """
    if len(node.input) < 3:
        raise ArchGymError("it needs queries, keys and values: fix the model")
    sides = []
    for operand, key in zip(node.input[:3], ("q_num_heads", "kv_num_heads", "kv_num_heads"), strict=True):
        shape, heads = _known(shapes, operand), _integer(attributes, key, 0)
        if len(shape) == 3 and heads > 0 and shape[2] % heads == 0:
            shape = (shape[0], heads, shape[1], shape[2] // heads)
        if len(shape) != 4:
            raise ArchGymError(
                f"{operand!r} of shape {shape} is not [batch, heads, tokens, size], nor has it {key}: fix "
                "the model"
            )
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
