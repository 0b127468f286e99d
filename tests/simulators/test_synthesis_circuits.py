"""Circuits: what each generator computes, its file, and files of users that are refused."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.synthesis.circuits import Aig, build_circuit, list_circuits, load_circuit
from archgym.simulators.synthesis.circuits.aig import bits_of, number_of
from archgym.simulators.synthesis.circuits.aiger import read_ascii, read_binary
from archgym.simulators.synthesis.circuits.control import random_block

words = st.integers(0, 2**64 - 1)


def run(name: str, *operands: tuple[list[int], int]) -> np.ndarray:
    """The outputs of a circuit for lists of numbers, each with its number of bits."""
    return build_circuit(name).simulate(np.concatenate([bits_of(*operand) for operand in operands], 1))


def all_pairs(bits: int) -> tuple[list[int], list[int]]:
    pairs = list(product(range(1 << bits), repeat=2))
    return [a for a, _ in pairs], [b for _, b in pairs]


# --- what the generators compute ---


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_small_adders_multipliers_and_comparators_are_right_for_all_inputs(bits):
    a, b = all_pairs(bits)
    pairs = list(zip(a, b, strict=True))
    assert number_of(run(f"adder-{bits}", (a, bits), (b, bits))) == [x + y for x, y in pairs]
    assert number_of(run(f"multiplier-{bits}", (a, bits), (b, bits))) == [x * y for x, y in pairs]
    compared = run(f"comparator-{bits}", (a, bits), (b, bits)).tolist()
    assert compared == [[x < y, x == y, x > y] for x, y in pairs]


@settings(max_examples=20, deadline=None)
@given(a=words, b=words)
def test_wide_adders_multipliers_and_comparators_are_right(a, b):
    for bits in (13, 32):
        x, y = a % (1 << bits), b % (1 << bits)
        assert number_of(run(f"adder-{bits}", ([x], bits), ([y], bits))) == [x + y]
        assert run(f"comparator-{bits}", ([x], bits), ([y], bits)).tolist() == [[x < y, x == y, x > y]]
    x, y = a % (1 << 9), b % (1 << 9)
    assert number_of(run("multiplier-9", ([x], 9), ([y], 9))) == [x * y]


@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_decoders_set_the_output_of_their_number_alone(bits):
    numbers = list(range(1 << bits))
    assert number_of(run(f"decoder-{bits}", (numbers, bits))) == [1 << n for n in numbers]


@pytest.mark.parametrize("requests", [2, 5, 8, 11])
def test_priority_encoders_give_the_highest_request(requests):
    numbers = list(range(1 << requests))
    found = run(f"priority_encoder-{requests}", (numbers, requests))
    assert number_of(found[:, :-1]) == [max(n.bit_length() - 1, 0) for n in numbers]
    assert found[:, -1].tolist() == [n > 0 for n in numbers]


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.integers(0, 31), min_size=3, max_size=3), small=st.booleans())
def test_max_gives_the_largest_word_and_its_first_index(values, small):
    values = [v % 3 if small else v for v in values]  # small ones tie often
    found = run("max-3x5", *(([v], 5) for v in values))
    assert number_of(found[:, :5]) == [max(values)]
    assert number_of(found[:, 5:]) == [values.index(max(values))]


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_barrel_shifters_rotate(bits):
    rng = np.random.default_rng(bits)
    data, places = rng.integers(0, 2, (40, bits)).astype(bool), (bits - 1).bit_length()
    for distance in range(1 << places):
        rows = np.concatenate([data, np.repeat(bits_of([distance], places), len(data), 0)], 1)
        found = build_circuit(f"barrel_shifter-{bits}").simulate(rows)
        assert (found == np.roll(data, distance, axis=1)).all()


@pytest.mark.parametrize("bits", [2, 4, 8, 11])
def test_int_to_float_is_the_nearest_float_towards_zero(bits):
    numbers = list(range(1 << bits))
    found = run(f"int_to_float-{bits}", (numbers, bits))
    mantissas, exponents, signs = number_of(found[:, :3]), number_of(found[:, 3:-1]), found[:, -1]
    for n, mantissa, exponent, sign in zip(numbers, mantissas, exponents, signs, strict=True):
        x = n - (1 << bits) if n >> (bits - 1) else n
        assert sign == (x < 0) and exponent == abs(x).bit_length()
        leading = 1 << (exponent + 2) if exponent else 8
        expected = (abs(x) << 3) * 8 // leading - 8 if exponent else 0
        assert mantissa == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_random_blocks_compute_their_products_sums_and_decisions(seed):
    block, graph = random_block(seed, 12, 12), build_circuit(f"random-{seed}")
    rows = np.random.default_rng(seed).integers(0, 2, (60, 12)).astype(bool)
    assert graph.simulate(rows).tolist() == [block.evaluate(row) for row in rows.tolist()]
    assert 50 <= len(graph.ands) <= 250


def test_circuits_are_the_same_files_for_ever():
    # their tables and stored optima belong to these very files
    digests = {name: load_circuit(name).digest for name in ("adder-8", "int_to_float-11", "random-7")}
    assert digests == {
        "adder-8": "60b43a3579bb5883",
        "int_to_float-11": "fab6897e635b2399",
        "random-7": "52443e9c8a7e35b0",
    }


# --- graphs and files ---


def test_a_folder_of_the_same_name_does_not_hide_a_circuit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adder-8").mkdir()
    assert load_circuit("adder-8").suffix == ".aig"


def test_graphs_share_equal_ands_and_drop_trivial_ones():
    graph = Aig()
    a, b = graph.word(2)
    assert graph.and_(a, b) == graph.and_(b, a)
    assert [graph.and_(a, x) for x in (0, 1, a, a ^ 1)] == [0, a, a, 0]
    assert len(graph.ands) == 1
    with pytest.raises(ArchGymError, match="inputs before the first AND"):
        graph.word(1)


@pytest.mark.parametrize("name", list_circuits())
def test_files_hold_the_graph(name):
    graph, circuit = build_circuit(name), load_circuit(name)
    again = read_binary(circuit.content)
    assert circuit.suffix == ".aig" and circuit.name == name
    assert (again.inputs, again.ands, again.outputs) == (graph.inputs, graph.ands, graph.outputs)


def test_an_ascii_file_in_any_order_is_the_same_circuit(tmp_path):
    (tmp_path / "a.aag").write_bytes(b"aag 5 2 0 1 3\n4\n2\n11\n10 6 8\n6 2 4\n8 3 5\ni0 left\nc\nnote\n")
    (tmp_path / "a.aig").write_bytes(load_circuit(tmp_path / "a.aag").content)
    assert load_circuit(tmp_path / "a.aig").digest == load_circuit(tmp_path / "a.aag").digest
    graph = read_ascii((tmp_path / "a.aag").read_bytes())
    rows = bits_of(range(4), 2)
    assert graph.simulate(rows)[:, 0].tolist() == [True] * 4  # !((a & b) & (!a & !b))


@pytest.mark.parametrize("suffix", [".blif", ".bench", ".v"])
def test_netlists_go_to_the_tool_as_they_are(tmp_path, suffix):
    text = {".blif": BLIF, ".bench": BENCH, ".v": VERILOG}[suffix]
    path = tmp_path / f"$(touch x); `rm -r y` 'q' \"r\" & é{suffix}"
    path.write_text(text)
    circuit = load_circuit(path)
    assert circuit.content == text.encode() and circuit.suffix == suffix
    written = circuit.write(tmp_path)
    assert written.parent == tmp_path and written.name == f"{circuit.digest}{suffix}"
    assert written.read_bytes() == circuit.content


BLIF = """# a majority
.model maj
.inputs a b \\
 c
.outputs y
.names a b c y
11- 1
1-1 1
-11 1
.end
"""
BENCH = """# a majority
INPUT(a)
INPUT(b)
OUTPUT(y)
c = NOT(a)
one = vdd
t = LUT 0x8 ( a, b )
y = OR(t, c, one)
"""
VERILOG = """module top (a, b, y);  // `not a directive
  input a, b; output y; wire w;
  and g (w, a, b);
  assign y = ~w | (a ^ b);
endmodule
"""

REFUSED = {
    # AIGER
    "empty.aig": (b"", 'expected a header "aig'),
    "magic.aig": (b"aag 1 1 0 1 0\n2\n2\n", 'expected a header "aig'),
    "nan.aig": (b"aig nan 1 0 1 1\n", "as a whole number"),
    "minus.aig": (b"aig 2 -1 0 1 1\n4\n\x02\x01", "as a whole number"),
    "infinite.aig": (b"aig 2 1e9 0 1 1\n4\n\x02\x01", "as a whole number"),
    "huge.aig": (b"aig 999999999 1 0 1 999999998\n2\n", "at most 1,000,000 nodes"),
    "latch.aig": (b"aig 2 1 1 1 0\n4 2\n4\n", "a combinational circuit, got 1 latches"),
    "bad.aig": (b"aig 1 1 0 1 0 1\n2\n2\n", "properties of AIGER 1.9"),
    "sum.aig": (b"aig 9 1 0 1 1\n4\n\x02\x01", "M = I"),
    "output.aig": (b"aig 2 1 0 1 1\n99\n\x02\x01", "output 0 as a literal up to 5"),
    "short.aig": (b"aig 4 2 0 1 2\n8\n\x02\x02\x02", "the file ends within AND 4"),
    "noout.aig": (b"aig 4 2 0 3 2\n8\n", "output 1 is missing"),
    "cycle.aig": (b"aig 3 2 0 1 1\n6\n\x00\x02", "literals below 6"),
    "negative.aig": (b"aig 3 2 0 1 1\n6\n\x07\x02", "literals below 6"),
    "long.aig": (b"aig 3 2 0 1 1\n6\n" + b"\xff" * 9, "more than five bytes"),
    "none.aig": (b"aig 1 0 0 1 1\n2\n\x01\x01", "expected inputs and outputs"),
    "cycle.aag": (b"aag 4 2 0 1 2\n2\n4\n6\n6 8 2\n8 6 4\n", "without cycles, got one through"),
    "self.aag": (b"aag 3 2 0 1 1\n2\n4\n6\n6 6 2\n", "without cycles, got one through"),
    "twice.aag": (b"aag 3 2 0 1 1\n2\n4\n6\n4 2 2\n", "even and new, got 4"),
    "undriven.aag": (b"aag 4 2 0 1 1\n2\n4\n6\n6 8 2\n", "variable 4 is neither"),
    "truncated.aag": (b"aag 4 2 0 1 2\n2\n4\n6\n6 4 2\n", "AND 1 as three literals"),
    # BLIF
    "search.blif": (b".model a\n.search /etc/passwd\n.end\n", "line 2 has '.search'"),
    "latch.blif": (b".model a\n.inputs x\n.outputs y\n.latch x y 0\n.end\n", "cut latches"),
    "subckt.blif": (b".model a\n.inputs x\n.outputs y\n.subckt b x=x y=y\n.end\n", "flatten it"),
    "two.blif": (BLIF.encode() * 2, "more after .end"),
    "truncated.blif": (BLIF[:60].encode(), "the file may be truncated"),
    "backslash.blif": (BLIF.split("\n c")[0].encode(), "is truncated"),
    "cycle.blif": (
        b".model a\n.inputs x\n.outputs y\n.names x z y\n11 1\n.names y z\n1 1\n.end\n",
        "without cycles, got one through",
    ),
    "twice.blif": (BLIF.replace(".end", ".names a y\n1 1\n.end").encode(), "two drivers"),
    "row.blif": (BLIF.replace("-11 1", "-1n 1").encode(), "row of .names in line 9"),
    "width.blif": (BLIF.replace("-11 1", "-1 1").encode(), "row of .names in line 9"),
    "both.blif": (BLIF.replace("-11 1", "-11 0").encode(), "with one value"),
    "command.blif": (BLIF.replace(".end", "quit\n.end").encode(), "got 'quit'"),
    "binary.blif": (b".model a\0b\n", "other bytes in line 1"),
    "undriven.blif": (BLIF.replace(".inputs a", ".inputs").encode(), "nothing drives signal 'a'"),
    # BENCH
    "flipflop.bench": (b"INPUT(a)\nOUTPUT(q)\nq = DFF(a)\n", "line 3 has a flip-flop"),
    "cycle.bench": (b"INPUT(a)\nOUTPUT(y)\ny = AND(a, z)\nz = NOT(y)\n", "without cycles"),
    "truncated.bench": (BENCH[:80].encode(), "in line 7|nothing drives"),
    "command.bench": (BENCH.encode() + b"!rm -rf /\n", "got '!rm -rf /'"),
    "gate.bench": (BENCH.replace("OR", "SH").encode(), "got SH of 3"),
    "arity.bench": (BENCH.replace("NOT(a)", "NOT(a, b)").encode(), "got NOT of 2"),
    "space.bench": (BENCH.replace("t, c", "t c").encode(), "expected a gate"),
    "long.bench": (BENCH.encode() + b"z" * 2000 + b" = NOT(a)\n", "at most 1000 characters"),
    "empty.bench": (b"", "got 0 and 0"),
    # Verilog
    "include.v": (VERILOG.replace("wire", '`include "x"\nwire').encode(), "'`include' is not taken"),
    "system.v": (VERILOG.replace("assign", '$system("rm");assign').encode(), "'\\$system' is not taken"),
    "always.v": (VERILOG.replace("assign", "always assign").encode(), "got always"),
    "reg.v": (VERILOG.replace("wire w", "reg w").encode(), "cut registers"),
    "two.v": (VERILOG.encode() * 2, "one module"),
    "nested.v": (b"module m (); " + VERILOG.encode(), "got 2 and 1"),
    "truncated.v": (VERILOG[:90].encode(), "truncated"),
    "comment.v": (b"/* " + VERILOG.encode(), "comment does not end"),
    "after.v": (VERILOG.encode() + b"quit", "one module"),
    # others
    "web.blif": (b"<!DOCTYPE html><p>", "a web page"),
    "packed.aig": (b"\x1f\x8b\x08", "gzip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_and_broken_files_are_refused_in_one_line(tmp_path, name):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArchGymError, match=message) as caught:
        load_circuit(tmp_path / name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert str(tmp_path / name) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused_and_never_crash(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    sources = {
        ".aig": load_circuit("random-7").content,
        ".aag": b"aag 5 2 0 1 3\n4\n2\n11\n10 6 8\n6 2 4\n8 3 5\n",
        **{".blif": BLIF.encode(), ".bench": BENCH.encode(), ".v": VERILOG.encode()},
    }
    suffix = data.draw(st.sampled_from(sorted(sources)))
    content = bytearray(sources[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = folder / f"damaged{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        circuit = load_circuit(path)
    except ArchGymError as error:
        assert "\n" not in str(error)
    else:
        if circuit.suffix == ".aig":
            read_binary(circuit.content)


def test_files_that_are_too_large_or_no_files_are_refused(tmp_path):
    with (tmp_path / "large.blif").open("wb") as file:
        file.truncate(17 << 20)
    os.mkfifo(tmp_path / "pipe.blif")
    (tmp_path / "folder.aig").mkdir()
    for name, message in (
        ("large.blif", "at most 16 MiB"),
        ("pipe.blif", "a FIFO"),
        ("folder.aig", "a folder"),
        ("absent.v", "no file at"),
        ("x.vhdl", "expected a circuit"),
    ):
        with pytest.raises(ArchGymError, match=message):
            load_circuit(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("addr-8", "did you mean 'adder'"),
        ("adder-0", "bits of 'adder' in 1 to 1,024, got 0"),
        ("adder-8x8", "takes adder-<bits>, got 2 numbers"),
        ("max-4", "takes max-<words>x<bits>"),
        ("multiplier-65", "in 1 to 64"),
        ("random-7x3", "in 4 to 64, got 3"),
        ("adder", "needs its numbers: adder-<bits>"),
        ("adder-8; quit", "expected a circuit"),
        ("", "expected a circuit"),
        (Path("adder-8"), "expected a circuit"),
    ],
)
def test_wrong_names_of_circuits_are_refused_in_one_line(name, message):
    with pytest.raises(ArchGymError, match=message) as caught:
        load_circuit(name)
    assert "\n" not in str(caught.value)
