"""Traces of memory requests: files, generated ones, statistics, and `archgym trace`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from archgym.cli.trace import trace as command
from archgym.errors import ArchGymError
from archgym.simulators.dram.generators import (
    BANKS,
    LINE_BYTES,
    MEMORY_BYTES,
    ROW_BYTES,
    generate,
    list_generators,
)
from archgym.simulators.dram.statistics import WINDOW, describe
from archgym.simulators.dram.traces import Trace, load_trace, read_trace, trace_features, write_trace

TRACES = Path(__file__).parents[3] / "shared" / "data" / "dram" / "traces"
LINES = "# a comment\n0: read 0x0\n0:\twrite\t0x1fff\n\n  5 : WRITE 0x2000 0xff00\n7: read 0x2040\r\n"


def make(addresses, cycles=None, writes=None):
    count = len(addresses)
    cycles = np.arange(count) if cycles is None else np.array(cycles)
    writes = np.zeros(count, bool) if writes is None else np.array(writes, bool)
    return Trace("made", cycles.astype(np.int64), writes, np.array(addresses, np.int64))


def of_dramsys(name: str) -> Path:
    path = TRACES / f"{name}.stl"
    if not path.is_file():
        pytest.skip(f"DRAMSys' trace is not at {path}")
    return path


# --- files ---


def test_requests_are_read_with_comments_and_blank_lines_between(tmp_path):
    path = tmp_path / "four.stl"
    path.write_text(LINES)
    found = read_trace(path)
    assert found.name == "four" and found.late == 0
    assert found.cycle.tolist() == [0, 0, 5, 7]
    assert found.write.tolist() == [False, True, True, False]
    assert found.address.tolist() == [0, 0x1FFF, 0x2000, 0x2040]
    assert load_trace(str(path)) == load_trace(path) == found == load_trace(found)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**40), st.booleans(), st.integers(0, MEMORY_BYTES - 1)),
        min_size=1,
        max_size=40,
    )
)
def test_a_trace_comes_back_as_it_was_written(tmp_path_factory, requests):
    cycles, writes, addresses = zip(*sorted(requests), strict=True)
    trace = make(addresses, cycles, writes)
    path = write_trace(trace, tmp_path_factory.mktemp("traces") / "one.stl")
    again = read_trace(path)
    for name in ("cycle", "write", "address"):
        assert (getattr(again, name) == getattr(trace, name)).all()
    assert again.digest == trace.digest
    assert trace_features(again) == trace_features(path)


def test_a_request_whose_cycle_has_passed_arrives_with_the_one_before(tmp_path):
    path = tmp_path / "late.stl"
    path.write_text("5: read 0x0\n3: read 0x40\n4: write 0x80\n9: read 0xc0\n")
    found = read_trace(path)
    assert found.cycle.tolist() == [5, 5, 5, 9] and found.late == 2


def test_the_traces_of_dramsys_are_read():
    figures = {"cloud-1": (10_000, 0, 0), "stream": (10_000, 0, 0), "ddr3_example": (1_876, 1_108, 1_404)}
    for name, expected in figures.items():
        found = read_trace(of_dramsys(name))
        assert (len(found), int(found.write.sum()), found.late) == expected
    assert len(load_trace(of_dramsys("cloud-2"))) == 10_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "expected 1 to 1,000,000 requests, got 0"),
        (b"# nothing\n", "got 0"),
        (
            b"0: read 0x0\n1: rend 0x0\n",
            "expected 'CYCLE: read|write 0xADDRESS' in line 2, got '1: rend 0x0'",
        ),
        (b"0: read 0x0\n\n-1: read 0x0\n", "in line 3"),
        (b"0: read 64\n", "in line 1"),
        (b"(64) 0: read 0x0\n", "in line 1"),
        (b"9" * 5000 + b": read 0x0\n", "in line 1, got '999999"),
        (b"0: read 0x" + b"f" * 5000 + b"\n", "in line 1, got '0: read 0xff"),
        (b"0: read 0x3fffffff\n1: write 0x40000000\n", "expected addresses below 0x40000000.*in line 2"),
        (b"0: read 0x0\n\0\n", "expected text, got binary data"),
        (b"\x80\xff\xfe\n", "in line 1"),
        (b"\x1f\x8b\x08\0", "is a gzip file: unpack it first"),
        (b"0: \x1b[31mred 0x0\n", r"\\x1b"),
    ],
)
def test_files_that_are_no_trace_are_refused_in_one_line(content, reason, tmp_path):
    path = tmp_path / "bad.stl"
    path.write_bytes(content)
    with pytest.raises(ArchGymError, match=reason) as refused:
        load_trace(path)
    message = str(refused.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 400


def test_huge_files_and_what_is_no_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("archgym.simulators.dram.traces.MOST_BYTES", 1 << 20)
    (tmp_path / "huge.stl").write_bytes(b"# " + b"x" * (2 << 20))
    with pytest.raises(ArchGymError, match="at most 1 MiB"):
        read_trace(tmp_path / "huge.stl")
    for path, reason in ((tmp_path, "it is a folder"), (tmp_path / "none.stl", "no trace at .*none.stl")):
        with pytest.raises(ArchGymError, match=reason):
            load_trace(path)
    with pytest.raises(ArchGymError, match="does not exist"):
        write_trace(make([0]), tmp_path / "none" / "one.stl")


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "one.stl"
    path.write_text("0: read 0x0\n")
    first = load_trace(path)
    path.write_text("0: read 0x0\n10: read 0x40\n")
    assert len(first) == 1 and len(load_trace(path)) == 2


def test_a_trace_is_an_immutable_value():
    trace = make([0, 64])
    assert trace == make([0, 64]) != make([0, 128]) and hash(trace) == hash(make([0, 64]))
    with pytest.raises(ValueError, match="read-only"):
        trace.address[0] = 1
    for wrong in ({"cycles": [1, 0]}, {"cycles": [-1, 0]}, {"cycles": [1]}, {"writes": [True]}):
        with pytest.raises(ArchGymError, match="expected"):
            make([0, 64], **wrong)
    with pytest.raises(ArchGymError, match="trace of 1 to 1,000,000 requests, got 0"):
        make([])
    with pytest.raises(ArchGymError, match="address 0x80, beyond the memory of 128 bytes"):
        load_trace(make([0, 128]), capacity=128)


# --- generated traces ---


@pytest.mark.parametrize("kind", list_generators())
def test_generated_traces_are_the_same_each_time_and_follow_their_common_parameters(kind):
    trace = load_trace(f"{kind}:seed=3")
    assert len(trace) == 10_000 and trace == load_trace(f"{kind}:seed=3") and trace.name == f"{kind}:seed=3"
    assert trace.address.max() < MEMORY_BYTES and not (trace.address % LINE_BYTES).any()
    defaults = list_generators()[kind]
    if "writes" in defaults:
        assert load_trace(f"{kind}:writes=0.3").write.mean() == pytest.approx(0.3, abs=0.02)
        assert not load_trace(kind).write.any()
    spread = load_trace(f"{kind}:requests=900,gap=20,burst=9")
    gaps = np.diff(spread.cycle)
    assert len(spread) == 900 and spread.cycle[-1] == pytest.approx(900 * 20, rel=0.02)
    assert (gaps[np.arange(len(gaps)) % 9 != 8] == 1).all() and (gaps[8::9] == 172).all()
    if kind not in ("stream", "strided", "copy", "transpose", "tiles"):
        assert trace != load_trace(f"{kind}:seed=4")


def test_each_kind_has_the_pattern_that_it_is_called_after():
    def rows(name):
        return load_trace(name).address // ROW_BYTES

    stream, two = load_trace("stream").address, load_trace("stream:streams=2").address
    assert (np.diff(stream) == LINE_BYTES).all() and (np.diff(two[::2]) == LINE_BYTES).all()
    assert (np.diff(load_trace("strided:stride=65536").address[:100]) == 65536).all()
    assert len(np.unique(rows("strided:stride=65536")[:100] % BANKS)) == 1
    assert (np.diff(rows("row_hits:hits=0.8")) == 0).mean() == pytest.approx(0.8, abs=0.02)
    assert np.sort(np.unique(rows("hot_rows:rows=4,hot=0.7"), return_counts=True)[1])[-4:].sum() == (
        pytest.approx(7000, abs=200)
    )
    flat, steep = (np.unique(rows(f"zipf:exponent={e}"), return_counts=True)[1].max() for e in (0, 1.5))
    assert steep > 20 * flat
    assert set(rows("banks:banks=3") % BANKS) == {0, 1, 2}
    chase = load_trace("pointer_chase:nodes=100")
    assert (chase.address[:100] == chase.address[100:200]).all() and np.diff(chase.cycle).min() == 40
    copy = load_trace("copy:block=8")
    assert copy.write[:16].tolist() == [False] * 8 + [True] * 8
    assert (copy.address[8:16] - copy.address[:8] == MEMORY_BYTES // 2).all()
    gather = load_trace("gather:fanout=4").address
    assert (np.diff(gather[::5]) == LINE_BYTES).all()
    transpose = load_trace("transpose:size=1024")
    assert transpose.write[:9].tolist() == [False] + [True] * 8
    assert (np.diff(transpose.address[1:9]) == 1024 * 8).all()
    tiles = load_trace("tiles:pitch=16384,tile=512").address
    assert np.diff(tiles[:9]).tolist() == [LINE_BYTES] * 7 + [16384 - 7 * LINE_BYTES]
    assert describe(load_trace("bursts")).longest_burst == 32


def test_a_transpose_writes_each_element_of_the_matrix_once():
    requests = 9 * 16 * 2  # a matrix of 16 x 16 has 2 lines in a row
    trace = load_trace(f"transpose:size=16,requests={requests}")
    read, written = trace.address[~trace.write], trace.address[trace.write] - MEMORY_BYTES // 2
    assert read.tolist() == [LINE_BYTES * i for i in range(32)]
    assert np.unique(written, return_counts=True)[1].tolist() == [8] * 32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("randmo", "unknown trace 'randmo'; did you mean 'random'"),
        ("random:sed=1", "unknown parameter of the trace 'random' 'sed'; did you mean 'seed'"),
        ("copy:writes=0.5", "unknown parameter of the trace 'copy' 'writes'"),
        ("random:writes=2", "expected writes of the trace 'random' from 0 to 1, got '2'"),
        ("random:gap=nan", "expected gap of the trace 'random' from 0"),
        ("random:seed", "expected seed of the trace 'random' as a whole number, as in seed=0, got 'seed'"),
        ("random:seed=1.5", "as a whole number"),
        ("random:seed=1,seed=2", "got it twice"),
        ("random:requests=2000000", "from 1 to 1,000,000"),
        (3, "unknown trace '3'"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, reason):
    with pytest.raises(ArchGymError, match=reason):
        load_trace(name)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(list_generators())), st.data())
def test_any_parameter_in_its_range_gives_requests_to_the_memory(kind, data):
    from archgym.simulators.dram import generators

    words = []
    for key, default in list_generators()[kind].items():
        low, high = generators._range(key)
        if key == "requests":
            words.append(f"requests={data.draw(st.integers(1, 300))}")
        elif data.draw(st.booleans()):
            numbers = st.integers(low, high) if isinstance(default, int) else st.floats(low, high)
            words.append(f"{key}={data.draw(numbers)}")
    Trace("drawn", *generate(f"{kind}:{','.join(words)}"))
    address = generate(f"{kind}:{','.join(words)}").address
    assert address.max() < MEMORY_BYTES and not (address % LINE_BYTES).any()


# --- statistics ---


def by_hand(trace):
    """Hits, misses and conflicts by a loop over the requests."""
    opened, counts = {}, [0, 0, 0]
    for address in trace.address.tolist():
        row = address // ROW_BYTES
        kind = 1 if row % BANKS not in opened else 0 if opened[row % BANKS] == row else 2
        counts[kind] += 1
        opened[row % BANKS] = row
    return counts


@pytest.mark.parametrize(
    "name", ["random:footprint=1048576", "row_hits", "stream", "banks:banks=2", "gather"]
)
def test_hits_misses_and_conflicts_are_those_of_open_rows_in_order(name):
    trace = load_trace(f"{name}{',' if ':' in name else ':'}requests=2000")
    found = describe(trace)
    shares = np.array(by_hand(trace)) / 2000
    assert [found.hits, found.misses, found.conflicts] == pytest.approx(shares.tolist())
    share = np.array(found.banks["share"])
    assert share.sum() == pytest.approx(1)
    assert share @ found.banks["hits"] == pytest.approx(found.hits)
    assert share @ found.banks["conflicts"] == pytest.approx(found.conflicts)


def test_counts_are_those_of_the_requests():
    row = ROW_BYTES
    found = describe(
        make([0, 64, row, 8 * row, 0, 0], [0, 1, 1, 50, 51, 60], [False, True, True, False, False, False])
    )
    assert (found.requests, found.reads, found.writes, found.turnarounds) == (6, 4, 2, 2)
    assert (found.cycles, found.rows, found.lines) == (61, 3, 4)
    assert found.bytes_s == pytest.approx(6 * 64 * 800e6 / 61)
    assert (found.bursts, found.longest_burst, found.longest_pause) == (3, 3, 49)
    assert (found.repeated, found.near) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert [describe(make([0, 64], [0, gap])).bursts for gap in (4, 5)] == [1, 2]
    far = describe(make([0, *(row * (1 + i) for i in range(WINDOW)), 0]))
    assert far.near == 0 and describe(make([0, *(row * (2 + i) for i in range(WINDOW - 1)), 0])).near > 0


# --- archgym trace ---


def invoke(*arguments: object):
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, [str(each) for each in arguments])


def test_a_trace_is_described_and_written(tmp_path):
    out = tmp_path / "mine.stl"
    result = invoke("hot_rows:writes=0.25,requests=2000", "--out", out)
    assert result.exit_code == 0
    for words in ("2,000 requests of 64 bytes", "changes of direction", "Open page", "Conflicts", str(out)):
        assert words in result.output
    assert read_trace(out) == load_trace("hot_rows:writes=0.25,requests=2000")
    again = json.loads(invoke(out, "--json").output)
    found = describe(read_trace(out)).to_dict()
    assert again["name"] == "mine" and {key: again[key] for key in found} == found


def test_without_a_name_the_generated_traces_are_listed():
    assert json.loads(invoke("--json").output) == list_generators()
    assert all(kind in invoke().output for kind in list_generators())


def test_late_requests_are_named_and_wrong_files_refused(tmp_path):
    (tmp_path / "late.stl").write_text("5: read 0x0\n3: read 0x40\n")
    assert "1 at a cycle that had passed" in invoke(tmp_path / "late.stl").output
    for arguments in (("rand",), ("random", "--out", tmp_path / "mine.csv"), (tmp_path / "none.stl",)):
        result = invoke(*arguments)
        assert isinstance(result.exception, ArchGymError)
