"""Energy and area tables: interpolation, extrapolation, what ships, and what is refused."""

import math

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.energy import TABLES, area_mm2, list_energy_tables, load_energy_table

TABLE = """
node_nm = 7
sram_bits = 32
sram_exponent = 0.5
dram_pj_per_bit = 2.0
noc_register_accesses = 3.0
wire_pitch_um = 0.1
[mac_pj]
int8 = 0.25
[mac_um2]
int8 = 100.0
[memories]
sram = [[4096, 16.0, 32.0, 8000, 0.4], [1024, 8.0, 12.0, 2000, 0.1]]
"""


@pytest.fixture
def mine(tmp_path):
    """A table of round numbers, its memories not in order."""
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    return path


def test_a_table_gives_what_is_written_in_it(mine):
    table = load_energy_table(str(mine))
    assert (table.name, table.node_nm, table.dram_pj_per_byte, table.wire_pitch_um) == ("mine", 7, 16.0, 0.1)
    assert table.mac_pj("int8") == 0.25
    assert table.mac_um2(np.array(["int8", "int8"])).tolist() == [100.0, 100.0]
    read, write = table.sram_pj_per_byte([1024, 4096])
    np.testing.assert_allclose(read, [8 / 4, 16 / 4], rtol=1e-14)  # 32 bits an access
    np.testing.assert_allclose(write, [12 / 4, 32 / 4], rtol=1e-14)
    np.testing.assert_allclose(table.sram_um2([1024, 4096]), [2000, 8000], rtol=1e-14)
    np.testing.assert_allclose(table.sram_leakage_w([1024, 4096]), [1e-4, 4e-4], rtol=1e-14)


def test_between_two_memories_costs_lie_on_a_line_in_logarithms(mine):
    table = load_energy_table(str(mine))
    read, write = table.sram_pj_per_byte(2048)  # half way
    assert read == pytest.approx(math.sqrt(8 * 16) / 4)
    assert write == pytest.approx(math.sqrt(12 * 32) / 4)
    assert table.sram_um2(2048) == pytest.approx(4000)


def test_beyond_the_memories_energy_follows_the_exponent_and_area_and_leakage_the_capacity(mine):
    table = load_energy_table(str(mine))
    assert table.sram_pj_per_byte(256)[0] == pytest.approx(2 / 2)
    assert table.sram_pj_per_byte(4 * 4096)[1] == pytest.approx(8 * 2)
    assert table.sram_um2(4 * 4096) == pytest.approx(32000)
    assert table.sram_um2(256) == pytest.approx(500)
    assert table.sram_leakage_w(256) == pytest.approx(0.25e-4)


def test_a_transfer_to_a_pe_costs_accesses_to_a_register_file_of_512_bytes(mine):
    table = load_energy_table(str(mine))
    assert table.noc_pj_per_byte == pytest.approx(3 * table.sram_pj_per_byte(512)[0])
    assert load_energy_table("accelforge_nvdla").noc_pj_per_byte == 0


@pytest.mark.parametrize("name", ["45nm", "65nm"])
@given(capacity=st.integers(8, 2**26))
def test_memories_cost_what_the_reference_says(name, capacity):
    table = load_energy_table(name)
    found = *table.sram_pj_per_byte(capacity), table.sram_um2(capacity), table.sram_leakage_w(capacity)
    np.testing.assert_allclose(found, reference.memory(name, capacity), rtol=1e-12)


@pytest.mark.parametrize("name", ["45nm", "65nm"])
def test_larger_memories_and_wider_operands_cost_more(name):
    table, capacities = load_energy_table(name), 2 ** np.arange(4, 25)
    for costs in (
        *table.sram_pj_per_byte(capacities),
        table.sram_um2(capacities),
        table.sram_leakage_w(capacities),
    ):
        assert (np.diff(costs) > 0).all()
    precisions = np.array(["int8", "fp16", "fp32"])
    assert (np.diff(table.mac_pj(precisions)) > 0).all()
    assert (np.diff(table.mac_um2(precisions)) > 0).all()


def test_the_newer_node_costs_less():
    newer, older = load_energy_table("45nm"), load_energy_table("65nm")
    for capacity in 2 ** np.arange(10, 23):
        assert newer.sram_um2(capacity) < older.sram_um2(capacity)
        assert sum(newer.sram_pj_per_byte(capacity)) < sum(older.sram_pj_per_byte(capacity))
    assert newer.mac_pj("int8") < older.mac_pj("int8")


def test_area_is_that_of_pes_buffer_and_wires(mine):
    table = load_energy_table(str(mine))
    pe = 100 + 2000
    wires = 8 * 16 * 0.1 * (4 * math.sqrt(pe) + 8 * math.sqrt(pe))  # a trunk along the rows, a bus in each
    assert area_mm2(table, 4, 8, 1024, 4096, 16, "int8") == pytest.approx(1e-6 * (32 * pe + 8000 + wires))
    columns = [
        np.array(values)
        for values in ([4, 4], [8, 8], [1024, 1024], [4096, 4096], [16, 32], ["int8", "int8"])
    ]
    np.testing.assert_allclose(
        area_mm2(table, *columns), [1e-6 * (32 * pe + 8000 + wires * more) for more in (1, 2)]
    )


def test_the_tables_that_ship_are_listed_and_load():
    assert list_energy_tables() == sorted(path.stem for path in TABLES.glob("*.toml"))
    for name in list_energy_tables():
        assert load_energy_table(name).name == name


def test_an_unknown_table_or_precision_is_refused_with_what_there_is():
    with pytest.raises(ArchGymError, match=r"unknown energy table '46nm'; did you mean .*'45nm'"):
        load_energy_table("46nm")
    with pytest.raises(ArchGymError, match="unknown energy table"):
        load_energy_table("nowhere/mine.toml")
    with pytest.raises(ArchGymError, match="unknown precision of this energy table 'fp16'; known: int8"):
        load_energy_table("accelforge_nvdla").mac_pj(np.array(["int8", "fp16"]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("node_nm = 7\n", ""),
        ("sram_bits = 32", "sram_bits = 'wide'"),
        ("dram_pj_per_bit = 2.0", "dram_pj_per_bit ="),
        ("[mac_pj]", "[mac]"),
        ("sram = [", "memory = ["),
        ("8000, 0.4]", "8000]"),
        ("[1024, 8.0", "[1024, 'x'"),
        ("sram = [[4096, 16.0, 32.0, 8000, 0.4], [1024, 8.0, 12.0, 2000, 0.1]]", "sram = []"),
    ],
)
def test_a_table_that_is_not_complete_is_refused_by_name(mine, old, new):
    assert old in TABLE
    mine.write_text(TABLE.replace(old, new))
    with pytest.raises(
        ArchGymError, match=r"mine\.toml is not an energy table .*start from a copy of 45nm\.toml"
    ):
        load_energy_table(str(mine))
