"""Statistics of an and-inverter graph in binary AIGER (Biere, "The AIGER And-Inverter Graph Format", 2007).

A gate g has the literals lhs = 2 g > rhs0 >= rhs1, stored as the differences lhs - rhs0 and rhs0 - rhs1 in
groups of seven bits, lowest first; a literal is twice the number of a node, plus 1 where it is inverted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def gates_of(graph: bytes) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number of inputs I, the literals of the outputs [O], and those of the gates' inputs [A, 2]; gate a is
    node I + 1 + a.

    Args:
        graph: a combinational graph in binary AIGER without names and comment.
    """
    head, _, rest = graph.partition(b"\n")
    _, inputs, _, outputs, gates = map(int, head.split()[1:6])
    literals = []
    for _ in range(outputs):
        line, _, rest = rest.partition(b"\n")
        literals.append(int(line))
    code = np.frombuffer(rest, np.uint8).astype(np.int64)
    last = code < 128
    number = np.concatenate([[0], np.cumsum(last)[:-1]]).astype(np.int64)  # of the difference of each byte
    first = np.concatenate([[0], np.flatnonzero(last) + 1]).astype(np.int64)
    place = np.arange(len(code)) - first[number] if len(code) else code
    differences = np.zeros(2 * gates, np.int64)
    np.add.at(differences, number, (code & 127) << (7 * place))
    left = 2 * (inputs + 1 + np.arange(gates)) - differences[0::2]
    return inputs, np.array(literals, np.int64), np.stack([left, left - differences[1::2]], axis=1)


def graph_features(graph: bytes, levels: int) -> dict[str, float]:
    """A circuit as numbers for agents that generalise over circuits.

        inputs, outputs, gates, levels    log2(1 + number)
        inverted                          share of inverted edges
        single                            share of gates with one reader
        widest                            log2(1 + most readers of a node)
        from_inputs                       share of edges from inputs

    Args:
        graph: as in `gates_of`.
        levels: gates on its longest path.
    """
    inputs, outputs, edges = gates_of(graph)
    nodes = np.concatenate([edges.reshape(-1), outputs])
    readers = np.bincount(nodes >> 1, minlength=inputs + 1 + len(edges))
    count = max(len(nodes), 1)
    return {
        "inputs": float(np.log2(1 + inputs)),
        "outputs": float(np.log2(1 + len(outputs))),
        "gates": float(np.log2(1 + len(edges))),
        "levels": float(np.log2(1 + levels)),
        "inverted": float((nodes & 1).sum() / count),
        "single": float((readers[inputs + 1 :] == 1).sum() / max(len(edges), 1)),
        "widest": float(np.log2(1 + readers[1:].max(initial=0))),
        "from_inputs": float((((nodes >> 1) > 0) & ((nodes >> 1) <= inputs)).sum() / count),
    }
