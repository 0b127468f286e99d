"""Workloads from ONNX files: the shapes of convolutions and matrix multiplications, without their numbers.

Shapes come from ONNX's own shape inference, so that weights may be stripped or lie in files that are absent. What is computed from
initializers alone is learned; a MatMul or Gemm of two operands that are not learned is a "matmul". A batched MatMul of [B.., m, k] by
[b.., k, n] is prod(b) groups, with the rows of broadcast batches one below the other:

    groups = prod(b),   M = m prod(broadcast(B, b)) / groups,   N = n,   Kd = k

An operator that multiplies and has no such form (transposed or dilated convolutions, recurrent or quantised operators, Einsum) is refused
by name, since totals without it would be wrong. ONNX operator specification: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, MissingDependency
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads import Workload

Shape = tuple[int, ...]

# These multiply, and no Layer expresses them; those with a body of their own hide what they compute.
_REFUSED = (
    *("Attention", "LinearAttention", "Einsum", "ConvTranspose", "DeformConv", "GRU", "LSTM", "RNN"),
    *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
    *("If", "Loop", "Scan"),
)
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def load_onnx(path: str | os.PathLike[str], dimensions: Mapping[str, int] | None = None) -> Workload:
    """The layers of an ONNX model, under the names of its nodes.

    Args:
        path: the .onnx file.
        dimensions: sizes of symbolic dimensions of its inputs, such as {"batch": 1}.

    Returns:
        The workload. Its parameters are all floating-point initializers and constants with at least one dimension, less the running
        statistics of batch normalisations.

    Raises:
        ArchGymError: a file that is no ONNX model, a dimension that is not fixed, a node that no Layer expresses, or no layers at all.
        MissingDependency: the package onnx is not installed.
    """
    file = Path(path).expanduser()
    model = _inferred(_read(file), file, dimensions or {})
    graph = model.graph
    _check_inputs(graph, file)
    shapes, learned = _shapes(graph), _learned(graph)
    layers = []
    for node in graph.node:
        name = node.name or (node.output[0] if node.output else node.op_type)
        if node.op_type in _REFUSED or node.domain not in _STANDARD_DOMAINS:
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise ArchGymError(f"{file}: the node {name!r} is {operator}, which cannot be expressed as convolutions and matrix products")
        if node.op_type in ("Conv", "Gemm", "MatMul") and not learned.issuperset(node.output):  # what is learned is computed once
            try:
                layers.append(_layer(name, node, shapes, learned))
            except ArchGymError as error:
                raise ArchGymError(f"{file}: node {name!r} ({node.op_type}): {error}") from error
    if not layers:
        raise ArchGymError(f"{file} has no Conv, Gemm or MatMul")
    inputs = [f"{name}: {' x '.join(map(str, shapes[name]))}" for name in _true_inputs(graph) if name in shapes]
    return Workload(
        file.stem,
        title=graph.name or file.stem,
        source=" ".join(filter(None, [file.name, model.producer_name and f"by {model.producer_name}", model.producer_version])),
        accuracy=None,
        layers=tuple(layers),
        input=", ".join(inputs),
        _table_parameters=_parameters(graph) - sum(layer.parameters for layer in layers),
    )


def _read(file: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency("an .onnx workload needs the package onnx: pip install 'archgym[onnx]'") from error
    try:
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise ArchGymError(f"cannot read the workload {str(file)!r}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise ArchGymError(f"{file} is not an ONNX model: {error}") from error
    if not model.graph.node:
        raise ArchGymError(f"{file} is not an ONNX model, or one without nodes")
    return model


def _inferred(model: Any, file: Path, dimensions: Mapping[str, int]) -> Any:
    """The model with functions inlined, symbolic dimensions replaced, and the shapes that follow from its inputs."""
    import onnx.inliner
    import onnx.shape_inference

    symbols = set()
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            symbols.add(dimension.dim_param)
            if dimension.dim_param in dimensions:
                dimension.dim_value = dimensions[dimension.dim_param]
    if missing := set(dimensions) - symbols:
        raise ArchGymError(
            f"{file} has no dimension {sorted(missing)[0]!r}; it has {', '.join(sorted(symbols - {''})) or 'fixed ones only'}"
        )
    try:
        return onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model) if model.functions else model, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {error}") from error


def _true_inputs(graph: Any) -> list[str]:
    initializers = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in initializers]


def _check_inputs(graph: Any, file: Path) -> None:
    """Refuse inputs whose sizes are not numbers.

    Raises:
        ArchGymError: the input and its dynamic dimensions, and how to fix them.
    """
    inputs = {value.name: value.type.tensor_type.shape for value in graph.input}
    for name in _true_inputs(graph):
        open_ = [dimension for dimension in inputs[name].dim if not dimension.HasField("dim_value")]
        if open_:
            symbols = [dimension.dim_param or "?" for dimension in open_]
            named = ", ".join(f"{symbol!r}: 1" for symbol in symbols if symbol != "?")
            how = f" or use load_onnx({file.name!r}, dimensions={{{named}}})" if named else ""
            raise ArchGymError(
                f"{file}: the input {name!r} has dynamic dimensions ({', '.join(symbols)}): export the model with fixed sizes"
                f" (torch.onnx.export without dynamic_axes and dynamic_shapes){how}"
            )


def _shapes(graph: Any) -> dict[str, Shape]:
    """Shapes of the tensors whose dimensions are all known."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dimension.HasField("dim_value") for dimension in tensor.shape.dim):
            found.setdefault(value.name, tuple(dimension.dim_value for dimension in tensor.shape.dim))
    return found


def _learned(graph: Any) -> set[str]:
    """Names of the tensors that depend on no input of the graph."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in an order in which a node follows what it depends on
        if node.op_type == "Constant" or (node.input and all(name in found or not name for name in node.input)):
            found.update(node.output)
    return found


def _parameters(graph: Any) -> int:
    """Learned numbers of the model."""
    import onnx

    statistics = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)

    def tensors() -> Iterator[tuple[str, Any]]:
        for tensor in graph.initializer:
            yield tensor.name, tensor
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")

    return sum(math.prod(t.dims) for name, t in tensors() if t.dims and t.data_type in floats and name not in statistics)


def _layer(name: str, node: Any, shapes: Mapping[str, Shape], learned: set[str]) -> Layer:
    if len(node.input) < 2:
        raise ArchGymError("it needs two inputs")
    for operand in node.input[:2]:
        if operand not in shapes:
            raise ArchGymError(
                f"the shape of its input {operand!r} does not follow from the model's inputs: export it with fixed sizes, or simplify it"
            )
    attributes = {attribute.name: attribute for attribute in node.attribute}
    left, right = (shapes[operand] for operand in node.input[:2])
    biased = int(len(node.input) > 2 and node.input[2] in learned)
    if node.op_type == "Conv":
        return _convolution(name, left, right, attributes, biased)
    if node.op_type == "Gemm":
        if len(left) != 2 or len(right) != 2:
            raise ArchGymError(f"operands are matrices, not {left} and {right}")
        left = left[::-1] if "transA" in attributes and attributes["transA"].i else left
        right = right[::-1] if "transB" in attributes and attributes["transB"].i else right
    first, second = (operand in learned for operand in node.input[:2])
    return _product(name, left, right, first, second, biased)


def _convolution(name: str, image: Shape, weights: Shape, attributes: Mapping[str, Any], biased: int) -> Layer:
    """Of one or two dimensions; an image [L] is one of L x 1 pixels."""
    spatial = len(image) - 2
    if spatial not in (1, 2) or len(weights) != len(image):
        raise ArchGymError(f"an input of shape {image} and weights of shape {weights} are no convolution of one or two dimensions")
    strides, dilations, pads = (
        tuple(attributes[key].ints) if key in attributes else (default,) * count
        for key, default, count in (("strides", 1, spatial), ("dilations", 1, spatial), ("pads", 0, 2 * spatial))
    )
    groups = attributes["group"].i if "group" in attributes else 1
    mode = attributes["auto_pad"].s.decode(errors="replace") if "auto_pad" in attributes else "NOTSET"
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        raise ArchGymError(f"strides {strides}, dilations {dilations} and pads {pads} are not of {spatial} dimensions")
    if len(set(strides)) > 1 or strides[0] < 1:
        raise ArchGymError(f"strides {' x '.join(map(str, strides))} are not equal and positive, which accelerator layers need")
    if set(dilations) != {1}:
        raise ArchGymError(f"dilations {' x '.join(map(str, dilations))}: accelerator layers have dilation 1")
    if image[1] != weights[1] * groups:
        raise ArchGymError(f"{image[1]} channels do not fit weights of {weights[1]} channels in {groups} groups")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        padding = [
            max((-(-size // strides[0]) - 1) * strides[0] + kernel - size, 0) for size, kernel in zip(image[2:], weights[2:], strict=True)
        ]
    elif mode in ("NOTSET", "VALID"):
        padding = [front + back if mode == "NOTSET" else 0 for front, back in zip(pads[:spatial], pads[spatial:], strict=True)]
    else:
        raise ArchGymError(f"auto_pad is {mode!r}")
    height, width, kernel_h, kernel_w, padding_h, padding_w = (
        size for pair, missing in ((image[2:], 1), (weights[2:], 1), (padding, 0)) for size in (*pair, missing)[:2]
    )
    return Layer(
        name,
        "conv",
        channels=image[1],
        filters=weights[0],
        height=height,
        width=width,
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride=strides[0],
        padding_h=padding_h,
        padding_w=padding_w,
        groups=groups,
        batch=image[0],
        vectors=biased,
    )


def _product(name: str, left: Shape, right: Shape, left_learned: bool, right_learned: bool, biased: int) -> Layer:
    """[.., m, k] by [.., k, n], with NumPy's meaning of vectors and of batches."""
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    if left_learned and not right_learned:  # C^T = B^T A^T has its weights on the right
        left, right = (*right[:-2], *right[:-3:-1]), (*left[:-2], *left[:-3:-1])
    try:
        batch = math.prod(np.broadcast_shapes(left[:-2], right[:-2]))
    except ValueError:
        batch = 0
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2] or not batch:
        raise ArchGymError(f"operands of shapes {left} and {right} cannot be multiplied")
    groups = math.prod(right[:-2])
    kind = "gemm" if left_learned or right_learned else "matmul"
    return Layer.gemm(name, left[-2] * batch // groups, right[-1], right[-2], kind=kind, groups=groups, vectors=biased)
