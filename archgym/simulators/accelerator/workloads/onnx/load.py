"""Workloads from ONNX files: the shapes of convolutions and matrix multiplications, without weights.

Shapes come from ONNX's shape inference (`shapes`), so that weights may be stripped or in missing files.
`layers` converts nodes to layers. An operator that multiplies and that no layer expresses is refused by name,
since totals without it would be wrong.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads.onnx.graph import (
    Shape,
    copied,
    graphs,
    name_of,
    reads,
    subgraphs,
    text,
    true_inputs,
)
from archgym.simulators.accelerator.workloads.onnx.layers import OPERANDS, layers_of
from archgym.simulators.accelerator.workloads.onnx.reading import check_operator, read, valid
from archgym.simulators.accelerator.workloads.onnx.shapes import inferred, shapes_of
from archgym.simulators.accelerator.workloads.onnx.sizes import (
    command,
    is_integer,
    is_number,
    open_dimensions,
    set_sizes,
)
from archgym.simulators.accelerator.workloads.workload import Dimensions, Workload

# Types of initializers that are always parameters; wider integers are parameters only as weights.
_LEARNED_TYPES = ("FLOAT", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2")
# Positions of weights among the inputs, even if they are integers or computed.
_WEIGHTS: dict[str, tuple[int | None, ...]] = {
    **OPERANDS,
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2, 3)),
    **dict.fromkeys(
        ("BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"), (1, 2)
    ),
    **dict.fromkeys(("PRelu", "RMSNormalization"), (1,)),
}
_MADE = (
    "ConstantOfShape",
    "EyeLike",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
_OF_ALL_INPUTS = ("Add", "Concat", "Div", "Mul", "Sub", "Sum", "Where")
_APART = (
    "Layers that end with [0], [1], ... are one convolution of unequal strides or dilation; their results "
    "are added or interleaved."
)
_SECONDS = 2.0  # time after which no further example is tried
# sizes of an image and of a sequence
_EXAMPLES = ((224, 128), (320, 512), (48, 64), (640, 256), (256, 1024), (32, 16))


def load_onnx(path: str | os.PathLike[str], dimensions: Dimensions | None = None) -> Workload:
    """The layers of an ONNX model, with the names of its nodes.

    Args:
        path: the .onnx file.
        dimensions: sizes of dynamic dimensions of its inputs: by name, {"batch": 1}; by input and axis,
            {"images:0": 1}; or of a whole input, {"images": [1, 3, 224, 224]}.

    Returns:
        The workload. Its parameters are all floating-point initializers and constants with at least one
        dimension, and weights that are integers or computed, each counted once, without running statistics of
        batch normalisations, scales and zero points.

    Raises:
        ArchGymError: a file that is not an ONNX model, a dimension without a size, a node that no Layer
            expresses, or no layers.
        MissingDependency: the package onnx is not installed.
    """
    file = Path(path).expanduser()
    reader = _Reader(file)
    sizes = {} if dimensions is None else dimensions
    try:
        return reader.workload(sizes)
    except ArchGymError as error:
        raise ArchGymError(f"{error}{reader.hint(sizes)}") from error


class _Reader:
    """A model, to be converted at different sizes."""

    def __init__(self, file: Path):
        self.file = file
        with valid(file):
            self.model, self.absent, self.scales = read(file)

    def workload(self, sizes: Dimensions) -> Workload:
        """The workload at these sizes; for errors see `load_onnx`."""
        with valid(self.file):
            return self._workload(copied(self.model), sizes)

    def _workload(self, model: Any, sizes: Dimensions) -> Workload:
        set_sizes(model.graph, sizes, self.file)
        model = inferred(model, self.file)
        graph = model.graph
        shapes = shapes_of(graph)
        learned = _learned(graph)
        layers = self._layers(graph, shapes, learned)
        if not layers:
            raise ArchGymError(
                f"{self.file} has no Conv, Gemm or MatMul, nor another operator that multiplies matrices"
            )
        producer = text(model.producer_name)
        inputs = [
            f"{text(name)}: {' x '.join(map(str, shapes[name]))}"
            for name in true_inputs(graph)
            if name in shapes
        ]
        return Workload(
            self.file.stem,
            title=text(graph.name) or self.file.stem,
            source=" ".join(
                filter(None, [self.file.name, producer and f"by {producer}", text(model.producer_version)])
            ),
            accuracy=None,
            layers=tuple(layers),
            input=", ".join(inputs),
            note=_APART if any(layer.name.endswith("[0]") for layer in layers) else "",
            _table_parameters=_parameters(graph, shapes, learned, self.scales)
            - sum(layer.parameters for layer in layers),
        )

    def hint(self, sizes: Dimensions) -> str:
        """Text to append to an error of a model with dynamic dimensions: a command that works, or why none
        was found.
        """
        free = open_dimensions(self.model.graph)
        if not free:
            return ""
        kept_keys = {*free, *self._numbers()}
        given = (
            {k: int(v) for k, v in sizes.items() if k in kept_keys and is_integer(v)}
            if isinstance(sizes, Mapping)
            else {}
        )
        refusals, start = [], perf_counter()
        for image, sequence in _EXAMPLES:
            if perf_counter() - start > _SECONDS:
                break
            for kept in (given, {}) if given else ({},):
                example = {
                    label: _example(self.model.graph, places, image, sequence)
                    for label, places in free.items()
                } | kept
                try:
                    self.workload(example)
                except ArchGymError as error:
                    refusals.append((example, error))
                    continue
                return f"; such as: {command(self.file, example)}"
        example, reason = refusals[0]
        return f"; with dimensions={json.dumps(example)} it is still refused: {reason}"

    def _numbers(self) -> list[str]:
        """Names of inputs that are a single integer."""
        return [key for key, value in true_inputs(self.model.graph).items() if is_number(value)]

    def _layers(self, graph: Any, shapes: Mapping[str, Shape], learned: set[str]) -> list[Layer]:
        layers = []
        for node in graph.node:
            name = name_of(node)
            check_operator(node, self.file)
            if learned.issuperset(node.output):  # computed once, not per inference
                continue
            if node.op_type == "If":
                layers += self._of_branches(name, node, shapes, learned)
            elif node.op_type in OPERANDS:
                try:
                    layers += layers_of(name, node, shapes, learned)
                except ArchGymError as error:
                    raise ArchGymError(
                        f"{self.file}: node {name!r} ({node.op_type}): {error}{self.absent}"
                    ) from error
        return layers

    def _of_branches(
        self, name: str, node: Any, shapes: Mapping[str, Shape], learned: set[str]
    ) -> list[Layer]:
        """The layers that both branches of an If have, if its condition does not follow from shapes."""
        found, reason = [], "they multiply differently"
        for graph in subgraphs(node):
            try:
                found.append(
                    self._layers(graph, {**shapes, **shapes_of(graph)}, learned | _learned(graph, learned))
                )
            except ArchGymError as error:
                reason = str(error)
        if (
            len({frozenset(Counter(replace(layer, name="") for layer in layers).items()) for layers in found})
            != 1
            or len(found) != 2
        ):
            numbers = json.dumps(dict.fromkeys(self._numbers(), 1))
            value = (
                f", or give the number it depends on, such as dimensions={numbers}" if numbers != "{}" else ""
            )
            raise ArchGymError(
                f"{self.file}: the node {name!r} is If, whose branches differ, and its condition "
                f"{node.input[0]!r} does not follow from the model's sizes: export the branch to run{value} "
                f"({reason})"
            )
        return found[0]


def _example(graph: Any, places: list[tuple[str, int]], image: int, sequence: int) -> int:
    """A plausible size of a dimension."""
    name, axis = places[0]
    sizes = [dimension.dim_value for dimension in true_inputs(graph)[name].type.tensor_type.shape.dim]
    if axis == 0:
        return 1
    if len(sizes) != 4:
        return sequence
    channels = 3 if 0 < sizes[3] <= 4 and not sizes[1] else 1  # last, or first
    return 3 if axis == channels else image


def _learned(graph: Any, known: set[str] | frozenset[str] = frozenset()) -> set[str]:
    """Names of the tensors that do not depend on inputs of the graph."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # nodes follow those that they depend on
        depends = reads(node)
        if node.op_type == "Constant" or (
            depends and all(name in found or name in known for name in depends)
        ):
            found.update(node.output)
    return found


def _parameters(graph: Any, shapes: Mapping[str, Shape], learned: set[str], scales: set[str]) -> int:
    """Learned numbers of the model."""
    import onnx

    within = list(graphs(graph))
    nodes = [node for each in within for node in each.node]
    shapes, learned = dict(shapes), set(learned)
    for each in within[1:]:  # outer graphs first
        shapes |= shapes_of(each)
        learned |= _learned(each, learned)
    not_counted = scales | {
        name for node in nodes if node.op_type == "BatchNormalization" for name in node.input[3:5]
    }
    tensors = dict(_tensors(within))
    sizes = {name: math.prod(tensor.dims) if tensor.dims else 0 for name, tensor in tensors.items()}
    counted = {
        name: sizes[name]
        for name, tensor in tensors.items()
        if name not in not_counted
        and onnx.TensorProto.DataType.Name(tensor.data_type).startswith(_LEARNED_TYPES)
    }
    producers = {output: node for node in nodes for output in node.output}
    left = [
        node.input[i]
        for node in nodes
        for i in _WEIGHTS.get(node.op_type, ())
        if i is not None and i < len(node.input)
    ]
    seen = set(not_counted)
    while left:  # from weights back to the tensors that they are computed from
        name = left.pop()
        if name in seen or name not in learned:
            continue
        seen.add(name)
        node = producers.get(name)
        if name in sizes:
            counted[name] = sizes[name]
        elif node is not None and (node.op_type in _MADE or _is_repeated_number(node, shapes)):
            counted[name] = math.prod(shapes.get(name, (0,)))
        elif node is not None:
            left += node.input if node.op_type in _OF_ALL_INPUTS else node.input[:1]
    return sum(counted.values())


def _is_repeated_number(node: Any, shapes: Mapping[str, Shape]) -> bool:
    return node.op_type in ("Expand", "Tile") and math.prod(shapes.get(node.input[0], ())) == 1


def _tensors(graphs: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Initializers and constants, by name."""
    import onnx

    for graph in graphs:
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        yield node.output[0], attribute.t
                    elif attribute.name == "value_floats":
                        yield (
                            node.output[0],
                            onnx.TensorProto(data_type=onnx.TensorProto.FLOAT, dims=[len(attribute.floats)]),
                        )
