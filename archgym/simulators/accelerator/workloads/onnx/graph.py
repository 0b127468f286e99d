"""Nodes, subgraphs and tensors of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archgym.words import one_line

Shape = tuple[int, ...]

SMALL = 1024  # elements up to which a tensor may hold shapes
NAME_CHARACTERS = 200  # length of a name in messages and layers


def name_of(node: Any) -> str:
    """A node's name, or its first output's."""
    return one_line(text(node.name or (node.output[0] if node.output else node.op_type)), NAME_CHARACTERS)


def text(value: str | bytes) -> str:
    """A string of a model; invalid UTF-8 is replaced."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def subgraphs(node: Any) -> Iterator[Any]:
    """Bodies and branches of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: Any) -> Iterator[Any]:
    """A graph and its subgraphs."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def all_nodes(*graphs: Any) -> Iterator[Any]:
    """Nodes of graphs and functions, and of their subgraphs."""
    for graph in graphs:
        for node in graph.node:
            yield node
            yield from all_nodes(*subgraphs(node))


def reads(node: Any) -> set[str]:
    """Tensors that a node reads, including those that its subgraphs read from outside."""
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


def new_node(kind: str, inputs: Any, outputs: Any, name: str) -> Any:
    import onnx

    return onnx.NodeProto(op_type=kind, input=list(inputs), output=list(outputs), name=name)


def copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
