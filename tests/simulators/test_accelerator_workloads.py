"""Workloads of the accelerator simulator: totals as published, files that people write, and what `archgym
workloads` prints.
"""

from __future__ import annotations

import csv
import math
import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym import ArchGymError
from archgym.cli import app
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import Workload, attention_layers, list_workloads, load_workload
from archgym.simulators.accelerator.workloads.files import FOLDER

# multiply-adds in G as published, parameters as torchvision and Hugging Face count them, top-1 of
# torchvision's weights
PUBLISHED = {
    "resnet18": (1.81, 11_689_512, 0.69758),
    "resnet50": (4.09, 25_557_032, 0.76130),
    "vgg16": (15.47, 138_357_544, 0.71592),
    "mobilenet_v2": (0.30, 3_504_872, 0.71878),
    "efficientnet_b0": (0.39, 5_288_548, 0.77692),
    "alexnet": (0.71, 61_100_840, 0.56522),
    "mobilenet_v3_large": (0.22, 5_483_032, 0.74042),
    "vit_b_16": (17.56, 86_567_656, 0.81072),
    "bert_base": (11.17, 109_482_240, None),
    "gpt2_prefill": (None, 124_439_808, None),
    "gpt2_decode": (None, 124_439_808, None),
}
TOKENS = {"1k": 1, "4k": 4, "16k": 16, "64k": 64, "256k": 256, "1m": 1024}  # KiB
CONV = {
    "name": "c",
    "kind": "conv",
    "channels": "3",
    "filters": "8",
    "height": "9",
    "width": "9",
    "kernel_h": "3",
    "kernel_w": "3",
}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def write(tmp_path):
    """Writes a workload of rows (dictionaries), or of a text as it is: write(rows or text) -> path."""

    def to(content, name="mine.csv"):
        path = tmp_path / name
        if isinstance(content, (str, bytes)):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            return path
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in content for key in row)))
            writer.writeheader()
            writer.writerows(content)
        return path

    return to


# --- shipped ---


@pytest.mark.parametrize("name", PUBLISHED)
def test_totals_are_the_published_ones(name):
    giga, parameters, accuracy = PUBLISHED[name]
    workload = load_workload(name)
    assert workload.parameters == parameters
    assert workload.accuracy == accuracy
    assert giga is None or round(workload.macs / 1e9, 2) == giga


def test_gpt2_computes_what_its_definition_says():
    """12 blocks of 12 d^2 weights and two products with the keys and values; a head tied to the embedding,
    for one token.
    """
    d, blocks, vocabulary = 768, 12, 50257
    for name, tokens in (("gpt2_prefill", 1024), ("gpt2_decode", 1)):
        attention = 2 * tokens * 1024 * d
        assert load_workload(name).macs == blocks * (12 * d * d * tokens + attention) + d * vocabulary
    head = load_workload("gpt2_decode").layers[-1]
    assert (head.name, head.kind, head.parameters) == ("lm_head", "matmul", 0)


@pytest.mark.parametrize("length", TOKENS)
def test_llama_attention_has_32_query_heads_on_8_keys_and_values(length):
    workload, tokens = load_workload(f"llama_attention_{length}"), 1024 * TOKENS[length]
    assert workload.macs == 2 * 32 * 128 * tokens**2
    assert workload.parameters == 0
    scores, values = (
        columns(workload.layers)["n"] * columns(workload.layers)["kd"] * columns(workload.layers)["count"]
    )
    # keys and values are there once for the four heads that share them
    assert scores == values == 8 * 128 * tokens


def test_every_workload_says_what_it_is_and_where_it_is_from():
    assert set(list_workloads()) == {*PUBLISHED, *(f"llama_attention_{length}" for length in TOKENS)}
    for name in list_workloads():
        workload = load_workload(name)
        assert workload.name == name
        assert workload.title and workload.input and re.search(r"\d{4}", workload.source)
        assert pickle.loads(pickle.dumps(workload)) == workload and hash(workload)
        assert load_workload(workload) is workload


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_names_as_many_layers_as_it_repeats(name):
    """Ranges such as 0-11 in a name multiply to `repeats`; no layer is named twice; no total is stored."""
    text = (FOLDER / f"{name}.csv").read_text()
    assert "macs" not in text.lower() and "parameters:" not in text
    names = []
    for layer in load_workload(name).layers:
        expanded = [layer.name]
        while any(found := [re.search(r"(\d+)-(\d+)", each) for each in expanded]):
            first, last = map(int, found[0].groups())
            expanded = [
                re.sub(r"\d+-\d+", str(i), each, count=1) for each in expanded for i in range(first, last + 1)
            ]
        assert len(expanded) == layer.repeats, layer
        names += expanded
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "vgg16", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"]
)
def test_images_get_smaller_only_by_strides_and_the_channels_of_one_layer_are_the_filters_of_an_earlier_one(
    name,
):
    sizes, filters = {224}, {3}
    for layer in load_workload(name).layers:
        if layer.kind == "conv":
            assert layer.output_h == layer.output_w == -(-layer.height // layer.stride)
            pooled = {size // 2 for size in sizes}  # by max pooling; to one pixel by squeezing
            assert layer.height in sizes | pooled | {1}
            assert layer.channels in filters
            sizes.add(layer.output_h)
            filters.add(layer.filters)


# --- files of one's own ---

sizes = st.integers(1, 9)


@st.composite
def layers(draw):
    kind = draw(st.sampled_from(["conv", "gemm", "matmul"]))
    groups = draw(sizes)
    name = draw(
        st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1).filter(
            lambda text: text == text.strip()
        )
    )
    common = {
        "groups": groups,
        "batch": draw(sizes),
        "repeats": draw(sizes),
        "vectors": draw(st.integers(0, 2)),
    }
    channels, filters = groups * draw(sizes), groups * draw(sizes)
    if kind != "conv":
        return Layer(name, kind, channels, filters, draw(sizes), **common)
    kernel = draw(st.tuples(sizes, sizes))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    image = [max(draw(sizes), r - p) for r, p in zip(kernel, padding, strict=True)]
    return Layer(name, kind, channels, filters, *image, *kernel, draw(sizes), *padding, **common)


@given(st.lists(layers(), min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, given_layers, sparse):
    path = tmp_path_factory.mktemp("workload") / "mine.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write("# title: Mine: all of it\n# accuracy: 0.5\n")
        writer = csv.DictWriter(file, list(vars(given_layers[0])))
        writer.writeheader()
        for layer in given_layers:
            defaults = {"width": 1, "stride": 1, "padding_h": 0, "groups": 1, "vectors": 0} if sparse else {}
            writer.writerow(
                {key: "" if value == defaults.get(key) else value for key, value in vars(layer).items()}
            )
    workload = load_workload(path)
    assert workload.layers == tuple(given_layers)
    assert (workload.name, workload.title, workload.accuracy) == ("mine", "Mine: all of it", 0.5)
    assert workload.macs == sum(layer.macs for layer in given_layers)


def test_tables_are_parameters_that_no_simulator_sees(write):
    path = write(
        [
            CONV | {"vectors": "2"},
            {"name": "t", "kind": "table", "filters": "10", "vectors": "7", "repeats": "3"},
        ]
    )
    workload = load_workload(str(path))
    assert [layer.name for layer in workload.layers] == ["c"]
    assert workload.parameters == 3 * 8 * 9 + 2 * 8 + 7 * 10 * 3
    assert workload.title == "mine" and workload.accuracy is None


def test_text_as_spreadsheets_write_it_is_read(write):
    path = write(
        "\ufeff# title: Mine\r\nname, kind, channels, filters, height\r\nfc, gemm, 3, 4, 5\r\n\r\n,,,,\r\n".encode()
    )
    assert load_workload(path).layers == (Layer("fc", "gemm", 3, 4, 5),)


def test_whole_numbers_as_pandas_writes_them_and_commas_at_the_ends_of_lines_are_read(write):
    path = write(
        "name,kind,channels,filters,height,\nfc,gemm,3.0,4,5.,\nfc2,gemm,3,4.00,5,,\nfc3,gemm,3,4,5\n"
    )
    assert load_workload(path).layers == tuple(Layer(name, "gemm", 3, 4, 5) for name in ("fc", "fc2", "fc3"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": "two"}, "line 2, column 'stride': a whole number is needed, not 'two'"),
        ({"stride": "2.5"}, "line 2, column 'stride': a whole number is needed, not '2.5'"),
        ({"stride": "+2"}, "line 2, column 'stride': a whole number is needed, not '+2'"),
        ({"stride": "2e0"}, "line 2, column 'stride': a whole number is needed, not '2e0'"),
        ({"channels": "-3"}, "line 2, column 'channels': a whole number is needed, not '-3'"),
        ({"channels": "9" * 30}, "line 2, column 'channels'"),
        ({"channels": ""}, "line 2, column 'channels': a row of kind 'conv' needs it"),
        ({"name": " "}, "line 2, column 'name'"),
        ({"kind": "convv"}, "line 2, column 'kind': unknown kind 'convv'; did you mean 'conv'?"),
        ({"strides": "2"}, "line 1: unknown column 'strides'; did you mean 'stride'?"),
        ({"height": "0"}, "line 2: expected height of layer 'c' as a whole number >= 1"),
        ({"groups": "2"}, "line 2: layer 'c': 2 groups must divide"),
        ({"kernel_h": "10"}, "line 2: layer 'c': a kernel of 10 x 3 does not fit"),
        ({"kind": "table", "vectors": "1"}, "line 2, column 'channels': a row of kind 'table' has only"),
        ({"kind": "gemm"}, "line 2: layer 'c': a gemm has width"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_column(write, changed, message):
    path = write([CONV | changed])
    with pytest.raises(ArchGymError, match=re.escape(message)) as error:
        load_workload(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no layers"),
        ("# title: Mine\n", "has no layers"),
        ("name,kind,channels,filters,height\n", "has no layers"),
        ("name,kind,filters,vectors\nt,table,3,4\n", "has no layers"),
        ("name,kind,filters,vectors\nfc,gemm,3,4\n", "line 2, column 'channels'"),
        ("name,channels\nfc,3\n", "line 1: columns are named once each, and name, kind must be among them"),
        ("name,kind,kind\nfc,gemm,gemm\n", "line 1: columns are named once each"),
        ("# title: Mine\nname,kind,channels,filters,height\nfc,gemm,3,4\n", "line 3: 4 cells for 5 columns"),
        ("# titel: Mine\nname,kind\n", "line 1: a header line is '# key: value'"),
        ("# title: Mine\n# title: Yours\nname,kind\n", "line 2: a header line"),
        (
            "# accuracy: 70 %\nname,kind,channels,filters,height\nfc,gemm,3,4,5\n",
            "accuracy must be from 0 to 1, not '70 %'",
        ),
        (
            "# accuracy: 69.8\nname,kind,channels,filters,height\nfc,gemm,3,4,5\n",
            "accuracy must be from 0 to 1",
        ),
        ('name,kind,channels,filters,height\n"fc"x,gemm,3,4,5\n', "line 2"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (
            "name,kind,channels,filters,height\nfc,gemm,99999999,99999999,99999999\n",
            "simulators take up to 2^57",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_the_reason(write, text, message):
    with pytest.raises(ArchGymError, match=re.escape(message)):
        load_workload(write(text))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("resnet81", "did you mean 'resnet18'"),
        ("no/such/file.csv", "No such file"),
        ("no/such/file.onnx", "No such file"),
        ("attention", "did you mean 'llama_attention_4k'"),
        ("", "unknown workload"),
        (None, "unknown workload"),
        (18, "unknown workload"),
        (["resnet18"], "unknown workload"),
    ],
)
def test_an_unknown_workload_is_refused(source, message):
    if str(source).endswith(".onnx"):
        pytest.importorskip("onnx", reason="needs the extra onnx")
    with pytest.raises(ArchGymError, match=re.escape(message)):
        load_workload(source)


def test_a_workload_without_layers_is_refused():
    with pytest.raises(ArchGymError, match="has no layers"):
        Workload("mine", "", "", None, ())


@given(
    tokens=st.integers(1, 10**5), shared=st.integers(1, 8), heads=st.integers(1, 32), size=st.integers(1, 256)
)
def test_attention_multiplies_as_its_heads_would_alone(tokens, shared, heads, size):
    together, alone = (
        attention_layers(tokens, shared * heads, heads, size),
        attention_layers(tokens, 1, 1, size),
    )
    assert [layer.macs for layer in together] == [shared * heads * layer.macs for layer in alone]
    assert sum(layer.macs for layer in together) == 2 * shared * heads * size * tokens**2


@pytest.mark.parametrize("heads", [(3, 2), (2, 0), (0, 1)])
def test_heads_that_cannot_be_shared_are_refused(heads):
    with pytest.raises(ArchGymError):
        attention_layers(16, *heads, 64)


# --- tables of other simulators ---

SCALESIM = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
)


@pytest.mark.parametrize(
    "header",
    [
        SCALESIM,
        SCALESIM.removesuffix(","),
        SCALESIM.upper(),
        SCALESIM.replace("Layer name", "\ufeffLayer").replace(", ", ",\u00a0 "),
        SCALESIM.replace("Layer name, IFMAP Height", "Layer, IFMAP Width"),  # as in some of its own
        "layer_name,ifmap_h,ifmap_w,filter_h,filter_w,num_channels,num_filters,stride",
        "Layer name,IFMAP height,IFMAP width,Filter height,Filter width,Channels,Num filter,Stride "
        "height,Stride width,",
        SCALESIM + ",,Eh,Ew",
    ],
)
def test_a_topology_of_scalesim_is_read_by_its_header(write, header):
    second = "2," if "Stride width" in header else ""
    path = write(
        f"{header}\r\n,,,,\r\nConv1, 9, 11, 3, 3, 2, 8, 2, {second}\r\n FC , "
        f"1,1,1,1,64.0,10,1,{'1,' if second else ''}\r\n",
        "net.csv",
    )
    workload = load_workload(path)
    assert workload.layers == (
        Layer("Conv1", "conv", 2, 8, 9, 11, 3, 3, 2),
        Layer("FC", "conv", 64, 10, 1),
    )
    assert (workload.name, workload.source) == ("net", "net.csv")
    assert "sizes are padded already" in workload.note and "rounds" not in workload.note


@settings(max_examples=100)
@given(data=st.data())
def test_a_topology_has_the_multiply_adds_that_scalesim_computes(tmp_path_factory, data):
    """Its own formula: ceil((H - R + stride) / stride) rows, and a layer named DP once for every channel."""
    rows, expected = [], 0
    for number in range(data.draw(st.integers(1, 4))):
        kernel = data.draw(st.tuples(sizes, sizes))
        image = [r + data.draw(st.integers(0, 20)) for r in kernel]
        channels, filters, stride, batch = (data.draw(sizes) for _ in range(4))
        name = data.draw(st.sampled_from(["Conv", "DP"])) + str(number)
        rows.append([name, *image, *kernel, channels, filters, stride, batch])
        pixels = math.prod(-(-(size - r + stride) // stride) for size, r in zip(image, kernel, strict=True))
        expected += batch * pixels * math.prod(kernel) * filters * channels
    path = tmp_path_factory.mktemp("topology") / "net.csv"
    path.write_text("\n".join([f"{SCALESIM} Batch Size,", *(",".join(map(str, row)) + "," for row in rows)]))
    workload = load_workload(path)
    assert workload.macs == expected
    assert ("DP in their names" in workload.note) == any(row[0].startswith("DP") for row in rows)


def test_what_a_topology_does_not_express_is_said_or_refused_with_the_line(write):
    workload = load_workload(
        write(
            f"{SCALESIM} "
            "Sparsity,\nAlexNet,\nc1,12,12,3,3,3,8,2,1:4,\nc2,5,5,3,3,8,8,1,2:2,\nc3,5,5,3,3,8,8,1,\n"
        )
    )
    assert [layer.name for layer in workload.layers] == ["AlexNet.c1", "AlexNet.c2", "AlexNet.c3"]
    assert (
        "Sparsity, of 1 layers, is left out" in workload.note
        and "SCALE-Sim rounds output sizes up" in workload.note
    )
    for row, message in (
        ("c,12,12,3,3,3,8,0,", "line 2, column 'Strides': a whole number from 1 is needed, not '0'"),
        ("c,2,12,3,3,3,8,1,", "line 2: a kernel that spans 3 pixels does not fit a padded input of 2"),
        ("c,B,12,3,3,3,8,1,", "line 2, column 'IFMAP Height': a whole number is needed, not 'B'"),
        ("c,12,12,3,3,3,,1,", "line 2, column 'Num Filter': this layer needs it"),
        ("c,12,12,3,3", "line 2, column 'Strides': this layer needs it"),
        ("c,12,12,3,3,3,8,1,7,7", "line 2: 10 cells for 8 columns"),
    ):
        with pytest.raises(ArchGymError, match=re.escape(message)):
            load_workload(write(f"{SCALESIM}\n{row}\n"))
    with pytest.raises(ArchGymError, match="line 1: unknown column 'Groups'"):
        load_workload(write(f"{SCALESIM} Groups,\nc,12,12,3,3,3,8,1,2,\n"))
    with pytest.raises(ArchGymError, match="line 2, column 'Sparsity': expected N:M"):
        load_workload(write(f"{SCALESIM} Sparsity,\nc,12,12,3,3,3,8,1,half,\n"))


@pytest.mark.parametrize("header", ["Layer,M,N,K,", "Layer Name, M, N, K, Sparsity,", "L,m,n,k", "M,N,K"])
def test_products_of_scalesim_are_m_by_k_and_k_by_n(write, header):
    named = header[0] == "L"
    path = write(f"{header}\n{'qk,' if named else ''}5,7,3,\n")
    assert load_workload(path).layers == (Layer.gemm("qk" if named else "layer1", 5, 7, 3),)


def test_a_product_of_a_batch_has_as_many_times_the_rows(write):
    (layer,) = load_workload(write("Layer, M, N, K, Batch\nqk, 5, 7, 3, 4\n")).layers
    assert (layer.shape, layer.parameters) == ((20, 7, 3), 21)


def test_tables_of_gamma_are_read_by_their_types(write):
    rows = ["8,3,12,14,3,5,1", "1,32,10,10,3,3,2", "5,7,9,1,1,1,3", "10,64,1,1,1,1,0", "8,3,12,14,3,5,CONV"]
    workload = load_workload(write("K,C,Y,X,R,S,T\n" + "\n".join(rows)))
    assert workload.layers == (
        Layer("layer1", "conv", 3, 8, 12, 14, 3, 5),
        Layer("layer2", "conv", 32, 32, 10, 10, 3, 3, groups=32),
        Layer("layer3", "gemm", 9, 7, 5),
        Layer("layer4", "gemm", 64, 10, 1),
        Layer("layer5", "conv", 3, 8, 12, 14, 3, 5),
    )
    assert "input sizes without padding" in workload.note
    assert load_workload(write("M,N,K,0,0,0,T\n5,7,9,1,1,1,3\n")).layers == (Layer.gemm("layer1", 5, 7, 9),)
    assert load_workload(write("O,I,0,0,0,0,T\n10,64,1,1,1,1,0\n")).layers == (
        Layer.gemm("layer1", 1, 10, 64),
    )
    assert load_workload(write("k, c, y, x, r, s\n8,3,12,14,3,5\n")).layers == workload.layers[:1]
    assert load_workload(write("Layer,N,K,C,Y,X,R,S,Stride\nc,2,8,3,13,13,3,3,2\n")).layers == (
        Layer("c", "conv", 3, 8, 13, 13, 3, 3, 2, batch=2),
    )


@pytest.mark.parametrize("header", ["K,C,Y',X',R,S", "K, C, Y\u2019, X\u2032, R, S"])
def test_sizes_with_a_prime_are_those_of_the_output(write, header):
    (layer,) = load_workload(write(f"{header},Stride\n8,3,5,6,3,5,2\n")).layers
    assert (layer.output_h, layer.output_w, layer.macs) == (5, 6, 5 * 6 * 8 * 3 * 3 * 5)


@pytest.mark.parametrize("separator", ["\t", "\t ", ";"])
def test_columns_may_be_apart_by_tabs_or_semicolons(write, separator):
    topology = f"{SCALESIM}\nConv1, 9, 11, 3, 3, 2, 8, 2,\n".replace(",", separator)
    assert load_workload(write(topology)).layers == (Layer("Conv1", "conv", 2, 8, 9, 11, 3, 3, 2),)
    assert (
        load_workload(
            write(
                separator.join(["name", "kind", "channels", "filters", "height"])
                + "\n"
                + separator.join(["f", "gemm", *"345"])
            )
        ).macs
        == 60
    )


def test_a_header_may_come_again_and_names_may_have_any_separator_of_lines(write):
    row = "Conv{}, 9, 11, 3, 3, 2, 8, 2,\n"
    workload = load_workload(write(f"{SCALESIM}\n{row.format(1)}{SCALESIM}\n{row.format(chr(0x2028) + '2')}"))
    assert [layer.name for layer in workload.layers] == ["Conv1", "Conv\u20282"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("8,3,12,14,3,5,7", "line 2, column 'T': unknown type '7'"),
        ("8,8,12,14,3,3,2", "line 2, column 'K': a depth-wise convolution has K = 1, not 8"),
        ("8,3,2,14,3,5,1", "line 2: a kernel that spans 3 pixels does not fit"),
        ("8,3,12,16.1,3,5,1", "line 2, column 'X': a whole number is needed, not '16.1'"),
        ("8,3,12,14,3", "line 2, column 'S': this layer needs it"),
        ("0,3,12,14,3,5,1", "line 2, column 'K': a whole number from 1 is needed"),
    ],
)
def test_a_row_that_gamma_would_not_take_is_refused_with_line_and_column(write, row, message):
    with pytest.raises(ArchGymError, match=re.escape(message)):
        load_workload(write(f"K,C,Y,X,R,S,T\n{row}\n"))


def test_a_table_of_another_simulator_is_shown_and_searched_with_how_it_was_read(write):
    path = write(f"{SCALESIM}\nConv1,12,12,3,3,3,8,2,\n")
    text = " ".join(run("workloads", path).stdout.split())
    assert (
        "A SCALE-Sim topology: sizes are padded already, and groups are not expressed. Zeros are added"
        in text
    )
    assert (
        run(
            "search", "archgym/Accelerator-v0", "random", "--budget", "5", "--set", f"workload={path}"
        ).exit_code
        == 0
    )


def test_a_workload_that_simulators_cannot_take_is_refused_with_the_count(write):
    header = "name,kind,channels,filters,height\n"
    with pytest.raises(ArchGymError, match="has 5,000 layers; simulators take up to 4,096"):
        load_workload(write(header + "fc,gemm,3,4,5\n" * 5000))
    with pytest.raises(ArchGymError, match="1,099,511,627,776 output rows"):
        load_workload(write(header + f"fc,gemm,3,4,{2**40}\n"))
    assert Accelerator(load_workload(write(header + f"fc,gemm,3,4,{2**24}\n"))).workload.macs == 12 * 2**24


# --- archgym workloads ---


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("name", [None, *list_workloads()])
def test_tables_fit_the_terminal_and_nothing_is_cut_off(monkeypatch, width, name):
    monkeypatch.setenv("COLUMNS", str(width))
    result = run("workloads", *filter(None, [name]))
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= width
    assert "…" not in result.stdout
    if name is not None:
        layers = load_workload(name).layers
        shares = [
            float(share)
            for share in re.findall(r" (\d+\.\d) %$", result.stdout.partition("\nInput")[0], re.MULTILINE)
        ]
        assert len(shares) == len(layers)
        assert sum(shares) == pytest.approx(100, abs=0.05 * len(layers))


def test_all_workloads_are_listed_with_their_totals(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = run("workloads").stdout
    assert re.search(r"resnet18 +ResNet-18 +21 +1\.81 +11\.69 +69\.76 %", text)
    assert re.search(r"bert_base +BERT-base, 128 tokens +97 +11\.17 +109\.48 +-", text)
    assert re.search(r"llama_attention_1k +Llama attention, 1,024 tokens +2 +8\.59 +- +-", text)
    assert [
        line.split()[0] for line in text.splitlines() if re.match(r"\w+_|resnet|vgg|alexnet", line)
    ] == list_workloads()


def test_one_workload_is_shown_layer_by_layer(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = run("workloads", "mobilenet_v2").stdout
    assert re.search(
        r"features\.5-6\.conv\.1\.0 +conv +192x28x28 +192x1x3x3 +192x28x28 +2 +2\.71 M +0\.9 %", text
    )
    assert re.search(r"classifier\.1 +gemm +1x1280 +1280x1000 +1x1000 +1 +1\.28 M", text)
    assert (
        "300,774,272" in text and "3,504,872" in text and "71.88 % on ImageNet" in text and "Sandler" in text
    )
    assert re.search(
        r"QK +matmul +8x4096x128 +8x128x1024 +8x4096x1024 ", run("workloads", "llama_attention_1k").stdout
    )


def test_a_file_is_shown_and_an_unknown_name_is_one_line(write):
    assert re.search(r"c +conv +3x9x9", run("workloads", write([CONV])).stdout)
    result = run("workloads", "resnet81")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "did you mean 'resnet18'" in result.stderr
