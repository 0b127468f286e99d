"""Tiling: every tile and loop order against a loop nest that is run and counted, and the traffic-capacity
curve.
"""

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.simulators.accelerator.design import PRECISIONS, Precision
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.tiling import (
    _all_tiles,
    _fetches,
    candidates,
    compulsory_bytes,
    compulsory_words,
    curve,
    pixels_read,
)

ORDERS = ["mnk", "mkn", "nmk", "nkm", "kmn", "knm"]
TINY = [
    Layer("plain", "conv", 3, 4, 6, 5, 3, 3),
    Layer("padded", "conv", 2, 3, 7, 4, 3, 3, padding_h=2, padding_w=2),
    Layer("padded on one side", "conv", 2, 2, 6, 6, 3, 3, padding_h=1, padding_w=1),
    Layer("strided", "conv", 4, 2, 9, 7, 3, 3, 2, 2, 2),
    Layer("stride of the kernel", "conv", 2, 4, 8, 6, 2, 2, 2),
    Layer("stride beyond the kernel", "conv", 3, 2, 11, 10, 2, 1, 3, 1, 0),
    Layer("pixels left over", "conv", 2, 2, 10, 8, 3, 2, 3),
    Layer("1 x 1", "conv", 5, 6, 4, 3),
    Layer("1 x 1, stride 2", "conv", 4, 3, 7, 7, stride=2),
    Layer("batch", "conv", 2, 3, 5, 4, 3, 2, 1, 2, 1, batch=4),
    Layer("groups", "conv", 6, 4, 5, 5, 3, 3, 2, 2, 2, groups=2, batch=3),
    Layer("depthwise", "conv", 5, 5, 6, 6, 3, 3, 1, 2, 2, groups=5),
    Layer("wide padding", "conv", 2, 2, 3, 3, 3, 3, 2, 8, 8),
    Layer.gemm("gemm", 6, 5, 7),
    Layer.gemm("attention", 5, 5, 4, kind="matmul", groups=3),
]
SOME = [
    *TINY,
    Layer("3 x 3", "conv", 16, 24, 14, 14, 3, 3, 1, 2, 2),
    Layer("stem", "conv", 3, 16, 21, 23, 7, 7, 2, 6, 6, batch=2),
    Layer("grouped", "conv", 24, 48, 10, 9, 3, 3, 2, 1, 1, groups=4, batch=3),
    Layer.gemm("fully connected", 4, 100, 72),
]
layers = pytest.mark.parametrize("layer", SOME, ids=lambda layer: layer.name)
tiny_layers = pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
precisions = pytest.mark.parametrize(
    "precision",
    [*PRECISIONS.values(), Precision(1, 1)],
    ids=lambda p: f"{p.operand_bytes},{p.accumulator_bytes}",
)
random_layers = st.builds(
    lambda groups, c, k, kernel, extra, stride, padding, batch: Layer(
        "random",
        "conv",
        groups * c,
        groups * k,
        kernel[0] + extra[0],
        kernel[1] + extra[1],
        *kernel,
        stride,
        *padding,
        groups,
        batch,
    ),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.integers(1, 4),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 3),
)


def rows_of(columns):
    """Columns [T] as dicts of plain numbers."""
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]


def images_of(layer, tile):
    return tile["mt"] // (tile["et"] * tile["ft"])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "trips", [(1, 1, 1), (3, 1, 1), (1, 4, 1), (1, 1, 2), (3, 4, 1), (3, 1, 2), (1, 4, 2), (3, 4, 2)]
)
def test_operands_are_fetched_as_often_as_when_the_loops_are_run(order, trips):
    trips = dict(zip("mnk", trips, strict=True))
    columns = {loop: np.array([count]) for loop, count in trips.items()}
    for own, absent in (("mk", "n"), ("nk", "m"), ("mn", "k")):
        assert _fetches(tuple(order), absent, columns) == reference.fetches(order, trips, own, absent)


@tiny_layers
def test_traffic_of_every_tile_is_the_least_that_a_loop_nest_moves_in_any_order(layer):
    b, a = 2, 3
    for tile in rows_of(_all_tiles(layer, Precision(b, a), False)):
        moved = [
            reference.traffic_of_the_loop_nest(
                layer, b, a, order, images_of(layer, tile), *(tile[name] for name in ("et", "ft", "nt", "ct"))
            )
            for order in ORDERS
        ]
        assert (tile["reads"], tile["writes"]) in moved
        assert tile["reads"] + tile["writes"] == min(map(sum, moved))


@settings(max_examples=40, deadline=None)
@given(layer=random_layers, data=st.data())
def test_traffic_of_a_tile_of_any_layer_is_the_least_that_a_loop_nest_moves(layer, data):
    b, a = data.draw(st.sampled_from([(1, 4), (2, 4), (4, 4), (1, 1)]))
    tiles = rows_of(_all_tiles(layer, Precision(b, a), True))
    tile = data.draw(st.sampled_from(tiles))
    moved = [
        reference.traffic_of_the_loop_nest(
            layer, b, a, order, images_of(layer, tile), *(tile[name] for name in ("et", "ft", "nt", "ct"))
        )
        for order in ORDERS
    ]
    assert (tile["reads"], tile["writes"]) in moved
    assert tile["reads"] + tile["writes"] == min(map(sum, moved))


@tiny_layers
@pytest.mark.parametrize("double_buffering", [False, True])
def test_a_buffer_holds_a_tile_of_each_operand_and_two_of_those_that_come_in_several(layer, double_buffering):
    b, a = 2, 4
    for tile in rows_of(_all_tiles(layer, Precision(b, a), double_buffering)):
        nm, nn, nk = tile["nm"], tile["nn"], tile["nk"]
        rows = reference.pixels(range(tile["et"]), layer.kernel_h, layer.stride)
        cols = reference.pixels(range(tile["ft"]), layer.kernel_w, layer.stride)
        inputs = b * tile["ct"] * images_of(layer, tile) * len(rows) * len(cols)
        weights = b * tile["ct"] * layer.kernel_h * layer.kernel_w * tile["nt"]
        outputs = a * tile["mt"] * tile["nt"]
        several = [(inputs, nm * nk), (weights, nn * nk), (outputs, nm * nn)]
        assert tile["need"] == sum(
            size * (2 if double_buffering and count > 1 else 1) for size, count in several
        )
        assert tile["first"] == inputs + weights


@tiny_layers
def test_tiles_cover_the_layer(layer):
    _, n, _ = layer.shape
    for tile in rows_of(_all_tiles(layer, Precision(1, 4), True)):
        images = images_of(layer, tile)
        assert tile["nm"] == -(-layer.batch // images) * -(-layer.output_h // tile["et"]) * -(
            -layer.output_w // tile["ft"]
        )
        assert tile["nn"] == -(-n // tile["nt"])
        assert tile["nk"] == -(-layer.channels // layer.groups // tile["ct"])
        assert images == 1 or (tile["et"], tile["ft"]) == (layer.output_h, layer.output_w)


@layers
@precisions
@pytest.mark.parametrize("double_buffering", [False, True])
def test_the_curve_is_that_of_every_tile_and_order_looked_at_in_plain_loops(
    layer, precision, double_buffering
):
    found = curve(layer, precision, double_buffering)
    expected = reference.curve(layer, precision.operand_bytes, precision.accumulator_bytes, double_buffering)
    for name in ("need", "mt", "et", "ft", "nt", "ct", "nm", "nn", "nk", "reads", "writes", "first"):
        np.testing.assert_array_equal(getattr(found, name), [tile[name] for tile in expected], err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    layer=random_layers,
    precision=st.sampled_from([*PRECISIONS.values(), Precision(1, 1)]),
    double_buffering=st.booleans(),
)
def test_more_buffer_never_means_more_traffic_and_the_largest_moves_each_operand_once(
    layer, precision, double_buffering
):
    found, least = curve(layer, precision, double_buffering), compulsory_bytes(layer, precision)
    traffic = found.reads + found.writes
    assert (np.diff(found.need) >= 0).all()
    assert (np.diff(traffic) <= 0).all()
    assert (traffic >= least).all()
    assert traffic[-1] == least
    assert found.need[0] == _all_tiles(layer, precision, double_buffering)["need"].min()


@layers
def test_compulsory_traffic_is_each_element_that_is_used_once(layer):
    e, f, m, n, c, kd = reference.sizes(layer)
    rows = reference.pixels(range(e), layer.kernel_h, layer.stride, layer.padding_h // 2, layer.height)
    cols = reference.pixels(range(f), layer.kernel_w, layer.stride, layer.padding_w // 2, layer.width)
    assert compulsory_bytes(layer, Precision(2, 4)) == 2 * (
        layer.batch * len(rows) * len(cols) * c + kd * n + m * n
    )


def test_compulsory_words_of_a_network_count_groups_and_repeats():
    network = [Layer("a", "conv", 6, 4, 5, 5, 3, 3, groups=2, repeats=3), Layer.gemm("b", 6, 5, 7, groups=4)]
    assert compulsory_words(network) == 3 * (6 * 25 + 9 * 6 * 4 // 2 + 4 * 9) + 4 * (6 * 7 + 7 * 5 + 6 * 5)


def test_a_matrix_multiplication_moves_what_the_textbook_forms_say():
    m, n, k, mt, nt, kt = 12, 10, 8, 4, 5, 2
    nm, nn, nk, inputs, weights, outputs = 3, 2, 4, m * k, k * n, m * n
    tiles = rows_of(_all_tiles(Layer.gemm("gemm", m, n, k), Precision(1, 1), False))
    (tile,) = [t for t in tiles if (t["mt"], t["nt"], t["ct"]) == (mt, nt, kt)]
    by_order = [
        inputs * nn + weights * nm + outputs,
        inputs * nn + weights + outputs * (2 * nk - 1),
        inputs + weights * nm + outputs * (2 * nk - 1),
    ]
    assert tile["reads"] + tile["writes"] == min(by_order)


@given(size=st.integers(1, 5000))
def test_candidates_are_powers_of_two_and_divisors(size):
    assert candidates(size).tolist() == reference.tile_sizes(size)


@given(outputs=st.integers(1, 60), kernel=st.integers(1, 9), stride=st.integers(1, 12))
def test_neighbouring_outputs_share_the_pixels_in_which_their_kernels_overlap(outputs, kernel, stride):
    assert pixels_read(outputs, kernel, stride) == len(reference.pixels(range(outputs), kernel, stride))


def test_of_tiles_that_cost_the_same_the_one_with_less_traffic_is_kept():
    layer = Layer("l", "conv", 23, 23, 4, 18, 4, 3, 1, 2, 1, batch=3, repeats=2)
    precision = PRECISIONS["int8"]
    every = _all_tiles(layer, precision, False)
    kept = curve(layer, precision, False)
    for i, need in enumerate(kept.need):
        fits = every["need"] <= need
        here = (
            fits
            & (every["need"] == need)
            & (every["cost"] == every["cost"][fits & (every["need"] == need)].min())
        )
        assert kept.reads[i] + kept.writes[i] == (every["reads"] + every["writes"])[here].min()


@given(st.integers(1, 2**40))
def test_candidates_of_any_size_are_found_soon(size):
    sizes = candidates(size)
    assert sizes[0] == 1 and sizes[-1] == size and len(sizes) < 10_000
