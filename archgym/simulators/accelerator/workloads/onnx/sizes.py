"""Sizes of an ONNX model's dynamic dimensions, by name, by input and axis, or of a whole input."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.workloads.onnx.graph import NAME_CHARACTERS, text, true_inputs
from archgym.simulators.accelerator.workloads.workload import Dimensions
from archgym.words import one_line


def open_dimensions(graph: Any) -> dict[str, list[tuple[str, int]]]:
    """Dynamic dimensions of the inputs, by name or, without a name, as "input:axis" -> inputs and axes."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, value in true_inputs(graph).items():
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if not dimension.HasField("dim_value"):
                found.setdefault(_label(name, axis, dimension), []).append((name, axis))
    return found


def set_sizes(graph: Any, dimensions: Dimensions, file: Path) -> None:
    """Set the sizes of dynamic dimensions, in place.

    Raises:
        ArchGymError: an unknown or fixed dimension, a size that is not a positive integer, or a dimension
            without a size.
    """
    if not isinstance(dimensions, Mapping):
        raise ArchGymError(
            f'dimensions must be a mapping of names to sizes, such as {{"batch": 1}}, not {dimensions!r}'
        )
    inputs, sizes = true_inputs(graph), dict[str, int]()
    for key, value in dimensions.items():
        if isinstance(value, (list, tuple)):
            _set_input(inputs, key, value, sizes, file)
        elif key in inputs and is_number(inputs[str(key)]):
            graph.initializer.add(name=str(key), data_type=7, int64_data=[_whole(key, value, file)])
        else:
            _set_size(sizes, _meant(graph, inputs, key, value, file), value, file)
    if dimensions:  # shapes in the file are for other sizes
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    for name, value in inputs.items():
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            label = _label(name, axis, dimension)
            if not dimension.HasField("dim_value") and label in sizes:
                dimension.dim_value = sizes[label]
    for value in (*graph.value_info, *graph.output):
        if any(
            dimension.HasField("dim_value") and dimension.dim_value < 0
            for dimension in value.type.tensor_type.shape.dim
        ):
            value.type.tensor_type.ClearField("shape")
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        if value.type.HasField("tensor_type") and not tensor.HasField("shape"):
            example = command(file, {name: [1, 3, 224, 224]})
            raise ArchGymError(
                f"{file}: the input {name!r} has no shape: give a size per dimension, such as: {example}"
            )
        if labels := [label for label, places in open_dimensions(graph).items() if name in dict(places)]:
            dynamic = f"the input {name!r} has dynamic dimensions ({_listed(labels)})"
            raise ArchGymError(f"{file}: {dynamic}: give their sizes, or export the model with fixed ones")


def command(file: Path, dimensions: Dimensions) -> str:
    """A command that shows a model with these sizes."""
    return (
        f"archgym workloads {shlex.quote(str(file))} --set "
        f"{shlex.quote(f'dimensions={json.dumps(dimensions)}')}"
    )


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an integer of Python or NumPy."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether an input is a single integer, which takes a value instead of a size."""
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and not tensor.shape.dim and tensor.elem_type == 7


def _listed(names: Iterable[str]) -> str:
    return ", ".join(one_line(text(name), NAME_CHARACTERS) for name in names)


def _label(name: str, axis: int, dimension: Any) -> str:
    """A dynamic dimension's name, or its input and axis; "?" and "-1" are not names."""
    symbol = text(dimension.dim_param)
    return symbol if any(map(str.isalpha, symbol)) else f"{name}:{axis}"


def _meant(graph: Any, inputs: Mapping[str, Any], key: object, value: object, file: Path) -> str:
    """The dynamic dimension of a key: a name, or an input and an axis."""
    labels = open_dimensions(graph)
    if key in labels:
        return str(key)
    name, _, axis = str(key).rpartition(":")
    if (
        name in inputs
        and axis.isdecimal()
        and int(axis) < len(shape := inputs[name].type.tensor_type.shape.dim)
    ):
        dimension = shape[int(axis)]
        if dimension.HasField("dim_value"):
            _check_fixed(name, int(axis), dimension, value, file)
        return _label(name, int(axis), dimension)
    unshaped = name in inputs and not inputs[name].type.tensor_type.HasField("shape")
    if key in inputs or unshaped:
        of_input = f"the shape of the input {(name if unshaped else key)!r}"
        raise ArchGymError(
            f"{file}: {of_input} must be a list with a size per dimension, such as [1, 3, 224, 224], not "
            f"{value!r}"
        )
    raise ArchGymError(f"{file} has no dimension {key!r}; it has {_listed(labels) or 'fixed ones only'}")


def _set_input(
    inputs: Mapping[str, Any],
    name: object,
    shape: list[Any] | tuple[Any, ...],
    sizes: dict[str, int],
    file: Path,
) -> None:
    """Set the sizes of a whole input."""
    if name not in inputs:
        raise ArchGymError(f"{file} has no input {name!r}; it has {_listed(inputs)}")
    tensor = inputs[str(name)].type.tensor_type
    if not tensor.HasField("shape"):
        for _ in shape:
            tensor.shape.dim.add()
        tensor.shape.SetInParent()
    if len(shape) != len(tensor.shape.dim):
        raise ArchGymError(
            f"{file}: the input {name!r} has {len(tensor.shape.dim)} dimensions, not the {len(shape)} of "
            f"{list(shape)}"
        )
    for axis, (dimension, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if not dimension.HasField("dim_value"):
            _set_size(sizes, _label(str(name), axis, dimension), size, file)
        else:
            _check_fixed(str(name), axis, dimension, size, file)


def _check_fixed(name: str, axis: int, dimension: Any, size: object, file: Path) -> None:
    if not is_integer(size) or size != dimension.dim_value:
        raise ArchGymError(
            f"{file}: dimension {axis} of the input {name!r} is fixed at {dimension.dim_value}, and cannot "
            f"be {size!r}"
        )


def _whole(label: object, size: Any, file: Path) -> int:
    if not is_integer(size) or not 0 < size < 2**63:
        raise ArchGymError(f"{file}: the size of {label!r} must be a whole number from 1, not {size!r}")
    return int(size)


def _set_size(sizes: dict[str, int], label: str, size: Any, file: Path) -> None:
    whole = _whole(label, size, file)
    if sizes.setdefault(label, whole) != whole:
        raise ArchGymError(f"{file}: {label!r} has two sizes, {sizes[label]} and {whole}: give one")
