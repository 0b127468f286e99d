"""Shapes of an ONNX model's tensors, by repeated inference with ONNX.

In each round, tensors computed from shapes alone become constants, and an If with a constant condition
becomes its branch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.processes.memory import limited_memory
from archgym.simulators.accelerator.workloads.onnx.graph import (
    SMALL,
    Shape,
    copied,
    name_of,
    new_node,
    subgraphs,
)
from archgym.simulators.accelerator.workloads.onnx.reading import NUMBERS

# Operators that compute shapes and conditions on them.
_FOLDED = (
    *(
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
    ),
    *(
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Range",
        "ReduceMax",
    ),
    *(
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Round",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "Transpose",
    ),
    *("Unsqueeze", "Where", "Xor"),
)
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_MAX_MADE = 2**16  # elements of an intermediate tensor computed from shapes
_INFERENCE_BYTES = 2**30  # far more than any model needs; a tensor used as a shape may claim 2^40 dimensions
_VISITS = 100_000  # visits of nodes in all rounds; current models need up to ten rounds


def inferred(model: Any, file: Path) -> Any:
    """The model with inferred shapes, constants for tensors computed from shapes alone, and branches for
    constant conditions.

    Raises:
        ArchGymError: an invalid model.
    """
    for _ in range(2 + _VISITS // len(model.graph.node)):
        model = _infer(model, file)
        if not _fold(model):
            break
    return model


def shapes_of(graph: Any) -> dict[str, Shape]:
    """Shapes of the tensors with known dimensions."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(
            dimension.HasField("dim_value") for dimension in tensor.shape.dim
        ):
            found.setdefault(value.name, tuple(dimension.dim_value for dimension in tensor.shape.dim))
    return found


def _infer(model: Any, file: Path) -> Any:
    import onnx
    import onnx.shape_inference

    try:
        with limited_memory(_INFERENCE_BYTES):
            return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except MemoryError as error:
        raise ArchGymError(
            f"{file} has a shape whose dimensions do not fit into memory: fix the model"
        ) from error
    except (
        onnx.shape_inference.InferenceError,
        onnx.checker.ValidationError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {reason_of(error)}") from error


def _fold(model: Any) -> bool:
    """Replace integers computed from shapes by constants, and Ifs on them by their branches, in place;
    whether there were any.
    """
    import onnx.numpy_helper

    graph, values = model.graph, _values(model)
    integers = {
        name: value for name, value in values.items() if value is not None and value.dtype.kind in "bi"
    }
    found, nodes, changed = dict[str, Any](), [], False
    for node in graph.node:
        outputs = {name for name in node.output if name}
        if node.op_type == "If" and node.input and node.input[0] in integers:
            nodes += _taken_branch(graph, node, bool(integers[node.input[0]].all()))
            changed = True
        elif node.op_type != "Constant" and outputs and outputs <= integers.keys():
            found |= {name: integers[name] for name in outputs}
            changed = True
        else:
            nodes.append(node)
    if not changed:
        return False
    nodes = [copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, order="C"), name) for name, value in found.items()
    )
    return True


def _values(model: Any) -> dict[str, Any]:
    """Small tensors that are constant or computed from shapes, as arrays."""
    import onnx
    import onnx.numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph, shapes = model.graph, shapes_of(model.graph)
    found: dict[str, Any] = {"": None}

    def evaluated(node: Any, inputs: dict[str, Any]) -> list[Any]:
        ends = [[onnx.ValueInfoProto(name=name) for name in names] for names in (inputs, node.output)]
        graph = onnx.GraphProto(name=node.op_type, node=[node], input=ends[0], output=ends[1])
        alone = onnx.ModelProto(graph=graph, ir_version=model.ir_version, opset_import=model.opset_import)
        return list(ReferenceEvaluator(alone).run(None, inputs))

    def keep(name: str, value: Any) -> None:
        if isinstance(value, (np.ndarray, np.generic)) and value.size <= SMALL:
            found[name] = np.asarray(value)

    def keep_tensor(name: str, tensor: Any) -> None:
        size = math.prod(tensor.dims)
        if size <= SMALL and (size == 0 or any(getattr(tensor, field) for field in NUMBERS)):
            keep(name, onnx.numpy_helper.to_array(tensor))

    for tensor in graph.initializer:
        with suppress(*_DAMAGED):
            keep_tensor(tensor.name, tensor)
    for node in graph.node:
        with suppress(*_DAMAGED):
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        keep_tensor(node.output[0], attribute.t)
                    elif attribute.name in ("value_int", "value_ints"):
                        keep(
                            node.output[0],
                            np.array(
                                attribute.i if attribute.name == "value_int" else attribute.ints, np.int64
                            ),
                        )
            elif node.op_type in ("Shape", "Size") and node.input[0] in shapes:
                shape = shapes[node.input[0]]
                first, last = ({a.name: a.i for a in node.attribute}.get(key) for key in ("start", "end"))
                keep(
                    node.output[0],
                    np.array(shape[first:last] if node.op_type == "Shape" else math.prod(shape), np.int64),
                )
            elif node.op_type in _FOLDED and all(name in found for name in node.input):
                inputs = [found[name] for name in node.input]
                if _size_made(node, inputs) <= _MAX_MADE:
                    made = evaluated(node, {n: v for n, v in zip(node.input, inputs, strict=True) if n})
                    for name, value in zip(node.output, made, strict=False):
                        keep(name, value)
    return found


def _size_made(node: Any, inputs: list[Any]) -> float:
    """An upper bound on the elements that an operator makes."""
    sizes = [max(each.size, 1) for each in inputs if each is not None]
    if node.op_type == "Concat":
        return float(sum(sizes))
    if node.op_type == "ConstantOfShape":
        return float(math.prod(inputs[0].tolist()))
    if node.op_type in ("Expand", "Tile"):
        return float(sizes[0] * math.prod(max(each, 1) for each in inputs[1].tolist()))
    if node.op_type == "Range":
        return abs(float(inputs[1].item() - inputs[0].item()) / float(inputs[2].item()))
    if node.op_type == "Split":
        return float(max([sizes[0], *(attribute.i for attribute in node.attribute)]))
    return float(math.prod(sizes))  # all inputs broadcast


def _taken_branch(graph: Any, node: Any, condition: bool) -> list[Any]:
    """The nodes that replace an If with a known condition; its initializers move to the graph."""
    (branch,) = (
        attribute.g
        for attribute in node.attribute
        if attribute.name == ("then_branch" if condition else "else_branch")
    )
    made = [tensor.name for tensor in branch.initializer] + [
        name for inner in branch.node for name in inner.output if name
    ]
    _rename(branch, {name: f"{name_of(node)}/{name}" for name in made})
    graph.initializer.extend(branch.initializer)
    pairs = zip(branch.output, node.output, strict=False)
    ends = [new_node("Identity", [value.name], [name], name_of(node)) for value, name in pairs if name]
    return [*branch.node, *ends]


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename tensors of a graph in all its nodes and subgraphs."""
    for value in (*graph.initializer, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for inner in subgraphs(node):
            hidden = {value.name for value in inner.input}
            _rename(inner, {old: new for old, new in names.items() if old not in hidden})
