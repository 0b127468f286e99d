"""Files that are made to take all memory or time, and files that are not what they are said to be:
refused, soon, with the reason.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from archgym.cli import app
from archgym.cli import data as data_cli
from archgym.errors import ArchGymError
from archgym.simulators.nas import cells as nas
from archgym.simulators.nas.tables.imports import (
    import_nas_bench_macro,
    import_nasbench201,
    import_naslib,
)
from archgym.simulators.nas.tables.nats_bench import import_nats_bench, read_nats_record
from archgym.simulators.nas.tables.restricted_pickle import load_pickle

STRINGS = [nas.format(cell) for cell in nas.all_cells()]
PRIME = 2**61 - 1  # the hash of a whole number is its remainder


def packed(head: bytes, unit: bytes, mib: int) -> bytes:
    """A bzip2 file of many MiB."""
    packer = bz2.BZ2Compressor()
    chunk = unit * (2**20 // len(unit))
    return packer.compress(head) + b"".join(packer.compress(chunk) for _ in range(mib)) + packer.flush()


DEEP = "2,000 lists within lists"


def shared(levels: int) -> list:
    """A list that refers ten times to a list that refers ten times to a list ...: hundreds of bytes,
    10^levels values.
    """
    value = [1.0]
    for _ in range(levels):
        value = [value] * 10
    return value


ODD = {
    "a list of 10^9": shared(9),
    "a list of 10^30": shared(30),
    DEEP: DEEP,
    "2^2039": 2**2039,
    "a dictionary": {},
}


def colliding(number: int, form) -> bytes:
    return b"".join(
        form(b"\x8a\x0b" + (i * PRIME).to_bytes(11, "little", signed=True)) for i in range(1, number + 1)
    )


def in_a_list(unit: bytes, parts: int) -> bytes:
    return b"\x80\x04]" + (b"(" + unit * 1000 + b"e") * parts + b"."


def bombs() -> dict[str, bytes]:
    return {
        "brackets, compressed": packed(b"\x80\x04", b"]", 64),
        "brackets": b"\x80\x04" + b"]" * (8 << 20),
        "nothing": b"\x80\x04" + b"N" * (8 << 20),
        "numbers": b"\x80\x04" + b"G\0\0\0\0\0\0\0\0" * (1 << 20),
        "numbers, compressed": packed(b"\x80\x04](", b"G\0\0\0\0\0\0\0\0", 64),
        "marks": b"\x80\x04" + b"(" * (8 << 20),
        "sets": b"\x80\x04" + b"\x8f" * (8 << 20),
        "memory": b"\x80\x04N" + b"\x94" * (8 << 20) + b".",
        "lists in a list": in_a_list(b"]", 8000),
        "texts in a list": in_a_list(b"\x8c\x02ab", 8000),
        "a text of 4 GiB": b"\x80\x04X\xff\xff\xff\xff" + b"a" * 100,
        "a text of 4 GiB, compressed": packed(b"\x80\x04X\xff\xff\xff\xff", b"a", 64),
        "a frame of all bytes": packed(b"\x80\x04\x95" + b"\xff" * 8, b"a", 64),
        "a line without an end": packed(b"V", b"a", 64),
        "colliding keys": b"\x80\x02}(" + colliding(60_000, lambda key: key + b"N") + b"u.",
        "colliding keys one by one": b"\x80\x02}" + colliding(60_000, lambda key: key + b"Ns") + b".",
        "colliding keys of many dictionaries": b"\x80\x02]("
        + (b"}(" + colliding(999, lambda key: key + b"N") + b"u") * 500
        + b"e.",
        "colliding tuples": b"\x80\x02}(" + colliding(60_000, lambda key: key + b"\x85N") + b"u.",
        "colliding memory": b"N" + b"".join(b"p%d\n" % (i * PRIME) for i in range(60_000)) + b".",
    }


MEASURED = """
import sys, time
from archgym.errors import ArchGymError
from archgym.simulators.nas.tables.imports import import_naslib
def most():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) >> 10
for path in sys.argv[1:]:
    open("/proc/self/clear_refs", "w").write("5")
    before, start = most(), time.process_time()
    try:
        import_naslib(path)
        print("read")
    except ArchGymError as error:
        print(f"{time.process_time() - start:.2f} {most() - before} {len(str(error))}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_bombs_are_refused_in_little_time_and_memory(tmp_path):
    paths = []
    contents = bombs()
    for number, (name, content) in enumerate(contents.items()):
        paths.append(tmp_path / f"{number} {name}")
        paths[-1].write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, timeout=300
    )
    told = dict(zip(contents, run.stdout.splitlines(), strict=True))
    for name, line in told.items():
        seconds, mebibytes, characters = map(float, line.split())
        assert seconds < 5 and mebibytes < 300 and characters < 600, (name, line)


def written(path, value):
    """A pickle of the value; Python itself would not write what nests as deep as DEEP."""
    deep = b"]" * 2000 + b"a" * 1999
    path.write_bytes(pickle.dumps(value, 4).replace(b"\x8c" + bytes([len(DEEP)]) + DEEP.encode(), deep))
    return path


def record(**odd) -> dict:
    """A record of NATS-Bench, but for what is odd in it."""
    training = {
        "eval_acc1es": {
            f"{part}@{epoch}": 50.0 for part in ("x-valid", "x-test", "ori-test") for epoch in (11, 199)
        },
        "train_times": {epoch: 1.0 for epoch in range(200)},
    }
    if "accuracy" in odd:
        training["eval_acc1es"]["x-valid@11"] = odd["accuracy"]
    if "time" in odd:
        training["train_times"][0] = odd["time"]
    results = {(name, 777): training for name in ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")}
    about = {
        "arch_index": odd.get("index", 0),
        "arch_str": odd.get("cell", STRINGS[0]),
        "all_results": results,
    }
    return {"12": about, "200": about}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_is_refused_wherever_it_stands_in_a_record(tmp_path, name):
    assert read_nats_record(written(tmp_path / "right", record())).index == 0
    for place in ("accuracy", "time", "cell", *([] if name == "2^2039" else ["index"])):
        with pytest.raises(ArchGymError, match="is not a record of NATS-Bench") as error:
            read_nats_record(written(tmp_path / "record", record(**{place: ODD[name]})))
        assert len(str(error.value)) < 600
    for value in (ODD[name], {"12": ODD[name]}, {"meta_archs": ODD[name]}, {"meta_archs": [ODD[name]]}):
        with pytest.raises(ArchGymError, match="has no list of cells: expected strings under 'meta_archs'"):
            written(tmp_path / "meta.pickle.pbz2", value)
            import_nats_bench(tmp_path)


@pytest.mark.parametrize("name", ["a list of 10^30", DEEP])
def test_an_odd_value_is_refused_wherever_it_stands_in_learning_curves(tmp_path, name):
    odd = ODD[name]
    right = {string: {"cifar10-valid": {"eval_acc1es": [50.0, 60.0]}} for string in STRINGS}
    entries = [
        odd,
        {"cifar10-valid": odd},
        {"cifar10-valid": {"eval_acc1es": odd}},
        {"cifar10-valid": {"eval_acc1es": [odd, odd]}},
    ]
    for entry in entries:
        with pytest.raises(ArchGymError) as error:
            import_naslib(written(tmp_path / "naslib", {**right, STRINGS[7]: entry}))
        assert len(str(error.value)) < 600


def test_a_learning_curve_that_all_cells_share_is_not_as_long_as_it_likes(tmp_path):
    long = [50.0] * 500_000
    with pytest.raises(ArchGymError, match="500,000 epochs"):
        import_naslib(
            written(
                tmp_path / "naslib", {string: {"cifar10-valid": {"eval_acc1es": long}} for string in STRINGS}
            )
        )


def other_files() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", pickle.dumps({}))
    table = "index,cell,cifar10_valid\n0,|none~0|,10.0\n1,|none~0|,10.0\n"
    return {
        "a CSV": b"cell,cifar10_valid,cifar10_test\n" + b"|none~0|,1,2\n" * 9,
        "a CSV with an index": table.encode(),
        "a CSV of Windows": b"\xef\xbb\xbf" + table.replace("\n", "\r\n").encode(),
        "text": b"Please cite the paper.\nIt is good.\n",
        "text of one line": b"Pure text.",
        "notes": b"bugs. and more.\n",
        "JSON": b'{"a": [1, 2]}',
        "TOML": b'[study]\nname = "x"\n',
        "a page": b"<!DOCTYPE html>\n<html></html>\n",
        "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "gzip": gzip.compress(pickle.dumps({})),
        "zip": archive.getvalue(),
        "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}",
        "a picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        "compressed text": bz2.compress(table.encode()),
    }


@pytest.mark.parametrize("name", other_files())
def test_a_file_of_another_kind_is_not_a_pickle_and_wants_nothing(tmp_path, name):
    (tmp_path / "file").write_bytes(other_files()[name])
    for read in (load_pickle, import_naslib, read_nats_record):
        with pytest.raises(ArchGymError, match="file is not a pickle") as error:
            read(tmp_path / "file")
        assert "run code" not in str(error.value)
    for kind in ("gzip", "zip", "git-lfs"):
        if kind in (name, "git-lfs" if name == "a pointer" else ""):
            assert kind in str(error.value) and (
                "unpack it first" in str(error.value) or "git lfs pull" in str(error.value)
            )


# Tables


def csv_of(percent=lambda column: 50.0, columns=None, separator="\n") -> str:
    columns = columns or [
        f"{start}_{part}" for start in ("cifar10", "cifar100", "imagenet16") for part in ("valid", "test")
    ]
    lines = [",".join(["cell", *columns])]
    lines += [
        ",".join([string, *(repr(percent(column) + n / 15625 / 100) for column in columns)])
        for n, string in enumerate(STRINGS)
    ]
    return separator.join([*lines, ""])


@pytest.fixture
def table(tmp_path):
    """table(text): the path of a CSV."""

    def write(text: str, encoding: str = "utf-8"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        return tmp_path / "t.csv"

    return write


def test_a_table_of_fractions_is_asked_about_and_read_as_the_user_says(table):
    path = table(csv_of(lambda column: 0.9))
    with pytest.raises(
        ArchGymError,
        match=r"t\.csv: all accuracies are from 0 to 1, where per cent are expected; say --fractions if",
    ):
        import_nasbench201(path)
    assert import_nasbench201(path, fractions=True)[0].valid_accuracy.max() == pytest.approx(0.91, abs=1e-4)
    assert import_nasbench201(path, fractions=False)[0].valid_accuracy.max() == pytest.approx(
        0.0091, abs=1e-6
    )
    with pytest.raises(
        ArchGymError,
        match=r"line 2, cifar10_valid: '50.0' is not an accuracy from 0 to 1; leave --fractions out",
    ):
        import_nasbench201(table(csv_of()), fractions=True)


def test_a_table_with_one_column_or_many_lines_in_fractions_is_refused(table):
    path = table(csv_of(lambda column: 0.9 if column == "cifar100_valid" else 50.0))
    with pytest.raises(
        ArchGymError,
        match="accuracies of cifar100_valid are from 0 to 1, others are not; bring all to per cent",
    ):
        import_nasbench201(path)
    lines = csv_of().splitlines()
    for place in range(1, 4000):
        cell, first, *rest = lines[place].split(",")
        lines[place] = ",".join([cell, str(float(first) / 100), *rest])
    with pytest.raises(
        ArchGymError, match="accuracies of cifar10_valid are from 0 to 1 in many lines, others are not"
    ):
        import_nasbench201(table("\n".join(lines)))
    assert len(import_nasbench201(path, fractions=False)) == 3


def test_learning_curves_and_networks_in_fractions_are_asked_about(tmp_path):
    curves = {string: {"cifar10-valid": {"eval_acc1es": [0.1, 0.9]}} for string in STRINGS}
    path = written(tmp_path / "naslib", curves)
    macro = tmp_path / "macro.json"
    names = (np.base_repr(n, 3).zfill(8) for n in range(3**8))
    macro.write_text(
        json.dumps({name: {"test_acc": [0.9, 0.91, 0.92], "params": 5, "flops": 7} for name in names})
    )
    for read, file in ((import_naslib, path), (import_nas_bench_macro, macro)):
        with pytest.raises(ArchGymError, match="say --fractions if they are fractions"):
            read(file)
        (found,) = read(file, fractions=True)
        assert found.valid_accuracy.max() == np.float32(0.9) or found.test_accuracy.max() == np.float32(0.92)


def test_the_command_asks_for_the_unit_on_a_terminal_and_takes_it_as_an_option(table, tmp_path, monkeypatch):
    command = ["data", "import", "nasbench201", str(table(csv_of(lambda column: 0.9)))]
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2 and "say --fractions" in refused.output
    assert "Best            91.00 % validation" in CliRunner().invoke(app, [*command, "--fractions"]).output
    assert "Best            0.91 % validation" in CliRunner().invoke(app, [*command, "--per-cent"]).output
    monkeypatch.setattr(data_cli, "_on_terminal", lambda: True)
    asked = CliRunner().invoke(app, command, input="y\n")
    assert "Are they fractions?" in asked.output and "91.00 % validation" in asked.output
    assert CliRunner().invoke(app, command, input="n\n").exit_code


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_marks_and_line_ends_of_windows_are_read(table, separator, encoding):
    assert len(import_nasbench201(table(csv_of(separator=separator), encoding))) == 3


def test_a_table_of_some_data_sets_gives_their_tables(table):
    (only,) = import_nasbench201(table(csv_of(columns=["cifar10_test", "cifar10_valid"])))
    assert only.name == "nasbench201-cifar10"
    with pytest.raises(ArchGymError, match=r"lacks the columns cifar100_test$"):
        import_nasbench201(table(csv_of(columns=["cifar10_test", "cifar10_valid", "cifar100_valid"])))


def test_a_table_without_an_end_is_read_no_further_than_its_cells(table):
    text = csv_of()
    with pytest.raises(ArchGymError, match=r"line 15627: duplicate cell"):
        import_nasbench201(table(text + text[text.index("\n") + 1 :] * 20))


@pytest.mark.parametrize("text", ["1" * 400, "1e400", "[" * 9 + "]" * 9, "true", "null", "NaN", '"x"'])
def test_an_odd_figure_in_json_is_refused(tmp_path, text):
    names = [np.base_repr(n, 3).zfill(8) for n in range(3**8)]
    whole = json.dumps({name: {"test_acc": [90.5, 91, 92], "params": 5, "flops": 7} for name in names})
    for before, after in (("90.5", text), ('"params": 5', f'"params": {text}'), ("[90.5, 91, 92]", text)):
        (tmp_path / "m.json").write_text(whole.replace(before, after, 1))
        with pytest.raises(ArchGymError, match="architecture 00000000") as error:
            import_nas_bench_macro(tmp_path / "m.json")
        assert len(str(error.value)) < 400
    (tmp_path / "m.json").write_text("[" * 100_000)
    with pytest.raises(ArchGymError, match="is not a JSON file"):
        import_nas_bench_macro(tmp_path / "m.json")


# NASLib's tuples


def test_a_tuple_of_naslib_is_the_cell_that_naslib_says_it_is():
    """Strings from NASLib's `convert_op_indices_to_str`."""
    cell = "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_1x1~2|"
    assert nas.format(nas.parse((4, 0, 3, 1, 4, 3))) == cell == nas.format(nas.parse("(4, 0, 3, 1, 4, 3)"))
    assert (
        nas.format(nas.parse((0, 1, 2, 3, 4, 0)))
        == "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|skip_connect~2|"
    )
    every = {tuple(nas.parse(cell).tolist()) for cell in itertools.product(range(5), repeat=6)}
    assert len(every) == 15_625


@pytest.mark.parametrize(
    "cell",
    [
        (1, 2, 3),
        (5, 0, 0, 0, 0, 0),
        (-1, 0, 0, 0, 0, 0),
        (0.5,) * 6,
        tuple(shared(20)),
        [4, 0, 3, 1, 4, 3],
        None,
    ],
)
def test_what_is_no_tuple_of_naslib_is_refused(cell):
    with pytest.raises(
        ArchGymError,
        match=r"is not the tuple of a cell in NASLib: it has 6 integers from 0 to 4|a cell's string is text",
    ):
        nas.parse(cell)
