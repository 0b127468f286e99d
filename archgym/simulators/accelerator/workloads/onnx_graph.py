"""ONNX models made ready to be read: small, of standard operators, without functions, with all sizes, and one branch where two are given.

Numbers of large tensors are dropped, since shapes do not follow from them. Tensors that lie in other files are read where they are small
and in the model's folder. Operators of com.microsoft that multiply nothing, or what a standard operator does, become standard ones. Sizes
of dynamic dimensions are given by the user. A branch is resolved where its condition follows from shapes, then shapes are inferred anew.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.files.paths import foreign
from archgym.simulators.accelerator.workloads.files import check_readable
from archgym.simulators.accelerator.workloads.onnx_layers import REFUSED, Shape
from archgym.simulators.accelerator.workloads.workload import Dimensions
from archgym.text import one_line

MOST_NODES = 30_000  # of a model, functions inlined: their shapes are inferred within seconds
SMALL = 1024  # elements up to which a tensor may hold shapes

_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_MICROSOFT = "com.microsoft"
# Operators of com.microsoft that give their first input's shape and multiply no matrices.
_ELEMENTWISE = (
    *("BiasDropout", "BiasGelu", "BiasSoftmax", "DequantizeLinear", "FastGelu", "Gelu", "LayerNormalization", "QLinearLeakyRelu"),
    *("QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear", "QuickGelu", "RotaryEmbedding", "SimplifiedLayerNormalization"),
    *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
)
# Those that do what a standard operator does, on the inputs at these positions.
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
_PACKED = ("MatMulBnb4", "MatMulNBits")  # [.., K] by [K, N], whose weights are several to a byte
# Inputs that are scales and zero points, which are not parameters.
_SCALES = {
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), (1, 2)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), (1, 2, 4, 5, 6, 7)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"), (2, 3)),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearSigmoid"), (1, 2, 3, 4)),
    **dict.fromkeys(("MatMulBnb4", "MatMulNBits"), (2, 3, 4)),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QGemm": (1, 2, 4, 5, 7, 8),
}
_BYTES = {"FLOAT": 4, "INT32": 4, "INT64": 8, "BOOL": 1, "DOUBLE": 8}  # of an element of tensors that shapes may follow from
_NUMBERS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data", "raw_data")
# What shapes and conditions on them are computed by.
_FOLDED = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten", "Floor", "Gather"),
    *("Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Range", "ReduceMax"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile", "Transpose"),
    *("Unsqueeze", "Where", "Xor"),
)
_DAMAGED = (ArithmeticError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
_MOST_MADE = 2**16  # elements of a tensor that is computed from shapes, on the way
_NO_INPUTS = 4  # version of the format from which on initializers need not be inputs, which some older files have not either
_NAME = 200  # characters of a name
_INFERENCE_BYTES = 2**30
_VISITS = 100_000  # of nodes by repeated inference; models of today take up to ten passes


def read(file: Path) -> tuple[Any, str, set[str]]:
    """A model without the numbers of large tensors; why some of the small ones could not be read, if so; names of scales and zero points.

    Raises:
        ArchGymError: a file that is no ONNX model, one of too many nodes, or an operator that cannot be expressed.
        MissingDependency: the package onnx is not installed.
    """
    try:
        import onnx
        import onnx.inliner
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency("an .onnx workload needs the package onnx: pip install 'archgym[onnx]'") from error
    try:
        check_readable(file)
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise ArchGymError(f"cannot read the workload {str(file)!r}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise ArchGymError(f"{file} is not an ONNX model: {reason_of(error)}") from error
    model.ir_version = max(model.ir_version, _NO_INPUTS)
    if not model.graph.node:
        raise ArchGymError(f"{file} is not an ONNX model, or one without nodes")
    count = _nodes(model)
    if count > MOST_NODES:
        raise ArchGymError(f"{file} has {count:,} nodes, functions counted where they are called; up to {MOST_NODES:,} are read: split it")
    absent = _read_external(model.graph, file)
    for node in _all_nodes(model.graph, *model.functions):
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
        node.input[position] for node in _all_nodes(model.graph) for position in _SCALES.get(node.op_type, ()) if position < len(node.input)
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
    """ArchGymError where a model is not what the format promises: names that are not UTF-8, nodes without inputs, types that do not exist.

    Raises:
        ArchGymError: as said.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {reason_of(error)}") from error


def name_of(node: Any) -> str:
    """What a node is called: its own name, or its first output's."""
    return one_line(text(node.name or (node.output[0] if node.output else node.op_type)), _NAME)


def text(value: str | bytes) -> str:
    """A string of a model; one that is not UTF-8 is read as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def check_operator(node: Any, file: Path) -> None:
    """Refuse a node that multiplies, or may, and that no layer expresses.

    Raises:
        ArchGymError: it is one.
    """
    if node.op_type in REFUSED or node.domain not in _STANDARD_DOMAINS:
        kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise ArchGymError(
            f"{file}: the node {name_of(node)!r} is {kind}, which cannot be expressed as convolutions and matrix products:"
            " export the model with standard operators, or give its layers as a .csv workload"
        )


def subgraphs(node: Any) -> Iterator[Any]:
    """Bodies and branches of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: Any) -> Iterator[Any]:
    """A graph, and those within it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def reads(node: Any) -> set[str]:
    """Tensors that a node reads, those that its branches read from outside included."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        made = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        for inner in graph.node:
            names |= reads(inner) - made
            made.update(inner.output)
        names |= {value.name for value in graph.output} - made
    return names


def true_inputs(graph: Any) -> dict[str, Any]:
    """Inputs that are not initializers, by name."""
    initializers = {tensor.name for tensor in graph.initializer}
    return {value.name: value for value in graph.input if value.name not in initializers}


def command(file: Path, dimensions: Dimensions) -> str:
    """A command line that shows a model with these sizes."""
    return f"archgym workloads {shlex.quote(str(file))} --set {shlex.quote(f'dimensions={json.dumps(dimensions)}')}"


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, NumPy's included."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether an input is a single integer, which is given its value."""
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and not tensor.shape.dim and tensor.elem_type == 7


# --- sizes ---


def open_dimensions(graph: Any) -> dict[str, list[tuple[str, int]]]:
    """Dynamic dimensions of the inputs, by name or, without one, as "input:axis": the inputs and axes that have each."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, value in true_inputs(graph).items():
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if not dimension.HasField("dim_value"):
                found.setdefault(_label(name, axis, dimension), []).append((name, axis))
    return found


def set_sizes(graph: Any, dimensions: Dimensions, file: Path) -> None:
    """Give dynamic dimensions their sizes, in place.

    Raises:
        ArchGymError: a dimension that the model does not have or that is fixed, a size that is not a positive integer, or an input that
            remains without one.
    """
    if not isinstance(dimensions, Mapping):
        raise ArchGymError(f'dimensions is a mapping of names to sizes, such as {{"batch": 1}}, not {dimensions!r}')
    inputs, sizes = true_inputs(graph), dict[str, int]()
    for key, value in dimensions.items():
        if isinstance(value, (list, tuple)):
            _set_input(inputs, key, value, sizes, file)
        elif key in inputs and is_number(inputs[str(key)]):
            graph.initializer.add(name=str(key), data_type=7, int64_data=[_whole(key, value, file)])
        else:
            _set_size(sizes, _meant(graph, inputs, key, value, file), value, file)
    if dimensions:  # what the file says of other tensors holds for other sizes
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    for name, value in inputs.items():
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            label = _label(name, axis, dimension)
            if not dimension.HasField("dim_value") and label in sizes:
                dimension.dim_value = sizes[label]
    for value in (*graph.value_info, *graph.output):
        if any(dimension.HasField("dim_value") and dimension.dim_value < 0 for dimension in value.type.tensor_type.shape.dim):
            value.type.tensor_type.ClearField("shape")
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        if value.type.HasField("tensor_type") and not tensor.HasField("shape"):
            example = command(file, {name: [1, 3, 224, 224]})
            raise ArchGymError(f"{file}: the input {name!r} has no shape: give a size per dimension, such as: {example}")
        if labels := [label for label, places in open_dimensions(graph).items() if name in dict(places)]:
            dynamic = f"the input {name!r} has dynamic dimensions ({_listed(labels)})"
            raise ArchGymError(f"{file}: {dynamic}: give their sizes, or export the model with fixed ones")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(one_line(text(name), _NAME) for name in names)


def _label(name: str, axis: int, dimension: Any) -> str:
    """A dynamic dimension's name, or its input and axis; "?" and "-1" are not names."""
    symbol = text(dimension.dim_param)
    return symbol if any(map(str.isalpha, symbol)) else f"{name}:{axis}"


def _meant(graph: Any, inputs: Mapping[str, Any], key: object, value: object, file: Path) -> str:
    """The dynamic dimension that a key means: a name, or an input and an axis."""
    labels = open_dimensions(graph)
    if key in labels:
        return str(key)
    name, _, axis = str(key).rpartition(":")
    if name in inputs and axis.isdecimal() and int(axis) < len(shape := inputs[name].type.tensor_type.shape.dim):
        dimension = shape[int(axis)]
        if dimension.HasField("dim_value"):
            _check_fixed(name, int(axis), dimension, value, file)
        return _label(name, int(axis), dimension)
    unshaped = name in inputs and not inputs[name].type.tensor_type.HasField("shape")
    if key in inputs or unshaped:
        of_input = f"the shape of the input {(name if unshaped else key)!r}"
        raise ArchGymError(f"{file}: {of_input} is a list with a size per dimension, such as [1, 3, 224, 224], not {value!r}")
    raise ArchGymError(f"{file} has no dimension {key!r}; it has {_listed(labels) or 'fixed ones only'}")


def _set_input(inputs: Mapping[str, Any], name: object, shape: list[Any] | tuple[Any, ...], sizes: dict[str, int], file: Path) -> None:
    """Take the sizes of a whole input."""
    if name not in inputs:
        raise ArchGymError(f"{file} has no input {name!r}; it has {_listed(inputs)}")
    tensor = inputs[str(name)].type.tensor_type
    if not tensor.HasField("shape"):
        for _ in shape:
            tensor.shape.dim.add()
        tensor.shape.SetInParent()
    if len(shape) != len(tensor.shape.dim):
        raise ArchGymError(f"{file}: the input {name!r} has {len(tensor.shape.dim)} dimensions, not the {len(shape)} of {list(shape)}")
    for axis, (dimension, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if not dimension.HasField("dim_value"):
            _set_size(sizes, _label(str(name), axis, dimension), size, file)
        else:
            _check_fixed(str(name), axis, dimension, size, file)


def _check_fixed(name: str, axis: int, dimension: Any, size: object, file: Path) -> None:
    if not is_integer(size) or size != dimension.dim_value:
        raise ArchGymError(f"{file}: dimension {axis} of the input {name!r} is fixed at {dimension.dim_value}, and cannot be {size!r}")


def _whole(label: object, size: Any, file: Path) -> int:
    if not is_integer(size) or not 0 < size < 2**63:
        raise ArchGymError(f"{file}: the size of {label!r} is a whole number from 1, not {size!r}")
    return int(size)


def _set_size(sizes: dict[str, int], label: str, size: Any, file: Path) -> None:
    whole = _whole(label, size, file)
    if sizes.setdefault(label, whole) != whole:
        raise ArchGymError(f"{file}: {label!r} has two sizes, {sizes[label]} and {whole}: give one")


# --- shapes ---


def inferred(model: Any, file: Path) -> Any:
    """The model with the shapes that follow from its inputs, what is computed from shapes alone as constants, and branches taken.

    Raises:
        ArchGymError: it is not valid.
    """
    for _ in range(2 + _VISITS // len(model.graph.node)):
        model = _infer(model, file)
        if not _fold(model):
            break
    return model


def shapes_of(graph: Any) -> dict[str, Shape]:
    """Shapes of the tensors whose dimensions are all known."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dimension.HasField("dim_value") for dimension in tensor.shape.dim):
            found.setdefault(value.name, tuple(dimension.dim_value for dimension in tensor.shape.dim))
    return found


def _infer(model: Any, file: Path) -> Any:
    import onnx
    import onnx.shape_inference

    try:
        with _little_memory():
            return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except MemoryError as error:
        raise ArchGymError(f"{file} has a shape of so many dimensions that they do not fit into memory: fix the model") from error
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ArchGymError(f"{file} is not a valid ONNX model: {reason_of(error)}") from error


@contextmanager
def _little_memory() -> Iterator[None]:
    """MemoryError where inference allocates far more than any model needs: a tensor that is used as a shape may have 2^40 dimensions."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):  # not Linux
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + _INFERENCE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (wanted if soft == resource.RLIM_INFINITY else min(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _fold(model: Any) -> bool:
    """Make constants of integers that are computed from shapes, and take the branches that follow, in place; False if there are none."""
    import onnx.numpy_helper

    graph, values = model.graph, _values(model)
    integers = {name: value for name, value in values.items() if value is not None and value.dtype.kind in "bi"}
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
    nodes = [_copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(onnx.numpy_helper.from_array(np.array(value, order="C"), name) for name, value in found.items())
    return True


def _values(model: Any) -> dict[str, Any]:
    """Small tensors that are constant or follow from shapes: arrays."""
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
        if size <= SMALL and (size == 0 or any(getattr(tensor, field) for field in _NUMBERS)):
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
                        keep(node.output[0], np.array(attribute.i if attribute.name == "value_int" else attribute.ints, np.int64))
            elif node.op_type in ("Shape", "Size") and node.input[0] in shapes:
                shape = shapes[node.input[0]]
                first, last = ({a.name: a.i for a in node.attribute}.get(key) for key in ("start", "end"))
                keep(node.output[0], np.array(shape[first:last] if node.op_type == "Shape" else math.prod(shape), np.int64))
            elif node.op_type in _FOLDED and all(name in found for name in node.input):
                inputs = [found[name] for name in node.input]
                if _size_made(node, inputs) <= _MOST_MADE:
                    made = evaluated(node, {n: v for n, v in zip(node.input, inputs, strict=True) if n})
                    for name, value in zip(node.output, made, strict=False):
                        keep(name, value)
    return found


def _size_made(node: Any, inputs: list[Any]) -> float:
    """At most how many elements an operator makes."""
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
    return float(math.prod(sizes))  # as if all were broadcast


def _taken_branch(graph: Any, node: Any, condition: bool) -> list[Any]:
    """The nodes that stand for an If whose condition is known; its initializers go to the graph."""
    (branch,) = (attribute.g for attribute in node.attribute if attribute.name == ("then_branch" if condition else "else_branch"))
    made = [tensor.name for tensor in branch.initializer] + [name for inner in branch.node for name in inner.output if name]
    _rename(branch, {name: f"{name_of(node)}/{name}" for name in made})
    graph.initializer.extend(branch.initializer)
    ends = [_node("Identity", [value.name], [name], name_of(node)) for value, name in zip(branch.output, node.output, strict=False) if name]
    return [*branch.node, *ends]


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename what is made in a graph, wherever it is read in it."""
    for value in (*graph.initializer, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for inner in subgraphs(node):
            hidden = {value.name for value in inner.input}
            _rename(inner, {old: new for old, new in names.items() if old not in hidden})


# --- reading ---


def _nodes(model: Any) -> int:
    """Nodes of a model once its functions are inlined."""
    functions = {(function.domain, function.name): function.node for function in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in functions and key not in counts:
                counts[key] = MOST_NODES + 1  # what a function that calls itself has
                counts[key] = count(functions[key])
            total += counts.get(key, 1) + sum(count(graph.node) for graph in subgraphs(node))
        return total

    try:
        return count(model.graph.node)
    except RecursionError:
        return MOST_NODES + 1


def _all_nodes(*graphs: Any) -> Iterator[Any]:
    """Nodes of graphs and functions, and those within them."""
    for graph in graphs:
        for node in graph.node:
            yield node
            yield from _all_nodes(*subgraphs(node))


def _drop_numbers(tensor: Any) -> None:
    if math.prod(tensor.dims) > SMALL:
        for field in _NUMBERS:
            tensor.ClearField(field)


def _read_external(graph: Any, file: Path) -> str:
    """Fill in small tensors that lie in other files of the model's folder; why that was not possible, "" where it was."""
    import onnx

    absent = ""
    for tensor in graph.initializer:
        size = _BYTES.get(onnx.TensorProto.DataType.Name(tensor.data_type)) if tensor.data_location == tensor.EXTERNAL else None
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
            raise ArchGymError(f"its external data {location!r} lies outside its folder and is not read: move it beside the model")
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
    """Operators of com.microsoft as standard ones, in place."""
    if all(node.domain != _MICROSOFT for node in graph.node):
        return
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.domain != _MICROSOFT:
            nodes.append(_copied(node))
        elif node.op_type in _ELEMENTWISE:
            nodes += [
                _node("Identity", node.input[:1], [name], name_of(node)) for i, name in enumerate(node.output) if name and i in (0, 3)
            ]
        elif node.op_type in _STANDARD:
            kind, positions = _STANDARD[node.op_type]
            standard = _copied(node)
            standard.op_type, standard.domain = kind, ""
            standard.input[:] = [node.input[position] for position in positions if position < len(node.input)]
            kept = [
                attribute for attribute in node.attribute if not attribute.name.startswith(("activation", "alpha", "beta", "channels_last"))
            ]
            del standard.attribute[:]
            standard.attribute.extend(kept)
            nodes.append(standard)
        elif node.op_type == "FusedMatMul" and not any(a.i for key, a in attributes.items() if key.startswith("transBatch")):
            left, right = ("ji" if _is_set(attributes, "transA") else "ij"), ("kj" if _is_set(attributes, "transB") else "jk")
            product = _node("Einsum", node.input[:2], node.output, name_of(node))
            product.attribute.add(name="equation", type=3, s=f"...{left},...{right}->...ik".encode())
            nodes.append(product)
        elif node.op_type == "QLinearConcat":
            concatenated = _node("Concat", node.input[2::3], node.output, name_of(node))
            concatenated.attribute.extend(node.attribute)
            nodes.append(concatenated)
        elif node.op_type in _PACKED and {"K", "N"} <= attributes.keys() and node.input[1] in tensors:
            weights = tensors[node.input[1]]
            weights.Clear()
            weights.name, weights.data_type = node.input[1], 1
            weights.dims.extend([attributes["K"].i, attributes["N"].i])
            nodes.append(_node("MatMul", node.input[:2], node.output, name_of(node)))
        else:
            nodes.append(_copied(node))
    del graph.node[:]
    graph.node.extend(nodes)


def _is_set(attributes: Mapping[str, Any], name: str) -> bool:
    return name in attributes and attributes[name].i != 0


def _node(kind: str, inputs: Any, outputs: Any, name: str) -> Any:
    import onnx

    return onnx.NodeProto(op_type=kind, input=list(inputs), output=list(outputs), name=name)


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
