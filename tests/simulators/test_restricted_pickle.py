"""Pickles read as data: what a benchmark's files hold comes back whole, and no file runs code."""

from __future__ import annotations

import bz2
import collections
import contextlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.nas.tables.restricted_pickle import load_pickle

RECORDS = Path(__file__).parents[3] / "shared" / "data" / "nas" / "nats_bench_records"


@pytest.fixture
def read(tmp_path):
    """What a pickle of these bytes holds."""

    def read(content: bytes, **options: int):
        path = tmp_path / "data.pickle"
        path.write_bytes(content)
        return load_pickle(path, **options)

    return read


# What is data


@pytest.mark.skipif(not RECORDS.exists(), reason="the records of NATS-Bench are not there")
def test_records_of_the_published_benchmark_are_what_python_unpickles():
    for path in sorted(RECORDS.glob("*.pbz2")):
        found, expected = load_pickle(path), pickle.loads(bz2.decompress(path.read_bytes()))
        assert found == expected
    training = load_pickle(RECORDS / "000011.pickle.pbz2")["12"]["all_results"]["cifar10", 111]
    assert type(training["train_times"]) is collections.OrderedDict and type(training["params"]) is np.float64


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back_in_every_protocol(tmp_path, protocol):
    value = {
        "a": [1, 2.5, True, None, (), (1,), (1, 2, 3, 4), -(2**40), 2**70],
        ("b", 3): {},
        7: collections.OrderedDict(x=1, y=2),
        "é": set(),
    }
    path = tmp_path / "data.pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    if protocol < 4:  # an empty set is a call of a builtin there
        with pytest.raises(ArchGymError, match=r"builtin.*\.set"):
            load_pickle(path)
        del value["é"]
        path.write_bytes(pickle.dumps(value, protocol))
    found = load_pickle(path)
    assert found == value and type(found[7]) is collections.OrderedDict


def test_lists_and_dictionaries_of_protocol_0_are_data(tmp_path):
    value = {"a": [1, 2.5, [], {}], "b": {"c": {}, "d": (1, "x")}}
    (tmp_path / "data.pickle").write_bytes(pickle.dumps(value, 0))
    assert load_pickle(tmp_path / "data.pickle") == value


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@given(plain, st.sampled_from([3, 4, 5]))
def test_any_plain_value_survives(tmp_path_factory, value, protocol):
    path = tmp_path_factory.mktemp("plain") / "data.pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_pickle(path) == value


@pytest.mark.parametrize("dtype", ["?", "i1", "<i4", ">i4", "<i8", "<u2", "<f2", "<f4", "<f8", ">f8"])
def test_numbers_of_numpy_keep_type_and_byte_order(read, dtype):
    value = np.array([1.5], dtype)[0]
    found = read(pickle.dumps(value, 4))
    assert found == value and found.dtype == value.dtype


def test_numbers_written_by_numpy_1_and_2_are_the_same(read):
    content = pickle.dumps(np.float64(0.25), 4)
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        old, new = b"numpy._core.multiarray", module
        swapped = content.replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
        at = swapped.index(b"\x95")
        swapped = swapped[:at] + swapped[at + 9 :]  # without the frame, whose length has changed
        assert read(swapped) == 0.25


# What is not


class Runs:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def touch(path) -> str:
    return f"touch {path}"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def attacks(mark: Path) -> dict[str, bytes]:
    """Pickles that would create the file `mark`, or could do more than build data."""
    command = f"V{touch(mark)}\n".encode()
    python = f"Vopen({str(mark)!r}, 'w')\n".encode()
    text = pickle.dumps(touch(mark), 4)[2:-1]
    return {
        "os.system": pickle.dumps(Runs(os.system, touch(mark)), 4),
        "os.system in protocol 0": pickle.dumps(Runs(os.system, touch(mark)), 0),
        "os.system in a list of data": pickle.dumps({"a": [1, 2, Runs(os.system, touch(mark))]}, 4),
        "eval": pickle.dumps(Runs(eval, f"open({str(mark)!r}, 'w')"), 2),
        "getattr": named("builtins", "getattr") + b"(" + named("os", "path") + python + b"tR.",
        "a dotted name": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
        "a dotted name under an admitted one": b"\x80\x04\x8c\x05numpy\x8c\x13dtype.__reduce_ex__\x93.",
        "INST": b"(" + command + b"ios\nsystem\n.",
        "OBJ": b"(" + named("os", "system") + command + b"o.",
        "NEWOBJ": named("collections", "OrderedDict") + b")\x81.",
        "NEWOBJ_EX": b"\x80\x04" + named("collections", "OrderedDict") + b")}\x92.",
        "a persistent id": b"Pmine\n.",
        "a persistent id from the stack": b"K\x01Q.",
        "the extension registry": b"\x82\x01.",
        "the extension registry, two bytes": b"\x83\x01\x00.",
        "the extension registry, four bytes": b"\x84\x01\x00\x00\x00.",
        "a buffer outside": b"\x97.",
        "the state of a class": named("collections", "OrderedDict") + b"}Vx\nK\x01sb.",
        "slots of a function": named("numpy", "dtype") + b"N}V__call__\nK\x01s\x86b.",
        "a call of data": b"K\x01)R.",
        "an argument of OrderedDict": named("collections", "OrderedDict") + b"(]tR.",
        "a dtype of objects": named("numpy", "dtype") + b"(VO8\n\x89\x88tR.",
        "a dtype of records": named("numpy", "dtype") + b"(]tR.",
        "a dtype of gigabytes": named("numpy", "dtype") + b"(VV2000000000\n\x89\x88tR.",
        "a dtype from text": named("numpy", "dtype") + b"(Vf8,O\n\x89\x88tR.",
        "the state of a dtype": named("numpy", "dtype")
        + b"(Vf8\n\x89\x88tR(K\x03V<\nV(a)\n(Va\ntNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",
        "a number of objects": named("numpy.core.multiarray", "scalar")
        + b"("
        + named("numpy", "dtype")
        + b"(VO8\n\x89\x88tRNtR.",
        "a number of text": named("numpy.core.multiarray", "scalar") + b"(VO8\n" + text + b"tR.",
        "an array": pickle.dumps(np.arange(3), 4),
        "an array of objects": pickle.dumps(np.array([Runs(os.system, touch(mark))], object), 4),
        "a class of ours": pickle.dumps(Path("x"), 4),
        "a byte array of petabytes": b"\x80\x05\x96" + struct.pack("<Q", 2**50) + b".",
        "a set": pickle.dumps({1, 2}, 4),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "bzip2"])
def test_a_pickle_that_is_more_than_data_is_refused_and_runs_nothing(tmp_path, name, compressed):
    mark, path = tmp_path / "it-ran", tmp_path / "evil.pickle"
    content = attacks(mark)[name]
    path.write_bytes(bz2.compress(content) if compressed else content)
    with pytest.raises(ArchGymError, match=r"evil\.pickle contains code: it .*; nothing was run"):
        load_pickle(path)
    assert not mark.exists()


def test_the_attacks_would_run_where_pickles_are_trusted(tmp_path):
    for name in (
        "os.system",
        "os.system in protocol 0",
        "os.system in a list of data",
        "eval",
        "INST",
        "OBJ",
        "an array of objects",
    ):
        mark = tmp_path / name.replace(" ", "-")
        pickle.loads(attacks(mark)[name])
        assert mark.exists(), name


def test_the_refused_name_is_in_the_message(read):
    for content, name in (
        (named("os", "system") + b".", "os.system"),
        (named("numpy.core.multiarray", "_reconstruct") + b".", "numpy.core.multiarray._reconstruct"),
        (b"(ishutil\nrmtree\n.", "shutil.rmtree"),
        (b"\x82\x01.", "EXT1"),
        (b"K\x01Q.", "BINPERSID"),
    ):
        with pytest.raises(ArchGymError, match=name):
            read(content)


def test_admitted_names_that_are_not_called_are_inert_labels(read):
    found = read(named("numpy", "dtype") + b".")
    assert not callable(found) and found is not np.dtype


def test_state_of_one_file_does_not_reach_the_next(read):
    number = pickle.dumps(np.float64(2.0), 4)
    with pytest.raises(ArchGymError):
        read(attacks(Path("x"))["slots of a function"])
    assert read(number) == 2.0


# Damage


def test_a_pickle_cut_off_anywhere_is_refused(read):
    content = pickle.dumps({"a": [1.5, "text", (1, 2)], "b": np.float64(3.0)}, 4)
    for length in range(len(content)):
        with pytest.raises(ArchGymError, match="damaged or cut off"):
            read(content[:length])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "data.pickle"
    path.write_bytes(content)
    try:
        load_pickle(path)
    except ArchGymError as error:
        assert "data.pickle" in str(error)


@given(st.data())
def test_a_flipped_byte_runs_nothing_and_raises_nothing_else(tmp_path_factory, data):
    content = bytearray(
        pickle.dumps({"a": [1.5, "text", (1, 2)], "b": np.float64(3.0), "c": collections.OrderedDict(d=1)}, 4)
    )
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("flipped") / "data.pickle"
    path.write_bytes(content)
    with contextlib.suppress(ArchGymError):
        load_pickle(path)


def test_damaged_and_cut_off_compression_is_told_apart(read):
    content = bz2.compress(pickle.dumps(list(range(20_000)), 4))
    with pytest.raises(ArchGymError, match="is cut off; get it again"):
        read(content[: len(content) // 2])
    with pytest.raises(ArchGymError, match="is damaged: Invalid data stream"):
        read(content[:100] + bytes(50) + content[150:])


def test_what_unpacks_to_too_much_is_not_unpacked(read):
    with pytest.raises(ArchGymError, match="unpacks to more than 1 MiB"):
        read(bz2.compress(bytes(50 * 2**20)), limit=2**20)


def test_keys_that_nest_without_end_are_refused_and_break_nothing(read):
    with pytest.raises(ArchGymError, match="a key that is neither text nor a number"):
        read(b"}K\x01" + b"\x85" * 1_000_000 + b"K\x01s.")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pickle"):
        with pytest.raises(ArchGymError, match=f"cannot read {path}"):
            load_pickle(path)
