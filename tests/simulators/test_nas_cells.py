"""Cells: strings, and which are the same function, held against networks that are really run and against
symbolic algebra.
"""

from __future__ import annotations

import itertools
import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.nas import cells as nas
from archgym.simulators.nas.cells import CONV1, CONV3, EDGES, NONE, POOL, SKIP

CELLS = nas.all_cells()
rows = st.lists(st.integers(0, 4), min_size=6, max_size=6)


def assert_same_partition(numbers, others):
    pairs = len(set(zip(numbers.tolist(), others.tolist(), strict=True)))
    assert pairs == len(np.unique(numbers)) == len(np.unique(others))


# Strings


@given(rows)
def test_a_cell_and_its_string_turn_into_each_other(row):
    string = nas.format(row)
    assert nas.parse(string).tolist() == row
    assert nas.parse(f" {string}\n").dtype == np.int64


def test_strings_have_the_order_of_edges_and_operations_of_the_published_benchmark():
    string = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|"
    assert nas.parse(string).tolist() == [POOL, CONV1, SKIP, CONV3, NONE, SKIP]
    assert nas.format([0, 1, 2, 3, 4, 0]) == (
        "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|"
    )


def test_all_cells_are_the_rows_of_the_space_by_ordinal():
    np.testing.assert_array_equal(CELLS, list(itertools.product(range(5), repeat=6)))
    assert nas.CELL_SPACE.design(CELLS[1])["edge23"] == "skip_connect"


@pytest.mark.parametrize(
    "string",
    [
        "",
        "none",
        "|none~0|+|none~0|none~1|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|",
        "|none|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "none~0+none~0|none~1+none~0|none~1|none~2",
    ],
)
def test_what_is_no_cells_string_is_refused_with_an_example(string):
    with pytest.raises(
        ArchGymError,
        match=r"is not the string of a cell: it has three groups of \|operation~node\|, such as \|none~0\|",
    ):
        nas.parse(string)


@pytest.mark.parametrize("string", [None, 5, b"|none~0|", ["none"]])
def test_what_is_no_text_is_refused(string):
    with pytest.raises(ArchGymError, match="a cell's string is text with three groups"):
        nas.parse(string)


def test_an_unknown_operation_is_named_with_its_neighbour():
    with pytest.raises(ArchGymError, match="unknown operation 'nor_conv_5x5'; did you mean 'nor_conv_"):
        nas.parse("|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|")


@pytest.mark.parametrize("function", [nas.canonical_classes, nas.live_edges])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([0, 1, 2, 3, 4, 0], r"rows of 6 integers, got int64 of shape \(6,\)"),
        ([[0, 1, 2, 3, 4]], r"rows of 6 integers, got int64 of shape \(1, 5\)"),
        ([[0.0] * 6], "rows of 6 integers, got float64"),
        ([[True] * 6], "rows of 6 integers, got bool"),
        ([[0, 0, 0, 0, 0, 5]], "an operation is an index from 0 to 4: none, skip_connect"),
        ([[-1, 0, 0, 0, 0, 0]], "an operation is an index from 0 to 4"),
    ],
)
def test_rows_that_are_no_cells_are_refused(function, bad, message):
    with pytest.raises(ArchGymError, match=message):
        function(np.array(bad))


@pytest.mark.parametrize("bad", [[0] * 5, [0] * 7, [0.5] * 6, [5] * 6, [[0] * 6]])
def test_format_refuses_what_is_no_row(bad):
    with pytest.raises(ArchGymError):
        nas.format(bad)


# Paths


@cache
def paths() -> tuple[tuple[int, ...], ...]:
    """Every path from node 0 to node 3, as the numbers of its edges."""

    def onward(node):
        if node == 3:
            yield ()
        for edge, (source, target) in enumerate(EDGES):
            if source == node:
                yield from ((edge, *rest) for rest in onward(target))

    return tuple(onward(0))


def on_a_path(row):
    """Edges of the paths that no `none` interrupts."""
    return {edge for path in paths() if all(row[e] != NONE for e in path) for edge in path}


def test_live_edges_are_those_of_uninterrupted_paths():
    assert sorted(paths()) == [(0, 2, 5), (0, 4), (1, 5), (3,)]
    expected = [[edge in on_a_path(row) for edge in range(6)] for row in CELLS.tolist()]
    np.testing.assert_array_equal(nas.live_edges(CELLS), expected)


def test_341_cells_let_nothing_through_and_are_one_class():
    dead = ~nas.live_edges(CELLS).any(axis=1)
    assert dead.sum() == 341
    for shared_weights in (True, False):
        classes = nas.canonical_classes(CELLS, shared_weights=shared_weights)
        np.testing.assert_array_equal(classes == classes[0], dead)


# Classes, against networks that are run. Images of 4 channels and 4 x 3 pixels are vectors, operations
# matrices; a convolution is
# ReLU, convolution and batch norm as it is after training (an offset for each channel, its scale part of the
# weights), and zero of zero.
# Without the offset conv(2 x) = 2 conv(x), which has fewer classes.

CHANNELS, HEIGHT, WIDTH = 4, 4, 3


def shift(down, right):
    """[12, 12]: each pixel gets its neighbour's value, zero beyond the border."""
    return np.kron(np.eye(HEIGHT, k=down), np.eye(WIDTH, k=right))


NEIGHBOURS = [shift(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def pooling():
    """Average pooling 3x3, over the pixels that are there."""
    total = sum(NEIGHBOURS)
    return np.kron(np.eye(CHANNELS), total / total.sum(axis=1, keepdims=True))


def random_convolution(kind, rng):
    neighbours = [np.eye(HEIGHT * WIDTH)] if kind == CONV1 else NEIGHBOURS
    return sum(
        np.kron(rng.normal(size=(CHANNELS, CHANNELS)), neighbour) for neighbour in neighbours
    ) / np.sqrt(len(neighbours))


def run(cells, labels, seed=0):
    """Outputs [n, images * 48] of networks: labels [n, 6] say which weights of its kind each convolution
    has.
    """
    rng = np.random.default_rng(seed)
    weights = {(kind, label): random_convolution(kind, rng) for kind in (CONV1, CONV3) for label in range(6)}
    offsets = {key: np.repeat(rng.normal(size=CHANNELS), HEIGHT * WIDTH) for key in weights}
    images = rng.normal(size=(4, CHANNELS * HEIGHT * WIDTH))
    nodes = np.zeros((4, len(cells), *images.shape))
    nodes[0] = images
    for edge, (source, target) in enumerate(EDGES):
        values, operation = nodes[source], cells[:, edge]
        something = values.any(axis=(1, 2))
        nodes[target] += np.where((operation == SKIP)[:, None, None], values, 0)
        nodes[target] += np.where((operation == POOL)[:, None, None], values @ pooling().T, 0)
        for (kind, label), matrix in weights.items():
            chosen = something & (operation == kind) & (labels[:, edge] == label)
            nodes[target][chosen] += np.maximum(values[chosen], 0) @ matrix.T + offsets[kind, label]
    return nodes[3].reshape(len(cells), -1)


def classes_of(outputs):
    """Rows that are equal but for rounding, as numbers."""
    return np.unique(np.round(outputs, 8) + 0.0, axis=0, return_inverse=True)[1].ravel()


@cache
def labelled():
    """Every cell with every way to give its live convolutions the weights 0, 1, ... of their kind:
    ordinals [m], labels [m, 6].
    """
    ordinals, labels = [], []
    for ordinal, row in enumerate(CELLS.tolist()):
        live = on_a_path(row)
        kinds = [[edge for edge in live if row[edge] == kind] for kind in (CONV1, CONV3)]
        for orders in itertools.product(*(itertools.permutations(range(len(edges))) for edges in kinds)):
            given_labels = dict(
                itertools.chain(
                    *(zip(edges, order, strict=True) for edges, order in zip(kinds, orders, strict=True))
                )
            )
            ordinals.append(ordinal)
            labels.append([given_labels.get(edge, 0) for edge in range(6)])
    return np.array(ordinals), np.array(labels)


def test_with_shared_weights_cells_are_of_one_class_exactly_if_their_networks_have_the_same_outputs():
    classes = nas.canonical_classes(CELLS)
    assert len(np.unique(classes)) == 4660
    assert_same_partition(classes, classes_of(run(CELLS, np.zeros_like(CELLS))))


def test_with_weights_of_their_own_cells_are_of_one_class_exactly_if_some_matching_of_weights_gives_the_same_outputs():
    classes = nas.canonical_classes(CELLS, shared_weights=False)
    assert len(np.unique(classes)) == 5044
    ordinals, labels = labelled()
    outputs = run(CELLS[ordinals], labels)
    score = np.round(outputs @ np.random.default_rng(1).normal(size=outputs.shape[1]), 8)
    order = np.lexsort((score, ordinals))  # two networks that share one function share the least
    least = order[np.searchsorted(ordinals[order], np.arange(len(CELLS)))]
    assert_same_partition(classes, classes_of(outputs[least]))


def test_separate_weights_split_364_of_the_shared_classes_and_merge_none():
    shared, own = (nas.canonical_classes(CELLS, shared_weights=option) for option in (True, False))
    parts = np.array([len(np.unique(own[shared == number])) for number in range(4660)])
    assert (parts > 1).sum() == 364
    assert parts.sum() == 5044
    assert np.isin(shared, np.flatnonzero(parts > 1)).sum() == 2634


def test_two_convolutions_of_one_input_are_not_twice_one_of_them():
    once_twice = np.array([nas.parse(f"|nor_conv_3x3~0|+|none~0|{second}~1|+|{third}~0|skip_connect~1|{last}~2|") for second, third, last in
                           [("none", "nor_conv_3x3", "none"), ("skip_connect", "none", "skip_connect")]])  # fmt: skip
    assert np.ptp(nas.canonical_classes(once_twice)) == 0
    assert np.ptp(nas.canonical_classes(once_twice, shared_weights=False)) == 1


# Classes, against symbolic algebra


def polynomial(row, labels):
    """A cell's output as a sum: (poolings, atom) -> how often, an atom the input or a convolution with its
    weights and its own input.
    """
    nodes = [{(0, "x"): 1}, {}, {}, {}]
    for edge, (source, target) in enumerate(EDGES):
        operation, value = row[edge], nodes[source]
        if operation == NONE or not value:
            continue
        if operation == SKIP:
            term = value
        elif operation == POOL:
            term = {(poolings + 1, atom): count for (poolings, atom), count in value.items()}
        else:
            term = {(0, json.dumps([operation, labels[edge], sorted(value.items())])): 1}
        for key, count in term.items():
            nodes[target][key] = nodes[target].get(key, 0) + count
    return json.dumps(sorted(nodes[3].items()))


def test_shared_classes_are_the_distinct_polynomials():
    symbolic = np.unique([polynomial(row, [0] * 6) for row in CELLS.tolist()], return_inverse=True)[1]
    assert_same_partition(nas.canonical_classes(CELLS), symbolic)


def test_separate_classes_are_the_distinct_polynomials_up_to_the_names_of_weights():
    least = [""] * len(CELLS)
    for ordinal, labels in zip(*(part.tolist() for part in labelled()), strict=True):
        text = polynomial(CELLS[ordinal].tolist(), labels)
        least[ordinal] = min(least[ordinal] or text, text)
    assert_same_partition(
        nas.canonical_classes(CELLS, shared_weights=False), np.unique(least, return_inverse=True)[1]
    )


def test_classes_are_numbered_by_first_appearance_whatever_the_rows():
    some = CELLS[np.random.default_rng(0).integers(0, len(CELLS), 500)]
    for shared_weights in (True, False):
        classes = nas.canonical_classes(some, shared_weights=shared_weights)
        _, first = np.unique(classes, return_index=True)
        assert (np.diff(first) > 0).all()
        assert classes.min() == 0
        everywhere = nas.canonical_classes(CELLS, shared_weights=shared_weights)[
            nas.CELL_SPACE.to_ordinal(some)
        ]
        assert_same_partition(classes, everywhere)
    assert nas.canonical_classes(some[:0]).shape == (0,)
    assert nas.canonical_classes(some.astype(np.uint8)).tolist() == nas.canonical_classes(some).tolist()


# NATS-Bench's own count, and representatives


def test_the_published_6466_follow_from_their_own_description():
    descriptions = np.unique([nas.nats_unique_string(row) for row in CELLS], return_inverse=True)[1]
    assert descriptions.max() + 1 == 6466
    classes = nas.canonical_classes(CELLS)  # which merge more and split none
    assert len(set(zip(descriptions.tolist(), classes.tolist(), strict=True))) == 6466


def test_the_published_description_is_that_of_the_published_package():
    models = pytest.importorskip("nats_bench.genotype_utils", reason="nats_bench is not installed")
    published = [
        models.topology_str2structure(nas.format(row)).to_unique_str(consider_zero=True) for row in CELLS[::7]
    ]
    ours = [nas.nats_unique_string(row) for row in CELLS[::7]]
    assert_same_partition(
        np.unique(published, return_inverse=True)[1], np.unique(ours, return_inverse=True)[1]
    )


def test_a_representative_is_the_first_cell_of_the_same_function_and_the_same_convolutions():
    ordinals = nas.representatives()
    assert not ordinals.flags.writeable
    np.testing.assert_array_equal(ordinals[ordinals], ordinals)
    assert (ordinals <= np.arange(len(CELLS))).all()
    classes, counts = nas.canonical_classes(CELLS, shared_weights=False), nas.convolutions(CELLS)
    assert counts.tolist() == [[row.count(CONV1), row.count(CONV3)] for row in CELLS.tolist()]
    groups: dict[tuple[int, ...], int] = {}
    expected = [
        groups.setdefault((number, *count), o)
        for o, (number, count) in enumerate(zip(classes.tolist(), counts.tolist(), strict=True))
    ]
    assert ordinals.tolist() == expected
    assert len(groups) == 5364
