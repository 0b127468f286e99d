"""Dataflow templates: the forms of MAESTRO and SCALE-Sim that they extend, and words counted fold by fold."""

import itertools

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archgym.simulators.accelerator import maestro, systolic
from archgym.simulators.accelerator.design import DATAFLOWS, Precision
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.templates import L1_ACCESSES, TEMPLATES, Arrays
from archgym.simulators.accelerator.tiling import Tiles, curve, pixels_read

INT8 = Precision(1, 4)
ENOUGH = 2**20
LAYERS = [
    Layer("7 x 7", "conv", 3, 64, 224, 224, 7, 7, 2, 6, 6),
    Layer("3 x 3", "conv", 64, 64, 56, 56, 3, 3, 1, 2, 2),
    Layer("small", "conv", 512, 512, 7, 7, 3, 3, 1, 2, 2),
    Layer("odd", "conv", 28, 50, 19, 21, 3, 3),
    Layer("1 x 1", "conv", 70, 130, 14, 14),
]
layers = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
pes = pytest.mark.parametrize("pes", [64, 256, 1024])


def array(rows, cols, l1_bytes=ENOUGH, precision=INT8):
    return Arrays(
        *(
            np.array([[value]])
            for value in (rows, cols, l1_bytes, precision.operand_bytes, precision.accumulator_bytes)
        )
    )


def tile_of(layer, et=None, ft=None, nt=None, ct=None, images=None):
    """A tile [1, 1]; what is not given is all of it."""
    e, f, _, n, c, _ = reference.sizes(layer)
    et, ft, nt, ct = et or e, ft or f, nt or n, ct or c
    images = images or (layer.batch if (et, ft) == (e, f) else 1)
    nm = -(-layer.batch // images) * -(-e // et) * -(-f // ft)
    sizes = {
        "mt": images * et * ft,
        "et": et,
        "ft": ft,
        "nt": nt,
        "ct": ct,
        "nm": nm,
        "nn": -(-n // nt),
        "nk": -(-c // ct),
    }
    return Tiles(**{name: np.array([[sizes.get(name, 0)]]) for name in Tiles.__dataclass_fields__})


def run(dataflow, layer, rows, cols, l1_bytes=ENOUGH, precision=INT8, **tile):
    mapped = TEMPLATES[dataflow](
        array(rows, cols, l1_bytes, precision), columns((layer,)), tile_of(layer, **tile)
    )
    assert all(np.shape(column) == (1, 1) for column in mapped)
    return {name: column.item() for name, column in mapped._asdict().items()}


def sizes_of(layer):
    """Arguments of maestro.runtime."""
    return {
        "k": layer.filters,
        "c": layer.channels,
        "r": layer.kernel_h,
        "s": layer.kernel_w,
        "e": layer.output_h,
        "f": layer.output_w,
    }


def test_there_is_a_template_for_every_dataflow():
    assert tuple(TEMPLATES) == tuple(L1_ACCESSES) == DATAFLOWS


@layers
@pes
def test_nvdla_on_64_rows_with_l1_for_the_kernel_is_maestros(layer, pes):
    assert (
        run("nvdla", layer, 64, pes // 64)["cycles"] == maestro.runtime("nvdla", pes, **sizes_of(layer)) - 1
    )


@layers
@pes
def test_shidiannao_on_8_columns_is_maestros(layer, pes):
    assert (
        run("shidiannao", layer, pes // 8, 8)["cycles"]
        == maestro.runtime("shidiannao", pes, **sizes_of(layer)) - 1
    )


@layers
@pes
def test_eyeriss_with_l1_for_two_filters_and_four_channels_is_maestros(layer, pes):
    p, q = 2, min(4, layer.channels)
    # of which nothing else makes better use
    l1_bytes = (p * q + q) * layer.kernel_w + p * INT8.accumulator_bytes
    found = run("eyeriss", layer, layer.kernel_h, pes // layer.kernel_h, l1_bytes)
    assert found["cycles"] == maestro.runtime("eyeriss", pes, **sizes_of(layer)) - 1


@pytest.mark.parametrize("kind", systolic.DATAFLOWS)
@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (16, 64), (128, 32)])
@layers
def test_systolic_arrays_with_one_tile_are_scale_sims(layer, kind, rows, cols):
    m, n, k = layer.shape
    found = run(f"systolic_{kind}", layer, rows, cols)
    ifmap, filters, ofmap = systolic.sram_accesses(kind, rows, cols, m, n, k)
    assert found["cycles"] == systolic.cycles(kind, rows, cols, m, n, k)
    assert (found["inputs"], found["weights"]) == (ifmap, filters)
    if kind == "os":
        assert found["passes"] == 1  # SCALE-Sim counts the PEs of every fold once more
    else:
        assert found["passes"] * m * n == ofmap


def test_nvdla_takes_a_cycle_more_for_every_part_of_the_kernel_that_l1_holds():
    layer = Layer("5 x 5", "conv", 16, 8, 9, 9, 5, 5)  # 25 cells each
    folds = 2 * 1 * 5 * 5  # channels, filters, pixels on 8 x 8 PEs
    for l1_bytes, groups in ((4 + 25, 1), (4 + 24, 2), (4 + 9, 3), (4 + 8, 4), (4 + 1, 25)):
        found = run("nvdla", layer, 8, 8, l1_bytes)
        assert found["fits"]
        assert found["cycles"] == folds * (25 + groups)
        assert found["passes"] == 2 * groups
    assert not run("nvdla", layer, 8, 8, 4)["fits"]


def test_eyeriss_takes_the_filters_and_channels_with_the_fewest_cycles():
    layer = Layer("3 x 3", "conv", 24, 40, 20, 20, 3, 3)
    for l1_bytes in (16, 32, 44, 64, 100, 128, 500, 1024):
        choices = []
        for p, q in itertools.product((1, 2, 4, 8, 16, 32), repeat=2):
            used_q = min(q, 24)
            if (p + 1) * used_q * 3 + 4 * p <= l1_bytes:
                choices.append(-(-40 // p) * -(-24 // (q * 2)) * -(-18 // 8) * 18 * (p * used_q * 3 + 1))
        assert run("eyeriss", layer, 7, 8, l1_bytes)["cycles"] == min(choices)  # 2 kernels of 3 rows in 7


def test_eyeriss_holds_no_more_filters_and_channels_than_there_are():
    layer = Layer("depthwise", "conv", 12, 12, 10, 10, 3, 3, groups=12)
    least = (1 + 1) * 3 + 4
    assert run("eyeriss", layer, 8, 8, least)["fits"]
    assert run("eyeriss", layer, 8, 8, least)["cycles"] == 1 * 1 * 8 * (3 + 1)  # of one group
    assert not run("eyeriss", layer, 8, 8, least - 1)["fits"]
    assert run("eyeriss", layer, 8, 8, least - 1)["cycles"] == 0


def test_a_kernel_taller_than_the_array_takes_eyeriss_several_turns():
    layer = Layer("11 x 11", "conv", 1, 1, 20, 20, 11, 11)
    assert run("eyeriss", layer, 8, 16)["cycles"] == 2 * 1 * 10 * (11 + 1)
    assert run("eyeriss", layer, 16, 16)["cycles"] == 1 * 1 * 10 * (11 + 1)


@pytest.mark.parametrize("dataflow", ["shidiannao", "systolic_ws", "systolic_os", "systolic_is"])
def test_l1_holds_an_operand_and_a_partial_sum(dataflow):
    layer = LAYERS[3]
    assert run(dataflow, layer, 8, 8, 5)["fits"]
    assert not run(dataflow, layer, 8, 8, 4)["fits"]


def test_shidiannao_lays_out_the_result_of_a_matrix_multiplication():
    layer = Layer.gemm("gemm", 20, 30, 7)
    found = run("shidiannao", layer, 8, 16)
    assert found["cycles"] == 3 * 2 * (7 + 1)
    assert (found["inputs"], found["weights"], found["passes"]) == (20 * 7 * 2, 7 * 30 * 3, 1)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (3, 3), (4, 3), (2, 1)])
def test_outputs_that_stay_read_the_pixels_of_every_fold_with_their_halos(stride, kernel):
    e, f, rows, cols = 12, 8, 2, 4
    layer = Layer(
        "conv",
        "conv",
        3,
        5,
        (e - 1) * stride + kernel,
        (f - 1) * stride + kernel,
        kernel,
        kernel,
        stride,
        batch=2,
    )
    for et, ft in ((12, 8), (6, 4), (4, 8)):
        read = weights = 0
        for of_rows, of_cols in itertools.product(reference.parts(e, et), reference.parts(f, ft)):
            for fold_rows, fold_cols in itertools.product(
                reference.parts(len(of_rows), rows), reference.parts(len(of_cols), cols)
            ):
                read += len(reference.pixels(fold_rows, kernel, stride)) * len(
                    reference.pixels(fold_cols, kernel, stride)
                )
                weights += kernel * kernel
        found = run("shidiannao", layer, rows, cols, et=et, ft=ft)
        assert found["inputs"] == layer.batch * layer.channels * layer.filters * read
        assert found["weights"] == layer.batch * layer.channels * layer.filters * weights


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (4, 3), (2, 1)])
def test_kernel_rows_that_stay_read_whole_rows_of_the_tile_once_per_fold_of_filters(stride, kernel):
    e, f, cols = 12, 8, 4
    layer = Layer(
        "conv",
        "conv",
        3,
        5,
        (e - 1) * stride + kernel,
        (f - 1) * stride + kernel,
        kernel,
        kernel,
        stride,
        batch=2,
    )
    l1_bytes = (2 + 1) * 2 * kernel + 4 * 2  # two filters, two channels
    filters = min(
        ((-(-5 // p) * -(-3 // q) * (p * min(q, 3) * kernel + 1), q, p) for p in (1, 2, 4, 8) for q in (1, 2, 4)
         if (min(p, 5) + 1) * min(q, 3) * kernel + 4 * min(p, 5) <= l1_bytes),
    )[2]  # fmt: skip
    read = sum(
        len(reference.pixels(fold, kernel, stride)) * len(reference.pixels(range(f), kernel, stride))
        for fold in reference.parts(e, cols)
    )
    found = run("eyeriss", layer, kernel, cols, l1_bytes)
    assert found["inputs"] == layer.batch * layer.channels * -(-5 // filters) * read
    assert found["weights"] == layer.batch * layer.channels * layer.filters * kernel * kernel * 3


@settings(deadline=None)
@given(
    dataflow=st.sampled_from(DATAFLOWS),
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    l1_bytes=st.integers(5, 300),
    c=st.integers(1, 50),
    k=st.integers(1, 50),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    extra=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    stride=st.integers(1, 3),
    batch=st.integers(1, 3),
    place=st.floats(0, 1),
)
def test_no_template_does_more_than_one_multiply_add_per_pe_and_cycle_or_leaves_out_a_word(
    dataflow, rows, cols, l1_bytes, c, k, kernel, extra, stride, batch, place
):
    assume(not (dataflow == "systolic_os" and rows == cols == 1))
    layer = Layer(
        "any", "conv", c, k, kernel[0] + extra[0], kernel[1] + extra[1], *kernel, stride, batch=batch
    )
    tiles = curve(layer, INT8, False)
    tile = tiles[np.array([[int(place * (len(tiles.need) - 1))]])]
    found = TEMPLATES[dataflow](array(rows, cols, l1_bytes), columns((layer,)), tile)
    if found.fits.item():
        _, n, kd = layer.shape
        assert found.cycles.item() * rows * cols >= layer.macs
        assert found.weights.item() >= kd * n
        assert found.passes.item() >= 1
        pixels = pixels_read(layer.output_h, kernel[0], stride) * pixels_read(
            layer.output_w, kernel[1], stride
        )
        assert found.inputs.item() >= batch * c * pixels


def test_arrays_and_layers_broadcast():
    two = Arrays(*(np.array([[a], [b]]) for a, b in ((8, 64), (16, 32), (64, 256), (1, 2), (4, 4))))
    tiles = [tile_of(layer) for layer in LAYERS]
    both = Tiles(
        *(
            np.repeat(np.concatenate([getattr(t, name) for t in tiles], axis=1), 2, axis=0)
            for name in Tiles.__dataclass_fields__
        )
    )
    for dataflow in DATAFLOWS:
        mapped = TEMPLATES[dataflow](two, columns(tuple(LAYERS)), both)
        for (i, (rows, cols, l1, precision)), (j, layer) in itertools.product(
            enumerate([(8, 16, 64, INT8), (64, 32, 256, Precision(2, 4))]), enumerate(LAYERS)
        ):
            alone = run(dataflow, layer, rows, cols, l1, precision)
            assert {name: column[i, j].item() for name, column in mapped._asdict().items()} == alone
