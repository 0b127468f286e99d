"""The cells of NAS-Bench-201: their strings, and which of them are the same function.

A cell is a complete directed graph of four nodes; a node is the sum of its inputs by one of five operations:

    x_j = sum_{i < j} op_ij(x_i)       x_0 the cell's input, x_3 its output        6 edges, 5^6 = 15,625 cells

A row has the operations of the edges (0,1), (0,2), (1,2), (0,3), (1,3), (2,3). Many rows are one function:
`none` is zero, `skip_connect` the identity, average pooling linear (it ignores padding and has no batch
norm), and a convolution (ReLU, convolution, batch norm) a nonlinearity that maps zero to zero. A function is
identified by one 64-bit hash per node,

    h_j = sum_i t(op_ij, h_i) mod 2^64
    t(none, h) = 0, t(skip, h) = h, t(pool, h) = p h (p odd), t(conv_k, h) = mix(h ^ salt_k), t(op, 0) = 0

which equates `conv(x) + conv(x)` with `2 conv(x)`: the 4,660 classes of cells whose convolutions of one kind
share their weights. Where every edge has its own weights, as in a trained network, the two differ. There the
hash is computed once more for each convolution, with a salt of its edge; the sum of these marked hashes over
the convolutions that reach the output separates one convolution used twice from two (5,044 classes).

Two effects are neglected. A convolution maps zero to its batch norm's bias, which is learned in a full
network; here it stays zero, and such an edge is not built. Batch norm cancels a factor, conv(2 x) = conv(x),
which would merge a few more classes.

Sources: Dong & Yang, "NAS-Bench-201", ICLR 2020 (space and strings); Dong et al., "NATS-Bench", TPAMI 2021
(the count of 6,466).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.space import Categorical, DesignSpace, Indices
from archgym.words import one_line, shown

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV1, CONV3, POOL = range(5)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of a row
NODES = 4
# in the order of NASLib's tuples
NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
NASLIB_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

CELL_SPACE = DesignSpace(
    [Categorical(f"edge{source}{target}", OPERATIONS, default="nor_conv_3x3") for source, target in EDGES]
)

_POOLED = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no number of poolings is the identity
_SALTS = np.array([0, 0, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7, 0], np.uint64)  # by operation
_MARK = np.uint64(0xA0761D6478BD642F)
_SHIFT = np.uint64(33)
_INPUT = np.uint64(0xE7037ED1A0B428DB)

Hashes = npt.NDArray[np.uint64]


def all_cells() -> Indices:
    """Every cell, int64 [15625, 6], in the order of the space's ordinals (the last edge turns fastest)."""
    return CELL_SPACE.from_ordinal(np.arange(CELL_SPACE.size))


def parse(cell: str | tuple[int, ...]) -> Indices:
    """A cell's string, or its tuple in NASLib (as text too) -> its operation indices, int64 [6].

    NASLib numbers operations and edges in its own order: `skip_connect`, `none`, `nor_conv_3x3`,
    `nor_conv_1x1`, `avg_pool_3x3` on the edges (0,1), (0,2), (0,3), (1,2), (1,3), (2,3).

    Examples:
        >>> parse("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|").tolist()
        [4, 0, 1, 0, 1, 1]
        >>> parse((4, 0, 3, 1, 4, 3)).tolist()
        [4, 1, 0, 2, 4, 2]

    Raises:
        ArchGymError: neither a string nor a tuple of a cell, or an unknown operation.
    """
    wanted = "three groups of |operation~node|, such as |none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    if isinstance(cell, tuple):
        return _from_naslib(cell)
    if not isinstance(cell, str):
        raise ArchGymError(f"a cell's string is text with {wanted}, not {shown(cell)}")
    if re.fullmatch(r"\(\d(, ?\d){5}\)", cell.strip()):
        return _from_naslib(tuple(map(int, re.findall(r"\d", cell))))
    whole, part = r"\|(?:[^|~+]+~[0-2]\|)+", r"([^|~+]+)~([0-2])"
    groups = [
        re.findall(part, group) if re.fullmatch(whole, group) else [] for group in cell.strip().split("+")
    ]
    sources = [[int(source) for _, source in group] for group in groups]
    if sources != [list(range(node)) for node in range(1, NODES)]:
        raise ArchGymError(f"{shown(cell)} is not the string of a cell: it has {wanted}")
    names = [name for group in groups for name, _ in group]
    for name in names:
        if name not in OPERATIONS:
            raise unknown("operation", one_line(name, 60), OPERATIONS)
    return np.array([OPERATIONS.index(name) for name in names], np.int64)


def _from_naslib(cell: tuple[int, ...]) -> Indices:
    operations = range(len(NASLIB_OPERATIONS))
    if len(cell) != len(EDGES) or not all(
        isinstance(operation, int) and operation in operations for operation in cell
    ):
        raise ArchGymError(
            f"{shown(cell)} is not the tuple of a cell in NASLib: it has {len(EDGES)} integers from 0 to "
            f"{len(operations) - 1}"
        )
    by_edge = dict(zip(NASLIB_EDGES, cell, strict=True))
    return np.array([OPERATIONS.index(NASLIB_OPERATIONS[by_edge[edge]]) for edge in EDGES], np.int64)


def format(indices: Sequence[int] | Indices) -> str:
    """Operation indices [6] -> the cell's string; the inverse of `parse`.

    Raises:
        ArchGymError: not six integers from 0 to 4.
    """
    names = [OPERATIONS[operation] for operation in _checked([indices])[0]]
    groups = [
        [(name, source) for name, (source, to) in zip(names, EDGES, strict=True) if to == node]
        for node in range(1, NODES)
    ]
    return "+".join("|" + "".join(f"{name}~{source}|" for name, source in group) for group in groups)


def canonical_classes(cells: Indices, *, shared_weights: bool = True) -> Indices:
    """Classes of cells that are the same function: int64 [n], numbered in the order of first appearance.

    Args:
        cells: operation indices [n, 6].
        shared_weights: True where all convolutions of one kernel size share their weights (4,660 classes),
            False where every edge has its own, as in a trained network (5,044 classes).

    Raises:
        ArchGymError: not rows of six integers from 0 to 4.
    """
    cells = _checked(cells)
    output = _output_hash(cells)
    if not shared_weights:
        marked = np.zeros_like(output)
        for edge in range(len(EDGES)):
            rows = np.flatnonzero((cells[:, edge] == CONV1) | (cells[:, edge] == CONV3))
            with_mark = _output_hash(cells[rows], marked_edge=edge)
            # equal: a dead convolution
            marked[rows] += np.where(with_mark == output[rows], np.uint64(0), _mix(with_mark))
        output = _mix(output) + marked
    _, first, inverse = np.unique(output, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def live_edges(cells: Indices) -> npt.NDArray[np.bool_]:
    """Edges on a path from the cell's input to its output without a `none`: [n, 6] -> bool [n, 6]."""
    present = _checked(cells) != NONE
    from_input = np.zeros((len(cells), NODES), bool)
    to_output = np.zeros((len(cells), NODES), bool)
    from_input[:, 0] = to_output[:, NODES - 1] = True
    for edge, (source, target) in enumerate(EDGES):  # edges are in the order of their targets
        from_input[:, target] |= present[:, edge] & from_input[:, source]
    for edge, (source, target) in sorted(enumerate(EDGES), key=lambda entry: -entry[1][1]):
        to_output[:, source] |= present[:, edge] & to_output[:, target]
    sources, targets = np.array(EDGES).T
    return present & from_input[:, sources] & to_output[:, targets]


def nats_unique_string(indices: Indices) -> str:
    """NATS-Bench's own description of the function of a cell, indices [6]; there are 6,466.

    Nodes are written recursively, the terms of a sum sorted: a skipped node is its source's text, and a term
    is zero ("#") where its operation is `none` or its source is exactly zero. A sum of several zeros does not
    count as zero, hence more classes than ours.
    """
    nodes = ["0"]
    for node in range(1, NODES):
        terms = []
        for operation, (source, target) in zip(indices, EDGES, strict=True):
            if target != node:
                continue
            if operation == NONE or nodes[source] == "#":
                terms.append("#")
            else:
                terms.append(
                    nodes[source] if operation == SKIP else f"({nodes[source]})@{OPERATIONS[operation]}"
                )
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def convolutions(cells: Indices) -> Indices:
    """Numbers of 1x1 and 3x3 convolutions of cells, dead ones included: [n, 6] -> int64 [n, 2]."""
    return np.stack([(cells == CONV1).sum(axis=1), (cells == CONV3).sum(axis=1)], axis=1)


@cache
def representatives() -> Indices:
    """Ordinal of the first equal cell, by function (own weights per edge) and numbers of convolutions.

    Cells of one function may differ in dead convolutions, which cost parameters and operations too.

    Returns:
        int64 [15625], read-only.
    """
    ordinals = first_of_equals(canonical_classes(all_cells(), shared_weights=False))
    ordinals.flags.writeable = False
    return ordinals


def first_of_equals(labels: Indices) -> Indices:
    """Ordinal of the first cell of equal label and numbers of convolutions: int64 [15625] -> [15625]."""
    counts = convolutions(all_cells())
    key = (labels * 7 + counts[:, 0]) * 7 + counts[:, 1]  # at most 6 of a kind
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first[inverse]


def _output_hash(cells: Indices, marked_edge: int | None = None) -> Hashes:
    """Hash of every cell's output, uint64 [n]; a convolution on the marked edge has another salt."""
    nodes = np.zeros((NODES, len(cells)), np.uint64)
    nodes[0] = _INPUT
    for edge, (source, target) in enumerate(EDGES):
        h, operation = nodes[source], cells[:, edge]
        salt = _SALTS[operation] ^ (_MARK if edge == marked_edge else np.uint64(0))
        mixed = _mix(h ^ salt)
        terms = np.choose(operation, [np.uint64(0), h, mixed, mixed, h * _POOLED])
        nodes[target] += np.where(h == 0, np.uint64(0), terms)
    return nodes[-1]


def _mix(h: Hashes) -> Hashes:
    """The finaliser of MurmurHash3 on 64 bits."""
    for multiplier in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        h = (h ^ (h >> _SHIFT)) * multiplier
    return h ^ (h >> _SHIFT)


def _checked(rows: Any) -> Indices:
    try:
        cells: Indices = np.asarray(rows)
    except ValueError:
        raise ArchGymError(f"expected cells as rows of {len(EDGES)} integers, got {rows!r}") from None
    if cells.ndim != 2 or cells.shape[1] != len(EDGES) or cells.dtype.kind not in "iu":
        raise ArchGymError(
            f"expected cells as rows of {len(EDGES)} integers, got {cells.dtype} of shape {cells.shape}"
        )
    if cells.size and (cells.min() < 0 or cells.max() >= len(OPERATIONS)):
        raise ArchGymError(
            f"an operation is an index from 0 to {len(OPERATIONS) - 1}: {', '.join(OPERATIONS)}"
        )
    return cells
