"""Small trees without walking them (Lucchese et al., "QuickScorer", SIGIR 2015).

Each leaf of a tree is a bit, numbered from left to right. A node whose test x[f] <= threshold fails excludes
the leaves of its left subtree. x falls into the leftmost leaf that is not excluded:

    v(x) = AND over nodes with x[f] > threshold of mask(node),      leaf(x) = lowest set bit of v(x)

The masks of all nodes of one feature depend only on the interval of thresholds that holds x[f], so they are
combined in advance: one row of T masks per interval and feature, F rows per design, independent of the depth
of the trees.
"""

from __future__ import annotations

import numpy as np

from archgym.space import Array, Indices

MAX_LEAVES = 32
_LEAF = -1
_CHUNK = 256  # rows per chunk, whose intermediate arrays fit into the processor's cache
# de Bruijn: a power of two times this has its exponent's code in the five highest bits
_MULTIPLIER = np.uint32(0x077CB531)
_EXPONENT = np.empty(32, np.int32)
_EXPONENT[(np.uint32(1) << np.arange(32, dtype=np.uint32)) * _MULTIPLIER >> np.uint32(27)] = np.arange(32)


class BitVectors:
    """T trees of at most MAX_LEAVES leaves and one output.

    Args:
        roots: root node of each tree, int64 [T].
        feature, threshold, left, right: the nodes, [V]; children come after their parents, -1 at leaves.
        value: values of the leaves, [V].
    """

    def __init__(
        self, roots: Indices, feature: Indices, threshold: Array, left: Indices, right: Indices, value: Array
    ):
        below = leaf_counts(left, right)
        # each node's tree and leftmost leaf
        tree, first = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
        tree[roots] = np.arange(len(roots))
        level = roots
        while len(level := level[left[level] != _LEAF]):
            for child in (left[level], right[level]):
                tree[child], first[child] = tree[level], first[level]
            first[right[level]] += below[left[level]]
            level = np.concatenate([left[level], right[level]])
        leaves, inner = np.flatnonzero(left == _LEAF), np.flatnonzero(left != _LEAF)
        self.values = np.zeros((len(roots), MAX_LEAVES))
        self.values[tree[leaves], first[leaves]] = value[leaves]
        excluded = ((np.uint64(1) << below[left[inner]].astype(np.uint64)) - np.uint64(1)) << first[
            left[inner]
        ].astype(np.uint64)
        masks = ~excluded.astype(np.uint32)
        # feature, its thresholds [K], masks by interval [K + 1, T]
        self.tables: list[tuple[int, Array, Array]] = []
        for f in np.unique(feature[inner]):
            tested = feature[inner] == f
            cuts, place = np.unique(threshold[inner][tested], return_inverse=True)
            table = np.full((len(cuts) + 1, len(roots)), ~np.uint32(0))
            np.bitwise_and.at(table, (place + 1, tree[inner][tested]), masks[tested])
            self.tables.append((int(f), cuts, np.bitwise_and.accumulate(table, axis=0)))

    def sums(self, x: Array) -> Array:
        """The sum over trees of the values of the leaves that each row falls into: [B, F] -> float64 [B]."""
        total = np.empty(len(x))
        start = np.arange(len(self.values)) * MAX_LEAVES
        intervals = [np.searchsorted(cuts, x[:, f], side="left") for f, cuts, _ in self.tables]
        for row in range(0, len(x), _CHUNK):
            rows = slice(row, row + _CHUNK)
            n = len(total[rows])
            reached = np.full((n, len(self.values)), ~np.uint32(0))
            for interval, (_, _, table) in zip(intervals, self.tables, strict=True):
                reached &= table[interval[rows]]
            lowest = reached & (~reached + np.uint32(1))
            leaf = _EXPONENT[(lowest * _MULTIPLIER) >> np.uint32(27)]
            total[rows] = self.values.take(start + leaf).sum(axis=1)
        return total


def leaf_counts(left: Indices, right: Indices) -> Indices:
    """Leaves below each node; 1 for a leaf: int64 [V]."""
    counts = (left == _LEAF).astype(np.int64)
    for node in np.flatnonzero(left != _LEAF)[::-1]:  # children come after their parents
        counts[node] = counts[left[node]] + counts[right[node]]
    return counts
