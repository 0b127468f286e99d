"""Workloads from ONNX files: layers as ONNX itself shapes them, and what cannot be expressed is refused by the node's name."""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym import ArchGymError, MissingDependency
from archgym.cli import app
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.onnx_import import load_onnx
from archgym.simulators.accelerator.workloads import load_workload

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
        graph, producer_name="tests", opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
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
    attributes |= {"pads": data.draw(st.lists(small, min_size=2 * spatial, max_size=2 * spatial))} if mode == "pads" else {"auto_pad": mode}
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
        [node], {name: shape for name, shape in shapes.items() if name != learned}, weights(**{learned: shapes[learned]} if learned else {})
    )
    workload = load(built)
    assert workload.macs == np.matmul(np.zeros(left), np.zeros(right)).size * k
    assert workload.layers[0].kind == ("gemm" if learned else "matmul")
    assert workload.layers[0].parameters == workload.parameters == (math.prod(shapes[learned]) if learned else 0)


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_gemm_is_transposed_as_it_says(load, transposed):
    left, right = ([5, 3], [3, 7])
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transA=transposed[0], transB=transposed[1])
    shapes = {"w": right[::-1] if transposed[1] else right, "b": [7]}
    workload = load(model([node], {"x": left[::-1] if transposed[0] else left}, weights(**shapes)))
    assert workload.layers == (Layer.gemm("y", 5, 7, 3, vectors=1),)
    assert workload.parameters == 3 * 7 + 7


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
                self.downsample = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

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
            (layer.kind, layer.channels, layer.height, layer.width, layer.stride, layer.padding_h, *layer.shape)
            for layer in workload.layers
            for _ in range(layer.repeats)
        )

    assert shapes(found) == shapes(shipped)
    assert found.macs == shipped.macs
    folded = 0 if training else 4800  # the normalisations of 4,800 filters become biases: one vector instead of two
    assert found.parameters == shipped.parameters - folded


@pytest.mark.filterwarnings("ignore")
def test_a_transformers_block_as_pytorch_exports_it_is_the_shipped_one(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.onnx.export(block(torch), (torch.zeros(1, 197, 768),), tmp_path / "block.onnx", dynamo=False)
    found = load_workload(tmp_path / "block.onnx")
    shipped = [layer for layer in load_workload("vit_b_16").layers if layer.repeats == 12]
    assert [(layer.kind, layer.shape, layer.groups) for layer in found.layers] == [(x.kind, x.shape, x.groups) for x in shipped]
    assert found.macs == sum(layer.macs for layer in shipped) // 12
    assert found.parameters == sum(layer.parameters for layer in shipped) // 12


def test_weights_may_be_stripped_or_lie_in_files_that_are_absent(load, folder):
    built = model([conv(["x", "w", "b"], pads=[1, 1, 1, 1])], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3], b=[16]))
    whole = load(built)
    onnx.save(built, folder / "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "weights.bin").unlink()
    assert load_onnx(folder / "outside.onnx").layers == whole.layers
    for tensor in built.graph.initializer:
        tensor.ClearField("raw_data")
    stripped = load(built)
    assert (stripped.layers, stripped.parameters) == (whole.layers, whole.parameters) and whole.parameters == 16 * 27 + 16


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


# --- dynamic dimensions ---


def test_symbolic_dimensions_are_named_and_can_be_given(load):
    built = model([conv()], {"x": ["batch", 3, "size", 8]}, weights(w=[16, 3, 3, 3]))
    with pytest.raises(ArchGymError, match=r"input 'x' has dynamic dimensions \(batch, size\).*dimensions=\{'batch': 1, 'size': 1\}"):
        load(built)
    (layer,) = load(built, dimensions={"batch": 2, "size": 8}).layers
    assert (layer.batch, layer.output_h, layer.output_w) == (2, 6, 6)
    with pytest.raises(ArchGymError, match="has no dimension 'bath'; it has batch, size"):
        load(built, dimensions={"bath": 2})


def test_dimensions_without_a_symbol_are_refused(load):
    with pytest.raises(ArchGymError, match=r"dynamic dimensions \(\?\): export the model with fixed sizes"):
        load(model([conv()], {"x": [None, 3, 8, 8]}, weights(w=[16, 3, 3, 3])))


def test_a_shape_that_depends_on_values_is_refused_at_the_node(load):
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=FLOAT)]
    nodes.append(helper.make_node("MatMul", ["w", "f"], ["y"], name="late"))
    with pytest.raises(ArchGymError, match="node 'late' \\(MatMul\\): the shape of its input 'f' does not follow"):
        load(model(nodes, {"x": [4, 4]}, weights(w=[3, 2])))


# --- what is refused ---


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"strides": [1, 2]}, "strides 1 x 2 are not equal"),
        ({"dilations": [2, 2]}, "dilations 2 x 2"),
        ({"group": 2}, "3 channels do not fit weights of 3 channels in 2 groups"),
        ({"pads": [-4, -4, -4, -4]}, "padding_h must be an integer from 0"),
        ({"pads": [1, 1]}, "are not of 2 dimensions"),
        ({"auto_pad": "SAME"}, "auto_pad is 'SAME'"),
        ({"strides": [0, 0]}, "are not equal and positive"),
    ],
)
def test_a_convolution_that_no_layer_expresses_is_refused_by_name(load, attributes, message):
    with pytest.raises(ArchGymError, match=re.escape(message)) as error:
        load(model([conv(**attributes)], {"x": [1, 3, 8, 8]}, weights(w=[16, 3, 3, 3])))
    assert "/features/conv" in str(error.value) or "not a valid ONNX model" in str(error.value)


@pytest.mark.parametrize(
    ("node", "shapes"),
    [
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up"), ([1, 3, 8, 8], [3, 16, 2, 2])),
        (helper.make_node("Einsum", ["x", "w"], ["y"], name="up", equation="ij,jk->ik"), ([2, 3], [3, 4])),
        (helper.make_node("FusedConv", ["x", "w"], ["y"], name="up", domain="com.microsoft"), ([1, 3, 8, 8], [3, 16, 2, 2])),
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
    content = bytearray(model(nodes, {"x": [1, 3, 4, 4]}, weights(w=[2, 3, 3, 3], b=[2], v=[5, 8], u=[5, 2])).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "damaged.onnx").write_bytes(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert load_onnx(folder / "damaged.onnx").macs > 0
    except ArchGymError as error:
        assert "damaged" in str(error)


def test_without_the_package_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "any.onnx").write_bytes(b"")
    with pytest.raises(MissingDependency, match=r"archgym\[onnx\]"):
        load_workload(tmp_path / "any.onnx")
