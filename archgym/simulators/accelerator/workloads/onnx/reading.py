"""Reads ONNX models from files and reduces them: no large tensors, no functions, standard operators.

The numbers of large tensors are dropped, since shapes do not depend on them. Small tensors in other files of
the model's folder are read. Operators of com.microsoft that do not multiply, or that equal a standard
operator, become standard ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.files.paths import check_readable, foreign
from archgym.simulators.accelerator.workloads.onnx.graph import (
    SMALL,
    all_nodes,
    copied,
    graphs,
    name_of,
    new_node,
    subgraphs,
)
from archgym.simulators.accelerator.workloads.onnx.layers import REFUSED

MAX_NODES = 30_000  # nodes with functions inlined; inference of their shapes takes seconds
NUMBERS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data", "raw_data")
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_MICROSOFT = "com.microsoft"
# Operators of com.microsoft with the shape of their first input and without matrix products.
_ELEMENTWISE = (
    *(
        "BiasDropout",
        "BiasGelu",
        "BiasSoftmax",
        "DequantizeLinear",
        "FastGelu",
        "Gelu",
        "LayerNormalization",
        "QLinearLeakyRelu",
    ),
    *(
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QuantizeLinear",
        "QuickGelu",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
    ),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
)
# Operators of com.microsoft that equal a standard operator on the inputs at these positions.
_STANDARD = {
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)),
    "MatMulIntegerToFloat": ("MatMulInteger", (0, 1)),
    "QGemm": ("Gemm", (0, 3, 6)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
}
_PACKED = ("MatMulBnb4", "MatMulNBits")  # [.., K] by [K, N], with several weights per byte
# Positions of scales and zero points among the inputs, which are not parameters.
_SCALES = {
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (1, 2)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), (1, 2, 4, 5, 6, 7)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"), (2, 3)),
    **dict.fromkeys(
        ("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearSigmoid"), (1, 2, 3, 4)
    ),
    **dict.fromkeys(("MatMulBnb4", "MatMulNBits"), (2, 3, 4)),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QGemm": (1, 2, 4, 5, 7, 8),
}
# size of an element, for tensors that may determine shapes
_BYTES = {"FLOAT": 4, "INT32": 4, "INT64": 8, "BOOL": 1, "DOUBLE": 8}
# first version of the format in which initializers need not be inputs; some older files lack them too
_NO_INPUTS = 4


def read(file: Path) -> tuple[Any, str, set[str]]:
    """A model without the numbers of large tensors; the reason why small ones could not be read, or ""; names
    of scales and zero points.

    Raises:
        ArchGymError: a file that is not an ONNX model, too many nodes, or an operator that cannot be
            expressed.
        MissingDependency: the package onnx is not installed.
    """
    try:
        import onnx
        import onnx.inliner
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency(
            "an .onnx workload needs the package onnx: pip install 'archgym[onnx]'"
        ) from error
    try:
        check_readable(file, "the workload")
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise ArchGymError(f"cannot read the workload {str(file)!r}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise ArchGymError(f"{file} is not an ONNX model: {reason_of(error)}") from error
    model.ir_version = max(model.ir_version, _NO_INPUTS)
    if not model.graph.node:
        raise ArchGymError(f"{file} is not an ONNX model, or one without nodes")
    count = _nodes(model)
    if count > MAX_NODES:
        raise ArchGymError(
            f"{file} has {count:,} nodes, functions counted where they are called; up to {MAX_NODES:,} are "
            "read: split it"
        )
    absent = _read_external(model.graph, file)
    for node in all_nodes(model.graph, *model.functions):
        for attribute in node.attribute:
            _drop_numbers(attribute.t)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            _drop_numbers(tensor)
    try:
        model = onnx.inliner.inline_local_functions(model) if model.functions else model
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {reason_of(error)}") from error
    scales = {
        node.input[position]
        for node in all_nodes(model.graph)
        for position in _SCALES.get(node.op_type, ())
        if position < len(node.input)
    }
    for graph in graphs(model.graph):
        _make_standard(graph)
    for node in model.graph.node:
        check_operator(node, file)
    for value in model.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_value") and dimension.dim_value < 1:
                dimension.Clear()
    return model, absent, scales


@contextmanager
def valid(file: Path) -> Iterator[None]:
    """Turn errors of an invalid model (names that are not UTF-8, nodes without inputs, unknown types) into
    ArchGymError.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {reason_of(error)}") from error


def check_operator(node: Any, file: Path) -> None:
    """Refuse a node that multiplies, or may multiply, and that no layer expresses.

    Raises:
        ArchGymError: the node is refused.
    """
    if node.op_type in REFUSED or node.domain not in _STANDARD_DOMAINS:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise ArchGymError(
            f"{file}: the node {name_of(node)!r} is {kind}, which cannot be expressed as convolutions and "
            "matrix products: export the model with standard operators, or give its layers as a .csv "
            "workload"
        )


def _nodes(model: Any) -> int:
    """Number of nodes of a model with its functions inlined."""
    functions = {(function.domain, function.name): function.node for function in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in functions and key not in counts:
                counts[key] = MAX_NODES + 1  # for a function that calls itself
                counts[key] = count(functions[key])
            total += counts.get(key, 1) + sum(count(graph.node) for graph in subgraphs(node))
        return total

    try:
        return count(model.graph.node)
    except RecursionError:
        return MAX_NODES + 1


def _drop_numbers(tensor: Any) -> None:
    if math.prod(tensor.dims) > SMALL:
        for field in NUMBERS:
            tensor.ClearField(field)


def _read_external(graph: Any, file: Path) -> str:
    """Fill in small tensors from other files of the model's folder; the reason if one could not be read,
    else "".
    """
    import onnx

    absent = ""
    for tensor in graph.initializer:
        size = (
            _BYTES.get(onnx.TensorProto.DataType.Name(tensor.data_type))
            if tensor.data_location == tensor.EXTERNAL
            else None
        )
        if size is None or math.prod(tensor.dims) > SMALL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        try:
            numbers = _external(file.parent, place, size * math.prod(tensor.dims))
        except ArchGymError as error:
            absent = absent or f"; {error}"
            continue
        tensor.raw_data = numbers
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
    return absent


def _external(folder: Path, place: Mapping[str, str], length: int) -> bytes:
    location = place.get("location", "")
    try:
        path = (folder / location).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ArchGymError(
                f"its external data {location!r} is outside its folder and is not read: move it beside the "
                "model"
            )
        if not path.is_file():
            raise ArchGymError(f"its external data {location!r} is missing: put it beside the model")
        with open(path, "rb") as stream:
            if (head := stream.read(32)).isascii() and (kind := foreign(head)):
                raise ArchGymError(f"its external data {location!r} is {kind}")
            stream.seek(int(place.get("offset", 0)))
            numbers = stream.read(length)
    except (OSError, ValueError, OverflowError) as error:
        raise ArchGymError(f"its external data {location!r} cannot be read: {reason_of(error)}") from error
    if len(numbers) < length:
        raise ArchGymError(f"its external data {location!r} is too short: fetch it again")
    return numbers


def _make_standard(graph: Any) -> None:
    """Replace operators of com.microsoft by standard ones, in place."""
    if all(node.domain != _MICROSOFT for node in graph.node):
        return
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.domain != _MICROSOFT:
            nodes.append(copied(node))
        elif node.op_type in _ELEMENTWISE:
            nodes += [
                new_node("Identity", node.input[:1], [name], name_of(node))
                for i, name in enumerate(node.output)
                if name and i in (0, 3)
            ]
        elif node.op_type in _STANDARD:
            kind, positions = _STANDARD[node.op_type]
            standard = copied(node)
            standard.op_type, standard.domain = kind, ""
            standard.input[:] = [node.input[position] for position in positions if position < len(node.input)]
            kept = [
                attribute
                for attribute in node.attribute
                if not attribute.name.startswith(("activation", "alpha", "beta", "channels_last"))
            ]
            del standard.attribute[:]
            standard.attribute.extend(kept)
            nodes.append(standard)
        elif node.op_type == "FusedMatMul" and not any(
            a.i for key, a in attributes.items() if key.startswith("transBatch")
        ):
            left, right = (
                ("ji" if _is_set(attributes, "transA") else "ij"),
                ("kj" if _is_set(attributes, "transB") else "jk"),
            )
            product = new_node("Einsum", node.input[:2], node.output, name_of(node))
            product.attribute.add(name="equation", type=3, s=f"...{left},...{right}->...ik".encode())
            nodes.append(product)
        elif node.op_type == "QLinearConcat":
            concatenated = new_node("Concat", node.input[2::3], node.output, name_of(node))
            concatenated.attribute.extend(node.attribute)
            nodes.append(concatenated)
        elif node.op_type in _PACKED and {"K", "N"} <= attributes.keys() and node.input[1] in tensors:
            weights = tensors[node.input[1]]
            weights.Clear()
            weights.name, weights.data_type = node.input[1], 1
            weights.dims.extend([attributes["K"].i, attributes["N"].i])
            nodes.append(new_node("MatMul", node.input[:2], node.output, name_of(node)))
        else:
            nodes.append(copied(node))
    del graph.node[:]
    graph.node.extend(nodes)


def _is_set(attributes: Mapping[str, Any], name: str) -> bool:
    return name in attributes and attributes[name].i != 0
