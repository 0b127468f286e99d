"""Workloads of the accelerator simulator: totals as published, files that people write, and what `archgym workloads` prints."""

from __future__ import annotations

import csv
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym import ArchGymError
from archgym.cli import app
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.workloads import FOLDER, Workload, attention_layers, list_workloads, load_workload

# multiply-adds in G as published, parameters as torchvision and Hugging Face count them, top-1 of torchvision's weights
PUBLISHED = {
    "resnet18": (1.81, 11_689_512, 0.69758),
    "resnet50": (4.09, 25_557_032, 0.76130),
    "vgg16": (15.47, 138_357_544, 0.71592),
    "mobilenet_v2": (0.30, 3_504_872, 0.71878),
    "efficientnet_b0": (0.39, 5_288_548, 0.77692),
    "vit_b_16": (17.56, 86_567_656, 0.81072),
    "bert_base": (11.17, 109_482_240, None),
    "gpt2_prefill": (None, 124_439_808, None),
    "gpt2_decode": (None, 124_439_808, None),
}
TOKENS = {"1k": 1, "4k": 4, "16k": 16, "64k": 64, "256k": 256, "1m": 1024}  # KiB
CONV = {"name": "c", "kind": "conv", "channels": "3", "filters": "8", "height": "9", "width": "9", "kernel_h": "3", "kernel_w": "3"}


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
    """12 blocks of 12 d^2 weights and two products with the keys and values; a head tied to the embedding, for one token."""
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
    scores, values = columns(workload.layers)["n"] * columns(workload.layers)["kd"] * columns(workload.layers)["count"]
    assert scores == values == 8 * 128 * tokens  # keys and values are there once for the four heads that share them


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
            expanded = [re.sub(r"\d+-\d+", str(i), each, count=1) for each in expanded for i in range(first, last + 1)]
        assert len(expanded) == layer.repeats, layer
        names += expanded
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16", "mobilenet_v2", "efficientnet_b0"])
def test_images_get_smaller_only_by_strides_and_the_channels_of_one_layer_are_the_filters_of_an_earlier_one(name):
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
    name = draw(st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1).filter(lambda text: text == text.strip()))
    common = {"groups": groups, "batch": draw(sizes), "repeats": draw(sizes), "vectors": draw(st.integers(0, 2))}
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
            writer.writerow({key: "" if value == defaults.get(key) else value for key, value in vars(layer).items()})
    workload = load_workload(path)
    assert workload.layers == tuple(given_layers)
    assert (workload.name, workload.title, workload.accuracy) == ("mine", "Mine: all of it", 0.5)
    assert workload.macs == sum(layer.macs for layer in given_layers)


def test_tables_are_parameters_that_no_simulator_sees(write):
    path = write([CONV | {"vectors": "2"}, {"name": "t", "kind": "table", "filters": "10", "vectors": "7", "repeats": "3"}])
    workload = load_workload(str(path))
    assert [layer.name for layer in workload.layers] == ["c"]
    assert workload.parameters == 3 * 8 * 9 + 2 * 8 + 7 * 10 * 3
    assert workload.title == "mine" and workload.accuracy is None


def test_text_as_spreadsheets_write_it_is_read(write):
    path = write("\ufeff# title: Mine\r\nname, kind, channels, filters, height\r\nfc, gemm, 3, 4, 5\r\n\r\n,,,,\r\n".encode())
    assert load_workload(path).layers == (Layer("fc", "gemm", 3, 4, 5),)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": "two"}, "line 2, column 'stride': a whole number is needed, not 'two'"),
        ({"stride": "2.0"}, "line 2, column 'stride': a whole number is needed, not '2.0'"),
        ({"channels": "-3"}, "line 2, column 'channels': a whole number is needed, not '-3'"),
        ({"channels": "9" * 30}, "line 2, column 'channels'"),
        ({"channels": ""}, "line 2, column 'channels': a row of kind 'conv' needs it"),
        ({"name": " "}, "line 2, column 'name'"),
        ({"kind": "convv"}, "line 2, column 'kind': unknown kind 'convv'; did you mean 'conv'?"),
        ({"strides": "2"}, "line 1: unknown column 'strides'; did you mean 'stride'?"),
        ({"height": "0"}, "line 2: layer 'c': height must be an integer from 1"),
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
        ("# accuracy: 70 %\nname,kind,channels,filters,height\nfc,gemm,3,4,5\n", "accuracy must be from 0 to 1, not '70 %'"),
        ("# accuracy: 69.8\nname,kind,channels,filters,height\nfc,gemm,3,4,5\n", "accuracy must be from 0 to 1"),
        ('name,kind,channels,filters,height\n"fc"x,gemm,3,4,5\n', "line 2"),
        (b"\xff\xfe\x00", "is not a text in UTF-8"),
        ("name,kind,channels,filters,height\nfc,gemm,99999999,99999999,99999999\n", "simulators take up to 2^57"),
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


@given(tokens=st.integers(1, 10**5), shared=st.integers(1, 8), heads=st.integers(1, 32), size=st.integers(1, 256))
def test_attention_multiplies_as_its_heads_would_alone(tokens, shared, heads, size):
    together, alone = attention_layers(tokens, shared * heads, heads, size), attention_layers(tokens, 1, 1, size)
    assert [layer.macs for layer in together] == [shared * heads * layer.macs for layer in alone]
    assert sum(layer.macs for layer in together) == 2 * shared * heads * size * tokens**2


@pytest.mark.parametrize("heads", [(3, 2), (2, 0), (0, 1)])
def test_heads_that_cannot_be_shared_are_refused(heads):
    with pytest.raises(ArchGymError):
        attention_layers(16, *heads, 64)


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
        shares = [float(share) for share in re.findall(r" (\d+\.\d) %$", result.stdout.partition("\nInput")[0], re.MULTILINE)]
        assert len(shares) == len(layers)
        assert sum(shares) == pytest.approx(100, abs=0.05 * len(layers))


def test_all_workloads_are_listed_with_their_totals(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = run("workloads").stdout
    assert re.search(r"resnet18 +ResNet-18 +21 +1\.81 +11\.69 +69\.76 %", text)
    assert re.search(r"bert_base +BERT-base, 128 tokens +97 +11\.17 +109\.48 +-", text)
    assert re.search(r"llama_attention_1k +Llama attention, 1,024 tokens +2 +8\.59 +- +-", text)
    assert [line.split()[0] for line in text.splitlines() if re.match(r"\w+_|resnet|vgg", line)] == list_workloads()


def test_one_workload_is_shown_layer_by_layer(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = run("workloads", "mobilenet_v2").stdout
    assert re.search(r"features\.5-6\.conv\.1\.0 +conv +192x28x28 +192x1x3x3 +192x28x28 +2 +2\.71 M +0\.9 %", text)
    assert re.search(r"classifier\.1 +gemm +1x1280 +1280x1000 +1x1000 +1 +1\.28 M", text)
    assert "300,774,272" in text and "3,504,872" in text and "71.88 % on ImageNet" in text and "Sandler" in text
    assert re.search(r"QK +matmul +8x4096x128 +8x128x1024 +8x4096x1024 ", run("workloads", "llama_attention_1k").stdout)


def test_a_file_is_shown_and_an_unknown_name_is_one_line(write):
    assert re.search(r"c +conv +3x9x9", run("workloads", write([CONV])).stdout)
    result = run("workloads", "resnet81")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "did you mean 'resnet18'" in result.stderr
