"""Workloads from ONNX files: layers as ONNX itself shapes them, and what cannot be expressed is refused by
the node's name.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym import ArchGymError, MissingDependency, search, search_again
from archgym.cli import app
from archgym.simulators.accelerator.heterogeneous import HeterogeneousAccelerator
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads import load_workload
from archgym.simulators.accelerator.workloads.onnx.load import load_onnx

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT = TensorProto.FLOAT


def weights(**shapes):
    return [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]


def model(nodes, inputs, initializers=(), outputs=("y",), opset=17):
    """A model of these nodes; inputs is {name: shape}."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        list(initializers),
    )
    return helper.make_model(
        graph,
        producer_name="tests",
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def load(folder):
    """Saves a model and loads the workload; load(model, dimensions=None)."""

    def saved(built, **options):
        onnx.save(built, folder / "small.onnx")
        return load_onnx(folder / "small.onnx", **options)

    return saved


def conv(inputs=("x", "w"), **attributes):
    return helper.make_node("Conv", list(inputs), ["y"], name="/features/conv", **attributes)


# --- against ONNX's own shapes ---

small = st.integers(1, 4)


@settings(max_examples=60)
@given(data=st.data())
def test_a_convolution_gives_as_many_pixels_as_onnx_infers(load, data):
    groups, batch, stride = data.draw(small), data.draw(small), data.draw(small)
    spatial = data.draw(st.sampled_from([1, 2]))
    image = [data.draw(st.integers(5, 12)) for _ in range(spatial)]
    kernel = [data.draw(st.integers(1, 5)) for _ in range(spatial)]
    channels, filters = groups * data.draw(small), groups * data.draw(small)
    attributes = {"group": groups, "strides": [stride] * spatial}
    mode = data.draw(st.sampled_from(["pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes |= (
        {"pads": data.draw(st.lists(small, min_size=2 * spatial, max_size=2 * spatial))}
        if mode == "pads"
        else {"auto_pad": mode}
    )
    biased = data.draw(st.booleans())
    built = model(
        [conv(["x", "w", "b"][: 2 + biased], **attributes)],
        {"x": [batch, channels, *image]},
        weights(w=[filters, channels // groups, *kernel], **({"b": [filters]} if biased else {})),
    )
    (inferred,) = onnx.shape_inference.infer_shapes(built).graph.output
    expected = [dimension.dim_value for dimension in inferred.type.tensor_type.shape.dim]
    workload = load(built)
    (layer,) = workload.layers
    assert [layer.batch, layer.filters, layer.output_h, layer.output_w][: 2 + spatial] == expected
    assert workload.macs == math.prod(expected) * math.prod(kernel) * channels // groups
    assert workload.parameters == filters * channels // groups * math.prod(kernel) + biased * filters
    assert (layer.name, layer.kind, layer.groups) == ("/features/conv", "conv", groups)


@settings(max_examples=60)
@given(data=st.data())
def test_a_product_has_a_multiply_add_for_every_output_and_inner_index_as_numpy_has_it(load, data):
    batch = data.draw(st.lists(small, max_size=3))

    def broadcast():
        kept = batch[data.draw(st.integers(0, len(batch))) :]
        return [size if data.draw(st.booleans()) else 1 for size in kept]

    m, n, k = data.draw(small), data.draw(small), data.draw(small)
    left = [k] if data.draw(st.booleans()) else [*broadcast(), m, k]
    right = [k] if data.draw(st.booleans()) else [*broadcast(), k, n]
    learned = data.draw(st.sampled_from(["", "a", "b"]))
    shapes = {"a": left, "b": right}
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    built = model(
        [node],
        {name: shape for name, shape in shapes.items() if name != learned},
        weights(**{learned: shapes[learned]} if learned else {}),
    )
    workload = load(built)
    assert workload.macs == np.matmul(np.zeros(left), np.zeros(right)).size * k
    assert workload.layers[0].kind == ("gemm" if learned else "matmul")
    assert (
        workload.layers[0].parameters == workload.parameters == (math.prod(shapes[learned]) if learned else 0)
    )


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_gemm_is_transposed_as_it_says(load, transposed):
    left, right = ([5, 3], [3, 7])
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transA=transposed[0], transB=transposed[1])
    shapes = {"w": right[::-1] if transposed[1] else right, "b": [7]}
    workload = load(model([node], {"x": left[::-1] if transposed[0] else left}, weights(**shapes)))
    assert workload.layers == (Layer.gemm("y", 5, 7, 3, vectors=1),)
    assert workload.parameters == 3 * 7 + 7


@settings(max_examples=100)
@given(data=st.data())
def test_any_convolution_has_the_multiply_adds_that_onnx_infers_also_where_it_takes_several_layers(
    load, data
):
    spatial = data.draw(st.sampled_from([1, 2, 2]))

    def drawn(numbers):
        return [data.draw(numbers) for _ in range(spatial)]

    strides, dilations, kernel = drawn(small), drawn(small), drawn(st.integers(1, 5))
    image = [d * (k - 1) + data.draw(st.integers(1, 12)) for d, k in zip(dilations, kernel, strict=True)]
    groups = data.draw(st.integers(1, 2))
    channels, filters = groups * data.draw(small), groups * data.draw(small)
    attributes = {
        "group": groups,
        "strides": strides,
        "dilations": dilations,
        "pads": drawn(st.integers(0, 3)) * 2,
    }
    built = model(
        [conv(["x", "w", "b"], **attributes)],
        {"x": [2, channels, *image]},
        weights(w=[filters, channels // groups, *kernel], b=[filters]),
    )
    (inferred,) = onnx.shape_inference.infer_shapes(built).graph.output
    pixels = math.prod(dimension.dim_value for dimension in inferred.type.tensor_type.shape.dim)
    workload = load(built)
    assert workload.macs == pixels * channels // groups * math.prod(kernel)
    assert workload.parameters == filters * channels // groups * math.prod(kernel) + filters
    assert sum(layer.vectors for layer in workload.layers) == 1
    plain = len(set(strides)) == 1 and all(d == 1 or k == 1 for d, k in zip(dilations, kernel, strict=True))
    assert not plain or len(workload.layers) == 1


def taken_apart(layers, image, kernels, step):
    """Sums of products along one axis, as the layers of a convolution by other rows have them; kernels and
    rows are [phase::step].
    """
    results = [
        np.correlate(image[phase::step], kernel)[: layer.output_h]
        for phase, (layer, kernel) in enumerate(zip(layers, kernels, strict=True))
    ]
    return sum(results)


def test_a_convolution_of_unequal_strides_is_the_sum_of_its_layers(load):
    """Five taps by a stride of 2, beside a stride of 1: three even taps on even rows and two odd taps on
    odd rows.
    """
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=13), rng.normal(size=5)
    layers = load(model([conv(strides=[2, 1])], {"x": [1, 1, 13, 4]}, weights(w=[1, 1, 5, 1]))).layers
    assert [(layer.name, layer.kernel_h, layer.stride, layer.output_h) for layer in layers] == [
        ("/features/conv[0]", 3, 1, 5),
        ("/features/conv[1]", 2, 1, 5),
    ]
    expected = np.correlate(image, kernel)[::2]
    np.testing.assert_allclose(taken_apart(layers, image, [kernel[0::2], kernel[1::2]], 2), expected)


@pytest.mark.parametrize(
    ("shape", "kernel", "attributes", "sizes"),
    [
        ([1, 1, 1, 64], [4, 1, 1, 4], {"strides": [1, 4]}, (1, 16, 4)),
        ([1, 1, 64, 1], [4, 1, 4, 1], {"strides": [4, 1]}, (16, 1, 4)),
        ([1, 3, 8, 8], [4, 3, 8, 3], {"strides": [8, 1]}, (1, 6, 1)),
        ([1, 3, 8, 8], [4, 3, 1, 1], {"dilations": [2, 2]}, (8, 8, 1)),
        ([1, 3, 8, 8], [4, 3, 1, 1], {"strides": [2, 1]}, (4, 8, 1)),
        ([1, 3, 9, 9], [4, 3, 3, 3], {"dilations": [4, 4], "strides": [2, 2]}, (1, 1, 1)),
        ([1, 3, 12, 12], [4, 3, 3, 3], {"dilations": [2, 2]}, (4, 4, 1)),
        ([1, 3, 1, 8, 8], [4, 3, 1, 3, 3], {}, (6, 6, 1)),
        ([1, 3, 5, 8, 8], [4, 3, 5, 3, 3], {}, (6, 6, 1)),
        ([1, 3, 5, 8, 8], [4, 3, 1, 3, 3], {"strides": [2, 1, 1]}, (6, 6, 1)),
    ],
)
def test_a_convolution_that_one_layer_expresses_is_one(load, shape, kernel, attributes, sizes):
    built = model([conv(**attributes)], {"x": shape}, weights(w=kernel))
    (inferred,) = onnx.shape_inference.infer_shapes(built).graph.output
    (layer,) = load(built).layers
    assert (layer.output_h, layer.output_w, layer.stride) == sizes
    assert layer.macs == math.prod(d.dim_value for d in inferred.type.tensor_type.shape.dim) * math.prod(
        kernel[1:]
    )


@pytest.mark.parametrize(
    ("equation", "left", "right", "macs", "groups"),
    [
        ("ij,jk->ik", [2, 3], [3, 4], 24, 1),
        ("ij,jk", [2, 3], [3, 4], 24, 1),
        ("bhid,bhjd->bhij", [2, 3, 4, 5], [2, 3, 6, 5], 2 * 3 * 4 * 6 * 5, 6),
        ("...ij,...jk->...ik", [7, 2, 3], [7, 3, 4], 7 * 24, 7),
        ("...ij,jk->...ik", [7, 2, 3], [3, 4], 7 * 24, 1),
        ("i,j->ij", [5], [6], 30, 1),
        ("bij,bij->b", [2, 3, 4], [2, 3, 4], 24, 2),
    ],
)
def test_an_einsum_of_two_is_a_batch_of_products(load, equation, left, right, macs, groups):
    workload = load(
        model([helper.make_node("Einsum", ["x", "z"], ["y"], equation=equation)], {"x": left, "z": right})
    )
    assert (workload.macs, workload.layers[0].groups, workload.layers[0].kind) == (macs, groups, "matmul")


@pytest.mark.parametrize("equation", ["ii,ij->j", "ij,jk->k", "ij,kj->ikl", "i,j"])
def test_another_einsum_is_refused(load, equation):
    with pytest.raises(ArchGymError):
        load(
            model(
                [helper.make_node("Einsum", ["x", "z"], ["y"], equation=equation)], {"x": [3, 3], "z": [3, 3]}
            )
        )


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_recurrent_operator_multiplies_inputs_at_once_and_states_one_after_the_other(
    load, operator, gates, directions
):
    steps, batch, inputs, hidden = 5, 2, 3, 7
    node = helper.make_node(
        operator,
        ["x", "w", "r", "b"],
        ["y"],
        name="rnn",
        hidden_size=hidden,
        direction=("forward", "bidirectional")[directions - 1],
    )
    built = model(
        [node],
        {"x": [steps, batch, inputs]},
        weights(
            w=[directions, gates * hidden, inputs],
            r=[directions, gates * hidden, hidden],
            b=[directions, 2 * gates * hidden],
        ),
    )
    workload = load(built)
    assert workload.macs == steps * batch * directions * gates * hidden * (inputs + hidden)
    assert workload.parameters == directions * gates * hidden * (inputs + hidden + 2)
    assert [(layer.name, layer.repeats) for layer in workload.layers] == [
        ("rnn.inputs", 1),
        ("rnn.state", steps),
    ]


def test_a_transposed_convolution_multiplies_every_input_pixel_by_every_weight(load):
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], group=2)
    workload = load(model([node], {"x": [1, 4, 5, 6]}, weights(w=[4, 3, 2, 2], b=[6])))
    assert (workload.macs, workload.parameters) == (5 * 6 * 4 * 3 * 4, 4 * 3 * 4 + 6)


@pytest.mark.parametrize("rank", [3, 4])
def test_attention_is_two_products_of_heads_that_share_keys(load, rank):
    q, k = ([2, 5, 6 * 8], [2, 7, 3 * 8]) if rank == 3 else ([2, 6, 5, 8], [2, 3, 7, 8])
    heads = {"q_num_heads": 6, "kv_num_heads": 3} if rank == 3 else {}
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], **heads)
    workload = load(model([node], {"q": q, "k": k, "v": k}, opset=23))
    assert (workload.macs, workload.parameters) == (2 * 6 * 5 * 7 * 8 * 2, 0)
    assert {layer.groups for layer in workload.layers} == {2 * 3}


# --- networks ---


def residual_network(torch):
    """ResNet-18 (He et al., 2016) in PyTorch, written for this test."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(filters)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(filters)
            self.downsample = nn.Identity()
            if stride > 1:
                self.downsample = nn.Sequential(
                    nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.downsample(x))

    stages = [
        Block(c, k, s)
        for first in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        for c, k, s in (first, (first[1], first[1], 1))
    ]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def block(torch):
    """One encoder block of ViT-B/16 without its normalisations, written for this test."""

    class Block(torch.nn.Module):
        def __init__(self, width=768, heads=12):
            super().__init__()
            self.heads = heads
            self.in_proj, self.out_proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
            self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

        def forward(self, x):
            q, k, v = self.in_proj(x).reshape(1, 197, 3, self.heads, 64).permute(2, 0, 3, 1, 4).unbind(0)
            x = self.out_proj((torch.softmax(q @ k.transpose(-1, -2) / 8, -1) @ v).transpose(1, 2).flatten(2))
            return self.down(torch.relu(self.up(x)))

    return Block()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True], ids=["folded", "with batch normalisations"])
def test_resnet18_as_pytorch_exports_it_is_the_shipped_one(tmp_path, training):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    path, network = tmp_path / "resnet18.onnx", residual_network(torch)
    for parameter in network.parameters():  # equal vectors would be stored once
        torch.nn.init.normal_(parameter)
    torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), path, dynamo=False, training=mode)
    found, shipped = load_workload(path), load_workload("resnet18")

    def shapes(workload):
        return sorted(
            (
                layer.kind,
                layer.channels,
                layer.height,
                layer.width,
                layer.stride,
                layer.padding_h,
                *layer.shape,
            )
            for layer in workload.layers
            for _ in range(layer.repeats)
        )

    assert shapes(found) == shapes(shipped)
    assert found.macs == shipped.macs
    # the normalisations of 4,800 filters become biases: one vector instead of two
    folded = 0 if training else 4800
    assert found.parameters == shipped.parameters - folded


@pytest.mark.filterwarnings("ignore")
def test_a_transformers_block_as_pytorch_exports_it_is_the_shipped_one(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.onnx.export(block(torch), (torch.zeros(1, 197, 768),), tmp_path / "block.onnx", dynamo=False)
    found = load_workload(tmp_path / "block.onnx")
    shipped = [layer for layer in load_workload("vit_b_16").layers if layer.repeats == 12]
    assert [(layer.kind, layer.shape, layer.groups) for layer in found.layers] == [
        (x.kind, x.shape, x.groups) for x in shipped
    ]
    assert found.macs == sum(layer.macs for layer in shipped) // 12
    assert found.parameters == sum(layer.parameters for layer in shipped) // 12


def test_weights_may_be_stripped_or_lie_in_files_that_are_absent(load, folder):
    built = model(
        [conv(["x", "w", "b"], pads=[1, 1, 1, 1])], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3], b=[16])
    )
    whole = load(built)
    onnx.save(
        built, folder / "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (folder / "weights.bin").unlink()
    assert load_onnx(folder / "outside.onnx").layers == whole.layers
    for tensor in built.graph.initializer:
        tensor.ClearField("raw_data")
    stripped = load(built)
    assert (stripped.layers, stripped.parameters) == (
        whole.layers,
        whole.parameters,
    ) and whole.parameters == 16 * 27 + 16


def test_weights_may_be_computed_from_weights_and_cost_nothing(load):
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"]),
        helper.make_node("MatMul", ["wt", "v"], ["u"], name="constant"),
        helper.make_node("MatMul", ["x", "u"], ["y"], name="fc"),
    ]
    workload = load(model(nodes, {"x": [5, 3]}, weights(w=[4, 3], v=[4, 7])))
    assert workload.layers == (Layer.gemm("fc", 5, 7, 3),)


def test_a_tied_embedding_counts_once(load):
    nodes = [
        helper.make_node("Gather", ["e", "tokens"], ["h"]),
        helper.make_node("Transpose", ["e"], ["head"]),
        helper.make_node("MatMul", ["h", "head"], ["y"], name="lm_head"),
    ]
    built = model(nodes, {"tokens": [6]}, weights(e=[50, 8]))
    built.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    workload = load(built)
    assert (workload.macs, workload.parameters) == (6 * 50 * 8, 50 * 8)


def test_a_model_is_described_by_its_file_and_its_input(load):
    workload = load(model([conv()], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3])))
    assert (workload.name, workload.title, workload.source) == ("small", "small", "small.onnx by tests")
    assert workload.input == "x: 1 x 3 x 8 x 8" and workload.accuracy is None


def test_archgym_workloads_shows_it(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    onnx.save(model([conv()], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3])), folder / "shown.onnx")
    result = CliRunner().invoke(app, ["workloads", str(folder / "shown.onnx")])
    assert result.exit_code == 0, result.output
    assert re.search(r"/features/conv +conv +3x8x8 +16x3x3x3 +16x6x6 +1 +15\.6 k +100\.0 %", result.stdout)


# --- parameters ---


def integers(kind, **shapes):
    return [numpy_helper.from_array(np.zeros(shape, kind), name) for name, shape in shapes.items()]


def node(kind, inputs, outputs=("y",), **attributes):
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


SCALE, ZERO = weights(s=[]), integers(np.int8, z=[])
PADS = {"pads": [1, 1, 1, 1]}
QUANTISED = {
    "DequantizeLinear": (
        [
            node("DequantizeLinear", ["q", "sv", "zv"], ["w"], axis=0),
            node("DequantizeLinear", ["i", "sv"], ["b"], axis=0),
            conv(["x", "w", "b"], **PADS),
        ],
        FLOAT,
        4 * 27 + 4,
    ),
    "QLinearConv": (
        [node("QLinearConv", ["x", "s", "z", "q", "sv", "zv", "s", "z", "i"], **PADS)],
        TensorProto.INT8,
        4 * 27 + 4,
    ),
    "ConvInteger": ([node("ConvInteger", ["x", "q", "z", "zv"], **PADS)], TensorProto.INT8, 4 * 27),
}


@pytest.mark.parametrize("case", QUANTISED)
def test_quantised_convolutions_count_their_weights_but_neither_scales_nor_zero_points(load, case):
    nodes, kind, parameters = QUANTISED[case]
    read = {name for each in nodes for name in each.input}
    tensors = [
        *integers(np.int8, q=[4, 3, 3, 3], zv=[4]),
        *integers(np.int32, i=[4]),
        *weights(sv=[4]),
        *SCALE,
        *ZERO,
    ]
    built = model(nodes, {"x": [1, 3, 8, 8]}, [tensor for tensor in tensors if tensor.name in read])
    built.graph.input[0].type.tensor_type.elem_type = kind
    built.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32 if case == "ConvInteger" else kind
    workload = load(built)
    assert (workload.macs, workload.parameters) == (64 * 4 * 27, parameters)


def packed(kind, bits):
    """Weights [8, 4] of a type that NumPy does not have."""
    return onnx.TensorProto(name="q", data_type=kind, dims=[8, 4], raw_data=bytes(8 * 4 * bits // 8))


@pytest.mark.parametrize(
    "made",
    [
        ([node("MatMulInteger", ["x", "q", "z"])], [*integers(np.int8, q=[8, 4]), *ZERO]),
        (
            [node("QLinearMatMul", ["x", "s", "z", "q", "s", "z", "s", "z"])],
            [*integers(np.int8, q=[8, 4]), *SCALE, *ZERO],
        ),
        (
            [node("DequantizeLinear", ["q", "s"], ["w"]), node("MatMul", ["x", "w"])],
            [packed(TensorProto.INT4, 4), *SCALE],
        ),
        (
            [node("DequantizeLinear", ["q", "s"], ["w"]), node("MatMul", ["x", "w"])],
            [packed(TensorProto.FLOAT8E4M3FN, 8), *SCALE],
        ),
        (
            [
                node("DequantizeLinear", ["q", "blocks"], ["w"], axis=0, block_size=2),
                node("MatMul", ["x", "w"]),
            ],
            [*integers(np.uint8, q=[8, 4]), *weights(blocks=[4, 4])],
        ),
        ([node("Cast", ["q"], ["w"], to=FLOAT), node("MatMul", ["x", "w"])], integers(np.int32, q=[8, 4])),
        (
            [node("ConstantOfShape", ["shape"], ["w"]), node("MatMul", ["x", "w"])],
            [numpy_helper.from_array(np.array([8, 4]), "shape")],
        ),
        (
            [node("Expand", ["one", "shape"], ["w"]), node("MatMul", ["x", "w"])],
            [*weights(one=[1]), numpy_helper.from_array(np.array([8, 4]), "shape")],
        ),
        (
            [
                node("Constant", [], ["c"], value_floats=[0.0] * 32),
                node("Reshape", ["c", "shape"], ["w"]),
                node("MatMul", ["x", "w"]),
            ],
            [numpy_helper.from_array(np.array([8, 4]), "shape")],
        ),
        (
            [node("Transpose", ["w"], ["u"]), node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "u"])],
            weights(w=[8, 4]),
        ),
        (
            [
                node(
                    "MatMulNBits",
                    ["x", "b", "scales", "zeros"],
                    domain="com.microsoft",
                    K=8,
                    N=4,
                    bits=4,
                    block_size=16,
                )
            ],
            [*integers(np.uint8, b=[4, 1, 8], zeros=[4]), *weights(scales=[4])],
        ),
        ([node("FusedMatMul", ["x", "w"], domain="com.microsoft", transB=1)], weights(w=[4, 8])),
    ],
    ids=lambda made: "-".join(each.op_type for each in made[0]),
)
def test_weights_of_8_by_4_are_32_parameters_however_they_are_stored(load, made):
    nodes, tensors = made
    built = model(nodes, {"x": [5, 8]}, tensors, opset=21)
    built.graph.output[0].type.Clear()
    if nodes[0].op_type in ("MatMulInteger", "QLinearMatMul"):
        built.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    workload = load(built)
    assert workload.parameters == 32 + (tensors[0].name == "one")
    assert workload.layers[0].macs == 5 * 8 * 4


def test_a_mask_that_is_computed_is_no_parameter(load):
    nodes = [
        node("ConstantOfShape", ["shape"], ["mask"]),
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["h", "mask"]),
    ]
    built = model(
        nodes, {"x": [5, 8]}, [*weights(w=[8, 4]), numpy_helper.from_array(np.array([5, 4]), "shape")]
    )
    assert load(built).parameters == 32


def test_parameters_of_onnx_own_resnet_whose_weights_are_made_by_their_shapes():
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx"
    if not path.exists():
        pytest.skip("this package onnx has no test data")
    workload = load_onnx(path)
    assert (workload.macs, workload.parameters) == (4_089_184_256, 25_557_033)


# --- operators of com.microsoft ---


def test_operators_of_com_microsoft_that_multiply_nothing_are_passed_over(load):
    microsoft = {"domain": "com.microsoft"}
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("BiasGelu", ["a", "b"], ["g"], **microsoft),
        node("SkipLayerNormalization", ["g", "a", "b", "b"], ["n", "", "", "sum"], **microsoft),
        node("QuickGelu", ["sum"], ["h"], **microsoft),
        node("MatMul", ["h", "w"], ["y"]),
    ]
    workload = load(model(nodes, {"x": ["n", 8]}, weights(w=[8, 8], b=[8])), dimensions={"n": 5})
    assert (workload.macs, workload.parameters) == (2 * 5 * 64, 64 + 8)


# --- files beside the model, and what is no model ---


def outside(folder, location, size=2, offset=0):
    """A model whose only shape lies elsewhere: 2 x 4 numbers as 1 x 8, by weights [8, 4]."""
    built = model(
        [node("Reshape", ["x", "shape"], ["r"]), node("MatMul", ["r", "w"])], {"x": [2, 4]}, weights(w=[8, 4])
    )
    tensor = built.graph.initializer.add(
        name="shape", data_type=TensorProto.INT64, dims=[size], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", str(offset))):
        tensor.external_data.add(key=key, value=value)
    onnx.save(built, folder / "model.onnx")
    return folder / "model.onnx"


def test_shapes_that_lie_beside_the_model_are_read(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shape.bin").write_bytes(b"header" + np.array([1, 8]).tobytes())
    assert load_onnx(outside(tmp_path, "data/shape.bin", offset=6)).macs == 8 * 4


@pytest.mark.parametrize(
    ("location", "content", "message"),
    [
        ("shape.bin", None, "its external data 'shape.bin' is missing: put it beside the model"),
        ("shape.bin", b"short", "is too short"),
        (
            "shape.bin",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 16\n",
            "is a git-lfs pointer, not the data: run git lfs pull",
        ),
        ("../shape.bin", np.array([1, 8]).tobytes(), "is outside its folder and is not read"),
        ("link.bin", np.array([1, 8]).tobytes(), "is outside its folder and is not read"),
        ("", None, "is missing"),
        ("\0", None, "cannot be read"),
    ],
)
def test_shapes_that_cannot_be_read_say_why(tmp_path, location, content, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = outside(folder, location)
    if location == "link.bin":
        (tmp_path / "shape.bin").write_bytes(content)
        os.symlink(tmp_path / "shape.bin", folder / "link.bin")
    elif content is not None:
        (folder / location).write_bytes(content)
    with pytest.raises(ArchGymError, match=re.escape(message)):
        load_onnx(path)


@pytest.mark.parametrize("suffix", [".onnx", ".csv"])
def test_a_git_lfs_pointer_is_said_to_be_one(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ArchGymError, match=r"is a git-lfs pointer.*run git lfs pull"):
        load_workload(path)


# --- hostile models ---


def int64(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def doubling(depth):
    """A function that calls another twice, which calls another twice, ..."""
    local = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = [
        helper.make_function(
            "local",
            f"f{i}",
            ["a"],
            ["b"],
            [
                node(f"f{i + 1}", ["a"], ["c"], domain="local"),
                node(f"f{i + 1}", ["c"], ["b"], domain="local"),
            ],
            local,
        )
        for i in range(depth)
    ]
    functions.append(
        helper.make_function("local", f"f{depth}", ["a"], ["b"], [node("Relu", ["a"], ["b"])], local)
    )
    built = model(
        [node("f0", ["x"], ["h"], domain="local"), node("MatMul", ["h", "w"])],
        {"x": [1, 8]},
        weights(w=[8, 4]),
    )
    built.opset_import.append(local[1])
    built.functions.extend(functions)
    return built


HOSTILE = {
    "rows": lambda: model(
        [node("Expand", ["x", "s"], ["e"]), node("MatMul", ["e", "w"])],
        {"x": [1, 8]},
        [int64("s", 2**40, 8), *weights(w=[8, 4])],
    ),
    "numbers": lambda: model(
        [
            node("ConstantOfShape", ["s"], ["e"]),
            node("Cast", ["e"], ["i"], to=7),
            node("Reshape", ["x", "i"], ["r"]),
            node("MatMul", ["r", "w"]),
        ],
        {"x": [1, 8]},
        [int64("s", 2**40), *weights(w=[8, 4])],
    ),
    "dimensions": lambda: model(
        [node("MatMul", ["x", "w"])], {"x": [1] * 58 + [8, 8]}, weights(w=[1] * 58 + [8, 4])
    ),
    "nodes": lambda: model([node("Relu", ["x"], ["y"])] * 100_000, {"x": [1]}),
    "layers": lambda: model([node("MatMul", ["x", "w"])] * 5_000, {"x": [1, 8]}, weights(w=[8, 4])),
    "functions": lambda: doubling(25),
    "strides": lambda: model(
        [conv(strides=[2**20, 1])],
        {"x": [1, 3, 2**22, 9]},
        [onnx.TensorProto(name="w", data_type=FLOAT, dims=[4, 3, 2**20, 3])],
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_model_that_would_take_all_memory_or_time_is_refused_with_the_count(load, case):
    with pytest.raises(
        ArchGymError,
        match=(
            r"1,099,511,627,776|do not fit into memory|60 dimensions|100,000 nodes|5,000 layers|33,554,4|1,048,576 layers"
        ),
    ):
        load(HOSTILE[case]())


def test_functions_are_read_where_they_are_called(load):
    assert load(doubling(3)).macs == 32


# --- dynamic dimensions ---


def pasted(error):
    """The dimensions of the command that an error offers."""
    words = shlex.split(str(error).rpartition("such as: ")[2])
    assert words[:2] == ["archgym", "workloads"] and words[3] == "--set"
    return json.loads(words[4].removeprefix("dimensions="))


def test_symbolic_dimensions_are_named_and_can_be_given(load):
    built = model([conv()], {"x": ["batch", 3, "size", 8]}, weights(w=[16, 3, 3, 3]))
    with pytest.raises(
        ArchGymError, match=r"input 'x' has dynamic dimensions \(batch, size\): give their sizes"
    ) as error:
        load(built)
    assert pasted(error.value) == {"batch": 1, "size": 224}
    (layer,) = load(built, dimensions={"batch": 2, "size": 8}).layers
    assert (layer.batch, layer.output_h, layer.output_w) == (2, 6, 6)
    with pytest.raises(ArchGymError, match="has no dimension 'bath'; it has batch, size") as error:
        load(built, dimensions={"bath": 2})
    assert pasted(error.value) == {"batch": 1, "size": 224}


@pytest.mark.parametrize("unknown", [None, 0, -1, "?"])
def test_a_dimension_without_a_name_is_given_by_input_and_axis_or_with_all_of_its_input(load, unknown):
    nodes = [conv(), helper.make_node("Relu", ["y"], ["z"])]
    built = model(nodes, {"x": [unknown, 3, unknown, 8]}, weights(w=[16, 3, 3, 3]), outputs=("z",))
    built.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", FLOAT, [unknown, 16, unknown, 6]))
    with pytest.raises(ArchGymError, match=r"dynamic dimensions \(x:0, x:2\)") as error:
        load(built)
    assert load(built, dimensions=pasted(error.value)).macs == 222 * 6 * 16 * 27
    for dimensions in ({"x:0": 2, "x:2": 8}, {"x": [2, 3, 8, 8]}, {"x": (np.int64(2), 3, 8, 8)}):
        assert load(built, dimensions=dimensions).macs == 2 * 6 * 6 * 16 * 27


def test_an_input_and_its_axis_may_have_colons_and_mean_a_named_dimension(load):
    built = model(
        [helper.make_node("MatMul", ["in:0", "w"], ["y"])], {"in:0": ["batch", 8]}, weights(w=[8, 4])
    )
    assert (
        load(built, dimensions={"in:0:0": 3}).macs == load(built, dimensions={"batch": 3}).macs == 3 * 8 * 4
    )


def test_an_input_without_a_shape_is_given_one(load):
    built = model([conv()], {"x": None}, weights(w=[16, 3, 3, 3]))
    with pytest.raises(ArchGymError, match="input 'x' has no shape") as error:
        load(built)
    assert load(built, dimensions=pasted(error.value)).macs == 222 * 222 * 16 * 27
    with pytest.raises(
        ArchGymError,
        match=(
            r"the shape of the input 'x' must be a list with a size per dimension, such as \[1, 3, 224, 224\]"
        ),
    ):
        load(built, dimensions={"x:0": 1})


def test_a_fixed_size_may_be_repeated(load):
    built = model([conv()], {"x": ["batch", 3, 8, 8]}, weights(w=[16, 3, 3, 3]))
    assert (
        load(built, dimensions={"batch": 2, "x:1": 3}).macs
        == load(built, dimensions={"x": [2, 3, 8, 8]}).macs
    )


def test_a_model_of_an_early_format_need_not_have_its_weights_as_inputs(load):
    built = model([conv()], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3]))
    built.ir_version = 3
    assert load(built).macs == 36 * 16 * 27


def test_what_a_file_says_of_other_tensors_gives_way_to_the_sizes_that_are_given(load):
    built = model(
        [conv(), helper.make_node("MatMul", ["y", "v"], ["z"])],
        {"x": ["n", 3, 8, 8]},
        weights(w=[16, 3, 3, 3], v=[6, 2]),
    )
    built.graph.value_info.append(helper.make_tensor_value_info("y", FLOAT, [1, 16, 6, 6]))
    assert load(built, dimensions={"n": 5}).macs == 5 * (16 * 36 * 27 + 16 * 6 * 6 * 2)


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"size": 1}, "a kernel that spans 3 pixels does not fit a padded input of 1"),
        ({"size": 0}, "the size of 'size' must be a whole number from 1, not 0"),
        ({"size": -1}, "a whole number from 1, not -1"),
        ({"size": 2.5}, "a whole number from 1, not 2.5"),
        ({"size": True}, "a whole number from 1, not True"),
        ({"size": "8"}, "a whole number from 1, not '8'"),
        ({"x": [1, 3, 8]}, "has 4 dimensions, not the 3 of [1, 3, 8]"),
        ({"x": [1, 4, 8, 8]}, "dimension 1 of the input 'x' is fixed at 3, and cannot be 4"),
        ({"x": [1, 3, 8, 8], "size": 9}, "'size' has two sizes, 8 and 9"),
        ({"x": 8}, "the shape of the input 'x' must be a list"),
        ({"x:1": 4}, "dimension 1 of the input 'x' is fixed at 3"),
        ({"x:7": 4}, "has no dimension 'x:7'; it has size"),
        ({"z": [4]}, "has no input 'z'; it has x"),
        ("size", "dimensions must be a mapping of names to sizes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_a_command_that_works(load, dimensions, message):
    built = model([conv()], {"x": [1, 3, "size", 8]}, weights(w=[16, 3, 3, 3]))
    with pytest.raises(ArchGymError, match=re.escape(message)) as error:
        load(built, dimensions=dimensions)
    assert load(built, dimensions=pasted(error.value)).macs > 0


def test_a_model_that_no_sizes_make_readable_says_why(load):
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=FLOAT)]
    nodes.append(helper.make_node("MatMul", ["w", "f"], ["y"], name="late"))
    with pytest.raises(
        ArchGymError,
        match=r'dynamic dimensions \(n\).*with dimensions={"n": 1} it is still refused: .*node \'late\'',
    ):
        load(model(nodes, {"x": ["n", 4]}, weights(w=[3, 2])))


@pytest.fixture
def dynamic(folder):
    onnx.save(
        model([conv()], {"x": ["batch", 3, 8, 8]}, weights(w=[16, 3, 3, 3])), folder / "dynamic model.onnx"
    )
    return str(folder / "dynamic model.onnx")


def test_the_command_of_an_error_can_be_pasted(dynamic, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    refused = CliRunner().invoke(app, ["workloads", dynamic])
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    words = shlex.split(refused.stderr.rpartition("such as: ")[2])
    shown = CliRunner().invoke(app, words[1:])
    assert shown.exit_code == 0 and re.search(r"\nMACs +15,552 ", shown.stdout)
    assert (
        "did you mean 'dimensions'"
        in CliRunner().invoke(app, ["workloads", dynamic, "--set", "dimension={}"]).stderr
    )
    assert (
        CliRunner().invoke(app, ["workloads", "resnet18", "--set", 'dimensions={"batch": 2}']).exit_code == 2
    )
    assert CliRunner().invoke(app, ["workloads", "--set", 'dimensions={"batch": 2}']).exit_code == 2


def test_sizes_are_an_argument_of_environments_and_part_of_a_specification(dynamic):
    arguments = {"workload": dynamic, "dimensions": {"batch": 4}}
    result = search("archgym/Accelerator-v0", "random", budget=30, env_kwargs=arguments)
    assert result.specification["env"]["kwargs"] == arguments
    again = search_again(json.loads(json.dumps(result.specification)))
    np.testing.assert_array_equal(again.history["latency_s"], result.history["latency_s"])
    other = search(
        "archgym/Accelerator-v0", "random", budget=30, env_kwargs=arguments | {"dimensions": {"batch": 1}}
    )
    assert not np.array_equal(other.history["latency_s"], result.history["latency_s"], equal_nan=True)
    command = ["search", "archgym/Accelerator-v0", "random", "--budget", "5", "--set", f"workload={dynamic}"]
    assert CliRunner().invoke(app, [*command, "--set", 'dimensions={"batch": 4}']).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code == 2


def test_networks_of_a_chip_may_be_paths_and_nothing_but_networks(dynamic):
    path = Path(dynamic)
    chip = HeterogeneousAccelerator([path, "resnet18"], dimensions={path: {"batch": 4}})
    assert chip.workloads[0][0].macs == 4 * 15_552
    for wrong in (3, None, {"a": 1}, [["resnet18"]]):
        with pytest.raises(ArchGymError, match=r"unknown workload"):
            HeterogeneousAccelerator([wrong, "resnet18"])


def test_sizes_are_for_all_networks_of_a_chip_or_for_one(dynamic):
    def macs(dimensions, networks=(dynamic, "resnet18")):
        return [
            network.macs for (network,) in HeterogeneousAccelerator(networks, dimensions=dimensions).workloads
        ]

    assert macs({"batch": 4}) == macs({dynamic: {"batch": 4}}) == macs({"batch": 2, dynamic: {"batch": 4}})
    assert macs({"batch": 4})[0] == 4 * 15_552
    for wrong in ({"other.onnx": {"batch": 4}}, {"bath": 4}, 4):
        with pytest.raises(ArchGymError):
            macs(wrong)
    with pytest.raises(ArchGymError, match=r"are for .onnx files"):
        macs({"batch": 4}, ["resnet18"])


# --- branches and values ---


def branch(*nodes, output, initializers=()):
    return helper.make_graph(
        list(nodes), "branch", [], [helper.make_tensor_value_info(output, FLOAT, None)], list(initializers)
    )


def two_branches(condition):
    """x of 5 x 3 by weights of 4 columns, or of 7."""
    then = branch(helper.make_node("MatMul", ["x", "w"], ["t"], name="then"), output="t")
    other = branch(
        helper.make_node("MatMul", ["x", "v"], ["t"], name="else"), output="t", initializers=weights(v=[3, 7])
    )
    return helper.make_node("If", [condition], ["y"], name="choice", then_branch=then, else_branch=other)


def test_a_branch_whose_condition_follows_from_sizes_is_taken(load):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"]),
        helper.make_node("Equal", ["rows", "five"], ["condition"]),
        two_branches("condition"),
        helper.make_node("Transpose", ["y"], ["z"]),
        helper.make_node("MatMul", ["z", "x"], ["last"]),
    ]
    numbers = [numpy_helper.from_array(np.array(value), name) for name, value in (("zero", 0), ("five", 5))]
    built = model(nodes, {"x": ["n", 3]}, [*weights(w=[3, 4]), *numbers], outputs=("last",))
    assert load(built, dimensions={"n": 5}).macs == 5 * 3 * 4 + 4 * 5 * 3
    assert load(built, dimensions={"n": 6}).macs == 6 * 3 * 7 + 7 * 6 * 3


def test_branches_on_other_conditions_are_read_where_they_multiply_alike(load):
    def built(rows, columns):
        then = branch(helper.make_node("MatMul", ["x", "w"], ["t"]), output="t")
        other = branch(
            helper.make_node("MatMul", ["x", "v"], ["e"]), output="e", initializers=weights(v=[rows, columns])
        )
        node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=then, else_branch=other)
        made = model([node], {"x": [5, 3], "c": []}, weights(w=[3, 4]))
        made.graph.input[1].type.tensor_type.elem_type = TensorProto.BOOL
        return made

    assert [layer.shape for layer in load(built(3, 4)).layers] == [(5, 4, 3)]
    with pytest.raises(ArchGymError, match=r"node 'choice' is If.*export the branch"):
        load(built(3, 7))


def test_a_condition_on_an_input_that_is_a_number_is_given_its_value(load):
    nodes = [helper.make_node("Equal", ["rate", "limit"], ["condition"]), two_branches("condition")]
    built = model(
        nodes,
        {"x": [5, 3], "rate": []},
        [*weights(w=[3, 4]), numpy_helper.from_array(np.array(16000), "limit")],
    )
    built.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    assert load(built, dimensions={"rate": 16000}).macs == 5 * 3 * 4
    assert load(built, dimensions={"rate": 8000}).macs == 5 * 3 * 7
    with pytest.raises(
        ArchGymError, match=r"give the number it depends on, such as dimensions=\{\"rate\": 1\}"
    ):
        load(built)


def test_a_shape_that_is_computed_from_shapes_is_followed(load):
    """Through floating-point numbers, as exporters write interpolations."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["f"], to=FLOAT),
        helper.make_node("ReduceProd", ["f"], ["product"], keepdims=1),
        helper.make_node("Cast", ["product"], ["size"], to=TensorProto.INT64),
        helper.make_node("Concat", ["one", "size"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["y"]),
    ]
    built = model(
        nodes, {"x": ["n", 3, 4]}, [*weights(w=[24, 5]), numpy_helper.from_array(np.array([1]), "one")]
    )
    assert load(built, dimensions={"n": 2}).layers == (Layer.gemm("y", 1, 5, 24),)


def test_a_shape_that_depends_on_values_is_refused_at_the_node(load):
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=FLOAT)]
    nodes.append(helper.make_node("MatMul", ["w", "f"], ["y"], name="late"))
    with pytest.raises(
        ArchGymError, match="node 'late' \\(MatMul\\): the shape of its input 'f' does not follow"
    ):
        load(model(nodes, {"x": [4, 4]}, weights(w=[3, 2])))


# --- what is refused ---


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"group": 2}, "3 channels do not fit weights of 3 channels in 2 groups"),
        ({"pads": [-4, -4, -4, -4]}, "expected padding_h of layer '/features/conv' as a whole number >= 0"),
        ({"pads": [1, 1]}, "are not of 2 dimensions"),
        ({"auto_pad": "SAME"}, "auto_pad is 'SAME'"),
        ({"strides": [0, 0]}, "are not positive"),
        ({"dilations": [4, 4]}, "a kernel that spans 9 pixels does not fit a padded input of 8"),
    ],
)
def test_a_convolution_that_no_layer_expresses_is_refused_by_name(load, attributes, message):
    with pytest.raises(ArchGymError, match=re.escape(message)) as error:
        load(model([conv(**attributes)], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3])))
    assert "/features/conv" in str(error.value) or "not a valid ONNX model" in str(error.value)


@pytest.mark.parametrize(
    ("node", "shapes"),
    [
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up"), ([1, 3, 8, 8], [4, 16, 2, 2])),
        (helper.make_node("Einsum", ["x", "w"], ["y"], name="up", equation="ij,kl->ik"), ([2, 3], [3, 4])),
        (helper.make_node("DeformConv", ["x", "w", "x"], ["y"], name="up"), ([1, 3, 8, 8], [16, 3, 2, 2])),
        (
            helper.make_node("Attention", ["x", "w"], ["y"], name="up", domain="com.microsoft"),
            ([1, 3, 8], [8, 24]),
        ),
        (
            helper.make_node("FusedConv", ["x", "w"], ["y"], name="up", domain="com.microsoft"),
            ([1, 3, 8, 8], [3, 16, 2, 2]),
        ),
        (helper.make_node("Conv", ["x", "w"], ["y"], name="up"), ([1, 3, 8, 8, 8], [4, 3, 2, 2, 2])),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="up"), ([2, 3], [4, 5])),
        (helper.make_node("Gemm", ["x", "w"], ["y"], name="up"), ([2, 3], [4, 5])),
    ],
)
def test_a_node_that_no_layer_expresses_is_refused_by_name(load, node, shapes):
    built = model([node], {"x": shapes[0]}, weights(w=shapes[1]))
    with pytest.raises(ArchGymError, match="'up'"):
        load(built)


def test_a_model_that_multiplies_nothing_is_refused(load):
    with pytest.raises(ArchGymError, match="has no Conv, Gemm or MatMul"):
        load(model([helper.make_node("Relu", ["x"], ["y"])], {"x": [3]}))


@pytest.mark.parametrize("content", [b"", b"name,kind\nfc,gemm\n", b"\x08\x07" * 40, bytes(range(256))])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "wrong.onnx").write_bytes(content)
    with pytest.raises(ArchGymError, match=r"not an ONNX model|not a valid ONNX model"):
        load_onnx(tmp_path / "wrong.onnx")
    with pytest.raises(ArchGymError, match="cannot read the workload"):
        load_onnx(tmp_path / "absent.onnx")
    with pytest.raises(ArchGymError, match="cannot read the workload"):
        load_onnx(tmp_path)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_model_is_read_or_refused_but_never_a_traceback(folder, data):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["g"], transB=1),
        helper.make_node("MatMul", ["g", "u"], ["y"]),
    ]
    content = bytearray(
        model(
            nodes, {"x": [1, 3, 4, 4]}, weights(w=[2, 3, 3, 3], b=[2], v=[5, 8], u=[5, 2])
        ).SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "damaged.onnx").write_bytes(
        content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content
    )
    try:
        assert load_onnx(folder / "damaged.onnx").macs > 0
    except ArchGymError as error:
        assert "damaged" in str(error)


def test_without_the_package_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "any.onnx").write_bytes(b"")
    with pytest.raises(MissingDependency, match=r"archgym\[onnx\]"):
        load_workload(tmp_path / "any.onnx")


# --- inputs of public bug reports ---

FAULTS = Path(__file__).parents[3] / "shared" / "data" / "faults"
RIGHT = {
    "cls_dyn.onnx": ({"batch": 4}, 169_664),
    "convt.onnx": ({}, 61_152),
    "cos.onnx": ({}, 6_912),
    "dilated.onnx": ({}, 55_296),
    "einsum.onnx": ({}, 120),
    "encoder_dyn.onnx": ({"batch": 1, "seq": 16}, 557_056),
    "ext.onnx": ({}, 8_192),
    "gru.onnx": ({}, 5_760),
    "h1stride.onnx": ({}, 256),
    "if_trivial.onnx": ({}, 6_912),
    "lstm.onnx": ({}, 7_680),
    "ms_gelu.onnx": ({}, 6_912),
    "noshape.onnx": ({"x": [1, 3, 8, 8]}, 6_912),
    "sdpa_op23.onnx": ({}, 557_056),
    "stride21.onnx": ({}, 27_648),
    "w1stride.onnx": ({}, 256),
}


@pytest.mark.skipif(
    not FAULTS.is_dir(), reason="needs the inputs of public bug reports in ../shared/data/faults"
)
@pytest.mark.parametrize("name", RIGHT)
def test_models_of_public_bug_reports_have_their_right_totals(name):
    dimensions, macs = RIGHT[name]
    assert load_onnx(FAULTS / name, dimensions).macs == macs


@pytest.mark.skipif(
    not FAULTS.is_dir(), reason="needs the inputs of public bug reports in ../shared/data/faults"
)
def test_every_model_of_public_bug_reports_is_read_or_refused_with_what_to_do():
    for path in sorted(FAULTS.glob("*.onnx")):
        try:
            assert load_onnx(path).macs > 0
        except ArchGymError as error:
            assert re.search("such as: archgym workloads|not an ONNX model|git lfs pull", str(error)), error
