"""Layers: sizes, multiply-adds and parameters, worked out by hand and counted, and what is refused."""

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer, columns

CONV = {
    "name": "conv",
    "kind": "conv",
    "channels": 4,
    "filters": 6,
    "height": 9,
    "width": 8,
    "kernel_h": 3,
    "kernel_w": 3,
}


def test_a_convolution_is_groups_matrix_multiplications():
    layer = Layer("stem", "conv", 12, 8, 224, 112, 7, 5, 2, 6, 4, groups=4, batch=3, repeats=2, vectors=1)
    e, f = 112, 56  # (230 - 7) // 2 + 1, (116 - 5) // 2 + 1
    assert (layer.output_h, layer.output_w) == (e, f)
    assert layer.shape == (3 * e * f, 2, 7 * 5 * 3)
    assert layer.macs == 2 * 3 * e * f * 8 * 7 * 5 * 3
    assert layer.parameters == 2 * (7 * 5 * 3 * 8 + 8)


def test_a_depthwise_convolution_has_one_channel_and_filter_per_group():
    layer = Layer("depthwise", "conv", 32, 32, 14, 14, 3, 3, 1, 2, 2, groups=32, vectors=2)
    assert layer.shape == (196, 1, 9)
    assert layer.macs == 196 * 9 * 32
    assert layer.parameters == 9 * 32 + 2 * 32


def test_a_matrix_multiplication_takes_sizes_of_one_group():
    layer = Layer.gemm("fc", 5, 7, 11, vectors=1)
    assert (layer.kind, layer.shape, layer.macs, layer.parameters) == (
        "gemm",
        (5, 7, 11),
        5 * 7 * 11,
        7 * 11 + 7,
    )
    heads = Layer.gemm("qk", 128, 128, 64, kind="matmul", groups=12)
    assert (heads.shape, heads.macs) == ((128, 128, 64), 12 * 128 * 128 * 64)
    assert heads.parameters == 0  # of two activations


@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 7),
    padding=st.integers(0, 4),
    c=st.integers(1, 3),
    k=st.integers(1, 3),
)
def test_outputs_and_multiply_adds_are_those_of_a_kernel_moved_over_the_input(
    size, kernel, stride, padding, c, k
):
    assume(kernel <= size + padding)
    layer = Layer("any", "conv", c, k, size, size, kernel, kernel, stride, padding, padding)
    places = [start for start in range(0, size + padding, stride) if start + kernel <= size + padding]
    assert (layer.output_h, layer.output_w) == (len(places), len(places))
    assert layer.macs == sum(kernel * kernel * c for _ in range(k) for _ in places for _ in places)


def test_columns_are_the_symbols_of_one_group():
    layers = (
        Layer("conv", "conv", 6, 9, 10, 12, 3, 2, 2, 3, 2, groups=3, batch=2, repeats=4),
        Layer.gemm("qk", 8, 5, 7, kind="matmul", groups=2, repeats=3),
    )
    found = columns(layers)
    assert all(column.dtype == np.int64 and column.shape == (2,) for column in found.values())
    first = {name: column[0].item() for name, column in found.items()}
    e, f = 6, 7
    assert first == {
        "batch": 2, "c": 2, "k": 3, "h": 10, "w": 12, "r": 3, "s": 2, "stride": 2, "top": 1, "left": 1, "e": e, "f": f,
        "m": 2 * e * f, "n": 3, "kd": 12, "is_gemm": 0, "count": 12, "repeats": 4,
    }  # fmt: skip
    second = {name: column[1].item() for name, column in found.items()}
    assert [second[name] for name in ("m", "n", "kd", "c", "k", "e", "f", "is_gemm", "count")] == [
        8,
        5,
        7,
        7,
        5,
        8,
        1,
        1,
        6,
    ]
    for i, layer in enumerate(layers):
        assert tuple(found[name][i] for name in ("e", "f", "m", "n", "c", "kd")) == reference.sizes(layer)
        assert (found["m"] * found["n"] * found["kd"] * found["count"])[i] == layer.macs


def test_the_smaller_half_of_the_padding_is_in_front():
    assert columns((Layer(**CONV, padding_h=3, padding_w=1),))["top"] == [1]
    assert columns((Layer(**CONV, padding_h=3, padding_w=1),))["left"] == [0]


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True])
@pytest.mark.parametrize(
    "name",
    [
        "channels",
        "filters",
        "height",
        "width",
        "kernel_h",
        "kernel_w",
        "stride",
        "groups",
        "batch",
        "repeats",
    ],
)
def test_a_size_that_is_not_a_positive_integer_is_refused_by_name(name, value):
    with pytest.raises(ArchGymError, match=f"expected {name} of layer 'conv' as a whole number >= 1, got"):
        Layer(**{**CONV, name: value})


@pytest.mark.parametrize("value", [-1, 0.0, "0", None, False])
@pytest.mark.parametrize("name", ["padding_h", "padding_w", "vectors"])
def test_a_padding_that_is_no_natural_number_is_refused_by_name(name, value):
    with pytest.raises(ArchGymError, match=f"expected {name} of layer 'conv' as a whole number >= 0, got"):
        Layer(**{**CONV, name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "convolution"}, "unknown kind of layer 'conv' 'convolution'; known: conv, gemm, matmul"),
        ({"groups": 4}, "4 groups must divide its 4 channels and 6 filters"),
        ({"groups": 3}, "3 groups must divide its 4 channels and 6 filters"),
        ({"kernel_h": 10}, "a kernel of 10 x 3 does not fit its padded input of 9 x 8"),
        ({"kernel_w": 11, "padding_w": 2}, "a kernel of 3 x 11 does not fit its padded input of 9 x 10"),
        ({"kind": "gemm"}, "a gemm has width, kernel and stride 1"),
        (
            {"kind": "matmul", "kernel_h": 1, "kernel_w": 1, "width": 1, "stride": 2},
            "a matmul has width, kernel and stride 1",
        ),
    ],
)
def test_a_layer_that_cannot_be_is_refused_with_the_reason(changes, message):
    with pytest.raises(ArchGymError, match=message):
        Layer(**{**CONV, **changes})


@pytest.mark.parametrize("sizes", [(0, 4, 4), (4, -1, 4), (4, 4, 0), (4.0, 4, 4)])
def test_a_matrix_multiplication_without_size_is_refused(sizes):
    with pytest.raises(ArchGymError, match="as a whole number >= 1"):
        Layer.gemm("fc", *sizes)
